"""The store under torture, and what can be done to it: killed, cut back to its last fsync, starved of memory.

`SqliteStore` is a file; `RedisStore` a private server behind a proxy; `GivenRedis` a server of somebody else's, which
is not harmed: only the wire to it is. Each gives every lane the URL by which it reaches the store.
"""

from __future__ import annotations

import contextlib
import os
import random
import struct
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self
from urllib.parse import urlsplit, urlunsplit

from orch.errors import BackendUnavailable, InvalidInput
from orch.testing.servers import RedisServer, start_redis
from orch.torture.plan import Plan
from orch.torture.proxy import Proxy

_SAMPLES_S = 3.0  # how far back the length of the append-only file is known
EVERYSEC_S = 1.0  # what `everysec` may lose
SERVICE = "orch"  # what the Sentinel calls the primary and its replica
SENTINEL_S = 20.0  # how long it may take to see the replica


class Store(ABC):
    """A store: `url` is how the judge reaches it, `kind` what people call it."""

    kind: str
    url: str
    proxy: Proxy | None = None

    @abstractmethod
    def url_for(self, lane: str) -> str:
        """How the processes of a lane reach it."""

    @property
    def up(self) -> bool:
        """Whether it is there to answer."""
        return True

    def sample(self) -> None:
        """Note what a later power loss has to know; called again and again."""

    def clean(self, prefix: str) -> None:
        """Remove what was left under a key prefix in a store that is not ours."""

    def close(self) -> None:
        """End what this started."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_store(plan: Plan, folder: Path, lanes: Sequence[str]) -> Store:
    """The store that a plan asks for, ready to be used."""
    if plan.replica:
        return ReplicatedRedis(folder, appendfsync=plan.appendfsync)
    if plan.url is None and plan.backend == "redis":
        return RedisStore(folder / "redis", lanes, appendfsync=plan.appendfsync)
    if plan.url is None:
        return SqliteStore(folder / "queue.db", synchronous=plan.synchronous)
    if plan.backend == "sqlite":
        return GivenSqlite(plan.url)
    return GivenRedis(plan.url, lanes, through_proxy="partition" in plan.faults)


# -- SQLite --------------------------------------------------------------------------------------------------------


class SqliteStore(Store):
    """A file of our own."""

    def __init__(self, path: Path, *, synchronous: str) -> None:
        self.path = path
        self.synchronous = synchronous
        self.kind = f"SQLite, synchronous {synchronous}"
        self.url = f"sqlite:///{path}?synchronous={synchronous}"

    def url_for(self, lane: str) -> str:
        """The same for every lane."""
        return self.url

    def size(self) -> int:
        """Bytes that the file or its log has, whichever is larger."""
        return max(_size(self.path), _size(self._wal))

    @property
    def _wal(self) -> Path:
        return Path(f"{self.path}-wal")

    def cut_power(self, rng: random.Random) -> str:
        """Lose what need not have been synced; every process that had the file open must be dead. Says what was done.

        With FULL every commit is on disk, so all that can be lost is what comes after the last one: it is torn. With
        NORMAL the log is synced when it is copied into the file, so any number of whole later transactions may go.
        """
        shared = Path(f"{self.path}-shm")
        wal = self._wal.read_bytes() if self._wal.exists() else b""
        commits = commits_of(wal)
        if not commits:
            return "the log was empty"
        if self.synchronous == "FULL":
            torn = wal[commits[-1][1] :][: rng.randrange(1, 4096)] or rng.randbytes(rng.randrange(1, 4096))
            self._wal.write_bytes(wal[: commits[-1][1]] + torn)
            shared.unlink(missing_ok=True)
            return f"the log ends torn after transaction {len(commits)}"
        synced = copied_frames(shared.read_bytes() if shared.exists() else b"")
        kept = [end for frame, end in commits if frame <= synced]
        later = [end for frame, end in commits if frame > synced]
        keep = rng.randrange(len(later)) if later else 0
        end = later[keep - 1] if keep else (kept[-1] if kept else 32)
        with self._wal.open("r+b") as file:
            file.truncate(end)
        shared.unlink(missing_ok=True)
        return f"the last {len(later) - keep} of {len(commits)} transactions in the log are lost"


class GivenSqlite(SqliteStore):
    """A file of somebody else's; nothing is done to the file itself."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        super().__init__(Path(parts.path[1:]), synchronous="FULL" if "FULL" in parts.query else "NORMAL")
        self.url = url


def commits_of(wal: bytes) -> list[tuple[int, int]]:
    """The transactions of a write-ahead log: (number of their last frame from 1, where they end in bytes).

    See https://sqlite.org/fileformat.html#the_write_ahead_log: a header of 32 bytes, then frames with a header of 24,
    which has the size of the database in pages in the last frame of a transaction and repeats the log's salt.
    """
    if len(wal) < 32:
        return []
    page: int = struct.unpack(">I", wal[8:12])[0]
    salt = wal[16:24]
    found = []
    frame = 24 + page
    for number, at in enumerate(range(32, len(wal) - frame + 1, frame), 1):
        if wal[at + 8 : at + 16] != salt:
            break
        if struct.unpack(">I", wal[at + 4 : at + 8])[0]:
            found.append((number, at + frame))
    return found


