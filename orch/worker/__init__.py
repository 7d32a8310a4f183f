"""A worker: takes jobs from a queue, runs them, reports what came of it, and survives what happens meanwhile.

To read it: `steps` has the values, `logic` decides, `driver` does it for real, `running` runs a job in its thread and
`isolation` with `child` in a process of its own, over `wire`; `command` is the command line.

W1 crash
    A crash at any step loses no job and runs no job beyond Q6.
W2 lease
    The lease is extended while the job runs, from another thread; a job longer than its lease is not delivered
    twice. A worker that learns it lost the lease does not report, and says so.
W3 containment
    What a workflow does that Python can catch never ends the worker and never changes another job. Finishing is
    retried, the work is not.
W4 stop
    SIGTERM or SIGINT: stop claiming, wait `grace_s`, give back what still runs as the last act, exit 0. A second
    signal stops at once.
W5 outage
    The store goes away: the worker waits with backoff and resumes by itself; it never exits 0 with work left.
W6 retries
    Retries wait: exponential backoff with jitter, capped. A run over `timeout_s` is one failed attempt.
W7 claims
    Nothing is claimed before it can start: RUNNING never exceeds the concurrency of the live workers.
W8 visible
    Workers are listed with id, host, pid, start, last beat, jobs, done, failed, blocked slots.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orch.backends import get_queue_backend

if TYPE_CHECKING:
    from orch.worker.driver import run_worker
    from orch.worker.logic import keep_leases, work
    from orch.worker.once import execute_job
    from orch.worker.steps import Config, State

__all__ = ["Config", "State", "execute_job", "get_queue_backend", "keep_leases", "run_worker", "work"]

_HOMES = {
    "Config": "steps",
    "State": "steps",
    "execute_job": "once",
    "keep_leases": "logic",
    "run_worker": "driver",
    "work": "logic",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(f"orch.worker.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'orch.worker' has no attribute {name!r}")
