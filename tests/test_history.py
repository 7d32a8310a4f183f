"""Histories: their lines and files, and the queue that writes them down without being noticed."""

import json
import os
import random
import subprocess
import sys
import threading
from dataclasses import fields

import pytest

from orch.backends.memory import MemoryQueue
from orch.checker import Monitor, Spec, check
from orch.errors import BackendUnavailable, InvalidInput, LeaseLost, NotSupported, OrchError, WriteRefused
from orch.history import BadLine, History, Op, Outcome, RecordingQueue, as_unknown, is_call, op_line
from orch.job import Job, JobStatus, Lease, Report, WorkerInfo
from orch.queue import PersistentQueue
from orch.testing import FakeClock


def job(id="a", **more):
    return Job.new("workflow:x", id=id, **more)


def op(call, ret, *, client="c", verb="enqueue", name="a", value=None):
    outcome = Outcome.UNKNOWN if ret is None else Outcome.OK
    return Op(client, verb, name, {}, call, ret, outcome, value)


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def queue(clock):
    """A recorded memory queue; both its store and its history follow one fake clock."""
    inner = MemoryQueue(lease_s=10, clock=clock)
    return RecordingQueue(inner, client="me", clock_ns=lambda: round(clock() * 1e9), epoch=clock)


def recorded(queue):
    return [(one.op, one.job, one.outcome.value, one.value) for one in queue.history()]


# -- operations and files ----------------------------------------------------------------------------------------------


def test_an_operation_survives_the_trip_through_its_line():
    whole = Op("c", "dequeue", "a", {"lease_s": 2.5}, 10, 20, Outcome.OK, {"crashes": 1}, 3, 77)
    assert Op.from_dict(json.loads(op_line(whole))) == whole
    assert list(whole.to_dict()) == [field.name for field in fields(Op)]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"outcome": "fine"}, "'fine'"),
        ({"outcome": None}, "None"),
        ({"ret_ns": None}, "ret_ns is None exactly for an unknown outcome"),
        ({"outcome": "unknown"}, "ret_ns is None exactly for an unknown outcome"),
        ({"ret_ns": 5}, "must not be before call_ns"),
        ({"call_ns": "10"}, "'10'"),
        ({"call_ns": True}, "True"),
        ({"token": 1.5}, "1.5"),
        ({"attempt": "1"}, "'1'"),
        ({"client": 7}, "client must be text, got 7"),
        ({"job": 7}, "job must be text or null, got 7"),
        ({"args": []}, "args must be an object"),
        ({"args": {"priority": "high"}}, "priority in args must be a number, got 'high'"),
        ({"args": {"delay_s": float("nan")}}, "delay_s in args"),
    ],
)
def test_a_bad_operation_is_refused_with_the_value(change, said):
    data = {**op(10, 20).to_dict(), **change}
    with pytest.raises(InvalidInput, match=said):
        Op.from_dict(data)


def test_an_operation_needs_its_fields():
    with pytest.raises(InvalidInput, match="missing: args, call_ns"):
        Op.from_dict({"client": "c", "op": "get", "job": "a", "ret_ns": 1, "outcome": "ok"})
    with pytest.raises(InvalidInput, match="JSON object"):
        Op.from_dict([1])


def test_a_history_is_in_the_order_of_calls():
    history = History([op(30, 40), op(10, 90), op(20, None)])
    assert [one.call_ns for one in history] == [10, 20, 30]
    assert len(history) == 3
    assert history[0].ret_ns == 90
    assert history[1:] == list(history)[1:]
    assert history.of_job("b") == []
    assert "3 operations" in repr(history)


def test_a_written_history_is_read_back(tmp_path):
    history = History([op(10, 20, value={"é": None}), op(30, None, value={"error": "x"})])
    history.write(tmp_path / "h.jsonl")
    assert list(History.read(tmp_path / "h.jsonl")) == list(history)


