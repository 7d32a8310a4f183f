"""When a schedule is due: cron expressions, schedule files, and what a pause of the scheduler costs. Pure: time is an
argument, nothing waits, nothing is stored.

A **tick** is a UTC minute. cronsim reads the five fields; which minutes of a day they mean in a zone is worked out
here, because a schedule must never fire twice, or not at all, when the clocks change. The rule, as in Debian's cron
(and in cronsim, wherever a zone changes by whole hours):

- An expression is **fixed** when neither its minute nor its hour begins with `*`: it names wall times. A wall time
  that the clocks skip fires once, at the first minute after the gap; several of one gap fire once together. A wall
  time that comes twice fires the first time only.
- Any other expression **repeats**: it fires in each real minute whose wall time matches, so in a repeated hour both
  times, and never for a wall time that was skipped.

`30 1 * * *` in London thus fires at 01:00Z (02:00 BST) on 29 March 2026 and at 00:30Z (the first 01:30) on
25 October; `30 * * * *` fires each hour on both days.
"""

from __future__ import annotations

import contextlib
import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta, tzinfo
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from orch import checks
from orch.errors import InvalidInput, ScheduleError
from orch.job import PRIORITY_MAX, Job, JobStatus
from orch.yaml_marks import SIZE_MAX, Fault, Form, Node, Reader, did_you_mean, join_key, shown_faults

ALIASES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
CRON_MAX = 256  # characters
_FIELDS = ("minute", "hour", "day-of-month", "month", "day-of-week")
_ATTRIBUTES = ("minutes", "hours", "days", "months", "weekdays")
# The grammar of one term of a list. cronsim alone takes more: it upper-cases first, so that a long s spells SUN, splits
# at any Unicode space, and takes steps of L.
_VALUE = "(?:[0-9]{1,2}|[A-Z]{3})"
_TERM = re.compile(rf"\*(?:/[0-9]{{1,2}})?|{_VALUE}(?:-{_VALUE})?(?:/[0-9]{{1,2}})?", re.ASCII)
_TERM_OF = {
    "day-of-month": re.compile(rf"{_TERM.pattern}|L|LW", re.ASCII),
    "day-of-week": re.compile(rf"{_TERM.pattern}|[0-7]L|{_VALUE}#[1-5]", re.ASCII),
}
_DAY = 1440  # minutes
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_MINUTE = timedelta(minutes=1)
_SEARCH = 40 * 366 * _DAY  # every pair of a date and a weekday comes within 40 years, 2100 included


