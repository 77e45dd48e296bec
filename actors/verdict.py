"""What an HTTP response says of its exchange, and the responses that stand for those that did not come."""

import re
from http import HTTPStatus
from typing import Final

import anyio
import httpx2
from mcp_types import CONNECTION_CLOSED, JSONRPCError

from actors.body import Parts
from actors.envelope import error_answer
from protocol.fault import Fault

ERROR_BODY_TIMEOUT: Final = 1.0
"""Seconds that the body of an HTTP error may take."""
ERROR_BODY_LIMIT: Final = 65_536
"""Bytes of an HTTP error's body that are read in search of a JSON-RPC error."""
FINAL: Final = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})
"""What a server says to the first request of an opening that it would say to the next one, too."""
OF_THE_CALLER: Final = FINAL | {HTTPStatus.FORBIDDEN}
"""What concerns who asks or when, not what was asked: the status says more than a JSON-RPC error with it."""
_KEEPS_THE_MESSAGE: Final = frozenset({HTTPStatus.TEMPORARY_REDIRECT, HTTPStatus.PERMANENT_REDIRECT})


def ends_the_session(status: int, error: JSONRPCError | None) -> bool:
    """Whether this answer to a request that bears a session's id means that the server does not know the session.

    404 does (MCP 2025-11-25, Session Management). Servers of the TypeScript SDK say it with 400, -32000 and a word.
    """
    if status == HTTPStatus.NOT_FOUND:
        return True
    if status != HTTPStatus.BAD_REQUEST or error is None or error.error.code != CONNECTION_CLOSED:
        return False
    return "session" in error.error.message.lower()


def stays(request: httpx2.Request, response: httpx2.Response) -> bool:
    """Whether a redirect keeps the method and the origin: the SDK follows those, and no others."""
    if request.method != "GET" and response.status_code not in _KEEPS_THE_MESSAGE:
        return False
    try:
        target = request.url.join(response.headers["location"])
    except httpx2.InvalidURL:
        return False
    if target.userinfo and target.userinfo != request.url.userinfo:
        return False
    old, new = request.url, target
    if (old.scheme, old.host, old.port) == (new.scheme, new.host, new.port):
        return True
    return (old.host, old.scheme, old.port, new.scheme, new.port) == (new.host, "http", None, "https", None)


def shown_type(kind: str) -> str:
    """A content type as it may be shown: what is none is not."""
    kind = kind.partition(";")[0].strip()
    return f"content of type {kind}" if re.fullmatch(r"[\w.+-]{1,40}/[\w.+-]{1,60}", kind) else "no content type"


def with_body(response: httpx2.Response, body: httpx2.AsyncByteStream) -> httpx2.Response:
    """The response with this decoded body in place of its own."""
    if "content-encoding" not in response.headers:
        response.stream = body  # a response of its own costs more than all the rest of the guard
        return response
    headers = [(name, value) for name, value in response.headers.raw if name.lower() not in _OF_THE_BODY]
    return httpx2.Response(response.status_code, headers=headers, stream=body, extensions=response.extensions)


_OF_THE_BODY: Final = frozenset({b"content-encoding", b"content-length", b"transfer-encoding"})
"""Headers that no longer hold once a body was decoded."""


def bad_gateway(fault: Fault) -> httpx2.Response:
    """The response to an exchange that got none: the SDK hands the error in it to the one who waits for it."""
    return httpx2.Response(
        fault.status if fault.status is not None and fault.status >= HTTPStatus.BAD_REQUEST else HTTPStatus.BAD_GATEWAY,
        headers={"content-type": "application/json"},
        content=error_answer(fault),
    )


def event_of(message: bytes) -> bytes:
    """A message as an event that ends whatever was begun before it."""
    return b"\n\nevent: message\ndata: " + message + b"\n\n"


async def read_quietly(response: httpx2.Response) -> bytes:
    """The body of an HTTP error, as far as it comes in time: the status says enough without it."""
    body = bytearray()
    parts = None
    try:
        with anyio.move_on_after(ERROR_BODY_TIMEOUT):
            parts = Parts(response)
            async for part in parts:
                body += part
                if len(body) > ERROR_BODY_LIMIT:
                    break
    except Exception:  # noqa: BLE001, S110 - whatever it is, the status is known
        pass
    finally:
        await (parts or response).aclose()
    return bytes(body[:ERROR_BODY_LIMIT])
