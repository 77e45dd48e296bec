"""The actor system: one dispatch loop, one task group, one tree of actors.

How a message is handled
------------------------
`tell` and `ask` put it into one first-in-first-out queue for the whole system and dispatch until the queue is empty, on
the sender's stack. If a dispatch is under way already (the sender is an actor in its turn), queueing is all that
happens: turns never nest, and never overlap. A dispatch that has gone on for its budget leaves the rest to the pump, a
task of the system, so that a long chain of messages cannot hold up the event loop. No task is switched for a message.

Signals (what the runtime itself says: `Terminated`, `AskerGone`, `Unclaimed`, the first turn) have a lane of their own
that is served first.
"""

import contextvars
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from logging import getLogger
from threading import get_ident
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import anyio
import trio
from anyio.abc import TaskGroup

from actors.actor import Actor
from actors.backend import Backend, current_backend
from actors.cell import RUNNING, Cell, Life
from actors.effect import Effect
from actors.ref import DeadLetter, Ref, Terminated
from actors.reply import Reply
from actors.timer import Timer, Timers
from protocol.errors import NameTaken, SystemClosed
from protocol.message import message

M = TypeVar("M")

DISPATCH_BUDGET: Final = 0.001
"""Seconds that one dispatch may hold the event loop."""
TURNS_BETWEEN_LOOKS: Final = 32
"""Turns between two looks at the stopwatch."""
DEAD_LETTERS_KEPT: Final = 16

logger = getLogger("troupe")


