"""A pool's tally: the counters and histograms that no single key owns. Its actors bump them as they go."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from actors.key_statistics import KeyStats
from protocol.histogram import LATENCIES, USES, Histogram, HistogramSnapshot
from protocol.pool_events import KeyEviction, Retirement

NONE_RETIRED: Final[Mapping[Retirement, int]] = MappingProxyType(dict.fromkeys(Retirement, 0))
NONE_EVICTED: Final[Mapping[KeyEviction, int]] = MappingProxyType(dict.fromkeys(KeyEviction, 0))
NO_LATENCIES: Final = HistogramSnapshot.of((), LATENCIES)
NO_USES: Final = HistogramSnapshot.of((), USES)


@dataclass(frozen=True, slots=True)
class KeyTotals:
    """The counters of keys that are forgotten, added up; see `KeyStats`. Without them a sum would fall."""

    hits: int = 0
    misses: int = 0
    uses: int = 0
    opened: int = 0
    open_failures: int = 0
    broken: int = 0
    http_requests: int = 0


@dataclass(frozen=True, slots=True)
class TallyFigures:
    """A tally as it was at one moment; see `Tally`."""

    retired: Mapping[Retirement, int] = field(default_factory=lambda: NONE_RETIRED)
    keys_evicted: Mapping[KeyEviction, int] = field(default_factory=lambda: NONE_EVICTED)
    checks: int = 0
    health_failures: int = 0
    leases_abandoned: int = 0
    leases_held_long: int = 0
    breaker_failures: int = 0
    breaker_trips: int = 0
    breaker_refusals: int = 0
    extractor_failures: int = 0
    waits: HistogramSnapshot = NO_LATENCIES
    connects: HistogramSnapshot = NO_LATENCIES
    session_uses: HistogramSnapshot = NO_USES
    past: KeyTotals = KeyTotals()


class Tally:
    """Counts, all of them since the pool was opened. Plain attributes, bumped in turns: `tally.checks += 1`.

    Attributes:
        retired: sessions that are not lent again, by reason.
        keys_evicted: keys that were forgotten, by reason.
        checks: health checks of sessions.
        health_failures: those that found the session dead.
        leases_abandoned: leases whose borrowers lost them without releasing them.
        leases_held_long: leases that were held for longer than `warn_after`.
        breaker_failures: failures that a breaker took note of.
        breaker_trips: breakers that opened.
        breaker_refusals: callers whom an open breaker refused.
        extractor_failures: identity extractors that failed or answered nothing.
        waits: how long callers waited for a session, in seconds; of those who got one, and not at once.
        connects: how long sessions took to open, in seconds, the handshake included; of those that opened.
        session_uses: how often each session that has ended was lent.
    """

    __slots__ = (
        "_past",
        "breaker_failures",
        "breaker_refusals",
        "breaker_trips",
        "checks",
        "connects",
        "extractor_failures",
        "health_failures",
        "keys_evicted",
        "leases_abandoned",
        "leases_held_long",
        "retired",
        "session_uses",
        "waits",
    )

    def __init__(self) -> None:
        self.retired = dict.fromkeys(Retirement, 0)
        self.keys_evicted = dict.fromkeys(KeyEviction, 0)
        self.checks = self.health_failures = 0
        self.leases_abandoned = self.leases_held_long = 0
        self.breaker_failures = self.breaker_trips = self.breaker_refusals = 0
        self.extractor_failures = 0
        self.waits = Histogram(LATENCIES)
        self.connects = Histogram(LATENCIES)
        self.session_uses = Histogram(USES)
        self._past = KeyTotals()

    def evict(self, key: KeyStats, reason: KeyEviction) -> None:
        """Count a key that is forgotten, and keep its last counters, so that the pool's sums never fall.

        Called once for a key, when its sessions have ended and the pool's figures no longer have it.
        """
        self.keys_evicted[reason] += 1
        past, counts = self._past, key.counts
        self._past = KeyTotals(
            hits=past.hits + counts.hits,
            misses=past.misses + counts.misses,
            uses=past.uses + key.uses,
            opened=past.opened + counts.opened,
            open_failures=past.open_failures + counts.open_failures,
            broken=past.broken + counts.broken,
            http_requests=past.http_requests + key.http_requests,
        )

    def figures(self) -> TallyFigures:
        """The tally as it is now."""
        return TallyFigures(
            retired=MappingProxyType(dict(self.retired)),
            keys_evicted=MappingProxyType(dict(self.keys_evicted)),
            checks=self.checks,
            health_failures=self.health_failures,
            leases_abandoned=self.leases_abandoned,
            leases_held_long=self.leases_held_long,
            breaker_failures=self.breaker_failures,
            breaker_trips=self.breaker_trips,
            breaker_refusals=self.breaker_refusals,
            extractor_failures=self.extractor_failures,
            waits=self.waits.snapshot(),
            connects=self.connects.snapshot(),
            session_uses=self.session_uses.snapshot(),
            past=self._past,
        )
