"""The life of one job in a history: which promises its own operations break, and when it was certainly ready.

A delivery is named by the job and its attempt. It ends by a report under its lease, by an operator's act, or when its
lease is lost; the next delivery needs one of these as its licence. Everything is judged by what is certain: an
operation without an answer may have happened at any time after its call, and excuses what it could have caused.

What concerns several jobs (order, priorities, empties, recovery) is left to `orch.checker.cover`, which gets the
*stays* (a job is certainly ready from an instant to another) and the deliveries, each with bounds of its ticket.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from orch.checker.verdict import NEVER, Spec
from orch.history import Op, Outcome, as_unknown

OK, UNKNOWN = Outcome.OK, Outcome.UNKNOWN
FRESH, BACK, EXPIRY = "fresh", "back", "expiry"
_FINALS = ("success", "failed")


@dataclass(frozen=True, slots=True)
class Finding:
    """A broken rule, and the instant from which on it is certain; some are certain only of a whole history."""

    rule: str
    message: str
    ops: tuple[Op, ...]
    instant: int
    whole: bool = False


@dataclass(slots=True)
class Stay:
    """A job is certainly ready after `since` and before `until` (NEVER: it is not seen again)."""

    since: int
    until: int
    since_min: int  # it was not ready before then
    ticket_max: int  # its ticket was taken by then
    priority: int
    why: str  # FRESH: it has just got its ticket; BACK: given back; EXPIRY: its lease was lost
    cause: Op
    then: Op | None  # the next delivery
    simple: bool  # it was ready as soon as it had its ticket, so pending dequeues can be matched in order


@dataclass(slots=True)
class Delivery:
    """A delivery for the order rules: it took a job whose ticket is not older than `ticket_min`."""

    ticket_min: int
    call: int
    ret: int
    priority: int
    cause: Op  # what gave it the ticket, or brought it back
    op: Op


@dataclass(slots=True)
class Life:
    """What one job's operations show."""

    job: str
    findings: dict[str, Finding] = field(default_factory=dict)
    stays: list[Stay] = field(default_factory=list)
    deliveries: list[Delivery] = field(default_factory=list)
    hidden: list[tuple[int, Op]] = field(default_factory=list)  # (at the latest, seen by) of deliveries nobody saw
    lost_leases: list[tuple[int, int]] = field(default_factory=list)  # (expires at the earliest, is back by)
    acknowledged: bool = False
    delivered: int = 0
    unlicensed: int = 0
    settled: bool = False
    final: bool = False  # for certain, at the end
    ready_since: int = NEVER  # it waits to be delivered from then on, and no operation of its own ends that
    crashes_max: int = 0  # leases that it can have lost until then

    def find(self, rule: str, message: str, *ops: Op, instant: int | None = None) -> None:
        """Keep the first violation of each rule."""
        if rule not in self.findings:
            at = max(op.ret_ns for op in ops if op.ret_ns is not None) if instant is None else instant
            self.findings[rule] = Finding(rule, f"job {self.job!r} {message}", ops, at)


