"""Servers that are not there: connections whose opening, calls, probes and end the test decides."""
# pyright: reportPrivateUsage=false

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import anyio
import anyio.lowlevel
from mcp import Client
from mcp.shared.dispatcher import ProgressFnT
from mcp_types import CallToolResult
from typing_extensions import override

from actors import Connection, Lease, Pool, Upstream
from actors.connection import Opening
from actors.exchange import current_exchange
from actors.testing.fake_session import introduced
from protocol.fault import Fault, FaultKind
from protocol.health import ProbeResult
from protocol.raw_request import RawRequest
from protocol.settings import Probe

ECHO = Upstream("http://127.0.0.1:1/mcp")
BROKEN = Fault(FaultKind.INTERRUPTED, "event stream", "it broke")


class FakeClient:
    """Stands for the SDK's client. `call_tool("wait")` goes on until the server says so."""

    def __init__(self, server: "FakeServer") -> None:
        self.server = server
        self.protocol_version = "2026-07-28"

    async def call_tool(self, name: str, *_: Any, **__: Any) -> CallToolResult:
        self.server.calls.append(name)
        exchange = current_exchange.get()
        self.server.headers_of_calls.append({} if exchange is None else exchange.headers or {})
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
        exchange = current_exchange.get()
        self.server.headers_of_listening.append({} if exchange is None else exchange.headers or {})
        await anyio.lowlevel.checkpoint()
        yield "listening"


