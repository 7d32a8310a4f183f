# ruff: noqa: SLF001 - a bug reaches into what it breaks, and each condition has its line
"""How a module of queue bugs is written: a subclass with a fault, and a decorator that says what it breaks.

    @breaks("Q1", source="sidekiq#1841")
    class DuePopThenPush(Mortal):
        \"\"\"due; pop; die: the job is in no list any more.\"\"\"

    BUGS = bugs_of(globals())

Stores are here too: of queues whose clients die at a chosen step, and of queues that are opened again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from orch.backends.memory import MemoryQueue, _Entry
from orch.errors import OrchError
from orch.job import JobStatus
from orch.queue import PersistentQueue
from orch.testing.bugs.catalogue import Bug
from orch.testing.clock import FakeClock


def name_of(broken: Any) -> str:
    """The name of a bug, from that of its class or function."""
    name: str = re.sub(r"(?<!^)(?=[A-Z])", "-", broken.__name__).replace("_", "-").lower()
    return name


def breaks(*promises: str, source: str = "orch", store: Callable[[Any], Any] | None = None) -> Callable[[Any], Any]:
    """This class of queues is a bug that breaks these promises; its docstring says how, its name is the bug's.

    `store` makes the store of the class, where a queue of it needs more than a clock.
    """

    def mark(kind: Any) -> Any:
        name = name_of(kind)
        what = " ".join((kind.__doc__ or "").split())
        kind.bug = Bug(name, "queue", promises, what, source, (store or store_of)(kind))
        return kind

    return mark


def bugs_of(namespace: Mapping[str, Any]) -> tuple[Bug, ...]:
    """The bugs of the classes that a module defines."""
    return tuple(vars(kind)["bug"] for kind in namespace.values() if isinstance(kind, type) and "bug" in vars(kind))


def store_of(kind: Any) -> Callable[[FakeClock], PersistentQueue]:
    """A store that makes queues of this class by their clock."""
    own = getattr(kind, "store", None)
    return own(kind) if own is not None else lambda clock: kind(clock=clock)


# -- clients that die ------------------------------------------------------------------------------------------------


class Died(Exception):
    """The client is gone, between two steps of a verb."""


class Mortal(MemoryQueue):
    """A right queue whose clients can die before each verb; subclasses split a verb with `step()`."""

    dies_in: int | None = None

    def step(self) -> None:
        """One more step in the store: here a client may die."""
        if self.dies_in is not None:
            if self.dies_in == 0:
                raise Died
            self.dies_in -= 1

    @staticmethod
    def store(kind: type[Mortal]) -> MortalStore:
        """Queues of this class, with the `die` hook."""
        return MortalStore(kind)


class MortalStore:
    """Queues whose clients die at their n-th step; what they did before stays done."""

    def __init__(self, kind: type[Mortal]) -> None:
        self._kind = kind

    def __call__(self, clock: FakeClock) -> Mortal:
        return self._kind(clock=clock)

    def die(self, queue: Mortal, n: int, verb: Callable[[PersistentQueue], object]) -> tuple[Mortal, bool]:
        """Do the verb as a client that dies at its n-th step; the queue to go on with, and whether it died."""
        queue.dies_in = n
        try:
            verb(queue)
        except Died:
            return queue, True
        except OrchError:
            return queue, False
        finally:
            queue.dies_in = None
        return queue, False


# -- what several bugs do to a MemoryQueue -----------------------------------------------------------------------------


def set_status(queue: MemoryQueue, entry: _Entry, status: JobStatus) -> None:
    """Write a status past the table of transitions; counts and lists follow."""
    queue._counts[entry.job.status] -= 1
    queue._counts[status] += 1
    entry.job.status = status
    queue._list_in(status, entry)


def drop(queue: MemoryQueue, job_id: str) -> None:
    """Forget a job altogether."""
    entry = queue._entries.pop(job_id)
    queue._running.pop(job_id, None)
    queue._counts[entry.job.status] -= 1
    if queue._in_lane(entry):
        queue._ready -= 1
