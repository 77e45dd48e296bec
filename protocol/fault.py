"""What can go wrong between a session and its server, and what that says of the call and of the session."""

from enum import Enum, auto
from typing import Final

from protocol.errors import (
    CallFailed,
    CallInterrupted,
    ConnectFailed,
    MalformedResponse,
    ResponseTooLarge,
    SessionTerminated,
    UpstreamRefused,
    UpstreamUnreachable,
)
from protocol.message import message


class FaultKind(Enum):
    """How an exchange with the server failed."""

    UNREACHABLE = auto()
    """No connection could be made, so nothing was sent."""
    INTERRUPTED = auto()
    """The connection broke after something was sent."""
    TERMINATED = auto()
    """The server does not know the session: 404 to a request that bears its id (MCP 2025-11-25, Session Management)."""
    REFUSED = auto()
    """The server answered with an HTTP error that holds no JSON-RPC response, or with a redirect to elsewhere."""
    MALFORMED = auto()
    """The server answered with what is no answer to the request: HTML, broken JSON, an answer to another request."""
    TOO_LARGE = auto()
    """The answer is larger than `max_body`; the rest of it was not read."""


@message
class Fault:
    """One exchange that failed.

    Attributes:
        kind: how.
        step: what was being done, in the protocol's words: a method's name, or `event stream`.
        detail: what the library or the server said, without anything secret.
        status: the HTTP status, where there was one.
        retry_after: seconds, where the server asked for a pause.
        cause: the exception beneath, where there was one whose text is known to hold nothing secret.
        at_connect: whether it happened while the session was being opened.
    """

    kind: FaultKind
    step: str
    detail: str
    status: int | None = None
    retry_after: float | None = None
    cause: Exception | None = None
    at_connect: bool = False

    @property
    def ends_session(self) -> bool:
        """Whether the session must not be lent again. What the server answered badly says nothing about it."""
        return self.kind in _OF_THE_CONNECTION or self.kind is FaultKind.TERMINATED

    @property
    def counts_against_endpoint(self) -> bool:
        """Whether it says that the endpoint is ill, whoever asks: the transport failed, or it could not shake hands.

        A refusal counts while connecting, and only if the server blames itself (5xx) or its load (429).
        """
        if self.kind in _OF_THE_CONNECTION:
            return True
        if not self.at_connect:
            return False
        if self.kind is FaultKind.REFUSED:
            return self.status is not None and (self.status >= _SERVER_ERROR or self.status == _TOO_MANY_REQUESTS)
        return self.kind in (FaultKind.MALFORMED, FaultKind.TOO_LARGE)

    @property
    def refuses_credential(self) -> bool:
        """Whether the server refuses who asks (401, 403), and might serve another one."""
        return self.kind is FaultKind.REFUSED and self.status in (_UNAUTHORIZED, _FORBIDDEN)

    def for_call(self, address: str, *, was_answered: bool) -> CallFailed:
        """The error for the caller whose call this happened to.

        Args:
            address: the server's, as it may be shown.
            was_answered: whether the server has taken a request of the same call before, which may thus have run.
        """
        where = f"{self.step} on {address}"
        match self.kind:
            case FaultKind.UNREACHABLE | FaultKind.TERMINATED if was_answered:
                error: CallFailed = CallInterrupted(
                    f"{where} was interrupted (after its first request, with {self.detail}): it may have run"
                )
            case FaultKind.UNREACHABLE:
                error = UpstreamUnreachable(
                    f"{where} could not be sent ({self.detail}): it has not run, try again later"
                )
            case FaultKind.INTERRUPTED:
                error = CallInterrupted(
                    f"{where} was interrupted ({self.detail}): it may have run, and the session is closed"
                )
            case FaultKind.TERMINATED:
                error = SessionTerminated(
                    f"{where} has not run: the server no longer knows the session, acquire another one"
                )
            case FaultKind.REFUSED:
                error = UpstreamRefused(
                    f"{where} was refused by the server ({self.detail})",
                    status=self.status or 500,
                    retry_after=self.retry_after,
                )
            case FaultKind.MALFORMED:
                error = MalformedResponse(f"{where} was not answered properly ({self.detail}): it may have run")
            case FaultKind.TOO_LARGE:
                error = ResponseTooLarge(f"{where} was answered with too much ({self.detail}): it may have run")
        error.fault = self
        error.__cause__ = self.cause
        return error

    def for_connect(self, address: str) -> ConnectFailed:
        """The error for whoever waits for the session that could not be opened because of this."""
        step = "connect" if self.kind is FaultKind.UNREACHABLE else self.step
        error = ConnectFailed(
            f"no session with {address} could be opened: {step} failed ({self.detail})",
            step=step,
            status=self.status,
            retry_after=self.retry_after,
            fault=self,
        )
        error.__cause__ = self.cause
        return error


_OF_THE_CONNECTION: Final = frozenset({FaultKind.UNREACHABLE, FaultKind.INTERRUPTED})
_UNAUTHORIZED: Final = 401
_FORBIDDEN: Final = 403
_TOO_MANY_REQUESTS: Final = 429
_SERVER_ERROR: Final = 500
