"""A pool's figures."""

from dataclasses import dataclass, field
from typing import Any, Final, Literal

from actors.cluster_statistics import ClusterStats
from actors.key_statistics import NO_LEASES, KeyStats, histogram_as_mapping
from actors.tally import TallyFigures
from protocol.histogram import HistogramSnapshot
from protocol.pool_events import Retirement
from protocol.session import SessionState

STATES: Final = tuple(SessionState)  # walking through an Enum is slow
BreakerKind = Literal["endpoint", "credential"]
BreakerState = Literal["closed", "open", "half_open"]
BREAKER_KINDS: Final[tuple[BreakerKind, ...]] = ("endpoint", "credential")
BREAKER_STATES: Final[tuple[BreakerState, ...]] = ("closed", "open", "half_open")


@dataclass(frozen=True, slots=True)
class Permits:
    """The pool's permits at one moment: one for each session of any key, those being opened and closed included.

    Attributes:
        given: how many are in use.
        capacity: how many there are.
        queued: how many keys wait for one.
    """

    given: int
    capacity: int
    queued: int = 0


@dataclass(frozen=True, slots=True)
class BreakerStats:
    """A breaker at one moment.

    Attributes:
        name: which one, as it may be shown: an endpoint's address, or an address and a credential's digits.
        kind: whether it is an endpoint's or a credential's.
        state: where it is.
        failures: how often in a row what it watches has failed.
        trips: how often it has opened since it was last closed.
        retry_after: the seconds until it lets a probe through; None if it is not open.
    """

    name: str
    kind: BreakerKind
    state: BreakerState
    failures: int = 0
    trips: int = 0
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class PoolStats:
    """The figures of a pool at one moment: those of each key, and their sums. Counters count since it was opened.

    Attributes:
        keys: the figures of each pool key.
        anonymous: how often a session was asked for without any authentication header.
        tally: what is counted for the pool as a whole, and the histograms.
        permits: those of all keys together; None where only keys have a cap.
        breakers: those that have seen a failure.
        cluster: those that it has as one of several workers; None for a pool without a cluster.
    """

    keys: tuple[KeyStats, ...] = ()
    anonymous: int = 0
    tally: TallyFigures = field(default_factory=TallyFigures)
    permits: Permits | None = None
    breakers: tuple[BreakerStats, ...] = ()
    cluster: ClusterStats | None = None

    def sessions(self, *states: SessionState) -> int:
        """How many sessions are in one of these states; in any, if none is named."""
        wanted = states or STATES
        return sum(key.counts.sessions[state] for key in self.keys for state in wanted)

    # --- callers

    @property
    def hits(self) -> int:
        """How often a session was lent at once."""
        return self.tally.past.hits + sum(key.counts.hits for key in self.keys)

    @property
    def misses(self) -> int:
        """How often a caller had to wait, for a session to be opened or to come back."""
        return self.tally.past.misses + sum(key.counts.misses for key in self.keys)

    @property
    def hit_rate(self) -> float:
        """The share of hits among all, from 0 to 1; 0 before the first."""
        asked = self.hits + self.misses
        return self.hits / asked if asked else 0.0

    @property
    def uses(self) -> int:
        """How often a session was lent."""
        return self.tally.past.uses + sum(key.uses for key in self.keys)

    @property
    def waiting(self) -> int:
        """How many callers wait now."""
        return sum(key.counts.waiting for key in self.keys)

    @property
    def longest_wait(self) -> float:
        """How long the caller has waited that waits the longest now, in seconds; 0 if none does."""
        return max((key.counts.longest_wait for key in self.keys), default=0.0)

    @property
    def longest_lease(self) -> float:
        """How long the lease is held that is held the longest now, in seconds; 0 if none is."""
        return max((key.counts.longest_lease for key in self.keys), default=0.0)

    @property
    def leases(self) -> HistogramSnapshot:
        """The leases that are held now, by their age in seconds."""
        held = (key.leases for key in self.keys)
        return NO_LEASES.merge(*(leases for leases in held if leases is not NO_LEASES))

    # --- sessions

    @property
    def opened(self) -> int:
        """How many sessions were opened: as many handshakes were made."""
        return self.tally.past.opened + sum(key.counts.opened for key in self.keys)

    @property
    def open_failures(self) -> int:
        """How many sessions could not be opened."""
        return self.tally.past.open_failures + sum(key.counts.open_failures for key in self.keys)

    @property
    def broken(self) -> int:
        """How many open sessions broke, or were unknown to their server."""
        return self.tally.past.broken + sum(key.counts.broken for key in self.keys)

    @property
    def http_requests(self) -> int:
        """How many HTTP requests the pool's sessions have sent."""
        return self.tally.past.http_requests + sum(key.http_requests for key in self.keys)

    @property
    def evictions(self) -> int:
        """How many sessions made room for others."""
        return self.tally.retired[Retirement.EVICTED]

    @property
    def expired(self) -> int:
        """How many sessions reached their `max_lifetime`, or the end of their credentials."""
        return self.tally.retired[Retirement.EXPIRED] + self.tally.retired[Retirement.CREDENTIALS_EXPIRED]

    @property
    def sessions_reaped(self) -> int:
        """How many sessions were closed because nobody used them for `max_idle`."""
        return self.tally.retired[Retirement.IDLE]

    @property
    def drained(self) -> int:
        """How many sessions were replaced because of new credentials, certificates or settings."""
        return self.tally.retired[Retirement.DRAINED]

    # --- the rest

    @property
    def keys_evicted(self) -> int:
        """How many keys were forgotten, for whatever reason."""
        return sum(self.tally.keys_evicted.values())

    @property
    def breaker_states(self) -> dict[tuple[BreakerKind, BreakerState], int]:
        """How many breakers of each kind are in each state."""
        states: dict[tuple[BreakerKind, BreakerState], int] = {
            (kind, state): 0 for kind in BREAKER_KINDS for state in BREAKER_STATES
        }
        for breaker in self.breakers:
            states[breaker.kind, breaker.state] += 1
        return states

    def as_mapping(self) -> dict[str, Any]:
        """All figures for JSON. Keys and breakers are told by their names, without credentials or query strings."""
        tally = self.tally
        return {
            "hits": self.hits,
            "misses": self.misses,
            "hit_rate": self.hit_rate,
            "uses": self.uses,
            "waiting": self.waiting,
            "longest_wait": self.longest_wait,
            "longest_lease": self.longest_lease,
            "anonymous": self.anonymous,
            "extractor_failures": tally.extractor_failures,
            "sessions": {state.name.lower(): self.sessions(state) for state in SessionState},
            "opened": self.opened,
            "open_failures": self.open_failures,
            "broken": self.broken,
            "http_requests": self.http_requests,
            "retired": {reason.value: number for reason, number in tally.retired.items()},
            "evictions": self.evictions,
            "expired": self.expired,
            "sessions_reaped": self.sessions_reaped,
            "drained": self.drained,
            "checks": tally.checks,
            "health_failures": tally.health_failures,
            "leases_abandoned": tally.leases_abandoned,
            "leases_held_long": tally.leases_held_long,
            "waits": histogram_as_mapping(tally.waits),
            "connects": histogram_as_mapping(tally.connects),
            "session_uses": histogram_as_mapping(tally.session_uses),
            "leases": histogram_as_mapping(self.leases),
            "permits": _fields(self.permits, "given", "capacity", "queued") if self.permits else None,
            "breaker_failures": tally.breaker_failures,
            "breaker_trips": tally.breaker_trips,
            "breaker_refusals": tally.breaker_refusals,
            "breakers": [
                _fields(breaker, "name", "kind", "state", "failures", "trips", "retry_after")
                for breaker in self.breakers
            ],
            "keys_evicted": {reason.value: number for reason, number in tally.keys_evicted.items()},
            "cluster": None if self.cluster is None else self.cluster.as_mapping(),
            "keys": [key.as_mapping() for key in self.keys],
        }

    def __str__(self) -> str:
        idle = self.sessions(SessionState.IDLE)
        used = self.sessions(SessionState.LEASED, SessionState.RETIRING)
        return (
            f"{self.sessions()} sessions in {len(self.keys)} keys, {idle} idle, {used} in use; {self.waiting} waiting; "
            f"{self.hits} hits, {self.misses} misses ({self.hit_rate:.1%} hits); {self.opened} opened, "
            f"{self.open_failures} failed to open, {self.broken} broke; {self.http_requests} HTTP requests"
            f"{'' if self.cluster is None else f'; {self.cluster}'}"
        )


def _fields(record: object, *names: str) -> dict[str, Any]:
    return {name: getattr(record, name) for name in names}
