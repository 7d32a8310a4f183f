"""The queue machine on every backend, by both drivers; and that it finds what is broken.

Backends agree because each agrees with the model, answer by answer.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import hypothesis
import pytest
from hypothesis.database import DirectoryBasedExampleDatabase
from hypothesis.stateful import RuleStrategy

from orch.backends.memory import MemoryQueue
from orch.job import Event, JobStatus
from orch.testing import ContractViolation, kit, verify
from orch.testing.drivers import fast, plans
from orch.testing.drivers import hypothesis as by_hypothesis
from orch.testing.kit import NeverReached, judged
from orch.testing.machine import QueueMachine
from orch.testing.report import coverage_table, never_reached
from orch.testing.shrinking import neighbours
from orch.testing.stores import memory_store
from orch.testing.trace import Trace

DEEP_TIMEOUT_S = 100_000
PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "quick")


@pytest.mark.timeout(DEEP_TIMEOUT_S)
@pytest.mark.promise("Q1", "Q2", "Q3", "Q4", "Q5", "Q6", "Q7", "Q8", "Q9", "Q10", "Q11", "Q12", "Q13")
def test_a_backend_keeps_the_contract_in_random_traces(backend, store, tried, record_property):
    machine = QueueMachine.of(store)
    started = time.process_time()
    outcome = fast.explore(machine, store, traces=tried.traces, seed=tried.seed, stop=tried.stop())
    spent = time.process_time() - started
    print(f"{backend}: {outcome.traces} traces, {outcome.steps} steps, seed {tried.seed}, {spent:.1f} s of CPU")
    print(coverage_table(machine, outcome.coverage))
    record_property("steps", outcome.steps)
    judged(machine, store, outcome, "fast")


@pytest.mark.timeout(DEEP_TIMEOUT_S)
@pytest.mark.promise("Q1", "Q2", "Q3", "Q4", "Q5", "Q6", "Q7", "Q8", "Q9", "Q10", "Q11", "Q12", "Q13")
def test_a_backend_keeps_the_contract_under_hypothesis(backend, store, tried):
    machine = QueueMachine.of(store)
    outcome = by_hypothesis.explore(machine, store, max_examples=tried.examples, seed=tried.seed)
    print(f"{backend}: {outcome.traces} examples, {outcome.steps} steps")
    judged(machine, store, outcome, "hypothesis")


#: The machine as people use it in their suites: collected by pytest, with Hypothesis's own settings and database.
MemoryMachine = by_hypothesis.state_machine(memory_store).TestCase


def test_every_operation_is_reached():
    machine = QueueMachine.of(memory_store)
    outcome = fast.explore(machine, memory_store, traces=130)
    assert never_reached(machine, outcome.coverage) == []


# -- it finds what is broken -------------------------------------------------------------------------------------------


class LastInFirstOut(MemoryQueue):
    """Q2"""

    def _make_pending(self, entry, now, due):
        self._ticket -= 2
        super()._make_pending(entry, now, due)


class AlwaysNew(MemoryQueue):
    """Q3"""

    def _enqueue(self, jobs):
        super()._enqueue(jobs)
        return len(jobs)


class NoFence(MemoryQueue):
    """Q4"""

    def _report(self, report, now):
        entry = self._entries.get(report.job_id)
        if entry is not None and entry.job.lease is not None and report.lease is not None:
            report = replace(report, lease=entry.job.lease)
        return super()._report(report, now)


class TokensGoBack(MemoryQueue):
    """Q4"""

    def _exchange(self, reports, n, worker_id, lease_s):
        self._token = 0
        return super()._exchange(reports, n, worker_id, lease_s)


class NeverReclaims(MemoryQueue):
    """Q5"""

    def _reclaim(self, now):
        pass


class ReclaimsLate(MemoryQueue):
    """Q5"""

    def _reclaim(self, now):
        super()._reclaim(now - 1)


class CrashesNotCounted(MemoryQueue):
    """Q6"""

    def _reclaim(self, now):
        super()._reclaim(now)
        for entry in self._entries.values():
            entry.job.crashes = 0


class RetriesForEver(MemoryQueue):
    """Q6"""

    def _exchange(self, reports, n, worker_id, lease_s):
        for report in reports:
            entry = self._entries.get(report.job_id)
            if entry is not None and report.status is JobStatus.RETRY and entry.job.lease is not None:
                entry.job.failures = min(entry.job.failures, entry.job.max_retries - 1)
        return super()._exchange(reports, n, worker_id, lease_s)


class SuccessCanFail(MemoryQueue):
    """Q7"""

    def _report(self, report, now):
        entry = self._entries.get(report.job_id)
        operators = report.lease is None and report.status is JobStatus.FAILED
        if operators and entry is not None and entry.job.status is JobStatus.SUCCESS:
            self._counts[JobStatus.SUCCESS] -= 1
            self._counts[JobStatus.RUNNING] += 1
            entry.job.status = JobStatus.RUNNING
        return super()._report(report, now)


class RepeatsAreLost(MemoryQueue):
    """Q8"""

    def _report(self, report, now):
        answer = super()._report(report, now)
        self._entries[report.job_id].settled = None
        return answer


class OldestFirst(MemoryQueue):
    """Q9"""

    def _list(self, status, limit):
        return super()._list(status, 10**9)[::-1][:limit]


class PurgesAtTheHour(MemoryQueue):
    """Q10"""

    def _purge(self, older_than_s):
        return super()._purge(older_than_s - 0.000001)


class HandsOutItsOwn(MemoryQueue):
    """Q11"""

    def _get(self, job_id):
        entry = self._entries.get(job_id)
        return entry.job if entry is not None and entry.raw is None else super()._get(job_id)


class ChecksNothing(MemoryQueue):
    """Q12"""

    def enqueue(self, job):
        return self._enqueue((job,)) == 1


class CountsQuarantine(MemoryQueue):
    """Q13"""

    def counts(self):
        counts = super().counts()
        counts[JobStatus.PENDING] += len(self._quarantine)
        return counts


class GiveBackGoesToTheEnd(MemoryQueue):
    """Q2"""

    def _end_delivery(self, entry, event, now, delay_s=None):
        if event is Event.GIVE_BACK:
            self._ticket += 1
            entry.ticket = self._ticket
        super()._end_delivery(entry, event, now, delay_s)


BROKEN = [cls for cls in list(globals().values()) if isinstance(cls, type) and cls.__module__ == __name__]


def store_of(queue):
    return lambda clock: queue(clock=clock)


@pytest.mark.parametrize("queue", BROKEN, ids=lambda cls: cls.__name__)
def test_a_broken_queue_is_found_and_blamed_on_the_right_promise(queue):
    with pytest.raises(ContractViolation) as caught:
        verify(store_of(queue))
    assert caught.value.promise == queue.__doc__
    assert f"{queue.__doc__} " in str(caught.value)


@pytest.mark.parametrize("queue", [NoFence, NeverReclaims, HandsOutItsOwn], ids=lambda cls: cls.__name__)
def test_hypothesis_finds_it_too(queue):
    with pytest.raises(ContractViolation) as caught:
        verify(store_of(queue), driver="hypothesis", max_examples=300)
    assert caught.value.promise == queue.__doc__


@pytest.mark.parametrize("queue", BROKEN, ids=lambda cls: cls.__name__)
def test_its_shortest_program_fails_on_it_and_on_no_right_queue(queue):
    with pytest.raises(ContractViolation) as caught:
        verify(store_of(queue))
    program = caught.value.program
    made = next(line for line in program.splitlines() if line.startswith("queue = "))
    given = "queue = make_queue(clock)"
    names = {"make_queue": store_of(queue)}
    with pytest.raises(Exception, match=r"\S"):  # an assertion, or what a right queue does not raise
        exec(compile(program.replace(made, given), "program", "exec"), names)
    exec(compile(program.replace(made, given), "program", "exec"), {"make_queue": memory_store})


@pytest.mark.parametrize("queue", BROKEN, ids=lambda cls: cls.__name__)
def test_no_step_of_the_shortest_program_can_be_left_out(queue):
    store = store_of(queue)
    machine = QueueMachine.of(store)
    failure = fast.explore(machine, store, traces=2_000).failure
    assert failure is not None
    for smaller in neighbours(failure.steps):
        done, violation = fast.replay(machine, store, smaller)
        assert violation is None, fast.trace_of(done).token


@pytest.mark.parametrize("queue", [NoFence, NeverReclaims, HandsOutItsOwn, OldestFirst], ids=lambda cls: cls.__name__)
def test_a_trace_goes_from_one_driver_to_the_other(queue):
    store = store_of(queue)
    machine = QueueMachine.of(store)
    for outcome in (
        fast.explore(machine, store, traces=500),
        by_hypothesis.explore(machine, store, max_examples=300),
    ):
        assert outcome.failure is not None
        trace = outcome.failure.trace
        with pytest.raises(ContractViolation) as caught:
            by_hypothesis.replay(machine, store, trace)
        assert caught.value.trace.steps == trace.steps
        with pytest.raises(ContractViolation) as caught:
            verify(store, replay=trace.token)
        assert caught.value.trace.token == trace.token
    by_hypothesis.replay(machine, memory_store, trace)
    verify(memory_store, replay=trace.token)


# -- the same everywhere -----------------------------------------------------------------------------------------------

SAME = """
import sys
sys.path[:0] = {path!r}
from orch.testing.drivers import fast
from orch.testing.machine import QueueMachine
from orch.testing.stores import memory_store
from orch.testing.trace import Trace
machine = QueueMachine.of(memory_store)
arity = {{op.code: len(op.domains) for op in machine.operations}}
for token in {tokens!r}:
    steps = fast.steps_of(machine, Trace.parse(token, arity))
    print(fast.fingerprint(machine, memory_store, steps))
