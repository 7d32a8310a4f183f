"""RedisQueue keeps the contract on a fake and on a real server; its own dangers are below."""

from __future__ import annotations

import itertools
import json
import os
import socket
import subprocess
import sys
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from orch.backends import open_queue
from orch.errors import (
    BackendUnavailable,
    InvalidInput,
    JobNotFound,
    LeaseLost,
    OrchError,
    UnreadableRecord,
    WriteRefused,
)
from orch.job import Job, JobStatus, Report, WorkerInfo, encode_record
from orch.testing import FakeClock, QueueContract
from orch.testing.servers import find_server, redis_url, start_redis

redis = pytest.importorskip("redis")
fakeredis = pytest.importorskip("fakeredis")

from orch.backends import base  # noqa: E402  # after the two above
from orch.backends import redis as backend  # noqa: E402
from orch.backends.redis import RedisQueue, open_redis  # noqa: E402
from orch.backends.redis_wire import Wire  # noqa: E402

PENDING, RUNNING, SUCCESS, FAILED, RETRY = JobStatus
AT = "2027-01-15T08:00:00+00:00"
_numbers = itertools.count()


def new_job(id="a", **fields):
    given = {"dag_path": "d.yaml", "tenant_id": "t", "schedule_id": None, "status": PENDING, "enqueued_at": AT}
    return Job(id=id, **{**given, **fields})


def drained(queue):
    return [job.id for job in iter(queue.dequeue, None)]


def seen(queue):
    """Everything that can be seen of a queue."""
    jobs = [(job, job.lease) for job in queue.list_jobs(limit=10_000)]
    return queue.stats(), jobs, queue.quarantined(), queue.workers()


def live(queue):
    """Every verb, and every kind of step of a job."""
    queue.announce(WorkerInfo("w"))
    queue.advance_schedule("s", None, AT)
    queue.enqueue_many([new_job("a", max_retries=3), new_job("b", priority=3), new_job("c"), new_job("d")])
    jobs = {job.id: job for job in queue.dequeue_many(3, "w")}
    queue.record_progress(jobs["a"].lease, "t", {})
    queue.extend_lease(jobs["c"].lease)
    reports = [Report("a", RETRY, lease=jobs["a"].lease, delay_s=5), Report("b", SUCCESS, lease=jobs["b"].lease)]
    queue.exchange(reports, 1, "w")
    queue.plant_record("d", b"{")
    queue._clock.advance(100)
    assert [job.id for job in queue.dequeue_many(10, "w")] == ["c", "a"]
    queue.cancel("c")
    queue.requeue("c")
    assert [q.job_id for q in queue.quarantined()] == ["d"]
    assert queue.progress("a") == {"t": {}}
    assert [worker.id for worker in queue.workers()] == ["w"]
    assert queue.schedule_cursor("s") == AT
    assert queue.counts() == {PENDING: 1, RUNNING: 1, SUCCESS: 1, FAILED: 0}


@pytest.fixture(scope="session")
def real_url(tmp_path_factory):
    """A server for the whole run; tests keep apart by their key prefixes."""
    with redis_url(tmp_path_factory.mktemp("redis")) as url:
        if url is None:
            pytest.skip("no redis-server here")
        yield url


@pytest.fixture
def needs_server():
    if find_server() is None:
        pytest.skip("no redis-server here")


class Server:
    """Queues on one server, each with keys of its own, which are removed at the end."""

    def __init__(self, client):
        self.client = client
        self.prefix = f"orch-test-{os.getpid()}-{next(_numbers)}"
        self.queues = []

    def queue(self, clock=None, **options):
        queue = RedisQueue(self.client, f"{self.prefix}:{next(_numbers)}", clock=clock, **options)
        self.queues.append(queue)
        return queue

    def close(self):
        for queue in self.queues:
            queue.close()
        keys = list(self.client.scan_iter(f"{self.prefix}:*", count=1000))
        if keys:
            self.client.delete(*keys)
        self.client.close()


@pytest.fixture
def real(real_url):
    server = Server(redis.Redis.from_url(real_url))
    yield server
    server.close()


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.real)])
def server(request):
    """Each test on the fake and on the real one."""
    if request.param == "real":
        yield request.getfixturevalue("real")
    else:
        fake = Server(fakeredis.FakeRedis())
        yield fake
        fake.close()


@pytest.fixture
def queue(server):
    return server.queue(FakeClock())


class TestFakeRedisContract(QueueContract):
    def make_queue(self, clock: FakeClock) -> RedisQueue:
        return RedisQueue(fakeredis.FakeRedis(), clock=clock)


@pytest.mark.real
class TestRealRedisContract(QueueContract):
    """With a client that decodes its answers, which must make no difference."""

    @pytest.fixture(autouse=True)
    def _server(self, real_url):
        self.server = Server(redis.Redis.from_url(real_url, decode_responses=True))
        yield
        self.server.close()

    def make_queue(self, clock: FakeClock) -> RedisQueue:
        return self.server.queue(clock)


# -- what is stored ------------------------------------------------------------------------------------------------


