"""The queue in one process's memory: one lock, dicts and heaps; fast, and the reference for the other two.

Heaps and listing indexes are lazy: an entry that no longer describes its job is dropped when it surfaces, and
rebuilt away when stale entries outnumber live ones, so every verb keeps its cost (Q9).
"""

from __future__ import annotations

import json
import threading
from bisect import insort
from collections.abc import Callable, Sequence
from heapq import heapify, heappop, heappush
from typing import Any

from orch import checks
from orch.backends.base import BEAT_S, BEATS_MISSED_MAX, BulkQueue, checked_worker
from orch.clock import Clock, iso, iso_to_us, process_clock, to_us
from orch.errors import IllegalTransition, InvalidInput, JobNotFound, LeaseLost, OrchError, UnreadableRecord
from orch.job import (
    STATES,
    TRANSITIONS,
    CursorMove,
    Event,
    Job,
    JobStatus,
    Lease,
    Quarantined,
    QueueStats,
    Report,
    WorkerInfo,
    crash_limit_error,
    decode_record,
    event_of_lost_lease,
    event_of_report,
    issued_lease,
)
from orch.queue import LEASE_S, MAX_CRASHES, RECLAIM_MAX, SLICE_MAX, SWEEP_S

_SLACK = 64  # stale entries that are not worth a rebuild
_GONE_US = to_us(BEATS_MISSED_MAX * BEAT_S)

# A name of this module is read in a third of the time that a member takes to be looked up in its enumeration.
PENDING, RUNNING, SUCCESS, FAILED = STATES

_KEEPS = frozenset({Event.RETRY, Event.EXHAUST, Event.GIVE_BACK})  # events that leave what a report does not give
_COUNTS_AS_FAILURE = frozenset({Event.FAIL, Event.RETRY, Event.EXHAUST})


class _Entry:
    """One stored job and what only the queue knows of it."""

    __slots__ = (
        "due_us",
        "expires_us",
        "finished_us",
        "job",
        "key",
        "progress",
        "progress_size",
        "raw",
        "ready_us",
        "seq",
        "settled",
        "ticket",
    )

    def __init__(self, job: Job, seq: int) -> None:
        self.job = job
        self.seq = seq
        self.key = (iso_to_us(job.enqueued_at), seq, job.id)  # its place in the lists
        self.ticket = 0  # 0: not ready, or delayed, or delivered for the last time
        self.ready_us = 0  # when it took its ticket
        self.due_us: int | None = None  # set while it is delayed
        self.expires_us = 0
        self.finished_us = 0
        self.settled: tuple[int, JobStatus] | None = None
        self.progress: dict[str, str] | None = None
        self.progress_size = 0
        self.raw: bytes | None = None  # a record in its stored form that was not read yet


class _Newest:
    """The jobs of one state by (enqueued_us, seq): adding is O(1), listing the newest n is O(n), both amortised.

    Who adds a key to `fresh` calls `rebuild` when there are more keys than twice the live ones.
    """

    __slots__ = ("_alive", "fresh", "kept")

    def __init__(self, alive: Callable[[tuple[int, int, str]], bool]) -> None:
        self._alive = alive
        self.kept: list[tuple[int, int, str]] = []  # sorted
        self.fresh: list[tuple[int, int, str]] = []

    def newest(self, limit: int) -> list[str]:
        if self.fresh:
            self._merge()
        alive, kept = self._alive, self.kept
        skipped = 0
        found: list[str] = []
        last: tuple[int, int, str] | None = None
        while kept and not alive(kept[-1]):
            kept.pop()
        for key in reversed(kept):
            if len(found) == limit:
                break
            if key == last or not alive(key):  # a job that came back to this state stands here twice
                skipped += 1
                continue
            last = key
            found.append(key[2])
        if skipped > limit + _SLACK:
            self.rebuild()
        return found

    def _merge(self) -> None:
        fresh, kept = self.fresh, self.kept
        if len(fresh) > 1:
            fresh.sort()
        if not kept or kept[-1] <= fresh[0]:
            kept.extend(fresh)
        elif len(fresh) < _SLACK:
            for key in fresh:
                insort(kept, key)
        else:
            kept.extend(fresh)
            kept.sort()
        fresh.clear()

    def rebuild(self) -> None:
        if self.fresh:
            self._merge()
        self.kept[:] = [key for key in dict.fromkeys(self.kept) if self._alive(key)]


