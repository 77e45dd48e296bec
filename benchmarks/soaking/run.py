"""One soak, from its first server to the census of what is left."""

import gc
import time
from collections.abc import Sequence
from typing import Final

import anyio

from actors import Pool, PoolSettings, Upstream, open_pool
from benchmarks.memory import resident
from benchmarks.soaking.census import Census, held, left_over
from benchmarks.soaking.conversations import Conversation
from benchmarks.soaking.server import OWNER
from benchmarks.soaking.trouble import MOST_SESSIONS, bring_back, listen, operate, trouble_servers
from benchmarks.soaking.users import PATIENCE, Guest, Soaked, User, who_bears
from protocol.settings import Mode, Sharing
from tests.integration.servers import Factory, McpServer

SERVERS: Final[tuple[tuple[str, Mode, Sharing | None], ...]] = (
    ("plain", "legacy", None),
    ("events", "legacy", None),
    ("json", "legacy", 3),
    ("plain", "auto", None),
)
"""Of the handshake era without and with an event store, one whose sessions are shared all the same, and of the
stateless era: the kind, how the era is agreed on, and how many leases a session has."""

SETTINGS: Final = PoolSettings(
    max_size=3,
    min_idle=1,
    shared_leases=4,
    max_waiting=20,
    max_sessions=MOST_SESSIONS,
    max_keys=80,
    max_sessions_per_user=8,
    max_sessions_per_gateway=15,
    acquire_timeout=2.0,
    connect_timeout=1.5,
    call_timeout=3.0,
    close_timeout=1.0,
    settle_timeout=0.5,
    max_lifetime=5.0,
    lifetime_jitter=0.5,
    max_idle=1.0,
    key_idle=1.0,
    lost_memory=15.0,
    health_interval=0.5,
    health_timeout=0.5,
    breaker_threshold=3,
    breaker_backoff=0.1,
    breaker_ceiling=1.0,
    identity_extractor=who_bears,
)
"""Everything is short, and there is too little of everything, so that upkeep and limits matter all the time."""

USERS: Final = 24
CONVERSATIONS: Final = 6
BETWEEN_SAMPLES: Final = 2.0
RESTING: Final = 10.0
"""Seconds that the pool may take to come to rest, once servers and users are well."""


async def soak(seconds: float, *, seed: int) -> Census:
    """Soak a pool for so long, and answer what came of it. Takes some seconds more for the end.

    Leaves nothing running, also when it is cancelled.
    """
    census = Census()
    before = held()
    with census.logs_watched():
        factory = Factory("benchmarks.soaking.server")
        servers: list[McpServer] = []
        try:
            servers += [McpServer(kind, factory) for kind, _, _ in SERVERS]
            upstreams = [
                Upstream(server.url, mode=mode, sharing=sharing)
                for server, (_, mode, sharing) in zip(servers, SERVERS, strict=True)
            ]
            await _with_pool(census, servers, upstreams, seconds, seed)
        finally:
            for server in servers:
                if server.is_running:  # or stopped, so that it would not notice the factory's end
                    server.kill()
            factory.end()
        for kind, names in (await left_over(before)).items():
            census.check(not names, f"{kind} are left: {', '.join(sorted(names))}")
            census.done[f"left: {kind}"] = len(names)
    return census


async def _with_pool(
    census: Census, servers: Sequence[McpServer], upstreams: Sequence[Upstream], seconds: float, seed: int
) -> None:
    async with open_pool(SETTINGS, name="soak") as pool:
        soaked = Soaked(pool, upstreams, census, seed, anyio.Event())
        await _live(soaked, servers, seconds)
        await bring_back(servers)
        resting = time.monotonic()
        await _rest(soaked)
        leaving = time.monotonic()
        census.times["until it was at rest"] = leaving - resting
    took = census.times["until the pool was left"] = time.monotonic() - leaving
    census.check(took <= 2 * SETTINGS.close_timeout + 1, f"leaving the pool took {took:.1f} s")
    stats = census.stats = pool.stats()
    census.check_stats(stats, "once it is closed")
    census.check(stats.permits is not None and not stats.permits.given, f"permits are not home: {stats.permits}")
    census.check(not stats.sessions(), f"sessions are left: {stats}")
    census.check(not stats.waiting, f"callers still wait: {stats}")


async def _live(soaked: Soaked, servers: Sequence[McpServer], seconds: float) -> None:
    stateful = soaked.upstreams[:3]
    guests: list[Guest] = [User(soaked, f"user-{number}") for number in range(USERS)]
    guests += [
        Conversation(soaked, f"conversation-{number}", stateful[number % 3], is_fleeting=number >= CONVERSATIONS // 2)
        for number in range(CONVERSATIONS)
    ]
    started = time.monotonic()
    async with anyio.create_task_group() as tasks:
        for guest in guests:
            tasks.start_soon(guest.run)
        for number in range(2):
            tasks.start_soon(trouble_servers, soaked, servers, number)
        tasks.start_soon(operate, soaked)
        tasks.start_soon(listen, soaked)
        while (at := time.monotonic() - started) < seconds:
            gc.collect()
            soaked.census.memory.append((at, resident()))
            await anyio.sleep(min(BETWEEN_SAMPLES, seconds - at))
        soaked.is_over.set()
        tasks.cancel_scope.deadline = anyio.current_time() + PATIENCE + 5
    soaked.census.times["until all users had ended"] = time.monotonic() - started - seconds
    home = soaked.census.done["users home"]
    soaked.census.check(home == len(guests), f"{len(guests) - home} users never came home")


async def _rest(soaked: Soaked) -> None:
    """Once servers and users are well the pool serves everybody, and comes to rest with every permit in its place."""
    pool, census = soaked.pool, soaked.census
    pool.reset_breakers()
    gc.collect()
    for upstream in soaked.upstreams:
        for _ in range(3):  # sessions may be found broken
            with census.errors_told("a call at the end"):
                async with pool.session(upstream, headers={OWNER: ""}) as session:
                    await session.call_tool("echo", {"text": "well"})
                census.done["servers well"] += 1
                break
    census.check(census.done["servers well"] == len(soaked.upstreams), "a server that was well again was not served")
    with anyio.move_on_after(RESTING):
        while not _is_at_rest(pool):  # noqa: ASYNC110 - nobody tells when that is so
            await anyio.sleep(0.05)
    census.check(_is_at_rest(pool), f"the pool did not come to rest: {pool.stats()}, {pool.stats().permits}")


def _is_at_rest(pool: Pool) -> bool:
    """Whether nobody waits, nothing is lent or reserved, and there are as many permits given as sessions."""
    stats = pool.stats()
    reserved = sum(key.counts.reserved for key in stats.keys)
    leases = sum(key.counts.leases for key in stats.keys)
    is_quiet = not (stats.waiting or reserved or leases)
    return (
        is_quiet and stats.permits is not None and (stats.permits.given, stats.permits.queued) == (stats.sessions(), 0)
    )
