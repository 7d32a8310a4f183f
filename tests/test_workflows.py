"""The registry, the context of a run, and the workflows that are shipped."""

import contextvars
import json
import signal
import subprocess
import sys
import textwrap

import pytest

from orch import workflows
from orch.errors import InvalidInput
from orch.workflows import CONTEXT, WORKFLOW_MAP, Context, current, load_workflows, register

SEED = ("inbox_drive_sweep", "weekly_report_pack", "meeting_transcript_brief")


@pytest.fixture(autouse=True)
def registry():
    """What a test registers is forgotten."""
    before = dict(WORKFLOW_MAP)
    yield WORKFLOW_MAP
    WORKFLOW_MAP.clear()
    WORKFLOW_MAP.update(before)


def within(context, call):
    """Call in a context of its own."""

    def run():
        CONTEXT.set(context)
        return call()

    return contextvars.copy_context().run(run)


# -- registry ----------------------------------------------------------------------------------------------------


def test_a_registered_function_is_known_by_its_name(registry):
    @register("mine")
    def mine(params):
        return params

    assert registry["mine"] is mine
    assert mine({"a": 1}) == {"a": 1}


def test_a_name_that_another_function_has_is_refused(registry):
    known = registry["noop"]
    with pytest.raises(InvalidInput, match=r"'noop' is orch\.workflows\.noop already"):
        register("noop")(lambda params: {})
    assert registry["noop"] is known


def test_the_same_function_defined_again_takes_its_place(registry):
    def define():
        @register("mine")
        def mine(params):
            return {}

        return mine

    first, second = define(), define()
    assert first is not second
    assert registry["mine"] is second


@pytest.mark.parametrize("name", ["", 5, "x" * 201])
def test_a_name_that_is_none_is_refused(name):
    with pytest.raises(InvalidInput, match="workflow name"):
        register(name)


def test_the_map_is_a_plain_dict():
    assert type(WORKFLOW_MAP) is dict


