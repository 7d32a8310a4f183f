"""Clocks: a callable without arguments that returns epoch seconds.

Queues reckon in whole microseconds of epoch time (`Micros`), so that equal instants are equal on every
backend; people see ISO-8601 texts. Reading the time happens here and nowhere else in the core.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import lru_cache

Clock = Callable[[], float]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ONE_US = timedelta(microseconds=1)


def _anchored() -> Clock:
    """A clock that starts at the wall time of now and then only follows the monotonic clock."""
    offset = time.time() - time.monotonic()
    return lambda: time.monotonic() + offset


#: Epoch seconds that changes of the wall clock do not move; the default of everything within one process.
process_clock: Clock = _anchored()


def to_us(seconds: float) -> int:
    """Seconds to whole microseconds, rounded to the nearest."""
    return round(seconds * 1_000_000)


def iso(us: int) -> str:
    """Epoch microseconds as an aware ISO-8601 text in UTC; microseconds are left out when they are 0."""
    known, text = _last[0]
    if us == known:
        return text
    second, rest = divmod(us, 1_000_000)
    hour, second = divmod(second, 3600)
    text = f"{_hour_text(hour)}{second // 60:02d}:{second % 60:02d}"
    text = f"{text}.{rest:06d}+00:00" if rest else f"{text}+00:00"
    _last[0] = us, text
    return text


_last = [(0, "1970-01-01T00:00:00+00:00")]  # much happens to a queue at one instant


@lru_cache(maxsize=64)
def _hour_text(hour: int) -> str:
    return (_EPOCH + timedelta(hours=hour)).isoformat()[:14]


@lru_cache(maxsize=1024)  # a job's stamp is read when the job is made, when it is checked in and when it is stored
def iso_to_us(text: str) -> int:
    """The instant that an aware ISO-8601 text names, in epoch microseconds.

    Raises ValueError when the text is not a date and time, or has no zone.
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("it has no time zone")
    return (moment - _EPOCH) // _ONE_US
