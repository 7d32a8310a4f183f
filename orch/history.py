"""Histories: what clients asked of a queue, when they called, when it answered, and what.

An operation ends as ok, refused, or *unknown*: no answer came, so it may or may not have happened, at any time after
its call. All instants of a history are on one monotonic clock, which the processes of one machine share.
`RecordingQueue` writes histories down; nothing here judges them.
"""

from __future__ import annotations

import json
import math
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, overload

from orch import checks
from orch.clock import Clock, iso_to_us, process_clock
from orch.errors import BackendUnavailable, InvalidInput, OrchError
from orch.job import CursorMove, Job, JobStatus, Lease, Quarantined, QueueStats, Report, WorkerInfo
from orch.queue import PersistentQueue

__all__ = ["BadLine", "History", "Op", "Outcome", "RecordingQueue"]


T = TypeVar("T")


class Outcome(StrEnum):
    """How an operation ended for the client that asked."""

    OK = "ok"
    REFUSED = "refused"  # the queue said no, and changed nothing
    UNKNOWN = "unknown"  # no answer: it may have happened, or not, or happen later


_OUTCOMES = {outcome.value: outcome for outcome in Outcome}


@dataclass(frozen=True, slots=True)
class Op:
    """One operation of one client.

    `op` is the verb: enqueue, dequeue, report, extend, progress, requeue, cancel, purge, get, quarantined, or another
    one that a checker passes over. `args` holds what was asked beside the job: priority, max_retries and delay_s of
    an enqueue, lease_s of a dequeue or extension, status and delay_s of a report, older_than_hours of a purge.

    Instants are nanoseconds; `ret_ns` is None exactly when the outcome is unknown. A dequeue that found nothing is ok
    with `job` None. `attempt` and `token` name a delivery; a report without either is an operator's act. `value` is
    the answer, of a refusal `{"error": class, "message": text}`.
    """

    client: str
    op: str
    job: str | None
    args: dict[str, Any]
    call_ns: int
    ret_ns: int | None
    outcome: Outcome
    value: Any = None
    attempt: int | None = None
    token: int | None = None

    def __post_init__(self) -> None:
        if (self.ret_ns is None) != (self.outcome is Outcome.UNKNOWN):
            raise InvalidInput(f"ret_ns is None exactly for an unknown outcome, got {self.ret_ns} and {self.outcome}")
        if self.ret_ns is not None and self.ret_ns < self.call_ns:
            raise InvalidInput(f"ret_ns must not be before call_ns ({self.call_ns}), got {self.ret_ns}")

    def to_dict(self) -> dict[str, Any]:
        """The operation as JSON, as in a line of a history file."""
        return {
            "client": self.client,
            "op": self.op,
            "job": self.job,
            "args": self.args,
            "call_ns": self.call_ns,
            "ret_ns": self.ret_ns,
            "outcome": self.outcome,
            "value": self.value,
            "attempt": self.attempt,
            "token": self.token,
        }

    @classmethod
    def from_dict(cls, data: object) -> Op:
        """The inverse of `to_dict`; fields that it does not know are passed over. Raises `InvalidInput`."""
        if not isinstance(data, dict):
            raise InvalidInput(f"an operation is a JSON object, got {checks.shown(data)}")
        missing = [name for name in _FIELDS[:7] if name not in data]
        if missing:
            raise InvalidInput(f"an operation needs {', '.join(_FIELDS[:7])}; missing: {', '.join(missing)}")
        client, op, job, args, call_ns, ret_ns = (data[name] for name in _FIELDS[:6])
        outcome = _OUTCOMES.get(data["outcome"]) if isinstance(data["outcome"], str) else None
        attempt, token = data.get("attempt"), data.get("token")
        if outcome is None:
            raise InvalidInput(f"outcome must be ok, refused or unknown, got {checks.shown(data['outcome'])}")
        for name, text in (("client", client), ("op", op)):
            if type(text) is not str:
                raise InvalidInput(f"{name} must be text, got {checks.shown(text)}")
        if job is not None and type(job) is not str:
            raise InvalidInput(f"job must be text or null, got {checks.shown(job)}")
        if type(args) is not dict:
            raise InvalidInput(f"args must be an object, got {checks.shown(args)}")
        if type(call_ns) is not int:
            raise InvalidInput(f"call_ns must be a whole number of nanoseconds, got {checks.shown(call_ns)}")
        for name, number in (("ret_ns", ret_ns), ("attempt", attempt), ("token", token)):
            if number is not None and type(number) is not int:
                raise InvalidInput(f"{name} must be a whole number or null, got {checks.shown(number)}")
        if outcome is not Outcome.REFUSED:
            for name in _NUMBERS:
                if name in args and not _is_number(args[name]):
                    raise InvalidInput(f"{name} in args must be a number, got {checks.shown(args[name])}")
        return cls(client, op, job, args, call_ns, ret_ns, outcome, data.get("value"), attempt, token)


