"""The command line: what it prints, what it changes, and its exit codes."""

import argparse
import json
import os
import subprocess
import sys
import threading

import pytest

from orch import Job, JobStatus, open_queue
from orch.cli import commands, main, parser_for
from orch.job import WorkerInfo


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path}/q.db"


@pytest.fixture
def queue(url):
    queue = open_queue(url)
    yield queue
    queue.close()


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("QUEUE_BACKEND", "REDIS_URL", "ORCH_SQLITE_PATH", "ORCH_WORKFLOWS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def orch(url, capsys):
    """Run a command on the queue; answers (exit code, stdout, stderr)."""

    def run(*arguments, at=None):
        code = main([*arguments, "--url", url if at is None else at])
        out, err = capsys.readouterr()
        return code, out, err

    return run


def put(queue, name, **fields):
    queue.enqueue(Job.new(fields.pop("dag", "workflow:noop"), id=name, **fields))


def fail(queue, name, error="boom", **fields):
    put(queue, name, **fields)
    queue.update_status(name, JobStatus.FAILED, error=error)


# -- all commands --------------------------------------------------------------------------------------------------


def every_parser(parser, path=()):
    yield path, parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, inner in action.choices.items():
                yield from every_parser(inner, (*path, name))


EVERY = dict(every_parser(parser_for([])))


@pytest.mark.parametrize("path", EVERY, ids=" ".join)
def test_every_help_has_an_example(path):
    assert "example:\n  orch" in EVERY[path].format_help()


@pytest.mark.parametrize("name", commands())
def test_only_the_command_that_was_asked_for_is_loaded(name):
    assert [path for path in dict(every_parser(parser_for([name, "--x"]))) if len(path) == 1] == [(name,)]


@pytest.mark.parametrize(
    "arguments",
    [
        ("enqueue", "d.yaml"),
        ("queue", "stats"),
        ("queue", "list"),
        ("queue", "show", "x"),
        ("queue", "requeue", "x"),
        ("queue", "cancel", "x"),
        ("queue", "purge"),
        ("queue", "quarantined"),
        ("workers",),
        ("worker",),
    ],
)
@pytest.mark.promise("Q15")
def test_a_queue_in_memory_is_refused_with_its_reason(orch, arguments, monkeypatch):
    monkeypatch.setattr("orch.worker.command.prepare", lambda settings, level: None)
    code, out, err = orch(*arguments, at="memory://")
    assert (code, out) == (2, "")
    assert "lives in one process" in err
    assert err.count("\n") == 1


@pytest.mark.promise("Q15")
def test_a_store_that_cannot_be_reached_is_2_and_shows_no_password(orch):
    code, out, err = orch("queue", "stats", at="redis://me:s3cret@127.0.0.1:1/0")
    assert (code, out) == (2, "")
    assert err.startswith("orch: ")
    assert err.count("\n") == 1
    assert "s3cret" not in err


def test_an_unknown_backend_of_the_environment_is_named(monkeypatch, capsys):
    monkeypatch.setenv("QUEUE_BACKEND", "sqs")
    assert main(["queue", "stats"]) == 2
    assert capsys.readouterr().err == "orch: QUEUE_BACKEND must be one of memory, sqlite, redis, got 'sqs'\n"


def test_the_url_beats_the_environment(orch, queue, monkeypatch):
    monkeypatch.setenv("QUEUE_BACKEND", "redis")
    put(queue, "j")
    assert json.loads(orch("queue", "stats", "--json")[1])["ready"] == 1


def test_without_a_command_the_usage_is_shown(capsys):
    with pytest.raises(SystemExit) as ended:
        main([])
    assert ended.value.code == 2
    assert "usage: orch" in capsys.readouterr().err


def test_ctrl_c_ends_a_command_with_130(orch, queue, monkeypatch):
    def interrupted(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr("orch.cli.queue.print_table", interrupted)
    assert orch("queue", "list")[0] == 130


def test_a_reader_that_has_seen_enough_is_no_error(url, queue, tmp_path):
    queue.enqueue_many([Job.new("workflow:noop") for _ in range(2000)])
    command = f"'{sys.executable}' -m orch queue list --limit 2000 --url {url} | head -1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout.splitlines()[1:] == ["0"]
    assert done.stderr == ""


def test_an_ascii_terminal_gets_an_escape_instead_of_a_crash(url, queue, tmp_path):
    fail(queue, "é", error="✗")
    env = {**os.environ, "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-m", "orch", "queue", "list", "--url", url]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=env)
    assert done.returncode == 0
    assert "\\xe9" in done.stdout


# -- enqueue -------------------------------------------------------------------------------------------------------


def test_enqueue_stores_what_was_said(orch, queue):
    code, out, err = orch(
        "enqueue",
        "etl.yaml",
        *("--id", "j1", "--param", "day=monday", "--param", "n=3", "--param", 'deep={"a": [1, null]}', "--param", "e="),
        *("--priority", "5", "--max-retries", "2", "--timeout", "9.5", "--tenant", "acme"),
    )
    assert (code, out, err) == (0, "Enqueued job j1\n", "")
    job = queue.get_job("j1")
    assert job.params == {"day": "monday", "n": 3, "deep": {"a": [1, None]}, "e": ""}
    assert (job.dag_path, job.priority, job.max_retries, job.timeout_s, job.tenant_id) == (
        "etl.yaml",
        5,
        2,
        9.5,
        "acme",
    )


def test_a_delayed_job_is_not_ready(orch, queue):
    orch("enqueue", "etl.yaml", "--id", "j1", "--delay", "3600")
    assert queue.dequeue("w") is None
    assert queue.get_job("j1").not_before is not None


@pytest.mark.promise("Q3")
def test_a_known_id_changes_nothing_and_is_said(orch, queue):
    put(queue, "j1", params={"first": True})
    assert orch("enqueue", "other.yaml", "--id", "j1")[:2] == (0, "Job j1 is known already; nothing changed\n")
    assert queue.get_job("j1").params == {"first": True}


def test_enqueue_prints_json(orch):
    assert json.loads(orch("enqueue", "etl.yaml", "--id", "j1", "--json")[1]) == {"id": "j1", "new": True}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--param", "novalue"], "--param must be K=V, got 'novalue'"),
        (["--param", "=1"], "--param must be K=V, got '=1'"),
        (["--param", "a=1", "--param", "a=2"], "--param 'a' is given twice"),
        (["--param", "a=NaN"], "no nan"),
        (["--priority", "1001"], "priority must be between -1000 and 1000, got 1001"),
        (["--delay", "-1"], "--delay must be 0 or more"),
        (["--timeout", "0"], "timeout_s must be more than 0"),
        (["--id", "a\nb"], "job id must be 1 to 200 printable characters"),
        (["--max-retries", "-1"], "max_retries must be between 0"),
        (["--tenant", ""], "tenant_id must be 1 to 200 characters"),
    ],
)
@pytest.mark.promise("Q12")
def test_bad_values_are_refused_and_nothing_is_enqueued(orch, queue, arguments, said):
    code, out, err = orch("enqueue", "etl.yaml", *arguments)
    assert (code, out) == (2, "")
    assert said in err
    assert queue.count() == 0


