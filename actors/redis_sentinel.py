"""A service of which Redis Sentinels know the master."""

import asyncio
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import SplitResult, unquote, urlsplit

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import AuthenticationError, RedisError

from actors.redis_words import LineBroke, words_of

PORT: Final = 26_379
"""Where a Sentinel listens unless its address says otherwise."""


class SentinelService:
    """A service, as an address names it.

    Args:
        parts: the address.

    Attributes:
        credentials: the master's user and password, and the Sentinels'.
        database: which of the master's.

    Raises:
        ValueError: it names no service or no Sentinel.
    """

    def __init__(self, parts: SplitResult) -> None:
        self._sentinels = [host_and_port(place) for place in places(parts)]
        service, _, database = parts.path.strip("/").partition("/")
        if not service or not self._sentinels:
            raise ValueError("no service")
        self._service = unquote(service)
        self.database = int(database or 0)
        user, _, password = parts.netloc.rpartition("@")[0].partition(":")
        self.credentials = {name: unquote(text) for name, text in (("username", user), ("password", password)) if text}

    async def master(self, connect: Callable[..., AbstractConnection], patience: float) -> tuple[str, int]:
        """Where the master is, as the first Sentinel that answers has it. Another one is asked first next time: that
        one may be cut off from the others, and know of no failover.

        Args:
            connect: makes a connection that is yet to be opened.
            patience: seconds that each Sentinel has.

        Raises:
            LineBroke: none of them says where.
        """
        whys: list[str] = []
        for turn, (host, port) in enumerate(self._sentinels, start=1):
            try:
                async with asyncio.timeout(patience):
                    answer = await self._ask(connect, host, port)
            except TimeoutError:
                whys.append(f"{host}:{port} did not answer within {patience} s")
            except (RedisError, OSError, ValueError) as error:
                whys.append(f"{host}:{port}: {words_of(error)}")
            else:
                match answer:
                    case [bytes() as place, bytes() as number] if number.isdigit():
                        self._sentinels = self._sentinels[turn:] + self._sentinels[:turn]
                        return place.decode(), int(number)
                    case _:
                        whys.append(f"{host}:{port} does not know it")
        raise LineBroke(f"no Sentinel says where the master of {self._service} is: {'; '.join(whys)}")

    async def _ask(self, connect: Callable[..., AbstractConnection], host: str, port: int) -> Any:
        try:
            return await self._ask_as(connect(host=host, port=port, **self.credentials))
        except AuthenticationError as error:
            # A password is often the master's alone.
            if "without any password" not in str(error):
                raise
            return await self._ask_as(connect(host=host, port=port))

    async def _ask_as(self, connection: Any) -> Any:
        try:
            await connection.connect()
            await connection.send_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._service, check_health=False)
            return await connection.read_response(disable_decoding=True)
        finally:
            await connection.disconnect()


def places(parts: SplitResult) -> list[str]:
    """The hosts of an address, each with its port if it names one."""
    return [place for place in parts.netloc.rpartition("@")[2].split(",") if place]


def host_and_port(place: str) -> tuple[str, int]:
    """A host and its port.

    Raises:
        ValueError: it is none.
    """
    inner = urlsplit(f"//{place}")
    if inner.hostname is None:
        raise ValueError("no host")
    return inner.hostname, inner.port or PORT
