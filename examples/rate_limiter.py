"""A rate limiter: a bucket of tokens that callers wait at, first come, first served.

One actor holds the tokens. A turn never awaits, so no two callers can take the same one, and no lock is needed.
"""

from collections import deque

import anyio

from actors import Actor, AskerGone, Reply, Request, Signal, Unclaimed, message, open_system


@message
class Take(Request[None]):
    """Asked for a token, and answered when there is one."""


@message
class Refill:
    """Time for one more token."""


class RateLimiter(Actor[Take | Refill]):
    def __init__(self, *, rate: float, burst: int) -> None:
        self.period, self.burst, self.tokens = 1 / rate, burst, burst
        self.waiting = deque[Reply[None]]()

    def started(self) -> None:
        self.every(self.period, Refill())

    def receive(self, message: Take | Refill) -> None:
        match message:
            case Take():
                self.waiting.append(self.keep_reply())
            case Refill():
                self.tokens = min(self.burst, self.tokens + 1)
        while self.tokens and self.waiting:
            self.tokens -= 1
            self.waiting.popleft().answer(None)

    def signal(self, signal: Signal) -> None:
        if isinstance(signal, AskerGone):  # a caller gave up waiting
            self.waiting.remove(signal.reply)
        elif isinstance(signal, Unclaimed):  # a caller gave up with a token in its hand
            self.receive(Refill())


async def main() -> None:
    async with open_system() as system:
        limiter = system.spawn(RateLimiter(rate=20, burst=3), name="limiter")
        began = anyio.current_time()
        for number in range(8):
            await limiter.ask(Take(), timeout=5)
            print(f"call {number} after {anyio.current_time() - began:.2f} s")


if __name__ == "__main__":
    anyio.run(main, backend="trio")
