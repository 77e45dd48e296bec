"""Many callers for few sessions (T4): 100 tasks take 20 leases each of 5 ms, over 10 sessions.

All are to be served, and at least 0.95 times as fast as a bare semaphore of 10 lets the same tasks do the same sleeps.
"""

import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Final

import anyio

from actors import PoolSettings, open_pool
from benchmarks.fake import UPSTREAM, fake_connector
from benchmarks.figure import Figure, Options
from benchmarks.rounds import Samples, alternate, median_ratio
from protocol.errors import AcquireTimeout, PoolFull

SECONDS: Final = 0.005
"""How long a lease is held."""


@dataclass(frozen=True, slots=True)
class Crowd:
    """How many want how much of how little."""

    tasks: int
    leases: int
    sessions: int

    async def take(self, use: Callable[[], Awaitable[None]], served: list[int]) -> float:
        """Let them all, and answer with the seconds that it took; how many were served is added to `served`."""
        served.append(0)

        async def taker() -> None:
            for _ in range(self.leases):
                with suppress(AcquireTimeout, PoolFull):
                    await use()
                    served[-1] += 1

        began = time.perf_counter()
        async with anyio.create_task_group() as group:
            for _ in range(self.tasks):
                group.start_soon(taker)
        return time.perf_counter() - began


FULL: Final = Crowd(tasks=100, leases=20, sessions=10)
QUICK: Final = Crowd(tasks=20, leases=4, sessions=10)


def measure(options: Options) -> list[Figure]:
    """The figures of T4."""
    crowd, rounds = (QUICK, 2) if options.quick else (FULL, 8)
    figures: list[Figure] = []
    for backend in options.backends:
        samples, served = anyio.run(_samples, crowd, rounds, backend=backend)
        leases = crowd.tasks * crowd.leases
        of = f"{crowd.tasks} tasks, {crowd.sessions} sessions, {backend}"
        ratio, interval = median_ratio(samples["semaphore"], samples["pool"])
        figures += [
            Figure(target="T4", what=f"leases, of {leases:,}, {of}", value=min(served), at_least=leases),
            Figure(target="T4", what=f"semaphore, {of}", value=leases / min(samples["semaphore"]), unit="/s"),
            Figure(target="T4", what=f"pool, {of}", value=leases / min(samples["pool"]), unit="/s"),
            Figure(
                target="T4", what=f"throughput, pool / semaphore, {of}", value=ratio, interval=interval, at_least=0.95
            ),
        ]
    return figures


async def _samples(crowd: Crowd, rounds: int) -> tuple[Samples, list[int]]:
    """The seconds that it took, and how many leases the pool gave in each round."""
    served: list[int] = []
    semaphore = anyio.Semaphore(crowd.sessions)
    async with open_pool(PoolSettings(max_size=crowd.sessions), connector=fake_connector) as pool:

        async def bare() -> None:
            async with semaphore:
                await anyio.sleep(SECONDS)

        async def pooled() -> None:
            async with pool.session(UPSTREAM):
                await anyio.sleep(SECONDS)

        sides = {"semaphore": partial(crowd.take, bare, []), "pool": partial(crowd.take, pooled, served)}
        await alternate(sides, rounds=1)
        samples = await alternate(sides, rounds=rounds)
        assert pool.stats().opened == crowd.sessions
        return samples, served