@dataclass(frozen=True, slots=True, eq=False)
class Cron:
    """A cron expression. Called with a time, it says whether it fires in the minute of that time.

    A time without a zone is a plain wall time. With a zone the rule of this module holds: of a repeated hour a fixed
    expression fires in the first pass only, and the first minute after a gap stands for the wall times in it.
    """

    text: str
    fixed: bool = field(repr=False)
    _minutes: tuple[int, ...] = field(repr=False)
    _hours: tuple[int, ...] = field(repr=False)
    _parsed: CronSim = field(repr=False)

    def __call__(self, moment: datetime) -> bool:
        zone = moment.tzinfo
        if zone is None or moment.utcoffset() is None:
            return moment.minute in self._minutes and moment.hour in self._hours and self._on(moment.date())
        return self.fires(zone, minute_of(moment))

    def fires(self, zone: tzinfo, minute: int) -> bool:
        """Does it fire in this minute of the epoch, in this zone (S3)?"""
        return self.latest(zone, minute - 1, minute, 1) != []

    def between(self, zone: tzinfo, after: int, until: int) -> Iterator[int]:
        """The ticks in (after, until], in order; all these are minutes of the epoch. Ends before the year 9999."""
        last = after
        for day in range(_local_day(zone, after), date.max.toordinal() - 1):
            if (day - _EPOCH_DAY - 2) * _DAY > until:  # no zone is two days from UTC
                return
            if self._on(date.fromordinal(day)):
                for tick in self._of_day(zone, day, last, until):
                    yield tick
                    last = tick

    def next(self, zone: tzinfo, after: int) -> int | None:
        """The first tick after a minute of the epoch; None if 40 years have none."""
        return next(self.between(zone, after, after + _SEARCH), None)

    def latest(self, zone: tzinfo, after: int, until: int, n: int) -> list[int]:
        """The last n ticks in (after, until], in order; found from the end, so that a long span costs nothing."""
        found: list[int] = []
        for day in range(_local_day(zone, until), _local_day(zone, after) - 1, -1):
            if len(found) > n:  # one more than n, as the first of a day may be the last of the day before
                break
            if self._on(date.fromordinal(day)):
                earlier = list(self._of_day(zone, day, after, until))
                if earlier and found and earlier[-1] == found[0]:
                    earlier.pop()
                found = earlier + found
        return found[-n:] if n else []

    def _on(self, day: date) -> bool:
        return day.month in self._parsed.months and self._parsed.match_day(day)

    def _of_day(self, zone: tzinfo, day: int, after: int, until: int) -> Iterator[int]:
        """The ticks that the wall times of one day make, in (after, until]."""
        stretches, end = _stretches(zone, day)
        if not self.fixed:
            for low, high, start in stretches:
                shift = start - low
                for wall in self._walls(max(low, after + 1 - shift), min(high, until + 1 - shift)):
                    yield wall + shift
            return
        reached = 0  # the wall times before this one are done with
        for low, high, start in (*stretches, (_DAY, _DAY, end)):
            skipped = after < start <= until and next(self._walls(reached, low), None) is not None
            if skipped:
                yield start
            shift = start - low
            first = max(low + skipped, reached, after + 1 - shift)
            for wall in self._walls(first, min(high, until + 1 - shift)):
                yield wall + shift
            reached = max(reached, high)

    def _walls(self, low: int, high: int) -> Iterator[int]:
        """The wall times that the minute and hour fields name, as minutes of the day, in [low, high)."""
        hours = self._hours
        for i in range(bisect_left(hours, low // 60), len(hours)):
            base = hours[i] * 60
            if base >= high:
                return
            for minute in self._minutes:
                if low <= base + minute < high:
                    yield base + minute


def parse_cron(expr: str) -> Cron:
    """The expression of five fields, or of an alias as `@daily`: a callable that says whether a time matches (S3).

    Lists, ranges, steps (`*/15`, `8-18/2`, `5/10` = `5-59/10`), names of months and weekdays; 0 and 7 are Sunday;
    `L` and `LW` are the last day and the last working day of a month, `5L` and `MON#2` the last and the nth of a
    weekday. As in Debian's cron either of day-of-month and day-of-week is enough when both are given, and both
    must match when one of them begins with `*`. Raises `InvalidInput`, a ValueError, that names the field.
    """
    return _parsed(expr if expr == "" else checks.check_text(expr, "cron expression", CRON_MAX))


@lru_cache(maxsize=65_536)
def _parsed(expr: str) -> Cron:
    text = ALIASES.get(expr.strip(" \t").lower(), expr)
    if text.startswith("@"):
        raise InvalidInput(f"Invalid cron expression: {expr} (no such alias; there are {', '.join(ALIASES)})")
    parts = re.split("[ \t]+", text.strip(" \t"))
    if len(parts) != len(_FIELDS):
        raise InvalidInput(f"Invalid cron expression: {expr} (expected 5 fields)")
    for i, part in enumerate(parts):
        fault = _fault_of_field(i, part.upper() if part.isascii() else part)
        if fault:
            raise InvalidInput(f"Invalid cron expression: {expr} ({_FIELDS[i]} {checks.shown(part)}: {fault})")
    try:
        parsed = CronSim(" ".join(parts), datetime(2000, 1, 1))  # noqa: DTZ001  # only the fields are used
    except CronSimError:
        parsed = None
    if parsed is None or not _comes_ever(parsed):
        raise InvalidInput(f"Invalid cron expression: {expr} (day-of-month {parts[2]!r}: no such date ever comes)")
    fixed = not parts[0].startswith("*") and not parts[1].startswith("*")
    return Cron(" ".join(parts), fixed, tuple(sorted(parsed.minutes)), tuple(sorted(parsed.hours)), parsed)


def _fault_of_field(i: int, part: str) -> str | None:
    name = _FIELDS[i]
    for term in part.split(","):
        if not _TERM_OF.get(name, _TERM).fullmatch(term):
            return "expected *, a number, a range, a list or a step, as */5, 1-5 or 1,15"
        base, _, step = term.partition("/")
        try:
            values = _values(i, term)
        except CronSimError:
            if step and not int(step):
                return "a step must be 1 or more"
            return _RANGES[i]
        if step and "-" in base and len(_values(i, base)) == 1:
            # cronsim takes 5-5/10 for 5/10
            return f"a range of one value takes no step; write {base.partition('-')[0]}"
        assert values
    return None


_RANGES = (
    "expected 0 to 59, the lower one first",
    "expected 0 to 23, the lower one first",
    "expected 1 to 31, L or LW, the lower one first",
    "expected 1 to 12 or JAN to DEC, the lower one first",
    "expected 0 to 7 or SUN to SAT (SUN is 0), the lower one first",
)


def _values(i: int, part: str) -> set[object]:
    """What cronsim makes of one field."""
    expr = " ".join(part if i == j else "1" if j == 2 else "*" for j in range(5))
    parsed = CronSim(expr, datetime(2000, 1, 1))  # noqa: DTZ001  # only the fields are used
    return set(getattr(parsed, _ATTRIBUTES[i]))


def _comes_ever(parsed: CronSim) -> bool:
    """Whether a day of these fields comes; some never do, as `0 0 LW * */7`, a working day that is a Sunday."""
    first = date(2000, 1, 1).toordinal()
    days = (date.fromordinal(first + i) for i in range(28 * 366))  # 28 years have every pair of date and weekday
    return any(day.month in parsed.months and parsed.match_day(day) for day in days)


# -- schedules -----------------------------------------------------------------------------------------------------


class Misfire(StrEnum):
    """What a schedule does about the ticks that passed while no scheduler ran (S2)."""

    SKIP = "skip"  # nothing
    ONCE = "once"  # one job, for the latest of them
    ALL = "all"  # a job for each


TICKS_MAX = 1_000  # of one schedule at one time, the newest of them
SCHEDULE_ID_MAX = checks.ID_MAX - len("@2026-11-24T10:00Z")


@dataclass(frozen=True, slots=True)
class Schedule:
    """A DAG, or a `workflow:<name>`, and when to enqueue a job for it.

    `timezone` is the IANA name of the zone whose clock `cron` is read on. `misfire` is about ticks that passed while
    no scheduler ran; those older than `misfire_grace_s` count for nothing. `params`, `priority`, `timeout_s`,
    `tenant` and `max_retries` are handed to the job. `file` and `line` say where it was read.
    Raises `InvalidInput` for a value that cannot be meant.
    """

    id: str
    cron: str
    dag: str
    tenant: str = "local-dev"
    enabled: bool = True
    max_retries: int = 0
    timezone: str = "UTC"
    params: dict[str, Any] = field(default_factory=dict)
    priority: int = 0
    timeout_s: float | None = None
    misfire: Misfire = Misfire.ONCE
    misfire_grace_s: float = 3600.0
    file: str = ""
    line: int = 0
    expression: Cron = field(init=False, repr=False, compare=False)
    zone: ZoneInfo = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name, check in CHECKS.items():
            given = getattr(self, name)
            value = check(given)
            if value is not given:
                object.__setattr__(self, name, value)
        object.__setattr__(self, "expression", _parsed(self.cron))
        object.__setattr__(self, "zone", ZoneInfo(self.timezone))

    @property
    def key(self) -> str:
        """What its cursor is kept under: id, expression and zone, so that an edited schedule starts anew (S2)."""
        return checks.dump_json([self.id, self.expression.text, self.timezone])

    def job(self, tick: datetime, now: datetime) -> Job:
        """The job of a tick; its id names schedule and tick, so that a second one is refused (S1, Q3)."""
        return Job(
            id=f"{self.id}@{_tick_text(tick)}",
            dag_path=self.dag,
            tenant_id=self.tenant,
            schedule_id=self.id,
            status=JobStatus.PENDING,
            enqueued_at=_time_text(now),
            max_retries=self.max_retries,
            params=self.params,
            priority=self.priority,
            timeout_s=self.timeout_s,
        )

    def row(self) -> dict[str, Any]:
        """The schedule as the mapping that its file would hold, defaults included."""
        values = {name: checks.copy_json(getattr(self, name)) for name in CHECKS}
        return {**values, "misfire": self.misfire.value}


def due(schedule: Schedule, last: datetime | None, now: datetime) -> list[datetime]:
    """The ticks to enqueue at `now`, in UTC and in order of time; everything up to `last` was dealt with (S2).

    The tick of `now`'s own minute always counts; `misfire` is about those between. A new schedule (`last` None)
    starts with its own minute. With `now` before `last` nothing is due (S5). At most 1,000, the newest.
    """
    minute = minute_of(now)
    before = minute - 1 if last is None else minute_of(last)
    if minute <= before:
        return []
    expression, zone = schedule.expression, schedule.zone
    own = [minute] if expression.fires(zone, minute) else []
    missed: list[int] = []
    if schedule.misfire is not Misfire.SKIP:
        oldest = minute_of(now - timedelta(seconds=schedule.misfire_grace_s, microseconds=1)) + 1
        n = 1 if schedule.misfire is Misfire.ONCE else TICKS_MAX
        missed = expression.latest(zone, max(before, oldest - 1), minute - 1, n)
    return [time_of(tick) for tick in (missed + own)[-TICKS_MAX:]]


@lru_cache(maxsize=65_536)
def next_tick(expression: Cron, zone: ZoneInfo, after: int) -> int | None:
    """The first tick after a minute of the epoch, or None; remembered, as many schedules ask the same at a time."""
    return expression.next(zone, after)


def upcoming(schedule: Schedule, after: datetime) -> Iterator[datetime]:
    """The ticks after a time, in UTC, one by one; what it would enqueue if a scheduler ran all the time."""
    tick = schedule.expression.next(schedule.zone, minute_of(after))
    while tick is not None:
        yield time_of(tick)
        tick = schedule.expression.next(schedule.zone, tick)


@lru_cache(maxsize=4096)  # all schedules of a look share it
def _tick_text(tick: datetime) -> str:
    return f"{tick.astimezone(UTC):%Y-%m-%dT%H:%MZ}"


@lru_cache(maxsize=64)  # as above
def _time_text(now: datetime) -> str:
    return now.astimezone(UTC).isoformat()


def catch_up_s(schedules: Iterable[Schedule]) -> float:
    """How long a finished job must be kept so that no tick is enqueued twice, in seconds (S1): the longest grace.

    A scheduler that was stopped looks back so far, and the id of a job that was purged is new again.
    """
    return max([60.0, *(schedule.misfire_grace_s for schedule in schedules)])


def _check_schedule_id(value: object) -> str:
    text = checks.check_id(value, "id")
    if len(text) > SCHEDULE_ID_MAX:
        raise InvalidInput(f"id must be at most {SCHEDULE_ID_MAX} characters, got {len(text)}")
    return text


def _check_cron(value: object) -> str:
    text = checks.check_text(value, "cron", CRON_MAX)
    parse_cron(text)
    return text


def _check_enabled(value: object) -> bool:
    if value is not True and value is not False:
        raise InvalidInput(f"enabled must be true or false, got {checks.shown(value)}")
    return value


def _check_params(value: object) -> dict[str, Any]:
    if value is None or value == {}:
        return {}
    return checks.check_document(value, "params")


def _check_zone(value: object) -> str:
    text = checks.check_text(value, "timezone", 64)
    try:
        return ZoneInfo(text).key
    except (KeyError, ValueError, OSError):  # not there; no name of a zone; a folder of zones
        raise InvalidInput(f"timezone must be an IANA name, as Europe/London or UTC, got {text!r}") from None


def _check_misfire(value: object) -> Misfire:
    try:
        return Misfire(value)  # type: ignore[arg-type]  # whatever it is, the enum says so
    except ValueError:
        raise InvalidInput(f"misfire must be skip, once or all, got {checks.shown(value)}") from None


#: The keys of a schedule, in the order they are shown, and what each value must be.
CHECKS: dict[str, Callable[[object], Any]] = {
    "id": _check_schedule_id,
    "cron": _check_cron,
    "dag": lambda value: checks.check_text(value, "dag"),
    "tenant": lambda value: checks.check_text(value, "tenant", checks.ID_MAX),
    "enabled": _check_enabled,
    "max_retries": lambda value: checks.check_int(value, "max_retries", 0),
    "timezone": _check_zone,
    "params": _check_params,
    "priority": lambda value: checks.check_int(value, "priority", -PRIORITY_MAX, PRIORITY_MAX),
    "timeout_s": lambda value: None if value is None else checks.check_seconds(value, "timeout_s", positive=True),
    "misfire": _check_misfire,
    "misfire_grace_s": lambda value: checks.check_seconds(value, "misfire_grace_s"),
}
REQUIRED = ("id", "cron", "dag")


# -- files ---------------------------------------------------------------------------------------------------------


def check_schedules(schedules_dir: str | Path) -> tuple[list[Schedule], list[Fault]]:
    """The schedules of every `*.yaml` file of a folder, by file and line, and everything that is wrong (S3).

    A file holds one schedule or a list of them. A faulty row or file costs only itself (S4), a repeated id the later
    row. Raises `ScheduleError` if the folder cannot be listed.
    """
    folder = Path(schedules_dir)
    schedules: dict[str, Schedule] = {}
    faults: list[Fault] = []
    try:
        paths = sorted(path for path in folder.iterdir() if path.suffix in (".yaml", ".yml"))
    except OSError as error:
        raise ScheduleError(f"schedules cannot be read from {str(folder)!r}: {error.strerror}") from None
    for path in paths:
        if path.suffix == ".yml":
            faults.append(Fault(str(path), 1, 1, "", "expected a name that ends in .yaml; this file is not read"))
            continue
        try:
            data = _contents(path)
        except OSError as error:
            faults.append(Fault(str(path), 1, 1, "", f"cannot be read: {error.strerror or error}"))
            continue
        found, wrong = parse_schedules(data, str(path))
        faults += wrong
        for schedule in found:
            first = schedules.setdefault(schedule.id, schedule)
            if first is not schedule:
                message = f"id {schedule.id!r} is taken by {first.file}:{first.line}"
                faults.append(Fault(schedule.file, schedule.line, 1, "id", message))
    return list(schedules.values()), sorted(faults, key=lambda fault: (fault.file, fault.line, fault.column))


def load_schedules(schedules_dir: str | Path) -> list[dict[str, Any]]:
    """The good rows of a folder as mappings, every key with its value; each fault is a printed warning (S4).

    [] for a folder that is not there. `check_schedules` gives values and faults instead.
    """
    if not Path(schedules_dir).is_dir():
        return []
    schedules, faults = check_schedules(schedules_dir)
    for text in shown_faults(faults):
        with contextlib.suppress(OSError, ValueError):  # a closed stdout costs the warning only
            print(f"Warning: Failed to load {text}")
    return [schedule.row() for schedule in schedules]


def parse_schedules(text: str | bytes, file: str = "<schedules>") -> tuple[list[Schedule], list[Fault]]:
    """The good schedules of a YAML text and every fault, in order; `file` is its name in them. Pure."""
    reader = Reader(file)
    root = reader.read(text)
    if root is None:
        return [], [_with_hint(fault) for fault in reader.faults]
    if root.form is Form.LIST:
        rows = [(f"[{index}]", node) for index, node in enumerate(root.items)]
    else:
        rows = [("", root)]
    schedules: list[Schedule] = []
    faults = list(reader.faults)
    for key, node in rows:
        row = Reader(file)  # of its own, so that its faults are known from those of the others
        schedule = _read_row(row, key, node)
        faults += row.faults
        if schedule is not None:
            schedules.append(schedule)
    return schedules, faults


def schedule_of(row: Schedule | Mapping[str, Any]) -> Schedule:
    """The schedule that a row, as `load_schedules` gives it, describes. Raises `ScheduleError` with every fault."""
    if isinstance(row, Schedule):
        return row
    if not isinstance(row, Mapping):
        raise ScheduleError(f"a schedule must be a mapping, got {checks.shown(row)}")
    with contextlib.suppress(InvalidInput, TypeError):  # a faulty one is looked at again, for all its faults
        return Schedule(**row)
    faults = [f"{name}: missing" for name in REQUIRED if name not in row]
    for name, value in row.items():
        if name not in CHECKS:
            faults.append(f"unknown key {checks.shown(name)}{did_you_mean(str(name), CHECKS)}")
            continue
        try:
            CHECKS[name](value)
        except InvalidInput as error:
            faults.append(str(error))
    raise ScheduleError("; ".join(faults))


def _read_row(reader: Reader, key: str, node: Node) -> Schedule | None:
    places = reader.mapping(node, key, tuple(CHECKS), required=REQUIRED)
    values: dict[str, Any] = {}
    for name, place in (places or {}).items():
        where = join_key(key, name)
        value = reader.text(place, where) if name in _TEXTS else reader.json(place, where)
        if value is None and (name in _TEXTS or not place.is_null):
            continue  # its fault is noted
        try:
            values[name] = CHECKS[name](value)
        except InvalidInput as error:
            reader.fault(place, where, str(error))
    return None if reader.faults else Schedule(**values, file=reader.file, line=node.line + 1)


def _with_hint(fault: Fault) -> Fault:
    """A bare `cron: * * * * *` is the alias of an anchor to YAML."""
    hint = '; a cron expression needs quotes, as cron: "*/5 * * * *"' if "alias" in fault.message else ""
    return replace(fault, message=fault.message + hint)


_TEXTS = ("id", "cron", "dag", "tenant", "timezone", "misfire")


def _contents(path: Path) -> bytes:
    if not path.is_file():  # a pipe would block
        raise OSError("it is no regular file")
    with path.open("rb") as file:
        return file.read(SIZE_MAX + 1)


# -- zones -------------------------------------------------------------------------------------------------------


def minute_of(moment: datetime) -> int:
    """The minute of the epoch that an aware time is in."""
    return (moment - _EPOCH) // _MINUTE


def time_of(minute: int) -> datetime:
    """The beginning of a minute of the epoch, in UTC."""
    return _EPOCH + minute * _MINUTE


@lru_cache(maxsize=4096)  # all schedules of a zone ask the same at a time
def _local_day(zone: tzinfo, minute: int) -> int:
    """The day, as `date.toordinal`, that a zone's calendar shows in a minute of the epoch."""
    return time_of(minute).astimezone(zone).toordinal()


def _wall(zone: tzinfo, minute: int) -> int:
    """What a zone's clock shows in a minute of the epoch, in minutes since it showed the beginning of 1970."""
    return minute_of(time_of(minute).astimezone(zone).replace(tzinfo=UTC))


@lru_cache(maxsize=65_536)
def _stretches(zone: tzinfo, day: int) -> tuple[tuple[tuple[int, int, int], ...], int]:
    """One day as a zone's clock shows it: (wall from, wall to, minute of the epoch at its beginning) for each
    stretch without a change, in order of time; and the minute of the epoch at which the day ends.

    Wall times are minutes of the day. Ordinary days are one stretch (0, 1440, start). What a change over midnight
    gives back to the day before is left out.
    """
    start, end = _begin(zone, day), _begin(zone, day + 1)
    midnight = (day - _EPOCH_DAY) * _DAY
    if end - start == _DAY and _wall(zone, end - 1) == midnight + _DAY - 1 and _wall(zone, start) == midnight:
        return ((0, _DAY, start),), end
    stretches: list[tuple[int, int, int]] = []
    for minute in range(start, end):
        wall = _wall(zone, minute) - midnight
        if stretches and stretches[-1][1] == wall:
            stretches[-1] = (stretches[-1][0], wall + 1, stretches[-1][2])
        elif 0 <= wall < _DAY:
            stretches.append((wall, wall + 1, minute))
    return tuple(stretches), end


def _begin(zone: tzinfo, day: int) -> int:
    """The first minute of the epoch in which a zone's calendar shows this day, or a later one if it is left out."""
    midnight = datetime.combine(date.fromordinal(day), datetime.min.time(), tzinfo=zone)
    minute = minute_of(midnight)
    wall = (day - _EPOCH_DAY) * _DAY
    while _wall(zone, minute - 1) >= wall:
        minute -= 1
    return minute
