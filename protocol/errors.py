"""Every error that Troupe raises, in one small hierarchy.

A message says what was asked, of which pool or actor, in which state, and what to do about it. It never holds a
credential, a query string or userinfo. What a gateway needs in order to answer *its* caller is on the class or the
instance: `http_status`, the JSON-RPC `code`, `retry_after` in seconds where it is known, and `safe_to_retry`, which is
true only when the request cannot have run.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from protocol.fault import Fault


class TroupeError(Exception):
    """The root of all errors that Troupe raises."""

    http_status: int = 500
    """What a gateway answers over HTTP when it has nothing better to say."""

    code: int = -32603
    """What a gateway answers over JSON-RPC: one of its reserved codes, or one of MCP's in -32000 to -32099."""

    safe_to_retry: bool = False
    """True when the same request can be sent again without a risk that it runs twice."""

    retry_after: float | None = None
    """Seconds to wait before another try, where that is known."""


_PASSED_ON: Final = (401, 403, 429)
"""What a server answers that is for the caller, and not for the gateway in between."""


# --- the pool ---------------------------------------------------------------------------------------------------------


class InvalidSettings(TroupeError, ValueError):
    """A setting, an upstream or a header cannot be used; the message names it and what would be accepted."""

    http_status = 400
    code = -32602


class InvalidMethod(TroupeError, ValueError):
    """The method of a raw request is no method, or one that is not for a session's borrowers: `initialize`, which is
    the pool's affair, and notifications, which nothing answers. Nothing was acquired or sent.

    To JSON-RPC 2.0 such a request is no valid request object (-32600), whoever is asked.
    """

    http_status = 400
    code = -32600


class InvalidParams(TroupeError, ValueError):
    """The params of a raw request are no JSON object: a list, say, which JSON-RPC has and MCP has not. Nothing was
    acquired or sent, and the same request would be refused again.
    """

    http_status = 400
    code = -32602


class PoolClosed(TroupeError):
    """The pool is closed, or was closed while the caller waited."""

    http_status = 503
    code = -32000
    safe_to_retry = True


class PoolFull(TroupeError):
    """`max_waiting` callers wait for this pool key already, or `max_keys` are in use and none of them is idle."""

    http_status = 503
    code = -32000
    safe_to_retry = True


class PrincipalMismatch(TroupeError):
    """A downstream session is bound to the principal that first used it, and this caller is another one."""

    http_status = 403
    code = -32003


class SessionStateLost(TroupeError):
    """The conversation's upstream session is gone, and what the server kept in it with it. Told once: the next call of
    the same downstream session opens a new one. The call that is refused with this has not run.

    404 makes an MCP client initialise anew (MCP 2025-11-25, "Session Management").
    """

    http_status = 404
    code = -32004


class ConversationEnded(TroupeError):
    """The conversation was ended (`Pool.end`) while this caller waited for a session of it. Nothing has run."""

    http_status = 404
    code = -32004


