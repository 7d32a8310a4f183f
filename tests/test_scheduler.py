"""The scheduler: one job for each tick, whatever happens to whom and when."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
from collections import Counter
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
import redis

from orch import scheduler as seed_module
from orch.backends import open_queue
from orch.backends.memory import MemoryQueue
from orch.backends.redis import RedisQueue
from orch.backends.sqlite import SqliteQueue
from orch.errors import BackendUnavailable, InvalidInput, NotSupported, WriteRefused
from orch.events import read_newest
from orch.job import JobStatus
from orch.queue import PersistentQueue
from orch.schedule import Schedule, catch_up_s
from orch.scheduler import Scheduler, drain_queue, drive, main, tick_once
from orch.scheduler.driver import enqueue_all
from orch.scheduler.logic import AHEAD_S, Enqueue, MoveCursors, Passed, ReadCursors
from orch.testing import FakeClock
from orch.testing.servers import redis_url
from orch.worker.steps import Record, Say, Sleep
from orch.workflows import WORKFLOW_MAP

NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    """Logs and files land in the test's own folder, and nothing of the desk's environment counts."""
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith(("ORCH_", "SCHED_", "QUEUE_", "REDIS_", "STATE_STORE")):
            monkeypatch.delenv(name)


@pytest.fixture
def clock():
    return FakeClock(NOON.timestamp())


@pytest.fixture
def queue(clock):
    return MemoryQueue(clock=clock)


def every(minutes, id="s", **given):
    return Schedule(id, f"*/{minutes} * * * *", "workflow:noop", **given)


def ids(queue):
    return sorted(job.id for job in queue.list_jobs(limit=10_000))


def ticks(queue, id="s"):
    """The ticks that a schedule has jobs of, as hh:mm."""
    return [name.partition("T")[2].rstrip("Z") for name in ids(queue) if name.startswith(f"{id}@")]


def look(scheduler, queue, clock, **given):
    """One look at the clock."""
    return drive(scheduler.once(), queue, clock=clock, **given)


# -- the seed's functions -------------------------------------------------------------------------------------------


def test_a_matching_schedule_makes_a_job(queue):
    assert tick_once(NOON, [{"id": "a", "cron": "0 12 * * *", "dag": "a.yaml"}], queue, set()) == 1
    job = queue.dequeue()
    assert (job.id, job.dag_path, job.tenant_id, job.schedule_id, job.max_retries) == (
        "a@2026-11-24T12:00Z",
        "a.yaml",
        "local-dev",
        "a",
        0,
    )
    assert job.enqueued_at == "2026-11-24T12:00:00+00:00"


def test_a_schedule_that_does_not_match_or_is_disabled_makes_none(queue):
    rows = [
        {"id": "a", "cron": "1 12 * * *", "dag": "a.yaml"},
        {"id": "b", "cron": "* * * * *", "dag": "b.yaml", "enabled": False},
    ]
    assert tick_once(NOON, rows, queue, set()) == 0
    assert queue.count() == 0


@pytest.mark.promise("S1")
def test_a_minute_makes_one_job_with_a_cache_and_without(queue):
    rows = [{"id": "a", "cron": "* * * * *", "dag": "a.yaml", "max_retries": 2}]
    cache = set()
    assert [tick_once(NOON + timedelta(seconds=s), rows, queue, cache) for s in (0, 1, 59)] == [1, 0, 0]
    assert tick_once(NOON, rows, queue) == 0
    assert cache == {("a", "2026-11-24 12:00")}
    assert tick_once(NOON + timedelta(minutes=1), rows, queue, cache) == 1
    assert tick_once(NOON, rows, empty := MemoryQueue(), cache) == 0  # the queue was not asked
    assert empty.count() == 0


def test_only_new_jobs_are_counted_also_where_others_were_enqueued_before_or_an_id_comes_twice(queue):
    rows = [{"id": f"s{i}", "cron": "* * * * *", "dag": "a.yaml"} for i in range(100)]
    assert tick_once(NOON, rows[:30], queue) == 30
    assert tick_once(NOON, rows + rows, queue) == 70
    assert queue.count() == 100


@pytest.mark.promise("S1")
def test_one_instant_is_one_tick_in_every_zone(queue):
    rows = [{"id": "a", "cron": "* * * * *", "dag": "a.yaml"}]
    assert tick_once(NOON, rows, queue, set()) == 1
    assert tick_once(NOON.astimezone(), rows, queue, set()) == 0
    assert tick_once(NOON.replace(tzinfo=None), rows, queue, set()) == 0  # without a zone it is UTC


@pytest.mark.promise("S3")
def test_a_row_is_read_on_the_clock_of_its_own_zone(queue):
    rows = [
        {"id": f"at-{hour}", "cron": f"0 {hour} * * *", "dag": "a.yaml", "timezone": "Asia/Tokyo"} for hour in (12, 21)
    ]
    tick_once(NOON, rows, queue)
    assert ids(queue) == ["at-21@2026-11-24T12:00Z"]


@pytest.mark.promise("S4")
@pytest.mark.parametrize(
    "bad",
    [
        {"cron": "* * * * *", "dag": "a"},
        {"id": "b", "dag": "a"},
        {"id": "b", "cron": "* * * * *"},
        {"id": "b", "cron": "61 * * * *", "dag": "a"},
        {"id": "b", "cron": "* * * * *", "dag": "a", "enabled": "false"},
        {"id": "b", "cron": "* * * * *", "dag": "a", "max_retries": "3"},
        {"id": datetime(2026, 1, 1, tzinfo=UTC), "cron": "* * * * *", "dag": "a"},
        "x",
        None,
    ],
)
def test_a_bad_row_costs_a_warning_and_only_itself(queue, bad, capsys):
    good = {"id": "good", "cron": "* * * * *", "dag": "g.yaml"}
    assert tick_once(NOON, [bad, good], queue, set()) == 1
    assert ids(queue) == ["good@2026-11-24T12:00Z"]
    assert capsys.readouterr().out.startswith("Warning: Failed to process schedule ")


def test_an_outage_is_not_a_bad_row():
    class Down(MemoryQueue):
        def enqueue(self, job):
            raise BackendUnavailable("no")

    with pytest.raises(BackendUnavailable):
        tick_once(NOON, [{"id": "a", "cron": "* * * * *", "dag": "a"}], Down())


def test_an_enqueued_tick_is_an_event_of_the_state_log(queue, tmp_path):
    rows = [{"id": "a", "cron": "* * * * *", "dag": "a.yaml", "tenant": "acme"}]
    tick_once(NOON, rows, queue)
    tick_once(NOON, rows, queue)
    (event,) = read_newest(tmp_path / "logs/orchestrator_state.jsonl", 10)
    del event["timestamp"]
    assert event == {
        "event": "schedule_enqueued",
        "schedule_id": "a",
        "job_id": "a@2026-11-24T12:00Z",
        "dag_path": "a.yaml",
        "tenant": "acme",
        "minute": "2026-11-24 12:00",
    }


def test_the_seeds_names_can_be_imported_from_its_module():
    for name in ("parse_cron", "load_schedules", "load_dag_from_yaml", "tick_once", "drain_queue", "main"):
        assert callable(getattr(seed_module, name))
    assert isinstance(seed_module.get_queue_backend(), MemoryQueue)
    with pytest.raises(AttributeError):
        seed_module.nothing  # noqa: B018  # asking is the test


# -- draining -------------------------------------------------------------------------------------------------------


@pytest.fixture
def flows(monkeypatch):
    """Workflows of this test only."""
    calls = []

    def failing(params):
        calls.append(params)
        raise RuntimeError("boom")

    def leaving(params):
        sys.exit(3)

    monkeypatch.setitem(WORKFLOW_MAP, "noop", lambda params: {"got": params})
    monkeypatch.setitem(WORKFLOW_MAP, "failing", failing)
    monkeypatch.setitem(WORKFLOW_MAP, "leaving", leaving)
    return calls


def add(queue, *names, dag="workflow:noop", **given):
    for name in names:
        queue.enqueue(Schedule(name, "* * * * *", dag, **given).job(NOON, NOON))


def test_draining_runs_what_is_ready_and_says_what_came_of_it(flows):
    queue = MemoryQueue()
    add(queue, "a", params={"x": 1})
    add(queue, "b", dag="workflow:failing")
    add(queue, "c", dag="workflow:failing", max_retries=1)
    results = {result["job"].schedule_id: result for result in drain_queue(queue)}
    assert (results["a"]["status"], results["a"]["result"]) == ("success", {"got": {"x": 1}})
    assert (results["b"]["status"], results["b"]["error"]) == ("failed", "RuntimeError: boom")
    assert (results["c"]["status"], results["c"]["error"]) == ("retry", "RuntimeError: boom")
    assert {name: result["job"].status for name, result in results.items()} == {
        "a": JobStatus.SUCCESS,
        "b": JobStatus.FAILED,
        "c": JobStatus.PENDING,
    }
    assert drain_queue(queue) == []  # c waits for its retry


@pytest.mark.promise("W3")
def test_a_workflow_that_exits_ends_neither_the_drain_nor_another_job(flows):
    queue = MemoryQueue()
    add(queue, "x", dag="workflow:leaving")
    add(queue, "y")
    statuses = [(result["job"].schedule_id, result["status"]) for result in drain_queue(queue, max_parallel=1)]
    assert statuses == [("x", "failed"), ("y", "success")]


@pytest.mark.promise("W7")
def test_draining_claims_no_more_than_it_can_start(monkeypatch):
    queue = MemoryQueue()
    running = []
    monkeypatch.setitem(WORKFLOW_MAP, "noop", lambda params: running.append(queue.count(JobStatus.RUNNING)))
    add(queue, *(f"j{i}" for i in range(12)))
    assert len(drain_queue(queue, max_parallel=2)) == 12
    assert max(running) <= 2


def test_draining_ends_after_so_many_jobs_and_starts_them_in_order(monkeypatch):
    queue = MemoryQueue()
    order = []
    monkeypatch.setitem(WORKFLOW_MAP, "noop", lambda params: order.append(params["n"]))
    for n in range(6):
        add(queue, f"j{n}", params={"n": n})
    assert len(drain_queue(queue, max_parallel=1, max_jobs=4)) == 4
    assert order == [0, 1, 2, 3]
    assert queue.count(JobStatus.PENDING) == 2


def test_draining_goes_on_beside_a_record_that_cannot_be_read(flows):
    queue = MemoryQueue()
    add(queue, "g1", "bad", "g2")
    queue.plant_record("bad@2026-11-24T12:00Z", b"{")
    assert sorted(result["job"].schedule_id for result in drain_queue(queue)) == ["g1", "g2"]
    assert [record.job_id for record in queue.quarantined()] == ["bad@2026-11-24T12:00Z"]


def test_a_job_whose_report_is_refused_is_an_error_of_the_drain(monkeypatch):
    queue = MemoryQueue()
    add(queue, "a")
    monkeypatch.setitem(WORKFLOW_MAP, "noop", lambda params: queue.cancel("a@2026-11-24T12:00Z") and {})
    (result,) = drain_queue(queue)
    assert (result["status"], result["job"].id) == ("error", "a@2026-11-24T12:00Z")
    assert "lease" in result["error"]
    assert queue.get_job("a@2026-11-24T12:00Z").error == "cancelled"


def test_a_report_that_the_queue_does_not_take_at_first_is_told_once(flows):
    class Stubborn(MemoryQueue):
        refusals = 2

        def exchange(self, reports, n, *given, **more):
            if reports and self.refusals:
                self.refusals -= 1
                raise BackendUnavailable("not now")
            return super().exchange(reports, n, *given, **more)

    queue = Stubborn()
    add(queue, "a", "b")
    assert sorted(result["job"].schedule_id for result in drain_queue(queue)) == ["a", "b"]


@pytest.mark.parametrize("given", [{"max_parallel": 0}, {"max_jobs": 0}, {"max_jobs": "3"}, {"max_parallel": -1}])
def test_draining_refuses_numbers_below_one(given):
    with pytest.raises(InvalidInput):
        drain_queue(MemoryQueue(), **given)


# -- looking at the clock -------------------------------------------------------------------------------------------


@pytest.mark.promise("S2")
def test_a_new_schedule_starts_with_its_own_minute(queue, clock):
    scheduler = Scheduler([every(5), Schedule("later", "3 * * * *", "d")])
    assert look(scheduler, queue, clock) == 1
    assert ids(queue) == ["s@2026-11-24T12:00Z"]


@pytest.mark.promise("S1", "S2")
def test_every_tick_of_an_hour_makes_one_job(queue, clock):
    scheduler = Scheduler([every(5)])
    for _ in range(240):
        look(scheduler, queue, clock)
        if (job := queue.dequeue()) is not None:
            queue.update_status(job.id, JobStatus.SUCCESS, lease=job.lease)
        clock.advance(15)
    assert ticks(queue) == [f"12:{minute:02}" for minute in range(0, 60, 5)]


@pytest.mark.promise("S2")
@pytest.mark.parametrize(
    ("misfire", "caught_up"),
    [
        ("skip", []),
        ("once", ["13:00"]),
        ("all", [f"12:{minute:02}" for minute in range(5, 60, 5)] + ["13:00"]),
    ],
)
@pytest.mark.parametrize("restarted", [True, False], ids=["restarted", "stopped and continued"])
def test_an_hour_without_a_scheduler_follows_the_policy_to_the_tick(queue, clock, misfire, caught_up, restarted):
    scheduler = Scheduler([every(5, misfire=misfire)])
    look(scheduler, queue, clock)
    clock.advance(3600 + 123)  # it is 13:02:03; within the grace of an hour are the ticks from 12:05 on
    if restarted:
        scheduler = Scheduler([every(5, misfire=misfire)])
    look(scheduler, queue, clock)
    assert ticks(queue) == ["12:00", *caught_up]
    clock.advance(180)
    look(scheduler, queue, clock)
    assert ticks(queue) == ["12:00", *caught_up, "13:05"]


@pytest.mark.promise("S5")
def test_a_backward_jump_repeats_nothing_even_after_a_purge(queue, clock):
    scheduler = Scheduler([every(5)])
    look(scheduler, queue, clock)
    queue.update_status(queue.dequeue().id, JobStatus.SUCCESS)
    clock.advance(0.001)
    assert queue.purge(0) == 1
    for jump in (-7200, 300, 6900):
        clock.advance(jump)
        assert look(scheduler, queue, clock) == 0
        assert look(Scheduler([every(5)]), queue, clock) == 0
    clock.advance(300)
    assert look(scheduler, queue, clock) == 1
    assert ticks(queue) == ["12:05"]


@pytest.mark.promise("S5")
def test_a_forward_jump_is_a_pause(queue, clock):
    scheduler = Scheduler([every(5, misfire="skip"), every(5, "o")])
    look(scheduler, queue, clock)
    clock.advance(86_400 + 60)
    look(scheduler, queue, clock)
    assert ids(queue) == ["o@2026-11-24T12:00Z", "o@2026-11-25T12:00Z", "s@2026-11-24T12:00Z"]


def test_a_cursor_far_ahead_of_the_clock_is_told_of(queue, clock, caplog):
    look(Scheduler([every(5)]), queue, clock)
    clock.advance(-AHEAD_S - 1)
    look(Scheduler([every(5)]), queue, clock)
    assert "ahead of the clock" in caplog.text


@pytest.mark.promise("S2")
@pytest.mark.parametrize("edit", [{"cron": "*/10 * * * *"}, {"timezone": "Asia/Tokyo"}])
def test_an_edited_schedule_starts_now_and_so_does_one_that_comes_back(queue, clock, edit):
    first = {"id": "s", "cron": "*/5 * * * *", "dag": "d", "misfire": "all"}
    look(Scheduler([Schedule(**first)]), queue, clock)
    clock.advance(31 * 60)
    look(Scheduler([Schedule(**{**first, **edit})]), queue, clock)
    assert ticks(queue) == ["12:00"]
    clock.advance(2 * 60)
    look(Scheduler([Schedule(**first)]), queue, clock)  # 12:33: what it missed before and after was not its business
    assert ticks(queue) == ["12:00"]
    clock.advance(2 * 60)
    look(Scheduler([Schedule(**first)]), queue, clock)
    assert ticks(queue) == ["12:00", "12:35"]


@pytest.mark.promise("S2")
def test_what_is_edited_elsewhere_in_the_row_keeps_its_place(queue, clock):
    look(Scheduler([every(5, misfire="all")]), queue, clock)
    clock.advance(11 * 60)
    look(Scheduler([every(5, misfire="all", priority=3, tenant="acme")]), queue, clock)
    assert ticks(queue) == ["12:00", "12:05", "12:10"]


@pytest.mark.promise("S4")
def test_what_passes_while_a_schedule_is_disabled_is_not_caught_up(queue, clock):
    look(Scheduler([every(5, misfire="all")]), queue, clock)
    disabled = Scheduler([every(5, misfire="all", enabled=False), every(5, "other")])
    for _ in range(11):
        clock.advance(60)
        look(disabled, queue, clock)
    look(Scheduler([every(5, misfire="all")]), queue, clock)
    assert ticks(queue) == ["12:00"]
    assert ticks(queue, "other") == ["12:05", "12:10"]


def test_a_store_that_lost_its_cursors_makes_every_schedule_new(clock):
    scheduler = Scheduler([every(5, misfire="all")])
    look(scheduler, MemoryQueue(clock=clock), clock)
    clock.advance(12 * 60)
    empty = MemoryQueue(clock=clock)
    look(scheduler, empty, clock)
    assert ticks(empty) == []
    clock.advance(3 * 60)
    look(scheduler, empty, clock)
    assert ticks(empty) == ["12:15"]


def test_a_tick_is_an_event_and_each_look_is_counted(queue, clock, tmp_path):
    passed = []
    scheduler = Scheduler([every(5, tenant="acme")])
    for _ in range(2):
        look(scheduler, queue, clock, passed=passed.append, state_path=tmp_path / "state.jsonl")
    assert passed == [1, 0]
    (event,) = read_newest(tmp_path / "state.jsonl", 10)
    assert (event["event"], event["job_id"], event["minute"], event["tenant"]) == (
        "schedule_enqueued",
        "s@2026-11-24T12:00Z",
        "2026-11-24 12:00",
        "acme",
    )


@pytest.mark.parametrize("count", [3, 50])
def test_a_tick_that_somebody_else_enqueued_is_no_event_of_this_scheduler(queue, clock, tmp_path, count):
    rows = [every(5, f"s{i:02}") for i in range(count)]
    tick_once(NOON, rows[1:2], queue)
    clock.advance(1)
    passed = []
    look(Scheduler(rows), queue, clock, passed=passed.append, state_path=tmp_path / "state.jsonl")
    told = {event["schedule_id"] for event in read_newest(tmp_path / "state.jsonl", 1000)}
    assert told == {row.id for row in rows} - {"s01"}
    assert passed == [count - 1]


def test_two_schedules_of_one_id_are_refused():
    with pytest.raises(InvalidInput, match="'s' more than once"):
        Scheduler([every(5), every(7)])


# -- several schedulers, and crashes --------------------------------------------------------------------------------


def answer_to(step, queue, clock):
    """What the store answers, by hand."""
    match step:
        case ReadCursors():
            return queue.schedule_cursors(step.keys)
        case Enqueue():
            return enqueue_all(queue, step.jobs)
        case MoveCursors():
            return queue.advance_schedules(step.moves)
        case _:
            return None


@pytest.mark.promise("S1", "S2")
@pytest.mark.parametrize("lost_reply", [False, True])
def test_a_crash_between_any_two_steps_loses_and_repeats_nothing(clock, lost_reply):
    def crash_after(count, queue):
        steps = Scheduler([every(5, misfire="all"), every(1, "t", misfire="all")]).once()
        answer = None
        for n in range(1000):
            try:
                step = steps.send(answer)
            except StopIteration:
                return n < count
            if n == count and not lost_reply:
                return False
            answer = (clock(), answer_to(step, queue, clock))
            if n == count:
                return False
        raise AssertionError("it never ends")

    for count in range(40):
        clock.now = NOON.timestamp()
        queue = MemoryQueue(clock=clock)
        look(Scheduler([every(5, misfire="all"), every(1, "t", misfire="all")]), queue, clock)
        clock.advance(7 * 60)
        over = crash_after(count, queue)
        clock.advance(60)
        look(Scheduler([every(5, misfire="all"), every(1, "t", misfire="all")]), queue, clock)
        assert ticks(queue) == ["12:00", "12:05"]
        assert ticks(queue, "t") == [f"12:0{minute}" for minute in range(9)]
        if over:
            return
    raise AssertionError("it has more steps than were tried")


@pytest.mark.promise("S1")
def test_a_cursor_that_somebody_else_moved_is_read_again(queue, clock):
    slow, quick = Scheduler([every(5)]), Scheduler([every(5)])
    for scheduler in (slow, quick):
        look(scheduler, queue, clock)
    clock.advance(300)
    steps = slow.once()
    answer = None
    moves = []
    with contextlib.suppress(StopIteration):
        while True:
            step = steps.send(answer)
            if isinstance(step, MoveCursors):
                look(quick, queue, clock)  # between the reading and the move of the slow one
                moved = queue.advance_schedules(step.moves)
                moves += moved
                answer = (clock(), moved)
            else:
                answer = (clock(), answer_to(step, queue, clock))
    assert moves == [False]
    assert look(slow, queue, clock) == 0
    assert ticks(queue) == ["12:00", "12:05"]


@pytest.mark.promise("S2")
def test_one_that_loses_the_race_to_start_a_schedule_leaves_it_to_the_winner(queue, clock):
    rows = [every(5, misfire="all")]
    slow, winner = Scheduler(rows).once(), Scheduler(rows).once()
    answer = None
    while not isinstance(step := winner.send(answer), MoveCursors):
        answer = (clock(), answer_to(step, queue, clock))
    clock.advance(1)
    answer = None
    for _ in range(100):
        try:
            seen = slow.send(answer)
        except StopIteration:
            break
        if isinstance(seen, MoveCursors) and queue.schedule_cursor(step.moves[0].key) is None:
            assert all(answer_to(step, queue, clock))  # the winner is first, and dies before its next step
        answer = (clock(), answer_to(seen, queue, clock))
    clock.advance(10 * 60)
    look(Scheduler(rows), queue, clock)
    assert ticks(queue) == ["12:00", "12:05", "12:10"]


@pytest.mark.promise("S1")
def test_a_scheduler_that_was_stopped_after_reading_a_cursor_reads_it_again(queue, clock):
    rows = [every(5, misfire="all", misfire_grace_s=60)]
    look(Scheduler(rows), queue, clock)
    clock.advance(300)
    steps = Scheduler(rows).once()
    answer = None
    while not isinstance(step := steps.send(answer), Enqueue):
        if isinstance(step, ReadCursors) and answer is not None and clock() < NOON.timestamp() + 900:
            value = queue.schedule_cursors(step.keys)
            look(Scheduler(rows), queue, clock)
            while (job := queue.dequeue()) is not None:
                queue.update_status(job.id, JobStatus.SUCCESS, lease=job.lease)
            clock.advance(900)  # stopped here, while others ran the tick and purged it
            assert queue.purge(catch_up_s(rows) / 3600) == 2
        else:
            value = answer_to(step, queue, clock)
        answer = (clock(), value)
    assert [job.id for job in step.jobs] == ["s@2026-11-24T12:20Z"]


@pytest.fixture(params=["memory", "sqlite", pytest.param("redis", marks=pytest.mark.real)])
def shared(request, tmp_path, clock):
    """A store that several schedulers share."""
    with contextlib.ExitStack() as stack:
        if request.param == "memory":
            queue = MemoryQueue(clock=clock)
        elif request.param == "sqlite":
            queue = SqliteQueue(tmp_path / "q.db", clock=clock)
        else:
            url = stack.enter_context(redis_url(tmp_path))
            if url is None and not os.environ.get("CI"):
                pytest.skip("no redis-server here")
            client = redis.Redis.from_url(url, retry=None)
            stack.callback(client.close)
            queue = RedisQueue(client, f"orch:test:{os.getpid()}", clock=clock)
        stack.callback(queue.close)
        yield queue


@pytest.mark.promise("S1", "S2")
def test_two_schedulers_and_a_purge_loop_make_one_job_of_each_tick(shared, clock, tmp_path):
    rows = [Schedule(f"s{i}", "* * * * *", "workflow:noop", misfire_grace_s=60) for i in range(5)]
    schedulers = [Scheduler(rows), Scheduler(rows)]
    state = tmp_path / "state.jsonl"
    done = []
    purged = []

    def run():
        while (job := shared.dequeue("w")) is not None:
            shared.update_status(job.id, JobStatus.SUCCESS, lease=job.lease)
            done.append(job.id)
        purged.append(shared.purge(catch_up_s(rows) / 3600))

    for _ in range(20):
        barrier = threading.Barrier(3)

        def at_once(act, barrier=barrier):
            barrier.wait()
            act()

        threads = [
            threading.Thread(target=at_once, args=(lambda s=s: look(s, shared, clock, state_path=state),))
            for s in schedulers
        ]
        threads.append(threading.Thread(target=at_once, args=(run,)))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        run()
        clock.advance(60)
    expected = {f"s{i}@2026-11-24T12:{minute:02}Z" for i in range(5) for minute in range(20)}
    assert Counter(done) == dict.fromkeys(expected, 1)
    assert Counter(event["job_id"] for event in read_newest(state, 1000)) == dict.fromkeys(expected, 1)
    assert sum(purged) > 50


@pytest.mark.promise("S2")
def test_ten_thousand_schedules_are_looked_at_in_few_steps(queue, clock):
    drawn = random.Random(0)
    scheduler = Scheduler(
        Schedule(f"s{i}", f"{drawn.randrange(60)} {drawn.randrange(24)} * * *", "d") for i in range(10_000)
    )
    look(scheduler, queue, clock)
    clock.advance(60)
    steps = []

    def counted(inner):
        answer = None
        with contextlib.suppress(StopIteration):
            while True:
                step = inner.send(answer)
                steps.append(step)
                answer = (clock(), answer_to(step, queue, clock))

    counted(scheduler.once())
    keys = [key for step in steps if isinstance(step, ReadCursors) for key in step.keys]
    assert 0 < len(keys) < 30  # only those of this minute
    assert len(steps) <= 6  # and all of them together


# -- serving --------------------------------------------------------------------------------------------------------


class Hours:
    """A sleep that moves the clock, and says when to stop."""

    def __init__(self, clock, until):
        self.clock, self.until, self.slept = clock, until, []

    def __call__(self, seconds):
        self.slept.append(seconds)
        self.clock.advance(seconds)
        return self.clock() >= self.until


def serve(scheduler, queue, clock, seconds, *, tick_s=1.0, **given):
    sleep = Hours(clock, clock() + seconds)
    drive(scheduler.serve(tick_s), queue, clock=clock, sleep=sleep, **given)
    return sleep.slept


@pytest.mark.promise("S2")
@pytest.mark.parametrize("tick_s", [1.0, 7.0, 90.0, 100_000.0])
def test_serving_misses_no_minute_however_rarely_it_looks(queue, clock, tick_s):
    clock.advance(13.7)
    serve(Scheduler([every(1)]), queue, clock, 600, tick_s=tick_s)
    assert ticks(queue) == [f"12:{minute:02}" for minute in range(11)]


class Down(MemoryQueue):
    """A store with outages; with `late` its refusals come after the work is done."""

    down = False
    late = False
    error = BackendUnavailable("connection refused")

    def _fail(self, act):
        if self.down and not self.late:
            raise self.error
        value = act()
        if self.down:
            raise self.error
        return value

    def _cursors(self, keys):
        return self._fail(lambda: super(Down, self)._cursors(keys))

    def _advance(self, moves):
        return self._fail(lambda: super(Down, self)._advance(moves))

    def _enqueue(self, jobs):
        return self._fail(lambda: super(Down, self)._enqueue(jobs))


@pytest.mark.promise("S2", "Q15")
@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize(
    "error", [BackendUnavailable("connection refused"), WriteRefused("out of memory"), OSError("disk")]
)
def test_an_outage_while_serving_is_waited_out(clock, late, error, caplog):
    queue = Down(clock=clock)
    scheduler = Scheduler([every(1, misfire="all")])
    serve(scheduler, queue, clock, 30)
    queue.down, queue.late, queue.error = True, late, error
    slept = serve(scheduler, queue, clock, 300)
    assert max(slept) <= 5.0
    queue.down = False
    serve(scheduler, queue, clock, 60)
    assert ticks(queue) == [f"12:0{minute}" for minute in range(7)]
    assert str(error) in caplog.text


def test_a_look_that_cannot_reach_the_queue_raises_what_it_was_answered(clock):
    queue = Down(clock=clock)
    queue.down = True
    with pytest.raises(BackendUnavailable):
        look(Scheduler([every(1)]), queue, clock)


def test_a_queue_without_cursors_serves_too_and_says_what_it_cannot(clock, caplog):
    class Plain(MemoryQueue):
        schedule_cursor = PersistentQueue.schedule_cursor
        schedule_cursors = PersistentQueue.schedule_cursors
        advance_schedule = PersistentQueue.advance_schedule
        advance_schedules = PersistentQueue.advance_schedules

    queue = Plain(clock=clock)
    with pytest.raises(NotSupported):
        queue.schedule_cursor("x")
    serve(Scheduler([every(1)]), queue, clock, 180)
    assert ticks(queue) == ["12:00", "12:01", "12:02"]
    assert caplog.text.count("no schedule cursors") == 1


def test_steps_say_nothing_but_what_is_to_be_done(queue, clock):
    seen = set()
    steps = Scheduler([every(5)]).serve(1.0)
    answer = None
    for _ in range(20):
        step = steps.send(answer)
        seen.add(type(step))
        answer = (clock(), answer_to(step, queue, clock))
    assert seen == {Sleep, ReadCursors, Enqueue, Record, MoveCursors, Passed}
    assert Say not in seen


# -- the process ----------------------------------------------------------------------------------------------------

MINUTELY = "id: every\ncron: '* * * * *'\ndag: workflow:{}\n"


def schedules_in(tmp_path, *dags, more=""):
    folder = tmp_path / "configs/schedules"
    folder.mkdir(parents=True, exist_ok=True)
    for i, dag in enumerate(dags):
        text = MINUTELY.format(dag).replace("every", f"{dag}-{i}") + more
        (folder / f"{i}.yaml").write_text(text)
    return folder


def printed(capsys):
    return capsys.readouterr().out.splitlines()


@pytest.fixture
def in_process(monkeypatch):
    """Call `main` here: without the streams and the log of a process of its own."""
    monkeypatch.setattr("orch.scheduler.command.prepare", lambda settings: None)
    monkeypatch.setattr("orch.scheduler.command.leave", lambda code: code)


def test_once_prints_the_lines_of_the_seed(tmp_path, capsys, in_process, flows):
    schedules_in(tmp_path, "noop", "noop")
    assert main(["--once"]) == 0
    assert printed(capsys) == [
        "Loaded 2 schedule(s) from configs/schedules",
        "Using memory queue backend",
        "Running single tick...",
        "Enqueued 2 job(s)",
        "Draining queue...",
        "Completed 2 job(s)",
        "Success: 2, Failed: 0, Retry: 0",
    ]


def test_once_exits_one_when_a_job_failed_and_retries_until_then(tmp_path, capsys, in_process, flows, monkeypatch):
    monkeypatch.setattr("orch.worker.logic.retry_delay", lambda *given, **more: 0.0)
    folder = schedules_in(tmp_path, "failing", more="max_retries: 2\n")
    assert main(["--once", "--dir", str(folder)]) == 1
    lines = printed(capsys)
    assert lines[-2:] == ["Completed 1 job(s)", "Success: 0, Failed: 1, Retry: 0"]
    assert any(line.startswith("Error executing job failing-0@") for line in lines)
    assert len(flows) == 3


def test_once_waits_for_the_retries_that_would_be_lost_with_the_process(tmp_path, in_process, flows, monkeypatch):
    monkeypatch.setattr("orch.worker.logic.retry_delay", lambda *given, **more: 0.3)
    schedules_in(tmp_path, "failing", more="max_retries: 1\n")
    assert main(["--once"]) == 1
    assert len(flows) == 2


def test_once_drains_what_was_left_from_before(tmp_path, capsys, in_process, flows):
    folder = schedules_in(tmp_path, "noop")
    (folder / "0.yaml").write_text(MINUTELY.format("noop").replace("* * * * *", "0 0 29 2 *"))
    queue = open_queue("sqlite:///q.db")
    add(queue, "left")
    queue.close()
    assert main(["--once", "--url", "sqlite:///q.db"]) == 0
    lines = printed(capsys)
    assert lines[1] == "Using sqlite queue backend"
    assert lines[3:] == [
        "Enqueued 0 job(s)",
        "Draining queue...",
        "Completed 1 job(s)",
        "Success: 1, Failed: 0, Retry: 0",
    ]


def test_a_retry_that_waits_is_left_to_the_next_run(tmp_path, capsys, in_process, flows):
    schedules_in(tmp_path, "failing", more="max_retries: 2\n")
    assert main(["--once", "--url", "sqlite:///q.db"]) == 0
    assert printed(capsys)[-2:] == ["Completed 0 job(s)", "Success: 0, Failed: 0, Retry: 1"]


def test_enqueue_only_runs_nothing(tmp_path, capsys, in_process, flows):
    schedules_in(tmp_path, "failing")
    assert main(["--once", "--enqueue-only", "--url", "sqlite:///q.db"]) == 0
    assert printed(capsys)[-1] == "Enqueued 1 job(s)"
    assert flows == []


@pytest.mark.promise("Q15")
@pytest.mark.parametrize(
    ("arguments", "env"),
    [
        (["--once", "--url", "sqs://x"], {}),
        (["--once"], {"QUEUE_BACKEND": "sqs"}),
        (["--once"], {"SCHED_TICK_MS": "abc"}),
        (["--once"], {"SCHED_MAX_JOBS_PER_DRAIN": "0"}),
        (["--once", "--enqueue-only"], {}),
        (["--serve", "--enqueue-only", "--url", "memory://"], {}),
    ],
)
def test_bad_input_and_a_store_that_cannot_be_used_exit_with_two(
    tmp_path, capsys, in_process, arguments, env, monkeypatch
):
    schedules_in(tmp_path, "noop")
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    assert main(arguments) == 2
    assert capsys.readouterr().err.startswith("orch: ")


def test_a_scheduler_whose_worker_broke_ends_instead_of_going_on_alone(tmp_path, capsys, in_process, monkeypatch):
    def broken(*given, **more):
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr("orch.scheduler.process.work", broken)
    schedules_in(tmp_path, "noop")
    with pytest.raises(RuntimeError, match="a fault of ours"):
        main(["--serve"])


def test_what_waits_in_memory_is_worked_off_at_the_end(tmp_path, in_process, flows, clock, monkeypatch):
    monkeypatch.setattr("orch.scheduler.process.drive", partial(drive, clock=clock))  # no further minute begins
    let_go = threading.Event()

    def first_stops(params):
        os.kill(os.getpid(), signal.SIGTERM)  # while the other two wait
        assert let_go.wait(60)
        monkeypatch.setitem(WORKFLOW_MAP, "noop", flows.append)
        flows.append(params)

    def printed(text, **given):
        if text == "Draining final 2 pending job(s)...":
            let_go.set()

    monkeypatch.setattr("orch.scheduler.process.print", printed, raising=False)
    monkeypatch.setenv("SCHED_MAX_PARALLEL", "1")
    monkeypatch.setitem(WORKFLOW_MAP, "noop", first_stops)
    schedules_in(tmp_path, "noop", "noop", "noop")
    assert main(["--serve"]) == 0
    assert len(flows) == 3


@pytest.mark.parametrize("arguments", [[], ["--once", "--serve"], ["--twice"]])
def test_a_wrong_command_line_is_a_usage_error(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2


def test_without_schedules_it_says_so_and_exits_with_one(tmp_path, capsys, in_process):
    assert main(["--once", "--dir", "nowhere"]) == 1
    assert printed(capsys) == ["No schedules found in nowhere"]


def started(*arguments, **env):
    """A scheduler process with its output in a pipe."""
    return subprocess.Popen(
        [sys.executable, "-m", "orch.scheduler", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **env},
    )


def lines_until(process, part):
    """Its lines up to the first that has this part."""
    lines = []
    for line in process.stdout:
        lines.append(line.rstrip("\n"))
        if part in line:
            return lines
    raise AssertionError(f"no line with {part!r} in {lines}")


@pytest.mark.real
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serving_enqueues_runs_and_ends_on_a_signal(tmp_path, number):
    schedules_in(tmp_path, "nowhere")
    with started("--serve") as process:
        lines = lines_until(process, "Error executing job nowhere-0@")
        process.send_signal(number)
        rest = process.stdout.read().splitlines()
    assert process.returncode == 0
    assert lines[:4] == [
        "Loaded 1 schedule(s) from configs/schedules",
        "Using memory queue backend",
        "Serving scheduler (tick=1000ms, max_parallel=3)...",
        "Press Ctrl+C to stop",
    ]
    assert any(line.endswith("] Enqueued 1 job(s)") for line in lines + rest)  # the worker may be quicker
    assert rest[rest.index("Shutting down...") - 1] == ""


@pytest.mark.real
@pytest.mark.promise("S1")
def test_schedulers_that_are_killed_and_started_again_make_one_job_of_a_minute(tmp_path):
    schedules_in(tmp_path, "weekly_report_pack")
    for _ in range(2):
        with started("--serve", "--enqueue-only", "--url", "sqlite:///q.db") as process:
            lines_until(process, "Press Ctrl+C")
            process.kill()
    with started("--once", "--url", "sqlite:///q.db") as process:
        assert "Success: " in process.stdout.read()
    queue = open_queue("sqlite:///q.db")
    try:
        found = [job.id for job in queue.list_jobs()]
    finally:
        queue.close()
    assert len(found) == len(set(found)) <= 2  # two if a minute began meanwhile
