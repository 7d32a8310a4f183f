"""Celery: kombu pops from a list and then writes down what is not acknowledged; late ack is a setting."""

from __future__ import annotations

import queue as std_queue
import sys
from contextlib import suppress
from typing import Any, ClassVar

import celery
from kombu import Connection, Queue

from orch.testing.adapters import tasks
from orch.testing.adapters.base import Adapter, Delivery, Setting

NAME = "celery"  # of Celery's own queue
QUICK_S = 2  # the visibility timeout while the four verbs are driven


class Celery(Adapter):
    """Celery's producer, and kombu's channel as its worker uses it."""

    library = "celery"
    settings = (
        Setting("default", "default", "acknowledged before it runs: a job is lost with its worker"),
        Setting("late", "acks_late, visibility_timeout=60"),
    )
    recovery_s: ClassVar[float | None] = 3.0 * QUICK_S

    def __init__(self, url: str, setting: str) -> None:
        super().__init__(url, setting)
        self.app, self.task = app_of(url, setting)
        self._connect()

    def _connect(self) -> None:
        self.connection = Connection(self.url, transport_options={"visibility_timeout": QUICK_S})
        self.channel = self.connection.channel()
        self.queue = Queue(NAME, routing_key=NAME)(self.channel)
        self.queue.declare()

    def put(self, job_id: str, seconds: float = 0.0) -> None:
        """As `Task.delay`."""
        self.task.apply_async(args=(job_id, seconds), task_id=job_id)

    def get(self) -> Delivery | None:
        """As a worker does it; with the default setting it acknowledges at once, as a worker does before it runs."""
        with suppress(std_queue.Empty):
            message = self.queue.get()
            if message is not None:
                if self.setting.name == "default":
                    message.ack()
                return Delivery(message.headers["id"], message)
        return None

    def ack(self, delivery: Delivery) -> None:
        """Done; late, it is acknowledged now."""
        if self.setting.name == "late":
            delivery.handle.ack()

    def nack(self, delivery: Delivery) -> None:
        """As `Task.retry`: published again under its id, then acknowledged."""
        body = delivery.handle.payload
        self.task.apply_async(args=tuple(body[0]), task_id=delivery.job)
        self.ack(delivery)

    def count(self) -> int:
        """Messages in the list."""
        return int(self.queue.queue_declare(passive=True).message_count)

    def crash(self) -> None:
        """The connection is gone before anything is put back; a new one is made."""
        self.channel.do_restore = False  # a process that was killed restores nothing at its exit
        self.connection.close()
        self._connect()

    def restart(self) -> None:
        """What the event loop of a worker does again and again."""
        self.channel.qos.restore_visible(num=100)

    def close(self) -> None:
        """Close the connections."""
        self.channel.do_restore = False
        self.connection.close()
        self.app.close()

    @classmethod
    def work(cls, url: str, setting: str) -> None:
        """A worker with one process in its pool."""
        app, _ = app_of(url, setting)
        app.worker_main(["worker", "--concurrency=1", "--loglevel=WARNING"])
        sys.exit(0)


def app_of(url: str, setting: str) -> tuple[Any, Any]:
    """An application and its one task."""
    app = celery.Celery("orch", broker=url, set_as_current=False)
    app.conf.broker_connection_retry_on_startup = True
    if setting == "late":
        app.conf.task_acks_late = True
        app.conf.worker_prefetch_multiplier = 1
        app.conf.broker_transport_options = {"visibility_timeout": 60}
    return app, app.task(tasks.run, name="run")


ADAPTER = Celery
