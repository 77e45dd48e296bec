"""What the actor runtime costs (T15), beside what one would use in its place (`benchmarks.counters`).

An actor, a task with a mailbox and a pykka actor, which is a thread, count what they are told. What is measured is how
the messages get there; the floor is the counting itself, as a method call.

- tell: a message has been handled when an actor's `tell` returns. A task handles each before it takes the next (one at
  a time), or is told many, and then asked, which is when it runs: so its sender waits but once. An actor that is told
  many is told so from another actor's turn, and its messages queue.
- ask: answered at once. Every so many asks one lets other tasks run, and is counted in.
- start and stop: of many at once.
- an idle one, which has been told once and asked once: what Python's allocators have given out for it, by
  `tracemalloc`. An actor is its cell, itself (with `__slots__`, and one attribute), its name, and its entry with its
  parent. A task is what the event loop holds of it, its mailbox, its name, and its entry in a dict by name. A thread is
  all but its stack, which Python's allocators know nothing of.
- an idle family of two: a child, its parent, which watches it and has a timer set, and the parent's name and entry with
  an actor that watches it in turn. The two actors themselves are counted in; an effect of the child has run and ended.
- growth, over a mix of all that comes as a message: told, asked, answered later by timers and by effects, out of time;
  timers cancelled; children started, watched, told and stopped. What is compared is the least that was in use in the
  second quarter and in the last: between, cancelled deadlines lie in the event loop's heap until their time has come.
"""

import gc
import math
import statistics
import tracemalloc
from collections.abc import Awaitable, Callable, Generator, Mapping
from contextlib import AbstractAsyncContextManager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from itertools import repeat
from typing import Final, assert_never

import anyio
from typing_extensions import override

from actors import Actor, Ref, Reply, Request, Signal, Terminated, message, open_system
from benchmarks.counters import (
    COUNT,
    TAKE,
    Count,
    Counter,
    Counters,
    PlainCounter,
    Take,
    actor_counters,
    asyncio_counters,
    thread_counters,
    trio_counters,
)
from benchmarks.family import families
from benchmarks.figure import Figure, Options
from benchmarks.rounds import Samples, alternate, median_interval, median_ratio, merge, timed
from protocol.errors import AskTimeout

MESSAGES_OF_A_MIX: Final = 100
LOOKS: Final = 200
"""How often the memory is looked at in the course of the long mix."""

