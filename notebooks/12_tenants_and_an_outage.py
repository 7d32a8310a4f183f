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
# # Who has to wait when one tenant sends 300 jobs at once, and when the store goes away?
#
# **Question.** Two tenants share four workers. *reports* sends 300 jobs every 150 seconds; *shop* sends two a second, with
# a higher priority. What does shop notice? And what do all notice when the store is away for half a minute?

# %%
from dataclasses import replace

from orch.lab import charts
from orch.lab.scenarios import SCENARIOS

scenario = SCENARIOS["tenants"]
result = scenario.play()
print(scenario.about)
print(len(result.jobs), "jobs in", round(result.seconds), "s; slots busy:", f"{result.utilisation:.0%}")

# %% [markdown]
# The burst waits for a minute. The line of shop stays at the bottom.

# %%
_ = charts.waiting_jobs(charts.by_tenant(result.jobs))

# %% [markdown]
# The same jobs, but shop has the priority of everybody else: it stands in the line behind the burst.

# %%
shop, reports = scenario.load
equal = replace(scenario, load=(replace(shop, priority=0), reports)).play()
latencies = {
    "shop, priority 5": result.of_tenant("shop").latencies,
    "shop, priority 0": equal.of_tenant("shop").latencies,
    "reports (shop 5)": result.of_tenant("reports").latencies,
}
_ = charts.latency_by_part(latencies)

# %%
for name, part in (("priority 5", result), ("priority 0", equal)):
    mine = part.of_tenant("shop")
    print(f"shop with {name}: half within {mine.latency(0.5):.1f} s, 99 % within {mine.latency(0.99):.1f} s")

# %% [markdown]
# Even with priority a job of shop may find all four workers busy: nothing that runs is interrupted.
#
# ## The store is away for 30 seconds
#
# Nobody can enqueue, claim or report. Workers wait and ask again by themselves (W5), and so do producers.

# %%
outage = SCENARIOS["outage"].play(history=True)
_ = charts.queue_depth(outage.depth, outage.marks)

# %% [markdown]
# What a job took, by the time at which it got in. Jobs that ran when the store went away are done, but can be reported
# only when it is back: they are the point at the top.

# %%
_ = charts.latency_over_time([(job.arrived, job.latency) for job in outage.jobs], outage.marks)

# %% [markdown]
# And by worker. A bar is a run of a job, not its report: runs go on without the store.

# %%
_ = charts.worker_lanes(outage.lanes, outage.marks, window=(50, 100), title="Workers around the outage")

# %%
began, ended = 60.0, 90.0
first = min(lane.start for lane in outage.lanes if lane.start > ended)
empty = min(at for at, pending, _ in outage.depth if at > first and pending == 0)
print(f"back at {ended:.0f} s; the first run began {first - ended:.1f} s later, the backlog was gone at {empty:.0f} s")
print("attempts:", len(outage.attempts), "for", len(outage.jobs), "jobs; valid:", outage.verdict().valid)

# %% [markdown]
# **What we saw.** With priority, shop waits for a free worker at most, not for the burst. There is no fairness beyond
# priority: with equal ones a tenant that sends 300 jobs makes the other wait behind them. The outage lost nothing, ran
# nothing twice, and the backlog took longer to work off than the outage itself.

# %%
assert result.of_tenant("shop").latency(0.99) < 4
assert equal.of_tenant("shop").latency(0.99) > 30
assert len(outage.attempts) == len(outage.jobs)
assert first - ended < 5
assert empty - ended > ended - began
assert outage.verdict().valid
