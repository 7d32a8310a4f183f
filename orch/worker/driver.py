"""Runs a worker for real: its generators on threads, its steps on a queue, signals as events, lines on stdout.

The main thread advances `work`, another one `keep_leases`; a third waits inside claims, and each slot is a thread.
They meet in one inbox. A lock is held only while a generator is advanced, never during a step.
"""

from __future__ import annotations

import contextlib
import logging
import os
import random
import signal
import socket
import threading
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from queue import Empty, SimpleQueue
from types import FrameType
from typing import Any, TypeVar

from orch.clock import iso, process_clock, to_us
from orch.errors import BackendUnavailable, OrchError
from orch.events import log_events
from orch.queue import PersistentQueue
from orch.runner import Retry
from orch.worker.attempt import Attempt, RunJob
from orch.worker.logic import keep_leases, said, work
from orch.worker.steps import (
    Abandon,
    Announce,
    Claim,
    Claimed,
    Config,
    Exchange,
    Extend,
    Finished,
    Next,
    Record,
    Run,
    Say,
    Sleep,
    Start,
    State,
    Step,
    Stop,
    WorkerEvent,
)

WAIT_S_MAX = 3600.0  # one wait of a thread; longer ones are several
JOIN_S: float | None = 1.0  # for each thread of an ended worker; one that hangs in a call of the queue is left behind

log = logging.getLogger("orch.worker")

_T = TypeVar("_T")


def run_worker(
    queue: PersistentQueue,
    config: Config,
    run: RunJob,
    *,
    rng: random.Random | None = None,
    state_path: str | os.PathLike[str] | None = None,
    signals: bool = False,
    stopper: Callable[[Callable[[str], None]], None] | None = None,
    hello: str | None = None,
) -> int:
    """Work until the worker ends; returns its exit code (see `work`).

    `state_path` is the state log, None for none. With `signals`, SIGTERM and SIGINT stop the worker and a second one
    ends the process at once; only the main thread can ask for that. `stopper` is handed a function that stops it, too,
    with the reason as a text. `hello` is the first line that is printed, once all that holds.
    """
    driver = _Driver(queue, config, run, random.Random() if rng is None else rng, state_path)
    if stopper is not None:
        stopper(driver.stop)
    with driver.signals() if signals else contextlib.nullcontext():
        if hello is not None:
            driver.lines.append(hello)
        return driver.serve()


class _Broken:
    """A fault of our own in another thread; the main thread raises it."""

    def __init__(self, error: BaseException) -> None:
        self.error = error


