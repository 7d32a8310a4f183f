"""The seed's surface of jobs and queues: what its own tests fix, said anew, with `orch` in place of its modules."""

from __future__ import annotations

from dataclasses import fields

import pytest

from orch import InvalidInput
from orch.backends.memory import MemoryQueue
from orch.queue import Job, JobStatus, PersistentQueue
from orch.testing import FakeClock

TWELVE = (
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
)


def seed_job(id: str = "job-1", enqueued_at: str = "2025-10-03T12:00:00Z", **more) -> Job:
    """A job made as the seed makes it, the six required fields by name."""
    return Job(
        id=id,
        dag_path="configs/dags/weekly_ops_chain.min.yaml",
        tenant_id="local-dev",
        schedule_id="nightly",
        status=JobStatus.PENDING,
        enqueued_at=enqueued_at,
        **more,
    )


@pytest.fixture
def queue():
    return MemoryQueue(clock=FakeClock())


# -- jobs ------------------------------------------------------------------------------------------------------------


def test_the_five_statuses_have_the_seeds_values() -> None:
    assert [(status.name, status.value) for status in JobStatus] == [
        ("PENDING", "pending"),
        ("RUNNING", "running"),
        ("SUCCESS", "success"),
        ("FAILED", "failed"),
        ("RETRY", "retry"),
    ]


def test_a_job_has_the_seeds_twelve_fields_first_and_in_their_order() -> None:
    assert tuple(field.name for field in fields(Job))[:12] == TWELVE


def test_a_job_can_be_made_by_position() -> None:
    job = Job("j", "d.yaml", "t", None, JobStatus.PENDING, "2025-10-03T12:00:00+00:00", None, None, 0, 3, None, None)
    assert (job.schedule_id, job.max_retries) == (None, 3)


def test_the_optional_fields_have_the_seeds_defaults() -> None:
    job = seed_job()
    assert [getattr(job, name) for name in TWELVE[6:]] == [None, None, 0, 0, None, None]


def test_to_dict_has_the_twelve_fields_and_the_status_as_its_value() -> None:
    data = seed_job(max_retries=2).to_dict()
    assert tuple(data)[:12] == TWELVE
    assert data["status"] == "pending"
    assert data["max_retries"] == 2


def test_from_dict_is_the_inverse_of_to_dict() -> None:
    job = seed_job(error="e", result={"x": [1]}, attempts=2)
    assert Job.from_dict(job.to_dict()) == job


def test_from_dict_takes_the_seeds_twelve_fields_alone() -> None:
    data = {name: value for name, value in seed_job().to_dict().items() if name in TWELVE}
    assert Job.from_dict(data) == seed_job()


def test_from_dict_leaves_the_callers_dict_as_it_was() -> None:
    data = seed_job().to_dict()
    before = dict(data)
    Job.from_dict(data)
    assert data == before


@pytest.mark.promise("Q12")
@pytest.mark.parametrize(
    ("change", "shows"), [({"status": "gone"}, "'gone'"), ({"status": None}, "None"), ({"attempts": "x"}, "'x'")]
)
def test_from_dict_refuses_what_is_no_job(change: dict[str, object], shows: str) -> None:
    with pytest.raises(InvalidInput, match=shows):
        Job.from_dict({**seed_job().to_dict(), **change})


@pytest.mark.promise("Q12")
@pytest.mark.parametrize("missing", TWELVE[:6])
def test_from_dict_names_a_field_that_is_missing(missing: str) -> None:
    data = seed_job().to_dict()
    del data[missing]
    with pytest.raises(InvalidInput, match=f"missing: {missing}"):
        Job.from_dict(data)


# -- the queue -------------------------------------------------------------------------------------------------------


def test_the_memory_queue_is_made_without_arguments() -> None:
    queue = MemoryQueue()
    assert isinstance(queue, PersistentQueue)
    assert queue.dequeue() is None


@pytest.mark.promise("Q2")
def test_jobs_leave_in_the_order_in_which_they_came(queue: MemoryQueue) -> None:
    for n in range(5):
        queue.enqueue(seed_job(f"job-{n}"))
    assert [queue.dequeue().id for _ in range(5)] == [f"job-{n}" for n in range(5)]


@pytest.mark.promise("Q2")
def test_an_empty_queue_gives_none(queue: MemoryQueue) -> None:
    assert queue.dequeue() is None


