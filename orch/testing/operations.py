# ruff: noqa: ARG001, ARG005, A006 - what stands in one table takes the same arguments, the first of them mostly an id
"""Everything that can be done to a queue, as the operations of the queue machine; faults among them.

Few ids, small times, so that calls collide. Reports, extensions and progress choose from every lease ever given.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from marshal import dumps, loads
from typing import Any

from orch.errors import InvalidInput
from orch.job import STATES, CursorMove, Job, JobStatus, Lease, Report, WorkerInfo, encode_record
from orch.queue import PersistentQueue
from orch.testing import blame
from orch.testing.judging import (
    judge_counts,
    judge_crowd,
    judge_crowd_enqueued,
    judge_death,
    judge_deliveries,
    judge_delivery,
    judge_enqueue,
    judge_exchange,
    judge_job,
    judge_lease,
    judge_leases,
    judge_listing,
    judge_long_error,
    judge_look,
    judge_meeting,
    judge_outage,
    judge_refusal,
    judge_refused_write,
    judge_reopen,
    judge_report,
    judge_requeue,
    judge_stats,
    judge_unknown_field,
    judge_value,
    judge_workers,
)
from orch.testing.machine import IDS, Operation, Run, us
from orch.testing.model import EXPIRED, FAILED, HELD, PENDING, RETRY, SUCCESS, Model, ModelJob, text_of

WORKERS = ("w1", "w2", "")
LEASES = (2.0, 5.0, 1.0, None)  # seconds; None is the queue's own
DELAYS = (None, 2.0, 5.0, 1.0, -3.0)  # seconds from now to `not_before`
RETRY_DELAYS = (None, 2.0, 5.0, 0.0)
FORWARD = (1.0, 2.0, 5.0, 0.5, 20.0, 31.0, 3601.0, 90_000.0, 1.999999, 0.000001)
BACK = (1.0, 5.0, 60.0, 100_000.0)
HOURS = (0.0, 1.0, 0.001, 24.0)
_US: dict[float | None, int | None] = {None: None}  # what of these may be None, as the model has it
_US |= {seconds: us(seconds) for seconds in (*LEASES, *DELAYS, *RETRY_DELAYS) if seconds is not None}
PRIORITIES = (0, 1, -1, 1000, -1000, 999)
REPORTED = (SUCCESS, FAILED, RETRY, PENDING)
CONTENTS: tuple[tuple[str | None, dict[str, Any] | None], ...] = (
    (None, None),
    ("e1", None),
    (None, {"r": [1]}),
    ("e2 é☃", {"r": [2, {"s": []}], "s": {}, "e": [], "n": 2**53 + 1, "f": -0.5, "é": "☃", "z": None}),
    ("", {}),
)
FILTERS = (None, *STATES, RETRY)
LIMITS = (100, 0, 1, 2)
TASKS = ("t1", "t2")
OUTPUTS: tuple[Any, ...] = (1, {"x": [1]}, None)
KEYS = ("k1", "k2")
TICKS = ("2027-01-15T08:00:00+00:00", "2027-01-15T08:01:00+00:00", "2027-01-15T08:02:00+00:00")
LONG_ERROR = "long " * 4000  # more than 16 KiB
_START_US = 1_800_000_000_000_000

#: Combinations of the other fields, the stamp as an instant among them.
SHAPES: tuple[tuple[dict[str, Any], int], ...] = (
    ({"enqueued_at": "2027-01-15T08:00:00+00:00"}, _START_US),
    (
        {"enqueued_at": "2027-01-15T09:00:00+01:00", "dag_path": "e.yaml", "params": {"x": [1], "e": [], "é": "☃"}},
        _START_US,
    ),
    (
        {"enqueued_at": "2027-01-15T07:59:59.999999Z", "schedule_id": "s", "error": "old", "result": {"r": [0]}},
        _START_US - 1,
    ),
    (
        {
            "enqueued_at": "2027-01-15T03:00:00.5-05:00",
            "tenant_id": "u",
            "extra": {"k": [1], "n": 2**53 + 1},
            "timeout_s": 2.5,
        },
        _START_US + 500_000,
    ),
)
_PLAIN: dict[str, Any] = {
    **vars(Job("a", "d.yaml", "t", None, PENDING, "2027-01-15T08:00:00+00:00")),
}


def fresh(value: Any) -> Any:
    """A copy of a JSON value that shares nothing with it."""
    return loads(dumps(value, 2))  # noqa: S302 - our own bytes; half the time of a walk


def job_of(fields: dict[str, Any]) -> Job:
    """A Job of these fields, sharing nothing with them; they are known to be good."""
    state = fields.copy()
    params, extra, result = fields["params"], fields["extra"], fields["result"]
    state["params"] = fresh(params) if params else {}
    state["extra"] = fresh(extra) if extra else {}
    if result is not None:
        state["result"] = fresh(result)
    job = object.__new__(Job)
    job.__dict__ = state
    return job


def report_of(job_id: str, status: JobStatus, error: str | None, result: Any, lease: Lease) -> Report:
    """A Report of these values, which are known to be good."""
    report = object.__new__(Report)
    _put_job_id(report, job_id)
    _put_status(report, status)
    _put_error(report, error)
    _put_result(report, result)
    _put_lease(report, lease)
    _put_delay_s(report, None)
    return report


_put_job_id, _put_status, _put_error, _put_result, _put_lease, _put_delay_s = (
    vars(Report)[name].__set__ for name in ("job_id", "status", "error", "result", "lease", "delay_s")
)
_DELAYS_US = tuple(_US[seconds] for seconds in DELAYS)
_specs: dict[tuple[int, ...], tuple[dict[str, Any], int, int | None]] = {}


def _spec(
    run: Run, id: int, priority: int, retries: int, delay: int, shape: int
) -> tuple[dict[str, Any], int, int | None]:
    """A job's fields, its stamp and its due time; shared, so nobody may change them."""
    machine = run.machine
    key = (id, priority if machine.priorities else 0, retries, shape)
    spec = _specs.get(key)
    if spec is None:
        other, stamp = SHAPES[shape]
        fields = {**_PLAIN, **other, "id": IDS[id], "priority": PRIORITIES[key[1]], "max_retries": retries}
        spec = _specs[key] = (fields, stamp, None)
    wait = _DELAYS_US[delay]
    if wait is None or not machine.delays:
        return spec
    due = run.model.now + wait
    fields = spec[0].copy()
    fields["not_before"] = text_of(due)
    return fields, spec[1], due


def bind_enqueue(run: Run, id: int, priority: int, retries: int, delay: int, shape: int) -> tuple[Any, ...]:
    spec = _spec(run, id, priority, retries, delay, shape)
    return IDS[id], (spec,)


def call_enqueue(run: Run, id: str, specs: Any) -> Any:
    job = job_of(specs[0][0])
    run.last_in = (job,)
    return run.clients[0].enqueue(job)


def bind_enqueue_many(
    run: Run, n: int, id1: int, id2: int, id3: int, priority: int, retries: int, delay: int, shape: int
) -> tuple[Any, ...]:
    first = _spec(run, id1, priority, retries, delay, shape)
    second = _spec(run, id2, 0, 0, 0, 0)
    return IDS[id1], (first, second, _spec(run, id3, 0, 0, 0, 0)) if n else (first, second)


