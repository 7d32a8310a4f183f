"""What a power loss takes from a store, and what it must not take."""

import io
import random
import sqlite3
import time

import pytest

from orch import Job, open_queue
from orch.errors import BackendUnavailable, InvalidInput
from orch.settings import Settings
from orch.testing.servers import find_server, start_redis
from orch.torture.plan import Plan
from orch.torture.store import (
    GivenRedis,
    GivenSqlite,
    RedisStore,
    SqliteStore,
    _whole_commands,
    commits_of,
    copied_frames,
    fresh_prefix,
    open_store,
)

needs_server = pytest.mark.skipif(find_server() is None, reason="no redis-server or valkey-server")


# -- SQLite ----------------------------------------------------------------------------------------------------------


def crashed(path, transactions):
    """A database with so many transactions in its log, as a killed process leaves it."""
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA journal_mode = wal")
    db.execute("PRAGMA wal_autocheckpoint = 0")
    db.execute("CREATE TABLE t (n)")
    for n in range(transactions):
        db.execute("INSERT INTO t VALUES (?)", (n,))
    left = {name: name.read_bytes() for name in path.parent.glob(f"{path.name}*")}
    db.close()
    for name, data in left.items():
        name.write_bytes(data)


def rows(path):
    db = sqlite3.connect(path)
    try:
        return [n for (n,) in db.execute("SELECT n FROM t ORDER BY n")]
    finally:
        db.close()


def test_a_log_says_where_each_transaction_ends(tmp_path):
    crashed(tmp_path / "q.db", 5)
    wal = (tmp_path / "q.db-wal").read_bytes()
    commits = commits_of(wal)
    assert len(commits) == 6
    assert commits[-1][1] == len(wal)
    assert [frame for frame, _ in commits] == sorted({frame for frame, _ in commits})


def test_frames_of_an_earlier_round_of_the_log_do_not_count(tmp_path):
    crashed(tmp_path / "q.db", 5)
    wal = bytearray((tmp_path / "q.db-wal").read_bytes())
    frame, end = commits_of(bytes(wal))[2]
    wal[end + 8] ^= 1
    assert commits_of(bytes(wal))[-1] == (frame, end)
    assert commits_of(b"") == commits_of(b"x" * 31) == []


def test_what_is_copied_already_is_known_from_the_shared_file(tmp_path):
    path = tmp_path / "q.db"
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA journal_mode = wal")
    db.execute("CREATE TABLE t (n)")
    assert copied_frames((tmp_path / "q.db-shm").read_bytes()) == 0
    _, frames, copied = db.execute("PRAGMA wal_checkpoint").fetchone()
    assert copied_frames((tmp_path / "q.db-shm").read_bytes()) == frames == copied > 0
    db.close()
    assert copied_frames(b"") == 0


@pytest.mark.parametrize("seed", range(5))
def test_a_power_loss_under_normal_takes_whole_transactions_from_the_end(tmp_path, seed):
    path = tmp_path / "q.db"
    crashed(path, 20)
    said = SqliteStore(path, synchronous="NORMAL").cut_power(random.Random(seed))
    try:
        left = rows(path)
    except sqlite3.OperationalError:  # even the table is gone
        left = []
    assert left == list(range(len(left)))
    assert len(left) < 20
    assert "transactions" in said


@pytest.mark.promise("Q14")
@pytest.mark.parametrize("seed", range(5))
def test_a_power_loss_under_full_takes_nothing_that_was_committed(tmp_path, seed):
    path = tmp_path / "q.db"
    crashed(path, 20)
    before = (tmp_path / "q.db-wal").read_bytes()
    SqliteStore(path, synchronous="FULL").cut_power(random.Random(seed))
    assert (tmp_path / "q.db-wal").read_bytes() != before
    assert rows(path) == list(range(20))


def test_what_was_copied_into_the_file_is_never_lost(tmp_path):
    path = tmp_path / "q.db"
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA journal_mode = wal")
    db.execute("CREATE TABLE t (n)")
    db.execute("INSERT INTO t VALUES (0)")
    db.execute("PRAGMA wal_checkpoint")
    left = {name: name.read_bytes() for name in tmp_path.glob("q.db*")}
    db.close()
    for name, data in left.items():
        name.write_bytes(data)
    for seed in range(5):
        SqliteStore(path, synchronous="NORMAL").cut_power(random.Random(seed))
        assert rows(path) == [0]


def test_an_empty_log_loses_nothing(tmp_path):
    assert "empty" in SqliteStore(tmp_path / "q.db", synchronous="NORMAL").cut_power(random.Random(0))


def test_a_given_file_keeps_its_url(tmp_path):
    store = GivenSqlite(f"sqlite:///{tmp_path}/q.db?synchronous=FULL")
    assert store.path == tmp_path / "q.db"
    assert store.url_for("w1") == store.url == f"sqlite:///{tmp_path}/q.db?synchronous=FULL"


# -- Redis -----------------------------------------------------------------------------------------------------------


