"""Servers of the demo's own, each in a process that the demo can kill and start again."""

import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Final, cast

import anyio
from anyio.abc import ByteReceiveStream, Process

from actors.demo.arguments import DemoError
from actors.demo.server import HOST, PATH

START_TIMEOUT: Final = 30.0
"""Seconds that a server has to say where it listens; a cold start reads some thousand files."""


class DemoServer:
    """A server process.

    Attributes:
        port: where it listens, also after it was killed; 0 before its first start.
    """

    def __init__(self) -> None:
        self.port = 0
        self._process: Process | None = None

    @property
    def url(self) -> str:
        """Where its clients find it."""
        return f"http://{HOST}:{self.port}{PATH}"

    async def start(self) -> None:
        """Start it, on the port it had before if it had one, and wait until it listens.

        Raises:
            DemoError: it does not.
        """
        self._process = await anyio.open_process(
            [sys.executable, "-m", "actors.demo.server", str(self.port)],
            stdin=subprocess.PIPE,
            stderr=None,
            # Ctrl-C goes to whoever is in the foreground. This process is the demo's to end.
            start_new_session=True,
        )
        output = cast("ByteReceiveStream", self._process.stdout)
        said = b""
        with anyio.move_on_after(START_TIMEOUT):
            try:
                while not said.endswith(b"\n"):
                    said += await output.receive()
            except anyio.EndOfStream:
                pass
        if not said.strip().isdigit():
            await self.kill()
            raise DemoError(f"the demo's own server does not listen after {START_TIMEOUT:.0f} s, or ended before")
        self.port = int(said)

    async def kill(self) -> None:
        """Kill it (SIGKILL), and wait until it is gone. Cancellation does not cut this short."""
        if self._process is None:
            return
        process, self._process = self._process, None
        with suppress(ProcessLookupError):
            process.kill()
        with anyio.CancelScope(shield=True):
            await process.aclose()


@asynccontextmanager
async def running_servers(count: int) -> AsyncGenerator[list[DemoServer]]:
    """Servers that run until the exit, whatever happens meanwhile.

    Raises:
        DemoError: one of them does not start.
    """
    servers = [DemoServer() for _ in range(count)]
    try:
        try:
            async with anyio.create_task_group() as tasks:
                for server in servers:
                    tasks.start_soon(server.start)
        except* DemoError as errors:
            raise DemoError(str(errors.exceptions[0])) from None
        yield servers
    finally:
        for server in servers:
            await server.kill()
