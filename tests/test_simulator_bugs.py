"""The sim driver finds what is wrong, blames the promise, makes it small, and replays it."""

import pytest

from orch.simulator.ordeal import Ordeal
from orch.testing.bugs import concurrent, workers
from orch.testing.bugs.sim_hunter import hunt
from orch.testing.drivers.sim import explore, replay

BUGS = {bug.name: bug for bug in (*workers.BUGS, *concurrent.BUGS)}
#: One for each promise of a worker and each way to need several clients; `python -m orch.testing.bugs` hunts all.
SAMPLE = [
    "acknowledges-before-it-starts",
    "never-extends",
    "repeats-the-work-not-the-report",
    "gives-back-at-once",
    "outage-ends-it-with-zero",
    "retries-at-once",
    "claims-more-than-it-can-start",
    "says-nothing-of-itself",
    "pop-then-register",
    "swept-before-it-is-active",
    "lease-by-the-callers-clock",
    "heartbeat-revives-a-lost-lease",
    "two-schedulers-two-jobs",
]


@pytest.mark.parametrize("name", SAMPLE)
def test_a_seeded_bug_is_found_blamed_made_small_and_replayed(name):
    bug = BUGS[name]
    found = hunt(bug)
    assert found is not None, "missed"
    assert found.promise in bug.promises
    assert found.steps <= 15
    assert found.token in found.program
    again = replay(found.token, bug.make())
    assert (again.broken.promise, again.broken.sentence) == (found.promise, found.sentence)
    assert Ordeal.parse(found.token).token == found.token


@pytest.mark.parametrize("name", BUGS)
def test_the_world_of_every_bug_comes_again_from_its_token(name):
    subject = BUGS[name].make()
    found = explore(subject, budget_s=10.0).ended
    assert found is not None, "missed"
    assert found.broken.promise in BUGS[name].promises
    again = replay(found.ordeal.token, BUGS[name].make())
    assert (again.broken.promise, again.broken.sentence) == (found.broken.promise, found.broken.sentence)
    assert again.ordeal.entries == found.ordeal.entries


def test_what_a_bug_breaks_holds_without_it():
    for name in SAMPLE[:4]:
        assert replay(hunt(BUGS[name]).token).broken is None


def test_names_are_unique_and_each_worker_promise_has_a_bug():
    assert len(BUGS) == len(workers.BUGS) + len(concurrent.BUGS)
    assert {f"W{n}" for n in range(1, 9)} <= {bug.promises[0] for bug in BUGS.values()}


def test_the_hunter_gives_up_after_its_budget():
    from orch.simulator.ordeal import SHIPPING
    from orch.testing.bugs import Bug

    assert hunt(Bug("none", "sim", ("Q1",), "Nothing is wrong.", "orch", lambda: SHIPPING), budget_s=0.05) is None
