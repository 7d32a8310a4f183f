"""The laws of cron expressions, schedules and their files (S2 to S4), each by an oracle of its own.

What fires when is said by the oracle of cron; what is wrong with a row, at which line, is known to whoever wrote it.
The functions raise `Broken`.
"""

from __future__ import annotations

import contextlib
import io
import random
import struct
import tempfile
from bisect import bisect_right
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache, partial
from itertools import islice
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from orch import schedule
from orch.errors import InvalidInput, ScheduleError
from orch.job import Job, JobStatus
from orch.schedule import Schedule
from orch.testing.machines.cron import Oracle, walls_of
from orch.testing.machines.world import Broken

shipped: Any = schedule
_LONG = "x" * 182
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
PLAIN: dict[str, Any] = {"id": "s", "cron": "* * * * *", "dag": "d"}


class _NoZone(tzinfo):
    """A zone that says nothing."""

    def utcoffset(self, _: datetime | None) -> None:
        return None

    dst = tzname = utcoffset


# -- expressions -------------------------------------------------------------------------------------------------------


def ticks(text: str, zone: str, due: Sequence[int], span: tuple[int, int]) -> None:
    """The ticks of a span are those of the oracle, which are `due`, however they are asked for."""
    cron = shipped.parse_cron(text)
    there = ZoneInfo(zone)
    first, last = span
    rng = random.Random(first)
    edges = [rng.choice(due) + n for n in (0, 0, -1, 1, 0)] if due else []
    places = [rng.randint(first, last) for _ in range(4)] + edges
    for after, until in zip(places, [*places[1:], last], strict=True):
        low, high = min(after, until), max(after, until)
        between = list(due[bisect_right(due, low) : bisect_right(due, high)])
        n = rng.randrange(6)
        if list(cron.between(there, low, high)) != between:
            raise Broken("S3", f"{text!r} in {zone} does not fire as it must in ({low}, {high}]")
        if cron.latest(there, low, high, n) != (between[-n:] if n else []):
            raise Broken("S3", f"the last {n} ticks of {text!r} in {zone} in ({low}, {high}] are others")
        later = due[bisect_right(due, after) :]
        if later and cron.next(there, after) != later[0]:
            raise Broken(
                "S3", f"{text!r} in {zone} fires at {later[0]} after {after}, not at {cron.next(there, after)}"
            )
        moment = _EPOCH + timedelta(minutes=after, seconds=rng.randrange(60))
        if cron(moment.astimezone(there)) is not (after in due):
            raise Broken("S3", f"{text!r} in {zone} does not say whether it fires at {moment}")
    for after in places[:2]:
        told = list(islice(shipped.upcoming(_of(text, zone), _EPOCH + timedelta(minutes=after)), 3))
        later = list(due[bisect_right(due, after) :][:3])
        if [(moment - _EPOCH) // timedelta(minutes=1) for moment in told][: len(later)] != later:
            raise Broken("S2", f"upcoming are {told} of {text!r} in {zone} after {after}")


def _of(text: str, zone: str = "UTC") -> Schedule:
    return Schedule("s", text, "d", timezone=zone)


def plain_times(text: str, oracle: Oracle, seed: int) -> None:
    """A time without a zone is a wall time: all its fields count."""
    cron = shipped.parse_cron(text)
    rng = random.Random(seed)
    hours, minutes = sorted(oracle.hours), sorted(oracle.minutes)
    day = datetime(2026, 1, 1) + timedelta(days=rng.randrange(400))  # noqa: DTZ001 -- a wall time
    for hour, minute in ((rng.choice(hours), rng.choice(minutes)), (rng.choice(hours), rng.randrange(60))):
        for moment in (day.replace(hour=hour, minute=minute, second=59), day.replace(hour=rng.randrange(24))):
            fires = moment.minute in oracle.minutes and moment.hour in oracle.hours and oracle.on(moment.date())
            for given in (moment, moment.replace(tzinfo=_NoZone())):
                if cron(given) is not fires:
                    raise Broken("S3", f"{text!r} {'does not fire' if fires else 'fires'} at {given}")


_SAME = (
    ("@daily", "0 0 * * *"),
    ("@MIDNIGHT", "0 0 * * *"),
    (" @hourly\t", "0 * * * *"),
    ("@weekly", "0 0 * * 0"),
    ("@monthly", "0 0 1 * *"),
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
    (" 5\t4  * * * ", "5 4 * * *"),
    ("0 0 * jan-mar mon-FRI", "0 0 * 1-3 1-5"),
    ("0 0 * * sun#2", "0 0 * * 0#2"),
    ("0 0 lw * *", "0 0 LW * *"),
)
_FINE = ("0 0 29 2 *", "0 0 L * *", "0 0 * * 5L", "5-5 * * * *", "0-59/59 * * * *", "0 0 31 * *", "0 0 1 1 SUN")
_NO_EXPRESSION: tuple[tuple[Any, str], ...] = (
    *(("* * * *", "(expected 5 fields)"), ("0 0 * * * *", "(expected 5 fields)"), ("", "(expected 5 fields)")),
    *(("   ", "(expected 5 fields)"), ("hello", "(expected 5 fields)"), ("@reboot", "(no such alias")),
    *((f"{text} * * * *", "(minute ") for text in ("60", "*/0", "*/00", "5-1", "5-", "1,,2", "*5", "*/5/5", "999")),
    *((f"{text} * * * *", f"write {text[0]})") for text in ("5-5/10",)),
    *((f"{text} * * * *", "(minute ") for text in ("7-7/1,3", "1,99", "\u0665", "?", "1_0", "+5", "*/-5")),
    *((f"* {text} * * *", "(hour ") for text in ("24", "5-4", "1/0")),
    *((f"* * {text} * *", "(day-of-month ") for text in ("0", "32", "L/2", "W", "LL")),
    *((f"* * * {text} *", "(month ") for text in ("0", "13", "JUNE", "dec-jan")),
    *((f"* * * * {text}", "(day-of-week ") for text in ("8", "L", "MON#6", "MON#0", "FRI-MON", "\u017fun")),
    *((f"0 0 {text} *", "such date ever comes") for text in ("31 2", "30,31 FEB", "30 2", "31 4,6")),
    *(("0 0 LW * */7", "such date ever comes"), (f"{'9' * 50} * * * *", "(minute ")),
    *((None, ""), (5, ""), (b"* * * * *", ""), ("*\0 * * * *", ""), ("* " * 200, ""), ("*\u00a0* * * *", "")),
)
#: Of a field that is out of its range, its range is told; of a step that is none, that.
_SAID = (
    ("60 * * * *", "0 to 59"),
    ("* 24 * * *", "0 to 23"),
    ("* * 32 * *", "1 to 31"),
    ("* * * 13 *", "1 to 12"),
    ("* * * * 8", "0 to 7"),
    ("*/0 * * * *", "1 or more"),
    ("1-70/5 * * * *", "0 to 59"),
    ("x * * * *", "expected *,"),
)


#: Days on which wall times are skipped or repeated over midnight, or a whole day is.
_CHANGES = tuple(
    (text, name, day)
    for text in ("0 0 * * *", "0 0,1,2 * * *", "30 0,1,23 * * *", "59 23 * * *", "0 */6 * * *", "0 12 30 12 *")
    for name, day in (
        ("Pacific/Apia", "2011-12-30"),
        ("America/Santiago", "2026-04-05"),
        ("America/Santiago", "2026-09-06"),
        ("Africa/Cairo", "2026-04-24"),
        ("Africa/Cairo", "2026-10-30"),
        ("Europe/London", "2026-03-29"),
    )
)


@lru_cache(maxsize=64)
def _due_near(text: str, name: str, noon: int) -> list[int]:
    """The ticks of two days before and after, by the oracle."""
    return Oracle(text).ticks(walls_of(ZoneInfo(name), noon - 3000, noon + 3000, every=15))


def grammar() -> None:
    """What is an expression, what is none, and which field is told."""
    for text, same in _SAME:
        one, other = _seen(text), _seen(same)
        if one != other:
            raise Broken("S3", f"{text!r} does not mean {same!r}")
        if shipped.parse_cron(text).text != (same if "@" in text else " ".join(text.split())):
            raise Broken("S3", f"the text of {text!r} became {shipped.parse_cron(text).text!r}")
        if shipped.parse_cron(text).fixed is not (same[0] != "*" and same.split()[1][0] != "*"):
            raise Broken("S3", f"{text!r} is not taken for what is fixed")
    for text in _FINE:
        shipped.parse_cron(text)
    for again in range(3):
        for text, says in _NO_EXPRESSION:
            if again and says.startswith("such"):  # many days are looked at
                continue
            try:
                shipped.parse_cron(text)
            except InvalidInput as error:
                if says not in str(error) or (says and not str(error).startswith(f"Invalid cron expression: {text} (")):
                    raise Broken("S3", f"the refusal of {text!r} does not say {says!r}: {error}") from None
                continue
            raise Broken("S3", f"{text!r} was taken for an expression")
    for text, says in _SAID:
        with contextlib.suppress(InvalidInput):
            shipped.parse_cron(text)
            continue
        try:
            shipped.parse_cron(text)
        except InvalidInput as error:
            if says not in str(error):
                raise Broken("S3", f"the refusal of {text!r} does not say {says!r}: {error}") from None
    for text, name, day_ in _CHANGES:
        zone, noon = ZoneInfo(name), (datetime.fromisoformat(f"{day_}T12:00+00:00") - _EPOCH) // timedelta(minutes=1)
        due = _due_near(text, name, noon)
        ticks(text, name, due, (noon - 3000, noon + 3000))
        cron = shipped.parse_cron(text)
        for n in range(1, len(due)):
            if cron.latest(zone, noon - 3001, noon + 3000, n) != due[-n:]:
                raise Broken("S3", f"the last {n} ticks of {text!r} in {name} around {day_} are others")
    across_midnight()
    day = 1440
    begin = (datetime(9999, 12, 20, tzinfo=UTC) - _EPOCH) // timedelta(minutes=1)
    every = shipped.parse_cron("0 0 * * *")
    found = list(every.between(UTC, begin, begin + 20 * day))
    if found != [begin + n * day for n in range(1, len(found) + 1)] or not 9 <= len(found) <= 11:
        raise Broken("S3", f"at the end of time daily ticks are {found}")
    far = -50 * 366 * day
    if shipped.parse_cron("*/5 * * * *").latest(ZoneInfo("Europe/London"), far, 0, 3) != [-10, -5, 0]:
        raise Broken("S2", "the last ticks of a long span are others")
    leap = shipped.parse_cron("0 0 29 2 *")
    before = (datetime(2096, 2, 29, tzinfo=UTC) - _EPOCH) // timedelta(minutes=1)
    if leap.next(UTC, before) != (datetime(2104, 2, 29, tzinfo=UTC) - _EPOCH) // timedelta(minutes=1):
        raise Broken("S3", "the leap day after 2096 is that of 2104")


def across_midnight() -> None:
    """Ticks near changes over a midnight: a zone skips 23:30 to 00:30 in February, and repeats it in October.

    No zone of today does so. What an expression with a `*` does in such an October is left open.
    """
    for text, first, last, due in _across_midnight():
        cron = shipped.parse_cron(text)
        if list(cron.between(_ODD_ZONE, first, last)) != due:
            raise Broken("S3", f"{text!r} does not fire as it must where a clock is changed over a midnight")
        for n in range(1, 8):
            if cron.latest(_ODD_ZONE, first, last, n) != due[-n:]:
                raise Broken(
                    "S3", f"the last {n} ticks of {text!r} are others, where a clock is changed over a midnight"
                )


def _zone_of(rule: str) -> ZoneInfo:
    """A zone of this rule (POSIX.1, TZ) for all time, as a file of version 2 (RFC 9636) gives it."""
    header = b"TZif2" + bytes(15)
    block = header + struct.pack(">6l", 0, 0, 0, 0, 1, 4) + struct.pack(">lBB", 0, 0, 0) + b"AAA\0"
    return ZoneInfo.from_file(io.BytesIO(block + block + f"\n{rule}\n".encode()), key="Odd/Midnight")


_ODD_ZONE = _zone_of("AAA0BBB-1,J59/23:30,J300/00:30")


@lru_cache(maxsize=1)
def _across_midnight() -> list[tuple[str, int, int, list[int]]]:
    """Expressions with a span around each change, and the oracle's ticks in it."""
    cases = []
    fixed = ("15,45 0,23 * * *", "0 0 * * *", "30 23 28 2 *", "10 0 1 * *")
    for day, texts in (("2027-02-28", (*fixed, "* * * * *", "*/15 * * * *", "0 * * * *")), ("2027-10-27", fixed)):
        noon = (datetime.fromisoformat(f"{day}T12:00+00:00") - _EPOCH) // timedelta(minutes=1)
        walls = walls_of(_ODD_ZONE, noon - 4000, noon + 4000)
        for text in texts:
            due = [tick for tick in Oracle(text).ticks(walls) if noon - 2900 < tick <= noon + 2900]
            cases.append((text, noon - 2900, noon + 2900, due))
    return cases


def _seen(text: str) -> list[int]:
    return list(islice(shipped.parse_cron(text).between(UTC, 0, 3 * 366 * 1440), 40))


# -- values ------------------------------------------------------------------------------------------------------------

_BAD: tuple[tuple[str, Any], ...] = (
    *(("id", ""), ("id", f"{_LONG}x"), ("id", 750), ("id", None), ("cron", "* *"), ("cron", 5), ("cron", "")),
    *(("dag", None), ("dag", ""), ("tenant", ""), ("tenant", "x" * 201), ("tenant", 1)),
    *(("enabled", "false"), ("enabled", None), ("enabled", 1), ("enabled", 0)),
    *(("max_retries", "3"), ("max_retries", None), ("max_retries", -1)),
    *(("timezone", "Europe"), ("timezone", "Mars/Olympus"), ("timezone", "../etc/passwd"), ("timezone", "")),
    *(("timezone", "x" * 65), ("params", [1]), ("params", {"a": float("nan")}), ("params", "{}"), ("params", 0)),
    *(("params", {"x": "y" * 1024 * 1024}), ("priority", 1001), ("priority", -1001), ("priority", "1")),
    *(("timeout_s", 0), ("timeout_s", "1"), ("misfire", "never"), ("misfire", ["skip"]), ("misfire", None)),
    *(("misfire_grace_s", -1), ("misfire_grace_s", None)),
)
_GOOD: dict[str, Any] = {
    "id": _LONG,
    "cron": "@daily",
    "dag": "workflow:x",
    "tenant": "x" * 200,
    "enabled": False,
    "max_retries": 4,
    "timezone": "Europe/London",
    "params": {"k": [1]},
    "priority": -1000,
    "timeout_s": 2.5,
    "misfire": "all",
    "misfire_grace_s": 0.0,
}
_DEFAULTS: dict[str, Any] = {
    **PLAIN,
    "tenant": "local-dev",
    "enabled": True,
    "max_retries": 0,
    "timezone": "UTC",
    "params": {},
    "priority": 0,
    "timeout_s": None,
    "misfire": "once",
    "misfire_grace_s": 3600.0,
}


def values() -> None:
    """Schedules refuse what cannot be meant, by its name; rows are what they were made of; jobs have what they need."""
    for name, value in _BAD:
        for _ in range(1 if isinstance(value, dict) else 3):
            says = "Invalid cron" if name == "cron" and isinstance(value, str) and value else name
            promise = "S4" if name == "enabled" else "S3"
            _refuses(InvalidInput, partial(Schedule, **{**PLAIN, name: value}), says, promise=promise)
            _refuses(ScheduleError, partial(shipped.schedule_of, {**PLAIN, name: value}), says, promise=promise)
    for row, due in ((PLAIN, _DEFAULTS), (_GOOD, _GOOD), ({**PLAIN, "params": None}, _DEFAULTS)):
        for made in (Schedule(**row), shipped.schedule_of(row), shipped.schedule_of(shipped.schedule_of(row).row())):
            if made.row() != due or list(made.row()) != list(_DEFAULTS) or shipped.schedule_of(made) is not made:
                raise Broken("S3", f"the schedule of {row} is {made.row()}")
            if any(type(value) is not type(due[name]) for name, value in made.row().items()):
                raise Broken("S3", f"the schedule of {row} has values of other types: {made.row()}")
    params = {"k": [1]}
    made = Schedule(**{**PLAIN, "params": params})
    params["k"].append(2)
    made.row()["params"]["k"].append(3)
    if made.params != {"k": [1]}:
        raise Broken("S3", "a schedule changes with what it was made of")
    faulty = {"id": 5, "retries": 3, "enabled": 1, "cron": "61 * * * *"}
    words = ("dag: missing", "id must be text", "minute '61'", "unknown key 'retries'", "'max_retries'", "enabled must")
    for row in (faulty, {**faulty, "tenant": "", "zone": 1}):
        _refuses(ScheduleError, partial(shipped.schedule_of, row), *words)
    try:
        shipped.schedule_of({"id": 5, "cron": 5, "zone": 1, "dag": 5})
    except ScheduleError as error:
        told = str(error).split("; ")
    if [text.partition(" ")[0] for text in told] != ["id", "cron", "unknown", "dag"]:
        raise Broken("S3", f"the faults of a row are told in the order {told}")
    for no_row in ("x", None, 5, [1]):
        _refuses(ScheduleError, partial(shipped.schedule_of, no_row), "must be a mapping")
    _refuses(ScheduleError, lambda: shipped.schedule_of({}), "id: missing", "cron: missing", "dag: missing")
    ends_of_grace()
    nightly = Schedule(**_GOOD)
    tick, now = datetime(2026, 11, 24, 10, 0, tzinfo=UTC), datetime(2026, 11, 24, 10, 0, 7, tzinfo=UTC)
    job = Job(
        f"{_LONG}@2026-11-24T10:00Z",
        "workflow:x",
        "x" * 200,
        _LONG,
        JobStatus.PENDING,
        "2026-11-24T10:00:07+00:00",
        max_retries=4,
        params={"k": [1]},
        priority=-1000,
        timeout_s=2.5,
    )
    london = ZoneInfo("Europe/London")
    for zone in (UTC, london, ZoneInfo("Asia/Kolkata")):
        try:
            made_of_tick = nightly.job(tick.astimezone(zone), now.astimezone(zone))
        except InvalidInput as error:
            raise Broken("S1", f"the tick of a schedule with a long id makes no job: {error}") from None
        if made_of_tick != job:
            raise Broken("S1", f"the job of a tick is {made_of_tick}")
    if nightly.key != f'["{_LONG}","0 0 * * *","Europe/London"]' or Schedule(**PLAIN).key == nightly.key:
        raise Broken("S2", f"the cursor of a schedule is kept under {nightly.key}")
    graces = [Schedule(**{**PLAIN, "misfire_grace_s": grace}) for grace in (0.0, 90_000.0, 600.0)]
    if (shipped.catch_up_s(graces), shipped.catch_up_s(iter(graces[:1])), shipped.catch_up_s([])) != (90_000, 60, 60):
        raise Broken("S1", "finished jobs are not kept for the longest grace")


def ends_of_grace() -> None:
    """A missed tick is due as long as its minute began no longer ago than the grace says, to the microsecond."""
    minute = 29_000_000
    patient = Schedule("s", "* * * * *", "d", misfire=shipped.Misfire.ALL, misfire_grace_s=120.0)
    for us in (0, 1, 2, 59_999_999):
        now = _EPOCH + timedelta(minutes=minute, microseconds=us)
        found = [
            (tick - _EPOCH) // timedelta(minutes=1) for tick in shipped.due(patient, now - timedelta(hours=1), now)
        ]
        due = [minute - ago for ago in (3, 2, 1, 0) if ago == 0 or ago * 60_000_000 + us <= 120_000_000]
        if found != due:
            raise Broken("S2", f"{us} us into a minute, with a grace of 120 s, minutes {due} are due; found: {found}")


def pauses(seed: int, now: float, ticks_of: Callable[[str, str, int, int], list[int]]) -> None:
    """After a pause exactly those ticks are due that misfire and grace say; `ticks_of` is the oracle's."""
    rng = random.Random(seed)
    cron, zone = rng.choice((("* * * * *", "UTC"), ("*/7 * * * *", "Europe/London"), ("0 * * * *", "UTC")))
    misfire, grace_s = rng.choice(("once", "all", "skip")), rng.choice((0.0, 60.0, 59.5, 120.0, 3600.0, 90_000.0))
    now = now // 60 * 60 if rng.random() < 0.5 else now
    now += rng.choice((0.0, 0.0, 0.000001, 30.0, 59.999999))
    minute = int(now // 60)
    gap = rng.choice((None, 0, 1, 2, 3, 61, 1500, -1))
    paused = Schedule("s", cron, "d", timezone=zone, misfire=shipped.Misfire(misfire), misfire_grace_s=grace_s)
    last = None if gap is None else _EPOCH + timedelta(minutes=minute - gap, seconds=rng.randrange(60))
    own = ticks_of(cron, zone, minute, minute)
    missed: list[int] = []
    if gap is not None and misfire != "skip":
        oldest = max(minute - gap + 1, int(-((round(grace_s * 1e6) - round(now * 1e6)) // 60_000_000)))
        missed = ticks_of(cron, zone, oldest, minute - 1)
    due = [] if gap is not None and gap <= 0 else ((missed[-1:] if misfire == "once" else missed) + own)[-1000:]
    moment = _EPOCH + timedelta(microseconds=round(now * 1e6))
    found = [(tick - _EPOCH) // timedelta(minutes=1) for tick in shipped.due(paused, last, moment)]
    if found != due:
        raise Broken(
            "S2",
            f"{cron} in {zone} with misfire {misfire} within {grace_s:g} s: due at {moment} after {last} are "
            f"{len(due)} ticks ({due[:2]}...), found were {len(found)} ({found[:2]}...)",
        )


def _refuses(kind: type[Exception], call: Callable[[], object], *words: str, promise: str = "S3") -> None:
    try:
        call()
    except kind as error:
        if not all(word in str(error) for word in words):
            raise Broken(promise, f"a bad value was refused without {words}: {error}") from None
        return
    raise Broken(promise, f"a bad value was taken: expected was a refusal with {words}")


# -- files -------------------------------------------------------------------------------------------------------------

Option = tuple[str | None, str, Any]  # as it is written (None: not at all), the end of the key of its fault, the value

_OPTIONS: dict[str, tuple[Option, ...]] = {
    "cron": (
        ("'* * * * *'", "", "* * * * *"),
        ("'@daily'", "", "@daily"),
        ("0 2 * * *", "", "0 2 * * *"),
        *((text, "cron", None) for text in ("'61 * * * *'", "5", "~", "''", "[x]")),
        (None, "cron", None),
    ),
    "dag": (("d", "", "d"), ("'12'", "", "12"), ("5", "dag", None), ("''", "dag", None), (None, "dag", None)),
    "tenant": ((None, "", "local-dev"), ("acme", "", "acme"), ("~", "tenant", None), ("no", "tenant", None)),
    "enabled": (
        (None, "", True),
        ("true", "", True),
        ("false", "", False),
        ("no", "", False),
        *((text, "enabled", None) for text in ("'false'", "~", "1")),
    ),
    "max_retries": (
        (None, "", 0),
        ("2", "", 2),
        ("'2'", "max_retries", None),
        ("~", "max_retries", None),
        ("2026-01-01", "max_retries", None),
    ),
    "timezone": ((None, "", "UTC"), ("Europe/London", "", "Europe/London"), ("Europe", "timezone", None)),
    "params": (
        (None, "", {}),
        ("{k: [1, ~]}", "", {"k": [1, None]}),
        ("~", "", {}),
        ("[1]", "params", None),
        ("2026-01-01", "params", None),
    ),
    "priority": ((None, "", 0), ("5", "", 5), ("1001", "priority", None), ("1.5", "priority", None)),
    "timeout_s": ((None, "", None), ("2", "", 2.0), ("~", "", None), ("0", "timeout_s", None)),
    "misfire": ((None, "", "once"), ("all", "", "all"), ("never", "misfire", None), ("5", "misfire", None)),
    "misfire_grace_s": ((None, "", 3600.0), ("60", "", 60.0), ("soon", "misfire_grace_s", None)),
}


def _written(rng: random.Random, ids: Sequence[str], wrong: int, prefix: str) -> tuple[list[str], list[Any], list[Any]]:
    """Rows of a file, one key a line: the lines, the faults (line, key), and the good rows with their lines."""
    lines: list[str] = []
    faults: list[tuple[int, str]] = []
    good: list[tuple[int, dict[str, Any]]] = []
    for at, name in enumerate(ids):
        where = f"[{at}]." if prefix else ""
        first, before = len(lines) + 1, len(faults)
        option: Option = (name, "", name)
        if rng.random() * 16 < wrong:
            option = rng.choice((("no", "id", None), ("12:30", "id", None), ("''", "id", None), ("~", "id", None)))
        row: dict[str, Any] = {}
        for key, options in (("id", (option,)), *_OPTIONS.items()):
            fine = [one for one in options if not one[1]]
            bad = [one for one in options if one[1]]
            text, fault, row[key] = rng.choice(bad if bad and rng.random() * 16 < wrong else fine or bad)
            if text is not None:
                lines.append(f"{prefix}{key}: {text}")
            if fault:
                faults.append((len(lines) if text is not None else first, f"{where}{fault}"))
        if rng.random() * 16 < wrong:
            lines.append(f"{prefix}retries: 3")
            faults.append((len(lines), f"{where}retries"))
        if prefix:
            lines[first - 1] = "- " + lines[first - 1].removeprefix(prefix)
        if len(faults) == before:
            good.append((first, row))
    if prefix and rng.random() * 32 < wrong:
        lines.append("- 5")
        faults.append((len(lines), f"[{len(ids)}]"))
    return lines, faults, good


def written(seed: int, n: int, wrong: int) -> None:
    """A file of n rows (0: one, no list), `wrong` sixteenths of whose values are faulty, is read as it is meant."""
    rng = random.Random(seed)
    lines, faults, good = _written(rng, [f"s{at}" for at in range(n or 1)], wrong, "  " if n else "")
    text = "\n".join(lines) + "\n"
    schedules, told = shipped.parse_schedules(rng.choice((text, text.encode())), "f.yaml")
    found = sorted((fault.line, fault.key) for fault in told)
    if found != sorted(faults):
        raise Broken("S3", f"the faults of {text!r} are {sorted(faults)}, told were {found}")
    if any(fault.file != "f.yaml" or fault.column < 1 or not fault.message for fault in told):
        raise Broken("S3", f"a fault of {text!r} does not say where it is, or what: {told[0]}")
    read = [(schedule.line, schedule.row()) for schedule in schedules]
    if read != good or any(schedule.file != "f.yaml" for schedule in schedules):
        raise Broken("S4", f"the good rows of {text!r} are {good}, read were {read}")


def folder() -> None:
    """A folder with everything in it that is no good file costs only that, and everything is told."""
    good = '- id: {0}\n  cron: "0 2 * * *"\n  dag: d\n'
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        texts = {
            "a.yaml": good.format("b1") + good.format("a1"),
            "b.yaml": "\n" + good.format("a1") + good.format("b2"),
            "c.yml": good.format("c1"),
            "d.yaml": "- id: x\n  cron: * * * * *\n  dag: d\n",
            "e.yaml": "id: e1\ncron: '@daily'\ndag: d\n",
            "g.txt": good.format("g1"),
            "h.yaml": "id: [\n",
            "i.yaml": "- &base {id: i1, cron: '@daily', dag: d, tenant: acme}\n- {<<: *base, id: i2}\n",
        }
        for file, text in texts.items():
            (root / file).write_text(text)
        (root / "f.yaml").mkdir()
        (root / "j.yaml").write_bytes(b"x" * (shipped.SIZE_MAX + 1))
        (root / "k.yaml").write_text(good.format("k1"))
        for again in range(3):
            shipped.check_schedules(root)
            schedules, faults = shipped.check_schedules(name if again else root)
            read = [(schedule.id, schedule.file, schedule.line) for schedule in schedules]
            due = [("b1", "a", 1), ("a1", "a", 4), ("b2", "b", 5), ("e1", "e", 1), ("i1", "i", 1), ("i2", "i", 2)]
            due += [("k1", "k", 1)]
            if read != [(one, str(root / f"{file}.yaml"), line) for one, file, line in due]:
                raise Broken("S4", f"of a folder these were read: {read}")
            told = [(Path(fault.file).name, fault.line, fault.column, fault.key) for fault in faults]
            if [one[:2] for one in told] != [
                *(("b.yaml", 2), ("c.yml", 1), ("d.yaml", 2), ("f.yaml", 1)),
                *(("h.yaml", told[4][1] if len(told) > 4 else 0), ("j.yaml", 1)),
            ]:
                raise Broken("S4", f"of a folder these faults were told: {told}")
            words = (f"'a1' is taken by {root / 'a.yaml'}:4", "ends in .yaml", "needs quotes", "no regular file")
            for fault, word in zip(faults, words, strict=False):
                if word not in fault.message:
                    raise Broken("S4", f"a fault is told without {word!r}: {fault}")
            if told[0][2:] != (1, "id") or told[1][2:] != (1, "") or told[3][2:] != (1, ""):
                raise Broken("S4", f"of a folder these faults were told: {told}")
            if "at most" not in faults[5].message:
                raise Broken("S4", f"a file that is too large is told as {faults[5]}")
            if "quotes" in faults[4].message:
                raise Broken("S4", f"a fault is told with a hint that does not fit: {faults[4]}")
            with contextlib.redirect_stdout(io.StringIO()) as said:
                rows = shipped.load_schedules(name)
            warned = "".join(f"Warning: Failed to load {fault}\n" for fault in faults)
            if rows != [schedule.row() for schedule in schedules] or said.getvalue() != warned:
                raise Broken("S4", f"rows of a folder are {rows}, warned was {said.getvalue()!r}")
            with contextlib.redirect_stdout(_Closed()):
                if shipped.load_schedules(name) != rows:
                    raise Broken("S4", "a closed stdout costs rows")
        nowhere = str(root / "nowhere")
        for _ in range(3):
            if shipped.load_schedules(nowhere) != []:
                raise Broken("S4", "a folder that is not there has schedules")
            _refuses(ScheduleError, lambda: shipped.check_schedules(nowhere), nowhere)
        with contextlib.redirect_stdout(io.StringIO()):
            if shipped.load_schedules(root / "a.yaml") != []:
                raise Broken("S4", "a file is taken for a folder")
    hour = walls_of(ZoneInfo("UTC"), 0, 60)
    if Oracle("0 * * * *").ticks(hour) != [0, 60]:
        raise Broken("S3", "the oracle is wrong")


class _Closed(io.StringIO):
    """A stdout that nobody reads any more."""

    def write(self, _: str) -> int:
        raise BrokenPipeError(32, "Broken pipe")
