"""The naive design on Redis: a list of ids, a hash of records, several commands per verb; and what becomes of it.

`CommandQueue` has the seven verbs and requeue, each as the commands that a first version sends. Run as one step each
(a Lua script, a transaction), they are right; a verb in `torn` is sent command by command, and between two commands a
client can die, or another can act. `NaiveRedisQueue` tears all of them. The server is a dict in this process, so that
each crash point and each interleaving of two clients is tried in microseconds:

    from orch.testing.bugs.naive_redis import NaiveRedisQueue, NaiveStore
    verify(NaiveStore(NaiveRedisQueue), capabilities=NaiveRedisQueue.capabilities)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from orch import checks
from orch.backends.base import checked_status
from orch.clock import iso, iso_to_us, to_us
from orch.errors import BackendUnavailable, IllegalTransition, JobNotFound, OrchError, WriteRefused
from orch.job import STATES, Job, JobStatus, Lease, Report, decode_record, encode_record
from orch.queue import PersistentQueue, checked_new
from orch.testing.bugs.making import Died, breaks, bugs_of
from orch.testing.clock import FakeClock
from orch.testing.program import reachable

PENDING, RUNNING, SUCCESS, FAILED, RETRY = JobStatus
Verb = Callable[[PersistentQueue], object]


class FakeServer:
    """A hash "jobs" and a list "pending"; `on_command` is called before each command, and may raise."""

    def __init__(self) -> None:
        self.jobs: dict[str, str] = {}
        self.pending: list[str] = []
        self.on_command: Callable[[bool], None] | None = None  # told whether it writes what needs memory
        self._together = False

    def command(self, *, grows: bool = False) -> None:
        """One command comes in."""
        if self.on_command is not None and not self._together:
            self.on_command(grows)

    @contextmanager
    def one_step(self, *, grows: bool) -> Iterator[None]:
        """All commands inside are one: nobody comes between them, and the first is refused if any would be."""
        self.command(grows=grows)
        before, self._together = self._together, True
        try:
            yield
        finally:
            self._together = before

    def hget(self, job_id: str) -> str | None:
        """The record of a job."""
        self.command()
        return self.jobs.get(job_id)

    def hset(self, job_id: str, record: str) -> None:
        """Write a record; refused when memory is short."""
        self.command(grows=True)
        self.jobs[job_id] = record

    def hdel(self, job_id: str) -> None:
        """Remove a record."""
        self.command()
        self.jobs.pop(job_id, None)

    def hvals(self) -> list[str]:
        """All records."""
        self.command()
        return list(self.jobs.values())

    def rpush(self, job_id: str) -> None:
        """Append an id; refused when memory is short."""
        self.command(grows=True)
        self.pending.append(job_id)

    def lpop(self) -> str | None:
        """Take the first id; allowed when memory is short."""
        self.command()
        return self.pending.pop(0) if self.pending else None

    def lindex(self) -> str | None:
        """Look at the first id."""
        self.command()
        return self.pending[0] if self.pending else None

    def lrem(self, job_id: str) -> None:
        """Take an id out, wherever it stands."""
        self.command()
        with suppress(ValueError):
            self.pending.remove(job_id)


class CommandQueue(PersistentQueue):
    """A right queue of a list and a hash, for jobs without leases, delays and priorities; verbs in `torn` are not."""

    capabilities = frozenset({"operator", "requeue", "listing", "refusal"})
    torn: frozenset[str] = frozenset()

    def __init__(self, clock: FakeClock, server: FakeServer | None = None) -> None:
        super().__init__()
        self.clock = clock
        self.server = FakeServer() if server is None else server

    @contextmanager
    def _verb(self, name: str, *, grows: bool = True) -> Iterator[None]:
        """One step, unless the verb is torn."""
        if name in self.torn:
            yield
        else:
            with self.server.one_step(grows=grows):
                yield

    def _now(self) -> str:
        return iso(to_us(self.clock()))

    def _read(self, job_id: str) -> Job:
        record = self.server.hget(checks.check_id(job_id))
        if record is None:
            raise JobNotFound(f"no job {job_id!r} in this queue")
        return decode_record(record)

    def _write(self, job: Job) -> None:
        self.server.hset(job.id, encode_record(job))

    def enqueue(self, job: Job) -> bool:
        job = checked_new(job)
        with self._verb("enqueue"):
            if self.server.hget(job.id) is not None:
                return False
            self._write(job)
            self.server.rpush(job.id)
            return True

    def dequeue(self, worker_id: str = "", *, lease_s: float | None = None, wait_s: float = 0.0) -> Job | None:
        checks.check_worker_id(worker_id)
        if lease_s is not None:
            checks.check_seconds(lease_s, "lease_s", positive=True)
        checks.check_seconds(wait_s, "wait_s")
        with self._verb("dequeue"):
            job_id = self._take()
            if job_id is None:
                return None
            job = self._read(job_id)
            job.status, job.attempts, job.started_at = RUNNING, job.attempts + 1, self._now()
            self._write(job)
            return job

    def _take(self) -> str | None:
        return self.server.lpop()

    def update_status(
        self,
        job_id: str,
        status: JobStatus,
        error: str | None = None,
        result: dict[str, Any] | None = None,
        *,
        lease: Lease | None = None,
        delay_s: float | None = None,
    ) -> Job:
        report = Report(job_id, status, error, result, lease, delay_s)
        with self._verb("retry" if status is RETRY else "report"):
            job = self._read(job_id)
            if job.status is status and status in (SUCCESS, FAILED):
                return job
            if job.status not in (PENDING, RUNNING) or status is PENDING or (job.status, status) == (PENDING, RETRY):
                raise IllegalTransition(f"job {job_id!r} is {job.status.value}: {status.value} is not a legal step")
            waited = job.status is PENDING
            if status is not RETRY or report.error is not None:
                job.error = report.error
            if status is not RETRY or report.result is not None:
                job.result = report.result
            job.failures += status is not SUCCESS
            if status is RETRY and job.failures <= job.max_retries:
                job.status, job.started_at = PENDING, None
                self._put_back(job)
                return job.copy()
            job.status, job.finished_at = FAILED if status is RETRY else status, self._now()
            self._write(job)
            if waited:
                self.server.lrem(job_id)
            return job.copy()

    def _put_back(self, job: Job) -> None:
        self._write(job)
        self.server.rpush(job.id)

    def requeue(self, job_id: str) -> Job:
        with self._verb("requeue"):
            job = self._read(job_id)
            if job.status is PENDING:
                return job
            if job.status is not FAILED:
                raise IllegalTransition(f"job {job_id!r} is {job.status.value}: only a failed job can be requeued")
            job.status, job.failures, job.crashes = PENDING, 0, 0
            job.started_at = job.finished_at = job.result = None
            self._write(job)
            self.server.rpush(job_id)
            return job

    def get_job(self, job_id: str) -> Job | None:
        record = self.server.hget(checks.check_id(job_id))
        return None if record is None else decode_record(record)

    def list_jobs(self, status: JobStatus | None = None, limit: int = 100) -> list[Job]:
        checks.check_int(limit, "limit", 0)
        checked_status(status)
        jobs = [decode_record(record) for record in self.server.hvals()]
        places = {job.id: place for place, job in enumerate(jobs)}
        jobs.sort(key=lambda job: (iso_to_us(job.enqueued_at), places[job.id]), reverse=True)
        return [job for job in jobs if status in (None, job.status)][:limit]

    def count(self, status: JobStatus | None = None) -> int:
        checked_status(status)
        return sum(status in (None, decode_record(record).status) for record in self.server.hvals())

    def counts(self) -> dict[JobStatus, int]:
        with self._verb("counts", grows=False):
            return {status: self.count(status) for status in STATES}

    def purge(self, older_than_hours: float = 24) -> int:
        seconds = checks.check_seconds(older_than_hours, "older_than_hours") * 3600
        cutoff = to_us(self.clock()) - to_us(seconds)
        with self._verb("purge", grows=False):
            jobs = [decode_record(record) for record in self.server.hvals()]
            gone = [job.id for job in jobs if job.finished_at is not None and iso_to_us(job.finished_at) < cutoff]
            for job_id in gone:
                self.server.hdel(job_id)
            return len(gone)


class NaiveRedisQueue(CommandQueue):
    """Every verb is several commands, and anything can happen between two of them."""

    torn = frozenset({"enqueue", "dequeue", "report", "retry", "requeue", "purge", "counts"})


class NaiveStore:
    """Empty `CommandQueue`s of a class, whose clients can die and meet, and whose server goes away or is full."""

    def __init__(self, kind: type[CommandQueue]) -> None:
        self.kind = kind
        self.capabilities = kind.capabilities
        if reachable(kind.__module__, kind.__name__, kind):  # so a program can make one as well
            here = f"from {__name__} import NaiveStore\nfrom {kind.__module__} import {kind.__name__}"
            self.header = f"{here}\n\nmake_queue = NaiveStore({kind.__name__})", "make_queue(clock)"

    def __call__(self, clock: FakeClock) -> CommandQueue:
        return self.kind(clock)

    def second_client(self, queue: CommandQueue) -> CommandQueue:
        """Another client of the same server."""
        return self.kind(queue.clock, queue.server)

    def die(self, queue: CommandQueue, n: int, verb: Verb) -> tuple[CommandQueue, bool]:
        """Do the verb as a client that dies before its n-th command (counted from 0)."""
        with self._at(queue, n, _die) as reached, suppress(Died, OrchError):
            verb(queue)
        return queue, bool(reached)

    def meet(self, queue: CommandQueue, n: int, verb: Verb, other: Verb) -> tuple[Any, Any]:
        """Do the verb, and after n of its commands the other verb as a second client; both answers."""
        second = self.second_client(queue)
        answers: list[Any] = []
        with self._at(queue, n, lambda: answers.append(_answer(second, other))):
            first = _answer(queue, verb)
        return first, answers[0] if answers else _answer(second, other)

    def unreachable(self, queue: CommandQueue, verb: Verb) -> object:
        """Do the verb while the server cannot be reached."""

        def away(_: bool) -> None:
            raise BackendUnavailable("connection refused")

        queue.server.on_command = away
        try:
            return verb(queue)
        finally:
            queue.server.on_command = None

    def full(self, queue: CommandQueue, verb: Verb) -> object:
        """Do the verb while the server is out of memory: what would grow it is refused, what shrinks it is not."""

        def refuse(grows: bool) -> None:
            if grows:
                raise WriteRefused("OOM command not allowed when used memory > 'maxmemory'")

        queue.server.on_command = refuse
        try:
            return verb(queue)
        finally:
            queue.server.on_command = None

    @contextmanager
    def _at(self, queue: CommandQueue, n: int, act: Callable[[], object]) -> Iterator[list[int]]:
        """Before command n of what is done inside (counted from 0) comes `act`, unless it is never reached."""
        server = queue.server
        left = n
        reached: list[int] = []

        def count(_: bool) -> None:
            nonlocal left
            if left == 0 and not reached:
                reached.append(n)
                server.on_command = None
                act()
            left -= 1

        server.on_command = count
        together, server._together = server._together, False  # noqa: SLF001 - its own server
        try:
            yield reached
        finally:
            server.on_command = None
            server._together = together  # noqa: SLF001


def _die() -> None:
    raise Died


def _answer(queue: PersistentQueue, verb: Verb) -> Any:
    try:
        return verb(queue)
    except OrchError as error:
        return error


def _with_hooks(*hooks: str) -> Callable[[Any], Any]:
    """A store of a class that has only these faults, so that one bug is not found by another's."""

    def make(kind: type[CommandQueue]) -> Any:
        whole = NaiveStore(kind)

        def store(clock: FakeClock) -> CommandQueue:
            return whole(clock)

        for hook in (*hooks, "second_client"):
            setattr(store, hook, getattr(whole, hook))
        store.capabilities = kind.capabilities  # type: ignore[attr-defined]  # read by the hunter
        return store

    return make


