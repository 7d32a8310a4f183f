# ruff: noqa: SIM102 - a bug reaches into what it breaks, and each condition has its line
"""Bugs of what is done twice: an id that comes in again (Q3), a verb whose reply was lost and is repeated (Q8)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from orch.backends.memory import MemoryQueue, _Entry
from orch.clock import iso_to_us, to_us
from orch.errors import LeaseLost, OrchError
from orch.job import Event, Job, JobStatus, Lease, Report
from orch.testing.bugs.making import breaks, bugs_of, drop


@breaks("Q3", source="seed 16")
class TheSecondOverwrites(MemoryQueue):
    """Enqueue a known id with other params: the waiting job has them, and the first ones are lost."""

    def _enqueue(self, jobs: Sequence[Job]) -> int:
        for job in jobs:
            entry = self._entries.get(job.id)
            if entry is not None and entry.job.status is JobStatus.PENDING:
                entry.job.params = job.copy().params
        return super()._enqueue(jobs)


@breaks("Q3", source="orch")
class AlwaysNew(MemoryQueue):
    """enqueue answers True for an id that is known."""

    def enqueue(self, job: Job) -> bool:
        super().enqueue(job)
        return True


@breaks("Q3", "Q7", source="saq; seed 16")
class TheDoneComesInAgain(MemoryQueue):
    """The id of a finished job counts as new: its result is lost."""

    def _enqueue(self, jobs: Sequence[Job]) -> int:
        for job in jobs:
            entry = self._entries.get(job.id)
            if entry is not None and entry.job.status is JobStatus.SUCCESS:
                drop(self, job.id)
        return super()._enqueue(jobs)


@breaks("Q3", source="bullmq#2991")
class TheSecondDelaysTheFirst(MemoryQueue):
    """An upsert: enqueue of a delayed id moves it to the new time."""

    def _enqueue(self, jobs: Sequence[Job]) -> int:
        now = to_us(self._read_clock())
        for job in jobs:
            entry = self._entries.get(job.id)
            due = None if job.not_before is None else iso_to_us(job.not_before)
            if entry is not None and entry.due_us is not None and due is not None and due > now:
                entry.job.not_before = job.not_before
                self._make_pending(entry, now, due)
        return super()._enqueue(jobs)


@breaks("Q3", source="orch")
class TwiceInOneBulkCountsTwice(MemoryQueue):
    """enqueue_many of the same id twice says that two were new."""

    def enqueue_many(self, jobs: Iterable[Job]) -> int:
        listed = list(jobs)
        known = {*self._entries, *self._quarantine}
        super().enqueue_many(listed)
        return sum(job.id not in known for job in listed)


@breaks("Q3", "Q2", source="orch")
class AKnownIdPromotes(MemoryQueue):
    """An enqueue that changes nothing promotes what is due all the same."""

    def _enqueue(self, jobs: Sequence[Job]) -> int:
        self._promote(to_us(self._read_clock()))
        return super()._enqueue(jobs)


@breaks("Q3", source="orch")
class TheThousandthIsNew(MemoryQueue):
    """enqueue_many of more than a slice answers only how many of the last slice were new."""

    def enqueue_many(self, jobs: Iterable[Job]) -> int:
        new = super().enqueue_many(jobs)
        return new % 1000 if new > 1000 else new


@breaks("Q3", "Q2", source="rq 3.0 (catalogue K5)")
class AKnownIdIsQueuedAgain(MemoryQueue):
    """Enqueue of a waiting id moves it to the end of the line."""

    def _enqueue(self, jobs: Sequence[Job]) -> int:
        now = to_us(self._read_clock())
        for job in jobs:
            entry = self._entries.get(job.id)
            if entry is not None and entry.job.status is JobStatus.PENDING and entry.due_us is None:
                self._ready -= 1
                self._make_pending(entry, now, None)
        return super()._enqueue(jobs)


@breaks("Q8", source="orch")
class RepeatsAreRefused(MemoryQueue):
    """The reply of a report is lost, and its repetition raises LeaseLost."""

    def _report(self, report: Report, now: int) -> Job:
        job = super()._report(report, now)
        self._entries[report.job_id].settled = None
        return job


@breaks("Q8", source="orch")
class RepeatsEndWithTheRedelivery(MemoryQueue):
    """A RETRY is repeated after the job was delivered again: LeaseLost, though it was settled by this very report."""

    def _deliver(self, entry: _Entry, worker_id: str, now: int, expires_us: int) -> Job:
        entry.settled = None
        return super()._deliver(entry, worker_id, now, expires_us)


@breaks("Q8", source="orch")
class RequeueForgetsWhatWasSettled(MemoryQueue):
    """A FAILED report is repeated after an operator's requeue: LeaseLost."""

    def _requeue(self, job_id: str) -> Job:
        entry = self._entries.get(job_id)
        if entry is not None and entry.job.status is JobStatus.FAILED:
            entry.settled = None
        return super()._requeue(job_id)


