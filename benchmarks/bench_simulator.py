"""What the simulator does in a second of CPU, beside the bare event loop; and its waits beside theory.

    python benchmarks/bench_simulator.py [--quick] [--theory] [--fleet]

Worlds have the shipping worker, heartbeat and MemoryQueue inside; the small ones crash, lose replies, are watched step
by step and judged. The bare loop is generators on a heap that only sleep, as the toy of any simulator does. Figures of a
machine that does other things as well say little; their ratio to the bare loop, measured between them, says more.
"""

import argparse
import heapq
import time
from statistics import fmean, median

from orch.simulator import Exponential, Fixed, Lognormal, Poisson, Workers, simulate, theory
from orch.simulator.ordeal import dealt, play

WORLDS_GOAL, HOURS_GOAL = 300, 100
SERVERS, LOADS = (1, 2, 8, 64), (0.5, 0.7, 0.9)


def cpu(call):
    """What it gives, and the CPU seconds it took."""
    begun = time.process_time()
    value = call()
    return value, time.process_time() - begun


def bare_loop(workers=100, sleeps=1_000):
    """Thousand sleeps a CPU-second of generators on a heap."""

    def sleeper():
        for _ in range(sleeps):
            yield 1.0

    def run():
        agenda = [(0.0, number, sleeper()) for number in range(workers)]
        order = workers
        while agenda:
            now, _, steps = heapq.heappop(agenda)
            for delay in steps:
                order += 1
                heapq.heappush(agenda, (now + delay, order, steps))
                break

    return workers * sleeps / cpu(run)[1] / 1_000


def small_worlds(count):
    """Worlds of 4 workers and 40 jobs with crashes and lost replies, watched and judged; and crashes, a CPU-second."""

    def run():
        crashes = 0
        for seed in range(count):
            ended = play(dealt(9 * seed, workers=4, jobs=40, faults=("crash", "reply")))
            assert ended.broken is None, ended.broken
            crashes += len(ended.workers) - 4
        return crashes

    crashes, seconds = cpu(run)
    return count / seconds, crashes / seconds


def worker_hours(workers, service, load, jobs):
    """Simulated worker-hours a CPU-second, and jobs a CPU-second."""
    rate = load * workers / service
    result, seconds = cpu(lambda: simulate(Workers(workers), Poisson(rate), Exponential(service), jobs=jobs))
    return workers * result.seconds / 3600 / seconds, jobs / seconds


def speeds(quick):
    """Each between two measurements of the bare loop."""
    rounds = 3 if quick else 5
    print(f"{'':44}{'a CPU-second':>14}{'goal':>8}   bare loop, thousand sleeps a CPU-second")
    rows = [
        ("worlds of 4 workers, 40 jobs, judged", lambda: small_worlds(30 if quick else 100)[0], WORLDS_GOAL),
        ("worker-hours, jobs of 60 s, load 0.7", lambda: worker_hours(4, 60.0, 0.7, 300)[0], HOURS_GOAL),
        ("worker-hours, jobs of 10 s, load 0.7", lambda: worker_hours(4, 10.0, 0.7, 1_000)[0], None),
        ("worker-hours, jobs of 1 s, load 0.7", lambda: worker_hours(4, 1.0, 0.7, 2_000)[0], None),
        ("jobs, 4 workers, load 0.7", lambda: worker_hours(4, 1.0, 0.7, 2_000)[1], None),
        ("jobs, 64 workers, load 0.9", lambda: worker_hours(64, 1.0, 0.9, 4_000)[1], None),
    ]
    for title, measure, goal in rows:
        values, bare = [], []
        for _ in range(rounds):
            bare.append(bare_loop())
            values.append(measure())
        print(f"{title:44}{median(values):14,.0f}{goal or '':>8}   {median(bare):,.0f} (best {max(values):,.0f})")


def fleet():
    """A thousand workers and a hundred thousand jobs."""
    result, seconds = cpu(lambda: simulate(Workers(1_000), Poisson(900.0), Exponential(1.0), jobs=100_000))
    print(
        f"1,000 workers, 100,000 jobs, load 0.9: {seconds:.1f} s of CPU (goal 120), {result.seconds:.0f} s of virtual "
        f"time, p99 of the wait {result.wait(0.99):.3f} s"
    )


def against_theory(quick):
    """Waits of M/M/c and M/G/1 over replications: theory must lie in the 99 % interval."""
    print(f"{'':24}{'theory':>10}{'simulated':>11}   99 % interval")
    wrong = 0
    cases = [
        (f"M/M/{servers} at {load}", servers, load, Exponential(1.0), theory.mmc_wait(servers, load * servers, 1.0))
        for servers in SERVERS
        for load in LOADS
    ]
    for name, service in (("M/D/1", Fixed(1.0)), ("M/G/1", Lognormal(1.0, 1.5))):
        cases += [(f"{name} at {load}", 1, load, service, theory.mg1_wait(load, service)) for load in LOADS]
    for name, servers, load, service, expected in cases:
        jobs = (3_000 if quick else 12_000) * (4 if load == 0.9 else 1)  # a full system forgets slowly
        runs = range(6 if quick else 10)
        waits = [
            fmean(simulate(servers, Poisson(load * servers), service, jobs=jobs, seed=n).after_jobs(jobs // 5).waits)
            for n in runs
        ]
        low, high = theory.interval(waits, 0.99)
        if not any(waits):  # nobody waited: so likely a wait may still be (the rule of three, for 99 %), times its mean
            high = 4.6 / (len(runs) * jobs * 0.8) * service.mean / (servers * (1 - load))
        inside = low <= expected <= high
        wrong += not inside
        print(f"{name:24}{expected:10.3g}{fmean(waits):11.3g}   {low:.3g} to {high:.3g}{'' if inside else '  OUTSIDE'}")
    return wrong


def main():
    """Print what was asked for; without options the speeds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer repetitions")
    parser.add_argument("--theory", action="store_true", help="waits beside theory; exit 1 if one is outside")
    parser.add_argument("--fleet", action="store_true", help="1,000 workers and 100,000 jobs")
    options = parser.parse_args()
    wrong = against_theory(options.quick) if options.theory else 0
    if options.fleet:
        fleet()
    if not options.theory and not options.fleet:
        speeds(options.quick)
    raise SystemExit(1 if wrong else 0)


if __name__ == "__main__":
    main()
