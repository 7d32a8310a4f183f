"""How many jobs wait and run, over time; and how many of each tenant wait."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from orch.lab.charts.faults import fault_strip
from orch.lab.charts.rows import depths_of, faults_of, in_order, span_of
from orch.lab.charts.style import BLACK, BLUE, GREEN, SERIES, SKY, VERMILION, axis, finish
from orch.lab.charts.thin import thin_steps

_STATES = (("pending", BLUE, "-"), ("running", BLACK, "--"), ("success", GREEN, ":"), ("failed", VERMILION, "-."))


def queue_depth(
    steps: Iterable[Any],
    marks: Iterable[Any] = (),
    *,
    end: float | None = None,
    title: str = "Jobs in the queue, by status",
    ax: Any = None,
) -> Any:
    """Jobs of each status over time, as steps, with fault marks above.

    `steps` are (seconds, pending, running) from then on, as `Result.depth` has them, also with success and failed
    behind; or the samples of a real run. `end` prolongs the last step.
    """
    ax = axis(ax)
    rows = depths_of(steps)
    faults = faults_of(marks)
    times = [row[0] for row in rows]
    low, high = span_of(times, [end], [fault.until for fault in faults if fault.of_store])
    for place, (name, colour, style) in enumerate(_STATES, 1):
        if rows and len(rows[0]) > place:
            x, y = thin_steps([*times, high], [row[place] for row in [*rows, rows[-1]]])
            ax.plot(x, y, drawstyle="steps-post", color=colour, linestyle=style, linewidth=1.1, label=name)
            if name == "pending":
                ax.fill_between(x, y, step="post", color=SKY, alpha=0.35, linewidth=0)
    fault_strip(ax, faults, high - low)
    ax.set_xlim(low, high)
    ax.set_ylim(bottom=0)
    return finish(ax, title, "seconds", "jobs", pad=16)


def waiting_jobs(
    series: Mapping[str, Sequence[tuple[float, float | None]]],
    marks: Iterable[Any] = (),
    *,
    title: str = "Jobs that wait for their first delivery",
    ax: Any = None,
) -> Any:
    """How many jobs wait, a line for each name; of each job (arrived, delivered or None), in seconds."""
    ax = axis(ax)
    faults = faults_of(marks)
    low, high = span_of(*([at for job in jobs for at in job] for jobs in series.values()))
    for (name, jobs), (colour, style) in zip(series.items(), SERIES * (1 + len(series) // len(SERIES)), strict=False):
        changes: defaultdict[float, int] = defaultdict(int)
        for arrived, delivered in jobs:
            changes[arrived] += 1
            if delivered is not None:
                changes[delivered] -= 1
        times, depths, depth = [low], [0.0], 0
        for at in sorted(changes):
            depth += changes[at]
            times.append(at)
            depths.append(depth)
        x, y = thin_steps([*times, high], [*depths, depth])
        ax.plot(x, y, drawstyle="steps-post", color=colour, linestyle=style, linewidth=1.6, label=name)
    fault_strip(ax, faults, high - low)
    ax.set_xlim(low, high)
    ax.set_ylim(bottom=0)
    return finish(ax, title, "seconds", "jobs", pad=16)


def by_tenant(jobs: Iterable[Any]) -> dict[str, list[tuple[float, float | None]]]:
    """(arrived, delivered) of each tenant's jobs, from `Result.jobs`, as `waiting_jobs` takes them."""
    found: defaultdict[str, list[tuple[float, float | None]]] = defaultdict(list)
    for job in jobs:
        found[job.tenant].append((job.arrived, job.started))
    return {tenant: found[tenant] for tenant in in_order(found)}
