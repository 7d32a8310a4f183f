"""Hunts the bugs of level "torture": a few seconds of real processes under the faults that bring them out."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from orch.testing.bugs.catalogue import Bug, Finding
from orch.testing.bugs.processes import HOW
from orch.torture.plan import Plan
from orch.torture.run import Outcome, torture

TRIES = 3
#: Short leases and few members. What a broken queue never finishes is not waited for.
SMALL = {
    "workers": 3,
    "producers": 1,
    "lease_s": 1.0,
    "jobs_per_second": 25.0,
    "seconds": 4.0,
    "limit_s": 4.0,
    "intensity": 4.0,
}


def hunt(bug: Bug, *, seed: int = 11, budget_s: float = 60.0) -> Finding | None:
    """Torture it, at most three times; `budget_s` is CPU of all processes together. The witness is not shrunk."""
    begun = _cpu_s()
    for attempt in range(TRIES):
        with tempfile.TemporaryDirectory(prefix="orch-bug-") as folder:
            outcome = torture(plan_of(bug, seed + attempt, Path(folder) / "run"), _quiet)
        if not outcome.good:
            return _finding(outcome, _cpu_s() - begun)
        if _cpu_s() - begun > budget_s:
            break
    return None


def plan_of(bug: Bug, seed: int, out: Path) -> Plan:
    """The run that shows the bug."""
    how = HOW[bug.name]
    values = {**SMALL, **how.plan, "nemesis": how.nemesis, "seed": seed, "out": out}
    return Plan(**values, queue=f"orch.testing.bugs.processes:{bug.name}")


def _finding(outcome: Outcome, found_s: float) -> Finding:
    violations = outcome.judgement.verdict.violations
    broken = outcome.broken[0]
    promise = violations[0].promise if violations else broken.promise.split()[0]
    return Finding(
        promise,
        violations[0].message if violations else broken.evidence,
        len(violations[0].operations) if violations else 0,
        f"seed {outcome.plan.seed}",
        outcome.witness or broken.evidence,
        found_s,
        0.0,
    )


def _cpu_s() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _quiet(_text: str) -> None:
    """Only the end counts."""
