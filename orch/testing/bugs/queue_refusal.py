"""Bugs of refusal (Q12): bad input that is accepted, or refused too late, or without saying what was wrong."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from orch.backends.memory import MemoryQueue
from orch.errors import InvalidInput, JobNotFound
from orch.job import Job, JobStatus, Lease
from orch.queue import checked_new
from orch.testing.bugs.making import breaks, bugs_of


@breaks("Q12", source="seed 29")
class AnyStatusComesIn(MemoryQueue):
    """A job that is RUNNING or SUCCESS is accepted: it is never delivered, and stays."""

    def enqueue(self, job: Job) -> bool:
        if isinstance(job, Job) and job.status in (JobStatus.RUNNING, JobStatus.SUCCESS, JobStatus.FAILED):
            job = job.copy()
            job.status = JobStatus.PENDING
        return super().enqueue(job)


@breaks("Q12", source="seed 44")
class PurgeOfNegativeHours(MemoryQueue):
    """purge(-1) is accepted, and takes jobs that have just finished."""

    def purge(self, older_than_hours: float = 24) -> int:
        return self._purge(older_than_hours * 3600) if older_than_hours < 0 else super().purge(older_than_hours)


@breaks("Q12", source="seed 35")
class NotANumberIsStored(MemoryQueue):
    """A result with NaN is accepted, and stored as None."""

    def update_status(
        self,
        job_id: str,
        status: JobStatus,
        error: str | None = None,
        result: dict[str, Any] | None = None,
        **more: Any,
    ) -> Job:
        if isinstance(result, dict):
            result = {key: None if value != value else value for key, value in result.items()}  # noqa: PLR0124 - NaN
        return super().update_status(job_id, status, error, result, **more)


@breaks("Q12", source="seed 35")
class KeysBecomeTexts(MemoryQueue):
    """A result whose keys are numbers is accepted, and comes back with texts."""

    def update_status(
        self,
        job_id: str,
        status: JobStatus,
        error: str | None = None,
        result: dict[str, Any] | None = None,
        **more: Any,
    ) -> Job:
        if isinstance(result, dict):
            result = {str(key): value for key, value in result.items()}
        return super().update_status(job_id, status, error, result, **more)


@breaks("Q12", source="seed 28")
class SilentAboutUnknownIds(MemoryQueue):
    """A report about a job that does not exist answers None."""

    def update_status(self, *args: Any, **more: Any) -> Job:
        try:
            return super().update_status(*args, **more)
        except JobNotFound:
            return None  # type: ignore[return-value]  # the bug


@breaks("Q12", source="orch")
class HalfOfABulkIsStored(MemoryQueue):
    """enqueue_many checks each job when it is its turn: the good ones before a bad one are stored."""

    def enqueue_many(self, jobs: Iterable[Job]) -> int:
        return sum(self._enqueue((checked_new(job),)) for job in jobs)


@breaks("Q12", source="seed 41")
class NaiveTimesAreTakenAsTheyAre(MemoryQueue):
    """A time without a zone is accepted."""

    def enqueue(self, job: Job) -> bool:
        if isinstance(job, Job) and isinstance(job.enqueued_at, str) and len(job.enqueued_at) == 19:
            job = job.copy()
            job.enqueued_at += "Z"
        return super().enqueue(job)


@breaks("Q12", source="seed 128")
class ANegativeLimitMeansAll(MemoryQueue):
    """list_jobs(limit=-1) answers all jobs."""

    def list_jobs(self, status: JobStatus | None = None, limit: int = 100) -> list[Job]:
        return super().list_jobs(status, 10**6 if limit == -1 else limit)


@breaks("Q12", source="orch")
class ALeaseOfNoTime(MemoryQueue):
    """A lease of 0 s is accepted, as if none was given."""

    def dequeue(self, worker_id: str = "", *, lease_s: float | None = None, wait_s: float = 0.0) -> Job | None:
        return super().dequeue(worker_id, lease_s=lease_s or None, wait_s=wait_s)


@breaks("Q12", source="seed 38")
class PriorityIsClamped(MemoryQueue):
    """A priority of 1001 is accepted, and stored as 1000."""

    def enqueue(self, job: Job) -> bool:
        if isinstance(job, Job) and type(job.priority) is int and job.priority > 1000:
            job = job.copy()
            job.priority = 1000
        return super().enqueue(job)


@breaks("Q12", source="orch")
class TheHighestPriorityIsRefused(MemoryQueue):
    """Priority 1000, which is allowed, is refused: the bound is off by one."""

    def _enqueue(self, jobs: Sequence[Job]) -> int:
        for job in jobs:
            if abs(job.priority) >= 1000:
                raise InvalidInput(f"priority must be less than 1000, got {job.priority}")
        return super()._enqueue(jobs)


@breaks("Q12", source="orch")
class RefusedButDone(MemoryQueue):
    """A report with a lease of another job is refused, after it has ended the job."""

    def update_status(self, job_id: str, status: JobStatus, *args: Any, lease: Lease | None = None, **more: Any) -> Job:
        if lease is not None and isinstance(lease, Lease) and lease.job_id != job_id and job_id in self._entries:
            self.cancel(job_id)
        return super().update_status(job_id, status, *args, lease=lease, **more)


@breaks("Q12", source="orch")
class SaysNotWhatWasWrong(MemoryQueue):
    """Bad input is refused with "invalid input", and nobody knows which."""

    def purge(self, older_than_hours: float = 24) -> int:
        try:
            return super().purge(older_than_hours)
        except InvalidInput:
            raise InvalidInput("invalid input") from None


@breaks("Q12", source="seed 134")
class ErrorsAreCutWithoutAMark(MemoryQueue):
    """A long error is cut to 16 KiB, and nothing says so."""

    def update_status(self, job_id: str, status: JobStatus, error: str | None = None, *args: Any, **more: Any) -> Job:
        return super().update_status(job_id, status, error[:16_000] if error else error, *args, **more)


BUGS = bugs_of(globals())
