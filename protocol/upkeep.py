"""Upkeep: what is done in the background, and when. The third layer of the pool machine.

All of it is done when a `Tick` comes, never on a caller's way. The machine says with `Wake` when the next one is due at
the latest; a lent session counts as one that is idle from now on, so that lending and returning it need not look at the
clock. What is due for one session `protocol.pooled_session` tells.
"""

from protocol.loan import LoanState
from protocol.places import LENDABLE
from protocol.pool_messages import Check, HeldLong, PoolEffect, T, Wake
from protocol.pooled_session import NEVER, PooledSession
from protocol.session import Retirement, SessionEvent, SessionState
from protocol.supply import Supply


class Upkeep(Supply[T]):
    """How one key looks after its sessions. See `protocol.pool.PoolMachine`."""

    __slots__ = ()

    def _follow_up(self, now: float) -> list[PoolEffect[T]]:
        """What comes of a change: permits that are wanted, or not any more, and the next tick."""
        return [*self._cut(now), *self._supply(now), *self._wake(now)]

    def _checked(self, session: PooledSession, now: float, *, is_healthy: bool) -> list[PoolEffect[T]]:
        session.checked_at = now
        if is_healthy:
            return self._move(session, SessionEvent.PASSED)
        return self._end(session, SessionEvent.FAILED, Retirement.UNHEALTHY)

    def _upkeep(self, now: float) -> list[PoolEffect[T]]:
        """Do what is due."""
        if self._is_ending:
            return []
        self._wake_at = NEVER
        settings = self._settings
        effects: list[PoolEffect[T]] = []
        idle = self._idle()
        spares = self._spares(now)
        spare = len(idle) - spares
        for session in self._sessions:
            is_due = session.state in LENDABLE and session.refresh_at(settings) <= now < session.ends_at
            if is_due and (session.uses or spares) and not self.is_sticky:
                session.is_replaced = True
        for session in idle:
            if session.ends_at <= now:
                effects += self._retire(session, session.end_reason)
                spare -= 1
            elif session.idle_until(settings, session.used_at) <= now and spare > 0:
                effects += self._retire(session, Retirement.IDLE)
                spare -= 1
            elif session.is_replaced:
                pass  # it need not be well for long
            elif session.state is SessionState.IDLE and session.check_at(settings, session.used_at) <= now:
                effects += [*self._move(session, SessionEvent.PROBED), Check(session.number)]
        effects += [*self._warn(now), *self._cut(now)]
        if not (self._sessions or self._asked or self._waiting) and self._forget_at() <= now:
            return effects + self._leave()
        return [*effects, *self._follow_up(now)]

    def _warn(self, now: float) -> list[PoolEffect[T]]:
        """Tell of the leases that have been held for long, each once."""
        if (limit := self._settings.warn_after) is None:
            return []
        effects: list[PoolEffect[T]] = []
        for loan in self.loans:
            if loan.state is LoanState.HELD and not loan.warned and loan.since + limit <= now:
                loan.warned = True
                effects.append(HeldLong(loan, now - loan.since))
        return effects

    def _wake(self, now: float) -> list[PoolEffect[T]]:
        """Ask for the next tick, if it is due before the one that was asked for last."""
        if self._is_ending or (due := self._due(now)) >= self._wake_at:
            return []
        self._wake_at = due
        return [Wake(due)]

    def _due(self, now: float) -> float:
        """The next moment at which something may be due. A lent session counts as one that is idle from now on: so
        lending and returning it need not look at the clock's other hand.
        """
        settings = self._settings
        moments = [self._spares_after]
        if self._keeps_spares:
            moments.append(self._unused_at(now))
        if settings.warn_after is not None:
            moments.append(now + settings.warn_after)
            moments += [loan.since + settings.warn_after for loan in self.loans]
        for session in self._sessions:
            if session.state in LENDABLE:
                moments.append(session.ends_at)
                if not session.is_replaced and not self.is_sticky:
                    moments.append(session.refresh_at(settings))
                moments.append(session.idle_until(settings, now if session.loans else session.used_at))
                if session.state is not SessionState.CHECKING:  # what the check finds will tell
                    moments.append(session.check_at(settings, now if session.loans else session.used_at))
        due = min((moment for moment in moments if moment > now), default=NEVER)
        if self._sessions:
            return due
        is_awaiting = self._asked or self._waiting  # the answer will tell
        return NEVER if is_awaiting else min(due, max(now, self._forget_at()))

    def _forget_at(self) -> float:
        """When a key without sessions is forgotten; never before somebody has asked it for one."""
        if self._asked_at == -NEVER:
            return NEVER
        kept = self._settings.lost_memory if self._is_lost else self._settings.key_idle
        return max(self._asked_at, self._empty_since) + kept
