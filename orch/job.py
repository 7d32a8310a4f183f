"""The values that a queue keeps and hands out, and the table of their legal steps.

Every state, event and legal step of a job is in `TRANSITIONS`; Python code decides no transition elsewhere.
Values are checked where they are made (Q12). What is stored is JSON (`encode_record`), never a pickle.
"""

from __future__ import annotations

import json
import random
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from orch import checks
from orch.clock import Clock, process_clock, to_us
from orch.errors import IllegalTransition, InvalidInput, UnreadableRecord

RECORD_VERSION = 1  # the `v` of a stored record; a newer one is quarantined, not guessed at (Q13)
PRIORITY_MAX = 1000


class JobStatus(StrEnum):
    """Where a job is. RETRY is only ever reported: a job that will be retried is PENDING."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCESS = "success"
    FAILED = "failed"
    RETRY = "retry"


#: The four states that a stored job can be in, in the order of a job's life.
STATES = (JobStatus.PENDING, JobStatus.RUNNING, JobStatus.SUCCESS, JobStatus.FAILED)
FINAL = frozenset({JobStatus.SUCCESS, JobStatus.FAILED})


class Event(StrEnum):
    """What can happen to a stored job."""

    DELIVER = "deliver"  # a dequeue hands it out under a new lease
    SUCCEED = "succeed"  # SUCCESS was reported, by the holder or by an operator
    FAIL = "fail"  # FAILED was reported, or an operator cancelled
    RETRY = "retry"  # RETRY was reported and the failure budget allows one more delivery
    EXHAUST = "exhaust"  # RETRY was reported and `failures` was already at `max_retries` (Q6)
    GIVE_BACK = "give back"  # the holder returns it untouched
    LEASE_LOST = "lease lost"  # a dequeue found the lease expired
    CRASH_LIMIT = "crash limit"  # as before, and `crashes` was already at the queue's `max_crashes` (Q6)
    REQUEUE = "requeue"  # an operator gives it a fresh budget


TRANSITIONS: Mapping[JobStatus, Mapping[Event, JobStatus]] = {
    JobStatus.PENDING: {
        Event.DELIVER: JobStatus.RUNNING,
        Event.SUCCEED: JobStatus.SUCCESS,
        Event.FAIL: JobStatus.FAILED,
    },
    JobStatus.RUNNING: {
        Event.SUCCEED: JobStatus.SUCCESS,
        Event.FAIL: JobStatus.FAILED,
        Event.RETRY: JobStatus.PENDING,
        Event.EXHAUST: JobStatus.FAILED,
        Event.GIVE_BACK: JobStatus.PENDING,
        Event.LEASE_LOST: JobStatus.PENDING,
        Event.CRASH_LIMIT: JobStatus.FAILED,
    },
    JobStatus.SUCCESS: {},
    JobStatus.FAILED: {Event.REQUEUE: JobStatus.PENDING},
}

_REPORTED = {
    JobStatus.SUCCESS: Event.SUCCEED,
    JobStatus.FAILED: Event.FAIL,
    JobStatus.RETRY: Event.RETRY,
    JobStatus.PENDING: Event.GIVE_BACK,
}


def event_of_report(
    job_id: str, current: JobStatus, reported: JobStatus, leased: bool, failures: int, max_retries: int
) -> Event | None:
    """What a report does to a job: the event, or None when it changes nothing.

    `leased` says that the report comes under the job's current lease; otherwise it is an operator's act, for which
    the same final status again is silent. Raises `IllegalTransition`.
    """
    event = _EVENTS.get((current, reported, leased))
    if event is Event.RETRY and failures >= max_retries:
        return Event.EXHAUST
    if event is None and (leased or reported is not current or current not in FINAL):
        how = "under its lease" if leased else "without a lease"
        raise IllegalTransition(f"job {job_id!r} is {current.value}: {reported.value} {how} is not a legal step")
    return event


#: The event of each legal report, by the state of the job, what is reported, and whether it is under a lease.
_EVENTS = {
    (current, reported, leased): event
    for current, steps in TRANSITIONS.items()
    for reported, event in _REPORTED.items()
    for leased in (True, False)
    if event in steps and (leased or event is not Event.GIVE_BACK)
}


def event_of_lost_lease(crashes: int, max_crashes: int) -> Event:
    """What an expired lease does to its job, which has lost `crashes` leases before."""
    return Event.CRASH_LIMIT if crashes >= max_crashes else Event.LEASE_LOST


def crash_limit_error(crashes: int) -> str:
    """The error text of a job that lost more leases than its queue allows."""
    return f"lease lost {crashes} times: the worker died or stopped extending; see max_crashes"


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to finish one delivery of a job.

    `token` is unique and grows over the whole queue: hand it to systems downstream as a fencing token.
    `expires_at` is epoch seconds on the store's clock; the lease stays current until a dequeue reclaims it.
    """

    job_id: str
    token: int
    worker_id: str
    expires_at: float

    def __post_init__(self) -> None:
        checks.check_id(self.job_id)
        checks.check_int(self.token, "token", 0, 2**63 - 1)
        checks.check_worker_id(self.worker_id)
        checks.check_seconds(self.expires_at, "expires_at", high=1e12)


