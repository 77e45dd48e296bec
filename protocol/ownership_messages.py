"""What the machine of ownership is told, and what it wants done. See `protocol.ownership`."""

from collections.abc import Hashable
from typing import Generic, TypeVar

from protocol.bus import Holding
from protocol.errors import BusUnavailable, TroupeError
from protocol.message import Answer, message

T = TypeVar("T", bound=Hashable)
"""What stands for whoever asks."""

# --- events


@message
class Want(Generic[T]):
    """Somebody wants to know who owns a session, and that somebody does.

    Attributes:
        ticket: who.
        session_id: which session.
        principal: on whose behalf.
        token: a fresh one, should it be claimed.
    """

    ticket: T
    session_id: str
    principal: str
    token: str


@message
class Withdraw(Generic[T]):
    """Whoever wanted to know of a session has gone."""

    ticket: T
    session_id: str


@message
class Claimed(Answer):
    """The bus has answered a `Claim`, or could not. `asked_at`: when it was sent."""

    session_id: str
    token: str
    answer: Holding | BusUnavailable | None
    asked_at: float


@message
class Refreshed(Answer):
    """The bus has answered a `Refresh`, or could not."""

    session_id: str
    token: str
    answer: Holding | BusUnavailable | None
    asked_at: float


@message
class Released(Answer):
    """The bus has answered a `Release`, or could not: then the holding ends by itself."""

    session_id: str
    token: str


@message
class OwnerDied(Answer):
    """The owner with this token is dead. `new`: a fresh token for whoever takes over."""

    session_id: str
    token: str
    new: str


@message
class OwnerDenied(Answer):
    """The owner with this token says that it is not: what is known of the session is out of date."""

    session_id: str
    token: str


@message
class End(Answer):
    """The session is over: nobody is to own it. `is_asked`: somebody wants it so: there is no loss to be told."""

    session_id: str
    is_asked: bool = False


@message
class Joined(Answer):
    """The bus takes commands.

    Attributes:
        age: how many seconds ago all that it keeps began.
        token: a fresh one, for what is held here.
    """

    age: float
    token: str


@message
class Parted(Answer):
    """The bus cannot be reached."""

    error: BusUnavailable


@message
class Beaten(Answer):
    """A beat of this worker that was sent at `asked_at` has reached the bus. `token`: a fresh one, as of `Joined`."""

    asked_at: float
    token: str


@message
class Tick(Answer):
    """The moment that `Wake` asked for has come."""


@message
class Leave(Answer):
    """This worker leaves: nothing is started here any more. What it holds it holds until the next two say otherwise."""


@message
class HandedOver(Answer):
    """Another worker goes on with a session that was held here with this token."""

    session_id: str
    token: str


@message
class GiveUp(Answer):
    """There is nobody else to go on with what is held here."""


@message
class Inherit(Answer):
    """A worker that leaves says that this one is to go on with a session. `new`: a fresh token for it."""

    session_id: str
    held: Holding
    new: str


@message
class Named(Answer):
    """Another worker takes this one for the owner of a session that is not held here.

    Attributes:
        session_id: which session.
        held: by which holding.
        new: a fresh token, should it be so.
    """

    session_id: str
    held: Holding
    new: str


OwnershipEvent = (
    Want[T]
    | Withdraw[T]
    | Claimed
    | Refreshed
    | Released
    | OwnerDied
    | OwnerDenied
    | End
    | Joined
    | Parted
    | Beaten
    | Tick
    | Leave
    | HandedOver
    | GiveUp
    | Inherit
    | Named
)

# --- effects


@message
class TellOwner(Generic[T]):
    """Tell whoever wanted to know. `is_here`: this worker owns it, by that holding."""

    ticket: T
    holding: Holding
    is_here: bool


@message
class Refuse(Generic[T]):
    """Tell whoever wanted to know that it cannot be told."""

    ticket: T
    error: TroupeError


@message
class Claim:
    """Claim the session from the bus, `over` what may hold it in vain. Answered with `Claimed`."""

    session_id: str
    holding: Holding
    over: tuple[str, ...] = ()


@message
class Refresh:
    """Have the holding go on. Answered with `Refreshed`."""

    session_id: str
    token: str


@message
class Release:
    """Give the holding up. Answered with `Released`."""

    session_id: str
    token: str


@message
class Lost:
    """The session is not owned here any more: whatever it has here is to end, and its replies count for nothing."""

    session_id: str


@message
class Acquired:
    """The session is owned here from now on. `is_taken_over`: from an owner that is gone, and with it what it knew."""

    session_id: str
    is_taken_over: bool


@message
class Wake:
    """Send a `Tick` at that time, unless an earlier one was asked for since."""

    at: float


OwnershipEffect = TellOwner[T] | Refuse[T] | Claim | Refresh | Release | Lost | Acquired | Wake
