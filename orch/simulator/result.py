"""What a simulation showed, as plain data: a row for each job, lanes of attempts, the depth of the queue, marks.

All times are seconds of virtual time from its beginning.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from statistics import fmean
from typing import TYPE_CHECKING, Any, NamedTuple

from orch.checker import Spec, Verdict, check
from orch.errors import InvalidInput
from orch.history import History
from orch.job import JobStatus
from orch.queue import SWEEP_S

if TYPE_CHECKING:
    from orch.simulator.member import Attempt
    from orch.simulator.world import World

ATTEMPT_ENDS = {"Done": "success", "Retry": "retry", "Dead": "failed", "Lost": "lost", "NoneType": "killed"}


@dataclass(slots=True)
class JobRow:
    """One job: when it came, when it was first delivered, when it was final."""

    id: str
    tenant: str
    priority: int
    arrived: float
    started: float | None = None
    finished: float | None = None
    attempts: int = 0
    state: JobStatus = JobStatus.PENDING

    @property
    def wait(self) -> float:
        """Seconds until its first delivery."""
        return math.inf if self.started is None else self.started - self.arrived

    @property
    def latency(self) -> float:
        """Seconds until it was final."""
        return math.inf if self.finished is None else self.finished - self.arrived


class Lane(NamedTuple):
    """One attempt in the lane of its worker; `end` None: it never ended."""

    worker: str
    job: str
    attempt: int
    start: float
    end: float | None
    outcome: str  # success, retry, failed, lost, killed, running


class Mark(NamedTuple):
    """Something that went wrong: crash, stop, start, pause or outage."""

    at: float
    what: str
    whom: str
    seconds: float = 0.0


class Depth(NamedTuple):
    """From this instant on so many jobs were pending and running."""

    at: float
    pending: int
    running: int


class Numbers:
    """What can be said of a load from the rows of its jobs and the lanes of its attempts, simulated or measured."""

    __slots__ = ()
    jobs: list[JobRow]
    seconds: float
    slots: int

    @property
    def lanes(self) -> list[Lane]:
        """Every attempt, in the order of their starts."""
        raise NotImplementedError

    @property
    def waits(self) -> list[float]:
        """Seconds that each job waited, in the order of arrival."""
        return [job.wait for job in self.jobs]

    @property
    def latencies(self) -> list[float]:
        """Seconds until each job was final, in the order of arrival."""
        return [job.latency for job in self.jobs]

    def wait(self, part: float) -> float:
        """The wait that this part of all jobs did not exceed, in seconds: `wait(0.99)` is the 99th percentile."""
        return quantile(self.waits, part)

    def latency(self, part: float) -> float:
        """The latency that this part of all jobs did not exceed, in seconds."""
        return quantile(self.latencies, part)

    @property
    def throughput(self) -> float:
        """Final jobs a second."""
        return sum(job.finished is not None for job in self.jobs) / self.seconds if self.seconds else 0.0

    @property
    def utilisation(self) -> float:
        """The part of all slots that ran a job, on average."""
        busy = sum((self.seconds if lane.end is None else lane.end) - lane.start for lane in self.lanes)
        return busy / (self.slots * self.seconds) if self.seconds else 0.0


@dataclass(slots=True)
class Result(Numbers):
    """What came of a simulation. `seconds` is its length; `slots` is how many jobs could run at a time."""

    jobs: list[JobRow]
    attempts: list[Attempt] = field(repr=False)
    depth: Sequence[Depth] = field(repr=False)  # from each instant on, how many jobs are pending and running
    marks: list[Mark] = field(repr=False)
    seconds: float
    slots: int
    seed: int
    lease_s: float
    max_crashes: int
    lost_replies: bool
    world: World | None = field(default=None, repr=False)

    # -- a part of it ----------------------------------------------------------------------------------------------

    def after(self, seconds: float) -> Result:
        """Only the jobs that came after this instant: without the time in which an empty system fills."""
        return replace(self, jobs=[job for job in self.jobs if job.arrived >= seconds])

    def after_jobs(self, count: int) -> Result:
        """Without the first so many jobs."""
        return replace(self, jobs=self.jobs[count:])

    def of_tenant(self, tenant: str) -> Result:
        """Only the jobs of one tenant."""
        return replace(self, jobs=[job for job in self.jobs if job.tenant == tenant])

    # -- numbers ---------------------------------------------------------------------------------------------------

    @property
    def lanes(self) -> list[Lane]:
        """Every attempt, in the order of their starts."""
        return [
            Lane(
                one.worker.id,
                one.job.id,
                one.job.attempts,
                one.began,
                one.ended,
                "running" if one.ended is None else ATTEMPT_ENDS[type(one.outcome).__name__],
            )
            for one in self.attempts
        ]

    def little(self) -> tuple[Fraction, Fraction]:
        """Little's law: jobs in the system on average, seen from the depth over time, and from the times of the jobs.

        Both exact, from different notes of the run; they are equal when every job was final in the end (J. Little,
        1961). Only for a whole result: a part of it does not have the depth to itself.
        """
        length = Fraction(self.seconds)
        area = Fraction(0)
        for (at, pending, running), (until, _, _) in zip(
            self.depth, [*self.depth[1:], (self.seconds, 0, 0)], strict=True
        ):
            area += (Fraction(until) - Fraction(at)) * (pending + running)
        times = sum(
            (Fraction(job.finished) - Fraction(job.arrived) for job in self.jobs if job.finished is not None),
            Fraction(0),
        )
        return (area / length, times / length) if length else (Fraction(0), Fraction(0))

    # -- the contract ----------------------------------------------------------------------------------------------

    def history(self, view: str = "store") -> History:
        """What happened, for a checker. Raises `InvalidInput` when the simulation was not told to keep it."""
        if self.world is None:
            raise InvalidInput("this simulation kept no history: simulate(..., history=True)")
        return self.world.history(view)

    def verdict(self) -> Verdict:
        """Was every promise kept (Q1 to Q8)?"""
        spec = Spec(lease_s=self.lease_s, sweep_s=SWEEP_S, max_crashes=self.max_crashes, skew_s=0.001, drift=0.0)
        return check(self.history(), spec)

    def to_dict(self) -> dict[str, Any]:
        """The numbers as JSON."""
        final = [job for job in self.jobs if job.finished is not None]
        return {
            "seed": self.seed,
            "jobs": len(self.jobs),
            "success": sum(job.state is JobStatus.SUCCESS for job in self.jobs),
            "failed": sum(job.state is JobStatus.FAILED for job in self.jobs),
            "attempts": len(self.attempts),
            "seconds": self.seconds,
            "slots": self.slots,
            "throughput": self.throughput,
            "utilisation": self.utilisation,
            "wait_s": _spread([job.wait for job in self.jobs if job.started is not None]),
            "latency_s": _spread([job.latency for job in final]),
            "deepest": max((pending for _, pending, _ in self.depth), default=0),
            "crashes": sum(mark.what == "crash" for mark in self.marks),
        }


def quantile(values: Sequence[float], part: float) -> float:
    """The smallest value that at least this part of all values does not exceed; 0 of none."""
    if not 0 <= part <= 1:
        raise InvalidInput(f"a part must be between 0 and 1, got {part}")
    if not values:
        return 0.0
    return sorted(values)[max(0, math.ceil(part * len(values)) - 1)]


def _spread(values: Sequence[float]) -> dict[str, float]:
    ordered = sorted(values)
    if not ordered:
        return {"mean": 0.0, "p50": 0.0, "p95": 0.0, "p99": 0.0, "max": 0.0}
    parts = {f"p{100 * part:.0f}": quantile(ordered, part) for part in (0.5, 0.95, 0.99)}
    return {"mean": fmean(ordered), **parts, "max": ordered[-1]}
