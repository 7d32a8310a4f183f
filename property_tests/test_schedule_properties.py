"""Properties of schedules: cron is what cron means, and no tick is lost or repeated.

The oracle is that of the kit, `orch.testing.machines.cron`. The whole span, every minute of three years in each zone,
is walked with ORCH_CRON_FULL=1 (a nox session); otherwise days around the changes of the clocks, and others drawn at
random.
"""

import os
import random
from datetime import UTC, date, datetime
from functools import cache
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim
from hypothesis import example, given, settings
from hypothesis import strategies as st

from orch.backends.memory import MemoryQueue
from orch.errors import BackendUnavailable
from orch.job import JobStatus
from orch.schedule import Misfire, Schedule, catch_up_s, minute_of, parse_cron, time_of
from orch.scheduler import Scheduler
from orch.scheduler.logic import Enqueue, MoveCursors, ReadCursors
from orch.testing import FakeClock
from orch.testing.machines.cron import ZONES, Oracle, walls_of
from orch.testing.machines.cron import changes_of as changes_between
from orch.worker.steps import Sleep

FULL = bool(os.environ.get("ORCH_CRON_FULL"))
FROM, TO = datetime(2024, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)


@cache
def changes_of(name):
    """The minutes at which a zone's clock is changed within the three years."""
    return changes_between(name, minute_of(FROM), minute_of(TO))


def test_every_zone_changes_its_clock_in_each_of_the_three_years():
    for name in ZONES:
        assert {time_of(minute).year for minute in changes_of(name)} == {2024, 2025, 2026}, name


# -- expressions -------------------------------------------------------------------------------------------------------


def terms(low, high, names=()):
    number = st.integers(low, high).map(str)
    if names:
        number |= st.sampled_from(names)
    pair = st.tuples(st.integers(low, high), st.integers(low, high)).map(sorted).filter(lambda p: p[0] < p[1])
    span = pair.map(lambda p: f"{p[0]}-{p[1]}")
    step = st.integers(1, 20)
    return st.one_of(
        number,
        number,
        span,
        st.builds("{}/{}".format, span, step),
        st.builds("*/{}".format, step),
        st.builds("{}/{}".format, st.integers(low, high), step),
    )


def fields(low, high, names=(), more=()):
    term = terms(low, high, names)
    if more:
        term |= st.sampled_from(more)
    return st.just("*") | term | st.lists(term, min_size=2, max_size=3).map(",".join)


MINUTES = fields(0, 59)
HOURS = st.one_of(fields(0, 23), st.sampled_from(("0", "1", "2", "3", "23", "1,2", "0-3", "2,23")))
DAYS = fields(1, 31, more=("L", "LW"))
MONTHS = st.one_of(st.just("*"), st.just("*"), fields(1, 12, names=("JAN", "mar", "Oct")))
WEEKDAYS = fields(0, 7, names=("SUN", "mon", "Sat"), more=("0L", "5L", "SUN#2", "7#1", "MON#5"))
EXPRESSIONS = st.builds(
    lambda *parts: " ".join(parts),
    MINUTES,
    HOURS,
    st.just("*") | DAYS,
    MONTHS,
    st.just("*") | WEEKDAYS,
)


def parsed(text):
    """The expression, or None when it names no date that ever comes."""
    try:
        return parse_cron(text)
    except ValueError as error:
        if "no such date" in str(error):
            return None
        raise


FAMOUS = (
    "* * * * *",
    "*/5 * * * *",
    "*/15 * * * *",
    "7-59/9 * * * *",
    "30 * * * *",
    "0 */2 * * *",
    "*/7 1-3 * * *",
    "* 0 * * *",
    "*/20 2 * * SUN",
    "30 1 * * *",
    "30 2 * * *",
    "0 0 * * *",
    "15,45 0,1,2,3,23 * * *",
    "59 23 * * *",
    "30 23 * * SAT",
    "10-50/20 0-3 * * *",
    "0 12 13 * FRI",
    "0 0 */2 * MON",
    "0 3 L * *",
    "5 2 LW * *",
    "15 1 * * 7L",
    "45 2 * 3,4,9,10,11 SUN#1",
    "0 9 * * MON-FRI",
    "0 0 29 2 *",
)


