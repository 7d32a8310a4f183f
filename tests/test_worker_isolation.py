"""What a worker and the processes of its jobs say to each other, and what happens when one of them is odd."""

import os
import signal
import socket
import struct
import threading

import pytest

from orch import Job, MemoryQueue
from orch.errors import InvalidInput, LeaseLost, NotSupported, OrchError
from orch.runner import Dead, Done, Lost, Retry
from orch.worker.attempt import Attempt
from orch.worker.isolation import Servers, _signal_name
from orch.worker.wire import FRAME_MAX, lease_fields, outcome_frame, outcome_of, raise_answer, receive, send


@pytest.fixture
def line():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


@pytest.fixture
def servers():
    servers = Servers()
    yield servers
    servers.close()


@pytest.fixture
def job():
    queue = MemoryQueue()
    queue.enqueue(Job.new("workflow:echo", id="j", params={"n": 1}))
    yield queue.dequeue("w")
    queue.close()


def refused(task_id, output):
    raise AssertionError("nothing is recorded here")


# -- frames --------------------------------------------------------------------------------------------------------


def test_frames_arrive_whole_and_in_order(line):
    ours, theirs = line
    frames = [{"n": 1}, {"text": "é" * 200_000}, {}]

    def talk():
        for frame in frames:
            send(theirs, frame)
        theirs.shutdown(socket.SHUT_WR)

    thread = threading.Thread(target=talk)
    thread.start()
    assert list(receive(ours)) == frames
    thread.join()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0\0",
        struct.pack("!I", 10) + b"short",
        struct.pack("!I", 4) + b"\xff\xff\xff\xff",
        struct.pack("!I", FRAME_MAX + 1) + b"x",
    ],
)
def test_what_is_no_whole_frame_ends_the_talk(line, data):
    ours, theirs = line
    theirs.sendall(data)
    theirs.shutdown(socket.SHUT_WR)
    assert list(receive(ours)) == []


def test_a_connection_that_broke_ends_the_talk(line):
    ours, theirs = line
    ours.sendall(b"unread")
    theirs.close()  # with unread data: the other side sees a reset
    assert list(receive(ours)) == []


@pytest.mark.parametrize("outcome", [Done({"a": [1]}), Retry("boom"), Dead("bad"), Lost()])
def test_an_outcome_survives_the_way(outcome):
    assert outcome_of(outcome_frame(outcome)) == outcome


@pytest.mark.parametrize("frame", [{}, {"outcome": "dance"}, {"outcome": "retry", "error": 7}])
def test_what_is_no_outcome_is_a_failed_attempt(frame):
    assert outcome_of(frame) == Retry("the process of the job answered with what is no outcome")


def test_a_job_without_a_lease_has_none_over_there():
    assert lease_fields(None) is None


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (None, LeaseLost),
        ({"error": "LeaseLost", "text": "gone"}, LeaseLost),
        ({"error": "InvalidInput", "text": "too big"}, InvalidInput),
        ({"error": "SomethingNew", "text": "?"}, OrchError),
    ],
)
def test_what_recording_raised_is_raised_in_the_job(answer, error):
    with pytest.raises(error):
        raise_answer(answer)
    raise_answer({})


def test_a_signal_without_a_name_is_numbered():
    assert _signal_name(signal.SIGKILL) == "SIGKILL"
    assert _signal_name(signal.SIGRTMIN + 3) == f"signal {signal.SIGRTMIN + 3}"


# -- servers -------------------------------------------------------------------------------------------------------


@pytest.mark.real
def test_a_job_runs_in_another_process(servers, job):
    assert servers.run(job, Attempt(1, job), record=refused, done={}) == Done({"n": 1})


@pytest.mark.real
def test_one_server_runs_one_job_after_the_other(servers, job):
    servers.warm(1)
    server = servers._idle[0]
    for number in range(3):
        servers.run(job, Attempt(number, job), record=refused, done={})
    assert servers._idle == [server]


@pytest.mark.real
def test_what_was_abandoned_before_is_not_started(servers, job):
    attempt = Attempt(1, job)
    attempt.abandon()
    assert servers.run(job, attempt, record=refused, done={}) == Lost()


@pytest.mark.real
def test_a_server_that_cannot_be_started_is_a_failed_attempt(servers, job, monkeypatch):
    monkeypatch.setattr("orch.worker.isolation.sys.executable", "/bin/true")
    outcome = servers.run(job, Attempt(1, job), record=refused, done={})
    assert isinstance(outcome, Retry)
    assert servers._idle == []


@pytest.mark.real
def test_the_log_of_a_job_is_that_of_its_worker(job, capfd):
    servers = Servers(log_level="DEBUG")
    job.dag_path = "workflow:fail"
    assert servers.run(job, Attempt(1, job), record=refused, done={}) == Retry("RuntimeError: failed, as asked")
    servers.close()
    assert "DEBUG orch.runner" in capfd.readouterr().err


def test_a_system_without_fork_is_told_what_it_has(monkeypatch):
    monkeypatch.delattr(os, "waitid")
    with pytest.raises(NotSupported, match="--isolate thread only"):
        Servers()
