# ruff: noqa: SLF001 - what was remembered of the code with the fault must be forgotten
"""Puts a fault into shipping code for the time of a hunt: an attribute is replaced, and put back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from orch import dag, schedule


@contextmanager
def replaced(*changes: tuple[Any, str, Any]) -> Iterator[None]:
    """(owner, name, what stands there meanwhile) for each change; what was remembered is forgotten in the end."""
    kept = [(owner, name, vars(owner)[name]) for owner, name, _ in changes]
    caches = [schedule.next_tick, schedule._parsed, schedule._stretches, schedule._tick_text]
    try:
        for owner, name, value in changes:
            setattr(owner, name, value)
        yield
    finally:
        for owner, name, value in kept:
            setattr(owner, name, value)
        for cache in caches:
            cache.cache_clear()
        dag._cache.clear()
