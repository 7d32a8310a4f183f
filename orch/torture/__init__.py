"""Torture: real processes on a real store, a nemesis that hurts them, and a verdict on what came of it.

To read it: `plan` says what happens when (a seed gives one plan); `store`, `proxy`, `forks` and `member` are what is
hurt: the store, the wire to it, and the processes; `nemesis` does the hurting, `world` runs it all and ends it all;
`judge` holds what was seen against the contract, `matrix` prints it as a table, `report` as a page.

What runs jobs never knows that it is watched: members run the shipping worker, and histories are written by a queue
that wraps theirs. A crash at a named step is made by wrapping the worker's own generators.
"""

from __future__ import annotations

from orch.torture.plan import FAULTS, Crash, Plan, Strike, strikes

__all__ = ["FAULTS", "Crash", "Plan", "Strike", "strikes"]
