"""How fast the SQLite queue is, as ratios to raw SQL of the same shape in the same interleaved run.

The *floor* moves the same bytes through the same indexes (record, order, lease, two time indexes, counters) with the
fewest statements and no checks, no clock, no worker, no answer but the record: a yardstick, not a queue. Targets: at
least 0.6 of it, one at a time and in hundreds, and flat within 1.5x from 1k to 1M jobs.

    python benchmarks/bench_sqlite.py [--rounds 7] [--stored 1000000] [--only verbs,growth,purge,start,workers]
"""

from __future__ import annotations

import argparse
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from orch import Job, JobStatus, Report
from orch.backends import sqlite as backend
from orch.backends.sqlite import SqliteQueue

HUNDRED = 100
CLOCK = time.process_time if os.environ.get("BENCH_CPU") else time.perf_counter  # CPU time, on a busy machine


class Floor:
    """Raw SQL on the same tables and indexes: what the file itself can do."""

    def __init__(self, path: Path) -> None:
        self.db = sqlite3.connect(path, isolation_level=None)
        for name in ("journal_wal", "synchronous_normal", "tune_cache", "tune_delete"):
            self.db.execute(backend._SQL[name]).fetchall()
        self.db.execute(f"PRAGMA wal_autocheckpoint = {backend.WAL_MAX // 4096}").fetchall()
        for name, statement in backend._SQL.items():
            if name.startswith("schema_"):
                self.db.execute(statement)
        self.seq = 0
        self.token = 0

    def enqueue(self, jobs: list[tuple[str, int, str]]) -> None:
        db, seq, now = self.db, self.seq, time.time_ns() // 1000
        db.execute("BEGIN IMMEDIATE")
        db.executemany(
            "INSERT INTO job (seq, id, priority, ticket, ready_us, enqueued_us, attempts, failures, crashes, crc, record)"
            " VALUES (?, ?, 0, ?, ?, ?, 0, 0, 0, 0, ?)",
            [(seq + i, id, seq + i, now, us, record) for i, (id, us, record) in enumerate(jobs, 1)],
        )
        self.seq += len(jobs)
        db.execute("UPDATE state SET seq = ?, ticket = ?, pending = pending + ?", (self.seq, self.seq, len(jobs)))
        db.execute("COMMIT")

    def dequeue(self, n: int) -> list[tuple[str, int]]:
        db, token, now = self.db, self.token, time.time_ns() // 1000
        db.execute("BEGIN IMMEDIATE")
        rows = db.execute(
            "SELECT seq, id, record FROM job INDEXED BY job_ready WHERE status = 0 AND due_us IS NULL"
            " ORDER BY priority DESC, ticket LIMIT ?",
            (n,),
        ).fetchall()
        db.executemany(
            "UPDATE job SET status = 1, attempts = attempts + 1, started_us = ?, token = ?, worker_id = ?,"
            " expires_us = ? WHERE seq = ?",
            [(now, token + i, "worker-1", now + 30_000_000, row[0]) for i, row in enumerate(rows, 1)],
        )
        self.token += len(rows)
        db.execute("UPDATE state SET token = ?, pending = pending - ?, running = running + ?", (self.token, n, n))
        db.execute("COMMIT")
        return [(row[1], token + i) for i, row in enumerate(rows, 1)]

    def report(self, held: list[tuple[str, int]]) -> None:
        db, now = self.db, time.time_ns() // 1000
        db.execute("BEGIN IMMEDIATE")
        db.executemany(
            "UPDATE job INDEXED BY job_known SET status = 2, finished_us = ?, token = NULL, worker_id = NULL,"
            " expires_us = NULL, settled_token = token, settled_status = 2 WHERE id = ? AND token = ? AND status = 1",
            [(now, id, token) for id, token in held],
        )
        db.execute("UPDATE state SET running = running - ?, success = success + ?", (len(held), len(held)))
        db.execute("COMMIT")

    def purge(self) -> int:
        """All finished jobs, in slices of 1,000."""
        removed = 0
        while True:
            self.db.execute("BEGIN IMMEDIATE")
            n = self.db.execute(
                "DELETE FROM job WHERE seq IN"
                " (SELECT seq FROM job INDEXED BY job_finished WHERE finished_us IS NOT NULL ORDER BY finished_us"
                " LIMIT 1000)"
            ).rowcount
            self.db.execute("UPDATE state SET success = success - ?", (n,))
            self.db.execute("COMMIT")
            removed += n
            if not n:
                return removed

    def close(self) -> None:
        self.db.close()


