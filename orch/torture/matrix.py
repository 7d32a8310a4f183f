"""The kill matrix: every fault against every store, in the columns of the bug catalogue.

First a worker is killed when it has just taken jobs, another in the middle of them, and the store goes away for 4 s;
measured is how soon somebody runs them again. Then each fault alone is given to a small world for some seconds, and
its history is judged.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from orch.errors import InvalidInput
from orch.history import History, RecordingQueue
from orch.job import Job
from orch.queue import SWEEP_S
from orch.torture.judge import Judgement, Note, judge, read_notes
from orch.torture.nemesis import Nemesis
from orch.torture.plan import BACKENDS, FAULTS, OUTAGE_S, Crash, Plan, Strike
from orch.torture.run import Outcome, Say, fresh_folder, torture
from orch.torture.store import fresh_prefix
from orch.torture.world import JUDGE, Lane, World, histories

SECONDS = 6.0  # of each fault
INTENSITY = 2.0  # so short a time needs more strikes
SLACK_S = 3.0  # beyond lease and sweep for a process to begin on a busy machine
JOBS = 3  # taken at once by the worker that dies
PATIENCE_S = 60.0  # what takes longer counts as never
INTO_THE_JOB_S = 1.0


class Variant(NamedTuple):
    """A store as the matrix names it; `every_fault` False: only what depends on how it syncs."""

    backend: str
    appendfsync: str = "always"
    synchronous: str = "NORMAL"
    every_fault: bool = True

    @property
    def name(self) -> str:
        """As people say it."""
        return f"SQLite {self.synchronous}" if self.backend == "sqlite" else f"Redis {self.appendfsync}"

    @property
    def folder(self) -> str:
        """As a folder is named."""
        return self.name.lower().replace(" ", "-")


VARIANTS = (
    Variant("sqlite"),
    Variant("sqlite", synchronous="FULL", every_fault=False),
    Variant("redis"),
    Variant("redis", appendfsync="everysec", every_fault=False),
)


@dataclass(frozen=True, slots=True)
class Kills:
    """What killing workers of a store showed. Seconds until jobs ran again, None: never; exit codes of survivors."""

    variant: Variant
    take_s: float | None
    run_s: float | None
    idle_s: float | None  # after an outage of a worker that had nothing to do
    busy_s: float | None  # of one that had
    alive: bool
    exits: tuple[int, ...]
    lost: int
    twice: int
    judgement: Judgement

    def good(self, lease_s: float) -> bool:
        """Nothing lost, nothing twice, every recovery within its bound, all alive, all exits 0."""
        bound = lease_s + SWEEP_S + SLACK_S
        within = all(s is not None and s <= bound for s in (self.take_s, self.run_s, self.idle_s, self.busy_s))
        return within and self.alive and set(self.exits) == {0} and not self.lost and self.judgement.good


@dataclass(frozen=True, slots=True)
class Cell:
    """One fault against one store."""

    variant: Variant
    fault: str
    outcome: Outcome

    @property
    def allowed_loss(self) -> bool:
        """Whether the store does not promise to survive this."""
        return self.fault == "power" and not self.outcome.plan.durable

    @property
    def good(self) -> bool:
        """Whether every promise was kept; where a loss is allowed, whether it was noticed."""
        return not self.outcome.good if self.allowed_loss else self.outcome.good

    def __str__(self) -> str:
        judgement = self.outcome.judgement
        times = self.outcome.times(self.fault)
        held = f"held: {judgement.counts['operations']} operations, {times} faults"
        if self.allowed_loss:
            return f"loss noticed: {judgement.counts['lost']} jobs, {times} faults" if self.good else "LOSS UNNOTICED"
        broken = ", ".join(finding.promise.partition(" ")[0] for finding in self.outcome.broken)
        return held if self.good else f"BROKEN: {broken}"


@dataclass(frozen=True, slots=True)
class Matrix:
    """The two tables."""

    kills: tuple[Kills, ...]
    cells: tuple[Cell, ...]
    lease_s: float
    seed: int
    seconds: float

    @property
    def good(self) -> bool:
        """Whether every cell is as the contract has it."""
        return all(row.good(self.lease_s) for row in self.kills) and all(cell.good for cell in self.cells)

    def kill_table(self) -> tuple[list[str], list[list[str]]]:
        """Titles and rows in the columns of the bug catalogue."""
        titles = ["orch on", "killed in take", "killed in run", f"after a {OUTAGE_S:g} s outage", "… mid-job"]
        titles += ["lost", "twice in a lease", "workers", "exit status"]
        rows = [
            [
                row.variant.name,
                _seconds(row.take_s),
                _seconds(row.run_s),
                _resumes(row.idle_s),
                _resumes(row.busy_s),
                str(row.lost),
                str(row.twice),
                "alive" if row.alive else "DEAD",
                ", ".join(map(str, sorted(set(row.exits)))),
            ]
            for row in self.kills
        ]
        return titles, rows

    def fault_table(self) -> tuple[list[str], list[list[str]]]:
        """A row for each fault, a column for each store."""
        variants = list(dict.fromkeys(cell.variant for cell in self.cells))
        known = {(cell.fault, cell.variant): str(cell) for cell in self.cells}
        rows = [
            [fault, *(known.get((fault, variant), "") for variant in variants)]
            for fault in FAULTS
            if any(cell.fault == fault for cell in self.cells)
        ]
        return ["fault", *(variant.name for variant in variants)], rows

    @property
    def summary(self) -> str:
        """One line."""
        said = "as the contract has it" if self.good else "NOT as the contract has it"
        return f"{said}; lease {self.lease_s:g} s, sweep {SWEEP_S:g} s; {self.seconds:.0f} s in all, seed {self.seed}"

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "good": self.good,
            "seed": self.seed,
            "lease_s": self.lease_s,
            "sweep_s": SWEEP_S,
            "seconds": round(self.seconds, 1),
            "kills": [
                {
                    "store": row.variant.name,
                    "good": row.good(self.lease_s),
                    "killed_in_take_s": row.take_s,
                    "killed_in_run_s": row.run_s,
                    "after_outage_s": row.idle_s,
                    "after_outage_mid_job_s": row.busy_s,
                    "lost": row.lost,
                    "ran_twice_within_a_lease": row.twice,
                    "workers_alive": row.alive,
                    "exit_status": list(row.exits),
                    "broken": [finding.evidence for finding in row.judgement.findings if not finding.held],
                }
                for row in self.kills
            ],
            "faults": [
                {**cell.outcome.to_dict(), "store": cell.variant.name, "fault": cell.fault, "good": cell.good}
                for cell in self.cells
            ],
        }


def matrix(
    out: Path,
    backends: Sequence[str],
    *,
    seconds: float,
    lease_s: float,
    seed: int,
    say: Say,
    faults: Sequence[str] | None = None,
) -> Matrix:
    """Run the whole of it, or only some faults; each cell leaves its page in a folder under `out`."""
    for backend in backends:
        if backend not in BACKENDS:
            raise InvalidInput(f"backends of the matrix are {', '.join(BACKENDS)}, got {backend!r}")
    for fault in faults or ():
        if fault not in FAULTS:
            raise InvalidInput(f"faults of the matrix are {', '.join(FAULTS)}, got {fault!r}")
    begun = time.monotonic()
    folder = fresh_folder(out)
    kills, cells = [], []
    for variant in VARIANTS:
        given = [fault for fault in faults_of(variant) if faults is None or fault in faults]
        if variant.backend not in backends or not given:
            continue
        base = Plan(
            out=folder / variant.folder / "kills",
            backend=variant.backend,
            appendfsync=variant.appendfsync,
            synchronous=variant.synchronous,
            workers=2,
            slots=JOBS,
            producers=1,
            nemesis=(),
            lease_s=lease_s,
            seed=seed,
        )
        say(f"{variant.name}: workers killed in take and in run, an outage of {OUTAGE_S:g} s")
        kills.append(kill_row(variant, base, say))
        for fault in given:
            plan = replace(
                base,
                out=folder / variant.folder / fault,
                nemesis=(fault,),
                intensity=1.0 if fault == "power" else INTENSITY,
                workers=4,
                slots=1,
                producers=2,
                seconds=seconds_of(fault, seconds),
            )
            say(f"{variant.name}: {FAULTS[fault].sentence}")
            cells.append(Cell(variant, fault, torture(plan, _quiet)))
            say(f"{variant.name}, {fault}: {cells[-1]}")
    return Matrix(tuple(kills), tuple(cells), lease_s, seed, time.monotonic() - begun)


def faults_of(variant: Variant) -> list[str]:
    """The faults that a store is given alone."""
    if not variant.every_fault:
        return ["power"]
    return [name for name, fault in FAULTS.items() if variant.backend in fault.backends and name != "failover"]


def seconds_of(fault: str, seconds: float) -> float:
    """How long a fault is given: long enough for two power losses, of which one may find nothing to lose."""
    return max(seconds, 2 * (FAULTS["power"].every_s or 0.0)) if fault == "power" else seconds


# -- the first table -----------------------------------------------------------------------------------------------


def kill_row(variant: Variant, plan: Plan, say: Say) -> Kills:
    """Kill, look, and judge; the store is one of its own."""
    folder = fresh_folder(plan.out)
    with World(plan, folder, fresh_prefix()) as world:
        world.tormenting = False
        bench = _Bench(world)
        world.start(world.watcher)
        world.seen.begun_ns = time.monotonic_ns()
        take_s = bench.killed_in_take()
        say(f"  killed in take: ran again after {_seconds(take_s)} s")
        run_s = bench.killed_in_run()
        say(f"  killed in run: ran again after {_seconds(run_s)} s")
        idle_s = bench.outage(busy=False)
        busy_s = bench.outage(busy=True)
        say(f"  outage: {_resumes(idle_s)}; mid-job: {_resumes(busy_s)}")
        alive = bench.alive()
        world.seen.drained = bench.drained()
        world.seen.torment_ns = time.monotonic_ns()
        bench.close()
        world.look(muster=False)
        world.stop()
        seen = world.seen
    history = History.read(*histories(folder))
    judgement = judge(plan, seen, history, read_notes(folder / "members"))
    exits = tuple(death.code for death in seen.deaths if death.why == "stopped" and death.lane.startswith("w"))
    counts = judgement.counts
    return Kills(variant, take_s, run_s, idle_s, busy_s, alive, exits, counts["lost"], counts["twice"], judgement)


class _Bench:
    """Two workers, one that dies and one that is there, and jobs to die over."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.first, self.second = (lane for lane in world.lanes if lane.role == "work")
        self.queue = RecordingQueue(
            world.open(), client=f"{JUDGE}.0", path=world.folder / "members" / f"{JUDGE}.0.ops.jsonl"
        )
        self.nemesis = Nemesis(world, ())
        self._jobs = 0

    def close(self) -> None:
        self.queue.close()
        self.world.queue = None

    def killed_in_take(self) -> float | None:
        """A worker dies when jobs have come and it has not done anything with them; another is started at once."""
        ids = self._enqueue(0.1)
        self.world.start_once(self.first, Crash("Take", after=True, n=1))
        return self._recovered(ids)

    def killed_in_run(self) -> float | None:
        """A worker dies a second into its jobs."""
        self._stop(self.second)
        self.world.start_once(self.first)
        ids = self._enqueue(INTO_THE_JOB_S + 1.0)
        if not self.world.until(lambda: self._begun(ids, self.first) == ids, PATIENCE_S):
            return None
        self.world.until(lambda: False, INTO_THE_JOB_S)
        self.world.kill(self.first, "kill")
        return self._recovered(ids)

    def _recovered(self, ids: set[str]) -> float | None:
        """Seconds from the death of the first worker to the begin of the last of its jobs in the second."""
        world = self.world
        if not world.until(lambda: self.first.pid is None, PATIENCE_S):
            return None
        died = world.seen.deaths[-1].at_ns
        world.start_once(self.second)
        if not world.until(lambda: self._begun(ids, self.second) == ids, PATIENCE_S):
            return None
        begun = max(note.at_ns for note in self._notes(self.second) if note.what == "begin" and note.job in ids)
        return (begun - died) / 1e9

    def outage(self, *, busy: bool) -> float | None:
        """The store is away for 4 s while a worker has work, or none; then a new job comes. Seconds until it runs."""
        world = self.world
        if busy:
            ids = self._enqueue(OUTAGE_S / 2)
            world.until(lambda: self._begun(ids, self.second) == ids, PATIENCE_S)
        self.nemesis.strike(Strike(world.at_s, "outage", 0.99, OUTAGE_S))
        world.until(lambda: world.busy is None, PATIENCE_S)
        back = time.monotonic_ns()
        ids = self._enqueue(0.05, 1)
        if not world.until(lambda: self._begun(ids, self.second) == ids, PATIENCE_S):
            return None
        begun = min(note.at_ns for note in self._notes(self.second) if note.what == "begin" and note.job in ids)
        return max(0.0, (begun - back) / 1e9)

    def alive(self) -> bool:
        """Whether the second worker is the process that it was."""
        return self.second.pid is not None

    def drained(self) -> bool:
        """Whether every job becomes final."""
        since_s = self.world.at_s
        return self.world.until(lambda: self.world.all_final(since_s), PATIENCE_S)

    def _enqueue(self, seconds: float, n: int = JOBS) -> set[str]:
        jobs = []
        for _ in range(n):
            self._jobs += 1
            jobs.append(Job.new("workflow:sleep", id=f"job-{self._jobs}", params={"seconds": seconds}, max_retries=1))
        self.queue.enqueue_many(jobs)
        return {job.id for job in jobs}

    def _begun(self, ids: set[str], lane: Lane) -> set[str]:
        return {note.job for note in self._notes(lane) if note.what == "begin"} & ids

    def _notes(self, lane: Lane) -> list[Note]:
        assert lane.orders is not None
        return read_notes(self.world.folder / "members", lane.orders.name)

    def _stop(self, lane: Lane) -> None:
        lane.why = "stopped"
        self.world.signal(lane, signal.SIGTERM)
        self.world.until(lambda: lane.pid is None, PATIENCE_S)


def _quiet(_text: str) -> None:
    """A cell says what came of it when it is over."""


def _seconds(seconds: float | None) -> str:
    return "never" if seconds is None else f"{seconds:.1f}"


def _resumes(seconds: float | None) -> str:
    return "NEVER" if seconds is None else f"resumes ({seconds:.1f} s)"
