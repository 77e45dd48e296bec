"""Three workers that are one pool: processes that meet on a Redis, or pools of this process where there is none."""

import json
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Final

import anyio
from typing_extensions import override

from actors import MemoryHub, Pool, open_pool
from actors.demo.arguments import DemoError
from actors.demo.broker import find_program
from actors.demo.process import DemoProcess
from actors.demo.worker import CLUSTER, SETTINGS, Came, converse
from actors.memory_bus import MemoryBus
from protocol.bus import Joined
from protocol.namespace import Namespace

NUMBER: Final = 3


class Worker(ABC):
    """One of them.

    Attributes:
        name: its id.
    """

    name: str = ""

    @abstractmethod
    async def call(self, tool: str, **arguments: Any) -> Came:
        """Have it make a call of the conversation."""

    @abstractmethod
    async def kill(self) -> None:
        """End it for all that others see, without a word to them."""


@dataclass(frozen=True, slots=True)
class Workers:
    """All of them.

    Attributes:
        each: each of them.
        are_processes: whether each is a process of its own, and they meet on a Redis.
    """

    each: list[Worker]
    are_processes: bool


@asynccontextmanager
async def running_workers(url: str, backend: str) -> AsyncGenerator[Workers]:
    """Workers that run until the exit, whatever happens meanwhile.

    Args:
        url: the server that their conversation is with.
        backend: the event loop of each.

    Raises:
        DemoError: one of them does not start.
    """
    broker = DemoProcess()
    try:
        program = find_program()
        address = await broker.start("actors.demo.broker", program) if program is not None else ""
        if address:
            async with _processes(address, url, backend) as workers:
                yield Workers(workers, are_processes=True)
        else:
            async with _pools(url) as workers:
                yield Workers(workers, are_processes=False)
    finally:
        await broker.end()


# --- processes


class _WorkerProcess(Worker):
    """A process of its own, to which calls are said line by line."""

    def __init__(self) -> None:
        self._process = DemoProcess()
        self._numbers = count()
        self._waiting: dict[int, _Waiting] = {}

    async def start(self, *arguments: str) -> None:
        """Start it.

        Raises:
            DemoError: it ends instead.
        """
        self.name = await self._process.start("actors.demo.worker", *arguments)
        if not self.name:
            raise DemoError("one of the demo's own workers does not start")

    async def listen(self) -> None:
        """Hear what it says, until it ends."""
        while line := await self._process.hear():
            number, came = json.loads(line)
            self._waiting.pop(number).give(Came(**came))
        while self._waiting:
            self._waiting.popitem()[1].give(Came(error="its worker has ended"))

    @override
    async def call(self, tool: str, **arguments: Any) -> Came:
        number = next(self._numbers)
        waiting = self._waiting[number] = _Waiting()
        await self._process.say(json.dumps([number, tool, arguments]))
        return await waiting.wait()

    @override
    async def kill(self) -> None:
        await self._process.kill()

    async def end(self) -> None:
        """Let it leave."""
        await self._process.end()


@dataclass(slots=True)
class _Waiting:
    """Somebody who waits for what a call comes to."""

    came: Came = field(default_factory=Came)
    is_there: anyio.Event = field(default_factory=anyio.Event)

    def give(self, came: Came) -> None:
        self.came = came
        self.is_there.set()

    async def wait(self) -> Came:
        await self.is_there.wait()
        return self.came


@asynccontextmanager
async def _processes(*arguments: str) -> AsyncGenerator[list[Worker]]:
    workers = [_WorkerProcess() for _ in range(NUMBER)]
    try:
        try:
            async with anyio.create_task_group() as tasks:
                for worker in workers:
                    tasks.start_soon(worker.start, *arguments)
        except* DemoError as errors:
            raise DemoError(str(errors.exceptions[0])) from None
        async with anyio.create_task_group() as tasks:
            for worker in workers:
                tasks.start_soon(worker.listen)
            yield list(workers)
            tasks.cancel_scope.cancel()
    finally:
        await _end_all(workers)


async def _end_all(workers: list[_WorkerProcess]) -> None:
    with anyio.CancelScope(shield=True):
        async with anyio.create_task_group() as tasks:
            for worker in workers:
                tasks.start_soon(worker.end)


# --- pools of this process


class _Hub(MemoryHub):
    """Where they meet. A worker's line to it can be cut."""

    def __init__(self) -> None:
        super().__init__()
        self._joined: dict[MemoryBus, tuple[str, ...]] = {}

    @override
    def join(self, bus: MemoryBus, channels: tuple[str, ...]) -> Joined:
        self._joined[bus] = channels
        return super().join(bus, channels)

    @override
    def part(self, bus: MemoryBus, channels: tuple[str, ...]) -> None:
        if self._joined.pop(bus, None) is not None:
            super().part(bus, channels)

    def cut(self, worker: str) -> None:
        """Nobody listens for that worker any more, nor hears of it that this is so."""
        own = Namespace(CLUSTER.namespace).requests(worker)
        for bus, channels in list(self._joined.items()):
            if own in channels:
                self.part(bus, channels)


class _WorkerPool(Worker):
    """A pool of this process."""

    def __init__(self, pool: Pool, hub: _Hub, url: str) -> None:
        self.name = str(pool.worker)
        self._pool = pool
        self._hub = hub
        self._url = url

    @override
    async def call(self, tool: str, **arguments: Any) -> Came:
        return await converse(self._pool, self._url, tool, arguments)

    @override
    async def kill(self) -> None:
        self._hub.cut(self.name)


@asynccontextmanager
async def _pools(url: str) -> AsyncGenerator[list[Worker]]:
    hub = _Hub()
    async with AsyncExitStack() as stack:
        pools = [
            await stack.enter_async_context(
                open_pool(SETTINGS, name=f"worker-{number}", cluster=hub, cluster_settings=CLUSTER)
            )
            for number in range(NUMBER)
        ]
        yield [_WorkerPool(pool, hub, url) for pool in pools]
