"""Connections to upstream servers: what one is, and what it takes to open one."""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, Final, Protocol, TypeVar, cast

import anyio
from mcp import Client, MCPError
from mcp.client.session import IncomingMessage
from mcp.shared.dispatcher import ProgressFnT
from mcp_types import CONNECTION_CLOSED, METHOD_NOT_FOUND, REQUEST_TIMEOUT
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS
from pydantic import ValidationError

from actors.exchange import Exchange, current_exchange
from actors.guard import Guard
from actors.incoming import MessageHandler
from actors.learnt import Learnt, Recollection
from actors.raw_request import send_raw
from protocol.errors import CallFailed, CallInterrupted, MalformedResponse, SessionTerminated
from protocol.fault import Fault
from protocol.health import ProbeResult
from protocol.raw_request import RawRequest
from protocol.settings import PoolSettings, Probe, Upstream

__all__ = ["Connection", "Connector", "Learnt", "MessageHandler", "Opening", "innermost"]

T = TypeVar("T")


@dataclass(slots=True, eq=False)
class Connection:
    """An open session with a server, as its borrowers reach it.

    Attributes:
        address: the server's, as it may be shown.
        client: the SDK's client, entered.
        guard: the HTTP transport beneath it; None where there is no HTTP.
        is_stateful: whether the server keeps state in the session: those of the handshake era do.
        recollection: what it takes for granted of the server; None for nothing.
    """

    address: str
    client: Client
    guard: Guard | None = None
    _: KW_ONLY
    is_stateful: bool = True
    recollection: Recollection | None = None

    @property
    def requests(self) -> int:
        """The HTTP requests sent so far."""
        return 0 if self.guard is None else self.guard.requests

    @property
    def is_proven(self) -> bool:
        """Whether the server has answered anything yet."""
        return self.guard is None or self.guard.is_proven

    @property
    def protocol_version(self) -> str:
        """The revision of MCP that the session speaks."""
        return self.client.protocol_version

    async def close(self) -> None:
        """End a connection that needs nobody to hold it open. Others end when they are left."""

    async def call(self, exchange: Exchange, make: Callable[[], Awaitable[T]]) -> T:
        """Make one call on the SDK's client.

        If the server turns out not to be what its key has learnt, the session makes up for it and the call is made
        again: nothing of it has run.

        Args:
            exchange: what is noted of it.
            make: makes the call; twice, if need be.

        Raises:
            CallFailed: it ended without the server's answer.
            MCPError: the server's own error, or code -32001 when the call's timeout elapsed.
        """
        token = current_exchange.set(exchange)
        try:
            return await self._make(exchange, make)
        except RuntimeError as error:
            if str(error) != NOT_OPEN:
                raise
            raise self.has_ended(exchange.step, was_answered=exchange.was_answered) from error
        except (MCPError, ValidationError) as error:
            if (named := self.explain(error, exchange)) is None:
                raise
            # What a validation error quotes may be anything.
            raise named from (named.__cause__ or (error if isinstance(error, MCPError) else None))
        finally:
            current_exchange.reset(token)

    async def request(
        self, request: RawRequest, timeout: float | None, on_progress: ProgressFnT | None = None
    ) -> dict[str, Any]:
        """Make a raw request on the session. `call` is to make it: there its failures get their names.

        Args:
            request: what to ask.
            timeout: seconds that it has for an answer; None means what the client gives its calls.
            on_progress: told how far it is.
        """
        return await send_raw(self.client, request, timeout, on_progress)

    def introduction(self) -> dict[str, Any]:
        """What the session agreed on with its server, as JSON has it: all that another client needs to know in order to
        go on with it. `actors.remote_client` reads it.
        """
        session = self.client.session
        said = session.initialize_result or session.discover_result
        return {
            "protocolVersion": self.protocol_version,
            "isStateful": self.is_stateful,
            "said": None if said is None else said.model_dump(by_alias=True, mode="json", exclude_unset=True),
        }

    def has_ended(self, step: str, *, was_answered: bool = False) -> CallFailed:
        """The named error for what was to be done on a session that was closed before, as by `Pool.end`.

        Args:
            step: what it was.
            was_answered: whether the server has taken a request of it before.
        """
        what = f"{step} on {self.address}"
        if was_answered:
            return CallInterrupted(f"{what} was interrupted: its session was closed, so it may have run")
        return SessionTerminated(f"{what} has not run: its session was closed, acquire another one")

    async def _make(self, exchange: Exchange, make: Callable[[], Awaitable[T]]) -> T:
        recollection = self.recollection
        if recollection is None:
            return await make()
        known = recollection.negotiated
        try:
            return await make()
        except MCPError as error:
            if not recollection.doubts(error, exchange) or not await recollection.negotiate(self.client, known):
                raise
        except RuntimeError as error:
            # Of a call of a tool, which is all that this can come from, the result has the type that `make` returns.
            return cast("T", await recollection.validate_anew(self.client, error, exchange))
        exchange.was_answered = False
        return await make()

    def explain(self, error: MCPError | ValidationError, exchange: Exchange) -> CallFailed | None:
        """The named error for a call that failed, or None if `error` is what the server answered."""
        if exchange.fault is not None:
            return exchange.fault.for_call(self.address, was_answered=exchange.was_answered)
        what = f"{exchange.step} on {self.address}"
        if isinstance(error, ValidationError):
            return MalformedResponse(f"{what} was answered with a result of another shape than MCP's: it may have run")
        if error.code == CONNECTION_CLOSED and error.message in _SAID_BY_THE_SDK:
            return CallInterrupted(
                f"{what} was interrupted: its session or its stream was closed under it, so it may have run"
            )
        return None

    async def probe(self, name: Probe, timeout: float) -> ProbeResult:
        """Ask the server whether it is well, past every cache.

        Args:
            name: what to ask. `skip` asks nothing, and is not supported.
            timeout: seconds that it has for an answer.

        Cancellation ends it.
        """
        if name in ("skip", "discover" if self.protocol_version in HANDSHAKE_PROTOCOL_VERSIONS else "ping"):
            return ProbeResult.UNSUPPORTED
        token = current_exchange.set(Exchange("health check"))
        try:
            with anyio.move_on_after(timeout):
                await self._probe(name)
                return ProbeResult.HEALTHY
            return ProbeResult.SILENT
        except MCPError as error:
            return _OF_A_PROBE.get(error.code, ProbeResult.DEAD)
        except Exception:  # noqa: BLE001 - whatever it is, the server is not well
            return ProbeResult.DEAD
        finally:
            current_exchange.reset(token)

    async def _probe(self, name: Probe) -> None:
        session = self.client.session
        match name:
            case "list_tools":
                await session.list_tools()
            case "list_prompts":
                await session.list_prompts()
            case "list_resources":
                await session.list_resources()
            case "discover":
                await session.send_discover(self.protocol_version)
            case _:
                await session.send_ping()