@pytest.mark.promise("S3")
@pytest.mark.parametrize("name", ZONES)
@settings(deadline=None)
@given(data=st.data(), text=EXPRESSIONS)
@example(data=None, text="*/30 * * * *")
@example(data=None, text="30 1,2 * * *")
def test_ticks_are_those_of_the_oracle_around_changes_of_the_clock(name, data, text):
    cron = parsed(text)
    if cron is None:
        return
    zone = ZoneInfo(name)
    change = changes_of(name)[-1] if data is None else data.draw(st.sampled_from(changes_of(name)))
    walls = walls_near(name, change)
    expected = Oracle(text).ticks(walls)
    first, last = walls[0][0], walls[-1][0]
    assert list(cron.between(zone, first - 1, last)) == expected
    assert cron.latest(zone, first - 1, last, 7) == expected[-7:]
    probe = change + (0 if data is None else data.draw(st.integers(-200, 200)))
    assert cron(time_of(probe).astimezone(zone)) == (probe in expected)
    after = [tick for tick in expected if tick > probe]
    assert cron.next(zone, probe) == after[0] if after else True


@cache
def walls_near(name, change):
    return walls_of(ZoneInfo(name), change - 1700, change + 1700)


@pytest.mark.promise("S3")
@settings(deadline=None)
@given(name=st.sampled_from(ZONES), text=EXPRESSIONS, start=st.integers(minute_of(FROM), minute_of(TO)))
def test_ticks_are_those_of_the_oracle_on_any_days(name, text, start):
    cron = parsed(text)
    if cron is not None:
        zone = ZoneInfo(name)
        walls = walls_of(zone, start, start + 2000)
        assert list(cron.between(zone, start - 1, start + 2000)) == Oracle(text).ticks(walls)


@pytest.mark.promise("S3")
@settings(deadline=None)
@given(text=EXPRESSIONS, day=st.dates(date(2024, 1, 1), date(2030, 12, 31)))
def test_the_days_of_an_expression_are_those_of_the_oracle(text, day):
    cron = parsed(text)
    if cron is not None:
        oracle = Oracle(text)
        noon = datetime.combine(day, datetime.min.time()).replace(hour=min(oracle.hours), minute=min(oracle.minutes))
        assert cron(noon) == oracle.on(day)


@pytest.mark.promise("S3")
@pytest.mark.parametrize("text", FAMOUS)
def test_where_zones_change_by_whole_hours_ticks_are_those_of_cronsim(text):
    for name in ("Europe/London", "America/New_York"):
        zone = ZoneInfo(name)
        for change in changes_of(name):
            start = time_of(change - 1500).astimezone(zone)
            steps = CronSim(text, start)
            theirs = []
            while (moment := next(steps).astimezone(UTC)) <= time_of(change + 1500):
                theirs.append(minute_of(moment))
            assert list(parse_cron(text).between(zone, change - 1500, change + 1500)) == theirs


@pytest.mark.promise("S3")
@pytest.mark.skipif(not FULL, reason="walks through fifteen million minutes; ORCH_CRON_FULL=1 runs it")
@pytest.mark.timeout(0)
@pytest.mark.parametrize("name", ZONES)
def test_ticks_are_those_of_the_oracle_in_every_minute_of_three_years(name):
    zone = ZoneInfo(name)
    walls = walls_of(zone, minute_of(FROM), minute_of(TO) - 1)
    drawn = random.Random(name)
    texts = [*FAMOUS, *(drawn_expression(drawn) for _ in range(16))]
    for text in texts:
        cron = parsed(text)
        if cron is not None:
            ticks = list(cron.between(zone, minute_of(FROM) - 1, minute_of(TO) - 1))
            assert ticks == Oracle(text).ticks(walls), text
            for tick in drawn.sample(ticks, min(len(ticks), 500)):
                assert cron(time_of(tick).astimezone(zone))
            for minute in drawn.sample(walls, 500):
                assert cron(time_of(minute[0]).astimezone(zone)) == hit(ticks, minute[0])


def hit(ticks, minute):
    """Whether an ascending list holds a minute."""
    from bisect import bisect_left

    at = bisect_left(ticks, minute)
    return at < len(ticks) and ticks[at] == minute


def drawn_expression(drawn):
    """An expression of a random generator, for the full walk: wall times near the changes, any days."""
    minute = drawn.choice(["*", "0", "30", "*/10", "15,45", f"{drawn.randrange(60)}", "5/25", "10-40/15"])
    hour = drawn.choice(["*", "0", "1", "2", "3", "23", "0-4", "*/3", "1,2,3", "22-23"])
    day = drawn.choice(["*", "*", "*", "1-7", "L", "15,31", "*/3"])
    month = drawn.choice(["*", "*", "*", "3,4,10,11", "MAR-APR", "SEP-DEC"])
    weekday = drawn.choice(["*", "*", "*", "SUN", "0L", "SUN#1", "1-5", "7"])
    return f"{minute} {hour} {day} {month} {weekday}"


# -- what becomes of the ticks -----------------------------------------------------------------------------------------


