"""The page of a run: verdict, witness, what was done, and lanes of what each worker ran meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from orch.checker.explain import explain
from orch.history import History
from orch.page import Figures, Mark, render
from orch.queue import SWEEP_S
from orch.torture.judge import Note
from orch.torture.plan import CUTS, FAULTS
from orch.torture.world import Seen

if TYPE_CHECKING:
    from orch.torture.run import Outcome

WINDOW_S = 12.0  # of the lanes: more could not be read
WITNESSES_MAX = 3
_LANE_MARKS = {"kill": "kill", "pause": "pause", "partition": "cut", "disk": "store"}


def write_page(outcome: Outcome, notes: Sequence[Note], folder: Path) -> Path:
    """Write `index.html` into the folder; returns its path."""
    page = folder / "index.html"
    page.write_text(render(figures_of(outcome, notes)), encoding="utf-8")
    return page


def figures_of(outcome: Outcome, notes: Sequence[Note]) -> Figures:
    """What the page shows."""
    plan, seen, judgement = outcome.plan, outcome.seen, outcome.judgement
    counts, recoveries = judgement.counts, judgement.recoveries_s
    facts = [
        ("acknowledged", str(counts["acknowledged"])),
        ("deliveries", str(counts["delivered"])),
        ("lost", str(counts["lost"])),
        ("twice in a lease", str(counts["twice"])),
        ("deaths", str(counts["deaths"])),
        ("slowest recovery", f"{recoveries[-1]:.1f} s" if recoveries else "none"),
        ("seconds", f"{outcome.seconds:.0f}"),
    ]
    return Figures(
        title=f"orch torture: {outcome.store}",
        subtitle=f"{plan.workers} workers, {plan.producers} producers, lease {plan.lease_s:g} s, sweep {SWEEP_S:g} s, "
        f"seed {plan.seed}; {', '.join(plan.faults)}",
        facts=tuple(facts),
        findings=judgement.findings,
        samples=tuple(seen.samples),
        runs=judgement.runs,
        kills=(),
        latencies_s=judgement.latencies_s,
        marks=tuple(marks_of(seen, notes)),
        faults=tuple(fault_rows(outcome)),
        recoveries_s=judgement.recoveries_s,
        window=window_of(outcome),
        witness=outcome.witness,
    )


def witness_of(outcome: Outcome, history: History) -> str:
    """The first violations in words, with who overlapped whom; empty if there are none."""
    violations = outcome.judgement.verdict.violations[:WITNESSES_MAX]
    return "\n\n\n".join(explain(violation, history) for violation in violations)


def window_of(outcome: Outcome) -> tuple[float, float]:
    """The stretch of time that the lanes show: around the first violation, else in the middle."""
    seen = outcome.seen
    span_s = outcome.seconds
    at_s = (seen.torment_ns - seen.begun_ns) / 2e9
    violations = outcome.judgement.verdict.violations
    if violations:
        last = max(op.call_ns for op in violations[0].operations)
        at_s = (last - seen.begun_ns) / 1e9
    start_s = max(0.0, min(at_s - WINDOW_S * 0.6, span_s - WINDOW_S))
    return start_s, min(span_s, start_s + WINDOW_S)


def marks_of(seen: Seen, notes: Sequence[Note]) -> list[Mark]:
    """Every strike, and every worker that died by itself."""

    def at_s(instant: int) -> float:
        return (instant - seen.begun_ns) / 1e9

    marks = []
    for hit in seen.hits:
        kind = _LANE_MARKS.get(hit.fault, "store")
        text = f"{hit.fault}: {hit.text}"
        marks.append(Mark(at_s(hit.at_ns), at_s(hit.until_ns), kind, hit.lane, text))
    for note in notes:
        if note.what == "crash":
            lane = note.member.rpartition(".")[0]
            marks.append(Mark(at_s(note.at_ns), at_s(note.at_ns), "kill", lane, f"{note.member} died {note.text}"))
    return marks


def fault_rows(outcome: Outcome) -> list[tuple[str, int, str]]:
    """Name, number and sentence of everything that was done."""
    steps = {name.removeprefix("step "): n for name, n in outcome.struck.items() if name.startswith("step ")}
    rows = []
    for name in outcome.plan.faults:
        sentence = FAULTS[name].sentence
        if name == "step" and steps:
            sentence += ": " + ", ".join(f"{step} {n}" for step, n in sorted(steps.items()))
        elif name == "partition":
            sentence += ": " + ", ".join(f"{how} {outcome.cuts.get(how, 0)}" for how in CUTS)
        rows.append((name, outcome.times(name), sentence))
    return rows
