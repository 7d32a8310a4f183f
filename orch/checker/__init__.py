"""Judges histories: pure functions from what clients saw to the promise that was broken, with the witness.

Where to look: `judge` puts a verdict together from `lives` (one job's own operations: licences, budgets, fencing) and
`cover` (between jobs: order, priorities, empties, recovery). `fifo` and `fifo_numpy` judge plain FIFO queues of any
size; `monitor` judges a live run; `explain` prints a witness; `verdict` holds the values and the table of rules.
Nothing here knows a queue: only histories.
"""

from orch.checker.explain import explain
from orch.checker.fifo import Columns, check_fifo
from orch.checker.judge import check, first_bad_prefix
from orch.checker.monitor import Monitor
from orch.checker.verdict import LEVELS, NEVER, RULES, Level, Rule, Spec, Verdict, Violation

__all__ = [
    "LEVELS",
    "NEVER",
    "RULES",
    "Columns",
    "Level",
    "Monitor",
    "Rule",
    "Spec",
    "Verdict",
    "Violation",
    "check",
    "check_fifo",
    "explain",
    "first_bad_prefix",
]
