"""What a new session costs (T7), and what a pooled one saves over a new one for each call (T8). With a real server.

T7 measures from nothing to the answer of a session's first call: the session is opened, initialised and called.
Through the pool, of a key that is new, and of one that has had a session before and knows the server; its other
sessions are lent, so that a new one has to be opened. Beside it the SDK used plainly, which makes a TLS context for
each session, and by somebody who shares the context. Closing is not in it.

T8 measures a call: pooled, and by a session that is opened for it and closed again, as an `async with` of the SDK's
client does.

Both eras are measured: what `auto` agrees on with this server is the stateless protocol, and `legacy` the handshake.
"""

import itertools
import ssl
import statistics
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Final

import anyio
import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from actors import Lease, Pool, Upstream, open_pool
from benchmarks.call import ARGUMENTS
from benchmarks.fake import PATIENT
from benchmarks.figure import Figure, Options
from benchmarks.rounds import Samples, Side, alternate, median_interval, median_ratio
from benchmarks.server import TOOL, running_server
from protocol.settings import Mode

ERAS: Final[dict[Mode, tuple[str, float]]] = {"legacy": ("handshake", 0.35), "auto": ("stateless", 0.2)}
"""By how a session's era is agreed on: which it comes to with this server, and the target of T7."""


def measure(options: Options) -> list[Figure]:
    """The figures of T7 and T8."""
    rounds = 2 if options.quick else 25
    figures: list[Figure] = []
    with running_server() as url:
        for backend in options.backends:
            for mode in ERAS:
                samples = anyio.run(_samples, Upstream(url, mode), rounds, backend=backend)
                figures += [*_new(samples, mode, backend), *_pooled(samples, mode, backend)]
    return figures


def _new(samples: Samples, mode: Mode, backend: str) -> list[Figure]:
    era, at_most = ERAS[mode]
    figures = [_milliseconds("T7", f"new session, {name}, {era}, {backend}", samples[name]) for name in _NEW]
    for name in (FIRST, LATER):
        for beside in (PLAIN, SHARED):
            ratio, interval = median_ratio(samples[name], samples[beside])
            figures.append(
                Figure(
                    target="T7",
                    what=f"new session, {name} / {beside}, {era}, {backend}",
                    value=ratio,
                    interval=interval,
                    at_most=at_most if (name, beside) == (LATER, PLAIN) else None,
                )
            )
    return figures


def _pooled(samples: Samples, mode: Mode, backend: str) -> list[Figure]:
    era, _ = ERAS[mode]
    figures = [_milliseconds("T8", f"pooled call, {era}, {backend}", samples[CALL])]
    for name in (PLAIN, SHARED):
        ratio, interval = median_ratio(samples[f"a call, {name}"], samples[CALL])
        figures.append(
            Figure(
                target="T8",
                what=f"a session for each call, {name} / pooled call, {era}, {backend}",
                value=ratio,
                interval=interval,
                at_least=10 if name == PLAIN else None,
            )
        )
    return figures


def _milliseconds(target: str, what: str, values: list[float]) -> Figure:
    milliseconds = [value * 1e3 for value in values]
    interval = median_interval(milliseconds)
    return Figure(target=target, what=what, value=statistics.median(milliseconds), unit="ms", interval=interval)


FIRST, LATER = "pool, new key", "pool, known key"
PLAIN, SHARED = "SDK", "SDK with a shared TLS context"
CALL = "pooled call"
_NEW = (FIRST, LATER, PLAIN, SHARED)


async def _samples(upstream: Upstream, rounds: int) -> Samples:
    # Where the server keeps no state, sessions would be shared, and there would be no new one.
    upstream = replace(upstream, sharing="exclusive")
    tls, users = httpx2.create_ssl_context(), itertools.count()
    async with open_pool(replace(PATIENT, max_size=rounds + 2)) as pool:
        held: list[Lease] = []

        async def first() -> float:
            lease, took = await _leased(pool, upstream, f"user-{next(users)}")
            lease.release()
            return took

        async def later() -> float:
            lease, took = await _leased(pool, upstream, "known")
            held.append(lease)
            return took

        async def pooled() -> float:
            began = time.perf_counter()
            async with pool.session(upstream) as session:
                await session.call_tool(TOOL, ARGUMENTS)
            return time.perf_counter() - began

        fresh = {PLAIN: partial(_sdk, upstream), SHARED: partial(_sdk, upstream, tls)}
        sides: dict[str, Side] = {FIRST: first, LATER: later, CALL: pooled}
        for name, opened in fresh.items():
            sides |= {name: partial(_until_answered, opened), f"a call, {name}": partial(_until_closed, opened)}
        await alternate(sides, rounds=1)
        samples = await alternate(sides, rounds=rounds)
        # A session for each new user, for each time that the known one asked, and for all of the pooled calls.
        assert pool.stats().opened == 2 * (rounds + 1) + 1
        for lease in held:
            lease.release()
        return samples


async def _leased(pool: Pool, upstream: Upstream, user: str) -> tuple[Lease, float]:
    """A new session of the pool, and the seconds until its first call was answered."""
    began = time.perf_counter()
    lease = await pool.acquire(upstream, user=user)
    await lease.call_tool(TOOL, ARGUMENTS)
    return lease, time.perf_counter() - began


@asynccontextmanager
async def _sdk(upstream: Upstream, tls: ssl.SSLContext | None = None) -> AsyncGenerator[Client]:
    """A session of the SDK, with this TLS context, or as it opens one by itself."""
    if tls is None:
        async with Client(upstream.url, mode=upstream.mode) as client:
            yield client
        return
    async with (
        httpx2.AsyncClient(verify=tls) as http,
        Client(streamable_http_client(upstream.url, http_client=http), mode=upstream.mode) as client,
    ):
        yield client


Opened = Callable[[], AbstractAsyncContextManager[Client]]


async def _until_answered(opened: Opened) -> float:
    """Seconds until a new session's first call was answered."""
    began = time.perf_counter()
    async with opened() as client:
        await client.call_tool(TOOL, ARGUMENTS)
        return time.perf_counter() - began


async def _until_closed(opened: Opened) -> float:
    """Seconds for a session of one call, until it is closed."""
    began = time.perf_counter()
    async with opened() as client:
        await client.call_tool(TOOL, ARGUMENTS)
    return time.perf_counter() - began
