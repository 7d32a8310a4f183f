"""The queue's contract, and the interface that carries it.

`PersistentQueue` is what a backend implements and what everything that runs jobs talks to; nothing here stores
anything. Seven verbs are abstract; the others loop over them or say `NotSupported`, so that a queue of somebody
else's is usable from the first seven on.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any

from orch import checks
from orch.errors import InvalidInput, NotSupported, OrchError
from orch.job import STATES, CursorMove, Job, JobStatus, Lease, Quarantined, QueueStats, Report, WorkerInfo

__all__ = ["Job", "JobStatus", "Lease", "PersistentQueue", "Quarantined", "QueueStats", "Report", "WorkerInfo"]

SWEEP_S = 2.0  # an idle worker's wait ends at least this often, so that expired leases are found (Q5)
RECLAIM_MAX = 100  # expired leases that one dequeue takes back, oldest first
SLICE_MAX = 1_000  # items that a bulk verb or a purge handles in one atomic step (Q8)
LEASE_S = 30.0
MAX_CRASHES = 3


class PersistentQueue(ABC):
    """A queue of jobs that outlives its clients.

    A job becomes ready by taking a **ticket**, an ever-growing number: when it is enqueued; when its delay
    (`not_before`, or the `delay_s` of a RETRY) is over, in the order (due time, enqueue sequence), promoted by
    whatever enqueue, dequeue or report comes next; when an operator requeues it. A delivery that comes back, because
    its lease was lost or its worker gave it back, keeps its ticket.

    A delivery carries a **lease** whose token grows over the whole queue. It stays current, also past `expires_at`,
    until a dequeue reclaims it. Time is the store's clock, or the clock that was handed in.

    Q1 conserve
        At every instant, also after a crash between any two steps of any verb, each accepted job is in exactly one
        of PENDING, RUNNING, SUCCESS, FAILED (or in quarantine, Q13) and can still reach a final state.
    Q2 order
        Among ready jobs the highest priority, then the lowest ticket, is delivered first. `dequeue` returns None
        only if no job is ready.
    Q3 once in
        Enqueuing a known id changes nothing and returns False; the first enqueue returns True.
    Q4 one holder
        At most one current lease per job. A report or extension under any other lease raises `LeaseLost` and
        changes nothing (Q8 names the one exception).
    Q5 recovery
        A job whose holder vanished is deliverable again at most `lease + 2 s` later, whatever the traffic; no
        janitor is needed. A jump of the store's clock moves the bound and never breaks Q4.
    Q6 bounded work
        RETRY with `failures` already at `max_retries` becomes FAILED with the error kept. A lost lease with
        `crashes` already at `max_crashes` becomes FAILED with an error that says so.
    Q7 final is final
        SUCCESS and FAILED change only by `requeue` (FAILED to PENDING) or `purge`.
    Q8 one step, repeatable
        Each verb is one atomic step; `purge` and bulk verbs work in slices of at most 1,000. A report that repeats
        the (token, status) of the job's last settled delivery returns the job as it is now, silently. A lost reply
        of `dequeue` is a lost lease. Every other verb repeated has the effect of once.
    Q9 true counts
        `counts()` is one snapshot of exactly four states and equals the lists. `list_jobs` is newest `enqueued_at`
        first as instants, ties by later first enqueue. Counts cost O(1), lists O(limit), purge O(removed).
    Q10 purge
        `purge(h)` removes exactly the final jobs that finished more than h hours ago.
    Q11 values
        What goes in or comes out is a value: changing it afterwards changes nothing stored.
    Q12 refusal
        Bad input raises `InvalidInput` with the value and changes nothing.
    Q13 containment
        A record that cannot be read is quarantined with its raw bytes, outside `counts()`; every other job goes on.
        Unknown fields survive a round trip in `Job.extra`.
    Q14 durable
        What a returned `enqueue` or report did survives the death of every client; a refused write changes nothing.
    Q15 no silent fall-back
        An unreachable, unknown or unsafe store is an error, never another backend.

    An act without a lease (`update_status(id, status)`, `cancel`) is an operator's: allowed on PENDING and RUNNING,
    ends any lease. The same final status again is silent and the first result stays.

    Not promised: exactly-once execution, fairness beyond priority, order across queues.
    """

    # -- the seven that every queue has ------------------------------------------------------------------------

    @abstractmethod
    def enqueue(self, job: Job) -> bool:
        """Accept a PENDING job: True if its id was new, False (and nothing changed) if it was known (Q3)."""

    @abstractmethod
    def dequeue(self, worker_id: str = "", *, lease_s: float | None = None, wait_s: float = 0.0) -> Job | None:
        """Deliver the best ready job under a new lease, `job.lease` (Q2, Q4); None if no job is ready.

        First takes back up to 100 expired leases, oldest first (Q5), and promotes what is due. `wait_s` waits that
        long for a job; with a handed-in clock it returns at once. `lease_s` None takes the queue's.
        """

    @abstractmethod
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
        """Report SUCCESS, FAILED or RETRY, or give back (PENDING, with its lease); returns the job as it is now.

        Without a lease it is an operator's act. Error and result are overwritten, but RETRY and PENDING keep what is
        not given. `delay_s` goes with RETRY: not before so many seconds from now.
        Raises `LeaseLost` (Q4), `IllegalTransition` (Q7), `JobNotFound`, `InvalidInput`.
        """

    @abstractmethod
    def get_job(self, job_id: str) -> Job | None:
        """The job as it is now, with its current lease while it runs; None if the id is unknown.

        Raises `UnreadableRecord` if its record is in quarantine.
        """

    @abstractmethod
    def list_jobs(self, status: JobStatus | None = None, limit: int = 100) -> list[Job]:
        """The newest `limit` jobs by `enqueued_at`, ties by later first enqueue (Q9)."""

    @abstractmethod
    def count(self, status: JobStatus | None = None) -> int:
        """How many jobs are in this state, or in all four."""

    @abstractmethod
    def purge(self, older_than_hours: float = 24) -> int:
        """Forget the final jobs that finished more than so many hours ago (Q10); returns how many."""

    # -- those with a default ----------------------------------------------------------------------------------

    def enqueue_many(self, jobs: Iterable[Job]) -> int:
        """Enqueue each; returns how many were new. A bad job refuses all, before anything is changed."""
        checked = [checked_new(job) for job in jobs]
        return sum(self.enqueue(job) for job in checked)

    def dequeue_many(
        self, n: int, worker_id: str = "", *, lease_s: float | None = None, wait_s: float = 0.0
    ) -> list[Job]:
        """Deliver up to n jobs, in order; waits for the first only."""
        checks.check_int(n, "n", 0)
        jobs: list[Job] = []
        while len(jobs) < n:
            job = self.dequeue(worker_id, lease_s=lease_s, wait_s=0.0 if jobs else wait_s)
            if job is None:
                break
            jobs.append(job)
        return jobs

    def exchange(
        self,
        reports: Sequence[Report],
        n: int,
        worker_id: str = "",
        *,
        lease_s: float | None = None,
        wait_s: float = 0.0,
    ) -> tuple[list[Job | OrchError], list[Job]]:
        """Report finished jobs and deliver up to n others, in one step where the backend can.

        Answers for each report, in order, the job as it is now or the error that `update_status` would have raised.
        """
        checks.check_int(n, "n", 0)
        results: list[Job | OrchError] = []
        for report in reports:
            try:
                results.append(
                    self.update_status(
                        report.job_id,
                        report.status,
                        report.error,
                        report.result,
                        lease=report.lease,
                        delay_s=report.delay_s,
                    )
                )
            except OrchError as error:
                results.append(error)
        return results, self.dequeue_many(n, worker_id, lease_s=lease_s, wait_s=wait_s)

    def extend_lease(self, lease: Lease, lease_s: float | None = None) -> Lease:
        """Keep a delivery: its lease now ends `lease_s` from now, never earlier than before.

        Raises `LeaseLost` if it is not the job's current lease, `JobNotFound`.
        """
        raise NotSupported(f"{type(self).__name__} has no extend_lease: give dequeue a lease longer than the job")

    def extend_many(self, leases: Sequence[Lease], lease_s: float | None = None) -> list[Lease | OrchError]:
        """Extend each; answers the new lease or the error that `extend_lease` would have raised."""
        answers: list[Lease | OrchError] = []
        for lease in leases:
            try:
                answers.append(self.extend_lease(lease, lease_s))
            except OrchError as error:
                answers.append(error)
        return answers

    def record_progress(self, lease: Lease, task_id: str, output: Any) -> None:
        """Keep the output of a finished task, so that the next attempt need not run it again (D5).

        Fenced like a report. At most 256 KiB of JSON a task and 16 MiB a job.
        """
        raise NotSupported(f"{type(self).__name__} has no record_progress")

    def progress(self, job_id: str) -> dict[str, Any]:
        """What `record_progress` saved: task id to output. Empty for an unknown id."""
        raise NotSupported(f"{type(self).__name__} has no progress")

    def counts(self) -> dict[JobStatus, int]:
        """Jobs per state, exactly the four states; one snapshot on our backends (Q9)."""
        return {status: self.count(status) for status in STATES}

    def stats(self) -> QueueStats:
        """Counts, ready and delayed jobs, the age of the oldest ready one; one snapshot on our backends."""
        raise NotSupported(f"{type(self).__name__} has no stats")

    def requeue(self, job_id: str) -> Job:
        """Give a FAILED job a fresh budget and a new ticket; silent on a PENDING one.

        Raises `IllegalTransition` on RUNNING and SUCCESS, `JobNotFound`.
        """
        raise NotSupported(f"{type(self).__name__} has no requeue")

    def cancel(self, job_id: str) -> Job:
        """Make a PENDING or RUNNING job FAILED with the error "cancelled"; silent on a FAILED one."""
        return self.update_status(job_id, JobStatus.FAILED, error="cancelled")

    def quarantined(self) -> list[Quarantined]:
        """The records that could not be read (Q13), oldest find first."""
        raise NotSupported(f"{type(self).__name__} has no quarantine")

    def workers(self) -> list[WorkerInfo]:
        """The workers that beat within the last ten beats (W8), by id; fed by dequeue, extend and announce."""
        raise NotSupported(f"{type(self).__name__} does not know its workers")

    def announce(self, info: WorkerInfo) -> None:
        """Tell the queue about a worker; `jobs` and `last_beat_at` are the queue's own knowledge. A beat."""

    def schedule_cursor(self, key: str) -> str | None:
        """The last tick that a schedule enqueued, an ISO text; None for a new key (S2)."""
        raise NotSupported(f"{type(self).__name__} keeps no schedule cursors")

    def advance_schedule(self, key: str, expected: str | None, tick: str) -> bool:
        """Move a cursor from `expected` (None: it is new) to `tick`; False if it is not at `expected` (S2)."""
        raise NotSupported(f"{type(self).__name__} keeps no schedule cursors")

    def schedule_cursors(self, keys: Sequence[str]) -> list[str | None]:
        """The cursor of each key, as `schedule_cursor` gives it (S2). Raises `InvalidInput`, `NotSupported`."""
        return [self.schedule_cursor(key) for key in keys]

    def advance_schedules(self, moves: Sequence[CursorMove]) -> list[bool]:
        """Move each cursor in order; answers of each whether it was where the move expected it (S2).

        On our backends in atomic slices of 1,000 (Q8), and one bad move refuses all. Raises `InvalidInput`,
        `NotSupported`.
        """
        return [self.advance_schedule(move.key, move.expected, move.tick) for move in moves]

    def _repr_html_(self) -> str:
        from orch.panel import panel  # only notebooks pay for it

        return panel(self)

    def close(self) -> None:
        """Give back connections and files. Closing twice is silent; stored jobs stay."""


def checked_new(job: Job) -> Job:
    """A job that may be enqueued (Q12), checked again because its fields can be set; raises `InvalidInput`."""
    if not isinstance(job, Job):
        raise InvalidInput(f"enqueue takes a Job, got {checks.shown(job)}")
    job.check()
    if job.status is not JobStatus.PENDING:
        raise InvalidInput(
            f"job {job.id!r} must be pending to be enqueued, got {job.status.value}; requeue revives a failed one"
        )
    if job.started_at is not None or job.finished_at is not None:
        raise InvalidInput(
            f"job {job.id!r} must not have started or finished to be enqueued, got "
            f"started_at={job.started_at!r}, finished_at={job.finished_at!r}"
        )
    return job
