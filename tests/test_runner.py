"""Runs: what starts when, what a task sees, how a run ends whatever a workflow does, and what is written about it."""

import json
import logging
import random
import signal
import threading
from datetime import UTC, datetime, timedelta
from unittest import mock

import pytest

from orch import errors, runner
from orch.checks import RESULT_MAX
from orch.dag import DAG, Task
from orch.errors import InvalidInput, LeaseLost, RunnerError, WriteRefused
from orch.job import Job, Lease
from orch.runner import Dead, Done, FinalFailure, Lost, Retry, run_dag, run_job
from orch.testing import FakeClock
from orch.workflows import WORKFLOW_MAP, current

WAIT_S = 30  # for what comes at once; so long only when it is broken


@pytest.fixture
def log(tmp_path):
    return tmp_path / "events.jsonl"


@pytest.fixture
def run(log):
    """`run_dag` with the events in a file of the test and no pauses."""

    def call(dag, **more):
        return run_dag(dag, **{"events_path": log, "sleep": lambda s: None, "backoff_s": 0.0, **more})

    return call


@pytest.fixture
def events(log):
    """What was logged: all of it, or some fields of some events."""

    def read(event=None, *fields):
        lines = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
        chosen = [line for line in lines if event in (None, line["event"])]
        if not fields:
            return chosen
        rows = [tuple(line[name] for name in fields) for line in chosen]
        return [row[0] for row in rows] if len(fields) == 1 else rows

    return read


def elsewhere(call):
    """Call in a thread that is not the main one, as a worker does."""
    box = []

    def body():
        try:
            box.append((call(), None))
        except BaseException as error:
            box.append((None, error))

    thread = threading.Thread(target=body)
    thread.start()
    thread.join(WAIT_S)
    result, error = box[0]
    if error is not None:
        raise error
    return result


def chain(*names, **more):
    """Tasks that follow each other, each running the workflow of its own name."""
    return DAG(
        "d",
        [Task(name, name, depends_on=[names[i - 1]] if i else [], **more) for i, name in enumerate(names)],
    )


def give(**outputs):
    """Workflows by name that give these outputs."""
    return {name: lambda params, output=output: output for name, output in outputs.items()}


BOOM = RuntimeError("boom")


def failing(n, error=BOOM):
    """A workflow that raises at its first n calls, and its calls."""
    calls = []

    def workflow(params):
        calls.append(params)
        if len(calls) <= n:
            raise error
        return {"calls": len(calls)}

    return workflow, calls


# -- the seed's surface ------------------------------------------------------------------------------------------


def test_a_run_returns_the_seeds_result(run):
    result = run(chain("a", "b"), workflows=give(a={"x": 1}, b={"y": 2}))
    assert list(result) == ["dag_name", "tasks_succeeded", "tasks_failed", "duration_seconds", "task_outputs"]
    assert isinstance(result.pop("duration_seconds"), float)
    assert result == {
        "dag_name": "d",
        "tasks_succeeded": 2,
        "tasks_failed": 0,
        "task_outputs": {"a": {"x": 1}, "b": {"y": 2}},
    }


def test_workflows_come_from_the_map_as_it_is_at_the_call(run, monkeypatch):
    monkeypatch.setitem(WORKFLOW_MAP, "fresh", lambda params: {"fresh": True})
    assert run(DAG("d", [Task("a", "fresh")]))["task_outputs"] == {"a": {"fresh": True}}


def test_the_map_may_be_replaced_as_the_seeds_tests_do(run):
    with mock.patch("orch.workflows.WORKFLOW_MAP", give(fresh={"x": 1})):
        assert run(DAG("d", [Task("a", "fresh")]))["task_outputs"] == {"a": {"x": 1}}
        assert run_job(Job.new("workflow:fresh")) == Done({"x": 1})


def test_the_seeds_names_are_found_where_its_modules_had_them(log):
    from orch.dag import CycleDetectedError, ValidationError
    from orch.runner import RunnerError, log_event

    assert issubclass(RunnerError, Exception)
    assert {CycleDetectedError, ValidationError} == {errors.CycleDetectedError, errors.ValidationError}
    log_event({"timestamp": "2025-10-03T10:00:00", "event": "x"}, str(log))
    assert json.loads(log.read_text()) == {"timestamp": "2025-10-03T10:00:00", "event": "x"}


def test_a_dry_run_prints_the_plan_runs_nothing_and_writes_nothing(run, log, capsys):
    calls = []
    dag = DAG("weekly", [Task("b", "w", depends_on=["a"]), Task("a", "w"), Task("c", "w", depends_on=["a", "b"])])
    result = run(dag, dry_run=True, tenant="acme", workflows={"w": calls.append})
    assert result == {"dry_run": True, "tasks_planned": 3}
    assert (calls, log.exists()) == ([], False)
    rule = "=" * 60
    assert capsys.readouterr().out.splitlines() == [
        rule,
        "DRY RUN: DAG 'weekly'",
        rule,
        "Tenant: acme",
        "Tasks: 3",
        "",
        "Execution Plan:",
        "  1. a (workflow: w, depends_on: none)",
        "  2. b (workflow: w, depends_on: a)",
        "  3. c (workflow: w, depends_on: a, b)",
        rule,
    ]


def test_a_failed_task_raises_with_the_number_of_attempts(run):
    workflow, _ = failing(9)
    with pytest.raises(RunnerError, match=r"^Task 'a' failed after 3 attempts: RuntimeError: boom$"):
        run(chain("a", retries=2), workflows={"a": workflow})


