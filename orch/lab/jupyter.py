"""What shows itself in a notebook once `orch.lab` is imported: verdicts of the checker, and what a simulation showed.

Queues, and what `orch.testing` raises, do so by themselves. Checker and simulator know nothing of charts, so IPython is
told here.
"""

from __future__ import annotations

import sys
from html import escape
from typing import TYPE_CHECKING, Any

from orch.job import JobStatus

if TYPE_CHECKING:
    from orch.checker.verdict import Verdict, Violation
    from orch.simulator.result import Result

PICTURES_MAX = 3  # of a verdict


def register() -> None:
    """Tell the IPython that runs here, if one does."""
    ipython = sys.modules.get("IPython")
    shell: Any = None if ipython is None else ipython.get_ipython()
    if shell is None:
        return
    html = shell.display_formatter.formatters["text/html"]
    html.for_type_by_name("orch.checker.verdict", "Verdict", verdict_html)
    html.for_type_by_name("orch.checker.verdict", "Violation", violation_html)
    html.for_type_by_name("orch.simulator.result", "Result", result_html)


def violation_html(violation: Violation) -> str:
    """The picture of its witness, and the rule as a sentence."""
    from orch.checker.verdict import RULES
    from orch.lab.pictures import picture_of_violation

    rule = RULES[violation.rule].sentence
    return f"<p><b>{violation.promise}</b> {escape(rule)}</p>{picture_of_violation(violation)}"


def verdict_html(verdict: Verdict) -> str:
    """What was judged, and a picture of each of the first violations."""
    return f"<p>{escape(str(verdict))}</p>" + "".join(map(violation_html, verdict.violations[:PICTURES_MAX]))


def result_html(result: Result) -> str:
    """What became of the jobs in a line, then the queue's depth and, if they fit, the lanes of the workers."""
    from orch.lab.pictures import picture_of_result

    done = sum(job.state is JobStatus.SUCCESS for job in result.jobs)
    said = f"{len(result.jobs):,} jobs, {done:,} succeeded, in {result.seconds:,.1f} s of virtual time"
    if result.jobs:
        said += f"; half of them waited at most {result.wait(0.5):.3g} s, 99 % at most {result.wait(0.99):.3g} s"
    return f"<p>{said}</p>{picture_of_result(result)}"
