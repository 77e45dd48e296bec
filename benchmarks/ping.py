"""The floor of what goes between workers: 300 bytes over Redis pub/sub and back, by redis-py as its users have it.

`python -m benchmarks.ping BACKEND REDIS` sends back what it is sent until its standard input ends.
"""

import asyncio
import statistics
import sys
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from typing import Any, Final

import anyio
import anyio.to_thread
import redis.asyncio

from actors.flavour import in_asyncio
from benchmarks.owner import python_process

PAYLOAD: Final = b"x" * 300
_THERE: Final = "benchmark:there"
_BACK: Final = "benchmark:back"


async def ping(url: str, times: int) -> float:
    """Microseconds there and back, the median of so many."""
    return await in_asyncio(partial(_ping, url, times))


async def _ping(url: str, times: int) -> float:
    async with _redis(url, _BACK) as (client, heard):
        took: list[float] = []
        for _ in range(times):
            began = time.perf_counter()
            await client.publish(_THERE, PAYLOAD)
            assert len(await _next(heard)) == len(PAYLOAD)
            took.append(time.perf_counter() - began)
        return statistics.median(took) * 1e6


@contextmanager
def running_echo(backend: str, url: str) -> Generator[None]:
    """Whoever sends it back, in a process of its own."""
    with python_process("benchmarks.ping", backend, url) as process:
        assert process.stdout is not None
        assert process.stdout.readline(), "the echo has ended: what it said is above"
        yield


async def _echo(url: str) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(in_asyncio, partial(_send_back, url))
        await anyio.to_thread.run_sync(sys.stdin.read, abandon_on_cancel=True)
        tasks.cancel_scope.cancel()


async def _send_back(url: str) -> None:
    async with _redis(url, _THERE) as (client, heard):
        print("ready", flush=True)
        with suppress(asyncio.CancelledError):
            while True:
                await client.publish(_BACK, await _next(heard))


async def _next(heard: Any) -> bytes:
    async for message in heard.listen():
        if message["type"] == "message":
            return message["data"]
    raise AssertionError("it is subscribed no more")


@asynccontextmanager
async def _redis(url: str, channel: str) -> AsyncGenerator[tuple[Any, Any]]:
    """A client, and what it hears on the channel."""
    client: Any = redis.asyncio.Redis.from_url(url)  # pyright: ignore[reportUnknownMemberType]
    heard = client.pubsub()
    try:
        await heard.subscribe(channel)
        async for _ in heard.listen():  # the confirmation
            break
        await client.ping()
        yield client, heard
    finally:
        await heard.aclose()
        await client.aclose()


if __name__ == "__main__":
    anyio.run(_echo, sys.argv[2], backend=sys.argv[1])
