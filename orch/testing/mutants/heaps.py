"""What shows only inside a queue in memory: that its counts, heaps and indexes fit the jobs that it holds."""

from __future__ import annotations

from collections import Counter
from typing import Any

from orch.job import STATES, JobStatus


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
        assert (entry.expires_us, job.lease.token, job_id) in queue._leases, "the end of a lease"  # noqa: SLF001 - as above
    elif status is not JobStatus.PENDING:
        assert (entry.finished_us, entry.seq, job_id) in queue._finished, "the end of a job"  # noqa: SLF001 - as above
    elif entry.due_us is not None:
        assert (entry.due_us, entry.seq, job_id) in queue._delayed, "a delay"  # noqa: SLF001 - as above
    else:
        assert lanes[entry.ticket, job_id] == 1, "a ready job stands once in its lane"
        lane = queue._lanes[job.priority]  # noqa: SLF001 - as above
        assert (entry.ticket, job_id) in lane, "its lane is its priority's"
