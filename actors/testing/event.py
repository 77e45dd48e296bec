"""What happened in a run, as small records."""

from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import NamedTuple

from typing_extensions import override


class Event(NamedTuple):
    """One thing that happened in a run.

    Attributes:
        at: when, in seconds of virtual time since the run began.
        system: the name of the system or node that it happened in.
        kind: `turn`; `lost` for a message that reached nobody; the name of the fault (`drop`, `delay`, `duplicate`,
            `reorder`, `crash`, `pause`, `jump`); or what else became of a node (`start`, `restart`, `resume`, `stop`).
        sender: the path of the actor in whose turn the message was sent, or the name of the node that posted it; None
            if it came from elsewhere.
        receiver: the path of the actor that the message was for; None where there was none.
        message: the name of the message's type, or of the actor's hook; for what happens to a node, its value.
        error: the name of the type of what left the turn; None if nothing did.
    """

    at: float
    system: str
    kind: str
    sender: str | None
    receiver: str | None
    message: str
    error: str | None

    @override
    def __str__(self) -> str:
        what = f"{self.at:12.6f}  {self.system}: {self.kind} {self.message}".rstrip()
        if self.receiver is not None:
            what += f", {self.sender or 'outside'} -> {self.receiver}"
        return what if self.error is None else f"{what}, raised {self.error}"


def digest(events: Sequence[Event]) -> str:
    """The SHA-256 of the events, in hexadecimal digits: the same for the same run, in every process."""
    digested = sha256()
    for event in events:
        digested.update(f"{event.at.hex()}\t{event[1:]!r}\n".encode())
    return digested.hexdigest()


class Log:
    """Takes down what happens.

    Args:
        now: the virtual time.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self.events: list[Event] = []
        self._now = now

    def count(self) -> int:
        """How many there are."""
        return len(self.events)

    def record(
        self,
        system: str,
        kind: str,
        message: str = "",
        *,
        sender: str | None = None,
        receiver: str | None = None,
        error: str | None = None,
    ) -> None:
        """Note what happens now. The arguments are an `Event`'s."""
        self.events.append(Event(self._now(), system, kind, sender, receiver, message, error))
