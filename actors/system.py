"""The actor system: one task group and one tree of actors, on one dispatch loop (`actors.dispatch`)."""

import contextvars
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from functools import partial
from threading import get_ident
from types import TracebackType
from typing import Any, Self, TypeVar

import anyio
import trio
from anyio.abc import TaskGroup
from typing_extensions import override

from actors.actor import Actor
from actors.backend import current_backend
from actors.cell import RUNNING, Cell, Life
from actors.dispatch import Dispatcher
from actors.effect import Effect
from actors.ref import Ref, Terminated
from actors.timer import Timer, Timers
from protocol.errors import ActorStopped, NameTaken, SystemClosed, WrongThread

M = TypeVar("M")


class System(Dispatcher):
    """A tree of actors and everything that runs for them. Made by `open_system`.

    Attributes:
        name: the first part of every path in the system.
        timers: those of all actors.
    """

    timers: Timers

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self._roots: dict[str, Cell[Any]] = {}
        self._leaving = False
        self._tasks: TaskGroup
        self._services: list[anyio.CancelScope] = []
        self._context: contextvars.Context
        self._all_ended: anyio.Event | None = None

    # --- its life

    async def __aenter__(self) -> Self:
        if self.thread:
            raise SystemClosed(f"the system {self.name} is open already")
        self._context = contextvars.copy_context()
        self.backend = current_backend()
        self.timers = Timers(self.backend.now)
        self._pump_wakes = anyio.Event()
        self._pump_has_ended = self._leaving = False
        self._tasks = anyio.create_task_group()
        await self._tasks.__aenter__()
        self.thread = get_ident()
        for service in (self.pump, self.timers.run):
            # Shielded, as effects are: a cancellation of whoever opened the system ends it in good order, which takes
            # these two. `__aexit__` ends them.
            scope = anyio.CancelScope(shield=True)
            self._services.append(scope)
            self._start_task(partial(_within, scope, service))
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        # The body's own exception is not handed to the task group, which would wrap it in a group. A cancellation is,
        # since it may be the task group's to catch.
        cancelled = isinstance(exc, anyio.get_cancelled_exc_class())
        try:
            with anyio.CancelScope(shield=True):
                await self._stop_everything()
        finally:
            # Cut short by Ctrl-C, or by a cancellation that knows no shields (asyncio's own): still nothing runs on.
            for cell in self._cells():
                for effect in cell.effects or ():
                    effect.cancel()
            for scope in self._services:
                scope.cancel()
            self._services.clear()
            self._tasks.cancel_scope.cancel()
            try:
                caught = await self._tasks.__aexit__(*((exc_type, exc, traceback) if cancelled else (None, None, None)))
            finally:
                self._answer_whoever_waits()
                self.thread = 0
        return caught if cancelled else None

    async def _stop_everything(self) -> None:
        self._leaving = True
        self._all_ended = anyio.Event()
        self.do_first(self._stop_roots)
        await self._all_ended.wait()

    def _answer_whoever_waits(self) -> None:
        """All actors have ended, or will have no more turns: what is queued is undeliverable, and who asked is told."""
        for cell in self._cells():
            cell.life = Life.STOPPED
            for reply in list(cell.open_replies):
                reply.holder_stopped(cell.reason)
        self._lane.clear()
        self.drain(float("inf"))

    def _stop_roots(self) -> None:
        for root in reversed(list(self._roots.values())):
            self._begin_stop(root, None)
        self._note_if_empty()

    # --- for everyone

    def spawn(self, actor: Actor[M], *, name: str) -> Ref[M]:
        """Start an actor at the top of the tree.

        Args:
            actor: the actor; it must not have been started before.
            name: its name, unlike that of every other living actor at the top.

        Raises:
            NameTaken: another one has the name.
            SystemClosed: the system is not open, or is being left.
            WrongThread: this is not the thread that runs the system.
        """
        if not self.thread or self._leaving:
            raise SystemClosed(f"the system {self.name} is not open, so {name} cannot be started in it")
        if get_ident() != self.thread:
            raise WrongThread(f"{name} cannot be started in {self.name} from another thread than the one that runs it")
        return self.start_actor(actor, name, None)

    def __repr__(self) -> str:
        return f"<System {self.name}, {'open' if self.thread else 'closed'}>"

    # --- actors, and what belongs to them: for the runtime

    def start_actor(self, actor: Actor[M], name: str, parent: Cell[Any] | None) -> Cell[M]:
        """Put an actor in its place, and let it have its first turn."""
        cell = Cell(self, actor, name, parent)
        if parent is not None and parent.life is not RUNNING:
            raise ActorStopped(f"{parent.path} has stopped and cannot start {name}")
        siblings = self._siblings(cell)
        if name in siblings:
            raise NameTaken(f"{cell.path} is alive: stop it first, or choose another name")
        siblings[name] = cell
        actor.bind(cell)
        self.do_first(partial(self._first_turn, cell))
        return cell

    @override
    def stop_actor(self, cell: Cell[Any], reason: BaseException | None) -> None:
        if cell.life is not RUNNING:
            return
        if get_ident() != self.thread:
            raise cell.unreachable("a request to stop")
        self.do_first(partial(self._begin_stop, cell, reason))

    def start_effect(self, cell: Cell[Any], run: Callable[[], Awaitable[Any]], then: Callable[[Any], Any]) -> Effect:
        """Start a task for an actor, in the context that was current when the system opened."""
        if cell.life is not RUNNING:
            raise ActorStopped(f"{cell.path} has stopped and cannot start an effect")
        effect = Effect(cell, run, then)
        if cell.effects is None:
            cell.effects = set()
        cell.effects.add(effect)
        self._start_task(effect.execute)
        return effect

    @trio.lowlevel.enable_ki_protection
    def effect_ended(self, cell: Cell[Any], effect: Effect, make_message: Callable[[], Any]) -> None:
        """The effect's task is about to end: its outcome goes to its actor, which may have waited for it to stop."""
        try:
            if cell.life is RUNNING:
                cell.tell(make_message())
        except Exception as error:  # noqa: BLE001 - `then` is the actor's code: its failure is the actor's
            self.fail(cell, error)
        finally:
            self.do_first(partial(self._forget_effect, cell, effect))

    def start_timer(self, cell: Cell[Any], seconds: float, message: Any) -> Timer:
        """Let a message come to an actor later."""
        timer = Timer(cell, message)
        if cell.timers is None:
            cell.timers = set()
        cell.timers.add(timer)
        self.timers.add(timer, seconds)
        return timer

    def _start_task(self, task: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._context.run(self._tasks.start_soon, task)

    def _siblings(self, cell: Cell[Any]) -> dict[str, Cell[Any]]:
        if cell.parent is None:
            return self._roots
        if cell.parent.children is None:
            cell.parent.children = {}
        return cell.parent.children

    def _cells(self) -> Iterator[Cell[Any]]:
        cells = list(self._roots.values())
        for cell in cells:
            cells += (cell.children or {}).values()
        return iter(cells)

    def _first_turn(self, cell: Cell[Any]) -> None:
        if cell.life is RUNNING:
            self.run_hook(cell, cell.actor.started)

    def _forget_effect(self, cell: Cell[Any], effect: Effect) -> None:
        if cell.effects is not None:
            cell.effects.discard(effect)
        self._end_if_done(cell)

    def _begin_stop(self, cell: Cell[Any], reason: BaseException | None) -> None:
        if cell.life is not RUNNING:
            return
        cell.life = Life.STOPPING
        cell.reason = reason
        for reply in list(cell.open_replies):
            reply.holder_stopped(reason)
        for timer in list(cell.timers or ()):
            timer.cancel()
        for effect in list(cell.effects or ()):
            effect.cancel()
        for child in reversed(list((cell.children or {}).values())):
            self.do_first(partial(self._begin_stop, child, None))
        self._end_if_done(cell)

    def _end_if_done(self, stopping: Cell[Any] | None) -> None:
        """End an actor that waits for nothing any more, and then its parent, if that is so of it."""
        cell = stopping
        fatal: BaseException | None = None
        while cell is not None and cell.life is Life.STOPPING and not cell.has_dependants:
            cell.life = Life.STOPPED
            del self._siblings(cell)[cell.name]
            try:
                self.run_hook(cell, partial(cell.actor.stopped, cell.reason))
            except BaseException as error:  # noqa: BLE001 - raised below, once everybody knows of the end
                fatal = error
            for watcher in cell.watchers or ():
                watcher.signal(Terminated(cell, cell.reason))
            cell = cell.parent
        self._note_if_empty()
        if fatal is not None:
            raise fatal

    def _note_if_empty(self) -> None:
        if self._all_ended is not None and not self._roots:
            self._all_ended.set()


async def _within(scope: anyio.CancelScope, run: Callable[[], Awaitable[None]]) -> None:
    with scope:
        await run()


def open_system(name: str = "troupe") -> System:
    """Make an actor system, and enter it with `async with`.

    Leaving it stops every actor and waits until all their effects have ended: nothing of the system runs on. That wait
    is shielded from cancellation, so what an effect does when it is cancelled must be bounded. An exception of the body
    leaves as it is, not in a group.
    """
    return System(name)
