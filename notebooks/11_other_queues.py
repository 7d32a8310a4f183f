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
# # Other people's queues
#
# **Question.** What do the queues that people use keep, when their workers are killed and their Redis goes away? And what
# does `orch` keep in the same rig?
#
# RQ, Celery, Dramatiq and Huey stand behind four verbs: put, get, ack, nack. Everything goes through their own code. Each
# row below was measured on a private Redis 7.0.15 on two cores in November 2026, and names the command that measures it
# again. Some cells wait 15 minutes for a job to come back, so the rows are kept in two files beside this notebook.

# %%
from pathlib import Path

from orch.testing.adapters import NAMES
from orch.testing.adapters.tables import as_text, kill_table, level_table, read_rows

data = Path("data") if Path("data").exists() else Path("notebooks/data")
levels = read_rows(data / "other_queues_levels.jsonl")
kills = read_rows(data / "other_queues_kills.jsonl")

# %% [markdown]
# ## The strongest level that held
#
# Six clients use the verbs by turns, some crash while they hold a job, and the checker judges the history. **L1**: nothing
# lost, nothing unexpected. **L2**: every duplicate has a licence, one holder at a time. **L3**: and order. **L4**: and
# empties, and the times of leases. RQ's clients do not crash here: it takes a quarter of an hour to notice.

# %%
print(as_text(level_table(levels)))

# %% [markdown]
# Where a level is missing, there is a witness, and the command that plays it again. Huey and Celery's default *document*
# that they deliver at most once; then a lost job is their choice, and the table says so.

# %%
for row in levels:
    if row["witness"]:
        print(row["command"], row["witness"], sep="\n\n", end="\n\n\n")

# %% [markdown]
# ## The kill matrix
#
# A real worker with one job is killed with all its processes, and another is started at once. *In take*: the job has left
# the queue, and the worker has written nothing down. *In run*: a second into the job. A number is the seconds until the job
# ran again; LOST: it never ran, and no list holds it. Then Redis is away for 4 s while the worker is idle, while a job runs
# on, and while a job ends.

# %%
print(as_text(kill_table(kills)))

# %% [markdown]
# Each cell has its command:

# %%
for row in kills:
    print(f"{row['said']:>32}  {row['command']}")

# %% [markdown]
# What a library says of itself, where it says it loses jobs:

# %%
for library, setting, said in sorted({(r["library"], r["setting"], r["documented"]) for r in kills if r["documented"]}):
    print(f"{library}, {setting}: {said}")

# %% [markdown]
# Two cells differ from an earlier measurement of the same versions by other means. A Celery worker with late
# acknowledgement that holds a task through the outage was seen to exit with status 0; here it resumed, in five of five
# tries. And an RQ worker was seen to resume; it does, unless its job ends while Redis is away: then the process that ran
# it cannot write the result, its worker cannot read what became of it, and ends.

# %% [markdown]
# ## Live
#
# Where the libraries are installed (`pip install 'orch[peers]'`), the levels are measured here and now.

# %% tags=["varies"]
import tempfile
from importlib.util import find_spec

from orch.testing.adapters import load
from orch.testing.adapters.levels import level_of

for name in NAMES:
    if find_spec(name) is None:
        print(f"{name} is not installed here")
        continue
    for setting in load(name).settings:
        with tempfile.TemporaryDirectory() as folder:
            print(level_of(name, setting.name, Path(folder), operations=300, seed=1))

# %% [markdown]
# ## And `orch`, in the same two columns
#
# `orch` is put through the same: a worker is killed when it has just taken jobs, another a second into them, the store is
# away for 4 s. Nothing is lost, and the wait is at most lease + sweep, here 2 s + 2 s. It takes half a minute.

# %% tags=["varies"]
from orch.torture.matrix import JOBS, VARIANTS, kill_row
from orch.torture.plan import Plan

with tempfile.TemporaryDirectory() as folder:
    plan = Plan(out=Path(folder) / "run", workers=2, slots=JOBS, producers=1, nemesis=())
    ours = kill_row(VARIANTS[0], plan, lambda _text: None)
print(
    f"in take: {ours.take_s:.1f} s, in run: {ours.run_s:.1f} s; after the outage: {ours.idle_s:.1f} s, {ours.busy_s:.1f} s"
)
print(
    f"lost: {ours.lost}, twice within a lease: {ours.twice}, workers alive: {ours.alive}, exit status: {set(ours.exits)}"
)

# %% tags=["varies"]
from orch.lab.charts import times_to_recover

queues: dict[str, dict[str, float | None]] = {}
for row in kills:
    if row["what"] in ("take", "run"):
        name = f"{row['library']} {row['version']}, {row['setting']}"
        waits, way = queues.setdefault(name, {}), f"killed in {row['what']}"
        waits[way] = row["seconds"] and max(row["seconds"], waits.get(way) or 0.0)
queues["orch"] = {"killed in take": ours.take_s, "killed in run": ours.run_s}
_ = times_to_recover(queues)

# %% [markdown]
# **What we saw.** Between taking a job and writing down who has it, four settings lose it; where it is not lost, it comes
# back after minutes, since recovery waits for a periodic task, a coin toss, or a time-out that also has to cover the longest
# job. In `orch` taking and writing down are one step, and whoever asks next takes back what is over.

# %%
lost = {(row["library"], row["setting"]) for row in kills if row["said"] == "LOST"}
waits = [row["seconds"] for row in kills if row["what"] in ("take", "run") and row["seconds"]]
assert {library for library, _ in lost} >= {"celery", "huey", "rq"}
assert min(waits) > 60
assert ours.good(plan.lease_s)
assert ours.lost == ours.twice == 0
