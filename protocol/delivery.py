"""The life of one forwarded request, as its sender knows it: a table.

Nothing leads from ACCEPTED to "it has not begun" but its owner's word, nor from anywhere to "it may have run" where
nobody can have received it. A missing cell is an error (`IllegalTransition`), never a guess.
"""

from enum import Enum, auto
from typing import TYPE_CHECKING, Final, Generic

from protocol.errors import IllegalTransition
from protocol.forwards_messages import Outcome, T

if TYPE_CHECKING:
    from protocol.peer import Peer


class Delivery(Enum):
    """How far a request has come."""

    SENT = auto()
    """Its post is under way."""
    POSTED = auto()
    """The bus has passed it on to whoever listened, and nothing was heard of it."""
    MISSED = auto()
    """The bus has posted it while nobody listened: it is lost."""
    ACCEPTED = auto()
    """Its owner has it, and may have begun it."""
    OVER = auto()
    """Nothing is known of it any more."""


class Turn(Enum):
    """What may happen to a request."""

    TAKEN = auto()
    """Somebody listened when it was posted."""
    MISSED = auto()
    """Nobody did."""
    REFUSED = auto()
    """The bus did not take it."""
    ACCEPTED = auto()
    """Its owner has accepted it."""
    REJECTED = auto()
    """Its owner has refused it."""
    ANSWERED = auto()
    """Its owner has answered it."""
    SPARED = auto()
    """It cannot begin any more."""
    DOUBTED = auto()
    """It may have begun, and nobody is left to tell, or no time."""
    WITHDRAWN = auto()
    """Nobody wants to know any more."""


_S, _E = Delivery, Turn
_HEARD: Final = {_E.ACCEPTED: _S.ACCEPTED, _E.REJECTED: _S.OVER, _E.ANSWERED: _S.OVER}
"""What an owner says is true wherever the request is: its words may overtake the bus's answer."""

TRANSITIONS: Final[dict[Delivery, dict[Turn, Delivery]]] = {
    _S.SENT: {
        _E.TAKEN: _S.POSTED,
        _E.MISSED: _S.MISSED,
        _E.REFUSED: _S.OVER,
        _E.SPARED: _S.OVER,
        _E.DOUBTED: _S.OVER,
        _E.WITHDRAWN: _S.OVER,
        **_HEARD,
    },
    _S.POSTED: {_E.SPARED: _S.OVER, _E.DOUBTED: _S.OVER, _E.WITHDRAWN: _S.OVER, **_HEARD},
    _S.MISSED: {_E.SPARED: _S.OVER, _E.WITHDRAWN: _S.OVER, **_HEARD},
    _S.ACCEPTED: {_E.DOUBTED: _S.OVER, _E.WITHDRAWN: _S.OVER, **_HEARD},
    _S.OVER: {},
}
OUTCOMES: Final = {
    _E.REFUSED: Outcome.NOT_DELIVERED,
    _E.SPARED: Outcome.NOT_DELIVERED,
    _E.REJECTED: Outcome.REJECTED,
    _E.DOUBTED: Outcome.UNKNOWN,
}
"""What whoever asked is told."""


class Forwarded(Generic[T]):
    """One request that is another worker's.

    Attributes:
        peer: what is known of its owner.
        number: they are counted in the order in which they were sent.
        sent_at: when that was.
        line: which of this worker's lines to the bus it was sent on.
        is_doomed: whether its owner was found dead since it was sent.
    """

    __slots__ = ("correlation", "deadline", "is_doomed", "line", "number", "peer", "sent_at", "state", "ticket")

    def __init__(
        self, ticket: T, correlation: str, peer: "Peer[T]", *, deadline: float, number: int, sent_at: float, line: int
    ) -> None:
        self.ticket = ticket
        self.correlation = correlation
        self.peer = peer
        self.deadline = deadline
        self.number = number
        self.sent_at = sent_at
        self.line = line
        self.is_doomed = False
        self.state = Delivery.SENT

    def move(self, turn: Turn) -> None:
        """The one place where the state changes."""
        after = TRANSITIONS[self.state].get(turn)
        if after is None:
            raise IllegalTransition(f"a forwarded request that is {self.state.name} cannot be {turn.name}")
        self.state = after