class TestKeys:
    def test_ready_jobs_of_priority_0_are_a_list_of_ids_in_ticket_order(self, server, queue):
        queue.enqueue_many(
            [
                new_job("a"),
                new_job("high", priority=1),
                new_job("b"),
                new_job("late", not_before="2028-01-01T00:00:00Z"),
            ]
        )
        assert server.client.lrange(f"{queue.key_prefix}:pending", 0, -1) == [b"a", b"b"]

    def test_jobs_is_a_hash_of_valid_json_with_the_true_status(self, server, queue):
        def stored():
            return json.loads(server.client.hget(f"{queue.key_prefix}:jobs", "a"))

        queue.enqueue(new_job(max_retries=1))
        assert stored()["status"] == "pending"
        lease = queue.dequeue().lease
        assert (stored()["status"], stored()["attempts"], stored()["started_at"]) == ("running", 1, AT)
        queue.update_status("a", RETRY, "boom", lease=lease)
        assert (stored()["status"], stored()["started_at"], stored()["error"]) == ("pending", None, "boom")
        queue.update_status("a", FAILED, "bust", {"n": 1}, lease=queue.dequeue().lease)
        assert (stored()["status"], stored()["finished_at"], stored()["result"]) == ("failed", AT, {"n": 1})
        queue.requeue("a")
        assert (stored()["status"], stored()["failures"], stored()["result"]) == ("pending", 0, None)
        queue.update_status("a", SUCCESS)
        assert stored()["status"] == "success"
        assert Job.from_dict({k: v for k, v in stored().items() if k != "v"}) == queue.get_job("a")

    @pytest.mark.promise("Q2")
    def test_a_returned_job_precedes_the_list_from_the_set_beside_it(self, server, queue):
        queue.enqueue_many([new_job("a"), new_job("b"), new_job("c")])
        a, b = queue.dequeue_many(2)
        for job in (b, a):
            queue.update_status(job.id, PENDING, lease=job.lease)
        assert server.client.lrange(f"{queue.key_prefix}:pending", 0, -1) == [b"c"]
        assert server.client.zcard(f"{queue.key_prefix}:ready") == 2
        assert drained(queue) == ["a", "b", "c"]

    @pytest.mark.promise("Q11")
    def test_a_clients_json_passes_through_every_step_byte_for_byte(self, server, queue):
        value = {"big": 2**70, "f": 1.0, "e": 1e22, "o": {}, "l": [], "t": 'ü"\\/\n\u2028', "n": None, "deep": [[[{}]]]}
        queue.enqueue(new_job(params=value, extra={"later": value}, max_retries=5))
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
        for status in (RETRY, PENDING, SUCCESS):
            queue.update_status("a", status, None, value, lease=queue.dequeue().lease)
        raw = server.client.hget(f"{queue.key_prefix}:jobs", "a")
        assert raw.count(text) == 3
        job = queue.get_job("a")
        assert (job.params, job.extra, job.result) == (value, {"later": value}, value)

    def test_two_prefixes_are_two_queues(self, server):
        one, two = server.queue(), server.queue()
        one.enqueue(new_job())
        assert two.count() == 0
        assert two.dequeue() is None

    def test_a_whole_life_uses_no_other_keys(self, server, queue):
        live(queue)
        known = {key for key, _ in backend._KEYS.values()} | {"progress:a"}
        prefix = f"{queue.key_prefix}:"
        found = {key.decode().removeprefix(prefix) for key in server.client.scan_iter(f"{prefix}*")}
        assert found <= known
        assert len(found) > 10

    def test_purged_jobs_leave_nothing_behind(self, server, queue):
        queue.enqueue_many([new_job(f"{i}") for i in range(600)])
        for job in queue.dequeue_many(600):
            if int(job.id) % 100 == 7:
                queue.record_progress(job.lease, "t", {"x": 1})
            queue.update_status(job.id, SUCCESS, lease=job.lease)
        queue._clock.advance(1)
        assert queue.purge(0) == 600
        left = {key.decode().rpartition(":")[2] for key in server.client.scan_iter(f"{queue.key_prefix}:*")}
        assert left == {"meta"}
        assert all(field.startswith(b"\0") for field in server.client.hkeys(f"{queue.key_prefix}:meta"))

    @pytest.mark.promise("Q10")
    def test_a_purge_takes_few_large_records_in_one_step(self, queue):
        queue.enqueue_many([new_job(f"{i}", params={"x": "y" * 40_000}) for i in range(40)])
        for job in queue.dequeue_many(40):
            queue.update_status(job.id, SUCCESS, lease=job.lease)
        queue._clock.advance(1)
        calls = counted(queue)
        assert queue.purge(0) == 40
        assert len(calls) >= 4

    def test_another_programs_key_under_one_of_our_names_is_refused_at_start(self, server):
        server.client.set(f"{server.prefix}:x:finished", "text")
        with pytest.raises(BackendUnavailable, match=r"string under .*:x:finished"):
            RedisQueue(server.client, f"{server.prefix}:x")

    def test_a_key_that_turns_into_another_type_is_an_error_that_says_so(self, server, queue):
        server.client.set(f"{queue.key_prefix}:jobs", "text")
        with pytest.raises(OrchError, match=r"WRONGTYPE.*prefix"):
            queue.get_job("a")


def counted(queue):
    """Each request that a queue sends from now on."""
    sent = []
    send = queue._wire.send

    def counting(packed, **options):
        sent.append(packed)
        return send(packed, **options)

    queue._wire.send = counting
    return sent


class TestRoundTrips:
    @pytest.mark.promise("Q8")
    def test_each_verb_is_one_round_trip(self, queue):
        queue.enqueue_many([new_job(f"{i}", max_retries=2) for i in range(8)])
        lease = queue.dequeue("w").lease
        queue.update_status("7", FAILED)
        verbs = [
            lambda: queue.enqueue(new_job("x")),
            lambda: queue.enqueue_many([new_job("y"), new_job("z")]),
            lambda: queue.extend_lease(lease),
            lambda: queue.record_progress(lease, "t", {}),
            lambda: queue.progress("0"),
            lambda: queue.exchange([Report("0", RETRY, lease=lease)], 3, "w"),
            lambda: queue.dequeue("w"),
            lambda: queue.requeue("7"),
            lambda: queue.cancel("7"),
            lambda: queue.get_job("1"),
            queue.list_jobs,
            lambda: queue.list_jobs(PENDING),
            queue.counts,
            queue.stats,
            queue.quarantined,
            queue.workers,
            lambda: queue.announce(WorkerInfo("w")),
            lambda: queue.schedule_cursor("k"),
            lambda: queue.advance_schedule("k", None, AT),
            lambda: queue.purge(1),
        ]
        for verb in verbs:
            verb()  # now the server has its script
        calls = counted(queue)
        for n, verb in enumerate(verbs, 1):
            with suppress(LeaseLost):
                verb()
            assert len(calls) == n

    def test_a_server_that_forgot_the_scripts_gets_them_again(self, server, queue):
        queue.enqueue(new_job("a"))
        server.client.script_flush()
        assert queue.enqueue(new_job("b")) is True
        server.client.script_flush()
        assert drained(queue) == ["a", "b"]

    def test_a_beat_is_sent_with_every_dequeue_of_a_clock_and_seldom_by_the_servers(self, server):
        queue = server.queue()
        assert [queue._beat(b"w"), queue._beat(b"w"), queue._beat(b"v")] == [b"w", b"", b"v"]
        clocked = server.queue(FakeClock())
        assert [clocked._beat(b"w"), clocked._beat(b"w")] == [b"w", b"w"]


# -- waiting -------------------------------------------------------------------------------------------------------


@pytest.fixture
def long_sweep(monkeypatch):
    """A lost wake-up shows: the sweep, which would hide it, comes late."""
    monkeypatch.setattr(backend, "SWEEP_S", 20.0)
    monkeypatch.setattr(base, "SWEEP_S", 20.0)


def blocked(server, n):
    """Return when so many clients block."""
    deadline = time.monotonic() + 10
    while server.client.info("clients")["blocked_clients"] < n:
        assert time.monotonic() < deadline
        time.sleep(0.002)


