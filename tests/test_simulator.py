"""The simulator: held against theory, against SimPy, and against itself."""

import random
from statistics import fmean

import pytest
import simpy

from orch.errors import InvalidInput
from orch.job import JobStatus
from orch.schedule import Misfire, Schedule
from orch.simulator import (
    Bursts,
    Data,
    Diurnal,
    Every,
    Exponential,
    Faults,
    Fixed,
    Load,
    Lognormal,
    Poisson,
    Trace,
    Workers,
    simulate,
    theory,
    workers_needed,
)

# -- theory ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("servers", "load"), [(1, 0.5), (2, 0.7), (8, 0.7)])
def test_the_mean_wait_of_mmc_is_that_of_erlang(servers, load):
    rate, jobs = load * servers, 2_500
    waits = [
        fmean(simulate(Workers(servers), Poisson(rate), Exponential(1.0), jobs=jobs, seed=n).after_jobs(200).waits)
        for n in range(6)
    ]
    low, high = theory.interval(waits, 0.99)
    assert low <= theory.mmc_wait(servers, rate, 1.0) <= high


def test_the_mean_wait_of_mg1_is_that_of_pollaczek_and_khinchine():
    service = Lognormal(1.0, 0.5)
    waits = [fmean(simulate(1, Poisson(0.6), service, jobs=2_500, seed=n).after_jobs(200).waits) for n in range(6)]
    low, high = theory.interval(waits, 0.99)
    assert low <= theory.mg1_wait(0.6, service) <= high


def test_erlang_c_of_one_server_is_its_load():
    assert theory.erlang_c(1, 0.3) == pytest.approx(0.3)
    assert theory.erlang_c(2, 1.0) == pytest.approx(1 / 3)
    with pytest.raises(InvalidInput, match="keep up"):
        theory.erlang_c(2, 2.0)


def test_the_quantile_of_the_wait_fits_its_mean():
    at = [theory.mmc_wait_quantile(3, 2.5, 1.0, part / 2000) for part in range(2000)]
    assert fmean(at) == pytest.approx(theory.mmc_wait(3, 2.5, 1.0), rel=0.01)


@pytest.mark.parametrize(("part", "freedom", "value"), [(0.975, 1, 12.706), (0.995, 4, 4.604), (0.975, 30, 2.042)])
def test_quantiles_of_students_t_are_those_of_the_tables(part, freedom, value):
    assert theory.t_quantile(part, freedom) == pytest.approx(value, abs=0.002)
    assert theory.t_quantile(1 - part, freedom) == -theory.t_quantile(part, freedom)


# -- SimPy -------------------------------------------------------------------------------------------------------------


def waits_of_simpy(servers, arrivals, services):
    """The same jobs in the other simulator."""
    env = simpy.Environment()
    resource = simpy.Resource(env, servers)
    waits = [None] * len(arrivals)

    def job(number):
        yield env.timeout(arrivals[number])
        with resource.request() as turn:
            yield turn
            waits[number] = env.now - arrivals[number]
            yield env.timeout(services[number])

    for number in range(len(arrivals)):
        env.process(job(number))
    env.run()
    return waits


@pytest.mark.parametrize("servers", [1, 3])
def test_each_job_waits_as_long_as_in_simpy(servers):
    rate, service, jobs = 0.8 * servers, Exponential(1.0), 1_500
    result = simulate(servers, Poisson(rate), service, jobs=jobs, seed=5)
    times, rng = Poisson(rate).times(random.Random("5 arrivals 0")), random.Random("5 service 0")
    arrivals = [next(times) for _ in range(jobs)]
    services = [service.sample(rng) for _ in range(jobs)]
    assert result.waits == pytest.approx(waits_of_simpy(servers, arrivals, services), abs=1e-9)


# -- itself ------------------------------------------------------------------------------------------------------------

