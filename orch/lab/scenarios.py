"""Named scenarios, the same for simulator and real processes, so that "simulated" and "measured" stand side by side.

Each has a sentence that says what it shows. Times are small enough for real runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

from orch.errors import InvalidInput
from orch.simulator.fleet import Faults, Workers
from orch.simulator.load import Bursts, Data, Diurnal, Exponential, Fixed, Load, Lognormal, Poisson
from orch.simulator.scenario import Scenario, load_scenario
from orch.yaml_marks import did_you_mean

_FOLDER = "examples/scenarios"


def steady() -> Scenario:
    """Three workers, exponential jobs of 200 ms, two thirds busy: the plain case that theory knows."""
    return _scenario("steady", steady, Workers(3), Load(arrivals=Poisson(10.5), service=Exponential(0.2)), jobs=300)


def fixed_times() -> Scenario:
    """Three workers, jobs of exactly 200 ms at a load of 0.7: less variation, shorter waits than `steady`."""
    return _scenario("fixed times", fixed_times, Workers(3), Load(arrivals=Poisson(10.5), service=Fixed(0.2)), jobs=300)


def capacity() -> Scenario:
    """Three workers, jobs of 100 to 350 ms at a load of 0.7: short enough to run for real, long enough to compare."""
    service = Data((0.10, 0.12, 0.14, 0.16, 0.20, 0.26, 0.35))
    load = Load(arrivals=Poisson(0.7 * 3 / service.mean), service=service)
    return _scenario("capacity", capacity, Workers(3), load, jobs=60, seed=6)


def bursts() -> Scenario:
    """Sixty jobs at once every ten seconds: the queue fills in a moment and empties slowly."""
    return _scenario(
        "bursts", bursts, Workers(4), Load(arrivals=Bursts(60, 10.0), service=Exponential(0.4)), seconds=60
    )


def day() -> Scenario:
    """A day in two minutes: the peak is more than the workers can do, and the backlog outlasts it."""
    load = Load(arrivals=Diurnal(2.0, 28.0, 120.0), service=Exponential(0.2))
    return _scenario("day", day, Workers(4), load, seconds=240)


def crashes() -> Scenario:
    """Workers that die every minute: nothing is lost, and what they held comes back after its lease."""
    load = Load(arrivals=Poisson(4.0), service=Lognormal(1.0))
    return _scenario("crashes", crashes, Workers(6), load, seconds=300, lease_s=10.0, faults=Faults(crash_every_s=60.0))


def zombies() -> Scenario:
    """Workers that stop for longer than their lease and then go on: their late reports are refused."""
    faults = Faults(pause_every_s=60.0, pause_s=15.0)
    load = Load(arrivals=Poisson(3.0), service=Lognormal(1.0))
    return _scenario("zombies", zombies, Workers(6), load, seconds=300, lease_s=5.0, faults=faults)


def retry_storm() -> Scenario:
    """What all jobs need is down for a minute: every run fails, and backoff with jitter spreads the second wave."""
    load = Load(arrivals=Poisson(5.0), service=Exponential(0.5), max_retries=6, failing=((60.0, 120.0),))
    return _scenario("retry storm", retry_storm, Workers(4), load, seconds=300)


def retry_storm_at_once() -> Scenario:
    """The same without a wait before a retry: the budget of each job is spent in seconds."""
    load = Load(arrivals=Poisson(5.0), service=Exponential(0.5), max_retries=6, failing=((60.0, 120.0),))
    return _scenario("retry storm at once", retry_storm_at_once, Workers(4, retry_s=0.0), load, seconds=300)


def outage() -> Scenario:
    """The store is away for 30 s: workers wait, resume by themselves, and work off what gathered."""
    faults = Faults(outages=((60.0, 30.0),))
    load = Load(arrivals=Poisson(8.0), service=Exponential(0.3))
    return _scenario("outage", outage, Workers(4), load, seconds=240, faults=faults)


def poison() -> Scenario:
    """One job in two hundred kills its worker: it is stopped by its crash budget, its neighbours come through."""
    load = Load(arrivals=Poisson(4.0), service=Exponential(0.5), poison=0.005)
    return _scenario("poison", poison, Workers(4), load, seconds=300, lease_s=5.0)


def tenants() -> Scenario:
    """A tenant that sends 300 jobs at once, and one with a higher priority that notices nothing."""
    shop = Load(arrivals=Poisson(2.0), service=Exponential(0.3), tenant="shop", priority=5)
    reports = Load(arrivals=Bursts(300, 150.0), service=Exponential(0.8), tenant="reports")
    return _scenario("tenants", tenants, Workers(4), shop, reports, seconds=300)


def slow_node() -> Scenario:
    """One of four machines takes eight times as long: it takes few jobs, and those decide the slowest latencies."""
    load = Load(arrivals=Poisson(6.0), service=Exponential(0.4))
    return _scenario("slow node", slow_node, Workers(3), load, Workers(1, slowness=8.0, name="slow"), seconds=300)


def regions() -> Scenario:
    """Two workers near the store, two 80 ms away: each job of theirs costs two journeys more."""
    load = Load(arrivals=Poisson(8.0), service=Fixed(0.3))
    return _scenario("regions", regions, Workers(2), load, Workers(2, latency_s=0.08, name="far"), seconds=300)


def deployment() -> Scenario:
    """All workers are told to stop and started again: what they cannot finish in time is given back."""
    load = Load(arrivals=Poisson(3.0), service=Lognormal(2.0, 2.0))
    return _scenario("deployment", deployment, Workers(8, stop_at_s=60.0, grace_s=5.0), load, seconds=180)


_MAKERS = (
    steady,
    fixed_times,
    capacity,
    bursts,
    day,
    crashes,
    zombies,
    retry_storm,
    retry_storm_at_once,
    outage,
    poison,
    tenants,
    slow_node,
    regions,
    deployment,
)


def scenario_of(name: str) -> Scenario:
    """A scenario by its name, or from a YAML file. Raises `InvalidInput`."""
    if name in SCENARIOS:
        return SCENARIOS[name]
    shipped = files("orch") / _FOLDER / f"{name}.yaml"
    if "/" not in name and "\\" not in name and shipped.is_file():
        return load_scenario(str(shipped))
    if Path(name).exists() or name.endswith((".yaml", ".yml")):
        return load_scenario(name)
    known = sorted([*SCENARIOS, *shipped_names()])
    raise InvalidInput(f"no scenario and no file {name!r}{did_you_mean(name, known)}; there are {', '.join(known)}")


def shipped_names() -> list[str]:
    """The scenarios that come as YAML files."""
    return sorted(path.name.removesuffix(".yaml") for path in (files("orch") / _FOLDER).iterdir())


def _scenario(name: str, maker: object, workers: Workers, *parts: Load | Workers, **more: object) -> Scenario:
    loads = tuple(part for part in parts if isinstance(part, Load))
    fleets = (workers, *(part for part in parts if isinstance(part, Workers)))
    about = " ".join((getattr(maker, "__doc__", "") or "").split())
    return Scenario(name=name, about=about, workers=fleets, load=loads, **more)  # type: ignore[arg-type]  # its own fields


#: All scenarios by name.
SCENARIOS: Mapping[str, Scenario] = {maker.__name__: maker() for maker in _MAKERS}
