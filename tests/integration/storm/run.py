"""One storm, from its first process to the verdict."""

import json
import os
import random
import signal
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from functools import partial
from threading import Thread
from typing import Final

import anyio
import anyio.to_thread

from protocol.namespace import Namespace
from tests.integration.servers import Factory, McpServer
from tests.integration.storm.callers import ask, converse
from tests.integration.storm.crew import Crew
from tests.integration.storm.record import Execution, Record
from tests.integration.storm.store import Store
from tests.integration.storm.trouble import Storm, trouble_lines, trouble_store, trouble_workers
from tests.integration.storm.verdict import judge
from tests.integration.storm.worker import HOLDING, LIFETIME

NAMESPACE: Final = Namespace("storm")
BACKENDS: Final = ("trio", "asyncio", "trio", "asyncio")
USERS: Final = ("ada", "ben", "cleo")
CONVERSATIONS: Final = 8
CALLERS: Final = 3
"""To each conversation."""
PAUSE: Final = 0.3
"""Seconds between two calls of a caller, on average."""
STARTING: Final = 20.0
HEALING: Final = 15.0
LEAVING: Final = 10.0
CONNECTIONS: Final = 2
"""Of each worker, to Redis."""
CROSSING: Final = 2 * CONNECTIONS
"""Connections of a worker that may be seen at once, where those that it gives up and those that it opens cross."""


async def raise_storm(seconds: float, *, seed: int, backends: Sequence[str] = BACKENDS) -> Record:
    """Raise a storm for so long, and answer what came of it. Takes up to half a minute more for calm and the end.

    Args:
        seconds: how long.
        seed: of what is random here. What the processes make of it is another thing each time.
        backends: the event loop of each worker.
    """
    record = Record()
    with Store() as store, _recording_server(record) as server:
        crew = Crew(record, store, NAMESPACE.name, server.url, backends)
        whose = {f"talk-{number}": USERS[number % len(USERS)] for number in range(CONVERSATIONS)}
        storm = Storm(record, crew, store, NAMESPACE, whose, seed)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(crew.run)
            try:
                await _until_all_are_there(storm)
                await _rage(storm, seconds)
                await _calm(storm)
            finally:
                if not await crew.leave(LEAVING):
                    record.faults.append(f"workers did not leave within {LEAVING} s")
        await _look_for_keys(storm)
    judge(record, holding=HOLDING)
    _measure_kills(storm)
    return record


async def _until_all_are_there(storm: Storm) -> None:
    with anyio.fail_after(STARTING):
        while len(storm.crew.usable()) < len(storm.crew.workers) or not storm.crew.workers:  # noqa: ASYNC110 - nobody tells
            await anyio.sleep(0.05)


async def _rage(storm: Storm, seconds: float) -> None:
    async with anyio.create_task_group() as tasks:
        for conversation in storm.conversations:
            for number in range(CALLERS):
                tasks.start_soon(partial(converse, storm, conversation, number, pause=PAUSE))
        for number in range(2):
            tasks.start_soon(trouble_workers, storm, number, 2)
        tasks.start_soon(trouble_lines, storm)
        tasks.start_soon(trouble_store, storm)
        await anyio.sleep(seconds)
        storm.is_over.set()


async def _calm(storm: Storm) -> None:
    """Once it is over all heals by itself: each worker has each conversation served, over two connections."""
    began = time.monotonic()
    await _until_all_are_there(storm)
    workers = storm.crew.usable()

    async def until_served(place: int, conversation: str) -> None:
        dice = random.Random(f"{storm.seed} calm")
        while (await ask(storm, workers[place], conversation, dice)).outcome != "Answered":  # noqa: ASYNC110
            await anyio.sleep(0.1)
        served.add((place, conversation))

    served: set[tuple[int, str]] = set()
    with anyio.move_on_after(HEALING):
        async with anyio.create_task_group() as tasks:
            for place in range(len(workers)):
                for conversation in storm.conversations:
                    tasks.start_soon(until_served, place, conversation)
    record = storm.record
    record.figures["seconds until all was well"] = time.monotonic() - began
    for place, worker in enumerate(workers):
        missed = [conversation for conversation in storm.conversations if (place, conversation) not in served]
        if missed:
            record.faults.append(f"{worker.name} did not have {', '.join(missed)} served {HEALING} s after the storm")
        if worker.link.connections != CONNECTIONS:
            record.faults.append(f"{worker.name} has {worker.link.connections} connections to Redis")
    server = storm.store.server
    assert server is not None
    connections = await anyio.to_thread.run_sync(server.connections)
    if connections != CONNECTIONS * len(workers):
        record.faults.append(f"Redis has {connections} connections with {len(workers)} workers")


async def _look_for_keys(storm: Storm) -> None:
    """Nothing is left in Redis by those who left, nor, after its time, by those who were killed."""
    store, record = storm.store, storm.record
    left = {storm.namespace.worker(worker.identity): worker for worker in storm.crew.workers.values()}
    identities = {worker.identity for worker in left.values()}

    def of_those_who_left() -> list[str]:
        return [key for key in store.remaining() if key in left or store.owner(key) in identities]

    if keys := await anyio.to_thread.run_sync(of_those_who_left):
        record.faults.append(f"left in Redis by workers that left: {', '.join(keys)}")
    await anyio.sleep(HOLDING + LIFETIME)
    if keys := await anyio.to_thread.run_sync(store.remaining):
        record.faults.append(f"left in Redis by workers that were killed: {', '.join(keys)}")
    if (most := record.figures["most connections of a worker at once"]) > CROSSING:
        record.faults.append(f"a worker had {most} connections to Redis at once")


def _measure_kills(storm: Storm) -> None:
    """How long after a kill callers had their first error, and their first answer of another worker."""
    errors: list[float] = []
    answers: list[float] = []
    for kill in storm.kills:
        for conversation in kill.conversations:
            ended = [
                (call.ended_at - kill.at, call)
                for call in storm.record.of(conversation)
                if call.ended_at is not None and call.ended_at > kill.at and call.worker != kill.worker
            ]
            errors += sorted(after for after, call in ended if call.outcome != "Answered" and call.sent_at < kill.at)[
                :1
            ]
            answers += sorted(after for after, call in ended if call.outcome == "Answered" and call.sent_at > kill.at)[
                :1
            ]
    for what, times in (("first error", errors), ("next answer", answers)):
        if times:
            times.sort()
            storm.record.figures[f"seconds from a kill to the {what}, median of {len(times)}"] = times[len(times) // 2]
            storm.record.figures[f"seconds from a kill to the {what}, worst"] = times[-1]


@contextmanager
def _recording_server(record: Record) -> Generator[McpServer]:
    """The MCP server, and what it says that it does in the record."""
    factory = Factory("tests.integration.storm.server")
    server = McpServer("plain", factory)

    def listen() -> None:
        for line in server.output:
            record.executions.append(Execution(*json.loads(line)))

    listener = Thread(target=listen, daemon=True)
    listener.start()
    try:
        yield server
    finally:
        os.kill(server.process, signal.SIGKILL)
        listener.join()
        server.output.close()
        factory.end()
