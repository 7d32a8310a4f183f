"""A live picture of a queue while something works on it, and a static one that it leaves behind.

    with watching(queue):
        ...                  # workers run, jobs come

In a notebook the picture is drawn anew every second in the place of the last one. Elsewhere nothing is shown, and the
samples are there all the same.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from orch.checks import check_seconds
from orch.errors import OrchError
from orch.job import STATES
from orch.lab.charts.depth import queue_depth
from orch.lab.pictures import svg
from orch.queue import PersistentQueue

SAMPLE_S = 0.1
DRAW_S = 1.0


class Sample(NamedTuple):
    """How many jobs were in each state, in seconds since the beginning."""

    at_s: float
    pending: int
    running: int
    success: int
    failed: int


@dataclass(slots=True)
class Watched:
    """What was seen so far; `away_s` are the instants at which the store did not answer."""

    samples: list[Sample] = field(default_factory=list)
    away_s: list[float] = field(default_factory=list)

    def look(self, queue: PersistentQueue, at_s: float) -> None:
        """Take one sample."""
        try:
            counts = queue.counts()
        except OrchError:
            self.away_s.append(at_s)
        else:
            self.samples.append(Sample(at_s, *(counts[state] for state in STATES)))

    def draw(self, ax: Any = None) -> Any:
        """The samples as a chart; returns the axis."""
        away = [(at_s, "outage", "store", SAMPLE_S) for at_s in self.away_s]
        return queue_depth(self.samples, away, ax=ax)


@contextmanager
def watching(queue: PersistentQueue, *, every_s: float = SAMPLE_S, draw_s: float = DRAW_S) -> Iterator[Watched]:
    """Look at the queue `every_s` seconds from a thread of its own while the block runs; redraw `draw_s` seconds.

    The queue must allow a second thread (ours do). Raises `InvalidInput`.
    """
    check_seconds(every_s, "every_s", positive=True)
    check_seconds(draw_s, "draw_s", positive=True)
    seen = Watched()
    show = _shower()
    begun = time.monotonic()
    over = threading.Event()

    def look() -> None:
        drawn = begun
        while True:
            now = time.monotonic()
            seen.look(queue, now - begun)
            if show is not None and now - drawn >= draw_s:
                drawn = now
                show(_picture(seen))
            if over.wait(every_s):
                return

    thread = threading.Thread(target=look, name="orch-watching", daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()
        seen.look(queue, time.monotonic() - begun)
        if show is not None:
            show(_picture(seen))


def _picture(seen: Watched) -> str:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, 3.2), layout="constrained")
    return svg(seen.draw(figure.subplots()))


def _shower() -> Callable[[str], None] | None:
    """Shows an SVG in the notebook's cell, each one in the place of the last; None where there is no notebook."""
    try:
        from IPython import get_ipython
        from IPython.display import SVG, display
    except ModuleNotFoundError:
        return None
    if get_ipython() is None:
        return None
    picture: Any = SVG  # neither is typed
    show: Any = display
    handle = show(picture("<svg xmlns='http://www.w3.org/2000/svg'/>"), display_id=True)
    return lambda text: handle.update(picture(text))
