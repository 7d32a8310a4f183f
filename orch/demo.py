"""The demo: real jobs, real worker processes, one of them killed with `kill -9`, and a verdict per promise.

With other numbers it is the kill run: `orch demo --jobs 200 --kills 20`. The seed fixes the plan (which jobs, when
a kill comes); what a kill hits depends on the machine.
"""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from orch import checks
from orch.backends import open_shared_queue, safe_url
from orch.clock import iso_to_us, process_clock, to_us
from orch.errors import InvalidInput
from orch.events import read_newest
from orch.job import Job, JobStatus, Lease
from orch.page import Figures, Kill, Run, Sample, render
from orch.queue import MAX_CRASHES, SWEEP_S, PersistentQueue
from orch.rig import Fleet, Judgement, judge, read_runs, watch
from orch.settings import Settings

MARK = ".orch-demo"  # lies in every folder that a demo made, so that the next one may replace it
KILL_AFTER_S = 1.0  # the first kill; later ones follow after a random pause
DAGS = ("etl_diamond.yaml", "report_fan.yaml", "chain_retries.yaml")
STARVED_S = 0.3  # a killed worker's replacement comes after this


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run. Times in seconds; `url` None is a SQLite file in `out`."""

    out: Path = Path("orch-demo")
    url: str | None = None
    jobs: int = 24
    workers: int = 3
    concurrency: int = 1
    kills: int = 1
    lease_s: float = 2.0
    seed: int = 0
    limit_s: float = 300.0

    def __post_init__(self) -> None:
        checks.check_int(self.jobs, "jobs", 1, 100_000)
        checks.check_int(self.workers, "workers", 1, 64)
        checks.check_int(self.concurrency, "concurrency", 1, 64)
        checks.check_int(self.kills, "kills", 0, 10_000)
        checks.check_seconds(self.lease_s, "lease_s", positive=True)
        checks.check_seconds(self.limit_s, "limit_s", positive=True)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it: the judgement, the kills that were made, the seconds it took, where the page is.

    And for charts what was seen: samples of the queue, and every attempt that a worker logged.
    """

    judgement: Judgement
    kills: tuple[Kill, ...]
    seconds: float
    page: Path
    samples: tuple[Sample, ...] = ()
    runs: tuple[Run, ...] = ()

    def to_dict(self) -> dict[str, object]:
        """The outcome as JSON."""
        judgement = self.judgement
        return {
            "good": judgement.good,
            "enqueued": judgement.enqueued,
            "finished": judgement.finished,
            "redelivered": judgement.redelivered,
            "lost": list(judgement.lost),
            "kills": len(self.kills),
            "kills_while_holding": sum(bool(kill.held) for kill in self.kills),
            "recoveries_s": [round(seconds, 3) for seconds in judgement.recoveries_s],
            "seconds": round(self.seconds, 1),
            "page": str(self.page),
            "findings": [
                {"promise": f.promise, "sentence": f.sentence, "held": f.held, "evidence": f.evidence}
                for f in judgement.findings
            ],
        }


def run(plan: Plan, say: Callable[[str], None]) -> Outcome:
    """Run the plan and write the page; `say` gets a line of progress now and then.

    Raises `InvalidInput` for a folder that holds something else, `BackendUnavailable` for a store that does not answer.
    """
    rng = random.Random(plan.seed)
    folder = fresh_folder(plan.out)
    url = plan.url or f"sqlite:///{folder / 'queue.db'}"
    prefix = f"orch:demo:{time.time_ns():x}"
    settings = Settings(lease_s=plan.lease_s, key_prefix=prefix)
    root = Path(str(files("orch") / "examples"))
    queue = open_shared_queue(url, settings=settings)
    try:
        jobs = [a_job(number, rng) for number in range(1, plan.jobs + 1)]
        origin_us = to_us(process_clock())
        queue.enqueue_many(jobs)
        say(f"{len(jobs)} jobs are in {safe_url(url)}; starting {plan.workers} workers (seed {plan.seed})")
        fleet = Fleet(
            url,
            folder,
            lease_s=plan.lease_s,
            dag_root=root,
            arguments=("--concurrency", str(plan.concurrency)),
            env={"ORCH_KEY_PREFIX": prefix},
        )
        with fleet:
            samples, kills = _drive(plan, rng, queue, fleet, origin_us, say)
            codes = fleet.stop()
        bad = {worker_id: code for worker_id, code in codes.items() if code != 0}
        if bad:
            say(f"workers that did not end with 0: {bad}; see their logs in {folder}")
        found = {job.id: job for job in queue.list_jobs(limit=checks.INT_MAX)}
        runs = read_runs(fleet.state_log, kills, origin_us)
        events = read_newest(fleet.event_log, checks.INT_MAX)[::-1]
        judgement = judge(jobs, found, runs, kills, events, lease_s=plan.lease_s, max_crashes=settings.max_crashes)
        page = folder / "index.html"
        figures = Figures(
            title=f"orch demo: {plan.jobs} jobs, {plan.workers} workers, {len(kills)} kill -9",
            subtitle=f"{url.partition(':')[0]}, lease {plan.lease_s:g} s, sweep {SWEEP_S:g} s, seed {plan.seed}",
            facts=(
                ("enqueued", str(judgement.enqueued)),
                ("finished", str(judgement.finished)),
                ("redelivered", str(judgement.redelivered)),
                ("lost", str(len(judgement.lost))),
                ("kill -9", str(len(kills))),
                ("seconds", f"{samples[-1].at_s:.1f}"),
            ),
            findings=judgement.findings,
            samples=tuple(samples),
            runs=runs,
            kills=kills,
            latencies_s=_latencies(found),
        )
        page.write_text(render(figures), encoding="utf-8")
        return Outcome(judgement, kills, samples[-1].at_s, page, tuple(samples), runs)
    finally:
        queue.close()


