"""The memory and SQLite backends as targets: their mutants are judged by traces of the fast queue machine."""

from __future__ import annotations

import ast
import os
import re
import shutil
import sqlite3
import tempfile
import threading
import time
import types
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any

from orch.backends import memory, sqlite
from orch.job import Job
from orch.queue import PersistentQueue
from orch.testing.clock import FakeClock
from orch.testing.drivers import fast, plans
from orch.testing.machine import QueueMachine, Run, Store
from orch.testing.mutants import files, heaps, sql
from orch.testing.mutants.edges import LEASE_S, MAX_CRASHES, OF_A_CLOCK, OF_A_QUEUE, PLANS
from orch.testing.mutants.engine import Mutant, Stuck, Target, module_of, python_mutants
from orch.testing.stores import memory_store
from orch.testing.trace import generator

MEMORY_TRACES = 400
SQLITE_TRACES = 150
PLANS_AFTER = 15  # traces, the other runs come
_SQL_STEPS = 20  # callbacks of 100,000 instructions of SQLite's machine until a statement counts as one that loops


def traces(machine: QueueMachine, store: Store, n: int, checks: Sequence[Callable[[], None]] = ()) -> Iterator[None]:
    """The first traces of the fast driver, one a run; among them plans, crowds, edges and these checks."""
    rng = generator(0)
    deck = fast.Deck(machine, rng)
    for number in range(n):
        if number == PLANS_AFTER:
            yield from _seldom(machine, store, rng, checks)
        with _running(machine, store) as run:
            if number == plans.TOUR:
                plans.follow(run, plans.tour(machine))
            else:
                fast.wander(run, rng, deck, fast.STEPS)
        yield


def _seldom(
    machine: QueueMachine, store: Store, rng: Callable[[], float], checks: Sequence[Callable[[], None]]
) -> Iterator[None]:
    """A run for each plan, check, edge and crowd; those that take long come last."""
    for steps in PLANS:
        with _running(machine, store) as run:
            for code, args in steps:
                run.do(machine.by_code[code], args)
        yield
    look = getattr(store, "inspect", _nothing)
    for check in checks:
        check()
        look()
        yield
    for in_time in OF_A_CLOCK:
        clock = FakeClock()
        in_time(clock, store(clock))
        look()
        yield
    for at_once in OF_A_QUEUE:
        at_once(store(FakeClock()))
        look()
        yield
    for plan in plans.CROWDS.values():
        with _running(machine, store) as run:
            plans.follow(run, plan, rng)
        yield


@contextmanager
def _running(machine: QueueMachine, store: Store) -> Iterator[Run]:
    run = Run(machine, store)
    try:
        yield run
    finally:
        run.close()
    getattr(store, "inspect", _nothing)()


def _nothing() -> None:
    pass


def scope(
    out: tuple[tuple[str, str], ...], left: tuple[tuple[str, str], ...] = ()
) -> tuple[Callable[[str], bool], Callable[[str], bool]]:
    """Whether a function is in scope, and whether a statement is left alone, by patterns."""
    functions = re.compile("|".join(f"(?:{pattern})" for pattern, _ in out) or r"(?!)")
    statements = re.compile("|".join(f"(?:{pattern})" for pattern, _ in left) or r"(?!)")
    return lambda name: not functions.fullmatch(name), lambda text: statements.search(text) is not None


