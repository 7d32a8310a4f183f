"""`orch demo`: real workers, one killed, a verdict and a page; with other numbers the kill run."""

from __future__ import annotations

import argparse
import random
from pathlib import Path

from orch.cli._parts import Subparsers, add_json, command, print_json
from orch.cli._progress import Progress


def add_parser(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = command(
        subparsers,
        "demo",
        "run jobs on real workers, kill one of them with kill -9, and judge what came of it",
        "orch demo\n  orch demo --jobs 200 --kills 20 --url redis://localhost:6379/0",
        _demo,
    )
    parser.add_argument("--out", type=Path, default=Path("orch-demo"), help="folder for the page and the logs")
    parser.add_argument("--jobs", type=int, default=24, help="jobs to enqueue (default 24)")
    parser.add_argument("--workers", type=int, default=3, help="worker processes (default 3)")
    parser.add_argument("--concurrency", type=int, default=1, help="jobs at a time in each (default 1)")
    parser.add_argument(
        "--kills", type=int, default=1, help="how often a worker that holds a job is killed (default 1)"
    )
    parser.add_argument("--lease", type=float, default=2.0, metavar="S", help="lease in seconds (default 2)")
    parser.add_argument("--limit", type=float, default=300.0, metavar="S", help="give up after so many seconds")
    parser.add_argument("--seed", type=int, help="of the plan; printed, so that it can be given again")
    parser.add_argument("--url", help="a queue to use instead of a SQLite file in the folder")
    add_json(parser)


def _demo(args: argparse.Namespace) -> int:
    from orch.demo import Plan, run
    from orch.rig import interruptible

    interruptible()
    seed = random.SystemRandom().randrange(1_000_000) if args.seed is None else args.seed
    plan = Plan(
        out=args.out,
        url=args.url,
        jobs=args.jobs,
        workers=args.workers,
        concurrency=args.concurrency,
        kills=args.kills,
        lease_s=args.lease,
        seed=seed,
        limit_s=args.limit,
    )
    progress = Progress()
    outcome = run(plan, progress.say)
    progress.end()
    if args.json:
        print_json({"seed": seed, **outcome.to_dict()})
    else:
        for finding in outcome.judgement.findings:
            print(f"{'✓' if finding.held else '✗ BROKEN'} {finding.promise:17} {finding.sentence} {finding.evidence}")
        judgement = outcome.judgement
        print(
            f"{judgement.enqueued} enqueued, {judgement.finished} finished, {judgement.redelivered} redelivered, "
            f"{len(judgement.lost)} lost; {outcome.seconds:.1f} s, seed {seed}"
        )
        print(f"Open {outcome.page.as_uri()}")
    return 0 if outcome.judgement.good else 1
