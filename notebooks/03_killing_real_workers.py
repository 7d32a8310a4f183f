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
# # What is lost, and what runs twice, when real workers are killed?
#
# **Question.** Three worker processes share a queue in a SQLite file. Four times one of them is ended with `kill -9`, in
# the middle of a job. Is a job lost? Does one run twice, and is that seen?
#
# Nothing is simulated here, so times differ from run to run; what the last cell asserts does not.

# %%
import tempfile
from collections import Counter
from pathlib import Path

from orch.demo import Plan, run
from orch.lab import charts

# %% [markdown]
# The lease is two seconds. A dead worker is replaced a moment later, and what it held comes back when its lease is over.

# %% tags=["varies"]
with tempfile.TemporaryDirectory() as folder:
    plan = Plan(out=Path(folder) / "run", jobs=24, workers=3, kills=4, lease_s=2.0, seed=3)
    outcome = run(plan, lambda _text: None)
judgement = outcome.judgement
print(f"{judgement.enqueued} jobs, {len(outcome.runs)} runs, {len(outcome.kills)} kills, {outcome.seconds:.1f} s")

# %% [markdown]
# What each worker ran, from the log that the workers themselves wrote. A run that was cut off has no end there: it ends
# with the death of its worker. The arrow leads to the worker that got the job next.

# %% tags=["varies"]
_ = charts.worker_lanes(outcome.runs, outcome.kills, title="Three real workers, four times kill -9")

# %% [markdown]
# The queue meanwhile, looked at twenty times a second:

# %% tags=["varies"]
_ = charts.queue_depth(outcome.samples, outcome.kills)

# %% [markdown]
# Every promise, held against what was seen:

# %% tags=["varies"]
for finding in judgement.findings:
    print("held  " if finding.held else "BROKEN", f"{finding.promise}: {finding.evidence}")

# %% [markdown]
# At least once is not exactly once: a job whose worker died was begun twice.

# %% tags=["varies"]
begun = Counter(one.job_id for one in outcome.runs)
print("begun more than once:", {job: count for job, count in begun.items() if count > 1})
print("seconds from a kill to the next run:", [round(seconds, 2) for seconds in judgement.recoveries_s])

# %% [markdown]
# **What we saw.** No job was lost, and each came back after its lease and a moment. What was cut off was begun again, so
# what a job does outside has to bear being done twice, or to check the token (notebook 04).

# %%
assert judgement.good, [finding for finding in judgement.findings if not finding.held]
assert judgement.finished == judgement.enqueued == 24
assert not judgement.lost
assert len(outcome.kills) >= 1
assert all(count >= 1 for count in begun.values())
assert len(outcome.runs) >= 24
