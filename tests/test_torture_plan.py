"""What a torture run is told."""

from collections import Counter

import pytest

from orch.errors import InvalidInput
from orch.torture.plan import CUTS, FAULTS, STEPS, Plan, crash_of, skew_of, strikes
from orch.worker import steps as worker_steps


def test_a_seed_gives_one_list_of_strikes():
    assert strikes(Plan(seed=1)) == strikes(Plan(seed=1))
    assert strikes(Plan(seed=1)) != strikes(Plan(seed=2))


def test_leaving_out_a_fault_does_not_move_the_others():
    both = strikes(Plan(seed=5, nemesis=("kill", "pause")))
    alone = strikes(Plan(seed=5, nemesis=("pause",)))
    assert [strike for strike in both if strike.fault == "pause"] == list(alone)


def test_strikes_are_in_order_within_the_time_and_each_fault_comes_even_in_a_short_run():
    plan = Plan(backend="redis", seconds=3.0)
    found = strikes(plan)
    assert list(found) == sorted(found)
    assert all(0 < strike.at_s < 3.0 for strike in found)
    struck = {name for name in plan.faults if FAULTS[name].every_s is not None}
    assert {strike.fault for strike in found} == struck


def test_pauses_and_isolations_outlast_a_lease_which_is_what_they_are_for():
    plan = Plan(backend="redis", seconds=300.0, lease_s=2.0)
    long = [s for s in strikes(plan) if s.fault == "pause" or s.how == "isolate"]
    assert long
    assert all(strike.seconds > plan.lease_s for strike in long)
    assert max(strike.seconds for strike in long) < plan.effect_s


def test_intensity_makes_strikes_more_frequent():
    calm, wild = (len(strikes(Plan(nemesis=("pause",), intensity=factor, seconds=300))) for factor in (1.0, 4.0))
    assert 3 * calm < wild < 5 * calm


def test_every_way_to_cut_a_connection_is_used():
    plan = Plan(backend="redis", seconds=300.0, nemesis=("partition",))
    assert {strike.how for strike in strikes(plan)} == set(CUTS)


def test_a_worker_can_die_before_and_after_each_of_its_steps():
    steps = {step.__name__ for step in worker_steps.Step.__args__}
    assert set(STEPS) == steps | {"Take"}
    plan = Plan(nemesis=("step",))
    crashes = [crash_of(plan, "w1", life) for life in range(600)]
    seen = Counter(str(crash) for crash in crashes if crash is not None)
    assert set(seen) == {f"{when} {step}" for step in steps for when in ("before", "after")} | {"after Take"}
    assert 30 < crashes.count(None) < 120
    assert crash_of(Plan(nemesis=("kill",)), "w1", 1) is None


def test_clocks_are_off_by_minutes():
    assert all(60 <= abs(skew_of(Plan(seed=seed))) <= 600 for seed in range(50))


def test_everything_that_a_store_allows_is_done_by_default_but_no_loss_that_it_does_not_promise_to_survive():
    assert set(Plan(backend="redis").faults) == set(FAULTS) - {"disk", "failover"}
    assert set(Plan(backend="sqlite", synchronous="FULL").faults) == set(FAULTS) - {"partition", "memory", "failover"}
    assert "power" not in Plan(backend="redis", appendfsync="everysec").faults
    assert "power" not in Plan(backend="sqlite", synchronous="NORMAL").faults
    assert "power" in Plan(backend="redis", appendfsync="everysec", nemesis=("power",)).faults


def test_a_server_of_somebody_else_s_is_not_harmed():
    assert not {"restart", "outage", "power", "memory"} & set(Plan(url="redis://localhost:6379/0").faults)
    assert "partition" in Plan(url="redis://localhost:6379/0").faults
    assert "partition" not in Plan(url="rediss://localhost:6379/0").faults


@pytest.mark.promise("Q12")
@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"backend": "mysql"}, "sqlite, redis"),
        ({"url": "memory://"}, "memory://"),
        ({"nemesis": ("kill", "flood")}, "flood"),
        ({"nemesis": ("memory",), "backend": "sqlite"}, "redis only"),
        ({"nemesis": ("restart",), "url": "redis://me:secret@host:1/0"}, "leave out --url"),
        ({"nemesis": ("partition",), "url": "rediss://host"}, "plain redis://"),
        ({"appendfsync": "no"}, "everysec"),
        ({"synchronous": "OFF"}, "FULL"),
        ({"queue": "module"}, "module:name"),
        ({"workers": 0}, "workers"),
        ({"producers": 0}, "producers"),
        ({"slots": 0}, "concurrency"),
        ({"seconds": 0}, "seconds"),
        ({"jobs_per_second": 0}, "jobs_per_second"),
        ({"lease_s": 0}, "lease_s"),
        ({"intensity": 0}, "intensity"),
        ({"limit_s": -1}, "limit_s"),
    ],
)
def test_a_plan_that_makes_no_run_is_refused_with_the_value(values, said):
    with pytest.raises(InvalidInput, match=said) as refused:
        Plan(**values)
    assert "secret" not in str(refused.value)


@pytest.mark.promise("Q12")
@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"replica": True, "backend": "sqlite"}, "Redis of our own"),
        ({"replica": True, "url": "redis://localhost"}, "Redis of our own"),
        ({"backend": "redis", "nemesis": ("failover",)}, "give --replica"),
        ({"backend": "redis", "replica": True, "nemesis": ("power",)}, "leave out --replica"),
    ],
)
def test_a_replica_belongs_to_a_redis_of_our_own_and_has_faults_of_its_own(values, said):
    with pytest.raises(InvalidInput, match=said):
        Plan(**values)


def test_with_a_replica_the_faults_of_one_server_are_left_out():
    faults = Plan(backend="redis", replica=True).faults
    assert "failover" in faults
    assert not set(faults) & {"power", "restart", "outage", "memory", "partition"}
    assert "failover" not in Plan(backend="redis").faults
