"""The checker's rules on histories written out by hand; random ones are in property_tests/test_checker_properties.py.

Instants are seconds. Leases last 10 s, the sweep takes 2 s, and both clocks agree, so that every bound is exact.
"""

import json
import subprocess
import sys
from array import array

import pytest

from orch.checker import (
    LEVELS,
    NEVER,
    RULES,
    Columns,
    Level,
    Monitor,
    Spec,
    check,
    check_fifo,
    explain,
    first_bad_prefix,
)
from orch.checker.fifo import engine
from orch.checker.lives import Scene, _life, lives_of
from orch.errors import InvalidInput
from orch.history import BadLine, History, Op, Outcome

SPEC = Spec(lease_s=10, sweep_s=2, max_crashes=3, skew_s=0, drift=0)


def op(verb, job, call, ret, *, outcome=Outcome.OK, client="c", value=None, attempt=None, token=None, **args):
    if ret is None:
        outcome = Outcome.UNKNOWN
    end = None if ret is None else round(ret * 1e9)
    return Op(client, verb, job, args, round(call * 1e9), end, outcome, value, attempt, token)


def enq(job, call, ret, new=True, **args):
    return op("enqueue", job, call, ret, value=None if ret is None else new, **{"max_retries": 3, **args})


def deq(job, call, ret, attempt=1, token=None, **args):
    return op("dequeue", job, call, ret, attempt=attempt, token=token, **args)


def empty(call, ret):
    return op("dequeue", None, call, ret)


def lost_dequeue(call):
    return op("dequeue", None, call, None)


NOW = {"success": "success", "failed": "failed", "retry": "pending", "pending": "pending"}


def rep(job, status, call, ret, attempt=1, now=None, token=None, **args):
    value = None if ret is None else {"status": now or NOW[status]}
    return op("report", job, call, ret, attempt=attempt, token=token, value=value, status=status, **args)


def refused(job, call, ret, attempt=1):
    gone = {"error": "LeaseLost", "message": "gone"}
    return op("report", job, call, ret, outcome=Outcome.REFUSED, value=gone, attempt=attempt, status="success")


def act(job, status, call, ret):
    return op("report", job, call, ret, value=None if ret is None else {"status": NOW[status]}, status=status)


def requeue(job, call, ret):
    return op("requeue", job, call, ret, value={"status": "pending"})


def get(job, call, ret, status=None, attempts=0):
    return op("get", job, call, ret, value=None if status is None else {"status": status, "attempts": attempts})


def rules(ops, spec=SPEC):
    return [violation.rule for violation in check(ops, spec).violations]


# -- one sane and one broken history for each rule ---------------------------------------------------------------------

A = [enq("a", 0, 1)]
AB = [enq("a", 0, 1), enq("b", 2, 3)]
TAKEN = [*A, deq("a", 2, 3)]

#: rule -> (a history that keeps it, the nearest one that breaks it)
CASES = {
    "lost": (
        [*TAKEN, rep("a", "success", 4, 5), empty(20, 21)],
        [*A, empty(20, 21)],
    ),
    "unexpected": (
        TAKEN,
        [deq("a", 2, 3)],
    ),
    "unexplained": (
        [*TAKEN, rep("a", "success", 4, None), get("a", 6, 7, "success", 1)],
        [*TAKEN, get("a", 6, 7, "success", 1)],
    ),
    "known before": (
        [*A, enq("a", 2, 3, new=False)],
        [enq("a", 2, 3, new=False), enq("a", 4, 5)],
    ),
    "new twice": (
        [*A, enq("a", 2, 3, new=False)],
        [*A, enq("a", 2, 3)],
    ),
    "delivered twice": (
        [*TAKEN, deq("a", 14, 15, 2)],
        [*TAKEN, deq("a", 14, 15, 1)],
    ),
    "early redelivery": (
        [*TAKEN, deq("a", 12, 12, 2)],
        [*TAKEN, deq("a", 11, 11.5, 2)],
    ),
    "stale accepted": (
        [*TAKEN, deq("a", 14, 15, 2), refused("a", 16, 17)],
        [*TAKEN, deq("a", 14, 15, 2), rep("a", "success", 16, 17)],
    ),
    "settled twice": (
        [*TAKEN, rep("a", "success", 4, 5), rep("a", "success", 6, 7)],
        [*TAKEN, rep("a", "success", 4, 5), rep("a", "failed", 6, 7)],
    ),
    "early loss": (
        [*TAKEN, refused("a", 12, 13)],
        [*TAKEN, refused("a", 4, 5)],
    ),
    "token order": (
        [*AB, deq("a", 4, 5, token=8), deq("b", 6, 7, token=9)],
        [*AB, deq("a", 4, 5, token=9), deq("b", 6, 7, token=9)],
    ),
    "attempts down": (
        [*A, deq("a", 2, 3, 1), deq("a", 14, 15, 2)],
        [*A, deq("a", 2, 3, 2), deq("a", 14, 15, 1)],
    ),
    "attempt skipped": (
        [*A, lost_dequeue(2), deq("a", 14, 15, 2)],
        [*A, deq("a", 14, 15, 2)],
    ),
    "budget": (
        [enq("a", 0, 1, max_retries=1), deq("a", 2, 3), rep("a", "retry", 4, 5)],
        [enq("a", 0, 1, max_retries=0), deq("a", 2, 3), rep("a", "retry", 4, 5)],
    ),
    "final changed": (
        [*TAKEN, rep("a", "failed", 4, 5), requeue("a", 6, 7), deq("a", 8, 9, 2)],
        [*TAKEN, rep("a", "failed", 4, 5), deq("a", 8, 9, 2)],
    ),
    "order": (
        [*AB, deq("b", 4, 6), deq("a", 5, 7)],
        [*AB, deq("b", 4, 6), deq("a", 7, 8)],
    ),
    "returned order": (
        [*AB, deq("a", 4, 5), rep("a", "pending", 6, 7), deq("a", 8, 9, 2), deq("b", 10, 11)],
        [*AB, deq("a", 4, 5), rep("a", "pending", 6, 7), deq("b", 8, 9), deq("a", 10, 11, 2)],
    ),
    "priority": (
        [*A, enq("b", 2, 3, priority=5), deq("b", 4, 5), deq("a", 6, 7)],
        [*A, enq("b", 2, 3, priority=5), deq("a", 4, 5), deq("b", 6, 7)],
    ),
    "empty": (
        [*A, empty(0, 0.5), deq("a", 2, 3)],
        [*A, empty(2, 3), deq("a", 4, 5)],
    ),
    "recovery": (
        [*TAKEN, empty(14, 15), deq("a", 15, 16, 2)],
        [*TAKEN, empty(15.5, 16), deq("a", 17, 18, 2)],
    ),
    "too early": (
        [enq("a", 0, 1, delay_s=30), deq("a", 30, 31)],
        [enq("a", 0, 1, delay_s=30), deq("a", 28, 29)],
    ),
}


