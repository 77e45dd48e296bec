"""The pool of one key: its sessions, its leases, its waiters and its permits, in one machine.

The rules
---------
- Permits: every session that has not ENDED holds one of `max_size`. The permit is taken before the session is opened.
- Nobody waits while a session is idle, or while one could be opened: an `Acquire` is served from the idle sessions, the
  last used first; else it waits, and a session is opened for it if a permit is free.
- A session that comes back, or opens, goes straight to the oldest waiter.
- As many sessions are being opened as there are waiters for them, and no more. When an opening fails and the others
  still being opened are too few, the oldest waiter is told why. So every failed attempt ends somebody's wait: nobody
  waits for ever on a server that is down.
- A lease is a number that is never used again. What is said of a lease that has ended changes nothing.

`handle` is the one way in. It answers with what must be done: `Open`, `Grant`, `Refuse`, `AwaitCalls`, `Close`,
`Finished`. Tickets stand for waiting callers, and belong to whoever drives the machine, as do the clocks.
"""

from collections.abc import Hashable
from typing import Final, Generic, TypeVar, assert_never

from protocol.errors import ConnectFailed, PoolClosed, PoolFull, TroupeError
from protocol.message import Answer, message
from protocol.session import TRANSITIONS, SessionEvent, SessionState, illegal

T = TypeVar("T", bound=Hashable)
"""What stands for a waiting caller. The machine only keeps it."""

# --- events -----------------------------------------------------------------------------------------------------------


@message
class Acquire(Generic[T]):
    """A caller wants a session."""

    ticket: T


@message
class Withdraw(Generic[T]):
    """A caller that may be waiting has gone: cancelled, or out of time."""

    ticket: T


@message
class Release(Answer):
    """A lease is over. `busy`: calls made under it have not ended yet."""

    lease: int
    busy: bool


@message
class CallsEnded(Answer):
    """The last call under way of a lease that was released busy has ended."""

    lease: int


@message
class CallsOverdue(Answer):
    """The calls of a lease that was released busy were waited for long enough."""

    lease: int


@message
class SessionOpened(Answer):
    """A session finished its handshake."""

    session: int


@message
class SessionBroke(Answer):
    """A session can no longer be trusted: its transport broke, or the server does not know it any more."""

    session: int


@message
class SessionGone(Answer):
    """A session has ended. `error`: why it could not be opened, where that is so."""

    session: int
    error: TroupeError | None = None


@message
class Shut:
    """The pool closes."""


PoolEvent = (
    Acquire[T] | Withdraw[T] | Release | CallsEnded | CallsOverdue | SessionOpened | SessionBroke | SessionGone | Shut
)

# --- effects ----------------------------------------------------------------------------------------------------------


@message
class Open(Generic[T]):
    """Open a session, with what the holder of this ticket brought."""

    session: int
    ticket: T


@message
class Grant(Generic[T]):
    """Lend the session to the holder of the ticket."""

    ticket: T
    session: int
    lease: int


@message
class Refuse(Generic[T]):
    """Tell the holder of the ticket why there is no session for it."""

    ticket: T
    error: TroupeError


@message
class AwaitCalls:
    """Say `CallsOverdue` for this lease once the calls it left under way have been waited for long enough."""

    lease: int


@message
class Close:
    """Close the session."""

    session: int


@message
class Finished:
    """The pool is shut and its last session has ended."""


PoolEffect = Open[T] | Grant[T] | Refuse[T] | AwaitCalls | Close | Finished


class _Session:
    __slots__ = ("lease", "lent_at", "number", "state")

    def __init__(self, number: int) -> None:
        self.number = number
        self.state = SessionState.CONNECTING
        self.lease: int | None = None
        self.lent_at = 0.0


@message
class PoolCounts:
    """The figures of one key. The longest wait and lease are those of now, in seconds."""

    sessions: dict[SessionState, int]
    waiting: int
    free: int
    hits: int
    misses: int
    opened: int
    open_failures: int
    broken: int
    longest_wait: float
    longest_lease: float


