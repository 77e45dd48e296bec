"""What callers see of a worker that is killed, or stands still, while it owns their conversation (T12).

It is a process that takes up some 350 MB, and is killed with SIGKILL or stopped with SIGSTOP while a request that came
from another worker is under way there. Told are how long its caller waits for a named error, and how long it takes from
then until the conversation's next call is answered: its server kept state, so a try before that one is told of the
loss. Beside it is told how long a call takes that comes when the owner of its conversation has died idle. Of several
deaths the slowest is told.
"""

import signal
import time
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import anyio

from actors import Pool, TroupeError, open_pool
from benchmarks.figure import Figure, Options
from benchmarks.owner import HANG, SETTINGS, Owner, answering_connector, ask, cluster_settings, running_owner
from protocol.errors import OutcomeUnknown, SessionStateLost
from protocol.peer import Terms
from tests.redis_server import RedisServer, running_redis

LIFETIME: Final = 1.0
"""Seconds: that of a worker that stands still."""
MEGABYTES: Final = 280
"""Besides what a worker takes by itself."""


@dataclass(slots=True)
class Deaths:
    """What was measured, in seconds, one of each for each death.

    Attributes:
        error: until the caller of a request under way had an error.
        served: from then on until the conversation's next call was answered.
        idle: until a call was answered whose owner had died idle.
        lost: how often callers were told that the state is lost.
        others: which other errors were raised, by name.
    """

    error: list[float] = field(default_factory=list[float])
    served: list[float] = field(default_factory=list[float])
    idle: list[float] = field(default_factory=list[float])
    lost: int = 0
    others: list[str] = field(default_factory=list[str])


def measure(options: Options) -> list[Figure]:
    """The figures of T12."""
    times, megabytes = (1, 0) if options.quick else (5, MEGABYTES)
    figures: list[Figure] = []
    for backend in options.backends:
        with running_redis() as redis:
            killed, stalled = anyio.run(partial(_deaths, redis, backend, times, megabytes), backend=backend)
        assert (killed.lost, stalled.lost) == (2 * times, times)
        assert not killed.others + stalled.others, killed.others + stalled.others
        figures += _figures(killed, stalled, backend)
    return figures


def _figures(killed: Deaths, stalled: Deaths, backend: str) -> list[Figure]:
    bound = (LIFETIME + Terms().look_every) * 1e3
    return [
        Figure(target="T12", what=f"{what}, {backend}", value=max(values) * 1e3, unit="ms", at_most=at_most)
        for what, values, at_most in (
            ("owner killed: until its caller has an error", killed.error, 50),
            ("owner killed: from then until the next call is served", killed.served, 200),
            ("owner killed while idle: until the next call is served", killed.idle, None),
            (f"owner stands still (lifetime {LIFETIME:g} s): until its caller has an error", stalled.error, bound),
            ("owner stands still: from then until the next call is served", stalled.served, 200),
        )
    ]


async def _deaths(redis: RedisServer, backend: str, times: int, megabytes: int) -> tuple[Deaths, Deaths]:
    killed, stalled = Deaths(), Deaths()
    async with open_pool(
        SETTINGS, connector=answering_connector, cluster=redis.url, cluster_settings=cluster_settings(LIFETIME)
    ) as pool:
        for number in range(times):
            for name, deaths, end in (("killed", killed, signal.SIGKILL), ("stalled", stalled, signal.SIGSTOP)):
                session_id = f"{name}-{number}"
                with running_owner(backend, redis.url, LIFETIME, session_id, megabytes) as owner:
                    deaths.error.append(await _during_a_call(pool, session_id, owner, end))
                    await _until_served(pool, session_id, deaths, deaths.served)
            session_id = f"idle-{number}"
            with running_owner(backend, redis.url, LIFETIME, session_id, megabytes) as owner:
                await ask(pool, session_id)
                owner.process.kill()
                await anyio.sleep(LIFETIME / 2)
                await _until_served(pool, session_id, killed, killed.idle)
    return killed, stalled


async def _during_a_call(pool: Pool, session_id: str, owner: Owner, end: signal.Signals) -> float:
    ended = took = 0.0

    async def call() -> None:
        nonlocal took
        try:
            await ask(pool, session_id, HANG)
        except OutcomeUnknown:
            took = time.perf_counter() - ended

    await ask(pool, session_id)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(call)
        await owner.began()
        ended = time.perf_counter()
        owner.process.send_signal(end)
    assert took, "the call came to an end without an error"
    return took


async def _until_served(pool: Pool, session_id: str, deaths: Deaths, took: list[float]) -> None:
    began = time.perf_counter()
    while True:
        try:
            await ask(pool, session_id)
        except SessionStateLost:
            deaths.lost += 1
        except TroupeError as error:
            deaths.others.append(type(error).__name__)
            await anyio.sleep(0.001)
        else:
            took.append(time.perf_counter() - began)
            return
