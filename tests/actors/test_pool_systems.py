"""The actor system that a pool lives in: its own, with a clock of the test's, or one that it shares."""

import anyio
import pytest

from actors import PoolSettings, open_pool, open_system
from actors.testing import FakeUpstream, ManualClock
from protocol.errors import AcquireTimeout, PoolClosed
from tests.actors.fakes import ECHO, FakeServer


async def test_a_pool_goes_by_the_clock_of_the_system_that_it_is_given() -> None:
    clock, server = ManualClock(), FakeServer()
    settings = PoolSettings(max_size=1, max_idle=60, health_interval=None)
    async with open_pool(settings, connector=server, system=open_system(clock=clock)) as pool:
        lease = await pool.acquire(ECHO)
        async with anyio.create_task_group() as tasks:

            async def wait_in_vain() -> None:
                with pytest.raises(AcquireTimeout):
                    await pool.acquire(ECHO, timeout=20)

            tasks.start_soon(wait_in_vain)
            await clock.advance(19)
            assert pool.stats().waiting == 1
            await clock.advance(1)
        lease.release()
        await clock.advance(61)
        assert server.live == 0


async def test_the_timeouts_of_opening_do_not_mix_the_clocks() -> None:
    for start in (-1e6, 1e12):
        clock, server = ManualClock(start), FakeServer()
        async with open_pool(connector=server, system=open_system(clock=clock)) as pool:
            (await pool.acquire(ECHO)).release()
            assert pool.stats().opened == 1
        assert server.closed_in_order == 1


@pytest.mark.holds("R4")
async def test_a_pool_in_a_system_that_is_open_leaves_it_open_and_nothing_in_it() -> None:
    server = FakeServer()
    async with open_system("worker") as system:
        for _ in range(2):
            async with open_pool(connector=server, system=system, name="sessions") as pool:
                (await pool.acquire(ECHO)).release()
                assert system.find("sessions") is not None
            with pytest.raises(PoolClosed, match="the pool sessions is closed"):
                await pool.acquire(ECHO)
            assert system.find("sessions") is None
        assert server.live == 0
        assert not system.tree()


@pytest.mark.holds("L5")
async def test_a_key_that_waited_for_its_place_goes_by_the_settings_of_when_it_got_it() -> None:
    server = FakeUpstream(opening=(0.1, 0.1), calling=(0, 0), closing=(0.5, 0.5))
    async with open_pool(PoolSettings(max_keys=1, max_size=2), connector=server) as pool:
        (await pool.acquire(server.upstream, user="ada")).release()
        async with anyio.create_task_group() as tasks:

            async def borrow() -> None:
                async with pool.session(server.upstream, user="bob"):
                    await anyio.sleep(0.2)

            tasks.start_soon(borrow)  # waits until ada's key has ended, which takes a while
            tasks.start_soon(borrow)
            await anyio.sleep(0.1)
            pool.resize(max_size=1)
        assert pool.stats().opened == 2