_FIELDS = tuple(f.name for f in fields(Op))
_NUMBERS = ("priority", "max_retries", "delay_s", "lease_s", "wait_s", "older_than_hours")


def _is_number(value: object) -> bool:
    return type(value) is int or (type(value) is float and math.isfinite(value))


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line of a history file that could not be read. A torn one is the last of a process that was killed."""

    path: str
    line: int  # counted from 1
    reason: str
    torn: bool = False


class History(Sequence[Op]):
    """Operations in the order of their calls, and the lines that could not be read.

    `bad` without its torn lines is what this history lost: a checker cannot be sure of what it misses.
    """

    __slots__ = ("_ops", "bad")

    def __init__(self, ops: Iterable[Op] = (), bad: Iterable[BadLine] = ()) -> None:
        self._ops = sorted(ops, key=_by_call)
        self.bad = tuple(bad)

    def __len__(self) -> int:
        return len(self._ops)

    @overload
    def __getitem__(self, index: int) -> Op: ...
    @overload
    def __getitem__(self, index: slice) -> list[Op]: ...
    def __getitem__(self, index: int | slice) -> Op | list[Op]:
        return self._ops[index]

    def __iter__(self) -> Iterator[Op]:
        return iter(self._ops)

    def __repr__(self) -> str:
        return f"<History of {len(self._ops)} operations, {len(self.bad)} bad lines>"

    @property
    def lost_lines(self) -> int:
        """How many operations may be missing: bad lines that are not merely torn."""
        return sum(not line.torn for line in self.bad)

    def cut(self, returned: int) -> History:
        """The prefix at the instant of the n-th return: what was called later is gone, what was open is unknown."""
        returns = sorted(op.ret_ns for op in self._ops if op.ret_ns is not None)
        if returned >= len(returns):
            return self
        if returned <= 0:
            return History()
        return History(cut_at(self._ops, returns[returned - 1]), self.bad)

    def of_job(self, job_id: str) -> list[Op]:
        """The operations that name this job, in the order of their calls."""
        return [op for op in self._ops if op.job == job_id]

    @classmethod
    def read(cls, *paths: str | os.PathLike[str]) -> History:
        """Merge the files of many processes; a line that cannot be read costs that line and is told in `bad`."""
        ops: list[Op] = []
        bad: list[BadLine] = []
        for path in paths:
            ours, lines = _read_file(Path(path))
            ops += ours
            bad += lines
        return cls(ops, bad)

    @classmethod
    def merge(cls, *histories: History) -> History:
        """One history of all that these hold."""
        return cls((op for one in histories for op in one), (line for one in histories for line in one.bad))

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write all operations as JSON lines, over what the file held."""
        with Path(path).open("w", encoding="utf-8") as file:
            file.writelines(map(op_line, self._ops))


def cut_at(ops: Iterable[Op], instant: int) -> list[Op]:
    """The operations called up to an instant; those that had not returned then are unknown."""
    kept = []
    for op in ops:
        if op.call_ns <= instant:
            if op.ret_ns is not None and op.ret_ns > instant:
                op = as_unknown(op)  # noqa: PLW2901  # the same operation, as it looked then
            kept.append(op)
    return kept


def as_unknown(op: Op) -> Op:
    """The operation before its answer came."""
    if op.op == "dequeue":  # which job it was going to get was not known then
        return replace(op, job=None, ret_ns=None, outcome=Outcome.UNKNOWN, value=None, attempt=None, token=None)
    return replace(op, ret_ns=None, outcome=Outcome.UNKNOWN, value=None, attempt=None)


def op_line(op: Op) -> str:
    """The operation as a line of a history file, with its line end."""
    return _encode(op.to_dict()) + "\n"


_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=str).encode


def is_call(op: Op) -> bool:
    """True for what is written down when an operation is called, to be replaced when it ends.

    A killed process so leaves every operation it began. What ended without an answer carries the error as its value.
    """
    return op.outcome is Outcome.UNKNOWN and op.value is None


def _by_call(op: Op) -> int:
    return op.call_ns


