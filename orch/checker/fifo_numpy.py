"""The judge of `orch.checker.fifo` on numpy arrays: the same steps, findings and ties, several times faster.

Imported only where numpy can be.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from orch.checker.fifo import ENQUEUE, Columns, Table, fifo_counts, judge, second_enqueue
from orch.checker.verdict import NEVER

_Ints: TypeAlias = NDArray[np.int64]


def judge_with_numpy(columns: Columns) -> Table:
    """Steps 1 to 5; a history in which a value was dequeued twice is left to the plain judge."""
    if not len(columns):
        return judge(columns)
    kinds = np.frombuffer(columns.kinds, np.int8)
    values: _Ints = np.frombuffer(columns.values, np.int64)
    calls: _Ints = np.frombuffer(columns.calls, np.int64)
    rets: _Ints = np.frombuffer(columns.rets, np.int64)
    m = int(values.max()) + 1
    enqueues = kinds == ENQUEUE
    answered = rets != NEVER
    dequeues = ~enqueues & answered
    enqueued, dequeued = np.flatnonzero(enqueues), np.flatnonzero(dequeues & (values >= 0))

    times = np.bincount(values[enqueued], minlength=m)
    if (times > 1).any():
        raise second_enqueue(columns, int(times.argmax()))
    if (np.bincount(values[dequeued], minlength=m) > 1).any():
        return judge(columns)
    enqueue_call, enqueue_ret = np.full(m, -1, np.int64), np.full(m, NEVER, np.int64)
    dequeue_call, dequeue_ret = np.full(m, NEVER, np.int64), np.full(m, NEVER, np.int64)
    enqueue_call[values[enqueued]] = calls[enqueued]
    enqueue_ret[values[enqueued]] = rets[enqueued]
    dequeue_call[values[dequeued]] = calls[dequeued]
    dequeue_ret[values[dequeued]] = rets[dequeued]
    findings: dict[str, tuple[int, int]] = {}

    unexpected = np.flatnonzero((dequeue_ret < enqueue_call) | ((enqueue_call == -1) & (dequeue_ret != NEVER)))
    _earliest(findings, "unexpected", dequeue_ret, unexpected)

    by_return = np.flatnonzero(enqueue_ret != NEVER)
    by_return = by_return[np.argsort(enqueue_ret[by_return], kind="stable")]
    pending = np.sort(calls[~enqueues & ~answered])
    if len(pending):
        missing = by_return[dequeue_ret[by_return] == NEVER][: len(pending)]
        dequeue_call[missing] = pending[: len(missing)]

    entered, left = enqueue_ret[by_return], dequeue_call[by_return]
    latest = np.maximum.accumulate(left)
    came_out = np.flatnonzero(dequeue_ret != NEVER)
    before = np.searchsorted(entered, enqueue_call[came_out])
    latest_before = np.concatenate((np.array([-1]), latest))[before]
    _earliest(findings, "order", dequeue_ret, came_out[latest_before > dequeue_ret[came_out]])

    empties = np.flatnonzero(dequeues & (values < 0))
    if len(empties):
        inside = entered < left
        starts, ends = entered[inside], np.maximum.accumulate(left[inside])
        if len(starts):
            first = np.concatenate((np.array([True]), starts[1:] >= ends[:-1]))
            last = np.concatenate((first[1:], np.array([True])))
            starts, ends = starts[first], ends[last]
            part = np.searchsorted(starts, calls[empties]) - 1
            covered = (part >= 0) & (rets[empties] < ends[part])
            _earliest(findings, "empty", rets, empties[covered])

    counts = fifo_counts(
        operations=len(columns),
        pending_dequeues=len(pending),
        pending_enqueues=len(enqueued) - len(by_return),
        acknowledged=len(by_return),
        taken=len(dequeued),
        repeats=0,
        unexpected=len(unexpected),
    )
    return Table(enqueue_call, enqueue_ret, dequeue_call, dequeue_ret, findings, counts)  # type: ignore[arg-type]  # arrays serve as sequences


def _earliest(findings: dict[str, tuple[int, int]], rule: str, instants: _Ints, candidates: NDArray[np.intp]) -> None:
    if len(candidates):
        finding = int(candidates[instants[candidates].argmin()])
        findings[rule] = (int(instants[finding]), finding)
