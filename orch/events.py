"""The two logs of orch: JSON objects, one a line, appended by many processes at once.

Law: a log never changes what is logged. Writing a domain event warns when it fails and never raises (L1); a torn
line, a bad byte or a line that is no object costs that line only (L1); reading the newest n costs O(n), however
long the file is (L2). What the events mean is the business of who writes and who summarizes them.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import stat
import sys
import time
from collections.abc import Hashable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, NoReturn

from orch import checks
from orch.clock import iso, process_clock, to_us
from orch.errors import InvalidInput

if sys.platform != "win32":
    import fcntl

EVENTS_PATH = "logs/orchestrator_events.jsonl"
STATE_PATH = "logs/orchestrator_state.jsonl"
LINE_MAX = 4 * 1024 * 1024  # bytes of one line; a longer one is refused when written and skipped when read
LOCK_WAIT_S = 1.0  # a writer that was stopped while it held the lock does not stop the others
_BLOCK = 64 * 1024
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)

log = logging.getLogger("orch.events")


def get_events_path() -> Path:
    """Where `run_dag` writes: `ORCH_EVENTS_PATH`, by default logs/orchestrator_events.jsonl. Makes nothing."""
    return Path(os.environ.get("ORCH_EVENTS_PATH") or EVENTS_PATH)


def get_state_store_path() -> Path:
    """Where `record_event` writes: `STATE_STORE_PATH`, by default logs/orchestrator_state.jsonl. Makes nothing."""
    return Path(os.environ.get("STATE_STORE_PATH") or STATE_PATH)


# -- writing -----------------------------------------------------------------------------------------------------


def append_event(path: str | os.PathLike[str], event: Mapping[str, Any]) -> None:
    """Append one event as one line. See `append_events`."""
    append_events(path, (event,))


def append_events(path: str | os.PathLike[str], events: Iterable[Mapping[str, Any]]) -> None:
    """Append events as whole lines in one write, next to any number of other writers; all of them or none.

    Makes missing folders. A last line that somebody left torn is ended first, so that it costs only itself; a write
    that the disk cut is taken back. Raises `InvalidInput` for what is no JSON object, `OSError` for the file.
    """
    data = b"".join(_line(event) for event in events)
    if not data:
        return
    fd = _open(path)
    try:
        _append(fd, data)
    finally:
        os.close(fd)


def log_event(event: Mapping[str, Any], events_path: str | os.PathLike[str] | None = None) -> None:
    """Append a domain event, with the time in front unless it has one; warns through logging and never raises."""
    log_events((event,), events_path)


def log_events(events: Iterable[Mapping[str, Any]], events_path: str | os.PathLike[str] | None = None) -> None:
    """`log_event` for several, in one write."""
    path = get_events_path() if events_path is None else events_path
    try:
        append_events(path, [event if "timestamp" in event else {"timestamp": _now(), **event} for event in events])
    except Exception as error:  # whatever it is, the work that is logged goes on (L1)
        log.warning("events not logged to %s: %s: %s", path, type(error).__name__, error)


def record_event(event: Mapping[str, Any], path: str | os.PathLike[str] | None = None) -> None:
    """Append to the state log, with the time at the end unless the caller gave one; never raises.

    A failure is printed, as in the seed, and logged.
    """
    try:
        target = get_state_store_path() if path is None else path
        append_event(target, event if "timestamp" in event else {**event, "timestamp": _now()})
    except Exception as error:  # as in log_events
        log.warning("event not recorded: %s: %s", type(error).__name__, error)
        with contextlib.suppress(Exception):  # stdout may be closed, or know no such letter
            print(f"Warning: Failed to record event: {error}")


def _now() -> str:
    return iso(to_us(process_clock()))


def _line(event: Mapping[str, Any]) -> bytes:
    if not isinstance(event, Mapping):
        raise InvalidInput(f"an event must be an object (a dict), got {checks.shown(event)}")
    try:
        text = _ENCODER.encode(dict(event))
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInput(f"an event must be JSON, got {checks.shown(event)}: {error}") from None
    # A lone surrogate cannot be UTF-8; its escape is the same text in JSON.
    data = text.encode("utf-8", "backslashreplace") + b"\n"
    if len(data) > LINE_MAX:
        raise InvalidInput(f"an event must be at most {LINE_MAX} bytes of JSON, got {len(data)}; log a reference")
    return data


def _open(path: str | os.PathLike[str]) -> int:
    try:
        return os.open(path, _FLAGS, 0o666)
    except FileNotFoundError:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, _FLAGS, 0o666)


def _append(fd: int, data: bytes) -> None:
    locked = _lock(fd)
    found = os.fstat(fd)
    if not stat.S_ISREG(found.st_mode):  # /dev/null, a pipe: nothing to mend
        os.write(fd, data)
        return
    start = found.st_size
    if start and not _ends_a_line(fd, start):
        data = b"\n" + data
    written = 0
    try:
        while written < len(data):
            written += os.write(fd, data[written:])
    except OSError:
        # Only what is surely ours is cut off: under the lock, and if nobody wrote without it.
        if locked and written and os.fstat(fd).st_size == start + written:
            os.ftruncate(fd, start)
        raise


def _ends_a_line(fd: int, size: int) -> bool:
    os.lseek(fd, size - 1, os.SEEK_SET)  # where O_APPEND writes is not moved by this
    return os.read(fd, 1) == b"\n"


def _lock(fd: int) -> bool:
    """Take the file's lock, which closing it gives back; False when that took too long."""
    if sys.platform == "win32":  # appends stay whole lines, but one cut by a full disk is not taken back
        return False
    pause = 0.0002
    give_up = time.monotonic() + LOCK_WAIT_S
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() >= give_up:
                return False
        except OSError:  # a file system without locks
            return False
        time.sleep(pause)
        pause = min(pause * 2, 0.01)


