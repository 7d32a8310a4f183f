"""What judging a history costs: seconds and memory for 10^4 to 10^6 operations of 16 clients.

    python benchmarks/bench_checker.py [--seed 1] [--quick]

Each row runs in a process of its own, so that its peak memory is its own. Histories come from a simulated queue that
16 clients use without pause: half enqueues, half dequeues, so the queue is often empty and sometimes thousands deep.
Growth is the time per n log2 n against the smallest row: 1.0 is exactly n log n.
"""

import argparse
import json
import random
import resource
import subprocess
import sys
import time
from array import array
from collections import deque
from math import log2

from orch.checker import NEVER, Columns, Spec, check, check_fifo
from orch.history import History, Op, Outcome

CLIENTS = 16
TARGETS = [  # operations, unknown, engine, seconds at most, goal in seconds
    (1_000_000, 1_000, "python", 5.0, 2.0),
    (1_000_000, 1_000, "numpy", 1.0, 0.3),
    (100_000, 10_000, "python", 1.0, None),
    (100_000, 10_000, "numpy", 1.0, None),
]


def columns_of_a_run(n, unknown, seed):
    """A correct run: every operation takes effect at one instant between its call and its return."""
    rng = random.Random(seed)
    lost = set(rng.sample(range(n), unknown))
    operations = []
    clocks = [rng.randrange(1_000) for _ in range(CLIENTS)]
    for i in range(n):
        client = i % CLIENTS
        call = clocks[client]
        ret = call + 1 + int(rng.expovariate(1 / 50_000))
        operations.append((call + int(rng.random() * (ret - call)), call, ret, i))
        clocks[client] = ret + 1 + rng.randrange(1_000)
    kinds, values, calls, rets = array("b"), array("q"), array("q"), array("q")
    queued, value = deque(), 0
    for _, call, ret, i in sorted(operations):
        happened = i not in lost or rng.random() < 0.5
        if rng.random() < 0.5:
            kinds.append(0)
            values.append(value)
            if happened:
                queued.append(value)
            value += 1
        else:
            kinds.append(1)
            taken = queued.popleft() if happened and queued else -1
            values.append(-1 if i in lost else taken)
        calls.append(call)
        rets.append(NEVER if i in lost else ret)
    return Columns(kinds, values, calls, rets)


def ops_of_leases(n, seed):
    """A correct run of a queue with leases, as records: enqueue, dequeue, report, in turns of 16 clients."""
    rng = random.Random(seed)
    ops, queued, held, now, job = [], deque(), {}, 0, 0
    for i in range(n):
        now += 1_000 + rng.randrange(1_000)
        client, call, ret = f"c{i % CLIENTS}", now, now + rng.randrange(1_000)
        if client in held:
            taken, token = held.pop(client)
            args, value = {"status": "success"}, {"status": "success"}
            ops.append(Op(client, "report", taken, args, call, ret, Outcome.OK, value, None, token))
        elif rng.random() < 0.5:
            job += 1
            queued.append(str(job))
            ops.append(Op(client, "enqueue", str(job), {"max_retries": 0}, call, ret, Outcome.OK, True))
        elif queued:
            held[client] = queued.popleft(), i
            ops.append(Op(client, "dequeue", held[client][0], {}, call, ret, Outcome.OK, None, 1, i))
        else:
            ops.append(Op(client, "dequeue", None, {}, call, ret, Outcome.OK))
    return ops


def one(n, unknown, engine, seed):
    """Measure one row; the best of three, each from the columns (or records) on."""
    if engine == "leases":
        history = History(ops_of_leases(n, seed))
        judge = lambda: check(history, Spec())  # noqa: E731  # a row's work
    elif engine.startswith("records"):
        columns = columns_of_a_run(n, unknown, seed)
        ops = [columns.op(row) for row in range(n)]
        judge = lambda: check_fifo(ops, numpy=engine == "records+numpy")  # noqa: E731  # as above
    else:
        columns = columns_of_a_run(n, unknown, seed)
        judge = lambda: check_fifo(columns, numpy=engine == "numpy")  # noqa: E731  # as above
    best = float("inf")
    for _ in range(3):
        start = time.process_time()
        verdict = judge()
        best = min(best, time.process_time() - start)
        assert verdict.valid, verdict
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": best, "peak_mib": peak, **verdict.counts}))


def measured(n, unknown, engine, seed):
    """The row of `one`, from a process of its own."""
    command = [sys.executable, __file__, "--one", str(n), str(unknown), engine, "--seed", str(seed)]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--one", nargs=3, metavar=("N", "UNKNOWN", "ENGINE"), help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="up to 10^5 operations only")
    args = parser.parse_args()
    if args.one:
        one(int(args.one[0]), int(args.one[1]), args.one[2], args.seed)
        return 0
    rows = [(n, 0, engine) for engine in ("python", "numpy") for n in (10_000, 100_000, 1_000_000)]
    rows += [(n, unknown, engine) for n, unknown, engine, *_ in TARGETS]
    rows += [(1_000_000, 1_000, "records"), (1_000_000, 1_000, "records+numpy")]
    rows += [(n, 0, "leases") for n in (10_000, 100_000, 1_000_000)]
    targets = {(n, unknown, engine): (limit, goal) for n, unknown, engine, limit, goal in TARGETS}
    print(
        f"{'operations':>10} {'unknown':>8} {'engine':>14} {'seconds':>8} {'per n log n':>12} {'peak MiB':>9}  target"
    )
    base, missed = {}, 0
    for n, unknown, engine in rows:
        if args.quick and n > 100_000:
            continue
        row = measured(n, unknown, engine, args.seed)
        unit = row["seconds"] / (n * log2(n))
        growth = f"{unit / base.setdefault(engine, unit):.2f}" if unknown == 0 else ""
        limit, goal = targets.get((n, unknown, engine), (None, None))
        said = ""
        if limit is not None:
            missed += row["seconds"] > limit or row["peak_mib"] > 2048
            said = f"under {limit:g} s" + (f", goal {goal:g} s" if goal else "")
        print(
            f"{n:>10} {unknown:>8} {engine:>14} {row['seconds']:>8.3f} {growth:>12} {row['peak_mib']:>9.0f}  {said}",
            flush=True,
        )
    print(f"{missed} targets missed" if missed else "all targets met")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
