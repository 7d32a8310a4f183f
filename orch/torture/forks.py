"""A fork server: a process that has imported everything, and forks members in milliseconds when it is asked to.

The one that asks talks to it over a socket, in JSON lines, and signals members only through it: it alone knows
whether a process id is still theirs. When the socket closes, however that comes, it kills all of them and ends; and a
member ends when the server does. With `skew_s` every wall clock in it and its members is off by so much.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, Self

from orch.errors import BackendUnavailable

# The clocks are set before anything of orch is imported, since some of it reads the time then.
_START = """
import sys, time
skew_s = float(sys.argv[2])
if skew_s:
    wall, wall_ns = time.time, time.time_ns
    time.time = lambda: wall() + skew_s
    time.time_ns = lambda: wall_ns() + round(skew_s * 1e9)
from orch.torture.forks import serve
serve(int(sys.argv[1]), sys.argv[3])
"""
START_S = 60.0  # how long the server may take to import everything
END_S = 10.0  # how long it may take to end
TROUBLE = 70  # the exit code of a member that failed by a fault of ours


@dataclass(frozen=True, slots=True)
class Ended:
    """The end of a member: its exit code, or minus the number of the signal; the instant is of the monotonic clock."""

    pid: int
    code: int
    at_ns: int


class Forks:
    """A fork server and its members. As a context manager it ends all of them.

    `log` gets its output; `warm` (url, prefix, queue) is what members will open, so that its code is imported before.
    """

    def __init__(self, log: Path, warm: Mapping[str, Any], *, skew_s: float = 0.0) -> None:
        ours, theirs = socket.socketpair()
        with theirs, log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _START, str(theirs.fileno()), repr(skew_s), json.dumps(warm)],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # Ctrl+C is for the one who asks
            )
        self._socket = ours
        self._log = log
        self._buffer = b""
        self._ended: list[Ended] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """The process id of the server itself."""
        return self._process.pid

    def start(self, orders: Mapping[str, Any], log: Path) -> int:
        """Fork a member that follows these orders (see `orch.torture.member`); returns its process id."""
        self._send({"start": dict(orders), "log": str(log)})
        deadline = time.monotonic() + START_S
        while (left := deadline - time.monotonic()) > 0:
            answers = self._received(left)
            for answer in answers:
                if "ended" in answer:
                    self._note(answer)
            started = [int(answer["started"]) for answer in answers if "started" in answer]
            if started:
                return started[0]
        raise BackendUnavailable(f"the fork server does not answer; see {self._log}")

    def signal(self, pid: int, number: int) -> None:
        """Send a signal to a member, unless it has ended."""
        self._send({"signal": number, "pid": pid})

    def limit(self, pid: int, file_bytes: int | None) -> None:
        """Let no file of a member grow beyond so many bytes, as on a full disk; None lifts it. Linux only."""
        self._send({"limit": -1 if file_bytes is None else file_bytes, "pid": pid})

    def ended(self, wait_s: float = 0.0) -> list[Ended]:
        """The members that ended since this was last asked; waits so long for the first."""
        for answer in self._received(0.0 if self._ended else wait_s):
            self._note(answer)
        ended, self._ended = self._ended, []
        return ended

    def close(self) -> None:
        """Kill all members and end the server; returns when they are dead."""
        self._socket.close()
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _note(self, answer: Mapping[str, Any]) -> None:
        self._ended.append(Ended(answer["ended"], answer["code"], answer["at_ns"]))

    def _send(self, request: Mapping[str, Any]) -> None:
        try:
            self._socket.sendall(json.dumps(request).encode() + b"\n")
        except OSError as error:
            raise BackendUnavailable(f"the fork server is gone ({error}); see {self._log}") from error

    def _received(self, wait_s: float) -> list[dict[str, Any]]:
        while b"\n" not in self._buffer:
            ready, _, _ = select.select([self._socket], [], [], max(0.0, wait_s))
            if not ready:
                return []
            data = self._socket.recv(65536)
            if not data:
                raise BackendUnavailable(f"the fork server is gone; see {self._log}")
            self._buffer += data
        *lines, self._buffer = self._buffer.split(b"\n")
        return [json.loads(line) for line in lines]


# -- the server ----------------------------------------------------------------------------------------------------


def serve(fd: int, warm: str) -> NoReturn:
    """Be the server, on this end of the socket, until the other end closes."""
    import gc

    from orch.torture import member

    control = socket.socket(fileno=fd)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    woken, waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
    leash = os.pipe2(os.O_CLOEXEC)  # closes when this process ends, however it ends
    member.prepare(**json.loads(warm))
    gc.collect()
    gc.freeze()  # members share these pages as long as nobody walks over them
    members: set[int] = set()
    buffer = b""
    try:
        while True:
            ready, _, _ = select.select([control.fileno(), woken], [], [])
            if woken in ready:
                with contextlib.suppress(BlockingIOError):
                    os.read(woken, 4096)
            _reap(members, control)
            if control.fileno() not in ready:
                continue
            data = control.recv(65536)
            if not data:
                break
            *lines, buffer = (buffer + data).split(b"\n")
            for line in lines:
                request = json.loads(line)
                if "start" in request:
                    pid = _fork(request, control, leash)
                    members.add(pid)
                    control.sendall(json.dumps({"started": pid}).encode() + b"\n")
                elif request["pid"] in members:
                    _harm(request)
    except OSError:
        pass  # the other end is gone in the middle of something
    finally:
        for pid in members:  # not reaped yet, so each number is still its own
            os.kill(pid, signal.SIGKILL)
        for pid in members:
            os.waitpid(pid, 0)
        os._exit(0)


def _harm(request: Mapping[str, Any]) -> None:
    if "signal" in request:
        os.kill(request["pid"], request["signal"])
    else:
        import resource

        _, most = resource.prlimit(request["pid"], resource.RLIMIT_FSIZE)
        soft = most if request["limit"] < 0 else request["limit"]
        resource.prlimit(request["pid"], resource.RLIMIT_FSIZE, (soft, most))


def _reap(members: set[int], control: socket.socket) -> None:
    while members:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        members.discard(pid)
        ended = {"ended": pid, "code": os.waitstatus_to_exitcode(status), "at_ns": time.monotonic_ns()}
        control.sendall(json.dumps(ended).encode() + b"\n")


def _fork(request: Mapping[str, Any], control: socket.socket, leash: tuple[int, int]) -> int:
    # The server ignores SIGTERM, and so does a child that is a moment old: there it waits until somebody can take it.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    pid = os.fork()
    if pid == 0:
        code = TROUBLE
        try:
            control.close()
            os.close(leash[1])
            code = _be_a_member(request, leash[0])
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            with contextlib.suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return pid


def _be_a_member(request: Mapping[str, Any], leash: int) -> int:
    from orch.torture import member

    signal.set_wakeup_fd(-1)
    for number in (signal.SIGCHLD, signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    log = os.open(request["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    threading.Thread(target=_end_with, args=(leash,), daemon=True).start()
    return member.follow(member.Orders.from_dict(request["start"]))


def _end_with(leash: int) -> None:
    """End this member when the server ends."""
    os.read(leash, 1)
    os.kill(os.getpid(), signal.SIGKILL)
