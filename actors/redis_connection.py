"""The connections of a line to Redis: redis-py's, but for how they end."""

from typing import Any, Final, cast

from redis.asyncio.connection import AbstractConnection, Connection, SSLConnection, UnixDomainSocketConnection
from typing_extensions import override


class _EndsAtOnce(AbstractConnection):
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


class _Tcp(_EndsAtOnce, Connection):
    pass


class _Tls(_EndsAtOnce, SSLConnection):
    pass


class _Local(_EndsAtOnce, UnixDomainSocketConnection):
    pass


ENDING_AT_ONCE: Final[dict[type[AbstractConnection], type[AbstractConnection]]] = {
    Connection: _Tcp,
    SSLConnection: _Tls,
    UnixDomainSocketConnection: _Local,
}
"""What is used in place of each of redis-py's."""
