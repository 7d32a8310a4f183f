"""What shows only inside a queue in memory: that its counts, heaps and indexes fit the jobs that it holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import closing
from typing import Any

from orch.job import STATES, Job, JobStatus, encode_record
from orch.testing.clock import FakeClock


def sound(queue: Any) -> None:
    """Each job stands where its state says, and is counted there. Raises `AssertionError`."""
    entries = queue._entries  # noqa: SLF001 - what is looked into
    jobs = [entry.job for entry in entries.values()]
    counts = Counter(job.status for job in jobs)
    assert queue._counts == {status: counts[status] for status in STATES}, "counts"  # noqa: SLF001 - as above
    assert not entries.keys() & queue._quarantine.keys(), "a job is in quarantine and is not"  # noqa: SLF001 - as above
    running = {job.id for job in jobs if job.status is JobStatus.RUNNING}
    assert queue._running.keys() == running, "who runs"  # noqa: SLF001 - as above
    lanes = Counter(item for lane in queue._lanes.values() for item in lane)  # noqa: SLF001 - as above
    assert queue._priorities == sorted(queue._lanes), "the lanes"  # noqa: SLF001 - as above
    ready = [entry for entry in entries.values() if entry.job.status is JobStatus.PENDING and entry.due_us is None]
    assert queue._ready == len(ready), "how many are ready"  # noqa: SLF001 - as above
    tickets = {entry.ticket for entry in ready}
    assert len(tickets) == len(ready), "a ticket was given twice"
    assert max(tickets, default=0) <= queue._ticket, "a ticket that was never given"  # noqa: SLF001 - as above
    for entry in entries.values():
        _stands(queue, entry, lanes)


def _stands(queue: Any, entry: Any, lanes: Counter[tuple[int, str]]) -> None:
    job = entry.job
    status, job_id = job.status, job.id
    assert entry.key in (*queue._all.kept, *queue._all.fresh), "the list of all"  # noqa: SLF001 - what is looked into
    index = queue._index[status]  # noqa: SLF001 - as above
    assert entry.key in (*index.kept, *index.fresh), "the list of a state"
    assert (job.lease is not None) == (status is JobStatus.RUNNING), "a lease is of a job that runs"
    assert entry.due_us is None or status is JobStatus.PENDING, "a delay is of a pending job"
    if status is JobStatus.RUNNING:
        ends = queue._leases.count((entry.expires_us, job.lease.token, job_id))  # noqa: SLF001 - as above
        assert ends == 1, "a lease ends once"
    elif status is not JobStatus.PENDING:
        assert (entry.finished_us, entry.seq, job_id) in queue._finished, "the end of a job"  # noqa: SLF001 - as above
    elif entry.due_us is not None:
        assert (entry.due_us, entry.seq, job_id) in queue._delayed, "a delay"  # noqa: SLF001 - as above
        assert entry.ticket == 0, "a delayed job has a ticket"
    else:
        assert lanes[entry.ticket, job_id] == 1, "a ready job stands once in its lane"
        lane = queue._lanes[job.priority]  # noqa: SLF001 - as above
        assert (entry.ticket, job_id) in lane, "its lane is its priority's"


SLACK = 64  # stale entries that may stand anywhere


def bounded(clock: FakeClock, queue: Any) -> None:
    """What is stale does not pile up, neither where jobs come and go, nor where many were purged (Q9)."""

    def stands() -> dict[str, int]:
        index = queue._index  # noqa: SLF001 - what is looked into
        return {
            "list of pending jobs": len(index[JobStatus.PENDING].kept) + len(index[JobStatus.PENDING].fresh),
            "list of failed jobs": len(index[JobStatus.FAILED].kept) + len(index[JobStatus.FAILED].fresh),
            "lanes": sum(map(len, queue._lanes.values())),  # noqa: SLF001 - as above
        }

    def job(name: str, stamp: str) -> Job:
        return Job(name, "d", "t", None, JobStatus.PENDING, f"2027-01-15T{stamp}Z")

    with closing(queue):
        queue.enqueue(job("first", "08:00:00"))
        queue.enqueue(job("other", "08:00:00"))
        most = stands()
        for _ in range(6 * SLACK):
            queue.cancel("first")
            queue.requeue("first")
            most = {name: max(n, most[name]) for name, n in stands().items()}
        for (name, n), live in zip(most.items(), (2, 1, 2), strict=True):
            assert n <= 2 * live + SLACK, f"stale entries in the {name}: {n}"
            assert n > SLACK, f"the {name} are made anew at each change"
        crowd = [f"{n:03}" for n in range(2 * SLACK)]
        for stamp, last in (("09:00:00", "10:00:00"), ("11:00:00", None)):
            queue.enqueue_many([job(name, stamp) for name in crowd])
            if last is not None:
                queue.enqueue(job("last", last))
            for name in crowd:
                queue.cancel(name)
            clock.advance(7200.0)
            assert queue.purge(1.0) == len(crowd)
            # the purged ones stand between those that are left, and then behind them
            kept = queue._all.kept  # noqa: SLF001 - as above
            assert len(kept) + len(queue._all.fresh) > len(crowd), "a purge costs what it removes"  # noqa: SLF001 - as above
            assert [one.id for one in queue.list_jobs(limit=10)] == ["last", "other", "first"]
            assert len(queue._all.kept) == 3, "purged jobs still stand in the list"  # noqa: SLF001 - as above
            assert queue._all.fresh == [], "what is new is put in its place once"  # noqa: SLF001 - as above
        # no list is asked for while jobs come, and are purged
        for _ in range(3):
            queue.enqueue_many([job(name, "12:00:00") for name in crowd])
            everything = len(queue._all.kept) + len(queue._all.fresh)  # noqa: SLF001 - as above
            assert everything <= 2 * (3 + len(crowd)) + SLACK, f"stale entries in the list of all: {everything}"
            for name in crowd:
                queue.cancel(name)
            clock.advance(7200.0)
            queue.purge(1.0)
        # jobs that came back in any order keep theirs when most of a lane is cleaned away
        for turn in range(3):
            queue.enqueue_many([job(f"{turn}-{name}", "13:00:00") for name in crowd])
            taken = queue.dequeue_many(SLACK)
            for one in reversed(taken):
                queue.update_status(one.id, JobStatus.PENDING, lease=one.lease)
            left = [f"{turn}-{name}" for n, name in enumerate(crowd) if n % 5 == 0]
            for name in crowd:
                if f"{turn}-{name}" not in left:
                    queue.cancel(f"{turn}-{name}")
            sound(queue)
            ids = [one.id for one in queue.dequeue_many(len(crowd))]
            assert ids == [*([] if turn else ["other", "first", "last"]), *left], "the order after a lane was cleaned"


def thrifty(clock: FakeClock, queue: Any) -> None:
    """Where nothing is due, nothing is promoted or taken back; a record is read where there is one to read."""
    calls: list[str] = []

    def noted(name: str) -> None:
        act = getattr(queue, name)

        def noting(*given: Any) -> Any:
            calls.append(name)
            return act(*given)

        setattr(queue, name, noting)

    for name in ("_promote", "_reclaim", "_readable"):
        noted(name)

    def calls_(names: str, act: Callable[[], Any]) -> Any:
        calls.clear()
        answer = act()
        assert calls == names.split(), f"{calls} instead of {names}"
        return answer

    def job(name: str, **more: Any) -> Job:
        return Job(name, "d", "t", None, JobStatus.PENDING, "2027-01-15T08:00:00Z", **more)

    with closing(queue):
        calls_("_promote", lambda: queue.enqueue_many([job("a"), job("b"), job("c")]))
        calls_("", lambda: queue.enqueue(job("a")))
        calls_("_promote", lambda: queue.enqueue(job("late", not_before="2027-01-15T08:00:05Z")))
        first = calls_("", queue.dequeue)
        calls_("", queue.dequeue)
        calls_("", lambda: queue.update_status("a", JobStatus.SUCCESS, lease=first.lease))
        calls_("", queue.list_jobs)
        calls_("", lambda: queue.get_job("b"))
        queue.plant_record("b", encode_record(job("b")))
        calls_("_readable", lambda: queue.get_job("b"))
        calls_("", lambda: queue.get_job("b"))
        clock.advance(5.0)
        calls_("_promote", lambda: queue.cancel("c"))
        clock.advance(5.0)
        calls_("_reclaim _readable", queue.dequeue)
        queue.enqueue(job("again", max_retries=1))
        again = queue.dequeue_many(9)[-1]
        queue.update_status("again", JobStatus.RETRY, lease=again.lease, delay_s=5.0)
        sound(queue)


CHECKS = (bounded, thrifty)
