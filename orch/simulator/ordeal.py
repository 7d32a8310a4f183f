"""Small worlds full of faults, each made of one tape: some workers, some jobs, and what goes wrong.

An ordeal that was dealt from a seed is replayed from its tape, and smaller ones come of it by leaving out workers, jobs
and choices. For the first minute of virtual time things go wrong; then everything has to come to an end. What is broken
is found as it happens by the watch (W1 to W8), and at the end by judging the history (Q1 to Q8).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from orch import MemoryQueue, checks
from orch.checker import Spec, Violation, check
from orch.clock import Clock, iso, to_us
from orch.errors import InvalidInput, OrchError
from orch.history import History, Op, Outcome
from orch.job import FINAL, Job, JobStatus
from orch.queue import SWEEP_S, PersistentQueue
from orch.runner import Dead, Done, Retry
from orch.runner import Outcome as Ran
from orch.schedule import Misfire, Schedule
from orch.simulator.member import CRASH, Attempt, Producer, Worker
from orch.simulator.straight import Straight
from orch.simulator.tape import NEVER, Dealt, Entries, Stream, Tape, parse_token, token_of
from orch.simulator.timekeeper import Timekeeper
from orch.simulator.watch import Broken, Watch
from orch.simulator.world import EPOCH, World, little_garbage
from orch.worker import Config

LEASE_S = 6.0
GRACE_S = 3.0
MAX_CRASHES = 2
FAULTY_S = 60.0  # faults come in this time
LIMIT_S = 3_000.0  # by then everything has come to an end

FAULTS = ("crash", "pause", "stall", "slow", "request", "reply", "late", "outage", "stop", "skew", "tick")
_NETWORK = {"slow": (1, 2, 3, 4, 5), "request": (6,), "reply": (7,), "late": (8,)}
_TROUBLE = {"crash": (CRASH,), "pause": (5, 6), "stall": (2, 3, 4)}
_CHANCE = {"crash": 0.006, "pause": 0.002, "stall": 0.02}

# What a choice of the workload means, by its number; the plainest first.
_AT_S = (0.0, 0.5, 3.0, 11.0, 20.0, 31.0)
_PRIORITY = (0, 5, -3)
_TIMEOUT_S = (None, 4.0)
_DELAY_S = (0.0, 1.0, 8.0)
_SECONDS = (0.01, 0.0, 0.5, 3.0, 18.0, 40.0)
_OUTCOME: tuple[Ran, ...] = (Done({}), Done({"n": 1}), Retry("boom"), Dead("bad"), Done({"when": object()}))
_RETRY_S = (1.0, 0.0)
_SKEW_S = (0.0, 120.0, -120.0)
_OUTAGE_S = (0.0, 1.0, 5.0, 20.0)

# How likely: a table holds each value as often as it shall come.
_AT = (0, 0, 0, 0, 1, 1, 2, 2, 3, 4, 5)
_AT_ONCE = (0, 0, 0, 1, 1, 2, 2, 3)  # where there are many jobs
_PRIORITIES = (0, 0, 0, 0, 1, 2)
_RETRIES = (0, 1, 2)
_TIMEOUTS = (0, 0, 0, 0, 1)
_DELAYS = (0, 0, 0, 0, 0, 1, 2)
_DURATIONS = (0, 0, 1, 2, 2, 2, 3, 3, 4, 5)
_SHORT = (0, 0, 0, 1, 2, 2, 2, 3)
_OUTCOMES = (0, 0, 0, 1, 1, 2, 2, 3, 4)


_PLAIN = Job("j", "workflow:0", "ordeal", None, JobStatus.PENDING, iso(to_us(EPOCH)))


@dataclass(frozen=True, slots=True)
class Subject:
    """What is put to the ordeal: by default what ships.

    `make_queue(clock)` gives an empty queue with leases of 6 s and `max_crashes` 2. `logic` is the pair of generators
    of a worker. With `schedulers`, so many of them run one schedule of every minute.
    """

    make_queue: Callable[[Clock], PersistentQueue] = lambda clock: MemoryQueue(
        lease_s=LEASE_S, max_crashes=MAX_CRASHES, clock=clock
    )
    logic: tuple[Callable[..., Any], Callable[..., Any]] | None = None
    schedulers: int = 0
    scheduler: Callable[..., Any] | None = None  # (schedules) -> an object with `serve(tick_s)`


SHIPPING = Subject()


@dataclass(frozen=True, slots=True)
class Ordeal:
    """Who takes part, what may go wrong, and the tape; `seed` says where it was dealt, a replay does not need it."""

    workers: tuple[int, ...]
    jobs: tuple[int, ...]
    faults: frozenset[str] = frozenset()
    entries: Entries = field(default_factory=dict)
    seed: int | None = None

    @property
    def token(self) -> str:
        """The ordeal as a short text."""
        bits = sum(1 << place for place, fault in enumerate(FAULTS) if fault in self.faults)
        return token_of([bits], [self.workers, self.jobs], self.entries)

    @classmethod
    def parse(cls, token: str) -> Ordeal:
        """The inverse of `token`. Raises `InvalidInput`."""
        (bits, *_), (workers, jobs), entries = parse_token(token, 2)
        if bits >= 1 << len(FAULTS):
            raise InvalidInput(f"this token has faults that are not known: {checks.shown(token)}")
        faults = frozenset(fault for place, fault in enumerate(FAULTS) if bits >> place & 1)
        return cls(tuple(workers), tuple(jobs), faults, entries)

    @property
    def size(self) -> int:
        """How much there is to understand: workers, jobs, and choices that are not 0."""
        return len(self.workers) + len(self.jobs) + sum(map(len, self.entries.values()))


@dataclass(slots=True)
class Ended:
    """What came of an ordeal: the choices that were taken, and what was broken, if anything.

    `straight`: every answer of the queue was the expected one, so that its history needed no judging.
    """

    ordeal: Ordeal
    world: World
    attempts: list[Attempt]
    workers: list[Worker]
    broken: Broken | None = None
    violation: Violation | None = None
    straight: bool = False
    told: Callable[[], History] = History

    @property
    def history(self) -> History:
        """What happened, told when it is asked for."""
        return self.told()


def dealt(seed: int, *, workers: int, jobs: int, faults: Sequence[str]) -> Ordeal:
    """An ordeal to be dealt from a seed; its tape is known when it was played."""
    unknown = sorted(set(faults) - set(FAULTS))
    if unknown:
        raise InvalidInput(f"faults must be among {', '.join(FAULTS)}, got {checks.shown(unknown[0])}")
    return Ordeal(tuple(range(workers)), tuple(range(jobs)), frozenset(faults), {}, seed)


def play(ordeal: Ordeal, subject: Subject = SHIPPING, *, view: str = "store") -> Ended:
    """Let it happen, and judge it. With a seed the tape is dealt, else it is the ordeal's own."""
    with little_garbage():
        return _played(ordeal, subject, view)


