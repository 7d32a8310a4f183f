"""One look at the clock that knows no cursor, as the seed's scheduler module offers it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from orch import checks
from orch.errors import InvalidInput, ScheduleError
from orch.events import get_state_store_path
from orch.job import Job
from orch.queue import PersistentQueue
from orch.schedule import Schedule, due, minute_of, schedule_of, time_of
from orch.scheduler.driver import record_enqueued
from orch.scheduler.logic import enqueued_event, minute_text


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
    minute = minute_text(tick)
    cache = set() if dedup_cache is None else dedup_cache
    new: list[Job] = []
    try:
        for row in schedules:
            try:
                schedule = schedule_of(row)
                key = (schedule.id, minute)
                if not schedule.enabled or key in cache or not due(schedule, None, moment):
                    continue
                job = schedule.job(tick, moment)
                if queue.enqueue(job):
                    new.append(job)
                cache.add(key)
            except (InvalidInput, ScheduleError) as error:
                name = row.get("id") if isinstance(row, Mapping) else row
                with contextlib.suppress(OSError, ValueError):  # a closed stdout costs the warning only
                    print(f"Warning: Failed to process schedule {checks.shown(name)}: {error}")
    finally:  # also of those before the queue was gone
        record_enqueued([enqueued_event(job, tick) for job in new], get_state_store_path())
    return len(new)