def test_files_of_many_processes_merge_on_one_clock(tmp_path):
    History([op(10, 20, client="p1"), op(50, 60, client="p1")]).write(tmp_path / "1.jsonl")
    History([op(30, 40, client="p2")]).write(tmp_path / "2.jsonl")
    merged = History.read(tmp_path / "1.jsonl", tmp_path / "2.jsonl")
    assert [one.client for one in merged] == ["p1", "p2", "p1"]
    assert list(History.merge(merged, History([op(35, 36, client="p3")])))[2].client == "p3"


def test_a_bad_line_costs_that_line_and_is_told_with_its_number(tmp_path):
    path = tmp_path / "h.jsonl"
    good = op_line(op(10, 20)).encode()
    path.write_bytes(good + b"\n" + b'{"client": 1}\n' + b"\xff\xfe\n" + good.replace(b"10", b"12", 1) + b"nonsense\n")
    history = History.read(path)
    assert [one.call_ns for one in history] == [10, 12]
    assert [(line.path, line.line, line.torn) for line in history.bad] == [(str(path), n, False) for n in (3, 4, 6)]
    assert "missing" in history.bad[0].reason
    assert history.lost_lines == 3


def test_the_torn_last_line_of_a_killed_process_loses_nothing(tmp_path):
    path = tmp_path / "h.jsonl"
    path.write_text(op_line(op(10, None)) + op_line(op(10, 20))[:-9])
    history = History.read(path)
    assert list(history) == [op(10, None)]
    assert [line.torn for line in history.bad] == [True]
    assert history.lost_lines == 0


def test_a_last_line_that_only_misses_its_end_is_whole(tmp_path):
    path = tmp_path / "h.jsonl"
    path.write_text(op_line(op(10, 20))[:-1])
    assert len(History.read(path)) == 1


def test_an_answer_replaces_its_call(tmp_path):
    path = tmp_path / "h.jsonl"
    lines = [op(10, None), op(30, None, client="other"), op(10, 20, value=True)]
    path.write_text("".join(map(op_line, lines)))
    assert list(History.read(path)) == [op(10, 20, value=True), op(30, None, client="other")]


def test_a_bulk_answer_that_was_cut_off_leaves_the_rest_unknown(tmp_path):
    path = tmp_path / "h.jsonl"
    calls = [op(10, None, verb="dequeue", name=None)] * 3 + [op(10, None, verb="report", name="z")]
    answers = [op(10, 20, verb="dequeue", name="a"), op(10, 20, verb="dequeue", name="b")]
    path.write_text("".join(map(op_line, [*calls, *answers])) + '{"client"')
    outcomes = sorted((one.op, one.job or "", one.outcome.value) for one in History.read(path))
    assert outcomes == [
        ("dequeue", "", "unknown"),
        ("dequeue", "a", "ok"),
        ("dequeue", "b", "ok"),
        ("report", "z", "unknown"),
    ]


def test_a_prefix_ends_at_a_return_and_leaves_open_what_had_not_returned():
    taken = Op("c", "dequeue", "a", {}, 5, 50, Outcome.OK, None, 1, 9)
    history = History([op(0, 10), taken, op(30, 40, name="b")], [BadLine("f", 1, "x")])
    cut = history.cut(1)
    assert list(cut) == [op(0, 10), Op("c", "dequeue", None, {}, 5, None, Outcome.UNKNOWN)]
    assert cut.bad == history.bad
    assert len(history.cut(0)) == 0
    assert history.cut(3) is history
    assert as_unknown(op(0, 10, value=True)) == op(0, None)
    assert is_call(as_unknown(taken))


# -- recording ---------------------------------------------------------------------------------------------------------


