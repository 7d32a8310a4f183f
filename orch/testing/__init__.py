"""The kit: what verifies a queue, ours or somebody else's."""

from orch.testing.clock import FakeClock

__all__ = ["FakeClock"]
