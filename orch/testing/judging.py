# ruff: noqa: ARG001 - the judges stand in one table, so all take the same arguments
"""What each kind of answer must be: judges of operations. They return, or raise `Violation` with the promise."""

from __future__ import annotations

from typing import Any

from orch.checks import ERROR_MAX
from orch.errors import InvalidInput, JobNotFound, NotSupported, OrchError
from orch.job import Job, Lease
from orch.testing import blame
from orch.testing.machine import IDS, Operation, Run, Violation
from orch.testing.model import PENDING, ModelJob, Watch

Values = tuple[Any, ...]


def judge_value(run: Run, op: Operation, values: Values, expected: Any, actual: Any) -> None:
    """The answer is equal; a class stands for an error of that class."""
    if isinstance(expected, type):
        if isinstance(actual, expected):
            return
    elif expected == actual and (
        actual.__class__ is expected.__class__ or isinstance(actual, bool) == isinstance(expected, bool)
    ):
        run.last_out = actual
        return
    promise = op.promise
    if isinstance(expected, type):
        promise = blame.refusal(run, values[0] if op.on_job else "", expected, actual)
    elif blame.touched(actual):
        promise = "Q11"
    raise Violation(
        promise, f"{op.name} answered {blame.shown(actual)}, should be {blame.shown(expected)}", expected, actual
    )


def judge_job(run: Run, op: Operation, values: Values, expected: Any, actual: Any) -> None:
    """One job, None, or an error."""
    if expected.__class__ is ModelJob:
        if (actual.__class__ is Job and expected.fields == actual.__dict__) or run.same(expected, actual):
            expected.fields["lease"] = actual.lease
            run.watch.saw(actual)
            run.last_out = actual
            return
    elif expected is None:
        if actual is None:
            return
    elif isinstance(actual, expected):
        return
    promise, sentence = blame.job(run, op.name, values[0], expected, actual)
    raise Violation(promise, sentence, expected, actual)


def judge_report(run: Run, op: Operation, values: Values, expected: Any, actual: Any) -> None:
    """A report under a lease, or an operator's act."""
    if not isinstance(actual, Exception) and not run.model.silent:
        run.watch.settled(values[0])
    judge_job(run, op, values, expected, actual)


def judge_requeue(run: Run, op: Operation, values: Values, expected: Any, actual: Any) -> None:
    run.watch.requeued(values[0])
    judge_job(run, op, values, expected, actual)


def judge_long_error(run: Run, op: Operation, values: Values, expected: Any, actual: Any) -> None:
    """An error text that is too long is cut to 16 KiB, with a mark; how the mark reads is the queue's affair."""
    if isinstance(expected, ModelJob) and isinstance(actual, Job) and not run.model.silent:
        cut = actual.error
        whole = expected.fields["error"]
        if cut is None:
            judge_report(run, op, values, expected, actual)
        if not isinstance(cut, str) or not 1000 < len(cut.encode()) <= ERROR_MAX or not whole.startswith(cut[:1000]):
            raise Violation(
                "Q12",
                f"an error of {len(whole)} bytes was kept as {blame.shown(cut)}, not cut to 16 KiB",
                expected,
                actual,
            )
        if whole.startswith(cut):
            raise Violation("Q12", "an error was cut to 16 KiB without a mark that says so", expected, actual)
        expected.fields["error"] = cut
    judge_report(run, op, values, expected, actual)


def judge_delivery(run: Run, op: Operation, values: Values, expected: list[ModelJob], actual: Any) -> None:
    """The answer of one dequeue."""
    first = expected[0] if expected else None
    run.watch.dequeued(run.clock.now)
    if first is None:
        if actual is None:
            return
    elif (actual.__class__ is Job and first.fields == actual.__dict__) or run.same(first, actual):
        take(run, first, actual, keep=op.name == "dequeue")
        return
    promise, sentence = blame.delivery(run, first, actual)
    if first is not None and isinstance(actual, Job) and actual.id == first.fields["id"] and promise == "Q2":
        promise, sentence = blame.fields(run, first, actual, op.name)
    raise Violation(promise, sentence, expected, actual)


