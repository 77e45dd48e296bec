"""What a pool tells of itself: the story of its sessions as events, and figures that add up. On both event loops."""

from functools import partial
from typing import Any

import anyio
import pytest

from actors import Lease, Pool, PoolSettings, open_pool
from actors.events import EventStream
from actors.statistics import Permits, PoolStats
from protocol.errors import ConnectFailed
from protocol.health import ProbeResult
from protocol.pool_events import (
    KeyAdded,
    KeyEvicted,
    KeyEviction,
    Leased,
    OpeningFailed,
    PoolEvent,
    Released,
    Retirement,
    SessionCreated,
    SessionEnded,
    SessionRetired,
)
from protocol.session import SessionState
from tests.actors.fakes import ECHO, FakeServer, settled

pytestmark = pytest.mark.virtual_time

NAME = "http://127.0.0.1:1/mcp, user 'ada', anonymous"


def quiet(**settings: Any) -> PoolSettings:
    """Settings of a pool that does nothing by itself but what the test is about."""
    still: dict[str, Any] = {"health_interval": None, "max_lifetime": None, "max_idle": None}
    return PoolSettings(**{**still, **settings})


async def read(events: EventStream) -> list[PoolEvent]:
    """What has happened until now."""
    told: list[PoolEvent] = []
    with anyio.move_on_after(0.01):
        async for event in events:
            told.append(event)  # noqa: PERF401 - what was read before time is up counts
    return told


async def use(pool: Pool, seconds: float = 0.0, **terms: Any) -> None:
    who: dict[str, Any] = {"user": "ada", **terms}
    async with pool.session(ECHO, **who) as session:
        await session.call_tool("echo")
        await anyio.sleep(seconds)


async def test_the_whole_story_of_a_session_is_told_in_order() -> None:
    server = FakeServer()
    server.takes = 0.5
    async with open_pool(quiet(max_idle=10, key_idle=5), connector=server) as pool:
        events = pool.events()
        await use(pool, seconds=2)
        await use(pool, seconds=3)
        await anyio.sleep(30)
        told = await read(events)
    assert [type(event) for event in told] == [
        KeyAdded,
        SessionCreated,
        Leased,
        Released,
        Leased,
        Released,
        SessionRetired,
        SessionEnded,
        KeyEvicted,
    ]
    assert {event.key for event in told if hasattr(event, "key")} == {NAME}  # type: ignore[union-attr]
    start = told[0].at
    assert [round(event.at - start, 1) for event in told] == [0.0, 0.5, 0.5, 2.5, 2.5, 5.5, 15.5, 16.0, 21.0]
    assert told[1] == SessionCreated(NAME, 1, 0.5, told[1].at)
    assert told[2] == Leased(NAME, 1, 1, 0.5, told[2].at)
    assert told[3] == Released(NAME, 1, 1, 2.0, told[3].at)
    assert told[4] == Leased(NAME, 1, 2, 0.0, told[4].at)
    assert told[6] == SessionRetired(NAME, 1, Retirement.IDLE, told[6].at)
    assert told[7] == SessionEnded(NAME, 1, 2, told[7].at)
    assert told[8] == KeyEvicted(NAME, KeyEviction.IDLE, told[8].at)


async def test_sessions_that_could_not_be_opened_are_told_with_their_step_and_status_and_no_text() -> None:
    server = FakeServer()
    server.fails = ConnectFailed("refused with s3cret", step="initialize", status=503)
    async with open_pool(quiet(), connector=server) as pool:
        events = pool.events()
        with pytest.raises(ConnectFailed):
            await use(pool)
        failed = [event for event in await read(events) if isinstance(event, OpeningFailed)]
    assert failed == [OpeningFailed(NAME, 1, "ConnectFailed", "initialize", 503, failed[0].at)]


async def test_a_session_that_the_pool_closed_while_it_was_being_opened_is_not_told_as_one_that_failed() -> None:
    server = FakeServer()
    server.hold_openings()
    async with open_pool(quiet(), connector=server) as pool, anyio.create_task_group() as tasks:
        events = pool.events()
        tasks.start_soon(partial(use, pool))
        await settled()
        pool.drain()
        await settled()
        server.opens.set()
        await settled()
        told = [type(event) for event in await read(events)]
        assert told[:2] == [KeyAdded, SessionRetired]
        assert OpeningFailed not in told


