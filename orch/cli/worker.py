"""`orch worker`; what it does is in `orch.worker.command`."""

from __future__ import annotations

import argparse

from orch.cli._parts import Subparsers


def add_parser(subparsers: Subparsers) -> None:
    """Add the command."""
    from orch.worker.command import EXAMPLE, add_arguments

    parser = subparsers.add_parser(
        "worker",
        help="take jobs from the queue and run them",
        description="Take jobs from the queue and run them, until it is stopped.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_arguments(parser)
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    from orch.worker.command import leave, run

    return leave(run(args))
