"""SqliteQueue keeps the contract; its own dangers are below: other processes, other files, full disks, sudden ends."""

from __future__ import annotations

import os
import random
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import closing
from pathlib import Path
from zlib import crc32

import pytest

from orch.backends import open_queue
from orch.backends import sqlite as backend
from orch.backends.sqlite import Machine, SqliteQueue
from orch.clock import iso
from orch.errors import BackendUnavailable, InvalidInput, JobNotFound, WriteRefused
from orch.job import STATES, Job, JobStatus, Report, encode_record
from orch.testing import FakeClock, QueueContract

PENDING, RUNNING, SUCCESS, FAILED, RETRY = JobStatus
AT = "2027-01-15T08:00:00+00:00"


@pytest.fixture
def folder(tmp_path):
    """A folder in memory where the system has one: files are made and closed often here, and fsync is slow."""
    if not os.access("/dev/shm", os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="orch-test-") as name:
        yield Path(name)


@pytest.fixture
def path(folder):
    return folder / "queue.db"


@pytest.fixture
def queue(path):
    with closing(SqliteQueue(path)) as queue:
        yield queue


class TestSqliteContract(QueueContract):
    @pytest.fixture(autouse=True)
    def _folder(self, folder):
        self.folder = folder
        self.made = 0

    def make_queue(self, clock: FakeClock) -> SqliteQueue:
        self.made += 1
        return SqliteQueue(self.folder / f"queue-{self.made}.db", clock=clock)

    def second_client(self, queue: SqliteQueue) -> SqliteQueue:
        return SqliteQueue(queue.path, clock=queue._clock)

    def reopen(self, queue: SqliteQueue) -> SqliteQueue:
        queue.close()
        return SqliteQueue(queue.path, clock=queue._clock)


def new_job(id, **fields):
    return Job(id, "d.yaml", "t", None, PENDING, AT, **fields)


def new_jobs(n, name="j"):
    return [new_job(f"{name}{i}") for i in range(n)]


def sql(path, statement, *parameters):
    """Ask or change the file behind the queue's back."""
    with closing(sqlite3.connect(path, timeout=30, isolation_level=None)) as db:
        return db.execute(statement, parameters).fetchall()


def contents(folder):
    """Every file of a folder, byte for byte."""
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}


def run(script, *arguments):
    """What a script prints, run by a Python of its own."""
    command = [sys.executable, "-c", script, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def check_books(queue):
    """What is kept twice, in counters and in rows, is the same; and SQLite finds no fault in the file."""
    rows = sql(queue.path, "SELECT status, due_us IS NULL, count(*) FROM job GROUP BY 1, 2")
    stats = queue.stats()
    for number, status in enumerate(STATES):
        assert stats.counts[status] == sum(n for found, _, n in rows if found == number), status
    assert stats.ready == sum(n for found, ready, n in rows if found == 0 and ready)
    assert stats.quarantined == sum(n for found, _, n in rows if found == 4)
    for status in STATES:
        assert len(queue.list_jobs(status, 1_000_000)) == stats.counts[status]
    assert sql(queue.path, "PRAGMA integrity_check") == [("ok",)]


# -- opening -----------------------------------------------------------------------------------------------------------


@pytest.mark.promise("Q12")
@pytest.mark.parametrize("bad", [":memory:", "", "a\0b", 5, None, b"bytes.db"])
def test_a_path_that_is_none_is_refused(bad):
    with pytest.raises(InvalidInput, match="path must be"):
        SqliteQueue(bad)


@pytest.mark.promise("Q15")
def test_a_queue_in_memory_is_refused_with_the_name_of_the_right_backend(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidInput, match=r"memory://"):
        SqliteQueue(":memory:")
    assert contents(tmp_path) == {}


@pytest.mark.promise("Q12")
@pytest.mark.parametrize("bad", ["OFF", "normal", "", None, 1])
def test_a_synchronous_that_is_none_is_refused(path, bad):
    with pytest.raises(InvalidInput, match="NORMAL or FULL"):
        SqliteQueue(path, synchronous=bad)
    assert not path.exists()


@pytest.mark.promise("Q14")
@pytest.mark.parametrize(("url", "level"), [("", 1), ("?synchronous=NORMAL", 1), ("?synchronous=FULL", 2)])
def test_the_url_says_how_synchronous_the_file_is(path, url, level):
    with closing(open_queue(f"sqlite:///{path}{url}")) as queue:
        assert queue._file._db.execute("PRAGMA synchronous").fetchone() == (level,)
        assert queue._file._db.execute("PRAGMA journal_mode").fetchone() == (b"wal",)


@pytest.mark.promise("Q15")
def test_a_missing_folder_is_refused_by_its_name(tmp_path):
    with pytest.raises(BackendUnavailable, match=re.escape(f"no folder {tmp_path / 'none'}")):
        SqliteQueue(tmp_path / "none" / "queue.db")
    assert contents(tmp_path) == {}


@pytest.mark.promise("Q15")
def test_a_path_that_the_system_refuses_is_an_error_with_its_reason(tmp_path):
    with pytest.raises(BackendUnavailable, match="name too long"):
        SqliteQueue(tmp_path / ("x" * 400))


@pytest.mark.promise("Q15")
def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(BackendUnavailable, match="not a regular file"):
        SqliteQueue(tmp_path)


@pytest.mark.promise("Q15")
@pytest.mark.parametrize("data", [b"hello", b"# notes\n" * 1_000, bytes(8192), b"SQLite format 3\0" + b"\xff" * 4080])
def test_a_file_that_is_no_database_is_refused_and_left_as_it_is(tmp_path, data):
    path = tmp_path / "notes.txt"
    path.write_bytes(data)
    with pytest.raises(BackendUnavailable, match=r"notes\.txt .*(no SQLite database|cannot be used)"):
        SqliteQueue(path)
    assert contents(tmp_path) == {"notes.txt": data}


@pytest.mark.promise("Q15")
@pytest.mark.parametrize("application_id", [0, 77])
@pytest.mark.parametrize("mode", ["DELETE", "WAL"])
def test_another_applications_database_is_refused_and_left_as_it_is(folder, application_id, mode):
    path = folder / "other.db"
    sql(path, f"PRAGMA journal_mode = {mode}")
    sql(path, "CREATE TABLE job (id TEXT)")
    sql(path, f"PRAGMA application_id = {application_id}")
    before = contents(folder)
    with pytest.raises(BackendUnavailable, match=f"another application .application id {application_id}"):
        SqliteQueue(path)
    assert contents(folder) == before


@pytest.mark.promise("Q15")
def test_another_applications_database_is_refused_too_while_it_is_in_use(folder):
    path = folder / "other.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA journal_mode = WAL")
        other.execute("CREATE TABLE job (id TEXT)")  # in the -wal file only
        with pytest.raises(BackendUnavailable, match="another application"):
            SqliteQueue(path)
        assert other.execute("SELECT count(*) FROM sqlite_master").fetchone() == (1,)


