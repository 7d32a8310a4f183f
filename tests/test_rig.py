"""The judge of a run of real workers, and the processes it watches."""

import json
import signal
import subprocess
import sys

import pytest

from orch import Job, JobStatus, SqliteQueue
from orch.clock import iso
from orch.demo import MARK, Plan, fresh_folder
from orch.errors import InvalidInput
from orch.page import Kill, Run, Sample
from orch.rig import Fleet, judge, read_runs, watch

A, B = Job.new("d.yaml", id="a"), Job.new("d.yaml", id="b")
RUNS = (
    Run("a", 1, "w-1", 0.0, 1.0, "killed"),
    Run("b", 1, "w-2", 0.0, 2.0, "success"),
    Run("a", 2, "w-2", 3.2, 4.0, "success"),
)
KILLS = (Kill(1.0, "w-1", ("a",)),)


def final(job, **changes):
    twin = job.copy()
    for name, value in {"status": JobStatus.SUCCESS, "attempts": 1, **changes}.items():
        setattr(twin, name, value)
    return twin


def verdict(found=None, runs=RUNS, kills=KILLS, events=()):
    found = {"a": final(A, attempts=2), "b": final(B)} if found is None else found
    return judge([A, B], found, runs, kills, events, lease_s=2.0, max_crashes=3)


def broken(judgement):
    return [finding.promise.split()[0] for finding in judgement.findings if not finding.held]


def test_a_sane_run_keeps_every_promise():
    judgement = verdict()
    assert judgement.good
    assert (judgement.enqueued, judgement.finished, judgement.redelivered) == (2, 2, 1)
    assert judgement.recoveries_s == pytest.approx((2.2,))


@pytest.mark.parametrize(
    ("promise", "changes"),
    [
        ("Q1", {"found": {"a": final(A)}}),
        ("Q1", {"found": {"a": final(A), "b": final(B), "c": final(B)}}),
        ("Q1", {"found": {"a": final(A), "b": final(B, status=JobStatus.RUNNING)}}),
        ("Q4", {"runs": (*RUNS, Run("b", 2, "w-1", 1.9, 2.5, "success"))}),
        ("Q4", {"runs": (*RUNS[:1], Run("b", 1, "w-2", 0.0, None, "running"), Run("b", 2, "w-2", 9, 10, "success"))}),
        ("Q5", {"runs": (*RUNS[:2], Run("a", 2, "w-2", 6.1, 7.0, "success"))}),
        ("Q5", {"runs": RUNS[:2]}),
        ("Q6", {"found": {"a": final(A, attempts=5), "b": final(B)}}),
        ("W1", {"found": {"a": final(A, status=JobStatus.FAILED), "b": final(B)}}),
        (
            "D5",
            {
                "events": [
                    {"event": "dag_start", "job": "a", "task_count": 2},
                    {"event": "task_ok", "job": "a", "task_id": "t"},
                    {"event": "task_start", "job": "a", "task_id": "t"},
                ]
            },
        ),
    ],
)
def test_each_broken_promise_is_found_by_its_name(promise, changes):
    assert promise in broken(verdict(**changes))


def test_the_last_task_may_run_again_because_its_output_goes_out_with_the_report():
    events = [
        {"event": "dag_start", "job": "a", "task_count": 1},
        {"event": "task_ok", "job": "a", "task_id": "t"},
        {"event": "task_start", "job": "a", "task_id": "t"},
    ]
    assert verdict(events=events).good


def test_runs_are_read_from_the_state_log_and_a_run_without_an_end_was_killed(tmp_path):
    def line(kind, run, at_s, **more):
        return json.dumps({"event": kind, "run": run, "timestamp": iso(1_000_000 * 100 + int(at_s * 1e6)), **more})

    log = tmp_path / "state.jsonl"
    log.write_text(
        "\n".join(
            [
                line("run_started", "a#1", 1.0, worker="w-1"),
                line("run_started", "b#1", 1.0, worker="w-2"),
                line("run_finished", "b#1", 3.5, worker="w-2", status="success", duration_seconds=2.0),
                line("run_started", "a#2", 4.0, worker="w-1"),
            ]
        )
        + "\n"
    )
    runs = read_runs(log, (Kill(0.5, "w-1", ()), Kill(2.0, "w-1", ("a",))), 100_000_000)
    assert runs == (
        Run("a", 1, "w-1", 1.0, 2.0, "killed"),
        Run("b", 1, "w-2", 1.0, 3.0, "success"),
        Run("a", 2, "w-1", 4.0, None, "running"),
    )