def copied_frames(shared: bytes) -> int:
    """How many frames of the log may be in the database file already, from the shared-memory file beside it.

    See https://sqlite.org/walformat.html#the_checkpoint_header_area: `nBackfill` at 96, `nBackfillAttempted` at 128.
    """
    if len(shared) < 132:
        return 0
    numbers: list[int] = [struct.unpack("=I", shared[at : at + 4])[0] for at in (96, 128)]
    return max(numbers)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


# -- Redis ---------------------------------------------------------------------------------------------------------


class GivenRedis(Store):
    """A server that others may use, too: reached through a proxy if the wire is to be hurt."""

    def __init__(self, url: str, lanes: Sequence[str], *, through_proxy: bool) -> None:
        self.url = url
        self.kind = "Redis"
        if through_proxy:
            parts = urlsplit(url)
            if parts.hostname is None:
                raise InvalidInput("a Redis URL without a host cannot go through the proxy: leave out partition")
            self.proxy = Proxy((parts.hostname, parts.port or 6379), lanes)

    def url_for(self, lane: str) -> str:
        """Through the lane's port of the proxy, if there is one."""
        if self.proxy is None:
            return self.url
        parts = urlsplit(self.url)
        user, at, _ = parts.netloc.rpartition("@")
        return urlunsplit(parts._replace(netloc=f"{user}{at}127.0.0.1:{self.proxy.ports[lane]}"))

    def clean(self, prefix: str) -> None:
        """Remove every key of the run."""
        try:
            with self.client() as client:
                keys = list(client.scan_iter(match=f"{_globbed(prefix)}*", count=1000))
                for at in range(0, len(keys), 500):
                    client.delete(*keys[at : at + 500])
        except _redis().RedisError as error:
            raise BackendUnavailable(f"the keys {prefix}* are left on the server: {error}; remove them") from error

    def client(self) -> Any:
        """A client of the server itself, not through the proxy."""
        return _redis().Redis.from_url(self.url, socket_timeout=5.0)

    def close(self) -> None:
        """Close the proxy."""
        if self.proxy is not None:
            self.proxy.close()


class RedisStore(GivenRedis):
    """A private server with an append-only file, behind a proxy."""

    proxy: Proxy

    def __init__(self, folder: Path, lanes: Sequence[str], *, appendfsync: str) -> None:
        # Rewriting would replace the file whose length at the last fsync we keep track of.
        self.server = start_redis(folder, appendfsync=appendfsync, config={"auto-aof-rewrite-percentage": "0"})
        try:
            super().__init__(self.server.url, lanes, through_proxy=True)
        except BaseException:
            self.server.stop()
            raise
        self.kind = f"Redis, appendfsync {appendfsync}"
        self.appendfsync = appendfsync
        self._lengths: deque[tuple[float, int]] = deque()

    @property
    def up(self) -> bool:
        """Whether the server runs."""
        return self.server.pid is not None

    def clean(self, prefix: str) -> None:
        """Nothing: all of it goes with the server."""

    def close(self) -> None:
        """Close the proxy and end the server."""
        super().close()
        self.server.kill()

    def kill(self) -> None:
        """SIGKILL of the server."""
        self.server.kill()

    def start(self) -> None:
        """Start it again, with the files that it left."""
        self._lengths.clear()
        self.server.start()

    def sample(self) -> None:
        """Note the length of the append-only file."""
        now = time.monotonic()
        self._lengths.append((now, _size(self._log())))
        while self._lengths[0][0] < now - _SAMPLES_S:
            self._lengths.popleft()

    def cut_power(self, rng: random.Random) -> str:
        """Kill the server and lose what need not have been synced. Says what was done.

        With `always` every reply that a client has got stands for something synced. So first no reply leaves the
        proxy any more; what the server writes from then on is known to nobody and may be lost in any part. With
        `everysec` a seeded part of the last second goes.
        """
        log = self._log()
        self.proxy.freeze_replies()
        synced = _size(log)
        if self.appendfsync == "always":
            time.sleep(rng.uniform(0.005, 0.05))
        killed = time.monotonic()
        self.server.kill()
        written = _size(log)
        if self.appendfsync == "everysec":
            back = killed - rng.uniform(0.2, EVERYSEC_S)
            oldest = self._lengths[0][1] if self._lengths else written
            synced = next((length for at, length in reversed(self._lengths) if at <= back), oldest)
        end = rng.randint(synced, written) if self.appendfsync == "always" else min(synced, written)
        with log.open("r+b") as file:
            end = _whole_commands(file, synced, end)
            file.truncate(end)
        self.proxy.drop_all()
        return f"the append-only file lost its last {written - end} of {written} bytes"

    def fill_memory(self) -> None:
        """From now on every write that needs memory is refused."""
        with self.client() as client:
            client.config_set("maxmemory", "1")

    def free_memory(self) -> None:
        """There is memory again."""
        with self.client() as client:
            client.config_set("maxmemory", "0")

    def _log(self) -> Path:
        """The append-only file that is being written; since Redis 7 the newest of several in a folder."""
        folder = self.server.directory / "appendonlydir"
        increments = sorted(folder.glob("*.incr.aof"), key=_number)
        return increments[-1] if increments else self.server.directory / "appendonly.aof"


