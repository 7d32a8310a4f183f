"""A worker process of somebody else's library: `python -m orch.testing.adapters.worker LIBRARY SETTING URL [TAKE]`.

With TAKE the whole process group dies by SIGKILL at the instant at which a reply of the server names that job: it has
left the queue, and the worker has written nothing down.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from orch.testing.adapters.base import load


def die_when_told(job_id: str) -> None:
    """Wrap the reading of replies of every connection of this process."""
    from redis.connection import AbstractConnection

    read: Callable[..., Any] = AbstractConnection.read_response
    mark = job_id.encode()

    def read_and_look(connection: Any, *args: Any, **kwargs: Any) -> Any:
        reply = read(connection, *args, **kwargs)
        if names(reply, mark):
            os.killpg(0, signal.SIGKILL)
        return reply

    setattr(AbstractConnection, "read_response", read_and_look)  # noqa: B010  # no type allows a method to be replaced


def names(reply: Any, mark: bytes) -> bool:
    """Whether a reply holds this text anywhere."""
    match reply:
        case bytes():
            return mark in reply
        case str():
            return mark.decode() in reply
        case list() | tuple() | set():
            return any(names(part, mark) for part in reply)
        case dict():
            return any(names(key, mark) or names(value, mark) for key, value in reply.items())
    return False


def main(argv: list[str]) -> None:
    """Be the worker."""
    library, setting, url, *take = argv
    adapter = load(library)
    if take:
        die_when_told(take[0])
    adapter.work(url, setting)


if __name__ == "__main__":
    main(sys.argv[1:])
