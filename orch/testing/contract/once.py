"""Q3: a known id is not enqueued again."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orch.job import Lease
from orch.queue import PersistentQueue
from orch.testing.clock import FakeClock
from orch.testing.contract.base import (
    SUCCESS,
    Busy,
    Contract,
    at,
    drained,
    got,
    needs,
    new_job,
    nothing_changed,
    promise,
    took,
)


class OnceIn(Contract):
    """Sentences about Q3."""

    @promise("Q3")
    def test_the_first_enqueue_is_true_and_the_second_false(self, queue: PersistentQueue) -> None:
        assert queue.enqueue(new_job()) is True
        assert queue.enqueue(new_job()) is False
        assert queue.count() == 1
        assert drained(queue) == ["a"]

    @promise("Q3")
    @pytest.mark.parametrize("job_id", ["p", "d", "r", "s", "f"])
    @needs("delay")
    def test_enqueuing_a_known_id_changes_nothing_whatever_its_state(self, busy: Busy, job_id: str) -> None:
        other = new_job(job_id, dag_path="other.yaml", priority=9, params={"y": 2}, enqueued_at=at(77))
        with nothing_changed(busy.queue):
            assert busy.queue.enqueue(other) is False
            assert busy.queue.enqueue_many([other, other]) == 0

    @promise("Q3")
    def test_a_known_id_keeps_its_place_in_the_line(self, queue: PersistentQueue) -> None:
        queue.enqueue_many([new_job("a"), new_job("b")])
        queue.enqueue(new_job("a", priority=0))
        assert drained(queue) == ["a", "b"]

    @promise("Q3")
    def test_enqueue_many_counts_the_new_ones(self, queue: PersistentQueue) -> None:
        queue.enqueue(new_job("a"))
        assert queue.enqueue_many([new_job("a"), new_job("b"), new_job("c")]) == 2
        assert queue.enqueue_many([]) == 0

    @promise("Q3")
    def test_of_two_equal_ids_in_one_call_the_first_counts(self, queue: PersistentQueue) -> None:
        assert queue.enqueue_many([new_job("a", dag_path="1.yaml"), new_job("a", dag_path="2.yaml")]) == 1
        assert took(queue, "a").dag_path == "1.yaml"
        assert queue.dequeue() is None

    @promise("Q3", "Q10")
    def test_a_purged_id_is_new_again(self, queue: PersistentQueue, clock: FakeClock) -> None:
        queue.enqueue(new_job())
        queue.update_status("a", SUCCESS, lease=took(queue).lease)
        clock.advance(1)
        assert queue.purge(0) == 1
        assert queue.enqueue(new_job()) is True
        assert took(queue, "a").attempts == 1

    @promise("Q3")
    @needs("lease")
    def test_the_lease_of_a_job_that_is_enqueued_is_not_taken_over(self, queue: PersistentQueue) -> None:
        queue.enqueue(replace(new_job(), lease=Lease("a", 7, "w", 1e9)))
        assert got(queue, "a").lease is None
        assert queue.list_jobs()[0].lease is None

    @promise("Q3")
    def test_ids_differ_when_any_character_differs(self, queue: PersistentQueue) -> None:
        ids = ["a", "A", "a ", " a", "á", "a\u0301", "0", "00", "a:b", "a*", "a?", "[a]", "%", "_"]
        assert queue.enqueue_many(new_job(job_id) for job_id in ids) == len(ids)
        assert drained(queue) == ids
