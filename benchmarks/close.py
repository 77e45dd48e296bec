"""How long leaving a pool takes whose servers do not answer (T14), in multiples of `close_timeout`.

1,000 sessions that do not end by themselves, of 100 keys; and real ones, fewer, whose server hangs: its process is
stopped (SIGSTOP), so that its sockets take what they are sent, and nothing comes back.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import Final

import anyio

from actors import Connector, Pool, PoolSettings, Upstream, open_pool
from benchmarks.fake import UPSTREAM, endless_connector
from benchmarks.figure import Figure, Options
from tests.integration.servers import running_server

SESSIONS_OF_A_KEY: Final = 10


def measure(options: Options) -> list[Figure]:
    """The figures of T14."""
    fakes, reals, close_timeout = (50, 10, 0.2) if options.quick else (1_000, 100, 1.0)
    figures: list[Figure] = []
    for backend in options.backends:
        fake = anyio.run(_closing, UPSTREAM, endless_connector, fakes, close_timeout, backend=backend)
        with running_server() as server:
            upstream = Upstream(server.url, mode="legacy")  # of the era in which a session's end is told
            closing = partial(_closing, upstream, None, reals, close_timeout, server.stall)
            real = anyio.run(closing, backend=backend)
        figures += [
            Figure(target="T14", what=f"{what} / close_timeout ({close_timeout:g} s), {backend}", value=took, at_most=2)
            for what, took in (
                (f"closing {fakes:,} sessions that do not end", fake),
                (f"closing {reals:,} sessions whose server hangs", real),
            )
        ]
    return figures


async def _closing(
    upstream: Upstream,
    connector: Connector | None,
    sessions: int,
    close_timeout: float,
    hang: Callable[[], None] = lambda: None,
) -> float:
    """How long closing so many takes, in multiples of `close_timeout`."""
    settings = PoolSettings(max_size=SESSIONS_OF_A_KEY, close_timeout=close_timeout)
    async with open_pool(settings, connector=connector) as pool:
        for key in range(sessions // SESSIONS_OF_A_KEY):
            await _open(pool, upstream, user=f"user-{key}")
        assert pool.stats().opened == sessions
        hang()
        began = time.perf_counter()
    return (time.perf_counter() - began) / close_timeout


async def _open(pool: Pool, upstream: Upstream, *, user: str) -> None:
    """Open all sessions of a key, and leave them idle."""
    leases = [await pool.acquire(upstream, user=user) for _ in range(SESSIONS_OF_A_KEY)]
    for lease in leases:
        lease.release()
