"""Worker processes on a SQLite file: signals, death, what workflows do to their process, the first and last line."""

import contextlib
import fcntl
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from orch import Job, JobStatus, open_queue
from orch.clock import process_clock
from orch.job import RECORD_VERSION
from orch.testing.servers import find_server, start_redis

pytestmark = pytest.mark.real

FLOWS = '''
import ctypes, fcntl, os, subprocess, sys, threading, time
from orch.workflows import current, register

def hold(path):
    """A lock that ends with the process: who gets it knows that this process is gone."""
    file = open(path, "w")
    fcntl.flock(file, fcntl.LOCK_EX)
    return file

def mark(params):
    with open(params["marks"], "a") as file:
        file.write(f"{current().job_id}\\n")

@register("hang")
def hang(params):
    kept = hold(params["lock"])
    mark(params)
    while True:
        time.sleep(0.01)

@register("hog")
def hog(params):
    kept = hold(params["lock"])
    mark(params)
    ctypes.PyDLL(None).sleep(1000)  # without giving up the interpreter's lock

@register("hang_once")
def hang_once(params):
    if current().attempt > 1:
        return {"attempt": current().attempt}
    return hang(params)

@register("wait_for")
def wait_for(params):
    mark(params)
    while not os.path.exists(params["file"]):
        time.sleep(0.01)
    return {"pid": os.getpid()}

@register("with_a_child")
def with_a_child(params):
    code = "import fcntl, sys, time; f = open(sys.argv[1], 'w'); fcntl.flock(f, fcntl.LOCK_EX); " \\
        "open(sys.argv[2], 'a').write('child'); time.sleep(1000)"
    subprocess.Popen([sys.executable, "-c", code, params["lock"], params["marks"]])
    while not (os.path.exists(params["marks"]) and open(params["marks"]).read()):
        time.sleep(0.01)
    return {}

@register("exit")
def exit(params):
    sys.exit(3)

@register("interrupt")
def interrupt(params):
    raise KeyboardInterrupt

@register("die")
def die(params):
    os._exit(7)

@register("segfault")
def segfault(params):
    ctypes.string_at(0)

@register("close_stdout")
def close_stdout(params):
    print("shutting the door")
    sys.stdout.close()
    print("still here")
    return {}

@register("print_odd")
def print_odd(params):
    print("\\u2713 \\ud83d\\ude00")
    return {}

@register("set_the_clock")
def set_the_clock(params):
    """What an administrator does to the machine, in this process."""
    real, real_ns = time.time, time.time_ns
    time.time = lambda: real() + params["by"]
    time.time_ns = lambda: real_ns() + int(params["by"] * 1e9)
    return {}

@register("leave_a_thread")
def leave_a_thread(params):
    threading.Thread(target=time.sleep, args=(1000,), daemon=False).start()
    return {}

@register("pid")
def pid(params):
    return {"pid": os.getpid(), "argv": sys.argv[0]}
'''


