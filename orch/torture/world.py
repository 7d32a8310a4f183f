"""A run of torture from the first process to the last: lanes of members on a store, strikes, drain, verdict.

One loop does everything at its time: what ended is noted and started again, strikes are struck, what they broke is
healed. Whatever is started here is ended here, also when the run is interrupted.
"""

from __future__ import annotations

import heapq
import json
import random
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import NamedTuple, Self

from orch.backends import safe_url
from orch.checks import INT_MAX
from orch.errors import InvalidInput, NotSupported, OrchError
from orch.history import RecordingQueue
from orch.job import Job, JobStatus
from orch.page import Sample
from orch.queue import SWEEP_S, PersistentQueue
from orch.settings import Settings
from orch.torture.forks import Forks
from orch.torture.member import HOLD, PRODUCE, WATCH, WORK, Orders, open_member_queue
from orch.torture.plan import SKEWED, Crash, Plan, crash_of, skew_of
from orch.torture.store import Store, open_store

TICK_S = 0.02
RESTART_S = 0.3  # a lane that died lives again after at most so long
UNREACHABLE_S = 0.5  # one that could not reach its store tries again after so long
PRODUCERS_END_S = 30.0
MUSTER_S = 30.0  # how long until every worker has taken a job of its own
STOP_S = 15.0
JUDGE, WATCHER = "judge", "watch"


class Death(NamedTuple):
    """The end of a member: when on the monotonic clock, its exit code, and why we ended it (None: it did)."""

    lane: str
    life: int
    role: str
    at_ns: int
    code: int
    why: str | None


class Hit(NamedTuple):
    """What a strike did: from when until when on the monotonic clock, to whom (empty: the store), in words."""

    at_ns: int
    until_ns: int
    fault: str
    lane: str
    text: str


@dataclass(slots=True)
class Lane:
    """A place for a process that is started again when it dies; the names of its lives count up."""

    name: str
    role: str
    forks: Forks
    skewed: bool
    life: int = 0
    pid: int | None = None
    orders: Orders | None = None
    why: str | None = None  # why we are ending it
    paused: bool = False
    over: bool = False  # it is not started again


@dataclass(slots=True)
class Seen:
    """Everything that a run leaves for the judge; instants on the monotonic clock."""

    begun_ns: int
    deaths: list[Death] = field(default_factory=list)
    hits: list[Hit] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    drained: bool = False  # every job was final in time
    found: dict[str, Job] = field(default_factory=dict)
    counts: dict[JobStatus, int] = field(default_factory=dict)
    quarantined: int = 0
    left: str | None = None  # a job that was still delivered after the drain
    idle: tuple[str, ...] = ()  # workers that took nothing at the end
    unseen: tuple[str, ...] = ()  # workers that the queue did not list at the end
    cuts: dict[str, int] = field(default_factory=dict)  # what the proxy did
    torment_ns: int = 0  # when the strikes ended
    ended_ns: int = 0


