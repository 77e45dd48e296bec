"""Endpoints: which servers and credentials may be tried. The registry's; the rules are `protocol.breakers`."""

from collections.abc import Callable
from random import Random
from typing import Final, Protocol

from actors.backstage import Backstage
from actors.statistics import BreakerState as Told
from actors.statistics import BreakerStats
from protocol import pool_events
from protocol.breaker import BreakerState
from protocol.breakers import Attempt, BreakerMoved, Breakers
from protocol.errors import BreakerOpen, ConnectFailed, TroupeError
from protocol.fault import Fault
from protocol.keys import PoolKey

OURS: Final = frozenset({"http client", "credentials"})
"""Steps of an opening at which nothing was asked of a server."""


class Key(Protocol):
    """A pool key, as far as its server is concerned: its supervisor."""

    key: PoolKey

    @property
    def endpoint(self) -> str:
        """Its server, as it may be shown."""
        ...


class Endpoints:
    """Lets sessions be opened, and learns from what comes of it.

    Args:
        backstage: whose settings, tally and events to use.
        now: the pool's clock.
        random: where jitter comes from.
    """

    def __init__(self, backstage: Backstage, now: Callable[[], float], random: Random) -> None:
        settings = backstage.settings
        self._backstage = backstage
        self._now = now
        self._random = random
        self._waiting: dict[Key, list[Attempt[str]]] = {}
        self._under_way: dict[Key, list[Attempt[str]]] = {}
        self._breakers = Breakers[str](
            threshold=settings.breaker_threshold, backoff=settings.breaker_backoff, ceiling=settings.breaker_ceiling
        )

    # --- one attempt after another; those of a key that are waiting for a permit go ahead in the order they were made

    def ask(self, key: Key, credential: str) -> BreakerOpen | None:
        """Whether the key may open a session with this credential: None, or why not. What comes of it is to be told."""
        answer, moves = self._breakers.ask(key.endpoint, credential, now=self._now())
        self._tell(moves)
        if isinstance(answer, BreakerOpen):
            self._backstage.tally.breaker_refusals += 1
            return answer
        self._waiting.setdefault(key, []).append(answer)
        return None

    def permitted(self, key: Key) -> Attempt[str]:
        """A permit has come for the key's oldest attempt."""
        attempt = _take(self._waiting, key, 0)
        self._under_way.setdefault(key, []).append(attempt)
        return attempt

    def passed_on(self, key: Key, attempt: Attempt[str], by: Attempt[str]) -> None:
        """The attempt is made with another credential. Of the one that it was permitted for nothing is learnt."""
        _drop(self._under_way, key, attempt)
        self._under_way.setdefault(key, []).append(by)
        of_credential = Attempt(attempt.endpoint, attempt.identity, credential_probe=attempt.credential_probe)
        self._tell(self._breakers.abandoned(of_credential))

    def unwanted(self, key: Key) -> None:
        """The key's latest attempt that waits for a permit is given up, if there is one."""
        if key in self._waiting:
            self._tell(self._breakers.abandoned(_take(self._waiting, key, -1)))

    def opened(self, key: Key, attempt: Attempt[str]) -> None:
        """The session is open."""
        _drop(self._under_way, key, attempt)
        self._tell(self._breakers.opened(attempt))

    def given_up(self, key: Key, attempt: Attempt[str]) -> None:
        """Nothing is known of the server by this attempt."""
        _drop(self._under_way, key, attempt)
        self._tell(self._breakers.abandoned(attempt))

    def failed(self, key: Key, attempt: Attempt[str], error: TroupeError | None) -> None:
        """The session could not be opened, for this reason; None if it was given up."""
        fault = error.fault if isinstance(error, ConnectFailed) else None
        now, jitter = self._now(), self._random.random()
        if fault is not None and fault.refuses_credential:
            moves = self._breakers.refused_credential(attempt, now=now, jitter=jitter, retry_after=fault.retry_after)
        elif isinstance(error, ConnectFailed) and (fault.counts_against_endpoint if fault else error.step not in OURS):
            moves = self._breakers.failed(attempt, now=now, jitter=jitter, retry_after=error.retry_after)
        else:
            self.given_up(key, attempt)
            return
        _drop(self._under_way, key, attempt)
        self._count(moves)

    def ended(self, key: Key) -> None:
        """The key has ended. Whatever it had under way is given up, lest a probe be waited for that nobody makes."""
        for attempt in self._waiting.pop(key, []) + self._under_way.pop(key, []):
            self._tell(self._breakers.abandoned(attempt))

    # --- what is learnt besides

    def broke(self, key: Key, fault: Fault, opened_at: float) -> None:
        """An open session met this fault."""
        if fault.counts_against_endpoint:
            now, jitter = self._now(), self._random.random()
            self._count(self._breakers.broke(key.endpoint, since=opened_at, now=now, jitter=jitter))

    def refused(self, key: Key, credential: str, retry_after: float | None) -> None:
        """A call on an open session, with this credential, was answered with 401 or 403."""
        attempt = Attempt(key.endpoint, credential)
        now, jitter = self._now(), self._random.random()
        self._count(self._breakers.refused_credential(attempt, now=now, jitter=jitter, retry_after=retry_after))

    def reset(self, endpoint: str | None) -> None:
        """Forget the failures of one server and of the credentials on it, or of all."""
        self._tell(self._breakers.reset(endpoint))

    def stats(self) -> tuple[BreakerStats, ...]:
        """The breakers that have seen a failure."""
        now = self._now()
        return tuple(
            BreakerStats(name, kind, _TOLD[breaker.state], breaker.failures, breaker.openings, breaker.refuses(now))
            for kind, name, breaker in self._breakers.all()
        )

    def _count(self, moves: list[BreakerMoved]) -> None:
        self._backstage.tally.breaker_failures += 1
        self._tell(moves)

    def _tell(self, moves: list[BreakerMoved]) -> None:
        for move in moves:
            self._backstage.tally.breaker_trips += move.after is BreakerState.OPEN
            told = pool_events.BreakerMoved(move.name, _TOLD[move.before], _TOLD[move.after], self._now())
            self._backstage.events.publish(told)


def _take(attempts: dict[Key, list[Attempt[str]]], key: Key, index: int) -> Attempt[str]:
    taken = attempts[key].pop(index)
    if not attempts[key]:
        del attempts[key]
    return taken


def _drop(attempts: dict[Key, list[Attempt[str]]], key: Key, attempt: Attempt[str]) -> None:
    if attempt in attempts.get(key, ()):
        _take(attempts, key, attempts[key].index(attempt))


_TOLD: Final[dict[BreakerState, Told]] = {
    BreakerState.CLOSED: "closed",
    BreakerState.OPEN: "open",
    BreakerState.HALF_OPEN: "half_open",
}
