"""How one request gets to a Redis and back: connections, errors by blame, and no repetition on its own.

A client's settings are copied, its connections are not used: a command with an effect must never be sent twice
behind our back (redis-py retries by default, also after a time-out), every wait must have an end, and answers must
stay bytes whatever `decode_responses` says. A lost reply is `BackendUnavailable`; the caller repeats, and Q8 makes
that harmless.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import unquote, urlsplit

from orch.checks import shown
from orch.errors import BackendUnavailable, InvalidInput, OrchError, WriteRefused

try:
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry
except ImportError:
    raise BackendUnavailable("the package redis is not installed: pip install 'orch[redis]'") from None

SOCKET_TIMEOUT_S = 5.0  # where the client names none
_FRESH_S = 1.0  # a connection that was used so recently is not looked at before it is used again
_REDIRECTS_MAX = 5
_FORMS = "redis://host:port/db, rediss://…, unix:///path?db=0 or redis+sentinel://host:port,host:port/service/db"

# redis-py takes the code off the text where it has a class for it. Else it stands at the start (Redis 7, Valkey), or
# after the words of the script that met it (Redis 6.2).
_CODES = {
    redis.exceptions.OutOfMemoryError: "OOM",
    redis.exceptions.ReadOnlyError: "READONLY",
    redis.exceptions.MasterDownError: "MASTERDOWN",
    redis.exceptions.ClusterDownError: "CLUSTERDOWN",
    redis.exceptions.TryAgainError: "TRYAGAIN",
    redis.exceptions.MovedError: "MOVED",
    redis.exceptions.AskError: "ASK",
    redis.exceptions.NoPermissionError: "NOPERM",
    redis.exceptions.ClusterCrossSlotError: "CROSSSLOT",
}
_REFUSED = re.compile(r"\b(OOM|READONLY|MISCONF|NOREPLICAS)\b")
_AWAY = re.compile(r"\b(BUSY|CLUSTERDOWN|MASTERDOWN|TRYAGAIN|MOVED|ASK)\b|max number of clients")
_HINTS = {
    "NOPERM": "grant this user the commands and keys of the queue",
    "WRONGTYPE": "a key of the queue's prefix belongs to something else; choose another key prefix",
    "CROSSSLOT": "in a cluster the key prefix needs a hash tag, as in {orch}:queue",
}


class Wire:
    """A small pool of connections with a client's settings.

    Thread-safe; after a fork the child opens its own. `client` is a `redis.Redis` (also of a Sentinel, or a fake) or
    a `redis.RedisCluster`. All keys of a queue are in one slot, so one node serves it; when the slot moves, so does
    the wire.
    """

    def __init__(self, client: Any, *, name: str | None = None) -> None:
        self._client = client  # kept: a Sentinel's pool answers its connections only as long as it lives
        self._homes = _homes(client)
        self._class, self._kwargs = self._homes[0]
        self.name = name or _name_of(self._kwargs)
        self.timeout_s: float = self._kwargs["socket_timeout"]
        self._idle: list[tuple[Any, float]] = []
        self._closed = False

    def send(self, packed: bytes, *, whole: Callable[[], bytes] | None = None) -> Any:
        """Send one packed command and return its reply, undecoded.

        `whole` is what to send where the server does not know the script of the command, and so has done nothing.
        Raises `BackendUnavailable`, `WriteRefused` or `OrchError`.
        """
        redirects = 0
        while True:
            connection = self._take()
            try:
                connection.send_packed_command((packed,), check_health=False)
                reply = connection.read_response(disable_decoding=True)
            except redis.ResponseError as error:  # a whole answer: the connection is still in step
                self._give_back(connection)
                if isinstance(error, redis.exceptions.MovedError) and redirects < _REDIRECTS_MAX:
                    redirects += 1
                    self._move(error.host, error.port)
                    continue
                if whole is None or not isinstance(error, redis.exceptions.NoScriptError):
                    raise self._blamed(error) from error
                packed, whole = whole(), None
            except redis.RedisError as error:
                connection.disconnect()
                self._go_home()
                raise self._blamed(error) from error
            except BaseException:
                connection.disconnect()  # a reply may still come: it must not become the next command's
                raise
            else:
                self._give_back(connection)
                return reply

    def command(self, *words: bytes) -> Any:
        """Send one command given by its words."""
        return self.send(b"*%d\r\n" % len(words) + pack(words))

    def close(self) -> None:
        """Close the idle connections, and those in use as they come back."""
        self._closed = True
        while self._idle:
            self._idle.pop()[0].disconnect()

    def _take(self) -> Any:
        try:
            connection, used = self._idle.pop()
        except IndexError:
            return self._connected()
        if connection.pid != os.getpid():  # of the parent process, which goes on using it
            self._idle.clear()
            return self._connected()
        if time.monotonic() - used > _FRESH_S and _is_stale(connection):
            connection.disconnect()
            return self._connected()
        return connection

    def _connected(self) -> Any:
        try:
            connection = self._class(**self._kwargs)
            connection.connect()
        except (redis.RedisError, OSError) as error:
            self._go_home()
            raise self._blamed(error) from error
        except (TypeError, ValueError, AttributeError) as error:  # a URL option that the client does not know
            raise InvalidInput(f"the options of {self.name} are not usable: {type(error).__name__}") from None
        return connection

    def _give_back(self, connection: Any) -> None:
        if self._closed:
            connection.disconnect()
        else:
            self._idle.append((connection, time.monotonic()))

    def _move(self, host: str, port: int) -> None:
        """The cluster says that another node has our slot."""
        self._kwargs = {**self._kwargs, "host": host or self._kwargs.get("host"), "port": port}
        self._drop_idle()

    def _go_home(self) -> None:
        """Next time, ask a node that the caller named: the one in use may be gone for good."""
        self._homes = self._homes[1:] + self._homes[:1]
        self._class, self._kwargs = self._homes[0]
        self._drop_idle()

    def _drop_idle(self) -> None:
        while self._idle:
            self._idle.pop()[0].disconnect()

    def _blamed(self, error: Exception) -> OrchError:
        """The error of ours that says whose fault it is."""
        text = str(error)
        code = next((code for kind, code in _CODES.items() if isinstance(error, kind)), "")
        if code and not text.startswith(code):
            text = f"{code} {text}"
        what = f"{self.name}: {text}"
        if isinstance(error, redis.AuthenticationError | redis.exceptions.AuthorizationError):
            return BackendUnavailable(f"{self.name} refuses the credentials ({text}); check user and password")
        if isinstance(error, redis.exceptions.BusyLoadingError):
            return BackendUnavailable(f"{self.name} is loading its data; try again in a moment")
        if isinstance(error, redis.TimeoutError):
            return BackendUnavailable(f"{self.name} did not answer within {self.timeout_s:g} s: {text}")
        if isinstance(error, redis.ConnectionError | OSError):
            return BackendUnavailable(f"cannot reach {self.name}: {text or type(error).__name__}; is it running?")
        if _REFUSED.search(text):
            return WriteRefused(f"{what}; nothing was changed")
        if _AWAY.search(text):
            return BackendUnavailable(f"{what}; try again in a moment")
        hint = next((f"; {hint}" for word, hint in _HINTS.items() if word in text), "")
        return OrchError(f"{what}{hint}")


def pack(words: Iterable[bytes]) -> bytes:
    """The words of a command as they go over the wire, without their count."""
    return b"".join([b"$%d\r\n%b\r\n" % (len(word), word) for word in words])


def client_of(url: str, *, shown_url: str) -> Any:
    """A client for a URL; nothing is sent yet. Raises `InvalidInput`, which shows `shown_url` only."""
    problem = InvalidInput(f"a Redis URL is {_FORMS}, got {shown(shown_url)}")
    try:
        parts = urlsplit(url)
        parts.port if "," not in parts.netloc else None  # noqa: B018  # raises when it is no number
    except ValueError:
        raise problem from None
    if parts.fragment:  # an unescaped # in a password would silently cut the URL
        raise problem
    if parts.scheme.lower() == "redis+sentinel":
        return _sentinel_client(url, problem)
    timeouts = {"socket_timeout": SOCKET_TIMEOUT_S}
    if parts.scheme.lower() == "unix":
        if not parts.path:
            raise problem
    elif not re.fullmatch(r"/?[0-9]*", parts.path):  # redis-py would take any other text for database 0
        raise problem
    else:
        timeouts["socket_connect_timeout"] = SOCKET_TIMEOUT_S
    try:
        return redis.Redis.from_url(url, **timeouts)
    except Exception:  # its messages may show parts of a password
        raise problem from None


def _sentinel_client(url: str, problem: InvalidInput) -> Any:
    """A client of the master that Sentinels name: redis+sentinel://[user:password@]host[:port],…/service[/db].

    User and password are the master's; Sentinels that want a password of their own are not served by a URL.
    """
    from redis.sentinel import Sentinel

    credentials, _, hosts = urlsplit(url).netloc.rpartition("@")
    user, _, password = credentials.partition(":")
    service, _, db = urlsplit(url).path.strip("/").partition("/")
    nodes = []
    for node in hosts.split(","):
        match = re.fullmatch(r"(\[[^\]]+\]|[^:\[\]]+)(?::([0-9]{1,5}))?", node)
        if match is None:
            raise problem
        nodes.append((match[1].strip("[]"), int(match[2] or 26379)))
    if not service or not re.fullmatch(r"[0-9]*", db) or urlsplit(url).query:
        raise problem
    timeouts = {"socket_timeout": SOCKET_TIMEOUT_S, "socket_connect_timeout": SOCKET_TIMEOUT_S}
    make: Any = Sentinel  # which carries no types
    sentinel = make(nodes, sentinel_kwargs={**timeouts, "retry": _no_retry()}, **timeouts)
    return sentinel.master_for(
        unquote(service), username=unquote(user) or None, password=unquote(password) or None, db=int(db or 0)
    )


def _homes(client: Any) -> list[tuple[Any, dict[str, Any]]]:
    """Where to connect and how: a connection class and its arguments, several for a cluster."""
    if hasattr(client, "get_redis_connection"):
        nodes = client.get_nodes()
        pools = [client.get_redis_connection(node).connection_pool for node in nodes]
    elif hasattr(client, "connection_pool"):
        pools = [client.connection_pool]
    else:
        raise InvalidInput(f"RedisQueue takes a client of the package redis, got {shown(client)}")
    return [(pool.connection_class, _settings(pool.connection_kwargs)) for pool in pools]


def _settings(given: dict[str, Any]) -> dict[str, Any]:
    """A client's connection arguments with what a queue must have."""
    # Notices of planned maintenance come as pushes of RESP3, and their handlers hold on to the client's own pool.
    kept = {name: value for name, value in given.items() if not name.startswith(("maint_", "oss_", "orig_"))}
    for name in ("socket_timeout", "socket_connect_timeout"):
        if kept.get(name) is None and ("path" not in kept or name == "socket_timeout"):
            kept[name] = SOCKET_TIMEOUT_S
    kept |= {
        "protocol": 2,
        "retry": _no_retry(),
        "retry_on_error": [],
        "retry_on_timeout": False,
        "health_check_interval": 0,
    }
    return kept


def _no_retry() -> Any:
    return Retry(NoBackoff(), 0)


def _is_stale(connection: Any) -> bool:
    """True when an idle connection was closed by the other side, or holds what nobody asked for."""
    try:
        return bool(connection.can_read(0))
    except (redis.RedisError, OSError):
        return True


def _name_of(kwargs: dict[str, Any]) -> str:
    if "path" in kwargs:
        return f"Redis at {kwargs['path']}"
    if "connection_pool" in kwargs:  # of a Sentinel, which has no address of its own
        return f"Redis, service {kwargs['connection_pool'].service_name!r} of its Sentinels"
    return f"Redis at {kwargs.get('host', 'localhost')}:{kwargs.get('port', 6379)}"
