"""D5: recorded outputs of tasks, fenced like a report."""

from __future__ import annotations

import json
from typing import Any

import pytest

from orch.errors import (
    InvalidInput,
)
from orch.queue import PersistentQueue
from orch.testing.clock import FakeClock
from orch.testing.contract.base import (
    FAILED,
    LEASE_S,
    PENDING,
    RETRY,
    Busy,
    Contract,
    lease_of,
    needs,
    new_job,
    nothing_changed,
    promise,
    took,
)
from orch.testing.contract.samples import (
    VALUES,
)


class Progress(Contract):
    """Sentences about D5."""

    @promise("D5")
    @needs("progress", "lease")
    def test_progress_is_kept_by_task(self, queue: PersistentQueue) -> None:
        queue.enqueue_many([new_job("a"), new_job("b")])
        a, b = (lease_of(job) for job in queue.dequeue_many(2))
        assert queue.progress("a") == {}
        queue.record_progress(a, "extract", {"rows": [1, 2]})
        queue.record_progress(a, "load ä", None)
        queue.record_progress(b, "extract", "text")
        queue.record_progress(a, "extract", {"rows": [3]})
        assert queue.progress("a") == {"extract": {"rows": [3]}, "load ä": None}
        assert queue.progress("b") == {"extract": "text"}
        assert queue.progress("nope") == {}

    @promise("D5")
    @needs("progress", "lease", "crashes")
    @pytest.mark.parametrize("how", ["RETRY", "give back", "lost lease"])
    def test_progress_survives_to_the_next_attempt(self, queue: PersistentQueue, clock: FakeClock, how: str) -> None:
        queue.enqueue(new_job(max_retries=1))
        lease = lease_of(took(queue))
        queue.record_progress(lease, "t", {"x": 1})
        if how == "lost lease":
            clock.advance(LEASE_S)
        else:
            queue.update_status("a", RETRY if how == "RETRY" else PENDING, lease=lease)
        took(queue, "a")
        assert queue.progress("a") == {"t": {"x": 1}}

    @promise("D5")
    @needs("progress", "lease", "requeue")
    def test_a_requeue_starts_from_the_first_task(self, queue: PersistentQueue) -> None:
        queue.enqueue(new_job())
        job = took(queue)
        queue.record_progress(lease_of(job), "t", 1)
        queue.update_status("a", FAILED, lease=job.lease)
        assert queue.progress("a") == {"t": 1}
        queue.requeue("a")
        assert queue.progress("a") == {}

    @promise("D5")
    @needs("progress", "lease")
    @pytest.mark.parametrize("value", VALUES[:-2])
    def test_outputs_come_back_as_they_went_in(self, queue: PersistentQueue, value: Any) -> None:
        queue.enqueue(new_job())
        queue.record_progress(lease_of(took(queue)), "t", value)
        assert json.dumps(queue.progress("a")) == json.dumps({"t": value})

    @promise("D5", "Q12")
    @needs("progress", "lease")
    def test_an_output_of_256_kib_is_kept_and_16_mib_is_all_a_job_gets(self, queue: PersistentQueue) -> None:
        queue.enqueue(new_job())
        lease = lease_of(took(queue))
        largest = "y" * (256 * 1024 - 2)
        for n in range(64):
            queue.record_progress(lease, f"t{n}", largest)
        queue.record_progress(lease, "t7", largest)  # in place of the first
        with pytest.raises(InvalidInput, match="16777216"):
            queue.record_progress(lease, "one more", 1)
        assert len(queue.progress("a")) == 64
        queue.record_progress(lease, "t7", "small")
        queue.record_progress(lease, "one more", 1)
        assert len(queue.progress("a")) == 65

    @promise("D5", "Q9")
    @needs("progress", "lease")
    def test_jobs_do_not_carry_their_progress(self, busy: Busy) -> None:
        lease = busy.leases["r"]
        assert lease is not None
        with nothing_changed(busy.queue):
            busy.queue.record_progress(lease, "t", {"x": 1})
