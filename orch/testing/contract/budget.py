"""Q6: retries and lost leases end in FAILED."""

from __future__ import annotations

import pytest

from orch.queue import PersistentQueue
from orch.testing.clock import FakeClock
from orch.testing.contract.base import (
    FAILED,
    LEASE_S,
    PENDING,
    RETRY,
    Contract,
    at,
    got,
    needs,
    new_job,
    promise,
    took,
)


class BoundedWork(Contract):
    """Sentences about Q6."""

    @promise("Q6")
    @needs("lease")
    @pytest.mark.parametrize("max_retries", [0, 1, 3])
    def test_a_retry_beyond_max_retries_is_a_failure_with_the_error_kept(
        self, queue: PersistentQueue, max_retries: int
    ) -> None:
        queue.enqueue(new_job(max_retries=max_retries))
        for n in range(max_retries):
            job = queue.update_status("a", RETRY, error=f"e{n}", lease=took(queue, "a").lease)
            assert (job.status, job.failures, job.error) == (PENDING, n + 1, f"e{n}")
        job = queue.update_status("a", RETRY, error="last", lease=took(queue, "a").lease)
        assert (job.status, job.error) == (FAILED, "last")
        assert (job.attempts, job.failures) == (max_retries + 1, max_retries + 1)
        assert queue.dequeue() is None

    @promise("Q6")
    @needs("lease", "delay")
    def test_a_retry_beyond_max_retries_ends_the_job_also_when_it_names_a_delay(
        self, queue: PersistentQueue, clock: FakeClock
    ) -> None:
        queue.enqueue(new_job())
        clock.advance(2)
        job = queue.update_status("a", RETRY, lease=took(queue, "a").lease, delay_s=5)
        assert (job.status, job.finished_at, job.started_at, job.not_before) == (FAILED, at(2), at(2), None)
        clock.advance(5)
        assert queue.dequeue() is None

    @promise("Q6")
    @needs("lease")
    def test_a_retry_that_gives_no_error_keeps_the_last_one_to_the_end(self, queue: PersistentQueue) -> None:
        queue.enqueue(new_job(max_retries=1))
        queue.update_status("a", RETRY, error="why", result={"n": 1}, lease=took(queue).lease)
        job = queue.update_status("a", RETRY, lease=took(queue).lease)
        assert (job.status, job.error, job.result) == (FAILED, "why", {"n": 1})

    @promise("Q6")
    @needs("lease", "crashes")
    def test_a_lost_lease_beyond_max_crashes_is_a_failure_that_says_so(
        self, queue: PersistentQueue, clock: FakeClock
    ) -> None:
        queue.enqueue(new_job())
        for n in range(self.max_crashes + 1):
            assert took(queue, "a").crashes == n
            clock.advance(LEASE_S)
        assert queue.dequeue() is None
        job = got(queue, "a")
        assert (job.status, job.crashes, job.attempts) == (FAILED, self.max_crashes + 1, self.max_crashes + 1)
        assert (job.failures, job.finished_at) == (0, at(LEASE_S * (self.max_crashes + 1)))
        assert job.started_at == at(LEASE_S * self.max_crashes)
        assert job.error is not None
        assert "max_crashes" in job.error
        assert str(self.max_crashes + 1) in job.error

    @promise("Q6")
    @needs("lease")
    def test_a_job_given_back_spends_no_budget(self, queue: PersistentQueue) -> None:
        queue.enqueue(new_job())
        for n in range(1, 8):
            job = queue.update_status("a", PENDING, lease=took(queue, "a").lease)
            assert (job.status, job.failures, job.crashes, job.attempts) == (PENDING, 0, 0, n)
            assert (job.started_at, job.lease) == (None, None)

    @promise("Q6")
    @needs("lease", "crashes")
    def test_the_two_budgets_are_separate(self, queue: PersistentQueue, clock: FakeClock) -> None:
        queue.enqueue(new_job(max_retries=1))
        for _ in range(self.max_crashes):
            took(queue, "a")
            clock.advance(LEASE_S)
        job = queue.update_status("a", RETRY, lease=took(queue, "a").lease)
        assert (job.status, job.crashes, job.failures) == (PENDING, self.max_crashes, 1)
        took(queue, "a")
        clock.advance(LEASE_S)
        assert queue.dequeue() is None
        assert got(queue, "a").status is FAILED

    @promise("Q6")
    @needs("lease", "requeue", "crashes")
    def test_a_requeue_gives_a_fresh_budget_and_keeps_the_attempts(
        self, queue: PersistentQueue, clock: FakeClock
    ) -> None:
        queue.enqueue(new_job(max_retries=1))
        took(queue)
        clock.advance(LEASE_S)
        queue.update_status("a", RETRY, lease=took(queue).lease)
        queue.update_status("a", RETRY, error="end", lease=took(queue).lease)
        job = queue.requeue("a")
        assert (job.status, job.failures, job.crashes, job.attempts, job.error) == (PENDING, 0, 0, 3, "end")
        assert queue.update_status("a", RETRY, lease=took(queue).lease).status is PENDING

    @promise("Q6")
    @needs("lease", "crashes")
    def test_deliveries_are_bounded_by_both_budgets(self, queue: PersistentQueue, clock: FakeClock) -> None:
        queue.enqueue(new_job(max_retries=2))
        deliveries = 0
        while (job := queue.dequeue(lease_s=LEASE_S)) is not None:
            deliveries += 1
            assert deliveries <= 1 + 2 + self.max_crashes
            if deliveries % 2:
                queue.update_status("a", RETRY, lease=job.lease)
            else:
                clock.advance(LEASE_S)
        assert got(queue, "a").status is FAILED

    @promise("Q6")
    @needs("lease")
    def test_a_failed_report_counts_as_a_failure(self, queue: PersistentQueue) -> None:
        queue.enqueue(new_job(max_retries=5))
        job = queue.update_status("a", FAILED, error="no", lease=took(queue).lease)
        assert (job.status, job.failures, job.crashes) == (FAILED, 1, 0)

    @promise("Q6")
    @needs("operator")
    def test_an_operators_failure_and_a_cancel_count_as_failures(self, queue: PersistentQueue) -> None:
        queue.enqueue_many([new_job("a"), new_job("b")])
        assert queue.update_status("a", FAILED).failures == 1
        assert queue.cancel("b").failures == 1

    @promise("Q6")
    def test_each_delivery_is_an_attempt(self, queue: PersistentQueue) -> None:
        queue.enqueue(new_job(max_retries=9))
        for n in range(1, 6):
            job = took(queue)
            assert job.attempts == n
            queue.update_status("a", RETRY, lease=job.lease)
            assert got(queue, "a").attempts == n
