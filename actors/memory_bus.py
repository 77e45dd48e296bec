"""The bus within one process: for systems that share an event loop, and wherever there is no Redis."""

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import anyio
from typing_extensions import override

from actors.bus import Bus, Hub, Told, contained
from protocol.bus import Arrived, Command, Count, Joined, Post, PostWhileHeard
from protocol.bus_records import BusRecords
from protocol.errors import BusUnavailable

A = TypeVar("A")


class MemoryHub(Hub):
    """What the buses of one process have in common: `hub.bus()` makes one for each worker.

    Args:
        now: the clock that lifetimes go by; None means the event loop's own.
    """

    def __init__(self, now: Callable[[], float] | None = None) -> None:
        self._now = now or anyio.current_time
        self._records = BusRecords()
        self._listeners: dict[str, dict[MemoryBus, None]] = {}
        self._begun_at: float | None = None

    @override
    def bus(self) -> "MemoryBus":
        """Another worker's way to the others."""
        return MemoryBus(self)

    def do(self, command: Command[Any]) -> Any:
        """Do a command, and answer it. Only its buses call this."""
        match command:
            case Post(channel, envelope):
                listeners = self._listeners.get(channel, {})
                for bus in listeners:
                    bus.arrive(Arrived(channel, envelope))
                return len(listeners)
            case PostWhileHeard(channel, envelope, own):
                return self.do(Post(channel, envelope)) if own in self._listeners else 0
            case Count(channel):
                return len(self._listeners.get(channel, {}))
            case _:
                return self._records.do(command, now=self._now())

    def join(self, bus: "MemoryBus", channels: tuple[str, ...]) -> Joined:
        """The bus listens to these. Only its buses call this."""
        for channel in channels:
            self._listeners.setdefault(channel, {})[bus] = None
        now = self._now()
        # By who joins first, as in Redis: a hub may be made before there is an event loop, and so a clock.
        if self._begun_at is None:
            self._begun_at = now
        return Joined(now - self._begun_at)

    def part(self, bus: "MemoryBus", channels: tuple[str, ...]) -> None:
        """It listens no more. Only its buses call this."""
        for channel in channels:
            listeners = self._listeners[channel]
            del listeners[bus]
            if not listeners:
                del self._listeners[channel]


class MemoryBus(Bus):
    """One worker's way to the others in its process. Made by `MemoryHub.bus`.

    Whatever it has to say it says in a task of its own, never on the stack of whoever sends.
    """

    def __init__(self, hub: MemoryHub) -> None:
        self._hub = hub
        self._due: deque[Callable[[], None]] = deque()
        self._has_due = anyio.Event()
        self._tell: Told | None = None

    @override
    async def run(self, channels: tuple[str, ...], tell: Told) -> None:
        self._tell = tell
        joined = self._hub.join(self, channels)
        try:
            contained(tell, joined)
            while True:
                await self._has_due.wait()
                self._has_due = anyio.Event()
                # No more than these at a time: who asks again whenever it is answered is not to hold the event loop.
                for _ in range(len(self._due)):
                    contained(self._due.popleft())
        finally:
            self._tell = None
            self._hub.part(self, channels)
            while self._due:
                contained(self._due.popleft())

    @override
    def send(self, command: Command[A], then: Callable[[A | BusUnavailable], None]) -> None:
        if self._tell is None:
            then(BusUnavailable("this bus cannot be reached: it has not been joined", was_sent=False))
        else:
            self._later(partial(then, self._hub.do(command)))

    def arrive(self, news: Arrived) -> None:
        """An envelope has come. Only the hub calls this."""
        if self._tell is not None:
            self._later(partial(self._tell, news))

    def _later(self, call: Callable[[], None]) -> None:
        self._due.append(call)
        self._has_due.set()
