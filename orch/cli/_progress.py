"""Progress on stderr: on a terminal a bar stays in its place, elsewhere every line is a new one."""

from __future__ import annotations

import sys
import time


class Progress:
    """`say` prints a line of progress; one with a bar replaces the bar before it on a terminal."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._bar = False
        self._said = 0.0

    def say(self, text: str) -> None:
        """Print a line; elsewhere than on a terminal at most one bar a second."""
        bar = " s [" in text
        if self._terminal:
            end = "" if bar else "\n"
            print(f"\r\x1b[K{text}", end=end, file=sys.stderr, flush=True)
            self._bar = bar
        elif not bar or time.monotonic() - self._said >= 1.0:
            self._said = time.monotonic()
            print(text, file=sys.stderr, flush=True)

    def end(self) -> None:
        """Leave the bar where it is."""
        if self._bar:
            print(file=sys.stderr, flush=True)
