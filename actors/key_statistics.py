"""The figures of one pool key."""

from dataclasses import dataclass
from typing import Any, Final

from protocol.histogram import AGES, HistogramSnapshot
from protocol.pool import PoolCounts
from protocol.session import SessionState

NO_LEASES: Final = HistogramSnapshot.of((), AGES)


@dataclass(frozen=True, slots=True)
class KeyStats:
    """The figures of one pool key at one moment.

    Attributes:
        name: the key, as it may be shown.
        counts: its sessions by state, its waiters, permits and counters.
        http_requests: the HTTP requests that its sessions have sent.
        uses: how often its sessions were lent.
        leases: the leases that are held, by their age in seconds.
        stateful: whether its server keeps state in its sessions; None before the first handshake.
    """

    name: str
    counts: PoolCounts
    http_requests: int = 0
    uses: int = 0
    leases: HistogramSnapshot = NO_LEASES
    stateful: bool | None = None

    def sessions(self, *states: SessionState) -> int:
        """How many sessions are in one of these states; in any, if none is named."""
        return sum(self.counts.sessions[state] for state in states or SessionState)

    @property
    def available(self) -> int:
        """How many sessions are idle."""
        return self.sessions(SessionState.IDLE, SessionState.CHECKING)

    @property
    def active(self) -> int:
        """How many sessions are somebody's, or have calls of their last borrower under way."""
        return self.sessions(SessionState.LEASED, SessionState.RETIRING)

    @property
    def max_size(self) -> int:
        """How many sessions the key may have."""
        return self.counts.free + self.sessions() + self.counts.reserved

    def as_mapping(self) -> dict[str, Any]:
        """The figures for JSON. The key is told by its name, and no credential or query string is in it."""
        counts = self.counts
        return {
            "name": self.name,
            "stateful": self.stateful,
            "available": self.available,
            "active": self.active,
            "max_size": self.max_size,
            "free": counts.free,
            "sessions": {state.name.lower(): number for state, number in counts.sessions.items()},
            "waiting": counts.waiting,
            "hits": counts.hits,
            "misses": counts.misses,
            "uses": self.uses,
            "opened": counts.opened,
            "open_failures": counts.open_failures,
            "broken": counts.broken,
            "http_requests": self.http_requests,
            "longest_wait": counts.longest_wait,
            "longest_lease": counts.longest_lease,
            "leases": histogram_as_mapping(self.leases),
        }


def histogram_as_mapping(histogram: HistogramSnapshot) -> dict[str, Any]:
    """A histogram for JSON, which has no infinity: the last bucket is `+Inf`, as in Prometheus."""
    bounds = [*map(str, histogram.bounds), "+Inf"]
    return {
        "count": histogram.count,
        "sum": histogram.sum,
        "p50": histogram.quantile(0.5),
        "p99": histogram.quantile(0.99),
        "buckets": {bound: upto for bound, (_, upto) in zip(bounds, histogram.buckets, strict=True)},
    }
