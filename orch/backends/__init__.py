"""The backends, one file each; they do not know each other. Here a queue is opened by its URL."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from orch.checks import shown
from orch.errors import InvalidInput
from orch.queue import PersistentQueue
from orch.settings import Settings

__all__ = ["get_queue_backend", "open_queue", "open_shared_queue", "safe_url"]

_FORMS = "memory://, sqlite:///file.db, sqlite:////abs/file.db, redis://host:port/db, rediss://… or redis+sentinel://…"


def open_queue(url: str, *, settings: Settings | None = None) -> PersistentQueue:
    """The queue behind a URL: `memory://`, `sqlite:///rel.db`, `sqlite:////abs.db?synchronous=FULL`, `redis://…`,
    `rediss://…`, `redis+sentinel://host:port[,host:port]/service[/db]`.

    `settings` gives lease, crash budget and key prefix (default: the environment's). The store is reached, and made
    where it is a new file, before this returns. Raises `InvalidInput` for a URL that is none of these and
    `BackendUnavailable` for a store that cannot be used; never answers with another backend (Q15).
    """
    settings = Settings.from_env() if settings is None else settings
    common: dict[str, Any] = {"lease_s": settings.lease_s, "max_crashes": settings.max_crashes}
    if not isinstance(url, str):
        raise InvalidInput(f"a queue URL must be text, got {shown(url)}; one of {_FORMS}")
    scheme = url.partition("://")[0].lower() if "://" in url else ""
    if scheme == "memory":
        if len(url) > len("memory://"):
            raise InvalidInput(f"memory:// takes nothing more, got {shown(safe_url(url))}")
        from orch.backends.memory import MemoryQueue

        return MemoryQueue(**common)
    if scheme == "sqlite":
        path, options = _sqlite_parts(url)
        from orch.backends.sqlite import SqliteQueue

        return SqliteQueue(path, **options, **common)
    if scheme in ("redis", "rediss", "redis+sentinel", "unix"):
        from orch.backends.redis import open_redis

        return open_redis(url, key_prefix=settings.key_prefix, **common)
    raise InvalidInput(f"no queue backend for {shown(safe_url(url))}: use one of {_FORMS}")


def get_queue_backend() -> PersistentQueue:
    """The queue that the environment names: `QUEUE_BACKEND` with `REDIS_URL` or `ORCH_SQLITE_PATH`."""
    settings = Settings.from_env()
    return open_queue(url_of(settings), settings=settings)


def open_shared_queue(url: str | None = None, *, settings: Settings | None = None) -> PersistentQueue:
    """The queue that several processes share: of `url`, or the one that the environment names.

    As `open_queue`; and refuses `memory://`, where each process would look at a queue of its own and find it empty.
    """
    settings = Settings.from_env() if settings is None else settings
    url = url_of(settings) if url is None else url
    if isinstance(url, str) and url.partition(":")[0].lower() == "memory":
        raise InvalidInput(
            "memory:// lives in one process, so this command would see an empty queue of its own: "
            "give --url sqlite:///orch.db or redis://host, or set QUEUE_BACKEND"
        )
    return open_queue(url, settings=settings)


def url_of(settings: Settings) -> str:
    """The URL of the queue that the settings name."""
    if settings.backend == "redis":
        return settings.redis_url
    if settings.backend == "sqlite":
        return f"sqlite:///{settings.sqlite_path}"
    return "memory://"


def safe_url(url: str) -> str:
    """The URL without its password, for messages."""
    head, at, tail = url.rpartition("@")
    if not at:
        return url
    scheme, sep, user = head.partition("://")
    name = user.partition(":")[0] if sep else ""
    return f"{scheme}{sep}{name}:***@{tail}" if sep else f"***@{tail}"


def _sqlite_parts(url: str) -> tuple[str, dict[str, Any]]:
    parts = urlsplit(url)
    if parts.netloc or not parts.path.startswith("/") or len(parts.path) < 2:
        raise InvalidInput(f"a SQLite URL is sqlite:///relative.db or sqlite:////absolute.db, got {shown(url)}")
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    unknown = sorted(set(options) - {"synchronous"})
    if unknown or parts.fragment:
        raise InvalidInput(f"a SQLite URL takes only ?synchronous=NORMAL or FULL, got {shown(url)}")
    return unquote(parts.path[1:]), options