class Times:
    """The spec's times in nanoseconds, with the tolerance for two clocks."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.lease = None if spec.lease_s is None else round(spec.lease_s * 1e9)
        self.effect = NEVER if spec.effect_s is None else round(spec.effect_s * 1e9)
        self.sweep = round(spec.sweep_s * 1e9)
        self._skew = round(spec.skew_s * 1e9)

    def slack(self, span: int) -> int:
        """How far two clocks can differ over a span."""
        return self._skew + round(span * self.spec.drift)

    def lease_of(self, op: Op) -> int | None:
        """The lease that a dequeue or an extension asked for."""
        asked = op.args.get("lease_s")
        return self.lease if asked is None else round(asked * 1e9)


class Scene:
    """What all lives of a history have around them."""

    def __init__(self, ops: Iterable[Op], spec: Spec) -> None:
        self.spec = spec
        self.times = Times(spec)
        pending: list[tuple[int, int | None]] = []
        self.purges: list[tuple[int, int, int]] = []  # (called, over, takes only what is older than)
        self.quarantined: set[str] = set()
        promoters: list[tuple[int, int]] = []
        for op in ops:
            kind = op.op
            if kind == "dequeue":
                if op.outcome is UNKNOWN:
                    pending.append((op.call_ns, self.times.lease_of(op)))
                elif op.outcome is OK:
                    promoters.append((op.call_ns, end(op)))
            elif kind == "enqueue":
                if op.outcome is OK and op.value is True:
                    promoters.append((op.call_ns, end(op)))
            elif kind == "purge":
                if op.outcome is not Outcome.REFUSED and op.value != 0:
                    age = round(float(op.args.get("older_than_hours", 0)) * 3600e9)
                    self.purges.append((op.call_ns, end(op), age - self.times.slack(age)))
            elif kind == "quarantined":
                if isinstance(op.value, list):
                    self.quarantined.update(map(str, op.value))
            elif op.job is not None and error_of(op) == "UnreadableRecord":
                self.quarantined.add(op.job)
        pending.sort()
        self.pending = [call for call, _ in pending]  # calls of the dequeues without an answer
        leases = [lease for _, lease in pending if lease is not None]
        self.pending_lease = min(leases, default=0)  # the shortest one that was asked for
        self.pending_lease_max = max(leases, default=0)
        promoters.sort()
        self._promoter_calls = [call for call, _ in promoters]
        self._promoted_by = [ret for _, ret in promoters]
        for at in range(len(promoters) - 2, -1, -1):
            self._promoted_by[at] = min(self._promoted_by[at], self._promoted_by[at + 1])

    def pending_from(self, since_min: int) -> Sequence[int]:
        """The calls of dequeues without an answer that may have taken a job which was not ready before an instant."""
        return self.pending[bisect_left(self.pending, since_min - self.times.effect) :]

    def promoted_by(self, due: int) -> int:
        """By when a delayed job has got its ticket that was due at an instant."""
        at = bisect_right(self._promoter_calls, due)
        return self._promoted_by[at] if at < len(self._promoted_by) else NEVER

    def purgeable(self, born: int, *, after: int, before: int) -> bool:
        """Whether a purge may have removed a job that was enqueued at `born` and final after `after`."""
        return any(call <= before and over >= max(after, born + age) for call, over, age in self.purges)


def end(op: Op) -> int:
    """By when an operation has had its effect: its return, or NEVER."""
    return NEVER if op.ret_ns is None else op.ret_ns


def error_of(op: Op) -> str | None:
    """The class of the error that refused an operation."""
    if op.outcome is Outcome.REFUSED and isinstance(op.value, dict):
        error = op.value.get("error")
        return error if isinstance(error, str) else None
    return None


def status_of(op: Op) -> str | None:
    """The job's status in an answer."""
    return op.value.get("status") if isinstance(op.value, dict) and op.outcome is OK else None


def counter_of(op: Op, name: str) -> int | None:
    """A counter of the job in an answer."""
    number = op.value.get(name) if isinstance(op.value, dict) and op.outcome is OK else None
    return number if type(number) is int else None


def delay_of(op: Op) -> int:
    """The delay that an enqueue or a report asked for."""
    return round(float(op.args.get("delay_s", 0)) * 1e9)


class _Held:
    """One delivery and what was done under its lease."""

    __slots__ = ("attempt", "extended", "how", "lost", "ok", "op", "settle", "unknown")

    def __init__(self, op: Op, attempt: int) -> None:
        self.op = op
        self.attempt = attempt
        self.ok: list[Op] = []  # reports that were accepted
        self.unknown: list[Op] = []  # reports without an answer
        self.lost: list[Op] = []  # reports and extensions that were refused with LeaseLost
        self.extended: list[Op] = []  # extensions and saved progress that were accepted, or have no answer
        self.settle: Op | None = None  # the report that ended it
        self.how: str | None = None  # success, failed, retry, back; maybe: retry or failed; None: no report is known

    def told_before(self, report: Op) -> list[Op]:
        """Reports with the same status that may have settled the delivery before this one."""
        status, ret = report.args.get("status"), end(report)
        return [
            other
            for other in (*self.ok, *self.unknown)
            if other is not report and other.args.get("status") == status and other.call_ns <= ret
        ]

    def first_call(self) -> int:
        """When its settling report may have had its effect at the earliest."""
        assert self.settle is not None
        return min([self.settle.call_ns, *(op.call_ns for op in self.told_before(self.settle))])

    def delays(self) -> tuple[int, int]:
        """The least and the greatest delay that its settling report can have asked for."""
        assert self.settle is not None
        delays = [delay_of(op) for op in (self.settle, *self.told_before(self.settle))]
        return min(delays), max(delays)

    def settled_by(self) -> int:
        """When its settling report had had its effect at the latest."""
        assert self.settle is not None
        status = self.settle.args.get("status")
        return min(end(op) for op in self.ok if op.args.get("status") == status)


@dataclass(slots=True)
class _Birth:
    """How a job came into the queue: between `call` and `ret` (NEVER: not certain)."""

    op: Op | None
    call: int
    ret: int
    delay: int  # -1: not known, as None in the next two; several enqueues may have been the one that counted
    priority: int | None
    max_retries: int | None


