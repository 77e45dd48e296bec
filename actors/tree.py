"""The tree of actors: how they start, what they hold, and how they end."""

import contextvars
from asyncio import CancelledError
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import suppress
from functools import partial
from logging import getLogger
from threading import get_ident
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import anyio
import trio
from anyio.abc import TaskGroup
from typing_extensions import override

from actors.actor import Actor
from actors.cell import Cell
from actors.dispatch import DRAIN, Dispatcher
from actors.effect import Effect, Failed, Outcome, Succeeded
from actors.hooks import check_class
from actors.life import RUNNING, STARTING, STOPPED, STOPPING
from actors.links import each, without_link
from actors.mailbox import SIGNAL
from actors.siblings import Siblings, find_child, made_name, with_child, without_child
from actors.timer import Alarm, Beat, Call, Timer, Timers
from protocol.errors import (
    ActorReused,
    ActorStopped,
    InvalidName,
    InvalidSettings,
    NameTaken,
    StartFailed,
    StartTimeout,
    WrongEventLoop,
    WrongThread,
)
from protocol.mailbox import Mailbox

if TYPE_CHECKING:
    from actors.system import System

M = TypeVar("M")

ONE_MOMENT: Final = 0.001
"""Seconds within which it is not told apart who started first."""

logger = getLogger("troupe")