STORM = Faults(
    crash_every_s=40.0,
    pause_every_s=60.0,
    pause_s=Exponential(20.0),
    outages=((20.0, 8.0),),
    lost_requests=0.01,
    lost_replies=0.02,
)
LOADS = [
    Load(arrivals=Poisson(2.0), service=Lognormal(1.0), max_retries=2, fails=0.2, poison=0.02, tenant="a"),
    Load(arrivals=Bursts(10, 30.0, 3.0), service=0.5, priority=5, tenant="b"),
]


def stormy(seed, **more):
    return simulate(Workers(4, slots=2), LOADS, jobs=150, seed=seed, faults=STORM, lease_s=10.0, history=True, **more)


@pytest.mark.parametrize("seed", range(4))
def test_littles_law_is_exact_on_every_finished_run(seed):
    from_depth, from_jobs = stormy(seed).little()
    assert from_depth == from_jobs > 0


@pytest.mark.promise("Q1", "Q4", "Q5", "Q6")
@pytest.mark.parametrize("view", ["store", "clients"])
def test_a_run_with_every_fault_keeps_every_promise(view):
    from orch.checker import Spec, check

    for seed in range(6):
        result = stormy(seed)
        spec = Spec(lease_s=10.0, skew_s=0.001, drift=0.0, effect_s=5.0)
        verdict = check(result.history(view), spec)
        assert verdict.valid, (seed, verdict.violations[:1])
        assert all(job.state in (JobStatus.SUCCESS, JobStatus.FAILED) for job in result.jobs)


def test_a_seed_gives_one_run():
    first, second, other = stormy(1), stormy(1), stormy(2)
    assert first.lanes == second.lanes
    assert list(first.history()) == list(second.history())
    assert first.lanes != other.lanes


CALM_RUNS = {
    "short jobs": {"workers": Workers(4), "load": Poisson(2.8), "service": Exponential(1.0), "jobs": 300},
    "long jobs": {"workers": Workers(4), "load": Poisson(0.05), "service": Exponential(60.0), "jobs": 60},
    "slots": {"workers": Workers(3, slots=2), "load": Poisson(0.4), "service": Exponential(10.0), "jobs": 100},
    "nothing": {"workers": 3, "load": Trace(()), "service": 1.0, "seconds": 30.5},
    "failures": {
        "workers": [Workers(2), Workers(2, slowness=3.0, name="slow")],
        "load": Load(arrivals=Poisson(0.3), service=Lognormal(5.0), fails=0.3, max_retries=3, timeout_s=8.0),
        "jobs": 100,
        "lease_s": 5.0,
    },
}


@pytest.mark.parametrize("name", CALM_RUNS)
def test_silence_that_passes_in_one_step_changes_nothing(name, monkeypatch):
    from orch.simulator import fleet

    calm = simulate(**CALM_RUNS[name])
    monkeypatch.setattr(fleet, "_is_calm", lambda *_: False)
    step_by_step = simulate(**CALM_RUNS[name])
    assert calm.lanes == step_by_step.lanes
    assert calm.depth == step_by_step.depth
    assert calm.to_dict() == step_by_step.to_dict()


def test_what_a_worker_tells_after_a_silence_was_so_at_that_time(monkeypatch):
    from orch.simulator import fleet
    from orch.simulator.world import EPOCH

    told = []

    class Listening(fleet.MemoryQueue):
        def announce(self, info):
            told.append((self._read_clock() - EPOCH, info.id, info.done))
            super().announce(info)

    monkeypatch.setattr(fleet, "MemoryQueue", Listening)
    result = simulate(2, Poisson(0.5), Exponential(2.0), jobs=60, lease_s=3.0)
    assert len(told) > 30
    for at, worker, done in told:
        assert done == sum(lane.worker == worker and lane.end < at - 1e-6 for lane in result.lanes)


def test_another_number_of_workers_meets_the_same_jobs():
    few, many = (simulate(n, Poisson(3.0), Exponential(0.2), jobs=50, seed=4) for n in (1, 5))
    assert [job.arrived for job in few.jobs] == [job.arrived for job in many.jobs]


