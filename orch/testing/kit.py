"""`verify`: does a queue keep the contract?"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from orch.checks import check_int, check_seconds, shown
from orch.errors import InvalidInput
from orch.testing import levels
from orch.testing.capabilities import CAPABILITIES, Fit, checked_capabilities, detected
from orch.testing.drivers import fast, plans
from orch.testing.machine import QueueMachine, Store
from orch.testing.report import ContractViolation, coverage_counts, coverage_table, never_reached, violation_of
from orch.testing.subject import subject
from orch.testing.trace import Trace

DRIVERS = ("fast", "hypothesis")
FAST_TRACES = 10  # for one example: together they cost less than one of Hypothesis
ENOUGH_STEPS = 5_000  # after so many each operation must have been done


@dataclass(frozen=True, slots=True)
class Verified:
    """A queue that kept the contract: how it was tried. `str()` has the state x operation table.

    `skipped` names what was not asked of it, with the reason; `level` is the strongest one that it can have; `met` says
    how often each operation met each state. In a notebook it shows that as a map, if matplotlib is there.
    """

    driver: str
    traces: int
    steps: int
    coverage: str = field(repr=False)
    never_reached: tuple[str, ...]
    skipped: dict[str, str] = field(default_factory=dict)
    level: str = "L4"
    met: dict[str, dict[str, int]] = field(default_factory=dict, repr=False)

    def __str__(self) -> str:
        return "\n\n".join(part for part in (self._said(), skipped_text(self.skipped), self.coverage) if part)

    def _said(self) -> str:
        return f"{self.traces} traces, {self.steps} steps, no promise broken ({self.driver} driver), level {self.level}"

    def _repr_html_(self) -> str:
        from html import escape  # only notebooks pay for it

        skipped = escape(skipped_text(self.skipped))
        text = f'<p>{escape(self._said())}</p><pre style="font-family:monospace">{skipped}</pre>'
        try:
            from orch.lab.pictures import picture_of_coverage
        except ModuleNotFoundError:  # without the chart library there is the table
            return f"{text}<pre>{escape(self.coverage)}</pre>"
        return f"{text}{picture_of_coverage(self.met)}" if self.met else text


class NeverReached(AssertionError):
    """A run was long enough and some operations were never done: it says less than it seems to."""


def verify(
    make_queue: Store,
    *,
    max_examples: int = 200,
    seed: int = 0,
    driver: str = "fast",
    capabilities: Iterable[str] | None = None,
    replay: str | None = None,
    level: str | None = None,
    seconds: float | None = None,
) -> Verified:
    """Attack the queues that `make_queue(clock)` makes; raises `ContractViolation` for the first promise they break.

    Each call of `make_queue` gives an empty queue whose time is the clock it is handed. Attributes of `make_queue`
    named `reopen`, `second_client`, `plant_record` and `die` add the operations that need them (see
    `orch.testing.machine`). An example is one machine run of Hypothesis, or ten traces of the fast driver; with
    `seconds` it goes on for so long instead. Equal arguments do equal things, unless `seconds` decides.

    `capabilities` names what the queue can do; without it that is found out (`orch.testing.capabilities.detected`).
    `level` asks for L1, L2, L3 or L4 only (`orch.testing.levels`; fast driver): what breaks a higher one, or is beside
    the levels, is passed over. `replay` repeats the trace of a token instead.

    Raises `InvalidInput` for bad arguments and for what makes no queue, and says which verbs are missing.
    """
    check_int(max_examples, "max_examples", 1)
    check_int(seed, "seed", 0)
    if driver not in DRIVERS:
        raise InvalidInput(f"driver must be one of {', '.join(DRIVERS)}, got {shown(driver)}")
    if level is not None:
        levels.rank_of(level)
        if driver != "fast":
            raise InvalidInput(f"a level is graded by the fast driver, got driver {driver!r}")
    stop = None if seconds is None else _until(check_seconds(seconds, "seconds", positive=True))
    store = subject(make_queue)
    machine, fit = machine_for(store, capabilities)
    if replay is not None:
        return _replay(machine, store, replay)
    traces = 10**9 if seconds is not None else max_examples * FAST_TRACES
    if level is not None:
        graded = levels.grade(machine, store, traces=traces, seed=seed, demanded=level, stop=stop)
        if graded.against is not None and (graded.level is None or graded.level < level):
            raise told(graded.against[0], store, graded.against[1])
        if graded.level is None or graded.level < level:
            raise InvalidInput(f"a queue without leases has no lease timing: ask for L3 at most, got {level}")
        return Verified("fast", graded.traces, graded.steps, "", (), fit.missing, graded.level)
    if driver == "hypothesis":
        outcome = _with_hypothesis(machine, store, max_examples if seconds is None else 10**9, seed, stop)
    else:
        outcome = fast.explore(machine, store, traces=traces, seed=seed, stop=stop)
    return judged(machine, store, outcome, driver, fit)


def machine_for(store: Store, capabilities: Iterable[str] | None = None) -> tuple[QueueMachine, Fit]:
    """The machine that fits these queues, and what they are not asked for; finds out what is not given."""
    if capabilities is None:
        fit = detected(store)
    else:
        given = checked_capabilities(capabilities)
        fit = Fit(given, {name: "not among those given" for name in CAPABILITIES if name not in given})
    return QueueMachine.of(store, fit.capabilities, without=fit.without), fit


def judged(machine: QueueMachine, store: Store, outcome: fast.Outcome, driver: str, fit: Fit | None = None) -> Verified:
    """The outcome of an exploration as `verify` tells it: raises `ContractViolation`, or `NeverReached`."""
    if outcome.failure is not None:
        raise told(machine, store, outcome.failure) from None
    its_own = {op.name for op in machine.operations if op.weight or driver == "fast"}
    missing = tuple(name for name in never_reached(machine, outcome.coverage) if name in its_own)
    planned = driver != "fast" or outcome.traces > max(plans.CROWDS)  # was everything done that is planned for a trace?
    if missing and planned and outcome.steps >= ENOUGH_STEPS:
        raise NeverReached(f"{outcome.steps} steps and never done: {', '.join(missing)}")
    level = "L4" if "lease" in machine.capabilities else "L3"
    return Verified(
        driver,
        outcome.traces,
        outcome.steps,
        coverage_table(machine, outcome.coverage),
        missing,
        {} if fit is None else fit.missing,
        level,
        coverage_counts(machine, outcome.coverage),
    )


def told(machine: QueueMachine, store: Store, failure: fast.Failure) -> ContractViolation:
    """A shrunk failure with its whole report."""
    found = f"{len(failure.steps)} of {failure.unshrunk} steps, trace {failure.found_after}, seed {failure.seed}"
    return violation_of(machine, store, failure.steps, failure.violation, failure.trace, found)


def skipped_text(skipped: dict[str, str]) -> str:
    """What was not asked of a queue, and why, as lines; empty if everything was."""
    if not skipped:
        return ""
    width = max(map(len, skipped))
    lines = [f"  {name:{width}}  {why}" for name, why in skipped.items()]
    return "\n".join(["Not asked for:", *lines])


def _until(seconds: float) -> Callable[[], bool]:
    end = time.monotonic() + seconds
    return lambda: time.monotonic() > end


def _with_hypothesis(
    machine: QueueMachine, store: Store, examples: int, seed: int, stop: Callable[[], bool] | None
) -> fast.Outcome:
    from orch.testing.drivers.hypothesis import explore  # who does not use Hypothesis need not have it

    return explore(machine, store, max_examples=examples, seed=seed, stop=stop)


def _replay(machine: QueueMachine, store: Store, token: str) -> Verified:
    trace = Trace.parse(token, {code: len(op.domains) for code, op in machine.by_code.items()})
    steps, violation = fast.replay(machine, store, fast.steps_of(machine, trace))
    if violation is not None:
        failure = fast.Failure(violation, steps, 0, unshrunk=len(steps))
        fast.blame(machine, store, failure)
        raise violation_of(machine, store, steps, failure.violation, failure.trace, f"{len(steps)} steps, replayed")
    return Verified("replay", 1, len(steps), "", ())
