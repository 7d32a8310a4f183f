"""`orch workers`: who works on the queue (W8)."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from orch.cli._parts import Subparsers, add_json, add_url, command, opened, print_json, print_table

_TITLES = ("WORKER", "HOST", "PID", "STARTED", "LAST BEAT", "SLOTS", "BLOCKED", "DONE", "FAILED", "JOBS")


def add_parser(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = command(
        subparsers, "workers", "list the workers that live", "orch workers --url sqlite:///orch.db --json", _workers
    )
    add_json(parser)
    add_url(parser)


def _workers(args: argparse.Namespace) -> int:
    with opened(args) as queue:
        found = queue.workers()
    if args.json:
        print_json([asdict(info) for info in found])
        return 0
    print_table(
        _TITLES,
        [
            (
                info.id,
                info.host,
                info.pid,
                info.started_at,
                info.last_beat_at,
                info.slots,
                info.blocked,
                info.done,
                info.failed,
                " ".join(info.jobs),
            )
            for info in found
        ],
    )
    return 0
