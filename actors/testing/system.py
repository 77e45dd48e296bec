"""An actor system in a simulation: it can stand still, and die."""

from collections.abc import Awaitable, Callable
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any, TypeVar, cast

import anyio.to_thread
import trio
from opentelemetry.context import get_current
from typing_extensions import override

from actors.cell import Cell
from actors.effect import Effect
from actors.life import STOPPED
from actors.links import each
from actors.reply import Reply
from actors.system import System
from actors.testing.cell import OpenAsk, SimulatedCell
from actors.testing.event import Log
from actors.testing.queue import SimulatedQueue
from actors.tracing import Turn

if TYPE_CHECKING:
    from actors.actor import Actor
    from actors.testing.clock import SimulatedClock
    from actors.tracing import TraceHook
    from protocol.mailbox import Mailbox

M_contra = TypeVar("M_contra", contravariant=True)
R = TypeVar("R")

SPLITS = 0.1
"""How likely a dispatch leaves the rest of its work to the pump, although its budget is not used up."""
TURNS_BEFORE_SPLIT = 6


class SimulatedSystem(System):
    """A system whose time, randomness and dispatches come from a simulation. Made by `Simulation.open_system`.

    Attributes:
        open_asks: the asks that wait for an answer of its actors.
        is_paused: whether it stands still.
        has_crashed: whether it has died.
    """

    clock: "SimulatedClock"

    def __init__(
        self,
        name: str,
        clock: "SimulatedClock",
        random: Random,
        schedule: Random,
        log: Log,
        *hooks: "TraceHook",
    ) -> None:
        super().__init__(name, clock, random)
        self.watches_turns = True
        self.open_asks: dict[OpenAsk, None] = {}
        self.is_paused = False
        self.has_crashed = False
        self.queue = self._splitting = SimulatedQueue(self)
        self._error: BaseException | None = None
        self._schedule = schedule
        self._log = log
        self._hooks = hooks
        self._postponed: list[Callable[[], None]] = []

    # --- what becomes of it

    def pause(self) -> None:
        """From now on no turn runs, and no message arrives by the bus. A turn under way still ends."""
        self.is_paused = self.is_busy = True

    def resume(self) -> None:
        """Let turns run again, and what waited arrive."""
        self.is_paused = False
        if self.queue.entries or self._lane:
            self.is_busy = True
            self.wake_pump()
        elif self.current is None:
            self.is_busy = False
        postponed, self._postponed = self._postponed, []
        for work in postponed:
            work()

    def when_resumed(self, work: Callable[[], None]) -> None:
        """Do it once the system no longer stands still."""
        self._postponed.append(work)

    def crash(self) -> None:
        """End all actors where they stand: none has another turn. Whoever leaves the system lets its tasks unwind."""
        self.has_crashed = True
        self.is_paused = False
        self._postponed.clear()
        self._leaving = True
        for cell in self.cells():
            cell.life = STOPPED
            for alarm in each(cell.timers):
                alarm.cancel()
            for effect in each(cell.effects):
                effect.cancel()
        self.alive = 0
        if self._all_ended is not None:
            self._all_ended.set()

    @override
    async def _stop_everything(self) -> None:
        if not self.has_crashed:
            await super()._stop_everything()

    # --- when its work is done

    @override
    def dispatch(self, cell: Cell[Any], message: Any, reply: Reply[Any] | None) -> None:
        super().dispatch(cell, message, reply)
        if self.is_paused:  # by that very turn
            self.is_busy = True

    @override
    def _drain(self, budget: float, *, has_room: bool = False) -> None:
        is_last = budget == float("inf") or self._pump_has_ended
        if self.is_paused and not is_last:
            return
        splitting = self._splitting
        splitting.turns = None
        if not is_last and self._schedule.random() < SPLITS:
            splitting.turns = self._schedule.randrange(TURNS_BEFORE_SPLIT)
        super()._drain(budget, has_room=has_room)
        if splitting.turns is not None:
            splitting.turns = None
            if splitting.entries and not self.is_busy:
                self.is_busy = True
                self.wake_pump()
        if self.is_paused:
            self.is_busy = True

    @override
    def start_effect(self, cell: Cell[Any], run: Callable[[], Awaitable[Any]], then: Callable[[Any], Any]) -> Effect:
        function: Any = getattr(run, "func", None)
        if function is anyio.to_thread.run_sync:  # `Actor.start_in_thread`
            run = partial(_instead_of_a_thread, cast("partial[Any]", run).args[0])
        return super().start_effect(cell, run, then)

    # --- what is noted of it

    @override
    def turn(self, cell: Cell[Any], message: Any, reply: Reply[Any] | None, is_answer: bool = False) -> None:
        sender, at = self._before_turn(), self.now()
        try:
            super().turn(cell, message, reply, is_answer)
        finally:
            self._after_turn(sender, cell, message, at)

    @override
    def run_hook(self, cell: Cell[Any], about: object, hook: Callable[[], None]) -> None:
        sender, at = self._before_turn(), self.now()
        try:
            super().run_hook(cell, about, hook)
        finally:
            self._after_turn(sender, cell, about, at)

    @override
    def fail(self, cell: Cell[Any], error: BaseException) -> None:
        self._error = error
        super().fail(cell, error)

    @override
    def make_cell(
        self, actor: "Actor[M_contra]", label: str | int, parent: Cell[Any] | None, mailbox: "Mailbox"
    ) -> Cell[M_contra]:
        return SimulatedCell(self, actor, label, parent, mailbox)

    @override
    def undeliverable(self, cell: Cell[Any], message: object, reply: Reply[Any] | None) -> None:
        sender = self.current.path if self.current is not None else None
        self._log.record(self.name, "lost", type(message).__name__, sender=sender, receiver=cell.path)
        super().undeliverable(cell, message, reply)

    def _before_turn(self) -> Cell[Any] | None:
        queue = self._splitting
        sender, queue.sender = queue.sender or self.current, None
        self._error = None
        self.has_begun = False
        return sender

    def _after_turn(self, sender: Cell[Any] | None, cell: Cell[Any], message: object, at: float) -> None:
        if not self.has_begun:
            return
        error = self._error
        self._log.record(
            self.name,
            "turn",
            message if isinstance(message, str) else type(message).__name__,
            sender=None if sender is None else sender.path,
            receiver=cell.path,
            error=None if error is None else type(error).__name__,
        )
        if self._hooks:
            turn = Turn(sender, cell, message, get_current(), at, 0.0, error)
            for hook in self._hooks:
                hook(turn)


async def _instead_of_a_thread(function: Callable[[], Any]) -> Any:
    """Run what blocks where the scheduler can tell when: a thread of its own would run whenever it likes."""
    await trio.lowlevel.checkpoint()
    return function()
