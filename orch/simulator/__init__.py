"""Worlds on virtual time with the shipping code inside: workers, schedulers and a queue, as many as you like.

    from orch.simulator import Exponential, Poisson, workers_needed
    print(workers_needed(Poisson(50), Exponential(0.3), wait_s=1.0))

To read it: `fleet` has `simulate` and `workers_needed`, `load` when jobs come and how long they take, `result` what
came of it, `theory` what it is held against, `scenario` its form as YAML. Below that, `world` has the time, the queue
and the network; `member` drives workers and producers in it, `timekeeper` schedulers. For small worlds full of faults:
`tape` has the choices, `ordeal` makes worlds of them, `watch` holds workers against their promises.
"""

from __future__ import annotations

from orch.simulator.fleet import Faults, Needed, Workers, simulate, workers_needed
from orch.simulator.load import (
    Bursts,
    Data,
    Diurnal,
    Every,
    Exponential,
    Fixed,
    Load,
    Lognormal,
    Poisson,
    Trace,
)
from orch.simulator.result import Depth, JobRow, Lane, Mark, Result
from orch.simulator.scenario import Scenario, load_scenario, parse_scenario

__all__ = [
    "Bursts",
    "Data",
    "Depth",
    "Diurnal",
    "Every",
    "Exponential",
    "Faults",
    "Fixed",
    "JobRow",
    "Lane",
    "Load",
    "Lognormal",
    "Mark",
    "Needed",
    "Poisson",
    "Result",
    "Scenario",
    "Trace",
    "Workers",
    "load_scenario",
    "parse_scenario",
    "simulate",
    "workers_needed",
]