dies, meets, outage, full = (_with_hooks(hook) for hook in ("die", "meet", "unreachable", "full"))
everything = _with_hooks("die", "meet", "unreachable", "full")


@breaks("Q1", "Q8", "Q4", "Q14", source="seed 1-20", store=everything)
class Naive(NaiveRedisQueue):
    """All verbs are several commands: it is a matter of luck which of its bugs is found first."""


@breaks("Q1", source="seed 1", store=dies)
class DiesAfterTheLpop(CommandQueue):
    """LPOP, and the client dies before HSET: the record says pending, and no list has the id."""

    torn = frozenset({"dequeue"})


@breaks("Q1", "Q8", source="seed 2", store=dies)
class DiesAfterTheHset(CommandQueue):
    """enqueue dies between HSET and RPUSH: a pending job that is never delivered."""

    torn = frozenset({"enqueue"})


@breaks("Q8", "Q1", "Q4", source="seed 4", store=dies)
class PushesBeforeItWrites(CommandQueue):
    """RETRY pushes the id and dies before HSET: a job that runs by its record, and waits in the list."""

    torn = frozenset({"retry"})

    def _put_back(self, job: Job) -> None:
        self.server.rpush(job.id)
        self._write(job)


@breaks("Q1", source="sidekiq#1841; seed 4", store=dies)
class WritesBeforeItPushes(CommandQueue):
    """RETRY writes PENDING and dies before RPUSH: it is never delivered again."""

    torn = frozenset({"retry"})