def test_each_verb_is_recorded_with_what_was_asked_and_answered(queue):
    assert queue.enqueue(job(priority=3, max_retries=2))
    taken = queue.dequeue("w1", lease_s=5)
    queue.extend_lease(taken.lease, 7)
    queue.record_progress(taken.lease, "t", {"x": 1})
    queue.update_status("a", JobStatus.RETRY, "boom", lease=taken.lease, delay_s=2)
    queue.cancel("a")
    queue.requeue("a")
    queue.get_job("a")
    queue.purge(1)
    one, two, three, four, five, *rest = queue.history()
    assert (one.op, one.args, one.value) == ("enqueue", {"max_retries": 2, "priority": 3}, True)
    assert (two.op, two.job, two.args, two.attempt) == ("dequeue", "a", {"worker": "w1", "lease_s": 5}, 1)
    assert two.value == {"priority": 3, "failures": 0, "crashes": 0}
    assert two.token == three.token == four.token == five.token == taken.lease.token
    assert (three.op, three.args) == ("extend", {"lease_s": 7})
    assert (four.op, four.args) == ("progress", {"task": "t"})
    assert (five.op, five.args) == ("report", {"status": "retry", "delay_s": 2})
    assert five.value == {"status": "pending", "attempts": 1, "failures": 1, "crashes": 0}
    assert [(r.op, r.job, r.token) for r in rest] == [
        ("cancel", "a", None),
        ("requeue", "a", None),
        ("get", "a", None),
        ("purge", None, None),
    ]
    assert {r.client for r in queue.history()} == {"me"}


def test_the_delay_of_a_job_is_recorded_as_a_time_from_now(queue, clock):
    queue.enqueue(job("late", not_before="2027-01-15T08:00:30+00:00"))
    clock.advance(60)
    queue.enqueue(job("past", not_before="2027-01-15T08:00:30+00:00"))
    assert [one.args.get("delay_s") for one in queue.history()] == [30.0, None]


def test_a_dequeue_that_found_nothing_has_no_job(queue):
    assert queue.dequeue() is None
    assert recorded(queue) == [("dequeue", None, "ok", None)]


@pytest.mark.promise("Q4", "Q12")
def test_a_refusal_is_recorded_with_its_error(queue):
    queue.enqueue(job())
    lease = queue.dequeue().lease
    queue.update_status("a", JobStatus.SUCCESS, lease=lease)
    for wrong in (
        lambda: queue.update_status("a", JobStatus.FAILED, lease=lease),
        lambda: queue.requeue("nobody"),
        lambda: queue.get_job(""),
        lambda: queue.extend_lease(lease),
    ):
        with pytest.raises(OrchError):
            wrong()
    errors = [(one.op, one.outcome.value, one.value["error"]) for one in queue.history()[3:]]
    assert errors == [
        ("report", "refused", "LeaseLost"),
        ("requeue", "refused", "JobNotFound"),
        ("get", "refused", "InvalidInput"),
        ("extend", "refused", "LeaseLost"),
    ]


@pytest.mark.promise("Q12")
def test_a_bad_argument_is_recorded_so_that_the_history_can_be_read(tmp_path):
    monitor = Monitor(every=1)
    queue = RecordingQueue(MemoryQueue(), path=tmp_path / "h.jsonl", sink=monitor.add_many)
    for wrong in (
        lambda: queue.dequeue(lease_s="long"),
        lambda: queue.dequeue_many("two"),
        lambda: queue.purge(None),
        lambda: queue.purge(float("nan")),
        lambda: queue.update_status(7, "done"),
        lambda: queue.enqueue("a"),
    ):
        with pytest.raises(OrchError):
            wrong()
    queue.close()
    history = History.read(tmp_path / "h.jsonl")
    assert history.bad == ()
    assert history[0].args == {"worker": "", "lease_s?": "'long'"}
    assert {one.outcome.value for one in history} == {"refused"}
    assert check(history).valid
    assert monitor.finish().valid


class Broken(MemoryQueue):
    """A queue whose next verbs raise, after their effect or before it."""

    def __init__(self, *errors):
        super().__init__()
        self.errors = list(errors)

    def _enqueue(self, jobs):
        new = super()._enqueue(jobs)
        if self.errors:
            raise self.errors.pop(0)
        return new


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (BackendUnavailable("gone"), "unknown"),
        (TimeoutError("slow"), "unknown"),
        (RuntimeError("bug"), "unknown"),
        (KeyboardInterrupt(), "unknown"),
        (WriteRefused("full"), "refused"),
        (NotSupported("no"), "refused"),
    ],
)
def test_what_raised_is_refused_or_unknown_by_what_is_known_of_its_effect(error, outcome):
    queue = RecordingQueue(Broken(error))
    with pytest.raises(type(error)):
        queue.enqueue(job())
    (one,) = queue.history()
    assert (one.outcome.value, one.ret_ns is None) == (outcome, outcome == "unknown")
    assert one.value["error"] == type(error).__name__
    assert not is_call(one)