def take(run: Run, job: ModelJob, actual: Job, *, keep: bool = True) -> None:
    """A delivery is as it should be: remember its lease."""
    job.fields["lease"] = lease = actual.lease
    if lease is not None and keep:
        given = run.given.get(actual.id)
        if given is not None:
            given.append(lease)
        elif actual.id not in IDS:
            run.crowd.append(lease)
        else:
            run.given[actual.id] = [lease]
            run.delivered.append(IDS.index(actual.id))
    run.watch.saw(actual)
    run.watch.delivered(actual, run.clock.now)
    run.last_out = actual


def judge_deliveries(run: Run, op: Operation, values: Values, expected: list[ModelJob], actual: Any) -> None:
    """The answer of a bulk dequeue."""
    run.watch.dequeued(run.clock.now)
    if isinstance(actual, Exception):
        promise, sentence = blame.delivery(run, expected[0] if expected else None, actual)
        raise Violation(promise, sentence, expected, actual)
    if not isinstance(actual, list):
        raise Violation("Q2", f"{op.name} answered {blame.shown(actual)}, which is no list", expected, actual)
    for n in range(max(len(expected), len(actual))):
        job = expected[n] if n < len(expected) else None
        found = actual[n] if n < len(actual) else None
        if job is not None and isinstance(found, Job) and run.same(job, found):
            take(run, job, found)
            continue
        if job is None and found is not None and len(expected) == values[0]:
            raise Violation(
                "Q2", f"{op.name} delivered {len(actual)} jobs, {values[0]} were asked for", expected, actual
            )
        if isinstance(found, Job) and found.id in [later.fields["id"] for later in expected[n + 1 :]]:
            raise Violation("Q2", f"{op.name} delivered {found.id!r} too early", expected, actual)
        promise, sentence = blame.delivery(run, job, found)
        if job is not None and isinstance(found, Job) and found.id == job.fields["id"] and promise == "Q2":
            promise, sentence = blame.fields(run, job, found, op.name)
        raise Violation(promise, sentence, expected, actual)


def judge_exchange(run: Run, op: Operation, values: Values, expected: Any, actual: Any) -> None:
    """Answers for each report, then deliveries."""
    answers, jobs = expected
    reports, n = values[0], values[1]
    if isinstance(actual, Exception) or not isinstance(actual, tuple) or len(actual) != 2:
        raise Violation("Q8", f"exchange answered {blame.shown(actual)}", expected, actual)
    if len(actual[0]) != len(answers):
        raise Violation("Q8", f"exchange answered {len(actual[0])} of {len(answers)} reports", expected, actual)
    for (place, silent, answer), report, found in zip(answers, reports, actual[0], strict=True):
        run.leased, run.model.silent = True, silent
        if isinstance(answer, type):
            if isinstance(found, answer):
                continue
        elif run.same(answer, found):
            if not silent:
                run.watch.settled(report.job_id)
            run.watch.saw(found)
            continue
        should = ModelJob(answer, 0, 0) if isinstance(answer, dict) else answer
        promise, sentence = blame.job(run, "report", report.job_id, should, found, place)
        raise Violation(promise, sentence, expected, actual)
    if n == 0:
        if actual[1] != []:
            raise Violation("Q8", f"exchange of no jobs delivered {blame.shown(actual[1])}", expected, actual)
        return
    try:
        judge_deliveries(run, op, (n,), jobs, actual[1])
    except Violation as violation:
        raise Violation(violation.promise, violation.sentence, expected, actual) from None


def judge_listing(run: Run, op: Operation, values: Values, expected: list[ModelJob], actual: Any) -> None:
    if run.same_jobs(expected, actual):
        saw = run.watch.saw
        for job in actual:
            saw(job)
        run.last_out = actual[0] if actual else actual
        return
    promise, sentence = blame.listing(run, expected, actual, op.name)
    raise Violation(promise, sentence, expected, actual)


def judge_counts(run: Run, op: Operation, values: Values, expected: Any, actual: Any) -> None:
    if expected == actual and (actual.__class__ is expected.__class__ or not isinstance(actual, (bool, Exception))):
        run.last_out = actual
        return
    promise, sentence = blame.counts(run, expected, actual, op.name)
    raise Violation(promise, sentence, expected, actual)


