"""The worker's real driver, with real threads, on a MemoryQueue."""

import json
import random
import sys
import threading
import time

import pytest

from orch import Job, JobStatus, MemoryQueue
from orch.errors import BackendUnavailable, NotSupported
from orch.runner import Dead, Done, Lost, Retry
from orch.settings import Settings
from orch.worker import Config, execute_job, get_queue_backend, run_worker
from orch.worker.attempt import Attempt
from orch.worker.running import in_threads


@pytest.fixture
def queue():
    queue = MemoryQueue(lease_s=5.0)
    yield queue
    queue.close()


@pytest.fixture(autouse=True)
def _logs(tmp_path, monkeypatch):
    monkeypatch.setenv("ORCH_EVENTS_PATH", str(tmp_path / "events.jsonl"))
    monkeypatch.setenv("STATE_STORE_PATH", str(tmp_path / "state.jsonl"))


def put(queue, *names, **fields):
    for name in names:
        queue.enqueue(Job.new("workflow:noop", id=name, **fields))


def burst(queue, run, **config):
    config = {"worker_id": "w", "burst": True, "retry_s": 0.0, "lease_s": 5.0, **config}
    return run_worker(queue, Config(**config), run, rng=random.Random(0))


class Background:
    """A worker in a thread of its own, stopped at the end of the `with`."""

    def __init__(self, queue, run, **config):
        config = {"worker_id": "w", "retry_s": 0.0, "lease_s": 5.0, "wait_s": 0.05, **config}
        self.code = None
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._work, args=(queue, Config(**config), run))

    def _work(self, queue, config, run):
        self.code = run_worker(queue, config, run, stopper=self._take)

    def _take(self, stop):
        self.stop = stop
        self._ready.set()

    def __enter__(self):
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, *_):
        self.stop("the test is over")
        self._thread.join()


def until(condition):
    """Wait until it holds; pytest's time-out ends a wait in vain."""
    while not condition():
        time.sleep(0.005)


def done(job, attempt):
    return Done({"id": job.id})


# -- running -------------------------------------------------------------------------------------------------------


def test_every_job_is_run_and_reported(queue):
    put(queue, *(f"j{i}" for i in range(100)))
    assert burst(queue, done, slots=8) == 0
    assert queue.count(JobStatus.SUCCESS) == 100
    assert queue.get_job("j7").result == {"id": "j7"}


@pytest.mark.promise("W7")
def test_as_many_jobs_run_at_once_as_there_are_slots_and_not_more(queue):
    put(queue, *(f"j{i}" for i in range(12)))
    together = threading.Barrier(4)
    claimed = []

    def run(job, attempt):
        together.wait()
        claimed.append(queue.count(JobStatus.RUNNING))
        together.wait()
        return Done({})

    assert burst(queue, run, slots=4) == 0
    assert set(claimed) == {4}


@pytest.mark.promise("W3")
@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit(), ValueError("x"), MemoryError()])
def test_whatever_a_run_raises_is_a_failed_attempt_and_the_next_job_runs(queue, error):
    put(queue, "bad", "good")

    def run(job, attempt):
        if job.id == "bad":
            raise error
        return Done({})

    assert burst(queue, run) == 1
    assert queue.get_job("good").status is JobStatus.SUCCESS
    assert queue.get_job("bad").error.startswith(type(error).__name__)


class Unprintable(Exception):
    def __str__(self):
        raise RuntimeError("no words")


@pytest.mark.promise("W3")
def test_an_error_that_cannot_be_shown_is_named_by_its_type(queue):
    put(queue, "bad")

    def run(job, attempt):
        raise Unprintable

    burst(queue, run)
    assert queue.get_job("bad").error == "Unprintable: Unprintable"


class Closed:
    encoding = "utf-8"

    def write(self, text):
        raise ValueError("I/O operation on closed file")

    def flush(self):
        raise BrokenPipeError


@pytest.mark.promise("W3")
def test_a_closed_stdout_changes_no_job(queue, monkeypatch):
    put(queue, "a", "b")
    monkeypatch.setattr(sys, "stdout", Closed())
    assert burst(queue, done) == 0
    assert queue.count(JobStatus.SUCCESS) == 2


