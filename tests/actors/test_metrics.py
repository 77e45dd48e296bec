"""A pool's figures for Prometheus, read back from the text that is scraped."""

import re
import subprocess
import sys
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse
from prometheus_client.registry import DuplicateTimeseries

from actors import open_pool
from actors.cluster_statistics import ForwardFailure
from actors.metrics import METRICS, PoolCollector
from actors.statistics import BREAKER_KINDS, BREAKER_STATES, PoolStats
from protocol.errors import Refusal
from protocol.pool_events import KeyEviction, Retirement
from protocol.session import SessionState
from tests.actors.fakes import ECHO, FakeServer
from tests.actors.figures import IDENTITY, figures


def exposed(pools: Any) -> str:
    registry = CollectorRegistry()
    registry.register(PoolCollector(pools))
    return generate_latest(registry).decode()


def samples(text: str) -> dict[str, float]:
    """Each sample's value, by its name and labels."""
    return {
        ",".join([sample.name, *(f"{name}={value}" for name, value in sorted(sample.labels.items()))]): sample.value
        for family in parse(text)
        for sample in family.samples
    }


def test_what_is_scraped_is_what_the_pool_says() -> None:
    stats = figures()
    read = samples(exposed(lambda: stats))
    expected = {
        "hits_total": stats.hits,
        "misses_total": stats.misses,
        "leases_total": stats.uses,
        "anonymous_callers_total": 11,
        "extractor_failures_total": 10,
        "sessions_opened_total": stats.opened,
        "opening_failures_total": stats.open_failures,
        "sessions_broken_total": stats.broken,
        "health_checks_total": 40,
        "health_failures_total": 5,
        "leases_abandoned_total": 6,
        "leases_held_long_total": 7,
        "breaker_failures_total": 18,
        "breaker_trips_total": 8,
        "breaker_refusals_total": 19,
        "http_requests_total": stats.http_requests,
        "waiters": 6,
        "keys": 2,
        "permits_given": 14,
        "permits_capacity": 20,
        "permits_queued": 2,
        "longest_wait_seconds": 0.5,
        "longest_lease_seconds": 12.0,
        "keys_evicted_total,reason=room": 1,
        "breakers,kind=endpoint,state=open": 1,
        "breakers,kind=endpoint,state=closed": 0,
        "sessions,state=idle": 4,
        "sessions,state=leased": 2,
        "wait_seconds_count": 4,
        "wait_seconds_sum": pytest.approx(100.222),
        "wait_seconds_bucket,le=0.0025": 1,
        "wait_seconds_bucket,le=60.0": 3,
        "wait_seconds_bucket,le=+Inf": 4,
        "connect_seconds_count": 1,
        "session_uses_bucket,le=20.0": 1,
        "lease_age_seconds_bucket,le=5.0": 4,
        "lease_age_seconds_gcount": 6,
        "cluster_local_hits_total": 21,
        "cluster_remote_hits_total": 22,
        "cluster_misses_total": 23,
        "cluster_owned": 24,
        "cluster_taken_over_total": 25,
        "cluster_lost_total": 26,
        "cluster_forwards_total": 27,
        "cluster_in_flight": 28,
        "cluster_in_flight_with_busiest": 20,
        "cluster_forward_failures_total,kind=unknown": 55,
        "cluster_forward_timeouts_total": 29,
        "cluster_forwards_withdrawn_total": 30,
        "cluster_answers_superseded_total": 31,
        "cluster_served_total": 32,
        "cluster_denied_total": 33,
        "cluster_in_service": 34,
        "cluster_envelopes_sent_total": 35,
        "cluster_envelopes_received_total": 36,
        "cluster_envelopes_refused_total,reason=replayed": 77,
        "cluster_reconnects_total": 2,
        "cluster_peers_seen": 37,
        "cluster_twins_total": 38,
        "cluster_joined": 1,
        "cluster_forward_seconds_count": 2,
        "cluster_forward_seconds_sum": pytest.approx(0.302),
    }
    for name, value in expected.items():
        assert read[f"troupe_pool_{name}"] == value, name
    for reason, number in stats.tally.retired.items():
        assert read[f"troupe_pool_sessions_retired_total,reason={reason.value}"] == number
    unread = {name.partition(",")[0] for name in read} - {f"troupe_pool_{n.partition(',')[0]}" for n in expected}
    assert unread == {
        "troupe_pool_sessions_retired_total",
        "troupe_pool_connect_seconds_bucket",
        "troupe_pool_connect_seconds_sum",
        "troupe_pool_session_uses_count",
        "troupe_pool_session_uses_sum",
        "troupe_pool_lease_age_seconds_gsum",
        "troupe_pool_cluster_forward_seconds_bucket",
    }


