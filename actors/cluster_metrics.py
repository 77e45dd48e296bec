"""The metrics of a pool that is one of several workers. One without a cluster has no samples of them."""

from collections.abc import Callable, Iterable
from typing import Final

from actors.cluster_statistics import ClusterStats
from actors.metered import Metered, Sample, Spread
from actors.statistics import PoolStats


def _each(read: Callable[[ClusterStats], Iterable[Sample]]) -> Callable[[PoolStats], Iterable[Sample]]:
    return lambda stats: [] if stats.cluster is None else read(stats.cluster)


def _one(read: Callable[[ClusterStats], float]) -> Callable[[PoolStats], Iterable[Sample]]:
    return _each(lambda cluster: [((), read(cluster))])


CLUSTER_METRICS: Final = (
    Metered(
        "counter",
        "cluster_local_hits",
        "Calls of conversations that were owned here.",
        _one(lambda cluster: cluster.local_hits),
    ),
    Metered(
        "counter",
        "cluster_remote_hits",
        "Calls of conversations that another worker owned.",
        _one(lambda cluster: cluster.remote_hits),
    ),
    Metered(
        "counter",
        "cluster_misses",
        "Calls of conversations that nobody owned yet.",
        _one(lambda cluster: cluster.misses),
    ),
    Metered(
        "counter",
        "cluster_taken_over",
        "Conversations taken over from workers that died or left.",
        _one(lambda cluster: cluster.taken_over),
    ),
    Metered(
        "counter",
        "cluster_lost",
        "Conversations that were owned here and are not any more, against this worker's will.",
        _one(lambda cluster: cluster.lost),
    ),
    Metered("counter", "cluster_forwards", "Requests sent to other workers.", _one(lambda cluster: cluster.forwarded)),
    Metered(
        "counter",
        "cluster_forward_failures",
        "Requests for other workers that came to no result, by what they came to.",
        _each(lambda cluster: [((kind.value,), number) for kind, number in cluster.failures.items()]),
        ("kind",),
    ),
    Metered(
        "counter",
        "cluster_forward_timeouts",
        "Requests sent to other workers whose time was over.",
        _one(lambda cluster: cluster.timeouts),
    ),
    Metered(
        "counter",
        "cluster_forwards_withdrawn",
        "Requests sent to other workers whose callers gave up.",
        _one(lambda cluster: cluster.withdrawn),
    ),
    Metered(
        "counter",
        "cluster_answers_superseded",
        "Answers of other workers for which nobody waits any more.",
        _one(lambda cluster: cluster.superseded),
    ),
    Metered("counter", "cluster_served", "Requests of other workers begun.", _one(lambda cluster: cluster.served)),
    Metered(
        "counter",
        "cluster_denied",
        "Requests of other workers for conversations that are not owned here.",
        _one(lambda cluster: cluster.denied),
    ),
    Metered("counter", "cluster_envelopes_sent", "Envelopes sent.", _one(lambda cluster: cluster.sent)),
    Metered("counter", "cluster_envelopes_received", "Envelopes taken.", _one(lambda cluster: cluster.received)),
    Metered(
        "counter",
        "cluster_envelopes_refused",
        "Envelopes that came in and were not taken, by reason.",
        _each(lambda cluster: [((reason.name.lower(),), number) for reason, number in cluster.refused.items()]),
        ("reason",),
    ),
    Metered("counter", "cluster_reconnects", "Bus joined anew.", _one(lambda cluster: cluster.reconnects)),
    Metered("counter", "cluster_twins", "Two workers found to go by one id.", _one(lambda cluster: cluster.twins)),
    Metered("gauge", "cluster_joined", "1 while this worker is on the bus.", _one(lambda cluster: cluster.joined)),
    Metered("gauge", "cluster_owned", "Conversations owned here.", _one(lambda cluster: cluster.owned)),
    Metered(
        "gauge",
        "cluster_in_flight",
        "Requests that other workers have to answer.",
        _one(lambda cluster: cluster.in_flight),
    ),
    Metered(
        "gauge",
        "cluster_in_flight_with_busiest",
        "Requests that the one worker has to answer that has the most.",
        _one(lambda cluster: cluster.in_flight_with_busiest),
    ),
    Metered(
        "gauge", "cluster_in_service", "Requests of other workers under way.", _one(lambda cluster: cluster.in_service)
    ),
    Metered("gauge", "cluster_peers_seen", "Other workers heard so far.", _one(lambda cluster: cluster.peers_seen)),
    Spread(
        "cluster_forward_seconds",
        "How long other workers took to answer.",
        lambda stats: None if stats.cluster is None else stats.cluster.forwards,
    ),
)
"""In the order in which they are shown."""
