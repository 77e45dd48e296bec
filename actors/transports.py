"""Opening sessions, whatever the transport: what all of them share, and where one is picked."""

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Final

import anyio
import httpx2
from mcp import Client, MCPError
from mcp.client import Transport
from mcp.client.session import IncomingMessage
from mcp_types import INVALID_REQUEST, METHOD_NOT_FOUND, REQUEST_TIMEOUT, UNSUPPORTED_PROTOCOL_VERSION
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS
from pydantic import ValidationError

from actors.body import Malformed
from actors.connection import Connection, Opening, innermost
from actors.exchange import Exchange, current_exchange
from actors.guard import Guard
from actors.http_client import ThroughClient, beneath, make_way, outer_client
from actors.incoming import Incoming
from actors.learnt import NOT_UNDERSTOOD, Recollection
from actors.shortcut import shorten
from actors.sse import SseGuard, sse
from actors.streamable_http import streamable_http
from actors.tls import TlsContexts
from protocol.errors import InvalidSettings, TroupeError
from protocol.fault import Fault, FaultKind


@dataclass(frozen=True, slots=True)
class Way:
    """One transport.

    Attributes:
        guard: the kind of guard beneath it.
        transport: makes the SDK's transport to an address over a client.
        modes: how the era can be agreed on over it, and what that means; others are refused.
        is_request_and_response: whether each request has a response of its own, which calls may take a short way to.
    """

    guard: type[Guard]
    transport: Callable[[str, httpx2.AsyncClient], Transport]
    modes: Mapping[str, str]
    is_request_and_response: bool = False


WAYS: Final[Mapping[str, Way]] = {
    "streamable-http": Way(
        Guard,
        streamable_http,
        {"auto": "auto", "legacy": "legacy", "2026-07-28": "2026-07-28"},
        is_request_and_response=True,
    ),
    # It is older than `server/discover`: there is nothing to be asked.
    "sse": Way(SseGuard, sse, {"auto": "legacy", "legacy": "legacy"}),
}
"""The transports by their names."""


class Transports:
    """Opens sessions over the transport that the upstream names. See `Connector`.

    One TLS context serves all sessions with the same TLS settings. Cookies, connections and clients are each session's
    own.

    Args:
        ways: the transports by their names.
    """

    def __init__(self, ways: Mapping[str, Way] = WAYS) -> None:
        self._ways = ways
        self._tls = TlsContexts()

    def __call__(self, opening: Opening) -> AbstractAsyncContextManager[Connection]:
        """Open a session.

        Raises:
            ConnectFailed: none could be opened; its `step` says how far it came.
            InvalidSettings: the transport is unknown, or the TLS settings cannot be used.
        """
        upstream = opening.upstream
        if (way := self._ways.get(upstream.transport)) is None:
            raise InvalidSettings(f"transport {upstream.transport!r} is unknown: use one of {', '.join(self._ways)}")
        if (mode := way.modes.get(upstream.mode)) is None:
            raise InvalidSettings(f"transport {upstream.transport!r} knows no mode {upstream.mode!r}")
        return _Opener(opening, way, mode, self._tls).opened()


class StreamableHttp(Transports):
    """Opens sessions over Streamable HTTP, and no others. See `Transports`."""

    def __init__(self) -> None:
        super().__init__({"streamable-http": WAYS["streamable-http"]})


