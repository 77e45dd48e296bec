"""The pool of one key: its sessions, its loans, its waiters and its permits, in one machine.

The rules
---------
- Permits: every session that has not ENDED holds one of `max_size`, and a permit of the whole pool, which is reserved
  before the session is opened and comes back when it has ended.
- Nobody waits while an open session has a free place, or while a session could be opened: an `Acquire` is served from
  the open sessions, the last used first; else it waits, and a session is opened for it if a permit is free.
- A place that becomes free goes straight to the oldest waiter, unless another key has waited for a permit for longer:
  then the session is closed for it.
- As many sessions are being opened as the waiters need, and no more, each for one of them. When that fails, or is
  refused, and the others under way are too few, the one that it was for is told why: nobody waits for ever on a server
  that is down, and nobody is refused for what another one brought.
- How many loans a session may have is told with its opening: one if its server keeps state in it, `shared_leases` if
  not; `places` overrides that. Before its first session has opened a key goes by one.
- A sticky key has one session, with a place for every call of its conversation. When a stateful one that was used is
  lost, the next `Acquire` is refused with `SessionStateLost`, and the one after opens another. If whoever was refused
  had gone before they heard of it, the conversation is still to be told. Where it is not known whether there was state
  to lose (another worker had the session), that is told once the first session has opened, to the oldest waiter.
- Upkeep is done when a `Tick` comes; the machine says with `Wake` when the next one is due at the latest, and never
  on a caller's way.
- What an idle spare is worth: a permit that only a spare needs is asked for as such, an opening that failed or a spare
  that had to make room is not tried again at once, and none are kept once nobody has used the key for `key_idle`.

`handle` is the one way in; `lend` and `release` are what it does with an `Acquire` and a `Release` of a hit, for
whoever can do without ticket and event.

The machine has four layers: `protocol.places` (who has a session, and who gets it next), `protocol.supply` (how many
are opened), `protocol.upkeep` (what is done in the background), and this one (callers, and ends). Sessions and loans
move as the tables in `protocol.session` and `protocol.loan` say; `protocol.pooled_session` says when something is due
for a session.
"""

from collections.abc import Sequence
from typing import Any, assert_never

from protocol.errors import PoolClosed, PoolFull
from protocol.loan import LoanEvent
from protocol.message import message
from protocol.places import LENDABLE, NO_DEMAND, NOBODY, NOTHING, Demand, Named
from protocol.pool_messages import (
    Abandoned,
    Acquire,
    CallsEnded,
    CallsOverdue,
    Drain,
    Evict,
    Finished,
    Grant,
    MakeRoom,
    Occupied,
    PermitGranted,
    PermitRefused,
    PoolEffect,
    PoolEvent,
    Refuse,
    Release,
    Resize,
    SessionBroke,
    SessionChecked,
    SessionGone,
    SessionOpened,
    Share,
    Shut,
    T,
    Tick,
    Told,
    Unreserve,
    Untold,
    Wake,
    Withdraw,
)
from protocol.pooled_session import PooledSession
from protocol.session import Retirement, SessionEvent, SessionState
from protocol.settings import PoolSettings
from protocol.upkeep import Upkeep


@message
class PoolCounts:
    """The figures of one key. The longest wait and lease are those of now, in seconds; `reserved` are permits that were
    asked for and did not come yet.
    """

    sessions: dict[SessionState, int]
    leases: int
    waiting: int
    reserved: int
    free: int
    hits: int
    misses: int
    opened: int
    open_failures: int
    broken: int
    longest_wait: float
    longest_lease: float


