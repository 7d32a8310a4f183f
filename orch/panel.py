"""A queue as a small HTML panel for notebooks: its counts as a bar, what waits, the newest jobs, who works on it.

One look at the queue, no script, no library. A store that cannot be reached is said in the panel.
"""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from typing import Any, Protocol, TypeVar

from orch.errors import NotSupported, OrchError
from orch.job import STATES, Job, JobStatus, QueueStats, WorkerInfo

JOBS_SHOWN = 8
ERROR_MAX = 80  # characters
_COLOURS = {
    JobStatus.PENDING: "#56B4E9",
    JobStatus.RUNNING: "#E69F00",
    JobStatus.SUCCESS: "#009E73",
    JobStatus.FAILED: "#D55E00",
}
T = TypeVar("T")


class Shown(Protocol):
    """What is asked of a queue here."""

    def counts(self) -> dict[JobStatus, int]: ...
    def stats(self) -> QueueStats: ...
    def list_jobs(self, status: JobStatus | None = None, limit: int = 100) -> list[Job]: ...
    def workers(self) -> list[WorkerInfo]: ...


def panel(queue: Shown) -> str:
    """The panel as HTML. Changes nothing in the queue, and raises nothing that the store says."""
    title = f"<b>{escape(type(queue).__name__)}</b>"
    try:
        parts = [title, _bar(queue.counts()), _waiting(_if_known(queue.stats))]
        parts += [_jobs(queue.list_jobs(limit=JOBS_SHOWN)), _workers(_if_known(queue.workers))]
    except OrchError as error:
        return f"<div>{title}: {escape(type(error).__name__)}: {escape(str(error))}</div>"
    return f'<div style="max-width:60em">{"".join(parts)}</div>'


def _if_known(ask: Callable[[], T]) -> T | None:
    try:
        return ask()
    except NotSupported:
        return None


def _bar(counts: dict[JobStatus, int]) -> str:
    """A bar of the four states; each also says its name and number."""
    total = sum(counts.values())
    pieces = "".join(
        f'<span style="display:inline-block;height:0.8em;width:{counts[state] / total * 100:.2f}%;'
        f'background:{_COLOURS[state]}"></span>'
        for state in STATES
        if counts[state]
    )
    names = " &nbsp; ".join(
        f'<span style="color:{_COLOURS[state]}">&#9632;</span> {state.value} <b>{counts[state]:,}</b>'
        for state in STATES
    )
    return f'<div style="margin:0.3em 0">{names}</div><div style="font-size:0.9em;line-height:0.8em">{pieces}</div>'


def _waiting(stats: QueueStats | None) -> str:
    if stats is None:
        return ""
    said = [f"{stats.ready:,} ready", f"{stats.delayed:,} delayed"]
    if stats.oldest_ready_age_s is not None:
        said.append(f"the oldest waits since {stats.oldest_ready_age_s:.3g} s")
    if stats.quarantined:
        said.append(f"<b>{stats.quarantined:,} unreadable</b>")
    return f"<div>{', '.join(said)}</div>"


def _jobs(jobs: list[Job]) -> str:
    if not jobs:
        return ""
    rows = [(job.id, job.dag_path, job.status.value, job.priority, job.attempts, _error(job.error)) for job in jobs]
    return _table(("newest jobs", "runs", "state", "priority", "attempts", "error"), rows)


def _error(text: str | None) -> str:
    line = (text or "").strip().splitlines()[-1:] or [""]
    return line[0] if len(line[0]) <= ERROR_MAX else f"{line[0][: ERROR_MAX - 1]}…"


def _workers(workers: list[WorkerInfo] | None) -> str:
    rows = [(one.id, ", ".join(one.jobs), one.done, one.failed, one.last_beat_at) for one in workers or ()]
    return _table(("workers", "hold", "done", "failed", "last beat"), rows) if rows else ""


def _table(head: tuple[str, ...], rows: list[tuple[Any, ...]]) -> str:
    top = "".join(f'<th style="text-align:left">{escape(name)}</th>' for name in head)
    body = "".join(
        f"<tr>{''.join(f'<td style=text-align:left>{escape(str(cell))}</td>' for cell in row)}</tr>" for row in rows
    )
    return f"<table><tr>{top}</tr>{body}</table>"
