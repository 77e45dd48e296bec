"""A line to a Redis server: one connection that speaks and one that listens, for as long as both hold.

Written for asyncio, as redis-py is. What is to be said in one tick goes out in one write, and answers are read in the
order of what was said, many under way at once. Neither connection is ever given back or shared, so their number is two,
whatever is said. A line that says nothing for a while is asked for a sign of life.
"""

import asyncio
import math
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any, Final

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import RedisError, ResponseError

from actors.redis_commands import Arguments

Answered = Callable[[object], None]
"""Is told what Redis answered; a `ResponseError` where it refused."""

_PING: Final = ("PING",)


class LineBroke(Exception):
    """The line is not what it has to be. Says why."""


class RedisLine:
    """See above. Made by `open_line`.

    Args:
        speaking: says commands, and reads their answers.
        listening: is subscribed.
        arrived: told the channel and the payload of each message.
        patience: seconds within which something has to be heard of the server, once it was asked.
    """

    def __init__(
        self,
        speaking: AbstractConnection,
        listening: AbstractConnection,
        arrived: Callable[[str, bytes], None],
        patience: float,
    ) -> None:
        self._speaking = speaking
        self._listening = listening
        self._arrived = arrived
        self._patience = patience
        self._loop = asyncio.get_running_loop()
        self._unsaid: list[tuple[Arguments, Answered]] = []
        self._unanswered: deque[Answered] = deque()
        self._has_unsaid = asyncio.Event()
        self._heard = self._listened = self._loop.time()

    def say(self, arguments: Arguments, answered: Answered) -> None:
        """Say a command. May be called from trio's side, too."""
        self._unsaid.append((arguments, answered))
        if len(self._unsaid) == 1:
            self._has_unsaid.set()

    def abandon(self) -> tuple[list[Answered], list[Answered]]:
        """Give up what is not answered: those who asked for what was said, and for what was not."""
        said = list(self._unanswered)
        unsaid = [answered for _, answered in self._unsaid]
        self._unanswered.clear()
        self._unsaid.clear()
        return said, unsaid

    async def subscribe(self, channels: Iterable[str]) -> None:
        """Listen to these channels. Returns when the server has confirmed it.

        Raises:
            RedisError, OSError: it has not.
        """
        names = tuple(channels)
        await self._listening.send_command("SUBSCRIBE", *names, check_health=False)
        for _ in names:
            await self._read(self._listening)

    async def serve(self) -> None:
        """Speak and listen, until the line breaks.

        Raises:
            LineBroke, RedisError, OSError: it did.
        """
        # No `TaskGroup`: where its task is cancelled as one of its children fails, it hides the cancellation.
        parts = (self._speak(), self._hear(), self._listen(), self._watch())
        tasks = [asyncio.create_task(part) for part in parts]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for task in done:
            task.result()

    async def _speak(self) -> None:
        while True:
            await self._has_unsaid.wait()
            self._has_unsaid.clear()
            due, self._unsaid = self._unsaid, []
            pack = self._speaking.pack_command
            packed = [part for arguments, _ in due for part in pack(*arguments)]
            self._unanswered.extend(answered for _, answered in due)
            await self._speaking.send_packed_command(packed, check_health=False)

    async def _hear(self) -> None:
        while True:
            answer = await self._read(self._speaking)
            self._heard = self._loop.time()
            if not self._unanswered:
                raise LineBroke("Redis said something that nobody had asked for")
            self._unanswered.popleft()(answer)

    async def _listen(self) -> None:
        while True:
            said = await self._read(self._listening)
            self._listened = self._loop.time()
            if isinstance(said, ResponseError):
                raise said
            if said[0] == b"message":
                self._arrived(said[1].decode("ascii"), said[2])

    async def _watch(self) -> None:
        """Ask for a sign of life, and break the line where there is none."""
        while True:
            self.say(_PING, _ignore)
            await self._listening.send_command("PING", check_health=False)
            await asyncio.sleep(self._patience / 2)
            if min(self._heard, self._listened) < self._loop.time() - self._patience:
                raise LineBroke(f"Redis said nothing for {self._patience} s")

    @staticmethod
    async def _read(connection: Any) -> Any:
        """The next that the server says; a refusal as the error that it is."""
        try:
            return await connection.read_response(disable_decoding=True, timeout=math.inf, disconnect_on_error=False)
        except ResponseError as refusal:
            return refusal


def _ignore(_: object) -> None:
    pass


@asynccontextmanager
async def open_line(
    connect: Callable[[], AbstractConnection],
    channels: Iterable[str],
    arrived: Callable[[str, bytes], None],
    patience: float,
) -> AsyncGenerator[RedisLine]:
    """Open a line that is subscribed to these channels.

    Args:
        connect: makes a connection that is yet to be opened.
        channels: what to listen to.
        arrived: told the channel and the payload of each message.
        patience: seconds that opening may take, and that silence may.

    Raises:
        RedisError, OSError, TimeoutError: it could not be opened.
    """
    speaking, listening = connect(), connect()
    try:
        async with asyncio.timeout(patience):
            await speaking.connect()
            await listening.connect()
            line = RedisLine(speaking, listening, arrived, patience)
            await line.subscribe(channels)
        yield line
    finally:
        for connection in (speaking, listening):
            try:
                await connection.disconnect(nowait=True)
            except (RedisError, OSError):
                continue
