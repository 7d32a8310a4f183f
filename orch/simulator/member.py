"""Who lives in a world: workers and schedulers, the shipping generators under a driver of virtual time; producers.

Such a driver does what `orch.worker.driver` does with threads. Whatever a step asks of the queue goes over the world's
network; a worker may die or be stopped for a while between any two of its steps, and between any two commands of a
verb that needs several.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Generator, Iterable
from typing import TYPE_CHECKING, Any

from orch.errors import OrchError
from orch.job import Job, Lease
from orch.runner import Done, Lost, Outcome
from orch.simulator.tape import Stream
from orch.simulator.world import DOWN, LATER, QUIET, World
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
    Run,
    Say,
    Sleep,
    Start,
    Stop,
    WorkerEvent,
)

if TYPE_CHECKING:
    from orch.simulator.watch import Watch

#: What happens to a member at one of its steps: 0 is nothing, CRASH its death; else it stops for so many seconds.
CRASH = 1
STALLS_S = (0.0, 0.0, 0.001, 0.3, 1.5)  # of the one generator whose step it is, as a thread that gets no turn
PAUSES_S = {5: 9.0, 6: 20.0}  # of the whole process, as after SIGSTOP
NOW = -1.0  # what a timer that is over has as its time


class Attempt:
    """One start of a job: what a thread of a real worker would be. Times in virtual seconds; `ended` None: it runs."""

    __slots__ = ("began", "ended", "job", "key", "outcome", "seconds", "token", "wanted", "worker")

    def __init__(self, worker: Worker, run: Run, began: float, seconds: float, outcome: Outcome) -> None:
        self.worker = worker
        self.key = run.key
        self.job = run.job
        self.token = 0 if run.job.lease is None else run.job.lease.token
        self.began = began
        self.seconds = seconds
        self.outcome: Outcome | None = outcome
        self.ended: float | None = None
        self.wanted = True  # somebody waits for what comes of it


class Worker:
    """One worker: `work` and `keep_leases`, their inbox, and the attempts that run.

    `plan(job)` says how many seconds an attempt takes and what comes of it. `trouble` and `net` are streams of a tape.
    `ended` is called with the exit code when the worker has returned, and with None when it died.
    """

    def __init__(
        self,
        world: World,
        config: Config,
        plan: Callable[[Job], tuple[float, Outcome]],
        *,
        seed: float = 0.0,
        net: Stream = QUIET,
        latency: Callable[[], float] | None = None,
        trouble: Stream = QUIET,
        slowness: float = 1.0,
        stubborn: bool = False,
        skew_s: float = 0.0,
        ended: Callable[[Worker, int | None], None] | None = None,
        attempts: list[Attempt] | None = None,
        watch: Watch | None = None,
        started: Callable[[Attempt], None] | None = None,
        logic: tuple[Callable[..., Generator[Any, Any, int]], Callable[..., Generator[Any, Any, None]]] | None = None,
    ) -> None:
        self.world = world
        self.config = config
        self.id = config.worker_id
        self.plan = plan
        self.net = net
        self.latency = latency
        self.slowness = slowness
        self.stubborn = stubborn  # its jobs do not look whether anybody still wants them
        self.skew_s = skew_s
        self.gone = False
        self.paused_until = NOW
        self.paused_s = 0.0  # in all
        self.steps = 0
        self._beat_at = math.inf  # when its next heartbeat is due, in a calm world
        self._step: Any = None  # of the main generator: what it waits for
        self.state = State()
        self.inbox: list[WorkerEvent] = []
        self.parked = False
        self.mark = 0
        self.running: dict[int, Attempt] = {}
        self.attempts = [] if attempts is None else attempts
        self.hired_at = world.now
        self.gone_at: float | None = None
        self.stopped_at: float | None = None  # when it was told to stop
        self.watch = watch
        self.started = started
        self._trouble = trouble
        self._trouble_at = trouble.next
        self._ended = ended
        make_work, make_heart = logic or (work, keep_leases)
        self._main: Generator[Any, Any, int] = make_work(config, self.state, random.Random(seed))
        self._heart: Generator[Any, Any, None] = make_heart(config, self.state)
        if watch is not None:
            watch.hired(self)
        world.later(0.0, self, self._begin)

    def _begin(self) -> None:
        self._beat(next(self._heart))
        if not self.gone:
            self._play(next(self._main))

    # -- trouble ---------------------------------------------------------------------------------------------------

    def breathe(self) -> bool:
        """A command of a verb that needs several is done: the worker may be gone now."""
        self.steps += 1
        return self.steps > self._trouble_at and self._meet_trouble(None, None)

    def _meet_trouble(self, resume: Callable[[Any], None] | None, value: Any) -> bool:
        """The choice of this step is not 0. True if the step is not taken now."""
        stream = self._trouble
        stream.at = self._trouble_at
        kind = stream.take()
        self._trouble_at = stream.next
        if kind == CRASH:
            self.vanish()
            return True
        if kind in PAUSES_S:
            self.pause(PAUSES_S[kind])
        stall = STALLS_S[kind] if kind < len(STALLS_S) else 0.0
        if self.watch is not None and stall:
            self.watch.disturbed(self, stall)
        if resume is None or not kind:
            return False
        self.world.later(stall, self, resume, value)
        return True

    def pause(self, seconds: float) -> None:
        """The whole process is stopped for a while, as by SIGSTOP: afterwards it may be a zombie."""
        self.paused_until = self.world.now + seconds
        self.paused_s += seconds
        self.world.orphaned(self.id)
        if self.watch is not None:
            self.watch.disturbed(self, seconds)

    def vanish(self) -> None:
        """`kill -9`."""
        self._leave()
        if self._ended is not None:
            self._ended(self, None)

    def _leave(self) -> None:
        self.gone = True
        self.gone_at = self.world.now
        self.world.orphaned(self.id)
        for attempt in self.running.values():
            attempt.wanted = False
            attempt.outcome = None
            attempt.ended = self.world.now

    def stop(self, why: str = "SIGTERM") -> None:
        """Tell it to end."""
        if self.stopped_at is None:
            self.stopped_at = self.world.now
        if self.watch is not None:
            self.watch.told_to_stop(self)
        self.put(Stop(why))

    # -- the main generator ----------------------------------------------------------------------------------------

    def _resume(self, value: Any) -> None:
        """Give the main generator the answer it waits for."""
        self.steps += 1
        if self.steps > self._trouble_at and self._meet_trouble(self._resume, value):
            return
        watch = self.watch
        if watch is not None and value is not None:
            watch.answered(self, self._step, value)
        try:
            step = self._main.send((self.world.now, value))
        except StopIteration as end:
            self._return(end.value)
            return
        except Exception as error:
            if watch is None:
                raise
            watch.broke(self, error)
            return
        self._play(step)

    def _play(self, step: Any) -> None:
        """Do the steps of `work` until it has to wait."""
        world, send, watch = self.world, self._main.send, self.watch
        while True:
            kind = step.__class__
            value: Any = None
            if kind is Next:
                if self.inbox:
                    value, self.inbox = tuple(self.inbox), []
                elif step.until is not None and step.until <= world.now:
                    value = ()
                    if watch is not None:
                        watch.wants(self, step)
                else:
                    self._step = step
                    self.parked = True
                    self.mark += 1
                    if step.until is not None:
                        world.later(step.until - world.now, self, self._timeout, self.mark)
                    return
            elif kind is not Record:  # nobody reads the state log of a world
                if watch is not None:
                    watch.wants(self, step)
                if kind is Exchange:
                    value = world.send(self, "exchange", step.reports, step.n, self._resume)
                    if value is LATER:
                        self._step = step
                        return
                elif kind is Claim:
                    world.claim(self, step.n, step.wait_s, self._claimed)
                elif kind is Start:
                    for run in step.runs:
                        self._start(run)
                elif kind is Abandon:
                    self._abandon(step.keys)
                elif kind is not Say:
                    raise AssertionError(f"{step} is no step of work")
            self.steps += 1
            if self.steps > self._trouble_at:
                self._step = step
                if self._meet_trouble(self._resume_late, value):
                    return
            if watch is not None and value is not None:
                watch.answered(self, step, value)
            try:
                step = send((world.now, value))
            except StopIteration as end:
                self._return(end.value)
                return
            except Exception as error:
                if watch is None:
                    raise
                watch.broke(self, error)
                return

    def _resume_late(self, value: Any) -> None:
        self.steps -= 1  # this step was counted before it was put off
        self._resume(value)

    def _timeout(self, mark: int) -> None:
        if self.world.calm:
            self.world.pass_silence()
        if self.parked and self.mark == mark:
            self._wake()

    def _wake(self) -> None:
        self.parked = False
        events, self.inbox = tuple(self.inbox), []
        self._resume(events)

    def put(self, event: WorkerEvent) -> None:
        """Put an event into its inbox."""
        self.inbox.append(event)
        if self.parked:
            self._wake()

    def _claimed(self, answer: Any) -> None:
        if isinstance(answer, OrchError):
            self.put(Claimed((), answer))
        else:
            self.put(Claimed(tuple(answer)))

    def wait_is_over(self) -> bool:
        """Its claim waited in vain; True if it did nothing but claim again, and waits for nothing else."""
        before = self.steps
        self.put(Claimed(()))
        return self.parked and self.steps == before + 2 and self._step.until is None

    def _return(self, code: int) -> None:
        self.state.over = True
        if self.watch is not None:
            self.watch.returned(self, code)
        self._leave()
        if self._ended is not None:
            self._ended(self, code)

    # -- jobs ------------------------------------------------------------------------------------------------------

    def _start(self, run: Run) -> None:
        seconds, outcome = self.plan(run.job)
        attempt = Attempt(self, run, self.world.now, seconds * self.slowness, outcome)
        if self.watch is not None:
            self.watch.started(self, attempt)
        self.running[run.key] = attempt
        self.attempts.append(attempt)
        self.world.later(attempt.seconds, self, self._finish, attempt)
        if self.started is not None:
            self.started(attempt)

    def _finish(self, attempt: Attempt) -> None:
        if self.world.calm:
            self.world.pass_silence()
        del self.running[attempt.key]
        attempt.ended = self.world.now
        if not attempt.wanted and not self.stubborn:
            attempt.outcome = Lost()
        outcome = attempt.outcome
        assert outcome is not None
        self.put(Finished(attempt.key, outcome, attempt.seconds))

    def _abandon(self, keys: Iterable[int]) -> None:
        for key in keys:
            attempt = self.running.get(key)
            if attempt is not None:
                attempt.wanted = False

    # -- the heartbeat ---------------------------------------------------------------------------------------------

    def _beat(self, step: Any) -> None:
        """Do the steps of `keep_leases` until it has to wait."""
        world, watch = self.world, self.watch
        while True:
            kind = step.__class__
            value: Any = None
            if watch is not None:
                watch.beats(self, step)
            if kind is Sleep:
                if step.until > world.now:
                    if world.calm:
                        self._beat_at = step.until
                        world.silent.append(self)
                        return
                    world.later(step.until - world.now, self, self._beat_again, None)
                    return
            elif kind is Announce or kind is Extend:
                verb, asked = ("announce", step.info) if kind is Announce else ("extend", step.leases)
                value = world.send(self, verb, asked, 0, self._beat_again)
                if value is LATER:
                    return
            elif kind is Abandon:
                self._abandon(step.keys)
            elif kind is not Say and kind is not Record:
                raise AssertionError(f"{step} is no step of keep_leases")
            next_step = self._beat_on(value)
            if next_step is None:
                return
            step = next_step

    def catch_up(self) -> None:
        """In a calm world: wake the heartbeat if it should have woken before.

        It may be as late as that: nobody looks who is there, and no lease has ended (`World.keep_leases`).
        """
        world, heart = self.world, self._heart.send
        now = world.now
        if self._beat_at >= now:
            return
        step = heart((now, None))
        while step.__class__ is not Sleep:
            answer = None
            if step.__class__ is Announce:
                answer = world.send(self, "announce", step.info, 0, self._beat_again)
            elif step.__class__ is Extend:
                answer = world.send(self, "extend", step.leases, 0, self._beat_again)
                assert all(lease.__class__ is Lease for lease in answer), "a calm world loses no lease"
            step = heart((now, answer))
        self._beat_at = step.until

    def _beat_again(self, value: Any) -> None:
        step = self._beat_on(value)
        if step is not None:
            self._beat(step)

    def _beat_on(self, value: Any) -> Any:
        """The next step of the heartbeat; None if there is none now."""
        self.steps += 1
        if self.steps > self._trouble_at and self._meet_trouble(self._beat_late, value):
            return None
        if self.watch is not None:
            self.watch.beat_answered(self, value)
        try:
            return self._heart.send((self.world.now, value))
        except StopIteration:
            return None

    def _beat_late(self, value: Any) -> None:
        self.steps -= 1
        self._beat_again(value)


class Producer:
    """Enqueues jobs, each until it was told that it is in: a reply that got lost makes it ask again (Q3)."""

    def __init__(
        self, world: World, name: str, *, net: Stream = QUIET, latency: Callable[[], float] | None = None
    ) -> None:
        self.world = world
        self.id = name
        self.net = net
        self.latency = latency
        self.gone = False
        self.paused_until = NOW

    def breathe(self) -> bool:
        """Producers of a world do not die."""
        return False

    def enqueue(self, job: Job) -> None:
        """Enqueue a job; returns at once."""
        answer = self.world.send(self, "enqueue", job, 0, lambda answer: self._answered(job, answer))
        if answer is not LATER:
            self._answered(job, answer)

    def _answered(self, job: Job, answer: Any) -> None:
        if answer is DOWN:
            self.world.later(0.5, None, self.enqueue, job)
        else:
            self.world.to_come -= 1


def quiet_done(_job: Job) -> tuple[float, Outcome]:
    """The plainest plan: no time, success."""
    return 0.0, Done({})