class Bench:
    """A folder with a queue, workflows, and the worker processes that were started in it."""

    def __init__(self, folder, url=None):
        self.folder = folder
        self.url = f"sqlite:///{folder}/q.db" if url is None else url
        (folder / "flows.py").write_text(FLOWS)
        self.queue = open_queue(self.url)
        self.workers = []

    def env(self, **more):
        path = os.pathsep.join([str(self.folder), *filter(None, [os.environ.get("PYTHONPATH")])])
        return {**os.environ, "ORCH_WORKFLOWS": "flows", "PYTHONPATH": path, **more}

    def command(self, *arguments):
        return [
            sys.executable,
            "-m",
            "orch.worker",
            "--url",
            self.url,
            "--worker-id",
            "w",
            "--retry-s",
            "0",
            *arguments,
        ]

    def start(self, *arguments, env=None, **options):
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **options}
        worker = subprocess.Popen(self.command(*arguments), cwd=self.folder, env=self.env(**(env or {})), **options)
        self.workers.append(worker)
        return worker

    def run(self, *arguments, env=None, **options):
        """A worker until its own end; answers (exit code, stdout, stderr)."""
        worker = self.start(*arguments, env=env, **options)
        out, err = worker.communicate()
        return worker.returncode, out, err

    def put(self, flow, name=None, *, params=None, **fields):
        params = {"lock": str(self.lock), "marks": str(self.marks), "file": str(self.file), **(params or {})}
        self.queue.enqueue(Job.new(f"workflow:{flow}", id=name or flow, params=params, **fields))

    @property
    def lock(self):
        return self.folder / "lock"

    @property
    def marks(self):
        return self.folder / "marks"

    @property
    def file(self):
        return self.folder / "file"

    def until_marked(self, n=1):
        until(lambda: self.marks.exists() and len(self.marks.read_text().splitlines()) >= n)

    def until_gone(self):
        """Wait until the process that holds the lock is dead."""
        with self.lock.open() as file:
            fcntl.flock(file, fcntl.LOCK_EX)

    def status(self, name):
        return self.queue.get_job(name).status

    def close(self):
        for worker in self.workers:
            if worker.poll() is None:
                worker.kill()
            worker.wait()
            for stream in (worker.stdout, worker.stderr):
                if stream is not None:
                    stream.close()
        self.queue.close()


@pytest.fixture
def bench(tmp_path):
    bench = Bench(tmp_path)
    yield bench
    bench.close()


def until(condition):
    """Wait until it holds; pytest's time-out ends a wait in vain."""
    while not condition():
        time.sleep(0.01)


def first_line(worker):
    return worker.stdout.readline()


# -- signals -------------------------------------------------------------------------------------------------------


@pytest.mark.promise("W4")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_an_idle_worker(bench, number):
    worker = bench.start()
    assert first_line(worker) == "Worker w starting with sqlite queue backend\n"
    worker.send_signal(number)
    out, err = worker.communicate()
    assert worker.returncode == 0
    assert out == ("\n" if number == signal.SIGINT else "") + "[w] Shutting down...\n"
    assert err == ""


@pytest.mark.promise("W4")
def test_a_signal_gives_back_what_runs_longer_than_the_grace_and_another_worker_has_it_at_once(bench):
    bench.put("hang_once")
    worker = bench.start("--grace-s", "0.1")
    bench.until_marked()
    worker.terminate()
    out, _ = worker.communicate()
    assert worker.returncode == 0
    assert "[w] Giving back job hang_once\n" in out
    job = bench.queue.get_job("hang_once")
    assert (job.status, job.attempts, job.failures, job.crashes) == (JobStatus.PENDING, 1, 0, 0)
    assert bench.run("--burst")[0] == 0
    assert bench.queue.get_job("hang_once").result == {"attempt": 2}


@pytest.mark.promise("W4")
def test_a_job_that_ends_within_the_grace_is_reported(bench):
    bench.put("wait_for")
    worker = bench.start("--grace-s", "60")
    bench.until_marked()
    worker.terminate()
    while "Waiting at most 60 s" not in worker.stdout.readline():
        pass
    bench.file.touch()
    worker.communicate()
    assert worker.returncode == 0
    assert bench.status("wait_for") is JobStatus.SUCCESS


@pytest.mark.promise("W4")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_second_signal_ends_the_worker_at_once_and_says_why(bench, number, code):
    bench.put("hang")
    worker = bench.start("--grace-s", "600")
    bench.until_marked()
    worker.terminate()
    while "Waiting" not in worker.stdout.readline():
        pass
    worker.send_signal(number)
    _, err = worker.communicate()
    assert worker.returncode == code
    assert err.endswith(f"[w] {number.name} again: ended at once; running jobs are left to their leases\n")
    assert bench.status("hang") is JobStatus.RUNNING


