"""Bugs of records that cannot be read (Q13), and of what else a queue keeps: workers, outputs, cursors (W8, D5, S2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from orch.backends.memory import MemoryQueue, _Entry
from orch.errors import OrchError, UnreadableRecord
from orch.job import CursorMove, Job, JobStatus, Lease, Quarantined, Report, WorkerInfo
from orch.testing.bugs.making import breaks, bugs_of

PENDING, RUNNING, SUCCESS, FAILED, RETRY = JobStatus


@breaks("Q13", source="seed 10")
class APoisonRecordBlocksReaders(MemoryQueue):
    """One record cannot be read: list_jobs raises, each time."""

    def _list(self, status: JobStatus | None, limit: int) -> list[Job]:
        jobs = super()._list(status, limit)
        if self._quarantine:
            raise UnreadableRecord("a record cannot be read")
        return jobs


@breaks("Q13", source="huey 2.5.2; seed 91")
class APoisonRecordEndsTheDequeue(MemoryQueue):
    """dequeue raises at a record that cannot be read, and never comes to the next job."""

    def _readable(self, entry: _Entry) -> bool:
        if entry.raw is not None and entry.job.status is PENDING and not super()._readable(entry):
            raise UnreadableRecord("a record cannot be read")
        return super()._readable(entry)


@breaks("Q13", source="bullmq#3289")
class APoisonRecordAnswersNone(MemoryQueue):
    """dequeue says None when the first job cannot be read, although another one is ready."""

    def _exchange(
        self, reports: Sequence[Report], n: int, worker_id: str, lease_s: float
    ) -> tuple[list[Job | OrchError], list[Job]]:
        bad = len(self._quarantine)
        answers, jobs = super()._exchange(reports, n, worker_id, lease_s)
        if n and len(self._quarantine) > bad and jobs:
            for job in jobs:
                assert job.lease is not None
                self._exchange((Report(job.id, PENDING, lease=job.lease),), 0, "", lease_s)
                self._entries[job.id].job.attempts -= 1
            return answers, []
        return answers, jobs


@breaks("Q13", source="seed 37")
class UnknownFieldsAreDropped(MemoryQueue):
    """A record of a newer version has a field more: it is lost in the round trip."""

    def _readable(self, entry: _Entry) -> bool:
        extra = entry.job.extra
        readable = super()._readable(entry)
        entry.job.extra = extra
        return readable


@breaks("Q13", source="seed 37")
class UnknownFieldsAreUnreadable(MemoryQueue):
    """A record of a newer version has a field more: it counts as unreadable."""

    def _readable(self, entry: _Entry) -> bool:
        if entry.raw is not None and b'"later"' in entry.raw:
            entry.raw = b"{"
        return super()._readable(entry)


@breaks("Q13", source="orch")
class NewerVersionsAreGuessedAt(MemoryQueue):
    """A record of version 2 is read as if it were of version 1."""

    def _readable(self, entry: _Entry) -> bool:
        if entry.raw is not None:
            entry.raw = entry.raw.replace(b'"v": 2', b'"v": 1')
        return super()._readable(entry)


@breaks("Q13", source="orch")
class QuarantineLosesTheBytes(MemoryQueue):
    """What could not be read is kept as text: the bytes that were no UTF-8 are gone."""

    def quarantined(self) -> list[Quarantined]:
        return [replace(q, raw=q.raw.decode("utf-8", "replace").encode()) for q in super().quarantined()]


@breaks("Q13", source="orch")
class QuarantinedAreCounted(MemoryQueue):
    """A job in quarantine is still counted as pending."""

    def counts(self) -> dict[JobStatus, int]:
        counts = super().counts()
        counts[PENDING] += len(self._quarantine)
        return counts


@breaks("Q13", "Q3", source="orch")
class QuarantinedIdsAreNew(MemoryQueue):
    """The id of a job in quarantine can be enqueued again: then there are two jobs of it."""

    def _enqueue(self, jobs: Sequence[Job]) -> int:
        for job in jobs:
            self._quarantine.pop(job.id, None)
        return super()._enqueue(jobs)


@breaks("Q13", source="orch")
class UnreadableSpendsTheLimit(MemoryQueue):
    """A list of the newest two has one job, because the other could not be read."""

    def _list(self, status: JobStatus | None, limit: int) -> list[Job]:
        unread = len(self._quarantine)
        jobs = super()._list(status, limit)
        return jobs[: limit + unread - len(self._quarantine)]


@breaks("Q13", "Q1", source="seed 92")
class UnreadableIsForgotten(MemoryQueue):
    """A record that cannot be read is deleted: nobody finds it among the quarantined."""

    def _readable(self, entry: _Entry) -> bool:
        readable = super()._readable(entry)
        if not readable:
            self._quarantine.pop(entry.job.id, None)
        return readable


@breaks("Q13", "Q9", source="orch")
class RunningUnreadableStaysCounted(MemoryQueue):
    """A running job whose record cannot be read goes to quarantine, and is counted as running for ever."""

    def _readable(self, entry: _Entry) -> bool:
        runs = entry.job.status is RUNNING
        readable = super()._readable(entry)
        if runs and not readable:
            self._counts[RUNNING] += 1
        return readable


@breaks("W8", source="celery#8030")
class WorkersGoneStayListed(MemoryQueue):
    """A worker that died is listed for ever."""

    def workers(self) -> list[WorkerInfo]:
        before = dict(self._workers)
        rows = super().workers()
        known = {row.id for row in rows}
        self._workers = before
        return sorted([*rows, *(info for id, (_, info) in before.items() if id not in known)], key=lambda row: row.id)


@breaks("W8", source="orch")
class ExtendingIsNoBeat(MemoryQueue):
    """A worker with one long job extends its lease, and is listed as gone."""

    def _extend(self, leases: Sequence[Lease], lease_s: float) -> list[Lease | OrchError]:
        before = dict(self._workers)
        answers = super()._extend(leases, lease_s)
        self._workers = before
        return answers


@breaks("W8", source="orch")
class GivenBackJobsStayWithTheWorker(MemoryQueue):
    """A worker is shown with the jobs that it gave back."""

    def _report(self, report: Report, now: int) -> Job:
        job = super()._report(report, now)
        if report.status is PENDING and report.lease is not None and report.lease.worker_id in self._workers:
            beat, info = self._workers[report.lease.worker_id]
            self._workers[report.lease.worker_id] = (beat, replace(info, blocked=1))
        return job

    def workers(self) -> list[WorkerInfo]:
        return [
            replace(row, jobs=(*row.jobs, "given back"), blocked=0) if row.blocked else row for row in super().workers()
        ]


@breaks("W8", source="orch")
class AnnouncingForgetsTheHost(MemoryQueue):
    """The next dequeue of a worker wipes what it announced of itself."""

    def _beat(self, worker_id: str, now: int) -> None:
        self._workers[worker_id] = (now, WorkerInfo(worker_id))


@breaks("D5", source="orch")
class RetryForgetsProgress(MemoryQueue):
    """A job is retried, and what its tasks had recorded is gone: they run again."""

    def _make_pending(self, entry: _Entry, now: int, due: int | None) -> None:
        if entry.job.failures:
            entry.progress = None
        super()._make_pending(entry, now, due)


@breaks("D5", source="orch")
class RequeueKeepsProgress(MemoryQueue):
    """A requeued job does not run again what its failed life had recorded."""

    def _requeue(self, job_id: str) -> Job:
        entry = self._entries.get(job_id)
        saved = None if entry is None else entry.progress
        job = super()._requeue(job_id)
        if entry is not None:
            entry.progress = saved
        return job


@breaks("D5", source="orch")
class TheFirstOutputStays(MemoryQueue):
    """A task that ran again after a lost report keeps the output of its first run."""

    def _record_progress(self, lease: Lease, task_id: str, output: str) -> None:
        entry = self._entries.get(lease.job_id)
        saved = {} if entry is None or entry.progress is None else dict(entry.progress)
        super()._record_progress(lease, task_id, output)
        if entry is not None and entry.progress is not None:
            entry.progress.update(saved)


@breaks("S2", source="seed 80")
class CursorsMoveBlindly(MemoryQueue):
    """Two schedulers move a cursor from the same tick: both are told that they did."""

    def _advance(self, moves: Sequence[CursorMove]) -> list[bool]:
        now = self._cursors([move.key for move in moves])
        blind = [
            replace(move, expected=(move.expected and at) or move.expected) for move, at in zip(moves, now, strict=True)
        ]
        return super()._advance(blind)


@breaks("S2", source="river#791")
class CursorsForgetTheirKey(MemoryQueue):
    """All schedules share one cursor."""

    def _cursors(self, keys: Sequence[str]) -> list[str | None]:
        return super()._cursors(["k"] * len(keys))

    def _advance(self, moves: Sequence[CursorMove]) -> list[bool]:
        return super()._advance([replace(move, key="k") for move in moves])


@breaks("D5", source="orch")
class OutputsOfNothingAreDropped(MemoryQueue):
    """A task whose output is null is not recorded, and runs again."""

    def _record_progress(self, lease: Lease, task_id: str, output: str) -> None:
        super()._record_progress(lease, task_id, output)
        saved = self._entries[lease.job_id].progress
        if saved is not None and output == "null":
            del saved[task_id]


BUGS = bugs_of(globals())
