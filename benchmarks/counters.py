"""One counter, built in every way that T15 compares: as an actor, a task with a mailbox, a thread, a plain object.

Each counts what it is told, and answers with the count, which then starts anew. All are sent the same two messages,
made beforehand. A task has its mailbox and its way of answering as one writes them by hand: on trio a memory channel
and a `trio.Event`, on asyncio an `asyncio.Queue` and a future. A thread is pykka's.
"""

import asyncio
import math
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from itertools import repeat
from typing import Any, Final, Protocol, assert_never

import pykka
import trio
from typing_extensions import override

from actors import Actor, Ref, Request, System, message, open_system


@message
class Count:
    """Count one."""


@message
class Take(Request[int]):
    """Ask for the count, which starts anew."""


COUNT: Final = Count()
TAKE: Final = Take()


class Counters(Protocol):
    """A way to have counters."""

    async def tell(self, times: int) -> None:
        """Tell a counter so many times, each message being handled before the counter takes the next."""
        ...

    async def tell_many(self, times: int) -> None:
        """Tell a counter so many times in a row, then ask, which is what waits for it."""
        ...

    async def ask(self, times: int) -> None:
        """Ask a counter so many times."""
        ...

    async def start(self, number: int) -> None:
        """Start so many counters, then stop all of them, and wait for their ends."""
        ...

    async def keep(self, name: str) -> None:
        """Start a counter that stays, and can be found by its name; tell it once, and ask it once."""
        ...


# --- a plain object


class PlainCounter:
    """The floor: a message is a method call."""

    def __init__(self) -> None:
        self._counted = 0

    def receive(self, message: Count | Take) -> int:
        """Count, or hand out the count."""
        match message:
            case Count():
                self._counted += 1
                return 0
            case Take():
                counted, self._counted = self._counted, 0
                return counted
            case _:
                assert_never(message)

    async def tell(self, times: int) -> None:
        """As `Counters.tell`."""
        for _ in repeat(None, times):
            self.receive(COUNT)
        assert self.receive(TAKE) == times

    async def ask(self, times: int) -> None:
        """As `Counters.ask`."""
        for _ in repeat(None, times):
            self.receive(TAKE)


# --- an actor


class Counter(Actor[Count | Take]):
    """The counter as an actor."""

    __slots__ = ("_counted",)

    def __init__(self) -> None:
        self._counted = 0

    @override
    def receive(self, message: Count | Take) -> None:
        match message:
            case Count():
                self._counted += 1
            case Take():
                self.reply(self._counted)
                self._counted = 0
            case _:
                assert_never(message)


@message
class _TellInTurn(Request[int]):
    times: int


@message
class _Keep(Request[Ref[Count | Take]]):
    name: str


class _Parent(Actor[_TellInTurn | _Keep]):
    def __init__(self, counter: Ref[Count | Take]) -> None:
        self._counter = counter

    @override
    def receive(self, message: _TellInTurn | _Keep) -> None:
        match message:
            case _TellInTurn(times):
                for _ in repeat(None, times):
                    self._counter.tell(COUNT)
                self.forward(self._counter, TAKE)
            case _Keep(name):
                self.reply(self.spawn(Counter(), name=name))
            case _:
                assert_never(message)


