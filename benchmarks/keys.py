"""What many keys do to a hit (T2): acquire and release as in `benchmarks.hit`, among 10,000 and 100,000 keys.

Each key is a user's, and has one idle session with no server behind it. They are visited in a scattered order, so that
neither the caches of the processor nor the order of the pool's own tables help more than they do in a gateway. What is
compared is a pool with one key, asked in the same way and in turn. Beside it the model of the predecessor, on asyncio
and among 10,000 keys, as the original was measured.
"""

import itertools
import random
import statistics
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import partial

import anyio

from actors import open_pool
from benchmarks.fake import MANY, PATIENT, UPSTREAM, open_keys
from benchmarks.figure import Figure, Options
from benchmarks.predecessor import OpenStream, PredecessorPool
from benchmarks.rounds import Samples, Side, alternate, median_ratio, timed, without_collector


def measure(options: Options) -> list[Figure]:
    """The figures of T2."""
    few, many, rounds, pairs = (100, 1_000, 3, 100) if options.quick else (10_000, 100_000, 21, 5_000)
    figures: list[Figure] = []
    for backend in options.backends:
        samples = anyio.run(partial(_samples, few, many, rounds, pairs, backend), backend=backend)
        figures.append(_median("pool", 1, samples, backend))
        figures += [_ratio("pool", keys, samples, backend, at_most=1.5) for keys in (few, many)]
        if backend == "asyncio":
            figures += [
                _median("predecessor (modelled)", 1, samples, backend),
                _ratio("predecessor (modelled)", few, samples, backend),
            ]
    return figures


def _median(who: str, keys: int, samples: Samples, backend: str) -> Figure:
    value = statistics.median(samples[f"{who}, {keys}"])
    return Figure(target="T2", what=f"{who}, {_keys(keys)}, {backend}", value=value, unit="µs")


def _ratio(who: str, keys: int, samples: Samples, backend: str, *, at_most: float | None = None) -> Figure:
    ratio, interval = median_ratio(samples[f"{who}, {keys}"], samples[f"{who}, 1"])
    what = f"{who}, {_keys(keys)} / 1 key, {backend}"
    return Figure(target="T2", what=what, value=ratio, interval=interval, at_most=at_most)


def _keys(number: int) -> str:
    return "1 key" if number == 1 else f"{number:,} keys"


async def _samples(few: int, many: int, rounds: int, pairs: int, backend: str) -> Samples:
    async with AsyncExitStack() as stack:
        sides = {f"pool, {keys}": await stack.enter_async_context(_pool(keys, pairs)) for keys in (1, few, many)}
        if backend == "asyncio":
            for keys in (1, few):
                side = await stack.enter_async_context(_predecessor(keys, pairs))
                sides[f"predecessor (modelled), {keys}"] = side
        await alternate(sides, rounds=1)
        return await alternate(sides, rounds=rounds)


def _users(keys: Iterable[int]) -> list[str]:
    return [f"user-{key}" for key in keys]


def _scattered(keys: int, pairs: int, hit: Callable[[list[str]], Awaitable[None]]) -> Side:
    """Microseconds of a hit, on so many of these keys.

    The names of the users are made anew before each round, as they come anew with each request.
    """
    order = list(range(keys))
    random.Random(0).shuffle(order)
    visited = itertools.cycle(order)

    async def side() -> float:
        users = _users(itertools.islice(visited, pairs))
        return await timed(lambda _: hit(users), pairs)()

    return side


@asynccontextmanager
async def _pool(keys: int, pairs: int) -> AsyncGenerator[Side]:
    """A pool with so many keys, as a side of the benchmark."""
    settings = replace(PATIENT, max_keys=keys, max_sessions=keys)
    async with open_pool(settings, connector=MANY) as pool:
        with without_collector():
            await open_keys(pool, _users(range(keys)))

        async def hit(users: list[str]) -> None:
            for user in users:
                lease = await pool.acquire(UPSTREAM, user=user)
                lease.release()

        yield _scattered(keys, pairs, hit)
        stats = pool.stats()
        assert stats.misses == stats.opened == keys, "each key was missed once, and hit ever after"


@asynccontextmanager
async def _predecessor(keys: int, pairs: int) -> AsyncGenerator[Side]:
    async with PredecessorPool(OpenStream) as pool:
        with without_collector():
            for user in _users(range(keys)):
                await pool.release(await pool.acquire(UPSTREAM.url, user=user))

        async def hit(users: list[str]) -> None:
            for user in users:
                pooled = await pool.acquire(UPSTREAM.url, user=user)
                await pool.release(pooled)

        yield _scattered(keys, pairs, hit)
        assert pool.misses == keys, "each key was missed once, and hit ever after"
