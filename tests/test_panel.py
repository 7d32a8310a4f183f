"""A queue shows itself in a notebook."""

from orch import Job, JobStatus, MemoryQueue
from orch.errors import BackendUnavailable
from orch.panel import panel
from orch.testing import FakeClock


def filled():
    clock = FakeClock()
    queue = MemoryQueue(clock=clock)
    for n in range(3):
        queue.enqueue(Job.new("workflow:echo", id=f"job-{n}", priority=n, clock=clock))
    clock.advance(5)
    job = queue.dequeue("worker <1>")
    queue.update_status(job.id, JobStatus.FAILED, error="Traceback\nValueError: <b>disk</b> full", lease=job.lease)
    queue.dequeue("worker <1>")
    return queue


def test_the_panel_tells_counts_waits_jobs_errors_and_workers():
    html = panel(filled())
    for said in (
        "MemoryQueue",
        "pending <b>1</b>",
        "failed <b>1</b>",
        "1 ready",
        "waits since 5 s",
        "job-0",
        "last beat",
    ):
        assert said in html


def test_text_from_outside_is_text_in_the_panel():
    html = panel(filled())
    assert "&lt;b&gt;disk&lt;/b&gt; full" in html
    assert "worker &lt;1&gt;" in html
    assert "<b>disk" not in html


def test_a_queue_in_a_notebook_shows_its_panel_and_stays_as_it_was():
    queue = filled()
    before = [job.to_dict() for job in queue.list_jobs()]
    assert queue._repr_html_() == panel(queue)
    assert [job.to_dict() for job in queue.list_jobs()] == before


def test_an_empty_queue_has_a_panel():
    assert "pending <b>0</b>" in panel(MemoryQueue())


class Away(MemoryQueue):
    def counts(self):
        raise BackendUnavailable("connection refused")


def test_a_store_that_is_away_is_said_in_the_panel():
    assert "BackendUnavailable: connection refused" in panel(Away())


class Plain(MemoryQueue):
    stats = property(lambda self: super(MemoryQueue, self).stats)
    workers = property(lambda self: super(MemoryQueue, self).workers)


def test_what_a_queue_does_not_know_is_left_out():
    html = panel(Plain())
    assert "pending <b>0</b>" in html
    assert "ready" not in html
