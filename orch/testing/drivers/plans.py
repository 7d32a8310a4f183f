"""Plans: short traces written down, for what chance seldom meets. Both drivers of the queue machine follow them.

A plan is a list of (code of an operation, arguments); what a machine does not have or cannot do now is left out.
Texts of them read like tokens, with a blank between steps: "E00000 D02 A1".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from orch.testing.machine import Args, QueueMachine, Run
from orch.testing.model import PENDING

Plan = tuple[tuple[str, Args], ...]

CROWD_EVERY = 2_000  # traces, after which the plans of CROWDS come again
TOUR = 20  # the number of the trace that makes all bad calls
BAD_CODES = "Fb"  # bad input
_SELDOM_SEEN = "swq"  # stats, workers, quarantine
_ASIDES = "HIeADPlcLn"  # what is done beside a plan in a crowd
_ASIDE = 0.3  # how likely, after each step


def plan_of(text: str) -> Plan:
    """The plan of a text."""
    return tuple((word[0], tuple(int(digit, 36) for digit in word[1:])) for word in text.split())


#: Traces in a crowd, with more jobs than a slice, a list or a reclaim takes at once, by the number of the trace.
CROWDS: dict[int, Plan] = {
    # leases that end in two groups, taken back a hundred at a time
    50: plan_of("C0 H10 H00 A2 D00 L l00 A4 D00 D00 c L"),
    # more reports and purges than a slice; it takes as long as thirty others
    100: plan_of("C1 H01 I0 A0 P0 L"),
    # more extensions; as long as forty
    120: plan_of("C1 H02 e1 A1 D00 L H00 I1 c"),
}


def finish(run: Run) -> None:
    """The end of each trace: a look at what is seldom looked at, the delivery of all that should still come, a list."""
    by_code, model = run.machine.by_code, run.model
    for code in _SELDOM_SEEN:
        if code in by_code:
            run.do(by_code[code], ())
    if "g" in by_code:
        for n in run.delivered:
            run.do(by_code["g"], (n,))
    run.do(by_code["A"], (7,))
    for _ in range(10):
        run.do(by_code["D"], (0, 0))
        if all(job.due is not None or job.fields["status"] is not PENDING for job in model.jobs.values()):
            break
    if "L" in by_code:
        run.do(by_code["L"], ())


def follow(run: Run, plan: Plan, rng: Callable[[], float] | None = None) -> None:
    """One trace that does what a plan says, and the end; with a generator, things beside it at random."""
    by_code = run.machine.by_code
    for code, args in plan:
        op = by_code.get(code)
        if op is not None:
            run.do(op, args)
        if rng is None:
            continue
        aside = by_code.get(_ASIDES[int(rng() * len(_ASIDES))])
        if aside is not None and rng() < _ASIDE:
            run.do(aside, tuple([int((x := rng()) * x * domain) for domain in aside.domains]))
    finish(run)


def tour(machine: QueueMachine) -> Plan:
    """Each bad call once, while a job runs."""
    bad = [op for code in BAD_CODES if (op := machine.by_code.get(code)) is not None]
    return plan_of("E00000 D00") + tuple((op.code, (n,)) for op in bad for n in range(op.domains[0]))


def shocks(machine: QueueMachine) -> Iterator[Plan]:
    """A client that dies, or is met by another, at each step of each verb."""
    if "k" in machine.by_code:
        for place in range(machine.by_code["k"].domains[2]):
            for verb, before in _BEFORE:
                yield (*before, ("k", (0, verb, place)))
    if "i" in machine.by_code:
        for place in range(1, machine.by_code["i"].domains[2]):
            for verb, before in _BEFORE:
                for other in range(machine.by_code["i"].domains[4]):
                    yield (*before, ("i", (0, verb, place, 0, other)))


#: Verbs of DEATHS, by their number, with what makes them do something.
_BEFORE: tuple[tuple[int, Plan], ...] = tuple(
    (verb, plan_of(before))
    for verb, befores in enumerate(
        (
            ("",),
            ("E00000", "E00000 D02 A1", "E00010 A1"),
            ("E00000 D00",),
            ("E00200 D00",),
            ("E00000 D00",),
            ("E00000", "E00000 D00"),
            ("E00000 O0100 A0",),
            ("E00000 O0100 A0", "E00000 O0000 A0"),
        )
    )
    for before in befores
)


def scenes(machine: QueueMachine) -> list[Plan]:
    """Each operation while a job runs; then each verb on a job in each state, alone, beside a ready job or a due one.

    The caller writes into what it handed in and was handed, before the end. Among the latter are two leases, of each
    length, with a look at each moment. Their order is mixed, so that any few of them have something of all.
    """
    touch = plan_of("J")
    each = [
        (*plan_of("E00200 D00"), (op.code, (0,) * len(op.domains)), *touch) for op in machine.operations if op.weight
    ]
    verbs = [
        (*before, *beside, act, *touch)
        for before in map(plan_of, _STATES)
        for beside in map(plan_of, ("", "E10000", "E10010 A1"))
        for act in plan_of(_ACTS)
        if act[0] in machine.by_code
    ]
    verbs += [
        plan_of(f"E00000 E10000 D0{first} D0{second} A{moment} D00 D00")
        for first in range(3)
        for second in range(3)
        for moment in range(machine.by_code["A"].domains[0])
    ]
    verbs += [
        (*plan_of("E00200 E10000 D00 A0 D00 A0"), act, *plan_of("D00 A0 D00"))
        for act in plan_of(_ACTS)
        if act[0] in machine.by_code
    ]
    return each + [verbs[n * _STRIDE % len(verbs)] for n in range(len(verbs))]


#: How a job comes to a state; a worker that runs it has recorded something.
_STATES = (
    "E00200",  # ready
    "E00210",  # delayed
    "E00200 D00 G0000",  # running
    "E00200 D00 A1",  # its lease has expired
    "E00200 D00 A1 D00",  # delivered again
    "E00200 D00 R00300",  # given back
    "E00200 D00 R00200",  # to be tried again
    "E00200 D00 R00210",  # later
    "E00200 D00 O0200",  # an operator says so
    "E00200 D00 R00000",  # done
    "E00000 D00 G0000 R00103",  # failed
    "E00000 D00 R00201",  # out of retries
    "E00200 D00 K0",  # cancelled
    "E00200 D00 G0000 R00103 Q0",  # sent back by an operator
    "E00200 D00 R00000 A0 P0",  # gone
)
#: What is then done to it: reports under its last lease and the one before, and the other verbs.
_ACTS = (
    "R00000 R00102 R00201 R00211 R00303 R01000 R01200 X000 X010 G0011 G0111 K0 Q0 O0000 O0102 O0200 O0300 "
    "E00000 D12 d00 P0 N000 x200000000 t0 l00 U00 V0 Z"
)
_STRIDE = 397  # a prime