def call_enqueue_many(run: Run, id: str, specs: Any) -> Any:
    jobs = [job_of(fields) for fields, _, _ in specs]
    run.last_in = tuple(jobs)
    return run.clients[0].enqueue_many(jobs)


def bind_dequeue(run: Run, worker: int, lease: int) -> tuple[Any, ...]:
    return WORKERS[worker], LEASES[lease], _LEASES_US[lease]


_LEASES_US = tuple(_US[seconds] for seconds in LEASES)
_CLIENT = {"w1": 0, "w2": -1, "": 0}  # of each worker


def call_dequeue(run: Run, worker: str, lease_s: float | None, lease_us: int | None) -> Any:
    return run.clients[_CLIENT[worker]].dequeue(worker, lease_s=lease_s)


def bind_dequeue_many(run: Run, n: int, worker: int, lease: int) -> tuple[Any, ...]:
    return (2, 1, 3, 0)[n], WORKERS[worker], LEASES[lease], _LEASES_US[lease]


def call_dequeue_many(run: Run, n: int, worker: str, lease_s: float | None, lease_us: int | None) -> Any:
    return run.clients[_CLIENT[worker]].dequeue_many(n, worker, lease_s=lease_s)


def bind_report(run: Run, id: int, age: int, status: int, delay: int, content: int) -> tuple[Any, ...] | None:
    lease = run.lease(id, age)
    if lease is None:
        return None
    reported = REPORTED[status]
    run.leased = True
    error, result = CONTENTS[content]
    delay_s = RETRY_DELAYS[delay] if reported is RETRY and run.machine.delays else None
    return IDS[id], reported, error, result, lease, delay_s


def step_report(
    model: Model, id: str, status: JobStatus, error: str | None, result: Any, lease: Lease | None, delay_s: float | None
) -> Any:
    return model.report(id, status, error, result, None if lease is None else lease.token, _US[delay_s])


def call_report(
    run: Run, id: str, status: JobStatus, error: str | None, result: Any, lease: Lease | None, delay_s: float | None
) -> Any:
    given = None if result is None else fresh(result)
    run.last_in = (given,)
    return run.clients[0].update_status(id, status, error, given, lease=lease, delay_s=delay_s)


def bind_long_error(run: Run, id: int, status: int) -> tuple[Any, ...] | None:
    lease = run.lease(id, 0)
    if lease is None:
        return None
    run.leased = True
    return IDS[id], REPORTED[1:3][status], LONG_ERROR, None, lease, None


def bind_operator(run: Run, id: int, status: int, delay: int, content: int) -> tuple[Any, ...] | None:
    run.leased = False
    reported = REPORTED[status]
    machine = run.machine
    if "operator" not in machine.capabilities and (
        run.model.place(IDS[id]) not in (HELD, EXPIRED) or reported is PENDING
    ):
        return None  # a queue without leases or operators: whoever runs the job reports so
    error, result = CONTENTS[content]
    delay_s = RETRY_DELAYS[delay] if reported is RETRY and machine.delays else None
    return IDS[id], reported, error, result, None, delay_s


def bind_id(run: Run, id: int) -> tuple[Any, ...]:
    run.leased = False
    return (IDS[id],)


def bind_extend(run: Run, id: int, age: int, lease: int) -> tuple[Any, ...] | None:
    given = run.lease(id, age)
    if given is None:
        return None
    return IDS[id], given, LEASES[lease], _LEASES_US[lease]


def bind_extend_many(run: Run, id1: int, age1: int, id2: int, age2: int, lease: int) -> tuple[Any, ...] | None:
    leases = [given for given in (run.lease(id1, age1), run.lease(id2, age2)) if given is not None]
    if not leases:
        return None
    return leases, LEASES[lease], _LEASES_US[lease]


def bind_exchange(
    run: Run,
    n: int,
    id1: int,
    age1: int,
    status1: int,
    id2: int,
    age2: int,
    status2: int,
    worker: int,
    lease: int,
) -> tuple[Any, ...] | None:
    reports = []
    for id, age, status in ((id1, age1, status1), (id2, age2, status2)):
        given = run.lease(id, age)
        if given is not None:
            error, result = CONTENTS[status]
            mine = None if result is None else fresh(result)
            reports.append(report_of(IDS[id], REPORTED[status], error, mine, given))
    if not reports:
        return None
    return reports, n, WORKERS[worker], LEASES[lease], _LEASES_US[lease]


def step_exchange(model: Model, reports: list[Report], n: int, worker: str, lease_s: Any, lease_us: int | None) -> Any:
    answers = []
    for report in reports:
        assert report.lease is not None
        place = model.place(report.job_id)
        result = None if report.result is None else fresh(report.result)
        answer = model.report(report.job_id, report.status, report.error, result, report.lease.token, None)
        silent = model.silent
        answers.append((place, silent, dict(answer.fields) if isinstance(answer, ModelJob) else answer))
    return answers, model.dequeue(n, worker, lease_us)


def bind_progress(run: Run, id: int, age: int, task: int, output: int) -> tuple[Any, ...] | None:
    given = run.lease(id, age)
    if given is None:
        return None
    return IDS[id], given, TASKS[task], OUTPUTS[output]


def bind_read_progress(run: Run, id: int) -> tuple[Any, ...] | None:
    return None if IDS[id] in run.model.quarantine else (IDS[id],)  # what is left of those is nobody's promise


def step_read_progress(model: Model, id: str) -> Any:
    job = model.jobs.get(id)
    return fresh(job.progress) if job is not None and job.progress else {}


def bind_purge(run: Run, hours: int) -> tuple[Any, ...] | None:
    for job in run.model.jobs.values():
        if job.raw is not None and job.finished:
            return None  # whether a purge finds the record unreadable first is left open
    run.purges += 1
    return HOURS[hours], _HOURS_US[hours]


_HOURS_US = tuple(us(hours * 3600) for hours in HOURS)


def call_purge(run: Run, hours: float, hours_us: int) -> Any:
    removed = run.clients[0].purge(hours)
    run.watch.purged()
    return removed


def bind_workers(run: Run) -> tuple[Any, ...] | None:
    return None if run.model.turned_back else ()  # who was gone when, is then anybody's guess


def bind_announce(run: Run, worker: int, variant: int) -> tuple[Any, ...]:
    return WORKERS[worker], _INFOS[variant]


_INFOS = tuple((f"host{variant}", 100 + variant, variant, 4) for variant in range(2))
_ANNOUNCED = {
    (worker, info): WorkerInfo(worker, host=info[0], pid=info[1], done=info[2], slots=info[3], jobs=("x",))
    for worker in WORKERS
    for info in _INFOS
}


def call_announce(run: Run, worker: str, info: Any) -> Any:
    return run.clients[0].announce(_ANNOUNCED[worker, info])


def bind_advance_schedule(run: Run, key: int, expected: int, tick: int) -> tuple[Any, ...]:
    return KEYS[key], (None, *TICKS)[expected], TICKS[tick]


