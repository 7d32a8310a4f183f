"""Whole workers on virtual time, stopped for ever between any two of their steps.

A world is several workers, the shipping generators, on one MemoryQueue with a FakeClock. Everything that a driver would
do with threads is an entry of one agenda. A crash is a generator that nobody resumes; a reply can get lost after its
effect. A seed gives one world, so a failure names the seed that replays it.
"""

import heapq
import itertools
import os
import random
from collections import Counter

import pytest

from orch import Job, JobStatus, MemoryQueue
from orch.errors import BackendUnavailable
from orch.runner import Dead, Done, Lost, Retry
from orch.testing import FakeClock
from orch.worker import Config, State, keep_leases, work
from orch.worker.steps import (
    Abandon,
    Announce,
    Claim,
    Claimed,
    Exchange,
    Extend,
    Finished,
    Next,
    Record,
    Say,
    Sleep,
    Start,
    Stop,
)

WORLDS = {"quick": 30, "ci": 400, "deep": 20_000}[os.environ.get("HYPOTHESIS_PROFILE", "quick")]
LEASE_S = 6.0
GRACE_S = 3.0
MAX_CRASHES = 2
FAULTY_S = 60.0  # faults come in this time; then everything must come to an end
LIMIT_S = 900.0
DOWN = BackendUnavailable("cut")


class Attempt:
    """One start of a job: what a thread of a real worker would be."""

    def __init__(self, worker, run, now):
        self.worker, self.run, self.job, self.began = worker, run, run.job, now
        self.active = True  # its outcome is waited for, and its process lives


class World:
    """Workers, jobs, faults and the agenda; what must hold is asserted as it happens."""

    def __init__(self, seed, faults):
        self.rng = random.Random(f"{seed} {sorted(faults)}")
        self.faults = frozenset(faults)
        self.clock = FakeClock(1_000.0)
        self.queue = MemoryQueue(lease_s=LEASE_S, max_crashes=MAX_CRASHES, clock=self.clock)
        self.agenda = []
        self.order = itertools.count()
        self.workers = []
        self.attempts = []
        self.started = Counter()  # (job id, token)
        self.returned = {}  # job id -> tokens under which it was given back
        self.outage_until = 0.0
        self.changed = False  # something in the queue, since the last check
        self.to_come = self.rng.randint(1, 12)
        for number in range(self.to_come):
            delay = self.rng.choice([0.0, self.rng.uniform(0.0, 20.0)])
            self.later(delay, lambda number=number: self.enqueue(number))
        for _ in range(self.rng.randint(1, 3)):
            self.hire()

    def enqueue(self, number):
        self.to_come -= 1
        self.queue.enqueue(
            Job.new(
                f"workflow:{number}",
                id=f"j{number}",
                max_retries=self.rng.randint(0, 2),
                priority=self.rng.choice([0, 0, 5]),
                timeout_s=self.rng.choice([None, None, 4.0]),
                clock=self.clock,
                rng=self.rng,
            )
        )

    # -- time ------------------------------------------------------------------------------------------------------

    def later(self, delay, act, worker=None):
        heapq.heappush(self.agenda, (self.clock.now + delay, self.rng.random(), next(self.order), worker, act))

    def latency(self):
        return self.rng.choice([0.0, 0.0, 0.001, 0.05])

    def faulty(self):
        return self.clock.now < 1_000.0 + FAULTY_S

    def happens(self, fault, chance):
        return fault in self.faults and self.faulty() and self.rng.random() < chance

    def hire(self):
        self.workers.append(Worker(self, f"w{len(self.workers)}"))

    def play(self):
        while self.agenda and not self.over():
            at, _, _, worker, act = heapq.heappop(self.agenda)
            if worker is not None and worker.gone:
                continue
            if worker is not None and at < worker.paused_until:
                self.agenda_again(worker, act)
                continue
            self.clock.now = max(self.clock.now, at)
            assert self.clock.now < 1_000.0 + LIMIT_S, f"not final: {self.unfinished()}"
            act()
            if self.changed:
                self.changed = False
                self.check()
            if all(worker.gone for worker in self.workers):
                self.hire()
        self.check_the_end()

    def agenda_again(self, worker, act):
        heapq.heappush(self.agenda, (worker.paused_until, self.rng.random(), next(self.order), worker, act))

    # -- what must hold --------------------------------------------------------------------------------------------

    def unfinished(self):
        return [job for job in self.queue.list_jobs() if job.status in (JobStatus.PENDING, JobStatus.RUNNING)]

    def over(self):
        return not self.to_come and not self.unfinished()

    def check(self):
        if "reply" in self.faults or "pause" in self.faults:
            return  # a lost reply is a lease that nobody knows of
        held = Counter(job.lease.worker_id for job in self.queue.list_jobs(JobStatus.RUNNING))
        for worker in self.workers:
            assert held[worker.id] <= worker.config.slots, f"W7: {worker.id} holds {held[worker.id]}"

    def check_the_end(self):
        for job in self.queue.list_jobs():
            given_back = len(self.returned.get(job.id, ()))
            bound = 1 + job.max_retries + MAX_CRASHES + given_back
            assert job.attempts <= bound, f"W1: {job.id} was delivered {job.attempts} times, bound {bound}"
            runs = sum(1 for job_id, _ in self.started if job_id == job.id)
            assert runs <= job.attempts, f"W1: {job.id} ran {runs} times in {job.attempts} deliveries"

    def overlapping(self, job):
        return [attempt for attempt in self.attempts if attempt.active and attempt.job.id == job.id]

    # -- the queue, seen through a bad line ------------------------------------------------------------------------

    def call(self, verb):
        if self.happens("outage", 0.01):
            self.outage_until = self.clock.now + self.rng.uniform(1.0, 20.0)
        if self.clock.now < self.outage_until or self.happens("request", 0.05):
            return DOWN
        answer = verb()
        self.changed = True
        return DOWN if self.happens("reply", 0.05) else answer


