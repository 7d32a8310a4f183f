"""What shows only in the file of a SQLite queue: sound rows, thrifty verbs, steps that fail, others who come between.

`sound` looks at a file that no queue has open. The other functions take the module under test and a store of it, and
raise `AssertionError` where it does something else than it should.
"""

from __future__ import annotations

import itertools
import sqlite3
import types
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Protocol

from orch.errors import BackendUnavailable
from orch.job import Job, JobStatus, Lease, Report
from orch.testing.clock import FakeClock

_NOW = "2027-01-15T08:00:00Z"
_BIG = 16_384  # characters from which on a job is purged with care


class Files(Protocol):
    """Makes empty queues in one file."""

    path: Path

    def __call__(self, clock: FakeClock, /) -> Any: ...

    def second_client(self, queue: Any, /) -> Any: ...


# -- rows --------------------------------------------------------------------------------------------------------------

#: What no file ever holds between two steps; 0 pending, 1 running, 2 success, 3 failed, 4 quarantined.
_UNSOUND: dict[str, str] = {
    "a running job without a lease": "status = 1 AND (token IS NULL OR worker_id IS NULL OR expires_us IS NULL)",
    "a running job that never started": "status = 1 AND started_us IS NULL",
    "a lease of a job that does not run": "status IN (0, 2, 3)"
    " AND (token IS NOT NULL OR worker_id IS NOT NULL OR expires_us IS NOT NULL)",
    "a lease of a quarantined job": "status = 4 AND token IS NOT NULL",
    "a ready job without a ticket": "status = 0 AND due_us IS NULL AND (ticket IS NULL OR ready_us IS NULL)",
    "a delayed job with a ticket": "due_us IS NOT NULL AND (ticket IS NOT NULL OR ready_us IS NOT NULL)",
    "a delayed job that is not pending": "due_us IS NOT NULL AND status <> 0",
    "a pending job that started": "status = 0 AND started_us IS NOT NULL",
    "an end of a job that has none": "(finished_us IS NOT NULL) <> (status IN (2, 3))",
    "a delay of a running job": "status = 1 AND not_before IS NOT NULL",
    "half of a settled pair": "(settled_token IS NULL) <> (settled_status IS NULL)",
    "a big job that is not marked": "big <> 1 AND (length(record) > 16384 OR length(result) > 16384 OR progress_size)",
    "a wrong size of outputs": "progress_size <> (SELECT ifnull(sum(size), 0) FROM progress WHERE seq = job.seq)",
    "a result that is nothing": "result = 'null'",
    "a number that was never given": "seq > (SELECT seq FROM state) OR ticket > (SELECT ticket FROM state)"
    " OR token > (SELECT token FROM state)",
}
_ELSEWHERE: tuple[tuple[str, str], ...] = (
    (
        "a wrong count of pending jobs",
        "SELECT 1 FROM state WHERE pending <> (SELECT count(*) FROM job WHERE status = 0)",
    ),
    (
        "a wrong count of running jobs",
        "SELECT 1 FROM state WHERE running <> (SELECT count(*) FROM job WHERE status = 1)",
    ),
    (
        "a wrong count of success jobs",
        "SELECT 1 FROM state WHERE success <> (SELECT count(*) FROM job WHERE status = 2)",
    ),
    (
        "a wrong count of failed jobs",
        "SELECT 1 FROM state WHERE failed <> (SELECT count(*) FROM job WHERE status = 3)",
    ),
    (
        "a wrong count of quarantined jobs",
        "SELECT 1 FROM state WHERE quarantined <> (SELECT count(*) FROM job WHERE status = 4)",
    ),
    (
        "a wrong count of ready jobs",
        "SELECT 1 FROM state WHERE ready <> (SELECT count(*) FROM job WHERE status = 0 AND due_us IS NULL)",
    ),
    ("outputs of no job", "SELECT 1 FROM progress LEFT JOIN job USING (seq) WHERE job.seq IS NULL"),
    ("purged jobs that are still to be removed", "SELECT 1 FROM gone"),
    ("an output of another size", "SELECT 1 FROM progress WHERE size <> length(CAST(output AS BLOB))"),
    (
        "a quarantine without its job",
        "SELECT 1 FROM quarantine LEFT JOIN job USING (seq) WHERE job.status IS NOT 4",
    ),
    ("a ticket that was given twice", "SELECT 1 FROM job WHERE status = 0 GROUP BY ticket HAVING count(ticket) > 1"),
)
_BAD_ROWS = "SELECT 1 FROM job WHERE "
_QUESTIONS = {**{what: _BAD_ROWS + when for what, when in _UNSOUND.items()}, **dict(_ELSEWHERE)}
_LOOK = " UNION ALL ".join(f"SELECT '{what}' WHERE EXISTS ({question})" for what, question in _QUESTIONS.items())


