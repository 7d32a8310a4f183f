"""Summaries of the two logs: pure functions from events, in any order, to rows and numbers (L3).

Law: every number is measured from the events that were handed in, a run is one row by its run id, and a rate is
between 0 and 1. Logs of the seed carry no run ids: there the events of a DAG are cut into runs at each `dag_start`,
which is a guess where runs of one DAG overlap. An event without a readable time counts for nothing.

A time without a zone is UTC, as in the seed. A percentile is the nearest rank: the smallest value that so many percent
of the values do not exceed.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from orch import checks
from orch.clock import iso, iso_to_us, process_clock, to_us
from orch.errors import InvalidInput
from orch.events import get_events_path, get_state_store_path, read_newest
from orch.job import Job
from orch.settings import Settings

__all__ = [
    "get_events_path",
    "get_state_path",
    "load_events",
    "oldest_age_s",
    "per_tenant_load",
    "summarize_dags",
    "summarize_schedules",
    "summarize_tasks",
    "throughput",
]

LOST_AFTER_S = 3600.0  # a run that said nothing for so long is lost
UNKNOWN_TENANT = "unknown"
_HOUR_US = 3_600_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_END_US = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1)


def get_state_path() -> Path:
    """Where the state log is: `STATE_STORE_PATH`."""
    return get_state_store_path()


def load_events(path: str | Path, limit: int = 5000) -> list[dict[str, Any]]:
    """The last `limit` events of a log, newest first; [] for a missing file. Lines that are no objects are skipped."""
    return read_newest(path, limit)


def summarize_tasks(
    events: Iterable[Mapping[str, Any]], window_hours: float | None = None, *, now: datetime | None = None
) -> dict[str, dict[str, Any]]:
    """Counts and durations of tasks: over all events given, and over those of the last hours.

    `{"all_time": {...}, "last_<h>h": {...}}`. The first is about what was handed in and no more: `since` is its
    oldest time. Durations are seconds from start to end of a task, its retries included; 0.0 without any. `error_rate`
    is the failed tasks of the window divided by the tasks that started or ended in it. `window_hours` None takes
    `ORCH_PANEL_WINDOW_H`.
    """
    timed = _timed(events)
    tasks = [task for run in _runs_of(timed) for task in run.tasks]
    retries = [time for time, event in timed if event.get("event") == "task_retry"]
    hours = _window(window_hours)
    since = _now_us(now) - round(hours * _HOUR_US)
    ended = [task for task in tasks if task.end is not None]
    recent = [task for task in ended if task.end is not None and task.end >= since]
    started = [task for task in tasks if task.start is not None]
    return {
        "all_time": {
            "since": iso(timed[0][0]) if timed else None,
            "tasks_started": len(started),
            "tasks_ok": sum(task.ok for task in ended),
            "tasks_fail": sum(not task.ok for task in ended),
            "tasks_retry": len(retries),
            **_durations(ended),
        },
        f"last_{hours:g}h": {
            "tasks_started": sum(task.start is not None and task.start >= since for task in tasks),
            "tasks_ok": sum(task.ok for task in recent),
            "tasks_fail": sum(not task.ok for task in recent),
            "tasks_retry": sum(time >= since for time in retries),
            **_durations(recent),
            "error_rate": _error_rate(tasks, since),
        },
    }


def summarize_dags(
    events: Iterable[Mapping[str, Any]],
    limit: int = 20,
    *,
    now: datetime | None = None,
    lost_after_s: float = LOST_AFTER_S,
) -> list[dict[str, Any]]:
    """The newest runs, one row each, latest start first: dag_name, run, job, tenant, status, start, end, duration,
    tasks_ok, tasks_fail, tasks_skipped.

    `duration` is seconds: of a run that goes on up to now, of a lost one up to its last event; `end` is None for both.
    `status` is success or failed as its `dag_done` says; without one the run is `lost` when a later attempt of its job
    began or when it said nothing for `lost_after_s`, else `running`. A run of the seed that failed wrote no end: a
    failed task with nothing after it makes it `failed`.
    """
    checks.check_int(limit, "limit", 0)
    checks.check_seconds(lost_after_s, "lost_after_s")
    runs = _runs_of(_timed(events))
    latest: dict[str, int] = {}
    for run in runs:
        if run.job is not None and run.attempt is not None:
            latest[run.job] = max(run.attempt, latest.get(run.job, 0))
    now_us = _now_us(now)
    rows = []
    for run in sorted(runs, key=lambda run: (run.start, run.name, run.id or ""), reverse=True)[:limit]:
        superseded = run.job is not None and run.attempt is not None and run.attempt < latest[run.job]
        status = run.status(lost=superseded or run.last < now_us - to_us(lost_after_s))
        end = run.end if run.end is not None else run.last if status == "failed" else None
        rows.append(
            {
                "dag_name": run.name,
                "run": run.id,
                "job": run.job,
                "tenant": run.tenant,
                "status": status,
                "start": iso(run.start),
                "end": None if end is None else iso(end),
                "duration": run.seconds(now_us if status == "running" else run.last if end is None else end),
                "tasks_ok": sum(task.end is not None and task.ok for task in run.tasks),
                "tasks_fail": sum(task.end is not None and not task.ok for task in run.tasks),
                "tasks_skipped": run.skipped,
            }
        )
    return rows


def summarize_schedules(
    state_events: Iterable[Mapping[str, Any]], *, now: datetime | None = None, lost_after_s: float = LOST_AFTER_S
) -> list[dict[str, Any]]:
    """A row per schedule, by id: schedule_id, last_run, last_status, enqueued_count, started_count, finished_count,
    success_count, failed_count.

    `last_run` is the latest start of a run; `last_status` what came of it: success, failed, retry, lost, or running.
    Both are None before the first run. A tick that several schedulers enqueued counts once.
    """
    checks.check_seconds(lost_after_s, "lost_after_s")
    silent_since = _now_us(now) - to_us(lost_after_s)
    rows: dict[str, _ScheduleRow] = {}
    for time, event in _timed(state_events):
        schedule_id = _text(event.get("schedule_id"))
        if schedule_id is not None:
            rows.setdefault(schedule_id, _ScheduleRow()).add(time, event)
    return [{"schedule_id": schedule_id, **row.shown(silent_since)} for schedule_id, row in sorted(rows.items())]


def per_tenant_load(
    events: Iterable[Mapping[str, Any]], window_hours: float | None = None, *, now: datetime | None = None
) -> list[dict[str, Any]]:
    """A row per tenant, most runs first: tenant, runs and tasks that started or ended in the window, avg_latency and
    error_rate.

    `avg_latency` is seconds from start to end of the runs that ended in the window, `error_rate` failed tasks divided
    by tasks.
    """
    since = _now_us(now) - round(_window(window_hours) * _HOUR_US)
    tenants: dict[str, list[_Run]] = {}
    for run in _runs_of(_timed(events)):
        if run.last >= since:
            tenants.setdefault(run.tenant or UNKNOWN_TENANT, []).append(run)
    rows = []
    for tenant, runs in tenants.items():
        tasks = [task for run in runs for task in run.tasks]
        latencies = [run.seconds(run.end) for run in runs if run.end is not None and run.end >= since]
        rows.append(
            {
                "tenant": tenant,
                "runs": len(runs),
                "tasks": sum(task.touches(since) for task in tasks),
                "avg_latency": sum(latencies) / len(latencies) if latencies else 0.0,
                "error_rate": _error_rate(tasks, since),
            }
        )
    return sorted(rows, key=lambda row: (-row["runs"], row["tenant"]))


def throughput(
    state_events: Iterable[Mapping[str, Any]], minutes: int = 60, *, now: datetime | None = None
) -> list[dict[str, Any]]:
    """The last minutes, oldest first, the current one last: minute (ISO), enqueued, started, success, failed, retry,
    lost.

    `enqueued` counts what schedules enqueued, the last four the attempts that ended so in that minute.
    """
    checks.check_int(minutes, "minutes", 0, 100_000)
    current = _now_us(now) // 60_000_000
    counts: dict[int, Counter[str]] = {}
    for time, event in _timed(state_events):
        kind = _COUNTED.get(str(event.get("event")), str(event.get("status")))
        counts.setdefault(time // 60_000_000, Counter())[kind] += 1
    names = ("enqueued", "started", "success", "failed", "retry", "lost")
    return [
        {"minute": iso(minute * 60_000_000), **{name: counts.get(minute, Counter())[name] for name in names}}
        for minute in range(current - minutes + 1, current + 1)
    ]


_COUNTED = {"schedule_enqueued": "enqueued", "run_started": "started"}


def oldest_age_s(jobs: Iterable[Job], *, now: datetime | None = None) -> float | None:
    """How many seconds ago the oldest of these jobs was enqueued; None without any."""
    enqueued = [iso_to_us(job.enqueued_at) for job in jobs]
    return max(0, _now_us(now) - min(enqueued)) / 1_000_000 if enqueued else None


# -- from events to runs and tasks -------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Task:
    """One task in one run. Times in microseconds of the epoch; without a start its beginning was cut off."""

    start: int | None = None
    end: int | None = None
    ok: bool = False
    duration: float | None = None

    def touches(self, since: int) -> bool:
        return any(time is not None and time >= since for time in (self.start, self.end))


@dataclass(slots=True)
class _Run:
    name: str
    id: str | None
    start: int
    last: int
    job: str | None = None
    attempt: int | None = None
    tenant: str | None = None
    begun: bool = False  # its dag_start is among the events
    end: int | None = None
    outcome: str | None = None
    duration: float | None = None
    skipped: int = 0
    failed_last: bool = False  # its last event is a failed task
    open: dict[str, _Task] = field(default_factory=dict)  # task id -> the task that has not ended
    ended: dict[str, _Task] = field(default_factory=dict)
    tasks: list[_Task] = field(default_factory=list)

    def status(self, *, lost: bool) -> str:
        if self.outcome is not None:
            return self.outcome
        if self.id is None and self.failed_last:
            return "failed"
        return "lost" if lost else "running"

    def seconds(self, end: int) -> float:
        """How long it took: as the runner measured it, else from its start to `end`."""
        return self.duration if self.duration is not None else max(0, end - self.start) / 1_000_000

    def add(self, time: int, event: Mapping[str, Any]) -> None:
        self.start, self.last = min(self.start, time), max(self.last, time)
        self.tenant = self.tenant or _text(event.get("tenant"))
        kind = event.get("event")
        self.failed_last = kind == "task_fail"
        task_id = str(event.get("task_id"))
        match kind:
            case "dag_start":
                self.begun = True
            case "dag_done":
                self.end = time
                self.outcome = "failed" if event.get("status") == "failed" else "success"
                self.duration = _seconds(event.get("duration_seconds"))
                if self.duration is not None and not self.begun:  # the limit cut its beginning off
                    self.start = min(self.start, time - min(time, to_us(self.duration)))
            case "task_start":
                ended = self.ended.get(task_id) if self.id is not None else None
                if ended is not None:  # the clock was put back between, or it is the same line twice
                    ended.start = time if ended.start is None else ended.start
                elif task_id not in self.open:
                    self.open[task_id] = _Task(start=time)
                    self.tasks.append(self.open[task_id])
            case "task_ok" | "task_fail":
                if self.id is not None and task_id in self.ended:
                    return  # the same line twice
                task = self.open.pop(task_id, None)
                if task is None:
                    task = _Task()
                    self.tasks.append(task)
                task.end, task.ok = time, kind == "task_ok"
                task.duration = _seconds(event.get("duration_seconds"))
                if task.duration is None and task.start is not None:
                    task.duration = max(0, time - task.start) / 1_000_000
                self.ended[task_id] = task
            case "task_skipped":
                self.skipped += 1


_ORDER = {
    "schedule_enqueued": 0,
    "run_started": 1,
    "dag_start": 1,
    "task_start": 2,
    "task_retry": 3,
    "task_ok": 4,
    "task_fail": 4,
    "task_skipped": 4,
    "dag_done": 5,
    "run_finished": 6,
}
_RUN_EVENTS = frozenset(_ORDER) - {"schedule_enqueued", "run_started", "run_finished"}


def _timed(events: Iterable[Mapping[str, Any]]) -> list[tuple[int, Mapping[str, Any]]]:
    """(microseconds of the epoch, event) in order of time, however they came; without a readable time left out.

    Of equal times the one that must have been first is first, so that a summary does not depend on the order given.
    """
    timed = []
    for event in events:
        time = _instant(event.get("timestamp")) if isinstance(event, Mapping) else None
        if time is not None:
            timed.append((time, event))
    return sorted(timed, key=lambda pair: (pair[0], _ORDER.get(str(pair[1].get("event")), 9), repr(pair[1])))


def _instant(value: object) -> int | None:
    if not isinstance(value, str):
        return None
    try:
        time = _us(datetime.fromisoformat(value))
    except (ValueError, OverflowError):
        return None
    return time if 0 <= time <= _END_US else None  # nothing was logged before 1970


def _us(moment: datetime) -> int:
    return (moment.replace(tzinfo=moment.tzinfo or UTC) - _EPOCH) // timedelta(microseconds=1)


def _runs_of(timed: Sequence[tuple[int, Mapping[str, Any]]]) -> list[_Run]:
    """The runs that the events of a DAG log are about, each with its tasks."""
    by_id: dict[str, _Run] = {}
    guessed: dict[str, _Run] = {}  # dag name -> the run that events without an id belong to
    runs: list[_Run] = []
    for time, event in timed:
        kind = str(event.get("event"))
        if kind not in _RUN_EVENTS:
            continue
        name, run_id = str(event.get("dag_name")), _text(event.get("run"))
        if run_id is not None:
            run = by_id.get(run_id)
        else:
            run = None if kind == "dag_start" else guessed.get(name)
        if run is None:
            run = _Run(name, run_id, time, time)
            runs.append(run)
            if run_id is None:
                guessed[name] = run
            else:
                by_id[run_id] = run
                run.job, run.attempt = _job_of(run_id, event)
        run.add(time, event)
        if run_id is None and kind == "dag_done":
            del guessed[name]
    return runs


def _job_of(run_id: str, event: Mapping[str, Any]) -> tuple[str | None, int | None]:
    """A run id is `<job id>#<attempt>`."""
    job_id, mark, attempt = run_id.rpartition("#")
    if mark and attempt.isascii() and attempt.isdigit() and len(attempt) < 12:
        return job_id, int(attempt)
    return _text(event.get("job")), None


@dataclass(slots=True)
class _ScheduleRow:
    enqueued: set[str] = field(default_factory=set)
    enqueued_unnamed: int = 0
    started: int = 0
    finished: Counter[str] = field(default_factory=Counter)
    run: str | None = None  # the latest run, and what is known of it
    run_time: int | None = None
    last: int = 0
    status: str | None = None

    def add(self, time: int, event: Mapping[str, Any]) -> None:
        job_id = _text(event.get("job_id")) or _text(event.get("job"))
        run = _text(event.get("run")) or job_id
        match event.get("event"):
            case "schedule_enqueued":
                if job_id is None:
                    self.enqueued_unnamed += 1
                else:
                    self.enqueued.add(job_id)
            case "run_started":
                self.started += 1
                self.run, self.run_time, self.last, self.status = run, time, time, "running"
            case "run_finished":
                status = str(event.get("status"))
                self.finished[status] += 1
                if self.run_time is None or run == self.run or run is None:
                    self.run, self.last, self.status = run, time, status
                    self.run_time = time if self.run_time is None else self.run_time

    def shown(self, silent_since: int) -> dict[str, Any]:
        lost = self.status == "running" and self.last < silent_since
        return {
            "last_run": None if self.run_time is None else iso(self.run_time),
            "last_status": "lost" if lost else self.status,
            "enqueued_count": len(self.enqueued) + self.enqueued_unnamed,
            "started_count": self.started,
            "finished_count": self.finished.total(),
            "success_count": self.finished["success"],
            "failed_count": self.finished["failed"],
        }


# -- numbers -----------------------------------------------------------------------------------------------------------


def _error_rate(tasks: Sequence[_Task], since: int) -> float:
    touched = [task for task in tasks if task.touches(since)]
    failed = sum(task.end is not None and task.end >= since and not task.ok for task in touched)
    return failed / len(touched) if touched else 0.0


def _durations(tasks: Sequence[_Task]) -> dict[str, float]:
    measured = sorted(task.duration for task in tasks if task.duration is not None)
    if not measured:
        return {"avg_duration": 0.0, "p95_duration": 0.0}
    rank = math.ceil(0.95 * len(measured))
    return {"avg_duration": sum(measured) / len(measured), "p95_duration": measured[rank - 1]}


def _seconds(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) and number >= 0 else None


def _text(value: object) -> str | None:
    """A name as text; None for what names nothing."""
    if value is None or value == "" or isinstance(value, list | dict):
        return None
    return str(value)


def _window(window_hours: float | None) -> float:
    hours = Settings.from_env().panel_window_h if window_hours is None else window_hours
    return checks.check_seconds(hours, "window_hours")


def _now_us(now: datetime | None) -> int:
    if now is None:
        return to_us(process_clock())
    if not isinstance(now, datetime):
        raise InvalidInput(f"now must be a datetime, got {checks.shown(now)}")
    return _us(now)
