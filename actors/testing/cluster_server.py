"""A server for simulated clusters: each of its sessions counts the calls that it answers."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from random import Random
from typing import Any, Final, cast

import anyio
from mcp import Client, MCPError
from mcp.shared.dispatcher import ProgressFnT
from mcp_types import REQUEST_TIMEOUT
from typing_extensions import override

from actors.connection import Connection, Connector, Opening
from actors.testing.cluster_ledger import ClusterLedger, Execution
from protocol.health import ProbeResult
from protocol.raw_request import RawRequest
from protocol.settings import Probe, Upstream

OPENING: Final = (0.005, 0.1)
CALLING: Final = (0.0, 0.1)
SLOW: Final = 0.1
"""How likely a call takes five times as long."""


class CountingServer:
    """A server that workers of several nodes reach. Its calls have `number` and `talk` among their params.

    Args:
        url: its address.
        ledger: is told of every call that it executes.
        random: where draws come from.
        is_stateful: whether it keeps state in its sessions.
    """

    def __init__(self, url: str, ledger: ClusterLedger, random: Random, *, is_stateful: bool) -> None:
        self.upstream = Upstream(url, mode="legacy" if is_stateful else "auto")
        self.ledger = ledger
        self.random = random
        self.is_stateful = is_stateful
        self.opened = 0

    def at(self, starts: Callable[[int], bool]) -> Connector:
        """How it is reached from a worker. `starts` is told of each call that is sent, by its number; it
        answers whether the worker is cut off then.
        """

        def connect(opening: Opening) -> AbstractAsyncContextManager[Connection] | Awaitable[Connection]:
            del opening
            return self._held(starts) if self.is_stateful else self._loose(starts)

        return connect

    def seconds(self) -> float:
        """How long half of a call takes."""
        return self.random.uniform(*CALLING) * (5 if self.random.random() < SLOW else 1)

    async def _loose(self, starts: Callable[[int], bool]) -> Connection:
        await anyio.sleep(self.random.uniform(*OPENING))
        self.opened += 1
        return _Counted(self, self.opened, starts)

    @asynccontextmanager
    async def _held(self, starts: Callable[[int], bool]) -> AsyncGenerator[Connection]:
        yield await self._loose(starts)


class _Counted(Connection):
    __slots__ = ("count", "number", "server", "starts")

    def __init__(self, server: CountingServer, number: int, starts: Callable[[int], bool]) -> None:
        client = cast("Client", _Client(is_stateful=server.is_stateful))
        super().__init__(server.upstream.address, client, is_stateful=server.is_stateful)
        self.server = server
        self.number = number
        self.starts = starts
        self.count = 0

    @override
    async def probe(self, name: Probe, timeout: float) -> ProbeResult:
        return ProbeResult.HEALTHY

    @override
    async def request(
        self, request: RawRequest, timeout: float | None, on_progress: ProgressFnT | None = None
    ) -> dict[str, Any]:
        params = request.params or {}
        number, talk = params["number"], params["talk"]
        was_cut_off = self.starts(number)
        server = self.server
        started_at = server.ledger.now()
        with anyio.move_on_after(timeout or float("inf")):
            await anyio.sleep(server.seconds())
            self.count += 1
            url = server.upstream.url
            execution = Execution(number, talk, url, self.number, self.count, started_at, was_cut_off)
            server.ledger.executed(execution)
            result = {"number": number, "talk": talk, "count": self.count, "session": self.number}
            await anyio.sleep(server.seconds())
            return result
        raise MCPError(REQUEST_TIMEOUT, f"{request.method} was not answered within {timeout} s")


class _Client:
    """Stands for the SDK's client, of which nothing is wanted but this."""

    def __init__(self, *, is_stateful: bool) -> None:
        self.protocol_version = "2025-11-25" if is_stateful else "2026-07-28"
