# ruff: noqa: SIM102 - a bug reaches into what it breaks, and each condition has its line
"""Bugs of fencing and finishing (Q4, Q7): who may end a delivery, and what final means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from heapq import heappush

from orch.backends.memory import MemoryQueue, _Entry
from orch.errors import JobNotFound, OrchError
from orch.job import Event, Job, JobStatus, Lease, Report
from orch.testing.bugs.making import breaks, bugs_of, set_status

PENDING, RUNNING, SUCCESS, FAILED, RETRY = JobStatus


@breaks("Q4", source="bullmq#1064")
class FinishById(MemoryQueue):
    """A is slow, B gets the job; A finishes it: nobody looks at whose lease it is."""

    def _report(self, report: Report, now: int) -> Job:
        entry = self._entries.get(report.job_id)
        if report.lease is not None and entry is not None and entry.job.lease is not None:
            report = replace(report, lease=entry.job.lease)
        return super()._report(report, now)


@breaks("Q4", "Q7", source="dbos#801")
class LateOutcomeOverwrites(MemoryQueue):
    """A runs j; an operator cancels j; A's late outcome overwrites the final state."""

    def _report(self, report: Report, now: int) -> Job:
        entry, lease = self._entries.get(report.job_id), report.lease
        if entry is not None and lease is not None and entry.job.error == "cancelled" and entry.raw is None:
            if entry.job.attempts and entry.settled is None:
                set_status(self, entry, RUNNING)
                entry.job.lease = lease
        return super()._report(report, now)


@breaks("Q7", source="rq#2424")
class FinishLeavesTheStartedEntry(MemoryQueue):
    """A finish leaves the job among the started: when its lease would have ended, the finished job becomes failed."""

    def _end_delivery(self, entry: _Entry, event: Event, now: int, delay_s: float | None = None) -> None:
        super()._end_delivery(entry, event, now, delay_s)
        if event is Event.SUCCEED and entry.settled is not None:
            heappush(self._leases, (entry.expires_us, -1, entry.job.id))

    def _reclaim(self, now: int) -> None:
        for expires_us, token, job_id in list(self._leases):
            entry = self._entries.get(job_id)
            if token == -1 and expires_us <= now and entry is not None and entry.job.status is SUCCESS:
                set_status(self, entry, FAILED)
        super()._reclaim(now)


@breaks("Q4", source="orch")
class AnybodyExtends(MemoryQueue):
    """A lost its lease and B has the job; A's extension is accepted, and keeps B's delivery."""

    def _extend(self, leases: Sequence[Lease], lease_s: float) -> list[Lease | OrchError]:
        current = []
        for lease in leases:
            entry = self._entries.get(lease.job_id)
            held = None if entry is None else entry.job.lease
            current.append(lease if held is None else held)
        return super()._extend(current, lease_s)


@breaks("Q4", "D5", source="orch")
class ProgressIsNotFenced(MemoryQueue):
    """A lost its lease; its late output is recorded into B's run."""

    def _record_progress(self, lease: Lease, task_id: str, output: str) -> None:
        entry = self._entries.get(lease.job_id)
        held = None if entry is None else entry.job.lease
        super()._record_progress(lease if held is None else held, task_id, output)


@breaks("Q4", source="orch")
class TokenIsTheAttempt(MemoryQueue):
    """The token is the number of the attempt: two jobs have the same, and downstream cannot tell them apart."""

    def _deliver(self, entry: _Entry, worker_id: str, now: int, expires_us: int) -> Job:
        self._token = now + entry.job.attempts - 1
        return super()._deliver(entry, worker_id, now, expires_us)


@breaks("Q4", source="orch")
class TokenIsTheTime(MemoryQueue):
    """Two deliveries within a microsecond, or after the clock went back, have tokens that do not grow."""

    def _deliver(self, entry: _Entry, worker_id: str, now: int, expires_us: int) -> Job:
        self._token = 0
        return super()._deliver(entry, worker_id, now, expires_us)


@breaks("Q4", source="faktory; orch")
class CancelLeavesTheLease(MemoryQueue):
    """An operator ends a running job with success; its holder's lease stays current, and he may still report."""

    def _report(self, report: Report, now: int) -> Job:
        entry = self._entries.get(report.job_id)
        held = None if entry is None else entry.job.lease
        job = super()._report(report, now)
        if report.lease is None and held is not None and entry is not None and job.status is SUCCESS:
            entry.job.lease = held
        return job


