"""Schedules and DAGs as targets: their mutants are put into the shipping modules and judged by the machines above the
queue."""

from __future__ import annotations

import ast
import types
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from orch import dag, schedule
from orch.testing.machines import dag as dag_machine
from orch.testing.machines import driver
from orch.testing.machines import scheduler as scheduler_machine
from orch.testing.machines.world import Machine
from orch.testing.mutants.engine import Mutant, Target, module_of, python_mutants
from orch.testing.mutants.queues import scope
from orch.testing.mutants.transplant import transplanted

DAG_RUNS = 120
SCHEDULE_RUNS = 36  # some are a year of minutes by the oracle


def runs_of(machine: Machine, runs: int) -> Iterator[None]:
    """Runs of a machine; its themes take turns. Raises the `Broken` of the one that breaks a promise."""
    for number in range(runs):
        theme = machine.themes[number % len(machine.themes)]
        failure = driver.explore(replace(machine, themes=(theme,)), runs=1, seed=number, shrink=False).failure
        if failure is not None:
            raise failure.broken
        yield


def _nothing(_: dict[str, Any]) -> None:
    pass


def target_of(
    name: str,
    shipping: types.ModuleType,
    runs: Callable[[], Iterator[None]],
    forget: Callable[[], None],
    out: tuple[tuple[str, str], ...],
    left: tuple[tuple[str, str], ...],
) -> Target:
    """A module whose mutants are judged in its place."""
    path = Path(str(shipping.__file__))
    package, _, last = shipping.__name__.rpartition(".")

    def mutants() -> Iterator[Mutant]:
        source = path.read_text(encoding="utf-8")
        return python_mutants(name, source, f"{last}.py", package, *scope(out, left), _nothing)

    def judged(module: types.ModuleType) -> Iterator[None]:
        with transplanted(shipping, module, forget):
            yield from runs()

    def original() -> types.ModuleType:
        code = compile(ast.parse(path.read_text(encoding="utf-8")), f"{last}.py", "exec")
        return module_of(code, f"{last}.py", package, _nothing)

    return Target(name, shipping.__name__.replace(".", "/") + ".py", mutants, judged, original, (*out, *left))


#: Why these are left alone is told by `--scope`.
_DAG_LEFT = (
    (r"^if task\.params:|^if len\(order\) < len", "a way that is only faster"),
    (r"_Draft\('', None", "what nothing can be read of: any nothing would do"),
    (r"^if name is None or reader\.faults", "asked twice: `_read` gives no DAG either where there are faults"),
    (r"did_you_mean|HINTS_MAX|^message \+= ", "hints in messages: tests/test_dag.py"),
    (r"^return \(found\.st_mtime_ns", "which stamps of a file change: tests/test_dag.py"),
)
_SCHEDULE_LEFT = (
    (r"datetime\(2000, 1, 1\)", "any day would do: only the fields are used"),
    (r"_SEARCH|28 \* 366|^first = date", "how far a search goes that finds nothing: cost only"),
    (r"^if end - start == _DAY|^if base >= high|\* _DAY > until", "a way that is only faster"),
    (r"'1' if j == 2", "any expression would do: one field of it is used"),
)


def _forget_files() -> None:
    dag._cache.clear()  # noqa: SLF001 - files that the last mutant has read


SCHEDULE = target_of(
    "schedule", schedule, lambda: runs_of(scheduler_machine.MACHINE, SCHEDULE_RUNS), lambda: None, (), _SCHEDULE_LEFT
)
DAG = target_of("dag", dag, lambda: runs_of(dag_machine.MACHINE, DAG_RUNS), _forget_files, (), _DAG_LEFT)
