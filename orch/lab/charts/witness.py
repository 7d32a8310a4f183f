"""Space-time pictures of what was broken: time runs downwards, steps are numbered, their texts stand beside.

The picture is not to scale: what matters is what came before what.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from matplotlib.figure import Figure

from orch.lab.charts.style import BLACK, GREEN, GREY, ORANGE, PURPLE, SKY, VERMILION, YELLOW

LANE_IN = 1.15  # inches: of a lane, of a row, of a character of text
ROW_IN = 0.36
CHARACTER_IN = 0.079
OPERATIONS_MAX = 60
_COLOURS = {
    "pending": SKY,
    "delayed": "#BBDDF2",
    "running": ORANGE,
    "lease over": YELLOW,
    "success": GREEN,
    "failed": VERMILION,
    "unreadable": PURPLE,
}


class Step(NamedTuple):
    """A step of one client after the other: number, seconds since the beginning, text, and each job after it as
    (job, state, holder)."""

    number: int
    at_s: float
    text: str
    jobs: Sequence[tuple[str, str, str]]


class Span(NamedTuple):
    """An operation of one of several clients: who, from when to when in seconds (None: no answer came), what, and is
    it one of those that show the violation?"""

    client: str
    call_s: float
    return_s: float | None
    text: str
    shows: bool


def trace_picture(
    steps: Sequence[Step], *, expected: str = "", actual: str = "", title: str = "", ax: Any = None
) -> Any:
    """A lane for each job, coloured and named by its state after each step. Returns the axis.

    With a title or answers, the last step broke the promise.
    """
    jobs = list(dict.fromkeys(job for step in steps for job, _, _ in step.jobs)) or [""]
    below = [text for text in (expected and f"should have been: {expected}", actual and f"was: {actual}") if text]
    texts = [step.text for step in steps] + below
    ax = _canvas(ax, len(jobs), len(steps) + len(below), max(map(len, texts), default=0), title)
    ax.set_xticks(range(len(jobs)), [f"job {job}" if job else "" for job in jobs])
    before: dict[str, tuple[str, str]] = {}
    clock: float | None = None
    for row, step in enumerate(steps):
        last = row == len(steps) - 1 and bool(title or below)
        if step.at_s != clock:
            clock = step.at_s
            ax.text(-0.95, row, f"{clock:g} s", ha="right", va="center", fontsize=8, color=GREY)
        _numbered(ax, row, step.number, step.text, len(jobs), wrong=last)
        for job, state, holder in step.jobs:
            place = jobs.index(job)
            should_be = last  # what it is instead, the texts say
            ax.add_patch(_bar(place, row - 0.5, 1.0, _COLOURS.get(state, GREY), hatch="///" if should_be else ""))
            if should_be or before.get(job) != (state, holder):
                said = f"{state} ({holder})" if holder else state
                words = ax.text(place, row, said, ha="center", va="center", fontsize=8)
                if should_be:
                    words.set_text(f"should be\n{said}")
                    words.set_bbox({"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 0.5})
            before[job] = (state, holder)
    for row, text in enumerate(below, len(steps)):
        colour = VERMILION if text.startswith("was") else BLACK
        ax.text(len(jobs) - 0.05, row, text, va="center", fontsize=9, family="monospace", color=colour)
    return ax


def space_time(spans: Sequence[Span], *, title: str = "", ax: Any = None) -> Any:
    """A lane for each client, a bar from call to answer for each operation; those that show the violation are dark and
    numbered with a star. Of more than 60 operations only those that show it are drawn, and no more than 60.

    Returns the axis.
    """
    if len(spans) > OPERATIONS_MAX:
        spans = [span for span in spans if span.shows][:OPERATIONS_MAX]
    spans = sorted(spans, key=lambda span: (span.call_s, span.return_s is None, span.return_s or 0.0))
    clients = list(dict.fromkeys(span.client for span in spans)) or [""]
    instants = sorted({when for span in spans for when in (span.call_s, span.return_s) if when is not None})
    rank = {when: row for row, when in enumerate(instants)}
    start = instants[0] if instants else 0.0
    ax = _canvas(ax, len(clients), max(1, len(instants)), max((len(span.text) for span in spans), default=0), title)
    ax.set_xticks(range(len(clients)), clients)
    for place in range(len(clients)):
        ax.axvline(place, color="#DDDDDD", linewidth=1, zorder=0)
    rows: dict[int, int] = {}  # two calls of one instant stand beside each other
    for number, span in enumerate(spans, 1):
        top, end = rank[span.call_s], len(instants) - 0.5
        bottom = end if span.return_s is None else float(rank[span.return_s])
        place = clients.index(span.client)
        colour = VERMILION if span.shows else "#B0C4D4"
        ax.add_patch(_bar(place, top - 0.15, max(bottom - top, 0.0) + 0.3, colour, width=0.3))
        if span.return_s is None:
            ax.plot([place], [end], marker="v", color=colour, markersize=9, clip_on=False)
        ax.text(place + 0.24, top, str(number), fontsize=8, va="center", fontweight="bold" if span.shows else "normal")
        shift = rows.get(top, 0)
        rows[top] = shift + 1
        star = "*" if span.shows else " "
        said = f"{number:>2}{star} {span.text}{'  (no answer)' if span.return_s is None else ''}"
        ax.text(len(clients) - 0.3, top + 0.34 * shift, said, va="center", fontsize=9, family="monospace")
        ax.plot([place + 0.2, len(clients) - 0.35], [top, top], color="#DDDDDD", linewidth=0.6, zorder=0)
    for when, row in rank.items():
        ax.text(-0.6, row, f"{(when - start) * 1000:.4g} ms", ha="right", va="center", fontsize=8, color=GREY)
    return ax


def _canvas(ax: Any, lanes: int, rows: int, characters: int, title: str) -> Any:
    """An axis without frame, lanes from left to right, rows downwards; sized so that nothing overlaps."""
    if ax is None:
        width = 1.3 + lanes * LANE_IN + characters * CHARACTER_IN + 0.6
        figure = Figure(figsize=(max(5.0, width), 0.9 + rows * ROW_IN), layout="constrained")
        ax = figure.subplots()
    room = 0.5 + (characters + 5) * CHARACTER_IN / LANE_IN
    ax.set_xlim(-1.5, lanes - 0.5 + room)
    ax.set_ylim(rows - 0.4, -0.7)
    ax.xaxis.tick_top()
    ax.tick_params(length=0)
    ax.set_yticks([])
    for spine in ax.spines.values():
        spine.set_visible(False)
    if title:
        ax.set_title(title, loc="left", fontsize=10, wrap=True)
    return ax


def _numbered(ax: Any, row: int, number: int, text: str, lanes: int, *, wrong: bool) -> None:
    colour = VERMILION if wrong else BLACK
    ax.text(-0.7, row, str(number), ha="center", va="center", fontsize=9, fontweight="bold", color=colour)
    ax.text(lanes - 0.05, row, text, va="center", fontsize=9, family="monospace", color=colour)


def _bar(place: float, top: float, height: float, colour: str, width: float = 0.86, hatch: str = "") -> Any:
    from matplotlib.patches import Rectangle

    corner = (place - width / 2, top)
    return Rectangle(corner, width, height, facecolor=colour, edgecolor="white", linewidth=0.6, hatch=hatch)
