"""The fast driver: swarms of random operations, then delta debugging of the recorded trace.

Each trace takes a random part of the operations (a swarm: what is left out cannot get in the way of what is left in)
and ends with a look at everything and a delivery of all that should still come. A failing trace is made 1-minimal: no
step can be dropped, no argument lowered, no bulk form said as single ones, and it still breaks the same promise.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from orch.testing.drivers.plans import BAD_CODES, CROWD_EVERY, CROWDS, TOUR, finish, follow, shocks, tour
from orch.testing.machine import IDS, Args, Notes, Operation, QueueMachine, Run, Step, Store, Violation
from orch.testing.shrinking import drop_chunks, drop_pairs, lower
from orch.testing.trace import Trace, generator

STEPS = 50  # of a trace, before its end
_CONTAINS = ("Q1", "Q2", "Q5", "Q9")  # promises that nobody breaks by himself who needs an unreadable record for it
_ALWAYS = "ED"  # operations without which nothing happens
DRAWN_ANEW = 6  # arguments that are drawn anew for a trace
HAND = 64  # arguments of each operation to choose from
COVERED = 4  # states are noted in one trace of so many: it costs time
EXHAUSTIVE_RUNS = 800  # programs that are tried at the end of shrinking
_SELDOM = 0.6  # how likely a rare argument is left at 0, in a plain trace
_SWARM = 0.6  # how likely each other operation is in a trace
_RICH = 0.5  # how likely all arguments are as likely as any other, in a trace
_BOOST = 0.25  # how likely an operation is done more often than it mostly is
_BOOSTED = 8  # the weight that it then has at least


@dataclass(slots=True)
class Failure:
    """A trace that broke a promise; its last step is the one that shows it."""

    violation: Violation
    steps: list[Step]
    seed: int
    found_after: int = 0  # traces
    runs: int = 0  # that shrinking took
    unshrunk: int = 0  # steps, as it was found

    @property
    def trace(self) -> Trace:
        return trace_of(self.steps, self.seed)


@dataclass(slots=True)
class Outcome:
    """What an exploration did."""

    traces: int = 0
    steps: int = 0
    coverage: list[int] = field(default_factory=list)
    failure: Failure | None = None


def trace_of(steps: Iterable[Step], seed: int = 0) -> Trace:
    """The steps as a trace, which names operations by their codes."""
    return Trace(tuple((op.code, args) for op, args in steps), seed)


def steps_of(machine: QueueMachine, trace: Trace) -> list[Step]:
    """The steps of a trace on this machine; operations that it does not have are left out."""
    return [(machine.by_code[code], args) for code, args in trace.steps if code in machine.by_code]


def explore(
    machine: QueueMachine,
    store: Store,
    *,
    traces: int,
    seed: int = 0,
    steps: int = STEPS,
    shrink: bool = True,
    stop: Callable[[], bool] | None = None,
) -> Outcome:
    """Run so many traces, or until one fails or `stop()`; the failing one is shrunk."""
    outcome = Outcome(coverage=[0] * machine.rows)
    rng = generator(seed)
    deck = Deck(machine, rng)
    plans = shocks(machine)
    for n in range(traces):
        if stop is not None and stop():
            break
        deck.bad_input = n >= BAD_INPUT
        noted = n % COVERED == 0 or n % CROWD_EVERY in CROWDS or n == TOUR
        run = Run(machine, store, Notes(outcome.coverage) if noted else None)
        try:
            if n % CROWD_EVERY in CROWDS:
                follow(run, CROWDS[n % CROWD_EVERY], rng)
            elif n == TOUR:
                follow(run, tour(machine))
            elif n % 2 and (plan := next(plans, None)) is not None:
                follow(run, plan)
            else:
                wander(run, rng, deck, steps)
        except Violation as violation:
            failure = Failure(violation, run.steps, seed, found_after=n + 1, unshrunk=len(run.steps))
            outcome.failure = minimal(machine, store, failure) if shrink else failure
        finally:
            outcome.traces += 1
            outcome.steps += len(run.steps)
            run.close()
        if outcome.failure is not None:
            break
    return outcome


def traced(machine: QueueMachine, store: Store, *, seed: int, steps: int = STEPS) -> list[Step]:
    """The steps of one random trace, done. Raises `Violation`."""
    run = Run(machine, store)
    try:
        rng = generator(seed)
        wander(run, rng, Deck(machine, rng), steps)
    finally:
        run.close()
    return run.steps


class Deck:
    """Operations with arguments that were drawn ahead: picking one costs one random number.

    Each has HAND arguments to pick from, a few of which are drawn anew for each trace. In plain traces small arguments
    are drawn more often than large ones: they are the simple cases, newer leases, and cheaper. In rich ones all are
    equal.
    """

    __slots__ = ("_hands", "_operations", "_rng", "bad_input")

    def __init__(self, machine: QueueMachine, rng: Callable[[], float]) -> None:
        self._rng = rng
        self._operations = [op for op in machine.operations if op.weight]
        self.bad_input = False  # are bad calls among the operations?
        self._hands: dict[tuple[int, bool], list[list[Args]]] = {}

    def hands(self, ids: int, *, rich: bool) -> list[tuple[Operation, list[Args]]]:
        """The operations with their arguments, for jobs among the first `ids`."""
        rng, operations = self._rng, self._operations
        if (ids, rich) not in self._hands:
            self._hands[ids, rich] = [[self._draw(op, ids, rich) for _ in range(HAND)] for op in operations]
        hands = self._hands[ids, rich]
        for _ in range(DRAWN_ANEW):
            which = int(rng() * len(operations))
            hands[which][int(rng() * HAND)] = self._draw(operations[which], ids, rich)
        return list(zip(operations, hands, strict=True))

    def _draw(self, op: Operation, ids: int, rich: bool) -> Args:
        rng = self._rng
        if rich:
            drawn = [int(rng() * domain) for domain in op.domains]
            if op.on_job:
                drawn[0] = int(rng() * ids)
            return tuple(drawn)
        drawn = [int((x := rng()) * x * domain) for domain in op.domains]
        if op.on_job:
            drawn[0] = int(rng() * ids)
        elif len(drawn) == 1:
            drawn[0] = int(rng() * op.domains[0])
        if op.rare and rng() < _SELDOM:
            drawn[-1] = 0
        return tuple(drawn)


def wander(run: Run, rng: Callable[[], float], deck: Deck, steps: int) -> None:
    """One trace: a swarm of operations, then the end."""
    menu: list[tuple[Operation, list[Args]]] = []
    ids = 1 + int((x := rng()) * x * len(IDS))  # few jobs meet more often
    for card in deck.hands(ids, rich=rng() < _RICH):
        op = card[0]
        chance = rng()
        if op.code in BAD_CODES and not deck.bad_input:
            continue
        if op.code in _ALWAYS or chance < _SWARM:
            menu += [card] * (op.weight if chance > _SWARM * _BOOST else max(op.weight, _BOOSTED))
    size = len(menu)
    do, done, delivered = run.do, run.steps, run.delivered
    for _ in range(3 * steps):  # some cannot be done when they are drawn
        op, hand = menu[int(rng() * size)]
        args = hand[int(rng() * HAND)]
        if op.leased:
            if not delivered:
                continue
            drawn = list(args)
            for place in op.leased:
                drawn[place] = delivered[int(rng() * len(delivered))]
            args = tuple(drawn)
        do(op, args)
        if len(done) >= steps:
            break
    finish(run)


BAD_INPUT = 70  # the first trace with bad calls among others: other faults are worth more


def replay(machine: QueueMachine, store: Store, steps: Iterable[Step]) -> tuple[list[Step], Violation | None]:
    """Do these steps, leaving out what cannot be done; the steps that were done, and what they broke."""
    run = Run(machine, store)
    try:
        for op, args in steps:
            run.do(op, args)
    except Violation as violation:
        return run.steps, violation
    finally:
        run.close()
    return run.steps, None


def fingerprint(machine: QueueMachine, store: Store, steps: Iterable[Step]) -> str:
    """A hash of these steps and of every answer to them: equal wherever the same happened."""
    journal: list[str] = []
    run = Run(machine, store, Notes(journal=journal))
    with suppress(Violation):
        for op, args in steps:
            run.do(op, args)
    run.close()
    return hashlib.sha256("\n".join(journal).encode()).hexdigest()[:16]


# -- making it small -------------------------------------------------------------------------------------------------


def minimal(machine: QueueMachine, store: Store, failure: Failure) -> Failure:
    """A 1-minimal trace that breaks the same promise."""
    best = failure
    tried: set[tuple[Step, ...]] = set()  # which a later round would try again

    def try_(steps: Sequence[Step]) -> bool:
        nonlocal best
        program = tuple(steps)
        if program in tried:
            return False
        tried.add(program)
        done, violation = replay(machine, store, steps)
        failure.runs += 1
        if violation is None:
            return False
        if _size(done) >= _size(best.steps):
            return False
        best = Failure(violation, done, failure.seed, failure.found_after, 0, failure.unshrunk)
        return True

    while _pass(machine, lambda: best.steps, try_):
        pass
    if not _in_a_crowd(best.steps) and _shorter(machine, store, best.steps, try_):
        while _pass(machine, lambda: best.steps, try_):
            pass
    if _readable_instead(machine, store, best) or _look_instead(machine, store, best):
        while _pass(machine, lambda: best.steps, try_):
            pass
    best.runs = failure.runs
    blame(machine, store, best)
    return best


def blame(machine: QueueMachine, store: Store, failure: Failure) -> None:
    """No step of a minimal program can be left out: one that should have changed nothing is the culprit."""
    culprits: list[str | None] = []
    run = Run(machine, store, Notes(culprits=culprits))
    try:
        for op, args in failure.steps:
            run.do(op, args)
    except Violation as violation:
        for (op, _), promise in zip(run.steps[:-1], culprits, strict=False):
            if op.code == "Q" and violation.promise == "Q2" and run.steps[-1][0].code == "s":
                continue  # it promoted what was due, which is a matter of order
            if op.code in "UV" and violation.promise in _CONTAINS:
                # It takes a record that cannot be read to see it: every other job should have gone on.
                failure.violation = Violation("Q13", violation.sentence, violation.expected, violation.actual)
            elif promise is not None and promise != violation.promise:
                sentence = f"{op.name} should have changed nothing; then {violation.sentence}"
                failure.violation = Violation(promise, sentence, violation.expected, violation.actual)
    finally:
        run.close()


def _readable_instead(machine: QueueMachine, store: Store, failure: Failure) -> bool:
    """Does it take a record that cannot be read, or only something else to be done once more?"""
    steps = failure.steps
    for place, (op, _) in enumerate(steps):
        if op.code in "UV" and failure.violation.promise in _CONTAINS:
            rest = steps[:place] + steps[place + 1 :]
            for again in dict.fromkeys(rest):
                for where in range(1, len(rest) + 1):
                    done, violation = replay(machine, store, [*rest[:where], again, *rest[where:]])
                    if violation is not None and len(done) <= len(steps):
                        failure.steps, failure.violation = done, violation
                        return True
    return False


def _look_instead(machine: QueueMachine, store: Store, failure: Failure) -> bool:
    """Where a last step should have changed nothing and its answer is wrong: was the job wrong before it already?"""
    op, args = failure.steps[-1]
    look = machine.by_code.get("t")
    before = failure.steps[:-1]
    if op.code == "x" and args[1:4] == args[4:7] and op.singles is not None:  # the same report twice, at one go
        code, args = op.singles(*args)[0]
        before = [*before, (machine.by_code[code], args)]
    elif op.code not in "ROrKQ":
        return False
    if look is None:
        return False
    steps, violation = replay(machine, store, [*before, (look, args[:1])])
    if violation is not None:
        failure.steps, failure.violation = steps, violation
    return violation is not None


def _in_a_crowd(steps: Sequence[Step]) -> bool:
    """Does a run of these steps take long, because of many jobs?"""
    return any(op.code == "C" for op, _ in steps)


def _size(steps: Sequence[Step]) -> tuple[int, int]:
    """Fewer steps are smaller; of as many, those with smaller arguments."""
    return len(steps), sum(sum(args) for _, args in steps) + sum(40 for op, _ in steps if op.singles is not None)


def _pass(machine: QueueMachine, now: Callable[[], list[Step]], try_: Callable[[Sequence[Step]], bool]) -> bool:
    """One round of everything that can make it smaller; did anything?"""
    before = now()
    drop_chunks(now, try_)
    if not _in_a_crowd(now()):
        drop_pairs(now, try_)
    # a bulk form as single ones: as one of them, or as all of them, perhaps with another step less
    place = 0
    while place < len(now()):
        steps = now()
        op, args = steps[place]
        if op.singles is not None:
            singles = [(machine.by_code[code], more) for code, more in op.singles(*args) if code in machine.by_code]
            before_it, after_it = steps[:place], steps[place + 1 :]
            others = len(before_it) + len(after_it)
            for instead in (*([single] for single in singles), singles):
                if try_(before_it + instead + after_it) or (
                    others <= 16
                    and any(
                        try_(before_it[:skip] + before_it[skip + 1 :] + instead + after_it)
                        if skip < place
                        else try_(before_it + instead + after_it[: skip - place] + after_it[skip - place + 1 :])
                        for skip in range(others)
                    )
                ):
                    break
        place += 1
    lower(now, try_)
    _rename(now, try_)
    return now() is not before


def _shorter(machine: QueueMachine, store: Store, steps: list[Step], try_: Callable[[Sequence[Step]], bool]) -> bool:
    """A shorter program of these same steps in another order or number, at most four long, by trying them all."""
    own = list(dict.fromkeys(steps))
    budget = EXHAUSTIVE_RUNS
    level: list[list[Step]] = [[]]
    for length in range(1, min(5, len(steps))):
        programs = []
        for prefix in level:
            for step in own:
                budget -= 1
                if budget < 0:
                    return False
                program = [*prefix, step]
                done, violation = replay(machine, store, program)
                if violation is not None:
                    return try_(program)
                if len(done) == length:  # else the step could not be done here
                    programs.append(program)
        level = programs
    return False


def _rename(now: Callable[[], list[Step]], try_: Callable[[Sequence[Step]], bool]) -> None:
    """The same program with a smaller id in all its steps."""
    for high in (3, 2, 1):
        for low in range(high):
            steps = now()
            renamed = [
                (op, (low, *args[1:])) if op.on_job and op.domains and args and args[0] == high else (op, args)
                for op, args in steps
            ]
            if renamed != steps:
                try_(renamed)
