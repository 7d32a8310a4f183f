"""What simulations and real runs yield, as the plain rows that charts draw. Times are seconds from the beginning.

A simulation has rows that are tuples; real runs have the values of `orch.page`. Either is taken.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

_LIFE = re.compile(r"\.\d+$")


class Attempt(NamedTuple):
    """One attempt at a job: who, from when to when (None: no end was seen), and how it ended."""

    worker: str
    job: str
    attempt: int
    start: float
    end: float | None
    outcome: str


class Fault(NamedTuple):
    """Something that went wrong from one instant to another: of a worker, or of the store (`whom` empty or store)."""

    at: float
    until: float
    what: str
    whom: str

    @property
    def of_store(self) -> bool:
        """All workers feel it."""
        return self.whom in ("", "store")


def attempts_of(rows: Iterable[Any]) -> list[Attempt]:
    """Attempts from `Result.lanes`, from plain tuples of the same fields, or from `orch.page.Run`; by their starts."""
    made = [
        Attempt(*row)
        if isinstance(row, tuple)
        else Attempt(row.worker, row.job_id, row.attempt, row.start_s, row.end_s, row.outcome)
        for row in rows
    ]
    return sorted(made, key=lambda one: one.start)


def faults_of(rows: Iterable[Any]) -> list[Fault]:
    """Faults from `Result.marks`, from plain (at, what, whom, seconds), or from `orch.page.Kill` and `Mark`."""
    made = []
    for row in rows:
        if isinstance(row, tuple):
            at, what, whom, *seconds = row
            made.append(Fault(at, at + (seconds[0] if seconds else 0.0), what, whom))
        elif hasattr(row, "held"):
            made.append(Fault(row.at_s, row.at_s, "kill", row.worker))
        else:
            made.append(Fault(row.at_s, row.until_s, row.kind, row.worker))
    return sorted(made, key=lambda one: one.at)


def depths_of(rows: Iterable[Any]) -> list[tuple[float, ...]]:
    """(at, pending, running) from `Result.depth`; from `orch.page.Sample` also success and failed."""
    return [
        row if isinstance(row, tuple) else (row.at_s, row.pending, row.running, row.success, row.failed) for row in rows
    ]


def lanes_of(names: Iterable[str]) -> dict[str, str]:
    """The lane of each worker: one that was started again as `name.1` after a crash stays in the lane of `name`."""
    known = set(names)
    return {name: _LIFE.sub("", name) if _LIFE.sub("", name) in known else name for name in known}


def in_order(names: Iterable[str]) -> list[str]:
    """Sorted, with the numbers in them taken as numbers."""
    return sorted(
        set(names),
        key=lambda name: [
            (part.isdigit(), int(part) if part.isdigit() else 0, part) for part in re.split(r"(\d+)", name)
        ],
    )


def span_of(*times: Sequence[float | None]) -> tuple[float, float]:
    """From the beginning, or what was before it, to the last of all instants; (0, 1) of none."""
    seen = [0.0, *(at for several in times for at in several if at is not None)]
    low, high = min(seen), max(seen)
    return low, high if high > low else low + 1.0