# -- modules of the environment ----------------------------------------------------------------------------------


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Writes a module that can be imported."""
    monkeypatch.syspath_prepend(str(tmp_path))
    written = []

    def write(name, text):
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(text))
        written.append(name)

    yield write
    for name in written:
        sys.modules.pop(name, None)


def test_modules_are_imported_and_register(module, registry, monkeypatch):
    module("orch_test_a", "from orch.workflows import register\n@register('from_a')\ndef f(params): return {}\n")
    module("orch_test_b", "from orch.workflows import WORKFLOW_MAP\nWORKFLOW_MAP['from_b'] = dict\n")
    assert load_workflows(" orch_test_a, ,orch_test_b ,") == ("orch_test_a", "orch_test_b")
    assert {"from_a", "from_b"} <= set(registry)
    monkeypatch.setenv("ORCH_WORKFLOWS", "orch_test_a")
    assert load_workflows() == ("orch_test_a",)
    assert load_workflows(("orch_test_b",)) == ("orch_test_b",)


def test_without_the_variable_nothing_is_imported(monkeypatch):
    monkeypatch.delenv("ORCH_WORKFLOWS", raising=False)
    assert load_workflows() == ()


@pytest.mark.parametrize("text", ["raise RuntimeError('boom')", "raise SystemExit(3)", "import nowhere_at_all", "("])
def test_a_module_that_cannot_be_imported_is_an_error_that_names_it(module, text):
    module("orch_test_bad", text)
    with pytest.raises(InvalidInput, match="cannot import the workflow module 'orch_test_bad'"):
        load_workflows("orch_test_bad")


def test_ctrl_c_during_an_import_is_not_an_error_of_the_module(module):
    module("orch_test_c", "raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        load_workflows("orch_test_c")


# -- context -----------------------------------------------------------------------------------------------------


def test_outside_of_a_run_the_context_is_empty():
    here = current()
    assert (here.job_id, here.run_id, here.task_id, here.tenant_id) == ("", "", "", "")
    assert (here.attempt, here.task_attempt, here.token, here.deadline) == (1, 1, None, None)
    assert here.lost() is False


def test_tries_count_deliveries_and_task_retries():
    assert [Context(attempt=a, task_attempt=t).tries for a, t in [(1, 1), (1, 3), (2, 1), (2, 2)]] == [1, 3, 2, 3]


# -- the seed's three --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SEED)
@pytest.mark.parametrize("params", [{}, {"week": "48", "inbox": "team", "limit": 3, "title": "T", "a__x": 1}])
def test_the_stand_ins_give_equal_json_with_a_summary_for_equal_params(name, params):
    result = WORKFLOW_MAP[name](dict(params))
    assert result == WORKFLOW_MAP[name](dict(params))
    assert json.loads(json.dumps(result)) == result
    assert result["summary"]


def test_the_sweep_counts_what_it_lists():
    result = workflows.inbox_drive_sweep({"inbox": "team", "limit": 25})
    assert len(result["items"]) == sum(result["counts"].values()) == 25
    assert result["summary"].startswith("Swept 25 items of team: ")
    assert result["items"] != workflows.inbox_drive_sweep({"inbox": "other", "limit": 25})["items"]


def test_the_sweep_refuses_a_limit_that_is_none():
    with pytest.raises(InvalidInput, match="limit must be a whole number, got 'many'"):
        workflows.inbox_drive_sweep({"limit": "many"})


def test_the_report_has_a_section_for_each_upstream_task():
    result = workflows.weekly_report_pack({"sweep__summary": "all quiet", "sweep__n": 1, "brief__n": 2})
    assert [section["title"] for section in result["sections"]] == ["sweep", "brief"]
    assert result["sections"][0]["text"] == "all quiet"


def test_the_brief_finds_speakers_actions_and_decisions():
    result = workflows.meeting_transcript_brief(
        {"title": "T", "transcript": "A: DECISION go\nB: action do it\n\nA: ok"}
    )
    assert result == {
        "speakers": {"A": 2, "B": 1},
        "actions": ["B: do it"],
        "decisions": ["go"],
        "summary": "T: 2 speakers, 1 decisions, 1 actions",
    }


# -- for scenarios -----------------------------------------------------------------------------------------------


def test_noop_and_echo():
    assert workflows.noop({"a": 1}) == {}
    assert workflows.echo({"a": 1}) == {"a": 1}


def test_sleep_sleeps_no_longer_than_it_is_told_and_says_so():
    assert workflows.sleep({"seconds": 0})["summary"] == "Slept 0 s"
    assert workflows.sleep({"seconds": 0.001})["seconds"] == 0.001
    with pytest.raises(InvalidInput, match="seconds must be 0 or more"):
        workflows.sleep({"seconds": -1})


def test_sleep_wakes_when_nobody_waits_for_it():
    with pytest.raises(TimeoutError, match="nobody waits"):
        within(Context(_lost=lambda: True), lambda: workflows.sleep({"seconds": 1_000}))


def test_fail_fails_with_its_message():
    with pytest.raises(RuntimeError, match=r"^no luck$"):
        workflows.fail({"message": "no luck"})
    with pytest.raises(RuntimeError, match="failed, as asked"):
        workflows.fail({})


def test_fail_n_times_fails_at_the_first_n_tries():
    for tries in (1, 2):
        with pytest.raises(RuntimeError, match=f"failed at try {tries}"):
            within(Context(attempt=tries), lambda: workflows.fail_n_times({"n": 2}))
    assert within(Context(attempt=3), lambda: workflows.fail_n_times({"n": 2}))["tries"] == 3
    assert within(Context(task_attempt=3), lambda: workflows.fail_n_times({"n": 2}))["tries"] == 3


def test_crash_does_not_kill_a_process_that_runs_no_job():
    with pytest.raises(RuntimeError, match="only inside a job"):
        workflows.crash({})
    assert workflows.crash({"n": 0})["deliveries"] == 1


def test_crash_lives_after_n_deliveries():
    assert within(Context(job_id="j", attempt=3), lambda: workflows.crash({"n": 2}))["deliveries"] == 3


@pytest.mark.real
def test_crash_kills_its_process_inside_a_job():
    code = "from orch.workflows import *; CONTEXT.set(Context(job_id='j')); crash({}); print('alive')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, b"")


def test_produce_makes_as_much_as_it_is_told():
    result = workflows.produce({"rows": 4, "bytes": 100})
    assert (result["count"], len(result["rows"]), len(result["blob"])) == (4, 4, 100)
    assert result["total"] == sum(row["value"] for row in result["rows"])
    assert "blob" not in workflows.produce({})
    assert workflows.produce({"rows": 4}) == workflows.produce({"rows": 4})
