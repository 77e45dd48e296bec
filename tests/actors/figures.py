"""Figures of a pool in which something of everything has happened, and secrets that must show nowhere."""

from actors.cluster_statistics import ClusterStats, ForwardFailure
from actors.key_statistics import KeyStats
from actors.statistics import BreakerStats, Permits, PoolStats
from actors.tally import Tally
from protocol.errors import Refusal
from protocol.histogram import AGES, HistogramSnapshot
from protocol.keys import PoolKey, identify
from protocol.pool import PoolCounts
from protocol.pool_events import KeyEviction, Retirement
from protocol.session import SessionState

TOKEN = "Bearer s3cret-t0ken"  # noqa: S105 - the one that is to be kept
QUERY = "s3cret-query"
IDENTITY = identify({"authorization": TOKEN}, secret=b"deployment")
KEY = PoolKey("ada", f"https://mcp.example:8443/mcp?key={QUERY}", IDENTITY, "streamable-http", "gateway-7")


def counts(**changed: float) -> PoolCounts:
    figures: dict[str, float] = {
        "leases": 3,
        "waiting": 3,
        "reserved": 0,
        "free": 4,
        "hits": 70,
        "misses": 30,
        "opened": 9,
        "open_failures": 2,
        "broken": 1,
        "longest_wait": 0.5,
        "longest_lease": 12.0,
        **changed,
    }
    sessions = dict.fromkeys(SessionState, 1)
    sessions |= {SessionState.IDLE: 2, SessionState.ENDED: 0}
    return PoolCounts(sessions=sessions, **figures)  # type: ignore[arg-type]


def key(**changed: float) -> KeyStats:
    leases = HistogramSnapshot.of([0.05, 3, 12], AGES)
    return KeyStats(KEY.name, counts(**changed), 500, uses=95, leases=leases, stateful=True)


def tally() -> Tally:
    """A tally with another figure in each place."""
    made = Tally()
    for number, reason in enumerate(Retirement, 1):
        made.retired[reason] = number
    made.checks, made.health_failures = 40, 5
    made.leases_abandoned, made.leases_held_long = 6, 7
    made.breaker_failures, made.breaker_trips, made.breaker_refusals = 18, 8, 19
    made.extractor_failures = 10
    for seconds in (0.002, 0.02, 0.2, 100):
        made.waits.record(seconds)
    made.connects.record(0.03)
    made.session_uses.record(12)
    made.evict(key(), KeyEviction.ROOM)
    return made


def cluster() -> ClusterStats:
    """A worker's figures, another one in each place."""
    return ClusterStats(
        worker="4711-0123456789ab",
        joined=True,
        joins=3,
        local_hits=21,
        remote_hits=22,
        misses=23,
        owned=24,
        taken_over=25,
        lost=26,
        forwarded=27,
        in_flight=28,
        in_flight_with={"4712-0123456789ab": 20, "4713-0123456789ab": 8},
        failures={kind: number for number, kind in enumerate(ForwardFailure, 50)},
        timeouts=29,
        withdrawn=30,
        forwards=HistogramSnapshot.of([0.002, 0.3]),
        superseded=31,
        served=32,
        denied=33,
        in_service=34,
        sent=35,
        received=36,
        refused={reason: number for number, reason in enumerate(Refusal, 70)},
        peers_seen=37,
        twins=38,
    )


def figures() -> PoolStats:
    made = tally()
    return PoolStats(
        keys=(key(), key(longest_wait=0.25)),
        anonymous=11,
        tally=made.figures(),
        permits=Permits(given=14, capacity=20, queued=2),
        breakers=(
            BreakerStats("https://mcp.example:8443/mcp", "endpoint", "open", failures=5, trips=8, retry_after=2.5),
            BreakerStats(f"https://mcp.example:8443/mcp, identity {IDENTITY[:8]}", "credential", "closed"),
        ),
        cluster=cluster(),
    )
