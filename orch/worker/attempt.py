"""One run of a job, seen from the slot that runs it: whether its outcome is still wanted, and how it is ended."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

from orch.job import Job
from orch.runner import Outcome

KILL_S = 5.0  # a killed process that takes longer to end is not waited for


class Attempt:
    """One run of a job, seen from its slot: whether its outcome is still wanted, and how to end it by force."""

    __slots__ = ("_kill", "_lock", "_lost", "_over", "job", "key")

    def __init__(self, key: int, job: Job) -> None:
        self.key = key
        self.job = job
        self._lost = False
        self._kill: Callable[[], None] | None = None
        self._over: threading.Event | None = None
        self._lock = threading.Lock()

    def lost(self) -> bool:
        """True once nobody waits for the outcome any more: the lease is lost, the time is over, the worker ends."""
        return self._lost

    def abandon(self) -> None:
        """Tell the attempt. One in a process of its own is killed, and has ended when this returns."""
        with self._lock:
            self._lost = True
            over = self._over
            if self._kill is not None:
                self._kill()
        if over is not None:
            over.wait(KILL_S)

    @contextlib.contextmanager
    def killable(self, start: Callable[[], None], kill: Callable[[], None]) -> Iterator[bool]:
        """Start what `abandon` ends by `kill` while this is open. False if it was abandoned before: nothing started."""
        with self._lock:
            started = not self._lost
            if started:
                start()
                self._kill = kill
                self._over = threading.Event()
        try:
            yield started
        finally:
            with self._lock:
                self._kill = None
            if self._over is not None:
                self._over.set()


#: Runs one job to its outcome, in the calling thread.
RunJob = Callable[[Job, Attempt], Outcome]
