"""Servers that are not there: connections whose opening, calls and end the test decides."""

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, cast

import anyio
import anyio.lowlevel
from mcp import Client
from mcp_types import CallToolResult

from actors import Connection, PoolSettings, Upstream
from protocol.fault import Fault

ECHO = Upstream("http://127.0.0.1:1/mcp")


class FakeClient:
    """Stands for the SDK's client. `call_tool("wait")` goes on until the server says so."""

    def __init__(self, server: "FakeServer") -> None:
        self.server = server
        self.protocol_version = "2026-07-28"

    async def call_tool(self, name: str, *_: Any, **__: Any) -> CallToolResult:
        self.server.calls.append(name)
        try:
            if name == "wait":
                await self.server.answers.wait()
            else:
                await anyio.lowlevel.checkpoint()
        finally:
            self.server.calls_ended += 1
        return CallToolResult(content=[])

    def plain(self) -> str:
        return "plain"

    @asynccontextmanager
    async def listen(self) -> AsyncGenerator[str]:
        await anyio.lowlevel.checkpoint()
        yield "listening"


class FakeServer:
    """A connector, and the server behind it.

    Attributes:
        opens: set lets openings that wait go on; they wait only after `hold_openings()`.
        fails: what the next openings raise.
        answers: set lets calls of the tool `wait` end.
        clients, reports: of each opened connection.
        never_closes: whether closing a connection takes for ever.
    """

    def __init__(self) -> None:
        self.opens = anyio.Event()
        self.opens.set()
        self.answers = anyio.Event()
        self.fails: Exception | None = None
        self.never_closes = False
        self.attempts = 0
        self.closed = 0
        self.closed_in_order = 0
        self.calls: list[str] = []
        self.calls_ended = 0
        self.headers: list[Mapping[str, str]] = []
        self.clients: list[FakeClient] = []
        self.reports: list[Callable[[Fault], None]] = []

    def hold_openings(self) -> None:
        self.opens = anyio.Event()

    @property
    def live(self) -> int:
        return len(self.clients) - self.closed

    @asynccontextmanager
    async def __call__(
        self, upstream: Upstream, headers: Mapping[str, str], settings: PoolSettings, report: Callable[[Fault], None]
    ) -> AsyncGenerator[Connection]:
        self.attempts += 1
        self.headers.append(headers)
        await self.opens.wait()
        if self.fails is not None:
            raise self.fails
        client = FakeClient(self)
        self.clients.append(client)
        self.reports.append(report)
        try:
            yield Connection(upstream.address, cast("Client", client))
            self.closed_in_order += 1
            if self.never_closes:
                await anyio.sleep_forever()
        finally:
            self.closed += 1