@breaks("Q8", source="orch")
class TheRepeatedResultWins(MemoryQueue):
    """A repeated SUCCESS replaces the result of the first."""

    def _report(self, report: Report, now: int) -> Job:
        entry = self._entries.get(report.job_id)
        if entry is not None and entry.raw is None and report.lease is not None and report.result is not None:
            if entry.settled == (report.lease.token, report.status) and entry.job.status is report.status:
                entry.job.result = dict(report.result)
        return super()._report(report, now)


@breaks("Q8", "Q4", source="orch")
class AnyStatusCountsAsARepeat(MemoryQueue):
    """SUCCESS was reported; FAILED under the same token is silently taken for a repetition."""

    def _report(self, report: Report, now: int) -> Job:
        entry = self._entries.get(report.job_id)
        if entry is not None and entry.settled is not None and report.lease is not None and entry.raw is None:
            if entry.settled[0] == report.lease.token and entry.job.status is JobStatus.SUCCESS:
                return entry.job.copy()
        return super()._report(report, now)


@breaks("Q8", source="orch")
class ARepeatedGiveBackIsLost(MemoryQueue):
    """A give-back is no settled delivery: repeated, it is LeaseLost."""

    def _end_delivery(self, entry: _Entry, event: Event, now: int, delay_s: float | None = None) -> None:
        if event is Event.GIVE_BACK:
            entry.settled = None
        super()._end_delivery(entry, event, now, delay_s)


@breaks("Q8", "Q7", source="orch")
class ARepeatedCancelCounts(MemoryQueue):
    """cancel of a job that was cancelled counts one failure more."""

    def cancel(self, job_id: str) -> Job:
        entry = self._entries.get(job_id)
        again = entry is not None and entry.job.status is JobStatus.FAILED and entry.raw is None
        job = super().cancel(job_id)
        if again and entry is not None:
            entry.job.failures += 1
            job.failures += 1
        return job


@breaks("Q8", "Q2", source="orch")
class ARepeatedRequeueTakesATicket(MemoryQueue):
    """requeue of a waiting job, repeated, moves it to the end."""

    def _requeue(self, job_id: str) -> Job:
        entry = self._entries.get(job_id)
        if entry is not None and entry.raw is None and entry.job.status is JobStatus.PENDING and entry.due_us is None:
            self._ready -= 1
            self._make_pending(entry, to_us(self._read_clock()), None)
        return super()._requeue(job_id)


@breaks("Q8", source="orch")
class TheFirstBadReportEndsAnExchange(MemoryQueue):
    """exchange stops answering at the first report that is refused."""

    def exchange(
        self, reports: Sequence[Report], n: int, worker_id: str = "", **more: Any
    ) -> tuple[list[Job | OrchError], list[Job]]:
        answers, jobs = super().exchange(reports, n, worker_id, **more)
        for place, answer in enumerate(answers):
            if isinstance(answer, LeaseLost):
                return answers[: place + 1], jobs
        return answers, jobs


@breaks("Q8", "Q5", source="orch")
class ExtendManySkipsTheLost(MemoryQueue):
    """extend_many leaves out the leases that are lost: its answers fit other leases than those that were given."""

    def extend_many(self, leases: Sequence[Lease], lease_s: float | None = None) -> list[Lease | OrchError]:
        return [answer for answer in super().extend_many(leases, lease_s) if isinstance(answer, Lease)]


@breaks("Q8", "Q7", source="celery#3802")
class AReportWhileItWaitsForItsRetryCounts(MemoryQueue):
    """RETRY with a delay is repeated while the job waits: it is counted twice, and waits longer."""

    def _report(self, report: Report, now: int) -> Job:
        entry = self._entries.get(report.job_id)
        if entry is not None and entry.due_us is not None and report.lease is not None and entry.raw is None:
            if entry.settled == (report.lease.token, report.status):
                entry.job.failures += 1
                return entry.job.copy()
        return super()._report(report, now)


BUGS = bugs_of(globals())