def test_the_lines_of_the_seed_are_printed(queue, capsys):
    put(queue, "a")
    burst(queue, done)
    assert capsys.readouterr().out.splitlines() == [
        "[w] Processing job a (DAG: workflow:noop)",
        "[w] ✓ Job a succeeded",
    ]


def test_problems_are_logged_with_job_and_token(queue, caplog):
    put(queue, "a")

    def run(job, attempt):
        queue.cancel(job.id)
        return Done({})

    burst(queue, run)
    record = next(record for record in caplog.records if record.name == "orch.worker")
    assert record.getMessage().startswith("[w] Lost job a: its outcome was not reported: ")
    assert record.job_id == "a"
    assert record.token > 0


def test_the_state_log_is_written(queue, tmp_path):
    put(queue, "a")
    path = tmp_path / "own" / "state.jsonl"
    run_worker(queue, Config(worker_id="w", burst=True), done, state_path=path)
    events = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(event["event"], event["job_id"], event["run"]) for event in events] == [
        ("run_started", "a", "a#1"),
        ("run_finished", "a", "a#1"),
    ]
    assert all(event["timestamp"].endswith("+00:00") and list(event)[-1] == "timestamp" for event in events)


# -- leases --------------------------------------------------------------------------------------------------------


class Watched(MemoryQueue):
    """Counts the extensions, and can fail on command."""

    def __init__(self, **options):
        super().__init__(**options)
        self.extended = threading.Semaphore(0)
        self.down = threading.Event()

    def _extend(self, leases, lease_s):
        answers = super()._extend(leases, lease_s)
        self.extended.release()
        return answers

    def _exchange(self, *args):
        if self.down.is_set():
            raise BackendUnavailable("connection refused")
        return super()._exchange(*args)


@pytest.mark.promise("W2")
def test_a_job_longer_than_its_lease_is_not_delivered_twice():
    queue = Watched()
    put(queue, "long")
    taken = []

    def run(job, attempt):
        for _ in range(8):  # more than two leases
            queue.extended.acquire()
            taken.append(queue.dequeue("thief"))
        return Done({})

    assert burst(queue, run, lease_s=0.3) == 0
    assert taken == [None] * 8
    assert queue.get_job("long").attempts == 1


@pytest.mark.promise("W2")
def test_a_run_whose_lease_was_ended_by_an_operator_learns_it_and_is_not_reported(queue):
    put(queue, "a")

    def run(job, attempt):
        queue.cancel(job.id)
        until(attempt.lost)
        return Done({"too": "late"})

    assert burst(queue, run, lease_s=0.1) == 0
    job = queue.get_job("a")
    assert (job.status, job.error, job.result) == (JobStatus.FAILED, "cancelled", None)


# -- time-outs -----------------------------------------------------------------------------------------------------


@pytest.mark.promise("W6", "W8")
def test_a_timed_out_job_fails_once_and_its_slot_is_shown_as_blocked(queue):
    queue.enqueue(Job.new("workflow:noop", id="slow", timeout_s=0.05))
    put(queue, "next")
    free = threading.Event()
    seen = []

    def run(job, attempt):
        if job.id == "slow":
            until(attempt.lost)
            free.wait()
        else:
            until(lambda: queue.workers() and queue.workers()[0].blocked == 1)
            seen.append(queue.workers()[0])
        return Done({})

    with Background(queue, run, slots=2):
        until(lambda: queue.count(JobStatus.SUCCESS) == 1)
        free.set()
    assert (seen[0].blocked, seen[0].slots, seen[0].jobs) == (1, 2, ("next",))
    job = queue.get_job("slow")
    assert (job.status, job.error, job.attempts) == (JobStatus.FAILED, "timed out after 0.05 s", 1)


# -- the end -------------------------------------------------------------------------------------------------------


