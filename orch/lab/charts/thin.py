"""Fewer points that look the same: a chart has so many columns, and more points than those cost time and hide nothing.

Of each column the first, the last, the lowest and the highest value are kept, so no extreme is lost.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeVar

import numpy as np

from orch.lab.charts.style import COLUMNS

Key = TypeVar("Key")


def thin_steps(
    times: Sequence[float], values: Sequence[float], columns: int = COLUMNS
) -> tuple[list[float], list[float]]:
    """At most four points for each column, in their order; `times` must not go down."""
    if len(times) <= 4 * columns:
        return list(times), list(values)
    x, y = np.asarray(times, dtype=float), np.asarray(values, dtype=float)
    span = float(x[-1] - x[0]) or 1.0
    column = np.minimum(((x - x[0]) * (columns / span)).astype(int), columns - 1)
    first = np.flatnonzero(np.concatenate(([True], column[1:] != column[:-1])))
    last = np.append(first[1:], len(x)) - 1
    by_value = np.lexsort((y, column))  # within each column from the lowest to the highest
    kept = np.unique(np.concatenate((first, last, by_value[first], by_value[last])))
    return x[kept].tolist(), y[kept].tolist()


class Bar(NamedTuple):
    """A stretch of time in a row of a chart, of one kind, and how many of them it stands for."""

    row: int
    start: float
    end: float
    kind: str
    text: str = ""
    number: int = 1


def thin_bars(bars: Iterable[Bar], span: float, columns: int = COLUMNS) -> list[Bar]:
    """Bars that are narrower than a column become one for each row, column and kind; the others stay as they are."""
    width = span / columns if span > 0 else 0.0
    wide: list[Bar] = []
    narrow: dict[tuple[int, int, str], Bar] = {}
    for bar in bars:
        if bar.end - bar.start >= width:
            wide.append(bar)
            continue
        key = bar.row, int(bar.start / width), bar.kind
        there = narrow.get(key)
        if there is None:
            narrow[key] = bar
        else:
            start, end = min(there.start, bar.start), max(there.end, bar.end)
            narrow[key] = there._replace(start=start, end=end, number=there.number + bar.number)
    return wide + list(narrow.values())


def thin_points(points: Iterable[tuple[float, Key]], span: float, columns: int = COLUMNS) -> list[tuple[float, Key]]:
    """One point for each column and key."""
    width = span / columns if span > 0 else 1.0
    kept: dict[tuple[int, Key], tuple[float, Key]] = {}
    for at, key in points:
        kept.setdefault((int(at / width), key), (at, key))
    return list(kept.values())
