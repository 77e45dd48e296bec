"""The guard: the HTTP transport beneath every session, which lets one exchange fail without the others.

Why it is needed, measured with the SDK 2.3: an exception from one POST cancels every other call of the session, and the
task that opened it; an HTTP error without a JSON-RPC body loses its status; and when a server with an event store dies,
the SDK waits a second or more before it looks. So the guard

- never raises: a failed exchange is answered with a JSON-RPC error, and the fault behind it is noted for the call it
  happened to (`current_exchange`) and reported to the session;
- ends a body that breaks off as if it had ended there, after it has asked the server at once whether the session still
  exists;
- puts the current lease's headers on each request.
"""

import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any, Final, cast

import anyio
import httpx2
from mcp_types import CONNECTION_CLOSED
from typing_extensions import override

from actors.exchange import Exchange, current_exchange, fault_of, retry_after
from protocol.fault import Fault, FaultKind

SESSION_ID: Final = "mcp-session-id"
PROBE_TIMEOUT: Final = 0.5
"""Seconds that a server has to answer whether it still knows a session whose stream broke off."""
ERROR_BODY_TIMEOUT: Final = 1.0
"""Seconds that the body of an HTTP error may take."""
ERROR_BODY_LIMIT: Final = 65_536
"""Bytes of an HTTP error's body that are read in search of a JSON-RPC error."""
PROBE_BODY: Final = b'{"jsonrpc":"2.0","id":"troupe-probe","method":"ping"}'


