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
        asks: asks since the last one that let other tasks run.
    """

    backend: Backend

    def __init__(self) -> None:
        self.dead_letters = 0
        self.last_dead_letters: deque[DeadLetter] = deque(maxlen=DEAD_LETTERS_KEPT)
        self.failures = 0
        self.thread = 0
        self.is_busy = False
        self.current_reply: Reply[Any] | None = None
        self.asks = 0
        self.queue: deque[tuple[Cell[Any], Any, Reply[Any] | _As | None]] = deque()
        self._lane: deque[Callable[[], None]] = deque()
        self._put_back: object = None
        self._pump_wakes: anyio.Event

    # On trio, Ctrl-C is kept out of what follows: it would land within a turn.

    @trio.lowlevel.enable_ki_protection
    def dispatch(self, cell: Cell[Any], message: Any, reply: Reply[Any] | _As | None) -> None:
        """Handle one message, and all that come of it."""
        self.is_busy = True
        try:
            self._turn(cell, message, reply)
            if self.queue or self._lane:
                self._drain(DISPATCH_BUDGET)
            else:
                self.is_busy = False
        except BaseException:
            self._leave_to_the_pump()
            raise

    @trio.lowlevel.enable_ki_protection
    def do_first(self, work: Callable[[], None]) -> None:
        """Do what the runtime has to do, before all messages that wait. `work` must not raise."""
        self._lane.append(work)
        if not self.is_busy:
            self.is_busy = True
            self.drain(DISPATCH_BUDGET)

    @trio.lowlevel.enable_ki_protection
    def drain(self, budget: float) -> None:
        """Work until nothing is left, or for so many seconds; then the pump goes on."""
        try:
            self._drain(budget)
        except BaseException:
            self._leave_to_the_pump()
            raise

    def signal(self, cell: Cell[Any], signal: object) -> None:
        """Queue what the runtime has to say to an actor."""
        if self.is_busy:
            self.queue.append((cell, signal, SIGNAL))
        else:
            self.dispatch(cell, signal, SIGNAL)

    async def pump(self) -> None:
        """Go on with what a dispatch left over, until cancelled."""
        while True:
            await self._pump_wakes.wait()
            self._pump_wakes = anyio.Event()
            self.drain(DISPATCH_BUDGET)

    def _drain(self, budget: float) -> None:
        lane, queue = self._lane, self.queue
        started = turns = 0.0
        while True:
            if lane:
                lane.popleft()()
            elif queue:
                entry = queue.popleft()
                try:
                    self._turn(*entry)
                except RecursionError as error:
                    if entry is self._put_back:  # it was not the room
                        self.fail(entry[0], error)
                        continue
                    # There was no room on the sender's stack to begin the turn with. There is on the pump's.
                    self._put_back = entry
                    queue.appendleft(entry)
                    raise
            else:
                break
            turns += 1
            if turns % TURNS_BETWEEN_LOOKS == 0:
                now = self.backend.stopwatch()
                started = started or now
                if now - started > budget:
                    self._pump_wakes.set()
                    return  # still busy: until the pump is done, whoever sends only queues
        self.is_busy = False

    def _leave_to_the_pump(self) -> None:
        """Something got through that ends more than an actor: whatever is left is not lost with it."""
        if self.queue or self._lane:
            self._pump_wakes.set()
        else:
            self.is_busy = False

    def _turn(self, cell: Cell[Any], message: Any, reply: Reply[Any] | _As | None) -> None:
        if reply is SIGNAL:
            if cell.life is RUNNING:
                self.run_hook(cell, lambda: cell.actor.signal(message))
            return
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
        except BaseException as error:
            self.fail(cell, error)
            if reply is not None:
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
        logger.error("%s failed and is stopped: %s", cell.path, type(error).__name__, exc_info=error)
        self.stop_actor(cell, error)

    def stop_actor(self, cell: Cell[Any], reason: BaseException | None) -> None:
        """Stop an actor as soon as the turn that is under way is over."""
        raise NotImplementedError

    def _undeliverable(self, cell: Cell[Any], message: object, reply: Reply[Any] | None) -> None:
        self.dead_letters += 1
        self.last_dead_letters.append(DeadLetter(cell, message))
        if reply is not None:
            reply.holder_stopped(None)