@breaks("Q1", "Q8", source="seed 2; bullmq#4332", store=dies)
class DiesInARequeue(CommandQueue):
    """requeue dies between HSET and RPUSH: pending, and never delivered."""

    torn = frozenset({"requeue"})


@breaks("Q1", "Q8", source="seed 14", store=meets)
class PurgeMeetsARequeue(CommandQueue):
    """purge has read a failed job; another client requeues it; purge deletes its record."""

    torn = frozenset({"purge"})


@breaks("Q8", "Q4", "Q1", "Q6", source="seed 17", store=meets)
class TwoReportsMeet(CommandQueue):
    """Two clients report RETRY of one job at once: both read it as running, and its id is pushed twice."""

    torn = frozenset({"retry"})


@breaks("Q8", "Q4", "Q1", "Q7", source="seed 20, 19", store=meets)
class CancelMeetsADequeue(CommandQueue):
    """LPOP and HGET; another client cancels; HSET: the job runs, and the cancel is lost."""

    torn = frozenset({"dequeue"})


@breaks("Q8", "Q3", "Q4", source="seed 83; rq-scheduler#312", store=meets)
class TwoEnqueuesMeet(CommandQueue):
    """Two clients enqueue one id: both find it unknown, both are told that it was new, and it is listed twice."""

    torn = frozenset({"enqueue"})


