"""A scheduler process from its first line to its last: ticks in the main thread, a worker in another, signals."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import FrameType
from typing import Any, Self

from orch.errors import OrchError, ScheduleError
from orch.job import JobStatus
from orch.queue import PersistentQueue
from orch.schedule import Schedule, check_schedules
from orch.scheduler.drain import drain, work
from orch.scheduler.driver import drive
from orch.scheduler.logic import Scheduler
from orch.settings import Settings
from orch.yaml_marks import shown_faults


@dataclass(slots=True)
class Process:
    """One scheduler process. While it is open SIGINT and SIGTERM end it; a second one ends it at once.

    `alone` says that the queue lives in this process only: what is left in it at the end is lost.
    """

    schedules: Sequence[Schedule]
    queue: PersistentQueue
    settings: Settings
    executes: bool
    alone: bool
    stopping: threading.Event = field(default_factory=threading.Event)
    stoppers: list[Callable[[str], None]] = field(default_factory=list)
    handlers: dict[int, Any] = field(default_factory=dict)
    broken: BaseException | None = None  # what ended the worker beside
    printing: threading.Lock = field(default_factory=threading.Lock)  # lines of two threads

    def once(self) -> int:
        """One look at the clock; then everything that is ready, retries included, until it is final or delayed."""
        self._say("Running single tick...")
        enqueued = drive(Scheduler(self.schedules).once(), self.queue, state_path=self.settings.state_path)
        self._say(f"Enqueued {enqueued} job(s)")
        if not self.executes:
            return 0
        latest: dict[str, str] = {}
        told = False
        while not self.stopping.is_set() and self.queue.count(JobStatus.PENDING):
            if not told:
                self._say("Draining queue...")
                told = True
            results = drain(
                self.queue,
                self.settings,
                max_parallel=self.settings.max_parallel,
                max_jobs=self.settings.max_jobs_per_drain,
                stopper=self.stoppers.append,
            )
            self.stoppers.clear()
            for result in results:
                latest[result["job"].id] = result["status"]
                self._tell(result)
            if not results:
                if not self.alone:
                    break  # delayed: the next run has them, or a worker
                self.stopping.wait(0.05)  # nobody else ever will
        statuses = list(latest.values())
        success, retry = statuses.count("success"), statuses.count("retry")
        failed = len(statuses) - success - retry
        if told:
            self._say(f"Completed {success + failed} job(s)")
            self._say(f"Success: {success}, Failed: {failed}, Retry: {retry}")
        return 1 if failed or self.stopping.is_set() else 0

    def serve(self) -> int:
        """Look at the clock until a signal comes, with a worker beside."""
        tick_ms = self.settings.tick_ms
        self._say(f"Serving scheduler (tick={tick_ms}ms, max_parallel={self.settings.max_parallel})...")
        self._say("Press Ctrl+C to stop")
        with self._worker() if self.executes else contextlib.nullcontext():
            drive(
                Scheduler(self.schedules).serve(tick_ms / 1000),
                self.queue,
                sleep=self.stopping.wait,
                passed=self._passed,
                state_path=self.settings.state_path,
            )
            self._say("\nShutting down...")
            if self.executes and self.alone and self.broken is None:
                self._work_off()
        if self.broken is not None:
            raise self.broken
        return 0

    def _passed(self, enqueued: int) -> None:
        if not enqueued:
            return
        at = f"[{datetime.now().astimezone():%H:%M:%S}]"
        self._say(f"{at} Enqueued {enqueued} job(s)")
        if self.executes:
            with contextlib.suppress(OrchError):  # only a number to show; the worker may have taken them already
                self._say(f"{at} Draining {self.queue.count(JobStatus.PENDING)} pending job(s)...")

    def _tell(self, result: dict[str, Any]) -> None:
        if result["status"] in ("failed", "error"):
            self._say(f"Error executing job {result['job'].id}: {result['error']}")

    def _say(self, text: str) -> None:
        with self.printing:
            print(text, flush=True)

    def _work_off(self) -> None:
        """What waits in memory would be lost with the process: give it as long as running jobs get."""
        pending = self.queue.count(JobStatus.PENDING)
        if pending:
            self._say(f"Draining final {pending} pending job(s)...")
        until = time.monotonic() + self.settings.grace_s
        while time.monotonic() < until and self._unfinished():
            time.sleep(0.05)

    def _unfinished(self) -> int:
        return self.queue.count(JobStatus.PENDING) + self.queue.count(JobStatus.RUNNING)

    @contextlib.contextmanager
    def _worker(self) -> Iterator[None]:
        """A worker in a thread, so that executing never delays ticking (S2); stopped at the end (W4)."""
        ready = threading.Event()
        stoppers: list[Callable[[str], None]] = []

        def told(stopper: Callable[[str], None]) -> None:
            stoppers.append(stopper)
            ready.set()

        def serve() -> None:
            try:
                work(self.queue, self.settings, self.settings.max_parallel, self._tell, told)
            except BaseException as error:  # a scheduler that runs nothing must not go on as if it did
                self.broken = error
                self.stopping.set()
            finally:
                ready.set()

        thread = threading.Thread(target=serve, name="orch-worker", daemon=True)
        thread.start()
        ready.wait()
        try:
            yield
        finally:
            for stopper in stoppers:
                stopper("the scheduler ends")
            thread.join()

    # -- signals -----------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM):
            self.handlers[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self.handlers.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if self.stopping.is_set():
            os._exit(128 + number)
        self.stopping.set()
        for stopper in self.stoppers:
            stopper(signal.Signals(number).name)


def read_schedules(folder: str) -> list[Schedule]:
    """The good schedules; every fault is a warning (S4)."""
    try:
        schedules, faults = check_schedules(folder)
    except ScheduleError:  # the folder is not there
        return []
    for text in shown_faults(faults):
        print(f"Warning: Failed to load {text}")
    return schedules
