"""How many workers: waits against the number of workers, and two distributions held against each other."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.ticker import FuncFormatter

from orch.lab.charts.style import BLACK, BLUE, GREY, SERIES, VERMILION, axis, finish


def wait_by_workers(
    simulated: Sequence[tuple[int, float, float, float]],
    theory: Sequence[tuple[int, float]] = (),
    *,
    target_s: float | None = None,
    title: str = "Wait against number of workers",
    what: str = "wait",
    ax: Any = None,
) -> Any:
    """For each number of workers the simulated wait with its interval, and what theory says, as a line.

    `simulated` is (workers, low, value, high) in seconds, `theory` (workers, value). `target_s` is the wait that was
    asked for. The scale is logarithmic: a worker too few costs far more than one too many saves; a value or an end of
    an interval that is 0 is drawn at the lower edge.
    """
    ax = axis(ax)
    values = [value for _, low, mid, high in simulated for value in (low, mid, high)]
    above = [value for value in [*values, *(value for _, value in theory), target_s or 0.0] if value > 0]
    edge = 10.0 ** math.floor(math.log10(min(above))) if above else 0.001
    if above:
        edge = max(edge, max(above) / 10_000)
        ax.set_yscale("log")
        ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))  # 0.1, not a power of ten
        ax.set_ylim(edge, 10.0 ** math.ceil(math.log10(max(above) * 1.2)))
    if theory:
        x, y = zip(*sorted(theory), strict=True)
        ax.plot(x, [max(edge, value) for value in y], color=VERMILION, linewidth=1.4, label="theory", zorder=2)
    for number, (workers, low, value, high) in enumerate(sorted(simulated)):
        ax.vlines(workers, max(edge, low), max(edge, high), color=BLUE, linewidth=2.0, zorder=3)
        label = "simulated, with its interval" if number == 0 else None
        ax.plot([workers], [max(edge, value)], "o", color=BLUE, markersize=6, label=label, zorder=4)
    if target_s is not None:
        ax.axhline(target_s, color=GREY, linestyle="--", linewidth=1.0, label=f"asked for: {target_s:g} s", zorder=1)
    known = sorted({row[0] for row in simulated} | {row[0] for row in theory})
    if known:
        ax.set_xticks(known if len(known) <= 24 else known[:: math.ceil(len(known) / 24)])
        ax.set_xlim(known[0] - 0.5, known[-1] + 0.5)
    return finish(ax, title, "workers", f"{what} in seconds")


def distributions(
    series: Mapping[str, Sequence[float]],
    *,
    marks: Sequence[float] = (0.5, 0.9),
    title: str = "Latency: part of the jobs that took at most so long",
    what: str = "latency",
    ax: Any = None,
) -> Any:
    """The part of all jobs that took at most so many seconds, a curve of steps for each name; `marks` are parts to see.

    Values that are infinite count as jobs, and are never reached.
    """
    ax = axis(ax)
    highest = 0.0
    for (name, values), (colour, style) in zip(series.items(), SERIES * (1 + len(series) // len(SERIES)), strict=False):
        ended = sorted(value for value in values if math.isfinite(value))
        parts = [(number + 1) / len(values) for number in range(len(ended))]
        ax.step([0.0, *ended], [0.0, *parts], where="post", color=colour, linestyle=style, linewidth=1.6, label=name)
        highest = max([highest, *ended[-1:]])
    for part in marks:
        ax.axhline(part, color=BLACK, linewidth=0.5, linestyle=":", zorder=0)
    ax.set_yticks([0.0, 0.25, 0.5, 0.75, 0.9, 1.0], ["0 %", "25 %", "50 %", "75 %", "90 %", "100 %"])
    ax.set_ylim(0.0, 1.02)
    ax.set_xlim(0.0, highest * 1.03 or 1.0)
    return finish(ax, title, f"{what} in seconds", "part of all jobs")