def _read_file(path: Path) -> tuple[list[Op], list[BadLine]]:
    groups: dict[tuple[str, int], list[Op]] = {}
    bad: list[BadLine] = []
    last: tuple[str, int] | None = None
    torn = False
    with path.open("rb") as file:
        for number, raw in enumerate(file, 1):
            torn = not raw.endswith(b"\n")
            try:
                op = Op.from_dict(json.loads(raw))
            except (ValueError, RecursionError) as error:
                if raw.strip():
                    bad.append(BadLine(str(path), number, str(error), torn))
                continue
            torn = False  # whole, only its line end is missing
            last = (op.client, op.call_ns)
            groups.setdefault(last, []).append(op)
    ops: list[Op] = []
    for key, group in groups.items():
        ended = [op for op in group if not is_call(op)]
        if ended and len(ended) < len(group):
            # One call asked for several operations, and its answer was cut off in the middle: the rest is unknown.
            ops += _unanswered(group, ended) if torn and key == last else []
            ops += ended
        else:
            ops += group
    return ops, bad


def _unanswered(group: Sequence[Op], ended: Sequence[Op]) -> list[Op]:
    left = list(ended)
    rest = []
    for call in group:
        if not is_call(call):
            continue
        answer = next((op for op in left if op.op == call.op and (call.job is None or op.job == call.job)), None)
        if answer is None:
            rest.append(call)
        else:
            left.remove(answer)
    return rest


class _Row(NamedTuple):
    """An operation without its client and instants."""

    op: str
    job: str | None = None
    args: dict[str, Any] = {}  # noqa: RUF012  # never changed: rows are values
    outcome: Outcome = Outcome.UNKNOWN
    value: Any = None
    attempt: int | None = None
    token: int | None = None

    def at(self, client: str, call_ns: int, ret_ns: int | None) -> Op:
        ret_ns = None if self.outcome is Outcome.UNKNOWN else ret_ns
        return Op(
            client, self.op, self.job, self.args, call_ns, ret_ns, self.outcome, self.value, self.attempt, self.token
        )


#: Verbs that change nothing: nothing is lost when one of them is cut off, so their calls are not written down.
_LOOKS = frozenset({"get", "list", "quarantined", "count", "counts", "stats", "saved", "workers", "cursor"})

#: Completes the rows of a call by its answer, which is what the verb returns.
_Answered = Callable[[list[_Row], Any], list[_Row]]


