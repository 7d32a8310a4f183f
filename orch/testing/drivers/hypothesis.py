"""The Hypothesis driver: a `RuleBasedStateMachine` with a rule for each operation of a queue machine.

For suites that already use Hypothesis: swarm testing, its example database and `reproduce_failure` work as they do for
any state machine. The explain phase and multiple reports are off: they multiply the time to a report without adding
to it. The plans of the fast driver come first, as explicit examples do, and random examples take one now and then. An
example is a swarm as it is there: one number says which operations it mixes, how often each, and about how many jobs.
What Hypothesis finds is then shrunk by our own delta debugging, and replays in the fast driver.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache, wraps
from typing import Any

import hypothesis
import hypothesis.strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from orch.testing.drivers import fast
from orch.testing.drivers.plans import BAD_CODES, CROWD_EVERY, CROWDS, TOUR, Plan, finish, follow, scenes, shocks, tour
from orch.testing.machine import IDS, Args, Notes, Operation, QueueMachine, Run, Step, Store, Violation
from orch.testing.report import ContractViolation, violation_of
from orch.testing.trace import Trace, generator

PLANS = 10  # of the fast driver's traces for one example: those that are planned come before the random examples
SELDOM = 256  # one random example of so many follows a plan
CROWDS_AGAIN = 8  # rounds of the plans with many jobs that random examples choose from, each with other things beside
ROUND = 2_000  # examples of one run of Hypothesis, which remembers each until it ends
MIXES = 64  # so many times so many swarms to choose from
UNIFORM = 256  # numbers that Hypothesis draws alike; of more it prefers the small ones
_ALWAYS = "ED"  # operations without which nothing happens
_SWARM = 0.6  # how likely each other operation is in a mix
_SWARM_BAD = 0.2  # and bad input
_BOOST = 0.15  # how likely it is done more often than it mostly is
_BOOSTED = 8  # the weight that it then has at least
_LIVELY = 0.5  # how likely its jobs are seldom finished, and soon there again
_REPORTS = "ROx"  # operations that report
_REVIVES = "PQ"  # what makes an id of a finished job live again
_STATUSES = (2, 3, 2, 3, 1, 0)  # then reported: mostly RETRY and PENDING
_THEMED = 0.4  # how likely it has the operations of a theme alone, and those that need a hook of the store
_KEPT = 0.8  # how likely each of them
THEMES = ("ROQKAstcl", "RAXYBdNx", "RGgQPtJAO", "UVqtlRAPQ", "MNxYRAlct", "STuvAZ", "RlcnLsPQAOK")
_PLAIN = 0.5  # how likely small arguments are more likely than large ones, in a mix

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
        self.plan = 0  # that was followed
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
    plans: dict[int, Plan]
    cards: dict[tuple[int, bool, bool], list[Card]]
    coverage: list[int]
    done = 0  # steps of all instances
    started = 0  # instances
    stop: Callable[[], bool] | None = None  # is it time to end, after an example?
    certain = 0  # the number of the plan that each example follows, if any

    def __init__(self) -> None:
        super().__init__()
        self.queue_run = Run(self.machine, self.store, Notes(self.coverage))
        self.over = False  # has it broken, or come to the end of a plan?
        self.broken = False
        self.menu: list[Card] = []
        # Hypothesis asks this for the next rule and its arguments. Its own strategy decides anew at each step which of
        # all rules are enabled, by a choice for each of them: four times the cost. Where it does not ask, that is used.
        self._rules_strategy: Any = next_rule(self)
        type(self).started += 1

    def begin(self, op: Operation, args: Args, *, plan: int, mix: int) -> None:
        """The first rule: a plan and nothing else, or one step of a mix.

        The plan of a number is 0: none; else that of the fast driver's trace of the same number.
        """
        self.mix(mix)
        if plan:
            self.follow(plan)
        else:
            self.act(op, args)

    def mix(self, number: int) -> None:
        """From here on these operations, and these arguments. 0 is all of them; the others are random swarms."""
        rng = generator(number)
        ids, plain, lively, theme = len(IDS), False, False, ""
        if number:
            ids = 1 + int((x := rng()) * x * len(IDS))  # few meet more often
            plain = rng() < _PLAIN
            lively = rng() < _LIVELY
            theme = THEMES[int(rng() * len(THEMES))] if rng() < _THEMED else ""
        if (ids, plain, lively) not in self.cards:
            rules = {rule.function.__name__: rule for rule in self.rules}
            self.cards[ids, plain, lively] = [
                _card(rules[slug(op)], op, ids, plain=plain, lively=lively) for op in self.machine.operations
            ]
        self.menu = []
        for op, card in zip(self.machine.operations, self.cards[ids, plain, lively], strict=True):
            chance = rng() if number else 0.5
            if not number or op.code in _ALWAYS or (lively and op.code in _REVIVES):
                times = op.weight
            elif theme and not op.hook:
                times = op.weight if op.code in theme and chance < _KEPT else 0
            elif chance < (_SWARM_BAD if op.code in BAD_CODES else _SWARM):
                times = op.weight
            else:
                times = 0
            if times and number and (theme or chance < _BOOST):
                times = max(times, _BOOSTED)
            self.menu += [card] * times

    def act(self, op: Operation, args: Args) -> None:
        """One step; what cannot be done now is left out. The job of a lease is the n-th of those delivered."""
        if self.over:
            return
        if op.leased:
            delivered = self.queue_run.delivered
            if not delivered:
                return
            chosen = list(args)
            for place in op.leased:
                chosen[place] = delivered[args[place] % len(delivered)]
            args = tuple(chosen)
        self.do(op, args)

    def do(self, op: Operation, args: Args) -> None:
        """One step, with these very arguments."""
        self._told(lambda: self.queue_run.do(op, args))

    def follow(self, plan: int) -> None:
        """All of a plan, and the end."""
        rng = generator(plan) if plan % CROWD_EVERY in CROWDS else None
        self._told(lambda: follow(self.queue_run, self.plans[plan], rng))
        self.over = True

    def teardown(self) -> None:
        """The end of each trace, as in the fast driver, unless it has come already."""
        try:
            if not self.over:
                self._told(lambda: finish(self.queue_run))
        finally:
            type(self).done += len(self.queue_run.steps)
            self.queue_run.close()
        if self.stop is not None and not self.broken and self.stop():
            raise Stopped  # here, where all is drawn: an example that ends earlier than it did is flaky to Hypothesis

    def _told(self, act: Callable[[], object]) -> None:
        try:
            act()
        except Violation as violation:
            self.over = self.broken = True
            raise Found(self.machine, self.store, self.queue_run.steps, violation) from None


class Stopped(BaseException):
    """It is time to end. No `Exception`, which Hypothesis would take for a failure."""


def state_machine(
    store: Store, capabilities: Iterable[str] | None = None, *, machine: QueueMachine | None = None
) -> type[QueueStateMachine]:
    """The state machine for the queues that `store` makes: give its `.TestCase` to pytest or unittest.

    The plans are played before the examples in Hypothesis's phase `explicit`, and not while `reproduce_failure` is on.
    After a run that finds nothing the test prints how often each operation met each state, and fails if one was never
    done in a run that was long enough.
    """
    machine = QueueMachine.of(store, capabilities) if machine is None else machine
    rules: dict[str, Any] = {}
    for op in machine.operations:
        rules[slug(op)] = _rule(op)
    rules["first"] = _first(machine.by_code["E"], lambda: kind)
    name = f"{getattr(store, '__name__', type(store).__name__).strip('<>')}_machine"
    made: Any = type(
        name,
        (QueueStateMachine,),
        {
            **rules,
            "machine": machine,
            "store": staticmethod(store),
            "plans": planned(machine),
            "cards": {},
            "coverage": [0] * machine.rows,
        },
    )
    kind: type[QueueStateMachine] = made
    made.TestCase = _test_case(kind)
    return kind


def _test_case(kind: type[QueueStateMachine]) -> Any:
    """The test of a state machine, with its plans before it and its table of what was reached after it."""
    from orch.testing.kit import judged  # which imports the drivers

    base: Any = kind.TestCase

    class TestCase(base):  # type: ignore[misc]  # Hypothesis makes the class when it is asked for
        settings = hypothesis.settings(SETTINGS)

        @wraps(base.runTest)
        def runTest(self) -> None:  # noqa: N802 - unittest's name
            found = None
            explicit = hypothesis.Phase.explicit in self.settings.phases
            if explicit and not hasattr(kind, "_hypothesis_internal_use_reproduce_failure"):
                found = play(kind, self.settings.max_examples)
            if found is None:
                super().runTest()
                outcome = fast.Outcome(kind.started, kind.done, kind.coverage)
                print(judged(kind.machine, kind.store, outcome, "hypothesis"))
                return
            kind.certain = found.plan
            try:
                super().runTest()  # Hypothesis fails at once, keeps the example in its database, and tells it
            finally:
                kind.certain = 0
            raise found  # it is not to generate examples

    TestCase.__name__, TestCase.__qualname__ = base.__name__, base.__qualname__
    return TestCase


def planned(machine: QueueMachine) -> dict[int, Plan]:
    """The plans that fit a machine, by the numbers of the traces of the fast driver that follow them.

    The numbers of its random traces are given to scenes.
    """
    plans = {
        n + again: plan for again in range(0, CROWD_EVERY * CROWDS_AGAIN, CROWD_EVERY) for n, plan in CROWDS.items()
    }
    plans[TOUR] = tour(machine)
    plans.update(zip((n for n in range(1, CROWD_EVERY, 2) if n not in plans), shocks(machine), strict=False))
    plans.update(zip((n for n in range(1, CROWD_EVERY) if n not in plans), scenes(machine), strict=False))
    return dict(sorted(plans.items()))


def play(kind: type[QueueStateMachine], max_examples: int) -> Found | None:
    """Follow the plans, one after the other: no more than so many examples are worth. Answers with what is found."""
    for number in kind.plans:
        if number >= min(max_examples * PLANS, CROWD_EVERY):
            break
        state = kind()
        try:
            state.follow(number)
        except Found as found:
            found.plan = number
            return found
        finally:
            state.teardown()
    return None


def arguments(op: Operation) -> list[str]:
    """The names of an operation's arguments."""
    return [name for name in inspect.signature(op.bind).parameters if name != "run"]


