"""Our own backends as stores for the machine: how to make an empty queue, open it again, and get a second client."""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orch.backends.memory import MemoryQueue
from orch.queue import PersistentQueue
from orch.testing.clock import FakeClock

if TYPE_CHECKING:
    from orch.backends.redis import RedisQueue
    from orch.backends.sqlite import SqliteQueue

_numbers = itertools.count()


def memory_store(clock: FakeClock) -> MemoryQueue:
    """An empty `MemoryQueue`; it has one client and ends with it."""
    return MemoryQueue(clock=clock)


class SqliteStore:
    """Empty `SqliteQueue`s, one at a time, in files of a directory; the last file goes when the next is made."""

    def __init__(self, directory: Path | str) -> None:
        self._directory = Path(directory)
        self._path: Path | None = None
        self._clock = FakeClock()

    def __call__(self, clock: FakeClock) -> SqliteQueue:
        self.clear()
        self._path = self._directory / f"queue-{os.getpid()}-{next(_numbers)}.db"
        self._clock = clock
        return self._open()

    def clear(self) -> None:
        """Remove the file of the queue that was made last, which is closed."""
        if self._path is not None:
            for suffix in ("", "-wal", "-shm"):
                Path(f"{self._path}{suffix}").unlink(missing_ok=True)

    def second_client(self, queue: PersistentQueue) -> SqliteQueue:
        return self._open()

    def reopen(self, queue: PersistentQueue) -> SqliteQueue:
        queue.close()
        return self._open()

    def _open(self) -> SqliteQueue:
        from orch.backends.sqlite import SqliteQueue

        assert self._path is not None
        return SqliteQueue(self._path, clock=self._clock)


class RedisStore:
    """Empty `RedisQueue`s, one at a time, in the database of a client, which nobody else uses: it is flushed."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._clock = FakeClock()

    def __call__(self, clock: FakeClock) -> RedisQueue:
        self._client.flushdb()
        self._clock = clock
        return self._open()

    def second_client(self, queue: PersistentQueue) -> RedisQueue:
        return self._open()

    def reopen(self, queue: PersistentQueue) -> RedisQueue:
        queue.close()
        return self._open()

    def _open(self) -> RedisQueue:
        from orch.backends.redis import RedisQueue

        return RedisQueue(self._client, clock=self._clock)
