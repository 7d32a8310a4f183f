"""`orch queue`: look at the queue, and change what an operator may change."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from orch.cli._parts import Subparsers, add_json, add_url, command, opened, print_json, print_table

if TYPE_CHECKING:
    from orch.job import Job
    from orch.queue import PersistentQueue

_ERROR_SHOWN = 60  # characters of an error in a list
_SCHEDULES = "configs/schedules"
_CATCH_UP_S = 3600.0  # of a scheduler whose schedules are not at hand


def add_parser(subparsers: Subparsers) -> None:
    """Add the command and its own commands."""
    parser = command(subparsers, "queue", "look at the queue and change it", "orch queue stats --url sqlite:///orch.db")
    inner = parser.add_subparsers(metavar="WHAT", required=True)

    stats = command(inner, "stats", "count the jobs in each state", "orch queue stats --json", _stats)

    listed = command(inner, "list", "list jobs, newest first", "orch queue list --status failed --limit 20", _list)
    listed.add_argument("--status", metavar="S", help="pending, running, success or failed (default: all)")
    listed.add_argument("--limit", type=int, default=20, metavar="N", help="how many (default: 20)")

    show = command(inner, "show", "show all of one job", "orch queue show etl@2026-11-24T10:00Z", _show)
    show.add_argument("id", metavar="ID")

    requeue = command(
        inner,
        "requeue",
        "give failed jobs a fresh budget",
        "orch queue requeue --all --error-contains timeout --dag etl.yaml",
        _requeue,
    )
    requeue.add_argument("ids", metavar="ID", nargs="*")
    requeue.add_argument("--all", action="store_true", help="every failed job, or those that the filters keep")
    requeue.add_argument("--dag", metavar="PATH", help="only jobs of this DAG path")
    requeue.add_argument("--tenant", metavar="NAME", help="only jobs of this tenant")
    requeue.add_argument("--error-contains", metavar="TEXT", help="only jobs whose error has this text")

    cancel = command(inner, "cancel", "make jobs failed that wait or run", "orch queue cancel etl@10:00", _cancel)
    cancel.add_argument("ids", metavar="ID", nargs="+")

    purge = command(inner, "purge", "forget finished jobs", "orch queue purge --older-than-hours 48", _purge)
    purge.add_argument(
        "--older-than-hours", type=float, default=24.0, metavar="H", help="finished before (default: 24)"
    )
    purge.add_argument("--force", action="store_true", help="also those that a scheduler may still look back at")
    purge.add_argument(
        "--schedules", default=_SCHEDULES, metavar="DIR", help=f"whose schedules look back (default: {_SCHEDULES})"
    )

    quarantined = command(
        inner, "quarantined", "list records that cannot be read", "orch queue quarantined --json", _quarantined
    )
    for each in (stats, listed, show, requeue, cancel, purge, quarantined):
        add_json(each)
        add_url(each)


# -- looking ---------------------------------------------------------------------------------------------------------


def _stats(args: argparse.Namespace) -> int:
    with opened(args) as queue:
        stats = queue.stats()
    counts = {status.value: count for status, count in stats.counts.items()}
    rest = {"ready": stats.ready, "delayed": stats.delayed, "quarantined": stats.quarantined}
    age = stats.oldest_ready_age_s
    if args.json:
        print_json({"counts": counts, **rest, "oldest_ready_age_s": age})
        return 0
    rows: list[tuple[str, object]] = [*counts.items(), *rest.items()]
    print_table(("WHAT", "JOBS"), rows)
    print("no job is ready" if age is None else f"the next ready job has waited for {age:.1f} s")
    return 0


def _list(args: argparse.Namespace) -> int:
    from orch.job import status_of

    status = None if args.status is None else status_of(args.status.lower())
    with opened(args) as queue:
        jobs = queue.list_jobs(status, args.limit)
    if args.json:
        print_json([_as_json(job) for job in jobs])
        return 0
    print_table(
        ("ID", "STATUS", "ATTEMPTS", "PRIORITY", "ENQUEUED", "DAG", "ERROR"),
        [
            (
                job.id,
                job.status.value,
                job.attempts,
                job.priority,
                job.enqueued_at,
                job.dag_path,
                _short(job.error),
            )
            for job in jobs
        ],
    )
    return 0


def _short(error: str | None) -> str | None:
    return error if error is None or len(error) <= _ERROR_SHOWN else error[: _ERROR_SHOWN - 1] + "…"


def _show(args: argparse.Namespace) -> int:
    from orch.errors import JobNotFound

    with opened(args) as queue:
        job = queue.get_job(args.id)
        if job is None:
            raise JobNotFound(f"no job {args.id!r} in this queue; `orch queue list` shows what is there")
        progress = sorted(queue.progress(args.id))
    fields = {**_as_json(job), "recorded_tasks": progress}
    if args.json:
        print_json(fields)
        return 0
    width = max(map(len, fields))
    for name, value in fields.items():
        print(f"{name.ljust(width)}  {'-' if value is None else value}")
    return 0


def _as_json(job: Job) -> dict[str, Any]:
    lease = job.lease
    held = (
        None if lease is None else {"worker_id": lease.worker_id, "token": lease.token, "expires_at": lease.expires_at}
    )
    return {**job.to_dict(), "lease": held}


def _quarantined(args: argparse.Namespace) -> int:
    with opened(args) as queue:
        found = queue.quarantined()
    if args.json:
        rows = [
            {"job_id": one.job_id, "reason": one.reason, "raw": one.raw.decode("utf-8", "backslashreplace")}
            for one in found
        ]
        print_json(rows)
        return 0
    print_table(("ID", "BYTES", "REASON"), [(one.job_id, len(one.raw), one.reason) for one in found])
    return 0


# -- changing --------------------------------------------------------------------------------------------------------


def _requeue(args: argparse.Namespace) -> int:
    from orch.errors import InvalidInput

    filtered = args.dag is not None or args.tenant is not None or args.error_contains is not None
    if args.all == bool(args.ids) or (filtered and not args.all):
        raise InvalidInput("requeue takes ids, or --all with --dag, --tenant and --error-contains as filters")
    with opened(args) as queue:
        if args.ids:
            return _each(args, args.ids, queue.requeue, "Requeued")
        ids = [job.id for job in _failed(queue) if _matches(job, args)]
        return _each(args, ids, queue.requeue, "Requeued", moving=True)


def _failed(queue: PersistentQueue) -> Iterator[Job]:
    from orch.job import JobStatus

    yield from reversed(queue.list_jobs(JobStatus.FAILED, queue.count(JobStatus.FAILED)))


def _matches(job: Job, args: argparse.Namespace) -> bool:
    return (
        (args.dag is None or job.dag_path == args.dag)
        and (args.tenant is None or job.tenant_id == args.tenant)
        and (args.error_contains is None or args.error_contains in (job.error or ""))
    )


def _cancel(args: argparse.Namespace) -> int:
    with opened(args) as queue:
        return _each(args, args.ids, queue.cancel, "Cancelled")


def _each(
    args: argparse.Namespace, ids: list[str], act: Callable[[str], Job], said: str, *, moving: bool = False
) -> int:
    """Do it for each job; one that cannot does not keep the others. `moving`: who changed meanwhile does not count."""
    from orch.errors import InvalidInput, JobNotFound, UnreadableRecord

    done: list[str] = []
    refused: dict[str, str] = {}
    for job_id in ids:
        try:
            act(job_id)
            done.append(job_id)
        except (InvalidInput, JobNotFound, UnreadableRecord) as error:
            if not moving:
                refused[job_id] = str(error)
    if args.json:
        print_json({"done": done, "refused": refused})
    else:
        for job_id in done:
            print(f"{said} {job_id}")
        if not ids:
            print("No failed job matches")
    for text in refused.values():
        print(f"orch: {text}", file=sys.stderr)
    return 2 if refused else 0


def _purge(args: argparse.Namespace) -> int:
    from orch import checks
    from orch.errors import InvalidInput

    hours = checks.check_seconds(args.older_than_hours, "--older-than-hours")
    if not args.force:
        window_s = _catch_up_s(args.schedules)
        if hours * 3600 < window_s:
            raise InvalidInput(
                f"a scheduler looks back {window_s / 3600:g} h, and would enqueue a purged job again: "
                f"--older-than-hours must be at least that, got {hours:g}; or add --force"
            )
    with opened(args) as queue:
        removed = queue.purge(hours)
    if args.json:
        print_json({"purged": removed})
    else:
        print(f"Purged {removed} job(s)")
    return 0


def _catch_up_s(schedules_dir: str) -> float:
    """How far back a scheduler may look: as its schedules say where they can be read, else the default grace."""
    from pathlib import Path

    if not Path(schedules_dir).is_dir():
        return _CATCH_UP_S
    from orch.schedule import catch_up_s, check_schedules

    return max(_CATCH_UP_S, catch_up_s(check_schedules(schedules_dir)[0]))
