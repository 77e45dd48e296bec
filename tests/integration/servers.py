"""Real MCP servers in their own processes, started, killed and stalled by the tests."""

import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import anyio

PROGRAM = Path(__file__).with_name("mcp_server.py")


class McpServer:
    """A server process, and those that take its place on the same port.

    Attributes:
        url: its endpoint.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.port = 0
        self.process: subprocess.Popen[str]
        self.start()

    def start(self) -> None:
        """Start it, on the port that it had before if it had one, and wait until it listens."""
        command = [sys.executable, str(PROGRAM), self.kind, str(self.port)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # noqa: S603
        said = self._read()
        assert said.startswith("port "), f"the server did not start: {said!r}"
        self.port = int(said.removeprefix("port "))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/mcp"

    def kill(self) -> None:
        """End it with SIGKILL and nothing else: its sockets are left to the system."""
        self.process.kill()
        self.process.wait()
        self._forget()

    def stall(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    async def began(self, tool: str) -> None:
        """Wait until the server says that a call of this tool has begun."""
        assert await anyio.to_thread.run_sync(self._read) == f"began {tool}"

    def _read(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def _forget(self) -> None:
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()

    def end(self) -> None:
        if self.process.returncode is None:
            self.kill()


@contextmanager
def running_server(kind: str = "plain") -> Generator[McpServer]:
    """A server that ends with the `with` block."""
    server = McpServer(kind)
    try:
        yield server
    finally:
        server.end()
