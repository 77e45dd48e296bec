"""What happens in a pool, as messages to whoever watches it.

Each says when (`at`, in seconds of the pool's clock) and, where it concerns one, of which pool key (`key`, as it may be
shown: no credential, no query string) and session (`session`, its number among those of its key). Nobody in the pool
waits for them to be read: they are facts, in the order in which they came about.
"""

from dataclasses import field
from enum import Enum

from protocol.message import message
from protocol.session import Retirement


class KeyEviction(Enum):
    """Why a pool key is forgotten. The values are what metrics say."""

    __hash__ = object.__hash__

    IDLE = "idle"
    """It had no sessions for `key_idle`."""
    ROOM = "room"
    """It made room for another key, at `max_keys`."""
    ENDED = "ended"
    """Its conversation is over: the pool was told so."""
    CRASHED = "crashed"
    """Its supervisor failed; the next caller starts it anew."""


# --- sessions ---------------------------------------------------------------------------------------------------------


@message
class SessionCreated:
    """A session is open. `seconds`: how long that took, the handshake included."""

    key: str
    session: int
    seconds: float
    at: float


@message
class OpeningFailed:
    """A session could not be opened.

    Attributes:
        error: the name of the error's class.
        step: how far it came, in the protocol's words.
        status: what the server answered over HTTP, if it did.
    """

    key: str
    session: int
    error: str
    step: str
    status: int | None
    at: float


@message
class SessionRetired:
    """A session that will not be lent again is being closed: nobody holds it any more, or the pool closes.

    One that is still being opened may be closed, too: nothing more is told of it.
    """

    key: str
    session: int
    reason: Retirement
    at: float


@message
class SessionEnded:
    """A session is gone, and its permit free. `uses`: how often it was lent."""

    key: str
    session: int
    uses: int
    at: float


# --- leases -----------------------------------------------------------------------------------------------------------


@message
class Leased:
    """A session was lent. `waited`: how long the borrower waited for it, in seconds; 0 if it was lent at once."""

    key: str
    session: int
    lease: int
    waited: float
    at: float


@message
class Released:
    """A lease is over. `held`: for how long it was held, in seconds."""

    key: str
    session: int
    lease: int
    held: float
    at: float


@message
class LeaseHeldLong:
    """A lease is held for longer than `warn_after`. The log says where it was acquired."""

    key: str
    session: int
    lease: int
    held: float
    at: float


# --- keys and breakers ------------------------------------------------------------------------------------------------


@message
class KeyAdded:
    """A pool key came into use."""

    key: str
    at: float


@message
class KeyEvicted:
    """A pool key was forgotten, with what it had learnt about its server."""

    key: str
    reason: KeyEviction
    at: float


@message
class BreakerMoved:
    """A breaker changed its state.

    Attributes:
        breaker: which one, as it may be shown: an endpoint's address, or an address and a credential's digits.
        before, after: its states: `closed`, `open`, `half_open`.
    """

    breaker: str
    before: str
    after: str
    at: float


# --- among workers ----------------------------------------------------------------------------------------------------


@message
class ConversationTaken:
    """A conversation was taken over from a worker that had died. Its id is there to be read, and not in the repr."""

    session_id: str = field(repr=False)
    at: float


@message
class ConversationLost:
    """A conversation is not owned here any more, though it was not given up: what it had here ends. See above."""

    session_id: str = field(repr=False)
    at: float


@message
class BusJoined:
    """This worker is on the bus, and what others own can be reached. `times`: how often it has come to be."""

    times: int
    at: float


@message
class BusParted:
    """The bus was lost. It is tried again until it is back. `why`: in words, without anything secret."""

    why: str
    at: float


@message
class TwinsFound:
    """So many workers listen by one id, and are sent each other's requests."""

    worker: str
    listeners: int
    at: float


# --- the stream itself ------------------------------------------------------------------------------------------------


@message
class Missed:
    """The reader was too slow: so many events that belong here were dropped. `at`: when the last of them came about."""

    count: int
    at: float


ClusterHappening = ConversationTaken | ConversationLost | BusJoined | BusParted | TwinsFound
"""What happens to one of several workers."""

PoolHappening = (
    SessionCreated
    | OpeningFailed
    | SessionRetired
    | SessionEnded
    | Leased
    | Released
    | LeaseHeldLong
    | KeyAdded
    | KeyEvicted
    | BreakerMoved
    | ConversationTaken
    | ConversationLost
    | BusJoined
    | BusParted
    | TwinsFound
)
"""What the pool's actors publish."""

PoolEvent = PoolHappening | Missed
"""What a reader gets."""
