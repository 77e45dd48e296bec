"""Leases that nobody gives back: dropped, lost with their task, or held for very long. On both event loops."""
# pyright: reportPrivateUsage=false

import gc
import logging
import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager
from threading import Thread

import anyio
import pytest

from actors import Actor, Lease, Pool, PoolSettings, open_pool
from protocol.pool_events import LeaseHeldLong, Retirement
from protocol.session import SessionState
from tests.actors.fakes import ECHO, FakeServer, bookkeeping, client_of, settled

pytestmark = pytest.mark.virtual_time


@contextmanager
def warned() -> Generator[list[str]]:
    """What is warned of within. Everything else that was dropped before is collected first."""
    gc.collect()
    told: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            yield told
            gc.collect()
        finally:
            told += [str(warning.message) for warning in caught if warning.category is ResourceWarning]


class Careless(Actor[Callable[[], None]]):
    """Does in its turn what it is told to."""

    def receive(self, message: Callable[[], None]) -> None:
        message()


async def home(pool: Pool, server: FakeServer) -> None:
    """Check that one session was given up for a lost lease, and that its permit can be had again."""
    await settled()
    stats = pool.stats()
    assert stats.tally.leases_abandoned == 1
    assert stats.tally.retired[Retirement.ABANDONED_LEASE] == 1
    assert (server.live, bookkeeping(pool)["permits"]) == (0, 0)
    async with pool.session(ECHO, timeout=1) as session:
        assert client_of(session) is server.clients[1]


@pytest.mark.holds("L5")
async def test_a_dropped_lease_comes_home_with_a_warning_that_names_the_line() -> None:
    server = FakeServer()
    async with open_pool(PoolSettings(max_sessions=1), connector=server) as pool:
        with warned() as told:
            lease: Lease | None = await pool.acquire(ECHO)
            line = test_a_dropped_lease_comes_home_with_a_warning_that_names_the_line.__code__.co_firstlineno + 5
            assert lease is not None
            lease = None
        assert len(told) == 1
        assert told[0].startswith("a lease of a session with http://127.0.0.1:1/mcp was never released: acquired at ")
        assert f"{__file__}:{line}, in test_a_dropped_lease" in told[0]
        await home(pool, server)


@pytest.mark.holds("L5", "R6")
async def test_a_lease_that_is_dropped_in_another_thread_comes_home() -> None:
    server = FakeServer()
    async with open_pool(PoolSettings(max_sessions=1), connector=server) as pool:
        with warned() as told:
            kept = [await pool.acquire(ECHO)]
            thread = Thread(target=kept.clear)
            thread.start()
            thread.join()
        assert len(told) == 1
        await home(pool, server)


@pytest.mark.holds("L5", "R6")
async def test_a_lease_that_is_dropped_in_the_middle_of_a_turn_comes_home_after_it() -> None:
    server = FakeServer()
    async with open_pool(PoolSettings(max_sessions=1), connector=server) as pool:
        with warned() as told:
            kept = [await pool.acquire(ECHO)]
            seen: list[int] = []

            def drop() -> None:
                kept.clear()
                gc.collect()
                seen.append(pool.stats().tally.leases_abandoned)

            pool._system.spawn(Careless()).tell(drop)
            await settled()
        assert (seen, len(told)) == ([0], 1)
        await settled()
        assert pool.stats().tally.leases_abandoned == 1
        assert server.live == 0


@pytest.mark.holds("L5", "L2")
async def test_a_lease_lost_with_the_cancelled_task_that_held_it_comes_home() -> None:
    server = FakeServer()
    async with open_pool(PoolSettings(max_sessions=1), connector=server) as pool:
        with warned() as told:

            async def forget() -> None:
                lease = await pool.acquire(ECHO)
                await anyio.sleep_forever()
                lease.release()

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(forget)
                await settled()
                tasks.cancel_scope.cancel()
        assert len(told) == 1
        assert "in forget" in told[0]
        await home(pool, server)


