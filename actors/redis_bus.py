"""The bus over Redis."""

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from random import Random
from typing import Any, Final, TypeVar

import anyio
from redis.exceptions import ResponseError
from typing_extensions import override

from actors.bus import Bus, Told, contained
from actors.flavour import HandOver, in_asyncio
from actors.redis_address import RedisAddress
from actors.redis_commands import arguments_of, ask_of_run, read_age, read_answer
from actors.redis_line import RedisLine, open_line
from actors.redis_words import LineBroke, words_of
from protocol.bus import Arrived, BusNews, Command, Joined, Parted
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
HELD: Final = 0.1
"""Seconds for which a line must have held for the next attempt to come at once again: one that held for less is a
failed attempt like another. In such a pause nobody listens on this worker's channels, and others take it for dead."""


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
        self._joined_at = 0.0
        self.joins = 0
        self._has_failed = False

    @override
    async def run(self, channels: tuple[str, ...], tell: Told) -> None:
        hand = self._hand = HandOver()
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(hand.run)
                await in_asyncio(partial(self._keep_joined, hand, channels, tell))
        finally:
            self._part("this worker leaves it")
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
            told = BusUnavailable(
                f"{self._address.shown} refused {type(command).__name__}: {words_of(answer)}", was_sent=False
            )
        else:
            try:
                told = read_answer(command, answer)
            except (ValueError, TypeError, LookupError, AttributeError) as error:
                told = BusUnavailable(f"{self._address.shown} answered {type(command).__name__} oddly", was_sent=True)
                told.__cause__ = error
        hand.call(partial(contained, then, told))

    # --- on asyncio's side

    async def _keep_joined(self, hand: HandOver, channels: tuple[str, ...], tell: Told) -> None:
        pause = 0.0
        clock = asyncio.get_running_loop().time
        while True:
            try:
                await self._join(hand, channels, tell)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is told and tried again
                was_joined = self._line is not None
                self._part(words_of(error))
                if was_joined:
                    self._call(tell, Parted(self._why))
                    logger.warning("%s was lost: %s", self._address.shown, self._why)
                    if clock() > self._joined_at + HELD:
                        pause = 0.0
                elif not self.joins and not self._has_failed:
                    self._has_failed = True
                    logger.warning(
                        "%s cannot be reached, and is tried until it can: %s", self._address.shown, self._why
                    )
            await asyncio.sleep(pause * self._random.uniform(0.5, 1.0))
            pause = min(CEILING, max(BACKOFF, 2 * pause))

    async def _join(self, hand: HandOver, channels: tuple[str, ...], tell: Told) -> None:
        """Be joined until that ends, with an exception."""

        def arrived(channel: str, envelope: bytes) -> None:
            self._call(tell, Arrived(channel, envelope))

        connect = await self._address.connector(self._patience)
        question = ask_of_run(self._names)
        async with open_line(connect, channels, question, arrived, hand.soon, patience=self._patience) as (
            line,
            answer,
        ):
            try:
                age = read_age(answer)
            except (ValueError, TypeError):
                raise LineBroke(f"it does not say since when it has kept its records: see {self._names.run}") from None
            self._line = line
            self.joins += 1
            self._joined_at = asyncio.get_running_loop().time()
            self._call(tell, Joined(age))
            await line.serve()

    def _part(self, why: str) -> None:
        self._why = why
        line, self._line = self._line, None
        if line is None:
            return
        for was_sent, abandoned in zip((True, False), line.abandon(), strict=True):
            for answered in abandoned:
                answered(BusUnavailable(f"{self._address.shown} was lost: {why}", was_sent=was_sent))

    def _call(self, tell: Told, news: BusNews) -> None:
        if self._hand is not None:
            self._hand.call(partial(contained, tell, news))
