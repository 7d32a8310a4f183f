"""Summaries of the two logs: measured, whole, and the same in any order."""

import json
import random
from datetime import UTC, datetime, timedelta

import pytest

from orch.analytics import (
    get_events_path,
    get_state_path,
    load_events,
    oldest_age_s,
    per_tenant_load,
    summarize_dags,
    summarize_schedules,
    summarize_tasks,
    throughput,
)
from orch.backends.memory import MemoryQueue
from orch.dag import DAG, Task
from orch.errors import InvalidInput, RunnerError
from orch.job import Job
from orch.runner import run_dag
from orch.schedule import Schedule
from orch.scheduler import drain_queue, tick_once
from orch.testing import FakeClock
from orch.workflows import WORKFLOW_MAP

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


def ago(seconds):
    return (NOW - timedelta(seconds=seconds)).isoformat()


def event(kind, seconds_ago, run="j#1", dag="etl", **more):
    """An event as the runner writes it; `run` None is one of the seed, which had no run ids."""
    ids = {} if run is None else {"run": run, "job": run.partition("#")[0], "tenant": "acme"}
    return {"timestamp": ago(seconds_ago), "event": kind, "dag_name": dag, **more, **ids}


def run_of(run, start, *tasks, end=None, dag="etl", status="success", **more):
    """The events of a run: tasks are (id, start, end, ok), seconds before now."""
    events = [event("dag_start", start, run, dag, task_count=len(tasks), **more)]
    for task_id, began, ended, ok in tasks:
        events.append(event("task_start", began, run, dag, task_id=task_id, workflow_ref="w", **more))
        if ended is not None:
            events.append(event("task_ok" if ok else "task_fail", ended, run, dag, task_id=task_id, **more))
    if end is not None:
        done = {"tasks_succeeded": 0, "tasks_failed": 0, "duration_seconds": float(start - end), **more}
        events.append(event("dag_done", end, run, dag, status=status, **done))
    return events


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("ORCH_EVENTS_PATH", "STATE_STORE_PATH", "ORCH_PANEL_WINDOW_H"):
        monkeypatch.delenv(name, raising=False)


# -- loading --------------------------------------------------------------------------------------------------------


def test_events_are_loaded_newest_first_up_to_the_limit(tmp_path):
    log = tmp_path / "e.jsonl"
    log.write_text("".join(json.dumps({"n": n}) + "\n" for n in range(5)) + "5\ntorn {\n")
    assert load_events(log, limit=3) == [{"n": 4}, {"n": 3}, {"n": 2}]
    assert load_events(log, limit=0) == []
    assert len(load_events(str(log))) == 5


def test_a_missing_log_has_no_events(tmp_path):
    assert load_events(tmp_path / "nowhere.jsonl") == []


def test_the_paths_are_those_of_the_environment(monkeypatch):
    monkeypatch.setenv("ORCH_EVENTS_PATH", "e.jsonl")
    monkeypatch.setenv("STATE_STORE_PATH", "s.jsonl")
    assert (str(get_events_path()), str(get_state_path())) == ("e.jsonl", "s.jsonl")


def test_no_events_make_empty_summaries():
    tasks = summarize_tasks([], 24, now=NOW)
    assert tasks["all_time"]["tasks_started"] == tasks["last_24h"]["error_rate"] == 0
    assert summarize_dags([]) == summarize_schedules([]) == per_tenant_load([]) == []


# -- tasks ----------------------------------------------------------------------------------------------------------


@pytest.mark.promise("L3")
def test_tasks_are_counted_over_all_events_and_over_the_window():
    events = run_of("old#1", 200_000, ("a", 200_000, 199_000, True), ("b", 199_000, 198_000, False))
    events += run_of("new#1", 100, ("a", 100, 90, True), ("b", 90, 80, True), ("c", 80, 70, False), ("d", 70, None, 0))
    events.append(event("task_retry", 75, "new#1", task_id="c", attempt=1))
    found = summarize_tasks(events, 24, now=NOW)
    assert {name: found["all_time"][name] for name in ("tasks_started", "tasks_ok", "tasks_fail", "tasks_retry")} == {
        "tasks_started": 6,
        "tasks_ok": 3,
        "tasks_fail": 2,
        "tasks_retry": 1,
    }
    assert found["all_time"]["since"] == ago(200_000)
    window = found["last_24h"]
    assert (window["tasks_started"], window["tasks_ok"], window["tasks_fail"]) == (4, 2, 1)
    assert window["error_rate"] == 0.25