class RecordingQueue(PersistentQueue):
    """Wraps a queue and writes down what is asked of it; the queue behaves as before, and threads may share it.

    An `OrchError` is a refusal; `BackendUnavailable`, or any other exception, leaves the effect unknown. A bulk verb
    is recorded as several operations with one interval, an exchange as its reports and dequeues; what one of several
    operations did is unknown when the verb raised, unless it was the input that was refused.

    `client` names the lane, one per process (other threads than the first add their own name). With `path` each
    operation is appended to that file when it ends, and one that can change something also when it is called: a
    process that is killed leaves all that it began and loses at most its last line. Without a path, operations are
    kept in memory. `sink` gets what a file would, as tuples of operations: hand it `Monitor.add_many` to judge a live
    run. `clock_ns` gives the instants of the history, `epoch` the wall time that `not_before` is compared with.

    A history that cannot be written (disk full) does not disturb the queue: `failure` keeps the first error, and
    `history()` and `close()` raise it.
    """

    def __init__(
        self,
        queue: PersistentQueue,
        *,
        client: str | None = None,
        path: str | os.PathLike[str] | None = None,
        sink: Callable[[tuple[Op, ...]], object] | None = None,
        clock_ns: Callable[[], int] = time.monotonic_ns,
        epoch: Clock = process_clock,
    ) -> None:
        super().__init__()
        self.queue = queue
        self.failure: Exception | None = None
        self._client = client if client is not None else f"pid{os.getpid()}"
        self._thread = threading.get_ident()
        self._path = None if path is None else Path(path)
        self._file = None if path is None else os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        self._sink = sink
        self._clock_ns = clock_ns
        self._epoch = epoch
        self._lock = threading.Lock()
        self._last_ns: int | None = None
        self._ended: list[Op] = []
        self._open: dict[int, tuple[str, list[_Row]]] = {}  # under way: call_ns -> client and what was asked

    def __getattr__(self, name: str) -> Any:
        if name == "queue":  # not set yet: __init__ failed, or a copy is being made
            raise AttributeError(name)
        return getattr(self.queue, name)

    def history(self) -> History:
        """What was recorded until now; operations under way are unknown."""
        with self._lock:
            if self.failure is not None:
                raise self.failure
            if self._path is None:
                under_way = self._open.items()
                return History(
                    [*self._ended, *(row.at(client, call, None) for call, (client, rows) in under_way for row in rows)]
                )
        return History.read(self._path)

    # -- the verbs that a checker judges -------------------------------------------------------------------------

    def enqueue(self, job: Job) -> bool:
        return self._record(self._enqueues((job,)), lambda: self.queue.enqueue(job), _enqueued)

    def enqueue_many(self, jobs: Iterable[Job]) -> int:
        jobs = list(jobs)
        return self._record(self._enqueues(jobs), lambda: self.queue.enqueue_many(jobs), _enqueued)

    def dequeue(self, worker_id: str = "", *, lease_s: float | None = None, wait_s: float = 0.0) -> Job | None:
        return self._record(
            _dequeues(1, worker_id, lease_s, wait_s),
            lambda: self.queue.dequeue(worker_id, lease_s=lease_s, wait_s=wait_s),
            lambda rows, job: _dequeued(rows, [] if job is None else [job]),
        )

    def dequeue_many(
        self, n: int, worker_id: str = "", *, lease_s: float | None = None, wait_s: float = 0.0
    ) -> list[Job]:
        return self._record(
            _dequeues(n, worker_id, lease_s, wait_s),
            lambda: self.queue.dequeue_many(n, worker_id, lease_s=lease_s, wait_s=wait_s),
            _dequeued,
        )

    def exchange(
        self,
        reports: Sequence[Report],
        n: int,
        worker_id: str = "",
        *,
        lease_s: float | None = None,
        wait_s: float = 0.0,
    ) -> tuple[list[Job | OrchError], list[Job]]:
        told = [_report(r.job_id, r.status, r.lease, r.delay_s) for r in reports if type(r) is Report]

        def answered(rows: list[_Row], answer: tuple[list[Job | OrchError], list[Job]]) -> list[_Row]:
            results, jobs = answer
            return _each(rows[: len(told)], results) + _dequeued(rows[len(told) :], jobs)

        return self._record(
            told + _dequeues(n, worker_id, lease_s, wait_s),
            lambda: self.queue.exchange(reports, n, worker_id, lease_s=lease_s, wait_s=wait_s),
            answered,
        )

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
        return self._record(
            [_report(job_id, status, lease, delay_s)],
            lambda: self.queue.update_status(job_id, status, error, result, lease=lease, delay_s=delay_s),
            _answered,
        )

    def extend_lease(self, lease: Lease, lease_s: float | None = None) -> Lease:
        return self._record(_extends((lease,), lease_s), lambda: self.queue.extend_lease(lease, lease_s), _answered)

    def extend_many(self, leases: Sequence[Lease], lease_s: float | None = None) -> list[Lease | OrchError]:
        return self._record(_extends(leases, lease_s), lambda: self.queue.extend_many(leases, lease_s), _each)

    def record_progress(self, lease: Lease, task_id: str, output: Any) -> None:
        rows = [row._replace(op="progress", args={"task": _name(task_id)}) for row in _extends((lease,), None)]
        return self._record(rows, lambda: self.queue.record_progress(lease, task_id, output), _answered)

    def requeue(self, job_id: str) -> Job:
        return self._record([_Row("requeue", _name(job_id))], lambda: self.queue.requeue(job_id), _answered)

    def cancel(self, job_id: str) -> Job:
        return self._record([_Row("cancel", _name(job_id))], lambda: self.queue.cancel(job_id), _answered)

    def purge(self, older_than_hours: float = 24) -> int:
        row = _Row("purge", args=_numbers(older_than_hours=older_than_hours))
        return self._record([row], lambda: self.queue.purge(older_than_hours), _answered)

    def get_job(self, job_id: str) -> Job | None:
        return self._record([_Row("get", _name(job_id))], lambda: self.queue.get_job(job_id), _answered)

    def list_jobs(self, status: JobStatus | None = None, limit: int = 100) -> list[Job]:
        row = _Row("list", args={"status": status, "limit": limit})
        return self._record([row], lambda: self.queue.list_jobs(status, limit), _listed)

    def quarantined(self) -> list[Quarantined]:
        return self._record([_Row("quarantined")], self.queue.quarantined, _answered)

    # -- the verbs that are written down only --------------------------------------------------------------------

    def count(self, status: JobStatus | None = None) -> int:
        return self._record([_Row("count", args={"status": status})], lambda: self.queue.count(status), _answered)

    def counts(self) -> dict[JobStatus, int]:
        return self._record([_Row("counts")], self.queue.counts, _answered)

    def stats(self) -> QueueStats:
        return self._record([_Row("stats")], self.queue.stats, _answered)

    def progress(self, job_id: str) -> dict[str, Any]:
        return self._record([_Row("saved", _name(job_id))], lambda: self.queue.progress(job_id), _answered)

    def workers(self) -> list[WorkerInfo]:
        return self._record([_Row("workers")], self.queue.workers, _answered)

    def announce(self, info: WorkerInfo) -> None:
        return self._record([_Row("announce")], lambda: self.queue.announce(info), _answered)

    def schedule_cursor(self, key: str) -> str | None:
        return self._record([_Row("cursor", args={"key": key})], lambda: self.queue.schedule_cursor(key), _answered)

    def advance_schedule(self, key: str, expected: str | None, tick: str) -> bool:
        row = _Row("advance", args={"key": key, "expected": expected, "tick": tick})
        return self._record([row], lambda: self.queue.advance_schedule(key, expected, tick), _answered)

    def schedule_cursors(self, keys: Sequence[str]) -> list[str | None]:
        rows = [_Row("cursor", args={"key": key}) for key in keys]
        return self._record(rows, lambda: self.queue.schedule_cursors(keys), _each)

    def advance_schedules(self, moves: Sequence[CursorMove]) -> list[bool]:
        rows = [_Row("advance", args={"key": x.key, "expected": x.expected, "tick": x.tick}) for x in moves]
        return self._record(rows, lambda: self.queue.advance_schedules(moves), _each)

    def close(self) -> None:
        """Close the wrapped queue, then the file. Raises what kept the history from being written."""
        self.queue.close()
        with self._lock:
            if self._file is not None:
                os.close(self._file)
                self._file = None
            if self.failure is not None:
                failure, self.failure = self.failure, None
                raise failure

    # -- writing down --------------------------------------------------------------------------------------------

    def _record(self, rows: list[_Row], act: Callable[[], T], answered: _Answered) -> T:
        if not rows:
            return act()
        client, call_ns = self._called(rows)
        try:
            answer = act()
        except BaseException as error:
            outcome = _outcome_of(error, len(rows))
            self._returned(client, call_ns, [row._replace(outcome=outcome, value=_shown(error)) for row in rows])
            raise
        try:
            ended = answered(rows, answer)
        except Exception as error:  # an answer that is no answer; the caller will see it too
            ended = [row._replace(value=_shown(error)) for row in rows]
        self._returned(client, call_ns, ended)
        return answer

    def _enqueues(self, jobs: Sequence[Job]) -> list[_Row]:
        return [_Row("enqueue", job.id, self._enqueue_args(job)) for job in jobs if isinstance(job, Job)]

    def _enqueue_args(self, job: Job) -> dict[str, Any]:
        args = _numbers(max_retries=job.max_retries, priority=job.priority or None)
        if job.not_before is not None:
            with suppress(ValueError, TypeError):  # not an instant: the queue will refuse it
                delay_s = iso_to_us(job.not_before) / 1_000_000 - self._epoch()
                if delay_s > 0:
                    args["delay_s"] = delay_s
        return args

    def _called(self, rows: list[_Row]) -> tuple[str, int]:
        client = self._client
        if threading.get_ident() != self._thread:
            client = f"{client}/{threading.current_thread().name}"
        with self._lock:
            call_ns = self._stamp()
            if self._path is None:
                self._open[call_ns] = (client, rows)
            if rows[0].op not in _LOOKS:
                self._emit(rows, client, call_ns, None)
        return client, call_ns

    def _returned(self, client: str, call_ns: int, rows: list[_Row]) -> None:
        with self._lock:
            ret_ns = self._stamp()
            if self._path is None:
                del self._open[call_ns]
                self._ended += [row.at(client, call_ns, ret_ns) for row in rows]
            self._emit(rows, client, call_ns, ret_ns)

    def _stamp(self) -> int:
        """The instant of now, later than all before: one call has one instant, and a clock that stands keeps order."""
        now = self._clock_ns()
        if self._last_ns is not None and now <= self._last_ns:
            now = self._last_ns + 1
        self._last_ns = now
        return now

    def _emit(self, rows: list[_Row], client: str, call_ns: int, ret_ns: int | None) -> None:
        if self.failure is not None or (self._file is None and self._sink is None):
            return
        try:
            ops = tuple(row.at(client, call_ns, ret_ns) for row in rows)
            if self._file is not None:
                data = "".join(map(op_line, ops)).encode()
                while data:
                    data = data[os.write(self._file, data) :]
            if self._sink is not None:
                self._sink(ops)
        except Exception as error:
            self.failure = error


