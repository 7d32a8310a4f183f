"""From a history to a verdict: every job's own life, then what jobs owe each other, then what was lost."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import replace

from orch.checker.cover import judge_together
from orch.checker.fifo import shortest_bad
from orch.checker.lives import BACK, EXPIRY, UNKNOWN, Finding, Life, Scene, end, lives_of
from orch.checker.verdict import LEVELS, NEVER, RULES, Spec, Verdict, Violation, held
from orch.history import History, Op, Outcome, cut_at

KEPT_MAX = 10  # violations of one rule in a verdict: the earliest


def check(history: Iterable[Op], spec: Spec | None = None) -> Verdict:
    """Judge a history of a queue with leases (Q1 to Q8): the strongest level that held, and what broke the next.

    `spec` says what is promised and on what times; by default what `orch` promises with its default lease. The
    prefix of the first violation is found by binary search; n log n in the number of operations.
    """
    spec = Spec() if spec is None else spec
    ops = sorted(history, key=lambda op: op.call_ns)
    findings, counts = findings_of(ops, spec)
    returns = sorted(op.ret_ns for op in ops if op.ret_ns is not None)
    violations = _violations(findings, returns)
    sure = _violations((finding for finding in findings if not finding.whole), returns)
    if sure:
        exact = shortest_bad(len(returns), lambda n: bool(_broken_by(ops, returns[n - 1], spec)), sure[0].prefix)
        if exact != sure[0].prefix:  # a dequeue without an answer could have excused it until then
            early = _violations(_broken_by(ops, returns[exact - 1], spec), returns)[0]
            rest = [violation for violation in violations if violation.rule != early.rule]
            violations = [replace(one, prefix=max(one.prefix, exact)) for one in (early, *rest)]
    verdict = verdict_of(violations, counts, spec)
    if verdict.valid is False and isinstance(history, History) and history.lost_lines:
        verdict = replace(verdict, valid=None)  # what is missing may explain it
    return verdict


def verdict_of(violations: Sequence[Violation], counts: dict[str, int], spec: Spec) -> Verdict:
    """The verdict of what was found, by the level that is promised."""
    if not counts["operations"]:
        return Verdict(None, None, (), counts)
    promised = LEVELS.index(spec.level)
    broken = any(LEVELS.index(violation.level) <= promised for violation in violations)
    return Verdict(not broken, held(violation.rule for violation in violations), tuple(violations), counts)


def first_bad_prefix(history: Iterable[Op], spec: Spec | None = None) -> int | None:
    """How many operations had returned when a promise was first broken for certain; None if none was."""
    violations = check(history, spec).violations
    return violations[0].prefix if violations else None


def findings_of(ops: Sequence[Op], spec: Spec) -> tuple[list[Finding], dict[str, int]]:
    """Everything that is wrong with these operations, which are in the order of their calls."""
    scene = Scene(ops, spec)
    lives = [life for job, mine in by_job(ops).items() for life in lives_of(job, mine, scene)]
    return judge_lives(lives, ops, scene)


def _broken_by(ops: Iterable[Op], instant: int, spec: Spec) -> list[Finding]:
    """What was certain at an instant."""
    return [finding for finding in findings_of(cut_at(ops, instant), spec)[0] if not finding.whole]


def by_job(ops: Iterable[Op]) -> dict[str, list[Op]]:
    """The operations that name a job, by job."""
    jobs: dict[str, list[Op]] = {}
    for op in ops:
        if op.job is not None:
            known = jobs.get(op.job)
            if known is None:
                jobs[op.job] = [op]
            else:
                known.append(op)
    return jobs


def judge_lives(
    lives: Sequence[Life],
    ops: Sequence[Op],
    scene: Scene,
    *,
    highest: Op | None = None,
    lost_leases: Iterable[tuple[int, int]] = (),
) -> tuple[list[Finding], dict[str, int]]:
    """The findings of each life and those between them, and the counts of a verdict.

    Of jobs that were left out, `highest` is the delivery with the highest token, and `lost_leases` are those of
    their lives.
    """
    findings = [finding for life in lives for finding in life.findings.values()]
    dequeues = [op for op in ops if op.op == "dequeue" and op.outcome is Outcome.OK]
    empties = [op for op in dequeues if op.job is None]
    stays = [stay for life in lives for stay in life.stays]
    back_by = _Reclaiming([*lost_leases, *(lease for life in lives for lease in life.lost_leases)], dequeues, scene)
    for stay in stays:
        if stay.why == EXPIRY:
            stay.since = back_by(stay.since)
    stays = [stay for stay in stays if stay.since < stay.until]
    deliveries = [delivery for life in lives for delivery in life.deliveries]
    findings += _skipped(lives, scene)
    findings += _tokens(dequeues, highest)
    findings += _lost(lives, dequeues, back_by, scene)
    findings += judge_together(stays, deliveries, empties, scene.pending, scene.times.effect)
    delivered = sum(life.delivered for life in lives)
    counts = {
        "operations": len(ops),
        "unknown": sum(op.outcome is UNKNOWN for op in ops),
        "acknowledged": sum(life.acknowledged for life in lives),
        "delivered": delivered,
        "settled": sum(life.settled for life in lives),
        "lost": sum(finding.rule == "lost" for finding in findings),
        "unexpected": sum("unexpected" in life.findings for life in lives),
        "duplicates": delivered - sum(life.delivered > 0 for life in lives),
        "unlicensed": sum(life.unlicensed for life in lives),
    }
    return findings, counts


class _Reclaiming:
    """By when a lost lease is taken back: each dequeue takes at most `reclaim_max`, the oldest first."""

    def __init__(self, lost: Sequence[tuple[int, int]], dequeues: Sequence[Op], scene: Scene) -> None:
        self._expired = sorted(expiry for expiry, _ in lost)
        self._back = sorted(back for _, back in lost)
        self._calls = [op.call_ns for op in dequeues]
        self._returns = [end(op) for op in dequeues]
        self._most = scene.spec.reclaim_max
        self._hidden = len(scene.pending)

    def __call__(self, expired: int) -> int:
        if expired == NEVER or len(self._expired) + self._hidden <= self._most:
            return expired
        waiting = bisect_right(self._expired, expired) - bisect_right(self._back, expired) + self._hidden
        if waiting <= self._most:
            return expired
        needed = (waiting - 1) // self._most
        at = bisect_right(self._calls, expired)
        returns = self._returns[at : at + needed]
        return max(returns) if len(returns) == needed else NEVER


def _skipped(lives: Iterable[Life], scene: Scene) -> list[Finding]:
    """Attempts that nobody saw must each have gone to a dequeue without an answer."""
    hidden = sorted((by, life.job, op) for life in lives for by, op in life.hidden) if lives else []
    for needed, (by, job, op) in enumerate(hidden, 1):
        if bisect_right(scene.pending, by) < needed:
            message = f"job {job!r} was delivered as attempt {op.attempt}, an attempt before it went to nobody"
            return [Finding("attempt skipped", message, (op,), by)]
    return []


def _tokens(dequeues: Sequence[Op], earlier: Op | None) -> list[Finding]:
    """Tokens grow: of two deliveries one after the other the later one has the higher token."""
    with_token = [op for op in dequeues if op.token is not None]
    if earlier is not None and not any(op is earlier for op in with_token):
        with_token = sorted((earlier, *with_token), key=lambda op: op.call_ns)
    by_return = sorted(with_token, key=end)
    highest: Op | None = None
    at = 0
    for op in with_token:
        while end(by_return[at]) < op.call_ns:
            if highest is None or (by_return[at].token or 0) > (highest.token or 0):
                highest = by_return[at]
            at += 1
        if highest is not None and (op.token or 0) <= (highest.token or 0):
            message = f"job {op.job!r} was delivered with token {op.token} after token {highest.token} was given out"
            return [Finding("token order", message, (highest, op), end(op))]
    return []


def _lost(lives: Iterable[Life], dequeues: Sequence[Op], back_by: _Reclaiming, scene: Scene) -> list[Finding]:
    """Accepted jobs that had to be deliverable when the queue was drained, and never came out.

    Drained means: a dequeue found nothing, and none that was called later found anything.
    """
    last = max((op.call_ns for op in dequeues if op.job is not None), default=-1)
    drains = [op for op in dequeues if op.job is None and op.call_ns > last]
    if not drains:
        return []
    found = []
    quiet = _all_quiet(scene)
    for life in lives:
        stay = life.stays[-1] if life.stays else None
        if not life.acknowledged or life.ready_since == NEVER or stay is None or stay.then is not None:
            continue
        since = back_by(life.ready_since) if stay.why == EXPIRY else life.ready_since
        takers = scene.pending_from(stay.since_min)
        if takers:
            most = scene.spec.max_crashes
            if most is not None and life.crashes_max + len(takers) > most:
                continue  # dequeues without an answer may have used up its budget
            since = max(since, quiet)
        drain = next((op for op in drains if op.call_ns > since), None)
        if drain is not None and "lost" not in life.findings:
            when = {EXPIRY: " after its lease was lost", BACK: " after it was given back"}.get(stay.why, "")
            message = f"job {life.job!r} was accepted, is not final, and was never delivered{when}"
            found.append(Finding("lost", message, (stay.cause, drain), end(drain), whole=True))
    return found


def _all_quiet(scene: Scene) -> int:
    """From when on whatever a pending dequeue took is back; NEVER if that cannot be known."""
    times = scene.times
    if not scene.pending or times.lease is None or times.effect == NEVER:
        return NEVER
    lease = max(times.lease, scene.pending_lease_max)
    return scene.pending[-1] + times.effect + lease + times.slack(lease) + times.sweep


def in_order(findings: Iterable[Finding]) -> list[Finding]:
    """The earliest first, of equals the gravest."""
    return sorted(findings, key=lambda one: (one.instant, RULES[one.rule].level, one.rule))


def violation_of(finding: Finding, returns: Sequence[int], before: int = 0) -> Violation:
    """The finding with its promise and prefix; `returns` are ascending, `before` counts those left out of it."""
    prefix = before + 1 + bisect_left(returns, finding.instant)
    return Violation(RULES[finding.rule].promise, finding.rule, finding.message, finding.ops, prefix)


def _violations(findings: Iterable[Finding], returns: Sequence[int]) -> list[Violation]:
    """The earliest findings of each rule as violations."""
    kept: dict[str, int] = {}
    violations = []
    for finding in in_order(findings):
        kept[finding.rule] = kept.get(finding.rule, 0) + 1
        if kept[finding.rule] <= KEPT_MAX:
            violations.append(violation_of(finding, returns))
    return violations
