"""The Redis server that other tests rely on."""

import signal
import socket
import sys
from pathlib import Path

import pytest

from tests.redis_server import RedisUnavailable, running_redis


def ask(port: int, command: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(command + b"\r\n")
        return connection.recv(4096)


def test_it_answers_on_the_address_that_it_names() -> None:
    with running_redis() as server:
        assert server.url == f"redis://127.0.0.1:{server.port}/0"
        assert ask(server.port, b"PING") == b"+PONG\r\n"


def test_it_is_gone_afterwards() -> None:
    with running_redis() as server:
        pass
    assert server.process.returncode == -signal.SIGKILL
    with pytest.raises(ConnectionRefusedError):
        ask(server.port, b"PING")


def test_it_is_gone_after_a_failing_body_and_the_failure_comes_through() -> None:
    class Failed(Exception):
        pass

    with pytest.raises(Failed), running_redis() as server:
        raise Failed
    assert server.process.returncode is not None


def test_it_is_gone_even_when_it_was_frozen() -> None:
    with running_redis() as server:
        server.process.send_signal(signal.SIGSTOP)
    assert server.process.returncode == -signal.SIGKILL


def test_two_run_side_by_side_and_share_nothing() -> None:
    with running_redis() as one, running_redis() as other:
        assert ask(one.port, b"SET name one") == b"+OK\r\n"
        assert ask(other.port, b"GET name") == b"$-1\r\n"


def test_another_can_take_the_place_of_one_that_was_killed() -> None:
    with running_redis() as first:
        first.process.kill()
        first.process.wait()
        with running_redis(port=first.port) as second:
            assert ask(second.port, b"PING") == b"+PONG\r\n"


def test_a_port_that_is_taken_is_named_in_the_error() -> None:
    with (
        running_redis() as server,
        pytest.raises(RedisUnavailable, match=f"on port {server.port} ended with status 1"),
        running_redis(port=server.port),
    ):
        pytest.fail("two servers listen on one port")


def test_its_options_reach_it() -> None:
    with running_redis(options=("--requirepass", "secret")) as server:
        assert ask(server.port, b"PING").startswith(b"-NOAUTH")


def test_a_machine_without_one_is_told_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("tests.redis_server._FOLDERS", ())
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(RedisUnavailable, match="neither redis-server nor valkey-server"), running_redis():
        pytest.fail("it started")
