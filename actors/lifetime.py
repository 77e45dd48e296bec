"""How a system opens, and how it is left: everything of it begins and ends within one `async with`."""

import contextvars
from asyncio import CancelledError
from collections.abc import Awaitable, Callable
from functools import partial
from threading import get_ident
from types import TracebackType
from typing import Any, Self, cast

import anyio
import sniffio
from typing_extensions import override

from actors.backend import current_backend
from actors.cell import Cell
from actors.clock import Clock
from actors.life import STOPPED
from actors.links import each
from actors.timer import Timers
from actors.tree import Tree
from protocol.errors import SystemClosed


class Lifetime(Tree):
    """A tree of actors with a beginning and an end. The base of `System`, which is what its users see."""

    __slots__ = (
        "_all_ended",
        "_ends",
        "_escalated",
        "_given_clock",
        "_leaving",
        "_services",
        "_takes_tasks",
    )

    def __init__(self, clock: Clock | None) -> None:
        super().__init__()
        self._given_clock = clock
        self._leaving = self._takes_tasks = False
        self._services: list[anyio.CancelScope] = []
        self._ends: dict[Cell[Any], anyio.Event] = {}
        self._all_ended: anyio.Event | None = None
        self._escalated: BaseException | None = None

    async def __aenter__(self) -> Self:
        if self.thread:
            raise SystemClosed(f"the system {self.name} is open already")
        self.backend = current_backend()
        self._context = contextvars.copy_context()
        # A turn may run in a callback of the loop, where there is no task for sniffio to tell the loop by.
        self._context.run(sniffio.current_async_library_cvar.set, self.backend.library)
        self.where, self.here = self.backend.where, self.backend.here
        self.check_cancelled = self.backend.check_cancelled
        self.clock = self._given_clock or Clock()
        # anyio finds out anew at each call which event loop runs: the loop's own clock is asked directly.
        self.now = self.clock.now if self._given_clock is not None else self.backend.now
        self.timers = Timers(self.clock, self.now)
        self._pump_wakes = anyio.Event()
        self._pump_has_ended = self._leaving = False
        self._takes_tasks = True
        self._escalated = None
        self._tasks = anyio.create_task_group()
        await self._tasks.__aenter__()
        self.thread = get_ident()
        for service in (self.pump, self.timers.run):
            # Shielded, as effects are: a cancellation of whoever opened the system ends it in good order, which takes
            # these two. `__aexit__` ends them.
            scope = anyio.CancelScope(shield=True)
            self._services.append(scope)
            self._start_task(partial(self._serve, scope, service))
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        cancelled = anyio.get_cancelled_exc_class()
        # The body's own exception is not handed to the task group, which would wrap it in a group. A cancellation is,
        # since it may be the task group's to catch; out of a nursery it comes as a group of them.
        own = exc
        if isinstance(exc, BaseExceptionGroup):
            own = cast("BaseExceptionGroup[BaseException]", exc).split(cancelled)[1]
        has_failed = own is not None and not isinstance(own, cancelled)
        cancellation: BaseException | None = None if has_failed else cast("BaseException | None", exc)
        self._leaving = True
        try:
            if cancellation is None:
                await self._shut_down_roots()
        except cancelled as interruption:
            # If the body has failed, that is what leaves: whoever cancelled meanwhile notices at the next checkpoint.
            cancellation = None if has_failed else interruption
        finally:
            try:
                with anyio.CancelScope(shield=True):
                    await self._stop_everything()
            finally:
                caught = await self._leave_tasks(cancellation, has_failed=has_failed)
        if self._escalated is not None and not has_failed and (exc is None or caught):
            raise self._escalated
        if self._escalated is not None and own is not None and own is not exc:
            raise own  # without the cancellations, which were the system's own
        if cancellation is not None and cancellation is not exc and not caught:
            raise cancellation
        return caught if cancellation is exc else None

    async def _serve(self, scope: anyio.CancelScope, service: Callable[[], Awaitable[None]]) -> None:
        with scope:
            try:
                await service()
            except CancelledError as error:
                if scope.cancel_called:
                    raise
                raise RuntimeError(f"a task of the system {self.name} was cancelled from outside") from error

    async def _shut_down_roots(self) -> None:
        """Let what is at the top of the tree end in good order, the last one started first."""
        for root in reversed(list(self._roots.values())):
            if root.life is not STOPPED:
                ended = self.end_of(root)
                self.shut_down(root, None)
                if not ended.is_set():
                    await ended.wait()

    def end_of(self, cell: Cell[Any]) -> anyio.Event:
        """Set once that actor, which has yet to end, has ended."""
        if cell not in self._ends:
            self._ends[cell] = anyio.Event()
        return self._ends[cell]

    async def _stop_everything(self) -> None:
        self._all_ended = anyio.Event()
        self.do_first(self._stop_roots)
        await self._all_ended.wait()

    async def _leave_tasks(self, cancellation: BaseException | None, *, has_failed: bool) -> bool | None:
        # Cut short by Ctrl-C, or by a cancellation that knows no shields (asyncio's own): still nothing runs on.
        for cell in self.cells():
            for effect in each(cell.effects):
                effect.cancel()
        self._takes_tasks = False
        for scope in self._services:
            scope.cancel()
        self._services.clear()
        self._tasks.cancel_scope.cancel()
        try:
            if cancellation is None:
                return await self._tasks.__aexit__(None, None, None)
            return await self._tasks.__aexit__(type(cancellation), cancellation, cancellation.__traceback__)
        except anyio.get_cancelled_exc_class():
            if has_failed:
                return False
            raise
        finally:
            self._answer_whoever_waits()
            self.thread = 0

    def _answer_whoever_waits(self) -> None:
        """All actors have ended, or will have no more turns: what is queued is undeliverable, and who asked is told."""
        for cell in self.cells():
            cell.life = STOPPED
            for reply in cell.open_replies:
                reply.holder_stopped(cell.reason)
            self.queue.release(cell)
            self.settle(cell, has_started=False)
        for ended in self._ends.values():
            ended.set()
        self._ends.clear()
        self.restarted.clear()
        self._lane.clear()
        self.drain(float("inf"))

    def _stop_roots(self) -> None:
        for root in reversed(list(self._roots.values())):
            self._begin_stop(root, None)
        self._note_if_empty()

    @override
    def actor_ended(self, cell: Cell[Any], *, is_told: bool) -> None:
        if (ended := self._ends.pop(cell, None)) is not None:
            ended.set()
        if cell.parent is not None:
            return
        if cell.reason is not None and cell.actor.escalates and not is_told:
            self._escalated = self._escalated or cell.reason
            self._tasks.cancel_scope.cancel()
        self._note_if_empty()

    def _note_if_empty(self) -> None:
        if self._all_ended is not None and not self._roots:
            self._all_ended.set()