_SAID_BY_THE_SDK: Final = frozenset(
    {
        "Connection closed",
        "SSE stream ended without a response",
        "SSE stream ended and reconnection attempts were exhausted",
    }
)
"""How the SDK words a -32000 of its own making; the same code from a server stays the server's error."""
NOT_OPEN: Final = "Client must be used within an async context manager"
"""How the SDK's client words it that its session is over."""
_OF_A_PROBE: Final = {METHOD_NOT_FOUND: ProbeResult.UNSUPPORTED, REQUEST_TIMEOUT: ProbeResult.SILENT}


def _unheard(_: Fault) -> None:
    """In the place of who is to be told of faults, until somebody is."""


def _nothing() -> None:
    """As above."""


@dataclass(slots=True, kw_only=True, eq=False)
class Opening:
    """All that a connector needs in order to open a session.

    Attributes:
        upstream: the server.
        headers: sent with each request until a lease brings others.
        settings: the pool's.
        report: to be told of each fault that ends the session.
        proven: to be told when the server has answered for the first time; a connection that knows nothing of that is
            taken for proven. One that is opened by what its key has learnt may be open before.
        learnt: what the key knows of its server.
        connect_timeout, call_timeout: seconds, as of this opening.
        http_client: overrides the upstream's factory.
        handler: what the server sends of itself goes there.
        overheard: is given it, too, and does not wait.
    """

    upstream: Upstream
    headers: Mapping[str, str] = field(repr=False)
    settings: PoolSettings
    learnt: Learnt
    connect_timeout: float
    call_timeout: float
    http_client: Callable[..., object] | None = None
    handler: MessageHandler | None = None
    overheard: Callable[[IncomingMessage], None] | None = None
    report: Callable[[Fault], None] = _unheard
    proven: Callable[[], None] = _nothing


class Connector(Protocol):
    """Opens connections. What it returns is entered and left by one task, and may be cancelled at any point.

    Raises, on entering:
        ConnectFailed: no session could be opened.
        InvalidSettings: the upstream's settings cannot be used.
    """

    def __call__(self, opening: Opening) -> AbstractAsyncContextManager[Connection] | Awaitable[Connection]:
        """Open a session: in a context manager that one task enters and leaves, or, where nothing has to be held open,
        by an awaitable of the connection, which then ends by `Connection.close`.
        """
        ...


def innermost(error: BaseException) -> BaseException:
    """The exception that matters, out of the groups that the SDK's task groups wrap it in."""
    while isinstance(error, BaseExceptionGroup):
        error = cast("BaseExceptionGroup[BaseException]", error).exceptions[0]
    return error
