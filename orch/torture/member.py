"""What a member process does: work, produce, watch, or hold the store, and write down what it saw.

A worker is the shipping one: its driver, its generators, its way of running jobs. Around it are a `RecordingQueue`
that writes the history, notes of when each run began and ended, and, where it is ordered, a wrapper of the generators
that kills the process before or after a named step.
"""

from __future__ import annotations

import json
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

from orch.backends import open_shared_queue
from orch.checks import shown
from orch.clock import iso, process_clock, to_us
from orch.errors import BackendUnavailable, IllegalTransition, InvalidInput, JobNotFound, OrchError, WriteRefused
from orch.history import RecordingQueue
from orch.job import STATES, Job, JobStatus
from orch.queue import PersistentQueue
from orch.runner import Outcome
from orch.settings import Settings
from orch.torture.plan import Crash
from orch.worker import driver
from orch.worker.attempt import Attempt, RunJob
from orch.worker.command import prepare as prepare_to_run
from orch.worker.logic import keep_leases
from orch.worker.logic import work as work_steps
from orch.worker.running import in_threads
from orch.worker.steps import Claimed, Config, Step

WORK, PRODUCE, WATCH, HOLD = "work", "produce", "watch", "hold"
WATCH_S = 0.2  # how often the queue is looked at
POISON = "workflow:crash"
UNREACHABLE = 2  # the exit code of one that could not open its queue, as a worker's
OPEN_S, OPEN_PAUSE_S = 20.0, 0.1  # how long a member tries to open its queue, and how often

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Orders:
    """What one member is to do: a life of a lane. Its files are `<folder>/<lane>.<life>.{ops,notes}.jsonl`."""

    role: str
    lane: str
    life: int
    url: str
    folder: str
    prefix: str
    lease_s: float
    slots: int = 1
    crash: Crash | None = None
    queue: str | None = None
    per_second: float = 0.0
    long_jobs: bool = False
    poison_jobs: bool = False
    delayed_jobs: bool = True
    seed: int = 0
    seconds: float = 0.0

    @property
    def name(self) -> str:
        """The lane and which of its lives this is: the client in the history."""
        return f"{self.lane}.{self.life}"

    @property
    def history(self) -> Path:
        """Where the member's history is written."""
        return Path(self.folder) / f"{self.name}.ops.jsonl"

    @property
    def notes(self) -> Path:
        """Where the member notes when it was ready and what it ran."""
        return Path(self.folder) / f"{self.name}.notes.jsonl"

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Orders:
        """The inverse of `to_dict`."""
        crash = data["crash"]
        return cls(**{**data, "crash": None if crash is None else Crash(*crash)})


class Notes:
    """A file of JSON lines with instants of the monotonic clock, which the processes of a machine share."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def add(self, what: str, **more: Any) -> None:
        """Write a line; it outlives `kill -9`."""
        line = json.dumps({"at_ns": time.monotonic_ns(), "what": what, **more})
        os.write(self._file, line.encode() + b"\n")


def prepare(url: str, prefix: str, queue: str | None) -> None:
    """Import what members need, so that they need not: opening the queue once imports its backend."""
    with suppress(OrchError):
        open_member_queue(url, Settings(key_prefix=prefix), queue).close()


def settings_of(orders: Orders) -> Settings:
    """The settings of a member's queue and worker."""
    folder = Path(orders.folder)
    return Settings(
        key_prefix=orders.prefix,
        lease_s=orders.lease_s,
        grace_s=5.0,
        events_path=str(folder / "events.jsonl"),
        state_path=str(folder / "state.jsonl"),
    )


def open_member_queue(url: str, settings: Settings, factory: str | None) -> PersistentQueue:
    """The queue to torture: orch's own, or what a factory `module:name` makes of (url, settings)."""
    if factory is None:
        return open_shared_queue(url, settings=settings)
    module, _, name = factory.partition(":")
    try:
        make = getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise InvalidInput(f"there is no queue factory {shown(factory)}: {error}") from None
    queue: PersistentQueue = make(url, settings)
    return queue


def follow(orders: Orders) -> int:
    """Do what is ordered, in a process of its own; returns the exit code."""
    notes = Notes(orders.notes)
    stopped = Stopped()
    if orders.role == HOLD:
        return hold(orders, notes, stopped)
    settings = settings_of(orders)
    inner = _opened(orders, settings, notes, stopped)
    if inner is None:
        return UNREACHABLE
    if orders.role == WATCH:
        return watch(inner, notes, stopped)
    queue = RecordingQueue(inner, client=orders.name, path=orders.history)
    notes.add("ready")
    try:
        if orders.role == WORK:
            stopped.hand_over()
            code = work(orders, queue, settings, notes)
        else:
            code = produce(orders, queue, stopped)
    finally:
        if queue.failure is not None:
            notes.add("history failed", error=str(queue.failure))
    notes.add("over", code=code)
    return code


