"""How a worker runs one job to its outcome: in the slot's own thread, or in a process for it.

Either way the queue is talked to here: what earlier attempts recorded is read, what this one records is kept (D5), and
both wait out an outage of the queue (W5), until nobody waits for the attempt any more.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from orch.errors import BackendUnavailable, LeaseLost, NotSupported, WriteRefused
from orch.job import Job
from orch.queue import PersistentQueue
from orch.runner import Lost, Outcome, Record, run_job
from orch.settings import Settings
from orch.worker.attempt import Attempt, RunJob

if TYPE_CHECKING:
    from orch.worker.isolation import Servers

_PAUSE_S = 0.05  # between two tries during an outage; doubles
_PAUSE_S_MAX = 1.0

_T = TypeVar("_T")


def in_threads(queue: PersistentQueue, settings: Settings) -> RunJob:
    """Run each job in the thread that asks for it."""

    def run(job: Job, attempt: Attempt) -> Outcome:
        return _resumed(queue, job, attempt, lambda done, record: run_one(job, settings, done, record, attempt.lost))

    return run


def in_processes(queue: PersistentQueue, servers: Servers) -> RunJob:
    """Run each job in a process of its own, forked by one of `servers`."""

    def run(job: Job, attempt: Attempt) -> Outcome:
        return _resumed(
            queue, job, attempt, lambda done, record: servers.run(job, attempt, record=record, done=dict(done))
        )

    return run


def run_one(
    job: Job,
    settings: Settings,
    done: Mapping[str, Any],
    record: Record,
    lost: Callable[[], bool] | None = None,
) -> Outcome:
    """Run a job here and now, with the paths of `settings`."""
    return run_job(
        job, events_path=settings.events_path, dag_root=settings.dag_root, done=done, record=record, lost=lost
    )


def _resumed(
    queue: PersistentQueue, job: Job, attempt: Attempt, run: Callable[[Mapping[str, Any], Record], Outcome]
) -> Outcome:
    """Run with what earlier attempts recorded, and a way to record."""

    def record(task_id: str, output: dict[str, Any]) -> None:
        lease = job.lease
        if lease is not None:
            _through_outages(lambda: queue.record_progress(lease, task_id, output), attempt)

    try:
        done = _through_outages(lambda: queue.progress(job.id), attempt) if job.attempts > 1 else {}
    except NotSupported:
        done = {}
    except LeaseLost:
        return Lost()
    return run(done, record)


def _through_outages(call: Callable[[], _T], attempt: Attempt) -> _T:
    """Call until the queue answers. Raises `LeaseLost` when nobody waits for the attempt any more."""
    pause = _PAUSE_S
    while True:
        if attempt.lost():
            raise LeaseLost(f"nobody waits for this attempt of job {attempt.job.id!r} any more")
        try:
            return call()
        except (BackendUnavailable, WriteRefused):
            time.sleep(pause)
            pause = min(2 * pause, _PAUSE_S_MAX)
