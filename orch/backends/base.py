"""What our three backends share: arguments are checked once, and single verbs go through the bulk ones.

No state and no rule of the contract lives here. A backend implements the underscored methods; their arguments are
already checked and sliced, and each is one atomic step in its store.
"""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any

from orch import checks
from orch.clock import Clock
from orch.errors import InvalidInput, OrchError
from orch.job import STATES, CursorMove, Job, JobStatus, Lease, Report, WorkerInfo, checked_report
from orch.queue import LEASE_S, MAX_CRASHES, SLICE_MAX, SWEEP_S, PersistentQueue, checked_new

BEAT_S = SWEEP_S  # how often a worker is seen while it lives
BEATS_MISSED_MAX = 10  # a worker that missed so many is gone (W8)


class BulkQueue(PersistentQueue):
    """A queue whose bulk verbs are the real ones."""

    lease_s: float
    max_crashes: int
    _clock: Clock | None

    def __init__(self, *, lease_s: float = LEASE_S, max_crashes: int = MAX_CRASHES, clock: Clock | None = None) -> None:
        super().__init__()
        self.lease_s = checks.check_seconds(lease_s, "lease_s", positive=True)
        self.max_crashes = checks.check_int(max_crashes, "max_crashes", 0)
        self._clock = clock

    # -- what a backend implements -----------------------------------------------------------------------------

    @abstractmethod
    def _enqueue(self, jobs: Sequence[Job]) -> int:
        """Accept up to 1,000 checked jobs in one step; returns how many were new."""

    @abstractmethod
    def _exchange(
        self, reports: Sequence[Report], n: int, worker_id: str, lease_s: float
    ) -> tuple[list[Job | OrchError], list[Job]]:
        """Report, then deliver up to n, in one step and without waiting.

        With n = 0 nothing is reclaimed; due jobs are promoted only if a report has an effect.
        """

    @abstractmethod
    def _wait(self, timeout_s: float) -> None:
        """Return when a job may be ready (a new one, a due one, an expired lease), or after `timeout_s`."""

    @abstractmethod
    def _extend(self, leases: Sequence[Lease], lease_s: float) -> list[Lease | OrchError]:
        """Extend up to 1,000 leases in one step."""

    @abstractmethod
    def _record_progress(self, lease: Lease, task_id: str, output: str) -> None:
        """Keep a task's output, given as checked JSON text."""

    @abstractmethod
    def _requeue(self, job_id: str) -> Job: ...

    @abstractmethod
    def _get(self, job_id: str) -> Job | None: ...

    @abstractmethod
    def _list(self, status: JobStatus | None, limit: int) -> list[Job]: ...

    @abstractmethod
    def _purge(self, older_than_s: float) -> int: ...

    @abstractmethod
    def _cursors(self, keys: Sequence[str]) -> list[str | None]:
        """Up to 1,000 cursors of schedules."""

    @abstractmethod
    def _advance(self, moves: Sequence[CursorMove]) -> list[bool]:
        """Move up to 1,000 cursors in one step, each if it is where it is expected."""

    # -- the verbs ---------------------------------------------------------------------------------------------

    def enqueue(self, job: Job) -> bool:
        return self._enqueue((checked_new(job),)) == 1

    def enqueue_many(self, jobs: Iterable[Job]) -> int:
        checked = [checked_new(job) for job in jobs]
        return sum(self._enqueue(checked[i : i + SLICE_MAX]) for i in range(0, len(checked), SLICE_MAX))

    def dequeue(self, worker_id: str = "", *, lease_s: float | None = None, wait_s: float = 0.0) -> Job | None:
        if wait_s:
            jobs = self.exchange((), 1, worker_id, lease_s=lease_s, wait_s=wait_s)[1]
        else:
            checks.check_worker_id(worker_id)
            jobs = self._exchange((), 1, worker_id, self._lease_s(lease_s))[1]
        return jobs[0] if jobs else None

    def dequeue_many(
        self, n: int, worker_id: str = "", *, lease_s: float | None = None, wait_s: float = 0.0
    ) -> list[Job]:
        return self.exchange((), n, worker_id, lease_s=lease_s, wait_s=wait_s)[1]

    def update_status(
        self,
        job_id: str,
        status: JobStatus,
        error: str | None = None,
        result: dict[str, Any] | None = None,
        *,
        lease: Lease | None = None,
        delay_s: float | None = None,
    ) -> Job:
        report = checked_report(job_id, status, error, result, lease, delay_s)
        answer = self._exchange((report,), 0, "", self.lease_s)[0][0]
        if isinstance(answer, OrchError):
            raise answer
        return answer

    def exchange(
        self,
        reports: Sequence[Report],
        n: int,
        worker_id: str = "",
        *,
        lease_s: float | None = None,
        wait_s: float = 0.0,
    ) -> tuple[list[Job | OrchError], list[Job]]:
        for report in reports:
            if type(report) is not Report:
                raise InvalidInput(f"exchange takes Report values, got {checks.shown(report)}")
        checks.check_int(n, "n", 0)
        checks.check_worker_id(worker_id)
        lease_s = self._lease_s(lease_s)
        if wait_s:
            checks.check_seconds(wait_s, "wait_s")
        if n <= SLICE_MAX >= len(reports) and not wait_s:  # one step is all it takes
            return self._exchange(reports, n, worker_id, lease_s)
        results: list[Job | OrchError] = []
        while len(reports) > SLICE_MAX:
            results += self._exchange(reports[:SLICE_MAX], 0, worker_id, lease_s)[0]
            reports = reports[SLICE_MAX:]
        answers, jobs = self._exchange(reports, min(n, SLICE_MAX), worker_id, lease_s)
        results += answers
        if wait_s and n and not jobs and self._clock is None:
            deadline = time.monotonic() + wait_s
            while not jobs and (left := deadline - time.monotonic()) > 0:
                self._wait(min(left, SWEEP_S))
                jobs = self._exchange((), min(n, SLICE_MAX), worker_id, lease_s)[1]
        while len(jobs) < n and len(jobs) % SLICE_MAX == 0 and jobs:
            more = self._exchange((), min(n - len(jobs), SLICE_MAX), worker_id, lease_s)[1]
            if not more:
                break
            jobs += more
        return results, jobs

    def extend_lease(self, lease: Lease, lease_s: float | None = None) -> Lease:
        answer = self._extend(_checked_leases((lease,)), self._lease_s(lease_s))[0]
        if isinstance(answer, OrchError):
            raise answer
        return answer

    def extend_many(self, leases: Sequence[Lease], lease_s: float | None = None) -> list[Lease | OrchError]:
        checked = _checked_leases(leases)
        seconds = self._lease_s(lease_s)
        answers: list[Lease | OrchError] = []
        for i in range(0, len(checked), SLICE_MAX):
            answers += self._extend(checked[i : i + SLICE_MAX], seconds)
        return answers

    def record_progress(self, lease: Lease, task_id: str, output: Any) -> None:
        _checked_leases((lease,))
        checks.check_id(task_id, "task_id")
        what = f"output of task {task_id!r}"
        text = checks.dump_json(checks.check_json(output, what))
        self._record_progress(lease, task_id, checks.check_size(text, what, checks.PROGRESS_MAX))

    def requeue(self, job_id: str) -> Job:
        return self._requeue(checks.check_id(job_id))

    def get_job(self, job_id: str) -> Job | None:
        return self._get(checks.check_id(job_id))

    def list_jobs(self, status: JobStatus | None = None, limit: int = 100) -> list[Job]:
        checks.check_int(limit, "limit", 0)
        checked_status(status)
        if limit == 0 or status is JobStatus.RETRY:
            return []
        return self._list(status, limit)

    def count(self, status: JobStatus | None = None) -> int:
        checked_status(status)
        counts = self.counts()
        return sum(counts.values()) if status is None else counts.get(status, 0)

    def purge(self, older_than_hours: float = 24) -> int:
        return self._purge(checks.check_seconds(older_than_hours, "older_than_hours") * 3600)

    def schedule_cursor(self, key: str) -> str | None:
        return self.schedule_cursors((key,))[0]

    def advance_schedule(self, key: str, expected: str | None, tick: str) -> bool:
        return self.advance_schedules((CursorMove(key, expected, tick),))[0]

    def schedule_cursors(self, keys: Sequence[str]) -> list[str | None]:
        for key in keys:
            checks.check_text(key, "schedule key", 1024)
        cursors: list[str | None] = []
        for i in range(0, len(keys), SLICE_MAX):
            cursors += self._cursors(keys[i : i + SLICE_MAX])
        return cursors

    def advance_schedules(self, moves: Sequence[CursorMove]) -> list[bool]:
        for move in moves:
            checked_cursor(move)
        moved: list[bool] = []
        for i in range(0, len(moves), SLICE_MAX):
            moved += self._advance(moves[i : i + SLICE_MAX])
        return moved

    def _lease_s(self, lease_s: float | None) -> float:
        return self.lease_s if lease_s is None else checks.check_seconds(lease_s, "lease_s", positive=True)


def checked_status(status: object) -> None:
    """A status to filter by, or None. Raises `InvalidInput`."""
    if status is not None and type(status) is not JobStatus:
        names = ", ".join(state.name for state in STATES)
        raise InvalidInput(f"status must be a JobStatus ({names}) or None, got {checks.shown(status)}")


def checked_cursor(move: object) -> None:
    """A cursor's key and an instant to move it to. Raises `InvalidInput`."""
    if type(move) is not CursorMove:
        raise InvalidInput(f"advance_schedules takes CursorMove values, got {checks.shown(move)}")
    checks.check_text(move.key, "schedule key", 1024)
    checks.check_instant(move.tick, "tick")


def checked_worker(info: object) -> WorkerInfo:
    """What a worker announces. Raises `InvalidInput`."""
    if type(info) is not WorkerInfo:
        raise InvalidInput(f"announce takes a WorkerInfo, got {checks.shown(info)}")
    checks.check_id(info.id, "worker id")
    return info


def _checked_leases(leases: Sequence[Lease]) -> Sequence[Lease]:
    for lease in leases:
        if type(lease) is not Lease:
            raise InvalidInput(f"a lease is needed, as in job.lease, got {checks.shown(lease)}")
    return leases
