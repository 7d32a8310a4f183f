"""A TCP proxy on loopback that cuts, tears, delays and holds what passes between clients and one server.

Each client process has a port of its own, its lane, so that it can be cut off alone. One thread serves all
connections. Nothing here knows what is spoken: what a client sends in one piece counts as a request, the next piece
from the server as its reply.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

_HOST = "127.0.0.1"
_PIECE = 256 * 1024


@dataclass(slots=True)
class _Order:
    """A cut that waits for the next request on its lane, or on any."""

    how: str
    lane: str | None
    seconds: float


class _Side:
    """One of the two sockets of a link, and what is to be sent through it."""

    __slots__ = ("link", "out", "release_at", "socket", "to_server")

    def __init__(self, link: _Link, sock: socket.socket, *, to_server: bool) -> None:
        self.link = link
        self.socket = sock
        self.to_server = to_server
        self.out = bytearray()
        self.release_at = 0.0  # what is to be sent is held back until then


class _Link:
    """A client's connection and the one to the server that goes with it."""

    __slots__ = ("client", "closing", "cut", "lane", "server")

    def __init__(self, lane: str, client: socket.socket, server: socket.socket) -> None:
        self.lane = lane
        self.client = _Side(self, client, to_server=False)
        self.server = _Side(self, server, to_server=True)
        self.cut: _Order | None = None  # what is done to the reply
        self.closing = False  # the server's side is closed as soon as it has got everything


