"""The queue in one SQLite file: many processes on one machine, nothing lost when any of them is killed.

Every verb is one `BEGIN IMMEDIATE` transaction (`_Step`), whose commit is the last thing it does; purge is one for
each slice. One connection a process, under a lock; a forked child opens its own. The statements are in `sqlite.sql`.
`sqlite3` errors do not leave this file.
"""

from __future__ import annotations

import json
import os
import random
import sqlite3
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from functools import lru_cache
from importlib import resources
from json.encoder import encode_basestring
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from zlib import crc32

from orch import checks
from orch.backends.base import BEAT_S, BEATS_MISSED_MAX, BulkQueue, checked_worker
from orch.clock import Clock, iso, iso_to_us, to_us
from orch.errors import (
    BackendUnavailable,
    IllegalTransition,
    InvalidInput,
    JobNotFound,
    LeaseLost,
    OrchError,
    UnreadableRecord,
    WriteRefused,
)
from orch.job import (
    RECORD_VERSION,
    STATES,
    TRANSITIONS,
    CursorMove,
    Event,
    Job,
    JobStatus,
    Lease,
    Quarantined,
    QueueStats,
    Report,
    WorkerInfo,
    crash_limit_error,
    decode_record,
    event_of_lost_lease,
    event_of_report,
)
from orch.queue import LEASE_S, MAX_CRASHES, RECLAIM_MAX, SLICE_MAX, SWEEP_S

SCHEMA_VERSION = 1  # `user_version` of the file
APPLICATION_ID = 0x6F726368  # "orch" in the file's header
LOCK_S = 60.0  # how long a step waits for other processes before it gives up
LOOK_S = 0.2  # how often a process that uses the file makes sure that it was not removed or replaced
WAL_MAX = 16 * 1024 * 1024  # bytes of the -wal file from which on it is brought into the database and emptied
WAL_LOOK_S = 0.02  # how often a process that writes looks at its size
WAL_BUSY_S = 1.0  # and after readers did not let go of it
POLL_S = 0.02  # how often a waiting dequeue looks whether another process changed the file
PURGE_HOLD_S = 0.005  # how long a slice of a purge is to hold the store; the next one is made larger or smaller by it
PURGE_FIRST = 100  # jobs in the first slice
BIG = 16_384  # characters of a record or result from which on its job is purged with care
PURGE_PAUSE_S = 0.0005  # between two slices, so that whoever waits for the store gets it
SQLITE_MIN = (3, 35, 0)  # the first that has RETURNING

# How a status is stored. RETRY is never a job's, only that of a settled report; a give-back is settled as PENDING.
_NUMBER = {**{status: number for number, status in enumerate(STATES)}, JobStatus.RETRY: 5}
_PENDING, _RUNNING, _SUCCESS, _FAILED, _QUARANTINED = range(5)
# The table is asked once, not once a job: an Enum's hash is a call of Python.
_AFTER_DELIVERY = TRANSITIONS[JobStatus.PENDING][Event.DELIVER]
_AFTER_SUCCESS = TRANSITIONS[JobStatus.RUNNING][Event.SUCCEED]
_AFTER_FAILURE = TRANSITIONS[JobStatus.RUNNING][Event.FAIL]
_AT_STATUS, _AT_DUE = 2, 6  # where a row of `job` has them