class PoolMachine(Upkeep[T]):
    """The state of one key's pool.

    Args:
        name: what errors call the pool; or what has such a name, and makes it when it is asked.
        settings: how it behaves.
        places: how many loans a session may have at once; None goes by what its server is.
        is_sticky: whether the key is a conversation's.
        demand: what other keys want, asked about `key`.
        key: what `demand` knows this key by.
        is_lost: whether the conversation has lost its state before, and is to be told.
        is_presumed: whether that is so only if its server turns out to keep state in its sessions.
    """

    __slots__ = ("broken",)

    def __init__(
        self,
        name: "str | Named",
        settings: PoolSettings,
        *,
        places: int | None = None,
        is_sticky: bool = False,
        demand: Demand = NO_DEMAND,
        key: Any = None,
        is_lost: bool = False,
        is_presumed: bool = False,
    ) -> None:
        super().__init__(name, settings, places=places, is_sticky=is_sticky, demand=demand, key=key)
        self._is_lost, self._is_presumed = is_lost or is_presumed, is_presumed
        self.broken = 0

    def handle(self, event: PoolEvent[T], *, now: float) -> Sequence[PoolEffect[T]]:  # noqa: C901, PLR0912 - a row per event
        """Take in what happened at `now`, in seconds of a monotonic clock; answer what must be done, in order.

        Raises:
            IllegalTransition: a session cannot have done this; the machine is not to be used any more.
        """
        match event:
            case Release():  # what these bear is bound here rather than in the pattern, which takes three times as long
                return self._left_busy(event.loan) if event.busy else self.release(event.loan, now)
            case Acquire():
                return self._acquire(event.ticket, event.expires_at, now)
            case Withdraw(ticket):
                if ticket not in self._waiting:
                    return NOTHING
                self._unqueue(ticket)
                return self._follow_up(now)
            case Untold():
                return self._untold(now)
            case Told():
                if self._is_unheard:
                    self._is_lost = self._is_unheard = False
                return self._follow_up(now)
            case CallsEnded(loan):
                return self._loan_over(loan, LoanEvent.CALLS_ENDED, now)
            case CallsOverdue(loan):
                return self._loan_over(loan, LoanEvent.OVERDUE, now, Retirement.OVERDUE_CALLS)
            case Abandoned(loan):
                return self._loan_over(loan, LoanEvent.ABANDONED, now, Retirement.ABANDONED_LEASE)
            case SessionOpened(number):
                return [*self._opened(self._session(number), event, now), *self._follow_up(now)]
            case SessionBroke(number, is_forgotten):
                reason = Retirement.TERMINATED if is_forgotten else Retirement.BROKEN
                return [*self._broke(self._session(number), reason, now), *self._follow_up(now)]
            case SessionChecked(number, is_healthy):
                return [*self._checked(self._session(number), now, is_healthy=is_healthy), *self._follow_up(now)]
            case SessionGone(number, error):
                return [*self._gone(self._session(number), error, now), *self._wake(now)]
            case PermitGranted(note):
                return [*self._permit_granted(note, now), *self._follow_up(now)]
            case PermitRefused(error, ticket):
                return [*self._permit_refused(error, ticket, now), *self._follow_up(now)]
            case MakeRoom():
                return self._make_room()
            case Evict():
                if self._is_ending:
                    return NOTHING  # its place is free when it has ended, which is what was asked for
                return self._leave() if self.is_unused else [Occupied(was_to_end=True)]
            case Drain():
                return self._drain(now)
            case Share(places):
                self._share(places)
                return NOTHING
            case Resize(settings):
                return self._resize(settings, now)
            case Tick():
                return self._upkeep(now)
            case Shut():
                return self._shut_down()
            case _:
                assert_never(event)

    # --- what can be seen

    @property
    def is_ending(self) -> bool:
        """Whether the key is shut, evicted or forgotten: it lends nothing any more."""
        return self._is_ending

    @property
    def has_idle(self) -> bool:
        """Whether a session is open that nobody has."""
        for session in self._available:  # noqa: SIM110 - `any` takes three times as long
            if not session.loans:
                return True
        return False

    @property
    def is_unused(self) -> bool:
        """Whether nobody has, waits for or opens a session, and no conversation would lose its state with the key."""
        has_state = self.is_sticky and (self._is_lost or any(session.is_stateful for session in self._sessions))
        is_held = any(session.loans for session in self._sessions)
        return not (has_state or is_held or self._waiting or self._openings or self._is_ending)

    @property
    def is_stateful(self) -> bool | None:
        """Whether the server keeps state in its sessions; None while none is open."""
        return next((session.is_stateful for session in self._sessions if session.state in LENDABLE), None)

    @property
    def owes_loss(self) -> bool:
        """Whether a conversation is to be told that its state is lost, if the key ends as it is now."""
        has_state = self.is_sticky and any(
            session.is_stateful and session.uses and session.state in LENDABLE for session in self._sessions
        )
        return (self._is_lost or has_state) and not self._is_ending

    def uses(self, number: int) -> int:
        """How often that session was lent."""
        return self._session(number).uses

    def opened_at(self, number: int) -> float:
        """Since when that session is open."""
        return self._session(number).opened_at

    def counts(self, *, now: float) -> PoolCounts:
        """The figures as they are at `now`."""
        sessions = dict.fromkeys(SessionState, 0)
        for session in self._sessions:
            sessions[session.state] += 1
        loans = self.loans
        waiting_since = self._waiting_since()
        return PoolCounts(
            sessions=sessions,
            leases=len(loans),
            waiting=len(self._waiting),
            reserved=len(self._asked),
            free=self._most - len(self._sessions) - len(self._asked),
            hits=self.hits,
            misses=self.misses,
            opened=self.opened,
            open_failures=self.open_failures,
            broken=self.broken,
            longest_wait=0.0 if waiting_since is None else now - waiting_since,
            longest_lease=max((now - loan.since for loan in loans), default=0.0),
        )

    # --- callers

    def _acquire(self, ticket: T, expires_at: float, now: float) -> list[PoolEffect[T]]:
        effects: list[PoolEffect[T]] = []
        while self._available and (session := self._available[-1]).ends_at <= now:
            effects += self._retire(session, session.end_reason)
        if self._is_ending:
            return [*effects, Refuse(ticket, PoolClosed(f"{self.describe()} is closed: open another one"))]
        self._asked_at = now
        if expires_at <= now:
            return [*effects, self._refuse_expired(ticket), *self._follow_up(now)]
        if self._is_lost and not self._is_presumed:
            return [*effects, self._tell_loss(ticket), *self._follow_up(now)]
        self._credentials_end = expires_at
        if self._available:
            loan = self._lend(self._available[-1], now, expires_at)
            effects.append(Grant(ticket, loan.session.number, loan, 0.0))
            return [*effects, *self._follow_up(now)] if self._keeps_spares else effects
        self.misses += 1
        if len(self._waiting) >= self._settings.max_waiting and not self._can_open():
            full = PoolFull(f"{self.describe()}: max_waiting is reached, try again later")
            return [*effects, Refuse(ticket, full)]
        if self._waiting is NOBODY:
            self._waiting = {}
        self._waiting[ticket] = now, expires_at
        return [*effects, *self._supply(now)]

    def _untold(self, now: float) -> list[PoolEffect[T]]:
        if self._is_ending:
            return []
        if self._waiting:
            ticket, _, _ = self._oldest_waiter()
            return [self._tell_loss(ticket), *self._follow_up(now)]
        self._is_lost = self._is_unheard = True
        return self._wake(now)

    # --- places for others, and ends

    def _broke(self, session: PooledSession, reason: Retirement, now: float) -> list[PoolEffect[T]]:
        self.broken += 1
        was_connecting = session.state is SessionState.CONNECTING
        ticket = self._openings.get(session.number)
        effects = self._end(session, SessionEvent.BROKE, reason)
        if was_connecting:
            self.open_failures += 1
            effects += self._attempt_failed(None, ticket, now)
        return effects

    def _make_room(self) -> list[PoolEffect[T]]:
        idle = self._idle()
        if not idle:
            return [Occupied()]
        return self._retire(min(idle, key=lambda session: session.used_at), Retirement.EVICTED)

    def _drain(self, now: float) -> list[PoolEffect[T]]:
        effects: list[PoolEffect[T]] = []
        for session in list(self._sessions):
            effects += self._retire(session, Retirement.DRAINED)
        return [*effects, *self._follow_up(now)]

    def _resize(self, settings: PoolSettings, now: float) -> list[PoolEffect[T]]:
        self._settings = settings
        self._keeps_spares = settings.min_idle > 0 and not self.is_sticky
        effects: list[PoolEffect[T]] = []
        surplus = self._staying() - self._most
        self._has_surplus = surplus > 0
        for session in self._idle()[: max(0, surplus)]:
            effects += self._retire(session, Retirement.RESIZED)
        effects += self._follow_up(now)
        if now < self._wake_at and not self._is_ending:  # by the new settings something may be overdue
            self._wake_at = now
            effects.append(Wake(now))
        return effects

    def _shut_down(self) -> list[PoolEffect[T]]:
        if self._is_ending:
            return []
        self._is_ending = True
        effects: list[PoolEffect[T]] = [
            Refuse(ticket, PoolClosed(f"{self.describe()} was closed while this caller waited"))
            for ticket in self._waiting
        ]
        self._waiting = NOBODY
        effects += [Unreserve() for _ in self._asked]
        self._asked = ()
        for session in list(self._sessions):
            effects += self._end(session, SessionEvent.DISMISSED, Retirement.CLOSED)
        if not self._sessions:
            effects.append(Finished())
        return effects
