"""The life of one job: its states over time, with what happened at each step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from orch.job import JobStatus
from orch.lab.charts.style import STATE_COLOURS, axis, open_frame

_ROWS = (JobStatus.FAILED, JobStatus.SUCCESS, JobStatus.RUNNING, JobStatus.PENDING)


def life_of_a_job(steps: Sequence[tuple[float, JobStatus, str]], ax: Any = None) -> Any:
    """One job's states over time, as a path with a numbered text at every step.

    `steps` are (seconds, state from then on, what happened) in the order in which they happened.
    """
    ax = axis(ax)
    times = [at_s for at_s, _, _ in steps]
    rows = [_ROWS.index(status) for _, status, _ in steps]
    end = (times[-1] if times else 0.0) * 1.06 + 1.0
    ax.step([*times, end], [*rows, rows[-1]] if rows else [0], where="post", color="#444444", linewidth=1, zorder=1)
    for number, (at_s, status, _) in enumerate(steps, 1):
        until = times[number] if number < len(times) else end
        ax.hlines(_ROWS.index(status), at_s, until, color=STATE_COLOURS[status], linewidth=7, zorder=2)
        ax.plot([at_s], [_ROWS.index(status)], "o", color="#222222", markersize=4, zorder=3)
        ax.annotate(
            str(number),
            (at_s, _ROWS.index(status)),
            xytext=(0, 8),
            textcoords="offset points",
            ha="center",
            fontsize=9,
            fontweight="bold",
        )
    ax.set_yticks(range(len(_ROWS)), [status.name for status in _ROWS])
    ax.set_ylim(-0.6, len(_ROWS) - 0.3)
    ax.set_xlim(min([0.0, *times]) - 0.5, end)
    ax.set_xlabel("seconds on the store's clock")
    ax.set_title("The life of a job")
    texts = "\n".join(f"{number}  {text}" for number, (_, _, text) in enumerate(steps, 1))
    ax.text(1.02, 1.0, texts, transform=ax.transAxes, va="top", fontsize=9, family="monospace")
    open_frame(ax)
    return ax
