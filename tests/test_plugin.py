"""The pytest plugin: light where nobody asks for it, the whole contract and a machine run where somebody does."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import tomllib
from importlib.metadata import entry_points
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
HEAVY = ("hypothesis", "redis", "orch", "orch.testing", "orch.testing.contract", "orch.testing.plugin")
KNOWN = any(point.value == "pytest_orch" for point in entry_points(group="pytest11"))

QUEUES = """
from orch.backends.memory import MemoryQueue

def right(clock):
    return MemoryQueue(clock=clock, max_crashes=1)

class Forgetful(MemoryQueue):
    def _reclaim(self, now):
        pass

def wrong(clock):
    return Forgetful(clock=clock)


class Plain:
    def __init__(self, clock):
        queue = MemoryQueue(clock=clock)
        for verb in ("enqueue", "dequeue", "update_status", "get_job", "list_jobs", "count", "purge", "close"):
            setattr(self, verb, getattr(queue, verb))

def empty(clock):
    return None
"""


@pytest.fixture
def run(tmp_path):
    """pytest in a project of somebody else's, in a process of its own."""
    (tmp_path / "queues.py").write_text(QUEUES)
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = --strict-markers\nfilterwarnings = error\n")

    def pytest_there(*arguments, **environment):
        plugin = [] if KNOWN else ["-p", "pytest_orch"]
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *plugin, *arguments]
        env = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, env=env)

    return pytest_there


def test_the_plugin_is_declared_and_installed_beside_the_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["project"]["entry-points"]["pytest11"] == {"orch": "pytest_orch"}
    assert project["tool"]["setuptools"]["py-modules"] == ["pytest_orch"]


def test_without_the_option_nothing_of_orch_is_imported(run, tmp_path):
    (tmp_path / "test_light.py").write_text(
        f"import sys\n\ndef test_light():\n    assert 'pytest_orch' in sys.modules\n"
        f"    assert not [name for name in {HEAVY!r} if name in sys.modules]\n"
    )
    done = run("test_light.py", "-p", "no:hypothesispytest")
    assert (done.returncode, done.stderr) == (0, ""), done.stdout


def test_the_file_that_every_run_of_pytest_loads_imports_nothing():
    program = "import sys; before = set(sys.modules); import pytest_orch; print(sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['pytest_orch']"


def test_loading_it_takes_next_to_no_time():
    spent = []
    for _ in range(5):
        sys.modules.pop("pytest_orch", None)
        began = time.process_time()
        __import__("pytest_orch")
        spent.append(time.process_time() - began)
    assert min(spent) < 0.02


def test_the_first_lines_of_orch_are_not_hidden_from_coverage(run, tmp_path):
    (tmp_path / "test_user.py").write_text(
        "from orch.errors import OrchError\n\ndef test_user():\n    assert OrchError\n"
    )
    program = (
        "import coverage, pytest, sys\n"
        "seen = {}\n"
        "class Starts:\n"  # as a coverage plugin does: when the options are parsed, after the entry points are loaded
        "    def pytest_load_initial_conftests(self):\n"
        "        seen['cov'] = coverage.Coverage(source=['orch.errors'], data_file=None)\n"
        "        seen['cov'].start()\n"
        "code = pytest.main(['-q', '-p', 'no:cacheprovider', 'test_user.py'], plugins=[Starts()])\n"
        "seen['cov'].stop()\n"
        "import orch.errors\n"
        "_, statements, _, missing, _ = seen['cov'].analysis2(orch.errors)\n"
        "print('hidden', statements[0] in missing)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "hidden False" in done.stdout, done.stdout + done.stderr


def test_a_queue_gets_the_contract_and_a_run_of_the_machine(run):
    done = run("--orch-queue", "queues:right", "--collect-only")
    assert done.returncode == 0
    assert "TestQueuesRight::test_the_machine_finds_no_broken_promise" in done.stdout
    assert done.stdout.count("TestQueuesRight::") > 700
    done = run("--orch-queue", "queues:right", "--orch-examples", "5", "-k", "machine or lease")
    assert done.returncode == 0, done.stdout
    assert "passed" in done.stdout


def test_a_wrong_queue_fails_by_promise_and_shows_the_program(run):
    done = run("--orch-queue", "queues:wrong", "-k", "machine")
    assert done.returncode == 1
    assert "Q5 recovery" in done.stdout
    assert "from queues import wrong" in done.stdout
    assert "Traceback" not in done.stdout


def test_several_queues_and_the_tests_of_the_project_run_together(run, tmp_path):
    (tmp_path / "test_mine.py").write_text("def test_mine():\n    pass\n")
    done = run(
        "--orch-queue", "queues:right", "--orch-queue", "queues:Plain", "-k", "mine or machine", "--orch-examples", "3"
    )
    assert done.returncode == 0, done.stdout
    assert "3 passed" in done.stdout


def test_processes_share_the_suite(run):
    done = run("--orch-queue", "queues:right", "-n", "2", "-k", "counts", "--orch-examples", "3")
    assert done.returncode == 0, done.stdout


def test_capabilities_may_be_given(run):
    done = run("--orch-queue", "queues:right", "--orch-capabilities", "lease, listing", "-k", "requeue", "-rs")
    assert done.returncode == 0, done.stdout
    assert "no requeue: requeue" in done.stdout


@pytest.mark.parametrize(
    ("queue", "shows"),
    [
        ("queues:empty", "empty(clock) must return a queue, got None"),
        ("nowhere:make", "there is no module 'nowhere'"),
        ("queues", "MODULE:FACTORY"),
    ],
)
def test_what_is_no_queue_is_an_error_of_collection(run, queue, shows):
    done = run("--orch-queue", queue)
    assert done.returncode == 2
    assert shows in done.stdout
