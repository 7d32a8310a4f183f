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
# # Where does the naive Redis queue lose jobs?
#
# **Question.** A list of ids, a hash of records, a few commands for each verb: this is how a first queue on Redis is
# written, and in tests it works. What happens when a client dies between two commands, or another client comes between?
#
# The queue below is that design. Its server is a dict in this process which counts commands, so that a client can be
# killed before any of them. The machine knows nothing of the design: it does what a queue's users do, and compares.

# %%
import inspect

from orch.testing import ContractViolation, verify
from orch.testing.bugs.naive_redis import CommandQueue, NaiveRedisQueue, NaiveStore


def attacked(store, max_examples=50):
    """What `verify` says of it, kept to be shown."""
    try:
        return verify(store, capabilities=NaiveRedisQueue.capabilities, max_examples=max_examples)
    except ContractViolation as violation:
        return violation


found = attacked(NaiveStore(NaiveRedisQueue))
found

# %% [markdown]
# The machine found it in the first trace that it tried, and cut it down: nothing above can be left out. `found` is an
# exception; in a test it is what makes the test red, with the program as text.
#
# ## What the design looks like
#
# `dequeue` pops an id, reads the record, and writes it back as running:

# %%
print(inspect.getsource(CommandQueue.dequeue))

# %% [markdown]
# `_take` is `LPOP`, `_read` is `HGET`, `_write` is `HSET`. Three commands, so three places to die. We try them by hand:
# a job is enqueued, its worker dies before command 0, 1, 2 of `dequeue`, and then somebody asks for work.

# %%
from orch import Job
from orch.testing import FakeClock


def after_a_death(verb, before, commands):
    """What is left after the verb's client died before each of its commands."""
    store = NaiveStore(NaiveRedisQueue)
    for place in range(commands):
        queue = store(FakeClock())
        before(queue)
        queue, _ = store.die(queue, place, verb)
        job = queue.get_job("a")
        listed, state = "a" in queue.server.pending, "no record" if job is None else job.status.value
        again = queue.enqueue(Job.new("workflow:noop", id="a"))
        delivered = queue.dequeue("another") is not None
        print(
            f"dies before command {place}: {state:9}  in the list: {listed!s:5}"
            f"  enqueued again: {again!s:5}  then delivered: {delivered}"
        )


def enqueue(queue):
    return queue.enqueue(Job.new("workflow:noop", id="a"))


print("in dequeue")
after_a_death(lambda queue: queue.dequeue("worker"), enqueue, 4)
print("in enqueue")
after_a_death(enqueue, lambda _: None, 4)

# %% [markdown]
# Dead after `LPOP`, the job is *pending* in its record, in no list, and enqueuing it again says that it is known: it is
# lost for good, and every counter looks healthy. Dead after the last command it is *running* for ever, since nothing in
# this design has an end. And a producer that dies after the record is written and before the id is pushed has made a job
# that nobody will ever run, whose repetition is refused.
#
# ## The other ways
#
# The same design has more of them. Each line is one verb torn into its commands, all others whole; the machine hunts each
# alone. Most have been reported from real queues.

# %%
from orch.testing.bugs import naive_redis
from orch.testing.bugs.catalogue import hunter

hunt = hunter("queue", "fast")
findings = {bug: hunt(bug) for bug in naive_redis.BUGS}
for bug, finding in findings.items():
    print(f"{finding.promise:4} {finding.steps} steps  {bug.name:36} {bug.source}")

# %% [markdown]
# Two clients at once, no death at all. Both dequeue: each looks at the first id, then takes it out.

# %%
from orch.testing.bugs.naive_redis import TwoDequeuesMeet


class OnlyMeetings(NaiveStore):
    """A store whose clients never die and which is never away or full."""

    die = unreachable = full = property()


meeting = attacked(OnlyMeetings(TwoDequeuesMeet))
meeting

# %% [markdown]
# ## What mends it
#
# The same list and hash, each verb one step (a script, or a transaction): then nobody comes between, and who dies, dies
# before or after. The machine finds nothing.

# %%
kept = attacked(NaiveStore(CommandQueue))
kept

# %% [markdown]
# That queue is right and still of little use: a job whose worker dies after `dequeue` is running for ever. It takes leases
# to get it back; they are what `RedisQueue` adds, with one script for each verb. Here it meets the whole machine, with
# the server's code simulated:

# %%
import fakeredis

from orch.testing.stores import RedisStore

with fakeredis.FakeRedis() as client:
    ours = verify(RedisStore(client), max_examples=1)
ours

# %% [markdown]
# **What we saw.** Two commands are one too many. The design loses a job at one command of `dequeue` and one of `enqueue`,
# the machine shows it in a handful of steps without knowing where to look, and one atomic step for each verb ends it.

# %%
assert found.promise in {"Q1", "Q3", "Q4", "Q8"}
assert len(found.trace.steps) <= 4
assert all(finding is not None for finding in findings.values())
assert len(findings) >= 12
assert meeting.promise == "Q4"
assert kept.level == "L3"
assert ours.level == "L4"
