"""Ticks of schedules against the jobs that came of them; and wall clocks against real time, where clocks change."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from matplotlib import dates
from matplotlib.ticker import FuncFormatter, MultipleLocator

from orch.lab.charts.faults import band
from orch.lab.charts.style import BLACK, BLUE, GREEN, GREY, SERIES, VERMILION, axis, finish

_DATES: Any = dates  # has no types
_SIGNS = ("o", "s", "^", "D", "v", "P")


def ticks_and_jobs(
    rows: Mapping[str, Sequence[tuple[datetime, datetime | None]]],
    down: Iterable[tuple[datetime, datetime]] = (),
    *,
    down_words: str = "no scheduler",
    title: str = "Ticks, and the jobs that came of them",
    ax: Any = None,
) -> Any:
    """A row for each schedule, of each tick (when it was, when its job was enqueued or None), and when nobody looked.

    A dot on its tick: enqueued on time. A tick from which a line leads to a dot: enqueued later. A cross: no job.
    """
    ax = axis(ax, height=1.5 + 0.5 * max(2, len(rows)))
    handles: dict[str, Any] = {}
    for start, end in down:
        handles[down_words] = band(ax, _DATES.date2num(start), _DATES.date2num(end), down_words)
    for row, ticks in enumerate(rows.values()):
        kept = [(tick, at) for tick, at in ticks if at is not None]
        on_time = [tick for tick, at in kept if at - tick < timedelta(minutes=1)]
        late = [(tick, at) for tick, at in kept if at - tick >= timedelta(minutes=1)]
        none = [tick for tick, at in ticks if at is None]
        for tick, at in late:
            ax.plot(_DATES.date2num([tick, at]), [row, row - 0.28], color=BLUE, linewidth=0.8, zorder=2)
        _dots(ax, [tick for tick, _ in late], row, "|", BLUE, "")
        _dots(ax, on_time, row, "o", GREEN, "tick with its job, on time")
        _dots(ax, [at for _, at in late], row - 0.28, "D", BLUE, "job of an earlier tick (the line leads to it)")
        _dots(ax, none, row, "x", VERMILION, "tick without a job")
    ax.set_yticks(range(len(rows)), list(rows))
    ax.set_ylim(max(1, len(rows)) - 0.5, -0.7)
    if rows:
        ax.xaxis_date(tz=UTC)
        ax.xaxis.set_major_formatter(_DATES.ConciseDateFormatter(ax.xaxis.get_major_locator(), tz=UTC))
    seen = dict(zip(*reversed(ax.get_legend_handles_labels()), strict=True))  # each word once
    return finish(ax, title, "time, UTC", "schedule", legend=list({**seen, **handles}.values()))


def _dots(ax: Any, times: Sequence[datetime], row: float, marker: str, colour: str, words: str) -> None:
    if times:
        ax.plot(
            [_DATES.date2num(time) for time in times],
            [row] * len(times),
            linestyle="",
            marker=marker,
            color=colour,
            markersize=7,
            markeredgewidth=1.6 if marker in "x|" else 0.5,
            label=words or None,
            zorder=3,
        )


def wall_clock(
    zone: str,
    start: datetime,
    end: datetime,
    ticks: Mapping[str, Sequence[datetime]],
    *,
    title: str | None = None,
    ax: Any = None,
) -> Any:
    """What a wall clock of a zone shows from one instant to another, minute for minute, with ticks of schedules on it.

    Where the line jumps up, wall times are skipped; where it jumps down, they come twice. Ticks of several schedules
    at one instant stand beside each other.
    """
    ax = axis(ax, height=3.6)
    info = ZoneInfo(zone)
    day = start.astimezone(info).date()

    def hours(at: datetime) -> float:
        there = at.astimezone(info)
        return 24.0 * (there.date() - day).days + there.hour + there.minute / 60

    minutes = [start + timedelta(minutes=minute) for minute in range(int((end - start).total_seconds() / 60) + 1)]
    shown = [(_DATES.date2num(at), hours(at)) for at in minutes]
    jumps = [place for place in range(1, len(shown)) if abs(shown[place][1] - shown[place - 1][1]) > 0.5]
    for begin, stop in zip([0, *jumps], [*jumps, len(shown)], strict=True):
        ax.plot(*zip(*shown[begin:stop], strict=True), color=GREY, linewidth=2, zorder=1)
    for place in jumps:
        (x, low), (_, high) = shown[place - 1], shown[place]
        ax.plot([x, x], [low, high], color=GREY, linestyle=":", linewidth=1.5, zorder=1)
        words = "these wall times are skipped" if high > low else "these wall times come twice"
        ax.annotate(words, (x, min(low, high)), xytext=(12, -16), textcoords="offset points", fontsize=9, color=BLACK)
    step = (_DATES.date2num(end) - _DATES.date2num(start)) / 70
    places: dict[datetime, int] = {}
    for number, (name, times) in enumerate(ticks.items()):
        points = []
        for at in times:
            if start <= at <= end:
                beside = places.get(at, 0)
                places[at] = beside + 1
                points.append((_DATES.date2num(at) + beside * step, hours(at)))
        x, y = [one for one, _ in points], [one for _, one in points]
        marker, colour = _SIGNS[number % len(_SIGNS)], SERIES[number % len(SERIES)][0]
        ax.plot(x, y, linestyle="", marker=marker, color=colour, markersize=8, zorder=3, label=f"{name}  ({len(x)}x)")
    ax.xaxis_date(tz=UTC)
    ax.xaxis.set_major_formatter(_DATES.DateFormatter("%H:%M", tz=UTC))
    ax.yaxis.set_major_locator(MultipleLocator(1))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda hour, _: f"{int(hour) % 24:02}:{round(60 * (hour % 1)):02}"))
    return finish(
        ax,
        title or f"The clock on the wall, {zone}, night to {end.astimezone(info).date()}",
        f"time, UTC, from {start:%Y-%m-%d}",
        "wall time",
    )
