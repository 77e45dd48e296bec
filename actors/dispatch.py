"""The dispatch loop: how messages become turns.

`tell` and `ask` put a message into one first-in-first-out queue for the whole system and dispatch until the queue is
empty, on the sender's stack. If a dispatch is under way already (the sender is an actor in its turn), queueing is all
that happens: turns never nest, and never overlap. A dispatch that has gone on for its budget leaves the rest to the
pump, a task of the system, so that a long chain of messages cannot hold up the event loop. No task is switched for a
message.

What the runtime itself has to do (first turns, stops, the ends of effects) has a lane of its own that is served first.
What it has to *say* (`Terminated`, `AskerGone`, `Unclaimed`, `Unheard`) goes through the queue like every message, so
that an actor's last words arrive before the news of its end.
"""

from asyncio import CancelledError
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from logging import getLogger
from typing import Any, Final

import anyio
import trio

from actors.backend import Backend, nowhere
from actors.cell import Cell
from actors.clock import Clock
from actors.effect import as_exception
from actors.failure import told
from actors.letters import DeadLetters
from actors.life import DRAINING, RUNNING, STARTING
from actors.links import with_link
from actors.mailbox import ALWAYS, SIGNAL, Queue
from actors.ref import Terminated
from actors.reply import Reply
from protocol.message import Answer

DISPATCH_BUDGET: Final = 0.001
"""Seconds that one dispatch may hold the event loop."""
TURNS_BETWEEN_LOOKS: Final = 8
"""Turns between two looks at the stopwatch, the first of which is after the first turn."""

logger = getLogger("troupe")


class Drain:
    """Signal, to the runtime itself: what was queued before it has been handled."""


DRAIN: Final = Drain()


