# ruff: noqa: SLF001 - a bug reaches into what it breaks
"""Bugs of logs and of their summaries: one bad byte that hides all, a full disk that is told to the work, wrong sums.

Each `make` puts the fault into `orch.events` or `orch.analytics` for the time of a `with`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from orch import analytics, events
from orch.analytics import _Run, _ScheduleRow, _Task
from orch.clock import iso, process_clock, to_us
from orch.errors import InvalidInput
from orch.testing.bugs.catalogue import Bug
from orch.testing.bugs.replacing import replaced

_READ, _APPEND, _TIMED, _DAGS = events.read_newest, events._append, analytics._timed, analytics.summarize_dags


# -- L1 ----------------------------------------------------------------------------------------------------------------


@contextmanager
def bad_byte_hides_all() -> Iterator[None]:
    """The file is decoded as a whole: one byte that is no UTF-8, and the log is empty."""

    def read(path: Any, limit: int) -> list[dict[str, Any]]:
        found = _READ(path, limit)
        try:
            Path(path).read_bytes().decode()
        except FileNotFoundError:
            return found
        except UnicodeDecodeError:
            return []
        return found

    with replaced((events, "read_newest", read)):
        yield


@contextmanager
def any_json_is_an_event() -> Iterator[None]:
    """A line `5` is an event; what reads its fields raises."""

    def event(line: bytes) -> Any:
        try:
            return json.loads(line.decode())
        except (ValueError, RecursionError):
            return None

    with replaced((events, "_event", event)):
        yield


@contextmanager
def torn_line_takes_the_next_along() -> Iterator[None]:
    """A writer died in the middle of a line; the next event is appended to that, and both are lost."""
    with replaced((events, "_ends_a_line", lambda *_: True)):
        yield


@contextmanager
def writers_interleave() -> Iterator[None]:
    """No lock: what the system takes in two pieces has another process's line between them."""
    with replaced((events, "_lock", lambda _: True)):
        yield


@contextmanager
def short_write_is_the_end() -> Iterator[None]:
    """The system took a part of a line; the rest is forgotten."""

    def append(fd: int, data: bytes) -> None:
        events._lock(fd)
        start = os.fstat(fd).st_size
        if start and not events._ends_a_line(fd, start):
            data = b"\n" + data
        vars(events)["os"].write(fd, data)  # which may stand for another

    with replaced((events, "_append", append)):
        yield


@contextmanager
def full_disk_leaves_half_a_line() -> Iterator[None]:
    """What the full disk took stays there: a line that is no event."""

    def append(fd: int, data: bytes) -> None:
        shim = vars(events)["os"]
        kept = shim.ftruncate
        shim.ftruncate = lambda *_: None
        try:
            _APPEND(fd, data)
        finally:
            shim.ftruncate = kept

    with replaced((events, "_append", append)):
        yield


@contextmanager
def full_disk_is_told_to_the_work() -> Iterator[None]:
    """An OSError of the log comes out of the run that is logged."""

    def log_events(given: Iterable[Mapping[str, Any]], path: Any = None) -> None:
        stamped = [event if "timestamp" in event else {"timestamp": events._now(), **event} for event in given]
        events.append_events(path, stamped)

    with replaced((events, "log_events", log_events)):
        yield


@contextmanager
def not_failing_fails() -> Iterator[None]:
    """Recording never raises, they say; it does for what is no object, before it comes to the part that catches."""
    shipped = events.record_event

    def record(event: Mapping[str, Any], path: Any = None) -> None:
        if not isinstance(event, Mapping):
            raise InvalidInput("an event must be an object")
        shipped(event, path)

    with replaced((events, "record_event", record)):
        yield


@contextmanager
def event_is_changed() -> Iterator[None]:
    """The time is put into the caller's own dict, so the next event that is made of it has the same."""
    shipped = events.record_event

    def record(event: Mapping[str, Any], path: Any = None) -> None:
        if isinstance(event, dict):
            event.setdefault("timestamp", iso(to_us(process_clock())))
        shipped(event, path)

    with replaced((events, "record_event", record)):
        yield


# -- L2 ----------------------------------------------------------------------------------------------------------------


@contextmanager
def all_is_read() -> Iterator[None]:
    """The newest few are found by reading everything."""

    def read(path: Any, limit: int) -> list[dict[str, Any]]:
        return list(events.newest_first(path))[: len(_READ(path, limit))]

    with replaced((events, "read_newest", read)):
        yield


@contextmanager
def no_limit_is_all() -> Iterator[None]:
    """The last 0 of a list are all of it, by `[-0:]`; of -3 the oldest three are left out."""

    def read(path: Any, limit: int) -> list[dict[str, Any]]:
        return _READ(path, limit) if limit > 0 else list(events.newest_first(path))[::-1][-limit:][::-1]

    with replaced((events, "read_newest", read)):
        yield


# -- L3 ----------------------------------------------------------------------------------------------------------------


@contextmanager
def order_of_the_lines() -> Iterator[None]:
    """Events are taken as they come: of newest-first lines the last status is the oldest."""

    def timed(given: Iterable[Mapping[str, Any]]) -> list[tuple[int, Mapping[str, Any]]]:
        kept = list(given)
        place = {id(event): n for n, event in enumerate(kept)}
        return sorted(_TIMED(kept), key=lambda pair: place[id(pair[1])])

    with replaced((analytics, "_timed", timed)):
        yield


