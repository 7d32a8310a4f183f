"""A scenario run for real has the jobs of the simulation; what plain workers cannot show is refused."""

from dataclasses import replace

import pytest

from orch.errors import InvalidInput
from orch.job import JobStatus
from orch.lab.measured import best_of, measure
from orch.lab.scenarios import SCENARIOS
from orch.simulator import Bursts, Every, Exponential, Faults, Fixed, Load, Poisson, Scenario, Workers
from orch.simulator.fleet import planned

TWO_LOADS = (
    Load(arrivals=Poisson(2.0), service=Exponential(0.5), tenant="a"),
    Load(arrivals=Bursts(5, 4.0, 1.0), service=Fixed(0.2), tenant="b"),
)


@pytest.mark.parametrize("bound", [{"jobs": 60}, {"seconds": 25.0}, {"jobs": 40, "seconds": 12.0}])
def test_the_planned_jobs_are_those_of_the_simulation(bound):
    plan = list(planned(TWO_LOADS, seed=3, **bound))
    result = Scenario(workers=(Workers(50),), load=TWO_LOADS, seed=3, **bound).play()
    assert [(at, load.tenant) for at, _, load, _ in plan] == [(job.arrived, job.tenant) for job in result.jobs]
    assert [number for _, number, _, _ in plan] == list(range(len(plan)))
    ran = {lane.job: lane.end - lane.start for lane in result.lanes}
    assert [seconds for *_, seconds in plan] == pytest.approx([ran[job.id] for job in result.jobs])


@pytest.mark.real
def test_a_scenario_runs_for_real_and_every_job_has_its_row(tmp_path):
    load = Load(arrivals=Every(0.05), service=0.1, tenant="shop", priority=2)
    measured = measure(Scenario(workers=(Workers(2, slots=2),), load=(load,), jobs=12), folder=tmp_path)
    assert [job.id for job in measured.jobs] == [f"job-{n}" for n in range(12)]
    assert {(job.tenant, job.priority, job.attempts, job.state) for job in measured.jobs} == {
        ("shop", 2, 1, JobStatus.SUCCESS)
    }
    assert all(0 <= job.wait <= job.latency - 0.1 <= measured.seconds for job in measured.jobs)
    assert len(measured.lanes) == 12
    assert measured.slots == 4
    assert measured.throughput == pytest.approx(12 / measured.seconds)
    assert 0 < measured.utilisation <= 1
    assert measured.wait(0.5) <= measured.latency(0.5)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"faults": Faults(crash_every_s=5.0)}, "faults"),
        ({"workers": (Workers(2, slowness=2.0),)}, "plain"),
        ({"workers": (Workers(2), Workers(1, slots=2))}, "slots"),
        ({"load": (Load(arrivals=Every(1.0), service=1.0, poison=0.5),)}, "poison"),
    ],
)
def test_what_plain_workers_cannot_show_is_refused(change, word):
    with pytest.raises(InvalidInput, match=word):
        measure(replace(SCENARIOS["capacity"], **change))


def test_the_best_of_several_is_the_one_least_apart(monkeypatch):
    from orch.lab import measured

    runs = iter([3.0, 1.0, 2.0])
    monkeypatch.setattr(measured, "measure", lambda _: next(runs))
    assert best_of(3, SCENARIOS["capacity"], lambda run: run) == 1.0
