# ruff: noqa: SLF001 - a bug reaches into what it breaks
"""Bugs of schedulers: ticks that run twice or never, cron that means something else, one bad row that costs all.

Each `make` puts the fault into `orch.schedule` or `orch.scheduler` for the time of a `with`.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, tzinfo
from typing import Any

from orch import checks, schedule
from orch.errors import OrchError
from orch.job import CursorMove, Job
from orch.schedule import Cron, Schedule
from orch.scheduler import logic, tick
from orch.scheduler.logic import Scheduler
from orch.testing.bugs.catalogue import Bug
from orch.testing.bugs.replacing import replaced
from orch.worker.steps import Say, Sleep
from orch.yaml_marks import Fault

Steps = Generator[Any, Any, Any]


# -- S1 ----------------------------------------------------------------------------------------------------------------


@contextmanager
def id_of_the_enqueue() -> Iterator[None]:
    """The job is named by the moment of the look, so a restart in the same minute sends the tick again."""
    shipped = Schedule.job

    def job(self: Schedule, tick: datetime, now: datetime) -> Job:
        return replace(shipped(self, tick, now), id=f"{self.id}@{now:%Y-%m-%dT%H:%M:%S.%fZ}")

    with replaced((Schedule, "job", job)):
        yield


@contextmanager
def id_in_local_time() -> Iterator[None]:
    """The tick is named as the schedule's own clock shows it, so both passes of a repeated hour are one."""
    shipped = Schedule.job

    def job(self: Schedule, tick: datetime, now: datetime) -> Job:
        return replace(shipped(self, tick, now), id=f"{self.id}@{tick.astimezone(self.zone):%Y-%m-%dT%H:%MZ}")

    with replaced((Schedule, "job", job)):
        yield


# -- S2 ----------------------------------------------------------------------------------------------------------------


@contextmanager
def cursor_moved_first() -> Iterator[None]:
    """The cursor is moved and then the jobs are enqueued; a crash between loses the tick."""
    shipped = Scheduler._settle

    def settle(self: Scheduler, visits: Any, now: datetime) -> Steps:
        steps = shipped(self, visits, now)
        held: list[Any] = []
        answer: Any = None
        while True:
            try:
                step = next(steps) if answer is None else steps.send(answer)
            except StopIteration as end:
                yield from held
                return end.value
            if isinstance(step, logic.Enqueue):
                held.append(step)
                answer = self._now, [True] * len(step.jobs)
            else:
                answer = yield step

    with replaced((Scheduler, "_settle", settle)):
        yield


@contextmanager
def edit_makes_the_past_missed() -> Iterator[None]:
    """The cursor is kept by id alone: the past ticks of a new expression count as missed, and run."""
    key = property(lambda self: checks.dump_json([self.id, "cursor"]))
    with replaced((Schedule, "key", key)):
        yield


@contextmanager
def cursors_in_memory() -> Iterator[None]:
    """Where a scheduler is, it alone knows: after a restart nothing was missed."""
    shipped = Scheduler.__init__

    def init(self: Scheduler, schedules: Iterable[Schedule]) -> None:
        shipped(self, schedules)
        self._own = {}

    with replaced((Scheduler, "__init__", init)):
        yield


@contextmanager
def looks_only_every_so_often() -> Iterator[None]:
    """The pause between looks knows nothing of minutes: a slow one steps over a tick that is not caught up."""
    shipped = Scheduler.serve

    def serve(self: Scheduler, tick_s: float = 1.0) -> Steps:
        steps = shipped(self, tick_s)
        step = next(steps)
        while True:
            paused = isinstance(step, Sleep) and step.until > self._now
            step = steps.send((yield Sleep(self._now + tick_s) if paused else step))

    with replaced((Scheduler, "serve", serve)):
        yield


@contextmanager
def grace_counts_for_nothing() -> Iterator[None]:
    """However long the pause was, the ticks in it are caught up: days of them after a long stop."""

    def due_(row: Schedule, last: datetime | None, now: datetime) -> list[datetime]:
        return _DUE(replace(row, misfire_grace_s=1e9), last, now)

    with replaced((logic, "due", due_)):
        yield


