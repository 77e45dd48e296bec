"""What is said to and by the machine of capacity (`protocol.capacity`), and the life of a key in it, as a table.

A missing cell is an error (`IllegalTransition`), never a guess.
"""

from collections.abc import Hashable
from enum import Enum, auto
from typing import Final, Generic, TypeVar

from protocol.errors import PoolFull
from protocol.message import Answer, message

K = TypeVar("K", bound=Hashable)
"""The pool key. The machine only compares it."""


@message
class Scope:
    """Whose sessions a key's are.

    Attributes:
        user: counted by the cap per user; None by none.
        gateway_id: counted by the cap per gateway; None by none.
        tenant: the principal.
        is_sticky: they hold a conversation, so they make room for the same tenant only.
    """

    user: str | None
    gateway_id: str | None
    tenant: str
    is_sticky: bool = False


# --- events -----------------------------------------------------------------------------------------------------------


@message
class AddKey(Generic[K]):
    """A key is to be admitted. Answered by `AdmitKey` or `RefuseKey`, now or later."""

    key: K
    scope: Scope


@message
class RemoveKey(Answer, Generic[K]):
    """A key has ended, in whatever way, and with it all it had and wanted. Or: nobody waits for its admission now."""

    key: K


@message
class Reserve(Generic[K]):
    """A key wants one more session. It opens one when it has the `Permit`, and not before."""

    key: K


@message
class ReserveSpare(Generic[K]):
    """A key would like one more session if nobody has to make room for it. Answered at once: `Permit` or `NoSpare`."""

    key: K


@message
class Unreserve(Answer, Generic[K]):
    """A key wants one session less than it reserved. If none is queued, its permit is on its way: return it."""

    key: K


@message
class Returned(Answer, Generic[K]):
    """A permit comes home: the session has ended, or was never opened."""

    key: K


@message
class Idled(Generic[K]):
    """A session of the key became idle just now; or the key, which has none, could end."""

    key: K


@message
class Busy(Answer, Generic[K]):
    """Asked to make room, the key had no idle session."""

    key: K


@message
class InUse(Answer, Generic[K]):
    """Asked to end, the key could not: it has a lent session, or somebody waits for one."""

    key: K


@message
class Leaves(Answer, Generic[K]):
    """The key ends for certain, though nobody has asked it to, or whoever has need not know. `RemoveKey` follows."""

    key: K


@message
class Yielded(Answer, Generic[K]):
    """The key closes a session for the sake of a starved one, since `yields_to_others` said so. `Returned` follows."""

    key: K


@message
class Resized:
    """The caps are these from now on. A cap per user or gateway cannot be set where there was none, nor taken away."""

    max_sessions: int
    max_keys: int
    max_sessions_per_user: int | None = None
    max_sessions_per_gateway: int | None = None


KeyMessage = (
    Reserve[K] | ReserveSpare[K] | Unreserve[K] | Returned[K] | Idled[K] | Busy[K] | InUse[K] | Leaves[K] | Yielded[K]
)
"""What is said of an admitted key: by its holder, but for `Leaves`, which may be said for it."""

CapacityEvent = AddKey[K] | RemoveKey[K] | KeyMessage[K] | Resized

# --- effects ----------------------------------------------------------------------------------------------------------


@message
class Permit(Generic[K]):
    """The key may open one session."""

    key: K


@message
class NoSpare(Generic[K]):
    """There is no room for a spare."""

    key: K


@message
class MakeRoom(Generic[K]):
    """Ask the key to close its longest idle session. Answered by `Returned` (when it has ended) or `Busy`."""

    key: K


@message
class AdmitKey(Generic[K]):
    """The key is admitted: it may reserve."""

    key: K


@message
class RefuseKey(Generic[K]):
    """The key is not admitted, and was forgotten."""

    key: K
    error: PoolFull


@message
class EvictKey(Generic[K]):
    """Ask the key to end. Answered by `RemoveKey` (when it has) or `InUse`."""

    key: K


CapacityEffect = Permit[K] | NoSpare[K] | MakeRoom[K] | AdmitKey[K] | RefuseKey[K] | EvictKey[K]


