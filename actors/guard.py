"""The guard: the HTTP transport beneath every session, which lets one exchange fail without the others.

Why it is needed, measured with the SDK 2.3: an exception from one POST cancels every other call of the session, and the
task that opened it; an HTTP error without a JSON-RPC body loses its status; an answer with another id leaves its caller
waiting; a cancellation is sent in line, before every other message; and when a server with an event store dies, the SDK
waits a second or more before it looks. So the guard

- never raises: a failed exchange is answered with a JSON-RPC error, and the fault behind it is noted for the call it
  happened to (`current_exchange`) and reported to the session;
- lets no answer through that is none, or that is larger than `max_body`;
- ends a body that breaks off as if it had ended there, after it has asked the server at once whether the session still
  exists;
- sends what nobody waits for, cancellations above all, in tasks of its own;
- puts the headers of the lease that makes the call on each request.
"""

from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any, Final

import anyio
import httpx2
from anyio.abc import TaskGroup
from mcp_types import JSONRPCError, JSONRPCResponse, RequestId
from typing_extensions import override

from actors.body import EventBody, Malformed, TooLarge, take
from actors.envelope import NOTHING, Envelope, answers, envelope_of, error_answer, read_message
from actors.event_source import Event
from actors.exchange import Exchange, current_exchange, fault_of, retry_after
from actors.post import Post, put_on, with_query
from actors.presence import SESSION_ID, Presence
from actors.streamed import StreamedAnswer, judge_loose
from actors.verdict import (
    FINAL,
    OF_THE_CALLER,
    bad_gateway,
    ends_the_session,
    event_of,
    read_quietly,
    shown_type,
    stays,
    with_body,
)
from protocol.fault import Fault, FaultKind

ASIDE_TIMEOUT: Final = 5.0
"""Seconds that a message which nobody waits for may take."""
ASIDE_LIMIT: Final = 32
"""How many of them may be under way at once. Past that, cancellations are dropped, and all else is sent in line."""
MAX_BODY: Final = 32_000_000