@pytest.mark.promise("Q15")
def test_what_another_application_left_unfinished_when_it_died_is_left_as_it_is(folder):
    alive, dead = folder / "alive", folder / "dead"
    alive.mkdir()
    with closing(sqlite3.connect(alive / "other.db", isolation_level=None)) as other:
        other.execute("CREATE TABLE job (id TEXT)")
        other.execute("PRAGMA journal_mode = WAL")
        other.execute("INSERT INTO job VALUES ('a')")  # in the -wal file only
        shutil.copytree(alive, dead)
    before = contents(dead)
    assert "other.db-wal" in before
    with pytest.raises(BackendUnavailable, match="another application"):
        SqliteQueue(dead / "other.db")
    assert contents(dead) == before


@pytest.mark.promise("Q15")
def test_a_newer_schema_is_refused_by_both_versions_and_left_as_it_is(folder, path):
    SqliteQueue(path).close()
    sql(path, "PRAGMA user_version = 9")
    before = contents(folder)
    with pytest.raises(BackendUnavailable, match=r"version 9 .* knows version 1"):
        SqliteQueue(path)
    assert contents(folder) == before


@pytest.mark.promise("Q15")
def test_an_old_sqlite_is_refused_by_its_version(path, monkeypatch):
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 34, 1))
    monkeypatch.setattr(sqlite3, "sqlite_version", "3.34.1")
    with pytest.raises(BackendUnavailable, match=r"3\.35\.0 or newer .* 3\.34\.1"):
        SqliteQueue(path)
    assert not path.exists()


@pytest.mark.promise("Q15")
def test_a_file_system_without_shared_memory_is_refused(path, monkeypatch):
    monkeypatch.setitem(backend._SQL, "journal_wal", "PRAGMA journal_mode = DELETE")
    with pytest.raises(BackendUnavailable, match="no shared memory for WAL"):
        SqliteQueue(path)


@pytest.fixture
def powerless():
    """Files are opened with nobody's permissions, in a folder that nobody may reach."""
    if not hasattr(os, "geteuid"):
        pytest.skip("no users here")
    with tempfile.TemporaryDirectory(prefix="orch-test-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        if os.geteuid() != 0:
            yield folder, folder.chmod
            folder.chmod(0o755)
            return

        def lock(mode):
            folder.chmod(mode)
            os.seteuid(65534)

        yield folder, lock
        os.seteuid(0)


@pytest.mark.promise("Q15")
def test_a_folder_that_cannot_be_written_is_refused(powerless):
    folder, lock = powerless
    lock(0o555)
    with pytest.raises(BackendUnavailable, match=r"queue\.db .*folder must be writable"):
        SqliteQueue(folder / "queue.db")


@pytest.mark.promise("Q15")
def test_a_stored_queue_in_a_folder_that_cannot_be_written_is_refused(powerless):
    folder, lock = powerless
    SqliteQueue(folder / "queue.db").close()
    (folder / "queue.db").chmod(0o666)
    lock(0o555)
    with pytest.raises(BackendUnavailable, match=r"queue\.db cannot be .*folder"):
        SqliteQueue(folder / "queue.db")


@pytest.mark.promise("Q15")
def test_a_file_that_cannot_be_written_is_refused(powerless):
    folder, lock = powerless
    SqliteQueue(folder / "queue.db").close()
    (folder / "queue.db").chmod(0o444)
    lock(0o777)
    with pytest.raises(BackendUnavailable, match=r"queue\.db cannot be written"):
        SqliteQueue(folder / "queue.db")


@pytest.mark.promise("Q14")
@pytest.mark.parametrize("name", ["a b.db", "100%25.db", "a?mode=ro", "a#b", "file:x", "ä.db", "-x"])
def test_any_file_name_is_one(folder, name, monkeypatch):
    monkeypatch.chdir(folder)
    with closing(SqliteQueue(name)) as queue:
        queue.enqueue(new_job("a"))
        assert queue.path == folder / name
        monkeypatch.chdir("/")
        assert queue.count() == 1
    assert list(contents(folder)) == [name]


@pytest.mark.promise("Q15")
def test_an_empty_file_becomes_a_queue(path):
    path.touch()
    with closing(SqliteQueue(path)) as queue:
        assert queue.enqueue(new_job("a"))


def test_a_closed_queue_says_so(queue):
    queue.close()
    for act in (queue.counts, queue.dequeue, lambda: queue.enqueue(new_job("a"))):
        with pytest.raises(BackendUnavailable, match="was closed"):
            act()


# -- the file while it is in use ---------------------------------------------------------------------------------------


@pytest.mark.promise("Q15")
def test_a_removed_file_is_an_error_until_it_is_back(path, queue, monkeypatch):
    monkeypatch.setattr(backend, "LOOK_S", 0.0)
    queue.enqueue(new_job("a"))
    for file in list(path.parent.iterdir()):
        file.rename(path.parent / f"away-{file.name}")
    for act in (queue.dequeue, queue.counts, lambda: queue.enqueue(new_job("b"))):
        with pytest.raises(BackendUnavailable, match=r"queue\.db was removed"):
            act()
    assert not path.exists()
    for file in list(path.parent.iterdir()):
        file.rename(path.parent / file.name.removeprefix("away-"))
    assert queue.dequeue().id == "a"


@pytest.mark.promise("Q15")
def test_an_empty_file_in_its_place_is_not_taken_for_the_queue(path, queue, monkeypatch):
    monkeypatch.setattr(backend, "LOOK_S", 0.0)
    queue.enqueue(new_job("a"))
    for file in list(path.parent.iterdir()):
        file.unlink()
    path.touch()
    with pytest.raises(BackendUnavailable, match="replaced by an empty file"):
        queue.enqueue(new_job("b"))
    assert contents(path.parent) == {path.name: b""}


@pytest.mark.promise("Q14")
def test_a_copy_that_was_put_in_its_place_goes_on_and_keeps_its_own_wal(path, queue, monkeypatch):
    monkeypatch.setattr(backend, "LOOK_S", 0.0)
    with closing(SqliteQueue(path.with_name("other.db"))) as other:
        other.enqueue_many(new_jobs(3))
    for file in list(path.parent.glob("queue.db*")):
        file.unlink()
    path.with_name("other.db").rename(path)
    with closing(SqliteQueue(path)) as third:
        third.enqueue(new_job("a"))
        assert queue.count() == 4
        queue.close()
        assert path.with_name("queue.db-wal").exists()
    with closing(SqliteQueue(path)) as again:
        check_books(again)


@pytest.mark.promise("Q15")
def test_a_damaged_file_is_an_error_that_names_it(path):
    with closing(SqliteQueue(path)) as queue:
        queue.enqueue_many(new_jobs(2_000))
    data = bytearray(path.read_bytes())
    data[8192 : len(data) - 8192] = b"\xa5" * (len(data) - 16384)
    path.write_bytes(data)
    with (
        pytest.raises(BackendUnavailable, match=r"queue\.db cannot be used: .*malformed"),
        closing(SqliteQueue(path)) as q,
    ):
        q.list_jobs(limit=2_000)


@pytest.mark.promise("Q14")
@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("SQLITE_FULL", WriteRefused),
        ("SQLITE_IOERR_WRITE", WriteRefused),
        ("SQLITE_READONLY", WriteRefused),
        ("SQLITE_READONLY_DBMOVED", WriteRefused),
        ("SQLITE_IOERR_READ", BackendUnavailable),
        ("SQLITE_IOERR_FSYNC", BackendUnavailable),
        ("SQLITE_CORRUPT", BackendUnavailable),
        ("SQLITE_CANTOPEN", BackendUnavailable),
        ("SQLITE_NOTADB", BackendUnavailable),
        ("SQLITE_BUSY", BackendUnavailable),
        ("SQLITE_ERROR", BackendUnavailable),
    ],
)
def test_an_error_of_sqlite_is_told_in_our_words(queue, monkeypatch, name, kind):
    error = sqlite3.OperationalError("told by a test")
    error.sqlite_errorcode = getattr(sqlite3, name)
    error.sqlite_errorname = name
    monkeypatch.setattr(backend, "LOCK_S", 0.0)

    def fail(step, jobs):
        raise error

    monkeypatch.setattr(backend._Step, "enqueue", fail)
    with pytest.raises(kind, match=rf"queue\.db .*told by a test .{name}.") as caught:
        queue.enqueue(new_job("a"))
    assert caught.type is kind
    assert caught.value.__cause__ is error
    monkeypatch.undo()
    assert queue.enqueue(new_job("a"))