def _statements(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for block in text.split("-- name: ")[1:]:
        name, _, statement = block.partition("\n")
        found[name.strip()] = statement.strip()
    return found


_SQL = _statements(resources.files(__package__).joinpath("sqlite.sql").read_text(encoding="utf-8"))


# -- the store's clock -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Machine:
    """What the store's clock is made of.

    Leases must end at the same moment for every process on the machine, and a wall clock that is set must not move
    them. So the store's time is the machine's uptime, which counts through a suspend, plus an offset that the file
    keeps for the boot it was taken in. The first step after a boot (or on another machine) takes a new offset, such
    that the time is the wall clock's, or the last one that the file has seen where the wall clock is behind it: so the
    store's time never goes back. Within a boot nobody looks at the wall clock again.

    Where the system tells no boot id, it is empty, and an uptime that would turn the time back is a new boot.
    """

    boot_id: str
    uptime_us: Callable[[], int]
    wall_us: Callable[[], int]

    def read(self, offset_us: int | None, seen_us: int) -> tuple[int, int]:
        """The store's time now, and the offset that goes with it; `offset_us` is None if the file's is of another boot.

        `seen_us` is the latest time that the file has seen.
        """
        uptime_us = self.uptime_us()
        if offset_us is None or (not self.boot_id and uptime_us + offset_us < seen_us):
            offset_us = max(self.wall_us(), seen_us) - uptime_us
        return max(uptime_us + offset_us, seen_us), offset_us


def this_machine() -> Machine:
    """The clocks of the machine we run on."""
    try:
        boot_id = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        boot_id = ""
    boottime = getattr(time, "CLOCK_BOOTTIME", None)
    if boottime is None:
        return Machine(boot_id, lambda: time.monotonic_ns() // 1000, lambda: time.time_ns() // 1000)
    return Machine(boot_id, lambda: time.clock_gettime_ns(boottime) // 1000, lambda: time.time_ns() // 1000)


_MACHINE = this_machine()


# -- records -----------------------------------------------------------------------------------------------------------
#
# `record` is written and read without `encode_record`, `decode_record` and the checks of `Job` and `Lease`, which cost
# more than the storing itself: what is written was checked a moment ago, and a record whose checksum holds was checked
# when it was written. Any other record, put there by a fault, a person or a newer orch, is read with all care.

_LEAST = 7  # keys that every record has: v, id, dag_path, tenant_id, schedule_id, status, enqueued_at
_JOB_KEYS = frozenset(field.name for field in fields(Job)) | {"v"}
_raw_decode = json.JSONDecoder().raw_decode

# A job as it is stored, but for the numbers that the step gives it: when it is due, what every job has, and what most
# jobs have only later.
_New = tuple[int | None, tuple[Any, ...], tuple[Any, ...] | None]
_NO_STATE = (0, 0, 0, 0, 0, 0, 0)


def _new(job: Job) -> _New:
    """A checked job as it is stored."""
    quote = encode_basestring
    schedule = "null" if job.schedule_id is None else quote(job.schedule_id)
    record = (
        f'{{"v":{RECORD_VERSION},"id":{quote(job.id)},"dag_path":{quote(job.dag_path)},'
        f'"tenant_id":{quote(job.tenant_id)},"schedule_id":{schedule},"status":"pending",'
        f'"enqueued_at":{quote(job.enqueued_at)}'
    )
    rest: dict[str, Any] = {}
    if job.max_retries:
        rest["max_retries"] = job.max_retries
    if job.params:
        rest["params"] = job.params
    if job.priority:
        rest["priority"] = job.priority
    if job.timeout_s is not None:
        rest["timeout_s"] = job.timeout_s
    if job.extra:
        rest.update(job.extra)
    record += f",{checks.dump_json(rest)[1:]}" if rest else "}"
    said = (job.id, job.priority, iso_to_us(job.enqueued_at), crc32(record.encode()), record)
    due_us = state = None
    if job.not_before is not None:
        due_us = iso_to_us(job.not_before)
    big = len(record) > BIG
    if (
        big
        or due_us is not None
        or job.attempts
        or job.failures
        or job.crashes
        or job.error is not None
        or job.result is not None
    ):
        result = None if job.result is None else checks.dump_json(job.result)
        numbers = (job.attempts, job.failures, job.crashes, int(big or _is_big(result)))
        state = (*numbers, _text(job.not_before), _text(job.error), _text(result))
    return due_us, said, state


def _is_big(result: str | None) -> bool:
    return result is not None and len(result) > BIG


def _number(value: int | None) -> int | str:
    """A number or NULL as a parameter; `sqlite.sql` says why."""
    return "" if value is None else value


def _text(value: str | None) -> str | int:
    """A text or NULL as a parameter."""
    return 0 if value is None else value


def _job(
    record: bytes,
    crc: int,
    *,
    status: JobStatus,
    started_at: str | None,
    finished_at: str | None,
    attempts: int,
    error: str | None,
    result: dict[str, Any] | None,
    not_before: str | None,
    failures: int,
    crashes: int,
    lease: Lease | None,
) -> Job:
    """The job of a record, in this state. Raises `UnreadableRecord`."""
    data: dict[str, Any] | None = None
    if crc32(record) == crc:
        data = _parsed(record) if len(record) <= 1024 else _parse(record)
        if data["v"] != RECORD_VERSION:
            data = None
    if data is None:
        data = decode_record(record).to_dict()
    values = {
        "id": data["id"],
        "dag_path": data["dag_path"],
        "tenant_id": data["tenant_id"],
        "schedule_id": data["schedule_id"],
        "status": status,
        "enqueued_at": data["enqueued_at"],
        "started_at": started_at,
        "finished_at": finished_at,
        "attempts": attempts,
        "max_retries": 0,
        "error": error,
        "result": result,
        "params": {},
        "priority": 0,
        "not_before": not_before,
        "timeout_s": None,
        "failures": failures,
        "crashes": crashes,
        "lease": lease,
        "extra": {},
    }
    if len(data) > _LEAST:
        values["max_retries"] = data.get("max_retries", 0)
        values["priority"] = data.get("priority", 0)
        values["timeout_s"] = data.get("timeout_s")
        values["params"] = checks.copy_json(data.get("params", {}))
        values["extra"] = {name: checks.copy_json(data[name]) for name in data if name not in _JOB_KEYS}
    job = object.__new__(Job)
    job.__dict__ = values
    return job


def _parse(record: bytes) -> dict[str, Any]:
    """A record whose checksum holds, and which therefore is JSON."""
    data: dict[str, Any] = _raw_decode(record.decode())[0]
    return data


_parsed = lru_cache(maxsize=1024)(_parse)  # a report reads again what the dequeue has read; of small ones only
_iso = lru_cache(maxsize=256)(iso)  # a bulk dequeue starts many jobs at one instant


def _lease(job_id: str, token: int, worker_id: str, expires_at: float) -> Lease:
    lease = object.__new__(Lease)
    store = object.__setattr__  # it is frozen
    store(lease, "job_id", job_id)
    store(lease, "token", token)
    store(lease, "worker_id", worker_id)
    store(lease, "expires_at", expires_at)
    return lease


class _Stored:
    """A stored job as a step sees it, and what only the queue knows of it. Raises `UnreadableRecord` when made."""

    __slots__ = (
        "due_us",
        "finished_us",
        "job",
        "progress_size",
        "ready_us",
        "result",
        "seq",
        "settled",
        "started_us",
        "ticket",
    )

    def __init__(self, row: Sequence[Any]) -> None:
        (
            self.seq,
            id,
            status,
            priority,
            self.ticket,
            self.ready_us,
            self.due_us,
            _enqueued_us,
            self.started_us,
            self.finished_us,
            token,
            worker_id,
            expires_us,
            attempts,
            failures,
            crashes,
            settled_token,
            settled_status,
            self.progress_size,
            _big,
            not_before,
            crc,
            record,
            error,
            result,
        ) = row
        self.settled = (settled_token, settled_status)
        try:
            self.result = None if result is None else result.decode()  # its text goes back as it came
            job_id = id.decode()
            self.job = job = _job(
                record,
                crc,
                status=STATES[status],
                started_at=None if self.started_us is None else iso(self.started_us),
                finished_at=None if self.finished_us is None else iso(self.finished_us),
                attempts=attempts,
                error=None if error is None else error.decode(),
                result=None if self.result is None else json.loads(self.result),
                not_before=None if not_before is None else not_before.decode(),
                failures=failures,
                crashes=crashes,
                lease=_lease(job_id, token, worker_id.decode(), expires_us / 1_000_000) if status == _RUNNING else None,
            )
            job.id, job.priority = job_id, priority  # whatever a planted record says
        except (ValueError, RecursionError) as fault:
            raise UnreadableRecord(f"record cannot be read: {fault}") from None


# -- the file ----------------------------------------------------------------------------------------------------------

_BUSY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL})
_NO_ROOM = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_SHMSIZE})


def _code(error: BaseException) -> int:
    """The extended result code of an error of SQLite; 0 for one that Python's module raised by itself."""
    return getattr(error, "sqlite_errorcode", 0)


def _is_busy(error: BaseException) -> bool:
    return _code(error) & 0xFF in _BUSY


def _is_read_only(error: BaseException) -> bool:
    return _code(error) & 0xFF == sqlite3.SQLITE_READONLY


