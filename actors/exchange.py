"""One exchange with a server: what is noted of it, and what its failure is called."""

import math
import os
import time
from contextvars import ContextVar
from email.utils import parsedate_to_datetime
from typing import Final, cast

import httpx2

from protocol.fault import Fault, FaultKind


class Exchange:
    """What the guard notes for whoever makes a call.

    Attributes:
        step: what is being done, as errors call it.
        fault: the last one that it met.
        was_answered: whether the server has taken a request of this call already. The SDK may send several for one call
            (a `tools/list` after the first `tools/call`, to know the schema of its result): what fails after that does
            not mean that the call has not run.
    """

    __slots__ = ("fault", "step", "was_answered")

    def __init__(self, step: str) -> None:
        self.step = step
        self.fault: Fault | None = None
        self.was_answered = False


current_exchange: ContextVar[Exchange | None] = ContextVar("current_exchange", default=None)
"""The exchange that the calling task makes. The SDK sends each message in the context of the task that wrote it."""

_NOT_SENT: Final = (
    httpx2.ConnectError,
    httpx2.ConnectTimeout,
    httpx2.PoolTimeout,
    httpx2.ProxyError,
    httpx2.UnsupportedProtocol,
)


def fault_of(error: Exception, step: str) -> Fault:
    """What an exception of the transport says of the exchange."""
    kind = FaultKind.UNREACHABLE if isinstance(error, _NOT_SENT) else FaultKind.INTERRUPTED
    # What the client library refuses to send it quotes in its message, credentials and all.
    cause = None if isinstance(error, httpx2.LocalProtocolError) else error
    return Fault(kind, step, _describe(error), cause=cause)


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


def retry_after(value: str | None) -> float | None:
    """Seconds from a Retry-After header, which holds seconds or a date (RFC 9110, section 10.2.3)."""
    if value is None:
        return None
    try:
        seconds = float(value) if value.strip().isdigit() else parsedate_to_datetime(value).timestamp() - time.time()
    except (ValueError, OverflowError):
        return None
    return max(0.0, seconds) if math.isfinite(seconds) else None