def test_every_rule_has_a_case():
    assert set(CASES) == set(RULES)


@pytest.mark.promise("Q1", "Q2", "Q3", "Q4", "Q5", "Q6", "Q7")
@pytest.mark.parametrize("rule", CASES)
def test_a_sane_history_is_valid(rule):
    verdict = check(CASES[rule][0], SPEC)
    assert verdict.valid, verdict
    assert verdict.level is Level.L4


@pytest.mark.promise("Q1", "Q2", "Q3", "Q4", "Q5", "Q6", "Q7")
@pytest.mark.parametrize("rule", CASES)
def test_a_broken_history_names_the_rule_the_promise_and_the_operations(rule):
    verdict = check(CASES[rule][1], SPEC)
    assert verdict.valid is False
    found = next(violation for violation in verdict.violations if violation.rule == rule)
    assert found.promise == RULES[rule].promise
    assert found.operations
    assert all(one in CASES[rule][1] for one in found.operations)
    below = [level for level in LEVELS if level < found.level]
    assert verdict.level in (*below, None)


def test_an_empty_history_says_nothing():
    verdict = check([], SPEC)
    assert (verdict.valid, verdict.level, verdict.violations) == (None, None, ())
    assert check_fifo([]).valid is None
    assert Monitor(SPEC).finish().valid is None


# -- what excuses ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "excuse",
    [
        rep("a", "retry", 4, None),
        rep("a", "pending", 4, None),
        act("a", "retry", 4, 5),
        op("cancel", "a", 4, None),
    ],
    ids=["unknown retry", "unknown give-back", "operator's retry", "unknown cancel"],
)
@pytest.mark.promise("Q4")
def test_a_redelivery_within_the_lease_needs_something_that_ended_it(excuse):
    early = deq("a", 6, 7, 2)
    assert rules([*TAKEN, early]) == ["early redelivery"]
    assert not rules([*TAKEN, excuse, requeue("a", 5, 6), early] if excuse.op == "cancel" else [*TAKEN, excuse, early])


@pytest.mark.promise("Q4")
def test_an_extension_moves_the_earliest_redelivery():
    extended = [*TAKEN, op("extend", "a", 8, 9, attempt=1)]
    assert rules([*extended, deq("a", 13, 14, 2)]) == ["early redelivery"]
    assert not rules([*extended, deq("a", 18, 19, 2)])
    assert not rules([*TAKEN, op("extend", "a", 8, 9, attempt=1, lease_s=1), deq("a", 13, 14, 2)])


@pytest.mark.promise("Q4")
def test_an_extension_never_makes_a_lease_shorter():
    assert rules([*TAKEN, op("extend", "a", 4, 5, attempt=1, lease_s=1), deq("a", 9, 10, 2)]) == ["early redelivery"]


@pytest.mark.promise("Q4")
def test_a_repeated_report_is_silent_even_after_a_redelivery():
    told = [*TAKEN, rep("a", "pending", 4, None), deq("a", 6, 7, 2), rep("a", "pending", 8, 9, now="success")]
    assert not rules(told)
    settled = [*TAKEN, rep("a", "pending", 4, None), deq("a", 6, 7, 2), rep("a", "success", 8, 9, 2)]
    assert rules([*settled, rep("a", "pending", 10, 11, now="success")]) == ["stale accepted"]


