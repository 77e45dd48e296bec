"""What can go wrong between a session and its server, and what that says of the call and of the session."""

from enum import Enum, auto

from protocol.errors import (
    CallFailed,
    CallInterrupted,
    ConnectFailed,
    SessionTerminated,
    TroupeError,
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
    """The server answered with an HTTP error that holds no JSON-RPC response."""


@message
class Fault:
    """One exchange that failed.

    Attributes:
        kind: how.
        step: what was being done, in the protocol's words: a method's name, or `event stream`.
        detail: what the library or the server said, without anything secret.
        status: the HTTP status, where there was one.
        retry_after: seconds, where the server asked for a pause.
        cause: the exception beneath, where there was one.
    """

    kind: FaultKind
    step: str
    detail: str
    status: int | None = None
    retry_after: float | None = None
    cause: Exception | None = None

    @property
    def ends_session(self) -> bool:
        """Whether the session must not be lent again. An HTTP error says nothing about it; all else does."""
        return self.kind is not FaultKind.REFUSED

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
        error.__cause__ = self.cause
        return error

    def for_connect(self, address: str) -> TroupeError:
        """The error for whoever waits for the session that could not be opened because of this."""
        error = ConnectFailed(
            f"no session with {address} could be opened: {self.step} failed ({self.detail})",
            step=self.step,
            status=self.status,
            retry_after=self.retry_after,
        )
        error.__cause__ = self.cause
        return error
