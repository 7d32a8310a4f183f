"""Makes a failing list of steps small: delta debugging (Zeller and Hildebrandt, 2002), then smaller arguments.

What is left is 1-minimal: no step, no two of them, can be dropped and no argument lowered; nor do up to three of the
same steps in another order do. Knows nothing of what the steps are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import product
from typing import TypeVar

K = TypeVar("K")
Steps = list[tuple[K, tuple[int, ...]]]

PAIRS_MAX = 16  # steps of a list in which pairs are tried too
SHORT = 3  # steps of the lists that are all tried at the end
TRIES_MAX = 300  # of these


def smallest(steps: Steps[K], fails: Callable[[Sequence[tuple[K, tuple[int, ...]]]], Steps[K] | None]) -> Steps[K]:
    """The steps that are left; `fails` answers with those that were really done, or None if all went well."""
    best = steps

    def try_(candidate: Sequence[tuple[K, tuple[int, ...]]]) -> bool:
        nonlocal best
        done = fails(candidate)
        if done is None or _size(done) >= _size(best):
            return False
        best = done
        return True

    before = None
    while before is not best:
        before = best
        drop_chunks(lambda: best, try_)
        drop_pairs(lambda: best, try_)
        lower(lambda: best, try_)
        if best is before:
            _try_short(lambda: best, try_)
    return best


def _size(steps: Steps[K]) -> tuple[int, int]:
    """Fewer steps are smaller; of as many, those with smaller arguments."""
    return len(steps), sum(sum(args) for _, args in steps)


def drop_chunks(now: Callable[[], Steps[K]], try_: Callable[[Steps[K]], bool]) -> None:
    """From half of all to single steps, from the end: what comes late is more often needless."""
    size = max(1, len(now()) // 2)
    while True:
        place = len(now()) - size
        while place >= 0:
            steps = now()
            place = min(place, len(steps) - size)
            if place < 0:
                break
            try_(steps[:place] + steps[place + size :])
            place -= size
        if size == 1:
            return
        size //= 2


def drop_pairs(now: Callable[[], Steps[K]], try_: Callable[[Steps[K]], bool]) -> None:
    """Two steps that only together are needless."""
    if len(now()) > PAIRS_MAX:
        return
    first = 0
    while first < len(now()):
        second = first + 1
        while second < len(now()):
            steps = now()
            if not try_(steps[:first] + steps[first + 1 : second] + steps[second + 1 :]):
                second += 1
        first += 1


def _try_short(now: Callable[[], Steps[K]], try_: Callable[[Steps[K]], bool]) -> None:
    """Shorter lists of these same steps, in another order or number: all of up to SHORT steps, if they are few."""
    steps = now()
    own, tries, longest = len(dict.fromkeys(steps)), TRIES_MAX, 0
    while longest < SHORT and (tries := tries - own ** (longest + 1)) >= 0:
        longest += 1
    for candidate in shorter(steps, longest):
        if try_(candidate):
            return


def lower(now: Callable[[], Steps[K]], try_: Callable[[Steps[K]], bool]) -> None:
    """Each argument as low as it can be."""
    place = 0
    while place < len(now()):
        for which in range(len(now()[place][1])):
            for low in range(36):
                if place >= len(now()):
                    return
                steps = now()
                kind, args = steps[place]
                if which >= len(args) or low >= args[which]:
                    break
                if try_([*steps[:place], (kind, (*args[:which], low, *args[which + 1 :])), *steps[place + 1 :]]):
                    break
        place += 1


def neighbours(steps: Steps[K]) -> Iterator[Steps[K]]:
    """The steps without one of them, and with one argument lower: if none of these fails, they are 1-minimal."""
    for n, (kind, args) in enumerate(steps):
        yield steps[:n] + steps[n + 1 :]
        for which, arg in enumerate(args):
            for low in range(arg):
                yield [*steps[:n], (kind, (*args[:which], low, *args[which + 1 :])), *steps[n + 1 :]]


def shorter(steps: Steps[K], longest: int) -> Iterator[Steps[K]]:
    """All lists of these same steps that are shorter, up to `longest` steps; the shortest first."""
    own = list(dict.fromkeys(steps))
    for length in range(1, min(longest + 1, len(steps))):
        yield from map(list, product(own, repeat=length))
