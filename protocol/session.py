"""The life of one pooled session, as a table.

The rules
---------
- A session is lent only from IDLE. So one that was never opened, that broke, or on which somebody's calls are still
  under way cannot be lent: there is no row for it.
- What broke while a borrower has it is RETIRING: the borrower's calls end by themselves, then it is closed. What broke
  otherwise is closed at once.
- A session holds its permit until it ENDED: one that is being closed still counts, since its connection still exists.
- Nothing leaves CLOSING but the session's end. Whatever crosses it on the way changes nothing.

A missing cell is an error (`IllegalTransition`), never a guess.
"""

from enum import Enum, auto
from typing import Final

from protocol.errors import IllegalTransition


class SessionState(Enum):
    """Where a session is in its life."""

    __hash__ = object.__hash__  # members are singletons, and Enum's own is Python code on the way of every hit

    CONNECTING = auto()
    """Its connection and handshake are under way."""
    IDLE = auto()
    """Open, and nobody's."""
    LEASED = auto()
    """Open, and somebody's."""
    SETTLING = auto()
    """Released while calls of its last borrower are still under way."""
    RETIRING = auto()
    """Never to be lent again; its borrower, or the borrower's calls, are not done with it yet."""
    CLOSING = auto()
    """On its way out."""
    ENDED = auto()
    """Gone, its permit free."""


class SessionEvent(Enum):
    """What may happen to a session."""

    __hash__ = object.__hash__

    OPENED = auto()
    """Connection and handshake succeeded."""
    LENT = auto()
    """It was granted to a borrower."""
    RETURNED = auto()
    """Nothing of its borrower is left on it: released, and every call ended."""
    LEFT_BUSY = auto()
    """Released with calls under way."""
    OVERDUE = auto()
    """The calls left under way took too long."""
    BROKE = auto()
    """Its transport broke, or the server no longer knows it."""
    DISMISSED = auto()
    """The pool is closing and wants it gone, whoever holds it."""
    GONE = auto()
    """Its actor has ended, for whatever reason."""


_S, _E = SessionState, SessionEvent

TRANSITIONS: Final[dict[SessionState, dict[SessionEvent, SessionState]]] = {
    _S.CONNECTING: {
        _E.OPENED: _S.IDLE,
        _E.BROKE: _S.CLOSING,
        _E.DISMISSED: _S.CLOSING,
        _E.GONE: _S.ENDED,
    },
    _S.IDLE: {
        _E.LENT: _S.LEASED,
        _E.BROKE: _S.CLOSING,
        _E.DISMISSED: _S.CLOSING,
        _E.GONE: _S.ENDED,
    },
    _S.LEASED: {
        _E.RETURNED: _S.IDLE,
        _E.LEFT_BUSY: _S.SETTLING,
        _E.BROKE: _S.RETIRING,
        _E.DISMISSED: _S.CLOSING,
        _E.GONE: _S.ENDED,
    },
    _S.SETTLING: {
        _E.RETURNED: _S.IDLE,
        _E.OVERDUE: _S.CLOSING,
        _E.BROKE: _S.RETIRING,
        _E.DISMISSED: _S.CLOSING,
        _E.GONE: _S.ENDED,
    },
    _S.RETIRING: {
        _E.RETURNED: _S.CLOSING,
        _E.LEFT_BUSY: _S.RETIRING,
        _E.OVERDUE: _S.CLOSING,
        _E.BROKE: _S.RETIRING,
        _E.DISMISSED: _S.CLOSING,
        _E.GONE: _S.ENDED,
    },
    _S.CLOSING: {
        _E.OPENED: _S.CLOSING,
        _E.RETURNED: _S.CLOSING,
        _E.LEFT_BUSY: _S.CLOSING,
        _E.OVERDUE: _S.CLOSING,
        _E.BROKE: _S.CLOSING,
        _E.DISMISSED: _S.CLOSING,
        _E.GONE: _S.ENDED,
    },
    _S.ENDED: {},
}


def illegal(state: SessionState, event: SessionEvent) -> IllegalTransition:
    """The error for a row that the table does not have."""
    return IllegalTransition(f"a session that is {state.name} cannot be {event.name}")