@contextmanager
def one_row_a_name() -> Iterator[None]:
    """Runs are told apart by the name of their DAG: two at once become one."""
    shipped = analytics._text

    def summarize(given: Iterable[Mapping[str, Any]], *more: Any, **named: Any) -> list[dict[str, Any]]:
        rows = _DAGS(given, *more, **named)
        return list({row["dag_name"]: row for row in rows[::-1]}.values())

    with replaced((analytics, "summarize_dags", summarize), (analytics, "_text", shipped)):
        yield


@contextmanager
def killed_runs_go_on_for_ever() -> Iterator[None]:
    """A run whose worker was killed wrote no end: it is shown as running until the end of days."""

    shipped = _Run.status

    def status(self: _Run, *, lost: bool) -> str:
        return shipped(self, lost=lost and self.outcome is not None)

    with replaced((_Run, "status", status)):
        yield


@contextmanager
def failures_by_starts() -> Iterator[None]:
    """Failed tasks of the window by those that started in it: more than all, or none of what began before."""

    def rate(tasks: Sequence[_Task], since: int) -> float:
        started = sum(task.start is not None and task.start >= since for task in tasks)
        failed = sum(task.end is not None and task.end >= since and not task.ok for task in tasks)
        return failed / started if started else 0.0

    with replaced((analytics, "_error_rate", rate)):
        yield


@contextmanager
def zones_are_cut_off() -> Iterator[None]:
    """A time is compared as it is written, without its zone."""
    shipped = analytics._instant

    def instant(value: object) -> int | None:
        return shipped(value[:19] if isinstance(value, str) else value)

    with replaced((analytics, "_instant", instant)):
        yield


@contextmanager
def bad_time_raises() -> Iterator[None]:
    """An event whose time is no text, and the summary of all others is a TypeError."""
    shipped = analytics._instant

    def instant(value: object) -> int | None:
        if not isinstance(value, str):
            raise TypeError(f"fromisoformat: argument must be str, got {value!r}")
        return shipped(value)

    with replaced((analytics, "_instant", instant)):
        yield


@contextmanager
def ticks_count_as_often_as_told() -> Iterator[None]:
    """Two schedulers tell of one tick: it counts twice."""
    shipped = _ScheduleRow.add

    def add(self: _ScheduleRow, time: int, event: Mapping[str, Any]) -> None:
        if event.get("event") == "schedule_enqueued":
            self.enqueued_unnamed += 1
        else:
            shipped(self, time, event)

    with replaced((_ScheduleRow, "add", add)):
        yield


@contextmanager
def ended_is_succeeded() -> Iterator[None]:
    """A run with a dag_done has succeeded; whether it says so is not looked at."""
    shipped = _Run.add

    def add(self: _Run, time: int, event: Mapping[str, Any]) -> None:
        shipped(self, time, {**event, "status": "success"} if event.get("event") == "dag_done" else event)

    with replaced((_Run, "add", add)):
        yield


def _bug(make: Any, promise: str, what: str, source: str) -> Bug:
    return Bug(make.__name__.replace("_", "-"), "logs", (promise,), what, source, make)


BUGS = (
    _bug(bad_byte_hides_all, "L1", "a good line, then a byte 0xff: nothing is read", "seed 130"),
    _bug(any_json_is_an_event, "L1", "a line `5` is read as an event", "seed 131"),
    _bug(torn_line_takes_the_next_along, "L1", "a line without its end, then an event: the event is lost", "seed 134"),
    _bug(writers_interleave, "L1", "two writers, a write in two pieces: both lines are lost", "orch"),
    _bug(short_write_is_the_end, "L1", "the system takes a part of a line: the event is lost", "orch"),
    _bug(full_disk_leaves_half_a_line, "L1", "a disk with 10 bytes left: 10 bytes of an event stay", "seed 134"),
    _bug(full_disk_is_told_to_the_work, "L1", "a full disk: log_event raises", "seed 121"),
    _bug(not_failing_fails, "L1", "record_event of a list raises", "seed 136"),
    _bug(event_is_changed, "L1", "record_event puts the time into the caller's dict", "seed 133"),
    _bug(all_is_read, "L2", "200 KB of log, the newest event: all of it is read", "seed 86"),
    _bug(no_limit_is_all, "L2", "an event, limit 0: it is read", "seed 128"),
    _bug(order_of_the_lines, "L3", "a run's lines in another order: another row", "seed 140"),
    _bug(one_row_a_name, "L3", "two runs of one DAG: one row", "seed 138, seed 141"),
    _bug(killed_runs_go_on_for_ever, "L3", "a run without an end, two hours later: it is running", "seed 142"),
    _bug(failures_by_starts, "L3", "a task began before the window and failed inside: the rate is 0", "seed 145"),
    _bug(zones_are_cut_off, "L3", "a run whose times are written in +14:00 began 14 hours later", "seed 146"),
    _bug(bad_time_raises, "L3", "an event with the time null: the summary raises", "seed 146"),
    _bug(ticks_count_as_often_as_told, "L3", "a tick told twice: two are enqueued", "huey 3.0.2"),
    _bug(ended_is_succeeded, "L3", "a task fails, the run ends: it is a success", "seed 142"),
)
