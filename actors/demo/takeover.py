"""The scene of three workers: a conversation's calls land on all of them, and its owner dies in the middle of one."""

import time
from dataclasses import dataclass, field
from typing import Final

import anyio

from actors import PoolSettings, Upstream, open_pool
from actors.demo.cluster import Worker, Workers
from actors.demo.process import DemoServer
from actors.demo.worker import Came

ROUNDS: Final = 3
"""Calls that each worker makes before the kill."""
SLEEP: Final = 60.0
"""Seconds that the call would take under which the owner is killed."""
SCENE_TIMEOUT: Final = 15.0
"""Seconds until it is given up."""
PAUSE: Final = 0.01
"""Seconds between two looks at whether the call has begun."""


@dataclass(slots=True)
class Takeover:
    """What was seen. All durations are seconds.

    Attributes:
        are_processes: whether the workers were processes that met on a Redis.
        workers: how many there were.
        counted: what the server answered to the calls before the kill, in turn on each worker, in order.
        sessions: on how many upstream sessions it counted.
        owners: how many workers owned the conversation meanwhile.
        error: the kind of error that the call under way got, of a worker that was not killed; None if it got none.
        message: what the error said.
        error_seconds: from the kill to the error.
        lost: the kinds of errors of the calls that came then.
        lost_message: what the first of them said.
        counted_on: what the server answered to the calls after those, in turn on the workers that are left.
        sessions_after: on how many upstream sessions; those from before the kill are not among them.
        owner_after: whether one of the workers that are left owns the conversation.
        back_seconds: from that error to the first answer.
        first_error: another error, that should not have been.
    """

    are_processes: bool
    workers: int
    counted: list[int] = field(default_factory=list[int])
    sessions: int = 0
    owners: int = 0
    error: str | None = None
    message: str = ""
    error_seconds: float = 0.0
    lost: list[str] = field(default_factory=list[str])
    lost_message: str = ""
    counted_on: list[int] = field(default_factory=list[int])
    sessions_after: int = 0
    owner_after: bool = False
    back_seconds: float | None = None
    first_error: str | None = None

    @property
    def is_fine(self) -> bool:
        """Whether there was one session at a time, the loss was told once and by name, and the conversation went on."""
        return (
            self.counted == list(range(1, ROUNDS * self.workers + 1))
            and (self.sessions, self.owners) == (1, 1)
            and self.error == "OutcomeUnknown"
            and self.lost == ["SessionStateLost"]
            and self.counted_on == list(range(1, ROUNDS * (self.workers - 1) + 1))
            and self.sessions_after == 1
            and self.owner_after
        )


async def kill_the_owner(workers: Workers, server: DemoServer) -> Takeover:
    """Hold a conversation on all workers, kill its owner in the middle of a call, and go on with those who are left."""
    seen = Takeover(workers.are_processes, len(workers.each))
    with anyio.move_on_after(SCENE_TIMEOUT):
        before = await _count(workers.each, seen, seen.counted)
        seen.sessions = len({_session(came) for came in before})
        owners = {came.owner for came in before}
        seen.owners = len(owners)
        victim = next(worker for worker in workers.each if worker.name in owners)
        left = [worker for worker in workers.each if worker is not victim]
        await _kill(victim, left[0], server, seen)
        failed_at = time.perf_counter()
        while (came := await left[0].call("count")).answer is None and len(seen.lost) < ROUNDS:
            seen.lost.append(str(came.error))
            seen.lost_message = seen.lost_message or came.message
        if came.answer is None:
            return seen
        seen.back_seconds = time.perf_counter() - failed_at
        seen.counted_on.append(came.answer["count"])
        after = [came, *await _count(left, seen, seen.counted_on)]
        seen.sessions_after = len({_session(came) for came in after} - {_session(came) for came in before})
        seen.owner_after = {came.owner for came in after} <= {worker.name for worker in left}
    return seen


async def _count(workers: list[Worker], seen: Takeover, counted: list[int]) -> list[Came]:
    """Let the server count, on each worker in turn, as often as makes `ROUNDS` of them with what was counted before."""
    answered: list[Came] = []
    for number in range(len(counted), ROUNDS * len(workers)):
        came = await workers[number % len(workers)].call("count")
        if came.answer is None:
            seen.first_error = seen.first_error or f"{came.error}: {came.message}"
        else:
            counted.append(came.answer["count"])
            answered.append(came)
    return answered


async def _kill(victim: Worker, caller: Worker, server: DemoServer, seen: Takeover) -> None:
    """Kill it while a call of that caller is under way there."""
    killed = 0.0

    async def call() -> None:
        came = await caller.call("sleep", seconds=SLEEP)
        seen.error_seconds = time.perf_counter() - killed
        seen.error, seen.message = came.error, came.message

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(call)
        await _until_it_sleeps(server)
        killed = time.perf_counter()
        await victim.kill()


async def _until_it_sleeps(server: DemoServer) -> None:
    async with open_pool(PoolSettings(max_size=1)) as pool:
        asleep = 0
        while not asleep:
            await anyio.sleep(PAUSE)
            result = await pool.call(Upstream(server.url), "tools/call", {"name": "sleepers"})
            asleep = result["structuredContent"]["result"]


def _session(came: Came) -> str | None:
    """The upstream session of a call, as the server saw it."""
    return None if came.answer is None else came.answer["session"]