@pytest.mark.promise("Q4")
def test_after_an_operators_act_the_lease_is_over():
    acted = [*TAKEN, act("a", "failed", 4, 5)]
    assert not rules([*acted, refused("a", 6, 7)])
    assert "stale accepted" in rules([*acted, rep("a", "failed", 6, 7)])
    assert "stale accepted" in rules([*acted, op("extend", "a", 6, 7, attempt=1)])


@pytest.mark.promise("Q6")
def test_attempts_that_nobody_saw_need_as_many_unknown_dequeues():
    assert not rules([*A, lost_dequeue(2), lost_dequeue(3), deq("a", 24, 25, 3)])
    assert rules([*A, lost_dequeue(2), deq("a", 24, 25, 3)]) == ["attempt skipped"]


@pytest.mark.promise("Q6")
def test_lost_leases_are_bounded():
    lost = [deq("a", 20 * n, 20 * n + 1, n) for n in range(1, 6)]
    assert not rules([*A, *lost[:4]])
    assert rules([*A, *lost]) == ["budget"]
    assert not rules([*A, *lost], Spec(lease_s=10, skew_s=0, drift=0, max_crashes=None))
    assert not rules([*A, *lost[:4], requeue("a", 95, 96), lost[4]])


@pytest.mark.promise("Q6")
def test_a_give_back_counts_in_no_budget():
    ops = list(A)
    for n in range(1, 12):
        ops += [deq("a", 10 * n, 10 * n + 1, n), rep("a", "pending", 10 * n + 2, 10 * n + 3, n)]
    assert not rules(ops)


@pytest.mark.promise("Q6")
def test_a_job_with_failures_left_must_be_retried():
    told = [enq("a", 0, 1, max_retries=2), deq("a", 2, 3)]
    assert rules([*told, rep("a", "retry", 4, 5, now="failed")]) == ["budget"]
    assert not rules([enq("a", 0, 1, max_retries=0), deq("a", 2, 3), rep("a", "retry", 4, 5, now="failed")])


@pytest.mark.promise("Q7")
def test_two_final_states_of_one_job_are_one_too_many():
    both = [*TAKEN, rep("a", "success", 4, 9), op("cancel", "a", 5, 8)]
    assert "final changed" in rules(both)
    assert "final changed" in rules([*TAKEN, rep("a", "success", 4, 5), get("a", 6, 7, "failed", 1)])
    assert not rules([*TAKEN, rep("a", "success", 4, None), op("cancel", "a", 5, 8)])


@pytest.mark.promise("Q1")
def test_a_job_that_is_gone_was_purged_or_lost():
    done = [*TAKEN, rep("a", "success", 4, 5), get("a", 8, 9)]
    purge = op("purge", None, 6, 7, value=1, older_than_hours=0)
    assert rules(done) == ["lost"]
    assert not rules([*done, purge])
    assert rules([*done, op("purge", None, 6, 7, value=0, older_than_hours=0)]) == ["lost"]
    assert rules([*done, op("purge", None, 6, 7, value=1, older_than_hours=1)]) == ["lost"]


@pytest.mark.promise("Q3", "Q10")
def test_a_purged_id_begins_a_new_life():
    first = [*TAKEN, rep("a", "success", 4, 5)]
    purge = op("purge", None, 6, 7, value=1, older_than_hours=0)
    second = [enq("a", 8, 9), deq("a", 10, 11), rep("a", "success", 12, 13)]
    assert not rules([*first, purge, *second])
    assert "new twice" in rules([*first, *second])
    assert "final changed" in rules([*first, purge, *second, deq("a", 40, 41, 2)])


@pytest.mark.promise("Q3")
def test_an_enqueue_without_an_answer_may_be_the_one_that_counted():
    maybe = enq("a", 0, None)
    assert not rules([maybe, deq("a", 2, 3), enq("a", 4, 5, new=False)])
    assert rules([maybe, deq("a", 2, 3), enq("a", 4, 5)]) == ["new twice"]
    assert not rules([maybe, empty(2, 3)])


@pytest.mark.promise("Q10")
def test_a_purged_id_whose_first_enqueue_had_no_answer_is_not_judged():
    """Which of the enqueues the False answers to, and whether the first one ever lived, nobody can tell."""
    purge = op("purge", None, 1, None, older_than_hours=0)
    enqueues = [enq("a", 2, None), enq("a", 4, 5), enq("a", 4.5, 6, new=False)]
    assert not rules([purge, *enqueues, deq("a", 20, 21), rep("a", "success", 22, 23), empty(24, 25)])


def test_a_quarantined_job_owes_nothing():
    broken = op("report", "a", 6, 7, outcome=Outcome.REFUSED, value={"error": "UnreadableRecord"}, attempt=1)
    assert "recovery" in rules([*TAKEN, empty(30, 31)])
    assert not rules([*TAKEN, broken, empty(30, 31)])
    assert not rules([*TAKEN, op("quarantined", None, 6, 7, value=["a"]), empty(30, 31)])


