"""Bugs that need several clients, or the death of one between two commands of a verb.

A queue with `in_steps` says how a verb is made of several commands: a generator that stops between two of them. In a
world other clients come in between, and a client may die there.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from heapq import heappop, heappush
from typing import Any

from orch.backends.memory import MemoryQueue, _Entry, _holds
from orch.clock import Clock, to_us
from orch.errors import OrchError
from orch.job import Event, Job, JobStatus, Lease, Report, crash_limit_error, event_of_lost_lease
from orch.scheduler import Scheduler
from orch.simulator.ordeal import LEASE_S, MAX_CRASHES, Subject
from orch.testing.bugs.catalogue import Bug
from orch.testing.bugs.making import name_of

Steps = Generator[Any, None, Any]
BUGS: tuple[Bug, ...] = ()


def breaks(*promises: str, source: str) -> Callable[[Any], Any]:
    """A class of queues that breaks these promises under several clients."""

    def mark(kind: Any) -> Any:
        global BUGS  # noqa: PLW0603  # the list of this module, in the order of its lines

        def make_queue(clock: Clock) -> MemoryQueue:
            queue: MemoryQueue = kind(lease_s=LEASE_S, max_crashes=MAX_CRASHES, clock=clock)
            return queue

        what = " ".join((kind.__doc__ or "").split())
        BUGS = (*BUGS, Bug(name_of(kind), "sim", promises, what, source, lambda: Subject(make_queue)))
        return kind

    return mark


class Commands(MemoryQueue):
    """A queue whose verbs are several commands: reports, recovery, and taking, one job after the other."""

    def in_steps(self, verb: str, asked: Any, n: int, worker_id: str, lease_s: float) -> Steps | None:
        """The commands of a verb; None for one that is a single command."""
        if verb == "exchange":
            return self._as_commands(asked, n, worker_id, lease_s)
        return self._jobs_only(n, worker_id, lease_s) if verb == "dequeue" else None

    def _jobs_only(self, n: int, worker_id: str, lease_s: float) -> Steps:
        answer = yield from self._as_commands((), n, worker_id, lease_s)
        return answer[1]

    def _as_commands(self, reports: Sequence[Report], n: int, worker_id: str, lease_s: float) -> Steps:
        results: list[Job | OrchError] = []
        jobs: list[Job] = []
        for report in reports:
            results.append((yield from self.take_report(report)))  # noqa: PERF401  # a comprehension cannot yield
        if n:
            self._beat(worker_id, self.us())
            yield from self.recover()
            yield from self.promote()
            while len(jobs) < n:
                job = yield from self.take(worker_id, lease_s)
                if job is None:
                    break
                yield job
                jobs.append(job)
        return results, jobs

    def us(self) -> int:
        """The time of the store in microseconds."""
        return to_us(self._read_clock())

    def take_report(self, report: Report) -> Steps:
        """One report: in one command."""
        answer = self.answer_to(report)
        yield report, answer
        return answer

    def answer_to(self, report: Report) -> Job | OrchError:
        """What a report is answered."""
        try:
            return self._report(report, self.us())
        except OrchError as error:
            return error

    def recover(self) -> Steps:
        """Take back what was lost, in commands of its own."""
        yield from ()

    def promote(self) -> Steps:
        """Make ready what is due, in commands of its own."""
        yield from ()

    def take(self, worker_id: str, lease_s: float) -> Steps:
        """Deliver one job, or None: recovery, promotion and delivery in one command, unless they have their own."""
        entry = self.pop()
        now = self.us()
        yield from ()
        return None if entry is None else self._deliver(entry, worker_id, now, now + to_us(lease_s))

    def pop(self) -> _Entry | None:
        """The best ready job; recovery and promotion are part of it unless they are commands of their own."""
        now = self.us()
        if type(self).recover is Commands.recover:
            self._reclaim(now)
        if type(self).promote is Commands.promote:
            self._promote(now)
        return self._pop_ready()

    def expired(self) -> list[tuple[_Entry, int]]:
        """The jobs whose leases are over, with their tokens."""
        now = self.us()
        return [
            (entry, token)
            for expires_us, token, job_id in sorted(self._leases)
            if expires_us <= now
            and (entry := self._entries.get(job_id)) is not None
            and entry.expires_us == expires_us
            and _holds(entry, token)
        ]

    def still_lost(self, entry: _Entry, token: int) -> bool:
        """Nobody extended it or took it back meanwhile."""
        return _holds(entry, token) and entry.expires_us <= self.us()

    def lose(self, entry: _Entry) -> None:
        """End a delivery as lost, with its count."""
        event = event_of_lost_lease(entry.job.crashes, self.max_crashes)
        entry.job.crashes += 1
        if event is Event.CRASH_LIMIT:
            entry.job.error = crash_limit_error(entry.job.crashes)
        self._end_delivery(entry, event, self.us())


# -- loss --------------------------------------------------------------------------------------------------------------


@breaks("Q1", "Q2", "Q5", source="rq#580")
class PopThenRegister(Commands):
    """push; pop; die before the job is registered: it is in no list."""

    def take(self, worker_id: str, lease_s: float) -> Steps:
        entry = self.pop()
        yield
        now = self.us()
        return None if entry is None else self._deliver(entry, worker_id, now, now + to_us(lease_s))


@breaks("Q1", "Q2", source="sidekiq#1841")
class DueIsPoppedThenPushed(Commands):
    """due; pop from the schedule; die before the push: lost."""

    def promote(self) -> Steps:
        now = self.us()
        while self._delayed and self._delayed[0][0] <= now:
            due, seq, job_id = heappop(self._delayed)
            entry = self._entries.get(job_id)
            if entry is not None and entry.seq == seq and entry.due_us == due:
                yield
                self._make_pending(entry, self.us(), None)

    def _promote(self, now: int) -> None:
        """Reports and enqueues leave it to dequeues."""


@breaks("Q1", "Q2", source="kombu#1444")
class RestoreRemovesThenPushes(Commands):
    """A give-back or retry ends the lease; die before the push: lost."""

    def take_report(self, report: Report) -> Steps:
        if report.status not in (JobStatus.PENDING, JobStatus.RETRY):
            answer = yield from super().take_report(report)
            return answer
        kept = self._push_ready
        held: list[_Entry] = []
        self._push_ready = held.append  # type: ignore[method-assign,assignment]  # the push is put off
        try:
            answer = self.answer_to(report)
        finally:
            self._push_ready = kept  # type: ignore[method-assign]
        yield report, answer
        for entry in held:
            self._push_ready(entry)
        return answer


@breaks("Q1", "Q5", source="saq 0.26.4 (catalogue K3)")
class AbortThenRetry(Commands):
    """The sweeper takes an expired job out of all lists; it dies before it puts the job back: in no list, for ever."""

    def recover(self) -> Steps:
        for entry, token in self.expired():
            self._leases = sorted(item for item in self._leases if item[1] != token)
            self._running.pop(entry.job.id, None)
            yield
            if self.still_lost(entry, token):
                self.lose(entry)


@breaks("Q5", "Q1", source="taskiq-redis#131")
class RecoveryLockWithoutEnd(Commands):
    """A client dies while it holds the lock of recovery: nobody takes back a lease ever again."""

    locked = False

    def recover(self) -> Steps:
        if self.locked or not self.expired():
            return
        self.locked = True
        yield
        self._reclaim(self.us())
        self.locked = False


@breaks("Q1", "Q5", source="dbos#716")
class SnapshotIsTheOnlyList(Commands):
    """The list of lost jobs is taken out of the store to work through it; who dies meanwhile takes it along."""

    def recover(self) -> Steps:
        found = self.expired()
        tokens = {token for _, token in found}
        self._leases = sorted(item for item in self._leases if item[1] not in tokens)
        for entry, token in found:
            yield
            if self.still_lost(entry, token):
                self.lose(entry)


@breaks("Q5", "Q1", source="sidekiq (wiki, Reliability)")
class AtMostOnce(MemoryQueue):
    """A worker dies, or the reply of a dequeue gets lost: nobody ever takes the job back."""

    def _reclaim(self, now: int) -> None:
        """There is nothing to take back from."""


# -- twice -------------------------------------------------------------------------------------------------------------


@breaks("Q4", "Q5", source="rq 3.0.0 (catalogue K5)")
class TwoCleanersFindTheSame(Commands):
    """A dies; C and D both read the list of expired jobs: both put j back, and it runs twice."""

    def recover(self) -> Steps:
        found = self.expired()
        yield
        for entry, _ in found:
            if entry.job.status is JobStatus.RUNNING:
                self.lose(entry)


@breaks("Q1", "Q4", "Q5", "Q6", "Q7", source="asynq#717")
class OneRetriesOneArchives(Commands):
    """Two recoverers list the same expired lease: one retries the job, the other one archives it."""

    def recover(self) -> Steps:
        found = self.expired()
        yield
        for entry, token in found:
            if self.still_lost(entry, token):
                self.lose(entry)
            elif entry.job.status is JobStatus.RUNNING:
                entry.job.error = "lease lost"
                self._end_delivery(entry, Event.FAIL, self.us())


@breaks("Q4", source="dbos#742")
class StaleSnapshotIsRunAnyway(Commands):
    """A dies; B recovers; C recovers with an old list: the compare fails, and it delivers the job anyway."""

    def take(self, worker_id: str, lease_s: float) -> Steps:
        head = self.pop()
        if head is None:
            return None
        self._push_ready(head)
        yield
        now = self.us()
        lease = head.job.lease
        if head.job.status is JobStatus.RUNNING and lease is not None:
            return head.job.copy()
        entry = self.pop()
        return None if entry is None else self._deliver(entry, worker_id, now, now + to_us(lease_s))


@breaks("Q4", source="saq#277")
class SweptBeforeItIsActive(Commands):
    """A takes j; before it is written down as active a sweeper puts it back: both get it."""

    taken: dict[str, _Entry]

    def recover(self) -> Steps:
        self._reclaim(self.us())
        for entry in list(getattr(self, "taken", {}).values()):
            if entry.job.status is JobStatus.PENDING:
                self._push_ready(entry)
        yield from ()

    def take(self, worker_id: str, lease_s: float) -> Steps:
        entry = self.pop()
        if entry is None:
            return None
        self.taken = getattr(self, "taken", {})
        self.taken[entry.job.id] = entry
        yield
        self.taken.pop(entry.job.id, None)
        now = self.us()
        if entry.job.status is JobStatus.RUNNING:  # somebody else was faster, and nobody looks
            return entry.job.copy()
        return self._deliver(entry, worker_id, now, now + to_us(lease_s))


@breaks("Q1", "Q2", "Q4", "Q7", source="rq#2061")
class MomentInBetweenIsStuck(Commands):
    """A takes j; before that is written down another worker's pass declares it stuck: FAILED, and it runs."""

    between: dict[str, _Entry]

    def recover(self) -> Steps:
        self._reclaim(self.us())
        for entry in list(getattr(self, "between", {}).values()):
            if entry.job.status is JobStatus.PENDING:
                entry.job.error = "moved to failed: it was stuck in between"
                self._ready += 1  # it is counted off once more
                self._end_delivery(entry, Event.FAIL, self.us())
        yield from ()

    def take(self, worker_id: str, lease_s: float) -> Steps:
        entry = self.pop()
        if entry is None:
            return None
        self.between = getattr(self, "between", {})
        self.between[entry.job.id] = entry
        yield
        self.between.pop(entry.job.id, None)
        now = self.us()
        if entry.job.status is JobStatus.PENDING:
            return self._deliver(entry, worker_id, now, now + to_us(lease_s))
        return None