@pytest.mark.promise("W1", "Q5")
@pytest.mark.parametrize("isolate", ["thread", "process"])
def test_a_killed_worker_loses_nothing_and_its_job_runs_no_further(bench, isolate):
    bench.put("hang_once", params={})
    worker = bench.start("--isolate", isolate, "--lease-s", "0.5")
    bench.until_marked()
    worker.kill()
    worker.wait()
    bench.until_gone()
    assert bench.run("--max-jobs", "1")[0] == 0
    job = bench.queue.get_job("hang_once")
    assert (job.status, job.attempts, job.crashes) == (JobStatus.SUCCESS, 2, 1)


def test_a_thread_that_a_workflow_left_behind_does_not_keep_the_worker(bench):
    bench.put("leave_a_thread")
    code, out, _ = bench.run("--burst")
    assert code == 0
    assert "✓ Job leave_a_thread succeeded" in out


# -- what workflows do ---------------------------------------------------------------------------------------------


@pytest.mark.promise("W3")
@pytest.mark.parametrize("isolate", ["thread", "process"])
def test_workflows_that_exit_or_interrupt_fail_and_the_others_run(bench, isolate):
    for name in ("exit", "interrupt", "close_stdout", "print_odd", "noop"):
        bench.put(name)
    code, out, err = bench.run("--burst", "--isolate", isolate)
    assert code == 1
    assert err == ""
    assert "still here" in out
    found = {job.id: job.status.value for job in bench.queue.list_jobs()}
    assert found == {
        "exit": "failed",
        "interrupt": "failed",
        "close_stdout": "success",
        "print_odd": "success",
        "noop": "success",
    }


@pytest.mark.promise("W3")
@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_an_encoding_that_knows_no_check_mark_changes_no_job(bench, encoding):
    bench.put("print_odd")
    code, out, err = bench.run("--burst", env={"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"})
    assert (code, err) == (0, "")
    assert "\\u2713 Job print_odd succeeded" in out
    assert bench.status("print_odd") is JobStatus.SUCCESS


@pytest.mark.promise("W3")
def test_a_reader_that_went_away_changes_no_job_and_no_exit_code(bench):
    for number in range(5):
        bench.put("print_odd", f"j{number}")
    worker = bench.start("--burst")
    worker.stdout.close()
    err = worker.stderr.read()
    assert worker.wait() == 0
    assert err == ""
    assert bench.queue.count(JobStatus.SUCCESS) == 5


@pytest.mark.promise("W3")
def test_a_worker_without_stdout_works(bench):
    bench.put("print_odd")
    command = " ".join(bench.command("--burst"))
    done = subprocess.run(f"{command} >&- 2>&-", shell=True, cwd=bench.folder, env=bench.env())
    assert done.returncode == 0
    assert bench.status("print_odd") is JobStatus.SUCCESS


@pytest.mark.promise("W3", "W6")
@pytest.mark.parametrize(
    ("flow", "error"),
    [
        ("die", "the process of the job ended with exit code 7 before it had a result"),
        ("segfault", "the process of the job was killed by SIGSEGV before it had a result"),
    ],
)
def test_a_job_that_kills_its_process_is_a_failed_attempt_and_takes_nobody_along(bench, flow, error):
    bench.put("wait_for")
    bench.put(flow)
    worker = bench.start("--isolate", "process", "--concurrency", "2", "--max-jobs", "2")
    until(lambda: bench.status(flow) is JobStatus.FAILED)
    assert bench.status("wait_for") is JobStatus.RUNNING
    bench.file.touch()
    worker.communicate()
    assert worker.returncode == 0
    assert bench.queue.get_job(flow).error == error
    assert bench.status("wait_for") is JobStatus.SUCCESS


@pytest.mark.promise("W6")
def test_a_process_is_killed_at_its_time_out_and_its_slot_is_free_again(bench):
    bench.put("pid")  # by its end, what runs the next one is ready
    bench.put("hang", timeout_s=2.0)
    bench.put("noop")
    code, _, err = bench.run("--isolate", "process", "--max-jobs", "3")
    assert code == 0
    assert "Job hang timed out after 2 s" in err
    bench.until_gone()
    assert bench.queue.get_job("hang").error == "timed out after 2 s"
    assert bench.status("noop") is JobStatus.SUCCESS


