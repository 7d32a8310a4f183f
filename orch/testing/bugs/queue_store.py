# ruff: noqa: SLF001 - a bug reaches into what it breaks
"""Bugs of stores: what is not there after the queue was opened again (Q14).

`Journaled` is a right queue in memory that survives its process: each step is written to a journal before it returns,
and opening does them all again. Its bugs write too late, or not everything.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from orch.backends.memory import MemoryQueue
from orch.errors import OrchError
from orch.job import CursorMove, Job, JobStatus, Lease, Report
from orch.testing.bugs.making import breaks, bugs_of
from orch.testing.clock import FakeClock

Step = tuple[float, str, tuple[Any, ...]]


class Journaled(MemoryQueue):
    """A right queue in memory, with a journal."""

    forgets = ""  # a step that is not written

    def __init__(self, clock: FakeClock, journal: list[Step] | None = None) -> None:
        super().__init__(clock=clock)
        self._journal: list[Step] = []
        for then, step, args in [] if journal is None else journal:
            self._read_clock = lambda then=then: then  # type: ignore[misc]  # the time of that step
            try:
                getattr(MemoryQueue, step)(self, *args)
            except OrchError:
                continue  # as it was then
        self._read_clock = clock
        self._journal = [] if journal is None else journal

    @staticmethod
    def store(kind: type[Journaled]) -> JournaledStore:
        """Queues of this class, with the `reopen` hook."""
        return JournaledStore(kind)

    def write(self, step: str, args: tuple[Any, ...]) -> None:
        """Write a step to the journal; what is not there is lost with the process."""
        if step != self.forgets:
            self._journal.append((self._read_clock(), step, args))

    def _enqueue(self, jobs: Sequence[Job]) -> int:
        self.write("_enqueue", ([job.copy() for job in jobs],))
        return super()._enqueue(jobs)

    def _exchange(
        self, reports: Sequence[Report], n: int, worker_id: str, lease_s: float
    ) -> tuple[list[Job | OrchError], list[Job]]:
        self.write("_exchange", (list(reports), n, worker_id, lease_s))
        return super()._exchange(reports, n, worker_id, lease_s)

    def _extend(self, leases: Sequence[Lease], lease_s: float) -> list[Lease | OrchError]:
        self.write("_extend", (list(leases), lease_s))
        return super()._extend(leases, lease_s)

    def _record_progress(self, lease: Lease, task_id: str, output: str) -> None:
        self.write("_record_progress", (lease, task_id, output))
        super()._record_progress(lease, task_id, output)

    def _requeue(self, job_id: str) -> Job:
        self.write("_requeue", (job_id,))
        return super()._requeue(job_id)

    def _get(self, job_id: str) -> Job | None:
        self.write("_get", (job_id,))  # which may find a record unreadable
        return super()._get(job_id)

    def _list(self, status: JobStatus | None, limit: int) -> list[Job]:
        self.write("_list", (status, limit))
        return super()._list(status, limit)

    def _purge(self, older_than_s: float) -> int:
        self.write("_purge", (older_than_s,))
        return super()._purge(older_than_s)

    def announce(self, info: Any) -> None:
        super().announce(info)
        self.write("announce", (info,))

    def _advance(self, moves: Sequence[CursorMove]) -> list[bool]:
        self.write("_advance", (list(moves),))
        return super()._advance(moves)

    def plant_record(self, job_id: str, raw: bytes) -> None:
        self.write("plant_record", (job_id, raw))
        super().plant_record(job_id, raw)


class JournaledStore:
    """Queues that are opened again from their journals."""

    def __init__(self, kind: type[Journaled]) -> None:
        self._kind = kind

    def __call__(self, clock: FakeClock) -> Journaled:
        return self._kind(clock)

    def reopen(self, queue: Journaled) -> Journaled:
        """The process is killed; another one opens what it had written."""
        assert isinstance(queue._clock, FakeClock)
        return self._kind(queue._clock, queue._journal)


@breaks("Q14", source="sqlite synchronous=OFF; orch")
class ReturnsBeforeItWrites(Journaled):
    """A report returns, and is written with the step after it: killed between, the job runs again."""

    def __init__(self, clock: FakeClock, journal: list[Step] | None = None) -> None:
        self._late: list[Step] = []
        super().__init__(clock, journal)

    def write(self, step: str, args: tuple[Any, ...]) -> None:
        self._journal += self._late
        self._late = []
        if step == "_exchange" and args[0]:
            self._late = [(self._read_clock(), step, args)]
        else:
            super().write(step, args)


@breaks("Q14", source="redis appendfsync everysec; orch")
class EnqueuesAreWrittenInBatches(Journaled):
    """Enqueues are written every third time: the last two that were accepted are gone."""

    def __init__(self, clock: FakeClock, journal: list[Step] | None = None) -> None:
        self._batch: list[Step] = []
        super().__init__(clock, journal)

    def write(self, step: str, args: tuple[Any, ...]) -> None:
        if step == "_enqueue":
            self._batch.append((self._read_clock(), step, args))
            if len(self._batch) < 3:
                return
        self._journal += self._batch
        self._batch = []
        if step != "_enqueue":
            super().write(step, args)


@breaks("Q14", "Q5", source="sidekiq; orch")
class ExtensionsAreInMemory(Journaled):
    """Extensions are not written: after a restart of the store the live worker's lease ends early."""

    forgets = "_extend"