class _Opener:
    """One session that is being opened, or is open."""

    def __init__(self, opening: Opening, way: Way, mode: str, tls: TlsContexts) -> None:
        self._opening = opening
        self._way = way
        self._mode = mode
        self._tls = tls
        self._recollection = Recollection(opening.learnt, opening.report)
        self._incoming = Incoming(opening.handler, opening.upstream.address)

    @asynccontextmanager
    async def opened(self) -> AsyncGenerator[Connection]:
        """Open it, and close it on leaving."""
        failure: Exception | None = None
        async with AsyncExitStack() as stack:
            stack.callback(self._incoming.close)
            client, guard = await self._enter(stack)
            guard.connecting = False
            await self._recollection.seed(client)
            async with anyio.create_task_group() as tasks:
                guard.aside = tasks
                tasks.start_soon(self._incoming.run)
                try:
                    yield Connection(
                        self._opening.upstream.address,
                        client,
                        guard,
                        is_stateful=client.protocol_version in HANDSHAKE_PROTOCOL_VERSIONS,
                        recollection=self._recollection,
                    )
                except Exception as error:  # noqa: BLE001 - it is raised again out of all task groups, as it was
                    failure = error
                finally:
                    guard.aside = None
                    tasks.cancel_scope.cancel()
        if failure is not None:
            raise failure

    async def _enter(self, stack: AsyncExitStack) -> tuple[Client, Guard]:
        """Enter the SDK's client, and what is beneath it. What is known of the server is forgotten if it is wrong."""
        learnt = self._opening.learnt
        while True:
            attempt = self._recollection.mode(self._mode)
            exchange = Exchange("connect")
            token = current_exchange.set(exchange)
            inner = AsyncExitStack()
            try:
                client, guard = await self._try(attempt, inner)
            except BaseException as error:
                await inner.aclose()
                if not isinstance(error, Exception):
                    raise
                if attempt != self._mode and _is_of_another_era(error, exchange):
                    learnt.forget()
                    continue
                failed = _connect_failed(exchange, innermost(error), self._opening)
                raise failed from failed.__cause__
            finally:
                current_exchange.reset(token)
            stack.push_async_exit(inner)
            self._recollection.is_recalled = attempt not in (self._mode, "legacy")
            if not self._recollection.is_recalled:
                learnt.keep(client.session)
            return client, guard

    async def _try(self, mode: str, stack: AsyncExitStack) -> tuple[Client, Guard]:
        opening = self._opening
        upstream = opening.upstream
        timeout = httpx2.Timeout(connect=opening.connect_timeout, read=None, write=opening.call_timeout, pool=None)
        factory = opening.http_client or upstream.http_client
        transport = await stack.enter_async_context(beneath(upstream, factory, self._tls, timeout))
        guard = self._way.guard(
            transport,
            headers=opening.headers,
            report=opening.report,
            max_body=opening.settings.max_body,
            query=httpx2.URL(upstream.url).query or None,
            answered=self._recollection.answered,
        )
        guard.proven = opening.proven
        http = outer_client(guard, timeout)
        if isinstance(transport, ThroughClient):
            make_way(http)
        await stack.enter_async_context(http)
        client = Client(
            self._way.transport(upstream.address, http),
            mode=mode,
            prior_discover=opening.learnt.discovery,
            read_timeout_seconds=opening.call_timeout,
            message_handler=self._handle,
            cache=self._recollection.cache(upstream.address),
        )
        await stack.enter_async_context(client)
        # A client of the user's may stop the clock of the SDK's request, while somebody logs in.
        if self._way.is_request_and_response and not isinstance(transport, ThroughClient):
            shorten(client, guard, upstream.address, http, stack)
        return client, guard

    async def _handle(self, message: IncomingMessage) -> None:
        self._recollection.noticed(message)
        if self._opening.overheard is not None:
            self._opening.overheard(message)
        await self._incoming(message)


def _is_of_another_era(error: Exception, exchange: Exchange) -> bool:
    """Whether an opening failed because the server no longer is of the era that was recalled."""
    inner = innermost(error)
    if isinstance(inner, MCPError) and inner.code in (UNSUPPORTED_PROTOCOL_VERSION, METHOD_NOT_FOUND, INVALID_REQUEST):
        return True
    return isinstance(inner, MCPError) and exchange.status in NOT_UNDERSTOOD


def _connect_failed(exchange: Exchange, error: BaseException, opening: Opening) -> TroupeError:
    """The named error for a session that could not be opened."""
    if isinstance(error, TroupeError):
        return error
    if (fault := exchange.fault) is None:
        kind, status = FaultKind.MALFORMED, exchange.status
        if isinstance(error, MCPError):
            kind = FaultKind.INTERRUPTED if error.code == REQUEST_TIMEOUT else FaultKind.REFUSED
            said = f"{_hidden(error.message, opening)[:_SHOWN]}, code {error.code}"
        elif isinstance(error, ValidationError):
            said = "an answer of another shape than MCP's"
        elif isinstance(error, Malformed):
            said = str(error)
        elif isinstance(error, RuntimeError) and "protocol version" in str(error):
            said = "the server speaks no version of MCP that is spoken here"
        else:
            kind, said = FaultKind.INTERRUPTED, type(error).__name__
        fault = Fault(kind, "handshake", said, status, at_connect=True)
    return fault.for_connect(opening.upstream.address)


def _hidden(text: str, opening: Opening) -> str:
    """What a server says, without what it was sent: it may quote the token that it refuses."""
    sent = [*opening.headers.values(), *httpx2.QueryParams(httpx2.URL(opening.upstream.url).query).values()]
    parts = {part for value in sent for part in (value, *value.split())}
    for part in sorted(parts, key=len, reverse=True):
        if len(part) >= _SECRET:
            text = text.replace(part, "…")
    return text


_SECRET: Final = 6
"""Characters of what may be a secret, at the least."""
_SHOWN: Final = 200
"""Characters that are shown of what a server says of its own refusal."""
