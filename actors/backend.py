"""The little that the runtime needs to know of the event loop it runs on.

anyio hides which loop that is, at the price of finding out anew on each call (about 1 µs). A turn has no microsecond to
spare, so the answer is looked up once, when the system opens.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import anyio.lowlevel
import sniffio
import trio


@dataclass(frozen=True, slots=True)
class Backend:
    """The running event loop's primitives.

    Attributes:
        now: the loop's clock, in seconds; virtual under a virtual clock.
        check_cancelled: what to await in order to learn whether the calling task was cancelled, without yielding if it
            was not; None if that is known already.
        stopwatch: a clock of real time, for the dispatch budget, which is about real time also where the loop's is
            virtual.
    """

    now: Callable[[], float]
    check_cancelled: Callable[[], Awaitable[None] | None]
    stopwatch: Callable[[], float] = time.perf_counter


def current_backend() -> Backend:
    """The primitives of the event loop that runs now."""
    if sniffio.current_async_library() == "trio":
        return Backend(trio.lowlevel.current_clock().current_time, trio.lowlevel.checkpoint_if_cancelled)
    return Backend(asyncio.get_running_loop().time, _check_cancelled_on_asyncio)


def _check_cancelled_on_asyncio() -> Awaitable[None] | None:
    """Whether a cancellation was delivered to the task.

    One that was asked for but has not reached the task yet is left to the next point at which the task waits, as
    everywhere on asyncio.
    """
    task = asyncio.current_task()
    if task is None or not task.cancelling():
        return None
    return anyio.lowlevel.checkpoint_if_cancelled()  # which knows whether a shield is between
