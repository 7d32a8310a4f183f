# ruff: noqa: SIM102 - a bug reaches into what it breaks, and each condition has its line
"""Bugs of recovery (Q5): a job whose holder vanished comes back late, never, too early, or not where it belongs."""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heappush
from typing import Any

from orch.backends.memory import MemoryQueue, _Entry
from orch.clock import to_us
from orch.errors import LeaseLost, OrchError
from orch.job import Event, Job, JobStatus, Lease, Report
from orch.testing.bugs.making import Mortal, breaks, bugs_of, set_status


@breaks("Q5", source="taskiq-redis 1.2.3 (catalogue K1)")
class RecoveryOnlyOnTheBusyPath(MemoryQueue):
    """A takes j and dies; the queue is idle: no dequeue takes j back until another job arrives."""

    def _reclaim(self, now: int) -> None:
        if self._ready:
            super()._reclaim(now)


@breaks("Q5", source="taskiq-redis#131")
class ReclaimLockIsNeverReleased(Mortal):
    """A client dies inside reclaim, holding its lock, which has no end: nobody takes back a lease any more."""

    locked = False

    def _reclaim(self, now: int) -> None:
        if self.locked:
            return
        if self._leases and self._leases[0][0] <= now:
            self.locked = True
            self.step()
        super()._reclaim(now)
        self.locked = False


@breaks("Q5", source="arq#343")
class WaitsForTheJobsTimeOut(MemoryQueue):
    """After a crash the job waits for its whole time-out, however short its lease was."""

    def _deliver(self, entry: _Entry, worker_id: str, now: int, expires_us: int) -> Job:
        job = super()._deliver(entry, worker_id, now, expires_us)
        if job.timeout_s is not None and expires_us < (late := now + to_us(job.timeout_s + 10)):
            self._leases = [item for item in self._leases if item[2] != job.id]
            entry.expires_us = late
            assert job.lease is not None
            heappush(self._leases, (late, job.lease.token, job.id))
        return job


@breaks("Q5", source="oban#862")
class SameNameIsNotAnOrphan(MemoryQueue):
    """The worker w1 dies and comes back under its name: it takes its own lost job for one that it still runs."""

    caller = ""

    def _exchange(
        self, reports: Sequence[Report], n: int, worker_id: str, lease_s: float
    ) -> tuple[list[Job | OrchError], list[Job]]:
        self.caller = worker_id
        return super()._exchange(reports, n, worker_id, lease_s)

    def _reclaim(self, now: int) -> None:
        own = []
        for item in self._leases:
            entry = self._entries.get(item[2])
            if entry is not None and entry.job.lease is not None and entry.job.lease.worker_id == self.caller != "":
                own.append(item)
        self._leases = sorted(item for item in self._leases if item not in own)
        super()._reclaim(now)
        for item in own:
            heappush(self._leases, item)


@breaks("Q4", "Q5", source="oban#1141")
class RescueByAge(MemoryQueue):
    """A job is rescued so long after its start, although its worker lives and has extended its lease."""

    def _extend(self, leases: Sequence[Lease], lease_s: float) -> list[Lease | OrchError]:
        ends = {id: entry.expires_us for id, entry in self._entries.items()}
        answers = super()._extend(leases, lease_s)
        for answer in answers:
            if isinstance(answer, Lease):
                entry = self._entries[answer.job_id]
                entry.expires_us = ends[answer.job_id]
                heappush(self._leases, (entry.expires_us, answer.token, answer.job_id))
        return answers


@breaks("Q6", source="river#1105")
class UnknownKindIsDiscarded(MemoryQueue):
    """Recovery runs on a node that does not know the kind of the job, and discards it: failed, budget unused."""

    def _end_delivery(self, entry: _Entry, event: Event, now: int, delay_s: float | None = None) -> None:
        if event is Event.LEASE_LOST and entry.job.dag_path.startswith("e"):
            event = Event.FAIL
        super()._end_delivery(entry, event, now, delay_s)


@breaks("Q4", source="asynq#717, rq 3.0 (catalogue K5)")
class TwoRecoverersPushTwice(MemoryQueue):
    """Two recoverers list one expired lease, and both push the job: it is delivered while it runs."""

    twice = ""

    def _end_delivery(self, entry: _Entry, event: Event, now: int, delay_s: float | None = None) -> None:
        super()._end_delivery(entry, event, now, delay_s)
        if event is Event.LEASE_LOST:
            self.twice = entry.job.id

    def _pop_ready(self) -> _Entry | None:
        entry = super()._pop_ready()
        again = self._entries.get(self.twice)
        if entry is None and again is not None and again.job.status is JobStatus.RUNNING:
            self.twice = ""
            set_status(self, again, JobStatus.PENDING)
            return again
        return entry


@breaks("Q5", source="procrastinate#1408")
class TheFirstLiveLeaseStopsTheSweep(MemoryQueue):
    """The sweep goes by age of delivery and stops at the first live lease: a long one hides the short behind it."""

    def _reclaim(self, now: int) -> None:
        held = [entry for entry in self._entries.values() if entry.job.lease is not None]
        oldest = min(held, key=lambda entry: entry.job.lease.token if entry.job.lease else 0, default=None)
        if oldest is not None and oldest.expires_us <= now:
            super()._reclaim(now)


@breaks("Q5", "Q13", source="dbos#716")
class ABlipDropsItFromRecovery(MemoryQueue):
    """Recovery stumbles over one record that cannot be read: the item is logged and never recovered."""

    def _reclaim(self, now: int) -> None:
        ends = [item for item in self._leases if item[0] <= now]
        bad = any(entry.raw is not None for item in ends if (entry := self._entries.get(item[2])) is not None)
        super()._reclaim(now)
        if bad:
            self._leases = []