# -- order, empties, recovery ------------------------------------------------------------------------------------------


@pytest.mark.promise("Q2")
def test_concurrent_enqueues_may_come_out_in_either_order():
    assert not rules([enq("a", 0, 2), enq("b", 1, 3), deq("b", 4, 5), deq("a", 6, 7)])
    assert not rules([enq("a", 0, 2), enq("b", 2, 3), deq("b", 4, 5), deq("a", 6, 7)]), "a tie is an overlap"


@pytest.mark.promise("Q2")
def test_a_retry_takes_a_new_ticket():
    again = [*AB, deq("a", 4, 5), rep("a", "retry", 6, 7)]
    assert not rules([*again, deq("b", 8, 9), deq("a", 10, 11, 2)])
    assert rules([*again, deq("a", 8, 9, 2), deq("b", 10, 11)]) == ["order"]


@pytest.mark.promise("Q2")
def test_a_requeued_job_takes_a_new_ticket():
    ended = [*AB, deq("a", 4, 5), rep("a", "failed", 6, 7), requeue("a", 8, 9)]
    assert not rules([*ended, deq("b", 10, 11), deq("a", 12, 13, 2)])
    assert rules([*ended, deq("a", 10, 11, 2), deq("b", 12, 13)]) == ["order"]


@pytest.mark.promise("Q2")
def test_a_delayed_job_has_its_ticket_when_it_is_due():
    late = [enq("a", 0, 1, delay_s=10), enq("b", 2, 3)]
    assert not rules([*late, empty(0, 0.5), deq("b", 20, 21), deq("a", 22, 23)])
    assert rules([*late, deq("a", 20, 21), deq("b", 22, 23)]) == ["order"]
    assert rules([*late, deq("b", 4, 5), empty(12, 13), deq("a", 14, 15)]) == ["empty"]
    assert not rules([*late, deq("b", 4, 5), empty(8, 10.5), deq("a", 14, 15)])


@pytest.mark.promise("Q2")
def test_a_lower_priority_waits_for_a_gap_of_the_higher_ones():
    """`a` and `b` are inside by turns, so nothing of priority 0 can be delivered from 2 to 9."""
    turns = [
        enq("low", 0, 1),
        enq("a", 1, 2, priority=1),
        enq("b", 3, 4, priority=1),
        deq("a", 5, 6),
        deq("b", 9, 10),
    ]
    assert rules([*turns, deq("low", 3, 8)]) == ["priority"]
    assert not rules([*turns, deq("low", 3, 9)])


@pytest.mark.promise("Q2")
def test_a_lower_priority_keeps_its_order_across_a_higher_one():
    """`high` is inside from 2 to 10: `b` can have come out only before it, `a` only after it."""
    ops = [enq("a", 0, 0.5), enq("b", 1, 1.5), enq("high", 1.8, 2, priority=1), deq("high", 10, 11)]
    assert rules([*ops, deq("b", 1.9, 5), deq("a", 3, 20)]) == ["order"]
    assert not rules([*ops, deq("a", 1.9, 5), deq("b", 3, 20)])


@pytest.mark.promise("Q2", "Q5")
def test_a_lost_lease_comes_back_before_the_backlog():
    backlog = [*AB, deq("a", 4, 5)]
    assert not rules([*backlog, deq("a", 18, 19, 2), deq("b", 20, 21)])
    assert rules([*backlog, deq("b", 18, 19), deq("a", 20, 21, 2)]) == ["recovery"]
    assert not rules([*backlog, deq("b", 16, 19), deq("a", 20, 21, 2)]), "the sweep was not over at 16"
    tail = Spec(lease_s=10, sweep_s=2, skew_s=0, drift=0, keeps_ticket=False)
    assert not rules([*backlog, deq("b", 18, 19), deq("a", 20, 21, 2)], tail)
    assert rules([*backlog, deq("b", 14, 14.5), empty(18, 19), deq("a", 20, 21, 2)], tail) == ["recovery"]


@pytest.mark.promise("Q5")
def test_a_dequeue_takes_back_so_many_lost_leases_and_no_more():
    jobs = "abcdef"
    ops = [enq(job, n, n + 0.5) for n, job in enumerate(jobs)]
    ops += [deq("a", 10, 10.5, lease_s=25), *(deq(job, 11 + n, 11.5 + n) for n, job in enumerate("bcdef"))]
    two = Spec(lease_s=10, sweep_s=2, skew_s=0, drift=0, reclaim_max=2)

    def delivered(order):
        return [*ops, *(deq(job, 40 + n, 40.5 + n, 2) for n, job in enumerate(order))]

    assert not rules(delivered("abcdef"))
    assert rules(delivered("bcadef")) == ["recovery"] * 2
    assert not rules(delivered("bcadef"), two), "a's lease is the last of six: the third dequeue takes it back"
    assert rules(delivered("bcdaef"), two) == ["recovery"]