class Proxy:
    """Passes everything on until it is told otherwise. `ports` has the port of each lane.

    As a context manager it closes every connection at the end.
    """

    def __init__(self, server: tuple[str, int], lanes: Sequence[str]) -> None:
        self.server = server
        self.ports: dict[str, int] = {}
        self.done: Counter[str] = Counter()  # cuts that hit something, by kind
        self._selector = selectors.DefaultSelector()
        self._links: set[_Link] = set()
        self._orders: list[_Order] = []
        self._held: dict[str, float] = {}  # lane -> nothing passes until then
        self._frozen = False
        self._todo: list[tuple[Callable[[], None], threading.Event]] = []
        self._lock = threading.Lock()
        self._over = False
        self._wake, wake = socket.socketpair()
        self._wake.setblocking(False)
        self._waker = wake
        self._selector.register(self._wake, selectors.EVENT_READ, "wake")
        self._listeners: list[socket.socket] = []
        for lane in lanes:
            listener = socket.create_server((_HOST, 0), backlog=64)
            listener.setblocking(False)
            self._listeners.append(listener)
            self._selector.register(listener, selectors.EVENT_READ, lane)
            self.ports[lane] = listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, name="torture-proxy", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- what can be asked, from any other thread ------------------------------------------------------------------

    def cut(self, how: str, lane: str | None = None, *, seconds: float = 0.0) -> None:
        """Do this (see `orch.torture.plan.CUTS`) to the next request on a lane, or on any; `seconds` of a delay."""
        self._ask(lambda: self._orders.append(_Order(how, lane, seconds)))

    def isolate(self, lane: str, seconds: float) -> None:
        """Hold everything on a lane for so long; what was sent meanwhile arrives afterwards."""

        def hold() -> None:
            self._held[lane] = max(self._held.get(lane, 0.0), time.monotonic() + seconds)
            self.done["isolate"] += 1

        self._ask(hold)

    def freeze_replies(self) -> None:
        """What the server answers from the return on reaches nobody, until `drop_all`; requests still pass."""
        self._ask(lambda: setattr(self, "_frozen", True))

    def drop_all(self) -> int:
        """Close every connection, with what is under way on it, and thaw; returns how many there were."""
        count = 0

        def drop() -> None:
            nonlocal count
            count = len(self._links)
            for link in list(self._links):
                self._close(link)
            self._frozen = False

        self._ask(drop)
        return count

    def calm(self) -> None:
        """Forget the cuts that are still to come, and let everything pass."""

        def forget() -> None:
            self._orders.clear()
            self._held.clear()
            self._frozen = False

        self._ask(forget)

    def close(self) -> None:
        """Close everything and end the thread."""
        if not self._over:
            self._ask(lambda: setattr(self, "_over", True))
            self._thread.join()

    def _ask(self, act: Callable[[], None]) -> None:
        done = threading.Event()
        with self._lock:
            self._todo.append((act, done))
        with contextlib.suppress(OSError):  # it was awake, has done it, and that was the last thing that it did
            self._waker.send(b"!")
        while not done.wait(0.1):
            if not self._thread.is_alive():
                raise RuntimeError("the proxy's thread has ended; see its traceback on stderr")

    # -- the thread -------------------------------------------------------------------------------------------------

    def _serve(self) -> None:
        try:
            while not self._over:
                for key, events in self._selector.select(self._pause()):
                    if key.data == "wake":
                        with contextlib.suppress(BlockingIOError):
                            self._wake.recv(4096)
                    elif isinstance(key.data, str):
                        self._accept(key.fileobj, key.data)  # type: ignore[arg-type]  # a listener
                    elif key.data.link in self._links:
                        self._act(key.data, events)
                self._obey()
                self._watch_all()
        finally:
            for link in list(self._links):
                self._close(link)
            for sock in (*self._listeners, self._wake, self._waker):
                sock.close()
            self._selector.close()

    def _pause(self) -> float | None:
        """Seconds until something that is held back may pass."""
        times = [side.release_at for link in self._links for side in (link.client, link.server) if side.out]
        times += self._held.values()
        now = time.monotonic()
        later = [at for at in times if at > now]
        return max(0.0, min(later) - now) if later else None

    def _obey(self) -> None:
        with self._lock:
            todo, self._todo = self._todo, []
        for act, done in todo:
            act()
            done.set()

    def _accept(self, listener: socket.socket, lane: str) -> None:
        try:
            client, _ = listener.accept()
        except OSError:
            return
        try:
            server = socket.create_connection(self.server, timeout=2.0)
        except OSError:  # the server is down: so are we, for this client
            client.close()
            return
        for sock in (client, server):
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        link = _Link(lane, client, server)
        self._links.add(link)
        for side in (link.client, link.server):
            self._selector.register(side.socket, selectors.EVENT_READ, side)

    def _act(self, side: _Side, events: int) -> None:
        link = side.link
        if events & selectors.EVENT_READ and self._may_read(side):
            try:
                data = side.socket.recv(_PIECE)
            except BlockingIOError:
                data = None
            except OSError:
                data = b""
            if data == b"":
                self._close(link)
                return
            if data is not None:
                self._pass(side, data)
        if link in self._links and events & selectors.EVENT_WRITE:
            self._send(side)

    def _pass(self, side: _Side, data: bytes) -> None:
        """Hand on a piece that came from this side, and do to it what was ordered."""
        link = side.link
        if side.to_server:
            self._reply(link, data)
            return
        order = self._next_order(link.lane)
        how = None if order is None else order.how
        if how == "before":
            self._close(link)
            return
        if how == "torn":
            data = data[: max(1, len(data) // 2)]
        link.server.out += data
        if how in ("torn", "after"):
            link.closing = True
            self._forget_side(link.client)
        elif how == "late request" and order is not None:
            link.server.release_at = time.monotonic() + order.seconds
        elif how is not None:
            link.cut = order
        self._send(link.server)

    def _reply(self, link: _Link, data: bytes) -> None:
        order, link.cut = link.cut, None
        if link.closing:
            return
        if order is not None and order.how == "reply":
            self._close(link)
            return
        if order is not None and order.how == "torn reply":
            with contextlib.suppress(OSError):
                link.client.socket.send(bytes(link.client.out) + data[: max(1, len(data) // 2)])
            self._close(link)
            return
        if order is not None and order.how == "late reply":
            link.client.release_at = time.monotonic() + order.seconds
        link.client.out += data
        self._send(link.client)

    def _next_order(self, lane: str) -> _Order | None:
        for order in self._orders:
            if order.lane in (None, lane):
                self._orders.remove(order)
                self.done[order.how] += 1
                return order
        return None

    def _may_read(self, side: _Side) -> bool:
        return not self._isolated(side) and not (self._frozen and side.to_server)

    def _may_send(self, side: _Side) -> bool:
        if not side.out or side.release_at > time.monotonic():
            return False
        return not self._isolated(side)

    def _isolated(self, side: _Side) -> bool:
        return self._held.get(side.link.lane, 0.0) > time.monotonic()

    def _send(self, side: _Side) -> None:
        link = side.link
        if not self._may_send(side):
            return
        try:
            sent = side.socket.send(side.out)
        except BlockingIOError:
            return
        except OSError:
            self._close(link)
            return
        del side.out[:sent]
        if link.closing and not link.server.out:
            self._close(link)

    def _watch_all(self) -> None:
        """Tell the selector what we want to hear of next."""
        for link in list(self._links):
            for side in (link.client, link.server):
                if side.socket.fileno() < 0:
                    continue
                self._send(side)
                if link not in self._links:
                    break
                events = selectors.EVENT_READ if self._may_read(side) else 0
                if self._may_send(side):
                    events |= selectors.EVENT_WRITE
                self._watch(side, events)

    def _watch(self, side: _Side, events: int) -> None:
        known = self._selector.get_map().get(side.socket)
        if known is None:
            if events:
                self._selector.register(side.socket, events, side)
        elif not events:
            self._selector.unregister(side.socket)
        elif known.events != events:
            self._selector.modify(side.socket, events, side)

    def _forget_side(self, side: _Side) -> None:
        """Close one side of a link only."""
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(side.socket)
        side.socket.close()

    def _close(self, link: _Link) -> None:
        self._links.discard(link)
        self._forget_side(link.client)
        self._forget_side(link.server)
