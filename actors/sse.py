"""The older HTTP with server-sent events: one stream on which everything comes, and a POST for each message that goes.

The transport is ours. The SDK's sends one POST after the other, so that a slow one holds up all that follow; ends the
session when one fails, or when an event is larger than 1 MiB; and its callers wait for their timeouts when either
happens.
"""

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from types import TracebackType
from typing import Any, Final, Self, cast

import anyio
import httpx2
from anyio.abc import TaskGroup, TaskStatus
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.client import Transport
from mcp.shared.message import SessionMessage
from mcp_types import CONNECTION_CLOSED, ErrorData, JSONRPCError, JSONRPCNotification, JSONRPCRequest, JSONRPCResponse
from typing_extensions import override

from actors.body import Malformed, TooLarge
from actors.envelope import NOTHING, Envelope, error_answer, id_in, read_message
from actors.event_source import Event
from actors.exchange import current_exchange
from actors.guard import Guard
from actors.post import Post
from actors.verdict import event_of, read_quietly, shown_type
from protocol.fault import Fault, FaultKind

STREAM: Final = "event stream"
Incoming = MemoryObjectSendStream[SessionMessage | Exception]


class SseGuard(Guard):
    """The guard where answers come on the session's one stream.

    It knows which requests wait for an answer: one that is none, or too large, fails that call alone.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._waiting: dict[str, Post] = {}

    @override
    async def _ask(self, post: Post) -> httpx2.Response:
        name = str(post.envelope.id)
        self._waiting[name] = post
        is_taken = False
        try:
            response = await super()._ask(post)
            is_taken = not response.is_error
        finally:
            if not is_taken:
                self._waiting.pop(name, None)
        return response

    @override
    async def _read(self, post: Post, response: httpx2.Response) -> httpx2.Response:
        await read_quietly(response)
        return httpx2.Response(202)

    @override
    async def _tell(self, request: httpx2.Request, envelope: Envelope) -> httpx2.Response:
        if envelope.method == "notifications/cancelled":
            with suppress(ValueError, LookupError, TypeError):
                self._waiting.pop(str(json.loads(request.content)["params"]["requestId"]), None)
        return await super()._tell(request, envelope)

    @override
    async def _get(self, request: httpx2.Request) -> httpx2.Response:
        """The one stream. Without it there is no session."""
        post = Post(request, current_exchange.get(), STREAM, NOTHING)
        try:
            response = await self._send(request)
        except Exception as error:  # noqa: BLE001 - whatever the transport raises is why there is no session
            return self._stand_in(post, self._fault_of(error, STREAM))
        if post.exchange is not None:
            post.exchange.status = response.status_code
        if response.is_error:
            return await self._judge(post, response)
        if response.has_redirect_location:
            return await self._redirected(post, response)
        kind = response.headers.get("content-type", "").lower()
        if not kind.startswith("text/event-stream"):
            await response.aclose()
            what = f"HTTP {response.status_code} with {shown_type(kind)} is no event stream"
            return self._stand_in(post, self._fault(FaultKind.MALFORMED, STREAM, what))

        async def ended(error: Exception | None) -> bytes:
            self._lose(error, post)
            return b""

        return await self._streaming(post, response, self._pass, ended)

    @override
    def _knows_session(self, request: httpx2.Request) -> bool:
        return request.method == "POST"

    def _lose(self, error: Exception | None, post: Post) -> None:
        """The stream has ended, and the session and all its calls with it."""
        if error is None or isinstance(error, (Malformed, TooLarge)):
            why = "the server ended it" if error is None else f"an event of more than {self.max_body} bytes"
            fault = self._fault(FaultKind.INTERRUPTED, STREAM, why)
        else:
            fault = self._fault_of(error, STREAM)
        if self.connecting and post.exchange is not None:
            post.exchange.fault = fault
        for waiting in self._waiting.values():
            if waiting.exchange is not None:
                waiting.exchange.fault = Fault(
                    fault.kind, waiting.step, fault.detail, cause=fault.cause, at_connect=fault.at_connect
                )
        self._waiting.clear()
        self._report(fault)

    def _pass(self, event: Event) -> bytes:
        """Judge an event: what to pass on in its stead."""
        if event.is_cut:
            return self._instead(event.raw, FaultKind.TOO_LARGE, f"more than {self.max_body} bytes")
        name, text, _ = event.read()
        if name != "message":
            return event.raw if name == "endpoint" else b""
        message = read_message(text) if text else None
        if message is None:
            return self._instead(text, FaultKind.MALFORMED, "an event that is no JSON-RPC message") if text else b""
        if isinstance(message, (JSONRPCResponse, JSONRPCError)):
            post = self._waiting.pop(str(message.id), None)
            if post is not None and isinstance(message, JSONRPCResponse):
                self._note_result(post, message.result)
        return event.raw

    def _instead(self, text: bytes, kind: FaultKind, what: str) -> bytes:
        """The answer in place of one that cannot be passed on; nothing if it is not known whose it is."""
        name = None if b'"method"' in text[:256] else id_in(text[:256])
        post = None if name is None else self._waiting.pop(str(name), None)
        if post is None:
            return b""
        fault = self._fault(kind, post.step, what)
        self._note(post.exchange, fault)
        return event_of(error_answer(fault, name))


def sse(address: str, http: httpx2.AsyncClient) -> Transport:
    """The transport to an address over a guarded client."""
    return cast("Transport", _streams(address, http))


@asynccontextmanager
async def _streams(
    address: str, http: httpx2.AsyncClient
) -> AsyncGenerator[tuple[MemoryObjectReceiveStream[SessionMessage | Exception], "Posts"]]:
    sending, receiving = anyio.create_memory_object_stream[SessionMessage | Exception](0)
    with sending, receiving:
        async with anyio.create_task_group() as tasks:
            endpoint = await tasks.start(_listen, address, http, sending)
            posts = Posts(tasks, http, endpoint, sending)
            try:
                yield receiving, posts
            finally:
                await posts.aclose()
                tasks.cancel_scope.cancel()


async def _listen(
    address: str, http: httpx2.AsyncClient, sending: Incoming, *, task_status: TaskStatus[httpx2.URL]
) -> None:
    """Read the stream to its end, which is the session's."""
    headers = {"accept": "text/event-stream", "cache-control": "no-store"}
    is_started = False
    # The guard lets only those redirects through that stay with the server.
    async with sending, http.stream("GET", address, headers=headers, follow_redirects=True) as response:
        if response.is_success:
            async for event in httpx2.EventSource(response, max_event_size=None):
                if event.event == "endpoint" and not is_started:
                    task_status.started(_endpoint(response.url, event.data))
                    is_started = True
                elif event.event == "message" and (message := read_message(event.data.encode())) is not None:
                    with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
                        await sending.send(SessionMessage(message))
    if not is_started:
        raise Malformed("an event stream that names no endpoint")


