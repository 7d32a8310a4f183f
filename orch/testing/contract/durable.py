"""Q14: what a verb did is there after closing and opening; and a wait with a clock that was handed in."""

from __future__ import annotations

import pytest

from orch.errors import (
    UnreadableRecord,
)
from orch.job import WorkerInfo
from orch.queue import PersistentQueue
from orch.testing.clock import FakeClock
from orch.testing.contract.base import (
    FAILED,
    LEASE_S,
    PENDING,
    SUCCESS,
    Busy,
    Contract,
    at,
    drained,
    lease_of,
    needs,
    new_job,
    nothing_changed,
    promise,
    snapshot,
    took,
)


class Durable(Contract):
    """Sentences about Q14."""

    @promise("Q2")
    def test_with_a_clock_that_was_handed_in_a_wait_returns_at_once(self, queue: PersistentQueue) -> None:
        assert queue.dequeue(wait_s=1e6) is None
        assert queue.dequeue_many(3, wait_s=1e6) == []
        assert queue.exchange([], 1, wait_s=1e6) == ([], [])
        queue.enqueue(new_job())
        assert queue.dequeue_many(3, wait_s=1e6)[0].id == "a"

    @promise("Q14")
    def test_closing_twice_is_silent(self, queue: PersistentQueue) -> None:
        queue.enqueue(new_job())
        queue.close()
        queue.close()

    @promise("Q14")
    def test_what_was_stored_is_there_after_opening_again(self, busy: Busy) -> None:
        before = snapshot(busy.queue)
        assert snapshot(self._again(busy.queue)) == before

    @promise("Q14", "Q2")
    @needs("priority", "delay", "lease")
    def test_the_line_is_the_same_after_opening_again(self, queue: PersistentQueue, clock: FakeClock) -> None:
        queue.enqueue_many([new_job("a"), new_job("b", priority=1), new_job("c"), new_job("d", not_before=at(2))])
        took(queue, "b")
        a = took(queue, "a")
        queue.update_status("a", PENDING, lease=a.lease)
        queue = self._again(queue)
        queue.enqueue(new_job("e"))
        clock.advance(LEASE_S)
        assert drained(queue) == ["b", "a", "c", "e", "d"]

    @promise("Q14", "Q4")
    @needs("lease", "extend")
    def test_leases_and_tokens_go_on_after_opening_again(self, busy: Busy, clock: FakeClock) -> None:
        queue = self._again(busy.queue)
        lease = busy.leases["r"]
        assert lease is not None
        assert queue.extend_lease(lease).token == lease.token
        clock.advance(-3600)
        assert lease_of(took(queue, "p")).token > max(kept.token for kept in busy.leases.values() if kept)
        with nothing_changed(queue):
            assert queue.update_status("f", FAILED, lease=busy.leases["f"]).status is FAILED
        assert queue.update_status("r", SUCCESS, lease=lease).status is SUCCESS

    @promise("Q14")
    @needs("progress", "cursors", "quarantine", "workers", "lease")
    def test_everything_else_is_there_after_opening_again(self, busy: Busy) -> None:
        lease = busy.leases["r"]
        assert lease is not None
        busy.queue.record_progress(lease, "t", {"x": 1})
        busy.queue.advance_schedule("k", None, at(60))
        busy.queue.announce(WorkerInfo("w9", host="h"))
        self.plant_record(busy.queue, "p", b"{")
        with pytest.raises(UnreadableRecord):
            busy.queue.get_job("p")
        before = snapshot(busy.queue)
        queue = self._again(busy.queue)
        assert snapshot(queue) == before
        assert queue.progress("r") == {"t": {"x": 1}}
        assert queue.schedule_cursor("k") == at(60)
        assert [found.raw for found in queue.quarantined()] == [b"{"]
