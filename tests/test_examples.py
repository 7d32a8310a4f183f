"""Every example in README and docs runs and prints what the page says.

Python blocks of a page share one namespace, console blocks one folder. `...` stands for any text. A block after
`<!-- not run: why -->` is left out.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"(<!-- not run: [^>]+-->\n)?```(python|console)\n(.*?)```", re.DOTALL)


def blocks(page):
    return [(kind, text) for skipped, kind, text in BLOCK.findall(page.read_text()) if not skipped]


def commands(text):
    """(command, expected output) of a console block."""
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        yield command, output


def matches(expected, printed):
    pattern = ".*".join(re.escape(piece) for piece in expected.strip().split("..."))
    return re.fullmatch(pattern, printed.strip(), re.DOTALL) is not None


@pytest.mark.real
@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=lambda page: page.name)
def test_the_examples_of_a_page_do_what_it_says(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith(("ORCH_", "QUEUE_", "SCHED_", "REDIS_", "STATE_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONIOENCODING", "utf-8")
    namespace = {"__name__": "example"}
    for kind, text in blocks(page):
        if kind == "python":
            exec(compile(text, page.name, "exec"), namespace)
            continue
        for command, expected in commands(text):
            done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=100)
            assert done.returncode == 0, f"$ {command}\n{done.stdout}{done.stderr}"
            if expected.strip():
                assert matches(expected, done.stdout), f"$ {command}\n{done.stdout}"


def test_every_page_that_shows_code_is_known():
    assert [page.name for page in PAGES if blocks(page)]


def test_an_example_that_prints_something_else_is_seen():
    assert matches("a ... c\n", "a b\nb c\n")
    assert not matches("a ... c\n", "a b d\n")
