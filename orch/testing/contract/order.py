"""Q2: the highest priority first, then the lowest ticket; None only if no job is ready."""

from __future__ import annotations

import pytest

from orch.queue import PersistentQueue
from orch.testing.clock import FakeClock
from orch.testing.contract.base import (
    FAILED,
    LEASE_S,
    PENDING,
    RETRY,
    SUCCESS,
    Contract,
    at,
    drained,
    got,
    needs,
    new_job,
    promise,
    took,
)


class Order(Contract):
    """Sentences about Q2."""

    @promise("Q2")
    def test_first_in_first_out(self, queue: PersistentQueue) -> None:
        ids = list("qwertzuiopasdf")
        for job_id in ids:
            queue.enqueue(new_job(job_id))
        assert drained(queue) == ids

    @promise("Q2")
    def test_a_bulk_enqueue_keeps_the_given_order(self, queue: PersistentQueue) -> None:
        queue.enqueue(new_job("z"))
        queue.enqueue_many([new_job("y"), new_job("x"), new_job("w")])
        queue.enqueue(new_job("v"))
        assert drained(queue) == list("zyxwv")

    @promise("Q2")
    def test_order_is_that_of_enqueuing_whatever_the_stamps_say(self, queue: PersistentQueue) -> None:
        queue.enqueue(new_job("a", enqueued_at=at(100)))
        queue.enqueue(new_job("b", enqueued_at=at(0)))
        assert drained(queue) == ["a", "b"]

    @promise("Q2")
    def test_dequeue_of_an_empty_queue_is_none(self, queue: PersistentQueue) -> None:
        assert queue.dequeue() is None
        queue.enqueue(new_job())
        took(queue)
        assert queue.dequeue() is None

    @promise("Q2")
    @needs("priority")
    def test_higher_priority_goes_first(self, queue: PersistentQueue) -> None:
        for job_id, priority in [("low", -5), ("a", 0), ("b", 7), ("c", 0), ("d", 7), ("e", 1)]:
            queue.enqueue(new_job(job_id, priority=priority))
        assert drained(queue) == ["b", "d", "e", "a", "c", "low"]

    @promise("Q2")
    @needs("priority")
    def test_the_whole_range_of_priorities_is_ordered(self, queue: PersistentQueue) -> None:
        priorities = [0, 1, -1, 999, -999, 1000, -1000, 500, 2, -2, 10, 9]
        queue.enqueue_many(new_job(f"p{p}", priority=p) for p in priorities)
        assert drained(queue) == [f"p{p}" for p in sorted(priorities, reverse=True)]

    @promise("Q2")
    @needs("priority")
    def test_a_late_job_of_higher_priority_overtakes(self, queue: PersistentQueue) -> None:
        queue.enqueue_many([new_job("a"), new_job("b")])
        took(queue, "a")
        queue.enqueue(new_job("c", priority=1))
        assert drained(queue) == ["c", "b"]

    @promise("Q2")
    @needs("priority")
    def test_priority_then_ticket_over_many_jobs(self, queue: PersistentQueue) -> None:
        jobs = [new_job(f"j{i}", priority=(i * 7919) % 5 - 2) for i in range(200)]
        queue.enqueue_many(jobs)
        expected = sorted(range(200), key=lambda i: (-jobs[i].priority, i))
        assert drained(queue) == [f"j{i}" for i in expected]

    @promise("Q2")
    @needs("priority")
    def test_dequeue_many_delivers_in_order(self, queue: PersistentQueue) -> None:
        queue.enqueue_many([new_job("a"), new_job("b", priority=2), new_job("c"), new_job("d", priority=2)])
        assert [job.id for job in queue.dequeue_many(3)] == ["b", "d", "a"]

    @promise("Q2")
    def test_dequeue_many_delivers_what_is_ready(self, queue: PersistentQueue) -> None:
        queue.enqueue_many([new_job("a"), new_job("b")])
        assert [job.id for job in queue.dequeue_many(5)] == ["a", "b"]
        assert queue.dequeue_many(5) == []

    @promise("Q2")
    def test_dequeue_many_of_none_delivers_none(self, queue: PersistentQueue) -> None:
        queue.enqueue(new_job())
        assert queue.dequeue_many(0) == []
        assert queue.count(PENDING) == 1

    @promise("Q2")
    @needs("operator")
    @pytest.mark.parametrize("gone", ["a", "b", "c"])
    def test_an_ended_job_in_the_line_hides_none_behind_it(self, queue: PersistentQueue, gone: str) -> None:
        queue.enqueue_many([new_job("a"), new_job("b"), new_job("c")])
        queue.cancel(gone)
        assert drained(queue) == [job_id for job_id in "abc" if job_id != gone]

    @promise("Q2")
    @needs("delay")
    def test_a_delayed_job_is_not_ready_before_its_time(self, queue: PersistentQueue, clock: FakeClock) -> None:
        queue.enqueue(new_job(not_before=at(5)))
        clock.advance(4.999)
        assert queue.dequeue() is None
        assert queue.count(PENDING) == 1

    @promise("Q2")
    @needs("delay")
    def test_a_delayed_job_is_ready_at_its_time(self, queue: PersistentQueue, clock: FakeClock) -> None:
        queue.enqueue(new_job(not_before=at(5)))
        clock.advance(5)
        took(queue, "a")

    @promise("Q2")
    @needs("delay")
    def test_not_before_is_an_instant_in_any_zone(self, queue: PersistentQueue, clock: FakeClock) -> None:
        queue.enqueue(new_job("a", not_before="2027-01-15T10:00:05+02:00"))
        queue.enqueue(new_job("b", not_before="2027-01-15T02:00:04.5-06:00"))
        clock.advance(4.5)
        took(queue, "b")
        assert queue.dequeue() is None
        clock.advance(0.5)
        took(queue, "a")

    @promise("Q2")
    @needs("delay")
    @pytest.mark.parametrize("seconds", [0, -0.001, -3600])
    def test_a_past_not_before_is_ready_at_once_in_its_turn(self, queue: PersistentQueue, seconds: float) -> None:
        queue.enqueue_many([new_job("a"), new_job("b", not_before=at(seconds)), new_job("c")])
        assert drained(queue) == ["a", "b", "c"]

    @promise("Q2")
    @needs("delay")
    def test_a_delivered_job_has_no_not_before(self, queue: PersistentQueue, clock: FakeClock) -> None:
        queue.enqueue(new_job(not_before=at(5)))
        assert got(queue, "a").not_before == at(5)
        clock.advance(5)
        assert took(queue, "a").not_before is None
        assert got(queue, "a").not_before is None

    @promise("Q2")
    @needs("delay")
    def test_due_jobs_take_their_tickets_by_due_time_then_enqueue_order(
        self, queue: PersistentQueue, clock: FakeClock
    ) -> None:
        for job_id, due in [("a", 3), ("b", 2), ("c", 3), ("d", 1), ("e", 2)]:
            queue.enqueue(new_job(job_id, not_before=at(due)))
        clock.advance(10)
        assert drained(queue) == ["d", "b", "e", "a", "c"]

    @promise("Q2")
    @needs("delay", "lease")
    def test_equal_due_times_go_by_first_enqueue_also_after_a_retry(
        self, queue: PersistentQueue, clock: FakeClock
    ) -> None:
        queue.enqueue(new_job("a", max_retries=1))
        queue.enqueue(new_job("b", not_before=at(5)))
        queue.update_status("a", RETRY, lease=took(queue, "a").lease, delay_s=5)
        clock.advance(5)
        assert drained(queue) == ["a", "b"]

    @promise("Q2")
    @needs("delay")
    def test_a_job_that_is_not_yet_due_is_overtaken(self, queue: PersistentQueue, clock: FakeClock) -> None:
        queue.enqueue(new_job("late", not_before=at(5)))
        queue.enqueue(new_job("a"))
        clock.advance(5)
        assert drained(queue) == ["a", "late"]

    @promise("Q2")
    @needs("delay")
    def test_an_enqueue_promotes_what_is_due_before_its_own_ticket(
        self, queue: PersistentQueue, clock: FakeClock
    ) -> None:
        queue.enqueue(new_job("due", not_before=at(5)))
        clock.advance(5)
        queue.enqueue(new_job("a"))
        assert drained(queue) == ["due", "a"]

    @promise("Q2", "Q3")
    @needs("delay", "requeue", "operator")
    def test_an_enqueue_of_known_ids_promotes_nothing(self, queue: PersistentQueue, clock: FakeClock) -> None:
        queue.enqueue_many([new_job("due", not_before=at(5)), new_job("f")])
        queue.cancel("f")
        clock.advance(5)
        queue.enqueue(new_job("f"))
        queue.requeue("f")
        assert drained(queue) == ["f", "due"]

    @promise("Q2")
    @needs("delay", "lease")
    def test_a_report_promotes_what_is_due_before_its_own_ticket(
        self, queue: PersistentQueue, clock: FakeClock
    ) -> None:
        queue.enqueue_many([new_job("a", max_retries=1), new_job("due", not_before=at(5))])
        job = took(queue, "a")
        clock.advance(5)
        queue.update_status("a", RETRY, lease=job.lease)
        assert drained(queue) == ["due", "a"]

    @promise("Q2", "Q8")
    @needs("delay", "lease", "requeue", "operator")
    def test_a_report_without_effect_promotes_nothing(self, queue: PersistentQueue, clock: FakeClock) -> None:
        queue.enqueue_many([new_job("a"), new_job("f"), new_job("due", not_before=at(5))])
        job = took(queue, "a")
        queue.update_status("a", SUCCESS, lease=job.lease)
        queue.cancel("f")
        clock.advance(5)
        queue.update_status("a", SUCCESS, lease=job.lease)
        queue.update_status("a", SUCCESS)
        queue.cancel("f")
        queue.requeue("f")
        assert drained(queue) == ["f", "due"]

    @promise("Q2")
    @needs("delay", "requeue", "operator")
    def test_a_requeue_takes_its_ticket_before_what_is_due_but_not_promoted(
        self, queue: PersistentQueue, clock: FakeClock
    ) -> None:
        queue.enqueue_many([new_job("f"), new_job("due", not_before=at(5))])
        queue.cancel("f")
        clock.advance(5)
        queue.requeue("f")
        assert drained(queue) == ["f", "due"]

    @promise("Q2")
    @needs("delay", "requeue", "operator")
    def test_a_dequeue_promotes_also_what_it_does_not_deliver(self, queue: PersistentQueue, clock: FakeClock) -> None:
        queue.enqueue_many([new_job("a"), new_job("f"), new_job("due", not_before=at(5))])
        queue.cancel("f")
        clock.advance(5)
        took(queue, "a")
        queue.requeue("f")
        assert drained(queue) == ["due", "f"]

    @promise("Q2")
    @needs("delay", "priority")
    def test_a_due_job_takes_its_place_by_priority(self, queue: PersistentQueue, clock: FakeClock) -> None:
        queue.enqueue_many(
            [new_job("low", not_before=at(1), priority=-1), new_job("high", not_before=at(2), priority=1)]
        )
        queue.enqueue(new_job("a"))
        clock.advance(5)
        assert drained(queue) == ["high", "a", "low"]

    @promise("Q2")
    @needs("delay", "operator")
    def test_an_ended_delayed_job_does_not_come_back_when_it_is_due(
        self, queue: PersistentQueue, clock: FakeClock
    ) -> None:
        queue.enqueue(new_job(not_before=at(5)))
        queue.cancel("a")
        clock.advance(5)
        assert queue.dequeue() is None
        assert got(queue, "a").status is FAILED

    @promise("Q2")
    @needs("delay", "requeue", "operator")
    def test_a_requeued_delayed_job_is_ready_at_once_and_once(self, queue: PersistentQueue, clock: FakeClock) -> None:
        queue.enqueue(new_job(not_before=at(5)))
        queue.cancel("a")
        assert queue.requeue("a").not_before is None
        took(queue, "a", lease_s=1e6)
        clock.advance(5)
        assert queue.dequeue() is None

    @promise("Q2")
    @needs("delay", "requeue", "operator")
    def test_a_job_delayed_anew_waits_for_its_new_time(self, queue: PersistentQueue, clock: FakeClock) -> None:
        queue.enqueue(new_job(not_before=at(5), max_retries=1))
        queue.cancel("a")
        queue.requeue("a")
        queue.update_status("a", RETRY, lease=took(queue, "a", lease_s=1e6).lease, delay_s=9)
        clock.advance(5)
        assert queue.dequeue() is None
        clock.advance(4)
        took(queue, "a")

    @promise("Q2")
    @needs("lease")
    def test_a_job_given_back_keeps_its_place(self, queue: PersistentQueue) -> None:
        queue.enqueue_many([new_job("a"), new_job("b"), new_job("c")])
        first, second = queue.dequeue_many(2)
        queue.update_status("b", PENDING, lease=second.lease)
        queue.update_status("a", PENDING, lease=first.lease)
        queue.enqueue(new_job("d"))
        assert drained(queue) == ["a", "b", "c", "d"]

    @promise("Q2", "Q5")
    @needs("lease")
    def test_a_job_whose_lease_was_lost_keeps_its_place(self, queue: PersistentQueue, clock: FakeClock) -> None:
        queue.enqueue_many([new_job("a"), new_job("b"), new_job("c")])
        queue.dequeue_many(2, lease_s=LEASE_S)
        queue.enqueue(new_job("d"))
        clock.advance(LEASE_S)
        assert drained(queue) == ["a", "b", "c", "d"]

    @promise("Q2")
    @needs("lease", "priority")
    def test_a_returned_job_keeps_its_place_among_its_priority(self, queue: PersistentQueue) -> None:
        queue.enqueue_many([new_job("a", priority=1), new_job("b", priority=1), new_job("c")])
        job = took(queue, "a")
        queue.enqueue(new_job("d", priority=2))
        queue.update_status("a", PENDING, lease=job.lease)
        assert drained(queue) == ["d", "a", "b", "c"]

    @promise("Q2")
    @needs("lease")
    def test_a_retried_job_goes_to_the_end_of_the_line(self, queue: PersistentQueue) -> None:
        queue.enqueue_many([new_job("a", max_retries=2), new_job("b"), new_job("c")])
        queue.update_status("a", RETRY, lease=took(queue, "a").lease)
        queue.enqueue(new_job("d"))
        assert drained(queue) == ["b", "c", "a", "d"]

    @promise("Q2")
    @needs("lease")
    def test_a_job_given_back_after_a_retry_keeps_its_new_place(self, queue: PersistentQueue) -> None:
        queue.enqueue_many([new_job("a", max_retries=2), new_job("b")])
        queue.update_status("a", RETRY, lease=took(queue, "a").lease)
        took(queue, "b")
        queue.enqueue(new_job("c"))
        queue.update_status("a", PENDING, lease=took(queue, "a").lease)
        assert drained(queue) == ["a", "c"]

    @promise("Q2")
    @needs("lease", "delay")
    def test_a_retry_with_a_delay_takes_its_ticket_when_it_is_due(
        self, queue: PersistentQueue, clock: FakeClock
    ) -> None:
        queue.enqueue_many([new_job("a", max_retries=2), new_job("b")])
        job = queue.update_status("a", RETRY, lease=took(queue, "a").lease, delay_s=5)
        assert job.not_before == at(5)
        clock.advance(4.999)
        queue.enqueue(new_job("c"))
        clock.advance(0.001)
        queue.enqueue(new_job("d"))
        assert drained(queue) == ["b", "c", "a", "d"]

    @promise("Q2")
    @needs("lease", "delay")
    @pytest.mark.parametrize("delay_s", [None, 0, 0.0])
    def test_a_retry_without_delay_is_ready_at_once(self, queue: PersistentQueue, delay_s: float | None) -> None:
        queue.enqueue(new_job("a", max_retries=2))
        job = queue.update_status("a", RETRY, lease=took(queue, "a").lease, delay_s=delay_s)
        assert job.not_before is None
        took(queue, "a")

    @promise("Q2")
    @needs("requeue", "operator")
    def test_a_requeued_job_goes_to_the_end_of_the_line(self, queue: PersistentQueue) -> None:
        queue.enqueue_many([new_job("a"), new_job("b")])
        queue.cancel("a")
        queue.requeue("a")
        queue.enqueue(new_job("c"))
        assert drained(queue) == ["b", "a", "c"]

    @promise("Q2")
    @needs("lease")
    def test_returned_and_new_jobs_mixed_come_in_ticket_order(self, queue: PersistentQueue, clock: FakeClock) -> None:
        queue.enqueue_many(new_job(f"j{i}") for i in range(6))
        jobs = {job.id: job for job in queue.dequeue_many(5, lease_s=LEASE_S)}
        queue.update_status("j3", PENDING, lease=jobs["j3"].lease)
        queue.update_status("j1", PENDING, lease=jobs["j1"].lease)
        queue.update_status("j2", SUCCESS, lease=jobs["j2"].lease)
        clock.advance(LEASE_S)  # j0 and j4 are lost
        assert drained(queue) == ["j0", "j1", "j3", "j4", "j5"]
