"""What the runtime knows of one actor; also its local `Ref`.

One object serves as both, since a system holds a hundred thousand of them: an idle actor costs its cell and itself.
"""

from enum import Enum, auto
from threading import get_ident
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

import anyio.lowlevel
from typing_extensions import override

from actors.ref import Ref, Terminated
from actors.reply import Reply
from protocol.errors import SystemClosed, WrongThread
from protocol.message import Request

if TYPE_CHECKING:
    from actors.actor import Actor
    from actors.effect import Effect
    from actors.system import System
    from actors.timer import Timer

ASKS_BETWEEN_YIELDS: Final = 64
"""Asks answered at once before the next one lets other tasks run: a loop of hits must not starve them."""

M_contra = TypeVar("M_contra", contravariant=True)
R = TypeVar("R")


class Life(Enum):
    """Where an actor is in its life."""

    RUNNING = auto()
    STOPPING = auto()
    """It takes no more messages; its children and effects are ending."""
    STOPPED = auto()


# On Python 3.11 looking a member up in its Enum takes ten times as long as looking up a name.
RUNNING: Final = Life.RUNNING


class Cell(Ref[M_contra], Generic[M_contra]):
    """An actor's state as far as the runtime is concerned. The containers stay None until they are used."""

    __slots__ = (
        "_name",
        "_replies",
        "actor",
        "children",
        "effects",
        "life",
        "parent",
        "reason",
        "system",
        "timers",
        "watchers",
    )

    def __init__(self, system: "System", actor: "Actor[M_contra]", name: str, parent: "Cell[Any] | None") -> None:
        self.system = system
        self.actor = actor
        self.parent = parent
        self.life = RUNNING
        self.reason: BaseException | None = None
        self.children: dict[str, Cell[Any]] | None = None
        self.effects: set[Effect] | None = None
        self.timers: set[Timer] | None = None
        self.watchers: list[Cell[Any]] | None = None
        self._replies: set[Reply[Any]] | None = None
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
        return self.life is RUNNING

    @property
    def open_replies(self) -> set[Reply[Any]]:
        """The replies that the actor keeps and has yet to answer."""
        if self._replies is None:
            self._replies = set()
        return self._replies

    @override
    def tell(self, message: M_contra) -> None:
        system = self.system
        if get_ident() != system.thread:
            raise self.unreachable(type(message).__name__)
        if not system.is_busy:
            system.dispatch(self, message, None)
            return
        system.queue.append((self, message, None))
        if system.is_stranded:
            system.wake_pump()

    @override
    async def ask(self, request: Request[R], *, timeout: float | None = None) -> R:
        system = self.system
        if get_ident() != system.thread:
            raise self.unreachable(type(request).__name__)
        # Before the request is sent: so there is no point to be cancelled at between an answer and its return.
        system.asks += 1
        if system.asks >= ASKS_BETWEEN_YIELDS:
            system.asks = 0
            await anyio.lowlevel.checkpoint()
        elif (check := system.backend.check_cancelled()) is not None:
            await check
        reply = Reply(request, self)
        if system.is_busy:
            system.queue.append((self, request, reply))
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

    # --- for the runtime

    def signal(self, signal: object) -> None:
        """Deliver what the runtime has to say."""
        if self.life is RUNNING:
            self.system.signal(self, signal)

    def watch(self, watcher: "Cell[Any]") -> None:
        """Send `watcher` a `Terminated` when this actor ends, or now if it has ended."""
        if self.life is Life.STOPPED:
            watcher.signal(Terminated(self, self.reason))
        elif self.watchers is None:
            self.watchers = [watcher]
        else:
            self.watchers.append(watcher)

    @property
    def has_dependants(self) -> bool:
        """Whether a child or an effect has yet to end."""
        return bool(self.children or self.effects)

    def unreachable(self, name: str) -> Exception:
        """Why what is named so cannot be sent from here."""
        if self.system.thread == 0:
            return SystemClosed(f"{self.path} was sent {name}, but its system is not open")
        return WrongThread(
            f"{self.path} was sent {name} from another thread: send it from the thread that runs the system"
        )
