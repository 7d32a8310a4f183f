"""The level of somebody else's library: a seeded drive of its four verbs by several clients, judged by the checker.

One client acts at a time, so every history is exact and its witness can be replayed with the seed. Some clients crash
while they hold jobs, where the library has a bound within which such a job must come back; at the end all is drained,
and what was accepted and never settled is lost. A returned job may keep its place or go to the tail: the reading that
is kinder to the library counts.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from orch.checker import LEVELS, Spec, Verdict, Violation, check
from orch.checker.explain import explain
from orch.history import History, Op, Outcome
from orch.testing.adapters.base import Adapter, Delivery, load
from orch.testing.servers import start_redis

CLIENTS = 6  # each holds one job at a time, as a worker with one thread
CRASH = 0.008  # of the operations
BACKLOG_MAX = 60
LATE_S = 0.5  # what a sweep of the library may take on a busy machine
DRAIN_PAUSE_S = 0.05


@dataclass(frozen=True, slots=True)
class Row:
    """The level that one setting of a library held, and the witness of the first thing that the next level asks."""

    library: str
    version: str
    setting: str
    level: str | None
    operations: int
    nacks: int
    crashes: int
    rule: str
    message: str
    witness: str
    counts: dict[str, int]
    documented: str
    command: str

    def __str__(self) -> str:
        held = f"{self.level or 'none'} held for {self.operations} operations, {self.crashes} crashes"
        broken = f"; {self.rule}: {self.message}" if self.rule else ""
        said = f" (documented: {self.documented})" if self.documented and self.level is None else ""
        return f"{self.library} {self.version}, {self.setting}: {held}{broken}{said}"

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def level_of(library: str, setting: str, folder: Path, *, operations: int = 2_000, seed: int = 0) -> Row:
    """Drive one setting on a private Redis whose files are in `folder`, and judge what came."""
    adapter = load(library)
    with start_redis(folder / "redis") as server:
        drive = Drive(adapter, server.url, setting, seed)
        try:
            drive.run(operations)
        finally:
            drive.close()
    history = History(drive.ops)
    verdict, first = judged(history, adapter.recovery_s)
    return Row(
        library=library,
        version=adapter.version(),
        setting=adapter.setting_called(setting).text,
        level=verdict.level,
        operations=len(history),
        nacks=drive.done["nack"],
        crashes=drive.done["crash"],
        rule="" if first is None else f"{first.promise} {first.rule}",
        message="" if first is None else first.message,
        witness="" if first is None else explain(first, history),
        counts=verdict.counts,
        documented=adapter.setting_called(setting).documented,
        command=f"python -m orch.testing.adapters levels {library} --setting {setting} "
        f"--operations {operations} --seed {seed}",
    )


def judged(history: History, recovery_s: float | None) -> tuple[Verdict, Violation | None]:
    """The better verdict of the two readings, and its gravest violation."""
    lease_s = None if recovery_s is None else recovery_s / 3
    sweep_s = 0.0 if lease_s is None else 2 * lease_s + LATE_S
    verdicts = [
        check(history, Spec(lease_s=lease_s, sweep_s=sweep_s, max_crashes=None, keeps_ticket=keeps, skew_s=0.1))
        for keeps in (True, False)
    ]
    best = max(verdicts, key=lambda verdict: -1 if verdict.level is None else LEVELS.index(verdict.level))
    return best, min(best.violations, key=lambda one: (LEVELS.index(one.level), one.prefix), default=None)


class Drive:
    """Clients of one queue, what they hold, and the history of what they did."""

    def __init__(self, adapter: type[Adapter], url: str, setting: str, seed: int) -> None:
        self.rng = random.Random(f"{seed}/{adapter.library}/{setting}")
        self.crashing = adapter.recovery_s is not None
        self.nacking = setting not in adapter.no_nack
        self.recovery_s = adapter.recovery_s or 0.0
        self.clients = [adapter(url, setting) for _ in range(CLIENTS)]
        self.held: list[list[tuple[Delivery, int]]] = [[] for _ in self.clients]
        self.attempts: Counter[str] = Counter()
        self.done: Counter[str] = Counter()
        self.ops: list[Op] = []
        self._waiting = 0  # about so many jobs: those that were put and not taken

    def run(self, operations: int) -> None:
        """So many operations, then settle and drain until nothing can come any more."""
        while len(self.ops) < operations:
            self._act(self.rng.randrange(CLIENTS))
        for client in range(CLIENTS):
            while self.held[client]:
                self._settle(client, "ack")
        ended = time.monotonic() + self.recovery_s + 2 * LATE_S if self.done["crash"] else 0.0
        while True:
            if self._get(0):
                self._settle(0, "ack")
            elif time.monotonic() >= ended:
                break
            else:
                time.sleep(DRAIN_PAUSE_S)
        self._get(0)

    def _act(self, client: int) -> None:
        dice = self.rng.random()
        if dice < CRASH and self.crashing and self.held[client]:
            self.done["crash"] += 1
            self.held[client].clear()
            self.clients[client].crash()
        elif dice < 0.4 and self._waiting < BACKLOG_MAX:
            self._put(client)
        elif self.held[client]:
            self._settle(client, "nack" if self.nacking and self.rng.random() < 0.15 else "ack")
        else:
            self._get(client)

    def _put(self, client: int) -> None:
        self.done["put"] += 1
        self._waiting += 1
        job = f"job-{self.done['put']}"
        call = time.monotonic_ns()
        self.clients[client].put(job)
        self._record(client, "enqueue", job, {"max_retries": 1_000_000}, call, value=True)

    def _get(self, client: int) -> bool:
        self.clients[client].restart()  # as its worker's loop does
        call = time.monotonic_ns()
        found = self.clients[client].get()
        if found is None:
            self._record(client, "dequeue", None, {}, call)
            return False
        self.done["get"] += 1
        self._waiting -= 1
        self.attempts[found.job] += 1
        attempt = self.attempts[found.job]
        self.held[client].append((found, attempt))
        self._record(client, "dequeue", found.job, {}, call, attempt=attempt)
        return True

    def _settle(self, client: int, how: str) -> None:
        self.done[how] += 1
        held = self.held[client]
        found, attempt = held.pop()
        status, value = ("success", {"status": "success"}) if how == "ack" else ("retry", {"status": "pending"})
        self._waiting += how == "nack"
        call = time.monotonic_ns()
        (self.clients[client].ack if how == "ack" else self.clients[client].nack)(found)
        self._record(client, "report", found.job, {"status": status}, call, value=value, attempt=attempt)

    def _record(
        self,
        client: int,
        verb: str,
        job: str | None,
        args: dict[str, Any],
        call_ns: int,
        *,
        value: Any = None,
        attempt: int | None = None,
    ) -> None:
        ret_ns = time.monotonic_ns()
        self.ops.append(Op(f"client-{client}", verb, job, args, call_ns, ret_ns, Outcome.OK, value, attempt))

    def close(self) -> None:
        """Close every client."""
        for client in self.clients:
            client.close()