class Tree(Dispatcher):
    """The actors of a system, and what belongs to them. The base of `System`, which opens and closes it.

    Attributes:
        timers: those of all actors.
        now: the system's clock, in seconds.
        alive: how many actors have started, or begun to, and not ended.
        started: how many ever did.
        effects: how many run.
        restarts: how many actors were started by a supervisor in the place of one that ended.
        restarted: those of them that live, and how often that was done for each.
        starts: whom to tell of the starts that somebody waits for, or of ends without one.
    """

    __slots__ = (
        "_context",
        "_has_starting",
        "_moment",
        "_roots",
        "_tasks",
        "alive",
        "effects",
        "name",
        "now",
        "restarted",
        "restarts",
        "started",
        "starts",
        "timers",
    )
    name: str
    timers: Timers
    now: Callable[[], float]
    _tasks: TaskGroup
    _context: contextvars.Context

    def __init__(self) -> None:
        super().__init__()
        self.alive = self.started = self.effects = self.restarts = 0
        self.starts: dict[Cell[Any], Callable[[bool], None]] = {}
        self.restarted: dict[Cell[Any], int] = {}
        self._roots = Siblings()
        self._moment = 0.0
        self._has_starting: dict[type, bool] = {}

    # --- how actors start

    def start_actor(
        self,
        actor: Actor[M],
        name: str | None,
        parent: Cell[Any] | None,
        *,
        mailbox: Mailbox | None = None,
        settled: Callable[[bool], None] | None = None,
    ) -> Cell[M]:
        """Put an actor in its place, and let it start.

        Args:
            actor: the actor.
            name: its name; None makes one.
            parent: the actor that it is a child of.
            mailbox: the bound of its mailbox; None means that of its class.
            settled: called with True once it has started, or with False if it has ended without.
        """
        self.check_thread(parent, f"told to start {name or type(actor).__name__}")
        self._check_start(actor, name, parent)
        label = self._make_number(actor, parent) if name is None else name
        if mailbox is not None and not isinstance(mailbox, Mailbox):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidSettings(
                f"{name or type(actor).__name__} cannot be given {mailbox!r} for a mailbox: make a Mailbox"
            )
        cell = self.make_cell(actor, label, parent, mailbox or actor.mailbox)
        if settled is not None:
            self.starts[cell] = settled
        if parent is None:
            self._roots[label] = cell
        else:
            parent.family = with_child(parent.family, cell)
        self.alive += 1
        self.started += 1
        actor.bind(cell)
        self.do_first(partial(self._begin, cell))
        return cell

    def make_cell(self, actor: Actor[M], label: str | int, parent: Cell[Any] | None, mailbox: Mailbox) -> Cell[M]:
        """The cell of a new actor."""
        return Cell(cast("System", self), actor, label, parent, mailbox)

    def moment(self) -> float:
        """The time, to a millisecond: one object for all who start within one, as most actors do with their parents."""
        now = self.now()
        if not 0.0 <= now - self._moment < ONE_MOMENT:
            self._moment = now
        return self._moment

    def settle(self, cell: Cell[Any], *, has_started: bool) -> bool:
        """An actor has started, or has ended without: tell who waited for it. Whether somebody did."""
        cell.has_started = cell.has_started or has_started
        settled = self.starts.pop(cell, None) if self.starts else None
        if settled is not None:
            settled(has_started)
        return settled is not None

    def _make_number(self, actor: Actor[Any], parent: Cell[Any] | None) -> int:
        """A number that makes a name for an actor given none. The name itself is made only when somebody asks."""
        number = self.started + 1
        while self.find_child(parent, made_name(actor, number)) is not None:
            number += 1
        return number

    def _check_start(self, actor: Actor[Any], name: str | None, parent: Cell[Any] | None) -> None:
        def path() -> str:
            told = type(actor).__name__.lower() if name is None else name
            return f"{'/' + self.name if parent is None else parent.path}/{told}"

        kind = type(actor)
        if not isinstance(actor, Actor):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"{path()} cannot be started: {actor!r} is no object of an Actor's class")
        if name is not None and (not isinstance(name, str) or not name or "/" in name):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidName(f"{path()} is no path for an actor: a name is text, not empty, and without a slash")
        if parent is not None and not parent.has_turns:
            raise ActorStopped(f"{parent.path} has stopped and cannot start {name}")
        if kind not in self._has_starting:
            check_class(kind, path())
            self._has_starting[kind] = kind.starting is not Actor[Any].starting
        if actor.is_spawned:
            raise ActorReused(f"{path()} cannot be started: this {kind.__name__} was started before; make another")
        if name is not None and (namesake := self.find_child(parent, name)) is not None:
            if namesake.has_turns:
                raise NameTaken(f"{path()} is alive: stop it first, or choose another name")
            raise NameTaken(f"{path()} is still stopping: wait for its end (`ended`, `watch`), or choose another name")

    def _begin(self, cell: Cell[Any]) -> None:
        if cell.life is not STARTING:
            return
        if not self._has_starting[type(cell.actor)]:
            self._first_turn(cell)
            return
        overdue = self.call_later(cell, cell.actor.start_timeout, partial(self._start_overdue, cell))
        self._run_effect(Effect(cell), cell.actor.starting, partial(self._start_ended, cell, overdue))

    def _start_ended(self, cell: Cell[Any], overdue: Alarm, outcome: Outcome[Any]) -> None:
        overdue.cancel()
        if isinstance(outcome, Succeeded):
            self.do_first(partial(self._first_turn, cell))
        elif cell.life is STARTING and cell.reason is None:
            cause = outcome.error if isinstance(outcome, Failed) else RuntimeError("its task was cancelled")
            self.fail(cell, cause)

    def _start_overdue(self, cell: Cell[Any]) -> None:
        if cell.life is STARTING:
            seconds = cell.actor.start_timeout
            self.fail(cell, StartTimeout(f"{cell.path} did not start within {seconds:g} s (start_timeout)"))

    def _first_turn(self, cell: Cell[Any]) -> None:
        if cell.life is not STARTING:
            return
        self.run_hook(cell, "started", cell.actor.started)
        if cell.life is STARTING and cell.reason is None:
            cell.life = RUNNING
            self.queue.release(cell)
            if not cell.actor.settles_itself:
                self.settle(cell, has_started=True)

    # --- how actors end

    @override
    def stop_actor(self, cell: Cell[Any], reason: BaseException | None) -> None:
        if not cell.has_turns:
            return
        self.check_thread(cell, "told to stop")
        if cell.life is STARTING and isinstance(reason, Exception) and not isinstance(reason, StartFailed):
            cause, reason = reason, StartFailed(f"{cell.path} could not start ({type(reason).__name__})")
            reason.__cause__ = cause
        cell.reason = cell.reason or reason
        if self.current is cell and self.current_reply is not None:
            self.current_reply.kept = True  # its end answers what its last turn leaves open
        self.do_first(partial(self._begin_stop, cell, reason))

    def drain_actor(self, cell: Cell[Any]) -> None:
        """Stop an actor once it has handled what is queued for it, and is done."""
        if cell.life is STARTING:
            self.stop_actor(cell, None)
        elif cell.life is RUNNING:
            self.check_thread(cell, "told to drain")
            self.queue.put_marked(cell, DRAIN, SIGNAL)
            self.dispatch_queued()

    def shut_down(self, cell: Cell[Any], seconds: float | None) -> None:
        """Drain an actor, and stop it if that takes longer. None means as long as its class says."""
        seconds = cell.actor.shutdown if seconds is None else seconds
        if seconds <= 0:
            self.stop_actor(cell, None)
            return
        self.drain_actor(cell)
        if cell.has_turns and seconds != float("inf"):
            self.call_later(cell, seconds, partial(self._drain_overdue, cell, seconds))

    def _drain_overdue(self, cell: Cell[Any], seconds: float) -> None:
        with suppress(Exception):
            logger.warning("%s was still draining after %g s, and is stopped", cell.path, seconds)
        self.stop_actor(cell, None)

    def _begin_stop(self, cell: Cell[Any], reason: BaseException | None) -> None:
        if not cell.has_turns:
            return
        cell.life = STOPPING
        cell.reason = reason = cell.reason or reason
        for reply in each(cell.replies):
            reply.holder_stopped(reason)
        for alarm in each(cell.timers):
            alarm.cancel()
        for effect in each(cell.effects):
            effect.cancel()
        for child in reversed(cell.children):
            self.do_first(partial(self._begin_stop, child, None))
        for watched in cell.all_watched:
            cell.unwatch(watched)
        if cell.holding is not None:
            for message, asked in self.queue.discard_held(cell):
                self.undeliverable(cell, message, asked)
        self._end_if_done(cell)

    def _end_if_done(self, stopping: Cell[Any] | None) -> None:
        """End an actor that waits for nothing any more, and then its parent, if that is so of it."""
        cell = stopping
        fatal: BaseException | None = None
        while cell is not None and cell.life is STOPPING and not cell.has_dependants:
            cell.life = STOPPED
            self.alive -= 1
            if cell.parent is None:
                del self._roots[cell.label]
            else:
                cell.parent.family = without_child(cell.parent.family, cell)
            try:
                self.run_hook(cell, "stopped", partial(cell.actor.stopped, cell.reason))
            except BaseException as error:  # noqa: BLE001 - raised below, once everybody knows of the end
                fatal = error
            is_told = self.settle(cell, has_started=False)
            if self.restarted:
                self.restarted.pop(cell, None)
            cell.tell_end()
            self.actor_ended(cell, is_told=is_told)
            cell = cell.parent
        if fatal is not None:
            raise fatal

    def actor_ended(self, cell: Cell[Any], *, is_told: bool) -> None:
        """An actor has ended. `is_told`: somebody waited for its start, and knows why."""
        raise NotImplementedError

    # --- what actors hold

    def start_effect(self, cell: Cell[Any], run: Callable[[], Awaitable[Any]], then: Callable[[Any], Any]) -> Effect:
        """Start a task for an actor, in the context that was current when the system opened."""
        self.check_thread(cell, "told to start an effect")
        if not callable(run) or not callable(then):
            raise TypeError(
                f"{cell.path} cannot start an effect: `run` and `then` are functions, called when it is time"
            )
        if not cell.has_turns:
            raise ActorStopped(f"{cell.path} has stopped and cannot start an effect")
        effect = Effect(cell)
        self._run_effect(effect, run, lambda outcome: self.deliver(cell, then(outcome)))
        return effect

    def _run_effect(
        self, effect: Effect, run: Callable[[], Awaitable[Any]], ended: Callable[[Outcome[Any]], None]
    ) -> None:
        self.effects += 1
        self._start_task(effect.execute, run, ended)

    @trio.lowlevel.enable_ki_protection
    def effect_ended(self, cell: Cell[Any], effect: Effect, deliver: Callable[[], None]) -> None:
        """The effect's task is about to end: its outcome goes to its actor, which may have waited for it to stop."""
        self.effects -= 1
        try:
            if cell.has_turns:
                deliver()
        except (Exception, CancelledError) as error:  # noqa: BLE001 - `then` is the actor's code
            self.fail(cell, error)
        finally:
            self.do_first(partial(self._forget_effect, cell, effect))

    def _forget_effect(self, cell: Cell[Any], effect: Effect) -> None:
        cell.effects = without_link(cell.effects, effect)
        self._end_if_done(cell)

    def start_timer(self, cell: Cell[Any], seconds: float, message: Any, *, every: float | None = None) -> Timer:
        """Let a message come to an actor later, once or again and again."""
        self.check_thread(cell, "told to set a timer")
        if not cell.has_turns:
            raise ActorStopped(f"{cell.path} has stopped and cannot set a timer")
        timer = Timer(cell, message) if every is None else Beat(cell, message, every)
        self.timers.add(timer, seconds)
        return timer

    def call_later(self, cell: Cell[Any], seconds: float, function: Callable[[], None]) -> Alarm:
        """Call a function later, unless the actor has ended by then."""
        alarm = Call(cell, function)
        self.timers.add(alarm, seconds)
        return alarm

    def new_scope(self) -> anyio.CancelScope:
        """A shielded scope. In the system's context, since a turn may run where anyio sees no event loop."""
        return self._context.run(anyio.CancelScope, shield=True)

    def _start_task(self, task: Callable[..., Coroutine[Any, Any, None]], *args: object) -> None:
        self._context.run(self._tasks.start_soon, task, *args)

    def check_thread(self, cell: Cell[Any] | None, what: str) -> None:
        """Raise unless this is the thread and event loop that run the system. A closed one is nobody's."""
        is_thread = get_ident() == self.thread
        if (is_thread and self.where() is self.here) or not self.thread:
            return
        who = self.name if cell is None else cell.path
        if not is_thread:
            raise WrongThread(
                f"{who} was {what} from another thread than the one that runs the system: let the outcome come back as "
                "a message (`then`), or use system.from_thread"
            )
        raise WrongEventLoop(
            f"{who} was {what} from another event loop than the one that runs the system: do so in a task of that "
            "loop (under trio-asyncio, on trio's side)"
        )

    # --- the tree

    def find_child(self, parent: Cell[Any] | None, name: str) -> Cell[Any] | None:
        """The child of that name; without a parent, the actor at the top of the tree."""
        return find_child(self._roots if parent is None else parent.family, name)

    def cells(self) -> Iterator[Cell[Any]]:
        """Every actor, parents before their children."""
        cells = list(self._roots.values())
        for cell in cells:
            cells += cell.children
        return iter(cells)
