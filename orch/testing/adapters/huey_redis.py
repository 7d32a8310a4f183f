"""Huey: a list that is popped; what was popped is in the consumer's memory only, as its documentation says."""

from __future__ import annotations

from typing import Any, ClassVar

import huey

from orch.testing.adapters import tasks
from orch.testing.adapters.base import Adapter, Delivery, Setting


class Huey(Adapter):
    """Huey's own enqueue and dequeue; there is nothing to acknowledge, a nack enqueues again as its retry does."""

    library = "huey"
    settings = (Setting("default", "default", "at most once: a task that was taken is lost with its consumer"),)
    recovery_s: ClassVar[float | None] = 4.0  # there is none; so long we look for it

    def __init__(self, url: str, setting: str) -> None:
        super().__init__(url, setting)
        self.app, self.task = app_of(url, blocking=False)

    def put(self, job_id: str, seconds: float = 0.0) -> None:
        """As calling a task, under an id of ours."""
        task = self.task.s(job_id, seconds)
        task.id = job_id
        self.app.enqueue(task)

    def get(self) -> Delivery | None:
        """Pop."""
        task = self.app.dequeue()
        return None if task is None else Delivery(task.id, task)

    def ack(self, delivery: Delivery) -> None:
        """Nothing: it left the queue when it was taken."""

    def nack(self, delivery: Delivery) -> None:
        """As a retry without a delay."""
        self.app.enqueue(delivery.handle)

    def count(self) -> int:
        """Tasks in the list."""
        return int(self.app.pending_count())

    def close(self) -> None:
        """Close the connections."""
        self.app.storage.pool.disconnect()

    @classmethod
    def work(cls, url: str, setting: str) -> None:  # noqa: ARG003  # it has one setting
        """A consumer with one thread."""
        app, _ = app_of(url, blocking=True)
        app.create_consumer(workers=1, worker_type="thread").run()


def app_of(url: str, *, blocking: bool) -> tuple[Any, Any]:
    """A Huey and its one task."""
    app = huey.RedisHuey("orch", url=url, blocking=blocking, results=False)
    return app, app.task()(tasks.run)


ADAPTER = Huey
