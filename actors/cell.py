"""What the runtime knows of one actor; also its local `Ref`.

One object serves as both, since a system holds a hundred thousand of them: an idle actor costs its cell and itself.
"""

from collections import deque
from collections.abc import Callable, Coroutine
from threading import get_ident
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

import anyio.lowlevel
from typing_extensions import override

from actors.life import RUNNING, STARTING, STOPPED, STOPPING
from actors.ref import Ref, Terminated
from actors.reply import Reply
from protocol.errors import SystemClosed, WrongEventLoop, WrongThread
from protocol.mailbox import Mailbox, Overflow
from protocol.message import Request

if TYPE_CHECKING:
    from actors.actor import Actor
    from actors.effect import Effect
    from actors.mailbox import Entry
    from actors.system import System
    from actors.timer import Alarm

ASKS_BETWEEN_YIELDS: Final = 128
"""Asks answered at once before the next one lets other tasks run: a loop of hits must not starve them."""

M_contra = TypeVar("M_contra", contravariant=True)
R = TypeVar("R")


class Cell(Ref[M_contra], Generic[M_contra]):
    """An actor's state as far as the runtime is concerned.

    The containers stay None until they are used. They are dicts also where a set would do: a set's order depends on
    addresses, and a run under a seed must not.
    """

    __slots__ = (
        "_name",
        "_replies",
        "actor",
        "children",
        "droppable",
        "effects",
        "has_started",
        "holding",
        "life",
        "mailbox",
        "parent",
        "reason",
        "restarts",
        "settled",
        "since",
        "system",
        "timers",
        "waiting",
        "watched",
        "watchers",
    )

    def __init__(
        self, system: "System", actor: "Actor[M_contra]", name: str, parent: "Cell[Any] | None", mailbox: Mailbox
    ) -> None:
        self.system = system
        self.actor = actor
        self.parent = parent
        self.mailbox = mailbox
        self.life = STARTING
        self.since = system.now()
        self.restarts = self.waiting = 0
        self.has_started = False
        self.reason: BaseException | None = None
        self.settled: Callable[[bool], None] | None = None
        self.children: dict[str, Cell[Any]] | None = None
        self.effects: dict[Effect, None] | None = None
        self.timers: dict[Alarm, None] | None = None
        self.watchers: dict[Cell[Any], None] | None = None
        self.watched: dict[Ref[Any], None] | None = None
        self.holding: deque[Entry] | None = None
        self.droppable: deque[list[Any]] | None = deque() if mailbox.overflow is Overflow.DROP_OLDEST else None
        self._replies: dict[Reply[Any], None] | None = None
        self._name = name

    @property
    @override
    def name(self) -> str:
        return self._name

    @property
    @override
    def path(self) -> str:
        names = [self._name]
        above = self.parent
        while above is not None:
            names.append(above.name)
            above = above.parent
        return "/".join(["", self.system.name, *reversed(names)])

    @property
    @override
    def is_alive(self) -> bool:
        return self.life is RUNNING or self.life is STARTING

    @override
    def tell(self, message: M_contra) -> None:
        system = self.system
        if get_ident() != system.thread or system.where() is not system.here:
            raise self.unreachable(type(message).__name__)
        if not system.is_busy:
            system.dispatch(self, message, None)
            return
        system.queue.put(self, message, None)
        if system.is_stranded:
            system.wake_pump()

    @override
    def ask(self, request: Request[R], *, timeout: float | None = None) -> Coroutine[Any, Any, R]:
        if self.system.current is not None:
            self.system.check_no_turn(self, request)
        return self._ask(request, timeout)

    async def _ask(self, request: Request[R], timeout: float | None) -> R:
        system = self.system
        if get_ident() != system.thread or system.where() is not system.here:
            raise self.unreachable(type(request).__name__)
        # Before the request is sent: so there is no point to be cancelled at between an answer and its return.
        system.asks += 1
        if system.asks % ASKS_BETWEEN_YIELDS == 0:
            await anyio.lowlevel.checkpoint()
        elif (check := system.backend.check_cancelled()) is not None:
            await check
        reply = Reply(request, self)
        if system.is_busy:
            system.queue.put(self, request, reply)
            if system.is_stranded:
                system.wake_pump()
        else:
            system.dispatch(self, request, reply)
        if reply.is_open:
            return await reply.wait(timeout)
        return reply.take()

    @override
    def stop(self) -> None:
        self.system.stop_actor(self, None)

    @override
    def drain(self) -> None:
        self.system.drain_actor(self)

    # --- for the runtime

    def signal(self, signal: object) -> None:
        """Deliver what the runtime has to say."""
        if self.has_turns:
            self.system.signal(self, signal)

    def watch(self, watched: Ref[Any]) -> None:
        """Have this actor sent a `Terminated` when that one ends, or now if it has ended."""
        self.system.check_thread(self, "told to watch")
        if self.watched is None:
            self.watched = {}
        elif watched in self.watched:
            return
        self.watched[watched] = None
        if not isinstance(watched, Cell) or watched.life is STOPPED:
            self.signal(Terminated(watched, watched.reason if isinstance(watched, Cell) else None))
        elif watched.watchers is None:
            watched.watchers = {self: None}
        else:
            watched.watchers[self] = None

    def unwatch(self, watched: Ref[Any]) -> None:
        """Undo `watch`: also a `Terminated` that is queued already is not delivered."""
        if self.forget_watched(watched) and isinstance(watched, Cell) and watched.watchers:
            watched.watchers.pop(self, None)

    def forget_watched(self, watched: Ref[Any]) -> bool:
        """Take that actor off the list of those that are watched. Whether it was on it."""
        return bool(self.watched) and self.watched.pop(watched, self) is None

    @property
    def has_turns(self) -> bool:
        """Whether the actor has turns, or will have: it is not stopping."""
        return self.life is not STOPPING and self.life is not STOPPED

    @property
    def has_dependants(self) -> bool:
        """Whether a child or an effect has yet to end."""
        return bool(self.children or self.effects)

    @property
    def held(self) -> "deque[Entry]":
        """What waits until the actor has started."""
        if self.holding is None:
            self.holding = deque()
        return self.holding

    @property
    def open_replies(self) -> dict[Reply[Any], None]:
        """The replies that the actor keeps and has yet to answer."""
        if self._replies is None:
            self._replies = {}
        return self._replies

    def unreachable(self, name: str) -> Exception:
        """Why what is named so cannot be sent from here."""
        if self.system.thread == 0:
            return SystemClosed(f"{self.path} was sent {name}, but its system is not open")
        if get_ident() != self.system.thread:
            return WrongThread(
                f"{self.path} was sent {name} from another thread than the one that runs the system: use "
                "system.from_thread"
            )
        return WrongEventLoop(
            f"{self.path} was sent {name} from another event loop than the one that runs the system: send it from a "
            "task of that loop (under trio-asyncio, from trio's side)"
        )
