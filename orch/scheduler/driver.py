"""Does the steps of a `Scheduler` for real: on a queue, with the clock that people set."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Generator, Sequence
from typing import Any

from orch.clock import Clock, iso, process_clock, to_us
from orch.errors import BackendUnavailable, OrchError
from orch.events import log_events
from orch.job import Job
from orch.queue import PersistentQueue
from orch.scheduler.logic import Enqueue, MoveCursors, Passed, ReadCursors, Step
from orch.worker.steps import Record, Say, Sleep

SINGLES_MAX = 20  # jobs that are enqueued one by one, which tells exactly who was first

log = logging.getLogger("orch.scheduler")


def drive(
    steps: Generator[Step, Any, Any],
    queue: PersistentQueue,
    *,
    clock: Clock = time.time,
    sleep: Callable[[float], bool] | None = None,
    passed: Callable[[int], None] | None = None,
    state_path: str | os.PathLike[str] | None = None,
) -> Any:
    """Do the steps of a `Scheduler` until it returns; gives what it returned, or None if `sleep` said to stop.

    `sleep(seconds)` answers True to stop. `passed(n)` is called after each look at the clock with the number of new
    jobs. `state_path` is the state log, None for none. The clock is the one that people set: a jump of it is a pause,
    or nothing (S5).
    """
    answer: tuple[float, Any] | None = None
    while True:
        try:
            step = next(steps) if answer is None else steps.send(answer)
        except StopIteration as end:
            return end.value
        value: Any = None
        match step:
            case ReadCursors():
                value = _answer(queue.schedule_cursors, step.keys)
            case Enqueue():
                value = _answer(enqueue_all, queue, step.jobs)
            case MoveCursors():
                value = _answer(queue.advance_schedules, step.moves)
            case Record():
                if state_path is not None:
                    record_enqueued(step.events, state_path)
            case Say():
                log.log(step.level, "%s", step.text)
            case Passed():
                if passed is not None:
                    passed(step.enqueued)
            case Sleep():
                left = step.until - clock()
                if sleep is None:
                    time.sleep(max(0.0, left))
                elif left > 0 and sleep(left):
                    steps.close()
                    return None
        answer = clock(), value


def record_enqueued(events: Sequence[dict[str, Any]], state_path: str | os.PathLike[str]) -> None:
    """Append events to the state log, in one write and with the time of now; never raises (L1)."""
    timestamp = iso(to_us(process_clock()))
    log_events([{**event, "timestamp": timestamp} for event in events], state_path)


def _answer(call: Callable[..., Any], *given: Any) -> Any:
    try:
        return call(*given)
    except OrchError as error:
        return error
    except Exception as error:  # what is none of ours counts as an outage, and is tried again
        return BackendUnavailable(f"{type(error).__name__}: {error}")


def enqueue_all(queue: PersistentQueue, jobs: Sequence[Job]) -> list[bool]:
    """Which of the jobs were new. Many are enqueued in one step; if only some were new, what is stored tells which."""
    if len(jobs) <= SINGLES_MAX:
        return [queue.enqueue(job) for job in jobs]
    new = queue.enqueue_many(jobs)
    if new in (0, len(jobs)):
        return [new > 0] * len(jobs)
    return [_is_stored(queue, job) for job in jobs]


def _is_stored(queue: PersistentQueue, job: Job) -> bool:
    """Whether a stored job is this one: another scheduler enqueued the same id at another microsecond."""
    try:
        stored = queue.get_job(job.id)
    except OrchError:
        return False
    return stored is not None and stored.enqueued_at == job.enqueued_at
