"""What lies between a worker and Redis: it delays, drops and swallows when it is told to."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Final

import anyio
from anyio.abc import ByteReceiveStream, ByteSendStream, SocketAttribute, SocketStream
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

UP: Final = "to Redis"
DOWN: Final = "from Redis"
WAYS: Final = (UP, DOWN)
_CHUNK: Final = 65_536
_GONE: Final = (OSError, anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError)


class _Pair:
    """A connection of a worker, and the one to Redis that belongs to it."""

    def __init__(self) -> None:
        self.scope = anyio.CancelScope()
        self.is_open = True

    def worker_left(self) -> None:
        self.is_open = False


class Link:
    """The way of one worker to Redis. Made by `open_link`.

    Args:
        server: the port of Redis.

    Attributes:
        port: where the worker is to connect to.
        most: how many connections it ever had at once.
        delay: seconds by which whatever passes is late.
    """

    def __init__(self, server: int) -> None:
        self.port = 0
        self.most = 0
        self.delay = 0.0
        self._server = server
        self._gates = {way: anyio.Event() for way in WAYS}
        self._pairs: list[_Pair] = []
        self.let_through()

    @property
    def connections(self) -> int:
        """How many the worker has open."""
        return sum(pair.is_open for pair in self._pairs)

    # --- trouble

    def hold(self, *ways: str) -> None:
        """Let nothing pass, as a network that swallows: who speaks and who waits is told nothing."""
        for way in ways:
            if self._gates[way].is_set():
                self._gates[way] = anyio.Event()

    def let_through(self) -> None:
        """Let everything pass, what was held back first."""
        for gate in self._gates.values():
            gate.set()

    def drop(self, count: int | None = None) -> int:
        """Break so many connections, or all; the newest first. Answers how many."""
        broken = self._pairs[::-1][:count]
        for pair in broken:
            pair.scope.cancel()
        return len(broken)

    # --- what passes

    async def serve(self, worker: SocketStream) -> None:
        """Connect a worker that has come."""
        pair = _Pair()
        self._pairs.append(pair)
        self.most = max(self.most, self.connections)
        try:
            with pair.scope:
                async with worker:
                    await self._join(worker, pair)
        finally:
            self._pairs.remove(pair)

    async def _join(self, worker: SocketStream, pair: _Pair) -> None:
        said, hears = anyio.create_memory_object_stream[bytes](float("inf"))
        answered, tells = anyio.create_memory_object_stream[bytes](float("inf"))
        with said, hears, answered, tells:
            async with anyio.create_task_group() as tasks:
                over = tasks.cancel_scope.cancel
                # What a worker gives up is gone for it at once, even while nothing of that reaches Redis.
                tasks.start_soon(_read, worker, said, pair.worker_left)
                await self._gates[UP].wait()
                try:
                    redis = await anyio.connect_tcp("127.0.0.1", self._server)
                except OSError:
                    over()
                    return
                async with redis:
                    tasks.start_soon(_read, redis, answered)
                    tasks.start_soon(self._write, DOWN, tells, worker, over)
                    await self._write(UP, hears, redis, over)

    async def _write(
        self, way: str, source: MemoryObjectReceiveStream[bytes], sink: ByteSendStream, over: Callable[[], None]
    ) -> None:
        """Pass on what was read, and then its end."""
        async for chunk in source:
            if self.delay:
                await anyio.sleep(self.delay)
            await self._gates[way].wait()
            try:
                await sink.send(chunk)
            except _GONE:
                break
        await self._gates[way].wait()
        over()


async def _read(
    source: ByteReceiveStream, sink: MemoryObjectSendStream[bytes], ended: Callable[[], None] | None = None
) -> None:
    """Read on whatever is done with it."""
    with sink:
        try:
            while True:
                sink.send_nowait(await source.receive(_CHUNK))
        except _GONE:
            if ended is not None:
                ended()


@asynccontextmanager
async def open_link(server: int) -> AsyncGenerator[Link]:
    """A way to Redis that can be troubled, until the end of the block."""
    link = Link(server)
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as tasks:
        link.port = listener.extra(SocketAttribute.local_port)  # noqa: S610 - anyio's, and not Django's
        tasks.start_soon(listener.serve, link.serve)
        yield link
        tasks.cancel_scope.cancel()