class ActorCounters:
    """Counters as actors. Those that stay are children of one actor, which holds them by name."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._counter = system.spawn(Counter(), name="counter")
        self._parent = system.spawn(_Parent(self._counter), name="parent")

    async def tell(self, times: int) -> None:
        """As `Counters.tell`: a message has been handled when `tell` returns."""
        counter = self._counter
        for _ in repeat(None, times):
            counter.tell(COUNT)
        assert await counter.ask(TAKE) == times

    async def tell_many(self, times: int) -> None:
        """As `Counters.tell_many`, and from the turn of another actor, so that the messages queue."""
        assert await self._parent.ask(_TellInTurn(times)) == times

    async def ask(self, times: int) -> None:
        """As `Counters.ask`."""
        counter = self._counter
        for _ in repeat(None, times):
            await counter.ask(TAKE)

    async def start(self, number: int) -> None:
        """As `Counters.start`: a stop is over when it returns, since nothing keeps a counter from it."""
        started = [self._system.spawn(Counter(), name=f"counter-{index}") for index in range(number)]
        for ref in started:
            ref.stop()
        assert not any(ref.is_alive for ref in started)

    async def keep(self, name: str) -> None:
        """As `Counters.keep`."""
        counter = await self._parent.ask(_Keep(name))
        counter.tell(COUNT)
        assert await counter.ask(TAKE) == 1


@asynccontextmanager
async def actor_counters() -> AsyncGenerator[ActorCounters]:
    """Counters as actors, in a system of their own."""
    async with open_system() as system:
        yield ActorCounters(system)


# --- a task with a mailbox, on trio


class _Slot:
    __slots__ = ("answer", "answered")

    def __init__(self) -> None:
        self.answered = trio.Event()
        self.answer = 0


_TrioLetter = tuple[Count | Take, _Slot | None]
_TRIO_COUNT: Final[_TrioLetter] = (COUNT, None)


async def _count_on_trio(mailbox: trio.MemoryReceiveChannel[_TrioLetter]) -> None:
    counted = 0
    async for letter, slot in mailbox:
        match letter:
            case Count():
                counted += 1
            case Take():
                if slot is not None:
                    slot.answer = counted
                    slot.answered.set()
                counted = 0


class TrioCounters:
    """Counters as tasks of trio."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._channels: dict[str, trio.MemorySendChannel[_TrioLetter]] = {}
        self._strict = self._open("strict", 0)
        self._wide = self._open("wide", math.inf)

    async def tell(self, times: int) -> None:
        """As `Counters.tell`, over a channel without a buffer."""
        channel = self._strict
        for _ in repeat(None, times):
            await channel.send(_TRIO_COUNT)
        assert await self._ask(channel) == times

    async def tell_many(self, times: int) -> None:
        """As `Counters.tell_many`, over a channel without a bound."""
        channel = self._wide
        for _ in repeat(None, times):
            channel.send_nowait(_TRIO_COUNT)
        assert await self._ask(channel) == times

    async def ask(self, times: int) -> None:
        """As `Counters.ask`."""
        channel = self._wide
        for _ in repeat(None, times):
            slot = _Slot()
            channel.send_nowait((TAKE, slot))
            await slot.answered.wait()

    async def start(self, number: int) -> None:
        """As `Counters.start`, each in a scope of its own."""
        scopes: list[trio.CancelScope] = []

        async def run(scope: trio.CancelScope, mailbox: trio.MemoryReceiveChannel[_TrioLetter]) -> None:
            with scope:
                await _count_on_trio(mailbox)

        async with trio.open_nursery() as nursery:
            for _ in range(number):
                scopes.append(trio.CancelScope())
                nursery.start_soon(run, scopes[-1], trio.open_memory_channel[_TrioLetter](0)[1])
            await trio.lowlevel.checkpoint()
            for scope in scopes:
                scope.cancel()

    async def keep(self, name: str) -> None:
        """As `Counters.keep`."""
        channel = self._open(name, math.inf)
        channel.send_nowait(_TRIO_COUNT)
        assert await self._ask(channel) == 1

    def _open(self, name: str, buffer: float) -> trio.MemorySendChannel[_TrioLetter]:
        channel, mailbox = trio.open_memory_channel[_TrioLetter](buffer)
        self._channels[name] = channel
        self._nursery.start_soon(_count_on_trio, mailbox, name=name)
        return channel

    async def _ask(self, channel: trio.MemorySendChannel[_TrioLetter]) -> int:
        slot = _Slot()
        await channel.send((TAKE, slot))
        await slot.answered.wait()
        return slot.answer


@asynccontextmanager
async def trio_counters() -> AsyncGenerator[TrioCounters]:
    """Counters as tasks, in a nursery of their own."""
    async with trio.open_nursery() as nursery:
        yield TrioCounters(nursery)
        nursery.cancel_scope.cancel()


# --- a task with a mailbox, on asyncio

_AsyncioLetter = tuple[Count | Take, asyncio.Future[int] | None]
_AsyncioMailbox = asyncio.Queue[_AsyncioLetter]
_ASYNCIO_COUNT: Final[_AsyncioLetter] = (COUNT, None)


async def _count_on_asyncio(mailbox: _AsyncioMailbox) -> None:
    counted = 0
    while True:
        letter, answer = await mailbox.get()
        match letter:
            case Count():
                counted += 1
            case Take():
                if answer is not None:
                    answer.set_result(counted)
                counted = 0


