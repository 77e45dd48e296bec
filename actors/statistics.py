"""A pool's figures."""

from dataclasses import dataclass

from actors.pool_supervisor import KeyStats
from protocol.session import SessionState


@dataclass(frozen=True, slots=True)
class PoolStats:
    """The figures of a pool at one moment: those of each key, and their sums.

    Attributes:
        keys: the figures of each pool key.
        anonymous: how often a session was asked for without any authentication header.
    """

    keys: tuple[KeyStats, ...]
    anonymous: int

    def sessions(self, *states: SessionState) -> int:
        """How many sessions are in one of these states; in any, if none is named."""
        return sum(key.counts.sessions[state] for key in self.keys for state in states or SessionState)

    @property
    def hits(self) -> int:
        """How often a session was lent at once."""
        return sum(key.counts.hits for key in self.keys)

    @property
    def misses(self) -> int:
        """How often a caller had to wait, for a session to be opened or to come back."""
        return sum(key.counts.misses for key in self.keys)

    @property
    def hit_rate(self) -> float:
        """The share of hits among all, from 0 to 1; 0 before the first."""
        asked = self.hits + self.misses
        return self.hits / asked if asked else 0.0

    @property
    def waiting(self) -> int:
        """How many callers wait now."""
        return sum(key.counts.waiting for key in self.keys)

    @property
    def opened(self) -> int:
        """How many sessions were opened: as many handshakes were made."""
        return sum(key.counts.opened for key in self.keys)

    @property
    def open_failures(self) -> int:
        """How many sessions could not be opened."""
        return sum(key.counts.open_failures for key in self.keys)

    @property
    def broken(self) -> int:
        """How many open sessions broke, or were unknown to their server."""
        return sum(key.counts.broken for key in self.keys)

    @property
    def http_requests(self) -> int:
        """How many HTTP requests the pool's sessions have sent."""
        return sum(key.http_requests for key in self.keys)

    def __str__(self) -> str:
        idle = self.sessions(SessionState.IDLE)
        used = self.sessions(SessionState.LEASED, SessionState.SETTLING, SessionState.RETIRING)
        return (
            f"{self.sessions()} sessions in {len(self.keys)} keys, {idle} idle, {used} in use; {self.waiting} waiting; "
            f"{self.hits} hits, {self.misses} misses ({self.hit_rate:.1%} hits); {self.opened} opened, "
            f"{self.open_failures} failed to open, {self.broken} broke; {self.http_requests} HTTP requests"
        )
