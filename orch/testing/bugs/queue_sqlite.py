# ruff: noqa: SLF001 - a bug reaches into what it breaks
"""Bugs on SQLite: another statement, a transaction in two parts, a commit that does not come, a file out of reach."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar

from orch.backends import sqlite
from orch.backends.memory import MemoryQueue
from orch.backends.sqlite import SqliteQueue
from orch.errors import BackendUnavailable, JobNotFound, OrchError, WriteRefused
from orch.job import Job, JobStatus, Lease, QueueStats, Report
from orch.queue import PersistentQueue
from orch.testing.bugs.making import Died, breaks, bugs_of
from orch.testing.clock import FakeClock
from orch.testing.stores import SqliteStore

_RIGHT = dict(sqlite._SQL)
_IN_MEMORY = Path("/dev/shm")  # noqa: S108 - files of nobody's, in a folder of their own, faster than on a disk
Verb = Callable[[PersistentQueue], object]


def _other(name: str, *changes: tuple[str, str]) -> dict[str, str]:
    """A statement with parts of it replaced."""
    text = _RIGHT[name]
    for old, new in changes:
        assert old in text, f"{name} has no {old!r}"
        text = text.replace(old, new)
    return {name: text}


class OtherStatements(SqliteQueue):
    """A right queue; subclasses replace statements, for as long as one of their verbs runs."""

    SQL: ClassVar[Mapping[str, str]] = {}

    @contextmanager
    def _ours(self) -> Iterator[None]:
        sqlite._SQL.update(self.SQL)
        try:
            yield
        finally:
            sqlite._SQL.update(_RIGHT)

    @staticmethod
    def store(kind: type[OtherStatements]) -> FileStore:
        """Queues of this class in files, with `reopen` and `second_client`."""
        return FileStore(kind)

    def _enqueue(self, jobs: Sequence[Job]) -> int:
        with self._ours():
            return super()._enqueue(jobs)

    def _exchange(
        self, reports: Sequence[Report], n: int, worker_id: str, lease_s: float
    ) -> tuple[list[Job | OrchError], list[Job]]:
        with self._ours():
            return super()._exchange(reports, n, worker_id, lease_s)

    def _extend(self, leases: Sequence[Lease], lease_s: float) -> list[Lease | OrchError]:
        with self._ours():
            return super()._extend(leases, lease_s)

    def _requeue(self, job_id: str) -> Job:
        with self._ours():
            return super()._requeue(job_id)

    def _list(self, status: JobStatus | None, limit: int) -> list[Job]:
        with self._ours():
            return super()._list(status, limit)

    def _purge(self, older_than_s: float) -> int:
        with self._ours():
            return super()._purge(older_than_s)

    def stats(self) -> QueueStats:
        with self._ours():
            return super().stats()


class FileStore(SqliteStore):
    """Queues of a class in a folder of their own, which `close()` removes; it is made when it is needed."""

    def __init__(self, kind: type[SqliteQueue]) -> None:
        super().__init__("")
        self._kind = kind
        self._folder: str | None = None

    def __call__(self, clock: FakeClock) -> SqliteQueue:
        if self._folder is None:
            self._folder = tempfile.mkdtemp(prefix="orch-bugs-", dir=_IN_MEMORY if _IN_MEMORY.is_dir() else None)
            self._directory = Path(self._folder)
        return super().__call__(clock)

    def close(self) -> None:
        """Remove the files."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = self._path = None

    def _open(self) -> SqliteQueue:
        assert self._path is not None
        return self._kind(self._path, clock=self._clock)


class _Dying(FileStore):
    """A client can die at a step that its class tells by `step()`: what was not committed is rolled back."""

    def die(self, queue: SplitQueue, n: int, verb: Verb) -> tuple[SqliteQueue, bool]:
        """Do the verb as a client that dies at its n-th step."""
        queue.dies_in = n
        try:
            verb(queue)
        except Died:
            queue.close()
            return self._open(), True
        except OrchError:
            return queue, False
        finally:
            queue.dies_in = None
        return queue, False