def test_what_a_job_started_ends_with_it(bench):
    bench.put("with_a_child")
    bench.put("noop")
    assert bench.run("--isolate", "process", "--burst")[0] == 0
    bench.until_gone()
    assert bench.status("with_a_child") is JobStatus.SUCCESS


@pytest.mark.promise("W2")
def test_a_process_whose_job_was_cancelled_is_killed(bench):
    bench.put("hang")
    worker = bench.start("--isolate", "process", "--lease-s", "0.3")
    bench.until_marked()
    bench.queue.cancel("hang")
    bench.until_gone()
    worker.terminate()
    _, err = worker.communicate()
    assert "Lost job hang: its outcome will not be reported" in err
    assert bench.queue.get_job("hang").error == "cancelled"


@pytest.mark.promise("W4")
def test_a_process_is_dead_before_its_job_is_given_back(bench):
    bench.put("hang")
    worker = bench.start("--isolate", "process", "--grace-s", "0")
    bench.until_marked()
    worker.terminate()
    until(lambda: bench.status("hang") is JobStatus.PENDING)
    with bench.lock.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    worker.communicate()
    assert worker.returncode == 0


@pytest.mark.promise("W1")
def test_a_job_that_lets_nothing_else_run_still_ends_with_its_worker(bench):
    bench.put("hog")
    worker = bench.start("--isolate", "process")
    bench.until_marked()
    worker.kill()
    worker.wait()
    bench.until_gone()


def test_a_job_ends_with_the_server_that_forked_it_and_is_tried_again(bench):
    bench.put("hang_once", max_retries=1)
    worker = bench.start("--isolate", "process", "--max-jobs", "2")
    bench.until_marked()
    os.kill(server_of(worker), signal.SIGKILL)
    bench.until_gone()
    worker.communicate()
    assert worker.returncode == 0
    job = bench.queue.get_job("hang_once")
    assert (job.status, job.attempts, job.failures) == (JobStatus.SUCCESS, 2, 1)


def test_an_idle_server_that_died_costs_no_attempt(bench):
    worker = bench.start("--isolate", "process", "--max-jobs", "1")
    first_line(worker)
    server = server_of(worker)
    os.kill(server, signal.SIGKILL)
    until(lambda: Path(f"/proc/{server}/stat").read_text().rpartition(")")[2].split()[0] == "Z")
    bench.put("noop")
    worker.communicate()
    job = bench.queue.get_job("noop")
    assert (job.status, job.attempts) == (JobStatus.SUCCESS, 1)


def server_of(worker):
    return int(children_of(worker.pid)[0])


def children_of(pid):
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def test_each_job_has_a_process_of_its_own(bench):
    for number in range(3):
        bench.put("pid", f"j{number}")
    assert bench.run("--isolate", "process", "--burst")[0] == 0
    assert len({bench.queue.get_job(f"j{number}").result["pid"] for number in range(3)}) == 3


@pytest.mark.promise("D5")
def test_a_job_in_a_process_records_its_tasks_through_its_worker(bench):
    (bench.folder / "d.yaml").write_text(
        "name: d\ntasks:\n"
        "  - {id: one, workflow_ref: pid}\n"
        "  - {id: two, workflow_ref: fail_n_times, params: {n: 1}, depends_on: [one]}\n"
    )
    bench.queue.enqueue(Job.new("d.yaml", id="j", max_retries=1))
    assert bench.run("--isolate", "process", "--max-jobs", "2")[0] == 0
    job = bench.queue.get_job("j")
    assert (job.status, job.attempts) == (JobStatus.SUCCESS, 2)
    log = (bench.folder / "logs" / "orchestrator_events.jsonl").read_text()
    assert log.count('"event":"task_start"') == 3


# -- outages -------------------------------------------------------------------------------------------------------


