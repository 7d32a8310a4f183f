"""Seeded bugs: real faults of real queues, each a few lines on top of shipping code; the measure of the machines.

Nothing in `orch` imports this package, and importing it loads no bug: `every()` does. Run all of them with
`python -m orch.testing.bugs` or `nox -s bugs`; a bug that is missed, or blamed on another promise, is a defect of the
machine that hunts it.
"""

from orch.testing.bugs.catalogue import HUNTERS, MODULES, Bug, Finding, every, hunter

__all__ = ["HUNTERS", "MODULES", "Bug", "Finding", "every", "hunter"]