def bind_advance_schedules(
    run: Run, key1: int, expected1: int, tick1: int, key2: int, expected2: int, tick2: int
) -> tuple[Any, ...]:
    moves = ((key1, expected1, tick1), (key2, expected2, tick2))
    return (tuple([CursorMove(*bind_advance_schedule(run, *move)) for move in moves]),)


def step_advance_schedule(model: Model, key: str, expected: str | None, tick: str) -> bool:
    if model.cursors.get(key) != expected:
        return False
    model.cursors[key] = tick
    return True


_FORWARD_US = tuple((seconds, us(seconds)) for seconds in FORWARD)
_BACK_US = tuple((-seconds, -us(seconds)) for seconds in BACK)


def call_advance(run: Run, seconds: float, seconds_us: int) -> None:
    run.clock.advance(seconds)


def _unfound(run: Run, id: int) -> bool:
    """May this job's record be replaced now? One unread record at a time, so that the order of finds is certain."""
    jobs = run.model.jobs
    return IDS[id] in jobs and not [job for job in jobs.values() if job.raw is not None]


def bind_unreadable(run: Run, id: int, variant: int) -> tuple[Any, ...] | None:
    return (IDS[id], UNREADABLE[variant]) if _unfound(run, id) else None


_NEWER = {"v": 2, **_PLAIN, "status": "pending"}
UNREADABLE = (b"{", json.dumps(_NEWER).encode(), b"\xff\x00", b"[]")


def call_plant(run: Run, id: str, raw: bytes) -> None:
    hook = getattr(run.store, "plant_record", None)
    if hook is not None:
        hook(run.clients[0], id, raw)
    else:
        run.clients[0].plant_record(id, raw)  # type: ignore[attr-defined]  # bound only where it exists


def bind_unknown_field(run: Run, id: int) -> tuple[Any, ...] | None:
    return (IDS[id],) if _unfound(run, id) else None


def step_unknown_field(model: Model, id: str) -> None:
    job = model.jobs[id]
    job.fields["extra"] = {**job.fields["extra"], "later": {"v": [1]}}


def call_unknown_field(run: Run, id: str) -> Any:
    """A newer version of orch wrote the record, with a field more. Answers (what get_job said), if that is no job."""
    job = run.clients[0].get_job(id)
    if not isinstance(job, Job):
        return (job,)
    job.extra["later"] = {"v": [1]}
    call_plant(run, id, encode_record(job).encode())
    return None


def call_reopen(run: Run) -> Any:
    reopen = run.store.reopen  # type: ignore[attr-defined]  # bound only where it exists
    run.clients[0] = reopen(run.clients[0])
    if len(run.clients) > 1:
        run.clients[1] = reopen(run.clients[1])
    return call_look(run)


def step_look(model: Model) -> Any:
    jobs = model.list_jobs(None, 2000)
    return model.counts(), jobs


def call_look(run: Run) -> Any:
    try:
        listed: Any = run.clients[-1].list_jobs(limit=2000)
    except Exception as error:
        listed = error
    try:
        counts: Any = run.clients[0].counts()
    except Exception as error:
        counts = error
    return counts, listed


def scribble(*values: Any) -> None:
    """What a caller may do to what is his: write into values that he handed in or was handed."""
    for value in values:
        if isinstance(value, tuple):
            scribble(*value)
        elif isinstance(value, Job):
            value.dag_path = value.error = blame.TOUCHED
            value.priority, value.status, value.attempts, value.lease = 7, SUCCESS, 77, None
            scribble(value.params, value.extra, value.result)
        elif isinstance(value, dict):
            scribble(*value.values())
            value[blame.TOUCHED] = 1
        elif isinstance(value, list):
            scribble(*value)
            value.append(blame.TOUCHED)


def call_touch(run: Run) -> None:
    scribble(run.last_in, run.last_out)
    run.last_in = run.last_out = None


def bind_touch(run: Run) -> tuple[Any, ...] | None:
    return () if run.last_in is not None or run.last_out is not None else None


def unfit(**fields: Any) -> Job:
    """A job "z" with fields that were set, unchecked, to what they must not be."""
    job = job_of({**_PLAIN, "id": "z"})
    job.__dict__.update(fields)
    return job


#: Bad calls: what is wrong, the call, and what the message must show. The only stored job that they name is "a".
BAD_CALLS: tuple[tuple[str, str, str], ...] = (
    ("an empty id", "queue.enqueue(unfit(id=''))", "''"),
    ("a control character in an id", "queue.enqueue(unfit(id='z\\n'))", r"z\n"),
    ("an id of 201 characters", "queue.enqueue(unfit(id='z' * 201))", "zzz"),
    ("a job that runs", "queue.enqueue(unfit(status=JobStatus.RUNNING))", "running"),
    ("a job that is finished", "queue.enqueue(unfit(status=JobStatus.SUCCESS))", "success"),
    ("a job that is to be retried", "queue.enqueue(unfit(status=JobStatus.RETRY))", "retry"),
    ("a status that is a text", "queue.enqueue(unfit(status='pending'))", "'pending'"),
    ("a time without a zone", "queue.enqueue(unfit(enqueued_at='2027-01-15T08:00:00'))", "08:00:00"),
    ("a time that is none", "queue.enqueue(unfit(not_before='soon'))", "soon"),
    ("priority 1001", "queue.enqueue(unfit(priority=1001))", "1001"),
    ("a negative number of retries", "queue.enqueue(unfit(max_retries=-1))", "-1"),
    ("NaN in params", "queue.enqueue(unfit(params={'x': float('nan')}))", "nan"),
    ("a job that has started", "queue.enqueue(unfit(started_at='2027-01-15T08:00:00Z'))", "2027-01-15T08:00:00Z"),
    ("no job", "queue.enqueue(None)", "None"),
    ("one bad job among good ones", "queue.enqueue_many([unfit(), unfit(priority=5000)])", "5000"),
    ("a lease of 0 s", "queue.dequeue('w1', lease_s=0)", "0"),
    ("a lease of NaN s", "queue.dequeue('w1', lease_s=float('nan'))", "nan"),
    ("a negative wait", "queue.dequeue('w1', wait_s=-1)", "-1"),
    ("a control character in a worker id", "queue.dequeue('w\\n')", r"w\n"),
    ("a negative number of jobs", "queue.dequeue_many(-1)", "-1"),
    ("an unknown status", "queue.update_status('a', 'gone')", "gone"),
    ("a report that a job runs", "queue.update_status('a', JobStatus.RUNNING)", "a"),
    ("NaN in a result", "queue.update_status('a', JobStatus.SUCCESS, result={'x': float('nan')})", "nan"),
    ("keys that are no text", "queue.update_status('a', JobStatus.SUCCESS, result={1: 2})", "1"),
    ("a result that is no object", "queue.update_status('a', JobStatus.SUCCESS, result=[7])", "[7]"),
    ("a result that is no JSON", "queue.update_status('a', JobStatus.SUCCESS, result={'x': {7}})", "{7}"),
    ("an error that is no text", "queue.update_status('a', JobStatus.FAILED, error=5)", "5"),
    ("a delay with a success", "queue.update_status('a', JobStatus.SUCCESS, delay_s=3)", "3"),
    ("a lease that is none", "queue.update_status('a', JobStatus.SUCCESS, lease=7)", "7"),
    ("a lease of another job", "queue.update_status('a', JobStatus.SUCCESS, lease=Lease('z', 1, '', 0))", "z"),
    ("a negative limit", "queue.list_jobs(limit=-1)", "-1"),
    ("a list of an unknown status", "queue.list_jobs('pending')", "'pending'"),
    ("a negative number of hours", "queue.purge(-1)", "-1"),
    ("NaN hours", "queue.purge(float('nan'))", "nan"),
    ("an empty id to look up", "queue.get_job('')", "''"),
)