class MemoryQueue(BulkQueue):
    """The contract of `PersistentQueue` within one process; what it holds ends with the process."""

    def __init__(self, *, lease_s: float = LEASE_S, max_crashes: int = MAX_CRASHES, clock: Clock | None = None) -> None:
        super().__init__(lease_s=lease_s, max_crashes=max_crashes, clock=clock)
        self._read_clock = process_clock if clock is None else clock
        self._lock = threading.RLock()
        self._news: threading.Condition | None = None  # of the lock; made when somebody waits for the first time
        self._entries: dict[str, _Entry] = {}
        self._seq = 0
        self._ticket = 0
        self._token = 0
        self._counts = dict.fromkeys(STATES, 0)
        self._index = {status: _Newest(self._is_in(status)) for status in STATES}
        self._all = _Newest(self._is_known)
        self._lanes: dict[int, list[tuple[int, str]]] = {}  # priority -> heap of (ticket, id)
        self._priorities: list[int] = []  # of the lanes, lowest first
        self._ready = 0
        self._delayed: list[tuple[int, int, str]] = []  # heap of (due_us, seq, id)
        self._leases: list[tuple[int, int, str]] = []  # heap of (expires_us, token, id)
        self._finished: list[tuple[int, int, str]] = []  # heap of (finished_us, seq, id)
        self._running: dict[str, None] = {}
        self._quarantine: dict[str, Quarantined] = {}
        self._workers: dict[str, tuple[int, WorkerInfo]] = {}  # id -> (last beat in us, what it announced)
        self._ticks: dict[str, str] = {}  # schedule key -> cursor

    # -- getting in ----------------------------------------------------------------------------------------------

    def _enqueue(self, jobs: Sequence[Job]) -> int:
        with self._lock:
            now = to_us(self._read_clock())
            new = 0
            entries, quarantine = self._entries, self._quarantine
            for job in jobs:
                job_id = job.id
                if job_id in entries or job_id in quarantine:
                    continue
                if not new:
                    self._promote(now)
                new += 1
                self._seq += 1
                stored = job.copy()
                stored.lease = None
                entry = entries[job_id] = _Entry(stored, self._seq)
                self._counts[PENDING] += 1
                self._list_in(PENDING, entry)
                everything = self._all
                everything.fresh.append(entry.key)
                if len(everything.fresh) + len(everything.kept) > 2 * len(entries) + _SLACK:
                    everything.rebuild()
                due = None if stored.not_before is None else iso_to_us(stored.not_before)
                self._make_pending(entry, now, due)
            if new and self._news is not None:
                self._news.notify_all()
            return new

    def _make_pending(self, entry: _Entry, now: int, due: int | None) -> None:
        if due is not None and due > now:
            entry.due_us = due
            entry.ticket = 0
            heappush(self._delayed, (due, entry.seq, entry.job.id))
        else:
            entry.due_us = None
            self._ticket += 1
            entry.ticket = self._ticket
            entry.ready_us = now
            self._push_ready(entry)

    def _push_ready(self, entry: _Entry) -> None:
        priority = entry.job.priority
        lane = self._lanes.get(priority)
        if lane is None:
            lane = self._lanes[priority] = []
            insort(self._priorities, priority)
        heappush(lane, (entry.ticket, entry.job.id))
        self._ready += 1

    def _promote(self, now: int) -> None:
        delayed = self._delayed
        while delayed and delayed[0][0] <= now:
            due, seq, job_id = heappop(delayed)
            entry = self._entries.get(job_id)
            if entry is not None and entry.seq == seq and entry.due_us == due:
                self._make_pending(entry, now, None)

    # -- getting out ---------------------------------------------------------------------------------------------

    def _exchange(
        self, reports: Sequence[Report], n: int, worker_id: str, lease_s: float
    ) -> tuple[list[Job | OrchError], list[Job]]:
        with self._lock:
            now = to_us(self._read_clock())
            results: list[Job | OrchError] = []
            for report in reports:
                try:
                    results.append(self._report(report, now))
                except OrchError as error:
                    results.append(error)
            jobs: list[Job] = []
            if n:
                if worker_id:
                    self._beat(worker_id, now)
                if self._leases and self._leases[0][0] <= now:
                    self._reclaim(now)
                if self._delayed and self._delayed[0][0] <= now:
                    self._promote(now)
                while len(jobs) < n and (entry := self._pop_ready()) is not None:
                    if entry.raw is None or self._readable(entry):
                        jobs.append(self._deliver(entry, worker_id, now, now + to_us(lease_s)))
            elif self._news is not None and self._ready:
                self._news.notify_all()
            return results, jobs

    def _pop_ready(self) -> _Entry | None:
        entries, lanes, priorities = self._entries, self._lanes, self._priorities
        while priorities:
            lane = lanes[priorities[-1]]
            while lane:
                ticket, job_id = heappop(lane)
                entry = entries.get(job_id)
                if entry is not None and _is_ready(entry, ticket):
                    self._ready -= 1
                    return entry
            del lanes[priorities.pop()]
        return None

    def _deliver(self, entry: _Entry, worker_id: str, now: int, expires_us: int) -> Job:
        token = self._token = max(self._token + 1, now)
        job = entry.job
        job_id = job.id
        job.attempts += 1
        job.started_at = iso(now)
        job.not_before = None
        entry.expires_us = expires_us
        job.lease = issued_lease(job_id, token, worker_id, expires_us)
        heappush(self._leases, (expires_us, token, job_id))
        self._running[job_id] = None
        self._move(entry, Event.DELIVER)
        return job.copy()

    def _reclaim(self, now: int) -> None:
        reclaimed = 0
        leases = self._leases
        while leases and leases[0][0] <= now and reclaimed < RECLAIM_MAX:
            expires_us, token, job_id = heappop(leases)
            entry = self._entries.get(job_id)
            if entry is None or entry.expires_us != expires_us or not _holds(entry, token):
                continue
            if not self._readable(entry):
                continue
            reclaimed += 1
            job = entry.job
            event = event_of_lost_lease(job.crashes, self.max_crashes)
            job.crashes += 1
            if event is Event.CRASH_LIMIT:
                job.error = crash_limit_error(job.crashes)
            self._end_delivery(entry, event, now)

    # -- reports -------------------------------------------------------------------------------------------------

    def _report(self, report: Report, now: int) -> Job:
        job_id, status, lease = report.job_id, report.status, report.lease
        entry = self._known(job_id)
        job = entry.job
        if lease is not None:
            if entry.settled == (lease.token, status):
                return job.copy()
            if not _holds(entry, lease.token):
                raise _lost(lease)
        event = event_of_report(job_id, job.status, status, lease is not None, job.failures, job.max_retries)
        if event is None:
            return job.copy()
        if self._delayed and self._delayed[0][0] <= now:
            self._promote(now)
        keeps = event in _KEEPS
        if report.error is not None or not keeps:
            job.error = report.error
        if report.result is not None or not keeps:
            job.result = None if report.result is None else checks.copy_json(report.result)
        if event in _COUNTS_AS_FAILURE:
            job.failures += 1
        if lease is not None:
            entry.settled = (lease.token, status)
        self._end_delivery(entry, event, now, report.delay_s)
        return job.copy()

    def _end_delivery(self, entry: _Entry, event: Event, now: int, delay_s: float | None = None) -> None:
        job = entry.job
        was_ready = job.status is PENDING and entry.due_us is None
        job.lease = None
        self._running.pop(job.id, None)
        self._move(entry, event)
        if job.status is PENDING:
            job.started_at = None
            if event is Event.RETRY:
                due = now + to_us(delay_s) if delay_s else None
                job.not_before = iso(due) if due else None
                self._make_pending(entry, now, due)
            else:
                self._push_ready(entry)
        else:
            job.finished_at = iso(now)
            entry.finished_us = now
            entry.due_us = None
            heappush(self._finished, (now, entry.seq, job.id))
            if was_ready:
                self._drop_ready(job.priority)

    def _drop_ready(self, priority: int) -> None:
        """An operator ended a ready job: count it off, and clean its lane if it is mostly stale."""
        self._ready -= 1
        lane = self._lanes.get(priority)
        if lane is not None and sum(map(len, self._lanes.values())) > 2 * self._ready + _SLACK:
            kept = [item for item in lane if (e := self._entries.get(item[1])) is not None and _is_ready(e, item[0])]
            heapify(kept)
            self._lanes[priority] = kept

    def _extend(self, leases: Sequence[Lease], lease_s: float) -> list[Lease | OrchError]:
        with self._lock:
            now = to_us(self._read_clock())
            answers: list[Lease | OrchError] = []
            for lease in leases:
                try:
                    entry = self._held(lease)
                except OrchError as error:
                    answers.append(error)
                    continue
                current = entry.job.lease
                assert current is not None
                expires_us = max(entry.expires_us, now + to_us(lease_s))
                if expires_us != entry.expires_us:
                    entry.expires_us = expires_us
                    current = issued_lease(lease.job_id, current.token, current.worker_id, expires_us)
                    entry.job.lease = current
                    heappush(self._leases, (expires_us, current.token, lease.job_id))
                if current.worker_id:
                    self._beat(current.worker_id, now)
                answers.append(current)
            return answers

    def _record_progress(self, lease: Lease, task_id: str, output: str) -> None:
        with self._lock:
            entry = self._held(lease)
            saved = {} if entry.progress is None else entry.progress
            size = entry.progress_size + len(output.encode()) - len(saved.get(task_id, "").encode())
            if size > checks.PROGRESS_TOTAL_MAX:
                raise InvalidInput(
                    f"recorded outputs of job {lease.job_id!r} must be at most {checks.PROGRESS_TOTAL_MAX} bytes "
                    f"in all, got {size}; keep large data elsewhere"
                )
            entry.progress_size = size
            saved[task_id] = output
            entry.progress = saved

    def _requeue(self, job_id: str) -> Job:
        with self._lock:
            now = to_us(self._read_clock())
            entry = self._known(job_id)
            job = entry.job
            if job.status is PENDING:
                return job.copy()
            if Event.REQUEUE not in TRANSITIONS[job.status]:
                raise IllegalTransition(f"job {job_id!r} is {job.status.value}: only a failed job can be requeued")
            job.failures = job.crashes = 0
            job.started_at = job.finished_at = job.result = job.not_before = None
            entry.progress = None
            entry.progress_size = 0
            entry.finished_us = 0
            self._move(entry, Event.REQUEUE)
            self._make_pending(entry, now, None)
            if self._news is not None:
                self._news.notify_all()
            return job.copy()

    # -- looking -------------------------------------------------------------------------------------------------

    def _get(self, job_id: str) -> Job | None:
        with self._lock:
            try:
                return self._known(job_id).job.copy()
            except JobNotFound:
                return None

    def _list(self, status: JobStatus | None, limit: int) -> list[Job]:
        with self._lock:
            while True:  # again when a record turned out to be unreadable: the list must still be full
                if status is None:
                    ids = self._all.newest(limit)
                else:
                    ids = self._index[status].newest(limit)
                entries = [self._entries[job_id] for job_id in ids]
                unread = [entry for entry in entries if entry.raw is not None and not self._readable(entry)]
                if not unread:
                    return [entry.job.copy() for entry in entries]

    def progress(self, job_id: str) -> dict[str, Any]:
        checks.check_id(job_id)
        with self._lock:
            entry = self._entries.get(job_id)
            saved = {} if entry is None or entry.progress is None else dict(entry.progress)
        return {task_id: json.loads(text) for task_id, text in saved.items()}

    def counts(self) -> dict[JobStatus, int]:
        with self._lock:
            return dict(self._counts)

    def stats(self) -> QueueStats:
        with self._lock:
            now = to_us(self._read_clock())
            heads = [entry.ready_us for lane in self._lanes.values() if (entry := self._head(lane)) is not None]
            pending = self._counts[PENDING]
            return QueueStats(
                counts=dict(self._counts),
                ready=self._ready,
                delayed=pending - self._ready,
                quarantined=len(self._quarantine),
                oldest_ready_age_s=max(0.0, (now - min(heads)) / 1_000_000) if heads else None,
            )

    def _head(self, lane: list[tuple[int, str]]) -> _Entry | None:
        while lane:
            entry = self._entries.get(lane[0][1])
            if entry is not None and _is_ready(entry, lane[0][0]):
                return entry
            heappop(lane)
        return None

    def quarantined(self) -> list[Quarantined]:
        with self._lock:
            return list(self._quarantine.values())

    def workers(self) -> list[WorkerInfo]:
        with self._lock:
            now = to_us(self._read_clock())
            gone = [worker_id for worker_id, (beat, _) in self._workers.items() if now - beat > _GONE_US]
            for worker_id in gone:
                del self._workers[worker_id]
            held: dict[str, list[str]] = {}
            for job_id in self._running:
                lease = self._entries[job_id].job.lease
                if lease is not None:
                    held.setdefault(lease.worker_id, []).append(job_id)
            return [
                _seen(info, iso(beat), tuple(sorted(held.get(worker_id, ()))))
                for worker_id, (beat, info) in sorted(self._workers.items())
            ]

    def announce(self, info: WorkerInfo) -> None:
        checked_worker(info)
        with self._lock:
            self._workers[info.id] = (to_us(self._read_clock()), info)

    def _beat(self, worker_id: str, now: int) -> None:
        known = self._workers.get(worker_id)
        self._workers[worker_id] = (now, WorkerInfo(worker_id) if known is None else known[1])

    def _cursors(self, keys: Sequence[str]) -> list[str | None]:
        with self._lock:
            return [self._ticks.get(key) for key in keys]

    def _advance(self, moves: Sequence[CursorMove]) -> list[bool]:
        moved = []
        with self._lock:
            for move in moves:
                moved.append(self._ticks.get(move.key) == move.expected)
                if moved[-1]:
                    self._ticks[move.key] = move.tick
        return moved

    # -- forgetting ----------------------------------------------------------------------------------------------

    def _purge(self, older_than_s: float) -> int:
        cutoff = to_us(self._read_clock()) - to_us(older_than_s)
        removed = 0
        while True:
            with self._lock:
                handled = 0
                while self._finished and self._finished[0][0] < cutoff and handled < SLICE_MAX:
                    handled += 1
                    finished_us, seq, job_id = heappop(self._finished)
                    entry = self._entries.get(job_id)
                    if entry is not None and entry.seq == seq and entry.finished_us == finished_us:
                        del self._entries[job_id]
                        self._counts[entry.job.status] -= 1
                        removed += 1
                if handled < SLICE_MAX:
                    return removed

    # -- waiting -------------------------------------------------------------------------------------------------

    def _wait(self, timeout_s: float) -> None:
        with self._lock:
            now = to_us(self._read_clock())
            if self._ready:
                return
            times = [heap[0][0] for heap in (self._delayed, self._leases) if heap]
            if times:
                timeout_s = min(timeout_s, max(0.0, (min(times) - now) / 1_000_000))
            if self._news is None:
                self._news = threading.Condition(self._lock)
            self._news.wait(min(timeout_s, SWEEP_S))

    # -- records that cannot be read -----------------------------------------------------------------------------

    def plant_record(self, job_id: str, raw: bytes) -> None:
        """Replace the stored form of a job by these bytes, as a fault of a store would: to test Q13."""
        with self._lock:
            self._entries[job_id].raw = raw

    def _known(self, job_id: str) -> _Entry:
        """The job, if its record can be read."""
        entry = self._entries.get(job_id)
        if entry is not None and (entry.raw is None or self._readable(entry)):
            return entry
        raise self._unknown(job_id)

    def _held(self, lease: Lease) -> _Entry:
        """The job, if this is its current lease; its record is not read."""
        entry = self._entries.get(lease.job_id)
        if entry is None:
            raise self._unknown(lease.job_id)
        if not _holds(entry, lease.token):
            raise _lost(lease)
        return entry

    def _unknown(self, job_id: str) -> OrchError:
        if job_id in self._quarantine:
            return UnreadableRecord(f"job {job_id!r} is in quarantine: {self._quarantine[job_id].reason}")
        return JobNotFound(f"no job {job_id!r} in this queue; list_jobs shows what is there")

    def _readable(self, entry: _Entry) -> bool:
        """True, or the entry is put into quarantine (Q13)."""
        if entry.raw is None:
            return True
        raw, job = entry.raw, entry.job
        try:
            entry.job.extra = decode_record(raw).extra
        except UnreadableRecord as error:
            del self._entries[job.id]
            self._running.pop(job.id, None)
            self._counts[job.status] -= 1
            if entry.ticket and job.status is PENDING and entry.due_us is None and self._in_lane(entry):
                self._ready -= 1
            self._quarantine[job.id] = Quarantined(job.id, raw, str(error))
            return False
        entry.raw = None
        return True

    def _in_lane(self, entry: _Entry) -> bool:
        return (entry.ticket, entry.job.id) in self._lanes.get(entry.job.priority, ())

    # -- the listing indexes -------------------------------------------------------------------------------------

    def _move(self, entry: _Entry, event: Event) -> None:
        job, counts = entry.job, self._counts
        before = job.status
        after = TRANSITIONS[before][event]
        counts[before] -= 1
        counts[after] += 1
        job.status = after
        self._list_in(after, entry)

    def _list_in(self, status: JobStatus, entry: _Entry) -> None:
        index = self._index[status]
        index.fresh.append(entry.key)
        if len(index.fresh) + len(index.kept) > 2 * self._counts[status] + _SLACK:
            index.rebuild()

    def _is_known(self, key: tuple[int, int, str]) -> bool:
        entry = self._entries.get(key[2])
        return entry is not None and entry.seq == key[1]

    def _is_in(self, status: JobStatus) -> Callable[[tuple[int, int, str]], bool]:
        entries = self._entries

        def alive(key: tuple[int, int, str]) -> bool:
            entry = entries.get(key[2])
            return entry is not None and entry.seq == key[1] and entry.job.status is status

        return alive


def _is_ready(entry: _Entry, ticket: int) -> bool:
    return entry.ticket == ticket and entry.job.status is PENDING and entry.due_us is None


def _holds(entry: _Entry, token: int) -> bool:
    return entry.job.lease is not None and entry.job.lease.token == token


def _lost(lease: Lease) -> LeaseLost:
    return LeaseLost(
        f"lease {lease.token} is not the current one of job {lease.job_id!r}: it expired and was taken back, "
        f"or the job was settled; drop this attempt's work"
    )


def _seen(info: WorkerInfo, beat: str, jobs: tuple[str, ...]) -> WorkerInfo:
    """What a worker said of itself, with what the queue saw of it; `dataclasses.replace` takes three times as long."""
    started, done, failed = info.started_at, info.done, info.failed
    return WorkerInfo(info.id, info.host, info.pid, started, beat, jobs, done, failed, info.slots, info.blocked)