class AsyncioCounters:
    """Counters as tasks of asyncio."""

    def __init__(self, group: asyncio.TaskGroup) -> None:
        self._group = group
        self._kept: dict[str, tuple[_AsyncioMailbox, asyncio.Task[None]]] = {}
        self._strict = self._open("strict", 1)
        self._wide = self._open("wide", 0)

    async def tell(self, times: int) -> None:
        """As `Counters.tell`, over a queue with room for one."""
        mailbox = self._strict
        for _ in repeat(None, times):
            await mailbox.put(_ASYNCIO_COUNT)
        assert await self._ask(mailbox) == times

    async def tell_many(self, times: int) -> None:
        """As `Counters.tell_many`, over a queue without a bound."""
        mailbox = self._wide
        for _ in repeat(None, times):
            mailbox.put_nowait(_ASYNCIO_COUNT)
        assert await self._ask(mailbox) == times

    async def ask(self, times: int) -> None:
        """As `Counters.ask`."""
        mailbox, loop = self._wide, asyncio.get_running_loop()
        for _ in repeat(None, times):
            answer: asyncio.Future[int] = loop.create_future()
            mailbox.put_nowait((TAKE, answer))
            await answer

    async def start(self, number: int) -> None:
        """As `Counters.start`."""
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(_count_on_asyncio(_AsyncioMailbox())) for _ in range(number)]
            await asyncio.sleep(0)
            for task in tasks:
                task.cancel()

    async def keep(self, name: str) -> None:
        """As `Counters.keep`."""
        mailbox = self._open(name, 0)
        mailbox.put_nowait(_ASYNCIO_COUNT)
        assert await self._ask(mailbox) == 1

    def stop(self) -> None:
        """Stop those that stay."""
        for _, task in self._kept.values():
            task.cancel()

    def _open(self, name: str, room: int) -> _AsyncioMailbox:
        mailbox = _AsyncioMailbox(room)
        self._kept[name] = mailbox, self._group.create_task(_count_on_asyncio(mailbox), name=name)
        return mailbox

    async def _ask(self, mailbox: _AsyncioMailbox) -> int:
        answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        await mailbox.put((TAKE, answer))
        return await answer


@asynccontextmanager
async def asyncio_counters() -> AsyncGenerator[AsyncioCounters]:
    """Counters as tasks, in a group of their own."""
    async with asyncio.TaskGroup() as group:
        counters = AsyncioCounters(group)
        yield counters
        counters.stop()


# --- a thread


class _ThreadCounter(pykka.ThreadingActor):
    use_daemon_thread = True  # so that a benchmark that fails can end

    def __init__(self) -> None:
        super().__init__()
        self._counted = 0

    @override
    def on_receive(self, message: Any) -> Any:
        match message:
            case Count():
                self._counted += 1
                return None
            case _:
                counted, self._counted = self._counted, 0
                return counted


class ThreadCounters:
    """Counters as actors of pykka. They have no `tell` of `Counters`: nothing but an ask says that one was handled.

    Whoever asks blocks its thread, and with it the event loop that runs there.
    """

    def __init__(self) -> None:
        self._counter = _ThreadCounter.start()

    async def tell_many(self, times: int) -> None:
        """As `Counters.tell_many`."""
        counter = self._counter
        for _ in repeat(None, times):
            counter.tell(COUNT)
        assert counter.ask(TAKE) == times

    async def ask(self, times: int) -> None:
        """As `Counters.ask`."""
        counter = self._counter
        for _ in repeat(None, times):
            counter.ask(TAKE)

    async def start(self, number: int) -> None:
        """As `Counters.start`."""
        started = [_ThreadCounter.start() for _ in range(number)]
        for ended in [counter.stop(block=False) for counter in started]:
            ended.get()

    async def keep(self, name: str) -> None:
        """As `Counters.keep`, but for the name: pykka's registry holds it by one that pykka makes."""
        del name
        counter = _ThreadCounter.start()
        counter.tell(COUNT)
        assert counter.ask(TAKE) == 1


@contextmanager
def thread_counters() -> Generator[ThreadCounters]:
    """Counters as threads, all of which are stopped in the end."""
    try:
        yield ThreadCounters()
    finally:
        pykka.ActorRegistry.stop_all()