class SplitQueue(SqliteQueue):
    """A right queue whose clients can die before a verb; subclasses do a verb in two transactions."""

    dies_in: int | None = None

    @staticmethod
    def store(kind: type[SplitQueue]) -> FileStore:
        """Queues of this class in files, with the `die` hook."""
        return _Dying(kind)

    def step(self) -> None:
        """Here a client may die."""
        if self.dies_in is not None:
            if self.dies_in == 0:
                raise Died
            self.dies_in -= 1


@breaks("Q5", source="orch")
class ExpiredMeansPast(OtherStatements):
    """A lease that ends now is not yet expired: `<` where `<=` should be."""

    SQL: ClassVar[Mapping[str, str]] = _other("expired", ("expires_us <= ?", "expires_us < ?"))


@breaks("Q2", source="dramatiq#489; orch")
class ReadyWithoutTickets(OtherStatements):
    """The ready jobs are ordered by priority and row, not by ticket: a retried job overtakes."""

    SQL: ClassVar[Mapping[str, str]] = _other(
        "ready", ("INDEXED BY job_ready", ""), ("priority DESC, ticket", "priority DESC, seq")
    )


@breaks("Q2", source="orch")
class PromotedByRow(OtherStatements):
    """Due jobs take their tickets in the order of their rows, not of their due times."""

    SQL: ClassVar[Mapping[str, str]] = _other("promote", ("ORDER BY due_us, seq", "ORDER BY seq"))


@breaks("Q10", source="orch")
class PurgeWithTheEdge(OtherStatements):
    """purge takes jobs that finished exactly so long ago."""

    SQL: ClassVar[Mapping[str, str]] = {
        name: text.replace("finished_us < ?", "finished_us <= ?")
        for name, text in _RIGHT.items()
        if name.startswith("purge") and "finished_us < ?" in text
    }


@breaks("Q4", source="bullmq#1064; orch")
class ExtendWithoutTheToken(OtherStatements):
    """The guard on the token is missing in the UPDATE: anybody extends the running delivery."""

    SQL: ClassVar[Mapping[str, str]] = _other("extend", ("token = ?", "(token = ? OR token > 0)"))


@breaks("Q4", source="orch")
class SettleLeavesTheLease(OtherStatements):
    """The token of a job that is given back or retried stays in its row: the old holder can extend it."""

    SQL: ClassVar[Mapping[str, str]] = {
        **_other("settle", ("    token = NULL,\n    worker_id = NULL,\n    expires_us = NULL,\n", "")),
        **_other("extend", ("status = 1", "status < 2")),
    }


@breaks("Q9", source="seed 49; sidekiq#5524")
class CountersAreNotSaved(OtherStatements):
    """A step forgets to write how many failed."""

    SQL: ClassVar[Mapping[str, str]] = _other("save", ("failed = failed + ?", "failed = failed + 0 * ?"))


@breaks("Q1", "Q8", "Q4", source="orch")
class TwoTransactionsForADequeue(SplitQueue):
    """A job is delivered in one transaction and its token written in the next: a client that dies leaves it taken."""

    def _exchange(
        self, reports: Sequence[Report], n: int, worker_id: str, lease_s: float
    ) -> tuple[list[Job | OrchError], list[Job]]:
        answers, jobs = super()._exchange(reports, n, worker_id, lease_s)
        if n and jobs and self.dies_in is not None:
            with self._file.lock:
                db = self._file.connected()
                db.execute("UPDATE job SET expires_us = expires_us + 1000000000000000 WHERE id = ?", (jobs[0].id,))
                if self.dies_in == 0:
                    raise Died
                db.execute("UPDATE job SET expires_us = expires_us - 1000000000000000 WHERE id = ?", (jobs[0].id,))
        return answers, jobs


@breaks("Q8", "Q9", "Q1", source="kombu#1444; orch")
class EnqueueCountsInAnother(SplitQueue):
    """A job is inserted in one transaction and counted in another: a client that dies between leaves a wrong count."""

    def _enqueue(self, jobs: Sequence[Job]) -> int:
        new = super()._enqueue(jobs)
        if new and self.dies_in == 0:
            with self._file.lock:
                self._file.connected().execute("UPDATE state SET pending = pending - 1, ready = ready - 1")
            raise Died
        return new