def test_of_a_bulk_verb_that_was_refused_midway_nothing_is_known():
    queue = RecordingQueue(Broken(WriteRefused("full")))
    with pytest.raises(WriteRefused):
        queue.enqueue_many([job("a"), job("b")])
    assert [one.outcome.value for one in queue.history()] == ["unknown", "unknown"]


@pytest.mark.promise("Q12")
def test_of_a_bulk_verb_with_bad_input_nothing_was_done(queue):
    bad = job("b")
    bad.priority = 5_000
    with pytest.raises(InvalidInput):
        queue.enqueue_many([job("a"), bad])
    assert [one.outcome.value for one in queue.history()] == ["refused", "refused"]


def test_bulk_verbs_are_several_operations_with_one_interval(queue):
    assert queue.enqueue_many(iter([job("a"), job("b"), job("c")])) == 3
    assert queue.enqueue_many([job("c"), job("d")]) == 1
    jobs = queue.dequeue_many(2, "w")
    assert queue.extend_many([one.lease for one in jobs])
    assert len(queue.dequeue_many(9)) == 2
    assert queue.dequeue_many(9) == []
    news = [("a", True), ("b", True), ("c", True), ("c", None), ("d", None)]
    assert recorded(queue)[:5] == [("enqueue", name, "ok", new) for name, new in news]
    assert [(one.op, one.job) for one in queue.history()[5:]] == [
        ("dequeue", "a"),
        ("dequeue", "b"),
        ("extend", "a"),
        ("extend", "b"),
        ("dequeue", "c"),
        ("dequeue", "d"),
        ("dequeue", None),
    ]
    assert len({(one.call_ns, one.ret_ns) for one in queue.history()[:3]}) == 1


def test_an_exchange_is_its_reports_and_its_dequeues(queue):
    queue.enqueue_many([job("a"), job("b")])
    lease = queue.dequeue().lease
    gone = Lease("b", 1, "w", 1.0)
    reports = [Report("a", JobStatus.SUCCESS, lease=lease), Report("b", JobStatus.FAILED, lease=gone)]
    results, jobs = queue.exchange(reports, 2, "w")
    assert isinstance(results[1], LeaseLost)
    assert [one.id for one in jobs] == ["b"]
    done = queue.history()[3:]
    assert [(one.op, one.job, one.outcome.value) for one in done] == [
        ("report", "a", "ok"),
        ("report", "b", "refused"),
        ("dequeue", "b", "ok"),
    ]
    assert len({one.call_ns for one in done}) == 1


def test_lists_show_the_jobs_that_they_saw(queue):
    queue.enqueue_many([job("a"), job("b")])
    queue.list_jobs(JobStatus.PENDING, 10)
    seen = queue.history()[2:]
    assert [(one.op, one.job) for one in seen] == [("list", None), ("get", "b"), ("get", "a")]
    assert seen[1].value["status"] == "pending"


def test_verbs_that_only_look_are_written_down_too(queue):
    queue.counts()
    queue.count(JobStatus.FAILED)
    queue.stats()
    queue.announce(WorkerInfo("w"))
    queue.workers()
    queue.progress("a")
    queue.quarantined()
    queue.schedule_cursor("s")
    assert queue.advance_schedule("s", None, "2026-11-24T10:00:00+00:00")
    verbs = ["counts", "count", "stats", "announce", "workers", "saved", "quarantined", "cursor", "advance"]
    assert [one.op for one in queue.history()] == verbs
    assert all(json.loads(op_line(one)) for one in queue.history())


