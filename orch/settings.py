"""What the environment says: every variable that orch reads, its default, and what it must be.

Read once at the edge (`Settings.from_env()`), then handed on as plain values. A bad value is an error that names
the variable; nothing falls back in silence (Q15).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from orch import checks
from orch.errors import InvalidInput

BACKENDS = ("memory", "sqlite", "redis")


@dataclass(frozen=True)
class Settings:
    """The configuration of one process; times in seconds unless the name says otherwise."""

    backend: str = "memory"  # QUEUE_BACKEND: memory, sqlite or redis
    redis_url: str = "redis://localhost:6379/0"  # REDIS_URL
    sqlite_path: str = "orch.db"  # ORCH_SQLITE_PATH
    key_prefix: str = "orch:queue"  # ORCH_KEY_PREFIX, of the Redis keys
    lease_s: float = 30.0  # ORCH_LEASE_S
    max_crashes: int = 3  # ORCH_MAX_CRASHES
    grace_s: float = 10.0  # ORCH_GRACE_S, how long a stopping worker lets jobs finish
    dag_root: str = "."  # ORCH_DAG_ROOT
    workflows: tuple[str, ...] = ()  # ORCH_WORKFLOWS, modules to import, separated by commas
    events_path: str = "logs/orchestrator_events.jsonl"  # ORCH_EVENTS_PATH
    state_path: str = "logs/orchestrator_state.jsonl"  # STATE_STORE_PATH
    max_jobs_per_drain: int = 100  # SCHED_MAX_JOBS_PER_DRAIN
    max_parallel: int = 3  # SCHED_MAX_PARALLEL
    tick_ms: int = 1000  # SCHED_TICK_MS
    panel_window_h: float = 24.0  # ORCH_PANEL_WINDOW_H, default window of every view

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None) -> Settings:
        """The settings of `env` (default: the process's environment). Raises `InvalidInput` naming the variable.

        An empty variable counts as not set.
        """
        env = os.environ if env is None else env
        given = {name: env[name] for name in _VARIABLES if env.get(name)}
        backend = given.get("QUEUE_BACKEND", cls.backend).lower()
        if backend not in BACKENDS:
            raise InvalidInput(
                f"QUEUE_BACKEND must be one of {', '.join(BACKENDS)}, got {checks.shown(given['QUEUE_BACKEND'])}"
            )
        return cls(
            backend=backend,
            redis_url=given.get("REDIS_URL", cls.redis_url),
            sqlite_path=given.get("ORCH_SQLITE_PATH", cls.sqlite_path),
            key_prefix=given.get("ORCH_KEY_PREFIX", cls.key_prefix),
            lease_s=_seconds(given, "ORCH_LEASE_S", cls.lease_s, positive=True),
            max_crashes=_int(given, "ORCH_MAX_CRASHES", cls.max_crashes, 0),
            grace_s=_seconds(given, "ORCH_GRACE_S", cls.grace_s),
            dag_root=given.get("ORCH_DAG_ROOT", cls.dag_root),
            workflows=tuple(name for part in given.get("ORCH_WORKFLOWS", "").split(",") if (name := part.strip())),
            events_path=given.get("ORCH_EVENTS_PATH", cls.events_path),
            state_path=given.get("STATE_STORE_PATH", cls.state_path),
            max_jobs_per_drain=_int(given, "SCHED_MAX_JOBS_PER_DRAIN", cls.max_jobs_per_drain, 1),
            max_parallel=_int(given, "SCHED_MAX_PARALLEL", cls.max_parallel, 1),
            tick_ms=_int(given, "SCHED_TICK_MS", cls.tick_ms, 1),
            panel_window_h=_seconds(given, "ORCH_PANEL_WINDOW_H", cls.panel_window_h, positive=True),
        )


_VARIABLES = (
    "QUEUE_BACKEND",
    "REDIS_URL",
    "ORCH_SQLITE_PATH",
    "ORCH_KEY_PREFIX",
    "ORCH_LEASE_S",
    "ORCH_MAX_CRASHES",
    "ORCH_GRACE_S",
    "ORCH_DAG_ROOT",
    "ORCH_WORKFLOWS",
    "ORCH_EVENTS_PATH",
    "STATE_STORE_PATH",
    "SCHED_MAX_JOBS_PER_DRAIN",
    "SCHED_MAX_PARALLEL",
    "SCHED_TICK_MS",
    "ORCH_PANEL_WINDOW_H",
)


def _int(given: Mapping[str, str], name: str, default: int, low: int) -> int:
    text = given.get(name)
    if text is None:
        return default
    try:
        value = int(text)
    except ValueError:
        raise InvalidInput(f"{name} must be a whole number, got {checks.shown(text)}") from None
    return checks.check_int(value, name, low)


def _seconds(given: Mapping[str, str], name: str, default: float, *, positive: bool = False) -> float:
    text = given.get(name)
    if text is None:
        return default
    try:
        value = float(text)
    except ValueError:
        raise InvalidInput(f"{name} must be a number, got {checks.shown(text)}") from None
    return checks.check_seconds(value, name, positive=positive)
