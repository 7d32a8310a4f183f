"""`orch check`: a recorded history in, a verdict and an exit code out."""

import json

import pytest

from orch import Job, JobStatus, MemoryQueue
from orch.cli import main
from orch.history import History, Op, Outcome, RecordingQueue
from orch.testing import FakeClock


@pytest.fixture
def recorded(tmp_path):
    """The history of a job that was done, and its file."""
    path = tmp_path / "history.jsonl"
    queue = RecordingQueue(MemoryQueue(clock=FakeClock()), client="a", path=path)
    queue.enqueue(Job.new("workflow:noop", id="one"))
    job = queue.dequeue("w")
    queue.update_status("one", JobStatus.SUCCESS, lease=job.lease)
    queue.dequeue("w")
    queue.close()
    return path


def stack(path):
    """The history of a queue that delivers the newest first, in a file."""
    verbs = [("enqueue", "one"), ("enqueue", "two"), ("dequeue", "two"), ("dequeue", "one")]
    ops = [
        Op("a", verb, job, {}, 10 * at, 10 * at + 5, Outcome.OK, True, *((1, at) if verb == "dequeue" else ()))
        for at, (verb, job) in enumerate(verbs)
    ]
    History(ops).write(path)
    return path


def test_a_good_history_exits_zero_and_names_the_level(recorded, capsys):
    assert main(["check", str(recorded)]) == 0
    assert capsys.readouterr().out.startswith("valid; L4 held; 4 operations")


@pytest.mark.promise("Q2")
def test_a_broken_promise_exits_one_and_shows_the_witness(tmp_path, capsys):
    assert main(["check", str(stack(tmp_path / "h.jsonl"))]) == 1
    said = capsys.readouterr().out
    assert "Q2 order" in said
    assert "* a  dequeue -> two" in said
    assert "invalid; L2 held" in said


def test_a_queue_that_promises_less_is_held_to_that(tmp_path):
    assert main(["check", str(stack(tmp_path / "h.jsonl")), "--level", "L2"]) == 0


def test_the_verdict_is_json_with_every_field_of_the_contract(tmp_path, capsys):
    assert main(["check", str(stack(tmp_path / "h.jsonl")), "--json"]) == 1
    verdict = json.loads(capsys.readouterr().out)
    assert (verdict["valid"], verdict["level"]) == (False, "L2")
    assert set(verdict["violations"][0]) == {"promise", "rule", "message", "operations", "prefix"}
    assert {"acknowledged", "delivered", "settled", "lost", "unexpected", "duplicates", "unlicensed"} <= set(
        verdict["counts"]
    )


def test_files_of_several_processes_are_one_history(tmp_path):
    ops = History.read(stack(tmp_path / "h.jsonl"))
    History(ops[:2]).write(tmp_path / "producer.jsonl")
    History(ops[2:]).write(tmp_path / "worker.jsonl")
    assert main(["check", str(tmp_path / "worker.jsonl"), str(tmp_path / "producer.jsonl")]) == 1


@pytest.mark.promise("Q12")
def test_a_file_that_is_not_there_is_bad_input(tmp_path, capsys):
    assert main(["check", str(tmp_path / "none.jsonl")]) == 2
    assert "none.jsonl: No such file" in capsys.readouterr().err


@pytest.mark.promise("Q12")
def test_a_lease_that_makes_no_sense_is_bad_input(recorded, capsys):
    assert main(["check", str(recorded), "--lease", "-1"]) == 2
    assert "-1" in capsys.readouterr().err


def test_a_history_with_missing_lines_is_never_called_broken(tmp_path, capsys):
    path = stack(tmp_path / "h.jsonl")
    path.write_text("not JSON\n" + path.read_text())
    assert main(["check", str(path)]) == 2
    said = capsys.readouterr().out
    assert "h.jsonl:1: " in said
    assert "unknown" in said


def test_an_empty_history_shows_nothing(tmp_path):
    (tmp_path / "h.jsonl").touch()
    assert main(["check", str(tmp_path / "h.jsonl")]) == 2


def test_leases_can_be_left_out_of_the_judgement(tmp_path):
    ops = [
        Op("a", "enqueue", "one", {"max_retries": 0}, 0, 1, Outcome.OK, True),
        Op("a", "dequeue", "one", {}, 2, 3, Outcome.OK, None, 1),
        Op("b", "dequeue", "one", {}, 4, 5, Outcome.OK, None, 2),
    ]
    History(ops).write(tmp_path / "h.jsonl")
    assert main(["check", str(tmp_path / "h.jsonl")]) == 1
    assert main(["check", str(tmp_path / "h.jsonl"), "--no-lease", "--tail", "--unbounded"]) == 0
