"""Bugs of values (Q11): what goes in or comes out is not a value of its own, or not the one that went in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from orch.backends.memory import MemoryQueue, _Entry
from orch.clock import iso, iso_to_us
from orch.job import Event, Job, JobStatus, Report
from orch.testing.bugs.making import breaks, bugs_of


@breaks("Q11", source="seed 31")
class KeepsTheCallersJob(MemoryQueue):
    """The job that was handed in is the stored one: what its owner changes later is changed in the store."""

    def _enqueue(self, jobs: Sequence[Job]) -> int:
        new = 0
        for job in jobs:
            if super()._enqueue((job,)):
                new += 1
                self._entries[job.id].job.params = job.params
        return new


@breaks("Q11", source="seed 31")
class HandsOutItsOwn(MemoryQueue):
    """get_job answers the stored job itself: its status can be set from outside."""

    def _get(self, job_id: str) -> Job | None:
        entry = self._entries.get(job_id)
        return entry.job if entry is not None and entry.raw is None else super()._get(job_id)


@breaks("Q11", source="seed 32")
class ResultIsShared(MemoryQueue):
    """The result that was reported is stored as it is: changing it later changes the record."""

    def update_status(
        self,
        job_id: str,
        status: JobStatus,
        error: str | None = None,
        result: dict[str, Any] | None = None,
        **more: Any,
    ) -> Job:
        job = super().update_status(job_id, status, error, result, **more)
        if result and job.result == result:
            self._entries[job_id].job.result = result
        return job


@breaks("Q11", source="orch")
class ParamsAreCopiedShallowly(MemoryQueue):
    """get_job copies the params, but not the lists in them."""

    def _get(self, job_id: str) -> Job | None:
        job = super()._get(job_id)
        if job is not None:
            job.params = dict(self._entries[job_id].job.params)
        return job


@breaks("Q11", source="orch")
class ListsHandOutTheirOwn(MemoryQueue):
    """list_jobs answers the stored jobs themselves."""

    def _list(self, status: JobStatus | None, limit: int) -> list[Job]:
        return [self._entries[job.id].job for job in super()._list(status, limit)]


@breaks("Q11", source="orch")
class DeliversItsOwnExtra(MemoryQueue):
    """A delivery shares the unknown fields of its record with the store."""

    def _deliver(self, entry: _Entry, worker_id: str, now: int, expires_us: int) -> Job:
        job = super()._deliver(entry, worker_id, now, expires_us)
        job.extra = entry.job.extra
        return job


@breaks("Q11", "Q9", source="orch")
class CountsAreItsOwn(MemoryQueue):
    """counts() answers the queue's own dict."""

    def counts(self) -> dict[JobStatus, int]:
        return self._counts


@breaks("Q11", source="seed 35")
class EmptyListsBecomeObjects(MemoryQueue):
    """A result is decoded and encoded again on its way, and its empty lists come back as objects."""

    def _report(self, report: Report, now: int) -> Job:
        job = super()._report(report, now)
        stored = self._entries[report.job_id].job
        for name, value in (stored.result or {}).items():
            if value == []:
                assert stored.result is not None
                stored.result[name] = {}
        return job


@breaks("Q11", source="redis cjson; orch")
class BigNumbersAreRounded(MemoryQueue):
    """Whole numbers over 2**53 come back as the nearest double."""

    def _report(self, report: Report, now: int) -> Job:
        job = super()._report(report, now)
        stored = self._entries[report.job_id].job
        if stored.result is not None:
            stored.result = {
                name: int(float(value)) if type(value) is int else value for name, value in stored.result.items()
            }
        return job


@breaks("Q11", source="seed 59")
class TextsBecomeAscii(MemoryQueue):
    """A parameter that is not ASCII comes back with question marks."""

    def _deliver(self, entry: _Entry, worker_id: str, now: int, expires_us: int) -> Job:
        job = super()._deliver(entry, worker_id, now, expires_us)
        job.params = {
            name: value.encode("ascii", "replace").decode() if isinstance(value, str) else value
            for name, value in job.params.items()
        }
        return job


