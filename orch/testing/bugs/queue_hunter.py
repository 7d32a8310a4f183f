"""Hunts the bugs of level "queue": the queue machine under the fast driver, or under Hypothesis."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from orch.testing.bugs.catalogue import Bug, Finding
from orch.testing.drivers import fast
from orch.testing.machine import QueueMachine
from orch.testing.report import violation_of

TRACES_MAX = 1_000_000


def hunt(bug: Bug, *, seed: int = 0, budget_s: float = 10.0) -> Finding | None:
    """Attack it with the fast driver until it breaks a promise, or `budget_s` of CPU are spent."""
    return _hunt(bug, partial(fast.explore, traces=TRACES_MAX), seed, budget_s)


def hunt_with_hypothesis(bug: Bug, *, seed: int = 0, budget_s: float = 60.0) -> Finding | None:
    """Attack it with the Hypothesis driver in the same way."""
    from orch.testing.drivers.hypothesis import explore

    return _hunt(bug, partial(explore, max_examples=TRACES_MAX), seed, budget_s)


def _hunt(bug: Bug, explore: Callable[..., fast.Outcome], seed: int, budget_s: float) -> Finding | None:
    machine = QueueMachine.of(bug.make, getattr(bug.make, "capabilities", None))
    begun = time.process_time()
    try:
        outcome = explore(machine, bug.make, seed=seed, shrink=False, stop=_after(begun + budget_s))
        found = time.process_time()
        if outcome.failure is None:
            return None
        failure = fast.minimal(machine, bug.make, outcome.failure)
        shrunk = time.process_time()
        return _finding(machine, bug, failure, found - begun, shrunk - found)
    finally:
        close(bug)


def _finding(machine: QueueMachine, bug: Bug, failure: fast.Failure, found_s: float, shrink_s: float) -> Finding:
    violation, trace = failure.violation, failure.trace
    report = violation_of(machine, bug.make, failure.steps, violation, trace, f"seed {failure.seed}")
    return Finding(
        violation.promise, violation.sentence, len(failure.steps), trace.token, report.program, found_s, shrink_s
    )


def _after(deadline: float) -> Callable[[], bool]:
    return lambda: time.process_time() > deadline


def close(bug: Bug) -> None:
    """Remove what the store of the bug has made, if anything."""
    close = getattr(bug.make, "close", None)
    if close is not None:
        close()
