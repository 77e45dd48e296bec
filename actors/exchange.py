"""One exchange with a server: what is noted of it, and what its failure is called."""

import math
import os
import ssl
import time
from collections.abc import Mapping
from contextvars import ContextVar
from email.utils import parsedate_to_datetime
from typing import Any, Final, cast

import httpx2

from protocol.fault import Fault, FaultKind


class Exchange:
    """What the guard notes for whoever makes a call.

    Args:
        step: what is being done, as errors call it.
        headers: put on its requests; None means those of the newest lease.

    Attributes:
        fault: the last one that it met.
        status: the HTTP status of the last answer, None before there was one.
        was_answered: whether the server has taken a request of this call already. The SDK may send several for one call
            (a `tools/list` after the first `tools/call`, to know the schema of its result): what fails after that does
            not mean that the call has not run.
        result: the last `tools/call` as it was sent, and the result of it as it came.
    """

    __slots__ = ("fault", "headers", "result", "status", "step", "was_answered")

    def __init__(self, step: str, *, headers: Mapping[str, str] | None = None) -> None:
        self.step = step
        self.headers = headers
        self.fault: Fault | None = None
        self.status: int | None = None
        self.was_answered = False
        self.result: tuple[bytes, dict[str, Any]] | None = None


current_exchange: ContextVar[Exchange | None] = ContextVar("current_exchange", default=None)
"""The exchange that the calling task makes. The SDK sends each message in the context of the task that wrote it."""

_NOT_SENT: Final = (
    httpx2.ConnectError,
    httpx2.ConnectTimeout,
    httpx2.PoolTimeout,
    httpx2.ProxyError,
    httpx2.UnsupportedProtocol,
)


_SAFE: Final = (httpx2.NetworkError, httpx2.TimeoutException, OSError)
"""Exceptions that are chained to what a caller is given. Others quote what was sent or received, credentials and all,
or come from a user's own hooks.
"""


def fault_of(error: Exception, step: str, *, at_connect: bool = False) -> Fault:
    """What an exception of the transport says of the exchange."""
    cause = error if isinstance(error, _SAFE) else None
    if isinstance(error, httpx2.HTTPStatusError):  # raised by a hook of the user's client
        response = error.response
        pause = retry_after(response.headers.get("retry-after"))
        detail = f"HTTP {response.status_code}"
        return Fault(FaultKind.REFUSED, step, detail, response.status_code, pause, at_connect=at_connect)
    kind = FaultKind.UNREACHABLE if isinstance(error, _NOT_SENT) else FaultKind.INTERRUPTED
    return Fault(kind, step, _describe(error), cause=cause, at_connect=at_connect)


def _describe(error: Exception) -> str:
    """The kind of error, and the system's word for it if there is one. Not its text, which may quote what was sent."""
    beneath: list[BaseException | None] = [error]
    for cause in beneath:
        if isinstance(cause, ssl.SSLError):
            # Its number is OpenSSL's, not the system's.
            return f"{type(error).__name__}: {getattr(cause, 'reason', None) or 'TLS'}"
        if isinstance(cause, OSError) and cause.errno:
            return f"{type(error).__name__}: {os.strerror(cause.errno)}"
        if isinstance(cause, BaseExceptionGroup):
            beneath += cast("BaseExceptionGroup[BaseException]", cause).exceptions
        if cause is not None:
            beneath.append(cause.__cause__ or cause.__context__)
    return type(error).__name__


def retry_after(value: str | None) -> float | None:
    """Seconds from a Retry-After header, which holds seconds or a date (RFC 9110, section 10.2.3)."""
    if value is None:
        return None
    try:
        seconds = float(value) if value.strip().isdigit() else parsedate_to_datetime(value).timestamp() - time.time()
    except (ValueError, OverflowError):
        return None
    return max(0.0, seconds) if math.isfinite(seconds) else None
