"""The bus: the cluster's only way out of its process."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, TypeVar

from actors.failure import told
from protocol.bus import BusNews, Command
from protocol.errors import BusUnavailable

logger = logging.getLogger(__name__)

A = TypeVar("A")

Told = Callable[[BusNews], None]
"""Is told what the bus says. Called outside of every turn, in the flavour of the event loop that `run` runs in."""


class Bus(ABC):
    """Carries envelopes between workers, and keeps the records that they share (`protocol.bus`).

    An object is one worker's way to the bus. It is used from one event loop, and run once.
    """

    @abstractmethod
    async def run(self, channels: tuple[str, ...], tell: Told) -> None:
        """Stay connected until cancelled: subscribe to the channels, and say what comes.

        Whatever goes wrong is told (`Parted`) and tried again, with a backoff. What this opens it closes. What `tell`
        or a `then` raises is logged, and keeps nobody else from being told.

        Args:
            channels: what to listen to.
            tell: is told that it is joined, what arrives, in the order in which it was posted, and that it is parted.

        Cancellation ends it in good order, and fails what is still to be answered.
        """

    @abstractmethod
    def send(self, command: Command[A], then: Callable[[A | BusUnavailable], None]) -> None:
        """Have a command done. Returns at once, and may be called in a turn.

        Commands are done in the order in which they were sent; those of one tick go out in one write or two. While the
        bus is not joined they fail at once.

        Args:
            command: what to do.
            then: is called with the answer, or with why there is none, once: maybe before this returns.

        Raises:
            TypeError, ValueError: it is no such command, or cannot be said. `then` is not called.
        """


class Hub(ABC):
    """What workers that share a process meet at: it makes a bus for each."""

    @abstractmethod
    def bus(self) -> Bus:
        """Another worker's way to the others."""


def contained(call: Callable[..., None], *arguments: Any) -> None:
    """Call back. One that fails harms nothing but itself."""
    try:
        call(*arguments)
    except Exception as error:  # noqa: BLE001 - whatever it is, the others are to be called all the same
        logger.error("who was called back by the bus failed: %s", told(error))  # noqa: TRY400 - its text may be secret