def test_an_answer_that_is_no_answer_is_unknown_and_passes_through():
    class Odd(MemoryQueue):
        def exchange(self, reports, n, worker_id="", **more):
            return [], None

    queue = RecordingQueue(Odd())
    assert queue.exchange([Report("a", JobStatus.FAILED)], 1) == ([], None)
    assert {one.outcome.value for one in queue.history()} == {"unknown"}


def test_instants_grow_even_while_the_clock_stands(queue):
    for name in "abc":
        queue.enqueue(job(name))
    instants = [at for one in queue.history() for at in (one.call_ns, one.ret_ns)]
    assert instants == sorted(set(instants))


def test_an_operation_under_way_is_unknown(queue):
    seen = []
    queue.queue.enqueue = lambda _: seen.extend(queue.history())
    queue.enqueue(job())
    assert [is_call(one) for one in seen] == [True]
    assert [one.outcome.value for one in queue.history()] == ["ok"]


def test_the_sink_gets_each_call_and_each_answer(queue):
    told = []
    watched = RecordingQueue(MemoryQueue(), client="me", sink=told.append)
    watched.enqueue_many([job("a"), job("b")])
    watched.get_job("a")
    assert [[(one.op, is_call(one)) for one in ops] for ops in told] == [
        [("enqueue", True)] * 2,
        [("enqueue", False)] * 2,
        [("get", False)],
    ]


