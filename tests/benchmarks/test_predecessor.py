"""The model of the predecessor: what it is measured for is there."""

import asyncio

import pytest

from benchmarks.predecessor import OpenStream, PredecessorPool

pytestmark = pytest.mark.backends("asyncio")
URL = "http://127.0.0.1:8000/mcp"
ADA = {"Authorization": "Bearer ada"}
BOB = {"authorization": "Bearer bob"}


async def test_a_session_that_came_back_is_lent_again_to_the_same_identity_alone() -> None:
    async with PredecessorPool(OpenStream) as pool:
        first = await pool.acquire(URL, ADA, user="ada", gateway_id="g")
        await pool.release(first)
        again = await pool.acquire(URL, ADA, user="ada", gateway_id="g")
        assert again is first
        for headers, user, gateway in ((BOB, "ada", "g"), (ADA, "bob", "g"), (ADA, "ada", "h"), (None, None, None)):
            other = await pool.acquire(URL, headers, user=user, gateway_id=gateway)
            assert other is not first
            await pool.release(other)
        await pool.release(again)
        assert (pool.hits, pool.misses) == (1, 5)


async def test_a_hit_and_its_release_take_locks_six_times(monkeypatch: pytest.MonkeyPatch) -> None:
    async with PredecessorPool(OpenStream) as pool:
        await pool.release(await pool.acquire(URL))
        taken = 0
        acquire = asyncio.Lock.acquire

        async def counted(lock: asyncio.Lock) -> bool:
            nonlocal taken
            taken += 1
            return await acquire(lock)

        monkeypatch.setattr(asyncio.Lock, "acquire", counted)
        async with pool.session(URL):
            pass
        assert (pool.hits, taken) == (1, 6)


@pytest.mark.parametrize("limits", [{"time_to_live": 0.0}, {"health_check_interval": 0.0}])
async def test_what_is_too_old_or_was_idle_for_too_long_is_not_lent(limits: dict[str, float]) -> None:
    async with PredecessorPool(OpenStream, **limits) as pool:  # pyright: ignore[reportArgumentType]
        await pool.release(await pool.acquire(URL))
        async with pool.session(URL):
            assert (pool.hits, pool.misses) == (0, 2)


async def test_a_session_whose_stream_is_closed_is_not_lent() -> None:
    async with PredecessorPool(OpenStream) as pool:
        async with pool.session(URL) as pooled:
            pooled.session.close()
        async with pool.session(URL):
            assert (pool.hits, pool.misses) == (0, 2)