def sound(path: Path) -> None:
    """The rows of a file fit together."""
    with closing(sqlite3.connect(path)) as db:
        found = [what for (what,) in db.execute(_LOOK)]
    assert not found, f"in the file: {', '.join(found)}"


# -- statements --------------------------------------------------------------------------------------------------------


class _Told(dict[str, str]):
    """Statements that note their names when they are asked for; one of them may fail."""

    def __init__(self, statements: dict[str, str]) -> None:
        super().__init__(statements)
        self.names: list[str] = []
        self.failing = ""
        self.fault: Exception = _Failed()

    def __getitem__(self, name: str) -> str:
        self.names.append(name)
        if name == self.failing:
            raise self.fault
        return super().__getitem__(name)


class _Failed(Exception):
    """What happens in the middle of a step."""


@contextmanager
def _told(module: types.ModuleType) -> Iterator[_Told]:
    kept = module._SQL  # noqa: SLF001 - it is looked into
    module._SQL = told = _Told(kept)  # type: ignore[attr-defined]  # noqa: SLF001 - it is looked into
    try:
        yield told
    finally:
        module._SQL = kept  # type: ignore[attr-defined]  # noqa: SLF001 - it is looked into


def _job(name: str, **more: Any) -> Job:
    return Job(name, "d.yaml", "t", None, JobStatus.PENDING, _NOW, **more)


def thrift(module: types.ModuleType, store: Files) -> None:
    """Each verb has the statements that it needs, and no others; what it wrote itself is read without care."""
    clock = FakeClock()
    careful: list[bytes] = []
    decode = module.decode_record

    def carefully(raw: bytes) -> Job:
        careful.append(raw)
        job: Job = decode(raw)
        return job

    with closing(store(clock)) as queue, _told(module) as told:
        module.decode_record = carefully  # type: ignore[attr-defined]  # it is looked into

        def says(statements: str, act: Callable[[], Any]) -> Any:
            told.names.clear()
            answer = act()
            assert told.names == statements.split(), f"{' '.join(told.names)} instead of {statements}"
            return answer

        def report(job: Job, status: JobStatus) -> Callable[[], Any]:
            return lambda: queue.update_status(job.id, status, lease=job.lease)

        done, failed, retry = JobStatus.SUCCESS, JobStatus.FAILED, JobStatus.RETRY
        try:
            says("begin step ready commit", queue.dequeue)
            says("begin step enqueue save commit", lambda: queue.enqueue(_job("a", timeout_s=9.0)))
            says("begin step enqueue enqueued commit", lambda: queue.enqueue(_job("a")))
            says("begin step enqueue save commit", lambda: queue.enqueue_many([_job(name) for name in "bcd"]))
            says("begin step enqueue enqueued save commit", lambda: queue.enqueue_many([_job("d"), _job("e")]))
            late = _job("late", not_before="2027-01-15T09:00:00Z")
            says("begin step enqueue_whole save commit", lambda: queue.enqueue(late))
            says("begin step enqueue_whole enqueued commit", lambda: queue.enqueue(late))
            a = says("begin step ready deliver save commit", queue.dequeue)
            b = says("begin step beat ready deliver save commit", lambda: queue.dequeue("w1"))
            says("find", lambda: queue.get_job("a"))
            says("list_all", queue.list_jobs)
            says("list", lambda: queue.list_jobs(JobStatus.PENDING))
            says("begin step extend save commit", lambda: queue.extend_lease(a.lease))
            says("begin step held finish save commit", report(b, failed))
            says("begin step held finish save commit", report(a, done))
            says("begin step held find commit", report(a, done))
            says("begin step find settle save commit", lambda: queue.requeue("b"))
            many = says("begin step ready deliver save commit", lambda: queue.dequeue_many(3))
            says("begin step find settle save commit", report(many.pop(), retry))
            reports = [Report(job.id, done, lease=job.lease) for job in many]
            says("begin step held_many finish ready deliver save commit", lambda: queue.exchange(reports, 1))
            both = [reports[0], Report("late", failed, error="not now")]
            says("begin step held_many find find settle save commit", lambda: queue.exchange(both, 0))
            assert careful == [], "a record of our own was read with care"

            queue.enqueue(_job("later", not_before="2027-01-15T08:00:01Z"))
            queue.enqueue(_job("more", not_before="2027-01-15T08:00:02Z"))
            clock.advance(3.0)
            with_due = "begin step find promote settle save commit"
            says(with_due, lambda: queue.cancel("b"))
            queue.dequeue_many(9)
            clock.advance(60.0)
            says(
                "begin step expired settle settle expired ready deliver save commit",
                lambda: queue.dequeue_many(9),
            )
            clock.advance(7200.0)
            ends = "begin step purge_look commit begin step purge_next commit"
            says(f"begin step purge_look purge save commit {ends}", lambda: queue.purge(1.0))
            queue.enqueue_many([_job(str(n)) for n in range(101)])
            queue.dequeue_many(101)
            clock.advance(60.0)
            hundred = " ".join(["settle"] * 100)
            says(f"begin step expired {hundred} ready deliver save commit", queue.dequeue)
            queue.dequeue_many(101)

            # what cannot be read, among what ended and what is delivered
            clock.advance(60.0)
            queue.enqueue_many([_job(name) for name in "ABCDEF"])
            for name in ("0", "5", "B", "D"):
                queue.plant_record(name, b"{")
            found = "contain contain_reason"
            ends = (
                f"expired {found} {' '.join(['settle'] * 4)} {found} {' '.join(['settle'] * 94)} expired settle expired"
            )
            says(f"begin step {ends} ready deliver save commit", lambda: queue.dequeue_many(99))
            found = "find_again contain contain_reason"
            says(
                f"begin step ready {found} deliver ready {found} ready deliver save commit",
                lambda: queue.dequeue_many(3),
            )
            says("clock workers begin step workers_gone save commit", queue.workers)
            says("clock workers", queue.workers)
            says(
                "begin step schedule_cursor advance_schedule save commit",
                lambda: queue.advance_schedule("k", None, _NOW),
            )
            says("schedule_cursor", lambda: queue.schedule_cursor("k"))
            says("schedule_cursors", lambda: queue.schedule_cursors(["k", "l"]))
        finally:
            module.decode_record = decode  # type: ignore[attr-defined]  # as it was


