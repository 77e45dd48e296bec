"""Timers: one heap and one task for all of a system's actors."""

import heapq
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import anyio

if TYPE_CHECKING:
    from actors.cell import Cell


class Timer:
    """A message to come. It belongs to an actor, and is gone with it."""

    __slots__ = ("_message", "_owner")

    def __init__(self, owner: "Cell[Any]", message: Any) -> None:
        self._owner: Cell[Any] | None = owner
        self._message = message

    @property
    def is_set(self) -> bool:
        """Whether the message is still to come."""
        return self._owner is not None

    def cancel(self) -> None:
        """Forget the message. Cancelling one that has fired, or cancelling twice, changes nothing."""
        owner = self._unset()
        if owner is not None:
            owner.system.timers.note_cancelled()

    def fire(self) -> None:
        """Deliver the message. Only the system calls this."""
        message = self._message
        owner = self._unset()
        if owner is not None:
            owner.tell(message)

    def _unset(self) -> "Cell[Any] | None":
        owner, self._owner, self._message = self._owner, None, None
        if owner is not None and owner.timers is not None:
            owner.timers.discard(self)
        return owner


class Timers:
    """All timers of one system, soonest first.

    A cancelled timer stays in the heap, empty, since finding it would cost a scan; when more than half of the heap is
    empty it is made anew.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._heap: list[tuple[float, int, Timer]] = []
        self._added = 0
        self._cancelled = 0
        self._sooner = anyio.Event()

    def add(self, timer: Timer, seconds: float) -> None:
        """Let `timer` fire in so many seconds."""
        self._added += 1
        entry = (self._now() + max(0.0, seconds), self._added, timer)
        heapq.heappush(self._heap, entry)
        if self._heap[0] is entry:
            self._sooner.set()

    def note_cancelled(self) -> None:
        """One of the heap's timers is empty now."""
        self._cancelled += 1
        if self._cancelled * 2 > len(self._heap):
            self._heap = [entry for entry in self._heap if entry[2].is_set]
            heapq.heapify(self._heap)
            self._cancelled = 0

    def __len__(self) -> int:
        """How many entries the heap has, the empty ones included."""
        return len(self._heap)

    async def run(self) -> None:
        """Fire timers as they come due, until cancelled."""
        while True:
            self._sooner = anyio.Event()
            with anyio.CancelScope(deadline=self._heap[0][0] if self._heap else math.inf):
                await self._sooner.wait()
            now = self._now()
            while self._heap and self._heap[0][0] <= now:
                timer = heapq.heappop(self._heap)[2]
                if timer.is_set:
                    timer.fire()
                else:
                    self._cancelled -= 1
