"""Processes of the demo's own: servers that it can kill and start again, and what else it runs beside itself."""

import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Final, cast

import anyio
from anyio.abc import ByteReceiveStream, ByteSendStream, Process
from anyio.streams.buffered import BufferedByteReceiveStream

from actors.demo.arguments import DemoError
from actors.demo.server import HOST, PATH

START_TIMEOUT: Final = 30.0
"""Seconds that a process has to say that it is ready; a cold start reads some thousand files."""
_END_TIMEOUT: Final = 3.0
"""Seconds that one has to end by itself."""
_LONGEST: Final = 100_000
"""Bytes of a line, at the most."""


class DemoProcess:
    """A module that runs in a process of its own. It says a line once it is ready, and ends when its standard input
    does.
    """

    def __init__(self) -> None:
        self._process: Process | None = None
        self._said: BufferedByteReceiveStream | None = None

    async def start(self, module: str, *arguments: str) -> str:
        """Start it, and wait for its first line; empty if there was none, and then it has ended."""
        self._process = await anyio.open_process(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stderr=None,
            # Ctrl-C goes to whoever is in the foreground. This process is the demo's to end.
            start_new_session=True,
        )
        self._said = BufferedByteReceiveStream(cast("ByteReceiveStream", self._process.stdout))
        said = ""
        with anyio.move_on_after(START_TIMEOUT):
            said = await self.hear()
        if not said:
            await self.kill()
        return said

    async def hear(self) -> str:
        """The next line that it says; empty once it has ended."""
        if self._said is None:
            return ""
        try:
            return (await self._said.receive_until(b"\n", _LONGEST)).decode().strip()
        except (anyio.IncompleteRead, anyio.EndOfStream, anyio.ClosedResourceError, anyio.BrokenResourceError):
            return ""

    async def say(self, line: str) -> None:
        """Say a line to it. One that has ended does not hear it."""
        if self._process is not None:
            with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
                await cast("ByteSendStream", self._process.stdin).send(f"{line}\n".encode())

    async def kill(self) -> None:
        """Kill it (SIGKILL), and wait until it is gone. Cancellation does not cut this short."""
        if self._process is None:
            return
        process, self._process = self._process, None
        with suppress(ProcessLookupError):
            process.kill()
        with anyio.CancelScope(shield=True):
            await process.aclose()

    async def end(self) -> None:
        """Let it end in good order, or kill it if it takes too long. Cancellation does not cut this short."""
        if self._process is not None:
            with anyio.move_on_after(_END_TIMEOUT, shield=True):
                await cast("ByteSendStream", self._process.stdin).aclose()
                await self._process.wait()
        await self.kill()


class DemoServer:
    """An MCP server's process.

    Attributes:
        port: where it listens, also after it was killed; 0 before its first start.
    """

    def __init__(self) -> None:
        self.port = 0
        self._process = DemoProcess()

    @property
    def url(self) -> str:
        """Where its clients find it."""
        return f"http://{HOST}:{self.port}{PATH}"

    async def start(self) -> None:
        """Start it, on the port it had before if it had one, and wait until it listens.

        Raises:
            DemoError: it does not.
        """
        said = await self._process.start("actors.demo.server", str(self.port))
        if not said.isdigit():
            await self.kill()
            raise DemoError(f"the demo's own server does not listen after {START_TIMEOUT:.0f} s, or ended before")
        self.port = int(said)

    async def kill(self) -> None:
        """Kill it (SIGKILL), and wait until it is gone. Cancellation does not cut this short."""
        await self._process.kill()


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