def _in_our_words(error: sqlite3.Error, path: Path) -> OrchError:
    """What an error of SQLite is to the user of a queue."""
    what = f"{error} ({getattr(error, 'sqlite_errorname', type(error).__name__)})"
    if _code(error) in _NO_ROOM:
        return WriteRefused(f"{path} takes no more data, nothing was changed: {what}; free space on its disk")
    if _is_read_only(error):
        return WriteRefused(
            f"{path} cannot be written, nothing was changed: {what}; see the permissions of file and folder"
        )
    if _is_busy(error):
        return BackendUnavailable(f"{path} was held by another process for {LOCK_S:g} s: {what}; has one been stopped?")
    if _code(error) == sqlite3.SQLITE_NOTADB:
        return BackendUnavailable(f"{path} is no SQLite database: {what}; it was left as it is, give another path")
    if _code(error) & 0xFF == sqlite3.SQLITE_CANTOPEN:
        return BackendUnavailable(
            f"{path} cannot be opened: {what}; its folder must be writable too, for the -wal file beside it"
        )
    return BackendUnavailable(f"{path} cannot be used: {what}")


def _patiently(act: Callable[[], list[Any]]) -> list[Any]:
    """Do it as soon as no other process is in the way.

    SQLite's own busy timeout sleeps up to 100 ms between two looks and loses each gap that a purge leaves; it is also
    not asked at all where a file is being created or recovered. So we look ourselves, often.
    """
    give_up: float | None = None
    while True:
        try:
            return act()
        except sqlite3.Error as error:
            if not _is_busy(error):
                raise
            now = time.monotonic()
            if give_up is None:
                give_up = now + LOCK_S
            elif now > give_up:
                raise
            late = now > give_up - LOCK_S + 1.0
            time.sleep(random.uniform(0.5, 1.0) * (0.01 if late else 0.001))


def _judge(path: Path, application_id: int, version: int, tables: int) -> bool:
    """True for a database with nothing in it, False for one of ours. Raises `BackendUnavailable` for others."""
    if application_id == 0 and tables == 0:
        return True
    if application_id != APPLICATION_ID:
        raise BackendUnavailable(
            f"{path} is a database of another application (application id {application_id}, {tables} tables and "
            f"indexes); it was left as it is, give another path"
        )
    if version != SCHEMA_VERSION:
        raise BackendUnavailable(
            f"{path} has version {version} of the schema, this orch knows version {SCHEMA_VERSION}; "
            f"it was left as it is, upgrade orch or give another path"
        )
    return False


def _never_close(db: sqlite3.Connection) -> None:
    """Keep a connection open till the process ends: in a forked child it is the parent's, and closing it harms both."""
    with suppress(ImportError):
        import ctypes

        ctypes.pythonapi.Py_IncRef(ctypes.py_object(db))


class _File:
    """The database file and this process's connection to it: opening, checking, patience, errors in our words.

    The connection is used under `lock` only. `news` wakes the waiting threads of this process.
    """

    def __init__(self, path: Path, synchronous: str) -> None:
        self.path = path
        self._synchronous = synchronous
        self._closed = False
        self._identity = (0, 0)
        self._wal = f"{path}-wal"
        self._next_look = self._next_tidy = 0.0
        self._db: sqlite3.Connection | None = None
        self._renew()
        with self.lock:
            self._db = self._open(create=True)
        _FILES.add(self)

    def _renew(self) -> None:
        self.lock = threading.Lock()
        self.news = threading.Condition()
        self.changes = 0  # steps of this process; `PRAGMA data_version` tells only of other connections
        self.waiting = 0

    def begin(self) -> sqlite3.Connection:
        """Take the store for writing; the lock is held."""
        db = self.connected()
        try:
            db.execute(_SQL["begin"])
        except sqlite3.Error as error:
            if not _is_busy(error):
                raise
            _patiently(lambda: self.connected().execute(_SQL["begin"]).fetchall())
            db = self.connected()
        return db

    def rows(self, name: str, parameters: Sequence[Any] = ()) -> list[Any]:
        """What a reading statement finds."""
        with self.lock:
            try:
                return _patiently(lambda: self.connected().execute(_SQL[name], parameters).fetchall())
            except sqlite3.Error as error:
                self.undo(error)
                raise _in_our_words(error, self.path) from error

    def undo(self, error: BaseException) -> None:
        """Roll back, after an error; the lock is held. A connection that may be unwell is opened anew next time."""
        db = self._db
        if db is None:
            return
        with suppress(sqlite3.Error):
            if db.in_transaction:
                db.execute(_SQL["rollback"])
        refused = _is_busy(error) or _is_read_only(error) or _code(error) in _NO_ROOM
        if db.in_transaction or (isinstance(error, sqlite3.Error) and not refused):
            self._drop()

    def tell(self) -> None:
        """Wake the threads of this process that wait for a job; the lock is not held."""
        if self.waiting:
            with self.news:
                self.news.notify_all()

    def tidy(self, db: sqlite3.Connection) -> None:
        """Empty the -wal file if it has become large; the lock is held, and what was done is committed.

        SQLite does this only when no process has written since the last frame was brought home, which never comes
        while several do: the file grows for ever, and each commit pays for a try. So we bring home what we can while
        others write, twice, and then the rest while nobody does. That it fails is no fault of the verb.
        """
        now = time.monotonic()
        if now < self._next_tidy:
            return
        self._next_tidy = now + WAL_LOOK_S
        with suppress(OSError, sqlite3.Error):
            if os.stat(self._wal).st_size < WAL_MAX:  # noqa: PTH116  # half the time of Path.stat()
                return
            for _ in range(2):
                busy, frames, home = db.execute(_SQL["tidy"]).fetchone()
                if busy:
                    return  # another process is at it
                if frames == home:
                    break
            db.execute(_SQL["tidy_patience"])
            try:
                if db.execute(_SQL["tidy_empty"]).fetchone()[0]:
                    self._next_tidy = now + WAL_BUSY_S
            finally:
                db.execute(_SQL["tidy_done"])

    def close(self) -> None:
        with self.lock:
            self._closed = True
            self._drop()
        self.tell()

    def forget(self) -> None:
        """In a forked child: the connection, its locks, and the state of our own locks are the parent's."""
        if self._db is not None:
            _never_close(self._db)
            self._db = None
        self._renew()

    def connected(self) -> sqlite3.Connection:
        """The connection; the lock is held. Raises `BackendUnavailable` if the file is not the one that was opened."""
        if self._closed:
            raise BackendUnavailable(f"{self.path} was closed by this program; open the queue again")
        now = time.monotonic()
        if self._db is not None and (now < self._next_look or self._in_place()):
            return self._db
        self._drop()
        self._db = self._open(create=False)
        return self._db

    def _in_place(self) -> bool:
        """False when the file was removed or replaced: what we would write then, nobody would ever find."""
        self._next_look = time.monotonic() + LOOK_S
        try:
            status = self.path.stat()
        except OSError:
            return False
        return (status.st_dev, status.st_ino) == self._identity

    def _drop(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            with suppress(sqlite3.Error):
                db.close()  # of a file that was moved away, SQLite leaves alone the -wal file that has its name now

    def _open(self, *, create: bool) -> sqlite3.Connection:
        path = self.path
        try:
            if not path.parent.is_dir():
                raise BackendUnavailable(f"{path} cannot be opened: there is no folder {path.parent}; make it first")
            if path.exists():
                self._look(create=create)
            elif not create:
                raise BackendUnavailable(f"{path} was removed while it was in use; put it back, or open the queue anew")
            db = sqlite3.connect(
                path.as_uri() + ("?mode=rwc" if create else "?mode=rw"),
                uri=True,
                timeout=0,  # see `_patiently`
                isolation_level=None,
                check_same_thread=False,  # there is a lock
            )
            try:
                self._prepare(db)
                status = path.stat()
            except BaseException:
                db.close()
                raise
        except sqlite3.Error as error:
            refusal = _in_our_words(error, path)
            raise BackendUnavailable(str(refusal)) if _is_read_only(error) else refusal from error
        except OSError as error:
            if isinstance(error, OrchError):
                raise
            raise BackendUnavailable(f"{path} cannot be opened: {error}") from error
        self._identity = (status.st_dev, status.st_ino)
        return db

    def _look(self, *, create: bool) -> None:
        """Refuse what is not ours before it is opened for writing, which by itself could change it.

        Only through SQLite: any other `close` of the file in this process would end the locks of its connections. An
        error proves nothing, because what is in the -wal file is not seen here; `_prepare` looks again.
        """
        path = self.path
        if not path.is_file():
            raise BackendUnavailable(f"{path} cannot be opened: it is not a regular file; give the path of a file")
        if not create and not path.stat().st_size:
            raise BackendUnavailable(f"{path} was replaced by an empty file while it was in use; put it back")
        db = sqlite3.connect(path.as_uri() + "?mode=ro&immutable=1", uri=True, isolation_level=None)
        try:
            with suppress(sqlite3.Error):
                _judge(path, *db.execute(_SQL["whose"]).fetchone())
        finally:
            db.close()

    def _prepare(self, db: sqlite3.Connection) -> None:
        """Make or check the schema; several processes may be here at once."""

        def ask(name: str) -> list[Any]:
            return _patiently(lambda: db.execute(_SQL[name]).fetchall())

        db.text_factory = bytes  # a text with a flipped bit must not end a dequeue (Q13)
        _judge(self.path, *ask("whose")[0])
        ask("tune_cache")
        ask("tune_delete")
        if ask("journal") != [(b"wal",)] and ask("journal_wal") != [(b"wal",)]:
            raise BackendUnavailable(f"{self.path} cannot be used: its file system has no shared memory for WAL")
        ask("synchronous_full" if self._synchronous == "FULL" else "synchronous_normal")
        ask("tune_checkpoint")
        ask("begin")
        if _judge(self.path, *ask("whose")[0]):
            for name in _SQL:
                if name.startswith("schema_"):
                    ask(name)
            ask("commit")
        else:
            ask("touch")  # a file that cannot be written lets itself be opened, even with BEGIN IMMEDIATE
            ask("rollback")


_FILES: weakref.WeakSet[_File] = weakref.WeakSet()


def _forget_all() -> None:
    for file in list(_FILES):
        file.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)


