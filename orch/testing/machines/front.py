"""A machine for Hypothesis: any list of its acts is a run, so `@given(programs(MACHINE))` explores it.

Hypothesis draws, shrinks and keeps examples in its own way; a failure is told as by the driver of the machines.
"""

from __future__ import annotations

from hypothesis import strategies as st

from orch.testing.machines import driver
from orch.testing.machines.world import Machine, Step


def programs(machine: Machine) -> st.SearchStrategy[list[Step]]:
    """Lists of acts with their arguments, as long as runs of the machine are."""
    steps = [st.tuples(st.just(act), st.tuples(*(st.integers(0, n - 1) for n in act.domains))) for act in machine.acts]
    return st.lists(st.one_of(steps), max_size=machine.length)


def check(machine: Machine, steps: list[Step]) -> None:
    """Do the steps; raises `Broken` with the program and the token under it."""
    done, broken = driver.replay(machine, steps)
    if broken is not None:
        raise AssertionError(str(driver.Failure(machine, broken, done, unshrunk=len(done)))) from broken