@pytest.mark.promise("Q2")
def test_an_unknown_dequeue_may_have_taken_one_job_but_not_two():
    assert not rules([*AB, lost_dequeue(4), deq("b", 6, 7)])
    assert "order" in rules([*AB, enq("c", 4, 5), lost_dequeue(5), deq("c", 6, 7)])
    assert not rules([*A, lost_dequeue(4), empty(6, 7)])
    assert "empty" in rules([*AB, lost_dequeue(4), empty(6, 7)])


@pytest.mark.promise("Q2")
def test_an_unknown_dequeue_that_is_over_excuses_nothing_later():
    soon = Spec(lease_s=10, sweep_s=2, skew_s=0, drift=0, effect_s=1)
    assert not rules([lost_dequeue(0.5), enq("a", 1, 5), empty(6, 7)], soon), "it may have come at 1.2"
    assert "empty" in rules([lost_dequeue(0.5), enq("a", 2, 5), empty(6, 7)], soon)
    assert not rules([lost_dequeue(0.5), enq("a", 2, 5), empty(6, 7)])


@pytest.mark.promise("Q1")
def test_a_job_that_an_unknown_dequeue_may_hold_is_lost_only_when_its_lease_is_surely_over():
    ops = [*AB, lost_dequeue(4), deq("b", 6, 7), rep("b", "success", 8, 9), empty(60, 61)]
    assert not rules(ops)
    bounded = Spec(lease_s=10, sweep_s=2, max_crashes=3, skew_s=0, drift=0, effect_s=5)
    assert rules(ops, bounded) == ["lost"]
    assert not rules([*ops[:-1], empty(20, 21)], bounded), "it may have been taken at 9 and come back at 21"
    assert not rules([*ops, *[lost_dequeue(4)] * 3], bounded), "four of them use up the budget of lost leases"


@pytest.mark.promise("Q1", "Q6")
def test_an_unknown_dequeue_may_have_used_up_the_budget_of_lost_leases():
    spec = Spec(lease_s=10, sweep_s=2, max_crashes=1, skew_s=0, drift=0, effect_s=5)
    ops = [*TAKEN, deq("a", 16, 17, 2), rep("a", "retry", 18, 19, 2), lost_dequeue(20), empty(60, 61)]
    assert not rules(ops, spec)
    assert rules([*TAKEN, rep("a", "retry", 4, 5), lost_dequeue(20), empty(60, 61)], spec) == ["lost"]


@pytest.mark.promise("Q1")
def test_a_job_is_lost_only_if_the_queue_was_drained():
    gone = [enq("a", 0, 1), enq("b", 4, 5)]
    assert rules([*gone, deq("b", 6, 7), rep("b", "success", 8, 9)]) == ["order"]
    assert rules([*gone, empty(2, 3), deq("b", 6, 7), rep("b", "success", 8, 9)]) == ["empty", "order"]
    assert "lost" in rules([*gone, deq("b", 6, 7), rep("b", "success", 8, 9), empty(10, 11)])


# -- levels and verdicts -----------------------------------------------------------------------------------------------


def test_the_level_is_the_strongest_that_held():
    assert check(CASES["empty"][1], SPEC).level is Level.L3
    assert check(CASES["order"][1], SPEC).level is Level.L2
    assert check(CASES["stale accepted"][1], SPEC).level is Level.L1
    assert check(CASES["unexpected"][1], SPEC).level is None


def test_a_queue_is_held_to_the_level_that_it_promises():
    two = Spec(level="L2", lease_s=10, sweep_s=2, skew_s=0, drift=0)
    verdict = check(CASES["order"][1], two)
    assert verdict.valid
    assert verdict.level is Level.L2
    assert [violation.rule for violation in verdict.violations] == ["order"]
    assert check(CASES["stale accepted"][1], two).valid is False


def test_without_a_lease_time_nothing_is_said_of_times():
    timeless = Spec(lease_s=None)
    assert not rules([*TAKEN, deq("a", 4, 5, 2)], timeless)
    assert not rules([*TAKEN, empty(90, 91)], timeless)
    assert rules([*TAKEN, deq("a", 4, 5, 1)], timeless) == ["delivered twice"]


def test_tolerances_widen_every_bound():
    loose = Spec(lease_s=10, sweep_s=2, skew_s=1, drift=0.1)
    assert not rules(CASES["early redelivery"][1], loose)
    assert not rules(CASES["recovery"][1], loose)
    assert rules([*TAKEN, deq("a", 9, 9.5, 2)], loose) == ["early redelivery"]


def test_a_history_with_lost_lines_accuses_nobody():
    whole = History(CASES["unexpected"][1])
    assert check(whole, SPEC).valid is False
    assert check(History(whole, [BadLine("f", 3, "cut", torn=True)]), SPEC).valid is False
    verdict = check(History(whole, [BadLine("f", 3, "cut")]), SPEC)
    assert verdict.valid is None
    assert verdict.violations


def test_attempts_and_tokens_may_be_missing():
    """A queue of somebody else that shows neither: deliveries are counted, reports are the operator's."""
    bare = [enq("a", 0, 1), op("dequeue", "a", 2, 3), op("dequeue", "a", 14, 15)]
    assert not rules(bare)
    assert rules([enq("a", 0, 1), op("dequeue", "a", 2, 3), op("dequeue", "a", 4, 5)]) == ["early redelivery"]


