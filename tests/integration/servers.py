"""Real MCP servers in their own processes, started, killed and stalled by the tests."""

import atexit
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TextIO

import anyio

TREE = Path(__file__).parents[2]


class Factory:
    """The process that the servers are forked from. It ends, and they with it, when this process does.

    Args:
        program: the module that it runs, which has to do as `mcp_server` does.
    """

    def __init__(self, program: str = "tests.integration.mcp_server") -> None:
        self.process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", program],
            cwd=TREE,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )

    def fork(self, kind: str, port: int) -> tuple[int, TextIO]:
        """Start a server; answer its process id and what it says."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with tempfile.TemporaryDirectory() as folder:
            pipe = Path(folder) / "pipe"
            os.mkfifo(pipe)
            self.process.stdin.write(f"{kind} {port} {pipe}\n")
            server = self.process.stdout.readline()
            assert server, "the factory of servers has ended: what it said is above"
            return int(server), pipe.open()

    def end(self) -> None:
        with self.process as process:
            assert process.stdin is not None
            process.stdin.close()


@cache
def factory() -> Factory:
    made = Factory()
    atexit.register(made.end)
    return made


class McpServer:
    """A server process, and those that take its place on the same port.

    Args:
        kind: which of those that the factory makes.
        made_by: the factory; None means the one of all tests.

    Attributes:
        url: its endpoint.
    """

    def __init__(self, kind: str, made_by: Factory | None = None) -> None:
        self.kind = kind
        self.factory = made_by or factory()
        self.port = 0
        self.is_running = False
        self.start()

    def start(self) -> None:
        """Start it, on the port that it had before if it had one, and wait until it listens."""
        self.process, self.output = self.factory.fork(self.kind, self.port)
        self.is_running = True
        said = self._read()
        assert said.startswith("port "), f"the server did not start: {said!r}"
        self.port = int(said.removeprefix("port "))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/mcp"

    def kill(self) -> None:
        """End it with SIGKILL and nothing else: its sockets are left to the system."""
        os.kill(self.process, signal.SIGKILL)
        self.is_running = False
        with self.output:
            self.output.read()  # it has ended when nothing can be said any more

    def stall(self) -> None:
        os.kill(self.process, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self.process, signal.SIGCONT)

    async def began(self, tool: str) -> None:
        """Wait until the server says that a call of this tool has begun."""
        assert await anyio.to_thread.run_sync(self._read) == f"began {tool}"

    def _read(self) -> str:
        return self.output.readline().strip()


@contextmanager
def running_server(kind: str = "plain") -> Generator[McpServer]:
    """A server that ends with the `with` block."""
    server = McpServer(kind)
    try:
        yield server
    finally:
        if server.is_running:
            server.kill()
