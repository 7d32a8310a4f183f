"""Each job in a process of its own: it can be killed, and takes nobody along (W3, W6).

A slot keeps one **server**: an interpreter that has imported what jobs need, runs none of their code, and forks once a
job. It is asked over a control socket; each job talks over a channel of its own, handed along with the request; what
they say is in `orch.worker.wire`.

The job is the leader of a process group, which is killed as a whole when the job ends, is abandoned, or loses its
worker: then the control socket closes, and the server kills the group and ends.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

from orch.errors import NotSupported, OrchError
from orch.job import Job
from orch.runner import Lost, Outcome, Retry
from orch.worker.attempt import Attempt
from orch.worker.wire import KILL, RUN, STATUS, lease_fields, outcome_of, receive, send

Record = Callable[[str, Any], None]


class Servers:
    """The servers of one worker; `run` takes an idle one or starts another."""

    def __init__(self, *, log_level: str = "WARNING") -> None:
        if not hasattr(os, "waitid"):
            raise NotSupported("--isolate process needs fork and waitid; this system has --isolate thread only")
        self._log_level = log_level
        self._idle: list[_Server] = []
        self._lock = threading.Lock()

    def warm(self, n: int) -> None:
        """Start n servers; they get ready by themselves."""
        with self._lock:
            self._idle += [_Server(self._log_level) for _ in range(n)]

    def run(self, job: Job, attempt: Attempt, *, record: Record, done: dict[str, Any]) -> Outcome:
        """Run one job to its outcome in a process of its own. A process that dies without one is a failed attempt.

        `record` is called here, in the worker, with what the job records; `done` are its outputs of earlier attempts.
        """
        while True:
            with self._lock:
                server = self._idle.pop() if self._idle else None
            fresh = server is None
            if server is None:
                server = _Server(self._log_level)
            outcome = server.run(job, attempt, record, done)
            if server.gone:
                server.close()
            else:
                with self._lock:
                    self._idle.append(server)
            if outcome is not None:
                return outcome
            if fresh:
                return Retry("the process for the job could not be started; the worker's log may say why")

    def close(self) -> None:
        """End the idle servers; those at work end with the worker."""
        with self._lock:
            servers, self._idle = self._idle, []
        for server in servers:
            server.close()


class _Server:
    def __init__(self, log_level: str) -> None:
        self.ctl, theirs = socket.socketpair()
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "orch.worker.child", str(theirs.fileno()), log_level],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl+C is for the worker, which lets its jobs finish
            )
        self.gone = False  # it does not answer; the process itself may take a moment longer

    def close(self) -> None:
        self.ctl.close()
        self.process.wait()

    def run(self, job: Job, attempt: Attempt, record: Record, done: dict[str, Any]) -> Outcome | None:
        """The outcome; None if nothing was started, because the server is gone."""
        ours, theirs = socket.socketpair()

        def start() -> None:
            try:
                socket.send_fds(self.ctl, [RUN], [theirs.fileno()])
            except OSError:
                self.gone = True

        def kill() -> None:
            with contextlib.suppress(OSError):  # no server any more: its job is ending already
                self.ctl.sendall(KILL)

        with ours, theirs, attempt.killable(start, kill) as started:
            theirs.close()
            if self.gone:
                return None
            return self._talk(ours, job, record, done) if started else Lost()

    def _talk(self, channel: socket.socket, job: Job, record: Record, done: dict[str, Any]) -> Outcome:
        _try_to_send(channel, {"job": job.to_dict(), "lease": lease_fields(job.lease), "done": done})
        outcome: Outcome | None = None
        frames = receive(channel)
        watched = select.poll()
        watched.register(channel, select.POLLIN)
        watched.register(self.ctl, select.POLLIN)
        while True:
            ready = {fd for fd, _ in watched.poll()}
            if channel.fileno() in ready:
                frame = next(frames, None)
                if frame is None:
                    watched.unregister(channel)
                elif "record" in frame:
                    _try_to_send(channel, _answer(record, *frame["record"]))
                else:
                    outcome = outcome_of(frame)
            elif self.ctl.fileno() in ready:
                return self._ended(outcome)

    def _ended(self, outcome: Outcome | None) -> Outcome:
        try:
            data = self.ctl.recv(STATUS.size, socket.MSG_WAITALL)
        except OSError:
            data = b""
        self.gone = len(data) < STATUS.size
        if outcome is not None:
            return outcome
        if self.gone:
            return Retry("the process that runs jobs was killed; its job was ended with it")
        code = os.waitstatus_to_exitcode(STATUS.unpack(data)[0])
        how = f"was killed by {_signal_name(-code)}" if code < 0 else f"ended with exit code {code}"
        return Retry(f"the process of the job {how} before it had a result")


def _try_to_send(channel: socket.socket, frame: dict[str, Any]) -> None:
    with contextlib.suppress(OSError):  # the job is dead; its server will say so
        send(channel, frame)


def _answer(record: Record, task_id: str, output: Any) -> dict[str, Any]:
    try:
        record(task_id, output)
    except OrchError as error:
        return {"error": type(error).__name__, "text": str(error)}
    return {}


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal has no name
        return f"signal {number}"