@pytest.mark.parametrize("reason", [Retirement.DRAINED, Retirement.UNHEALTHY, Retirement.EVICTED, Retirement.CLOSED])
async def test_why_a_session_ended_is_told_and_counted(reason: Retirement) -> None:
    server = FakeServer()
    settings = quiet(health_interval=1, health_probes=("ping",), max_sessions=1)
    async with open_pool(settings, connector=server) as pool:
        events = pool.events()
        await use(pool)
        match reason:
            case Retirement.DRAINED:
                pool.drain()
            case Retirement.UNHEALTHY:
                server.health[0] = ProbeResult.DEAD
                await anyio.sleep(2)
            case Retirement.EVICTED:
                await use(pool, user="bob")
            case _:
                await pool.close()
        await settled()
        told = await read(events)
        assert [event.reason for event in told if isinstance(event, SessionRetired)] == [reason]
        assert [event.session for event in told if isinstance(event, SessionEnded)] == [1]
        assert pool.stats().tally.retired == {**dict.fromkeys(Retirement, 0), reason: 1}


async def test_figures_add_up_after_keys_were_forgotten() -> None:
    server = FakeServer()
    async with open_pool(quiet(max_idle=5, key_idle=5, max_keys=7), connector=server) as pool:
        for number in range(20):
            for _ in range(3):
                await use(pool, user=f"u{number}")
            connection: Any = server.connections[number]
            connection.guard.requests = 4
        before = pool.stats()
        await anyio.sleep(20)
        after = pool.stats()
        assert (len(before.keys), len(after.keys)) == (7, 0)
        for stats in (before, after):
            assert (stats.hits, stats.misses, stats.opened, stats.uses) == (40, 20, 20, 60)
            assert (stats.http_requests, stats.hit_rate) == (80, pytest.approx(2 / 3))
        assert after.keys_evicted == 20
        assert after.tally.keys_evicted[KeyEviction.ROOM] == 13
        assert after.tally.session_uses.count == 20
        assert after.tally.session_uses.sum == 60
        assert sum(after.tally.retired.values()) == 20
        assert after.permits == Permits(0, 10_000, 0)


async def test_waits_and_connects_are_those_of_whoever_waited_and_of_what_was_opened() -> None:
    server = FakeServer()
    server.takes = 0.2
    async with open_pool(quiet(max_size=1), connector=server) as pool, anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(lambda: use(pool, seconds=1))
        await anyio.sleep(10)
        await use(pool)
        tally = pool.stats().tally
        assert tally.connects.count == 1
        assert tally.connects.sum == pytest.approx(0.2)
        assert tally.waits.count == 3, "a hit is no wait"
        assert tally.waits.sum == pytest.approx(0.2 + 1.2 + 2.2, abs=0.05)


@pytest.mark.holds("L5")
async def test_permits_are_those_being_opened_open_and_being_closed() -> None:
    server = FakeServer()

    def seen(stats: PoolStats) -> tuple[int, int, int]:
        assert stats.permits is not None
        return stats.permits.given, stats.permits.queued, stats.sessions()

    async with open_pool(quiet(max_sessions=2, max_size=2), connector=server) as pool:
        server.hold_openings()
        leases: list[Lease] = []

        async def borrow(user: str) -> None:
            leases.append(await pool.acquire(ECHO, user=user))

        async with anyio.create_task_group() as tasks:
            for user in ("ada", "bob", "cy", "dee"):
                tasks.start_soon(borrow, user)
            await settled()
            assert seen(pool.stats()) == (2, 2, 2)
            server.opens.set()
            await settled()
            assert seen(pool.stats()) == (2, 2, 2)
            server.hold_closings()
            leases.pop().release()
            await settled()
            assert seen(pool.stats()) == (2, 2, 2)
            assert pool.stats().sessions(SessionState.CLOSING) == 1
            server.closes.set()
            await settled()
            assert seen(pool.stats()) == (2, 1, 2)
            leases.pop().release()
        for lease in leases:
            lease.release()
    assert seen(pool.stats()) == (0, 0, 0)


async def test_the_ages_of_leases_are_those_that_are_held() -> None:
    async with open_pool(quiet(), connector=FakeServer()) as pool:
        old = await pool.acquire(ECHO)
        await anyio.sleep(30)
        young = await pool.acquire(ECHO)
        await anyio.sleep(3)
        stats = pool.stats()
        assert (stats.leases.count, stats.leases.sum) == (2, pytest.approx(36))
        assert stats.longest_lease == pytest.approx(33)
        old.release()
        young.release()
        assert (pool.stats().leases.count, pool.stats().longest_lease) == (0, 0.0)
