"""What is done to a soak's servers, and by the pool's operators."""

import random
from collections.abc import Sequence
from functools import partial
from typing import Final

import anyio

from benchmarks.soaking.users import Soaked
from protocol.pool_events import Missed
from tests.integration.servers import McpServer

MOST_SESSIONS: Final = 40
"""The largest `max_sessions` that an operator sets."""


async def trouble_servers(soaked: Soaked, servers: Sequence[McpServer], number: int) -> None:
    """Kill, stop, continue and restart servers, one at a time."""
    dice = random.Random(f"{soaked.seed} trouble {number}")
    mine = servers[number::2]
    while not soaked.is_over.is_set():
        await anyio.sleep(dice.uniform(0.5, 3))
        server = dice.choice(mine)
        what = dice.choice(("kill", "kill", "stop", "stop and kill"))
        soaked.census.done[f"servers: {what}"] += 1
        if what != "kill":
            server.stall()
            await anyio.sleep(dice.choice((0.1, 0.5, 1.5, 3.5)))
        if what == "stop":
            server.resume()
        else:
            await anyio.to_thread.run_sync(server.kill)
            await anyio.sleep(dice.choice((0.0, 0.0, 0.3, 1.5)))
            await anyio.to_thread.run_sync(server.start)


async def operate(soaked: Soaked) -> None:
    """Do what an operator may, and look at the figures."""
    dice = random.Random(f"{soaked.seed} operator")
    pool, census = soaked.pool, soaked.census
    while not soaked.is_over.is_set():
        await anyio.sleep(dice.uniform(0.1, 1))
        what = dice.choice(("resize", "resize", "resize", "look", "drain", "retire", "reset_breakers"))
        census.done[f"operators: {what}"] += 1
        if what == "resize":
            max_size = dice.randint(1, 4)
            pool.resize(
                max_size=max_size,
                min_idle=dice.randint(0, min(max_size, 1)),
                max_sessions=dice.randint(10, MOST_SESSIONS),
                max_keys=dice.choice((30, 80, 120)),
                max_waiting=dice.choice((0, 2, 100)),
                max_sessions_per_user=dice.randint(2, 12),
                max_sessions_per_gateway=dice.randint(8, 20),
                max_lifetime=dice.choice((2.0, 10.0, None)),
                max_idle=dice.choice((0.5, 2.0, None)),
                health_interval=dice.choice((0.3, 1.0, None)),
                shared_leases=dice.randint(1, 8),
                warn_after=dice.choice((None, 1.0)),
            )
        elif what == "drain":
            pool.drain()
        elif what == "retire":
            pool.retire(dice.choice(soaked.upstreams))
        elif what == "reset_breakers":
            pool.reset_breakers(dice.choice((None, *soaked.upstreams)))
        stats = pool.stats()
        census.check_stats(stats, "while it runs")
        given = stats.permits.given if stats.permits else 0
        census.check(
            given <= MOST_SESSIONS, f"{given} permits are given, and never were there more than {MOST_SESSIONS}"
        )


async def listen(soaked: Soaked) -> None:
    """Read the pool's events, slowly now and then, so that some are missed."""
    dice = random.Random(f"{soaked.seed} listener")
    while not soaked.is_over.is_set():
        async with soaked.pool.events(buffer=100) as events:
            with anyio.move_on_after(dice.uniform(0.5, 5)):
                async for event in events:
                    soaked.census.done["events missed"] += event.count if isinstance(event, Missed) else 0
                    soaked.census.done["events read"] += 1
                    if dice.random() < 0.001:
                        await anyio.sleep(0.5)


async def bring_back(servers: Sequence[McpServer]) -> None:
    """All servers run, whatever was done to them."""
    for server in servers:
        if server.is_running:
            server.resume()
        else:
            await anyio.to_thread.run_sync(partial(server.start))
