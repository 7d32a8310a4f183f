"""A scheduler: looks at the clock and enqueues a job for every tick that is due; beside it, a worker that runs them.

To read it: `orch.schedule` says when a schedule is due; here `logic` decides what is enqueued and when a cursor moves,
`driver` does it for real, `drain` runs what is ready, `command` is the command line. What the seed's scheduler module
offers can be imported from here.

S1 one job per tick
    One job per (schedule, tick), however many schedulers run, restart or race: the job's id names both.
S2 no missed tick
    No tick is missed because something was slow or down; after a pause the schedule's misfire policy applies.
S3 cron
    Cron means what cron means; the rule for changing clocks is in `orch.schedule`.
S4 isolation
    A bad schedule, a bad file or a disabled schedule affects only itself.
S5 clock
    A forward jump of the clock is a pause; a backward jump repeats nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orch.backends import get_queue_backend

if TYPE_CHECKING:
    from orch.dag import load_dag_from_yaml
    from orch.schedule import load_schedules, parse_cron
    from orch.scheduler.command import main
    from orch.scheduler.drain import drain_queue
    from orch.scheduler.driver import drive
    from orch.scheduler.logic import Scheduler
    from orch.scheduler.tick import tick_once

__all__ = [
    "Scheduler",
    "drain_queue",
    "drive",
    "get_queue_backend",
    "load_dag_from_yaml",
    "load_schedules",
    "main",
    "parse_cron",
    "tick_once",
]

_HOMES = {
    "Scheduler": "orch.scheduler.logic",
    "drain_queue": "orch.scheduler.drain",
    "drive": "orch.scheduler.driver",
    "load_dag_from_yaml": "orch.dag",
    "load_schedules": "orch.schedule",
    "main": "orch.scheduler.command",
    "parse_cron": "orch.schedule",
    "tick_once": "orch.scheduler.tick",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'orch.scheduler' has no attribute {name!r}")
