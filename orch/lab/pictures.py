"""Pictures as SVG text, for what shows itself in a notebook: a failing trace, a failing history."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import matplotlib.pyplot as plt

from orch.lab.charts.depth import queue_depth
from orch.lab.charts.lanes import worker_lanes
from orch.lab.charts.score import operation_map
from orch.lab.charts.witness import Span, Step, space_time, trace_picture

if TYPE_CHECKING:
    from orch.checker.verdict import Violation
    from orch.history import Op
    from orch.simulator.result import Result
    from orch.testing.story import Story

LANES_MAX = 24  # workers whose attempts are shown
_STYLE: Any = {"svg.fonttype": "none", "svg.hashsalt": "orch"}  # texts stay texts, and equal pictures are equal


def svg(ax: Any) -> str:
    """The figure of an axis as an SVG element; the figure is closed, so that a notebook does not show it once more."""
    out = io.StringIO()
    with mpl.rc_context(_STYLE):
        ax.figure.savefig(out, format="svg", metadata={"Date": None})
    plt.close(ax.figure)
    text = out.getvalue()
    return text[text.index("<svg") :]


def picture_of_story(story: Story) -> str:
    """A failing trace: a lane for each job, time downwards."""
    steps = [Step(scene.number, scene.at_s, scene.text, scene.jobs) for scene in story.scenes]
    title = f"{story.promise}: {story.sentence}"
    return svg(trace_picture(steps, expected=story.expected, actual=story.actual, title=title))


def picture_of_violation(violation: Violation, history: Iterable[Op] = ()) -> str:
    """A failing history: a lane for each client, and what the witness's jobs went through."""
    from orch.checker.explain import label, rows

    witness = set(map(id, violation.operations))
    spans = [
        Span(
            op.client,
            op.call_ns / 1e9,
            None if op.ret_ns is None else op.ret_ns / 1e9,
            label(op),
            id(op) in witness,
        )
        for op in rows(violation, history)
    ]
    return svg(space_time(spans, title=f"{violation.promise} {violation.rule}: {violation.message}"))


def picture_of_coverage(met: Mapping[str, Mapping[str, int]]) -> str:
    """How often each operation met each state."""
    return svg(operation_map(met))


def picture_of_result(result: Result) -> str:
    """A simulation: how many jobs waited and ran, and, if the workers are few enough, who ran what."""
    pictures = svg(queue_depth(result.depth, result.marks, end=result.seconds))
    if 0 < len({lane.worker for lane in result.lanes}) <= LANES_MAX:
        pictures += svg(worker_lanes(result.lanes, result.marks))
    return pictures
