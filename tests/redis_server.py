"""A real Redis server of a test's own, on loopback, without persistence.

The program comes from the machine (`.ci/redis` sees to one). Each server has its own port and folder, so that tests run
side by side, and its process is the caller's to stop, freeze or kill.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_PROGRAMS = ("redis-server", "valkey-server")
_FOLDERS = ("/usr/local/bin", "/opt/homebrew/bin", "/usr/sbin", "/usr/bin")
_READY = b"Ready to accept connections"
_START_SECONDS = 10.0
_ANSWER_SECONDS = 1.0
_POLL_SECONDS = 0.005
_PORT_TRIES = 5


class RedisUnavailable(RuntimeError):
    """There is no server program on this machine, or the server did not start; the text says which, and why."""


@dataclass(frozen=True, slots=True)
class RedisServer:
    """A running server: where it listens, and its process."""

    port: int
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        """The address that a Redis client takes."""
        return f"redis://127.0.0.1:{self.port}/0"

    def freeze(self) -> None:
        """Let it stand still."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self.process.send_signal(signal.SIGCONT)

    def command(self, *arguments: str) -> bytes:
        """Have it do something, over a connection of its own. What it answered, as it came."""
        words = [argument.encode() for argument in arguments]
        packed = b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)
        with socket.create_connection(("127.0.0.1", self.port), timeout=_ANSWER_SECONDS) as connection:
            connection.sendall(packed)
            return connection.recv(65_536)

    def stat(self, name: str) -> int:
        """A figure of `INFO`."""
        lines = self.command("INFO").decode().splitlines()
        return next(int(line.partition(":")[2]) for line in lines if line.startswith(f"{name}:"))

    def connections(self) -> int:
        """How many clients are connected, this question's own left out."""
        return self.stat("connected_clients") - 1


@contextmanager
def running_redis(*, port: int | None = None, options: Sequence[str] = ()) -> Generator[RedisServer]:
    """Start a server, and end it at the exit, whatever state it is in by then.

    Args:
        port: Where to listen; a free port when None. Give a former server's port to come back in its place.
        options: Further command-line options of the server, such as `("--requirepass", "secret")`.

    Raises:
        RedisUnavailable: No program was found, or the server ended or stayed silent instead of answering.
    """
    program = find_redis_program()
    with tempfile.TemporaryDirectory(prefix="troupe-redis-") as folder:
        server = _start(program, Path(folder), port, options)
        try:
            yield server
        finally:
            _end(server.process)


def find_redis_program() -> str:
    """The path of the machine's Redis or Valkey server.

    Raises:
        RedisUnavailable: There is none.
    """
    folders = os.pathsep.join((os.environ.get("PATH", ""), str(Path(sys.executable).parent), *_FOLDERS))
    for program in _PROGRAMS:
        path = shutil.which(program, path=folders)
        if path is not None:
            return path
    message = f"neither {' nor '.join(_PROGRAMS)} is on this machine: `make test` installs one where it may"
    raise RedisUnavailable(message)


def _start(program: str, folder: Path, port: int | None, options: Sequence[str]) -> RedisServer:
    """Start it; where the port was ours to choose and another process took it first, choose again."""
    for tries_left in reversed(range(_PORT_TRIES if port is None else 1)):
        server = _spawn(program, folder, free_port() if port is None else port, options)
        try:
            _wait_until_it_answers(server, folder / "log")
        except BaseException as error:
            ended_by_itself = server.process.poll() is not None
            _end(server.process)
            if not (isinstance(error, RedisUnavailable) and ended_by_itself and tries_left):
                raise
        else:
            return server
    raise AssertionError


def _spawn(program: str, folder: Path, port: int, options: Sequence[str]) -> RedisServer:
    command = [program, "--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder)]
    command += ["--save", "", "--appendonly", "no", "--daemonize", "no", *options]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(  # noqa: S603 - the program was found by name, and no shell reads the command
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
        )
    return RedisServer(port=port, process=process)


def _wait_until_it_answers(server: RedisServer, log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    # Its own word as well, since what answers may be another process that had the port first.
    while not (_READY in log.read_bytes() and _answers(server.port)):
        ended = server.process.poll() is not None
        if ended or time.monotonic() >= deadline:
            happened = f"ended with status {server.process.returncode}" if ended else "stayed silent"
            lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-5:]
            message = f"the Redis server on port {server.port} {happened}; its last lines: {' | '.join(lines)}"
            raise RedisUnavailable(message)
        time.sleep(_POLL_SECONDS)


def _answers(port: int) -> bool:
    """Whether what listens there speaks Redis; asking for a password is an answer as well."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=_ANSWER_SECONDS) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith((b"+PONG", b"-NOAUTH"))
    except OSError:
        return False


def free_port() -> int:
    """A port of loopback on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _end(process: subprocess.Popen[bytes]) -> None:
    """End it at once: there is nothing to save, and only this signal ends a frozen process."""
    process.kill()
    process.wait()
