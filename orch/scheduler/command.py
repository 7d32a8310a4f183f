"""`orch schedule run`, also `python -m orch.scheduler`: its arguments, and a scheduler process from first line to exit.

Exit codes: 0 done or stopped; 1 no schedules, or under `--once` a job became FAILED or the end came early; 2 bad input
or a store that cannot be used (Q15); 130 or 143 after a second SIGINT or SIGTERM.
"""

from __future__ import annotations

import argparse
import os
import sys

from orch.backends import open_queue, open_shared_queue, url_of
from orch.errors import OrchError
from orch.settings import Settings
from orch.worker.command import leave, prepare

EXAMPLE = """\
example:
  python -m orch.scheduler --dir configs/schedules --once
  python -m orch.scheduler --serve --enqueue-only --url sqlite:///orch.db    # workers run the jobs
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Everything that a scheduler process can be told."""
    parser.add_argument("--dir", default="configs/schedules", help="folder of the schedules (default: %(default)s)")
    mode = parser.add_mutually_exclusive_group(required=True)
    mode.add_argument("--once", action="store_true", help="one look at the clock, run what is ready, and end")
    mode.add_argument("--serve", action="store_true", help="look at the clock every SCHED_TICK_MS until stopped")
    parser.add_argument("--enqueue-only", action="store_true", help="run no jobs here: workers do")
    parser.add_argument("--url", help="the queue, as sqlite:///orch.db or redis://host (default: the environment's)")


def run(args: argparse.Namespace) -> int:
    """Be a scheduler as the arguments say; returns the exit code. Raises `OrchError` for what cannot begin."""
    from orch.scheduler.process import Process, read_schedules

    settings = Settings.from_env()
    prepare(settings)
    schedules = read_schedules(args.dir)
    if not schedules:
        print(f"No schedules found in {args.dir}")
        return 1
    url = url_of(settings) if args.url is None else args.url
    queue = (open_shared_queue if args.enqueue_only else open_queue)(url, settings=settings)
    scheduler = Process(
        schedules, queue, settings, executes=not args.enqueue_only, alone=url.lower().startswith("memory:")
    )
    try:
        print(f"Loaded {len(schedules)} schedule(s) from {args.dir}")
        backend = args.url.partition(":")[0] if args.url else os.environ.get("QUEUE_BACKEND") or settings.backend
        print(f"Using {backend} queue backend", flush=True)
        with scheduler:
            return scheduler.once() if args.once else scheduler.serve()
    finally:
        queue.close()


def main(argv: list[str] | None = None) -> int:
    """`python -m orch.scheduler`. Exit codes: those of `run`; 2 bad input or a store that cannot be used (Q15)."""
    parser = argparse.ArgumentParser(
        prog="python -m orch.scheduler",
        description="Enqueue the jobs of schedules when they are due, and run them.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_arguments(parser)
    args = parser.parse_args(argv)
    try:
        return leave(run(args))
    except OrchError as error:
        print(f"orch: {error}", file=sys.stderr)
        return leave(2)
