"""What a scheduler decides, as a generator of its own steps: it touches no clock, store or thread.

Law: enqueue first, move the cursor after. A cursor lives in the queue's store, and the id of a job names its tick; so
several schedulers, restarts, and crashes between any two steps make one job of each tick (S1), and none is missed
(S2). Which ticks are due is decided by `orch.schedule`.

A driver answers every step with a pair: the time after it, in epoch seconds of the clock that people set, and the
step's own answer. Whatever a queue raises is answered as an `OrchError` value. `Record`, `Say` and `Sleep` are the
worker's.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from orch import checks
from orch.errors import InvalidInput, NotSupported, OrchError
from orch.job import CursorMove, Job
from orch.schedule import Schedule, due, minute_of, next_tick, time_of
from orch.worker.logic import OUTAGE_S, OUTAGE_S_MAX
from orch.worker.steps import Record, Say, Sleep

BATCH = 500  # jobs that are enqueued, and cursors that are moved, before the next are looked at
STALE_S = 20.0  # cursors that were read longer ago are read again; far below the age at which jobs may be purged
AHEAD_S = 3600.0  # a cursor that is so far ahead of the clock is worth a warning


@dataclass(frozen=True, slots=True)
class ReadCursors:
    """`schedule_cursors`. Answer: of each key an ISO text or None."""

    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Enqueue:
    """Enqueue each. Answer: a list that says of each whether it was new."""

    jobs: tuple[Job, ...]


@dataclass(frozen=True, slots=True)
class MoveCursors:
    """`advance_schedules`. Answer: a bool of each move."""

    moves: tuple[CursorMove, ...]


@dataclass(frozen=True, slots=True)
class Passed:
    """A look at the clock is over, and so many jobs were new. Answer: None."""

    enqueued: int


Step = ReadCursors | Enqueue | MoveCursors | Passed | Record | Say | Sleep

_UNKNOWN = -1  # the cursor was not read yet


@dataclass(slots=True)
class _Watch:
    """A schedule, the key of its cursor, and the minute of its next tick; None if there is none."""

    schedule: Schedule
    key: str
    next: int | None = _UNKNOWN


@dataclass(frozen=True, slots=True)
class _Visit:
    """What is to be done about a schedule: enqueue its ticks, then move its cursor from where it was read."""

    watch: _Watch
    ticks: tuple[datetime, ...]
    cursor: str | None
    starts: bool = False
    started: str | None = None  # when a version of it started last, as read


class Scheduler:
    """What one scheduler does: `once` looks at the clock one time, `serve` for ever. Both are generators of steps.

    A schedule is looked at when its next tick has come: its cursor is read, what `due` says is enqueued, and the
    cursor is moved to this minute. When somebody else has moved it meanwhile, it is looked at again.

    A schedule without a cursor starts now. So does one whose expression or zone was changed, as its cursor is kept
    under id, expression and zone. A second cursor, under the id alone, is set whenever a version starts: an older
    version that comes back finds that another one was in force since, and starts now as well. A disabled schedule
    enqueues nothing, but its cursor is moved, so that nothing is caught up when it is enabled again.

    Raises `InvalidInput` for two schedules of one id.
    """

    def __init__(self, schedules: Iterable[Schedule]) -> None:
        self._watches = [_Watch(schedule, schedule.key) for schedule in schedules]
        ids = Counter(watch.schedule.id for watch in self._watches)
        twice = [schedule_id for schedule_id, count in ids.items() if count > 1]
        if twice:
            raise InvalidInput(f"schedules must have ids of their own, got {checks.shown(twice[0])} more than once")
        self._now = 0.0
        self._own: dict[str, str] | None = None  # cursors, where the queue keeps none

    def once(self) -> Generator[Step, Any, int]:
        """Enqueue what is due now; returns how many jobs were new. Raises the `OrchError` that a step was answered."""
        yield from self._do(Sleep(0.0))  # only to learn the time
        minute = int(self._now // 60)
        watches = [watch for watch in self._watches if watch.next is not None and watch.next <= minute]
        enqueued = at = 0
        size = BATCH
        while at < len(watches):
            now = datetime.fromtimestamp(self._now, UTC)
            visits: list[_Visit] = []
            jobs, first = 0, at
            cursors = yield from self._read_all(watches[at : at + size])
            while at - first < len(cursors) and jobs < BATCH:
                visit = yield from self._visit(watches[at], *cursors[at - first], now)
                at += 1
                if visit is not None:
                    visits.append(visit)
                    jobs += len(visit.ticks)
            if self._now - now.timestamp() > STALE_S:
                # What was read is old: others may have enqueued these ticks, run them, and purged them since.
                at, size = first, max(1, size // 2)
                continue
            enqueued += yield from self._settle(visits, now)
        yield from self._do(Passed(enqueued))
        return enqueued

    def serve(self, tick_s: float = 1.0) -> Generator[Step, Any, None]:
        """Look at the clock every `tick_s` and at the beginning of each minute; an outage is waited out (S2)."""
        failures = 0
        since = 0.0
        while True:
            try:
                yield from self.once()
            except OrchError as error:
                since = since or self._now
                pause = min(OUTAGE_S_MAX, OUTAGE_S * 2.0 ** min(failures, 60))
                failures += 1
                yield from self._warn(f"Queue does not answer ({error}): trying again in {pause:.1f} s")
                yield from self._do(Sleep(self._now + pause))
                continue
            if failures:
                yield from self._warn(f"Queue is back after {self._now - since:.1f} s")
                failures, since = 0, 0.0
            next_minute = (self._now // 60 + 1) * 60
            yield from self._do(Sleep(min(self._now + tick_s, next_minute)))

    def _read_all(self, watches: Sequence[_Watch]) -> Generator[Step, Any, list[tuple[str | None, str | None]]]:
        """Of each schedule where its cursor is and, where that matters, when a version of it started last."""
        cursors = yield from self._read([watch.key for watch in watches])
        doubtful = [n for n, watch in enumerate(watches) if watch.next == _UNKNOWN or cursors[n] is None]
        started = yield from self._read([_id_key(watches[n].schedule) for n in doubtful])
        known = dict(zip(doubtful, started, strict=True))
        return [(cursor, known.get(n)) for n, cursor in enumerate(cursors)]

    def _visit(
        self, watch: _Watch, cursor: str | None, started: str | None, now: datetime
    ) -> Generator[Step, Any, _Visit | None]:
        schedule = watch.schedule
        last = None if cursor is None else datetime.fromisoformat(cursor)
        if last is None or (started is not None and last < datetime.fromisoformat(started)):
            own = due(schedule, None, now) if schedule.enabled else ()
            return _Visit(watch, tuple(own), cursor, starts=True, started=started)
        watch.next = next_tick(schedule.expression, schedule.zone, minute_of(last))
        minute = minute_of(now)
        if watch.next is not None and watch.next <= minute:
            # On time nothing was missed, and `due` need not look for it.
            ticks = [time_of(minute)] if watch.next == minute else due(schedule, last, now)
            return _Visit(watch, tuple(ticks) if schedule.enabled else (), cursor)
        ahead = (last - now).total_seconds()
        if ahead > AHEAD_S:
            yield from self._warn(
                f"Schedule {schedule.id} is done up to {cursor}, {ahead / 3600:.1f} h ahead of the clock, and waits "
                f"for that; if a clock was wrong, give the schedule a new id"
            )
        return None

    def _settle(self, visits: Sequence[_Visit], now: datetime) -> Generator[Step, Any, int]:
        """Enqueue first, move the cursors after: after a crash between, the ids refuse to be enqueued again."""
        pairs = [(tick, visit.watch.schedule.job(tick, now)) for visit in visits for tick in visit.ticks]
        new: list[bool] = []
        if pairs:
            new = yield from self._ask(Enqueue(tuple(job for _, job in pairs)))
            events = [enqueued_event(job, tick) for (tick, job), is_new in zip(pairs, new, strict=True) if is_new]
            if events:
                yield from self._do(Record(tuple(events)))
        minute = minute_of(now)
        done = time_of(minute).isoformat()
        begun = now.isoformat()  # to the microsecond: what starts later can be told from a tick of this minute
        moved = yield from self._move(
            [CursorMove(visit.watch.key, visit.cursor, begun if visit.starts else done) for visit in visits]
        )
        ours = [visit for visit, is_moved in zip(visits, moved, strict=True) if is_moved]
        # Else somebody else moved it; the next look will see where to.
        yield from self._move(
            [CursorMove(_id_key(visit.watch.schedule), visit.started, begun) for visit in ours if visit.starts]
        )
        for visit in ours:
            schedule = visit.watch.schedule
            visit.watch.next = next_tick(schedule.expression, schedule.zone, minute)
        return sum(new)

    # -- cursors -----------------------------------------------------------------------------------------------------

    def _read(self, keys: Sequence[str]) -> Generator[Step, Any, list[str | None]]:
        if self._own is None and keys:
            try:
                cursors: list[str | None] = yield from self._ask(ReadCursors(tuple(keys)))
            except NotSupported as error:
                yield from self._warn(f"{error}: ticks that pass while no scheduler runs are not caught up")
                self._own = {}
            else:
                return cursors
        own = self._own or {}
        return [own.get(key) for key in keys]

    def _move(self, moves: Sequence[CursorMove]) -> Generator[Step, Any, list[bool]]:
        if self._own is not None:
            self._own.update({move.key: move.tick for move in moves})
            return [True] * len(moves)
        if not moves:
            return []
        moved: list[bool] = yield from self._ask(MoveCursors(tuple(moves)))
        return moved

    # -- small things ------------------------------------------------------------------------------------------------

    def _do(self, step: Step) -> Generator[Step, Any, Any]:
        self._now, answer = yield step
        return answer

    def _ask(self, step: Step) -> Generator[Step, Any, Any]:
        answer = yield from self._do(step)
        if isinstance(answer, OrchError):
            raise answer
        return answer

    def _warn(self, text: str) -> Generator[Step, Any, None]:
        yield from self._do(Say(text, logging.WARNING))


def enqueued_event(job: Job, tick: datetime) -> dict[str, Any]:
    """The event of the state log that says that a schedule enqueued a job; `minute` is its tick in UTC."""
    return {
        "event": "schedule_enqueued",
        "schedule_id": job.schedule_id,
        "job_id": job.id,
        "dag_path": job.dag_path,
        "tenant": job.tenant_id,
        "minute": minute_text(tick),
    }


@lru_cache(maxsize=4096)  # all jobs of a look share it
def minute_text(tick: datetime) -> str:
    """A tick as the seed's `minute`: `YYYY-MM-DD HH:MM` in UTC."""
    return f"{tick.astimezone(UTC):%Y-%m-%d %H:%M}"


def _id_key(schedule: Schedule) -> str:
    return checks.dump_json([schedule.id])
