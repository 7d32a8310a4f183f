"""What all charts share: colours, an axis to draw on, and no frame where none is needed."""

from __future__ import annotations

from typing import Any

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


def axis(ax: Any, width: float = 9.0, height: float = 3.2) -> Any:
    """The axis that was given, or that of a new figure of this size in inches."""
    if ax is None:
        _, ax = plt.subplots(figsize=(width, height), layout="constrained")
    return ax


def open_frame(ax: Any) -> None:
    """Lines only where the scales are."""
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
