"""`orch schedule`: check schedule files, see what is due next, be a scheduler."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from orch.cli._parts import Subparsers, add_json, command, print_json, print_table

_DIR = "configs/schedules"


def add_parser(subparsers: Subparsers) -> None:
    """Add the command and its own commands."""
    from orch.scheduler.command import EXAMPLE, add_arguments

    parser = command(subparsers, "schedule", "check schedules, or be a scheduler", "orch schedule next --count 3")
    inner = parser.add_subparsers(metavar="WHAT", required=True)
    check = command(
        inner,
        "check",
        "tell everything that is wrong with the schedule files, with file, line and key",
        "orch schedule check --dir configs/schedules",
        _check,
    )
    upcoming = command(
        inner, "next", "print the next ticks of each enabled schedule", "orch schedule next --count 3", _next
    )
    upcoming.add_argument("--id", metavar="ID", help="only this schedule")
    upcoming.add_argument("--count", type=int, default=1, metavar="N", help="ticks of each schedule (default: 1)")
    upcoming.add_argument("--after", metavar="TIME", help="an ISO time with a zone (default: now)")
    for each in (check, upcoming):
        each.add_argument("--dir", default=_DIR, help="folder of the schedules (default: %(default)s)")
        add_json(each)
        each.add_argument("--url", help=argparse.SUPPRESS)  # accepted everywhere; files need no queue
    run = command(inner, "run", "enqueue jobs when they are due, and run them", "", _run)
    run.epilog = EXAMPLE.replace("python -m orch.scheduler", "orch schedule run")
    add_arguments(run)


def _check(args: argparse.Namespace) -> int:
    from orch.schedule import check_schedules

    schedules, faults = check_schedules(args.dir)
    if args.json:
        print_json({"schedules": [schedule.row() for schedule in schedules], "faults": [asdict(f) for f in faults]})
    else:
        for fault in faults:
            print(fault)
        print(f"{len(schedules)} schedule(s) in {args.dir}, {len(faults)} fault(s)")
    return 1 if faults else 0


def _next(args: argparse.Namespace) -> int:
    import sys
    from datetime import datetime
    from itertools import islice

    from orch import checks
    from orch.clock import iso, process_clock, to_us
    from orch.errors import InvalidInput
    from orch.schedule import check_schedules, upcoming

    count = checks.check_int(args.count, "--count", 1, 10_000)
    after = iso(to_us(process_clock()) if args.after is None else checks.check_instant(args.after, "--after"))
    schedules, faults = check_schedules(args.dir)
    if args.id is not None:
        schedules = [schedule for schedule in schedules if schedule.id == args.id]
        if not schedules:
            raise InvalidInput(f"no good schedule {args.id!r} in {args.dir}; `orch schedule check` tells what is wrong")
    rows = [
        (tick, schedule)
        for schedule in schedules
        if schedule.enabled
        for tick in islice(upcoming(schedule, datetime.fromisoformat(after)), count)
    ]
    rows.sort(key=lambda row: (row[0], row[1].id))
    if args.json:
        print_json(
            [
                {
                    "schedule_id": s.id,
                    "tick": tick.isoformat(),
                    "local": tick.astimezone(s.zone).isoformat(),
                    "dag": s.dag,
                }
                for tick, s in rows
            ]
        )
    else:
        print_table(
            ("TICK (UTC)", "LOCAL", "ZONE", "SCHEDULE", "CRON", "DAG"),
            [
                (f"{tick:%Y-%m-%d %H:%M}", f"{tick.astimezone(s.zone):%a %H:%M}", s.timezone, s.id, s.cron, s.dag)
                for tick, s in rows
            ],
        )
    if faults:
        print(f"{len(faults)} fault(s) left out; `orch schedule check` tells them", file=sys.stderr)
    return 0


def _run(args: argparse.Namespace) -> int:
    from orch.scheduler.command import run
    from orch.worker.command import leave

    return leave(run(args))
