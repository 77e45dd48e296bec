"""A second account of one key's pool, without a machine: who waits, who has what, and which permits are out.

`PoolAccount` tells a `PoolMachine` of events, performs its effects as the pool does, and compares after every one. The
numbers in its comments are those of the invariants.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from protocol.errors import ConnectFailed, PoolClosed, PoolFull, SessionStateLost
from protocol.loan import Loan
from protocol.places import EVERY_CALL
from protocol.pool import PoolMachine
from protocol.pool_messages import (
    AwaitCalls,
    Check,
    Close,
    Evict,
    Finished,
    Grant,
    HeldLong,
    Leaving,
    MakeRoom,
    Occupied,
    Open,
    PermitGranted,
    PermitRefused,
    PoolEffect,
    PoolEvent,
    Refuse,
    Reserve,
    Return,
    SessionBroke,
    SessionGone,
    SessionOpened,
    Tick,
    Unreserve,
    Untold,
    Wake,
    Yielded,
)
from protocol.pooled_session import REFRESH_SHARE
from protocol.session import Retirement, SessionState
from protocol.settings import PoolSettings

NEVER: Final = math.inf
S: Final = SessionState


class Wants:
    """What other keys want, as the random run decides."""

    is_starved = False
    since = 0.0

    def yields_to_others(self, key: Any, waiting_since: float | None) -> bool:
        return waiting_since is None or self.since < waiting_since


@dataclass(slots=True, eq=False)
class Known:
    """What is known of one session that has not ended."""

    number: int
    credentials_end: float
    lifetime_ends: float = NEVER
    is_open: bool = False
    is_stateful: bool = True
    is_doomed: bool = False
    is_closing: bool = False
    places: int = 1
    uses: int = 0
    used_at: float = 0.0
    checked_at: float = 0.0
    checks: int = 0
    may_retire: bool = False
    """Whether it may be on its way out though it is sound and lent: it ends soon, or somebody has waited for longer."""
    loans: set[Loan] = field(default_factory=set[Loan])
    ticket: int | None = None
    """Whom it is opened for."""

    @property
    def is_opening(self) -> bool:
        return not self.is_open and not self.is_closing

    @property
    def ends_at(self) -> float:
        return min(self.credentials_end, self.lifetime_ends)


class PoolAccount:
    """One key's pool: `steps` counts what the machine was told, `is_over` says that it has ended."""

    def __init__(
        self,
        settings: PoolSettings,
        *,
        places: int | None = None,
        is_sticky: bool = False,
        is_presumed: bool = False,
    ) -> None:
        self.settings = settings
        self.is_sticky = is_sticky
        self.fixed_places = EVERY_CALL if is_sticky else places
        self.known_places = self.fixed_places or 1
        self.wants = Wants()
        self.machine = PoolMachine[int](
            "model", settings, places=places, is_sticky=is_sticky, demand=self.wants, is_presumed=is_presumed
        )
        self.now = 0.0
        self.tick_at = NEVER
        self.steps = self.tickets = self.last_number = 0
        self.sessions: dict[int, Known] = {}
        self.waiting: dict[int, float] = {}  # ticket -> when its credentials end, the oldest first
        self.last_expiry = NEVER
        self.held: dict[Loan, Known] = {}
        self.settling: dict[Loan, Known] = {}
        self.over: list[Loan] = []
        self.warned: set[Loan] = set()
        self.asked: list[int | None] = []  # whom permits were asked for, as the key knows them
        self.queued: list[int | None] = []  # those of them that the pool as a whole has not answered
        self.failed_for: int | None = None  # whom an attempt was for that has failed now
        self.answers: list[PermitGranted | PermitRefused[int]] = []  # those that are under way to the key
        self.permits = 0  # given out by the pool as a whole
        self.told = 0  # how often `SessionStateLost` was told, and may not have been heard
        self.is_presumed = is_presumed  # whether a loss is owed if the first session that opens keeps state
        self.is_owed = is_presumed
        self.is_unheard = False  # what is owed was told, and may not have been heard
        self.is_shut = self.has_left = self.is_over = False
        self.event: PoolEvent[int] = Tick()
        self.seen = Counter[str]()
        """The effects, the errors and the reasons to close that there were."""

    @property
    def most(self) -> int:
        return 1 if self.is_sticky else self.settings.max_size

    @property
    def is_ending(self) -> bool:
        return self.is_shut or self.has_left

    def idle(self) -> list[Known]:
        return [known for known in self.sessions.values() if known.is_open and not known.is_doomed and not known.loans]

    # --- one step

    def send(self, event: PoolEvent[int]) -> Sequence[PoolEffect[int]]:
        self.event = event
        effects = self.machine.handle(event, now=self.now)
        for effect in effects:
            self.seen[type(effect).__name__] += 1
            self.perform(effect)
        self.check()
        return effects

    def perform(self, effect: PoolEffect[int]) -> None:  # noqa: C901, PLR0912 - a row per effect
        match effect:
            case Grant(ticket, number, loan, _):
                self.granted(ticket, self.sessions[number], loan)
            case Refuse(ticket, error):
                self.refused(ticket, error)
            case AwaitCalls(loan):
                assert loan in self.settling
            case Reserve(ticket):
                assert not self.is_ending
                assert ticket is None or ticket == self.unattended(), "an attempt is for one waiter"
                self.asked.append(ticket)
                self.queued.append(ticket)
            case Unreserve():
                self.asked.pop()
                del self.queued[-1:]
            case Return():
                self.permits -= 1
            case Open(number, ticket):
                self.opened(number, ticket)
            case Check(number):
                known = self.sessions[number]
                assert known in self.idle()
                assert known.used_at + (self.settings.health_interval or NEVER) <= self.now  # S7
                known.checks += 1
            case Close(number, reason):
                self.closed(self.sessions[number], reason)
            case Yielded():
                assert not isinstance(self.event, MakeRoom | Evict), "it was asked for"
            case Occupied(was_to_end):
                assert isinstance(self.event, Evict if was_to_end else MakeRoom)
            case HeldLong(loan, held):
                self.warned_of(loan, held)
            case Wake(at):
                assert self.now <= at < self.tick_at
                self.tick_at = at
            case Leaving():
                assert not self.is_ending
                assert not any((self.waiting, self.held, self.settling))
                self.has_left = True
            case Finished():
                assert self.is_ending
                assert not self.is_over, "once"
                assert not self.sessions
                assert not self.asked
                self.is_over = True

    def opened(self, number: int, ticket: int | None) -> None:
        assert number > self.last_number
        self.last_number = number
        if ticket is None:
            assert self.unattended() is None, "a session is opened for somebody, where anybody has none"
        else:
            assert not any(one.is_opening and one.ticket == ticket for one in self.sessions.values())
            assert self.waiting[ticket] > self.now
        expires_at = self.last_expiry if ticket is None else self.waiting[ticket]
        self.sessions[number] = Known(number, expires_at, ticket=ticket)

    def granted(self, ticket: int, known: Known, loan: Loan) -> None:
        assert ticket == next(iter(self.waiting)), "first come, first served"  # L3
        assert known.is_open
        assert not known.is_doomed  # S2, S8
        assert len(known.loans) < known.places  # L1
        assert not self.is_owed  # L9
        assert not self.is_ending
        expires_at = self.waiting.pop(ticket)
        assert self.now < min(known.ends_at, expires_at)  # L8
        if expires_at != NEVER:
            known.credentials_end = expires_at
        known.uses += 1
        known.loans.add(loan)
        assert loan not in self.held
        self.held[loan] = known

    def unattended(self) -> int | None:
        """The oldest of those who wait that no attempt is for."""
        attended = {*self.asked, *(one.ticket for one in self.sessions.values() if one.is_opening)}
        return next((ticket for ticket in self.waiting if ticket not in attended), None)

    def refused(self, ticket: int, error: Exception) -> None:
        oldest, newest = next(iter(self.waiting)), next(reversed(self.waiting))
        expires_at = self.waiting.pop(ticket)  # L2: known to wait, so neither granted, refused nor withdrawn before
        self.seen[type(error).__name__] += 1
        match error:
            case SessionStateLost():
                assert ticket == (oldest if isinstance(self.event, Untold | SessionOpened) else newest)
                self.told += 1
                assert self.is_owed  # L9
                self.is_owed = False
            case PoolFull():
                assert ticket == newest
                assert len(self.waiting) >= self.settings.max_waiting
            case PoolClosed():
                assert self.is_ending
            case ConnectFailed(step="credentials"):
                assert expires_at <= self.now
            case _:
                assert ticket == self.failed_for, "nobody is refused for what another one brought"  # B1
                assert isinstance(self.event, SessionGone | PermitRefused | SessionBroke)

    def warned_of(self, loan: Loan, held: float) -> None:
        assert loan in self.held
        assert loan not in self.warned, "once per loan"
        assert loan.since + (self.settings.warn_after or NEVER) <= self.now
        assert held == self.now - loan.since
        self.warned.add(loan)

    def closed(self, known: Known, reason: Retirement) -> None:
        assert not known.is_closing, "once per session"
        assert self.is_shut or not known.loans  # S3: nobody's session is closed under them
        if reason is Retirement.IDLE:
            assert self.settings.max_idle is not None
            assert known.used_at + self.settings.max_idle <= self.now
        elif reason is Retirement.CREDENTIALS_EXPIRED:
            assert known.credentials_end <= self.now
        elif reason is Retirement.EVICTED and not isinstance(self.event, MakeRoom | Evict):
            assert self.wants.is_starved or known.may_retire
            assert not (self.is_sticky and known.is_stateful)  # L9
        self.seen[reason.name] += 1
        self.doom(known)
        known.is_closing = True

    def doom(self, known: Known) -> None:
        """It is never to be lent again."""
        if not known.is_doomed:
            known.is_doomed = True
            if self.is_sticky and known.is_stateful and known.uses and not self.is_ending:
                self.is_owed, self.is_unheard = True, False

    # --- what must hold

    def check(self) -> None:
        self.steps += 1
        counts = self.machine.counts(now=self.now)
        known = list(self.sessions.values())
        closing = sum(one.is_closing for one in known)
        opening = sum(one.is_opening for one in known)
        asked = len(self.asked)
        idle = self.idle()
        lent = [one for one in known if one.is_open and not one.is_doomed and one.loans]
        assert counts.waiting == len(self.waiting)  # L2
        assert counts.reserved == asked
        assert len(known) + asked + counts.free == self.most  # L5
        assert not asked or counts.free >= 0
        granted = sum(isinstance(answer, PermitGranted) for answer in self.answers)
        assert self.permits == len(known) + granted  # L5
        states = counts.sessions
        assert states[S.CLOSING] == closing
        assert states[S.CONNECTING] == opening
        assert states[S.IDLE] + states[S.CHECKING] == len(idle)
        for one in known:
            one.may_retire = one.may_retire or (one.is_open and self.may_retire(one))
        lapsed = sum(one.may_retire for one in lent)  # they retire at the latest when they come back
        assert len(lent) - lapsed <= states[S.LEASED] <= len(lent)
        assert states[S.RETIRING] + states[S.LEASED] == len(known) - closing - opening - len(idle)
        assert counts.leases == len(self.held) + len(self.settling)
        if self.is_ending:
            assert not self.waiting
            return
        needed = math.ceil(len(self.waiting) / self.known_places)
        assert asked <= needed + self.settings.min_idle + len(known), "what is not wanted is taken back"
        if self.waiting:  # L3
            assert all(one.ends_at <= self.now for one in idle)
            assert all(len(one.loans) == one.places or one.may_retire for one in lent)
            assert opening + asked >= needed or len(known) + asked >= self.most
        if self.tick_at > self.now:
            assert self.tick_at <= self.due(idle)

    def may_retire(self, one: Known) -> bool:
        settings = self.settings
        ends_soon = False
        if settings.max_lifetime is not None and not self.is_sticky:
            lead = min(settings.connect_timeout, REFRESH_SHARE * settings.max_lifetime)
            ends_soon = one.lifetime_ends - lead <= self.now
        is_shared = one.places > 1 and not (self.is_sticky and one.is_stateful)
        return one.ends_at <= self.now or ends_soon or (is_shared and self.wants.is_starved)

    def due(self, idle: list[Known]) -> float:
        """When something is due next. What is due by now was, when a tick was."""
        settings = self.settings
        moments = [one.ends_at for one in idle]
        if settings.max_idle is not None:
            moments += [one.used_at + settings.max_idle for one in idle]
        if settings.health_interval is not None:
            moments += [max(one.used_at, one.checked_at) + settings.health_interval for one in idle if not one.checks]
        if settings.warn_after is not None:
            moments += [loan.since + settings.warn_after for loan in self.held if loan not in self.warned]
        due = min((moment for moment in moments if moment > self.now), default=NEVER)
        if not self.sessions and not self.waiting and not self.asked and self.tickets:
            due = min(due, self.now + (settings.lost_memory if self.is_owed else settings.key_idle))
        return due

    def nothing_is_due(self) -> None:
        """Checked after a tick."""
        if self.is_ending:
            return
        settings = self.settings
        idle = self.idle()
        assert all(one.ends_at > self.now for one in idle)
        if settings.max_idle is not None:
            stale = [one for one in idle if one.used_at + settings.max_idle <= self.now]
            assert not stale or len(idle) <= settings.min_idle
        if settings.warn_after is not None:
            assert all(loan in self.warned for loan in self.held if loan.since + settings.warn_after <= self.now)
