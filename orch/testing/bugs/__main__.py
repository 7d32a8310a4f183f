"""`python -m orch.testing.bugs`: hunt the seeded bugs and print the score; exit 1 if one is missed or misblamed."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from statistics import median
from typing import Any

from orch.testing.bugs.catalogue import HUNTERS, Bug, Finding, every, hunter

BUDGET_S = {"fast": 10.0, "hypothesis": 60.0}  # CPU seconds for a bug
DRIVERS = """drivers:
  fast        the swarms of our own drivers, on every level
  hypothesis  the same machines driven by Hypothesis, on the levels queue, scheduler, dag and logs; its failures are
              made small by our own delta debugging. The worlds of sim and torture take their choices from a tape or
              from real processes: there is nothing in them for Hypothesis to choose
"""
SLOW = ("torture",)  # levels that start processes: hunted when they, or their bugs, are asked for


def main(argv: Sequence[str] | None = None) -> int:
    """Hunt, print, and answer with the exit code: 0 all found, 1 not all, 2 no such bug or level."""
    parser = argparse.ArgumentParser(
        prog="python -m orch.testing.bugs",
        description=__doc__,
        epilog=DRIVERS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these bugs")
    parser.add_argument("--driver", choices=sorted(BUDGET_S), default="fast", help="who hunts them (default: fast)")
    parser.add_argument("--level", choices=sorted(HUNTERS), help="only the bugs of one machine")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--budget-s", type=float, help="CPU seconds for each bug (default: 10; with hypothesis 60)")
    parser.add_argument("--json", action="store_true", help="one object a line")
    parser.add_argument("--programs", action="store_true", help="print the shortest program of each, too")
    options = parser.parse_args(argv)

    bugs = [bug for bug in every(options.level) if not options.names or bug.name in options.names]
    if not options.names and options.level is None:
        bugs = [bug for bug in bugs if bug.level not in SLOW]
    unknown = sorted(set(options.names) - {bug.name for bug in bugs})
    if unknown or not bugs:
        print(f"no such bug: {', '.join(unknown) or 'none of this level'}", file=sys.stderr)
        return 2
    budget_s = options.budget_s or BUDGET_S[options.driver]
    hunts = {level: hunter(level, options.driver) for level in {bug.level for bug in bugs}}
    beyond = sorted(level for level, hunt in hunts.items() if hunt is None)
    if beyond and (options.names or options.level):
        print(f"the driver {options.driver} does not hunt bugs of level {', '.join(beyond)}", file=sys.stderr)
        return 2
    rows = []
    for bug in bugs:
        hunt = hunts[bug.level]
        if hunt is None:
            continue
        found = hunt(bug, seed=options.seed, budget_s=budget_s)
        rows.append((bug, found))
        print(json.dumps(_record(bug, found)) if options.json else _line(bug, found), flush=True)
        if options.programs and found is not None and not options.json:
            print(found.program)
    if not options.json:
        print(_score(rows))
    return 0 if all(is_right(bug, found) for bug, found in rows) else 1


def is_right(bug: Bug, found: Finding | None) -> bool:
    """Was it found, and blamed on a promise that it breaks?"""
    return found is not None and found.promise in bug.promises


def _line(bug: Bug, found: Finding | None) -> str:
    name = f"{bug.level:9} {bug.name:44} {bug.source:30} "
    if found is None:
        return f"{name}{bug.promises[0]:4} MISSED"
    verdict = "found" if is_right(bug, found) else f"MISBLAMED, it breaks {' or '.join(bug.promises)}"
    return (
        f"{name}{found.promise:4} {verdict}  {found.found_s * 1000:8.1f} ms"
        f"  shrunk {found.shrink_s * 1000:7.1f} ms  {found.steps} steps"
    )


def _record(bug: Bug, found: Finding | None) -> dict[str, Any]:
    return {
        "name": bug.name,
        "level": bug.level,
        "source": bug.source,
        "promises": list(bug.promises),
        "right": is_right(bug, found),
        "finding": None if found is None else asdict(found),
    }


def _score(rows: Sequence[tuple[Bug, Finding | None]]) -> str:
    found = [finding for _, finding in rows if finding is not None]
    right = sum(is_right(bug, finding) for bug, finding in rows)
    if not found:
        return f"{len(rows)} bugs, 0 found"
    first = sorted(finding.found_s for finding in found)
    shrink = sorted(finding.shrink_s for finding in found)
    return (
        f"{len(rows)} bugs, {len(found)} found, {right} blamed on a right promise; first failure after "
        f"{median(first) * 1000:.1f} ms CPU (median), {first[len(first) * 19 // 20] * 1000:.0f} ms (95 %), "
        f"{first[-1] * 1000:.0f} ms at most; "
        f"shrunk in {median(shrink) * 1000:.1f} ms (median), {shrink[-1] * 1000:.0f} ms at most; "
        f"{median(finding.steps for finding in found):g} steps (median)"
    )


if __name__ == "__main__":
    sys.exit(main())