@pytest.mark.holds("L3", "L5")
async def test_the_waiter_behind_a_lost_lease_gets_a_session() -> None:
    server = FakeServer()
    async with open_pool(PoolSettings(max_size=1), connector=server) as pool, anyio.create_task_group() as tasks:
        with warned() as told:
            kept = [await pool.acquire(ECHO)]
            got: list[Lease] = []

            async def wait() -> None:
                got.append(await pool.acquire(ECHO))

            tasks.start_soon(wait)
            await settled()
            kept.clear()
        await settled()
        assert (len(told), len(got)) == (1, 1)
        assert client_of(got[0]) is server.clients[1]
        got[0].release()


@pytest.mark.holds("L4")
async def test_a_lease_with_calls_under_way_keeps_them_and_its_session() -> None:
    server = FakeServer()
    async with open_pool(connector=server) as pool, anyio.create_task_group() as tasks:
        with warned() as told:
            kept = [await pool.acquire(ECHO)]
            tasks.start_soon(kept[0].call_tool, "wait")
            await settled()
            kept.clear()
            gc.collect()
            assert pool.stats().sessions(SessionState.LEASED) == 1, "the call holds the lease"
            server.answers.set()
            await settled()
        assert (len(told), server.calls_ended) == (1, 1)
        await settled()
        assert server.live == 0


async def test_a_lease_that_is_dropped_after_its_pool_was_closed_says_nothing() -> None:
    with warned() as told:
        async with open_pool(connector=FakeServer()) as pool:
            kept = [await pool.acquire(ECHO) for _ in range(3)]
            await pool.close()
            kept.pop()
        kept.pop()
    with warned() as told_later:
        kept.clear()
    assert (told, told_later) == ([], [])


@pytest.mark.parametrize("who_ends", ["supervisor", "session"])
async def test_a_lease_whose_session_has_ended_under_it_says_nothing(who_ends: str) -> None:
    server = FakeServer()
    async with open_pool(connector=server) as pool:
        with warned() as told:
            kept = [await pool.acquire(ECHO)]
            supervisor = next(iter(pool._registry_actor._living))
            (supervisor if who_ends == "supervisor" else supervisor._sessions[0]).ref.stop()
            await settled()
            assert server.live == 0
            kept.clear()
        await settled()
        assert pool.stats().tally.leases_abandoned == 0
        assert told == []


async def test_a_lease_that_is_held_for_long_is_logged_once_with_its_line(caplog: pytest.LogCaptureFixture) -> None:
    async with open_pool(PoolSettings(warn_after=10), connector=FakeServer()) as pool:
        events = pool.events()
        with caplog.at_level(logging.WARNING, "actors.key_events"):
            lease = await pool.acquire(ECHO, user="ada")
            line = test_a_lease_that_is_held_for_long_is_logged_once_with_its_line.__code__.co_firstlineno + 4
            for _ in range(4):
                async with pool.session(ECHO, user="ada"):  # these are not
                    await anyio.sleep(9)
            lease.release()
        said = [record.getMessage() for record in caplog.records]
        assert len(said) == 1
        assert "has been held for 10.0 s: it was acquired at" in said[0]
        assert f"{__file__}:{line}, in test_a_lease_that_is_held" in said[0]
        assert pool.stats().tally.leases_held_long == 1
    told = [event async for event in events if isinstance(event, LeaseHeldLong)]
    assert [(event.session, event.lease) for event in told] == [(1, 1)]


@pytest.mark.holds("L4")
async def test_a_released_lease_whose_calls_go_on_is_not_called_held(caplog: pytest.LogCaptureFixture) -> None:
    server = FakeServer()
    settings = PoolSettings(warn_after=1, settle_timeout=20)
    async with open_pool(settings, connector=server) as pool, anyio.create_task_group() as tasks:
        lease = await pool.acquire(ECHO, user="ada")
        tasks.start_soon(lease.call_tool, "wait")
        await settled()
        lease.release()
        await anyio.sleep(10)
        assert pool.stats().sessions(SessionState.LEASED) == 1, "and its supervisor is well"
        server.answers.set()
        await settled()
        assert pool.stats().sessions(SessionState.IDLE) == 1
        assert (pool.stats().tally.leases_held_long, caplog.records) == (0, [])
