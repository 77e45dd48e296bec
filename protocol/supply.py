"""Supply: how many sessions are opened, and with whose permit. The second layer of the pool machine.

A session is opened in three steps. A permit of the whole pool is asked for (`Reserve`); when it is granted, the session
is opened (`Open`) if it is still wanted, and the permit comes back (`Return`) if not; it comes back, too, when the
session has ended. Each attempt is for one waiter, whose credentials it is made with: the oldest that there is none for.
One that fails, at whatever step, costs that waiter its wait if the attempts still under way are too few for all; if it
does not wait any more another attempt is made for those who do. And spares are not tried for a while. A permit that
only a spare would need is asked for as such: if there is no room for it, that is no failure, and costs nobody anything.
"""

import math
from typing import Any

from protocol.errors import ConnectFailed, TroupeError
from protocol.loan import LOAN_TRANSITIONS, LoanEvent
from protocol.places import EVERY_CALL, LENDABLE, Demand, Named, Places
from protocol.pool_messages import (
    Finished,
    Leaving,
    Open,
    PoolEffect,
    Refuse,
    Reserve,
    Return,
    SessionOpened,
    T,
    Unreserve,
)
from protocol.pooled_session import NEVER, PooledSession
from protocol.session import Retirement, SessionEvent, SessionState
from protocol.settings import PoolSettings


