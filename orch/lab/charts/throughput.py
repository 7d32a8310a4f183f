"""How many things happen a second: arrivals, starts, ends; what a dependency is asked."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from orch.lab.charts.faults import band, fault_strip
from orch.lab.charts.rows import faults_of, span_of
from orch.lab.charts.style import SERIES, axis, finish

WINDOWS = 300  # at most


def throughput(
    series: Mapping[str, Sequence[float]],
    marks: Iterable[Any] = (),
    *,
    window_s: float | None = None,
    spans: Mapping[str, Sequence[tuple[float, float]]] | None = None,
    title: str = "Jobs a second",
    y: str = "per second",
    ax: Any = None,
) -> Any:
    """How many instants of each name fall into each window, per second, as steps.

    `window_s` is one second unless it is given, or more where that would be more than 300 windows. `spans` are
    stretches of seconds to show as bands, by their words.
    """
    ax = axis(ax)
    faults = faults_of(marks)
    named = {name: np.asarray([at for at in times if math.isfinite(at)], dtype=float) for name, times in series.items()}
    low, high = span_of(*([float(times.max())] for times in named.values() if len(times)))
    width = window_s or max(1.0, math.ceil((high - low) / WINDOWS))
    edges = low + width * np.arange(math.ceil((high - low) / width) + 1)
    for (name, times), (colour, style) in zip(named.items(), SERIES * (1 + len(named) // len(SERIES)), strict=False):
        counts = np.histogram(times, edges)[0] / width
        x = [*edges.tolist()]
        ax.plot(x, [*counts.tolist(), counts[-1]], drawstyle="steps-post", color=colour, linestyle=style, label=name)
    for words, stretches in (spans or {}).items():
        for start, end in stretches:
            band(ax, start, end, words)
    fault_strip(ax, faults, high - low)
    ax.set_xlim(low, high)
    ax.set_ylim(bottom=0)
    return finish(ax, title, f"seconds; windows of {width:.3g} s", y, pad=16)
