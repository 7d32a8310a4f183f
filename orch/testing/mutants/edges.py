"""What a machine with few ids and small values seldom or never reaches: plans of steps, bounds, big and many jobs.

The functions take an empty queue and raise `AssertionError` where it does something else than the contract says.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from typing import Any

from orch import checks
from orch.backends.base import BEAT_S, BEATS_MISSED_MAX
from orch.clock import iso, to_us
from orch.errors import InvalidInput, LeaseLost, UnreadableRecord
from orch.job import STATES, CursorMove, Job, JobStatus, Lease, WorkerInfo
from orch.queue import PersistentQueue
from orch.testing.clock import FakeClock
from orch.testing.machine import Args

LEASE_S, MAX_CRASHES = 7.0, 2  # of the queues that are tried: not those that a queue has by itself

_LOOK: tuple[tuple[str, Args], ...] = (("c", ()), ("s", ()), ("L", ()))

#: Traces for what chance seldom meets.
PLANS: tuple[tuple[tuple[str, Args], ...], ...] = (
    # a list of a crowd that is older than what was listed before
    (("E", (0, 0, 0, 0, 3)), ("L", ()), ("C", (0,)), ("L", ())),
    # a delayed job is cancelled, purged and enqueued again for the same instant: it comes after the other one
    (
        *(
            ("E", (0, 0, 0, 1, 0)),
            ("E", (1, 0, 0, 1, 0)),
            ("K", (0,)),
            ("A", (0,)),
            ("P", (0,)),
            ("E", (0, 0, 0, 3, 0)),
        ),
        *(("A", (0,)), ("D", (0, 0)), ("D", (0, 0))),
    ),
    # the record of an expired delivery cannot be read, and another job comes first
    (("E", (0, 0, 0, 0, 0)), ("D", (0, 2)), ("E", (1, 1, 0, 0, 0)), ("U", (0, 0)), ("A", (0,)), ("D", (0, 0)), *_LOOK),
    # a report promotes what is due, whatever it reports
    *(
        (
            ("E", (0, 0, 1, 0, 0)),
            ("D", (0, 0)),
            ("E", (1, 0, 0, 1, 0)),
            ("A", (1,)),
            ("R", (0, 0, status, 0, 0)),
            *_LOOK,
        )
        for status in range(4)
    ),
    # tickets go on from the last one that was given, by whatever
    (
        *(("E", (0, 0, 2, 0, 0)), ("D", (0, 0)), ("R", (0, 0, 2, 0, 0)), ("D", (0, 0)), ("R", (0, 0, 2, 0, 0))),
        *(("E", (1, 0, 0, 0, 0)), ("D", (0, 0)), ("E", (2, 0, 0, 0, 0)), ("D", (0, 0)), ("D", (0, 0))),
    ),
    # more leases have ended than one dequeue takes back, the newer ones first
    (("C", (0,)), ("H", (1, 1)), ("H", (0, 0)), ("A", (2,)), ("D", (0, 0)), ("L", ()), ("D", (0, 0)), ("L", ())),
    # ready jobs of several priorities, and others at the same
    (
        *(
            ("E", (0, 1, 0, 0, 0)),
            ("D", (0, 0)),
            ("A", (0,)),
            ("E", (1, 0, 0, 0, 0)),
            ("A", (0,)),
            ("E", (2, 2, 0, 0, 0)),
        ),
        *(("s", ()), ("E", (3, 1, 0, 2, 0)), ("s", ()), ("D", (0, 0)), ("s", ()), ("D", (0, 0)), ("s", ())),
    ),
    # the output of a task is recorded again, and is another
    (("E", (0, 0, 0, 0, 0)), ("D", (0, 0)), ("G", (0, 0, 0, 0)), ("G", (0, 0, 1, 0)), ("G", (0, 0, 0, 1)), ("g", (0,))),
    # a job is cancelled and requeued: it takes a new ticket
    (("E", (0, 0, 0, 0, 0)), ("K", (0,)), ("E", (1, 0, 0, 0, 0)), ("Q", (0,)), *_LOOK, ("D", (0, 0)), ("D", (0, 0))),
)


def _refused(call: Callable[[], object], shows: str = "") -> None:
    try:
        call()
    except InvalidInput as error:
        if shows not in str(error):
            raise AssertionError(f"the message does not show {shows}: {error}") from error
        return
    raise AssertionError("bad input was taken")


def edges(queue: PersistentQueue) -> None:
    """What a machine with few and small values does not reach: bounds, and bad input of the rarer verbs."""
    with closing(queue):
        given = (getattr(queue, "lease_s", None), getattr(queue, "max_crashes", None))
        assert given == (LEASE_S, MAX_CRASHES), "constructor"
        for name in ("first", "second"):  # so that the numbers of the next one differ
            queue.enqueue(Job(name, "d.yaml", "t", None, JobStatus.PENDING, "2027-01-15T08:00:00Z", max_retries=9))
        for _ in range(3):
            first = queue.dequeue()
            assert first is not None
            queue.update_status(first.id, JobStatus.RETRY, lease=first.lease)
        for _ in range(2):
            held = queue.dequeue()
            assert held is not None
            assert held.lease is not None
            queue.record_progress(held.lease, "t", held.id)
        job = Job("a", "d.yaml", "t", None, JobStatus.PENDING, "2027-01-15T08:00:00Z", lease=Lease("a", 1, "w", 0.0))
        queue.enqueue(job)
        stored = queue.get_job("a")
        assert stored is not None
        assert stored.lease is None, "a lease that came with a job"
        for call in (
            lambda: queue.announce(WorkerInfo("")),
            lambda: queue.announce(5),  # type: ignore[arg-type]  # bad on purpose
            lambda: queue.schedule_cursor(""),
            lambda: queue.advance_schedule("k", None, "soon"),
            lambda: queue.progress(""),
        ) * 3:
            _refused(call)
        at = [f"2027-01-15T08:0{n}:00Z" for n in range(3)]
        moves = [CursorMove("a", None, at[0]), CursorMove("b", at[0], at[1]), CursorMove("a", at[0], at[1])]
        assert queue.advance_schedules(moves) == [True, False, True], "cursors moved together"
        assert queue.schedule_cursors(["b", "a"]) == [None, at[1]], "cursors read together"
        taken = queue.dequeue("w1")
        assert taken is not None
        assert taken.lease is not None
        lease = taken.lease
        most = checks.PROGRESS_TOTAL_MAX // checks.PROGRESS_MAX
        text = "x" * (checks.PROGRESS_MAX - 2)  # its quotes count
        queue.record_progress(lease, "t0", 1)  # what comes in its place is counted, this is not
        for n in (*range(most), 0):
            queue.record_progress(lease, f"t{n}", text)
        _refused(lambda: queue.record_progress(lease, "more", 1), str(checks.PROGRESS_TOTAL_MAX))
        assert queue.progress("a") == {f"t{n}": text for n in range(most)}, "an output was lost"
        assert list(queue.progress("a")) == [f"t{n}" for n in range(most)], "outputs come in the order of their tasks"
        queue.update_status("a", JobStatus.FAILED, lease=lease)
        queue.requeue("a")
        assert queue.progress("a") == {}, "progress survived a requeue"
        assert queue.progress("first") == {"t": "first"}, "a requeue took the progress of another job"
        taken = queue.dequeue("w1")
        assert taken is not None
        assert taken.lease is not None
        for n in range(most):
            queue.record_progress(taken.lease, f"t{n}", text)


def purges(clock: FakeClock, queue: PersistentQueue) -> None:
    """Big jobs and those with recorded outputs go as others do, and nothing of them stays."""
    with closing(queue):
        jobs: dict[str, dict[str, Any]] = {
            "plain": {},
            "big": {"params": {"x": "y" * 20_000}},
            "counted": {"attempts": 3},
            "failed": {"failures": 2, "max_retries": 5},
            "lost": {"crashes": 1},
            "told": {"error": "an earlier error"},
            "gave": {"result": {"n": 1}},
            "more": {"extra": {"k": [1]}},
            "late": {},
            "kept": {},
        }
        for name, fields in jobs.items():
            job = Job(name, "d.yaml", "t", None, JobStatus.PENDING, "2027-01-15T08:00:00Z", **fields)
            queue.enqueue(job)
            assert queue.get_job(name) == job, "an enqueued job"
        for n, name in enumerate(jobs):
            taken = queue.dequeue("w1", lease_s=9_000)
            assert taken is not None
            assert taken.lease is not None
            assert (taken.id, taken.attempts) == (name, jobs[name].get("attempts", 0) + 1), "a delivered job"
            if n % 2:
                for task in range(6):
                    queue.record_progress(taken.lease, f"t{task}", name)
            result = {"x": "y" * 20_000} if name == "more" else None
            if name != "kept":
                queue.update_status(
                    name, JobStatus.FAILED if n % 3 else JobStatus.SUCCESS, result=result, lease=taken.lease
                )
            clock.advance(1.0 if name != "more" else 3600.0)
        assert queue.purge(1.0) == 8, "purged"
        assert queue.purge(1.0) == 0, "purged twice"
        clock.advance(3598.0)
        assert queue.purge(1.0) == 0, "an hour old is not older than an hour"
        assert sorted(job.id for job in queue.list_jobs()) == ["kept", "late"], "what is left"
        clock.advance(1.0)
        assert queue.purge(1.0) == 1, "what became old"
        assert [job.id for job in queue.list_jobs()] == ["kept"], "what is left"
        for name in ("big", "more"):
            assert queue.get_job(name) is None, "a purged job"
            assert queue.progress(name) == {}, "the progress of a purged job"
        assert [queue.count(status) for status in STATES] == [0, 1, 0, 0], "counts after a purge"
        assert len(queue.progress("kept")) == 6, "the progress of another job"
        for name in jobs:
            again = Job(name, "d.yaml", "t", None, JobStatus.PENDING, "2027-01-15T08:00:00Z")
            assert queue.enqueue(again) == (name != "kept"), "an id that was purged is new"
            assert bool(queue.progress(name)) == (name == "kept"), "old progress"


def reclaims(clock: FakeClock, queue: PersistentQueue) -> None:
    """A hundred leases that ended are taken back at a time, those that cannot be read besides, each with its reason."""
    with closing(queue):
        now = "2027-01-15T08:00:00Z"
        queue.enqueue_many([Job(f"{n:03}", "d", "t", None, JobStatus.PENDING, now) for n in range(120)])
        assert len(queue.dequeue_many(120, "w1")) == 120
        raw = {"003": b"{", "005": b"[]"}
        for name, data in raw.items():
            queue.plant_record(name, data)  # type: ignore[attr-defined]  # our backends have it
        clock.advance(LEASE_S + 1)
        taken = queue.dequeue("w1")
        assert taken is not None
        assert (taken.id, queue.count(JobStatus.RUNNING)) == ("000", 19), "leases taken back"
        found = {record.job_id: record.reason for record in queue.quarantined()}
        assert list(found) == list(raw), "what cannot be read"
        for name, reason in found.items():
            for ask in (queue.get_job, queue.requeue):
                try:
                    ask(name)
                except UnreadableRecord as error:
                    told = str(error)
                else:
                    raise AssertionError("what cannot be read was read")
                assert reason in told, "the reason of another"


def lanes(clock: FakeClock, queue: PersistentQueue) -> None:
    """Jobs of several priorities, some delayed, some with a past, come in one call, and the oldest of all is told."""
    with closing(queue):
        now = "2027-01-15T08:00:00+00:00"

        def job(name: str, priority: int, **more: Any) -> Job:
            return Job(name, "d", "t", None, JobStatus.PENDING, now, priority=priority, **more)

        queue.enqueue(job("middle", 3))
        clock.advance(5.0)
        later = "2027-01-15T08:01:00+00:00"
        queue.enqueue_many(
            [
                *(
                    job("high", 5, attempts=1),
                    job("delayed", 9, attempts=2, not_before=later),
                    job("low", 1, attempts=3),
                ),
                job("late", 3, not_before="2027-01-15T09:00:00Z"),
                *(job("delayed2", 9, attempts=4, not_before=later), job("higher", 7, failures=1, max_retries=3)),
            ]
        )
        attempts = {one.id: one.attempts for one in queue.list_jobs()}
        assert attempts == {"middle": 0, "high": 1, "delayed": 2, "low": 3, "delayed2": 4, "higher": 0, "late": 0}, (
            "attempts"
        )
        assert queue.stats().oldest_ready_age_s == 5.0, "the oldest job that is ready"
        assert (queue.stats().ready, queue.stats().delayed) == (4, 3), "ready and delayed"
        clock.advance(60.0)
        ids = [one.id for one in queue.dequeue_many(9, "w1")]
        assert ids == ["delayed", "delayed2", "higher", "high", "middle", "low"], "the order of a bulk"


def garbled(queue: PersistentQueue) -> None:
    """A bulk dequeue that meets jobs which cannot be read goes on with the next, and gives as many as asked for."""
    with closing(queue):
        now = "2027-01-15T08:00:00Z"
        queue.enqueue_many([Job(name, "d", "t", None, JobStatus.PENDING, now) for name in "abcdefgh"])
        for name in "ac":
            queue.plant_record(name, b"{")  # type: ignore[attr-defined]  # our backends have it
        try:
            queue.plant_record("nobody", b"{")  # type: ignore[attr-defined]  # as above
        except KeyError:
            pass
        else:
            raise AssertionError("a record was planted on a job that is not there")
        assert [job.id for job in queue.dequeue_many(3, "w1")] == ["b", "d", "e"], "the jobs of a bulk"
        assert [record.job_id for record in queue.quarantined()] == ["a", "c"], "what cannot be read"
        assert [queue.count(status) for status in STATES] == [3, 3, 0, 0], "counts"
        lease = queue.list_jobs(JobStatus.RUNNING)[-1].lease
        assert lease is not None
        queue.record_progress(lease, "t", 1)
        for name in "bg":
            queue.plant_record(name, b"{")  # type: ignore[attr-defined]  # as above
        assert [job.id for job in queue.list_jobs()] == ["h", "f", "e", "d"], "what cannot be read is in no list"
        assert [record.job_id for record in queue.quarantined()] == ["a", "c", "g", "b"], "the order of the finds"
        assert queue.progress("b") == {}, "outputs of what cannot be read"


def due(clock: FakeClock, queue: PersistentQueue) -> None:
    """Who is due at this very instant comes before who is enqueued now, and after whoever took a ticket before."""
    with closing(queue):
        now = "2027-01-15T08:00:00Z"
        queue.enqueue(Job("old", "d", "t", None, JobStatus.PENDING, now))
        for _ in range(5):  # so that more tickets are given than jobs are known
            queue.cancel("old")
            queue.requeue("old")
        queue.enqueue(Job("late", "d", "t", None, JobStatus.PENDING, now, not_before="2027-01-15T08:00:04Z"))
        clock.advance(4.0)
        queue.enqueue(Job("new", "d", "t", None, JobStatus.PENDING, now))
        assert [queue.stats().ready, queue.stats().delayed] == [3, 0], "an enqueue promotes what is due"
        assert [job.id for job in queue.dequeue_many(3, "w1")] == ["old", "late", "new"], "the order of tickets"


def beats(clock: FakeClock, queue: PersistentQueue) -> None:
    """A worker is seen until it missed ten beats, and not longer."""
    with closing(queue):
        queue.dequeue("w1")
        clock.advance(0.001)
        queue.dequeue("w2")
        clock.advance(BEATS_MISSED_MAX * BEAT_S - 0.001)
        assert [worker.id for worker in queue.workers()] == ["w1", "w2"], "workers that missed ten beats"
        clock.advance(0.001)
        for _ in range(2):
            assert [worker.id for worker in queue.workers()] == ["w2"], "a worker that missed more than ten beats"
        clock.advance(0.001)
        assert queue.workers() == [], "workers that missed more than ten beats"
        queue.enqueue(Job("a", "d", "t", None, JobStatus.PENDING, "2027-01-15T08:00:00Z"))
        held = queue.dequeue("w1")
        assert held is not None
        assert held.lease is not None
        for _ in range(4):
            clock.advance(1.0)
            queue.extend_lease(held.lease)
            assert [worker.last_beat_at for worker in queue.workers()] == [iso(to_us(clock()))], (
                "an extension is a beat"
            )


def again(queue: PersistentQueue) -> None:
    """A job that is requeued has no outputs, however often; after the last time nothing of them is left."""
    with closing(queue):
        queue.enqueue(Job("a", "d", "t", None, JobStatus.PENDING, "2027-01-15T08:00:00Z"))
        for _ in range(3):
            held = queue.dequeue("w1")
            assert held is not None
            assert held.lease is not None
            queue.record_progress(held.lease, "t", 1)
            queue.update_status("a", JobStatus.FAILED, lease=held.lease)
            queue.requeue("a")
            assert queue.progress("a") == {}, "outputs of a job that was requeued"


def forged(queue: PersistentQueue) -> None:
    """The lease of one job is none of another."""
    with closing(queue):
        now = "2027-01-15T08:00:00Z"
        queue.enqueue_many([Job(name, "d", "t", None, JobStatus.PENDING, now) for name in "ab"])
        leases = [job.lease for job in queue.dequeue_many(2, "w1")]
        assert leases[0] is not None
        wrong = replace(leases[0], job_id="b")
        before = queue.list_jobs()
        for call in (
            lambda: queue.update_status("b", JobStatus.SUCCESS, lease=wrong),
            lambda: queue.update_status("b", JobStatus.RETRY, lease=wrong),
            lambda: queue.extend_lease(wrong),
            lambda: queue.record_progress(wrong, "t", 1),
        ):
            try:
                call()
            except LeaseLost:
                continue
            raise AssertionError("the lease of another job was taken")
        assert queue.list_jobs() == before, "a wrong lease changed something"
        assert queue.progress("a") == queue.progress("b") == {}, "a wrong lease recorded something"


def waits(queue: PersistentQueue) -> None:
    """With a clock that was handed in nobody waits, and what is due now is ready now."""

    def wait(_: float) -> None:
        raise AssertionError("it waited")

    with closing(queue):
        queue._wait = wait  # type: ignore[attr-defined]  # noqa: SLF001 - what must not be called
        assert queue.dequeue("w1", wait_s=60.0) is None
        now = "2027-01-15T08:00:00+00:00"
        queue.enqueue(Job("a", "d.yaml", "t", None, JobStatus.PENDING, now, not_before=now))
        assert (queue.stats().ready, queue.stats().delayed) == (1, 0), "due now"
        queue.enqueue(Job("b", "d.yaml", "t", None, JobStatus.PENDING, now, max_retries=1))
        leases = [job.lease for job in queue.dequeue_many(2)]
        queue.update_status("b", JobStatus.RETRY, lease=leases[1], delay_s=1e-9)
        assert (queue.stats().ready, queue.stats().delayed) == (1, 0), "a wait of less than a microsecond is none"


def lists(queue: PersistentQueue) -> None:
    """Lists stay in order while many jobs come that are older, or newer, than those that were listed before."""
    with closing(queue):
        stamps: list[str] = []
        for turn in range(6):
            hour = 12 + (turn if turn % 2 else -turn)
            new = [f"2027-01-15T{hour:02}:{n // 60:02}:{n % 60:02}Z" for n in range(70)]
            stamps += new
            jobs = [Job(f"{turn}-{n}", "d", "t", None, JobStatus.PENDING, stamp) for n, stamp in enumerate(new)]
            queue.enqueue_many(jobs)
            for _ in range(2):
                listed = [job.enqueued_at for job in queue.list_jobs(limit=1000)]
                assert listed == sorted(stamps, reverse=True), "the order of a list"


#: What a queue is put to, and what a queue and its clock are, the long ones last.
OF_A_QUEUE = (again, garbled, forged, waits, lists, edges)
OF_A_CLOCK = (due, beats, lanes, purges, reclaims)
