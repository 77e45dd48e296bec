"""A caller that is cancelled, at each point of an acquire, on both event loops, leaves nothing behind.

Each test ends with the same check: the one permit is home, nobody waits, and the next caller is served.
"""

import asyncio
import random

import anyio
import anyio.lowlevel
import pytest

from actors import Lease, Pool, PoolSettings, open_pool
from protocol.session import SessionState
from tests.actors.fakes import ECHO, FakeServer

pytestmark = pytest.mark.holds("L2", "L5", "S5")


def one_session(server: FakeServer) -> Pool:
    return open_pool(PoolSettings(max_size=1), connector=server)


async def nothing_is_left(pool: Pool, server: FakeServer) -> None:
    await anyio.wait_all_tasks_blocked()
    stats = pool.stats()
    assert stats.waiting == 0
    assert stats.sessions(SessionState.LEASED, SessionState.LEASED, SessionState.RETIRING) == 0
    with anyio.fail_after(1):
        async with pool.session(ECHO) as session:
            await session.call_tool("echo")
    assert server.live == 1


async def acquire_when_cancelled(pool: Pool) -> anyio.CancelScope:
    """Acquire in a task that its cancellation has reached already, as a careless `finally` does."""
    with anyio.CancelScope() as scope:
        scope.cancel()
        try:
            await anyio.lowlevel.checkpoint()
        finally:
            await pool.acquire(ECHO)
    return scope


async def test_cancelled_before_it_asks() -> None:
    server = FakeServer()
    async with one_session(server) as pool:
        scope = await acquire_when_cancelled(pool)
        assert scope.cancelled_caught
        assert server.attempts == 0
        await nothing_is_left(pool, server)


async def test_cancelled_before_a_hit() -> None:
    server = FakeServer()
    async with one_session(server) as pool:
        (await pool.acquire(ECHO)).release()
        scope = await acquire_when_cancelled(pool)
        assert scope.cancelled_caught
        assert pool.stats().hits == 0
        await nothing_is_left(pool, server)


async def test_cancelled_while_its_session_is_being_opened() -> None:
    server = FakeServer()
    server.hold_openings()
    async with one_session(server) as pool:
        with anyio.move_on_after(0.01) as scope:
            await pool.acquire(ECHO)
        assert scope.cancelled_caught
        server.opens.set()
        await nothing_is_left(pool, server)


async def test_cancelled_while_it_waits_for_a_session_of_somebody_else() -> None:
    server = FakeServer()
    async with one_session(server) as pool:
        lease = await pool.acquire(ECHO)
        with anyio.move_on_after(0.01) as scope:
            await pool.acquire(ECHO)
        assert scope.cancelled_caught
        lease.release()
        await nothing_is_left(pool, server)


async def test_cancelled_while_it_waits_costs_the_other_waiters_nothing() -> None:
    server = FakeServer()
    async with one_session(server) as pool:
        lease = await pool.acquire(ECHO)
        served: list[int] = []
        scopes = [anyio.CancelScope() for _ in range(4)]

        async def wait(number: int) -> None:
            with scopes[number]:
                async with pool.session(ECHO):
                    served.append(number)

        async with anyio.create_task_group() as tasks:
            for number in range(4):
                tasks.start_soon(wait, number)
                await anyio.wait_all_tasks_blocked()
            scopes[0].cancel()
            scopes[2].cancel()
            await anyio.wait_all_tasks_blocked()
            lease.release()
        assert served == [1, 3]
        await nothing_is_left(pool, server)


async def test_cancelled_with_its_slot_already_filled() -> None:
    server = FakeServer()
    async with one_session(server) as pool:
        lease = await pool.acquire(ECHO)
        taken: list[Lease] = []

        async def wait(scope: anyio.CancelScope) -> None:
            with scope:
                taken.append(await pool.acquire(ECHO))

        async with anyio.create_task_group() as tasks:
            scope = anyio.CancelScope()
            tasks.start_soon(wait, scope)
            await anyio.wait_all_tasks_blocked()
            lease.release()
            assert pool.stats().sessions(SessionState.LEASED) == 1, "the waiter's slot is filled"
            scope.cancel()
        for granted in taken:
            granted.release()
        await nothing_is_left(pool, server)


async def test_cancelled_with_its_slot_already_filled_while_another_waits() -> None:
    server = FakeServer()
    async with one_session(server) as pool:
        lease = await pool.acquire(ECHO)
        served: list[str] = []

        async def wait(name: str, scope: anyio.CancelScope) -> None:
            with scope:
                async with pool.session(ECHO):
                    served.append(name)

        async with anyio.create_task_group() as tasks:
            first, second = anyio.CancelScope(), anyio.CancelScope()
            tasks.start_soon(wait, "first", first)
            await anyio.wait_all_tasks_blocked()
            tasks.start_soon(wait, "second", second)
            await anyio.wait_all_tasks_blocked()
            lease.release()
            first.cancel()
        assert served[-1] == "second", "what the first did not live to take goes to the next"
        await nothing_is_left(pool, server)


@pytest.mark.backends("asyncio")
async def test_cancelled_by_asyncio_itself_with_its_slot_already_filled() -> None:
    server = FakeServer()
    async with one_session(server) as pool:
        lease = await pool.acquire(ECHO)
        task = asyncio.create_task(pool.acquire(ECHO))
        await anyio.wait_all_tasks_blocked()
        lease.release()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await nothing_is_left(pool, server)


async def test_cancelled_during_a_call_the_lease_comes_home() -> None:
    server = FakeServer()
    async with one_session(server) as pool:
        with anyio.move_on_after(0.01) as scope:
            async with pool.session(ECHO) as session:
                await session.call_tool("wait")
        assert scope.cancelled_caught
        await nothing_is_left(pool, server)


@pytest.mark.parametrize("seed", range(20))
async def test_cancelled_at_any_moment_of_many(seed: int) -> None:
    chance = random.Random(seed)
    server = FakeServer()
    async with open_pool(PoolSettings(max_size=3), connector=server) as pool:
        holders = 0

        async def borrow(delay: float, patience: float) -> None:
            nonlocal holders
            await anyio.sleep(delay)
            with anyio.move_on_after(patience):
                async with pool.session(ECHO) as session:
                    holders += 1
                    try:
                        assert holders <= 3
                        await session.call_tool("echo")
                        await anyio.sleep(0.002)
                    finally:
                        holders -= 1

        async with anyio.create_task_group() as tasks:
            for _ in range(40):
                tasks.start_soon(borrow, chance.uniform(0, 0.01), chance.uniform(0, 0.01))
        await anyio.wait_all_tasks_blocked()
        stats = pool.stats()
        assert stats.waiting == 0
        assert stats.sessions() == stats.sessions(SessionState.IDLE) == server.live <= 3
