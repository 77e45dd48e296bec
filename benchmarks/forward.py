"""What forwarding a call costs (T9, T10, T11): a conversation is owned by another process, which answers at once.

One at a time, a forwarded call is held against the floor: redis-py's own way of sending 300 bytes to another process
over pub/sub and having them back, on the same event loop. Both are measured in turn, in many short rounds; each round's
figure is its median. At 50 at a time, what counts is the calls per second, and the CPU time of either process per call:
the server costs nothing, so all of it is Troupe's, redis-py's and the event loop's. After all of them there must be as
many connections to Redis as before.
"""

import statistics
import time
from functools import partial

import anyio

from actors import Pool, open_pool
from benchmarks.figure import Figure, Options
from benchmarks.owner import SETTINGS, Owner, answering_connector, ask, cluster_settings, running_owner
from benchmarks.ping import ping, running_echo
from benchmarks.rounds import Samples, alternate, median_interval, median_ratio
from tests.redis_server import RedisServer, running_redis

SESSION = "conversation"
LIFETIME = 5.0


def measure(options: Options) -> list[Figure]:
    """The figures of T9, T10 and T11."""
    figures: list[Figure] = []
    for backend in options.backends:
        with (
            running_redis() as redis,
            running_echo(backend, redis.url),
            running_owner(backend, redis.url, LIFETIME, SESSION) as owner,
        ):
            figures += anyio.run(partial(_measure, redis, owner, options, backend), backend=backend)
    return figures


async def _measure(redis: RedisServer, owner: Owner, options: Options, backend: str) -> list[Figure]:
    async with open_pool(
        SETTINGS, connector=answering_connector, cluster=redis.url, cluster_settings=cluster_settings(LIFETIME)
    ) as pool:
        assert await pool.owner(SESSION) not in (None, pool.worker)
        one = await _one_at_a_time(redis, pool, rounds=3 if options.quick else 40, each=10 if options.quick else 100)
        before = redis.connections()
        many = await _many_at_once(
            owner, pool, rounds=2 if options.quick else 20, each=2 if options.quick else 10, concurrency=50
        )
        forwards = int(sum(many.pop("forwards")))
        return [
            *_compared(one, backend),
            *_at_once(many, backend),
            Figure(
                target="T11",
                what=f"Redis connections more after {forwards:,} forwards, {backend}",
                value=redis.connections() - before,
                at_most=0,
            ),
        ]


async def _one_at_a_time(redis: RedisServer, pool: Pool, *, rounds: int, each: int) -> Samples:
    async def forward() -> float:
        took: list[float] = []
        for _ in range(each):
            began = time.perf_counter()
            await ask(pool, SESSION)
            took.append(time.perf_counter() - began)
        return statistics.median(took) * 1e6

    sides = {"floor": partial(ping, redis.url, each), "forward": forward}
    await alternate(sides, rounds=1)
    return await alternate(sides, rounds=rounds)


async def _many_at_once(owner: Owner, pool: Pool, *, rounds: int, each: int, concurrency: int) -> Samples:
    async def caller() -> None:
        for _ in range(each):
            await ask(pool, SESSION)

    samples: Samples = {"forwards": [], "rate": [], "asker": [], "owner": []}
    forwards = concurrency * each
    for _ in range(rounds + 1):
        owners, own, began = owner.cpu(), time.process_time(), time.perf_counter()
        async with anyio.create_task_group() as tasks:
            for _ in range(concurrency):
                tasks.start_soon(caller)
        took = time.perf_counter() - began
        samples["forwards"].append(forwards)
        samples["rate"].append(forwards / took)
        samples["asker"].append((time.process_time() - own) / forwards * 1e6)
        samples["owner"].append((owner.cpu() - owners) / forwards * 1e6)
    return {name: values if name == "forwards" else values[1:] for name, values in samples.items()}


def _compared(samples: Samples, backend: str) -> list[Figure]:
    ratio, interval = median_ratio(samples["forward"], samples["floor"])
    return [
        Figure(
            target="T9",
            what=f"{what}, {backend}",
            value=statistics.median(samples[name]),
            unit="µs",
            interval=median_interval(samples[name]),
        )
        for name, what in (("floor", "redis-py, there and back"), ("forward", "a forwarded call, one at a time"))
    ] + [
        Figure(
            target="T9",
            what=f"a forwarded call / redis-py there and back, {backend}",
            value=ratio,
            interval=interval,
            at_most=2.5,
        )
    ]


def _at_once(samples: Samples, backend: str) -> list[Figure]:
    return [
        Figure(
            target="T10",
            what=f"CPU a forwarded call, 50 at a time, {side}, {backend}",
            value=statistics.median(samples[name]),
            unit="µs",
            interval=median_interval(samples[name]),
            at_most=300,
        )
        for name, side in (("asker", "who forwards"), ("owner", "the owner"))
    ] + [
        Figure(
            target="T10",
            what=f"forwarded calls, 50 at a time, {backend}",
            value=statistics.median(samples["rate"]),
            unit="/s",
            interval=median_interval(samples["rate"]),
            at_least=2_500,
        )
    ]
