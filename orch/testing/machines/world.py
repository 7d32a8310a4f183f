"""What a machine above the queue is: a world, acts on it as data, and how a run of acts is told.

A `World` runs shipping code and judges it after each act; its `end` judges what only a whole run shows. An `Act` binds
small numbers to arguments that make sense now, so any list of acts is a run: what cannot be done is left out. A run
is told as Python that can be pasted: the world is made, the acts are calls of its methods.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Self

from orch.testing.trace import Trace

Args = tuple[int, ...]
Step = tuple["Act", Args]


class Broken(AssertionError):
    """A promise of the contract was not kept: its id, and what happened instead."""

    def __init__(self, promise: str, sentence: str) -> None:
        super().__init__(f"{promise}: {sentence}")
        self.promise = promise
        self.sentence = sentence


class World:
    """Shipping code under attack. The methods that acts name raise `Broken`; its warnings are not shown."""

    def __init__(self) -> None:
        self._shown: int | None = logging.root.manager.disable
        logging.disable(logging.CRITICAL)

    def end(self) -> None:
        """The judgement of what only a whole run shows. Raises `Broken`."""

    def close(self) -> None:
        """Give back what the world holds, and put back what it replaced. Closing twice is silent."""
        if self._shown is not None:
            logging.disable(self._shown)
            self._shown = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@dataclass(frozen=True, slots=True, eq=False)
class Act:
    """One thing that can be done to a world, as data.

    `domains` says how many values each argument has, at most 36; 0 is the simplest, so that lowering simplifies.
    `bind(world, *args)` gives the arguments for the world's method `name`, or None when it cannot be done now.
    `promise` is the one that an unexpected exception breaks.
    """

    name: str
    code: str  # one letter, in tokens
    domains: Args
    bind: Callable[..., tuple[Any, ...] | None]
    promise: str
    weight: int = 4


@dataclass(frozen=True, slots=True)
class Machine:
    """The acts on a world. `form` begins its tokens.

    Each run has acts of one of the `themes` (texts of codes), those in `always` surely; a theme may be named twice.
    """

    level: str
    form: str
    world: Callable[[], World]
    acts: tuple[Act, ...]
    always: str
    themes: tuple[str, ...]
    length: int = 30  # acts of a run, before its end

    @property
    def by_code(self) -> dict[str, Act]:
        """The acts by their letters."""
        return {act.code: act for act in self.acts}

    def trace(self, steps: Iterable[Step], seed: int = 0) -> Trace:
        """Steps as a value with a token."""
        return Trace(tuple((act.code, args) for act, args in steps), seed, form=self.form)

    def parse(self, token: str) -> list[Step]:
        """The steps of a token. Raises `InvalidInput`."""
        by_code = self.by_code
        trace = Trace.parse(token, {code: len(act.domains) for code, act in by_code.items()}, self.form)
        return [(by_code[code], args) for code, args in trace.steps]


def perform(world: World, act: Act, args: Args) -> str | None:
    """Do it, if it can be done now: the call as text, or None. Raises `Broken`."""
    values = act.bind(world, *args)
    if values is None:
        return None
    try:
        getattr(world, act.name)(*values)
    except Broken:
        raise
    except Exception as error:
        raise Broken(act.promise, f"{act.name} raised {type(error).__name__}: {error}") from error
    return call_text(act, values)


def call_text(act: Act, values: Sequence[Any]) -> str:
    """The act as a statement."""
    return f"world.{act.name}({', '.join(map(repr, values))})"


def program_of(machine: Machine, steps: Iterable[Step], broken: Broken, around: str = "") -> str:
    """The steps as a program that raises `broken`; `around` names a context manager that brings a fault, to import."""
    kind: Any = machine.world
    lines = []
    with machine.world() as world:
        for act, args in steps:
            values = act.bind(world, *args)
            if values is None:
                continue
            lines.append(call_text(act, values))
            try:
                getattr(world, act.name)(*values)
            except Exception as error:
                del error  # the last line; it is told below
                break
        else:
            lines.append("world.end()")
    lines[-1] += f"  # {broken}" if len(str(broken)) < 160 else f"  # {str(broken)[:159]}…"
    indent = "    " * (2 if around else 1)
    head = [f"from {kind.__module__} import {kind.__name__}"]
    if around:
        module, _, name = around.rpartition(".")
        head = [f"from {module} import {name}", *head, "", f"with {name}():", f"    with {kind.__name__}() as world:"]
    else:
        head += ["", f"with {kind.__name__}() as world:"]
    return "\n".join([*head, *(indent + line for line in lines)]) + "\n"
