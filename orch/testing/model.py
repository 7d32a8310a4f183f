"""The contract said a second time: the plainest list of jobs that keeps it, and invariants that need no model.

The model shares no helper with the backends: it scans its few jobs, sorts them, and decides by `if`, so that a wrong
table or a wrong index of ours is not wrong here too. It is given arguments that are fit to be stored, and answers with
what a right queue would: a value, or the class of the error. Times are whole microseconds of epoch.

`Watch` knows only what came out of the queue. It catches what queue and model might get wrong together.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import Any

from orch.errors import IllegalTransition, JobNotFound, LeaseLost, OrchError, UnreadableRecord
from orch.job import STATES, TRANSITIONS, Event, Job, JobStatus, Lease

PENDING, RUNNING, SUCCESS, FAILED, RETRY = JobStatus
Refusal = type[OrchError]

#: Where a job can be, as the coverage table names it.
PLACES = ("absent", "ready", "delayed", "due", "running", "expired", "success", "failed", "unreadable", "quarantined")
ABSENT, READY, DELAYED, DUE, HELD, EXPIRED, DONE, DEAD, UNREAD, QUARANTINED = range(len(PLACES))

GONE_US = 20_000_000  # a worker that did not beat for longer is gone (W8)
NEVER = 1 << 62
RECLAIM_MAX = 100  # expired leases that one dequeue takes back (Q5)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_texts: dict[int, str] = {}


def text_of(us: int) -> str:
    """The ISO-8601 text of an instant; remembered, because few instants are asked for often."""
    text = _texts.get(us)
    if text is None:
        if len(_texts) > 10_000:
            _texts.clear()
        text = _texts[us] = (_EPOCH + timedelta(microseconds=us)).isoformat()
    return text


class ModelLease:
    """What a lease must be equal to."""

    __slots__ = ("expires_at", "job_id", "token", "worker_id")

    def __init__(self, job_id: str, token: int, worker_id: str, expires_us: int) -> None:
        self.job_id = job_id
        self.token = token
        self.worker_id = worker_id
        self.expires_at = expires_us / 1_000_000

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, _LEASES)
            and other.token == self.token
            and other.job_id == self.job_id
            and other.worker_id == self.worker_id
            and other.expires_at == self.expires_at
        )

    __hash__ = None  # type: ignore[assignment]  # compared only

    def __repr__(self) -> str:
        return (
            f"Lease(job_id={self.job_id!r}, token={self.token}, worker_id={self.worker_id!r}, "
            f"expires_at={self.expires_at})"
        )


_LEASES = (Lease, ModelLease)


class ModelJob:
    """A job as its fields must be seen (`fields`, the attributes of a `Job`), and what only the queue knows of it."""

    __slots__ = (
        "cause",
        "due",
        "expires",
        "fields",
        "finished",
        "progress",
        "raw",
        "ready",
        "seq",
        "settled",
        "stamp",
        "ticket",
        "token",
    )

    def __init__(self, fields: dict[str, Any], stamp: int, seq: int) -> None:
        self.fields = fields
        self.stamp = stamp  # enqueued_at as an instant
        self.seq = seq
        self.ticket = 0
        self.ready = 0  # when it took its ticket
        self.due: int | None = None  # while it is delayed
        self.token = 0  # of its current lease; 0 when nobody holds it
        self.expires = 0
        self.finished = 0
        self.settled: tuple[int, JobStatus] | None = None
        self.raw: bytes | None = None  # its record was replaced by these unreadable bytes
        self.progress: dict[str, Any] = {}
        self.cause = "enqueued"  # what put it where it is, for the blame

    def clone(self) -> ModelJob:
        twin = ModelJob(dict(self.fields), self.stamp, self.seq)
        twin.ticket, twin.ready, twin.due = self.ticket, self.ready, self.due
        twin.token, twin.expires, twin.finished = self.token, self.expires, self.finished
        twin.settled, twin.raw, twin.cause = self.settled, self.raw, self.cause
        twin.progress = dict(self.progress)
        return twin

    def __repr__(self) -> str:
        fields = self.fields
        shown = {k: v for k, v in fields.items() if v not in (None, 0, {}) and k not in ("id", "status", "lease")}
        return f"<{fields['id']} {fields['status'].value} {shown} lease={fields['lease']}>"


_STAMP = attrgetter("stamp")


class Model:
    """What a queue that keeps the contract would hold, and would answer."""

    __slots__ = (
        "cursors",
        "first_due",
        "first_end",
        "jobs",
        "lease_us",
        "leases",
        "max_crashes",
        "now",
        "purged",
        "quarantine",
        "refused",
        "seq",
        "silent",
        "ticket",
        "token",
        "turned_back",
        "workers",
    )

    def __init__(self, now: int, *, lease_us: int, max_crashes: int, leases: bool = True) -> None:
        self.now = now
        self.lease_us = lease_us  # of a delivery for which none is given
        self.max_crashes = max_crashes
        self.leases = leases  # False: deliveries last for ever and carry none
        self.jobs: dict[str, ModelJob] = {}  # in the order of their first enqueue
        self.seq = 0
        self.ticket = 0
        self.token = 0
        self.first_due = self.first_end = NEVER  # not later than the first delayed job and the first end of a lease
        self.quarantine: dict[str, bytes] = {}
        self.workers: dict[str, list[Any]] = {}  # id -> [last beat, announced values or None if not known]
        self.cursors: dict[str, str] = {}
        # for the blame and for what cannot be foretold
        self.purged: set[str] = set()
        self.refused: dict[str, list[dict[str, Any]]] = {}  # what was enqueued under an id that was known
        self.turned_back = False  # the clock was, once
        self.silent = False  # the last report changed nothing

    def clone(self) -> Model:
        """A model of its own, to try a step on."""
        twin = Model(self.now, lease_us=self.lease_us, max_crashes=self.max_crashes, leases=self.leases)
        twin.jobs = {id: job.clone() for id, job in self.jobs.items()}
        twin.seq, twin.ticket, twin.token = self.seq, self.ticket, self.token
        twin.quarantine, twin.cursors = dict(self.quarantine), dict(self.cursors)
        twin.workers = {id: list(row) for id, row in self.workers.items()}
        twin.first_due, twin.first_end = self.first_due, self.first_end
        twin.refused = {id: list(rows) for id, rows in self.refused.items()}
        twin.purged, twin.turned_back, twin.silent = set(self.purged), self.turned_back, self.silent
        return twin

    def place(self, job_id: str) -> int:
        """Where the job is: an index of PLACES."""
        job = self.jobs.get(job_id)
        if job is None:
            return QUARANTINED if job_id in self.quarantine else ABSENT
        if job.raw is not None:
            return UNREAD
        status = job.fields["status"]
        if status is PENDING:
            return READY if job.due is None else DELAYED if job.due > self.now else DUE
        if status is RUNNING:
            return HELD if job.expires > self.now else EXPIRED
        return DONE if status is SUCCESS else DEAD

    # -- time --------------------------------------------------------------------------------------------------------

    def advance(self, us: int) -> None:
        self.now += us
        if us < 0:
            self.turned_back = True

    # -- getting in and out ------------------------------------------------------------------------------------------

    def enqueue(self, jobs: Sequence[tuple[dict[str, Any], int, int | None]]) -> int:
        """Each job as its fields, its stamp and its `not_before`, both as instants; how many were new."""
        new = 0
        for fields, stamp, due in jobs:
            job_id = fields["id"]
            if job_id in self.jobs or job_id in self.quarantine:
                self.refused.setdefault(job_id, []).append(fields)
                continue
            if new == 0 and self.now >= self.first_due:
                self.promote()
            new += 1
            self.seq += 1
            job = self.jobs[job_id] = ModelJob(fields.copy(), stamp, self.seq)
            job.fields["lease"] = None
            if due is not None and due > self.now:
                self._delay(job, due)
            else:
                self._make_ready(job)
        return new

    def _make_ready(self, job: ModelJob) -> None:
        self.ticket += 1
        job.ticket = self.ticket
        job.ready = self.now
        job.due = None

    def _delay(self, job: ModelJob, due: int) -> None:
        job.due = due
        self.first_due = min(self.first_due, due)

    def promote(self) -> None:
        """Everything that is due becomes ready; nothing is before `first_due`."""
        now = self.now
        due = [job for job in self.jobs.values() if job.due is not None and job.due <= now]
        if len(due) > 1:
            due.sort(key=lambda job: (job.due, job.seq))
        for job in due:
            self._make_ready(job)
            job.cause = "promoted"
        self.first_due = min([job.due for job in self.jobs.values() if job.due is not None], default=NEVER)

    def reclaim(self) -> None:
        """What is held under a lease that has expired comes back; none has before `first_end`."""
        now = self.now
        lost = [job for job in self.jobs.values() if job.token and job.expires <= now]
        if len(lost) > 1:
            lost.sort(key=lambda job: (job.expires, job.token))
        readable = [job for job in lost if job.raw is None or self._read(job)]
        for job in readable[:RECLAIM_MAX]:
            fields = job.fields
            crashes = fields["crashes"] = fields["crashes"] + 1
            job.token = 0
            fields["lease"] = None
            if crashes > self.max_crashes:
                fields["error"] = f"lease lost {crashes} times: the worker died or stopped extending; see max_crashes"
                fields["status"] = FAILED
                self._finish(job)
                job.cause = "crash limit"
            else:
                fields["status"] = PENDING
                fields["started_at"] = None
                job.cause = "lost lease"
        self.first_end = min([job.expires for job in self.jobs.values() if job.token], default=NEVER)

    def _finish(self, job: ModelJob) -> None:
        job.finished = self.now
        job.due = None
        job.fields["finished_at"] = text_of(self.now)

    def dequeue(self, n: int, worker_id: str, lease_us: int | None) -> list[ModelJob]:
        """The jobs that are delivered, in order, under new leases; a lease time of None is the queue's own."""
        if n == 0:
            return []
        now = self.now
        if worker_id:
            self._beat(worker_id)
        if now >= self.first_end and self.leases:
            self.reclaim()
        if now >= self.first_due:
            self.promote()
        ready = [job for job in self.jobs.values() if job.due is None and job.fields["status"] is PENDING]
        if not ready:
            return ready
        if len(ready) > 1:
            ready.sort(key=lambda job: (-job.fields["priority"], job.ticket))
        delivered: list[ModelJob] = []
        for best in ready:
            if len(delivered) == n:
                break
            if best.raw is not None and not self._read(best):
                continue
            fields = best.fields
            fields["status"] = RUNNING
            fields["attempts"] += 1
            fields["started_at"] = text_of(now)
            fields["not_before"] = None
            if self.leases:
                token = self.token = self.token + 1 if self.token >= now else now
                expires = now + (self.lease_us if lease_us is None else lease_us)
                if expires < self.first_end:  # noqa: PLR1730 - min() takes three times as long, at each delivery
                    self.first_end = expires
                best.token, best.expires = token, expires
                fields["lease"] = ModelLease(fields["id"], token, worker_id, expires)
            else:
                best.expires = NEVER
            delivered.append(best)
        return delivered

    # -- reports -----------------------------------------------------------------------------------------------------

    def report(
        self,
        job_id: str,
        status: JobStatus,
        error: str | None,
        result: dict[str, Any] | None,
        token: int | None,
        delay_us: int | None,
    ) -> ModelJob | Refusal:
        """The job as it is afterwards, or the error. `token` None is an operator's act."""
        self.silent = True
        job = self.known(job_id)
        if not isinstance(job, ModelJob):
            return job
        fields = job.fields
        now_is = fields["status"]
        if token is not None:
            if job.settled == (token, status):
                return job
            if job.token != token:
                return LeaseLost
        elif status is now_is and (status is SUCCESS or status is FAILED):
            return job
        if now_is is not RUNNING and (now_is is not PENDING or status is RETRY or status is PENDING):
            return IllegalTransition
        if status is PENDING and token is None:
            return IllegalTransition
        self.silent = False
        if self.now >= self.first_due:
            self.promote()
        if token is not None:
            job.settled = (token, status)
        job.token = 0
        fields["lease"] = None
        if status is SUCCESS or status is FAILED:
            fields["error"], fields["result"] = error, result
            fields["status"] = status
            if status is FAILED:
                fields["failures"] += 1
            job.cause = "finished"
            self._finish(job)
            return job
        if error is not None:
            fields["error"] = error
        if result is not None:
            fields["result"] = result
        if status is PENDING:
            fields["status"] = PENDING
            fields["started_at"] = None
            job.cause = "given back"
            return job
        fields["failures"] += 1
        if fields["failures"] > fields["max_retries"]:
            fields["status"] = FAILED
            job.cause = "exhausted"
            self._finish(job)
            return job
        fields["status"] = PENDING
        fields["started_at"] = None
        job.cause = "retried"
        if delay_us:
            due = self.now + delay_us
            self._delay(job, due)
            fields["not_before"] = text_of(due)
        else:
            fields["not_before"] = None
            self._make_ready(job)
        return job

    def extend(self, job_id: str, token: int, lease_us: int | None) -> ModelLease | Refusal:
        job = self.held(job_id, token)
        if not isinstance(job, ModelJob):
            return job
        lease = job.fields["lease"]
        job.expires = max(job.expires, self.now + (self.lease_us if lease_us is None else lease_us))
        job.fields["lease"] = longer = ModelLease(job_id, token, lease.worker_id, job.expires)
        if lease.worker_id:
            self._beat(lease.worker_id)
        return longer

    def record_progress(self, job_id: str, token: int, task_id: str, output: Any) -> Refusal | None:
        job = self.held(job_id, token)
        if not isinstance(job, ModelJob):
            return job
        job.progress[task_id] = output
        return None

    def requeue(self, job_id: str) -> ModelJob | Refusal:
        job = self.known(job_id)
        if not isinstance(job, ModelJob) or job.fields["status"] is PENDING:
            return job
        fields = job.fields
        if fields["status"] is not FAILED:
            return IllegalTransition
        fields["status"] = PENDING
        fields["failures"] = fields["crashes"] = 0
        fields["started_at"] = fields["finished_at"] = fields["result"] = fields["not_before"] = None
        job.progress = {}
        job.finished = 0
        job.cause = "requeued"
        self._make_ready(job)
        return job

    def purge(self, older_than_us: int) -> int:
        cutoff = self.now - older_than_us
        gone = [
            job_id
            for job_id, job in self.jobs.items()
            if job.finished < cutoff and (job.fields["status"] is SUCCESS or job.fields["status"] is FAILED)
        ]
        for job_id in gone:
            del self.jobs[job_id]
            self.refused.pop(job_id, None)
        self.purged.update(gone)
        return len(gone)

    # -- looking -----------------------------------------------------------------------------------------------------

    def known(self, job_id: str) -> ModelJob | Refusal:
        """The job, if its record can be read."""
        job = self.jobs.get(job_id)
        if job is not None and (job.raw is None or self._read(job)):
            return job
        return UnreadableRecord if job_id in self.quarantine else JobNotFound

    def held(self, job_id: str, token: int) -> ModelJob | Refusal:
        """The job, if this is its current lease; its record is not read."""
        job = self.jobs.get(job_id)
        if job is None:
            return UnreadableRecord if job_id in self.quarantine else JobNotFound
        return job if job.token == token else LeaseLost

    def get(self, job_id: str) -> ModelJob | Refusal | None:
        job = self.known(job_id)
        return None if job is JobNotFound else job

    def list_jobs(self, status: JobStatus | None, limit: int) -> list[ModelJob]:
        found: list[ModelJob] = []
        jobs = list(reversed(self.jobs.values()))  # later enqueue first: what sort keeps among equal stamps
        if len(jobs) > 1:
            jobs.sort(key=_STAMP, reverse=True)
        for job in jobs:
            if len(found) == limit:
                break
            if (status is None or job.fields["status"] is status) and (job.raw is None or self._read(job)):
                found.append(job)
        return found

    def counts(self) -> dict[JobStatus, int]:
        counts = {PENDING: 0, RUNNING: 0, SUCCESS: 0, FAILED: 0}
        for job in self.jobs.values():
            counts[job.fields["status"]] += 1
        return counts

    def stats(self) -> tuple[dict[JobStatus, int], int, int, int, float | None]:
        """Counts, ready, delayed, quarantined, age of the oldest ready job in seconds."""
        counts = self.counts()
        ready = 0
        oldest = None  # of those that are ready, the one with the lowest ticket
        for job in self.jobs.values():
            if job.due is None and job.fields["status"] is PENDING:
                ready += 1
                if oldest is None or job.ticket < oldest.ticket:
                    oldest = job
        age = None if oldest is None else max(0, self.now - oldest.ready) / 1_000_000
        return counts, ready, counts[PENDING] - ready, len(self.quarantine), age

    def rows(self) -> list[tuple[str, str, tuple[str, ...], Any]]:
        """The workers: id, last beat, jobs, what was announced (None if that cannot be foretold)."""
        rows = []
        for worker_id in sorted(self.workers):
            beat, info = self.workers[worker_id]
            if self.now - beat > GONE_US:
                continue
            held = [id for id, job in self.jobs.items() if job.token and job.fields["lease"].worker_id == worker_id]
            rows.append((worker_id, text_of(beat), tuple(sorted(held)), info))
        return rows

    def announce(self, worker_id: str, info: Any) -> None:
        self.workers[worker_id] = [self.now, info]

    def _beat(self, worker_id: str) -> None:
        row = self.workers.get(worker_id)
        if row is None:
            self.workers[worker_id] = [self.now, ()]
        elif self.now - row[0] > GONE_US:  # whether a queue still knew what it had announced is left open
            self.workers[worker_id] = [self.now, None]
        else:
            row[0] = self.now

    # -- records that cannot be read ---------------------------------------------------------------------------------

    def plant(self, job_id: str, raw: bytes) -> None:
        """The stored record is now these bytes, which are no record."""
        self.jobs[job_id].raw = raw

    def _read(self, job: ModelJob) -> bool:
        if job.raw is None:
            return True
        job_id = job.fields["id"]
        del self.jobs[job_id]
        self.quarantine[job_id] = job.raw
        return False