class TestWaiting:
    @pytest.fixture
    def waiting(self, real, long_sweep):
        queue = real.queue()
        queue._wire.timeout_s = 1000.0  # the sweep is what bounds a wait here
        return real, queue

    @pytest.mark.real
    def test_a_new_job_ends_a_wait(self, waiting):
        server, queue = waiting
        with ThreadPoolExecutor(1) as pool:
            found = pool.submit(queue.dequeue, "w", wait_s=20)
            blocked(server, 1)
            queue.enqueue(new_job())
            assert found.result().id == "a"

    @pytest.mark.real
    def test_one_job_wakes_one_of_three(self, waiting):
        server, queue = waiting
        with ThreadPoolExecutor(3) as pool:
            found = [pool.submit(queue.dequeue, "w", wait_s=20) for _ in range(3)]
            blocked(server, 3)
            queue.enqueue(new_job("a"))
            deadline = time.monotonic() + 10
            while sum(f.done() for f in found) < 1:
                assert time.monotonic() < deadline
            assert server.client.info("clients")["blocked_clients"] == 2
            queue.enqueue_many([new_job("b"), new_job("c")])
            assert sorted(f.result().id for f in found) == ["a", "b", "c"]

    @pytest.mark.real
    def test_jobs_that_came_in_one_step_wake_as_many_as_are_needed(self, waiting):
        server, queue = waiting
        with ThreadPoolExecutor(3) as pool:
            found = [pool.submit(queue.dequeue, "w", wait_s=20) for _ in range(3)]
            blocked(server, 3)
            queue.enqueue_many([new_job("a"), new_job("b"), new_job("c")])
            assert sorted(f.result().id for f in found) == ["a", "b", "c"]

    @pytest.mark.real
    def test_a_job_that_was_given_back_ends_a_wait(self, waiting):
        server, queue = waiting
        queue.enqueue(new_job())
        lease = queue.dequeue().lease
        with ThreadPoolExecutor(1) as pool:
            found = pool.submit(queue.dequeue, "w", wait_s=20)
            blocked(server, 1)
            queue.update_status("a", PENDING, lease=lease)
            assert found.result().id == "a"

    @pytest.mark.real
    def test_a_requeued_job_ends_a_wait(self, waiting):
        server, queue = waiting
        queue.enqueue(new_job())
        queue.cancel("a")
        with ThreadPoolExecutor(1) as pool:
            found = pool.submit(queue.dequeue, "w", wait_s=20)
            blocked(server, 1)
            queue.requeue("a")
            assert found.result().id == "a"

    @pytest.mark.real
    @pytest.mark.promise("Q5")
    def test_the_expiry_of_a_lease_ends_a_wait(self, waiting):
        _, queue = waiting
        queue.enqueue(new_job())
        queue.dequeue(lease_s=0.2)
        assert queue.dequeue("w", wait_s=20).crashes == 1

    @pytest.mark.real
    def test_a_delay_that_is_over_ends_a_wait_that_began_before_it(self, waiting):
        server, queue = waiting
        with ThreadPoolExecutor(1) as pool:
            found = pool.submit(queue.dequeue, "w", wait_s=20)
            blocked(server, 1)
            queue.enqueue(new_job(not_before=Job.new("d", clock=lambda: time.time() + 0.2).enqueued_at))
            assert found.result().id == "a"

    @pytest.mark.real
    @pytest.mark.parametrize("n", [0, 1])
    def test_a_retry_put_off_by_another_worker_ends_a_wait(self, waiting, n):
        server, queue = waiting
        queue.enqueue(new_job("a", max_retries=1))
        lease = queue.dequeue().lease
        with ThreadPoolExecutor(1) as pool:
            found = pool.submit(queue.dequeue, "w", wait_s=20)
            blocked(server, 1)
            queue.exchange([Report("a", RETRY, lease=lease, delay_s=0.2)], n)
            assert found.result().id == "a"

    def test_an_idle_wait_is_one_blocking_command_that_ends_within_sweep_and_time_out(self, server):
        queue = server.queue()
        sent = []
        queue._wire.command = lambda *words: sent.append(words)
        queue._wait(60.0)
        assert sent == [(b"BZPOPMIN", f"{queue.key_prefix}:wake".encode(), b"2.000")]
        queue._wire.timeout_s = 1.0
        queue._wait(60.0)
        assert sent[1][2] == b"0.800"
        queue._next_at = time.monotonic() - 1
        queue._wait(60.0)  # something is due: no wait at all
        assert len(sent) == 2

    def test_wake_up_calls_do_not_pile_up(self, server, queue):
        queue.dequeue()  # somebody is idle
        for i in range(50):
            queue.enqueue(new_job(f"{i}"))
        assert server.client.zcard(f"{queue.key_prefix}:wake") == 1

    def test_a_wait_touches_no_other_key(self, server):
        queue = server.queue()
        queue.enqueue(new_job())
        queue._wait(0.001)
        assert server.client.lrange(f"{queue.key_prefix}:pending", 0, -1) == [b"a"]


# -- records that scripts did not write --------------------------------------------------------------------------


def seed_record(id, **fields):
    """A record as the seed's own RedisQueue pushes it: `to_dict()` without anything of ours."""
    names = ("id", "dag_path", "tenant_id", "schedule_id", "status", "enqueued_at", "started_at", "finished_at")
    data = new_job(id, **fields).to_dict()
    return json.dumps({name: data[name] for name in (*names, "attempts", "max_retries", "error", "result")})


class TestForeignRecords:
    def push(self, server, queue, id, **fields):
        server.client.hset(f"{queue.key_prefix}:jobs", id, seed_record(id, **fields))
        server.client.rpush(f"{queue.key_prefix}:pending", id)

    def test_jobs_of_the_seed_are_delivered_where_they_stand(self, server, queue):
        queue.enqueue(new_job("a"))
        self.push(server, queue, "b", max_retries=1)
        queue.enqueue(new_job("c"))
        self.push(server, queue, "d")
        jobs = queue.dequeue_many(10)
        assert [job.id for job in jobs] == ["a", "b", "c", "d"]
        assert queue.count(RUNNING) == 4
        assert queue.update_status("b", RETRY, "x", lease=jobs[1].lease).failures == 1
        assert drained(queue) == ["b"]

    def test_a_job_of_the_seed_is_known(self, server, queue):
        self.push(server, queue, "a", attempts=2)
        assert queue.enqueue(new_job("a")) is False
        assert queue.enqueue_many([new_job("a"), new_job("b")]) == 1
        assert queue.get_job("a").attempts == 2
        assert server.client.lrange(f"{queue.key_prefix}:pending", 0, -1) == [b"a", b"b"]
        assert queue.counts()[PENDING] == 2
        assert drained(queue) == ["a", "b"]

    def test_a_job_that_the_seed_left_running_is_delivered_again(self, server, queue):
        server.client.hset(f"{queue.key_prefix}:jobs", "a", seed_record("a", status=RUNNING, started_at=AT, attempts=1))
        assert queue.get_job("a").status is RUNNING
        job = queue.dequeue()
        assert (job.id, job.crashes, job.attempts) == ("a", 1, 2)

    def test_a_final_job_of_the_seed_is_listed_and_purged(self, server, queue):
        record = seed_record("a", status=SUCCESS, started_at=AT, finished_at=AT)
        server.client.hset(f"{queue.key_prefix}:jobs", "a", record)
        assert queue.update_status("a", SUCCESS).finished_at == AT
        assert queue.count(SUCCESS) == 1
        queue._clock.advance(10)
        assert queue.purge(0) == 1
        assert queue.get_job("a") is None

    def test_a_delayed_or_urgent_record_of_another_program_finds_its_place(self, server, queue):
        for id, fields in {"late": {"not_before": "2027-01-15T08:00:05Z"}, "high": {"priority": 7}, "low": {}}.items():
            server.client.hset(f"{queue.key_prefix}:jobs", id, json.dumps(new_job(id, **fields).to_dict()))
            server.client.rpush(f"{queue.key_prefix}:pending", id)
        assert [queue.get_job(id).status for id in ("high", "late", "low")] == [PENDING] * 3
        assert drained(queue) == ["high", "low"]
        queue._clock.advance(5)
        assert drained(queue) == ["late"]

    @pytest.mark.promise("Q13")
    def test_an_unreadable_record_of_another_program_is_quarantined_and_the_next_delivered(self, server, queue):
        server.client.hset(f"{queue.key_prefix}:jobs", "a", b'{"id": "a"')
        server.client.rpush(f"{queue.key_prefix}:pending", "a")
        queue.enqueue(new_job("b"))
        assert drained(queue) == ["b"]
        assert [(q.job_id, q.raw) for q in queue.quarantined()] == [("a", b'{"id": "a"')]
        assert queue.enqueue(new_job("a")) is False

    def test_an_id_without_a_record_is_dropped(self, server, queue):
        server.client.rpush(f"{queue.key_prefix}:pending", "ghost", "ghost")
        queue.enqueue(new_job("a"))
        assert drained(queue) == ["a"]
        assert server.client.llen(f"{queue.key_prefix}:pending") == 0

    @pytest.mark.promise("Q4")
    def test_an_id_that_stands_in_the_list_twice_is_delivered_once(self, server, queue):
        queue.enqueue(new_job("a"))
        server.client.rpush(f"{queue.key_prefix}:pending", "a", "a")
        assert [job.id for job in queue.dequeue_many(5)] == ["a"]
        assert drained(queue) == []

    def test_an_id_of_a_running_job_in_the_list_is_dropped(self, server, queue):
        queue.enqueue(new_job("a"))
        queue.dequeue()
        server.client.rpush(f"{queue.key_prefix}:pending", "a")
        assert queue.dequeue() is None