def test_in_an_open_world_jobs_may_have_been_there_before():
    before = [deq("x", 0, 1, 3), enq("y", 2, 3, new=False), get("z", 4, 5, "success", 1)]
    assert set(rules(before)) == {"unexpected", "attempt skipped", "known before", "unexplained"}
    assert not rules(before, Spec(lease_s=10, skew_s=0, drift=0, open_world=True))


def test_counts_say_what_was_asked_and_what_came_out():
    ops = [*AB, enq("c", 0, None), *TAKEN[1:], deq("a", 14, 15, 2), rep("a", "success", 16, 17, 2), deq("b", 18, 19)]
    assert check(ops, SPEC).counts == {
        "operations": 7,
        "unknown": 1,
        "acknowledged": 2,
        "delivered": 3,
        "settled": 1,
        "lost": 0,
        "unexpected": 0,
        "duplicates": 1,
        "unlicensed": 0,
    }
    early = check([*TAKEN, deq("a", 4, 5, 2)], SPEC).counts
    assert (early["duplicates"], early["unlicensed"]) == (1, 1)


def test_a_verdict_is_json():
    verdict = check(CASES["order"][1], SPEC)
    said = json.loads(json.dumps(verdict.to_dict()))
    assert set(said) == {"valid", "level", "violations", "counts"}
    assert said["violations"][0]["promise"] == "Q2"
    assert History(map(Op.from_dict, said["violations"][0]["operations"]))[0].job == "a"
    assert str(verdict).startswith("invalid, L2 held; 4 operations")


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"level": "L5"}, "L5"),
        ({"lease_s": 0}, "lease_s"),
        ({"max_crashes": -1}, "-1"),
        ({"sweep_s": -2}, "-2"),
        ({"drift": 2}, "drift"),
        ({"effect_s": "x"}, "effect_s"),
        ({"reclaim_max": 0}, "reclaim_max"),
    ],
)
def test_a_bad_spec_is_refused_with_the_value(setting, said):
    with pytest.raises(InvalidInput, match=said):
        Spec(**setting)


# -- the first bad prefix ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", CASES)
def test_the_prefix_before_the_first_bad_one_is_valid(rule):
    history = History(CASES[rule][1])
    n = first_bad_prefix(history, SPEC)
    if rule != "lost":  # that is certain only at the end
        assert check(history.cut(n), SPEC).valid is False
    assert check(history.cut(n - 1), SPEC).valid is not False


def test_a_valid_history_has_no_bad_prefix():
    assert first_bad_prefix(CASES["order"][0], SPEC) is None


def test_what_a_pending_dequeue_could_excuse_is_bad_only_when_it_returns():
    """b overtakes a at 5; until 9 the other dequeue could have taken a."""
    ops = [*AB, enq("c", 3.2, 3.4), deq("b", 4, 5), deq("c", 4, 9), deq("a", 10, 11)]
    assert check(ops, SPEC).violations[0].prefix == 5
    assert check_fifo(ops).violations[0].prefix == 5


# -- plain FIFO queues -------------------------------------------------------------------------------------------------

FIFO = {
    "no operation but an empty": ([empty(0, 1)], None),
    "an empty that overlaps everything": ([*AB, empty(0, 9), deq("a", 4, 5), deq("b", 6, 7)], None),
    "a tie of enqueue and empty": ([*A, empty(1, 2), deq("a", 2, 3)], None),
    "an empty within": ([*A, empty(1.1, 1.9), deq("a", 2, 3)], "empty"),
    "touching intervals leave one instant": (
        [*A, deq("a", 4, 5), enq("b", 3, 4), deq("b", 6, 7), empty(2, 5)],
        None,
    ),
    "overlapping intervals leave none": (
        [*A, deq("a", 4, 5), enq("b", 3, 3.9), deq("b", 6, 7), empty(2, 5)],
        "empty",
    ),
    "a value whose enqueue is pending": ([enq("a", 0, None), deq("a", 2, 3)], None),
    "a dequeue that begins before its enqueue": ([enq("a", 1, 3), deq("a", 0, 2)], None),
    "a dequeue that ends before its enqueue": ([enq("a", 3, 4), deq("a", 1, 2)], "unexpected"),
    "a value from nowhere": ([deq("a", 1, 2)], "unexpected"),
    "a value twice": ([*A, deq("a", 2, 3), deq("a", 4, 5)], "delivered twice"),
    "a pending dequeue from before the enqueue": ([lost_dequeue(0), enq("a", 1, 2), empty(3, 4)], None),
    "more pending dequeues than missing values": ([*A, *map(lost_dequeue, (2, 2.5, 3)), empty(4, 5)], None),
    "more missing values than pending dequeues": ([*AB, lost_dequeue(4), empty(5, 6)], "empty"),
    "a pending dequeue that comes too late": ([*A, empty(2, 3), lost_dequeue(4)], "empty"),
    "a queue that is never drained": ([*AB, enq("c", 4, 5), deq("a", 6, 7)], None),
    "a value that is overtaken for ever": ([*AB, deq("b", 4, 5)], "order"),
    "a value that is overtaken": ([*AB, deq("b", 4, 5), deq("a", 6, 7)], "order"),
    "a batch is several dequeues with one interval": ([*AB, deq("b", 4, 5), deq("a", 4, 5)], None),
    "an enqueue that was refused": ([enq("a", 0, 1, new=False), empty(2, 3)], None),
}


