"""The environment, and queues by their URL."""

import pytest

from orch import MemoryQueue, open_queue
from orch.backends import get_queue_backend, safe_url, url_of
from orch.errors import InvalidInput
from orch.settings import Settings


def test_an_empty_environment_gives_the_seeds_defaults():
    settings = Settings.from_env({})
    assert settings == Settings()
    assert (settings.backend, settings.redis_url) == ("memory", "redis://localhost:6379/0")
    assert (settings.max_jobs_per_drain, settings.max_parallel, settings.tick_ms) == (100, 3, 1000)
    assert settings.events_path == "logs/orchestrator_events.jsonl"
    assert settings.state_path == "logs/orchestrator_state.jsonl"


def test_every_variable_is_read():
    settings = Settings.from_env(
        {
            "QUEUE_BACKEND": "SQLite",
            "REDIS_URL": "redis://h:1/2",
            "ORCH_SQLITE_PATH": "q.db",
            "ORCH_KEY_PREFIX": "p",
            "ORCH_LEASE_S": "2.5",
            "ORCH_MAX_CRASHES": "0",
            "ORCH_GRACE_S": "0",
            "ORCH_DAG_ROOT": "dags",
            "ORCH_WORKFLOWS": "a, b.c,",
            "ORCH_EVENTS_PATH": "e",
            "STATE_STORE_PATH": "s",
            "SCHED_MAX_JOBS_PER_DRAIN": "7",
            "SCHED_MAX_PARALLEL": "2",
            "SCHED_TICK_MS": "50",
            "ORCH_PANEL_WINDOW_H": "1",
        }
    )
    assert settings == Settings(
        "sqlite", "redis://h:1/2", "q.db", "p", 2.5, 0, 0.0, "dags", ("a", "b.c"), "e", "s", 7, 2, 50, 1.0
    )


@pytest.mark.promise("Q15")
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("QUEUE_BACKEND", "sqs"),
        ("QUEUE_BACKEND", "redis "),
        ("ORCH_LEASE_S", "0"),
        ("ORCH_LEASE_S", "soon"),
        ("ORCH_MAX_CRASHES", "-1"),
        ("ORCH_MAX_CRASHES", "many"),
        ("ORCH_GRACE_S", "nan"),
        ("SCHED_TICK_MS", "-1"),
        ("SCHED_TICK_MS", "abc"),
        ("SCHED_MAX_JOBS_PER_DRAIN", "0"),
        ("SCHED_MAX_PARALLEL", "0"),
        ("ORCH_PANEL_WINDOW_H", "0"),
    ],
)
def test_a_bad_value_is_an_error_that_names_the_variable_and_the_value(name, value):
    with pytest.raises(InvalidInput, match=name) as caught:
        Settings.from_env({name: value})
    assert value.strip() in str(caught.value)


@pytest.mark.promise("Q15")
@pytest.mark.parametrize(
    "url",
    [
        "sqs://x",
        "",
        "orch.db",
        "redis",
        "memory://x",
        "sqlite://",
        "sqlite:///",
        "sqlite://host/x.db",
        "sqlite:///a.db?x=1",
        5,
    ],
)
def test_a_url_that_names_no_queue_is_refused_with_the_forms_that_exist(url):
    with pytest.raises(InvalidInput, match=r"sqlite|memory"):
        open_queue(url)


@pytest.mark.promise("Q15")
def test_a_password_is_never_printed():
    with pytest.raises(InvalidInput) as caught:
        open_queue("amqp://me:s3cret@host/1")
    assert "s3cret" not in str(caught.value)
    assert "amqp://me:***@host/1" in str(caught.value)
    assert safe_url("redis://:p@ss@h:1") == "redis://:***@h:1"
    assert safe_url("redis://h:1") == "redis://h:1"
    assert safe_url("user:pw@h") == "***@h"


def test_the_settings_name_one_url():
    assert url_of(Settings()) == "memory://"
    assert url_of(Settings(backend="sqlite", sqlite_path="q.db")) == "sqlite:///q.db"
    assert url_of(Settings(backend="redis", redis_url="redis://h")) == "redis://h"


def test_the_environment_opens_its_queue(monkeypatch):
    for name in ("QUEUE_BACKEND", "ORCH_LEASE_S"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ORCH_LEASE_S", "7")
    queue = get_queue_backend()
    assert isinstance(queue, MemoryQueue)
    assert queue.lease_s == 7.0
