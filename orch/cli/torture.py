"""`orch torture`: real processes, a real store, a nemesis, and a verdict; with `--matrix` the table of all faults."""

from __future__ import annotations

import argparse
import random
from pathlib import Path

from orch.cli._parts import Subparsers, add_json, command, print_json, print_table
from orch.cli._progress import Progress

EXAMPLE = """\
orch torture --backend redis --seconds 60
  orch torture --backend sqlite --nemesis kill,pause,restart --workers 8 --seed 7
  orch torture --matrix                     # every fault against every store, as a table"""


def add_parser(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = command(
        subparsers,
        "torture",
        "run workers on a real store, kill, stop, cut off and starve them, and judge what came of it",
        EXAMPLE,
        _torture,
    )
    store = parser.add_argument_group("the store")
    store.add_argument("--url", help="a store to use; it must be empty, and is not harmed itself (default: its own)")
    store.add_argument("--backend", choices=("sqlite", "redis"), default="sqlite", help="of its own store")
    store.add_argument("--appendfsync", choices=("always", "everysec"), default="always", help="of its own Redis")
    store.add_argument("--synchronous", choices=("NORMAL", "FULL"), default="NORMAL", help="of its own SQLite file")
    store.add_argument("--replica", action="store_true", help="give its own Redis a replica and a Sentinel: fail-over")
    store.add_argument("--queue", metavar="MODULE:NAME", help="a factory (url, settings) of a queue to torture instead")
    parser.add_argument("--workers", type=int, default=8, metavar="N", help="worker processes (default: 8)")
    parser.add_argument("--concurrency", type=int, default=1, metavar="N", help="jobs at a time in each (default: 1)")
    parser.add_argument("--producers", type=int, default=2, metavar="N", help="processes that enqueue (default: 2)")
    parser.add_argument("--seconds", type=float, metavar="S", help="how long to strike (default: 60; a matrix: 6 each)")
    parser.add_argument(
        "--jobs-per-second", type=float, default=30.0, metavar="N", help="enqueued in all (default: 30)"
    )
    parser.add_argument("--lease", type=float, default=2.0, metavar="S", help="lease in seconds (default: 2)")
    parser.add_argument("--nemesis", metavar="F,F", help="faults to give (default: all that the store has)")
    parser.add_argument("--intensity", type=float, default=1.0, metavar="N", help="strike N times as often as usual")
    parser.add_argument("--seed", type=int, help="of the plan; printed, so that it can be given again")
    parser.add_argument("--limit", type=float, default=120.0, metavar="S", help="how long the last jobs may take")
    parser.add_argument("--out", type=Path, default=Path("orch-torture"), help="folder for the page and the histories")
    parser.add_argument("--matrix", action="store_true", help="every fault against every store, as a table")
    parser.add_argument("--backends", default="sqlite,redis", metavar="B,B", help="of the matrix (default: both)")
    add_json(parser)


def _torture(args: argparse.Namespace) -> int:
    from orch.rig import interruptible
    from orch.torture.plan import Plan
    from orch.torture.run import torture

    interruptible()
    seed = random.SystemRandom().randrange(1_000_000) if args.seed is None else args.seed
    progress = Progress()
    if args.matrix:
        return _matrix(args, seed, progress)
    plan = Plan(
        out=args.out,
        url=args.url,
        backend=args.backend,
        appendfsync=args.appendfsync,
        synchronous=args.synchronous,
        replica=args.replica,
        workers=args.workers,
        slots=args.concurrency,
        producers=args.producers,
        seconds=60.0 if args.seconds is None else args.seconds,
        jobs_per_second=args.jobs_per_second,
        nemesis=None if args.nemesis is None else _names(args.nemesis),
        intensity=args.intensity,
        seed=seed,
        lease_s=args.lease,
        limit_s=args.limit,
        queue=args.queue,
    )
    outcome = torture(plan, progress.say)
    progress.end()
    if args.json:
        print_json(outcome.to_dict())
    else:
        for finding in outcome.judgement.findings:
            print(f"{'✓' if finding.held else '✗ BROKEN'} {finding.promise:17} {finding.sentence} {finding.evidence}")
        if outcome.witness:
            print(f"\n{outcome.witness}\n")
        print(outcome.summary)
        if outcome.page is not None:
            print(f"Open {outcome.page.as_uri()}")
    return 0 if outcome.good else 1


def _matrix(args: argparse.Namespace, seed: int, progress: Progress) -> int:
    from orch.torture.matrix import SECONDS, matrix

    table = matrix(
        args.out,
        _names(args.backends),
        seconds=SECONDS if args.seconds is None else args.seconds,
        lease_s=args.lease,
        seed=seed,
        say=progress.say,
        faults=None if args.nemesis is None else _names(args.nemesis),
    )
    progress.end()
    if args.json:
        print_json(table.to_dict())
    else:
        print_table(*table.kill_table())
        print()
        print_table(*table.fault_table())
        print(f"\n{table.summary}")
    return 0 if table.good else 1


def _names(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for part in text.split(",") if (name := part.strip())))
