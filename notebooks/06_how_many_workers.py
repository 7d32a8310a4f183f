# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # How many workers do I need?
#
# **Question.** Fifty jobs come in a second, each takes 300 ms on average. With how many workers do 99 % of them wait
# less than a second? We ask theory, then the simulator, and then hold the simulator against real processes.
#
# ## By theory
#
# Fifty jobs of 0.3 s are 15 seconds of work in each second: fifteen workers would be busy without a break, and the queue
# would grow for ever. If jobs come independently of each other and their times are exponential, the wait with `c` workers
# is known exactly (Erlang, 1917).

# %%
from orch.simulator import Data, Exponential, Fixed, Poisson, Workers, simulate, theory

RATE, MEAN, TARGET = 50, 0.3, 1.0
by_theory = [(workers, theory.mmc_wait_quantile(workers, RATE, MEAN, 0.99)) for workers in range(16, 20)]
for workers, wait in by_theory:
    print(f"{workers} workers: 99 % of all jobs wait at most {wait:.2f} s")

# %% [markdown]
# The answer is 17. The first worker beyond fifteen leaves a long wait, the second brings it below a second, and each
# further one saves less.
#
# ## By simulation
#
# The formula knows nothing of heartbeats, of waiting claims, or of jobs that are not exponential. The simulator has the
# shipping worker and the memory queue inside, on virtual time. Five replications of 3,000 jobs for each number of workers
# give an interval.


# %%
def simulated_waits(workers, service, replications=5):
    """The wait that 99 % of all jobs did not exceed, in each replication."""
    runs = [simulate(Workers(workers), Poisson(RATE), service, jobs=3_000, seed=seed) for seed in range(replications)]
    return [run.after_jobs(300).wait(0.99) for run in runs]


def row(workers, service):
    """(workers, low, mean, high) of that wait, with 95 % confidence."""
    waits = simulated_waits(workers, service)
    low, high = theory.interval(waits, 0.95)
    return workers, max(0.0, low), sum(waits) / len(waits), high


rows = [row(workers, Exponential(MEAN)) for workers in range(16, 19)]
for workers, low, wait, high in rows:
    print(f"{workers} workers: {wait:.2f} s ({low:.2f} to {high:.2f} s)")

# %%
from orch.lab import charts

_ = charts.wait_by_workers(rows, by_theory, target_s=TARGET, title="99 % of all jobs wait at most so long", what="wait")
# %% [markdown]
# Theory lies inside the intervals. They are wide where the system is nearly full: the queue remembers a bad minute for
# long, so a measurement of a minute says little there. (A simulation can be made longer; a real one costs that time.)

# %%
inside = [low <= wait <= high for (_, low, _, high), (_, wait) in zip(rows, by_theory, strict=False)]
print(f"{sum(inside)} of {len(inside)} intervals contain the value of theory")

# %% [markdown]
# What if the jobs are not exponential? The same mean, all jobs alike, and one job in twenty that takes ten times as long:

# %%
kinds = {
    "all of 300 ms": Fixed(MEAN),
    "exponential": Exponential(MEAN),
    "one in twenty takes 10x": Data((0.2069,) * 19 + (2.069,)),
}
for name, service in kinds.items():
    waits = simulated_waits(17, service, replications=2)
    print(f"17 workers, {name}: 99 % wait at most {sum(waits) / 2:.2f} s")

# %% [markdown]
# The mean alone does not answer the question: the spread of the times counts as much. Whoever has measured times should
# put them into `Data`.
#
# ## By measurement
#
# Does the simulator tell the truth about real processes? The scenario `capacity` has three workers, jobs of 100 to
# 350 ms, and a load of 0.7. It runs three times for real, on a SQLite file with three worker processes; the run whose
# median is nearest counts, since whatever else the machine does can only disturb.

# %% tags=["varies"]
from orch.lab.measured import best_of
from orch.lab.scenarios import scenario_of

scenario = scenario_of("capacity")
simulated = scenario.play()
measured = best_of(3, scenario, lambda run: abs(run.latency(0.5) - simulated.latency(0.5)))
for name, result in {"simulated": simulated, "measured": measured}.items():
    print(
        f"{name:10} {result.throughput:6.2f} jobs/s, half of them done in {1000 * result.latency(0.5):4.0f} ms, "
        f"90 % in {1000 * result.latency(0.9):4.0f} ms, slots busy {result.utilisation:.0%}"
    )

# %% tags=["varies"]
_ = charts.distributions(
    {"simulated": simulated.latencies, "measured": measured.latencies},
    title="60 jobs on three workers: the part that was done after so long",
)
# %% [markdown]
# The same jobs came at the same times. What a real worker adds is what the simulator leaves out: some milliseconds for
# the start of a job, for the file, and for the other processes of the machine. Throughput has to agree within 10 %, the
# median latency within 25 %.

# %%
assert all(inside)
assert by_theory[0][1] > TARGET > by_theory[1][1]
assert len(measured.jobs) == len(simulated.jobs) == 60
assert abs(measured.throughput / simulated.throughput - 1) < 0.10
assert abs(measured.latency(0.5) / simulated.latency(0.5) - 1) < 0.25
print("simulated and measured agree")