def lives_of(job: str, ops: Sequence[Op], scene: Scene) -> list[Life]:
    """The lives of an id: one, or several if it was purged and enqueued again. `ops` are in the order of calls."""
    ordinary = _ordinary(job, ops, scene)
    if ordinary is not None:
        return [ordinary]
    if scene.purges:
        births = [
            op for op in ops if op.op == "enqueue" and op.outcome is not Outcome.REFUSED and op.value is not False
        ]
        if len(births) > 1 and scene.purgeable(births[0].call_ns, after=births[0].call_ns, before=NEVER):
            if any(op.value is not True for op in births):
                return [_blurred(job, ops, scene)]
            parts = _incarnations(ops, births, scene)
            return [_blurred(job, ops, scene)] if parts is None else [_life(job, part, scene) for part in parts]
    return [_life(job, ops, scene)]


def _ordinary(job: str, ops: Sequence[Op], scene: Scene) -> Life | None:
    """The life of most jobs, in short: enqueued, delivered and reported once, all answered; else None.

    It is what `_life` would find, in a tenth of the time; a test holds the two together.
    """
    if len(ops) != 3:
        return None
    born, taken, told = ops
    if born.op != "enqueue" or taken.op != "dequeue" or told.op != "report":
        return None
    if not (born.outcome is taken.outcome is told.outcome is OK) or born.value is not True:
        return None
    if taken.attempt != 1 or told.token is None or told.token != taken.token or told.args.get("status") != "success":
        return None
    priority = born.args.get("priority", 0)
    call, since, until, ret = born.call_ns, born.ret_ns, taken.call_ns, taken.ret_ns
    assert since is not None
    assert ret is not None
    if counter_of(taken, "priority") not in (None, priority) or "delay_s" in born.args or ret < call:
        return None
    if job in scene.quarantined:
        return None
    life = Life(job, acknowledged=True, delivered=1, settled=True, final=True)
    if since < until:
        life.stays.append(Stay(since, until, call, since, priority, FRESH, born, taken, simple=True))
    life.deliveries.append(Delivery(call, max(call, until), ret, priority, born, taken))
    return life


def _blurred(job: str, ops: Sequence[Op], scene: Scene) -> Life:
    """Of an id that may have been purged and enqueued again, but nobody can say when, nothing is judged."""
    life = Life(job)
    held = [_Held(op, 0) for op in ops if op.op == "dequeue"]
    life.delivered = len(held)
    life.lost_leases = [(_expiry_min(one, scene.times), NEVER) for one in held]
    life.acknowledged = any(op.op == "enqueue" and op.outcome is OK for op in ops)
    return life


def _life(job: str, ops: Sequence[Op], scene: Scene) -> Life:
    life = Life(job)
    enqueues: list[Op] = []
    dequeues: list[Op] = []
    told: list[Op] = []
    acts: list[Op] = []
    requeues: list[Op] = []
    looks: list[Op] = []
    for op in ops:
        kind = op.op
        if kind == "enqueue":
            if op.outcome is not Outcome.REFUSED:
                enqueues.append(op)
        elif kind == "dequeue":
            if op.outcome is OK:
                dequeues.append(op)
        elif kind in ("report", "extend", "progress"):
            if op.outcome is not Outcome.REFUSED or error_of(op) == "LeaseLost":
                (acts if op.token is None and op.attempt is None else told).append(op)
        elif op.outcome is Outcome.REFUSED:
            continue
        elif kind == "cancel":
            acts.append(op)
        elif kind == "requeue":
            requeues.append(op)
        elif kind == "get" and op.outcome is OK:
            looks.append(op)
    held = _deliveries(life, dequeues)
    acts += _attach(held, told)
    birth = _birth(life, enqueues, held, requeues, looks, scene)
    life.acknowledged = any(op.outcome is OK for op in enqueues)
    life.delivered = len(held)
    for one in held:
        _settle(one, birth.max_retries)
    if held:
        _check_deliveries(life, birth, held, acts, requeues, scene)
        for at, one in enumerate(held):
            if one.ok or one.lost or one.extended:
                _check_fencing(life, held, at, acts, scene)
    if looks or acts or requeues:
        _check_finals(life, birth, held, acts, requeues, looks, scene)
    life.settled = any(one.how in ("success", "failed") for one in held) or any(
        final_of(act) is not None for act in acts if act.outcome is OK
    )
    if acts or not held:
        life.final = life.settled and not requeues
    else:
        last = held[-1]
        life.final = last.how in _FINALS and all(end(op) < last.op.call_ns for op in requeues)
    for at, one in enumerate(held):
        if one.how is None:
            expiry = _expiry_min(one, scene.times)
            back = end(held[at + 1].op) if at + 1 < len(held) else NEVER
            life.lost_leases.append((expiry, max(expiry, back)))
    _follow(life, birth, held, acts, requeues, scene)
    return life


