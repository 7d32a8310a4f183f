# ruff: noqa: SIM102 - a bug reaches into what it breaks, and each condition has its line
"""Bugs of bounded work (Q6): what counts as an attempt, a failure, a crash, and when enough is enough."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from orch.backends.memory import MemoryQueue, _Entry
from orch.job import Event, Job, JobStatus, Report
from orch.testing.bugs.making import breaks, bugs_of


@breaks("Q6", source="dramatiq#213, beanstalkd#189")
class LostLeasesAreNotCounted(MemoryQueue):
    """A job that kills its worker is delivered for ever: lost leases are not counted."""

    def _end_delivery(self, entry: _Entry, event: Event, now: int, delay_s: float | None = None) -> None:
        if event is Event.LEASE_LOST:
            entry.job.crashes = 0
        super()._end_delivery(entry, event, now, delay_s)


@breaks("Q6", source="airflow#25843, #32289")
class OneCrashCountsTwice(MemoryQueue):
    """Two schedulers find the same dead task, and both count it: the budget is used up early."""

    def _end_delivery(self, entry: _Entry, event: Event, now: int, delay_s: float | None = None) -> None:
        if event is Event.LEASE_LOST and entry.job.crashes > 1:
            entry.job.crashes += 1
        super()._end_delivery(entry, event, now, delay_s)


@breaks("Q6", source="faktory#409, #453")
class ReservationsSpendRetries(MemoryQueue):
    """A lost lease counts as a failure of the job."""

    def _end_delivery(self, entry: _Entry, event: Event, now: int, delay_s: float | None = None) -> None:
        if event is Event.LEASE_LOST:
            entry.job.failures += 1
        super()._end_delivery(entry, event, now, delay_s)


@breaks("Q6", source="orch")
class OneRetryTooMany(MemoryQueue):
    """RETRY with the budget used up is granted once more."""

    def _report(self, report: Report, now: int) -> Job:
        entry = self._entries.get(report.job_id)
        if entry is None:
            return super()._report(report, now)
        entry.job.max_retries += 1
        try:
            job = super()._report(report, now)
        finally:
            entry.job.max_retries -= 1
        job.max_retries -= 1
        return job


@breaks("Q6", source="orch")
class OneRetryTooFew(MemoryQueue):
    """max_retries counts the first run: with 1 there is no retry at all."""

    def _report(self, report: Report, now: int) -> Job:
        entry = self._entries.get(report.job_id)
        if report.status is JobStatus.RETRY and entry is not None and entry.job.max_retries > 0:
            if entry.job.failures == entry.job.max_retries - 1:
                kept, entry.job.max_retries = entry.job.max_retries, entry.job.failures
                try:
                    job = super()._report(report, now)
                finally:
                    entry.job.max_retries = kept
                job.max_retries = kept
                return job
        return super()._report(report, now)


@breaks("Q6", source="seed 26")
class ExhaustedLosesItsError(MemoryQueue):
    """The last RETRY gives no error, and the error of the one before is lost."""

    def _end_delivery(self, entry: _Entry, event: Event, now: int, delay_s: float | None = None) -> None:
        if event is Event.EXHAUST:
            entry.job.error = None
        super()._end_delivery(entry, event, now, delay_s)


@breaks("Q6", source="orch")
class RequeueResetsAttempts(MemoryQueue):
    """requeue starts counting deliveries from 0."""

    def _requeue(self, job_id: str) -> Job:
        entry = self._entries.get(job_id)
        failed = entry is not None and entry.job.status is JobStatus.FAILED
        job = super()._requeue(job_id)
        if failed and entry is not None:
            entry.job.attempts = job.attempts = 0
        return job


@breaks("Q6", source="orch")
class RequeueKeepsTheCrashes(MemoryQueue):
    """A job that was failed for its crashes, requeued, has no budget for another."""

    def _requeue(self, job_id: str) -> Job:
        entry = self._entries.get(job_id)
        crashes = 0 if entry is None else entry.job.crashes
        job = super()._requeue(job_id)
        if entry is not None:
            entry.job.crashes = job.crashes = crashes
        return job


@breaks("Q6", source="orch")
class GiveBackSpendsARetry(MemoryQueue):
    """A job that is given back untouched has failed once more."""

    def _end_delivery(self, entry: _Entry, event: Event, now: int, delay_s: float | None = None) -> None:
        if event is Event.GIVE_BACK:
            entry.job.failures += 1
        super()._end_delivery(entry, event, now, delay_s)


@breaks("Q6", source="orch")
class GiveBackTakesBackTheAttempt(MemoryQueue):
    """A give-back lowers the number of deliveries."""

    def _end_delivery(self, entry: _Entry, event: Event, now: int, delay_s: float | None = None) -> None:
        if event is Event.GIVE_BACK:
            entry.job.attempts -= 1
        super()._end_delivery(entry, event, now, delay_s)


@breaks("Q6", source="orch")
class FailedIsNoFailure(MemoryQueue):
    """FAILED does not count among the failures."""

    def _end_delivery(self, entry: _Entry, event: Event, now: int, delay_s: float | None = None) -> None:
        if event is Event.FAIL:
            entry.job.failures -= 1
        super()._end_delivery(entry, event, now, delay_s)


@breaks("Q6", source="orch")
class RetryForgivesTheCrashes(MemoryQueue):
    """A run that ends with RETRY zeroes the crashes: a poison job that fails at times runs for ever."""

    def _end_delivery(self, entry: _Entry, event: Event, now: int, delay_s: float | None = None) -> None:
        if event is Event.RETRY:
            entry.job.crashes = 0
        super()._end_delivery(entry, event, now, delay_s)


@breaks("Q6", source="saq#127")
class CrashLimitSaysNothing(MemoryQueue):
    """A job over its crash budget is failed with the error of its last retry, not with one that says why."""

    def _reclaim(self, now: int) -> None:
        errors = {job_id: self._entries[job_id].job.error for job_id in self._running}
        super()._reclaim(now)
        for job_id, error in errors.items():
            entry = self._entries.get(job_id)
            if entry is not None and entry.job.status is JobStatus.FAILED:
                entry.job.error = error


@breaks("Q6", source="orch")
class OperatorsRetryIsFree(MemoryQueue):
    """RETRY without a lease does not count as a failure: an operator can go on for ever."""

    def _report(self, report: Report, now: int) -> Job:
        entry = self._entries.get(report.job_id)
        if report.lease is None and report.status is JobStatus.RETRY and entry is not None:
            if entry.job.status is JobStatus.RUNNING and entry.job.failures < entry.job.max_retries:
                job = super()._report(report, now)
                entry.job.failures -= 1
                return replace(job, failures=job.failures - 1)
        return super()._report(report, now)


@breaks("Q6", source="orch")
class CancelCountsTwice(MemoryQueue):
    """cancel of a running job counts a failure for the job and one for the cancel."""

    def cancel(self, job_id: str) -> Job:
        entry = self._entries.get(job_id)
        runs = entry is not None and entry.job.status is JobStatus.RUNNING
        job = super().cancel(job_id)
        if runs and entry is not None:
            entry.job.failures += 1
            job.failures += 1
        return job


@breaks("Q3", "Q6", source="dbos#403")
class DuplicatesSpendTheBudget(MemoryQueue):
    """Every enqueue of a known id bumps its crashes: a job that is enqueued each minute fails without a crash."""

    def _enqueue(self, jobs: Sequence[Job]) -> int:
        for job in jobs:
            entry = self._entries.get(job.id)
            if entry is not None and entry.job.status is JobStatus.RUNNING:
                entry.job.crashes += 1
        return super()._enqueue(jobs)


BUGS = bugs_of(globals())