@pytest.mark.promise("W4")
def test_a_stopped_worker_gives_back_what_still_runs(queue):
    put(queue, "a")
    began, free = threading.Event(), threading.Event()

    def run(job, attempt):
        began.set()
        until(attempt.lost)
        free.wait()
        return Done({})

    with Background(queue, run, grace_s=0.0) as worker:
        began.wait()
    free.set()
    job = queue.get_job("a")
    assert (job.status, job.attempts, job.failures, job.crashes) == (JobStatus.PENDING, 1, 0, 0)
    assert worker.code == 0
    assert queue.dequeue("other").id == "a"


@pytest.mark.promise("W4")
def test_a_worker_that_gave_a_job_back_does_not_wait_for_its_thread(queue, monkeypatch):
    monkeypatch.setattr("orch.worker.driver.JOIN_S", None)  # a join would never end
    put(queue, "a")
    began, free = threading.Event(), threading.Event()

    def run(job, attempt):
        began.set()
        free.wait()
        return Done({})

    with Background(queue, run, grace_s=0.0) as worker:
        began.wait()
    assert worker.code == 0
    free.set()


@pytest.mark.promise("W4")
def test_a_stopping_worker_lets_a_job_finish_within_the_grace(queue):
    put(queue, "a", "b")
    began, free = threading.Event(), threading.Event()

    def run(job, attempt):
        began.set()
        free.wait()
        return Done({})

    with Background(queue, run, grace_s=60.0) as worker:
        began.wait()
        worker.stop("SIGTERM")
        free.set()
    assert queue.get_job("a").status is JobStatus.SUCCESS
    assert queue.get_job("b").status is JobStatus.PENDING
    assert worker.code == 0


def test_no_thread_of_a_worker_is_left_behind(queue):
    put(queue, "a", "b")
    before = set(threading.enumerate())
    burst(queue, done, slots=2)
    assert set(threading.enumerate()) <= before


def test_a_fault_of_our_own_in_the_heartbeat_ends_the_worker_loudly(queue, monkeypatch):
    def broken(config, state):
        raise AssertionError("a bug")
        yield

    monkeypatch.setattr("orch.worker.driver.keep_leases", broken)
    with pytest.raises(AssertionError, match="a bug"):
        run_worker(queue, Config(worker_id="w"), done)


# -- outages -------------------------------------------------------------------------------------------------------


@pytest.mark.promise("W3", "W5")
def test_a_worker_resumes_by_itself_and_repeats_no_work():
    queue = Watched()
    put(queue, "a", "b")
    ran = []

    def run(job, attempt):
        ran.append(job.id)
        if job.id == "a":
            queue.down.set()
            threading.Timer(0.3, queue.down.clear).start()
        return Done({})

    assert burst(queue, run) == 0
    assert ran == ["a", "b"]
    assert queue.count(JobStatus.SUCCESS) == 2


@pytest.mark.promise("W5")
def test_an_idle_worker_waits_for_its_queue_to_come_back(caplog):
    queue = Watched()
    put(queue, "a")
    queue.down.set()
    with Background(queue, done):
        until(lambda: "Queue does not answer" in caplog.text)
        queue.down.clear()
        until(lambda: queue.count(JobStatus.SUCCESS) == 1)
    assert "Queue is back after" in caplog.text


@pytest.mark.promise("W5")
def test_an_error_that_is_none_of_ours_counts_as_an_outage(queue, monkeypatch, caplog):
    put(queue, "a")
    errors = [RuntimeError("driver bug"), OSError("cable")]
    real = queue.exchange

    def exchange(*args, **options):
        if errors:
            raise errors.pop()
        return real(*args, **options)

    monkeypatch.setattr(queue, "exchange", exchange)
    assert burst(queue, done) == 0
    assert queue.count(JobStatus.SUCCESS) == 1
    assert "RuntimeError: driver bug" in caplog.text


# -- what a run is given -------------------------------------------------------------------------------------------


def a_dag(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "d.yaml").write_text(
        "name: d\ntasks:\n"
        "  - {id: one, workflow_ref: echo, params: {n: 1}}\n"
        "  - {id: two, workflow_ref: fail_n_times, params: {n: 1}, depends_on: [one]}\n"
    )