@pytest.mark.promise("Q14")
def test_what_goes_wrong_in_the_middle_of_a_step_undoes_all_of_it(queue, monkeypatch):
    queue.enqueue_many(new_jobs(3))
    before = queue.stats(), queue.list_jobs()

    def fail(step, reports):
        step.deliver(2, "", 5)
        raise KeyboardInterrupt

    monkeypatch.setattr(backend._Step, "reports", fail)
    with pytest.raises(KeyboardInterrupt):
        queue.exchange([Report("j0", SUCCESS)], 0)
    assert (queue.stats().counts, queue.list_jobs()) == (before[0].counts, before[1])
    check_books(queue)


@pytest.mark.promise("Q14")
@pytest.mark.parametrize("name", ["begin", "commit"])
def test_a_step_whose_end_fails_has_changed_nothing(queue, monkeypatch, name):
    monkeypatch.setitem(backend._SQL, name, "COMMIT NONSENSE")
    with pytest.raises(BackendUnavailable, match="syntax error"):
        queue.enqueue(new_job("a"))
    monkeypatch.undo()
    assert queue.count() == 0
    assert queue.enqueue(new_job("a"))


FULL_DISK = """
import resource, sys
from orch import Job, JobStatus, WriteRefused
from orch.backends import sqlite as backend

path, limit, backend.WAL_MAX = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
backend.WAL_LOOK_S = 0
queue = backend.SqliteQueue(path)
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
accepted, refused = [], []
for i in range(400):
    job = Job(f"j{i}", "x", "t", None, JobStatus.PENDING, "2027-01-15T08:00:00Z", params={"fill": "x" * 3000})
    try:
        queue.enqueue(job)
        accepted.append(job.id)
    except WriteRefused as error:
        assert "takes no more data, nothing was changed" in str(error), error
        assert path in str(error), error
        refused.append(job.id)
    counts = queue.counts()
    assert sum(counts.values()) == len(accepted), (counts, len(accepted))
assert refused and accepted
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
assert queue.enqueue(Job.new("workflow:x", id="afterwards"))
queue.close()
print(" ".join(accepted))
"""


@pytest.mark.real
@pytest.mark.promise("Q14")
@pytest.mark.skipif(sys.platform == "win32", reason="no file-size limit here")
@pytest.mark.parametrize("wal_max", [10_000_000, 20_000], ids=["in the -wal file", "in both files"])
def test_a_full_disk_refuses_a_write_and_changes_nothing(path, wal_max):
    done = run(FULL_DISK, path, 400_000, wal_max)
    with closing(SqliteQueue(path)) as queue:
        assert {job.id for job in queue.list_jobs(limit=1_000)} == {*done.split(), "afterwards"}
        check_books(queue)


@pytest.mark.promise("Q8")
def test_a_step_waits_for_a_store_that_another_process_holds(path, queue):
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        accepted = []
        thread = threading.Thread(target=lambda: accepted.append(queue.enqueue(new_job("a"))))
        thread.start()
        assert other.execute("SELECT count(*) FROM job").fetchone() == (0,)
        assert accepted == []
        other.execute("COMMIT")
        thread.join()
    assert accepted == [True]


@pytest.mark.promise("Q15")
def test_a_store_that_is_held_for_too_long_is_an_error(path, queue, monkeypatch):
    monkeypatch.setattr(backend, "LOCK_S", 0.01)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(BackendUnavailable, match="held by another process"):
            queue.enqueue(new_job("a"))
        assert queue.count() == 0
        other.execute("COMMIT")
    assert queue.enqueue(new_job("a"))


# -- several processes -------------------------------------------------------------------------------------------------


