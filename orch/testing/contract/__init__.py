"""The contract of a queue as one test class: a sentence per behaviour, marked with the promise that it holds.

Subclass it and say how to make a queue; pytest does the rest:

    class TestMine(QueueContract):
        def make_queue(self, clock):
            return MyQueue(clock=clock)

A queue that does less declares its `capabilities`; what it does not declare is skipped by name. Nothing here waits or
reads a wall clock: the queue is handed a `FakeClock`. Each promise has a file of its own.
"""

from __future__ import annotations

from orch.testing.contract.base import needs, new_job
from orch.testing.contract.budget import BoundedWork
from orch.testing.contract.conserve import Conserve
from orch.testing.contract.containment import Containment
from orch.testing.contract.counts import Counts
from orch.testing.contract.cursors import Cursors
from orch.testing.contract.durable import Durable
from orch.testing.contract.final import Final
from orch.testing.contract.holder import OneHolder
from orch.testing.contract.once import OnceIn
from orch.testing.contract.order import Order
from orch.testing.contract.progress import Progress
from orch.testing.contract.purge import Purge
from orch.testing.contract.recovery import Recovery
from orch.testing.contract.refusal import Refusal
from orch.testing.contract.steps import Steps
from orch.testing.contract.values import Values
from orch.testing.contract.workers import WorkersSeen

__all__ = ["QueueContract", "needs", "new_job"]


class QueueContract(
    Cursors,
    WorkersSeen,
    Progress,
    Durable,
    Containment,
    Refusal,
    Values,
    Purge,
    Counts,
    Steps,
    Final,
    BoundedWork,
    Recovery,
    OneHolder,
    OnceIn,
    Order,
    Conserve,
):
    """Subclass it, name the subclass `Test...`, and give it `make_queue`."""