# -- one step ----------------------------------------------------------------------------------------------------------


class _Step:
    """One write transaction: the only way in which this backend changes anything.

    As a context manager it takes the store, reads clock and counters, and at the end writes the counters and commits.
    It rolls back when anything but an `OrchError` comes out of it. An `OrchError` commits, since what was done before
    it stands, as putting a record into quarantine.
    """

    __slots__ = (
        "_changes",
        "_clock",
        "_connection",
        "_file",
        "_seen_us",
        "counts",  # how they change; so is `ready` and `quarantined`
        "db",
        "due_us",
        "expires_us",
        "now",
        "quarantined",
        "ready",
        "seq",
        "ticket",
        "token",
    )

    db: sqlite3.Cursor
    now: int
    due_us: int | None  # of the first delayed job
    expires_us: int | None  # of the first lease

    def __init__(self, file: _File, clock: Clock | None) -> None:
        self._file = file
        self._clock = clock

    def __enter__(self) -> Self:
        self._file.lock.acquire()
        try:
            self._connection = self._file.begin()
            self._changes = self._connection.total_changes
            self.db = db = self._connection.cursor()  # one for the step: each costs as much as a short statement
            (
                offset_us,
                seen_us,
                self.seq,
                self.ticket,
                self.token,
                self.due_us,
                self.expires_us,
            ) = db.execute(_SQL["step"], (_MACHINE.boot_id,)).fetchone()
            self.counts, self.ready, self.quarantined = [0, 0, 0, 0], 0, 0
            if self._clock is not None:
                self.now, self._seen_us = to_us(self._clock()), 0
            else:
                self.now, taken_us = _MACHINE.read(offset_us, seen_us)
                self._seen_us = self.now
                if taken_us != offset_us:
                    db.execute(_SQL["boot"], (_MACHINE.boot_id, taken_us))
        except BaseException as error:
            self._undo(error)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None and not isinstance(error, OrchError):
            self._undo(error)
            return
        try:
            changed = self._connection.total_changes != self._changes
            if changed:
                self.db.execute(
                    _SQL["save"],
                    (
                        self._seen_us,
                        self.seq,
                        self.ticket,
                        self.token,
                        *self.counts,
                        self.quarantined,
                        self.ready,
                    ),
                )
            self.db.execute(_SQL["commit"])
        except BaseException as failure:
            self._undo(failure)
            raise
        file = self._file
        try:
            if changed:
                file.changes += 1
                file.tidy(self._connection)
        finally:
            file.lock.release()
        if changed:
            file.tell()

    def _undo(self, error: BaseException) -> None:
        file = self._file
        try:
            file.undo(error)
        finally:
            file.lock.release()
        if isinstance(error, sqlite3.Error):
            raise _in_our_words(error, file.path) from error

    # -- getting in and out ------------------------------------------------------------------------------------------

    def enqueue(self, jobs: Sequence[_New]) -> int:
        now, seq, ticket = self.now, self.seq, self.ticket
        if self.due_us is not None and self.due_us <= now:
            # An enqueue of known jobs changes nothing, so it must not promote either.
            known = _SQL["known"]
            if all(self.db.execute(known, said[:1]).fetchone() is not None for _, said, _ in jobs):
                return 0
            self.promote()
            ticket = self.ticket
        rows: list[tuple[Any, ...]] = []
        delayed = 0
        name = "enqueue"
        for due_us, said, state in jobs:
            seq += 1
            if due_us is None or due_us <= now:
                ticket += 1
                rows.append((seq, ticket, now, "", *said))
            else:
                delayed += 1
                rows.append((seq, "", "", due_us, *said))
            if state is not None:
                name = "enqueue_whole"
        if name == "enqueue_whole":
            rows = [(*row, *(state or _NO_STATE)) for row, (_, _, state) in zip(rows, jobs, strict=True)]
        if len(rows) == 1:
            new = self.db.execute(_SQL[name], rows[0]).rowcount
        else:
            new = self.db.executemany(_SQL[name], rows).rowcount
        if new != len(rows):  # some were known; the numbers they would have had stay unused
            new, delayed = self.db.execute(_SQL["enqueued"], (self.seq,)).fetchone()
        self.seq, self.ticket = seq, ticket
        self.counts[_PENDING] += new
        self.ready += new - delayed
        return new

    def promote(self) -> bool:
        """Give a ticket to each delayed job that is due, in the order (due time, enqueue sequence)."""
        if self.due_us is None or self.due_us > self.now:
            return False
        promoted = self.db.execute(_SQL["promote"], {"ticket": self.ticket, "now": self.now}).rowcount
        self.ticket += promoted
        self.ready += promoted
        self.due_us = None
        return True

    def reclaim(self, max_crashes: int) -> None:
        """Take back expired leases, the first to expire first (Q5)."""
        left = RECLAIM_MAX
        while left and self.expires_us is not None and self.expires_us <= self.now:
            rows = self.db.execute(_SQL["expired"], (self.now, left)).fetchall()
            for row in rows:
                stored = self.read(row)
                if stored is None:
                    continue
                left -= 1
                job = stored.job
                event = event_of_lost_lease(job.crashes, max_crashes)
                job.crashes += 1
                if event is Event.CRASH_LIMIT:
                    job.error = crash_limit_error(job.crashes)
                self.settle(stored, event)
            if not rows:
                break

    def deliver(self, n: int, worker_id: str, lease_s: float) -> list[Job]:
        now = self.now
        expires_us = now + to_us(lease_s)
        expires_at = expires_us / 1_000_000
        started_at = iso(now)
        jobs: list[Job] = []
        while len(jobs) < n:
            rows = self.db.execute(_SQL["ready"], (n - len(jobs),)).fetchall()
            deliveries = []
            token = self.token
            for seq, attempts, failures, crashes, crc, record, error, result in rows:
                try:
                    job = _job(
                        record,
                        crc,
                        status=_AFTER_DELIVERY,
                        started_at=started_at,
                        finished_at=None,
                        attempts=attempts + 1,
                        error=None if error is None else error.decode(),
                        result=None if result is None else json.loads(result.decode()),
                        not_before=None,
                        failures=failures,
                        crashes=crashes,
                        lease=None,
                    )
                except (ValueError, RecursionError, UnreadableRecord):
                    self.contain(seq)
                    continue
                token = token + 1 if token >= now else now
                job.lease = _lease(job.id, token, worker_id, expires_at)
                jobs.append(job)
                deliveries.append((now, token, worker_id, expires_us, seq))
            self.token = token
            if deliveries:
                delivered = self.db.executemany(_SQL["deliver"], deliveries).rowcount
                assert delivered == len(deliveries), "a job that was ready is not pending"
                self.counts[_PENDING] -= delivered
                self.counts[_RUNNING] += delivered
                self.ready -= delivered
            if len(deliveries) == len(rows):
                break
        return jobs

    # -- reports -----------------------------------------------------------------------------------------------------

    def reports(self, reports: Sequence[Report]) -> list[Job | OrchError]:
        """Report each, in order; answers its job as it is now, or the error."""
        answers: list[Job | OrchError] = []
        finished: list[tuple[Any, ...]] = []
        held = self._held(reports)
        for report in reports:
            try:
                row = held.get(report.job_id)
                job = None if row is None else self._finish(report, row, finished)
                answers.append(self.report(report) if job is None else job)
            except OrchError as error:
                answers.append(error)
        if finished:
            self.db.executemany(_SQL["finish"], finished)
        return answers

    def _held(self, reports: Sequence[Report]) -> dict[str, Sequence[Any]]:
        """The rows of the running jobs of those reports that `_finish` may take, by id.

        They are read at once, and so not those of a job that is reported twice.
        """
        ids = [report.job_id for report in reports]
        once = [report.job_id for report in reports if report.lease is not None and _finishes(report)]
        if len(ids) == 1:
            rows = self.db.execute(_SQL["held"], once).fetchall() if once else ()
        else:
            times = Counter(ids)
            asked = checks.dump_json([id for id in once if times[id] == 1])
            rows = self.db.execute(_SQL["held_many"], (asked,)).fetchall()
        return {row[-1].decode(): row for row in rows}

    def _finish(self, report: Report, row: Sequence[Any], finished: list[tuple[Any, ...]]) -> Job | None:
        """SUCCESS or FAILED under the current lease: what most reports are, with less to read and to write.

        None if it is something else, which is then `report`'s business.
        """
        seq, token, started_us, attempts, failures, crashes, crc, record, _ = row
        if report.lease is None or report.lease.token != token:
            return None
        if report.status is JobStatus.SUCCESS:
            status, number = _AFTER_SUCCESS, _SUCCESS
        else:
            status, number = _AFTER_FAILURE, _FAILED
            failures += 1
        try:
            job = _job(
                record,
                crc,
                status=status,
                started_at=_iso(started_us),
                finished_at=_iso(self.now),
                attempts=attempts,
                error=report.error,
                result=checks.copy_json(report.result),
                not_before=None,
                failures=failures,
                crashes=crashes,
                lease=None,
            )
        except UnreadableRecord:
            return None
        self.promote()
        result = None if report.result is None else checks.dump_json(report.result)
        finished.append(
            (number, self.now, failures, number, _text(report.error), _text(result), int(_is_big(result)), seq)
        )
        self.counts[_RUNNING] -= 1
        self.counts[number] += 1
        return job

    def report(self, report: Report) -> Job:
        stored = self.find(report.job_id)
        job, lease = stored.job, report.lease
        if lease is not None:
            if stored.settled == (lease.token, _NUMBER[report.status]):
                return job
            if job.lease is None or job.lease.token != lease.token:
                raise _lease_lost(lease)
        event = event_of_report(
            job.id,
            job.status,
            report.status,
            leased=lease is not None,
            failures=job.failures,
            max_retries=job.max_retries,
        )
        if event is None:
            return job
        if self.promote() and stored.due_us is not None:
            stored = self.find(report.job_id)  # it was due itself
            job = stored.job
        keeps = event in (Event.RETRY, Event.EXHAUST, Event.GIVE_BACK)
        if not keeps or report.error is not None:
            job.error = report.error
        if not keeps or report.result is not None:
            job.result = checks.copy_json(report.result)
            stored.result = None if report.result is None else checks.dump_json(report.result)
        if event in (Event.FAIL, Event.RETRY, Event.EXHAUST):
            job.failures += 1
        if lease is not None:
            stored.settled = (lease.token, _NUMBER[report.status])
        due_us = None
        if event is Event.RETRY and report.delay_s:
            due_us = self.now + to_us(report.delay_s)
            job.not_before = iso(due_us)
        self.settle(stored, event, due_us=due_us)
        return job

    def requeue(self, job_id: str) -> Job:
        stored = self.find(job_id)
        job = stored.job
        if job.status is JobStatus.PENDING:
            return job
        if Event.REQUEUE not in TRANSITIONS[job.status]:
            raise IllegalTransition(f"job {job_id!r} is {job.status.value}: only a failed job can be requeued")
        job.failures = job.crashes = 0
        job.result = job.not_before = stored.result = None
        if stored.progress_size:
            self.db.execute(_SQL["forget_progress"], (stored.seq,))
            self.db.execute(_SQL["progress_size"], (0, stored.seq))
        self.settle(stored, Event.REQUEUE)
        return job

    def settle(self, stored: _Stored, event: Event, *, due_us: int | None = None) -> None:
        """Move a job that is not delivered by this, and store what it has become."""
        job = stored.job
        if job.status is JobStatus.PENDING and stored.due_us is None:
            self.ready -= 1
        self.counts[_NUMBER[job.status]] -= 1
        job.status = TRANSITIONS[job.status][event]
        self.counts[_NUMBER[job.status]] += 1
        job.lease = None
        stored.due_us = None
        if job.status is JobStatus.PENDING:
            stored.started_us = stored.finished_us = job.started_at = job.finished_at = None
            if due_us is not None and due_us > self.now:
                stored.ticket, stored.ready_us, stored.due_us = None, None, due_us
            else:
                self.ready += 1
                if event in (Event.RETRY, Event.REQUEUE):  # what comes back otherwise keeps its ticket
                    self.ticket += 1
                    stored.ticket, stored.ready_us = self.ticket, self.now
        else:
            stored.finished_us = self.now
            job.finished_at = _iso(self.now)
        self.db.execute(
            _SQL["settle"],
            (
                _NUMBER[job.status],
                _number(stored.ticket),
                _number(stored.ready_us),
                _number(stored.due_us),
                _number(stored.started_us),
                _number(stored.finished_us),
                job.failures,
                job.crashes,
                *map(_number, stored.settled),
                _text(job.not_before),
                _text(job.error),
                _text(stored.result),
                int(_is_big(stored.result)),
                stored.seq,
            ),
        )

    # -- leases ------------------------------------------------------------------------------------------------------

    def extend(self, lease: Lease, lease_s: float) -> Lease:
        found = self.db.execute(_SQL["extend"], (self.now + to_us(lease_s), lease.job_id, lease.token)).fetchone()
        if found is None:
            raise self.not_current(lease)
        return Lease(lease.job_id, lease.token, found[1].decode(), found[0] / 1_000_000)

    def record_progress(self, lease: Lease, task_id: str, output: str) -> None:
        found = self.db.execute(_SQL["progress_before"], (task_id, lease.job_id, lease.token)).fetchone()
        if found is None:
            raise self.not_current(lease)
        seq, total, replaced = found
        size = len(output.encode())
        total += size - (replaced or 0)
        if total > checks.PROGRESS_TOTAL_MAX:
            raise InvalidInput(
                f"recorded outputs of job {lease.job_id!r} must be at most {checks.PROGRESS_TOTAL_MAX} bytes "
                f"in all, got {total}; keep large data elsewhere"
            )
        self.db.execute(_SQL["record_progress"], (seq, task_id, size, output))
        self.db.execute(_SQL["progress_size"], (total, seq))

    def not_current(self, lease: Lease) -> OrchError:
        """Why a lease is not the current one of its job."""
        try:
            self._row(lease.job_id)
        except OrchError as error:
            return error
        return _lease_lost(lease)

    # -- reading -----------------------------------------------------------------------------------------------------

    def find(self, job_id: str) -> _Stored:
        """A job by its id. Raises `JobNotFound`, or `UnreadableRecord` after putting it into quarantine."""
        stored = self.read(self._row(job_id))
        return self.find(job_id) if stored is None else stored

    def _row(self, job_id: str) -> Sequence[Any]:
        row: Sequence[Any] | None = self.db.execute(_SQL["find"], (job_id,)).fetchone()
        if row is None:
            raise JobNotFound(f"no job {job_id!r} in this queue; list_jobs shows what is there")
        if row[_AT_STATUS] == _QUARANTINED:
            reason = self.db.execute(_SQL["contained"], (row[0],)).fetchone()[0].decode()
            raise UnreadableRecord(f"job {job_id!r} is in quarantine: {reason}")
        return row

    def read(self, row: Sequence[Any]) -> _Stored | None:
        """The job of a row, or None and it is in quarantine (Q13)."""
        try:
            return _Stored(row)
        except UnreadableRecord as error:
            seq, status = row[0], row[_AT_STATUS]
            self.db.execute(_SQL["contain"], (seq,))
            self.db.execute(_SQL["contain_reason"], (seq, str(error)))
            self.counts[status] -= 1
            self.quarantined += 1
            if status == _PENDING and row[_AT_DUE] is None:
                self.ready -= 1
            return None

    def contain(self, seq: int) -> None:
        """Put a job into quarantine if it is still there and still cannot be read."""
        row = self.db.execute(_SQL["find_again"], (seq,)).fetchone()
        if row is not None and row[_AT_STATUS] != _QUARANTINED:
            self.read(row)

    # -- forgetting --------------------------------------------------------------------------------------------------

    def purge(self, cutoff_us: int, n: int) -> int:
        """Remove up to n final jobs, the first to finish first; returns how many, 0 if none is left.

        Where a big one is among them, they go one by one, for some milliseconds.
        """
        found, succeeded, big = self.db.execute(_SQL["purge_look"], (cutoff_us, n)).fetchone()
        if not big:
            removed = self.db.execute(_SQL["purge"], (cutoff_us, n)).rowcount if found else 0
            assert removed == found, "a purge removed other jobs than it had counted"
            self.counts[_SUCCESS] -= succeeded or 0
            self.counts[_FAILED] -= found - (succeeded or 0)
            return removed
        until = time.perf_counter() + PURGE_HOLD_S / 2
        removed = 0
        for seq, status, progress_size in self.db.execute(_SQL["purge_find"], (cutoff_us, n)).fetchall():
            self.db.execute(_SQL["purge_one"], (seq,))
            if progress_size:
                self.db.execute(_SQL["purge_gone"], (seq,))
            self.counts[status] -= 1
            removed += 1
            if time.perf_counter() > until:
                break
        return removed

    def purge_progress(self) -> bool:
        """Remove recorded outputs of purged jobs for some milliseconds; False when none is left."""
        until = time.perf_counter() + PURGE_HOLD_S / 2
        while (gone := self.db.execute(_SQL["purge_next"]).fetchone()) is not None:
            while self.db.execute(_SQL["purge_progress"], gone).rowcount:
                if time.perf_counter() > until:
                    return True
            self.db.execute(_SQL["purge_done"], gone)
        return False


