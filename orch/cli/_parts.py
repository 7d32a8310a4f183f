"""What the commands share: a parser with an example, the queue of `--url`, tables and JSON on stdout."""

from __future__ import annotations

import argparse
import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orch.queue import PersistentQueue

Subparsers = Any  # argparse's own type is private


def command(
    subparsers: Subparsers, name: str, text: str, example: str, run: Callable[[argparse.Namespace], int] | None = None
) -> argparse.ArgumentParser:
    """A parser whose help is a sentence and an example; `run` is called with what it parsed."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        name,
        help=text,
        description=text[0].upper() + text[1:] + ".",
        epilog=f"example:\n  {example}\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    if run is not None:
        parser.set_defaults(run=run)
    return parser


def add_url(parser: argparse.ArgumentParser) -> None:
    """`--url`, which beats the environment."""
    parser.add_argument("--url", help="the queue, as sqlite:///orch.db or redis://host (default: the environment's)")


def add_json(parser: argparse.ArgumentParser) -> None:
    """`--json`, for programs."""
    parser.add_argument("--json", action="store_true", help="print JSON")


@contextlib.contextmanager
def opened(args: argparse.Namespace) -> Iterator[PersistentQueue]:
    """The queue that the command is about, closed afterwards; never `memory://`, see `open_shared_queue`."""
    from orch.backends import open_shared_queue

    queue = open_shared_queue(args.url)
    try:
        yield queue
    finally:
        queue.close()


def print_json(value: object) -> None:
    """A value as readable JSON."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def print_table(titles: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Columns as wide as what they hold; None is a dash, and a control character cannot break a line."""
    table = [[*titles], *([_cell(value) for value in row] for row in rows)]
    widths = [max(len(row[i]) for row in table) for i in range(len(titles))]
    for row in table:
        print("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())


def _cell(value: object) -> str:
    if value is None or value == "":
        return "-"
    return "".join(char if char.isprintable() else " " for char in str(value))