def _opened(orders: Orders, settings: Settings, notes: Notes, stopped: Stopped) -> PersistentQueue | None:
    """The member's queue; tried again for a while, as a supervisor would start a worker again that cannot begin."""
    patient_until = time.monotonic() + OPEN_S
    while True:
        try:
            return open_member_queue(orders.url, settings, orders.queue)
        except OrchError as error:
            if (
                stopped.yet
                or time.monotonic() > patient_until
                or not isinstance(error, BackendUnavailable | WriteRefused)
            ):
                notes.add("unreachable", error=str(error))
                return None
        stopped.sleep_until(time.monotonic() + OPEN_PAUSE_S)


# -- a worker ------------------------------------------------------------------------------------------------------


def work(orders: Orders, queue: PersistentQueue, settings: Settings, notes: Notes) -> int:
    """Be a worker until SIGTERM."""
    prepare_to_run(settings)
    config = Config(
        worker_id=orders.lane,  # the same in each life: a restarted worker has the id of the dead one
        slots=orders.slots,
        lease_s=orders.lease_s,
        grace_s=settings.grace_s,
        poll_s=0.05,
        retry_s=0.05,
        retry_s_max=1.0,
        quiet=True,
        pid=os.getpid(),
    )
    if orders.crash is not None:
        wrap_worker(orders.crash, notes)
    run = noted(in_threads(queue, settings), notes)
    return driver.run_worker(queue, config, run, state_path=settings.state_path, signals=True)


def noted(run: RunJob, notes: Notes) -> RunJob:
    """Note when each run begins and ends."""

    def run_it(job: Job, attempt: Attempt) -> Outcome:
        token = None if job.lease is None else job.lease.token
        about = {"job": job.id, "attempt": job.attempts, "token": token}
        notes.add("begin", **about, path=job.dag_path)
        outcome = run(job, attempt)
        notes.add("end", **about, outcome=type(outcome).__name__)
        return outcome

    return run_it


def wrap_worker(crash: Crash, notes: Notes) -> None:
    """From now on, workers of this process die at a step. Only the module that drives them is told."""
    die = Death(crash, lambda: end_here(crash, notes))
    for name, generator in (("work", work_steps), ("keep_leases", keep_leases)):
        setattr(driver, name, die.wrapped(generator))


def end_here(crash: Crash, notes: Notes) -> None:
    """`kill -9` of this process."""
    notes.add("crash", step=str(crash))
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60.0)  # the signal comes at once; nothing else may happen meanwhile


class Death:
    """Counts the steps of a worker's generators and calls `kill` before or after the one that was ordered."""

    def __init__(self, crash: Crash, kill: Callable[[], None]) -> None:
        self.crash = crash
        self.kill = kill
        self.seen = 0

    def wrapped(self, generator: Callable[..., Generator[Step, Any, _T]]) -> Callable[..., Generator[Step, Any, _T]]:
        """A generator function whose generators are watched."""
        return lambda *given: self.watch(generator(*given))

    def watch(self, steps: Generator[Step, Any, _T]) -> Generator[Step, Any, _T]:
        """The same steps and answers."""
        answer: Any = None
        while True:
            try:
                step = steps.send(answer)
            except StopIteration as end:
                result: _T = end.value
                return result
            mine = type(step).__name__ == self.crash.step
            if mine and not self.crash.after:
                self._count()
            answer = yield step
            if (mine and self.crash.after) or (self.crash.step == "Take" and brought_jobs(answer)):
                self._count()

    def _count(self) -> None:
        self.seen += 1
        if self.seen == self.crash.n:
            self.kill()


def brought_jobs(answer: Any) -> bool:
    """Whether the answer to a step delivered jobs, which nobody has written down yet."""
    match answer:
        case (_, (_, [_, *_])):  # an exchange: results, jobs
            return True
        case (_, (*events,)):
            return any(isinstance(event, Claimed) and event.jobs for event in events)
    return False


# -- a producer ----------------------------------------------------------------------------------------------------


