"""Q7: final is final; and what an operator may do without a lease."""

from __future__ import annotations

import pytest

from orch.errors import (
    IllegalTransition,
    LeaseLost,
)
from orch.job import JobStatus
from orch.queue import PersistentQueue
from orch.testing.clock import FakeClock
from orch.testing.contract.base import (
    FAILED,
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
    nothing_changed,
    promise,
    refused,
    took,
)


class Final(Contract):
    """Sentences about Q7."""

    @promise("Q7")
    @needs("operator")
    @pytest.mark.parametrize(
        ("job_id", "status"),
        [("s", FAILED), ("s", RETRY), ("s", PENDING), ("f", SUCCESS), ("f", RETRY), ("f", PENDING)],
    )
    def test_another_status_on_a_final_job_is_refused(self, busy: Busy, job_id: str, status: JobStatus) -> None:
        with refused(busy.queue, IllegalTransition, repr(job_id), status.value):
            busy.queue.update_status(job_id, status, error="x")

    @promise("Q7")
    @needs("operator")
    @pytest.mark.parametrize(("job_id", "status"), [("s", SUCCESS), ("f", FAILED)])
    def test_the_same_final_status_again_is_silent_and_the_first_result_stays(
        self, busy: Busy, job_id: str, status: JobStatus
    ) -> None:
        with nothing_changed(busy.queue):
            job = busy.queue.update_status(job_id, status, error="second", result={"second": 2})
        assert job == got(busy.queue, job_id)
        assert (job.error, job.result) == (("boom", None) if job_id == "f" else (None, {"n": 1}))

    @promise("Q7")
    @needs("operator")
    def test_a_cancelled_success_is_refused(self, busy: Busy) -> None:
        with refused(busy.queue, IllegalTransition, "'s'"):
            busy.queue.cancel("s")

    @promise("Q7")
    @needs("requeue")
    @pytest.mark.parametrize("job_id", ["s", "r"])
    def test_only_a_failed_job_can_be_requeued(self, busy: Busy, job_id: str) -> None:
        with refused(busy.queue, IllegalTransition, repr(job_id)):
            busy.queue.requeue(job_id)

    @promise("Q7")
    def test_a_final_job_is_never_delivered(self, queue: PersistentQueue, clock: FakeClock) -> None:
        queue.enqueue_many([new_job("a"), new_job("b")])
        queue.update_status("a", SUCCESS, lease=took(queue).lease)
        queue.update_status("b", FAILED, lease=took(queue).lease)
        clock.advance(1e6)
        assert queue.dequeue() is None
        assert (got(queue, "a").status, got(queue, "b").status) == (SUCCESS, FAILED)

    @promise("Q7")
    @pytest.mark.parametrize("status", [SUCCESS, FAILED])
    def test_a_final_job_says_when_it_finished(
        self, queue: PersistentQueue, clock: FakeClock, status: JobStatus
    ) -> None:
        queue.enqueue(new_job())
        clock.advance(1)
        job = took(queue)
        clock.advance(2)
        job = queue.update_status("a", status, error="e", result={"x": 1}, lease=job.lease)
        assert (job.status, job.started_at, job.finished_at) == (status, at(1), at(3))
        assert (job.error, job.result, job.lease) == ("e", {"x": 1}, None)
        assert got(queue, "a") == job

    @promise("Q7")
    @needs("requeue")
    def test_a_requeue_clears_what_the_last_run_left_but_its_error(self, queue: PersistentQueue) -> None:
        queue.enqueue(new_job())
        queue.update_status("a", FAILED, error="why", result={"x": 1}, lease=took(queue).lease)
        job = queue.requeue("a")
        assert (job.status, job.error, job.result) == (PENDING, "why", None)
        assert (job.started_at, job.finished_at, job.not_before, job.lease) == (None, None, None, None)
        assert got(queue, "a") == job

    @promise("Q7")
    @pytest.mark.parametrize("status", [SUCCESS, FAILED])
    def test_a_final_report_overwrites_error_and_result_also_with_none(
        self, queue: PersistentQueue, status: JobStatus
    ) -> None:
        queue.enqueue(new_job(max_retries=1))
        queue.update_status("a", RETRY, error="first", result={"part": 1}, lease=took(queue).lease)
        job = queue.update_status("a", status, lease=took(queue).lease)
        assert (job.error, job.result) == (None, None)
        assert got(queue, "a") == job

    @promise("Q7")
    @pytest.mark.parametrize("status", [RETRY, PENDING])
    @needs("lease")
    def test_a_retry_and_a_give_back_keep_what_is_not_given(self, queue: PersistentQueue, status: JobStatus) -> None:
        queue.enqueue(new_job(max_retries=9))
        queue.update_status("a", status, error="one", result={"n": 1}, lease=took(queue).lease)
        job = queue.update_status("a", status, lease=took(queue).lease)
        assert (job.error, job.result) == ("one", {"n": 1})
        job = queue.update_status("a", status, error="two", lease=took(queue).lease)
        assert (job.error, job.result) == ("two", {"n": 1})
        job = queue.update_status("a", status, result={}, lease=took(queue).lease)
        assert (job.error, job.result) == ("two", {})

    # -- an act without a lease is an operator's -----------------------------------------------------------------------

    @promise("Q7")
    @needs("operator", "delay")
    @pytest.mark.parametrize("job_id", ["p", "d", "r"])
    @pytest.mark.parametrize("status", [SUCCESS, FAILED])
    def test_an_operator_may_end_a_pending_or_running_job(self, busy: Busy, job_id: str, status: JobStatus) -> None:
        before = got(busy.queue, job_id)
        job = busy.queue.update_status(job_id, status, error="op", result={"by": "op"})
        assert (job.status, job.error, job.result, job.lease) == (status, "op", {"by": "op"}, None)
        assert (job.finished_at, job.started_at, job.attempts) == (at(0), before.started_at, before.attempts)
        assert job.not_before == before.not_before
        assert got(busy.queue, job_id) == job
        assert job_id in [job.id for job in busy.queue.list_jobs(status)]

    @promise("Q7")
    @needs("operator")
    def test_a_job_that_an_operator_ended_is_not_delivered(self, busy: Busy, clock: FakeClock) -> None:
        for job_id in sorted(set(busy.ids) & {"p", "d", "r"}):
            busy.queue.update_status(job_id, SUCCESS)
        clock.advance(1e6)
        assert busy.queue.dequeue() is None

    @promise("Q7", "Q6")
    @needs("operator", "lease")
    def test_an_operators_retry_of_a_running_job_is_a_failure_and_ends_its_lease(self, queue: PersistentQueue) -> None:
        queue.enqueue(new_job(max_retries=1))
        job = took(queue)
        again = queue.update_status("a", RETRY, error="op")
        assert (again.status, again.failures, again.error, again.lease) == (PENDING, 1, "op", None)
        with refused(queue, LeaseLost):
            queue.update_status("a", SUCCESS, lease=job.lease)
        took(queue)
        assert queue.update_status("a", RETRY).status is FAILED

    @promise("Q12")
    @needs("operator", "delay")
    @pytest.mark.parametrize(
        ("job_id", "status"), [("p", RETRY), ("d", RETRY), ("p", PENDING), ("d", PENDING), ("r", PENDING)]
    )
    def test_what_an_operator_may_not_do_is_refused(self, busy: Busy, job_id: str, status: JobStatus) -> None:
        with refused(busy.queue, IllegalTransition, repr(job_id), status.value):
            busy.queue.update_status(job_id, status)

    @promise("Q12")
    @needs("refusal")
    @pytest.mark.parametrize("job_id", ["p", "r", "s", "f"])
    def test_nobody_reports_that_a_job_runs(self, busy: Busy, job_id: str) -> None:
        with refused(busy.queue, IllegalTransition, repr(job_id)):
            busy.queue.update_status(job_id, RUNNING)
        with refused(busy.queue, IllegalTransition, repr(job_id)):
            busy.queue.update_status(job_id, RUNNING, lease=busy.leases.get(job_id))

    @promise("Q7")
    @needs("operator", "delay")
    @pytest.mark.parametrize("job_id", ["p", "d", "r"])
    def test_a_cancelled_job_is_failed_and_says_so(self, busy: Busy, job_id: str) -> None:
        job = busy.queue.cancel(job_id)
        assert (job.status, job.error, job.finished_at, job.lease) == (FAILED, "cancelled", at(0), None)
        assert got(busy.queue, job_id) == job

    @promise("Q4")
    @needs("operator", "lease")
    def test_a_cancel_ends_the_lease(self, busy: Busy) -> None:
        busy.queue.cancel("r")
        with refused(busy.queue, LeaseLost):
            busy.queue.update_status("r", SUCCESS, lease=busy.leases["r"])
