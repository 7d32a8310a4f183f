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
# # Is my own queue right?
#
# **Question.** You have written a queue, thirty lines, and your tests pass. What does it promise, and does it keep it?
#
# Nothing has to be derived from anything: seven methods with these names are enough. `clock` is handed in, so that time
# can be moved; it is a callable that returns epoch seconds.

# %%
from orch import IllegalTransition, JobNotFound, JobStatus
from orch.testing import ContractViolation, verify

PENDING, RUNNING, SUCCESS, FAILED, RETRY = JobStatus


class MyQueue:
    """A dict of jobs, and a list of those that wait."""

    def __init__(self, clock):
        self.clock, self.jobs, self.waiting = clock, {}, []

    def enqueue(self, job):
        self.jobs[job.id] = job
        self.waiting.append(job.id)
        return True

    def dequeue(self, worker_id=""):
        if not self.waiting:
            return None
        job = self.jobs[self.waiting.pop(0)]
        job.status, job.attempts = RUNNING, job.attempts + 1
        return job

    def update_status(self, job_id, status, error=None, result=None):
        job = self.jobs[job_id]
        job.status, job.error, job.result = status, error, result
        if status is RETRY:
            job.status = PENDING
            self.waiting.append(job_id)
        return job

    def get_job(self, job_id):
        return self.jobs.get(job_id)

    def list_jobs(self, status=None, limit=100):
        return [job for job in self.jobs.values() if status in (None, job.status)][:limit]

    def count(self, status=None):
        return len(self.list_jobs(status, limit=10**9))

    def purge(self, older_than_hours):
        return 0


# %% [markdown]
# ## The first bug
#
# `verify` makes empty queues, does to them what users and bad days do, and compares each answer with the contract.


# %%
def attacked(make_queue):
    """What `verify` says, kept to be shown."""
    try:
        return verify(make_queue)
    except ContractViolation as violation:
        return violation


first = attacked(MyQueue)
first

# %% [markdown]
# A producer that got no reply asks again. This queue then holds the job twice in its list, and somebody runs it twice.
# The program above runs as it is pasted; the token repeats it anywhere: `verify(MyQueue, replay=...)`.
#
# ## The second
#
# We mend that, and ask again.


# %%
class Second(MyQueue):
    def enqueue(self, job):
        return job.id not in self.jobs and super().enqueue(job)


second = attacked(Second)
second

# %% [markdown]
# What was handed in was kept as it was, so its owner writes into the queue. Every queue in memory makes this mistake once,
# and no test that serialises jobs ever sees it.
#
# ## Ten more
#
# Each was found, shown and mended in the same way; most took one line. The comments say what the machine asked for.

# %%
from copy import deepcopy
from datetime import UTC, datetime


def instant(text):
    return datetime.fromisoformat(text).timestamp()


class Third(MyQueue):
    def now(self):
        return datetime.fromtimestamp(self.clock(), UTC).isoformat()

    def enqueue(self, job):
        return job.id not in self.jobs and super().enqueue(deepcopy(job))

    def dequeue(self, worker_id=""):
        job = super().dequeue()
        if job is not None:
            job.started_at = self.now()
        return deepcopy(job)

    def update_status(self, job_id, status, error=None, result=None):
        if job_id not in self.jobs:
            raise JobNotFound(job_id)  # and not whatever a dict says
        job = self.jobs[job_id]
        if job.status is status in (SUCCESS, FAILED):
            return deepcopy(job)  # a report may be repeated after a lost reply
        if job.status in (SUCCESS, FAILED) or status is PENDING or (job.status is PENDING and status is RETRY):
            raise IllegalTransition(f"{job_id} is {job.status.value}")  # final is final
        if job.status is PENDING:
            self.waiting.remove(job_id)  # or it is delivered after its end
        if status is RETRY:
            job.status, job.started_at = PENDING, None
            job.error = job.error if error is None else error  # a retry keeps the last error
            job.result = job.result if result is None else deepcopy(result)
            self.waiting.append(job_id)
        else:
            job.status, job.error, job.result, job.finished_at = status, error, deepcopy(result), self.now()
        return deepcopy(job)

    def get_job(self, job_id):
        return deepcopy(self.jobs.get(job_id))

    def list_jobs(self, status=None, limit=100):  # newest first, as instants
        newest = list(reversed(self.jobs.values()))
        newest.sort(key=lambda job: -instant(job.enqueued_at))
        return deepcopy([job for job in newest if status in (None, job.status)][:limit])

    def purge(self, older_than_hours):  # hours, not seconds
        limit = self.clock() - older_than_hours * 3600
        old = [job.id for job in self.jobs.values() if job.finished_at and instant(job.finished_at) < limit]
        for job_id in old:
            del self.jobs[job_id]
        return len(old)


third = attacked(Third)
third

# %% [markdown]
# Nothing more is found. The map shows how often each operation met each state, so that silence can be believed; what the
# queue was *not* asked for stands above it. A queue without leases is no fault. It is only a weaker one: it gets fewer
# operations, never other ones. Of the levels L1 (nothing is lost) to L4 (order, empties and leases to the instant) it can
# keep L3, as long as no worker dies.
#
# ## The same from the shell
#
# `orch verify` takes the name of the factory. It exits with 1 and the program for a broken promise, 2 for a queue that
# cannot be tried or hangs. The first cell again, as a file somewhere:

# %% tags=["varies"]
import subprocess
import sys
import tempfile
from pathlib import Path

import IPython

folder = tempfile.TemporaryDirectory()
Path(folder.name, "mine.py").write_text(IPython.get_ipython().user_ns["In"][1])
shell = subprocess.run(
    [sys.executable, "-m", "orch", "verify", "mine:MyQueue"],
    cwd=folder.name,
    capture_output=True,
    text=True,
    check=False,
)
print("$ orch verify mine:MyQueue")
print(*shell.stdout.splitlines()[:12], f"exit code {shell.returncode}", sep="\n")

# %% [markdown]
# In a test suite the whole contract, one sentence a test, and the machine after it are an option of pytest:

# %% tags=["varies"]
suite = subprocess.run(
    [sys.executable, "-m", "pytest", "--orch-queue", "mine:MyQueue", "-q", "--tb=no", "-p", "no:cacheprovider"],
    cwd=folder.name,
    capture_output=True,
    text=True,
    check=False,
)
folder.cleanup()
print("$ pytest --orch-queue mine:MyQueue")
print(*[line[:110] for line in suite.stdout.splitlines()[-12:]], sep="\n")

# %% [markdown]
# **What we saw.** Thirty lines, two faults in as many minutes, each with two or three steps that show it; a dozen until
# nothing is found. No test had to be written.

# %%
assert (first.promise, len(first.trace.steps)) == ("Q3", 2)
assert second.promise == "Q11"
assert len(second.trace.steps) <= 3
assert third.level == "L3"
assert third.traces == 2000
assert shell.returncode == 1
assert suite.returncode == 1