@breaks("Q11", source="orch")
class ErrorsBecomeAscii(MemoryQueue):
    """An error text that is not ASCII is stored with question marks."""

    def _end_delivery(self, entry: _Entry, event: Event, now: int, delay_s: float | None = None) -> None:
        if entry.job.error is not None:
            entry.job.error = entry.job.error.encode("ascii", "replace").decode()
        super()._end_delivery(entry, event, now, delay_s)


@breaks("Q11", source="orch")
class TimeOutsAreWhole(MemoryQueue):
    """A time-out of 2.5 s is stored as 2 s."""

    def _enqueue(self, jobs: Sequence[Job]) -> int:
        whole = [job if job.timeout_s is None else replace(job, timeout_s=float(int(job.timeout_s))) for job in jobs]
        return super()._enqueue(whole)


@breaks("Q11", source="seed 82")
class ZonesAreRewritten(MemoryQueue):
    """enqueued_at comes back in UTC: another text than the one that went in."""

    def _deliver(self, entry: _Entry, worker_id: str, now: int, expires_us: int) -> Job:
        job = super()._deliver(entry, worker_id, now, expires_us)
        job.enqueued_at = iso(iso_to_us(job.enqueued_at))
        return job


@breaks("Q11", source="procrastinate; orch")
class RetryForgetsTheSchedule(MemoryQueue):
    """A retried job is rebuilt from what the runner needs: its schedule_id is not."""

    def _end_delivery(self, entry: _Entry, event: Event, now: int, delay_s: float | None = None) -> None:
        if event is Event.RETRY:
            entry.job.schedule_id = None
        super()._end_delivery(entry, event, now, delay_s)


@breaks("Q11", source="seed 26")
class RetryLosesTheLastError(MemoryQueue):
    """A RETRY without an error wipes the one of the attempt before."""

    def _report(self, report: Report, now: int) -> Job:
        entry = self._entries.get(report.job_id)
        failures = 0 if entry is None else entry.job.failures
        job = super()._report(report, now)
        if report.error is None and job.failures > failures and job.status is JobStatus.PENDING:
            self._entries[job.id].job.error = job.error = None
        return job


@breaks("Q11", source="orch")
class SuccessKeepsTheOldError(MemoryQueue):
    """A success after a failed attempt still shows the error of that attempt."""

    def _report(self, report: Report, now: int) -> Job:
        entry = self._entries.get(report.job_id)
        error = None if entry is None else entry.job.error
        job = super()._report(report, now)
        if report.status is JobStatus.SUCCESS and report.error is None and job.attempts and error is not None:
            self._entries[job.id].job.error = job.error = error
        return job


@breaks("Q11", source="seed 26")
class RetryKeepsTheStart(MemoryQueue):
    """A job that waits for its retry shows when it was started."""

    def _end_delivery(self, entry: _Entry, event: Event, now: int, delay_s: float | None = None) -> None:
        started = entry.job.started_at
        super()._end_delivery(entry, event, now, delay_s)
        if event is Event.RETRY:
            entry.job.started_at = started


@breaks("Q11", "Q10", source="seed 26")
class RequeueKeepsTheFinish(MemoryQueue):
    """A requeued job is pending, and still shows when it was finished."""

    def _requeue(self, job_id: str) -> Job:
        entry = self._entries.get(job_id)
        finished = None if entry is None else entry.job.finished_at
        job = super()._requeue(job_id)
        if finished is not None and entry is not None:
            entry.job.finished_at = job.finished_at = finished
        return job


@breaks("Q11", source="orch")
class EnqueueChangesTheCallersJob(MemoryQueue):
    """enqueue writes its own default into the job that it was handed."""

    def enqueue(self, job: Job) -> bool:
        new = super().enqueue(job)
        if job.timeout_s is None:
            job.timeout_s = 3600.0
        return new


BUGS = bugs_of(globals())