def _deliveries(life: Life, dequeues: list[Op]) -> list[_Held]:
    """The job's deliveries by attempt; their rank by call where the queue does not show attempts."""
    if len(dequeues) < 2:
        return [_Held(op, 1 if op.attempt is None else op.attempt) for op in dequeues]
    if any(op.attempt is None for op in dequeues):
        return [_Held(op, rank) for rank, op in enumerate(dequeues, 1)]
    held = [_Held(op, op.attempt or 0) for op in sorted(dequeues, key=_by_attempt)]
    for one, other in pairwise(held):
        if one.attempt == other.attempt:
            life.unlicensed += 1
            life.find("delivered twice", f"was delivered twice as attempt {one.attempt}", one.op, other.op)
    earliest = held[-1].op
    for one in reversed(held[:-1]):
        if end(earliest) < one.op.call_ns:
            message = f"was delivered as attempt {one.attempt} after attempt {earliest.attempt}"
            life.find("attempts down", message, earliest, one.op)
        if end(one.op) < end(earliest):
            earliest = one.op
    return held


def _by_attempt(op: Op) -> tuple[int, int, int]:
    return op.attempt or 0, op.token or 0, op.call_ns


def _attach(held: list[_Held], told: list[Op]) -> list[Op]:
    """Give each report to its delivery; returns those under a lease that nobody was seen to get."""
    if not told:
        return []
    names: dict[int, _Held] = {}
    for one in held:
        names[-one.attempt] = one
        if one.op.token is not None:
            names[one.op.token] = one
    orphans: list[Op] = []
    for op in told:
        owner = names.get(op.token if op.token is not None else -(op.attempt or 0))
        if owner is None:
            if op.op == "report" and op.outcome is not Outcome.REFUSED:
                orphans.append(op)
        elif op.outcome is Outcome.REFUSED:
            owner.lost.append(op)
        elif op.op != "report":
            owner.extended.append(op)
        elif op.outcome is OK:
            owner.ok.append(op)
        else:
            owner.unknown.append(op)
    return orphans


def _birth(
    life: Life, enqueues: list[Op], held: list[_Held], requeues: list[Op], looks: list[Op], scene: Scene
) -> _Birth:
    """When the job was enqueued, as far as that is certain; checks Q3 and that nothing comes from nowhere."""
    new = [op for op in enqueues if op.value is True]
    known = [op for op in enqueues if op.value is False]
    maybe = [op for op in enqueues if op.value is not True and op.value is not False]
    open_world = scene.spec.open_world and not new
    if len(new) > 1:
        life.find("new twice", "was accepted as new by two enqueues", *new[:2])
    made = new[:1] or maybe
    first = min((op.call_ns for op in (*new, *maybe)), default=None)
    for op in known:
        if not open_world and (first is None or first > end(op)):
            life.find("known before", "was called known by an enqueue before any other was called", op)
    seen = [one.op for one in held] + [op for op in looks if op.value is not None]
    for op in seen:
        if first is None or end(op) < first:
            if not open_world and not requeues and not known:
                how = "delivered" if op.op == "dequeue" else "there"
                life.find("unexpected", f"was {how} but {'never' if first is None else 'not yet'} enqueued", op)
        elif new and end(op) < new[0].call_ns:
            life.find("new twice", "was accepted as new by an enqueue after it was seen in the queue", op, new[0])
    if new:
        call, ret = new[0].call_ns, end(new[0])
    else:
        call = -1 if open_world or first is None else first
        ret = min((end(op) for op in (*known, *maybe)), default=NEVER)
    priorities = {int(op.args.get("priority", 0)) for op in made}
    priorities |= {p for one in held if (p := counter_of(one.op, "priority")) is not None}
    delays = {delay_of(op) for op in made}
    retries = {op.args.get("max_retries") for op in made}
    return _Birth(
        op=made[0] if made else known[0] if known else None,
        call=call,
        ret=ret,
        delay=delays.pop() if len(delays) == 1 else -1,
        priority=priorities.pop() if len(priorities) == 1 else None,
        max_retries=retries.pop() if len(retries) == 1 else None,
    )


def _settle(one: _Held, max_retries: int | None) -> None:
    """How a delivery ended by its accepted reports."""
    if not one.ok:
        return
    one.settle = report = min(one.ok, key=end)
    status = report.args.get("status")
    if status == "pending":
        one.how = "back"
    elif status != "retry":
        one.how = status
    elif (now := status_of(report)) is None:
        one.how = "failed" if max_retries == 0 else "maybe"
    elif now == "failed":
        # The answer to a repeated report is the job as it is now, which says nothing about this delivery.
        one.how = "maybe" if one.told_before(report) else "failed"
    else:
        one.how = "retry" if now in ("pending", "running") else "maybe"


