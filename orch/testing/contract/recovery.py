"""Q5: a job whose holder vanished is deliverable again in time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from orch.errors import (
    JobNotFound,
    LeaseLost,
)
from orch.job import Lease, Report
from orch.queue import PersistentQueue
from orch.testing.clock import FakeClock
from orch.testing.contract.base import (
    FAILED,
    LEASE_S,
    PENDING,
    RETRY,
    RUNNING,
    SUCCESS,
    Contract,
    drained,
    got,
    lease_of,
    needs,
    new_job,
    promise,
    refused,
    took,
)


class Recovery(Contract):
    """Sentences about Q5."""

    @promise("Q5")
    @needs("lease")
    def test_a_lease_is_expired_when_the_clock_reaches_its_end_and_not_before(
        self, queue: PersistentQueue, clock: FakeClock
    ) -> None:
        queue.enqueue(new_job())
        took(queue, lease_s=5)
        clock.advance(4.999)
        assert queue.dequeue() is None
        clock.advance(0.001)
        took(queue, "a")

    @promise("Q5")
    @needs("lease")
    def test_the_queues_own_lease_counts_when_none_is_given(self, queue: PersistentQueue, clock: FakeClock) -> None:
        queue.enqueue(new_job())
        job = queue.dequeue()
        assert job is not None
        assert lease_of(job).expires_at == clock() + self.lease_s
        clock.advance(self.lease_s - 0.001)
        assert queue.dequeue() is None
        clock.advance(0.001)
        took(queue, "a")

    @promise("Q5")
    @needs("lease")
    def test_a_lost_lease_leaves_the_job_pending_with_its_history(
        self, queue: PersistentQueue, clock: FakeClock
    ) -> None:
        queue.enqueue_many([new_job("a", max_retries=3), new_job("b")])
        queue.update_status("a", RETRY, error="first", result={"part": 1}, lease=took(queue, "a").lease)
        took(queue, "b", lease_s=1e6)
        took(queue, "a")
        clock.advance(LEASE_S)
        assert queue.dequeue_many(1)[0].id == "a"
        job = got(queue, "a")
        assert (job.attempts, job.failures, job.crashes) == (3, 1, 1)
        assert (job.error, job.result) == ("first", {"part": 1})

    @promise("Q5")
    @needs("lease", "priority")
    def test_a_reclaimed_job_has_not_started(self, queue: PersistentQueue, clock: FakeClock) -> None:
        queue.enqueue(new_job("a"))
        took(queue, "a")
        queue.enqueue(new_job("b", priority=1))
        clock.advance(LEASE_S)
        took(queue, "b")
        job = got(queue, "a")
        assert (job.status, job.started_at, job.finished_at, job.lease) == (PENDING, None, None, None)
        assert (job.attempts, job.crashes, job.failures) == (1, 1, 0)

    @promise("Q5")
    @needs("lease")
    def test_recovery_needs_no_traffic_and_no_restart(self, queue: PersistentQueue, clock: FakeClock) -> None:
        queue.enqueue(new_job())
        took(queue)
        for _ in range(5):
            clock.advance(1.9)
            assert queue.dequeue() is None
        clock.advance(0.5)
        took(queue, "a")

    @promise("Q5")
    @needs("lease")
    def test_recovery_does_not_wait_behind_a_backlog(self, queue: PersistentQueue, clock: FakeClock) -> None:
        queue.enqueue(new_job("a"))
        took(queue, "a")
        queue.enqueue_many(new_job(f"j{i}") for i in range(300))
        clock.advance(LEASE_S)
        took(queue, "a")

    @promise("Q5")
    @needs("lease")
    def test_when_all_holders_die_all_jobs_come_back(self, queue: PersistentQueue, clock: FakeClock) -> None:
        ids = [f"j{i}" for i in range(20)]
        queue.enqueue_many(new_job(job_id) for job_id in ids)
        assert [job.id for job in queue.dequeue_many(20, lease_s=LEASE_S)] == ids
        clock.advance(LEASE_S)
        assert drained(queue) == ids

    @promise("Q5")
    @needs("lease")
    def test_a_dequeue_takes_back_at_most_a_hundred_the_oldest_first(
        self, queue: PersistentQueue, clock: FakeClock
    ) -> None:
        queue.enqueue_many(new_job(f"j{i}") for i in range(150))
        for i in range(150):  # the later a job was enqueued, the earlier its lease ends
            took(queue, f"j{i}", lease_s=200 - i)
        clock.advance(1000)
        took(queue, "j50")
        assert queue.counts() == {PENDING: 99, RUNNING: 51, SUCCESS: 0, FAILED: 0}
        assert {job.id for job in queue.list_jobs(RUNNING)} == {f"j{i}" for i in range(51)}

    @promise("Q5")
    @needs("lease")
    def test_leases_that_ended_together_are_taken_back_by_token(self, queue: PersistentQueue, clock: FakeClock) -> None:
        queue.enqueue_many(new_job(f"j{i}") for i in range(105))
        queue.dequeue_many(105, lease_s=LEASE_S)
        clock.advance(1000)
        took(queue, "j0", lease_s=1e6)
        assert {job.id for job in queue.list_jobs(RUNNING)} == {"j0", *(f"j{i}" for i in range(100, 105))}

    @promise("Q5")
    @needs("lease", "operator", "extend")
    @pytest.mark.parametrize(
        "act",
        [
            pytest.param(lambda q: q.counts(), id="counts"),
            pytest.param(lambda q: q.list_jobs(), id="list"),
            pytest.param(lambda q: q.get_job("a"), id="get"),
            pytest.param(lambda q: q.stats(), id="stats"),
            pytest.param(lambda q: q.workers(), id="workers"),
            pytest.param(lambda q: q.enqueue(new_job("b")), id="enqueue"),
            pytest.param(lambda q: q.purge(0), id="purge"),
            pytest.param(lambda q: q.cancel("c"), id="cancel"),
            pytest.param(lambda q: q.requeue("f"), id="requeue"),
            pytest.param(lambda q: q.dequeue_many(0), id="dequeue none"),
            pytest.param(lambda q: q.exchange([], 0), id="empty exchange"),
            pytest.param(lambda q: q.exchange([Report("c", SUCCESS)], 0), id="exchange that only reports"),
        ],
    )
    def test_only_a_dequeue_takes_leases_back(
        self, queue: PersistentQueue, clock: FakeClock, act: Callable[[PersistentQueue], Any]
    ) -> None:
        queue.enqueue(new_job("a"))
        job = took(queue, "a")
        queue.enqueue_many([new_job("c"), new_job("f")])
        queue.cancel("f")
        clock.advance(1000)
        act(queue)
        assert queue.update_status("a", SUCCESS, lease=job.lease).status is SUCCESS

    @promise("Q5")
    @needs("lease", "extend")
    def test_an_extended_lease_ends_at_its_new_time(self, queue: PersistentQueue, clock: FakeClock) -> None:
        queue.enqueue(new_job())
        lease = lease_of(took(queue))
        clock.advance(6)
        longer = queue.extend_lease(lease, LEASE_S)
        assert longer == replace(lease, expires_at=clock() + LEASE_S)
        assert got(queue, "a").lease == longer
        clock.advance(LEASE_S - 0.001)
        assert queue.dequeue() is None
        clock.advance(0.001)
        took(queue, "a")

    @promise("Q5")
    @needs("lease", "extend")
    def test_an_extension_never_makes_a_lease_shorter(self, queue: PersistentQueue, clock: FakeClock) -> None:
        queue.enqueue(new_job())
        lease = lease_of(took(queue))
        assert queue.extend_lease(lease, 1) == lease
        clock.advance(-100)
        assert queue.extend_lease(lease, 1) == lease
        assert got(queue, "a").lease == lease

    @promise("Q5")
    @needs("lease", "extend")
    def test_an_extension_takes_the_queues_own_lease_when_none_is_given(
        self, queue: PersistentQueue, clock: FakeClock
    ) -> None:
        queue.enqueue(new_job())
        lease = lease_of(took(queue, lease_s=1))
        assert queue.extend_lease(lease).expires_at == clock() + self.lease_s

    @promise("Q5")
    @needs("lease", "extend")
    def test_extend_many_answers_each_lease_in_order(self, queue: PersistentQueue, clock: FakeClock) -> None:
        queue.enqueue_many([new_job("a"), new_job("b"), new_job("c")])
        a, b, c = (lease_of(job) for job in queue.dequeue_many(3, lease_s=LEASE_S))
        queue.update_status("b", SUCCESS, lease=b)
        answers = queue.extend_many([c, b, Lease("nope", 1, "", 0), a], 50)
        expires_at = clock() + 50
        assert (answers[0], answers[3]) == (replace(c, expires_at=expires_at), replace(a, expires_at=expires_at))
        assert (type(answers[1]), type(answers[2])) == (LeaseLost, JobNotFound)
        assert queue.extend_many([]) == []

    @promise("Q5")
    @needs("lease", "extend")
    def test_an_extension_of_an_unknown_job_says_so(self, queue: PersistentQueue) -> None:
        with refused(queue, JobNotFound, "nope"):
            queue.extend_lease(Lease("nope", 1, "", 0))

    @promise("Q5")
    @needs("lease")
    def test_another_clients_dequeue_recovers_too(self, queue: PersistentQueue, clock: FakeClock) -> None:
        other = self._second(queue)
        queue.enqueue(new_job())
        took(queue)
        clock.advance(LEASE_S)
        took(other, "a")
