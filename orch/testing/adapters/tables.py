"""What was measured of other people's queues, as two tables: of levels, of kills; from rows as `--json` prints them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from orch.testing.adapters.kills import WHAT

Row = Mapping[str, Any]
Table = tuple[list[str], list[list[str]]]

TITLES = {
    "take": "killed in take",
    "run": "killed in run",
    "idle outage": "4 s outage, idle",
    "busy outage": "4 s outage, mid-job",
    "job ends in outage": "job ends in outage",
}


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a file of JSON lines."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def level_table(rows: Iterable[Row]) -> Table:
    """Library, setting, the level that held, for how long, and what broke the next one."""
    found = []
    for row in rows:
        held = f"held for {row['operations']} operations, {row['crashes']} crashes"
        broken = f"{row['rule']} ({row['crashes']} crashes)" if row["rule"] else held
        found.append([_name(row), row["setting"], row["level"] or "none", broken, row["documented"]])
    return ["library", "setting", "level", "witness, or how long it held", "documented"], found


def kill_table(rows: Sequence[Row]) -> Table:
    """Library and setting, and a column for each thing done; several measurements of one cell stand side by side."""
    cells: dict[tuple[str, str], dict[str, list[str]]] = {}
    for row in rows:
        cells.setdefault((_name(row), row["setting"]), {}).setdefault(row["what"], []).append(row["said"])
    found = [
        [name, setting, *(", ".join(sorted(said.get(what, ()), key=_number)) for what in WHAT)]
        for (name, setting), said in cells.items()
    ]
    return ["library", "setting", *(TITLES[what] for what in WHAT)], found


def as_text(table: Table) -> str:
    """A table as aligned text."""
    titles, rows = table
    widths = [max(len(row[at]) for row in (titles, *rows)) for at in range(len(titles))]
    lines = [
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        for row in (titles, *rows)
    ]
    return "\n".join(lines)


def _name(row: Row) -> str:
    return f"{row['library']} {row['version']}"


def _number(said: str) -> tuple[float, str]:
    try:
        return float(said), said
    except ValueError:
        return float("inf"), said
