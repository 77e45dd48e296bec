"""What is said of one errand on its way to whoever asked for it: few notes are under way at once, the others wait."""

from collections import deque
from collections.abc import Callable
from typing import Final

UNDER_WAY: Final = 32
"""Notes of one errand that the bus has yet to take, at most."""
WAITING: Final = 256
"""Notes of one errand that wait for their turn, at most; past that the oldest are dropped."""


class Outlet:
    """Keeps the notes of one errand in order, and their number bounded, however slow the bus is.

    Args:
        post: sends a note. `taken` is to be called once the bus has taken it, or has not.

    Attributes:
        dropped: how many found no room.
    """

    __slots__ = ("_post", "_under_way", "_waiting", "dropped")

    def __init__(self, post: Callable[[bytes], None]) -> None:
        self._post = post
        self._waiting: deque[bytes] = deque()
        self._under_way = 0
        self.dropped = 0

    def put(self, note: bytes) -> None:
        """Send a note, or keep it until there is room."""
        if self._under_way < UNDER_WAY:
            self._under_way += 1
            self._post(note)
            return
        if len(self._waiting) == WAITING:
            self._waiting.popleft()
            self.dropped += 1
        self._waiting.append(note)

    def taken(self) -> None:
        """One of them is not under way any more."""
        self._under_way -= 1
        if self._waiting and self._under_way < UNDER_WAY:
            self._under_way += 1
            self._post(self._waiting.popleft())

    def flush(self) -> None:
        """Send all that wait, before the errand's answer."""
        while self._waiting:
            self._under_way += 1
            self._post(self._waiting.popleft())