@breaks("Q12", "Q1", "Q7", source="arq#485")
class CancelOfNobodyLeavesATombstone(MemoryQueue):
    """cancel(x) of an unknown id leaves a mark: x is cancelled as soon as it is enqueued."""

    def __init__(self, **more: object) -> None:
        super().__init__(**more)  # type: ignore[arg-type]  # passed on
        self._tombstones: set[str] = set()

    def _report(self, report: Report, now: int) -> Job:
        try:
            return super()._report(report, now)
        except JobNotFound:
            if report.lease is None and report.status is FAILED:
                self._tombstones.add(report.job_id)
            raise

    def _enqueue(self, jobs: Sequence[Job]) -> int:
        new = super()._enqueue(jobs)
        for job in jobs:
            if job.id in self._tombstones:
                self._tombstones.discard(job.id)
                self.cancel(job.id)
        return new


@breaks("Q7", source="seed 22")
class SuccessIsRetried(MemoryQueue):
    """RETRY of a success is accepted: the finished job runs again."""

    def _report(self, report: Report, now: int) -> Job:
        entry = self._entries.get(report.job_id)
        if entry is not None and report.lease is None and entry.job.status is SUCCESS and report.status is RETRY:
            set_status(self, entry, RUNNING)
        return super()._report(report, now)


@breaks("Q7", source="seed 22")
class FailedBecomesSuccess(MemoryQueue):
    """SUCCESS without a lease on a failed job is accepted."""

    def _report(self, report: Report, now: int) -> Job:
        entry = self._entries.get(report.job_id)
        if entry is not None and report.lease is None and entry.job.status is FAILED and report.status is SUCCESS:
            set_status(self, entry, RUNNING)
        return super()._report(report, now)


@breaks("Q12", "Q7", source="seed 25")
class RetryBeforeTheStart(MemoryQueue):
    """RETRY of a job that never started is accepted, and counts as a failure."""

    def _report(self, report: Report, now: int) -> Job:
        entry = self._entries.get(report.job_id)
        if entry is not None and report.lease is None and report.status is RETRY and entry.due_us is None:
            if entry.job.status is PENDING:
                entry.ticket = 0
                self._ready -= 1
                set_status(self, entry, RUNNING)
        return super()._report(report, now)


@breaks("Q7", source="orch")
class RequeueOfTheRunning(MemoryQueue):
    """requeue of a running job is accepted: it is delivered a second time."""

    def _requeue(self, job_id: str) -> Job:
        entry = self._entries.get(job_id)
        if entry is not None and entry.job.status is RUNNING and entry.raw is None:
            entry.job.lease = None
            self._running.pop(job_id, None)
            set_status(self, entry, FAILED)
        return super()._requeue(job_id)


@breaks("Q7", source="orch")
class RequeueOfTheDone(MemoryQueue):
    """requeue of a success is accepted, and loses its result."""

    def _requeue(self, job_id: str) -> Job:
        entry = self._entries.get(job_id)
        if entry is not None and entry.job.status is SUCCESS and entry.raw is None:
            set_status(self, entry, FAILED)
        return super()._requeue(job_id)


@breaks("Q7", source="seed 22")
class TheLaterResultWins(MemoryQueue):
    """SUCCESS again without a lease replaces the first result."""

    def _report(self, report: Report, now: int) -> Job:
        job = super()._report(report, now)
        if report.lease is None and report.status is SUCCESS and report.result is not None:
            self._entries[report.job_id].job.result = dict(report.result)
            job.result = dict(report.result)
        return job


@breaks("Q7", source="orch")
class CancelOfTheDone(MemoryQueue):
    """cancel of a success is silent, as if it were failed already."""

    def cancel(self, job_id: str) -> Job:
        entry = self._entries.get(job_id)
        if entry is not None and entry.job.status is SUCCESS and entry.raw is None:
            return entry.job.copy()
        return super().cancel(job_id)


@breaks("Q4", source="seed 23")
class RescuedByAnOperatorStillReports(MemoryQueue):
    """A runs j; an operator sends j back with RETRY; B has not taken it: A's report is still accepted."""

    def __init__(self, **more: object) -> None:
        super().__init__(**more)  # type: ignore[arg-type]  # passed on
        self._last: dict[str, Lease] = {}

    def _report(self, report: Report, now: int) -> Job:
        entry = self._entries.get(report.job_id)
        if entry is None or entry.raw is not None:
            return super()._report(report, now)
        if report.lease is None and entry.job.lease is not None and report.status is RETRY:
            self._last[report.job_id] = entry.job.lease
        elif report.lease is not None and entry.job.status is PENDING and entry.due_us is None:
            if self._last.get(report.job_id) == report.lease:
                entry.ticket = 0
                self._ready -= 1
                set_status(self, entry, RUNNING)
                entry.job.lease = report.lease
        return super()._report(report, now)


BUGS = bugs_of(globals())
