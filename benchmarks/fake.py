"""Sessions without a server, to measure the pool and nothing else."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from functools import cache
from typing import Final

import anyio
from mcp import Client

from actors import Connection, Connector, Pool, PoolSettings, Upstream
from actors.connection import Opening

UPSTREAM = Upstream("http://127.0.0.1:8000/mcp", sharing="exclusive")
"""Exclusive, since there is no server whose protocol would tell whether sessions can be shared."""


@asynccontextmanager
async def fake_connector(opening: Opening) -> AsyncGenerator[Connection]:
    """Open a session in no time. Its client was never entered, so it can be lent but not called."""
    yield Connection(opening.upstream.address, Client(opening.upstream.url))


@asynccontextmanager
async def light_connector(opening: Opening) -> AsyncGenerator[Connection]:
    """As `fake_connector`, and all sessions have one client: what there is of each is the pool's."""
    yield Connection(opening.upstream.address, _client())


async def lightest_connector(opening: Opening) -> Connection:
    """As `light_connector`, and nothing needs to be held open, so that no task has to hold it."""
    return Connection(opening.upstream.address, _client())


@asynccontextmanager
async def endless_connector(opening: Opening) -> AsyncGenerator[Connection]:
    """Open a session in no time that does not end until it is cancelled, as where the server does not answer."""
    try:
        yield Connection(opening.upstream.address, _client())
    finally:
        await anyio.sleep_forever()


MANY: Final[Connector] = lightest_connector
"""How sessions are opened where there are very many of them."""

PATIENT: Final = PoolSettings(
    max_lifetime=86_400, max_idle=86_400, health_interval=86_400, key_idle=86_400, close_timeout=60
)
"""As by default, and no upkeep of sessions falls due while they are measured, though it is provided for; and there is
time to end very many of them."""


async def open_keys(pool: Pool, users: Sequence[str], upstream: Upstream = UPSTREAM, *, at_once: int = 1_000) -> None:
    """Have a session opened for each of these users, each under a key of their own, and leave it idle."""

    async def open_one(user: str) -> None:
        lease = await pool.acquire(upstream, user=user)
        lease.release()

    for batch in (users[start : start + at_once] for start in range(0, len(users), at_once)):
        async with anyio.create_task_group() as tasks:
            for user in batch:
                tasks.start_soon(open_one, user)


@cache
def _client() -> Client:
    return Client(UPSTREAM.url)
