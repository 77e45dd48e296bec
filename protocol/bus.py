"""What the cluster asks of its bus, and what the bus says.

A bus carries envelopes between workers, and keeps two kinds of records with a lifetime of their own on the bus's clock:
who holds a downstream session (`Holding`), and which workers live. Every change of a holding is atomic, and may be
repeated without harm: it carries the claimer's token, so that a claim whose answer was lost is recognised when it comes
again. Each such command is answered with the holding as it is afterwards, which says what came of it.

A worker's own life is not told apart from its listening: it beats only while it is subscribed to its channels.
"""

from collections.abc import Mapping
from typing import Generic, TypeVar

from protocol.message import Answer, message

A_co = TypeVar("A_co", covariant=True)


class Command(Generic[A_co]):
    """Something that the bus is to do. It is answered with an `A_co`."""

    __slots__ = ()


# --- envelopes


@message
class Post(Command[int]):
    """Send an envelope to whoever is subscribed to the channel. Answered with how many those are.

    Nobody is a hint and no proof: right after a restart of the bus the living are not subscribed yet. More than one
    says that two workers go by one id.
    """

    channel: str
    envelope: bytes


@message
class PostWhileHeard(Command[int]):
    """As `Post`, if whoever sends it is subscribed to `own` at that moment; else nothing is sent, and it is answered
    with 0. So whoever was found not to be listening has not said anything since.
    """

    channel: str
    envelope: bytes
    own: str


@message
class Count(Command[int]):
    """Answered with how many are subscribed to the channel."""

    channel: str


# --- who holds a downstream session


@message
class Holding:
    """That a worker holds a downstream session.

    Attributes:
        owner: the worker's id.
        token: this holding's own, drawn at random: another one of the same worker has another.
        principal: the digest of whose the session is.
    """

    owner: str
    token: str
    principal: str


@message
class Find(Command[Holding | None]):
    """Answered with who holds the session; None if nobody does."""

    session_id: str


@message
class Claim(Command[Holding | None]):
    """Hold the session if nobody does; again, if it is held with this very token, as after an answer that was lost.

    Attributes:
        session_id: which.
        holding: by whom.
        lifetime: seconds until nobody holds it, unless it is refreshed.
        over: tokens that may hold it and are to hold it no more: a dead owner's, or earlier ones of its own.
    """

    session_id: str
    holding: Holding
    lifetime: float
    over: tuple[str, ...] = ()


@message
class Refresh(Command[Holding | None]):
    """Hold the session for so many seconds from now on, if it is held with this token."""

    session_id: str
    token: str
    lifetime: float


@message
class Release(Command[Holding | None]):
    """Hold the session no longer, if it is held with this token."""

    session_id: str
    token: str


# --- which workers live


@message
class Beat(Command[None]):
    """The worker lives, for so many seconds from now on at the least. `said`: what others may know of it."""

    worker: str
    lifetime: float
    said: bytes


@message
class Look(Command[bytes | None]):
    """Answered with what the worker said when it beat last; None if it does not live any more."""

    worker: str


@message
class Peers(Command[Mapping[str, bytes]]):
    """Answered with the workers that live, by their ids, and what each said when it beat last. Whoever asks is one."""


@message
class Forget(Command[None]):
    """The worker leaves in good order."""

    worker: str


# --- what the bus says


@message
class Joined(Answer):
    """The channels are subscribed to, and from now on commands are taken.

    Attributes:
        age: seconds, by the bus's clock, since its records were begun. A young bus may have lost what it kept: that it
            knows of no owner or of no worker does not say that there is none.
    """

    age: float


@message
class Parted(Answer):
    """The bus cannot be reached any more. It is tried again until it can. `why`: in words, without anything secret."""

    why: str


@message
class Arrived(Answer):
    """An envelope came in on a channel."""

    channel: str
    envelope: bytes


BusNews = Joined | Parted | Arrived
