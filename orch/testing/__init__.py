"""The kit: what verifies a queue, ours or somebody else's.

Nothing here is loaded before it is asked for: importing this package needs neither pytest nor Hypothesis.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from orch.testing.clock import FakeClock

if TYPE_CHECKING:
    from orch.testing.contract import QueueContract
    from orch.testing.kit import Verified, verify
    from orch.testing.machine import QueueMachine
    from orch.testing.report import ContractViolation
    from orch.testing.trace import Trace

__all__ = ["ContractViolation", "FakeClock", "QueueContract", "QueueMachine", "Trace", "Verified", "verify"]

_LAZY = {
    "ContractViolation": "orch.testing.report",
    "QueueContract": "orch.testing.contract",
    "QueueMachine": "orch.testing.machine",
    "Trace": "orch.testing.trace",
    "Verified": "orch.testing.kit",
    "verify": "orch.testing.kit",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = _LAZY[name]
    if name == "QueueContract" and home not in sys.modules and "pytest" in sys.modules:
        import pytest

        pytest.register_assert_rewrite(home)  # so that a failing sentence shows the values
    return getattr(import_module(home), name)
