"""One look at the clock that knows no cursor, as the seed's scheduler module offers it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from orch import checks
from orch.errors import InvalidInput, ScheduleError
from orch.events import record_event
from orch.queue import PersistentQueue
from orch.schedule import Schedule, due, minute_of, schedule_of, time_of
from orch.scheduler.logic import enqueued_event


def tick_once(
    now: datetime,
    schedules: Iterable[Mapping[str, Any] | Schedule],
    queue: PersistentQueue,
    dedup_cache: set[tuple[str, str]] | None = None,
) -> int:
    """Enqueue a job for each enabled schedule that `now`'s minute is a tick of; returns how many were new (S1).

    It knows no cursor: the minutes before are not looked at. A row that is wrong costs a printed warning and itself
    (S4). `dedup_cache` remembers (schedule id, minute) so that the queue need not be asked again. A `now` without a
    zone is UTC.
    """
    moment = now.replace(tzinfo=UTC) if now.tzinfo is None else now
    tick = time_of(minute_of(moment))
    minute = f"{tick:%Y-%m-%d %H:%M}"
    new = 0
    for row in schedules:
        try:
            schedule = schedule_of(row)
            key = (schedule.id, minute)
            if not schedule.enabled or (dedup_cache is not None and key in dedup_cache):
                continue
            if not due(schedule, None, moment):
                continue
            job = schedule.job(tick, moment)
            enqueued = queue.enqueue(job)
        except (InvalidInput, ScheduleError) as error:
            name = row.get("id") if isinstance(row, Mapping) else row
            with contextlib.suppress(OSError, ValueError):  # a closed stdout costs the warning only
                print(f"Warning: Failed to process schedule {checks.shown(name)}: {error}")
            continue
        if dedup_cache is not None:
            dedup_cache.add(key)
        if enqueued:
            new += 1
            record_event(enqueued_event(job, tick))
    return new
