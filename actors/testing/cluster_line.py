"""One worker's way to a simulated Redis: it connects, is cut off, and connects again."""

from collections.abc import Callable
from functools import partial
from typing import Any, Final, TypeVar

import anyio
from typing_extensions import override

from actors.bus import Bus, Told, contained
from actors.testing.cluster_hub import Link, SimulatedHub
from actors.testing.node import Node
from protocol.bus import Arrived, Command, Joined, Parted
from protocol.errors import BusUnavailable

A = TypeVar("A")

BACKOFF: Final = (0.02, 0.4)
"""Seconds until it tries again, from and to."""


class SimulatedLine(Bus):
    """See above. Made by `SimulatedHub.at`.

    What comes for it waits while its node stands still, and what it has sent arrives also when its node is dead.

    Attributes:
        node: whose it is.
        link: its connection; None while it has none.
        is_joined: whether it was told that it listens.
    """

    def __init__(self, hub: SimulatedHub, node: Node) -> None:
        self.node = node
        self.link: Link | None = None
        self._hub = hub
        self._tell: Told | None = None
        self.is_joined = False
        self._is_over = anyio.Event()
        self._open: dict[int, Callable[[Any], None]] = {}
        self._numbers = 0

    @override
    async def run(self, channels: tuple[str, ...], tell: Told) -> None:
        self._tell = tell
        hub = self._hub
        try:
            while True:
                await anyio.sleep(hub.latency())
                if hub.is_up:
                    self.link = hub.connect(self, channels)
                    self._is_over = anyio.Event()
                    await self._is_over.wait()
                contained(tell, Parted("it was cut off"))
                await anyio.sleep(hub.random.uniform(*BACKOFF))
        finally:
            if self.link is not None:
                hub.hangs_up(self.link, was_killed=self.node.system.has_crashed)
            self._end()

    @override
    def send(self, command: Command[A], then: Callable[[A | BusUnavailable], None]) -> None:
        if self.link is None or not self.is_joined:
            then(BusUnavailable("this bus cannot be reached: it has not been joined", was_sent=False))
            return
        self._numbers = number = self._numbers + 1
        self._open[number] = then
        link = self.link
        self._hub.send(link, command, lambda answer: self._later(partial(self._answered, number, answer)))

    # --- for the hub

    def joined(self, link: Link, joined: Joined) -> None:
        """Its subscription was confirmed."""

        def join() -> None:
            if link is self.link and self._tell is not None:
                self.is_joined = True
                self._tell(joined)

        self._later(join)

    def arrival(self, link: Link, arrived: Arrived) -> Callable[[], None]:
        """What is done when an envelope has come on that link."""

        def arrive() -> None:
            if link is self.link and self._tell is not None:
                self._tell(arrived)

        return lambda: self._later(arrive)

    def broken(self, link: Link) -> None:
        """It is noticed that the link has broken."""

        def end() -> None:
            if link is self.link:
                self._end()

        self._later(end)

    # --- within

    def _later(self, call: Callable[[], None]) -> None:
        """Do it when the node does not stand still."""
        if self.node.system.is_paused:
            self.node.system.when_resumed(lambda: self._later(call))
        else:
            contained(call)

    def _answered(self, number: int, answer: object) -> None:
        then = self._open.pop(number, None)
        if then is not None:
            then(answer)

    def _end(self) -> None:
        self.link, self.is_joined = None, False
        self._is_over.set()
        unanswered, self._open = self._open, {}
        error = BusUnavailable("this bus went away before it answered", was_sent=True)
        for then in unanswered.values():
            contained(then, error)