class Guard(httpx2.AsyncBaseTransport):
    """A transport that answers where the one beneath it would raise.

    Args:
        beneath: the transport that does the work.
        headers: put on each request whose call brings none of its own.
        report: told of each fault that ends the session.
        max_body: the most bytes of one answer, and of one event of a stream.
        query: of the upstream's address, which may be secret: put on each request beneath all that logs addresses.
        answered: told the method and the result of each answer that is one, with whether it is a whole first page.

    Attributes:
        headers: those of the newest lease.
        connecting: while true, the first failure to reach the server answers all that follows.
        aside: where messages that nobody waits for are sent; None sends them in line.
        requests: how many requests were sent.
        proven: called when the server has answered for the first time.
        is_proven: whether the server has answered anything. Until then a fault is one of connecting, handshake or not.
        session_id: the server's id of the session; None if it gave none.
        is_introducing: whether the end of a handshake is still to be sent, before anything else.
        received: responses that have come already, by the ids of the requests that will be sent for them.
    """

    def __init__(
        self,
        beneath: httpx2.AsyncBaseTransport,
        *,
        headers: Mapping[str, str],
        report: Callable[[Fault], None],
        max_body: int = MAX_BODY,
        query: bytes | None = None,
        answered: Callable[[Envelope, dict[str, Any]], None] | None = None,
    ) -> None:
        self.headers = headers
        self.connecting = True
        self.aside: TaskGroup | None = None
        self.requests = 0
        self.is_proven = False
        self.proven: Callable[[], None] | None = None
        self.session_id: str | None = None
        self.is_introducing = False
        self.received: dict[RequestId, httpx2.Response] = {}
        self.max_body = max_body
        self._beneath = beneath
        self._report = report
        self._query = query
        self._answered = answered
        self._first_failure: Fault | None = None
        self._presence = Presence(self._send, report)
        self._aside = 0
        self._has_no_stream = False

    @override
    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        exchange = current_exchange.get()
        try:
            put_on(request, exchange, self.headers)
            return await self._handle(request, exchange)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the affair of this exchange alone
            step = exchange.step if exchange is not None else "message"
            return self._stand_in(Post(request, exchange, step, NOTHING), self._fault_of(error, step))

    async def _handle(self, request: httpx2.Request, exchange: Exchange | None) -> httpx2.Response:
        if request.method == "POST":
            envelope = envelope_of(await request.aread())
            if envelope.id is None:
                return await self._tell(request, envelope)
            if self.received and (response := self.received.pop(envelope.id, None)) is not None:
                return response
            if envelope.method == "initialize":
                # It negotiates. A session that does so anew would name what it spoke before.
                for name in ("mcp-protocol-version", "mcp-method"):
                    request.headers.pop(name, None)
            names_itself = self.connecting and envelope.method is not None
            step = envelope.method or "message" if exchange is None or names_itself else exchange.step
            return await self._ask(Post(request, exchange, step, envelope))
        if request.method == "GET":
            return await self._get(request)
        return await self._end(request)

    @override
    async def aclose(self) -> None:
        await self._beneath.aclose()

    # --- requests

    async def ask(self, post: Post) -> httpx2.Response:
        """Send a request whose outside is known. Never raises, as `handle_async_request`."""
        try:
            put_on(post.request, post.exchange, self.headers)
            return await self._ask(post)
        except Exception as error:  # noqa: BLE001 - as above
            return self._stand_in(post, self._fault_of(error, post.step))

    async def _ask(self, post: Post) -> httpx2.Response:
        """A request whose answer somebody waits for."""
        if post.exchange is not None:
            post.exchange.fault = None  # an earlier request of the same call may have failed, and been made up for
        if self.connecting and self._first_failure is not None:
            return self._stand_in(post, self._first_failure)
        try:
            response = await self._send(post.request)
        except Exception as error:  # noqa: BLE001 - whatever the transport raises is the affair of this exchange alone
            fault = self._fault_of(error, post.step)
            if self.connecting:
                self._first_failure = fault
            return self._stand_in(post, fault)
        if post.exchange is not None:
            post.exchange.status = response.status_code
        if response.is_error:
            return await self._judge(post, response)
        if response.has_redirect_location:
            return await self._redirected(post, response)
        if post.exchange is not None:
            post.exchange.was_answered = True
        if post.envelope.method == "initialize":
            self.session_id = response.headers.get(SESSION_ID) or self.session_id
            self.is_introducing = True
        return await self._read(post, response)

    async def _read(self, post: Post, response: httpx2.Response) -> httpx2.Response:
        """See to it that the answer is one."""
        kind = response.headers.get("content-type", "").lower()
        if response.status_code != HTTPStatus.ACCEPTED:
            if kind.startswith("application/json"):
                return await self._read_json(post, response)
            if kind.startswith("text/event-stream"):
                return await self._read_events(post, response)
        await response.aclose()
        what = f"HTTP {response.status_code} with {shown_type(kind)} is no answer"
        return self._stand_in(post, self._fault(FaultKind.MALFORMED, post.step, what))

    async def _read_json(self, post: Post, response: httpx2.Response) -> httpx2.Response:
        try:
            body = await take(response, self.max_body)
        except Exception as error:  # noqa: BLE001 - as above
            return await self._broken_off(post, error)
        message = read_message(body)
        if post.envelope.id is None or not answers(message, post.envelope.id):
            what = "a body that is no JSON-RPC answer to it"
            return self._stand_in(post, self._fault(FaultKind.MALFORMED, post.step, what))
        self._prove()
        if isinstance(message, JSONRPCResponse):
            post.result = message.result
            self._note_result(post, message.result)
        if isinstance(message, JSONRPCError):
            # With an error status the SDK takes an answer without an id as one to this request.
            response.status_code = HTTPStatus.BAD_REQUEST
        return with_body(response, httpx2.ByteStream(body))

    async def _read_events(self, post: Post, response: httpx2.Response) -> httpx2.Response:
        def noted(result: dict[str, Any]) -> None:
            if not answer.may_come:  # nothing came before it
                post.result = result
            self._note_result(post, result)

        answer = StreamedAnswer(noted)

        async def ended(error: Exception | None) -> bytes:
            if answer.is_there or (error is None and answer.may_come):
                return b""  # in good order, or for the SDK to resume, or to tell the caller
            if error is None:
                error = Malformed("an event stream without an answer")
            elif not isinstance(error, (Malformed, TooLarge)) and SESSION_ID in post.request.headers:
                if not await self._presence.is_lost(post.request, post.step):
                    return b""  # the session lives: the SDK resumes the stream if it can, and ends the call if not
                fault = self._fault_of(error, post.step)
                if post.exchange is not None:
                    post.exchange.fault = fault
                return event_of(error_answer(fault))
            return event_of((await self._broken_off(post, error)).content)

        return await self._streaming(post, response, answer.judge, ended)

    async def _streaming(
        self,
        post: Post,
        response: httpx2.Response,
        judge: Callable[[Event], bytes],
        ended: Callable[[Exception | None], Awaitable[bytes]],
    ) -> httpx2.Response:
        try:
            body = EventBody(response, limit=self.max_body, judge=judge, ended=ended)
        except Malformed as error:
            await response.aclose()
            return await self._broken_off(post, error)
        return with_body(response, body)

    def _prove(self) -> None:
        """The server has answered something."""
        if not self.is_proven and self.proven is not None:
            self.proven()
        self.is_proven = True

    def _note_result(self, post: Post, result: dict[str, Any]) -> None:
        self._prove()
        if post.exchange is not None and post.envelope.method == "tools/call":
            post.exchange.result = post.request.content, result
        if self._answered is not None:
            self._answered(post.envelope, result)

    # --- messages that nobody waits for

    async def _tell(self, request: httpx2.Request, envelope: Envelope) -> httpx2.Response:
        tasks = self.aside
        if envelope.method == "notifications/initialized":
            await self._deliver(request)  # what follows it must not overtake it
            self.is_introducing = False
        elif tasks is not None and self._aside < ASIDE_LIMIT:
            self._aside += 1
            tasks.start_soon(self._tell_aside, request)
        elif tasks is None or envelope.method != "notifications/cancelled":
            await self._deliver(request)
        return httpx2.Response(HTTPStatus.ACCEPTED)

    async def _tell_aside(self, request: httpx2.Request) -> None:
        try:
            with anyio.move_on_after(ASIDE_TIMEOUT):
                await self._deliver(request)
        finally:
            self._aside -= 1

    async def _deliver(self, request: httpx2.Request) -> None:
        """Send a message. If that fails, so will the next request, and whoever makes that is told."""
        if self.connecting and self._first_failure is not None:
            return
        try:
            await read_quietly(await self._send(request))
        except Exception as error:  # noqa: BLE001 - as above
            if self.connecting:
                self._first_failure = self._fault_of(error, "message")
                self._note(current_exchange.get(), self._first_failure)

    async def _end(self, request: httpx2.Request) -> httpx2.Response:
        """The end of the session: it is gone either way, and the SDK would warn of anything else than this."""
        try:
            await read_quietly(await self._send(request))
        except Exception as error:  # noqa: BLE001 - as above
            self._report(self._fault_of(error, "session end"))
        return httpx2.Response(HTTPStatus.NO_CONTENT)

    # --- the event stream

    async def _get(self, request: httpx2.Request) -> httpx2.Response:
        """The event stream is an extra. Whether the session lives without it is asked; `Presence` reports."""
        step = "event stream"
        if self._has_no_stream and "last-event-id" not in request.headers:
            return httpx2.Response(HTTPStatus.METHOD_NOT_ALLOWED)  # the SDK asks twice
        try:
            response = await self._send(request)
        except Exception as error:  # noqa: BLE001 - as above
            if SESSION_ID in request.headers:
                await self._presence.is_lost(request, step)
            return bad_gateway(self._fault_of(error, step))
        if response.status_code == HTTPStatus.NOT_FOUND:
            # Some servers have no event stream and say 404 where the specification says 405: a ping tells.
            await self._presence.is_lost(request, step, presumed=False)
        if response.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            self._has_no_stream = True
        if not response.is_success:
            return response

        async def ended(error: Exception | None) -> bytes:
            if error is not None and SESSION_ID in request.headers:
                await self._presence.is_lost(request, step)
            return b""

        return await self._streaming(Post(request, None, step, NOTHING), response, judge_loose, ended)

    # --- faults

    async def _judge(self, post: Post, response: httpx2.Response) -> httpx2.Response:
        """Tell an HTTP error that is a JSON-RPC response from one that is not, and from one that ends the session."""
        body = await read_quietly(response)
        message = read_message(body)
        error = message if isinstance(message, JSONRPCError) else None
        status = response.status_code
        detail = f"HTTP {status} {httpx2.codes.get_reason_phrase(status)}".rstrip()  # not the server's, which may quote
        if self._knows_session(post.request) and ends_the_session(status, error):
            return self._stand_in(post, self._fault(FaultKind.TERMINATED, post.step, f"HTTP {status}", status))
        pause = retry_after(response.headers.get("retry-after"))
        fault = self._fault(FaultKind.REFUSED, post.step, detail, status, pause)
        if self.connecting and status in FINAL:
            self._first_failure = fault
        if error is None or status in OF_THE_CALLER:
            return self._stand_in(post, fault)
        if self.connecting:
            self._note(post.exchange, fault)
        self._prove()
        return httpx2.Response(status, headers={"content-type": "application/json"}, content=body)

    async def _redirected(self, post: Post, response: httpx2.Response) -> httpx2.Response:
        """Let those redirects through that keep the message and the origin: the SDK follows them, and no others."""
        fault = self._fault(FaultKind.REFUSED, post.step, "redirected, and not followed", response.status_code)
        if stays(post.request, response):
            if post.exchange is not None:
                post.exchange.fault = fault  # which the next request takes back
            return response
        await response.aclose()
        return self._stand_in(post, fault)

    async def _broken_off(self, post: Post, error: Exception) -> httpx2.Response:
        """A body ended before its end, or had to be ended. Answers what to put in its place."""
        match error:
            case TooLarge():
                fault = self._fault(FaultKind.TOO_LARGE, post.step, f"more than {self.max_body} bytes")
            case Malformed():
                fault = self._fault(FaultKind.MALFORMED, post.step, str(error))
            case _:
                fault = self._fault_of(error, post.step)
                if SESSION_ID in post.request.headers:
                    await self._presence.is_lost(post.request, post.step)
                    if post.exchange is not None:
                        post.exchange.fault = fault
                    return bad_gateway(fault)
        return self._stand_in(post, fault)

    def _stand_in(self, post: Post, fault: Fault) -> httpx2.Response:
        """The response to an exchange that got none: the SDK hands the error in it to the one who waits for it."""
        self._note(post.exchange, fault)
        return bad_gateway(fault)

    def _note(self, exchange: Exchange | None, fault: Fault) -> None:
        if exchange is not None:
            exchange.fault = fault
        if fault.ends_session:
            self._report(fault)

    def _fault(
        self, kind: FaultKind, step: str, detail: str, status: int | None = None, pause: float | None = None
    ) -> Fault:
        return Fault(kind, step, detail, status, pause, at_connect=self.connecting or not self.is_proven)

    def _fault_of(self, error: Exception, step: str) -> Fault:
        return fault_of(error, step, at_connect=self.connecting or not self.is_proven)

    def _knows_session(self, request: httpx2.Request) -> bool:
        """Whether this request is one of a session that the server keeps."""
        return SESSION_ID in request.headers

    # --- what goes out

    async def _send(self, request: httpx2.Request) -> httpx2.Response:
        self.requests += 1
        if self._query is not None and not request.url.query:
            request = with_query(request, self._query)
        return await self._beneath.handle_async_request(request)
