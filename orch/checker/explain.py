"""Prints a witness: the promise, the sentence, and who overlapped whom."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from orch.checker.verdict import RULES, Violation
from orch.history import Op, Outcome

ROWS_MAX = 40
CHART_WIDTH = 64
_UNITS = (("s", 1e9), ("ms", 1e6), ("µs", 1e3), ("ns", 1))


def explain(violation: Violation, history: Iterable[Op] = ()) -> str:
    """The violation as text with a timeline: one row an operation, in the order of calls.

    Columns of the timeline are instants in their order, not to scale; `>` is an operation without an answer, which
    may have happened at any time after its call. With the history, the other operations of the same jobs are shown
    too; those that show the violation are marked with `*`. Times count from the first call shown.
    """
    shown = rows(violation, history)
    start = min((op.call_ns for op in shown), default=0)
    last = max((op.ret_ns or op.call_ns for op in shown), default=0)
    unit, size = next((u for u in _UNITS if last - start >= 10 * u[1]), _UNITS[-1])
    bars = _bars(shown)
    labels = [label(op) for op in shown]
    width = max(map(len, labels), default=0)
    lane = max((len(op.client) for op in shown), default=0)
    lines = [
        f"{violation.promise} {violation.rule}: {violation.message}",
        f"promised: {RULES[violation.rule].sentence} (level {violation.level})",
        f"certain when {violation.prefix} operations had returned",
        "",
    ]
    witness = {id(op) for op in violation.operations}
    for op, text, bar in zip(shown, labels, bars, strict=True):
        mark = "*" if id(op) in witness else " "
        called = f"{(op.call_ns - start) / size:.10g}"
        ended = "no answer" if op.ret_ns is None else f"{(op.ret_ns - start) / size:.10g} {unit}"
        lines.append(f"{mark} {op.client:<{lane}}  {text:<{width}}  {bar}  {called} .. {ended}")
    left_out = len(set(map(id, violation.operations)) - {id(op) for op in shown})
    if left_out:
        lines.append(f"  … and {left_out} more operations")
    return "\n".join(lines)


def rows(violation: Violation, history: Iterable[Op]) -> list[Op]:
    """The operations of the witness and, as far as there is room, the others of its jobs, in the order of calls."""
    rows = {id(op): op for op in violation.operations[:ROWS_MAX]}
    jobs = {op.job for op in violation.operations if op.job is not None}
    known = set(map(_key, violation.operations))
    for op in history:
        if len(rows) >= ROWS_MAX:
            break
        if op.job in jobs and _key(op) not in known:
            rows[id(op)] = op
    return sorted(rows.values(), key=lambda op: (op.call_ns, -1 if op.ret_ns is None else op.ret_ns))


def _key(op: Op) -> tuple[str, int, str, str | None]:
    return op.client, op.call_ns, op.op, op.job


def label(op: Op) -> str:
    """An operation and its answer in a few words."""
    parts = [op.op]
    if op.op == "dequeue":
        parts.append("-> ?" if op.outcome is Outcome.UNKNOWN else "-> nothing" if op.job is None else f"-> {op.job}")
    elif op.job is not None:
        parts.append(op.job)
    parts += [str(op.args[name]) for name in ("status",) if name in op.args and op.op == "report"]
    parts += [f"{name}={op.args[name]:g}" for name in ("priority", "delay_s", "lease_s") if op.args.get(name)]
    if op.attempt is not None:
        parts.append(f"attempt {op.attempt}")
    if op.op == "enqueue" and op.value is False:
        parts.append("(known)")
    if op.op == "get":
        parts.append(str(op.value.get("status")) if isinstance(op.value, dict) else "(gone)")
    if op.outcome is Outcome.REFUSED:
        error = op.value.get("error") if isinstance(op.value, dict) else None
        parts.append(f"refused: {error}" if error else "refused")
    return " ".join(parts)


def _bars(shown: Sequence[Op]) -> list[str]:
    instants = sorted({instant for op in shown for instant in (op.call_ns, op.ret_ns) if instant is not None})
    step = max(1, min(4, CHART_WIDTH // max(1, len(instants))))
    column = {instant: at * step for at, instant in enumerate(instants)}
    total = len(instants) * step + 1
    bars = []
    for op in shown:
        first = column[op.call_ns]
        if op.ret_ns is None:
            bar = " " * first + "[" + "-" * (total - first - 2) + ">"
        elif op.ret_ns == op.call_ns:
            bar = " " * first + "|"
        else:
            bar = " " * first + "[" + "=" * (column[op.ret_ns] - first - 1) + "]"
        bars.append(f"{bar:<{total}}")
    return bars
