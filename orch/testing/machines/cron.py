"""The oracle of cron (S3): an expression read from its definition, and zones by walking through their real minutes.

It shares nothing with cronsim, nor with the way `orch.schedule` looks for ticks. Times are minutes of the epoch.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import cache
from itertools import pairwise
from zoneinfo import ZoneInfo

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MINUTE = timedelta(minutes=1)

#: Zones whose clocks change in every way there is.
ZONES = (
    "Europe/London",
    "America/New_York",
    "Australia/Lord_Howe",  # changes by half an hour
    "America/Santiago",  # skips the first hour of a day, repeats the last
    "Africa/Cairo",  # the same, in the other half of the year
    "Asia/Beirut",
    "Pacific/Chatham",  # 12:45 ahead of UTC, changes at 02:45
    "Africa/Casablanca",  # goes back for Ramadan
    "America/Scoresbysund",  # went from one zone to the next on a day of change
    "Antarctica/Troll",  # changes by two hours
)

Walls = Sequence[tuple[int, int]]


class Oracle:
    """A cron expression by its definition: per field a set of numbers, per day a yes or no."""

    LOW = (0, 0, 1, 1, 0)
    HIGH = (59, 23, 31, 12, 7)
    MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
    DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")

    def __init__(self, text: str) -> None:
        self.fields = text.lower().split()
        self.minutes, self.hours, self.dates, self.months, weekdays = (self._numbers(i) for i in range(5))
        self.weekdays = {n % 7 for n in weekdays}
        self.fixed = self.fields[0][0] != "*" and self.fields[1][0] != "*"
        self.both = self.fields[2][0] == "*" or self.fields[4][0] == "*"
        self._known: dict[date, bool] = {}

    def _number(self, i: int, word: str) -> int:
        if i == 3 and word in self.MONTHS:
            return self.MONTHS.index(word) + 1
        if i == 4 and word in self.DAYS:
            return self.DAYS.index(word)
        return int(word)

    def _numbers(self, i: int) -> set[int]:
        chosen: set[int] = set()
        for term in self.fields[i].split(","):
            if "l" in term.replace("jul", "") or "#" in term:
                continue
            span, _, step = term.partition("/")
            first, _, last = span.partition("-")
            low = self.LOW[i] if span == "*" else self._number(i, first)
            high = self.HIGH[i] if span == "*" or (step and not last) else self._number(i, last or first)
            chosen |= {n for n in range(low, high + 1) if (n - low) % int(step or 1) == 0}
        return chosen

    def on(self, day: date) -> bool:
        """Does it fire on this day, at whatever time?"""
        if day not in self._known:
            self._known[day] = self._on(day)
        return self._known[day]

    def _on(self, day: date) -> bool:
        if day.month not in self.months:
            return False
        month = _month(day.year, day.month)
        by_date = day.day in self.dates
        if "l" in self.fields[2].split(","):
            by_date |= day == month[-1]
        if "lw" in self.fields[2].split(","):
            by_date |= day == [other for other in month if other.weekday() < 5][-1]
        by_weekday = day.isoweekday() % 7 in self.weekdays
        same = [other for other in month if other.weekday() == day.weekday()]
        for term in self.fields[4].split(","):
            name, _, nth = term.partition("#")
            if nth and self._number(4, name) % 7 == day.isoweekday() % 7:
                by_weekday |= same.index(day) + 1 == int(nth)
            if name[-1] == "l" and self._number(4, name[:-1]) % 7 == day.isoweekday() % 7:
                by_weekday |= day == same[-1]
        return by_date and by_weekday if self.both else by_date or by_weekday

    def ticks(self, walls: Walls) -> list[int]:
        """The minutes that fire, of (minute of the epoch, wall time in minutes since 1970) pairs without a hole.

        A fixed expression fires when the clock's highest reading moves onto, or over, a wall time that it names.
        """
        on = cache(lambda day: self.on(date(1970, 1, 1) + timedelta(days=day)))
        table = [m // 60 in self.hours and m % 60 in self.minutes for m in range(1440)]
        fired = []
        highest = walls[0][1] - 1
        for minute, wall in walls:
            if not self.fixed:
                hit = table[wall % 1440] and on(wall // 1440)
            elif wall > highest:
                over = (wall,) if wall == highest + 1 else range(highest + 1, wall + 1)
                hit = any(table[w % 1440] and on(w // 1440) for w in over)
                highest = wall
            else:
                hit = False
            if hit:
                fired.append(minute)
        return fired


@cache
def _month(year: int, month: int) -> list[date]:
    days = [date(year, month, 1) + timedelta(days=n) for n in range(31)]
    return [day for day in days if day.month == month]


def walls_of(zone: tzinfo, first: int, last: int, every: int = 1) -> list[tuple[int, int]]:
    """What the zone's clock shows in each real minute, from the first to the last.

    It is asked in every so many minutes: no zone of today changes its clock but at whole quarters of an hour.
    """
    pairs = []
    ahead = 0
    for minute in range(first, last + 1):
        if minute == first or minute % every == 0:
            offset = (_EPOCH + timedelta(minutes=minute)).astimezone(zone).utcoffset()
            ahead = offset // _MINUTE if offset is not None else 0
        pairs.append((minute, minute + ahead))
    return pairs


@cache
def changes_of(name: str, first: int, last: int) -> list[int]:
    """The minutes at which a zone's clock is changed, from the first to the last; both whole hours."""
    zone = ZoneInfo(name)
    hours = range(first, last, 60)
    offset = {hour: (_EPOCH + timedelta(minutes=hour)).astimezone(zone).utcoffset() for hour in hours}
    return [late for early, late in pairwise(hours) if offset[early] != offset[late]]
