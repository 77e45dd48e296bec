"""What an actor is: private state, and a turn for each message."""

from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

from actors.cell import Cell
from actors.effect import Cancelled, Effect, Failed, Succeeded
from actors.ref import Ref, Terminated
from actors.reply import AskerGone, Reply, Unclaimed
from actors.timer import Timer

M = TypeVar("M")
N = TypeVar("N")
T = TypeVar("T")

Outcome = Succeeded[T] | Failed | Cancelled
Signal = Terminated | AskerGone | Unclaimed


class Actor(Generic[M]):
    """Base class of actors that take messages of type `M`.

    A turn is synchronous: `receive` never awaits, so nothing can change between a check and the act that depends on it.
    What must wait is started as an effect, and its outcome arrives as a message. An exception that leaves a turn stops
    the actor, with that exception as the reason; the sender does not see it.

    Everything but the four hooks (`started`, `receive`, `signal`, `stopped`) is called from inside a turn.
    """

    __slots__ = ("_cell",)
    _cell: Cell[M]

    # --- hooks

    def started(self) -> None:
        """The first turn, before any message."""

    def receive(self, message: M) -> None:
        """Handle one message."""
        raise NotImplementedError

    def signal(self, signal: Signal) -> None:
        """Handle what the runtime has to say: `Terminated`, `AskerGone`, `Unclaimed`. Ignored unless overridden."""

    def stopped(self, reason: BaseException | None) -> None:
        """The last turn, after all children and effects have ended. `reason`: what ended the actor; None for `stop`."""

    # --- for use within a turn

    @property
    def ref(self) -> Ref[M]:
        """This actor's own address."""
        return self._cell

    def now(self) -> float:
        """The system's clock, in seconds."""
        return self._cell.system.backend.now()

    def reply(self, value: Any) -> None:
        """Answer the request of this turn. Does nothing if the message was told rather than asked."""
        current = self._cell.system.current_reply
        if current is not None:
            current.answer(value)

    def keep_reply(self) -> Reply[Any]:
        """Keep the reply slot of this turn's request, to be answered in a later turn.

        Raises:
            LookupError: the message was told, not asked.
        """
        current = self._cell.system.current_reply
        if current is None:
            raise LookupError(f"{self._cell.path}: this message was told, not asked, so it has no reply to keep")
        current.kept = True
        return current

    def forward(self, receiver: Ref[N], message: N) -> None:
        """Pass a message on, with the reply slot of this turn: `receiver` answers in this actor's place."""
        system = self._cell.system
        if not isinstance(receiver, Cell) or receiver.system is not system:
            raise TypeError(f"{receiver!r} is not of {system!r}, so nothing can be forwarded to it")
        reply, system.current_reply = system.current_reply, None
        if reply is not None:
            reply.kept = False
        system.queue.append((receiver, message, reply))

    def spawn(self, actor: "Actor[N]", *, name: str) -> Ref[N]:
        """Start `actor` as a child of this one. It is stopped with its parent, at the latest.

        Raises:
            NameTaken: a living child has this name.
        """
        return self._cell.system.start_actor(actor, name, self._cell)

    def watch(self, ref: Ref[Any]) -> None:
        """Be sent `Terminated` when that actor ends; at once if it has ended already."""
        if not isinstance(ref, Cell):
            raise TypeError(f"{ref!r} cannot be watched")
        ref.watch(self._cell)

    def start(self, run: Callable[[], Awaitable[T]], *, then: Callable[[Outcome[T]], M]) -> Effect:
        """Start a task. When it ends, `then` makes its outcome a message, which arrives here.

        The task runs in the context that was current when the system opened, not in the sender's. It is cancelled when
        the actor stops, and the actor has not ended before it has.
        """
        return self._cell.system.start_effect(self._cell, run, then)

    def after(self, seconds: float, message: M) -> Timer:
        """Send this actor a message later, unless the timer is cancelled or the actor stops."""
        return self._cell.system.start_timer(self._cell, seconds, message)

    def stop(self) -> None:
        """Stop this actor once its turn is over."""
        self._cell.system.stop_actor(self._cell, None)

    def bind(self, cell: Cell[M]) -> None:
        """Give the actor its place in a system. Only the runtime calls this."""
        self._cell = cell