def a_job(number: int, rng: random.Random) -> Job:
    """One of the shipped DAGs, with an id that says its place in the run."""
    return Job.new(rng.choice(DAGS), id=f"job-{number:03}", params={"number": number}, max_retries=2)


def fresh_folder(out: Path) -> Path:
    """An empty folder at `out`; one that an earlier demo made is replaced, any other is left alone.

    Raises `InvalidInput` if something else is there.
    """
    if out.exists() and not (out.is_dir() and ((out / MARK).exists() or not any(out.iterdir()))):
        raise InvalidInput(f"{out} holds something that is no demo's: choose another folder with --out")
    if out.exists():
        shutil.rmtree(out)
    out.mkdir(parents=True)
    (out / MARK).touch()
    return out.resolve()


def _drive(
    plan: Plan,
    rng: random.Random,
    queue: PersistentQueue,
    fleet: Fleet,
    origin_us: int,
    say: Callable[[str], None],
) -> tuple[list[Sample], tuple[Kill, ...]]:
    samples: list[Sample] = []
    kills: list[Kill] = []
    for number in range(1, plan.workers + 1):
        fleet.start(f"worker-{number}")
    kill_at = KILL_AFTER_S
    dead: set[int] = set()  # lease tokens whose holders were killed: a restarted worker has the same id
    restart: list[tuple[float, str]] = []
    said_at = -1.0
    for sample in watch(queue, total=plan.jobs, seconds=plan.limit_s):
        samples.append(sample)
        if sample.at_s - said_at >= 1.0:
            said_at = sample.at_s
            say(_progress(sample, plan.jobs, len(kills)))
        if len(kills) < plan.kills and sample.at_s >= kill_at:
            kill = _kill(queue, fleet, rng, origin_us, dead)
            if kill is not None:
                kills.append(kill)
                restart.append((sample.at_s + STARVED_S, kill.worker))
                kill_at = sample.at_s + rng.uniform(0.3, 1.5)
                say(f"kill -9 {kill.worker}, which held {', '.join(kill.held) or 'nothing any more'}")
        for due in [item for item in restart if item[0] <= sample.at_s]:
            restart.remove(due)
            fleet.start(due[1])
        for worker_id in set(fleet.dead()) - {worker_id for _, worker_id in restart}:
            say(f"{worker_id} ended by itself; starting it again (its log: {fleet.folder / worker_id}.log)")
            restart.append((sample.at_s + 1.0, worker_id))
    say(_progress(samples[-1], plan.jobs, len(kills)))
    return samples, tuple(kills)


def _kill(queue: PersistentQueue, fleet: Fleet, rng: random.Random, origin_us: int, dead: set[int]) -> Kill | None:
    """Kill a worker that holds a job, one that has recorded a task if there is one.

    Jobs that have used up their crash budget are spared: ending those is what the contract promises (Q6). What it
    held is seen after its death, when it can neither take nor finish anything; its tokens go to `dead`.
    """

    def held() -> list[tuple[Job, Lease]]:
        running = queue.list_jobs(JobStatus.RUNNING, limit=1_000)
        return [(job, job.lease) for job in running if job.lease is not None and job.lease.token not in dead]

    gone = set(fleet.dead())
    spared = {lease.worker_id for job, lease in held() if job.crashes >= MAX_CRASHES - 1}
    victims = [(job, lease) for job, lease in held() if lease.worker_id not in gone | spared]
    if not victims:
        return None
    begun = [(job, lease) for job, lease in victims if queue.progress(job.id)]
    worker_id = rng.choice(begun or victims)[1].worker_id
    fleet.kill(worker_id)
    at_s = (to_us(process_clock()) - origin_us) / 1_000_000
    mine = [(job.id, lease.token) for job, lease in held() if lease.worker_id == worker_id]
    dead.update(token for _, token in mine)
    return Kill(at_s, worker_id, tuple(sorted(job_id for job_id, _ in mine)))


def _progress(sample: Sample, total: int, kills: int) -> str:
    done = sample.success + sample.failed
    bar = "#" * (30 * done // total)
    return (
        f"{sample.at_s:5.1f} s [{bar:<30}] {done}/{total} done, {sample.running} running, {sample.pending} waiting, "
        f"{kills} killed"
    )


def _latencies(found: Mapping[str, Job]) -> tuple[float, ...]:
    ended = [job for job in found.values() if job.finished_at is not None]
    return tuple(
        max(0.0, (iso_to_us(job.finished_at) - iso_to_us(job.enqueued_at)) / 1_000_000)
        for job in ended
        if job.finished_at is not None
    )