def issued_lease(job_id: str, token: int, worker_id: str, expires_us: int) -> Lease:
    """A lease of values that the queue itself made, so that they need no check; `expires_us` is epoch microseconds."""
    lease: Any = _OpenLease()
    lease.job_id = job_id
    lease.token = token
    lease.worker_id = worker_id
    lease.expires_at = expires_us / 1_000_000
    lease.__class__ = Lease
    return lease  # type: ignore[no-any-return]  # it is one now


class _OpenLease:
    """A lease that can still be written: filling it and then making it a `Lease` takes half as long as `__set__`."""

    __slots__ = Lease.__slots__


_new = object.__new__


@dataclass
class Job:
    """One execution of a DAG, or of one callable, as the queue keeps it.

    `attempts` counts deliveries. `failures` counts RETRY and FAILED reports against `max_retries`; `crashes` counts
    lost leases against the queue's `max_crashes`. Times are aware ISO-8601 texts; `timeout_s` bounds one attempt.
    `extra` keeps fields of a record that this version does not know. `lease` is set on what a dequeue returned and
    is no part of `to_dict()`.
    """

    id: str
    dag_path: str
    tenant_id: str
    schedule_id: str | None
    status: JobStatus
    enqueued_at: str
    started_at: str | None = None
    finished_at: str | None = None
    attempts: int = 0
    max_retries: int = 0
    error: str | None = None
    result: dict[str, Any] | None = None
    params: dict[str, Any] = field(default_factory=dict)
    priority: int = 0
    not_before: str | None = None
    timeout_s: float | None = None
    failures: int = 0
    crashes: int = 0
    lease: Lease | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.check()

    def check(self) -> None:
        """Raise `InvalidInput` if a field holds what a queue would refuse; also after a field was set.

        JSON fields (`params`, `result`, `extra`) are replaced by their own checked copies.
        """
        checks.check_id(self.id)
        checks.check_text(self.dag_path, "dag_path")
        checks.check_text(self.tenant_id, "tenant_id", checks.ID_MAX)
        if self.schedule_id is not None:
            checks.check_text(self.schedule_id, "schedule_id", checks.ID_MAX)
        if type(self.status) is not JobStatus:
            raise InvalidInput(f"status must be a JobStatus, got {checks.shown(self.status)}")
        checks.check_instant(self.enqueued_at, "enqueued_at")
        if self.started_at is not None:
            checks.check_instant(self.started_at, "started_at")
        if self.finished_at is not None:
            checks.check_instant(self.finished_at, "finished_at")
        checks.check_int(self.attempts, "attempts", 0)
        checks.check_int(self.max_retries, "max_retries", 0)
        checks.check_int(self.priority, "priority", -PRIORITY_MAX, PRIORITY_MAX)
        checks.check_int(self.failures, "failures", 0)
        checks.check_int(self.crashes, "crashes", 0)
        if self.not_before is not None:
            checks.check_instant(self.not_before, "not_before")
        if self.timeout_s is not None:
            checks.check_seconds(self.timeout_s, "timeout_s", positive=True)
        if self.lease is not None and type(self.lease) is not Lease:
            raise InvalidInput(f"lease must be a Lease or None, got {checks.shown(self.lease)}")
        if self.error is not None:
            self.error = checks.cut_error(self.error)
        if self.result is not None:
            self.result = checks.check_document(self.result, "result")
        if self.params or type(self.params) is not dict:
            self.params = checks.check_document(self.params, "params")
        if self.extra or type(self.extra) is not dict:
            self.extra = checks.check_document(self.extra, "extra")
            clash = _RESERVED.intersection(self.extra)
            if clash:
                raise InvalidInput(f"extra must not use the names of other fields, got {sorted(clash)}")

    @classmethod
    def new(
        cls,
        dag_path: str,
        *,
        id: str | None = None,
        params: dict[str, Any] | None = None,
        tenant_id: str = "local-dev",
        schedule_id: str | None = None,
        priority: int = 0,
        max_retries: int = 0,
        not_before: str | None = None,
        timeout_s: float | None = None,
        clock: Clock = process_clock,
        rng: random.Random | None = None,
    ) -> Job:
        """A PENDING job, ready to be enqueued: fills the id (UUIDv7 of `clock` and `rng`) and `enqueued_at`.

        `dag_path` is the path of a DAG file, or `workflow:<name>` for one callable.
        """
        now = clock()
        return cls(
            id=uuid7(now, rng) if id is None else id,
            dag_path=dag_path,
            tenant_id=tenant_id,
            schedule_id=schedule_id,
            status=JobStatus.PENDING,
            enqueued_at=datetime.fromtimestamp(now, UTC).isoformat(),
            max_retries=max_retries,
            params={} if params is None else params,
            priority=priority,
            not_before=not_before,
            timeout_s=timeout_s,
        )

    def to_dict(self) -> dict[str, Any]:
        """All fields but `lease`, `status` as its value and `extra` spread out: JSON, and the caller's own copy."""
        out = {name: getattr(self, name) for name in _STORED}
        out["status"] = self.status.value
        out["result"] = checks.copy_json(self.result)
        out["params"] = checks.copy_json(self.params)
        out.update(checks.copy_json(self.extra))
        return out

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Job:
        """The inverse of `to_dict`; fields that it does not know go to `extra`. `data` is not changed.

        Raises `InvalidInput` for a missing field or a bad value.
        """
        known = {name: data[name] for name in _STORED if name in data}
        missing = [name for name in _REQUIRED if name not in known]
        if missing:
            raise InvalidInput(f"a job needs the fields {', '.join(_REQUIRED)}; missing: {', '.join(missing)}")
        known["status"] = status_of(known["status"])
        if known["status"] is JobStatus.RETRY:
            raise InvalidInput("status must be pending, running, success or failed; retry is only reported")
        rest = {name: value for name, value in data.items() if name not in _RESERVED}
        return cls(**known, extra=rest)

    def copy(self) -> Job:
        """A value of its own: changing it changes nothing else (Q11)."""
        twin = _new(Job)
        state = self.__dict__.copy()
        params, extra = state["params"], state["extra"]
        state["params"] = checks.copy_json(params) if params else {}
        state["extra"] = checks.copy_json(extra) if extra else {}
        if state["result"] is not None:
            state["result"] = checks.copy_json(state["result"])
        twin.__dict__ = state
        return twin

    def _repr_html_(self) -> str:
        from html import escape  # only notebooks pay for it

        rows = "".join(
            f"<tr><th style='text-align:left'>{escape(name)}</th><td>{escape(str(value))}</td></tr>"
            for name, value in self.to_dict().items()
            if value not in (None, {}, 0)
        )
        return f"<table>{rows}</table>"