@pytest.mark.promise("L3")
def test_durations_are_measured_from_start_to_end():
    events = run_of("j#1", 1000, *((f"t{n}", 1000, 1000 - n, True) for n in range(1, 101)))
    window = summarize_tasks(events, 1, now=NOW)["last_1h"]
    assert window["avg_duration"] == pytest.approx(50.5)
    assert window["p95_duration"] == 95.0


def test_a_duration_that_the_runner_measured_beats_the_timestamps():
    events = run_of("j#1", 100, ("a", 100, None, True))
    events.append(event("task_ok", 200, task_id="a", duration_seconds=2.5))  # the wall clock was put back
    assert summarize_tasks(events, 1, now=NOW)["all_time"]["avg_duration"] == 2.5
    assert summarize_tasks(events, 1, now=NOW)["all_time"]["tasks_started"] == 1
    events[-1]["duration_seconds"] = "soon"
    assert summarize_tasks(events, 1, now=NOW)["all_time"]["avg_duration"] == 0.0


@pytest.mark.promise("L3")
@pytest.mark.parametrize(
    ("events", "rate"),
    [
        ([event("task_start", 5000, task_id="a"), event("task_fail", 100, task_id="a")], 1.0),
        (
            [event("task_start", 50, None, task_id="a"), *[event("task_fail", s, None, task_id="a") for s in (9, 8)]],
            1.0,
        ),
        ([event("task_fail", 100, task_id="a"), event("task_start", 50, task_id="b")], 0.5),
        ([event("task_start", 50, task_id="a")], 0.0),
        ([event("task_fail", 9, task_id="a"), event("task_fail", 9, task_id="a")], 1.0),
    ],
    ids=["start before the window", "more fails than starts", "start cut off", "running", "the same line twice"],
)
def test_a_rate_is_between_none_and_all(events, rate):
    assert summarize_tasks(events, 1, now=NOW)["last_1h"]["error_rate"] == rate


def test_the_window_is_that_of_the_environment_unless_given(monkeypatch):
    assert list(summarize_tasks([])) == ["all_time", "last_24h"]
    monkeypatch.setenv("ORCH_PANEL_WINDOW_H", "1.5")
    assert list(summarize_tasks([])) == ["all_time", "last_1.5h"]
    assert list(summarize_tasks([], 6)) == ["all_time", "last_6h"]
    for bad in (-1, "6", float("nan")):
        with pytest.raises(InvalidInput, match="window_hours"):
            summarize_tasks([], bad)


@pytest.mark.promise("L3")
@pytest.mark.parametrize(
    ("timestamp", "counts"),
    [
        ("2026-11-24T11:00:00", 1),  # naive is UTC
        ("2026-11-24T11:00:00Z", 1),
        ("2026-11-23T21:00:00-12:00", 1),  # three hours ago
        ("2026-11-24T20:00:00+14:00", 1),  # six hours ago
        ("2026-11-23T20:00:00+14:00", 0),  # thirty hours ago
        ("zzz", None),
        ("", None),
        (None, None),
        (1_800_000_000, None),
        (["2026-11-24"], None),
        ("0001-01-01T00:00:00+14:00", None),
        ("9999-12-31T23:59:59-14:00", None),
    ],
)
def test_times_are_instants_and_without_one_an_event_counts_for_nothing(timestamp, counts):
    events = [{**event("task_ok", 0, task_id="a"), "timestamp": timestamp}]
    found = summarize_tasks(events, 24, now=NOW)
    assert found["last_24h"]["tasks_ok"] == (counts or 0)
    assert found["all_time"]["tasks_ok"] == (0 if counts is None else 1)


def test_what_is_no_event_is_passed_over():
    for junk in (5, None, "x", [], {}, {"event": []}, {"timestamp": ago(1), "event": {}}):
        events = [junk, *run_of("j#1", 10, ("a", 10, 5, True), end=1)]
        assert summarize_tasks(events, 1, now=NOW)["all_time"]["tasks_ok"] == 1
        assert len(summarize_dags(events, now=NOW)) == 1
        assert len(per_tenant_load(events, now=NOW)) == 1
        assert summarize_schedules(events) == []
        assert len(throughput(events, 1, now=NOW)) == 1