def test_the_depth_over_time_is_what_the_lanes_say():
    result = simulate(Workers(2), Every(1.0), Fixed(2.5), jobs=20)
    for step in result.depth:
        running = sum(lane.start <= step.at < lane.end for lane in result.lanes)
        come = sum(job.arrived <= step.at for job in result.jobs)
        begun = sum(lane.start <= step.at for lane in result.lanes)
        assert (step.pending, step.running) == (come - begun, running)
    assert result.utilisation == pytest.approx(50 / (2 * result.seconds))


# -- faults ------------------------------------------------------------------------------------------------------------


@pytest.mark.promise("Q5", "W1")
def test_a_job_whose_worker_died_comes_back_after_its_lease():
    faults, killed = Faults(crash_every_s=20.0), 0
    for seed in range(6):
        result = simulate(2, Trace((0.0,)), 30.0, jobs=1, faults=faults, lease_s=6.0, max_crashes=50, seed=seed)
        starts = [lane.start for lane in result.lanes]
        ends = [lane.end for lane in result.lanes if lane.outcome == "killed"]
        killed += len(ends)
        assert all(0 < back - end <= 6.0 + 2.0 for end, back in zip(ends, starts[1:], strict=True))
    assert killed


@pytest.mark.promise("W2", "Q4")
def test_a_zombie_is_refused_and_its_job_runs_elsewhere():
    faults = Faults(pause_every_s=15.0, pause_s=20.0)
    results = [
        simulate(Workers(3), Poisson(1.0), 2.0, jobs=60, seed=n, faults=faults, lease_s=5.0, max_crashes=50)
        for n in range(3)
    ]
    lanes = [lane for result in results for lane in result.lanes]
    assert any(lane.outcome == "lost" for lane in lanes)
    assert all(job.state is JobStatus.SUCCESS for result in results for job in result.jobs)


@pytest.mark.promise("W5")
def test_workers_resume_after_an_outage():
    result = simulate(Workers(2), Every(1.0), 0.5, jobs=60, faults=Faults(outages=((10.0, 20.0),)))
    gap = [lane for lane in result.lanes if 10.0 < lane.start < 30.0]
    assert not gap
    assert all(job.state is JobStatus.SUCCESS for job in result.jobs)
    assert [mark.what for mark in result.marks] == ["outage"]


@pytest.mark.promise("Q6")
def test_a_poison_job_is_stopped_by_its_crash_budget():
    load = Load(arrivals=Trace((0.0,)), service=1.0, poison=1.0)
    result = simulate(Workers(1), load, jobs=1, lease_s=3.0, max_crashes=2)
    assert result.jobs[0].state is JobStatus.FAILED
    assert [lane.outcome for lane in result.lanes] == ["killed"] * 3


@pytest.mark.promise("W4")
def test_a_deployment_gives_back_what_is_not_done_in_time():
    result = simulate(Workers(2, stop_at_s=5.0, grace_s=3.0), Every(1.0), 10.0, jobs=4, seconds=100.0, lease_s=60.0)
    assert all(job.state is JobStatus.SUCCESS for job in result.jobs)
    assert max(job.latency for job in result.jobs) < 60.0, "what was given back does not wait for its lease"
    assert sum(mark.what == "stop" for mark in result.marks) == 2


@pytest.mark.promise("W6")
def test_a_dependency_that_is_down_costs_retries_that_wait():
    load = Load(arrivals=Every(1.0), service=0.1, max_retries=8, failing=((0.0, 20.0),))
    result = simulate(Workers(2), load, jobs=20)
    assert all(job.state is JobStatus.SUCCESS for job in result.jobs)
    assert 40 < len(result.lanes) < 150


def test_a_slow_node_takes_longer_and_a_far_one_asks_longer():
    slow = simulate([Workers(1, slowness=5.0)], Every(10.0), 1.0, jobs=3)
    far = simulate([Workers(1, latency_s=0.25)], Every(10.0), 1.0, jobs=3)
    assert [lane.end - lane.start for lane in slow.lanes] == pytest.approx([5.0] * 3)
    assert all(job.latency >= 1.5 - 1e-6 for job in far.jobs)


