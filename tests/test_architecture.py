"""Imports go one way, and heavy things are imported where they are needed."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
_spec = importlib.util.spec_from_file_location("drawn", ROOT / "docs" / "drawn.py")
drawn = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(drawn)

# What each part may import, besides itself. A name stands for the module and all below it.
VALUES = {"orch.errors", "orch.clock", "orch.checks", "orch.job"}
QUEUE = VALUES | {"orch.queue", "orch.settings"}
RUN = QUEUE | {"orch.yaml_marks", "orch.dag", "orch.workflows", "orch.events", "orch.runner"}
SERVE = RUN | {"orch.backends", "orch.schedule", "orch.analytics", "orch.worker"}
JUDGE = QUEUE | {"orch.history", "orch.checker"}
ALLOWED = {
    "orch.errors": set(),
    "orch.clock": set(),
    "orch.checks": {"orch.errors", "orch.clock"},
    "orch.job": VALUES,
    "orch.settings": {"orch.checks", "orch.errors"},
    "orch.panel": VALUES,
    "orch.queue": VALUES | {"orch.panel"},
    "orch.backends.base": QUEUE,
    "orch.backends.memory": QUEUE | {"orch.backends.base"},
    "orch.backends.sqlite": QUEUE | {"orch.backends.base"},
    "orch.backends.redis": QUEUE | {"orch.backends.base", "orch.backends.redis_wire"},
    "orch.backends.redis_wire": VALUES,
    "orch.backends": QUEUE | {"orch.backends.memory", "orch.backends.sqlite", "orch.backends.redis"},
    "orch.yaml_marks": VALUES,
    "orch.dag": VALUES | {"orch.yaml_marks", "orch.workflows"},
    "orch.workflows": VALUES,
    "orch.events": VALUES | {"orch.settings"},
    "orch.runner": RUN,
    "orch.schedule": QUEUE | {"orch.yaml_marks", "orch.dag"},
    "orch.analytics": QUEUE | {"orch.events"},
    "orch.worker": SERVE,
    "orch.scheduler": SERVE,
    "orch.history": QUEUE,
    "orch.checker": JUDGE,
    "orch.simulator": SERVE | JUDGE | {"orch.scheduler"},
    "orch.demo": SERVE | JUDGE | {"orch.scheduler", "orch.rig", "orch.page"},
    "orch.rig": SERVE | {"orch.page"},
    "orch.page": VALUES,
    "orch.cli": {"orch"},
    "orch.__main__": {"orch.cli"},
    "orch.testing": {"orch"},
    "orch.lab": {"orch"},
    "orch": {"orch"},
}
CONCRETE = ("orch.backends.memory", "orch.backends.sqlite", "orch.backends.redis")


def part_of(module: str) -> str:
    """The most exact entry of ALLOWED that covers a module."""
    while module not in ALLOWED:
        module = module.rpartition(".")[0]
        assert module, "a new part of orch needs its line in ALLOWED"
    return module


def covered(module: str, names: set[str]) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in names)


@pytest.mark.parametrize("module", sorted(drawn.modules()))
def test_a_module_imports_only_what_its_part_may(module):
    part = part_of(module)
    allowed = ALLOWED[part] | {part} if part != "orch" else {"orch"}
    wrong = sorted(name for name in drawn.modules()[module] if not covered(name, allowed) and name != "orch")
    assert not wrong, f"{module} must not import {wrong}"


@pytest.mark.parametrize("module", sorted(drawn.modules()))
def test_only_the_opener_knows_a_backend(module):
    free = ("orch.backends", "orch.testing", "orch.lab", "orch.cli", "orch")
    if part_of(module) in free or module in CONCRETE or module.startswith(CONCRETE):
        return
    assert not [name for name in drawn.modules()[module] if name.startswith(CONCRETE)]


def test_backends_do_not_know_each_other():
    for module, imported in drawn.modules().items():
        own = [name for name in CONCRETE if module == name or module.startswith(f"{name}.")]
        others = [name for name in CONCRETE if name not in own]
        if own:
            assert not [name for name in imported if covered(name, set(others))]


def test_hypothesis_is_imported_only_by_the_kit():
    for path in sorted((ROOT / "orch").rglob("*.py")):
        if "testing" not in path.parts:
            assert "hypothesis" not in path.read_text().split(), path


def imported_by(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(' '.join(sys.modules))"
    alone = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT, env=alone)
    return set(done.stdout.split())


@pytest.mark.parametrize("statement", ["import orch", "import orch.cli", "import orch.testing"])
def test_imports_stay_light(statement):
    heavy = {"redis", "sqlite3", "hypothesis", "matplotlib", "numpy", "yaml", "cronsim", "pytest"}
    assert not heavy & imported_by(statement)