@pytest.mark.parametrize(
    ("dag", "said"),
    [
        (DAG("d", []), "DAG validation failed: DAG must have at least one task"),
        (DAG("d", [Task("a", "w"), Task("a", "w")]), "DAG validation failed: Duplicate task IDs found"),
        (DAG("d", [Task("a", "w", depends_on=["z"])]), "DAG validation failed: Task 'a' depends on non-existent"),
        (DAG("d", [Task("a", "w", depends_on=["a"])]), "DAG validation failed: Cycle detected in DAG 'd': a -> a"),
        (DAG("d", [Task("a", "w"), Task("b", "nope", depends_on=["a"])]), "Unknown workflow: nope in task 'b'"),
        (DAG("d", [Task("a", "w"), Task("b", "w", {"a__x": 1}, 0, ["a"])]), "DAG validation failed: Task 'b' has a"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
@pytest.mark.parametrize("dry_run", [False, True])
@pytest.mark.promise("D2")
def test_what_is_known_to_be_wrong_is_refused_before_the_first_task_and_event(run, log, capsys, dag, said, dry_run):
    calls = []
    with pytest.raises(RunnerError, match=said) as caught:
        run(dag, workflows={"w": calls.append}, dry_run=dry_run)
    assert (calls, log.exists(), capsys.readouterr().out) == ([], False, "")
    assert isinstance(caught.value, FinalFailure) is said.startswith("DAG")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"max_retries_default": -1}, "max_retries_default"),
        ({"max_retries_default": None}, "max_retries_default"),
        ({"max_parallel": 0}, "max_parallel must be between 1"),
        ({"tenant": ""}, "tenant must be 1 to 200"),
        ({"backoff_s": -1}, "backoff_s"),
        ({"params": {"x": b"bytes"}}, "params must be JSON"),
    ],
    ids=str,
)
def test_arguments_that_cannot_be_are_refused(run, log, more, said):
    with pytest.raises(InvalidInput, match=said):
        run(chain("a"), workflows=give(a={}), **more)
    assert not log.exists()


def test_something_that_is_no_dag_is_refused():
    with pytest.raises(InvalidInput, match=r"run_dag takes a DAG, got 'etl.yaml'"):
        run_dag("etl.yaml")


# -- D1: order and parallel branches -----------------------------------------------------------------------------


@pytest.mark.promise("D1")
def test_independent_tasks_run_at_the_same_time(run):
    together = threading.Barrier(3)
    dag = DAG("d", [Task(name, "w") for name in "abc"], max_parallel=3)
    result = run(dag, workflows={"w": lambda params: {"met": together.wait(WAIT_S) >= 0}})
    assert result["tasks_succeeded"] == 3


@pytest.mark.promise("D1")
@pytest.mark.parametrize(("in_dag", "given", "most"), [(2, None, 2), (3, 1, 1), (1, 4, 4)])
def test_no_more_than_max_parallel_run_at_the_same_time(run, in_dag, given, most):
    lock, inside, peak = threading.Lock(), set(), []
    full = threading.Event()

    def workflow(params):
        with lock:
            inside.add(params["n"])
            peak.append(len(inside))
            if len(inside) == most:
                full.set()
        full.wait(WAIT_S)
        with lock:
            inside.remove(params["n"])
        return {}

    dag = DAG("d", [Task(f"t{n}", "w", {"n": n}) for n in range(8)], max_parallel=in_dag)
    elsewhere(lambda: run(dag, workflows={"w": workflow}, max_parallel=given))
    assert max(peak) == most


@pytest.mark.promise("D1")
def test_a_task_starts_only_after_all_its_dependencies_succeeded(run):
    over, seen = set(), {}

    def workflow(params):
        seen[params["id"]] = set(over)
        over.add(params["id"])
        return {}

    deps = {"a": "", "b": "", "c": "a", "d": "ab", "e": "cd", "f": "b"}
    dag = DAG("d", [Task(name, "w", {"id": name}, depends_on=list(on)) for name, on in deps.items()])
    run(dag, workflows={"w": workflow})
    assert all(set(on) <= seen[name] for name, on in deps.items())
    assert set(seen) == set(deps)


@pytest.mark.promise("D1")
def test_of_the_ready_tasks_the_first_declared_starts_first(run, events):
    deps = {"z": "a", "b": "", "a": "", "y": "b", "c": ""}
    dag = DAG("d", [Task(name, "w", depends_on=list(on)) for name, on in deps.items()], max_parallel=1)
    run(dag, workflows={"w": lambda params: {}})
    assert events("task_start", "task_id") == ["b", "a", "z", "y", "c"]


@pytest.mark.promise("D1")
def test_a_repeated_dependency_is_waited_for_once(run):
    assert (
        run(DAG("d", [Task("a", "w"), Task("b", "w", depends_on=["a", "a"])]), workflows={"w": lambda params: {}})[
            "tasks_succeeded"
        ]
        == 2
    )


def test_a_single_task_runs_in_the_thread_of_a_worker(run):
    seen = []
    workflow = {"w": lambda params: seen.append(threading.current_thread())}
    elsewhere(lambda: seen.append(threading.current_thread()) or run(DAG("d", [Task("a", "w")]), workflows=workflow))
    run(DAG("d", [Task("a", "w")]), workflows=workflow)
    assert seen[0] is seen[1]
    assert seen[2] is not threading.main_thread(), "a Ctrl+C there is the caller's"


def test_a_thread_that_cannot_be_started_is_a_failed_attempt(run, monkeypatch):
    starts = []

    class Thread(threading.Thread):
        def start(self):
            starts.append(self)
            if len(starts) == 1:
                raise RuntimeError("can't start new thread")
            super().start()

    monkeypatch.setattr(threading, "Thread", Thread)
    result = run(chain("a", retries=1), workflows=give(a={}))
    assert (result["tasks_succeeded"], len(starts)) == (1, 2)


# -- D3: what a task sees ----------------------------------------------------------------------------------------


@pytest.mark.promise("D3")
def test_a_task_sees_its_params_and_the_outputs_of_its_direct_dependencies(run):
    seen = []
    dag = DAG(
        "d",
        [
            Task("a", "a", {"own": 1}),
            Task("b", "b", depends_on=["a"]),
            Task("c", "c", {"own": 2}, depends_on=["b"]),
        ],
    )
    run(dag, workflows=give(a={"x": 1}, b={"y": 2}) | {"c": seen.append})
    assert seen == [{"own": 2, "b__y": 2}]


