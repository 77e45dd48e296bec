"""A pool machine of one key with a clock that is moved by hand, and the few steps that most tests begin with."""

import math
from typing import Any

from protocol.errors import TroupeError
from protocol.loan import Loan
from protocol.places import NO_DEMAND, Demand
from protocol.pool import PoolMachine
from protocol.pool_messages import (
    Acquire,
    Close,
    Grant,
    Open,
    PermitGranted,
    PoolEffect,
    PoolEvent,
    Refuse,
    Reserve,
    SessionOpened,
    Tick,
    Wake,
)
from protocol.session import Retirement, SessionState
from protocol.settings import PoolSettings


def quiet(**settings: Any) -> PoolSettings:
    """Settings under which nothing is ever due, but for these."""
    given: dict[str, Any] = {"max_size": 2, "max_lifetime": None, "max_idle": None, "health_interval": None}
    return PoolSettings(**(given | settings))


class Elsewhere:
    """A demand of other keys that began at `since`."""

    is_starved = True

    def __init__(self, since: float) -> None:
        self.since = since

    def yields_to_others(self, key: Any, waiting_since: float | None) -> bool:
        return waiting_since is None or self.since < waiting_since


class Driven:
    """Call it with an event: it answers the effects, but for `Wake`, which it keeps in `wake_at`."""

    def __init__(
        self,
        *,
        places: int | None = None,
        is_sticky: bool = False,
        is_presumed: bool = False,
        demand: Demand = NO_DEMAND,
        **settings: Any,
    ) -> None:
        self.settings = quiet(**settings)
        self.machine = PoolMachine[str](
            "test", self.settings, places=places, is_sticky=is_sticky, demand=demand, is_presumed=is_presumed
        )
        self.now = 0.0
        self.wake_at = math.inf

    def __call__(self, event: PoolEvent[str]) -> list[PoolEffect[str]]:
        effects = list(self.machine.handle(event, now=self.now))
        for wake in [effect for effect in effects if isinstance(effect, Wake)]:
            assert self.now <= wake.at < self.wake_at
            self.wake_at = wake.at
            effects.remove(wake)
        return effects

    def tick(self, at: float | None = None) -> list[PoolEffect[str]]:
        """Go on to the moment that was asked for, which is `at` if given, and say so."""
        assert at is None or self.wake_at == at
        self.now, self.wake_at = self.wake_at, math.inf
        return self(Tick())

    def open(self, ticket: str, *, is_stateful: bool = True, expires_at: float = math.inf) -> Loan:
        """Acquire, and open the session that this takes."""
        assert self(Acquire(ticket, expires_at)) == [Reserve(ticket)]
        (opening,) = self(PermitGranted())
        assert isinstance(opening, Open)
        assert opening.ticket == ticket
        return granted(self(SessionOpened(opening.session, is_stateful)), ticket, opening.session)

    def hit(self, ticket: str, session: int, *, expires_at: float = math.inf) -> Loan:
        """Acquire, and be granted a session that is open."""
        return granted(self(Acquire(ticket, expires_at)), ticket, session)

    def count(self, state: SessionState) -> int:
        return self.machine.counts(now=self.now).sessions[state]


def granted(effects: list[PoolEffect[str]], ticket: str, session: int) -> Loan:
    """The loan, if all that was answered is its grant."""
    (grant,) = effects
    assert isinstance(grant, Grant), grant
    assert (grant.ticket, grant.session) == (ticket, session)
    return grant.loan


def refused(effects: list[PoolEffect[str]], ticket: str) -> TroupeError:
    """The error, if all that was answered is that refusal."""
    (refusal,) = effects
    assert isinstance(refusal, Refuse), refusal
    assert refusal.ticket == ticket
    return refusal.error


def closed(session: int, reason: Retirement) -> list[PoolEffect[str]]:
    return [Close(session, reason)]
