"""Other people's queues: the level of a drive, what a cell of the kill matrix says, and the libraries themselves."""

import subprocess
import sys
from collections import deque
from importlib.util import find_spec
from pathlib import Path

import pytest

from orch.errors import InvalidInput, NotSupported
from orch.history import History
from orch.testing.adapters import NAMES, Adapter, Delivery, Setting, load, tasks
from orch.testing.adapters.__main__ import main
from orch.testing.adapters.kills import Cell, cell
from orch.testing.adapters.levels import Drive, judged, level_of
from orch.testing.adapters.tables import as_text, kill_table, level_table, read_rows
from orch.testing.adapters.worker import names
from orch.testing.servers import find_server

needs_server = pytest.mark.skipif(find_server() is None, reason="no redis-server or valkey-server")
SHARED = deque()


class Plain(Adapter):
    """A queue in this process; `SHARED` is its list."""

    library = "plain"
    settings = (Setting("default", "default"), Setting("lifo", "last in, first out"), Setting("deaf", "a nack is lost"))

    def __init__(self, url, setting):
        super().__init__(url, setting)
        self.held = []

    def put(self, job_id, seconds=0.0):
        SHARED.append(job_id)

    def get(self):
        if not SHARED:
            return None
        job = SHARED.pop() if self.setting.name == "lifo" else SHARED.popleft()
        self.held.append(job)
        return Delivery(job, None)

    def ack(self, delivery):
        self.held.remove(delivery.job)

    def nack(self, delivery):
        self.ack(delivery)
        if self.setting.name != "deaf":
            SHARED.append(delivery.job)

    @classmethod
    def work(cls, url, setting):
        """It has none."""


class Returning(Plain):
    """What a client that crashed held is there again at once."""

    recovery_s = 1.2

    def crash(self):
        SHARED.extendleft(reversed(self.held))
        self.held.clear()


class Losing(Plain):
    """At most once."""

    recovery_s = 0.3

    def crash(self):
        self.held.clear()


def driven(adapter, setting="default", operations=600):
    SHARED.clear()
    drive = Drive(adapter, "", setting, seed=3)
    drive.run(operations)
    return judged(History(drive.ops), adapter.recovery_s), drive


def test_a_queue_that_keeps_its_order_holds_every_level():
    (verdict, first), drive = driven(Plain)
    assert (verdict.level, first) == ("L4", None)
    assert drive.done["nack"] > 10


def test_a_queue_that_is_a_stack_keeps_its_jobs_and_not_their_order():
    (verdict, first), _ = driven(Plain, "lifo")
    assert (verdict.level, first.rule) == ("L2", "order")


def test_a_failed_job_that_does_not_come_back_is_lost():
    (verdict, first), _ = driven(Plain, "deaf")
    assert (verdict.level, first.rule) == (None, "lost")


def test_jobs_that_are_lost_with_their_client_are_told_with_a_witness():
    (verdict, first), drive = driven(Losing)
    assert (verdict.level, first.rule) == (None, "lost")
    assert drive.done["crash"] > 0
    assert first.operations


def test_a_job_that_comes_back_before_its_lease_is_over_is_a_duplicate_without_a_licence():
    (verdict, first), _ = driven(Returning)
    assert (verdict.level, first.rule) == ("L1", "early redelivery")


def test_the_same_seed_gives_the_same_drive():
    asked = [[(op.client, op.op, op.job) for op in driven(Plain)[1].ops] for _ in range(2)]
    assert asked[0] == asked[1]


def test_an_adapter_that_does_not_count_says_so():
    with pytest.raises(NotSupported, match="plain does not count"):
        Plain("", "default").count()


def test_a_setting_that_nobody_has_is_refused_with_those_there_are():
    with pytest.raises(InvalidInput, match="default, lifo, deaf"):
        Plain("", "fast")


def test_a_library_that_is_unknown_is_refused():
    with pytest.raises(InvalidInput, match="rq, celery, dramatiq, huey"):
        load("sidekiq")


def test_the_command_says_what_is_missing_and_exits_two(monkeypatch, capsys):
    monkeypatch.setattr("orch.testing.adapters.base.NAMES", ("no-such-library",))
    assert main(["levels", "no-such-library"]) == 2
    assert "pip install 'orch[peers]'" in capsys.readouterr().err


