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
# # What happens to retries when a dependency is down for a minute?
#
# **Question.** Every job needs a service that is down from second 60 to 120. Each run fails, and each job may be tried six
# times again. Does it matter *when* it is tried again?
#
# We let the shipping worker and queue serve the same jobs twice on virtual time: once with backoff and jitter, once with
# retries at once. Only one setting differs.

# %%
from dataclasses import replace

from orch.lab import charts
from orch.lab.scenarios import SCENARIOS

DOWN = (60.0, 120.0)
names = {"backoff": "retry_storm", "at once": "retry_storm_at_once"}
scenarios = {name: SCENARIOS[key] for name, key in names.items()}
for name, scenario in scenarios.items():
    print(f"{name}: {scenario.workers[0].count} workers, first wait {scenario.workers[0].retry_s:g} s")

# %% [markdown]
# ## Few slots hide the storm
#
# With four slots the workers themselves are the limit: the service cannot be asked by more than four jobs at a time,
# whatever the policy.

# %%
few = {name: scenario.play() for name, scenario in scenarios.items()}
for name, result in few.items():
    failed = sum(job.state.name == "FAILED" for job in result.jobs)
    print(f"{name}: {len(result.jobs)} jobs, {len(result.attempts)} attempts, {failed} failed for good")

# %% [markdown]
# ## Enough slots for the peak
#
# Most fleets have slots to spare. With ten slots for each of the four workers every retry finds a free one.

# %%
wide = {
    name: replace(scenario, workers=(replace(scenario.workers[0], slots=10),)) for name, scenario in scenarios.items()
}
results = {name: scenario.play() for name, scenario in wide.items()}
failed = {name: sum(job.state.name == "FAILED" for job in result.jobs) for name, result in results.items()}
print(failed)

# %% [markdown]
# What the service is asked, run by run. Without a wait the first jobs hit it again and again within seconds; with backoff
# the load rises slowly, because every job waits longer after each failure.

# %%
starts = {name: [lane.start for lane in result.lanes] for name, result in results.items()}
_ = charts.throughput(starts, spans={"service down": [DOWN]}, title="Runs started", y="runs a second")


# %%
def asked(name, low, high):
    return sum(low <= start < high for start in starts[name]) / (high - low)


for name in results:
    print(
        f"{name:8} first 10 s: {asked(name, 60, 70):.1f} runs a second, after it is back: {asked(name, 120, 140):.1f}"
    )

# %% [markdown]
# A few jobs of the outage, with each of their attempts. With backoff a budget of six retries lasts for half a minute.

# %%
_ = charts.attempts_of_jobs(
    results["backoff"].lanes, jobs_max=12, spans=[(*DOWN, "service down")], title="With backoff: attempts of each job"
)

# %% [markdown]
# Without a wait the same budget is spent within seconds, on a service that cannot answer.

# %%
_ = charts.attempts_of_jobs(
    results["at once"].lanes, jobs_max=12, spans=[(*DOWN, "service down")], title="At once: attempts of each job"
)

# %% [markdown]
# The waits double and are spread by jitter over the upper half of their range, so jobs that failed together do not come
# back together.

# %%
_ = charts.retry_delays(results["backoff"].lanes)

# %% [markdown]
# **What we saw.** Retries at once ask a broken service most when it has just broken, and spend each job's budget before it
# can come back. Backoff costs latency, and saves most of the jobs. It does not save all: those that failed first had no
# attempt left when the minute was over, so a budget has to be long enough for the outages one wants to survive.

# %%
assert few["backoff"].to_dict()["jobs"] == few["at once"].to_dict()["jobs"]
assert asked("at once", 60, 70) > 1.5 * asked("backoff", 60, 70)
assert failed["at once"] > 3 * failed["backoff"] > 0
assert len(results["backoff"].attempts) < len(results["at once"].attempts)