class _Lock:
    """A lock for one thread: whoever would have to wait for it waits for himself."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        taken = self._lock.acquire(blocking=False)
        if blocking and not taken:
            raise Stuck
        return taken

    def __enter__(self) -> bool:
        return self.acquire()

    def release(self) -> None:
        self._lock.release()

    def __exit__(self, *_: object) -> None:
        self.release()


class _Stand:
    """A module with some names replaced."""

    def __init__(self, module: types.ModuleType, **instead: Any) -> None:
        self.__dict__.update(vars(module))
        self.__dict__.update(instead)


# -- memory ------------------------------------------------------------------------------------------------------------

_MEMORY_OUT = ((r"MemoryQueue\._wait", "waiting threads: tests of waiting in QueueContract"),)
_MEMORY_LEFT = (
    (
        r"self\._news\b|threading\.|^if new:$|^if self\._ready:$",
        "wakes waiting threads: tests of waiting in QueueContract",
    ),
    (r"^with self\._lock", "threads: tests of threads in QueueContract"),
    (r"_SLACK\b|handled|skipped", "how many stale entries may stand, and slices: cost only"),
    (r"kept\[-1\] <= fresh\[0\]|len\(fresh\) >|^while kept|kept\.pop", "a way that is only faster"),
    (r"^self\.(ticket|ready_us|expires_us|finished_us|_seq|_ticket|_token) = 0", "a first value: any number would do"),
    (r"^self\._(seq|ticket) \+= 1", "any step upwards would do"),
)


def _as_it_is(names: dict[str, Any]) -> None:
    """Nothing of it is replaced."""


def _memory_mutants() -> Iterator[Mutant]:
    file = Path(memory.__file__)
    in_scope, left = scope(_MEMORY_OUT, _MEMORY_LEFT)
    return python_mutants(
        "memory", file.read_text(encoding="utf-8"), "memory.py", "orch.backends", in_scope, left, _as_it_is
    )


@cache
def _machine(which: str) -> QueueMachine:
    if which == "memory":
        return QueueMachine.of(memory_store)
    with tempfile.TemporaryDirectory() as folder:
        return QueueMachine.of(FileStore(sqlite, Path(folder)))


class _MemoryStore:
    """Empty queues; the last one is looked into."""

    def __init__(self, module: types.ModuleType) -> None:
        self._module = module
        self._last: Any = None

    def __call__(self, clock: FakeClock) -> PersistentQueue:
        made: PersistentQueue = self._module.MemoryQueue(clock=clock, lease_s=LEASE_S, max_crashes=MAX_CRASHES)
        self._last = made
        return made

    def inspect(self) -> None:
        heaps.sound(self._last)


def _in_time(check: Callable[[FakeClock, Any], None], store: _MemoryStore) -> None:
    clock = FakeClock()
    check(clock, store(clock))


def _memory_runs(module: types.ModuleType) -> Iterator[None]:
    store = _MemoryStore(module)
    yield from traces(
        _machine("memory"), store, MEMORY_TRACES, [partial(_in_time, check, store) for check in heaps.CHECKS]
    )
    queue = module.MemoryQueue()  # on the clock of the process
    queue.enqueue(Job.new("workflow:noop", id="a"))
    job = queue.dequeue("w1", wait_s=0.001)
    assert abs(job.lease.expires_at - time.time() - 30) < 600, "the clock of the process"
    yield


def _memory_original() -> types.ModuleType:
    code = compile(Path(memory.__file__).read_text(encoding="utf-8"), "memory.py", "exec")
    return module_of(code, "memory.py", "orch.backends", _as_it_is)


MEMORY = Target(
    "memory",
    "orch/backends/memory.py",
    _memory_mutants,
    _memory_runs,
    _memory_original,
    (*_MEMORY_OUT, *_MEMORY_LEFT),
)


# -- SQLite ------------------------------------------------------------------------------------------------------------

_SQLITE_OUT = (
    (r"this_machine", "which clocks the machine has: tests/test_sqlite.py"),
    (
        r"_code|_is_busy|_is_read_only|_in_our_words|_patiently|_judge|_never_close|_checked_path",
        "tests/test_sqlite.py",
    ),
    (
        r"_File\..*|_forget_all|SqliteQueue\.(__init__|close|_step)",
        "the file, its locks: tests/test_sqlite.py",
    ),
    (r"SqliteQueue\.(_wait|_beat)", "waiting and thrift on the machine's clock: tests/test_sqlite.py"),
    (r"_statements", "a mistake in it ends the import"),
)
_SQLITE_LEFT = (
    (r"1024", "a way that is only faster"),
    (r"file\.(tidy|tell|changes)|file = self\._file|lock\.release", "the file: tests/test_sqlite.py"),
    (r"^if more:$|^removed = -1", "a pause between slices, and anything but 0"),
    (r"perf_counter|PURGE_", "how long a slice of a purge takes: tests/test_sqlite.py"),
)
_STATEMENTS_OUT = re.compile(
    r"schema_.*|journal.*|tune_.*|tidy.*|synchronous_.*|whose|touch|begin|commit|rollback|changed|wait|boot|clock"
)
_SLICED = re.compile(r"purge|purge_look|purge_find|purge_progress|purge_next")
_SLICING = (
    "ORDER BY dropped",
    "order term dropped",
    "order terms swapped",
    "other end",
    "LIMIT dropped",
    "LIMIT off by one",
)


class FileStore:
    """Empty queues in files that are copies of one; the last file goes when the next is made."""

    def __init__(self, module: Any, folder: Path) -> None:
        self._module = module
        self.path = folder / "queue.db"
        self._empty = folder / "empty.db"
        self._clock = FakeClock()
        if not self._empty.exists():
            sqlite.SqliteQueue(self._empty).close()

    def __call__(self, clock: FakeClock) -> PersistentQueue:
        for suffix in ("", "-wal", "-shm"):
            Path(f"{self.path}{suffix}").unlink(missing_ok=True)
        shutil.copyfile(self._empty, self.path)
        self._clock = clock
        return self._open()

    def second_client(self, queue: PersistentQueue) -> PersistentQueue:
        """Another client of the same file."""
        return self._open()

    def reopen(self, queue: PersistentQueue) -> PersistentQueue:
        """The same file, closed and opened again."""
        queue.close()
        return self._open()

    def inspect(self) -> None:
        """Look into the file, which no queue has open."""
        files.sound(self.path)

    def _open(self) -> PersistentQueue:
        made: PersistentQueue = self._module.SqliteQueue(
            self.path, clock=self._clock, lease_s=LEASE_S, max_crashes=MAX_CRASHES
        )
        return made


def _connect(*args: Any, **more: Any) -> sqlite3.Connection:
    """A connection whose statements end, also those that would not."""
    db: sqlite3.Connection = sqlite3.connect(*args, **more)
    left = [_SQL_STEPS]

    def still() -> bool:
        left[0] -= 1
        return left[0] < 0

    db.set_progress_handler(still, 100_000)
    return db


def _sqlite_prepare(names: dict[str, Any]) -> None:
    names["threading"] = _Stand(threading, Lock=_Lock)
    names["time"] = _Stand(time, sleep=lambda _: None)
    names["sqlite3"] = _Stand(sqlite3, connect=_connect)
    names["LOCK_S"] = 0.02


def _forkless(make: Callable[[], types.ModuleType]) -> types.ModuleType:
    """The module registers what is done in a forked child; nobody forks here, and nothing can be unregistered."""
    kept, os.register_at_fork = os.register_at_fork, lambda **_: None
    try:
        return make()
    finally:
        os.register_at_fork = kept


def _sqlite_mutants() -> Iterator[Mutant]:
    source = Path(sqlite.__file__).read_text(encoding="utf-8")
    in_scope, left = scope(_SQLITE_OUT, _SQLITE_LEFT)
    for mutant in python_mutants("sqlite", source, "sqlite.py", "orch.backends", in_scope, left, _sqlite_prepare):
        yield Mutant(
            mutant.target,
            mutant.function,
            mutant.line,
            mutant.operator,
            mutant.before,
            mutant.after,
            lambda make=mutant.make: _forkless(make),  # type: ignore[misc]  # bound now
        )
    code = compile(ast.parse(source), "sqlite.py", "exec")
    statements: dict[str, str] = sqlite._SQL  # noqa: SLF001 - what is mutated
    for name, statement in statements.items():
        if _STATEMENTS_OUT.fullmatch(name):
            continue
        for operator, changed in sql.mutants(statement):
            if _SLICED.fullmatch(name) and operator in _SLICING:
                continue
            yield Mutant(
                "sqlite",
                f"sqlite.sql {name}",
                0,
                operator,
                " ".join(statement.split()),
                " ".join(changed.split()),
                lambda name=name, changed=changed: _with_statement(code, name, changed),  # type: ignore[misc]  # bound now
            )


def _with_statement(code: types.CodeType, name: str, statement: str) -> types.ModuleType:
    module = _forkless(lambda: module_of(code, "sqlite.py", "orch.backends", _sqlite_prepare))
    module.__dict__["_SQL"] = {**module.__dict__["_SQL"], name: statement}
    return module


def _sqlite_original() -> types.ModuleType:
    code = compile(Path(sqlite.__file__).read_text(encoding="utf-8"), "sqlite.py", "exec")
    return _forkless(lambda: module_of(code, "sqlite.py", "orch.backends", _sqlite_prepare))


def _sqlite_runs(module: types.ModuleType) -> Iterator[None]:
    quick = Path("/dev/shm")  # noqa: S108 - a file system in memory, where there is one
    with tempfile.TemporaryDirectory(dir=quick if os.access(quick, os.W_OK) else None) as folder:
        store = FileStore(module, Path(folder))
        checks = [partial(check, module, store) for check in files.CHECKS]
        yield from traces(_machine("sqlite"), store, SQLITE_TRACES, checks)


SQLITE = Target(
    "sqlite",
    "orch/backends/sqlite.py and sqlite.sql",
    _sqlite_mutants,
    _sqlite_runs,
    _sqlite_original,
    (
        *_SQLITE_OUT,
        *_SQLITE_LEFT,
        (_STATEMENTS_OUT.pattern, "statements about the file: tests/test_sqlite.py"),
        (f"order and limit in {_SLICED.pattern}", "slices by time: tests/test_sqlite.py"),
    ),
)
