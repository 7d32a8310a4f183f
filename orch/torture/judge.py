"""Holds what a run of torture left against the contract: histories, the queue at the end, notes, and deaths.

Pure functions. The history goes to `orch.checker`; here its verdict is joined with what only a rig can know: who died
and why, what ran when, and whether those who live still work.
"""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from orch.checker import Spec, Verdict, check
from orch.history import History, Op, Outcome
from orch.job import FINAL, JobStatus
from orch.page import Finding, Run
from orch.queue import MAX_CRASHES, SWEEP_S
from orch.torture.member import POISON, UNREACHABLE, WORK
from orch.torture.plan import SKEWED, Plan
from orch.torture.world import JUDGE, Death, Seen

SKEW_S = 0.05  # what two clocks of one machine may differ by over a lease
NAMES_MAX = 5  # so many names stand in a sentence


class Note(NamedTuple):
    """A line that a member noted."""

    member: str
    at_ns: int
    what: str
    job: str
    attempt: int
    token: int | None
    text: str  # the outcome of a run, the path of a job, a step, an error


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a run showed. Times in seconds from its beginning; `twice` are pairs of runs that overlapped in a lease."""

    findings: tuple[Finding, ...]
    verdict: Verdict
    runs: tuple[Run, ...]
    lost: tuple[str, ...]
    twice: tuple[str, ...]
    recoveries_s: tuple[float, ...]
    latencies_s: tuple[float, ...]
    counts: dict[str, int]

    @property
    def good(self) -> bool:
        """Whether every promise was kept."""
        return all(finding.held for finding in self.findings)


def read_notes(folder: Path, member: str = "*") -> list[Note]:
    """The notes of all members, or of one, by time; a torn line of one that was killed is left out."""
    notes = []
    for path in sorted(folder.glob(f"{member}.notes.jsonl")):
        name = path.name.removesuffix(".notes.jsonl")
        for line in path.read_bytes().splitlines():
            try:
                note = json.loads(line)
            except ValueError:
                continue
            text = next((str(note[key]) for key in ("outcome", "path", "step", "error", "code") if key in note), "")
            about = note.get("job", ""), note.get("attempt", 0), note.get("token")
            notes.append(Note(name, note["at_ns"], note["what"], *about, text))
    return sorted(notes, key=lambda note: note.at_ns)


def spec_of(plan: Plan) -> Spec:
    """What a history of this plan is held against."""
    return Spec(lease_s=plan.lease_s, sweep_s=SWEEP_S, max_crashes=MAX_CRASHES, skew_s=SKEW_S, effect_s=plan.effect_s)


def judge(plan: Plan, seen: Seen, history: History, notes: Sequence[Note]) -> Judgement:
    """Hold it all against the contract."""
    verdict = check(history, spec_of(plan))
    runs = runs_of(notes, seen)
    asked = asked_of(history)
    lost = sorted(id for id in asked.acknowledged if id not in seen.found or seen.found[id].status not in FINAL)
    unexpected = sorted(set(seen.found) - asked.acknowledged - asked.unknown)
    twice = overlapping(runs, history, seen, plan.lease_s)
    recoveries = recoveries_of(history, seen.deaths)
    poisoned = poisoned_by(notes, seen.deaths)
    alone = [death for death in seen.deaths if died_alone(death, notes, poisoned)]
    findings = [
        *_promises(verdict, plan, seen, asked, lost, unexpected, twice, recoveries),
        _counts(seen),
        _failures(seen, asked),
        _workers(seen, alone),
        _exits(seen, notes),
        _whole(history, notes),
    ]
    counts = {
        **verdict.counts,
        "acknowledged": len(asked.acknowledged),
        "lost": len(lost),
        "twice": len(twice),
        "runs": len(runs),
        "recoveries": len(recoveries),
        "deaths": len(seen.deaths),
        "poison": len(poisoned),
        "long": sum(run.outcome == "success" and (run.end_s or 0.0) - run.start_s > plan.lease_s for run in runs),
        "skew": len({n.member for n in notes if n.what == "ready" and n.member.rpartition(".")[0] in SKEWED}),
    }
    return Judgement(
        tuple(findings),
        verdict,
        tuple(runs),
        tuple(lost),
        tuple(twice),
        tuple(recoveries),
        _latencies(history),
        counts,
    )


# -- what members asked and ran ------------------------------------------------------------------------------------


class Asked(NamedTuple):
    """The ids whose enqueue was answered, and those where no answer came."""

    acknowledged: set[str]
    unknown: set[str]
    cancelled: set[str]


def asked_of(history: Iterable[Op]) -> Asked:
    """What was enqueued, and what an operator may have ended."""
    acknowledged: set[str] = set()
    unknown: set[str] = set()
    cancelled: set[str] = set()
    for op in history:
        if op.job is None or op.outcome is Outcome.REFUSED:
            continue
        if op.op == "enqueue":
            (acknowledged if op.outcome is Outcome.OK else unknown).add(op.job)
        elif op.op == "cancel":
            cancelled.add(op.job)
    return Asked(acknowledged, unknown, cancelled)


def runs_of(notes: Sequence[Note], seen: Seen) -> list[Run]:
    """Every run that a worker began. One without an end was cut off by the death of its worker."""
    died = {f"{death.lane}.{death.life}": death.at_ns for death in seen.deaths}
    ends = {(note.member, note.job, note.attempt): note for note in notes if note.what == "end"}
    outcomes = {"Done": "success", "Retry": "retry", "Dead": "failed", "Lost": "lost"}
    runs = []
    for note in notes:
        if note.what != "begin":
            continue
        end = ends.get((note.member, note.job, note.attempt))
        over_ns = end.at_ns if end is not None else died.get(note.member)
        outcome = outcomes.get(end.text, end.text) if end is not None else "running" if over_ns is None else "killed"
        lane = note.member.rpartition(".")[0]
        over_s = None if over_ns is None else _seconds(over_ns, seen)
        runs.append(Run(note.job, note.attempt, lane, _seconds(note.at_ns, seen), over_s, outcome))
    return runs


def _seconds(at_ns: int, seen: Seen) -> float:
    return (at_ns - seen.begun_ns) / 1e9


def overlapping(runs: Sequence[Run], history: Iterable[Op], seen: Seen, lease_s: float) -> list[str]:
    """Runs of one job that began while another run of it went on under a lease that was certainly not over.

    A lease that was reported, given back or ended by an operator is over; else it lasts from the call that gave or
    extended it. A run that goes on after its lease is a zombie, which no queue can prevent.
    """
    leases: dict[tuple[str, int], float] = {}
    names: dict[int, tuple[str, int]] = {}
    ended: dict[str, float] = {}
    for op in history:
        if op.job is None or op.outcome is Outcome.REFUSED:
            continue
        at_s = _seconds(op.call_ns, seen)
        if op.op == "dequeue" and op.attempt is not None:
            leases[op.job, op.attempt] = at_s + lease_s
            if op.token is not None:
                names[op.token] = op.job, op.attempt
        elif op.op == "extend" and op.outcome is Outcome.OK and op.token in names:
            leases[names[op.token]] = max(leases[names[op.token]], at_s + lease_s)
        elif op.op in ("report", "cancel") and op.token is None:
            ended[op.job] = min(at_s, ended.get(op.job, at_s))
    by_job: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        by_job[run.job_id].append(run)
    found = []
    for job_id, mine in by_job.items():
        mine.sort(key=lambda run: run.start_s)
        for before, after in pairwise(mine):
            until = leases.get((job_id, before.attempt), 0.0) - SKEW_S
            going = before.end_s is None or before.end_s > after.start_s
            if going and after.start_s < until and ended.get(job_id, math.inf) > after.start_s:
                found.append(f"{job_id}#{before.attempt}/{after.attempt}")
    return found


def recoveries_of(history: Iterable[Op], deaths: Iterable[Death]) -> list[float]:
    """Seconds from the death of a worker to the next delivery of what it held.

    Left out are jobs of a lower priority than most, which wait for all others however soon they are deliverable, and
    those whose report may have been heard: a retry takes a new ticket.
    """
    taken: dict[str, list[Op]] = defaultdict(list)
    by_job: dict[str, list[Op]] = defaultdict(list)
    told: set[int | None] = set()
    for op in history:
        if op.op == "dequeue" and op.outcome is Outcome.OK and op.job is not None:
            taken[op.client.partition("/")[0]].append(op)
            by_job[op.job].append(op)
        elif op.op == "report" and op.outcome is not Outcome.REFUSED:
            told.add(op.token)
    found = []
    for death in deaths:
        for op in taken.get(f"{death.lane}.{death.life}", ()):
            if op.token in told or op.job is None or priority_of(op) < 0:
                continue
            later = [other.ret_ns for other in by_job[op.job] if (other.token or 0) > (op.token or 0)]
            back = min((ret for ret in later if ret is not None and ret > death.at_ns), default=None)
            if back is not None:
                found.append((back - death.at_ns) / 1e9)
    return sorted(found)


def priority_of(delivery: Op) -> int:
    """The priority of a delivered job."""
    value = delivery.value
    return int(value.get("priority", 0)) if isinstance(value, dict) else 0


def poisoned_by(notes: Iterable[Note], deaths: Iterable[Death]) -> set[str]:
    """The members that died while they ran a job that kills its worker."""
    going: dict[str, set[tuple[str, int]]] = defaultdict(set)
    for note in notes:
        if note.what == "begin" and note.text == POISON:
            going[note.member].add((note.job, note.attempt))
        elif note.what == "end":
            going[note.member].discard((note.job, note.attempt))
    return {f"{d.lane}.{d.life}" for d in deaths if d.why is None and going.get(f"{d.lane}.{d.life}")}


def died_alone(death: Death, notes: Iterable[Note], poisoned: set[str]) -> bool:
    """Whether a member ended that nobody had ended, but for one that never reached its store (Q15)."""
    name = f"{death.lane}.{death.life}"
    if death.why is not None or name in poisoned:
        return False
    unreachable = death.code == UNREACHABLE and any(n.member == name and n.what == "unreachable" for n in notes)
    return not unreachable and (death.role == WORK or death.code != 0)


def _latencies(history: Iterable[Op]) -> tuple[float, ...]:
    """Seconds from the call of the first enqueue to the report that settled the job."""
    begun: dict[str, int] = {}
    over: dict[str, int] = {}
    for op in history:
        if op.job is None or op.outcome is not Outcome.OK or op.ret_ns is None or op.client.startswith(f"{JUDGE}."):
            continue
        if op.op == "enqueue":
            begun.setdefault(op.job, op.call_ns)
        elif op.op == "report" and op.args.get("status") in ("success", "failed"):
            over[op.job] = op.ret_ns
    return tuple((over[id] - begun[id]) / 1e9 for id in over if id in begun)


# -- the findings --------------------------------------------------------------------------------------------------

_SENTENCES = {
    "Q1": ("Q1 conserve", "Every acknowledged job reached a final state; none was lost, none appeared."),
    "Q2": ("Q2 order", "Jobs came by priority, then by ticket; a dequeue was empty only if none was ready."),
    "Q3": ("Q3 once in", "An id was accepted as new at most once."),
    "Q4": ("Q4 one holder", "No two leases of a job at once, and no stale one was accepted."),
    "Q5": ("Q5 recovery", "What a dead worker held was deliverable within lease and sweep."),
    "Q6": ("Q6 bounded work", "No job was delivered more often than its budgets allow."),
    "Q7": ("Q7 final is final", "A final job changed only by an operator."),
}


def _promises(
    verdict: Verdict,
    plan: Plan,
    seen: Seen,
    asked: Asked,
    lost: Sequence[str],
    unexpected: Sequence[str],
    twice: Sequence[str],
    recoveries: Sequence[float],
) -> list[Finding]:
    """A finding for each promise that a history shows, with what else was seen of it."""
    wrong: dict[str, list[str]] = defaultdict(list)
    for violation in verdict.violations:
        wrong[violation.promise].append(f"{violation.rule}: {violation.message}")
    if lost:
        wrong["Q1"].insert(0, f"{len(lost)} lost or not final{_some(lost)}")
    if unexpected:
        wrong["Q1"].append(f"{len(unexpected)} were never enqueued{_some(unexpected)}")
    if not seen.drained:
        wrong["Q1"].append(f"after {plan.limit_s:g} s the queue was not drained")
    if seen.left is not None:
        wrong["Q1"].append(f"job {seen.left!r} was delivered when all were final")
    if twice:
        wrong["Q4"].insert(0, f"{len(twice)} ran twice within a lease{_some(twice)}")
    counts = verdict.counts
    failed = sum(job.status is JobStatus.FAILED for job in seen.found.values())
    said = {
        "Q1": f"{len(asked.acknowledged)} acknowledged, {len(seen.found)} found, {failed} of them FAILED, none lost",
        "Q2": f"{counts.get('delivered', 0)} deliveries, {counts.get('operations', 0)} operations",
        "Q3": f"{len(asked.unknown)} enqueues without an answer were repeated",
        "Q4": f"{counts.get('duplicates', 0)} deliveries were not the first, each had a licence",
        "Q5": _recovered(recoveries),
        "Q6": f"at most {max((job.attempts for job in seen.found.values()), default=0)} deliveries of a job",
        "Q7": f"{sum(job.status in FINAL for job in seen.found.values())} final jobs",
    }
    return [
        Finding(title, sentence, not wrong[key], "; ".join(wrong[key][:3]) or said[key])
        for key, (title, sentence) in _SENTENCES.items()
    ]


def _recovered(recoveries: Sequence[float]) -> str:
    if not recoveries:
        return "nobody died holding a job"
    middle = recoveries[len(recoveries) // 2]
    return f"{len(recoveries)} recovered, half of them within {middle:.1f} s, the slowest after {recoveries[-1]:.1f} s"


def _counts(seen: Seen) -> Finding:
    listed = Counter(job.status for job in seen.found.values())
    wrong = [f"{n} {s.value} counted, {listed[s]} listed" for s, n in seen.counts.items() if listed[s] != n]
    if seen.quarantined:
        wrong.append(f"{seen.quarantined} in quarantine")
    said = f"{sum(seen.counts.values())} counted and listed, none in quarantine"
    return Finding("Q9 true counts", "The counts were those of the lists.", not wrong, "; ".join(wrong) or said)


def _failures(seen: Seen, asked: Asked) -> Finding:
    """FAILED needs a reason: retries or crashes used up, or an operator."""
    failed = [job for job in seen.found.values() if job.status is JobStatus.FAILED]
    wrong = [
        job.id
        for job in failed
        if job.failures <= job.max_retries and job.crashes <= MAX_CRASHES and job.id not in asked.cancelled
    ]
    crashed = sum(job.crashes > MAX_CRASHES for job in failed)
    said = f"{len(failed)} FAILED: {crashed} after {MAX_CRASHES + 1} lost leases, the others by failures or an operator"
    return Finding(
        "W1 crash",
        "No job failed before its budget was used up.",
        not wrong,
        f"{len(wrong)} FAILED without a reason{_some(wrong)}" if wrong else said,
    )


def _workers(seen: Seen, alone: Sequence[Death]) -> Finding:
    """W3, W5: nobody dies of what happens around it, and who lives works."""
    wrong = [f"{death.lane}.{death.life} ended by itself with {death.code}" for death in alone]
    wrong += [f"{lane} lives and takes no job" for lane in seen.idle]
    wrong += [f"{lane} is not listed (W8)" for lane in seen.unseen]
    ours = Counter(death.why for death in seen.deaths if death.why not in (None, "stopped"))
    said = ", ".join(f"{n} by {why}" for why, n in sorted(ours.items(), key=str)) or "none"
    return Finding(
        "W5 outage",
        "No worker ended by itself, and after all of it each one took a job.",
        not wrong,
        f"{'; '.join(wrong[:NAMES_MAX])}{' …' if len(wrong) > NAMES_MAX else ''}" if wrong else f"ended by us: {said}",
    )


def _exits(seen: Seen, notes: Iterable[Note]) -> Finding:
    crashed = {note.member for note in notes if note.what == "crash"}  # as ordered, though late
    stopped = [d for d in seen.deaths if d.why == "stopped" and f"{d.lane}.{d.life}" not in crashed]
    wrong = [f"{death.lane}.{death.life} with {death.code}" for death in stopped if death.code != 0]
    said = f"{len(stopped)} processes ended with 0"
    return Finding("W4 stop", "SIGTERM ended every process with 0.", not wrong, "; ".join(wrong[:NAMES_MAX]) or said)


def _whole(history: History, notes: Iterable[Note]) -> Finding:
    """What was seen can be judged only if all of it was written down."""
    wrong = [f"{bad.path}:{bad.line}: {bad.reason}" for bad in history.bad if not bad.torn]
    wrong += [f"{note.member}: {note.text}" for note in notes if note.what == "history failed"]
    torn = sum(bad.torn for bad in history.bad)
    return Finding(
        "history",
        "All that was asked of the queue was written down.",
        not wrong,
        "; ".join(wrong[:3]) or f"{len(history)} operations, {torn} cut off by a kill",
    )


def _some(names: Sequence[str]) -> str:
    return f": {', '.join(names[:NAMES_MAX])}{' …' if len(names) > NAMES_MAX else ''}" if names else ""


def by_step(notes: Iterable[Note]) -> dict[str, int]:
    """How many workers died at each step that they were told to die at."""
    steps = Counter(f"step {note.text}" for note in notes if note.what == "crash")
    return dict(sorted(steps.items()))