def _played(ordeal: Ordeal, subject: Subject, view: str) -> Ended:
    scene = _Scene(ordeal, subject)
    broken: Broken | None = None
    violation: Violation | None = None
    straight = False
    try:
        scene.world.run(LIMIT_S)
        scene.drain()
    except Broken as error:
        broken = error
    try:
        scene.look_at_what_is_left()
        straight = broken is None and view == "store" and scene.was_straight()
        if broken is None:
            found: Sequence[Violation] = ()
            if not straight:
                found = check(scene.history(view), SPEC if view == "store" else scene.spec_of_clients()).violations
            if found:
                violation = scene.gravest(found)
                broken = Broken(violation.promise, violation.message)
            else:
                scene.judge_the_end()
    except Broken as error:
        broken = error
    finally:
        scene.world.queue.close()
    taken = {key: {at: value for at, value in places.items() if value} for key, places in scene.tape.entries.items()}
    entries = {key: places for key, places in taken.items() if places}
    return Ended(
        replace(ordeal, entries=entries, seed=None),
        scene.world,
        scene.attempts,
        scene.workers,
        broken,
        violation,
        straight,
        lambda: scene.history(view),
    )


SPEC = Spec(lease_s=LEASE_S, sweep_s=SWEEP_S, max_crashes=MAX_CRASHES, skew_s=0.001, drift=0.0, effect_s=1.0)
ON_THE_WAY_S = 5.0  # a request whose client hears nothing is done or gone by then, if its client was not paused


