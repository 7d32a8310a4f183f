"""A course that is called straight is one that the checker finds nothing in; and every other answer is seen."""

from contextlib import suppress
from dataclasses import replace
from importlib import import_module

import pytest

from orch import MemoryQueue
from orch.checker import check
from orch.errors import LeaseLost
from orch.job import Job, JobStatus, Report
from orch.simulator.ordeal import MAX_CRASHES, SPEC, Subject, play
from orch.simulator.straight import Straight
from orch.testing.drivers.sim import dealt_world

LEASE_US = 6_000_000
NAMES = ("take", "recovery", "fence", "order", "budget", "repeat")


def broken_queues():
    """The seeded bugs of queues in memory, each as a subject of worlds."""
    for name in NAMES:
        for bug in import_module(f"orch.testing.bugs.queue_{name}").BUGS:
            if isinstance(bug.make(lambda: 1e9), MemoryQueue):

                def make_queue(clock, make=bug.make):
                    queue = make(clock)
                    queue.max_crashes = MAX_CRASHES
                    return queue

                yield Subject(make_queue)


def test_every_clean_world_is_straight():
    assert all(play(dealt_world(seed)).straight for seed in range(60))


def test_a_straight_world_has_nothing_to_judge():
    straight = other = 0
    for number, subject in enumerate(broken_queues()):
        with suppress(ValueError):  # a queue with too few answers is none for a world
            ended = play(dealt_world(number + 7), subject)
            if ended.broken is None and ended.straight:
                straight += 1
                assert not check(ended.history, SPEC).violations
            else:
                other += 1
    assert straight > 20
    assert other > 10


# -- one answer after the other ----------------------------------------------------------------------------------------


class Course:
    """Two jobs and what a real queue answers about them; `change` is done to one of its answers."""

    def __init__(self, place=-1, change=None):
        self.now = 1_000.0
        self.queue = MemoryQueue(lease_s=6.0, max_crashes=1, clock=lambda: self.now)
        self.straight = Straight(1)
        self.place, self.change = place, change
        self.answers = 0

    @property
    def us(self):
        return round(self.now * 1e6)

    def told(self, answer):
        self.answers += 1
        return self.change(answer) if self.answers - 1 == self.place else answer

    def enqueue(self, job_id, priority=0):
        job = Job.new("workflow:x", id=job_id, priority=priority, max_retries=1, clock=lambda: self.now)
        self.straight.enqueued(job, None, self.told(self.queue.enqueue(job)), self.us)

    def dequeue(self):
        jobs = self.queue.dequeue_many(1, "w")
        self.straight.dequeued(1, "w", self.told(jobs), LEASE_US, self.us)
        return jobs[0] if jobs else None

    def report(self, job, status, delay_s=None):
        report = Report(job.id, status, lease=job.lease, delay_s=delay_s)
        answer = self.queue.exchange((report,), 0)[0][0]
        self.straight.reported(report, self.told(answer), self.us)

    def extend(self, job):
        answers = self.queue.extend_many((job.lease,))
        self.straight.extended((job.lease,), self.told(answers), LEASE_US, self.us)

    def run(self):
        self.enqueue("a")
        self.enqueue("a")
        self.enqueue("b", priority=1)
        first = self.dequeue()  # b
        self.extend(first)
        self.now += 7.0
        again = self.dequeue()  # b, its lease was lost
        self.report(first, JobStatus.SUCCESS)  # stale
        self.extend(first)
        self.report(again, JobStatus.RETRY, 2.0)
        self.report(self.dequeue(), JobStatus.PENDING)  # a, given back
        self.report(self.dequeue(), JobStatus.SUCCESS)  # a
        self.dequeue()  # nothing
        self.now += 3.0
        last = self.dequeue()  # b
        self.report(last, JobStatus.RETRY)  # for the last time
        self.report(last, JobStatus.RETRY)  # the same again
        return self.straight.ok and self.straight.is_left({job.id: job for job in self.queue.list_jobs()})


def test_what_a_right_queue_answers_is_straight():
    assert Course().run()


def twisted(answer):
    """The answers that are a little different."""
    if isinstance(answer, bool):
        yield not answer
    elif isinstance(answer, list):
        yield []
        for one in answer:
            if isinstance(one, Job):
                yield [replace(one, attempts=one.attempts + 1)]
                yield [replace(one, failures=one.failures + 1)]
                yield [replace(one, crashes=one.crashes + 1)]
                yield [replace(one, id="c")]
                yield [replace(one, lease=None)]
                yield [replace(one, lease=replace(one.lease, token=1))]
                yield [replace(one, lease=replace(one.lease, worker_id="x"))]
                yield [replace(one, lease=replace(one.lease, expires_at=one.lease.expires_at + 1e-6))]
            elif isinstance(one, LeaseLost):
                yield [None]
            else:
                yield [replace(one, expires_at=one.expires_at + 1e-6)]
                yield [LeaseLost("no")]
    elif isinstance(answer, LeaseLost):
        yield None
    else:
        yield replace(answer, status=JobStatus.SUCCESS if answer.status is not JobStatus.SUCCESS else JobStatus.FAILED)
        yield replace(answer, attempts=answer.attempts + 1)
        yield LeaseLost("no")


def answers_of_a_course():
    answers = []
    course = Course()
    course.told = lambda answer: (answers.append(answer), answer)[1]
    course.run()
    return answers


@pytest.mark.parametrize("place", range(len(answers_of_a_course())))
def test_any_other_answer_is_seen(place):
    for other in twisted(answers_of_a_course()[place]):
        if other != [] or answers_of_a_course()[place]:
            assert not Course(place, lambda _, other=other: other).run(), other


def test_what_is_left_must_be_the_final_states():
    course = Course()
    course.run()
    left = {job.id: job for job in course.queue.list_jobs()}
    assert not course.straight.is_left({"a": left["a"]})
    assert not course.straight.is_left({**left, "b": None})
    assert not course.straight.is_left({**left, "a": replace(left["a"], status=JobStatus.FAILED)})


def test_a_dequeue_that_hides_a_ready_job_is_seen():
    course = Course()
    course.enqueue("a")
    course.straight.dequeued(1, "w", [], LEASE_US, course.us)
    assert not course.straight.ok


def test_what_is_left_and_not_final_is_to_be_judged():
    course = Course()
    course.enqueue("a")
    assert course.straight.ok
    assert not course.straight.is_left({"a": course.queue.get_job("a")})