def _check_deliveries(
    life: Life, birth: _Birth, held: list[_Held], acts: list[Op], requeues: list[Op], scene: Scene
) -> None:
    """Each delivery after the first has a licence, keeps the budgets, and is not too early (Q4, Q6, Q7)."""
    times, max_retries, max_crashes = scene.times, birth.max_retries, scene.spec.max_crashes
    failures = failures_max = crashes = returns = 0
    before: _Held | None = None
    for one in held:
        ret = end(one.op)
        operators = [op for op in (*acts, *requeues) if op.call_ns <= ret]
        skipped = one.attempt - (before.attempt if before else 0) - 1
        if skipped > 0 and not (scene.spec.open_world and birth.op is None):
            life.hidden += [(ret, one.op)] * skipped
        if before is None:
            if birth.delay > 0 and not operators and ret < birth.call + birth.delay - times.slack(birth.delay):
                life.find("too early", "was delivered before it was due", *filter(None, (birth.op, one.op)))
        elif skipped >= 0:
            _check_licence(life, before, one, skipped, operators, requeues, scene)
            ended = any(op.args.get("status") in ("retry", "pending") for op in before.unknown)
            crashes += before.how is None and not ended
        crashes += max(skipped, 0)
        if not operators:
            if max_retries is not None and failures > max_retries:
                life.find("budget", f"was delivered after {failures} failures, with max_retries {max_retries}", one.op)
            if max_crashes is not None and crashes > max_crashes:
                life.find("budget", f"was delivered after {crashes} lost leases, {max_crashes} are allowed", one.op)
        if max_retries is not None and max_crashes is not None:
            fresh = 1 + sum(op.call_ns <= ret for op in requeues)
            allowed = fresh * (1 + max_retries + max_crashes) + returns + sum(op.call_ns <= ret for op in acts)
            if one.attempt > allowed:
                life.find("budget", f"was delivered as attempt {one.attempt}, at most {allowed} are allowed", one.op)
        if one.how in ("retry", "failed") and one.settle is not None and not operators and max_retries is not None:
            _check_retry(life, one, failures, failures_max, max_retries)
        failures += one.how in ("retry", "failed")
        failures_max += one.how in ("retry", "failed", "maybe") or any(
            op.args.get("status") in ("retry", "failed") for op in one.unknown
        )
        returns += one.how == "back" or any(op.args.get("status") == "pending" for op in one.unknown)
        before = one


def _check_retry(life: Life, one: _Held, failures: int, failures_max: int, max_retries: int) -> None:
    """A RETRY makes the job FAILED exactly when its failure budget is spent (Q6)."""
    report = one.settle
    assert report is not None
    if report.args.get("status") != "retry" or status_of(report) is None or one.told_before(report):
        return
    if one.how == "retry" and failures >= max_retries:
        life.find("budget", f"may be retried after {failures + 1} failures, with max_retries {max_retries}", report)
    if one.how == "failed" and failures_max < max_retries:
        life.find("budget", f"failed after {failures_max + 1} failures, with max_retries {max_retries}", report)


def _check_licence(
    life: Life, before: _Held, one: _Held, skipped: int, operators: list[Op], requeues: list[Op], scene: Scene
) -> None:
    """A delivery may follow another only if that one's lease was ended or is over."""
    times, ret, report = scene.times, end(one.op), before.settle
    if before.attempt == one.attempt:
        return
    if before.how in _FINALS:
        assert report is not None
        failed = before.first_call()  # at the earliest
        revived = before.how == "failed" and any(op.call_ns <= ret and end(op) >= failed for op in requeues)
        if not revived:
            life.unlicensed += 1
            message = f"was delivered again after it was reported {report.args.get('status')}"
            life.find("final changed", message, before.op, report, one.op)
        return
    if operators:
        return
    if report is not None:
        delay, _ = before.delays()
        if delay and before.how == "retry" and ret < before.first_call() + delay - times.slack(delay):
            life.find("too early", "was delivered before the delay of its retry was over", report, one.op)
        return
    if any(op.args.get("status") in ("retry", "pending") and op.call_ns <= ret for op in before.unknown):
        return
    expiry = _expiry_min(before, times)
    if ret < expiry + skipped * max(scene.pending_lease - times.slack(scene.pending_lease), 0):
        life.unlicensed += 1
        message = f"was delivered as attempt {one.attempt} while the lease of attempt {before.attempt} was current"
        life.find("early redelivery", message, before.op, one.op)


