"""What the pool adds to a call (T6): a pooled call against the same call on one bare, long-lived session of the SDK.

A pooled call is `async with pool.session(upstream) as session: await session.call_tool(...)`. The server runs in its
own process. Both sides send to it over HTTP clients with the same settings, in turn, in many short rounds, at a
concurrency of 1 and of 50. There the bare session has 50 calls at once, and so has the pool's: its sessions are shared,
as they are by default with a stateless server. Told beside it is a pool of 50 exclusive sessions, against 50 bare ones
lent from a plain list: what comes of 50 sessions in place of one, here and in the server, is in both. Tool calls are
never answered from a cache. Both eras are measured: what `auto` agrees on with this server is the stateless protocol,
and `legacy` the handshake.

The figures are the p50 of the calls' latencies and the calls per second, as ratios; the client's CPU time, told beside
them; and two counts: HTTP requests per call and, on trio, task switches per call.
"""

import gc
import statistics
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial

import anyio
import httpx2
import trio.testing
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from actors import Pool, PoolSettings, Upstream, open_pool
from benchmarks.figure import Figure, Options
from benchmarks.rounds import Samples, alternate, median_ratio
from benchmarks.server import TOOL, running_server
from benchmarks.steps import counted_steps
from protocol.settings import Mode

MODES: tuple[Mode, ...] = ("auto", "legacy")
ARGUMENTS = {"text": "x"}


@dataclass(slots=True)
class Side:
    """One way to call the server.

    Attributes:
        call: makes one call.
        requests: how many HTTP requests were sent so far.
        latencies: the p50 of each round, in seconds.
        processor: the process's CPU time per call in each round, in seconds.
    """

    call: Callable[[], Awaitable[None]]
    requests: Callable[[], int]
    latencies: list[float]
    processor: list[float]

    @classmethod
    def of(cls, call: Callable[[], Awaitable[None]], requests: Callable[[], int]) -> "Side":
        """A side without any rounds yet."""
        return cls(call, requests, [], [])

    async def round(self, concurrency: int, each: int) -> float:
        """Let so many tasks make `each` calls; the seconds it took."""
        latencies: list[float] = []

        async def caller() -> None:
            for _ in range(each):
                began = time.perf_counter()
                await self.call()
                latencies.append(time.perf_counter() - began)

        cpu, began = time.process_time(), time.perf_counter()
        if concurrency == 1:
            await caller()
        else:
            async with anyio.create_task_group() as tasks:
                for _ in range(concurrency):
                    tasks.start_soon(caller)
        took = time.perf_counter() - began
        self.processor.append((time.process_time() - cpu) / len(latencies))
        self.latencies.append(statistics.median(latencies))
        return took


@asynccontextmanager
async def bare(upstream: Upstream, settings: PoolSettings) -> AsyncGenerator[Side]:
    """One session of the SDK, over an HTTP client with the pool's settings."""
    sent = 0

    async def count(request: httpx2.Request) -> None:
        nonlocal sent
        del request
        sent += 1

    async def call() -> None:
        await client.call_tool(TOOL, ARGUMENTS)

    # Every connection is kept: with the pool's limit for one session, 50 calls at once would open most of theirs anew.
    transport = httpx2.AsyncHTTPTransport(limits=httpx2.Limits(max_connections=None, max_keepalive_connections=None))
    timeout = httpx2.Timeout(connect=settings.connect_timeout, read=None, write=settings.call_timeout, pool=None)
    async with (
        httpx2.AsyncClient(transport=transport, timeout=timeout, event_hooks={"request": [count]}) as http,
        Client(
            streamable_http_client(upstream.url, http_client=http),
            mode=upstream.mode,
            read_timeout_seconds=settings.call_timeout,
        ) as client,
    ):
        yield Side.of(call, lambda: sent)


@asynccontextmanager
async def pooled(upstream: Upstream, settings: PoolSettings) -> AsyncGenerator[Side]:
    """A pool."""
    async with open_pool(settings) as pool:

        async def call() -> None:
            async with pool.session(upstream) as session:
                await session.call_tool(TOOL, ARGUMENTS)

        await _fill(pool, upstream, settings.max_size)
        yield Side.of(call, lambda: pool.stats().http_requests)


@asynccontextmanager
async def several(upstream: Upstream, settings: PoolSettings) -> AsyncGenerator[Side]:
    """As many bare sessions as the pool would have, the last used first."""
    async with AsyncExitStack() as stack:
        sides = [await stack.enter_async_context(bare(upstream, settings)) for _ in range(settings.max_size)]
        for side in sides:
            await side.call()
        idle = sides.copy()

        async def call() -> None:
            side = idle.pop()
            try:
                await side.call()
            finally:
                idle.append(side)

        yield Side.of(call, lambda: sum(side.requests() for side in sides))


async def _fill(pool: Pool, upstream: Upstream, size: int) -> None:
    """Open all sessions, and let each learn the server's tools, as it does on its first call."""
    leases = [await pool.acquire(upstream) for _ in range(size)]
    for lease in leases:
        await lease.call_tool(TOOL, ARGUMENTS)
    for lease in leases:
        lease.release()


