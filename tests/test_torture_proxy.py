"""The proxy passes what it should and does to the rest what was ordered."""

import contextlib
import socket
import threading

import pytest

from orch.torture.proxy import Proxy

pytestmark = pytest.mark.real


class Echo:
    """A server that answers each request `x` with `<x>` and remembers it."""

    def __init__(self):
        self.seen = []
        self.came = threading.Condition()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = self.listener.getsockname()
        self.threads = []
        self.connections = []
        self.start(self.accept)

    def start(self, target, *given):
        thread = threading.Thread(target=target, args=given)
        thread.start()
        self.threads.append(thread)

    def accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.connections.append(connection)
            self.start(self.serve, connection)

    def serve(self, connection):
        with connection:
            while data := self.read(connection):
                with self.came:
                    self.seen.append(data)
                    self.came.notify_all()
                if data.endswith(b"."):
                    try:
                        connection.sendall(b"<" + data + b">")
                    except OSError:
                        return

    @staticmethod
    def read(connection):
        try:
            return connection.recv(100)
        except OSError:
            return b""

    def wait_for(self, data):
        with self.came:
            assert self.came.wait_for(lambda: data in self.seen, 10)

    def down(self):
        if self.listener.fileno() >= 0:
            self.listener.shutdown(socket.SHUT_RDWR)
            self.listener.close()

    def close(self):
        self.down()
        for connection in self.connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self.threads:
            thread.join()


@pytest.fixture
def echo():
    server = Echo()
    yield server
    server.close()


@pytest.fixture
def proxy(echo):
    with Proxy(echo.address, ["a", "b"]) as proxy:
        yield proxy


class Client:
    def __init__(self, proxy, lane="a"):
        self.socket = socket.create_connection(("127.0.0.1", proxy.ports[lane]), timeout=10)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def answer(self):
        """What comes next, b"" if the connection was ended."""
        try:
            return self.socket.recv(100)
        except ConnectionError:
            return b""

    def ask(self, data):
        self.send(data)
        return self.answer()


def test_everything_passes_by_default(proxy):
    with Client(proxy) as one, Client(proxy, "b") as other:
        assert one.ask(b"1.") == b"<1.>"
        assert other.ask(b"2.") == b"<2.>"
        assert one.ask(b"3.") == b"<3.>"
    assert proxy.done == {}


def test_a_request_that_is_cut_before_never_arrives(proxy, echo):
    with Client(proxy) as client:
        proxy.cut("before")
        assert client.ask(b"1.") == b""
    with Client(proxy) as client:
        assert client.ask(b"2.") == b"<2.>"
    assert echo.seen == [b"2."]
    assert proxy.done == {"before": 1}


def test_a_torn_request_arrives_in_part(proxy, echo):
    with Client(proxy) as client:
        proxy.cut("torn")
        assert client.ask(b"abcd.") == b""
        echo.wait_for(b"ab")


@pytest.mark.parametrize("how", ["after", "reply"])
def test_a_request_that_is_cut_after_arrives_and_its_reply_does_not(proxy, echo, how):
    with Client(proxy) as client:
        proxy.cut(how)
        assert client.ask(b"1.") == b""
        echo.wait_for(b"1.")


def test_a_torn_reply_arrives_in_part(proxy):
    with Client(proxy) as client:
        proxy.cut("torn reply")
        assert client.ask(b"123.") == b"<12"
        assert client.answer() == b""


@pytest.mark.parametrize("how", ["late request", "late reply"])
def test_what_is_late_arrives(proxy, how):
    with Client(proxy) as client:
        proxy.cut(how, seconds=0.05)
        assert client.ask(b"1.") == b"<1.>"
        assert client.ask(b"2.") == b"<2.>"
    assert proxy.done == {how: 1}


def test_a_cut_of_one_lane_waits_for_it(proxy):
    with Client(proxy) as one, Client(proxy, "b") as other:
        proxy.cut("before", "b")
        assert one.ask(b"1.") == b"<1.>"
        assert other.ask(b"2.") == b""


def test_an_isolated_lane_is_heard_when_it_is_over(proxy, echo):
    with Client(proxy) as one, Client(proxy, "b") as other:
        assert one.ask(b"0.") == b"<0.>"
        proxy.isolate("a", 1000)
        one.send(b"1.")
        assert other.ask(b"2.") == b"<2.>"
        assert echo.seen == [b"0.", b"2."]
        proxy.calm()
        assert one.answer() == b"<1.>"


def test_while_replies_are_frozen_requests_pass_and_dropping_loses_the_replies(proxy, echo):
    with Client(proxy) as client:
        assert client.ask(b"0.") == b"<0.>"
        proxy.freeze_replies()
        client.send(b"1.")
        echo.wait_for(b"1.")
        assert proxy.drop_all() == 1
        assert client.answer() == b""
    with Client(proxy) as client:
        assert client.ask(b"2.") == b"<2.>"


def test_a_server_that_is_down_is_down_behind_the_proxy_too(proxy, echo):
    echo.down()
    with Client(proxy) as client:
        assert client.answer() == b""


def test_calming_forgets_the_cuts_to_come(proxy):
    with Client(proxy) as client:
        proxy.cut("before")
        proxy.calm()
        assert client.ask(b"1.") == b"<1.>"


def test_closing_ends_every_connection(echo):
    proxy = Proxy(echo.address, ["a"])
    with Client(proxy) as client:
        assert client.ask(b"1.") == b"<1.>"
        proxy.close()
        proxy.close()
        assert client.answer() == b""
    with pytest.raises(ConnectionError):
        Client(proxy)
