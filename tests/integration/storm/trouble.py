"""What befalls the workers of a storm, their Redis, and what lies between."""

import random
import time
from dataclasses import dataclass, field
from typing import Final

import anyio
import anyio.to_thread

from protocol.namespace import Namespace
from tests.integration.storm.crew import Crew, WorkerProcess
from tests.integration.storm.proxy import DOWN, UP, Link
from tests.integration.storm.record import Record
from tests.integration.storm.store import Store


@dataclass(slots=True)
class Kill:
    """That a worker was killed, and which conversations it owned by what Redis said."""

    at: float
    worker: str
    conversations: list[str]


@dataclass(slots=True)
class Storm:
    """What all that takes part has in common.

    Attributes:
        record: takes note.
        crew: the workers.
        store: their Redis.
        namespace: theirs in it.
        conversations: by their ids, whose they are.
        seed: of all that is random here.
        is_over: whether it is to end.
        kills: those of workers.
    """

    record: Record
    crew: Crew
    store: Store
    namespace: Namespace
    conversations: dict[str, str]
    seed: int
    is_over: anyio.Event = field(default_factory=anyio.Event)
    kills: list[Kill] = field(default_factory=list[Kill])

    def trouble(self, what: str, whom: str) -> None:
        """Note what is done."""
        self.record.trouble(time.monotonic(), what, whom)

    async def pause(self, seconds: float) -> None:
        """Wait so long, or until it is over."""
        with anyio.move_on_after(seconds):
            await self.is_over.wait()


# --- workers

_STALLS: Final = (0.05, 0.3, 0.8, 1.3, 2.5, 2.5, 6.5)
"""Within a worker's lifetime, beyond it, and beyond what Redis remembers."""


async def trouble_workers(storm: Storm, number: int, parts: int) -> None:
    """Kill, stop and continue every so manieth worker, and have it leave, one at a time."""
    dice = random.Random(f"{storm.seed} workers {number}")
    while not storm.is_over.is_set():
        await storm.pause(dice.uniform(0.5, 3))
        mine = [worker for place, worker in storm.crew.workers.items() if place % parts == number]
        worker = dice.choice(mine)
        what = dice.choice(("kill", "kill", "kill", "stop", "stop", "stop", "stop", "stop and kill", "leave"))
        if what == "kill":
            await _kill(storm, worker)
            continue
        if what == "leave":
            storm.trouble("worker: leave", worker.name)
            worker.leave()
            continue
        seconds = dice.choice(_STALLS)
        storm.trouble(f"worker: {what}", f"{worker.name} for {seconds} s")
        worker.stall()
        await storm.pause(seconds)
        if what == "stop":
            storm.trouble("worker: go on", worker.name)
            worker.resume()
        else:
            await _kill(storm, worker)


async def _kill(storm: Storm, worker: WorkerProcess) -> None:
    def owned() -> list[str]:
        if not worker.identity:
            return []
        owner, key = storm.store.owner, storm.namespace.owner
        return [name for name in storm.conversations if owner(key(name)) == worker.identity]

    conversations = await anyio.to_thread.run_sync(owned)
    storm.trouble("worker: kill", f"{worker.name}, who owned {', '.join(conversations) or 'nothing'}")
    storm.kills.append(Kill(time.monotonic(), worker.name, conversations))
    worker.kill()


# --- the lines

_HOLES: Final = (0.1, 0.4, 0.9, 1.5, 3.0)


async def trouble_lines(storm: Storm) -> None:
    """Delay, break and hold back what a worker and Redis say to each other, one worker at a time."""
    dice = random.Random(f"{storm.seed} lines")
    while not storm.is_over.is_set():
        await storm.pause(dice.uniform(0.3, 2))
        worker = dice.choice(list(storm.crew.workers.values()))
        what = dice.choice(("delay", "drop both", "drop one", "hold", "hold up", "hold down", "hold and drop"))
        storm.trouble(f"line: {what}", worker.name)
        await _trouble_line(storm, dice, worker.link, what)
        storm.trouble("line: as it should be", worker.name)


async def _trouble_line(storm: Storm, dice: random.Random, link: Link, what: str) -> None:
    if what == "delay":
        link.delay = dice.choice((0.005, 0.05, 0.2))
        await storm.pause(dice.uniform(0.5, 3))
        link.delay = 0.0
    elif what == "drop both":
        link.drop()
    elif what == "drop one":
        link.drop(1)
    else:
        ways = {"hold up": (UP,), "hold down": (DOWN,)}.get(what, (UP, DOWN))
        link.hold(*ways)
        await storm.pause(dice.choice(_HOLES))
        if what == "hold and drop":
            link.drop()
        link.let_through()


# --- Redis


async def trouble_store(storm: Storm) -> None:
    """Kill and start Redis, with what it kept and without, and freeze it."""
    dice = random.Random(f"{storm.seed} Redis")
    pause = dice.uniform(2, 5)
    while not storm.is_over.is_set():
        await storm.pause(pause)
        pause = dice.uniform(4, 9)
        what = dice.choice(("restart", "restart", "restart with nothing", "restart with nothing", "freeze"))
        seconds = dice.choice((0.0, 0.3, 0.9, 2.0))
        storm.trouble(f"Redis: {what}", f"away for {seconds} s")
        if what == "freeze":
            server = storm.store.server
            assert server is not None
            server.freeze()
            await storm.pause(seconds)
            server.thaw()
        else:
            await anyio.to_thread.run_sync(storm.store.kill)
            if what == "restart with nothing":
                storm.store.lose()
            await storm.pause(seconds)
            await anyio.to_thread.run_sync(storm.store.start)
        storm.trouble("Redis: is back", "")