def _expiry_min(one: _Held, times: Times, *, by: int = NEVER) -> int:
    """The earliest instant at which the lease can have expired; extensions count that returned by an instant."""
    lease = times.lease_of(one.op)
    if lease is None:
        return -1
    expiry = one.op.call_ns + lease - times.slack(lease)
    for op in one.extended:
        if op.op == "extend" and op.outcome is OK and end(op) <= by:
            longer = times.lease_of(op)
            if longer is not None:
                expiry = max(expiry, op.call_ns + longer - times.slack(longer))
    return expiry


def _expiry_max(one: _Held, times: Times) -> int:
    """The latest instant at which the lease can have expired, if nothing else ended it."""
    lease = times.lease_of(one.op)
    if lease is None:
        return NEVER
    expiry = end(one.op) + lease + times.slack(lease)
    for op in one.extended:
        if op.op == "extend":
            longer = times.lease_of(op)
            by = op.call_ns + times.effect if op.ret_ns is None else op.ret_ns
            if longer is None or by >= NEVER:
                return NEVER
            expiry = max(expiry, by + longer + times.slack(longer))
    return expiry


def _check_fencing(life: Life, held: list[_Held], at: int, acts: list[Op], scene: Scene) -> None:
    """Under a lease that is not current nothing is accepted; under one that is, nothing is refused (Q4, Q8)."""
    one = held[at]
    later = [other for other in held[at + 1 :] if other.attempt > one.attempt]
    statuses = {op.args.get("status"): op for op in one.ok}
    if len(statuses) > 1:
        kinds = " and ".join(map(str, statuses))
        life.find("settled twice", f"had attempt {one.attempt} accepted as {kinds}", one.op, *statuses.values())
    ended = [act for act in acts if act.outcome is OK and end(one.op) < act.call_ns]
    for op in (*one.ok, *(op for op in one.extended if op.outcome is OK)):
        again = one.told_before(op) if op.op == "report" else []
        if again:  # it repeats a report that settled the delivery: silent until another delivery is settled
            newer = next((o.settle for o in later if o.settle is not None and o.settled_by() < op.call_ns), None)
            if newer is not None:
                message = f"had a report of attempt {one.attempt} accepted after a later attempt was settled"
                life.find("stale accepted", message, one.op, newer, op)
            continue
        over = next((o.op for o in later if end(o.op) < op.call_ns), None)
        over = over or next((act for act in ended if end(act) < op.call_ns), None)
        if over is None and op.op != "report" and one.settle is not None and one.settled_by() < op.call_ns:
            over = one.settle
        over = over or next((lost for lost in one.lost if end(lost) < op.call_ns), None)
        if over is not None:
            message = f"had {_said(op)} of attempt {one.attempt} accepted after that lease was over"
            life.find("stale accepted", message, one.op, over, op)
    for op in one.lost:
        ret = end(op)
        excuses = (*one.ok, *one.unknown, *acts, *(other.op for other in later))
        early = scene.times.lease_of(one.op) is not None and ret < _expiry_min(one, scene.times, by=op.call_ns)
        if early and not scene.purges and all(other.call_ns > ret for other in excuses):
            message = f"had {_said(op)} of attempt {one.attempt} refused although nothing had ended its lease"
            life.find("early loss", message, one.op, op)


def _said(op: Op) -> str:
    return f"the report {op.args.get('status')}" if op.op == "report" else f"an operation ({op.op})"


def final_of(op: Op) -> str | None:
    """The final status that an accepted operator's act gave the job."""
    if op.op == "cancel":
        return "failed"
    status: Any = op.args.get("status")
    if status == "retry":
        return "failed" if status_of(op) == "failed" else None
    return status if status in ("success", "failed") else None


