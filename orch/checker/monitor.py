"""Judges a run while it runs: operations go in as they happen, violations come out, finished jobs are forgotten.

The same rules as for a whole history, applied to the part that can still matter: jobs that are not final, and what
overlaps with operations under way. Whatever is under way counts as pending, so a correct run is never accused. What
is lost by forgetting is power, not soundness: see `Monitor`.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable
from dataclasses import replace

from orch.checker.judge import by_job, in_order, judge_lives, verdict_of, violation_of
from orch.checker.lives import Finding, Life, Scene, end, lives_of
from orch.checker.verdict import Spec, Verdict, Violation
from orch.history import Op, Outcome, cut_at, is_call

_Key = tuple[str, int]


class Monitor:
    """A checker with memory for what is under way: `add` operations, read `violations`; threads may share it.

    An operation should be added twice, when it is called (outcome unknown, no value) and again when it ended, as
    `RecordingQueue` does with its `sink` and in its files. Operations are judged every `every` operations, up to
    `slack_s` before the newest instant seen: operations must arrive within that time, which is 0 for one recorder and
    longer than the slowest reader where files of several processes are followed. If calls are not announced, it must
    be longer than the longest operation, too.

    A final job is set aside when nothing that is under way can concern it, and comes back when it is named again; all
    but the last `remember` of them are dropped, and from then on an unknown id is not an error any more. A call that
    has no end after `open_max_s` no longer holds this back: its client is dead. Judging costs about 20 µs for each
    operation held, in the thread that adds.
    """

    def __init__(
        self,
        spec: Spec | None = None,
        *,
        every: int = 1_000,
        slack_s: float = 0.0,
        remember: int = 10_000,
        open_max_s: float = 60.0,
    ) -> None:
        self.spec = Spec() if spec is None else spec
        self._every = every
        self._slack = round(slack_s * 1e9)
        self._remember = remember
        self._open_max = round(open_max_s * 1e9)
        self._lock = threading.RLock()
        self._violations: list[Violation] = []
        self._said: set[tuple[str, _Key, str | None]] = set()
        self._open: dict[_Key, list[Op]] = {}
        self._ended: list[Op] = []  # everything that may still matter, in the order of arrival
        self._aside: dict[str, list[Op]] = {}  # the operations of final jobs, the oldest first
        self._highest: Op | None = None  # of the deliveries set aside, the one with the highest token
        self._lost_leases: deque[tuple[int, int]] = deque(maxlen=10 * max(remember, 1_000))  # of jobs set aside
        self._past: dict[str, int] = {}  # counts of what was dropped
        self._newest = 0  # the newest instant seen
        self._fresh = 0  # operations since the last judgement
        self._group: _Key | None = None  # the call that the last operation belongs to

    @property
    def violations(self) -> tuple[Violation, ...]:
        """All that was found until now, in the order of finding."""
        with self._lock:
            return tuple(self._violations)

    @property
    def retained(self) -> int:
        """How many operations it holds, those set aside included."""
        with self._lock:
            return len(self._ended) + sum(map(len, self._open.values())) + sum(map(len, self._aside.values()))

    def add(self, op: Op) -> tuple[Violation, ...]:
        """Take an operation, called or ended; returns what is newly found to be wrong."""
        with self._lock:
            key = (op.client, op.call_ns)
            found: tuple[Violation, ...] = ()
            # Never between two operations of one call: each half would look as if the other had not happened.
            if key != self._group and self._fresh >= max(self._every, len(self._ended) // 2):
                found = self.judge()
            self._group = key
            self._newest = max(self._newest, op.call_ns, op.ret_ns or 0)
            if op.job in self._aside:
                self._ended += self._aside.pop(op.job)
            if is_call(op):
                self._open.setdefault(key, []).append(op)
            else:
                self._open.pop(key, None)
                self._ended.append(op)
                self._fresh += 1
            return found

    def add_many(self, ops: Iterable[Op]) -> tuple[Violation, ...]:
        """Take several operations; returns what is newly found to be wrong."""
        with self._lock:
            return tuple(violation for op in ops for violation in self.add(op))

    def judge(self) -> tuple[Violation, ...]:
        """Judge what is there now; returns what is newly found to be wrong."""
        with self._lock:
            self._fresh = 0
            horizon = self._newest - self._slack
            findings, lives, _ = self._findings(cut_at(self._held(), horizon))
            found = self._tell(finding for finding in findings if not finding.whole)
            self._forget({life.job: life for life in lives if life.final}, horizon)
            return found

    def finish(self) -> Verdict:
        """Judge all that is held, as of a run that is over: operations under way stay unknown."""
        with self._lock:
            findings, _, counts = self._findings([*self._held(), *(op for ops in self._aside.values() for op in ops)])
            self._tell(findings)
            counts = {name: number + self._past.get(name, 0) for name, number in counts.items()}
            return verdict_of(sorted(self._violations, key=lambda one: one.prefix), counts, self.spec)

    def _held(self) -> list[Op]:
        return [*self._ended, *(op for ops in self._open.values() for op in ops)]

    def _findings(self, ops: list[Op]) -> tuple[list[Finding], list[Life], dict[str, int]]:
        ops.sort(key=lambda op: op.call_ns)
        scene = Scene(ops, replace(self.spec, open_world=True) if "settled" in self._past else self.spec)
        lives = [life for job, mine in by_job(ops).items() for life in lives_of(job, mine, scene)]
        findings, counts = judge_lives(lives, ops, scene, highest=self._highest, lost_leases=self._lost_leases)
        return findings, lives, counts

    def _tell(self, findings: Iterable[Finding]) -> tuple[Violation, ...]:
        """Keep as violations what was not said before."""
        aside = (op for ops in self._aside.values() for op in ops)
        returns = sorted(op.ret_ns for op in (*self._ended, *aside) if op.ret_ns is not None)
        found = []
        for finding in in_order(findings):
            last = finding.ops[-1]
            name = (finding.rule, (last.client, last.call_ns), last.job)
            if name not in self._said:
                self._said.add(name)
                found.append(violation_of(finding, returns, self._past.get("returned", 0)))
        self._violations += found
        return tuple(found)

    def _forget(self, final: dict[str, Life], horizon: int) -> None:
        """Set final jobs aside, and drop what found nothing, where nothing under way can concern them any more."""
        quiet = min([horizon, *(call for _, call in self._open if call > self._newest - self._open_max)])
        under_way = {op.job for ops in self._open.values() for op in ops}
        mine = by_job(op for op in self._ended if op.job in final and op.job not in under_way)
        over = {job: ops for job, ops in mine.items() if all(end(op) < quiet for op in ops)}
        empties = [op for op in self._ended if op.op == "dequeue" and op.job is None and op.ret_ns is not None]
        drain = max(empties, key=lambda op: op.call_ns, default=None)  # it may turn out to have been the last
        kept = []
        for op in self._ended:
            if op.job is None and op.op not in _LASTING and op is not drain and end(op) < quiet:
                self._drop([op])
            elif op.job not in over:
                kept.append(op)
        self._ended = kept
        for job, ops in over.items():
            self._aside[job] = ops
            self._lost_leases += final[job].lost_leases
            for op in ops:
                if op.op == "dequeue" and (self._highest is None or (op.token or 0) > (self._highest.token or 0)):
                    self._highest = op
        while len(self._aside) > self._remember:
            job = next(iter(self._aside))
            self._drop(self._aside.pop(job), job)

    def _drop(self, ops: list[Op], job: str | None = None) -> None:
        """Keep only the counts."""
        past = self._past
        counts = {"operations": len(ops), "returned": sum(op.ret_ns is not None for op in ops)}
        if job is not None:
            deliveries = sum(op.op == "dequeue" for op in ops)
            counts |= {
                "acknowledged": any(op.op == "enqueue" and op.outcome is Outcome.OK for op in ops),
                "delivered": deliveries,
                "settled": 1,
                "duplicates": max(deliveries - 1, 0),
            }
        for name, number in counts.items():
            past[name] = past.get(name, 0) + number


#: Operations without a job that later ones may depend on.
_LASTING = frozenset({"purge", "quarantined"})