def started(tmp_path):
    events = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    return [event["task_id"] for event in events if event["event"] == "task_start"]


@pytest.mark.promise("D5")
def test_a_retried_run_does_not_repeat_the_task_that_was_recorded(queue, tmp_path, monkeypatch):
    a_dag(tmp_path, monkeypatch)
    queue.enqueue(Job.new("d.yaml", id="j", max_retries=1))
    settings = Settings.from_env()
    while queue.count(JobStatus.SUCCESS) == 0:
        burst(queue, in_threads(queue, settings))
    assert started(tmp_path) == ["one", "two", "two"]
    assert queue.get_job("j").attempts == 2


@pytest.mark.promise("D5", "W5")
def test_recording_waits_out_an_outage(queue, tmp_path, monkeypatch):
    a_dag(tmp_path, monkeypatch)
    queue.enqueue(Job.new("d.yaml", id="j"))
    job = queue.dequeue("w")
    errors = [BackendUnavailable("down")] * 2
    real = queue.record_progress

    def record_progress(*args):
        if errors:
            raise errors.pop()
        real(*args)

    monkeypatch.setattr(queue, "record_progress", record_progress)
    assert isinstance(in_threads(queue, Settings.from_env())(job, Attempt(1, job)), Retry)
    assert queue.progress("j") == {"one": {"n": 1}}


@pytest.mark.promise("W2")
def test_a_run_whose_progress_is_refused_is_lost(queue, tmp_path, monkeypatch):
    a_dag(tmp_path, monkeypatch)
    queue.enqueue(Job.new("d.yaml", id="j"))
    job = queue.dequeue("w")
    queue.cancel("j")
    assert in_threads(queue, Settings.from_env())(job, Attempt(1, job)) == Lost()


def test_a_queue_that_keeps_no_progress_runs_a_second_attempt_from_the_beginning(queue, tmp_path, monkeypatch):
    a_dag(tmp_path, monkeypatch)
    queue.enqueue(Job.new("d.yaml", id="j"))
    job = queue.dequeue("w")
    job.attempts = 2

    def progress(job_id):
        raise NotSupported("none")

    monkeypatch.setattr(queue, "progress", progress)
    assert isinstance(in_threads(queue, Settings.from_env())(job, Attempt(1, job)), Done)
    assert started(tmp_path) == ["one", "two"]


def test_an_abandoned_attempt_does_not_wait_for_the_queue(queue, monkeypatch):
    put(queue, "j")
    job = queue.dequeue("w")
    job.attempts = 2
    attempt = Attempt(1, job)

    def progress(job_id):
        attempt.abandon()
        raise BackendUnavailable("down")

    monkeypatch.setattr(queue, "progress", progress)
    assert in_threads(queue, Settings.from_env())(job, attempt) == Lost()


# -- one job, as in the seed ---------------------------------------------------------------------------------------


def executed(queue, tmp_path, dag_path, **fields):
    queue.enqueue(Job.new(dag_path, id="j", **fields))
    return execute_job(queue.dequeue("w"), queue, str(tmp_path / "own.jsonl"))


def test_execute_job_returns_the_result(queue, tmp_path):
    answer = executed(queue, tmp_path, "workflow:echo", params={"n": 1})
    assert (answer["status"], answer["result"], answer["job"].id) == ("success", {"n": 1}, "j")
    assert queue.get_job("j").status is JobStatus.SUCCESS


def test_execute_job_says_that_it_will_be_retried(queue, tmp_path):
    answer = executed(queue, tmp_path, "workflow:fail", max_retries=1)
    assert (answer["status"], answer["error"]) == ("retry", "RuntimeError: failed, as asked")
    assert queue.get_job("j").status is JobStatus.PENDING
    assert queue.dequeue("w") is None, "a retry waits (W6)"


def test_execute_job_says_that_it_failed_for_good(queue, tmp_path):
    assert executed(queue, tmp_path, "workflow:fail")["status"] == "failed"
    assert queue.get_job("j").status is JobStatus.FAILED


