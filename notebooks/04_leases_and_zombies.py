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
# # What can a worker do that has lost its job and does not know it?
#
# **Question.** A worker is stopped for 15 seconds, longer than its lease of 5, and then goes on as if nothing had happened:
# a zombie. Can it settle a job that somebody else has meanwhile? Can it do harm outside the queue?
#
# The shipping worker and queue run on virtual time; each of six workers is paused about once a minute.

# %%
from orch.lab import charts
from orch.lab.scenarios import SCENARIOS
from orch.lab.spans import lease_spans

result = SCENARIOS["zombies"].play(history=True)
history = result.history()
print(len(result.jobs), "jobs,", len(result.attempts), "attempts,", len(result.marks), "pauses")

# %% [markdown]
# A closer look at half a minute. Hatched: the process is stopped. The thin line below is the lease: the queue waits for its
# end, then hands the job to the next worker that asks.

# %%
_ = charts.worker_lanes(
    result.lanes, result.marks, leases=lease_spans(history), window=(100, 130), title="Pauses that outlast a lease"
)

# %% [markdown]
# ## Inside the queue: refused
#
# Every report and every extension of a zombie carries a lease that is no longer the current one. The queue refuses it and
# changes nothing (Q4).

# %%
refused = [op for op in history if op.outcome == "refused"]
for op in refused[:3]:
    print(f"{op.call_ns / 1e9:6.1f} s  {op.client} {op.op}s {op.job}: {op.value['error']}")
print(len(refused), "refused, each for a lost lease:", {op.value["error"] for op in refused})

# %% [markdown]
# Was every promise kept, in this world full of zombies? The checker reads the whole history.

# %%
verdict = result.verdict()
print("valid:", verdict.valid, " counts:", verdict.counts)

# %% [markdown]
# ## Outside the queue: the token
#
# A queue cannot stop a zombie from writing to a database. But each lease has a *token* that grows with every delivery. A
# database that remembers the highest token of each job can refuse the older one. Here both kinds get the same writes: what
# each run wrote, in the order in which the runs ended.

# %%
writes = sorted((one.ended, one.job.id, one.token, one.worker.id) for one in result.attempts if one.ended is not None)


def play(writes, *, fenced):
    """What is stored in the end, the writes that were refused, and those that replaced a newer one."""
    stored, refused, harmful = {}, [], []
    for write in writes:
        _, job, token, _ = write
        if job in stored and token < stored[job]:
            (refused if fenced else harmful).append(write)
            if fenced:
                continue
        stored[job] = token
    return stored, refused, harmful


plain, fenced = play(writes, fenced=False), play(writes, fenced=True)
print(f"without a check: {len(plain[2])} newer results were replaced by older ones")
print(f"with a check:    {len(fenced[1])} writes were refused, {len(fenced[2])} newer results replaced")

# %% [markdown]
# Who wrote late, and how late:

# %%
ended = {(job, token): at for at, job, token, _ in writes}
for at, job, _, worker in plain[2][:5]:
    newest = max(other for of, other in ended if of == job)
    print(f"job {job}: {worker} wrote at {at:.1f} s, {at - ended[job, newest]:.1f} s after the newer result")

# %% [markdown]
# **What we saw.** Inside the queue a zombie can do nothing: each of its reports is refused. Outside it can, unless what it
# writes to looks at the token. `orch.workflows.current().token` is there for that.

# %%
assert verdict.valid
assert {op.value["error"] for op in refused} == {"LeaseLost"}
assert all(job.state.name == "SUCCESS" for job in result.jobs)
assert plain[2]
assert not fenced[2]
assert {*plain[2]} <= {*fenced[1]}
newest_tokens = {job: max(token for _, of, token, _ in writes if of == job) for _, job, _, _ in writes}
assert fenced[0] == newest_tokens != plain[0]