def ends(queue, name, status, **fields):
    """Finish a job in the background, as soon as it is there."""

    def work():
        while (job := queue.dequeue("w", wait_s=1.0)) is None:
            pass
        queue.update_status(job.id, status, lease=job.lease, **fields)

    thread = threading.Thread(target=work)
    thread.start()
    return thread


@pytest.mark.parametrize(
    ("status", "fields", "code", "line"),
    [
        (JobStatus.SUCCESS, {"result": {"n": 1}}, 0, "✓ Job j1 succeeded"),
        (JobStatus.FAILED, {"error": "boom"}, 1, "✗ Job j1 failed: boom"),
    ],
)
def test_enqueue_can_wait_for_the_end(orch, queue, status, fields, code, line):
    thread = ends(queue, "j1", status, **fields)
    answer = orch("enqueue", "etl.yaml", "--id", "j1", "--wait")
    thread.join()
    assert answer == (code, f"Enqueued job j1\n{line}\n", "")


def test_waiting_prints_the_whole_job_as_json(orch, queue):
    thread = ends(queue, "j1", JobStatus.SUCCESS, result={"n": 1})
    code, out, _ = orch("enqueue", "etl.yaml", "--id", "j1", "--wait", "--json")
    thread.join()
    assert code == 0
    assert json.loads(out)["result"] == {"n": 1}


