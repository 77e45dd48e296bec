"""The little that the runtime needs to know of the event loop it runs on.

anyio hides which loop that is, at the price of finding out anew on each call (about 1 µs). A turn has no microsecond to
spare, so the answer is looked up once, when the system opens.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import Context
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Protocol

import anyio.lowlevel
import sniffio
import trio

_flavour: Final = sniffio.thread_local
"""Has the name of the library whose code runs in this thread, where that library sets it: trio and trio-asyncio do."""


class Event(Protocol):
    """An event of whatever event loop: `anyio.Event`, `asyncio.Event` or `trio.Event`."""

    def set(self) -> object:
        """Let those go on who wait."""

    def is_set(self) -> bool:
        """Whether that was done."""
        ...

    async def wait(self) -> object:
        """Wait for it."""


@dataclass(frozen=True, slots=True)
class Backend:
    """The running event loop's primitives.

    Attributes:
        now: the loop's clock, in seconds; virtual under a virtual clock.
        check_cancelled: what to await in order to learn whether the calling task was cancelled, without yielding if it
            was not; None if that is known already.
        where: with the thread, says which event loop calls: a task cannot be started from another one's code, such as a
            callback of trio-asyncio's, or a task of trio as asyncio's guest.
        here: what `where` says on this event loop.
        run_soon: run something on the loop, from any thread, in a context. Raises RuntimeError once the loop has ended.
        library: what sniffio calls the loop.
        event: makes an event of the loop's own kind.
    """

    now: Callable[[], float]
    check_cancelled: Callable[[], Awaitable[None] | None]
    where: Callable[[], object]
    here: object
    run_soon: Callable[[Callable[[], None], Context], Any]
    library: str
    event: Callable[[], Event]


def current_backend() -> Backend:
    """The primitives of the event loop that runs now."""
    if sniffio.current_async_library() == "trio":
        token = trio.lowlevel.current_trio_token()
        clock = trio.lowlevel.current_clock()
        return Backend(
            now=clock.current_time,
            check_cancelled=_checker_on_trio(),
            where=partial(getattr, _flavour, "name"),
            here="trio",
            run_soon=lambda work, context: token.run_sync_soon(context.run, work),
            library="trio",
            event=trio.Event,
        )
    loop = asyncio.get_running_loop()
    where = _where_on_asyncio(loop)
    return Backend(
        now=loop.time,
        check_cancelled=_checker_on_asyncio(loop),
        where=where,
        here=where(),  # nothing, as a rule; trio-asyncio leaves its word in the thread that it has run in
        run_soon=lambda work, context: loop.call_soon_threadsafe(work, context=context),
        library="asyncio",
        event=asyncio.Event,
    )


def nowhere() -> object:
    """Which event loop calls, for a system that is not open."""
    return None


# What follows makes functions, since to call one costs less than to call a `partial` of one.


def _where_on_asyncio(loop: asyncio.AbstractEventLoop) -> Callable[[], object]:
    """What tells whether it is the loop that calls: it runs (a thread runs one at a time), and no guest of it does."""
    is_running = loop.is_running

    def where() -> object:
        return _flavour.name if is_running() else "another event loop"

    return where


def _checker_on_asyncio(loop: asyncio.AbstractEventLoop) -> Callable[[], Awaitable[None] | None]:
    """Whether a cancellation was delivered to the task.

    One that was asked for but has not reached the task yet is left to the next point at which the task waits, as
    everywhere on asyncio.
    """
    current_task = asyncio.current_task

    def check() -> Awaitable[None] | None:
        task = current_task(loop)  # which without its loop costs a system call, on CPython before 3.12
        if task is None or not task.cancelling():
            return None
        return anyio.lowlevel.checkpoint_if_cancelled()  # which knows whether a shield is between

    return check


def _checker_on_trio() -> Callable[[], Awaitable[None] | None]:
    """Whether the task is cancelled. trio tells by a coroutine, which costs as much as a turn, so its task is asked.

    How that is done is trio's own affair, and may change: then it is the coroutine after all.
    """
    current_task = trio.lowlevel.current_task
    checkpoint_if_cancelled = trio.lowlevel.checkpoint_if_cancelled
    if not isinstance(_is_cancelled(current_task()), bool):
        return checkpoint_if_cancelled

    def check() -> Awaitable[None] | None:
        if current_task()._cancel_status.effectively_cancelled:  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
            return checkpoint_if_cancelled()
        return None

    return check


def _is_cancelled(task: trio.lowlevel.Task) -> object:
    return getattr(getattr(task, "_cancel_status", None), "effectively_cancelled", None)
