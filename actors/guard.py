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
import os
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextvars import ContextVar
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, Final, cast

import anyio
import httpx2
from mcp_types import CONNECTION_CLOSED
from typing_extensions import override

from protocol.fault import Fault, FaultKind

SESSION_ID: Final = "mcp-session-id"
PROBE_TIMEOUT: Final = 0.5
"""Seconds that a server has to answer whether it still knows a session whose stream broke off."""
ERROR_BODY_LIMIT: Final = 65_536
"""Bytes of an HTTP error's body that are read in search of a JSON-RPC error."""
PROBE_BODY: Final = b'{"jsonrpc":"2.0","id":"troupe-probe","method":"ping"}'


class Exchange:
    """What the guard notes for whoever makes a call: what it does, and the fault that it met."""

    __slots__ = ("fault", "step")

    def __init__(self, step: str) -> None:
        self.step = step
        self.fault: Fault | None = None


current_exchange: ContextVar[Exchange | None] = ContextVar("current_exchange", default=None)
"""The exchange that the calling task makes. The SDK sends each message in the context of the task that wrote it."""


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
        self._unreachable: Fault | None = None
        self._probing = anyio.Lock()

    @override
    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        request.headers.update(self.headers)
        exchange = current_exchange.get() if request.method == "POST" else None
        step = exchange.step if exchange is not None else _STEPS.get(request.method, request.method)
        if self.connecting and self._unreachable is not None:
            return self._stand_in(request, exchange, self._unreachable)
        try:
            response = await self._send(request)
        except Exception as error:  # noqa: BLE001 - whatever the transport raises is the affair of this exchange alone
            fault = _fault_of(error, step)
            if self.connecting:
                self._unreachable = fault
            return self._stand_in(request, exchange, fault)
        if response.is_error:
            if request.method == "POST":
                return await self._judge(request, response, exchange, step)
            if request.method == "GET" and response.status_code == HTTPStatus.NOT_FOUND:
                # Some servers have no event stream and say 404 where the specification says 405: a ping tells.
                await self._lost_session(request, step)
        stream = cast("httpx2.AsyncByteStream", response.stream)
        response.stream = _Body(
            stream, lambda error: self._broken_off(request, response, exchange, _fault_of(error, step))
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

    def _stand_in(self, request: httpx2.Request, exchange: Exchange | None, fault: Fault) -> httpx2.Response:
        """The response to an exchange that got none: the SDK hands the error in it to the one who waits for it."""
        self._note(exchange, fault)
        if request.method == "DELETE":
            return httpx2.Response(HTTPStatus.NO_CONTENT)  # it is gone either way, and the SDK would warn of all else
        return httpx2.Response(
            fault.status or HTTPStatus.BAD_GATEWAY,
            headers={"content-type": "application/json"},
            content=_error_body(fault),
        )

    async def _judge(
        self, request: httpx2.Request, response: httpx2.Response, exchange: Exchange | None, step: str
    ) -> httpx2.Response:
        """Tell an HTTP error that is a JSON-RPC response from one that is not, and from one that ends the session."""
        body = await _read(response, ERROR_BODY_LIMIT)
        error = _jsonrpc_error(body)
        status = response.status_code
        if SESSION_ID in request.headers and (
            status == HTTPStatus.NOT_FOUND or (status == HTTPStatus.BAD_REQUEST and _is_about_the_session(error))
        ):
            return self._stand_in(request, exchange, Fault(FaultKind.TERMINATED, step, f"HTTP {status}", status=status))
        if error is not None:
            return httpx2.Response(status, headers={"content-type": "application/json"}, content=body)
        fault = Fault(
            FaultKind.REFUSED,
            step,
            f"HTTP {status} {response.reason_phrase}".rstrip(),
            status=status,
            retry_after=_retry_after(response.headers.get("retry-after")),
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

    async def _lost_session(self, request: httpx2.Request, step: str) -> bool:
        """Ask the server whether it still knows the session; report it if not. One question at a time."""
        async with self._probing:
            if self._unreachable is None:
                self._unreachable = await self._probe(request, step)
                if self._unreachable is not None:
                    self._report(self._unreachable)
            return self._unreachable is not None

    async def _probe(self, request: httpx2.Request, step: str) -> Fault | None:
        headers = {name: value for name, value in request.headers.items() if name not in _NOT_FOR_A_PROBE}
        headers |= {"accept": "application/json, text/event-stream", "content-type": "application/json"}
        probe = httpx2.Request("POST", request.url, headers=headers, content=PROBE_BODY, extensions=request.extensions)
        with anyio.move_on_after(PROBE_TIMEOUT):
            try:
                response = await self._send(probe)
                await response.aclose()
            except Exception as error:  # noqa: BLE001 - as above
                return _fault_of(error, step)
            if response.status_code in (HTTPStatus.NOT_FOUND, HTTPStatus.BAD_REQUEST):
                return Fault(FaultKind.TERMINATED, step, f"HTTP {response.status_code}", status=response.status_code)
            return None
        return Fault(FaultKind.INTERRUPTED, step, f"no answer within {PROBE_TIMEOUT} s")


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
_NOT_SENT: Final = (
    httpx2.ConnectError,
    httpx2.ConnectTimeout,
    httpx2.PoolTimeout,
    httpx2.ProxyError,
    httpx2.UnsupportedProtocol,
)


def _fault_of(error: Exception, step: str) -> Fault:
    kind = FaultKind.UNREACHABLE if isinstance(error, _NOT_SENT) else FaultKind.INTERRUPTED
    return Fault(kind, step, _describe(error), cause=error)


def _describe(error: Exception) -> str:
    """The kind of error, and the system's word for it if there is one. Not its text, which may quote what was sent."""
    beneath: list[BaseException | None] = [error]
    for cause in beneath:
        if isinstance(cause, OSError) and cause.errno:
            return f"{type(error).__name__}: {os.strerror(cause.errno)}"
        if isinstance(cause, BaseExceptionGroup):
            beneath += cast("BaseExceptionGroup[BaseException]", cause).exceptions
        if cause is not None:
            beneath.append(cause.__cause__ or cause.__context__)
    return type(error).__name__


def _error_body(fault: Fault) -> bytes:
    error = {"code": CONNECTION_CLOSED, "message": f"{fault.step} failed: {fault.detail}"}
    return json.dumps({"jsonrpc": "2.0", "id": None, "error": error}).encode()


def _jsonrpc_error(body: bytes) -> dict[str, Any] | None:
    try:
        message: Any = json.loads(body)
    except ValueError:
        return None
    error: Any = cast("dict[str, Any]", message).get("error") if isinstance(message, dict) else None
    if isinstance(error, dict) and isinstance(cast("dict[str, Any]", error).get("code"), int):
        return cast("dict[str, Any]", error)
    return None


def _is_about_the_session(error: dict[str, Any] | None) -> bool:
    """Whether a 400 means the session is unknown: the TypeScript SDK's servers say it so, with -32000 and this word."""
    return (
        error is not None and error["code"] == CONNECTION_CLOSED and "session" in str(error.get("message", "")).lower()
    )


def _retry_after(value: str | None) -> float | None:
    """Seconds from a Retry-After header, which holds seconds or a date (RFC 9110, section 10.2.3)."""
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None


async def _read(response: httpx2.Response, limit: int) -> bytes:
    body = b""
    try:
        async for part in response.aiter_bytes():
            body += part
            if len(body) > limit:
                break
    except Exception:  # noqa: BLE001, S110 - the status says enough
        pass
    finally:
        await response.aclose()
    return body[:limit]
