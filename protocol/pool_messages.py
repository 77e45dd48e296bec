"""What the pool machine of one key is told, and what it wants done.

Events are facts and wishes from outside; effects are what the machine answers with, in the order in which they are to
be done. Tickets stand for waiting callers; sessions are numbers that are never used again.
"""

from collections.abc import Hashable
from typing import Generic, TypeVar

from protocol.errors import TroupeError
from protocol.loan import Loan
from protocol.message import Answer, message
from protocol.session import Retirement
from protocol.settings import PoolSettings

T = TypeVar("T", bound=Hashable)
"""What stands for a waiting caller. The machine only keeps it."""

# --- events: callers -------------------------------------------------------------------------------------------------


@message
class Acquire(Generic[T]):
    """A caller wants a session. `expires_at`: when its credentials end, where that is known."""

    ticket: T
    expires_at: float = float("inf")


@message
class Withdraw(Generic[T]):
    """A caller that may be waiting has gone: cancelled, or out of time."""

    ticket: T


@message
class Untold(Answer):
    """The caller that was refused with `SessionStateLost` had gone before it heard of that, or may have."""


@message
class Told(Answer):
    """It has heard of that after all."""


@message
class Release(Answer):
    """A lease is over. `busy`: calls made under it have not ended yet."""

    loan: Loan
    busy: bool


@message
class CallsEnded(Answer):
    """The last call under way of a lease that was released busy has ended."""

    loan: Loan


@message
class CallsOverdue(Answer):
    """The calls of a lease that was released busy were waited for long enough."""

    loan: Loan


@message
class Abandoned(Answer):
    """A lease was dropped without a release."""

    loan: Loan


# --- events: sessions ------------------------------------------------------------------------------------------------


@message
class SessionOpened(Answer):
    """A session finished its handshake.

    Attributes:
        session: which.
        is_stateful: whether its server keeps state in it.
        jitter: a random number from 0 to 1, for its lifetime.
        note: what whoever drives the machine wants to find with each loan of it.
    """

    session: int
    is_stateful: bool = True
    jitter: float = 0.0
    note: object = None


@message
class SessionBroke(Answer):
    """A session can no longer be trusted: its transport broke, or its server knows it no more (`is_forgotten`)."""

    session: int
    is_forgotten: bool = False


@message
class SessionChecked(Answer):
    """A background check of a session has ended."""

    session: int
    is_healthy: bool


@message
class SessionGone(Answer):
    """A session has ended. `error`: why it could not be opened, where that is so."""

    session: int
    error: TroupeError | None = None


# --- events: whoever looks after the whole pool ----------------------------------------------------------------------


@message
class PermitGranted(Answer):
    """One of the sessions that were reserved may be opened. `note`: comes back with what is done with it."""

    note: object = None


@message
class PermitRefused(Answer, Generic[T]):
    """One of the sessions that were reserved may not be opened, for this reason; None: there is no room for a spare.
    `ticket`: whom it was reserved for.
    """

    error: TroupeError | None = None
    ticket: T | None = None


@message
class MakeRoom(Answer):
    """Another key needs the place of a session that is idle."""


@message
class Evict(Answer):
    """Another key needs this one's place, unless somebody uses it."""


@message
class Drain(Answer):
    """Sessions are to be replaced: idle ones now, lent ones as they come back."""


@message
class Share(Answer):
    """Sessions that are opened from now on are for so many leases at once; None goes by what their server is."""

    places: int | None


@message
class Resize(Answer):
    """From now on these settings hold."""

    settings: PoolSettings


@message
class Tick(Answer):
    """The moment of an earlier `Wake` has come."""


@message
class Shut(Answer):
    """The pool closes."""


PoolEvent = (
    Acquire[T]
    | Withdraw[T]
    | Untold
    | Told
    | Release
    | CallsEnded
    | CallsOverdue
    | Abandoned
    | SessionOpened
    | SessionBroke
    | SessionChecked
    | SessionGone
    | PermitGranted
    | PermitRefused[T]
    | MakeRoom
    | Evict
    | Drain
    | Share
    | Resize
    | Tick
    | Shut
)

# --- effects ---------------------------------------------------------------------------------------------------------


@message
class Grant(Generic[T]):
    """Lend the session to the holder of the ticket, who has waited so many seconds."""

    ticket: T
    session: int
    loan: Loan
    waited: float


@message
class Refuse(Generic[T]):
    """Tell the holder of the ticket why there is no session for it."""

    ticket: T
    error: TroupeError


@message
class AwaitCalls:
    """Say `CallsOverdue` for this loan once the calls it left under way have been waited for long enough."""

    loan: Loan


@message
class Reserve(Generic[T]):
    """Ask for a permit, with what the holder of this ticket brought: `PermitGranted` or `PermitRefused` is to follow.
    None asks for a spare: nobody waits for it, so nobody is to make room for it.
    """

    ticket: T | None


@message
class Unreserve:
    """A permit that was asked for is not needed any more. If it was granted meanwhile it comes back as `Return`."""


@message
class Return:
    """A permit comes back: its session has ended, or (then with its `note`) it is not needed."""

    note: object = None


@message
class Open(Generic[T]):
    """Open a session, with what the holder of this ticket brought; None for a spare one that nobody waits for. `note`:
    the permit's.
    """

    session: int
    ticket: T | None
    note: object = None


@message
class Check:
    """Ask the session's server whether it is alive; `SessionChecked` is to follow."""

    session: int


@message
class Close:
    """Close the session."""

    session: int
    reason: Retirement


@message
class Yielded:
    """A session that came free is closed for another key, since that has waited for longer."""


@message
class Occupied:
    """There was nothing to make room with, or somebody uses the key that was to be evicted (`was_to_end`)."""

    was_to_end: bool = False


@message
class HeldLong:
    """This lease has been held for longer than `warn_after`."""

    loan: Loan
    held: float


@message
class Wake:
    """Say `Tick` at this moment, or at an earlier one that was asked for before."""

    at: float


@message
class Leaving:
    """The key is ending by itself. Who asks for it from now on is to be served by a new one."""


@message
class Finished:
    """The key is shut, or nobody has used it for long, and its last session has ended."""


PoolEffect = (
    Grant[T]
    | Refuse[T]
    | AwaitCalls
    | Reserve[T]
    | Unreserve
    | Return
    | Open[T]
    | Check
    | Close
    | Yielded
    | Occupied
    | HeldLong
    | Wake
    | Leaving
    | Finished
)
