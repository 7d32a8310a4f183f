"""From a difference to the promise it breaks: what a right queue would have said, what this one said, and why.

A machine stops at the first difference, so the queue may be asked further questions here (is the job gone, or only
late?); nothing is compared after that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orch import checks
from orch.errors import IllegalTransition, InvalidInput, JobNotFound, LeaseLost, OrchError, UnreadableRecord
from orch.job import Job, JobStatus
from orch.testing.model import DEAD, DELAYED, DONE, DUE, FAILED, PENDING, READY, RUNNING, SUCCESS, Model, ModelJob

if TYPE_CHECKING:
    from orch.testing.machine import Operation, Run

Blame = tuple[str, str]  # promise, sentence

TOUCHED = "touched"  # what a caller writes into values that are not his any more

#: The promise that a verb keeps when it refuses with this error.
REFUSALS: dict[Any, str] = {LeaseLost: "Q4", JobNotFound: "Q12", UnreadableRecord: "Q13"}

#: The promise about a field of a job, unless something more special explains the difference.
_FIELDS = {
    "id": "Q1",
    "status": "Q7",
    "attempts": "Q6",
    "failures": "Q6",
    "crashes": "Q6",
    "lease": "Q4",
    "not_before": "Q2",
    "extra": "Q13",
    "finished_at": "Q10",
}


def shown(value: Any) -> str:
    """A value or an error, as a sentence needs it."""
    if isinstance(value, type):
        return value.__name__
    if isinstance(value, BaseException):
        return f"{type(value).__name__}({checks.shown(str(value), 120)})"
    if isinstance(value, ModelJob):
        return _job_shown(value.fields)
    if isinstance(value, Job):
        return _job_shown(vars(value))
    if isinstance(value, dict) and value and all(isinstance(key, JobStatus) for key in value):
        return "{" + ", ".join(f"{status.value}: {n}" for status, n in value.items()) + "}"
    if isinstance(value, list):
        return checks.shown([_Text(shown(item)) for item in value], 400)
    return checks.shown(value, 400)


class _Text(str):
    __slots__ = ()
    __repr__ = str.__str__


def _job_shown(fields: dict[str, Any]) -> str:
    """A job by its id, its status, and what is not as it is for every job."""
    usual = ("id", "status", "dag_path", "tenant_id", "schedule_id", "enqueued_at")
    parts = [
        f"{name}={checks.shown(value)}"
        for name, value in fields.items()
        if value not in (None, 0, {}) and name not in usual
    ]
    status = fields.get("status")
    return f"<job {fields.get('id')} {getattr(status, 'value', status)}{''.join(f' {part}' for part in parts)}>"


def touched(value: Any) -> bool:
    """Does it show what a caller wrote into a value that was not his any more (Q11)?"""
    try:
        return TOUCHED in repr(value)
    except Exception:
        return False


def look_up(run: Run, job_id: str) -> Any:
    """What the queue says about the job now: a Job, None, or an error."""
    try:
        return run.clients[0].get_job(job_id)
    except Exception as error:
        return error


def delivery(run: Run, expected: ModelJob | None, actual: Any) -> Blame:
    """A dequeue said something else."""
    model = run.model
    if isinstance(actual, Exception):
        if model.quarantine:
            return "Q13", f"dequeue raised {shown(actual)} where a record cannot be read"
        return "Q2", f"dequeue raised {shown(actual)}, it should have delivered {shown(expected)}"
    if actual is not None and not isinstance(actual, Job):
        return "Q2", f"dequeue returned {shown(actual)}, which is no Job"
    if expected is None:
        assert actual is not None
        return _undeliverable(model, actual, "nothing is ready")
    first = expected.fields["id"]
    stored = look_up(run, first)
    if touched(stored) or touched(actual):
        return "Q11", f"a caller's change reached the store: {shown(stored)}"
    if actual is not None and actual.id != first:
        other = model.jobs.get(actual.id)
        if other is None or other.fields["status"] is not PENDING or other.due is not None:
            return _undeliverable(model, actual, f"job {first!r} is the first that is ready")
    if isinstance(stored, Job):
        taken = stored.attempts == expected.fields["attempts"]  # only the answer does not say so
        if expected.cause == "lost lease" and stored.status is RUNNING and not taken:
            return "Q5", f"the lease of job {first!r} has expired and dequeue did not take it back"
        if stored.status is FAILED:
            kind = "retries" if expected.cause == "retried" else "crashes"
            return "Q6", f"job {first!r} is failed before its {kind} were used up"
        if stored.status is SUCCESS:
            return "Q7", f"job {first!r} is a success that nobody reported"
    elif stored is None:
        return "Q1", f"job {first!r} is gone; it was {expected.cause}"
    if actual is None:
        if isinstance(stored, Job) and stored.status is RUNNING and stored.attempts == expected.fields["attempts"]:
            return "Q2", f"dequeue said None, and job {first!r} is delivered all the same"
        if _comes_later(run, first):
            if expected.cause == "lost lease":
                return "Q5", f"dequeue said None, although job {first!r} had lost its lease"
            return "Q2", f"dequeue said None, although job {first!r} was ready ({expected.cause})"
        return "Q1", f"job {first!r} ({expected.cause}) is never delivered any more"
    if actual.id != first and not _comes_later(run, first):
        return "Q1", f"dequeue delivered {actual.id!r}, and {first!r} ({expected.cause}) is never delivered any more"
    return "Q2", f"dequeue delivered {actual.id!r} before {first!r} ({expected.cause})"


def _undeliverable(model: Model, actual: Job, why: str) -> Blame:
    """It delivered a job that was not ready."""
    said = f"dequeue delivered {shown(actual)}, but {why}"
    if actual.id in model.quarantine:
        return "Q13", f"{said}, and its record is in quarantine"
    job = model.jobs.get(actual.id)
    if job is None:
        return ("Q10" if actual.id in model.purged else "Q1"), f"{said}, and there is no such job"
    status = job.fields["status"]
    if status is RUNNING:
        if job.expires <= model.now:
            return "Q5", f"{said}; its lease has expired, but this dequeue took back enough others"
        return "Q4", f"{said}, and it is held under {job.fields['lease']}"
    if status in (SUCCESS, FAILED):
        if job.cause in ("exhausted", "crash limit"):
            return "Q6", f"{said}, and its budget is used up"
        return "Q7", f"{said}, and it is {status.value}"
    return "Q2", f"{said}, and it is delayed"


def _comes_later(run: Run, job_id: str) -> bool:
    """Is the job delivered by some later dequeue, after more traffic and more time?"""
    queue, clock = run.clients[0], run.clock
    try:
        for turn in range(8):
            for _ in range(20):
                job = queue.dequeue(lease_s=1)
                if job is None:
                    break
                if job.id == job_id:
                    return True
                queue.update_status(job.id, SUCCESS, lease=job.lease)  # so that it is in nobody's way
            clock.advance(50)
            queue.enqueue(Job(f"probe {turn}", "probe", "probe", None, PENDING, "2027-01-15T08:00:00Z"))
    except Exception:
        return False
    return False


def lost(run: Run, looks: list[list[str]]) -> str | None:
    """A job that is there however one looks at it, is not final, and is never delivered any more."""
    for job_id in looks[0]:
        if all(job_id in ids for ids in looks):
            stored = look_up(run, job_id)
            if stored is None:
                return job_id
            waits = isinstance(stored, Job) and stored.status not in (SUCCESS, FAILED)
            if waits and not (stored.status is RUNNING and not run.model.leases) and not _comes_later(run, job_id):
                return job_id
    return None


def deliverable(run: Run) -> tuple[list[str], list[str]]:
    """The ids that a dequeue would deliver now, one after the other: by the model, and by the queue."""
    should = [job.fields["id"] for job in run.model.clone().dequeue(1000, "", 1)]
    is_: list[str] = []
    try:
        while len(is_) < 1000 and (job := run.clients[0].dequeue(lease_s=1000)) is not None:
            is_.append(job.id)
    except Exception as error:
        is_.append(shown(error))
    return should, is_


def job(run: Run, verb: str, job_id: str, expected: Any, actual: Any, place: int | None = None) -> Blame:
    """A verb that answers one job, or an error, said something else; `place` is where the job was, if not still."""
    model = run.model
    said = f"{verb} answered {shown(actual)}, it should have been {shown(expected)}"
    if touched(actual):
        return "Q11", f"a caller's change reached the store: {shown(actual)}"
    if isinstance(expected, type):
        final = (model.place(job_id) if place is None else place) in (DONE, DEAD)
        return refusal(run, job_id, expected, actual, final=final or verb == "requeue"), said
    if expected is None:
        if isinstance(actual, Exception):
            return ("Q13" if isinstance(actual, UnreadableRecord) else "Q1"), said
        return ("Q10" if _id_of(actual) in model.purged else "Q1"), said
    assert isinstance(expected, ModelJob)
    if actual is None or isinstance(actual, JobNotFound):
        final = expected.fields["status"] in (SUCCESS, FAILED)
        return ("Q10" if final and run.purges else "Q1"), said
    if isinstance(actual, Exception):
        if isinstance(actual, UnreadableRecord):
            return "Q13", said
        if verb in ("requeue", "cancel"):
            return ("Q8" if model.silent else "Q7"), said
        if isinstance(actual, LeaseLost):
            return ("Q8" if model.silent else "Q4"), said
        if isinstance(actual, IllegalTransition):
            return ("Q8" if model.silent and run.leased else "Q7"), said
        return "Q8", said
    if not isinstance(actual, Job):
        return "Q8", f"{said}; it is no Job"
    return fields(run, expected, actual, verb)


def refusal(run: Run, job_id: str, expected: type[OrchError], actual: Any, *, final: bool = False) -> str:
    """The promise by which this job should have met this error; `final` says that it is, or counts as, final."""
    if expected is IllegalTransition:
        return "Q7" if final else "Q12"
    if type(actual) is InvalidInput:
        return "Q12"
    if expected is JobNotFound and (isinstance(actual, Job) or (isinstance(actual, OrchError) and job_id)):
        return "Q10" if job_id in run.model.purged else "Q1"
    return REFUSALS.get(expected, "Q12")


def _id_of(actual: Any) -> str:
    return actual.id if isinstance(actual, Job) else ""


def fields(run: Run, expected: ModelJob, actual: Any, verb: str) -> Blame:
    """The right job, with a wrong field."""
    differ = run.differences(expected.fields, actual)
    parts = [f"{name} is {shown(is_)}, should be {shown(should)}" for name, (should, is_) in differ.items()]
    said = f"{verb} answered job {expected.fields['id']!r} whose {'; '.join(parts)}"
    if touched({name: is_ for name, (_, is_) in differ.items()}):
        return "Q11", said
    if run.model.silent and verb in ("report", "operator's report", "cancel"):
        return ("Q8" if run.leased else "Q7"), said
    if "status" in differ:
        should, is_ = differ["status"]
        return _status(expected, should, is_), said
    ended = 0 < expected.expires <= run.model.now and expected.cause not in ("requeued", "lost lease")
    if "crashes" in differ and ended and differ["crashes"][1] == differ["crashes"][0] + 1:
        return "Q5", f"{said}: its lease had expired, but only a dequeue takes it back"
    for name in ("lease", "attempts", "failures", "crashes"):
        if name in differ:
            return lease(*differ[name]) if name == "lease" else "Q6", said
    if ("error" in differ or "result" in differ) and expected.cause in ("exhausted", "crash limit"):
        return "Q6", said
    for given in run.model.refused.get(expected.fields["id"], ()):
        if all(name in given and given[name] == is_ for name, (_, is_) in differ.items()):
            return "Q3", f"{said}: that is from a later enqueue of the same id"
    for name in differ:
        if name in _FIELDS:
            return _FIELDS[name], said
    return "Q11", said


def _status(expected: ModelJob, should: JobStatus, is_: Any) -> str:
    if expected.cause in ("exhausted", "crash limit") or (should is PENDING and is_ is FAILED):
        return "Q6"
    if (expected.cause == "lost lease" and is_ is RUNNING) or (should is RUNNING and is_ is PENDING):
        return "Q5"
    return "Q7"


def lease(should: Any, is_: Any) -> str:
    """The promise that another lease than this one breaks."""
    if should is not None and is_ is not None and getattr(is_, "token", None) == should.token:
        return "Q5" if getattr(is_, "expires_at", None) != should.expires_at else "Q4"
    return "Q4"


def listing(run: Run, expected: list[ModelJob], actual: Any, verb: str) -> Blame:
    """A list of jobs differs."""
    model = run.model
    if isinstance(actual, Exception):
        promise = "Q13" if model.quarantine else "Q9"
        return promise, f"{verb} raised {shown(actual)}"
    if not isinstance(actual, list):
        return "Q9", f"{verb} answered {shown(actual)}, which is no list"
    if touched(actual):
        return "Q11", f"a caller's change reached the store: {shown(actual)}"
    should = [job.fields["id"] for job in expected]
    ids = [getattr(job, "id", job) for job in actual]
    said = f"{verb} has {ids}, should be {should}"
    if len(set(ids)) < len(ids):
        return "Q9", said
    for id in ids:
        if id not in should and id not in model.jobs:
            promise = "Q13" if id in model.quarantine else "Q10" if id in model.purged else "Q1"
            return promise, f"{said}: there is no job {id!r}"
    for job in expected:
        id = job.fields["id"]
        if id not in ids:
            stored = look_up(run, id)
            if not isinstance(stored, Job):
                final = job.fields["status"] in (SUCCESS, FAILED)
                promise = "Q13" if isinstance(stored, UnreadableRecord) else "Q10" if final and run.purges else "Q1"
                return promise, f"{said}: job {id!r} is gone"
            if stored.status is not job.fields["status"]:
                return fields(run, job, stored, "get_job")
    if ids != should:
        return "Q9", said
    for job, listed in zip(expected, actual, strict=True):
        if run.differences(job.fields, listed):
            promise, sentence = fields(run, job, listed, verb)
            stored = look_up(run, job.fields["id"])
            only_listed = isinstance(stored, Job) and not run.differences(job.fields, stored)
            return ("Q9" if only_listed and promise != "Q11" else promise), sentence
    return "Q9", said


def counts(run: Run, expected: Any, actual: Any, verb: str) -> Blame:
    """A number of jobs differs: because it is wrong, or because a job is."""
    said = f"{verb} is {shown(actual)}, should be {shown(expected)}"
    if isinstance(actual, Exception):
        return ("Q13" if run.model.quarantine else "Q9"), said
    if touched(actual):
        return "Q11", said
    try:
        listed = run.clients[0].list_jobs(limit=1000)
    except Exception as error:
        return ("Q13" if run.model.quarantine else "Q9"), f"{said}; list_jobs raised {shown(error)}"
    jobs = run.model.list_jobs(None, 1000)
    if not run.same_jobs(jobs, listed):
        return listing(run, jobs, listed, "list_jobs")
    if run.model.quarantine and _off_by(expected, actual) == len(run.model.quarantine):
        return "Q13", f"{said}; {len(run.model.quarantine)} in quarantine must not be counted"
    return "Q9", said


def _off_by(expected: Any, actual: Any) -> int:
    try:
        if isinstance(expected, int):
            return int(actual) - expected
        return int(sum(actual.values()) - sum(expected.values()))
    except (AttributeError, TypeError, ValueError):
        return 0


# -- steps that should have changed nothing ------------------------------------------------------------------------


def idle(op: Operation, expected: Any, *, place: int, leased: bool, silent: bool) -> str | None:
    """The promise by which this step, as the model answered it, changed nothing; None if it changed something.

    In a program from which no step can be left out, such a step is the culprit.
    """
    if op.code in _IDLE:
        return _IDLE[op.code]
    if op.code in "EM" and expected == 0:
        return "Q3"
    if op.code in "ROr":
        if isinstance(expected, ModelJob):
            return ("Q8" if leased else "Q7") if silent else None
        if expected is IllegalTransition:
            return "Q7" if place in (DONE, DEAD) else "Q12"
    elif op.code in "KQ":
        if isinstance(expected, ModelJob):
            again = place in (READY, DELAYED, DUE) if op.code == "Q" else silent
            return "Q8" if again else None
        if expected is IllegalTransition:
            return "Q7"
    elif op.code == "P" and expected == 0:
        return "Q10"
    elif op.code == "T" and expected is False:
        return "S2"
    if op.code in "ROrKQXG" and isinstance(expected, type) and expected is not UnreadableRecord:
        return REFUSALS.get(expected)  # finding a record unreadable does change something
    return None


_IDLE = {"J": "Q11", "F": "Q12", "b": "Q12", "Z": "Q14"}