@pytest.mark.promise("D3")
def test_every_attempt_sees_the_same_params_whatever_the_one_before_did_to_them(run):
    seen = []

    def workflow(params):
        seen.append(json.dumps(params))
        params["list"].append(1)
        params["a__x"].append(1)
        params["new"] = 1
        raise RuntimeError

    dag = DAG("d", [Task("a", "a"), Task("b", "b", {"list": []}, retries=2, depends_on=["a"])])
    with pytest.raises(RunnerError):
        run(dag, workflows=give(a={"x": []}) | {"b": workflow})
    assert seen == ['{"list": [], "a__x": []}'] * 3
    assert dag.tasks[1].params == {"list": []}


@pytest.mark.promise("D3")
def test_what_a_workflow_keeps_of_its_output_does_not_change_the_run(run):
    kept = {"list": []}
    seen = []
    workflows = {"a": lambda params: kept, "b": lambda params: kept["list"].append(1), "c": seen.append}
    result = run(
        DAG("d", [Task("a", "a"), Task("b", "b", depends_on=["a"]), Task("c", "c", depends_on=["a", "b"])]),
        workflows=workflows,
    )
    assert seen == [{"a__list": []}]
    assert result["task_outputs"]["a"] == {"list": []}


@pytest.mark.promise("D3")
def test_outputs_that_come_to_one_name_fail_the_task_that_would_see_them(run, events):
    dag = DAG("d", [Task("a", "a"), Task("a__b", "b"), Task("c", "c", retries=5, depends_on=["a", "a__b"])])
    calls = []
    with pytest.raises(FinalFailure, match="Task 'c' failed after 0 attempts: payload name 'a__b__c' would be"):
        run(dag, workflows=give(a={"b__c": 1}, b={"c": 2}) | {"c": calls.append})
    assert calls == []
    assert events("task_fail", "task_id", "attempts") == [("c", 0)]


@pytest.mark.promise("D3")
def test_a_jobs_params_go_to_every_task_under_its_own(run):
    seen = []
    dag = DAG("d", [Task("a", "w", {"x": "own"}), Task("b", "w", depends_on=["a"])], max_parallel=1)
    run(dag, params={"x": "job", "y": [1]}, workflows={"w": lambda params: seen.append(params) or {"z": 1}})
    assert seen == [{"x": "own", "y": [1]}, {"x": "job", "y": [1], "a__z": 1}]


@pytest.mark.promise("D3")
def test_a_job_param_with_the_name_of_a_payload_is_refused_before_the_first_task(run, log):
    with pytest.raises(FinalFailure, match="the job's param 'a__x' is a name kept for the output of 'a' in task 'b'"):
        run(chain("a", "b"), params={"a__x": 1}, workflows=give(a={}, b={}))
    assert not log.exists()


# -- retries -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("retries", "default", "attempts"), [(None, 0, 1), (None, 3, 4), (0, 3, 1), (2, 0, 3), (2, 9, 3)]
)
def test_a_task_is_tried_once_and_then_as_often_as_it_says_or_else_the_default(run, retries, default, attempts):
    workflow, calls = failing(99)
    with pytest.raises(RunnerError, match=f"failed after {attempts} attempts"):
        run(DAG("d", [Task("a", "w", retries=retries)]), workflows={"w": workflow}, max_retries_default=default)
    assert len(calls) == attempts


def test_a_task_that_succeeds_at_its_last_attempt_succeeded(run, events):
    workflow, _ = failing(2)
    result = run(chain("a", retries=2), workflows={"a": workflow})
    assert result["task_outputs"] == {"a": {"calls": 3}}
    assert events("task_start", "task_id") == ["a"]
    assert events("task_retry", "attempt", "error") == [(1, "RuntimeError: boom"), (2, "RuntimeError: boom")]
    assert events("task_ok", "attempt") == [3]


class Rng(random.Random):
    """Always draws the same."""

    def __init__(self, value):
        self.value = value

    def random(self):
        return self.value


@pytest.mark.parametrize(("drawn", "part"), [(0.0, 0.5), (1.0, 1.0)])
def test_pauses_between_attempts_double_up_to_ten_seconds_less_a_random_half(run, drawn, part):
    pauses = []
    workflow, _ = failing(6)
    run(chain("a", retries=6), workflows={"a": workflow}, backoff_s=1.0, sleep=pauses.append, rng=Rng(drawn))
    full = [pause / part for pause in pauses]
    assert full == pytest.approx([1, 2, 4, 8, 10, 10], abs=0.3)


def test_a_task_that_pauses_leaves_its_place_to_others(run, events):
    other = threading.Event()
    workflow, _ = failing(1)
    dag = DAG("d", [Task("a", "a", retries=1), Task("b", "b")], max_parallel=1)
    run(
        dag,
        workflows={"a": workflow, "b": lambda params: other.set()},
        backoff_s=1_000.0,
        sleep=lambda s: other.is_set() or pytest.fail("slept while another task could have run"),
    )
    assert events("task_ok", "task_id") == ["b", "a"]


def test_a_pause_that_ends_while_others_run_starts_the_next_attempt(run):
    second = threading.Event()
    calls = []

    def twice(params):
        calls.append(1)
        if len(calls) == 1:
            raise RuntimeError
        second.set()

    dag = DAG("d", [Task("a", "a", retries=1), Task("b", "b")])
    result = run(dag, workflows={"a": twice, "b": lambda params: {"seen": second.wait(WAIT_S)}}, backoff_s=0.001)
    assert result["task_outputs"]["b"] == {"seen": True}


# -- time-outs ---------------------------------------------------------------------------------------------------