def judge_look(run: Run, op: Operation, values: Values, expected: Any, actual: Any) -> None:
    """Counts and a whole list, against the model and against each other."""
    counts, jobs = expected
    said, listed = actual
    if not run.same_jobs(jobs, listed):
        promise, sentence = blame.listing(run, jobs, listed, "list_jobs")
        raise Violation(promise, sentence, expected, actual)
    if said != counts:
        promise, sentence = blame.counts(run, counts, said, "counts")
        raise Violation(promise, sentence, expected, actual)
    Watch.agree(said, listed)
    saw = run.watch.saw
    for job in listed:
        saw(job)


def judge_lease(run: Run, op: Operation, values: Values, expected: Any, actual: Any) -> None:
    """An extension: the lease now in force."""
    if isinstance(expected, type):
        if isinstance(actual, expected):
            return
        promise = blame.refusal(run, values[0] if op.on_job else "", expected, actual)
    elif isinstance(actual, Lease) and expected == actual:
        run.watch.extended(actual)
        run.model.jobs[actual.job_id].fields["lease"] = actual
        return
    else:
        promise = blame.lease(expected, actual) if isinstance(actual, Lease) else "Q5"
        promise = "Q4" if isinstance(actual, OrchError) else promise
    raise Violation(
        promise, f"{op.name} answered {blame.shown(actual)}, should be {blame.shown(expected)}", expected, actual
    )


def judge_leases(run: Run, op: Operation, values: Values, expected: list[Any], actual: Any) -> None:
    if not isinstance(actual, list) or len(actual) != len(expected):
        raise Violation("Q8", f"extend_many answered {blame.shown(actual)}", expected, actual)
    for should, is_ in zip(expected, actual, strict=True):
        try:
            judge_lease(run, op, values, should, is_)
        except Violation as violation:
            raise Violation(violation.promise, violation.sentence, expected, actual) from None


def judge_workers(run: Run, op: Operation, values: Values, expected: Any, actual: Any) -> None:
    """Who is there, with which jobs; what was announced only where that can be foretold."""
    if isinstance(actual, list) and len(actual) == len(expected):
        for (id, beat, jobs, info), row in zip(expected, actual, strict=True):
            if row.id != id or row.last_beat_at != beat or tuple(row.jobs) != jobs:
                break
            if info and (row.host, row.pid, row.done, row.slots) != info:
                break
        else:
            return
    raise Violation("W8", f"workers() is {blame.shown(actual)}, should be {blame.shown(expected)}", expected, actual)


def judge_stats(run: Run, op: Operation, values: Values, expected: Any, actual: Any) -> None:
    counts, ready, delayed, quarantined, age = expected
    if isinstance(actual, Exception):
        raise Violation("Q9", f"stats raised {blame.shown(actual)}", expected, actual)
    if actual.counts != counts:
        promise, sentence = blame.counts(run, counts, actual.counts, "stats().counts")
        raise Violation(promise, sentence, expected, actual)
    run.last_out = actual.counts
    aged = actual.oldest_ready_age_s == age or run.model.turned_back
    if aged and (actual.quarantined, actual.ready, actual.delayed) == (quarantined, ready, delayed):
        return
    said = f"stats() is {blame.shown(actual)}, should be ready={ready}, delayed={delayed}, quarantined={quarantined}"
    if actual.quarantined != quarantined:
        raise Violation("Q13", said, expected, actual)
    if (actual.ready, actual.delayed) != (ready, delayed):
        promoted = [job for job in run.model.jobs.values() if job.cause == "promoted" and job.due is None]
        late = sum(job.fields["status"] is PENDING and job.ready == run.model.now for job in promoted)
        if late and (actual.ready, actual.delayed) == (ready - late, delayed + late):
            raise Violation("Q2", f"{said}: what was due should have been promoted", expected, actual)
        # are as many jobs ready as it says, only other ones than should be?
        should, is_ = blame.deliverable(run)
        gone = blame.lost(run, [[id for id in should if id not in is_]])
        if gone is not None:
            raise Violation("Q1", f"{said}: job {gone!r} is never delivered any more", expected, actual)
        raise Violation("Q2" if len(is_) == actual.ready else "Q9", said, expected, actual)
    should, is_ = blame.deliverable(run)
    said += f", oldest_ready_age_s={age}"
    raise Violation("Q9" if should == is_ else "Q2", said, expected, actual)


