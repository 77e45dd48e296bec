"""The dispatch loop: how messages become turns.

`tell` and `ask` put a message into one first-in-first-out queue for the whole system and dispatch until the queue is
empty, on the sender's stack. If a dispatch is under way already (the sender is an actor in its turn), queueing is all
that happens: turns never nest, and never overlap. A dispatch that has gone on for its budget leaves the rest to the
pump, a task of the system, so that a long chain of messages cannot hold up the event loop. No task is switched for a
message.

What the runtime itself has to do (first turns, stops, the ends of effects) has a lane of its own that is served first.
What it has to *say* (`Terminated`, `AskerGone`, `Unclaimed`) goes through the queue like every message, so that an
actor's last words arrive before the news of its end.
"""

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from enum import Enum, auto
from logging import getLogger
from typing import Any, Final

import anyio
import trio

from actors.backend import Backend
from actors.cell import RUNNING, Cell
from actors.ref import DeadLetter
from actors.reply import Reply

DISPATCH_BUDGET: Final = 0.001
"""Seconds that one dispatch may hold the event loop."""
TURNS_BETWEEN_LOOKS: Final = 32
"""Turns between two looks at the stopwatch."""
DEAD_LETTERS_KEPT: Final = 16

logger = getLogger("troupe")


class _As(Enum):
    SIGNAL = auto()


SIGNAL: Final = _As.SIGNAL
"""In the place of a reply slot: what is queued is a signal."""


class Dispatcher:
    """The queue, the lane and the loop. The base of `System`, which knows what actors are.

    Attributes:
        dead_letters: how many messages could not be delivered.
        last_dead_letters: the latest of them.
        failures: how many times an exception left an actor's code.
        thread: the thread that runs the system; 0 while it is not open.
        is_busy: whether a dispatch is under way, or the pump has yet to finish one.
        current_reply: the reply slot of the turn that is under way.
        is_stranded: whether an exception cut a dispatch short and there was no room on its stack to wake the pump for
            the rest: whoever sends next does that.
        asks: asks since the last one that let other tasks run.
    """

    backend: Backend

    def __init__(self) -> None:
        self.dead_letters = 0
        self.last_dead_letters: deque[DeadLetter] = deque(maxlen=DEAD_LETTERS_KEPT)
        self.failures = 0
        self.thread = 0
        self.is_busy = False
        self.is_stranded = False
        self.current_reply: Reply[Any] | None = None
        self.asks = 0
        self.queue: deque[tuple[Cell[Any], Any, Reply[Any] | _As | None]] = deque()
        self._lane: deque[Callable[[], None]] = deque()
        self._has_begun = False
        self._pump_has_ended = False
        self._pump_wakes: anyio.Event

    # On trio, Ctrl-C is kept out of what follows: it would land within a turn.

    @trio.lowlevel.enable_ki_protection
    def dispatch(self, cell: Cell[Any], message: Any, reply: Reply[Any] | None) -> None:
        """Handle one message, and all that come of it."""
        self.is_busy = True
        try:
            self._turn(cell, message, reply)
            if self.queue or self._lane:
                self._drain(DISPATCH_BUDGET)
            else:
                self.is_busy = False
        except BaseException:
            # First without a call: there may be no room for one on the sender's stack.
            self.is_stranded = self.is_busy = True if self.queue or self._lane else False  # noqa: SIM210
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
            _find_room(_ROOM)
        except RecursionError:
            self.is_stranded = True
            return
        self.drain(DISPATCH_BUDGET)

    @trio.lowlevel.enable_ki_protection
    def drain(self, budget: float) -> None:
        """Work until nothing is left, or for so many seconds; then the pump goes on."""
        try:
            self._drain(budget)
        except BaseException:
            self.is_stranded = self.is_busy = True if self.queue or self._lane else False  # noqa: SIM210
            if self.is_stranded:
                self.wake_pump()
            raise

    def wake_pump(self) -> None:
        """Have the pump go on with what is left."""
        _find_room(_ROOM)  # an event that is set by half wakes nobody, then or later
        self._pump_wakes.set()
        self.is_stranded = False

    @trio.lowlevel.enable_ki_protection
    def signal(self, cell: Cell[Any], signal: object) -> None:
        """Queue what the runtime has to say to an actor."""
        self.queue.append((cell, signal, SIGNAL))
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

    def _drain(self, budget: float) -> None:
        lane, queue = self._lane, self.queue
        started = turns = 0.0
        while True:
            if lane:
                _find_room(_ROOM)
                lane.popleft()()
            elif queue:
                entry = queue.popleft()
                self._has_begun = False
                try:
                    if entry[2] is SIGNAL:
                        self._signal_turn(entry[0], entry[1])
                    else:
                        self._turn(entry[0], entry[1], entry[2])
                except RecursionError:
                    if not self._has_begun:
                        # There was no room on the sender's stack to begin the turn with. There is on the pump's.
                        queue.appendleft(entry)
                    raise
            else:
                break
            turns += 1
            if turns % TURNS_BETWEEN_LOOKS == 0:
                now = self.backend.stopwatch()
                started = started or now
                if now - started > budget and not self._pump_has_ended:
                    self.wake_pump()
                    return  # still busy: until the pump is done, whoever sends only queues
        self.is_busy = False

    def _signal_turn(self, cell: Cell[Any], signal: Any) -> None:
        if cell.life is RUNNING:
            self._has_begun = True
            self.run_hook(cell, lambda: cell.actor.signal(signal))

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
            self._has_begun = True
            cell.actor.receive(message)
        except BaseException as error:
            if isinstance(error, RecursionError) and error.__traceback__ and error.__traceback__.tb_next is None:
                self._has_begun = False  # it was the sender's stack that had no room, not the actor that went astray
                raise
            self.fail(cell, error)
            if reply is not None and self.current_reply is reply:
                reply.holder_stopped(error)
            if not isinstance(error, Exception):
                raise
        else:
            if reply is not None and self.current_reply is reply and reply.is_open:
                if reply.kept:
                    reply.listed = True
                    cell.open_replies.add(reply)
                else:
                    reply.forgotten()
        self.current_reply = None

    def run_hook(self, cell: Cell[Any], hook: Callable[[], None]) -> None:
        """Run an actor's hook other than `receive`. An exception stops the actor."""
        self.current_reply = None
        try:
            hook()
        except BaseException as error:
            self.fail(cell, error)
            if not isinstance(error, Exception):
                raise

    def fail(self, cell: Cell[Any], error: BaseException) -> None:
        """An exception left the actor's code: it is stopped, and nothing else is."""
        self.failures += 1
        self.stop_actor(cell, error)
        with suppress(RecursionError):  # where there is no room to tell, the actor's end still does
            logger.error("%s failed and is stopped: %s", cell.path, type(error).__name__, exc_info=error)

    def stop_actor(self, cell: Cell[Any], reason: BaseException | None) -> None:
        """Stop an actor as soon as the turn that is under way is over."""
        raise NotImplementedError

    def _undeliverable(self, cell: Cell[Any], message: object, reply: Reply[Any] | None) -> None:
        self.dead_letters += 1
        self.last_dead_letters.append(DeadLetter(cell, message))
        if reply is not None:
            reply.holder_stopped(None)


_ROOM: Final = 40
"""Frames that the runtime's own work takes at the most, an actor's last turn not counted."""


def _find_room(frames: int) -> None:
    """Raise RecursionError unless so many more calls fit on the stack."""
    if frames:
        _find_room(frames - 1)
