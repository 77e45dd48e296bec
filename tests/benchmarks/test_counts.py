"""What the targets count rather than time: it does not depend on the machine."""

from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from actors import PoolSettings, Upstream, open_pool
from benchmarks.call import Side, bare, extra_steps, pooled
from benchmarks.fake import UPSTREAM, fake_connector
from benchmarks.server import running_server
from benchmarks.steps import counted_steps
from protocol.settings import Mode

pytestmark = pytest.mark.backends("trio")


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with running_server() as address:
        yield address


@asynccontextmanager
async def both_sides(url: str, mode: Mode) -> AsyncGenerator[tuple[Side, Side]]:
    """A bare session and a pool, each of which has made a call."""
    upstream, settings = Upstream(url, mode), PoolSettings(max_size=1)
    async with bare(upstream, settings) as alone, pooled(upstream, settings) as through_pool:
        await alone.call()
        await through_pool.call()
        yield alone, through_pool


async def test_steps_are_counted_one_by_one() -> None:
    await trio.testing.wait_all_tasks_blocked()  # what the run itself starts with is over
    with counted_steps() as counter:
        for _ in range(3):
            await trio.lowlevel.checkpoint()
    await trio.lowlevel.checkpoint()
    assert counter.steps == 3


async def test_a_hit_switches_no_tasks() -> None:
    async with open_pool(connector=fake_connector) as pool:
        (await pool.acquire(UPSTREAM)).release()
        await trio.testing.wait_all_tasks_blocked()
        with counted_steps() as counter:
            (await pool.acquire(UPSTREAM)).release()
            async with pool.session(UPSTREAM):
                pass
            assert counter.steps == 0
        assert pool.stats().hits == 2


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_pooled_call_switches_at_most_two_tasks_more_than_a_bare_one(url: str, mode: Mode) -> None:
    async with both_sides(url, mode) as (alone, through_pool):
        assert await extra_steps(alone, through_pool, calls=25) <= 2


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_pooled_call_sends_the_same_http_requests_as_a_bare_one(url: str, mode: Mode) -> None:
    async with both_sides(url, mode) as (alone, through_pool):
        before = alone.requests(), through_pool.requests()
        for _ in range(5):
            await alone.call()
            await through_pool.call()
        assert through_pool.requests() - before[1] == alone.requests() - before[0] == 5
