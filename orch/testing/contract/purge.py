"""Q10: a purge removes exactly what is final for longer than it says."""

from __future__ import annotations

import pytest

from orch.job import Report
from orch.queue import PersistentQueue
from orch.testing.clock import FakeClock
from orch.testing.contract.base import (
    FAILED,
    LEASE_S,
    PENDING,
    RUNNING,
    SUCCESS,
    Busy,
    Contract,
    got,
    lease_of,
    needs,
    new_job,
    promise,
    took,
)


class Purge(Contract):
    """Sentences about Q10."""

    @promise("Q10")
    @pytest.mark.parametrize(("age_s", "hours"), [(86_400, 24), (3_600, 1), (900, 0.25), (1.8, 0.0005), (0, 0)])
    def test_a_purge_removes_what_finished_more_than_so_many_hours_ago(
        self, queue: PersistentQueue, clock: FakeClock, age_s: float, hours: float
    ) -> None:
        queue.enqueue(new_job())
        queue.update_status("a", SUCCESS, lease=took(queue).lease)
        clock.advance(age_s)
        assert queue.purge(hours) == 0
        clock.advance(0.001)
        assert queue.purge(hours) == 1
        assert queue.get_job("a") is None
        assert queue.count() == 0
        assert queue.list_jobs() == []

    @promise("Q10")
    def test_a_purge_takes_a_day_unless_told_otherwise(self, queue: PersistentQueue, clock: FakeClock) -> None:
        queue.enqueue(new_job())
        queue.update_status("a", FAILED, lease=took(queue).lease)
        clock.advance(24 * 3600)
        assert queue.purge() == 0
        clock.advance(1)
        assert queue.purge() == 1

    @promise("Q10")
    def test_only_final_jobs_are_purged(self, busy: Busy, clock: FakeClock) -> None:
        clock.advance(1e6)
        assert busy.queue.purge(1) == 2
        kept = {job_id for job_id in busy.ids if job_id not in ("s", "f")}
        assert {job.id for job in busy.queue.list_jobs()} == kept
        assert busy.queue.count() == len(kept)

    @promise("Q10")
    def test_a_purge_goes_by_the_finish_and_not_by_the_stamp(self, queue: PersistentQueue, clock: FakeClock) -> None:
        queue.enqueue(new_job("old", enqueued_at="2001-01-01T00:00:00-12:00"))
        queue.enqueue(new_job("new", enqueued_at="2090-01-01T00:00:00+12:00"))
        old, new = took(queue, "old", lease_s=1e6), took(queue, "new")
        queue.update_status("new", SUCCESS, lease=new.lease)
        clock.advance(7200)
        queue.update_status("old", SUCCESS, lease=old.lease)
        clock.advance(1)
        assert queue.purge(1) == 1
        assert [job.id for job in queue.list_jobs()] == ["old"]

    @promise("Q10")
    def test_a_purge_takes_the_old_and_leaves_the_young(self, queue: PersistentQueue, clock: FakeClock) -> None:
        queue.enqueue_many(new_job(f"j{i}") for i in range(10))
        for job in queue.dequeue_many(10, lease_s=1e6):
            queue.update_status(job.id, SUCCESS, lease=job.lease)
            clock.advance(3600)
        assert queue.purge(4) == 6
        assert {job.id for job in queue.list_jobs()} == {f"j{i}" for i in range(6, 10)}

    @promise("Q10")
    @needs("requeue", "lease")
    def test_a_job_that_finished_twice_counts_from_the_last_time(
        self, queue: PersistentQueue, clock: FakeClock
    ) -> None:
        queue.enqueue(new_job())
        queue.update_status("a", FAILED, lease=took(queue).lease)
        queue.requeue("a")
        clock.advance(7200)
        assert queue.purge(1) == 0
        queue.update_status("a", SUCCESS, lease=took(queue).lease)
        clock.advance(3600)
        assert queue.purge(1) == 0
        clock.advance(1)
        assert queue.purge(1) == 1

    @promise("Q10")
    @needs("crashes", "lease")
    def test_a_job_that_crashed_too_often_is_purged_like_any_other(
        self, queue: PersistentQueue, clock: FakeClock
    ) -> None:
        queue.enqueue(new_job())
        while queue.dequeue(lease_s=LEASE_S):
            clock.advance(LEASE_S)
        clock.advance(3601)
        assert queue.purge(1) == 1

    @promise("Q10")
    def test_a_purge_of_more_than_a_slice_removes_all(self, queue: PersistentQueue, clock: FakeClock) -> None:
        queue.enqueue_many(new_job(f"j{i}") for i in range(1_005))
        jobs = queue.dequeue_many(1_003, lease_s=1e6)
        queue.exchange([Report(job.id, SUCCESS, lease=job.lease) for job in jobs], 0)
        clock.advance(1)
        assert queue.purge(0) == 1_003
        assert queue.counts() == {PENDING: 2, RUNNING: 0, SUCCESS: 0, FAILED: 0}
        assert [job.id for job in queue.list_jobs()] == ["j1004", "j1003"]

    @promise("Q10")
    @needs("progress", "lease")
    def test_a_purge_forgets_all_about_an_id(self, queue: PersistentQueue, clock: FakeClock) -> None:
        queue.enqueue(new_job(max_retries=3, params={"x": 1}))
        job = took(queue)
        queue.record_progress(lease_of(job), "t", 1)
        queue.update_status("a", SUCCESS, error="e", result={"y": 2}, lease=job.lease)
        clock.advance(1)
        queue.purge(0)
        assert queue.progress("a") == {}
        queue.enqueue(new_job())
        assert got(queue, "a") == new_job()
        assert queue.progress("a") == {}