class System:
    """A tree of actors and everything that runs for them. Made by `open_system`.

    Attributes:
        name: the first part of every path in the system.
        dead_letters: how many messages could not be delivered.
        last_dead_letters: the latest of them.
        failures: how many actors an exception has stopped.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.dead_letters = 0
        self.last_dead_letters: deque[DeadLetter] = deque(maxlen=DEAD_LETTERS_KEPT)
        self.failures = 0
        # What follows is for the runtime.
        self.thread = 0
        self.is_busy = False
        self.queue: deque[tuple[Cell[Any], Any, Reply[Any] | None]] = deque()
        self.current_reply: Reply[Any] | None = None
        self.backend: Backend
        self.timers: Timers
        self._signals: deque[tuple[Cell[Any], Any]] = deque()
        self._roots: dict[str, Cell[Any]] = {}
        self.asks = 0
        self._pump_wakes: anyio.Event
        self._empty: anyio.Event | None = None
        self._tasks: TaskGroup
        self._context: contextvars.Context

    # --- its life

    async def __aenter__(self) -> Self:
        if self.thread:
            raise SystemClosed(f"the system {self.name} is open already")
        self._context = contextvars.copy_context()
        self.backend = current_backend()
        self.timers = Timers(self.backend.now)
        self._pump_wakes = anyio.Event()
        self._tasks = anyio.create_task_group()
        await self._tasks.__aenter__()
        self.thread = get_ident()
        self._run_in_context(self._pump)
        self._run_in_context(self.timers.run)
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
            self._tasks.cancel_scope.cancel()
            try:
                caught = await self._tasks.__aexit__(*((exc_type, exc, traceback) if cancelled else (None, None, None)))
            finally:
                self.thread = 0
        return caught if cancelled else None

    async def _stop_everything(self) -> None:
        for root in reversed(list(self._roots.values())):
            root.stop()
        if self._roots:
            self._empty = anyio.Event()
            await self._empty.wait()

    # --- for everyone

    def spawn(self, actor: Actor[M], *, name: str) -> Ref[M]:
        """Start an actor at the top of the tree.

        Args:
            actor: the actor; it must not have been started before.
            name: its name, unlike that of every other living actor at the top.

        Raises:
            NameTaken: another one has the name.
            SystemClosed: the system is not open.
        """
        if not self.thread:
            raise SystemClosed(f"the system {self.name} is not open, so {name} cannot be started in it")
        return self.start_actor(actor, name, None)

    def __repr__(self) -> str:
        return f"<System {self.name}, {'open' if self.thread else 'closed'}>"

    # --- dispatch

    @trio.lowlevel.enable_ki_protection
    def dispatch(self, cell: Cell[Any], message: Any, reply: Reply[Any] | None) -> None:
        """Handle one message, and all that come of it.

        On trio, Ctrl-C is kept out while this runs: it would land within a turn.
        """
        self.is_busy = True
        self._turn(cell, message, reply)
        if self.queue or self._signals:
            self._drain()
        else:
            self.is_busy = False

    @trio.lowlevel.enable_ki_protection
    def signal(self, cell: Cell[Any], signal: object) -> None:
        """Handle a signal before all messages that wait."""
        self._signals.append((cell, signal))
        if not self.is_busy:
            self.is_busy = True
            self._drain()

    @trio.lowlevel.enable_ki_protection
    def _drain(self) -> None:
        signals, queue = self._signals, self.queue
        started = turns = 0.0
        while True:
            if signals:
                self._signal_turn(*signals.popleft())
            elif queue:
                self._turn(*queue.popleft())
            else:
                break
            turns += 1
            if turns % TURNS_BETWEEN_LOOKS == 0:
                now = self.backend.stopwatch()
                started = started or now
                if now - started > DISPATCH_BUDGET:
                    self._pump_wakes.set()
                    return  # still busy: until the pump is done, whoever sends only queues
        self.is_busy = False

    async def _pump(self) -> None:
        while True:
            await self._pump_wakes.wait()
            self._pump_wakes = anyio.Event()
            self._drain()

    def _turn(self, cell: Cell[Any], message: Any, reply: Reply[Any] | None) -> None:
        if reply is not None:
            if not reply.is_open:
                return
            reply.holder = cell
        if cell.life is not RUNNING:
            self._undeliverable(cell, message, reply)
            return
        self.current_reply = reply
        try:
            cell.actor.receive(message)
        except Exception as error:  # noqa: BLE001 - whatever it is, it ends this actor and nothing else
            self._fail(cell, error)
            if reply is not None:
                reply.holder_stopped(error)
        else:
            if reply is not None and self.current_reply is reply and reply.is_open:
                if reply.kept:
                    reply.listed = True
                    cell.open_replies.add(reply)
                else:
                    reply.forgotten()

    def _signal_turn(self, cell: Cell[Any], signal: Any) -> None:
        if cell.life is not RUNNING:
            return
        self.current_reply = None
        try:
            if isinstance(signal, _Stop):
                self._begin_stop(cell, signal.reason)
            elif isinstance(signal, _Start):
                cell.actor.started()
            else:
                cell.actor.signal(signal)
        except Exception as error:  # noqa: BLE001 - as for a turn
            self._fail(cell, error)

    def _fail(self, cell: Cell[Any], error: Exception) -> None:
        self.failures += 1
        logger.error("%s failed and is stopped: %s", cell.path, type(error).__name__, exc_info=error)
        self.signal(cell, _Stop(error))

    def _undeliverable(self, cell: Cell[Any], message: object, reply: Reply[Any] | None) -> None:
        self.dead_letters += 1
        self.last_dead_letters.append(DeadLetter(cell, message))
        if reply is not None:
            reply.holder_stopped(None)

    # --- actors, and what belongs to them

    def start_actor(self, actor: Actor[M], name: str, parent: Cell[Any] | None) -> Cell[M]:
        """Put an actor in its place, and let it have its first turn."""
        if parent is None:
            siblings = self._roots
        elif parent.children is None:
            siblings = parent.children = {}
        else:
            siblings = parent.children
        cell = Cell(self, actor, name, parent)
        if name in siblings:
            raise NameTaken(f"{cell.path} is alive: stop it first, or choose another name")
        siblings[name] = cell
        actor.bind(cell)
        self.signal(cell, _Start())
        return cell

    def stop_actor(self, cell: Cell[Any], reason: Exception | None) -> None:
        """Stop an actor as soon as the turn that is under way is over."""
        if cell.life is not RUNNING:
            return
        if get_ident() != self.thread:
            raise cell.unreachable(_Stop(reason))
        self.signal(cell, _Stop(reason))

    def start_effect(self, cell: Cell[Any], run: Callable[[], Awaitable[Any]], then: Callable[[Any], Any]) -> Effect:
        """Start a task for an actor, in the context that was current when the system opened."""
        effect = Effect(cell, run, then)
        if cell.effects is None:
            cell.effects = set()
        cell.effects.add(effect)
        self._run_in_context(effect.execute)
        return effect

    def effect_ended(self, cell: Cell[Any], effect: Effect) -> None:
        """The effect's task is about to end."""
        if cell.effects is not None:
            cell.effects.discard(effect)
        if cell.life is Life.STOPPING and not cell.has_dependants:
            self._end(cell)

    def effect_failed(self, cell: Cell[Any], error: Exception) -> None:
        """What should have made an effect's outcome a message raised instead."""
        self._fail(cell, error)

    def start_timer(self, cell: Cell[Any], seconds: float, message: Any) -> Timer:
        """Let a message come to an actor later."""
        timer = Timer(cell, message)
        if cell.timers is None:
            cell.timers = set()
        cell.timers.add(timer)
        self.timers.add(timer, seconds)
        return timer

    def _run_in_context(self, task: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._context.run(self._tasks.start_soon, task)

    def _begin_stop(self, cell: Cell[Any], reason: Exception | None) -> None:
        cell.life = Life.STOPPING
        cell.reason = reason
        for reply in list(cell.open_replies):
            reply.holder_stopped(reason)
        for timer in list(cell.timers or ()):
            timer.cancel()
        for effect in list(cell.effects or ()):
            effect.cancel()
        for child in reversed(list((cell.children or {}).values())):
            self._signal_turn(child, _Stop(None))
        if not cell.has_dependants:
            self._end(cell)

    def _end(self, cell: Cell[Any]) -> None:
        if cell.life is Life.STOPPED:
            return
        cell.life = Life.STOPPED
        try:
            cell.actor.stopped(cell.reason)
        except Exception as error:
            self.failures += 1
            logger.exception("%s failed in its last turn: %s", cell.path, type(error).__name__)
        for watcher in cell.watchers or ():
            watcher.signal(Terminated(cell, cell.reason))
        parent = cell.parent
        if parent is None:
            del self._roots[cell.name]
            if not self._roots and self._empty is not None:
                self._empty.set()
            return
        if parent.children is not None:
            del parent.children[cell.name]
        if parent.life is Life.STOPPING and not parent.has_dependants:
            self._end(parent)


@message
class _Start:
    """Signal: the first turn."""


@message
class _Stop:
    """Signal: the last one."""

    reason: Exception | None


def open_system(name: str = "troupe") -> System:
    """Make an actor system, and enter it with `async with`.

    Leaving it stops every actor and waits until all their effects have ended: nothing of the system runs on. That wait
    is shielded from cancellation, so what an effect does when it is cancelled must be bounded. An exception of the body
    leaves as it is, not in a group.
    """
    return System(name)