# -- runs -----------------------------------------------------------------------------------------------------------


@pytest.mark.promise("L3", "D4")
def test_each_run_is_a_row_by_its_run_id_the_newest_start_first():
    events = run_of("a#1", 300, ("t", 300, 290, True), end=250)
    events += run_of("b#1", 200, ("t", 200, 190, False), end=180, status="failed")
    events += run_of("c#1", 100, ("t", 100, None, False))
    rows = summarize_dags(events, now=NOW)
    assert [(row["run"], row["status"], row["tasks_ok"], row["tasks_fail"]) for row in rows] == [
        ("c#1", "running", 0, 0),
        ("b#1", "failed", 0, 1),
        ("a#1", "success", 1, 0),
    ]
    assert (rows[2]["dag_name"], rows[2]["start"], rows[2]["end"], rows[2]["duration"]) == (
        "etl",
        ago(300),
        ago(250),
        50.0,
    )
    assert (rows[0]["end"], rows[0]["duration"]) == (None, 100.0)  # so far
    assert [row["run"] for row in summarize_dags(events, 2, now=NOW)] == ["c#1", "b#1"]
    assert summarize_dags(events, 0, now=NOW) == []


@pytest.mark.promise("L3")
def test_runs_of_one_dag_that_overlap_stay_apart():
    first = run_of("a#1", 100, ("t", 90, 50, True), end=10)
    second = run_of("b#1", 95, ("t", 85, 20, False), end=5, status="failed")
    mixed = [event for pair in zip(first, second, strict=True) for event in pair]
    assert [(row["run"], row["tasks_ok"], row["tasks_fail"]) for row in summarize_dags(mixed, now=NOW)] == [
        ("b#1", 0, 1),
        ("a#1", 1, 0),
    ]


@pytest.mark.promise("L3")
@pytest.mark.parametrize("seed", range(5))
def test_no_summary_depends_on_the_order_of_the_events(seed):
    events = [
        *run_of("a#1", 300, ("t", 300, 290, True), ("u", 300, 300, True), end=250),
        *run_of("a#2", 250, ("t", 250, 250, False), end=250, status="failed"),
        *run_of(None, 200, ("t", 200, 150, True), end=100),
        *run_of(None, 99, ("t", 99, 98, False), dag="other", tenant="zoo"),
    ]
    state = [
        {"event": kind, "timestamp": ago(s), "schedule_id": "s", "job_id": job, "run": f"{job}#1", "status": status}
        for kind, s, job, status in [
            ("schedule_enqueued", 50, "a", None),
            ("run_started", 50, "a", None),
            ("run_finished", 50, "a", "failed"),
            ("schedule_enqueued", 10, "b", None),
            ("run_started", 9, "b", None),
            ("run_finished", 5, "b", "success"),
        ]
    ]

    def all_of(events, state):
        return (
            summarize_tasks(events, 1, now=NOW),
            summarize_dags(events, now=NOW),
            per_tenant_load(events, 1, now=NOW),
            summarize_schedules(state, now=NOW),
            throughput(state, 5, now=NOW),
        )

    expected = all_of(events, state)
    rng = random.Random(seed)
    rng.shuffle(events)
    rng.shuffle(state)
    assert all_of(events, state) == expected


@pytest.mark.promise("D4")
def test_a_run_without_an_end_is_lost_when_a_later_attempt_began_or_it_was_silent_for_long():
    events = run_of("a#1", 300, ("t", 300, None, False)) + run_of("a#2", 200, ("t", 200, None, False))
    events += run_of("b#1", 5000, ("t", 4000, None, False))
    assert {row["run"]: row["status"] for row in summarize_dags(events, now=NOW)} == {
        "a#1": "lost",
        "a#2": "running",
        "b#1": "lost",
    }
    assert summarize_dags(events, now=NOW, lost_after_s=100)[0]["status"] == "lost"
    assert summarize_dags(events, now=NOW, lost_after_s=4001)[-1]["status"] == "running"


def test_a_run_whose_beginning_was_cut_off_is_still_a_row():
    (row,) = summarize_dags([event("dag_done", 10, status="success", duration_seconds=30.0)], now=NOW)
    assert (row["status"], row["start"], row["duration"]) == ("success", ago(40), 30.0)


