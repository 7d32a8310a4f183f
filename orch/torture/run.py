"""One run of torture: a folder, a world, the strikes of its plan, the drain, the verdict and the page."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from orch.errors import InvalidInput
from orch.history import History
from orch.page import Finding
from orch.torture.judge import Judgement, by_step, judge, read_notes
from orch.torture.nemesis import Nemesis
from orch.torture.plan import Plan, strikes
from orch.torture.report import witness_of, write_page
from orch.torture.store import fresh_prefix
from orch.torture.world import Seen, World, histories

MARK = ".orch-torture"  # lies in every folder that a run made, so that the next one may replace it
SAY_S = 1.0

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a run: what was seen, what it means, and how often each fault hit."""

    plan: Plan
    store: str
    seen: Seen
    judgement: Judgement
    struck: dict[str, int]
    cuts: dict[str, int]
    seconds: float
    witness: str = ""
    page: Path | None = None

    @property
    def good(self) -> bool:
        """Whether every promise was kept."""
        return self.judgement.good

    @property
    def broken(self) -> tuple[Finding, ...]:
        """The findings that did not hold."""
        return tuple(finding for finding in self.judgement.findings if not finding.held)

    def times(self, fault: str) -> int:
        """How often a fault hit: connections for a partition, jobs for poison and long ones, processes for a skew."""
        match fault:
            case "step":
                return sum(n for name, n in self.struck.items() if name.startswith("step "))
            case "partition":
                return sum(self.cuts.values())
            case "poison" | "long" | "skew":
                return self.judgement.counts[fault]
        return self.struck.get(fault, 0)

    @property
    def summary(self) -> str:
        """One line: how much was done, how much was survived."""
        counts = self.judgement.counts
        struck = ", ".join(f"{self.times(name)} {name}" for name in self.plan.faults) or "no fault"
        return (
            f"{counts['acknowledged']} jobs acknowledged, {counts['delivered']} deliveries, {counts['lost']} lost, "
            f"{counts['twice']} ran twice within a lease; {counts['deaths']} deaths; {struck}; {self.seconds:.0f} s, "
            f"seed {self.plan.seed}"
        )

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        judgement = self.judgement
        recoveries = judgement.recoveries_s
        return {
            "good": self.good,
            "store": self.store,
            "seed": self.plan.seed,
            "nemesis": list(self.plan.faults),
            "lease_s": self.plan.lease_s,
            "seconds": round(self.seconds, 1),
            "struck": self.struck,
            "cuts": self.cuts,
            "deaths": dict(Counter(death.why or "by itself" for death in self.seen.deaths)),
            "counts": judgement.counts,
            "lost": list(judgement.lost),
            "ran_twice_within_a_lease": list(judgement.twice),
            "recoveries_s": {
                "count": len(recoveries),
                "median": round(recoveries[len(recoveries) // 2], 3) if recoveries else None,
                "slowest": round(recoveries[-1], 3) if recoveries else None,
            },
            "findings": [
                {"promise": f.promise, "sentence": f.sentence, "held": f.held, "evidence": f.evidence}
                for f in judgement.findings
            ],
            "verdict": judgement.verdict.to_dict(),
            "page": None if self.page is None else str(self.page),
        }


def torture(plan: Plan, say: Say) -> Outcome:
    """Run a plan and write its page; `say` gets a line of progress now and then.

    Raises `InvalidInput` for a folder that holds something else, `BackendUnavailable` for a store that cannot be used.
    """
    folder = fresh_folder(plan.out)
    seen, struck, kind = live(plan, folder, say)
    say("judging what was written down")
    notes = read_notes(folder / "members")
    history = History.read(*histories(folder))
    judgement = judge(plan, seen, history, notes)
    outcome = Outcome(
        plan=plan,
        store=kind,
        seen=seen,
        judgement=judgement,
        struck={**struck, **by_step(notes)},
        cuts=seen.cuts,
        seconds=(seen.ended_ns - seen.begun_ns) / 1e9,
    )
    outcome = replace(outcome, witness=witness_of(outcome, history))
    return replace(outcome, page=write_page(outcome, notes, folder))


def live(plan: Plan, folder: Path, say: Say) -> tuple[Seen, dict[str, int], str]:
    """Everything that needs processes: torment, heal, drain, look, stop."""
    said_at = -SAY_S
    with World(plan, folder, fresh_prefix()) as world:
        nemesis = Nemesis(world, strikes(plan))
        say(f"{world.store.kind}: {plan.workers} workers, {plan.producers} producers, seed {plan.seed}")
        world.begin()
        while world.at_s < plan.seconds:
            nemesis.act()
            world.tick()
            if world.at_s - said_at >= SAY_S:
                said_at = world.at_s
                say(progress(world, nemesis))
        world.heal()
        say(f"{world.at_s:5.1f} s: no more strikes; working off what is left")
        world.drain()
        world.look()
        world.stop()
        world.seen.cuts = {} if world.store.proxy is None else dict(world.store.proxy.done)
        return world.seen, dict(nemesis.struck), world.store.kind


def progress(world: World, nemesis: Nemesis) -> str:
    """A line: the time, the jobs, the strikes."""
    seen, plan = world.seen, world.plan
    done = min(1.0, world.at_s / plan.seconds)
    bar = "#" * round(20 * done)
    jobs = "no answer yet"
    if seen.samples:
        last = seen.samples[-1]
        jobs = f"{last.success + last.failed} done, {last.running} running, {last.pending} waiting"
    struck = ", ".join(f"{n} {name}" for name, n in sorted(nemesis.struck.items())) or "no strike yet"
    trouble = f" ({world.busy})" if world.busy else ""
    return f"{world.at_s:5.1f} s [{bar:<20}] {jobs}; {struck}; {len(world.alive())} alive{trouble}"


def fresh_folder(out: Path) -> Path:
    """An empty folder at `out`; one that an earlier run made is replaced, any other is left alone.

    Raises `InvalidInput` if something else is there.
    """
    if out.exists() and not (out.is_dir() and ((out / MARK).exists() or not any(out.iterdir()))):
        raise InvalidInput(f"{out} holds something that no torture left: choose another folder with --out")
    if out.exists():
        shutil.rmtree(out)
    out.mkdir(parents=True)
    (out / MARK).touch()
    return out.resolve()