def measure(options: Options) -> list[Figure]:
    """The figures of T6."""
    figures: list[Figure] = []
    with running_server() as url:
        for backend in options.backends:
            for mode in MODES:
                upstream = Upstream(url, mode)
                figures += anyio.run(_one_at_a_time, upstream, options, backend, backend=backend)
                figures += anyio.run(_many_at_once, upstream, options, backend, backend=backend)
    return figures


async def _one_at_a_time(upstream: Upstream, options: Options, backend: str) -> list[Figure]:
    rounds, each = (3, 3) if options.quick else (40, 25)
    what = f"{upstream.mode}, 1 at a time, {backend}"
    settings = PoolSettings(max_size=1)
    async with bare(upstream, settings) as alone, pooled(upstream, settings) as through_pool:
        figures = _figures(await _compared(alone, through_pool, concurrency=1, rounds=rounds, each=each), what)
        if backend == "trio":
            extra = await extra_steps(alone, through_pool, calls=5 if options.quick else 50)
            figures.append(
                Figure(target="T6", what=f"extra task switches a pooled call, {what}", value=extra, at_most=2)
            )
        return figures


async def _many_at_once(upstream: Upstream, options: Options, backend: str) -> list[Figure]:
    concurrency, rounds, each = (5, 2, 1) if options.quick else (50, 40, 2)
    what = f"{upstream.mode}, {concurrency} at once, {backend}"
    settings = PoolSettings(max_size=concurrency)
    async with (
        bare(upstream, settings) as alone,
        pooled(replace(upstream, sharing=concurrency), settings) as through_pool,
        pooled(replace(upstream, sharing="exclusive"), settings) as apart,
        several(upstream, settings) as many,
    ):
        compared = await _compared(alone, through_pool, apart, many, concurrency=concurrency, rounds=rounds, each=each)
        return _figures(compared, what)


@dataclass(frozen=True, slots=True)
class Compared:
    """What rounds of several sides gave, by side: `bare`, `pool` and, where there are several sessions of each, `apart`
    and `many`.
    """

    sides: dict[str, Side]
    took: Samples
    calls: int
    requests: dict[str, int]


async def _compared(*sides: Side, concurrency: int, rounds: int, each: int) -> Compared:
    named: dict[str, Side] = dict(zip(("bare", "pool", "apart", "many"), sides, strict=False))

    async def round_of(side: Side) -> float:
        return await side.round(concurrency, each)

    turns = {name: partial(round_of, side) for name, side in named.items()}
    await alternate(turns, rounds=1)
    for side in sides:
        side.latencies.clear()
        side.processor.clear()
    before = {name: side.requests() for name, side in named.items()}
    took = await alternate(turns, rounds=rounds)
    sent = {name: side.requests() - before[name] for name, side in named.items()}
    return Compared(named, took, rounds * concurrency * each, sent)


def _figures(compared: Compared, what: str) -> list[Figure]:
    bare_p50 = statistics.median(compared.sides["bare"].latencies) * 1e3
    requests = {name: sent / compared.calls for name, sent in compared.requests.items()}
    figures = [
        Figure(target="T6", what=f"HTTP requests a bare call, {what}", value=requests["bare"]),
        Figure(
            target="T6",
            what=f"extra HTTP requests a pooled call, {what}",
            value=requests["pool"] - requests["bare"],
            at_most=0,
        ),
        Figure(target="T6", what=f"p50 of a bare call, {what}", value=bare_p50, unit="ms"),
    ]
    figures += _ratios(compared, "pool", "bare", f"pool / bare, {what}", has_target=True)
    if "many" in compared.sides:
        told = f"exclusive sessions / as many bare ones, {what}"
        figures += _ratios(compared, "apart", "many", told, has_target=False)
    return figures


def _ratios(compared: Compared, one: str, other: str, what: str, *, has_target: bool) -> list[Figure]:
    pool, beside = compared.sides[one], compared.sides[other]
    p50, p50_interval = median_ratio(pool.latencies, beside.latencies)
    throughput, throughput_interval = median_ratio(compared.took[other], compared.took[one])
    processor, processor_interval = median_ratio(pool.processor, beside.processor)
    return [
        Figure(
            target="T6",
            what=f"p50, {what}",
            value=p50,
            interval=p50_interval,
            at_most=1.05 if has_target else None,
            by_bound=True,
        ),
        Figure(
            target="T6",
            what=f"throughput, {what}",
            value=throughput,
            interval=throughput_interval,
            at_least=1.0 if has_target else None,
        ),
        Figure(target="T6", what=f"client's CPU, {what}", value=processor, interval=processor_interval),
    ]


async def extra_steps(alone: Side, through_pool: Side, *, calls: int) -> float:
    """How many more task switches a pooled call takes than a bare one, on average. On trio.

    Each side makes its calls in a row, and what they left behind is collected before and after: the SDK abandons its
    stream readers half-way, and trio finishes those in tasks, whenever they are collected.
    """
    counts: list[float] = []
    with counted_steps() as counter:
        for side in (alone, through_pool):
            await _settle()
            before = counter.steps
            for _ in range(calls):
                await side.call()
            await _settle()
            counts.append((counter.steps - before) / calls)
    return counts[1] - counts[0]


async def _settle() -> None:
    for _ in range(3):
        gc.collect()
        await trio.testing.wait_all_tasks_blocked(0.001)