@breaks("Q4", source="dramatiq 2.2.1 (catalogue K4)")
class LeaseByTheCallersClock(MemoryQueue):
    """A runs j; C, whose clock is two minutes ahead, asks for anything: j is taken back while A lives."""

    caller: Any = None

    def _reclaim(self, now: int) -> None:
        super()._reclaim(now + to_us(max(0.0, getattr(self.caller, "skew_s", 0.0))))


@breaks("Q4", source="dramatiq 2.2.1 (catalogue K4)")
class LeaseWrittenByTheCallersClock(MemoryQueue):
    """A, whose clock is two minutes behind, takes j: its lease is over before it began."""

    caller: Any = None

    def _deliver(self, entry: _Entry, worker_id: str, now: int, expires_us: int) -> Job:
        skew_us = to_us(abs(getattr(self.caller, "skew_s", 0.0)))
        job = super()._deliver(entry, worker_id, now, expires_us)
        if skew_us:
            entry.expires_us = expires_us - skew_us
            assert job.lease is not None
            heappush(self._leases, (entry.expires_us, job.lease.token, job.id))
        return job


@breaks("Q4", "Q6", "Q7", source="bullmq#1064")
class FinishLooksAtNoLock(MemoryQueue):
    """A is paused; its job is taken back and given to B; A's late report finishes B's delivery."""

    def _report(self, report: Report, now: int) -> Job:
        lease = report.lease
        entry = self._entries.get(report.job_id)
        if lease is not None and entry is not None and entry.job.lease is not None and not _holds(entry, lease.token):
            report = Report(report.job_id, report.status, report.error, report.result, entry.job.lease, report.delay_s)
        return super()._report(report, now)


