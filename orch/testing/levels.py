"""Levels for queues that promise less: which promises each needs, and the strongest one that held.

- L1: nothing is lost, nothing appears that was not enqueued, or stays that was purged.
- L2: and every delivery beyond the first has its licence; leases exclude; what is final stays so.
- L3: and the order is right.
- L4: and None means that nothing is ready; leases end on time.

What is beside the levels (lists, values, refusals, ...) breaks the contract, but no level.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import wraps
from typing import Any

from orch.errors import InvalidInput
from orch.job import Job
from orch.testing.drivers import fast
from orch.testing.machine import Operation, QueueMachine, Run, Store, Violation
from orch.testing.model import Model, ModelJob
from orch.testing.trace import generator

LEVELS = ("L1", "L2", "L3", "L4")

#: The promises that each level needs besides those of the level below it. Q2 is of two: a wrong job is a matter of
#: order (L3), None in place of a job is an empty answer that is not true (L4).
NEEDS: dict[str, frozenset[str]] = {
    "L1": frozenset({"Q1", "Q10", "Q13", "Q14"}),
    "L2": frozenset({"Q3", "Q4", "Q6", "Q7", "Q8"}),
    "L3": frozenset({"Q2"}),
    "L4": frozenset({"Q2", "Q5"}),
}
BESIDE = len(LEVELS) + 1  # the rank of promises that no level needs


def rank(violation: Violation) -> int:
    """1 to 4: the level that it breaks, and all above; 5: none."""
    if violation.promise == "Q2" and not _wrong_job(violation.actual):
        return 4
    for n, level in enumerate(LEVELS, 1):
        if violation.promise in NEEDS[level]:
            return n
    return BESIDE


def _wrong_job(actual: Any) -> bool:
    """A job, a list with some, or the pair of an exchange: not an empty answer, not an error."""
    if isinstance(actual, tuple) and len(actual) == 2:
        actual = actual[1]
    return bool(actual) and not isinstance(actual, Exception)


def rank_of(level: str) -> int:
    """The number of a level. Raises `InvalidInput`."""
    if level not in LEVELS:
        raise InvalidInput(f"level must be one of {', '.join(LEVELS)}, got {level!r}")
    return LEVELS.index(level) + 1


@dataclass(slots=True)
class Grade:
    """How a queue did: the strongest level that held (None: not even L1), and the first failure of each rank."""

    level: str | None
    failures: dict[int, fast.Failure] = field(default_factory=dict)
    traces: int = 0
    steps: int = 0
    coverage: list[int] = field(default_factory=list)
    machines: dict[int, QueueMachine] = field(default_factory=dict)  # which showed it

    @property
    def against(self) -> tuple[QueueMachine, fast.Failure] | None:
        """The witness against the next level, and the machine that it is of."""
        broken = min(self.failures, default=BESIDE)
        return (self.machines[broken], self.failures[broken]) if broken < BESIDE else None


def grade(
    machine: QueueMachine,
    store: Store,
    *,
    traces: int,
    seed: int = 0,
    demanded: str = "L4",
    stop: Callable[[], bool] | None = None,
) -> Grade:
    """Attack a queue without ending at the first violation; stops early when the level `demanded` is broken.

    A trace ends where it breaks a promise, and the next one begins. Half of the traces follow the order in which the
    queue delivers, whatever it is, so that losses and duplicates are found in a queue without an order as well.
    """
    bound = rank_of(demanded)
    best = len(LEVELS) if "lease" in machine.capabilities else 3  # whoever has no leases has no lease timing
    graded = Grade(None, coverage=[0] * machine.rows)
    rng = generator(seed, 1)
    machines = [(which, fast.Deck(which, rng)) for which in (machine, following(machine))]
    shrunk = 0
    for n in range(traces):
        if stop is not None and stop():
            break
        which, deck = machines[n % 2]
        run = Run(which, store)
        failure = None
        try:
            fast.wander(run, rng, deck, fast.STEPS)
        except Violation as violation:
            failure = fast.Failure(violation, run.steps, seed, found_after=n + 1, unshrunk=len(run.steps))
        finally:
            graded.traces += 1
            graded.steps += len(run.steps)
            run.close()
        if failure is None or shrunk >= SHRUNK_MAX or rank(failure.violation) >= min(graded.failures, default=9):
            continue
        shrunk += 1
        failure = fast.minimal(which, store, failure)  # whose blame is the true one
        failure.found_after = n + 1
        graded.failures.setdefault(rank(failure.violation), failure)
        graded.machines.setdefault(rank(failure.violation), which)
        if min(graded.failures) <= bound and (bound < len(LEVELS) or min(graded.failures) == 1):
            break
    held = min(min(graded.failures, default=BESIDE) - 1, best)
    graded.level = LEVELS[held - 1] if held else None
    return graded


SHRUNK_MAX = 60  # failures that are made small to see what they are


# -- an order that is the queue's own affair ---------------------------------------------------------------------------


class FollowingModel(Model):
    """A model that delivers what the queue delivered, if it may be delivered at all."""

    __slots__ = ("answer", "run", "wanted")

    def __init__(self, now: int, *, lease_us: int, max_crashes: int, leases: bool) -> None:
        super().__init__(now, lease_us=lease_us, max_crashes=max_crashes, leases=leases)
        self.wanted: list[str] = []
        self.run: Run | None = None
        self.answer: Any = None

    def dequeue(self, n: int, worker_id: str, lease_us: int | None) -> list[ModelJob]:
        """The wanted jobs as far as they are ready; what should come, where none is wanted."""
        wanted, self.wanted = self.wanted, []
        if not wanted:
            return super().dequeue(n, worker_id, lease_us)
        self.reclaim()
        self.promote()
        every = self.jobs
        delivered: list[ModelJob] = []
        try:
            for job_id in wanted[:n]:
                self.jobs = {job_id: every[job_id]} if job_id in every else {}
                delivered += super().dequeue(1, worker_id, lease_us)
        finally:
            self.jobs = every
        return delivered


#: What is delivered, or found unreadable, cannot be told before these are done.
_NOT_FOLLOWED = "xHq"
_HOOKS_FOLLOWED = ("", "reopen")


def following(machine: QueueMachine) -> QueueMachine:
    """The same machine for a queue whose order is its own affair: each delivery is asked of the queue first."""
    operations = [
        _following(op) if op.code in "DdN" else op for op in machine.operations if op.code not in _NOT_FOLLOWED
    ]
    twin = QueueMachine(operations, machine.capabilities)
    twin.model = FollowingModel
    return twin


def _following(op: Operation) -> Operation:
    @wraps(op.bind)
    def bind(run: Run, *args: int) -> tuple[Any, ...] | None:
        _model(run.model).run = run
        return op.bind(run, *args)

    def step(model: Model, *values: Any) -> Any:
        asked = _model(model)
        assert asked.run is not None
        try:
            asked.answer = op.call(asked.run, *values)
        except Exception as error:
            asked.answer = error
        jobs = asked.answer if isinstance(asked.answer, list) else [asked.answer]
        asked.wanted = [job.id for job in jobs if isinstance(job, Job)]
        return op.step(model, *values)

    def call(run: Run, *_: Any) -> Any:
        answer = _model(run.model).answer
        if isinstance(answer, Exception):
            raise answer
        return answer

    return replace(op, bind=bind, step=step, call=call, fixed=False)


def _model(model: Model) -> FollowingModel:
    assert isinstance(model, FollowingModel)
    return model
