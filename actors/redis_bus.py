"""The bus over Redis."""

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from random import Random
from typing import Any, Final, TypeVar

import anyio
from redis.exceptions import RedisError, ResponseError
from typing_extensions import override

from actors.bus import Bus, Told
from actors.flavour import HandOver, in_asyncio
from actors.redis_address import RedisAddress
from actors.redis_commands import arguments_of, read_answer
from actors.redis_line import LineBroke, RedisLine, open_line
from protocol.bus import Arrived, Command, Joined, Parted
from protocol.errors import BusUnavailable
from protocol.namespace import Namespace

logger = logging.getLogger(__name__)

A = TypeVar("A")

PATIENCE: Final = 2.0
"""Seconds without a word of Redis after which a connection counts as broken."""
BACKOFF: Final = 0.02
"""Seconds from the first failed attempt to connect to the next; the first comes at once, and each pause is longer."""
CEILING: Final = 1.0
"""Seconds that such a pause takes at the most."""


class RedisBus(Bus):
    """One worker's way to the others, over Redis pub/sub, on asyncio and on trio.

    It has two connections, however much is said: one that speaks and one that listens.

    Args:
        address: where Redis is.
        namespace: what keys and channels begin with.
        random: for the jitter of reconnections.
        patience: seconds without a word of Redis after which a connection counts as broken.

    Attributes:
        joins: how often it was joined.
    """

    def __init__(
        self, address: RedisAddress, namespace: Namespace, random: Random, *, patience: float = PATIENCE
    ) -> None:
        self._address = address
        self._names = namespace
        self._random = random
        self._patience = patience
        self._line: RedisLine | None = None
        self._hand: HandOver | None = None
        self._why = "it has not been joined yet"
        self.joins = 0

    @override
    async def run(self, channels: tuple[str, ...], tell: Told) -> None:
        hand = self._hand = HandOver()
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(hand.run)
                await in_asyncio(partial(self._keep_joined, channels, tell))
        finally:
            self._hand = None
            hand.finish()

    @override
    def send(self, command: Command[A], then: Callable[[A | BusUnavailable], None]) -> None:
        line, hand = self._line, self._hand
        if line is None or hand is None:
            then(BusUnavailable(f"{self._address.shown} cannot be reached: {self._why}", was_sent=False))
            return
        line.say(arguments_of(command, self._names), partial(self._answered, hand, command, then))

    def _answered(self, hand: HandOver, command: Command[Any], then: Callable[[Any], None], answer: object) -> None:
        """On asyncio's side: hand over what Redis answered."""
        if isinstance(answer, BusUnavailable):
            told: object = answer
        elif isinstance(answer, ResponseError):
            told = BusUnavailable(f"{self._address.shown} refused {type(command).__name__}: {answer}", was_sent=False)
        else:
            try:
                told = read_answer(command, answer)
            except (ValueError, TypeError, IndexError, AttributeError) as error:
                told = BusUnavailable(f"{self._address.shown} answered {type(command).__name__} oddly", was_sent=True)
                told.__cause__ = error
        hand.call(partial(then, told))

    # --- on asyncio's side

    async def _keep_joined(self, channels: tuple[str, ...], tell: Told) -> None:
        pause = 0.0
        while True:
            try:
                await self._join(channels, tell)
            except (RedisError, OSError, TimeoutError, LineBroke) as error:
                was_joined = self._line is not None
                self._part(_told(error))
                if was_joined:
                    pause = 0.0
                    self._call(partial(tell, Parted(self._why)))
                    logger.warning("%s was lost: %s", self._address.shown, self._why)
            await asyncio.sleep(pause * self._random.uniform(0.5, 1.0))
            pause = min(CEILING, max(BACKOFF, 2 * pause))

    async def _join(self, channels: tuple[str, ...], tell: Told) -> None:
        """Be joined until that ends, with an exception."""

        def arrived(channel: str, envelope: bytes) -> None:
            self._call(partial(tell, Arrived(channel, envelope)))

        connect = await self._address.connector()
        async with open_line(connect, channels, arrived, self._patience) as line:
            self._line = line
            self.joins += 1
            self._call(partial(tell, Joined()))
            try:
                await line.serve()
            except asyncio.CancelledError:
                self._part("this worker leaves it")
                raise

    def _part(self, why: str) -> None:
        self._why = why
        line, self._line = self._line, None
        if line is None:
            return
        for was_sent, abandoned in zip((True, False), line.abandon(), strict=True):
            for answered in abandoned:
                answered(BusUnavailable(f"{self._address.shown} was lost: {why}", was_sent=was_sent))

    def _call(self, call: Callable[[], None]) -> None:
        if self._hand is not None:
            self._hand.call(call)


def _told(error: Exception) -> str:
    """What went wrong, in words. Texts of the library tell host and port, and what Redis said; no password."""
    return str(error) or type(error).__name__
