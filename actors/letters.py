"""Dead letters: messages that reached nobody."""

from collections import deque
from contextlib import suppress
from dataclasses import field
from typing import Any, Final

from actors.named import NamedRef
from actors.ref import Ref
from protocol.errors import ActorError
from protocol.message import message

DEAD_LETTERS_KEPT: Final = 16


@message
class DeadLetter:
    """A message that could not be delivered.

    Attributes:
        receiver: who it was for.
        message: what was told or asked. Whoever asked got an error as well.
        reason: what stood in the way: the receiver has stopped, is draining, or has no room.
    """

    receiver: Ref[Any]
    message: object = field(repr=False)  # it may hold what no log should
    reason: str


class DeadLetters:
    """The dead letters of one system.

    Attributes:
        count: how many there were.
        latest: the last few of them, oldest first.
    """

    def __init__(self) -> None:
        self.count = 0
        self.latest: deque[DeadLetter] = deque(maxlen=DEAD_LETTERS_KEPT)
        self._subscribers: dict[Ref[DeadLetter], None] = {}

    def subscribe(self, ref: Ref[DeadLetter]) -> None:
        """Tell that actor of each dead letter from now on, as far as its mailbox has room. Twice is once."""
        self._subscribers[ref] = None

    def unsubscribe(self, ref: Ref[DeadLetter]) -> None:
        """Tell that actor no more. One that was not subscribed changes nothing."""
        self._subscribers.pop(ref, None)

    def add(self, receiver: Ref[Any], message: object, reason: str) -> None:
        """Note one, and tell whoever subscribed. Only the runtime calls this."""
        letter = DeadLetter(receiver, message, reason)
        self.count += 1
        self.latest.append(letter)
        if isinstance(message, DeadLetter):
            return  # a subscriber that could not take one: telling of that would never end
        for subscriber in list(self._subscribers):
            if subscriber.is_alive:
                with suppress(ActorError):
                    subscriber.tell(letter)
            elif not isinstance(subscriber, NamedRef):  # somebody else may have the name soon
                self._subscribers.pop(subscriber, None)
