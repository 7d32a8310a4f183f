"""The seeded bugs: a catalogue that is what it says, and machines that find each, blame it rightly and tell it shortly.

How fast each is found is what `nox -s bugs` asks, not these tests: under coverage all is slower.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest

from orch.backends.sqlite import SqliteQueue
from orch.testing import bugs
from orch.testing.bugs import __main__ as command
from orch.testing.bugs import naive_redis, queue_hunter, queue_sqlite
from orch.testing.bugs.catalogue import Bug
from orch.testing.bugs.making import Mortal, store_of
from orch.testing.bugs.queue_clock import TwoClients
from orch.testing.bugs.queue_store import Journaled
from orch.testing.drivers import fast
from orch.testing.machine import QueueMachine
from orch.testing.report import promises

QUEUE = bugs.every("queue")
GIVE_UP_S = 60.0  # of CPU
ITSELF = re.compile(r"^(orch|seed|catalogue)\b")


@pytest.mark.parametrize("bug", QUEUE, ids=lambda bug: bug.name)
def test_a_seeded_bug_is_found_and_blamed_on_a_promise_that_it_breaks(bug):
    finding = queue_hunter.hunt(bug, budget_s=GIVE_UP_S)
    assert finding is not None, f"missed: {bug.what}"
    assert finding.promise in bug.promises, f"{finding.promise}: {finding.sentence}\n{finding.program}"


@pytest.mark.parametrize("number", sorted(number for number in promises() if number.startswith("Q")))
def test_each_promise_of_a_queue_is_broken_by_a_bug(number):
    assert [bug.name for bug in QUEUE if bug.promises[0] == number]


def test_the_catalogue_is_large_and_much_of_it_is_from_other_queues():
    assert len(QUEUE) >= 60
    assert len([bug for bug in QUEUE if not ITSELF.match(bug.source)]) >= 20
    assert len({bug.name for bug in bugs.every()}) == len(bugs.every())
    for bug in QUEUE:
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", bug.name)
        assert set(bug.promises) <= set(promises())
        assert bug.what.endswith(".")


RIGHT = {
    "clients that can die": store_of(Mortal),
    "two clients": store_of(TwoClients),
    "a journal": store_of(Journaled),
    "commands in one step": naive_redis.NaiveStore(naive_redis.CommandQueue),
    "a file that goes away": queue_sqlite.TroubledStore(SqliteQueue),
    "a file, clients that can die": store_of(queue_sqlite.SplitQueue),
    "a file, its own statements": store_of(queue_sqlite.OtherStatements),
}


@pytest.mark.parametrize("name", RIGHT)
def test_what_the_bugs_stand_on_is_right(name):
    store = RIGHT[name]
    machine = QueueMachine.of(store, getattr(store, "capabilities", None))
    try:
        failure = fast.explore(machine, store, traces=30).failure
    finally:
        getattr(store, "close", lambda: None)()
    assert failure is None, failure.violation


def test_nobody_imports_a_bug_by_accident():
    program = (
        "import sys, orch, orch.testing, orch.testing.kit, orch.testing.drivers.fast, orch.testing.bugs; "
        "print([name for name in sys.modules if name.startswith('orch.testing.bugs.') and 'catalogue' not in name])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_command_prints_a_line_for_each_bug(capsys):
    assert command.main(["finish-by-id", "always-new"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert "bullmq#1064" in lines[0]
    assert "Q4" in lines[0]
    assert "found" in lines[0]
    assert lines[2].startswith("2 bugs, 2 found, 2 blamed on a right promise")


def test_the_command_prints_json(capsys):
    assert command.main(["--json", "always-new"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["name"], record["right"], record["finding"]["promise"]) == ("always-new", True, "Q3")


@pytest.mark.parametrize(
    ("make", "promise", "says"),
    [
        (store_of(Journaled), "Q1", "MISSED"),
        (next(bug for bug in QUEUE if bug.name == "always-new").make, "Q1", "MISBLAMED"),
    ],
)
def test_a_bug_that_is_missed_or_misblamed_fails_the_command(make, promise, says, monkeypatch, capsys):
    monkeypatch.setattr(command, "every", lambda level: (Bug("b", "queue", (promise,), "It is.", "orch", make),))
    assert command.main(["--budget-s", "0.05"]) == 1
    assert says in capsys.readouterr().out


def test_the_command_hunts_with_hypothesis_too(capsys):
    names = ("finish-by-id", "retry-pushes-before-it-writes", "short-write-is-the-end")
    assert command.main(["--driver", "hypothesis", *names]) == 0
    assert capsys.readouterr().out.splitlines()[3].startswith("3 bugs, 3 found, 3 blamed on a right promise")


def test_the_command_says_which_bugs_a_driver_does_not_hunt(capsys):
    assert command.main(["--driver", "hypothesis", "--level", "sim"]) == 2
    assert "hypothesis does not hunt bugs of level sim" in capsys.readouterr().err


def test_the_command_knows_which_bugs_there_are(capsys):
    assert command.main(["no-such-bug"]) == 2
    assert "no-such-bug" in capsys.readouterr().err