class _Scene:
    """One ordeal while it happens."""

    def __init__(self, ordeal: Ordeal, subject: Subject) -> None:
        self.tape = Tape(ordeal.entries) if ordeal.seed is None else Dealt(ordeal.seed)
        self.faults = ordeal.faults
        self.often = (1.0, 6.0, 2.0)[(ordeal.seed or 0) // 3 % 3]  # how often things go wrong
        self.subject = subject
        self.world = world = World(subject.make_queue, lease_s=LEASE_S)
        self.made: History | None = None
        self.watch = Watch(world, max_crashes=MAX_CRASHES)
        if not hasattr(world.queue, "in_steps"):
            world.straight = Straight(MAX_CRASHES)
        self.attempts: list[Attempt] = []
        self.workers: list[Worker] = []
        self.keepers: list[Timekeeper] = []
        self.lives: dict[int, int] = {}
        self.finals: dict[str, JobStatus] = {}
        self.short = len(ordeal.jobs) > 15
        self.producer = Producer(world, "producer", net=self.network("p0"))
        world.to_come = len(ordeal.jobs)
        for number in ordeal.jobs:
            at = _AT_S[self.pick(f"j{number}", 0, _AT_ONCE if self.short else _AT, _AT_S)]
            world.later(at, None, self.enqueue, number)
        for number in ordeal.workers:
            self.hire(number)
        if "outage" in self.faults:
            self.outages()
        self.keep_time()
        world.later(1.0, None, self.look)

    def pick(self, key: str, place: int, table: Sequence[int], values: Sequence[Any]) -> int:
        value = self.tape.pick(key, place, table)
        return value if value < len(values) else len(values) - 1

    def network(self, key: str) -> Stream:
        values = [value for fault, kinds in _NETWORK.items() if fault in self.faults for value in kinds]
        return self._until_calm(self.tape.stream(key, 0.1 if values else 0.0, values))

    def _until_calm(self, stream: Stream) -> Stream:
        """The same stream, but nothing goes wrong once the faulty minute is over."""
        deal = stream.more
        stream.more = lambda start: (NEVER, 0) if self.world.now > FAULTY_S else deal(start)
        return stream

    # -- jobs ------------------------------------------------------------------------------------------------------

    def enqueue(self, number: int) -> None:
        key = f"j{number}"
        delay = _DELAY_S[self.pick(key, 4, _DELAYS, _DELAY_S)]
        now = EPOCH + self.world.now
        job = _PLAIN.copy()  # not checked here: the queue does that
        job.id = key
        job.dag_path = f"workflow:{number}"
        job.enqueued_at = iso(to_us(now))
        job.priority = _PRIORITY[self.pick(key, 1, _PRIORITIES, _PRIORITY)]
        job.max_retries = self.pick(key, 2, _RETRIES, _RETRIES)
        job.timeout_s = _TIMEOUT_S[self.pick(key, 3, _TIMEOUTS, _TIMEOUT_S)]
        if delay:
            job.not_before = iso(to_us(now + delay))
        self.producer.enqueue(job)

    def plan(self, job: Job) -> tuple[float, Ran]:
        """How long this attempt takes, and what comes of it."""
        if not job.id.startswith("j"):
            return 0.01, _OUTCOME[0]
        place = 3 + 2 * job.attempts
        seconds = _SECONDS[self.pick(job.id, place, _SHORT if self.short else _DURATIONS, _SECONDS)]
        return seconds, _OUTCOME[self.pick(job.id, place + 1, _OUTCOMES, _OUTCOME)]

    # -- workers ---------------------------------------------------------------------------------------------------

    def hire(self, number: int) -> None:
        """A worker, or the next one in the place of one that is gone."""
        life = self.lives.get(number, -1) + 1
        self.lives[number] = life
        actor = number * 36 + life
        calm = self.world.now > FAULTY_S
        key = f"c{actor}"
        retry_s = _RETRY_S[self.pick(key, 1, (0, 0, 0, 1), _RETRY_S)]
        config = Config(
            worker_id=f"w{number}" if not life else f"w{number}.{life}",
            slots=1 + self.pick(key, 0, (0, 0, 1, 2), (0, 1, 2)),
            lease_s=LEASE_S,
            grace_s=GRACE_S,
            wait_s=2.0,
            retry_s=retry_s,
            retry_s_max=5.0,
            quiet=True,
            state_log=False,
            host="host",
            pid=1000 + actor,
            started_at=iso(to_us(EPOCH + self.world.now)),
        )
        kinds = [] if calm else [kind for fault in _TROUBLE if fault in self.faults for kind in _TROUBLE[fault]]
        chance = self.often * sum(_CHANCE[fault] for fault in _TROUBLE if fault in self.faults)
        skew = self.pick(key, 3, (0, 0, 1, 2), _SKEW_S) if "skew" in self.faults else 0
        worker = Worker(
            self.world,
            config,
            self.plan,
            seed=actor,
            net=self.network(f"n{actor}"),
            trouble=self._until_calm(self.tape.stream(f"x{actor}", chance if kinds else 0.0, kinds)),
            stubborn=bool(self.pick(key, 2, (0, 1), (0, 1))),
            skew_s=_SKEW_S[skew],
            ended=self.gone,
            attempts=self.attempts,
            watch=self.watch,
            logic=self.subject.logic,
        )
        self.workers.append(worker)
        if "stop" in self.faults and not calm:
            at = self.pick(f"t{actor}", 0, (0, 1, 2, 3, 4, 5, 6, 7), _STOP_S)
            if at:
                self.world.later(_STOP_S[at], worker, worker.stop)

    def gone(self, worker: Worker, _code: int | None) -> None:
        """Somebody starts it again."""
        number = int(worker.id.partition(".")[0][1:])
        self.world.later(1.0, None, self.hire, number)

    def outages(self) -> None:
        """The store goes away, twice at most."""
        for place in range(2):
            at = self.pick("o0", 2 * place, tuple(range(30)), range(60))
            seconds = _OUTAGE_S[self.pick("o0", 2 * place + 1, (0, 1, 2, 3), _OUTAGE_S)]
            if seconds:
                self.world.later(2.0 * at, None, self.world.go_down, seconds)

    def keep_time(self) -> None:
        if not self.subject.schedulers:
            return
        schedule = Schedule(id="every", cron="* * * * *", dag="workflow:tick", misfire=Misfire.ALL)
        for number in range(self.subject.schedulers):
            self.keepers.append(
                Timekeeper(
                    self.world,
                    f"s{number}",
                    [schedule],
                    net=self.network(f"n{1000 + number}"),
                    make=self.subject.scheduler,
                )
            )

    # -- the end ---------------------------------------------------------------------------------------------------

    def look(self) -> None:
        """Is it over, or does nothing happen any more?"""
        world = self.world
        if not world.to_come and (not self.keepers or world.now > 200.0):
            counts = world.queue.counts()
            if (not counts[JobStatus.PENDING] and not counts[JobStatus.RUNNING]) or self.watch.stuck():
                world.over = True
                return
        world.later(1.0, None, self.look)

    def drain(self) -> None:
        """Whatever is still deliverable is taken by the judge, so that what is lost can be told from what waits."""
        world = self.world
        self.unfinished = [job for job in world.queue.list_jobs(limit=1_000) if job.status not in FINAL]
        self.taken: list[Job] = []
        self.ops: list[Op] = []
        judge = Producer(world, "judge")
        world.down_until = min(world.down_until, world.now)
        for _ in range(3 if self.unfinished else 1):
            answer = world.ask_now(judge, "exchange", (), 100)
            self.taken += answer[1] if isinstance(answer, tuple) else []
            if self.unfinished:
                world.now += LEASE_S + SWEEP_S + 31.0

    def look_at_what_is_left(self) -> None:
        """Each accepted job as it is at the end."""
        self.left: dict[str, Job | None] = {}
        world = self.world
        ids = {trip.asked.id for trip in world.trips if trip.verb == "enqueue" and trip.answer is True}
        for job_id in sorted(ids):
            try:
                self.left[job_id] = world.queue.get_job(job_id)
            except OrchError:
                self.left[job_id] = None

    def was_straight(self) -> bool:
        """Was every answer the expected one, up to the end? Then there is nothing to judge in the history."""
        straight = self.world.straight
        return straight is not None and not self.unfinished and straight.is_left(self.left)

    def history(self, view: str) -> History:
        """What happened, and what is there at the end."""
        if self.made is None:
            world = self.world
            ops = list(world.history(view))
            for job_id, job in self.left.items():
                at = world.stamp()
                value = None if job is None else _state(job)
                ops.append(Op("judge", "get", job_id, {}, at, at, Outcome.OK, value))
            self.made = History(ops)
        return self.made

    def spec_of_clients(self) -> Spec:
        """To a client, what it asked may take effect late: that of one that was paused, when it goes on."""
        paused_s = max((worker.paused_s for worker in self.workers), default=0.0)
        return replace(SPEC, effect_s=ON_THE_WAY_S + paused_s)

    def gravest(self, violations: Sequence[Violation]) -> Violation:
        """A job that is lost says more than the dequeues that did not find it; else what was broken first."""
        open_ids = {job_id for job_id, job in self.left.items() if job is None or job.status not in FINAL}
        lost = (one for one in violations if one.rule == "lost" and one.operations[0].job in open_ids)
        return next(lost, violations[0])

    def judge_the_end(self) -> None:
        """What no history tells."""
        jobs = [job for job in self.left.values() if job is not None]
        gone = [job_id for job_id, job in self.left.items() if job is None]
        if gone:
            raise Broken("Q1", f"job {gone[0]!r} was accepted and is not in the queue any more")
        taken = {job.id for job in self.taken}
        for job in self.unfinished:
            if job.id in taken:
                raise Broken("W5", f"job {job.id!r} could be delivered, and no worker asked for it")
            raise Broken("Q1", f"job {job.id!r} is {job.status.value} for ever: nobody can get it")
        self.watch.at_the_end(jobs)
        self.watch.look_who_is_there()
        self._ticks()

    def _ticks(self) -> None:
        """S1, S2: one job of each tick while a scheduler runs."""
        if not self.keepers:
            return
        jobs = [job for job in self.world.queue.list_jobs(limit=1_000) if job.schedule_id == "every"]
        by_minute: dict[str, list[str]] = {}
        for job in jobs:
            by_minute.setdefault(_minute_of(job), []).append(job.id)
        for minute, ids in by_minute.items():
            if len(ids) > 1:
                raise Broken("S1", f"tick {minute} of schedule 'every' made {len(ids)} jobs")
        start = datetime.fromtimestamp(EPOCH, UTC)
        for minutes in range(1, int(self.world.now // 60)):
            minute = f"{start + timedelta(minutes=minutes):%Y-%m-%dT%H:%MZ}"
            if minute not in by_minute and self.world.now > minutes * 60 + 70:
                raise Broken("S2", f"tick {minute} of schedule 'every' made no job")


_STOP_S = (0.0, 1e-9, 0.5, 2.0, 5.0, 13.0, 21.0, 34.0)


def _minute_of(job: Job) -> str:
    """The tick of a scheduled job; one without a tick in its id counts by when it was enqueued."""
    _, _, tick = job.id.rpartition("@")
    return tick if tick.endswith("Z") and "T" in tick else f"{datetime.fromisoformat(job.enqueued_at):%Y-%m-%dT%H:%MZ}"


def _state(job: Job) -> dict[str, Any]:
    return {
        "status": job.status.value,
        "attempts": job.attempts,
        "failures": job.failures,
        "crashes": job.crashes,
    }
