"""MemoryQueue keeps the contract; its own dangers are below."""

from __future__ import annotations

from orch.backends.memory import MemoryQueue
from orch.testing import FakeClock, QueueContract


class TestMemoryQueue(QueueContract):
    def make_queue(self, clock: FakeClock) -> MemoryQueue:
        return MemoryQueue(clock=clock)
