"""A job orchestrator that you can break on purpose.

The queue's contract is the docstring of `orch.queue.PersistentQueue`; ARCHITECTURE.md says what to read after it.
Backends are imported when they are asked for, so that `import orch` needs neither sqlite3 nor redis.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orch.errors import (
    BackendUnavailable,
    IllegalTransition,
    InvalidInput,
    JobNotFound,
    LeaseLost,
    NotSupported,
    OrchError,
    UnreadableRecord,
    WriteRefused,
)
from orch.job import Job, JobStatus, Lease, Report
from orch.queue import PersistentQueue

if TYPE_CHECKING:
    from orch.backends import open_queue
    from orch.backends.memory import MemoryQueue
    from orch.backends.redis import RedisQueue
    from orch.backends.sqlite import SqliteQueue

__version__ = "0.1.0"
__all__ = [
    "BackendUnavailable",
    "IllegalTransition",
    "InvalidInput",
    "Job",
    "JobNotFound",
    "JobStatus",
    "Lease",
    "LeaseLost",
    "MemoryQueue",
    "NotSupported",
    "OrchError",
    "PersistentQueue",
    "RedisQueue",
    "Report",
    "SqliteQueue",
    "UnreadableRecord",
    "WriteRefused",
    "open_queue",
]

_LAZY = {
    "open_queue": "orch.backends",
    "MemoryQueue": "orch.backends.memory",
    "SqliteQueue": "orch.backends.sqlite",
    "RedisQueue": "orch.backends.redis",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        from importlib import import_module

        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'orch' has no attribute {name!r}")
