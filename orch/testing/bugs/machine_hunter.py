"""Hunts the bugs of levels "scheduler", "dag" and "logs", each with the machine of its level, or with Hypothesis."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from importlib import import_module

from orch.testing.bugs.catalogue import Bug, Finding
from orch.testing.machines import driver
from orch.testing.machines.world import Machine

RUNS_MAX = 1_000_000


def machine_of(level: str) -> Machine:
    """The machine of a level."""
    machine = import_module(f"orch.testing.machines.{level}").MACHINE
    assert isinstance(machine, Machine)
    return machine


def hunt(bug: Bug, *, seed: int = 0, budget_s: float = 10.0) -> Finding | None:
    """Run the machine under the bug until it breaks a promise, or `budget_s` of CPU are spent; make that run small."""
    return _hunt(bug, partial(driver.explore, runs=RUNS_MAX), seed, budget_s)


def hunt_with_hypothesis(bug: Bug, *, seed: int = 0, budget_s: float = 60.0) -> Finding | None:
    """Let Hypothesis choose the acts, in the same way."""
    from orch.testing.machines.front import explore

    return _hunt(bug, partial(explore, max_examples=RUNS_MAX), seed, budget_s)


def _hunt(bug: Bug, explore: Callable[..., driver.Outcome], seed: int, budget_s: float) -> Finding | None:
    machine = machine_of(bug.level)
    begun = time.process_time()
    with bug.make():
        outcome = explore(machine, seed=seed, shrink=False, stop=_after(begun + budget_s))
        found = time.process_time()
        if outcome.failure is None:
            return None
        failure = driver.minimal(outcome.failure)
        shrunk = time.process_time()
    program = failure.program(f"{bug.make.__module__}.{bug.make.__name__}")
    broken = failure.broken
    return Finding(
        broken.promise, broken.sentence, len(failure.steps), failure.trace.token, program, found - begun, shrunk - found
    )


def _after(deadline: float) -> Callable[[], bool]:
    return lambda: time.process_time() > deadline