@pytest.mark.promise("S1")
def test_schedules_enqueue_one_job_a_minute_however_many_schedulers_run():
    schedule = Schedule(id="every", cron="* * * * *", dag="workflow:tick", misfire=Misfire.ALL)
    result = simulate(2, Trace(()), 1.0, seconds=310.0, schedules=[schedule], schedulers=3)
    assert len(result.jobs) == 6  # a world begins on a full minute


# -- loads -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("service", [Exponential(2.0), Lognormal(2.0, 0.7), Data((1.0, 2.0, 6.0)), Fixed(2.0)])
def test_moments_are_those_of_what_is_drawn(service):
    rng = random.Random(1)
    drawn = [service.sample(rng) for _ in range(40_000)]
    assert fmean(drawn) == pytest.approx(service.mean, rel=0.05)
    assert fmean(value**2 for value in drawn) == pytest.approx(service.second, rel=0.1)


def test_a_day_has_its_peak_in_the_middle():
    times = Diurnal(0.0, 10.0, 100.0).times(random.Random(0))
    hours = [0] * 10
    while (at := next(times)) < 1_000.0:
        hours[int(at % 100.0 // 10)] += 1
    assert max(hours[4:6]) > 10 * max(1, hours[0])


def test_arrivals_come_from_a_log(tmp_path):
    from orch.events import record_event

    log = tmp_path / "state.jsonl"
    for second in (5, 6, 9):
        record_event({"event": "run_started", "timestamp": f"2026-01-01T00:00:0{second}+00:00"}, log)
    record_event({"event": "run_finished"}, log)
    assert Trace.from_log(log).seconds == (0.0, 1.0, 4.0)
    with pytest.raises(InvalidInput, match="no event 'nothing'"):
        Trace.from_log(log, "nothing")


@pytest.mark.parametrize(
    "make",
    [
        lambda: Workers(0),
        lambda: Workers(1, retry_s=-1),
        lambda: Poisson(0),
        lambda: Data(()),
        lambda: Bursts(1, 5.0, spread_s=6.0),
        lambda: Diurnal(5.0, 1.0),
        lambda: Load(arrivals=Poisson(1), service=1, fails=1.5),
        lambda: Load(arrivals=5, service=1),
        lambda: Faults(outages=((1.0, 0.0),)),
        lambda: simulate(1, Poisson(1)),
        lambda: simulate(1, Load(arrivals=Poisson(1), service=1), 1.0),
        lambda: simulate([], Poisson(1), 1.0),
        lambda: simulate(1, Poisson(1), "soon"),
        lambda: simulate(1, Poisson(1), 1.0, jobs=5).history(),
        lambda: simulate(1, Poisson(1), 1.0, jobs=5).wait(99),
    ],
    ids=[f"case {n}" for n in range(15)],
)
def test_bad_input_is_refused(make):
    with pytest.raises(InvalidInput):
        make()


# -- how many workers --------------------------------------------------------------------------------------------------


def test_how_many_workers_are_needed_is_about_what_theory_says():
    needed = workers_needed(Poisson(10), Exponential(0.3), wait_s=0.5, jobs=1_500, replications=4)
    by_theory = next(n for n in range(4, 20) if theory.mmc_wait_quantile(n, 10, 0.3, 0.99) <= 0.5)
    assert by_theory <= needed.workers <= by_theory + 1
    assert needed.low_s <= needed.wait_s <= needed.high_s <= 0.5
    assert str(needed).startswith(f"{needed.workers} workers: 99% of all jobs wait at most")


def test_too_few_workers_are_an_error():
    with pytest.raises(InvalidInput, match="2 workers are not enough"):
        workers_needed(Poisson(10), Exponential(1.0), wait_s=0.1, jobs=100, replications=2, most=2)
