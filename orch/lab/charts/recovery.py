"""How long a job waits after its worker died, for several queues beside each other; or that it never comes back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from orch.lab.charts.style import BLUE, GREEN, ORANGE, PURPLE, VERMILION, axis, finish

_SIGNS = ((BLUE, "o"), (ORANGE, "s"), (GREEN, "^"), (PURPLE, "D"))


def times_to_recover(queues: Mapping[str, Mapping[str, float | None]], ax: Any = None) -> Any:
    """Seconds until a job ran again, on a logarithmic scale: a row a queue, a sign for each way to die.

    `queues` maps a queue to the ways its worker was killed, and each way to the seconds, or to None if the job never
    ran again. Those stand at the right, as "never". Returns the axis.
    """
    ways = list(dict.fromkeys(way for row in queues.values() for way in row))
    ax = axis(ax, 9.0, 1.2 + 0.34 * len(queues))
    known = [seconds for row in queues.values() for seconds in row.values() if seconds is not None]
    never = 10 * max(known, default=1.0)
    ax.set_xscale("log")
    for place, way in enumerate(ways):
        colour, sign = _SIGNS[place % len(_SIGNS)]
        shift = 0.22 * (place - (len(ways) - 1) / 2)
        points = [(y + shift, row[way]) for y, row in enumerate(queues.values()) if way in row]
        back = [(seconds, y) for y, seconds in points if seconds is not None]
        ax.plot([x for x, _ in back], [y for _, y in back], sign, color=colour, markersize=7, label=way)
        for y, seconds in points:
            if seconds is None:
                ax.plot(never, y, sign, color=VERMILION, markerfacecolor="none", markersize=7)
                ax.text(never * 1.25, y, "never", color=VERMILION, va="center", fontsize=8)
    left = min(known, default=1.0) / 2
    ax.set_xlim(left, never * 3)
    ax.axvspan(never / 2, never * 3, color="#f2f2f2", zorder=0)
    powers = range(math.ceil(math.log10(left)), math.floor(math.log10(never / 2)) + 1)
    ax.set_xticks([10.0**power for power in powers], [f"{10.0**power:g}" for power in powers])
    ax.set_xticks([], minor=True)
    ax.set_yticks(range(len(queues)), list(queues), fontsize=9)
    ax.set_ylim(max(len(queues), 1) - 0.5, -0.5)
    ax.grid(axis="x", color="#dddddd", linewidth=0.6)
    ax.set_axisbelow(True)
    return finish(ax, "When does a job run again whose worker was killed?", "seconds until it ran again", "")
