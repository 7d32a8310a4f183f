"""The machine of log files and their summaries (L1 to L3): writers that tear lines, disks that are full, bytes that are
no text, and runs whose events come in any order.

A file is judged by splitting it at newlines. A `Run` of the oracle keeps what happened in it, by task, and the rows of
every summary are counted from there.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import io
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from orch import analytics, events
from orch.errors import InvalidInput
from orch.testing.machines.world import Act, Broken, Machine, World
from orch.testing.trace import generator

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
BLOCK = 64 * 1024  # that a reader may read at once
LINE_MAX = 300_000  # bytes, in place of four million: long lines cost time
WINDOW_H = 0.5
MINUTES = 5
EVENTS: tuple[dict[str, Any], ...] = (
    {"event": "x", "n": 1},
    {"event": "x", "text": "a\nb\r\u2028\u0000é\U0001f600"},
    {"event": "x", "text": "\ud800"},
    {"event": "x", "pad": "p" * 10_000},
    {"event": "x", "pad": "p" * 100_000},
    {"event": "x", "timestamp": "2026-11-24T10:00:00+00:00", "deep": {"a": [[[{}]]]}},
)
NO_EVENTS: tuple[Any, ...] = ([1], 5, None, {"n": float("nan")}, {"n": {1, 2}}, {"pad": "p" * (LINE_MAX + 1)})
LINES = (b"5", b"[]", b'"text"', b"null", b'{"n": "\xff"}', b"\xfe\xff", b"{", b'{"n": NaN}', b"", b"\0", b"[" * 5000)
FLOODS = (BLOCK, 3 * BLOCK, LINE_MAX + 10)
CUTS = (1, 2, 7, 50, 5_000)
LIMITS = (0, 1, 2, 5, 100)
ROOMS = (0, 1, 10, 5_000)  # bytes that the disk has left
PAUSES = (3_000.0, 1.0, 10_000.0, 600.0, 0.0, 30.0, 4_000.0, 40_000.0)
LATER = (1.5, 3_000.5, 10_000.5)
OFFSETS = (0, 14, -12)  # hours of the zone in which a time is written
TENANTS = ("acme", "zoo")
TASKS = ("a", "b")
KINDS = ("task_ok", "task_fail", "task_retry", "task_skipped")
BAD_TIMES: tuple[Any, ...] = (None, 5, "zzz", [], "0001-01-01T00:00:00")


@dataclass(slots=True)
class Done:
    """One task of one run, as the oracle knows it: seconds of the epoch."""

    start: float | None = None
    end: float | None = None
    ok: bool = False


@dataclass(slots=True)
class Run:
    """One run of a DAG, as the oracle knows it."""

    id: str
    job: str
    attempt: int
    name: str
    tenant: str
    start: float
    last: float
    status: str = ""
    duration: float | None = None
    end: float | None = None
    skipped: int = 0
    retries: list[float] = field(default_factory=list)
    tasks: dict[str, Done] = field(default_factory=dict)


class Logs(World):
    """A log file that many write to, and the events of runs that are summarized."""

    def __init__(self) -> None:
        super().__init__()
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self.written = 0
        self.now = NOW.timestamp() - 86_400
        self.log: list[dict[str, Any]] = []  # of runs
        self.state: list[dict[str, Any]] = []  # of schedules
        self.runs: dict[str, Run] = {}
        self._line_max, events.LINE_MAX = events.LINE_MAX, LINE_MAX

    def close(self) -> None:
        events.LINE_MAX = self._line_max
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None
        super().close()

    @property
    def path(self) -> Path:
        """The file, in a folder that is made when it is needed."""
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory()
        return Path(self._folder.name, "log.jsonl")

    def _data(self) -> bytes:
        try:
            return self.path.read_bytes()
        except FileNotFoundError:
            return b""

    # -- writing -----------------------------------------------------------------------------------------------------

    def append(self, how: str, n: int, pieces: int, beside: bool) -> None:
        """An event is written: `log`, `record` or `append`. The system takes the data in so many pieces.

        With `beside` another process appends an event between two of them, unless it finds the file locked.
        """
        event = {**EVENTS[n], "id": self.written}
        given = json.dumps(event)
        self.written += 2
        before = self._data()
        other = json.dumps({"id": self.written - 1}).encode() + b"\n" if beside else b""
        came: list[str] = []
        with self._pieces(pieces, other, came):
            {"append": _append, "log": _log, "record": _record}[how](self.path, event)
        if json.dumps(event) != given:
            raise Broken("L1", f"the event that was handed to {how} was changed: {set(event) - set(json.loads(given))}")
        ids = [found.get("id") for found in _plainly(self._data())]
        due = [self.written - 2, *([self.written - 1] if came else [])]
        for one in due:
            if ids.count(one) != 1:
                who = "the event" if one == self.written - 2 else "what another process appended meanwhile"
                raise Broken("L1", f"{who} is in the log {ids.count(one)} times, after {how} in {pieces} pieces")
        self._keeps(before)

    def refuse(self, how: str, n: int) -> None:
        """What is no event is written: `append` raises, the others warn, and the file is as it was."""
        before = self._data()
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                {"append": _append, "log": _log, "record": _record}[how](self.path, NO_EVENTS[n])
        except InvalidInput:
            if how != "append":
                raise Broken("L1", f"{how} raised for what is no event, and so changed what is logged") from None
        except Exception as error:
            raise Broken("L1", f"{how} raised {type(error).__name__}: {error}") from None
        else:
            if how == "append":
                raise Broken("L1", f"{NO_EVENTS[n]!r:.40} was appended")
        if self._data() != before:
            raise Broken("L1", f"{NO_EVENTS[n]!r:.40} left something in the log")

    def full(self, how: str, n: int, room: int) -> None:
        """The disk has so many bytes left: an event is there as a whole, or not at all."""
        before = self._data()
        size = len(before)
        path, shim = self.path, _disk(room)
        path.touch()
        try:
            with _replaced(events, "os", shim), contextlib.redirect_stdout(io.StringIO()):
                {"append": _append, "log": _log, "record": _record}[how](path, EVENTS[n])
        except OSError:
            if how != "append":
                raise Broken("L1", f"a full disk made {how} raise, and so changed what is logged") from None
        after = self._data()
        grown = after[size:]
        whole = not grown or (grown.endswith(b"\n") and len(_plainly(grown)) == 1)
        if not after.startswith(before) or not whole:
            raise Broken("L1", f"a disk with {room} bytes left kept {len(grown)} bytes of an event: {grown[:40]!r}")

    def gone(self, how: str) -> None:
        """The folder of the log is a file: nobody can write there."""
        place = self.path.parent / "file"
        place.touch()
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                {"log": _log, "record": _record}[how](place / "log.jsonl", EVENTS[0])
        except Exception as error:
            raise Broken("L1", f"{how} raised {type(error).__name__}, and so changed what is logged") from None

    # -- what happens to files ---------------------------------------------------------------------------------------

    def line(self, n: int, ended: bool) -> None:
        """Another program writes a line, or dies before its end."""
        with self.path.open("ab") as file:
            file.write(LINES[n] + (b"\n" if ended else b""))

    def flood(self, size: int) -> None:
        """A line of so many bytes that is an event, if it is not longer than lines may be."""
        with self.path.open("ab") as file:
            file.write(b'\n{"pad": "' + b"x" * (size - 11) + b'"}\n')

    def cut(self, size: int) -> None:
        """The last bytes of the file are lost."""
        os.truncate(self.path, max(0, len(self._data()) - size))

    # -- reading -----------------------------------------------------------------------------------------------------

    def read(self, limit: int) -> None:
        """The newest events are those of reading everything, and cost what they are long."""
        data = self._data()
        due = _plainly(data)[::-1]
        counted = _Counted(0)
        with _replaced(events, "Path", counted.path):
            found = events.read_newest(self.path, limit)
        if found != due[:limit]:
            promise = "L2" if len(found) > limit else "L1"
            raise Broken(promise, f"of {len(due)} events the newest {limit} were read as {len(found)}: {found!r:.100}")
        span = _span(data, limit)
        if counted.bytes > span + 2 * BLOCK:
            raise Broken("L2", f"{counted.bytes} bytes were read for the newest {limit}, which are the last {span}")
        try:
            events.read_newest(self.path, -1 - limit)
        except InvalidInput:
            return
        raise Broken("L2", f"a limit of {-1 - limit} was taken")

    def group(self, limit: int) -> None:
        """`index_by` has the same events, by their value, in order of time."""
        due: dict[Any, list[dict[str, Any]]] = {}
        for event in _plainly(self._data())[::-1][:limit][::-1]:
            if isinstance(event.get("id"), int):
                due.setdefault(event["id"], []).append(event)
        found = events.index_by("id", limit, self.path)
        if found != due:
            promise = "L2" if sum(map(len, found.values())) > limit else "L1"
            raise Broken(promise, f"of the newest {limit} events {len(found)} groups were made, not {len(due)}")

    # -- runs --------------------------------------------------------------------------------------------------------

    def wait(self, seconds: float) -> None:
        """Time passes between events."""
        self.now += seconds

    def start(self, job: int, tenant: str, offset: int) -> None:
        """The next attempt of a job starts."""
        self.now += 0.001  # no two events at one time: which was first is told
        attempt = 1 + sum(run.job == f"j{job}" for run in self.runs.values())
        run = Run(f"j{job}#{attempt}", f"j{job}", attempt, f"dag{job % 2}", tenant, self.now, self.now)
        self.runs[run.id] = run
        self._write(run, "dag_start", offset)

    def happens(self, run: str, task: str, kind: str, offset: int) -> None:
        """A task of a run starts, where it has not, or fares as `kind` says."""
        self.now += 0.001  # no two events at one time: which was first is told
        one = self.runs[run]
        done = one.tasks.get(task)
        if kind == "task_skipped":
            one.skipped += 1
        elif done is None:
            one.tasks[task] = Done(start=self.now)
            kind = "task_start"
        elif kind == "task_retry":
            one.retries.append(self.now)
        else:
            done.end, done.ok = self.now, kind == "task_ok"
        one.last = self.now
        self._write(one, kind, offset, task_id=task)

    def works(self, run: str, task: str, kind: str, seconds: float, offset: int) -> None:
        """A task of a run starts, takes so long, and fares as `kind` says."""
        self.happens(run, task, "task_start", offset)
        self.now += seconds
        self.happens(run, task, kind, offset)

    def finish(self, run: str, offset: int) -> None:
        """A run ends."""
        self.now += 0.001  # no two events at one time: which was first is told
        one = self.runs[run]
        one.status = "failed" if any(task.end and not task.ok for task in one.tasks.values()) else "success"
        one.end = one.last = self.now
        one.duration = self.now - one.start
        self._write(one, "dag_done", offset, status=one.status, duration_seconds=one.duration)

    def stray(self, n: int) -> None:
        """An event without a time that can be read, and one that is of no run."""
        when = BAD_TIMES[n]
        self.log.append({"event": "dag_start", "dag_name": "dag0", "run": "stray#1", "timestamp": when})
        self.log.append({"event": "other", "timestamp": self._time(0)})

    def fire(self, schedule: int, run: int, offset: int) -> None:
        """A schedule enqueues a tick, perhaps once more; with `run` that job starts, with a second run it ends."""
        self.now += 0.001  # no two events at one time: which was first is told
        job = f"s{schedule}@{len(self.state)}"
        base = {"schedule_id": f"s{schedule}", "job_id": job, "run": f"{job}#1"}
        self.state.append({"event": "schedule_enqueued", **base, "timestamp": self._time(offset)})
        if run % 2:
            self.state.append({"event": "schedule_enqueued", **base, "timestamp": self._time(0)})
        self.now += 1
        if run:
            self.state.append({"event": "run_started", **base, "timestamp": self._time(offset)})
            self.now += 1
        if run > 1:
            status = ("success", "failed", "retry")[run % 3]
            self.state.append({"event": "run_finished", **base, "status": status, "timestamp": self._time(offset)})
        self.now += 1

    def summarize(self, seed: int, later: float) -> None:
        """Every summary of these events, in an order that is drawn, at a time after them: as the oracle counts."""
        now = datetime.fromtimestamp(self.now + later, UTC)
        log, state = _shuffled(self.log, seed), _shuffled(self.state, seed)
        self._judge_dags(analytics.summarize_dags(log, 1000, now=now), now.timestamp())
        self._judge_tasks(analytics.summarize_tasks(log, WINDOW_H, now=now), now.timestamp())
        self._judge_tenants(analytics.per_tenant_load(log, WINDOW_H, now=now), now.timestamp())
        self._judge_schedules(analytics.summarize_schedules(state, now=now), now.timestamp())
        self._judge_minutes(analytics.throughput(state, MINUTES, now=now), now.timestamp())

    def _judge_dags(self, rows: Sequence[Mapping[str, Any]], now: float) -> None:
        found = {row["run"]: row for row in rows}
        if sorted(row["run"] or "" for row in rows) != sorted(self.runs):
            raise Broken("L3", f"{len(self.runs)} runs, rows for {[row['run'] for row in rows]}")
        for run in self.runs.values():
            row = found[run.id]
            later = any(other.job == run.job and other.attempt > run.attempt for other in self.runs.values())
            status = run.status or ("lost" if later or run.last < now - 3600 else "running")
            ended = [task for task in run.tasks.values() if task.end is not None]
            due = {
                "dag_name": run.name,
                "job": run.job,
                "tenant": run.tenant,
                "status": status,
                "tasks_ok": sum(task.ok for task in ended),
                "tasks_fail": sum(not task.ok for task in ended),
                "tasks_skipped": run.skipped,
            }
            for name, value in due.items():
                if row[name] != value:
                    raise Broken("L3", f"run {run.id} has {name} {row[name]!r}, not {value!r}")
            until = run.end if run.end is not None else now if status == "running" else run.last
            due_s = run.duration if run.duration is not None else until - run.start
            if row["duration"] < 0 or abs(row["duration"] - due_s) > 1e-3:
                raise Broken("L3", f"run {run.id} has a duration of {row['duration']} s, not {due_s:g} s")

    def _judge_tasks(self, summary: Mapping[str, Any], now: float) -> None:
        tasks = [task for run in self.runs.values() for task in run.tasks.values()]
        ended = [task for task in tasks if task.end is not None]
        retries = [time for run in self.runs.values() for time in run.retries]
        since = now - WINDOW_H * 3600
        every, window = summary["all_time"], summary[f"last_{WINDOW_H:g}h"]
        due = (len(tasks), sum(t.ok for t in ended), sum(not t.ok for t in ended), len(retries))
        found = tuple(every[name] for name in ("tasks_started", "tasks_ok", "tasks_fail", "tasks_retry"))
        if found != due:
            raise Broken("L3", f"(started, ok, fail, retry) of all tasks are {found}, not {due}")
        recent = [task for task in ended if (task.end or 0) >= since]
        due = (
            sum((t.start or 0) >= since for t in tasks),
            sum(t.ok for t in recent),
            sum(not t.ok for t in recent),
            sum(time >= since for time in retries),
        )
        found = tuple(window[name] for name in ("tasks_started", "tasks_ok", "tasks_fail", "tasks_retry"))
        if found != due:
            raise Broken("L3", f"(started, ok, fail, retry) of the last {WINDOW_H:g} h are {found}, not {due}")
        self._judge_rate("all tasks", window["error_rate"], tasks, since)
        seconds = [(t.end or 0) - (t.start or 0) for t in ended]
        mean = sum(seconds) / len(seconds) if seconds else 0.0
        if abs(every["avg_duration"] - mean) > 1e-3 or every["p95_duration"] < min(seconds, default=0) - 1e-3:
            raise Broken("L3", f"tasks took {every['avg_duration']} s on average, not {mean:g} s")

    def _judge_rate(self, what: str, rate: float, tasks: Sequence[Done], since: float) -> None:
        touched = [t for t in tasks if (t.start or 0) >= since or (t.end or 0) >= since]
        failed = [t for t in touched if t.end is not None and t.end >= since and not t.ok]
        due = len(failed) / len(touched) if touched else 0.0
        if not 0 <= rate <= 1 or abs(rate - due) > 1e-9:
            raise Broken("L3", f"the error rate of {what} is {rate}, not {due}: {len(failed)} of {len(touched)} failed")

    def _judge_tenants(self, rows: Sequence[Mapping[str, Any]], now: float) -> None:
        since = now - WINDOW_H * 3600
        due: dict[str, list[Run]] = {}
        for run in self.runs.values():
            if run.last >= since:
                due.setdefault(run.tenant, []).append(run)
        if sorted(row["tenant"] for row in rows) != sorted(due):
            raise Broken("L3", f"tenants {sorted(due)} did something, rows for {[row['tenant'] for row in rows]}")
        for row in rows:
            runs = due[row["tenant"]]
            if row["runs"] != len(runs):
                raise Broken("L3", f"tenant {row['tenant']} has {row['runs']} runs, not {len(runs)}")
            self._judge_rate(
                f"tenant {row['tenant']}", row["error_rate"], [t for run in runs for t in run.tasks.values()], since
            )

    def _judge_schedules(self, rows: Sequence[Mapping[str, Any]], now: float) -> None:
        timed = sorted(self.state, key=_when)
        due: dict[str, dict[str, Any]] = {}
        for event in timed:
            row = due.setdefault(event["schedule_id"], {"jobs": set(), "status": None, "last": 0.0, "finished": 0})
            if event["event"] == "schedule_enqueued":
                row["jobs"].add(event["job_id"])
            else:
                row["status"] = "running" if event["event"] == "run_started" else event["status"]
                row["last"] = _when(event)
                row["finished"] += event["event"] == "run_finished"
        found = {row["schedule_id"]: row for row in rows}
        if sorted(found) != sorted(due):
            raise Broken("L3", f"schedules {sorted(due)}, rows for {sorted(found)}")
        for name, row in due.items():
            status = "lost" if row["status"] == "running" and row["last"] < now - 3600 else row["status"]
            should = {"enqueued_count": len(row["jobs"]), "last_status": status, "finished_count": row["finished"]}
            for key, value in should.items():
                if found[name][key] != value:
                    raise Broken("L3", f"schedule {name} has {key} {found[name][key]!r}, not {value!r}")

    def _judge_minutes(self, rows: Sequence[Mapping[str, Any]], now: float) -> None:
        first = now // 60 - MINUTES + 1
        for column, kind in (("enqueued", "schedule_enqueued"), ("started", "run_started")):
            due = sum(event["event"] == kind and first <= _when(event) // 60 <= now // 60 for event in self.state)
            found = sum(row[column] for row in rows)
            if len(rows) != MINUTES or found != due:
                raise Broken("L3", f"{found} {column} in {len(rows)} minutes, not {due} in {MINUTES}")

    # -- small things ------------------------------------------------------------------------------------------------

    def _write(self, run: Run, kind: str, offset: int, **more: Any) -> None:
        base = {"event": kind, "dag_name": run.name, "tenant": run.tenant, "run": run.id, "job": run.job}
        self.log.append({"timestamp": self._time(offset), **base, **more})

    def _time(self, offset: int) -> str:
        return datetime.fromtimestamp(self.now, timezone(timedelta(hours=offset))).isoformat()

    def _keeps(self, before: bytes) -> None:
        if not self._data().startswith(before):
            raise Broken("L1", "what was in the log before is not there any more")

    @contextlib.contextmanager
    def _pieces(self, pieces: int, other: bytes, came: list[str]) -> Iterator[None]:
        """The system takes a write in so many pieces; after the first of them another process appends."""

        def write(fd: int, data: bytes) -> int:
            taken = data if pieces == 1 or len(data) < 2 or came == ["last"] else data[: max(1, len(data) // pieces)]
            n = os.write(fd, taken)
            if other and not came and n < len(data) and self._appends(other):
                came.append("between")
            return n

        shim = SimpleNamespace(**_OS)
        shim.write = write
        with _replaced(events, "os", shim):
            yield
        if other and not came and self._appends(other):
            came.append("after")

    def _appends(self, data: bytes) -> bool:
        """Another process appends, if it gets the lock; what it finds torn it ends."""
        with self.path.open("ab+") as file:
            try:
                fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - 1))
            file.write(data if not size or file.read(1) == b"\n" else b"\n" + data)
        return True


def _append(path: Path, event: Any) -> None:
    events.append_event(path, event)


def _log(path: Path, event: Any) -> None:
    events.log_event(event, path)


def _record(path: Path, event: Any) -> None:
    events.record_event(event, path)


def _when(event: Mapping[str, Any]) -> float:
    return datetime.fromisoformat(event["timestamp"]).timestamp()


def _plainly(data: bytes) -> list[dict[str, Any]]:
    """Every line that is a JSON object and not too long, in order."""
    found = []
    for line in data.split(b"\n"):
        if len(line) > LINE_MAX or not line.lstrip().startswith(b"{"):
            continue
        try:
            value = json.loads(line.decode(), parse_constant=_refused)
        except ValueError:
            continue
        found.append(value)
    return found


def _refused(text: str) -> None:
    raise ValueError(text)


def _span(data: bytes, limit: int) -> int:
    """How many bytes from the end the newest events take, with what lies between them."""
    if not limit:
        return 0
    left = limit
    size = 0
    for line in data.split(b"\n")[::-1]:
        size += len(line) + 1
        left -= len(_plainly(line))
        if not left:
            return size
    return len(data)


def _shuffled(given: Sequence[dict[str, Any]], seed: int) -> list[dict[str, Any]]:
    """0: as they came; 1: the other way round; else some order."""
    order = list(given)
    if seed == 1:
        return order[::-1]
    rng = generator(seed)
    return sorted(order, key=lambda _: rng()) if seed else order


def _disk(room: int) -> SimpleNamespace:
    """`os` with a disk that has so many bytes left."""
    left = [room]

    def write(fd: int, data: bytes) -> int:
        if not left[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        n = os.write(fd, data[: left[0]])
        left[0] -= n
        return n

    shim = SimpleNamespace(**_OS)
    shim.write = write
    return shim


@dataclass(slots=True)
class _Counted:
    """Counts the bytes that are read through `Path(...).open`."""

    bytes: int

    def path(self, *given: Any) -> Path:
        counted = self

        class File(io.FileIO):
            def read(self, size: int | None = -1) -> bytes:
                data = super().read(-1 if size is None else size) or b""
                counted.bytes += len(data)
                return data

            def readall(self) -> bytes:
                return self.read(-1)

        class Opened(type(Path())):  # type: ignore[misc]  # the class of paths of this system
            def open(self, *_: Any, **__: Any) -> Any:
                return File(str(self), "rb")

            def read_bytes(self) -> bytes:
                with self.open() as file:
                    return bytes(file.read())

        made: Path = Opened(*given)
        return made


@contextlib.contextmanager
def _replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    kept = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, kept)


# -- the acts ----------------------------------------------------------------------------------------------------------

_OS = {name: getattr(os, name) for name in dir(os) if not name.startswith("__")}
_HOW = ("append", "log", "record")


def _live(world: Logs, which: int) -> Run | None:
    """One of the runs that go on, the newest first."""
    live = [run for run in world.runs.values() if not run.status][::-1]
    return live[which % len(live)] if live else None


def _happens(world: Logs, which: int, task: int, kind: int, offset: int) -> tuple[Any, ...] | None:
    run = _live(world, which)
    if run is None:
        return None
    done = run.tasks.get(TASKS[task])
    if done is not None and done.end is not None:
        return None
    if KINDS[kind] == "task_skipped" and done is not None:
        return None
    return run.id, TASKS[task], KINDS[kind], OFFSETS[offset]


def _works(world: Logs, which: int, task: int, kind: int, seconds: int, offset: int) -> tuple[Any, ...] | None:
    run = _live(world, which)
    if run is None or TASKS[task] in run.tasks:
        return None
    return run.id, TASKS[task], KINDS[kind], PAUSES[seconds], OFFSETS[offset]


def _finish(world: Logs, which: int, offset: int) -> tuple[Any, ...] | None:
    run = _live(world, which)
    return None if run is None else (run.id, OFFSETS[offset])


def _act(name: str, code: str, domains: tuple[int, ...], bind: Callable[..., Any], promise: str, weight: int) -> Act:
    return Act(name, code, domains, bind, promise, weight)


ACTS = (
    Act(
        "append",
        "a",
        (len(_HOW), len(EVENTS), 3, 2),
        lambda _, how, n, pieces, beside: (_HOW[how], n, pieces + 1, bool(beside)),
        "L1",
        6,
    ),
    Act("refuse", "e", (len(_HOW), len(NO_EVENTS)), lambda _, how, n: (_HOW[how], n), "L1", 1),
    Act("full", "f", (len(_HOW), 4, len(ROOMS)), lambda _, how, n, room: (_HOW[how], n, ROOMS[room]), "L1", 2),
    Act("gone", "g", (2,), lambda _, how: (_HOW[how + 1],), "L1", 1),
    Act("line", "l", (len(LINES), 2), lambda _, n, torn: (n, not torn), "L1", 4),
    Act("flood", "o", (len(FLOODS),), lambda _, n: (FLOODS[n],), "L1", 1),
    Act("cut", "c", (len(CUTS),), lambda w, n: (CUTS[n],) if w.path.exists() else None, "L1", 1),
    Act("read", "r", (len(LIMITS),), lambda _, n: (LIMITS[n],), "L1", 5),
    Act("group", "i", (len(LIMITS),), lambda _, n: (LIMITS[n],), "L1", 1),
    Act("wait", "w", (len(PAUSES),), lambda _, n: (PAUSES[n],), "L3", 5),
    Act("start", "s", (3, 2, 3), lambda _, job, tenant, n: (job, TENANTS[tenant], OFFSETS[n]), "L3", 1),
    Act("happens", "t", (2, len(TASKS), len(KINDS), 3), _happens, "L3", 6),
    Act("works", "k", (2, len(TASKS), 2, 4, 3), _works, "L3", 8),
    Act("finish", "d", (2, 3), _finish, "L3", 3),
    Act("stray", "y", (len(BAD_TIMES),), lambda _, n: (n,), "L3", 1),
    Act("fire", "h", (2, 5, 3), lambda _, schedule, run, n: (schedule, run, OFFSETS[n]), "L3", 2),
    Act("summarize", "z", (5, 3), lambda _, seed, later: (seed, LATER[later]), "L3", 4),
)

MACHINE = Machine("logs", "l1", Logs, ACTS, always="rszkd", themes=("aefglocri", "wstkdyhz"), length=30)
