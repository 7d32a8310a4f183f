"""W8: workers that beat are listed, with what they hold."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orch.errors import (
    LeaseLost,
)
from orch.job import WorkerInfo
from orch.queue import PersistentQueue
from orch.testing.clock import FakeClock
from orch.testing.contract.base import (
    LEASE_S,
    PENDING,
    RETRY,
    SUCCESS,
    Contract,
    at,
    lease_of,
    needs,
    new_job,
    promise,
    took,
)


class WorkersSeen(Contract):
    """Sentences about W8."""

    @promise("W8")
    @needs("workers", "lease")
    def test_a_dequeue_makes_its_worker_known_with_the_jobs_it_holds(
        self, queue: PersistentQueue, clock: FakeClock
    ) -> None:
        queue.enqueue_many([new_job("b"), new_job("a"), new_job("c")])
        took(queue, "b", "w1")
        clock.advance(1)
        took(queue, "a", "w1")
        assert queue.dequeue_many(1, "w2")[0].id == "c"
        assert queue.dequeue("w0") is None
        workers = {worker.id: worker for worker in queue.workers()}
        assert list(workers) == ["w0", "w1", "w2"]
        assert [workers[w].jobs for w in ("w0", "w1", "w2")] == [(), ("a", "b"), ("c",)]
        assert workers["w1"] == WorkerInfo("w1", last_beat_at=at(1), jobs=("a", "b"))

    @promise("W8")
    @needs("workers", "lease")
    def test_a_job_that_ended_is_no_longer_held(self, queue: PersistentQueue, clock: FakeClock) -> None:
        queue.enqueue_many(new_job(job_id, max_retries=1) for job_id in "abcd")
        jobs = {job.id: job for job in queue.dequeue_many(4, "w1", lease_s=LEASE_S)}
        queue.update_status("a", SUCCESS, lease=jobs["a"].lease)
        queue.update_status("b", RETRY, lease=jobs["b"].lease)
        queue.update_status("c", PENDING, lease=jobs["c"].lease)
        assert queue.workers()[0].jobs == ("d",)
        clock.advance(LEASE_S)
        queue.dequeue_many(5, "w2")
        assert [worker.jobs for worker in queue.workers()] == [(), ("b", "c", "d")]

    @promise("W8")
    @needs("workers")
    def test_a_dequeue_without_a_worker_id_makes_nobody_known(self, queue: PersistentQueue) -> None:
        queue.enqueue(new_job())
        took(queue)
        assert queue.workers() == []

    @promise("W8")
    @needs("workers")
    def test_a_worker_is_gone_after_ten_missed_beats(self, queue: PersistentQueue, clock: FakeClock) -> None:
        queue.enqueue(new_job())
        took(queue, "a", "w1", lease_s=1e6)
        clock.advance(20)
        assert [worker.id for worker in queue.workers()] == ["w1"]
        clock.advance(0.001)
        assert queue.workers() == []
        assert queue.dequeue("w1") is None
        assert [worker.jobs for worker in queue.workers()] == [("a",)]

    @promise("W8")
    @needs("workers", "extend", "lease")
    def test_an_extension_is_a_beat(self, queue: PersistentQueue, clock: FakeClock) -> None:
        queue.enqueue(new_job())
        lease = lease_of(took(queue, "a", "w1", lease_s=1e6))
        clock.advance(15)
        queue.extend_lease(lease)
        clock.advance(15)
        assert [(worker.id, worker.last_beat_at) for worker in queue.workers()] == [("w1", at(15))]

    @promise("W8")
    @needs("workers", "extend", "lease")
    @pytest.mark.parametrize("act", ["report", "exchange of no jobs", "stale extension"])
    def test_what_is_no_beat(self, queue: PersistentQueue, clock: FakeClock, act: str) -> None:
        queue.enqueue(new_job())
        lease = lease_of(took(queue, "a", "w1"))
        if act == "stale extension":
            queue.update_status("a", SUCCESS, lease=lease)
        clock.advance(5)
        if act == "report":
            queue.update_status("a", SUCCESS, lease=lease)
        elif act == "exchange of no jobs":
            queue.exchange([], 0, "w1")
        else:
            with pytest.raises(LeaseLost):
                queue.extend_lease(lease)
        assert queue.workers()[0].last_beat_at == at(0)

    @promise("W8")
    @needs("workers", "lease")
    def test_an_announcement_is_kept_through_later_beats(self, queue: PersistentQueue, clock: FakeClock) -> None:
        info = WorkerInfo("w1", "host ä", 4711, at(-60), at(999), ("invented",), done=3, failed=1, slots=4, blocked=2)
        queue.announce(info)
        queue.announce(info)
        assert queue.workers() == [replace(info, last_beat_at=at(0), jobs=())]
        queue.enqueue(new_job())
        clock.advance(7)
        took(queue, "a", "w1")
        assert queue.workers() == [replace(info, last_beat_at=at(7), jobs=("a",))]
        queue.announce(replace(info, done=4))
        assert [(worker.done, worker.jobs) for worker in queue.workers()] == [(4, ("a",))]