def test_logs_of_the_seed_are_cut_into_runs_at_each_start():
    naive = [{**e, "timestamp": e["timestamp"].removesuffix("+00:00")} for e in run_of(None, 300, ("a", 300, 290, 1))]
    naive[-1]["event"] = "task_fail"  # the seed wrote no end of a failed run
    naive += run_of(None, 200, ("a", 200, 190, True), ("b", 190, 180, True), end=180)
    naive += run_of(None, 100, ("a", 100, None, True))
    for done in naive:
        if done["event"] == "dag_done":
            del done["status"]  # nor a status
    assert [(row["status"], row["tasks_ok"], row["tasks_fail"]) for row in summarize_dags(naive, now=NOW)] == [
        ("running", 0, 0),
        ("success", 2, 0),
        ("failed", 0, 1),
    ]


# -- tenants --------------------------------------------------------------------------------------------------------


def test_tenants_are_rows_with_their_runs_tasks_latency_and_rate_the_busiest_first():
    events = run_of("a#1", 100, ("t", 100, 90, True), ("u", 90, 80, False), end=80, status="failed", tenant="x")
    events += run_of("b#1", 100, ("t", 100, 90, True), end=60)
    events += run_of("c#1", 50, ("t", 50, 40, True), end=40)
    events += run_of("d#1", 200_000, ("t", 200_000, 190_000, True), end=190_000)
    rows = per_tenant_load(events, 24, now=NOW)
    assert rows[0] == {
        "tenant": "acme",
        "runs": 3,
        "tasks": 4,
        "avg_latency": pytest.approx(70 / 3),
        "error_rate": 0.25,
    }
    assert len(rows) == 1
    for each in events[:6]:
        each["tenant"] = "x"
    assert [(row["tenant"], row["runs"]) for row in per_tenant_load(events, 24, now=NOW)] == [("acme", 2), ("x", 1)]


def test_a_tenant_that_only_the_start_names_counts_for_the_whole_run():
    events = run_of(None, 100, ("t", 100, 90, True), ("u", 90, 80, False))
    events[0]["tenant"] = 7  # whatever it is, it is shown as text
    (row,) = per_tenant_load(events, 24, now=NOW)
    assert (row["tenant"], row["tasks"], row["error_rate"]) == ("7", 2, 0.5)


# -- schedules ------------------------------------------------------------------------------------------------------


def state(kind, seconds_ago, job="s@1", attempt=1, **more):
    ids = {"schedule_id": "s", "job_id": job, "run": f"{job}#{attempt}"}
    return {"event": kind, **ids, **more, "timestamp": ago(seconds_ago)}


@pytest.mark.promise("L3")
def test_a_schedule_is_a_row_with_its_counts_and_its_latest_run():
    events = [
        state("schedule_enqueued", 300, "s@1"),
        state("run_started", 299, "s@1"),
        state("run_finished", 290, "s@1", status="failed"),
        state("schedule_enqueued", 200, "s@2"),
        state("schedule_enqueued", 200, "s@2"),  # another scheduler told of it too
        state("run_started", 199, "s@2"),
        state("run_finished", 190, "s@2", status="success"),
        state("schedule_enqueued", 100, "s@3"),
    ]
    assert summarize_schedules(events[::-1], now=NOW) == [
        {
            "schedule_id": "s",
            "last_run": ago(199),
            "last_status": "success",
            "enqueued_count": 3,
            "started_count": 2,
            "finished_count": 2,
            "success_count": 1,
            "failed_count": 1,
        }
    ]


@pytest.mark.parametrize(
    ("events", "status"),
    [
        ([], None),
        ([state("run_started", 50)], "running"),
        ([state("run_started", 5000)], "lost"),
        ([state("run_started", 50), state("run_finished", 40, status="retry")], "retry"),
        ([state("run_started", 50), state("run_started", 30, attempt=2)], "running"),
        (
            [state("run_started", 50), state("run_started", 30, attempt=2), state("run_finished", 20, status="lost")],
            "running",
        ),
        ([state("run_finished", 40, status="success")], "success"),
    ],
)
def test_the_last_status_is_that_of_the_latest_run(events, status):
    (row,) = summarize_schedules([state("schedule_enqueued", 9000), *events], now=NOW)
    assert row["last_status"] == status


