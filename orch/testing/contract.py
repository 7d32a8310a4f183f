"""The contract of a queue as one test class: a sentence per behaviour, marked with the promise that it holds.

Subclass it and say how to make a queue; pytest does the rest:

    class TestMine(QueueContract):
        def make_queue(self, clock):
            return MyQueue(clock=clock)

A queue that does less declares its `capabilities`; what it does not declare is skipped by name. Nothing here waits or
reads a wall clock: the queue is handed a `FakeClock`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, ClassVar, TypeVar

import pytest

from orch.clock import iso, iso_to_us, to_us
from orch.errors import (
    IllegalTransition,
    InvalidInput,
    JobNotFound,
    LeaseLost,
    NotSupported,
    OrchError,
    UnreadableRecord,
)
from orch.job import STATES, CursorMove, Job, JobStatus, Lease, QueueStats, Report, WorkerInfo, encode_record
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


def nested(levels: int) -> dict[str, Any]:
    """An object with so many levels."""
    value: Any = {}
    for _ in range(levels - 1):
        value = {"k": value}
    return dict(value)


class Unshowable:
    """Its repr raises; a message about it must not."""

    def __repr__(self) -> str:
        raise RuntimeError("no repr")


#: Values that are no id, and what a message about them shows.
BAD_IDS = [
    pytest.param("", "''", id="empty"),
    pytest.param("x" * 201, "xxx", id="201 characters"),
    pytest.param("a\nb", r"a\nb", id="line break"),
    pytest.param("a\0", r"a\x00", id="NUL"),
    pytest.param("a\x7f", r"a\x7f", id="DEL"),
    pytest.param("\ud800", r"\ud800", id="lone surrogate"),
    pytest.param("a\u2028b", r"a\u2028b", id="line separator"),
    pytest.param(None, "None", id="None"),
    pytest.param(5, "5", id="int"),
    pytest.param(b"x", "b'x'", id="bytes"),
]

#: Values that are no JSON object, and what a message about them shows.
BAD_OBJECTS = [
    pytest.param([1], "[1]", id="list"),
    pytest.param("text", "text", id="text"),
    pytest.param(7, "7", id="int"),
    pytest.param({"x": float("nan")}, "nan", id="NaN"),
    pytest.param({"x": float("inf")}, "inf", id="infinity"),
    pytest.param({1: "x"}, "1", id="key that is no text"),
    pytest.param({None: "x"}, "None", id="key None"),
    pytest.param({"x": {2, 3}}, "{2, 3}", id="set"),
    pytest.param({"x": b"y"}, "b'y'", id="bytes"),
    pytest.param({"x": object}, "object", id="class"),
    pytest.param({"x": "\ud800"}, r"\ud800", id="lone surrogate"),
    pytest.param({"\udfff": 1}, r"\udfff", id="lone surrogate as key"),
    pytest.param({"x": Unshowable()}, "Unshowable", id="value whose repr raises"),
    pytest.param({"x": 1 << 2000}, "1024 bits", id="very long number"),
    pytest.param(nested(65), "64", id="65 levels"),
    pytest.param({"x": "y" * (1024 * 1024)}, "1048576", id="over 1 MiB"),
    pytest.param({"x": "\u00e4" * (512 * 1024)}, "1048576", id="over 1 MiB of UTF-8"),
]

#: Values that are no positive number of seconds.
BAD_SECONDS = [
    pytest.param(-1, "-1", id="negative"),
    pytest.param(float("nan"), "nan", id="NaN"),
    pytest.param(float("inf"), "inf", id="infinity"),
    pytest.param(2e9, "2000000000", id="too much"),
    pytest.param("5", "'5'", id="text"),
    pytest.param(True, "True", id="bool"),
]

BAD_COUNTS = [
    pytest.param(-1, "-1", id="negative"),
    pytest.param(1.0, "1.0", id="float"),
    pytest.param("3", "'3'", id="text"),
    pytest.param(True, "True", id="bool"),
    pytest.param(None, "None", id="None"),
]

BAD_INSTANTS = [
    pytest.param("2027-01-15T08:00:00", "2027-01-15T08:00:00", id="naive"),
    pytest.param("tomorrow", "tomorrow", id="unparsable"),
    pytest.param("2027-02-30T00:00:00Z", "2027-02-30", id="no such day"),
    pytest.param("", "''", id="empty"),
    pytest.param(1_800_000_000.0, "1800000000.0", id="number"),
]

#: Fields of a job that are set to something bad after it was made.
BAD_FIELDS = [
    ("dag_path", "", "''"),
    ("dag_path", None, "None"),
    ("dag_path", "a\0b", r"a\x00b"),
    ("dag_path", "x" * 4097, "xxx"),
    ("tenant_id", "", "''"),
    ("tenant_id", 7, "7"),
    ("schedule_id", "", "''"),
    ("schedule_id", 7, "7"),
    ("status", "pending", "'pending'"),
    ("status", None, "None"),
    ("status", "gone", "'gone'"),
    ("attempts", -1, "-1"),
    ("attempts", "1", "'1'"),
    ("attempts", True, "True"),
    ("max_retries", -1, "-1"),
    ("max_retries", 1.5, "1.5"),
    ("max_retries", None, "None"),
    ("priority", 1001, "1001"),
    ("priority", -1001, "-1001"),
    ("priority", "high", "'high'"),
    ("priority", 0.5, "0.5"),
    ("failures", -1, "-1"),
    ("crashes", None, "None"),
    ("timeout_s", 0, "0"),
    ("timeout_s", float("nan"), "nan"),
    ("timeout_s", "9", "'9'"),
    ("error", 5, "5"),
    ("error", b"x", "b'x'"),
    ("lease", "x", "'x'"),
]

#: Stored bytes that are no record of this version.
BAD_RECORDS = [
    pytest.param(b"", id="empty"),
    pytest.param(b"{", id="cut"),
    pytest.param(b'{"id":"q","dag_path":"d.ya', id="cut in a text"),
    pytest.param(b"\xff\xfe\x00", id="no UTF-8"),
    pytest.param(b"null", id="null"),
    pytest.param(b"[]", id="a list"),
    pytest.param(b"17", id="a number"),
    pytest.param(b"{}", id="no fields"),
    pytest.param(b'{"v":1,"id":"q"}', id="fields missing"),
    pytest.param(json.dumps({**new_job("q").to_dict(), "v": 2}).encode(), id="newer"),
    pytest.param(json.dumps({**new_job("q").to_dict(), "v": "1"}).encode(), id="version a text"),
    pytest.param(json.dumps({**new_job("q").to_dict(), "v": 0}).encode(), id="version 0"),
    pytest.param(json.dumps({**new_job("q").to_dict(), "status": "gone"}).encode(), id="unknown status"),
    pytest.param(json.dumps({**new_job("q").to_dict(), "status": "retry"}).encode(), id="status retry"),
    pytest.param(json.dumps({**new_job("q").to_dict(), "attempts": "x"}).encode(), id="wrong type"),
    pytest.param(json.dumps({**new_job("q").to_dict(), "enqueued_at": "noon"}).encode(), id="bad time"),
    pytest.param(b"[" * 100_000, id="very deep"),
]

#: Values that must come back as they went in.
VALUES = [
    pytest.param({}, id="empty object"),
    pytest.param({"a": [], "b": {}}, id="empty list and empty object"),
    pytest.param({"a": [[], [{}], {"b": []}]}, id="nested empties"),
    pytest.param({"n": 0, "t": True, "f": False, "z": None}, id="0, true, false, null"),
    pytest.param({"i": 2**53 + 1, "j": -(2**63), "k": 10**30}, id="numbers beyond a double"),
    pytest.param({"x": 0.1, "y": 1e300, "z": 5e-324, "w": 1.0, "v": -0.0}, id="floats"),
    pytest.param({"": "", " ": "\t\r\n"}, id="empty key, white space"),
    pytest.param({"nul": "a\0b", "ctl": "\x01\x1f\x7f"}, id="NUL and control characters"),
    pytest.param({"q": "\"'\\/`${}%s{0}", "sql": "'; DROP TABLE jobs; --"}, id="quotes"),
    pytest.param({"äöü": "日本語 🙂 \u2028\u2029\ufeff"}, id="beyond ASCII"),
    pytest.param({"b": 1, "a": 2, "c": {"z": 1, "y": 2}}, id="order of keys"),
    pytest.param(nested(64), id="64 levels"),
    pytest.param({"x": "y" * (1024 * 1024 - 8)}, id="1 MiB"),
]


class QueueContract:
    """Subclass it, name the subclass `Test...`, and give it `make_queue`."""

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

    # -- Q1 conserve -------------------------------------------------------------------------------------------------

    @promise("Q1", "Q9")
    def test_each_accepted_job_is_in_exactly_one_state(self, busy: Busy) -> None:
        queue = busy.queue
        listed = {status: [job.id for job in queue.list_jobs(status)] for status in STATES}
        assert sorted(job_id for ids in listed.values() for job_id in ids) == sorted(busy.ids)
        assert (listed[RUNNING], listed[SUCCESS], listed[FAILED]) == (["r"], ["s"], ["f"])

    @promise("Q1")
    def test_nothing_appears_that_was_not_enqueued(self, queue: PersistentQueue) -> None:
        assert queue.dequeue() is None
        assert queue.list_jobs() == []
        assert queue.count() == 0
        assert queue.get_job("a") is None
        assert queue.purge(0) == 0

    @promise("Q1")
    def test_many_jobs_each_go_in_and_come_out_once(self, queue: PersistentQueue) -> None:
        ids = [f"j{i}" for i in range(1_100)]  # more than one slice
        assert queue.enqueue_many(new_job(job_id) for job_id in ids) == len(ids)
        assert [job.id for job in queue.dequeue_many(2_000, lease_s=1e6)] == ids
        assert queue.dequeue() is None

    @promise("Q1", "Q5")
    @needs("lease")
    def test_a_job_whose_holder_vanished_can_still_succeed(self, queue: PersistentQueue, clock: FakeClock) -> None:
        queue.enqueue(new_job())
        took(queue)
        clock.advance(LEASE_S)
        job = took(queue, "a")
        assert queue.update_status("a", SUCCESS, lease=job.lease).status is SUCCESS

    @promise("Q1")
    @needs("lease", "delay", "operator", "requeue", "crashes")
    @pytest.mark.parametrize(
        "how", ["enqueued", "delayed", "running", "given back", "retried", "retried later", "lost", "failed", "crashed"]
    )
    def test_from_wherever_it_is_a_job_can_come_to_success(
        self, queue: PersistentQueue, clock: FakeClock, how: str
    ) -> None:
        queue.enqueue(new_job(max_retries=5, not_before=at(5) if how == "delayed" else None))
        if how not in ("enqueued", "delayed"):
            lease = took(queue).lease
            if how == "given back":
                queue.update_status("a", PENDING, lease=lease)
            elif how == "retried":
                queue.update_status("a", RETRY, lease=lease)
            elif how == "retried later":
                queue.update_status("a", RETRY, lease=lease, delay_s=5)
            elif how == "lost":
                clock.advance(LEASE_S)
                assert queue.dequeue_many(1, lease_s=1)[0].id == "a"
            elif how == "failed":
                queue.update_status("a", FAILED, lease=lease)
                queue.requeue("a")
            elif how == "crashed":
                for _ in range(self.max_crashes + 1):
                    clock.advance(LEASE_S)
                    queue.dequeue(lease_s=LEASE_S)
                queue.requeue("a")
        clock.advance(LEASE_S)
        job = took(queue, "a")
        assert queue.update_status("a", SUCCESS, lease=job.lease).status is SUCCESS

    # -- Q2 order ----------------------------------------------------------------------------------------------------

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

    # -- Q3 once in --------------------------------------------------------------------------------------------------

    @promise("Q3")
    def test_the_first_enqueue_is_true_and_the_second_false(self, queue: PersistentQueue) -> None:
        assert queue.enqueue(new_job()) is True
        assert queue.enqueue(new_job()) is False
        assert queue.count() == 1
        assert drained(queue) == ["a"]

    @promise("Q3")
    @pytest.mark.parametrize("job_id", ["p", "d", "r", "s", "f"])
    @needs("delay")
    def test_enqueuing_a_known_id_changes_nothing_whatever_its_state(self, busy: Busy, job_id: str) -> None:
        other = new_job(job_id, dag_path="other.yaml", priority=9, params={"y": 2}, enqueued_at=at(77))
        with nothing_changed(busy.queue):
            assert busy.queue.enqueue(other) is False
            assert busy.queue.enqueue_many([other, other]) == 0

    @promise("Q3")
    def test_a_known_id_keeps_its_place_in_the_line(self, queue: PersistentQueue) -> None:
        queue.enqueue_many([new_job("a"), new_job("b")])
        queue.enqueue(new_job("a", priority=0))
        assert drained(queue) == ["a", "b"]

    @promise("Q3")
    def test_enqueue_many_counts_the_new_ones(self, queue: PersistentQueue) -> None:
        queue.enqueue(new_job("a"))
        assert queue.enqueue_many([new_job("a"), new_job("b"), new_job("c")]) == 2
        assert queue.enqueue_many([]) == 0

    @promise("Q3")
    def test_of_two_equal_ids_in_one_call_the_first_counts(self, queue: PersistentQueue) -> None:
        assert queue.enqueue_many([new_job("a", dag_path="1.yaml"), new_job("a", dag_path="2.yaml")]) == 1
        assert took(queue, "a").dag_path == "1.yaml"
        assert queue.dequeue() is None

    @promise("Q3", "Q10")
    def test_a_purged_id_is_new_again(self, queue: PersistentQueue, clock: FakeClock) -> None:
        queue.enqueue(new_job())
        queue.update_status("a", SUCCESS, lease=took(queue).lease)
        clock.advance(1)
        assert queue.purge(0) == 1
        assert queue.enqueue(new_job()) is True
        assert took(queue, "a").attempts == 1

    @promise("Q3")
    @needs("lease")
    def test_the_lease_of_a_job_that_is_enqueued_is_not_taken_over(self, queue: PersistentQueue) -> None:
        queue.enqueue(replace(new_job(), lease=Lease("a", 7, "w", 1e9)))
        assert got(queue, "a").lease is None
        assert queue.list_jobs()[0].lease is None

    @promise("Q3")
    def test_ids_differ_when_any_character_differs(self, queue: PersistentQueue) -> None:
        ids = ["a", "A", "a ", " a", "á", "a\u0301", "0", "00", "a:b", "a*", "a?", "[a]", "%", "_"]
        assert queue.enqueue_many(new_job(job_id) for job_id in ids) == len(ids)
        assert drained(queue) == ids

    # -- Q4 one holder -----------------------------------------------------------------------------------------------

    @promise("Q4")
    @needs("lease")
    def test_a_delivery_carries_a_lease(self, queue: PersistentQueue, clock: FakeClock) -> None:
        queue.enqueue(new_job())
        lease = lease_of(took(queue, "a", "w1"))
        assert (lease.job_id, lease.worker_id, lease.expires_at) == ("a", "w1", clock() + LEASE_S)

    @promise("Q4")
    def test_a_delivered_job_is_running(self, queue: PersistentQueue, clock: FakeClock) -> None:
        queue.enqueue(new_job())
        clock.advance(3)
        job = took(queue, "a")
        assert (job.status, job.started_at, job.finished_at, job.attempts) == (RUNNING, at(3), None, 1)
        assert got(queue, "a") == job

    @promise("Q4")
    @needs("lease")
    def test_a_running_job_shows_its_current_lease_and_no_other_does(self, busy: Busy) -> None:
        shown = {job.id: job.lease for job in busy.queue.list_jobs()}
        assert shown == {job_id: busy.leases["r"] if job_id == "r" else None for job_id in busy.ids}
        assert {job_id: got(busy.queue, job_id).lease for job_id in busy.ids} == shown

    @promise("Q4")
    @needs("lease")
    def test_tokens_grow_over_the_whole_queue(self, queue: PersistentQueue, clock: FakeClock) -> None:
        queue.enqueue_many(new_job(f"j{i}") for i in range(5))
        tokens = [lease_of(took(queue)).token for _ in range(3)]
        clock.advance(2)
        tokens += [lease_of(job).token for job in queue.dequeue_many(2)]
        assert tokens == sorted(set(tokens))

    @promise("Q4")
    @needs("lease")
    def test_a_token_is_the_larger_of_the_next_one_and_the_time_in_microseconds(
        self, queue: PersistentQueue, clock: FakeClock
    ) -> None:
        queue.enqueue_many(new_job(f"j{i}") for i in range(4))
        now = to_us(clock())
        assert lease_of(took(queue)).token == now
        assert lease_of(took(queue)).token == now + 1
        clock.advance(1)
        assert lease_of(took(queue)).token == now + 1_000_000
        clock.advance(-50)
        assert lease_of(took(queue)).token == now + 1_000_001

    STALE_ACTS: ClassVar[list[Any]] = [
        pytest.param(lambda q, lease: q.update_status("a", SUCCESS, result={"x": 1}, lease=lease), id="SUCCESS"),
        pytest.param(lambda q, lease: q.update_status("a", FAILED, error="late", lease=lease), id="FAILED"),
        pytest.param(lambda q, lease: q.update_status("a", RETRY, error="late", lease=lease), id="RETRY"),
        pytest.param(lambda q, lease: q.update_status("a", RETRY, lease=lease, delay_s=5), id="RETRY later"),
        pytest.param(lambda q, lease: q.update_status("a", PENDING, lease=lease), id="give back"),
        pytest.param(lambda q, lease: q.extend_lease(lease), id="extend"),
        pytest.param(lambda q, lease: q.record_progress(lease, "t", {"x": 1}), id="progress"),
    ]

    @promise("Q4")
    @needs("lease", "extend", "progress")
    @pytest.mark.parametrize("act", STALE_ACTS)
    def test_a_stale_lease_can_do_nothing_to_the_next_delivery(
        self, queue: PersistentQueue, clock: FakeClock, act: Callable[[PersistentQueue, Lease], Any]
    ) -> None:
        queue.enqueue(new_job(max_retries=5))
        stale = lease_of(took(queue))
        clock.advance(LEASE_S)
        took(queue, "a")
        with refused(queue, LeaseLost, str(stale.token), "'a'"):
            act(queue, stale)
        assert queue.progress("a") == {}

    @promise("Q4")
    @needs("lease", "extend", "progress", "operator", "requeue", "priority")
    @pytest.mark.parametrize("act", STALE_ACTS)
    @pytest.mark.parametrize("ended", ["reclaimed", "operator SUCCESS", "operator RETRY", "cancelled", "requeued"])
    def test_a_lease_that_was_ended_can_do_nothing(
        self, queue: PersistentQueue, clock: FakeClock, ended: str, act: Callable[[PersistentQueue, Lease], Any]
    ) -> None:
        queue.enqueue(new_job(max_retries=5))
        stale = lease_of(took(queue))
        if ended == "reclaimed":
            queue.enqueue(new_job("b", priority=1))
            clock.advance(LEASE_S)
            took(queue, "b")
        elif ended == "operator SUCCESS":
            queue.update_status("a", SUCCESS)
        elif ended == "operator RETRY":
            queue.update_status("a", RETRY)
        else:
            queue.cancel("a")
            if ended == "requeued":
                queue.requeue("a")
        with refused(queue, LeaseLost, str(stale.token)):
            act(queue, stale)
        assert queue.progress("a") == {}

    @promise("Q4")
    @needs("lease", "extend", "progress")
    @pytest.mark.parametrize("act", [param for param in STALE_ACTS if param.id != "SUCCESS"])
    def test_after_its_success_a_lease_can_do_nothing_else(
        self, queue: PersistentQueue, act: Callable[[PersistentQueue, Lease], Any]
    ) -> None:
        queue.enqueue(new_job(max_retries=5))
        lease = lease_of(took(queue))
        queue.update_status("a", SUCCESS, lease=lease)
        with refused(queue, LeaseLost):
            act(queue, lease)

    @promise("Q4")
    @needs("lease", "extend", "progress")
    @pytest.mark.parametrize("act", [param for param in STALE_ACTS if param.id != "give back"])
    def test_after_it_gave_back_a_lease_can_do_nothing_else(
        self, queue: PersistentQueue, act: Callable[[PersistentQueue, Lease], Any]
    ) -> None:
        queue.enqueue(new_job(max_retries=5))
        lease = lease_of(took(queue))
        queue.update_status("a", PENDING, lease=lease)
        with refused(queue, LeaseLost):
            act(queue, lease)

    @promise("Q4")
    @needs("lease", "extend", "progress")
    @pytest.mark.parametrize("act", STALE_ACTS)
    @pytest.mark.parametrize("token", [0, 1, "one less", "one more"])
    def test_an_invented_token_can_do_nothing(
        self, queue: PersistentQueue, token: int | str, act: Callable[[PersistentQueue, Lease], Any]
    ) -> None:
        queue.enqueue(new_job(max_retries=5))
        lease = lease_of(took(queue))
        forged = {"one less": lease.token - 1, "one more": lease.token + 1}.get(str(token), token)
        with refused(queue, LeaseLost):
            act(queue, replace(lease, token=int(forged)))

    @promise("Q4")
    @needs("lease")
    def test_a_job_that_was_never_delivered_takes_no_report_under_a_lease(self, queue: PersistentQueue) -> None:
        queue.enqueue(new_job())
        with refused(queue, LeaseLost):
            queue.update_status("a", SUCCESS, lease=Lease("a", 0, "", 0))

    @promise("Q4")
    @needs("lease", "extend")
    def test_a_lease_past_its_end_is_current_until_a_dequeue_takes_it_back(
        self, queue: PersistentQueue, clock: FakeClock
    ) -> None:
        queue.enqueue(new_job())
        job = took(queue)
        clock.advance(1000)
        assert got(queue, "a").status is RUNNING
        assert queue.extend_lease(lease_of(job), 5).expires_at == clock() + 5
        clock.advance(1000)
        assert queue.update_status("a", SUCCESS, lease=job.lease).status is SUCCESS

    @promise("Q4")
    @needs("lease", "extend")
    def test_the_lease_value_from_before_an_extension_is_still_good(self, queue: PersistentQueue) -> None:
        queue.enqueue(new_job())
        lease = lease_of(took(queue))
        queue.extend_lease(lease, 99)
        assert queue.update_status("a", SUCCESS, lease=lease).status is SUCCESS

    @promise("Q4")
    @needs("lease")
    def test_a_job_is_held_by_one_of_two_clients(self, queue: PersistentQueue, clock: FakeClock) -> None:
        other = self._second(queue)
        queue.enqueue_many([new_job("a"), new_job("b")])
        assert [took(queue).id, took(other).id] == ["a", "b"]
        assert queue.dequeue() is None
        assert other.dequeue() is None

    @promise("Q4")
    @needs("lease")
    def test_the_lease_of_one_client_is_good_with_another(self, queue: PersistentQueue) -> None:
        other = self._second(queue)
        queue.enqueue(new_job())
        job = took(queue)
        assert other.update_status("a", SUCCESS, result={"by": 2}, lease=job.lease).status is SUCCESS
        assert got(queue, "a").result == {"by": 2}

    @promise("Q4", "Q5")
    @needs("lease")
    def test_a_forward_jump_of_the_clock_fences_the_old_holder(self, queue: PersistentQueue, clock: FakeClock) -> None:
        queue.enqueue(new_job())
        old = took(queue)
        clock.advance(1e6)
        new = took(queue, "a")
        assert lease_of(new).token > lease_of(old).token
        with refused(queue, LeaseLost):
            queue.update_status("a", SUCCESS, lease=old.lease)
        queue.update_status("a", SUCCESS, lease=new.lease)

    @promise("Q4", "Q5")
    @needs("lease")
    def test_a_backward_jump_of_the_clock_delivers_nothing_twice(
        self, queue: PersistentQueue, clock: FakeClock
    ) -> None:
        queue.enqueue_many([new_job("a"), new_job("b")])
        first = took(queue, "a")
        clock.advance(-1e6)
        second = took(queue, "b")
        assert lease_of(second).token > lease_of(first).token
        assert queue.dequeue() is None
        assert queue.update_status("a", SUCCESS, lease=first.lease).status is SUCCESS

    # -- Q5 recovery -------------------------------------------------------------------------------------------------

    @promise("Q5")
    @needs("lease")
    def test_a_lease_is_expired_when_the_clock_reaches_its_end_and_not_before(
        self, queue: PersistentQueue, clock: FakeClock
    ) -> None:
        queue.enqueue(new_job())
        took(queue, lease_s=5)
        clock.advance(4.999)
        assert queue.dequeue() is None
        clock.advance(0.001)
        took(queue, "a")

    @promise("Q5")
    @needs("lease")
    def test_the_queues_own_lease_counts_when_none_is_given(self, queue: PersistentQueue, clock: FakeClock) -> None:
        queue.enqueue(new_job())
        job = queue.dequeue()
        assert job is not None
        assert lease_of(job).expires_at == clock() + self.lease_s
        clock.advance(self.lease_s - 0.001)
        assert queue.dequeue() is None
        clock.advance(0.001)
        took(queue, "a")

    @promise("Q5")
    @needs("lease")
    def test_a_lost_lease_leaves_the_job_pending_with_its_history(
        self, queue: PersistentQueue, clock: FakeClock
    ) -> None:
        queue.enqueue_many([new_job("a", max_retries=3), new_job("b")])
        queue.update_status("a", RETRY, error="first", result={"part": 1}, lease=took(queue, "a").lease)
        took(queue, "b", lease_s=1e6)
        took(queue, "a")
        clock.advance(LEASE_S)
        assert queue.dequeue_many(1)[0].id == "a"
        job = got(queue, "a")
        assert (job.attempts, job.failures, job.crashes) == (3, 1, 1)
        assert (job.error, job.result) == ("first", {"part": 1})

    @promise("Q5")
    @needs("lease", "priority")
    def test_a_reclaimed_job_has_not_started(self, queue: PersistentQueue, clock: FakeClock) -> None:
        queue.enqueue(new_job("a"))
        took(queue, "a")
        queue.enqueue(new_job("b", priority=1))
        clock.advance(LEASE_S)
        took(queue, "b")
        job = got(queue, "a")
        assert (job.status, job.started_at, job.finished_at, job.lease) == (PENDING, None, None, None)
        assert (job.attempts, job.crashes, job.failures) == (1, 1, 0)

    @promise("Q5")
    @needs("lease")
    def test_recovery_needs_no_traffic_and_no_restart(self, queue: PersistentQueue, clock: FakeClock) -> None:
        queue.enqueue(new_job())
        took(queue)
        for _ in range(5):
            clock.advance(1.9)
            assert queue.dequeue() is None
        clock.advance(0.5)
        took(queue, "a")

    @promise("Q5")
    @needs("lease")
    def test_recovery_does_not_wait_behind_a_backlog(self, queue: PersistentQueue, clock: FakeClock) -> None:
        queue.enqueue(new_job("a"))
        took(queue, "a")
        queue.enqueue_many(new_job(f"j{i}") for i in range(300))
        clock.advance(LEASE_S)
        took(queue, "a")

    @promise("Q5")
    @needs("lease")
    def test_when_all_holders_die_all_jobs_come_back(self, queue: PersistentQueue, clock: FakeClock) -> None:
        ids = [f"j{i}" for i in range(20)]
        queue.enqueue_many(new_job(job_id) for job_id in ids)
        assert [job.id for job in queue.dequeue_many(20, lease_s=LEASE_S)] == ids
        clock.advance(LEASE_S)
        assert drained(queue) == ids

    @promise("Q5")
    @needs("lease")
    def test_a_dequeue_takes_back_at_most_a_hundred_the_oldest_first(
        self, queue: PersistentQueue, clock: FakeClock
    ) -> None:
        queue.enqueue_many(new_job(f"j{i}") for i in range(150))
        for i in range(150):  # the later a job was enqueued, the earlier its lease ends
            took(queue, f"j{i}", lease_s=200 - i)
        clock.advance(1000)
        took(queue, "j50")
        assert queue.counts() == {PENDING: 99, RUNNING: 51, SUCCESS: 0, FAILED: 0}
        assert {job.id for job in queue.list_jobs(RUNNING)} == {f"j{i}" for i in range(51)}

    @promise("Q5")
    @needs("lease")
    def test_leases_that_ended_together_are_taken_back_by_token(self, queue: PersistentQueue, clock: FakeClock) -> None:
        queue.enqueue_many(new_job(f"j{i}") for i in range(105))
        queue.dequeue_many(105, lease_s=LEASE_S)
        clock.advance(1000)
        took(queue, "j0", lease_s=1e6)
        assert {job.id for job in queue.list_jobs(RUNNING)} == {"j0", *(f"j{i}" for i in range(100, 105))}

    @promise("Q5")
    @needs("lease", "operator", "extend")
    @pytest.mark.parametrize(
        "act",
        [
            pytest.param(lambda q: q.counts(), id="counts"),
            pytest.param(lambda q: q.list_jobs(), id="list"),
            pytest.param(lambda q: q.get_job("a"), id="get"),
            pytest.param(lambda q: q.stats(), id="stats"),
            pytest.param(lambda q: q.workers(), id="workers"),
            pytest.param(lambda q: q.enqueue(new_job("b")), id="enqueue"),
            pytest.param(lambda q: q.purge(0), id="purge"),
            pytest.param(lambda q: q.cancel("c"), id="cancel"),
            pytest.param(lambda q: q.requeue("f"), id="requeue"),
            pytest.param(lambda q: q.dequeue_many(0), id="dequeue none"),
            pytest.param(lambda q: q.exchange([], 0), id="empty exchange"),
            pytest.param(lambda q: q.exchange([Report("c", SUCCESS)], 0), id="exchange that only reports"),
        ],
    )
    def test_only_a_dequeue_takes_leases_back(
        self, queue: PersistentQueue, clock: FakeClock, act: Callable[[PersistentQueue], Any]
    ) -> None:
        queue.enqueue(new_job("a"))
        job = took(queue, "a")
        queue.enqueue_many([new_job("c"), new_job("f")])
        queue.cancel("f")
        clock.advance(1000)
        act(queue)
        assert queue.update_status("a", SUCCESS, lease=job.lease).status is SUCCESS

    @promise("Q5")
    @needs("lease", "extend")
    def test_an_extended_lease_ends_at_its_new_time(self, queue: PersistentQueue, clock: FakeClock) -> None:
        queue.enqueue(new_job())
        lease = lease_of(took(queue))
        clock.advance(6)
        longer = queue.extend_lease(lease, LEASE_S)
        assert longer == replace(lease, expires_at=clock() + LEASE_S)
        assert got(queue, "a").lease == longer
        clock.advance(LEASE_S - 0.001)
        assert queue.dequeue() is None
        clock.advance(0.001)
        took(queue, "a")

    @promise("Q5")
    @needs("lease", "extend")
    def test_an_extension_never_makes_a_lease_shorter(self, queue: PersistentQueue, clock: FakeClock) -> None:
        queue.enqueue(new_job())
        lease = lease_of(took(queue))
        assert queue.extend_lease(lease, 1) == lease
        clock.advance(-100)
        assert queue.extend_lease(lease, 1) == lease
        assert got(queue, "a").lease == lease

    @promise("Q5")
    @needs("lease", "extend")
    def test_an_extension_takes_the_queues_own_lease_when_none_is_given(
        self, queue: PersistentQueue, clock: FakeClock
    ) -> None:
        queue.enqueue(new_job())
        lease = lease_of(took(queue, lease_s=1))
        assert queue.extend_lease(lease).expires_at == clock() + self.lease_s

    @promise("Q5")
    @needs("lease", "extend")
    def test_extend_many_answers_each_lease_in_order(self, queue: PersistentQueue, clock: FakeClock) -> None:
        queue.enqueue_many([new_job("a"), new_job("b"), new_job("c")])
        a, b, c = (lease_of(job) for job in queue.dequeue_many(3, lease_s=LEASE_S))
        queue.update_status("b", SUCCESS, lease=b)
        answers = queue.extend_many([c, b, Lease("nope", 1, "", 0), a], 50)
        expires_at = clock() + 50
        assert (answers[0], answers[3]) == (replace(c, expires_at=expires_at), replace(a, expires_at=expires_at))
        assert (type(answers[1]), type(answers[2])) == (LeaseLost, JobNotFound)
        assert queue.extend_many([]) == []

    @promise("Q5")
    @needs("lease", "extend")
    def test_an_extension_of_an_unknown_job_says_so(self, queue: PersistentQueue) -> None:
        with refused(queue, JobNotFound, "nope"):
            queue.extend_lease(Lease("nope", 1, "", 0))

    @promise("Q5")
    @needs("lease")
    def test_another_clients_dequeue_recovers_too(self, queue: PersistentQueue, clock: FakeClock) -> None:
        other = self._second(queue)
        queue.enqueue(new_job())
        took(queue)
        clock.advance(LEASE_S)
        took(other, "a")

    # -- Q6 bounded work ---------------------------------------------------------------------------------------------

    @promise("Q6")
    @needs("lease")
    @pytest.mark.parametrize("max_retries", [0, 1, 3])
    def test_a_retry_beyond_max_retries_is_a_failure_with_the_error_kept(
        self, queue: PersistentQueue, max_retries: int
    ) -> None:
        queue.enqueue(new_job(max_retries=max_retries))
        for n in range(max_retries):
            job = queue.update_status("a", RETRY, error=f"e{n}", lease=took(queue, "a").lease)
            assert (job.status, job.failures, job.error) == (PENDING, n + 1, f"e{n}")
        job = queue.update_status("a", RETRY, error="last", lease=took(queue, "a").lease)
        assert (job.status, job.error) == (FAILED, "last")
        assert (job.attempts, job.failures) == (max_retries + 1, max_retries + 1)
        assert queue.dequeue() is None

    @promise("Q6")
    @needs("lease", "delay")
    def test_a_retry_beyond_max_retries_ends_the_job_also_when_it_names_a_delay(
        self, queue: PersistentQueue, clock: FakeClock
    ) -> None:
        queue.enqueue(new_job())
        clock.advance(2)
        job = queue.update_status("a", RETRY, lease=took(queue, "a").lease, delay_s=5)
        assert (job.status, job.finished_at, job.started_at, job.not_before) == (FAILED, at(2), at(2), None)
        clock.advance(5)
        assert queue.dequeue() is None

    @promise("Q6")
    @needs("lease")
    def test_a_retry_that_gives_no_error_keeps_the_last_one_to_the_end(self, queue: PersistentQueue) -> None:
        queue.enqueue(new_job(max_retries=1))
        queue.update_status("a", RETRY, error="why", result={"n": 1}, lease=took(queue).lease)
        job = queue.update_status("a", RETRY, lease=took(queue).lease)
        assert (job.status, job.error, job.result) == (FAILED, "why", {"n": 1})

    @promise("Q6")
    @needs("lease", "crashes")
    def test_a_lost_lease_beyond_max_crashes_is_a_failure_that_says_so(
        self, queue: PersistentQueue, clock: FakeClock
    ) -> None:
        queue.enqueue(new_job())
        for n in range(self.max_crashes + 1):
            assert took(queue, "a").crashes == n
            clock.advance(LEASE_S)
        assert queue.dequeue() is None
        job = got(queue, "a")
        assert (job.status, job.crashes, job.attempts) == (FAILED, self.max_crashes + 1, self.max_crashes + 1)
        assert (job.failures, job.finished_at) == (0, at(LEASE_S * (self.max_crashes + 1)))
        assert job.started_at == at(LEASE_S * self.max_crashes)
        assert job.error is not None
        assert "max_crashes" in job.error
        assert str(self.max_crashes + 1) in job.error

    @promise("Q6")
    @needs("lease")
    def test_a_job_given_back_spends_no_budget(self, queue: PersistentQueue) -> None:
        queue.enqueue(new_job())
        for n in range(1, 8):
            job = queue.update_status("a", PENDING, lease=took(queue, "a").lease)
            assert (job.status, job.failures, job.crashes, job.attempts) == (PENDING, 0, 0, n)
            assert (job.started_at, job.lease) == (None, None)

    @promise("Q6")
    @needs("lease", "crashes")
    def test_the_two_budgets_are_separate(self, queue: PersistentQueue, clock: FakeClock) -> None:
        queue.enqueue(new_job(max_retries=1))
        for _ in range(self.max_crashes):
            took(queue, "a")
            clock.advance(LEASE_S)
        job = queue.update_status("a", RETRY, lease=took(queue, "a").lease)
        assert (job.status, job.crashes, job.failures) == (PENDING, self.max_crashes, 1)
        took(queue, "a")
        clock.advance(LEASE_S)
        assert queue.dequeue() is None
        assert got(queue, "a").status is FAILED

    @promise("Q6")
    @needs("lease", "requeue", "crashes")
    def test_a_requeue_gives_a_fresh_budget_and_keeps_the_attempts(
        self, queue: PersistentQueue, clock: FakeClock
    ) -> None:
        queue.enqueue(new_job(max_retries=1))
        took(queue)
        clock.advance(LEASE_S)
        queue.update_status("a", RETRY, lease=took(queue).lease)
        queue.update_status("a", RETRY, error="end", lease=took(queue).lease)
        job = queue.requeue("a")
        assert (job.status, job.failures, job.crashes, job.attempts, job.error) == (PENDING, 0, 0, 3, "end")
        assert queue.update_status("a", RETRY, lease=took(queue).lease).status is PENDING

    @promise("Q6")
    @needs("lease", "crashes")
    def test_deliveries_are_bounded_by_both_budgets(self, queue: PersistentQueue, clock: FakeClock) -> None:
        queue.enqueue(new_job(max_retries=2))
        deliveries = 0
        while (job := queue.dequeue(lease_s=LEASE_S)) is not None:
            deliveries += 1
            assert deliveries <= 1 + 2 + self.max_crashes
            if deliveries % 2:
                queue.update_status("a", RETRY, lease=job.lease)
            else:
                clock.advance(LEASE_S)
        assert got(queue, "a").status is FAILED

    @promise("Q6")
    @needs("lease")
    def test_a_failed_report_counts_as_a_failure(self, queue: PersistentQueue) -> None:
        queue.enqueue(new_job(max_retries=5))
        job = queue.update_status("a", FAILED, error="no", lease=took(queue).lease)
        assert (job.status, job.failures, job.crashes) == (FAILED, 1, 0)

    @promise("Q6")
    @needs("operator")
    def test_an_operators_failure_and_a_cancel_count_as_failures(self, queue: PersistentQueue) -> None:
        queue.enqueue_many([new_job("a"), new_job("b")])
        assert queue.update_status("a", FAILED).failures == 1
        assert queue.cancel("b").failures == 1

    @promise("Q6")
    def test_each_delivery_is_an_attempt(self, queue: PersistentQueue) -> None:
        queue.enqueue(new_job(max_retries=9))
        for n in range(1, 6):
            job = took(queue)
            assert job.attempts == n
            queue.update_status("a", RETRY, lease=job.lease)
            assert got(queue, "a").attempts == n

    # -- Q7 final is final -------------------------------------------------------------------------------------------

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

    # -- an act without a lease is an operator's ---------------------------------------------------------------------

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

    # -- Q8 one step, repeatable -------------------------------------------------------------------------------------

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

    # -- exchange ----------------------------------------------------------------------------------------------------

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

    # -- Q9 true counts ----------------------------------------------------------------------------------------------

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

    # -- stats -------------------------------------------------------------------------------------------------------

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

    # -- Q10 purge ---------------------------------------------------------------------------------------------------

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

    # -- Q11 values --------------------------------------------------------------------------------------------------

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

    # -- Q12 refusal -------------------------------------------------------------------------------------------------

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

    # -- Q13 containment ---------------------------------------------------------------------------------------------

    @promise("Q13")
    @needs("quarantine")
    @pytest.mark.parametrize("raw", BAD_RECORDS)
    def test_an_unreadable_record_is_set_aside_and_the_next_job_delivered(
        self, queue: PersistentQueue, raw: bytes
    ) -> None:
        queue.enqueue_many([new_job("q"), new_job("b")])
        self.plant_record(queue, "q", raw)
        took(queue, "b")
        assert queue.dequeue() is None
        assert queue.counts() == {PENDING: 0, RUNNING: 1, SUCCESS: 0, FAILED: 0}
        assert [job.id for job in queue.list_jobs()] == ["b"]
        (found,) = queue.quarantined()
        assert (found.job_id, found.raw) == ("q", raw)
        assert found.reason.startswith("record cannot be read: ")

    @promise("Q13")
    @needs("quarantine", "requeue", "operator", "lease")
    @pytest.mark.parametrize("state", ["pending", "delayed", "running", "success", "failed"])
    @pytest.mark.parametrize("finder", ["get", "list", "list of its state", "report", "cancel", "requeue"])
    def test_whoever_reads_it_first_finds_an_unreadable_record(
        self, queue: PersistentQueue, state: str, finder: str
    ) -> None:
        queue.enqueue(new_job("q", not_before=at(50) if state == "delayed" else None))
        if state not in ("pending", "delayed"):
            took(queue, "q")
        if state in ("success", "failed"):
            queue.update_status("q", JobStatus(state))
        status = {"delayed": PENDING}.get(state) or JobStatus(state)
        queue.enqueue(new_job("b"))
        self.plant_record(queue, "q", b"{")
        if finder == "list":
            assert [job.id for job in queue.list_jobs()] == ["b"]
        elif finder == "list of its state":
            assert "q" not in [job.id for job in queue.list_jobs(status)]
        else:
            finders: dict[str, Callable[[], object]] = {
                "get": lambda: queue.get_job("q"),
                "report": lambda: queue.update_status("q", SUCCESS),
                "cancel": lambda: queue.cancel("q"),
                "requeue": lambda: queue.requeue("q"),
            }
            for _ in range(2):
                with pytest.raises(UnreadableRecord, match="q"):
                    finders[finder]()
        assert [(found.job_id, found.raw) for found in queue.quarantined()] == [("q", b"{")]
        assert queue.counts() == {PENDING: 1, RUNNING: 0, SUCCESS: 0, FAILED: 0}
        assert drained(queue) == ["b"]

    @promise("Q13", "Q5")
    @needs("quarantine", "lease")
    def test_an_unreadable_record_of_a_running_job_is_found_when_its_lease_is_taken_back(
        self, queue: PersistentQueue, clock: FakeClock
    ) -> None:
        queue.enqueue_many([new_job("q"), new_job("b")])
        queue.dequeue_many(2, lease_s=LEASE_S)
        self.plant_record(queue, "q", b"{")
        clock.advance(LEASE_S)
        took(queue, "b")
        assert [found.job_id for found in queue.quarantined()] == ["q"]
        assert queue.counts() == {PENDING: 0, RUNNING: 1, SUCCESS: 0, FAILED: 0}

    @promise("Q13")
    @needs("quarantine", "lease", "extend", "progress")
    def test_a_holder_of_a_job_in_quarantine_is_told(self, queue: PersistentQueue) -> None:
        queue.enqueue(new_job("q"))
        lease = lease_of(took(queue, "q"))
        self.plant_record(queue, "q", b"{")
        assert queue.list_jobs() == []
        for act in (
            lambda: queue.update_status("q", SUCCESS, lease=lease),
            lambda: queue.extend_lease(lease),
            lambda: queue.record_progress(lease, "t", 1),
        ):
            with refused(queue, UnreadableRecord, "'q'"):
                act()

    @promise("Q13")
    @needs("quarantine", "lease", "extend", "progress")
    def test_extending_and_recording_progress_do_not_read_the_record(self, queue: PersistentQueue) -> None:
        queue.enqueue(new_job("q"))
        lease = lease_of(took(queue, "q"))
        self.plant_record(queue, "q", b"{")
        assert queue.extend_lease(lease, 50).token == lease.token
        queue.record_progress(lease, "t", 1)
        assert queue.quarantined() == []
        assert queue.count() == 1

    @promise("Q13", "Q3")
    @needs("quarantine")
    def test_an_id_in_quarantine_stays_known(self, queue: PersistentQueue) -> None:
        queue.enqueue(new_job("q"))
        self.plant_record(queue, "q", b"{")
        assert queue.dequeue() is None
        with nothing_changed(queue):
            assert queue.enqueue(new_job("q")) is False
            assert queue.enqueue_many([new_job("q")]) == 0
        with refused(queue, UnreadableRecord, "'q'"):
            queue.get_job("q")

    @promise("Q13", "Q10")
    @needs("quarantine")
    def test_an_unreadable_record_is_not_purged(self, queue: PersistentQueue, clock: FakeClock) -> None:
        queue.enqueue(new_job("q"))
        queue.update_status("q", SUCCESS, lease=took(queue).lease)
        self.plant_record(queue, "q", b"{")
        assert queue.list_jobs() == []
        clock.advance(1e6)
        assert queue.purge(0) == 0
        assert [found.job_id for found in queue.quarantined()] == ["q"]

    @promise("Q13")
    @needs("quarantine", "stats")
    def test_the_oldest_find_is_listed_first_and_stats_count_them(self, queue: PersistentQueue) -> None:
        queue.enqueue_many(new_job(job_id) for job_id in "abcd")
        for job_id in "abc":
            self.plant_record(queue, job_id, b"x")
        for job_id in "bca":
            with pytest.raises(UnreadableRecord):
                queue.get_job(job_id)
        assert [found.job_id for found in queue.quarantined()] == ["b", "c", "a"]
        stats = queue.stats()
        assert (stats.quarantined, stats.ready, stats.counts[PENDING]) == (3, 1, 1)

    @promise("Q13", "Q9")
    @needs("quarantine")
    def test_a_list_is_full_although_records_are_unreadable(self, queue: PersistentQueue) -> None:
        queue.enqueue_many(new_job(f"j{i}") for i in range(6))
        for i in (5, 4, 2):
            self.plant_record(queue, f"j{i}", b"{")
        assert [job.id for job in queue.list_jobs(limit=2)] == ["j3", "j1"]
        assert [job.id for job in queue.list_jobs(PENDING, limit=3)] == ["j3", "j1", "j0"]

    @promise("Q13")
    @needs("quarantine")
    def test_many_unreadable_records_stop_nobody(self, queue: PersistentQueue) -> None:
        queue.enqueue_many(new_job(f"j{i}") for i in range(20))
        for i in range(19):
            self.plant_record(queue, f"j{i}", b"{")
        took(queue, "j19")
        assert len(queue.quarantined()) == 19

    @promise("Q13")
    @needs("quarantine", "lease", "requeue")
    def test_unknown_fields_survive_a_round_trip(self, queue: PersistentQueue) -> None:
        queue.enqueue(new_job(max_retries=1))
        record = {**json.loads(encode_record(new_job(max_retries=1))), "run_id": "x", "tags": [{"k": 1.5}]}
        self.plant_record(queue, "a", json.dumps(record).encode())
        unknown = {"run_id": "x", "tags": [{"k": 1.5}]}
        assert got(queue, "a").extra == unknown
        job = took(queue, "a")
        assert job.extra == unknown
        assert queue.update_status("a", RETRY, error="e", lease=job.lease).extra == unknown
        assert queue.update_status("a", FAILED, lease=took(queue, "a").lease).extra == unknown
        assert queue.requeue("a").extra == unknown
        assert queue.list_jobs()[0].extra == unknown
        assert got(queue, "a").to_dict()["tags"] == [{"k": 1.5}]

    @promise("Q13")
    @needs("quarantine")
    def test_a_record_of_the_seed_without_a_version_is_read(self, queue: PersistentQueue) -> None:
        queue.enqueue(new_job())
        record = json.loads(encode_record(new_job()))
        twelve = list(record)[1:13]
        self.plant_record(queue, "a", json.dumps({name: record[name] for name in twelve}).encode())
        assert took(queue, "a").dag_path == "d.yaml"
        assert queue.quarantined() == []

    # -- progress (D5) -----------------------------------------------------------------------------------------------

    @promise("D5")
    @needs("progress", "lease")
    def test_progress_is_kept_by_task(self, queue: PersistentQueue) -> None:
        queue.enqueue_many([new_job("a"), new_job("b")])
        a, b = (lease_of(job) for job in queue.dequeue_many(2))
        assert queue.progress("a") == {}
        queue.record_progress(a, "extract", {"rows": [1, 2]})
        queue.record_progress(a, "load ä", None)
        queue.record_progress(b, "extract", "text")
        queue.record_progress(a, "extract", {"rows": [3]})
        assert queue.progress("a") == {"extract": {"rows": [3]}, "load ä": None}
        assert queue.progress("b") == {"extract": "text"}
        assert queue.progress("nope") == {}

    @promise("D5")
    @needs("progress", "lease", "crashes")
    @pytest.mark.parametrize("how", ["RETRY", "give back", "lost lease"])
    def test_progress_survives_to_the_next_attempt(self, queue: PersistentQueue, clock: FakeClock, how: str) -> None:
        queue.enqueue(new_job(max_retries=1))
        lease = lease_of(took(queue))
        queue.record_progress(lease, "t", {"x": 1})
        if how == "lost lease":
            clock.advance(LEASE_S)
        else:
            queue.update_status("a", RETRY if how == "RETRY" else PENDING, lease=lease)
        took(queue, "a")
        assert queue.progress("a") == {"t": {"x": 1}}

    @promise("D5")
    @needs("progress", "lease", "requeue")
    def test_a_requeue_starts_from_the_first_task(self, queue: PersistentQueue) -> None:
        queue.enqueue(new_job())
        job = took(queue)
        queue.record_progress(lease_of(job), "t", 1)
        queue.update_status("a", FAILED, lease=job.lease)
        assert queue.progress("a") == {"t": 1}
        queue.requeue("a")
        assert queue.progress("a") == {}

    @promise("D5")
    @needs("progress", "lease")
    @pytest.mark.parametrize("value", VALUES[:-2])
    def test_outputs_come_back_as_they_went_in(self, queue: PersistentQueue, value: Any) -> None:
        queue.enqueue(new_job())
        queue.record_progress(lease_of(took(queue)), "t", value)
        assert json.dumps(queue.progress("a")) == json.dumps({"t": value})

    @promise("D5", "Q12")
    @needs("progress", "lease")
    def test_an_output_of_256_kib_is_kept_and_16_mib_is_all_a_job_gets(self, queue: PersistentQueue) -> None:
        queue.enqueue(new_job())
        lease = lease_of(took(queue))
        largest = "y" * (256 * 1024 - 2)
        for n in range(64):
            queue.record_progress(lease, f"t{n}", largest)
        queue.record_progress(lease, "t7", largest)  # in place of the first
        with pytest.raises(InvalidInput, match="16777216"):
            queue.record_progress(lease, "one more", 1)
        assert len(queue.progress("a")) == 64
        queue.record_progress(lease, "t7", "small")
        queue.record_progress(lease, "one more", 1)
        assert len(queue.progress("a")) == 65

    @promise("D5", "Q9")
    @needs("progress", "lease")
    def test_jobs_do_not_carry_their_progress(self, busy: Busy) -> None:
        lease = busy.leases["r"]
        assert lease is not None
        with nothing_changed(busy.queue):
            busy.queue.record_progress(lease, "t", {"x": 1})

    # -- workers (W8) ------------------------------------------------------------------------------------------------

    @promise("W8")
    @needs("workers", "lease")
    def test_a_dequeue_makes_its_worker_known_with_the_jobs_it_holds(
        self, queue: PersistentQueue, clock: FakeClock
    ) -> None:
        queue.enqueue_many([new_job("b"), new_job("a"), new_job("c")])
        took(queue, "b", "w1")
        clock.advance(1)
        took(queue, "a", "w1")
        assert queue.dequeue_many(1, "w2")[0].id == "c"
        assert queue.dequeue("w0") is None
        workers = {worker.id: worker for worker in queue.workers()}
        assert list(workers) == ["w0", "w1", "w2"]
        assert [workers[w].jobs for w in ("w0", "w1", "w2")] == [(), ("a", "b"), ("c",)]
        assert workers["w1"] == WorkerInfo("w1", last_beat_at=at(1), jobs=("a", "b"))

    @promise("W8")
    @needs("workers", "lease")
    def test_a_job_that_ended_is_no_longer_held(self, queue: PersistentQueue, clock: FakeClock) -> None:
        queue.enqueue_many(new_job(job_id, max_retries=1) for job_id in "abcd")
        jobs = {job.id: job for job in queue.dequeue_many(4, "w1", lease_s=LEASE_S)}
        queue.update_status("a", SUCCESS, lease=jobs["a"].lease)
        queue.update_status("b", RETRY, lease=jobs["b"].lease)
        queue.update_status("c", PENDING, lease=jobs["c"].lease)
        assert queue.workers()[0].jobs == ("d",)
        clock.advance(LEASE_S)
        queue.dequeue_many(5, "w2")
        assert [worker.jobs for worker in queue.workers()] == [(), ("b", "c", "d")]

    @promise("W8")
    @needs("workers")
    def test_a_dequeue_without_a_worker_id_makes_nobody_known(self, queue: PersistentQueue) -> None:
        queue.enqueue(new_job())
        took(queue)
        assert queue.workers() == []

    @promise("W8")
    @needs("workers")
    def test_a_worker_is_gone_after_ten_missed_beats(self, queue: PersistentQueue, clock: FakeClock) -> None:
        queue.enqueue(new_job())
        took(queue, "a", "w1", lease_s=1e6)
        clock.advance(20)
        assert [worker.id for worker in queue.workers()] == ["w1"]
        clock.advance(0.001)
        assert queue.workers() == []
        assert queue.dequeue("w1") is None
        assert [worker.jobs for worker in queue.workers()] == [("a",)]

    @promise("W8")
    @needs("workers", "extend", "lease")
    def test_an_extension_is_a_beat(self, queue: PersistentQueue, clock: FakeClock) -> None:
        queue.enqueue(new_job())
        lease = lease_of(took(queue, "a", "w1", lease_s=1e6))
        clock.advance(15)
        queue.extend_lease(lease)
        clock.advance(15)
        assert [(worker.id, worker.last_beat_at) for worker in queue.workers()] == [("w1", at(15))]

    @promise("W8")
    @needs("workers", "extend", "lease")
    @pytest.mark.parametrize("act", ["report", "exchange of no jobs", "stale extension"])
    def test_what_is_no_beat(self, queue: PersistentQueue, clock: FakeClock, act: str) -> None:
        queue.enqueue(new_job())
        lease = lease_of(took(queue, "a", "w1"))
        if act == "stale extension":
            queue.update_status("a", SUCCESS, lease=lease)
        clock.advance(5)
        if act == "report":
            queue.update_status("a", SUCCESS, lease=lease)
        elif act == "exchange of no jobs":
            queue.exchange([], 0, "w1")
        else:
            with pytest.raises(LeaseLost):
                queue.extend_lease(lease)
        assert queue.workers()[0].last_beat_at == at(0)

    @promise("W8")
    @needs("workers", "lease")
    def test_an_announcement_is_kept_through_later_beats(self, queue: PersistentQueue, clock: FakeClock) -> None:
        info = WorkerInfo("w1", "host ä", 4711, at(-60), at(999), ("invented",), done=3, failed=1, slots=4, blocked=2)
        queue.announce(info)
        queue.announce(info)
        assert queue.workers() == [replace(info, last_beat_at=at(0), jobs=())]
        queue.enqueue(new_job())
        clock.advance(7)
        took(queue, "a", "w1")
        assert queue.workers() == [replace(info, last_beat_at=at(7), jobs=("a",))]
        queue.announce(replace(info, done=4))
        assert [(worker.done, worker.jobs) for worker in queue.workers()] == [(4, ("a",))]

    # -- schedule cursors (S2) ---------------------------------------------------------------------------------------

    @promise("S2")
    @needs("cursors")
    def test_a_cursor_moves_by_compare_and_set(self, queue: PersistentQueue) -> None:
        assert queue.schedule_cursor("k") is None
        assert queue.advance_schedule("k", at(0), at(60)) is False
        assert queue.schedule_cursor("k") is None
        assert queue.advance_schedule("k", None, at(60)) is True
        assert queue.schedule_cursor("k") == at(60)
        assert queue.advance_schedule("k", None, at(120)) is False
        assert queue.advance_schedule("k", at(0), at(120)) is False
        assert queue.schedule_cursor("k") == at(60)
        assert queue.advance_schedule("k", at(60), at(120)) is True
        assert queue.schedule_cursor("k") == at(120)

    @promise("S2", "Q8")
    @needs("cursors")
    def test_a_repeated_advance_has_the_effect_of_once(self, queue: PersistentQueue) -> None:
        assert [queue.advance_schedule("k", None, at(60)), queue.advance_schedule("k", None, at(60))] == [True, False]
        assert queue.schedule_cursor("k") == at(60)

    @promise("S2")
    @needs("cursors")
    def test_cursors_do_not_know_each_other(self, queue: PersistentQueue) -> None:
        keys = ["k", "K", "k ", "a|* * * * *|Europe/London", "日本", "x" * 1024]
        for n, key in enumerate(keys):
            assert queue.advance_schedule(key, None, at(n)) is True
        assert [queue.schedule_cursor(key) for key in keys] == [at(n) for n in range(len(keys))]

    @promise("S2")
    @needs("cursors")
    def test_many_cursors_move_each_by_itself_and_in_order(self, queue: PersistentQueue) -> None:
        queue.advance_schedule("b", None, at(0))
        moves = [CursorMove("a", None, at(60)), CursorMove("b", None, at(60)), CursorMove("a", at(60), at(120))]
        assert queue.advance_schedules(moves) == [True, False, True]
        assert queue.schedule_cursors(["b", "none", "a", "b"]) == [at(0), None, at(120), at(0)]
        assert not queue.advance_schedules([])
        assert not queue.schedule_cursors([])

    @promise("Q12", "S2")
    @needs("refusal", "cursors")
    def test_a_bad_move_among_good_ones_moves_none(self, queue: PersistentQueue) -> None:
        with pytest.raises(InvalidInput, match="noon"):
            queue.advance_schedules([CursorMove("a", None, at(60)), CursorMove("b", None, "noon")])
        assert queue.schedule_cursors(["a", "b"]) == [None, None]

    @promise("S2")
    @needs("cursors")
    def test_only_one_of_two_clients_moves_a_cursor(self, queue: PersistentQueue) -> None:
        other = self._second(queue)
        queue.advance_schedule("k", None, at(0))
        assert [queue.advance_schedule("k", at(0), at(60)), other.advance_schedule("k", at(0), at(60))] == [True, False]

    # -- waiting, closing, opening again -----------------------------------------------------------------------------

    @promise("Q2")
    def test_with_a_clock_that_was_handed_in_a_wait_returns_at_once(self, queue: PersistentQueue) -> None:
        assert queue.dequeue(wait_s=1e6) is None
        assert queue.dequeue_many(3, wait_s=1e6) == []
        assert queue.exchange([], 1, wait_s=1e6) == ([], [])
        queue.enqueue(new_job())
        assert queue.dequeue_many(3, wait_s=1e6)[0].id == "a"

    @promise("Q14")
    def test_closing_twice_is_silent(self, queue: PersistentQueue) -> None:
        queue.enqueue(new_job())
        queue.close()
        queue.close()

    @promise("Q14")
    def test_what_was_stored_is_there_after_opening_again(self, busy: Busy) -> None:
        before = snapshot(busy.queue)
        assert snapshot(self._again(busy.queue)) == before

    @promise("Q14", "Q2")
    @needs("priority", "delay", "lease")
    def test_the_line_is_the_same_after_opening_again(self, queue: PersistentQueue, clock: FakeClock) -> None:
        queue.enqueue_many([new_job("a"), new_job("b", priority=1), new_job("c"), new_job("d", not_before=at(2))])
        took(queue, "b")
        a = took(queue, "a")
        queue.update_status("a", PENDING, lease=a.lease)
        queue = self._again(queue)
        queue.enqueue(new_job("e"))
        clock.advance(LEASE_S)
        assert drained(queue) == ["b", "a", "c", "e", "d"]

    @promise("Q14", "Q4")
    @needs("lease", "extend")
    def test_leases_and_tokens_go_on_after_opening_again(self, busy: Busy, clock: FakeClock) -> None:
        queue = self._again(busy.queue)
        lease = busy.leases["r"]
        assert lease is not None
        assert queue.extend_lease(lease).token == lease.token
        clock.advance(-3600)
        assert lease_of(took(queue, "p")).token > max(kept.token for kept in busy.leases.values() if kept)
        with nothing_changed(queue):
            assert queue.update_status("f", FAILED, lease=busy.leases["f"]).status is FAILED
        assert queue.update_status("r", SUCCESS, lease=lease).status is SUCCESS

    @promise("Q14")
    @needs("progress", "cursors", "quarantine", "workers", "lease")
    def test_everything_else_is_there_after_opening_again(self, busy: Busy) -> None:
        lease = busy.leases["r"]
        assert lease is not None
        busy.queue.record_progress(lease, "t", {"x": 1})
        busy.queue.advance_schedule("k", None, at(60))
        busy.queue.announce(WorkerInfo("w9", host="h"))
        self.plant_record(busy.queue, "p", b"{")
        with pytest.raises(UnreadableRecord):
            busy.queue.get_job("p")
        before = snapshot(busy.queue)
        queue = self._again(busy.queue)
        assert snapshot(queue) == before
        assert queue.progress("r") == {"t": {"x": 1}}
        assert queue.schedule_cursor("k") == at(60)
        assert [found.raw for found in queue.quarantined()] == [b"{"]


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