@breaks("Q4", "Q8", source="sidekiq#6379", store=meets)
class TwoDequeuesMeet(CommandQueue):
    """The first id is looked at, then taken out: two clients look at the same, and both run the job."""

    torn = frozenset({"dequeue"})

    def _take(self) -> str | None:
        job_id = self.server.lindex()
        if job_id is not None:
            self.server.lrem(job_id)
        return job_id


@breaks("Q14", "Q1", source="seed 8", store=full)
class OutOfMemoryEatsJobs(CommandQueue):
    """The server is out of memory: LPOP is allowed, HSET refused; each dequeue fails, and a job is gone."""

    torn = frozenset({"dequeue"})


@breaks("Q14", source="seed 94", store=full)
class ARefusedPushLeavesTheRecord(CommandQueue):
    """HSET still fits, RPUSH does not: enqueue fails, and the job is there, pending for ever."""

    def enqueue(self, job: Job) -> bool:
        job = checked_new(job)
        if self.server.jobs.get(job.id) is not None:
            return super().enqueue(job)
        self.server.jobs[job.id] = encode_record(job)
        self.server.rpush(job.id)
        return True


@breaks("Q14", source="seed 34; orch", store=full)
class ARefusedWriteIsSwallowed(CommandQueue):
    """A report that the server refused is logged, and its worker believes that it was heard."""

    def update_status(self, job_id: str, status: JobStatus, *args: Any, **more: Any) -> Job:
        try:
            return super().update_status(job_id, status, *args, **more)
        except WriteRefused:
            return decode_record(self.server.jobs[job_id])


@breaks("Q15", source="seed 65", store=outage)
class FallsBackToMemory(CommandQueue):
    """The store cannot be reached: jobs go to a queue in memory, and nobody is told."""

    def __init__(self, clock: FakeClock, server: FakeServer | None = None) -> None:
        super().__init__(clock, server)
        self._local: dict[str, Job] = {}

    def enqueue(self, job: Job) -> bool:
        try:
            return super().enqueue(job)
        except BackendUnavailable:
            self._local[job.id] = job
            return True


@breaks("Q15", source="bullmq#2466, celery#8030", store=outage)
class AnOutageLooksLikeNoWork(CommandQueue):
    """The store cannot be reached: dequeue says None, and the worker sits there consuming nothing."""

    def dequeue(self, worker_id: str = "", *, lease_s: float | None = None, wait_s: float = 0.0) -> Job | None:
        try:
            return super().dequeue(worker_id, lease_s=lease_s, wait_s=wait_s)
        except BackendUnavailable:
            return None


@breaks("Q15", source="seed 149", store=outage)
class AnOutageLooksLikeAnUnknownJob(CommandQueue):
    """The store cannot be reached: a report says that there is no such job."""

    def update_status(self, job_id: str, status: JobStatus, *args: Any, **more: Any) -> Job:
        try:
            return super().update_status(job_id, status, *args, **more)
        except BackendUnavailable:
            raise JobNotFound(f"no job {job_id!r}") from None


BUGS = bugs_of(globals())