def test_events_of_no_schedule_are_in_no_row_and_odd_ids_are_texts():
    events = [{**state("run_started", 5), "schedule_id": name} for name in (None, "", [], {}, 0, False, "b")]
    assert [row["schedule_id"] for row in summarize_schedules(events, now=NOW)] == ["0", "False", "b"]


# -- helpers of dashboards ------------------------------------------------------------------------------------------


def test_throughput_counts_by_the_minute_the_current_one_last():
    events = [
        state("schedule_enqueued", 0),
        state("run_started", 61),
        state("run_finished", 61, status="success"),
        state("run_finished", 119, status="failed"),
        state("run_finished", 4000, status="success"),
    ]
    rows = throughput(events, 3, now=NOW)
    assert [(row["minute"], row["enqueued"], row["started"], row["success"], row["failed"]) for row in rows] == [
        (ago(120), 0, 1, 1, 1),
        (ago(60), 0, 0, 0, 0),
        (ago(0), 1, 0, 0, 0),
    ]
    assert throughput(events, 0, now=NOW) == []


def test_the_oldest_age_is_that_of_the_earliest_instant():
    jobs = [Job.new("d", clock=FakeClock(NOW.timestamp() - s)) for s in (5, 90, 60)]
    jobs[0].enqueued_at = "2026-11-24T13:00:00+02:00"  # an hour ago
    assert oldest_age_s(jobs, now=NOW) == 3600.0
    assert oldest_age_s([], now=NOW) is None


# -- on what the runner and the scheduler really write --------------------------------------------------------------


def test_summaries_are_right_on_the_logs_of_real_runs(tmp_path, monkeypatch):
    def boom(params):
        raise RuntimeError("boom")

    monkeypatch.setitem(WORKFLOW_MAP, "ok", lambda params: {})
    monkeypatch.setitem(WORKFLOW_MAP, "boom", boom)
    good = DAG("good", [Task("a", "ok"), Task("b", "ok", depends_on=["a"])], "acme")
    bad = DAG("bad", [Task("a", "ok"), Task("b", "boom", retries=1), Task("c", "ok", depends_on=["b"])], "acme")
    run_dag(good, events_path="e.jsonl", run_id="g#1", job_id="g")
    with pytest.raises(RunnerError):
        run_dag(bad, events_path="e.jsonl", run_id="b#1", job_id="b", backoff_s=0)
    events = load_events("e.jsonl")
    rows = {row["dag_name"]: row for row in summarize_dags(events)}
    assert (rows["good"]["status"], rows["good"]["tasks_ok"], rows["good"]["tenant"]) == ("success", 2, "acme")
    assert (rows["bad"]["status"], rows["bad"]["tasks_ok"], rows["bad"]["tasks_fail"]) == ("failed", 1, 1)
    assert rows["bad"]["tasks_skipped"] == 1
    assert rows["good"]["duration"] > 0
    totals = summarize_tasks(events)["last_24h"]
    assert (totals["tasks_started"], totals["tasks_ok"], totals["tasks_fail"], totals["tasks_retry"]) == (4, 3, 1, 1)
    assert totals["error_rate"] == 0.25
    assert totals["p95_duration"] >= totals["avg_duration"] > 0
    (tenant,) = per_tenant_load(events)
    assert (tenant["tenant"], tenant["runs"], tenant["tasks"], tenant["error_rate"]) == ("acme", 2, 4, 0.25)
    assert tenant["avg_latency"] > 0


def test_schedules_are_right_on_what_a_tick_and_a_drain_really_write(monkeypatch):
    monkeypatch.setitem(WORKFLOW_MAP, "ok", lambda params: {})
    queue = MemoryQueue()
    rows = [Schedule("fine", "* * * * *", "workflow:ok"), Schedule("wrong", "* * * * *", "workflow:nowhere")]
    now = datetime.now(UTC)
    assert tick_once(now, rows, queue) == 2
    drain_queue(queue)
    events = load_events(get_state_path())
    found = {row.pop("schedule_id"): row for row in summarize_schedules(events)}
    for row in found.values():
        assert row.pop("last_run") is not None
    counts = {"enqueued_count": 1, "started_count": 1, "finished_count": 1}
    assert found == {
        "fine": {"last_status": "success", **counts, "success_count": 1, "failed_count": 0},
        "wrong": {"last_status": "failed", **counts, "success_count": 0, "failed_count": 1},
    }
    assert sum(row["enqueued"] for row in throughput(events, 3)) == 2
