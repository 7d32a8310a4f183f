"""`simulate`: workers, load and faults in; waits, lanes, depth and a verdict out. And how many workers are needed.

    from orch.simulator import simulate, Workers, Poisson, Exponential
    result = simulate(Workers(20), Poisson(50), Exponential(0.3), jobs=10_000)
    print(result.wait(0.99), result.utilisation)

Chance has one stream for each concern: arrivals and service of each load, what runs come to, each worker's jitter, and
each kind of fault; so another number of workers meets the same jobs.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from heapq import heappop, heappush
from typing import Any

from orch import MemoryQueue, checks
from orch.clock import Clock, iso, to_us
from orch.errors import InvalidInput
from orch.job import FINAL, Job, JobStatus, Report
from orch.queue import LEASE_S, MAX_CRASHES, PersistentQueue
from orch.runner import Done, Outcome, Retry
from orch.schedule import Schedule
from orch.simulator.load import Arrivals, Load, Time, distribution, offered
from orch.simulator.member import Attempt, Producer, Worker
from orch.simulator.result import Depth, JobRow, Mark, Result
from orch.simulator.tape import NEVER, Stream
from orch.simulator.theory import interval
from orch.simulator.timekeeper import Timekeeper
from orch.simulator.world import EPOCH, LOST_REPLY, LOST_REQUEST, World, little_garbage
from orch.worker import Config

DONE = Done({})
FAILED = Retry("the run failed")
RESTART_S = 1.0
BROKEN_S = 0.5  # of its time a poison job runs before it kills its worker


@dataclass(frozen=True, slots=True)
class Workers:
    """So many equal workers.

    `slots` jobs at a time each; one way to the store takes `latency_s`; a run takes `slowness` times as long as
    elsewhere. The rest is as in `orch.worker.Config`. `stop_at_s`: they are told to stop then, as in a deployment.
    """

    count: int
    slots: int = 1
    latency_s: Time = 0.0
    slowness: float = 1.0
    name: str = "worker"
    wait_s: float = 2.0
    grace_s: float = 10.0
    retry_s: float = 1.0
    retry_s_max: float = 300.0
    start_s: float = 0.0
    stop_at_s: float | None = None

    def __post_init__(self) -> None:
        checks.check_int(self.count, "workers", 1, 100_000)
        checks.check_int(self.slots, "slots", 1, 1_000)
        object.__setattr__(self, "latency_s", distribution(self.latency_s, "latency_s"))
        checks.check_seconds(self.slowness, "slowness", positive=True)
        checks.check_seconds(self.start_s, "start_s")
        if self.stop_at_s is not None:
            checks.check_seconds(self.stop_at_s, "stop_at_s")
        self.config(self.name, LEASE_S)  # which checks the rest

    def config(self, worker_id: str, lease_s: float) -> Config:
        """The settings of one of them."""
        return Config(
            worker_id=worker_id,
            slots=self.slots,
            lease_s=lease_s,
            grace_s=self.grace_s,
            wait_s=self.wait_s,
            retry_s=self.retry_s,
            retry_s_max=self.retry_s_max,
            quiet=True,
            state_log=False,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """What goes wrong. Each worker crashes and is paused after times that are exponential with these means.

    A crashed worker is started again after `restart_s`. `outages` are pairs of (when, how long) in which the store
    cannot be reached. A request or its reply gets lost with these probabilities.
    """

    crash_every_s: float | None = None
    restart_s: float = RESTART_S
    pause_every_s: float | None = None
    pause_s: Time = 60.0
    outages: tuple[tuple[float, float], ...] = ()
    lost_requests: float = 0.0
    lost_replies: float = 0.0

    def __post_init__(self) -> None:
        for name in ("crash_every_s", "pause_every_s"):
            if getattr(self, name) is not None:
                checks.check_seconds(getattr(self, name), name, positive=True)
        checks.check_seconds(self.restart_s, "restart_s")
        object.__setattr__(self, "pause_s", distribution(self.pause_s, "pause_s"))
        object.__setattr__(self, "outages", tuple((float(at), float(seconds)) for at, seconds in self.outages))
        for at, seconds in self.outages:
            checks.check_seconds(at, "the beginning of an outage")
            checks.check_seconds(seconds, "the length of an outage", positive=True)
        for name in ("lost_requests", "lost_replies"):
            checks.check_seconds(getattr(self, name), name, high=0.9)


CALM = Faults()


def simulate(
    workers: Workers | int | Sequence[Workers],
    load: Arrivals | Load | Sequence[Load],
    service: Time | None = None,
    *,
    jobs: int | None = None,
    seconds: float | None = None,
    seed: int = 0,
    faults: Faults = CALM,
    lease_s: float = LEASE_S,
    max_crashes: int = MAX_CRASHES,
    schedules: Sequence[Schedule] = (),
    schedulers: int = 1,
    history: bool = False,
    make_queue: Callable[[Clock], PersistentQueue] | None = None,
) -> Result:
    """Let workers of the shipping code serve a load on virtual time, until all jobs are final.

    `load` is arrivals, with `service` beside, or one or several `Load`. Jobs come until there were `jobs` of them or
    `seconds` have passed (by default 1,000 jobs; both may be given). With `schedules` schedulers enqueue too, for
    `seconds`. With `history` the result can be judged: `result.verdict()`. `make_queue(clock)` gives the queue, by
    default a `MemoryQueue`. Raises `InvalidInput`.
    """
    fleets = [Workers(workers)] if isinstance(workers, int) else [workers] if isinstance(workers, Workers) else workers
    loads = _loads(load, service)
    if jobs is None and seconds is None:
        jobs = 1_000
    if jobs is not None:
        checks.check_int(jobs, "jobs", 0)
    if seconds is not None:
        checks.check_seconds(seconds, "seconds", positive=True)
    if schedules and seconds is None:
        raise InvalidInput("schedules never end: give seconds")
    if not fleets:
        raise InvalidInput("a simulation needs workers")
    made = make_queue or (lambda clock: MemoryQueue(lease_s=lease_s, max_crashes=max_crashes, clock=clock))
    with little_garbage():
        run = _Run(made, lease_s, max_crashes, seed, faults, loads, jobs, seconds, history)
        run.world.calm = make_queue is None and not history and not schedules and _is_calm(fleets, loads, faults)
        for fleet in fleets:
            run.hire(fleet)
        run.strike()
        for number in range(schedulers if schedules else 0):
            Timekeeper(run.world, f"scheduler-{number}", schedules)
        return run.play(sum(fleet.count * fleet.slots for fleet in fleets))


def _is_calm(fleets: Sequence[Workers], loads: Sequence[Load], faults: Faults) -> bool:
    """Does nothing go wrong, and does everybody wait equally long?"""
    return (
        replace(faults, restart_s=CALM.restart_s, pause_s=CALM.pause_s) == CALM
        and not any(load.poison for load in loads)
        and len({fleet.wait_s for fleet in fleets}) == 1
        and all(distribution(fleet.latency_s).mean == 0 and fleet.stop_at_s is None for fleet in fleets)
    )


def _loads(load: Arrivals | Load | Sequence[Load], service: Time | None) -> list[Load]:
    if isinstance(load, Load):
        loads = [load]
    elif isinstance(load, Sequence):
        loads = list(load)
    else:
        if service is None:
            raise InvalidInput(
                "arrivals need a service time beside them: simulate(workers, Poisson(5), Exponential(1))"
            )
        return [Load(arrivals=load, service=service)]
    if service is not None:
        raise InvalidInput("a Load has its own service time")
    return loads


class _Run:
    """One simulation."""

    def __init__(
        self,
        make_queue: Callable[[Clock], PersistentQueue],
        lease_s: float,
        max_crashes: int,
        seed: int,
        faults: Faults,
        loads: Sequence[Load],
        jobs: int | None,
        seconds: float | None,
        history: bool,
    ) -> None:
        self.world = world = World(make_queue, lease_s=lease_s)
        self.lease_s = lease_s
        self.max_crashes = max_crashes
        self.seed = seed
        self.faults = faults
        self.loads = loads
        self.until = math.inf if seconds is None else seconds
        self.left = math.inf if jobs is None else jobs
        self.rows: dict[str, JobRow] = {}
        self.drawn: dict[str, tuple[float, bool]] = {}
        self.changes: list[tuple[float, int, int]] = []  # of the depth of the queue
        self.attempts: list[Attempt] = []
        self.marks: list[Mark] = []
        self.open = 0
        self.sources = 0
        self.history = history
        if not history:
            world.keep_trips = False
        world.accepted = self.accepted
        world.delivered = self.delivered
        world.reported = self.reported
        self.producer = Producer(world, "producer", net=self.network())
        self.plain = [_plain(load) for load in loads]
        for number, load in enumerate(loads):
            arrivals, services = self.stream(f"arrivals {number}"), self.stream(f"service {number}")
            self.sources += 1
            self.come(load, number, 0, load.arrivals.times(arrivals), services)

    outcomes = cached_property(lambda self: self.stream("outcomes"))
    jitter = cached_property(lambda self: self.stream("jitter"))
    crashes = cached_property(lambda self: self.stream("crashes"))
    pauses = cached_property(lambda self: self.stream("pauses"))
    lost = cached_property(lambda self: self.stream("network"))
    distances = cached_property(lambda self: self.stream("latency"))

    def stream(self, concern: str) -> random.Random:
        """The chance of one concern."""
        return _stream(self.seed, concern)

    def network(self) -> Stream:
        """Which requests of a client get lost."""
        total = self.faults.lost_requests + self.faults.lost_replies
        if total == 0.0:
            return quiet_network()
        rng, requests = self.lost, self.faults.lost_requests / total
        log_kept = math.log1p(-total)

        def more(start: int) -> tuple[int, int]:
            gap = int(math.log(1.0 - rng.random()) / log_kept)
            return start + gap, LOST_REQUEST if rng.random() < requests else LOST_REPLY

        return Stream(more)

    # -- jobs ------------------------------------------------------------------------------------------------------

    def come(self, load: Load, source: int, number: int, times: Any, services: random.Random) -> None:
        """The next job of a load, and when."""
        at = next(times, None)
        if at is None or at > self.until or self.left <= 0:
            self.sources -= 1
            return
        self.left -= 1
        self.world.to_come += 1
        seconds = distribution(load.service).sample(services)
        self.world.at(at, self._arrive, load, source, number, times, services, seconds)

    def _arrive(
        self, load: Load, source: int, number: int, times: Any, services: random.Random, seconds: float
    ) -> None:
        now = self.world.now
        job_id = f"{source}-{number}"
        poison = load.poison > 0 and self.outcomes.random() < load.poison
        self.drawn[job_id] = seconds, poison
        self.rows[job_id] = JobRow(job_id, load.tenant, load.priority, now)
        job = self.plain[source].copy()  # not checked here: the queue does that
        job.id = job_id
        job.enqueued_at = iso(to_us(EPOCH + now))
        self.producer.enqueue(job)
        self.come(load, source, number + 1, times, services)

    def plan(self, job: Job) -> tuple[float, Outcome]:
        """How long a run takes, and what comes of it."""
        source, _, number = job.id.partition("-")
        if not number.isdigit():  # a scheduler's
            return 0.0, DONE
        load = self.loads[int(source)]
        seconds, _ = self.drawn[job.id]
        if job.attempts > 1:
            seconds = distribution(load.service).sample(self.outcomes)
        fails = (load.fails > 0 and self.outcomes.random() < load.fails) or (
            bool(load.failing) and load.is_failing(self.world.now + seconds)
        )
        return seconds, FAILED if fails else DONE

    # -- what happens to them --------------------------------------------------------------------------------------

    def step(self, pending: int, running: int) -> None:
        """The depth of the queue changes."""
        self.changes.append((self.world.now, pending, running))

    def accepted(self, job: Job) -> None:
        """It is in the queue."""
        row = self.rows.get(job.id)
        if row is None:
            row = self.rows[job.id] = JobRow(job.id, job.tenant_id, job.priority, self.world.now)
        row.arrived = self.world.now
        row.state = JobStatus.PENDING
        self.open += 1
        self.step(1, 0)

    def delivered(self, job: Job, _client: Any) -> None:
        """It was delivered, for the first time or again."""
        row = self.rows[job.id]
        row.attempts = job.attempts
        if row.started is None:
            row.started = self.world.now
        if row.state is JobStatus.PENDING:
            self.step(-1, 1)
        row.state = JobStatus.RUNNING

    def reported(self, _report: Report, result: Any, _client: Any) -> None:
        """A report had its answer."""
        if not isinstance(result, Job):
            return
        row = self.rows[result.id]
        if row.state is not JobStatus.RUNNING or result.status is JobStatus.RUNNING:
            return
        row.state = result.status
        self.step(1 if result.status is JobStatus.PENDING else 0, -1)
        if result.status in FINAL:
            self.open -= 1
            row.finished = self.world.now
            if not self.open and not self.sources and not self.world.to_come and self.world.now >= self.schedules_end:
                self.world.over = True

    def _nothing_left(self) -> None:
        if not self.open and not self.sources and not self.world.to_come:
            self.world.over = True

    schedules_end = 0.0

    # -- workers and faults ----------------------------------------------------------------------------------------

    def hire(self, fleet: Workers) -> None:
        """The workers of a fleet."""
        for number in range(fleet.count):
            name = f"{fleet.name}-{number}"
            if fleet.start_s:
                self.world.later(fleet.start_s, None, self.start, fleet, name, 0)
            else:
                self.start(fleet, name, 0)

    def start(self, fleet: Workers, name: str, life: int) -> None:
        """A worker begins."""
        latency = fleet.latency_s
        assert not isinstance(latency, int | float)
        worker = Worker(
            self.world,
            fleet.config(f"{name}.{life}" if life else name, self.lease_s),
            self.plan,
            seed=self.jitter.random(),
            net=self.network(),
            latency=None if latency.mean == 0 else lambda: latency.sample(self.distances),
            slowness=fleet.slowness,
            ended=lambda gone, code: self.ended(fleet, name, life, gone, code),
            attempts=self.attempts,
            started=self.began if any(load.poison for load in self.loads) else None,
        )
        if life:
            self.mark("start", worker.id)
        if self.faults.crash_every_s is not None:
            self.world.later(self.crashes.expovariate(1 / self.faults.crash_every_s), worker, worker.vanish)
        if self.faults.pause_every_s is not None:
            self.pause_later(worker, self.faults.pause_every_s)
        if fleet.stop_at_s is not None and fleet.stop_at_s >= self.world.now:
            self.world.at(fleet.stop_at_s, worker.stop)

    def began(self, attempt: Attempt) -> None:
        """A poison job kills its worker half-way."""
        if self.drawn.get(attempt.job.id, (0.0, False))[1]:
            self.world.later(attempt.seconds * BROKEN_S, attempt.worker, attempt.worker.vanish)

    def pause_later(self, worker: Worker, every_s: float) -> None:
        """It will be stopped for a while."""

        def pause() -> None:
            length = distribution(self.faults.pause_s).sample(self.pauses)
            self.mark("pause", worker.id, length)
            worker.pause(length)
            self.pause_later(worker, every_s)

        self.world.later(self.pauses.expovariate(1 / every_s), worker, pause)

    def ended(self, fleet: Workers, name: str, life: int, worker: Worker, code: int | None) -> None:
        """A worker is gone; somebody starts the next one."""
        self.mark("crash" if code is None else "stop", worker.id)
        if code is None or fleet.stop_at_s is not None:
            self.world.later(self.faults.restart_s, None, self.start, fleet, name, life + 1)

    def strike(self) -> None:
        """The outages of the store."""
        for at, seconds in self.faults.outages:
            self.world.at(at, self._outage, seconds)

    def _outage(self, seconds: float) -> None:
        self.mark("outage", "store", seconds)
        self.world.go_down(seconds)

    def mark(self, what: str, whom: str, seconds: float = 0.0) -> None:
        """Something went wrong, for charts."""
        self.marks.append(Mark(self.world.now, what, whom, seconds))

    # -- the end ---------------------------------------------------------------------------------------------------

    def play(self, slots: int) -> Result:
        """Until everything is final."""
        world = self.world
        if self.until < math.inf:
            self.schedules_end = self.until
        if world.calm:  # the last report ends it, unless nothing is left by then
            world.at(math.ceil(self.schedules_end), self._nothing_left)
        else:
            world.watch_for_the_end(self.schedules_end)
        world.run()
        for job in world.queue.list_jobs(JobStatus.FAILED, limit=len(self.rows)):
            row = self.rows[job.id]
            if row.finished is None:  # its last lease was lost: no report says so
                row.finished = max(row.arrived, _seconds(job.finished_at))
                self.changes.append((row.finished, 0, -1))
            row.state = JobStatus.FAILED
        world.queue.close()
        return Result(
            jobs=sorted(self.rows.values(), key=lambda row: row.arrived),
            attempts=self.attempts,
            depth=depth_of(self.changes),
            marks=self.marks,
            seconds=max([world.now, *(row.finished or 0.0 for row in self.rows.values())]) if self.rows else world.now,
            slots=slots,
            seed=self.seed,
            lease_s=self.lease_s,
            max_crashes=self.max_crashes,
            lost_replies=self.faults.lost_replies > 0,
            world=world if self.history else None,
        )


def planned(
    loads: Sequence[Load], *, jobs: int | None = None, seconds: float | None = None, seed: int = 0
) -> Iterator[tuple[float, int, Load, float]]:
    """The jobs of a simulation with this seed, in the order of arrival: when, its number, its load, and its time."""
    left = 1_000 if jobs is None and seconds is None else jobs
    sources = [
        (load.arrivals.times(_stream(seed, f"arrivals {number}")), _stream(seed, f"service {number}"))
        for number, load in enumerate(loads)
    ]
    agenda: list[tuple[float, int, float]] = []

    def draw(source: int) -> None:
        nonlocal left
        times, services = sources[source]
        at = next(times, None)
        if at is None or (seconds is not None and at > seconds) or (left is not None and left <= 0):
            return
        left = None if left is None else left - 1
        heappush(agenda, (at, source, distribution(loads[source].service).sample(services)))

    for source in range(len(loads)):
        draw(source)
    number = 0
    while agenda:
        at, source, service = heappop(agenda)
        yield at, number, loads[source], service
        number += 1
        draw(source)


def _stream(seed: int, concern: str) -> random.Random:
    """The chance of one concern."""
    return random.Random(f"{seed} {concern}")


def _plain(load: Load) -> Job:
    """What all jobs of a load have in common."""
    return Job(
        id="0",
        dag_path="workflow:simulated",
        tenant_id=load.tenant,
        schedule_id=None,
        status=JobStatus.PENDING,
        enqueued_at=iso(to_us(EPOCH)),
        priority=load.priority,
        max_retries=load.max_retries,
        timeout_s=load.timeout_s,
    )


def depth_of(changes: list[tuple[float, int, int]]) -> list[Depth]:
    """Changes as steps: from each instant on, how many jobs are pending and running."""
    steps = [Depth(0.0, 0, 0)]
    for at, pending, running in sorted(changes, key=lambda change: change[0]):
        last = steps[-1]
        step = Depth(at, last.pending + pending, last.running + running)
        if last.at == at:
            steps[-1] = step
        else:
            steps.append(step)
    return steps


def _seconds(text: str | None) -> float:
    from datetime import datetime  # only jobs that lost their last lease need it

    return 0.0 if text is None else datetime.fromisoformat(text).timestamp() - EPOCH


def quiet_network() -> Stream:
    """The network of a client whose requests all arrive; one for each client, as a stream has a place."""
    return Stream(lambda _start: (NEVER, 0))


@dataclass(frozen=True, slots=True)
class Needed:
    """How many workers a load needs: the fewest for which the wait holds, with the interval of that wait.

    `tried` has for each number of workers the wait that `part` of all jobs did not exceed, over the replications.
    """

    workers: int
    wait_s: float
    low_s: float
    high_s: float
    target_s: float
    part: float
    confidence: float
    tried: tuple[tuple[int, tuple[float, ...]], ...]

    def __str__(self) -> str:
        return (
            f"{self.workers} workers: {self.part:.0%} of all jobs wait at most {self.wait_s:.3g} s "
            f"({self.low_s:.3g} to {self.high_s:.3g} s with {self.confidence:.0%} confidence; "
            f"asked for: {self.target_s:g} s)"
        )


def workers_needed(
    load: Arrivals | Load | Sequence[Load],
    service: Time | None = None,
    *,
    wait_s: float,
    part: float = 0.99,
    slots: int = 1,
    jobs: int = 4_000,
    replications: int = 5,
    confidence: float = 0.95,
    seed: int = 0,
    most: int = 10_000,
    **more: Any,
) -> Needed:
    """The fewest workers with which `part` of all jobs wait at most `wait_s`, simulated with the shipping code.

    For each number it takes that wait of each replication (without the first tenth of the jobs) and asks that the upper
    end of the interval of their mean be at most `wait_s`. `more` goes to `simulate`. Raises `InvalidInput`, also when
    `most` workers are not enough.
    """
    checks.check_seconds(wait_s, "wait_s")
    checks.check_int(replications, "replications", 2)
    loads = _loads(load, service)
    tried: dict[int, tuple[float, ...]] = {}

    def enough(workers: int) -> bool:
        if workers not in tried:
            tried[workers] = tuple(
                simulate(Workers(workers, slots=slots), loads, jobs=jobs, seed=seed + number, **more)
                .after_jobs(jobs // 10)
                .wait(part)
                for number in range(replications)
            )
        return interval(tried[workers], confidence)[1] <= wait_s

    known = offered(loads)
    workers = 1 if known is None else max(1, math.floor(known / slots) + 1)
    low, step = workers - 1, 1  # so many are not enough
    while not enough(workers):
        if workers >= most:
            raise InvalidInput(f"{most} workers are not enough for a wait of {wait_s:g} s")
        low = workers
        workers = min(most, workers + step)
        step *= 2
    while workers - low > 1:
        middle = (low + workers) // 2
        if enough(middle):
            workers = middle
        else:
            low = middle
    low_s, high_s = interval(tried[workers], confidence)
    low_s = max(0.0, low_s)
    mean = sum(tried[workers]) / replications
    return Needed(workers, mean, low_s, high_s, wait_s, part, confidence, tuple(sorted(tried.items())))