#: More of them: a token has one character for each argument, so they are an operation of their own.
MORE_BAD_CALLS: tuple[tuple[str, str, str], ...] = (
    ("a long id to look up", "queue.get_job('z' * 201)", "zzz"),
    ("a long id to report about", "queue.update_status('z' * 201, JobStatus.SUCCESS)", "zzz"),
    ("an id of bytes", "queue.update_status(b'a', JobStatus.SUCCESS)", "b'a'"),
    ("an empty id to cancel", "queue.cancel('')", "''"),
    ("an empty id to requeue", "queue.requeue('')", "''"),
    ("a time-out of 0 s", "queue.enqueue(unfit(timeout_s=0))", "0"),
    ("a time-out of NaN s", "queue.enqueue(unfit(timeout_s=float('nan')))", "nan"),
    ("a priority that is no whole number", "queue.enqueue(unfit(priority=0.5))", "0.5"),
    ("priority -1001", "queue.enqueue(unfit(priority=-1001))", "-1001"),
    ("params that are no object", "queue.enqueue(unfit(params=[7]))", "[7]"),
    ("an unknown field with a known name", "queue.enqueue(unfit(extra={'status': 7}))", "status"),
    ("a path that is no text", "queue.enqueue(unfit(dag_path=7))", "7"),
    ("a tenant of 201 characters", "queue.enqueue(unfit(tenant_id='z' * 201))", "zzz"),
    ("a job that has finished", "queue.enqueue(unfit(finished_at='2027-01-15T08:00:00Z'))", "2027-01-15T08:00:00Z"),
    ("a job that failed -1 times", "queue.enqueue(unfit(failures=-1))", "-1"),
    ("nobody among good ones", "queue.enqueue_many([unfit(), None])", "None"),
    ("a worker id of 201 characters", "queue.dequeue('w' * 201)", "www"),
    ("a number of jobs that is a text", "queue.dequeue_many('2')", "'2'"),
    ("a lease time that is a text", "queue.dequeue('w1', lease_s='2')", "'2'"),
    ("a negative delay", "queue.update_status('a', JobStatus.RETRY, delay_s=-1)", "-1"),
    ("a delay of NaN s", "queue.update_status('a', JobStatus.RETRY, delay_s=float('nan'))", "nan"),
    ("a result that is too deep", "queue.update_status('a', JobStatus.SUCCESS, result=deep(65))", "64"),
    ("a result of more than 1 MiB", "queue.update_status('a', JobStatus.SUCCESS, result={'x': 'z' * 2**20})", "10485"),
    ("a limit that is a text", "queue.list_jobs(limit='1')", "'1'"),
    ("a count of an unknown status", "queue.count('pending')", "'pending'"),
    ("hours that are a text", "queue.purge('1')", "'1'"),
    ("no hours", "queue.purge(None)", "None"),
    ("no lease to extend", "queue.extend_lease(None)", "None"),
    ("no lease among those to extend", "queue.extend_many([None])", "None"),
    ("no lease to record under", "queue.record_progress(None, 't1', 1)", "None"),
    ("a task without a name", "queue.record_progress(Lease('a', 1, '', 0), '', 1)", "''"),
    ("an output that is NaN", "queue.record_progress(Lease('a', 1, '', 0), 't1', float('nan'))", "nan"),
    ("a schedule without a key", "queue.advance_schedule('', None, '2027-01-15T08:00:00Z')", "''"),
    ("a tick that is none", "queue.advance_schedule('k1', None, 'soon')", "soon"),
    ("no worker to announce", "queue.announce(None)", "None"),
    ("no report", "queue.exchange([None], 0)", "None"),
)
_BAD_NEEDS = {
    "cancel": "operator",
    "requeue": "requeue",
    "extend_lease": "extend",
    "extend_many": "extend",
    "record_progress": "progress",
    "advance_schedule": "cursors",
    "announce": "workers",
    "exchange": "lease",
}


def bind_bad(run: Run, n: int) -> tuple[Any, ...] | None:
    """A bad call of a verb that the queue has."""
    verb = MORE_BAD_CALLS[n][1].removeprefix("queue.").partition("(")[0]
    if verb in ("exchange", "extend_many") and not run.machine.has(verb):
        return None  # a loop over the single form, which does not look at what it is given
    needs = _BAD_NEEDS.get(verb)
    return MORE_BAD_CALLS[n] if needs is None or needs in run.machine.capabilities else None


def deep(levels: int) -> dict[str, Any]:
    """An object of so many levels."""
    value: dict[str, Any] = {}
    for _ in range(levels):
        value = {"x": value}
    return value


@cache
def bad_call(text: str) -> Callable[[PersistentQueue], object]:
    """A bad call as a function; its text is also what a report shows."""
    names = {"unfit": unfit, "deep": deep, "JobStatus": JobStatus, "Lease": Lease}
    made: Callable[[PersistentQueue], object] = eval(f"lambda queue: {text}", names)  # noqa: S307 - our own text, above
    return made


# -- many jobs, for what is done in slices and up to a number ---------------------------------------------------------

CROWDS = (101, 1001)  # one more than a dequeue takes back, than a list has, and than a slice
_crowds: dict[int, list[tuple[dict[str, Any], int, int | None]]] = {}


def crowd_job(n: int) -> Job:
    """One of many plain jobs: "m0", "m1", ..."""
    return job_of({**_PLAIN, "id": f"m{n}"})


def bind_crowd(run: Run, size: int) -> tuple[Any, ...] | None:
    if "m0" in run.model.jobs:
        return None
    n = CROWDS[size]
    if n not in _crowds:
        _crowds[n] = [({**_PLAIN, "id": f"m{i}"}, _START_US, None) for i in range(n)]
    return n, _crowds[n]


def call_crowd(run: Run, n: int, specs: Any) -> Any:
    run.last_in = [crowd_job(i) for i in range(n)]
    if run.machine.has("enqueue_many"):
        return run.clients[0].enqueue_many(run.last_in)
    return sum(run.clients[0].enqueue(job) for job in run.last_in)


def bind_take_crowd(run: Run, n: int, lease: int) -> tuple[Any, ...]:
    return (2000, 60, 1000)[n], LEASES[lease], _LEASES_US[lease]


def call_take_crowd(run: Run, n: int, lease_s: float | None, lease_us: int | None) -> Any:
    if run.machine.has("dequeue_many"):
        return run.clients[0].dequeue_many(n, lease_s=lease_s)
    jobs: list[Job] = []
    while len(jobs) < n and (job := run.clients[0].dequeue(lease_s=lease_s)) is not None:
        jobs.append(job)
    return jobs