def answered(step, queue):
    match step:
        case ReadCursors():
            return queue.schedule_cursors(step.keys)
        case Enqueue():
            return [queue.enqueue(job) for job in step.jobs]
        case MoveCursors():
            return queue.advance_schedules(step.moves)
    return None


class Racer:
    """One of several schedulers on a store: between any two of its steps the others may do anything."""

    def __init__(self, schedules, queue, clock, skew):
        self.schedules, self.queue, self.clock, self.skew = schedules, queue, clock, skew
        self.restart()

    def restart(self):
        self.steps = Scheduler(self.schedules).serve(1.0)
        self.step = next(self.steps)

    def now(self):
        return self.clock() + self.skew

    def act(self, fault):
        """Do one step, unless it sleeps still. A fault comes in the place of the answer, before or after the effect."""
        if isinstance(self.step, Sleep) and self.step.until > self.now():
            return []
        value = None
        asks = isinstance(self.step, ReadCursors | Enqueue | MoveCursors)
        if not (asks and fault == "before"):
            value = answered(self.step, self.queue)
        new = (
            [job.id for job, is_new in zip(self.step.jobs, value or [], strict=False) if is_new]
            if isinstance(self.step, Enqueue)
            else []
        )
        if asks and fault in ("before", "after"):
            value = BackendUnavailable("connection lost")
        self.step = self.steps.send((self.now(), value))
        return new


@pytest.mark.promise("S1", "S2")
@settings(deadline=None)
@given(data=st.data(), seed=st.integers(0, 2**32), count=st.integers(2, 3), misfire=st.sampled_from(list(Misfire)))
def test_schedulers_that_race_crash_and_lose_answers_make_one_job_of_each_tick(data, seed, count, misfire):
    """With a worker that runs jobs at once, and a purge of everything as old as the grace: no id is ever new twice.

    Nor is there a hole between the ticks where the policy is to catch up all of them.
    """
    grace_s = data.draw(st.sampled_from([200.0, 1e6]))
    schedules = [
        Schedule("a", "* * * * *", "d", misfire=misfire, misfire_grace_s=grace_s),
        Schedule("b", "*/3 * * * *", "d", misfire=misfire, misfire_grace_s=grace_s),
    ]
    drawn = random.Random(seed)
    faults = data.draw(st.sampled_from([0.0, 0.02, 0.2]))
    clock = FakeClock(datetime(2026, 11, 24, 12, 0, 5, tzinfo=UTC).timestamp())
    queue = MemoryQueue(clock=clock)
    racers = [Racer(schedules, queue, clock, drawn.uniform(-1, 1)) for _ in range(count)]
    new: list[str] = []
    begun: dict[str, float] = {}  # schedule id -> where its first cursor stood: it was new before
    for _ in range(data.draw(st.integers(100, 800))):
        act = drawn.random()
        racer = drawn.choice(racers)
        if act < 0.75:
            fault = drawn.choice(["before", "after"]) if drawn.random() < faults else None
            new += racer.act(fault)
            for schedule in schedules:
                cursor = queue.schedule_cursor(schedule.key)
                if cursor is not None:
                    begun.setdefault(schedule.id, datetime.fromisoformat(cursor).timestamp())
        elif act < 0.80:
            racer.restart()
        elif act < 0.90:
            clock.advance(drawn.choice([0.2, 1.0, 5.0, 30.0]))
        elif act < 0.95:
            job = queue.dequeue()
            if job is not None:
                queue.update_status(job.id, JobStatus.SUCCESS, lease=job.lease)
        else:
            queue.purge(catch_up_s(schedules) / 3600)
    clock.advance(2)  # past the skews
    for step in iter_steps(Scheduler(schedules).once(), queue, clock):
        if isinstance(step, Enqueue):
            new += [job.id for job in step.jobs if queue.get_job(job.id) is None]
    assert len(new) == len(set(new))
    for schedule_id, every_s in (("a", 60), ("b", 180)):
        ticks = sorted(datetime.fromisoformat(name[2:]).timestamp() for name in new if name.startswith(schedule_id))
        assert all(tick % every_s == 0 for tick in ticks)
        if misfire is Misfire.ALL and grace_s > 1000 and schedule_id in begun:
            first = (begun[schedule_id] // every_s + 1) * every_s
            assert [tick for tick in ticks if tick >= first] == list(range(int(first), int(clock()) + 1, every_s))


def iter_steps(steps, queue, clock):
    """Each step, before it is done."""
    answer = None
    while True:
        try:
            step = steps.send(answer)
        except StopIteration:
            return
        yield step
        answer = (clock(), answered(step, queue))
