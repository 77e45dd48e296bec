"""Real MCP servers in this process, and connectors to them: what is said is the SDK's, and nothing goes over HTTP.

Nothing of them runs in a thread: a virtual clock does not wait for threads.
"""

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Literal

import anyio
from mcp import Client
from mcp.client.session import IncomingMessage
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError

from actors import Connection
from actors.connection import Opening
from actors.incoming import Incoming
from actors.learnt import Recollection

Mode = Literal["legacy", "2026-07-28"]


class Served:
    """A server, and what it has seen.

    Attributes:
        goes_on: set lets the tool `wait` end.
        waiting, cancelled: how often it has begun, and was cancelled.
        sessions: how many were opened.
    """

    def __init__(self, mode: Mode) -> None:
        self.mode = mode
        self.goes_on = anyio.Event()
        self.waiting = self.cancelled = self.sessions = 0
        self.server = self._made()

    def __call__(self, opening: Opening) -> AbstractAsyncContextManager[Connection]:
        return self._opened(opening)

    @asynccontextmanager
    async def _opened(self, opening: Opening) -> AsyncGenerator[Connection]:
        recollection = Recollection(opening.learnt, opening.report)
        incoming = Incoming(opening.handler, opening.upstream.address)

        async def handle(message: IncomingMessage) -> None:
            recollection.noticed(message)
            if opening.overheard is not None:
                opening.overheard(message)
            await incoming(message)

        address = opening.upstream.address
        client = Client(
            self.server,
            mode=self.mode,
            read_timeout_seconds=opening.call_timeout,
            message_handler=handle,
            cache=recollection.cache(address),
        )
        self.sessions += 1
        async with client, anyio.create_task_group() as tasks:
            tasks.start_soon(incoming.run)
            yield Connection(address, client, is_stateful=self.mode == "legacy", recollection=recollection)
            tasks.cancel_scope.cancel()

    def _made(self) -> MCPServer:
        server = MCPServer("in memory", instructions="Ask.", version="1.5", log_level="CRITICAL")

        @server.tool()
        async def add(a: int, b: int) -> int:
            return a + b

        @server.tool()
        async def fail() -> str:
            raise ToolError("as asked")

        @server.tool()
        async def wait() -> str:
            self.waiting += 1
            try:
                await self.goes_on.wait()
            except BaseException:
                self.cancelled += 1
                raise
            return "waited"

        @server.tool()
        async def steps(number: int, context: Context) -> int:
            for step in range(1, number + 1):
                await context.report_progress(step, number, f"step {step}")
                await anyio.sleep(0.01)
            return number

        @server.tool()
        async def say(text: str, context: Context) -> str:
            await context.info(text)  # pyright: ignore[reportDeprecated]
            return text

        async def grown() -> str:
            return "grown"

        @server.tool()
        async def grow(context: Context) -> str:
            server.add_tool(grown)
            await context.session.send_tool_list_changed()
            return "grown"

        del add, fail, wait, steps, say, grow
        _add_memos(server)
        return server


def _add_memos(server: MCPServer) -> None:
    @server.resource("memo://one", name="one")
    async def one() -> str:
        return "the first memo"

    @server.resource("memo://by/{name}")
    async def by(name: str) -> str:
        return f"the memo of {name}"

    @server.prompt()
    async def greet(name: str) -> str:
        return f"Greet {name}."

    del one, by, greet