class Guard(httpx2.AsyncBaseTransport):
    """A transport that answers where the one beneath it would raise.

    Args:
        beneath: the transport that does the work.
        headers: put on each request.
        report: told of each fault that ends the session.

    Attributes:
        headers: put on each request; those of the current lease.
        connecting: while true, a server that cannot be reached is not tried again: the first fault answers all that
            follows.
        requests: how many requests were sent.
    """

    def __init__(
        self, beneath: httpx2.AsyncBaseTransport, *, headers: Mapping[str, str], report: Callable[[Fault], None]
    ) -> None:
        self.headers = headers
        self.connecting = True
        self.requests = 0
        self._beneath = beneath
        self._report = report
        self._first_failure: Fault | None = None
        self._loss: Fault | None = None
        self._probing = anyio.Lock()

    @override
    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        for name, value in self.headers.items():
            request.headers[name] = value
        exchange = current_exchange.get() if request.method == "POST" else None
        step = exchange.step if exchange is not None else _STEPS.get(request.method, request.method)
        if self.connecting and self._first_failure is not None:
            return self._stand_in(request, exchange, self._first_failure)
        try:
            response = await self._send(request)
        except Exception as error:  # noqa: BLE001 - whatever the transport raises is the affair of this exchange alone
            return await self._failed(request, exchange, fault_of(error, step))
        if response.is_error:
            if request.method == "POST":
                return await self._judge(request, response, exchange, step)
            if request.method == "GET" and response.status_code == HTTPStatus.NOT_FOUND:
                # Some servers have no event stream and say 404 where the specification says 405: a ping tells.
                await self._lost_session(request, step, presumed=False)
        elif exchange is not None and response.is_success:
            exchange.was_answered = True
        if "content-encoding" in response.headers:
            response = _decoded(response)
        stream = cast("httpx2.AsyncByteStream", response.stream)
        response.stream = _Body(
            stream, lambda error: self._broken_off(request, response, exchange, fault_of(error, step))
        )
        return response

    @override
    async def aclose(self) -> None:
        await self._beneath.aclose()

    async def _send(self, request: httpx2.Request) -> httpx2.Response:
        self.requests += 1
        return await self._beneath.handle_async_request(request)

    def _note(self, exchange: Exchange | None, fault: Fault) -> None:
        if exchange is not None:
            exchange.fault = fault
        if fault.ends_session:
            self._report(fault)

    async def _failed(self, request: httpx2.Request, exchange: Exchange | None, fault: Fault) -> httpx2.Response:
        """The transport raised instead of answering."""
        if request.method == "GET":
            # The event stream is an extra. Whether the session lives without it is asked; `_lost_session` reports.
            if SESSION_ID in request.headers:
                await self._lost_session(request, fault.step)
            return _bad_gateway(fault)
        if self.connecting:
            self._first_failure = fault
        return self._stand_in(request, exchange, fault)

    def _stand_in(self, request: httpx2.Request, exchange: Exchange | None, fault: Fault) -> httpx2.Response:
        """The response to an exchange that got none: the SDK hands the error in it to the one who waits for it."""
        self._note(exchange, fault)
        if request.method == "DELETE":
            return httpx2.Response(HTTPStatus.NO_CONTENT)  # it is gone either way, and the SDK would warn of all else
        return _bad_gateway(fault)

    async def _judge(
        self, request: httpx2.Request, response: httpx2.Response, exchange: Exchange | None, step: str
    ) -> httpx2.Response:
        """Tell an HTTP error that is a JSON-RPC response from one that is not, and from one that ends the session."""
        body = await _read(response)
        error = _jsonrpc_error(body)
        status = response.status_code
        if SESSION_ID in request.headers and _ends_the_session(status, error):
            return self._stand_in(request, exchange, Fault(FaultKind.TERMINATED, step, f"HTTP {status}", status=status))
        if error is not None:
            return httpx2.Response(status, headers={"content-type": "application/json"}, content=body)
        fault = Fault(
            FaultKind.REFUSED,
            step,
            f"HTTP {status} {response.reason_phrase}".rstrip(),
            status=status,
            retry_after=retry_after(response.headers.get("retry-after")),
        )
        return self._stand_in(request, exchange, fault)

    async def _broken_off(
        self, request: httpx2.Request, response: httpx2.Response, exchange: Exchange | None, fault: Fault
    ) -> bytes:
        """A body ended before its end. Answers what to put there instead."""
        streamed = response.headers.get("content-type", "").startswith("text/event-stream")
        if SESSION_ID in request.headers:
            if not await self._lost_session(request, fault.step) and streamed:
                return b""  # the session lives: the SDK resumes the stream if the server can, and ends the call if not
            if exchange is not None:
                exchange.fault = fault
        else:
            self._note(exchange, fault)
        if request.method == "POST" and streamed:
            return b"\n\nevent: message\ndata: " + _error_body(fault) + b"\n\n"
        return b""

    async def _lost_session(self, request: httpx2.Request, step: str, *, presumed: bool = True) -> bool:
        """Ask the server whether it still knows the session; report it if not. One question at a time.

        `presumed`: what no answer in time means.
        """
        async with self._probing:
            if self._loss is None:
                self._loss = await self._probe(request, step, presumed=presumed)
                if self._loss is not None:
                    self._report(self._loss)
            return self._loss is not None

    async def _probe(self, request: httpx2.Request, step: str, *, presumed: bool) -> Fault | None:
        headers = {name: value for name, value in request.headers.items() if name not in _NOT_FOR_A_PROBE}
        headers |= {"accept": "application/json, text/event-stream", "content-type": "application/json"}
        probe = httpx2.Request("POST", request.url, headers=headers, content=PROBE_BODY, extensions=request.extensions)
        with anyio.move_on_after(PROBE_TIMEOUT):
            try:
                response = await self._send(probe)
            except Exception as error:  # noqa: BLE001 - as above
                return fault_of(error, step)
            status = response.status_code
            if status == HTTPStatus.OK:
                await response.aclose()
                return None
            if _ends_the_session(status, _jsonrpc_error(await _read(response))):
                return Fault(FaultKind.TERMINATED, step, f"HTTP {status}", status=status)
            return None
        return Fault(FaultKind.INTERRUPTED, step, f"no answer within {PROBE_TIMEOUT} s") if presumed else None


