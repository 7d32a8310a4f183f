"""Q9: counts equal the lists, lists have their order; `stats` agrees."""

from __future__ import annotations

import pytest

from orch.job import STATES, QueueStats
from orch.queue import PersistentQueue
from orch.testing.clock import FakeClock
from orch.testing.contract.base import (
    AT,
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
    needs,
    new_job,
    promise,
    snapshot,
    took,
)


class Counts(Contract):
    """Sentences about Q9."""

    @promise("Q9")
    def test_counts_are_of_exactly_the_four_states(self, queue: PersistentQueue) -> None:
        assert queue.counts() == dict.fromkeys(STATES, 0)
        assert list(queue.counts()) == list(STATES)

    @promise("Q9")
    def test_counts_equal_the_lists(self, busy: Busy) -> None:
        queue = busy.queue
        for status in STATES:
            assert queue.count(status) == queue.counts()[status] == len(queue.list_jobs(status))
        assert queue.count() == sum(queue.counts().values()) == len(queue.list_jobs()) == len(busy.ids)

    @promise("Q9")
    def test_no_job_is_stored_as_retry(self, queue: PersistentQueue) -> None:
        queue.enqueue(new_job(max_retries=1))
        job = queue.update_status("a", RETRY, lease=took(queue).lease)
        assert job.status is PENDING
        assert queue.count(RETRY) == 0
        assert queue.list_jobs(RETRY) == []

    @promise("Q9")
    @needs("lease", "requeue", "operator")
    def test_counts_equal_the_lists_through_a_long_life(self, queue: PersistentQueue, clock: FakeClock) -> None:
        def agree() -> None:
            for status in STATES:
                listed = queue.list_jobs(status, limit=1000)
                assert queue.count(status) == len(listed) == len({job.id for job in listed})
                assert {job.status for job in listed} <= {status}

        queue.enqueue_many(new_job(f"j{i}", max_retries=2) for i in range(12))
        for turn in range(10):
            jobs = queue.dequeue_many(4, lease_s=LEASE_S)
            for job, status in zip(jobs, (RETRY, PENDING, FAILED, SUCCESS), strict=False):
                queue.update_status(job.id, status, lease=job.lease)
                agree()
            for job in queue.list_jobs(FAILED)[:1]:
                queue.requeue(job.id)
                agree()
            if turn % 3 == 2:
                queue.dequeue(lease_s=1)
                clock.advance(LEASE_S)
            agree()
        assert queue.count() == 12

    @promise("Q9")
    @needs("listing")
    def test_the_newest_stamp_is_listed_first(self, queue: PersistentQueue) -> None:
        for job_id, seconds in [("b", 2), ("d", 4), ("a", 1), ("c", 3)]:
            queue.enqueue(new_job(job_id, enqueued_at=at(seconds)))
        assert [job.id for job in queue.list_jobs()] == list("dcba")

    @promise("Q9")
    @needs("listing")
    def test_stamps_are_compared_as_instants(self, queue: PersistentQueue) -> None:
        stamps = {
            "a": "2027-01-15T08:00:00Z",
            "b": "2027-01-15T08:00:00.000001+00:00",
            "c": "2027-01-15T09:00:00.5+01:00",
            "d": "2027-01-15T03:00:01-05:00",
            "e": "2027-01-15T20:15:01.000001+12:15",
            "f": "20270115T080002Z",
            "g": "2027-01-14T23:00:02.000001-09:00",
        }
        for job_id in "gacebfd":
            queue.enqueue(new_job(job_id, enqueued_at=stamps[job_id]))
        assert [job.id for job in queue.list_jobs()] == list("gfedcba")

    @promise("Q9")
    @needs("listing")
    def test_a_stamp_is_kept_as_it_was_written(self, queue: PersistentQueue) -> None:
        queue.enqueue(new_job(enqueued_at="2027-01-15T09:00:00.5+01:00"))
        assert got(queue, "a").enqueued_at == "2027-01-15T09:00:00.5+01:00"

    @promise("Q9")
    @needs("listing")
    @pytest.mark.parametrize("stamp", ["0001-01-01T00:00:00Z", "1969-12-31T23:59:59.999999Z", "9999-12-31T23:59:59Z"])
    def test_a_stamp_may_be_any_instant(self, queue: PersistentQueue, stamp: str) -> None:
        queue.enqueue_many([new_job("a", enqueued_at=stamp), new_job("b"), new_job("c", enqueued_at=stamp)])
        expected = ["c", "a", "b"] if stamp > AT else ["b", "c", "a"]
        assert [job.id for job in queue.list_jobs()] == expected

    @promise("Q9")
    @needs("listing")
    def test_ties_go_by_later_first_enqueue(self, queue: PersistentQueue) -> None:
        ids = ["m", "a", "z", "b", "y"]
        for n, job_id in enumerate(ids):  # one instant, written in two ways
            queue.enqueue(new_job(job_id, enqueued_at=AT if n % 2 else "2027-01-15T09:00:00+01:00"))
        assert [job.id for job in queue.list_jobs()] == ids[::-1]
        assert [job.id for job in queue.list_jobs(PENDING, limit=3)] == ["y", "b", "z"]

    @promise("Q9")
    @needs("listing", "lease", "requeue")
    def test_what_happens_to_a_job_does_not_move_it_in_the_list(self, queue: PersistentQueue) -> None:
        queue.enqueue_many(new_job(job_id, max_retries=3) for job_id in "abc")
        queue.update_status("a", RETRY, lease=took(queue, "a").lease)
        queue.update_status("b", PENDING, lease=took(queue, "b").lease)
        queue.update_status("b", FAILED, lease=took(queue, "b").lease)
        queue.requeue("b")
        queue.enqueue(new_job("a"))
        assert [job.id for job in queue.list_jobs()] == ["c", "b", "a"]
        assert [job.id for job in queue.list_jobs(PENDING)] == ["c", "b", "a"]

    @promise("Q9")
    @needs("listing")
    def test_a_limit_takes_the_newest(self, queue: PersistentQueue) -> None:
        queue.enqueue_many(new_job(f"j{i}", enqueued_at=at(i)) for i in range(5))
        assert [job.id for job in queue.list_jobs(limit=2)] == ["j4", "j3"]
        assert [job.id for job in queue.list_jobs(PENDING, limit=1)] == ["j4"]
        assert len(queue.list_jobs(limit=50)) == 5

    @promise("Q9")
    @needs("listing")
    def test_a_limit_of_0_gives_none(self, busy: Busy) -> None:
        assert busy.queue.list_jobs(limit=0) == []
        assert busy.queue.list_jobs(SUCCESS, limit=0) == []

    @promise("Q9")
    @needs("listing")
    def test_a_list_has_a_hundred_jobs_unless_told_otherwise(self, queue: PersistentQueue) -> None:
        queue.enqueue_many(new_job(f"j{i}") for i in range(120))
        assert [job.id for job in queue.list_jobs()] == [f"j{i}" for i in range(119, 19, -1)]
        assert len(queue.list_jobs(PENDING)) == 100
        assert len(queue.list_jobs(limit=1000)) == 120

    @promise("Q9")
    @needs("listing")
    def test_a_list_of_one_state_has_no_other(self, queue: PersistentQueue) -> None:
        queue.enqueue_many(new_job(f"j{i}") for i in range(6))
        for job in queue.dequeue_many(4):
            queue.update_status(job.id, SUCCESS if job.id in ("j0", "j2") else FAILED, lease=job.lease)
        assert [job.id for job in queue.list_jobs(SUCCESS)] == ["j2", "j0"]
        assert [job.id for job in queue.list_jobs(FAILED, limit=1)] == ["j3"]
        assert [job.id for job in queue.list_jobs(PENDING)] == ["j5", "j4"]
        assert queue.list_jobs(RUNNING) == []

    @promise("Q9")
    @needs("listing")
    def test_a_listed_job_is_what_get_job_says(self, busy: Busy) -> None:
        for job in busy.queue.list_jobs():
            assert got(busy.queue, job.id) == job

    @promise("Q9", "Q10")
    @needs("listing")
    def test_a_purged_id_that_is_enqueued_again_is_a_later_one(self, queue: PersistentQueue, clock: FakeClock) -> None:
        queue.enqueue_many([new_job("a"), new_job("b")])
        queue.update_status("a", SUCCESS, lease=took(queue, "a").lease)
        clock.advance(1)
        queue.purge(0)
        assert [job.id for job in queue.list_jobs()] == ["b"]
        queue.enqueue(new_job("a"))
        assert [job.id for job in queue.list_jobs()] == ["a", "b"]
        assert queue.count() == 2

    @promise("Q9")
    def test_two_clients_see_the_same(self, busy: Busy) -> None:
        other = self._second(busy.queue)
        assert snapshot(other) == snapshot(busy.queue)

    # -- stats ---------------------------------------------------------------------------------------------------------

    @promise("Q9")
    @needs("stats")
    def test_stats_of_an_empty_queue(self, queue: PersistentQueue) -> None:
        stats = queue.stats()
        assert stats == QueueStats(
            counts=dict.fromkeys(STATES, 0), ready=0, delayed=0, quarantined=0, oldest_ready_age_s=None
        )

    @promise("Q9")
    @needs("stats", "delay")
    def test_stats_tell_ready_from_delayed(self, busy: Busy, clock: FakeClock) -> None:
        clock.advance(3)
        stats = busy.queue.stats()
        assert stats.counts == busy.queue.counts() == {PENDING: 2, RUNNING: 1, SUCCESS: 1, FAILED: 1}
        assert (stats.ready, stats.delayed, stats.quarantined, stats.oldest_ready_age_s) == (1, 1, 0, 3.0)

    @promise("Q9")
    @needs("stats", "delay")
    def test_a_due_job_counts_as_delayed_until_it_is_promoted(self, queue: PersistentQueue, clock: FakeClock) -> None:
        queue.enqueue(new_job("d", not_before=at(5)))
        clock.advance(7)
        assert (queue.stats().ready, queue.stats().delayed) == (0, 1)
        queue.enqueue(new_job("a"))
        clock.advance(2)
        stats = queue.stats()
        assert (stats.ready, stats.delayed, stats.oldest_ready_age_s) == (2, 0, 2.0)

    @promise("Q9")
    @needs("stats", "priority", "lease")
    def test_the_oldest_ready_job_counts_from_its_ticket_over_all_priorities(
        self, queue: PersistentQueue, clock: FakeClock
    ) -> None:
        queue.enqueue(new_job("a", max_retries=3))
        clock.advance(1)
        queue.enqueue(new_job("b", priority=5))
        clock.advance(1)
        assert queue.stats().oldest_ready_age_s == 2.0
        took(queue, "b")
        job = took(queue, "a")
        assert queue.stats().oldest_ready_age_s is None
        queue.update_status("a", PENDING, lease=job.lease)  # its ticket is kept
        assert queue.stats().oldest_ready_age_s == 2.0
        queue.update_status("a", RETRY, lease=took(queue, "a").lease)  # a new ticket
        clock.advance(0.5)
        assert queue.stats().oldest_ready_age_s == 0.5

    @promise("Q9")
    @needs("stats")
    def test_an_age_is_never_negative(self, queue: PersistentQueue, clock: FakeClock) -> None:
        queue.enqueue(new_job("a"))
        clock.advance(-100)
        assert queue.stats().oldest_ready_age_s == 0.0

    @promise("Q9")
    @needs("stats", "operator", "requeue", "delay", "lease")
    def test_ready_and_delayed_stay_true_through_an_operators_acts(
        self, queue: PersistentQueue, clock: FakeClock
    ) -> None:
        queue.enqueue_many([new_job("a", max_retries=3), new_job("b"), new_job("d", not_before=at(9))])

        def ready_and_delayed() -> tuple[int, int]:
            return queue.stats().ready, queue.stats().delayed

        queue.cancel("b")
        assert ready_and_delayed() == (1, 1)
        queue.cancel("d")
        assert ready_and_delayed() == (1, 0)
        queue.requeue("d")
        assert ready_and_delayed() == (2, 0)
        took(queue, "a")
        queue.update_status("a", RETRY, delay_s=5)
        assert ready_and_delayed() == (1, 1)
