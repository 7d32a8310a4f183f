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
# # What runs again when a worker dies in the middle of a DAG?
#
# **Question.** A job is a graph of tasks. Its worker dies when half of them are done. What does the next worker run, and
# what is refused before anything runs?

# %%
import tempfile
from pathlib import Path

from orch.dag import DAG, DagFileInvalid, Task, parse_dag
from orch.events import read_newest
from orch.lab import charts
from orch.lab.spans import task_spans
from orch.runner import run_dag

tasks = [
    Task("extract", "work"),
    Task("clean", "work", depends_on=["extract"]),
    Task("enrich", "work", depends_on=["extract"]),
    Task("check", "work", depends_on=["clean"]),
    Task("load", "work", depends_on=["check", "enrich"], retries=2),
    Task("report", "work", depends_on=["load"]),
]
dag = DAG("nightly", tasks, max_parallel=2)

# %% [markdown]
# Tasks are functions by name. This one takes a fifth of a second; `load` fails the first time. At `check` the first worker
# dies: here an exception that the runner does not catch stands for `kill -9`, raised where the output is recorded.

# %%
import time

from orch.workflows import current

calls = []


def work(_params):
    task = current().task_id
    calls.append(task)
    time.sleep(0.2)
    if task == "load" and current().task_attempt == 1:
        raise OSError("disk full")
    return {"by": current().run_id}


class Killed(BaseException):
    """What `kill -9` is to a process."""


recorded = {}


def record_until_killed(task, output):
    if task == "check":
        raise Killed
    recorded[task] = output


# %% tags=["varies"]
folder = tempfile.TemporaryDirectory()
log = Path(folder.name) / "events.jsonl"
how = {"job_id": "job-1", "workflows": {"work": work}, "events_path": log}
try:
    run_dag(dag, run_id="job-1#1", attempt=1, record=record_until_killed, **how)
except Killed:
    print("the worker is dead; on record:", sorted(recorded))
first = len(calls)

# %% [markdown]
# In a real queue outputs are kept by `record_progress`, under the lease; the next worker reads them with `progress` and
# hands them to the runner. It takes them over and runs the rest (D5).

# %% tags=["varies"]
summary = run_dag(dag, run_id="job-1#2", attempt=2, done=recorded, record=recorded.__setitem__, **how)
print("ran by the second worker:", calls[first:])

# %% [markdown]
# The second run as a graph:

# %%
events = read_newest(log, 10_000)[::-1]
spans = task_spans(events)
outcomes = {span.task: span.outcome for span in spans if span.run == "job-1#2"}
_ = charts.dag_graph(tasks, outcomes, title="The second run, task by task")

# %% [markdown]
# Both runs over time. Where two tasks do not depend on each other they run side by side.

# %% tags=["varies"]
_ = charts.dag_gantt(spans, title="Two runs of one job")

# %% [markdown]
# ## What is refused before the first task runs
#
# All faults at once, each with its place (D2).

# %%
BROKEN = """\
name: broken
tasks:
  - {id: a, workflow_ref: noop, depends_on: [b]}
  - {id: b, workflow_ref: nop, depends_on: [a, c]}
  - {id: d, workflow_ref: noop, retires: 3}
"""
try:
    parse_dag(BROKEN, "broken.yaml", workflows={"noop": None})
except DagFileInvalid as error:
    faults = error.faults
    print(error)

# %% [markdown]
# **What we saw.** What was on record did not run again; the task that was cut off did, and what follows it. A failed try is
# repeated within the run. A task that ended but was not recorded runs twice: tasks have to bear that.

# %%
assert set(calls[first:]) == {"check", "load", "report"} | ({"enrich"} - set(recorded))
assert all(outcomes[task] == "reused" for task in recorded if recorded[task]["by"] == "job-1#1")
assert summary["tasks_succeeded"] == len(tasks)
assert calls.count("check") == 2
assert calls.count("load") == 2
assert len(faults) >= 3
folder.cleanup()
