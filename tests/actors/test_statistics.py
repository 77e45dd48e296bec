"""A pool's figures: what they add up to, and what they show."""

import json

import pytest

from actors import PoolSettings, open_pool
from actors.statistics import PoolStats
from actors.tally import KeyTotals, Tally
from protocol.histogram import AGES, HistogramSnapshot
from protocol.pool_events import KeyEviction, Retirement
from protocol.session import SessionState
from tests.actors.fakes import ECHO, FakeServer
from tests.actors.figures import IDENTITY, QUERY, TOKEN, figures, key, tally


def test_the_figures_of_a_pool_are_those_of_its_keys_and_of_keys_that_are_forgotten() -> None:
    stats = figures()
    assert (stats.hits, stats.misses, stats.hit_rate) == (210, 90, 0.7)
    assert (stats.uses, stats.opened, stats.open_failures, stats.broken) == (285, 27, 6, 3)
    assert stats.http_requests == 1500
    assert (stats.waiting, stats.longest_wait, stats.longest_lease) == (6, 0.5, 12.0)
    assert stats.leases.counts == HistogramSnapshot.of([0.05, 3, 12] * 2, AGES).counts
    assert stats.sessions() == 2 * key().sessions() == 14
    assert stats.sessions(SessionState.IDLE) == 4


def test_forgetting_a_key_changes_no_counter() -> None:
    tally = Tally()
    before = PoolStats(keys=(key(), key()), tally=tally.figures())
    tally.evict(key(), KeyEviction.IDLE)
    after = PoolStats(keys=(key(),), tally=tally.figures())
    for name in ("hits", "misses", "uses", "opened", "open_failures", "broken", "http_requests", "hit_rate"):
        assert getattr(after, name) == getattr(before, name), name
    assert after.keys_evicted == 1
    assert after.tally.keys_evicted == {**dict.fromkeys(KeyEviction, 0), KeyEviction.IDLE: 1}


def test_every_figure_of_the_pools_before_this_one_has_its_name() -> None:
    stats = figures()
    retired = {reason: number for number, reason in enumerate(Retirement, 1)}
    assert stats.evictions == retired[Retirement.EVICTED]
    assert stats.sessions_reaped == retired[Retirement.IDLE]
    assert stats.drained == retired[Retirement.DRAINED]
    assert stats.expired == retired[Retirement.EXPIRED] + retired[Retirement.CREDENTIALS_EXPIRED]
    assert (stats.tally.health_failures, stats.tally.breaker_trips, stats.tally.breaker_failures) == (5, 8, 18)
    assert (stats.anonymous, stats.keys_evicted, len(stats.keys)) == (11, 1, 2)
    assert stats.tally.session_uses.count == 1
    one = key()
    assert (one.available, one.active, one.max_size) == (3, 2, 11)
    states = {state: number for state, number in stats.breaker_states.items() if number}
    assert states == {("endpoint", "open"): 1, ("credential", "closed"): 1}


def test_a_tallys_figures_do_not_change_with_it() -> None:
    made = tally()
    before = made.figures()
    made.checks += 1
    made.retired[Retirement.IDLE] += 1
    made.waits.record(1)
    made.evict(key(), KeyEviction.CRASHED)
    after = made.figures()
    assert (before.checks, after.checks) == (40, 41)
    assert after.retired[Retirement.IDLE] == before.retired[Retirement.IDLE] + 1
    assert after.waits.count == before.waits.count + 1
    assert (before.past.hits, after.past.hits) == (70, 140)
    with pytest.raises(TypeError):
        before.retired[Retirement.IDLE] = 0  # type: ignore[index]


def test_a_pool_in_which_nothing_happened_has_figures_too() -> None:
    stats = PoolStats()
    assert stats.hit_rate == stats.longest_wait == stats.longest_lease == 0.0
    assert stats.tally.past == KeyTotals()
    assert stats.tally.waits.quantile(0.5) is None
    assert json.loads(json.dumps(stats.as_mapping()))["permits"] is None
    assert stats.as_mapping()["cluster"] is None
    assert str(stats) == (
        "0 sessions in 0 keys, 0 idle, 0 in use; 0 waiting; 0 hits, 0 misses (0.0% hits); 0 opened, 0 failed to open, "
        "0 broke; 0 HTTP requests"
    )


def test_the_mapping_is_json_and_has_every_figure() -> None:
    stats = figures()
    told = stats.as_mapping()
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    for name in ("hits", "misses", "hit_rate", "uses", "opened", "open_failures", "broken", "evictions", "expired"):
        assert told[name] == getattr(stats, name)
    assert told["sessions"] == {
        **dict.fromkeys([state.name.lower() for state in SessionState], 2),
        "idle": 4,
        "ended": 0,
    }
    assert told["retired"]["abandoned_lease"] == stats.tally.retired[Retirement.ABANDONED_LEASE]
    assert told["keys_evicted"] == {"idle": 0, "room": 1, "ended": 0, "crashed": 0}
    assert told["permits"] == {"given": 14, "capacity": 20, "queued": 2}
    assert told["breakers"][0]["retry_after"] == 2.5
    assert told["cluster"]["in_flight_with"] == {"4712-0123456789ab": 20, "4713-0123456789ab": 8}
    assert told["waits"]["count"] == told["waits"]["buckets"]["+Inf"] == 4
    assert told["waits"]["buckets"]["0.025"] == 2
    assert told["waits"]["p99"] == 60.0
    (one, _) = told["keys"]
    assert (one["available"], one["active"], one["max_size"], one["stateful"]) == (3, 2, 11, True)
    assert one["leases"]["count"] == 3


@pytest.mark.holds("X1")
def test_no_figure_shows_a_secret() -> None:
    stats = figures()
    for shown in (json.dumps(stats.as_mapping()), str(stats), repr(stats)):
        assert "s3cret" not in shown
        assert QUERY not in shown
        assert TOKEN not in shown
        assert IDENTITY not in shown
    assert "https://mcp.example:8443/mcp" in repr(stats), "the figures do tell of keys"


async def test_the_figures_of_a_living_pool_can_be_told() -> None:
    async with open_pool(PoolSettings(max_size=3), connector=FakeServer()) as pool:
        lease = await pool.acquire(ECHO, headers={"Authorization": TOKEN}, user="ada")
        shown = json.dumps(pool.stats().as_mapping())
        lease.release()
    (one,) = json.loads(shown)["keys"]
    assert (one["available"], one["active"], one["max_size"], one["free"]) == (0, 1, 3, 2)
    assert "s3cret" not in shown