def judge_refusal(run: Run, op: Operation, values: Values, expected: Any, actual: Any) -> None:
    """Bad input: `InvalidInput` with the value in its message (Q12); or a verb that the queue does not have."""
    name, _, shows = values
    if isinstance(actual, NotSupported):
        return
    if isinstance(actual, InvalidInput):
        if shows not in str(actual):
            raise Violation("Q12", f"{name}: the message does not show {shows}: {actual}", expected, actual)
        return
    if isinstance(actual, JobNotFound) and "a" not in run.model.jobs:
        return
    raise Violation("Q12", f"{name}: answered {blame.shown(actual)}, should raise InvalidInput", expected, actual)


def judge_enqueue(run: Run, op: Operation, values: Values, expected: int, actual: Any) -> None:
    """Whether it was new; and the caller's job is still as it was."""
    should: Any = expected == 1 if op.name == "enqueue" else expected
    if actual == should and type(actual) is type(should):
        for n, (fields, _, _) in enumerate(values[1]):
            job = run.last_in[n]
            if fields != job.__dict__:
                raise Violation("Q11", f"enqueue changed the caller's job to {blame.shown(job)}", should, actual)
        return
    said = f"{op.name} answered {blame.shown(actual)}, should be {should}"
    if isinstance(actual, InvalidInput):
        promise = "Q12"
        said += ", and nothing is wrong with it"
    elif not isinstance(actual, int):
        promise = "Q11" if blame.touched(actual) else "Q3"
    else:
        ids = [fields["id"] for fields, _, _ in values[1]]
        purged = int(actual) < int(should) and any(id in run.model.purged for id in ids)
        unread = int(actual) > int(should) and any(id in run.model.quarantine for id in ids)
        promise = "Q10" if purged else "Q13" if unread else "Q3"
    raise Violation(promise, said, should, actual)


def judge_unknown_field(run: Run, op: Operation, values: Values, expected: None, actual: Any) -> None:
    """The record was read to be written again with a field more; get_job may have said something else."""
    if actual is not None:
        found = actual[0] if isinstance(actual, tuple) else actual
        promise, sentence = blame.job(run, "get_job", values[0], run.model.jobs[values[0]], found)
        raise Violation(promise, sentence, expected, actual)


def judge_reopen(run: Run, op: Operation, values: Values, expected: Any, actual: Any) -> None:
    """What was stored is there (Q14)."""
    if isinstance(actual, Exception):
        raise Violation("Q14", f"opening again raised {blame.shown(actual)}", expected, actual)
    try:
        judge_look(run, op, values, expected, actual)
    except Violation as violation:
        raise Violation("Q14", f"after opening again: {violation.sentence}", expected, actual) from None


def judge_crowd(run: Run, op: Operation, values: Values, expected: Any, actual: Any) -> None:
    """An act on many jobs at once: as many answers as jobs, none of them an error."""
    if isinstance(actual, list) and len(actual) == expected and not any(isinstance(a, Exception) for a in actual):
        return
    bad = next((a for a in actual if isinstance(a, Exception)), None) if isinstance(actual, list) else actual
    said = f"{op.name} of {expected} jobs answered {blame.shown(bad) if bad is not None else len(actual)}"
    raise Violation("Q8", said, expected, actual)


def judge_crowd_enqueued(run: Run, op: Operation, values: Values, expected: int, actual: Any) -> None:
    """How many of many jobs were new."""
    if actual != expected or isinstance(actual, bool):
        raise Violation(op.promise, f"{op.name} answered {blame.shown(actual)}, should be {expected}", expected, actual)