class ReplicatedRedis(Store):
    """A primary, its replica, and a Sentinel that puts the one in the place of the other.

    Replication is asynchronous: what was acknowledged a moment before a fail-over may be lost, which no promise of the
    queue rules out. Everything else must go on.
    """

    def __init__(self, folder: Path, *, appendfsync: str) -> None:
        self.kind = f"Redis with a replica and Sentinel, appendfsync {appendfsync}"
        self._servers: list[RedisServer] = []
        self._down: RedisServer | None = None
        try:
            first = self._start(folder / "redis-1", appendfsync=appendfsync)
            self._start(folder / "redis-2", appendfsync=appendfsync, config={"replicaof": f"127.0.0.1 {first.port}"})
            monitor = {"sentinel": f"monitor {SERVICE} 127.0.0.1 {first.port} 1"}
            self.sentinel = self._start(folder / "sentinel", sentinel=True, config=monitor)
            self._ask("sentinel", "set", SERVICE, "down-after-milliseconds", "500", "failover-timeout", "3000")
            self._until(lambda: bool(self._ask("sentinel", "replicas", SERVICE)))
        except BaseException:
            self.close()
            raise
        self.url = f"redis+sentinel://127.0.0.1:{self.sentinel.port}/{SERVICE}/0"

    def _start(self, folder: Path, **how: Any) -> RedisServer:
        server = start_redis(folder, **how)
        self._servers.append(server)
        return server

    def _ask(self, *command: str) -> Any:
        with _redis().Redis.from_url(self.sentinel.url, socket_timeout=5.0, decode_responses=True) as client:
            return client.execute_command(*command)

    def _until(self, condition: Callable[[], bool]) -> None:
        end = time.monotonic() + SENTINEL_S
        while not condition():
            if time.monotonic() > end:
                raise BackendUnavailable(f"Sentinel did not see the replica in {SENTINEL_S:g} s")
            time.sleep(0.05)

    def url_for(self, lane: str) -> str:
        """The same for every lane: the Sentinel's."""
        return self.url

    @property
    def primary(self) -> RedisServer:
        """The server that the Sentinel names now."""
        port = int(self._ask("sentinel", "get-master-addr-by-name", SERVICE)[1])
        return next(server for server in self._servers if server.port == port)

    def fail_over(self) -> str:
        """SIGKILL of the primary; says what was done."""
        self._down = self.primary
        self._down.kill()
        return f"the primary on port {self._down.port} is killed"

    def rejoin(self) -> None:
        """Start the one that was killed, as a replica of the one that took its place."""
        if self._down is None:
            return
        down, self._down = self._down, None
        down.start()
        primary = self.primary
        if primary is not down:  # else the Sentinel has not noticed; it goes on as it was
            with _redis().Redis.from_url(down.url, socket_timeout=5.0) as client:
                client.execute_command("replicaof", "127.0.0.1", str(primary.port))

    @property
    def in_sync(self) -> bool:
        """Whether a replica follows the primary closely: before that, another fail-over would be a second fault."""
        try:
            with _redis().Redis.from_url(self.primary.url, socket_timeout=1.0) as client:
                told = client.info("replication")
        except _redis().RedisError:
            return False
        replica = told.get("slave0", {})
        return bool(replica.get("state") == "online" and int(replica.get("lag", 9)) <= 1)  # seconds since it answered

    def close(self) -> None:
        """End all servers."""
        for server in reversed(self._servers):
            server.kill()


def _redis() -> Any:
    """The client library, which only this fault or that one needs."""
    try:
        import redis
    except ImportError:
        raise BackendUnavailable("the package redis is not installed: pip install 'orch[redis]'") from None
    return redis


def _whole_commands(file: BinaryIO, synced: int, end: int) -> int:
    """Where the last whole command before `end` ends, which is not before `synced`.

    A file that is torn within a command of a transaction is a known fault of its own: Redis 7.0 cuts off that command
    and leaves the MULTI before it, so that the next transaction is lost at the start after (mended for Valkey in
    https://github.com/valkey-io/valkey/pull/4342). `redis-check-aof --fix` before the start prevents it.
    """
    start = max(0, synced - 2)
    file.seek(start)
    tail = file.read(end - start + 1)
    if len(tail) <= end - start:  # nothing comes after it
        return end
    at = tail.rfind(b"\r\n*")
    return synced if at < 0 else start + at + 2


def _number(path: Path) -> int:
    with contextlib.suppress(ValueError, IndexError):
        return int(path.name.split(".")[-3])
    return 0


def _globbed(text: str) -> str:
    """Text that a glob pattern takes literally."""
    return "".join(f"\\{char}" if char in "*?[]\\^" else char for char in text)


def fresh_prefix() -> str:
    """A key prefix that nobody else has; its hash tag keeps it on one node of a cluster."""
    return f"{{orch-torture-{os.getpid():x}-{time.time_ns():x}}}"