class TestQuarantine:
    def flip(self, server, queue, id="a"):
        """Break a record where no script looks: its length and layout stay."""
        key = f"{queue.key_prefix}:jobs"
        raw = server.client.hget(key, id).replace(b'"timeout_s":null}', b'"timeout_s":nulL}')
        server.client.hset(key, id, raw)
        return raw

    @pytest.mark.promise("Q13")
    def test_a_broken_byte_is_found_at_delivery_and_the_next_job_delivered(self, server, queue):
        queue.enqueue_many([new_job("a"), new_job("b"), new_job("c")])
        self.flip(server, queue)
        assert [job.id for job in queue.dequeue_many(2, "w")] == ["b", "c"]
        assert [q.job_id for q in queue.quarantined()] == ["a"]
        assert queue.counts() == {PENDING: 0, RUNNING: 2, SUCCESS: 0, FAILED: 0}
        assert queue.workers()[0].jobs == ("b", "c")

    @pytest.mark.promise("Q13")
    @pytest.mark.parametrize("verb", ["get", "list", "report", "requeue"])
    def test_a_broken_byte_is_found_by_whatever_returns_the_job(self, server, queue, verb):
        queue.enqueue_many([new_job("a"), new_job("b")])
        if verb == "requeue":
            queue.cancel("a")
        raw = self.flip(server, queue)
        if verb == "list":
            assert [job.id for job in queue.list_jobs(limit=1)] == ["b"]
            assert [job.id for job in queue.list_jobs()] == ["b"]
        else:
            with pytest.raises(UnreadableRecord, match="quarantine"):
                {"get": queue.get_job, "report": queue.cancel, "requeue": queue.requeue}[verb]("a")
        assert queue.count() == 1
        assert [q.job_id for q in queue.quarantined()] == ["a"]
        if verb in ("get", "list"):
            assert queue.quarantined()[0].raw == raw

    @pytest.mark.promise("Q13")
    @pytest.mark.parametrize("verb", ["report", "reclaim", "deliver", "list"])
    def test_a_record_that_was_cut_is_quarantined_as_it_was_found(self, server, queue, verb):
        queue.enqueue_many([new_job("a"), new_job("b")])
        lease = None if verb == "deliver" else queue.dequeue(lease_s=1).lease
        key = f"{queue.key_prefix}:jobs"
        raw = server.client.hget(key, "a")[:-1]
        server.client.hset(key, "a", raw)
        queue._clock.advance(1)
        if verb == "report":
            with pytest.raises(UnreadableRecord):
                queue.update_status("a", SUCCESS, lease=lease)
        elif verb == "list":
            assert [job.id for job in queue.list_jobs()] == ["b"]
        else:
            assert queue.dequeue().id == "b"
        assert [(q.job_id, q.raw) for q in queue.quarantined()] == [("a", raw)]

    @pytest.mark.promise("Q13")
    @pytest.mark.parametrize("name", ["started_at", "not_before", "attempts", "status"])
    def test_a_broken_name_in_the_head_stops_no_script(self, server, queue, name):
        queue.enqueue_many([new_job("a"), new_job("b"), new_job("c")])
        leases = [queue.dequeue(lease_s=1).lease for _ in range(2)]
        key = f"{queue.key_prefix}:jobs"
        for id in "abc":
            raw = server.client.hget(key, id)
            server.client.hset(key, id, raw.replace(f'"{name}"'.encode(), f'"{name[::-1]}"'.encode()))
        queue._clock.advance(1)
        for act in (
            lambda: queue.update_status("a", SUCCESS, lease=leases[0]),
            lambda: queue.cancel("c"),
            queue.dequeue,
        ):
            with suppress(UnreadableRecord):
                act()
        assert queue.count() + len(queue.quarantined()) == 3
        assert queue.dequeue() is None

    @pytest.mark.parametrize("script", ["quarantine", "restore"])
    def test_a_record_that_somebody_settled_meanwhile_is_left_alone(self, server, queue, script):
        queue.enqueue(new_job("a"))
        before = server.client.hget(f"{queue.key_prefix}:jobs", "a")
        if script == "quarantine":
            assert queue._run("quarantine", [b"a", b"as it was before"], progress_of=["a"]) == 0
        else:
            assert queue._run("restore", backend._restored("a", b"as it was before", new_job("a"))) == 0
        assert server.client.hget(f"{queue.key_prefix}:jobs", "a") == before
        assert queue.quarantined() == []

    @pytest.mark.promise("Q13")
    def test_a_record_that_vanished_is_quarantined_as_nothing(self, server, queue):
        queue.enqueue_many([new_job("a"), new_job("b")])
        server.client.hdel(f"{queue.key_prefix}:jobs", "a")
        assert drained(queue) == ["b"]
        assert [(q.job_id, q.raw) for q in queue.quarantined()] == [("a", b"")]

    def test_a_record_of_another_job_is_not_this_job(self, queue):
        queue.enqueue_many([new_job("a"), new_job("b")])
        queue.plant_record("a", encode_record(new_job("b")).encode())
        assert drained(queue) == ["b"]
        assert "job 'b'" not in queue.quarantined()[0].raw.decode()

    def test_progress_goes_with_the_record(self, server, queue):
        queue.enqueue(new_job("a"))
        queue.record_progress(queue.dequeue().lease, "t", {})
        queue.plant_record("a", b"\xff")
        with pytest.raises(UnreadableRecord):
            queue.get_job("a")
        assert queue.progress("a") == {}

    def test_a_readable_record_keeps_what_the_queue_knows(self, queue):
        queue.enqueue(new_job("a", max_retries=2, priority=3))
        lease = queue.dequeue("w").lease
        queue.plant_record("a", json.dumps({**new_job("a").to_dict(), "v": 1, "colour": "red"}).encode())
        job = queue.get_job("a")
        assert (job.status, job.attempts, job.started_at, job.extra) == (RUNNING, 1, AT, {"colour": "red"})
        assert job.lease == lease
        assert queue.update_status("a", SUCCESS, lease=lease).extra == {"colour": "red"}
        queue.plant_record("a", json.dumps({**new_job("a").to_dict(), "v": 1, "colour": "blue"}).encode())
        assert (queue.get_job("a").status, queue.get_job("a").finished_at) == (SUCCESS, AT)

    def test_a_record_that_cannot_be_settled_is_an_error_not_an_endless_loop(self, queue, monkeypatch):
        queue.enqueue(new_job("a"))
        queue.plant_record("a", b"{")
        monkeypatch.setattr(queue, "_settle", lambda job_id, raw: None)
        with pytest.raises(OrchError, match="could not be settled"):
            queue.get_job("a")

    def test_planting_needs_a_job(self, queue):
        with pytest.raises(JobNotFound):
            queue.plant_record("a", b"{")


