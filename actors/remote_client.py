"""The SDK's client for a session that another worker has: its requests go there, and are not sent from here.

What the session agreed on with its server comes from there, so nothing is negotiated a second time. Above its
dispatcher the client is as any other: results are read and checked, kept and given out as on the worker that has the
session. What only that worker can do is refused here by name: a stream of its own (`subscriptions/listen`), and
notifications to the server.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, nullcontext
from typing import Any, Final, Protocol, cast

import anyio
import mcp_types as types
from anyio.abc import TaskStatus
from mcp import Client, MCPError
from mcp.client import Transport
from mcp.client.session import IncomingMessage
from mcp.shared.dispatcher import CallOptions, OnNotify, OnNotifyIntercept, OnRequest, ProgressFnT, run_notify_intercept
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS
from pydantic import ValidationError

from actors.connection import Connection
from actors.envelope import Envelope
from actors.exchange import current_exchange
from actors.incoming import Incoming, MessageHandler
from actors.learnt import Learnt, Recollection
from protocol.errors import EnvelopeRefused, Refusal
from protocol.fault import Fault
from protocol.forwarded_answer import Notification
from protocol.json_text import to_json
from protocol.raw_request import RawRequest

WAITING: Final = 256
"""Notifications that may wait to be read; past that the newest are left out."""


class Use(Protocol):
    """Makes a request where the session is."""

    def __call__(
        self, request: RawRequest, timeout: float | None, on_progress: ProgressFnT | None, /
    ) -> Awaitable[dict[str, Any]]:
        """Make it, within so many seconds."""
        ...


class RemoteDispatcher:
    """In the place of what sends a session's requests. See `mcp.shared.dispatcher.Dispatcher`.

    Args:
        introduction: what the session agreed on with its server.
        use: makes requests.
        recollection: is told of their results.

    Attributes:
        dropped: how many notifications found no room.
    """

    def __init__(self, introduction: Mapping[str, Any], use: Use, recollection: Recollection) -> None:
        self._introduction = introduction
        self._use = use
        self._recollection = recollection
        self._in, self._out = anyio.create_memory_object_stream[Notification](WAITING)
        self.dropped = 0

    def notified(self, notification: Notification) -> None:
        """The server has said something of itself. Never waits."""
        try:
            self._in.send_nowait(notification)
        except (anyio.WouldBlock, anyio.BrokenResourceError, anyio.ClosedResourceError):
            self.dropped += 1

    async def run(
        self,
        on_request: OnRequest,
        on_notify: OnNotify,
        on_notify_intercept: OnNotifyIntercept | None = None,
        *,
        task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
    ) -> None:
        """Hand on what the server says of itself, until cancelled. It asks nothing here."""
        del on_request
        with self._in, self._out:
            task_status.started()
            async for said in self._out:
                if not run_notify_intercept(on_notify_intercept, said.method, said.params):
                    await on_notify(cast("Any", None), said.method, said.params)

    async def send_raw_request(
        self, method: str, params: Mapping[str, Any] | None, opts: CallOptions | None = None
    ) -> dict[str, Any]:
        """Make a request, and wait for its result.

        Raises:
            MCPError: the server's error; code -32001 when its time was over; -32601 for what is only had where the
                session is.

        And what making it elsewhere raises. Cancellation travels, and the server is told.
        """
        if method == "initialize":
            return dict(self._introduction["said"])
        if method == "subscriptions/listen":
            raise MCPError(types.METHOD_NOT_FOUND, f"{method} is had only on the worker that owns the conversation")
        options: CallOptions = opts or {}
        request = RawRequest.of(method, params)
        result = await self._use(request, options.get("timeout"), options.get("on_progress"))
        self._recollection.answered(Envelope(method, 0, not params or "cursor" not in params), result)
        exchange = current_exchange.get()
        if exchange is not None and method == "tools/call" and self._recollection.has_seeds:
            exchange.result = to_json({"params": request.params}), dict(result)
        return result

    async def notify(self, method: str, params: Mapping[str, Any] | None, opts: CallOptions | None = None) -> None:
        """Refuse to tell the server anything: what there is to say at the start was said when the session was opened.

        Raises:
            MCPError: it is something else.
        """
        del params, opts
        if method != "notifications/initialized":
            raise MCPError(types.METHOD_NOT_FOUND, f"{method} is sent only by the worker that owns the conversation")


@asynccontextmanager
async def remote_connection(
    address: str,
    introduction: Mapping[str, Any],
    use: Use,
    *,
    call_timeout: float,
    handler: MessageHandler | None,
    learnt: Learnt,
) -> AsyncGenerator[tuple[Connection, Callable[[Notification], None]]]:
    """A connection to a session that another worker has, and whom to give what its server says of itself. On leaving it
    ends; calls that are under way are not its affair.

    Args:
        address: the server's, as it may be shown.
        introduction: what `Connection.introduction` says of the session, there.
        use: makes requests of it.
        call_timeout: seconds that a call may take.
        handler: given what the server says of itself.
        learnt: of the tools' schemas.

    Raises:
        EnvelopeRefused: the introduction is none.
    """
    recollection = Recollection(learnt, _unheard)
    dispatcher = RemoteDispatcher(introduction, use, recollection)
    incoming = Incoming(handler, address)

    async def handle(message: IncomingMessage) -> None:
        recollection.noticed(message)
        await incoming(message)

    async def connect(*_: object) -> Any:
        return dispatcher

    async with AsyncExitStack() as stack:
        stack.callback(incoming.close)
        stack.callback(dispatcher._in.close)  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
        stack.callback(dispatcher._out.close)  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
        try:
            client = Client(
                cast("Transport", nullcontext()),
                **_era(introduction),
                read_timeout_seconds=call_timeout,
                message_handler=handle,
                cache=recollection.cache(address),
            )
            # A client takes no dispatcher from outside, though its session does: hence the place where it gets one.
            client._connect = connect  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
            await stack.enter_async_context(cast("AbstractAsyncContextManager[Client]", client))
            is_stateful = bool(introduction["isStateful"])
        except (LookupError, TypeError, ValueError, ValidationError) as error:
            why = f"what the owner of a session says of it cannot be read ({type(error).__name__})"
            raise EnvelopeRefused(why, reason=Refusal.MALFORMED) from None
        await recollection.seed(client)
        tasks = await stack.enter_async_context(anyio.create_task_group())
        tasks.start_soon(incoming.run)
        stack.callback(tasks.cancel_scope.cancel)
        yield Connection(address, client, is_stateful=is_stateful, recollection=recollection), dispatcher.notified


def _era(introduction: Mapping[str, Any]) -> dict[str, Any]:
    version = introduction["protocolVersion"]
    if version in HANDSHAKE_PROTOCOL_VERSIONS:
        return {"mode": "legacy"}
    return {"mode": version, "prior_discover": types.DiscoverResult.model_validate(introduction["said"])}


def _unheard(_: Fault) -> None:
    """What becomes of the session is told where it is."""
