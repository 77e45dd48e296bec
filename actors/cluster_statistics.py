"""A pool's figures as one of several workers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType
from typing import Any, Final

from actors.key_statistics import histogram_as_mapping
from actors.tally import NO_LATENCIES
from protocol.errors import Refusal
from protocol.histogram import HistogramSnapshot
from protocol.worker_figures import WorkerFigures

BUSIEST: Final = 16
"""Of how many other workers it is told what they have to answer: of those that have the most."""


class ForwardFailure(Enum):
    """What a request that another worker owns came to, if not to a result. The values are what metrics say."""

    __hash__ = object.__hash__

    REFUSED = "refused"
    """It was not sent: the bus is away, too many are with others already, or it is too large."""
    NOT_DELIVERED = "not_delivered"
    """It has not begun: nobody listened, or its owner died before it accepted it."""
    DENIED = "denied"
    """Whoever was asked does not own the conversation any more; its owner is looked for again."""
    REJECTED = "rejected"
    """Its owner has refused it before it began."""
    FAILED = "failed"
    """Its owner has answered it with an error, be it the server's own."""
    UNKNOWN = "unknown"
    """It may have run, and no answer came."""


NONE_FAILED: Final[Mapping[ForwardFailure, int]] = MappingProxyType(dict.fromkeys(ForwardFailure, 0))
NONE_REFUSED: Final[Mapping[Refusal, int]] = MappingProxyType(dict.fromkeys(Refusal, 0))


@dataclass(frozen=True, slots=True)
class ClusterStats:
    """The figures of one worker at one moment. Counters count since its pool was opened.

    Attributes:
        worker: its id.
        joined: whether it is on the bus.
        joins: how often it has come to be.
        local_hits: calls (`Pool.call`; a lease is none) of conversations that were owned here.
        remote_hits: calls of conversations that another worker owned.
        misses: calls of conversations that nobody owned, and that this worker claimed for them.
        owned: conversations that are owned here.
        taken_over: conversations that came from workers that had died, or left.
        lost: conversations that were owned here and went to others, or whose time was over.
        forwarded: requests that were sent to their owners. A call that is tried again is sent again.
        in_flight: those of them that are unanswered.
        in_flight_with: how many of them each other worker has, by its id; of those that have the most (`BUSIEST`).
        failures: those that came to no result, by what they came to.
        timeouts: those among the failures whose time was over.
        withdrawn: those whose callers gave up waiting.
        forwards: how long those took that were answered, in seconds, be it with an error.
        superseded: answers that were refused: nobody waits for them any more, as where their worker was found dead.
        served: requests of others that were begun.
        denied: requests of others for conversations that are not owned here.
        in_service: requests of others that are under way.
        sent: envelopes that went out.
        received: envelopes that came in and were taken.
        refused: envelopes that came in and were not taken, by reason.
        peers_seen: how many other workers were heard, up to `actors.mail.MOST_SEEN`.
        twins: how often two workers were found to go by one id.
    """

    worker: str = ""
    joined: bool = False
    joins: int = 0
    local_hits: int = 0
    remote_hits: int = 0
    misses: int = 0
    owned: int = 0
    taken_over: int = 0
    lost: int = 0
    forwarded: int = 0
    in_flight: int = 0
    in_flight_with: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    failures: Mapping[ForwardFailure, int] = field(default_factory=lambda: NONE_FAILED)
    timeouts: int = 0
    withdrawn: int = 0
    forwards: HistogramSnapshot = NO_LATENCIES
    superseded: int = 0
    served: int = 0
    denied: int = 0
    in_service: int = 0
    sent: int = 0
    received: int = 0
    refused: Mapping[Refusal, int] = field(default_factory=lambda: NONE_REFUSED)
    peers_seen: int = 0
    twins: int = 0

    @property
    def hit_rate(self) -> float:
        """The share of calls whose conversation had an owner, here or elsewhere, from 0 to 1; 0 before the first."""
        hits = self.local_hits + self.remote_hits
        asked = hits + self.misses
        return hits / asked if asked else 0.0

    @property
    def reconnects(self) -> int:
        """How often the bus was joined anew."""
        return max(0, self.joins - 1)

    @property
    def in_flight_with_busiest(self) -> int:
        """How many requests that worker has to answer that has the most."""
        return max(self.in_flight_with.values(), default=0)

    def in_small(self, *, pool: str, uptime: float, sessions: int) -> WorkerFigures:
        """What this worker says of itself, with what it is not one of several for. Seconds."""
        return WorkerFigures(
            pool=pool,
            uptime=uptime,
            conversations=self.owned,
            sessions=sessions,
            local_hits=self.local_hits,
            remote_hits=self.remote_hits,
            misses=self.misses,
            forwarded=self.forwarded,
            in_flight=self.in_flight,
            served=self.served,
            in_service=self.in_service,
        )

    def as_mapping(self) -> dict[str, Any]:
        """All figures for JSON."""
        return {
            **{name: getattr(self, name) for name in _PLAIN},
            "hit_rate": self.hit_rate,
            "reconnects": self.reconnects,
            "in_flight_with": dict(self.in_flight_with),
            "failures": {kind.value: number for kind, number in self.failures.items()},
            "forwards": histogram_as_mapping(self.forwards),
            "refused": {reason.name.lower(): number for reason, number in self.refused.items()},
        }

    def __str__(self) -> str:
        return (
            f"worker {self.worker} {'on' if self.joined else 'off'} the bus, {self.owned} conversations owned; "
            f"{self.local_hits} hits here, {self.remote_hits} elsewhere, {self.misses} misses ({self.hit_rate:.1%} "
            f"hits); {self.in_flight} requests with others, {self.in_service} of others in service; "
            f"{self.taken_over} taken over, {self.lost} lost"
        )


_COMPOSED: Final = {"in_flight_with", "failures", "forwards", "refused"}
_PLAIN: Final = tuple(name for name in ClusterStats.__match_args__ if name not in _COMPOSED)
