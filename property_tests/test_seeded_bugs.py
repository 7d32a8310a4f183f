"""The shortest program of each seeded bug of a queue: 1-minimal, and no shorter one of its own operations fails.

In the quick profile a sample of the bugs, in the others all of them. Hypothesis hunts a sample of all levels, too.
"""

from __future__ import annotations

import os

import pytest

from orch.testing.bugs.catalogue import every, hunter
from orch.testing.bugs.queue_hunter import close
from orch.testing.drivers import fast
from orch.testing.machine import QueueMachine
from orch.testing.shrinking import neighbours, shorter

QUICK_ONE_OF = 12  # bugs of the catalogue, in the quick profile
#: And those whose program stays longer than it need be where shrinking does not try all short ones.
TELLING = {"hands-out-its-own", "age-since-the-enqueue", "a-repeated-give-back-is-lost", "time-never-goes-back"}
TRACES_MAX = 20_000
SHORT = 4  # steps of the programs that are all tried
TRIES_MAX = 1_500  # of them, for one bug
ONE_OF = 75  # bugs that Hypothesis hunts, in the ci profile: `nox -s bugs -- --driver hypothesis` hunts all
BUDGET_S = 60.0  # of CPU, for each
HUNTED = [bug for bug in every() if hunter(bug.level, "hypothesis") is not None][::ONE_OF]
BUGS = every("queue")
if os.environ.get("HYPOTHESIS_PROFILE", "quick") == "quick":
    BUGS = [bug for n, bug in enumerate(BUGS) if n % QUICK_ONE_OF == 0 or bug.name in TELLING]
    HUNTED = HUNTED[:1]
assert {bug.name for bug in BUGS} >= TELLING


@pytest.fixture(scope="module", params=BUGS, ids=lambda bug: bug.name)
def found(request):
    """A bug's machine, its store and the steps of its shortest program."""
    bug = request.param
    machine = QueueMachine.of(bug.make, getattr(bug.make, "capabilities", None))
    try:
        failure = fast.explore(machine, bug.make, traces=TRACES_MAX).failure
        assert failure is not None, f"missed: {bug.what}"
        yield machine, bug.make, failure.steps
    finally:
        close(bug)


def failing(machine, store, candidates):
    """The first of these programs that fails, as a token; None if none does."""
    for candidate in candidates:
        done, violation = fast.replay(machine, store, candidate)
        if violation is not None:
            return fast.trace_of(done).token
    return None


def test_no_step_can_be_left_out_and_no_argument_lowered(found):
    machine, store, steps = found
    assert failing(machine, store, neighbours(steps)) is None


def test_no_shorter_program_of_the_same_operations_fails(found):
    machine, store, steps = found
    own = len(dict.fromkeys(steps))
    if any(op.code == "C" for op, _ in steps) or sum(own**n for n in range(1, min(SHORT + 1, len(steps)))) > TRIES_MAX:
        pytest.skip("too many programs, or too slow ones, to try them all")
    assert failing(machine, store, shorter(steps, SHORT)) is None


@pytest.mark.parametrize("bug", HUNTED, ids=lambda bug: bug.name)
def test_hypothesis_finds_it_and_blames_a_promise_that_it_breaks(bug):
    finding = hunter(bug.level, "hypothesis")(bug, budget_s=BUDGET_S)
    assert finding is not None, f"missed: {bug.what}"
    assert finding.promise in bug.promises, f"{finding.promise}: {finding.sentence}\n{finding.program}"
