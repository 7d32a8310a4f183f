"""The machines of schedulers, DAG runs and logs, by their own driver and by Hypothesis."""

import os
import time

import pytest
from hypothesis import given

from orch.testing.bugs.scheduler import id_of_the_enqueue
from orch.testing.machines import dag, driver, logs, scheduler
from orch.testing.machines.front import check, programs

MACHINES = (scheduler.MACHINE, dag.MACHINE, logs.MACHINE)
PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "quick")
RUNS = {"quick": 60, "ci": 600}
DEEP_S = float(os.environ.get("ORCH_DEEP_S", "600"))  # of each machine
DEEP_TIMEOUT_S = 100_000


@pytest.mark.timeout(DEEP_TIMEOUT_S)
@pytest.mark.promise("S1", "S2", "S3", "S4", "S5", "D1", "D2", "D3", "D4", "D5", "D6", "D7", "L1", "L2", "L3")
@pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: machine.level)
def test_a_machine_finds_nothing_in_random_runs(machine, record_property):
    deep = PROFILE not in RUNS
    seed = int(os.environ.get("ORCH_SEED", time.time_ns() % 10**9)) if deep else 0
    end = time.monotonic() + DEEP_S
    stop = (lambda: time.monotonic() > end) if deep else None
    outcome = driver.explore(machine, runs=RUNS.get(PROFILE, 10**9), seed=seed, stop=stop)
    print(f"{machine.level}: {outcome.runs} runs, {outcome.steps} steps, seed {seed}, {dict(outcome.done)}")
    record_property("steps", outcome.steps)
    assert outcome.failure is None, str(outcome.failure)
    assert outcome.never_done(machine) == []


@pytest.mark.promise("S1", "S2", "S3", "S4", "S5")
@given(programs(scheduler.MACHINE))
def test_schedulers_keep_their_promises_in_any_program(steps):
    check(scheduler.MACHINE, steps)


@pytest.mark.promise("D1", "D2", "D3", "D4", "D5", "D6", "D7")
@given(programs(dag.MACHINE))
def test_runs_of_dags_keep_their_promises_in_any_program(steps):
    check(dag.MACHINE, steps)


@pytest.mark.promise("L1", "L2", "L3")
@given(programs(logs.MACHINE))
def test_logs_keep_their_promises_in_any_program(steps):
    check(logs.MACHINE, steps)


def test_a_program_that_breaks_a_promise_is_told_with_its_token():
    machine = scheduler.MACHINE
    with id_of_the_enqueue(), pytest.raises(AssertionError, match=r"S1: (.|\n)*world.look\(0\)(.|\n)*replay: s1\.L0\."):
        check(machine, machine.parse(machine.trace([(machine.by_code["L"], (0,))]).token))
