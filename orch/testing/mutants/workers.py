"""The worker's steps as a target: its mutants live in the worlds of the simulator, and meet the tests of the steps.

A world has nobody who reads what a worker says or writes down, and no worker that is to end by itself; these things
`tests/test_worker.py` holds, step by step. A run is one world, or the tests of one section of that file.
"""

from __future__ import annotations

import ast
import itertools
import types
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from orch.errors import InvalidInput
from orch.simulator.ordeal import FAULTS, Subject, dealt, play
from orch.testing.drivers.sim import dealt_world
from orch.testing.mutants.engine import Mutant, Target, module_of, python_mutants
from orch.testing.mutants.queues import scope
from orch.worker import logic

CROWDED = 40  # worlds in which much happens, before
DEALT = 140  # those of the `sim` driver: each size with each family of faults, twice
_TESTS = Path(logic.__file__).parents[2] / "tests" / "test_worker.py"


def _runs(module: types.ModuleType) -> Iterator[None]:
    """Worlds and sections in turns, while there are sections."""
    rounds = iter(sections_of(module))
    for world in _worlds(module):
        world()
        yield
        check = next(rounds, None)
        if check is not None:
            check()
            yield


def _worlds(module: types.ModuleType) -> Iterator[Callable[[], None]]:
    subject = Subject(logic=(module.work, module.keep_leases))

    def lives(ordeal: Any) -> None:
        broken = play(ordeal, subject).broken
        if broken is not None:
            raise broken

    for seed in range(CROWDED):
        faults = FAULTS if seed % 2 else ("outage", "stop", "request")
        yield lambda seed=seed, faults=faults: lives(dealt(seed, workers=3, jobs=12, faults=faults))  # type: ignore[misc]  # bound now
    for seed in range(DEALT):
        yield lambda seed=seed: lives(dealt_world(seed))  # type: ignore[misc]  # bound now


@cache
def _code() -> tuple[types.CodeType, tuple[int, ...]]:
    """The tests, and the lines at which their sections begin."""
    try:
        source = _TESTS.read_text(encoding="utf-8")
    except OSError as error:
        raise InvalidInput(f"the target worker needs a checkout with {_TESTS}: {error.strerror}") from None
    lines = source.splitlines()
    begins = tuple(number for number, line in enumerate(lines, 1) if line.startswith("# -- "))
    return compile(source, str(_TESTS), "exec"), begins


def sections_of(module: types.ModuleType) -> list[Callable[[], None]]:
    """The tests of each section, with the names of this module in place of those that ship."""
    code, begins = _code()
    names: dict[str, Any] = {"__name__": "test_worker"}
    exec(code, names)  # noqa: S102 - our own tests
    for name, value in list(names.items()):
        if not name.startswith("_") and vars(logic).get(name) is value:
            names[name] = getattr(module, name)
    found: list[list[Callable[[], None]]] = [[] for _ in begins]
    for name, value in names.items():
        if name.startswith("test_"):
            line = value.__code__.co_firstlineno
            found[sum(begin <= line for begin in begins) - 1] += cases_of(value)
    return [lambda cases=cases: _each(cases) for cases in found]  # type: ignore[misc]  # bound now


def _each(cases: list[Callable[[], None]]) -> None:
    for case in cases:
        case()


def cases_of(test: Callable[..., None]) -> list[Callable[[], None]]:
    """A test with each combination of its parameters."""
    choices: list[list[dict[str, Any]]] = []
    for mark in getattr(test, "pytestmark", ()):
        if mark.name == "parametrize":
            names, rows = mark.args
            keys = [name.strip() for name in names.split(",")] if isinstance(names, str) else list(names)
            choices.append([dict(zip(keys, row if len(keys) > 1 else [row], strict=True)) for row in rows])
    return [
        lambda chosen=chosen: test(**{name: value for one in chosen for name, value in one.items()})  # type: ignore[misc]  # bound now
        for chosen in itertools.product(*choices)
    ]


def _nothing(_: dict[str, Any]) -> None:
    pass


_OUT: tuple[tuple[str, str], ...] = ()
_LEFT: tuple[tuple[str, str], ...] = (
    (
        r"^self\.(now|outages|stop_at|claim_end|claim_at|report_at) = 0",
        "a first value: set before it is read, or any time before the first look",
    ),
    (r"^self\.(report_at|claim_at) = self\.claim_at = 0|^self\.claim_at = 0\.0", "the past stands for at once"),
    (r"^seconds = self\.now - \(self\.outage", "how long an outage was, in a message: tests/test_worker.py"),
    (r"^self\.outages = min", "when 2 ** n stops to grow, far over the cap"),
)


def _mutants() -> Iterator[Mutant]:
    source = Path(logic.__file__).read_text(encoding="utf-8")
    return python_mutants("worker", source, "logic.py", "orch.worker", *scope(_OUT, _LEFT), _nothing)


def _original() -> types.ModuleType:
    code = compile(ast.parse(Path(logic.__file__).read_text(encoding="utf-8")), "logic.py", "exec")
    return module_of(code, "logic.py", "orch.worker", _nothing)


WORKER = Target("worker", "orch/worker/logic.py", _mutants, _runs, _original, (*_OUT, *_LEFT))
