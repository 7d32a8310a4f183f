"""Torture of the real thing: each fault alone, queues that are broken on purpose, and what is left behind."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from orch import Job, open_queue
from orch.errors import InvalidInput
from orch.testing.servers import find_server, start_redis
from orch.torture.matrix import JOBS, Variant, kill_row, matrix
from orch.torture.plan import Plan
from orch.torture.run import MARK, fresh_folder, torture

pytestmark = [pytest.mark.torture, pytest.mark.real, pytest.mark.timeout(300)]

needs_server = pytest.mark.skipif(find_server() is None, reason="no redis-server or valkey-server")
# Short leases and few members: each run is a few seconds.
SMALL = {"workers": 3, "producers": 1, "lease_s": 1.0, "jobs_per_second": 25.0, "seconds": 3.0, "seed": 11}

BROKEN = '''
"""Queues that are broken on purpose, each in one way."""

import os
import time
from dataclasses import replace

from orch.backends import open_shared_queue
from orch.backends.redis import RedisQueue
from orch.backends.sqlite import SqliteQueue
from orch.errors import BackendUnavailable
from orch.job import Job, JobStatus, Report


def broken(kind):
    def make(url, settings):
        queue = open_shared_queue(url, settings=settings)
        queue.__class__ = kind
        for name in ("max_crashes", "_clock"):
            if name in vars(kind):
                setattr(queue, name, getattr(kind, name))
        return queue
    return make


class Forgetful(SqliteQueue):
    """A delivery is not watched: the job of a dead worker never comes back."""

    def _exchange(self, reports, n, worker_id, lease_s):
        return super()._exchange(reports, n, worker_id, 100_000.0)


class Hasty(SqliteQueue):
    """The lease that is kept is shorter than the one that was promised."""

    def _exchange(self, reports, n, worker_id, lease_s):
        return super()._exchange(reports, n, worker_id, lease_s / 5)

    def _extend(self, leases, lease_s):
        return [lease for lease in leases]


class Unfenced(SqliteQueue):
    """Reports and extensions count whoever makes them: by the id alone."""

    def _extend(self, leases, lease_s):
        return [lease if isinstance(new, Exception) else new
                for lease, new in zip(leases, super()._extend(leases, lease_s))]

    def _exchange(self, reports, n, worker_id, lease_s):
        told = [r if r.status is JobStatus.PENDING else replace(r, lease=None) for r in reports]
        return super()._exchange(told, n, worker_id, lease_s)


class Popping(SqliteQueue):
    """What is taken is gone, as from a list that is popped: a success at once."""

    def _exchange(self, reports, n, worker_id, lease_s):
        _, jobs = super()._exchange((), n, worker_id, lease_s)
        for job in jobs:
            super()._exchange(self.done(job), 0, worker_id, lease_s)
        return [self.get_job(r.job_id) for r in reports], jobs

    def done(self, job):
        return (Report(job.id, JobStatus.SUCCESS, lease=job.lease),)


class Lossy(SqliteQueue):
    """Every tenth job is acknowledged and not stored."""

    seen = 0

    def _enqueue(self, jobs):
        type(self).seen += 1
        return len(jobs) if self.seen % 10 == 0 else super()._enqueue(jobs)


class Numb(SqliteQueue):
    """One worker goes on living, beats, and takes nothing any more."""

    asked = 0

    def _exchange(self, reports, n, worker_id, lease_s):
        type(self).asked += worker_id == "w1"
        return super()._exchange(reports, 0 if worker_id == "w1" and self.asked > 5 else n, worker_id, lease_s)


class Fragile(SqliteQueue):
    """Takes its worker along, with exit status 0, when a step is slow: as in an outage."""

    def _exchange(self, reports, n, worker_id, lease_s):
        begun = time.monotonic()
        answer = super()._exchange(reports, n, worker_id, lease_s)
        if time.monotonic() - begun > 2.0 and worker_id.startswith("w"):
            os._exit(0)
        return answer


class Reordering(SqliteQueue):
    """Two jobs that are enqueued one after the other are swapped."""

    kept = None

    def _enqueue(self, jobs):
        if len(jobs) != 1 or jobs[0].priority or jobs[0].not_before:
            return super()._enqueue(jobs)
        if self.kept is None:
            type(self).kept = jobs
            return 1
        first, type(self).kept = self.kept, None
        return super()._enqueue(jobs) and super()._enqueue(first)


class CallersClock(SqliteQueue):
    """Leases are reckoned on the clock of whoever asks."""

    _clock = staticmethod(time.time)


class Impatient(SqliteQueue):
    """The first lost lease ends a job."""

    max_crashes = 0


class Tireless(SqliteQueue):
    """Lost leases are not counted: a job that kills its worker goes on for ever."""

    max_crashes = 1_000_000


class InTwoSteps(SqliteQueue):
    """A retry is a failure that is put back afterwards."""

    def _exchange(self, reports, n, worker_id, lease_s):
        again = [r.job_id for r in reports if r.status is JobStatus.RETRY and r.lease]
        told = [replace(r, status=JobStatus.FAILED, delay_s=None) if r.job_id in again else r for r in reports]
        results, jobs = super()._exchange(told, n, worker_id, lease_s)
        for at, report in enumerate(reports):
            job = results[at]
            if report.job_id in again and not isinstance(job, Exception) and job.failures <= job.max_retries:
                time.sleep(0.2)
                results[at] = self.requeue(report.job_id)
        return results, jobs


class IdleBlind(SqliteQueue):
    """Lost leases are looked for only where there is something to deliver."""

    def _exchange(self, reports, n, worker_id, lease_s):
        return super()._exchange(reports, n if n and self.stats().ready else 0, worker_id, lease_s)


class ByName(SqliteQueue):
    """A worker that beats keeps all that is its by name: also what its dead namesake held."""

    def _exchange(self, reports, n, worker_id, lease_s):
        mine = [j.lease for j in self.list_jobs(JobStatus.RUNNING) if j.lease and j.lease.worker_id == worker_id]
        if n and mine:
            self._extend(mine, lease_s)
        return super()._exchange(reports, n, worker_id, lease_s)


class Buffered(SqliteQueue):
    """Jobs are acknowledged before they are stored, some at a time."""

    buffer = []

    def _enqueue(self, jobs):
        self.buffer.extend(jobs)
        if len(self.buffer) >= 8:
            super()._enqueue(self.buffer)
            self.buffer.clear()
        return len(jobs)


class Optimistic(RedisQueue):
    """A report that cannot be sent is taken for done."""

    def _exchange(self, reports, n, worker_id, lease_s):
        try:
            return super()._exchange(reports, n, worker_id, lease_s)
        except BackendUnavailable:
            if not reports:
                raise
            return [Job("x", "x", "x", None, r.status, "2026-01-01T00:00:00Z") for r in reports], []


for kind in (*SqliteQueue.__subclasses__(), *RedisQueue.__subclasses__()):
    globals()[kind.__name__.lower()] = broken(kind)
'''


def said(outcome):
    return "\n".join([*(f"{f.promise}: {f.evidence}" for f in outcome.broken), outcome.witness])


def run(folder, **values):
    return torture(Plan(out=folder / "t", **{**SMALL, **values}), lambda _text: None)


@pytest.mark.promise("Q1", "Q4", "Q5", "Q6", "Q7", "W1", "W2", "W5")
@pytest.mark.parametrize(
    ("fault", "backend"),
    [
        ("kill", "sqlite"),
        ("step", "sqlite"),
        ("outage", "sqlite"),
        ("disk", "sqlite"),
        ("poison", "sqlite"),
        ("pause", "redis"),
        ("restart", "redis"),
        ("partition", "redis"),
        ("skew", "redis"),
        ("memory", "redis"),
        ("long", "redis"),
    ],
)
def test_every_promise_is_kept_under_each_fault(tmp_path, fault, backend):
    if backend == "redis" and find_server() is None:
        pytest.skip("no redis-server or valkey-server")
    outcome = run(tmp_path, nemesis=(fault,), backend=backend)
    assert outcome.good, said(outcome)
    assert outcome.times(fault) > 0
    assert outcome.judgement.counts["acknowledged"] > 10


@pytest.mark.promise("Q14")
@pytest.mark.parametrize("backend", ["sqlite", "redis"])
def test_nothing_acknowledged_is_lost_with_the_power_where_that_is_promised(tmp_path, backend):
    if backend == "redis" and find_server() is None:
        pytest.skip("no redis-server or valkey-server")
    outcome = run(tmp_path, nemesis=("power",), backend=backend, synchronous="FULL", appendfsync="always")
    assert outcome.good, said(outcome)
    assert outcome.times("power") == 1


@pytest.mark.parametrize("backend", ["sqlite", "redis"])
def test_a_loss_that_is_not_ruled_out_is_noticed(tmp_path, backend):
    if backend == "redis" and find_server() is None:
        pytest.skip("no redis-server or valkey-server")
    outcome = run(tmp_path, nemesis=("power",), backend=backend, synchronous="NORMAL", appendfsync="everysec")
    assert not outcome.good
    assert outcome.broken[0].promise in ("Q1 conserve", "Q4 one holder", "Q7 final is final")


@needs_server
@pytest.mark.promise("Q1", "Q4", "Q14", "Q15", "W5")
def test_all_faults_together_break_nothing_and_the_page_shows_them(tmp_path):
    outcome = run(tmp_path, backend="redis", seconds=5.0)
    assert outcome.good, said(outcome)
    page = outcome.page.read_text()
    assert "Every promise was kept." in page
    assert outcome.store in page
    assert all(f"<b>{name}</b>" in page for name in outcome.plan.faults)


# What they need to be caught every time: work in progress when the last worker dies, or time for jobs between cuts.
TUNED = {
    "idleblind": {"intensity": 1.0, "jobs_per_second": 40.0},
    "optimistic": {"intensity": 1.0, "seconds": 8.0, "backend": "redis"},
}


@pytest.mark.parametrize(
    ("queue", "nemesis", "promises"),
    [
        ("forgetful", ("kill",), {"Q1", "Q5"}),
        ("hasty", ("long",), {"Q4"}),
        ("unfenced", ("pause", "long"), {"Q4", "Q7"}),
        ("popping", ("kill",), {"Q1", "Q4", "Q7"}),
        ("lossy", ("kill",), {"Q1"}),
        ("numb", ("kill",), {"W5"}),
        ("fragile", ("outage",), {"W5"}),
        ("reordering", ("skew",), {"Q1", "Q2"}),
        ("callersclock", ("skew", "long"), {"Q4"}),
        ("impatient", ("kill",), {"W1"}),
        ("tireless", ("poison",), {"Q1", "Q6"}),
        ("intwosteps", ("kill",), {"W1"}),
        ("idleblind", ("kill", "long"), {"Q1", "Q2", "Q5"}),
        ("byname", ("kill",), {"Q1", "Q5"}),
        ("buffered", ("kill",), {"Q1"}),
        ("optimistic", ("partition",), {"Q1", "Q4", "Q7"}),
    ],
)
def test_a_queue_that_is_broken_is_caught_by_the_promise_it_breaks(tmp_path, monkeypatch, queue, nemesis, promises):
    (tmp_path / "broken_queues.py").write_text(BROKEN)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    if queue == "optimistic" and find_server() is None:
        pytest.skip("no redis-server or valkey-server")
    tuned = {"seconds": 4.0, "limit_s": 4.0, "intensity": 4.0, **TUNED.get(queue, {})}
    outcome = run(tmp_path, nemesis=nemesis, queue=f"broken_queues:{queue}", **tuned)
    assert not outcome.good
    assert promises & {finding.promise.split()[0] for finding in outcome.broken}, said(outcome)


# -- other people's stores -------------------------------------------------------------------------------------------


def test_a_queue_that_holds_jobs_is_refused_and_left_as_it_is(tmp_path):
    url = f"sqlite:///{tmp_path / 'theirs.db'}"
    queue = open_queue(url)
    queue.enqueue(Job.new("workflow:noop", id="theirs"))
    with pytest.raises(InvalidInput, match="holds 1 jobs"):
        run(tmp_path, url=url)
    assert [job.id for job in queue.list_jobs()] == ["theirs"]
    queue.close()


@needs_server
def test_a_given_server_is_tortured_through_the_wire_only_and_left_clean(tmp_path):
    import redis

    with start_redis(tmp_path / "redis") as server:
        outcome = run(tmp_path, url=server.url, nemesis=("partition", "kill"), seconds=2.0)
        assert outcome.good, said(outcome)
        client = redis.Redis.from_url(server.url)
        assert client.keys() == []
        client.close()


def test_a_run_replaces_only_what_a_run_left(tmp_path):
    mine = fresh_folder(tmp_path / "t")
    (mine / "index.html").touch()
    assert list(fresh_folder(mine).iterdir()) == [mine / MARK]
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "dear.txt").touch()
    with pytest.raises(InvalidInput, match="another folder"):
        fresh_folder(tmp_path / "letters")


# -- the matrix ------------------------------------------------------------------------------------------------------


@pytest.mark.promise("Q5", "W2", "W5")
def test_workers_killed_in_take_and_in_run_are_replaced_within_lease_and_sweep(tmp_path):
    plan = Plan(out=tmp_path / "k", workers=2, slots=JOBS, producers=1, nemesis=(), lease_s=1.0)
    row = kill_row(Variant("sqlite"), plan, lambda _text: None)
    assert row.good(1.0), row
    assert (row.lost, row.twice, set(row.exits), row.alive) == (0, 0, {0}, True)


def test_the_matrix_refuses_a_backend_that_it_does_not_know(tmp_path):
    with pytest.raises(InvalidInput, match="postgres"):
        matrix(tmp_path / "m", ("postgres",), seconds=1.0, lease_s=1.0, seed=0, say=lambda _text: None)


# -- the command -----------------------------------------------------------------------------------------------------


def orch(tmp_path, *arguments):
    command = [sys.executable, "-m", "orch", "torture", "--out", str(tmp_path / "t"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=250, cwd=tmp_path)


def test_the_command_prints_the_verdict_as_json_and_exits_zero(tmp_path):
    arguments = [
        "--seconds",
        "2",
        "--workers",
        "2",
        "--nemesis",
        "kill, poison",
        "--lease",
        "1",
        "--seed",
        "5",
        "--json",
    ]
    done = orch(tmp_path, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout)
    assert (told["good"], told["seed"], told["nemesis"]) == (True, 5, ["kill", "poison"])
    assert told["verdict"]["valid"] is True
    assert Path(told["page"]).exists()
    assert "SQLite, synchronous NORMAL: 2 workers" in done.stderr


@needs_server
def test_a_run_that_breaks_a_promise_exits_one_and_shows_the_witness(tmp_path):
    arguments = ["--backend", "redis", "--appendfsync", "everysec", "--nemesis", "power"]
    done = orch(tmp_path, *arguments, "--seconds", "3", "--workers", "2", "--lease", "1", "--seed", "4")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "✗ BROKEN" in done.stdout
    assert "promised:" in done.stdout
    assert "seed 4" in done.stdout


@pytest.mark.promise("Q12", "Q15")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--nemesis", "flood"], "flood"),
        (["--url", "memory://"], "memory://"),
        (["--url", "redis://127.0.0.1:1/0", "--nemesis", "kill"], "127.0.0.1:1"),
        (["--workers", "0"], "workers"),
        (["--matrix", "--backends", "postgres"], "postgres"),
        (["--queue", "nowhere:make", "--nemesis", "kill"], "nowhere"),
    ],
)
def test_what_cannot_be_run_exits_two_and_says_why(tmp_path, arguments, said):
    done = orch(tmp_path, *arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("backend", ["sqlite", "redis"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_leaves_no_process_behind(tmp_path, backend, number):
    if backend == "redis" and find_server() is None:
        pytest.skip("no redis-server or valkey-server")
    command = [sys.executable, "-m", "orch", "torture", "--out", str(tmp_path / "t"), "--backend", backend]
    run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
    assert any(" s [" in line for line in iter(run.stderr.readline, "")), "it ended before it said anything"
    begun = descendants(run.pid)
    assert len(begun) >= 5
    run.send_signal(number)
    run.communicate(timeout=60)
    assert run.returncode == 130
    until_gone(begun)


def descendants(pid):
    """All processes below this one, which may have sessions of their own."""
    found, todo = set(), [pid]
    while todo:
        parent = todo.pop()
        listed = subprocess.run(["pgrep", "-P", str(parent)], capture_output=True, text=True).stdout.split()
        todo += [int(child) for child in listed]
        found |= {int(child) for child in listed}
    return found


def until_gone(pids):
    """Wait until all of them are gone; pytest's time-out ends a wait in vain."""
    while any(Path(f"/proc/{pid}").exists() and state(pid) != "Z" for pid in pids):
        time.sleep(0.02)


def state(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"
