"""The `sim` driver: whole worlds of workers on virtual time, many of them, and the smallest one that shows a fault.

`explore` deals worlds from seeds, of a different size and with other faults each time, until one breaks a promise;
`smallest` takes away workers, jobs and choices while the same promise is broken; `replay` does one world again from its
token. `story` tells what happened in it.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TypeVar

from orch.checker import explain
from orch.simulator.ordeal import FAULTS, SHIPPING, Ended, Ordeal, Subject, dealt, play
from orch.simulator.world import Trip

T = TypeVar("T")

SHRINK_S = 5.0  # CPU seconds
ROWS_MAX = 60  # of a story

#: Faults that are dealt together: none, each family by itself, and everything.
FAMILIES: tuple[tuple[str, ...], ...] = (
    (),
    ("crash",),
    ("stop",),
    ("outage",),
    ("pause", "stall"),
    ("request", "reply"),
    ("crash", "stall"),
    ("stop", "crash", "outage"),
    ("slow", "late", "pause"),
    FAULTS,
)
SIZES = ((1, 1), (2, 2), (2, 4), (3, 6), (1, 6), (3, 12), (4, 40))  # workers, jobs


@dataclass(slots=True)
class Explored:
    """What an exploration did: worlds, faults that struck, what it found, and CPU seconds."""

    worlds: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    ended: Ended | None = None
    seconds: float = 0.0


def dealt_world(seed: int) -> Ordeal:
    """The world of a seed: sizes and families of faults take turns."""
    workers, jobs = SIZES[(seed // len(FAMILIES)) % len(SIZES)]
    return dealt(seed, workers=workers, jobs=jobs, faults=FAMILIES[seed % len(FAMILIES)])


def explore(
    subject: Subject = SHIPPING,
    *,
    worlds: int = 1_000_000,
    seed: int = 0,
    budget_s: float | None = None,
    view: str = "store",
    deal: Callable[[int], Ordeal] = dealt_world,
) -> Explored:
    """Play worlds, until one breaks a promise, so many were played, or `budget_s` of CPU are spent."""
    begun = time.process_time()
    done = Explored()
    for number in range(worlds):
        ended = play(deal(seed * 1_000_003 + number), subject, view=view)
        done.worlds += 1
        done.faults.update(
            {key[0]: len(places) for key, places in ended.ordeal.entries.items() if places and key[0] not in "jc"}
        )
        if ended.broken is not None:
            done.ended = ended
            break
        if budget_s is not None and time.process_time() - begun > budget_s:
            break
    done.seconds = time.process_time() - begun
    return done


def replay(token: str, subject: Subject = SHIPPING, *, view: str = "store") -> Ended:
    """One world again, from its token. Raises `InvalidInput` for a text that is none."""
    return play(Ordeal.parse(token), subject, view=view)


def smallest(ended: Ended, subject: Subject = SHIPPING, *, view: str = "store", budget_s: float = SHRINK_S) -> Ended:
    """A smaller world that breaks the same promise: no worker, job or choice of it can be left out by itself."""
    shrinking = _Shrinking(ended, subject, view, time.process_time() + budget_s)
    size = -1
    while size != shrinking.best.ordeal.size and not shrinking.late():
        size = shrinking.best.ordeal.size
        shrinking.round()
    return shrinking.best


class _Shrinking:
    """The smallest world so far."""

    def __init__(self, ended: Ended, subject: Subject, view: str, deadline: float) -> None:
        assert ended.broken is not None
        self.best = ended
        self.promise = ended.broken.promise
        self.subject = subject
        self.view = view
        self.deadline = deadline

    def late(self) -> bool:
        return time.process_time() > self.deadline

    def breaks(self, ordeal: Ordeal) -> bool:
        """Does this one break the same promise? Then it is the best."""
        if self.late():
            return False
        tried = play(ordeal, self.subject, view=self.view)
        if tried.broken is None or tried.broken.promise != self.promise:
            return False
        self.best = tried
        return True

    def round(self) -> None:
        """Take away what can be taken away: jobs, workers, streams, choices; then lower the choices."""
        assert self.best.broken is not None
        named = {int(number) for number in re.findall(r"'j(\d+)'", self.best.broken.sentence)}
        if 0 < len(named) < len(self.best.ordeal.jobs):
            self.breaks(replace(self.best.ordeal, jobs=tuple(sorted(named))))
        self.less(self.best.ordeal.jobs, lambda kept: replace(self.best.ordeal, jobs=kept))
        self.less(self.best.ordeal.workers, lambda kept: replace(self.best.ordeal, workers=kept), least=1)
        self.less(tuple(self.best.ordeal.entries), self.only)
        for key in tuple(self.best.ordeal.entries):
            places = tuple(self.best.ordeal.entries.get(key, ()))
            self.less(places, lambda kept, key=key: self.with_places(key, kept), least=1)  # type: ignore[misc]
        for key, values in tuple(self.best.ordeal.entries.items()):
            for at, value in values.items():
                for lower in range(1, value):
                    entries = self.best.ordeal.entries
                    if self.breaks(replace(self.best.ordeal, entries={**entries, key: {**entries[key], at: lower}})):
                        break

    def only(self, keys: tuple[str, ...]) -> Ordeal:
        entries = self.best.ordeal.entries
        return replace(self.best.ordeal, entries={key: entries[key] for key in keys if key in entries})

    def with_places(self, key: str, kept: tuple[int, ...]) -> Ordeal:
        entries = self.best.ordeal.entries
        return replace(self.best.ordeal, entries={**entries, key: {at: entries[key][at] for at in kept}})

    def less(self, items: tuple[T, ...], made: Callable[[tuple[T, ...]], Ordeal], *, least: int = 0) -> None:
        """Leave out parts, halves first, then ever smaller ones (delta debugging)."""
        size = len(items)
        while size:
            start = 0
            while start < len(items):
                kept = items[:start] + items[start + size :]
                if len(kept) >= least and self.breaks(made(kept)):
                    items = kept
                else:
                    start += size
            size //= 2


def story(ended: Ended) -> str:
    """What happened in a world, as text: how to do it again, what was broken, who asked the queue what, and when."""
    ordeal = ended.ordeal
    lines = [
        "from orch.testing.drivers.sim import replay",
        f'print(replay("{ordeal.token}").broken)',
        "",
        f"# {len(ordeal.workers)} worker(s), {len(ordeal.jobs)} job(s), faults: {_choices(ordeal) or 'none'}",
    ]
    if ended.broken is not None:
        lines.append(f"# {ended.broken.promise}: {ended.broken.sentence}")
    trips = [trip for trip in ended.world.trips if trip.verb != "announce"]
    lines += [f"# {_told(trip)}" for trip in trips[-ROWS_MAX:]]
    if ended.violation is not None:
        lines += [f"# {line}" for line in explain(ended.violation, ended.history).splitlines()]
    return "\n".join(lines)


_CONCERN = {"x": "steps of worker", "n": "requests of client", "p": "requests of the producer", "o": "outages"}
_CONCERN |= {"t": "stop of worker", "c": "settings of worker", "j": "job"}


def _choices(ordeal: Ordeal) -> str:
    return "; ".join(
        f"{_CONCERN[key[0]]} {key[1:]}: " + ", ".join(f"{place} is {value}" for place, value in sorted(places.items()))
        for key, places in sorted(ordeal.entries.items())
    )


def _told(trip: Trip) -> str:
    if trip.verb == "enqueue":
        what = trip.asked.id
    elif trip.verb == "extend":
        what = ", ".join(lease.job_id for lease in trip.asked)
    else:
        reports = ", ".join(f"{report.status.value} of {report.job_id}" for report in trip.asked or ())
        claims = f"up to {trip.n} job(s)" if trip.n else ""
        what = " and ".join(filter(None, (reports, claims)))
    answer = trip.answer
    if trip.at is None:
        said = "never arrived"
    elif trip.verb == "exchange" and isinstance(answer, tuple):
        refused = [type(result).__name__ for result in answer[0] if isinstance(result, Exception)]
        said = ", ".join([*refused, *(f"{job.id}#{job.attempts}" for job in answer[1])]) or "ok"
    elif isinstance(answer, list):
        said = ", ".join(
            f"{item.id}#{item.attempts}" if hasattr(item, "attempts") else type(item).__name__ for item in answer
        )
        said = said or "nothing"
    else:
        said = str(answer)
    at = f"{trip.at / 1e9:9.3f} s" if trip.at is not None else " " * 11
    lost = "" if trip.returned is not None or trip.at is None else " (the reply got lost)"
    return f"{at}  {trip.client:9} {trip.verb:8} {what} -> {said}{lost}"