_STORED = tuple(f.name for f in fields(Job) if f.name not in ("lease", "extra"))
_REQUIRED = _STORED[:6]
_RESERVED = frozenset({*_STORED, "lease", "extra", "v"})


def status_of(value: Any) -> JobStatus:
    """The status that a text names. Raises `InvalidInput` with the values that exist."""
    try:
        return JobStatus(value)
    except ValueError:
        names = ", ".join(status.value for status in JobStatus)
        raise InvalidInput(f"status must be one of {names}, got {checks.shown(value)}") from None


def encode_record(job: Job) -> str:
    """A job as the JSON text that a store keeps: its fields and the record version `v`."""
    return checks.dump_json({"v": RECORD_VERSION, **job.to_dict()})


def decode_record(raw: str | bytes) -> Job:
    """The job of a stored record. Raises `UnreadableRecord`, saying why, for anything that this version cannot read."""
    try:
        data = json.loads(raw)
        if not isinstance(data, dict):
            raise InvalidInput(f"it is a JSON {type(data).__name__}, not an object")
        version = data.get("v", RECORD_VERSION)  # records of the seed carry none
        if type(version) is not int or version < 1:
            raise InvalidInput(f"its version is {checks.shown(version)}")
        if version > RECORD_VERSION:
            raise InvalidInput(f"its version is {version}, newer than {RECORD_VERSION}; upgrade orch")
        return Job.from_dict(data)
    except (ValueError, RecursionError) as error:  # JSON and Unicode errors are ValueErrors, so is InvalidInput
        raise UnreadableRecord(f"record cannot be read: {error}") from None


