"""The callables that tasks name, and what one can learn about its run while it runs.

A workflow takes a dict and returns a dict, both JSON; it may be run again, so what it does outside should bear that.
`WORKFLOW_MAP` is a plain dict that callers may change; `run_dag` reads it when it is called. Shipped are stand-ins
under the seed's three names, which need no network and give equal results for equal params, and a few for scenarios.
"""

from __future__ import annotations

import hashlib
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, TypeVar

from orch import checks
from orch.errors import InvalidInput

Workflow = Callable[[dict[str, Any]], dict[str, Any]]
_F = TypeVar("_F", bound=Callable[..., Any])

#: Name to callable.
WORKFLOW_MAP: dict[str, Workflow] = {}


def register(name: str) -> Callable[[_F], _F]:
    """Make a function known under a name; raises `InvalidInput` if another function has it.

    The same function defined again (a notebook cell run twice, a reloaded module) takes the place of the old one.
    """
    checks.check_text(name, "workflow name", checks.ID_MAX)

    def keep(function: _F) -> _F:
        known = WORKFLOW_MAP.get(name)
        if known is not None and _origin(known) != _origin(function):
            raise InvalidInput(
                f"workflow {name!r} is {_origin(known)} already: choose another name for {_origin(function)}"
            )
        WORKFLOW_MAP[name] = function
        return function

    return keep


def _origin(function: object) -> str:
    module = getattr(function, "__module__", "?")
    return f"{module}.{getattr(function, '__qualname__', type(function).__qualname__)}"


def load_workflows(modules: str | Iterable[str] | None = None) -> tuple[str, ...]:
    """Import modules that register workflows: names, or one text with commas (None: `ORCH_WORKFLOWS`).

    Returns their names. Raises `InvalidInput` for one that cannot be imported, whatever it raised.
    """
    given = os.environ.get("ORCH_WORKFLOWS", "") if modules is None else modules
    parts = given.split(",") if isinstance(given, str) else given
    names = tuple(name for part in parts if (name := part.strip()))
    for name in names:
        try:
            import_module(name)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a module may also exit
            raise InvalidInput(
                f"cannot import the workflow module {name!r}: {type(error).__name__}: {error}; "
                "check ORCH_WORKFLOWS and PYTHONPATH"
            ) from error
    return names


# -- the run that a workflow is part of --------------------------------------------------------------------------


def _never() -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Context:
    """What a workflow may know of its run; outside of one the ids are empty, the token None, the attempts 1.

    `attempt` counts the deliveries of the job, `task_attempt` the tries of the task within this run. `token` is the
    lease's: hand it to systems downstream, which can then refuse an older one (fencing). `deadline` is in epoch
    seconds of the worker's clock.
    """

    job_id: str = ""
    run_id: str = ""
    task_id: str = ""
    attempt: int = 1
    task_attempt: int = 1
    token: int | None = None
    deadline: float | None = None
    tenant_id: str = ""
    _lost: Callable[[], bool] = field(default=_never, repr=False)

    def lost(self) -> bool:
        """True when nobody waits for this attempt any more: its lease is lost or its time is over. Then stop."""
        return self._lost()

    @property
    def tries(self) -> int:
        """How many times this was tried at least, this time included."""
        return self.attempt + self.task_attempt - 1


_OUTSIDE = Context()
#: Set by `orch.runner` around each attempt.
CONTEXT: ContextVar[Context] = ContextVar("orch_context", default=_OUTSIDE)


def current() -> Context:
    """The run that this code is part of. Threads that a workflow starts itself need `contextvars.copy_context()`."""
    return CONTEXT.get()


# -- the seed's three, as stand-ins ------------------------------------------------------------------------------


def _draws(params: dict[str, Any], n: int, below: int) -> list[int]:
    """n numbers that depend on nothing but the params."""
    seed = checks.dump_json(checks.check_object(params, "params")).encode()
    return [int.from_bytes(hashlib.sha256(b"%d:" % i + seed).digest()[:4], "big") % below for i in range(n)]


@register("inbox_drive_sweep")
def inbox_drive_sweep(params: dict[str, Any]) -> dict[str, Any]:
    """Stand-in for sorting a mailbox and a drive: made-up items, the same for the same params.

    `inbox` is a name, `limit` how many items to look at (10).
    """
    inbox = str(params.get("inbox", "inbox"))
    limit = checks.check_int(params.get("limit", 10), "limit", 0, 10_000)
    labels = ("urgent", "reply", "file", "ignore")
    picked = [labels[draw] for draw in _draws(params, limit, len(labels))]
    items = [{"id": f"{inbox}-{i + 1}", "label": label} for i, label in enumerate(picked)]
    counts = {label: picked.count(label) for label in labels}
    said = ", ".join(f"{count} {label}" for label, count in counts.items())
    return {"items": items, "counts": counts, "summary": f"Swept {limit} items of {inbox}: {said}"}


