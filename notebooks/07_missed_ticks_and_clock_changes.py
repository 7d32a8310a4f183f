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
# # What becomes of ticks that nobody saw, and of those that a clock change skips or repeats?
#
# **Question.** A schedule is due every hour, and for half a day no scheduler runs. What is made up for? And what is half
# past one on the night on which that time does not exist, or comes twice?

# %%
import os
from datetime import UTC, datetime, timedelta
from itertools import takewhile

from orch import MemoryQueue
from orch.lab import charts
from orch.schedule import Schedule, due, upcoming
from orch.scheduler import tick_once
from orch.testing import FakeClock

os.environ["STATE_STORE_PATH"] = os.devnull  # the log of this notebook is of no use to anybody

# %% [markdown]
# ## One job a tick
#
# Two schedulers look at the same minute. The id of the job names the tick, so the second look changes nothing (S1).

# %%
noon = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
queue = MemoryQueue(clock=FakeClock(noon.timestamp()))
hourly = Schedule("hourly", "0 * * * *", "workflow:noop")
print([tick_once(noon, [hourly], queue) for _ in range(2)], [job.id for job in queue.list_jobs()])

# %% [markdown]
# ## Nobody looked for ten hours
#
# The last look was at noon, the next one is at 22:30. `misfire` says what becomes of the ticks between; none that is older
# than `misfire_grace_s` counts.

# %%
policies = {
    "skip": Schedule("skip", "0 * * * *", "workflow:noop", misfire="skip"),
    "once": Schedule("once", "0 * * * *", "workflow:noop", misfire="once"),
    "all": Schedule("all", "0 * * * *", "workflow:noop", misfire="all", misfire_grace_s=86_400),
    "all, 3 h": Schedule("all-3h", "0 * * * *", "workflow:noop", misfire="all", misfire_grace_s=10_800),
}
back = noon + timedelta(hours=10, minutes=30)


def looked(schedule):
    """(tick, when its job was enqueued) from three hours before the pause until two hours after it."""
    made_up = set(due(schedule, noon, back))
    ticks = [noon + timedelta(hours=hour) for hour in range(-3, 13)]
    return [(tick, tick if tick <= noon or tick > back else back if tick in made_up else None) for tick in ticks]


rows = {name: looked(schedule) for name, schedule in policies.items()}
_ = charts.ticks_and_jobs(rows, [(noon + timedelta(minutes=1), back)])

# %%
made_up = {name: [tick for tick, at in ticks if at == back] for name, ticks in rows.items()}
for name, ticks in made_up.items():
    print(f"{name:9} {len(ticks):2} jobs for missed ticks: {' '.join(f'{tick:%H:%M}' for tick in ticks)}")

# %% [markdown]
# ## The night on which an hour is skipped
#
# In London on 29 March 2026 the clock goes from 01:00 to 02:00. A schedule that names a wall time fires once, at the first
# minute after the gap; one that repeats fires in each real minute whose wall time matches.

# %%
expressions = ["30 1 * * *", "0 * * * *", "*/30 1 * * *"]


def night(expression, start, hours=4):
    """The ticks of a schedule in London from an instant on."""
    schedule = Schedule("s", expression, "workflow:noop", timezone="Europe/London")
    end = start + timedelta(hours=hours)
    return list(takewhile(lambda tick: tick <= end, upcoming(schedule, start - timedelta(minutes=1))))


spring = datetime(2026, 3, 28, 23, 30, tzinfo=UTC)
in_spring = {expression: night(expression, spring) for expression in expressions}
_ = charts.wall_clock("Europe/London", spring, spring + timedelta(hours=4), in_spring)

# %% [markdown]
# ## The night on which an hour comes twice
#
# On 25 October it goes back from 02:00 to 01:00. A named wall time fires the first time only, a repeating one both times.

# %%
autumn = datetime(2026, 10, 24, 23, 0, tzinfo=UTC)
in_autumn = {expression: night(expression, autumn) for expression in expressions}
_ = charts.wall_clock("Europe/London", autumn, autumn + timedelta(hours=4), in_autumn)

# %%
day = timedelta(hours=24)
for start, name in (
    (datetime(2026, 3, 29, 0, 0, tzinfo=UTC), "29 March"),
    (datetime(2026, 10, 24, 23, 0, tzinfo=UTC), "25 October"),
):
    length = 23 if name == "29 March" else 25
    counts = {one: len(night(one, start, length - 1 / 60)) for one in expressions}
    print(f"{name:10} has {length} hours:", ", ".join(f"{one} {count}x" for one, count in counts.items()))

# %% [markdown]
# **What we saw.** A pause costs nothing that `misfire` and its grace do not give away, and a tick has one job however many
# look. A daily job runs once on both nights; an hourly one runs once in each hour that there is.

# %%
assert [len(made_up[name]) for name in policies] == [0, 1, 10, 3]
assert made_up["once"] == [noon + timedelta(hours=10)]
assert [f"{tick:%H:%M}" for tick in in_spring["30 1 * * *"]] == ["01:00"]
assert in_spring["*/30 1 * * *"] == []
assert [f"{tick:%H:%M}" for tick in in_autumn["30 1 * * *"]] == ["00:30"]
assert len(in_autumn["*/30 1 * * *"]) == 4
assert queue.count() == 1