class Team:
    """Processes that run the same script, each told its number, and start together."""

    def __init__(self, script, n, *arguments):
        prelude = "import sys\nsys.stdout.write('here\\n'); sys.stdout.flush(); sys.stdin.readline()\n"
        self.members = [
            subprocess.Popen(
                [sys.executable, "-c", prelude + script, *map(str, arguments), str(i)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for i in range(n)
        ]

    def run(self):
        """What each printed; fails if one failed."""
        for member in self.members:
            assert member.stdout.readline() == "here\n"
        for member in self.members:
            member.stdin.write("go\n")
            member.stdin.flush()
        said = []
        for member in self.members:
            out, err = member.communicate(timeout=100)
            assert member.returncode == 0, err
            said.append(out)
        return said


OPENER = """
from orch import Job
from orch.backends.sqlite import SqliteQueue
for i in range(5):
    queue = SqliteQueue(sys.argv[1])
    assert queue.enqueue(Job.new("workflow:x", id=f"{sys.argv[2]}-{i}"))
    queue.close()
"""


@pytest.mark.real
@pytest.mark.promise("Q8", "Q14")
def test_eight_processes_may_make_and_leave_a_file_at_once(path):
    Team(OPENER, 8, path).run()
    with closing(SqliteQueue(path)) as queue:
        assert queue.count(PENDING) == 40
        check_books(queue)


WORKER = """
from orch import JobStatus, Report
from orch.backends.sqlite import SqliteQueue
queue = SqliteQueue(sys.argv[1])
size = 1 + int(sys.argv[2]) * 3
reports, jobs = [], [None]
while jobs:
    answers, jobs = queue.exchange(reports, size, "w" + sys.argv[2])
    assert all(answer.status is JobStatus.SUCCESS for answer in answers), answers
    reports = [Report(job.id, JobStatus.SUCCESS, lease=job.lease) for job in jobs]
    for job in jobs:
        print(job.id, job.lease.token)
queue.close()
"""


@pytest.mark.real
@pytest.mark.promise("Q1", "Q2", "Q4")
def test_four_processes_drain_one_file_and_each_job_is_delivered_once_in_order(path, queue):
    queue.enqueue_many(new_jobs(800))
    said = Team(WORKER, 4, path).run()
    deliveries = [line.split() for text in said for line in text.splitlines()]
    in_order = sorted(deliveries, key=lambda delivery: int(delivery[1]))
    assert [id for id, _ in in_order] == [f"j{i}" for i in range(800)]
    assert len({token for _, token in deliveries}) == 800
    assert queue.counts() == {PENDING: 0, RUNNING: 0, SUCCESS: 800, FAILED: 0}
    check_books(queue)


PRODUCER = """
from orch import Job
from orch.backends.sqlite import SqliteQueue
queue = SqliteQueue(sys.argv[1])
print(sum(queue.enqueue(Job.new("workflow:x", id=f"j{i}")) for i in range(60)))
queue.close()
"""


@pytest.mark.real
@pytest.mark.promise("Q3")
def test_of_processes_that_enqueue_the_same_ids_one_is_told_of_each_that_it_is_new(path, queue):
    said = Team(PRODUCER, 4, path).run()
    assert sum(map(int, said)) == 60
    assert queue.count() == 60


WAITER = """
import threading, time
from orch.backends import base, sqlite
base.SWEEP_S = sqlite.SWEEP_S = 1e6  # the sweep would find it too
queue = sqlite.SqliteQueue(sys.argv[1])

def tell():
    while not queue._file.waiting:
        time.sleep(0.001)
    print("waits", flush=True)

threading.Thread(target=tell, daemon=True).start()
job = queue.dequeue("w", wait_s=1e6)
print(job.id)
queue.close()
"""


@pytest.mark.real
@pytest.mark.promise("Q2")
def test_a_waiting_process_is_given_the_job_that_another_one_enqueues(path, queue):
    with subprocess.Popen(
        [sys.executable, "-c", "import sys\n" + WAITER, str(path)], stdout=subprocess.PIPE, text=True
    ) as waiter:
        assert waiter.stdout.readline() == "waits\n"
        queue.enqueue(new_job("a"))
        try:
            assert waiter.communicate(timeout=60)[0] == "a\n"
        finally:
            waiter.kill()


FORKS = """
import os, sys, threading
from orch import Job, JobStatus
from orch.backends.sqlite import SqliteQueue
path = sys.argv[1]
queue = SqliteQueue(path)
unused = SqliteQueue(path)
queue.enqueue(Job.new("workflow:x", id="before"))
queue._file.lock.acquire()          # as a thread of the parent that is in the middle of a step
child = os.fork()
if child == 0:
    assert queue.count() == 1       # the lock is the child's own
    assert queue.enqueue(Job.new("workflow:x", id="child"))
    queue.close()
    sys.exit(0)                     # a real end of the interpreter, with the parent's connections in it
queue._file.lock.release()
assert os.waitpid(child, 0)[1] == 0
assert queue.count() == 2
assert os.path.exists(path + "-wal"), "the child removed the file that the parent writes to"
children = []
for i in range(3):
    child = os.fork()
    if child == 0:
        for k in range(50):
            assert queue.enqueue(Job.new("workflow:x", id=f"{i}-{k}"))
        os._exit(0)
    children.append(child)
for k in range(50):
    assert queue.enqueue(Job.new("workflow:x", id=f"parent-{k}"))
for child in children:
    assert os.waitpid(child, 0)[1] == 0
assert queue.count() == unused.count() == 202
queue.close()
unused.close()
"""


@pytest.mark.real
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.promise("Q14")
def test_a_forked_child_opens_its_own_connection_and_leaves_the_parents_alone(path):
    run(FORKS, path)
    with closing(SqliteQueue(path)) as queue:
        check_books(queue)


# -- sudden ends -------------------------------------------------------------------------------------------------------

DYING = """
import json, os, shutil, signal, sys
from dataclasses import astuple
from orch import IllegalTransition, Job, JobStatus, Lease, Report
from orch.backends.sqlite import SqliteQueue
from orch.clock import iso, to_us
from orch.job import WorkerInfo
from orch.testing import FakeClock

folder = sys.argv[1]
clock = FakeClock()
made = f"{folder}/made.db"

def job(id, **fields):
    return Job(id, "d.yaml", "t", None, JobStatus.PENDING, "2027-01-15T08:00:00Z", **fields)

def opened(path):
    return SqliteQueue(path, clock=clock, lease_s=5)

# One job in each situation, and one more of those that a dequeue reclaims, promotes and delivers.
queue = opened(made)
queue.enqueue_many([job(id, max_retries=1) for id in ("failed", "old", "held", "lapsed", "planted", "ready")])
queue.enqueue(job("due", not_before=iso(to_us(clock() + 1))))
leases = {}
for _ in range(5):
    delivered = queue.dequeue("w", lease_s=1 if len(leases) == 3 else 50)
    leases[delivered.id] = delivered.lease
queue.update_status("failed", JobStatus.FAILED, lease=leases["failed"])
queue.update_status("old", JobStatus.SUCCESS, lease=leases["old"])
queue.record_progress(leases["held"], "t", {"x": 1})
queue.plant_record("planted", b"{")
queue.close()
clock.advance(2)

VERBS = {
    "enqueue": lambda q: q.enqueue(job("new")),
    "enqueue_many": lambda q: q.enqueue_many([job("new"), job("held"), job("more", priority=3)]),
    "dequeue": lambda q: q.dequeue_many(5, "w"),
    "succeed": lambda q: q.update_status("held", JobStatus.SUCCESS, result={"r": 1}, lease=leases["held"]),
    "retry": lambda q: q.update_status("held", JobStatus.RETRY, "e", lease=leases["held"], delay_s=3),
    "give back": lambda q: q.update_status("held", JobStatus.PENDING, lease=leases["held"]),
    "cancel": lambda q: q.cancel("ready"),
    "exchange": lambda q: q.exchange(
        [Report("held", JobStatus.FAILED, lease=leases["held"]), Report("ready", JobStatus.SUCCESS)], 3, "w"
    ),
    "extend": lambda q: q.extend_many([leases["held"], leases["lapsed"]], 99),
    "record_progress": lambda q: q.record_progress(leases["held"], "u", "y"),
    "requeue": lambda q: q.requeue("failed"),
    "purge": lambda q: q.purge(0),
    "announce": lambda q: q.announce(WorkerInfo("w", host="h")),
    "advance": lambda q: q.advance_schedule("k", None, iso(to_us(clock()))),
    "quarantine": lambda q: q.list_jobs(limit=9),
}

def seen(path):
    q = opened(path)
    seen = [
        [(j.to_dict(), j.lease) for id in ids if (j := q.get_job(id))],
        q.stats(), q.workers(), q.progress("held"), q.schedule_cursor("k"), len(q.quarantined()),
    ]
    q.close()
    return seen

ids = ("failed", "old", "held", "lapsed", "ready", "due", "new", "more")
for name, verb in VERBS.items():
    shutil.copy(made, f"{folder}/before.db")
    before = seen(f"{folder}/before.db")
    shutil.copy(made, f"{folder}/after.db")
    q = opened(f"{folder}/after.db")
    verb(q)
    q.close()
    after = seen(f"{folder}/after.db")
    assert after != before, name
    ends = 0
    for step in range(1, 100):
        path = f"{folder}/{name}-{step}.db"
        shutil.copy(made, path)
        child = os.fork()
        if child == 0:
            q = opened(path)
            statements = 0
            def count(statement):
                global statements
                statements += 1
                if statements == step:
                    os.kill(os.getpid(), signal.SIGKILL)
            q._file._db.set_trace_callback(count)  # called before each statement is run
            verb(q)
            os._exit(0)
        died = os.waitpid(child, 0)[1] != 0
        now = seen(path)
        assert now in (before, after), (name, step, now)
        if not died:
            assert now == after, (name, step)
            break
        ends += now == before
    assert ends >= 3, (name, ends)
    print(name, step - 1)
"""


@pytest.mark.real
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.promise("Q1", "Q8", "Q14")
def test_a_process_that_dies_before_any_statement_of_any_verb_has_done_all_of_it_or_nothing(folder):
    assert len(run(DYING, folder).splitlines()) == 15


VICTIM = """
import random, sys
from orch import JobStatus, LeaseLost, Job, Report
from orch.backends.sqlite import SqliteQueue
me, rng = sys.argv[2], random.Random(sys.argv[2])
queue = SqliteQueue(sys.argv[1], lease_s=0.5, max_crashes=1000)
held, n = [], 0
while True:
    n += 1
    jobs = [Job.new("workflow:x", id=f"{me}-{n}-{i}", max_retries=9) for i in range(rng.choice([1, 1, 7]))]
    queue.enqueue_many(jobs)
    print(*("E" + job.id for job in jobs), flush=True)
    reports = [Report(job.id, rng.choice([JobStatus.SUCCESS, JobStatus.SUCCESS, JobStatus.RETRY]), lease=job.lease)
               for job in held]
    answers, held = queue.exchange(reports, rng.choice([0, 1, 5]), me)
    print(*("S" + job.id for job in answers if not isinstance(job, Exception) and job.status is JobStatus.SUCCESS),
          flush=True)
    for job in held[:1]:
        queue.record_progress(job.lease, "t", "x" * rng.choice([1, 5000]))
"""


@pytest.mark.real
@pytest.mark.promise("Q1", "Q14")
@pytest.mark.skipif(sys.platform == "win32", reason="no kill -9 here")
def test_nothing_that_was_answered_is_lost_when_processes_are_killed(path):
    rng = random.Random(20261124)
    enqueued, succeeded = set(), set()
    for number in range(6):
        with subprocess.Popen(
            [sys.executable, "-c", VICTIM, str(path), f"{number}"], stdout=subprocess.PIPE, text=True
        ) as victim:
            for _ in range(rng.randrange(2, 60)):
                for word in victim.stdout.readline().split():
                    (enqueued if word[0] == "E" else succeeded).add(word[1:])
            victim.kill()
            for line in victim.stdout:
                if line.endswith("\n"):
                    for word in line.split():
                        (enqueued if word[0] == "E" else succeeded).add(word[1:])
        with closing(SqliteQueue(path)) as queue:
            check_books(queue)
            jobs = {job.id: job for job in queue.list_jobs(limit=100_000)}
            assert enqueued <= jobs.keys()
            assert all(jobs[id].status is SUCCESS for id in succeeded)
            assert len(jobs) - len(enqueued) <= 7 * (number + 1)  # of the last call of each, nobody knows
    assert succeeded


# -- several threads ---------------------------------------------------------------------------------------------------


@pytest.mark.promise("Q1", "Q4")
def test_threads_share_one_object_and_each_job_is_delivered_once(queue):
    queue.enqueue_many(new_jobs(200))
    delivered = []

    def work():
        while (job := queue.dequeue("w")) is not None:
            delivered.append(job.id)
            queue.update_status(job.id, SUCCESS, lease=job.lease)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(delivered) == sorted(f"j{i}" for i in range(200))
    assert queue.count(SUCCESS) == 200


@pytest.fixture
def patient(queue, monkeypatch):
    """A queue whose waits do not look by themselves."""
    monkeypatch.setattr(backend, "POLL_S", 1e6)
    monkeypatch.setattr(backend, "SWEEP_S", 1e6)
    return queue


def until_waiting(queue, n):
    """Return when so many threads wait for a job."""
    while queue._file.waiting < n:
        time.sleep(0.001)


@pytest.mark.promise("Q2")
def test_waiting_threads_are_woken_by_their_own_process(patient):
    threads = [threading.Thread(target=patient._wait, args=(1e6,), daemon=True) for _ in range(3)]
    for thread in threads:
        thread.start()
    until_waiting(patient, 3)
    patient.enqueue(new_job("a"))
    for thread in threads:
        thread.join()


@pytest.mark.promise("Q2")
def test_a_wait_ends_when_a_delayed_job_is_due(patient):
    now = patient._now(*patient._file.rows("clock", (backend._MACHINE.boot_id,))[0])
    patient.enqueue(new_job("a", not_before=iso(now + 30_000)))
    patient._wait(1e6)
    assert patient.dequeue().id == "a"


@pytest.mark.promise("Q5")
def test_a_wait_ends_when_a_lease_expires(patient):
    patient.enqueue(new_job("a"))
    first = patient.dequeue(lease_s=0.03)
    patient._wait(1e6)
    assert patient.dequeue().lease.token > first.lease.token


@pytest.mark.promise("Q5")
def test_a_wait_ends_at_the_sweep_at_the_latest(patient, monkeypatch):
    monkeypatch.setattr(backend, "SWEEP_S", 0.01)
    patient._wait(1e6)


def test_closing_ends_the_waits_of_other_threads(patient):
    ends = []

    def wait():
        with pytest.raises(BackendUnavailable, match="was closed"):
            patient._wait(1e6)
        ends.append("refused")

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    until_waiting(patient, 1)
    patient.close()
    thread.join()
    assert ends == ["refused"]


# -- the store's clock -------------------------------------------------------------------------------------------------


class Fake:
    """A machine whose clocks are set by hand, in microseconds."""

    def __init__(self, boot_id="boot-1", uptime=1_000_000, wall=1_800_000_000_000_000):
        self.boot_id, self.uptime, self.wall = boot_id, uptime, wall

    def install(self, monkeypatch):
        monkeypatch.setattr(backend, "_MACHINE", Machine(self.boot_id, lambda: self.uptime, lambda: self.wall))
        return self

    def pass_(self, us):
        self.uptime += us
        self.wall += us

    def reboot(self, monkeypatch, *, boot_id, wall, uptime=0):
        self.boot_id, self.uptime, self.wall = boot_id, uptime, wall
        return self.install(monkeypatch)


@pytest.fixture
def machine(monkeypatch):
    return Fake().install(monkeypatch)


@pytest.mark.promise("Q5")
def test_a_wall_clock_that_is_set_moves_no_lease(machine, queue):
    queue.enqueue_many(new_jobs(2))
    first = queue.dequeue(lease_s=10)
    machine.wall += 3_600_000_000
    second = queue.dequeue(lease_s=10)
    assert second.id == "j1"
    assert second.lease.expires_at == first.lease.expires_at
    machine.wall -= 7_200_000_000
    machine.pass_(9_999_999)
    assert queue.dequeue() is None
    machine.pass_(1)
    assert queue.dequeue().id == "j0"


@pytest.mark.promise("Q5")
def test_a_patched_wall_clock_of_one_process_moves_no_lease(path, queue, monkeypatch):
    queue.enqueue_many(new_jobs(2))
    queue.dequeue(lease_s=1000)
    wall, wall_ns = time.time, time.time_ns
    monkeypatch.setattr(time, "time", lambda: wall() * 2)
    monkeypatch.setattr(time, "time_ns", lambda: wall_ns() * 2)
    with closing(SqliteQueue(path)) as other:
        job = other.dequeue(lease_s=1000)
        assert job.id == "j1"
        assert other.dequeue() is None
        monkeypatch.undo()
        assert abs(job.lease.expires_at - time.time()) < 10_000


@pytest.mark.promise("Q5")
def test_two_processes_agree_on_the_time_though_their_wall_clocks_do_not(machine, path, queue, monkeypatch):
    queue.enqueue_many(new_jobs(2))
    here = queue.dequeue(lease_s=10)
    Fake(uptime=machine.uptime, wall=5).install(monkeypatch)
    with closing(SqliteQueue(path)) as other:
        assert other.dequeue(lease_s=10).lease.expires_at == here.lease.expires_at


@pytest.mark.promise("Q5")
def test_after_a_reboot_the_time_is_the_wall_clocks_and_leases_run_on(machine, queue, monkeypatch):
    queue.enqueue(new_job("a"))
    expires_at = queue.dequeue(lease_s=60).lease.expires_at
    machine.reboot(monkeypatch, boot_id="boot-2", wall=machine.wall + 59_999_999, uptime=12)
    assert queue.dequeue() is None
    machine.pass_(1)
    again = queue.dequeue(lease_s=60)
    assert again.id == "a"
    assert again.lease.expires_at == expires_at + 60


@pytest.mark.promise("Q5")
def test_over_a_reboot_with_a_wall_clock_that_is_behind_the_time_does_not_go_back(machine, queue, monkeypatch):
    queue.enqueue_many(new_jobs(2))
    first = queue.dequeue(lease_s=60)
    machine.reboot(monkeypatch, boot_id="boot-2", wall=machine.wall - 86_400_000_000)
    second = queue.dequeue(lease_s=60)
    assert second.lease.expires_at == first.lease.expires_at
    assert second.lease.token == first.lease.token + 1
    machine.pass_(60_000_000)
    assert queue.dequeue().id == "j0"


@pytest.mark.promise("Q5")
def test_the_time_since_the_last_reading_counts_within_a_boot_also_over_a_restart(machine, path):
    with closing(SqliteQueue(path)) as queue:
        queue.enqueue(new_job("a"))
        queue.dequeue(lease_s=60)
    machine.uptime += 60_000_000  # and the wall clock stands still
    with closing(SqliteQueue(path)) as queue:
        assert queue.dequeue().id == "a"


@pytest.mark.promise("Q5")
def test_within_a_boot_the_time_does_not_go_back_whatever_the_uptime_says(machine, queue):
    queue.enqueue_many(new_jobs(2))
    first = queue.dequeue(lease_s=60)
    machine.uptime -= 900_000  # as on processors that do not agree
    machine.wall += 3_600_000_000
    assert queue.dequeue(lease_s=60).lease.expires_at == first.lease.expires_at


@pytest.mark.promise("Q5")
def test_without_a_boot_id_an_uptime_that_would_turn_the_time_back_is_a_new_boot(queue, monkeypatch):
    machine = Fake(boot_id="", uptime=500_000_000).install(monkeypatch)
    queue.enqueue_many(new_jobs(2))
    first = queue.dequeue(lease_s=60)
    machine.reboot(monkeypatch, boot_id="", uptime=7, wall=machine.wall + 30_000_000)
    assert queue.dequeue(lease_s=60).lease.expires_at == first.lease.expires_at + 30
    machine.pass_(30_000_000)
    assert queue.dequeue().id == "j0"


@pytest.mark.promise("Q5")
def test_looking_does_not_need_a_step_to_know_the_time_after_a_reboot(machine, queue, monkeypatch):
    queue.enqueue(new_job("a"))
    machine.reboot(monkeypatch, boot_id="boot-2", wall=machine.wall + 5_000_000)
    assert queue.stats().oldest_ready_age_s == 5.0


@pytest.mark.promise("Q4")
def test_tokens_grow_also_if_the_store_is_opened_with_another_clock(machine, path):
    with closing(SqliteQueue(path)) as queue:
        queue.enqueue_many(new_jobs(3))
        first = queue.dequeue()
    with closing(SqliteQueue(path, clock=FakeClock(4e9))) as queue:
        second = queue.dequeue()
    with closing(SqliteQueue(path)) as queue:
        third = queue.dequeue()
        assert first.lease.token < second.lease.token < third.lease.token
        assert third.lease.expires_at == first.lease.expires_at  # no handed-in clock moves the store's


def test_this_machine_tells_its_clocks():
    machine = backend.this_machine()
    first, second = machine.uptime_us(), machine.uptime_us()
    assert 0 < first <= second
    assert abs(machine.wall_us() - time.time_ns() // 1000) < 60_000_000
    assert machine.boot_id == backend.this_machine().boot_id


def test_a_machine_without_boot_time_is_read_by_its_monotonic_clock(monkeypatch):
    monkeypatch.delattr(time, "CLOCK_BOOTTIME", raising=False)
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: (_ for _ in ()).throw(FileNotFoundError()))
    machine = backend.this_machine()
    assert machine.boot_id == ""
    assert abs(machine.uptime_us() - time.monotonic_ns() // 1000) < 60_000_000


# -- cost --------------------------------------------------------------------------------------------------------------


def test_each_statement_has_one_name_and_one_user():
    text = Path(backend.__file__).with_name("sqlite.sql").read_text(encoding="utf-8")
    names = re.findall(r"^-- name: (\w+)$", text, re.MULTILINE)
    assert sorted(names) == sorted(backend._SQL)
    code = Path(backend.__file__).read_text(encoding="utf-8")
    unused = [name for name in names if not name.startswith("schema_") and f'"{name}"' not in code]
    assert unused == []


@pytest.mark.promise("Q9")
def test_no_statement_reads_or_sorts_more_jobs_than_it_answers(queue):
    for name, statement in backend._SQL.items():
        if statement.split()[0] not in ("SELECT", "UPDATE", "DELETE", "INSERT", "WITH"):
            continue
        unbound = re.sub(r"\?|:\w+", "1", statement)
        for *_, line in queue._file._db.execute("EXPLAIN QUERY PLAN " + unbound).fetchall():
            plan = line.decode()
            if plan.startswith("SCAN job"):  # along an index, up to a limit; or all that run, which workers hold
                assert "USING INDEX" in plan, (name, plan)
                assert "LIMIT" in statement or name == "workers", (name, plan)
            assert "TEMP B-TREE" not in plan or name == "progress", (name, plan)  # the outputs of one job


@pytest.mark.promise("Q9")
def test_an_idle_dequeue_writes_nothing(machine, path, queue):
    queue.dequeue("w")
    with closing(sqlite3.connect(path)) as other:
        before = other.execute("PRAGMA data_version").fetchone()
        machine.pass_(500_000)
        assert queue.dequeue("w") is None
        assert other.execute("PRAGMA data_version").fetchone() == before


@pytest.mark.promise("W8")
def test_a_beat_a_second_is_written_for_each_worker(machine, queue):
    queue.dequeue("a")
    machine.pass_(900_000)
    queue.dequeue("a")
    queue.dequeue("b")
    first = {info.id: info.last_beat_at for info in queue.workers()}
    machine.pass_(100_000)
    queue.dequeue("a")
    second = {info.id: info.last_beat_at for info in queue.workers()}
    assert first["a"] < first["b"]
    assert second["a"] > first["b"]
    assert second["b"] == first["b"]


def test_the_wal_file_is_emptied_when_it_is_large(path, queue, monkeypatch):
    monkeypatch.setattr(backend, "WAL_MAX", 100_000)
    monkeypatch.setattr(backend, "WAL_LOOK_S", 0)
    with closing(SqliteQueue(path)) as other:
        sizes = []
        for i in range(60):
            (queue, other)[i % 2].enqueue(new_job(f"j{i}", params={"fill": "x" * 5_000}))
            sizes.append(path.with_name("queue.db-wal").stat().st_size)
    assert max(sizes) < 200_000
    assert sizes.count(0) > 3
    assert queue.count() == 60


def test_a_reader_that_does_not_let_go_of_the_wal_file_stops_nobody(path, queue, monkeypatch):
    monkeypatch.setattr(backend, "WAL_MAX", 100_000)
    monkeypatch.setattr(backend, "WAL_LOOK_S", 0)
    monkeypatch.setattr(backend, "WAL_BUSY_S", 0)
    monkeypatch.setitem(backend._SQL, "tidy_patience", "PRAGMA busy_timeout = 1")
    wal = path.with_name("queue.db-wal")
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM job").fetchone()
        queue.enqueue_many([new_job(f"j{i}", params={"fill": "x" * 5_000}) for i in range(60)])
        assert queue.enqueue(new_job("more"))
        assert wal.stat().st_size > 300_000
        reader.execute("COMMIT")
        queue.enqueue(new_job("last"))
        assert wal.stat().st_size == 0
    assert queue.count() == 62


@pytest.mark.promise("Q10")
def test_a_purge_is_made_of_slices_that_hold_the_store_shortly(queue, monkeypatch):
    queue.enqueue_many(new_jobs(300))
    jobs = queue.dequeue_many(300)
    queue.exchange([Report(job.id, (SUCCESS, FAILED)[i % 2], lease=job.lease) for i, job in enumerate(jobs)], 0)
    sizes, plain = [], backend._Step.purge

    def watched(step, cutoff_us, n):
        sizes.append(n)
        return plain(step, cutoff_us, n)

    monkeypatch.setattr(backend._Step, "purge", watched)
    monkeypatch.setattr(backend, "PURGE_HOLD_S", 1e-9)  # no slice is short enough
    assert queue.purge(0) == 300
    assert sizes == [100, *[1] * 201]
    assert queue.counts() == dict.fromkeys(STATES, 0)
    check_books(queue)


@pytest.mark.promise("Q10")
@pytest.mark.parametrize("what", ["params", "result", "progress"])
def test_big_jobs_are_purged_one_by_one_with_all_that_belongs_to_them(queue, monkeypatch, what):
    fill = "x" * 100_000
    queue.enqueue_many([new_job(f"j{i}", params={"p": fill} if what == "params" else {}) for i in range(6)])
    queue.enqueue(new_job("small"))
    jobs = queue.dequeue_many(7)
    for job in jobs[:6]:
        if what == "progress":
            for task in range(6):
                queue.record_progress(job.lease, f"t{task}", fill)
        queue.update_status(job.id, SUCCESS, result={"r": fill} if what == "result" else None, lease=job.lease)
    monkeypatch.setattr(backend, "PURGE_HOLD_S", 1e-9)
    assert queue.purge(0) == 6
    assert queue.list_jobs() == [queue.get_job("small")]
    for table in ("progress", "gone"):
        assert sql(queue.path, f"SELECT count(*) FROM {table}") == [(0,)]
    check_books(queue)


@pytest.mark.promise("Q10")
def test_outputs_that_a_purge_left_behind_when_it_died_go_with_the_next(queue, monkeypatch):
    queue.enqueue(new_job("a"))
    job = queue.dequeue()
    queue.record_progress(job.lease, "t", 1)
    queue.update_status("a", SUCCESS, lease=job.lease)

    def die(step):
        raise KeyboardInterrupt

    monkeypatch.setattr(backend._Step, "purge_progress", die)
    with pytest.raises(KeyboardInterrupt):
        queue.purge(0)
    monkeypatch.undo()
    assert queue.get_job("a") is None
    assert queue.progress("a") == {}
    queue.enqueue(new_job("a"))
    assert queue.progress("a") == {}
    assert queue.purge(0) == 0
    assert sql(queue.path, "SELECT count(*) FROM progress") == [(0,)]


@pytest.mark.promise("Q9")
def test_what_is_asked_for_is_found_without_the_planners_statistics(path, queue):
    """An index that is not named is guessed at, and `ANALYZE` by a person changes the guess."""
    queue.enqueue_many(new_jobs(50))
    queue.dequeue_many(10)
    sql(path, "ANALYZE")
    with closing(SqliteQueue(path)) as again:
        assert again.dequeue().id == "j10"
        assert len(again.list_jobs()) == 50


# -- records -----------------------------------------------------------------------------------------------------------


BROKEN = ["CAST(X'ff' AS TEXT)", "X'ff00'"]


@pytest.mark.promise("Q13")
@pytest.mark.parametrize("column", ["id", "record", "error", "result", "not_before"])
@pytest.mark.parametrize("value", BROKEN)
def test_a_text_with_a_flipped_bit_is_contained_by_a_list(path, queue, column, value):
    queue.enqueue_many([new_job("a", error="e", result={"r": 1}), new_job("b")])
    sql(path, f"UPDATE job SET {column} = {value} WHERE seq = 1")
    assert [job.id for job in queue.list_jobs(limit=1)] == ["b"]
    assert [job.id for job in queue.list_jobs()] == ["b"]
    assert queue.stats().quarantined == len(queue.quarantined()) == 1
    check_books(queue)


@pytest.mark.promise("Q13")
@pytest.mark.parametrize("column", ["record", "error", "result"])
@pytest.mark.parametrize("value", BROKEN)
def test_a_text_with_a_flipped_bit_is_contained_by_a_dequeue(path, queue, column, value):
    queue.enqueue_many([new_job("a", error="e", result={"r": 1}), new_job("b")])
    sql(path, f"UPDATE job SET {column} = {value} WHERE seq = 1")
    assert [job.id for job in queue.dequeue_many(5)] == ["b"]
    assert queue.stats().quarantined == len(queue.quarantined()) == 1
    check_books(queue)


@pytest.mark.promise("Q13")
@pytest.mark.parametrize("text", ['{"r":1} and more', '{"r":', ""])
def test_a_result_that_was_cut_or_added_to_is_contained(path, queue, text):
    queue.enqueue_many([new_job("a", result={"r": 1}), new_job("b")])
    sql(path, "UPDATE job SET result = ? WHERE seq = 1", text)
    assert [job.id for job in queue.list_jobs()] == ["b"]
    check_books(queue)


@pytest.mark.promise("Q13")
def test_a_record_of_a_newer_orch_is_quarantined_though_its_checksum_holds(path, queue):
    queue.enqueue_many(new_jobs(2))
    newer = encode_record(new_job("j0")).replace('"v":1', '"v":2')
    sql(path, "UPDATE job SET record = ?, crc = ? WHERE id = 'j0'", newer, crc32(newer.encode()))
    assert queue.dequeue().id == "j1"
    assert [(found.job_id, found.raw) for found in queue.quarantined()] == [("j0", newer.encode())]
    assert "newer than 1" in queue.quarantined()[0].reason


@pytest.mark.promise("Q13")
def test_what_is_stored_can_be_read_by_others(path, queue):
    job = new_job("a", params={"p": ["ä", 1.5]}, priority=3, max_retries=2, timeout_s=9.0, extra={"later": {"x": 1}})
    queue.enqueue(job)
    assert backend.decode_record(sql(path, "SELECT record FROM job")[0][0]) == job


def test_a_record_can_be_planted_only_on_a_known_job(queue):
    with pytest.raises(JobNotFound):
        queue.plant_record("nope", b"{")


@pytest.mark.promise("Q13")
def test_a_job_that_was_garbled_and_purged_meanwhile_is_not_found(path, queue, monkeypatch):
    queue.enqueue_many(new_jobs(2))
    queue.plant_record("j0", b"{")
    plain = backend._Step.contain

    def too_late(step, seq):
        step.db.execute("DELETE FROM job WHERE seq = ?", (seq,))
        step.counts[0] -= 1
        step.ready -= 1
        plain(step, seq)

    monkeypatch.setattr(backend._Step, "contain", too_late)
    assert [job.id for job in queue.list_jobs()] == ["j1"]
    assert queue.quarantined() == []
    check_books(queue)


@pytest.mark.promise("Q13")
def test_a_job_that_could_not_be_read_and_was_purged_meanwhile_is_none(queue, monkeypatch):
    queue.enqueue(new_job("a"))
    queue.plant_record("a", b"{")

    def too_late(step, job_id):
        raise JobNotFound(job_id)

    monkeypatch.setattr(backend._Step, "find", too_late)
    assert queue.get_job("a") is None


@pytest.mark.promise("Q11")
def test_reading_a_record_twice_gives_two_values(queue):
    queue.enqueue(new_job("a", params={"p": [1]}, extra={"x": {"y": 1}}))
    first = queue.get_job("a")
    first.params["p"].append(2)
    first.extra["x"]["y"] = 2
    second = queue.dequeue()
    assert (second.params, second.extra) == ({"p": [1]}, {"x": {"y": 1}})
    second.params["p"].append(3)
    done = queue.update_status("a", SUCCESS, lease=second.lease)
    assert (done.params, done.extra) == ({"p": [1]}, {"x": {"y": 1}})


# -- many reports at once ----------------------------------------------------------------------------------------------


@pytest.mark.promise("Q8")
def test_in_one_exchange_the_second_report_of_a_job_sees_the_first(queue):
    queue.enqueue_many([new_job("a", max_retries=1), new_job("b")])
    a, b = queue.dequeue_many(2)
    same = Report("a", SUCCESS, result={"n": 1}, lease=a.lease)
    answers, _ = queue.exchange(
        [same, same, Report("a", FAILED, lease=a.lease), Report("b", SUCCESS, lease=b.lease)], 0
    )
    assert [type(answer).__name__ for answer in answers] == ["Job", "Job", "LeaseLost", "Job"]
    assert queue.get_job("a").result == {"n": 1}
    check_books(queue)


@pytest.mark.promise("Q9")
def test_an_operator_ends_a_delayed_job_that_was_due_by_now(path):
    clock = FakeClock()
    with closing(SqliteQueue(path, clock=clock)) as queue:
        queue.enqueue_many([new_job("a", not_before=iso(1_800_000_001_000_000)), new_job("b")])
        clock.advance(2)
        assert queue.cancel("a").status is FAILED
        assert (queue.stats().ready, queue.stats().delayed) == (1, 0)
        check_books(queue)


@pytest.mark.promise("Q4", "Q13")
def test_in_one_exchange_each_report_has_its_own_answer(queue):
    queue.enqueue_many(new_jobs(4))
    jobs = queue.dequeue_many(4)
    queue.plant_record("j2", b"{")
    queue.cancel("j1")
    answers, _ = queue.exchange([*(Report(job.id, SUCCESS, lease=job.lease) for job in jobs), Report("x", SUCCESS)], 0)
    assert [type(answer).__name__ for answer in answers] == [
        "Job",
        "LeaseLost",
        "UnreadableRecord",
        "Job",
        "JobNotFound",
    ]
    assert queue.counts() == {PENDING: 0, RUNNING: 0, SUCCESS: 2, FAILED: 1}
    check_books(queue)