class Dispatcher:
    """The queue, the lane and the loop. The base of `System`, which knows what actors are.

    Attributes:
        dead_letters: the messages that could not be delivered.
        failures: how many times an exception left an actor's code.
        thread: the thread that runs the system; 0 while it is not open.
        check_cancelled, where: see `Backend`. `where` says which event loop calls.
        here: what it says where the system runs.
        is_busy: whether a dispatch is under way, or the pump has yet to finish one.
        current: the actor whose turn is under way.
        current_reply: the reply slot of that turn.
        is_stranded: whether an exception cut a dispatch short and there was no room on its stack to wake the pump for
            the rest: whoever sends next does that.
        asks: how many requests were ever asked.
        has_begun: whether the turn last dispatched came as far as the actor's own code. Known only of those that were
            queued, and where turns are watched.
        watches_turns: whether each turn must go through `turn`, since a subclass does more there.
    """

    # Slots, since an object with more than thirty attributes would be slow to read on CPython 3.11.
    __slots__ = (
        "_lane",
        "_pump_has_ended",
        "_pump_wakes",
        "asks",
        "backend",
        "check_cancelled",
        "clock",
        "current",
        "current_reply",
        "dead_letters",
        "failures",
        "has_begun",
        "here",
        "is_busy",
        "is_stranded",
        "queue",
        "thread",
        "watches_turns",
        "where",
    )
    backend: Backend
    check_cancelled: Callable[[], Awaitable[None] | None]
    clock: Clock

    def __init__(self) -> None:
        self.dead_letters = DeadLetters()
        self.queue = Queue(self.dead_letters.add)
        self.failures = 0
        self.thread = 0
        self.where: Callable[[], object] = nowhere
        self.here: object = None
        self.is_busy = False
        self.is_stranded = False
        self.current: Cell[Any] | None = None
        self.current_reply: Reply[Any] | None = None
        self.asks = 0
        self.has_begun = False
        self.watches_turns = False
        self._lane: deque[Callable[[], None]] = deque()
        self._pump_has_ended = False
        self._pump_wakes = anyio.Event()

    # On trio, Ctrl-C is kept out of what follows: it would land within a turn.

    @trio.lowlevel.enable_ki_protection
    def dispatch(self, cell: Cell[Any], message: Any, reply: Reply[Any] | None) -> None:
        """Handle one message, and all that come of it."""
        self.is_busy = True
        try:
            if cell.life is RUNNING and not self.watches_turns:
                # As `turn`, without the call, which is a tenth of what a message costs.
                self.current = cell
                self.current_reply = reply
                try:
                    cell.actor.receive(message)
                except BaseException as error:
                    self.current = None
                    if (
                        isinstance(error, RecursionError)
                        and error.__traceback__
                        and error.__traceback__.tb_next is None
                    ):
                        raise
                    self._turn_failed(cell, reply, error)
                else:
                    if reply is not None and reply.is_open and self.current_reply is reply:
                        self._left_open(cell, reply)
                self.current = self.current_reply = None
            else:
                self.turn(cell, message, reply)
            if self.queue.entries or self._lane:
                self._drain(DISPATCH_BUDGET)
            else:
                self.is_busy = False
        except BaseException:
            # First without a call: there may be no room for one on the sender's stack.
            self.is_stranded = self.is_busy = True if self.queue.entries or self._lane else False  # noqa: SIM210
            if self.is_stranded:
                self.wake_pump()
            raise

    @trio.lowlevel.enable_ki_protection
    def do_first(self, work: Callable[[], None]) -> None:
        """Do what the runtime has to do, before all messages that wait.

        Such work is not begun without room on the stack to end it: half of a stop is worse than a late one.
        """
        self._lane.append(work)
        if self.is_busy:
            if self.is_stranded:
                self.wake_pump()
            return
        self.is_busy = True
        try:
            _find_room(_ROOM + 2)  # for `drain` and `_drain`
        except RecursionError:
            self.is_stranded = True
            return
        self.drain(DISPATCH_BUDGET, has_room=True)

    @trio.lowlevel.enable_ki_protection
    def drain(self, budget: float, *, has_room: bool = False) -> None:
        """Work until nothing is left, or for so many seconds; then the pump goes on.

        Args:
            budget: how many.
            has_room: whether it is known that the stack has room for the runtime's own work.
        """
        try:
            self._drain(budget, has_room=has_room)
        except BaseException:
            self.is_stranded = self.is_busy = True if self.queue.entries or self._lane else False  # noqa: SIM210
            if self.is_stranded:
                self.wake_pump()
            raise

    def wake_pump(self) -> None:
        """Have the pump go on with what is left."""
        _find_room(_ROOM)  # an event that is set by half wakes nobody, then or later
        self._pump_wakes.set()
        self.is_stranded = False

    def signal(self, cell: Cell[Any], signal: object) -> None:
        """Queue what the runtime has to say to an actor."""
        self.queue.put_marked(cell, signal, SIGNAL)
        self.dispatch_queued()

    def deliver(self, cell: Cell[Any], message: Any) -> None:
        """Queue a message that no mailbox is too full for."""
        self.queue.put_marked(cell, message, ALWAYS)
        self.dispatch_queued()

    @trio.lowlevel.enable_ki_protection
    def dispatch_queued(self) -> None:
        """See to it that what was queued is dispatched."""
        if not self.is_busy:
            self.is_busy = True
            self.drain(DISPATCH_BUDGET)
        elif self.is_stranded:
            self.wake_pump()

    async def pump(self) -> None:
        """Go on with what a dispatch left over, until cancelled."""
        try:
            while True:
                await self._pump_wakes.wait()
                self._pump_wakes = anyio.Event()
                self._drain(DISPATCH_BUDGET)
        finally:
            # From here on whoever sends does all the work there is: only the system's end is still to come.
            self._pump_has_ended = True
            self.is_busy = self.is_stranded = False

    def _drain(self, budget: float, *, has_room: bool = False) -> None:
        lane, queue = self._lane, self.queue
        turns, started = 0, 0.0
        while True:
            if lane:
                if not has_room:
                    _find_room(_ROOM)
                    has_room = True  # the stack is as deep each time round
                lane.popleft()()
            elif (entry := queue.take()) is not None:
                self.has_begun = False
                try:
                    if entry[2] is SIGNAL:
                        self._signal_turn(entry[0], entry[1])
                    elif entry[2] is ALWAYS:
                        self.turn(entry[0], entry[1], None, True)
                    else:
                        self.turn(entry[0], entry[1], entry[2])
                except RecursionError:
                    if not self.has_begun:
                        # There was no room on the sender's stack to begin the turn with. There is on the pump's.
                        queue.put_back(entry)
                    raise
            else:
                break
            turns += 1
            if turns % TURNS_BETWEEN_LOOKS == 1:
                now = self.clock.stopwatch()
                started = started or now
                if now - started > budget and not self._pump_has_ended:
                    self.wake_pump()
                    return  # still busy: until the pump is done, whoever sends only queues
        self.is_busy = False

    def _signal_turn(self, cell: Cell[Any], signal: Any) -> None:
        if cell.life is not RUNNING and cell.life is not DRAINING:
            return
        self.has_begun = True
        if signal is DRAIN:
            if cell.life is RUNNING:
                cell.life = DRAINING
                self.run_hook(cell, "draining", cell.actor.draining)
        elif not isinstance(signal, Terminated) or cell.forget_watched(signal.ref):
            self.run_hook(cell, signal, lambda: cell.actor.signal(signal))

    # A call of a function that has keyword-only arguments takes half as long again, on CPython 3.11.
    def turn(self, cell: Cell[Any], message: Any, reply: Reply[Any] | None, is_answer: bool = False) -> None:  # noqa: FBT001, FBT002
        """Let an actor handle a message, unless it is not there for it."""
        if reply is not None:
            if not reply.is_open:
                return
            reply.holder = cell
        if cell.life is not RUNNING and not self._gets_through(cell, message, reply, is_answer=is_answer):
            return
        self.current = cell
        self.current_reply = reply
        try:
            self.has_begun = True
            cell.actor.receive(message)
        except BaseException as error:
            self.current = None
            if isinstance(error, RecursionError) and error.__traceback__ and error.__traceback__.tb_next is None:
                self.has_begun = False  # it was the sender's stack that had no room, not the actor that went astray
                raise
            self._turn_failed(cell, reply, error)
        else:
            if reply is not None and reply.is_open and self.current_reply is reply:
                self._left_open(cell, reply)
        self.current = self.current_reply = None

    def _turn_failed(self, cell: Cell[Any], reply: Reply[Any] | None, error: BaseException) -> None:
        """An exception has left a turn. Raises it if it is none that an actor's code fails by."""
        self.fail(cell, error)
        if reply is not None and self.current_reply is reply:
            reply.holder_stopped(error)
        if not isinstance(error, _FAILURES):
            raise error

    @staticmethod
    def _left_open(cell: Cell[Any], reply: Reply[Any]) -> None:
        """A turn is over, and its reply slot is still the actor's to fill."""
        if reply.kept:
            reply.listed = True
            cell.replies = with_link(cell.replies, reply)
        else:
            reply.forgotten()

    def _gets_through(self, cell: Cell[Any], message: object, reply: Reply[Any] | None, *, is_answer: bool) -> bool:
        """Whether an actor that does not run takes a message all the same. One that is starting has it held."""
        if cell.life is DRAINING and (is_answer or (reply is None and isinstance(message, Answer))):
            return True
        if cell.life is STARTING:
            self.queue.hold(cell, message, reply)
        else:
            self.undeliverable(cell, message, reply)
        return False

    def run_hook(self, cell: Cell[Any], about: object, hook: Callable[[], None]) -> None:  # noqa: ARG002
        """Run an actor's hook other than `receive`. An exception stops the actor.

        Args:
            cell: the actor.
            about: the signal, or the name of the hook: for whoever traces.
            hook: what to run.
        """
        self.has_begun = True
        self.current, self.current_reply = cell, None
        try:
            hook()
        except BaseException as error:
            self.fail(cell, error)
            if not isinstance(error, _FAILURES):
                raise
        finally:
            self.current = None

    def fail(self, cell: Cell[Any], error: BaseException) -> None:
        """An exception left the actor's code: it is stopped, and nothing else is."""
        self.failures += 1
        if isinstance(error, _FAILURES):
            error = as_exception(error)
        self.stop_actor(cell, error)
        with suppress(Exception):  # no room on the stack, or a handler that raises: the actor's end still tells
            logger.error("%s failed and is stopped: %s", cell.path, told(error))

    def stop_actor(self, cell: Cell[Any], reason: BaseException | None) -> None:
        """Stop an actor as soon as the turn that is under way is over."""
        raise NotImplementedError

    def undeliverable(self, cell: Cell[Any], message: object, reply: Reply[Any] | None) -> None:
        """A message has found an actor that takes it no more: whoever asked is told, and it is a dead letter."""
        if reply is not None:
            reply.holder = cell
            reply.holder_stopped(cell.reason)
        self.dead_letters.add(cell, message, "it is draining" if cell.life is DRAINING else "it has stopped")


_FAILURES: Final = (Exception, CancelledError)
"""What an actor's code fails by. A turn awaits nothing, so none is cancelled: asyncio's error is somebody else's."""

_ROOM: Final = 40
"""Frames that the runtime's own work takes at the most, an actor's last turn not counted."""


def _find_room(frames: int) -> None:
    """Raise RecursionError unless so many more calls fit on the stack."""
    if frames:
        _find_room(frames - 1)