def test_a_job_that_was_purged_meanwhile_cannot_be_waited_for(orch, queue, monkeypatch):
    monkeypatch.setattr(type(queue), "get_job", lambda self, job_id: None)
    code, _, err = orch("enqueue", "etl.yaml", "--id", "j1", "--wait")
    assert code == 2
    assert "was purged before its end was seen" in err


# -- queue: looking ------------------------------------------------------------------------------------------------


def test_stats_count_every_state(orch, queue):
    put(queue, "ready")
    put(queue, "later", not_before="2100-01-01T00:00:00Z")
    fail(queue, "bad")
    code, out, _ = orch("queue", "stats")
    rows = dict(line.split() for line in out.splitlines()[1:8])
    assert code == 0
    assert rows == {
        "pending": "2",
        "running": "0",
        "success": "0",
        "failed": "1",
        "ready": "1",
        "delayed": "1",
        "quarantined": "0",
    }
    assert out.splitlines()[8].startswith("the next ready job has waited for ")


def test_stats_of_an_empty_queue(orch):
    assert orch("queue", "stats")[1].endswith("no job is ready\n")


def test_stats_as_json(orch, queue):
    put(queue, "a")
    stats = json.loads(orch("queue", "stats", "--json")[1])
    assert stats["counts"] == {"pending": 1, "running": 0, "success": 0, "failed": 0}
    assert stats["oldest_ready_age_s"] >= 0


def test_list_shows_the_newest_first_and_can_be_narrowed(orch, queue):
    for name in ("a", "b"):
        put(queue, name)
    fail(queue, "c", error="line one\nline two" + "x" * 100)
    code, out, _ = orch("queue", "list", "--limit", "2")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == ["ID", "c", "b"]
    assert out.splitlines()[1].endswith("…")
    assert [job["id"] for job in json.loads(orch("queue", "list", "--status", "PENDING", "--json")[1])] == ["b", "a"]


def test_an_unknown_status_is_refused(orch):
    code, _, err = orch("queue", "list", "--status", "done")
    assert code == 2
    assert "got 'done'" in err


def test_show_tells_everything_about_a_job(orch, queue):
    put(queue, "j1", params={"n": 1})
    lease = queue.dequeue("w7").lease
    queue.record_progress(lease, "extract", {"rows": 3})
    job = json.loads(orch("queue", "show", "j1", "--json")[1])
    assert (job["params"], job["status"], job["recorded_tasks"]) == ({"n": 1}, "running", ["extract"])
    assert (job["lease"]["worker_id"], job["lease"]["token"]) == ("w7", lease.token)
    lines = orch("queue", "show", "j1")[1].splitlines()
    assert "finished_at     -" in lines


def test_show_of_an_unknown_job_is_bad_input(orch):
    code, out, err = orch("queue", "show", "nope")
    assert (code, out) == (2, "")
    assert err == "orch: no job 'nope' in this queue; `orch queue list` shows what is there\n"


@pytest.mark.promise("Q13")
def test_quarantined_records_are_listed_with_their_reason(orch, queue):
    put(queue, "bad")
    queue.plant_record("bad", b'{"v": 99}')
    assert queue.dequeue("w") is None
    code, out, _ = orch("queue", "quarantined")
    assert code == 0
    assert out.splitlines()[1].split()[:2] == ["bad", "9"]
    found = json.loads(orch("queue", "quarantined", "--json")[1])
    assert (found[0]["job_id"], found[0]["raw"]) == ("bad", '{"v": 99}')
    assert orch("queue", "show", "bad")[0] == 2


# -- queue: changing -----------------------------------------------------------------------------------------------


def test_requeue_revives_failed_jobs(orch, queue):
    fail(queue, "a")
    fail(queue, "b")
    assert orch("queue", "requeue", "a", "b") == (0, "Requeued a\nRequeued b\n", "")
    assert queue.count(JobStatus.PENDING) == 2