def bind_settle_crowd(run: Run, status: int) -> tuple[Any, ...] | None:
    jobs = run.model.jobs
    leases = [lease for lease in run.crowd if lease.job_id in jobs and jobs[lease.job_id].token == lease.token]
    return (REPORTED[status], leases) if leases else None


def step_settle_crowd(model: Model, status: JobStatus, leases: list[Lease]) -> int:
    for lease in leases:
        model.report(lease.job_id, status, None, None, lease.token, None)
    return len(leases)


def call_settle_crowd(run: Run, status: JobStatus, leases: list[Lease]) -> Any:
    for lease in leases:
        run.watch.settled(lease.job_id)
    if run.machine.has("exchange"):
        return run.clients[0].exchange([Report(lease.job_id, status, lease=lease) for lease in leases], 0)[0]
    return [run.clients[0].update_status(lease.job_id, status, lease=lease) for lease in leases]


def bind_extend_crowd(run: Run, lease: int) -> tuple[Any, ...] | None:
    bound = bind_settle_crowd(run, 0)
    return None if bound is None else (bound[1], LEASES[lease], _LEASES_US[lease])


def step_extend_crowd(model: Model, leases: list[Lease], lease_s: float | None, lease_us: int | None) -> int:
    for lease in leases:
        model.extend(lease.job_id, lease.token, lease_us)
    return len(leases)


def call_extend_crowd(run: Run, leases: list[Lease], lease_s: float | None, lease_us: int | None) -> Any:
    if run.machine.has("extend_many"):
        answers: list[Any] = run.clients[0].extend_many(leases, lease_s)
    else:
        answers = [run.clients[0].extend_lease(lease, lease_s) for lease in leases]
    for answer in answers:
        if isinstance(answer, Lease):
            run.watch.extended(answer)
    return answers


# -- a client that dies inside a verb ---------------------------------------------------------------------------------

DEATHS = ("enqueue", "dequeue", "SUCCESS", "RETRY", "give back", "cancel", "requeue", "purge")


def bind_die(run: Run, id: int, verb: int, place: int) -> tuple[Any, ...] | None:
    name = DEATHS[verb]
    lease = run.lease(id, 0)
    capabilities = run.machine.capabilities
    if name in ("SUCCESS", "RETRY") and "lease" not in capabilities:
        if "operator" not in capabilities and run.model.place(IDS[id]) not in (HELD, EXPIRED):
            return None  # whoever runs the job reports so
    elif name in ("SUCCESS", "RETRY", "give back") and lease is None:
        return None
    if name == "purge" and bind_purge(run, 0) is None:
        return None
    if (name == "requeue" and "requeue" not in capabilities) or (name == "cancel" and "operator" not in capabilities):
        return None
    return IDS[id], name, place, lease


def step_die(model: Model, id: str, verb: str, place: int, lease: Lease | None) -> Any:
    """The model before and after, and what each looks like; the judge finds out which it is."""
    before = model.clone()
    _step_of(model, id, verb, lease)
    return before, [_looks(seen) for seen in (before, model)]


def _step_of(model: Model, id: str, verb: str, lease: Lease | None) -> Any:
    """One of these verbs on the model; its answer as `told` tells a queue's."""
    if verb == "enqueue":
        return model.enqueue([({**_PLAIN, "id": id}, _START_US, None)]) == 1
    if verb == "dequeue":
        delivered = model.dequeue(1, "w1", us(2))
        return delivered[0].fields["id"] if delivered else None
    if verb == "purge":
        return model.purge(0)
    if verb == "requeue":
        answer = model.requeue(id)
    elif verb == "cancel":
        answer = model.report(id, FAILED, "cancelled", None, None, None)
    else:
        answer = model.report(id, _SETTLES[verb], None, None, None if lease is None else lease.token, None)
    return answer.fields["id"] if isinstance(answer, ModelJob) else answer.__name__


def told(answer: Any) -> Any:
    """An answer of one of these verbs, as far as two orders of two of them can be told apart by it."""
    if isinstance(answer, Exception):
        return type(answer).__name__
    return answer.id if isinstance(answer, Job) else answer


def _looks(model: Model) -> tuple[Any, list[ModelJob], tuple[int, int]]:
    """What can be seen of the jobs, as `_seen` sees it."""
    jobs = model.list_jobs(None, 2000)  # which may find a record unreadable
    counts, ready, delayed, _, _ = model.stats()
    return counts, jobs, (ready, delayed)


def _seen(run: Run) -> Any:
    """Counts, a whole list, and how many are ready and delayed if that is told."""
    queue = run.clients[0]
    listed = queue.list_jobs(limit=2000)
    stats = queue.stats() if "stats" in run.machine.capabilities else None
    run.watch.purged()
    return queue.counts(), listed, None if stats is None else (stats.ready, stats.delayed)


_SETTLES = {"SUCCESS": SUCCESS, "RETRY": RETRY, "give back": PENDING}


def _act(run: Run, id: str, verb: str, lease: Lease | None) -> Callable[[PersistentQueue], object]:
    def act(queue: PersistentQueue) -> object:
        if verb == "enqueue":
            return queue.enqueue(job_of({**_PLAIN, "id": id}))
        if verb == "dequeue":
            return queue.dequeue("w1", lease_s=2)
        if verb == "cancel":
            return queue.cancel(id)
        if verb == "requeue":
            return queue.requeue(id)
        if verb == "purge":
            return queue.purge(0)
        return queue.update_status(id, _SETTLES[verb], lease=lease)

    run.watch.settled(id)
    run.watch.requeued(id)
    return act


def call_die(run: Run, id: str, verb: str, place: int, lease: Lease | None) -> Any:
    die = run.store.die  # type: ignore[attr-defined]  # bound only where it exists
    run.clients[0], died = die(run.clients[0], place, _act(run, id, verb, lease))
    return (died, *_seen(run))


def bind_meet(run: Run, id: int, verb: int, place: int, id2: int, verb2: int) -> tuple[Any, ...] | None:
    first, second = bind_die(run, id, verb, place), bind_die(run, id2, verb2, 0)
    if first is None or second is None:
        return None
    values = (*first, second[0], second[1], second[3])
    outcomes = [(answers, _facts(model)) for model, answers, _ in step_meet(run.model.clone(), *values)]
    (answers, (seen, order)), (answers2, (seen2, order2)) = outcomes
    if answers == answers2 and seen == seen2 and order != order2:
        return None  # nobody can tell which of them was first, and it matters later
    return values


def _facts(model: Model) -> tuple[Any, Any]:
    """What can be seen of a model's jobs, and what decides later."""
    counts, jobs, numbers = _looks(model)
    settled = {id: job.settled for id, job in model.jobs.items()}
    order = [job.fields["id"] for job in model.clone().dequeue(1000, "", 1)]
    return (counts, [job.fields for job in jobs], numbers), (settled, order)


def step_meet(
    model: Model, id: str, verb: str, place: int, lease: Lease | None, id2: str, verb2: str, lease2: Lease | None
) -> Any:
    """Both orders: the model, the two answers, what it looks like."""
    other = model.clone()
    first = _step_of(model, id, verb, lease), _step_of(model, id2, verb2, lease2)
    second = _step_of(other, id2, verb2, lease2), _step_of(other, id, verb, lease)
    return [(model, first, _looks(model)), (other, second[::-1], _looks(other))]


