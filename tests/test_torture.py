"""Torture of the real thing: each fault alone, queues that are broken on purpose, and what is left behind."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from orch import Job, open_queue
from orch.errors import InvalidInput
from orch.testing.bugs.processes import BUGS
from orch.testing.bugs.torture_hunter import hunt, plan_of
from orch.testing.servers import find_server, start_redis
from orch.torture.matrix import JOBS, Variant, kill_row, matrix
from orch.torture.plan import Plan
from orch.torture.run import MARK, fresh_folder, torture

pytestmark = [pytest.mark.torture, pytest.mark.real, pytest.mark.timeout(300)]

needs_server = pytest.mark.skipif(find_server() is None, reason="no redis-server or valkey-server")
# Short leases and few members: each run is a few seconds.
SMALL = {"workers": 3, "producers": 1, "lease_s": 1.0, "jobs_per_second": 25.0, "seconds": 3.0, "seed": 11}


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
@pytest.mark.promise("W4", "W5", "Q9", "Q13")
def test_after_a_fail_over_every_worker_takes_jobs_from_the_new_primary(tmp_path):
    """Replication is asynchronous: what was acknowledged in its last moment may be lost, the rest goes on."""
    outcome = run(tmp_path, backend="redis", replica=True, nemesis=("failover", "kill"), seconds=12.0, intensity=1.0)
    assert outcome.times("failover") >= 1
    assert outcome.seen.drained
    assert not {finding.promise for finding in outcome.broken} & {"W5 outage", "W4 stop", "Q9 true counts", "history"}


@needs_server
@pytest.mark.promise("Q1", "Q4", "Q14", "Q15", "W5")
def test_all_faults_together_break_nothing_and_the_page_shows_them(tmp_path):
    outcome = run(tmp_path, backend="redis", seconds=5.0)
    assert outcome.good, said(outcome)
    page = outcome.page.read_text()
    assert "Every promise was kept." in page
    assert outcome.store in page
    assert all(f"<b>{name}</b>" in page for name in outcome.plan.faults)


@needs_server
@pytest.mark.parametrize("bug", ["popping", "optimistic", "fragile", "locked"])
def test_a_queue_that_is_broken_is_caught_by_the_promise_it_breaks(bug):
    """Some of those that `python -m orch.testing.bugs --level torture` hunts."""
    found = hunt(next(one for one in BUGS if one.name == bug))
    assert found is not None
    assert found.promise in next(one for one in BUGS if one.name == bug).promises, found.program


def test_there_are_bugs_enough_and_each_has_faults_that_exist():
    assert len(BUGS) >= 15
    assert len({bug.name for bug in BUGS}) == len(BUGS)
    for bug in BUGS:
        assert plan_of(bug, 1, Path("x")).faults


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


@pytest.mark.parametrize(
    ("wrong", "said"), [({"backends": ("postgres",)}, "postgres"), ({"faults": ("rain",)}, "rain")]
)
def test_the_matrix_refuses_a_backend_or_a_fault_that_it_does_not_know(tmp_path, wrong, said):
    asked = {"backends": ("sqlite",), "seconds": 1.0, "lease_s": 1.0, "seed": 0, "say": lambda _text: None}
    with pytest.raises(InvalidInput, match=said):
        matrix(tmp_path / "m", **{**asked, **wrong})


def test_the_matrix_gives_only_the_faults_that_were_asked_for(tmp_path):
    table = matrix(
        tmp_path / "m", ("sqlite",), seconds=1.0, lease_s=1.0, seed=0, say=lambda _text: None, faults=("kill",)
    )
    assert [(cell.variant.name, cell.fault) for cell in table.cells] == [("SQLite NORMAL", "kill")]
    assert table.good, table.summary


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
