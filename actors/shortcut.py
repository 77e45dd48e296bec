"""The short way of a call: from the SDK's session straight to the guard, in the task that makes it.

Nearly every request is answered at once, by JSON or by an event stream that holds nothing but the answer. For those the
SDK's streams and tasks between its session and the wire, and a second parse, are a third of what a call costs. So such
a request is sent from here. What comes back in any other shape, an error, a redirect, a stream that says
something else first or can be resumed, is given to the SDK as if its own request had brought it, under the same id; and
what asks for more than an answer (progress, resumption, a stream of its own) goes the SDK's way from the start. What
that all means stays its affair alone.
"""

import json
import math
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Any, Final, cast

import anyio
import anyio.lowlevel
import httpx2
from mcp import Client, MCPError
from mcp.shared.dispatcher import CallOptions
from mcp.shared.inbound import MCP_PROTOCOL_VERSION_HEADER
from mcp.shared.jsonrpc_dispatcher import JSONRPCDispatcher
from mcp_types import CONNECTION_CLOSED, REQUEST_TIMEOUT
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS
from opentelemetry.context import get_current
from opentelemetry.trace import ProxyTracerProvider, get_tracer_provider

from actors.body import EventBody
from actors.envelope import Envelope
from actors.exchange import current_exchange
from actors.guard import ASIDE_TIMEOUT, Guard
from actors.post import Post
from actors.presence import SESSION_ID

FIRST_ID: Final = 1_000_000_000
"""Where the ids begin: far from those that the SDK counts, and below what 32 bits hold."""
_UNDERSTOOD: Final = frozenset({"headers", "timeout"})
"""The options of a request that may go the short way."""


