"""What a queue of seven verbs has from its base class: bulk forms that loop, and refusals that say what is missing."""

import pytest

from orch import Job, JobStatus, MemoryQueue, Report
from orch.errors import InvalidInput, JobNotFound, LeaseLost, NotSupported
from orch.job import STATES, CursorMove, WorkerInfo
from orch.queue import PersistentQueue
from orch.testing import FakeClock

SEVEN = ("enqueue", "dequeue", "update_status", "get_job", "list_jobs", "count", "purge")


class Seven(PersistentQueue):
    """The seven verbs, each done by a whole queue inside; `calls` tells which were asked for."""

    def __init__(self):
        super().__init__()
        self.inner = MemoryQueue(clock=FakeClock())
        self.calls = []


for verb in SEVEN:

    def _ask(self, *args, _verb=verb, **named):
        self.calls.append(_verb)
        return getattr(self.inner, _verb)(*args, **named)

    setattr(Seven, verb, _ask)
Seven.__abstractmethods__ = frozenset()


class Leased(Seven):
    """One that can extend a lease and keep a cursor, one at a time."""

    def extend_lease(self, lease, lease_s=None):
        return self.inner.extend_lease(lease, lease_s)

    def schedule_cursor(self, key):
        return self.inner.schedule_cursor(key)

    def advance_schedule(self, key, expected, tick):
        return self.inner.advance_schedule(key, expected, tick)


def jobs(*ids):
    return [Job.new("workflow:noop", id=id) for id in ids]


def test_bulk_forms_are_loops_of_single_ones():
    queue = Seven()
    assert queue.enqueue_many(jobs("a", "b", "a", "c")) == 3
    assert [job.id for job in queue.dequeue_many(2, "w")] == ["a", "b"]
    assert [job.id for job in queue.dequeue_many(5)] == ["c"]
    assert queue.dequeue_many(0) == []
    assert queue.calls == ["enqueue"] * 4 + ["dequeue"] * 4


def test_a_bad_job_among_many_refuses_all_of_them():
    queue = Seven()
    bad = jobs("b")[0]
    bad.max_retries = -1
    with pytest.raises(InvalidInput):
        queue.enqueue_many([*jobs("a"), bad])
    assert queue.calls == []


def test_what_is_no_number_of_jobs_is_refused_before_one_is_taken():
    queue = Seven()
    queue.enqueue_many(jobs("a"))
    with pytest.raises(InvalidInput, match="-1"):
        queue.dequeue_many(-1)
    with pytest.raises(InvalidInput, match="-1"):
        queue.exchange([], -1)
    assert queue.count(JobStatus.RUNNING) == 0


def test_an_exchange_answers_each_report_and_then_delivers():
    queue = Seven()
    queue.enqueue_many(jobs("a", "b"))
    first = queue.dequeue("w")
    reports = [
        Report("a", JobStatus.SUCCESS, result={"n": 1}, lease=first.lease),
        Report("a", JobStatus.FAILED, "late", lease=first.lease),
        Report("nobody", JobStatus.FAILED),
    ]
    results, more = queue.exchange(reports, 3, "w")
    assert results[0].result == {"n": 1}
    assert [type(result) for result in results[1:]] == [LeaseLost, JobNotFound]
    assert [job.id for job in more] == ["b"]


def test_counts_are_asked_for_one_by_one():
    queue = Seven()
    queue.enqueue_many(jobs("a", "b"))
    queue.dequeue()
    assert queue.counts() == dict(zip(STATES, (1, 1, 0, 0), strict=True))


def test_a_cancel_is_a_failure_by_that_name():
    queue = Seven()
    queue.enqueue_many(jobs("a"))
    assert (queue.cancel("a").status, queue.get_job("a").error) == (JobStatus.FAILED, "cancelled")


def test_extensions_of_many_and_cursors_of_many_are_loops_too():
    queue = Leased()
    queue.enqueue_many(jobs("a", "b"))
    held = queue.dequeue_many(2, "w")
    queue.cancel("a")
    answers = queue.extend_many([job.lease for job in held], 60.0)
    assert isinstance(answers[0], LeaseLost)
    assert answers[1].expires_at > held[1].lease.expires_at
    at = "2026-11-24T10:00:00+00:00"
    assert queue.advance_schedules([CursorMove("k", None, at), CursorMove("k", None, at)]) == [True, False]
    assert queue.schedule_cursors(["k", "other"]) == [at, None]


LACKING = {
    "extend_lease": lambda queue, lease: queue.extend_lease(lease),
    "record_progress": lambda queue, lease: queue.record_progress(lease, "t", {}),
    "progress": lambda queue, lease: queue.progress("a"),
    "stats": lambda queue, lease: queue.stats(),
    "requeue": lambda queue, lease: queue.requeue("a"),
    "quarantined": lambda queue, lease: queue.quarantined(),
    "workers": lambda queue, lease: queue.workers(),
    "schedule_cursor": lambda queue, lease: queue.schedule_cursor("k"),
    "advance_schedule": lambda queue, lease: queue.advance_schedule("k", None, "2026-11-24T10:00:00+00:00"),
}


@pytest.mark.parametrize("verb", LACKING)
def test_what_it_cannot_do_is_refused_with_the_name_of_the_queue(verb):
    queue = Seven()
    queue.enqueue_many(jobs("a"))
    with pytest.raises(NotSupported, match="Seven"):
        LACKING[verb](queue, queue.dequeue("w").lease)


def test_of_many_extensions_that_are_not_known_each_says_so():
    queue = Seven()
    queue.enqueue_many(jobs("a"))
    assert [type(answer) for answer in queue.extend_many([queue.dequeue("w").lease])] == [NotSupported]


def test_what_nobody_needs_an_answer_to_is_silent():
    queue = Seven()
    queue.announce(WorkerInfo("w"))
    queue.close()
    queue.close()
