"""A trace as plain Python, to be pasted: it runs with nothing but `orch` and the queue under test, and fails while
the queue breaks the promise.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

from orch.errors import OrchError
from orch.job import CursorMove, Job, JobStatus, Lease, Report
from orch.queue import PersistentQueue
from orch.testing.clock import FakeClock
from orch.testing.machine import Operation, QueueMachine, Run, Step, Store, Violation
from orch.testing.model import ModelJob, ModelLease
from orch.testing.operations import BAD_CALLS, LONG_ERROR, MORE_BAD_CALLS

#: The fields of a job that are not written down where they have these values.
DEFAULTS: dict[str, Any] = {
    "started_at": None,
    "finished_at": None,
    "attempts": 0,
    "max_retries": 0,
    "error": None,
    "result": None,
    "params": {},
    "priority": 0,
    "not_before": None,
    "timeout_s": None,
    "failures": 0,
    "crashes": 0,
    "extra": {},
}

_GIVEN = "", "queue = make_queue(clock)  # the function that was given to verify"


class Script:
    """Writes operations down as the lines of a program; knows under which names leases can be reached."""

    def __init__(self, *, keeps: bool) -> None:
        self.keeps = keeps  # a later step writes into what was handed in and out
        self.names: dict[tuple[str, int], str] = {}
        self.lines: list[str] = []
        self.count: dict[str, int] = {}
        self.imports = {"JobStatus"}

    def name(self, job: Job) -> str:
        """A new name for a delivery: a1, a2, b1."""
        n = self.count[job.id] = self.count.get(job.id, 0) + 1
        base = job.id if job.id.isidentifier() else "job"
        name = f"{base}{n}"
        if job.lease is not None:
            self.names[job.id, job.lease.token] = name
        return name

    def lease(self, lease: Lease) -> str:
        name = self.names.get((lease.job_id, lease.token))
        if name is not None:
            return f"{name}.lease"
        name = self.names.get((lease.job_id, lease.token - 1))
        if name is not None:  # invented: one more than the last
            self.imports.add("replace")
            return f"replace({name}.lease, token={name}.lease.token + 1)"
        self.imports.add("Lease")
        return repr(lease)

    def job(self, fields: dict[str, Any]) -> str:
        parts = [repr(fields[name]) for name in ("id", "dag_path", "tenant_id", "schedule_id")]
        parts += ["JobStatus.PENDING", repr(fields["enqueued_at"])]
        parts += [f"{name}={fields[name]!r}" for name in DEFAULTS if fields[name] != DEFAULTS[name]]
        self.imports.add("Job")
        return f"Job({', '.join(parts)})"

    def report(self, report: Report) -> str:
        self.imports.add("Report")
        parts = [repr(report.job_id), f"JobStatus.{report.status.name}"]
        parts += [f"error={report.error!r}"] if report.error is not None else []
        parts += [f"result={report.result!r}"] if report.result is not None else []
        parts += [f"lease={self.lease(report.lease)}"] if report.lease is not None else []
        return f"Report({', '.join(parts)})"

    def text(self, error: str) -> str:
        return "'long ' * 4000" if error == LONG_ERROR else repr(error)

    def listing(self, status: JobStatus | None, limit: int) -> str:
        parts = [f"JobStatus.{status.name}"] if status is not None else []
        parts += [f"limit={limit}"] if limit != 100 else []
        return f"queue.list_jobs({', '.join(parts)})"

    def plant(self, id: str, raw: str) -> str:
        return f"queue.plant_record({id!r}, {raw})"

    def unknown_field(self, id: str) -> str:
        self.imports.add("encode_record")
        self.lines += [f"record = queue.get_job({id!r})", "record.extra['later'] = {'v': [1]}"]
        return f"queue.plant_record({id!r}, encode_record(record).encode())"

    def moves(self, moves: Sequence[CursorMove]) -> str:
        parts = [f"CursorMove({move.key!r}, {move.expected!r}, {move.tick!r})" for move in moves]
        return f"queue.advance_schedules([{', '.join(parts)}])"

    def touch(self) -> str:
        self.imports.add("scribble")
        return "scribble(given, answer)  # the caller writes into what he handed in and was handed"

    def crowd(self, n: int) -> str:
        self.imports.add("Job")
        job = "Job(f'm{n}', 'd.yaml', 't', None, JobStatus.PENDING, '2027-01-15T08:00:00+00:00')"
        return f"queue.enqueue_many([{job} for n in range({n})])"

    def crowd_settled(self, status: JobStatus) -> str:
        self.imports.add("Report")
        self._held()
        return f"queue.exchange([Report(job.id, JobStatus.{status.name}, lease=job.lease) for job in held], 0)"

    def crowd_extended(self, lease_s: float | None) -> str:
        self._held()
        return f"queue.extend_many([job.lease for job in held]{'' if lease_s is None else f', {lease_s!r}'})"

    def _held(self) -> None:
        """Those of the crowd whose lease is still the current one."""
        self.lines.append(
            "tokens = {job.id: job.lease.token for job in queue.list_jobs(JobStatus.RUNNING, limit=2000)}"
        )
        self.lines.append("held = [job for job in crowd if tokens.get(job.id) == job.lease.token]")

    def die(self, id: str, verb: str, place: int, lease: Lease | None) -> str:
        return f"queue, died = make_queue.die(queue, {place}, {self._verb(id, verb, lease)})"

    def meet(self, place: int, first: tuple[str, str, Lease | None], second: tuple[str, str, Lease | None]) -> str:
        return f"make_queue.meet(queue, {place}, {self._verb(*first)}, {self._verb(*second)})"

    def trouble(self, hook: str, id: str, verb: str, lease: Lease | None) -> str:
        return f"make_queue.{hook}(queue, {self._verb(id, verb, lease)})"

    def _verb(self, id: str, verb: str, lease: Lease | None) -> str:
        """One of the verbs that are done as a whole or not at all, as a function of the queue."""
        calls = {
            "enqueue": f"enqueue(Job({id!r}, 'd.yaml', 't', None, JobStatus.PENDING, '2027-01-15T08:00:00+00:00'))",
            "dequeue": "dequeue('w1', lease_s=2)",
            "cancel": f"cancel({id!r})",
            "requeue": f"requeue({id!r})",
            "purge": "purge(0)",
        }
        if verb in calls:
            call = calls[verb]
        else:
            status = {"SUCCESS": "SUCCESS", "RETRY": "RETRY"}.get(verb, "PENDING")
            fence = "" if lease is None else f", lease={self.lease(lease)}"
            call = f"update_status({id!r}, JobStatus.{status}{fence})"
        self.imports |= {"Job"} if verb == "enqueue" else set()
        return f"lambda queue: queue.{call}"

    def reopen(self) -> str:
        return "queue = make_queue.reopen(queue)"


def code(value: Any) -> str:
    """A value as Python text."""
    if isinstance(value, JobStatus):
        return f"JobStatus.{value.name}"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{code(key)}: {code(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(code, value)) + "]"
    if isinstance(value, tuple):
        return "(" + ", ".join(map(code, value)) + ("," if len(value) == 1 else "") + ")"
    return repr(value)


def acted(
    script: Script, run: Run, steps: Sequence[Step]
) -> Iterator[tuple[int, Operation, tuple[Any, ...], str, Any, Any]]:
    """Do the steps one after the other; of each that can be done its place, values, call as text, and both answers."""
    for n, (op, args) in enumerate(steps):
        values = op.bind(run, *args)
        if values is None:
            continue
        text = op.show(script, *values)
        expected = op.step(run.model, *values)
        try:
            actual = op.call(run, *values)
        except Exception as error:
            actual = error
        yield n, op, values, text, expected, actual


def program_of(machine: QueueMachine, store: Store, steps: Sequence[Step], violation: Violation) -> str:
    """The steps as a program; its last statement fails while the queue breaks the promise."""
    script = Script(keeps=any(op.name == "caller's change" for op, _ in steps))
    run = Run(machine, store)
    try:
        header = _header(store, run.clients[0])
        if script.keeps:
            script.lines.append("given = answer = None")
        for n, op, values, text, expected, actual in acted(script, run, steps):
            if n == len(steps) - 1:
                try:
                    script.lines += claim(script, run, op, text, violation)
                except (AttributeError, KeyError, TypeError, ValueError):  # an answer of no known shape
                    kind = type(violation.actual).__name__
                    script.lines += [f"answer = {text}", f"assert type(answer).__name__ != {kind!r}, answer"]
                break
            script.lines += statement(script, op, text, actual)
            try:
                op.judge(run, op, values, expected, actual)
            except Violation:
                break
    finally:
        run.close()
    return _whole(script, header)


def _whole(script: Script, header: tuple[str, str]) -> str:
    body = "\n".join(script.lines)
    if "make_queue." in body:  # hooks are the factory's
        maker = re.match(r"queue = ([\w.]+)\(clock\)", header[1])
        if maker is None:
            header = _GIVEN
        elif maker[1] != "make_queue":
            header = header[0], f"make_queue = {maker[1]}\n{header[1]}"
    made = header[1]
    return f"{_imports(script, body, header)}\n\nclock = FakeClock()\n{made}\n{body}\n"


def listing_of(machine: QueueMachine, steps: Sequence[Step], header: tuple[str, str] | None) -> str:
    """The steps as a program, for a queue that must not be asked again because it hangs: ours stands in for it."""
    from orch.backends.memory import MemoryQueue

    class Stand:
        def __call__(self, clock: FakeClock) -> PersistentQueue:
            return MemoryQueue(clock=clock)

        def reopen(self, queue: PersistentQueue) -> PersistentQueue:
            return queue

        def die(self, queue: PersistentQueue, n: int, verb: Any) -> tuple[PersistentQueue, bool]:
            with suppress(OrchError):
                verb(queue)
            return queue, False

        def meet(self, queue: PersistentQueue, n: int, verb: Any, other: Any) -> tuple[Any, Any]:
            return self.die(queue, n, verb), self.die(queue, n, other)

        def unreachable(self, queue: PersistentQueue, verb: Any) -> Any:
            raise ConnectionError

        full = unreachable

    script = Script(keeps=any(op.name == "caller's change" for op, _ in steps))
    run = Run(machine, Stand())
    if script.keeps:
        script.lines.append("given = answer = None")
    for _, op, values, text, expected, actual in acted(script, run, steps[:-1]):
        script.lines += statement(script, op, text, actual)
        with suppress(Violation):  # what stands in may do more than the queue
            run.judge(op, values, expected, actual)
    for op, args in steps[-1:]:  # not done: it is where the queue hangs
        bound = op.bind(run, *args)
        if bound is not None:
            script.lines.append(op.show(script, *bound))
    return _whole(script, header or _GIVEN)


def statement(script: Script, op: Operation, text: str, actual: Any) -> list[str]:
    """A step as a program has it, with names for what it delivers, and with room for the error that it raised."""
    if op.name in ("store away", "store full") and isinstance(actual, tuple):
        actual = actual[0]  # behind it is what was seen afterwards
    if isinstance(actual, Exception):
        script.imports |= {"suppress", type(actual).__name__ if isinstance(actual, OrchError) else "OrchError"}
        kind = type(actual).__name__ if isinstance(actual, OrchError) else "Exception"
        return [f"with suppress({kind}):", f"    {text}"]
    keep = script.keeps and op.name != "caller's change"
    lines = []
    if keep and op.name == "enqueue":
        argument = text[len("queue.enqueue(") : -1]
        lines = [f"given = {argument}"]
        text = "queue.enqueue(given)"
    elif keep and op.name == "enqueue_many":
        argument = text[len("queue.enqueue_many(") : -1]
        lines = [f"given = {argument}"]
        text = "queue.enqueue_many(given)"
    elif keep and "result={" in text:
        result = text[text.index("result=") + 7 :]
        result = result[: _closing(result) + 1]
        lines = [f"given = {result}"]
        text = text.replace(f"result={result}", "result=given")
    if op.name in ("dequeue", "lost dequeue") and isinstance(actual, Job):
        name = script.name(actual)
        lines.append(f"{name} = {text}")
        if keep:
            lines.append(f"answer = {name}")
        return lines
    if op.name == "crowd taken":
        return [f"crowd {'+=' if 'crowd = ' in ' '.join(script.lines) else '='} {text}"]
    if op.name == "dequeue_many" and actual:
        names = [script.name(job) for job in actual]
        return [*lines, f"{', '.join(names)}{',' if len(names) == 1 else ''} = {text}"]
    if op.name == "exchange" and actual[1]:
        names = [script.name(job) for job in actual[1]]
        return [*lines, f"answers, [{', '.join(names)}] = {text}"]
    if keep and not text.startswith(("clock.", "with ")):
        text = f"answer = {text}"
        if op.name == "list_jobs" and actual:
            text += "[0]"
        elif op.name == "stats":
            text += ".counts"
    return [*lines, text]


def _closing(text: str) -> int:
    """The place of the bracket that closes the first one."""
    depth = 0
    for place, char in enumerate(text):
        depth += (char in "{[") - (char in "}]")
        if depth == 0:
            return place
    return len(text) - 1


def claim(script: Script, run: Run, op: Operation, text: str, violation: Violation) -> list[str]:
    """The last statement: what a right queue answers."""
    expected, actual = violation.expected, violation.actual
    why = f"{violation.promise}: {violation.sentence}"
    why = repr(why if len(why) < 200 else why[:199] + "…")
    if op.name in ("bad input", "more bad input"):
        shows = next(shows for _, call, shows in BAD_CALLS + MORE_BAD_CALLS if call == text)
        script.imports.add("InvalidInput")
        return [
            "try:",
            f"    {text}",
            "except InvalidInput as error:",
            f"    assert {shows!r} in str(error), {why}",
            "else:",
            f"    raise AssertionError({why})",
        ]
    if isinstance(expected, type):
        script.imports.add(expected.__name__)
        return [
            "try:",
            f"    {text}",
            f"except {expected.__name__}:",
            "    pass",
            "else:",
            f"    raise AssertionError({why})",
        ]
    if op.name in ("dequeue", "lost dequeue"):
        first = expected[0] if expected else None
        return [f"job = {text}", *_about("job", run, first, actual, why)]
    if op.name == "long error" and violation.promise == "Q12" and isinstance(actual, Job):
        return [
            f"job = {text}",
            f"assert len(job.error.encode()) <= 16 * 1024, {why}",
            f"assert not ('long ' * 4000).startswith(job.error), {why}",
        ]
    if isinstance(expected, ModelJob) or (expected is None and op.name == "get_job"):
        return [f"job = {text}", *_about("job", run, expected, actual, why)]
    if op.name in ("enqueue", "enqueue_many") and actual == expected and not isinstance(actual, Exception):
        kind = "queue.enqueue("
        given = text[len(kind) : -1] if op.name == "enqueue" else text[len("queue.enqueue_many([") : -2]
        return [
            f"given = {given}",
            "before = given.to_dict()",
            "queue.enqueue(given)",
            f"assert given.to_dict() == before, {why}",
        ]
    if op.name in ("look", "open again"):
        counts, jobs = expected
        lines = [text] if op.name == "open again" else []
        listed = actual if isinstance(actual, Exception) else actual[1]
        if not run.same_jobs(jobs, listed):
            every = "queue.list_jobs()" if len(jobs) <= 100 else "queue.list_jobs(limit=2000)"
            return [*lines, *_about_list(every, run, jobs, listed, why)]
        return [*lines, "queue.list_jobs()", f"assert queue.counts() == {code(counts)}, {why}"]
    if op.name == "list_jobs":
        return _about_list(text, run, expected, actual, why)
    if op.name == "client dies":
        counts, jobs, _ = expected[1][1]
        return [
            text,
            *_about_list("queue.list_jobs()", run, jobs, actual[2] if isinstance(actual, tuple) else actual, why),
        ]
    if op.name == "clients meet":
        answers = [should for _, should, _ in expected]
        return [f"answers = {text}", f"assert answers in {code(answers)}, {why}  # ids, and names of errors"]
    if op.name in ("store away", "store full"):
        kind = "Exception" if op.name == "store full" else "OSError"
        if isinstance(actual, tuple) and isinstance(actual[0], Exception):
            after = _about_list("queue.list_jobs()", run, expected[0][1], actual[1][1], why)
            return ["try:", f"    {text}", f"except {kind}:", "    pass", *after]
        return ["try:", f"    {text}", f"except {kind}:", "    pass", "else:", f"    raise AssertionError({why})"]
    if op.name in ("crowd settled", "crowd extended"):
        return [
            f"answers = {text}{'[0]' if op.name == 'crowd settled' else ''}",
            f"assert len(answers) == {expected}, {why}",
            f"assert not any(isinstance(answer, Exception) for answer in answers), {why}",
        ]
    if op.name in ("dequeue_many", "crowd taken"):
        return _about_list(text, run, expected, actual, why)
    if op.name == "exchange":
        return _about_exchange(text, run, expected, actual, why)
    if op.name in ("stats", "counts", "count") and isinstance(expected, tuple):
        counts, *rest = expected
        if not isinstance(actual, Exception) and actual.counts != counts:
            return [f"assert {text}.counts == {code(counts)}, {why}"]
        seen = "(stats.ready, stats.delayed, stats.quarantined, stats.oldest_ready_age_s)"
        return [f"stats = {text}", f"assert {seen} == {code(tuple(rest))}, {why}"]
    if op.name == "workers":
        rows = [(id, beat, jobs) for id, beat, jobs, _ in expected]
        shows = f"[(worker.id, worker.last_beat_at, worker.jobs) for worker in {text}]"
        return [f"assert {shows} == {code(rows)}, {why}"]
    if isinstance(expected, ModelLease) or op.name == "extend_many":
        should = expected if isinstance(expected, list) else [expected]
        seen = text if isinstance(expected, list) else f"[{text}]"
        script.imports |= {"Lease"}
        due = ", ".join(item.__name__ if isinstance(item, type) else repr(item) for item in should)
        script.imports |= {item.__name__ for item in should if isinstance(item, type)}
        return [
            f"answers = {seen}",
            f"assert [type(x) if isinstance(x, Exception) else x for x in answers] == [{due}], {why}",
        ]
    if expected is None:
        return [f"assert ({text}) is None, {why}"] if not text.startswith(("queue =", "clock.")) else [text]
    return [f"assert {text} == {code(expected)}, {why}"]


def _about(name: str, run: Run, expected: ModelJob | dict[str, Any] | None, actual: Any, why: str) -> list[str]:
    """What must be so of one job."""
    if expected is None:
        return [f"assert {name} is None, {why}"]
    fields = expected.fields if isinstance(expected, ModelJob) else expected
    same = isinstance(actual, Job) and actual.id == fields["id"]
    if not same:
        return [f"assert {name} is not None and {name}.id == {fields['id']!r}, {why}"]
    lines = []
    for field, (should, _) in run.differences(fields, actual).items():
        if field == "lease" and should is not None:
            lines.append(
                f"assert ({name}.lease.token, {name}.lease.worker_id, {name}.lease.expires_at) == "
                f"{code((should.token, should.worker_id, should.expires_at))}, {why}"
            )
        else:
            lines.append(f"assert {name}.{field} == {code(should)}, {why}")
    return lines or [f"assert {name}.status is {code(fields['status'])}, {why}"]


def _about_list(text: str, run: Run, expected: list[ModelJob], actual: Any, why: str) -> list[str]:
    ids = [job.fields["id"] for job in expected]
    lines = [f"jobs = {text}"]
    if len(ids) <= 12:
        lines.append(f"assert [job.id for job in jobs] == {ids}, {why}")
    elif isinstance(actual, list):
        lines.append(f"assert len(jobs) == {len(ids)}, {why}")
        found = [getattr(job, "id", None) for job in actual]
        place = next((n for n, (a, b) in enumerate(zip(ids, found, strict=False)) if a != b), None)
        lines += [f"assert jobs[{place}].id == {ids[place]!r}, {why}"] if place is not None else []
    if isinstance(actual, list) and [getattr(job, "id", None) for job in actual] == ids:
        for n, (job, found) in enumerate(zip(expected, actual, strict=True)):
            if run.differences(job.fields, found):
                lines += _about(f"jobs[{n}]", run, job, found, why)
    return lines


def _about_exchange(text: str, run: Run, expected: Any, actual: Any, why: str) -> list[str]:
    answers, jobs = expected
    lines = [f"answers, jobs = {text}"]
    if not isinstance(actual, tuple):
        return lines
    if len(actual[0]) != len(answers):
        return [*lines, f"assert len(answers) == {len(answers)}, {why}"]
    for n, ((_, _, should), is_) in enumerate(zip(answers, actual[0], strict=False)):
        if isinstance(should, type):
            if not isinstance(is_, should):
                lines.append(f"assert type(answers[{n}]).__name__ == {should.__name__!r}, {why}")
        elif not run.same(should, is_):
            lines += _about(f"answers[{n}]", run, should, is_, why)
    if len(lines) == 1:
        lines += _about_list("jobs", run, jobs, actual[1], why)
    return lines


def _imports(script: Script, body: str, header: tuple[str, str]) -> str:
    lines = []
    words = script.imports.intersection(re.findall(r"\w+", body))
    if "suppress" in words:
        lines.append("from contextlib import suppress")
    if "replace" in words:
        lines.append("from dataclasses import replace")
    if lines:
        lines.append("")
    public = words & _public()
    helpers = [name for name in ("deep", "scribble", "unfit") if f"{name}(" in body]
    lines.append(f"from orch import {', '.join(sorted(public | {'JobStatus'}))}")
    if "encode_record" in words or "CursorMove(" in body:
        names = [name for name in ("CursorMove", "encode_record") if f"{name}(" in body]
        lines.append(f"from orch.job import {', '.join(names)}")
    if "WorkerInfo" in body:
        lines.append("from orch.queue import WorkerInfo")
    lines.append("from orch.testing import FakeClock")
    if helpers:
        lines.append(f"from orch.testing.operations import {', '.join(helpers)}")
    if header[0]:
        lines.append(header[0])
    return "\n".join(lines)


def _public() -> frozenset[str]:
    import orch

    return frozenset(orch.__all__)


def _header(store: Store, queue: PersistentQueue) -> tuple[str, str]:
    """How the queue is imported and made: the import, and the statement."""
    given = getattr(store, "header", None) or getattr(getattr(store, "factory", None), "header", None)
    if given is not None:
        where, made = given
        if getattr(store, "plain", False):
            where, made = f"{where}\nfrom orch.testing.subject import PlainQueue", f"PlainQueue.of({made})"
        return where, f"queue = {made}"
    store = getattr(store, "factory", store)
    name = getattr(store, "__qualname__", "")
    module = getattr(store, "__module__", "")
    if name.isidentifier() and reachable(module, name, store):
        return f"from {module} import {name}", f"queue = {name}(clock)"
    kind = type(queue)
    if reachable(kind.__module__, kind.__name__, kind):
        try:
            kind(clock=FakeClock()).close()  # type: ignore[call-arg]  # tried because it may take a clock
        except Exception as error:
            del error  # it cannot be made so
        else:
            return f"from {kind.__module__} import {kind.__name__}", f"queue = {kind.__name__}(clock=clock)"
    return _GIVEN


def reachable(module: str, name: str, value: object) -> bool:
    """Can a program import this value under this name?"""
    if not module or module == "__main__":
        return False
    try:
        return getattr(importlib.import_module(module), name, None) is value
    except Exception:
        return False
