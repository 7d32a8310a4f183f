"""RQ: a list of ids, a hash a job, registries of what runs; with one queue a job passes an intermediate list."""

from __future__ import annotations

import sys
from typing import Any, ClassVar

import redis
import rq
from rq.job import Job
from rq.registry import StartedJobRegistry

from orch.testing.adapters.base import Adapter, Delivery, Setting

TASK = "orch.testing.adapters.tasks.run"
RETRIES = 3


class Rq(Adapter):
    """RQ with its own queue, worker and registries; a nack is a failure of a job with retries left."""

    library = "rq"
    settings = (
        Setting("plain", "1 queue, no Retry", "a job whose worker died is FAILED unless it has a Retry"),
        Setting("retry", "1 queue, Retry(3)"),
        Setting("two", "2 queues, Retry(3)"),
    )
    recovery_s: ClassVar[float | None] = None  # heartbeats of 60 s and more, looked at every 600 s
    no_nack: ClassVar[frozenset[str]] = frozenset({"plain"})

    def __init__(self, url: str, setting: str) -> None:
        super().__init__(url, setting)
        self.client = redis.Redis.from_url(url)
        self.queues = queues_of(self.client, setting)
        self.worker = rq.Worker(self.queues, connection=self.client)

    def put(self, job_id: str, seconds: float = 0.0) -> None:
        """Enqueue on the first queue."""
        retry = None if self.setting.name == "plain" else rq.Retry(max=RETRIES)
        self.queues[0].enqueue_call(TASK, args=(job_id, seconds), job_id=job_id, retry=retry)

    def get(self) -> Delivery | None:
        """As `Worker.work` and the process that it forks: pop, register the execution, write down that it runs."""
        found = rq.Queue.dequeue_any(self.queues, None, connection=self.client)
        if found is None:
            return None
        job, queue = found
        execution = self.worker.prepare_execution(job)
        self.worker.prepare_job_execution(job, len(self.queues) == 1)
        return Delivery(job.id, (job, queue, execution))

    def ack(self, delivery: Delivery) -> None:
        """The job succeeded."""
        job, queue, execution = self._settled(delivery)
        self.worker.handle_job_success(job, queue, StartedJobRegistry(queue=queue), execution)

    def nack(self, delivery: Delivery) -> None:
        """The job raised; its Retry puts it back."""
        job, queue, execution = self._settled(delivery)
        self.worker.handle_job_failure(job, queue, StartedJobRegistry(queue=queue), "nack", execution)

    def _settled(self, delivery: Delivery) -> Any:
        job, queue, execution = delivery.handle
        now = rq.utils.now()
        job.started_at = job.started_at or now
        job.ended_at = now
        self.worker.execution = execution
        return job, queue, execution

    def count(self) -> int:
        """Jobs in the queues."""
        return sum(queue.count for queue in self.queues)

    def state(self, job_id: str) -> str:
        """The status that RQ shows of a job."""
        status = Job.fetch(job_id, connection=self.client).get_status()
        return "" if status is None else str(status.value)

    def close(self) -> None:
        """Close the connection."""
        self.client.close()

    @classmethod
    def work(cls, url: str, setting: str) -> None:
        """A worker that forks for each job."""
        client = redis.Redis.from_url(url)
        rq.Worker(queues_of(client, setting), connection=client).work(logging_level="WARNING")
        sys.exit(0)


def queues_of(client: Any, setting: str) -> list[Any]:
    """One queue, or two."""
    names = ("one", "two") if setting == "two" else ("one",)
    return [rq.Queue(name, connection=client) for name in names]


ADAPTER = Rq
