"""Real worker processes on one queue: start them, kill them, watch the queue, and judge what happened.

The demo and the kill runs stand on it. What a worker did is read from the state log that it writes; nothing here is
known to the worker. Every process that is started is ended, also when the caller is interrupted.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self

from orch.clock import iso_to_us
from orch.events import read_newest
from orch.job import FINAL, Job, JobStatus
from orch.page import Finding, Kill, Run, Sample
from orch.queue import SWEEP_S, PersistentQueue

_LOG_LINES = 10_000_000


class Fleet:
    """Worker processes that share a queue, by worker id; each writes its output to `<folder>/<worker id>.log`.

    The state log and the event log are `<folder>/state.jsonl` and `<folder>/events.jsonl`.
    """

    def __init__(
        self,
        url: str,
        folder: Path,
        *,
        lease_s: float,
        dag_root: Path,
        arguments: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.url = url
        self.folder = folder
        self.arguments = tuple(arguments)
        self.state_log = folder / "state.jsonl"
        self.event_log = folder / "events.jsonl"
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._env = {
            **os.environ,
            **(env or {}),
            "ORCH_LEASE_S": str(lease_s),
            "ORCH_DAG_ROOT": str(dag_root),
            "ORCH_EVENTS_PATH": str(self.event_log),
            "STATE_STORE_PATH": str(self.state_log),
        }

    def start(self, worker_id: str) -> None:
        """Start a worker under this id; a dead one of the same id is replaced."""
        command = [sys.executable, "-m", "orch", "worker", "--url", self.url, "--worker-id", worker_id]
        with (self.folder / f"{worker_id}.log").open("ab") as log:
            self.processes[worker_id] = subprocess.Popen(
                [*command, *self.arguments],
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl+C is for the one who watches; the fleet is stopped by `stop`
            )

    def kill(self, worker_id: str) -> None:
        """`kill -9` of one worker and of the processes that run its jobs; returns when it is dead."""
        process = self.processes[worker_id]
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def dead(self) -> list[str]:
        """The workers that have ended, whatever the reason."""
        return [worker_id for worker_id, process in self.processes.items() if process.poll() is not None]

    def stop(self, grace_s: float = 10.0) -> dict[str, int]:
        """SIGTERM to all, SIGKILL to who is there after the grace; returns the exit codes by worker."""
        for process in self.processes.values():
            if process.poll() is None:
                process.terminate()
        deadline = time.monotonic() + grace_s
        codes = {}
        for worker_id, process in self.processes.items():
            try:
                codes[worker_id] = process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                self.kill(worker_id)
                codes[worker_id] = process.returncode
        return codes

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker_id in self.processes:
            self.kill(worker_id)


def interruptible() -> None:
    """Make SIGTERM end this process as Ctrl+C does, so that `Fleet` cleans up."""

    def stop(_signum: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)


def watch(queue: PersistentQueue, *, total: int, seconds: float, every_s: float = 0.05) -> Iterator[Sample]:
    """Counts of the queue, again and again, until `total` jobs are final or so many seconds have passed.

    `at_s` counts from the first sample.
    """
    origin = time.monotonic()
    while True:
        counts = queue.counts()
        at_s = time.monotonic() - origin
        yield Sample(
            at_s,
            counts[JobStatus.PENDING],
            counts[JobStatus.RUNNING],
            counts[JobStatus.SUCCESS],
            counts[JobStatus.FAILED],
        )
        if counts[JobStatus.SUCCESS] + counts[JobStatus.FAILED] >= total or at_s >= seconds:
            return
        time.sleep(every_s)


def read_runs(state_log: Path, kills: Sequence[Kill], origin_us: int) -> tuple[Run, ...]:
    """Every attempt that the workers logged, in the order of their starts; times count from `origin_us`.

    An attempt without an end belongs to the first kill of its worker that came after it.
    """
    started: dict[str, Run] = {}
    for event in reversed(read_newest(state_log, _LOG_LINES)):
        kind, run_id = event.get("event"), str(event.get("run"))
        if kind == "run_started":
            at_s = (iso_to_us(event["timestamp"]) - origin_us) / 1_000_000
            job_id, _, attempt = run_id.rpartition("#")
            started[run_id] = Run(job_id, int(attempt), event["worker"], at_s, None, "running")
        elif kind == "run_finished" and run_id in started:
            run = started[run_id]
            end_s = run.start_s + float(event["duration_seconds"])
            started[run_id] = replace(run, end_s=end_s, outcome=str(event["status"]))
    runs = []
    for run in started.values():
        mine = [kill.at_s for kill in kills if kill.worker == run.worker and kill.at_s >= run.start_s]
        cut = run.end_s is None and mine
        runs.append(replace(run, end_s=min(mine), outcome="killed") if cut else run)
    return tuple(sorted(runs, key=lambda run: run.start_s))


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a run of real workers showed; jobs by id, times in seconds."""

    findings: tuple[Finding, ...]
    enqueued: int
    finished: int
    redelivered: int
    lost: tuple[str, ...]
    recoveries_s: tuple[float, ...]

    @property
    def good(self) -> bool:
        """Whether every promise was kept."""
        return all(finding.held for finding in self.findings)


