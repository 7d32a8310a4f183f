"""What the sentences of the contract stand on: who subclasses it says how to make a queue, and a few short words."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import pytest

from orch.clock import iso, iso_to_us, to_us
from orch.errors import (
    NotSupported,
)
from orch.job import Job, JobStatus, Lease
from orch.queue import PersistentQueue
from orch.testing.capabilities import ALL, CAPABILITIES
from orch.testing.clock import FakeClock

PENDING, RUNNING, SUCCESS, FAILED, RETRY = JobStatus
AT = "2027-01-15T08:00:00+00:00"  # where a FakeClock starts
START_US = iso_to_us(AT)
LEASE_S = 10.0  # of the deliveries here, unless a test is about the queue's own

Test = TypeVar("Test", bound=Callable[..., Any])
promise = pytest.mark.promise


def needs(*names: str) -> Callable[[Test], Test]:
    """The capabilities without which this test is skipped."""
    assert ALL.issuperset(names), names

    def mark(test: Test) -> Test:
        test.needs = frozenset(names)  # type: ignore[attr-defined]  # functions take attributes
        return test

    return mark


def new_job(id: str = "a", **fields: Any) -> Job:
    """A PENDING job; `fields` are those of `Job`."""
    given: dict[str, Any] = {
        "dag_path": "d.yaml",
        "tenant_id": "t",
        "schedule_id": None,
        "status": PENDING,
        "enqueued_at": AT,
    }
    return Job(id=id, **{**given, **fields})


def at(seconds: float) -> str:
    """The ISO-8601 text of an instant so many seconds after the clock's start."""
    return iso(START_US + to_us(seconds))


def drained(queue: PersistentQueue) -> list[str]:
    """The ids that dequeue delivers until it says None."""
    ids: list[str] = []
    while (job := queue.dequeue(lease_s=1e6)) is not None:
        ids.append(job.id)
    return ids


def got(queue: PersistentQueue, job_id: str) -> Job:
    """The job, which must be there."""
    job = queue.get_job(job_id)
    assert job is not None, f"job {job_id!r} is gone"
    return job


def took(queue: PersistentQueue, job_id: str | None = None, worker_id: str = "", lease_s: float = LEASE_S) -> Job:
    """The next delivery, which must be there, and of this job."""
    job = queue.dequeue(worker_id, lease_s=lease_s)
    assert job is not None, "dequeue said None"
    assert job_id is None or job.id == job_id
    return job


def lease_of(job: Job) -> Lease:
    """The lease of a delivery, which must be there."""
    assert job.lease is not None, f"job {job.id!r} was delivered without a lease"
    return job.lease


def snapshot(queue: PersistentQueue) -> dict[str, Any]:
    """Everything that can be seen without changing it."""
    seen: dict[str, Any] = {
        "counts": queue.counts(),
        "jobs": [(job.to_dict(), job.lease) for job in queue.list_jobs(limit=10_000)],
    }
    for verb in ("stats", "quarantined", "workers"):
        try:
            seen[verb] = getattr(queue, verb)()
        except NotSupported:
            continue
    return seen


@contextmanager
def refused(queue: PersistentQueue, error: type[BaseException], *shows: str) -> Iterator[None]:
    """The body raises this error, whose message shows these texts, and changes nothing."""
    before = snapshot(queue)
    with pytest.raises(error) as caught:
        yield
    message = str(caught.value)
    for text in shows:
        assert text in message, f"{text!r} is not in {message!r}"
    assert snapshot(queue) == before


@contextmanager
def nothing_changed(queue: PersistentQueue) -> Iterator[None]:
    """The body leaves everything as it was."""
    before = snapshot(queue)
    yield
    assert snapshot(queue) == before


class Busy:
    """A queue with one job in each state, "p", "d" (delayed), "r", "s" and "f", and their leases."""

    def __init__(self, queue: PersistentQueue, *, delay: bool) -> None:
        self.queue = queue
        for job_id in "rsf":
            queue.enqueue(new_job(job_id))
        self.leases = {job.id: job.lease for job in (took(queue, job_id, "w1") for job_id in "rsf")}
        queue.update_status("s", SUCCESS, result={"n": 1}, lease=self.leases["s"])
        queue.update_status("f", FAILED, error="boom", lease=self.leases["f"])
        queue.enqueue(new_job("p", params={"x": 1}))
        self.ids = list("rsfp")
        if delay:
            queue.enqueue(new_job("d", not_before=at(500)))
            self.ids.append("d")


class Contract:
    """How a subclass says which queue it is about, and the fixtures of every sentence."""

    #: What the queue can do; see `orch.testing.capabilities`.
    capabilities: frozenset[str] = ALL
    #: What `make_queue` gave the queue.
    lease_s = 30.0
    max_crashes = 3

    # -- what a subclass says --------------------------------------------------------------------------------------

    def make_queue(self, clock: FakeClock) -> PersistentQueue:
        """An empty queue whose time is `clock`."""
        raise NotImplementedError("a subclass of QueueContract makes its queue in make_queue(clock)")

    def second_client(self, queue: PersistentQueue) -> PersistentQueue:
        """Another client of the same store; the same object where there is no other."""
        return queue

    def reopen(self, queue: PersistentQueue) -> PersistentQueue:
        """The same store, closed and opened again; the same object where closing would lose it."""
        return queue

    def plant_record(self, queue: PersistentQueue, job_id: str, raw: bytes) -> None:
        """Replace the stored record of a job by these bytes, as a fault of the store would."""
        queue.plant_record(job_id, raw)  # type: ignore[attr-defined]  # our backends have this hook for tests

    # -- fixtures ----------------------------------------------------------------------------------------------------

    @pytest.fixture
    def clock(self) -> FakeClock:
        return FakeClock()

    @pytest.fixture
    def queue(self, request: pytest.FixtureRequest, clock: FakeClock) -> Iterator[PersistentQueue]:
        missing = sorted(getattr(request.function, "needs", frozenset()) - self.capabilities)
        if missing:
            pytest.skip("; ".join(f"no {name}: {CAPABILITIES[name]}" for name in missing))
        queue = self.make_queue(clock)
        self._clients = [queue]
        try:
            yield queue
        finally:
            for client in self._clients:
                client.close()

    @pytest.fixture
    def busy(self, queue: PersistentQueue) -> Busy:
        return Busy(queue, delay="delay" in self.capabilities)

    def _again(self, queue: PersistentQueue) -> PersistentQueue:
        self._clients.append(self.reopen(queue))
        return self._clients[-1]

    def _second(self, queue: PersistentQueue) -> PersistentQueue:
        self._clients.append(self.second_client(queue))
        return self._clients[-1]
