"""The kill matrix of somebody else's library: its real worker is killed in take and in run, and its Redis goes away.

Every cell has a private server and a worker of its own, whose processes are one session. A number is the seconds from
the death of the worker until another one, started at once, began the job again.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from orch.errors import BackendUnavailable, NotSupported
from orch.testing.adapters.base import load
from orch.testing.adapters.tasks import NOTES
from orch.testing.servers import RedisServer, start_redis

WHAT = ("take", "run", "idle outage", "busy outage", "job ends in outage")
OUTAGE_S = 4.0
INTO_THE_JOB_S = 1.0
WARM_S = 60.0  # how long a worker may take to run its first job
STEP_S = 0.05
VICTIM = "victim-of-the-nemesis"


@dataclass(frozen=True, slots=True)
class Cell:
    """What one worker of one library showed. `seconds` None: it did not run again within `waited_s`."""

    library: str
    version: str
    setting: str
    what: str
    seconds: float | None
    waited_s: float
    held_in: tuple[str, ...]  # the keys that still held the job when it had not come back
    state: str  # what the library says of the job then, if it says anything
    exit_code: int | None  # of the worker, if it ended by itself
    documented: str
    command: str

    def __str__(self) -> str:
        if self.seconds is not None:
            return f"{self.seconds:.1f}" if self.what in ("take", "run") else f"resumes ({self.seconds:.1f} s)"
        if self.exit_code is not None:
            return f"exits with status {self.exit_code}"
        if self.state == "failed":
            return f"ended FAILED after {self.waited_s:.0f} s, not run again"
        if self.what in ("take", "run"):
            return f"not in {self.waited_s:.0f} s (kept)" if self.held_in else "LOST"
        return f"takes nothing for {self.waited_s:.0f} s"

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {**asdict(self), "said": str(self)}


def cell(library: str, setting: str, what: str, folder: Path, patience_s: float) -> Cell:
    """Do it once, in an empty folder."""
    adapter = load(library)
    begun = time.monotonic()
    with start_redis(folder / "redis", appendfsync="everysec") as server:
        bench = _Bench(library, setting, server, folder, patience_s)
        try:
            seconds, code = bench.killed(what) if what in ("take", "run") else bench.outage(what)
            lost = seconds is None
            held, state = (bench.held_in(), bench.state()) if lost and server.pid is not None else ((), "")
        finally:
            bench.end()
    return Cell(
        library=library,
        version=adapter.version(),
        setting=adapter.setting_called(setting).text,
        what=what,
        seconds=None if seconds is None else round(seconds, 2),
        waited_s=round(bench.waited_s or time.monotonic() - begun, 1),
        held_in=held,
        state=state,
        exit_code=code,
        documented=adapter.setting_called(setting).documented,
        command=f"python -m orch.testing.adapters kills {library} --setting {setting} --what '{what}' "
        f"--patience {patience_s:g}",
    )


class _Bench:
    """A server, workers, and the notes of what they ran."""

    def __init__(self, library: str, setting: str, server: RedisServer, folder: Path, patience_s: float) -> None:
        self.library, self.setting, self.server, self.folder = library, setting, server, folder
        self.patience_s = patience_s
        self.waited_s = 0.0
        self.notes = folder / "notes.jsonl"
        self._workers: list[subprocess.Popen[bytes]] = []

    def worker(self, take: str = "") -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "orch.testing.adapters.worker", self.library, self.setting, self.server.url]
        with (self.folder / f"worker-{len(self._workers)}.log").open("wb") as log:
            process = subprocess.Popen(
                [*command, *([take] if take else [])],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                env={**os.environ, NOTES: str(self.notes)},
                start_new_session=True,  # so that all its processes can be found: some form groups of their own
            )
        self._workers.append(process)
        return process

    def end(self) -> None:
        for process in self._workers:
            _kill(process)

    def put(self, job_id: str, seconds: float) -> None:
        with self._adapter() as adapter:
            adapter.put(job_id, seconds)

    @contextmanager
    def _adapter(self) -> Iterator[Any]:
        adapter = load(self.library)(self.server.url, self.setting)
        try:
            yield adapter
        finally:
            adapter.close()

    def began(self, job_id: str, session: int | None = None) -> float | None:
        """When the job began, in any worker or in this one; seconds of the monotonic clock."""
        return next((note["at_ns"] / 1e9 for note in self._noted("begin", job_id, session)), None)

    def _noted(self, what: str, job_id: str, session: int | None) -> Iterator[dict[str, Any]]:
        text = self.notes.read_bytes() if self.notes.exists() else b""
        for line in text.splitlines(keepends=True):
            if line.endswith(b"\n"):
                note = json.loads(line)
                if note["what"] == what and note["job"] == job_id and session in (None, note["session"]):
                    yield note

    def warm(self, process: subprocess.Popen[bytes]) -> None:
        """Let a worker run a first job: from then on it is ready."""
        self.put("warm", 0.0)
        if not _until(lambda: bool(list(self._noted("end", "warm", None))), WARM_S):
            raise BackendUnavailable(
                f"a worker of {self.library} ran nothing in {WARM_S:g} s (exit code {process.poll()}); "
                f"see {self.folder}/worker-0.log"
            )

    def killed(self, what: str) -> tuple[float | None, int | None]:
        first = self.worker(VICTIM if what == "take" else "")
        self.warm(first)
        self.put(VICTIM, 0.1 if what == "take" else 3.0)
        if what == "take":
            first.wait(WARM_S)
            _kill(first)
        else:
            _until(lambda: self.began(VICTIM) is not None, WARM_S)
            time.sleep(INTO_THE_JOB_S)
            _kill(first)
        died = time.monotonic()
        second = self.worker()
        self._wait(lambda: self.began(VICTIM, second.pid) is not None or self.state() == "failed")
        back = self.began(VICTIM, second.pid)
        self.waited_s = time.monotonic() - died
        return (None if back is None else back - died), second.poll()

    def outage(self, what: str) -> tuple[float | None, int | None]:
        worker = self.worker()
        self.warm(worker)
        if what != "idle outage":  # a job that ends when the server is back, or while it is away
            self.put(VICTIM, 2 * OUTAGE_S if what == "busy outage" else OUTAGE_S / 2)
            _until(lambda: self.began(VICTIM) is not None, WARM_S)
        self.server.kill()
        time.sleep(OUTAGE_S)
        self.server.start()
        back = time.monotonic()
        self.put("after", 0.0)
        self._wait(lambda: self.began("after") is not None or worker.poll() is not None)
        began = self.began("after")
        self.waited_s = time.monotonic() - back
        return (None if began is None else max(0.0, began - back)), worker.poll()

    def _wait(self, condition: Callable[[], bool]) -> None:
        _until(condition, self.patience_s)

    def state(self) -> str:
        """What the library says of the victim, where it says something."""
        with self._adapter() as adapter:
            try:
                return str(adapter.state(VICTIM))
            except NotSupported:
                return ""

    def held_in(self) -> tuple[str, ...]:
        """The keys, other than a record of the job alone, that name the victim."""
        import redis

        from orch.testing.adapters.worker import names

        mark = VICTIM.encode()
        found = []
        with redis.Redis.from_url(self.server.url) as client:
            read = {
                b"list": lambda key: client.lrange(key, 0, -1),
                b"hash": client.hgetall,
                b"set": client.smembers,
                b"zset": lambda key: client.zrange(key, 0, -1),
            }
            for key in sorted(client.keys()):
                kind = client.type(key)
                if mark not in key and kind in read and names(read[kind](key), mark):
                    found.append(key.decode())
        return tuple(found)


def _until(condition: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(STEP_S)
    return True


def _kill(process: subprocess.Popen[bytes]) -> None:
    """`kill -9` of every process of a worker's session; the worker first, so that it starts no more."""
    with suppress(ProcessLookupError):
        os.kill(process.pid, signal.SIGKILL)
    for entry in Path("/proc").iterdir():
        with suppress(ValueError, ProcessLookupError, PermissionError):
            if os.getsid(int(entry.name)) == process.pid:
                os.kill(int(entry.name), signal.SIGKILL)
    process.wait()
