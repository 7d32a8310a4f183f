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
from collections import Counter
from contextlib import closing
from pathlib import Path

from orch import Job, SqliteQueue
from orch.dag import DagFileInvalid, parse_dag
from orch.events import read_newest
from orch.lab import charts
from orch.lab.spans import task_spans
from orch.rig import Fleet, watch

NIGHTLY = """\
name: nightly
max_parallel: 2
tasks:
  - {id: extract, workflow_ref: produce}
  - {id: clean, workflow_ref: sleep, params: {seconds: 0.3}, depends_on: [extract]}
  - {id: enrich, workflow_ref: sleep, params: {seconds: 0.2}, depends_on: [extract]}
  - {id: check, workflow_ref: crash, depends_on: [clean]}
  - {id: load, workflow_ref: fail_n_times, params: {n: 2}, retries: 2, depends_on: [check, enrich]}
  - {id: report, workflow_ref: sleep, params: {seconds: 0.2}, depends_on: [load]}
"""
tasks = parse_dag(NIGHTLY).tasks
_ = charts.dag_graph(tasks, title="The tasks, each to the right of what it depends on")

# %% [markdown]
# Task `check` ends its whole worker process with SIGKILL, the first time that the job is delivered. Two real workers, one
# after the other, on a queue in a SQLite file, with a lease of one second.

# %% tags=["varies"]
with tempfile.TemporaryDirectory() as name:
    folder = Path(name)
    (folder / "nightly.yaml").write_text(NIGHTLY)
    url = f"sqlite:///{folder / 'queue.db'}"
    with closing(SqliteQueue(folder / "queue.db", lease_s=1.0)) as queue:
        queue.enqueue(Job.new("nightly.yaml", id="job-1"))
        with Fleet(url, folder, lease_s=1.0, dag_root=folder) as fleet:
            fleet.start("worker-1")
            fleet.processes["worker-1"].wait(30)
            on_record = sorted(queue.progress("job-1"))
            fleet.start("worker-2")
            list(watch(queue, total=1, seconds=30))
            fleet.stop()
        job = queue.get_job("job-1")
    events = read_newest(folder / "events.jsonl", 10_000)[::-1]
print("on record when worker-1 was dead:", on_record)
print(job.status.name, "after", job.attempts, "deliveries and", job.crashes, "lost lease")

# %% [markdown]
# The output of each task is recorded as soon as it is there, under the lease. The second worker takes over what is on
# record and runs the rest (D5). Its run as a graph:

# %%
spans = task_spans(events)
second = {span.task: span.outcome for span in spans if span.run == "job-1#2"}
_ = charts.dag_graph(tasks, second, title="The second run, task by task")

# %% [markdown]
# Both runs over time. Where two tasks do not depend on each other they run side by side. In between the lease runs out.

# %% tags=["varies"]
died = max(span.start for span in spans if span.run == "job-1#1") + 0.01
spans = task_spans(events, cut_at={"job-1#1": died})
_ = charts.dag_gantt(spans, [(died, "worker-1 dies")], title="Two runs of one job")

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
    print(*(str(fault).replace("; ", ";\n    ") for fault in str(error).splitlines()), sep="\n")

# %% [markdown]
# **What we saw.** What was on record did not run again; the task that was cut off did, and what follows it. A failed try is
# repeated within the run. A task that ended but was not yet recorded would run twice: tasks have to bear that.

# %%
begun = Counter(event["task_id"] for event in events if event["event"] == "task_start")
assert (job.status.name, job.attempts, job.crashes) == ("SUCCESS", 2, 1)
assert on_record == ["clean", "enrich", "extract"]
assert second == dict.fromkeys(on_record, "reused") | dict.fromkeys(("check", "load", "report"), "ok")
assert begun == Counter(["extract", "clean", "enrich", "check", "check", "load", "report"])
assert len(faults) >= 3
