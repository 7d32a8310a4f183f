# ruff: noqa: SIM102 - a bug reaches into what it breaks, and each condition has its line
"""Bugs of counts and lists (Q9) and of purge (Q10)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from orch.backends.memory import MemoryQueue, _Entry
from orch.clock import iso_to_us, to_us
from orch.job import Event, Job, JobStatus, QueueStats, Report
from orch.testing.bugs.making import breaks, bugs_of, drop


@breaks("Q9", source="seed 46")
class SortsTextsNotInstants(MemoryQueue):
    """Lists sort enqueued_at as texts: one hour of another zone comes first."""

    def _list(self, status: JobStatus | None, limit: int) -> list[Job]:
        jobs = super()._list(status, 10**6)
        jobs.sort(key=lambda job: (job.enqueued_at, self._entries[job.id].seq), reverse=True)
        return jobs[:limit]


@breaks("Q9", source="seed 47")
class TiesOldestFirst(MemoryQueue):
    """Jobs of one instant are listed by first enqueue, the oldest first."""

    def _list(self, status: JobStatus | None, limit: int) -> list[Job]:
        jobs = super()._list(status, 10**6)
        jobs.sort(key=lambda job: (-iso_to_us(job.enqueued_at), self._entries[job.id].seq))
        return jobs[:limit]


@breaks("Q9", source="seed 128")
class LimitZeroMeansNone(MemoryQueue):
    """list_jobs(limit=0) has no limit."""

    def list_jobs(self, status: JobStatus | None = None, limit: int = 100) -> list[Job]:
        return super().list_jobs(status, 1000 if limit == 0 else limit)


@breaks("Q9", "Q13", source="orch")
class LimitBeforeFilter(MemoryQueue):
    """The limit is taken before the filter: list_jobs(FAILED, 1) has nothing when the newest job is no failed one."""

    def _list(self, status: JobStatus | None, limit: int) -> list[Job]:
        newest = sorted((entry.key for entry in self._entries.values()), reverse=True)[:limit]
        ids = {job_id for _, _, job_id in newest}
        return [job for job in super()._list(status, 10**6) if job.id in ids]


@breaks("Q9", source="orch")
class OneMoreThanTheLimit(MemoryQueue):
    """list_jobs(limit=1) answers two."""

    def _list(self, status: JobStatus | None, limit: int) -> list[Job]:
        return super()._list(status, limit + 1)


@breaks("Q9", source="seed 49")
class CountsFromAnotherMoment(MemoryQueue):
    """The count of the running is the one of the last time that somebody asked."""

    asked = 0

    def counts(self) -> dict[JobStatus, int]:
        counts = super().counts()
        self.asked, counts[JobStatus.RUNNING] = counts[JobStatus.RUNNING], self.asked
        return counts


@breaks("Q9", "Q8", source="sidekiq#5524, #6852")
class EveryRunLowersTheCounter(MemoryQueue):
    """A plain counter goes down with each report, also a repeated one: one job more is done than there are."""

    def _report(self, report: Report, now: int) -> Job:
        entry = self._entries.get(report.job_id)
        known = entry is not None and report.lease is not None and entry.raw is None
        if known and entry is not None and report.lease is not None:
            if entry.settled == (report.lease.token, report.status):
                self._counts[entry.job.status] += 1
        return super()._report(report, now)


@breaks("Q9", source="seed 50")
class ARetryIsCountedTwice(MemoryQueue):
    """count(RETRY) says how many wait for a retry, which are pending already."""

    def count(self, status: JobStatus | None = None) -> int:
        if status is JobStatus.RETRY:
            return sum(1 for e in self._entries.values() if e.job.failures and e.job.status is JobStatus.PENDING)
        return super().count(status)


@breaks("Q9", source="seed 11")
class CancelledStayReady(MemoryQueue):
    """A job that is cancelled while it waits is counted as ready for ever."""

    def _drop_ready(self, priority: int) -> None:
        pass


@breaks("Q9", source="orch")
class AgeOfTheYoungest(MemoryQueue):
    """oldest_ready_age_s is that of the job that became ready last."""

    def stats(self) -> QueueStats:
        stats = super().stats()
        if stats.oldest_ready_age_s is None:
            return stats
        ready = [e.ready_us for e in self._entries.values() if e.job.status is JobStatus.PENDING and e.due_us is None]
        age = (to_us(self._read_clock()) - max(ready)) / 1_000_000
        return replace(stats, oldest_ready_age_s=max(0.0, age))


@breaks("Q9", source="orch")
class AgeSinceTheEnqueue(MemoryQueue):
    """oldest_ready_age_s counts from the enqueue, though the job was delayed or has just been retried."""

    def _make_pending(self, entry: _Entry, now: int, due: int | None) -> None:
        ready = entry.ready_us
        super()._make_pending(entry, now, due)
        entry.ready_us = ready or now


@breaks("Q9", source="orch")
class ListsWithoutLeases(MemoryQueue):
    """list_jobs shows running jobs without their leases."""

    def _list(self, status: JobStatus | None, limit: int) -> list[Job]:
        return [replace(job, lease=None) for job in super()._list(status, limit)]


@breaks("Q9", source="rq#2061; orch")
class RequeuedStaysListedAsFailed(MemoryQueue):
    """A requeued job is still in the list of the failed."""

    def __init__(self, **more: object) -> None:
        super().__init__(**more)  # type: ignore[arg-type]  # passed on
        self._again: set[str] = set()

    def _requeue(self, job_id: str) -> Job:
        entry = self._entries.get(job_id)
        if entry is not None and entry.job.status is JobStatus.FAILED:
            self._again.add(job_id)
        return super()._requeue(job_id)

    def _list(self, status: JobStatus | None, limit: int) -> list[Job]:
        jobs = super()._list(status, limit)
        if status is JobStatus.FAILED:
            known = {job.id for job in jobs}
            jobs += [e.job.copy() for id in self._again - known if (e := self._entries.get(id)) and e.raw is None]
        return jobs[:limit]


@breaks("Q9", source="orch")
class ListEndsAtAHundred(MemoryQueue):
    """list_jobs(limit=1000) answers a hundred."""

    def _list(self, status: JobStatus | None, limit: int) -> list[Job]:
        return super()._list(status, min(limit, 100))


@breaks("Q10", source="seed 41")
class PurgeByTheEnqueue(MemoryQueue):
    """purge(h) removes what was enqueued more than h hours ago, although it has just finished."""

    def _purge(self, older_than_s: float) -> int:
        cutoff = to_us(self._read_clock()) - to_us(older_than_s)
        old = [
            job_id
            for job_id, entry in self._entries.items()
            if entry.job.status in (JobStatus.SUCCESS, JobStatus.FAILED) and entry.key[0] < cutoff
        ]
        for job_id in old:
            drop(self, job_id)
        return len(old)


@breaks("Q10", source="orch")
class PurgeAtTheHour(MemoryQueue):
    """purge(h) takes a job that finished exactly h hours ago."""

    def _purge(self, older_than_s: float) -> int:
        return super()._purge(older_than_s - 0.000001)


@breaks("Q10", source="orch")
class PurgeInWholeHours(MemoryQueue):
    """purge(0.5) purges everything: hours are whole."""

    def _purge(self, older_than_s: float) -> int:
        return super()._purge(older_than_s // 3600 * 3600)


@breaks("Q10", source="orch")
class PurgeSparesTheFailed(MemoryQueue):
    """purge removes successes only."""

    def _purge(self, older_than_s: float) -> int:
        failed = [item for item in self._finished if self._is(item[2], JobStatus.FAILED)]
        self._finished = sorted(item for item in self._finished if item not in failed)
        removed = super()._purge(older_than_s)
        self._finished = sorted([*self._finished, *failed])
        return removed

    def _is(self, job_id: str, status: JobStatus) -> bool:
        entry = self._entries.get(job_id)
        return entry is not None and entry.job.status is status


@breaks("Q10", "Q1", source="asynq; orch")
class PurgeTakesTheRequeued(MemoryQueue):
    """A job failed an hour ago and was requeued: purge takes it for a finished one, while it waits."""

    def _requeue(self, job_id: str) -> Job:
        entry = self._entries.get(job_id)
        finished = 0 if entry is None else entry.finished_us
        job = super()._requeue(job_id)
        if entry is not None:
            entry.finished_us = finished
        return job


@breaks("Q10", source="asynq#275, procrastinate#374")
class PurgedIdsStayTaken(MemoryQueue):
    """The lock of a unique job outlives the job: after a purge its id is refused for ever."""

    def __init__(self, **more: object) -> None:
        super().__init__(**more)  # type: ignore[arg-type]  # passed on
        self._taken: set[str] = set()

    def _enqueue(self, jobs: Sequence[Job]) -> int:
        new = super()._enqueue([job for job in jobs if job.id not in self._taken])
        self._taken.update(job.id for job in jobs)
        return new


@breaks("Q10", source="orch")
class PurgeAnswersTooMuch(MemoryQueue):
    """purge answers how many it looked at, not how many it removed."""

    def _purge(self, older_than_s: float) -> int:
        final = self._counts[JobStatus.SUCCESS] + self._counts[JobStatus.FAILED]
        super()._purge(older_than_s)
        return final


@breaks("Q10", source="orch")
class PurgeOfOneSlice(MemoryQueue):
    """purge removes a thousand jobs, and leaves the rest."""

    def _purge(self, older_than_s: float) -> int:
        rest = self._finished[1000:]
        del self._finished[1000:]
        removed = super()._purge(older_than_s)
        self._finished += rest
        return removed


@breaks("Q10", source="seed 43")
class CancelledBeforeTheStartIsNeverPurged(MemoryQueue):
    """A job that was cancelled while it waited has no start, and stays for ever."""

    def _end_delivery(self, entry: _Entry, event: Event, now: int, delay_s: float | None = None) -> None:
        waited = entry.job.status is JobStatus.PENDING
        super()._end_delivery(entry, event, now, delay_s)
        if waited and event is Event.FAIL:
            self._finished = sorted(item for item in self._finished if item[2] != entry.job.id)


BUGS = bugs_of(globals())
