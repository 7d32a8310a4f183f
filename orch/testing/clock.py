"""A clock that moves only when it is told to."""

from __future__ import annotations


class FakeClock:
    """Epoch seconds that start at `start`; `advance(s)` moves them, back too when s is negative."""

    def __init__(self, start: float = 1_800_000_000.0) -> None:
        self.now = start

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        """Move the clock by so many seconds; it stays at whole microseconds."""
        self.now = round((self.now + seconds) * 1_000_000) / 1_000_000  # whole microseconds, however often
