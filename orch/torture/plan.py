"""What a torture run does and when: the numbers, the faults, and a seeded list of strikes. Nothing here is real yet.

The same plan gives the same strikes. Each fault draws from a random source of its own, so that leaving one out does
not move the others. What a strike then hits depends on the machine.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from orch import checks
from orch.errors import InvalidInput
from orch.queue import SWEEP_S

BACKENDS = ("sqlite", "redis")
OUTAGE_S = 4.0  # as in the kill matrix of the bug catalogue
#: The worker's steps at which it can be made to die; `Take` is the instant at which a claim or exchange brought jobs.
STEPS = ("Take", "Say", "Record", "Abandon", "Exchange", "Claim", "Start", "Next", "Sleep", "Extend", "Announce")
RARE = ("Say", "Abandon", "Sleep", "Extend", "Announce")  # few of these come in the life of a worker
SKEWED = ("w1", "p1")  # the lanes whose clocks are off, under the fault skew
#: What is done to the wire, with weights.
CUTS: Mapping[str, int] = {
    "before": 4,  # the request never reaches the server
    "torn": 2,  # half of it does
    "after": 4,  # it does, and nobody waits for the reply
    "reply": 4,  # the server has answered, the answer is lost
    "torn reply": 2,  # half of the answer arrives
    "late request": 2,  # it arrives late
    "late reply": 2,
    "isolate": 1,  # nothing passes to or from one process for longer than a lease
}

SINGLE = ("restart", "outage", "power", "partition", "memory")  # done to one server, not to one behind a Sentinel


class Fault(NamedTuple):
    """A kind of fault: what it does, the stores it exists for, and how often it comes.

    `every_s` is the mean pause between two strikes; None if the fault is not struck but built in: into how workers
    start or into the jobs. `owned` names the stores that must be torture's own for it.
    """

    sentence: str
    backends: tuple[str, ...]
    every_s: float | None
    owned: tuple[str, ...] = ()


FAULTS: Mapping[str, Fault] = {
    "kill": Fault("SIGKILL of a worker or producer at a random instant", BACKENDS, 0.35),
    "step": Fault("a worker dies before or after the n-th of its steps of a named kind", BACKENDS, None),
    "pause": Fault("SIGSTOP of a process for longer than a lease, then SIGCONT: a zombie", BACKENDS, 3.0),
    "restart": Fault(
        "the server is killed and started again; for a file: every process at once", BACKENDS, 4.0, ("redis",)
    ),
    "outage": Fault("the store does not answer for 4 s", BACKENDS, 12.0, ("redis",)),
    "power": Fault(
        "what was not synced is lost: the log of the store is cut back to its last fsync", BACKENDS, 8.0, BACKENDS
    ),
    "partition": Fault("connections are cut before, in, or after a request or its reply, or delayed", ("redis",), 0.25),
    "skew": Fault("the wall clocks of some processes are minutes off", BACKENDS, None),
    "memory": Fault("the server is out of memory for a while", ("redis",), 5.0, ("redis",)),
    "failover": Fault(
        "the primary is killed, and Sentinel makes its replica the primary", ("redis",), 10.0, ("redis",)
    ),
    "disk": Fault("a worker's files cannot grow for a while, as on a full disk", ("sqlite",), 1.5),
    "poison": Fault("jobs that kill their worker at each delivery", BACKENDS, None),
    "long": Fault("jobs that take longer than their lease", BACKENDS, None),
}


class Strike(NamedTuple):
    """One fault at one instant, in seconds from the start: `pick` (0 to 1) chooses whom, `how` the variant."""

    at_s: float
    fault: str
    pick: float
    seconds: float
    how: str = ""


class Crash(NamedTuple):
    """Where a worker dies by itself: before or after its n-th step of this kind."""

    step: str
    after: bool
    n: int

    def __str__(self) -> str:
        return f"{'after' if self.after else 'before'} {self.step}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to run; raises `InvalidInput` for what makes no run. Times in seconds.

    `url` None: a store of its own of the kind `backend`, in the folder `out`. `nemesis` None: every fault that the
    store allows, but for a power loss that it does not promise to survive. Strikes come `intensity` times as often as
    usual. `replica` gives a Redis of its own a replica and a Sentinel, and takes it the faults of a single server.
    `queue` names a factory to test instead of `orch`'s own queues, as `module:name`; it is called with the URL and the
    `Settings`.
    """

    out: Path = Path("orch-torture")
    url: str | None = None
    backend: str = "sqlite"
    appendfsync: str = "always"
    synchronous: str = "NORMAL"
    replica: bool = False
    workers: int = 8
    slots: int = 1
    producers: int = 2
    seconds: float = 60.0
    jobs_per_second: float = 30.0
    nemesis: tuple[str, ...] | None = None
    intensity: float = 1.0
    seed: int = 0
    lease_s: float = 2.0
    limit_s: float = 120.0
    queue: str | None = None

    def __post_init__(self) -> None:
        if self.backend not in BACKENDS:
            raise InvalidInput(f"backend must be one of {', '.join(BACKENDS)}, got {checks.shown(self.backend)}")
        if self.url is not None:
            object.__setattr__(self, "backend", _backend_of(self.url))
        if self.appendfsync not in ("always", "everysec"):
            raise InvalidInput(f"appendfsync must be always or everysec, got {checks.shown(self.appendfsync)}")
        if self.synchronous not in ("NORMAL", "FULL"):
            raise InvalidInput(f"synchronous must be NORMAL or FULL, got {checks.shown(self.synchronous)}")
        if self.replica and (self.url is not None or self.backend != "redis"):
            raise InvalidInput("a replica is started beside a Redis of our own: leave out --url, give --backend redis")
        if self.queue is not None and not all(self.queue.partition(":")[::2]):
            raise InvalidInput(f"a queue factory is given as module:name, got {checks.shown(self.queue)}")
        checks.check_int(self.workers, "workers", 1, 64)
        checks.check_int(self.slots, "concurrency", 1, 64)
        checks.check_int(self.producers, "producers", 1, 16)
        checks.check_seconds(self.seconds, "seconds", positive=True)
        checks.check_seconds(self.jobs_per_second, "jobs_per_second", positive=True)
        checks.check_seconds(self.intensity, "intensity", positive=True, high=100.0)
        checks.check_seconds(self.lease_s, "lease_s", positive=True)
        checks.check_seconds(self.limit_s, "limit_s", positive=True)
        if self.nemesis is None:
            object.__setattr__(self, "nemesis", self._everything())
        for name in self.faults:
            if name not in FAULTS:
                raise InvalidInput(f"no fault is called {checks.shown(name)}: choose from {', '.join(FAULTS)}")
            why = self._why_not(name)
            if why:
                raise InvalidInput(f"the fault {name!r} cannot be given here: {why}")

    @property
    def faults(self) -> tuple[str, ...]:
        """The faults to give."""
        return self.nemesis or ()

    @property
    def durable(self) -> bool:
        """Whether the store promises to survive a power loss."""
        return (self.appendfsync == "always") if self.backend == "redis" else (self.synchronous == "FULL")

    @property
    def effect_s(self) -> float:
        """How long after its call an operation without an answer can still take effect: it may wait in a proxy, in a
        paused process, or for a lock."""
        return 10.0 + 5 * self.lease_s + OUTAGE_S + SWEEP_S

    def _everything(self) -> tuple[str, ...]:
        return tuple(name for name in FAULTS if not self._why_not(name) and (name != "power" or self.durable))

    def _why_not(self, name: str) -> str:
        fault = FAULTS[name]
        if self.backend not in fault.backends:
            return f"it exists for {' and '.join(fault.backends)} only, the store is {self.backend}"
        if self.backend in fault.owned and self.url is not None:
            return f"it would harm {self.url.partition('@')[2] or self.url}; leave out --url for a store of our own"
        if name == "failover" and not self.replica:
            return "it needs a replica and a Sentinel; give --replica"
        if self.replica and name in SINGLE:
            return "it is of a single server; leave out --replica"
        if name == "partition" and self.url is not None and not self.url.startswith("redis://"):
            return "only plain redis:// goes through the proxy"
        return ""