def _record(name: str, x: str | None) -> str:
    """A record with a param, or with none."""
    start = f'{{"v":1,"id":"{name}","dag_path":"d.yaml","tenant_id":"t","schedule_id":null,"status":"pending",'
    end = "" if x is None else f',"params":{{"x":"{x}"}}'
    return f'{start}"enqueued_at":"{_NOW}"{end}}}'


def big_jobs(module: types.ModuleType, store: Files) -> None:
    """A big job is purged by itself, with what belongs to it; a plain record is as short as can be."""
    clock = FakeClock()
    with closing(store(clock)) as queue, _told(module) as told:
        fat = {"x": "y" * _BIG}
        around = len(_record("f", ""))
        fields: dict[str, dict[str, Any]] = {
            "a": {},
            "b": {"params": fat},
            "c": {"result": fat},
            "d": {},
            "e": {},
            "f": {"params": {"x": "y" * (_BIG - around)}},
            "g": {"result": {"x": "y" * (_BIG - len('{"x":""}'))}},
        }
        for name, more in fields.items():
            queue.enqueue(_job(name, **more))
            with closing(sqlite3.connect(store.path)) as db:
                record, big = db.execute("SELECT record, big FROM job WHERE id = ?", (name,)).fetchone()
            assert big == (name in "bc"), "which jobs are big"
            if name not in "bc":
                plain = _record(name, more["params"]["x"] if "params" in more else None)
                assert record == plain, f"a record is {record}"
            job = queue.dequeue("w1")
            if name == "e":
                queue.record_progress(job.lease, "t", 1)
            queue.update_status(
                name, JobStatus.SUCCESS, lease=job.lease, result=fat if name == "d" else more.get("result")
            )
            clock.advance(7200.0)
            told.names.clear()
            assert queue.purge(1.0) == 1
            how = [said for said in told.names if said.startswith("purge")]
            ends = ["purge_look", "purge_next"]
            one = ["purge_one", "purge_gone"] if name == "e" else ["purge_one"]
            outputs = ["purge_progress", "purge_progress", "purge_done", "purge_next"] if name == "e" else []
            expected = ["purge_look", "purge"] if name in "afg" else ["purge_look", "purge_find", *one]
            assert how == [*expected, *ends, *outputs], f"{how} for the job {name}"
        queue.enqueue(_job("again", max_retries=1))
        queue.update_status("again", JobStatus.RETRY, lease=queue.dequeue().lease, result=fat)
        queue.cancel("again")
        clock.advance(7200.0)
        told.names.clear()
        assert queue.purge(1.0) == 1
        assert "purge_one" in told.names, "the result of an earlier attempt is big"
        for name in "xy":
            queue.enqueue(_job(name, params=fat))
            queue.update_status(name, JobStatus.SUCCESS, lease=queue.dequeue().lease)
            clock.advance(1.0)
        clock.advance(3599.0)
        assert queue.purge(1.0) == 1, "an hour old is not older than an hour"


