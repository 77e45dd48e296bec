"""What callers see of a server that is killed (T13): with SIGKILL, during a call and while its session is idle.

Told are how long the caller of the call that was under way waits for an error, how long the next caller does where the
session was idle, and, once the server is back, how often an acquire and a call fail until one works and how long that
takes. Of several kills the slowest is told. The servers are those of the integration tests: of the handshake era, with
and without an event store (with one, a client of the SDK waits and tries to resume), and of the stateless one.
"""

import time
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import anyio

from actors import Pool, PoolSettings, TroupeError, Upstream, open_pool
from benchmarks.figure import Figure, Options
from protocol.settings import Mode
from tests.integration.servers import McpServer, running_server

SERVERS: Final[dict[str, tuple[str, Mode]]] = {
    "handshake, no event store": ("plain", "legacy"),
    "handshake, event store": ("events", "legacy"),
    "stateless": ("plain", "auto"),
}
"""By what they are called: the kind of server, and how a session's era is agreed on."""


@dataclass(slots=True)
class Kills:
    """What was measured, in seconds, one of each for each kill.

    Attributes:
        during: until the caller of a call under way had an error.
        idle: until a caller had an error who came when the session had been idle.
        back: from when the server was back until a caller had been served.
        refused: how many callers were refused from then on.
    """

    during: list[float] = field(default_factory=list[float])
    idle: list[float] = field(default_factory=list[float])
    back: list[float] = field(default_factory=list[float])
    refused: int = 0


def measure(options: Options) -> list[Figure]:
    """The figures of T13."""
    times = 1 if options.quick else 5
    figures: list[Figure] = []
    for backend in options.backends:
        for name, (kind, mode) in SERVERS.items():
            kills = Kills()
            with running_server(kind) as server:
                anyio.run(partial(_kill, server, Upstream(server.url, mode), kills, times), backend=backend)
            figures += _figures(kills, f"{name}, {backend}")
    return figures


def _figures(kills: Kills, of: str) -> list[Figure]:
    return [
        Figure(target="T13", what=f"{what}, {of}", value=max(values) * 1e3, unit="ms", at_most=at_most)
        for what, values, at_most in (
            ("killed during a call: until its caller has an error", kills.during, 1_000),
            ("killed while idle: until the next caller has an error", kills.idle, 1_000),
            ("back: until a caller is served", kills.back, None),
        )
    ] + [
        Figure(target="T13", what=f"back: callers that fail until one is served, {of}", value=kills.refused, at_most=0)
    ]


async def _kill(server: McpServer, upstream: Upstream, kills: Kills, times: int) -> None:
    async with open_pool(PoolSettings(max_size=1)) as pool:
        for _ in range(times):
            kills.during.append(await _during_a_call(server, pool, upstream))
            await _until_back(server, pool, upstream, kills)
            kills.idle.append(await _while_idle(server, pool, upstream))
            await _until_back(server, pool, upstream, kills)


async def _during_a_call(server: McpServer, pool: Pool, upstream: Upstream) -> float:
    took = 0.0

    async def call() -> None:
        nonlocal took
        try:
            async with pool.session(upstream) as session:
                await session.call_tool("sleep", {"seconds": 3_600})
        except TroupeError:
            took = time.perf_counter() - killed

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(call)
        await server.began("sleep")
        killed = time.perf_counter()
        server.kill()
    assert took, "the call came to an end without an error"
    return took


async def _while_idle(server: McpServer, pool: Pool, upstream: Upstream) -> float:
    await _call(pool, upstream)
    server.kill()
    asked = time.perf_counter()
    try:
        await _call(pool, upstream)
    except TroupeError:
        return time.perf_counter() - asked
    raise AssertionError("the call was answered by a server that is dead")


async def _until_back(server: McpServer, pool: Pool, upstream: Upstream, kills: Kills) -> None:
    server.start()
    back = time.perf_counter()
    while True:
        try:
            await _call(pool, upstream)
        except TroupeError:
            kills.refused += 1
            await anyio.sleep(0.001)
        else:
            kills.back.append(time.perf_counter() - back)
            return


async def _call(pool: Pool, upstream: Upstream) -> None:
    async with pool.session(upstream) as session:
        await session.call_tool("echo", {"text": "x"})
