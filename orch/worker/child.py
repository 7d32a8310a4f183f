"""The other side of `orch.worker.isolation`: the server of one slot, and the jobs that it forks.

`python -m orch.worker.child FD` imports what jobs need and waits. It runs no job's code, has one thread, and therefore
can be relied on: it forks, kills and reaps. What a forked job does ends with the job.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import sys
import threading
from typing import Any, NoReturn

from orch.job import Job, Lease
from orch.settings import Settings
from orch.worker.command import prepare
from orch.worker.running import run_one
from orch.worker.wire import KILL, RUN, STATUS, outcome_frame, raise_answer, receive, send

CANNOT_FORK = 71 << 8  # as if the job had ended with EX_OSERR


def main() -> NoReturn:
    """Fork, kill and reap as the worker asks, until it is gone."""
    ctl = socket.socket(fileno=int(sys.argv[1]))
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the worker decides when its jobs end
    woken, waker = os.pipe()
    os.set_blocking(woken, False)
    os.set_blocking(waker, False)
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
    leash = os.pipe()  # closes when this process ends, however it ends
    settings = Settings.from_env()
    prepare(settings, level=sys.argv[2])
    job = 0
    watched = select.poll()
    watched.register(ctl, select.POLLIN)
    watched.register(woken, select.POLLIN)
    while True:
        ready = {fd for fd, _ in watched.poll()}
        if woken in ready:
            os.read(woken, 512)
        try:
            if job and (status := _ended(job)) is not None:
                job = 0
                ctl.sendall(STATUS.pack(status))
            if ctl.fileno() not in ready:
                continue
            request, fds, _, _ = socket.recv_fds(ctl, 1, 1)
            if request == RUN:
                job = _fork(ctl, socket.socket(fileno=fds[0]), leash, settings)
        except OSError:
            request = b""
        if request != RUN and job:
            _kill_group(job)
        if request not in (RUN, KILL):  # the worker is gone
            os._exit(0)


def _ended(job: int) -> int | None:
    """The wait status of the job if it has ended. Who is left of its group ends with it."""
    if os.waitid(os.P_PID, job, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        return None
    _kill_group(job)  # before it is reaped, so that the number is still its own
    return os.waitpid(job, 0)[1]


def _kill_group(job: int) -> None:
    with contextlib.suppress(OSError):
        os.killpg(job, signal.SIGKILL)


def _fork(ctl: socket.socket, channel: socket.socket, leash: tuple[int, int], settings: Settings) -> int:
    with channel:
        try:
            job = os.fork()
        except OSError as error:
            sys.stderr.write(f"orch: cannot fork: {error}\n")
            ctl.sendall(STATUS.pack(CANNOT_FORK))
            return 0
        if job == 0:
            code = 70
            try:
                os.close(ctl.detach())
                os.close(leash[1])
                _be_a_job(channel, leash[0], settings)
                code = 0
            finally:
                with contextlib.suppress(Exception):
                    sys.stdout.flush()
                os._exit(code)
        with contextlib.suppress(OSError):
            os.setpgid(job, job)  # the job does it, too: whoever comes first
        return job


def _be_a_job(channel: socket.socket, leash: int, settings: Settings) -> None:
    with contextlib.suppress(OSError):
        os.setpgid(0, 0)
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGCHLD, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    threading.Thread(target=_end_with, args=(leash,), daemon=True).start()
    frames = receive(channel)
    order = next(frames, None)
    if order is None:  # the worker went away meanwhile
        return
    lock = threading.Lock()

    def record(task_id: str, output: Any) -> None:
        with lock:
            send(channel, {"record": [task_id, output]})
            raise_answer(next(frames, None))

    job = Job.from_dict(order["job"])
    job.lease = None if order["lease"] is None else Lease(*order["lease"])
    send(channel, outcome_frame(run_one(job, settings, order["done"], record)))


def _end_with(leash: int) -> None:
    """End this job and its group when the server ends."""
    os.read(leash, 1)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main()
