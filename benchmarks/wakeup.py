"""How soon a waiter runs (T5): two tasks, one session; from its release until the one who waits for it has it.

The floor is a task switch: from the setting of an event until the one who waits for it runs. On either side the task
that wakes the other has nothing more to do.
"""

import statistics
import time
from collections.abc import Awaitable, Callable
from functools import partial

import anyio
import anyio.lowlevel

from actors import PoolSettings, open_pool
from benchmarks.fake import UPSTREAM, fake_connector
from benchmarks.figure import Figure, Options
from benchmarks.rounds import Samples, Side, alternate, median_interval, median_ratio


def measure(options: Options) -> list[Figure]:
    """The figures of T5."""
    rounds, times = (3, 20) if options.quick else (40, 100)
    figures: list[Figure] = []
    for backend in options.backends:
        samples = anyio.run(_samples, rounds, times, backend=backend)
        pool = samples["pool"]
        ratio, interval = median_ratio(pool, samples["event"])
        figures += [
            Figure(
                target="T5",
                what=f"from an event's setting to its waiter, {backend}",
                value=statistics.median(samples["event"]),
                unit="µs",
            ),
            Figure(
                target="T5",
                what=f"from a release to its waiter, {backend}",
                value=statistics.median(pool),
                unit="µs",
                interval=median_interval(pool),
                at_most=50,
            ),
            Figure(target="T5", what=f"release / event, {backend}", value=ratio, interval=interval),
        ]
    return figures


async def _samples(rounds: int, times: int) -> Samples:
    async with open_pool(PoolSettings(max_size=1), connector=fake_connector) as pool:

        async def released() -> float:
            lent = await pool.acquire(UPSTREAM)

            async def wait() -> None:
                nonlocal lent
                lent = await pool.acquire(UPSTREAM)

            took = await _handed_over(wait, lent.release)
            lent.release()
            return took

        async def set_event() -> float:
            event = anyio.Event()
            return await _handed_over(event.wait, event.set)

        async def median(once: Side) -> float:
            return statistics.median([await once() for _ in range(times)])

        sides = {"event": partial(median, set_event), "pool": partial(median, released)}
        await alternate(sides, rounds=1)
        samples = await alternate(sides, rounds=rounds)
        assert pool.stats().opened == 1
        return samples


async def _handed_over(wait: Callable[[], Awaitable[None]], wake: Callable[[], None]) -> float:
    """Microseconds from waking a task that waits until it runs."""
    waits, over = False, anyio.Event()
    began = woken = 0.0

    async def waiter() -> None:
        nonlocal waits, woken
        waits = True  # nobody else runs before it does
        await wait()
        woken = time.perf_counter()
        over.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(waiter)
        while not waits:
            await anyio.lowlevel.checkpoint()
        began = time.perf_counter()
        wake()
        await over.wait()
    return (woken - began) * 1e6
