"""Sessions without a server, to measure the pool and nothing else."""

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager

from mcp import Client

from actors import Connection, PoolSettings, Upstream
from protocol.fault import Fault

UPSTREAM = Upstream("http://127.0.0.1:8000/mcp")


@asynccontextmanager
async def fake_connector(
    upstream: Upstream, headers: Mapping[str, str], settings: PoolSettings, report: Callable[[Fault], None]
) -> AsyncGenerator[Connection]:
    """Open a session in no time. Its client was never entered, so it can be lent but not called."""
    del headers, settings, report  # nothing is sent, and nothing can fail
    yield Connection(upstream.address, Client(upstream.url))
