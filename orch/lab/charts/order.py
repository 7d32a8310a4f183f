"""In which order jobs were delivered, against the order in which they came."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from matplotlib.ticker import MaxNLocator

from orch.lab.charts.style import BLUE, GREEN, GREY, ORANGE, PURPLE, VERMILION, axis, finish
from orch.lab.charts.thin import thin_points

_LOOKS = ((BLUE, "o"), (VERMILION, "^"), (GREEN, "s"), (PURPLE, "D"), (ORANGE, "v"), (GREY, "X"))


def delivery_order(
    deliveries: Iterable[tuple[str, int, str]],
    *,
    title: str = "Order of delivery",
    ax: Any = None,
) -> Any:
    """A point for each delivery: when it was, against when its job came; both counted from 1.

    `deliveries` are (job, its place among all that came, kind) in the order in which they happened. On the line are
    those that were delivered in the order in which they came; above it who came late and was early. An arrow leads
    from each delivery of a job to its next.
    """
    ax = axis(ax, width=7.5, height=4.0)
    rows = [(number, job, came, kind) for number, (job, came, kind) in enumerate(deliveries, 1)]
    most = max([1, *(came for _, _, came, _ in rows), *(number for number, _, _, _ in rows)])
    ax.plot([1, most], [1, most], color=GREY, linewidth=0.8, zorder=1, label="first in, first out")
    kinds = list(dict.fromkeys(kind for _, _, _, kind in rows))
    for place, kind in enumerate(kinds):
        colour, marker = _LOOKS[place % len(_LOOKS)]
        points = thin_points([(number, came) for number, _, came, of in rows if of == kind], most)
        x, y = [number for number, _ in points], [came for _, came in points]
        ax.plot(x, y, linestyle="", marker=marker, color=colour, markersize=6, zorder=3, label=kind)
    last: dict[str, tuple[int, int]] = {}
    for number, job, came, _ in rows:
        if job in last and len(rows) <= 200:
            arrow = {"arrowstyle": "-|>", "color": GREY, "linestyle": "--"}
            ax.annotate("", xy=(number, came), xytext=last[job], arrowprops=arrow, zorder=2)
        last[job] = number, came
    for scale in (ax.xaxis, ax.yaxis):
        scale.set_major_locator(MaxNLocator(integer=True))
    return finish(ax, title, "delivery, counted from the first", "job, in the order in which they came")