def test_a_task_over_its_time_failed_that_attempt_and_is_told_so(run, events, caplog):
    told, calls, left = threading.Event(), [], []

    def slow_once(params):
        calls.append(current())
        if len(calls) == 1:
            left.append(threading.current_thread())
            told.wait(WAIT_S)
            return {"too": "late"}
        assert calls[0].lost()
        assert not current().lost()
        told.set()
        left[0].join(WAIT_S)
        return {"on": "time"}

    with caplog.at_level(logging.WARNING):
        result = run(DAG("d", [Task("a", "w", retries=1, timeout_s=0.3)]), workflows={"w": slow_once})
    assert result["task_outputs"] == {"a": {"on": "time"}}
    assert events("task_retry", "error") == ["TimeoutError: still running after 0.3 s; its thread is left behind"]
    assert "task a is over its time" in caplog.text


def test_a_task_that_is_always_over_its_time_fails_the_run(run, events):
    over = threading.Event()
    dag = DAG("d", [Task("a", "w", retries=1, timeout_s=0.001)])
    try:
        with pytest.raises(RunnerError, match="Task 'a' failed after 2 attempts: TimeoutError"):
            run(dag, workflows={"w": lambda params: over.wait(WAIT_S)})
    finally:
        over.set()
    assert events("dag_done", "status") == ["failed"]


def test_time_is_counted_for_each_task_alone(run):
    release = threading.Event()

    def stuck(params):
        release.wait(WAIT_S)

    dag = DAG("d", [Task("slow", "slow", timeout_s=0.001), Task("good", "good", timeout_s=1_000)])
    try:
        with pytest.raises(RunnerError, match="Task 'slow'"):
            run(dag, workflows={"slow": stuck, "good": lambda params: {}})
    finally:
        release.set()


def test_no_task_starts_after_the_deadline(run, events):
    clock = FakeClock(1_000.0)
    dag = chain("a", "b", "c")
    workflows = give(b={}, c={}) | {"a": lambda params: clock.advance(10)}
    with pytest.raises(RunnerError, match=r"^DAG 'd' ran out of time before task 'b'$"):
        run(dag, workflows=workflows, clock=clock, deadline=1_005.0)
    assert events("task_skipped", "task_id", "reason") == [(name, "the run is out of time") for name in "bc"]


# -- W3: whatever a workflow does --------------------------------------------------------------------------------


class Nasty(Exception):
    def __str__(self):
        raise ValueError("no text")


RAISED = [
    (RuntimeError("boom"), "RuntimeError: boom"),
    (SystemExit(0), "SystemExit: 0"),
    (KeyboardInterrupt(), "KeyboardInterrupt"),
    (GeneratorExit("x"), "GeneratorExit: x"),
    (MemoryError(), "MemoryError"),
    (Nasty(), "Nasty: (its message cannot be shown: ValueError)"),
    (LeaseLost("of some other queue"), "LeaseLost: of some other queue"),
    (ValueError("\ud800"), "ValueError: \\ud800"),
]


@pytest.mark.promise("W3")
@pytest.mark.parametrize(("error", "said"), RAISED, ids=[type(error).__name__ for error, _ in RAISED])
@pytest.mark.parametrize("inline", [False, True])
def test_whatever_a_workflow_raises_is_a_failed_attempt_of_its_task(run, events, error, said, inline):
    workflow, _ = failing(1, error)

    def call():
        return run(chain("a", retries=1), workflows={"a": workflow})

    result = elsewhere(call) if inline else call()
    assert result["tasks_succeeded"] == 1
    assert events("task_retry", "error") == [said]


def shared(levels):
    value = "x"
    for _ in range(levels):
        value = [value] * 10
    return {"x": value}


def looped():
    value = {}
    value["self"] = value
    return value


class Odd(dict):
    def items(self):
        raise SystemExit("looked at")


class Unshown:
    def __repr__(self):
        raise RuntimeError("no repr")


RETURNED = [
    ([1], "it must be a dict, got \\[1\\]"),
    ("text", "it must be a dict, got 'text'"),
    (0, "it must be a dict, got 0"),
    (Unshown(), "it must be a dict, got <Unshown"),
    ({"x": b"bytes"}, "output must be JSON"),
    ({"x": float("nan")}, "output must be JSON, which has no nan"),
    ({1: "a"}, "output must have text keys, got 1"),
    ({"x": b"bytes"}, "output must be JSON, got b'bytes'"),
    ({"x": "\ud800"}, "output must be text that UTF-8 can carry"),
    ({"x": "y" * RESULT_MAX}, "output must be at most 1048576 bytes of JSON"),
    (shared(9), "output must have at most 524288 items"),
    (looped(), "output must"),
    (Odd(x=1), "SystemExit: looked at"),
]


@pytest.mark.promise("W3")
@pytest.mark.parametrize(("output", "said"), RETURNED, ids=[str(i) for i in range(len(RETURNED))])
def test_an_output_that_cannot_be_kept_fails_the_task_and_is_not_tried_again(run, events, output, said):
    calls = []
    with pytest.raises(FinalFailure, match=f"Task 'a' failed after 1 attempts: the workflow returned .*{said}"):
        run(chain("a", "b", retries=3), workflows={"a": lambda params: calls.append(1) or output, "b": calls.append})
    assert calls == [1]
    assert events("dag_done", "status") == ["failed"]


def test_no_output_is_an_empty_one_and_tuples_are_lists(run):
    result = run(chain("a", "b"), workflows=give(a=None, b={"t": (1, 2)}))
    assert result["task_outputs"] == {"a": {}, "b": {"t": [1, 2]}}


@pytest.mark.promise("W3")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_dies_without_an_answer_is_a_failed_attempt(run, monkeypatch):
    def die(*_):
        raise SystemExit

    monkeypatch.setattr(runner, "_answer", die)
    with pytest.raises(RunnerError, match="its thread ended without an answer"):
        run(chain("a"), workflows=give(a={}))
    assert run_job(Job.new("workflow:a"), workflows=give(a={})) == Retry("its thread ended without an answer")
    for thread in threading.enumerate():
        if thread.name.startswith("orch "):
            thread.join(WAIT_S)


