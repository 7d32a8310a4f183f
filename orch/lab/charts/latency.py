"""How long jobs take: how much each part of them takes at most, and percentiles over time."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from orch.lab.charts.faults import fault_strip
from orch.lab.charts.rows import faults_of, span_of
from orch.lab.charts.style import BLACK, BLUE, SERIES, VERMILION, axis, finish
from orch.simulator.result import quantile

PARTS = (0.0, 0.5, 0.9, 0.99, 0.999, 0.9999)
POINTS = 400  # of a curve
WINDOWS = 60  # of percentiles over time, unless a width is given
_LINES = ((0.5, "p50", BLUE, "-", "o"), (0.95, "p95", VERMILION, "--", "s"), (1.0, "slowest", BLACK, ":", "^"))


def latency_by_part(
    series: Mapping[str, Sequence[float]] | Sequence[float],
    *,
    title: str = "Latency: what each part of the jobs takes at most",
    what: str = "latency",
    ax: Any = None,
) -> Any:
    """Each part of all jobs (90 %, 99 %, ...) against the seconds that it takes at most, a curve for each name.

    The scale stretches towards the slowest jobs, where users feel it. What has no end (infinite) is left out, and the
    legend says how many that were.
    """
    ax = axis(ax)
    named = series if isinstance(series, Mapping) else {"": series}
    most = max((len(values) for values in named.values()), default=0)
    for (name, values), (colour, style) in zip(named.items(), SERIES * (1 + len(named) // len(SERIES)), strict=False):
        ended = sorted(value for value in values if math.isfinite(value))
        x, y = _curve(ended)
        words = [name] if name else []
        words += [f"({len(values) - len(ended)} without an end)"] if len(ended) < len(values) else []
        ax.plot(x, y, color=colour, linestyle=style, linewidth=1.6, label=" ".join(words) or None)
    shown = [part for part in PARTS if part == 0 or most * (1 - part) >= 1]
    ax.set_xticks([_stretched(part) for part in shown], [f"{100 * part:g} %" for part in shown])
    ax.set_xlim(0, max(1.0, _stretched(1 - 1 / most) if most > 1 else 1.0))
    ax.set_ylim(bottom=0)
    ax.grid(axis="x", color="#DDDDDD", linewidth=0.8)
    return finish(ax, title, "part of all jobs", f"{what} in seconds, at most")


def latency_over_time(
    jobs: Iterable[tuple[float, float]],
    marks: Iterable[Any] = (),
    *,
    window_s: float | None = None,
    title: str = "Latency of the jobs that came at a time",
    what: str = "latency",
    ax: Any = None,
) -> Any:
    """Median, 95th percentile and slowest of the jobs that came in each window; of each job (arrived, latency).

    A window without a job leaves a gap. Jobs without an end (infinite) are left out, and the title says how many.
    """
    ax = axis(ax)
    rows = list(jobs)
    ended = [(at, value) for at, value in rows if math.isfinite(value)]
    faults = faults_of(marks)
    low, high = span_of([at for at, _ in rows], [fault.until for fault in faults if fault.of_store])
    width = window_s or (high - low) / WINDOWS
    of_window: defaultdict[int, list[float]] = defaultdict(list)
    for at, value in ended:
        of_window[int((at - low) / width)].append(value)
    places = range(max(of_window, default=-1) + 1)
    for part, name, colour, style, marker in _LINES:
        x = [low + (place + 0.5) * width for place in places]
        y = [quantile(of_window[place], part) if of_window.get(place) else math.nan for place in places]
        ax.plot(x, y, color=colour, linestyle=style, marker=marker, markersize=3, linewidth=1.2, label=name)
    fault_strip(ax, faults, high - low)
    ax.set_xlim(low, high)
    ax.set_ylim(bottom=0)
    left_out = f" ({len(rows) - len(ended)} without an end left out)" if len(ended) < len(rows) else ""
    return finish(ax, f"{title}{left_out}", f"seconds; windows of {width:.3g} s", f"{what} in seconds", pad=16)


def _stretched(part: float) -> float:
    """Where a part is on the scale: 0 %, 90 %, 99 % and 99.9 % are equally far apart."""
    return -math.log10(1.0 - part)


def _curve(values: Sequence[float]) -> tuple[list[float], list[float]]:
    """(place on the scale, value) of sorted values: so many points evenly along the scale, the last value always."""
    count = len(values)
    if not count:
        return [], []
    end = _stretched(1.0 - 1.0 / count) if count > 1 else 0.0
    ranks = {min(count - 1, int(count * (1.0 - 10.0 ** -(end * point / POINTS)))) for point in range(POINTS + 1)}
    x = [_stretched(rank / count) for rank in sorted(ranks | {count - 1})]
    return x, [values[rank] for rank in sorted(ranks | {count - 1})]