def judge_death(run: Run, op: Operation, values: Values, expected: Any, actual: Any) -> None:
    """A client died inside a verb: all of it happened, or nothing did (Q8); whatever happened, nothing is lost (Q1)."""
    before, looks = expected
    if isinstance(actual, Exception):
        raise Violation("Q1", f"after a client died in {values[1]}: {blame.shown(actual)}", expected, actual)
    died, *seen = actual
    for model, look in ((run.model, looks[1]), (before, looks[0])):
        if _looks_like(run, look, seen):
            run.model = model
            model.turned_back |= died  # whether its beat was noted, nobody knows
            return
        if not died:
            break
    promise, sentence = _torn(run, looks[::-1], seen)
    raise Violation(promise, f"after a client died in {values[1]}: {sentence}", expected, actual)


def _looks_like(run: Run, look: Any, seen: Any) -> bool:
    """Are counts, list, and numbers of ready and delayed jobs (if they are told) as they should be?"""
    (counts, jobs, numbers), (said, listed, stats) = look, seen
    return said == counts and stats in (None, numbers) and run.same_jobs(jobs, listed)


def _torn(run: Run, looks: Any, seen: Any) -> tuple[str, str]:
    """A verb was not one step: a job is lost by it (Q1), or it is half done (Q8). The blame of the likelier look."""
    counts, listed, stats = seen
    jobs = looks[0][1]
    if not run.same_jobs(jobs, listed):
        promise, sentence = blame.listing(run, jobs, listed, "list_jobs")
    else:
        promise, sentence = "Q8", f"counts {blame.shown(counts)}, ready and delayed {stats}"
    lost = blame.lost(run, [[job.fields["id"] for job in look[1]] for look in looks])
    if lost is not None:
        return "Q1", f"{sentence}; job {lost!r} is lost"
    return promise if promise in ("Q1", "Q9") else "Q8", sentence


def judge_meeting(run: Run, op: Operation, values: Values, expected: Any, actual: Any) -> None:
    """Two clients at once: it must look as if one of them had been first (Q8), and nothing is lost (Q1)."""
    said = f"a client's {values[5]} between two steps of another's {values[1]}: "
    if isinstance(actual, Exception):
        raise Violation("Q1", said + blame.shown(actual), expected, actual)
    answers, seen = actual
    for model, should, look in expected:
        if answers == should and _looks_like(run, look, seen):
            run.model = model
            return
    if values[1] == values[5] == "dequeue" and answers[0] == answers[1] is not None:
        raise Violation("Q4", f"{said}job {answers[0]!r} was delivered to both", expected, actual)
    promise, sentence = _torn(run, [look for _, _, look in expected], seen)
    raise Violation(promise, f"{said}they answered {answers}; {sentence}", expected, actual)


def judge_outage(run: Run, op: Operation, values: Values, expected: Any, actual: Any) -> None:
    """The store could not be reached: an error says so, nothing is done elsewhere (Q15)."""
    look = expected[0]
    if isinstance(actual, Exception):
        raise Violation("Q15", f"after the store was away: {blame.shown(actual)}", expected, actual)
    answer, seen = actual
    if not isinstance(answer, OSError):  # BackendUnavailable is one, and so are those of sockets
        said = f"{values[1]} answered {blame.shown(answer)} while the store could not be reached"
        raise Violation("Q15", said, expected, actual)
    if not _looks_like(run, look, seen):
        _, sentence = _torn(run, [look], seen)
        raise Violation(
            "Q15", f"{values[1]} failed while the store was away, and did something: {sentence}", expected, actual
        )


def judge_refused_write(run: Run, op: Operation, values: Values, expected: Any, actual: Any) -> None:
    """The store took no writes: the verb raises and changes nothing, or it needed none that was refused (Q14)."""
    before, model, after = expected
    if isinstance(actual, Exception):
        raise Violation("Q14", f"after a refused write: {blame.shown(actual)}", expected, actual)
    answer, seen = actual
    raised = isinstance(answer, Exception)
    if _looks_like(run, before if raised else after, seen):
        run.model = run.model if raised else model
        return
    if not raised:
        said = f"{values[1]} answered {blame.shown(answer)} while the store took no writes, and did not do it"
        raise Violation("Q14", said, expected, actual)
    sentence = _torn(run, [before], seen)[1]
    raise Violation("Q14", f"a write of {values[1]} was refused, and something changed: {sentence}", expected, actual)
