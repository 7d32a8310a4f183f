"""Q8: each verb is one step and can be repeated; `exchange` does two things in one."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest

from orch.errors import (
    IllegalTransition,
    JobNotFound,
    LeaseLost,
)
from orch.job import Job, JobStatus, Report
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
    drained,
    got,
    lease_of,
    needs,
    new_job,
    nothing_changed,
    promise,
    refused,
    took,
)


class Steps(Contract):
    """Sentences about Q8."""

    REPORTS: ClassVar[list[Any]] = [
        pytest.param(SUCCESS, {}, id="SUCCESS"),
        pytest.param(FAILED, {"error": "no"}, id="FAILED"),
        pytest.param(RETRY, {"error": "again"}, id="RETRY"),
        pytest.param(RETRY, {"delay_s": 5}, id="RETRY later"),
        pytest.param(PENDING, {}, id="give back"),
    ]

    @promise("Q8")
    @needs("lease", "delay")
    @pytest.mark.parametrize(("status", "given"), REPORTS)
    def test_a_repeated_report_is_silent_and_returns_the_job_as_it_is(
        self, queue: PersistentQueue, status: JobStatus, given: dict[str, Any]
    ) -> None:
        queue.enqueue(new_job(max_retries=5))
        lease = took(queue).lease
        first = queue.update_status("a", status, lease=lease, **given)
        with nothing_changed(queue):
            assert queue.update_status("a", status, lease=lease, **given) == first
            assert queue.update_status("a", status, error="other", result={"other": 1}, lease=lease) == first

    @promise("Q8")
    @needs("lease", "delay")
    @pytest.mark.parametrize(("status", "given"), [p for p in REPORTS if p.id not in ("SUCCESS", "FAILED")])
    def test_a_repeated_report_is_silent_also_after_the_next_delivery(
        self, queue: PersistentQueue, clock: FakeClock, status: JobStatus, given: dict[str, Any]
    ) -> None:
        queue.enqueue(new_job(max_retries=5))
        lease = took(queue).lease
        queue.update_status("a", status, lease=lease, **given)
        clock.advance(5)
        again = took(queue, "a")
        with nothing_changed(queue):
            job = queue.update_status("a", status, lease=lease)
        assert (job.status, job.lease) == (RUNNING, again.lease)

    @promise("Q8")
    @needs("lease")
    def test_the_repeat_of_a_retry_that_exhausted_the_budget_is_silent(self, queue: PersistentQueue) -> None:
        queue.enqueue(new_job())
        lease = took(queue).lease
        queue.update_status("a", RETRY, error="end", lease=lease)
        with nothing_changed(queue):
            assert queue.update_status("a", RETRY, error="end", lease=lease).status is FAILED
        with refused(queue, LeaseLost):
            queue.update_status("a", FAILED, lease=lease)

    @promise("Q8", "Q4")
    @needs("lease")
    @pytest.mark.parametrize("first", [SUCCESS, FAILED, RETRY, PENDING])
    @pytest.mark.parametrize("second", [SUCCESS, FAILED, RETRY, PENDING])
    def test_another_status_under_a_settled_lease_is_lost(
        self, queue: PersistentQueue, first: JobStatus, second: JobStatus
    ) -> None:
        queue.enqueue(new_job(max_retries=5))
        lease = took(queue).lease
        queue.update_status("a", first, lease=lease)
        if first is second:
            assert queue.update_status("a", second, lease=lease) == got(queue, "a")
        else:
            with refused(queue, LeaseLost):
                queue.update_status("a", second, lease=lease)

    @promise("Q8")
    @needs("lease", "requeue")
    def test_a_settled_report_survives_a_requeue(self, queue: PersistentQueue) -> None:
        queue.enqueue(new_job())
        lease = took(queue).lease
        queue.update_status("a", FAILED, lease=lease)
        queue.requeue("a")
        with nothing_changed(queue):
            assert queue.update_status("a", FAILED, lease=lease).status is PENDING
        took(queue, "a")
        with nothing_changed(queue):
            assert queue.update_status("a", FAILED, lease=lease).status is RUNNING

    @promise("Q8", "Q4")
    @needs("lease")
    def test_only_the_last_settled_report_is_remembered(self, queue: PersistentQueue) -> None:
        queue.enqueue(new_job(max_retries=5))
        first = took(queue).lease
        queue.update_status("a", RETRY, lease=first)
        second = took(queue).lease
        queue.update_status("a", RETRY, lease=second)
        with refused(queue, LeaseLost):
            queue.update_status("a", RETRY, lease=first)
        with nothing_changed(queue):
            queue.update_status("a", RETRY, lease=second)

    @promise("Q8")
    @needs("lease", "crashes")
    def test_a_settled_report_survives_a_lost_lease(self, queue: PersistentQueue, clock: FakeClock) -> None:
        queue.enqueue(new_job(max_retries=5))
        first = took(queue).lease
        queue.update_status("a", RETRY, lease=first)
        took(queue)
        clock.advance(LEASE_S)
        took(queue)
        with nothing_changed(queue):
            assert queue.update_status("a", RETRY, lease=first).status is RUNNING

    @promise("Q8")
    @needs("lease", "operator")
    def test_an_operators_act_settles_no_lease(self, queue: PersistentQueue) -> None:
        queue.enqueue_many([new_job("a"), new_job("b", max_retries=1)])
        a, b = queue.dequeue_many(2)
        queue.update_status("a", FAILED)
        with refused(queue, LeaseLost):
            queue.update_status("a", FAILED, lease=a.lease)
        queue.update_status("b", RETRY)
        with refused(queue, LeaseLost):
            queue.update_status("b", RETRY, lease=b.lease)

    @promise("Q8", "Q10")
    @needs("lease")
    def test_a_purge_forgets_the_settled_report(self, queue: PersistentQueue, clock: FakeClock) -> None:
        queue.enqueue(new_job())
        lease = took(queue).lease
        queue.update_status("a", SUCCESS, lease=lease)
        clock.advance(1)
        queue.purge(0)
        with refused(queue, JobNotFound, "'a'"):
            queue.update_status("a", SUCCESS, lease=lease)
        queue.enqueue(new_job())
        with refused(queue, LeaseLost):
            queue.update_status("a", SUCCESS, lease=lease)

    @promise("Q8")
    @needs("lease")
    def test_a_lost_reply_of_a_dequeue_is_a_lost_lease(self, queue: PersistentQueue, clock: FakeClock) -> None:
        queue.enqueue_many([new_job("a"), new_job("b")])
        queue.dequeue(lease_s=LEASE_S)  # nobody reads the answer
        took(queue, "b", lease_s=1e6)
        clock.advance(LEASE_S)
        assert took(queue, "a").crashes == 1

    @promise("Q8")
    @needs("operator", "requeue")
    def test_a_repeated_cancel_and_a_repeated_requeue_are_silent(self, queue: PersistentQueue) -> None:
        queue.enqueue_many([new_job("a"), new_job("b")])
        first = queue.cancel("a")
        with nothing_changed(queue):
            assert queue.cancel("a") == first
        again = queue.requeue("a")
        with nothing_changed(queue):
            assert queue.requeue("a") == again
        assert drained(queue) == ["b", "a"]

    @promise("Q8")
    @needs("requeue")
    def test_a_requeue_of_a_job_that_never_failed_keeps_its_place(self, queue: PersistentQueue) -> None:
        queue.enqueue_many([new_job("a"), new_job("b")])
        with nothing_changed(queue):
            assert queue.requeue("a") == got(queue, "a")
        assert drained(queue) == ["a", "b"]

    @promise("Q8")
    def test_a_repeated_purge_removes_no_more(self, queue: PersistentQueue, clock: FakeClock) -> None:
        queue.enqueue(new_job())
        queue.update_status("a", SUCCESS, lease=took(queue).lease)
        clock.advance(1)
        assert [queue.purge(0), queue.purge(0)] == [1, 0]

    @promise("Q8")
    @needs("lease", "extend", "progress")
    def test_a_repeated_extension_and_a_repeated_progress_have_the_effect_of_once(self, queue: PersistentQueue) -> None:
        queue.enqueue(new_job())
        lease = lease_of(took(queue))
        assert queue.extend_lease(lease, 50) == queue.extend_lease(lease, 50)
        queue.record_progress(lease, "t", [1])
        queue.record_progress(lease, "t", [1])
        assert queue.progress("a") == {"t": [1]}

    @promise("Q8")
    @needs("lease")
    def test_more_reports_than_a_slice_all_count(self, queue: PersistentQueue) -> None:
        ids = [f"j{i}" for i in range(1_001)]
        queue.enqueue_many(new_job(job_id) for job_id in ids)
        jobs = queue.dequeue_many(1_001, lease_s=1e6)
        answers, more = queue.exchange([Report(job.id, SUCCESS, lease=job.lease) for job in jobs], 1)
        assert [answer.id for answer in answers if isinstance(answer, Job)] == ids
        assert more == []
        assert queue.counts() == {PENDING: 0, RUNNING: 0, SUCCESS: 1_001, FAILED: 0}

    # -- exchange ------------------------------------------------------------------------------------------------------

    @promise("Q8")
    @needs("lease")
    def test_an_exchange_reports_and_delivers(self, queue: PersistentQueue) -> None:
        queue.enqueue_many([new_job("a"), new_job("b"), new_job("c")])
        a = took(queue, "a")
        answers, jobs = queue.exchange([Report("a", SUCCESS, result={"x": 1}, lease=a.lease)], 2, "w", lease_s=LEASE_S)
        assert answers == [got(queue, "a")]
        assert [job.id for job in jobs] == ["b", "c"]
        assert [lease_of(job).worker_id for job in jobs] == ["w", "w"]
        assert queue.counts() == {PENDING: 0, RUNNING: 2, SUCCESS: 1, FAILED: 0}

    @promise("Q8")
    @needs("lease")
    def test_an_exchange_answers_each_report_in_order_with_what_its_single_form_would_say(
        self, queue: PersistentQueue, clock: FakeClock
    ) -> None:
        queue.enqueue_many([new_job("a"), new_job("b"), new_job("c"), new_job("d")])
        a, b, c = queue.dequeue_many(3, lease_s=LEASE_S)
        queue.update_status("c", SUCCESS, lease=c.lease)
        answers, _ = queue.exchange(
            [
                Report("nope", SUCCESS),
                Report("b", FAILED, "no", lease=b.lease),
                Report("c", FAILED, lease=c.lease),
                Report("c", FAILED),
                Report("c", SUCCESS, lease=c.lease),
                Report("d", RETRY),
                Report("a", SUCCESS, lease=a.lease),
            ],
            0,
        )
        kinds = [answer.id if isinstance(answer, Job) else type(answer) for answer in answers]
        assert kinds == [JobNotFound, "b", LeaseLost, IllegalTransition, "c", IllegalTransition, "a"]
        assert queue.counts() == {PENDING: 1, RUNNING: 0, SUCCESS: 2, FAILED: 1}

    @promise("Q8")
    @needs("lease")
    def test_an_exchange_of_no_jobs_only_reports(self, queue: PersistentQueue) -> None:
        queue.enqueue_many([new_job("a"), new_job("b")])
        a = took(queue, "a")
        answers, jobs = queue.exchange([Report("a", SUCCESS, lease=a.lease)], 0)
        assert ([answer.id for answer in answers if isinstance(answer, Job)], jobs) == (["a"], [])
        assert queue.count(PENDING) == 1

    @promise("Q8")
    def test_an_empty_exchange_does_nothing(self, busy: Busy) -> None:
        with nothing_changed(busy.queue):
            assert busy.queue.exchange([], 0) == ([], [])

    @promise("Q8")
    @needs("lease")
    def test_an_exchange_reports_before_it_takes_leases_back(self, queue: PersistentQueue, clock: FakeClock) -> None:
        queue.enqueue(new_job("a"))
        a = took(queue, "a")
        clock.advance(LEASE_S)
        answers, jobs = queue.exchange([Report("a", SUCCESS, lease=a.lease)], 1)
        assert isinstance(answers[0], Job)
        assert jobs == []
        assert got(queue, "a").status is SUCCESS

    @promise("Q8")
    @needs("lease")
    def test_an_exchange_may_deliver_again_what_it_reported(self, queue: PersistentQueue) -> None:
        queue.enqueue(new_job("a", max_retries=1))
        a = took(queue, "a")
        answers, jobs = queue.exchange([Report("a", RETRY, "once more", lease=a.lease)], 1)
        assert isinstance(answers[0], Job)
        assert (answers[0].status, answers[0].error) == (PENDING, "once more")
        assert [(job.id, job.attempts) for job in jobs] == [("a", 2)]

    @promise("Q8")
    @needs("lease")
    def test_two_reports_of_one_delivery_in_an_exchange_go_one_after_the_other(self, queue: PersistentQueue) -> None:
        queue.enqueue(new_job("a"))
        a = took(queue, "a")
        answers, _ = queue.exchange([Report("a", SUCCESS, lease=a.lease), Report("a", FAILED, lease=a.lease)], 0)
        assert isinstance(answers[0], Job)
        assert isinstance(answers[1], LeaseLost)
        assert got(queue, "a").status is SUCCESS
