"""A live picture of a queue: what it samples, and that it ends."""

import threading

import pytest

pytest.importorskip("matplotlib")

from orch import Job, JobStatus, MemoryQueue
from orch.errors import BackendUnavailable, InvalidInput
from orch.lab.live import Watched, watching


def test_a_watched_run_has_samples_from_its_beginning_to_its_end():
    queue = MemoryQueue()
    queue.enqueue(Job.new("workflow:noop", id="a"))
    with watching(queue, every_s=60) as seen:
        job = queue.dequeue()
        queue.update_status(job.id, JobStatus.SUCCESS, lease=job.lease)
    assert seen.samples[-1][1:] == (0, 0, 1, 0)
    assert [thread.name for thread in threading.enumerate() if thread.name == "orch-watching"] == []
    assert seen.draw().get_ylabel() == "jobs"


def test_a_store_that_does_not_answer_is_noted_and_watching_goes_on():
    class Away(MemoryQueue):
        def counts(self):
            raise BackendUnavailable("connection refused")

    seen = Watched()
    seen.look(Away(), 1.0)
    seen.look(MemoryQueue(), 2.0)
    assert (seen.away_s, [sample.at_s for sample in seen.samples]) == ([1.0], [2.0])


def test_watching_asks_for_a_positive_interval():
    with pytest.raises(InvalidInput, match="every_s"), watching(MemoryQueue(), every_s=0):
        pass