@breaks("Q5", source="saq sweep; orch")
class SweepWithTheDefaultLease(MemoryQueue):
    """The lease that the caller asked for is not kept: the queue's own is."""

    def _exchange(
        self, reports: Sequence[Report], n: int, worker_id: str, lease_s: float
    ) -> tuple[list[Job | OrchError], list[Job]]:
        return super()._exchange(reports, n, worker_id, self.lease_s)


@breaks("Q5", source="orch")
class ExpiresAMicrosecondLate(MemoryQueue):
    """A lease that ends now is taken back a microsecond later."""

    def _reclaim(self, now: int) -> None:
        super()._reclaim(now - 1)


@breaks("Q4", "Q5", source="orch")
class ExpiresAMicrosecondEarly(MemoryQueue):
    """A lease that ends in a microsecond is taken back now."""

    def _reclaim(self, now: int) -> None:
        for entry in self._entries.values():
            if entry.job.lease is not None and entry.expires_us == now + 1:
                entry.expires_us = now
                heappush(self._leases, (now, entry.job.lease.token, entry.job.id))
        super()._reclaim(now)


@breaks("Q5", source="catalogue K6; bullmq#3183")
class ExtensionShortens(MemoryQueue):
    """A short extension of a long lease makes it end earlier: the live worker loses its job."""

    def _extend(self, leases: Sequence[Lease], lease_s: float) -> list[Lease | OrchError]:
        for lease in leases:
            entry = self._entries.get(lease.job_id)
            if entry is not None and entry.job.lease is not None and entry.job.lease.token == lease.token:
                entry.expires_us = min(entry.expires_us, to_us(self._read_clock()) + 1)
        return super()._extend(leases, lease_s)


@breaks("Q5", source="orch")
class ExtensionFromTheOldEnd(MemoryQueue):
    """An extension counts from the end of the lease, not from now: a dead worker's job comes back late."""

    def _extend(self, leases: Sequence[Lease], lease_s: float) -> list[Lease | OrchError]:
        now = self._read_clock()
        ends = [entry.expires_us / 1_000_000 for lease in leases if (entry := self._entries.get(lease.job_id))]
        return super()._extend(leases, lease_s + max(0.0, max(ends, default=now) - now))


@breaks("Q4", "Q5", source="orch")
class ExpiredCannotBeExtended(MemoryQueue):
    """A lease past its end that nobody took back is still current, and its extension is refused."""

    def _extend(self, leases: Sequence[Lease], lease_s: float) -> list[Lease | OrchError]:
        now = to_us(self._read_clock())
        answers: list[Lease | OrchError] = []
        for lease in leases:
            entry = self._entries.get(lease.job_id)
            late = entry is not None and entry.job.lease is not None and entry.expires_us <= now
            answers += [LeaseLost(f"lease {lease.token} has ended")] if late else super()._extend([lease], lease_s)
        return answers


@breaks("Q4", source="huey; orch")
class ExpiredCannotBeReported(MemoryQueue):
    """A report a moment after the end of the lease, which nobody took back, is refused: the work is done again."""

    def _report(self, report: Report, now: int) -> Job:
        entry = self._entries.get(report.job_id)
        if report.lease is not None and entry is not None and entry.job.lease == report.lease:
            if entry.expires_us <= now and entry.raw is None:
                raise LeaseLost(f"lease {report.lease.token} has ended")
        return super()._report(report, now)


@breaks("Q2", source="saq, dramatiq, rq (catalogue 59)")
class RecoveredGoesBehindTheBacklog(MemoryQueue):
    """A recovered job takes a new ticket: it waits behind the whole backlog."""

    def _end_delivery(self, entry: _Entry, event: Event, now: int, delay_s: float | None = None) -> None:
        if event is Event.LEASE_LOST:
            self._ticket += 1
            entry.ticket = self._ticket
        super()._end_delivery(entry, event, now, delay_s)


@breaks("Q5", source="orch")
class SweepTakesOneAtATime(MemoryQueue):
    """A dequeue takes back only the first of several lost leases."""

    def _reclaim(self, now: int) -> None:
        first, rest = self._leases[:1], sorted(self._leases[1:])
        if first and first[0][0] <= now:
            self._leases = first
            super()._reclaim(now)
            rest += self._leases
            self._leases = sorted(rest)


@breaks("Q5", source="orch")
class GivesUpBehindAStaleLease(MemoryQueue):
    """The sweep finds a lease that was settled, and stops there: those behind it wait for the next dequeue."""

    def _reclaim(self, now: int) -> None:
        if self._leases and self._leases[0][0] <= now:
            _, token, job_id = self._leases[0]
            entry = self._entries.get(job_id)
            if entry is None or entry.job.lease is None or entry.job.lease.token != token:
                self._leases = sorted(self._leases)[1:]
                return
        super()._reclaim(now)


@breaks("Q5", source="seed 55")
class BulkDeliveriesAreNotWatched(MemoryQueue):
    """Of the jobs that one dequeue_many delivers, only the first is taken back when its worker dies."""

    def dequeue_many(self, n: int, worker_id: str = "", **more: Any) -> list[Job]:
        jobs = super().dequeue_many(n, worker_id, **more)
        late = {job.id for job in jobs[1:]}
        self._leases = sorted(item for item in self._leases if item[2] not in late)
        return jobs


BUGS = bugs_of(globals())
