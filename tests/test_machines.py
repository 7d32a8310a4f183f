"""The machines of schedulers, DAG runs and logs: clean code keeps its promises, seeded bugs do not."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from dataclasses import replace

import pytest

from orch import events, runner
from orch.errors import InvalidInput
from orch.testing.bugs import Bug, every
from orch.testing.bugs.machine_hunter import hunt, machine_of
from orch.testing.bugs.scheduler import cursor_moved_first
from orch.testing.machines import driver
from orch.testing.machines.virtual import Stage, on_stage
from orch.testing.machines.world import Act, Broken, Machine, World, perform
from orch.testing.shrinking import smallest

LEVELS = ("scheduler", "dag", "logs")
BUGS = [bug for level in LEVELS for bug in every(level)]
PROMISES = {
    "scheduler": {"S1", "S2", "S3", "S4", "S5"},
    "dag": {"D1", "D2", "D3", "D4", "D5", "D6", "D7"},
    "logs": {"L1", "L2", "L3"},
}
CPU_S = 5.0  # a bug is found in well under one; the rest is for a slow machine under coverage


@pytest.fixture(params=LEVELS)
def machine(request):
    return machine_of(request.param)


def fault(bug):
    """How a program imports the bug."""
    return f"{bug.make.__module__}.{bug.make.__name__}"


@pytest.mark.promise("S1", "S2", "S3", "S4", "S5", "D1", "D2", "D3", "D4", "D5", "D6", "D7", "L1", "L2", "L3")
def test_a_machine_has_nothing_to_say_of_the_shipping_code_and_does_all_its_acts(machine):
    outcome = driver.explore(machine, runs=60, seed=11)
    assert outcome.failure is None, str(outcome.failure)
    assert outcome.never_done(machine) == []


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_a_seeded_bug_is_found_and_blamed_on_a_promise_that_it_breaks(bug):
    finding = hunt(bug, seed=1, budget_s=CPU_S)
    assert finding is not None, bug.what
    assert finding.promise in bug.promises, finding.program


@pytest.mark.parametrize("bug", BUGS[::7], ids=lambda bug: bug.name)
def test_a_program_is_python_that_shows_the_bug_and_a_token_that_repeats_it(bug):
    finding = hunt(bug, seed=2, budget_s=CPU_S)
    with pytest.raises(Broken) as told:
        exec(compile(finding.program, "<program>", "exec"), {})  # it is what people paste
    assert told.value.promise == finding.promise
    machine = machine_of(bug.level)
    with bug.make():
        steps, broken = driver.replay(machine, machine.parse(finding.token))
    assert (len(steps), broken.promise, broken.sentence) == (finding.steps, finding.promise, finding.sentence)


@pytest.mark.parametrize("bug", BUGS[::9], ids=lambda bug: bug.name)
def test_no_step_of_a_shortest_run_can_be_left_out_and_no_argument_lowered(bug):
    machine = machine_of(bug.level)
    steps = machine.parse(hunt(bug, seed=3, budget_s=CPU_S).token)
    smaller = [steps[:n] + steps[n + 1 :] for n in range(len(steps))]
    for n, (act, args) in enumerate(steps):
        for which, value in enumerate(args):
            lower = [(*args[:which], low, *args[which + 1 :]) for low in range(value)]
            smaller += [[*steps[:n], (act, given), *steps[n + 1 :]] for given in lower]
    with bug.make():
        promise = driver.replay(machine, steps)[1].promise
        for candidate in smaller:
            done, broken = driver.replay(machine, candidate)
            smaller_by_all = (len(done), sum(sum(args) for _, args in done)) < (
                len(steps),
                sum(sum(args) for _, args in steps),
            )
            assert broken is None or broken.promise != promise or not smaller_by_all, candidate


def test_every_promise_of_a_level_has_a_bug_and_names_and_sources_are_there():
    for level, promises in PROMISES.items():
        assert promises <= {bug.promises[0] for bug in every(level)}
    assert len({bug.name for bug in BUGS}) == len(BUGS)
    assert all(isinstance(bug, Bug) and bug.what and bug.source and bug.make.__doc__ for bug in BUGS)
    assert [len(every(level)) >= least for level, least in zip(LEVELS, (10, 12, 8), strict=True)] == [True] * 3


def test_a_bug_leaves_nothing_behind():
    modules = [sys.modules[name] for name in sorted(sys.modules) if name.startswith("orch.") and "testing" not in name]
    before = [dict(vars(module)) for module in modules]
    kinds = {kind for module in modules for kind in vars(module).values() if isinstance(kind, type)}
    inside = {kind: dict(vars(kind)) for kind in kinds}
    for bug in BUGS:
        with bug.make(), pytest.raises(ZeroDivisionError):
            raise ZeroDivisionError
    assert [dict(vars(module)) for module in modules] == before
    assert {kind: dict(vars(kind)) for kind in kinds} == inside


def test_equal_seeds_do_equal_things_in_every_process(machine):
    def told():
        return driver.explore(machine, runs=8, seed=5).done

    code = (
        "from orch.testing.machines import driver\nfrom orch.testing.bugs.machine_hunter import machine_of\n"
        f"print(sorted(driver.explore(machine_of({machine.level!r}), runs=8, seed=5).done.items()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": "7"}
    )
    assert told() == told()
    assert done.stdout.strip() == str(sorted(told().items()))


def test_an_exception_of_the_code_is_told_as_a_broken_promise(machine):
    act = next(act for act in machine.acts if act.bind(machine.world(), *(0,) * len(act.domains)) is not None)

    class Wrong(World):
        def __getattr__(self, name):
            def raises(*_):
                raise KeyError("gone")

            return raises

    with Wrong() as world, pytest.raises(Broken, match=f"{act.promise}: {act.name} raised KeyError"):
        values = act.bind(machine.world(), *(0,) * len(act.domains))
        perform(world, replace(act, bind=lambda *_: values), (0,) * len(act.domains))


def test_a_world_puts_back_what_it_replaced(machine):
    before = events.LINE_MAX, logging.root.manager.disable
    with machine.world():
        pass
    world = machine.world()
    world.close()
    world.close()
    assert (events.LINE_MAX, logging.root.manager.disable) == before
    assert runner.threading is threading


def test_a_token_of_another_machine_is_refused():
    token = machine_of("dag").trace([]).token
    with pytest.raises(InvalidInput, match=r"reads s1\."):
        machine_of("scheduler").parse(token)


def test_a_report_has_the_promise_the_program_and_the_token():
    machine = machine_of("scheduler")
    with cursor_moved_first():
        failure = driver.explore(machine, runs=200).failure
        text = str(failure)
    assert text.startswith("S2: ")
    assert "with Schedulers() as world:" in text
    assert failure.trace.token in text


def shrunk(kinds, *, fails):
    left = smallest([(kind, ()) for kind in kinds], lambda steps: list(steps) if fails(text(steps)) else None)
    return text(left)


def text(steps):
    return "".join(kind for kind, _ in steps)


def test_steps_are_left_out_in_chunks_alone_and_in_pairs():
    assert shrunk("xxxxaxxxxbxxxxc", fails=lambda kinds: "abc" in kinds.replace("x", "")) == "abc"
    assert shrunk("x(abcde)x", fails=lambda kinds: kinds.replace("x", "") in ("(abcde)", "abcde")) == "abcde"


def test_all_short_lists_of_the_same_steps_are_tried():
    assert shrunk("acb", fails=lambda kinds: kinds in ("acb", "ba")) == "ba"


def test_arguments_are_made_as_low_as_they_can_be():
    left = smallest([("a", (5, 9))], lambda steps: list(steps) if steps and steps[0][1][1] > 2 else None)
    assert left == [("a", (0, 3))]


def test_a_run_is_made_small_for_the_promise_that_it_broke():
    class Toy(World):
        def poke(self, n):
            if n:
                raise Broken(f"S{n}", "poked")

    poke = Act("poke", "p", (3,), lambda _, n: (n,), "S5")
    toy = Machine("toy", "t1", Toy, (poke,), always="p", themes=("p",))
    failure = driver.Failure(toy, Broken("S2", "poked"), [(poke, (0,)), (poke, (2,))])
    assert driver.minimal(failure).steps == [(poke, (2,))]


def test_threads_on_stage_end_in_the_order_of_their_time_and_nobody_waits():
    seconds = {"slow": 3.0, "quick": 1.0, "hangs": float("inf")}
    stage = Stage(takes=lambda name: (seconds[name], None), started=lambda *_: None, waits=lambda: None)
    ended = []

    class Call:
        def __init__(self, name):
            self.context = type("Context", (), {"task_id": name})
            self.inputs = {}
            self.answers = answers

        def __call__(self):
            ended.append((self.context.task_id, stage.now))
            self.answers.append(self.context.task_id)

    answers = []
    with on_stage(stage):
        for name in seconds:
            runner.threading.Thread(target=Call(name), name=name, daemon=True).start()
        assert [stage.get(answers, None) for _ in range(2)] == ["quick", "slow"]
        with pytest.raises(runner.queue.Empty):
            stage.get(answers, 5.0)
        assert ended == [("quick", 1001.0), ("slow", 1003.0)]
        assert runner.time.monotonic() == 1008.0
        with pytest.raises(Broken, match="never comes"):
            stage.get(answers, None)
