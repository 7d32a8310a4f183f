"""`python -m orch.testing.mutants [TARGET ...] [--json]`: how many mutants are killed, after how many runs.

A whole target takes some minutes. In parts, on as many processors or at as many times as you like:
`python -m orch.testing.mutants sqlite --part 1/4 --json > 1.json`, and so on to 4/4, and then
`python -m orch.testing.mutants --join 1.json 2.json 3.json 4.json` for the figures of the whole.

Exits 1 if less than 95 % of a target's mutants are killed, if a survivor is not declared equivalent, if more than 3 %
are, or if the median of the runs to kill is above 3; 2 for a target that does not exist,
or for parts that make no whole.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from orch.errors import InvalidInput
from orch.testing.mutants.engine import KILLED_MIN, Mutant, Score, joined, score
from orch.testing.mutants.equivalent import EQUIVALENT
from orch.testing.mutants.targets import TARGETS, target


def main(arguments: Sequence[str] | None = None) -> int:
    """Judge the targets that are named, or all."""
    parser = argparse.ArgumentParser(
        prog="python -m orch.testing.mutants",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"{', '.join(TARGETS)} (default: all)")
    parser.add_argument("--part", default="1/1", metavar="K/N", help="only each n-th mutant, from the k-th on")
    parser.add_argument("--join", nargs="+", metavar="FILE", help="judge nothing; join what --part with --json printed")
    parser.add_argument("--scope", action="store_true", help="show what is not mutated, and where it is tested")
    parser.add_argument("--verbose", action="store_true", help="show each mutant and the run that killed it")
    parser.add_argument("--json", action="store_true", help="print JSON")
    args = parser.parse_args(arguments)
    part, _, parts = args.part.partition("/")
    if not (part.isdigit() and parts.isdigit() and 1 <= int(part) <= int(parts)):
        parser.error(f"--part must be K/N with K from 1 to N, got {args.part}")
    if args.join:
        try:
            return _said(joined([one for name in args.join for one in _read(name)]), as_json=args.json)
        except (InvalidInput, OSError, ValueError, KeyError, TypeError) as error:
            parser.error(f"--join takes the files that --part with --json printed: {error}")
    try:
        chosen = [target(name) for name in args.targets or TARGETS]
    except InvalidInput as error:
        parser.error(str(error))
    scores: list[Score] = []
    for one in chosen:
        if args.scope:
            print(f"{one.name}: {one.file} but for", *(f"  {what}: {why}" for what, why in one.out_of_scope), sep="\n")
            continue
        result = score(
            one,
            EQUIVALENT.get(one.name, ()),
            part=(int(part), int(parts)),
            tell=_tell if args.verbose else None,
        )
        scores.append(result)
        if not args.json:
            print(text(result), flush=True)
    if args.json:
        return _said(scores, as_json=args.json)
    return 0 if all(result.good for result in scores) else 1


def _said(scores: Sequence[Score], *, as_json: bool) -> int:
    """Print scores; returns the exit code."""
    if as_json:
        print(json.dumps([result.to_dict() for result in scores], indent=2))
    else:
        for result in scores:
            print(text(result))
    return 0 if all(result.good for result in scores) else 1


def _read(name: str) -> list[dict[str, Any]]:
    """The scores that a file has."""
    found: list[dict[str, Any]] = json.loads(Path(name).read_text(encoding="utf-8"))
    return found


def text(result: Score) -> str:
    """A score as lines: the figures, then each survivor."""
    figures = (
        f"{result.target:9} {result.mutants} mutants, {result.killed} killed ({result.share:.1%}), "
        f"{len(result.equivalent)} equivalent, {len(result.survivors)} survived; "
        f"runs to kill: median {result.median:g}, p95 {result.p95}, most {max(result.runs, default=0)}; "
        f"{result.mutants / result.cpu_s if result.cpu_s else 0:.1f} mutants per CPU-second"
        f"{f', {result.hung} looped' if result.hung else ''}"
    )
    lines = [figures, *(f"  SURVIVED {mutant.diff}" for mutant in result.survivors)]
    if result.part == (1, 1):
        lines += [f"  declared equivalent, and is not: {pattern}" for pattern in result.unused]
    if result.share < KILLED_MIN:
        lines.append(f"  less than {KILLED_MIN:.0%} killed")
    return "\n".join(lines)


def _tell(mutant: Mutant, took: int | None) -> None:
    print(f"{'survived' if took is None else f'run {took}':10} {mutant.key}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
