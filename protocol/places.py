"""Places: who has a session, who waits for one, and who gets it next. The first layer of the pool machine.

A session has a number of places for loans; the sessions with a place left are listed, the one used last at the end. All
that moves a session goes through `_move`, all that ends one early through `_retire`.
"""

from collections.abc import Sequence
from typing import Any, Final, Generic, Protocol

from protocol.errors import ConnectFailed, IllegalTransition, SessionStateLost
from protocol.loan import LOAN_TRANSITIONS, Loan, LoanEvent, LoanState
from protocol.pool_messages import AwaitCalls, Close, Grant, PoolEffect, Refuse, T, Wake, Yielded
from protocol.pooled_session import NEVER, PooledSession
from protocol.session import TRANSITIONS, Retirement, SessionEvent, SessionState, illegal
from protocol.settings import PoolSettings

EVERY_CALL: Final = 1 << 30
"""The places of a sticky session."""


class Demand(Protocol):
    """What the pool as a whole wants of a key that has a session to spare."""

    is_starved: bool
    """Whether any key waits for a permit."""

    def yields_to_others(self, key: Any, waiting_since: float | None) -> bool:
        """Whether a session of `key` that became free is to be closed for another key, rather than handed to a waiter
        of its own that has waited since then (None: nobody waits).
        """
        ...


class _NoDemand:
    is_starved = False

    def yields_to_others(self, key: Any, waiting_since: float | None) -> bool:
        del key, waiting_since
        return False


class Named(Protocol):
    """What has a name to be shown, such as a pool key."""

    @property
    def name(self) -> str:
        """The name."""
        ...


NO_DEMAND: Final[Demand] = _NoDemand()

# What a hit needs. On Python 3.11 looking a member up in its Enum takes ten times as long as looking up a name.
_CONNECTING: Final = SessionState.CONNECTING
_IDLE: Final = SessionState.IDLE
_LEASED: Final = SessionState.LEASED
_RETIRING: Final = SessionState.RETIRING
_CLOSING: Final = SessionState.CLOSING
_LENT: Final = SessionEvent.LENT
_RETURNED: Final = SessionEvent.RETURNED
_HELD: Final = LoanState.HELD
_OVER: Final = LoanState.OVER

# The rows of the tables that a hit goes by.
_RELEASED: Final = LOAN_TRANSITIONS[_HELD][LoanEvent.RETURNED]
_UNLENT: Final = TRANSITIONS[_LEASED][_RETURNED]

LENDABLE: Final = (_IDLE, _LEASED, SessionState.CHECKING)
"""The states of a session that is open and sound."""

NOTHING: Final = ()

NOBODY: Final[dict[Any, tuple[float, float]]] = {}
"""The waiters of all the keys that have none: a dict of their own is made when there are. Never written to."""

NONE_OPENING: Final[dict[int, Any]] = {}
"""What is being opened for the keys that open nothing. Never written to."""


