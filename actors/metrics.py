"""A pool's figures for Prometheus. Needs the extra: `pip install 'mcp-troupe[metrics]'`.

The rules
---------
- A label's values come from lists that this package has: states, reasons, kinds. Never from a url, a user, a key or a
  session, which would be without number, and nobody's business. The one exception is `pool`: the user gives its values.
- Nothing is counted here. What is scraped is `pool.stats()` at that moment, as a table says below.
- prometheus-client is imported when a collector is made, and not before.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from math import inf
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

from actors.cluster_metrics import CLUSTER_METRICS
from actors.metered import Metered, Sample, Spread
from actors.statistics import Permits, PoolStats
from protocol.histogram import HistogramSnapshot
from protocol.session import SessionState

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric


class HasStats(Protocol):
    """A pool, as far as metrics are concerned."""

    def stats(self) -> PoolStats:
        """The pool's figures as they are now."""
        ...


Source = HasStats | Callable[[], PoolStats]


def _one(read: Callable[[PoolStats], float]) -> Callable[[PoolStats], Iterable[Sample]]:
    return lambda stats: [((), read(stats))]


def _permits(read: Callable[[Permits], float]) -> Callable[[PoolStats], Iterable[Sample]]:
    return lambda stats: [] if stats.permits is None else [((), read(stats.permits))]


METRICS: Final[tuple[Metered | Spread, ...]] = (
    Metered("counter", "hits", "Sessions lent at once.", _one(lambda stats: stats.hits)),
    Metered("counter", "misses", "Callers who had to wait for a session.", _one(lambda stats: stats.misses)),
    Metered("counter", "leases", "Sessions lent.", _one(lambda stats: stats.uses)),
    Metered(
        "counter",
        "anonymous_callers",
        "Sessions asked for without any authentication.",
        _one(lambda stats: stats.anonymous),
    ),
    Metered(
        "counter",
        "extractor_failures",
        "Identity extractors that failed or answered nothing.",
        _one(lambda stats: stats.tally.extractor_failures),
    ),
    Metered("counter", "sessions_opened", "Sessions opened.", _one(lambda stats: stats.opened)),
    Metered(
        "counter", "opening_failures", "Sessions that could not be opened.", _one(lambda stats: stats.open_failures)
    ),
    Metered(
        "counter",
        "sessions_broken",
        "Open sessions that broke, or were unknown to their server.",
        _one(lambda stats: stats.broken),
    ),
    Metered(
        "counter",
        "sessions_retired",
        "Sessions that are not lent again, by reason.",
        lambda stats: [((reason.value,), number) for reason, number in stats.tally.retired.items()],
        ("reason",),
    ),
    Metered("counter", "health_checks", "Health checks of sessions.", _one(lambda stats: stats.tally.checks)),
    Metered(
        "counter",
        "health_failures",
        "Health checks that found a session dead.",
        _one(lambda stats: stats.tally.health_failures),
    ),
    Metered(
        "counter",
        "leases_abandoned",
        "Leases lost without a release.",
        _one(lambda stats: stats.tally.leases_abandoned),
    ),
    Metered(
        "counter",
        "leases_held_long",
        "Leases held for longer than warn_after.",
        _one(lambda stats: stats.tally.leases_held_long),
    ),
    Metered(
        "counter",
        "keys_evicted",
        "Pool keys that were forgotten, by reason.",
        lambda stats: [((reason.value,), number) for reason, number in stats.tally.keys_evicted.items()],
        ("reason",),
    ),
    Metered(
        "counter",
        "breaker_failures",
        "Failures that a breaker took note of.",
        _one(lambda stats: stats.tally.breaker_failures),
    ),
    Metered("counter", "breaker_trips", "Breakers that opened.", _one(lambda stats: stats.tally.breaker_trips)),
    Metered(
        "counter",
        "breaker_refusals",
        "Callers whom an open breaker refused.",
        _one(lambda stats: stats.tally.breaker_refusals),
    ),
    Metered("counter", "http_requests", "HTTP requests sent by sessions.", _one(lambda stats: stats.http_requests)),
    Metered(
        "gauge",
        "sessions",
        "Sessions, by state.",
        lambda stats: [((state.name.lower(),), stats.sessions(state)) for state in _LIVING],
        ("state",),
    ),
    Metered("gauge", "waiters", "Callers who wait.", _one(lambda stats: stats.waiting)),
    Metered("gauge", "keys", "Pool keys in use.", _one(lambda stats: len(stats.keys))),
    Metered(
        "gauge",
        "breakers",
        "Breakers, by kind and state.",
        lambda stats: stats.breaker_states.items(),
        ("kind", "state"),
    ),
    Metered(
        "gauge",
        "permits_given",
        "Sessions that count against max_sessions.",
        _permits(lambda permits: permits.given),
    ),
    Metered("gauge", "permits_capacity", "max_sessions.", _permits(lambda permits: permits.capacity)),
    Metered("gauge", "permits_queued", "Keys that wait for a permit.", _permits(lambda permits: permits.queued)),
    Metered(
        "gauge",
        "longest_wait_seconds",
        "How long the caller waits who waits the longest now.",
        _one(lambda stats: stats.longest_wait),
    ),
    Metered(
        "gauge",
        "longest_lease_seconds",
        "How long the lease is held that is held the longest now.",
        _one(lambda stats: stats.longest_lease),
    ),
    Spread(
        "wait_seconds", "How long callers waited who did not get a session at once.", lambda stats: stats.tally.waits
    ),
    Spread("connect_seconds", "How long sessions took to open.", lambda stats: stats.tally.connects),
    Spread("session_uses", "How often each ended session was lent.", lambda stats: stats.tally.session_uses),
    Spread("lease_age_seconds", "Leases that are held, by their age.", lambda stats: stats.leases, now=True),
    *CLUSTER_METRICS,
)
"""All metrics, in the order in which they are shown."""

