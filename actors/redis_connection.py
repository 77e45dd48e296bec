"""The connections of a line to Redis: redis-py's, which opens them, but for how they are read and how they end."""

import asyncio
from collections.abc import Callable
from typing import Any, Final, cast

from redis.asyncio.connection import (
    AbstractConnection,
    Connection,
    DefaultParser,
    SSLConnection,
    UnixDomainSocketConnection,
)
from redis.exceptions import ResponseError
from typing_extensions import override

from actors.redis_words import LineBroke
from protocol.resp import Answers, NoAnswer, Refused


class EndsAtOnce(AbstractConnection):
    """Is closed in the event loop's next round once `disconnect` was called, which waits for nothing.

    An ordinary close waits until all is written and, with TLS, until the other side has said goodbye. A Redis that
    stands still would keep such a connection for as long as it likes, and each attempt to reach it would leave another.
    """

    @override
    async def disconnect(self, *args: Any, **kwargs: Any) -> None:
        writer = cast("Any", self._writer)
        if writer is not None:
            writer.transport.abort()
        kwargs["nowait"] = True  # nothing that a cancellation could come into
        await super().disconnect(*args, **kwargs)

    def take_over(self, protocol: asyncio.Protocol) -> asyncio.WriteTransport:
        """Have whatever comes in told to that, at once, from now on. To be used once it is connected: then nothing that
        was asked is unanswered.
        """
        transport: asyncio.Transport = cast("Any", self._writer).transport
        transport.set_protocol(protocol)
        return transport


class Half(asyncio.Protocol):
    """One of a line's two connections, read as it comes in, without a task.

    redis-py reads through a stream and a task: for each message a round of the event loop more, and seven coroutines.

    Args:
        connection: it, connected.
        heard: is told whatever Redis says; a refusal as a `ResponseError`.
        after: is called when all was told that came at once.
        broke: is told why it is of no use any more; more than once, maybe.

    Attributes:
        is_hearing: whether it is telling what came; `after` comes then.
    """

    def __init__(
        self,
        connection: EndsAtOnce,
        heard: Callable[[object], None],
        after: Callable[[], None],
        broke: Callable[[Exception], None],
    ) -> None:
        self._heard = heard
        self._after = after
        self._broke = broke
        self._answers = Answers()
        self._is_full = False
        self.is_hearing = False
        self._transport = connection.take_over(self)

    @property
    def takes_more(self) -> bool:
        """Whether it is open, and Redis keeps up with what is written."""
        return not (self._is_full or self._transport.is_closing())

    def write(self, packed: bytes) -> None:
        """Send it, or as much of it as goes, and the rest when it does."""
        if not self._transport.is_closing():
            self._transport.write(packed)

    @override
    def data_received(self, data: bytes) -> None:
        self.is_hearing = True
        try:
            for said in self._answers.feed(data):
                self._heard(_refusal(said) if isinstance(said, Refused) else said)
        except NoAnswer:
            self._broke(LineBroke("it said what is no answer of a Redis"))
        except Exception as error:  # noqa: BLE001 - whatever it is, the line cannot go on
            self._broke(error)
        finally:
            self.is_hearing = False
        self._after()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._broke(exc or LineBroke("it closed the connection"))

    @override
    def pause_writing(self) -> None:
        self._is_full = True

    @override
    def resume_writing(self) -> None:
        self._is_full = False
        self._after()


def _refusal(refused: Refused) -> ResponseError:
    """The library's error for it.

    Raises:
        RedisError: it is one after which nothing more is answered.
    """
    error: Any = cast("Any", DefaultParser).parse_error(refused.text)
    if not isinstance(error, ResponseError):
        raise error
    return error


class _Tcp(EndsAtOnce, Connection):
    pass


class _Tls(EndsAtOnce, SSLConnection):
    pass


class _Local(EndsAtOnce, UnixDomainSocketConnection):
    pass


ENDING_AT_ONCE: Final[dict[type[AbstractConnection], type[EndsAtOnce]]] = {
    Connection: _Tcp,
    SSLConnection: _Tls,
    UnixDomainSocketConnection: _Local,
}
"""What is used in place of each of redis-py's."""
