# ruff: noqa: SLF001 - a bug reaches into what it breaks, and each condition has its line
"""Bugs of the clock (Q5, Q4): whose time counts, and what a jump of it breaks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from orch.backends.memory import MemoryQueue, _Entry
from orch.clock import to_us
from orch.job import Job
from orch.queue import PersistentQueue
from orch.testing.bugs.making import breaks, bugs_of
from orch.testing.clock import FakeClock


class TwoClients(MemoryQueue):
    """A right queue with a second client in the same process."""

    skew_s = 0.0

    @staticmethod
    def store(kind: type[TwoClients]) -> TwoClientsStore:
        """Queues of this class, with the `second_client` hook."""
        return TwoClientsStore(kind)


class TwoClientsStore:
    """A second client shares everything with the first but its clock, which may be ahead."""

    def __init__(self, kind: type[TwoClients]) -> None:
        self._kind = kind

    def __call__(self, clock: FakeClock) -> TwoClients:
        return self._kind(clock=clock)

    def second_client(self, queue: TwoClients) -> PersistentQueue:
        """Another client of the same queue, whose clock is `skew_s` ahead."""
        return _Beside(queue, self._kind.skew_s)


class _Beside(MemoryQueue):
    """Does everything with the first client's queue; for as long, the clock is its own."""

    def __init__(self, first: TwoClients, skew_s: float) -> None:
        super().__init__(clock=first._clock)
        self._first = first
        self._skew_s = skew_s

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("_") or name == "close":
            return super().__getattribute__(name)
        first, skew_s = self._first, self._skew_s
        verb = getattr(first, name)
        if not callable(verb) or not skew_s:
            return verb

        def act(*args: Any, **more: Any) -> Any:
            read = first._read_clock
            first._read_clock = lambda: read() + skew_s
            try:
                return verb(*args, **more)
            finally:
                first._read_clock = read

        return act


@breaks("Q4", "Q5", source="dramatiq (catalogue K4)")
class TheCallersClockDecides(TwoClients):
    """A runs j; a client whose clock is two minutes ahead asks for work: j is taken from A, who lives."""

    skew_s = 120.0


@breaks("Q5", source="seed 124; orch")
class LeasesCountFromTheEnqueue(MemoryQueue):
    """A lease counts from when the job was enqueued: one that waited long is lost at once."""

    def _deliver(self, entry: _Entry, worker_id: str, now: int, expires_us: int) -> Job:
        return super()._deliver(entry, worker_id, now, max(now + 1, entry.ready_us + expires_us - now))


@breaks("Q4", source="orch")
class ABackwardJumpRepeatsTokens(MemoryQueue):
    """The clock goes back an hour: new tokens are lower than old ones, and downstream lets the stale holder write."""

    def _deliver(self, entry: _Entry, worker_id: str, now: int, expires_us: int) -> Job:
        if now < self._token - 1_000_000:
            self._token = now - 1
        return super()._deliver(entry, worker_id, now, expires_us)


@breaks("Q4", "Q5", "Q2", source="sidekiq#3974; orch")
class TimeNeverGoesBack(MemoryQueue):
    """After a backward jump the queue still uses the latest time that it saw."""

    latest = 0.0

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        read = self._read_clock

        def forward() -> float:
            self.latest = max(self.latest, read())
            return self.latest

        self._read_clock = forward


@breaks("Q2", source="orch")
class DelaysInWholeSeconds(MemoryQueue):
    """A due time with a fraction of a second is cut: the job comes too early."""

    def _enqueue(self, jobs: Sequence[Job]) -> int:
        new = super()._enqueue(jobs)
        for job in jobs:
            entry = self._entries.get(job.id)
            if entry is not None and entry.due_us is not None and entry.due_us % 1_000_000:
                self._make_pending(entry, to_us(self._read_clock()), entry.due_us // 1_000_000 * 1_000_000)
        return new


@breaks("Q5", "Q4", source="orch")
class AForwardJumpExtends(MemoryQueue):
    """After a jump of more than an hour the queue distrusts its clock, and gives every lease another term."""

    last = 0

    def _reclaim(self, now: int) -> None:
        last, self.last = self.last, now
        if last and now - last > 3_600_000_000:
            return
        super()._reclaim(now)


BUGS = bugs_of(globals())
