"""Whole workers on virtual time, stopped for ever between any two of their steps: no promise is broken in any world.

The worlds are those of `orch.simulator.ordeal`, with the shipping worker, scheduler and queue inside. A failure prints
the smallest world that shows it, with the token that replays it.
"""

import os
from collections import Counter

import pytest

from orch.errors import InvalidInput
from orch.simulator.ordeal import FAULTS, SHIPPING, Ordeal, Subject, dealt, play
from orch.testing.bugs import concurrent
from orch.testing.drivers.sim import FAMILIES, SIZES, dealt_world, explore, replay, smallest, story

WORLDS = {"quick": 40, "ci": 600, "deep": 20_000}[os.environ.get("HYPOTHESIS_PROFILE", "quick")]


def worlds_of(*faults):
    """Worlds with these faults: from one worker and one job to four workers and twelve jobs."""
    return lambda seed: dealt(seed, workers=1 + seed % 4, jobs=1 + seed % 12, faults=faults)


def all_keep_their_promises(*faults, subject=SHIPPING, view="store"):
    """Play worlds; fail with the smallest one that breaks a promise. Answers how often each kind of choice was made."""
    explored = explore(subject, worlds=WORLDS, view=view, deal=worlds_of(*faults))
    if explored.ended is not None:
        pytest.fail(story(smallest(explored.ended, subject, view=view)), pytrace=False)
    return explored.faults


@pytest.mark.promise("W2", "W3", "W6", "W7", "W8", "Q1", "Q2", "Q4")
def test_without_faults_no_run_overlaps_and_nothing_is_claimed_too_early():
    all_keep_their_promises()


@pytest.mark.promise("W1", "W2", "W7", "Q5", "Q6")
def test_a_crash_at_any_step_loses_no_job_and_runs_none_too_often():
    assert all_keep_their_promises("crash")["x"] > WORLDS / 4, "the worlds hardly crash anybody"


@pytest.mark.promise("W1", "W4")
def test_a_stop_at_any_step_gives_everything_back():
    assert all_keep_their_promises("stop", "crash")["t"] > WORLDS / 4, "the worlds hardly stop anybody"


@pytest.mark.promise("W3", "W5")
def test_lost_requests_and_outages_delay_and_never_repeat_work():
    struck = all_keep_their_promises("request", "outage")
    assert struck["n"] > WORLDS / 4
    assert struck["o"] > WORLDS / 4


@pytest.mark.promise("W2", "Q4", "Q5")
def test_a_worker_that_was_stopped_for_longer_than_its_lease_is_refused_and_says_so():
    all_keep_their_promises("pause", "stall", "reply")


@pytest.mark.promise("W1", "W2", "W3", "W4", "W5", "W8", "Q1", "Q8")
@pytest.mark.parametrize("view", ["store", "clients"])
def test_everything_at_once_still_comes_to_an_end(view):
    all_keep_their_promises(*FAULTS, view=view)


@pytest.mark.promise("S1", "S2")
def test_several_schedulers_make_one_job_of_each_tick():
    all_keep_their_promises("request", "reply", "outage", subject=Subject(schedulers=2))


def test_a_right_queue_of_several_commands_breaks_nothing():
    """The base of the bugs that need several commands is not what breaks a promise."""

    def make_queue(clock):
        return concurrent.Commands(lease_s=6.0, max_crashes=2, clock=clock)

    all_keep_their_promises("crash", "stall", "stop", subject=Subject(make_queue))


def test_a_world_is_replayed_from_its_tape():
    for seed in range(10):
        first = play(dealt(seed, workers=3, jobs=6, faults=FAULTS))
        again = replay(first.ordeal.token)
        assert again.ordeal.entries == first.ordeal.entries
        assert list(again.history) == list(first.history)


@pytest.mark.parametrize(
    "token",
    [
        # A job ends and its lease is refused while its worker is at an earlier event: it is lost, and said to be.
        "sim1.bq.0.3-4.c1-0-1.j3-0-1.j4-0-1.t0-0-1.t1-0-2.x1-a-5-b-2-d-2-g-2.fb6e",
        # A worker was stopped for so long that the queue forgot it; waiting in claims, it did not tell of itself again.
        "sim1.ge.0-1.2-3.j2-0-1-2-1-5-4-6-2-7-5.j3-5-3.x0-a-5-b-6.54a6",
        # An announcement came late, after a later one.
        (
            "sim1.5n.0.0-2-3-4-5.c2-0-1.j0-0-3-5-5.j2-4-2.j3-0-3-5-3.j4-0-3-1-1-5-5.j5-0-2-5-3-7-5.n2-7-8.o0-2-2-3-2."
            "x0-r-1.x1-14-5-1u-5-2t-1.3c07"
        ),
        # The only worker is stopped for most of a minute: nothing happens, and nobody is to blame.
        "sim1.ni.0.0.j0-0-5.x0-7-2-i-5-p-6-s-6.d554",
        # A worker ends well before it comes to saying that a lease was refused to it.
        "sim1.1jj.0-1.0-1-2.c36-0-1.j0-4-1.j1-5-5.j2-5-3.t0-0-5.t36-0-3.x0-h-6-n-1.x36-a-6-g-5-k-2.ed81",
    ],
)
@pytest.mark.promise("W2", "W4", "W8")
def test_a_world_in_which_something_was_found_breaks_nothing_now(token):
    assert replay(token).broken is None


def test_a_claim_of_a_worker_that_was_stopped_may_take_effect_when_it_goes_on():
    token = "sim1.1kv.0.0-1-2-3-4.c0-0-1.j3-0-4.j4-4-1.n0-g-7.o0-2-8-3-2.x0-1c-5.2f17"
    assert replay(token, view="clients").broken is None


@pytest.mark.parametrize("token", ["", "sim1", "sim1.0.0.0.zzzz", "q1.a.b.c"])
def test_a_token_that_is_none_is_refused(token):
    with pytest.raises(InvalidInput, match="token"):
        Ordeal.parse(token)


def test_unknown_faults_are_refused():
    with pytest.raises(InvalidInput, match="meteor"):
        dealt(0, workers=1, jobs=1, faults=["meteor"])


def test_sizes_and_families_take_turns():
    seen = Counter((len(o.workers), len(o.jobs), o.faults) for o in map(dealt_world, range(len(FAMILIES) * len(SIZES))))
    assert set(seen.values()) == {1}