def produce(orders: Orders, queue: PersistentQueue, stopped: Stopped) -> int:
    """Enqueue jobs at a rate until SIGTERM, and act as an operator now and then.

    As any careful client: what was not acknowledged is enqueued again, under the same id.
    """
    rng = random.Random(f"{orders.seed}/{orders.name}")
    known: list[str] = []
    number, due = 0, time.monotonic()
    while not stopped.yet:
        due = max(due + 1 / orders.per_second, time.monotonic() - 1.0)  # what an outage delayed is not caught up
        stopped.sleep_until(due)
        size = rng.choice((2, 3, 5)) if rng.random() < 0.1 else 1
        jobs = [a_job(orders, number + i, rng) for i in range(size)]
        number += size
        while not stopped.yet:
            try:
                queue.enqueue(jobs[0]) if size == 1 else queue.enqueue_many(jobs)
            except (BackendUnavailable, WriteRefused):
                stopped.sleep_until(time.monotonic() + rng.uniform(0.05, 0.3))
            else:
                known += [job.id for job in jobs]
                break
        if known and rng.random() < 0.15:
            with suppress(BackendUnavailable, WriteRefused, IllegalTransition, JobNotFound):  # it is written down
                act(queue, rng.choice(known), rng)
    queue.close()
    return 0


class Stopped:
    """Whether SIGTERM came, also while this process began: it was held back until now."""

    def __init__(self) -> None:
        self.yet = False
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})

    def hand_over(self) -> None:
        """Let somebody else handle SIGTERM, who is told when he can be of one that came before that."""
        threading.Thread(target=self._pass_on, daemon=True).start()

    def _pass_on(self) -> None:
        while signal.getsignal(signal.SIGTERM) == self._on_signal:
            time.sleep(0.005)
        if self.yet:
            os.kill(os.getpid(), signal.SIGTERM)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self.yet = True

    def sleep_until(self, instant: float) -> None:
        """Sleep until an instant of the monotonic clock, or until it is stopped."""
        while not self.yet and (left := instant - time.monotonic()) > 0:
            time.sleep(min(left, 0.05))


def a_job(orders: Orders, number: int, rng: random.Random) -> Job:
    """One job: most are quick, some fail, some are slow; others kill their worker or outlast their lease."""
    path, params = "workflow:sleep", {"seconds": round(rng.uniform(0.0, 0.04), 3)}
    draw = rng.random()
    if draw < 0.12:
        path, params = "workflow:fail_n_times", {"n": rng.choice((1, 1, 2))}
    elif draw < 0.17:
        params = {"seconds": round(rng.uniform(0.2, 1.0), 3)}
    elif draw < 0.20 and orders.long_jobs:
        params = {"seconds": round(orders.lease_s * rng.uniform(1.2, 2.5), 3)}
    elif draw < 0.21 and orders.poison_jobs:
        path, params = POISON, {"n": 1_000_000}
    delay_s = rng.uniform(0.2, 2.0) if rng.random() < 0.1 and orders.delayed_jobs else 0.0
    later = iso(to_us(process_clock() + delay_s)) if delay_s else None
    return Job.new(
        path,
        id=f"{orders.name}-{number}",
        params=params,
        priority=rng.choice((-5, 5, 7)) if rng.random() < 0.15 else 0,
        max_retries=rng.choice((0, 1, 2)),
        not_before=later,
    )


def act(queue: PersistentQueue, job_id: str, rng: random.Random) -> None:
    """One act of an operator."""
    draw = rng.random()
    if draw < 0.5:
        queue.get_job(job_id)
    elif draw < 0.65:
        queue.list_jobs(rng.choice((None, JobStatus.PENDING, JobStatus.SUCCESS)), limit=10)
    elif draw < 0.8:
        queue.counts()
    elif draw < 0.9:
        queue.cancel(job_id)
    else:
        queue.requeue(job_id)


# -- one that watches ------------------------------------------------------------------------------------------------


def watch(queue: PersistentQueue, notes: Notes, stopped: Stopped) -> int:
    """Note the counts of the queue, again and again: so nobody else need wait for a store in trouble."""
    while not stopped.yet:
        with suppress(OrchError):
            counts = queue.counts()
            notes.add("counts", counts=[counts[status] for status in STATES])
        stopped.sleep_until(time.monotonic() + WATCH_S)
    queue.close()
    return 0


# -- one that holds the store ----------------------------------------------------------------------------------------


def hold(orders: Orders, notes: Notes, stopped: Stopped) -> int:
    """Keep the SQLite file at `url` locked for so many seconds: nobody can write, as in an outage."""
    import sqlite3

    db = sqlite3.connect(orders.url, timeout=60.0, isolation_level=None)
    try:
        db.execute("BEGIN IMMEDIATE")
        notes.add("held")
        stopped.sleep_until(time.monotonic() + orders.seconds)
        db.execute("ROLLBACK")
    finally:
        db.close()
    return 0
