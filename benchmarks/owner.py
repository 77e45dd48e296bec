"""A worker that owns a conversation, in a process of its own, for others to forward to.

`python -m benchmarks.owner BACKEND REDIS LIFETIME SESSION MEGABYTES` says its process id, then answers each line of its
standard input with how much CPU time it has taken, in seconds, until there is no more.
"""

import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import anyio
import anyio.to_thread
from mcp import Client
from mcp.shared.dispatcher import ProgressFnT
from typing_extensions import override

from actors import ClusterSettings, Connection, Pool, PoolSettings, open_pool
from actors.connection import Opening
from benchmarks.fake import UPSTREAM
from protocol.raw_request import RawRequest

SETTINGS: Final = PoolSettings(identity_secret=b"what identities are made of", max_waiting=1_000)
COUNT: Final = "tools/call"
HANG: Final = "tools/hang"
"""The method of a request that is never answered."""
BEGAN: Final = "began\n"
"""What a worker says when it begins such a request."""


def cluster_settings(lifetime: float) -> ClusterSettings:
    """How all workers meet: what they send each other is signed."""
    return ClusterSettings(secrets=("what envelopes are signed with",), lifetime=lifetime)


@dataclass(slots=True, eq=False)
class AnsweringConnection(Connection):
    """A session of a server that answers at once, and keeps state."""

    @override
    async def request(
        self, request: RawRequest, timeout: float | None, on_progress: ProgressFnT | None = None
    ) -> dict[str, Any]:
        if request.method == HANG:
            print(BEGAN, end="", flush=True)
            await anyio.sleep_forever()
        return {"content": [{"type": "text", "text": "1"}]}


async def answering_connector(opening: Opening) -> Connection:
    """Open such a session in no time."""
    return AnsweringConnection(opening.upstream.address, Client(opening.upstream.url))


async def ask(pool: Pool, session_id: str, method: str = COUNT) -> None:
    """Make one request of a conversation, wherever it is owned."""
    arguments = {"name": "count", "arguments": {"text": "x" * 40}}
    answer = await pool.call(UPSTREAM, method, arguments, user="ada", session_id=session_id)
    assert answer["content"]


class Owner:
    """A worker's process.

    Args:
        process: it, once it owns the conversation.
    """

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.process = process
        self._stdin = process.stdin
        self._stdout = process.stdout

    def cpu(self) -> float:
        """The CPU time that it has taken, in seconds."""
        self._stdin.write("\n")
        self._stdin.flush()
        return float(self._stdout.readline())

    async def began(self) -> None:
        """Wait until it has begun a request that hangs."""
        assert await anyio.to_thread.run_sync(self._stdout.readline) == BEGAN


@contextmanager
def python_process(module: str, *arguments: str) -> "Generator[subprocess.Popen[str]]":
    """A module of this tree, run in a process that ends with this context, whatever state it is in by then."""
    command = [sys.executable, "-m", module, *arguments]
    with subprocess.Popen(  # noqa: S603 - our own command
        command, cwd=Path(__file__).parent.parent, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def running_owner(backend: str, url: str, lifetime: float, session_id: str, megabytes: int = 0) -> Generator[Owner]:
    """A worker that owns the conversation, and takes up about so much memory besides its own."""
    with python_process("benchmarks.owner", backend, url, str(lifetime), session_id, str(megabytes)) as process:
        assert process.stdout is not None
        assert process.stdout.readline(), "the owner has ended: what it said is above"
        yield Owner(process)


async def _own(url: str, lifetime: float, session_id: str, megabytes: int) -> None:
    ballast = b"x" * (megabytes * 1_000_000)
    async with open_pool(
        SETTINGS, connector=answering_connector, cluster=url, cluster_settings=cluster_settings(lifetime)
    ) as pool:
        await ask(pool, session_id)
        assert await pool.owner(session_id) == pool.worker
        print("owns it", flush=True)
        while await anyio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True):
            print(time.process_time(), flush=True)
    del ballast


if __name__ == "__main__":
    anyio.run(_own, sys.argv[2], float(sys.argv[3]), sys.argv[4], int(sys.argv[5]), backend=sys.argv[1])