@contextmanager
def missed_runs_are_the_current_one() -> Iterator[None]:
    """What was missed in a pause is run now, as so many jobs of the current minute: their ids are one, so it is one."""

    def due_(row: Schedule, last: datetime | None, now: datetime) -> list[datetime]:
        minute = schedule.time_of(schedule.minute_of(now))
        return [minute] if _DUE(row, last, now) else []

    with replaced((logic, "due", due_)):
        yield


@contextmanager
def lock_outlives_its_holder() -> Iterator[None]:
    """One scheduler at a time, by a lock in the store that does not end: who dies with it stops all others."""
    shipped = Scheduler.once
    free = "2000-01-01T00:00:00+00:00"

    def once(self: Scheduler) -> Steps:
        yield from self._do(Sleep(0.0))
        [holder] = yield from self._ask(logic.ReadCursors(('["lock"]',)))
        if holder not in (None, free):
            return 0
        held = datetime.fromtimestamp(self._now, UTC).isoformat()
        [ours] = yield from self._ask(logic.MoveCursors((CursorMove('["lock"]', holder, held),)))
        if not ours:
            return 0
        enqueued: int = yield from shipped(self)
        yield from self._ask(logic.MoveCursors((CursorMove('["lock"]', held, free),)))
        return enqueued

    with replaced((Scheduler, "once", once)):
        yield


@contextmanager
def outage_ends_it() -> Iterator[None]:
    """One answer that does not come, and it serves no more; the process says good-bye with status 0."""
    shipped = Scheduler.serve

    def serve(self: Scheduler, tick_s: float = 1.0) -> Steps:
        steps = shipped(self, tick_s)
        step = next(steps)
        while True:
            if isinstance(step, Say):
                return
            step = steps.send((yield step))

    with replaced((Scheduler, "serve", serve)):
        yield


@contextmanager
def refused_jobs_count_as_enqueued() -> Iterator[None]:
    """The store did not answer to the enqueue; the cursor is moved all the same."""
    shipped = Scheduler._ask

    def ask(self: Scheduler, step: Any) -> Steps:
        if not isinstance(step, logic.Enqueue):
            return (yield from shipped(self, step))
        answer = yield from self._do(step)
        return [False] * len(step.jobs) if isinstance(answer, OrchError) else answer

    with replaced((Scheduler, "_ask", ask)):
        yield


# -- S3 ----------------------------------------------------------------------------------------------------------------


@contextmanager
def day_and_weekday() -> Iterator[None]:
    """Both day fields must match: 'the 13th or any Friday' fires on Friday the 13th only."""

    def on(self: Cron, day: Any) -> bool:
        both = self._parsed.days, self._parsed.weekdays
        return day.month in self._parsed.months and day.day in both[0] and day.isoweekday() % 7 in both[1]

    with replaced((Cron, "_on", on)):
        yield


@contextmanager
def repeated_hour_twice() -> Iterator[None]:
    """A wall time that comes twice fires twice: the nightly job runs again when summer time ends."""
    shipped = schedule._parsed

    def parsed(expr: str) -> Cron:
        return replace(shipped(expr), fixed=False)

    parsed.cache_clear = shipped.cache_clear  # type: ignore[attr-defined]  # stands in for a cached function
    with replaced((schedule, "_parsed", parsed)):
        yield


@contextmanager
def skipped_hour_is_lost() -> Iterator[None]:
    """A wall time that the clocks skip never fires: the job of 01:30 does not run on the last Sunday of March."""
    shipped = Cron._of_day

    def of_day(self: Cron, zone: tzinfo, day: int, after: int, until: int) -> Iterator[int]:
        for minute in shipped(self, zone, day, after, until):
            wall = schedule.time_of(minute).astimezone(zone)
            if wall.hour in self._hours and wall.minute in self._minutes:
                yield minute

    with replaced((Cron, "_of_day", of_day)):
        yield


