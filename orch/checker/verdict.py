"""What a checker is told and what it answers: `Spec`, `Violation`, `Verdict`, and the table of all rules.

A rule is one way to break one promise of the contract; its level says which kind of queue still promises it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

from orch import checks
from orch.errors import InvalidInput
from orch.history import Op
from orch.queue import LEASE_S, MAX_CRASHES, RECLAIM_MAX, SWEEP_S

NEVER = 2**63 - 1  # the instant of what did not return, in nanoseconds


class Level(StrEnum):
    """How much a queue promises, weakest first; each includes those before it."""

    L1 = "L1"  # nothing lost, nothing unexpected
    L2 = "L2"  # and each duplicate has a licence, leases exclude, budgets bound, final is final
    L3 = "L3"  # and order, by ticket and priority
    L4 = "L4"  # and empties, and the times of leases and delays


LEVELS = tuple(Level)


class Rule(NamedTuple):
    """A promise, the level that includes it, and the rule as a sentence."""

    promise: str
    level: Level
    sentence: str


RULES: Mapping[str, Rule] = {
    "lost": Rule("Q1", Level.L1, "an accepted job can still reach a final state"),
    "unexpected": Rule("Q1", Level.L1, "a job that is delivered or seen was enqueued before"),
    "unexplained": Rule("Q1", Level.L1, "a final state that is seen was reported by somebody"),
    "known before": Rule("Q3", Level.L2, "an enqueue answers False only for an id that is known"),
    "new twice": Rule("Q3", Level.L2, "only the first enqueue of an id answers True"),
    "delivered twice": Rule("Q4", Level.L2, "an attempt is delivered once"),
    "early redelivery": Rule("Q4", Level.L2, "a job is delivered again only when its lease is over or was ended"),
    "stale accepted": Rule("Q4", Level.L2, "a report or extension under a lease that is not current is refused"),
    "settled twice": Rule("Q4", Level.L2, "a delivery is settled once"),
    "early loss": Rule("Q4", Level.L2, "a lease that nothing ended stays current until it expires"),
    "token order": Rule("Q4", Level.L2, "tokens are unique and grow over the whole queue"),
    "attempts down": Rule("Q6", Level.L2, "the attempts of a job never go down"),
    "attempt skipped": Rule("Q6", Level.L2, "attempts count deliveries: none is skipped"),
    "budget": Rule("Q6", Level.L2, "retries and lost leases stay within their budgets"),
    "final changed": Rule("Q7", Level.L2, "a final job changes only by requeue or purge"),
    "order": Rule("Q2", Level.L3, "of two ready jobs of one priority the one with the lower ticket is delivered first"),
    "returned order": Rule("Q2", Level.L3, "a delivery that was given back keeps its ticket"),
    "priority": Rule("Q2", Level.L3, "of two ready jobs the one with the higher priority is delivered first"),
    "empty": Rule("Q2", Level.L4, "a dequeue finds nothing only if no job is ready"),
    "recovery": Rule(
        "Q5", Level.L4, "a job whose lease was lost is deliverable within lease + sweep, under its ticket"
    ),
    "too early": Rule("Q2", Level.L4, "a delayed job is not delivered before it is due"),
}


@dataclass(frozen=True, slots=True)
class Spec:
    """What the queue of a history promises, and on what times.

    `level` is the strongest level that is promised. `lease_s` counts where a dequeue or an extension names none; with
    None nothing is known of leases and their times are not judged. A lost lease must be deliverable `sweep_s` after
    it expired, `reclaim_max` of them at each dequeue. `max_crashes` None: lost leases are not bounded.

    The store's clock may differ from the history's by `skew_s` over a lease, and by `drift` of the time that passed.
    `keeps_ticket` False: what is given back or expires goes to the tail, as in many other queues.

    `effect_s` bounds how long after its call an operation without an answer can still take effect. Without it an
    unknown dequeue excuses any later absence of one job for ever, and no job is called lost that it may have taken;
    with it a long run with many faults is judged far more sharply. `open_world`: jobs may have been enqueued before
    the history began.
    """

    level: Level = Level.L4
    lease_s: float | None = LEASE_S
    sweep_s: float = SWEEP_S
    max_crashes: int | None = MAX_CRASHES
    reclaim_max: int = RECLAIM_MAX
    skew_s: float = 0.05
    drift: float = 0.001
    keeps_ticket: bool = True
    effect_s: float | None = None
    open_world: bool = False

    def __post_init__(self) -> None:
        if self.level not in LEVELS:
            raise InvalidInput(f"level must be one of {', '.join(LEVELS)}, got {checks.shown(self.level)}")
        object.__setattr__(self, "level", Level(self.level))
        if self.lease_s is not None:
            checks.check_seconds(self.lease_s, "lease_s", positive=True)
        if self.effect_s is not None:
            checks.check_seconds(self.effect_s, "effect_s")
        if self.max_crashes is not None:
            checks.check_int(self.max_crashes, "max_crashes", 0)
        checks.check_seconds(self.sweep_s, "sweep_s")
        checks.check_seconds(self.skew_s, "skew_s")
        checks.check_seconds(self.drift, "drift", high=1.0)
        checks.check_int(self.reclaim_max, "reclaim_max", 1)


@dataclass(frozen=True, slots=True)
class Violation:
    """A broken promise: which rule of it, in a sentence with the jobs, and the operations that show it.

    `prefix` counts the operations that had returned when the last of `operations` had: so much of the history shows
    it. That of a verdict's first violation is exact, also where unknown operations could have excused it until later.
    """

    promise: str
    rule: str
    message: str
    operations: tuple[Op, ...]
    prefix: int = 0

    @property
    def level(self) -> Level:
        """The level that this violation breaks."""
        return RULES[self.rule].level

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "promise": self.promise,
            "rule": self.rule,
            "message": self.message,
            "operations": [op.to_dict() for op in self.operations],
            "prefix": self.prefix,
        }

    def __str__(self) -> str:
        return f"{self.promise} {self.rule}: {self.message}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a history shows of a queue.

    `valid` is False when a promise was broken, True when none was, and None when that cannot be said: lines of the
    history are lost that may explain what looks broken, or there is nothing in it. `level` is the strongest level
    that held, None if not even L1 did. Of each rule the earliest violations are kept, the earliest of all first.
    """

    valid: bool | None
    level: Level | None
    violations: tuple[Violation, ...]
    counts: dict[str, int] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """As JSON, the form of `orch check --json`."""
        return {
            "valid": self.valid,
            "level": self.level,
            "violations": [violation.to_dict() for violation in self.violations],
            "counts": dict(self.counts),
        }

    def __str__(self) -> str:
        said = {True: "valid", False: "invalid", None: "unknown"}[self.valid]
        lines = [f"{said}, {self.level or 'no level'} held; " + ", ".join(f"{n} {k}" for k, n in self.counts.items())]
        return "\n".join([*lines, *map(str, self.violations)])


def held(rules: Iterable[str]) -> Level | None:
    """The strongest level that holds although these rules are broken."""
    broken = {RULES[rule].level for rule in rules}
    strongest = None
    for level in LEVELS:
        if level in broken:
            break
        strongest = level
    return strongest
