"""The Redis of the storm: killed, started anew with what it kept or without, and frozen."""

import tempfile
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.redis_server import RedisServer, free_port, running_redis


class Store:
    """See above. Its methods block for as long as Redis takes.

    Attributes:
        port: where it listens, whenever it runs.
        losses: how often all that it kept was lost.
    """

    def __init__(self) -> None:
        self.port = free_port()
        self.losses = 0
        self._stack = ExitStack()
        self._running = ExitStack()
        self._folder = Path()
        self._server: RedisServer | None = None

    def __enter__(self) -> Self:
        self._folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="troupe-storm-")))
        self._stack.enter_context(self._running)
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def server(self) -> RedisServer | None:
        """The server; None while none runs."""
        return self._server

    def start(self) -> None:
        """Start it, with what the one before kept."""
        options = ("--dir", str(self._folder), "--appendonly", "yes", "--appendfsync", "everysec")
        self._server = self._running.enter_context(running_redis(port=self.port, options=options))

    def kill(self) -> None:
        """End it with SIGKILL and nothing else."""
        self._server = None
        self._running.close()

    def lose(self) -> None:
        """Lose what it kept."""
        self.losses += 1
        for path in sorted(self._folder.rglob("*"), reverse=True):
            if path.is_dir():
                path.rmdir()
            else:
                path.unlink()

    def owner(self, key: str) -> str | None:
        """The worker that owns a conversation by this key; None where there is none, or Redis does not say."""
        if self._server is None:
            return None
        try:
            answer = self._server.command("HGET", key, "owner")
        except OSError:
            return None
        lines = answer.split(b"\r\n")
        return lines[1].decode() if answer.startswith(b"$") and len(lines) > 2 else None

    def remaining(self) -> list[str]:
        """All that there are, but that which says since when."""
        assert self._server is not None
        answer = self._server.command("KEYS", "*")
        return [line.decode() for line in answer.split(b"\r\n") if b":" in line and not line.endswith(b":run")]
