"""Each benchmark, run quickly: the figures that it has to tell are there, with their targets."""

import math
from functools import cache

import pytest

from benchmarks.__main__ import BENCHMARKS
from benchmarks.figure import Figure, Options

BACKEND = "trio"
QUICK = Options(backends=(BACKEND,), quick=True)


@cache
def figures(name: str) -> dict[str, Figure]:
    return {figure.what: figure for figure in BENCHMARKS[name](QUICK)}


HELD = [
    ("hit", "T1", "pool, acquire/release, trio", "µs", 6.0),
    ("hit", "T1", "pool, acquire/release, trio / predecessor", "", 0.4),
    ("hit", "T1", "pool, async with, trio / predecessor", "", 0.4),
    ("hit", "T1", "pool, with a header, trio / predecessor", "", 0.4),
    ("hit", "T1", "pool, with a header, user, gateway, trio / predecessor", "", 0.4),
    ("keys", "T2", "pool, 100 keys / 1 key, trio", "", 1.5),
    ("keys", "T2", "pool, 1,000 keys / 1 key, trio", "", 1.5),
    ("memory", "T3", "a key with a fake session, among 2,000, trio", "kB", 1.8),
    ("wakeup", "T5", "from a release to its waiter, trio", "µs", 50.0),
    ("call", "T6", "extra HTTP requests a pooled call, auto, 1 at a time, trio", "", 0.0),
    ("call", "T6", "extra task switches a pooled call, auto, 1 at a time, trio", "", 2.0),
    ("call", "T6", "p50, pool / bare, legacy, 1 at a time, trio", "", 1.05),
    ("call", "T6", "p50, pool / bare, legacy, 5 at once, trio", "", 1.05),
    ("fresh", "T7", "new session, pool, known key / SDK, handshake, trio", "", 0.35),
    ("fresh", "T7", "new session, pool, known key / SDK, stateless, trio", "", 0.2),
    *(
        ("kill", "T13", f"{what}, {server}, trio", "ms", 1_000.0)
        for server in ("handshake, no event store", "handshake, event store", "stateless")
        for what in (
            "killed during a call: until its caller has an error",
            "killed while idle: until the next caller has an error",
        )
    ),
    ("kill", "T13", "back: callers that fail until one is served, stateless, trio", "", 0.0),
    ("close", "T14", "closing 50 sessions that do not end / close_timeout (0.2 s), trio", "", 2.0),
    ("close", "T14", "closing 10 sessions whose server hangs / close_timeout (0.2 s), trio", "", 2.0),
    ("forward", "T9", "a forwarded call / redis-py there and back, trio", "", 2.5),
    ("forward", "T10", "CPU a forwarded call, 50 at a time, who forwards, trio", "µs", 300.0),
    ("forward", "T10", "CPU a forwarded call, 50 at a time, the owner, trio", "µs", 300.0),
    ("forward", "T11", "Redis connections more after 300 forwards, trio", "", 0.0),
    ("takeover", "T12", "owner killed: until its caller has an error, trio", "ms", 50.0),
    ("takeover", "T12", "owner killed: from then until the next call is served, trio", "ms", 200.0),
    ("takeover", "T12", "owner stands still (lifetime 1 s): until its caller has an error, trio", "ms", 2_000.0),
    ("takeover", "T12", "owner stands still: from then until the next call is served, trio", "ms", 200.0),
]

REACHED = [
    ("contention", "T4", "leases, of 80, 20 tasks, 10 sessions, trio", 80.0),
    ("contention", "T4", "throughput, pool / semaphore, 20 tasks, 10 sessions, trio", 0.95),
    ("call", "T6", "throughput, pool / bare, auto, 5 at once, trio", 1.0),
    ("fresh", "T8", "a session for each call, SDK / pooled call, handshake, trio", 10.0),
    ("fresh", "T8", "a session for each call, SDK / pooled call, stateless, trio", 10.0),
    ("forward", "T10", "forwarded calls, 50 at a time, trio", 2_500.0),
]

TOLD = [
    ("hit", "floor, trio", "µs"),
    ("hit", "predecessor / floor (the original elsewhere: 71), acquire/release", ""),
    ("keys", "pool, 1 key, trio", "µs"),
    ("memory", "a key with a real session, stateless, among 10, trio", "kB"),
    ("memory", "a key with a real session, handshake, among 10, trio", "kB"),
    ("contention", "semaphore, 20 tasks, 10 sessions, trio", "/s"),
    ("wakeup", "from an event's setting to its waiter, trio", "µs"),
    ("fresh", "new session, pool, new key / SDK with a shared TLS context, handshake, trio", ""),
    ("fresh", "new session, pool, known key / SDK with a shared TLS context, stateless, trio", ""),
    ("fresh", "a session for each call, SDK with a shared TLS context / pooled call, stateless, trio", ""),
    ("kill", "back: until a caller is served, handshake, event store, trio", "ms"),
    ("forward", "redis-py, there and back, trio", "µs"),
    ("forward", "a forwarded call, one at a time, trio", "µs"),
    ("takeover", "owner killed while idle: until the next call is served, trio", "ms"),
]


@pytest.mark.parametrize(("name", "target", "what", "unit", "at_most"), HELD)
def test_what_has_an_upper_limit_is_held_against_it(
    name: str, target: str, what: str, unit: str, at_most: float
) -> None:
    figure = figures(name)[what]
    assert (figure.target, figure.unit, figure.at_most) == (target, unit, at_most)
    assert math.isfinite(figure.value)


@pytest.mark.parametrize(("name", "target", "what", "at_least"), REACHED)
def test_what_has_a_lower_limit_is_held_against_it(name: str, target: str, what: str, at_least: float) -> None:
    figure = figures(name)[what]
    assert (figure.target, figure.at_least) == (target, at_least)
    assert figure.value > 0


@pytest.mark.parametrize(("name", "what", "unit"), TOLD)
def test_what_is_told_beside_has_no_limit(name: str, what: str, unit: str) -> None:
    figure = figures(name)[what]
    assert (figure.unit, figure.is_met) == (unit, None)
    assert figure.value > 0


@pytest.mark.holds("L2", "S2", "S3", "S4")
@pytest.mark.parametrize("name", ["kill", "close"])
def test_what_takes_seconds_at_most_does_so_on_any_machine(name: str) -> None:
    limited = [figure for figure in figures(name).values() if figure.is_met is not None]
    assert limited
    assert all(figure.is_met for figure in limited), limited


@pytest.mark.holds("L3")
def test_all_who_wait_for_a_few_sessions_are_served() -> None:
    assert figures("contention")["leases, of 80, 20 tasks, 10 sessions, trio"].is_met


@pytest.mark.holds("C6")
def test_redis_has_as_many_connections_after_any_number_of_forwards_as_before() -> None:
    assert figures("forward")["Redis connections more after 300 forwards, trio"].is_met
