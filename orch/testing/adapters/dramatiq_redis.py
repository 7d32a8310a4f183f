"""Dramatiq: one Lua script fetches, acknowledges and, at one command in a thousand, looks for dead brokers."""

from __future__ import annotations

import threading
import time
from typing import Any, ClassVar

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from orch.testing.adapters import tasks
from orch.testing.adapters.base import Adapter, Delivery, Setting

NAME = "default"
QUICK_MS = 2_000  # without a heartbeat, while the four verbs are driven
ALWAYS = 1_000_000  # so many of a million commands look for dead brokers


class Dramatiq(Adapter):
    """Dramatiq's broker and consumer; a nack is what its Retries middleware does: enqueued again, then acknowledged."""

    library = "dramatiq"
    settings = (Setting("default", "default"),)
    recovery_s: ClassVar[float | None] = 3.0 * QUICK_MS / 1000

    def __init__(self, url: str, setting: str) -> None:
        super().__init__(url, setting)
        self._connect()

    def _connect(self) -> None:
        self.broker, self.actor = broker_of(self.url, heartbeat_timeout=QUICK_MS, maintenance_chance=ALWAYS)
        self.consumer = self.broker.consume(NAME, prefetch=1, timeout=1)

    def put(self, job_id: str, seconds: float = 0.0) -> None:
        """As `Actor.send`."""
        self.broker.enqueue(self.actor.message(job_id, seconds).copy(message_id=job_id))

    def get(self) -> Delivery | None:
        """The consumer asks for one message."""
        message = next(self.consumer)
        return None if message is None else Delivery(message.message_id, message)

    def ack(self, delivery: Delivery) -> None:
        """Acknowledge the message."""
        self.consumer.ack(delivery.handle)

    def nack(self, delivery: Delivery) -> None:
        """Enqueue it again, then acknowledge."""
        self.broker.enqueue(delivery.handle.copy())
        self.consumer.ack(delivery.handle)

    def count(self) -> int:
        """Messages that wait or are held, as the broker counts."""
        return int(self.broker.do_qsize(NAME))

    def crash(self) -> None:
        """The broker process is gone; a new one has an id of its own."""
        self.broker.client.close()
        self._connect()

    def close(self) -> None:
        """Close the connection."""
        self.broker.client.close()

    @classmethod
    def work(cls, url: str, setting: str) -> None:  # noqa: ARG003  # it has one setting
        """A worker with one thread, on a broker as it comes."""
        broker, _ = broker_of(url)
        dramatiq.Worker(broker, worker_threads=1).start()
        while any(thread.is_alive() for thread in threading.enumerate() if thread is not threading.current_thread()):
            time.sleep(0.5)


def broker_of(url: str, **options: int) -> tuple[Any, Any]:
    """A broker and its one actor."""
    broker = RedisBroker(url=url, **options)
    return broker, dramatiq.actor(tasks.run, broker=broker, queue_name=NAME)


ADAPTER = Dramatiq
