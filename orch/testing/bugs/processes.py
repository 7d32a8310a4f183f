"""Bugs that need processes: one that dies, two that race, a store that goes away, a clock that is off.

Each is a few lines on top of a shipping backend. `make(url, settings)` opens the queue with the bug, as `orch torture
--queue orch.testing.bugs.processes:NAME` does; `HOW` says which faults bring it out.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from orch.backends import open_shared_queue
from orch.backends.redis import RedisQueue
from orch.backends.sqlite import SqliteQueue
from orch.errors import BackendUnavailable, OrchError
from orch.job import Job, JobStatus, Lease, Report
from orch.queue import PersistentQueue
from orch.settings import Settings
from orch.testing.bugs.catalogue import Bug

FOR_EVER_S = 100_000.0

Answers = tuple[list[Job | OrchError], list[Job]]


@dataclass(frozen=True, slots=True)
class How:
    """What brings a bug out: the faults, and what else of the plan is not as usual."""

    nemesis: tuple[str, ...]
    plan: Mapping[str, Any] = field(default_factory=dict)


class Forgetful(SqliteQueue):
    """A lease without an end."""

    def _exchange(self, reports: Sequence[Report], n: int, worker_id: str, lease_s: float) -> Answers:
        return super()._exchange(reports, n, worker_id, FOR_EVER_S)


class Hasty(SqliteQueue):
    """A lease that is over too soon."""

    def _exchange(self, reports: Sequence[Report], n: int, worker_id: str, lease_s: float) -> Answers:
        return super()._exchange(reports, n, worker_id, lease_s / 5)

    def _extend(self, leases: Sequence[Lease], lease_s: float) -> list[Lease | OrchError]:
        return list(leases)


class Unrenewed(SqliteQueue):
    """An extension that is only said."""

    def _extend(self, leases: Sequence[Lease], lease_s: float) -> list[Lease | OrchError]:
        return [replace(lease, expires_at=lease.expires_at + lease_s) for lease in leases]


class Unfenced(SqliteQueue):
    """Reports by id alone."""

    def _extend(self, leases: Sequence[Lease], lease_s: float) -> list[Lease | OrchError]:
        answers = super()._extend(leases, lease_s)
        return [old if isinstance(new, Exception) else new for old, new in zip(leases, answers, strict=True)]

    def _exchange(self, reports: Sequence[Report], n: int, worker_id: str, lease_s: float) -> Answers:
        told = [r if r.status is JobStatus.PENDING else replace(r, lease=None) for r in reports]
        return super()._exchange(told, n, worker_id, lease_s)


class Popping(SqliteQueue):
    """Taking is removing."""

    def _exchange(self, reports: Sequence[Report], n: int, worker_id: str, lease_s: float) -> Answers:
        _, jobs = super()._exchange((), n, worker_id, lease_s)
        for job in jobs:
            done = Report(job.id, JobStatus.SUCCESS, lease=job.lease)
            super()._exchange((done,), 0, worker_id, lease_s)
        return [self._get(r.job_id) or Job.new("workflow:noop", id=r.job_id) for r in reports], jobs


class WrittenBehind(SqliteQueue):
    """Reports that are stored at the next call."""

    kept: ClassVar[list[Report]] = []

    def _exchange(self, reports: Sequence[Report], n: int, worker_id: str, lease_s: float) -> Answers:
        later = [r for r in reports if r.status is JobStatus.SUCCESS and r.lease is not None]
        now = [*self.kept, *(r for r in reports if r not in later)]
        before, self.kept[:] = len(self.kept), later
        results, jobs = super()._exchange(now, n, worker_id, lease_s)
        said = iter(results[before:])
        return [self._as_if_done(r) if r in later else next(said) for r in reports], jobs

    def _as_if_done(self, report: Report) -> Job:
        job = self._get(report.job_id) or Job.new("workflow:noop", id=report.job_id)
        return replace(job, status=report.status, lease=None)


class Numb(SqliteQueue):
    """One worker that takes nothing any more."""

    asked: ClassVar[list[str]] = []

    def _exchange(self, reports: Sequence[Report], n: int, worker_id: str, lease_s: float) -> Answers:
        self.asked.append(worker_id)
        numb = worker_id == "w1" and self.asked.count("w1") > 5
        return super()._exchange(reports, 0 if numb else n, worker_id, lease_s)


class Fragile(SqliteQueue):
    """Takes its worker along when a step is slow."""

    def _exchange(self, reports: Sequence[Report], n: int, worker_id: str, lease_s: float) -> Answers:
        begun = time.monotonic()
        answer = super()._exchange(reports, n, worker_id, lease_s)
        if time.monotonic() - begun > 2.0 and worker_id.startswith("w"):
            os._exit(0)
        return answer


class CallersClock(SqliteQueue):
    """The clock is handed in, so that leases are reckoned on it."""


class Impatient(SqliteQueue):
    """Its budget of lost leases is none."""


class Tireless(SqliteQueue):
    """Its budget of lost leases has no end."""


class InTwoSteps(SqliteQueue):
    """A retry in two steps."""

    def _exchange(self, reports: Sequence[Report], n: int, worker_id: str, lease_s: float) -> Answers:
        again = [r.job_id for r in reports if r.status is JobStatus.RETRY and r.lease]
        told = [replace(r, status=JobStatus.FAILED, delay_s=None) if r.job_id in again else r for r in reports]
        results, jobs = super()._exchange(told, n, worker_id, lease_s)
        for at, report in enumerate(reports):
            job = results[at]
            if report.job_id in again and isinstance(job, Job) and job.failures <= job.max_retries:
                time.sleep(0.2)
                results[at] = self._requeue(report.job_id)
        return results, jobs


class AbortedFirst(SqliteQueue):
    """A recovery in two steps."""

    def _exchange(self, reports: Sequence[Report], n: int, worker_id: str, lease_s: float) -> Answers:
        for job in self._list(JobStatus.RUNNING, 1_000) if n else ():
            if job.lease is not None and self._is_over(job.lease):
                with suppress(OrchError):
                    super()._exchange((Report(job.id, JobStatus.FAILED, "aborted"),), 0, worker_id, lease_s)
                    time.sleep(0.2)
                    self._requeue(job.id)
        return super()._exchange(reports, n, worker_id, lease_s)

    def _is_over(self, lease: Lease) -> bool:
        with self._step() as step:
            return step.now >= lease.expires_at * 1_000_000


class IdleBlind(SqliteQueue):
    """Recovery only where there is traffic."""

    def _exchange(self, reports: Sequence[Report], n: int, worker_id: str, lease_s: float) -> Answers:
        return super()._exchange(reports, n if n and self.stats().ready else 0, worker_id, lease_s)


class ByName(SqliteQueue):
    """Leases that go by the name of the worker."""

    def _exchange(self, reports: Sequence[Report], n: int, worker_id: str, lease_s: float) -> Answers:
        running = self._list(JobStatus.RUNNING, 1_000)
        mine = [job.lease for job in running if job.lease is not None and job.lease.worker_id == worker_id]
        if n and mine:
            self._extend(mine, lease_s)
        return super()._exchange(reports, n, worker_id, lease_s)


class Locked(SqliteQueue):
    """Lost leases are taken back under a lock that is a file; one that died holding it holds it for ever."""

    def _exchange(self, reports: Sequence[Report], n: int, worker_id: str, lease_s: float) -> Answers:
        if not n:
            return super()._exchange(reports, n, worker_id, lease_s)
        lock = Path(f"{self._path_of()}.reclaiming")
        try:
            os.close(os.open(lock, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            with self._step() as step:
                results = step.reports(reports) if reports else []
                step.promote()
                return results, step.deliver(n, worker_id, lease_s)
        try:
            return super()._exchange(reports, n, worker_id, lease_s)
        finally:
            time.sleep(0.02)
            lock.unlink(missing_ok=True)

    def _path_of(self) -> str:
        with self._step() as step:
            return os.fsdecode(step.db.execute("PRAGMA database_list").fetchone()[2])


class Buffered(SqliteQueue):
    """Enqueues that are stored some at a time."""

    buffer: ClassVar[list[Job]] = []

    def _enqueue(self, jobs: Sequence[Job]) -> int:
        self.buffer.extend(jobs)
        if len(self.buffer) >= 8:
            super()._enqueue(self.buffer)
            self.buffer.clear()
        return len(jobs)


class Optimistic(RedisQueue):
    """A report that could not be sent counts as sent."""

    def _exchange(self, reports: Sequence[Report], n: int, worker_id: str, lease_s: float) -> Answers:
        try:
            return super()._exchange(reports, n, worker_id, lease_s)
        except BackendUnavailable:
            if not reports:
                raise
            return [replace(Job.new("workflow:noop", id=r.job_id), status=r.status) for r in reports], []


def _broken(kind: type[PersistentQueue], changes: Mapping[str, Any], url: str, settings: Settings) -> PersistentQueue:
    """The queue that a member opens, made one of a broken kind."""
    queue = open_shared_queue(url, settings=settings)
    queue.__class__ = kind
    for name, value in changes.items():
        setattr(queue, name, value)
    return queue


def _bug(
    kind: type[PersistentQueue], promises: str, what: str, source: str, how: How, **changes: Any
) -> tuple[Bug, How]:
    name = "".join(f"-{char.lower()}" if char.isupper() else char for char in kind.__name__).lstrip("-")
    make: Callable[..., Any] = partial(_broken, kind, changes)
    return Bug(name, "torture", tuple(promises.split()), what, source, make), how


_KILL = ("kill",)
_ALL: tuple[tuple[Bug, How], ...] = (
    _bug(
        Forgetful,
        "Q5 Q1",
        "A worker takes a job and dies: the lease has no end, so the job never comes back.",
        "sidekiq, wiki Reliability",
        How(_KILL),
    ),
    _bug(
        Hasty,
        "Q4",
        "A lease ends at a fifth of the time that was promised: a second worker gets a job whose worker is alive.",
        "saq#277",
        How(("long",)),
    ),
    _bug(
        Unrenewed,
        "Q4",
        "An extension is answered and not stored: a job longer than its lease runs twice side by side.",
        "taskiq-redis stream, K6; bullmq#3183",
        How(("long",)),
    ),
    _bug(
        Unfenced,
        "Q4 Q7",
        "A worker is stopped for longer than its lease and reports: the report counts although another has the job.",
        "bullmq 9da1b29 (#1064)",
        How(("pause", "long")),
    ),
    _bug(
        Popping,
        "Q1 Q4 Q7",
        "A job leaves the queue when it is taken: with its worker it is gone.",
        "kombu#305, celery#1789",
        How(_KILL),
    ),
    _bug(
        WrittenBehind,
        "Q4 Q7",
        "A report is acknowledged before it is stored: the worker dies, and the finished job runs again.",
        "celery#3802",
        How(_KILL),
    ),
    _bug(
        Numb,
        "W5 Q2",
        "After a while one worker goes on beating and takes nothing any more.",
        "celery#8030",
        How(_KILL),
    ),
    _bug(
        Fragile,
        "W5",
        "The store does not answer for 4 s: the worker ends, with exit status 0.",
        "celery 5.7.0, K2; dramatiq#376",
        How(("outage",)),
    ),
    _bug(
        CallersClock,
        "Q4",
        "Leases are reckoned on the clock of whoever asks: one is minutes off, and a live worker's job runs twice.",
        "dramatiq 2.2.1, K4",
        How(("skew", "long")),
        _clock=time.time,
    ),
    _bug(
        Impatient,
        "W1 Q1",
        "One worker dies, and its job is FAILED although its budget is not used up.",
        "saq#127",
        How(_KILL),
        max_crashes=0,
    ),
    _bug(
        Tireless,
        "Q6 Q1",
        "A job kills its worker at each delivery: lost leases are not counted, so it goes on for ever.",
        "dramatiq#213, taskiq-aio-pika#35",
        How(("poison",)),
        max_crashes=1_000_000,
    ),
    _bug(
        InTwoSteps,
        "W1 Q1 Q7",
        "A retry is a failure that is put back in a second step: the worker dies between, and the job stays FAILED.",
        "saq 0.26.4, K3; kombu#1444",
        How(_KILL),
    ),
    _bug(
        AbortedFirst,
        "W1 Q1 Q7 Q4",
        "A lost lease is aborted and put back in a second step: the one that recovers dies between, the job stays so.",
        "saq 0.26.4, K3",
        How(_KILL),
    ),
    _bug(
        IdleBlind,
        "Q5 Q1 Q2",
        "Lost leases are looked for only when there is something to deliver: on an idle queue nothing comes back.",
        "taskiq-redis 1.2.3, K1",
        How(("kill", "long"), {"intensity": 1.0, "jobs_per_second": 40.0}),
    ),
    _bug(
        ByName,
        "Q5 Q1 Q2",
        "A worker that starts again under its name keeps alive what it held before it died.",
        "oban#862",
        How(_KILL),
    ),
    _bug(
        Locked,
        "Q5 Q1 Q2",
        "The one that takes lost leases back dies with the lock in its hands: nothing is ever taken back again.",
        "taskiq-redis#131",
        How(_KILL),
    ),
    _bug(
        Buffered,
        "Q1",
        "A producer's jobs are acknowledged and then stored eight at a time: it dies, and they are gone.",
        "sidekiq#1841",
        How(_KILL),
    ),
    _bug(
        Optimistic,
        "Q4 Q1 Q7 Q2",
        "A report whose connection was cut is taken for done.",
        "rq#2424",
        How(("partition",), {"intensity": 1.0, "seconds": 8.0, "backend": "redis"}),
    ),
)

BUGS: tuple[Bug, ...] = tuple(bug for bug, _ in _ALL)
HOW: Mapping[str, How] = {bug.name: how for bug, how in _ALL}


def __getattr__(name: str) -> Callable[..., Any]:
    """The factory of a bug, for `--queue orch.testing.bugs.processes:NAME`."""
    for bug in BUGS if not name.startswith("_") else ():
        if bug.name == name:
            return bug.make
    raise AttributeError(name)
