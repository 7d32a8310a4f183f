"""Traces, their tokens, and numbers that are the same everywhere."""

from __future__ import annotations

import pytest

from orch.errors import InvalidInput
from orch.testing import Trace
from orch.testing.trace import generator

ARITY = {"E": 2, "D": 1, "L": 0}
STEPS = (("E", (0, 35)), ("D", (2,)), ("L", ()), ("E", (1, 0)))


def test_a_token_gives_the_trace_back():
    trace = Trace(STEPS, seed=7)
    assert trace.token == "q1.E0zD2LE10.397f"
    assert Trace.parse(trace.token, ARITY) == Trace(STEPS)
    assert Trace.parse(f" {trace.token}\n", ARITY).steps == STEPS


def test_a_token_carries_the_tape():
    trace = Trace(STEPS, tape=(0, 3, 12))
    assert trace.token.startswith("q1.E0zD2LE10-03c.")
    assert Trace.parse(trace.token, ARITY).tape == (0, 3, 12)


def test_a_trace_of_one_machine_is_none_of_another():
    trace = Trace(STEPS, form="s1")
    assert trace.token.startswith("s1.E0zD2LE10.")
    assert Trace.parse(trace.token, ARITY, "s1") == trace
    with pytest.raises(InvalidInput, match=r"reads q1\."):
        Trace.parse(trace.token, ARITY)


def test_the_hash_depends_on_operations_and_tape_alone():
    assert Trace(STEPS).hash == Trace(STEPS, seed=9).hash == "de571741a9cf3184"
    assert len({Trace(STEPS).hash, Trace(STEPS[:-1]).hash, Trace(STEPS, tape=(0,)).hash, Trace(()).hash}) == 4


@pytest.mark.parametrize(
    ("token", "shows"),
    [
        ("", "''"),
        (None, "None"),
        ("q1.E00", "q1.E00"),
        ("q2.E00.aaaa", "q2.E00.aaaa"),
        ("q1.E00.aaaa", "damaged"),
        (Trace((("E", (0,)),)).token, "needs 2 arguments"),
        (Trace((("Z", ()),)).token, "'Z'"),
        (Trace((("E", (0, 1)), ("D", ()))).token, "needs 1 arguments"),
    ],
)
def test_a_token_that_is_none_is_refused(token, shows):
    with pytest.raises(InvalidInput, match=shows):
        Trace.parse(token, ARITY)


def test_numbers_are_those_of_the_seed_and_the_stream():
    assert [generator(1)() for _ in range(2)] == [generator(1)() for _ in range(2)]
    draws = {(seed, stream): generator(seed, stream)() for seed in range(5) for stream in range(5)}
    assert len(set(draws.values())) == 25
    assert round(generator(1)(), 12) == 0.334381290487