class Shortcut:
    """In the place of the dispatcher of an open session. See `mcp.shared.dispatcher.Dispatcher`.

    Args:
        beneath: the session's own.
        guard: sends, and answers whatever happens.
        address: the server's.
        http: the client over the guard: its headers, timeouts and cookies are used here, too.
    """

    def __init__(self, beneath: JSONRPCDispatcher[Any], guard: Guard, address: str, http: httpx2.AsyncClient) -> None:
        self.run = beneath.run
        self.notify = beneath.notify
        self._beneath = beneath
        self._guard = guard
        self._url = httpx2.URL(address)
        self._http = http
        self._headers = httpx2.Headers(http.headers)
        self._headers["host"] = self._url.netloc.decode("ascii")
        self._headers["accept"] = "application/json, text/event-stream"
        self._headers["content-type"] = "application/json"
        self._extensions = {"timeout": http.timeout.as_dict()}
        self._last = FIRST_ID
        self._under_way: set[anyio.CancelScope] = set()
        self._is_closed = False

    def close(self) -> None:
        """End what is under way, each with an error of its own. What comes later is the affair of what is beneath."""
        self._is_closed = True
        for scope in self._under_way:
            scope.cancel()

    async def send_raw_request(
        self, method: str, params: Mapping[str, Any] | None, opts: CallOptions | None = None
    ) -> dict[str, Any]:
        """Send a request, and wait for its result.

        Raises:
            MCPError: the server's error; code -32001 when the timeout elapsed; -32000 when the session was closed.

        Cancellation closes the response. In the handshake era, where that says nothing, the server is told.
        """
        options: CallOptions = opts or {}
        if not options.keys() <= _UNDERSTOOD or self._is_closed or self._guard.is_introducing or _is_traced():
            return await self._beneath.send_raw_request(method, params, options)
        self._last += 1
        name = self._last
        try:
            request = self._request({"id": name, "method": method, "params": params}, options.get("headers", {}))
        except ValueError:  # it is for the SDK to say what cannot be said in JSON
            return await self._beneath.send_raw_request(method, params, options)
        exchange = current_exchange.get()
        envelope = Envelope(method, name, not params or "cursor" not in params)
        post = Post(request, exchange, exchange.step if exchange is not None else method, envelope)
        seconds = options.get("timeout", math.inf)
        await anyio.lowlevel.checkpoint_if_cancelled()
        deadline = anyio.current_time() + seconds
        scope = anyio.CancelScope(deadline=deadline)
        self._under_way.add(scope)
        response: httpx2.Response | None = None
        try:
            with scope:
                response = await self._exchange(post)
        except anyio.get_cancelled_exc_class():
            await self._take_back(name, options, "its caller was cancelled", shield=True)
            raise
        finally:
            self._under_way.discard(scope)
        if post.result is not None:
            return post.result
        if response is not None:
            left: CallOptions = {**options, "request_id": name, "timeout": max(0.0, deadline - anyio.current_time())}
            return await self._hand_over(name, response, method, params, left)
        if self._is_closed:
            raise MCPError(CONNECTION_CLOSED, "Connection closed")
        await self._take_back(name, options, f"not answered within {seconds} s", shield=False)
        raise MCPError(REQUEST_TIMEOUT, f"Request {method!r} timed out")

    def _request(self, message: Mapping[str, Any], said: Mapping[str, str]) -> httpx2.Request:
        """A message as a request, with these headers of the session's.

        Raises:
            ValueError: it cannot be said in JSON.
        """
        whole = {"jsonrpc": "2.0", **message}
        if not whole.get("params"):
            whole.pop("params", None)
        content = json.dumps(whole, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
        headers = self._headers.copy()
        headers["content-length"] = str(len(content))
        if self._guard.session_id is not None:
            headers[SESSION_ID] = self._guard.session_id
        headers.update(said)
        request = httpx2.Request("POST", self._url, headers=headers, content=content, extensions=self._extensions)
        if self._http.cookies.jar:
            self._http.cookies.set_cookie_header(request)
        return request

    async def _exchange(self, post: Post) -> httpx2.Response:
        """Send a request and look at the beginning of the response. It is done with if `post` has a result then."""
        response = await self._guard.ask(post)
        body = response.stream
        try:
            if isinstance(body, EventBody) and (first := await anext(body, b"")) and post.result is None:
                body.put_back(first)
        except BaseException:
            with anyio.CancelScope(shield=True):
                await response.aclose()
            raise
        if post.result is not None:
            await response.aclose()
            if "set-cookie" in response.headers:
                response.request = post.request
                self._http.cookies.extract_cookies(response)
        return response

    async def _hand_over(
        self,
        name: int,
        response: httpx2.Response,
        method: str,
        params: Mapping[str, Any] | None,
        options: CallOptions,
    ) -> dict[str, Any]:
        """Let the SDK make of a response what it will."""
        self._guard.received[name] = response
        try:
            return await self._beneath.send_raw_request(method, params, options)
        finally:
            if (left := self._guard.received.pop(name, None)) is not None:
                with anyio.CancelScope(shield=True):
                    await left.aclose()

    async def _take_back(self, name: int, options: CallOptions, reason: str, *, shield: bool) -> None:
        """Tell the server that nobody waits for this request any more, where closing its response does not say so."""
        version = options.get("headers", {}).get(MCP_PROTOCOL_VERSION_HEADER, "")
        if version not in HANDSHAKE_PROTOCOL_VERSIONS:
            return
        message = {"method": "notifications/cancelled", "params": {"requestId": name, "reason": reason}}
        with anyio.move_on_after(ASIDE_TIMEOUT, shield=shield):
            await self._guard.handle_async_request(self._request(message, {MCP_PROTOCOL_VERSION_HEADER: version}))


def _is_traced() -> bool:
    """Whether there is a trace to go on with, or somebody who collects them: the SDK makes spans of its requests."""
    return bool(get_current()) or not isinstance(get_tracer_provider(), ProxyTracerProvider)


def shorten(client: Client, guard: Guard, address: str, http: httpx2.AsyncClient, stack: AsyncExitStack) -> None:
    """Let an entered client's requests go the short way, until the stack is left.

    A client takes no dispatcher from outside, though its session does: hence the place where it keeps the one it made.
    With an SDK that keeps it elsewhere, requests go the SDK's way.
    """
    session = client.session
    beneath = cast("object", getattr(session, "_dispatcher", None))
    if isinstance(beneath, JSONRPCDispatcher):
        shortcut = Shortcut(cast("JSONRPCDispatcher[Any]", beneath), guard, address, http)
        session._dispatcher = shortcut  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
        stack.callback(shortcut.close)
