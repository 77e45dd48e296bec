"""The little that the runtime needs to know of the event loop it runs on.

anyio hides which loop that is, at the price of finding out anew on each call (about 1 µs). A turn has no microsecond to
spare, so the answer is looked up once, when the system opens.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

import anyio.lowlevel
import sniffio
import trio

# The one form that does not raise where no loop runs, and that a message can afford.
running_asyncio_loop: Final[Callable[[], asyncio.AbstractEventLoop | None]] = asyncio._get_running_loop  # noqa: SLF001


@dataclass(frozen=True, slots=True)
class Backend:
    """The running event loop's primitives.

    Attributes:
        now: the loop's clock, in seconds; virtual under a virtual clock.
        check_cancelled: what to await in order to learn whether the calling task was cancelled, without yielding if it
            was not; None if that is known already.
        loop: what `running_asyncio_loop()` answers on the right event loop: asyncio's loop; on trio None, since there
            asyncio's callbacks (under trio-asyncio) are the wrong place to start a task from.
        run_soon: run something on the loop, from any thread. Raises RuntimeError once the loop has ended.
    """

    now: Callable[[], float]
    check_cancelled: Callable[[], Awaitable[None] | None]
    loop: asyncio.AbstractEventLoop | None
    run_soon: Callable[[Callable[[], Any]], Any]


def current_backend() -> Backend:
    """The primitives of the event loop that runs now."""
    if sniffio.current_async_library() == "trio":
        token = trio.lowlevel.current_trio_token()
        clock = trio.lowlevel.current_clock()
        return Backend(clock.current_time, trio.lowlevel.checkpoint_if_cancelled, None, token.run_sync_soon)
    loop = asyncio.get_running_loop()
    return Backend(loop.time, _check_cancelled_on_asyncio, loop, loop.call_soon_threadsafe)


def _check_cancelled_on_asyncio() -> Awaitable[None] | None:
    """Whether a cancellation was delivered to the task.

    One that was asked for but has not reached the task yet is left to the next point at which the task waits, as
    everywhere on asyncio.
    """
    task = asyncio.current_task()
    if task is None or not task.cancelling():
        return None
    return anyio.lowlevel.checkpoint_if_cancelled()  # which knows whether a shield is between
