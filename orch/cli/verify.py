"""`orch verify`: attack anybody's queue; exit 0 if it keeps the contract, 1 with the shortest program if not."""

from __future__ import annotations

import argparse
from pathlib import Path

from orch.cli._parts import Subparsers, add_json, command, print_json

EXAMPLE = """\
orch verify mypkg.queues:make_queue
  orch verify queues:make_queue --driver=hypothesis --examples 500 --seed 7
  orch verify queues:make_queue --seconds 60 --json
  orch verify queues:make_queue --level L2        # a queue that promises less

make_queue(clock) returns an empty queue whose time is the clock, a function that returns epoch seconds. The current
directory is searched first. Exit codes: 0 no promise broken, 1 one is (the program shows it), 2 there is no queue to
verify: it cannot be imported or made, lacks a verb, or hangs."""


def add_parser(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = command(
        subparsers,
        "verify",
        "attack a queue, yours or ours: which promise it breaks, with the shortest program that shows it",
        EXAMPLE,
        _verify,
    )
    parser.add_argument("queue", metavar="MODULE:FACTORY", help="a function of a clock that returns an empty queue")
    parser.add_argument("--driver", choices=("fast", "hypothesis"), default="fast", help="default: %(default)s")
    parser.add_argument(
        "--examples", type=int, default=200, metavar="N", help="runs of Hypothesis, or tens of traces (default: 200)"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="default: %(default)s")
    parser.add_argument("--seconds", type=float, metavar="S", help="go on for so long, instead of --examples")
    parser.add_argument("--capabilities", metavar="A,B", help="what the queue can do (default: it is found out)")
    parser.add_argument("--level", choices=("L1", "L2", "L3", "L4"), help="ask for this level only")
    parser.add_argument("--replay", metavar="TOKEN", help="repeat the trace of a report")
    parser.add_argument(
        "--timeout", type=float, default=10.0, metavar="S", help="how long one step may take (default: 10)"
    )
    add_json(parser)


def _verify(args: argparse.Namespace) -> int:
    from orch.testing.watchdog import Order, run

    names = None
    if args.capabilities is not None:
        names = tuple(name for part in args.capabilities.split(",") if (name := part.strip()))
    told = run(
        Order(
            args.queue,
            driver=args.driver,
            examples=args.examples,
            seed=args.seed,
            seconds=args.seconds,
            capabilities=names,
            replay=args.replay,
            level=args.level,
            timeout_s=args.timeout,
            folder=str(Path.cwd()),
        )
    )
    code: int = told.pop("exit")
    text = told.pop("text").rstrip("\n")
    if args.json:
        print_json(told)
    elif code == 2:
        from orch.errors import InvalidInput

        raise InvalidInput(text)
    else:
        print(text)
    return code