class _Hasty(FakeClock):
    """A clock that goes on whenever it is read."""

    hurry = 0.0

    def __call__(self) -> float:
        now = super().__call__()
        self.advance(self.hurry)
        return now


def slices(module: types.ModuleType, store: Files) -> None:
    """Where a slice may take no time, big jobs are purged one at a time, and four outputs at a time.

    What is too old is what was too old when the purge began, though it takes long.
    """
    clock, kept = _Hasty(), module.PURGE_HOLD_S
    with closing(store(clock)) as queue, _told(module) as told:
        for name in "abcd":
            queue.enqueue(_job(name))
            job = queue.dequeue()
            for n in range(6):
                queue.record_progress(job.lease, f"t{n}", n)
            queue.update_status(name, JobStatus.SUCCESS, lease=job.lease)
            clock.advance(1.0)
        clock.advance(3599.0)  # so that "d" is an hour old when the purge begins
        told.names.clear()
        module.PURGE_HOLD_S = -1.0  # type: ignore[attr-defined]  # it is looked into
        clock.hurry = 0.25
        try:
            assert queue.purge(1.0) == 3, "an hour old is not older than an hour"
        finally:
            module.PURGE_HOLD_S = kept  # type: ignore[attr-defined]  # as it was
        counted = Counter(told.names)
        assert counted["purge_find"] == counted["purge_one"] == counted["purge_gone"] == 3, "slices of a purge"
        assert counted["purge_progress"] == 9, "slices of outputs: four, two and none of each job"
        assert counted["begin"] == 3 + 1 + 7, "each slice is a step"


# -- steps that fail, and others ---------------------------------------------------------------------------------------


def failing(module: types.ModuleType, store: Files) -> None:
    """What goes wrong in a step comes out of it as it is, and undoes all of it."""
    with closing(store(FakeClock())) as queue, _told(module) as told:
        queue.enqueue(_job("a"))
        verbs: dict[str, tuple[Callable[[], Any], tuple[str, ...]]] = {
            "enqueue": (
                lambda: queue.enqueue(_job("b")),
                ("begin", "step", "step", "step", "enqueue", "save", "commit"),
            ),
            "dequeue": (lambda: queue.dequeue("w1"), ("beat", "ready", "deliver", "save", "commit")),
        }
        for verb, statements in verbs.values():
            for name in statements:
                before = queue.list_jobs(), queue.stats(), queue.workers()
                told.failing = name
                try:
                    verb()
                except _Failed:
                    pass
                else:
                    raise AssertionError(f"a fault in {name} was swallowed")
                finally:
                    told.failing = ""
                after = queue.list_jobs(), queue.stats(), queue.workers()
                assert after == before, f"a fault in {name} left something behind"
            assert verb(), "after faults"
        told.failing, told.fault = "find", sqlite3.OperationalError("as SQLite says")
        why = ""
        try:
            queue.requeue("a")
        except BackendUnavailable as error:
            why = str(error)
        assert "as SQLite says" in why, "an error of SQLite came out as it is, or not at all"


def woken(_: types.ModuleType, store: Files) -> None:
    """Who waits is woken by each step that changed something, and by no other."""
    with closing(store(FakeClock())) as queue:
        calls: list[int] = []
        queue._file.tell = lambda: calls.append(1)  # noqa: SLF001 - it is looked into
        for times in (1, 0):
            calls.clear()
            before = queue._file.changes  # noqa: SLF001 - it is looked into
            queue.enqueue(_job("a"))
            assert len(calls) == times, "who waits is woken"
            assert queue._file.changes == before + times, "who waits sees a change"  # noqa: SLF001 - it is looked into


