"""Connections to upstream servers: what one is, and how it is made over Streamable HTTP."""

import ssl
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Final, Protocol, cast

import httpx2
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client
from mcp_types import CONNECTION_CLOSED

from actors.exchange import Exchange, current_exchange
from actors.guard import Guard
from protocol.errors import CallFailed, CallInterrupted, ConnectFailed, TroupeError
from protocol.fault import Fault
from protocol.settings import PoolSettings, Upstream


@dataclass(slots=True, eq=False)
class Connection:
    """An open session with a server, as its borrowers reach it.

    Attributes:
        address: the server's, as it may be shown.
        client: the SDK's client, entered.
        guard: the HTTP transport beneath it; None where there is no HTTP.
    """

    address: str
    client: Client
    guard: Guard | None = None

    @property
    def requests(self) -> int:
        """The HTTP requests sent so far."""
        return 0 if self.guard is None else self.guard.requests

    def explain(self, error: MCPError, exchange: Exchange) -> CallFailed | None:
        """The named error for a call that failed, or None if `error` is what the server answered."""
        if exchange.fault is not None:
            return exchange.fault.for_call(self.address, was_answered=exchange.was_answered)
        if error.code == CONNECTION_CLOSED and error.message in _SAID_BY_THE_SDK:
            what = f"{exchange.step} on {self.address}"
            return CallInterrupted(
                f"{what} was interrupted: its session or its stream was closed under it, so it may have run"
            )
        return None


_SAID_BY_THE_SDK: Final = frozenset(
    {
        "Connection closed",
        "SSE stream ended without a response",
        "SSE stream ended and reconnection attempts were exhausted",
    }
)
"""How the SDK words a -32000 of its own making; the same code from a server stays the server's error."""


class Connector(Protocol):
    """Opens connections. What it returns is entered and left by one task, and may be cancelled at any point.

    Raises, on entering:
        ConnectFailed: no session could be opened.
    """

    def __call__(
        self, upstream: Upstream, headers: Mapping[str, str], settings: PoolSettings, report: Callable[[Fault], None]
    ) -> AbstractAsyncContextManager[Connection]:
        """Open a session with `upstream`, bearing `headers`; `report` is told of each fault that ends it."""
        ...


class StreamableHttp:
    """Opens sessions over Streamable HTTP.

    One TLS context serves all of them: making one takes longer than all the rest of opening a session. Cookies and
    connections are each session's own.
    """

    def __init__(self) -> None:
        self._tls: ssl.SSLContext | None = None

    @asynccontextmanager
    async def __call__(
        self, upstream: Upstream, headers: Mapping[str, str], settings: PoolSettings, report: Callable[[Fault], None]
    ) -> AsyncGenerator[Connection]:
        """Open a session; see `Connector`."""
        if self._tls is None:
            self._tls = httpx2.create_ssl_context()
        exchange = Exchange("connect")
        current_exchange.set(exchange)
        guard = Guard(httpx2.AsyncHTTPTransport(verify=self._tls, limits=_LIMITS), headers=headers, report=report)
        timeout = httpx2.Timeout(connect=settings.connect_timeout, read=None, write=settings.call_timeout, pool=None)
        http = httpx2.AsyncClient(transport=guard, timeout=timeout)
        client = Client(
            streamable_http_client(upstream.url, http_client=http),
            mode=upstream.mode,
            read_timeout_seconds=settings.call_timeout,
        )
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(http)
            try:
                await stack.enter_async_context(client)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is why there is no session
                failed = _connect_failed(exchange, error, upstream.address)
                raise failed from (failed.__cause__ or innermost(error))
            guard.connecting = False
            yield Connection(upstream.address, client, guard)


_LIMITS: Final = httpx2.Limits(max_connections=None, max_keepalive_connections=8, keepalive_expiry=60.0)


def _connect_failed(exchange: Exchange, error: Exception, address: str) -> TroupeError:
    if exchange.fault is not None:
        return exchange.fault.for_connect(address)
    inner = innermost(error)
    said = f"{inner.message}, code {inner.code}" if isinstance(inner, MCPError) else type(inner).__name__
    return ConnectFailed(f"no session with {address} could be opened: the handshake failed ({said})", step="handshake")


def innermost(error: BaseException) -> BaseException:
    """The exception that matters, out of the groups that the SDK's task groups wrap it in."""
    while isinstance(error, BaseExceptionGroup):
        error = cast("BaseExceptionGroup[BaseException]", error).exceptions[0]
    return error
