"""Q4: one current lease a job; nobody else can report or extend."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar

import pytest

from orch.clock import to_us
from orch.errors import (
    LeaseLost,
)
from orch.job import Lease
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
    got,
    lease_of,
    needs,
    new_job,
    promise,
    refused,
    took,
)


class OneHolder(Contract):
    """Sentences about Q4."""

    @promise("Q4")
    @needs("lease")
    def test_a_delivery_carries_a_lease(self, queue: PersistentQueue, clock: FakeClock) -> None:
        queue.enqueue(new_job())
        lease = lease_of(took(queue, "a", "w1"))
        assert (lease.job_id, lease.worker_id, lease.expires_at) == ("a", "w1", clock() + LEASE_S)

    @promise("Q4")
    def test_a_delivered_job_is_running(self, queue: PersistentQueue, clock: FakeClock) -> None:
        queue.enqueue(new_job())
        clock.advance(3)
        job = took(queue, "a")
        assert (job.status, job.started_at, job.finished_at, job.attempts) == (RUNNING, at(3), None, 1)
        assert got(queue, "a") == job

    @promise("Q4")
    @needs("lease")
    def test_a_running_job_shows_its_current_lease_and_no_other_does(self, busy: Busy) -> None:
        shown = {job.id: job.lease for job in busy.queue.list_jobs()}
        assert shown == {job_id: busy.leases["r"] if job_id == "r" else None for job_id in busy.ids}
        assert {job_id: got(busy.queue, job_id).lease for job_id in busy.ids} == shown

    @promise("Q4")
    @needs("lease")
    def test_tokens_grow_over_the_whole_queue(self, queue: PersistentQueue, clock: FakeClock) -> None:
        queue.enqueue_many(new_job(f"j{i}") for i in range(5))
        tokens = [lease_of(took(queue)).token for _ in range(3)]
        clock.advance(2)
        tokens += [lease_of(job).token for job in queue.dequeue_many(2)]
        assert tokens == sorted(set(tokens))

    @promise("Q4")
    @needs("lease")
    def test_a_token_is_the_larger_of_the_next_one_and_the_time_in_microseconds(
        self, queue: PersistentQueue, clock: FakeClock
    ) -> None:
        queue.enqueue_many(new_job(f"j{i}") for i in range(4))
        now = to_us(clock())
        assert lease_of(took(queue)).token == now
        assert lease_of(took(queue)).token == now + 1
        clock.advance(1)
        assert lease_of(took(queue)).token == now + 1_000_000
        clock.advance(-50)
        assert lease_of(took(queue)).token == now + 1_000_001

    STALE_ACTS: ClassVar[list[Any]] = [
        pytest.param(lambda q, lease: q.update_status("a", SUCCESS, result={"x": 1}, lease=lease), id="SUCCESS"),
        pytest.param(lambda q, lease: q.update_status("a", FAILED, error="late", lease=lease), id="FAILED"),
        pytest.param(lambda q, lease: q.update_status("a", RETRY, error="late", lease=lease), id="RETRY"),
        pytest.param(lambda q, lease: q.update_status("a", RETRY, lease=lease, delay_s=5), id="RETRY later"),
        pytest.param(lambda q, lease: q.update_status("a", PENDING, lease=lease), id="give back"),
        pytest.param(lambda q, lease: q.extend_lease(lease), id="extend"),
        pytest.param(lambda q, lease: q.record_progress(lease, "t", {"x": 1}), id="progress"),
    ]

    @promise("Q4")
    @needs("lease", "extend", "progress")
    @pytest.mark.parametrize("act", STALE_ACTS)
    def test_a_stale_lease_can_do_nothing_to_the_next_delivery(
        self, queue: PersistentQueue, clock: FakeClock, act: Callable[[PersistentQueue, Lease], Any]
    ) -> None:
        queue.enqueue(new_job(max_retries=5))
        stale = lease_of(took(queue))
        clock.advance(LEASE_S)
        took(queue, "a")
        with refused(queue, LeaseLost, str(stale.token), "'a'"):
            act(queue, stale)
        assert queue.progress("a") == {}

    @promise("Q4")
    @needs("lease", "extend", "progress", "operator", "requeue", "priority")
    @pytest.mark.parametrize("act", STALE_ACTS)
    @pytest.mark.parametrize("ended", ["reclaimed", "operator SUCCESS", "operator RETRY", "cancelled", "requeued"])
    def test_a_lease_that_was_ended_can_do_nothing(
        self, queue: PersistentQueue, clock: FakeClock, ended: str, act: Callable[[PersistentQueue, Lease], Any]
    ) -> None:
        queue.enqueue(new_job(max_retries=5))
        stale = lease_of(took(queue))
        if ended == "reclaimed":
            queue.enqueue(new_job("b", priority=1))
            clock.advance(LEASE_S)
            took(queue, "b")
        elif ended == "operator SUCCESS":
            queue.update_status("a", SUCCESS)
        elif ended == "operator RETRY":
            queue.update_status("a", RETRY)
        else:
            queue.cancel("a")
            if ended == "requeued":
                queue.requeue("a")
        with refused(queue, LeaseLost, str(stale.token)):
            act(queue, stale)
        assert queue.progress("a") == {}

    @promise("Q4")
    @needs("lease", "extend", "progress")
    @pytest.mark.parametrize("act", [param for param in STALE_ACTS if param.id != "SUCCESS"])
    def test_after_its_success_a_lease_can_do_nothing_else(
        self, queue: PersistentQueue, act: Callable[[PersistentQueue, Lease], Any]
    ) -> None:
        queue.enqueue(new_job(max_retries=5))
        lease = lease_of(took(queue))
        queue.update_status("a", SUCCESS, lease=lease)
        with refused(queue, LeaseLost):
            act(queue, lease)

    @promise("Q4")
    @needs("lease", "extend", "progress")
    @pytest.mark.parametrize("act", [param for param in STALE_ACTS if param.id != "give back"])
    def test_after_it_gave_back_a_lease_can_do_nothing_else(
        self, queue: PersistentQueue, act: Callable[[PersistentQueue, Lease], Any]
    ) -> None:
        queue.enqueue(new_job(max_retries=5))
        lease = lease_of(took(queue))
        queue.update_status("a", PENDING, lease=lease)
        with refused(queue, LeaseLost):
            act(queue, lease)

    @promise("Q4")
    @needs("lease", "extend", "progress")
    @pytest.mark.parametrize("act", STALE_ACTS)
    @pytest.mark.parametrize("token", [0, 1, "one less", "one more"])
    def test_an_invented_token_can_do_nothing(
        self, queue: PersistentQueue, token: int | str, act: Callable[[PersistentQueue, Lease], Any]
    ) -> None:
        queue.enqueue(new_job(max_retries=5))
        lease = lease_of(took(queue))
        forged = {"one less": lease.token - 1, "one more": lease.token + 1}.get(str(token), token)
        with refused(queue, LeaseLost):
            act(queue, replace(lease, token=int(forged)))

    @promise("Q4")
    @needs("lease")
    def test_a_job_that_was_never_delivered_takes_no_report_under_a_lease(self, queue: PersistentQueue) -> None:
        queue.enqueue(new_job())
        with refused(queue, LeaseLost):
            queue.update_status("a", SUCCESS, lease=Lease("a", 0, "", 0))

    @promise("Q4")
    @needs("lease", "extend")
    def test_a_lease_past_its_end_is_current_until_a_dequeue_takes_it_back(
        self, queue: PersistentQueue, clock: FakeClock
    ) -> None:
        queue.enqueue(new_job())
        job = took(queue)
        clock.advance(1000)
        assert got(queue, "a").status is RUNNING
        assert queue.extend_lease(lease_of(job), 5).expires_at == clock() + 5
        clock.advance(1000)
        assert queue.update_status("a", SUCCESS, lease=job.lease).status is SUCCESS

    @promise("Q4")
    @needs("lease", "extend")
    def test_the_lease_value_from_before_an_extension_is_still_good(self, queue: PersistentQueue) -> None:
        queue.enqueue(new_job())
        lease = lease_of(took(queue))
        queue.extend_lease(lease, 99)
        assert queue.update_status("a", SUCCESS, lease=lease).status is SUCCESS

    @promise("Q4")
    @needs("lease")
    def test_a_job_is_held_by_one_of_two_clients(self, queue: PersistentQueue, clock: FakeClock) -> None:
        other = self._second(queue)
        queue.enqueue_many([new_job("a"), new_job("b")])
        assert [took(queue).id, took(other).id] == ["a", "b"]
        assert queue.dequeue() is None
        assert other.dequeue() is None

    @promise("Q4")
    @needs("lease")
    def test_the_lease_of_one_client_is_good_with_another(self, queue: PersistentQueue) -> None:
        other = self._second(queue)
        queue.enqueue(new_job())
        job = took(queue)
        assert other.update_status("a", SUCCESS, result={"by": 2}, lease=job.lease).status is SUCCESS
        assert got(queue, "a").result == {"by": 2}

    @promise("Q4", "Q5")
    @needs("lease")
    def test_a_forward_jump_of_the_clock_fences_the_old_holder(self, queue: PersistentQueue, clock: FakeClock) -> None:
        queue.enqueue(new_job())
        old = took(queue)
        clock.advance(1e6)
        new = took(queue, "a")
        assert lease_of(new).token > lease_of(old).token
        with refused(queue, LeaseLost):
            queue.update_status("a", SUCCESS, lease=old.lease)
        queue.update_status("a", SUCCESS, lease=new.lease)

    @promise("Q4", "Q5")
    @needs("lease")
    def test_a_backward_jump_of_the_clock_delivers_nothing_twice(
        self, queue: PersistentQueue, clock: FakeClock
    ) -> None:
        queue.enqueue_many([new_job("a"), new_job("b")])
        first = took(queue, "a")
        clock.advance(-1e6)
        second = took(queue, "b")
        assert lease_of(second).token > lease_of(first).token
        assert queue.dequeue() is None
        assert queue.update_status("a", SUCCESS, lease=first.lease).status is SUCCESS