def test_a_traceback_goes_to_the_log_when_it_is_asked_for(run, caplog):
    workflow, _ = failing(1)
    with caplog.at_level(logging.DEBUG, "orch.runner"):
        run(chain("a", retries=1), workflows={"a": workflow})
    assert "Traceback" in caplog.text


# -- after a failure ---------------------------------------------------------------------------------------------


@pytest.mark.promise("D4")
def test_after_a_failure_what_runs_may_finish_and_nothing_else_starts(run, events):
    failed = threading.Event()

    def fails(params):
        failed.set()
        raise RuntimeError("boom")

    def runs(params):
        failed.wait(WAIT_S)
        return {"ok": 1}

    dag = DAG(
        "d",
        [
            Task("bad", "bad"),
            Task("beside", "beside"),
            Task("behind", "none", depends_on=["bad"]),
            Task("later", "none"),
            Task("after", "none", depends_on=["beside"]),
        ],
        max_parallel=2,
    )
    recorded = []
    with pytest.raises(RunnerError, match="Task 'bad' failed after 1 attempts"):
        run(
            dag,
            workflows={"bad": fails, "beside": runs, "none": pytest.fail},
            record=lambda task, output: recorded.append((task, output)),
        )
    assert recorded == [("beside", {"ok": 1})]
    assert events("task_ok", "task_id") == ["beside"]
    assert sorted(events("task_skipped", "task_id", "reason")) == [
        (task, "task 'bad' failed") for task in ("after", "behind", "later")
    ]
    assert events("dag_done", "status", "tasks_succeeded", "tasks_failed", "tasks_skipped") == [("failed", 1, 1, 3)]


def test_after_a_failure_a_task_that_pauses_is_not_tried_again(run, events):
    workflow, calls = failing(9)
    paused = threading.Event()

    def second(params):
        paused.wait(WAIT_S)
        raise ValueError("worse")

    def retrying(params):
        try:
            workflow(params)
        finally:
            paused.set()

    dag = DAG("d", [Task("a", "a", retries=5), Task("b", "b", retries=0)])
    with pytest.raises(RunnerError, match="Task 'b' failed after 1 attempts: ValueError: worse"):
        run(dag, workflows={"a": retrying, "b": second}, backoff_s=1_000.0)
    assert len(calls) == 1
    assert dict(events("task_fail", "task_id", "error")) == {
        "b": "ValueError: worse",
        "a": "RuntimeError: boom (not tried again: task 'b' failed)",
    }
    assert events("dag_done", "tasks_failed") == [2]


# -- D4: events --------------------------------------------------------------------------------------------------


@pytest.mark.promise("D4")
def test_every_event_says_when_and_of_which_run_job_and_tenant(run, events):
    workflow, _ = failing(1)
    clock = FakeClock(1_800_000_000.0)
    dag = DAG("d", [Task("a", "a"), Task("b", "b", retries=1, depends_on=["a"])])
    run(
        dag,
        workflows=give(a={}) | {"b": workflow},
        run_id="j#2",
        job_id="j",
        tenant="acme",
        done={"a": {}},
        clock=clock,
    )
    kinds = ["dag_start", "task_reused", "task_start", "task_retry", "task_ok", "dag_done"]
    assert [event["event"] for event in events()] == kinds
    for event in events():
        assert list(event)[:3] == ["timestamp", "event", "dag_name"]
        assert (event["dag_name"], event["run"], event["job"], event["tenant"]) == ("d", "j#2", "j", "acme")
        assert datetime.fromisoformat(event["timestamp"]).utcoffset() == timedelta(0)
        assert event["timestamp"].startswith("2027-01-15T08:00:00")


@pytest.mark.promise("D4")
def test_events_have_the_seeds_fields(run, events):
    workflow, _ = failing(1)
    run(chain("a", retries=1), workflows={"a": workflow})
    own = {
        event["event"]: set(event) - {"timestamp", "event", "dag_name", "run", "job", "tenant"} for event in events()
    }
    assert own["dag_start"] == {"task_count"}
    assert own["task_start"] == {"task_id", "workflow_ref"}
    assert own["task_retry"] == {"task_id", "attempt", "error"}
    assert own["task_ok"] == {"task_id", "attempt", "duration_seconds"}
    assert own["dag_done"] == {
        *("status", "tasks_succeeded", "tasks_failed", "tasks_skipped", "tasks_reused", "duration_seconds")
    }


@pytest.mark.promise("D4")
def test_two_runs_of_one_dag_can_be_told_apart(run, events):
    run(chain("a"), workflows=give(a={}))
    run(chain("a"), workflows=give(a={}))
    assert len(set(events("dag_start", "run"))) == 2
    assert events("dag_start", "run") == events("dag_done", "run")


@pytest.mark.promise("D4")
@pytest.mark.parametrize("how", ["success", "failed", "lost", "deadline", "bad output", "interrupted"])
def test_every_run_that_starts_has_one_end(run, events, how):
    class Stopped(BaseException):
        pass

    def stop(task, output):
        raise Stopped

    more = {
        "lost": {"lost": lambda: bool(events("task_ok"))},
        "deadline": {"deadline": 0.0},
        "interrupted": {"record": stop},
    }.get(how, {})
    outputs = {"failed": RuntimeError, "bad output": [1]}
    workflow = outputs.get(how, {})

    def a(params):
        if isinstance(workflow, type):
            raise workflow
        return workflow

    try:
        run(chain("a", "b"), workflows={"a": a, "b": lambda params: {}}, **more)
    except (RunnerError, LeaseLost, Stopped):
        assert how != "success"
    assert len(events("dag_start")) == 1
    assert events("dag_done", "status") == ["success" if how == "success" else "failed"]
    assert events()[-1]["event"] == "dag_done"
    done = events("dag_done")[0]
    assert done["tasks_succeeded"] + done["tasks_failed"] + done["tasks_skipped"] == 2
    assert len(events("task_start")) == len(events("task_ok")) + len(events("task_fail"))
    assert ("error" in done) is (how != "success")


