"""One job that somebody else dequeued: run it and report it, as the seed's worker module offers it."""

from __future__ import annotations

import os
import random
import time
from dataclasses import replace
from typing import Any

from orch.errors import BackendUnavailable, LeaseLost, WriteRefused
from orch.events import record_event
from orch.job import Job, JobStatus, Report
from orch.queue import PersistentQueue
from orch.runner import Done, Lost
from orch.settings import Settings
from orch.worker.attempt import Attempt
from orch.worker.logic import finished_event, report_of, retry_delay, started_event
from orch.worker.running import in_threads
from orch.worker.steps import Config, Run

REPORT_TRIES = 8  # of a report that the queue does not take; about 12 s with the pauses between them


def execute_job(
    job: Job, queue: PersistentQueue, events_path: str | os.PathLike[str] | None = None, *, worker_id: str = ""
) -> dict[str, Any]:
    """Run a delivered job in this thread and report it under `job.lease`; returns what happened.

    `{"job", "status": "success", "result"}`, `{"job", "status": "retry" | "failed", "error"}`, where job is as the
    queue has it now; or status "error" if the lease was lost, so that nothing was reported. A RETRY waits (W6).
    Nothing extends the lease meanwhile: a job that may run longer is for a worker. A report that the queue does not
    take is tried again, the work is not (W3); then `BackendUnavailable` or `WriteRefused` is raised.
    """
    settings = Settings.from_env()
    if events_path is not None:
        settings = replace(settings, events_path=os.fspath(events_path))
    run = Run(0, job)
    record_event(started_event(run, worker_id))
    start = time.monotonic()
    outcome = in_threads(queue, settings)(job, Attempt(0, job))
    seconds = time.monotonic() - start
    status = "error"
    error: str | None = "the lease was lost; nothing was reported"
    result = None
    if not isinstance(outcome, Lost):
        rng, defaults = random.Random(), Config(worker_id="execute_job")
        delay_s = retry_delay(job.failures, rng, first_s=defaults.retry_s, most_s=defaults.retry_s_max)
        report = report_of(job, outcome, delay_s=delay_s)
        try:
            job = _reported(queue, report)
        except LeaseLost as lost:
            error = str(lost)
        else:
            failed = report.status is JobStatus.FAILED or job.status is JobStatus.FAILED
            status = JobStatus.FAILED.value if failed else report.status.value
            error, result = report.error, report.result
    record_event(finished_event(run, "lost" if status == "error" else status, error, seconds, worker_id))
    if status == "success" and isinstance(outcome, Done):
        return {"job": job, "status": status, "result": result}
    return {"job": job, "status": status, "error": error}


def _reported(queue: PersistentQueue, report: Report) -> Job:
    pause = 0.1
    for left in reversed(range(REPORT_TRIES)):
        try:
            return queue.update_status(
                report.job_id, report.status, report.error, report.result, lease=report.lease, delay_s=report.delay_s
            )
        except (BackendUnavailable, WriteRefused):
            if not left:
                raise
            time.sleep(pause)
            pause *= 2
    raise AssertionError("unreachable")
