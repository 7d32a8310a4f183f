"""What a worker, the server of a slot, and a job in a process of its own say to each other.

worker --ctl--> server      b"r" and a socket: fork a job that talks over it;  b"k": kill the job
worker <--ctl-- server      four bytes: the wait status of the job that ended
worker <-channel-> job      frames of JSON: the job; its records, each answered; its outcome
"""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Iterator
from typing import Any

from orch import errors
from orch.errors import LeaseLost, OrchError
from orch.job import Lease
from orch.runner import Dead, Done, Lost, Outcome, Retry

RUN, KILL = b"r", b"k"
STATUS = struct.Struct("!i")
FRAME_MAX = 64 * 1024 * 1024  # bytes of one frame; a job that sends more is taken for broken
_SIZE = struct.Struct("!I")


def send(channel: socket.socket, frame: dict[str, Any]) -> None:
    """Send one frame: its length, then JSON."""
    data = json.dumps(frame).encode()
    channel.sendall(_SIZE.pack(len(data)) + data)


def receive(channel: socket.socket) -> Iterator[dict[str, Any]]:
    """The frames that the other side sends, until it closes or what comes is no whole frame."""
    while True:
        head = _exactly(channel, _SIZE.size)
        if head is None or _SIZE.unpack(head)[0] > FRAME_MAX:
            return
        body = _exactly(channel, _SIZE.unpack(head)[0])
        if body is None:
            return
        try:
            frame = json.loads(body)
        except ValueError:
            return
        yield frame


def _exactly(channel: socket.socket, size: int) -> bytes | None:
    parts = bytearray()
    while len(parts) < size:
        try:
            part = channel.recv(min(size - len(parts), 1024 * 1024))
        except ConnectionError:
            return None
        if not part:
            return None
        parts += part
    return bytes(parts)


def lease_fields(lease: Lease | None) -> list[Any] | None:
    """A lease as JSON."""
    return None if lease is None else [lease.job_id, lease.token, lease.worker_id, lease.expires_at]


def outcome_frame(outcome: Outcome) -> dict[str, Any]:
    """An outcome as a frame."""
    match outcome:
        case Done():
            return {"outcome": "done", "result": outcome.result}
        case Retry():
            return {"outcome": "retry", "error": outcome.error}
        case Dead():
            return {"outcome": "dead", "error": outcome.error}
        case Lost():
            return {"outcome": "lost"}


def outcome_of(frame: dict[str, Any]) -> Outcome:
    """The outcome that a frame tells; a frame that is none is a failed attempt."""
    match frame:
        case {"outcome": "done", "result": result}:
            return Done(result)
        case {"outcome": "retry", "error": str(error)}:
            return Retry(error)
        case {"outcome": "dead", "error": str(error)}:
            return Dead(error)
        case {"outcome": "lost"}:
            return Lost()
    return Retry("the process of the job answered with what is no outcome")


def raise_answer(answer: dict[str, Any] | None) -> None:
    """Raise in the job what `record` raised in the worker; a worker that is gone has lost its lease."""
    if answer is None:
        raise LeaseLost("the worker of this job is gone")
    if "error" in answer:
        raise getattr(errors, answer["error"], OrchError)(answer["text"])
