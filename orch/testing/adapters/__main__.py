"""`python -m orch.testing.adapters levels|kills [LIBRARY ...]`: what other queues keep, measured here and now."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from orch.errors import OrchError
from orch.testing.adapters.base import NAMES, load
from orch.testing.adapters.kills import WHAT, cell


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print a line for each; exit code 0, or 2 for bad input or a library that is not installed."""
    parser = argparse.ArgumentParser(prog="python -m orch.testing.adapters", description=__doc__)
    parser.add_argument("table", choices=("levels", "kills"))
    parser.add_argument("libraries", nargs="*", metavar="LIBRARY", help=f"of {', '.join(NAMES)} (default: all)")
    parser.add_argument("--setting", help="only this one of a library's settings")
    parser.add_argument("--what", choices=WHAT, help="only this column of the kill matrix")
    parser.add_argument("--patience", type=float, default=120.0, metavar="S", help="how long a job may stay away")
    parser.add_argument("--operations", type=int, default=2_000, metavar="N", help="of the levels")
    parser.add_argument("--seed", type=int, default=0, help="of the levels")
    parser.add_argument("--json", action="store_true", help="one object a line")
    options = parser.parse_args(argv)
    try:
        for library in options.libraries or NAMES:
            for setting in load(library).settings:
                if options.setting in (None, setting.name):
                    _measure(options, library, setting.name)
    except OrchError as error:
        print(f"orch: {error}", file=sys.stderr)
        return 2
    return 0


def _measure(options: argparse.Namespace, library: str, setting: str) -> None:
    with tempfile.TemporaryDirectory(prefix="orch-peer-") as folder:
        if options.table == "levels":
            from orch.testing.adapters.levels import level_of

            row: Any = level_of(library, setting, Path(folder), operations=options.operations, seed=options.seed)
            print(json.dumps(row.to_dict()) if options.json else row, flush=True)
            return
        for number, what in enumerate(WHAT):
            if options.what in (None, what):
                place = Path(folder) / str(number)
                place.mkdir()
                row = cell(library, setting, what, place, options.patience)
                said = f"{library} {row.version}, {row.setting}: {what}: {row}"
                print(json.dumps(row.to_dict()) if options.json else said, flush=True)


if __name__ == "__main__":
    sys.exit(main())
