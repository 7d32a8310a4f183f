"""The fork server: members are forked, signalled, reaped, and none outlives it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from orch.errors import BackendUnavailable
from orch.torture import member
from orch.torture.forks import Forks
from orch.torture.member import Orders

pytestmark = pytest.mark.real


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path / 'q.db'}"


@pytest.fixture
def forks(tmp_path, url):
    with Forks(tmp_path / "forks.log", {"url": url, "prefix": "t", "queue": None}) as forks:
        yield forks


class Members:
    """Starts watchers, the quietest members, and waits for what they note."""

    def __init__(self, forks, folder, url):
        self.forks, self.folder, self.url = forks, folder, url
        self.life = 0

    def start(self, role=member.WATCH, *, wait=True):
        self.life += 1
        orders = Orders(
            role=role,
            lane="m",
            life=self.life,
            url=self.url,
            folder=str(self.folder),
            prefix="t",
            lease_s=2.0,
            per_second=50.0,
        )
        pid = self.forks.start(orders.to_dict(), self.folder / "m.log")
        if wait:
            until(lambda: orders.notes.exists() and "counts" in orders.notes.read_text())
        return pid

    def end(self):
        while True:
            ended = self.forks.ended(1.0)
            if ended:
                return ended


@pytest.fixture
def members(forks, tmp_path, url):
    return Members(forks, tmp_path, url)


def until(condition):
    """Wait until it holds; pytest's time-out ends a wait in vain."""
    while not condition():
        time.sleep(0.01)


def gone(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_a_member_that_is_killed_is_told_with_its_signal(members):
    before = time.monotonic_ns()
    pid = members.start()
    members.forks.signal(pid, signal.SIGKILL)
    (ended,) = members.end()
    assert (ended.pid, ended.code) == (pid, -signal.SIGKILL)
    assert before < ended.at_ns <= time.monotonic_ns()
    assert gone(pid)


def test_a_member_that_is_stopped_ends_with_its_exit_code(members):
    pid = members.start()
    members.forks.signal(pid, signal.SIGTERM)
    assert [ended.code for ended in members.end()] == [0]


@pytest.mark.parametrize("role", [member.WATCH, member.PRODUCE, member.WORK])
def test_a_member_that_is_stopped_as_soon_as_it_is_there_ends_with_its_exit_code_too(members, role):
    for delay_s in (0.0, 0.0, 0.0, 0.002, 0.005, 0.01, 0.02, 0.04):
        pid = members.start(role, wait=False)
        time.sleep(delay_s)  # any instant of its beginning
        members.forks.signal(pid, signal.SIGTERM)
        assert [ended.code for ended in members.end()] == [0]


def test_the_end_of_one_is_not_lost_while_another_starts(members):
    first = members.start()
    members.forks.signal(first, signal.SIGKILL)
    others = [members.start() for _ in range(3)]
    assert [ended.pid for ended in members.end()] == [first]
    assert not any(gone(pid) for pid in others)


def test_a_signal_for_one_that_has_ended_reaches_nobody(members):
    pid = members.start()
    members.forks.signal(pid, signal.SIGKILL)
    members.end()
    members.forks.signal(pid, signal.SIGKILL)
    members.forks.limit(pid, 0)
    assert members.start() != pid


def test_a_file_limit_is_set_and_lifted(members):
    pid = members.start()
    members.forks.limit(pid, 4096)
    until(lambda: soft_limit(pid) == "4096")
    members.forks.limit(pid, None)
    until(lambda: soft_limit(pid) != "4096")


def soft_limit(pid):
    limits = Path(f"/proc/{pid}/limits").read_text().splitlines()
    return next(line.split()[3] for line in limits if line.startswith("Max file size"))


def test_closing_kills_every_member_also_a_stopped_one(members):
    pids = [members.start(), members.start()]
    members.forks.signal(pids[0], signal.SIGSTOP)
    members.forks.close()
    assert all(gone(pid) for pid in pids)


def test_members_end_when_their_server_is_killed(members):
    pid = members.start()
    os.kill(members.forks.pid, signal.SIGKILL)
    until(lambda: gone(pid) or is_zombie(pid))
    with pytest.raises(BackendUnavailable, match="fork server is gone"):
        until(lambda: members.forks.ended(0.1) and False)


def is_zombie(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_nobody_is_left_when_the_one_who_asked_is_killed(tmp_path, url):
    code = f"""
import json, sys, time
from pathlib import Path
from orch.torture.forks import Forks
from orch.torture.member import Orders
forks = Forks(Path({str(tmp_path)!r}) / "forks.log", {{"url": {url!r}, "prefix": "t", "queue": None}})
orders = Orders(role="watch", lane="m", life=1, url={url!r}, folder={str(tmp_path)!r}, prefix="t", lease_s=2.0)
pid = forks.start(orders.to_dict(), Path({str(tmp_path)!r}) / "m.log")
print(json.dumps([forks.pid, pid]), flush=True)
time.sleep(1000)
"""
    asker = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    pids = json.loads(asker.stdout.readline())
    asker.kill()
    asker.communicate()
    until(lambda: all(gone(pid) or is_zombie(pid) for pid in pids))


def test_a_skewed_server_and_its_members_have_wrong_wall_clocks(tmp_path, url):
    (tmp_path / "late.py").write_text(
        "import time\nfrom orch.clock import process_clock\nfrom orch.errors import InvalidInput\n"
        "def make(url, settings): raise InvalidInput(f'{time.time()} {process_clock()} {time.monotonic()}')\n"
    )
    warm = {"url": url, "prefix": "t", "queue": None}
    path = os.environ.get("PYTHONPATH", "")
    os.environ["PYTHONPATH"] = f"{tmp_path}{os.pathsep}{path}"
    try:
        with Forks(tmp_path / "forks.log", warm, skew_s=500.0) as forks:
            orders = Orders(
                role=member.WORK,
                lane="m",
                life=1,
                url=url,
                folder=str(tmp_path),
                prefix="t",
                lease_s=2.0,
                queue="late:make",
            )
            forks.start(orders.to_dict(), tmp_path / "m.log")
            until(lambda: bool(forks.ended(1.0)))
    finally:
        os.environ["PYTHONPATH"] = path
    note = json.loads(orders.notes.read_text())
    wall, process, monotonic = map(float, note["error"].split())
    since = time.monotonic() - monotonic
    for clock in (wall, process):
        assert clock - (time.time() - since) == pytest.approx(500.0, abs=30.0)


def test_a_member_that_fails_by_a_fault_of_ours_leaves_its_traceback(forks, tmp_path):
    forks.start({"role": "nonsense"}, tmp_path / "m.log")
    (ended,) = wait_for_end(forks)
    assert ended.code == 70
    assert "Traceback" in (tmp_path / "m.log").read_text()


def wait_for_end(forks):
    while True:
        ended = forks.ended(1.0)
        if ended:
            return ended