def test_a_ctrl_c_is_the_callers_and_the_run_still_ends(run, events):
    release, seen = threading.Event(), []

    def interrupts(params):
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)  # else another thread may catch it
        release.wait(WAIT_S)
        seen.append(current().lost())
        release.set()

    try:
        with pytest.raises(KeyboardInterrupt):
            run(chain("a", "b"), workflows={"a": interrupts, "b": pytest.fail})
    finally:
        release.set()
    assert events("task_fail", "task_id") == ["a"]
    assert events("task_skipped", "task_id", "reason") == [("b", "the run was interrupted")]
    assert events("dag_done", "status", "error") == [("failed", "KeyboardInterrupt")]


def test_what_happened_is_written_before_a_task_runs(run, events):
    seen = {}

    def look(params):
        seen[params["n"]] = [event["event"] for event in events()]

    dag = DAG("d", [Task("a", "w", {"n": 1}), Task("b", "w", {"n": 2}, depends_on=["a"])])
    run(dag, workflows={"w": look})
    assert seen == {1: ["dag_start", "task_start"], 2: ["dag_start", "task_start", "task_ok", "task_start"]}


def test_durations_do_not_follow_the_clock_on_the_wall(run, events):
    clock = FakeClock()
    result = run(chain("a"), workflows={"a": lambda params: clock.advance(-3_600)}, clock=clock)
    assert 0 <= result["duration_seconds"] < WAIT_S
    assert 0 <= events("task_ok", "duration_seconds")[0] < WAIT_S


def test_the_default_tenant_gives_way_to_the_one_of_the_dag(run, events):
    dag = DAG("d", [Task("a", "a")], tenant_id="acme")
    run(dag, workflows=give(a={}))
    run(dag, workflows=give(a={}), tenant="globex")
    assert events("dag_start", "tenant") == ["acme", "globex"]


def test_events_go_where_the_environment_says(monkeypatch, log, events):
    monkeypatch.setenv("ORCH_EVENTS_PATH", str(log))
    run_dag(chain("a"), workflows=give(a={}))
    assert len(events()) == 4


@pytest.mark.promise("L1")
def test_a_log_that_cannot_be_written_changes_nothing(tmp_path, caplog):
    workflow, calls = failing(1)
    (tmp_path / "file").touch()
    result = run_dag(
        chain("a", retries=1), workflows={"a": workflow}, events_path=tmp_path / "file" / "log", backoff_s=0.0
    )
    assert (result["tasks_succeeded"], len(calls)) == (1, 2)
    assert "events not logged" in caplog.text


# -- D5: going on after a crash ----------------------------------------------------------------------------------


@pytest.mark.promise("D5")
def test_tasks_whose_output_was_recorded_are_not_run_again(run, events):
    seen = []
    result = run(
        chain("a", "b", "c"),
        workflows={"a": pytest.fail, "b": pytest.fail, "c": lambda params: seen.append(params) or {"z": 3}},
        done={"a": {"x": 1}, "b": {"y": 2}},
    )
    assert seen == [{"b__y": 2}]
    assert result["task_outputs"] == {"a": {"x": 1}, "b": {"y": 2}, "c": {"z": 3}}
    assert events("task_reused", "task_id") == ["a", "b"]
    assert events("task_start", "task_id") == ["c"]
    assert events("dag_done", "tasks_succeeded", "tasks_reused") == [(3, 2)]


@pytest.mark.promise("D5")
def test_a_run_of_which_everything_is_recorded_runs_nothing(run):
    result = run(chain("a", "b"), workflows={"a": pytest.fail, "b": pytest.fail}, done={"a": {}, "b": {"y": 1}})
    assert (result["tasks_succeeded"], result["task_outputs"]) == (2, {"a": {}, "b": {"y": 1}})


def test_recorded_outputs_that_do_not_belong_to_the_dag_are_ignored(run):
    result = run(chain("a"), workflows=give(a={"x": 1}), done={"gone": {}, "a": "no dict"})
    assert result["task_outputs"] == {"a": {"x": 1}}


def test_a_recorded_task_counts_even_if_it_now_depends_on_one_that_is_not(run, events):
    run(chain("a", "b", "c"), workflows=give(a={}, b={}, c={}), done={"b": {}})
    assert events("task_start", "task_id") == ["a", "c"]


@pytest.mark.promise("D5")
def test_outputs_are_recorded_before_those_who_depend_on_them_start(run):
    happened = []
    workflows = {name: lambda params, name=name: happened.append(name) or {"n": name} for name in "abc"}
    run(chain("a", "b", "c"), workflows=workflows, record=lambda task, output: happened.append((task, output)))
    assert happened == ["a", ("a", {"n": "a"}), "b", ("b", {"n": "b"}), "c"]


def test_what_record_does_to_an_output_does_not_change_the_run(run):
    result = run(chain("a", "b"), workflows=give(a={"x": 1}, b={}), record=lambda task, output: output.clear())
    assert result["task_outputs"]["a"] == {"x": 1}


@pytest.mark.promise("D5")
def test_an_output_that_cannot_be_recorded_does_not_run_its_task_again(run, caplog):
    def refuse(task, output):
        raise WriteRefused("out of memory")

    workflow, calls = failing(0)
    result = run(chain("a", "b", retries=3), workflows=give(b={}) | {"a": workflow}, record=refuse)
    assert (result["tasks_succeeded"], len(calls)) == (2, 1)
    assert "output of task a not recorded: WriteRefused: out of memory" in caplog.text