class Worker:
    """The driver of one worker in a world."""

    def __init__(self, world, name):
        self.world = world
        self.id = name
        self.config = Config(
            worker_id=name,
            slots=world.rng.randint(1, 3),
            lease_s=LEASE_S,
            grace_s=GRACE_S,
            wait_s=2.0,
            retry_s=world.rng.choice([0.0, 1.0]),
            retry_s_max=5.0,
        )
        self.state = State()
        self.gone = False
        self.paused_until = 0.0
        self.inbox = []
        self.waits = None  # a mark of the wait that is under way
        self.attempts = {}
        self.tokens = {}
        self.stopped_at = None
        self.told_lost = set()
        rng = random.Random(world.rng.random())
        self.main = work(self.config, self.state, rng)
        self.heart = keep_leases(self.config, self.state)
        self.resume(self.main, None)
        self.resume(self.heart, None)
        if "stop" in world.faults:
            world.later(world.rng.uniform(0.0, FAULTY_S), lambda: self.put(Stop("SIGTERM")), self)

    def resume(self, steps, answer):
        """Advance a generator, later do what it asks for. Between any two of these the worker may be gone."""
        if self.world.happens("crash", 0.004):
            self.vanish()
            return
        if self.world.happens("pause", 0.002):
            self.paused_until = self.world.clock.now + self.world.rng.uniform(0.0, 3 * LEASE_S)
        try:
            step = steps.send(None if answer is None else (self.world.clock.now, answer[0]))
        except StopIteration as end:
            if steps is self.main:
                self.ended(end.value)
            return
        self.watch(steps, step)
        self.world.later(self.world.latency(), lambda: self.do(steps, step), self)

    def answer(self, steps, value=None, delay=0.0):
        self.world.later(delay + self.world.latency(), lambda: self.resume(steps, (value,)), self)

    def vanish(self):
        """`kill -9`, and a new worker some time later."""
        self.leave()
        self.world.later(self.world.rng.uniform(0.0, 5.0), self.world.hire)

    def leave(self):
        self.gone = True
        for attempt in self.attempts.values():
            attempt.active = False

    def ended(self, code):
        world = self.world
        calm = not world.faults & {"outage", "request", "reply", "pause"}
        assert self.stopped_at is not None, "a worker without an end ended"
        if calm:
            late = world.clock.now - self.stopped_at
            assert code == 0, f"W4: {self.id} ended with {code}"
            assert late <= GRACE_S + 4.0, f"W4: {self.id} took {late} s to end"
            held = [job.id for job in world.queue.list_jobs(JobStatus.RUNNING) if job.lease.worker_id == self.id]
            assert not held, f"W4: {self.id} ended and still holds {held}"
        assert code == 0 or self.state.unreported or self.state.reserved, "W5"
        self.leave()
        world.later(world.rng.uniform(0.0, 5.0), world.hire)

    def watch(self, steps, step):
        """What a worker must never want."""
        if isinstance(step, Exchange):
            tokens = {report.lease.token for report in step.reports}
            assert not tokens & self.told_lost, f"W2: {self.id} reports what it knows to be lost"
        if self.stopped_at is not None:
            assert not isinstance(step, Claim | Start), f"W4: {self.id} wants {step} after its stop"
            assert not isinstance(step, Exchange) or step.n == 0, f"W4: {self.id} claims after its stop"
        if isinstance(step, Abandon) and steps is self.heart:
            self.told_lost |= {self.tokens[key] for key in step.keys}

    def do(self, steps, step):
        queue, world = self.world.queue, self.world
        match step:
            case Say() | Record():
                self.answer(steps)
            case Next():
                self.wait(step.until)
            case Exchange():
                self.answer(steps, world.call(lambda: self.exchange(step)))
            case Claim():
                self.claim(step, world.clock.now + step.wait_s)
                self.answer(steps)
            case Start():
                for run in step.runs:
                    self.start(run)
                self.answer(steps)
            case Abandon():
                for key in step.keys:
                    if key in self.attempts:
                        self.attempts[key].active = False
                self.answer(steps)
            case Sleep():
                self.answer(steps, delay=max(0.0, step.until - world.clock.now))
            case Extend():
                self.answer(steps, world.call(lambda: queue.extend_many(step.leases, LEASE_S)))
            case Announce():
                self.answer(steps, world.call(lambda: queue.announce(step.info)))

    def exchange(self, step):
        results, jobs = self.world.queue.exchange(step.reports, step.n, self.id, lease_s=LEASE_S)
        for report, result in zip(step.reports, results, strict=True):
            if report.status is JobStatus.PENDING and isinstance(result, Job):
                self.world.returned.setdefault(report.job_id, set()).add(report.lease.token)
        return results, jobs

    def wait(self, until):
        if self.inbox or (until is not None and until <= self.world.clock.now):
            self.wake()
            return
        mark = self.waits = object()
        if until is not None:
            self.world.later(until - self.world.clock.now, lambda: self.waits is mark and self.wake(), self)

    def wake(self):
        self.waits = None
        events, self.inbox = tuple(self.inbox), []
        if self.stopped_at is None and any(isinstance(event, Stop) for event in events):
            self.stopped_at = self.world.clock.now
        self.resume(self.main, (events,))

    def put(self, event):
        self.inbox.append(event)
        if self.waits is not None:
            self.wake()

    def claim(self, step, until):
        answer = self.world.call(lambda: self.world.queue.dequeue_many(step.n, self.id, lease_s=LEASE_S))
        if answer is DOWN:
            self.world.later(self.world.latency(), lambda: self.put(Claimed((), DOWN)), self)
        elif answer or self.world.clock.now >= until:
            self.world.later(self.world.latency(), lambda: self.put(Claimed(tuple(answer))), self)
        else:
            self.world.later(0.5, lambda: self.claim(step, until), self)

    def start(self, run):
        world = self.world
        attempt = Attempt(self, run, world.clock.now)
        world.started[run.job.id, run.job.lease.token] += 1
        assert world.started[run.job.id, run.job.lease.token] == 1, f"W3: {run.job.id} was started again"
        if not world.faults & {"pause", "outage", "request", "reply"}:
            assert not world.overlapping(run.job), f"W2: {run.job.id} runs twice at once"
        world.attempts.append(attempt)
        self.attempts[run.key] = attempt
        self.tokens[run.key] = run.job.lease.token
        assert len(self.attempts) <= self.config.slots, f"W7: {self.id} has no slot for {run.job.id}"
        seconds = world.rng.choice([0.0, 0.01, 0.5, 3.0, 3 * LEASE_S, 40.0])
        outcome = world.rng.choice([Done({}), Done({"n": 1}), Retry("boom"), Dead("bad")])
        world.later(seconds, lambda: self.finish(run.key, outcome, seconds), self)

    def finish(self, key, outcome, seconds):
        attempt = self.attempts.pop(key)
        if not attempt.active and self.world.rng.random() < 0.5:
            outcome = Lost()  # it looked at `current().lost()`; the others just go on to their end
        self.put(Finished(key, outcome, seconds))
        attempt.active = False


