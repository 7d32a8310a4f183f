"""Stretches of time for charts: of tasks from an event log, of leases from a history."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from orch.clock import iso_to_us
from orch.history import Op, Outcome
from orch.lab.charts.dag import TaskSpan

_ENDS = {"task_ok": "ok", "task_fail": "fail"}


def task_spans(events: Iterable[Mapping[str, Any]], *, cut_at: Mapping[str, float] | None = None) -> list[TaskSpan]:
    """What each task did in each run, from the events of `run_dag`; seconds count from the first event.

    A task whose end is not in the log is `cut`; `cut_at` says when the worker of a run died, if it is known.
    """
    rows = sorted(((iso_to_us(str(event["timestamp"])), event) for event in events), key=lambda row: row[0])
    origin = rows[0][0] if rows else 0
    spans: dict[tuple[str, str], TaskSpan] = {}
    for us, event in rows:
        kind, run, task = str(event.get("event")), str(event.get("run")), str(event.get("task_id"))
        at = (us - origin) / 1_000_000
        there = spans.get((run, task))
        match kind:
            case "task_start":
                spans[run, task] = TaskSpan(run, task, at, (cut_at or {}).get(run), "cut")
            case "task_reused" | "task_skipped":
                spans[run, task] = TaskSpan(run, task, at, at, kind.removeprefix("task_"))
            case "task_retry" if there is not None:
                spans[run, task] = there._replace(retries=(*there.retries, at))
            case "task_ok" | "task_fail" if there is not None:
                spans[run, task] = there._replace(end=at, outcome=_ENDS[kind])
            case _:
                pass
    return list(spans.values())


class LeaseSpan(NamedTuple):
    """A lease of a worker: from its delivery until it was over, in seconds from the beginning of the clock."""

    worker: str
    start: float
    until: float
    job: str
    token: int


def lease_spans(history: Iterable[Op]) -> list[LeaseSpan]:
    """Each lease from its delivery until its time was over, as far as it was extended, or its job was settled."""
    spans: dict[int, LeaseSpan] = {}
    for op in history:
        if op.outcome is not Outcome.OK or op.token is None or op.ret_ns is None:
            continue
        at, lease_s = op.ret_ns / 1e9, float(op.args.get("lease_s") or 0.0)
        there = spans.get(op.token)
        if op.op == "dequeue" and op.job is not None:
            spans[op.token] = LeaseSpan(op.client, at, at + lease_s, op.job, op.token)
        elif op.op == "extend" and there is not None:
            spans[op.token] = there._replace(until=max(there.until, at + lease_s))
        elif op.op == "report" and there is not None:
            spans[op.token] = there._replace(until=min(there.until, at))
    return list(spans.values())
