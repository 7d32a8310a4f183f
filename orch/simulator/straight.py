"""Whether a queue answered everything exactly as the contract has it, told in one pass while it happens.

Where every effect has its own instant and every answer is known, the contract leaves a queue no choice (Q1 to Q8). So a
world whose answers were all the expected ones needs no judging; any other is judged by `orch.checker`, which knows what
was broken. This model is stricter than that checker, never laxer, and shares no code with a queue or with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heappop, heappush
from typing import Any

from orch.errors import LeaseLost
from orch.job import Job, JobStatus, Lease, Report

PENDING, RUNNING, SUCCESS, FAILED = JobStatus.PENDING, JobStatus.RUNNING, JobStatus.SUCCESS, JobStatus.FAILED
RETRY = JobStatus.RETRY
RECLAIMED_MAX = 100  # leases that one dequeue takes back


class _Known:
    """A job as it must be now. Instants in microseconds."""

    __slots__ = (
        "attempts",
        "crashes",
        "expires",
        "failures",
        "id",
        "max_retries",
        "number",
        "priority",
        "settled",
        "status",
        "ticket",
        "token",
    )

    def __init__(self, job: Job, number: int) -> None:
        self.id = job.id
        self.priority = -job.priority
        self.max_retries = job.max_retries
        self.number = number
        self.status = PENDING
        self.ticket = 0
        self.attempts = self.failures = self.crashes = 0
        self.token = 0  # of its current lease; 0 is none
        self.expires = 0
        self.settled: tuple[int, JobStatus] | None = None


class Straight:
    """The one course that answers may take. `ok` turns False, for good, at the first that is another."""

    def __init__(self, max_crashes: int) -> None:
        self.ok = True
        self.max_crashes = max_crashes
        self.jobs: dict[str, _Known] = {}
        self.ready: list[tuple[int, int, _Known]] = []  # heap of (-priority, ticket, job)
        self.delayed: list[tuple[int, int, _Known]] = []  # heap of (due, number, job)
        self.leases: list[tuple[int, int, _Known]] = []  # heap of (expiry, token, job), also of leases that ended
        self.tickets = 0
        self.token = 0

    def enqueued(self, job: Job, due: int | None, answer: Any, now: int) -> None:
        """An enqueue was answered."""
        if (answer is True) is (job.id in self.jobs):
            self.ok = False
        if answer is True:
            self._promote(now)
            known = self.jobs[job.id] = _Known(job, len(self.jobs))
            self._wait(known, due, now)

    def dequeued(self, n: int, worker_id: str, jobs: Sequence[Job], lease_us: int, now: int) -> None:
        """A dequeue of up to n was answered; n is at most 1,000."""
        self._reclaim(now)
        self._promote(now)
        ready = self.ready
        if len(jobs) != min(n, len(ready)):
            self.ok = False
            return
        for job in jobs:
            known: _Known = heappop(ready)[2]
            lease = job.lease
            known.attempts += 1
            if (
                lease is None
                or job.id != known.id
                or job.status is not RUNNING
                or job.attempts != known.attempts
                or job.failures != known.failures
                or job.crashes != known.crashes
                or lease.token <= self.token
                or lease.worker_id != worker_id
                or lease.expires_at != (now + lease_us) / 1_000_000
            ):
                self.ok = False
                return
            self.token = known.token = lease.token
            known.status = RUNNING
            known.expires = now + lease_us
            heappush(self.leases, (known.expires, known.token, known))

    def reported(self, report: Report, answer: Any, now: int) -> None:
        """A report was answered."""
        known, lease = self.jobs.get(report.job_id), report.lease
        if known is None or lease is None:
            self.ok = False
            return
        token, said = lease.token, report.status
        if known.settled == (token, said):  # it came again
            self.ok &= self._is(answer, known)
            return
        if known.token != token:
            self.ok &= answer.__class__ is LeaseLost
            return
        self._promote(now)
        known.settled = (token, said)
        known.token = 0
        due = None
        if said is SUCCESS:
            known.status = SUCCESS
        else:
            if said is not PENDING:
                known.failures += 1
            if said is FAILED or (said is RETRY and known.failures > known.max_retries):
                known.status = FAILED
            elif said is PENDING:
                known.status = PENDING
                heappush(self.ready, (known.priority, known.ticket, known))
            else:
                if report.delay_s:
                    due = now + round(report.delay_s * 1_000_000)
                known.status = PENDING
                self._wait(known, due, now)
        self.ok &= self._is(answer, known)

    def extended(self, leases: Sequence[Lease], answers: Any, lease_us: int, now: int) -> None:
        """Extensions were answered."""
        if answers.__class__ is not list or len(answers) != len(leases):
            self.ok = False
            return
        for lease, answer in zip(leases, answers, strict=True):
            known = self.jobs.get(lease.job_id)
            if known is None or known.token != lease.token:
                self.ok &= known is not None and answer.__class__ is LeaseLost
                continue
            if now + lease_us > known.expires:
                known.expires = now + lease_us
                heappush(self.leases, (known.expires, known.token, known))
            self.ok &= answer.__class__ is Lease and answer.expires_at == known.expires / 1_000_000

    def is_left(self, jobs: dict[str, Job | None]) -> bool:
        """Is this what must be there in the end? Everything final, and nothing else."""
        if not self.ok or jobs.keys() != self.jobs.keys():
            return False
        return all(known.status in (SUCCESS, FAILED) and self._is(jobs[id], known) for id, known in self.jobs.items())

    # -- its own steps ---------------------------------------------------------------------------------------------

    def _is(self, job: Any, known: _Known) -> bool:
        return (
            job.__class__ is Job
            and job.id == known.id
            and job.status is known.status
            and job.attempts == known.attempts
            and job.failures == known.failures
            and job.crashes == known.crashes
        )

    def _wait(self, known: _Known, due: int | None, now: int) -> None:
        """It is pending, under a new ticket: now, or once it is due."""
        if due is not None and due > now:
            heappush(self.delayed, (due, known.number, known))
        else:
            self.tickets += 1
            known.ticket = self.tickets
            heappush(self.ready, (known.priority, known.ticket, known))

    def _promote(self, now: int) -> None:
        while self.delayed and self.delayed[0][0] <= now:
            self._wait(heappop(self.delayed)[2], None, now)

    def _reclaim(self, now: int) -> None:
        leases, taken = self.leases, 0
        while leases and leases[0][0] <= now and taken < RECLAIMED_MAX:
            expires, token, known = heappop(leases)
            if known.token != token or known.expires != expires:
                continue
            taken += 1
            known.token = 0
            known.crashes += 1
            if known.crashes > self.max_crashes:
                known.status = FAILED
            else:
                known.status = PENDING
                heappush(self.ready, (known.priority, known.ticket, known))