@register("weekly_report_pack")
def weekly_report_pack(params: dict[str, Any]) -> dict[str, Any]:
    """Stand-in for a weekly report: one section per upstream payload, figures that depend on the params only.

    `week` is a name, `sections` a list of titles (by default the tasks that it depends on).
    """
    week = str(params.get("week", "this week"))
    upstream = dict.fromkeys(key.split("__", 1)[0] for key in params if "__" in key)
    titles = [str(title) for title in params.get("sections") or upstream or ("Done", "Planned", "Risks")]
    sections = [
        {"title": title, "figure": figure, "text": str(params.get(f"{title}__summary", f"{title}: {figure} items"))}
        for title, figure in zip(titles, _draws(params, len(titles), 50), strict=True)
    ]
    return {"week": week, "sections": sections, "summary": f"Report for {week}: {', '.join(titles)}"}


@register("meeting_transcript_brief")
def meeting_transcript_brief(params: dict[str, Any]) -> dict[str, Any]:
    """Stand-in for a summary of a meeting: who spoke how often, and the lines that begin an action or a decision.

    `transcript` has lines of the form `Name: what was said`; what was said may begin with `ACTION` or `DECISION`.
    """
    transcript = str(params.get("transcript", "Ann: DECISION ship on Friday\nBo: ACTION write the notes\nAnn: thanks"))
    said = [
        (name.strip(), text.strip())
        for name, colon, text in (line.partition(":") for line in transcript.splitlines())
        if colon
    ]
    speakers = dict(Counter(name for name, _ in said))
    actions = [f"{name}: {text[6:].strip()}" for name, text in said if text.upper().startswith("ACTION")]
    decisions = [text[8:].strip() for _, text in said if text.upper().startswith("DECISION")]
    title = str(params.get("title", "Meeting"))
    return {
        "speakers": speakers,
        "actions": actions,
        "decisions": decisions,
        "summary": f"{title}: {len(speakers)} speakers, {len(decisions)} decisions, {len(actions)} actions",
    }


# -- for scenarios -----------------------------------------------------------------------------------------------


@register("noop")
def noop(_params: dict[str, Any]) -> dict[str, Any]:
    """Nothing."""
    return {}


@register("echo")
def echo(params: dict[str, Any]) -> dict[str, Any]:
    """Returns its params."""
    return params


@register("sleep")
def sleep(params: dict[str, Any]) -> dict[str, Any]:
    """Sleeps for `seconds` (1), in small steps, so that it stops soon after the run is lost."""
    seconds = checks.check_seconds(params.get("seconds", 1.0), "seconds")
    context = current()
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        if context.lost():
            raise TimeoutError(f"woken after {seconds - left:.1f} of {seconds:g} s: nobody waits for this any more")
        time.sleep(min(left, 0.05))
    return {"seconds": seconds, "summary": f"Slept {seconds:g} s"}


@register("fail")
def fail(params: dict[str, Any]) -> dict[str, Any]:
    """Raises, with `message`."""
    raise RuntimeError(str(params.get("message", "failed, as asked")))


@register("fail_n_times")
def fail_n_times(params: dict[str, Any]) -> dict[str, Any]:
    """Raises at the first `n` (1) tries, whether they are retries of the job or of the task; then says how many."""
    n = checks.check_int(params.get("n", 1), "n", 0)
    tries = current().tries
    if tries <= n:
        raise RuntimeError(f"failed at try {tries}, as asked; fails at the first {n}")
    return {"tries": tries, "summary": f"Done at try {tries}"}


@register("crash")
def crash(params: dict[str, Any]) -> dict[str, Any]:
    """Kills its own process, as `kill -9` does, at the first `n` (1) deliveries of its job; then says how many.

    Outside of a job it raises instead, so that nobody loses a notebook.
    """
    n = checks.check_int(params.get("n", 1), "n", 0)
    context = current()
    if context.attempt <= n:
        if not context.job_id:
            raise RuntimeError("crash kills its process only inside a job: enqueue it for a worker")
        if sys.platform == "win32":
            os._exit(137)
        os.kill(os.getpid(), signal.SIGKILL)
    return {"deliveries": context.attempt, "summary": f"Alive at delivery {context.attempt}"}


@register("produce")
def produce(params: dict[str, Any]) -> dict[str, Any]:
    """Makes `rows` (10) rows of data and a text of `bytes` (0) characters, the same for the same params."""
    rows = checks.check_int(params.get("rows", 10), "rows", 0, 1_000_000)
    size = checks.check_int(params.get("bytes", 0), "bytes", 0, 64 * 1024 * 1024)
    table = [{"row": i, "value": draw} for i, draw in enumerate(_draws(params, rows, 1_000))]
    data: dict[str, Any] = {"rows": table, "count": rows, "total": sum(row["value"] for row in table)}
    if size:
        data["blob"] = "x" * size
    return {**data, "summary": f"{rows} rows, total {data['total']}"}
