"""A run of a DAG: as a graph, with how each task ended, and as a Gantt chart of its attempts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from matplotlib.lines import Line2D
from matplotlib.patches import FancyBboxPatch

from orch.dag import Task
from orch.lab.charts.style import BLACK, GREEN, GREY, ORANGE, PURPLE, SKY, VERMILION, axis, finish

#: How a task can end in a run: colour, and the words of box and legend.
TASK_LOOKS = {
    "ok": (GREEN, "done"),
    "reused": (SKY, "taken over, not run"),
    "fail": (VERMILION, "failed"),
    "skipped": ("#DDDDDD", "skipped"),
    "cut": (BLACK, "cut off"),
    "": ("#FFFFFF", ""),
}


class TaskSpan(NamedTuple):
    """A task in one run: from when to when in seconds (None: no end was seen), how it ended, and its failed tries."""

    run: str
    task: str
    start: float
    end: float | None
    outcome: str  # ok, fail, reused, skipped, cut
    retries: tuple[float, ...] = ()


def dag_graph(
    tasks: Sequence[Task], outcomes: Mapping[str, str] | None = None, *, title: str = "Tasks", ax: Any = None
) -> Any:
    """Tasks as boxes from left to right, each to the right of all it depends on, with how it ended.

    `outcomes` are ok, fail, reused, skipped or cut, by task id.
    """
    states = outcomes or {}
    columns = _columns(tasks)
    tallest = max((len(column) for column in columns), default=1)
    ax = axis(ax, width=max(4.0, 1.9 * len(columns) + 0.5), height=max(1.6, 0.8 * tallest + 0.7))
    places = {
        task.id: (float(x), (tallest - len(column)) / 2 + y)
        for x, column in enumerate(columns)
        for y, task in enumerate(column)
    }
    for task in tasks:
        for other in dict.fromkeys(task.depends_on):
            if other in places:
                (x1, y1), (x2, y2) = places[other], places[task.id]
                style = {"arrowstyle": "-|>", "color": GREY, "shrinkA": 0, "shrinkB": 0}
                ax.annotate("", xy=(x2 - 0.36, y2), xytext=(x1 + 0.36, y1), arrowprops=style, zorder=1)
    for name, (x, y) in places.items():
        colour, words = TASK_LOOKS.get(states.get(name, ""), (GREY, states.get(name, "")))
        box = FancyBboxPatch(
            (x - 0.36, y - 0.24),
            0.72,
            0.48,
            boxstyle="round,pad=0,rounding_size=0.06",
            facecolor=colour,
            edgecolor=BLACK,
            linestyle="--" if states.get(name) in ("skipped", "reused") else "-",
            linewidth=2.0 if states.get(name) == "fail" else 1.0,
            zorder=2,
        )
        ax.add_patch(box)
        dark = colour in (BLACK, GREEN, VERMILION)
        text = f"{name}\n{words}" if words else name
        ax.text(x, y, text, ha="center", va="center", fontsize=8, color="white" if dark else "black", zorder=3)
    ax.set_xlim(-0.5, max(1, len(columns)) - 0.5)
    ax.set_ylim(tallest - 0.55, -0.45)
    ax.set_axis_off()
    ax.set_title(title, loc="left")
    return ax


def _columns(tasks: Sequence[Task]) -> list[list[Task]]:
    """Tasks by the length of the longest way to them; within a column near what they depend on."""
    by_id = {task.id: task for task in tasks}
    level: dict[str, int] = {}
    waiting = list(tasks)
    while waiting:  # a chain of any length, without recursion
        rest = []
        for task in waiting:
            needs = [other for other in task.depends_on if other in by_id]
            if all(other in level for other in needs):
                level[task.id] = 1 + max((level[other] for other in needs), default=-1)
            else:
                rest.append(task)
        if len(rest) == len(waiting):  # a cycle: these have no place of their own
            level.update({task.id: 0 for task in rest})
            break
        waiting = rest
    columns: list[list[Task]] = [[] for _ in range(max(level.values(), default=-1) + 1)]
    for task in tasks:
        columns[level[task.id]].append(task)
    rank: dict[str, float] = {}
    for column in columns:
        given = {task.id: place for place, task in enumerate(column)}

        def near(task: Task, given: Mapping[str, int] = given) -> tuple[float, int]:
            needs = [rank[other] for other in task.depends_on if other in rank]
            return (sum(needs) / len(needs) if needs else float(given[task.id]), given[task.id])

        column.sort(key=near)
        for place, task in enumerate(column):
            rank[task.id] = place - (len(column) - 1) / 2
    return columns


def dag_gantt(
    spans: Iterable[TaskSpan],
    marks: Iterable[tuple[float, str]] = (),
    *,
    title: str = "A run, task by task",
    ax: Any = None,
) -> Any:
    """A row for each task, a bar for its time in each run, with the run's name in it; signs where a try failed.

    `spans` as `orch.lab.spans.task_spans` makes them of an event log; `marks` are (seconds, words).
    """
    rows = [TaskSpan(*span) for span in spans]
    names = list(dict.fromkeys(span.task for span in sorted(rows, key=lambda span: span.start)))
    ax = axis(ax, height=1.3 + 0.36 * max(3, len(names)))
    ends = [span.start if span.end is None else span.end for span in rows]
    high = max([*ends, *(at for at, _ in marks)], default=1.0) * 1.02 or 1.0
    runs = list(dict.fromkeys(span.run for span in rows))
    texts = _short(runs)
    handles: dict[str, Any] = {}
    for span in rows:
        row = names.index(span.task)
        colour, words = TASK_LOOKS.get(span.outcome, (GREY, span.outcome))
        if span.outcome in ("reused", "skipped"):
            sign = "D" if span.outcome == "reused" else "x"
            edge = BLACK if sign == "D" else GREY
            ax.plot([span.start], [row], sign, color=edge if sign == "x" else colour, markeredgecolor=edge, zorder=4)
            handles[words] = Line2D(
                [],
                [],
                linestyle="",
                marker=sign,
                color=colour if sign == "D" else GREY,
                markeredgecolor=edge,
                label=words,
            )
            continue
        end = high if span.end is None else span.end
        bar = ax.barh(
            row,
            max(end - span.start, high / 400),
            left=span.start,
            height=0.62,
            color=colour,
            edgecolor="black",
            linewidth=0.6,
        )
        if span.outcome == "cut":
            bar[0].set(facecolor="white", hatch="////")
        handles.setdefault(words, bar[0])
        bar[0].set_label(words)
        for at in span.retries:
            (tried,) = ax.plot([at], [row], "^", color=ORANGE, markeredgecolor="black", markersize=8, zorder=4)
            tried.set_label("a try failed, and is repeated")
            handles["try"] = tried
        if len(runs) > 1 and (end - span.start) / high > 0.03:
            dark = span.outcome in ("ok", "fail")
            ax.text(
                (span.start + end) / 2,
                row,
                texts[span.run],
                ha="center",
                va="center",
                fontsize=8,
                color="white" if dark else "black",
                backgroundcolor="white" if span.outcome == "cut" else "none",
            )
    for at, words in marks:
        ax.axvline(at, color=PURPLE, linestyle="--", linewidth=1.2, zorder=3)
        ax.annotate(
            words,
            (at, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(0, 3),
            textcoords="offset points",
            ha="center",
            fontsize=9,
        )
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(max(1, len(names)) - 0.4, -0.6)
    ax.set_xlim(0, high)
    return finish(ax, title, "seconds", "task", legend=list(handles.values()), pad=18 if marks else 6)


def _short(runs: Sequence[str]) -> dict[str, str]:
    """`#2` of `job-1#2`, where all runs are of one job; otherwise whole."""
    of_job: defaultdict[str, list[str]] = defaultdict(list)
    for run in runs:
        of_job[run.rpartition("#")[0]].append(run)
    return {run: f"#{run.rpartition('#')[2]}" if len(of_job) == 1 and "#" in run else run for run in runs}