class _Body(httpx2.AsyncByteStream):
    """A response body that ends where it would raise.

    An iterator rather than a generator: the SDK stops reading when it has its answer, and a generator left half-way
    would have to be finalized by the event loop, once for every call.
    """

    def __init__(self, beneath: httpx2.AsyncByteStream, broken_off: Callable[[Exception], Awaitable[bytes]]) -> None:
        self._beneath = beneath
        self._broken_off: Callable[[Exception], Awaitable[bytes]] | None = broken_off
        self._parts: AsyncIterator[bytes] | None = aiter(beneath)

    @override
    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self._parts is None:
            raise StopAsyncIteration
        try:
            return await anext(self._parts)
        except StopAsyncIteration:
            raise
        except Exception as error:
            self._parts, broken_off = None, self._broken_off
            if broken_off is None:
                raise  # it is closed: nobody reads what would be put there
            return await broken_off(error)

    @override
    async def aclose(self) -> None:
        # The reader stopped half-way and left a generator behind, and the response and this body refer to each other:
        # both would wait for the collector, and the event loop would then finish the generator in a task.
        parts, self._parts = self._parts, None
        self._broken_off = None
        try:
            if isinstance(parts, AsyncGenerator):
                await parts.aclose()
        finally:
            await self._beneath.aclose()


_STEPS: Final = {"GET": "event stream", "DELETE": "session end", "POST": "message"}
_NOT_FOR_A_PROBE: Final = frozenset(
    {"accept", "content-length", "content-type", "last-event-id", "mcp-method", "mcp-name"}
)


def _error_body(fault: Fault) -> bytes:
    error = {"code": CONNECTION_CLOSED, "message": f"{fault.step} failed: {fault.detail}"}
    return json.dumps({"jsonrpc": "2.0", "id": None, "error": error}).encode()


def _jsonrpc_error(body: bytes) -> dict[str, Any] | None:
    try:
        message: Any = json.loads(body)
    except (ValueError, RecursionError):
        return None
    error: Any = cast("dict[str, Any]", message).get("error") if isinstance(message, dict) else None
    if isinstance(error, dict) and isinstance(cast("dict[str, Any]", error).get("code"), int):
        return cast("dict[str, Any]", error)
    return None


def _ends_the_session(status: int, error: dict[str, Any] | None) -> bool:
    """Whether this answer to a request that bears a session's id means that the server does not know the session.

    404 does (MCP 2025-11-25, Session Management). Servers of the TypeScript SDK say it with 400, -32000 and a word.
    """
    if status == HTTPStatus.NOT_FOUND:
        return True
    is_general = status == HTTPStatus.BAD_REQUEST and error is not None and error["code"] == CONNECTION_CLOSED
    return is_general and "session" in str((error or {}).get("message", "")).lower()


def _bad_gateway(fault: Fault) -> httpx2.Response:
    return httpx2.Response(
        fault.status or HTTPStatus.BAD_GATEWAY,
        headers={"content-type": "application/json"},
        content=_error_body(fault),
    )


def _decoded(response: httpx2.Response) -> httpx2.Response:
    """The response without its content encoding, so that a body that does not decode breaks off down here."""
    headers = [(name, value) for name, value in response.headers.raw if name.lower() not in _OF_THE_ENCODING]
    return httpx2.Response(
        response.status_code, headers=headers, stream=_DecodedBody(response), extensions=response.extensions
    )


class _DecodedBody(httpx2.AsyncByteStream):
    def __init__(self, response: httpx2.Response) -> None:
        self._response = response

    @override
    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._response.aiter_bytes()

    @override
    async def aclose(self) -> None:
        await self._response.aclose()


_OF_THE_ENCODING: Final = frozenset({b"content-encoding", b"content-length"})


async def _read(response: httpx2.Response) -> bytes:
    """The body of an HTTP error, as far as it comes in time: the status says enough without it."""
    body = b""
    try:
        with anyio.move_on_after(ERROR_BODY_TIMEOUT):
            async for part in response.aiter_bytes():
                body += part
                if len(body) > ERROR_BODY_LIMIT:
                    break
    except Exception:  # noqa: BLE001, S110 - as above
        pass
    finally:
        await response.aclose()
    return body[:ERROR_BODY_LIMIT]