@pytest.mark.promise("D5")
def test_a_lost_lease_while_recording_stops_the_run(run, events):
    def lost(task, output):
        raise LeaseLost("token 3 is not current")

    with pytest.raises(LeaseLost, match="token 3 is not current"):
        run(chain("a", "b", "c"), workflows=give(a={}) | {"b": pytest.fail, "c": pytest.fail}, record=lost)
    assert events("task_skipped", "task_id", "reason") == [("b", "the run was lost"), ("c", "the run was lost")]


def test_a_run_that_is_lost_starts_nothing_more_and_waits_for_what_runs(run, events):
    lost, seen = threading.Event(), []

    def workflow(params):
        lost.set()
        seen.append(current().lost())

    with pytest.raises(LeaseLost, match="before task 'b'"):
        run(chain("a", "b"), workflows={"a": workflow, "b": pytest.fail}, lost=lost.is_set)
    assert seen == [True]
    assert events("task_ok", "task_id") == ["a"]


def test_a_task_that_fails_when_the_run_is_lost_is_not_tried_again(run):
    lost = threading.Event()
    calls = []

    def workflow(params):
        calls.append(lost.set())
        raise RuntimeError("stopped")

    with pytest.raises(LeaseLost, match="during task 'a'"):
        run(chain("a", retries=5), workflows={"a": workflow}, lost=lost.is_set)
    assert len(calls) == 1


def test_a_run_that_is_lost_at_its_end_does_not_succeed(run):
    lost = threading.Event()
    with pytest.raises(LeaseLost, match="before it could report"):
        run(chain("a"), workflows={"a": lambda params: lost.set()}, lost=lost.is_set)


# -- what a workflow may know ------------------------------------------------------------------------------------


def test_a_workflow_knows_its_run(run):
    seen = []

    def workflow(params):
        seen.append(current())
        if len(seen) == 1:
            raise RuntimeError

    run(
        DAG("d", [Task("a", "w", retries=1)]),
        workflows={"w": workflow},
        run_id="j#4",
        job_id="j",
        attempt=4,
        token=99,
        tenant="acme",
        deadline=2e9,
    )
    assert [(c.job_id, c.run_id, c.task_id, c.tenant_id, c.token, c.deadline) for c in seen] == [
        ("j", "j#4", "a", "acme", 99, 2e9)
    ] * 2
    assert [(c.attempt, c.task_attempt) for c in seen] == [(4, 1), (4, 2)]
    assert current().job_id == ""


def test_a_tasks_own_time_limit_is_part_of_its_deadline(run):
    clock, seen = FakeClock(1_000.0), []
    tasks = [Task("a", "w", timeout_s=60.0), Task("b", "w", timeout_s=5_000.0), Task("c", "w")]
    workflows = {"w": lambda params: seen.append(current().deadline)}
    run(DAG("d", tasks, max_parallel=1), workflows=workflows, clock=clock, deadline=2_000.0)
    assert seen == [1_060.0, 2_000.0, 2_000.0]


# -- jobs --------------------------------------------------------------------------------------------------------


@pytest.fixture
def job(tmp_path, log):
    """Runs a job of `dag_path`; a text with lines is the DAG file itself."""

    def call(dag_path, *, fields=None, **more):
        if "\n" in dag_path:
            (tmp_path / "dag.yaml").write_text(dag_path)
            dag_path = "dag.yaml"
        made = Job.new(dag_path, id="j", tenant_id="acme", params=(fields or {}).pop("params", None))
        made.attempts = 2
        made.lease = Lease("j", 77, "w", 1e9)
        for name, value in (fields or {}).items():
            setattr(made, name, value)
        return run_job(made, events_path=log, dag_root=tmp_path, **more)

    return call


TWO = "name: d\ntasks:\n- {id: a, workflow_ref: one}\n- {id: b, workflow_ref: two, depends_on: [a]}\n"


@pytest.mark.promise("D4")
def test_a_job_runs_its_dag_file_as_a_run_of_its_own(job, events):
    seen = []
    outcome = job(TWO, workflows={"one": lambda params: seen.append(current()), "two": lambda params: {"y": 1}})
    assert isinstance(outcome, Done)
    assert outcome.result["task_outputs"] == {"a": {}, "b": {"y": 1}}
    assert {(event["run"], event["job"], event["tenant"]) for event in events()} == {("j#2", "j", "acme")}
    assert (seen[0].job_id, seen[0].token, seen[0].attempt) == ("j", 77, 2)


def test_a_job_of_one_callable_gives_what_that_returns_and_writes_no_dag_events(job, log):
    seen = []
    workflows = {"one": lambda params: seen.append((current(), params)) or {"x": 1}}
    outcome = job("workflow:one", workflows=workflows, fields={"params": {"p": 1}})
    assert outcome == Done({"x": 1})
    context, params = seen[0]
    assert (context.job_id, context.run_id, context.task_id, context.attempt) == ("j", "j#2", "", 2)
    assert (context.token, context.tenant_id, params) == (77, "acme", {"p": 1})
    assert not log.exists()


def test_a_callable_cannot_change_the_params_of_its_job(tmp_path):
    made = Job.new("workflow:one", params={"list": []})
    run_job(made, workflows={"one": lambda params: params["list"].append(1)})
    assert made.params == {"list": []}


def test_a_job_hands_its_params_to_every_task(job):
    seen = []
    job(TWO, workflows={"one": seen.append, "two": seen.append}, fields={"params": {"p": 1}})
    assert seen == [{"p": 1}, {"p": 1}]


@pytest.mark.promise("W6")
@pytest.mark.parametrize("inline", [False, True])
def test_a_failing_task_or_callable_may_be_tried_again(job, inline):
    workflow, _ = failing(99)

    def calls():
        return [
            job("workflow:one", workflows={"one": workflow}),
            job("name: d\ntasks: [{id: a, workflow_ref: one}]\n", workflows={"one": workflow}),
        ]

    assert (elsewhere(calls) if inline else calls()) == [
        Retry("RuntimeError: boom"),
        Retry("Task 'a' failed after 1 attempts: RuntimeError: boom"),
    ]


