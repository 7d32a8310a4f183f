"""What all charts share: colours, an axis to draw on, titles, a legend beside the data, no frame that says nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import matplotlib.pyplot as plt

from orch.job import JobStatus

# Okabe and Ito's colours: colour-blind people can tell them apart, and they print well.
BLACK, ORANGE, SKY, GREEN, YELLOW, BLUE, VERMILION, PURPLE = (
    "#000000",
    "#E69F00",
    "#56B4E9",
    "#009E73",
    "#F0E442",
    "#0072B2",
    "#D55E00",
    "#CC79A7",
)
GREY = "#666666"
STATE_COLOURS = {
    JobStatus.PENDING: SKY,
    JobStatus.RUNNING: ORANGE,
    JobStatus.SUCCESS: GREEN,
    JobStatus.FAILED: VERMILION,
}
COLUMNS = 1_200  # what a chart can show from left to right; more points than these are thinned
SERIES = ((BLUE, "-"), (VERMILION, "--"), (GREEN, "-."), (PURPLE, ":"), (ORANGE, (0, (6, 1, 1, 1, 1, 1))), (BLACK, "-"))


class Look(NamedTuple):
    """How an attempt that ended so is drawn: its colour, the sign at its end, and the words of the legend."""

    colour: str
    sign: str
    words: str


OUTCOMES = {
    "success": Look(GREEN, "", "ended in success"),
    "retry": Look(ORANGE, "^", "failed, will be tried again"),
    "failed": Look(VERMILION, "s", "failed for good"),
    "lost": Look(PURPLE, "v", "lost its lease"),
    "killed": Look(BLACK, "X", "cut off: its worker died"),
    "running": Look(SKY, ">", "no end was seen"),
}


def look_of(outcome: str) -> Look:
    """The look of an attempt; of an outcome that no chart knows, a grey one with its own word."""
    return OUTCOMES.get(outcome, Look(GREY, "d", outcome))


def axis(ax: Any, width: float = 9.0, height: float = 3.2) -> Any:
    """The axis that was given, or that of a new figure of this size in inches."""
    if ax is None:
        _, ax = plt.subplots(figsize=(width, height), layout="constrained")
    return ax


def open_frame(ax: Any) -> None:
    """Lines only where the scales are."""
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)


def finish(ax: Any, title: str, x: str, y: str, *, legend: Sequence[Any] | None = None, pad: float = 6.0) -> Any:
    """Title, units, and a legend to the right of the data, of what carries a label or of what is given."""
    ax.set_title(title, loc="left", pad=pad)
    ax.set_xlabel(x)
    ax.set_ylabel(y)
    open_frame(ax)
    handles = ax.get_legend_handles_labels()[0] if legend is None else list(legend)
    if handles:
        ax.legend(handles=handles, loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False, fontsize=9)
    return ax