_TASKS: Final[Mapping[str, Callable[[], AbstractAsyncContextManager[Counters]]]] = {
    "asyncio": asyncio_counters,
    "trio": trio_counters,
}


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured.

    Attributes:
        blocks: runs of each event loop.
        rounds: rounds of a block.
        messages: how many are sent for one sample.
        starts: how many are started and stopped for one sample.
        idle: how many actors or tasks there are that are idle.
        threads: how many threads there are that are idle.
        mixed: how many messages the long mix has.
    """

    blocks: int
    rounds: int
    messages: int
    starts: int
    idle: int
    threads: int
    mixed: int


FULL: Final = Size(blocks=5, rounds=12, messages=2_000, starts=200, idle=100_000, threads=1_000, mixed=1_000_000)
QUICK: Final = Size(blocks=1, rounds=3, messages=200, starts=20, idle=10_000, threads=50, mixed=100_000)


def measure(options: Options) -> list[Figure]:
    """The figures of T15."""
    size = QUICK if options.quick else FULL
    return [*_times(size, options.backends), *_idle(size, options.backends), *_growths(size, options.backends)]


# --- time

_AT_MOST: Final = {"tell: actor": 1.0, "ask: actor": 2.0}
"""Microseconds."""
_RATIOS: Final = (
    ("tell: actor", "tell: method call"),
    ("tell: actor", "tell, one at a time: task"),
    ("tell, many: actor", "tell, many: task"),
    ("tell, many: actor", "tell, many: pykka"),
    ("ask: actor", "ask: method call"),
    ("ask: actor", "ask: task"),
    ("ask: actor", "ask: pykka"),
    ("start and stop: actor", "start and stop: task"),
    ("start and stop: actor", "start and stop: pykka"),
)


def _times(size: Size, backends: tuple[str, ...]) -> list[Figure]:
    # Each backend needs a loop of its own, so they take turns in blocks, each of which has rounds of all its sides.
    parts = {backend: list[Samples]() for backend in backends}
    for _ in range(size.blocks):
        for backend, samples in parts.items():
            samples.append(anyio.run(partial(_block, backend, size), backend=backend))
    return [figure for backend, samples in parts.items() for figure in _figures(merge(samples), backend)]


def _figures(samples: Samples, backend: str) -> list[Figure]:
    figures = [
        Figure(
            target="T15",
            what=f"{name}, {backend}",
            value=statistics.median(values),
            unit="µs",
            interval=median_interval(values),
            at_most=_AT_MOST.get(name),
        )
        for name, values in samples.items()
    ]
    for one, other in _RATIOS:
        ratio, interval = median_ratio(samples[one], samples[other])
        figures.append(Figure(target="T15", what=f"{one} / {other}, {backend}", value=ratio, interval=interval))
    return figures


async def _block(backend: str, size: Size) -> Samples:
    floor = PlainCounter()
    async with actor_counters() as actors, _TASKS[backend]() as tasks:
        # Threads that wait for messages hold up nobody, so they take part in either loop's rounds.
        with thread_counters() as threads:
            sides = {
                "tell: method call": timed(floor.tell, size.messages),
                "tell: actor": timed(actors.tell, size.messages),
                "tell, one at a time: task": timed(tasks.tell, size.messages),
                "tell, many: actor": timed(actors.tell_many, size.messages),
                "tell, many: task": timed(tasks.tell_many, size.messages),
                "tell, many: pykka": timed(threads.tell_many, size.messages),
                "ask: method call": timed(floor.ask, size.messages),
                "ask: actor": timed(actors.ask, size.messages),
                "ask: task": timed(tasks.ask, size.messages),
                "ask: pykka": timed(threads.ask, size.messages),
                "start and stop: actor": timed(actors.start, size.starts),
                "start and stop: task": timed(tasks.start, size.starts),
                "start and stop: pykka": timed(threads.start, size.starts),
            }
            await alternate(sides, rounds=1)
            return await alternate(sides, rounds=size.rounds)


# --- memory


def _idle(size: Size, backends: tuple[str, ...]) -> list[Figure]:
    figures: list[Figure] = []
    for backend in backends:
        among = f"among {size.idle:,}, {backend}"
        actor = anyio.run(_of_counters, actor_counters, size.idle, backend=backend)
        task = anyio.run(_of_counters, _TASKS[backend], size.idle, backend=backend)
        figures += [
            Figure(target="T15", what=f"idle actor {among}", value=actor, unit="kB", at_most=0.7),
            Figure(target="T15", what=f"idle task {among}", value=task, unit="kB"),
            Figure(
                target="T15",
                what=f"idle family of two {among}",
                value=anyio.run(_of_families, size.idle, backend=backend),
                unit="kB",
                at_most=0.9,
            ),
        ]
    thread = anyio.run(_of_threads, size.threads, backend=backends[0])
    return [*figures, Figure(target="T15", what=f"idle pykka actor among {size.threads:,}", value=thread, unit="kB")]


async def _of_counters(living: Callable[[], AbstractAsyncContextManager[Counters]], number: int) -> float:
    async with living() as counters:
        return await _of_each(counters.keep, number)


async def _of_threads(number: int) -> float:
    with thread_counters() as counters:
        return await _of_each(counters.keep, number)


async def _of_each(keep: Callable[[str], Awaitable[None]], number: int) -> float:
    """Kilobytes that each of so many counters takes."""
    await keep("first")  # what is made once for all
    with _traced() as used:
        before = used()
        for index in range(number):
            await keep(f"counter-{index}")
        return (used() - before) / number


async def _of_families(number: int) -> float:
    async with families() as keep:
        return await _of_each(keep, number)


@contextmanager
def _traced() -> Generator[Callable[[], float]]:
    """What tells how many kilobytes are in use, of those given out within."""

    def used() -> float:
        gc.collect()
        return tracemalloc.get_traced_memory()[0] / 1_000

    gc.collect()
    gc.freeze()  # what there was before is not looked through each time
    tracemalloc.start()
    try:
        yield used
    finally:
        tracemalloc.stop()
        gc.unfreeze()


# --- growth


def _growths(size: Size, backends: tuple[str, ...]) -> list[Figure]:
    what = f"growth in the second half of {size.mixed:,} messages"
    return [
        Figure(
            target="T15",
            what=f"{what}, {backend}",
            value=anyio.run(_growth, size.mixed, backend=backend),
            unit="kB",
            at_most=64,
        )
        for backend in backends
    ]


async def _growth(messages: int) -> float:
    """By how many kilobytes the least in use in the last quarter is above that of the second."""
    mixer, mixes = Mixer(), messages // MESSAGES_OF_A_MIX
    least = [math.inf] * 4
    async with open_system() as system:
        ref = system.spawn(mixer, name="mixer")
        with _traced() as used:
            for done in range(mixes):
                await mix(ref)
                if done % (mixes // LOOKS) == 0:
                    quarter = done * 4 // mixes
                    least[quarter] = min(least[quarter], used())
    assert mixer.received == messages
    assert mixer.ended == mixer.gone == mixes
    return least[3] - least[1]


@message
class Later(Request[int]):
    """Asked, and answered by a timer."""


@message
class Fetch(Request[int]):
    """Asked, and answered by an effect."""


@message
class Never(Request[int]):
    """Asked, and not answered."""


@message
class Bear:
    """Start a child, and stop it."""


@message
class Answer:
    """Answer a reply that was kept."""

    reply: Reply[int]


Mixed = Count | Take | Later | Fetch | Never | Bear | Answer


class Mixer(Actor[Mixed]):
    """Does all that an actor can do with a message.

    Attributes:
        received: the messages so far.
        gone: askers that left without an answer.
        ended: children that have ended.
    """

    def __init__(self) -> None:
        self.received = self.gone = self.ended = 0

    @override
    def receive(self, message: Mixed) -> None:
        self.received += 1
        match message:
            case Count():
                pass
            case Take():
                self.reply(self.received)
            case Later():
                # Soon due: trio forgets a cancelled deadline that is far off only once there are a thousand.
                self.after(0.01, COUNT).cancel()
                self.after(0, Answer(self.keep_reply()))
            case Fetch():
                answer = Answer(self.keep_reply())
                self.start(anyio.lowlevel.checkpoint, then=lambda _: answer)
            case Never():
                self.keep_reply()
            case Bear():
                child = self.spawn(Counter(), name="child")
                self.watch(child)
                child.tell(COUNT)
                child.stop()
            case Answer(reply):
                reply.answer(self.received)
            case _:
                assert_never(message)

    @override
    def signal(self, signal: Signal) -> None:
        if isinstance(signal, Terminated):
            self.ended += 1
        else:
            self.gone += 1


async def mix(mixer: Ref[Mixed]) -> None:
    """Have `mixer` receive a hundred messages, of every kind."""
    for _ in repeat(None, 78):
        mixer.tell(COUNT)
    for _ in repeat(None, 10):
        await mixer.ask(TAKE)
    for _ in repeat(None, 4):  # and four messages of timers
        await mixer.ask(Later())
    await mixer.ask(Fetch())  # and the effect's outcome
    with suppress(AskTimeout):
        await mixer.ask(Never(), timeout=0)
    mixer.tell(Bear())
