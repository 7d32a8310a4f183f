"""The choices of a world on one tape, so that a world can be replayed, and made smaller by putting zeros in it.

A choice is a small number; 0 is always the quiet one: no fault, no delay, the first in order, the plainest job. Choices
belong to streams, named by a concern and who is concerned: `n2` is the network of client 2, `j7` what job 7 is like.
Only what is not 0 is kept, by its place in its stream; so taking out a fault moves no other choice, and putting zeros
in and deleting are the same.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Mapping, Sequence

from orch import checks
from orch.errors import InvalidInput

CONCERNS = {"schedule": "sxtc", "network": "np", "faults": "o", "workload": "j"}  # the first letters of their streams
NEVER = 1 << 62
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_FORM = "sim1"

Entries = dict[str, dict[int, int]]  # stream -> place -> value, never 0


class Stream:
    """The choices of one stream that are rare: `next` is the place of the next one that is not 0."""

    __slots__ = ("at", "more", "next", "taken", "value")

    def __init__(self, more: Callable[[int], tuple[int, int]], taken: dict[int, int] | None = None) -> None:
        self.at = 0
        self.more = more  # (place) -> the next one from there on
        self.taken = taken  # where what was taken is written down
        self.next, self.value = more(0)

    def take(self) -> int:
        """The choice at this place."""
        at = self.at
        self.at = at + 1
        if at != self.next:
            return 0
        value = self.value
        if self.taken is not None:
            self.taken[at] = value
        self.next, self.value = self.more(at + 1)
        return value


class Tape:
    """Choices that are given: what is not on the tape is 0."""

    def __init__(self, entries: Mapping[str, Mapping[int, int]] | None = None) -> None:
        self.entries: Entries = {key: dict(places) for key, places in (entries or {}).items()}

    def pick(self, key: str, place: int, table: Sequence[int]) -> int:
        """A choice that is often not 0; `table` holds what it may be, as often as it is likely."""
        places = self.entries.get(key)
        return places.get(place, 0) if places else 0

    def stream(self, key: str, chance: float, values: Sequence[int]) -> Stream:
        """Choices that are rarely not 0; then they are one of `values`."""
        places = sorted(self.entries.get(key, {}).items(), reverse=True)

        def more(start: int) -> tuple[int, int]:
            while places and places[-1][0] < start:
                places.pop()
            return places[-1] if places else (NEVER, 0)

        return Stream(more)


class Dealt(Tape):
    """Choices dealt from a seed, one source of chance for each concern; what was taken is on the tape afterwards.

    The tape also has the zeros that were picked.
    """

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._chance = {
            letter: random.Random((seed << 4) ^ number).random
            for number, letters in enumerate(CONCERNS.values(), 1)
            for letter in letters[0]
        }
        for letters in CONCERNS.values():
            for letter in letters[1:]:
                self._chance[letter] = self._chance[letters[0]]

    def pick(self, key: str, place: int, table: Sequence[int]) -> int:
        places = self.entries.get(key)
        if places is None:
            places = self.entries[key] = {}
        value = places.get(place)
        if value is None:  # asked again, as of a job that is there twice, it is the same choice: so it is on a tape
            value = places[place] = table[int(self._chance[key[0]]() * len(table))]
        return value

    def stream(self, key: str, chance: float, values: Sequence[int]) -> Stream:
        draw, count = self._chance[key[0]], len(values)
        if chance <= 0.0 or not values:
            return Stream(_never)
        mean = 1.0 / chance

        def more(start: int) -> tuple[int, int]:
            # A gap between 0 and twice the mean: rare choices need not be exactly geometric, only rare.
            return start + int(draw() * 2.0 * mean), values[int(draw() * count)]

        return Stream(more, self.entries.setdefault(key, {}))


def _never(_start: int) -> tuple[int, int]:
    return NEVER, 0


def token_of(head: Sequence[int], lists: Sequence[Sequence[int]], entries: Entries) -> str:
    """A world as a short text: form, numbers, lists of numbers, the tape, check."""
    parts = ["-".join(map(_text, head)), *("-".join(map(_text, numbers)) for numbers in lists)]
    for key, places in sorted(entries.items()):
        if places:
            flat = [part for place, value in sorted(places.items()) for part in (_text(place), _text(value))]
            parts.append("-".join([key, *flat]))
    body = ".".join(parts)
    return f"{_FORM}.{body}.{_check(body)}"


def parse_token(token: str, lists: int) -> tuple[list[int], list[list[int]], Entries]:
    """The inverse of `token_of`, for so many lists. Raises `InvalidInput`."""
    parts = token.strip().split(".") if isinstance(token, str) else []
    if len(parts) < 3 + lists or parts[0] != _FORM:
        raise InvalidInput(f"a token of a world reads {_FORM}.<numbers>.<check>, got {checks.shown(token)}")
    if _check(".".join(parts[1:-1])) != parts[-1]:
        raise InvalidInput(f"this token was damaged or is of another version: {checks.shown(token)}")
    try:
        head = _numbers(parts[1])
        given = [_numbers(part) for part in parts[2 : 2 + lists]]
        entries: Entries = {}
        for part in parts[2 + lists : -1]:
            key, *flat = part.split("-")
            numbers = [_number(text) for text in flat]
            entries[key] = dict(zip(numbers[::2], numbers[1::2], strict=True))
    except ValueError as error:
        raise InvalidInput(f"this token cannot be read ({error}): {checks.shown(token)}") from None
    return head, given, entries


def _numbers(part: str) -> list[int]:
    return [_number(text) for text in part.split("-")] if part else []


def _number(text: str) -> int:
    return int(text, 36)


def _text(number: int) -> str:
    digits = ""
    while True:
        number, digit = divmod(number, 36)
        digits = _DIGITS[digit] + digits
        if not number:
            return digits


def _check(body: str) -> str:
    return hashlib.sha256(f"{_FORM}.{body}".encode()).hexdigest()[:4]