@dataclass(frozen=True, slots=True)
class CursorMove:
    """A move of a schedule's cursor (S2), for `advance_schedules`: the arguments of `advance_schedule` as a value.

    `key` is 1 to 1,024 characters, `expected` the tick that the cursor is at (None: it is new), `tick` an ISO instant.
    The verb checks them.
    """

    key: str
    expected: str | None
    tick: str


@dataclass(frozen=True, slots=True)
class Report:
    """The outcome of one delivery, for `exchange`: the arguments of `update_status` as a value.

    Raises `InvalidInput`; `IllegalTransition` for RUNNING, which only a dequeue brings about.
    """

    job_id: str
    status: JobStatus
    error: str | None = None
    result: dict[str, Any] | None = None
    lease: Lease | None = None
    delay_s: float | None = None

    def __post_init__(self) -> None:
        error, result = _reported(self.job_id, self.status, self.error, self.result, self.lease, self.delay_s)
        if error is not None:
            object.__setattr__(self, "error", error)
        if result is not None:
            object.__setattr__(self, "result", result)


def _reported(
    job_id: str,
    status: JobStatus,
    error: str | None,
    result: dict[str, Any] | None,
    lease: Lease | None,
    delay_s: float | None,
) -> tuple[str | None, dict[str, Any] | None]:
    """The error of a report, cut, and its result as a copy, after everything was checked (Q12)."""
    checks.check_id(job_id)
    if type(status) is not JobStatus:
        raise InvalidInput(f"status must be a JobStatus, got {checks.shown(status)}")
    if status is _RUNNING:
        raise IllegalTransition(f"job {job_id!r}: only a dequeue makes a job running")
    if error is not None:
        error = checks.cut_error(error)
    if result is not None:
        result = checks.check_document(result, "result")
    if lease is not None:
        if type(lease) is not Lease:
            raise InvalidInput(f"lease must be a Lease, got {checks.shown(lease)}")
        if lease.job_id != job_id:
            raise InvalidInput(f"the lease is of job {lease.job_id!r}, the report of job {job_id!r}")
    if delay_s is not None:
        checks.check_seconds(delay_s, "delay_s")
        if status is not JobStatus.RETRY:
            raise InvalidInput(f"delay_s goes with RETRY only, got {delay_s!r} with {status.value}")
    return error, result


_RUNNING = JobStatus.RUNNING


def checked_report(
    job_id: str,
    status: JobStatus,
    error: str | None,
    result: dict[str, Any] | None,
    lease: Lease | None,
    delay_s: float | None,
) -> Report:
    """`Report(...)` at half its cost: every verb of a queue makes one. Raises as it does."""
    report: Any = _OpenReport()
    report.error, report.result = _reported(job_id, status, error, result, lease, delay_s)
    report.job_id = job_id
    report.status = status
    report.lease = lease
    report.delay_s = delay_s
    report.__class__ = Report
    return report  # type: ignore[no-any-return]  # it is one now


class _OpenReport:
    """A report that can still be written, as `_OpenLease`."""

    __slots__ = Report.__slots__


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A stored record that cannot be read (Q13): its id, its bytes as they were found, and why."""

    job_id: str
    raw: bytes
    reason: str


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """What a worker says of itself, and what the queue saw of it (W8).

    `started_at` and `last_beat_at` are ISO-8601 texts; `jobs` are the ids it holds now; `done` and `failed` count
    the attempts it finished; `blocked` counts slots taken by timed-out jobs whose threads have not ended.
    """

    id: str
    host: str = ""
    pid: int = 0
    started_at: str | None = None
    last_beat_at: str | None = None
    jobs: tuple[str, ...] = ()
    done: int = 0
    failed: int = 0
    slots: int = 0
    blocked: int = 0


@dataclass(frozen=True, slots=True)
class QueueStats:
    """One snapshot of a queue: job counts, how many PENDING jobs are ready and delayed, ages in seconds."""

    counts: dict[JobStatus, int]
    ready: int
    delayed: int
    quarantined: int
    oldest_ready_age_s: float | None


def uuid7(now: float, rng: random.Random | None = None) -> str:
    """A UUID of version 7 (RFC 9562, 5.7): 48 bits of epoch milliseconds, then random bits."""
    bits: Callable[[int], int] = secrets.randbits if rng is None else rng.getrandbits
    value = ((to_us(now) // 1000) & (1 << 48) - 1) << 80 | bits(80)
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
