"""The actor system: one task group and one tree of actors, on one dispatch loop (`actors.dispatch`)."""

import sys
from collections.abc import Awaitable, Callable
from functools import partial
from random import Random
from threading import get_ident
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
import anyio.lowlevel

from actors.actor import Actor
from actors.cell import Cell
from actors.clock import Clock
from actors.inspection import ActorStatus, Statistics, look
from actors.life import STOPPED
from actors.lifetime import Lifetime
from actors.named import NamedRef, resolve
from actors.ref import Ref
from actors.thread import FromThread
from protocol.errors import ActorStopped, AskInTurn, InvalidName, StartFailed, SystemClosed, WrongEventLoop, WrongThread
from protocol.mailbox import Mailbox

if TYPE_CHECKING:
    from actors.tracing import TraceHook

M = TypeVar("M")


class System(Lifetime):
    """A tree of actors and everything that runs for them. Made by `open_system`.

    Attributes:
        name: the first part of every path in the system.
        random: the source of every random draw in the system.
        from_thread: the way in for other threads.
    """

    __slots__ = (
        "__weakref__",
        "from_thread",
        "random",
    )

    def __init__(self, name: str, clock: Clock | None, random: Random | None) -> None:
        super().__init__(clock)
        if not name or "/" in name:
            raise InvalidName(f"a system cannot be named {name!r}: a name is text without a slash")
        self.name = name
        self.random = random or Random()  # noqa: S311 - jitter, no secrets
        self.from_thread = FromThread(self)

    # --- for everyone

    def spawn(self, actor: Actor[M], *, name: str | None = None, mailbox: Mailbox | None = None) -> Ref[M]:
        """Start an actor at the top of the tree. Returns at once; messages wait until it has started.

        If its start ends at once (it has no `starting`, and nothing else is being dispatched), its failure is raised
        here. Otherwise it is logged, whoever asks it gets `ActorStopped`, and a supervisor takes the system down:
        `start` waits for it instead.

        Args:
            actor: the actor; it must not have been started before.
            name: unlike that of every other living actor at the top; None makes one.
            mailbox: the bound of its mailbox; None means that of its class.

        Raises:
            StartFailed: its first turn raised. Nothing of it is left.
            NameTaken: another one has the name.
            InvalidName: it is empty, or has a slash.
            ActorReused: this object was started before.
            SystemClosed: the system is not open, or is being left.
            WrongThread: this is not the thread that runs the system.
            WrongEventLoop: this is not the event loop that runs it.
        """
        self._check_open(actor)
        cell = self.start_actor(actor, name, None, mailbox=mailbox, settled=_told_by_return)
        self.starts.pop(cell, None)
        if not cell.has_started and isinstance(cell.reason, StartFailed):
            raise cell.reason
        return cell

    async def start(self, actor: Actor[M], *, name: str | None = None, mailbox: Mailbox | None = None) -> Ref[M]:
        """Start an actor at the top of the tree, and wait until it has started; a supervisor, until its children have.

        Arguments and errors are those of `spawn`, and:

        Raises:
            StartFailed: its start raised. Nothing of it is left.
            StartTimeout: its start took longer than its class's `start_timeout`. Nothing of it is left.
            ActorStopped: it was stopped before it had started.

        Cancellation: the actor is told to stop; its name is free once it has (`ended`).
        """
        self._check_open(actor)
        await anyio.lowlevel.checkpoint_if_cancelled()
        over = anyio.Event()
        cell = self.start_actor(actor, name, None, mailbox=mailbox, settled=lambda _: over.set())
        try:
            await over.wait()
        except BaseException:
            cell.stop()
            raise
        if not cell.has_started:
            if isinstance(cell.reason, StartFailed):
                raise cell.reason
            raise ActorStopped(f"{cell.path} was stopped before it had started") from cell.reason
        return cell

    async def ended(self, ref: Ref[Any]) -> BaseException | None:
        """Wait until an actor has ended, with all its children and effects: its name is free again.

        Returns:
            What ended it, None if it was stopped; at once if it has ended already, or nobody is meant.

        Cancellation: changes nothing for the actor.
        """
        cell = resolve(ref)
        if cell is None:
            return None
        if cell.life is not STOPPED:
            await self.end_of(cell).wait()
        return cell.reason

    def find(self, path: str) -> Ref[Any] | None:
        """The living actor with this path, such as `/troupe/registry` or, from the top of the tree, `registry`.

        None if there is none. To hold the name rather than the actor, see `named`.
        """
        return self.find_cell(path)

    def named(self, path: str) -> Ref[Any]:
        """A ref that stands for whoever has this path when it is used: the way to reach an actor that is restarted.

        While nobody has it, what is told is a dead letter, and what is asked fails with `ActorStopped`.
        """
        return NamedRef(self, path if path.startswith("/") else f"/{self.name}/{path}")

    def tree(self) -> tuple[ActorStatus, ...]:
        """The living actors at the top of the tree, each with those below it. As text, a node draws itself."""
        return tuple(look(root, self.now()) for root in self._roots.values())

    def statistics(self) -> Statistics:
        """The system's counters as they are now."""
        return Statistics(
            actors=self.alive,
            started=self.started,
            restarts=self.restarts,
            failures=self.failures,
            effects=self.effects,
            timers=len(self.timers) if self.thread else 0,
            queued=len(self.queue),
            asks=self.asks,
            dead_letters=self.dead_letters.count,
            rejected=self.queue.rejected,
            dropped_oldest=self.queue.dropped_oldest,
            dropped_newest=self.queue.dropped_newest,
        )

    def __repr__(self) -> str:
        return f"<System {self.name}, {'open' if self.thread else 'closed'}>"

    # --- for the runtime

    def find_cell(self, path: str) -> Cell[Any] | None:
        """The cell of the living actor with this path."""
        names = path.removeprefix(f"/{self.name}/").split("/")
        cell: Cell[Any] | None = None
        for name in names:
            cell = self.find_child(cell, name)
            if cell is None:
                return None
        return cell

    def check_place(self, receiver: object, what: str) -> None:
        """Raise unless this is the thread and event loop that run the system, and it is open."""
        if not self.thread:
            raise SystemClosed(f"{receiver!r} cannot be sent {what}: the system {self.name} is not open")
        if get_ident() != self.thread:
            raise WrongThread(f"{receiver!r} cannot be sent {what} from another thread: use system.from_thread")
        if self.where() is not self.here:
            raise WrongEventLoop(f"{receiver!r} cannot be sent {what} from another event loop than {self.name}'s")

    def check_no_turn(self, receiver: Ref[Any], request: object) -> None:
        """Raise if this is inside a turn."""
        if self.current is not None and get_ident() == self.thread:
            raise AskInTurn(
                f"{self.current.path} asked {receiver.path} for {type(request).__name__} inside a turn, where nothing "
                "can be awaited: start an effect that asks, or tell"
            )

    def run_task(self, run: Callable[[], Awaitable[None]]) -> None:
        """Run something in the system's task group. It is cancelled when the system is left.

        Raises:
            SystemClosed: the system is being left, and its task group may have closed.
        """
        if not self._takes_tasks:
            raise SystemClosed(f"the system {self.name} was left before")
        self._start_task(partial(_within, self._context.run(anyio.CancelScope), run))

    def run_soon(self, work: Callable[[], None]) -> None:
        """Run something on the event loop, from any thread. Raises RuntimeError once the loop has ended."""
        self.backend.run_soon(work, self._context.copy())

    def _check_open(self, actor: Actor[Any]) -> None:
        kind = type(actor).__name__
        if not self.thread or self._leaving:
            state = "being left" if self.thread else "not open"
            raise SystemClosed(f"the system {self.name} is {state}, so no {kind} can be started in it")
        if get_ident() != self.thread:
            raise WrongThread(f"{kind} cannot be started in {self.name} from another thread than the one that runs it")
        if self.where() is not self.here:
            raise WrongEventLoop(f"{kind} cannot be started in {self.name} from another event loop than its own")