def raw(jobs: list[Job]) -> list[tuple[str, int, str]]:
    """The same jobs as the floor takes them."""
    return [(job.id, i, backend._new(job)[1][4]) for i, job in enumerate(jobs)]


class Watch:
    """How long each call of each verb took, in seconds an item."""

    def __init__(self) -> None:
        self.took: dict[str, list[float]] = {}

    def time(self, what: str, n: int, act: Callable[[], object]) -> object:
        started = CLOCK()
        answer = act()
        self.took.setdefault(what, []).append((CLOCK() - started) / n)
        return answer


def one_round(floor: Floor, queue: SqliteQueue, calls: int, watch: Watch) -> None:
    """Each verb on both, call by call, so that both see the same machine."""
    for n in (1, HUNDRED):
        for _ in range(calls if n == 1 else calls // 5):
            jobs = [Job.new("workflow:noop") for _ in range(n)]
            other = raw([Job.new("workflow:noop") for _ in range(n)])
            if n == 1:
                watch.time("enqueue, 1", n, lambda: queue.enqueue(jobs[0]))  # noqa: B023  # called at once
                mine = watch.time("dequeue, 1", n, lambda: queue.dequeue("worker-1"))
                watch.time(
                    "report, 1",
                    n,
                    lambda: queue.update_status(mine.id, JobStatus.SUCCESS, lease=mine.lease),  # noqa: B023  # as above
                )
            else:
                watch.time("enqueue, 100", n, lambda: queue.enqueue_many(jobs))  # noqa: B023  # as above
                mine = watch.time("dequeue, 100", n, lambda: queue.dequeue_many(HUNDRED, "worker-1"))
                reports = [Report(job.id, JobStatus.SUCCESS, lease=job.lease) for job in mine]
                watch.time("report, 100", n, lambda: queue.exchange(reports, 0))  # noqa: B023  # as above
            watch.time(f"enqueue, {n} floor", n, lambda: floor.enqueue(other))  # noqa: B023  # as above
            theirs = watch.time(f"dequeue, {n} floor", n, lambda: floor.dequeue(n))  # noqa: B023  # as above
            watch.time(f"report, {n} floor", n, lambda: floor.report(theirs))  # noqa: B023  # as above


def verbs(folder: Path, rounds: int) -> None:
    queue, floor = SqliteQueue(folder / "ours.db"), Floor(folder / "floor.db")
    one_round(floor, queue, 100, Watch())
    watch = Watch()
    for _ in range(rounds):
        one_round(floor, queue, 500, watch)
    queue.close()
    floor.close()
    median = {what: statistics.median(took) for what, took in watch.took.items()}
    mean = {what: statistics.fmean(took) for what, took in watch.took.items()}
    print(f"{'':14}{'median call, jobs/s':^30}  {'all, with checkpoints, jobs/s':^30}")
    print(f"{'verb':14}" + f"{'ours':>11}{'floor':>11}{'ratio':>8}  " * 2)
    for n in ("1", "100"):
        for verb in ("enqueue", "dequeue", "report"):
            line = f"{verb + ', ' + n:14}"
            for by in (median, mean):
                ours, raw_sql = by[f"{verb}, {n}"], by[f"{verb}, {n} floor"]
                line += f"{1 / ours:11,.0f}{1 / raw_sql:11,.0f}{raw_sql / ours:8.2f}  "
            print(line)
        line = f"{'the last two':14}"
        for by in (median, mean):
            ours = by[f"dequeue, {n}"] + by[f"report, {n}"]
            raw_sql = by[f"dequeue, {n} floor"] + by[f"report, {n} floor"]
            line += f"{1 / ours:11,.0f}{1 / raw_sql:11,.0f}{raw_sql / ours:8.2f}  "
        print(line)


def cost(act: Callable[[], object], n: int) -> float:
    """Median microseconds of an act."""
    samples = []
    for _ in range(n):
        started = time.perf_counter()
        act()
        samples.append(time.perf_counter() - started)
    return statistics.median(samples) * 1e6


def fill(queue: SqliteQueue, n: int, *, finish: bool) -> None:
    for _ in range(0, n, 1_000):
        queue.enqueue_many([Job.new("workflow:noop") for _ in range(1_000)])
        if finish:
            held = queue.dequeue_many(1_000, "worker-1")
            queue.exchange([Report(job.id, JobStatus.SUCCESS, lease=job.lease) for job in held], 0)


def growth(folder: Path, stored: int) -> None:
    """A small file beside one with many pending and as many finished jobs; each act on both in turn."""
    queues = {}
    for name, n in (("1k", 1_000), ("many", stored)):
        queues[name] = queue = SqliteQueue(folder / f"grown-{name}.db")
        fill(queue, n, finish=True)
        fill(queue, n, finish=False)

    def cycle(queue: SqliteQueue) -> None:
        job = queue.dequeue("worker-1")
        assert job is not None
        queue.update_status(job.id, JobStatus.SUCCESS, lease=job.lease)
        queue.enqueue(Job.new("workflow:noop"))

    def hundred(queue: SqliteQueue) -> None:
        held = queue.dequeue_many(HUNDRED, "worker-1")
        queue.exchange([Report(job.id, JobStatus.SUCCESS, lease=job.lease) for job in held], 0)
        queue.enqueue_many([Job.new("workflow:noop") for _ in range(HUNDRED)])

    acts: dict[str, tuple[int, Callable[[SqliteQueue], object]]] = {
        "counts": (300, lambda queue: queue.counts()),
        "stats": (300, lambda queue: queue.stats()),
        "list 100": (50, lambda queue: queue.list_jobs(limit=100)),
        "list 100 pending": (50, lambda queue: queue.list_jobs(JobStatus.PENDING, 100)),
        "list 100 success": (50, lambda queue: queue.list_jobs(JobStatus.SUCCESS, 100)),
        "dequeue+report+enqueue": (300, cycle),
        "the same, 100": (30, hundred),
    }
    print(f"\n{'µs per call':24}{'1k':>10}{stored:>12,}{'ratio':>8}   (pending, and as many finished)")
    for what, (n, act) in acts.items():
        small, large = [], []
        for _ in range(5):
            small.append(cost(lambda act=act: act(queues["1k"]), n))  # type: ignore[misc]  # mypy: default of a lambda
            large.append(cost(lambda act=act: act(queues["many"]), n))  # type: ignore[misc]  # as above
        a, b = statistics.median(small), statistics.median(large)
        print(f"{what:24}{a:10,.1f}{b:12,.1f}{b / a:8.2f}")
    for queue in queues.values():
        queue.close()


def purge(folder: Path, n: int) -> None:
    """How long one writer is kept waiting while another one purges, and the whole time beside the floor's."""
    queue, floor = SqliteQueue(folder / "purge.db"), Floor(folder / "purge-floor.db")
    fill(queue, n, finish=True)
    for _ in range(0, n, 1_000):
        floor.enqueue(raw([Job.new("workflow:noop") for _ in range(1_000)]))
        floor.report(floor.dequeue(1_000))
    holds: list[float] = []
    plain = backend._Step.purge

    def timed(step: backend._Step, cutoff_us: int, n: int) -> int:
        started = time.perf_counter()
        removed = plain(step, cutoff_us, n)
        holds.append(time.perf_counter() - started)
        return removed

    backend._Step.purge = timed  # type: ignore[method-assign]  # to see the slices from outside
    started = time.perf_counter()
    removed = queue.purge(0)
    ours = time.perf_counter() - started
    backend._Step.purge = plain  # type: ignore[method-assign]  # and back
    started = time.perf_counter()
    floor.purge()
    theirs = time.perf_counter() - started
    print(
        f"\npurge of {removed:,}: {ours:.2f} s, the floor {theirs:.2f} s, ratio {ours / theirs:.2f}; {len(holds)} slices,"
        f" the longest {max(holds) * 1e3:.1f} ms before its commit"
    )
    fill(queue, min(n, 100_000), finish=True)
    waits: list[float] = []
    done = threading.Event()
    other = SqliteQueue(folder / "purge.db")

    def write() -> None:
        while not done.is_set():
            started = time.perf_counter()
            other.enqueue(Job.new("workflow:noop"))
            waits.append(time.perf_counter() - started)
            time.sleep(0.002)

    thread = threading.Thread(target=write)
    thread.start()
    queue.purge(0)
    done.set()
    thread.join()
    waits.sort()
    print(
        f"  an enqueue beside a purge of {min(n, 100_000):,}: median {statistics.median(waits) * 1e3:.1f} ms,"
        f" p99 {waits[int(len(waits) * 0.99)] * 1e3:.1f} ms, longest {waits[-1] * 1e3:.1f} ms"
    )
    for opened in (queue, other, floor):
        opened.close()


WAITER = """
import sys, time
from orch import JobStatus
from orch.backends.sqlite import SqliteQueue
queue = SqliteQueue(sys.argv[1])
print("ready", flush=True)
while (job := queue.dequeue("waiter", wait_s=60)) is not None and job.dag_path != "workflow:end":
    started = time.time_ns()
    queue.update_status(job.id, JobStatus.SUCCESS, result={"at": started}, lease=job.lease)
cpu, wall = time.process_time(), time.monotonic()
queue.dequeue("waiter", wait_s=10)
print((time.process_time() - cpu) / (time.monotonic() - wall), flush=True)
queue.close()
"""


def start(folder: Path, n: int = 100) -> None:
    """From `enqueue` to its start in another, idle process; and what an idle process costs."""
    path = folder / "start.db"
    with (
        closing(SqliteQueue(path)) as queue,
        subprocess.Popen([sys.executable, "-c", WAITER, str(path)], stdout=subprocess.PIPE, text=True) as child,
    ):
        assert child.stdout is not None
        child.stdout.readline()
        delays = []
        for i in range(n):
            time.sleep(0.05 + (i * 7 % 50) / 1000)
            job = Job.new("workflow:noop")
            at = time.time_ns()
            queue.enqueue(job)
            while True:
                time.sleep(0.01)
                now = queue.get_job(job.id)
                if now is not None and now.result is not None:
                    break
            delays.append((now.result["at"] - at) / 1e6)
        queue.enqueue(Job.new("workflow:end"))
        idle = float(child.stdout.readline())
    delays.sort()
    print(
        f"\nstart of a job on an idle queue: p50 {statistics.median(delays):.1f} ms, p99 {delays[int(n * 0.99)]:.1f} ms,"
        f" longest {delays[-1]:.1f} ms; {idle * 100:.2f} % CPU while idle"
    )


WORKER = """
import sys
from orch import JobStatus, Report
from orch.backends.sqlite import SqliteQueue
queue, n, me = SqliteQueue(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
print("ready", flush=True)
sys.stdin.readline()
reports, jobs = [], [None]
while jobs:
    _, jobs = queue.exchange(reports, n, me)
    reports = [Report(job.id, JobStatus.SUCCESS, lease=job.lease) for job in jobs]
queue.close()
"""


def workers(folder: Path, total: int = 20_000) -> None:
    print("\nno-op jobs through worker processes, jobs/s")
    for n in (1, 10, 100):
        line = []
        for processes in (1, 2, 4, 8):
            path = folder / f"workers-{n}-{processes}.db"
            queue = SqliteQueue(path)
            count = total if n > 1 else total // 5
            fill(queue, count, finish=False)
            children = [
                subprocess.Popen(
                    [sys.executable, "-c", WORKER, str(path), str(n), f"w{i}"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
                for i in range(processes)
            ]
            for child in children:
                assert child.stdout is not None
                child.stdout.readline()
            started = time.perf_counter()
            for child in children:
                child.communicate("go\n")
            line.append(f"{processes}: {count / (time.perf_counter() - started):,.0f}")
            assert queue.count(JobStatus.SUCCESS) == count
            queue.close()
        print(f"  {n:3} a call, processes  " + "   ".join(line))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--stored", type=int, default=100_000, help="jobs in the large file, pending and finished each")
    parser.add_argument("--only", default="verbs,growth,purge,start,workers")
    options = parser.parse_args()
    chosen = options.only.split(",")
    print(f"SQLite {sqlite3.sqlite_version}, Python {sys.version.split()[0]}, {os.cpu_count()} cores\n")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if "verbs" in chosen:
            verbs(folder, options.rounds)
        if "growth" in chosen:
            growth(folder, options.stored)
        if "purge" in chosen:
            purge(folder, options.stored)
        if "start" in chosen:
            start(folder)
        if "workers" in chosen:
            workers(folder)


if __name__ == "__main__":
    main()
