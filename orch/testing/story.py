"""A failing trace as a story, for a picture: what was done, in order, and where each job was after it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from orch.testing.blame import shown
from orch.testing.machine import Operation, QueueMachine, Run, Step, Store, Violation
from orch.testing.model import DEAD, DELAYED, DONE, DUE, EXPIRED, HELD, QUARANTINED, READY, UNREAD, Model
from orch.testing.program import Script, acted, statement

TEXT_MAX = 96  # characters of a step
STATES = {  # a place of the model in one word
    READY: "pending",
    DUE: "pending",
    DELAYED: "delayed",
    HELD: "running",
    EXPIRED: "lease over",
    DONE: "success",
    DEAD: "failed",
    QUARANTINED: "unreadable",
    UNREAD: "unreadable",
}
_JOB = re.compile(
    r"Job\(('[^']*'), '[^']*', [^,]+, [^,]+, JobStatus\.PENDING, '[^']*'(?:, )?((?:[^()\[\]{}]|\{[^{}]*\})*)\)"
)


@dataclass(frozen=True, slots=True)
class Scene:
    """One step: its number, when it was done in seconds since the beginning, what it did as Python, and where the
    jobs should be after it: job, state, and who holds it."""

    number: int
    at_s: float
    text: str
    jobs: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True, slots=True)
class Story:
    """All scenes; the last one broke the promise: what was expected, and what came instead."""

    promise: str
    sentence: str
    scenes: tuple[Scene, ...]
    expected: str
    actual: str


def story_of(machine: QueueMachine, store: Store, steps: Sequence[Step], violation: Violation) -> Story:
    """Do the steps once more, and tell them."""
    script = Script(keeps=False)
    scenes: list[Scene] = []
    run = Run(machine, store)
    start = run.model.now
    try:
        for _, op, values, text, expected, actual in acted(script, run, steps):
            right = _as_it_should(run, op, values, expected, actual)
            lines = statement(script, op, text, actual) if right else [text]  # a wrong answer may be of any shape
            scenes.append(_scene(len(scenes) + 1, run.model, start, _short(lines)))
            if not right:
                break
    finally:
        run.close()
    expected_text, actual_text = _answers(steps[-1][0].name, violation)
    return Story(violation.promise, violation.sentence, tuple(scenes), expected_text, actual_text)


def _answers(name: str, violation: Violation) -> tuple[str, str]:
    """What was expected and what came, as texts; empty where the sentence says it better."""
    expected, actual = violation.expected, violation.actual
    if name == "clients meet":  # one of several, each with the queue as it is then
        expected = [answers for _, answers, _ in expected]
        actual = actual[0] if isinstance(actual, tuple) else actual
    elif name in ("client dies", "store away", "store full", "look", "open again"):
        return "", ""
    return _cut(shown(expected)), _cut(shown(actual))


def _as_it_should(run: Run, op: Operation, values: tuple[object, ...], expected: object, actual: object) -> bool:
    try:
        run.judge(op, values, expected, actual)
    except Violation:
        return False
    return True


def _scene(number: int, model: Model, start: int, text: str) -> Scene:
    jobs = []
    for job_id in dict.fromkeys([*model.jobs, *model.quarantine]):
        job = model.jobs.get(job_id)
        holder = "" if job is None or job.fields["lease"] is None else job.fields["lease"].worker_id
        jobs.append((job_id, STATES[model.place(job_id)], holder))
    return Scene(number, (model.now - start) / 1e6, text, tuple(jobs))


def _short(lines: Sequence[str]) -> str:
    """The lines of a step as one, without what is the same everywhere."""
    text = " ".join(line.strip() for line in lines if not line.startswith("with suppress"))
    text = _JOB.sub(lambda found: f"Job({found[1]}{f', {found[2]}' if found[2] else ''})", text)
    text = text.replace("queue, died = ", "").replace("lambda queue: queue.", "").replace("make_queue.", "")
    for hook, said in _HOOKS:
        found = hook.fullmatch(text)
        if found is not None:
            text = said.format(*found.groups())
    return _cut(text.replace("queue.", ""))


_HOOKS = (
    (re.compile(r"die\(queue, (\d+), (.+)\)"), "{1}, whose client dies after {0} commands"),
    (re.compile(r"meet\(queue, (\d+), (.+\)), (\w+\(.*\))\)"), "{1}; after {0} of its commands, another client: {2}"),
    (re.compile(r"full\(queue, (.+)\)"), "{0} while the store takes no writes"),
    (re.compile(r"unreachable\(queue, (.+)\)"), "{0} while the store is away"),
)


def _cut(text: str) -> str:
    return text if len(text) <= TEXT_MAX else f"{text[: TEXT_MAX - 1]}…"
