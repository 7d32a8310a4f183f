"""`orch check`: judge a recorded history, of one queue by one or many processes; prints the level and the witness."""

from __future__ import annotations

import argparse
from pathlib import Path

from orch.cli._parts import Subparsers, add_json, command, print_json

EXAMPLE = """\
orch check history.jsonl
  orch check members/*.ops.jsonl --lease 2 --json
  orch check theirs.jsonl --level L2 --tail --no-lease     # a queue that promises less"""

WITNESSES_MAX = 3


def add_parser(subparsers: Subparsers) -> None:
    """Add the command."""
    from orch.checker.verdict import LEVELS, Spec

    usual = Spec()
    parser = command(
        subparsers,
        "check",
        "judge recorded histories: which promises were kept, up to which level, and the witness if one was broken",
        EXAMPLE,
        _check,
    )
    parser.add_argument("history", nargs="+", type=Path, help="files of JSON lines, as a RecordingQueue writes them")
    parser.add_argument("--level", choices=list(LEVELS), default=usual.level, help="promised (default: %(default)s)")
    parser.add_argument("--lease", type=float, default=usual.lease_s, metavar="S", help="where an operation names none")
    parser.add_argument("--no-lease", action="store_true", help="nothing is known of leases: do not judge their times")
    parser.add_argument("--sweep", type=float, default=usual.sweep_s, metavar="S", help="beyond a lease (default: 2)")
    parser.add_argument("--max-crashes", type=int, default=usual.max_crashes, metavar="N", help="lost leases of a job")
    parser.add_argument("--unbounded", action="store_true", help="lost leases of a job are not bounded")
    parser.add_argument("--skew", type=float, default=usual.skew_s, metavar="S", help="of two clocks over a lease")
    parser.add_argument("--effect", type=float, metavar="S", help="an operation without an answer acts within so long")
    parser.add_argument("--tail", action="store_true", help="what returns goes to the tail, as in many other queues")
    parser.add_argument("--open-world", action="store_true", help="jobs may be older than the history")
    add_json(parser)


def _check(args: argparse.Namespace) -> int:
    from orch.checker import Spec, check, explain
    from orch.errors import InvalidInput
    from orch.history import History

    try:
        history = History.read(*args.history)
    except OSError as error:
        raise InvalidInput(f"cannot read {error.filename}: {error.strerror}") from None
    spec = Spec(
        level=args.level,
        lease_s=None if args.no_lease else args.lease,
        sweep_s=args.sweep,
        max_crashes=None if args.unbounded else args.max_crashes,
        skew_s=args.skew,
        effect_s=args.effect,
        keeps_ticket=not args.tail,
        open_world=args.open_world,
    )
    verdict = check(history, spec)
    if args.json:
        print_json(verdict.to_dict())
    else:
        for line in history.bad:
            print(f"{line.path}:{line.line}: {'cut off by a kill' if line.torn else line.reason}")
        for violation in verdict.violations[:WITNESSES_MAX]:
            print(f"{explain(violation, history)}\n")
        more = len(verdict.violations) - WITNESSES_MAX
        if more > 0:
            print(f"and {more} more violations; --json has them\n")
        said = {True: "valid", False: "invalid", None: "unknown: lines are missing, or there is nothing to judge"}
        counts = ", ".join(f"{n} {name}" for name, n in verdict.counts.items())
        print(f"{said[verdict.valid]}; {verdict.level or 'no level'} held; {counts}")
    return {True: 0, False: 1, None: 2}[verdict.valid]