def _check_finals(
    life: Life,
    birth: _Birth,
    held: list[_Held],
    acts: list[Op],
    requeues: list[Op],
    looks: list[Op],
    scene: Scene,
) -> None:
    """What was seen of the job agrees with what was done to it (Q1, Q6, Q7)."""
    proofs = [(one.how, one.settle, one.first_call()) for one in held if one.settle is not None]
    proofs += [(final_of(act), act, act.call_ns) for act in acts if act.outcome is OK]
    proofs += [(status_of(op), op, op.call_ns) for op in looks]
    finals = [(status, op, since) for status, op, since in proofs if status in _FINALS]
    if not requeues:  # then the first proof of each says most
        first = {proof[0]: proof for proof in sorted(finals, key=lambda proof: end(proof[1]), reverse=True)}
        finals = list(first.values())
    shown = [(op, status_of(op)) for op in looks] + [(one.op, "running") for one in held]
    for final, proof, since in finals:
        sure = end(proof)
        for op, status in shown:
            if op.call_ns <= sure or status == final:
                continue
            if scene.purges and scene.purgeable(birth.call, after=since, before=end(op)):
                continue
            if final == "failed" and any(r.call_ns <= end(op) and end(r) >= since for r in requeues):
                continue
            if status is None:
                life.find("lost", f"was {final} and is gone without a purge", proof, op)
            else:
                life.find("final changed", f"was {final} and is {status} later", proof, op)
        for other, second, later in finals:
            if final == "success" and other == "failed" and (not requeues or sure < later):
                life.find("final changed", "was made both success and failed", proof, second)
    told = [op for one in held for op in (*one.ok, *one.unknown)] + acts
    for op in looks:
        if op.value is None:
            there = birth.op if birth.ret < op.call_ns else None
            there = there or next((one.op for one in held if end(one.op) < op.call_ns), None)
            if there is not None and not scene.purgeable(birth.call, after=-1, before=end(op)):
                life.find("lost", "was accepted and is gone without a purge", there, op)
            continue
        _check_look(life, op, held, told, scene)


def _check_look(life: Life, look: Op, held: list[_Held], told: list[Op], scene: Scene) -> None:
    """A status that is seen has a cause, and the attempts that are seen fit the deliveries."""
    status, attempts, by = status_of(look), counter_of(look, "attempts"), end(look)
    if status in _FINALS and not scene.spec.open_world:
        causes = ("success",) if status == "success" else ("failed", "retry")
        caused = any(
            op.call_ns <= by and (op.args.get("status") in causes or (op.op == "cancel" and status == "failed"))
            for op in told
        )
        if not caused and status == "failed":  # it may have lost too many leases
            unsettled = sum(one.settle is None and one.op.call_ns <= by for one in held) + len(scene.pending)
            caused = unsettled > (scene.spec.max_crashes or 0)
        if not caused:
            life.find("unexplained", f"is {status}, which nobody reported", look)
    if attempts is None:
        return
    for one in held:
        if end(one.op) < look.call_ns and one.attempt > attempts:
            life.find("attempts down", f"shows {attempts} attempts after attempt {one.attempt}", one.op, look)
        if by < one.op.call_ns and one.attempt <= attempts and one.op.attempt is not None:
            life.find(
                "attempts down", f"was delivered as attempt {one.attempt} after {attempts} were seen", look, one.op
            )


def _follow(life: Life, birth: _Birth, held: list[_Held], acts: list[Op], requeues: list[Op], scene: Scene) -> None:
    """Bound when the job was ready, and its tickets: one stay before each delivery, and one after the last."""
    if birth.op is None or birth.priority is None or life.job in scene.quarantined:
        return
    times = scene.times
    act = min((op.call_ns for op in acts), default=NEVER)
    cause, why, simple = birth.op, FRESH, birth.delay == 0
    ticket_min, ticket_max, since = birth.call, birth.ret, birth.ret
    since_min = birth.call
    if birth.delay < 0:
        since = ticket_max = NEVER
    elif birth.delay:
        ticket_min, since, ticket_max = _due(birth.call, birth.ret, birth.delay, birth.delay, scene, sure=not acts)
    for at, one in enumerate(held):
        skipped = one.attempt - (held[at - 1].attempt if at else 0) - 1
        until = one.op.call_ns
        if skipped > 0:  # who took it in between, and when, is not known
            until = min([until, *scene.pending_from(since_min)[:1]])
        until = min(until, act)
        if since < until:
            stay = Stay(since, until, since_min, ticket_max, birth.priority, why, cause, one.op, simple)
            life.stays.append(stay)
        call, ret = max(one.op.call_ns, ticket_min), end(one.op)
        if call <= ret:  # else it came before its ticket, which is another rule's finding
            life.deliveries.append(Delivery(ticket_min, call, ret, birth.priority, cause, one.op))

        last = at == len(held) - 1
        following = NEVER if last else end(held[at + 1].op)
        ended = one.op.call_ns if one.settle is None else one.first_call()
        revivals = [op for op in requeues if op.call_ns <= following and end(op) >= ended]
        simple, cause = False, one.settle or one.op
        since_min = min([_expiry_min(one, times) if one.settle is None else ended, *(op.call_ns for op in one.unknown)])
        if one.how == "back" and not revivals:
            since, why = one.settled_by(), BACK
            if not scene.spec.keeps_ticket:
                ticket_min, ticket_max, simple = one.first_call(), since, True
        elif one.how == "retry" and not revivals:
            call, ret, (least, most) = one.first_call(), one.settled_by(), one.delays()
            why = FRESH
            if most:
                ticket_min, since, ticket_max = _due(call, ret, least, most, scene, sure=not acts)
            else:
                ticket_min, since, ticket_max, simple = call, ret, ret, True
        elif one.how == "failed" and len(revivals) == 1 and revivals[0].call_ns > end(one.op) and not acts:
            cause, why, simple = revivals[0], FRESH, True
            since_min = cause.call_ns
            ticket_min, since, ticket_max = cause.call_ns, end(cause), end(cause)
        elif one.how is None and not revivals:
            since, why = _back_by(one, _crashes_max(held[: at + 1]), scene, last=last), EXPIRY
            changes = any(op.args.get("status") == "retry" for op in one.unknown)
            if changes or act != NEVER:
                ticket_max = NEVER
            elif not scene.spec.keeps_ticket:
                ticket_min, ticket_max = max(ticket_min, _expiry_min(one, times)), since
        else:
            since = ticket_max = NEVER
    life.ready_since = since if act == NEVER else NEVER
    life.crashes_max = _crashes_max(held) + (bool(held) and held[-1].settle is None)
    if since < act:
        life.stays.append(Stay(since, act, since_min, ticket_max, birth.priority, why, cause, None, simple))


