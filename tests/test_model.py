"""The invariants that use no model, each seen to fail; and that the model is no copy of the backends."""

from __future__ import annotations

import ast
from dataclasses import replace
from pathlib import Path

import pytest

import orch.testing.model
from orch.job import STATES, JobStatus, Lease
from orch.testing.contract import new_job
from orch.testing.model import Broken, Model, ModelLease, Watch

PENDING, RUNNING, SUCCESS, FAILED, RETRY = JobStatus


def delivered(token=10, expires_at=5.0, attempts=1, id="a"):
    lease = Lease(id, token, "w", expires_at)
    return replace(new_job(id), status=RUNNING, attempts=attempts, lease=lease)


@pytest.mark.promise("Q7")
@pytest.mark.parametrize("before", STATES)
@pytest.mark.parametrize("after", STATES)
def test_a_change_must_be_a_path_in_the_table(before, after):
    watch = Watch()
    watch.saw(replace(new_job(), status=before))
    if before in (SUCCESS, FAILED) and after is not before:
        with pytest.raises(Broken, match="Q7"):
            watch.saw(replace(new_job(), status=after))
    else:
        watch.saw(replace(new_job(), status=after))


@pytest.mark.promise("Q7")
def test_a_requeue_licences_one_way_out_of_failed():
    watch = Watch()
    watch.saw(replace(new_job(), status=FAILED))
    watch.requeued("a")
    watch.saw(new_job())


@pytest.mark.promise("Q6")
def test_attempts_must_not_go_down():
    watch = Watch()
    watch.saw(replace(new_job(), attempts=2))
    with pytest.raises(Broken, match="Q6"):
        watch.saw(replace(new_job(), attempts=1))


@pytest.mark.promise("Q6", "Q10")
def test_after_a_purge_an_id_may_begin_anew():
    watch = Watch()
    watch.saw(replace(new_job(), status=SUCCESS, attempts=2))
    watch.purged()
    watch.saw(new_job())


@pytest.mark.promise("Q4")
def test_only_a_running_job_carries_a_lease_and_its_own():
    with pytest.raises(Broken, match="Q4"):
        Watch().saw(replace(new_job(), lease=Lease("a", 1, "", 0)))
    with pytest.raises(Broken, match="Q4"):
        Watch().saw(replace(delivered(), lease=Lease("b", 1, "", 0)))


@pytest.mark.promise("Q4")
def test_tokens_must_grow():
    watch = Watch()
    watch.delivered(delivered(token=10), 0)
    with pytest.raises(Broken, match="Q4"):
        watch.delivered(delivered(token=10, id="b"), 0)


@pytest.mark.promise("Q4")
def test_a_delivery_is_running():
    with pytest.raises(Broken, match="Q4"):
        Watch().delivered(new_job(), 0)


@pytest.mark.promise("Q4")
def test_a_job_must_not_be_delivered_while_its_lease_lives():
    watch = Watch()
    watch.delivered(delivered(token=10, expires_at=5), 0)
    with pytest.raises(Broken, match="Q4"):
        watch.delivered(delivered(token=11), 4.999)


@pytest.mark.promise("Q4", "Q5")
@pytest.mark.parametrize("ended", ["expired", "settled", "taken back, then the clock turned"])
def test_a_lease_that_ended_lets_the_next_one_come(ended):
    watch = Watch()
    watch.delivered(delivered(token=10, expires_at=5), 0)
    if ended == "settled":
        watch.settled("a")
        watch.delivered(delivered(token=11), 1)
    elif ended == "expired":
        watch.delivered(delivered(token=11), 5)
    else:
        watch.dequeued(7)
        watch.delivered(delivered(token=11), 1)


@pytest.mark.promise("Q4", "Q5")
def test_an_extended_lease_lives_longer():
    watch = Watch()
    watch.delivered(delivered(token=10, expires_at=5), 0)
    watch.extended(Lease("a", 10, "w", 9.0))
    with pytest.raises(Broken, match="Q4"):
        watch.delivered(delivered(token=11), 8)


@pytest.mark.promise("Q9")
@pytest.mark.parametrize(
    ("counts", "jobs"),
    [
        ({PENDING: 1, RUNNING: 0, SUCCESS: 0}, [new_job()]),
        ({PENDING: 1, RUNNING: 0, SUCCESS: 0, FAILED: 0, RETRY: 0}, [new_job()]),
        ({PENDING: 2, RUNNING: 0, SUCCESS: 0, FAILED: 0}, [new_job()]),
        ({PENDING: 2, RUNNING: 0, SUCCESS: 0, FAILED: 0}, [new_job(), new_job()]),
        ({PENDING: 0, RUNNING: 1, SUCCESS: 0, FAILED: 0}, [new_job()]),
        ({PENDING: 1, RUNNING: 0, SUCCESS: 0, FAILED: 0}, [replace(new_job(), status=RETRY)]),
    ],
)
def test_counts_must_equal_the_list(counts, jobs):
    with pytest.raises(Broken, match="Q9"):
        Watch.agree(counts, jobs)


def test_counts_that_equal_the_list_agree():
    Watch.agree({PENDING: 1, RUNNING: 1, SUCCESS: 0, FAILED: 0}, [new_job(), delivered(id="b")])


def test_the_model_shares_no_helper_with_the_backends():
    tree = ast.parse(Path(orch.testing.model.__file__).read_text())
    imported = {
        f"{node.module}.{alias.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("orch")
        for alias in node.names
    }
    values = {"Job", "JobStatus", "Lease", "STATES", "TRANSITIONS", "Event"}  # the last two for the invariants
    assert {name for name in imported if name.startswith("orch.job.")} <= {f"orch.job.{name}" for name in values}
    assert {name.rpartition(".")[0] for name in imported} <= {"orch.job", "orch.errors"}


def test_a_model_lease_equals_a_lease_with_the_same_fields():
    lease = ModelLease("a", 7, "w", 5_000_000)
    assert lease == Lease("a", 7, "w", 5.0)
    assert Lease("a", 7, "w", 5.0) == lease
    assert lease != Lease("a", 7, "w", 6.0)
    assert lease != "lease"
    assert "token=7" in repr(lease)


def test_a_clone_of_a_model_lives_its_own_life():
    model = Model(0, lease_us=1_000_000, max_crashes=3)
    model.enqueue([(vars(new_job()), 0, None)])
    twin = model.clone()
    twin.dequeue(1, "w", 5)
    assert (model.counts()[PENDING], twin.counts()[PENDING]) == (1, 0)
    assert model.jobs["a"].fields["attempts"] == 0