# -- reading -----------------------------------------------------------------------------------------------------


def read_newest(path: str | os.PathLike[str], limit: int) -> list[dict[str, Any]]:
    """The last `limit` events of a log, newest first; [] for a missing file.

    Reads backwards, a block at a time: O(limit) time and memory. Lines that are no JSON object do not count.
    """
    checks.check_int(limit, "limit", 0)
    return list(islice(newest_first(path), limit))


def newest_first(path: str | os.PathLike[str]) -> Iterator[dict[str, Any]]:
    """Every readable event of a log from its end to its beginning; lazy, one block in memory."""
    for line in _lines_backwards(path):
        event = _event(line)
        if event is not None:
            yield event


def last_runs(limit: int = 20, path: str | os.PathLike[str] | None = None) -> list[dict[str, Any]]:
    """The last events of the state log, newest first."""
    return read_newest(get_state_store_path() if path is None else path, limit)


def index_by(
    field: str, limit: int = 100, path: str | os.PathLike[str] | None = None
) -> dict[Hashable, list[dict[str, Any]]]:
    """The last `limit` events of the state log grouped by the value of a field, in time order inside a group.

    Events without the field, or with null or a list or an object in it, are in no group.
    """
    checks.check_text(field, "field")
    groups: dict[Hashable, list[dict[str, Any]]] = {}
    for event in reversed(last_runs(limit, path)):
        value = event.get(field)
        if value is not None and not isinstance(value, list | dict):
            groups.setdefault(value, []).append(event)
    return groups


def _no_json(token: str) -> NoReturn:
    raise ValueError(f"{token} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_no_json)


def _event(line: bytes) -> dict[str, Any] | None:
    try:
        value = _DECODER.decode(line.decode())
    except (ValueError, RecursionError):  # UnicodeDecodeError is a ValueError
        return None
    return value if isinstance(value, dict) else None


def _lines_backwards(path: str | os.PathLike[str]) -> Iterator[bytes]:
    """Non-empty lines from the last to the first; a line over LINE_MAX is left out without being held."""
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(Path(path).open("rb", buffering=0))
        except (FileNotFoundError, NotADirectoryError):
            return
        position = file.seek(0, os.SEEK_END)
        tail: list[bytes] = []  # the pieces of a line whose beginning is not read yet, last piece first
        held = 0
        while position > 0:
            size = min(_BLOCK, position)
            position -= size
            file.seek(position)
            block = file.read(size)
            first, *rest = block.split(b"\n")
            if rest:
                if held + len(rest[-1]) <= LINE_MAX:
                    line = b"".join((rest[-1], *reversed(tail)))
                    if line:
                        yield line
                yield from (line for line in reversed(rest[:-1]) if line)
                tail, held = [], 0
            held += len(first)
            if held > LINE_MAX:
                tail = []
            else:
                tail.append(first)
        if 0 < held <= LINE_MAX:
            yield b"".join(reversed(tail))
