"""Bugs that lose a job, mostly because two steps are not one (Q1): at take, at a due time, at a finish."""

from __future__ import annotations

from heapq import heappop
from typing import Any

from orch.backends.memory import MemoryQueue, _Entry
from orch.job import Event, Job, JobStatus
from orch.testing.bugs.making import Mortal, breaks, bugs_of, drop


@breaks("Q1", source="rq#580, #1716, #2015")
class PopsBeforeItRegisters(Mortal):
    """Push; pop; die before the job is registered as started: its hash exists, and no list holds it."""

    def _deliver(self, entry: _Entry, worker_id: str, now: int, expires_us: int) -> Job:
        self.step()
        return super()._deliver(entry, worker_id, now, expires_us)


@breaks("Q1", source="sidekiq#1841")
class DuePopThenPush(Mortal):
    """The scheduled set is popped, then the job is pushed: a client that dies between loses it."""

    def _promote(self, now: int) -> None:
        while self._delayed and self._delayed[0][0] <= now:
            _, _, job_id = heappop(self._delayed)
            self.step()
            entry = self._entries.get(job_id)
            if entry is not None and entry.due_us is not None and entry.job.status is JobStatus.PENDING:
                self._make_pending(entry, now, None)


@breaks("Q1", "Q8", source="seed 2")
class RecordThenPush(Mortal):
    """enqueue writes the record, then pushes the id: a client that dies between leaves a job that never comes."""

    def _push_ready(self, entry: _Entry) -> None:
        if entry.job.attempts == 0:
            self._ready += 1
            self.step()
            self._ready -= 1
        super()._push_ready(entry)


@breaks("Q8", "Q1", "Q6", source="seed 4")
class RetryPushesBeforeItWrites(Mortal):
    """RETRY pushes the id, dies, and the failure was never counted: no bound on runs."""

    def _end_delivery(self, entry: _Entry, event: Event, now: int, delay_s: float | None = None) -> None:
        if event is not Event.RETRY:
            super()._end_delivery(entry, event, now, delay_s)
            return
        failures, entry.job.failures = entry.job.failures, entry.job.failures - 1
        super()._end_delivery(entry, event, now, delay_s)
        self.step()
        entry.job.failures = failures


@breaks("Q1", source="saq sweep (catalogue K3)")
class SweepAbortsThenRetries(Mortal):
    """The sweep takes the lost job off every index, and dies before it puts it back: it stays so for ever."""

    def _end_delivery(self, entry: _Entry, event: Event, now: int, delay_s: float | None = None) -> None:
        if event is Event.LEASE_LOST:
            entry.job.lease = None
            self.step()
        super()._end_delivery(entry, event, now, delay_s)


@breaks("Q8", "Q1", source="orch")
class CancelDiesHalfway(Mortal):
    """cancel writes the error, then the status: a client that dies between leaves a cancelled job that still runs."""

    def _end_delivery(self, entry: _Entry, event: Event, now: int, delay_s: float | None = None) -> None:
        if event is Event.FAIL:
            self.step()
        super()._end_delivery(entry, event, now, delay_s)


@breaks("Q1", "Q8", source="prefect#8566")
class RequeueLeavesTheFailedFirst(Mortal):
    """requeue takes the job out of the failed ones and dies before it is pending: it is in no list."""

    def _requeue(self, job_id: str) -> Job:
        entry = self._entries.get(job_id)
        if entry is not None and entry.raw is None and entry.job.status is JobStatus.FAILED:
            del self._entries[job_id]
            self._counts[JobStatus.FAILED] -= 1
            self.step()
            self._entries[job_id] = entry
            self._counts[JobStatus.FAILED] += 1
        return super()._requeue(job_id)


@breaks("Q8", "Q9", source="orch")
class PurgeCountsThenRemoves(Mortal):
    """purge lowers the count, then removes: a client that dies between leaves a count that is wrong for ever."""

    def _purge(self, older_than_s: float) -> int:
        successes = self._counts[JobStatus.SUCCESS]
        removed = super()._purge(older_than_s)
        if removed:
            self._counts[JobStatus.SUCCESS], after = successes, self._counts[JobStatus.SUCCESS]
            self.step()
            self._counts[JobStatus.SUCCESS] = after
        return removed


@breaks("Q1", source="kombu#1444")
class RestoreForgetsThePush(MemoryQueue):
    """A lost lease leaves the index of the running, and the push back fails: pending, and never delivered again."""

    def _end_delivery(self, entry: _Entry, event: Event, now: int, delay_s: float | None = None) -> None:
        super()._end_delivery(entry, event, now, delay_s)
        if event is Event.LEASE_LOST:
            entry.ticket = -1


@breaks("Q1", "Q2", source="celery#4354")
class WarmShutdownDropsIt(MemoryQueue):
    """A job that is given back at shutdown is pending again, but stands in no list: it is never delivered."""

    def _push_ready(self, entry: _Entry) -> None:
        super()._push_ready(entry)
        if entry.job.attempts and not entry.job.failures and not entry.job.crashes:
            entry.ticket = -1


@breaks("Q1", "Q13", source="huey#815")
class BadItemLosesTheBatch(MemoryQueue):
    """Of the due jobs one cannot be read: all that were due with it are lost."""

    def _promote(self, now: int) -> None:
        due = [job_id for due_us, _, job_id in self._delayed if due_us <= now]
        if any(entry.raw is not None for job_id in due if (entry := self._entries.get(job_id)) is not None):
            self._delayed = [item for item in self._delayed if item[0] > now]
        super()._promote(now)


@breaks("Q1", source="arq#320")
class PayloadEndsBeforeItsEntry(MemoryQueue):
    """A job that waits for more than a day has lost its payload when it is its turn: it is dropped as expired."""

    def _pop_ready(self) -> _Entry | None:
        while (entry := super()._pop_ready()) is not None:
            if entry.ready_us > (self._read_clock() - 86_400) * 1_000_000:
                return entry
            drop(self, entry.job.id)
        return None


@breaks("Q1", source="resque-scheduler#46")
class NewcomerAtTheSameTimeIsLost(MemoryQueue):
    """Two jobs are due at one time: taking the first deletes the list of that time, and the second with it."""

    def _promote(self, now: int) -> None:
        seen: set[int] = set()
        for due_us, _, job_id in list(self._delayed):
            if due_us <= now:
                if due_us in seen:
                    self._delayed = [item for item in self._delayed if item[2] != job_id]
                seen.add(due_us)
        super()._promote(now)


@breaks("Q1", source="celery#1628")
class LostWorkerMeansDone(MemoryQueue):
    """A job whose worker was killed is acknowledged as lost and forgotten."""

    def _reclaim(self, now: int) -> None:
        for _, _, job_id in list(self._leases):
            entry = self._entries.get(job_id)
            if entry is not None and entry.job.lease is not None and entry.expires_us <= now:
                drop(self, job_id)


@breaks("Q1", source="seed 5, 7")
class SecondOfABatchIsLost(MemoryQueue):
    """dequeue_many takes one job more than it answers when more are ready: its reply was cut."""

    def dequeue_many(self, n: int, worker_id: str = "", **more: Any) -> list[Job]:
        jobs = super().dequeue_many(n, worker_id, **more)
        if len(jobs) > 1:
            drop(self, jobs[-1].id)
            jobs.pop()
        return jobs


BUGS = bugs_of(globals())
