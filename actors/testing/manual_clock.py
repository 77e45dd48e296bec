"""A clock that is moved by hand, on either event loop."""

from typing import Final

import anyio
import anyio.lowlevel
from typing_extensions import override

from actors.backend import Event
from actors.clock import Clock
from protocol.errors import InvalidSettings

CHECKPOINTS: Final = 20


class ManualClock(Clock):
    """Time that stands still until it is moved: for ordinary tests, on trio and on asyncio.

    Timers, deadlines of asks and whatever else goes by a system's clock go by it; what goes by the event loop's own
    (`anyio.sleep`, `anyio.fail_after`) does not.

        clock = ManualClock()
        async with open_system(clock=clock) as system:
            cache = system.spawn(Cache())
            await clock.advance(60)

    Args:
        start: what it shows at first, in seconds.
    """

    def __init__(self, start: float = 0.0) -> None:
        self._now = start
        self._waiting: dict[anyio.CancelScope, float] = {}

    @override
    def now(self) -> float:
        """What the clock shows, in seconds."""
        return self._now

    @override
    async def wait(self, event: Event, until: float) -> None:
        with anyio.CancelScope() as scope:
            if until <= self._now:
                scope.cancel()
            self._waiting[scope] = until
            try:
                await event.wait()
            finally:
                del self._waiting[scope]

    async def sleep(self, seconds: float) -> None:
        """Wait until the clock was moved so far.

        Cancellation: ends the wait.
        """
        await self.wait(anyio.Event(), self._now + seconds)

    async def advance(self, seconds: float) -> None:
        """Let time pass: everything that is due within it comes at its own moment, in order, with all its consequences.

        Returns when every other task waits for something again. A task that never does keeps it from returning.

        Args:
            seconds: how long; 0 only lets other tasks go on until they wait.

        Raises:
            InvalidSettings: time cannot pass backwards.

        Cancellation: time stands where it has come to.
        """
        if not seconds >= 0:
            raise InvalidSettings(f"a ManualClock cannot advance by {seconds!r} s")
        until = self._now + seconds
        await _all_wait()
        while (due := min(self._waiting.values(), default=until + 1)) <= until:
            self._show(max(due, self._now))
            await _all_wait()
        self._show(max(until, self._now))

    def jump(self, seconds: float) -> None:
        """Let the clock leap, as after a suspend: what is due is woken all at once, and runs when this task next waits.

        Args:
            seconds: how far; below 0 is back.
        """
        self._show(self._now + seconds)

    def _show(self, time: float) -> None:
        self._now = time
        for scope, until in list(self._waiting.items()):
            if until <= time:
                scope.cancel()


async def _all_wait() -> None:
    # On asyncio anyio looks every 0.1 s of real time: some turns of the loop first, and it need look only once.
    for _ in range(CHECKPOINTS):
        await anyio.lowlevel.checkpoint()
    await anyio.wait_all_tasks_blocked()
