"""What a seeded bug is, where the bugs are, and who hunts those of which level.

A module of bugs has `BUGS: tuple[Bug, ...]` and its line in MODULES; a level has its line in HUNTERS. Modules that are
not there (a part of the kit that was left out) are passed over; one that is there and does not import is an error.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

#: Where `BUGS` are, within this package.
MODULES: tuple[str, ...] = (
    "queue_take",
    "queue_recovery",
    "queue_fence",
    "queue_order",
    "queue_budget",
    "queue_values",
    "queue_refusal",
    "queue_lists",
    "queue_repeat",
    "queue_clock",
    "queue_records",
    "queue_sqlite",
    "queue_store",
    "naive_redis",
    "processes",
    "workers",
    "concurrent",
    "scheduler",
    "dag",
    "logs",
)

#: Level -> the module with its `hunt`, and `hunt_with_hypothesis` where that driver knows the level.
HUNTERS: dict[str, str] = {
    "queue": "orch.testing.bugs.queue_hunter",
    "torture": "orch.testing.bugs.torture_hunter",
    "sim": "orch.testing.bugs.sim_hunter",
    "scheduler": "orch.testing.bugs.machine_hunter",
    "dag": "orch.testing.bugs.machine_hunter",
    "logs": "orch.testing.bugs.machine_hunter",
}


@dataclass(frozen=True, slots=True)
class Bug:
    """A fault on top of shipping code, with where it was seen and the promises that it breaks.

    `make` is the subject with the bug, as the machine of its level takes it: for "queue" a store, `make(clock)` gives
    an empty queue and hooks are attributes of it (see `orch.testing.machine.Store`); a `close()` of it, if any, is
    called when the hunt is over.
    """

    name: str  # kebab-case, unique
    level: str  # a key of HUNTERS
    promises: tuple[str, ...]  # that a report may blame, the main one first; several only where several are broken
    what: str  # one sentence: the shortest sequence, and what goes wrong
    source: str  # "rq#2424", "kombu#305", "seed 17"; "orch" for our own
    make: Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Finding:
    """What a hunter found: the promise that it blames, and the shortest trace that shows the bug."""

    promise: str
    sentence: str
    steps: int
    token: str
    program: str  # pasteable, or a listing of the trace
    found_s: float  # CPU seconds until the first failure
    shrink_s: float  # CPU seconds from there to the shortest one


Hunt = Callable[..., Finding | None]  # (bug, *, seed=0, budget_s=10.0)


def every(level: str | None = None) -> tuple[Bug, ...]:
    """All bugs, or those of one level, in the order of MODULES."""
    found: list[Bug] = []
    for name in MODULES:
        module = _module(f"{__package__}.{name}")
        if module is not None:
            found += [bug for bug in module.BUGS if level is None or bug.level == level]
    return tuple(found)


def hunter(level: str, driver: str = "fast") -> Hunt | None:
    """Who hunts the bugs of this level with this driver; None if nobody does."""
    module = _module(HUNTERS[level]) if level in HUNTERS else None
    return getattr(module, "hunt" if driver == "fast" else f"hunt_with_{driver}", None)


def _module(name: str) -> ModuleType | None:
    return import_module(name) if find_spec(name) is not None else None
