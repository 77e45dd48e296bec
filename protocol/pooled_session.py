"""What the pool machine knows of one session: its state, its loans, and when something is due for it.

The rules of upkeep
-------------------
- A session ends at its lifetime, or with the credentials that it bore last, whichever comes first. From then on it is
  never lent. A stateful sticky session has no lifetime: its state is its conversation's, and not ours to throw away.
- A session that nobody used for `max_idle` ends, unless it is one of the `min_idle` spares of a key that is in use.
- A session that nobody used for `health_interval` is checked, and again after each interval.
- Shortly before its lifetime ends, an idle session is replaced: its successor is opened first.
"""

import math
from typing import Any, Final

from protocol.loan import Loan
from protocol.session import Retirement, SessionState
from protocol.settings import PoolSettings

NEVER: Final = math.inf
REFRESH_SHARE: Final = 0.1
"""The last part of its life in which an idle session is replaced ahead of its end, as a share of `max_lifetime`; though
for `connect_timeout` seconds at the most."""


class PooledSession:
    """One session.

    Attributes:
        note: whatever whoever drives the machine wants to remember of it.
        number: its name within the pool.
        state: where it is in its life (`protocol.session`).
        loans: those that take up a place on it, oldest first.
        places: how many loans it may have at once.
        is_stateful: whether its server keeps state in it.
        is_listed: whether it is among those that can be lent.
        is_replaced: whether a successor is being opened.
        uses: how often it was lent.
        opened_at, used_at, checked_at: moments, in seconds of the pool's clock.
        lifetime_ends, credentials_end: when it is too old, and when what it was used with is; `ends_at` is the earlier.
        reason: why it is to end, once that is known.
    """

    __slots__ = (
        "checked_at",
        "credentials_end",
        "ends_at",
        "is_listed",
        "is_replaced",
        "is_stateful",
        "lifetime_ends",
        "loans",
        "note",
        "number",
        "opened_at",
        "places",
        "reason",
        "state",
        "used_at",
        "uses",
    )

    def __init__(self, number: int, now: float, *, expires_at: float) -> None:
        self.number = number
        self.note: Any = None
        self.state = SessionState.CONNECTING
        self.loans: list[Loan] = []
        self.places = 1
        self.is_stateful = True
        self.is_listed = self.is_replaced = False
        self.uses = 0
        self.opened_at = self.used_at = self.checked_at = now
        self.lifetime_ends = NEVER
        self.credentials_end = self.ends_at = expires_at
        self.reason: Retirement | None = None

    def opened(self, settings: PoolSettings, now: float, *, jitter: float, has_lifetime: bool) -> None:
        """It opened. `jitter`: a random number from 0 to 1."""
        self.opened_at = self.used_at = self.checked_at = now
        if settings.max_lifetime is not None and has_lifetime:
            self.lifetime_ends = now + settings.max_lifetime * (1 - settings.lifetime_jitter * jitter)
            self.ends_at = min(self.lifetime_ends, self.credentials_end)

    def bear(self, expires_at: float) -> None:
        """It is used with credentials that end then."""
        self.credentials_end = expires_at
        self.ends_at = min(self.lifetime_ends, expires_at)

    @property
    def end_reason(self) -> Retirement:
        """Why it ends when `ends_at` has come."""
        return Retirement.CREDENTIALS_EXPIRED if self.credentials_end <= self.lifetime_ends else Retirement.EXPIRED

    def refresh_at(self, settings: PoolSettings) -> float:
        """When its successor is to be opened; never, if what ends it are credentials, which that would share."""
        if settings.max_lifetime is None or self.credentials_end <= self.lifetime_ends:
            return NEVER
        return self.ends_at - min(settings.connect_timeout, REFRESH_SHARE * settings.max_lifetime)

    def idle_until(self, settings: PoolSettings, used_at: float) -> float:
        """When it will have been idle for too long, if it was used last then."""
        return NEVER if settings.max_idle is None else used_at + settings.max_idle

    def check_at(self, settings: PoolSettings, used_at: float) -> float:
        """When it is to be checked, if it was used last then."""
        return NEVER if settings.health_interval is None else max(used_at, self.checked_at) + settings.health_interval