def test_watching_ends_with_the_last_job_or_with_the_time(tmp_path):
    queue = SqliteQueue(str(tmp_path / "q.db"))
    queue.enqueue(A)
    assert [sample.pending for sample in watch(queue, total=1, seconds=0.0)] == [1]
    queue.update_status("a", JobStatus.SUCCESS)
    samples = list(watch(queue, total=1, seconds=60.0))
    assert len(samples) == 1
    assert samples[0] == Sample(samples[0].at_s, 0, 0, 1, 0)
    queue.close()


@pytest.mark.real
def test_a_fleet_ends_every_process_it_started(tmp_path):
    url = f"sqlite:///{tmp_path / 'q.db'}"
    with Fleet(url, tmp_path, lease_s=2.0, dag_root=tmp_path) as fleet:
        fleet.start("w-1")
        fleet.start("w-2")
        fleet.kill("w-2")
        assert fleet.dead() == ["w-2"]
        processes = list(fleet.processes.values())
    assert all(process.returncode is not None for process in processes)


def test_a_demo_replaces_only_what_a_demo_made(tmp_path):
    mine = fresh_folder(tmp_path / "demo")
    (mine / "index.html").touch()
    assert list(fresh_folder(mine).iterdir()) == [mine / MARK]
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "dear.txt").touch()
    with pytest.raises(InvalidInput, match="another folder"):
        fresh_folder(tmp_path / "letters")
    assert (tmp_path / "letters" / "dear.txt").exists()


@pytest.mark.parametrize("numbers", [{"jobs": 0}, {"workers": 0}, {"kills": -1}, {"lease_s": 0}, {"limit_s": 0}])
@pytest.mark.promise("Q12")
def test_a_plan_refuses_numbers_that_make_no_run(numbers):
    with pytest.raises(InvalidInput):
        Plan(**numbers)


@pytest.mark.real
@pytest.mark.promise("Q1", "Q5", "W1", "D5")
def test_the_demo_kills_a_worker_keeps_every_promise_and_shows_it(tmp_path):
    command = [
        sys.executable,
        "-m",
        "orch",
        "demo",
        "--jobs",
        "9",
        "--seed",
        "3",
        "--json",
        "--out",
        str(tmp_path / "d"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    outcome = json.loads(done.stdout)
    assert outcome["good"]
    assert (outcome["enqueued"], outcome["finished"], outcome["kills"]) == (9, 9, 1)
    assert "done" in done.stderr
    page = (tmp_path / "d" / "index.html").read_text()
    assert "Every promise was kept." in page
    assert "kill -9" in page


@pytest.mark.real
@pytest.mark.promise("Q15")
def test_the_demo_refuses_a_queue_in_memory(tmp_path):
    command = [sys.executable, "-m", "orch", "demo", "--url", "memory://", "--out", str(tmp_path / "d")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert done.returncode == 2
    assert "memory://" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.real
def test_an_interrupted_demo_leaves_no_worker_behind(tmp_path):
    command = [sys.executable, "-m", "orch", "demo", "--jobs", "90", "--kills", "0", "--out", str(tmp_path / "d")]
    demo = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=tmp_path)
    assert "starting 3 workers" in demo.stderr.readline()
    demo.stderr.readline()
    demo.send_signal(signal.SIGTERM)
    demo.communicate(timeout=60)
    assert demo.returncode == 130
    left = subprocess.run(["pgrep", "-f", str(tmp_path / "d" / "queue.db")], capture_output=True, text=True)
    assert left.stdout == ""