def play(seed, *faults):
    world = World(seed, faults)
    try:
        world.play()
    except AssertionError as error:
        raise AssertionError(f"{error} [replay: play({seed!r}, {', '.join(map(repr, faults))})]") from error
    finally:
        world.queue.close()
    return world


@pytest.mark.promise("W2", "W7")
def test_without_faults_no_run_overlaps_and_nothing_is_claimed_too_early():
    for seed in range(WORLDS):
        play(seed)


@pytest.mark.promise("W1", "W2", "W7")
def test_a_crash_at_any_step_loses_no_job_and_runs_none_too_often():
    crashes = 0
    for seed in range(WORLDS):
        crashes += len(play(seed, "crash").workers) - 1
    assert crashes > WORLDS / 4, "the worlds hardly crash anybody"


@pytest.mark.promise("W1", "W4")
def test_a_stop_at_any_step_gives_everything_back():
    returned = 0
    for seed in range(WORLDS):
        returned += len(play(seed, "stop", "crash").returned)
    assert returned > WORLDS / 10, "the worlds hardly give anything back"


@pytest.mark.promise("W3", "W5")
def test_lost_requests_and_outages_delay_and_never_repeat_work():
    for seed in range(WORLDS):
        play(seed, "request", "outage")


@pytest.mark.promise("W1", "W2", "W3", "W5")
def test_everything_at_once_still_comes_to_an_end():
    for seed in range(WORLDS):
        play(seed, "crash", "stop", "pause", "request", "reply", "outage")


def test_a_seed_gives_one_world():
    first, second = (play(3, "crash", "stop", "reply") for _ in range(2))
    assert [(a.worker.id, a.job.id, a.began) for a in first.attempts] == [
        (a.worker.id, a.job.id, a.began) for a in second.attempts
    ]
