"""A machine as data: operations with argument domains, what a right queue answers, and one queue under them.

An `Operation` binds small numbers to values that make sense now (or says that it cannot be done now), takes the step on
the model, does the same to the queue, and judges the answer. Faults are operations like the others; the table is in
`operations`. Drivers choose the numbers. Nothing here draws a random number or reads a clock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import wraps
from typing import Any, NoReturn, Protocol

from orch.job import Job, Lease
from orch.queue import LEASE_S, MAX_CRASHES, PersistentQueue
from orch.testing.blame import idle, shown
from orch.testing.capabilities import checked_capabilities
from orch.testing.clock import FakeClock
from orch.testing.model import PLACES, Broken, Model, ModelJob, Watch

Args = tuple[int, ...]
Step = tuple["Operation", Args]

IDS = ("a", "b", "c", "d")
FORGED = 3  # the "age" of a lease that was never given
MOODS = ("empty queue", "nothing to answer", "something to answer")


def us(seconds: float) -> int:
    """Seconds in whole microseconds."""
    return round(seconds * 1_000_000)


class Store(Protocol):
    """How the machine gets at a queue: a callable that makes one, and hooks that it may have as attributes.

    - `second_client(queue)`: another client of the same store;
    - `reopen(queue)`: the same store, closed and opened again;
    - `plant_record(queue, job_id, raw)`: put these bytes in place of a stored record (may also be the queue's own);
    - `die(queue, n, verb)`: do `verb(queue)` as a client that dies at its n-th step in the store; returns the client to
      go on with, and whether it died. Between two steps of a verb is where queues lose jobs;
    - `meet(queue, n, verb, other)`: do `verb(queue)`, and after its n-th step in the store `other(queue)` as another
      client; returns both answers, errors among them. If it has fewer steps, the other comes after it;
    - `unreachable(queue, verb)`: do `verb(queue)` while the store cannot be reached; its answer, or the error, raised;
    - `full(queue, verb)`: do it while the store takes no writes.

    Operations whose hook is missing are left out.
    """

    def __call__(self, clock: FakeClock, /) -> PersistentQueue: ...


@dataclass(frozen=True, slots=True, eq=False)
class Operation:
    """One thing that can be done, as data.

    `domains` says how many values each argument has; 0 is the simplest, so that lowering simplifies.
    `bind(run, *args)` gives the values for `step` and `call`, or None when it cannot be done now.
    `step(model, *values)` is the model's answer, `call(run, *values)` the queue's; `judge` compares them.
    """

    name: str
    code: str  # one letter, in tokens
    domains: Args
    bind: Callable[..., tuple[Any, ...] | None]
    step: Callable[..., Any]
    call: Callable[..., Any]
    judge: Callable[[Run, Operation, tuple[Any, ...], Any, Any], None]
    show: Callable[..., str]  # the call as Python: (script, *values)
    promise: str = "Q8"  # that a nonsensical answer breaks
    weight: int = 4
    needs: frozenset[str] = frozenset()
    verb: str = ""  # a verb that the queue's class must override, for a bulk form
    hook: str = ""  # a hook that the store must have
    on_job: bool = True  # the first value is a job's id
    plain: bool = False  # an answer that is the model's very object (None, a bool, a small number) is right
    leased: Args = ()  # which arguments are jobs that were delivered before; the next one is the age of a lease
    singles: Callable[..., list[tuple[str, Args]]] | None = None  # a bulk form as single forms, to shrink
    rare: bool = False  # the last argument is seldom other than 0, because its other values cost time
    fixed: bool = False  # its values depend on the arguments alone: `bind` looks at no run, and they stay as they are
    bound: dict[Args, tuple[Any, ...] | None] = field(default_factory=dict, init=False)  # the values of a fixed one
    row: int = field(default=0)  # where its coverage begins


class Violation(Exception):
    """The queue said something that no right queue says."""

    def __init__(self, promise: str, sentence: str, expected: Any, actual: Any) -> None:
        super().__init__(promise, sentence)
        self.promise = promise
        self.sentence = sentence
        self.expected = expected
        self.actual = actual


@dataclass(slots=True)
class Notes:
    """What a run notes down of each step, as far as it is asked for."""

    coverage: list[int] | None = None  # how often an operation met a state
    culprits: list[str | None] | None = None  # by which promise the step should have changed nothing
    journal: list[str] | None = None  # the step with its answer, as text


class Run:
    """One queue, its clock, its model and its watch, under operations one after the other."""

    __slots__ = (
        "clients",
        "clock",
        "crowd",
        "delivered",
        "given",
        "ignored",
        "last_in",
        "last_out",
        "leased",
        "machine",
        "model",
        "notes",
        "purges",
        "steps",
        "store",
        "watch",
    )

    def __init__(self, machine: QueueMachine, store: Store, notes: Notes | None = None) -> None:
        self.machine = machine
        self.store = store
        self.clock = FakeClock()
        queue = store(self.clock)
        self.clients = [queue]
        second = getattr(store, "second_client", None)
        if second is not None:
            self.clients.append(second(queue))
        leases = "lease" in machine.capabilities
        self.model = machine.model(
            us(self.clock.now),
            lease_us=us(getattr(queue, "lease_s", LEASE_S)),
            max_crashes=getattr(queue, "max_crashes", MAX_CRASHES) if "crashes" in machine.capabilities else 1 << 30,
            leases=leases,
        )
        self.watch = Watch()
        self.given: dict[str, list[Lease]] = {}  # every lease ever given, by job, oldest first
        self.delivered: list[int] = []  # the jobs that have any, by their place in IDS
        self.crowd: list[Lease] = []  # those of the many jobs of a crowd
        self.steps: list[Step] = []
        self.notes = notes  # what to note, if anything: it costs time
        self.ignored = machine.ignored
        self.last_in: Any = None  # what a caller handed in, and what he was handed last: both are his
        self.last_out: Any = None
        self.leased = False
        self.purges = 0

    def do(self, op: Operation, args: Args) -> bool:
        """Do it, if it can be done now. Raises `Violation`."""
        if op.fixed:
            values = op.bound.get(args)
            if values is None:
                values = op.bound[args] = op.bind(self, *args)
        else:
            values = op.bind(self, *args)
        if values is None:
            return False
        notes = self.notes
        expected = op.step(self.model, *values) if notes is None else self._noted(op, values, notes)
        self.steps.append((op, args))
        try:
            actual = op.call(self, *values)
        except Exception as error:
            actual = error.with_traceback(None)  # whose frames hold the error: both would wait for a collection
        if notes is not None and notes.journal is not None:
            notes.journal.append(f"{op.code}{args} {_text(actual)}")
        if actual is not expected or not op.plain:
            try:
                op.judge(self, op, values, expected, actual)
            except _UNFIT as error:
                _refuse(op, error, expected, actual)
        return True

    def judge(self, op: Operation, values: tuple[Any, ...], expected: Any, actual: Any) -> None:
        """Compare an answer with what it should be. Raises `Violation`."""
        try:
            op.judge(self, op, values, expected, actual)
        except _UNFIT as error:
            _refuse(op, error, expected, actual)

    def _noted(self, op: Operation, values: tuple[Any, ...], notes: Notes) -> Any:
        """The model's step, with what is noted of it."""
        model = self.model
        place = model.place(values[0]) if op.on_job else 0
        expected = op.step(model, *values)
        if notes.coverage is not None:
            if not op.on_job and model.jobs:
                place = 2 if expected else 1
            notes.coverage[op.row + place] += 1
        if notes.culprits is not None:
            notes.culprits.append(idle(op, expected, place=place, leased=self.leased, silent=model.silent))
        return expected

    def close(self) -> None:
        for client in self.clients:
            client.close()

    def lease(self, job: int, age: int) -> Lease | None:
        """The lease of a job that was given `age` deliveries before its last one; the forged one has age 3."""
        leases = self.given.get(IDS[job])
        if leases is None:
            return None
        if age == FORGED:
            return _forged(leases[-1])
        return leases[-1 - age] if age < len(leases) else None

    # -- comparing ---------------------------------------------------------------------------------------------------

    def same(self, expected: ModelJob | dict[str, Any], actual: Any) -> bool:
        fields = expected.fields if isinstance(expected, ModelJob) else expected
        if actual.__class__ is not Job:
            return isinstance(actual, Job) and not self.differences(fields, actual)
        return fields == actual.__dict__ or not self.differences(fields, actual)

    def same_jobs(self, expected: list[ModelJob], actual: Any) -> bool:
        if not isinstance(actual, list) or len(actual) != len(expected):
            return False
        for n, job in enumerate(expected):
            found = actual[n]
            if found.__class__ is Job and job.fields == found.__dict__:
                continue
            if not isinstance(found, Job) or self.differences(job.fields, found):
                return False
        return True

    def differences(self, fields: dict[str, Any], actual: Any) -> dict[str, tuple[Any, Any]]:
        """Field by field what should be and what is, without what this queue does not promise."""
        return {
            name: (should, getattr(actual, name, None))
            for name, should in fields.items()
            if name not in self.ignored and should != getattr(actual, name, None)
        }


_UNFIT = (Broken, AttributeError, KeyError, TypeError, ValueError)  # the last four: an answer of no known shape


def _refuse(op: Operation, error: Exception, expected: Any, actual: Any) -> NoReturn:
    """Raise the violation that this error of a judge stands for."""
    if isinstance(error, Broken):
        raise Violation(error.promise, error.sentence, expected, actual) from None
    said = f"{op.name} answered {shown(actual)}, which makes no sense ({error})"
    raise Violation(op.promise, said, expected, actual) from error


def _forged(lease: Lease) -> Lease:
    """The same lease with the next token: its other values are known to be good."""
    forged = object.__new__(Lease)
    _put_job_id(forged, lease.job_id)
    _put_token(forged, lease.token + 1)
    _put_worker_id(forged, lease.worker_id)
    _put_expires_at(forged, lease.expires_at)
    return forged


_put_job_id, _put_token, _put_worker_id, _put_expires_at = (
    vars(Lease)[name].__set__ for name in ("job_id", "token", "worker_id", "expires_at")
)


def _text(answer: Any) -> str:
    """An answer as a text that is the same in every process."""
    if isinstance(answer, Exception):
        return type(answer).__name__
    if isinstance(answer, Job):
        return f"{answer.to_dict()} {answer.lease}"
    if isinstance(answer, list | tuple):
        return f"[{', '.join(map(_text, answer))}]"
    return repr(answer)


class QueueMachine:
    """The operations that fit a queue: what it can do, and the bulk forms that its class has of its own."""

    model: type[Model] = Model  # what its runs compare with

    def __init__(self, operations: Iterable[Operation], capabilities: frozenset[str]) -> None:
        self.capabilities = capabilities
        self.delays = "delay" in capabilities
        self.priorities = "priority" in capabilities
        self.operations = tuple(replace(op, row=n * len(PLACES)) for n, op in enumerate(operations))
        self.by_code = {op.code: op for op in self.operations}
        self._own = frozenset(op.verb for op in self.operations if op.verb)
        self.rows = len(self.operations) * len(PLACES)
        ignored = set()
        if "lease" not in capabilities:
            ignored.add("lease")
        if "crashes" not in capabilities:
            ignored.add("crashes")
        if "budget" not in capabilities:
            ignored |= {"attempts", "failures"}
        self.ignored = frozenset(ignored)

    def has(self, verb: str) -> bool:
        """Does the queue's class have this bulk form of its own?"""
        return verb in self._own

    @classmethod
    def of(
        cls, store: Store, capabilities: Iterable[str] | None = None, *, without: Iterable[str] = ()
    ) -> QueueMachine:
        """The machine for the queues that `store` makes (one is made, looked at, and closed).

        `without` names bulk forms to leave out although the class has them.
        """
        from orch.testing.operations import OPERATIONS  # which are made of what is above

        given = checked_capabilities(capabilities)
        left_out = frozenset(without)
        queue = store(FakeClock())
        try:
            kind = type(queue)
            fit = [
                op if "budget" in given or op.code not in "EM" else _unbounded(op)
                for op in OPERATIONS
                if op.needs <= given
                and op.verb not in left_out
                and (not op.verb or getattr(kind, op.verb, None) is not getattr(PersistentQueue, op.verb))
                and (not op.hook or hasattr(store, op.hook) or (op.hook != "reopen" and hasattr(queue, op.hook)))
            ]
        finally:
            queue.close()
        return cls(fit, given)


def _unbounded(op: Operation) -> Operation:
    """The same enqueue for a queue that does not count failures: with more retries than there will be."""

    @wraps(op.bind)  # its arguments are read from its signature
    def bind(run: Run, *args: int) -> tuple[Any, ...] | None:
        bound = op.bind(run, *args)
        if bound is None:
            return None
        job_id, specs = bound
        return job_id, tuple(({**fields, "max_retries": _MANY}, stamp, due) for fields, stamp, due in specs)

    return replace(op, bind=bind)


_MANY = 1000
