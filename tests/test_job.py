"""The values of a queue and the table of their legal steps."""

import json
import random

import pytest

from orch import Job, JobStatus, Lease, Report
from orch.clock import iso, iso_to_us, process_clock, to_us
from orch.errors import IllegalTransition, InvalidInput, JobNotFound, UnreadableRecord
from orch.job import (
    FINAL,
    STATES,
    TRANSITIONS,
    Event,
    decode_record,
    encode_record,
    event_of_lost_lease,
    event_of_report,
    issued_lease,
    status_of,
    uuid7,
)

SEED_FIELDS = [
    "id",
    "dag_path",
    "tenant_id",
    "schedule_id",
    "status",
    "enqueued_at",
    "started_at",
    "finished_at",
    "attempts",
    "max_retries",
    "error",
    "result",
]


def a_job(**changes):
    return Job.new("etl.yaml", **{"id": "j", **changes})


def lease(job_id="j"):
    return Lease(job_id, 1, "w", 10.0)


def test_the_seeds_twelve_fields_come_first_in_its_order():
    job = Job("j", "d.yaml", "t", None, JobStatus.PENDING, "2025-10-03T10:00:00Z")
    assert list(job.to_dict())[:12] == SEED_FIELDS
    assert (job.started_at, job.finished_at, job.attempts, job.max_retries, job.error, job.result) == (
        None,
        None,
        0,
        0,
        None,
        None,
    )


@pytest.mark.promise("Q11")
def test_from_dict_is_the_inverse_of_to_dict_and_changes_nothing():
    job = a_job(params={"a": [1]}, priority=3)
    data = job.to_dict()
    before = json.dumps(data)
    assert Job.from_dict(data) == job
    assert json.dumps(data) == before
    assert data["status"] == "pending"


@pytest.mark.promise("Q13")
def test_unknown_fields_survive_a_round_trip():
    data = {**a_job().to_dict(), "run_id": {"x": [1]}}
    job = Job.from_dict(data)
    assert job.extra == {"run_id": {"x": [1]}}
    assert job.to_dict() == data
    assert decode_record(encode_record(job)) == job


@pytest.mark.promise("Q11")
def test_to_dict_and_copy_share_nothing_with_the_job():
    job = a_job(params={"a": [1]})
    job.result = {"r": [1]}
    job.extra = {"e": [1]}
    twin, data = job.copy(), job.to_dict()
    for other in (twin.params["a"], twin.result["r"], twin.extra["e"], data["params"]["a"], data["result"]["r"]):
        other.append(2)
    assert (job.params, job.result, job.extra) == ({"a": [1]}, {"r": [1]}, {"e": [1]})


@pytest.mark.promise("Q12")
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("id", None),
        ("id", ""),
        ("dag_path", ""),
        ("tenant_id", 5),
        ("schedule_id", 5),
        ("status", "pending"),
        ("enqueued_at", "2026-11-24 10:00:00"),
        ("started_at", 3),
        ("finished_at", "soon"),
        ("attempts", "x"),
        ("attempts", -1),
        ("max_retries", None),
        ("max_retries", True),
        ("priority", 1001),
        ("priority", 1.5),
        ("not_before", "tomorrow"),
        ("timeout_s", 0),
        ("timeout_s", float("nan")),
        ("failures", -1),
        ("crashes", -1),
        ("error", 5),
        ("result", [1]),
        ("result", {"x": "y" * 1024 * 1024}),
        ("params", None),
        ("params", {1: 2}),
        ("lease", "mine"),
        ("extra", None),
        ("extra", {"id": 1}),
        ("extra", {"v": 1}),
    ],
)
def test_a_job_is_checked_where_it_is_made_and_after_a_field_was_set(field, value):
    good = a_job().__dict__
    with pytest.raises(InvalidInput, match=field if field != "id" else "job id"):
        Job(**{**good, field: value})
    job = a_job()
    setattr(job, field, value)
    with pytest.raises(InvalidInput):
        job.check()