def _told_by_return(_: bool) -> None:  # noqa: FBT001 - a callback
    """In the place of one who waits for an actor's start: whoever spawned it still does."""


async def _within(scope: anyio.CancelScope, run: Callable[[], Awaitable[None]]) -> None:
    with scope:
        await run()


def open_system(
    name: str = "troupe",
    *,
    clock: Clock | None = None,
    random: Random | None = None,
    trace: "TraceHook | None" = None,
) -> System:
    """Make an actor system, and enter it with `async with`.

    Leaving it ends every actor and waits until all their effects have ended: nothing of the system runs on. The actors
    at the top end in the reverse order of their start, each in good order (`Actor.draining`) within its `shutdown`
    seconds; then whatever is left is stopped. A cancellation stops everything at once; that wait is shielded, so what
    an effect does when it is cancelled must be bounded. An exception of the body leaves as it is, not in a group.

    Args:
        name: the first part of every path.
        clock: the time to go by; None means the event loop's.
        random: where random draws (jitter) come from; None means a source of its own.
        trace: called after every turn with what happened in it (`actors.tracing.Turn`). An exception of it is logged,
            and changes nothing. Asks and effects have OpenTelemetry spans if a tracer provider was set before.

    Raises:
        InvalidName: the name is empty, or has a slash.
    """
    # Whoever has set a tracer provider has imported this before; nobody else need.
    telemetry = sys.modules.get("opentelemetry.trace")
    if trace is None and telemetry is None:
        return System(name, clock, random)
    from actors.tracing import TracedSystem, provider_is_set  # noqa: PLC0415 - only where it is wanted

    if trace is None and not provider_is_set():
        return System(name, clock, random)
    return TracedSystem(name, clock, random, trace)
