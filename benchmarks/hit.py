"""What a hit costs (T1): acquire and release of a session that is idle, with no server behind it, over one key.

Beside it the model of the predecessor (`benchmarks.predecessor`), which runs on asyncio alone, and the floor: what the
barest pool would do, two awaits with a dict and a deque. Each is measured plainly, as `async with`, and with an
authorization header, which makes an identity to be hashed.
"""

import statistics
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from itertools import repeat

import anyio

from actors import PoolSettings, open_pool
from benchmarks.fake import UPSTREAM, fake_connector
from benchmarks.figure import Figure, Options
from benchmarks.predecessor import PredecessorPool
from benchmarks.rounds import Samples, alternate, median_ratio, merge

PREDECESSOR_ELSEWHERE = 17.0
"""Microseconds that a hit on the original took, on the machine on which the targets were read."""
HEADERS = {"authorization": "Bearer 0123456789abcdef0123456789abcdef"}

Side = Callable[[], Awaitable[float]]


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
    figures += [
        Figure(
            target="T1",
            what=f"predecessor (modelled; the original's on another machine: {PREDECESSOR_ELSEWHERE:g} µs), {name}",
            value=statistics.median(merged["asyncio"][f"predecessor, {name}"]),
            unit="µs",
        )
        for name in _WAYS
    ]
    return figures


def _pooled(merged: Mapping[str, Samples], backend: str) -> list[Figure]:
    figures: list[Figure] = []
    for name in _WAYS:
        samples = merged[backend][f"pool, {name}"]
        ratio, interval = median_ratio(samples, merged["asyncio"][f"predecessor, {name}"])
        what = f"pool, {name}, {backend}"
        figures += [
            Figure(target="T1", what=what, value=statistics.median(samples), unit="µs", at_most=6),
            Figure(target="T1", what=f"{what} / predecessor", value=ratio, interval=interval, at_most=0.4),
        ]
    return figures


async def _block(backend: str, rounds: int, pairs: int, *, has_pool: bool) -> Samples:
    sides: dict[str, Side] = {"floor": _floor(pairs)}
    if backend == "asyncio":
        sides |= _predecessor(pairs)
    if not has_pool:
        return await _warmed(sides, rounds)
    async with open_pool(PoolSettings(max_size=10), connector=fake_connector) as pool:

        async def acquire(headers: Mapping[str, str] | None) -> None:
            for _ in repeat(None, pairs):
                lease = await pool.acquire(UPSTREAM, headers=headers)
                lease.release()

        async def enter() -> None:
            for _ in repeat(None, pairs):
                async with pool.session(UPSTREAM):
                    pass

        sides |= {
            "pool, acquire/release": _timed(lambda: acquire(None), pairs),
            "pool, async with": _timed(enter, pairs),
            "pool, with a header": _timed(lambda: acquire(HEADERS), pairs),
        }
        samples = await _warmed(sides, rounds)
        stats = pool.stats()
        assert stats.misses == stats.opened == 2, "each of the two keys was missed once, and hit ever after"
        return samples


_WAYS = ("acquire/release", "async with", "with a header")


async def _warmed(sides: Mapping[str, Side], rounds: int) -> Samples:
    await alternate(sides, rounds=1)
    return await alternate(sides, rounds=rounds)


def _floor(pairs: int) -> Side:
    floor = Floor()

    async def run() -> None:
        for _ in repeat(None, pairs):
            session = await floor.acquire(UPSTREAM.url)
            await floor.release(UPSTREAM.url, session)

    return _timed(run, pairs)


def _predecessor(pairs: int) -> dict[str, Side]:
    async def opened() -> object:
        return object()

    pool = PredecessorPool(opened)

    async def acquire(headers: Mapping[str, str] | None) -> None:
        for _ in repeat(None, pairs):
            await pool.release(await pool.acquire(UPSTREAM.url, headers))

    async def enter() -> None:
        for _ in repeat(None, pairs):
            async with pool.session(UPSTREAM.url):
                pass

    return {
        "predecessor, acquire/release": _timed(lambda: acquire(None), pairs),
        "predecessor, async with": _timed(enter, pairs),
        "predecessor, with a header": _timed(lambda: acquire(HEADERS), pairs),
    }


def _timed(run: Callable[[], Awaitable[None]], pairs: int) -> Side:
    """Microseconds that one of the `pairs` takes."""

    async def side() -> float:
        started = time.perf_counter()
        await run()
        return (time.perf_counter() - started) / pairs * 1e6

    return side