# What a hit needs. On Python 3.11 looking a member up in its Enum takes ten times as long as looking up a name.
_IDLE: Final = SessionState.IDLE
_CLOSING: Final = SessionState.CLOSING
_LENT: Final = SessionEvent.LENT
_RETURNED: Final = SessionEvent.RETURNED


class PoolMachine(Generic[T]):
    """The state of one key's pool.

    Args:
        name: what errors call the pool.
        max_size: the permits.
        max_waiting: how many callers may wait.
    """

    __slots__ = (
        "_idle",
        "_leases",
        "_next_lease",
        "_next_session",
        "_sessions",
        "_shut",
        "_waiting",
        "broken",
        "hits",
        "max_size",
        "max_waiting",
        "misses",
        "name",
        "open_failures",
        "opened",
    )

    def __init__(self, name: str, *, max_size: int, max_waiting: int) -> None:
        self.name = name
        self.max_size = max_size
        self.max_waiting = max_waiting
        self._sessions: dict[int, _Session] = {}
        self._idle: dict[int, _Session] = {}
        self._leases: dict[int, _Session] = {}
        self._waiting: dict[T, float] = {}
        self._next_session = 1
        self._next_lease = 1
        self._shut = False
        self.hits = self.misses = self.opened = self.open_failures = self.broken = 0

    def handle(self, event: PoolEvent[T], *, now: float) -> list[PoolEffect[T]]:
        """Take in what happened at `now`, in seconds of a monotonic clock; answer what must be done, in order."""
        match event:
            # What these bear is bound here rather than in the pattern, which takes three times as long.
            case Acquire():
                return self._acquire(event.ticket, now)
            case Release():
                return self._release(event.lease, now, busy=event.busy)
            case Withdraw(ticket):
                self._waiting.pop(ticket, None)
                return []
            case CallsEnded(lease):
                return self._settle(lease, _RETURNED, now)
            case CallsOverdue(lease):
                return self._settle(lease, SessionEvent.OVERDUE, now)
            case SessionOpened(number):
                self.opened += 1
                return self._move(self._sessions[number], SessionEvent.OPENED, now)
            case SessionBroke(number):
                self.broken += 1
                return self._move(self._sessions[number], SessionEvent.BROKE, now)
            case SessionGone(number, error):
                return self._gone(self._sessions[number], error, now)
            case Shut():
                return self._shut_down(now)
            case _:
                assert_never(event)

    def counts(self, *, now: float) -> PoolCounts:
        """The figures as they are at `now`."""
        sessions = dict.fromkeys(SessionState, 0)
        for session in self._sessions.values():
            sessions[session.state] += 1
        return PoolCounts(
            sessions=sessions,
            waiting=len(self._waiting),
            free=self.max_size - len(self._sessions),
            hits=self.hits,
            misses=self.misses,
            opened=self.opened,
            open_failures=self.open_failures,
            broken=self.broken,
            longest_wait=now - next(iter(self._waiting.values()), now),
            longest_lease=max((now - session.lent_at for session in self._leases.values()), default=0.0),
        )

    def describe(self) -> str:
        """The pool and its state in a few words, for errors."""
        states = [session.state for session in self._sessions.values()]
        told = ", ".join(f"{states.count(state)} {state.name.lower()}" for state in SessionState if state in states)
        return f"pool of {self.name} ({told or 'no sessions'} of at most {self.max_size}, {len(self._waiting)} waiting)"

    # --- callers

    def _acquire(self, ticket: T, now: float) -> list[PoolEffect[T]]:
        if self._idle:
            self.hits += 1
            return [self._grant(next(reversed(self._idle.values())), ticket, now)]
        if self._shut:
            return [Refuse(ticket, PoolClosed(f"{self.describe()} is closed: open another one"))]
        self.misses += 1
        if len(self._waiting) >= self.max_waiting and not self._could_open():
            return [Refuse(ticket, PoolFull(f"{self.describe()}: max_waiting is reached, try again later"))]
        self._waiting[ticket] = now
        return self._open_for_waiters()

    def _release(self, lease: int, now: float, *, busy: bool) -> list[PoolEffect[T]]:
        session = self._leases.get(lease)
        if session is None:
            return []
        if not busy:
            del self._leases[lease]
            return self._move(session, _RETURNED, now)
        effects = self._move(session, SessionEvent.LEFT_BUSY, now)
        if session.state in (SessionState.SETTLING, SessionState.RETIRING):
            effects.append(AwaitCalls(lease))
        return effects

    def _settle(self, lease: int, event: SessionEvent, now: float) -> list[PoolEffect[T]]:
        session = self._leases.pop(lease, None)
        return [] if session is None else self._move(session, event, now)

    # --- sessions

    def _move(self, session: _Session, event: SessionEvent, now: float) -> list[PoolEffect[T]]:
        """The one place where a session changes its state, and where that has consequences."""
        before = session.state
        after = TRANSITIONS[before].get(event)
        if after is None:
            raise illegal(before, event)
        session.state = after
        if after is before:
            return []
        if before is _IDLE:
            del self._idle[session.number]
        if after is _IDLE:
            session.lease = None
            self._idle[session.number] = session
            if self._waiting:
                return [self._grant(session, self._oldest_waiter(), now)]
        elif after is _CLOSING:
            return [Close(session.number)]
        return []

    def _grant(self, session: _Session, ticket: T, now: float) -> Grant[T]:
        lease = self._next_lease
        self._next_lease = lease + 1
        self._move(session, _LENT, now)
        session.lease = lease
        session.lent_at = now
        self._leases[lease] = session
        return Grant(ticket, session.number, lease)

    def _gone(self, session: _Session, error: TroupeError | None, now: float) -> list[PoolEffect[T]]:
        never_opened = session.state is SessionState.CONNECTING
        self._move(session, SessionEvent.GONE, now)
        del self._sessions[session.number]
        if session.lease is not None:
            self._leases.pop(session.lease, None)
        effects: list[PoolEffect[T]] = []
        if never_opened:
            self.open_failures += 1
            if len(self._waiting) > self._connecting():
                oldest = self._oldest_waiter()
                why = error or ConnectFailed(f"{self.describe()}: a session ended before it was open", step="connect")
                effects.append(Refuse(oldest, why))
        if self._shut and not self._sessions:
            effects.append(Finished())
        return effects + self._open_for_waiters()

    def _oldest_waiter(self) -> T:
        """Take the caller that waits the longest out of the queue."""
        oldest = next(iter(self._waiting))
        del self._waiting[oldest]
        return oldest

    def _connecting(self) -> int:
        return sum(session.state is SessionState.CONNECTING for session in self._sessions.values())

    def _could_open(self) -> bool:
        return not self._shut and len(self._sessions) < self.max_size

    def _open_for_waiters(self) -> list[PoolEffect[T]]:
        effects: list[PoolEffect[T]] = []
        if not self._waiting:
            return effects
        connecting = self._connecting()
        while self._could_open() and connecting < len(self._waiting):
            number = self._next_session
            self._next_session = number + 1
            self._sessions[number] = _Session(number)
            connecting += 1
            effects.append(Open(number, next(iter(self._waiting))))
        return effects

    def _shut_down(self, now: float) -> list[PoolEffect[T]]:
        if self._shut:
            return []
        self._shut = True
        effects: list[PoolEffect[T]] = [
            Refuse(ticket, PoolClosed(f"{self.describe()} was closed while this caller waited"))
            for ticket in self._waiting
        ]
        self._waiting.clear()
        for session in list(self._sessions.values()):
            effects += self._move(session, SessionEvent.DISMISSED, now)
        if not self._sessions:
            effects.append(Finished())
        return effects
