"""What a hit costs (T1): acquire and release of a session that is idle, with no server behind it, over one key.

Beside it the model of the predecessor (`benchmarks.predecessor`), which runs on asyncio alone, and the floor: what the
barest pool would do, two awaits with a dict and a deque. Each is measured plainly, as `async with`, with an
authorization header, which makes an identity to be hashed, and as a gateway asks: with a user and a gateway id besides.

The original was measured on another machine; how it compared to the floor there is told beside how the model does here.
"""

import statistics
from collections import deque
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from itertools import repeat
from typing import Final, NotRequired, TypedDict

import anyio

from actors import PoolSettings, open_pool
from benchmarks.fake import UPSTREAM, fake_connector
from benchmarks.figure import Figure, Options
from benchmarks.predecessor import OpenStream, PredecessorPool
from benchmarks.rounds import Run, Samples, alternate, median_ratio, merge, timed

PREDECESSOR_ELSEWHERE = 17.0
"""Microseconds that a hit on the original took, on the machine on which the targets were read."""
FLOOR_ELSEWHERE = 0.24
"""Microseconds of the floor there."""
HEADERS = {"authorization": "Bearer 0123456789abcdef0123456789abcdef"}
PLAIN, ENTERED, IDENTIFIED, FULL = "acquire/release", "async with", "with a header", "with a header, user, gateway"
WAYS = (PLAIN, ENTERED, IDENTIFIED, FULL)


class Asked(TypedDict):
    """How a session is asked for: arguments of `acquire`."""

    headers: NotRequired[Mapping[str, str]]
    user: NotRequired[str]
    gateway_id: NotRequired[str]


ASKED: Final[dict[str, Asked]] = {
    PLAIN: {},
    IDENTIFIED: {"headers": HEADERS},
    FULL: {"headers": HEADERS, "user": "ada@example.com", "gateway_id": "gateway-1"},
}


class Floor:
    """The barest pool."""

    def __init__(self) -> None:
        self._idle: dict[str, deque[object]] = {UPSTREAM.url: deque([object()])}

    async def acquire(self, url: str) -> object:
        """Take a session."""
        return self._idle[url].pop()

    async def release(self, url: str, session: object) -> None:
        """Put it back."""
        self._idle[url].append(session)


def measure(options: Options) -> list[Figure]:
    """The figures of T1."""
    # Each backend needs a loop of its own, so they take turns in blocks, each of which has rounds of all its sides.
    blocks, rounds, pairs = (1, 3, 200) if options.quick else (5, 12, 2_000)
    parts = {backend: list[Samples]() for backend in ("asyncio", *options.backends)}
    for _ in range(blocks):
        for backend, samples in parts.items():
            block = partial(_block, backend, rounds, pairs, has_pool=backend in options.backends)
            samples.append(anyio.run(block, backend=backend))
    merged = {backend: merge(samples) for backend, samples in parts.items()}
    return [*_beside(merged), *(figure for backend in options.backends for figure in _pooled(merged, backend))]


def _beside(merged: Mapping[str, Samples]) -> list[Figure]:
    figures = [
        Figure(target="T1", what=f"floor, {backend}", value=statistics.median(samples["floor"]), unit="µs")
        for backend, samples in merged.items()
    ]
    samples, floors_elsewhere = merged["asyncio"], PREDECESSOR_ELSEWHERE / FLOOR_ELSEWHERE
    for way in WAYS:
        of_way = samples[f"predecessor, {way}"]
        floors, interval = median_ratio(of_way, samples["floor"])
        figures += [
            Figure(
                target="T1",
                what=f"predecessor (modelled; the original elsewhere: {PREDECESSOR_ELSEWHERE:g} µs), {way}",
                value=statistics.median(of_way),
                unit="µs",
            ),
            Figure(
                target="T1",
                what=f"predecessor / floor (the original elsewhere: {floors_elsewhere:.0f}), {way}",
                value=floors,
                interval=interval,
            ),
        ]
    return figures


def _pooled(merged: Mapping[str, Samples], backend: str) -> list[Figure]:
    figures: list[Figure] = []
    for way in WAYS:
        samples = merged[backend][f"pool, {way}"]
        ratio, interval = median_ratio(samples, merged["asyncio"][f"predecessor, {way}"])
        what = f"pool, {way}, {backend}"
        figures += [
            Figure(target="T1", what=what, value=statistics.median(samples), unit="µs", at_most=6),
            Figure(target="T1", what=f"{what} / predecessor", value=ratio, interval=interval, at_most=0.4),
        ]
    return figures


async def _block(backend: str, rounds: int, pairs: int, *, has_pool: bool) -> Samples:
    runs = {"floor": _floor}
    async with AsyncExitStack() as stack:
        if backend == "asyncio":
            runs |= await stack.enter_async_context(_predecessor())
        if has_pool:
            runs |= await stack.enter_async_context(_pool())
        sides = {name: timed(run, pairs) for name, run in runs.items()}
        await alternate(sides, rounds=1)
        return await alternate(sides, rounds=rounds)


async def _floor(pairs: int) -> None:
    floor = Floor()
    for _ in repeat(None, pairs):
        session = await floor.acquire(UPSTREAM.url)
        await floor.release(UPSTREAM.url, session)


@asynccontextmanager
async def _pool() -> AsyncGenerator[dict[str, Run]]:
    async with open_pool(PoolSettings(max_size=10), connector=fake_connector) as pool:

        async def acquire(asked: Asked, pairs: int) -> None:
            for _ in repeat(None, pairs):
                lease = await pool.acquire(UPSTREAM, **asked)
                lease.release()

        async def enter(pairs: int) -> None:
            for _ in repeat(None, pairs):
                async with pool.session(UPSTREAM):
                    pass

        ways = {way: partial(acquire, asked) for way, asked in ASKED.items()} | {ENTERED: enter}
        yield {f"pool, {way}": run for way, run in ways.items()}
        stats = pool.stats()
        assert stats.misses == stats.opened == len(ASKED), "each key was missed once, and hit ever after"


@asynccontextmanager
async def _predecessor() -> AsyncGenerator[dict[str, Run]]:
    async with PredecessorPool(OpenStream) as pool:

        async def acquire(asked: Asked, pairs: int) -> None:
            for _ in repeat(None, pairs):
                pooled = await pool.acquire(UPSTREAM.url, **asked)
                await pool.release(pooled)

        async def enter(pairs: int) -> None:
            for _ in repeat(None, pairs):
                async with pool.session(UPSTREAM.url):
                    pass

        ways = {way: partial(acquire, asked) for way, asked in ASKED.items()} | {ENTERED: enter}
        yield {f"predecessor, {way}": run for way, run in ways.items()}
        assert pool.misses == len(ASKED), "each key was missed once, and hit ever after"