class Broken(Exception):
    """What `Watch` saw: the promise, and a sentence about it."""

    def __init__(self, promise: str, sentence: str) -> None:
        super().__init__(promise, sentence)
        self.promise = promise
        self.sentence = sentence


def _reachable() -> dict[JobStatus, frozenset[JobStatus]]:
    """What a job can have become since it was seen in a state, if nobody requeued it."""
    after = {
        status: {new for event, new in events.items() if event is not Event.REQUEUE}
        for status, events in TRANSITIONS.items()
    }
    for _ in STATES:
        for status in STATES:
            after[status] |= {further for new in after[status] for further in after[new]}
    return {status: frozenset(new | {status}) for status, new in after.items()}


_REACHABLE = _reachable()
_STATES = frozenset(STATES)


class Watch:
    """Invariants over what comes out of a queue, without a model of it. Raises `Broken`."""

    __slots__ = ("_held", "_next_end", "_requeued", "_seen", "_token")

    def __init__(self) -> None:
        self._seen: dict[str, tuple[JobStatus, int]] = {}  # id -> status and attempts when it was last seen
        self._requeued: set[str] = set()  # since they were last seen
        self._held: dict[str, float] = {}  # id -> when the lease that was last given ends
        self._next_end = float("inf")  # not later than the first of these
        self._token = -1

    def requeued(self, job_id: str) -> None:
        self._requeued.add(job_id)

    def settled(self, job_id: str) -> None:
        """A report or an operator's act on this job was accepted: nobody holds it."""
        self._held.pop(job_id, None)

    def extended(self, lease: Lease) -> None:
        if lease.job_id in self._held:
            self._held[lease.job_id] = lease.expires_at

    def dequeued(self, now: float) -> None:
        """A dequeue at this time may have taken back what had expired."""
        if now >= self._next_end:
            self._held = {job_id: end for job_id, end in self._held.items() if end > now}
            self._next_end = min(self._held.values(), default=float("inf"))

    def purged(self) -> None:
        """Final jobs are gone, and their ids new."""
        self._seen.clear()

    def saw(self, job: Job) -> None:
        """Each change is a path in TRANSITIONS, final stays final, attempts never go down."""
        job_id, status, attempts, lease = job.id, job.status, job.attempts, job.lease
        before = self._seen.get(job_id)
        if before is None:
            self._seen[job_id] = (status, attempts)
        elif status is not before[0] or attempts != before[1]:
            if status is not before[0] and status not in _REACHABLE[before[0]] and job_id not in self._requeued:
                raise Broken("Q7", f"job {job_id!r} was {before[0].value} and is {status.value}")
            if attempts < before[1]:
                raise Broken("Q6", f"job {job_id!r} had {before[1]} attempts and has {attempts}")
            self._seen[job_id] = (status, attempts)
        if self._requeued:
            self._requeued.discard(job_id)
        if lease is not None and (status is not RUNNING or lease.job_id != job_id):
            raise Broken("Q4", f"job {job_id!r} is {status.value} and carries {lease}")

    def delivered(self, job: Job, now: float) -> None:
        """A delivery is RUNNING, its token is a new highest one, and nobody else holds the job."""
        job_id, lease = job.id, job.lease
        if job.status is not RUNNING:
            raise Broken("Q4", f"job {job_id!r} was delivered and is {job.status.value}")
        until = self._held.get(job_id)
        if until is not None and now < until:
            raise Broken("Q4", f"job {job_id!r} was delivered while its last lease runs until {until}, at {now}")
        if lease is not None:
            token, end = lease.token, lease.expires_at
            if token <= self._token:
                raise Broken("Q4", f"token {token} came after token {self._token}")
            self._token = token
            self._held[job_id] = end
            if end < self._next_end:  # noqa: PLR1730 - min() takes three times as long, at each delivery
                self._next_end = end

    @staticmethod
    def agree(counts: dict[JobStatus, int], listed: Iterable[Job]) -> None:
        """Counts are of exactly the four states, and equal what a whole list holds."""
        if counts.keys() != _STATES:
            raise Broken("Q9", f"counts() has {sorted(counts)}")
        tally = {PENDING: 0, RUNNING: 0, SUCCESS: 0, FAILED: 0}
        ids = set()
        for job in listed:
            job_id, status = job.id, job.status
            if status not in tally:
                raise Broken("Q9", f"job {job_id!r} is listed as {status.value}")
            if job_id in ids:
                raise Broken("Q9", f"job {job_id!r} is listed twice")
            ids.add(job_id)
            tally[status] += 1
        if tally != counts:
            said = {status.value: n for status, n in counts.items()}
            raise Broken("Q9", f"counts() says {said}, the list has { {s.value: n for s, n in tally.items()} }")
