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

__all__ = ["FakeClock", "QueueContract"]

_LAZY = {
    "QueueContract": "orch.testing.contract",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = _LAZY[name]
    if name == "QueueContract" and home not in sys.modules and "pytest" in sys.modules:
        import pytest

        pytest.register_assert_rewrite(home)  # so that a failing sentence shows the values
    return getattr(import_module(home), name)