@cache
def below(size: int) -> st.SearchStrategy[int]:
    """Numbers from 0, all equally likely if they are few: `integers` prefers small ones."""
    return st.sampled_from(range(size))


def domains(op: Operation) -> dict[str, st.SearchStrategy[Any]]:
    """What its arguments are drawn from."""
    return {name: below(size) for name, size in zip(arguments(op), op.domains, strict=True)}


@st.composite
def plan_numbers(draw: st.DrawFn, kind: Callable[[], type[QueueStateMachine]]) -> int:
    """Mostly 0, seldom a plan; or the one that is certain, as the same choice."""
    machine = kind()
    numbers = list(machine.plans)
    if machine.certain:
        certain = SELDOM * (numbers.index(machine.certain) + 1) - 1
        lot = draw(st.integers(certain, certain))
    else:
        lot = draw(below(SELDOM * len(numbers)))
    return 0 if (lot + 1) % SELDOM else numbers[lot // SELDOM]


def beginning(kind: Callable[[], type[QueueStateMachine]]) -> dict[str, st.SearchStrategy[Any]]:
    """What the other arguments of the first rule are drawn from."""
    return {"plan": plan_numbers(kind), "mix": st.tuples(below(MIXES), below(MIXES)).map(_mix)}


def _mix(drawn: tuple[int, int]) -> int:
    return drawn[0] * MIXES + drawn[1]


@dataclass(frozen=True, slots=True)
class Card:
    """A rule as it is drawn: each lot says some of its arguments, by the tables of their values."""

    rule: Any
    lots: tuple[tuple[st.SearchStrategy[int], tuple[tuple[str, tuple[int, ...]], ...]], ...]


def _card(rule: Any, op: Operation, ids: int, *, plain: bool, lively: bool) -> Card:
    """The card of an operation: its jobs are among the first `ids`, its other arguments are drawn plainly or not."""
    tables = [tuple(_plainly(size) if plain else range(size)) for size in op.domains]
    if op.on_job:
        tables[:1] = [tuple(range(ids))]
    elif len(tables) == 1:
        tables = [tuple(range(op.domains[0]))]
    if op.rare and plain:
        tables[-1] = (*[0] * len(tables[-1]), *tables[-1])
    names = arguments(op)
    if lively and op.code in _REPORTS:
        tables = [_STATUSES if name.startswith("status") else table for name, table in zip(names, tables, strict=True)]
    lots = []
    size = 1
    group: list[tuple[str, tuple[int, ...]]] = []
    for name, table in zip(names, tables, strict=True):
        if size * len(table) > UNIFORM:
            lots.append((below(size), tuple(group)))
            size, group = 1, []
        size *= len(table)
        group.append((name, table))
    if group:
        lots.append((below(size), tuple(group)))
    return Card(rule, tuple(lots))


def _plainly(size: int) -> list[int]:
    """Small numbers more often than large ones: they are the simple cases, newer leases, and cheaper."""
    fine = 2 * size
    return [(2 * n + 1) ** 2 * size // (2 * fine) ** 2 for n in range(fine)]


@st.composite
def next_rule(draw: st.DrawFn, state: Any) -> tuple[Any, dict[str, int]]:
    """The rule of one of the cards on the menu, and its arguments: in as few draws as can be, for they are the cost."""
    card = state.menu[draw(below(len(state.menu)))]
    given = {}
    for lots, tables in card.lots:
        lot = draw(lots)
        for name, table in tables:
            lot, n = divmod(lot, len(table))
            given[name] = table[n]
    return card.rule, given


def slug(op: Operation) -> str:
    """The name of its rule."""
    return op.name.replace(" ", "_").replace("'", "")


def _rule(op: Operation) -> Callable[..., None]:
    names = arguments(op)

    def act(self: QueueStateMachine, **given: int) -> None:
        self.act(op, tuple([given[name] for name in names]))

    act.__name__ = act.__qualname__ = slug(op)
    return _decorated(rule, domains(op), act)


def _first(op: Operation, kind: Callable[[], type[QueueStateMachine]]) -> Callable[..., None]:
    """An enqueue that is done first: an empty queue has little to show. Or a plan."""
    names = arguments(op)

    def start(self: QueueStateMachine, *, plan: int, mix: int, **given: int) -> None:
        self.begin(op, tuple([given[name] for name in names]), plan=plan, mix=mix)

    return _decorated(initialize, {**beginning(kind), **domains(op)}, start)


def _decorated(
    decorator: Callable[..., Any], drawn: dict[str, st.SearchStrategy[Any]], act: Callable[..., None]
) -> Callable[..., None]:
    made: Callable[..., None] = decorator(**drawn)(act)
    return made


def explore(
    machine: QueueMachine,
    store: Store,
    *,
    max_examples: int,
    seed: int = 0,
    steps: int = fast.STEPS,
    shrink: bool = True,
    stop: Callable[[], bool] | None = None,
) -> fast.Outcome:
    """The plans, then so many examples, or until one fails or `stop()`.

    We shrink the failing one, in a thousandth of Hypothesis's time.
    """
    kind = state_machine(store, machine=machine)
    kind.stop = None if stop is None else staticmethod(stop)
    outcome = fast.Outcome(coverage=kind.coverage)
    try:
        if (planned_failure := play(kind, max_examples)) is not None:
            raise planned_failure
        for n in range(0, max_examples, ROUND):
            settings = hypothesis.settings(
                SETTINGS,
                max_examples=min(ROUND, max_examples - n),
                database=None,
                derandomize=False,
                stateful_step_count=steps,
                phases=[hypothesis.Phase.generate],
            )
            run_state_machine_as_test(hypothesis.seed(seed + n // ROUND)(kind), settings=settings)
    except Stopped:
        pass
    except Found as found:
        failure = found.failure
        failure.seed = seed
        failure.found_after = kind.started
        outcome.failure = fast.minimal(machine, store, failure) if shrink else failure
    outcome.traces, outcome.steps = kind.started, kind.done
    return outcome


def replay(machine: QueueMachine, store: Store, trace: Trace) -> None:
    """Do the steps of a trace through the state machine. Raises `ContractViolation`."""
    state = state_machine(store, machine=machine)()
    try:
        for op, args in fast.steps_of(machine, trace):
            state.do(op, args)
    finally:
        state.over = True  # a trace has its own end
        state.teardown()