print(fast.fingerprint(machine, memory_store, fast.traced(machine, memory_store, seed=5)))
"""


def interpreters():
    """This Python, and others that are installed beside it."""
    yield sys.executable
    home = Path(sys.base_prefix).parent
    for path in sorted(home.glob("3.1[1-9].*/bin/python3")):
        if Path(sys.base_prefix) not in path.parents:
            yield str(path)


def test_a_trace_replays_alike_in_every_process_under_every_hash_seed_and_python():
    machine = QueueMachine.of(memory_store)
    traces = [fast.traced(machine, memory_store, seed=seed) for seed in range(20)]
    tokens = [fast.trace_of(steps).token for steps in traces]
    prints = [fast.fingerprint(machine, memory_store, steps) for steps in traces]
    prints.append(fast.fingerprint(machine, memory_store, fast.traced(machine, memory_store, seed=5)))
    program = SAME.format(path=[str(Path(__file__).resolve().parent.parent)], tokens=tokens)
    for python in interpreters():
        for hash_seed in ("0", "1", "4711"):
            done = subprocess.run(
                [python, "-c", program], env={"PYTHONHASHSEED": hash_seed}, capture_output=True, text=True, check=True
            )
            assert done.stdout.split() == prints, (python, hash_seed)


def test_run_equals_run_equals_replay():
    machine = QueueMachine.of(memory_store)
    arity = {op.code: len(op.domains) for op in machine.operations}
    for seed in range(1000 if PROFILE != "quick" else 50):
        steps = fast.traced(machine, memory_store, seed=seed)
        assert steps == fast.traced(machine, memory_store, seed=seed)
        trace = fast.trace_of(steps, seed)
        again = Trace.parse(trace.token, arity)
        assert (again.steps, again.hash) == (trace.steps, trace.hash)
        assert len({fast.fingerprint(machine, memory_store, fast.steps_of(machine, t)) for t in (trace, again)}) == 1


# -- as Hypothesis's own users have it ---------------------------------------------------------------------------------


def shortened(kind, **more):
    """A state machine class with few examples, the same ones every time."""
    kind.TestCase.settings = hypothesis.settings(by_hypothesis.SETTINGS, max_examples=300, **more)
    hypothesis.seed(1)(kind)
    return kind


def test_the_example_database_remembers_a_failure(tmp_path):
    database = DirectoryBasedExampleDatabase(tmp_path)
    store = store_of(NeverReclaims)
    first = shortened(by_hypothesis.state_machine(store), database=database)
    with pytest.raises(ContractViolation) as caught:
        first.TestCase().runTest()
    assert caught.value.promise == "Q5"
    again = shortened(by_hypothesis.state_machine(store), database=database, phases=[hypothesis.Phase.reuse])
    with pytest.raises(ContractViolation):
        again.TestCase().runTest()
    assert again.started < 10


def test_a_failure_can_be_reproduced_from_its_blob(tmp_path):
    store = store_of(NeverReclaims)
    kind = shortened(by_hypothesis.state_machine(store), database=None)
    with pytest.raises(ContractViolation) as caught:
        kind.TestCase().runTest()
    notes = "\n".join(caught.value.__notes__)
    version, blob = re.search(r"@reproduce_failure\('([^']+)', (b'[^']+')\)", notes).groups()
    again = shortened(by_hypothesis.state_machine(store), database=None)
    hypothesis.reproduce_failure(version, ast.literal_eval(blob))(again)
    with pytest.raises(ContractViolation) as reproduced:
        again.TestCase().runTest()
    assert reproduced.value.promise == "Q5"
    assert again.started <= 2


def test_a_plan_that_fails_is_told_as_an_example():
    kind = shortened(by_hypothesis.state_machine(store_of(NeverReclaims)), database=None)
    with pytest.raises(ContractViolation) as caught:
        kind.TestCase().runTest()
    told = "\n".join(caught.value.__notes__)
    assert re.search(r"state\.start\(.*\bplan=[1-9]", told)
    assert told.count("state.teardown()") == 1
    assert str(caught.value).startswith("Q5 recovery: ")
    assert kind.certain == 0


def test_a_failure_of_a_random_example_can_be_reproduced_from_its_blob():
    phases = [hypothesis.Phase.generate]
    kind = shortened(by_hypothesis.state_machine(store_of(NoFence)), database=None, phases=phases)
    with pytest.raises(ContractViolation) as caught:
        kind.TestCase().runTest()
    version, blob = re.search(
        r"@reproduce_failure\('([^']+)', (b'[^']+')\)", "\n".join(caught.value.__notes__)
    ).groups()
    again = shortened(by_hypothesis.state_machine(store_of(NoFence)), database=None)
    hypothesis.reproduce_failure(version, ast.literal_eval(blob))(again)
    with pytest.raises(ContractViolation) as reproduced:
        again.TestCase().runTest()
    assert str(reproduced.value).startswith("Q4 one holder: ")
    assert again.started <= 2


def test_a_run_without_a_failure_prints_what_it_reached(capsys):
    kind = by_hypothesis.state_machine(memory_store)
    kind.TestCase.settings = hypothesis.settings(by_hypothesis.SETTINGS, max_examples=15, database=None)
    hypothesis.seed(1)(kind)
    kind.TestCase().runTest()
    told = capsys.readouterr().out
    assert "no promise broken (hypothesis driver)" in told
    assert coverage_table(kind.machine, kind.coverage) in told
    assert kind.started > 15 + len(plans.CROWDS)  # the plans are there too


def test_an_operation_that_is_never_done_fails_a_long_run(monkeypatch):
    monkeypatch.setattr(kit, "ENOUGH_STEPS", 100)
    machine = QueueMachine.of(memory_store)
    operations = [op if op.code != "w" else replace(op, bind=lambda run: None) for op in machine.operations]
    machine = QueueMachine(operations, machine.capabilities)
    kind = by_hypothesis.state_machine(memory_store, machine=machine)
    kind.TestCase.settings = hypothesis.settings(by_hypothesis.SETTINGS, max_examples=3, database=None)
    hypothesis.seed(1)(kind)
    with pytest.raises(NeverReached, match="workers"):
        kind.TestCase().runTest()


def test_where_hypothesis_picks_the_rules_itself_a_failure_is_found_as_well(monkeypatch):
    """A version of it may ask for the next rule in another way than ours is told in."""
    monkeypatch.setattr(by_hypothesis, "next_rule", RuleStrategy)
    kind = shortened(by_hypothesis.state_machine(store_of(NoFence)), database=None, phases=[hypothesis.Phase.generate])
    with pytest.raises(ContractViolation) as caught:
        kind.TestCase().runTest()
    assert str(caught.value).startswith("Q4 one holder: ")


def test_a_failure_under_hypothesis_reads_like_any_other():
    kind = shortened(by_hypothesis.state_machine(store_of(NoFence)), database=None, phases=[hypothesis.Phase.generate])
    with pytest.raises(ContractViolation) as caught:
        kind.TestCase().runTest()
    assert str(caught.value).startswith("Q4 one holder: ")
    assert "queue = NoFence(clock=clock)" in caught.value.program
    assert "state.start(" in "\n".join(caught.value.__notes__)