@pytest.mark.promise("Q12")
def test_from_dict_names_what_is_missing_and_what_is_not_a_status():
    with pytest.raises(InvalidInput, match="missing: dag_path"):
        Job.from_dict({name: value for name, value in a_job().to_dict().items() if name != "dag_path"})
    with pytest.raises(InvalidInput, match="one of pending, running"):
        Job.from_dict({**a_job().to_dict(), "status": "done"})
    with pytest.raises(InvalidInput, match="only reported"):
        Job.from_dict({**a_job().to_dict(), "status": "retry"})
    assert status_of("failed") is JobStatus.FAILED


def test_job_new_fills_id_and_time_from_what_it_is_given():
    one = Job.new("workflow:noop", clock=lambda: 1_800_000_000.5, rng=random.Random(1))
    two = Job.new("workflow:noop", clock=lambda: 1_800_000_000.5, rng=random.Random(1))
    assert one == two
    assert one.enqueued_at == "2027-01-15T08:00:00.500000+00:00"
    assert one.status is JobStatus.PENDING


def test_uuid7_has_its_version_variant_and_time():
    text = uuid7(1_800_000_000.0, random.Random(2))
    assert text[14] == "7"
    assert text[19] in "89ab"
    assert int(text.replace("-", "")[:12], 16) == 1_800_000_000_000
    assert uuid7(1_800_000_000.0) != uuid7(1_800_000_000.0)


@pytest.mark.promise("Q13")
@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b'{"v":1,"id":"j"', "cannot be read"),
        (b"\xff\xfe", "cannot be read"),
        (b"5", "not an object"),
        (b'{"v":2}', "newer than 1"),
        (b'{"v":"1"}', "version is '1'"),
        (b'{"v":0}', "version is 0"),
        (b'{"v":1}', "missing"),
        (b"[" * 100_000, "cannot be read"),
    ],
)
def test_a_record_that_cannot_be_read_says_why(raw, why):
    with pytest.raises(UnreadableRecord, match=why):
        decode_record(raw)


def test_a_record_of_the_seed_has_no_version_and_is_read():
    record = json.dumps({name: a_job().to_dict()[name] for name in SEED_FIELDS})
    assert decode_record(record).id == "j"


@pytest.mark.promise("Q7")
def test_final_states_are_left_only_by_a_requeue_of_a_failed_job():
    assert TRANSITIONS[JobStatus.SUCCESS] == {}
    assert TRANSITIONS[JobStatus.FAILED] == {Event.REQUEUE: JobStatus.PENDING}
    assert set(TRANSITIONS) == set(STATES)
    assert {JobStatus.SUCCESS, JobStatus.FAILED} == FINAL


@pytest.mark.promise("Q6", "Q7")
@pytest.mark.parametrize(
    ("current", "reported", "leased", "failures", "event"),
    [
        (JobStatus.RUNNING, JobStatus.SUCCESS, True, 0, Event.SUCCEED),
        (JobStatus.RUNNING, JobStatus.FAILED, True, 0, Event.FAIL),
        (JobStatus.RUNNING, JobStatus.RETRY, True, 1, Event.RETRY),
        (JobStatus.RUNNING, JobStatus.RETRY, True, 2, Event.EXHAUST),
        (JobStatus.RUNNING, JobStatus.RETRY, False, 0, Event.RETRY),
        (JobStatus.RUNNING, JobStatus.PENDING, True, 0, Event.GIVE_BACK),
        (JobStatus.PENDING, JobStatus.SUCCESS, False, 0, Event.SUCCEED),
        (JobStatus.PENDING, JobStatus.FAILED, False, 0, Event.FAIL),
        (JobStatus.SUCCESS, JobStatus.SUCCESS, False, 0, None),
        (JobStatus.FAILED, JobStatus.FAILED, False, 0, None),
    ],
)
def test_what_a_report_does_stands_in_one_table(current, reported, leased, failures, event):
    assert event_of_report("j", current, reported, leased=leased, failures=failures, max_retries=2) is event