CELL = {
    "library": "x",
    "version": "1",
    "setting": "default",
    "what": "run",
    "seconds": None,
    "waited_s": 60.0,
    "held_in": (),
    "state": "",
    "exit_code": None,
    "documented": "",
    "command": "",
}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"seconds": 1.25}, "1.2"),
        ({}, "LOST"),
        ({"held_in": ("list",)}, "not in 60 s (kept)"),
        ({"state": "failed"}, "ended FAILED after 60 s, not run again"),
        ({"what": "busy outage", "seconds": 0.5}, "resumes (0.5 s)"),
        ({"what": "busy outage", "exit_code": 0}, "exits with status 0"),
        ({"what": "busy outage"}, "takes nothing for 60 s"),
    ],
)
def test_a_cell_says_what_was_seen(more, said):
    assert str(Cell(**{**CELL, **more})) == said


def test_a_job_is_found_anywhere_in_a_reply():
    assert names([b"a", [{b"k": (1, b"the job-1 of it")}]], b"job-1")
    assert not names([b"a", 3, None], b"job-1")


def test_a_job_notes_its_begin_and_its_end(tmp_path, monkeypatch):
    monkeypatch.setenv(tasks.NOTES, str(tmp_path / "notes"))
    tasks.run("a")
    assert [line.partition('"what": ')[2][:5] for line in (tmp_path / "notes").read_text().splitlines()] == [
        '"begi',
        '"end"',
    ]


def test_no_adapter_is_imported_by_the_kit():
    code = "import sys, orch, orch.testing; print('orch.testing.adapters' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


# -- the libraries themselves, where they are installed (`nox -s peers`) -----------------------------------------------

LEVELS = {
    ("rq", "retry"): "L4",
    ("celery", "late"): "L4",
    ("celery", "default"): None,
    ("dramatiq", "default"): "L4",
    ("huey", "default"): None,
}


@needs_server
@pytest.mark.real
@pytest.mark.parametrize(("library", "setting"), LEVELS)
@pytest.mark.filterwarnings("default")
def test_the_level_of_a_library_is_the_measured_one(tmp_path, library, setting):
    if library not in NAMES or find_spec(library) is None:
        pytest.skip(f"{library} is not installed: nox -s peers")
    row = level_of(library, setting, tmp_path, operations=600, seed=1)
    assert row.level == LEVELS[library, setting], str(row)


@needs_server
@pytest.mark.real
def test_a_task_of_huey_is_lost_with_the_consumer_that_took_it(tmp_path):
    if find_spec("huey") is None:
        pytest.skip("huey is not installed: nox -s peers")
    row = cell("huey", "default", "take", tmp_path, 3.0)
    assert str(row) == "LOST"
    assert "at most once" in row.documented


# -- the committed measurements ----------------------------------------------------------------------------------------

DATA = Path(__file__).resolve().parent.parent / "notebooks" / "data"


def test_the_committed_rows_name_version_and_command():
    rows = read_rows(DATA / "other_queues_kills.jsonl") + read_rows(DATA / "other_queues_levels.jsonl")
    assert {row["library"] for row in rows} == set(NAMES)
    for row in rows:
        assert row["version"]
        assert row["command"].startswith("python -m orch.testing.adapters ")


def test_measurements_of_one_cell_stand_side_by_side_in_the_order_of_their_size():
    rows = [{**CELL, "said": said} for said in ("88.1", "9.5", "LOST")]
    titles, table = kill_table(rows)
    assert table == [["x 1", "default", "", "9.5, 88.1, LOST", "", "", ""]]
    assert as_text((titles, table)).splitlines()[1].split()[:3] == ["x", "1", "default"]


def test_the_level_table_says_what_held_and_what_did_not():
    row = {**CELL, "level": None, "operations": 9, "crashes": 2, "rule": "Q1 lost"}
    assert level_table([row])[1] == [["x 1", "default", "none", "Q1 lost (2 crashes)", ""]]
    kept = level_table([{**row, "level": "L4", "rule": ""}])[1]
    assert kept[0][2:4] == ["L4", "held for 9 operations, 2 crashes"]