class Supply(Places[T]):
    """How one key gets its sessions. See `protocol.pool.PoolMachine`."""

    __slots__ = (
        "_asked",
        "_empty_since",
        "_fixed_places",
        "_next_session",
        "_places",
        "_spares_after",
        "misses",
        "open_failures",
        "opened",
    )

    def __init__(
        self,
        name: str | Named,
        settings: PoolSettings,
        *,
        places: int | None,
        is_sticky: bool,
        demand: Demand,
        key: Any,
    ) -> None:
        super().__init__(name, settings, is_sticky=is_sticky, demand=demand, key=key)
        self._fixed_places = EVERY_CALL if is_sticky else places
        self._places = self._fixed_places or 1
        self._asked: tuple[T | None, ...] = ()  # whom permits were asked for that have yet to come, the oldest first
        self._next_session = 1
        self._spares_after = -NEVER
        self._empty_since = -NEVER
        self.misses: int = 0
        self.opened: int = 0
        self.open_failures: int = 0

    def _share(self, places: int | None) -> None:
        self._fixed_places = EVERY_CALL if self.is_sticky else places
        self._places = self._fixed_places or 1

    # --- how many

    @property
    def _most(self) -> int:
        """The most sessions that the key may have."""
        return 1 if self.is_sticky else self._settings.max_size

    def _can_open(self) -> bool:
        return not self._is_ending and len(self._sessions) + len(self._asked) < self._most

    @property
    def _under_way(self) -> int:
        """How many attempts to open a session are."""
        return len(self._openings) + len(self._asked)

    def _unattended(self) -> T | None:
        """The oldest of the waiters that no attempt is for; None if there is none."""
        attended = {*self._asked, *self._openings.values()}
        return next((ticket for ticket in self._waiting if ticket not in attended), None)

    def _needed(self) -> int:
        """How many sessions should be under way for the waiters."""
        return math.ceil(len(self._waiting) / self._places)

    def _wanted(self, now: float) -> int:
        """How many should be, with the spares, and those in the place of sessions that end soon."""
        return self._needed() + self._spares_lacking(now)

    def _spares_lacking(self, now: float) -> int:
        if self.is_sticky or now < self._spares_after or self._credentials_end <= now:
            return 0
        fresh = sum(not session.loans and not session.is_replaced for session in self._available)
        return max(self._spares(now) - fresh, sum(self._is_ending_soon(session) for session in self._sessions))

    @staticmethod
    def _is_ending_soon(session: PooledSession) -> bool:
        """Whether it is to be replaced by another one that is opened first."""
        return session.is_replaced and session.state in LENDABLE

    def _spares(self, now: float) -> int:
        """How many idle sessions the key keeps: none once nobody has used it for long."""
        return self._settings.min_idle if self._keeps_spares and now < self._unused_at(now) else 0

    def _unused_at(self, now: float) -> float:
        """When the key counts as one that nobody uses, if from now on nobody does."""
        if self._waiting or any(session.loans for session in self._sessions):
            return now + self._settings.key_idle
        used = max((session.used_at for session in self._sessions if session.uses), default=-NEVER)
        return max(used, self._asked_at) + self._settings.key_idle

    def _supply(self, now: float) -> list[PoolEffect[T]]:
        """Ask for as many permits as are wanted and can be had."""
        effects: list[PoolEffect[T]] = []
        if not self._can_open():
            return effects
        lacking = self._wanted(now) - self._under_way
        while lacking > 0 and self._can_open():
            ticket = self._unattended() if self._under_way < self._needed() else None
            effects.append(Reserve(ticket))
            self._asked = *self._asked, ticket
            lacking -= 1
        return effects

    def _cut(self, now: float) -> list[PoolEffect[T]]:
        """Take back what was asked for and is not wanted any more."""
        if not self._asked:
            return []
        asked = len(self._asked)
        surplus = max(self._under_way - self._wanted(now), len(self._sessions) + asked - self._most)
        surplus = max(0, min(asked, surplus))
        self._asked = self._asked[: asked - surplus]
        return [Unreserve() for _ in range(surplus)]

    def _place_freed(self, session: PooledSession, now: float) -> list[PoolEffect[T]]:
        return super()._place_freed(session, now) + self._cut(now)

    # --- what becomes of it

    def _permit_granted(self, note: object, now: float) -> list[PoolEffect[T]]:
        ticket = self._asked[0] if self._asked else None  # nobody: it crosses our `Unreserve`
        self._asked = self._asked[1:]
        if ticket not in self._waiting:
            ticket = self._unattended()
        effects: list[PoolEffect[T]] = []
        while ticket is not None and self._waiting[ticket][1] <= now:
            self._unqueue(ticket)
            effects.append(self._refuse_expired(ticket))
            ticket = self._unattended()
        if not self._can_open() or self._under_way >= self._wanted(now):
            return [*effects, Return(note)]
        number = self._next_session
        self._next_session = number + 1
        expires_at = self._credentials_end if ticket is None else self._waiting[ticket][1]
        self._sessions.append(PooledSession(number, now, expires_at=expires_at))
        self._openings = {**self._openings, number: ticket}
        return [*effects, Open(number, ticket, note)]

    def _permit_refused(self, error: TroupeError | None, ticket: T | None, now: float) -> list[PoolEffect[T]]:
        # If its reservation was taken back meanwhile it was the latest other one that was.
        at = self._asked.index(ticket) if ticket in self._asked else max(0, len(self._asked) - 1)
        self._asked = self._asked[:at] + self._asked[at + 1 :]
        if error is not None:
            return self._attempt_failed(error, ticket, now)
        self._spares_after = now + self._settings.breaker_ceiling
        return []

    def _attempt_failed(self, error: TroupeError | None, ticket: T | None, now: float) -> list[PoolEffect[T]]:
        """No session has come of the attempt that was made for this caller; None: of one for a spare."""
        self._spares_after = max(self._spares_after, now + self._settings.breaker_backoff)
        if ticket is None or ticket not in self._waiting or len(self._waiting) <= self._places * self._under_way:
            return []
        why = error or ConnectFailed(f"{self.describe()}: a session ended before it was open", step="connect")
        self._unqueue(ticket)
        return [Refuse(ticket, why)]

    def _opened(self, session: PooledSession, event: SessionOpened, now: float) -> list[PoolEffect[T]]:
        self.opened += 1
        session.note = event.note
        session.is_stateful = event.is_stateful
        session.places = self._fixed_places or (1 if event.is_stateful else self._settings.shared_leases)
        self._places = session.places
        has_lifetime = not (self.is_sticky and session.is_stateful)
        session.opened(self._settings, now, jitter=event.jitter, has_lifetime=has_lifetime)
        self._move(session, SessionEvent.OPENED)
        if session.state not in LENDABLE:  # it was to end before it was open
            return []
        return self._settle_loss(session) + self._place_freed(session, now) + self._replace()

    def _settle_loss(self, session: PooledSession) -> list[PoolEffect[T]]:
        """Now it is known whether there was state to lose."""
        if not self._is_presumed:
            return []
        self._is_presumed, self._is_lost = False, session.is_stateful
        if not self._is_lost or not self._waiting:
            return []
        ticket, _, _ = self._oldest_waiter()
        return [self._tell_loss(ticket)]

    def _replace(self) -> list[PoolEffect[T]]:
        """If a session is there that nobody waited for, one that ends soon can end now, or when it comes back."""
        replaced = next((session for session in self._sessions if self._is_ending_soon(session)), None)
        has_other = any(not session.loans and not session.is_replaced for session in self._available)
        return self._retire(replaced, Retirement.EXPIRED) if replaced is not None and has_other else []

    def _gone(self, session: PooledSession, error: TroupeError | None, now: float) -> list[PoolEffect[T]]:
        never_opened = session.state is SessionState.CONNECTING
        ticket = self._openings.get(session.number)
        self._move(session, SessionEvent.GONE)
        self._sessions.remove(session)
        self._past_uses += session.uses
        self._has_surplus = self._has_surplus and self._staying() > self._settings.max_size
        self._empty_since = now  # read only while there is no session
        if session.loans:
            self._asked_at = now
        elif session.uses:
            self._asked_at = max(self._asked_at, session.used_at)
        if session.reason is Retirement.EVICTED:  # there is no room for spares, and asking again at once makes none
            self._spares_after = now + self._settings.breaker_ceiling
        for loan in session.loans:
            loan.state = LOAN_TRANSITIONS[loan.state][LoanEvent.LOST]
        session.loans.clear()
        effects: list[PoolEffect[T]] = [Return()]
        if never_opened:
            self.open_failures += 1
            effects += self._attempt_failed(error, ticket, now)
        effects += [*self._cut(now), *self._supply(now)]
        if self._sessions or self._asked:
            return effects
        if self._is_ending:
            effects.append(Finished())
        elif self.is_sticky and not self._waiting and not self._is_lost:
            effects += self._leave()  # nothing is left of the conversation that would have to be remembered
        return effects

    def _leave(self) -> list[PoolEffect[T]]:
        """End the key, which nobody uses: whoever comes next is served by a new one."""
        self._is_ending = True
        effects: list[PoolEffect[T]] = [Leaving()]
        for session in list(self._sessions):
            effects += self._retire(session, Retirement.EVICTED)
        effects += [Unreserve() for _ in self._asked]
        self._asked = ()
        if not self._sessions:
            effects.append(Finished())
        return effects