@contextmanager
def sunday_is_zero_only() -> Iterator[None]:
    """7 names no day: what should run each Sunday never does."""
    shipped = Cron._on

    def on(self: Cron, day: Any) -> bool:
        return bool(shipped(self, day)) and not (day.isoweekday() == 7 and self.text.split()[4] == "7")

    with replaced((Cron, "_on", on)):
        yield


@contextmanager
def grammar_is_not_checked() -> Iterator[None]:
    """What int() takes is a number: '1_0' and digits of other scripts pass, and so does what no field can hold."""
    with replaced((schedule, "_fault_of_field", lambda *_: None)):
        yield


# -- S4 ----------------------------------------------------------------------------------------------------------------


@contextmanager
def bad_row_stops_the_tick() -> Iterator[None]:
    """A row without an id raises out of the tick: the rows after it get nothing."""

    def schedule_of(row: Any) -> Schedule:
        return _SCHEDULE_OF({**row, "id": row["id"], "cron": row["cron"]} if isinstance(row, Mapping) else row)

    with replaced((tick, "schedule_of", schedule_of)):
        yield


@contextmanager
def bad_row_spoils_its_file() -> Iterator[None]:
    """One faulty row, and the whole file is not read."""

    def parse(text: str | bytes, file: str = "<schedules>") -> tuple[list[Schedule], list[Fault]]:
        found, faults = _PARSE(text, file)
        return ([] if faults else found), faults

    with replaced((schedule, "parse_schedules", parse)):
        yield


@contextmanager
def enabled_is_whatever_is_true() -> Iterator[None]:
    """`enabled: "false"` is a text that is not empty, and so the schedule runs."""
    wrong = {**schedule.CHECKS, "enabled": bool}
    with replaced((schedule, "CHECKS", wrong)):
        yield


@contextmanager
def disabled_is_caught_up() -> Iterator[None]:
    """Disabled schedules are left out of looks: enabled again, they run what passed meanwhile."""
    shipped = Scheduler.__init__

    def init(self: Scheduler, schedules: Iterable[Schedule]) -> None:
        shipped(self, [row for row in schedules if row.enabled])

    with replaced((Scheduler, "__init__", init)):
        yield


# -- S5 ----------------------------------------------------------------------------------------------------------------


@contextmanager
def cursor_follows_the_clock_back() -> Iterator[None]:
    """A cursor ahead of the clock is taken for wrong and the schedule starts anew: what ran in that hour runs again."""
    shipped = Scheduler._visit

    def visit(self: Scheduler, watch: Any, cursor: str | None, started: str | None, now: datetime) -> Steps:
        if cursor is not None and datetime.fromisoformat(cursor) > now:
            own = schedule.due(watch.schedule, None, now) if watch.schedule.enabled else ()
            return logic._Visit(watch, tuple(own), cursor, starts=True, started=started)
        return (yield from shipped(self, watch, cursor, started, now))

    def once(self: Scheduler) -> Steps:
        for watch in self._watches:
            watch.next = logic._UNKNOWN  # it looks at each of them each time
        return (yield from _ONCE(self))

    with replaced((Scheduler, "_visit", visit), (Scheduler, "once", once)):
        yield


_DUE, _SCHEDULE_OF, _PARSE = schedule.due, schedule.schedule_of, schedule.parse_schedules
_ONCE = Scheduler.once

