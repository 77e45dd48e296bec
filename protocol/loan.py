"""The life of one loan: what the pool knows of a lease, as a table.

The rules
---------
- A loan takes up its place on the session until it is OVER: a lease that was released while its calls are still under
  way is SETTLING, and its place is lent to nobody.
- Nothing leads back. A loan is never used again, and what is said of one that is OVER changes nothing: that is why a
  lease released twice, or late, cannot touch the next borrower's session.
"""

from enum import Enum, auto
from typing import Any, Final


class LoanState(Enum):
    """Where a loan is in its life."""

    __hash__ = object.__hash__

    HELD = auto()
    """Somebody's."""
    SETTLING = auto()
    """Released, while calls made under it are under way."""
    OVER = auto()
    """Nothing of it is left on its session."""


class LoanEvent(Enum):
    """What may happen to a loan."""

    __hash__ = object.__hash__

    RETURNED = auto()
    """Released, and every call has ended."""
    LEFT_BUSY = auto()
    """Released with calls under way."""
    CALLS_ENDED = auto()
    """The last call that was left under way has ended."""
    OVERDUE = auto()
    """The calls left under way took too long."""
    ABANDONED = auto()
    """Dropped without a release."""
    LOST = auto()
    """Its session has ended."""


_S, _E = LoanState, LoanEvent

LOAN_TRANSITIONS: Final[dict[LoanState, dict[LoanEvent, LoanState]]] = {
    _S.HELD: {
        _E.RETURNED: _S.OVER,
        _E.LEFT_BUSY: _S.SETTLING,
        _E.CALLS_ENDED: _S.HELD,
        _E.OVERDUE: _S.HELD,
        _E.ABANDONED: _S.OVER,
        _E.LOST: _S.OVER,
    },
    _S.SETTLING: {
        _E.RETURNED: _S.SETTLING,
        _E.LEFT_BUSY: _S.SETTLING,
        _E.CALLS_ENDED: _S.OVER,
        _E.OVERDUE: _S.OVER,
        _E.ABANDONED: _S.SETTLING,
        _E.LOST: _S.OVER,
    },
    _S.OVER: dict.fromkeys(_E, _S.OVER),
}


class Loan:
    """One loan of a session: a token that is told from all others by being the same object.

    Attributes:
        session: the session's own record. Only the pool's machine changes it.
        number: which loan of its session it is, from 1.
        since: when it began, in seconds of the pool's clock.
        state: where it is in its life. Only the pool's machine changes it.
        warned: whether it was told of as held for long.
        note: whatever whoever drives the machine wants to remember of it.
    """

    __slots__ = ("note", "number", "session", "since", "state", "warned")

    def __init__(self, session: Any, number: int, since: float) -> None:
        self.session = session
        self.number = number
        self.since = since
        self.state = LoanState.HELD
        self.warned = False
        self.note: Any = None

    def __repr__(self) -> str:
        return f"<Loan, {self.state.name.lower()}>"