@breaks("Q14", source="orch")
class RequeuesAreInMemory(Journaled):
    """An operator's requeue is not written."""

    forgets = "_requeue"


@breaks("Q14", "D5", source="dbos#742; orch")
class ProgressIsInMemory(Journaled):
    """What tasks recorded is gone after a restart: they run again."""

    forgets = "_record_progress"


@breaks("Q14", "S2", source="river#791")
class CursorsAreInMemory(Journaled):
    """A schedule's cursor lives in memory only: after a restart its ticks are missed or repeated."""

    forgets = "_advance"


@breaks("Q14", "Q10", source="orch")
class PurgesAreInMemory(Journaled):
    """What was purged is there again after a restart."""

    forgets = "_purge"


@breaks("Q14", "Q4", source="orch")
class TokensStartAnew(Journaled):
    """The last token is not written: after a restart, and with a clock that went back, tokens repeat."""

    def __init__(self, clock: FakeClock, journal: list[Step] | None = None) -> None:
        super().__init__(clock, journal)
        self._token = 0


@breaks("Q14", "Q8", source="orch")
class SettledPairsAreInMemory(Journaled):
    """Which report settled a delivery is not written: repeated after a restart, it is LeaseLost."""

    def __init__(self, clock: FakeClock, journal: list[Step] | None = None) -> None:
        super().__init__(clock, journal)
        for entry in self._entries.values():
            entry.settled = None


@breaks("Q14", "Q2", source="orch")
class TicketsAreInMemory(Journaled):
    """After a restart the jobs that wait come in the order of their enqueue, whatever had happened to them."""

    def __init__(self, clock: FakeClock, journal: list[Step] | None = None) -> None:
        super().__init__(clock, journal)
        waiting = [entry for entry in self._entries.values() if entry.ticket and self._in_lane(entry)]
        self._lanes, self._priorities, self._ready = {}, [], 0
        for entry in waiting:
            entry.ticket = entry.seq
            self._push_ready(entry)


@breaks("Q14", "Q5", "Q1", source="taskiq-redis#130; seed 55")
class RunningJobsAreForgotten(Journaled):
    """After a restart nobody knows which leases there are: the running jobs run for ever."""

    def __init__(self, clock: FakeClock, journal: list[Step] | None = None) -> None:
        super().__init__(clock, journal)
        self._leases = []


@breaks("Q14", "Q2", source="sidekiq#3047; orch")
class DelaysAreInMemory(Journaled):
    """After a restart the delayed jobs are ready at once."""

    def __init__(self, clock: FakeClock, journal: list[Step] | None = None) -> None:
        super().__init__(clock, journal)
        for _, _, job_id in self._delayed:
            entry = self._entries.get(job_id)
            if entry is not None and entry.due_us is not None and entry.job.status is JobStatus.PENDING:
                self._make_pending(entry, 0, None)
        self._delayed = []


BUGS = bugs_of(globals())
