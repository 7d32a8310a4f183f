"""Q11: what goes in or comes out is a value, and comes back as it went in."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from orch.errors import (
    OrchError,
)
from orch.job import Job, Report
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
    snapshot,
    took,
)
from orch.testing.contract.samples import (
    VALUES,
)


class Values(Contract):
    """Sentences about Q11."""

    @promise("Q11")
    def test_changing_a_job_after_it_was_enqueued_changes_nothing(self, queue: PersistentQueue) -> None:
        job = new_job(params={"x": {"y": [1]}}, extra={"k": [1]})
        queue.enqueue(job)
        before = snapshot(queue)
        job.dag_path, job.status, job.priority = "other.yaml", SUCCESS, 9
        job.params["x"]["y"].append(2)
        job.params["z"] = 1
        job.extra["k"].append(2)
        assert snapshot(queue) == before

    @promise("Q11")
    def test_enqueuing_changes_nothing_of_the_callers_job(self, queue: PersistentQueue) -> None:
        job = new_job(params={"x": 1})
        before = job.to_dict()
        queue.enqueue(job)
        took(queue)
        assert (job.to_dict(), job.lease) == (before, None)

    @promise("Q11")
    @pytest.mark.parametrize("source", ["dequeue", "get", "list", "report", "cancel", "requeue", "exchange"])
    @needs("operator", "requeue", "lease")
    def test_changing_a_job_that_came_out_changes_nothing(self, queue: PersistentQueue, source: str) -> None:
        queue.enqueue_many(new_job(job_id, params={"x": [1]}, extra={"k": [1]}, max_retries=2) for job_id in "ab")
        queue.update_status("a", RETRY, error="e", result={"r": [1]}, lease=took(queue, "a").lease)
        if source == "requeue":
            queue.cancel("b")
        sources: dict[str, Callable[[], Job | OrchError]] = {
            "dequeue": lambda: took(queue),
            "get": lambda: got(queue, "a"),
            "list": lambda: queue.list_jobs()[-1],
            "report": lambda: queue.update_status("b", SUCCESS, result={"r": [1]}, lease=took(queue, "b").lease),
            "cancel": lambda: queue.cancel("a"),
            "requeue": lambda: queue.requeue("b"),
            "exchange": lambda: queue.exchange([Report("b", SUCCESS, lease=took(queue, "b").lease)], 1)[0][0],
        }
        job = sources[source]()
        assert isinstance(job, Job)
        with nothing_changed(queue):
            job.params["x"].append(2)
            job.params["z"] = 1
            job.extra["k"].append(2)
            if job.result is not None:
                job.result["r"] = 5
            job.status, job.priority, job.attempts, job.error = SUCCESS, 77, 99, "changed"
            job.lease, job.id, job.enqueued_at = None, "z", at(999)

    @promise("Q11")
    def test_changing_a_result_after_it_was_reported_changes_nothing(self, queue: PersistentQueue) -> None:
        queue.enqueue_many([new_job("a"), new_job("b")])
        result: dict[str, Any] = {"r": [1]}
        queue.update_status("a", SUCCESS, result=result, lease=took(queue, "a").lease)
        report = Report("b", SUCCESS, result=result, lease=took(queue, "b").lease)
        result["r"].append(2)
        queue.exchange([report], 0)
        result["s"] = 3
        assert report.result is not None
        report.result["t"] = 4
        assert got(queue, "a").result == got(queue, "b").result == {"r": [1]}

    @promise("Q11")
    def test_changing_counts_and_lists_changes_nothing(self, busy: Busy) -> None:
        with nothing_changed(busy.queue):
            busy.queue.counts().clear()
            busy.queue.list_jobs().clear()

    @promise("Q11")
    @needs("stats", "workers", "quarantine", "progress", "lease")
    def test_changing_what_the_other_views_return_changes_nothing(self, busy: Busy) -> None:
        lease = busy.leases["r"]
        assert lease is not None
        output = {"x": [1]}
        busy.queue.record_progress(lease, "t", output)
        output["x"].append(2)
        with nothing_changed(busy.queue):
            busy.queue.stats().counts.clear()
            busy.queue.workers().clear()
            busy.queue.quarantined().clear()
            busy.queue.progress("r")["t"]["x"].append(3)
            busy.queue.progress("r").clear()
        assert busy.queue.progress("r") == {"t": {"x": [1]}}

    @promise("Q11")
    @pytest.mark.parametrize("value", VALUES)
    def test_params_and_results_come_back_as_they_went_in(self, queue: PersistentQueue, value: dict[str, Any]) -> None:
        queue.enqueue(new_job(params=value, max_retries=1))
        assert got(queue, "a").params == value
        job = took(queue)
        assert json.dumps(job.params) == json.dumps(value)
        job = queue.update_status("a", RETRY, result=value, lease=job.lease)
        assert json.dumps(job.result) == json.dumps(value)
        job = queue.update_status("a", SUCCESS, result=value, lease=took(queue).lease)
        assert json.dumps(job.result) == json.dumps(value)
        assert json.dumps(got(queue, "a").to_dict()) == json.dumps(job.to_dict())
        assert json.dumps(queue.list_jobs()[0].params) == json.dumps(value)

    @promise("Q11")
    def test_tuples_come_back_as_lists(self, queue: PersistentQueue) -> None:
        queue.enqueue(new_job(params={"x": (1, (2, 3))}))
        assert took(queue).params == {"x": [1, [2, 3]]}

    @promise("Q11")
    @pytest.mark.parametrize(
        "job_id",
        [
            "a b",
            "ä",
            "日本語",
            "🙂",
            "x" * 200,
            'a"b',
            "a'b",
            "a\\b",
            "{a}",
            "a:b",
            "null",
            "0",
            "-1",
            "a@2027-01-15T08:00Z",
            "%s",
        ],
    )
    def test_any_printable_id_is_an_id(self, queue: PersistentQueue, job_id: str) -> None:
        assert queue.enqueue(new_job(job_id)) is True
        job = took(queue, job_id)
        assert queue.update_status(job_id, SUCCESS, lease=job.lease).id == job_id
        assert got(queue, job_id).status is SUCCESS
        assert [listed.id for listed in queue.list_jobs()] == [job_id]

    @promise("Q11")
    @needs("priority", "delay")
    def test_every_field_of_a_job_survives(self, queue: PersistentQueue, clock: FakeClock) -> None:
        job = new_job(
            dag_path="dags/ä b.yaml",
            tenant_id="tenant ✓",
            schedule_id="nightly:1",
            enqueued_at="2027-01-15T09:30:00.123456+01:00",
            attempts=7,
            max_retries=4,
            error="before",
            result={"old": [1]},
            params={"p": {"q": [None, True, 1.5]}},
            priority=-7,
            not_before=at(5),
            timeout_s=12.5,
            failures=2,
            crashes=1,
            extra={"run_id": "x", "tags": ["a"]},
        )
        queue.enqueue(job)
        assert got(queue, "a") == job
        assert queue.list_jobs() == [job]
        clock.advance(5)
        expected = replace(job, status=RUNNING, started_at=at(5), attempts=8, not_before=None, lease=None)
        assert replace(took(queue, "a"), lease=None) == expected

    @promise("Q11")
    @pytest.mark.parametrize("error", ["", "x", "a\0b", "zeile\nzwei\t✗", '"\\{}', "🙂" * 100, "x" * (16 * 1024)])
    def test_error_texts_come_back_as_they_went_in(self, queue: PersistentQueue, error: str) -> None:
        queue.enqueue(new_job())
        assert queue.update_status("a", FAILED, error=error, lease=took(queue).lease).error == error
        assert got(queue, "a").error == error

    @promise("Q11")
    def test_the_answer_of_a_verb_is_the_job_as_it_is_stored(self, queue: PersistentQueue) -> None:
        queue.enqueue(new_job(max_retries=3))
        job = took(queue)
        assert got(queue, "a") == job
        for status in (RETRY, PENDING, SUCCESS):
            answer = queue.update_status("a", status, lease=job.lease)
            assert got(queue, "a") == answer
            if status is not SUCCESS:
                job = took(queue)