@pytest.mark.promise("Q2")
@pytest.mark.parametrize("numpy", [False, True], ids=["plain", "numpy"])
@pytest.mark.parametrize("case", FIFO)
def test_the_fifo_checker_knows_its_corners(case, numpy):
    if numpy:
        pytest.importorskip("numpy")
    ops, rule = FIFO[case]
    verdict = check_fifo(ops, numpy=numpy)
    assert [violation.rule for violation in verdict.violations] == ([] if rule is None else [rule])
    assert verdict.valid is (rule is None)
    if rule is not None:
        assert verdict.violations[0].operations
        assert explain(verdict.violations[0], ops)


def test_the_witness_of_an_empty_is_a_chain_that_covers_it():
    found = check_fifo(FIFO["overlapping intervals leave none"][0]).violations[0]
    assert [one.job for one in found.operations] == ["a", "a", "b", "b", None]


def test_columns_are_judged_as_they_are():
    columns = Columns(array("b", [0, 0, 1]), array("q", [0, 1, 1]), array("q", [0, 2, 4]), array("q", [1, 3, 5]))
    found = check_fifo(columns).violations[0]
    assert (found.rule, found.prefix) == ("order", 3)
    assert found.operations[0].to_dict()["job"] == "0"
    open_end = Columns(array("b", [0]), array("q", [0]), array("q", [0]), array("q", [NEVER]))
    assert check_fifo(open_end).valid


@pytest.mark.parametrize("numpy", [False, True], ids=["plain", "numpy"])
def test_jobs_of_a_fifo_history_must_be_distinct(numpy):
    if numpy:
        pytest.importorskip("numpy")
    with pytest.raises(InvalidInput, match="'b'"):
        check_fifo([*AB, enq("b", 4, 5)], numpy=numpy)


