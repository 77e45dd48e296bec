"""Workers on a bus, for the tests that every bus has to pass."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from random import Random
from typing import Any, TypeVar

import anyio
import pytest

from actors.bus import Bus
from actors.memory_bus import MemoryHub
from actors.redis_address import RedisAddress
from actors.redis_bus import RedisBus
from protocol.bus import Arrived, BusNews, Command, Find, Joined, Parted
from protocol.errors import BusUnavailable
from protocol.namespace import Namespace

A = TypeVar("A")

MakeBus = Callable[[], Bus]


class Worker:
    """One who listens to a channel, and notes what the bus says."""

    def __init__(self, name: str, bus: Bus) -> None:
        self.name = name
        self.bus = bus
        self.news: list[BusNews] = []
        self._changed = anyio.Event()

    @property
    def channel(self) -> str:
        return f"channel-of-{self.name}"

    @property
    def envelopes(self) -> list[bytes]:
        return [news.envelope for news in self.news if isinstance(news, Arrived)]

    async def run(self) -> None:
        await self.bus.run((self.channel,), self.tell)

    def tell(self, news: BusNews) -> None:
        self.news.append(news)
        self._changed.set()
        self._changed = anyio.Event()

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait for the bus to have said so."""
        with anyio.fail_after(10):
            while not holds():
                await self._changed.wait()

    async def joined(self, times: int = 1) -> None:
        await self.until(lambda: sum(isinstance(news, Joined) for news in self.news) >= times)

    async def parted(self) -> None:
        await self.until(lambda: any(isinstance(news, Parted) for news in self.news))

    async def ask(self, command: Command[A]) -> A:
        """Have the bus do something.

        Raises:
            BusUnavailable: it cannot.
        """
        answers: list[Any] = []
        answered = anyio.Event()

        def then(answer: object) -> None:
            answers.append(answer)
            answered.set()

        self.bus.send(command, then)
        with anyio.fail_after(10):
            await answered.wait()
        (answer,) = answers
        if isinstance(answer, BusUnavailable):
            raise answer
        return answer


@asynccontextmanager
async def workers(make: MakeBus, *names: str) -> AsyncGenerator[list[Worker]]:
    """So many workers, joined; they leave at the end."""
    async with anyio.create_task_group() as tasks:
        found = [Worker(name, make()) for name in names]
        for worker in found:
            tasks.start_soon(worker.run)
        for worker in found:
            await worker.joined()
        yield found
        tasks.cancel_scope.cancel()


def redis_bus(url: str, namespace: Namespace, *, patience: float = 2.0) -> RedisBus:
    return RedisBus(RedisAddress(url), namespace, Random(1), patience=patience)


def maker(kind: str, url: str, namespace: Namespace) -> MakeBus:
    """Makes buses of that kind that meet."""
    return MemoryHub().bus if kind == "memory" else lambda: redis_bus(url, namespace)


@asynccontextmanager
async def trying(url: str, namespace: Namespace, *channels: str, patience: float = 2.0) -> AsyncGenerator[Worker]:
    """A worker that tries to join, and leaves at the end."""
    async with anyio.create_task_group() as tasks:
        worker = Worker("ada", redis_bus(url, namespace, patience=patience))
        tasks.start_soon(worker.bus.run, channels or (worker.channel,), worker.tell)
        yield worker
        tasks.cancel_scope.cancel()


async def refusal(worker: Worker) -> str:
    """Why it is not joined, once that is known."""
    with anyio.fail_after(10):
        while True:
            with pytest.raises(BusUnavailable) as failed:
                await worker.ask(Find("talk"))
            if "not been joined yet" not in str(failed.value):
                return str(failed.value)
            await anyio.sleep(0.01)
