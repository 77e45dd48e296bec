"""Acquire: what a caller wants a session for, and on what terms."""

from collections.abc import Callable

from actors.lease import Lease, Origin
from protocol.errors import ActorStopped
from protocol.identity import Caller
from protocol.keys import PoolKey
from protocol.message import Request, message
from protocol.settings import Upstream


@message
class Terms:
    """How a session is opened and used for one caller, where the pool's settings do not say.

    Attributes:
        connect_timeout: seconds that opening it may take; None means the pool's.
        call_timeout: seconds that a call may take; None means the pool's.
        http_client: goes before the upstream's factory.
    """

    connect_timeout: float | None = None
    call_timeout: float | None = None
    http_client: Callable[..., object] | None = None


PLAIN = Terms()


@message
class Acquire(Request[Lease]):
    """Ask for a session, to be used with these headers. Answered with a lease, or with what stands in the way.

    Attributes:
        key: what the session is pooled under.
        upstream: the server.
        caller: who asks, with the headers that are sent with each request under the lease.
        expires_at: when the credentials end, in seconds of the pool's clock.
        terms: what else was asked for.
        origin: where in the source.
    """

    key: PoolKey
    upstream: Upstream
    caller: Caller
    expires_at: float = float("inf")
    terms: Terms = PLAIN
    origin: Origin | None = None


class KeyEnded(ActorStopped):
    """The key is ending, and its successor is to be asked. Callers of the pool never see this."""