def _finishes(report: Report) -> bool:
    return report.status is JobStatus.SUCCESS or report.status is JobStatus.FAILED


def _lease_lost(lease: Lease) -> LeaseLost:
    return LeaseLost(
        f"lease {lease.token} is not the current one of job {lease.job_id!r}: it expired and was taken back, "
        f"or the job was settled; drop this attempt's work"
    )


# -- the queue ---------------------------------------------------------------------------------------------------------


class SqliteQueue(BulkQueue):
    """The contract of `PersistentQueue` in one file on a local disk, for any number of processes of one machine.

    `path` is a file; it is made if there is none, its folder is not. With `synchronous` "NORMAL" what a verb did
    survives the death of every process; with "FULL", at the price of an fsync a verb, a power loss too (Q14).
    Threads may share one object, forked children too; `close()` closes it in this process.

    Raises `InvalidInput` for arguments that are none, `BackendUnavailable` for a file that cannot be used: no folder,
    no permission, no SQLite database, another application's, one of a newer orch.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        synchronous: str = "NORMAL",
        lease_s: float = LEASE_S,
        max_crashes: int = MAX_CRASHES,
        clock: Clock | None = None,
    ) -> None:
        super().__init__(lease_s=lease_s, max_crashes=max_crashes, clock=clock)
        if synchronous not in ("NORMAL", "FULL"):
            raise InvalidInput(f"synchronous must be NORMAL or FULL, got {checks.shown(synchronous)}")
        if sqlite3.sqlite_version_info < SQLITE_MIN:
            needed = ".".join(map(str, SQLITE_MIN))
            raise BackendUnavailable(
                f"SQLite {needed} or newer is needed, this Python has {sqlite3.sqlite_version}; "
                f"use a newer Python, or redis://"
            )
        self.path = _checked_path(path)
        self._file = _File(self.path, synchronous)
        self._beats: dict[str, int] = {}
        # Whoever hands in a clock sees each beat exactly; otherwise one a second and worker is written, not one a job.
        self._beat_gap_us = 1_000_000 if clock is None else 0

    def _step(self) -> _Step:
        return _Step(self._file, self._clock)

    def _now(self, offset_us: int | None, seen_us: int) -> int:
        """The store's time, without taking the store."""
        return _MACHINE.read(offset_us, seen_us)[0] if self._clock is None else to_us(self._clock())

    def close(self) -> None:
        self._file.close()

    # -- the verbs ---------------------------------------------------------------------------------------------------

    def _enqueue(self, jobs: Sequence[Job]) -> int:
        new = [_new(job) for job in jobs]
        with self._step() as step:
            return step.enqueue(new)

    def _exchange(
        self, reports: Sequence[Report], n: int, worker_id: str, lease_s: float
    ) -> tuple[list[Job | OrchError], list[Job]]:
        with self._step() as step:
            results = step.reports(reports) if reports else []
            if not n:
                return results, []
            if worker_id:
                self._beat(step, worker_id)
            step.reclaim(self.max_crashes)
            step.promote()
            return results, step.deliver(n, worker_id, lease_s)

    def _extend(self, leases: Sequence[Lease], lease_s: float) -> list[Lease | OrchError]:
        answers: list[Lease | OrchError] = []
        with self._step() as step:
            for lease in leases:
                try:
                    current = step.extend(lease, lease_s)
                except OrchError as error:
                    answers.append(error)
                    continue
                answers.append(current)
                if current.worker_id:
                    self._beat(step, current.worker_id)
        return answers

    def _record_progress(self, lease: Lease, task_id: str, output: str) -> None:
        with self._step() as step:
            step.record_progress(lease, task_id, output)

    def _requeue(self, job_id: str) -> Job:
        with self._step() as step:
            return step.requeue(job_id)

    def _purge(self, older_than_s: float) -> int:
        total = 0
        cutoff_us: int | None = None
        n = PURGE_FIRST
        removed = -1
        while removed:
            with self._step() as step:
                started = time.perf_counter()
                if cutoff_us is None:
                    cutoff_us = step.now - to_us(older_than_s)
                removed = step.purge(cutoff_us, n)
            held_s = time.perf_counter() - started
            total += removed
            n = min(SLICE_MAX, max(1, round(n * min(2.0, PURGE_HOLD_S / held_s))))
            time.sleep(PURGE_PAUSE_S)
        more = True
        while more:
            with self._step() as step:
                more = step.purge_progress()
            if more:
                time.sleep(PURGE_PAUSE_S)
        return total

    # -- looking -----------------------------------------------------------------------------------------------------

    def _get(self, job_id: str) -> Job | None:
        rows = self._file.rows("find", (job_id,))
        if not rows:
            return None
        if rows[0][_AT_STATUS] != _QUARANTINED:
            with suppress(UnreadableRecord):
                return _Stored(rows[0]).job
        with self._step() as step:
            try:
                return step.find(job_id).job
            except JobNotFound:
                return None

    def _list(self, status: JobStatus | None, limit: int) -> list[Job]:
        while True:  # again when a record turned out to be unreadable: the list must still be full
            if status is None:
                rows = self._file.rows("list_all", (limit,))
            else:
                rows = self._file.rows("list", (_NUMBER[status], limit))
            jobs: list[Job] = []
            unread: list[int] = []
            for row in rows:
                try:
                    jobs.append(_Stored(row).job)
                except UnreadableRecord:
                    unread.append(row[0])
            if not unread:
                return jobs
            with self._step() as step:
                for seq in unread:
                    step.contain(seq)

    def progress(self, job_id: str) -> dict[str, Any]:
        checks.check_id(job_id)
        rows = self._file.rows("progress", (job_id,))
        return {task_id.decode(): json.loads(output) for task_id, output in rows}

    def counts(self) -> dict[JobStatus, int]:
        return dict(zip(STATES, self._file.rows("counts")[0], strict=True))

    def stats(self) -> QueueStats:
        offset_us, seen_us, *counts, quarantined, ready, ready_us = self._file.rows("stats", (_MACHINE.boot_id,))[0]
        now = self._now(offset_us, seen_us)
        return QueueStats(
            counts=dict(zip(STATES, counts, strict=True)),
            ready=ready,
            delayed=counts[_PENDING] - ready,
            quarantined=quarantined,
            oldest_ready_age_s=None if ready_us is None else max(0.0, (now - ready_us) / 1_000_000),
        )

    def quarantined(self) -> list[Quarantined]:
        rows = self._file.rows("quarantined")
        return [Quarantined(job_id.decode(errors="replace"), raw, reason.decode()) for job_id, raw, reason in rows]

    def workers(self) -> list[WorkerInfo]:
        oldest = self._now(*self._file.rows("clock", (_MACHINE.boot_id,))[0]) - to_us(BEATS_MISSED_MAX * BEAT_S)
        known: dict[str, tuple[int, dict[str, Any], list[str]]] = {}
        gone = False
        for worker_id, beat_us, info, job_id in self._file.rows("workers"):
            if beat_us < oldest:
                gone = True
                continue
            entry = known.setdefault(worker_id.decode(), (beat_us, json.loads(info), []))
            if job_id is not None:
                entry[2].append(job_id.decode())
        if gone:
            with self._step() as step:
                step.db.execute(_SQL["workers_gone"], (oldest,))
        return [
            WorkerInfo(worker_id, last_beat_at=iso(beat_us), jobs=tuple(sorted(jobs)), **info)
            for worker_id, (beat_us, info, jobs) in sorted(known.items())
        ]

    def announce(self, info: WorkerInfo) -> None:
        checked_worker(info)
        said = {name: getattr(info, name) for name in _ANNOUNCED}
        text = checks.dump_json(checks.check_json(said, "worker info"))
        with self._step() as step:
            step.db.execute(_SQL["announce"], (info.id, step.now, text))

    def _beat(self, step: _Step, worker_id: str) -> None:
        if abs(step.now - self._beats.get(worker_id, 0)) >= self._beat_gap_us:
            step.db.execute(_SQL["beat"], (worker_id, step.now))
            self._beats[worker_id] = step.now

    def _cursors(self, keys: Sequence[str]) -> list[str | None]:
        if len(keys) == 1:
            rows = self._file.rows("schedule_cursor", tuple(keys))
            return [rows[0][0].decode() if rows else None]
        known = dict(self._file.rows("schedule_cursors", (checks.dump_json(list(keys)),)))
        return [tick.decode() if (tick := known.get(key.encode())) else None for key in keys]

    def _advance(self, moves: Sequence[CursorMove]) -> list[bool]:
        moved = []
        with self._step() as step:
            for move in moves:
                row = step.db.execute(_SQL["schedule_cursor"], (move.key,)).fetchone()
                moved.append((None if row is None else row[0].decode()) == move.expected)
                if moved[-1]:
                    step.db.execute(_SQL["advance_schedule"], (move.key, move.tick))
        return moved

    # -- waiting -----------------------------------------------------------------------------------------------------

    def _wait(self, timeout_s: float) -> None:
        """Sleep until this process changed something, or another one did, seen by a look every `POLL_S`.

        A look is `PRAGMA data_version`, which reads shared memory and no file.
        """
        file = self._file
        until = time.monotonic() + min(timeout_s, SWEEP_S)
        seen: tuple[int, int] | None = None
        next_us: int | None = None
        offset = 0
        while True:
            changes = file.changes
            version = (changes, file.rows("changed")[0][0])
            if version != seen:
                seen = version
                offset_us, seen_us, ready, due_us, expires_us = file.rows("wait", (_MACHINE.boot_id,))[0]
                if ready:
                    return
                offset = self._now(offset_us, seen_us) - time.monotonic_ns() // 1000
                next_us = min((us for us in (due_us, expires_us) if us is not None), default=None)
            left = until - time.monotonic()
            if next_us is not None:
                left = min(left, (next_us - offset) / 1_000_000 - time.monotonic())
            if left <= 0:
                return
            with file.news:
                if file.changes == changes:
                    file.waiting += 1
                    try:
                        file.news.wait(min(left, POLL_S))
                    finally:
                        file.waiting -= 1

    # -- records that cannot be read ---------------------------------------------------------------------------------

    def plant_record(self, job_id: str, raw: bytes) -> None:
        """Replace the stored form of a job by these bytes, as a fault of a store would: to test Q13."""
        with self._step() as step:
            if not step.db.execute(_SQL["plant_record"], (raw, job_id)).rowcount:
                raise JobNotFound(f"no job {job_id!r} in this queue; list_jobs shows what is there")


_ANNOUNCED = ("host", "pid", "started_at", "done", "failed", "slots", "blocked")


def _checked_path(path: object) -> Path:
    """The absolute path of a file, so that neither a change of folder nor a name like `file:x` misleads SQLite."""
    if not isinstance(path, str | os.PathLike):
        raise InvalidInput(f"path must be the path of a file, got {checks.shown(path)}")
    text = os.fspath(path)
    checks.check_text(text, "path")
    if text == ":memory:":
        raise InvalidInput("path must be the path of a file, got ':memory:'; a queue in memory is memory://")
    return Path(text).absolute()
