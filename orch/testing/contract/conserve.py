"""Q1: each accepted job is in exactly one state and can still reach a final one."""

from __future__ import annotations

import pytest

from orch.job import STATES
from orch.queue import PersistentQueue
from orch.testing.clock import FakeClock
from orch.testing.contract.base import (
    FAILED,
    LEASE_S,
    PENDING,
    RETRY,
    RUNNING,
    SUCCESS,
    Busy,
    Contract,
    at,
    needs,
    new_job,
    promise,
    took,
)


class Conserve(Contract):
    """Sentences about Q1."""

    @promise("Q1", "Q9")
    def test_each_accepted_job_is_in_exactly_one_state(self, busy: Busy) -> None:
        queue = busy.queue
        listed = {status: [job.id for job in queue.list_jobs(status)] for status in STATES}
        assert sorted(job_id for ids in listed.values() for job_id in ids) == sorted(busy.ids)
        assert (listed[RUNNING], listed[SUCCESS], listed[FAILED]) == (["r"], ["s"], ["f"])

    @promise("Q1")
    def test_nothing_appears_that_was_not_enqueued(self, queue: PersistentQueue) -> None:
        assert queue.dequeue() is None
        assert queue.list_jobs() == []
        assert queue.count() == 0
        assert queue.get_job("a") is None
        assert queue.purge(0) == 0

    @promise("Q1")
    def test_many_jobs_each_go_in_and_come_out_once(self, queue: PersistentQueue) -> None:
        ids = [f"j{i}" for i in range(1_100)]  # more than one slice
        assert queue.enqueue_many(new_job(job_id) for job_id in ids) == len(ids)
        assert [job.id for job in queue.dequeue_many(2_000, lease_s=1e6)] == ids
        assert queue.dequeue() is None

    @promise("Q1", "Q5")
    @needs("lease")
    def test_a_job_whose_holder_vanished_can_still_succeed(self, queue: PersistentQueue, clock: FakeClock) -> None:
        queue.enqueue(new_job())
        took(queue)
        clock.advance(LEASE_S)
        job = took(queue, "a")
        assert queue.update_status("a", SUCCESS, lease=job.lease).status is SUCCESS

    @promise("Q1")
    @needs("lease", "delay", "operator", "requeue", "crashes")
    @pytest.mark.parametrize(
        "how", ["enqueued", "delayed", "running", "given back", "retried", "retried later", "lost", "failed", "crashed"]
    )
    def test_from_wherever_it_is_a_job_can_come_to_success(
        self, queue: PersistentQueue, clock: FakeClock, how: str
    ) -> None:
        queue.enqueue(new_job(max_retries=5, not_before=at(5) if how == "delayed" else None))
        if how not in ("enqueued", "delayed"):
            lease = took(queue).lease
            if how == "given back":
                queue.update_status("a", PENDING, lease=lease)
            elif how == "retried":
                queue.update_status("a", RETRY, lease=lease)
            elif how == "retried later":
                queue.update_status("a", RETRY, lease=lease, delay_s=5)
            elif how == "lost":
                clock.advance(LEASE_S)
                assert queue.dequeue_many(1, lease_s=1)[0].id == "a"
            elif how == "failed":
                queue.update_status("a", FAILED, lease=lease)
                queue.requeue("a")
            elif how == "crashed":
                for _ in range(self.max_crashes + 1):
                    clock.advance(LEASE_S)
                    queue.dequeue(lease_s=LEASE_S)
                queue.requeue("a")
        clock.advance(LEASE_S)
        job = took(queue, "a")
        assert queue.update_status("a", SUCCESS, lease=job.lease).status is SUCCESS
