"""What the documents say is what the code does."""

import ast
import importlib
import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
_spec = importlib.util.spec_from_file_location("drawn", ROOT / "docs" / "drawn.py")
drawn = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(drawn)

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
TABLES = {"orch.testing.operations", "orch.testing.judging"}  # rows of the machine's table, which its module explains
DUE = ("Q", "W", "D", "S", "L")


def test_the_drawn_parts_of_architecture_are_what_the_code_says():
    assert drawn.PAGE.read_text() == drawn.drawn_page(drawn.PAGE.read_text()), "run `nox -s docs -- --update`"


@pytest.mark.parametrize("promise", drawn.promises())
def test_every_promise_has_a_test(promise):
    assert drawn.marked().get(promise) or not promise.startswith(DUE)


def test_markers_name_promises_that_exist():
    assert set(drawn.marked()) <= set(drawn.promises())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_test_that_a_page_names_is_there():
    """A name says which test holds a promise or a fault; it must not outlive the test."""
    places = [*ROOT.glob("tests/**/*.py"), *ROOT.glob("property_tests/**/*.py"), *ROOT.glob("orch/testing/**/*.py")]
    there = {name for place in places for name in re.findall(r"def (test_\w+)", place.read_text())}
    for page in PAGES:
        named = set(re.findall(r"`(test_\w+)`", page.read_text()))
        assert named <= there | {place.stem for place in places}, f"{page.name}: {sorted(named - there)}"


def public_modules():
    return [name for name in drawn.modules() if not any(part.startswith("_") for part in name.split("."))]


@pytest.mark.parametrize("name", public_modules())
def test_public_names_have_docstrings(name):
    path = ROOT / Path(*name.split("."))
    path = path / "__init__.py" if path.is_dir() and (path / "__init__.py").exists() else path.with_suffix(".py")
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree), f"{name} says nothing about itself"
    owed = [node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    owed = [] if name in TABLES else owed
    silent = [node.name for node in owed if not node.name.startswith("_") and not ast.get_docstring(node)]
    assert not silent, f"{name}: no docstring at {silent}"


def test_every_name_that_orch_exports_is_there():
    import orch

    for name in orch.__all__:
        assert getattr(orch, name) is not None


def test_the_contract_stands_in_the_interface():
    text = importlib.import_module("orch.queue").PersistentQueue.__doc__
    for number in drawn.promises():
        if number.startswith("Q"):
            assert re.search(rf"^\s*{number} ", text, re.MULTILINE), number