class _Driver:
    def __init__(
        self,
        queue: PersistentQueue,
        config: Config,
        run: RunJob,
        rng: random.Random,
        state_path: str | os.PathLike[str] | None,
    ) -> None:
        self.queue = queue
        self.config = config
        self.run = run
        self.rng = rng
        self.state_path = None if state_path is None else Path(state_path)
        self.state = State()
        self.lock = threading.Lock()
        self.inbox: SimpleQueue[WorkerEvent | _Broken] = SimpleQueue()
        self.todo: SimpleQueue[Attempt | None] = SimpleQueue()
        self.claims: SimpleQueue[Claim | None] = SimpleQueue()
        self.attempts: dict[int, Attempt] = {}
        self.slots: list[threading.Thread] = []
        self.lines: list[str] = []
        self.ending = threading.Event()

    # -- the threads -----------------------------------------------------------------------------------------------

    def serve(self) -> int:
        """Drive `work` in this thread until it returns."""
        beat = self._thread("beat", self._beat)
        claimer = self._thread("claim", self._claim)
        try:
            return self._advance(work(self.config, self.state, self.rng), self._main_step)
        finally:
            self.ending.set()
            self.claims.put(None)
            for _ in self.slots:
                self.todo.put(None)
            self._flush()
            if not self.attempts:
                for thread in (beat, claimer, *self.slots):
                    thread.join(JOIN_S)
            # Else threads go on with what was given back: the sooner the process ends, the better.

    def _advance(self, steps: Generator[Step, Any, _T], act: Callable[[Step], Any]) -> _T:
        answer = None
        while True:
            with self.lock:
                try:
                    step = steps.send(answer)
                except StopIteration as end:
                    code: _T = end.value
                    return code
            value = act(step)
            answer = time.monotonic(), value

    def _thread(self, name: str, target: Callable[[], None]) -> threading.Thread:
        thread = threading.Thread(target=target, name=f"orch-{name}", daemon=True)
        thread.start()
        return thread

    def _beat(self) -> None:
        try:
            self._advance(keep_leases(self.config, self.state), self._beat_step)
        except _Ended:
            pass
        except BaseException as error:
            self.inbox.put(_Broken(error))

    def _claim(self) -> None:
        while (claim := self.claims.get()) is not None:
            try:
                jobs = self.queue.dequeue_many(
                    claim.n, self.config.worker_id, lease_s=self.config.lease_s, wait_s=claim.wait_s
                )
            except BaseException as error:
                self.inbox.put(Claimed((), _as_orch(error)))
            else:
                self.inbox.put(Claimed(tuple(jobs)))

    def _slot(self) -> None:
        while (attempt := self.todo.get()) is not None:
            started = time.monotonic()
            try:
                outcome = self.run(attempt.job, attempt)
            except BaseException as error:  # a slot outlives whatever a workflow does (W3)
                outcome = Retry(f"{type(error).__name__}: {said(error)}")
            self.inbox.put(Finished(attempt.key, outcome, time.monotonic() - started))

    # -- the steps -------------------------------------------------------------------------------------------------

    def _main_step(self, step: Step) -> Any:
        match step:
            case Say():
                self._say(step)
            case Next():
                return self._next(step.until)
            case Exchange():
                self._flush()
                return self._answer(
                    lambda: self.queue.exchange(
                        step.reports, step.n, self.config.worker_id, lease_s=self.config.lease_s
                    )
                )
            case Start():
                self._start(step.runs)
            case Record():
                self._record(step)
            case Claim():
                self.claims.put(step)
            case Abandon():
                self._abandon(step)
            case _:
                raise AssertionError(f"{step} is no step of work")
        return None

    def _beat_step(self, step: Step) -> Any:
        match step:
            case Sleep():
                while not self.ending.is_set() and (left := step.until - time.monotonic()) > 0:
                    self.ending.wait(min(left, WAIT_S_MAX))
                if self.ending.is_set():
                    raise _Ended
            case Extend():
                return self._answer(lambda: self.queue.extend_many(step.leases, self.config.lease_s))
            case Announce():
                return self._answer(lambda: self.queue.announce(step.info))
            case Say():
                self._say(step)
            case Record():
                self._record(step)
            case Abandon():
                self._abandon(step)
            case _:
                raise AssertionError(f"{step} is no step of keep_leases")
        return None

    def _answer(self, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except Exception as error:
            return _as_orch(error)

    def _next(self, until: float | None) -> tuple[WorkerEvent, ...]:
        self._flush()
        events: list[WorkerEvent | _Broken] = []
        with contextlib.suppress(Empty):
            wait = WAIT_S_MAX if until is None else min(until - time.monotonic(), WAIT_S_MAX)
            events.append(self.inbox.get(timeout=wait) if wait > 0 else self.inbox.get_nowait())
            while True:
                events.append(self.inbox.get_nowait())
        found: list[WorkerEvent] = []
        for event in events:
            if isinstance(event, _Broken):
                raise event.error
            if isinstance(event, Finished):
                self.attempts.pop(event.key, None)
            found.append(event)
        return tuple(found)

    def _start(self, runs: tuple[Run, ...]) -> None:
        self._flush()
        for run in runs:
            self.attempts[run.key] = Attempt(run.key, run.job)
        while len(self.slots) < len(self.attempts):
            self.slots.append(self._thread(f"slot-{len(self.slots)}", self._slot))
        for run in runs:
            self.todo.put(self.attempts[run.key])

    def _abandon(self, step: Abandon) -> None:
        for key in step.keys:
            attempt = self.attempts.get(key)
            if attempt is not None:
                attempt.abandon()

    def _record(self, step: Record) -> None:
        if self.state_path is not None:
            timestamp = iso(to_us(process_clock()))
            log_events([{**event, "timestamp": timestamp} for event in step.events], self.state_path)

    def _say(self, step: Say) -> None:
        if step.level <= logging.INFO:
            self.lines.append(step.text)
        if log.isEnabledFor(step.level):
            lease = None if step.job is None else step.job.lease
            about = {
                "job_id": None if step.job is None else step.job.id,
                "token": None if lease is None else lease.token,
            }
            log.log(step.level, "%s", step.text, extra=about)

    def _flush(self) -> None:
        if self.lines:
            text = "\n".join(self.lines)
            self.lines.clear()
            with contextlib.suppress(OSError, ValueError):  # a closed stdout, or one that knows no such letter (W3)
                print(text, flush=True)

    # -- signals ---------------------------------------------------------------------------------------------------

    def stop(self, why: str) -> None:
        """Stop the worker as a signal does; callable from any thread."""
        self.inbox.put(Stop(why))

    @contextlib.contextmanager
    def signals(self) -> Iterator[None]:
        """While this is open, SIGTERM and SIGINT stop the worker; a second one ends the process.

        A handler in Python would run in the main thread only, when that next looks; one that came just before a long
        wait would be seen after it. The byte that the interpreter writes for each signal wakes a thread at once.
        """
        receiver, sender = socket.socketpair()
        sender.setblocking(False)
        before = {number: signal.signal(number, _heard) for number in (signal.SIGTERM, signal.SIGINT)}
        fd = signal.set_wakeup_fd(sender.fileno(), warn_on_full_buffer=False)
        watcher = self._thread("signals", lambda: self._watch_signals(receiver))
        try:
            yield
        finally:
            signal.set_wakeup_fd(fd)
            for number, handler in before.items():
                signal.signal(number, handler)
            sender.close()
            watcher.join()
            receiver.close()

    def _watch_signals(self, receiver: socket.socket) -> None:
        stopped = False
        while numbers := receiver.recv(64):
            for number in numbers:
                if number not in (signal.SIGTERM, signal.SIGINT):
                    continue
                name = signal.Signals(number).name
                if stopped:
                    text = (
                        f"[{self.config.worker_id}] {name} again: ended at once; running jobs are left to their leases"
                    )
                    with contextlib.suppress(OSError):
                        os.write(2, f"{text}\n".encode("utf-8", "backslashreplace"))
                    os._exit(128 + number)
                stopped = True
                self.stop(name)


def _heard(_number: int, _frame: FrameType | None) -> None:
    """Nothing: the thread that watches has the signal already. Without a handler the process would end."""


class _Ended(Exception):
    """No error: how the heartbeat's thread leaves its loop."""


def _as_orch(error: BaseException) -> OrchError:
    """Whatever a queue raised, as one of our errors; what is none of ours counts as an outage and is tried again."""
    if isinstance(error, OrchError):
        return error
    return BackendUnavailable(f"{type(error).__name__}: {said(error)}")