def judge(
    enqueued: Sequence[Job],
    found: Mapping[str, Job],
    runs: Sequence[Run],
    kills: Sequence[Kill],
    events: Sequence[Mapping[str, Any]],
    *,
    lease_s: float,
    max_crashes: int,
    slack_s: float = 1.0,
) -> Judgement:
    """Hold what was seen against the contract. `found` is the queue at the end, `events` the workers' event log.

    `slack_s` is allowed to a recovery beyond lease and sweep for the start of the next attempt.
    """
    ids = {job.id for job in enqueued}
    lost = tuple(sorted(id for id in ids if id not in found or found[id].status not in FINAL))
    unexpected = sorted(set(found) - ids)
    by_job: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        by_job[run.job_id].append(run)
    overlaps = [
        f"{before.job_id}#{before.attempt}/{after.attempt}"
        for mine in by_job.values()
        for before, after in pairwise(mine)
        if before.end_s is None or after.start_s < before.end_s
    ]
    recoveries, stranded = _recoveries(kills, by_job)
    bound = lease_s + SWEEP_S + slack_s
    over = [
        job.id for job in enqueued if job.id in found and found[job.id].attempts > 1 + job.max_retries + max_crashes
    ]
    not_success = sorted(id for id in ids if id in found and found[id].status is JobStatus.FAILED)
    again = _tasks_run_again(events)
    slowest = f"slowest {max(recoveries):.2f} s, bound {bound:.1f} s" if recoveries else "no job had to be recovered"
    findings = (
        Finding(
            "Q1 conserve",
            "Every accepted job reached a final state; none was lost, none appeared.",
            not lost and not unexpected,
            f"{len(ids)} enqueued, {len(ids) - len(lost)} final, {len(lost)} lost, {len(unexpected)} unexpected"
            + _some(lost),
        ),
        Finding(
            "Q4 one holder",
            "No two runs of a job overlapped.",
            not overlaps,
            f"{len(overlaps)} overlaps in {len(runs)} runs" + _some(overlaps),
        ),
        Finding(
            "Q5 recovery",
            "What a killed worker held ran again within lease, sweep and start.",
            not stranded and all(seconds <= bound for seconds in recoveries),
            f"{len(recoveries)} redelivered after {len(kills)} kill -9, {slowest}" + _some(stranded),
        ),
        Finding(
            "Q6 bounded work",
            "No job was delivered more often than its budgets allow.",
            not over,
            f"at most {max((job.attempts for job in found.values()), default=0)} deliveries of a job" + _some(over),
        ),
        Finding(
            "W1 crash",
            "A crash of its worker made no job fail.",
            not not_success,
            f"{len(not_success)} of {len(ids)} jobs FAILED" + _some(not_success),
        ),
        Finding(
            "D5 resume",
            "No task whose output was recorded ran again after a crash.",
            not again,
            f"{len(again)} finished tasks ran again" + _some(again),
        ),
    )
    redelivered = sum(job.attempts > 1 for job in found.values())
    return Judgement(findings, len(ids), len(ids) - len(lost), redelivered, lost, tuple(recoveries))


def _recoveries(kills: Sequence[Kill], by_job: Mapping[str, Sequence[Run]]) -> tuple[list[float], list[str]]:
    recoveries: list[float] = []
    stranded: list[str] = []
    for kill in kills:
        for job_id in kill.held:
            later = [run.start_s for run in by_job.get(job_id, ()) if run.start_s > kill.at_s]
            ended = [run for run in by_job.get(job_id, ()) if run.outcome == "success" and run.start_s <= kill.at_s]
            if later:
                recoveries.append(min(later) - kill.at_s)
            elif not ended:
                stranded.append(job_id)
    return recoveries, stranded


def _tasks_run_again(events: Sequence[Mapping[str, Any]]) -> list[str]:
    """Tasks that ended well in one run of a job and started in a later one.

    The last task of a run counts only until then: its output goes out with the report, and a worker that dies in
    between leaves it to be run again.
    """
    sizes: dict[str, int] = {}
    finished: dict[str, set[str]] = defaultdict(set)
    again: list[str] = []
    for event in events:
        job_id, task_id = str(event.get("job")), str(event.get("task_id"))
        match event.get("event"):
            case "dag_start":
                sizes[job_id] = int(event.get("task_count", 0))
            case "task_ok" if len(finished[job_id]) + 1 < sizes.get(job_id, 0):
                finished[job_id].add(task_id)
            case "task_start" if task_id in finished[job_id]:
                again.append(f"{job_id}/{task_id}")
    return again


def _some(names: Sequence[str]) -> str:
    return f": {', '.join(names[:5])}{' …' if len(names) > 5 else ''}" if names else ""