def test_requeue_of_what_cannot_be_is_2_and_does_not_keep_the_others(orch, queue):
    fail(queue, "a")
    put(queue, "done")
    queue.update_status("done", JobStatus.SUCCESS)
    code, out, err = orch("queue", "requeue", "nope", "done", "a")
    assert (code, out) == (2, "Requeued a\n")
    assert [line.split(":")[0] for line in err.splitlines()] == ["orch", "orch"]
    assert "only a failed job can be requeued" in err


def test_requeue_all_keeps_to_its_filters(orch, queue):
    fail(queue, "a", error="timed out after 5 s", dag="etl.yaml", tenant_id="acme")
    fail(queue, "b", error="timed out after 5 s", dag="etl.yaml")
    fail(queue, "c", error="boom", dag="etl.yaml", tenant_id="acme")
    fail(queue, "d", error="timed out", dag="other.yaml", tenant_id="acme")
    filters = ("--dag", "etl.yaml", "--tenant", "acme", "--error-contains", "timed out")
    assert orch("queue", "requeue", "--all", *filters)[:2] == (0, "Requeued a\n")
    answer = json.loads(orch("queue", "requeue", "--all", "--json")[1])
    assert answer == {"done": ["b", "c", "d"], "refused": {}}
    assert orch("queue", "requeue", "--all")[:2] == (0, "No failed job matches\n")


@pytest.mark.parametrize("arguments", [[], ["a", "--all"], ["a", "--dag", "x"], ["--tenant", "x"]])
def test_requeue_wants_ids_or_all(orch, arguments):
    code, _, err = orch("queue", "requeue", *arguments)
    assert code == 2
    assert "requeue takes ids, or --all" in err


def test_cancel_makes_jobs_failed(orch, queue):
    put(queue, "a")
    put(queue, "b")
    queue.dequeue("w")
    assert orch("queue", "cancel", "a", "b")[:2] == (0, "Cancelled a\nCancelled b\n")
    assert {queue.get_job(name).error for name in "ab"} == {"cancelled"}


def test_cancel_of_a_finished_job_is_refused(orch, queue):
    put(queue, "a")
    queue.update_status("a", JobStatus.SUCCESS)
    code, out, _ = orch("queue", "cancel", "a", "--json")
    assert code == 2
    assert list(json.loads(out)["refused"]) == ["a"]


@pytest.mark.promise("S1")
def test_purge_refuses_what_a_scheduler_may_look_back_at(orch, queue):
    fail(queue, "a")
    code, out, err = orch("queue", "purge", "--older-than-hours", "0.5")
    assert (code, out) == (2, "")
    assert "a scheduler looks back 1 h" in err
    assert "--force" in err
    assert queue.count() == 1


@pytest.mark.promise("S1")
def test_purge_knows_how_far_the_schedules_look_back(orch, tmp_path):
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "a.yaml").write_text("id: a\ncron: '0 * * * *'\ndag: d.yaml\nmisfire_grace_s: 90000\n")
    code, _, err = orch("queue", "purge", "--older-than-hours", "24", "--schedules", "s")
    assert code == 2
    assert "a scheduler looks back 25 h" in err
    assert orch("queue", "purge", "--older-than-hours", "25", "--schedules", "s")[0] == 0


def test_purge_with_force_forgets_finished_jobs(orch, queue):
    fail(queue, "a")
    put(queue, "b")
    assert orch("queue", "purge", "--older-than-hours", "0", "--force")[:2] == (0, "Purged 1 job(s)\n")
    assert orch("queue", "purge", "--older-than-hours", "0", "--force", "--json")[1] == '{\n  "purged": 0\n}\n'
    assert queue.count() == 1


def test_negative_hours_are_refused(orch):
    assert orch("queue", "purge", "--older-than-hours", "-1")[0] == 2


# -- workers -------------------------------------------------------------------------------------------------------


@pytest.mark.promise("W8")
def test_workers_are_listed_with_what_they_hold(orch, queue):
    put(queue, "a")
    queue.dequeue("w1")
    queue.announce(WorkerInfo("w1", "box", 42, "2026-11-24T10:00:00Z", done=7, failed=2, slots=4, blocked=1))
    code, out, _ = orch("workers")
    assert code == 0
    row = out.splitlines()[1].split()
    assert row[:3] + row[5:] == ["w1", "box", "42", "4", "1", "7", "2", "a"]
    found = json.loads(orch("workers", "--json")[1])
    assert (found[0]["id"], found[0]["jobs"], found[0]["pid"]) == ("w1", ["a"], 42)