def _endpoint(stream: httpx2.URL, said: str) -> httpx2.URL:
    """Where messages are posted to.

    Raises:
        Malformed: on another origin than the stream, where nothing must be sent to.
    """
    try:
        endpoint = stream.join(said)
    except httpx2.InvalidURL:
        raise Malformed("an endpoint that is no address") from None
    if (endpoint.scheme, endpoint.host, endpoint.port) != (stream.scheme, stream.host, stream.port):
        raise Malformed("an endpoint on another origin")
    return endpoint


class Posts:
    """Takes the SDK's messages, and posts each in a task of its own, in the context of who sends it."""

    def __init__(self, tasks: TaskGroup, http: httpx2.AsyncClient, endpoint: httpx2.URL, sending: Incoming) -> None:
        self._tasks = tasks
        self._http = http
        self._endpoint = endpoint
        self._sending = sending
        self._is_closed = False

    async def send(self, item: SessionMessage, /) -> None:
        """Post a message, without waiting for it: except for the one that nothing must overtake."""
        if self._is_closed:
            raise anyio.ClosedResourceError
        message = item.message
        if isinstance(message, JSONRPCNotification) and message.method == "notifications/initialized":
            await self._post(item)
        else:
            self._tasks.start_soon(self._post, item)

    async def _post(self, item: SessionMessage) -> None:
        message = item.message
        body = message.model_dump(by_alias=True, mode="json", exclude_unset=True)
        error = ErrorData(code=CONNECTION_CLOSED, message="the message could not be posted")
        try:
            response = await self._http.post(self._endpoint, json=body, follow_redirects=True)
            if response.is_success:
                return
            answer = read_message(response.content)
            if isinstance(answer, JSONRPCError):
                error = answer.error
        except httpx2.HTTPError:
            pass  # too many redirects: the guard has noted it
        if isinstance(message, JSONRPCRequest):
            with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
                failed = JSONRPCError(jsonrpc="2.0", id=message.id, error=error)
                await self._sending.send(SessionMessage(failed))

    async def aclose(self) -> None:
        """Post nothing more."""
        self._is_closed = True

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()
