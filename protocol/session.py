"""The life of one pooled session, as a table.

The rules
---------
- A session is lent only while it is open and sound: IDLE, CHECKING (a background check of an idle session takes nothing
  away from a borrower) or, where its mode allows several leases, LEASED. One that was never opened, that broke, or that
  is to be replaced cannot be lent: there is no row for it.
- What is to end while borrowers have it is RETIRING: their calls end by themselves, then it is closed. What nobody has
  is closed at once.
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
    """Open, and somebody's; also while calls of a lease that was released are still under way."""
    CHECKING = auto()
    """Open, nobody's, and asked whether it is alive."""
    RETIRING = auto()
    """Never to be lent again; its borrowers, or their calls, are not done with it yet."""
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
    """Nothing of any borrower is left on it."""
    PROBED = auto()
    """It is being asked whether it is alive."""
    PASSED = auto()
    """It is alive."""
    FAILED = auto()
    """It is not, or did not say so."""
    BROKE = auto()
    """Its transport broke, or the server no longer knows it."""
    RETIRED = auto()
    """The pool wants it replaced, or its place for another."""
    DISMISSED = auto()
    """The pool is closing and wants it gone, whoever holds it."""
    GONE = auto()
    """Its actor has ended, for whatever reason."""


class Retirement(Enum):
    """Why a session will not be lent again. The values are what metrics say."""

    __hash__ = object.__hash__  # members are singletons, and they key the counters

    BROKEN = "broken"
    """Its transport broke."""
    TERMINATED = "terminated"
    """The server no longer knows it."""
    EXPIRED = "expired"
    """It reached its `max_lifetime`."""
    IDLE = "idle"
    """Nobody used it for `max_idle`."""
    UNHEALTHY = "unhealthy"
    """A health check found it dead."""
    DRAINED = "drained"
    """The pool or its upstream was drained, or its settings were changed."""
    EVICTED = "evicted"
    """It made room for a session of another key, or its key was evicted."""
    OVERDUE_CALLS = "overdue_calls"
    """Calls that a borrower left under way did not end within `settle_timeout`."""
    ABANDONED_LEASE = "abandoned_lease"
    """Its borrower lost the lease without releasing it."""
    CLOSED = "closed"
    """The pool closes."""
    RESIZED = "resized"
    """The pool was made smaller."""
    CREDENTIALS_EXPIRED = "credentials_expired"
    """The credentials that it was opened with are over."""


_S, _E = SessionState, SessionEvent

TRANSITIONS: Final[dict[SessionState, dict[SessionEvent, SessionState]]] = {
    _S.CONNECTING: {
        _E.OPENED: _S.IDLE,
        _E.BROKE: _S.CLOSING,
        _E.RETIRED: _S.CLOSING,
        _E.DISMISSED: _S.CLOSING,
        _E.GONE: _S.ENDED,
    },
    _S.IDLE: {
        _E.LENT: _S.LEASED,
        _E.PROBED: _S.CHECKING,
        _E.PASSED: _S.IDLE,
        _E.FAILED: _S.CLOSING,
        _E.BROKE: _S.CLOSING,
        _E.RETIRED: _S.CLOSING,
        _E.DISMISSED: _S.CLOSING,
        _E.GONE: _S.ENDED,
    },
    _S.LEASED: {
        _E.LENT: _S.LEASED,
        _E.RETURNED: _S.IDLE,
        _E.PASSED: _S.LEASED,
        _E.FAILED: _S.RETIRING,
        _E.BROKE: _S.RETIRING,
        _E.RETIRED: _S.RETIRING,
        _E.DISMISSED: _S.CLOSING,
        _E.GONE: _S.ENDED,
    },
    _S.CHECKING: {
        _E.LENT: _S.LEASED,
        _E.PASSED: _S.IDLE,
        _E.FAILED: _S.CLOSING,
        _E.BROKE: _S.CLOSING,
        _E.RETIRED: _S.CLOSING,
        _E.DISMISSED: _S.CLOSING,
        _E.GONE: _S.ENDED,
    },
    _S.RETIRING: {
        _E.RETURNED: _S.CLOSING,
        _E.PASSED: _S.RETIRING,
        _E.FAILED: _S.RETIRING,
        _E.BROKE: _S.RETIRING,
        _E.RETIRED: _S.RETIRING,
        _E.DISMISSED: _S.CLOSING,
        _E.GONE: _S.ENDED,
    },
    _S.CLOSING: {
        _E.OPENED: _S.CLOSING,
        _E.RETURNED: _S.CLOSING,
        _E.PASSED: _S.CLOSING,
        _E.FAILED: _S.CLOSING,
        _E.BROKE: _S.CLOSING,
        _E.RETIRED: _S.CLOSING,
        _E.DISMISSED: _S.CLOSING,
        _E.GONE: _S.ENDED,
    },
    _S.ENDED: {},
}


def illegal(state: SessionState, event: SessionEvent) -> IllegalTransition:
    """The error for a row that the table does not have."""
    return IllegalTransition(f"a session that is {state.name} cannot be {event.name}")