def _due(call: int, ret: int, least: int, most: int, scene: Scene, *, sure: bool) -> tuple[int, int, int]:
    """Of a delayed job: its ticket at the earliest, ready for certain, its ticket at the latest.

    Not `sure`: an operator may have ended the delay by failing and requeueing it.
    """
    slack = scene.times.slack(most)
    since = NEVER if ret == NEVER else ret + most + slack
    return call + (max(least - slack, 0) if sure else 0), since, scene.promoted_by(since)


def _crashes_max(held: list[_Held]) -> int:
    """How many leases the job can have lost before its last delivery."""
    if not held:
        return 0
    known = counter_of(held[-1].op, "crashes")
    return held[-1].attempt - 1 - sum(one.settle is not None for one in held[:-1]) if known is None else known


def _back_by(one: _Held, crashes: int, scene: Scene, *, last: bool) -> int:
    """By when a job is deliverable again whose delivery nobody settled; NEVER if it need not come back."""
    statuses = {op.args.get("status") for op in one.unknown}
    if last:
        limit = scene.spec.max_crashes
        if statuses - {"pending"} or (limit is not None and crashes >= limit):
            return NEVER  # it may be final
    elif any(op.args.get("delay_s") for op in one.unknown):
        return NEVER  # it may have been waiting for a later hour
    expiry = _expiry_max(one, scene.times)
    return NEVER if expiry == NEVER else expiry + scene.times.sweep


def _incarnations(ops: Sequence[Op], enqueues: Sequence[Op], scene: Scene) -> list[list[Op]] | None:
    """Split the operations of an id that was purged and enqueued again; None if a delivery may belong to either."""
    births = list(enqueues[:1])
    for op in enqueues[1:]:
        if scene.purgeable(births[-1].call_ns, after=births[-1].call_ns, before=end(op)):
            births.append(op)
    if len(births) < 2:
        return [list(ops)]
    parts: list[list[Op]] = [[] for _ in births]
    starts = [op.call_ns for op in births]
    sure = [end(op) for op in births]
    tokens: dict[int, int] = {}
    at, attempt = 0, 0
    for op in sorted((op for op in ops if op.op == "dequeue"), key=lambda op: (op.token or 0, op.call_ns)):
        while at + 1 < len(births) and starts[at + 1] <= end(op):
            if sure[at + 1] >= op.call_ns and (op.attempt is None or op.attempt > attempt):
                return None
            at, attempt = at + 1, 0
        attempt = op.attempt or attempt
        parts[at].append(op)
        if op.token is not None:
            tokens[op.token] = at
    for op in ops:
        if op.op == "dequeue":
            continue
        if op.token in tokens:
            parts[tokens[op.token]].append(op)
            continue
        first = max(bisect_left(sure, op.call_ns) - 1, 0)
        final = max(bisect_right(starts, end(op)) - 1, first)
        if op.op == "get" and (first != final or (first == 0 and op.call_ns < sure[0])):
            continue
        if op in births:
            parts[births.index(op)].append(op)
        elif op.op in ("enqueue", "get"):
            parts[final if op.op == "get" else first].append(op)
        else:
            maybe = op if first == final else as_unknown(op)  # it concerned one of them
            for part in parts[first : final + 1]:
                part.append(maybe)
    return [sorted(part, key=lambda op: op.call_ns) for part in parts]
