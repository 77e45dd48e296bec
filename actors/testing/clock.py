"""The clock of one system in a simulation."""

import math
from collections.abc import Callable
from random import Random
from typing import Final

import anyio
import trio
from typing_extensions import override

from actors.backend import Event
from actors.clock import Clock
from protocol.errors import InvalidSettings

STARTED_AT: Final = 1_800_000_000.0
"""The time of day at which runs begin, in seconds since 1970."""
SECONDS_BETWEEN_LOOKS: Final = 0.001
"""The most that the simulated stopwatch moves on between two looks. A dispatch looks every few dozen turns."""


class SimulatedClock(Clock):
    """Virtual time, as one system sees it: it can leap for that system alone.

    What goes by the system's clock leaps with it: timers, the deadlines of asks. What goes by the event loop's does
    not (`anyio.sleep`, `anyio.fail_after`).

    Args:
        time: the virtual time of the simulation.
        random: where the readings of the stopwatch come from.
    """

    def __init__(self, time: Callable[[], float], random: Random) -> None:
        self._time = time
        self._random = random
        self._offset = self._forward = self._wall_offset = 0.0
        self._waiting: dict[trio.CancelScope, float] = {}
        self._stopwatch = 0.0

    @override
    def now(self) -> float:
        """The time, in seconds: that of the simulation, and as much as the clock has leapt."""
        return self._time() + self._offset

    @override
    def through_suspends(self) -> float:
        """The time that has gone by, in seconds, with leaps forward, as if they were suspends, and not those back."""
        return self._time() + self._forward

    @override
    def wall(self) -> float:
        """The time of day. It is set by itself (`set_wall`), and does not leap with the clock."""
        return STARTED_AT + self._time() + self._wall_offset

    @override
    async def wait(self, event: Event, until: float) -> None:
        while True:
            with trio.CancelScope(deadline=self._due(until)) as scope:
                self._waiting[scope] = until
                try:
                    await event.wait()
                finally:
                    del self._waiting[scope]
            if event.is_set() or self.now() >= until:
                return

    async def sleep(self, seconds: float) -> None:
        """Wait for so long by this clock, leaps included.

        Cancellation: ends the wait.
        """
        await self.wait(anyio.Event(), self.now() + seconds)

    @override
    def stopwatch(self) -> float:
        """Seconds of a simulated stopwatch, which moves on by a draw with each look: so the seed decides when a
        dispatch has used up its budget.
        """
        self._stopwatch += self._random.random() * SECONDS_BETWEEN_LOOKS
        return self._stopwatch

    def jump(self, seconds: float) -> None:
        """Let the clock leap forward, or back. What has come due by that, comes at once; what waits goes on waiting.

        Args:
            seconds: how far; below 0 is back.

        Raises:
            InvalidSettings: that is no finite number.
        """
        if not math.isfinite(seconds):
            raise InvalidSettings(f"a clock cannot leap by {seconds!r} s")
        self._offset += seconds
        self._forward += max(0.0, seconds)
        for scope, until in self._waiting.items():
            scope.deadline = self._due(until)

    def set_wall(self, seconds: float) -> None:
        """Let the time of day alone be so many seconds off from now on, as when somebody has set it."""
        self._wall_offset = seconds

    def _due(self, until: float) -> float:
        """The virtual time at which this clock shows `until`, or a hair more."""
        due = until - self._offset
        # Rounding must not wake anybody who then reads a time before `until`, and so would wait again without end.
        while due + self._offset < until:
            due = math.nextafter(due, math.inf)
        return due