# What is asked, as rows. Bad values are shown, not refused: that is for the queue to do.


def _name(job_id: object) -> str:
    return job_id if isinstance(job_id, str) else checks.shown(job_id)


def _numbers(**named: object) -> dict[str, Any]:
    """Arguments that are given; what should be a number and is none goes under a name that no checker reads."""
    given = {name: value for name, value in named.items() if value is not None}
    good = {name: value for name, value in given.items() if _is_number(value)}
    return good | {f"{name}?": checks.shown(value) for name, value in given.items() if name not in good}


def _dequeues(n: int, worker_id: str, lease_s: float | None, wait_s: float) -> list[_Row]:
    args = {"worker": worker_id, **_numbers(lease_s=lease_s, wait_s=wait_s or None)}
    return [_Row("dequeue", args=args)] * (n if type(n) is int else 1)


def _report(job_id: str, status: JobStatus, lease: Lease | None, delay_s: float | None) -> _Row:
    args = {"status": _name(status), **_numbers(delay_s=delay_s or None)}
    return _Row("report", _name(job_id), args, token=lease.token if type(lease) is Lease else None)


def _extends(leases: Sequence[Lease], lease_s: float | None) -> list[_Row]:
    args = _numbers(lease_s=lease_s)
    return [_Row("extend", lease.job_id, args, token=lease.token) for lease in leases if type(lease) is Lease]