def between(_: types.ModuleType, store: Files) -> None:
    """A job that a list cannot read may be gone, or found by another, before it is put into quarantine."""
    for gone in (True, False):
        clock = FakeClock()
        with closing(store(clock)) as queue, closing(store.second_client(queue)) as other:
            for name in "abcd":
                queue.enqueue(_job(name))
            job = queue.dequeue()
            queue.update_status(job.id, JobStatus.SUCCESS, lease=job.lease)
            clock.advance(10.0)
            for name in "abc":
                queue.plant_record(name, b"{")
            rows, looks = queue._file.rows, [0]  # noqa: SLF001 - it is looked into

            def meanwhile(name: str, parameters: Any = (), gone: bool = gone) -> Any:
                found = rows(name, parameters)  # noqa: B023 - it is called in this round only
                looks[0] += 1  # noqa: B023 - as above
                if looks[0] == 1:  # noqa: B023 - as above
                    if gone:
                        assert other.purge(0.0) == 1
                    else:
                        assert len(other.list_jobs()) == 1
                return found

            queue._file.rows = meanwhile  # noqa: SLF001 - it is looked into
            assert [one.id for one in queue.list_jobs()] == ["d"]
            assert looks == [2], "a list is asked for once more, and no more, when some could not be read"
            assert len(queue.quarantined()) == (2 if gone else 3)


def damaged(_: types.ModuleType, store: Files) -> None:
    """A text with a bad bit, or a result that is cut, costs its job only."""
    damages = {
        "error": "UPDATE job SET error = X'FF' WHERE id = 'error'",
        "result": "UPDATE job SET result = '{' WHERE id = 'result'",
        "delay": "UPDATE job SET not_before = X'FE' WHERE id = 'delay'",
    }
    with closing(store(FakeClock())) as queue:
        for name in damages:
            queue.enqueue(_job(name, error="an error", result={"x": 1}, not_before=_NOW))
        queue.enqueue(_job("whole"))
        with closing(sqlite3.connect(store.path)) as db, db:
            for damage in damages.values():
                db.execute(damage)
        assert [job.id for job in queue.list_jobs()] == ["whole"]
        assert len(queue.quarantined()) == 3


def clocks(module: types.ModuleType, store: Files) -> None:
    """The store's time goes on with the machine's, and does not go back: not by its wall clock, nor over a boot."""
    kept = module._MACHINE  # noqa: SLF001 - it is looked into
    hour = 3_600_000_000
    at = {"uptime": 5 * hour, "wall": 500_000 * hour}

    def boots(boot_id: str) -> None:
        machine = module.Machine(boot_id, lambda: at["uptime"], lambda: at["wall"])
        module._MACHINE = machine  # type: ignore[attr-defined]  # noqa: SLF001 - it is looked into

    try:
        boots("first")
        with closing(store(FakeClock())):
            pass
        with closing(module.SqliteQueue(store.path, lease_s=60.0)) as queue:
            numbers = itertools.count()

            def now(second: int) -> None:
                queue.enqueue(_job(str(next(numbers))))
                queue.enqueue(_job(str(next(numbers)), not_before=_NOW))
                lease: Lease = queue.dequeue("w1").lease
                assert lease.expires_at == 500_000 * 3600 + second + 60, f"the time is {lease.expires_at - 60}"
                assert queue.stats().oldest_ready_age_s == 0.0, "the time of looking"
                (worker,) = queue.workers()
                assert worker.id == "w1"
                while queue.dequeue("w1") is not None:
                    pass

            def goes(uptime: float, wall: float, second: int) -> None:
                at["uptime"] += round(uptime * 1_000_000)
                at["wall"] += round(wall * 1_000_000)
                now(second)

            now(0)
            goes(1, 0, 1)
            goes(0, 3600, 1)
            goes(0, -10_800, 1)
            at["uptime"] = 0
            boots("second")
            now(1)
            goes(2, 0, 3)
            goes(1, 7205, 4)
            boots("third")
            now(5)
            goes(1, -9, 6)
            goes(-3, 100, 6)  # the uptime never does that
            goes(1, 0, 6)
            goes(2, 0, 6)
            goes(1, 0, 7)
            boots("")  # a machine that does not tell its boots
            at["wall"] = 500_000 * hour
            goes(1, 0, 7)
            goes(1, 15, 8)
            goes(0, 15, 8)
            at["uptime"] = 0
            now(30)
            goes(3, 0, 33)
            queue.enqueue(_job("waits"))
            at["uptime"] += 4_000_000
            assert queue.stats().oldest_ready_age_s == 4.0, "the time of looking"
            with _told(module) as told:
                assert queue.dequeue() is not None
                assert queue.dequeue() is None
                assert "boot" not in told.names, "the boot is written down once"
    finally:
        module._MACHINE = kept  # type: ignore[attr-defined]  # noqa: SLF001 - as it was


CHECKS = (thrift, big_jobs, slices, failing, woken, between, damaged, clocks)
