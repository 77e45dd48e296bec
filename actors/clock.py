"""The time that a system goes by."""

import asyncio
import math
import time
from typing import Final

import anyio
import sniffio
import trio

from actors.backend import Event


class Clock:
    """The event loop's own clock, which is virtual where the loop's is (trio's `MockClock`).

    A system can be given another one, so that time can be moved by hand on either event loop
    (`actors.testing.ManualClock`). Timers, deadlines of asks and whatever is measured in the system go by it.
    """

    def now(self) -> float:
        """The time, in seconds since some moment in the past."""
        return anyio.current_time()

    def through_suspends(self) -> float:
        """As `now`, and the time besides for which the machine has slept, where the system tells: what a promise to
        others goes by, whose clocks went on.
        """
        return self.now() + time.clock_gettime(_THROUGH) - time.clock_gettime(time.CLOCK_MONOTONIC)

    def wall(self) -> float:
        """The time that processes have in common, more or less: seconds since 1970."""
        return time.time()

    async def wait(self, event: Event, until: float) -> None:
        """Wait for the event, or until the clock shows so much. The event may be set by that; it is the waiter's own.

        Cancellation: ends the wait and changes nothing.
        """
        # anyio's scopes do for both loops what either does for a third of that; every ask that waits has its deadline.
        if sniffio.current_async_library() == "trio":
            with trio.CancelScope(deadline=until):
                await event.wait()
        elif until == math.inf:
            await event.wait()
        else:
            alarm = asyncio.get_running_loop().call_at(until, event.set)
            try:
                await event.wait()
            finally:
                alarm.cancel()

    def stopwatch(self) -> float:
        """Seconds of real time, for the dispatch budget, which is about real time also where the clock is virtual."""
        return time.perf_counter()


_THROUGH: Final[int] = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
