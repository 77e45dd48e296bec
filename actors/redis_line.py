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
from redis.exceptions import ReadOnlyError, RedisError, ResponseError

from actors.redis_commands import Arguments
from actors.redis_words import LineBroke

Answered = Callable[[object], None]
"""Is told what Redis answered; a `ResponseError` where it refused."""

_PING: Final = ("PING",)
_SILENCES: Final = 2


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
        self._unsaid: list[tuple[list[bytes], Answered]] = []
        self._unanswered: deque[Answered] = deque()
        self._early: list[tuple[str, bytes]] = []
        self._has_unsaid = asyncio.Event()
        self._answers = self._messages = 0

    def say(self, arguments: Arguments, answered: Answered) -> None:
        """Say a command. May be called from trio's side, too.

        Raises:
            ValueError: it cannot be said. Nobody will be told an answer.
        """
        self._unsaid.append((self._speaking.pack_command(*arguments), answered))
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
            LineBroke, RedisError, OSError: it has not.
        """
        names = tuple(channels)
        await self._listening.send_command("SUBSCRIBE", *names, check_health=False)
        for _ in names:
            while (message := _message(await self._read(self._listening))) is not None:
                self._early.append(message)

    async def ask(self, arguments: Arguments) -> Any:
        """Say a command and wait for its answer, before `serve` does so for all.

        Raises:
            LineBroke, RedisError, OSError: there is none, or a refusal.
        """
        await self._speaking.send_command(*arguments, check_health=False)
        answer = await self._read(self._speaking)
        if isinstance(answer, ResponseError):
            raise answer
        return answer

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
            packed = [part for parts, _ in due for part in parts]
            self._unanswered.extend(answered for _, answered in due)
            await self._speaking.send_packed_command(packed, check_health=False)

    async def _hear(self) -> None:
        while True:
            answer = await self._read(self._speaking)
            self._answers += 1
            if not self._unanswered:
                raise LineBroke("Redis said something that nobody had asked for")
            self._unanswered.popleft()(answer)
            if isinstance(answer, ReadOnlyError):
                raise answer  # the master is elsewhere by now

    async def _listen(self) -> None:
        for message in self._early:
            self._arrived(*message)
        while True:
            message = _message(await self._read(self._listening))
            self._messages += 1
            if message is not None:
                self._arrived(*message)

    async def _watch(self) -> None:
        """Ask for a sign of life, and break the line where there is none, twice in a row: once may be this process's
        own fault, which did not come round to reading it.
        """
        silences = 0
        while silences < _SILENCES:
            answers, messages = self._answers, self._messages
            self.say(_PING, _ignore)
            await self._listening.send_command(*_PING, check_health=False)
            await asyncio.sleep(self._patience / _SILENCES)
            silences = silences + 1 if self._answers == answers or self._messages == messages else 0
        raise LineBroke(f"Redis said nothing for {self._patience} s")

    @staticmethod
    async def _read(connection: Any) -> Any:
        """The next that the server says; a refusal as the error that it is."""
        try:
            return await connection.read_response(disable_decoding=True, timeout=math.inf, disconnect_on_error=False)
        except ResponseError as refusal:
            return refusal
        except (ValueError, RecursionError):
            raise LineBroke("it said what is no answer of a Redis") from None


def _message(said: Any) -> tuple[str, bytes] | None:
    """The channel and payload of a message; None if it is something else that one who listens is told.

    Raises:
        LineBroke, ResponseError: it is neither.
    """
    match said:
        case [b"message", bytes() as channel, bytes() as payload]:
            return channel.decode(), payload
        case [b"subscribe" | b"pong", *_] | b"PONG":
            return None
        case ResponseError():
            raise said
        case _:
            raise LineBroke("Redis said to who listens what is no message")


def _ignore(_: object) -> None:
    pass


@asynccontextmanager
async def open_line(
    connect: Callable[[], AbstractConnection],
    channels: Iterable[str],
    question: Arguments,
    arrived: Callable[[str, bytes], None],
    patience: float,
) -> AsyncGenerator[tuple[RedisLine, Any]]:
    """Open a line that is subscribed to these channels, and ask it something.

    Args:
        connect: makes a connection that is yet to be opened.
        channels: what to listen to.
        question: a command, whose answer comes with the line.
        arrived: told the channel and the payload of each message.
        patience: seconds that opening may take, and that silence may.

    Raises:
        LineBroke, RedisError, OSError: it could not be opened.
    """
    speaking, listening = connect(), connect()
    try:
        try:
            async with asyncio.timeout(patience):
                await speaking.connect()
                await listening.connect()
                line = RedisLine(speaking, listening, arrived, patience)
                await line.subscribe(channels)
                answer = await line.ask(question)
        except TimeoutError:
            raise LineBroke(f"it did not answer within {patience} s") from None
        yield line, answer
    finally:
        for connection in (speaking, listening):
            try:
                await connection.disconnect()
            except (RedisError, OSError):
                continue
