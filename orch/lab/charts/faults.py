"""How faults are shown, the same in every chart: signs above the data, and bands where the store was away."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from orch.lab.charts.rows import Fault
from orch.lab.charts.style import BLACK, BLUE, GREY, VERMILION
from orch.lab.charts.thin import thin_points

SIGNS = {
    "crash": ("X", BLACK, "crash of a worker"),
    "kill": ("X", BLACK, "kill -9 of a worker"),
    "stop": ("s", BLUE, "a worker ended"),
    "start": ("|", BLUE, "a worker began again"),
    "pause": ("P", VERMILION, "a worker was paused"),
}
STORE_WORDS = {"outage": "store away", "store": "store away", "cut": "line to the store cut"}


def fault_strip(ax: Any, faults: Iterable[Fault], span: float, *, signs: bool = True) -> list[Any]:
    """Bands over the whole height where the store was away, and signs above the data; returns what a legend says.

    Starts are left out of the strip: each stands for the crash before it.
    """
    handles: dict[str, Any] = {}
    points = []
    for fault in faults:
        if fault.of_store:
            words = STORE_WORDS.get(fault.what, fault.what)
            handles[words] = band(ax, fault.at, fault.until, words)
        elif fault.what != "start":
            points.append((fault.at, fault.what))
    if signs:
        for what in sorted({what for _, what in points}):
            at = [place for place, _ in thin_points([point for point in points if point[1] == what], span)]
            marker, colour, words = sign_of(what)
            (line,) = ax.plot(
                at,
                [1.035] * len(at),
                linestyle="",
                marker=marker,
                color=colour,
                markersize=6,
                markeredgewidth=0.5,
                clip_on=False,
                transform=ax.get_xaxis_transform(),
                label=f"{words} ({sum(point[1] == what for point in points)})",
            )
            handles[words] = line
    return list(handles.values())


def sign_of(what: str) -> tuple[str, str, str]:
    """Marker, colour and words of a fault of a worker."""
    return SIGNS.get(what, ("d", GREY, what))


def sign_handle(what: str) -> Line2D:
    """The entry of a legend for a fault of a worker."""
    marker, colour, words = sign_of(what)
    return Line2D([], [], linestyle="", marker=marker, color=colour, markersize=7, label=words)


def band(ax: Any, start: float, end: float, words: str) -> Patch:
    """A hatched band over the whole height; returns the entry of a legend."""
    known = ax.get_legend_handles_labels()[1]
    label = "" if words in known else words
    ax.axvspan(start, end, facecolor="#EEEEEE", edgecolor="#BBBBBB", hatch="////", linewidth=0, zorder=0, label=label)
    return Patch(facecolor="#EEEEEE", edgecolor="#BBBBBB", hatch="////", label=words)


def bands(ax: Any, spans: Sequence[tuple[float, float]], words: str) -> list[Any]:
    """Several bands of one kind, with one entry for a legend."""
    return [band(ax, start, end, words) for start, end in spans][-1:]