def call_meet(
    run: Run, id: str, verb: str, place: int, lease: Lease | None, id2: str, verb2: str, lease2: Lease | None
) -> Any:
    meet = run.store.meet  # type: ignore[attr-defined]  # bound only where it exists
    answers = meet(run.clients[0], place, _act(run, id, verb, lease), _act(run, id2, verb2, lease2))
    return tuple(map(told, answers)), _seen(run)


def bind_trouble(run: Run, id: int, verb: int) -> tuple[Any, ...] | None:
    bound = bind_die(run, id, verb, 0)
    return None if bound is None else (bound[0], bound[1], bound[3])


def step_trouble(model: Model, id: str, verb: str, lease: Lease | None) -> Any:
    """What it looks like if nothing happens, as it should be; and the model and its looks if it does."""
    other = model.clone()
    _step_of(other, id, verb, lease)
    return _looks(model), other, _looks(other)


def call_trouble(run: Run, hook: str, id: str, verb: str, lease: Lease | None) -> Any:
    trouble = getattr(run.store, hook)
    try:
        answer = trouble(run.clients[0], _act(run, id, verb, lease))
    except Exception as error:
        answer = error
    return answer, _seen(run)


# -- the table ---------------------------------------------------------------------------------------------------------


def _needs(*names: str) -> frozenset[str]:
    return frozenset(names)


def _report_text(script: Any, id: Any, status: Any, error: Any, result: Any, lease: Any, delay_s: Any) -> str:
    parts = [repr(id), f"JobStatus.{status.name}"]
    parts += [f"error={script.text(error)}"] if error is not None else []
    parts += [f"result={result!r}"] if result is not None else []
    parts += [f"lease={script.lease(lease)}"] if lease is not None else []
    parts += [f"delay_s={delay_s!r}"] if delay_s is not None else []
    return f"queue.update_status({', '.join(parts)})"


def _claim_text(verb: str, first: str, worker: str, lease_s: float | None) -> str:
    parts = [first] if first else []
    parts += [repr(worker)] if worker else []
    parts += [f"lease_s={lease_s!r}"] if lease_s is not None else []
    return f"{verb}({', '.join(parts)})"


