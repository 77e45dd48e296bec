"""Timers: one heap and one task for all of a system's actors."""

import heapq
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import anyio
from typing_extensions import override

from actors.clock import Clock
from actors.links import with_link, without_link

if TYPE_CHECKING:
    from actors.cell import Cell


BUDGET: Final = 0.001
"""Seconds that timers due together may hold the event loop."""


class Alarm:
    """Something to be done later. It belongs to an actor, and is gone with it."""

    __slots__ = ("_owner",)

    def __init__(self, owner: "Cell[Any]") -> None:
        self._owner: Cell[Any] | None = owner
        owner.timers = with_link(owner.timers, self)

    @property
    def is_set(self) -> bool:
        """Whether it is still to come."""
        return self._owner is not None

    def cancel(self) -> None:
        """Forget it. Cancelling one that has fired, or cancelling twice, changes nothing.

        Raises:
            WrongThread: this is not the thread that runs the system.
        """
        if self._owner is not None:
            self._owner.system.check_thread(self._owner, "told to cancel a timer")
        owner = self._unset()
        if owner is not None:
            owner.system.timers.note_cancelled()

    def fire(self) -> None:
        """Do what is to be done. Only the system calls this."""
        raise NotImplementedError

    def again(self, due: float, now: float) -> float | None:
        """When to fire next after `due`; None for never. Only the system calls this."""

    def _unset(self) -> "Cell[Any] | None":
        owner, self._owner = self._owner, None
        if owner is not None:
            owner.timers = without_link(owner.timers, self)
        return owner


class Call(Alarm):
    """A function to be called, for the runtime itself."""

    __slots__ = ("_function",)

    def __init__(self, owner: "Cell[Any]", function: Callable[[], None]) -> None:
        super().__init__(owner)
        self._function = function

    @override
    def fire(self) -> None:
        self._unset()
        self._function()


class Timer(Alarm):
    """A message to come, once or again and again."""

    __slots__ = ("_message",)

    def __init__(self, owner: "Cell[Any]", message: Any) -> None:
        super().__init__(owner)
        self._message = message

    @override
    def fire(self) -> None:
        owner = self._unset()
        if owner is not None:
            owner.system.deliver(owner, self._message)


class Beat(Timer):
    """A message to come again and again."""

    __slots__ = ("_every",)

    def __init__(self, owner: "Cell[Any]", message: Any, every: float) -> None:
        super().__init__(owner, message)
        self._every = every

    @override
    def fire(self) -> None:
        if self._owner is not None:
            self._owner.system.deliver(self._owner, self._message)

    @override
    def again(self, due: float, now: float) -> float | None:
        # On the beat, but never in arrears: what was missed while the process stood still is left out.
        return max(due + self._every * ((now - due) // self._every + 1), math.nextafter(now, math.inf))


class Timers:
    """All timers of one system, soonest first.

    A cancelled timer stays in the heap, empty, since finding it would cost a scan; when more than half of the heap is
    empty it is made anew.
    """

    def __init__(self, clock: Clock, now: Callable[[], float]) -> None:
        self._clock = clock
        self._now = now
        self._heap: list[tuple[float, int, Alarm]] = []
        self._added = 0
        self._cancelled = 0
        self._sooner = anyio.Event()

    def add(self, alarm: Alarm, seconds: float) -> None:
        """Let `alarm` fire in so many seconds."""
        self._push(self._now() + max(0.0, seconds), alarm)

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
            # Lets other tasks run in any case, also if something is due already.
            await self._clock.wait(self._sooner, self._heap[0][0] if self._heap else math.inf)
            self._fire_due()

    def _fire_due(self) -> None:
        """Fire what is due by now, for as long as the event loop can spare."""
        now, last = self._now(), self._added
        began = self._clock.stopwatch()
        # What is set meanwhile comes in the next round: a timer of no seconds must not hold up everybody.
        while self._heap and self._heap[0][0] <= now and self._heap[0][1] <= last:
            due, _, alarm = heapq.heappop(self._heap)
            if not alarm.is_set:
                self._cancelled -= 1
                continue
            if (again := alarm.again(due, now)) is not None:
                self._push(again, alarm)
            alarm.fire()
            if self._clock.stopwatch() - began > BUDGET:
                return

    def _push(self, due: float, alarm: Alarm) -> None:
        self._added += 1
        entry = (due, self._added, alarm)
        heapq.heappush(self._heap, entry)
        if self._heap[0] is entry:
            self._sooner.set()
