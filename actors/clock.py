"""The time that a system goes by."""

import time

import anyio


class Clock:
    """The event loop's own clock, which is virtual where the loop's is (trio's `MockClock`).

    A system can be given another one, so that time can be moved by hand on either event loop
    (`actors.testing.ManualClock`). Timers, deadlines of asks and whatever is measured in the system go by it.
    """

    def now(self) -> float:
        """The time, in seconds since some moment in the past."""
        return anyio.current_time()

    async def wait(self, event: anyio.Event, until: float) -> None:
        """Wait for the event, or until the clock shows so much; which of the two it was, the event tells.

        Cancellation: ends the wait and changes nothing.
        """
        with anyio.CancelScope(deadline=until):
            await event.wait()

    def stopwatch(self) -> float:
        """Seconds of real time, for the dispatch budget, which is about real time also where the clock is virtual."""
        return time.perf_counter()
