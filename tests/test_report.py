"""A queue with one wrong answer, in every way that was thought of: it is found, blamed, and its program is true.

Each program must fail on the queue that it was made for and run through on a right one.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from orch.backends.memory import MemoryQueue
from orch.job import Event, Job, JobStatus, Lease
from orch.testing import ContractViolation, verify
from orch.testing.stores import memory_store

PENDING, RUNNING, SUCCESS, FAILED, RETRY = JobStatus


def raises(answer, queue):
    raise RuntimeError("out of order")


def none(answer, queue):
    return None


def text(answer, queue):
    return "text"


def negated(answer, queue):
    return not answer


def one_more(answer, queue):
    return answer + 1


def reversed_list(answer, queue):
    return answer[::-1]


def without_last(answer, queue):
    return answer[:-1]


def twice_the_first(answer, queue):
    return [*answer[:1], *answer]


def emptied(answer, queue):
    return type(answer)()


def field(name, value):
    """One field of each job in the answer is wrong."""

    def change(answer, queue):
        jobs = answer if isinstance(answer, list) else [answer]
        for job in jobs:
            if isinstance(job, Job):
                setattr(job, name, value(job) if callable(value) else value)
        return answer

    change.__name__ = f"{name} {'made' if callable(value) else value}"
    return change


def lease_field(**wrong):
    """The lease of a job, or the lease that is the answer, is another one."""

    def change(answer, queue):
        if isinstance(answer, Lease):
            return replace(answer, **{k: v(answer) for k, v in wrong.items()})
        for job in answer if isinstance(answer, list) else [answer]:
            if isinstance(job, Job) and job.lease is not None:
                job.lease = replace(job.lease, **{k: v(job.lease) for k, v in wrong.items()})
        return answer

    change.__name__ = f"wrong lease {' '.join(wrong)}"
    return change


def counts_wrong(answer, queue):
    answer[SUCCESS] += 1
    return answer


def counts_without(answer, queue):
    del answer[FAILED]
    return answer


def stats_field(name, value):
    def change(answer, queue):
        return replace(answer, **{name: value(getattr(answer, name))})

    change.__name__ = f"wrong {name}"
    return change


def no_error(answer, queue):
    """Errors among the answers are told as if nothing had happened."""
    answers, jobs = answer
    return [None if isinstance(item, Exception) else item for item in answers], jobs


def fewer_answers(answer, queue):
    return answer[0][:-1], answer[1]


def no_deliveries(answer, queue):
    return answer[0], []


def other_jobs(answer, queue):
    return answer[0], answer[1][::-1]


def later(lease):
    return lease.expires_at + 1


def other_token(lease):
    return lease.token + 5


#: Verb, what is wrong with its answer, and the promises that may be blamed.
WRONG = [
    ("enqueue", raises, {"Q3"}),
    ("enqueue", none, {"Q3"}),
    ("enqueue", negated, {"Q3"}),
    ("enqueue_many", raises, {"Q3"}),
    ("enqueue_many", one_more, {"Q3"}),
    ("dequeue", raises, {"Q2"}),
    ("dequeue", none, {"Q1", "Q2"}),
    ("dequeue", text, {"Q2"}),
    ("dequeue", field("id", "z"), {"Q1"}),
    ("dequeue", field("id", "b"), {"Q1", "Q2"}),
    ("dequeue", field("status", SUCCESS), {"Q7"}),
    ("dequeue", field("status", PENDING), {"Q5", "Q7"}),
    ("dequeue", field("attempts", 0), {"Q6"}),
    ("dequeue", field("crashes", 0), {"Q6"}),
    ("dequeue", field("lease", None), {"Q4"}),
    ("dequeue", field("error", "invented"), {"Q11"}),
    ("dequeue", field("params", lambda job: {"z": 1}), {"Q11"}),
    ("dequeue", field("extra", lambda job: {}), {"Q13"}),
    ("dequeue", field("not_before", "2027-01-15T08:00:00Z"), {"Q2"}),
    ("dequeue", lease_field(expires_at=later), {"Q5"}),
    ("dequeue", lease_field(token=other_token), {"Q4"}),
    ("dequeue", lease_field(worker_id=lambda lease: "someone"), {"Q4"}),
    ("dequeue_many", raises, {"Q2"}),
    ("dequeue_many", none, {"Q2"}),
    ("dequeue_many", reversed_list, {"Q2"}),
    ("dequeue_many", without_last, {"Q1", "Q2"}),
    ("dequeue_many", field("attempts", 9), {"Q6"}),
    ("update_status", raises, {"Q8"}),
    ("update_status", none, {"Q1", "Q8"}),
    ("update_status", field("status", RETRY), {"Q7", "Q8", "Q6"}),
    ("update_status", field("failures", 7), {"Q6"}),
    ("update_status", field("finished_at", None), {"Q10"}),
    ("update_status", field("result", None), {"Q11", "Q7", "Q8"}),
    ("update_status", field("lease", Lease("a", 1, "", 1.0)), {"Q4"}),
    ("cancel", raises, {"Q7", "Q8"}),
    ("cancel", field("error", "other"), {"Q11"}),
    ("requeue", raises, {"Q7", "Q8"}),
    ("requeue", field("failures", 1), {"Q6"}),
    ("requeue", field("status", FAILED), {"Q6"}),
    ("extend_lease", raises, {"Q5"}),
    ("extend_lease", lease_field(expires_at=later), {"Q5"}),
    ("extend_lease", lease_field(token=other_token), {"Q4"}),
    ("extend_many", raises, {"Q8"}),
    ("extend_many", without_last, {"Q8"}),
    ("exchange", raises, {"Q8"}),
    ("exchange", none, {"Q8"}),
    ("exchange", no_error, {"Q4", "Q8"}),
    ("exchange", fewer_answers, {"Q8"}),
    ("exchange", no_deliveries, {"Q1", "Q2"}),
    ("purge", raises, {"Q10"}),
    ("purge", one_more, {"Q10"}),
    ("get_job", raises, {"Q1", "Q8"}),
    ("get_job", none, {"Q1", "Q10"}),
    ("get_job", field("priority", 5), {"Q11"}),
    ("list_jobs", raises, {"Q9"}),
    ("list_jobs", none, {"Q9"}),
    ("list_jobs", reversed_list, {"Q9"}),
    ("list_jobs", without_last, {"Q9"}),
    ("list_jobs", twice_the_first, {"Q9"}),
    ("list_jobs", field("status", FAILED), {"Q9"}),
    ("counts", raises, {"Q9"}),
    ("counts", counts_wrong, {"Q9"}),
    ("counts", counts_without, {"Q9"}),
    ("counts", none, {"Q9"}),
    ("stats", raises, {"Q9"}),
    ("stats", stats_field("ready", lambda n: n + 1), {"Q9"}),
    ("stats", stats_field("quarantined", lambda n: n + 1), {"Q13"}),
    ("stats", stats_field("oldest_ready_age_s", lambda age: 1e6), {"Q9"}),
    ("stats", stats_field("counts", lambda counts: {**counts, FAILED: 9}), {"Q9"}),
    ("workers", raises, {"W8"}),
    ("workers", emptied, {"W8"}),
    ("quarantined", raises, {"Q13"}),
    ("quarantined", emptied, {"Q13"}),
    ("progress", emptied, {"D5"}),
    ("schedule_cursor", text, {"S2"}),
    ("advance_schedule", negated, {"S2"}),
    ("advance_schedule", raises, {"S2"}),
    # answers that make no sense at all
    ("enqueue", text, {"Q3"}),
    ("dequeue_many", text, {"Q2"}),
    ("update_status", text, {"Q8"}),
    ("get_job", text, {"Q1", "Q8"}),
    ("list_jobs", text, {"Q9"}),
    ("counts", text, {"Q9"}),
    ("stats", none, {"Q9"}),
    ("workers", text, {"W8"}),
    ("workers", none, {"W8"}),
    ("quarantined", none, {"Q13"}),
    ("extend_lease", none, {"Q5"}),
    ("extend_many", none, {"Q5", "Q8"}),
    ("purge", text, {"Q10"}),
    ("progress", none, {"D5"}),
    ("requeue", text, {"Q7", "Q8", "Q11"}),
]


VERBS = sorted({verb for verb, _, _ in WRONG} | {"count", "announce", "record_progress"})


def saboteur(target, wrong):
    """A MemoryQueue whose verb acts rightly and answers its caller wrongly; verbs that use it get the right answer."""

    def made(verb):
        right = getattr(MemoryQueue, verb)

        def act(self, *args, **more):
            self.depth += 1
            try:
                answer = right(self, *args, **more)
            finally:
                self.depth -= 1
            return wrong(answer, self) if verb == target and self.depth == 0 else answer

        return act

    return type(f"Wrong_{target}", (MemoryQueue,), {"depth": 0, **{verb: made(verb) for verb in VERBS}})


@pytest.mark.parametrize(
    ("verb", "wrong", "promises"), WRONG, ids=[f"{verb}: {wrong.__name__}" for verb, wrong, _ in WRONG]
)
def test_a_wrong_answer_is_found_blamed_and_told_truly(verb, wrong, promises):
    queue = saboteur(verb, wrong)
    with pytest.raises(ContractViolation) as caught:
        verify(lambda clock: queue(clock=clock), max_examples=60)
    violation = caught.value
    assert violation.promise in promises, str(violation)
    program = violation.program
    made = next(line for line in program.splitlines() if line.startswith("queue = "))
    program = program.replace(made, "queue = make_queue(clock)")
    with pytest.raises(Exception, match=r"\S"):  # an assertion, or what a right queue does not raise
        exec(compile(program, "program", "exec"), {"make_queue": lambda clock: queue(clock=clock)})
    exec(compile(program, "program", "exec"), {"make_queue": memory_store})


# -- what is wrong with the store, not with an answer ------------------------------------------------------------------


class Reopened:
    """A store in memory that is opened again by copying what the old queue kept, but for one thing."""

    def __init__(self, forgets: str) -> None:
        self.forgets = forgets

    def __call__(self, clock):
        return MemoryQueue(clock=clock)

    def reopen(self, queue):
        if self.forgets == "everything":
            return MemoryQueue(clock=queue._clock)
        if self.forgets == "leases":
            for entry in queue._entries.values():
                entry.job.lease = None
        elif self.forgets == "tokens":
            queue._token = 0
        elif self.forgets == "settled":
            for entry in queue._entries.values():
                entry.settled = None
        elif self.forgets == "to open":
            raise OSError("no such file")
        return queue


@pytest.mark.parametrize(
    ("forgets", "promises"),
    [
        ("everything", {"Q14"}),
        ("leases", {"Q14"}),
        ("tokens", {"Q14", "Q4"}),
        ("settled", {"Q14"}),
        ("to open", {"Q14"}),
    ],
)
def test_what_is_forgotten_by_opening_again_is_found(forgets, promises):
    with pytest.raises(ContractViolation) as caught:
        verify(Reopened(forgets), max_examples=100)
    assert caught.value.promise in promises
    assert "make_queue.reopen(queue)" in caught.value.program
    verify(Reopened("nothing"), max_examples=5)


class LossyCrowd(MemoryQueue):
    """Q10: a purge of more than a slice leaves the rest."""

    def _purge(self, older_than_s):
        rest = self._finished[1000:]
        del self._finished[1000:]
        removed = super()._purge(older_than_s)
        self._finished += rest
        return removed


class Shortened(MemoryQueue):
    """Q9: a list ends at a hundred."""

    def _list(self, status, limit):
        return super()._list(status, min(limit, 100))


class OneSliceOfReports(MemoryQueue):
    """Q8: more reports than a slice are not answered."""

    def exchange(self, reports, n, worker_id="", **more):
        return super().exchange(reports[:1000], n, worker_id, **more)


class OneSliceOfExtensions(MemoryQueue):
    """Q8: more extensions than a slice are not answered."""

    def extend_many(self, leases, lease_s=None):
        return super().extend_many(leases[:1000], lease_s)


class OneSliceOfDeliveries(MemoryQueue):
    """Q2: no more than a slice is delivered."""

    def dequeue_many(self, n, worker_id="", **more):
        return super().dequeue_many(min(n, 1000) if isinstance(n, int) else n, worker_id, **more)


@pytest.mark.parametrize(
    "queue",
    [LossyCrowd, Shortened, OneSliceOfReports, OneSliceOfExtensions, OneSliceOfDeliveries],
    ids=lambda cls: cls.__name__,
)
def test_what_goes_wrong_with_many_jobs_only_is_found(queue):
    with pytest.raises(ContractViolation) as caught:
        verify(lambda clock: queue(clock=clock), max_examples=60)
    violation = caught.value
    assert violation.promise == queue.__doc__.partition(":")[0], str(violation)
    made = next(line for line in violation.program.splitlines() if line.startswith("queue = "))
    program = compile(violation.program.replace(made, "queue = make_queue(clock)"), "program", "exec")
    with pytest.raises(AssertionError):
        exec(program, {"make_queue": lambda clock: queue(clock=clock)})
    exec(program, {"make_queue": memory_store})


# -- what is wrong with the state ------------------------------------------------------------------------------------


class VanishesWhenLost(MemoryQueue):
    """Q1"""

    def _reclaim(self, now):
        for id in [id for id, entry in self._entries.items() if entry.job.lease and entry.expires_us <= now]:
            entry = self._entries.pop(id)
            self._running.pop(id, None)
            self._counts[entry.job.status] -= 1


class FailsWhenLost(MemoryQueue):
    """Q6"""

    def _reclaim(self, now):
        self.max_crashes, kept = 0, self.max_crashes
        super()._reclaim(now)
        self.max_crashes = kept


class CrashesForEver(MemoryQueue):
    """Q6"""

    def _reclaim(self, now):
        self.max_crashes, kept = 10**6, self.max_crashes
        super()._reclaim(now)
        self.max_crashes = kept


class SucceedsWhenLost(MemoryQueue):
    """Q7"""

    def _end_delivery(self, entry, event, now, delay_s=None):
        super()._end_delivery(entry, Event.SUCCEED if event is Event.LEASE_LOST else event, now, delay_s)


class DeliversTheEnded(MemoryQueue):
    """Q7"""

    def _pop_ready(self):
        for entry in self._entries.values():
            if entry.job.status is FAILED and entry.job.error == "cancelled" and entry.job.attempts == 0:
                self._counts[FAILED] -= 1
                self._counts[PENDING] += 1
                entry.job.status = PENDING
                return entry
        return super()._pop_ready()


class PurgedComesBack(MemoryQueue):
    """Q10"""

    def _purge(self, older_than_s):
        before = dict(self._entries)
        removed = super()._purge(older_than_s)
        for id in before.keys() - self._entries.keys():
            self._enqueue((Job(id, "d.yaml", "t", None, PENDING, "2027-01-15T08:00:00Z"),))
        return removed


class ReadsAnything(MemoryQueue):
    """Q13"""

    def _readable(self, entry):
        return True


class StrandedAfterGiveBack(MemoryQueue):
    """Q1"""

    def _end_delivery(self, entry, event, now, delay_s=None):
        super()._end_delivery(entry, event, now, delay_s)
        if event is Event.GIVE_BACK:
            self._ready -= 1
            entry.ticket = -1


class SaysNoneAtTimes(MemoryQueue):
    """Q2"""

    def _pop_ready(self):
        return None if self._counts[RUNNING] == 1 else super()._pop_ready()


class RecoversAtTheSecondCall(MemoryQueue):
    """Q5"""

    def _reclaim(self, now):
        lost = any(entry.job.lease and entry.expires_us <= now for entry in self._entries.values())
        super()._reclaim(now)
        self.skips = lost

    skips = False

    def _pop_ready(self):
        skips, self.skips = self.skips, False
        return None if skips else super()._pop_ready()


class ListsThePurged(MemoryQueue):
    """Q10"""

    def _purge(self, older_than_s):
        before = {id: entry.job for id, entry in self._entries.items()}
        removed = super()._purge(older_than_s)
        self.gone += tuple(before[id] for id in before.keys() - self._entries.keys())
        return removed

    gone: tuple[Job, ...] = ()

    def _list(self, status, limit):
        return [*super()._list(status, limit), *(job.copy() for job in self.gone if status in (None, job.status))][
            :limit
        ]


class ListsTheQuarantined(MemoryQueue):
    """Q13"""

    def _list(self, status, limit):
        jobs = super()._list(status, limit)
        for id in self._quarantine:
            jobs.append(Job(id, "d.yaml", "t", None, PENDING, "2027-01-15T08:00:00Z"))
        return jobs[:limit]


class PurgesTooYoung(MemoryQueue):
    """Q10"""

    def _purge(self, older_than_s):
        return super()._purge(0)


class KnowsTooMuch(MemoryQueue):
    """Q1"""

    def _get(self, job_id):
        found = super()._get(job_id)
        return Job(job_id, "d.yaml", "t", None, PENDING, "2027-01-15T08:00:00Z") if found is None else found


class SilentAboutUnknownIds(MemoryQueue):
    """Q12"""

    def requeue(self, job_id):
        return super().requeue(job_id) if self._get(job_id) else None


class KeepsLongErrors(MemoryQueue):
    """Q12"""

    def update_status(self, job_id, status, error=None, *args, **more):
        job = super().update_status(job_id, status, error, *args, **more)
        if error is not None and len(error) > 10_000 and job.error is not None and job.error.startswith("long"):
            job.error = error
        return job


class CutsWithoutAMark(MemoryQueue):
    """Q12"""

    def update_status(self, job_id, status, error=None, *args, **more):
        return super().update_status(job_id, status, None if error is None else error[:16_000], *args, **more)


STATEFUL = [cls for cls in list(globals().values()) if isinstance(cls, type) and cls.__module__ == __name__]
STATEFUL = [cls for cls in STATEFUL if issubclass(cls, MemoryQueue) and ":" not in cls.__doc__]


@pytest.mark.parametrize("queue", STATEFUL, ids=lambda cls: cls.__name__)
def test_a_wrong_state_is_found_and_blamed(queue):
    with pytest.raises(ContractViolation) as caught:
        verify(lambda clock: queue(clock=clock))
    violation = caught.value
    assert violation.promise == queue.__doc__, str(violation)
    made = next(line for line in violation.program.splitlines() if line.startswith("queue = "))
    program = compile(violation.program.replace(made, "queue = make_queue(clock)"), "program", "exec")
    with pytest.raises(Exception, match=r"\S"):
        exec(program, {"make_queue": lambda clock: queue(clock=clock)})
    exec(program, {"make_queue": memory_store})


class OwnJob(Job):
    """Somebody's own kind of job."""


class OwnJobs(MemoryQueue):
    """A right queue that answers with its own kind of jobs."""

    def _get(self, job_id):
        return own(super()._get(job_id))

    def _list(self, status, limit):
        return [own(job) for job in super()._list(status, limit)]

    def dequeue(self, *args, **more):
        return own(super().dequeue(*args, **more))


def own(job):
    if job is not None:
        job.__class__ = OwnJob
    return job


def test_jobs_of_a_kind_of_their_own_are_jobs():
    verify(lambda clock: OwnJobs(clock=clock), max_examples=20)