def test_threads_share_a_recorder_and_have_lanes_of_their_own(tmp_path):
    queue = RecordingQueue(MemoryQueue(), client="p", path=tmp_path / "h.jsonl")
    threads = [
        threading.Thread(target=lambda n=n: [queue.enqueue(job(f"{n}-{i}")) for i in range(20)], name=f"t{n}")
        for n in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    queue.enqueue(job("last"))
    queue.close()
    history = History.read(tmp_path / "h.jsonl")
    assert len(history) == 81
    assert {one.client for one in history} == {"p", "p/t0", "p/t1", "p/t2", "p/t3"}
    assert len({one.call_ns for one in history}) == 81


KILLED = """
import os, signal, sys
from orch.backends.memory import MemoryQueue
from orch.history import RecordingQueue
from orch.job import Job

class Deadly(MemoryQueue):
    def dequeue(self, *args, **more):
        os.kill(os.getpid(), signal.SIGKILL)

queue = RecordingQueue(Deadly(), client="victim", path=sys.argv[1])
queue.enqueue(Job.new("workflow:x", id="a"))
queue.dequeue("w")
"""


@pytest.mark.real
def test_a_killed_process_leaves_all_that_it_began(tmp_path):
    done = subprocess.run([sys.executable, "-c", KILLED, tmp_path / "h.jsonl"], check=False)
    assert done.returncode == -9
    history = History.read(tmp_path / "h.jsonl")
    assert [(one.op, one.outcome.value) for one in history] == [("enqueue", "ok"), ("dequeue", "unknown")]
    assert history.bad == ()


def test_a_history_that_cannot_be_written_does_not_disturb_the_queue(tmp_path, monkeypatch):
    queue = RecordingQueue(MemoryQueue(), path=tmp_path / "h.jsonl")
    queue.enqueue(job("a"))
    monkeypatch.setattr(os, "write", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    assert queue.enqueue(job("b"))
    monkeypatch.undo()
    assert queue.enqueue(job("c"))
    assert queue.failure.errno == 28
    with pytest.raises(OSError, match="No space"):
        queue.history()
    with pytest.raises(OSError, match="No space"):
        queue.close()
    queue.close()
    assert [one.job for one in History.read(tmp_path / "h.jsonl")] == ["a"]


def test_a_recorder_is_a_queue_and_shows_what_it_wraps():
    inner = MemoryQueue(lease_s=7)
    queue = RecordingQueue(inner)
    assert isinstance(queue, PersistentQueue)
    assert (queue.queue, queue.lease_s) == (inner, 7)
    with pytest.raises(AttributeError, match="nonsense"):
        _ = queue.nonsense
    assert {name for name in vars(PersistentQueue) if not name.startswith("_")} <= set(vars(RecordingQueue))


def program(rng, queue, clock):
    """A random program of a few clients on one queue; yields everything that was answered or raised."""
    leases, n = [], 0
    for _ in range(60):
        clock.advance(rng.choice((0, 0, 0.5, 3, 11)))
        dice = rng.randrange(10)
        try:
            if dice < 3:
                n += rng.random() < 0.9
                delay = f"2027-01-15T08:{rng.randrange(60):02}:00Z" if rng.random() < 0.2 else None
                more = {"priority": rng.randrange(2), "max_retries": 1, "not_before": delay, "clock": clock}
                yield queue.enqueue(job(f"j{n}", **more))
            elif dice < 6:
                jobs = queue.dequeue_many(rng.randrange(3), f"w{dice}")
                leases += [one.lease for one in jobs]
                yield [one.id for one in jobs]
            elif dice < 8 and leases:
                lease = rng.choice(leases[-3:])
                status = rng.choice((JobStatus.SUCCESS, JobStatus.FAILED, JobStatus.RETRY, JobStatus.PENDING))
                if rng.random() < 0.2:
                    yield queue.extend_lease(lease, 5).expires_at
                yield queue.update_status(lease.job_id, status, "x", lease=lease).to_dict()
            elif dice == 8:
                name = f"j{rng.randrange(n + 1)}"
                yield [queue.requeue, queue.cancel, queue.get_job][rng.randrange(3)](name)
            else:
                yield queue.counts(), [one.id for one in queue.list_jobs()], queue.purge(rng.choice((0, 1)))
        except OrchError as error:
            yield type(error), str(error)


@pytest.mark.promise("Q11")
def test_a_recorded_queue_answers_as_the_bare_one_does():
    for seed in range(30):
        clocks = FakeClock(), FakeClock()
        bare = MemoryQueue(lease_s=10, clock=clocks[0])
        watched = RecordingQueue(MemoryQueue(lease_s=10, clock=clocks[1]))
        one = [str(answer) for answer in program(random.Random(seed), bare, clocks[0])]
        assert one == [str(answer) for answer in program(random.Random(seed), watched, clocks[1])], f"seed {seed}"


@pytest.mark.promise("Q1", "Q2", "Q3", "Q4", "Q5", "Q6", "Q7")
def test_the_memory_queue_is_never_accused_by_the_checker():
    spec = Spec(lease_s=10, skew_s=1e-6, drift=0)  # a recorder's instants are a few ns ahead of a clock that stands
    for seed in range(60):
        clock = FakeClock()
        monitor = Monitor(spec, every=20)
        queue = RecordingQueue(
            MemoryQueue(lease_s=10, clock=clock),
            clock_ns=lambda clock=clock: round(clock() * 1e9),
            epoch=clock,
            sink=monitor.add_many,
        )
        list(program(random.Random(seed), queue, clock))
        verdict = check(queue.history(), spec)
        assert verdict.valid, f"seed {seed}: {verdict}"
        assert monitor.finish().valid
        assert queue.failure is None


@pytest.mark.promise("Q2", "Q4", "Q8")
def test_many_threads_on_the_memory_queue_are_linearizable():
    monitor = Monitor(Spec(lease_s=30), every=500)
    queue = RecordingQueue(MemoryQueue(), client="p", sink=monitor.add_many)
    broken = []

    def work(seed):
        rng = random.Random(seed)
        try:
            for i in range(150):
                if rng.random() < 0.5:
                    queue.enqueue(job(f"{seed}-{i}", priority=rng.randrange(2)))
                    continue
                reports = []
                for taken in queue.dequeue_many(rng.randrange(1, 3), f"w{seed}"):
                    status = rng.choice((JobStatus.SUCCESS, JobStatus.SUCCESS, JobStatus.PENDING))
                    reports.append(Report(taken.id, status, lease=taken.lease))
                queue.exchange(reports, 0)
        except Exception as error:
            broken.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not broken
    verdict = check(queue.history(), Spec(lease_s=30))
    assert verdict.valid, verdict
    assert monitor.finish().valid