# -- what a server must be ---------------------------------------------------------------------------------------


SECRET = "ge" + "heim"  # not whole in this source, which tracebacks quote


def whole(error):
    """Everything that a user could see of an error, the chained ones included."""
    return "".join(traceback.format_exception(error))


class TestStart:
    @pytest.mark.promise("Q15")
    def test_an_unreachable_server_is_an_error_at_once(self):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        with pytest.raises(BackendUnavailable, match=rf"redis://user:\*\*\*@127.0.0.1:{port}/0") as caught:
            open_queue(f"redis://user:{SECRET}@127.0.0.1:{port}/0")
        assert SECRET not in whole(caught.value)
        with pytest.raises(BackendUnavailable, match=f"Redis at 127.0.0.1:{port}"):
            RedisQueue(redis.Redis(port=port, host="127.0.0.1"))

    @pytest.mark.promise("Q15")
    @pytest.mark.parametrize(
        "url",
        [
            "redis://:geheim@localhost:port/0",
            "redis://:geheim@localhost:99999/0",
            "redis://:geheim@localhost/nine",
            "redis://:geheim@localhost/0/1",
            "redis://:ge#heim@localhost/0",
            "redis://:geheim@localhost/0#part",
            "redis://:geheim@[::1/0",
            "redis://:geheim@localhost/0?socket_timeout=geheim",
            "redis://localhost/0?no_such_option=geheim",
            "unix://",
            "redis+sentinel://:geheim@localhost:26379",
            "redis+sentinel://:geheim@localhost:x/service",
            "redis+sentinel://:geheim@/service",
            "redis+sentinel://:geheim@localhost/service/x",
            "redis+sentinel://:geheim@localhost/service?db=geheim",
        ],
    )
    def test_a_malformed_url_is_refused_and_no_password_shown(self, url):
        with pytest.raises(InvalidInput) as caught:
            open_queue(url)
        assert SECRET not in whole(caught.value)
        assert caught.value.__cause__ is None

    def test_a_url_must_be_text(self):
        with pytest.raises(InvalidInput, match="7"):
            open_redis(7)

    def test_a_client_must_be_one(self):
        with pytest.raises(InvalidInput, match="7"):
            RedisQueue(7)

    @pytest.mark.parametrize("prefix", ["", "a\nb", None, "x" * 201])
    def test_a_key_prefix_must_be_printable_text(self, prefix):
        with pytest.raises(InvalidInput, match="key_prefix"):
            RedisQueue(fakeredis.FakeRedis(), prefix)

    @pytest.mark.promise("Q15")
    @pytest.mark.parametrize(
        ("info", "message"),
        [
            ({"redis_version": "6.0.16"}, "6.0.16.*6.2"),
            ({"redis_version": "5.0.7"}, "5.0.7"),
            ({"maxmemory_policy": "allkeys-lru"}, "allkeys-lru.*noeviction"),
            ({"maxmemory_policy": "volatile-ttl"}, "volatile-ttl"),
            ({"role": "slave", "slave_read_only": "1"}, "replica.*master"),
            ({"cluster_enabled": "1"}, "hash tag.*orch:queue"),
            ({"loading": "1"}, "loading"),
        ],
    )
    def test_an_unsafe_server_is_refused(self, monkeypatch, info, message):
        sound = {"redis_version": "7.0.15", "maxmemory_policy": "noeviction", "role": "master", "loading": "0"}
        monkeypatch.setattr(RedisQueue, "_server_info", lambda self: {**sound, **info})
        with pytest.raises(BackendUnavailable, match=message):
            RedisQueue(fakeredis.FakeRedis())

    @pytest.mark.parametrize("version", ["6.2.0", "7.2.4", "8.0.1", "10.0"])
    def test_a_newer_server_is_taken(self, monkeypatch, version):
        monkeypatch.setattr(RedisQueue, "_server_info", lambda self: {"redis_version": version})
        RedisQueue(fakeredis.FakeRedis())

    def test_without_the_package_the_error_says_how_to_get_it(self):
        code = (
            "import sys; sys.modules['redis'] = None\n"
            "from orch import open_queue, BackendUnavailable\n"
            "try: open_queue('redis://localhost')\n"
            "except BackendUnavailable as error: print(error)"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert "pip install 'orch[redis]'" in done.stdout

    @pytest.mark.real
    @pytest.mark.usefixtures("needs_server")
    class TestOnRealServers:
        @pytest.mark.promise("Q15")
        def test_one_that_evicts_is_refused(self, tmp_path):
            with (
                start_redis(tmp_path, maxmemory_policy="allkeys-lru") as server,
                pytest.raises(BackendUnavailable, match="allkeys-lru"),
            ):
                open_queue(server.url)

        @pytest.mark.promise("Q15")
        def test_a_replica_is_refused(self, tmp_path):
            with (
                start_redis(tmp_path / "master") as master,
                start_redis(tmp_path / "replica", config={"replicaof": f"127.0.0.1 {master.port}"}) as replica,
                pytest.raises(BackendUnavailable, match="replica"),
            ):
                open_queue(replica.url)

        def test_a_wrong_password_is_an_error_that_shows_none(self, tmp_path):
            with start_redis(tmp_path, password="richtig") as server:
                with pytest.raises(BackendUnavailable, match="credentials") as caught:
                    open_queue(f"redis://:{SECRET}@127.0.0.1:{server.port}/0")
                assert SECRET not in whole(caught.value)
                with pytest.raises(BackendUnavailable, match="credentials"):
                    open_queue(f"redis://127.0.0.1:{server.port}/0")
                open_queue(server.url).close()

        def test_a_user_who_may_not_ask_what_the_server_is_cannot_use_it(self, tmp_path):
            with start_redis(tmp_path) as server:
                with redis.Redis.from_url(server.url) as client:
                    client.execute_command("ACL", "SETUSER", "u", "on", ">p", "~*", "+@all", "-info")
                with pytest.raises(BackendUnavailable, match="INFO"):
                    open_queue(f"redis://u:p@127.0.0.1:{server.port}/0")

        def test_tls_to_a_server_without_is_an_error(self, tmp_path):
            with start_redis(tmp_path) as server, pytest.raises(BackendUnavailable):
                open_queue(server.url.replace("redis://", "rediss://") + "?socket_timeout=0.5")

        def test_a_unix_socket_is_a_url_too(self, tmp_path):
            with start_redis(tmp_path, config={"unixsocket": "s"}) as server:
                queue = open_queue(f"unix://{tmp_path}/s?db=1")
                assert queue.enqueue(new_job())
                queue.close()
                with redis.Redis.from_url(server.url.replace("/0", "/1")) as client:
                    assert client.exists("orch:queue:jobs")

        def test_a_database_number_and_time_out_of_a_url_count(self, tmp_path):
            with start_redis(tmp_path) as server:
                queue = open_queue(server.url.replace("/0", "/3") + "?socket_timeout=0.7")
                queue.enqueue(new_job())
                assert queue._wire.timeout_s == 0.7
                queue.close()
                with redis.Redis.from_url(server.url) as client:
                    assert client.info("keyspace").keys() == {"db3"}


# -- when a server fails ------------------------------------------------------------------------------------------


def every_write(queue, lease):
    """Each verb that writes, on a queue with jobs a (running under `lease`), b (pending) and f (failed)."""
    return {
        "enqueue": lambda: queue.enqueue(new_job("new")),
        "enqueue_many": lambda: queue.enqueue_many([new_job("n1"), new_job("n2")]),
        "dequeue": lambda: queue.dequeue("w"),
        "success": lambda: queue.update_status("a", SUCCESS, None, {"x": 1}, lease=lease),
        "failed": lambda: queue.update_status("a", FAILED, "x", lease=lease),
        "retry": lambda: queue.update_status("a", RETRY, "x", lease=lease),
        "retry later": lambda: queue.update_status("a", RETRY, "x", lease=lease, delay_s=9),
        "give back": lambda: queue.update_status("a", PENDING, lease=lease),
        "cancel": lambda: queue.cancel("b"),
        "exchange": lambda: queue.exchange([Report("a", SUCCESS, lease=lease)], 2, "w"),
        "extend": lambda: queue.extend_lease(lease, 1000),
        "progress": lambda: queue.record_progress(lease, "t", {}),
        "requeue": lambda: queue.requeue("f"),
        "announce": lambda: queue.announce(WorkerInfo("w2")),
        "cursor": lambda: queue.advance_schedule("k", None, AT),
    }


@pytest.mark.real
@pytest.mark.usefixtures("needs_server")
class TestFailingServer:
    @pytest.fixture
    def started(self, tmp_path):
        with start_redis(tmp_path, appendfsync="always") as server, redis.Redis.from_url(server.url) as client:
            queue = open_redis(server.url + "?socket_timeout=0.4")
            yield server, client, queue
            queue.close()

    def busy(self, queue):
        queue.enqueue_many([new_job("f"), new_job("a", max_retries=3), new_job("b")])
        queue.update_status("f", FAILED, lease=queue.dequeue("w").lease)
        return queue.dequeue("w").lease

    @pytest.mark.promise("Q14")
    @pytest.mark.parametrize("refusal", ["out of memory", "read-only", "too few replicas"])
    def test_a_refused_write_raises_and_changes_nothing(self, started, refusal):
        _, client, queue = started
        lease = self.busy(queue)
        before = seen(queue)[1:]
        if refusal == "out of memory":
            client.config_set("maxmemory", 1)
        elif refusal == "read-only":
            client.replicaof("127.0.0.1", 1)
            client.config_set("replica-serve-stale-data", "yes")
        else:
            client.config_set("min-replicas-to-write", 1)
        for verb, act in every_write(queue, lease).items():
            with pytest.raises(WriteRefused, match="nothing was changed"):
                act()
            assert seen(queue)[1:] == before, verb
        client.replicaof("NO", "ONE")
        client.config_set("maxmemory", 0)
        client.config_set("min-replicas-to-write", 0)
        queue.update_status("a", SUCCESS, lease=lease)
        assert queue.dequeue("w").id == "b"

    @pytest.mark.promise("Q14")
    def test_a_full_server_refuses_a_promotion_and_a_reclaim_whole(self, started):
        _, client, _ = started
        clock = FakeClock()
        clocked = RedisQueue(client, clock=clock)
        clocked.enqueue_many([new_job("a"), new_job("late", not_before="2027-01-15T08:00:05Z")])
        clocked.dequeue(lease_s=3)
        clock.advance(10)
        before = seen(clocked)
        client.config_set("maxmemory", 1)
        for act in (clocked.dequeue, lambda: clocked.enqueue(new_job("x")), lambda: clocked.cancel("a")):
            with pytest.raises(WriteRefused):
                act()
            assert seen(clocked) == before
        client.config_set("maxmemory", 0)
        assert drained(clocked) == ["a", "late"]
        clocked.close()

    def test_a_full_server_still_purges(self, started):
        _, client, queue = started
        self.busy(queue)
        client.config_set("maxmemory", 1)
        time.sleep(0.001)  # one millisecond of the server's time: the job finished before now
        assert queue.purge(0) == 1

    @pytest.mark.promise("Q14")
    def test_what_was_acknowledged_survives_kill_9_with_fsync(self, started):
        server, _, queue = started
        queue.enqueue_many([new_job(f"{i}") for i in range(50)])
        jobs = queue.dequeue_many(20, "w")
        for job in jobs[:10]:
            queue.update_status(job.id, SUCCESS, lease=job.lease)
        server.kill()
        with pytest.raises(BackendUnavailable):
            queue.counts()
        server.restart()
        assert queue.counts() == {PENDING: 30, RUNNING: 10, SUCCESS: 10, FAILED: 0}
        assert queue.update_status(jobs[10].id, SUCCESS, lease=jobs[10].lease).status is SUCCESS
        assert queue.dequeue().lease.token > jobs[-1].lease.token

    @pytest.mark.promise("Q4")
    def test_tokens_grow_across_a_server_that_forgot_everything(self, started):
        _, client, queue = started
        queue.enqueue(new_job())
        token = queue.dequeue().lease.token
        client.flushall()
        queue.enqueue(new_job())
        assert queue.dequeue().lease.token > token

    @pytest.mark.promise("Q8")
    def test_a_lost_reply_is_an_error_and_repeating_has_the_effect_of_once(self, started):
        server, client, queue = started
        queue.enqueue(new_job("a"))
        lease = queue.dequeue("w").lease
        acts = [lambda: queue.enqueue(new_job("b")), lambda: queue.update_status("a", SUCCESS, lease=lease)]
        for act in acts:
            queue.count()  # connected, so that the next request is what the server finds when it goes on
            server.pause()
            with pytest.raises(BackendUnavailable, match=r"did not answer within 0\.4 s"):
                act()
            server.resume()
            client.ping()  # what was sent before is carried out first
        assert queue.counts() == {PENDING: 1, RUNNING: 0, SUCCESS: 1, FAILED: 0}
        assert acts[0]() is False
        assert acts[1]().status is SUCCESS
        assert queue.counts() == {PENDING: 1, RUNNING: 0, SUCCESS: 1, FAILED: 0}

    @pytest.mark.promise("Q8")
    def test_nothing_is_sent_twice_behind_the_callers_back(self, started):
        server, client, _ = started
        retrying = redis.Redis.from_url(server.url, socket_timeout=0.2)  # its own default is to retry
        queue = RedisQueue(retrying)
        queue.dequeue()
        before = client.info("commandstats")["cmdstat_evalsha"]["calls"]
        server.pause()
        with pytest.raises(BackendUnavailable):
            queue.dequeue()
        server.resume()
        client.ping()
        assert client.info("commandstats")["cmdstat_evalsha"]["calls"] == before + 1
        queue.close()
        retrying.close()

    def test_a_reply_that_came_too_late_is_not_taken_for_the_next_one(self, started):
        server, client, queue = started
        queue.enqueue(new_job("a"))
        server.pause()
        with pytest.raises(BackendUnavailable):
            queue.get_job("a")
        server.resume()
        client.ping()
        assert queue.count() == 1

    def test_an_idle_connection_that_the_server_closed_is_replaced_silently(self, started):
        server, _, queue = started
        queue.enqueue(new_job("a"))
        queue._wire._idle[:] = [(connection, used - 60) for connection, used in queue._wire._idle]
        server.restart()
        assert queue.count() == 1

    def test_a_wait_ends_with_an_error_when_the_server_goes_away(self, started):
        server, client, queue = started
        with ThreadPoolExecutor(1) as pool:
            found = pool.submit(queue.dequeue, "w", wait_s=20)
            while client.info("clients")["blocked_clients"] < 1:
                pass
            server.kill()
            with pytest.raises(BackendUnavailable):
                found.result()

    def test_a_closed_queue_holds_no_connection(self, started):
        _, client, queue = started
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda i: queue.enqueue(new_job(f"{i}")), range(50)))
        queue.close()
        queue.close()
        ours = [row for row in client.client_list() if row["id"] != str(client.client_id())]
        deadline = time.monotonic() + 5
        while len(ours) > 0:  # the server sees the end of a connection a moment later
            assert time.monotonic() < deadline
            ours = [row for row in client.client_list() if row["id"] != str(client.client_id())]

    def test_a_long_script_of_somebody_else_is_an_outage(self, started):
        server, client, queue = started
        client.config_set("lua-time-limit", 1)
        other = redis.Redis.from_url(server.url, socket_timeout=None, retry=None)
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(other.eval, "while true do end", 0)
            with pytest.raises(BackendUnavailable, match=r"BUSY|did not answer"):
                while True:
                    queue.counts()
            while not running.done():
                try:
                    client.script_kill()
                except redis.RedisError:
                    continue
            with pytest.raises(redis.ResponseError):
                running.result()
        other.close()
        assert queue.counts()[PENDING] == 0