class LateCommit(SqliteQueue):
    """A right queue, but for reports: their transaction is committed by whatever comes next."""

    def __init__(self, path: Path, **more: Any) -> None:
        super().__init__(path, **more)
        begin = self._file.begin

        def begin_after_the_late() -> Any:
            db = self._file.connected()
            if db.in_transaction:
                db.execute(_RIGHT["commit"])
            return begin()

        self._file.begin = begin_after_the_late  # type: ignore[method-assign]  # the bug

    @staticmethod
    def store(kind: type[LateCommit]) -> Any:
        """Queues of this class without a second client, which would wait for the commit."""
        files = FileStore(kind)

        def store(clock: FakeClock) -> SqliteQueue:
            return files(clock)

        store.reopen, store.close = files.reopen, files.close  # type: ignore[attr-defined]  # hooks
        return store


@breaks("Q14", source="sqlite, postgres: commit after the reply; orch")
class RepliesBeforeTheCommit(LateCommit):
    """A report returns while its transaction is open: killed before the next step, it was never done."""

    def _exchange(
        self, reports: Sequence[Report], n: int, worker_id: str, lease_s: float
    ) -> tuple[list[Job | OrchError], list[Job]]:
        if not reports or n:
            return super()._exchange(reports, n, worker_id, lease_s)
        sqlite._SQL["commit"] = "SELECT 1 WHERE 0"
        try:
            return super()._exchange(reports, n, worker_id, lease_s)
        finally:
            sqlite._SQL["commit"] = _RIGHT["commit"]


class TroubledStore(FileStore):
    """Queues in files that go away (their disk is unmounted), or take no writes."""

    def unreachable(self, queue: SqliteQueue, verb: Verb) -> object:
        """Do the verb while the file cannot be opened."""

        def away() -> Any:
            raise BackendUnavailable("the file cannot be opened")

        queue._file.connected = away  # type: ignore[method-assign]  # the fault
        try:
            return verb(queue)
        finally:
            del queue._file.connected

    def full(self, queue: SqliteQueue, verb: Verb) -> object:
        """Do the verb while the file takes no writes."""
        with queue._file.lock:
            queue._file.connected().execute("PRAGMA query_only = ON")
        try:
            return verb(queue)
        finally:
            with queue._file.lock, suppress(OrchError):
                queue._file.connected().execute("PRAGMA query_only = OFF")


@breaks("Q15", source="seed 65, 67", store=TroubledStore)
class FallsBackToAQueueInMemory(SqliteQueue):
    """The file cannot be opened: the queue goes on in memory, and says nothing."""

    _instead: MemoryQueue | None = None

    def enqueue(self, job: Job) -> bool:
        try:
            return super().enqueue(job)
        except BackendUnavailable:
            self._instead = self._instead or MemoryQueue()
            return self._instead.enqueue(job)

    def dequeue(self, worker_id: str = "", *, lease_s: float | None = None, wait_s: float = 0.0) -> Job | None:
        try:
            return super().dequeue(worker_id, lease_s=lease_s, wait_s=wait_s)
        except BackendUnavailable:
            return None if self._instead is None else self._instead.dequeue(worker_id)


@breaks("Q15", source="prefect; seed 28", store=TroubledStore)
class AnUnreachableFileIsAnUnknownJob(SqliteQueue):
    """The file cannot be opened: cancel says that there is no such job."""

    def update_status(self, job_id: str, status: JobStatus, *args: Any, **more: Any) -> Job:
        try:
            return super().update_status(job_id, status, *args, **more)
        except BackendUnavailable:
            raise JobNotFound(f"no job {job_id!r} in this queue") from None


@breaks("Q14", source="seed 8, 94", store=TroubledStore)
class ARefusedReportLooksDone(SqliteQueue):
    """The disk is full: the report is answered from what is in memory, and was never written."""

    def update_status(self, job_id: str, status: JobStatus, *args: Any, **more: Any) -> Job:
        try:
            return super().update_status(job_id, status, *args, **more)
        except WriteRefused:
            job = self.get_job(job_id)
            assert job is not None
            job.status = status
            return job


@breaks("Q14", source="seed 94; dbos#716", store=TroubledStore)
class ARefusedEnqueueIsLogged(SqliteQueue):
    """The disk is full: enqueue logs it and answers True."""

    def enqueue(self, job: Job) -> bool:
        try:
            return super().enqueue(job)
        except WriteRefused:
            return True


BUGS = bugs_of(globals())
