"""The two logs: whole lines whoever writes, only the bad line lost whoever reads, and never a changed outcome."""

import errno
import io
import json
import logging
import os
import resource
import subprocess
import sys
import tracemalloc

import pytest

from orch import events
from orch.errors import InvalidInput
from orch.events import append_event, append_events, index_by, last_runs, log_event, read_newest, record_event


@pytest.fixture
def path(tmp_path):
    return tmp_path / "log.jsonl"


def fill(path, n):
    append_events(path, [{"n": i} for i in range(n)])


def numbers(found):
    return [event["n"] for event in found]


@pytest.fixture
def file_size_limit():
    """Makes writes beyond so many bytes of a file fail, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


# -- where they are ----------------------------------------------------------------------------------------------


def test_the_paths_are_those_of_the_seed(monkeypatch):
    monkeypatch.delenv("ORCH_EVENTS_PATH", raising=False)
    monkeypatch.delenv("STATE_STORE_PATH", raising=False)
    assert str(events.get_events_path()) == "logs/orchestrator_events.jsonl"
    assert str(events.get_state_store_path()) == "logs/orchestrator_state.jsonl"


def test_the_environment_moves_them(monkeypatch):
    monkeypatch.setenv("ORCH_EVENTS_PATH", "a/b.jsonl")
    monkeypatch.setenv("STATE_STORE_PATH", "c/d.jsonl")
    assert str(events.get_events_path()) == "a/b.jsonl"
    assert str(events.get_state_store_path()) == "c/d.jsonl"


def test_asking_for_a_path_or_reading_it_makes_no_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("STATE_STORE_PATH", str(tmp_path / "new" / "state.jsonl"))
    assert last_runs() == []
    assert index_by("job_id") == {}
    assert list(tmp_path.iterdir()) == []


def test_writing_makes_the_folders(path):
    append_event(path.parent / "a" / "b" / "log.jsonl", {"n": 1})
    assert numbers(read_newest(path.parent / "a" / "b" / "log.jsonl", 5)) == [1]


# -- the state store of the seed ---------------------------------------------------------------------------------


def test_a_recorded_event_gets_an_aware_time_as_its_last_key(path):
    record_event({"event": "run_started", "job_id": "j"}, path)
    line = json.loads(path.read_text())
    assert list(line) == ["event", "job_id", "timestamp"]
    assert line["timestamp"].endswith("+00:00")


def test_a_time_that_the_caller_gave_stays(path):
    record_event({"event": "x", "timestamp": "2025-10-03T10:00:00"}, path)
    assert last_runs(1, path)[0]["timestamp"] == "2025-10-03T10:00:00"


def test_recording_does_not_change_the_callers_dict(path):
    event = {"event": "x"}
    record_event(event, path)
    log_event(event, path)
    assert event == {"event": "x"}


def test_last_runs_are_newest_first(path):
    fill(path, 30)
    assert numbers(last_runs(3, path)) == [29, 28, 27]
    assert len(last_runs(path=path)) == 20


def test_a_missing_or_empty_log_has_no_runs(path):
    assert last_runs(5, path) == []
    path.touch()
    assert last_runs(5, path) == []
    assert last_runs(5, path / "below-a-file") == []


def test_last_runs_reads_the_default_log(monkeypatch, path):
    monkeypatch.setenv("STATE_STORE_PATH", str(path))
    record_event({"n": 7})
    assert numbers(last_runs()) == [7]


def test_index_by_groups_the_last_events_in_time_order(path):
    for n, job in enumerate(["a", "b", "a", "a"]):
        append_event(path, {"job_id": job, "n": n})
    groups = index_by("job_id", 3, path)
    assert {job: numbers(group) for job, group in groups.items()} == {"a": [2, 3], "b": [1]}


def test_index_by_keeps_falsy_values_and_leaves_out_what_cannot_be_a_key(path):
    append_events(path, [{"k": 0, "n": 0}, {"k": "", "n": 1}, {"k": None, "n": 2}, {"k": [1], "n": 3}, {"n": 4}])
    assert {key: numbers(group) for key, group in index_by("k", path=path).items()} == {0: [0], "": [1]}


READERS = {
    "last_runs": last_runs,
    "index_by": lambda limit, path: list(index_by("n", limit, path)),
    "read_newest": lambda limit, path: read_newest(path, limit),
}


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
def test_a_limit_of_zero_gives_nothing_and_a_negative_one_is_refused(path, read):
    fill(path, 10)
    assert list(read(0, path)) == []
    for bad in (-1, 1.5, None, True):
        with pytest.raises(InvalidInput, match="limit"):
            read(bad, path)


def test_a_log_of_the_seed_is_readable(path):
    path.write_text(
        '{"timestamp": "2025-10-03T10:00:00.123456", "event": "dag_start", "dag_name": "d", "tenant": "t"}\n'
        '{"timestamp": "2025-10-03T10:00:01.5", "event": "task_start", "dag_name": "d", "task_id": "a"}\n'
    )
    assert [event["event"] for event in read_newest(path, 10)] == ["task_start", "dag_start"]


# -- L1: a bad line costs that line only -------------------------------------------------------------------------


@pytest.mark.promise("L1")
@pytest.mark.parametrize(
    "bad",
    [
        b'{"n": 5, "x"',
        b"\xff\xfe",
        b'{"n": "\xff"}',
        b"5",
        b"null",
        b"[1, 2]",
        b'"text"',
        b'{"n": NaN}',
        b"\x00\x00\x00",
        b"{} {}",
        b"[" * 100_000,
        b'{"n": ' + b"9" * 5_000 + b"}",
        b"",
        b"   ",
    ],
    ids=lambda bad: repr(bad[:12]),
)
def test_a_line_that_is_no_object_costs_that_line_only(path, bad):
    path.write_bytes(b'{"n": 0}\n{"n": 1}\n' + bad + b'\n{"n": 2}\n')
    assert numbers(read_newest(path, 2)) == [2, 1]
    assert numbers(read_newest(path, 10)) == [2, 1, 0]


@pytest.mark.promise("L1")
def test_bad_lines_do_not_count_against_the_limit(path):
    path.write_bytes(b'{"n": 0}\n' + b"bad\n" * 100 + b'{"n": 1}\n')
    assert numbers(read_newest(path, 2)) == [1, 0]


@pytest.mark.promise("L1")
def test_a_torn_last_line_is_skipped_and_the_next_append_is_whole(path):
    path.write_bytes(b'{"n": 0}\n{"n": 1, "torn')
    assert numbers(read_newest(path, 10)) == [0]
    append_event(path, {"n": 2})
    assert numbers(read_newest(path, 10)) == [2, 0]


@pytest.mark.promise("L1")
def test_a_line_without_its_newline_is_still_read(path):
    path.write_bytes(b'{"n": 0}\n{"n": 1}')
    assert numbers(read_newest(path, 10)) == [1, 0]


@pytest.mark.promise("L1")
def test_a_line_longer_than_the_limit_is_skipped_without_being_held(path):
    with path.open("wb") as file:
        file.write(b'{"n": 0}\n{"n": "')
        for _ in range(12):
            file.write(b"x" * 1024 * 1024)
        file.write(b'"}\n{"n": 1}\n')
    tracemalloc.start()
    try:
        assert numbers(read_newest(path, 10)) == [1, 0]
        assert tracemalloc.get_traced_memory()[1] < 2 * events.LINE_MAX
    finally:
        tracemalloc.stop()


def test_what_could_not_be_read_back_is_not_written(path):
    with pytest.raises(InvalidInput, match="at most"):
        append_event(path, {"n": "x" * events.LINE_MAX})
    assert not path.exists()


@pytest.mark.parametrize("bad", [5, [1], None, {"x": b"bytes"}, {"x": float("nan")}, {"x": {1, 2}}], ids=repr)
def test_appending_refuses_what_is_no_json_object(path, bad):
    with pytest.raises(InvalidInput):
        append_event(path, bad)
    assert not path.exists()


def test_all_events_of_one_append_are_written_or_none(path):
    with pytest.raises(InvalidInput):
        append_events(path, [{"n": 1}, {"n": object()}])
    assert read_newest(path, 5) == []


def test_text_of_every_kind_comes_back_as_it_was(path):
    text = "é \u2028 \x85 \n \ud83d \U0001f600 \0"
    append_event(path, {"text": text})
    assert read_newest(path, 1) == [{"text": text}]
    assert path.read_bytes().count(b"\n") == 1


# -- L1: a log never changes what is logged ----------------------------------------------------------------------


@pytest.mark.promise("L1")
@pytest.mark.parametrize("event", [5, [1], None, {"x": b"bytes"}], ids=repr)
def test_a_domain_event_that_cannot_be_written_warns_and_does_not_raise(path, caplog, capsys, event):
    with caplog.at_level(logging.WARNING):
        log_event(event, path)
        record_event(event, path)
    assert len(caplog.records) == 2
    assert capsys.readouterr().out.startswith("Warning: Failed to record event: ")


@pytest.mark.promise("L1")
def test_a_log_that_cannot_be_opened_warns_and_does_not_raise(path, caplog, capsys):
    path.touch()
    with caplog.at_level(logging.WARNING):
        log_event({"n": 1}, path / "below-a-file")
        record_event({"n": 1}, path / "below-a-file")
    assert "NotADirectoryError" in caplog.text
    assert "Warning: Failed to record event:" in capsys.readouterr().out


@pytest.mark.promise("L1")
def test_a_closed_stdout_does_not_make_recording_raise(path, monkeypatch):
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stdout", closed)
    record_event([], path)


@pytest.mark.promise("L1")
def test_a_full_disk_leaves_whole_lines_only_and_does_not_raise(path, caplog, file_size_limit):
    fill(path, 3)
    size = path.stat().st_size
    file_size_limit(size + 10)
    with caplog.at_level(logging.WARNING):
        log_event({"n": 3, "long": "x" * 100}, path)
    assert path.stat().st_size == size, "the half line was taken back"
    file_size_limit(size + 1000)
    log_event({"n": 4}, path)
    assert numbers(read_newest(path, 10)) == [4, 2, 1, 0]
    assert "OSError" in caplog.text


@pytest.mark.promise("L1")
def test_what_somebody_wrote_without_the_lock_is_not_cut_off(path, monkeypatch):
    fill(path, 1)
    real = os.write

    def write(fd, data):
        real(fd, data[:4])
        with path.open("ab") as other:
            other.write(b'\n{"n": 9}\n')
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", write)
    with pytest.raises(OSError, match="No space"):
        append_event(path, {"n": 1})
    assert numbers(read_newest(path, 5)) == [9, 0]


@pytest.mark.promise("L1")
def test_a_writer_that_was_stopped_while_it_held_the_lock_does_not_stop_the_others(path, monkeypatch):
    fcntl = pytest.importorskip("fcntl")
    monkeypatch.setattr(events, "LOCK_WAIT_S", 0.0)
    fill(path, 1)
    with path.open("rb") as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        append_event(path, {"n": 1})
    assert numbers(read_newest(path, 5)) == [1, 0]


def test_a_writer_waits_for_the_lock(path, monkeypatch):
    fcntl = pytest.importorskip("fcntl")
    fill(path, 1)
    with path.open("rb") as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        naps = []

        def nap(seconds):
            naps.append(seconds)
            fcntl.flock(holder, fcntl.LOCK_UN)

        monkeypatch.setattr(events.time, "sleep", nap)
        append_event(path, {"n": 1})
    assert len(naps) == 1


def test_a_file_system_without_locks_will_do(path, monkeypatch):
    fcntl = pytest.importorskip("fcntl")

    def flock(fd, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    fill(path, 2)
    assert numbers(read_newest(path, 5)) == [1, 0]


def test_appending_nothing_makes_no_file(path):
    append_events(path, [])
    assert not path.exists()


@pytest.mark.promise("L1")
def test_without_the_lock_too_a_line_goes_behind_what_others_just_wrote(path, monkeypatch):
    fill(path, 1)
    real = os.read

    def read(fd, size):
        data = real(fd, size)
        with path.open("ab") as other:
            other.write(b'{"n": 9}\n')
        return data

    monkeypatch.setattr(os, "read", read)
    append_event(path, {"n": 1})
    assert numbers(read_newest(path, 5)) == [1, 9, 0]


def test_events_may_go_to_what_is_no_file():
    append_event(os.devnull, {"n": 1})
    assert read_newest(os.devnull, 5) == []


def test_reading_what_cannot_be_read_is_an_error(tmp_path):
    with pytest.raises(IsADirectoryError):
        read_newest(tmp_path, 1)


WRITER = """
import sys
from orch.events import append_event
path, name, n = sys.argv[1], sys.argv[2], int(sys.argv[3])
for i in range(n):
    append_event(path, {"writer": name, "n": i, "pad": "x" * (i * 37 % 9000)})
    if i == 99:
        print("a hundred", flush=True)