class TestBlame:
    """Each error of a server is the right one of ours."""

    @pytest.mark.parametrize(
        ("error", "blamed", "message"),
        [
            (redis.ConnectionError("refused"), BackendUnavailable, "refused"),
            (redis.TimeoutError("late"), BackendUnavailable, "within 5 s"),
            (redis.exceptions.BusyLoadingError("x"), BackendUnavailable, "loading"),
            (redis.AuthenticationError("x"), BackendUnavailable, "credentials"),
            (redis.ResponseError("BUSY Redis is busy running a script"), BackendUnavailable, "BUSY"),
            (redis.exceptions.ClusterDownError("CLUSTERDOWN down"), BackendUnavailable, "CLUSTERDOWN down"),
            (redis.exceptions.ClusterDownError("down"), BackendUnavailable, "CLUSTERDOWN down"),
            (redis.exceptions.MasterDownError("down"), BackendUnavailable, "MASTERDOWN down"),
            (redis.exceptions.TryAgainError("later"), BackendUnavailable, "TRYAGAIN later"),
            (redis.exceptions.MovedError("7 h:1"), BackendUnavailable, "MOVED 7 h:1"),
            (redis.exceptions.AskError("7 h:1"), BackendUnavailable, "ASK 7 h:1"),
            (redis.exceptions.OutOfMemoryError("command not allowed"), WriteRefused, "nothing was changed"),
            (redis.ReadOnlyError("You can't write"), WriteRefused, "READONLY You"),
            (redis.ResponseError("MISCONF Redis is configured to save"), WriteRefused, "MISCONF"),
            (redis.ResponseError("NOREPLICAS Not enough good replicas"), WriteRefused, "NOREPLICAS"),
            (
                redis.ResponseError("Error running script (call to f_1): @user_script:5: -OOM command not allowed"),
                WriteRefused,
                "OOM",
            ),
            (
                redis.ResponseError("Error running script: @user_script: 5: -READONLY You can't write"),
                WriteRefused,
                "READONLY",
            ),
            (redis.ResponseError("WRONGTYPE Operation against a key"), OrchError, "prefix"),
            (redis.exceptions.NoPermissionError("this user"), OrchError, "grant"),
            (redis.exceptions.ClusterCrossSlotError("Keys"), OrchError, "hash tag"),
            (redis.ResponseError("ERR something else"), OrchError, "something else"),
        ],
    )
    def test_a_servers_error_is_blamed_right(self, error, blamed, message):
        found = Wire(redis.Redis())._blamed(error)
        assert type(found) is blamed
        assert message in str(found)

    def test_a_server_that_is_down_is_tried_once(self, monkeypatch):
        tried = []

        def refuse(connection):
            tried.append(connection)
            raise ConnectionRefusedError(111, "refused")

        monkeypatch.setattr(redis.Connection, "_connect", refuse)
        with pytest.raises(BackendUnavailable, match="refused"):
            Wire(redis.Redis()).command(b"PING")
        assert len(tried) == 1

    @pytest.mark.parametrize("stopped_by", [KeyboardInterrupt, redis.TimeoutError])
    def test_a_reply_that_nobody_waited_for_is_not_taken_for_the_next(self, real, monkeypatch, stopped_by):
        queue = real.queue()
        queue.enqueue(new_job())
        ((connection, _),) = queue._wire._idle

        def stop(**options):
            raise stopped_by

        monkeypatch.setattr(connection, "read_response", stop)
        with pytest.raises((KeyboardInterrupt, BackendUnavailable)):
            queue.counts()
        monkeypatch.undo()
        assert queue.get_job("a").id == "a"

    def test_after_closing_no_connection_is_kept(self, server):
        queue = server.queue()
        queue.close()
        assert queue.enqueue(new_job()) is True
        assert queue._wire._idle == []

    def test_a_fake_that_is_cut_off_is_an_outage(self):
        fake = fakeredis.FakeServer()
        queue = RedisQueue(fakeredis.FakeRedis(server=fake))
        queue.enqueue(new_job())
        fake.connected = False
        with pytest.raises(BackendUnavailable, match="cannot reach"):
            queue.dequeue()
        fake.connected = True
        assert queue.dequeue().id == "a"


