"""The kill matrix as table and as JSON, without a process."""

from types import SimpleNamespace

import pytest

from orch.torture.matrix import VARIANTS, Cell, Matrix, faults_of
from orch.torture.plan import FAULTS


def table_of(*, durable, good):
    """A matrix of one power loss; `good`: whether the run broke no promise."""
    outcome = SimpleNamespace(
        plan=SimpleNamespace(durable=durable),
        good=good,
        broken=(SimpleNamespace(promise="Q1 conserve"),),
        judgement=SimpleNamespace(counts={"operations": 10, "lost": 3}),
        times=lambda _fault: 2,
        to_dict=lambda: {"good": good, "store": "of the run"},
    )
    return Matrix((), (Cell(VARIANTS[0], "power", outcome),), 2.0, 0, 1.0)


@pytest.mark.parametrize(
    ("durable", "good", "as_it_should_be", "said"),
    [
        (True, True, True, "held: 10 operations, 2 faults"),
        (True, False, False, "BROKEN: Q1"),
        (False, False, True, "loss noticed: 3 jobs, 2 faults"),
        (False, True, False, "LOSS UNNOTICED"),
    ],
)
def test_the_json_of_a_cell_says_what_its_table_says(durable, good, as_it_should_be, said):
    table = table_of(durable=durable, good=good)
    assert table.fault_table()[1] == [["power", said]]
    (row,) = table.to_dict()["faults"]
    assert (row["good"], row["store"]) == (as_it_should_be, "SQLite NORMAL")
    assert table.good is as_it_should_be


def test_every_fault_of_one_server_is_in_the_matrix_of_some_store():
    given = {fault for variant in VARIANTS for fault in faults_of(variant)}
    assert given == set(FAULTS) - {"failover"}