def test_the_checker_does_without_numpy():
    code = """
import sys
sys.modules["numpy"] = None  # as if it were not installed
from orch.checker import Columns, check_fifo
from orch.checker.fifo import engine, judge
assert engine(None) is judge
try:
    engine(True)
except ImportError:
    print("told")
assert check_fifo([]).valid is None
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "told\n"


def test_importing_the_checker_does_not_import_numpy():
    code = "import sys, orch.checker; print('numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
    assert engine(False).__name__ == "judge"


def test_the_short_way_for_ordinary_jobs_finds_what_the_long_way_finds():
    ops = [enq("a", 0, 1, priority=2), deq("a", 2, 3, token=7), rep("a", "success", 4, 5, None, token=7)]
    scene = Scene(ops, SPEC)
    assert lives_of("a", ops, scene) == [_life("a", ops, scene)]
    late = [enq("a", 0, 3), deq("a", 2, 4, token=7), rep("a", "success", 4, 5, None, token=7)]
    assert lives_of("a", late, scene) == [_life("a", late, scene)]


# -- explanations ------------------------------------------------------------------------------------------------------


def test_a_witness_is_drawn_as_who_overlapped_whom():
    ops = [
        enq("a", 0, 1),
        op("enqueue", "b", 2, 3, client="other", value=True, max_retries=3),
        deq("b", 4, 6),
        deq("a", 7, None),
        deq("a", 8, 9),
    ]
    text = explain(check(ops[:3] + ops[4:], SPEC).violations[0], ops)
    assert text.splitlines() == [
        "Q2 order: job 'b' was delivered although job 'a' was ready before it",
        "promised: of two ready jobs of one priority the one with the lower ticket is delivered first (level L3)",
        "certain when 3 operations had returned",
        "",
        "* c      enqueue a               [===]                                  0 .. 1000 ms",
        "* other  enqueue b                       [===]                          2000 .. 3000 ms",
        "* c      dequeue -> b attempt 1                  [===]                  4000 .. 6000 ms",
        "  c      dequeue -> ? attempt 1                          [----------->  7000 .. no answer",
        "* c      dequeue -> a attempt 1                              [===]      8000 .. 9000 ms",
    ]


@pytest.mark.parametrize("rule", CASES)
def test_every_violation_can_be_explained(rule):
    for violation in check(CASES[rule][1], SPEC).violations:
        text = explain(violation, CASES[rule][1])
        assert violation.promise in text
        assert all(one.client in text for one in violation.operations)


# -- the monitor -------------------------------------------------------------------------------------------------------


def fed(monitor, ops):
    """Add every operation at its call and at its return, in the order of time."""
    events = []
    for n, one in enumerate(ops):
        named = Op(f"c{n}", *(getattr(one, name) for name in list(one.to_dict())[1:]))
        job = None if one.op == "dequeue" else one.job
        called = Op(named.client, one.op, job, one.args, one.call_ns, None, Outcome.UNKNOWN, token=one.token)
        events.append((one.call_ns, 0, n, called))
        if one.ret_ns is not None:
            events.append((one.ret_ns, 1, n, named))
    found = []
    for *_, event in sorted(events, key=lambda event: event[:3]):
        found += monitor.add(event)
    return found


@pytest.mark.parametrize("rule", CASES)
def test_a_monitor_says_what_a_checker_says(rule):
    for ops in CASES[rule]:
        monitor = Monitor(SPEC, every=1)
        found = fed(monitor, ops)
        verdict, whole = monitor.finish(), check(ops, SPEC)
        assert (verdict.valid, verdict.level, verdict.counts) == (whole.valid, whole.level, whole.counts)
        assert {one.rule for one in verdict.violations} == {one.rule for one in whole.violations}
        assert all(one in monitor.violations for one in found)


@pytest.mark.promise("Q4")
def test_a_monitor_tells_a_violation_once_and_at_once():
    monitor = Monitor(SPEC, every=1)
    found = fed(monitor, [*TAKEN, deq("a", 4, 5, 2), *[enq(f"x{n}", 6 + n, 6.5 + n) for n in range(5)]])
    assert [violation.rule for violation in found] == ["early redelivery"]
    assert found[0].prefix == 3


def test_a_monitor_forgets_final_jobs_and_still_knows_the_last_of_them():
    monitor = Monitor(SPEC, every=10, remember=5)
    held = []
    for n in range(200):
        ops = [enq(f"j{n}", 10 * n, 10 * n + 1), deq(f"j{n}", 10 * n + 2, 10 * n + 3, token=n)]
        held.append(
            fed(monitor, [*ops, rep(f"j{n}", "success", 10 * n + 4, 10 * n + 5), empty(10 * n + 6, 10 * n + 7)])
        )
        assert monitor.retained < 90
    assert not any(held)
    assert not monitor.violations
    fed(monitor, [deq("j199", 3_000, 3_001, 2, token=999)])
    verdict = monitor.finish()
    assert [violation.rule for violation in verdict.violations] == ["final changed"]
    assert (verdict.counts["operations"], verdict.counts["delivered"]) == (801, 201)
    assert verdict.violations[0].prefix == 801


def test_a_monitor_waits_for_operations_that_arrive_late():
    early, late = TAKEN[0], TAKEN[1]
    strict = Monitor(SPEC, every=1)
    strict.add(late)
    assert [violation.rule for violation in strict.add(enq("x", 30, 31))] == ["unexpected"]
    patient = Monitor(SPEC, every=1, slack_s=40)
    for one in (late, enq("x", 30, 31), early, enq("y", 50, 51), enq("z", 90, 91)):
        assert not patient.add(one)
    assert patient.finish().valid


def test_a_dead_client_does_not_keep_a_monitor_from_forgetting():
    monitor = Monitor(SPEC, every=10, remember=5, open_max_s=60)
    monitor.add(Op("dead", "dequeue", None, {}, 0, None, Outcome.UNKNOWN))
    for n in range(100):
        fed(monitor, [enq(f"j{n}", 10 * n, 10 * n + 1), deq(f"j{n}", 10 * n + 2, 10 * n + 3)])
        fed(monitor, [rep(f"j{n}", "success", 10 * n + 4, 10 * n + 5)])
    assert monitor.retained < 100
    assert not monitor.violations


def test_a_monitor_never_judges_half_of_a_bulk_answer():
    """Between a and b of one answer it would look as if c had overtaken b."""
    monitor = Monitor(SPEC, every=1)
    fed(monitor, [*AB, enq("c", 3.2, 3.4)])
    call = Op("bulk", "dequeue", None, {}, 4 * 10**9, None, Outcome.UNKNOWN)
    answers = [Op("bulk", "dequeue", job, {}, 4 * 10**9, 8 * 10**9, Outcome.OK, None, 1) for job in "ab"]
    monitor.add_many([call, call])
    fed(monitor, [deq("c", 5, 6)])
    monitor.add_many(answers)
    assert monitor.finish().valid, monitor.violations


def test_a_monitor_keeps_final_jobs_while_a_dequeue_is_under_way():
    """x is overtaken by y for certain only when the dequeue that might have had it comes back with z."""
    monitor = Monitor(SPEC, every=1, remember=0)
    fed(monitor, [enq("x", 0, 1), enq("y", 2, 3), enq("z", 3.2, 3.4)])
    slow = deq("z", 4, 20)
    monitor.add(Op("slow", "dequeue", None, {}, slow.call_ns, None, Outcome.UNKNOWN))
    fed(monitor, [deq("y", 5, 6), rep("y", "success", 7, 8), *[enq(f"w{n}", 9 + n, 9.5 + n) for n in range(5)]])
    assert not monitor.violations
    monitor.add(Op("slow", *list(slow.to_dict().values())[1:]))
    fed(monitor, [deq("x", 21, 22)])
    assert any(found.operations[-1].job == "y" for found in monitor.finish().violations)