@pytest.mark.promise("W3", "W5", "Q14")
def test_a_worker_rides_out_the_death_of_its_redis_server_and_repeats_no_work(tmp_path):
    if find_server() is None:
        pytest.skip("no Redis-protocol server at hand")
    (tmp_path / "redis").mkdir()
    with start_redis(tmp_path / "redis", appendfsync="always") as server:
        bench = Bench(tmp_path, server.url)
        try:
            bench.put("wait_for")
            worker = bench.start()
            bench.until_marked()
            server.kill()
            bench.file.touch()  # the job ends while there is nobody to tell
            while "Queue does not answer" not in worker.stderr.readline():
                pass
            server.restart()
            bench.queue.close()  # the test's own connection died with the server; the worker has to find out by itself
            bench.queue = open_queue(server.url)
            until(lambda: bench.status("wait_for") is JobStatus.SUCCESS)
            bench.put("noop")
            until(lambda: bench.status("noop") is JobStatus.SUCCESS)
            worker.terminate()
            _, err = worker.communicate()
            assert worker.returncode == 0
            assert "Queue is back after" in err
            assert bench.marks.read_text() == "wait_for\n"
            assert bench.queue.get_job("wait_for").attempts == 1
        finally:
            bench.close()


# -- clocks, slow stores, other versions ---------------------------------------------------------------------------


@pytest.mark.promise("W2", "Q5")
@pytest.mark.parametrize("whose", ["holder", "other"])
def test_a_clock_that_jumps_in_a_worker_moves_no_lease_and_repeats_no_job(bench, whose):
    """A job is kept for several leases by a worker whose clock falls back, or beside one whose clock runs ahead."""
    if whose == "holder":
        bench.put("set_the_clock", params={"by": -3 * 86400})
    bench.put("wait_for")
    workers = [bench.start(env={"ORCH_LEASE_S": "0.5"})]
    bench.until_marked()
    if whose == "other":
        bench.put("set_the_clock", params={"by": 3 * 86400})
    workers.append(bench.start("--worker-id", "other"))
    until(lambda: bench.status("set_the_clock") is JobStatus.SUCCESS)
    first = bench.queue.get_job("wait_for").lease.expires_at
    until(lambda: bench.queue.get_job("wait_for").lease.expires_at > first + 1.5)
    bench.file.touch()
    until(lambda: bench.status("wait_for") is JobStatus.SUCCESS)
    bench.put("noop")
    until(lambda: bench.status("noop") is JobStatus.SUCCESS)
    for worker in workers:
        worker.terminate()
        worker.communicate()
        assert worker.returncode == 0
    assert {job.id: (job.attempts, job.crashes) for job in bench.queue.list_jobs()} == dict.fromkeys(
        ("set_the_clock", "wait_for", "noop"), (1, 0)
    )


