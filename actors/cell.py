"""What the runtime knows of one actor; also its local `Ref`.

One object serves as both, since a system holds a hundred thousand of them: an idle actor costs its cell and itself.
"""

from collections import deque
from collections.abc import Coroutine
from threading import get_ident
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

import anyio.lowlevel
from typing_extensions import override

from actors.life import RUNNING, STARTING, STOPPED, STOPPING
from actors.links import Links, each, has_link, with_link, without_link
from actors.ref import Ref, Terminated
from actors.reply import ANSWERED, TAKEN, Reply
from actors.siblings import Siblings, made_name
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

    What an actor need not have costs it nothing until it has it, and nothing when it has it no more.

    Attributes:
        label: its name, or the number that makes the name of one that was given none.
        tells_parent: whether its parent watches it. So the watch that is the most frequent takes no room.
        effects, timers, replies, watchers, watched: see `actors.links`. Among `watched` are no living children.
        family: its children; see `actors.siblings`.
    """

    __slots__ = (
        "actor",
        "droppable",
        "effects",
        "family",
        "has_started",
        "holding",
        "label",
        "life",
        "mailbox",
        "parent",
        "reason",
        "replies",
        "since",
        "system",
        "tells_parent",
        "timers",
        "waiting",
        "watched",
        "watchers",
    )

    def __init__(
        self,
        system: "System",
        actor: "Actor[M_contra]",
        label: str | int,
        parent: "Cell[Any] | None",
        mailbox: Mailbox,
    ) -> None:
        self.system = system
        self.actor = actor
        self.parent = parent
        self.mailbox = mailbox
        self.life = STARTING
        self.since = system.moment()
        self.waiting = 0
        self.has_started = self.tells_parent = False
        self.reason: BaseException | None = None
        self.family: Siblings | Cell[Any] | None = None
        self.effects: Links[Effect] = None
        self.timers: Links[Alarm] = None
        self.replies: Links[Reply[Any]] = None
        self.watchers: Links[Cell[Any]] = None
        self.watched: Links[Ref[Any]] = None
        self.holding: deque[Entry] | None = None
        self.droppable: deque[list[Any]] | None = deque() if mailbox.overflow is Overflow.DROP_OLDEST else None
        self.label = label

    @property
    @override
    def name(self) -> str:
        label = self.label
        return label if isinstance(label, str) else made_name(self.actor, label)

    @property
    @override
    def path(self) -> str:
        names = [self.name]
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
        system.asks = asks = system.asks + 1
        if asks % ASKS_BETWEEN_YIELDS == 0:
            await anyio.lowlevel.checkpoint()
        elif (check := system.check_cancelled()) is not None:
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
        if reply.state is ANSWERED:  # as `take`, without the call
            reply.state = TAKEN
            return reply.value
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
        if has_link(self.watched, watched):
            return
        if not isinstance(watched, Cell) or watched.life is STOPPED:
            self.watched = with_link(self.watched, watched)
            self.signal(Terminated(watched, watched.reason if isinstance(watched, Cell) else None))
        elif watched.parent is self:
            watched.tells_parent = True
        else:
            self.watched = with_link(self.watched, watched)
            watched.watchers = with_link(watched.watchers, self)

    def unwatch(self, watched: Ref[Any]) -> None:
        """Undo `watch`: also a `Terminated` that is queued already is not delivered."""
        if isinstance(watched, Cell):
            if watched.parent is self:
                watched.tells_parent = False
            watched.watchers = without_link(watched.watchers, self)
        self.forget_watched(watched)

    def forget_watched(self, watched: Ref[Any]) -> bool:
        """Take that actor, whose end is told, off the list of those that are watched. Whether it was on it."""
        known = has_link(self.watched, watched)
        self.watched = without_link(self.watched, watched)
        return known

    def tell_end(self) -> None:
        """Tell those who watch that this actor has ended."""
        if self.tells_parent and self.parent is not None:
            self.tells_parent = False
            self.parent.watched = with_link(self.parent.watched, self)
            self.parent.signal(Terminated(self, self.reason))
        watchers, self.watchers = self.watchers, None
        for watcher in each(watchers):
            watcher.signal(Terminated(self, self.reason))

    @property
    def all_watched(self) -> "tuple[Ref[Any], ...]":
        """Those that the actor watches: its living children, and the others."""
        others = each(self.watched)
        return others if self.family is None else (*(child for child in self.children if child.tells_parent), *others)

    @property
    def children(self) -> "tuple[Cell[Any], ...]":
        """The actor's children, in the order of their start."""
        family = self.family
        if family is None:
            return ()
        return (family,) if isinstance(family, Cell) else tuple(family.values())

    @property
    def has_turns(self) -> bool:
        """Whether the actor has turns, or will have: it is not stopping."""
        return self.life is not STOPPING and self.life is not STOPPED

    @property
    def has_dependants(self) -> bool:
        """Whether a child or an effect has yet to end."""
        return self.family is not None or self.effects is not None

    @property
    def held(self) -> "deque[Entry]":
        """What waits until the actor has started."""
        if self.holding is None:
            self.holding = deque()
        return self.holding

    @property
    def open_replies(self) -> tuple[Reply[Any], ...]:
        """The replies that the actor keeps and has yet to answer."""
        return each(self.replies)

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