OPERATIONS: tuple[Operation, ...] = (
    # the two that everything else needs come first
    Operation(
        "enqueue",
        "E",
        (4, len(PRIORITIES), 3, 5, 4),
        bind_enqueue,
        lambda model, id, specs: model.enqueue(specs),
        call_enqueue,
        judge_enqueue,
        lambda script, id, specs: f"queue.enqueue({script.job(specs[0][0])})",
        weight=10,
        rare=True,
        promise="Q3",
    ),
    Operation(
        "dequeue",
        "D",
        (3, 4),
        bind_dequeue,
        lambda model, worker, lease_s, lease_us: model.dequeue(1, worker, lease_us),
        call_dequeue,
        judge_delivery,
        lambda script, worker, lease_s, _: _claim_text("queue.dequeue", "", worker, lease_s),
        weight=12,
        on_job=False,
        promise="Q2",
        fixed=True,
    ),
    Operation(
        "report",
        "R",
        (4, 4, 4, 4, len(CONTENTS)),
        bind_report,
        step_report,
        call_report,
        judge_report,
        _report_text,
        weight=24,
        needs=_needs("lease"),
        leased=(0,),
        rare=True,
    ),
    Operation(
        "advance",
        "A",
        (len(FORWARD),),
        lambda run, n: _FORWARD_US[n],
        lambda model, seconds, seconds_us: model.advance(seconds_us),
        call_advance,
        judge_value,
        lambda script, seconds, _: f"clock.advance({seconds!r})",
        weight=22,
        on_job=False,
        plain=True,
        promise="Q5",
        fixed=True,
    ),
    Operation(
        "operator's report",
        "O",
        (4, 4, 4, len(CONTENTS)),
        bind_operator,
        step_report,
        call_report,
        judge_report,
        _report_text,
        weight=4,
        rare=True,
    ),
    Operation(
        "cancel",
        "K",
        (4,),
        bind_id,
        lambda model, id: model.report(id, FAILED, "cancelled", None, None, None),
        lambda run, id: run.clients[0].cancel(id),
        judge_report,
        lambda script, id: f"queue.cancel({id!r})",
        weight=3,
        needs=_needs("operator"),
        promise="Q7",
    ),
    Operation(
        "requeue",
        "Q",
        (4,),
        bind_id,
        lambda model, id: model.requeue(id),
        lambda run, id: run.clients[0].requeue(id),
        judge_requeue,
        lambda script, id: f"queue.requeue({id!r})",
        weight=4,
        needs=_needs("requeue"),
        promise="Q7",
    ),
    Operation(
        "extend_lease",
        "X",
        (4, 4, 4),
        bind_extend,
        lambda model, id, lease, lease_s, lease_us: model.extend(id, lease.token, lease_us),
        lambda run, id, lease, lease_s, lease_us: run.clients[0].extend_lease(lease, lease_s),
        judge_lease,
        lambda script, id, lease, lease_s, _: _claim_text("queue.extend_lease", script.lease(lease), "", lease_s),
        weight=6,
        needs=_needs("extend", "lease"),
        leased=(0,),
        promise="Q5",
    ),
    Operation(
        "purge",
        "P",
        (4,),
        bind_purge,
        lambda model, hours, hours_us: model.purge(hours_us),
        call_purge,
        judge_value,
        lambda script, hours, _: f"queue.purge({hours!r})",
        weight=4,
        on_job=False,
        plain=True,
        promise="Q10",
    ),
    Operation(
        "get_job",
        "t",
        (4,),
        bind_id,
        lambda model, id: model.get(id),
        lambda run, id: run.clients[-1].get_job(id),
        judge_job,
        lambda script, id: f"queue.get_job({id!r})",
        weight=4,
    ),
    Operation(
        "list_jobs",
        "l",
        (6, 4),
        lambda run, status, limit: (FILTERS[status], LIMITS[limit]),
        lambda model, status, limit: [] if status is RETRY else model.list_jobs(status, limit),
        lambda run, status, limit: run.clients[0].list_jobs(status, limit),
        judge_listing,
        lambda script, status, limit: script.listing(status, limit),
        weight=3,
        on_job=False,
        needs=_needs("listing"),
        promise="Q9",
        fixed=True,
    ),
    Operation(
        "counts",
        "c",
        (),
        lambda run: (),
        lambda model: model.counts(),
        lambda run: run.clients[0].counts(),
        judge_counts,
        lambda script: "queue.counts()",
        weight=5,
        on_job=False,
        promise="Q9",
        fixed=True,
    ),
    Operation(
        "count",
        "n",
        (6,),
        lambda run, status: (FILTERS[status],),
        lambda model, status: sum(model.counts().values()) if status is None else model.counts().get(status, 0),
        lambda run, status: run.clients[0].count(status),
        judge_counts,
        lambda script, status: f"queue.count({'' if status is None else f'JobStatus.{status.name}'})",
        weight=4,
        on_job=False,
        promise="Q9",
        fixed=True,
    ),
    Operation(
        "look",
        "L",
        (),
        lambda run: (),
        step_look,
        call_look,
        judge_look,
        lambda script: "queue.list_jobs()",
        weight=1,
        on_job=False,
        needs=_needs("listing"),
        promise="Q9",
        fixed=True,
    ),
    Operation(
        "stats",
        "s",
        (),
        lambda run: (),
        lambda model: model.stats(),
        lambda run: run.clients[0].stats(),
        judge_stats,
        lambda script: "queue.stats()",
        weight=2,
        on_job=False,
        needs=_needs("stats"),
        promise="Q9",
        fixed=True,
    ),
    Operation(
        "workers",
        "w",
        (),
        bind_workers,
        lambda model: model.rows(),
        lambda run: run.clients[0].workers(),
        judge_workers,
        lambda script: "queue.workers()",
        weight=2,
        on_job=False,
        needs=_needs("workers"),
        promise="W8",
    ),
    Operation(
        "announce",
        "a",
        (2, 2),
        bind_announce,
        lambda model, worker, info: model.announce(worker, info),
        call_announce,
        judge_value,
        lambda script, worker, info: (
            f"queue.announce(WorkerInfo({worker!r}, host={info[0]!r}, pid={info[1]}, done={info[2]}, "
            f"slots={info[3]}, jobs=('x',)))"
        ),
        weight=1,
        on_job=False,
        needs=_needs("workers"),
        plain=True,
        promise="W8",
        fixed=True,
    ),
    Operation(
        "record_progress",
        "G",
        (4, 4, 2, 3),
        bind_progress,
        lambda model, id, lease, task, output: model.record_progress(id, lease.token, task, output),
        lambda run, id, lease, task, output: run.clients[0].record_progress(lease, task, fresh(output)),
        judge_value,
        lambda script, id, lease, task, output: f"queue.record_progress({script.lease(lease)}, {task!r}, {output!r})",
        weight=2,
        needs=_needs("progress", "lease"),
        leased=(0,),
        plain=True,
        promise="D5",
    ),
    Operation(
        "progress",
        "g",
        (4,),
        bind_read_progress,
        step_read_progress,
        lambda run, id: run.clients[0].progress(id),
        judge_value,
        lambda script, id: f"queue.progress({id!r})",
        weight=2,
        needs=_needs("progress"),
        promise="D5",
    ),
    Operation(
        "schedule_cursor",
        "S",
        (2,),
        lambda run, key: (KEYS[key],),
        lambda model, key: model.cursors.get(key),
        lambda run, key: run.clients[-1].schedule_cursor(key),
        judge_value,
        lambda script, key: f"queue.schedule_cursor({key!r})",
        weight=2,
        on_job=False,
        needs=_needs("cursors"),
        plain=True,
        promise="S2",
        fixed=True,
    ),
    Operation(
        "advance_schedule",
        "T",
        (2, 4, 3),
        bind_advance_schedule,
        step_advance_schedule,
        lambda run, key, expected, tick: run.clients[0].advance_schedule(key, expected, tick),
        judge_value,
        lambda script, key, expected, tick: f"queue.advance_schedule({key!r}, {expected!r}, {tick!r})",
        weight=2,
        on_job=False,
        needs=_needs("cursors"),
        plain=True,
        promise="S2",
        fixed=True,
    ),
    Operation(
        "quarantined",
        "q",
        (),
        lambda run: (),
        lambda model: list(model.quarantine.items()),
        lambda run: [(found.job_id, found.raw) for found in run.clients[-1].quarantined()],
        judge_value,
        lambda script: "[(found.job_id, found.raw) for found in queue.quarantined()]",
        weight=2,
        on_job=False,
        needs=_needs("quarantine"),
        promise="Q13",
        fixed=True,
    ),
    # bulk forms, only where the class has its own
    Operation(
        "enqueue_many",
        "M",
        (2, 4, 4, 4, len(PRIORITIES), 3, 5, 4),
        bind_enqueue_many,
        lambda model, id, specs: model.enqueue(specs),
        call_enqueue_many,
        judge_enqueue,
        lambda script, id, specs: f"queue.enqueue_many([{', '.join(script.job(fields) for fields, _, _ in specs)}])",
        verb="enqueue_many",
        singles=lambda n, id1, id2, id3, priority, retries, delay, shape: [
            ("E", (id1, priority, retries, delay, shape)),
            *[("E", (id, 0, 0, 0, 0)) for id in (id2, id3)[: n + 1]],
        ],
        weight=2,
        rare=True,
        promise="Q3",
    ),
    Operation(
        "dequeue_many",
        "N",
        (4, 3, 4),
        bind_dequeue_many,
        lambda model, n, worker, lease_s, lease_us: model.dequeue(n, worker, lease_us),
        call_dequeue_many,
        judge_deliveries,
        lambda script, n, worker, lease_s, _: _claim_text("queue.dequeue_many", str(n), worker, lease_s),
        on_job=False,
        verb="dequeue_many",
        singles=lambda n, worker, lease: [("D", (worker, lease))] * (2, 1, 3, 0)[n],
        weight=2,
        promise="Q2",
        fixed=True,
    ),
    Operation(
        "exchange",
        "x",
        (3, 4, 4, 4, 4, 4, 4, 3, 4),
        bind_exchange,
        step_exchange,
        lambda run, reports, n, worker, lease_s, lease_us: run.clients[_CLIENT[worker]].exchange(
            reports, n, worker, lease_s=lease_s
        ),
        judge_exchange,
        lambda script, reports, n, worker, lease_s, _: _claim_text(
            "queue.exchange", f"[{', '.join(map(script.report, reports))}], {n}", worker, lease_s
        ),
        weight=4,
        on_job=False,
        needs=_needs("lease"),
        verb="exchange",
        singles=lambda n, id1, age1, status1, id2, age2, status2, worker, lease: [
            ("R", (id1, age1, status1, 0, status1)),
            ("R", (id2, age2, status2, 0, status2)),
            *[("D", (worker, lease))] * n,
        ],
        leased=(1, 4),
    ),
    Operation(
        "extend_many",
        "Y",
        (4, 4, 4, 4, 4),
        bind_extend_many,
        lambda model, leases, lease_s, lease_us: [
            model.extend(lease.job_id, lease.token, lease_us) for lease in leases
        ],
        lambda run, leases, lease_s, lease_us: run.clients[0].extend_many(leases, lease_s),
        judge_leases,
        lambda script, leases, lease_s, _: _claim_text(
            "queue.extend_many", f"[{', '.join(map(script.lease, leases))}]", "", lease_s
        ),
        weight=2,
        on_job=False,
        needs=_needs("extend", "lease"),
        verb="extend_many",
        singles=lambda id1, age1, id2, age2, lease: [("X", (id1, age1, lease)), ("X", (id2, age2, lease))],
        promise="Q5",
        leased=(0, 2),
    ),
    Operation(
        "schedule_cursors",
        "u",
        (2,),
        lambda run, first: (KEYS[first:] + KEYS[:first],),
        lambda model, keys: [model.cursors.get(key) for key in keys],
        lambda run, keys: run.clients[-1].schedule_cursors(list(keys)),
        judge_value,
        lambda script, keys: f"queue.schedule_cursors({list(keys)!r})",
        weight=1,
        on_job=False,
        needs=_needs("cursors"),
        verb="schedule_cursors",
        promise="S2",
        fixed=True,
    ),
    Operation(
        "advance_schedules",
        "v",
        (2, 4, 3, 2, 4, 3),
        bind_advance_schedules,
        lambda model, moves: [step_advance_schedule(model, move.key, move.expected, move.tick) for move in moves],
        lambda run, moves: run.clients[0].advance_schedules(list(moves)),
        judge_value,
        lambda script, moves: script.moves(moves),
        weight=1,
        on_job=False,
        needs=_needs("cursors"),
        verb="advance_schedules",
        singles=lambda key1, expected1, tick1, key2, expected2, tick2: [
            ("T", (key1, expected1, tick1)),
            ("T", (key2, expected2, tick2)),
        ],
        promise="S2",
        fixed=True,
    ),
    # faults
    Operation(
        "lost dequeue",
        "d",
        (3, 4),
        bind_dequeue,
        lambda model, worker, lease_s, lease_us: model.dequeue(1, worker, lease_us),
        call_dequeue,
        judge_delivery,
        lambda script, worker, lease_s, _: _claim_text("queue.dequeue", "", worker, lease_s),
        weight=2,
        on_job=False,
        needs=_needs("lease"),
        promise="Q2",
        fixed=True,
    ),
    Operation(
        "turn back",
        "B",
        (4,),
        lambda run, n: _BACK_US[n],
        lambda model, seconds, seconds_us: model.advance(seconds_us),
        call_advance,
        judge_value,
        lambda script, seconds, _: f"clock.advance({seconds!r})",
        weight=1,
        on_job=False,
        plain=True,
        promise="Q5",
        fixed=True,
    ),
    Operation(
        "unreadable record",
        "U",
        (4, 4),
        bind_unreadable,
        lambda model, id, raw: model.plant(id, raw),
        call_plant,
        judge_value,
        lambda script, id, raw: script.plant(id, repr(raw)),
        weight=2,
        needs=_needs("quarantine"),
        hook="plant_record",
        plain=True,
        promise="Q13",
    ),
    Operation(
        "unknown field",
        "V",
        (4,),
        bind_unknown_field,
        step_unknown_field,
        call_unknown_field,
        judge_unknown_field,
        lambda script, id: script.unknown_field(id),
        weight=1,
        needs=_needs("quarantine"),
        hook="plant_record",
        plain=True,
        promise="Q13",
    ),
    Operation(
        "caller's change",
        "J",
        (),
        bind_touch,
        lambda model: None,
        call_touch,
        judge_value,
        lambda script: script.touch(),
        weight=3,
        on_job=False,
        plain=True,
        promise="Q11",
    ),
    Operation(
        "open again",
        "Z",
        (),
        lambda run: (),
        step_look,
        call_reopen,
        judge_reopen,
        lambda script: script.reopen(),
        weight=2,
        on_job=False,
        hook="reopen",
        promise="Q14",
        fixed=True,
    ),
    Operation(
        "bad input",
        "F",
        (len(BAD_CALLS),),
        lambda run, n: BAD_CALLS[n],
        lambda model, name, text, shows: InvalidInput,
        lambda run, name, text, shows: bad_call(text)(run.clients[0]),
        judge_refusal,
        lambda script, name, text, shows: text,
        weight=2,
        on_job=False,
        needs=_needs("refusal"),
        promise="Q12",
        fixed=True,
    ),
    Operation(
        "more bad input",
        "b",
        (len(MORE_BAD_CALLS),),
        bind_bad,
        lambda model, name, text, shows: InvalidInput,
        lambda run, name, text, shows: bad_call(text)(run.clients[0]),
        judge_refusal,
        lambda script, name, text, shows: text,
        weight=2,
        on_job=False,
        needs=_needs("refusal"),
        promise="Q12",
    ),
    Operation(
        "long error",
        "r",
        (4, 2),
        bind_long_error,
        step_report,
        call_report,
        judge_long_error,
        _report_text,
        weight=1,
        needs=_needs("lease", "refusal"),
        leased=(0,),
        promise="Q12",
    ),
    # many jobs; drivers choose these in traces of their own, because they are slow
    Operation(
        "crowd",
        "C",
        (2,),
        bind_crowd,
        lambda model, n, specs: model.enqueue(specs),
        call_crowd,
        judge_crowd_enqueued,
        lambda script, n, specs: script.crowd(n),
        weight=0,
        on_job=False,
        promise="Q3",
    ),
    Operation(
        "crowd taken",
        "H",
        (3, 4),
        bind_take_crowd,
        lambda model, n, lease_s, lease_us: model.dequeue(n, "", lease_us),
        call_take_crowd,
        judge_deliveries,
        lambda script, n, lease_s, _: _claim_text("queue.dequeue_many", str(n), "", lease_s),
        weight=0,
        on_job=False,
        needs=_needs("lease"),
        promise="Q2",
    ),
    Operation(
        "crowd settled",
        "I",
        (2,),
        bind_settle_crowd,
        step_settle_crowd,
        call_settle_crowd,
        judge_crowd,
        lambda script, status, leases: script.crowd_settled(status),
        weight=0,
        on_job=False,
        needs=_needs("lease"),
    ),
    Operation(
        "crowd extended",
        "e",
        (4,),
        bind_extend_crowd,
        step_extend_crowd,
        call_extend_crowd,
        judge_crowd,
        lambda script, leases, lease_s, _: script.crowd_extended(lease_s),
        weight=0,
        on_job=False,
        needs=_needs("lease", "extend"),
    ),
    Operation(
        "client dies",
        "k",
        (4, len(DEATHS), 6),
        bind_die,
        step_die,
        call_die,
        judge_death,
        lambda script, id, verb, place, lease: script.die(id, verb, place, lease),
        weight=16,
        hook="die",
        promise="Q1",
    ),
    Operation(
        "clients meet",
        "i",
        (4, len(DEATHS), 6, 4, len(DEATHS)),
        bind_meet,
        step_meet,
        call_meet,
        judge_meeting,
        lambda script, id, verb, place, lease, id2, verb2, lease2: script.meet(
            place, (id, verb, lease), (id2, verb2, lease2)
        ),
        weight=30,
        hook="meet",
    ),
    Operation(
        "store away",
        "o",
        (4, len(DEATHS)),
        bind_trouble,
        step_trouble,
        lambda run, id, verb, lease: call_trouble(run, "unreachable", id, verb, lease),
        judge_outage,
        lambda script, id, verb, lease: script.trouble("unreachable", id, verb, lease),
        weight=4,
        hook="unreachable",
        promise="Q15",
    ),
    Operation(
        "store full",
        "f",
        (4, len(DEATHS)),
        bind_trouble,
        step_trouble,
        lambda run, id, verb, lease: call_trouble(run, "full", id, verb, lease),
        judge_refused_write,
        lambda script, id, verb, lease: script.trouble("full", id, verb, lease),
        weight=4,
        hook="full",
        promise="Q14",
    ),
)