class FakeGuard:
    """Stands for the HTTP transport beneath: what the pool may tell and ask it."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        self.headers = headers
        self.requests = 0
        self.is_proven = True


@dataclass(slots=True, eq=False)
class FakeConnection(Connection):
    """A connection to the fake server; it ends by `close` where nobody holds it open."""

    server: "FakeServer" = field(kw_only=True)

    @override
    def introduction(self) -> dict[str, Any]:
        version = "2025-11-25" if self.is_stateful else "2026-07-28"
        return introduced(version, is_stateful=self.is_stateful)

    @override
    async def request(
        self, request: RawRequest, timeout: float | None, on_progress: ProgressFnT | None = None
    ) -> dict[str, Any]:
        server = self.server
        server.raw.append((request.method, request.params, timeout))
        await cast("FakeClient", self.client).call_tool(request.method)
        if server.fails_calls is not None:
            raise server.fails_calls
        return {"asked": request.params}

    @override
    async def close(self) -> None:
        try:
            await self.server.let_go()
        finally:
            self.server.gone()

    @override
    async def probe(self, name: Probe, timeout: float) -> ProbeResult:
        server = self.server
        server.probed.append((server.connections.index(self), name))
        await anyio.lowlevel.checkpoint()
        await server.probes.wait()
        return server.health.get(server.connections.index(self), ProbeResult.HEALTHY)


class FakeServer:
    """A connector, and the server behind it.

    Args:
        is_stateful: whether it keeps state in its sessions.
        is_loose: whether its connections need nobody to hold them open.

    Attributes:
        opens: set lets openings that wait go on; they wait only after `hold_openings()`.
        gates: as `opens`, of one opening: by its number, from 1. Those that are not there are open.
        fails: what the next openings raise.
        refuses: what openings with this `authorization` raise.
        answers: set lets calls of the tool `wait` end.
        closes: set lets connections end; they wait only after `hold_closings()`.
        never_closes: whether closing a connection takes for ever.
        takes: seconds that opening a connection takes, and closing it.
        probes: set lets probes be answered; they wait only after `hold_probes()`.
        health: what probes of a connection are answered with, by its place among `connections`.
        probed: each probe: of which connection, and what it asked.
        calls: of each call, the tool, or the method of a raw request; the method `wait` waits as the tool does.
        raw: each raw request: its method, its params, and the seconds that it had.
        fails_calls: what raw requests raise.
        headers_of_calls, headers_of_listening: what each was to be sent with.
        openings: what the connector was given, each time.
        connections, clients, reports: of each opened connection.
        now, peak: connections that are being opened, open, or being closed: at present, and at the most.
    """

    def __init__(self, *, is_stateful: bool = True, is_loose: bool = False) -> None:
        self.is_stateful = is_stateful
        self.is_loose = is_loose
        self.opens = opened()
        self.gates: dict[int, anyio.Event] = {}
        self.answers = anyio.Event()
        self.closes = opened()
        self.probes = opened()
        self.health: dict[int, ProbeResult] = {}
        self.probed: list[tuple[int, Probe]] = []
        self.fails: Exception | None = None
        self.refuses: dict[str, Exception] = {}
        self.never_closes = False
        self.takes = 0.0
        self.attempts = 0
        self.closed = 0
        self.closed_in_order = 0
        self.now = self.peak = 0
        self.calls: list[str] = []
        self.raw: list[tuple[str, dict[str, Any] | None, float | None]] = []
        self.fails_calls: Exception | None = None
        self.calls_ended = 0
        self.headers_of_calls: list[Mapping[str, str]] = []
        self.headers_of_listening: list[Mapping[str, str]] = []
        self.openings: list[Opening] = []
        self.headers: list[Mapping[str, str]] = []
        self.connections: list[FakeConnection] = []
        self.clients: list[FakeClient] = []
        self.reports: list[Callable[[Fault], None]] = []

    def hold_openings(self) -> None:
        self.opens = anyio.Event()

    def hold_closings(self) -> None:
        self.closes = anyio.Event()

    def hold_probes(self) -> None:
        self.probes = anyio.Event()

    @property
    def live(self) -> int:
        return len(self.clients) - self.closed

    def __call__(self, opening: Opening) -> AbstractAsyncContextManager[Connection] | Awaitable[Connection]:
        return self._loose(opening) if self.is_loose else self._held(opening)

    @asynccontextmanager
    async def _held(self, opening: Opening) -> AsyncGenerator[Connection]:
        connection = await self._open(opening)
        try:
            yield connection
            await self.let_go()
        finally:
            self.gone()

    async def let_go(self) -> None:
        """What closing a connection in good order waits for."""
        self.closed_in_order += 1
        await anyio.sleep(self.takes)
        await self.closes.wait()
        if self.never_closes:
            await anyio.sleep_forever()

    def gone(self) -> None:
        """A connection has ended."""
        self.closed += 1
        self.now -= 1

    async def _loose(self, opening: Opening) -> Connection:
        return await self._open(opening)

    async def _open(self, opening: Opening) -> FakeConnection:
        self.attempts += 1
        self.now += 1
        self.peak = max(self.peak, self.now)
        self.openings.append(opening)
        self.headers.append(opening.headers)
        try:
            await self._may_open(self.gates.get(self.attempts), opening.headers.get("authorization", ""))
        except BaseException:
            self.now -= 1
            raise
        client = FakeClient(self)
        guard = cast("Any", FakeGuard(opening.headers))
        connection = FakeConnection(
            opening.upstream.address, cast("Client", client), guard, is_stateful=self.is_stateful, server=self
        )
        self.connections.append(connection)
        self.clients.append(client)
        self.reports.append(opening.report)
        return connection

    async def _may_open(self, gate: anyio.Event | None, authorization: str) -> None:
        await anyio.sleep(self.takes)
        await self.opens.wait()
        if gate is not None:
            await gate.wait()
        error = self.fails or self.refuses.get(authorization)
        if error is not None:
            raise error


def opened() -> anyio.Event:
    """A gate that lets everybody through."""
    gate = anyio.Event()
    gate.set()
    return gate


async def settled() -> None:
    """Let everybody do what can be done now. Takes no time on either clock."""
    for _ in range(30):
        await anyio.lowlevel.checkpoint()


def client_of(lease: Lease) -> FakeClient:
    """Which session it is that was lent."""
    return cast("FakeClient", lease._connection.client)


def bookkeeping(pool: Pool) -> dict[str, int]:
    """The sizes of all that the pool remembers of its keys, and the actors and timers that it has."""
    registry, capacity = pool._registry_actor, pool._registry_actor._capacity
    statistics = pool._system.statistics()
    return {
        "refs": len(registry.refs),
        "living": len(registry._living),
        "joining": len(registry._joining),
        "bound": len(registry._conversations),
        "lost": registry._conversations.lost,
        "evicted": len(registry._evicted),
        "entries": len(capacity._keys),
        "permits": capacity.counts().permits,
        "queued": capacity.counts().queued,
        "rooms": capacity.counts().rooms,
        "pending": capacity.counts().pending,
        "actors": statistics.actors,
        "effects": statistics.effects,
    }


NOTHING_LEFT = {
    **dict.fromkeys(("refs", "living", "joining", "bound", "lost", "evicted", "entries"), 0),
    **dict.fromkeys(("permits", "queued", "rooms", "pending", "effects"), 0),
    "actors": 1,
}
"""What an open pool without any key remembers. The one actor is its registry."""