@message
class CapacityCounts:
    """The figures as they are now.

    Attributes:
        permits: given out: sessions that are being opened, open, or being closed.
        queued: reservations that wait for a permit.
        rooms: sessions that were asked for or given up, and have not ended yet.
        keys: admitted ones.
        pending: keys that wait for admission.
        evicting: keys that were asked to end, or end by themselves.
    """

    permits: int
    queued: int
    rooms: int
    keys: int
    pending: int
    evicting: int


# --- the life of a key ------------------------------------------------------------------------------------------------


class KeyState(Enum):
    """What a key could give."""

    __hash__ = object.__hash__  # members are singletons, and Enum's own is Python code

    EMPTY = auto()
    """No session, and it wants none: the first to end when another key needs its place."""
    BUSY = auto()
    """It has or wants sessions; none that is known to be idle."""
    IDLE = auto()
    """It has an idle session, as far as is known: asked to make room in its turn."""
    ASKED = auto()
    """Every one of its sessions is asked for or given up already."""
    EVICTING = auto()
    """It was asked to end."""
    LEAVING = auto()
    """It ends for certain."""


class KeyEvent(Enum):
    """What may happen to a key."""

    __hash__ = object.__hash__

    RESERVED = auto()
    """It wants a session more, or was given one."""
    IDLED = auto()
    """A session of it is idle, and not asked for yet."""
    ALL_ASKED = auto()
    """Its last session that was not asked for was."""
    BUSY = auto()
    """It had no idle session to give."""
    SPENT = auto()
    """Its last session has ended; it wants another one."""
    EMPTIED = auto()
    """It has no session, and wants none."""
    EVICTED = auto()
    """It is asked to end."""
    KEPT = auto()
    """It was asked to end, and could not."""
    LEFT = auto()
    """It ends for certain, asked or not."""


_S, _E = KeyState, KeyEvent

TRANSITIONS: Final[dict[KeyState, dict[KeyEvent, KeyState]]] = {
    _S.EMPTY: {
        _E.RESERVED: _S.BUSY,
        _E.BUSY: _S.EMPTY,
        _E.EMPTIED: _S.EMPTY,
        _E.EVICTED: _S.EVICTING,
        _E.LEFT: _S.LEAVING,
    },
    _S.BUSY: {
        _E.RESERVED: _S.BUSY,
        _E.IDLED: _S.IDLE,
        _E.BUSY: _S.BUSY,
        _E.SPENT: _S.BUSY,
        _E.EMPTIED: _S.EMPTY,
        _E.LEFT: _S.LEAVING,
    },
    _S.IDLE: {
        _E.RESERVED: _S.IDLE,
        _E.IDLED: _S.IDLE,
        _E.ALL_ASKED: _S.ASKED,
        _E.BUSY: _S.BUSY,
        _E.SPENT: _S.BUSY,
        _E.EMPTIED: _S.EMPTY,
        _E.EVICTED: _S.EVICTING,
        _E.LEFT: _S.LEAVING,
    },
    _S.ASKED: {
        _E.RESERVED: _S.ASKED,
        _E.IDLED: _S.IDLE,
        _E.BUSY: _S.BUSY,
        _E.SPENT: _S.BUSY,
        _E.EMPTIED: _S.EMPTY,
        _E.LEFT: _S.LEAVING,
    },
    _S.EVICTING: {
        _E.RESERVED: _S.EVICTING,
        _E.IDLED: _S.EVICTING,
        _E.BUSY: _S.EVICTING,
        _E.SPENT: _S.EVICTING,
        _E.EMPTIED: _S.EVICTING,
        _E.KEPT: _S.BUSY,
        _E.LEFT: _S.LEAVING,
    },
    _S.LEAVING: {
        _E.RESERVED: _S.LEAVING,
        _E.IDLED: _S.LEAVING,
        _E.BUSY: _S.LEAVING,
        _E.SPENT: _S.LEAVING,
        _E.EMPTIED: _S.LEAVING,
        _E.KEPT: _S.LEAVING,
        _E.LEFT: _S.LEAVING,
    },
}
