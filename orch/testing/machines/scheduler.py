"""The machine of schedulers (S1 to S5): several on one store, under clocks that jump, crashes, lost replies and edits.

The shipping `Scheduler` is stepped, or driven by the shipping driver, on virtual time. The oracle keeps, for each
schedule, every (version, last minute that was dealt with) that the store may hold by the words of the contract: one
after a look that ended, several after one that was cut short, of which the next look leaves those that fit. Ticks are
those of the oracle of cron; an id that was new once must never be new again, purged or not.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import tempfile
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from orch import schedule as shipped
from orch.backends.memory import MemoryQueue
from orch.errors import BackendUnavailable, InvalidInput, OrchError
from orch.job import CursorMove, Job, JobStatus
from orch.schedule import Schedule
from orch.scheduler import driver, logic, tick
from orch.testing.clock import FakeClock
from orch.testing.machines import schedules
from orch.testing.machines.cron import ZONES, Oracle, changes_of, walls_of
from orch.testing.machines.world import Act, Broken, Machine, World
from orch.worker.logic import OUTAGE_S_MAX

START = datetime(2026, 3, 28, 23, 58, 59, 750_000, tzinfo=UTC).timestamp()
SCHEDULERS = 2
IDS = ("a", "b")
CRONS = ("* * * * *", "*/5 * * * *", "30 1 * * *", "0 */2 * * *", "7,50 * * * *", "*/20 0-3 * * *", "15 1,2 * * SUN")
ZONED = ("UTC", "Europe/London", "Australia/Lord_Howe")
MISFIRES = ("once", "skip", "all")
GRACES = (3600.0, 0.0, 59.5, 60.0, 600.0, 90_000.0)
WAITS = (60.0, 1.0, 0.25, 30.0, 59.0, 61.0, 300.0, 900.0, 3600.0, 14_400.0, 72_000.0)
BACKS = (60.0, 1.0, 120.0, 600.0, 3600.0, 14_400.0)
PLACES = ("2026-04-04T14:20:30Z", "2026-10-03T14:40:00Z", "2026-10-25T00:20:30Z")  # near changes of clocks
SERVES = (90.0, 1.0, 20.0)  # seconds between two looks
SERVED = (70.0, 150.0, 400.0)  # seconds in all
OUTAGES = (0.0, 15.0, 100.0)

#: Rows that are wrong, each in its own way; `bad` must never become a job.
BAD_ROWS: tuple[Any, ...] = (
    {"id": "bad", "cron": "61 * * * *", "dag": "d"},
    {"cron": "* * * * *", "dag": "d"},
    {"id": "bad", "dag": "d"},
    "bad",
    None,
    {"id": "bad", "cron": "* * * * *", "dag": "d", "enabled": "false"},
    {"id": "bad", "cron": "* * * * *", "dag": "d", "enabled": None},
    {"id": "bad", "cron": "* * * * *", "dag": "d", "max_retries": "3"},
    {"id": "bad", "cron": "* * * * *", "dag": "d", "timezone": "Mars/Olympus"},
    {"id": "bad", "cron": "* * * * *", "dag": "d", "retries": 3},
    {"id": False, "cron": "* * * * *", "dag": "d"},
)
BAD_FILES = ("", "a: [\n", "- {id: x, cron: * * * * *, dag: d}\n", "\0", "5\n")

#: Parts of expressions, and expressions that are none: with the field that the refusal must name.
MINUTES = ("30", "0", "*", "*/7", "15,45", "10-50/20", "5/25", "*/30")
HOURS = ("1", "2", "*", "1,2", "0", "*/2", "23", "0-3/2", "*/5")
DAYS = ("*", "13", "L", "*/2", "25", "LW", "1-7", "29,5")
MONTHS = ("*", "3,4,10", "OCT", "JAN-MAR", "*/2")
WEEKDAYS = ("*", "FRI", "0", "7#1", "5L", "MON-FRI", "7", "*/2", "SUN")
SEASONS = ("spring", "autumn")
REFUSED = (
    ("61 * * * *", "minute"),
    ("* 25 * * *", "hour"),
    ("* * 0 * *", "day-of-month"),
    ("* * * 13 *", "month"),
    ("* * * * 8", "day-of-week"),
    ("*/0 * * * *", "minute"),
    ("5-1 * * * *", "minute"),
    ("*/-5 * * * *", "minute"),
    ("+5 * * * *", "minute"),
    ("1_0 * * * *", "minute"),
    ("\u0665 * * * *", "minute"),
    ("? * * * *", "minute"),
    ("5-5/10 * * * *", "minute"),
    ("* * * * \u017fun", "day-of-week"),
    ("* * * *", "5 fields"),
    ("0 0 31 2 *", "day-of-month"),
    ("@noon", "alias"),
)
_ID = re.compile(r"(.+)@(\d{4}-\d\d-\d\dT\d\d:\d\dZ)")
_STEPS_MAX = 2_000


@dataclass(slots=True)
class Row:
    """A schedule as the oracle knows it."""

    id: str
    cron: str
    zone: str = "UTC"
    misfire: str = "once"
    grace_s: float = 3600.0
    enabled: bool = True
    states: set[tuple[tuple[str, str] | None, int | None]] = field(default_factory=lambda: {(None, None)})
    older: dict[tuple[str, str], set[int]] = field(default_factory=dict)  # how far each version may be
    behind: bool = False  # the clock was put back once: which version was in force last may not be seen
    disabled_until: int = -1  # the last minute in which it was looked at while it was disabled

    @property
    def version(self) -> tuple[str, str]:
        """What begins anew when it is edited."""
        return self.cron, self.zone

    def shipped(self) -> Schedule:
        """The same as the code under test takes it."""
        return Schedule(
            self.id,
            self.cron,
            "d",
            timezone=self.zone,
            misfire=shipped.Misfire(self.misfire),
            misfire_grace_s=self.grace_s,
            enabled=self.enabled,
        )

    def as_data(self) -> dict[str, Any]:
        """The same as it is written in a file."""
        return {
            "id": self.id,
            "cron": self.cron,
            "dag": "d",
            "timezone": self.zone,
            "misfire": self.misfire,
            "misfire_grace_s": self.grace_s,
            "enabled": self.enabled,
        }

    def fires(self, minute: int) -> bool:
        """Is this minute one of its ticks?"""
        return bool(self.ticks(minute, minute))

    def ticks(self, first: int, last: int) -> list[int]:
        """Its ticks from the first to the last minute."""
        found: list[int] = []
        for day in range(first // 1440, last // 1440 + 1):
            ticks = ticks_of(self.cron, self.zone, day)
            found += ticks[bisect_left(ticks, first) : bisect_right(ticks, last)]
        return found

    def expected(self, done: int | None, now: float) -> list[int]:
        """What one look enqueues: the own minute's tick, and what the policy says of those that were missed."""
        minute = int(now // 60)
        if not self.enabled or (done is not None and minute <= done):
            return []
        missed: list[int] = []
        if done is not None and self.misfire != "skip":
            oldest = int(-(-(now - self.grace_s) // 60))
            missed = self.ticks(max(done + 1, oldest), minute - 1)
        if self.misfire == "once":
            missed = missed[-1:]
        return (missed + self.ticks(minute, minute))[-1000:]

    def begins(self) -> set[tuple[tuple[str, str] | None, int | None]]:
        """The states, with the last minute as it counts for the version in force: None where that starts now."""
        found: set[tuple[tuple[str, str] | None, int | None]] = set()
        for version, done in self.states:
            if version == self.version:
                found.add((version, done))
                continue
            found.add((version, None))
            if self.behind:
                found |= {(version, last) for last in self.older.get(self.version, ())}
        return found


@lru_cache(maxsize=512)
def ticks_of(cron: str, zone: str, day: int) -> tuple[int, ...]:
    """The ticks in one day of UTC, by the oracle, in order."""
    return tuple(tick for tick in Oracle(cron).ticks(_walls(zone, day)) if tick // 1440 == day)


@lru_cache(maxsize=128)
def _walls(zone: str, day: int) -> list[tuple[int, int]]:
    return walls_of(ZoneInfo(zone), day * 1440 - 1500, day * 1440 + 1439, every=15)


@lru_cache(maxsize=32)
def _near_change(zone: str, season: str) -> list[tuple[int, int]]:
    """What a zone's clock shows for a day around its change in the spring or in the autumn of 2026."""
    seasons = {
        "spring": ("2026-02-01T00:00Z", "2026-05-01T00:00Z"),
        "autumn": ("2026-09-01T00:00Z", "2026-12-01T00:00Z"),
    }
    changes = changes_of(zone, *(_minute(at) for at in seasons[season]))
    if not changes:  # not every zone has two in each year
        return _near_change(zone, "spring")
    return walls_of(ZoneInfo(zone), changes[-1] - 900, changes[-1] + 900, every=15)


@lru_cache(maxsize=2048)
def _oracle(text: str) -> Oracle:
    return Oracle(text)


@lru_cache(maxsize=2048)
def _ticks_near_change(text: str, zone: str, season: str) -> list[int]:
    """The ticks in that time, by the oracle."""
    return _oracle(text).ticks(_near_change(zone, season))


class Store(MemoryQueue):
    """The store, which notes down what was new, and does not answer when it is told not to."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock=clock)
        self.fresh: list[Job] = []
        self.known: set[str] = set()  # ids that were enqueued and not new
        self._lost: tuple[int, bool] | None = None  # the ask whose reply is lost, and whether it had its effect
        self.down_until = 0.0
        self._time = clock

    def lose(self, ask: int, *, late: bool) -> None:
        """Do not answer after so many asks: the ask is lost, or when `late` its reply."""
        self._lost = ask, late

    def has_lost(self) -> bool:
        """Was it asked so often? From now on it answers."""
        lost, self._lost = self._lost, None
        return lost is None

    @contextlib.contextmanager
    def _asked(self) -> Generator[None, None, None]:
        late = False
        if self._time() < self.down_until:
            raise BackendUnavailable("connection refused")
        if self._lost is not None:
            left, late = self._lost
            self._lost = (left - 1, late) if left else None
            if left:
                late = False
            elif not late:
                raise BackendUnavailable("connection lost")
        yield
        if late:
            raise BackendUnavailable("connection lost")

    def enqueue(self, job: Job) -> bool:
        with self._asked():
            new = super().enqueue(job)
            if new:
                self.fresh.append(job)
            else:
                self.known.add(job.id)
            return new

    def enqueue_many(self, jobs: Iterable[Job]) -> int:
        with self._asked():
            new = [job for job in jobs if MemoryQueue.enqueue(self, job)]
            self.fresh += new
            return len(new)

    def schedule_cursors(self, keys: Sequence[str]) -> list[str | None]:
        with self._asked():
            return super().schedule_cursors(keys)

    def advance_schedules(self, moves: Sequence[CursorMove]) -> list[bool]:
        with self._asked():
            return super().advance_schedules(moves)


@dataclass(slots=True)
class _Look:
    """A look that is under way."""

    steps: Generator[Any, Any, Any]
    answer: tuple[float, Any] | None = None
    times: list[float] = field(default_factory=list)  # that it was told
    allowed: dict[str, set[int]] = field(default_factory=dict)  # what it may enqueue, by schedule


class Schedulers(World):
    """Two schedulers over one store, two schedules, a clock, and what the contract says of them."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = FakeClock(START)
        self.store = Store(self.clock)
        self.rows = {"a": Row("a", CRONS[0]), "b": Row("b", CRONS[1])}
        self.ever: set[str] = set()  # ids that were new once
        self.known: set[str] = set()  # ids that were enqueued in this act, and not new
        self.purged_until = -1  # the last minute of an id that was purged
        self.latest = START
        self.shown: set[str] = set()  # the acts that show the same each time, and were done
        self.looks: list[_Look | None] = [None] * SCHEDULERS
        self.schedulers = [self._scheduler() for _ in range(SCHEDULERS)]

    def close(self) -> None:
        for look in self.looks:
            if look is not None:
                look.steps.close()
        self.store.close()
        super().close()

    # -- time --------------------------------------------------------------------------------------------------------

    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.clock.advance(seconds)
        self.latest = max(self.latest, self.clock())

    def back(self, seconds: float) -> None:
        """The clock is put back."""
        for row in self.rows.values():
            row.behind = True
        self.clock.advance(-seconds)

    def travel(self, when: str) -> None:
        """The clock jumps forward."""
        self.wait(datetime.fromisoformat(when).timestamp() - self.clock())

    # -- looks -------------------------------------------------------------------------------------------------------

    def look(self, k: int) -> None:
        """One scheduler looks at the clock."""
        driver.drive(self.schedulers[k].once(), self.store, clock=self.clock, sleep=_at_once)
        self._judge([self.clock()])

    def lose(self, k: int, ask: int, late: bool) -> None:
        """One look, in which an ask of the store is not answered: it is lost, or when `late` its reply."""
        self.store.lose(ask, late=late)
        with contextlib.suppress(OrchError):
            driver.drive(self.schedulers[k].once(), self.store, clock=self.clock, sleep=_at_once)
        if not self.store.has_lost():  # it did not ask so often
            self._judge([self.clock()])
        else:
            self._judge_cut(self._allowed(self.clock()), [self.clock()])

    def crash(self, k: int, steps: int) -> None:
        """One scheduler dies after so many steps of a look, and is started again."""
        self.step(k, steps)
        self.restart(k)

    def step(self, k: int, steps: int) -> None:
        """So many steps of a look: the one under way, or a new one. Between them anything may happen."""
        look = self.looks[k]
        if look is None:
            look = self.looks[k] = _Look(self.schedulers[k].once())
        for _ in range(steps):
            try:
                step = next(look.steps) if look.answer is None else look.steps.send(look.answer)
            except StopIteration:
                self.looks[k] = None
                break
            value = self._answer(step)
            look.answer = (self.clock(), value)
            look.times.append(self.clock())
            for now in set(look.times):  # a look may go on with the time that it read, while others look meanwhile
                for schedule_id, minutes in self._allowed(now).items():
                    look.allowed.setdefault(schedule_id, set()).update(minutes)
            self._judge_cut(look.allowed, look.times)

    def restart(self, k: int) -> None:
        """One scheduler dies, wherever it is, and is started again."""
        look = self.looks[k]
        if look is not None:
            look.steps.close()
            self.looks[k] = None
        self.schedulers[k] = self._scheduler()

    def serve(self, k: int, tick_s: float, seconds: float, outage_s: float) -> None:
        """One scheduler serves for so long, over the beginning of minutes; at first the store may be away."""
        begun, end = self.clock(), self.clock() + seconds
        self.store.down_until = begun + outage_s
        looks: list[float] = []

        def sleep(left: float) -> bool:
            if self.clock() + left > end + 1e-6:
                self.clock.now = end
                return True
            self.clock.advance(left)
            return False

        driver.drive(
            self.schedulers[k].serve(tick_s),
            self.store,
            clock=self.clock,
            sleep=sleep,
            passed=lambda _: looks.append(self.clock()),
        )
        self.store.down_until = 0.0
        if self.clock() < end - 1e-6:
            raise Broken("S2", f"a scheduler that serves ended by itself after {self.clock() - begun:g} s")
        self.latest = max(self.latest, end)
        minutes = [minute * 60.0 for minute in range(int(begun // 60) + 1, int((end + 1e-6) // 60) + 1)]
        due = [
            at for at in ([] if outage_s else [begun]) + minutes if at > begun + outage_s + OUTAGE_S_MAX or not outage_s
        ]
        for at in due:
            if not any(at - 1e-6 <= time < at + 1 for time in looks):
                when = datetime.fromtimestamp(at, UTC)
                raise Broken("S2", f"a scheduler that serves did not look at {when:%H:%M:%S}, within its time")
        self._judge(looks)

    # -- what else happens -------------------------------------------------------------------------------------------

    def edit(self, schedule_id: str, name: str, value: Any) -> None:
        """A schedule is edited, and all schedulers are started again."""
        setattr(self.rows[schedule_id], name, value)
        self.wait(0.001)  # two versions that start in one microsecond cannot be told apart
        for k in range(SCHEDULERS):
            self.restart(k)

    def turn(self, schedule_id: str) -> None:
        """A schedule is disabled, or enabled again, and all schedulers are started again."""
        self.edit(schedule_id, "enabled", not self.rows[schedule_id].enabled)

    def work(self) -> None:
        """A worker runs everything that is ready."""
        while True:
            jobs = self.store.dequeue_many(1000, "w")
            if not jobs:
                return
            for job in jobs:
                self.store.update_status(job.id, JobStatus.SUCCESS, lease=job.lease)

    def purge(self) -> None:
        """An operator purges what is older than any scheduler looks back."""
        stored = {job.id for job in self.store.list_jobs(limit=100_000)}
        self.store.purge(shipped.catch_up_s([row.shipped() for row in self.rows.values()]) / 3600)
        gone = stored - {job.id for job in self.store.list_jobs(limit=100_000)}
        self.purged_until = max([self.purged_until, *(_minute(job_id.partition("@")[2]) for job_id in gone)])

    def tick(self, bad: Any) -> None:
        """`tick_once`, which knows no cursor, with a bad row among the good ones."""
        first, *rest = (row.as_data() for row in self.rows.values())
        with contextlib.redirect_stdout(io.StringIO()) as said:
            tick.tick_once(datetime.fromtimestamp(self.clock(), UTC), [first, bad, *rest], self.store)
        fresh = self._fresh()
        minute = int(self.clock() // 60)
        for row in self.rows.values():
            due = {minute} if row.enabled and row.fires(minute) and self._id(row.id, minute) not in self.ever else set()
            found = fresh.get(row.id, set())
            if due - found and found - due:
                name = self._id(row.id, minute)
                raise Broken("S1", f"the job of {name} is named {self._id(row.id, min(found - due))!r}")
            if due - found:
                raise Broken("S4", f"beside the bad row {bad!r} schedule {row.id!r} did not get its tick")
            self._blame_extra(row, found - due, [self.clock()], None)
            self.ever |= {self._id(row.id, minute) for minute in found}
        if "Warning" not in said.getvalue():
            raise Broken("S4", f"nothing was said of the bad row {bad!r}")

    def load(self, bad: Any, broken: str) -> None:
        """The schedules are read from files, with a bad row among the good ones, and a bad file beside."""
        rows = [row.as_data() for row in self.rows.values()]
        lines = [f"- {json.dumps(row)}" for row in [rows[0], bad, *rows[1:]]]
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "good.yaml").write_text("\n".join(lines) + "\n")
            Path(folder, "broken.yaml").write_text(broken)
            found, faults = shipped.check_schedules(folder)
        promise = "S3" if isinstance(bad, dict) and bad.get("cron", "* * * * *") != "* * * * *" else "S4"
        told = [fault for fault in faults if fault.file.endswith("good.yaml")]
        if any(schedule.id not in self.rows for schedule in found) or not told:
            raise Broken(promise, f"the bad row {bad!r} was taken for a schedule")
        if [fault.line for fault in told if fault.line != 2]:
            raise Broken(promise, f"the bad row {bad!r} is in line 2, told of was {told[0]}")
        if promise == "S3" and not any(fault.key.endswith("cron") for fault in told):
            raise Broken("S3", f"the field that is wrong with {bad!r} was not told: {told[0]}")
        if not any(fault.file.endswith("broken.yaml") for fault in faults):
            raise Broken("S4", f"nothing was said of a file that holds {broken!r}")
        if [schedule.row() for schedule in found] != [row.shipped().row() for row in self.rows.values()]:
            raise Broken("S4", f"beside a bad row and a bad file the good rows were not read as written: {found}")

    def expression(self, text: str, zone: str, season: str) -> None:
        """Ticks around a change of the clocks of a zone, and forty days."""
        oracle = _oracle(text)
        try:
            cron = shipped.parse_cron(text)
        except InvalidInput as error:
            if "no such date" in str(error):
                return
            raise Broken("S3", f"{text!r} was refused: {error}") from None
        walls = _near_change(zone, season)
        first, last = walls[0][0], walls[-1][0]
        due = _ticks_near_change(text, zone, season)
        found = list(cron.between(ZoneInfo(zone), first - 1, last))
        if found != due:
            wrong = min(set(found) ^ set(due))
            when = shipped.time_of(wrong)
            said = "fires" if wrong in found else "does not fire"
            raise Broken(
                "S3", f"{text!r} in {zone} {said} at {when:%Y-%m-%d %H:%M}Z ({when.astimezone(ZoneInfo(zone))})"
            )
        for noon in (date(2026, 1, 1) + timedelta(days=n) for n in range(40)):
            moment = datetime(noon.year, noon.month, noon.day, min(oracle.hours), min(oracle.minutes))  # noqa: DTZ001 -- a wall time
            if cron(moment) != oracle.on(noon):
                raise Broken("S3", f"{text!r} {'does not fire' if oracle.on(noon) else 'fires'} on {noon:%a %Y-%m-%d}")
        schedules.ticks(text, zone, due, (first, last))
        schedules.plain_times(text, oracle, first)

    # -- expressions, schedules and files by themselves; the oracles are those of `schedules` -------------------------

    def pauses(self, seed: int) -> None:
        """A schedule that was not looked after for a while: what is due?"""
        schedules.pauses(seed, START + 997.25 * seed, lambda cron, zone, *span: Row("s", cron, zone).ticks(*span))

    def written(self, seed: int, n: int, wrong: int) -> None:
        """A file of n rows is read, `wrong` sixteenths of whose values are faulty."""
        schedules.written(seed, n, wrong)

    def grammar(self) -> None:
        """Expressions of every kind, and what is none."""
        self.shown.add("grammar")
        schedules.grammar()

    def values(self) -> None:
        """Schedules are made of values that cannot be meant."""
        self.shown.add("values")
        schedules.values()

    def folder(self) -> None:
        """A folder is read that holds everything."""
        self.shown.add("folder")
        schedules.folder()

    def refuse(self, text: str, names: str) -> None:
        """An expression that is none must be refused, with what is wrong with it."""
        try:
            shipped.parse_cron(text)
        except InvalidInput as error:
            if names not in str(error) or text not in str(error):
                raise Broken("S3", f"the refusal of {text!r} names neither it nor its {names}: {error}") from None
            return
        raise Broken("S3", f"{text!r} was taken for an expression")

    # -- judging -----------------------------------------------------------------------------------------------------

    def _judge(self, times: Sequence[float]) -> None:
        """Looks were done at these times, from beginning to end: exactly what is due was enqueued."""
        fresh = self._fresh()
        known = self.known
        for row in self.rows.values():
            found = fresh.get(row.id, set())
            fits: set[tuple[tuple[str, str] | None, int | None]] = set()
            nearest: tuple[set[int], int | None] | None = None
            for _, begun in row.begins():
                due: set[int] = set()
                done = begun
                for now in times:
                    due |= set(row.expected(done, now))
                    done = max(int(now // 60), -1 if done is None else done)
                others = known - {self._id(row.id, minute) for minute in due}
                due = {minute for minute in due if self._id(row.id, minute) not in self.ever}
                if due == found:
                    fits.add((row.version if times else None, done))
                elif nearest is None or len(due ^ found) < len(nearest[0] ^ found):
                    nearest = due, begun
            if not times:
                continue
            if not fits:
                assert nearest is not None
                self._blame_extra(row, found - nearest[0], times, nearest[1])
                names = sorted(name for name in others if name.startswith(f"{row.id}@"))
                if names and nearest[0] - found:
                    raise Broken("S1", f"the job of {self._id(row.id, min(nearest[0] - found))} is named {names[0]!r}")
                self._blame_missing(row, nearest[0] - found)
            self._settled(row, fits, found, times, cut=False)

    def _judge_cut(self, allowed: dict[str, set[int]], times: Sequence[float]) -> None:
        """A look was cut short, or is under way: nothing but what is due was enqueued, and no more is dealt with."""
        fresh = self._fresh()
        for row in self.rows.values():
            found = fresh.get(row.id, set())
            last = max((done for _, done in row.begins() if done is not None), default=None)
            self._blame_extra(row, found - allowed.get(row.id, set()), times, last)
            ever = self.ever | {self._id(row.id, minute) for minute in found}
            states = set(row.states)
            for version, done in row.begins():
                for now in times:
                    if all(self._id(row.id, minute) in ever for minute in row.expected(done, now)):
                        minute = int(now // 60)
                        if version != row.version or done is None or minute > done:
                            states.add((row.version, max(minute, -1 if done is None else done)))
            self._settled(row, states, found, times, cut=True)

    def _settled(
        self,
        row: Row,
        states: set[tuple[tuple[str, str] | None, int | None]],
        found: set[int],
        times: Sequence[float],
        *,
        cut: bool,
    ) -> None:
        row.states = states
        if not cut:
            row.older.pop(row.version, None)
        for version, done in states:
            if version is not None and done is not None:
                row.older.setdefault(version, set()).add(done)
        if not row.enabled:
            row.disabled_until = max([row.disabled_until, *(int(now // 60) for now in times)])
        self.ever |= {self._id(row.id, minute) for minute in found}

    def _allowed(self, now: float) -> dict[str, set[int]]:
        return {
            row.id: {minute for _, done in row.begins() for minute in row.expected(done, now)}
            for row in self.rows.values()
        }

    def _fresh(self) -> dict[str, set[int]]:
        """What was new since it was asked last, by schedule. Raises where an id is not what it must be."""
        jobs, self.store.fresh = self.store.fresh, []
        self.known, self.store.known = self.store.known, set()
        found: dict[str, set[int]] = {}
        for job in jobs:
            match = _ID.fullmatch(job.id)
            if job.schedule_id not in self.rows:
                raise Broken("S4", f"a bad row became the job {job.id!r}")
            if match is None or match[1] != job.schedule_id:
                raise Broken("S1", f"the id of a tick's job is <schedule id>@<tick in UTC>, got {job.id!r}")
            minute = _minute(match[2])
            if job.id in self.ever:
                promise = "S5" if self.clock() < self.latest else "S1"
                behind = " with the clock put back" if promise == "S5" else ""
                raise Broken(promise, f"{job.id} was enqueued, and run, before{behind}")
            found.setdefault(match[1], set()).add(minute)
        return found

    def _blame_extra(self, row: Row, extra: set[int], times: Sequence[float], done: int | None) -> None:
        if not extra:
            return
        minute = min(extra)
        name = self._id(row.id, minute)
        if not row.enabled:
            raise Broken("S4", f"{name} was enqueued while {row.id!r} is disabled")
        if minute > max(times) // 60:
            raise Broken("S1", f"{name} was enqueued, which is no tick in UTC yet")
        if not row.fires(minute) and self._reads_as_tick(row, minute):
            local = shipped.time_of(minute).astimezone(ZoneInfo(row.zone))
            raise Broken(
                "S3", f"{name} was enqueued, which {row.cron!r} does not name ({local:%a %H:%M} in {row.zone})"
            )
        if done is not None and minute <= row.disabled_until and minute < max(times) // 60:
            raise Broken("S4", f"{name} was enqueued, which passed while {row.id!r} was disabled")
        if done is not None and minute <= done:
            if done > self.clock() // 60:
                raise Broken("S5", f"{name} was enqueued again, after the clock was put back")
            raise Broken("S2", f"{name} was enqueued, which was dealt with before")
        raise Broken(
            "S2", f"{name} was enqueued, which misfire {row.misfire!r} within {row.grace_s:g} s does not catch up"
        )

    def _blame_missing(self, row: Row, missing: set[int]) -> None:
        if not missing:
            return
        minute = min(missing)
        name = self._id(row.id, minute)
        if not self._reads_as_tick(row, minute):
            local = shipped.time_of(minute).astimezone(ZoneInfo(row.zone))
            raise Broken("S3", f"{name} was not enqueued, which {row.cron!r} names ({local:%a %H:%M} in {row.zone})")
        raise Broken("S2", f"{name} was missed")

    def _reads_as_tick(self, row: Row, minute: int) -> bool:
        """Does the code under test take this minute for a tick?"""
        return row.shipped().expression(shipped.time_of(minute).astimezone(ZoneInfo(row.zone)))

    # -- small things ------------------------------------------------------------------------------------------------

    def _scheduler(self) -> logic.Scheduler:
        return logic.Scheduler([row.shipped() for row in self.rows.values()])

    def _answer(self, step: Any) -> Any:
        try:
            match step:
                case logic.ReadCursors():
                    return self.store.schedule_cursors(step.keys)
                case logic.Enqueue():
                    return driver.enqueue_all(self.store, step.jobs)
                case logic.MoveCursors():
                    return self.store.advance_schedules(step.moves)
        except OrchError as error:
            return error
        return None

    def _id(self, schedule_id: str, minute: int) -> str:
        return f"{schedule_id}@{_text(minute)}"


def _at_once(_: float) -> bool:
    return False


@lru_cache(maxsize=65_536)
def _text(minute: int) -> str:
    return f"{shipped.time_of(minute):%Y-%m-%dT%H:%MZ}"


def _minute(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() // 60)


# -- the acts ----------------------------------------------------------------------------------------------------------

_EDITS: dict[str, tuple[Any, ...]] = {
    "misfire": MISFIRES,
    "cron": CRONS,
    "zone": ZONED,
    "grace_s": GRACES,
}


def _edit(world: Schedulers, which: int, name: int, value: int) -> tuple[Any, ...] | None:
    row = world.rows[IDS[which]]
    field_name = list(_EDITS)[name]
    values = _EDITS[field_name]
    if value >= len(values) or getattr(row, field_name) == values[value]:
        return None
    # What was purged is not known to a version that starts earlier on a clock that was put back.
    if field_name in ("cron", "zone") and world.clock() // 60 <= world.purged_until:
        return None
    return row.id, field_name, values[value]


def _purge(world: Schedulers) -> tuple[()] | None:
    """Only where it is known how far each schedule is: nobody looks, and nothing of the last look is open."""
    if any(look is not None for look in world.looks):
        return None
    done = {row.id: {last for _, last in row.begins()} for row in world.rows.values()}
    known = all(len(last) == 1 and None not in last for last in done.values())
    far = (
        {schedule_id: max(minute for minute in last if minute is not None) for schedule_id, last in done.items()}
        if known
        else {}
    )
    ids = [job_id.partition("@") for job_id in world.ever]
    return () if known and all(_minute(tick) <= far[schedule_id] for schedule_id, _, tick in ids) else None


def _tick(world: Schedulers, bad: int) -> tuple[Any, ...] | None:
    minute = int(world.clock() // 60)
    return None if minute <= world.purged_until else (BAD_ROWS[bad],)


def _back(world: Schedulers, which: int) -> tuple[float] | None:
    return None if world.clock() - BACKS[which] < START - 86_400 else (BACKS[which],)


def _travel(world: Schedulers, where: int) -> tuple[str] | None:
    return None if datetime.fromisoformat(PLACES[where]).timestamp() <= world.clock() else (PLACES[where],)


def _idle(world: Schedulers, k: int, *given: Any) -> tuple[Any, ...] | None:
    return None if world.looks[k] is not None else (k, *given)


def _once(name: str) -> Callable[[Schedulers], tuple[()] | None]:
    """What shows the same each time is done once in a world."""
    return lambda world: None if name in world.shown else ()


def _expression(
    _: Schedulers, minute: int, hour: int, day: int, month: int, weekday: int, zone: int, season: int
) -> tuple[str, ...]:
    text = f"{MINUTES[minute]} {HOURS[hour]} {DAYS[day]} {MONTHS[month]} {WEEKDAYS[weekday]}"
    return text, ZONES[zone], SEASONS[season]


ACTS = (
    Act("look", "L", (SCHEDULERS,), _idle, "S2", 12),
    Act("wait", "W", (len(WAITS),), lambda _, n: (WAITS[n],), "S2", 8),
    Act("back", "B", (len(BACKS),), _back, "S5", 2),
    Act("travel", "T", (len(PLACES),), _travel, "S2", 1),
    Act("step", "s", (SCHEDULERS, 6), lambda _, k, n: (k, n + 1), "S2", 4),
    Act("crash", "C", (SCHEDULERS, 8), lambda w, k, n: _idle(w, k, n + 1), "S2", 3),
    Act("lose", "l", (SCHEDULERS, 6, 2), lambda w, k, n, late: _idle(w, k, n, bool(late)), "S2", 3),
    Act("restart", "R", (SCHEDULERS,), lambda _, k: (k,), "S2", 2),
    Act(
        "serve",
        "S",
        (SCHEDULERS, len(SERVES), len(SERVED), len(OUTAGES)),
        lambda w, k, every, seconds, away: _idle(w, k, SERVES[every], SERVED[seconds], OUTAGES[away]),
        "S2",
        2,
    ),
    Act("edit", "e", (len(IDS), len(_EDITS), len(CRONS)), _edit, "S2", 6),
    Act("turn", "o", (len(IDS),), lambda _, which: (IDS[which],), "S4", 2),
    Act("work", "w", (), lambda _: (), "S1", 2),
    Act("purge", "P", (), _purge, "S1", 2),
    Act("tick", "t", (len(BAD_ROWS),), _tick, "S4", 1),
    Act("load", "f", (len(BAD_ROWS), len(BAD_FILES)), lambda _, r, f: (BAD_ROWS[r], BAD_FILES[f]), "S4", 1),
    Act(
        "expression",
        "x",
        (len(MINUTES), len(HOURS), len(DAYS), len(MONTHS), len(WEEKDAYS), len(ZONES), len(SEASONS)),
        _expression,
        "S3",
        4,
    ),
    Act("refuse", "r", (len(REFUSED),), lambda _, n: REFUSED[n], "S3", 1),
    Act("pauses", "p", (36, 36), lambda _, a, b: (36 * a + b,), "S2", 4),
    Act("written", "i", (36, 36, 4, 4), lambda _, a, b, n, wrong: (36 * a + b, n, wrong), "S3", 8),
    Act("grammar", "g", (), _once("grammar"), "S3", 1),
    Act("values", "v", (), _once("values"), "S3", 1),
    Act("folder", "k", (), _once("folder"), "S4", 1),
)

_TIME = "LWBTsClRSeowPt"

MACHINE = Machine(
    "scheduler", "s1", Schedulers, ACTS, always="LWxpgivk", themes=("xpg", "ivk", _TIME, _TIME, _TIME, "LWtfxr")
)
