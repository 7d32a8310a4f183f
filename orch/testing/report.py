"""What a failure says: the promise and its sentence, the shortest program, the state around its last step, a token."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import Any

from orch.job import Job, JobStatus
from orch.queue import PersistentQueue
from orch.testing.blame import shown
from orch.testing.machine import MOODS, QueueMachine, Run, Step, Store, Violation
from orch.testing.model import PLACES, Model
from orch.testing.program import DEFAULTS, program_of
from orch.testing.story import Story, story_of
from orch.testing.trace import Trace

_ELSEWHERE = {
    "D5": "recorded: What record_progress saved is what progress returns, until a requeue or a purge; it is fenced.",
    "S2": "cursors: A schedule's cursor moves by compare-and-set.",
    "W8": "visible: Workers that beat within the last ten beats are listed with the jobs they hold.",
}


@cache
def promises() -> dict[str, str]:
    """Each promise of the queue's contract as its name and sentence, read from the docstring that makes it."""
    text = PersistentQueue.__doc__ or ""
    found = dict(_ELSEWHERE)
    for id, name, body in re.findall(r"^    (Q\d+) (.+)\n((?:        .+\n)+)", text, re.MULTILINE):
        found[id] = f"{name}: {' '.join(body.split())}"
    return found


class ContractViolation(AssertionError):
    """A queue broke its contract: which promise, by which trace, and a program that shows it.

    `promise` is the id, `sentence` what the contract says, `message` what happened, `program` Python to be pasted,
    `trace` the operations (`trace.token` replays them); `str()` is the whole report. In a notebook it shows itself as
    a picture of its `story`, if matplotlib is there, and the program.
    """

    def __init__(
        self, promise: str, message: str, trace: Trace, program: str, report: str = "", story: Story | None = None
    ) -> None:
        super().__init__(promise, message, trace, program, report, story)
        self.promise = promise
        self.sentence = promises().get(promise, "")
        self.message = message
        self.trace = trace
        self.program = program
        self.report = report
        self.story = story

    def __str__(self) -> str:
        return self.report or f"{self.promise} {self.sentence}\n\n{self.message}\n\n{self.program}"

    def __repr__(self) -> str:
        return f"ContractViolation({self.promise}: {self.message})"

    def _repr_html_(self) -> str:
        from html import escape  # only notebooks pay for it

        picture = ""
        if self.story is not None:
            try:
                from orch.lab.pictures import picture_of_story
            except ModuleNotFoundError:  # without the chart library there is the text
                return f"<pre>{escape(str(self))}</pre>"
            picture = picture_of_story(self.story)
        return (
            f"<p><b>{self.promise}</b> {escape(self.sentence)}</p>{picture}"
            f'<pre style="font-family:monospace">{escape(self.program)}</pre>'
            f"<p>Replay: <code>{escape(self.trace.token)}</code></p>"
        )


def violation_of(
    machine: QueueMachine, store: Store, steps: Sequence[Step], violation: Violation, trace: Trace, found: str = ""
) -> ContractViolation:
    """The report of a failing (shortest) trace; it is run twice more to see the states around its last step."""
    program = program_of(machine, store, steps, violation)
    before = _state(*_rerun(machine, store, steps[:-1]))
    after = _state(*_rerun(machine, store, steps))
    parts = [
        f"{violation.promise} {promises().get(violation.promise, '')}",
        violation.sentence,
        f"The shortest program{f' ({found})' if found else ''}:",
        _indented(program),
        "Before its last step:",
        _indented(before),
        "After it:",
        _indented(after),
        f"Replay: verify(make_queue, replay={trace.token!r})",
    ]
    story = story_of(machine, store, steps, violation)
    return ContractViolation(violation.promise, violation.sentence, trace, program, "\n\n".join(parts), story)


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" if line else "" for line in text.splitlines())


def _rerun(machine: QueueMachine, store: Store, steps: Sequence[Step]) -> tuple[Model, Any]:
    """Model and listing of the queue after these steps, the last one unjudged."""
    run = Run(machine, store)
    try:
        for op, args in steps[:-1]:
            run.do(op, args)
        for op, args in steps[-1:]:
            values = op.bind(run, *args)
            if values is not None:
                op.step(run.model, *values)
                try:
                    op.call(run, *values)
                except Exception as error:
                    del error  # the program shows it
        return run.model, _listed(run)
    except Violation:
        return run.model, _listed(run)
    finally:
        run.close()


def _listed(run: Run) -> Any:
    try:
        return run.clients[0].list_jobs(limit=20)
    except Exception as error:
        return error


def _state(model: Model, listed: Any) -> str:
    """A table of what should be stored and what is."""
    should = {job.fields["id"]: _line(job.fields) for job in model.list_jobs(None, 20)}
    if not isinstance(listed, list):
        is_ = {"": f"list_jobs: {shown(listed)}"}
    else:
        is_ = {str(getattr(job, "id", job)): _line(vars(job)) if isinstance(job, Job) else shown(job) for job in listed}
    if not should and not is_:
        return "(no jobs)"
    lines = []
    for id in dict.fromkeys([*should, *is_]):
        if should.get(id) == is_.get(id):
            lines.append(f"{id}  {should[id]}")
        else:
            lines.append(f"{id}  should be  {should.get(id, 'absent')}")
            lines.append(f"{' ' * len(id)}  is         {is_.get(id, 'absent')}")
    return "\n".join(lines)


def _line(fields: dict[str, Any]) -> str:
    status = fields["status"]
    parts = [status.value if isinstance(status, JobStatus) else repr(status)]
    parts += [
        f"{name}={shown(fields[name])}"
        for name in DEFAULTS
        if name in fields and fields[name] != DEFAULTS[name] and name not in ("params", "extra")
    ]
    lease = fields.get("lease")
    if lease is not None:
        parts.append(f"lease={lease.token} of {lease.worker_id!r} until {lease.expires_at}")
    return "  ".join(parts)


# -- coverage --------------------------------------------------------------------------------------------------------


def coverage_table(machine: QueueMachine, coverage: Sequence[int]) -> str:
    """How often each operation met each state: operations on a job by where it was, the others by the whole queue."""
    width = max(len(op.name) for op in machine.operations)
    lines = [f"{'':{width}}" + "".join(f" {place[:11]:>11}" for place in PLACES)]
    rest = [f"{'':{width}}" + "".join(f" {mood:>19}" for mood in MOODS)]
    for op in machine.operations:
        if op.on_job:
            cells = coverage[op.row : op.row + len(PLACES)]
            lines.append(f"{op.name:{width}}" + "".join(f" {n or '.':>11}" for n in cells))
        else:
            cells = coverage[op.row : op.row + len(MOODS)]
            rest.append(f"{op.name:{width}}" + "".join(f" {n or '.':>19}" for n in cells))
    return "\n".join([*lines, "", *rest])


def coverage_counts(machine: QueueMachine, coverage: Sequence[int]) -> dict[str, dict[str, int]]:
    """The same as numbers: operation -> state -> times; of operations that are on no job, the whole queue's state."""
    return {
        op.name: dict(zip(PLACES if op.on_job else MOODS, coverage[op.row : op.row + len(PLACES)], strict=False))
        for op in machine.operations
    }


def never_reached(machine: QueueMachine, coverage: Sequence[int]) -> list[str]:
    """The operations that were never done."""
    return [op.name for op in machine.operations if not any(coverage[op.row : op.row + len(PLACES)])]