@pytest.mark.promise("Q4")
def test_a_dequeued_job_is_running_and_says_since_when(queue: MemoryQueue) -> None:
    queue.enqueue(seed_job())
    job = queue.dequeue()
    assert (job.status, job.started_at) == (JobStatus.RUNNING, "2027-01-15T08:00:00+00:00")
    assert queue.get_job("job-1").status is JobStatus.RUNNING


@pytest.mark.promise("Q7")
@pytest.mark.parametrize("dequeued", [True, False], ids=["running", "pending"])
@pytest.mark.parametrize("status", [JobStatus.SUCCESS, JobStatus.FAILED])
def test_a_final_status_without_a_lease_sets_the_finish(queue: MemoryQueue, status: JobStatus, dequeued: bool) -> None:
    queue.enqueue(seed_job())
    if dequeued:
        queue.dequeue()
    queue.update_status("job-1", status, error="why", result={"rows": 3})
    job = queue.get_job("job-1")
    assert (job.status, job.error, job.result) == (status, "why", {"rows": 3})
    assert job.finished_at == "2027-01-15T08:00:00+00:00"


@pytest.mark.promise("Q2", "Q6")
def test_a_retry_puts_the_job_back_at_the_tail(queue: MemoryQueue) -> None:
    for n in range(3):
        queue.enqueue(seed_job(f"job-{n}", max_retries=3))
    first = queue.dequeue()
    queue.update_status(first.id, JobStatus.RETRY, error="try again")
    job = queue.get_job("job-0")
    assert (job.status, job.attempts) == (JobStatus.PENDING, 1)
    assert [queue.dequeue().id for _ in range(3)] == ["job-1", "job-2", "job-0"]


def test_attempts_count_deliveries(queue: MemoryQueue) -> None:
    queue.enqueue(seed_job(max_retries=5))
    for n in (1, 2, 3):
        assert queue.dequeue().attempts == n
        queue.update_status("job-1", JobStatus.RETRY)


@pytest.mark.promise("Q9")
def test_no_job_counts_as_retry(queue: MemoryQueue) -> None:
    queue.enqueue(seed_job(max_retries=1))
    queue.dequeue()
    queue.update_status("job-1", JobStatus.RETRY)
    assert queue.count(JobStatus.RETRY) == 0
    assert queue.count(JobStatus.PENDING) == 1


def test_an_unknown_job_is_none(queue: MemoryQueue) -> None:
    assert queue.get_job("nope") is None


@pytest.mark.promise("Q12")
def test_an_update_of_an_unknown_job_is_no_longer_silent(queue: MemoryQueue) -> None:
    with pytest.raises(KeyError, match="nope"):
        queue.update_status("nope", JobStatus.SUCCESS)


@pytest.mark.promise("Q9")
def test_lists_are_newest_first_filtered_and_limited(queue: MemoryQueue) -> None:
    for n in range(4):
        queue.enqueue(seed_job(f"job-{n}", f"2025-10-03T12:0{n}:00Z"))
    queue.update_status(queue.dequeue().id, JobStatus.SUCCESS)
    assert [job.id for job in queue.list_jobs()] == ["job-3", "job-2", "job-1", "job-0"]
    assert [job.id for job in queue.list_jobs(status=JobStatus.SUCCESS)] == ["job-0"]
    assert [job.id for job in queue.list_jobs(JobStatus.PENDING, limit=2)] == ["job-3", "job-2"]


@pytest.mark.promise("Q9")
def test_a_count_of_all_has_the_finished_ones_too(queue: MemoryQueue) -> None:
    for n in range(3):
        queue.enqueue(seed_job(f"job-{n}"))
    queue.update_status(queue.dequeue().id, JobStatus.SUCCESS)
    queue.dequeue()
    assert queue.count() == 3
    by_status = [JobStatus.PENDING, JobStatus.RUNNING, JobStatus.SUCCESS]
    assert [queue.count(status) for status in by_status] == [1, 1, 1]


@pytest.mark.promise("Q10")
def test_a_purge_takes_old_finished_jobs_only() -> None:
    clock = FakeClock()
    queue = MemoryQueue(clock=clock)
    for n in range(4):
        queue.enqueue(seed_job(f"job-{n}"))
    queue.update_status(queue.dequeue(lease_s=1e6).id, JobStatus.SUCCESS)
    queue.update_status(queue.dequeue(lease_s=1e6).id, JobStatus.FAILED)
    queue.dequeue(lease_s=1e6)
    clock.advance(25 * 3600)
    assert queue.purge(older_than_hours=24) == 2
    assert sorted(job.id for job in queue.list_jobs()) == ["job-2", "job-3"]
    assert queue.purge() == 0
