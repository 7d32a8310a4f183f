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
# # The life of a job
#
# **Question.** A worker takes a job and dies. Who notices, when, and what becomes of the job, and of the dead worker's
# report if it was not dead after all?
#
# We follow one job through one queue by hand. Time is a clock that we move ourselves, so every number below is the same
# on every machine.

# %%
from orch import Job, JobStatus, LeaseLost, MemoryQueue, SqliteQueue
from orch.testing import FakeClock

clock = FakeClock()
start = clock()
queue = MemoryQueue(lease_s=10, clock=clock)
queue.enqueue(Job.new("workflow:noop", id="job-1", max_retries=1, clock=clock))

# %% [markdown]
# The first `enqueue` of an id answers True. The same id again changes nothing and answers False, so a producer that did
# not get a reply may simply ask again (Q3).

# %%
queue.enqueue(Job.new("workflow:noop", id="job-1", clock=clock))

# %% [markdown]
# Worker A takes the job. It gets a *lease*: the right to finish this delivery, for ten seconds.

# %%
a = queue.dequeue("worker-a")
a.lease

# %% [markdown]
# Worker A falls silent. Nine seconds later the job is still its own; nobody else gets it.

# %%
clock.advance(9)
print(queue.dequeue("worker-b"))

# %% [markdown]
# After ten seconds the next `dequeue`, whoever's it is, takes the lease back and hands the job on. No janitor process is
# needed (Q5). `attempts` counts deliveries, `crashes` lost leases.

# %%
clock.advance(1)
b = queue.dequeue("worker-b")
print(f"attempt {b.attempts}, {b.crashes} lost lease, token {b.lease.token - a.lease.token} higher than the first")

# %% [markdown]
# Worker A was not dead, only slow. Its report comes under a lease that is no longer current, and is refused (Q4). The
# token grows with every delivery, so a database downstream can refuse A's writes in the same way.

# %%
try:
    queue.update_status("job-1", JobStatus.SUCCESS, result={"by": "a"}, lease=a.lease)
except LeaseLost as error:
    print("LeaseLost:", error)

# %% [markdown]
# Worker B fails, and asks for another try in five seconds. The error is kept.

# %%
clock.advance(2)
later = queue.update_status("job-1", JobStatus.RETRY, error="disk full", lease=b.lease, delay_s=5)
print(later.status.name, "not before", later.not_before, "failures", later.failures)

# %% [markdown]
# Then B succeeds. Its reply is lost on the way, so it reports again: the same report twice has the effect of once (Q8).

# %%
clock.advance(5)
c = queue.dequeue("worker-b")
clock.advance(1)
for _ in range(2):
    done = queue.update_status("job-1", JobStatus.SUCCESS, result={"by": "b"}, lease=c.lease)
print(done.status.name, "after", done.attempts, "attempts:", done.result)

# %% [markdown]
# ## The same life on every backend
#
# All backends give equal answers to equal histories. Here the whole story is told again to each of them, Redis
# included where a server is found on this machine.

# %% tags=["varies"]
import tempfile
from contextlib import ExitStack

from orch.testing.servers import find_server, start_redis

stack = ExitStack()
folder = stack.enter_context(tempfile.TemporaryDirectory())
makers = {"memory": MemoryQueue, "sqlite": lambda **how: SqliteQueue(f"{folder}/queue.db", **how)}
if find_server():
    import redis

    from orch import RedisQueue

    server = stack.enter_context(start_redis(folder))
    client = stack.enter_context(redis.from_url(server.url))
    makers["redis"] = lambda **how: RedisQueue(client, **how)
print(*makers)


# %%
def life(make_queue):
    """The story above: what happened, as (seconds, state, text)."""
    clock = FakeClock()
    queue, told = make_queue(lease_s=10, clock=clock), []

    def tell(text):
        told.append((clock() - start, queue.get_job("job-1").status, text))

    queue.enqueue(Job.new("workflow:noop", id="job-1", max_retries=1, clock=clock))
    tell("enqueued")
    clock.advance(1)
    a = queue.dequeue("worker-a")
    tell("A takes it, and falls silent")
    clock.advance(10)
    b = queue.dequeue("worker-b")
    tell("its lease is lost, B takes it")
    clock.advance(1)
    try:
        queue.update_status("job-1", JobStatus.SUCCESS, lease=a.lease)
    except LeaseLost:
        tell("A's report is refused")
    clock.advance(2)
    queue.update_status("job-1", JobStatus.RETRY, error="disk full", lease=b.lease, delay_s=5)
    tell("B fails, asks for another try")
    clock.advance(5)
    c = queue.dequeue("worker-b")
    tell("B takes it again")
    clock.advance(1)
    queue.update_status("job-1", JobStatus.SUCCESS, result={"by": "b"}, lease=c.lease)
    tell("B succeeds")
    job = queue.get_job("job-1")
    queue.close()
    return told, job.to_dict()


lives = {name: life(make_queue) for name, make_queue in makers.items()}
stack.close()

# %% [markdown]
# The path of the job through its states, as the first of them told it:

# %%
from orch.lab.charts import life_of_a_job

_ = life_of_a_job(lives["memory"][0])
# %% [markdown]
# **What we saw.** The queue noticed the silence by itself when the lease was over, the job kept its place, the late report
# could do no harm, and the failure budget of one retry was not touched by the crash. The last cell would fail if it were
# not so, on any backend.

# %%
assert all(told == lives["memory"] for told in lives.values())
told, job = lives["memory"]
assert (job["status"], job["attempts"], job["failures"], job["crashes"]) == ("success", 3, 1, 1)
assert job["error"] is None
assert job["result"] == {"by": "b"}