# -- many at once -------------------------------------------------------------------------------------------------


class TestConcurrency:
    @pytest.mark.promise("Q4")
    def test_threads_on_one_queue_get_each_job_once(self, server):
        queue = server.queue()
        queue.enqueue_many([new_job(f"{i}") for i in range(200)])

        def work(name):
            taken = []
            reports = []
            while True:
                _, jobs = queue.exchange(reports, 3, name)
                if not jobs:
                    return taken
                taken += [job.id for job in jobs]
                reports = [Report(job.id, SUCCESS, lease=job.lease) for job in jobs]

        with ThreadPoolExecutor(4) as pool:
            taken = [id for ids in pool.map(work, ["w1", "w2", "w3", "w4"]) for id in ids]
        assert sorted(taken, key=int) == [f"{i}" for i in range(200)]
        assert queue.counts() == {PENDING: 0, RUNNING: 0, SUCCESS: 200, FAILED: 0}

    @pytest.mark.real
    @pytest.mark.promise("Q4")
    def test_processes_get_each_job_once(self, real, real_url):
        queue = real.queue()
        queue.enqueue_many([new_job(f"{i}") for i in range(200)])
        code = (
            "import sys, redis\nfrom orch.backends.redis import RedisQueue\n"
            "queue = RedisQueue(redis.Redis.from_url(sys.argv[1]), sys.argv[2])\n"
            "for job in iter(lambda: queue.dequeue(sys.argv[3]), None): print(job.id)\n"
        )
        arguments = [sys.executable, "-c", code, real_url, queue.key_prefix]
        workers = [subprocess.Popen([*arguments, f"w{i}"], stdout=subprocess.PIPE, text=True) for i in range(3)]
        taken = [id for worker in workers for id in worker.communicate()[0].split()]
        assert sorted(taken, key=int) == [f"{i}" for i in range(200)]

    @pytest.mark.real
    def test_a_forked_child_does_not_share_its_parents_connection(self, real, real_url):
        code = (
            "import os, sys, redis\nfrom orch.backends.redis import RedisQueue\n"
            "queue = RedisQueue(redis.Redis.from_url(sys.argv[1]), sys.argv[2])\n"
            "queue.counts()\n"
            "child = os.fork()\n"
            "ids = [queue.dequeue(str(os.getpid())).id for _ in range(100)]\n"
            "assert len(set(ids)) == 100\n"
            "if not child: os._exit(0)\n"
            "assert os.waitpid(child, 0)[1] == 0\n"
        )
        queue = real.queue()
        queue.enqueue_many([new_job(f"{i}") for i in range(200)])
        subprocess.run([sys.executable, "-c", code, real_url, queue.key_prefix], check=True)
        assert queue.count(RUNNING) == 200

    def test_a_thread_that_waits_does_not_hold_up_others(self, server):
        queue = server.queue()
        stop = threading.Event()
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(lambda: stop.wait(10) or None)
            for i in range(20):
                assert queue.enqueue(new_job(f"{i}"))
            stop.set()
            waiting.result()


