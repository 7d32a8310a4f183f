"""Puts the code of a mutant into the shipping module, function by function, for as long as it is judged.

What others imported from that module, and the classes that they made, thus have the fault too. Functions that are
remembered (`lru_cache`) forget what they know before and after.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

_PARTS = ("__code__", "__defaults__", "__kwdefaults__")


@contextmanager
def transplanted(shipping: types.ModuleType, mutant: types.ModuleType, forget: Callable[[], None]) -> Iterator[None]:
    """The functions of `shipping` do what those of `mutant` do; `forget` empties what others remember of them."""
    theirs = dict(functions_of(mutant))
    kept: list[tuple[types.FunctionType, tuple[Any, ...]]] = []
    added = [name for name in vars(mutant) if name not in vars(shipping)]
    _forget(shipping)
    forget()
    try:
        for name in added:  # what the operators need
            setattr(shipping, name, getattr(mutant, name))
        for name, ours in functions_of(shipping):
            other = theirs.get(name)
            if other is not None and ours.__code__ != other.__code__:
                kept.append((ours, tuple(getattr(ours, part) for part in _PARTS)))
                for part in _PARTS:
                    setattr(ours, part, getattr(other, part))
        yield
    finally:
        for ours, parts in kept:
            for part, value in zip(_PARTS, parts, strict=True):
                setattr(ours, part, value)
        for name in added:
            delattr(shipping, name)
        _forget(shipping)
        forget()


def functions_of(module: types.ModuleType) -> Iterator[tuple[str, types.FunctionType]]:
    """The functions and methods that a module defines, with their qualified names."""
    for owner in (module, *(item for item in vars(module).values() if isinstance(item, type))):
        if owner is not module and owner.__module__ != module.__name__:
            continue
        for item in list(vars(owner).values()):
            inner = getattr(item, "fget", None) or getattr(item, "__wrapped__", None) or getattr(item, "__func__", item)
            if not isinstance(inner, types.FunctionType) or inner.__module__ != module.__name__:
                continue
            if inner.__code__.co_filename != "<string>":  # not written by `dataclass`
                yield inner.__qualname__, inner


def _forget(module: types.ModuleType) -> None:
    for item in list(vars(module).values()):
        clear = getattr(item, "cache_clear", None)
        if clear is not None:
            clear()
