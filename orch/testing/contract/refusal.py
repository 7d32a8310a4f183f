"""Q12: bad input is refused with the value, and changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from orch.errors import (
    InvalidInput,
    JobNotFound,
)
from orch.job import Job, JobStatus, Lease, Report, WorkerInfo
from orch.queue import PersistentQueue
from orch.testing.clock import FakeClock
from orch.testing.contract.base import (
    AT,
    FAILED,
    PENDING,
    RETRY,
    RUNNING,
    SUCCESS,
    Busy,
    Contract,
    got,
    needs,
    new_job,
    nothing_changed,
    promise,
    refused,
    took,
)
from orch.testing.contract.samples import (
    BAD_COUNTS,
    BAD_FIELDS,
    BAD_IDS,
    BAD_INSTANTS,
    BAD_OBJECTS,
    BAD_SECONDS,
)


class Refusal(Contract):
    """Sentences about Q12."""

    @promise("Q12")
    @needs("refusal")
    @pytest.mark.parametrize(("bad", "shown"), BAD_IDS)
    @pytest.mark.parametrize("verb", ["enqueue", "get_job", "update_status", "cancel", "requeue", "progress"])
    def test_what_is_no_id_is_refused(self, busy: Busy, verb: str, bad: Any, shown: str) -> None:
        queue = busy.queue
        verbs: dict[str, Callable[[], object]] = {
            "enqueue": lambda: queue.enqueue(_with(new_job(), "id", bad)),
            "get_job": lambda: queue.get_job(bad),
            "update_status": lambda: queue.update_status(bad, SUCCESS),
            "cancel": lambda: queue.cancel(bad),
            "requeue": lambda: queue.requeue(bad),
            "progress": lambda: queue.progress(bad),
        }
        with refused(queue, InvalidInput, shown):
            verbs[verb]()

    @promise("Q12")
    @needs("refusal")
    @pytest.mark.parametrize(("bad", "shown"), BAD_IDS)
    def test_a_job_with_a_bad_id_cannot_be_made(self, queue: PersistentQueue, bad: Any, shown: str) -> None:
        with refused(queue, InvalidInput, shown):
            queue.enqueue(new_job(bad))

    @promise("Q12")
    @needs("refusal")
    @pytest.mark.parametrize(
        ("field", "bad", "shown"), BAD_FIELDS, ids=[f"{f} {str(v)[:9]!r}" for f, v, _ in BAD_FIELDS]
    )
    def test_a_bad_field_is_refused_also_when_it_was_set_later(
        self, busy: Busy, field: str, bad: Any, shown: str
    ) -> None:
        with refused(busy.queue, InvalidInput, shown):
            new_job("n", **{field: bad})
        with refused(busy.queue, InvalidInput, shown):
            busy.queue.enqueue(_with(new_job("n"), field, bad))

    @promise("Q12")
    @needs("refusal")
    @pytest.mark.parametrize("field", ["enqueued_at", "not_before", "started_at", "finished_at"])
    @pytest.mark.parametrize(("bad", "shown"), BAD_INSTANTS)
    def test_what_is_no_instant_is_refused(self, busy: Busy, field: str, bad: Any, shown: str) -> None:
        with refused(busy.queue, InvalidInput, field, shown):
            new_job("n", **{field: bad})
        with refused(busy.queue, InvalidInput, field, shown):
            busy.queue.enqueue(_with(new_job("n"), field, bad))

    @promise("Q12")
    @needs("refusal")
    @pytest.mark.parametrize("status", [RUNNING, SUCCESS, FAILED, RETRY])
    def test_only_a_pending_job_can_be_enqueued(self, busy: Busy, status: JobStatus) -> None:
        with refused(busy.queue, InvalidInput, "'n'", status.value):
            busy.queue.enqueue(_with(new_job("n"), "status", status))

    @promise("Q12")
    @needs("refusal")
    @pytest.mark.parametrize("field", ["started_at", "finished_at"])
    def test_a_job_that_started_or_finished_cannot_be_enqueued(self, busy: Busy, field: str) -> None:
        with refused(busy.queue, InvalidInput, "'n'", AT):
            busy.queue.enqueue(new_job("n", **{field: AT}))

    @promise("Q12")
    @needs("refusal")
    @pytest.mark.parametrize("bad", [None, {"id": "n"}, "n", 5], ids=["None", "dict", "text", "int"])
    def test_only_jobs_can_be_enqueued(self, busy: Busy, bad: Any) -> None:
        with refused(busy.queue, InvalidInput, repr(bad)):
            busy.queue.enqueue(bad)
        with refused(busy.queue, InvalidInput, repr(bad)):
            busy.queue.enqueue_many([new_job("n"), bad])

    @promise("Q12", "Q1")
    @needs("refusal")
    @pytest.mark.parametrize("place", [0, 1, 2])
    def test_one_bad_job_refuses_the_whole_bulk(self, busy: Busy, place: int) -> None:
        jobs = [new_job("x"), new_job("y")]
        jobs.insert(place, _with(new_job("z"), "priority", 5000))
        with refused(busy.queue, InvalidInput, "5000"):
            busy.queue.enqueue_many(jobs)

    @promise("Q12", "Q1")
    def test_an_iterator_that_raises_half_way_enqueues_nothing(self, busy: Busy) -> None:
        def jobs() -> Iterator[Job]:
            yield new_job("x")
            raise ZeroDivisionError("half way")

        with refused(busy.queue, ZeroDivisionError, "half way"):
            busy.queue.enqueue_many(jobs())

    @promise("Q12")
    @needs("refusal")
    @pytest.mark.parametrize(("bad", "shown"), BAD_OBJECTS)
    @pytest.mark.parametrize("where", ["params", "extra", "result", "result of a report", "set later"])
    def test_what_is_no_json_object_is_refused(self, busy: Busy, where: str, bad: Any, shown: str) -> None:
        queue = busy.queue
        places: dict[str, Callable[[], object]] = {
            "params": lambda: queue.enqueue(new_job("n", params=bad)),
            "extra": lambda: queue.enqueue(new_job("n", extra=bad)),
            "result": lambda: queue.update_status("r", SUCCESS, result=bad, lease=busy.leases["r"]),
            "result of a report": lambda: queue.exchange([Report("r", SUCCESS, result=bad, lease=busy.leases["r"])], 1),
            "set later": lambda: queue.enqueue(_with(new_job("n"), "params", bad)),
        }
        with refused(queue, InvalidInput, shown):
            places[where]()

    @promise("Q12")
    @needs("refusal")
    @pytest.mark.parametrize("name", ["id", "status", "lease", "extra", "v"])
    def test_extra_fields_must_not_hide_other_fields(self, busy: Busy, name: str) -> None:
        with refused(busy.queue, InvalidInput, name):
            busy.queue.enqueue(new_job("n", extra={name: 1}))

    @promise("Q12")
    @needs("refusal")
    @pytest.mark.parametrize(("bad", "shown"), BAD_IDS[1:])
    @pytest.mark.parametrize("verb", ["dequeue", "dequeue_many", "exchange"])
    def test_what_is_no_worker_id_is_refused(self, busy: Busy, verb: str, bad: Any, shown: str) -> None:
        with refused(busy.queue, InvalidInput, "worker_id", shown):
            _claim(busy.queue, verb, worker_id=bad)

    @promise("Q12")
    @needs("refusal", "lease")
    @pytest.mark.parametrize(("bad", "shown"), [*BAD_SECONDS, pytest.param(0, "0", id="0")])
    @pytest.mark.parametrize("verb", ["dequeue", "dequeue_many", "exchange", "extend_lease", "extend_many"])
    def test_what_is_no_lease_time_is_refused(self, busy: Busy, verb: str, bad: Any, shown: str) -> None:
        with refused(busy.queue, InvalidInput, "lease_s", shown):
            if verb == "extend_lease":
                busy.queue.extend_lease(busy.leases["r"], bad)  # type: ignore[arg-type]  # "r" has a lease
            elif verb == "extend_many":
                busy.queue.extend_many([busy.leases["r"]], bad)  # type: ignore[list-item]  # as above
            else:
                _claim(busy.queue, verb, lease_s=bad)

    @promise("Q12")
    @needs("refusal")
    @pytest.mark.parametrize(("bad", "shown"), BAD_SECONDS[:-1])
    @pytest.mark.parametrize("verb", ["dequeue", "dequeue_many", "exchange"])
    def test_what_is_no_waiting_time_is_refused(self, busy: Busy, verb: str, bad: Any, shown: str) -> None:
        with refused(busy.queue, InvalidInput, "wait_s", shown):
            _claim(busy.queue, verb, wait_s=bad)

    @promise("Q12")
    @needs("refusal")
    @pytest.mark.parametrize(("bad", "shown"), BAD_COUNTS)
    def test_what_is_no_number_of_jobs_is_refused(self, busy: Busy, bad: Any, shown: str) -> None:
        with refused(busy.queue, InvalidInput, "n must", shown):
            busy.queue.dequeue_many(bad)
        with refused(busy.queue, InvalidInput, "n must", shown):
            busy.queue.exchange([Report("r", SUCCESS, lease=busy.leases["r"])], bad)

    @promise("Q12")
    @needs("refusal")
    @pytest.mark.parametrize(("bad", "shown"), BAD_COUNTS)
    def test_what_is_no_limit_is_refused(self, busy: Busy, bad: Any, shown: str) -> None:
        with refused(busy.queue, InvalidInput, "limit", shown):
            busy.queue.list_jobs(limit=bad)

    @promise("Q12")
    @needs("refusal")
    @pytest.mark.parametrize(("bad", "shown"), [*BAD_SECONDS, pytest.param(None, "None", id="None")])
    def test_what_is_no_number_of_hours_is_refused(self, busy: Busy, clock: FakeClock, bad: Any, shown: str) -> None:
        clock.advance(1e5)
        with refused(busy.queue, InvalidInput, "older_than_hours", shown):
            busy.queue.purge(bad)

    @promise("Q12")
    @needs("refusal")
    @pytest.mark.parametrize("bad", ["pending", "PENDING", "", 0, True], ids=str)
    def test_what_is_no_status_to_list_or_count_is_refused(self, busy: Busy, bad: Any) -> None:
        with refused(busy.queue, InvalidInput, repr(bad)):
            busy.queue.list_jobs(bad)
        with refused(busy.queue, InvalidInput, repr(bad)):
            busy.queue.count(bad)

    @promise("Q12")
    @needs("refusal")
    @pytest.mark.parametrize("bad", ["success", "gone", None, 5, True], ids=str)
    def test_what_is_no_status_to_report_is_refused(self, busy: Busy, bad: Any) -> None:
        with refused(busy.queue, InvalidInput, repr(bad)):
            busy.queue.update_status("r", bad, lease=busy.leases["r"])

    @promise("Q12")
    @needs("refusal")
    @pytest.mark.parametrize("bad", [5, b"x", ["e"], ValueError("e")], ids=str)
    def test_what_is_no_error_text_is_refused(self, busy: Busy, bad: Any) -> None:
        with refused(busy.queue, InvalidInput, repr(bad)):
            busy.queue.update_status("r", FAILED, error=bad, lease=busy.leases["r"])

    @promise("Q12")
    @needs("refusal", "delay")
    @pytest.mark.parametrize(("bad", "shown"), BAD_SECONDS)
    def test_what_is_no_delay_is_refused(self, busy: Busy, bad: Any, shown: str) -> None:
        with refused(busy.queue, InvalidInput, "delay_s", shown):
            busy.queue.update_status("r", RETRY, lease=busy.leases["r"], delay_s=bad)

    @promise("Q12")
    @needs("refusal", "delay")
    @pytest.mark.parametrize("status", [SUCCESS, FAILED, PENDING])
    def test_a_delay_goes_with_a_retry_only(self, busy: Busy, status: JobStatus) -> None:
        with refused(busy.queue, InvalidInput, "delay_s", "7"):
            busy.queue.update_status("r", status, lease=busy.leases["r"], delay_s=7)

    @promise("Q12")
    @needs("refusal", "lease", "extend", "progress")
    @pytest.mark.parametrize("bad", [7, "x", {"token": 7}, b"y"], ids=str)
    def test_what_is_no_lease_is_refused(self, busy: Busy, bad: Any) -> None:
        with refused(busy.queue, InvalidInput, repr(bad)):
            busy.queue.update_status("r", SUCCESS, lease=bad)
        with refused(busy.queue, InvalidInput, repr(bad)):
            busy.queue.extend_lease(bad)
        with refused(busy.queue, InvalidInput, repr(bad)):
            busy.queue.extend_many([busy.leases["r"], bad], 500)  # type: ignore[list-item]  # "r" has a lease
        with refused(busy.queue, InvalidInput, repr(bad)):
            busy.queue.record_progress(bad, "t", 1)

    @promise("Q12")
    @needs("refusal", "lease")
    def test_a_report_under_the_lease_of_another_job_is_refused(self, busy: Busy) -> None:
        with refused(busy.queue, InvalidInput, "'p'", "'r'"):
            busy.queue.update_status("p", SUCCESS, lease=busy.leases["r"])

    @promise("Q12")
    @needs("refusal", "lease")
    @pytest.mark.parametrize(
        ("field", "bad"),
        [("job_id", ""), ("token", -1), ("token", "1"), ("token", 2**63), ("worker_id", 5), ("expires_at", "soon")],
    )
    def test_a_bad_lease_cannot_be_made(self, busy: Busy, field: str, bad: Any) -> None:
        with refused(busy.queue, InvalidInput, str(bad)):
            replace(busy.leases["r"], **{field: bad})  # type: ignore[type-var]  # "r" has a lease

    @promise("Q12")
    @needs("refusal")
    @pytest.mark.parametrize("bad", [None, ("r", SUCCESS), "r"], ids=str)
    def test_only_reports_can_be_exchanged(self, busy: Busy, bad: Any) -> None:
        with refused(busy.queue, InvalidInput, repr(bad)):
            busy.queue.exchange([Report("r", SUCCESS, lease=busy.leases["r"]), bad], 1)

    @promise("Q12")
    @pytest.mark.parametrize("verb", ["update_status", "cancel", "requeue", "record_progress"])
    @needs("progress", "requeue", "operator")
    def test_an_unknown_id_is_an_error_of_every_verb_that_changes(self, busy: Busy, verb: str) -> None:
        queue = busy.queue
        verbs: dict[str, Callable[[], object]] = {
            "update_status": lambda: queue.update_status("nope", SUCCESS),
            "cancel": lambda: queue.cancel("nope"),
            "requeue": lambda: queue.requeue("nope"),
            "record_progress": lambda: queue.record_progress(Lease("nope", 1, "", 0), "t", 1),
        }
        with refused(queue, JobNotFound, "nope"):
            verbs[verb]()

    @promise("Q12")
    def test_an_unknown_id_is_none_to_get_job(self, busy: Busy) -> None:
        with nothing_changed(busy.queue):
            assert busy.queue.get_job("nope") is None

    @promise("Q12")
    @pytest.mark.parametrize("error", ["x" * (16 * 1024 + 1), "y" * 100_000, "ä" * 10_000, "🙂" * 5_000], ids=len)
    def test_a_long_error_is_cut_with_a_mark(self, queue: PersistentQueue, error: str) -> None:
        queue.enqueue(new_job())
        kept = queue.update_status("a", FAILED, error=error, lease=took(queue).lease).error
        assert kept is not None
        assert len(kept.encode()) <= 16 * 1024
        assert len(kept.encode()) > 16 * 1024 - 8
        assert "[cut by orch]" in kept
        assert error.startswith(kept[:1000])
        assert got(queue, "a").error == kept

    @promise("Q12")
    def test_an_error_text_that_utf_8_cannot_carry_is_escaped(self, queue: PersistentQueue) -> None:
        queue.enqueue(new_job())
        job = queue.update_status("a", FAILED, error="bad \ud800 text", lease=took(queue).lease)
        assert job.error == r"bad \ud800 text"

    @promise("Q12", "Q4")
    @needs("lease")
    def test_a_refused_report_leaves_the_lease_current(self, busy: Busy) -> None:
        with pytest.raises(InvalidInput):
            busy.queue.update_status("r", SUCCESS, result={"x": float("nan")}, lease=busy.leases["r"])
        assert busy.queue.update_status("r", SUCCESS, lease=busy.leases["r"]).status is SUCCESS

    @promise("Q12")
    @needs("refusal", "progress", "lease")
    @pytest.mark.parametrize(
        ("task_id", "output", "shown"),
        [
            pytest.param("", 1, "''", id="empty task id"),
            pytest.param(None, 1, "None", id="task id None"),
            pytest.param("x" * 201, 1, "xxx", id="long task id"),
            pytest.param("t", float("nan"), "nan", id="NaN"),
            pytest.param("t", {1: 2}, "1", id="key that is no text"),
            pytest.param("t", {"x": object()}, "object", id="no JSON"),
            pytest.param("t", "y" * (256 * 1024 - 1), "262144", id="over 256 KiB"),
        ],
    )
    def test_what_is_no_progress_is_refused(self, busy: Busy, task_id: Any, output: Any, shown: str) -> None:
        lease = busy.leases["r"]
        assert lease is not None
        with refused(busy.queue, InvalidInput, shown):
            busy.queue.record_progress(lease, task_id, output)
        assert busy.queue.progress("r") == {}

    @promise("Q12")
    @needs("refusal", "cursors")
    @pytest.mark.parametrize(
        ("key", "tick", "shown"),
        [
            pytest.param("", AT, "''", id="empty key"),
            pytest.param(None, AT, "None", id="key None"),
            pytest.param("k" * 1025, AT, "kkk", id="long key"),
            pytest.param("k", "noon", "noon", id="no instant"),
            pytest.param("k", "2027-01-15T08:00", "2027-01-15T08:00", id="naive"),
            pytest.param("k", None, "None", id="tick None"),
        ],
    )
    def test_what_is_no_cursor_is_refused(self, busy: Busy, key: Any, tick: Any, shown: str) -> None:
        with refused(busy.queue, InvalidInput, shown):
            busy.queue.advance_schedule(key, None, tick)
        assert busy.queue.schedule_cursor("k") is None

    @promise("Q12")
    @needs("refusal", "cursors")
    @pytest.mark.parametrize("bad", ["", None, 5], ids=str)
    def test_what_is_no_cursor_key_cannot_be_read(self, busy: Busy, bad: Any) -> None:
        with refused(busy.queue, InvalidInput, repr(bad)):
            busy.queue.schedule_cursor(bad)

    @promise("Q12")
    @needs("refusal", "workers")
    @pytest.mark.parametrize("bad", [None, "w", WorkerInfo(""), WorkerInfo("a\n")], ids=str)
    def test_what_is_no_worker_cannot_be_announced(self, busy: Busy, bad: Any) -> None:
        with refused(busy.queue, InvalidInput):
            busy.queue.announce(bad)


def _with(job: Job, field: str, value: Any) -> Job:
    """The job after one of its fields was set, unchecked, as any caller can."""
    setattr(job, field, value)
    return job


def _claim(queue: PersistentQueue, verb: str, **given: Any) -> None:
    if verb == "dequeue":
        queue.dequeue(**given)
    elif verb == "dequeue_many":
        queue.dequeue_many(2, **given)
    else:
        queue.exchange([], 1, **given)
