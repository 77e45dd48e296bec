"""What an actor is: private state, and a turn for each message."""

from collections.abc import Awaitable, Callable
from functools import partial
from inspect import iscoroutinefunction
from random import Random
from threading import get_ident
from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic, Self, TypeVar

import anyio.to_thread

from actors.cell import Cell
from actors.effect import Effect, Outcome
from actors.letters import DeadLetters
from actors.named import NamedRef, resolve
from actors.ref import Ref, Terminated
from actors.reply import ANSWERED, AskerGone, Reply, Unclaimed, Unheard
from actors.timer import Timer
from protocol.errors import InvalidSettings, MailboxFull, NoTurn
from protocol.mailbox import Mailbox

if TYPE_CHECKING:
    from actors.system import System

M = TypeVar("M")
N = TypeVar("N")
T = TypeVar("T")

Signal = Terminated | AskerGone | Unclaimed | Unheard


class _Unspawned:
    """Stands where an actor will have its place in a system, and says so to whoever looks for that too early."""

    def __getattr__(self, name: str) -> Any:
        raise AttributeError("this actor has not been spawned yet: do in `started` what you do in `__init__`")


UNSPAWNED: Final[Any] = _Unspawned()


class Actor(Generic[M]):
    """Base class of actors that take messages of type `M`.

    A turn is synchronous: `receive` never awaits, so nothing can change between a check and the act that depends on it.
    What must wait is started as an effect, and its outcome arrives as a message. An exception that leaves a turn stops
    the actor, with that exception as the reason; the sender does not see it.

    Everything but the hooks is called from inside a turn.

    Attributes:
        mailbox: how many requests may wait, and what happens to one more; `spawn` may say otherwise.
        start_timeout: seconds that `starting` may take.
        shutdown: seconds that the actor may drain when its supervisor or system ends; 0 stops it at once, infinity
            waits for as long as it takes.
        escalates: whether the actor, at the top of the tree, takes the system down when it fails, as supervisors do:
            the body of `async with` is cancelled, and the failure leaves it. A start that fails while somebody waits
            for it (`System.start`) is theirs.
    """

    __slots__ = ("_cell",)
    _cell: Cell[M]

    mailbox: ClassVar[Mailbox] = Mailbox()
    start_timeout: ClassVar[float] = 30.0
    shutdown: ClassVar[float] = 5.0
    escalates: ClassVar[bool] = False
    settles_itself: ClassVar[bool] = False
    """Whether the actor itself says when it has started. For the runtime's supervisors."""

    def __new__(cls, *_: Any, **__: Any) -> Self:
        """Make an actor that has no place in a system yet."""
        actor = super().__new__(cls)
        actor._cell = UNSPAWNED
        return actor

    # --- hooks

    async def starting(self) -> None:
        """What must be waited for before the first turn; messages are held meanwhile. Nothing unless overridden.

        It runs as an effect does, for `start_timeout` at most, and may set what the turns will read. What it opens for
        good, as a context manager that is left later, belongs into an effect instead: the task of this one ends here.
        """

    def started(self) -> None:
        """The first turn, before any message. An exception means that the actor never started: `StartFailed`."""

    def receive(self, message: M) -> None:
        """Handle one message."""
        raise NotImplementedError(f"{type(self).__name__} has no `receive`, and was sent {type(message).__name__}")

    def signal(self, signal: Signal) -> None:
        """Handle what the runtime has to say: `Terminated`, `AskerGone`, `Unclaimed`, `Unheard`. Ignored unless
        overridden.
        """

    def draining(self) -> None:
        """What was queued before `drain` has been handled. Stops the actor unless overridden.

        An actor that has work under way overrides this and calls `self.stop()` when that is done. Until then it takes
        no requests; answers, outcomes of effects, timers and signals still come.
        """
        self.stop()

    def stopped(self, reason: BaseException | None) -> None:
        """The last turn, after all children and effects have ended; also of an actor whose start failed.

        Args:
            reason: what ended the actor; None for `stop`.
        """

    # --- for use within a turn

    @property
    def ref(self) -> Ref[M]:
        """This actor's own address."""
        return self._cell

    @property
    def system(self) -> "System":
        """The system that the actor lives in."""
        return self._cell.system

    @property
    def random(self) -> Random:
        """The system's source of randomness: seeded in a simulation, so that a run can be replayed."""
        return self._cell.system.random

    @property
    def dead_letters(self) -> DeadLetters:
        """The system's dead letters."""
        return self._cell.system.dead_letters

    def now(self) -> float:
        """The system's clock, in seconds."""
        return self._cell.system.now()

    def reply(self, value: Any) -> None:
        """Answer the request of this turn. Does nothing if the message was told rather than asked.

        In an effect or a thread there is no turn: keep the reply, and answer it when the outcome has come.

        Raises:
            NoTurn: this actor has no turn now.
        """
        system = self._cell.system
        if system.current is not self._cell or get_ident() != system.thread:
            raise self._no_turn("reply")
        current = system.current_reply
        if current is None:
            return
        if current.is_open and current.event is None and not current.listed:  # as `answer`, without the call
            current.is_open = False
            current.state = ANSWERED
            current.value = value
        else:
            current.answer(value)

    def keep_reply(self) -> Reply[Any]:
        """Keep the reply slot of this turn's request, to be answered in a later turn.

        Raises:
            LookupError: the message was told, not asked.
            NoTurn: this actor has no turn now.
        """
        system = self._cell.system
        if system.current is not self._cell or get_ident() != system.thread:
            raise self._no_turn("keep a reply")
        current = system.current_reply
        if current is None:
            raise LookupError(f"{self._cell.path}: this message was told, not asked, so it has no reply to keep")
        current.kept = True
        return current

    def forward(self, receiver: Ref[N], message: N) -> None:
        """Pass a message on, with the reply slot of this turn: `receiver` answers in this actor's place.

        If its mailbox is full, it is the asker that is told.

        Raises:
            NoTurn: this actor has no turn now.
            TypeError: `receiver` is not of this system.
        """
        system = self._cell.system
        if system.current is not self._cell or get_ident() != system.thread:
            raise self._no_turn("forward")
        cell = resolve(receiver)
        if cell is None or cell.system is not system:
            raise TypeError(f"{receiver!r} is not of {system!r}, so nothing can be forwarded to it")
        reply, system.current_reply = system.current_reply, None
        if reply is not None and not reply.is_open:
            reply = None  # answered already: what is passed on is told
        if reply is not None:
            reply.kept = False
            reply.holder = cell
        try:
            system.queue.put(cell, message, reply)
        except MailboxFull as error:
            if reply is None:
                raise
            reply.fail(error)

    def spawn(self, actor: "Actor[N]", *, name: str | None = None, mailbox: Mailbox | None = None) -> Ref[N]:
        """Start `actor` as a child of this one. It is stopped with its parent, at the latest.

        Its first turn comes after this one. If that fails, the child ends with `StartFailed`: `watch` tells.

        Args:
            actor: the child; it must not have been started before.
            name: unlike that of every other living child; None makes one.
            mailbox: the bound of its mailbox; None means that of its class.

        Raises:
            NameTaken: a living child has this name.
            InvalidName: it is empty, or has a slash.
            ActorReused: this object was started before.
        """
        return self._cell.system.start_actor(actor, name, self._cell, mailbox=mailbox)

    def watch(self, ref: Ref[Any]) -> None:
        """Be sent `Terminated` when that actor ends; at once if it has ended already. Twice is once."""
        self._cell.watch(resolve(ref) or ref)

    def unwatch(self, ref: Ref[Any]) -> None:
        """Watch that actor no more: no `Terminated` of it comes from now on, not even one that was under way."""
        if not isinstance(ref, NamedRef):
            self._cell.unwatch(ref)
            return
        # The name may mean somebody else by now than whom it meant when the watch began.
        for watched in [known for known in self._cell.all_watched if known.path == ref.path]:
            self._cell.unwatch(watched)

    def start(self, run: Callable[[], Awaitable[T]], *, then: Callable[[Outcome[T]], M]) -> Effect:
        """Start a task. When it ends, `then` makes its outcome a message, which arrives here.

        `run` is a function to be called, not a coroutine: `lambda: fetch(url)`, or `partial(fetch, url)`.

        The task runs in the context that was current when the system opened, not in the sender's. It is cancelled when
        the actor stops, and the actor has not ended before it has.
        """
        return self._cell.system.start_effect(self._cell, run, then)

    def start_in_thread(self, function: Callable[[], T], *, then: Callable[[Outcome[T]], M]) -> Effect:
        """Run a function that blocks in a worker thread; otherwise as `start`.

        A thread cannot be interrupted: when the effect is cancelled, the function still runs to its end, and the actor
        has not ended before. So leaving the system waits for it, whatever `shutdown` says.

        Raises:
            TypeError: it is a coroutine function, which `start` is for.
        """
        if iscoroutinefunction(function):
            raise TypeError(f"{self._cell.path} cannot run a coroutine function in a thread: give it to `start`")
        return self.start(partial(anyio.to_thread.run_sync, function), then=then)

    def after(self, seconds: float, message: M) -> Timer:
        """Send this actor a message later, unless the timer is cancelled or the actor stops.

        Raises:
            InvalidSettings: `seconds` is not a number.
        """
        if seconds != seconds:  # noqa: PLR0124 - not-a-number
            raise InvalidSettings(f"{self._cell.path} cannot be sent a message after {seconds!r} s")
        return self._cell.system.start_timer(self._cell, seconds, message)

    def every(self, seconds: float, message: M) -> Timer:
        """Send this actor a message again and again, first after `seconds`, until the timer is cancelled.

        It keeps the beat: a late message does not put off the next one, and beats that were missed altogether (the
        process stood still) are left out.

        Raises:
            InvalidSettings: `seconds` is not above 0.
        """
        if not seconds > 0:
            raise InvalidSettings(f"{self._cell.path} cannot be sent a message every {seconds!r} s: that is no period")
        return self._cell.system.start_timer(self._cell, seconds, message, every=seconds)

    def stop(self, reason: Exception | None = None) -> None:
        """Stop this actor once its turn is over. With a reason it has failed, as if that had left the turn."""
        if reason is None:
            self._cell.system.stop_actor(self._cell, None)
        else:
            self._cell.system.fail(self._cell, reason)

    def _no_turn(self, what: str) -> NoTurn:
        return NoTurn(
            f"{self._cell.path} cannot {what}: it has no turn now. In an effect, a thread or a `then` there is none: "
            "keep the reply in the turn of its request, and answer it in the turn of the outcome"
        )

    @property
    def is_spawned(self) -> bool:
        """Whether the actor has, or had, its place in a system."""
        return self._cell is not UNSPAWNED

    def bind(self, cell: Cell[M]) -> None:
        """Give the actor its place in a system. Only the runtime calls this."""
        self._cell = cell