_LIVING: Final = tuple(state for state in SessionState if state is not SessionState.ENDED)


class PoolCollector:
    """A collector for prometheus-client: `registry.register(PoolCollector(pool))`.

    Args:
        pools: a pool, or what answers with its figures. Or several by name, whose metrics then have the label `pool`:
            one registry takes one collector of this kind.

    A scrape calls `pool.stats()` in the thread that scrapes. Let that be the thread that runs the pool (an endpoint of
    the gateway's own), or give a callable that goes there; docs/observability.md shows both.

    Raises:
        RuntimeError: prometheus-client is not installed.
    """

    def __init__(self, pools: Source | Mapping[str, Source]) -> None:
        try:
            from prometheus_client import metrics_core  # noqa: PLC0415 - an extra
        except ImportError:
            raise RuntimeError("metrics need prometheus-client: pip install 'mcp-troupe[metrics]'") from None
        self._families = metrics_core
        self._labels: tuple[str, ...] = ()
        self._sources: dict[tuple[str, ...], Callable[[], PoolStats]] = {}
        if isinstance(pools, Mapping):
            self._labels = ("pool",)
            named = cast("Mapping[str, Source]", pools)
            self._sources = {(name,): _reader(source) for name, source in named.items()}
        else:
            self._sources = {(): _reader(pools)}

    def describe(self) -> "Iterator[Metric]":
        """The metrics without samples, by which a registry refuses what is registered twice."""
        return (self._family(metric) for metric in METRICS)

    def collect(self) -> "Iterator[Metric]":
        """The metrics as they are now. What `stats` raises is raised."""
        figures = {labels: read() for labels, read in self._sources.items()}
        for metric in METRICS:
            family = self._family(metric)
            for labels, stats in figures.items():
                if isinstance(metric, Metered):
                    for values, value in metric.read(stats):
                        family.add_metric((*labels, *values), value)
                elif (histogram := metric.read(stats)) is not None:
                    family.add_metric(labels, _buckets(histogram), histogram.sum)
            yield family

    def _family(self, metric: Metered | Spread) -> Any:
        name = f"troupe_pool_{metric.name}"
        if isinstance(metric, Spread):
            made = self._families.GaugeHistogramMetricFamily if metric.now else self._families.HistogramMetricFamily
            return made(name, metric.help, labels=self._labels)
        made = self._families.CounterMetricFamily if metric.kind == "counter" else self._families.GaugeMetricFamily
        return made(name, metric.help, labels=(*self._labels, *metric.labels))


def _reader(source: Source) -> Callable[[], PoolStats]:
    return source if callable(source) else source.stats


def _buckets(histogram: HistogramSnapshot) -> list[tuple[str, float]]:
    return [("+Inf" if bound == inf else repr(bound), upto) for bound, upto in histogram.buckets]
