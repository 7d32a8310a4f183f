"""Bugs of order (Q2): what is delivered before what, when a delay is over, and when None may be said."""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heappush
from typing import Any

from orch.backends.memory import MemoryQueue, _Entry
from orch.errors import OrchError
from orch.job import Event, Job, JobStatus, Report
from orch.testing.bugs.making import breaks, bugs_of


@breaks("Q2", source="dramatiq#489, #850")
class HeapWithoutATieBreak(MemoryQueue):
    """Jobs of equal priority come out in the order of a heap that does not know their tickets."""

    def _push_ready(self, entry: _Entry) -> None:
        super()._push_ready(entry)
        lane = self._lanes[entry.job.priority]
        lane.sort(key=lambda item: item[1])

    def _pop_ready(self) -> _Entry | None:
        for lane in self._lanes.values():
            lane.sort(key=lambda item: item[1])
        return super()._pop_ready()


@breaks("Q2", source="bullmq#1915, #1929")
class GivenBackGoesBehindItsPeers(MemoryQueue):
    """A job that is given back takes a new ticket, behind its peers."""

    def _end_delivery(self, entry: _Entry, event: Event, now: int, delay_s: float | None = None) -> None:
        if event is Event.GIVE_BACK:
            self._ticket += 1
            entry.ticket = self._ticket
        super()._end_delivery(entry, event, now, delay_s)


@breaks("Q2", source="orch")
class RetryKeepsItsPlace(MemoryQueue):
    """A failed job that is retried keeps its ticket, and blocks the backlog behind it."""

    def _make_pending(self, entry: _Entry, now: int, due: int | None) -> None:
        kept = entry.ticket
        super()._make_pending(entry, now, due)
        if kept and entry.job.attempts and due is None and entry.job.failures:
            entry.ticket = kept
            heappush(self._lanes[entry.job.priority], (kept, entry.job.id))


@breaks("Q2", source="orch")
class LowestFirst(MemoryQueue):
    """Priority 1 waits for priority 0."""

    def _pop_ready(self) -> _Entry | None:
        self._priorities.reverse()
        entry = super()._pop_ready()
        self._priorities.sort()
        return entry


@breaks("Q2", source="bullmq; orch")
class PriorityComparesAsText(MemoryQueue):
    """Priorities compare as texts: -1000 comes before -1."""

    def _pop_ready(self) -> _Entry | None:
        self._priorities.sort(key=lambda priority: (priority >= 0, str(priority) if priority >= 0 else str(-priority)))
        entry = super()._pop_ready()
        self._priorities.sort()
        return entry


@breaks("Q2", source="rq 3.0; orch")
class RetryForgetsThePriority(MemoryQueue):
    """A retried job goes to the lane of priority 0."""

    def _push_ready(self, entry: _Entry) -> None:
        if not entry.job.failures:
            super()._push_ready(entry)
            return
        kept, entry.job.priority = entry.job.priority, 0
        super()._push_ready(entry)
        entry.job.priority = kept

    def _in_lane(self, entry: _Entry) -> bool:
        return any((entry.ticket, entry.job.id) in lane for lane in self._lanes.values())


@breaks("Q2", source="orch")
class DelayedByEnqueue(MemoryQueue):
    """Of two due jobs the one that was enqueued first comes first, although the other was due before it."""

    def _promote(self, now: int) -> None:
        due = sorted((seq, due, job_id) for due, seq, job_id in self._delayed if due <= now)
        for seq, due_us, job_id in due:
            entry = self._entries.get(job_id)
            if entry is not None and entry.seq == seq and entry.due_us == due_us:
                self._make_pending(entry, now, None)
        self._delayed = sorted(item for item in self._delayed if item[0] > now)


@breaks("Q2", source="orch")
class TiesOfDueTimesByName(MemoryQueue):
    """Of two jobs that are due at one time, the one with the lower id comes first."""

    def _promote(self, now: int) -> None:
        due = sorted((due, job_id, seq) for due, seq, job_id in self._delayed if due <= now)
        for due_us, job_id, seq in due:
            entry = self._entries.get(job_id)
            if entry is not None and entry.seq == seq and entry.due_us == due_us:
                self._make_pending(entry, now, None)
        self._delayed = sorted(item for item in self._delayed if item[0] > now)


@breaks("Q2", source="orch")
class OnlyADequeuePromotes(MemoryQueue):
    """A due job waits for a dequeue: what is enqueued after its time gets the earlier ticket."""

    def _enqueue(self, jobs: Sequence[Job]) -> int:
        delayed, self._delayed = self._delayed, []
        new = super()._enqueue(jobs)
        for item in delayed:
            heappush(self._delayed, item)
        return new


