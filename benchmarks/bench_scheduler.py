"""How long one look of the scheduler takes when 10,000 schedules are due at once, beside enqueueing as many jobs.

The ratio says what deciding, reading cursors and moving them costs over what no scheduler can save.
"""

import sys
import tempfile
import time
from pathlib import Path

from orch import Job, open_queue
from orch.schedule import Schedule
from orch.scheduler.driver import drive
from orch.scheduler.logic import Scheduler
from orch.testing.servers import find_server, start_redis

COUNT = 10_000
LOOKS = 5
START = 1_793_491_200.0


def measure(url: str) -> None:
    queue = open_queue(url)
    jobs = [Job.new("etl.yaml", schedule_id="s", tenant_id="t") for _ in range(COUNT)]
    began = time.perf_counter()
    queue.enqueue_many(jobs)
    bare = time.perf_counter() - began
    now = [START]
    scheduler = Scheduler(Schedule(f"s{n}", "* * * * *", "etl.yaml") for n in range(COUNT))
    took = []
    for _ in range(LOOKS):
        began = time.perf_counter()
        new = drive(scheduler.once(), queue, clock=lambda: now[0])
        took.append(time.perf_counter() - began)
        if new != COUNT:
            sys.exit(f"{COUNT} schedules are due, {new} jobs were new")
        now[0] += 60
    queue.close()
    best = min(took)
    print(f"{url.partition(':')[0]:8}{took[0]:12.2f}{best:12.2f}{bare:14.2f}{best / bare:8.1f}")


if __name__ == "__main__":
    print(
        f"{COUNT} schedules due at once, in seconds\n{'':8}{'first look':>12}{'best of 5':>12}{'enqueue_many':>14}{'ratio':>8}"
    )
    with tempfile.TemporaryDirectory() as folder:
        measure("memory://")
        measure(f"sqlite:///{Path(folder) / 'queue.db'}")
        if find_server() is not None:
            with start_redis(Path(folder)) as server:
                measure(server.url)