def test_a_cut_ends_with_a_whole_command_and_never_before_what_was_synced():
    log = b"*1\r\n$4\r\nPING\r\n*2\r\n$3\r\nGET\r\n$1\r\na\r\n*1\r\n$4\r\nPING\r\n"
    first, second = log.index(b"*2"), log.rindex(b"*1")
    assert _whole_commands(io.BytesIO(log), 0, len(log)) == len(log)
    assert _whole_commands(io.BytesIO(log), 0, second + 3) == second
    assert _whole_commands(io.BytesIO(log), 0, second + 4) == second, "a line end within a command"
    assert _whole_commands(io.BytesIO(log), 0, second) == second
    assert _whole_commands(io.BytesIO(log), 0, 6) == 0
    assert _whole_commands(io.BytesIO(log), first, second + 3) == second
    assert _whole_commands(io.BytesIO(log), first, second - 1) == first
    assert _whole_commands(io.BytesIO(log), second, second + 3) == second
    assert _whole_commands(io.BytesIO(log), second, second) == second


@pytest.fixture
def store(tmp_path, request):
    with RedisStore(tmp_path / "redis", ["w1"], appendfsync=request.param) as store:
        yield store


def ids_in(store):
    queue = open_queue(store.url_for("w1"), settings=Settings(key_prefix="t"))
    try:
        return [job.id for job in queue.list_jobs()]
    finally:
        queue.close()


@needs_server
@pytest.mark.real
@pytest.mark.promise("Q14")
@pytest.mark.parametrize("store", ["always"], indirect=True)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_power_loss_under_always_takes_nothing_that_was_acknowledged(store, seed):
    queue = open_queue(store.url_for("w1"), settings=Settings(key_prefix="t"))
    for n in range(30):
        queue.enqueue(Job.new("workflow:noop", id=f"job-{n}"))
    queue.close()
    store.sample()
    said = store.cut_power(random.Random(seed))
    assert "lost its last" in said
    store.start()
    assert len(ids_in(store)) == 30


@needs_server
@pytest.mark.real
@pytest.mark.parametrize("store", ["everysec"], indirect=True)
def test_a_power_loss_under_everysec_takes_some_of_the_last_second(store):
    queue = open_queue(store.url, settings=Settings(key_prefix="t"))
    queue.enqueue(Job.new("workflow:noop", id="early"))
    store.sample()
    store._lengths[0] = (time.monotonic() - 5.0, store._lengths[0][1])  # as if that had been a while ago
    queue.enqueue(Job.new("workflow:noop", id="late"))
    queue.close()
    store.cut_power(random.Random(0))
    store.start()
    assert ids_in(store) == ["early"]


@needs_server
@pytest.mark.real
@pytest.mark.promise("Q14")
@pytest.mark.parametrize("store", ["always"], indirect=True)
def test_a_server_without_memory_refuses_writes_until_there_is_some(store):
    from orch.errors import WriteRefused

    queue = open_queue(store.url, settings=Settings(key_prefix="t"))
    store.fill_memory()
    with pytest.raises(WriteRefused):
        queue.enqueue(Job.new("workflow:noop"))
    store.free_memory()
    assert queue.enqueue(Job.new("workflow:noop"))
    queue.close()


@needs_server
@pytest.mark.real
def test_a_given_server_keeps_what_is_not_ours(tmp_path):
    import redis

    with start_redis(tmp_path, password="s:@/") as server:
        client = redis.Redis.from_url(server.url)
        prefix = fresh_prefix()
        with GivenRedis(server.url, ["w1"], through_proxy=True) as store:
            queue = open_queue(store.url_for("w1"), settings=Settings(key_prefix=prefix))
            queue.enqueue(Job.new("workflow:noop"))
            queue.close()
            client.set("somebody's", "value")
            store.clean(prefix)
        assert client.keys() == [b"somebody's"]
        client.close()


def test_keys_that_cannot_be_removed_are_told():
    store = GivenRedis("redis://127.0.0.1:1/0", ["w1"], through_proxy=False)
    with pytest.raises(BackendUnavailable, match=r"\{mine\}.* are left"):
        store.clean("{mine}")


def test_a_url_without_a_host_cannot_go_through_the_proxy():
    with pytest.raises(InvalidInput, match="partition"):
        GivenRedis("redis:///0", ["w1"], through_proxy=True)
    assert GivenRedis("redis://h:1/0", ["w1"], through_proxy=False).url_for("w1") == "redis://h:1/0"


def test_prefixes_are_fresh_and_keep_a_queue_on_one_node():
    assert fresh_prefix() != fresh_prefix()
    assert fresh_prefix().startswith("{")


def test_a_plan_opens_the_store_that_it_names(tmp_path):
    own = open_store(Plan(synchronous="FULL"), tmp_path, ["w1"])
    assert own.url == f"sqlite:///{tmp_path}/queue.db?synchronous=FULL"
    given = open_store(Plan(url=f"sqlite:///{tmp_path}/theirs.db"), tmp_path, ["w1"])
    assert given.url.endswith("theirs.db")
    direct = open_store(Plan(url="redis://h:1/0", nemesis=("kill",)), tmp_path, ["w1"])
    assert direct.proxy is None