BUGS = (
    Bug(
        "tick-named-by-the-enqueue",
        "scheduler",
        ("S1",),
        "look, restart, look in one minute: the id names the moment, so the tick becomes two jobs",
        "taskiq#244, taskiq#296",
        id_of_the_enqueue,
    ),
    Bug(
        "tick-named-in-local-time",
        "scheduler",
        ("S1",),
        "a tick in a zone: the id is its wall time, which names another tick, or two in a repeated hour",
        "seed 82",
        id_in_local_time,
    ),
    Bug(
        "cursor-moved-before-the-jobs",
        "scheduler",
        ("S2",),
        "a tick is due, the cursor is moved, the scheduler dies: the tick is lost",
        "sidekiq#1841",
        cursor_moved_first,
    ),
    Bug(
        "edit-makes-the-past-missed",
        "scheduler",
        ("S2",),
        "look, wait, edit the cron, look: ticks of the new expression from before the edit run",
        "dagster#13597",
        edit_makes_the_past_missed,
    ),
    Bug(
        "cursors-in-memory",
        "scheduler",
        ("S2", "S5"),
        "look, stop over a tick, start: the tick is missed, as nobody knows of the first look",
        "river#791",
        cursors_in_memory,
    ),
    Bug(
        "looks-only-every-so-often",
        "scheduler",
        ("S2",),
        "serve with 90 s between looks, misfire skip: minutes in which nobody looked have no job",
        "seed 85",
        looks_only_every_so_often,
    ),
    Bug(
        "grace-counts-for-nothing",
        "scheduler",
        ("S2",),
        "a pause longer than misfire_grace_s: ticks that are older than that run",
        "streaq#152",
        grace_counts_for_nothing,
    ),
    Bug(
        "missed-runs-are-the-current-one",
        "scheduler",
        ("S2",),
        "a pause over a tick, misfire once: the job is enqueued for the current minute, not for the tick",
        "huey 3.0.2",
        missed_runs_are_the_current_one,
    ),
    Bug(
        "lock-outlives-its-holder",
        "scheduler",
        ("S2",),
        "A takes the schedulers' lock and dies; B never looks again",
        "taskiq-redis#131",
        lock_outlives_its_holder,
    ),
    Bug(
        "outage-ends-serving",
        "scheduler",
        ("S2",),
        "the store is away for one look: the scheduler serves no more",
        "sidekiq#3047",
        outage_ends_it,
    ),
    Bug(
        "refused-jobs-count-as-enqueued",
        "scheduler",
        ("S2",),
        "a tick is due and the enqueue is not answered: the cursor is moved, the tick is lost",
        "resque-scheduler#46",
        refused_jobs_count_as_enqueued,
    ),
    Bug(
        "day-and-weekday",
        "scheduler",
        ("S3",),
        "'0 12 13 * FRI' fires on Friday the 13th only",
        "orch",
        day_and_weekday,
    ),
    Bug(
        "repeated-hour-twice",
        "scheduler",
        ("S3",),
        "'30 1 * * *' in London fires twice on the day on which summer time ends",
        "seed 82",
        repeated_hour_twice,
    ),
    Bug(
        "skipped-hour-is-lost",
        "scheduler",
        ("S3",),
        "'30 1 * * *' in London does not fire on the day on which summer time begins",
        "orch",
        skipped_hour_is_lost,
    ),
    Bug(
        "sunday-is-zero-only",
        "scheduler",
        ("S3",),
        "'* * * * 7' never fires",
        "seed 73",
        sunday_is_zero_only,
    ),
    Bug(
        "grammar-is-not-checked",
        "scheduler",
        ("S3",),
        "what is no expression is taken for one, or refused without its field",
        "seed 74",
        grammar_is_not_checked,
    ),
    Bug(
        "bad-row-stops-the-tick",
        "scheduler",
        ("S4",),
        "a tick with a row that has no id: the good rows after it get no job",
        "seed 76",
        bad_row_stops_the_tick,
    ),
    Bug(
        "bad-row-spoils-its-file",
        "scheduler",
        ("S4", "S3"),
        "a file with one bad row: its good rows are not read",
        "seed 76",
        bad_row_spoils_its_file,
    ),
    Bug(
        "enabled-is-whatever-is-true",
        "scheduler",
        ("S4", "S3"),
        "a row with enabled: 'false' runs, and no fault is told",
        "seed 77",
        enabled_is_whatever_is_true,
    ),
    Bug(
        "disabled-is-caught-up",
        "scheduler",
        ("S4", "S2"),
        "look, disable, wait, enable, look: the ticks of the time between run",
        "orch",
        disabled_is_caught_up,
    ),
    Bug(
        "cursor-follows-the-clock-back",
        "scheduler",
        ("S5",),
        "a tick was run and purged, the clock goes back, look: it is enqueued again",
        "sidekiq#3974",
        cursor_follows_the_clock_back,
    ),
)
