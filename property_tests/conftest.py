"""Profiles of the property tests, chosen by `HYPOTHESIS_PROFILE`: quick at the desk, ci in CI, deep by time.

quick and ci do the same each time. deep finds new things: it is not derandomised, keeps Hypothesis's database, and
goes on for `ORCH_DEEP_S` seconds a backend (default 600) from a seed that it prints.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, settings

from orch.testing.servers import redis_url
from orch.testing.stores import RedisStore, SqliteStore, memory_store

PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "quick")

settings.register_profile("quick", deadline=None, max_examples=30, derandomize=True, database=None)
settings.register_profile(
    "ci",
    deadline=None,
    max_examples=200,
    derandomize=True,
    database=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("deep", deadline=None, max_examples=5_000, print_blob=True)
settings.load_profile(PROFILE)


@dataclass(frozen=True)
class Effort:
    """How much of a machine is run: traces of the fast driver, examples of Hypothesis, or seconds."""

    traces: int
    examples: int
    seed: int = 0
    seconds: float | None = None

    def stop(self):
        """A function that says when the time is over; None if time does not matter."""
        if self.seconds is None:
            return None
        end = time.monotonic() + self.seconds
        return lambda: time.monotonic() > end


EFFORTS = {  # traces and examples by profile, for a backend
    "memory": {"quick": (300, 30), "ci": (5_000, 200)},
    "sqlite": {"quick": (30, 5), "ci": (500, 40)},
    "fakeredis": {"quick": (8, 2), "ci": (130, 20)},
    "redis": {"quick": (30, 5), "ci": (500, 40)},
}


def effort(backend: str) -> Effort:
    if PROFILE == "deep":
        seconds = float(os.environ.get("ORCH_DEEP_S", "600"))
        return Effort(10**9, 5_000, int(os.environ.get("ORCH_SEED", time.time_ns() % 10**9)), seconds)
    traces, examples = EFFORTS[backend][PROFILE]
    return Effort(traces, examples)


@pytest.fixture(params=list(EFFORTS))
def backend(request):
    """A backend's name and its store."""
    return request.param


@pytest.fixture
def store(backend, tmp_path):
    if backend == "memory":
        yield memory_store
    elif backend == "sqlite":
        yield SqliteStore(tmp_path)
    elif backend == "fakeredis":
        fakeredis = pytest.importorskip("fakeredis")
        client = fakeredis.FakeRedis()
        yield RedisStore(client)
        client.close()
    else:
        redis = pytest.importorskip("redis")
        with redis_url(tmp_path) as url:
            if url is None:
                pytest.skip("no redis-server or valkey-server here")
            client = redis.Redis.from_url(url, db=9)
            yield RedisStore(client)
            client.flushdb()
            client.close()


@pytest.fixture
def tried(backend):
    """How hard the backend is tried."""
    return effort(backend)
