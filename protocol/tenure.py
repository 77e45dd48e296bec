"""The life of one downstream session's ownership, as one worker knows it: a table.

Nothing leads from THEIRS to OURS but a claim, nor from OURS to anywhere without the bus, the clock or the session's end
having said so. A missing cell is an error (`IllegalTransition`), never a guess.
"""

from enum import Enum, auto
from typing import Final, Generic

from protocol.bus import Holding
from protocol.errors import IllegalTransition
from protocol.ownership_messages import T

NEVER: Final = float("inf")


class Tenure(Enum):
    """What this worker knows of who owns a session."""

    WANTED = auto()
    """Nobody's that is known; to be claimed as soon as that may be."""
    CLAIMING = auto()
    """A claim is under way."""
    OURS = auto()
    """Owned here."""
    DOUBTFUL = auto()
    """Owned here when it was last heard of; it is being claimed anew, since it may have been taken over."""
    THEIRS = auto()
    """Another worker's when it was last heard of."""
    LAPSED = auto()
    """Owned here until its time was over; nobody may know that yet."""
    RELEASING = auto()
    """Being given up."""
    FREE = auto()
    """Nothing is known of it any more."""


class Turn(Enum):
    """What may happen to a session's tenure."""

    ASKED = auto()
    """A claim was sent."""
    WON = auto()
    """The bus holds it for this worker's token."""
    FOUND = auto()
    """The bus holds it for another worker."""
    DOUBTED = auto()
    """It may have been taken over meanwhile."""
    EXPIRED = auto()
    """Its time is over, or what was known of it is old."""
    FAILED = auto()
    """The bus could not be asked."""
    DIED = auto()
    """Its owner is dead."""
    ENDED = auto()
    """Nobody is to own it any more."""
    RELEASED = auto()
    """It was given up."""
    HANDED = auto()
    """Another worker was given it to go on with."""


_S, _E = Tenure, Turn

TRANSITIONS: Final[dict[Tenure, dict[Turn, Tenure]]] = {
    _S.WANTED: {_E.ASKED: _S.CLAIMING, _E.FAILED: _S.FREE, _E.ENDED: _S.FREE},
    _S.CLAIMING: {_E.ASKED: _S.CLAIMING, _E.WON: _S.OURS, _E.FOUND: _S.THEIRS, _E.FAILED: _S.FREE},
    _S.OURS: {
        _E.WON: _S.OURS,
        _E.FOUND: _S.THEIRS,
        _E.DOUBTED: _S.DOUBTFUL,
        _E.EXPIRED: _S.LAPSED,
        _E.ENDED: _S.RELEASING,
        _E.HANDED: _S.FREE,
    },
    _S.DOUBTFUL: {
        _E.WON: _S.OURS,
        _E.FOUND: _S.THEIRS,
        _E.DOUBTED: _S.DOUBTFUL,
        _E.EXPIRED: _S.LAPSED,
        _E.ENDED: _S.RELEASING,
        _E.HANDED: _S.FREE,
    },
    _S.THEIRS: {_E.DIED: _S.WANTED, _E.EXPIRED: _S.FREE, _E.ENDED: _S.FREE},
    _S.LAPSED: {_E.DIED: _S.WANTED, _E.EXPIRED: _S.FREE, _E.ENDED: _S.FREE, _E.HANDED: _S.FREE},
    _S.RELEASING: {_E.RELEASED: _S.FREE},
    _S.FREE: {},
}
HELD: Final = frozenset({Tenure.OURS, Tenure.DOUBTFUL})
LEFT: Final = HELD | {Tenure.LAPSED}
"""What is to be left to somebody by a worker that leaves."""


class Owned(Generic[T]):
    """What is known of one session's ownership.

    Attributes:
        holding: what is to be claimed, what is held here, or what is held elsewhere, as the state says.
        over: the tokens that it is claimed over: a dead owner's, or its own of before.
        is_taken_over: whether it is claimed from an owner that is gone.
        is_owed: whether that was this worker itself, and so nobody else knows that there is a loss to be told.
        until: when it is lost or forgotten, unless something is heard before.
        waiting: who is to be told, and on whose behalf.
        is_over: whether it ended while it was claimed: it is given up at once.
        next: what is claimed when it has been given up, for those who have come since.
        reminder: which of its reminders counts.
    """

    __slots__ = (
        "holding",
        "is_over",
        "is_owed",
        "is_taken_over",
        "next",
        "over",
        "reminder",
        "session_id",
        "state",
        "until",
        "waiting",
    )

    def __init__(self, session_id: str, holding: Holding) -> None:
        self.session_id = session_id
        self.state = Tenure.WANTED
        self.holding = holding
        self.over: tuple[str, ...] = ()
        self.is_taken_over = self.is_owed = False
        self.until = NEVER
        self.waiting: dict[T, str] = {}
        self.is_over = False
        self.next: Holding | None = None
        self.reminder = 0

    def move(self, turn: Turn) -> None:
        """The one place where the state changes."""
        after = TRANSITIONS[self.state].get(turn)
        if after is None:
            raise IllegalTransition(f"a session that is {self.state.name} here cannot be {turn.name}")
        self.state = after
