"""Q13: a record that cannot be read is quarantined, and every other job goes on."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from orch.errors import (
    UnreadableRecord,
)
from orch.job import JobStatus, encode_record
from orch.queue import PersistentQueue
from orch.testing.clock import FakeClock
from orch.testing.contract.base import (
    FAILED,
    LEASE_S,
    PENDING,
    RETRY,
    RUNNING,
    SUCCESS,
    Contract,
    at,
    drained,
    got,
    lease_of,
    needs,
    new_job,
    nothing_changed,
    promise,
    refused,
    took,
)
from orch.testing.contract.samples import (
    BAD_RECORDS,
)


class Containment(Contract):
    """Sentences about Q13."""

    @promise("Q13")
    @needs("quarantine")
    @pytest.mark.parametrize("raw", BAD_RECORDS)
    def test_an_unreadable_record_is_set_aside_and_the_next_job_delivered(
        self, queue: PersistentQueue, raw: bytes
    ) -> None:
        queue.enqueue_many([new_job("q"), new_job("b")])
        self.plant_record(queue, "q", raw)
        took(queue, "b")
        assert queue.dequeue() is None
        assert queue.counts() == {PENDING: 0, RUNNING: 1, SUCCESS: 0, FAILED: 0}
        assert [job.id for job in queue.list_jobs()] == ["b"]
        (found,) = queue.quarantined()
        assert (found.job_id, found.raw) == ("q", raw)
        assert found.reason.startswith("record cannot be read: ")

    @promise("Q13")
    @needs("quarantine", "requeue", "operator", "lease")
    @pytest.mark.parametrize("state", ["pending", "delayed", "running", "success", "failed"])
    @pytest.mark.parametrize("finder", ["get", "list", "list of its state", "report", "cancel", "requeue"])
    def test_whoever_reads_it_first_finds_an_unreadable_record(
        self, queue: PersistentQueue, state: str, finder: str
    ) -> None:
        queue.enqueue(new_job("q", not_before=at(50) if state == "delayed" else None))
        if state not in ("pending", "delayed"):
            took(queue, "q")
        if state in ("success", "failed"):
            queue.update_status("q", JobStatus(state))
        status = {"delayed": PENDING}.get(state) or JobStatus(state)
        queue.enqueue(new_job("b"))
        self.plant_record(queue, "q", b"{")
        if finder == "list":
            assert [job.id for job in queue.list_jobs()] == ["b"]
        elif finder == "list of its state":
            assert "q" not in [job.id for job in queue.list_jobs(status)]
        else:
            finders: dict[str, Callable[[], object]] = {
                "get": lambda: queue.get_job("q"),
                "report": lambda: queue.update_status("q", SUCCESS),
                "cancel": lambda: queue.cancel("q"),
                "requeue": lambda: queue.requeue("q"),
            }
            for _ in range(2):
                with pytest.raises(UnreadableRecord, match="q"):
                    finders[finder]()
        assert [(found.job_id, found.raw) for found in queue.quarantined()] == [("q", b"{")]
        assert queue.counts() == {PENDING: 1, RUNNING: 0, SUCCESS: 0, FAILED: 0}
        assert drained(queue) == ["b"]

    @promise("Q13", "Q5")
    @needs("quarantine", "lease")
    def test_an_unreadable_record_of_a_running_job_is_found_when_its_lease_is_taken_back(
        self, queue: PersistentQueue, clock: FakeClock
    ) -> None:
        queue.enqueue_many([new_job("q"), new_job("b")])
        queue.dequeue_many(2, lease_s=LEASE_S)
        self.plant_record(queue, "q", b"{")
        clock.advance(LEASE_S)
        took(queue, "b")
        assert [found.job_id for found in queue.quarantined()] == ["q"]
        assert queue.counts() == {PENDING: 0, RUNNING: 1, SUCCESS: 0, FAILED: 0}

    @promise("Q13")
    @needs("quarantine", "lease", "extend", "progress")
    def test_a_holder_of_a_job_in_quarantine_is_told(self, queue: PersistentQueue) -> None:
        queue.enqueue(new_job("q"))
        lease = lease_of(took(queue, "q"))
        self.plant_record(queue, "q", b"{")
        assert queue.list_jobs() == []
        for act in (
            lambda: queue.update_status("q", SUCCESS, lease=lease),
            lambda: queue.extend_lease(lease),
            lambda: queue.record_progress(lease, "t", 1),
        ):
            with refused(queue, UnreadableRecord, "'q'"):
                act()

    @promise("Q13")
    @needs("quarantine", "lease", "extend", "progress")
    def test_extending_and_recording_progress_do_not_read_the_record(self, queue: PersistentQueue) -> None:
        queue.enqueue(new_job("q"))
        lease = lease_of(took(queue, "q"))
        self.plant_record(queue, "q", b"{")
        assert queue.extend_lease(lease, 50).token == lease.token
        queue.record_progress(lease, "t", 1)
        assert queue.quarantined() == []
        assert queue.count() == 1

    @promise("Q13", "Q3")
    @needs("quarantine")
    def test_an_id_in_quarantine_stays_known(self, queue: PersistentQueue) -> None:
        queue.enqueue(new_job("q"))
        self.plant_record(queue, "q", b"{")
        assert queue.dequeue() is None
        with nothing_changed(queue):
            assert queue.enqueue(new_job("q")) is False
            assert queue.enqueue_many([new_job("q")]) == 0
        with refused(queue, UnreadableRecord, "'q'"):
            queue.get_job("q")

    @promise("Q13", "Q10")
    @needs("quarantine")
    def test_an_unreadable_record_is_not_purged(self, queue: PersistentQueue, clock: FakeClock) -> None:
        queue.enqueue(new_job("q"))
        queue.update_status("q", SUCCESS, lease=took(queue).lease)
        self.plant_record(queue, "q", b"{")
        assert queue.list_jobs() == []
        clock.advance(1e6)
        assert queue.purge(0) == 0
        assert [found.job_id for found in queue.quarantined()] == ["q"]

    @promise("Q13")
    @needs("quarantine", "stats")
    def test_the_oldest_find_is_listed_first_and_stats_count_them(self, queue: PersistentQueue) -> None:
        queue.enqueue_many(new_job(job_id) for job_id in "abcd")
        for job_id in "abc":
            self.plant_record(queue, job_id, b"x")
        for job_id in "bca":
            with pytest.raises(UnreadableRecord):
                queue.get_job(job_id)
        assert [found.job_id for found in queue.quarantined()] == ["b", "c", "a"]
        stats = queue.stats()
        assert (stats.quarantined, stats.ready, stats.counts[PENDING]) == (3, 1, 1)

    @promise("Q13", "Q9")
    @needs("quarantine")
    def test_a_list_is_full_although_records_are_unreadable(self, queue: PersistentQueue) -> None:
        queue.enqueue_many(new_job(f"j{i}") for i in range(6))
        for i in (5, 4, 2):
            self.plant_record(queue, f"j{i}", b"{")
        assert [job.id for job in queue.list_jobs(limit=2)] == ["j3", "j1"]
        assert [job.id for job in queue.list_jobs(PENDING, limit=3)] == ["j3", "j1", "j0"]

    @promise("Q13")
    @needs("quarantine")
    def test_many_unreadable_records_stop_nobody(self, queue: PersistentQueue) -> None:
        queue.enqueue_many(new_job(f"j{i}") for i in range(20))
        for i in range(19):
            self.plant_record(queue, f"j{i}", b"{")
        took(queue, "j19")
        assert len(queue.quarantined()) == 19

    @promise("Q13")
    @needs("quarantine", "lease", "requeue")
    def test_unknown_fields_survive_a_round_trip(self, queue: PersistentQueue) -> None:
        queue.enqueue(new_job(max_retries=1))
        record = {**json.loads(encode_record(new_job(max_retries=1))), "run_id": "x", "tags": [{"k": 1.5}]}
        self.plant_record(queue, "a", json.dumps(record).encode())
        unknown = {"run_id": "x", "tags": [{"k": 1.5}]}
        assert got(queue, "a").extra == unknown
        job = took(queue, "a")
        assert job.extra == unknown
        assert queue.update_status("a", RETRY, error="e", lease=job.lease).extra == unknown
        assert queue.update_status("a", FAILED, lease=took(queue, "a").lease).extra == unknown
        assert queue.requeue("a").extra == unknown
        assert queue.list_jobs()[0].extra == unknown
        assert got(queue, "a").to_dict()["tags"] == [{"k": 1.5}]

    @promise("Q13")
    @needs("quarantine")
    def test_a_record_of_the_seed_without_a_version_is_read(self, queue: PersistentQueue) -> None:
        queue.enqueue(new_job())
        record = json.loads(encode_record(new_job()))
        twelve = list(record)[1:13]
        self.plant_record(queue, "a", json.dumps({name: record[name] for name in twelve}).encode())
        assert took(queue, "a").dag_path == "d.yaml"
        assert queue.quarantined() == []
