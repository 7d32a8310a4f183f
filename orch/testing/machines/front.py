"""A machine for Hypothesis: any list of its acts is a run, so `@given(programs(MACHINE))` explores it.

Hypothesis draws, shrinks and keeps examples in its own way; a failure is told as by the driver of the machines. A run
is a swarm as it is there: one number says which acts it mixes, how often each, and how their arguments are drawn.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import hypothesis
from hypothesis import strategies as st

from orch.testing.machines import driver
from orch.testing.machines.world import Act, Machine, Step
from orch.testing.trace import generator

MIXES = 4096  # swarms to choose from
ROUND = 500  # examples of one run of Hypothesis, which remembers each until it ends

SETTINGS = hypothesis.settings(
    deadline=None,
    suppress_health_check=list(hypothesis.HealthCheck),
    phases=[hypothesis.Phase.generate],
    report_multiple_bugs=False,
    database=None,
    derandomize=False,
)


class Found(AssertionError):
    """A run that broke a promise, told when somebody asks: Hypothesis finds it many times."""

    def __init__(self, failure: driver.Failure) -> None:
        super().__init__(failure)
        self.failure = failure

    def __str__(self) -> str:
        return str(self.failure)


class Stopped(BaseException):
    """It is time to end. No `Exception`, which Hypothesis would take for a failure."""


@st.composite
def programs(draw: st.DrawFn, machine: Machine) -> list[Step]:
    """Lists of acts with their arguments, as long as runs of the machine are."""
    mix = draw(_below(MIXES))
    menu, rich = driver.mixed(machine, generator(mix)) if mix else (machine.acts, True)
    least = machine.length // 2 if mix else 0  # else most lists are short
    return draw(st.lists(_steps(tuple(menu), rich), min_size=least, max_size=machine.length))


@cache
def _below(size: int) -> st.SearchStrategy[int]:
    """Numbers from 0, all equally likely: `integers` prefers small ones."""
    return st.sampled_from(range(size))


@st.composite
def _steps(draw: st.DrawFn, menu: tuple[Act, ...], rich: bool) -> Step:
    act = menu[draw(_below(len(menu)))]
    return act, tuple([draw(_below(size) if rich else st.integers(0, size - 1)) for size in act.domains])


def check(machine: Machine, steps: list[Step]) -> list[Step]:
    """Do the steps; answers with those that could be done. Raises `Found`, with program and token in its text."""
    done, broken = driver.replay(machine, steps)
    if broken is not None:
        raise Found(driver.Failure(machine, broken, done, unshrunk=len(done))) from None
    return done


def explore(
    machine: Machine, *, max_examples: int, seed: int = 0, shrink: bool = True, stop: Callable[[], bool] | None = None
) -> driver.Outcome:
    """Do so many examples, or until one fails or `stop()`; the failing one is made small by the machines' driver."""
    outcome = driver.Outcome()

    def run(steps: list[Step]) -> None:
        outcome.runs += 1
        done = check(machine, steps)
        outcome.steps += len(done)
        outcome.done.update(act.name for act, _ in done)
        if stop is not None and stop():
            raise Stopped

    try:
        for n in range(0, max_examples, ROUND):
            settings = hypothesis.settings(SETTINGS, max_examples=min(ROUND, max_examples - n))
            settings(hypothesis.seed(seed + n // ROUND)(hypothesis.given(programs(machine))(run)))()
    except Stopped:
        pass
    except Found as found:
        failure = found.failure
        failure.seed, failure.found_after = seed, outcome.runs
        outcome.failure = driver.minimal(failure) if shrink else failure
    return outcome