@pytest.mark.promise("Q7", "Q12")
@pytest.mark.parametrize(
    ("current", "reported", "leased"),
    [
        (JobStatus.PENDING, JobStatus.RETRY, False),
        (JobStatus.PENDING, JobStatus.PENDING, False),
        (JobStatus.RUNNING, JobStatus.PENDING, False),
        (JobStatus.RUNNING, JobStatus.RUNNING, False),
        (JobStatus.SUCCESS, JobStatus.FAILED, False),
        (JobStatus.SUCCESS, JobStatus.RETRY, False),
        (JobStatus.FAILED, JobStatus.SUCCESS, False),
        (JobStatus.FAILED, JobStatus.RETRY, False),
    ],
)
def test_an_illegal_step_is_refused_by_name(current, reported, leased):
    with pytest.raises(IllegalTransition, match=f"'j' is {current.value}"):
        event_of_report("j", current, reported, leased=leased, failures=0, max_retries=0)


@pytest.mark.promise("Q6")
def test_a_lost_lease_ends_a_job_once_its_crash_budget_is_used():
    assert event_of_lost_lease(2, 3) is Event.LEASE_LOST
    assert event_of_lost_lease(3, 3) is Event.CRASH_LIMIT


@pytest.mark.promise("Q12")
@pytest.mark.parametrize(
    "arguments",
    [
        {"job_id": ""},
        {"status": "success"},
        {"status": JobStatus.RUNNING},
        {"result": [1]},
        {"result": {"x": "y" * 1024 * 1024}},
        {"lease": "mine"},
        {"lease": lease("other")},
        {"delay_s": 1.0},
        {"status": JobStatus.RETRY, "delay_s": -1},
        {"error": 5},
    ],
)
def test_a_report_is_checked_where_it_is_made(arguments):
    with pytest.raises(InvalidInput):
        Report(**{"job_id": "j", "status": JobStatus.SUCCESS, **arguments})


@pytest.mark.promise("Q11")
def test_a_report_keeps_its_own_copy_of_the_result():
    result = {"a": [1]}
    report = Report("j", JobStatus.SUCCESS, result=result, lease=lease())
    result["a"].append(2)
    assert report.result == {"a": [1]}


@pytest.mark.promise("Q12")
@pytest.mark.parametrize(
    "arguments",
    [("", 1, "w", 1.0), ("j", -1, "w", 1.0), ("j", True, "w", 1.0), ("j", 1, None, 1.0), ("j", 1, "w", "x")],
)
def test_a_lease_is_checked_where_it_is_made(arguments):
    with pytest.raises(InvalidInput):
        Lease(*arguments)


def test_a_lease_that_a_queue_issues_equals_one_that_is_made():
    assert issued_lease("j", 5, "w", 1_500_000) == Lease("j", 5, "w", 1.5)


def test_instants_as_text_and_as_microseconds_are_inverse():
    for us in (0, 1, 999_999, 1_800_000_000_000_000, 1_800_000_000_000_001):
        assert iso_to_us(iso(us)) == us
    assert iso(1_800_000_000_000_000) == "2027-01-15T08:00:00+00:00"
    assert to_us(0.1) == 100_000


def test_the_process_clock_is_epoch_time_and_does_not_go_back():
    first = process_clock()
    assert 1_700_000_000 < first <= process_clock()


def test_an_unknown_job_reads_as_a_sentence():
    assert str(JobNotFound("no job 'x'")) == "no job 'x'"
    assert str(JobNotFound()) == ""
    assert issubclass(JobNotFound, KeyError)


def test_a_job_shows_itself_in_a_notebook_without_running_what_it_holds():
    assert "&lt;script&gt;" in a_job(params={"x": "<script>"})._repr_html_()
