"""`verify`: does a queue keep the contract?"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from orch.checks import check_int, shown
from orch.errors import InvalidInput
from orch.testing.drivers import fast
from orch.testing.machine import QueueMachine, Store
from orch.testing.report import ContractViolation, coverage_table, never_reached, violation_of
from orch.testing.trace import Trace

DRIVERS = ("fast", "hypothesis")
FAST_TRACES = 10  # for one example: together they cost less than one of Hypothesis
ENOUGH_STEPS = 5_000  # after so many each operation must have been done


@dataclass(frozen=True, slots=True)
class Verified:
    """A queue that kept the contract: how it was tried. `str()` has the state x operation table."""

    driver: str
    traces: int
    steps: int
    coverage: str
    never_reached: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.traces} traces, {self.steps} steps, no promise broken ({self.driver} driver)\n\n{self.coverage}"


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
) -> Verified:
    """Attack the queues that `make_queue(clock)` makes; raises `ContractViolation` for the first promise they break.

    Each call of `make_queue` gives an empty queue whose time is the clock it is handed. Attributes of `make_queue`
    named `reopen`, `second_client` and `plant_record` add the operations that need them (see `orch.testing.machine`).
    An example is one machine run of Hypothesis, or ten traces of the fast driver. Equal arguments do equal things.
    `capabilities` names what the queue can do, if not everything; `replay` repeats the trace of a token instead.
    """
    check_int(max_examples, "max_examples", 1)
    check_int(seed, "seed", 0)
    if driver not in DRIVERS:
        raise InvalidInput(f"driver must be one of {', '.join(DRIVERS)}, got {shown(driver)}")
    machine = QueueMachine.of(make_queue, capabilities)
    if replay is not None:
        return _replay(machine, make_queue, replay)
    if driver == "hypothesis":
        from orch.testing.drivers.hypothesis import explore

        outcome = explore(machine, make_queue, max_examples=max_examples, seed=seed)
    else:
        outcome = fast.explore(machine, make_queue, traces=max_examples * FAST_TRACES, seed=seed)
    return judged(machine, make_queue, outcome, driver)


def judged(machine: QueueMachine, store: Store, outcome: fast.Outcome, driver: str) -> Verified:
    """The outcome of an exploration as `verify` tells it: raises `ContractViolation`, or `NeverReached`."""
    if outcome.failure is not None:
        raise _violation(machine, store, outcome.failure) from None
    its_own = {op.name for op in machine.operations if op.weight or driver == "fast"}
    missing = tuple(name for name in never_reached(machine, outcome.coverage) if name in its_own)
    if missing and outcome.steps >= ENOUGH_STEPS:
        raise NeverReached(f"{outcome.steps} steps and never done: {', '.join(missing)}")
    return Verified(driver, outcome.traces, outcome.steps, coverage_table(machine, outcome.coverage), missing)


def _violation(machine: QueueMachine, store: Store, failure: fast.Failure) -> ContractViolation:
    found = f"{len(failure.steps)} of {failure.unshrunk} steps, trace {failure.found_after}, seed {failure.seed}"
    return violation_of(machine, store, failure.steps, failure.violation, failure.trace, found)


def _replay(machine: QueueMachine, store: Store, token: str) -> Verified:
    trace = Trace.parse(token, {code: len(op.domains) for code, op in machine.by_code.items()})
    steps, violation = fast.replay(machine, store, fast.steps_of(machine, trace))
    if violation is not None:
        failure = fast.Failure(violation, steps, 0, unshrunk=len(steps))
        fast.blame(machine, store, failure)
        raise violation_of(machine, store, steps, failure.violation, failure.trace, f"{len(steps)} steps, replayed")
    return Verified("replay", 1, len(steps), "", ())
