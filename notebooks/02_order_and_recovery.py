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
# # In which order are jobs delivered, and what does recovery do to it?
#
# **Question.** First in, first out: is that still true with priorities, with workers that die, and with jobs that fail?
#
# We enqueue jobs by hand on a clock that we move ourselves, and note each delivery.

# %%
from orch import Job, JobStatus, MemoryQueue
from orch.lab import charts
from orch.testing import FakeClock


def filled(priorities):
    """A queue with a job for each priority, and its clock."""
    clock = FakeClock()
    queue = MemoryQueue(lease_s=10, clock=clock)
    for number, priority in enumerate(priorities, 1):
        queue.enqueue(Job.new("workflow:noop", id=f"{number:02}", priority=priority, max_retries=3, clock=clock))
    return queue, clock


# %% [markdown]
# ## Without trouble
#
# Each `enqueue` draws a ticket, a number that only grows; `dequeue` takes the lowest.

# %%
queue, clock = filled([0] * 12)
order = [job.id for job in queue.dequeue_many(12, "w")]
print(*order)

# %% [markdown]
# ## With priorities
#
# Jobs 4, 8 and 12 are urgent, job 2 can wait. Higher priority goes first; among equals the ticket decides (Q2).

# %%
priorities = {4: 5, 8: 5, 12: 5, 2: -5}
queue, clock = filled([priorities.get(number, 0) for number in range(1, 13)])
kinds = {5: "priority 5", 0: "priority 0", -5: "priority -5"}
by_priority = [(job.id, int(job.id), kinds[job.priority]) for job in queue.dequeue_many(12, "w")]
_ = charts.delivery_order(by_priority, title="Delivery with priorities")

# %% [markdown]
# ## A worker dies, and a job fails
#
# Twelve equal jobs. The worker that holds job 2 dies: its lease runs out after ten seconds. Job 3 fails and asks to be
# tried again at once. Which of the two comes back first, and where in the line?

# %%
queue, clock = filled([0] * 12)
seen = []


def take(kind="first delivery"):
    job = queue.dequeue("w")
    again = "delivered again" if job.attempts > 1 else kind
    seen.append((job.id, int(job.id), again))
    return job


for _ in range(4):
    job = take()
    if job.id == "03":
        queue.update_status(job.id, JobStatus.RETRY, error="disk full", lease=job.lease)
    elif job.id != "02":  # its worker is dead
        queue.update_status(job.id, JobStatus.SUCCESS, lease=job.lease)
clock.advance(10)
while queue.counts()[JobStatus.PENDING] or queue.get_job("02").status is JobStatus.RUNNING:
    job = take()
    queue.update_status(job.id, JobStatus.SUCCESS, lease=job.lease)
print(*(job for job, _, _ in seen))

# %% [markdown]
# Job 2 kept its ticket, so it is next as soon as its lease is over: recovery never waits behind the backlog. Job 3 drew a
# new ticket when it failed: its second try waits behind all that came before that failure.

# %%
_ = charts.delivery_order(seen, title="Job 2 lost its worker, job 3 failed")

# %% [markdown]
# ## A retry that waits
#
# With a delay (backoff) a job gets its new ticket when the delay is over, not before. What is enqueued meanwhile goes
# first.

# %%
queue, clock = filled([0, 0])
job = queue.dequeue("w")
queue.update_status(job.id, JobStatus.RETRY, error="disk full", lease=job.lease, delay_s=5)
clock.advance(1)
queue.enqueue(Job.new("workflow:noop", id="03", clock=clock))
clock.advance(4)
queue.enqueue(Job.new("workflow:noop", id="04", clock=clock))
delayed = [job.id for job in queue.dequeue_many(4, "w")]
print(*delayed)

# %% [markdown]
# The delay of job 1 was over when job 4 came, so it drew its ticket just before.
#
# **What we saw.** Order is priority, then ticket. A crash does not cost a job its place, since it was not its fault; a
# failure does.

# %%
places = [job for job, _, _ in seen]
assert order == sorted(order)
assert [job for job, _, _ in by_priority] == ["04", "08", "12", "01", "03", "05", "06", "07", "09", "10", "11", "02"]
assert places[:5] == ["01", "02", "03", "04", "02"]
assert places[-1] == "03"
assert delayed == ["02", "03", "01", "04"]
