"""An asyncio event loop whose time is virtual, as trio's is under `MockClock`: it jumps when nothing can run."""

import asyncio
import selectors

from typing_extensions import override


class JumpingSelector(selectors.SelectSelector):
    """Waits for nothing: where a loop would sleep until its next timer, its time jumps there.

    Attributes:
        now: the time, in seconds.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    @override
    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(None if timeout is None else 0)
        if not ready and timeout is not None:
            self.now += max(0.0, timeout)
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """The loop. Work in other threads takes no time on it, so a test must not wait for that."""

    def __init__(self) -> None:
        self._jumping = JumpingSelector()
        super().__init__(self._jumping)

    @override
    def time(self) -> float:
        return self._jumping.now
