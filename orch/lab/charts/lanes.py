"""Who ran what, and when: a lane for each worker, a bar for each attempt, faults and redeliveries at their place."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from matplotlib.collections import PolyCollection
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from orch.lab.charts.faults import fault_strip, sign_handle, sign_of
from orch.lab.charts.rows import Attempt, Fault, attempts_of, faults_of, in_order, lanes_of, span_of
from orch.lab.charts.style import GREY, SKY, axis, finish, look_of
from orch.lab.charts.thin import Bar, thin_bars, thin_points

LANES_MAX = 40
TEXTS_MAX = 80  # bars; with more of them none carries the name of its job
ARROWS_MAX = 40
HALF = 0.36  # of a lane's height: its bars
CHARACTERS = 105  # of the small font, from left to right


def worker_lanes(
    attempts: Iterable[Any],
    marks: Iterable[Any] = (),
    *,
    leases: Iterable[tuple[Any, ...]] = (),
    window: tuple[float, float] | None = None,
    title: str = "What each worker ran",
    ax: Any = None,
) -> Any:
    """A bar for each attempt in the lane of its worker; the sign at a bar's end and its colour say how it ended.

    `attempts` are `Result.lanes` or the runs of real workers. An arrow leads from an attempt that was cut off or not
    accepted to the next of the same job. `leases` are (worker, from, until, ...): thin lines below the bars. Where
    attempts of a worker overlap, its lane has as many tracks. `window` is the stretch of seconds that is shown.
    """
    all_attempts, faults = attempts_of(attempts), faults_of(marks)
    low, high = window or span_of(
        [one.start for one in all_attempts], [one.end for one in all_attempts], [fault.until for fault in faults]
    )
    lane_of = lanes_of([one.worker for one in all_attempts] + [fault.whom for fault in faults if not fault.of_store])
    names = in_order(lane_of.values())
    rows = {name: row for row, name in enumerate(names[:LANES_MAX])}
    seen = [
        one
        for one in all_attempts
        if lane_of[one.worker] in rows and one.start <= high and (one.end is None or one.end >= low)
    ]
    ax = axis(ax, height=1.3 + 0.42 * max(2, len(rows)))
    tracks = _tracks(seen, lane_of)
    handles = _bars(ax, seen, tracks, {name: rows[lane] for name, lane in lane_of.items() if lane in rows}, (low, high))
    handles += _arrows(ax, all_attempts, seen, lane_of, rows, high)
    shown = [lease for lease in leases if lease[1] <= high and lease[2] >= low]
    for lane, start, until, *_ in shown:
        if lane_of.get(lane, lane) in rows:
            ax.plot([start, until], [rows[lane_of.get(lane, lane)] + 0.44] * 2, color=SKY, linewidth=2.5, zorder=3)
    if shown:
        handles.append(Line2D([], [], color=SKY, linewidth=2.5, label="holds the lease"))
    handles += _faults(
        ax, [fault for fault in faults if fault.at <= high and fault.until >= low], lane_of, rows, high - low
    )
    ax.set_yticks(range(len(rows)), list(rows))
    ax.set_ylim(max(1, len(rows)) - 0.4, -0.6)
    ax.set_xlim(low, high)
    more = f" (and {len(names) - len(rows)} more, not shown)" if len(names) > len(rows) else ""
    return finish(ax, title + more, "seconds", "worker", legend=handles)


def _tracks(attempts: Sequence[Attempt], lane_of: dict[str, str]) -> dict[int, tuple[int, int]]:
    """The track of each attempt within its lane, and how many its lane has."""
    ends: defaultdict[str, list[float]] = defaultdict(list)
    track: dict[int, int] = {}
    for place, one in enumerate(attempts):
        there = ends[lane_of[one.worker]]
        free = next((number for number, end in enumerate(there) if end <= one.start), None)
        if free is None:
            free = len(there)
            there.append(0.0)
        there[free] = float("inf") if one.end is None else one.end
        track[place] = free
    return {place: (number, len(ends[lane_of[attempts[place].worker]])) for place, number in track.items()}


def _bars(
    ax: Any,
    attempts: Sequence[Attempt],
    tracks: dict[int, tuple[int, int]],
    rows: dict[str, int],
    window: tuple[float, float],
) -> list[Any]:
    low, high = window
    most = max((total for _, total in tracks.values()), default=1)
    bars = []
    for place, one in enumerate(attempts):
        row = rows[one.worker] * most + tracks[place][0]
        end = high if one.end is None else one.end
        bars.append(Bar(row, max(low, one.start), min(high, end), one.outcome, one.job))
    by_kind: defaultdict[str, list[Bar]] = defaultdict(list)
    for bar in thin_bars(bars, high - low):
        by_kind[bar.kind].append(bar)
    totals = {rows[one.worker]: tracks[place][1] for place, one in enumerate(attempts)}

    def edges(bar: Bar) -> tuple[float, float]:
        lane, track = divmod(bar.row, most)
        height = 2 * HALF / totals[lane]
        top = lane - HALF + track * height
        return top, top + height * (0.94 if totals[lane] > 1 else 1.0)

    handles: list[Any] = []
    for kind in sorted(by_kind, key=lambda kind: (kind != "success", kind)):
        look = look_of(kind)
        shapes = []
        for bar in by_kind[kind]:
            top, bottom = edges(bar)
            shapes.append([(bar.start, top), (bar.end, top), (bar.end, bottom), (bar.start, bottom)])
        ax.add_collection(
            PolyCollection(shapes, facecolor=look.colour, edgecolor="white", linewidth=0.3, alpha=0.85, zorder=2)
        )
        if look.sign:
            ends = [(bar.end, sum(edges(bar)) / 2) for bar in by_kind[kind] if low <= bar.end <= high]
            ends = thin_points(ends, high - low)
            ax.plot(*_columns(ends), look.sign, color=look.colour, markeredgecolor="white", markersize=7, zorder=5)
        handles.append(_handle(look))
    if len(bars) <= TEXTS_MAX:
        for bar in bars:
            if (bar.end - bar.start) / (high - low) * CHARACTERS > len(bar.text) + 1:
                dark = look_of(bar.kind).colour in ("#000000", "#009E73", "#D55E00")
                where = (bar.start + bar.end) / 2, sum(edges(bar)) / 2
                colour = "white" if dark else "black"
                ax.text(*where, bar.text, ha="center", va="center", fontsize=7, color=colour, zorder=6, clip_on=True)
    return handles


def _handle(look: Any) -> Any:
    if not look.sign:
        return Patch(color=look.colour, label=look.words)
    return Line2D(
        [],
        [],
        color=look.colour,
        linewidth=6,
        marker=look.sign,
        markeredgecolor="white",
        markersize=9,
        label=look.words,
    )


def _columns(points: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [x for x, _ in points], [y for _, y in points]


def _arrows(
    ax: Any,
    all_attempts: Sequence[Attempt],
    seen: Sequence[Attempt],
    lane_of: dict[str, str],
    rows: dict[str, int],
    high: float,
) -> list[Any]:
    """From each attempt that did not fail to the next of the same job: it was cut off, or its report was refused."""
    nexts = {(one.job, one.attempt): one for one in all_attempts}
    pairs = []
    for one in seen:
        after = nexts.get((one.job, one.attempt + 1))
        if one.outcome != "retry" and after is not None and lane_of[after.worker] in rows:
            pairs.append((one, after))
    if not pairs:
        return []
    for one, after in pairs[:ARROWS_MAX]:
        start = min(after.start if one.end is None else one.end, after.start, high)
        ax.annotate(
            "",
            xy=(after.start, rows[lane_of[after.worker]]),
            xytext=(start, rows[lane_of[one.worker]]),
            arrowprops={"arrowstyle": "-|>", "color": GREY, "linestyle": "--", "linewidth": 1.0},
            zorder=4,
            annotation_clip=True,
        )
    count = f"{min(ARROWS_MAX, len(pairs))} of {len(pairs)}" if len(pairs) > ARROWS_MAX else str(len(pairs))
    return [Line2D([], [], color=GREY, linestyle="--", marker=">", markersize=5, label=f"delivered again ({count})")]


def _faults(ax: Any, faults: Sequence[Fault], lane_of: dict[str, str], rows: dict[str, int], span: float) -> list[Any]:
    handles = fault_strip(ax, [fault for fault in faults if fault.of_store], span, signs=False)
    kinds: defaultdict[str, list[Fault]] = defaultdict(list)
    for fault in faults:
        if not fault.of_store and lane_of[fault.whom] in rows:
            kinds[fault.what].append(fault)
    for what, mine in sorted(kinds.items()):
        if any(fault.until > fault.at for fault in mine):
            shapes = [(fault.at, rows[lane_of[fault.whom]], fault.until) for fault in mine]
            ax.add_collection(
                PolyCollection(
                    [[(a, r - 0.46), (b, r - 0.46), (b, r + 0.46), (a, r + 0.46)] for a, r, b in shapes],
                    facecolor="none",
                    edgecolor=GREY,
                    hatch="////",
                    linewidth=0.8,
                    zorder=3,
                )
            )
            handles.append(Patch(facecolor="none", edgecolor=GREY, hatch="////", label=sign_of(what)[2]))
        else:
            marker, colour, _ = sign_of(what)
            points = thin_points([(fault.at, rows[lane_of[fault.whom]]) for fault in mine], span)
            x, y = [at for at, _ in points], [row - 0.44 for _, row in points]
            ax.plot(x, y, linestyle="", marker=marker, color=colour, markersize=7, zorder=5)
            handles.append(sign_handle(what))
    return handles
