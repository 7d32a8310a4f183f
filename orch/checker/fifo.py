"""Is a history of enqueues, dequeues and empty dequeues that of one FIFO queue? In O(n log n), for distinct values.

Unlike a search over orders this does not mind a deep queue, many clients, or operations that never returned. Let
E(x) and D(x) be the two operations of a value x; `a` before `b` means that a returned strictly before b was called.
A history is linearizable if and only if none of these is found:

1. *fresh, single*. A value is dequeued that nobody enqueued, or before its enqueue was called, or twice.
2. A pending enqueue (no answer) whose value came out did happen, and may have returned at any time; another one is
   dropped, since it may not have happened.
3. A pending dequeue took some value or none. The values that are missing (enqueued for certain, never seen again),
   in the order of their enqueue's return, are given to the pending dequeues in the order of their calls. Everything
   that follows only bounds *when* a missing value has gone at the latest, and bounds those first that were enqueued
   first, so earliest to earliest is as good as any assignment: no choice has to be tried.
4. *order*. E(x) before E(y), y came out, and x came out only later: D(y) before D(x), or x never came out. Pairs are
   enough, longer cycles of a queue contain one. Sweep y by call; of all x enqueued before it only the one that left
   last matters.
5. *empty*. x is certainly inside during the open interval (E(x) returns, D(x) is called). If an empty dequeue lies
   strictly within a chain of overlapping ones, no instant of it saw an empty queue. Intervals that only touch leave
   one instant, so they do not join.

The order rule is that of Gibbons, Bruno and Phillips (Theory of Computing Systems 2002); the four bad patterns are
those of Henzinger, Sezgin and Vafeiadis (CONCUR 2013). Published algorithms in this corner have been wrong, so the
property tests keep an exhaustive search as the oracle.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from orch.checker.verdict import NEVER, RULES, Verdict, Violation, held
from orch.errors import InvalidInput
from orch.history import Op, Outcome

ENQUEUE, DEQUEUE = 0, 1
NO_VALUE = -1  # of a dequeue that found nothing, or that has not returned


@dataclass(frozen=True, slots=True)
class Columns:
    """A history of one FIFO queue as four columns, which is how long ones are judged fast.

    `kinds` is ENQUEUE or DEQUEUE; `values` are whole numbers from 0 on, given in any order, at most one enqueue each;
    `rets` is NEVER for an operation without an answer. `ops` are the operations that the rows came from, if any.
    """

    kinds: array[int]  # of type "b"
    values: array[int]  # of type "q", like the next two
    calls: array[int]
    rets: array[int]
    ops: Sequence[Op] | None = None

    @classmethod
    def of(cls, ops: Iterable[Op]) -> Columns:
        """The enqueues and dequeues among these operations that may have had an effect; the job is the value."""
        kept: list[Op] = []
        kinds, values, calls, rets = array("b"), array("q"), array("q"), array("q")
        numbers: dict[str, int] = {}
        refused = Outcome.REFUSED
        for op in ops:
            if op.outcome is refused:
                continue
            if op.op == "enqueue":
                if op.value is False or op.job is None:
                    continue
                kinds.append(ENQUEUE)
                values.append(numbers.setdefault(op.job, len(numbers)))
            elif op.op == "dequeue":
                kinds.append(DEQUEUE)
                job = op.job
                values.append(NO_VALUE if job is None or op.ret_ns is None else numbers.setdefault(job, len(numbers)))
            else:
                continue
            kept.append(op)
            calls.append(op.call_ns)
            rets.append(NEVER if op.ret_ns is None else op.ret_ns)
        return cls(kinds, values, calls, rets, kept)

    def __len__(self) -> int:
        return len(self.kinds)

    def op(self, row: int) -> Op:
        """The operation of a row."""
        if self.ops is not None:
            return self.ops[row]
        value, ret = self.values[row], self.rets[row]
        return Op(
            client="",
            op="enqueue" if self.kinds[row] == ENQUEUE else "dequeue",
            job=None if value == NO_VALUE else str(value),
            args={},
            call_ns=self.calls[row],
            ret_ns=None if ret == NEVER else ret,
            outcome=Outcome.UNKNOWN if ret == NEVER else Outcome.OK,
            value=True if self.kinds[row] == ENQUEUE and ret != NEVER else None,
        )

    def cut(self, instant: int) -> Columns:
        """What was called up to an instant, pending where it had not returned then."""
        rows = [row for row, call in enumerate(self.calls) if call <= instant]
        rets = array("q", [ret if (ret := self.rets[row]) <= instant else NEVER for row in rows])
        pending = [ret == NEVER for ret in rets]
        kinds = array("b", [self.kinds[row] for row in rows])
        values = array(
            "q",
            [
                NO_VALUE if open and kind == DEQUEUE else self.values[row]
                for row, kind, open in zip(rows, kinds, pending, strict=True)
            ],
        )
        ops = None if self.ops is None else [self.ops[row] for row in rows]
        return Columns(kinds, values, array("q", [self.calls[row] for row in rows]), rets, ops)


class Table(NamedTuple):
    """Both operations of each value, and of each broken rule the violation that was certain first.

    `enqueue_call` is -1 where nothing enqueued the value; other instants are NEVER where it did not happen. A finding
    is the instant when it is certain, and the value that was dequeued wrongly, or the row of the dequeue that found
    nothing, or a value for the second time.
    """

    enqueue_call: Sequence[int]
    enqueue_ret: Sequence[int]
    dequeue_call: Sequence[int]
    dequeue_ret: Sequence[int]
    findings: dict[str, tuple[int, int]]
    counts: dict[str, int]


def check_fifo(ops: Iterable[Op] | Columns, *, numpy: bool | None = None) -> Verdict:
    """Judge a history of one FIFO queue without leases: enqueue, dequeue of a job, dequeue of nothing (Q1, Q2, Q4).

    `numpy` None uses numpy if it can be imported; both ways give the same verdict. The prefix of the first violation
    is exact. Raises `InvalidInput` if a job is enqueued twice: the algorithm needs distinct values.
    """
    columns = ops if isinstance(ops, Columns) else Columns.of(ops)
    judge = engine(numpy)
    table = judge(columns)
    violations = _violations(columns, table)
    if violations:
        returns = sorted(ret for ret in columns.rets if ret != NEVER)
        exact = shortest_bad(
            len(returns), lambda n: bool(judge(columns.cut(returns[n - 1])).findings), violations[0].prefix
        )
        if exact != violations[0].prefix:  # a pending dequeue could have excused it until then
            cut = columns.cut(returns[exact - 1])
            early = _violations(cut, judge(cut))[0]
            rest = [violation for violation in violations if violation.rule != early.rule]
            violations = [replace(one, prefix=max(one.prefix, exact)) for one in (early, *rest)]
    valid = not violations if len(columns) else None
    level = held(violation.rule for violation in violations) if len(columns) else None
    return Verdict(valid, level, tuple(violations), table.counts)


def engine(numpy: bool | None) -> Callable[[Columns], Table]:
    """The pure judge, or the one with numpy: None takes it if it is there, True raises `ImportError` if it is not."""
    if numpy is None or numpy:
        try:
            from orch.checker.fifo_numpy import judge_with_numpy
        except ImportError:
            if numpy:
                raise
        else:
            return judge_with_numpy
    return judge


def judge(columns: Columns) -> Table:
    """Steps 1 to 5 in plain Python."""
    m = max(columns.values, default=NO_VALUE) + 1
    enqueue_call, enqueue_ret = [-1] * m, [NEVER] * m
    dequeue_call, dequeue_ret = [NEVER] * m, [NEVER] * m
    empties: list[int] = []
    pending: list[int] = []
    findings: dict[str, tuple[int, int]] = {}
    repeats = unexpected = 0

    for row, (kind, value, call, ret) in enumerate(
        zip(columns.kinds, columns.values, columns.calls, columns.rets, strict=True)
    ):
        if kind == ENQUEUE:
            if enqueue_call[value] != -1:
                raise second_enqueue(columns, value)
            enqueue_call[value] = call
            enqueue_ret[value] = ret
        elif ret == NEVER:
            pending.append(call)
        elif value < 0:
            empties.append(row)
        elif dequeue_ret[value] == NEVER:
            dequeue_call[value] = call
            dequeue_ret[value] = ret
        else:
            repeats += 1
            _earlier(findings, "delivered twice", max(ret, dequeue_ret[value]), row)

    for value, (call, ret) in enumerate(zip(enqueue_call, dequeue_ret, strict=True)):
        if ret < call or (call == -1 and ret != NEVER):
            unexpected += 1
            _earlier(findings, "unexpected", ret, value)

    by_return = sorted((value for value in range(m) if enqueue_ret[value] != NEVER), key=enqueue_ret.__getitem__)
    taken = m - dequeue_ret.count(NEVER)
    if pending:
        missing = (value for value in by_return if dequeue_ret[value] == NEVER)
        for call, value in zip(sorted(pending), missing, strict=False):
            dequeue_call[value] = call

    entered = [enqueue_ret[value] for value in by_return]
    left = [dequeue_call[value] for value in by_return]
    latest = -1
    at = 0
    entered.append(NEVER)  # ends the inner loop
    for value in sorted(range(m), key=enqueue_call.__getitem__):
        call = enqueue_call[value]
        while entered[at] < call:
            if left[at] > latest:  # noqa: PLR1730  # max() costs a call per value
                latest = left[at]
            at += 1
        if latest > dequeue_ret[value]:
            _earlier(findings, "order", dequeue_ret[value], value)
    entered.pop()

    if empties:
        starts, ends = merged(entered, left)
        for row in empties:
            part = bisect_left(starts, columns.calls[row]) - 1
            if part >= 0 and columns.rets[row] < ends[part]:
                _earlier(findings, "empty", columns.rets[row], row)

    counts = fifo_counts(
        operations=len(columns),
        pending_dequeues=len(pending),
        pending_enqueues=columns.kinds.count(ENQUEUE) - len(by_return),
        acknowledged=len(by_return),
        taken=taken,
        repeats=repeats,
        unexpected=unexpected,
    )
    return Table(enqueue_call, enqueue_ret, dequeue_call, dequeue_ret, findings, counts)


def merged(starts: Sequence[int], ends: Sequence[int]) -> tuple[list[int], list[int]]:
    """The union of open intervals given by ascending start: those that overlap are joined, those that touch are not."""
    union_starts: list[int] = []
    union_ends: list[int] = []
    end = -1
    for start, stop in zip(starts, ends, strict=True):
        if start >= stop:
            continue
        if start < end:
            if stop > end:
                union_ends[-1] = end = stop
        else:
            union_starts.append(start)
            union_ends.append(stop)
            end = stop
    return union_starts, union_ends


def chain(intervals: Iterable[tuple[int, int, int]], call: int, ret: int) -> list[int]:
    """The fewest of these open intervals (start, end, name) that together cover [call, ret], by name; [] if none do."""
    names: list[int] = []
    reached = call
    best_end, best = -1, -1
    for start, end, name in sorted(intervals):
        while start >= reached:  # what began before `reached` is known: take what goes furthest
            if best_end <= reached:
                return []
            names.append(best)
            if best_end > ret:
                return names
            reached = best_end
        if end > best_end:
            best_end, best = end, name
    while best_end > reached:  # the rest begins early enough
        names.append(best)
        if best_end > ret:
            return names
        reached = best_end
    return []


def shortest_bad(total: int, is_bad: Callable[[int], bool], guess: int) -> int:
    """The smallest n of 1..total with `is_bad(n)`, which holds from some n on; `guess` is tried first."""
    low, high = 0, total  # is_bad(high) holds, is_bad(low) does not
    if 0 < guess < high:
        if is_bad(guess):
            high = guess
            if guess > 1 and not is_bad(guess - 1):
                return guess
            high = max(guess - 1, 1)
        else:
            low = guess
    while high - low > 1:
        middle = (low + high) // 2
        if is_bad(middle):
            high = middle
        else:
            low = middle
    return high


def fifo_counts(
    *,
    operations: int,
    pending_dequeues: int,
    pending_enqueues: int,
    acknowledged: int,
    taken: int,
    repeats: int,
    unexpected: int,
) -> dict[str, int]:
    """The counts of a verdict; `taken` values were dequeued, `repeats` times more often than once."""
    return {
        "operations": operations,
        "unknown": pending_dequeues + pending_enqueues,
        "acknowledged": acknowledged,
        "delivered": taken + repeats,
        "settled": taken,
        "lost": 0,
        "unexpected": unexpected,
        "duplicates": repeats,
        "unlicensed": repeats,
    }


def second_enqueue(columns: Columns, value: int) -> InvalidInput:
    """The error for a value that is not distinct."""
    row = next(row for row, other in enumerate(columns.values) if other == value)
    return InvalidInput(f"jobs must be distinct, got a second enqueue of {columns.op(row).job!r}")


def _earlier(findings: dict[str, tuple[int, int]], rule: str, instant: int, finding: int) -> None:
    candidate = (instant, finding)
    if rule not in findings or candidate < findings[rule]:
        findings[rule] = candidate


def _violations(columns: Columns, table: Table) -> list[Violation]:
    """What was found, said with the operations that show it; the earliest first, of equals the gravest."""
    found = []
    for rule, (instant, finding) in table.findings.items():
        values, told = _witness(columns, table, rule, finding)
        rows: dict[int, list[int]] = {value: [] for value in values}
        for row, value in enumerate(columns.values):
            if value in rows:
                rows[value].append(row)
        names = [repr(columns.op(rows[value][0]).job) for value in values]
        shown = [row for value in values for row in rows[value]] + ([finding] if rule == "empty" else [])
        prefix = 1 + sum(ret < instant for ret in columns.rets)
        operations = tuple(columns.op(row) for row in shown)
        found.append(Violation(RULES[rule].promise, rule, told.format(*names), operations, prefix))
    return sorted(found, key=lambda one: (one.prefix, one.level, one.rule))


def _witness(columns: Columns, table: Table, rule: str, finding: int) -> tuple[list[int], str]:
    """The values whose operations show a finding, and a sentence with a place for each of their names."""
    match rule:
        case "unexpected" if table.enqueue_call[finding] == -1:
            return [finding], "job {} was dequeued but never enqueued"
        case "unexpected":
            return [finding], "job {} was dequeued before it was enqueued"
        case "delivered twice":
            return [columns.values[finding]], "job {} was dequeued twice"
        case "order":
            call = table.enqueue_call[finding]
            before = (value for value, ret in enumerate(table.enqueue_ret) if ret < call)
            other = max(before, key=lambda value: (table.dequeue_call[value], -value))
            when = "never" if table.dequeue_call[other] == NEVER else "after it"
            return [other, finding], f"job {{}} was enqueued before {{}} but dequeued {when}"
        case "empty":
            inside = zip(table.enqueue_ret, table.dequeue_call, range(len(table.enqueue_ret)), strict=True)
            parts = ((int(start), int(end), value) for start, end, value in inside if start < end)
            values = chain(parts, columns.calls[finding], columns.rets[finding])
            names = ", ".join(["{}"] * len(values))
            return values, f"a dequeue found nothing although some job of {names} was inside at every instant of it"
        case _:
            raise AssertionError(rule)
