"""Draws runs of a machine, replays them, and makes a failing one small. Seeded: equal seeds do equal things.

Each run is a swarm (Groce et al., 2012): some acts are left out and some done more often, so that runs differ in kind.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from orch.testing.machines.world import Act, Args, Broken, Machine, Step, World, perform, program_of
from orch.testing.shrinking import smallest
from orch.testing.trace import Trace, generator

_SWARM = 0.6  # how likely each act is in a run
_BOOST = 0.15  # how likely it is then done much more often
_RICH = 0.5  # how likely all arguments of a run are as likely as any other, and not the small ones


@dataclass(slots=True)
class Failure:
    """A run that broke a promise; its last step, or its end, is what shows it."""

    machine: Machine
    broken: Broken
    steps: list[Step]
    seed: int = 0
    found_after: int = 0  # runs
    unshrunk: int = 0  # steps, as it was found

    @property
    def trace(self) -> Trace:
        """The steps as a value, with a token for a replay."""
        return self.machine.trace(self.steps, self.seed)

    def program(self, around: str = "") -> str:
        """The steps as Python to be pasted; see `orch.testing.machines.world.program_of`."""
        return program_of(self.machine, self.steps, self.broken, around)

    def __str__(self) -> str:
        found = f"{len(self.steps)} of {self.unshrunk} steps, run {self.found_after}, seed {self.seed}"
        return f"{self.broken}\n\n{self.program()}\nreplay: {self.trace.token} ({found})"


@dataclass(slots=True)
class Outcome:
    """What an exploration did; `done` counts each act."""

    runs: int = 0
    steps: int = 0
    done: Counter[str] = field(default_factory=Counter)
    failure: Failure | None = None

    def never_done(self, machine: Machine) -> list[str]:
        """The acts that did not come up once."""
        return [act.name for act in machine.acts if not self.done[act.name]]


def explore(
    machine: Machine, *, runs: int, seed: int = 0, shrink: bool = True, stop: Callable[[], bool] | None = None
) -> Outcome:
    """Do so many runs, or until one fails or `stop()`; the failing one is made small."""
    outcome = Outcome()
    rng = generator(seed)
    for n in range(runs):
        if stop is not None and stop():
            break
        steps: list[Step] = []
        try:
            with machine.world() as world:
                _wander(machine, world, rng, steps)
                world.end()
        except Broken as broken:
            failure = Failure(machine, broken, steps, seed, n + 1, len(steps))
            outcome.failure = minimal(failure) if shrink else failure
        outcome.runs += 1
        outcome.steps += len(steps)
        outcome.done.update(act.name for act, _ in steps)
        if outcome.failure is not None:
            break
    return outcome


def mixed(machine: Machine, rng: Callable[[], float]) -> tuple[list[Act], bool]:
    """The acts of a random run, each as often as it is likely; and are all arguments as likely as any other?"""
    menu: list[Act] = []
    theme = machine.themes[int(rng() * len(machine.themes))]
    for act in machine.acts:
        if act.code not in theme:
            continue
        chance = rng()
        if act.code in machine.always or chance < _SWARM:
            menu += [act] * (act.weight * 4 if chance < _BOOST else act.weight)
    return menu, rng() < _RICH


def _wander(machine: Machine, world: World, rng: Callable[[], float], steps: list[Step]) -> None:
    menu, rich = mixed(machine, rng)
    for _ in range(2 * machine.length):  # some cannot be done when they are drawn
        act = menu[int(rng() * len(menu))]
        args = tuple([int(rng() * domain) if rich else int((x := rng()) * x * domain) for domain in act.domains])
        steps.append((act, args))
        if perform(world, act, args) is None:
            steps.pop()
        elif len(steps) >= machine.length:
            return


def replay(machine: Machine, steps: Iterable[Step]) -> tuple[list[Step], Broken | None]:
    """Do these steps and the end, leaving out what cannot be done; the steps that were done, and what they broke."""
    done: list[Step] = []
    try:
        with machine.world() as world:
            for act, args in steps:
                done.append((act, args))
                if perform(world, act, args) is None:
                    done.pop()
            world.end()
    except Broken as broken:
        return done, broken
    return done, None


def minimal(failure: Failure) -> Failure:
    """A 1-minimal run that breaks the same promise."""
    machine, promise = failure.machine, failure.broken.promise
    broken = failure.broken

    def fails(steps: Sequence[tuple[Act, Args]]) -> list[Step] | None:
        done, found = replay(machine, steps)
        return done if found is not None and found.promise == promise else None

    steps = smallest(failure.steps, fails)
    _, found = replay(machine, steps)
    if found is not None:
        broken = found
    return Failure(machine, broken, steps, failure.seed, failure.found_after, failure.unshrunk)