class Places(Generic[T]):
    """The sessions of one key, their loans, and the callers that wait for one. See `protocol.pool.PoolMachine`."""

    __slots__ = (
        "_asked_at",
        "_available",
        "_credentials_end",
        "_demand",
        "_handed_over",
        "_has_surplus",
        "_is_ending",
        "_is_lost",
        "_is_presumed",
        "_is_unheard",
        "_keeps_spares",
        "_key",
        "_named",
        "_openings",
        "_past_uses",
        "_sessions",
        "_settings",
        "_waiting",
        "_wake_at",
        "is_sticky",
    )

    def __init__(self, name: str | Named, settings: PoolSettings, *, is_sticky: bool, demand: Demand, key: Any) -> None:
        self._named = name
        self.is_sticky = is_sticky
        self._settings = settings
        self._demand = demand
        self._key = key
        self._sessions: list[PooledSession] = []
        self._available: list[PooledSession] = []
        self._waiting: dict[T, tuple[float, float]] = NOBODY  # since when, and when the credentials end
        self._openings: dict[int, T | None] = NONE_OPENING  # the sessions, and whom each is opened for
        self._asked_at = -NEVER
        self._credentials_end = NEVER  # of whoever asked last
        self._is_ending = self._is_lost = False
        self._is_presumed = False  # whether that is so only if the server turns out to keep state
        self._is_unheard = False  # whether it was told, to a caller who may not have heard
        self._keeps_spares = settings.min_idle > 0 and not is_sticky
        self._wake_at = NEVER
        self._has_surplus = False  # whether there may be more sessions than `max_size`, since that was lowered
        self._handed_over: int = 0  # loans to callers that had waited
        self._past_uses: int = 0  # of sessions that have ended

    @property
    def name(self) -> str:
        """What errors call the pool."""
        return self._named if isinstance(self._named, str) else self._named.name

    @property
    def all_uses(self) -> int:
        """How often the key's sessions were lent, those that have ended included."""
        return self._past_uses + sum(session.uses for session in self._sessions)

    @property
    def hits(self) -> int:
        """How often one was lent at once. That is not counted where it happens, which is where it would cost."""
        return self.all_uses - self._handed_over

    def lend(self, now: float, expires_at: float = NEVER) -> Loan | None:
        """Lend the open session that was used last, at `now`; None if none can be lent without more ado, which is for
        `Acquire`. Where spares are kept none can: one that is lent may have to be made up for.
        """
        available = self._available
        if not available or self._keeps_spares or self._is_lost:
            return None
        session = available[-1]
        if session.ends_at <= now or expires_at <= now:
            return None
        self._credentials_end = expires_at
        return self._lend(session, now, expires_at)

    def release(self, loan: Loan, now: float) -> Sequence[PoolEffect[T]]:
        """A lease is over at `now`, with no call under way: what a `Release` comes to, without the event."""
        if loan.state is not _HELD:
            return NOTHING
        loan.state = _RELEASED
        session: PooledSession = loan.session
        session.loans.remove(loan)
        session.used_at = now
        ends_at = session.ends_at
        if (
            self._waiting
            or session.state is not _LEASED
            or ends_at <= now
            or ends_at < self._wake_at
            or self._demand.is_starved
            or self._has_surplus
        ):
            return self._place_freed(session, now)
        if not session.loans:
            session.state = _UNLENT
        if not session.is_listed:
            session.is_listed = True
            self._available.append(session)
        return NOTHING

    @property
    def loans(self) -> list[Loan]:
        """Those that take up a place now."""
        return [loan for session in self._sessions for loan in session.loans]

    def _idle(self) -> list[PooledSession]:
        """The open sessions that nobody has, the one used last at the end."""
        return [session for session in self._available if not session.loans]

    def _waiting_since(self) -> float | None:
        """Since when the oldest waiter has waited; None if nobody waits."""
        return next(iter(self._waiting.values()))[0] if self._waiting else None

    # --- loans

    def _lend(self, session: PooledSession, now: float, expires_at: float) -> Loan:
        """Take up a place on a session that has one."""
        session.state = TRANSITIONS[session.state][_LENT]
        loans = session.loans
        session.uses = number = session.uses + 1
        loan = Loan(session, number, now)
        loans.append(loan)
        if expires_at != NEVER:
            session.bear(expires_at)
        if len(loans) >= session.places and session.is_listed:
            self._available.pop()  # it is the last: a hit takes that, and while somebody waits none is listed
            session.is_listed = False
        return loan

    def _left_busy(self, loan: Loan) -> Sequence[PoolEffect[T]]:
        was_held = loan.state is _HELD
        self._step(loan, LoanEvent.LEFT_BUSY)
        return [AwaitCalls(loan)] if was_held else NOTHING

    def _loan_over(
        self, loan: Loan, event: LoanEvent, now: float, reason: Retirement | None = None
    ) -> Sequence[PoolEffect[T]]:
        """A loan may be over with this. `reason`: why its session is not to be lent again, if so."""
        if not self._step(loan, event):
            return NOTHING
        session: PooledSession = loan.session
        session.loans.remove(loan)
        session.used_at = now
        if reason is not None and session.state in LENDABLE:
            return self._retire(session, reason)
        return self._place_freed(session, now)

    @staticmethod
    def _step(loan: Loan, event: LoanEvent) -> bool:
        """Move a loan as its table says. Whether it is over with this."""
        before = loan.state
        after = loan.state = LOAN_TRANSITIONS[before][event]
        return after is _OVER and before is not _OVER

    def _staying(self) -> int:
        """How many sessions there are that are not on their way out."""
        return sum(session.state in LENDABLE or session.state is _CONNECTING for session in self._sessions)

    def _place_freed(self, session: PooledSession, now: float) -> list[PoolEffect[T]]:
        """A session has a free place: it goes to the oldest waiter, or is listed; unless it is to end."""
        if session.state not in LENDABLE:
            return [] if session.loans else self._move(session, _RETURNED)
        if session.ends_at <= now:
            return self._retire(session, session.end_reason)
        if self._has_surplus and not session.loans and self._staying() > self._settings.max_size:
            return self._retire(session, Retirement.RESIZED)
        # One that is shared may never be nobody's.
        if self._demand.is_starved and (not session.loans or session.places > 1) and self._yields(session):
            return [Yielded(), *self._retire(session, Retirement.EVICTED)]
        if not session.loans and session.state is _LEASED:
            self._move(session, _RETURNED)
        effects: list[PoolEffect[T]] = []
        while self._waiting and len(session.loans) < session.places:
            ticket, since, expires_at = self._oldest_waiter()
            if expires_at <= now:
                effects.append(self._refuse_expired(ticket))
            else:
                loan = self._lend(session, now, expires_at)
                self._handed_over += 1
                effects.append(Grant(ticket, session.number, loan, now - since))
        if not session.is_listed and len(session.loans) < session.places:
            session.is_listed = True
            self._available.append(session)
        if not session.loans and session.ends_at < self._wake_at:  # what it was used with ends early
            self._wake_at = session.ends_at
            effects.append(Wake(session.ends_at))
        return effects

    def _yields(self, session: PooledSession) -> bool:
        """Whether a session with a place that came free is closed for another key. Not one that was just opened for
        somebody, whose turn it was; nor a conversation's state, which is asked for (`MakeRoom`) where there is nothing
        else.
        """
        if (self._waiting and not session.uses) or (self.is_sticky and session.is_stateful):
            return False
        return self._demand.yields_to_others(self._key, self._waiting_since())

    def _refuse_expired(self, ticket: T) -> Refuse[T]:
        why = f"{self.describe()}: this caller's credentials have expired, acquire again with new ones"
        return Refuse(ticket, ConnectFailed(why, step="credentials", status=401))

    def _oldest_waiter(self) -> tuple[T, float, float]:
        """Take the caller that waits the longest out of the queue: with since when, and when its credentials end."""
        ticket = next(iter(self._waiting))
        return ticket, *self._unqueue(ticket)

    def _unqueue(self, ticket: T) -> tuple[float, float]:
        """Take this caller out of the queue. Answer since when it waited, and when its credentials end."""
        taken = self._waiting.pop(ticket)
        if not self._waiting:
            self._waiting = NOBODY
        return taken

    def _tell_loss(self, ticket: T) -> Refuse[T]:
        """Tell this caller that the conversation has lost its state. Once."""
        self._is_lost = self._is_unheard = False
        lost = SessionStateLost(
            f"the session of {self.name} has ended, and what its server kept in it: the next call opens a new one"
        )
        return Refuse(ticket, lost)

    # --- sessions

    def _session(self, number: int) -> PooledSession:
        """The session with this number.

        Raises:
            IllegalTransition: it has ended, or there never was one.
        """
        for session in self._sessions:
            if session.number == number:
                return session
        raise IllegalTransition(f"{self.describe()}: there is no session {number}")

    def _move(self, session: PooledSession, event: SessionEvent) -> list[PoolEffect[T]]:
        """The one place where a session changes its state (a hit aside), and where that has consequences."""
        before = session.state
        after = TRANSITIONS[before].get(event)
        if after is None:
            raise illegal(before, event)
        session.state = after
        if after is before:
            return []
        if before is _CONNECTING:
            del self._openings[session.number]
            if not self._openings:
                self._openings = NONE_OPENING
        elif before in LENDABLE and after not in LENDABLE:
            if session.is_listed:
                session.is_listed = False
                self._available.remove(session)
            if self.is_sticky and session.is_stateful and session.uses and not self._is_ending:
                self._is_lost, self._is_unheard = True, False
        return [Close(session.number, session.reason or Retirement.BROKEN)] if after is _CLOSING else []

    def _end(self, session: PooledSession, event: SessionEvent, reason: Retirement) -> list[PoolEffect[T]]:
        """Something says that the session is to end: at once if nobody has it, else when its last loan is over."""
        session.reason = session.reason or reason
        effects = self._move(session, event)
        if session.state is _RETIRING and not session.loans:
            effects += self._move(session, _RETURNED)
        return effects

    def _retire(self, session: PooledSession, reason: Retirement) -> list[PoolEffect[T]]:
        """The pool itself wants the session to end."""
        return self._end(session, SessionEvent.RETIRED, reason)

    def describe(self) -> str:
        """The pool and its state in a few words, for errors."""
        states = [session.state for session in self._sessions]
        told = ", ".join(f"{states.count(state)} {state.name.lower()}" for state in SessionState if state in states)
        most = self._settings.max_size
        return f"pool of {self.name} ({told or 'no sessions'} of at most {most}, {len(self._waiting)} waiting)"
