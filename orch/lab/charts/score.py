"""How well a machine looks and finds: which states its operations met, and after how many runs mutants are killed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.colors import LogNorm

from orch.lab.charts.style import BLUE, GREEN, ORANGE, PURPLE, SKY, VERMILION, axis, open_frame

_LINES = ((BLUE, "-"), (VERMILION, "--"), (GREEN, "-."), (ORANGE, ":"), (PURPLE, "-"), (SKY, "--"))


def operation_map(met: Mapping[str, Mapping[str, int]], ax: Any = None) -> Any:
    """How often each operation met each state: a row an operation, a column a state, darker is more often.

    `met` maps operation to state to times; what never happened is left white, with a dot. Returns the axis.
    """
    states = list(dict.fromkeys(state for row in met.values() for state in row))
    ax = axis(ax, 2.6 + 0.85 * len(states), 1.0 + 0.24 * len(met))
    cells = [[row.get(state, 0) for state in states] for row in met.values()]
    most = max((n for row in cells for n in row), default=0)
    if most:
        shown = [[n or math.nan for n in row] for row in cells]
        ax.imshow(shown, cmap="Blues", norm=LogNorm(1, max(most, 2)), aspect="auto")
    for y, row in enumerate(cells):
        for x, n in enumerate(row):
            dark = n > math.sqrt(max(most, 2)) * 2
            ax.text(
                x, y, _short(n) if n else "·", ha="center", va="center", fontsize=7, color="white" if dark else "black"
            )
    ax.set_xticks(range(len(states)), states, rotation=30, ha="left", fontsize=8)
    ax.set_yticks(range(len(met)), list(met), fontsize=8)
    ax.xaxis.tick_top()
    ax.tick_params(length=0)
    ax.set_xlabel("state that the operation met (times)")
    return ax


def _short(n: int) -> str:
    for size, unit in ((1_000_000, "M"), (1_000, "k")):
        if n >= size:
            return f"{n / size:.3g}{unit}"
    return str(n)


def runs_to_kill(targets: Mapping[str, Sequence[int | None]], ax: Any = None) -> Any:
    """Which share of its mutants each target has lost after so many runs; None is a mutant that survived.

    A point is a mutant. A line that ends below 100 % has survivors. Returns the axis.
    """
    ax = axis(ax, 8.0, 3.8)
    for number, (name, runs) in enumerate(targets.items()):
        killed = sorted(n for n in runs if n is not None)
        share = [(rank + 1) / len(runs) * 100 for rank in range(len(killed))]
        colour, line = _LINES[number % len(_LINES)]
        alive = len(runs) - len(killed)
        label = f"{name}: {len(killed)} of {len(runs)} killed" + (f", {alive} survived" if alive else "")
        ax.step(killed, share, where="post", color=colour, linestyle=line, label=label)
        ax.plot(killed, share, ".", color=colour, markersize=3)
    ax.set_xscale("log")
    ax.set_ylim(0, 103)
    ax.set_xlabel("runs of the machine until the mutant is killed")
    ax.set_ylabel("mutants killed (%)")
    ax.set_title("How soon are mutants killed?")
    if targets:
        ax.legend(loc="lower right", frameon=False, fontsize=8)
    open_frame(ax)
    return ax