def test_names_are_as_prometheus_wants_them() -> None:
    text = exposed(PoolStats)
    for family in parse(text):
        assert re.fullmatch(r"troupe_pool_[a-z]+(_[a-z]+)*", family.name), family.name
        assert family.documentation.endswith(".")
        assert not re.search("_(ms|milliseconds|minutes)$", family.name)
    for line in text.splitlines():
        if line.startswith("# TYPE") and line.endswith(" counter"):
            assert line.split()[2].endswith("_total")
    names = [metric.name for metric in METRICS]
    assert len(set(names)) == len(names)


def test_the_newer_text_format_takes_it_too() -> None:
    registry = CollectorRegistry()
    registry.register(PoolCollector(figures))
    generate: Any = openmetrics.generate_latest  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType] - untyped there
    assert generate(registry).decode().endswith("# EOF\n")


@pytest.mark.holds("X1")
def test_no_secret_address_user_or_key_is_in_what_is_scraped() -> None:
    text = exposed(figures)
    for hidden in (
        "s3cret",
        "mcp.example",
        "http:",
        "https:",
        "ada",
        "gateway",
        IDENTITY[:8],
        "identity ",
        "0123456789ab",
    ):
        assert hidden not in text.replace("Identity extractors", ""), hidden


@pytest.mark.holds("X1")
def test_labels_have_no_other_values_than_the_packages_own() -> None:
    known = {
        "reason": {
            *(reason.value for reason in (*Retirement, *KeyEviction)),
            *(reason.name.lower() for reason in Refusal),
        },
        "state": {*BREAKER_STATES, *(state.name.lower() for state in SessionState)},
        "kind": {*BREAKER_KINDS, *(kind.value for kind in ForwardFailure)},
    }
    for family in parse(exposed(figures)):
        for sample in family.samples:
            for label, value in sample.labels.items():
                assert label == "le" or value in known[label]


def test_a_pool_without_figures_shows_zeros_and_no_permits() -> None:
    read = samples(exposed(PoolStats))
    assert not any(read.values())
    assert not any("permits" in name or "cluster" in name for name in read)
    assert read["troupe_pool_sessions_retired_total,reason=broken"] == 0, "a rate needs its first zero"


def test_several_pools_are_told_apart_by_the_names_that_they_are_given() -> None:
    read = samples(exposed({"a": figures, "b": PoolStats}))
    assert read["troupe_pool_hits_total,pool=a"] == 210
    assert read["troupe_pool_hits_total,pool=b"] == 0
    assert read["troupe_pool_breakers,kind=endpoint,pool=a,state=open"] == 1
    assert read["troupe_pool_wait_seconds_bucket,le=+Inf,pool=a"] == 4


def test_registering_asks_the_pool_nothing_and_twice_is_refused() -> None:
    asked: list[None] = []

    def stats() -> PoolStats:
        asked.append(None)
        return PoolStats()

    registry = CollectorRegistry(auto_describe=True)
    registry.register(PoolCollector(stats))
    with pytest.raises(DuplicateTimeseries):
        registry.register(PoolCollector(stats))
    assert not asked
    generate_latest(registry)
    assert len(asked) == 1


async def test_a_living_pool_is_scraped_while_it_works_and_after_it_closed() -> None:
    registry = CollectorRegistry()
    async with open_pool(connector=FakeServer()) as pool:
        registry.register(PoolCollector(pool))
        async with pool.session(ECHO):
            assert registry.get_sample_value("troupe_pool_sessions", {"state": "leased"}) == 1
    assert registry.get_sample_value("troupe_pool_sessions_opened_total") == 1
    assert registry.get_sample_value("troupe_pool_sessions", {"state": "leased"}) == 0


def run(program: str) -> str:
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)  # noqa: S603
    return ran.stdout


def test_without_the_extra_it_says_how_to_get_it() -> None:
    said = run(
        "import sys; sys.modules['prometheus_client'] = None\n"
        "from actors.metrics import PoolCollector\n"
        "from actors.statistics import PoolStats\n"
        "try: PoolCollector(PoolStats)\n"
        "except RuntimeError as error: print(error)"
    )
    assert said == "metrics need prometheus-client: pip install 'mcp-troupe[metrics]'\n"


def test_only_a_collector_imports_the_extra() -> None:
    said = run(
        "import sys, actors, actors.metrics, actors.statistics, actors.pool\n"
        "print('prometheus_client' in sys.modules)\n"
        "actors.metrics.PoolCollector(actors.statistics.PoolStats)\n"
        "print('prometheus_client' in sys.modules)"
    )
    assert said.split() == ["False", "True"]
