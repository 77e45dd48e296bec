"""The scene of a killed server: what it costs the call that it was in the middle of, what others, and the way back."""

import time
from dataclasses import dataclass
from typing import Final

import anyio

from actors import Pool, PoolSettings, Upstream, open_pool
from actors.demo.process import DemoServer
from actors.demo.subject import describe
from protocol.errors import TroupeError

SLEEP: Final = 60.0
"""Seconds that the call would take that the server is killed under."""
BYSTANDERS: Final = 2
ERROR_TIMEOUT: Final = 10.0
"""Seconds to wait for the call's error, and for the pool to serve again, before the scene is given up."""
PAUSE: Final = 0.01
"""Seconds between two tries of a caller whose error says that it may try again."""


@dataclass(slots=True)
class Crash:
    """What was seen. All durations are seconds.

    Attributes:
        error: the kind of error that the call under way got; None if it got none.
        message: what the error said.
        error_seconds: from the kill to the error.
        task_went_on: whether the caller's own task made its next call, on another server, and had it answered.
        others_calls: calls that others made on another server from before the kill until the error, answered.
        others_errors: how many of those failed.
        down_error: the kind of error that a call got while the server was away.
        down_seconds: how long it took to get it.
        down_safe_to_retry: whether that error told the caller that the call has not run.
        start_seconds: how long the server took to start again.
        back_seconds: from the server's being back to an answered call; None if there was none in time.
        back_tries: how many tries that took.
    """

    error: str | None = None
    message: str = ""
    error_seconds: float = 0.0
    task_went_on: bool = False
    others_calls: int = 0
    others_errors: int = 0
    down_error: str | None = None
    down_seconds: float = 0.0
    down_safe_to_retry: bool = False
    start_seconds: float = 0.0
    back_seconds: float | None = None
    back_tries: int = 0

    @property
    def is_fine(self) -> bool:
        """Whether the one call got its error, nothing else was lost, and the pool served again."""
        return (
            self.error == "CallInterrupted"
            and self.task_went_on
            and self.others_calls > 0
            and self.others_errors == 0
            and self.down_safe_to_retry
            and self.back_seconds is not None
        )


async def kill_a_server(victim: DemoServer, other: DemoServer) -> Crash:
    """Kill a server in the middle of a call, start it again, and watch what callers of the pool see."""
    seen = Crash()
    async with open_pool(PoolSettings(call_timeout=2 * SLEEP)) as pool:
        with anyio.move_on_after(ERROR_TIMEOUT):
            await _kill(pool, victim, other, seen)
        started = time.perf_counter()
        error = await _try(pool, victim)
        seen.down_seconds = time.perf_counter() - started
        if error is not None:
            seen.down_error, seen.down_safe_to_retry = type(error).__name__, error.safe_to_retry
        started = time.perf_counter()
        await victim.start()
        back = time.perf_counter()
        seen.start_seconds = back - started
        with anyio.move_on_after(ERROR_TIMEOUT):
            while True:
                seen.back_tries += 1
                if await _try(pool, victim) is None:
                    seen.back_seconds = time.perf_counter() - back
                    break
                await anyio.sleep(PAUSE)
    return seen


async def _kill(pool: Pool, victim: DemoServer, other: DemoServer, seen: Crash) -> None:
    under_way = anyio.Event()
    over = anyio.Event()
    killed = 0.0

    async def has_begun(progress: float, total: float | None, message: str | None) -> None:  # noqa: ARG001
        under_way.set()

    async def the_caller() -> None:
        try:
            async with pool.session(Upstream(victim.url)) as session:
                await session.call_tool("sleep", {"seconds": SLEEP}, progress_callback=has_begun)
        except TroupeError as error:
            seen.error_seconds = time.perf_counter() - killed
            seen.error, seen.message = type(error).__name__, describe(error)
        seen.task_went_on = await _try(pool, other) is None
        over.set()

    async def bystander() -> None:
        while not over.is_set():
            if await _try(pool, other) is None:
                seen.others_calls += 1
            else:
                seen.others_errors += 1

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(the_caller)
        for _ in range(BYSTANDERS):
            tasks.start_soon(bystander)
        await under_way.wait()
        killed = time.perf_counter()
        await victim.kill()


async def _try(pool: Pool, server: DemoServer) -> TroupeError | None:
    """Make a short call, and answer with its error."""
    try:
        async with pool.session(Upstream(server.url)) as session:
            await session.call_tool("echo", {"text": "still there?"})
    except TroupeError as error:
        return error
    return None
