"""`orch worker`, also `python -m orch.worker`: its arguments, and a worker process from first line to exit code.

Exit codes: 0 done or stopped; 1 a job became FAILED under `--burst`, or something could not be reported before the
end; 2 bad input or a store that cannot be used (Q15); 130 or 143 after a second SIGINT or SIGTERM (W4).
"""

from __future__ import annotations

import argparse
import logging
import os
import secrets
import socket
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

from orch.backends import open_shared_queue
from orch.clock import iso, process_clock, to_us
from orch.errors import InvalidInput, OrchError
from orch.settings import Settings

EXAMPLE = """\
example:
  orch worker --url sqlite:///orch.db --concurrency 4
  orch worker --burst --isolate process    # work off what is ready, each job in a process of its own
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Everything that a worker process can be told."""
    parser.add_argument("--url", help="the queue, as sqlite:///orch.db or redis://host (default: the environment's)")
    parser.add_argument("--worker-id", metavar="ID", help="its name in the lists (default: host-pid-random)")
    parser.add_argument("--concurrency", type=int, default=1, metavar="N", help="jobs at a time (default: 1)")
    parser.add_argument(
        "--isolate",
        choices=("thread", "process"),
        default="thread",
        help="where a job runs; a process can be killed at its time-out and takes no other job along (default: thread)",
    )
    parser.add_argument(
        "--burst",
        action="store_true",
        help="end when no job is ready and none runs here; delayed jobs are left; exit code 1 if a job became FAILED",
    )
    parser.add_argument("--max-jobs", type=int, metavar="N", help="end after so many jobs")
    parser.add_argument("--lease-s", type=float, metavar="S", help="lease of a job, extended while it runs")
    parser.add_argument("--grace-s", type=float, metavar="S", help="how long running jobs may go on after SIGTERM")
    parser.add_argument("--retry-s", type=float, default=1.0, metavar="S", help="pause before a first retry; doubles")
    parser.add_argument(
        "--poll-ms",
        type=int,
        default=1000,
        metavar="MS",
        help="how often to ask a queue that cannot wait (default: 1000)",
    )
    parser.add_argument("--quiet", action="store_true", help="print no line for each job")
    parser.add_argument(
        "--log-level",
        default="WARNING",
        type=str.upper,
        choices=("DEBUG", "INFO", "WARNING", "ERROR"),
        help="of the log on stderr (default: WARNING)",
    )


def run(args: argparse.Namespace) -> int:
    """Be a worker as the arguments say; returns the exit code. Raises `OrchError` for what cannot begin."""
    from orch.worker.driver import run_worker
    from orch.worker.running import in_processes, in_threads
    from orch.worker.steps import Config

    settings = Settings.from_env()
    worker_id = args.worker_id or f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
    if args.poll_ms < 1:
        raise InvalidInput(f"--poll-ms must be at least 1, got {args.poll_ms}")
    config = Config(
        worker_id=worker_id,
        slots=args.concurrency,
        lease_s=settings.lease_s if args.lease_s is None else args.lease_s,
        grace_s=settings.grace_s if args.grace_s is None else args.grace_s,
        poll_s=args.poll_ms / 1000,
        burst=args.burst,
        max_jobs=args.max_jobs,
        retry_s=args.retry_s,
        quiet=args.quiet,
        host=socket.gethostname(),
        pid=os.getpid(),
        started_at=iso(to_us(process_clock())),
    )
    prepare(settings, level=args.log_level)
    queue = open_shared_queue(args.url, settings=replace(settings, lease_s=config.lease_s))
    servers = None
    if args.isolate == "process":
        from orch.worker.isolation import Servers

        servers = Servers(log_level=args.log_level)
        servers.warm(min(config.slots, config.max_jobs or config.slots))
    try:
        return run_worker(
            queue,
            config,
            in_threads(queue, settings) if servers is None else in_processes(queue, servers),
            state_path=settings.state_path,
            signals=True,
            hello=f"Worker {worker_id} starting with {_backend(args.url, settings)} queue backend",
        )
    finally:
        if not _others():  # else the process must end first, and at once
            if servers is not None:
                servers.close()
            queue.close()


def _backend(url: str | None, settings: Settings) -> str:
    return url.partition(":")[0] if url else os.environ.get("QUEUE_BACKEND") or settings.backend


def prepare(settings: Settings, *, level: str = "WARNING") -> None:
    """Make this process fit to run jobs: streams that never fail, a log that names the job, the workflows imported."""
    from orch.worker.streams import steady_streams
    from orch.workflows import load_workflows

    steady_streams()
    handler = logging.StreamHandler()
    handler.addFilter(_named)
    handler.setFormatter(
        logging.Formatter("%(asctime)s %(levelname)s %(name)s [job=%(job_id)s token=%(token)s] %(message)s")
    )
    logging.basicConfig(level=level, handlers=[handler])
    here = str(Path.cwd())
    if not {"", here} & set(sys.path):
        sys.path.append(here)  # workflows of the current folder are found, and hide nothing
    load_workflows(settings.workflows)


def _named(record: logging.LogRecord) -> bool:
    """Every line says which job and which delivery it is about: the one given, or the one that its thread runs."""
    from orch.workflows import current

    context = current()
    fields: dict[str, Any] = record.__dict__
    if fields.get("job_id") is None:
        fields["job_id"] = context.job_id or "-"
    if fields.get("token") is None:
        fields["token"] = "-" if context.token is None else context.token
    return True


def _others() -> bool:
    """Whether threads are left that nothing can end: of timed-out jobs, or started by a workflow."""
    return any(thread is not threading.main_thread() for thread in threading.enumerate())


def leave(code: int) -> int:
    """End the process if threads are left: the interpreter would wait for some of them. Else just the code."""
    if _others():
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        os._exit(code)
    return code


def main(argv: list[str] | None = None) -> int:
    """`python -m orch.worker`."""
    parser = argparse.ArgumentParser(
        prog="python -m orch.worker",
        description="Take jobs from a queue and run them.",
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
