"""The values that pass between a worker's logic and whoever drives it: steps, events, and what they share.

A driver answers every step with a pair: the time after it, in seconds of a clock that never goes back, and the
step's own answer. Whatever may fail is answered by a value, an `OrchError`, never by a raise into the generator.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Any

from orch import checks
from orch.errors import OrchError
from orch.job import Job, Lease, Report, WorkerInfo
from orch.queue import LEASE_S, SWEEP_S
from orch.runner import Outcome

SLOTS_MAX = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """How one worker works. Times in seconds; raises `InvalidInput` for what no worker can do.

    `slots` is the concurrency. An idle worker waits `wait_s` for a job in one claim and asks at most once every
    `poll_s` where its queue cannot wait. `burst` ends it when no job is ready and it runs none; `max_jobs` when it
    has run so many. A RETRY waits `retry_s` the first time, twice as long each further time, at most `retry_s_max`,
    and a random part of up to one half less (W6). `quiet` says nothing about single jobs unless something is wrong.
    `host`, `pid` and `started_at` are only told to others (W8). Without a `state_log` no events are made for one.
    """

    worker_id: str
    slots: int = 1
    lease_s: float = LEASE_S
    grace_s: float = 10.0
    wait_s: float = SWEEP_S
    poll_s: float = 1.0
    burst: bool = False
    max_jobs: int | None = None
    retry_s: float = 1.0
    retry_s_max: float = 300.0
    quiet: bool = False
    state_log: bool = True
    host: str = ""
    pid: int = 0
    started_at: str | None = None

    def __post_init__(self) -> None:
        checks.check_id(self.worker_id, "worker id")
        checks.check_int(self.slots, "concurrency", 1, SLOTS_MAX)
        checks.check_seconds(self.lease_s, "lease_s", positive=True)
        checks.check_seconds(self.grace_s, "grace_s")
        checks.check_seconds(self.wait_s, "wait_s", positive=True)
        checks.check_seconds(self.poll_s, "poll_s", positive=True)
        if self.max_jobs is not None:
            checks.check_int(self.max_jobs, "max_jobs", 1)
        checks.check_seconds(self.retry_s, "retry_s")
        checks.check_seconds(self.retry_s_max, "retry_s_max")


# -- steps of both generators ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Say:
    """Tell people: INFO is a line of the worker's output, more is a line of the log. Answer: None."""

    text: str
    level: int = logging.INFO
    job: Job | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """Append these to the state log; a failure there changes nothing (L1). Answer: None."""

    events: tuple[dict[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Abandon:
    """Stop these attempts: a thread is told through `current().lost()`, a process is dead after this. Answer: None."""

    keys: tuple[int, ...]


# -- steps of `work` -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Exchange:
    """Report, then deliver up to n, in one step and without waiting. Answer: (results, jobs) or an `OrchError`."""

    reports: tuple[Report, ...]
    n: int


@dataclass(frozen=True, slots=True)
class Claim:
    """Begin to wait for up to n jobs, beside everything else. Answer: None; a `Claimed` event follows, always."""

    n: int
    wait_s: float


@dataclass(frozen=True, slots=True)
class Start:
    """Run these jobs, each in a slot of its own. Answer: None; a `Finished` event follows for each, unless it hangs."""

    runs: tuple[Run, ...]


@dataclass(frozen=True, slots=True)
class Next:
    """Wait for events, until the given time at the latest (None: for ever). Answer: a tuple of events, maybe empty."""

    until: float | None


# -- steps of `keep_leases` ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Sleep:
    """Let time pass. Answer: None; it may come early when the worker is over."""

    until: float


@dataclass(frozen=True, slots=True)
class Extend:
    """Extend these leases. Answer: a list with the new `Lease` or an `OrchError` for each, or an `OrchError`."""

    leases: tuple[Lease, ...]


@dataclass(frozen=True, slots=True)
class Announce:
    """Tell the queue about this worker (W8). Answer: None or an `OrchError`."""

    info: WorkerInfo


Step = Say | Record | Abandon | Exchange | Claim | Start | Next | Sleep | Extend | Announce


# -- events ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Finished:
    """An attempt ended by itself after so many seconds."""

    key: int
    outcome: Outcome
    seconds: float


@dataclass(frozen=True, slots=True)
class Claimed:
    """A claim is over: the jobs it brought, or why it could not."""

    jobs: tuple[Job, ...]
    error: OrchError | None = None


@dataclass(frozen=True, slots=True)
class Stop:
    """Somebody asks the worker to end; `why` is the name of the signal."""

    why: str


WorkerEvent = Finished | Claimed | Stop


# -- what the two generators share -----------------------------------------------------------------------------------


@dataclass(slots=True)
class Run:
    """One attempt in a slot. `key` names it within its worker; `deadline` is on the driver's clock."""

    key: int
    job: Job
    started: float = 0.0
    deadline: float | None = None


@dataclass(frozen=True, slots=True)
class Unreported:
    """A delivery whose report has not reached the queue yet; its lease is still kept.

    `seconds` is how long it ran, None if it was never started.
    """

    run: Run
    report: Report
    seconds: float | None


@dataclass(slots=True)
class State:
    """What one worker knows. Whoever advances one of its generators has it for itself meanwhile."""

    running: dict[int, Run] = field(default_factory=dict)
    blocked: dict[int, Run] = field(default_factory=dict)  # given up: timed out or lease lost; the thread goes on
    unreported: list[Unreported] = field(default_factory=list)
    reserved: int = 0  # slots that a claim under way may fill
    claimed: int = 0  # jobs ever delivered to this worker
    done: int = 0  # attempts reported as SUCCESS
    failed: int = 0  # attempts reported as RETRY or FAILED
    dead: int = 0  # jobs that became FAILED here
    stopping: str | None = None
    over: bool = False

    def held(self) -> list[tuple[Run, Lease]]:
        """The attempts whose leases must be kept."""
        runs = [*self.running.values(), *(finished.run for finished in self.unreported)]
        return [(run, run.job.lease) for run in runs if run.job.lease is not None]