@breaks("Q2", source="orch")
class ReportsDoNotPromote(MemoryQueue):
    """A retried job takes its ticket before a job that was due earlier."""

    def _report(self, report: Report, now: int) -> Job:
        delayed, self._delayed = self._delayed, []
        try:
            return super()._report(report, now)
        finally:
            for item in delayed:
                heappush(self._delayed, item)


@breaks("Q2", source="orch")
class RequeuePromotes(MemoryQueue):
    """requeue promotes what is due before it takes its ticket, which only enqueue, dequeue and report do."""

    def _requeue(self, job_id: str) -> Job:
        entry = self._entries.get(job_id)
        if entry is not None and entry.job.status is JobStatus.FAILED and entry.raw is None:
            self._promote(round(self._read_clock() * 1_000_000))
        return super()._requeue(job_id)


@breaks("Q2", source="orch")
class DueIsNotYetDue(MemoryQueue):
    """A job that is due exactly now is not delivered."""

    def _promote(self, now: int) -> None:
        super()._promote(now - 1)
        for entry in self._entries.values():  # the ticket's time is right all the same
            if entry.ready_us == now - 1 and entry.due_us is None:
                entry.ready_us = now


@breaks("Q2", source="arq; seed 61")
class RetryWithoutItsDelay(MemoryQueue):
    """The delay of a RETRY is kept in the record, and the job is delivered at once."""

    def _make_pending(self, entry: _Entry, now: int, due: int | None) -> None:
        super()._make_pending(entry, now, None if entry.job.failures else due)


@breaks("Q2", source="rq-scheduler; orch")
class DelayInWholeMinutes(MemoryQueue):
    """A delay is rounded up to the next minute."""

    def _make_pending(self, entry: _Entry, now: int, due: int | None) -> None:
        if due is not None and due > now:
            due += -due % 60_000_000
        super()._make_pending(entry, now, due)


@breaks("Q2", source="seed 11")
class HeadOfLineNone(MemoryQueue):
    """a is cancelled while it waits: the next dequeue says None, although b is ready."""

    def _pop_ready(self) -> _Entry | None:
        lane = self._lanes[self._priorities[-1]] if self._priorities else []
        if lane:
            entry = self._entries.get(lane[0][1])
            if entry is None or entry.job.status is not JobStatus.PENDING:
                lane.sort()
                del lane[0]
                return None
        return super()._pop_ready()


@breaks("Q2", source="bullmq#3289")
class ALimitedLaneBlocksTheOthers(MemoryQueue):
    """While a job of the highest lane runs, dequeue says None to whoever would take from a lower one."""

    def _pop_ready(self) -> _Entry | None:
        running = [self._entries[job_id].job.priority for job_id in self._running]
        ready = [
            p
            for p in self._priorities
            if any(self._entries[i].ticket == t for t, i in self._lanes[p] if i in self._entries)
        ]
        if running and ready and max(ready) < max(running):
            return None
        return super()._pop_ready()


@breaks("Q2", source="orch")
class RequeuedKeepsItsTicket(MemoryQueue):
    """A requeued job keeps the ticket of its first life: it overtakes everybody."""

    def _requeue(self, job_id: str) -> Job:
        entry = self._entries.get(job_id)
        kept = 0 if entry is None or entry.job.status is JobStatus.PENDING else entry.ticket
        job = super()._requeue(job_id)
        if kept and entry is not None:
            entry.ticket = kept
            heappush(self._lanes[job.priority], (kept, job_id))
        return job


@breaks("Q2", "Q8", "Q4", source="orch")
class ExchangeDeliversFirst(MemoryQueue):
    """exchange delivers before it reports: what it gives back it cannot have again."""

    def _exchange(
        self, reports: Sequence[Report], n: int, worker_id: str, lease_s: float
    ) -> tuple[list[Job | OrchError], list[Job]]:
        if not n or not reports:
            return super()._exchange(reports, n, worker_id, lease_s)
        jobs = super()._exchange((), n, worker_id, lease_s)[1]
        return super()._exchange(reports, 0, worker_id, lease_s)[0], jobs


@breaks("Q2", source="sidekiq weighted queues; orch")
class BulkTakesInTurns(MemoryQueue):
    """dequeue_many takes from each priority in turn."""

    def dequeue_many(self, n: int, worker_id: str = "", **more: Any) -> list[Job]:
        jobs = super().dequeue_many(n, worker_id, **more)
        if len({job.priority for job in jobs}) > 1 and len(jobs) > 2:
            jobs.append(jobs.pop(1))
        return jobs


@breaks("Q2", source="orch")
class NotBeforeOfThePastWaits(MemoryQueue):
    """A job whose not_before is past is not ready at once: it waits for the next promotion, behind newer ones."""

    def _make_pending(self, entry: _Entry, now: int, due: int | None) -> None:
        super()._make_pending(entry, now, now + 1 if due is not None and due <= now else due)


BUGS = bugs_of(globals())