print("done")
"""


@pytest.mark.real
@pytest.mark.promise("L1")
def test_four_processes_that_append_at_once_lose_and_tear_nothing(path):
    n = 250
    command = [sys.executable, "-c", WRITER, str(path)]
    writers = [subprocess.Popen([*command, name, str(n)], stdout=subprocess.PIPE) for name in "abcd"]
    try:
        for writer in writers:
            assert writer.communicate(timeout=60)[0] == b"a hundred\ndone\n"
    finally:
        for writer in writers:
            writer.kill()
            writer.wait()
    lines = [json.loads(line) for line in path.read_bytes().splitlines()]
    for name in "abcd":
        assert [line["n"] for line in lines if line["writer"] == name] == list(range(n))
    assert len(lines) == 4 * n


@pytest.mark.real
@pytest.mark.promise("L1")
def test_a_writer_that_is_killed_costs_at_most_its_last_line(path):
    command = [sys.executable, "-c", WRITER, str(path), "a", "1000000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
        assert writer.stdout.readline() == b"a hundred\n"
        writer.kill()
    append_event(path, {"writer": "b", "n": 0})
    found = read_newest(path, 1_000_000)
    mine = [event["n"] for event in reversed(found) if event["writer"] == "a"]
    assert found[0]["writer"] == "b"
    assert len(mine) >= 100
    assert mine == list(range(len(mine)))


# -- L2: the newest n cost O(n) ----------------------------------------------------------------------------------


class Counted(io.FileIO):
    """A file that counts the bytes that are read from it."""

    total = 0

    def read(self, size=-1):
        data = super().read(size)
        Counted.total += len(data)
        return data


@pytest.mark.promise("L2")
@pytest.mark.parametrize("lines", [2_000, 200_000])
def test_reading_the_newest_reads_one_block_however_long_the_file_is(path, monkeypatch, lines):
    path.write_bytes(b"".join(b'{"n": %d}\n' % n for n in range(lines)))
    Counted.total = 0
    monkeypatch.setattr(type(path), "open", lambda self, mode, buffering: Counted(self, mode))
    assert numbers(last_runs(20, path)) == list(range(lines - 1, lines - 21, -1))
    assert Counted.total <= 64 * 1024


@pytest.mark.promise("L2")
@pytest.mark.parametrize("width", [1, 1_000, 70_000, 200_000])
def test_lines_across_blocks_are_read_whole(path, width):
    path.write_bytes(b"".join(b'{"n": %d, "pad": "%s"}\n' % (n, b"x" * width) for n in range(7)))
    assert numbers(read_newest(path, 10)) == [6, 5, 4, 3, 2, 1, 0]


@pytest.mark.promise("L2")
@pytest.mark.parametrize("size", [65_535, 65_536, 65_537, 131_072])
def test_a_newline_on_the_edge_of_a_block_is_no_trouble(path, size):
    first = b'{"n": 0}\n'
    last = b'{"n": 1, "pad": "' + b"x" * (size - 20) + b'"}\n'
    path.write_bytes(first + last[:-1])
    assert numbers(read_newest(path, 3)) == [1, 0]
    path.write_bytes(first + last)
    assert numbers(read_newest(path, 3)) == [1, 0]
