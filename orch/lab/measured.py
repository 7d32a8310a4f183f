"""A scenario run for real: worker processes on a SQLite file, the jobs of the simulation, the clock of the wall.

The jobs come at the times, and take the seconds, that the simulator draws for the same seed; so "simulated" and
"measured" differ only in what a simulator leaves out. Only what can be had from plain workers can be measured: a
scenario with faults, far or slow workers is refused.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from orch.backends import open_queue
from orch.clock import iso_to_us, process_clock, to_us
from orch.errors import BackendUnavailable, InvalidInput
from orch.job import FINAL, Job, JobStatus
from orch.queue import PersistentQueue
from orch.rig import Fleet, read_runs
from orch.simulator.fleet import CALM, Workers, planned
from orch.simulator.result import JobRow, Lane, Numbers
from orch.simulator.scenario import Scenario

START_S = 30.0  # workers that are not there by then do not come
LOOK_S = 0.1  # between two looks whether all is done
EXTRA_S = 60.0  # beyond its last arrival and all of its work, after which a run is given up


@dataclass(frozen=True, slots=True)
class Measured(Numbers):
    """What came of a real run, in the terms of `orch.simulator.Result`: a row for each job, a lane for each attempt.

    Times are seconds from the beginning of the load; `seconds` is when the last job was final.
    """

    jobs: list[JobRow]
    runs: tuple[Lane, ...]
    seconds: float
    slots: int

    @property
    def lanes(self) -> list[Lane]:
        """Every attempt, in the order of their starts."""
        return list(self.runs)


def measure(scenario: Scenario, *, seed: int | None = None, folder: Path | None = None) -> Measured:
    """Run a scenario for real, until every job is final; it takes as long as its load.

    Files go to `folder`, by default a temporary one. Raises `InvalidInput` for a scenario that plain workers cannot
    show, `BackendUnavailable` when the workers do not come or do not finish.
    """
    _check(scenario)
    with tempfile.TemporaryDirectory(prefix="orch-measured-") as own:
        where = Path(own) if folder is None else folder
        url = f"sqlite:///{where / 'queue.db'}"
        queue = open_queue(url)
        try:
            return _run(scenario, scenario.seed if seed is None else seed, queue, url, where)
        finally:
            queue.close()


def best_of(times: int, scenario: Scenario, apart: Callable[[Measured], float]) -> Measured:
    """The run of several for which `apart` is least: a machine that does other things delays some, speeds up none."""
    return min((measure(scenario) for _ in range(times)), key=apart)


def _check(scenario: Scenario) -> None:
    strange = [
        what
        for what, there in {
            "faults": scenario.faults != CALM,
            "fails, failing or poison": any(load.fails or load.failing or load.poison for load in scenario.load),
            "other workers than plain ones": any(
                fleet != replace(Workers(fleet.count, fleet.slots), name=fleet.name) for fleet in scenario.workers
            ),
            "workers of different slots": len({fleet.slots for fleet in scenario.workers}) > 1,
        }.items()
        if there
    ]
    if strange:
        raise InvalidInput(f"scenario {scenario.name!r} cannot be measured: it has {' and '.join(strange)}")


def _run(scenario: Scenario, seed: int, queue: PersistentQueue, url: str, folder: Path) -> Measured:
    count = sum(fleet.count for fleet in scenario.workers)
    slots = scenario.workers[0].slots
    arguments = ("--concurrency", str(slots))
    names = [f"{fleet.name}-{number}" for fleet in scenario.workers for number in range(fleet.count)]
    with Fleet(url, folder, lease_s=scenario.lease_s, dag_root=folder, arguments=arguments) as fleet:
        for name in names:
            fleet.start(name)
        _until(lambda: len(queue.workers()) == count, START_S, "workers did not start", fleet)
        origin_us = to_us(process_clock())
        last, work = _enqueue_all(scenario, seed, queue)
        total = queue.count()
        _until(lambda: _final(queue) == total, last + work + EXTRA_S, "jobs did not end", fleet)
        fleet.stop()
        rows = sorted((_row(job, origin_us) for job in queue.list_jobs(limit=total)), key=lambda row: row.arrived)
        runs = read_runs(fleet.state_log, (), origin_us)
    lanes = tuple(Lane(run.worker, run.job_id, run.attempt, run.start_s, run.end_s, run.outcome) for run in runs)
    return Measured(rows, lanes, max([0.0, *(row.finished or 0.0 for row in rows)]), count * slots)


def _enqueue_all(scenario: Scenario, seed: int, queue: PersistentQueue) -> tuple[float, float]:
    """Enqueue each job at its time; returns the last arrival and the work of all, in seconds."""
    begun = time.monotonic()
    last = work = 0.0
    for at, number, load, seconds in planned(scenario.load, jobs=scenario.jobs, seconds=scenario.seconds, seed=seed):
        time.sleep(max(0.0, begun + at - time.monotonic()))
        queue.enqueue(
            Job.new(
                "workflow:sleep",
                id=f"job-{number}",
                params={"seconds": seconds},
                tenant_id=load.tenant,
                priority=load.priority,
                max_retries=load.max_retries,
                timeout_s=load.timeout_s,
            )
        )
        last = at
        work += seconds
    return last, work


def _final(queue: PersistentQueue) -> int:
    counts = queue.counts()
    return sum(counts[status] for status in FINAL)


def _until(holds: Callable[[], bool], seconds: float, what: str, fleet: Fleet) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        dead = fleet.dead()
        if dead or time.monotonic() > deadline:
            why = f"worker {dead[0]} ended" if dead else f"after {seconds:.0f} s"
            raise BackendUnavailable(f"{what}: {why}; see the logs in {fleet.folder}")
        time.sleep(LOOK_S)


def _row(job: Job, origin_us: int) -> JobRow:
    def at(text: str | None) -> float | None:
        return None if text is None else (iso_to_us(text) - origin_us) / 1_000_000

    arrived = at(job.enqueued_at)
    assert arrived is not None
    state = job.status if job.status in FINAL else JobStatus.RUNNING
    return JobRow(
        job.id, job.tenant_id, job.priority, arrived, at(job.started_at), at(job.finished_at), job.attempts, state
    )