@pytest.mark.promise("W2", "W5")
def test_a_store_that_is_slower_than_a_lease_costs_no_job_and_no_attempt(bench):
    bench.put("wait_for")
    worker = bench.start(env={"ORCH_LEASE_S": "0.2"})
    bench.until_marked()
    with contextlib.closing(sqlite3.connect(bench.folder / "q.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")  # nobody can write now, for longer than the lease
        begun = bench.queue.get_job("wait_for").lease.expires_at
        until(lambda: process_clock() > begun + 0.5)
        assert bench.status("wait_for") is JobStatus.RUNNING
        other.execute("ROLLBACK")
    until(lambda: bench.queue.get_job("wait_for").lease.expires_at > begun + 0.5)  # kept on, past its end
    bench.file.touch()
    until(lambda: bench.status("wait_for") is JobStatus.SUCCESS)
    worker.terminate()
    worker.communicate()
    job = bench.queue.get_job("wait_for")
    assert (worker.returncode, job.attempts, job.crashes) == (0, 1, 0)


@pytest.mark.promise("Q13")
def test_a_worker_among_records_of_an_older_and_a_newer_version_runs_what_it_understands(bench):
    """A rolling upgrade: what only the newer version can read waits, in quarantine, and is whole."""
    for name in ("newer", "older", "known"):
        bench.put("noop", name)
    stored = bench.queue.get_job("newer").to_dict()
    newer = json.dumps({"v": RECORD_VERSION + 1, **stored, "shape": "unheard of"}).encode()
    bench.queue.plant_record("newer", newer)
    stored = bench.queue.get_job("older").to_dict()
    older = {key: stored[key] for key in list(stored)[:12]} | {"run_id": "r-7"}  # the fields of the seed, and one more
    bench.queue.plant_record("older", json.dumps(older).encode())
    code, _, err = bench.run("--burst")
    assert code == 0, err
    assert (bench.status("older"), bench.status("known")) == (JobStatus.SUCCESS, JobStatus.SUCCESS)
    assert bench.queue.get_job("older").extra == {"run_id": "r-7"}
    assert [(found.job_id, found.raw) for found in bench.queue.quarantined()] == [("newer", newer)]


# -- how it begins -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "env", "said"),
    [
        (["--url", "memory://"], {}, "memory:// lives in one process"),
        (["--url", "sqs://x"], {}, "no queue backend for 'sqs://x'"),
        (["--poll-ms", "0"], {}, "--poll-ms must be at least 1, got 0"),
        (["--poll-ms", "-5"], {}, "--poll-ms must be at least 1, got -5"),
        (["--concurrency", "0"], {}, "concurrency must be between 1 and 1000, got 0"),
        (["--max-jobs", "0"], {}, "max_jobs must be between 1"),
        (["--grace-s", "-1"], {}, "grace_s must be 0 or more"),
        (["--worker-id", "a\nb"], {}, "worker id must be 1 to 200 printable characters"),
        ([], {"ORCH_GRACE_S": "soon"}, "ORCH_GRACE_S must be a number, got 'soon'"),
        ([], {"ORCH_WORKFLOWS": "no_such_module"}, "cannot import the workflow module 'no_such_module'"),
        (["--url", "sqlite:////no/such/folder/q.db"], {}, "/no/such/folder"),
    ],
)
@pytest.mark.promise("Q15")
def test_bad_input_ends_a_worker_with_2_and_one_line(bench, arguments, env, said):
    code, out, err = bench.run(*arguments, env=env)
    assert (code, out) == (2, "")
    assert said in err
    assert err.startswith("orch: ")
    assert err.count("\n") == 1


def test_the_environment_names_the_queue_as_it_was_typed(bench):
    bench.queue.close()
    command = [sys.executable, "-m", "orch.worker", "--burst", "--worker-id", "w"]
    env = bench.env(QUEUE_BACKEND="SQLite", ORCH_SQLITE_PATH=str(bench.folder / "q.db"))
    done = subprocess.run(command, cwd=bench.folder, env=env, capture_output=True, text=True)
    assert done.stdout == "Worker w starting with SQLite queue backend\n"
    assert done.returncode == 0


def test_a_burst_says_by_its_exit_code_whether_a_job_failed(bench):
    bench.put("noop")
    assert bench.run("--burst")[0] == 0
    bench.put("fail")
    code, out, _ = bench.run("--burst", "--quiet")
    assert (code, out) == (1, "Worker w starting with sqlite queue backend\n")


@pytest.mark.promise("W8")
def test_a_worker_is_visible_while_it_runs_a_job(bench):
    bench.put("wait_for")
    worker = bench.start("--concurrency", "3", "--max-jobs", "1")
    bench.until_marked()
    until(lambda: bench.queue.workers() and bench.queue.workers()[0].pid)
    info = bench.queue.workers()[0]
    assert (info.id, info.pid, info.slots, info.jobs) == ("w", worker.pid, 3, ("wait_for",))
    assert info.host
    assert info.started_at
    assert info.last_beat_at
    bench.file.touch()
    worker.communicate()


def test_log_lines_name_the_job_and_its_delivery(bench):
    bench.put("noop")
    token = None
    _, _, err = bench.run("--burst", "--log-level", "info")
    token = err.split("token=")[1].split("]")[0]
    assert f"INFO orch.worker [job=noop token={token}] [w] Processing job noop" in err
    assert int(token) > 0