class World:
    """The lanes and the store of one run. As a context manager it ends all of it."""

    def __init__(self, plan: Plan, folder: Path, prefix: str) -> None:
        self.plan = plan
        self.folder = folder
        self.prefix = prefix
        self.rng = random.Random(f"{plan.seed}/world")
        self.seen = Seen(time.monotonic_ns())
        self.lanes: list[Lane] = []
        self.tormenting = True
        self.busy: str | None = None  # the fault that the store suffers now
        self.queue: PersistentQueue | None = None
        self._stack = ExitStack()
        self._later: list[tuple[float, int, Callable[[], None]]] = []
        self._number = count()
        self._watched = 0  # how much of the watcher's notes was read
        try:
            self._build()
        except BaseException:
            self._stack.close()
            raise

    def _build(self) -> None:
        plan = self.plan
        workers = [f"w{n}" for n in range(1, plan.workers + 1)]
        producers = [f"p{n}" for n in range(1, plan.producers + 1)]
        for name in ("members", "logs"):
            (self.folder / name).mkdir()
        self.store: Store = self._stack.enter_context(open_store(plan, self.folder, [*workers, *producers, JUDGE]))
        self._stack.callback(self.close_queue)
        self._begin()
        self._stack.callback(self.store.clean, self.prefix)
        logs = self.folder / "logs"
        warm = {"url": self.store.url, "prefix": self.prefix, "queue": plan.queue}
        forks = self._stack.enter_context(Forks(logs / "forks.log", warm))
        skewed = forks
        if "skew" in plan.faults:
            skewed = self._stack.enter_context(Forks(logs / "skewed.log", warm, skew_s=skew_of(plan)))
        for name in workers + producers:
            odd = "skew" in plan.faults and name in SKEWED
            role = WORK if name in workers else PRODUCE
            self.lanes.append(Lane(name, role, skewed if odd else forks, odd))
        self.watcher = Lane(WATCHER, WATCH, forks, skewed=False)
        self.lanes.append(self.watcher)

    def _begin(self) -> None:
        """Refuse a queue that holds jobs, which we would run; and be the first to take a step, on an honest clock."""
        queue = self.open()
        held = sum(queue.counts().values())
        if held:
            raise InvalidInput(f"{safe_url(self.store.url)} holds {held} jobs: torture needs an empty queue of its own")
        queue.purge(1_000_000)
        self.close_queue()  # while processes are killed, none of ours may hold the store

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    # -- the store as we see it ----------------------------------------------------------------------------------

    @property
    def settings(self) -> Settings:
        """Of our own view of the queue."""
        return Settings(key_prefix=self.prefix, lease_s=self.plan.lease_s)

    def open(self) -> PersistentQueue:
        """Our own queue, for looking; opened anew if it was closed."""
        if self.queue is None:
            self.queue = open_member_queue(self.store.url, self.settings, self.plan.queue)
        return self.queue

    def close_queue(self) -> None:
        """Let go of the store."""
        if self.queue is not None:
            self.queue.close()
            self.queue = None

    # -- lanes ---------------------------------------------------------------------------------------------------

    def alive(self, *roles: str) -> list[Lane]:
        """The lanes that live now, of these roles or all."""
        return [lane for lane in self.lanes if lane.pid is not None and (not roles or lane.role in roles)]

    def begin(self) -> None:
        """The first life of every lane; the time of the run counts from here."""
        for lane in self.lanes:
            self.start(lane)
        self.seen.begun_ns = time.monotonic_ns()

    def start(self, lane: Lane, crash: Crash | None = None) -> None:
        """Begin the next life of a lane, unless it is over; it ends at `crash`, or where the plan says."""
        if lane.pid is not None or lane.over:
            return
        plan = self.plan
        lane.life += 1
        lane.why = None
        if lane is self.watcher:
            self._watch()
            self._watched = 0
        lane.paused = False
        if crash is None and self.tormenting and lane.role == WORK:
            crash = crash_of(plan, lane.name, lane.life)
        orders = Orders(
            role=lane.role,
            lane=lane.name,
            life=lane.life,
            url=self.store.url if lane is self.watcher else self.store.url_for(lane.name),
            folder=str(self.folder / "members"),
            prefix=self.prefix,
            lease_s=plan.lease_s,
            slots=plan.slots,
            crash=crash,
            queue=plan.queue,
            per_second=plan.jobs_per_second / plan.producers,
            long_jobs="long" in plan.faults,
            poison_jobs="poison" in plan.faults,
            delayed_jobs=not lane.skewed,
            seed=plan.seed,
        )
        self.run_member(lane, orders)

    def start_once(self, lane: Lane, crash: Crash | None = None) -> None:
        """Begin a life of a lane that no other follows by itself."""
        lane.over = False
        self.start(lane, crash)
        lane.over = True

    def run_member(self, lane: Lane, orders: Orders) -> None:
        """Start a process for a lane."""
        lane.orders = orders
        lane.pid = lane.forks.start(orders.to_dict(), self.folder / "logs" / f"{lane.name}.log")

    def kill(self, lane: Lane, why: str) -> None:
        """`kill -9` of a lane's process; its end is noted when it has come."""
        if lane.pid is not None:
            lane.why = lane.why or why
            lane.forks.signal(lane.pid, signal.SIGKILL)

    def signal(self, lane: Lane, number: int) -> None:
        """Another signal."""
        if lane.pid is not None:
            lane.forks.signal(lane.pid, number)

    def reap(self, wait_s: float = 0.0) -> None:
        """Note what ended, and have it start again soon."""
        for forks in {lane.forks for lane in self.lanes}:
            for ended in forks.ended(wait_s):
                lane = next((lane for lane in self.lanes if lane.pid == ended.pid), None)
                if lane is not None:
                    self._ended(lane, ended.code, ended.at_ns)
            wait_s = 0.0

    def _ended(self, lane: Lane, code: int, at_ns: int) -> None:
        assert lane.orders is not None
        why = lane.why
        if why is None and code == -signal.SIGKILL and lane.orders.crash is not None:
            why = "step"  # or what it ran killed it first, which comes to the same
        self.seen.deaths.append(Death(lane.name, lane.life, lane.role, at_ns, code, why))
        lane.pid = None
        if lane.role == HOLD:
            lane.over = True
        if not lane.over:
            pause = UNREACHABLE_S if why is None else self.rng.uniform(0.0, RESTART_S)
            self.later(pause, lambda: self.start(lane))

    def until_dead(self) -> None:
        """Wait until everybody who lives is dead, and let nobody begin meanwhile."""
        end = time.monotonic() + STOP_S
        while self.alive() and time.monotonic() < end:
            self.reap(TICK_S)

    # -- time ----------------------------------------------------------------------------------------------------

    @property
    def at_s(self) -> float:
        """Seconds since the run began."""
        return (time.monotonic_ns() - self.seen.begun_ns) / 1e9

    def later(self, seconds: float, act: Callable[[], None]) -> None:
        """Do it after so many seconds."""
        heapq.heappush(self._later, (self.at_s + seconds, next(self._number), act))

    def tick(self) -> None:
        """Do what is due, then rest a little."""
        while self._later and self._later[0][0] <= self.at_s:
            heapq.heappop(self._later)[2]()
        self.reap(TICK_S)
        self.store.sample()
        self._watch()

    def _watch(self) -> None:
        """Read what the watcher has noted since."""
        orders = self.watcher.orders
        if orders is None or not orders.notes.exists():
            return
        with orders.notes.open("rb") as file:
            file.seek(self._watched)
            lines = file.read().splitlines(keepends=True)
        for line in lines:
            if not line.endswith(b"\n"):
                break
            self._watched += len(line)
            note = json.loads(line)
            if note["what"] == "counts":
                self.seen.samples.append(Sample((note["at_ns"] - self.seen.begun_ns) / 1e9, *note["counts"]))

    def until(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Tick until it holds; False if it did not in time."""
        end = self.at_s + seconds
        while not condition():
            if self.at_s >= end:
                return False
            self.tick()
        return True

    # -- the end of a run ----------------------------------------------------------------------------------------

    def heal(self) -> None:
        """End every fault: what was to be healed later is healed now."""
        self.tormenting = False
        while self._later:
            heapq.heappop(self._later)[2]()
        if self.store.proxy is not None:
            self.store.proxy.calm()
        self.busy = None
        self.seen.torment_ns = time.monotonic_ns()

    def drain(self) -> None:
        """Stop the producers and wait until every job is final."""
        producers = [lane for lane in self.lanes if lane.role == PRODUCE]
        for lane in producers:
            lane.over = True
            lane.why = "stopped"
            self.signal(lane, signal.SIGTERM)
        if not self.until(lambda: not self.alive(PRODUCE), PRODUCERS_END_S):
            for lane in self.alive(PRODUCE):
                self.kill(lane, "stopped")
            self.until(lambda: not self.alive(PRODUCE), STOP_S)
        since_s = self.at_s
        self.seen.drained = self.until(lambda: self.all_final(since_s), self.plan.limit_s)

    def all_final(self, since_s: float) -> bool:
        """Whether the queue was seen without a job that is not final."""
        last = self.seen.samples[-1] if self.seen.samples else None
        return last is not None and last.at_s >= since_s and last.pending + last.running == 0

    def look(self, *, muster: bool = True) -> None:
        """See that every worker still takes jobs, that none is left, and what became of all of them."""
        history = self.folder / "members" / f"{JUDGE}.1.ops.jsonl"
        judge = RecordingQueue(self.open(), client=f"{JUDGE}.1", path=history)
        if muster:
            self._muster(judge)
        left = judge.dequeue(JUDGE)
        if left is not None:
            self.seen.left = left.id
            judge.update_status(left.id, JobStatus.PENDING, lease=left.lease)
        self.seen.counts = judge.counts()
        self.seen.found = {job.id: job for job in judge.list_jobs(limit=INT_MAX)}
        with suppress(NotSupported):
            self.seen.quarantined = len(judge.quarantined())
        judge.close()
        self.queue = None

    def _muster(self, judge: PersistentQueue) -> None:
        """Give every slot of every worker a job at once: whoever takes none is alive in name only."""
        workers = {lane.name for lane in self.lanes if lane.role == WORK}
        size = len(workers) * self.plan.slots
        jobs = [
            Job.new("workflow:sleep", id=f"muster-{n}", params={"seconds": 10 * MUSTER_S}, priority=900)
            for n in range(1, size + 1)
        ]
        ids = {job.id for job in jobs}
        judge.enqueue_many(jobs)

        def idle() -> set[str]:
            running = self.open().list_jobs(JobStatus.RUNNING, limit=10 * size)
            return workers - {job.lease.worker_id for job in running if job.lease is not None and job.id in ids}

        self.until(lambda: not idle(), min(MUSTER_S, self.plan.limit_s) + SWEEP_S + self.plan.lease_s)
        self.seen.idle = tuple(sorted(idle()))
        with suppress(NotSupported):
            self.seen.unseen = tuple(sorted(workers - {info.id for info in judge.workers()}))
        for job in jobs:
            with suppress(OrchError):  # a queue that lost it shows in the verdict
                judge.cancel(job.id)

    def stop(self) -> None:
        """SIGTERM to the workers; who does not end is killed."""
        for lane in self.lanes:
            lane.over = True
            self.signal(lane, signal.SIGTERM)
        for lane in self.alive():
            lane.why = "stopped"
        if not self.until(lambda: not self.alive(), STOP_S):
            for lane in self.alive():
                self.kill(lane, "stopped")
            self.until(lambda: not self.alive(), STOP_S)
        self.seen.ended_ns = time.monotonic_ns()


def histories(folder: Path) -> list[Path]:
    """The history files that the members of a run left."""
    return sorted((folder / "members").glob("*.ops.jsonl"))