# -- clusters and Sentinels ---------------------------------------------------------------------------------------


@pytest.mark.real
@pytest.mark.usefixtures("needs_server")
class TestCluster:
    @pytest.mark.promise("Q15")
    def test_one_slot_serves_a_queue_and_a_prefix_without_a_tag_is_refused(self, tmp_path, monkeypatch):
        with start_redis(tmp_path, cluster=True) as server:
            with pytest.raises(BackendUnavailable, match="hash tag"):
                open_queue(server.url)
            client = redis.Redis.from_url(server.url)
            clock = FakeClock()
            queue = RedisQueue(client, "{orch}:queue", clock=clock)
            live(queue)
            clock.advance(1)
            assert queue.purge(0) == 1
            monkeypatch.setenv("ORCH_KEY_PREFIX", "{orch}:queue")
            opened = open_queue(server.url)
            assert opened.counts() == queue.counts()
            for each in (queue, opened, client):
                each.close()

    def test_a_queue_follows_its_slot_to_another_node(self, tmp_path):
        config = {"cluster-enabled": "yes", "cluster-config-file": "nodes.conf"}
        with start_redis(tmp_path / "one", config=config) as one, start_redis(tmp_path / "two", config=config) as two:
            clients = [redis.Redis.from_url(server.url) for server in (one, two)]
            clients[0].execute_command("CLUSTER", "ADDSLOTS", *range(8192))
            clients[1].execute_command("CLUSTER", "ADDSLOTS", *range(8192, 16384))
            clients[0].execute_command("CLUSTER", "MEET", "127.0.0.1", two.port)
            deadline = time.monotonic() + 20
            while any(client.cluster("info")["cluster_state"] != "ok" for client in clients):
                assert time.monotonic() < deadline
                time.sleep(0.02)
            slots = {name: clients[0].cluster("keyslot", f"{{{name}}}") for name in "abcdefgh"}
            here = next(name for name, slot in slots.items() if slot <= 8191)
            there = next(name for name, slot in slots.items() if slot > 8191)
            many = redis.RedisCluster.from_url(one.url)
            for client, name in itertools.product((clients[0], many), (here, there)):
                queue = RedisQueue(client, f"{{{name}}}:queue")
                queue.enqueue(new_job(f"{next(_numbers)}"))
                assert queue.dequeue(wait_s=0.01) is not None
                queue.close()
            assert [client.dbsize() > 0 for client in clients] == [True, True]
            for client in (*clients, many):
                client.close()


@pytest.mark.real
@pytest.mark.usefixtures("needs_server")
class TestSentinel:
    def test_a_queue_finds_its_master_through_sentinels(self, tmp_path):
        with start_redis(tmp_path / "master") as master:
            (tmp_path / "sentinel").mkdir()
            monitor = {"sentinel": f"monitor jobs 127.0.0.1 {master.port} 1"}
            with start_redis(tmp_path / "sentinel", config=monitor, sentinel=True) as sentinel:
                queue = open_queue(f"redis+sentinel://127.0.0.1:1,127.0.0.1:{sentinel.port}/jobs/2")
                assert queue.enqueue(new_job())
                assert queue.dequeue().id == "a"
                queue.close()
                with redis.Redis.from_url(master.url) as client:
                    assert client.info("keyspace").keys() == {"db2"}
                with pytest.raises(BackendUnavailable, match="nowhere"):
                    open_queue(f"redis+sentinel://127.0.0.1:{sentinel.port}/nowhere")
