"""What a failure leads to: the attempts of each job, and how long each waited before the next."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from orch.lab.charts.faults import band
from orch.lab.charts.rows import Attempt, attempts_of, span_of
from orch.lab.charts.style import BLACK, BLUE, GREY, SKY, axis, finish, look_of

JOBS_MAX = 30
DOTS_MAX = 120  # of each number of failures


def attempts_of_jobs(
    attempts: Iterable[Any],
    *,
    jobs_max: int = JOBS_MAX,
    spans: Iterable[tuple[float, float, str]] = (),
    title: str = "Attempts of each job",
    ax: Any = None,
) -> Any:
    """A row for each job: a bar and a sign for each attempt, a thin line while it waits for the next.

    Shown are the jobs with the most attempts, in the order of their first one. `spans` are (from, until, words).
    """
    by_job = _by_job(attempts)
    most = sorted(by_job.values(), key=lambda mine: (-len(mine), mine[0].start))[:jobs_max]
    rows = sorted(most, key=lambda mine: mine[0].start)
    low, high = span_of(*([one.start if one.end is None else one.end for one in mine] for mine in rows))
    low = rows[0][0].start if rows else low
    ax = axis(ax, height=1.3 + 0.2 * max(4, len(rows)))
    handles: dict[str, Any] = {}
    for start, end, words in spans:
        handles[words] = band(ax, start, end, words)
    for row, mine in enumerate(rows):
        ax.plot([mine[0].start, mine[-1].start], [row, row], color=GREY, linewidth=0.8, zorder=1)
        for one in mine:
            look = look_of(one.outcome)
            end = high if one.end is None else one.end
            ax.plot([one.start, end], [row, row], color=look.colour, linewidth=5, solid_capstyle="butt", zorder=2)
            sign = look.sign or "o"
            ax.plot([end], [row], sign, color=look.colour, markeredgecolor="white", markersize=7, zorder=3)
            handles[look.words] = Line2D(
                [], [], color=look.colour, linewidth=5, marker=sign, markeredgecolor="white", label=look.words
            )
    if any(len(mine) > 1 for mine in rows):
        handles["waits"] = Line2D([], [], color=GREY, linewidth=0.8, label="waits for its next attempt")
    ax.set_yticks(range(len(rows)), [mine[0].job for mine in rows], fontsize=8)
    ax.set_ylim(max(1, len(rows)) - 0.4, -0.6)
    ax.set_xlim(low - 0.02 * (high - low), high + 0.02 * (high - low))
    shown = f" ({len(rows)} of {len(by_job)} jobs, those with the most)" if len(rows) < len(by_job) else ""
    return finish(ax, title + shown, "seconds", "job", legend=list(handles.values()))


def retry_delays(
    attempts: Iterable[Any],
    *,
    first_s: float = 1.0,
    most_s: float = 300.0,
    title: str = "How long a failed job waited for its next attempt",
    ax: Any = None,
) -> Any:
    """Seconds between a failed attempt and the next, by how often the job had failed; and what was asked for.

    The band is what `retry_delay` chooses from: a doubling time from `first_s` to `most_s`, less up to one half. A dot
    above it had to wait for a free worker as well.
    """
    by_failures: defaultdict[int, list[float]] = defaultdict(list)
    for mine in _by_job(attempts).values():
        failures = 0
        for one, after in pairwise(mine):
            if one.outcome == "retry" and one.end is not None:
                failures += 1
                by_failures[failures].append(after.start - one.end)
    ax = axis(ax)
    numbers = sorted(by_failures)
    handles: list[Any] = []
    for number in numbers:
        delays = _spaced(sorted(by_failures[number]))
        spread = [number - 0.22 + 0.44 * (place * 0.618 % 1.0) for place in range(len(delays))]
        ax.plot(spread, delays, "o", color=BLUE, markersize=3, markeredgewidth=0, alpha=0.8, zorder=3)
        if first_s > 0:
            top = min(most_s, first_s * 2.0 ** (number - 1))
            ax.fill_between([number - 0.35, number + 0.35], top / 2, top, color=SKY, alpha=0.45, linewidth=0, zorder=1)
            ax.hlines([top / 2, top], number - 0.35, number + 0.35, color=BLACK, linewidth=0.8, zorder=2)
    if numbers:
        handles.append(Line2D([], [], linestyle="", marker="o", color=BLUE, markersize=4, label="a wait, as seen"))
        if first_s > 0:
            handles.append(Patch(facecolor=SKY, edgecolor=BLACK, alpha=0.6, label="what backoff chooses from"))
        ax.set_xlim(numbers[0] - 0.6, numbers[-1] + 0.6)
    ax.set_xticks(numbers, [f"{number}.\n{len(by_failures[number])} jobs" for number in numbers])
    ax.set_yscale("symlog", linthresh=0.5)
    ax.set_yticks(ticks := [0, 0.5, 1, 2, 4, 8, 16, 32, 64, 128, 256], [f"{tick:g}" for tick in ticks])
    ax.minorticks_off()
    waits = [delay for delays in by_failures.values() for delay in delays]
    ax.set_ylim(0, max([2.0, *waits]) * 1.2)
    return finish(ax, title, "failure of the job", "seconds until it ran again", legend=handles)


def _by_job(attempts: Iterable[Any]) -> dict[str, list[Attempt]]:
    found: defaultdict[str, list[Attempt]] = defaultdict(list)
    for one in attempts_of(attempts):
        found[one.job].append(one)
    return found


def _spaced(values: list[float]) -> list[float]:
    """At most so many of sorted values, evenly, with the first and the last."""
    if len(values) <= DOTS_MAX:
        return values
    return [values[place * (len(values) - 1) // (DOTS_MAX - 1)] for place in range(DOTS_MAX)]
