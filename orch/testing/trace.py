"""What happened, as a value: the operations in order with their arguments, and the choices that made them.

A trace is all that is needed to do the same again, with any driver, in any process, on any Python. Its token is a
short text to be pasted; its hash depends on nothing but the trace.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from orch.checks import shown
from orch.errors import InvalidInput

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
QUEUE_FORM = "q1"  # a machine and the version of its operations: the queue's


@dataclass(frozen=True, slots=True)
class Trace:
    """A sequence of (operation code, arguments), with the seed it came from and the tape of its faults.

    `tape` holds the choices that are no arguments of an operation (0: no fault, first in order); a driver whose
    faults are operations leaves it empty. The seed only says where the trace was found: a replay does not need it.
    `form` says of which machine the operations are.
    """

    steps: tuple[tuple[str, tuple[int, ...]], ...]
    seed: int = 0
    tape: tuple[int, ...] = ()
    form: str = QUEUE_FORM

    @property
    def token(self) -> str:
        """The trace as a short text, for `Trace.parse`: form, operations, tape, check."""
        body = "".join(code + "".join(_DIGITS[arg] for arg in args) for code, args in self.steps)
        if self.tape:
            body += "-" + "".join(_DIGITS[choice] for choice in self.tape)
        return f"{self.form}.{body}.{_check(self.form, body)}"

    @property
    def hash(self) -> str:
        """16 hexadecimal digits; equal for equal operations and tapes, everywhere."""
        return hashlib.sha256(self.token.encode()).hexdigest()[:16]

    @classmethod
    def parse(cls, token: str, arity: Mapping[str, int], form: str = QUEUE_FORM) -> Trace:
        """The trace of a token; `arity` says how many arguments each operation has. Raises `InvalidInput`."""
        parts = token.strip().split(".") if isinstance(token, str) else []
        if len(parts) != 3 or parts[0] != form:
            raise InvalidInput(f"a replay token reads {form}.<operations>.<check>, got {shown(token)}")
        body = parts[1]
        if _check(form, body) != parts[2]:
            raise InvalidInput(f"this token was damaged or is of another version: {shown(token)}")
        text, _, tape = body.partition("-")
        steps: list[tuple[str, tuple[int, ...]]] = []
        place = 0
        while place < len(text):
            code = text[place]
            if code not in arity:
                raise InvalidInput(f"no operation has the code {code!r}: the token is of another machine")
            end = place + 1 + arity[code]
            args = text[place + 1 : end]
            if len(args) < arity[code] or any(digit not in _DIGITS for digit in args):
                raise InvalidInput(f"operation {code!r} needs {arity[code]} arguments, got {shown(args)}")
            steps.append((code, tuple(_DIGITS.index(digit) for digit in args)))
            place = end
        return cls(tuple(steps), tape=tuple(_DIGITS.index(digit) for digit in tape), form=form)


def _check(form: str, body: str) -> str:
    return hashlib.sha256(f"{form}.{body}".encode()).hexdigest()[:4]


def generator(seed: int, stream: int = 0) -> Callable[[], float]:
    """Numbers from 0 to 1 that are the same on every Python: only `random()` of an integer seed is used.

    `stream` tells apart the concerns of one seed.
    """
    return random.Random((seed << 20) ^ stream).random
