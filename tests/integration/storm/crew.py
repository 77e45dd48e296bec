"""The workers of a storm, as it sees them: their processes, their ways to Redis, and the orders that they are given."""

import json
import signal
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Sequence
from itertools import count
from typing import Any, Final

import anyio
from anyio.abc import ByteReceiveStream, ByteSendStream

from tests.integration.servers import TREE
from tests.integration.storm.proxy import Link, open_link
from tests.integration.storm.record import Call, Record
from tests.integration.storm.store import Store

NOT_RUN: Final = {"SessionStateLost", "ConversationEnded", "PrincipalMismatch"}
"""Errors after which the same request is not simply sent again, and that say all the same that it has not run."""


class WorkerProcess:
    """A process that is to be a worker, until it ends.

    Args:
        name: what the record calls it.
        record: takes note.
        link: its way to Redis.
        command: what it runs.

    Attributes:
        identity: its id among workers; empty while it has not said so.
        has_ended: set when it has.
        is_leaving: whether it was told to end in good order.
    """

    def __init__(self, name: str, record: Record, link: Link, command: Sequence[str]) -> None:
        self.name = name
        self.link = link
        self.identity = ""
        self.has_ended = anyio.Event()
        self.is_leaving = False
        self.left: dict[str, Any] | None = None
        self._record = record
        self._command = command
        self._calls: dict[str, tuple[Call, anyio.Event]] = {}
        self._process: anyio.abc.Process | None = None
        self._is_killed = False
        self._orders, self._unsent = anyio.create_memory_object_stream[bytes](float("inf"))

    # --- what it is told

    async def call(self, call: Call, *, user: str, seconds: float, timeout: float | None) -> None:
        """Have a call made. Returns when it is known what came of it."""
        done = anyio.Event()
        call.sent_at = time.monotonic()
        self._record.calls[call.name] = call
        if self.has_ended.is_set():
            self._end(call, "Killed")
            return
        self._calls[call.name] = call, done
        self._order(
            call=call.name,
            conversation=call.conversation,
            user=user,
            seconds=seconds,
            timeout=timeout,
            idempotent=call.idempotent,
        )
        await done.wait()

    def cancel(self, call: Call) -> None:
        """Have a call given up."""
        if not self.is_leaving:
            self._order(cancel=call.name)

    def leave(self) -> None:
        """Have it end in good order, once it has done what it was told to."""
        self.is_leaving = True
        self._orders.close()

    def _order(self, **words: Any) -> None:
        self._orders.send_nowait(json.dumps(words).encode() + b"\n")

    # --- what is done to it

    def kill(self) -> None:
        """SIGKILL."""
        self._is_killed = True
        self._signal(signal.SIGKILL)

    def stall(self) -> None:
        """SIGSTOP."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and not self.has_ended.is_set():
            self._process.send_signal(number)

    # --- its life

    async def run(self) -> None:
        """Run it until it ends."""
        with tempfile.TemporaryFile() as complaints, self._orders, self._unsent:
            async with await anyio.open_process(self._command, cwd=TREE, stderr=complaints) as self._process:
                assert self._process.stdin is not None
                assert self._process.stdout is not None
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._tell, self._process.stdin)
                    async for line in _lines(self._process.stdout):
                        self._heard(json.loads(line))
                    tasks.cancel_scope.cancel()
                status = await self._process.wait()
            self.has_ended.set()
            if self.left is not None:
                self._record.trouble(time.monotonic(), "worker: has left", self.name)
            complaints.seek(0)
            said = complaints.read().decode(errors="replace").strip()
        for call, done in self._calls.values():
            self._end(call, "Killed")
            done.set()
        self._calls.clear()
        if said:
            self._record.faults.append(f"{self.name} said on its standard error: {said[-2_000:]}")
        if not self._is_killed and (status != 0 or self.left != {"sessions": 0, "permits": 0}):
            self._record.faults.append(f"{self.name} ended with status {status}, and left {self.left}")

    async def _tell(self, process: ByteSendStream) -> None:
        try:
            async for order in self._unsent:
                await process.send(order)
            await process.aclose()
        except (OSError, anyio.BrokenResourceError, anyio.ClosedResourceError):
            pass  # it was killed

    def _heard(self, words: dict[str, Any]) -> None:
        if "worker" in words:
            self.identity = words["worker"]
            self._record.trouble(time.monotonic(), "worker: is there", f"{self.name} as {self.identity}")
        elif "left" in words:
            self.left = words["left"]
        elif "fault" in words:
            self._record.faults.append(f"{self.name}: {words['fault'][:2_000]}")
        else:
            call, done = self._calls.pop(words["call"])
            call.text = words.get("text", "")
            if (answer := words.get("answer")) is not None:
                call.session, call.number = answer["session"], answer["count"]
            error = words.get("error", "Answered")
            self._end(call, error, has_not_run=words.get("has_not_run", False) or error in NOT_RUN)
            done.set()

    @staticmethod
    def _end(call: Call, outcome: str, *, has_not_run: bool = False) -> None:
        call.ended_at = time.monotonic()
        call.outcome, call.has_not_run = outcome, has_not_run


async def _lines(source: ByteReceiveStream) -> AsyncGenerator[bytes]:
    """The lines that end; one that was cut short by a kill does not."""
    rest = b""
    async for chunk in source:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line


class Crew:
    """As many workers as there are to be: one that was killed is replaced.

    Args:
        record: takes note.
        store: their Redis.
        namespace: theirs in it.
        server: the endpoint of the MCP server.
        backends: the event loop of each.

    Attributes:
        workers: those that are there, and those that are just starting.
    """

    def __init__(self, record: Record, store: Store, namespace: str, server: str, backends: Sequence[str]) -> None:
        self.workers: dict[int, WorkerProcess] = {}
        self.is_leaving = False
        self._record = record
        self._store = store
        self._arguments = namespace, server
        self._backends = backends
        self._numbers = count()

    def usable(self) -> list[WorkerProcess]:
        """Those that have said who they are, and have not been told to leave."""
        return [
            worker
            for worker in self.workers.values()
            if worker.identity and not worker.is_leaving and not worker.has_ended.is_set()
        ]

    async def run(self) -> None:
        """Keep them running until they are to leave, and have left."""
        async with anyio.create_task_group() as tasks:
            for place in range(len(self._backends)):
                tasks.start_soon(self._keep, place)

    async def _keep(self, place: int) -> None:
        namespace, server = self._arguments
        while not self.is_leaving:
            backend = self._backends[place]
            async with open_link(self._store.port) as link:
                redis = f"redis://127.0.0.1:{link.port}/0"
                program = [sys.executable, "-m", "tests.integration.storm.worker"]
                name = f"{backend}-{next(self._numbers)}"
                worker = WorkerProcess(name, self._record, link, [*program, backend, redis, namespace, server])
                self.workers[place] = worker
                await worker.run()
            most = self._record.figures.get("most connections of a worker at once", 0)
            self._record.figures["most connections of a worker at once"] = max(most, link.most)

    async def leave(self, seconds: float) -> bool:
        """Have all of them end in good order. Answers whether they did, within so many seconds."""
        self.is_leaving = True
        workers = list(self.workers.values())
        for worker in workers:
            worker.leave()
        with anyio.move_on_after(seconds):
            for worker in workers:
                await worker.has_ended.wait()
            return True
        for worker in workers:
            worker.kill()
        return False
