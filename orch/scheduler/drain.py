"""Runs what is ready and says what came of each job: a worker of its own, for as long as there is something to do."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Callable, Sequence
from typing import Any, cast

from orch import checks
from orch.clock import iso, process_clock, to_us
from orch.errors import BackendUnavailable, OrchError, WriteRefused
from orch.job import Job, JobStatus, Report
from orch.queue import PersistentQueue
from orch.settings import Settings
from orch.worker.driver import run_worker
from orch.worker.running import in_threads
from orch.worker.steps import Config


def drain_queue(queue: PersistentQueue, max_parallel: int = 3, max_jobs: int = 100) -> list[dict[str, Any]]:
    """Run up to `max_jobs` ready jobs, `max_parallel` at a time, until none is ready; returns what came of each.

    In order of completion: `{"job", "status": "success", "result"}`, `{"job", "status": "retry" | "failed",
    "error"}`, or status "error" where the queue refused the report. job is as the queue has it now. A worker does it:
    it claims what it can start and no more (W7), and extends the leases (W2). A job that waits for its retry is left.
    Raises `InvalidInput` for numbers below 1.
    """
    return drain(queue, Settings.from_env(), max_parallel=max_parallel, max_jobs=max_jobs)


def drain(
    queue: PersistentQueue,
    settings: Settings,
    *,
    max_parallel: int,
    max_jobs: int,
    stopper: Callable[[Callable[[str], None]], None] | None = None,
) -> list[dict[str, Any]]:
    """`drain_queue` with settings, and a `stopper` that is handed a function which ends it early (W4)."""
    results: list[dict[str, Any]] = []
    checks.check_int(max_jobs, "max_jobs", 1)
    work(queue, settings, min(max_parallel, max_jobs), results.append, stopper, burst=True, max_jobs=max_jobs)
    return results


def work(
    queue: PersistentQueue,
    settings: Settings,
    max_parallel: int,
    settled: Callable[[dict[str, Any]], None],
    stopper: Callable[[Callable[[str], None]], None] | None = None,
    **config: Any,
) -> None:
    """Be a worker within this process until it ends or is stopped; `settled` is called with what came of each job."""
    run_worker(
        cast("PersistentQueue", _WatchedQueue(queue, settled)),  # it forwards what it does not watch
        _worker_config(settings, max_parallel, **config),
        in_threads(queue, settings),
        state_path=settings.state_path,
        stopper=stopper,
    )


class _WatchedQueue:
    """A queue as its worker sees it: tells of the answer to each report."""

    def __init__(self, queue: PersistentQueue, settled: Callable[[dict[str, Any]], None]) -> None:
        self._queue = queue
        self._settled = settled
        self._held: dict[int, Job] = {}  # by the token of its lease

    def __getattr__(self, name: str) -> Any:
        return getattr(self._queue, name)

    def dequeue_many(self, n: int, worker_id: str = "", **given: Any) -> list[Job]:
        jobs = self._queue.dequeue_many(n, worker_id, **given)
        self._hold(jobs)
        return jobs

    def exchange(
        self, reports: Sequence[Report], n: int, worker_id: str = "", **given: Any
    ) -> tuple[list[Job | OrchError], list[Job]]:
        answers, jobs = self._queue.exchange(reports, n, worker_id, **given)
        for report, answer in zip(reports, answers, strict=True):
            self._note(report, answer)
        self._hold(jobs)
        return answers, jobs

    def _hold(self, jobs: Sequence[Job]) -> None:
        self._held.update((job.lease.token, job) for job in jobs if job.lease is not None)

    def _note(self, report: Report, answer: Job | OrchError) -> None:
        if isinstance(answer, BackendUnavailable | WriteRefused):
            return  # it is reported again
        job = None if report.lease is None else self._held.pop(report.lease.token, None)
        if isinstance(answer, OrchError):
            if job is not None:
                self._settled({"job": job, "status": "error", "error": str(answer)})
        elif report.status is JobStatus.SUCCESS:
            self._settled({"job": answer, "status": "success", "result": report.result})
        elif report.status is not JobStatus.PENDING:  # given back: nothing came of it
            failed = JobStatus.FAILED in (report.status, answer.status)
            status = JobStatus.FAILED.value if failed else JobStatus.RETRY.value
            self._settled({"job": answer, "status": status, "error": report.error})


def _worker_config(settings: Settings, slots: int, **more: Any) -> Config:
    """The worker within a scheduler's process, under a name of its own."""
    return Config(
        worker_id=f"scheduler-{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}",
        slots=checks.check_int(slots, "max_parallel", 1),
        lease_s=settings.lease_s,
        grace_s=settings.grace_s,
        host=socket.gethostname(),
        pid=os.getpid(),
        started_at=iso(to_us(process_clock())),
        quiet=True,
        **more,
    )
