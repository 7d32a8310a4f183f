"""What is mutated: the queues in memory and on SQLite, each with what judges its mutants."""

from __future__ import annotations

from importlib import import_module

from orch.errors import InvalidInput
from orch.testing.mutants.engine import Target

#: Target -> module and name of its `Target`.
TARGETS: dict[str, tuple[str, str]] = {
    "memory": ("orch.testing.mutants.queues", "MEMORY"),
    "sqlite": ("orch.testing.mutants.queues", "SQLITE"),
    "schedule": ("orch.testing.mutants.machines", "SCHEDULE"),
    "dag": ("orch.testing.mutants.machines", "DAG"),
    "worker": ("orch.testing.mutants.workers", "WORKER"),
}


def target(name: str) -> Target:
    """The target of this name. Raises `InvalidInput` with the names that exist."""
    if name not in TARGETS:
        raise InvalidInput(f"a target is one of {', '.join(TARGETS)}, got {name!r}")
    module, attribute = TARGETS[name]
    found: Target = getattr(import_module(module), attribute)
    return found