def _backend_of(url: str) -> str:
    scheme = url.partition("://")[0].lower() if "://" in url else ""
    if scheme == "memory":
        raise InvalidInput("memory:// lives in one process, so there is nothing to torture; give sqlite:// or redis://")
    return "sqlite" if scheme == "sqlite" else "redis"


def strikes(plan: Plan) -> tuple[Strike, ...]:
    """All strikes of a plan in the order of their time; each struck fault comes at least once."""
    found: list[Strike] = []
    for name in plan.faults:
        every = FAULTS[name].every_s
        if every is None:
            continue
        every /= plan.intensity
        rng = random.Random(f"{plan.seed}/{name}")
        at_s = rng.uniform(0.5, 1.0) * min(every, plan.seconds / 3)
        while at_s < plan.seconds:
            found.append(_strike(at_s, name, plan, rng))
            at_s += rng.uniform(0.5, 1.5) * every
    return tuple(sorted(found))


def _strike(at_s: float, name: str, plan: Plan, rng: random.Random) -> Strike:
    pick, part, how = rng.random(), rng.random(), ""
    beyond_lease = plan.lease_s * (1.2 + 1.3 * part)
    match name:
        case "pause":
            seconds = beyond_lease
        case "outage" | "failover":
            seconds = OUTAGE_S
        case "partition":
            (how,) = rng.choices(list(CUTS), list(CUTS.values()))
            seconds = beyond_lease if how == "isolate" else 0.02 + 0.5 * part
        case "memory" | "disk":
            seconds = 0.3 + 1.2 * part
        case "restart" | "power":
            seconds = 0.05 + 0.45 * part
        case _:
            seconds = 0.0
    return Strike(at_s, name, pick, seconds, how)


def crash_of(plan: Plan, lane: str, life: int) -> Crash | None:
    """Where a worker dies by itself in its n-th life, if it does: in most lives if the fault is on."""
    rng = random.Random(f"{plan.seed}/step/{lane}/{life}")
    if "step" not in plan.faults or rng.random() < 0.1:
        return None
    (step,) = rng.choices(STEPS, [1 if step in RARE else 4 for step in STEPS])
    n = 1 if step in RARE else 1 + int(20 * rng.random() ** 2)
    return Crash(step, rng.random() < 0.5 or step == "Take", n)


def skew_of(plan: Plan) -> float:
    """By how many seconds the clocks of skewed processes are off: minutes, ahead or behind."""
    rng = random.Random(f"{plan.seed}/skew")
    return rng.choice((-1, 1)) * rng.uniform(60, 600)