@pytest.mark.promise("W6")
def test_execute_job_does_not_retry_a_dag_that_is_wrong(queue, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.yaml").write_text("name: x\ntasks: []\n")
    assert executed(queue, tmp_path, "bad.yaml", max_retries=3)["status"] == "failed"


@pytest.mark.promise("W2")
def test_execute_job_reports_nothing_under_a_lost_lease(queue, tmp_path):
    put(queue, "j")
    job = queue.dequeue("w")
    queue.cancel("j")
    answer = execute_job(job, queue)
    assert answer["status"] == "error"
    assert "not the current one" in answer["error"]
    assert queue.get_job("j").error == "cancelled"


@pytest.mark.promise("W3")
def test_execute_job_repeats_its_report_and_not_the_work(queue, monkeypatch):
    put(queue, "j")
    errors = [BackendUnavailable("blip")]
    real = queue.update_status

    def update_status(*args, **options):
        if errors:
            raise errors.pop()
        return real(*args, **options)

    monkeypatch.setattr(queue, "update_status", update_status)
    assert execute_job(queue.dequeue("w"), queue)["status"] == "success"
    assert queue.get_job("j").attempts == 1


def test_execute_job_raises_when_the_queue_stays_away(queue, monkeypatch):
    put(queue, "j")

    def update_status(*args, **options):
        raise BackendUnavailable("gone")

    monkeypatch.setattr(queue, "update_status", update_status)
    monkeypatch.setattr("orch.worker.once.time.sleep", lambda seconds: None)
    with pytest.raises(BackendUnavailable, match="gone"):
        execute_job(queue.dequeue("w"), queue)


def test_execute_job_writes_the_state_log_of_the_environment(queue, tmp_path):
    executed(queue, tmp_path, "workflow:fail")
    events = [json.loads(line) for line in (tmp_path / "state.jsonl").read_text().splitlines()]
    assert [(event["event"], event.get("status")) for event in events] == [
        ("run_started", None),
        ("run_finished", "failed"),
    ]


def test_the_worker_module_offers_the_queue_of_the_environment(monkeypatch):
    monkeypatch.setenv("QUEUE_BACKEND", "memory")
    queue = get_queue_backend()
    assert isinstance(queue, MemoryQueue)
    queue.close()


def test_the_worker_module_has_no_other_names():
    import orch.worker

    with pytest.raises(AttributeError, match="nonsense"):
        orch.worker.nonsense  # noqa: B018 -- looking is the test


# -- an attempt ----------------------------------------------------------------------------------------------------


def test_what_was_abandoned_before_it_began_is_not_started(queue):
    put(queue, "j")
    attempt = Attempt(1, queue.dequeue("w"))
    attempt.abandon()
    acts = []
    with attempt.killable(lambda: acts.append("start"), lambda: acts.append("kill")) as started:
        assert not started
    assert acts == []


def test_abandoning_kills_and_waits_for_the_end(queue):
    put(queue, "j")
    attempt = Attempt(1, queue.dequeue("w"))
    acts, killed = [], threading.Event()

    def kill():
        acts.append("kill")
        killed.set()

    def slot():
        with attempt.killable(lambda: acts.append("start"), kill):
            killed.wait()
            acts.append("end")

    thread = threading.Thread(target=slot)
    thread.start()
    until(lambda: acts == ["start"])
    attempt.abandon()
    assert acts == ["start", "kill", "end"]
    thread.join()


def test_dead_outcomes_fail_at_once(queue):
    put(queue, "j", max_retries=5)
    assert burst(queue, lambda job, attempt: Dead("never")) == 1
    assert queue.get_job("j").attempts == 1


def test_lost_outcomes_are_left_to_whoever_has_the_job_now(queue):
    put(queue, "j")

    def run(job, attempt):
        queue.update_status("j", JobStatus.SUCCESS, result={"by": "operator"})
        return Lost()

    assert burst(queue, run) == 0
    assert queue.get_job("j").result == {"by": "operator"}