@pytest.mark.promise("W6")
@pytest.mark.parametrize(
    ("dag_path", "said"),
    [
        ("missing.yaml", "DAG file 'missing.yaml' cannot be read: FileNotFoundError"),
        ("workflow:nope", "Unknown workflow: nope"),
        ("workflow:", "Unknown workflow: "),
        ("name: d\ntasks: [{id: a, workflow_ref: nope}]\n", "Unknown workflow: nope in task 'a'"),
    ],
)
def test_what_another_worker_may_know_may_be_tried_again(job, dag_path, said):
    outcome = job(dag_path, workflows={})
    assert isinstance(outcome, Retry)
    assert outcome.error.startswith(said)


@pytest.mark.promise("W6")
@pytest.mark.parametrize(
    ("dag_path", "said"),
    [
        ("name: d\ntasks: [{id: a}]\n", "DAG validation failed: dag.yaml:2:9 tasks[0].workflow_ref: missing"),
        ("name: d\ntasks: [{id: a, workflow_ref: one, depends_on: [a]}]\n", "DAG validation failed: dag.yaml:2:48"),
        ("\n", "DAG validation failed: dag.yaml:1:1: expected a document"),
        ("../dag.yaml", "DAG validation failed: DAG path '../dag.yaml' is outside the DAG root"),
        ("/etc/passwd", "DAG validation failed: DAG path '/etc/passwd' is outside the DAG root"),
    ],
)
def test_what_no_worker_can_run_fails_at_once(job, dag_path, said):
    outcome = job(dag_path, workflows={"one": pytest.fail})
    assert isinstance(outcome, Dead)
    assert outcome.error.startswith(said)


@pytest.mark.promise("W6")
def test_a_job_param_that_collides_fails_at_once(job):
    outcome = job(TWO, workflows=give(one={}, two={}), fields={"params": {"a__x": 1}})
    assert outcome == Dead(
        "DAG validation failed: the job's param 'a__x' is a name kept for the output of 'a' in task 'b': rename it"
    )


@pytest.mark.promise("W3")
@pytest.mark.parametrize("dag_path", ["workflow:one", "name: d\ntasks: [{id: a, workflow_ref: one}]\n"])
def test_finished_work_whose_output_cannot_be_kept_is_not_repeated(job, dag_path):
    outcome = job(dag_path, workflows={"one": lambda params: {"when": datetime.now(UTC)}})
    assert isinstance(outcome, Dead)
    assert "the workflow returned what cannot be kept: InvalidInput: output must be JSON" in outcome.error


def test_a_lost_job_has_nothing_to_report(job):
    lost = threading.Event()
    workflows = {"one": lambda params: lost.set(), "two": pytest.fail}
    assert job(TWO, workflows=workflows, lost=lost.is_set) == Lost()
    lost.clear()
    assert job("workflow:one", workflows=workflows, lost=lost.is_set) == Lost()


@pytest.mark.promise("D5")
def test_a_job_goes_on_where_its_last_attempt_stopped(job):
    kept = {}
    workflow, _ = failing(1)
    first = job(TWO, workflows=give(one={"x": 1}) | {"two": workflow}, record=kept.__setitem__)
    second = job(TWO, workflows={"one": pytest.fail, "two": workflow}, done=kept, record=kept.__setitem__)
    assert isinstance(first, Retry)
    assert isinstance(second, Done)
    assert kept == {"a": {"x": 1}}
    assert second.result["task_outputs"] == {"a": {"x": 1}, "b": {"calls": 2}}


def test_a_jobs_time_limit_is_its_deadline(job):
    clock, seen = FakeClock(1_000.0), []
    workflows = {"one": lambda params: seen.append(current().deadline), "two": lambda params: {}}
    job("workflow:one", workflows=workflows, clock=clock, fields={"timeout_s": 60.0})
    job("workflow:one", workflows=workflows, clock=clock, fields={"timeout_s": 60.0}, deadline=1_010.0)
    job(TWO, workflows=workflows, clock=clock, fields={"timeout_s": 60.0})
    assert seen == [1_060.0, 1_010.0, 1_060.0]


def test_finished_work_does_not_fail_because_its_outputs_together_are_too_big(job):
    text = "name: d\ntasks:\n" + "".join(f"- {{id: t{n}, workflow_ref: w{n}}}\n" for n in range(4))
    workflows = {f"w{n}": lambda params, n=n: {"x": "é" * (n * 100_000)} for n in range(4)}
    outcome = job(text, workflows=workflows)
    assert isinstance(outcome, Done)
    assert list(outcome.result["task_outputs"]) == ["t0", "t1", "t2"]
    assert outcome.result["outputs_omitted"] == 1
    made = Job.new("x")
    made.result = outcome.result
    made.check()


def test_a_result_of_very_many_small_outputs_fits_too():
    outputs = {f"task-{n:060}": {} for n in range(20_000)}
    fitted = runner._fitted({"dag_name": "d", "task_outputs": outputs})
    made = Job.new("x")
    made.result = fitted
    made.check()
    assert fitted["outputs_omitted"] + len(fitted["task_outputs"]) == 20_000


def test_a_job_is_run_with_the_map_and_the_folder_of_the_environment(tmp_path, monkeypatch, log):
    monkeypatch.setenv("ORCH_DAG_ROOT", str(tmp_path))
    monkeypatch.setenv("ORCH_EVENTS_PATH", str(log))
    (tmp_path / "dag.yaml").write_text("name: d\ntasks: [{id: a, workflow_ref: noop}]\n")
    assert isinstance(run_job(Job.new("dag.yaml")), Done)
    assert log.exists()