@breaks("Q4", source="rq#1507")
class HeartbeatRevivesALostLease(MemoryQueue):
    """A is paused; its job is taken back and given to B; A's late heartbeat is accepted."""

    def _extend(self, leases: Sequence[Lease], lease_s: float) -> list[Lease | OrchError]:
        answers = super()._extend(leases, lease_s)
        return [
            lease if isinstance(answer, OrchError) else answer for lease, answer in zip(leases, answers, strict=True)
        ]


# -- final states and budgets ------------------------------------------------------------------------------------------


@breaks("Q7", "Q1", source="rq#2424")
class FinishedJobStaysInTheList(Commands):
    """finish; somebody else writes meanwhile; the second try forgets the entry of the list of started jobs; the
    cleanup finds it there and marks the finished job FAILED."""

    writes = 0
    started: dict[str, int]

    def take_report(self, report: Report) -> Steps:
        before = self.writes
        yield
        conflict = self.writes != before
        answer = yield from super().take_report(report)
        self.writes += 1
        if conflict and isinstance(answer, Job) and answer.status is JobStatus.SUCCESS:
            self.started = getattr(self, "started", {})
            self.started[answer.id] = self.us() + to_us(self.lease_s)
        return answer

    def recover(self) -> Steps:
        self._reclaim(self.us())
        for job_id, until in list(getattr(self, "started", {}).items()):
            if until <= self.us():
                del self.started[job_id]
                self._entries[job_id].job.status = JobStatus.FAILED
                self._entries[job_id].job.error = "moved to failed: due to work-horse being gone"
                self._counts[JobStatus.SUCCESS] -= 1
                self._counts[JobStatus.FAILED] += 1
        yield from ()

    def take(self, worker_id: str, lease_s: float) -> Steps:
        self.writes += 1
        job = yield from super().take(worker_id, lease_s)
        return job