# -- dag -----------------------------------------------------------------------------------------------------------

GOOD = """\
name: pair
tenant_id: acme
tasks:
  - {id: one, workflow_ref: echo, params: {summary: hello}}
  - {id: two, workflow_ref: noop, depends_on: [one]}
"""
RULE = "=" * 60


@pytest.fixture
def dag(tmp_path):
    path = tmp_path / "pair.yaml"
    path.write_text(GOOD)
    return path


def test_a_plan_is_printed_as_in_the_seed(orch, dag):
    code, out, _ = orch("dag", "plan", str(dag))
    assert code == 0
    assert out.splitlines() == [
        RULE,
        "DRY RUN: DAG 'pair'",
        RULE,
        "Tenant: acme",
        "Tasks: 2",
        "",
        "Execution Plan:",
        "  1. one (workflow: echo, depends_on: none)",
        "  2. two (workflow: noop, depends_on: one)",
        RULE,
        "",
        "Dry run complete. 2 tasks would execute.",
    ]


def test_a_plan_as_json(orch, dag):
    plan = json.loads(orch("dag", "plan", str(dag), "--json")[1])
    assert plan["tasks"][1] == {"id": "two", "workflow": "noop", "depends_on": ["one"]}


def test_a_run_is_printed_as_in_the_seed(orch, dag):
    code, out, _ = orch("dag", "run", str(dag))
    lines = out.splitlines()
    assert code == 0
    assert lines[:7] == ["", RULE, "DAG EXECUTION COMPLETE", RULE, "DAG: pair", "Tasks Succeeded: 2", "Tasks Failed: 0"]
    assert lines[7].startswith("Duration: ")
    assert lines[7].endswith("s")
    assert lines[8:] == [RULE, "", "Task Outputs:", "  one: hello", "  two: {}"]


def test_a_run_takes_params_and_gives_json(orch, dag):
    code, out, _ = orch("dag", "run", str(dag), "--param", "day=monday", "--json")
    assert code == 0
    assert json.loads(out)["task_outputs"]["one"]["day"] == "monday"


@pytest.mark.parametrize("what", ["plan", "run"])
@pytest.mark.promise("D2")
def test_a_dag_that_is_wrong_is_2_with_every_fault_and_nothing_runs(orch, tmp_path, what):
    tasks = "  - {id: a, workflow_ref: nope}\n  - {id: b, workflow_ref: zilch}\n"
    (tmp_path / "bad.yaml").write_text(f"name: x\ntasks:\n{tasks}")
    code, out, err = orch("dag", what, "bad.yaml")
    assert (code, out) == (2, "")
    assert err.startswith("Error loading DAG: ")
    assert "nope" in err
    assert "zilch" in err


def test_a_missing_file_is_named(orch):
    code, _, err = orch("dag", "run", "nope.yaml")
    assert code == 2
    assert "nope.yaml" in err


def test_a_run_that_fails_is_1_and_says_which_task(orch, tmp_path):
    (tmp_path / "f.yaml").write_text("name: f\ntasks:\n  - {id: a, workflow_ref: fail}\n")
    code, out, err = orch("dag", "run", "f.yaml")
    assert (code, err) == (1, "")
    assert out.startswith("\nError executing DAG: Task 'a' failed after 1 attempts: ")
    code, out, _ = orch("dag", "run", "f.yaml", "--json")
    assert code == 1
    assert "Task 'a' failed" in json.loads(out)["error"]


def test_workflows_of_the_current_folder_are_found(orch, tmp_path, monkeypatch):
    code = "from orch.workflows import register\n\n@register('of_the_cli_test')\ndef f(params):\n    "
    (tmp_path / "cli_flows.py").write_text(code + "return {'summary': 'mine'}\n")
    (tmp_path / "m.yaml").write_text("name: m\ntasks:\n  - {id: a, workflow_ref: of_the_cli_test}\n")
    monkeypatch.setenv("ORCH_WORKFLOWS", "cli_flows")
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path != str(tmp_path)])
    assert "  a: mine\n" in orch("dag", "run", "m.yaml")[1]
