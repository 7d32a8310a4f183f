"""What jobs owe each other: order, priorities, empties, recovery.

One idea serves all four. A delivery takes effect at some instant between its call and its return; at that instant no
job that should have come first was ready. So join the times at which such jobs were *certainly* ready (open
intervals, joined only where they overlap), and see whether they cover the whole of [call, return]. For an empty
dequeue every ready job should have come first; for a delivery those of a higher priority, and those of its own whose
ticket is certainly lower. Sweeping priorities from the highest down, and each by ticket, one growing union answers
every question in O(n log n).

For a plain FIFO queue this finds what `orch.checker.fifo` finds. It adds stays that do not begin with a ticket:
deliveries that come back under their old one are not judged by when they came back. Tolerances of the clocks are
already in the stays.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate
from operator import attrgetter

from orch.checker.fifo import chain
from orch.checker.lives import BACK, EXPIRY, FRESH, Delivery, Finding, Stay
from orch.checker.verdict import NEVER
from orch.history import Op

SHOWN_MAX = 20  # violations of one kind that get a witness: each costs O(n)


class Union:
    """Open intervals, joined where they overlap."""

    __slots__ = ("ends", "starts")

    def __init__(self) -> None:
        self.starts: list[int] = []
        self.ends: list[int] = []

    def add(self, start: int, end: int) -> None:
        """Join (start, end) to what it overlaps."""
        starts, ends = self.starts, self.ends
        first = bisect_right(starts, start)
        if first and start < ends[first - 1]:
            first -= 1
            if end <= ends[first]:
                return
            start = starts[first]
        last = bisect_left(starts, end, first)
        if last > first:
            end = max(end, ends[last - 1])
        starts[first:last] = [start]
        ends[first:last] = [end]

    def covers(self, call: int, ret: int) -> bool:
        """Whether no instant of [call, ret] is outside."""
        part = bisect_left(self.starts, call) - 1
        return part >= 0 and ret < self.ends[part]

    def first_gap(self, instant: int) -> int:
        """The first instant from this one on that is outside."""
        part = bisect_left(self.starts, instant) - 1
        return self.ends[part] if part >= 0 and instant < self.ends[part] else instant


def judge_together(
    stays: Sequence[Stay],
    deliveries: Iterable[Delivery],
    empties: Sequence[Op],
    pending: Sequence[int],
    effect: int = NEVER,
) -> list[Finding]:
    """The violations between jobs. `pending` are the calls of dequeues without an answer, ascending.

    Such a dequeue has its effect within `effect` after its call. Changes `until` of stays that one may have ended.
    """
    by_class: dict[int, tuple[list[Stay], list[Delivery]]] = {}
    for stay in stays:
        by_class.setdefault(stay.priority, ([], []))[0].append(stay)
    for delivery in deliveries:
        by_class.setdefault(delivery.priority, ([], []))[1].append(delivery)
    ready = Union()
    wrong: list[Delivery] = []
    for priority in sorted(by_class, reverse=True):
        mine, taken = by_class[priority]
        _excuse(mine, pending, effect)
        if ready.starts:  # a job is not delivered either while a better one is certainly ready
            for stay in mine:
                stay.until = ready.first_gap(stay.until)
        mine.sort(key=attrgetter("ticket_max"))
        taken.sort(key=attrgetter("ticket_min"))
        at, end = 0, len(mine)
        for delivery in taken:
            while at < end and mine[at].ticket_max < delivery.ticket_min:
                ready.add(mine[at].since, mine[at].until)
                at += 1
            if ready.covers(delivery.call, delivery.ret):
                wrong.append(delivery)
        for stay in mine[at:]:
            ready.add(stay.since, stay.until)
    vain = [op for op in empties if op.ret_ns is not None and ready.covers(op.call_ns, op.ret_ns)]
    wrong.sort(key=attrgetter("ret"))
    vain.sort(key=attrgetter("ret_ns"))
    return [_overtaken(delivery, stays) for delivery in wrong[:SHOWN_MAX]] + [
        _in_vain(op, stays) for op in vain[:SHOWN_MAX]
    ]


def _excuse(mine: list[Stay], pending: Sequence[int], effect: int) -> None:
    """Let dequeues without an answer take the jobs that are not seen again.

    Where tickets and readiness go together, earliest to earliest is as good as any assignment (see
    `orch.checker.fifo`), after those that came too early for a job and for all later ones; any other job may have
    been taken by the first that can. Each priority gets them all: that excuses more than is possible, never less.
    """
    missing = [stay for stay in mine if stay.then is None] if pending else []
    simple = sorted((stay for stay in missing if stay.simple and stay.until == NEVER), key=attrgetter("since"))
    for stay in missing:
        if not stay.simple or stay.until != NEVER:
            first = bisect_left(pending, stay.since_min - effect)
            if first < len(pending):
                stay.until = min(stay.until, max(pending[first], stay.since))
    # No job from this one on was ready before then: with that as the bound, earliest to earliest stays the best.
    bounds = list(accumulate((stay.since_min for stay in reversed(simple)), min))
    at = 0
    for stay, bound in zip(simple, reversed(bounds), strict=True):
        at = max(at, bisect_left(pending, bound - effect))
        if at == len(pending):
            break
        stay.until = max(pending[at], stay.since)
        at += 1


def _overtaken(delivery: Delivery, stays: Sequence[Stay]) -> Finding:
    """Name the jobs that should have been delivered first, by the simplest rule that shows them."""

    def older(stay: Stay) -> bool:
        return stay.priority == delivery.priority and stay.ticket_max < delivery.ticket_min

    def higher(stay: Stay) -> bool:
        return stay.priority > delivery.priority

    tries: tuple[tuple[str, Callable[[Stay], bool], str], ...] = (
        ("order", lambda s: older(s) and s.why == FRESH, "ready before it"),
        ("returned order", lambda s: older(s) and s.why in (FRESH, BACK), "given back under a lower ticket"),
        ("priority", lambda s: s.why != EXPIRY and (higher(s) or older(s)), "ready with a higher priority"),
        ("recovery", lambda s: higher(s) or older(s), "back from a lost lease"),
    )
    op = delivery.op
    for rule, counts, how in tries:
        found = _chain(stays, counts, delivery.call, delivery.ret)
        if found:
            message = f"job {op.job!r} was delivered although {_names(found)} {_was(found)} {how}"
            return Finding(rule, message, (*_shown(found), delivery.cause, op), delivery.ret)
    raise AssertionError(f"no witness for {op}")


def _in_vain(op: Op, stays: Sequence[Stay]) -> Finding:
    """Name the jobs that were ready while a dequeue found nothing."""
    assert op.ret_ns is not None
    found = _chain(stays, lambda stay: stay.why != EXPIRY, op.call_ns, op.ret_ns)
    if found:
        return Finding(
            "empty",
            f"a dequeue found nothing although {_names(found)} {_was(found)} ready",
            (*_shown(found), op),
            op.ret_ns,
        )
    found = _chain(stays, lambda _: True, op.call_ns, op.ret_ns)
    message = f"a dequeue found nothing although the lease of {_names(found)} was over"
    return Finding("recovery", message, (*_shown(found), op), op.ret_ns)


def _chain(stays: Sequence[Stay], counts: Callable[[Stay], bool], call: int, ret: int) -> list[Stay]:
    picked = chain(
        ((stay.since, stay.until, at) for at, stay in enumerate(stays) if stay.since < stay.until and counts(stay)),
        call,
        ret,
    )
    return [stays[at] for at in picked]


def _names(stays: Sequence[Stay]) -> str:
    jobs = dict.fromkeys(repr(stay.cause.job) for stay in stays)
    return f"job {next(iter(jobs))}" if len(jobs) == 1 else f"some job of {', '.join(jobs)}"


def _was(stays: Sequence[Stay]) -> str:
    return "was" if len(stays) == 1 else "was all the time"


def _shown(stays: Sequence[Stay]) -> list[Op]:
    shown: dict[int, Op] = {}
    for stay in stays:
        for op in (stay.cause, stay.then):
            if op is not None:
                shown[id(op)] = op
    return list(shown.values())