@breaks("Q6", "Q5", "Q1", source="airflow#25843")
class DeadTaskIsPurgedTwice(Commands):
    """Two schedulers find the same dead task: each counts a lost lease, and the budget is spent early."""

    def recover(self) -> Steps:
        found = self.expired()
        yield
        for entry, token in found:
            if self.still_lost(entry, token):
                self.lose(entry)
            elif not _holds(entry, token):
                entry.job.crashes += 1


@breaks("Q6", "Q1", source="faktory#409")
class ExpirySpendsRetries(MemoryQueue):
    """A lease is lost: it counts as a failure of the job, which so ends with retries left."""

    def _end_delivery(self, entry: _Entry, event: Event, now: int, delay_s: float | None = None) -> None:
        super()._end_delivery(entry, event, now, delay_s)
        if event is Event.LEASE_LOST:
            entry.job.failures += 1


@breaks("Q6", source="dramatiq#213")
class CrashesAreNotCounted(MemoryQueue):
    """A job kills its worker, again and again: it comes back for ever."""

    def _reclaim(self, now: int) -> None:
        before = {job_id: self._entries[job_id].job.crashes for job_id in self._running}
        super()._reclaim(now)
        for job_id, crashes in before.items():
            entry = self._entries.get(job_id)
            if entry is not None:
                entry.job.crashes = min(entry.job.crashes, crashes)


# -- order, ids, ticks -------------------------------------------------------------------------------------------------


@breaks("Q5", "Q2", source="saq, rq, dramatiq (catalogue 59)")
class RecoveredGoesToTheTail(MemoryQueue):
    """A dies; its job is taken back behind all others: recovery waits for the backlog."""

    def _reclaim(self, now: int) -> None:
        kept = self._push_ready

        def at_the_tail(entry: _Entry) -> None:
            self._ticket += 1
            entry.ticket = self._ticket
            kept(entry)

        self._push_ready = at_the_tail  # type: ignore[method-assign]
        try:
            super()._reclaim(now)
        finally:
            self._push_ready = kept  # type: ignore[method-assign]


@breaks("Q3", "Q4", source="seed 16")
class RepeatedEnqueueIsTwoJobs(MemoryQueue):
    """The reply of an enqueue gets lost, the producer asks again: the job is in the queue twice."""

    def _enqueue(self, jobs: Sequence[Job]) -> int:
        for job in jobs:
            entry = self._entries.get(job.id)
            if entry is not None and entry.job.status is not JobStatus.PENDING:
                self._counts[entry.job.status] -= 1
                self._running.pop(job.id, None)
                del self._entries[job.id]
        return super()._enqueue(jobs)


class _NoDedup(Scheduler):
    """Names a job by when it was made."""

    made = 0

    def serve(self, tick_s: float = 1.0) -> Any:
        from orch.scheduler.logic import Enqueue

        steps = super().serve(tick_s)
        answer: Any = None
        while True:
            step = steps.send(answer)
            if isinstance(step, Enqueue):
                renamed = []
                for job in step.jobs:
                    twin = job.copy()
                    type(self).made += 1
                    twin.id = f"cron-{type(self).made}"
                    renamed.append(twin)
                step = Enqueue(tuple(renamed))
            answer = yield step


def _bug_of_schedulers() -> Bug:
    what = "Two schedulers, one due tick: two jobs."
    return Bug(
        "two-schedulers-two-jobs",
        "sim",
        ("S1",),
        what,
        "rq 3.0.0 CronScheduler (catalogue K8)",
        lambda: Subject(schedulers=2, scheduler=_NoDedup),
    )


BUGS = (*BUGS, _bug_of_schedulers())
