"""Where code that was written for asyncio runs, whatever the system runs on.

redis-py is such code. On asyncio it runs in a task of its own; on trio inside a loop of trio-asyncio, in the same
thread. From there no turn may be started (it would start tasks of the wrong kind), so whatever comes back is handed
over.
"""

import asyncio
import warnings
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from importlib import import_module
from typing import Any, TypeVar

import anyio
import sniffio

from protocol.errors import InvalidSettings

T = TypeVar("T")


def is_trio() -> bool:
    """Whether this is called from trio's side."""
    return sniffio.current_async_library() == "trio"


async def in_asyncio(run: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run something written for asyncio.

    Raises:
        InvalidSettings: this is trio, and trio-asyncio is not installed.

    Cancellation: what runs is cancelled once, as asyncio's code expects it, and waited for.
    """
    if not is_trio():
        return await _in_a_task(run)
    try:
        trio_asyncio = _trio_asyncio()
    except ImportError as error:
        raise InvalidSettings("Redis on trio needs trio-asyncio: install mcp-troupe[redis]") from error
    async with trio_asyncio.open_loop():
        return await trio_asyncio.aio_as_trio(run)()


def _trio_asyncio() -> Any:
    """The library. Its import has every `asyncio.run` of the process make a loop that is trio's, from then on; that is
    taken back, since this process may have asyncio in another thread, and plain asyncio is what that wants.
    """
    new_event_loop = asyncio.new_event_loop
    # From Python 3.12 on the import uses what is deprecated. Where warnings are errors that would stop it half-way,
    # once it has changed asyncio's policy for good.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        library = import_module("trio_asyncio")
    if not new_event_loop.__module__.startswith("trio_asyncio"):
        asyncio.new_event_loop = asyncio.events.new_event_loop = new_event_loop
    return library


async def _in_a_task(run: Callable[[], Coroutine[Any, Any, T]]) -> T:
    task = asyncio.create_task(run())
    try:
        await asyncio.wait((task,))
    finally:
        if not task.done():
            task.cancel()
            while not task.done():
                # The shield keeps anyio's cancellations out. One by the task's own `cancel()` joins that which is under
                # way already.
                with anyio.CancelScope(shield=True), suppress(asyncio.CancelledError):
                    await asyncio.wait((task,))
    return task.result()


class HandOver:
    """Brings calls from asyncio's side to the side that the system runs on, in order.

    On asyncio both are one, and calls are made at once.
    """

    __slots__ = ("_calls", "_has_some", "_loop")

    def __init__(self) -> None:
        self._loop = None if is_trio() else asyncio.get_running_loop()
        self._calls: deque[Callable[[], None]] = deque()
        self._has_some = anyio.Event()

    def call(self, call: Callable[[], None]) -> None:
        """Make a call on the system's side. To be used on asyncio's."""
        if self._loop is not None:
            call()
            return
        self._calls.append(call)
        self._has_some.set()

    def soon(self, call: Callable[[], None]) -> None:
        """Make a call on the system's side once what is being done now is done. To be used on either side."""
        if self._loop is not None:
            self._loop.call_soon(call)
            return
        self._calls.append(call)
        self._has_some.set()

    async def run(self) -> None:
        """Make the calls as they come, until cancelled."""
        while True:
            await self._has_some.wait()
            self._has_some = anyio.Event()
            while self._calls:
                self._calls.popleft()()

    def finish(self) -> None:
        """Make the calls that are left. To be used on the system's side, once there will be no more."""
        while self._calls:
            self._calls.popleft()()
