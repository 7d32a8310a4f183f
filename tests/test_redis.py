"""RedisQueue keeps the contract on a fake and on a real server; its own dangers are below."""

from __future__ import annotations

import itertools

import pytest

from orch.testing import FakeClock, QueueContract
from orch.testing.servers import redis_url

redis = pytest.importorskip("redis")
fakeredis = pytest.importorskip("fakeredis")

from orch.backends.redis import RedisQueue  # noqa: E402  # needs the two above

_numbers = itertools.count()


@pytest.fixture(scope="session")
def real_url(tmp_path_factory):
    """A server for the whole run; tests keep apart by their key prefixes."""
    with redis_url(tmp_path_factory.mktemp("redis")) as url:
        if url is None:
            pytest.skip("no redis-server here")
        yield url


class Server:
    """Queues on one real server, each with keys of its own, which are removed at the end."""

    def __init__(self, url):
        self.client = redis.Redis.from_url(url)
        self.prefix = f"orch-test-{next(_numbers)}"

    def queue(self, clock=None, **options):
        return RedisQueue(self.client, f"{self.prefix}:{next(_numbers)}", clock=clock, **options)

    def close(self):
        keys = list(self.client.scan_iter(f"{self.prefix}:*", count=1000))
        if keys:
            self.client.delete(*keys)
        self.client.close()


@pytest.fixture
def server(real_url):
    server = Server(real_url)
    yield server
    server.close()


class TestFakeRedisContract(QueueContract):
    def make_queue(self, clock: FakeClock) -> RedisQueue:
        return RedisQueue(fakeredis.FakeRedis(), clock=clock)


@pytest.mark.real
class TestRealRedisContract(QueueContract):
    """With a client that decodes its answers, which must make no difference."""

    @pytest.fixture(autouse=True)
    def _server(self, server):
        self.server = server

    def make_queue(self, clock: FakeClock) -> RedisQueue:
        return self.server.queue(clock)