# What was answered.


def _outcome_of(error: BaseException, asked: int) -> Outcome:
    if not isinstance(error, OrchError) or isinstance(error, BackendUnavailable):
        return Outcome.UNKNOWN
    # A bulk verb may have done some of its operations before it raised; bad input is refused before any.
    return Outcome.REFUSED if asked == 1 or isinstance(error, InvalidInput) else Outcome.UNKNOWN


def _shown(error: BaseException) -> dict[str, str]:
    return {"error": type(error).__name__, "message": str(error)[:200]}


def _state_of(job: Job) -> dict[str, Any]:
    return {
        "status": job.status.value,
        "attempts": job.attempts,
        "failures": job.failures,
        "crashes": job.crashes,
    }


def _value_of(answer: Any) -> Any:
    match answer:
        case Job():
            return _state_of(answer)
        case Lease():
            return answer.expires_at
        case QueueStats():
            return asdict(answer)
        case list():
            return [getattr(item, "job_id", None) or getattr(item, "id", None) or str(item) for item in answer]
        case _:
            return answer


def _ended(row: _Row, answer: Any) -> _Row:
    if isinstance(answer, OrchError):
        return row._replace(outcome=_outcome_of(answer, 1), value=_shown(answer))
    return row._replace(outcome=Outcome.OK, value=_value_of(answer))


def _answered(rows: list[_Row], answer: Any) -> list[_Row]:
    return [_ended(row, answer) for row in rows]


def _each(rows: list[_Row], answers: Sequence[Any]) -> list[_Row]:
    return [_ended(row, answer) for row, answer in zip(rows, answers, strict=True)]


def _enqueued(rows: list[_Row], new: int) -> list[_Row]:
    # A bulk verb says how many were new; which ones is known only at the two ends.
    value = bool(new) if new in (0, len(rows)) else None
    return [row._replace(outcome=Outcome.OK, value=value) for row in rows]


def _dequeued(rows: list[_Row], jobs: list[Job]) -> list[_Row]:
    if not rows and not jobs:
        return []
    args = rows[0].args if rows else {}
    if not jobs:
        return [_Row("dequeue", None, args, Outcome.OK)]
    return [
        _Row(
            "dequeue",
            job.id,
            args,
            Outcome.OK,
            {"priority": job.priority, "failures": job.failures, "crashes": job.crashes},
            job.attempts,
            None if job.lease is None else job.lease.token,
        )
        for job in jobs
    ]


def _listed(rows: list[_Row], jobs: list[Job]) -> list[_Row]:
    whole = rows[0]._replace(outcome=Outcome.OK, value=len(jobs))
    return [whole, *(whole._replace(op="get", job=job.id, value=_state_of(job)) for job in jobs)]
