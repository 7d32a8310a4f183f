"""`orch enqueue`: put one job into the queue, and with `--wait` see how it ends."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from orch.cli._parts import Subparsers, add_json, add_url, command, opened, print_json

if TYPE_CHECKING:
    from orch.job import Job
    from orch.queue import PersistentQueue

_LOOK_S = 0.02  # the first pause of --wait; doubles
_LOOK_S_MAX = 0.5


def add_parser(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = command(
        subparsers,
        "enqueue",
        "put a job into the queue",
        "orch enqueue etl.yaml --param day=2026-11-24 --priority 5 --max-retries 2 --wait",
        _enqueue,
    )
    parser.add_argument("dag", metavar="PATH|workflow:NAME", help="a DAG file under the DAG root, or one callable")
    parser.add_argument(
        "--param", action="append", default=[], metavar="K=V", help="a parameter; V is JSON, or else text; repeatable"
    )
    parser.add_argument("--priority", type=int, default=0, metavar="N", help="-1000 to 1000, higher first (default: 0)")
    parser.add_argument("--delay", type=float, default=0.0, metavar="S", help="not before so many seconds from now")
    parser.add_argument("--id", metavar="ID", help="its id; one that is known already changes nothing (default: new)")
    parser.add_argument(
        "--max-retries", type=int, default=0, metavar="N", help="failed attempts to repeat (default: 0)"
    )
    parser.add_argument("--timeout", type=float, metavar="S", help="how long one attempt may take")
    parser.add_argument("--tenant", default="local-dev", metavar="NAME", help="whom it is for (default: local-dev)")
    parser.add_argument("--wait", action="store_true", help="wait for its end; exit code 1 if it failed")
    add_json(parser)
    add_url(parser)


def _enqueue(args: argparse.Namespace) -> int:
    from orch import checks
    from orch.clock import iso, process_clock, to_us
    from orch.job import Job

    delay_s = checks.check_seconds(args.delay, "--delay")
    job = Job.new(
        args.dag,
        id=args.id,
        params=parsed_params(args.param),
        tenant_id=args.tenant,
        priority=args.priority,
        max_retries=args.max_retries,
        not_before=iso(to_us(process_clock() + delay_s)) if delay_s else None,
        timeout_s=args.timeout,
    )
    with opened(args) as queue:
        new = queue.enqueue(job)
        if not args.json:
            print(f"Enqueued job {job.id}" if new else f"Job {job.id} is known already; nothing changed", flush=True)
        elif not args.wait:
            print_json({"id": job.id, "new": new})
        return _wait(queue, job.id, as_json=args.json) if args.wait else 0


def parsed_params(texts: Sequence[str]) -> dict[str, Any]:
    """`k=v` texts as an object; v is JSON where it can be read as JSON. Raises `InvalidInput`."""
    from orch import checks
    from orch.errors import InvalidInput

    params: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise InvalidInput(f"--param must be K=V, got {checks.shown(text)}")
        if key in params:
            raise InvalidInput(f"--param {key!r} is given twice")
        try:
            params[key] = json.loads(value)
        except (ValueError, RecursionError):
            params[key] = value
    return params


def _wait(queue: PersistentQueue, job_id: str, *, as_json: bool) -> int:
    from orch.errors import JobNotFound
    from orch.job import FINAL, JobStatus

    pause = _LOOK_S
    while True:
        job: Job | None = queue.get_job(job_id)
        if job is None:
            raise JobNotFound(f"job {job_id!r} was purged before its end was seen")
        if job.status in FINAL:
            break
        time.sleep(pause)
        pause = min(2 * pause, _LOOK_S_MAX)
    if as_json:
        print_json(job.to_dict())
    elif job.status is JobStatus.SUCCESS:
        print(f"✓ Job {job.id} succeeded")
    else:
        print(f"✗ Job {job.id} failed: {job.error}")
    return 0 if job.status is JobStatus.SUCCESS else 1
