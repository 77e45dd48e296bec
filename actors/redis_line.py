"""A line to a Redis server: one connection that speaks and one that listens, for as long as both hold.

Written for asyncio, as redis-py is, which opens the connections. What is to be said in one tick goes out in one write,
unless so little was said of late that there is nothing to wait for, and answers are read in the order of what was said,
many under way at once. There is no task that reads or writes. Neither connection is ever given back or shared, so their
number is two, whatever is said. A line that says nothing for a while is asked for a sign of life.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any, Final

from redis.exceptions import ReadOnlyError, RedisError, ResponseError

from actors.redis_commands import Arguments
from actors.redis_connection import EndsAtOnce, Half
from actors.redis_words import LineBroke
from protocol.resp import packed

Answered = Callable[[object], None]
"""Is told what Redis answered; a `ResponseError` where it refused."""

Soon = Callable[[Callable[[], None]], None]
"""Has a call made as soon as what is being done now is done."""

_PING: Final = packed(("PING",))
_SILENCES: Final = 2


class RedisLine:
    """See above. Made by `open_line`.

    Args:
        speaking: says commands, and reads their answers.
        listening: is subscribed.
        arrived: told the channel and the payload of each message.
        soon: for what is to be written. May make the call on trio's side.
        patience: seconds within which something has to be heard of the server, once it was asked.
    """

    def __init__(
        self,
        speaking: EndsAtOnce,
        listening: EndsAtOnce,
        arrived: Callable[[str, bytes], None],
        soon: Soon,
        patience: float,
    ) -> None:
        self._arrived = arrived
        self._soon = soon
        self._patience = patience
        self._unsaid: list[tuple[bytes, Answered]] = []
        self._unanswered: deque[Answered] = deque()
        self._early: list[tuple[str, bytes]] | None = []
        self._unconfirmed = 0
        self._is_flushed_soon = False
        self._is_quiet = True
        self._answers = self._messages = 0
        self._changed = asyncio.Event()
        self._fault: Exception | None = None
        self._speaking = Half(speaking, self._hear, self.flush, self._break)
        self._listening = Half(listening, self._listen, self.flush, self._break)

    def say(self, arguments: Arguments, answered: Answered) -> None:
        """Say a command. May be called from trio's side, too.

        Raises:
            ValueError: it cannot be said. Nobody will be told an answer.
        """
        self._say(packed(arguments), answered)

    def _say(self, command: bytes, answered: Answered) -> None:
        self._unsaid.append((command, answered))
        if self._is_flushed_soon or self._speaking.is_hearing or self._listening.is_hearing:
            return
        if self._is_quiet and not self._unanswered:
            self.flush()
            return
        self._is_flushed_soon = True
        self._soon(self.flush)

    def flush(self) -> None:
        """Write what is to be said, as soon as Redis keeps up with it. May be called from trio's side, too."""
        self._is_flushed_soon = False
        if self._unsaid and self._speaking.takes_more:
            due, self._unsaid = self._unsaid, []
            self._is_quiet = len(due) == 1
            self._unanswered.extend(answered for _, answered in due)
            self._speaking.write(b"".join([command for command, _ in due]))

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
        self._unconfirmed = len(names)
        self._listening.write(packed(("SUBSCRIBE", *names)))
        await self._until(lambda: not self._unconfirmed)

    async def ask(self, arguments: Arguments) -> Any:
        """Say a command and wait for its answer.

        Raises:
            LineBroke, RedisError, OSError: there is none, or a refusal.
        """
        answers: list[object] = []

        def answered(answer: object) -> None:
            answers.append(answer)
            self._changed.set()

        self.say(arguments, answered)
        await self._until(lambda: bool(answers))
        if isinstance(answers[0], ResponseError):
            raise answers[0]
        return answers[0]

    async def serve(self) -> None:
        """Say what has come and what comes, until the line breaks: it does where there is no sign of life, twice in a
        row. Once may be this process's own fault, which did not come round to reading it.

        Raises:
            LineBroke, RedisError, OSError: it did.
        """
        early, self._early = self._early or [], None
        for message in early:
            self._arrived(*message)
        silences = 0
        while silences < _SILENCES:
            answers, messages = self._answers, self._messages
            self._say(_PING, _ignore)
            self._listening.write(_PING)
            try:
                async with asyncio.timeout(self._patience / _SILENCES):
                    await self._until(lambda: False)
            except TimeoutError:
                silences = silences + 1 if self._answers == answers or self._messages == messages else 0
        raise LineBroke(f"Redis said nothing for {self._patience} s")

    async def _until(self, holds: Callable[[], bool]) -> None:
        """Wait for what comes in to make it so; or raise what breaks the line."""
        while True:
            if self._fault is not None:
                raise self._fault
            if holds():
                return
            self._changed.clear()
            await self._changed.wait()

    # --- what comes in

    def _hear(self, answer: object) -> None:
        self._answers += 1
        if not self._unanswered:
            raise LineBroke("Redis said something that nobody had asked for")
        self._unanswered.popleft()(answer)
        if isinstance(answer, ReadOnlyError):
            raise answer  # the master is elsewhere by now

    def _listen(self, said: Any) -> None:
        self._messages += 1
        match said:
            case [b"message", bytes() as channel, bytes() as payload]:
                if self._early is None:
                    self._arrived(channel.decode(), payload)
                else:
                    self._early.append((channel.decode(), payload))
            case [b"subscribe", *_]:
                self._unconfirmed -= 1
                self._changed.set()
            case [b"pong", *_] | b"PONG":
                pass
            case ResponseError():
                raise said
            case _:
                raise LineBroke("Redis said to who listens what is no message")

    def _break(self, fault: Exception) -> None:
        """The line is of no use any more."""
        if self._fault is None:
            self._fault = fault
            self._changed.set()


def _ignore(_: object) -> None:
    pass


@asynccontextmanager
async def open_line(
    connect: Callable[[], EndsAtOnce],
    channels: Iterable[str],
    question: Arguments,
    arrived: Callable[[str, bytes], None],
    soon: Soon,
    *,
    patience: float,
) -> AsyncGenerator[tuple[RedisLine, Any]]:
    """Open a line that is subscribed to these channels, and ask it something.

    Args:
        connect: makes a connection that is yet to be opened.
        channels: what to listen to.
        question: a command, whose answer comes with the line.
        arrived: told the channel and the payload of each message.
        soon: for what is to be written. May make the call on trio's side.
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
                line = RedisLine(speaking, listening, arrived, soon, patience)
                await line.subscribe(channels)
                answer = await line.ask(question)
        except TimeoutError:
            raise LineBroke(f"it did not answer within {patience} s") from None
        try:
            yield line, answer
        finally:
            line.flush()
    finally:
        for connection in (speaking, listening):
            try:
                await connection.disconnect()
            except (RedisError, OSError):
                continue