class BreakerOpen(TroupeError):
    """The endpoint, or this credential on it, failed too often of late; `retry_after` says when it is tried again."""

    http_status = 503
    code = -32000
    safe_to_retry = True

    def __init__(self, message: str, *, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class AcquireTimeout(TroupeError, TimeoutError):
    """No session became free within the acquire timeout."""

    http_status = 503
    code = -32001
    safe_to_retry = True


class LeaseReleased(TroupeError):
    """A lease was used or released after its release."""


class ConnectFailed(TroupeError):
    """No session could be opened. `step` says how far it came, `status` what the server answered over HTTP, if so, and
    `fault` what a breaker wants to know, if an exchange with the server was to blame.

    `http_status` is 502; or the server's own `status` where that is for the caller: 401 and 403, which refuse their
    credentials, and 429, which asks them for a pause (`retry_after`).
    """

    http_status = 502
    code = -32000
    safe_to_retry = True

    def __init__(
        self,
        message: str,
        *,
        step: str,
        status: int | None = None,
        retry_after: float | None = None,
        fault: Fault | None = None,
    ) -> None:
        super().__init__(message)
        if status in _PASSED_ON:
            self.http_status = status
        self.step = step
        self.status = status
        self.retry_after = retry_after
        self.fault = fault


# --- a call on a lease ------------------------------------------------------------------------------------------------


class CallFailed(TroupeError):
    """A call ended without the server's answer. Its subclasses say why, and whether the call may have run."""

    http_status = 502
    code = -32000

    fault: Fault | None = None
    """The exchange that failed, where one did."""


class UpstreamUnreachable(CallFailed):
    """The call could not be sent: nothing listens there. It has not run."""

    safe_to_retry = True


class CallInterrupted(CallFailed):
    """The call was sent, and the connection or the session ended before its answer. It may have run."""


class SessionTerminated(CallFailed):
    """The server no longer knows the session (HTTP 404, MCP 2025-11-25, "Session Management"), or it was closed under
    its lease (`Pool.end`, `Pool.close`). The call has not run.
    """

    safe_to_retry = True


class UpstreamRefused(CallFailed):
    """The server answered the call with an HTTP error instead of a JSON-RPC response; see `status`.

    `http_status` is 502, or the server's own where it is 401, 403 or 429, as of `ConnectFailed`.
    """

    def __init__(self, message: str, *, status: int, retry_after: float | None = None) -> None:
        super().__init__(message)
        if status in _PASSED_ON:
            self.http_status = status
        self.status = status
        self.retry_after = retry_after


class MalformedResponse(CallFailed):
    """The server answered the call with what is no JSON-RPC message: HTML, broken JSON. It may have run."""


class ResponseTooLarge(CallFailed):
    """The server's answer to the call is larger than `max_body`. It may have run."""


# --- the cluster ------------------------------------------------------------------------------------------------------


class ClusterError(TroupeError):
    """The root of what comes between workers."""

    http_status = 503
    code = -32000


class BusUnavailable(ClusterError):
    """Redis cannot be reached, or went away before it answered.

    Attributes:
        was_sent: whether the command may have been done all the same.
    """

    def __init__(self, message: str, *, was_sent: bool) -> None:
        super().__init__(message)
        self.was_sent = was_sent
        self.safe_to_retry = not was_sent


class NotAlive(ClusterError):
    """This worker is out of touch with the others for so long that they may have taken over its sessions, or it leaves
    them. Nothing was started.
    """

    safe_to_retry = True


class OwnedElsewhere(ClusterError):
    """Another worker owns the downstream session, and what was wanted is done only there. Nothing was started here.

    421 is HTTP's "Misdirected Request": another connection may reach the worker that is meant (RFC 9110, 15.5.20).
    """

    http_status = 421
    safe_to_retry = True


class OwnerUnreachable(ClusterError):
    """The worker that owns the downstream session has died, or could not be reached before it had begun with the
    request. Nothing has run.
    """

    safe_to_retry = True


class TooManyForwards(ClusterError):
    """As many requests as may be are with other workers already, or with this one. Nothing was sent."""

    safe_to_retry = True


class OutcomeUnknown(ClusterError):
    """The request was delivered to the worker that owns the downstream session, and no answer came. It may have run."""

    http_status = 504


class OwnerFailed(ClusterError):
    """The worker that owns the downstream session met an error that it has no name for; its log tells more. The request
    may have run.
    """

    http_status = 502
    code = -32603


# --- the runtime ------------------------------------------------------------------------------------------------------


class ActorError(TroupeError):
    """The root of what the actor runtime raises."""


class ActorStopped(ActorError):
    """The actor has stopped, or stopped before it answered. `waited` says for how long its asker had waited, in
    seconds, for whoever asks its successor.
    """

    waited: float = 0.0


class AskTimeout(ActorError, TimeoutError):
    """The actor did not answer in time. Whatever it answers later goes back to it."""


class NoReply(ActorError):
    """The actor handled the request without answering it or keeping its reply for later."""


class NameTaken(ActorError, ValueError):
    """A living sibling has this name already."""


class SystemClosed(ActorError):
    """The actor system is not open: it has not been entered, or it was left."""


class WrongThread(ActorError):
    """A message was sent from another thread than the one that runs the system."""


class WrongEventLoop(ActorError):
    """A message was sent from another event loop than the one that runs the system."""


class ActorReused(ActorError, ValueError):
    """An actor object was to be started a second time."""


class InvalidName(ActorError, ValueError):
    """An actor's name cannot be used; the message says what a name may be."""


class MailboxFull(ActorError):
    """The actor's mailbox has no room for the request, which was not handled."""

    http_status = 503
    code = -32000
    safe_to_retry = True


class AskInTurn(ActorError):
    """An ask was made inside a turn, where nothing can be awaited."""


class NoTurn(ActorError, LookupError):
    """What an actor does in its turn was done outside of one: in an effect, or in a thread."""


class StartFailed(ActorError):
    """An actor's start raised, so the actor never ran. Its cause is what was raised."""

    http_status = 503
    code = -32000


class StartTimeout(StartFailed, TimeoutError):
    """An actor's start did not end in time."""


class RestartIntensityReached(ActorError):
    """A supervisor gave up: its children failed more often than it may restart them. Its cause is the last failure."""

    http_status = 503
    code = -32000


class UnknownChild(ActorError, LookupError):
    """The supervisor has no child with this id."""


class ChildRunning(ActorError):
    """What was asked of a supervisor is done only to a child that is stopped, and this one is not."""


# --- the cluster ------------------------------------------------------------------------------------------------------


class Refusal(Enum):
    """Why what came over the wire is not taken."""

    TOO_LARGE = auto()
    """It has more bytes than are taken."""
    TOO_SHORT = auto()
    """It has fewer bytes than its parts."""
    UNKNOWN_VERSION = auto()
    """It is of another version than this one and the one before."""
    UNKNOWN_KEY = auto()
    """It names a key that is not on the keyring."""
    FORGED = auto()
    """Its signature is not one of the key that it names, for what it holds and the channel that it came on."""
    MALFORMED = auto()
    """It is signed, and does not hold what it must."""
    EXPIRED = auto()
    """It is too old, or from the future."""
    REPLAYED = auto()
    """It was there before."""


class EnvelopeRefused(ClusterError):
    """What another worker sent, or seems to have sent, is not taken. `reason` says why; no text says what was in it."""

    def __init__(self, message: str, *, reason: Refusal) -> None:
        super().__init__(message)
        self.reason = reason


# --- the machines -----------------------------------------------------------------------------------------------------


class IllegalTransition(TroupeError):
    """A machine was given an event that its table has no row for: a fault in Troupe, never in its user."""
