"""The Hypothesis driver: a `RuleBasedStateMachine` with a rule for each operation of a queue machine.

For suites that already use Hypothesis: swarm testing, its example database and `reproduce_failure` work as they do for
any state machine. The explain phase and multiple reports are off: they multiply the time to a report without adding
to it. What Hypothesis finds is then shrunk by our own delta debugging, and replays in the fast driver.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any

import hypothesis
import hypothesis.strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from orch.testing.drivers import fast
from orch.testing.drivers.plans import finish
from orch.testing.machine import Notes, Operation, QueueMachine, Run, Step, Store, Violation
from orch.testing.report import ContractViolation, violation_of
from orch.testing.trace import Trace

SETTINGS = hypothesis.settings(
    deadline=None,
    suppress_health_check=list(hypothesis.HealthCheck),
    phases=[phase for phase in hypothesis.Phase if phase is not hypothesis.Phase.explain],
    report_multiple_bugs=False,
    print_blob=True,
    stateful_step_count=fast.STEPS,
)


class Found(ContractViolation):
    """A violation whose shortest program and report are made when somebody asks: Hypothesis finds it many times."""

    def __init__(self, machine: QueueMachine, store: Store, steps: list[Step], violation: Violation) -> None:
        super().__init__(violation.promise, violation.sentence, fast.trace_of(steps), "")
        self.failure = fast.Failure(violation, steps, 0, unshrunk=len(steps))
        self._machine = machine
        self._store = store

    def __str__(self) -> str:
        if not self.report:
            failure = fast.minimal(self._machine, self._store, self.failure)
            found = f"{len(failure.steps)} of {failure.unshrunk} steps"
            whole = violation_of(self._machine, self._store, failure.steps, failure.violation, failure.trace, found)
            self.promise, self.sentence, self.message = whole.promise, whole.sentence, whole.message
            self.trace, self.program, self.report = whole.trace, whole.program, whole.report
        return self.report


class QueueStateMachine(RuleBasedStateMachine):
    """One queue under rules; `machine` and `store` are set by `state_machine`."""

    machine: QueueMachine
    store: Store
    coverage: list[int]
    done = 0  # steps of all instances
    started = 0  # instances

    def __init__(self) -> None:
        super().__init__()
        self.queue_run = Run(self.machine, self.store, Notes(self.coverage))
        self.broken = False
        type(self).started += 1

    def act(self, op: Operation, args: tuple[int, ...]) -> None:
        """Do one step; what cannot be done now is left out."""
        run = self.queue_run
        if op.leased:
            if not run.delivered:
                return
            chosen = list(args)
            for place in op.leased:
                chosen[place] = run.delivered[args[place] % len(run.delivered)]
            args = tuple(chosen)
        try:
            run.do(op, args)
        except Violation as violation:
            self.broken = True
            raise Found(self.machine, self.store, self.queue_run.steps, violation) from None

    def end(self) -> None:
        """What every trace ends with."""
        try:
            finish(self.queue_run)
        except Violation as violation:
            self.broken = True
            raise Found(self.machine, self.store, self.queue_run.steps, violation) from None

    def teardown(self) -> None:
        """The end of each trace, as in the fast driver, unless it has broken already."""
        try:
            if not self.broken:
                self.end()
        finally:
            type(self).done += len(self.queue_run.steps)
            self.queue_run.close()


def state_machine(
    store: Store, capabilities: Iterable[str] | None = None, *, machine: QueueMachine | None = None
) -> type[QueueStateMachine]:
    """The state machine for the queues that `store` makes: give its `.TestCase` to pytest or unittest."""
    machine = QueueMachine.of(store, capabilities) if machine is None else machine
    rules = {}
    for op in machine.operations:
        for n in range((op.weight + 7) // 8):  # Hypothesis knows no weights: what is done often is there more often
            rules[f"{_slug(op)}{n or ''}"] = _rule(op)
    rules["first"] = _first(machine.by_code["E"])
    name = f"{getattr(store, '__name__', type(store).__name__).strip('<>')}_machine"
    made: Any = type(
        name,
        (QueueStateMachine,),
        {**rules, "machine": machine, "store": staticmethod(store), "coverage": [0] * machine.rows},
    )
    made.TestCase.settings = hypothesis.settings(SETTINGS)
    kind: type[QueueStateMachine] = made
    return kind


def arguments(op: Operation) -> list[str]:
    """The names of an operation's arguments."""
    return [name for name in inspect.signature(op.bind).parameters if name != "run"]


def _slug(op: Operation) -> str:
    return op.name.replace(" ", "_").replace("'", "")


def _rule(op: Operation, decorator: Callable[..., Any] = rule) -> Callable[..., None]:
    names = arguments(op)

    def act(self: QueueStateMachine, **given: int) -> None:
        self.act(op, tuple([given[name] for name in names]))

    act.__name__ = act.__qualname__ = _slug(op)
    domains = {name: st.integers(0, size - 1) for name, size in zip(names, op.domains, strict=True)}
    made: Callable[..., None] = decorator(**domains)(act)
    return made


def _first(op: Operation) -> Callable[..., None]:
    """An enqueue that is done first: an empty queue has little to show."""
    return _rule(op, initialize)


def explore(
    machine: QueueMachine, store: Store, *, max_examples: int, seed: int = 0, steps: int = fast.STEPS
) -> fast.Outcome:
    """Run so many examples, or until one fails; we shrink the failing one, in a thousandth of Hypothesis's time."""
    kind = state_machine(store, machine=machine)
    settings = hypothesis.settings(
        SETTINGS,
        max_examples=max_examples,
        database=None,
        derandomize=False,
        stateful_step_count=steps,
        phases=[hypothesis.Phase.generate],
    )
    outcome = fast.Outcome(coverage=kind.coverage)
    try:
        run_state_machine_as_test(hypothesis.seed(seed)(kind), settings=settings)
    except Found as found:
        found.failure.seed = seed
        found.failure.found_after = kind.started
        outcome.failure = fast.minimal(machine, store, found.failure)
    outcome.traces, outcome.steps = kind.started, kind.done
    return outcome


def replay(machine: QueueMachine, store: Store, trace: Trace) -> None:
    """Do the steps of a trace through the rules of the state machine. Raises `ContractViolation`."""
    state = state_machine(store, machine=machine)()
    names = {op.code: op for op in machine.operations}
    try:
        for code, args in trace.steps:
            if code in names:
                state.act(names[code], args)
    finally:
        state.broken = True  # a trace has its own end
        state.teardown()
