"""Bodies of answers: decoded down here, never more than the limit of them, and ended where they would raise."""

import zlib
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from typing import Final, cast

import httpx2
from typing_extensions import override

from actors.event_source import Event, EventSource

PIECE: Final = 65_536
"""The most bytes that are decoded at a time."""
ENCODINGS: Final = ("gzip", "deflate")
"""The encodings that servers are asked for: those of the standard library, which can be undone piece by piece."""


class TooLarge(Exception):
    """A body, or an event of it, is larger than the limit."""


class Malformed(Exception):
    """A body is not what it says it is."""


class Inflater:
    """Undoes the content encoding, a bounded piece at a time: a few bytes can stand for a thousand times as many.

    Raises:
        Malformed: the encoding was not asked for, or the body is not in it.
    """

    def __init__(self, encoding: str) -> None:
        if encoding not in ENCODINGS:
            raise Malformed("an encoding that was not asked for")
        self._wbits = zlib.MAX_WBITS | 16 if encoding == "gzip" else None
        self._beneath = None if self._wbits is None else zlib.decompressobj(self._wbits)

    def inflate(self, part: bytes) -> Iterator[bytes]:
        """What these bytes stand for."""
        if self._beneath is None and part:
            # Servers mean either of two things by "deflate" (RFC 9110, section 8.4.1.2); the first byte tells.
            is_wrapped = part[0] & 0x0F == zlib.DEFLATED
            self._beneath = zlib.decompressobj(zlib.MAX_WBITS if is_wrapped else -zlib.MAX_WBITS)
        while part and self._beneath is not None and not self._beneath.eof:
            try:
                piece = self._beneath.decompress(part, PIECE)
            except zlib.error:
                raise Malformed("a body that is not in its encoding") from None
            part = self._beneath.unconsumed_tail
            if piece:
                yield piece


class Parts:
    """The body of a response, decoded, part by part.

    An iterator rather than a generator: its reader may stop half-way, and a generator left half-way would have to be
    finalized by the event loop, once for every call.

    Raises:
        Malformed: the body is not in the encoding that it should be.
    """

    def __init__(self, response: httpx2.Response) -> None:
        beneath = cast("httpx2.AsyncByteStream", response.stream)
        encoding = response.headers.get("content-encoding", "").strip().lower()
        self._inflater = Inflater(encoding) if encoding not in ("", "identity") else None
        self._pieces: Iterator[bytes] = iter(())
        self._beneath = beneath
        self._parts: AsyncIterator[bytes] | None = aiter(beneath)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        while (piece := next(self._pieces, None)) is None:
            if self._parts is None:
                raise StopAsyncIteration
            part = await anext(self._parts)
            if self._inflater is None:
                return part
            self._pieces = self._inflater.inflate(part)
        return piece

    async def aclose(self) -> None:
        """Read nothing more, and let go of the connection."""
        parts, self._parts = self._parts, None
        self._pieces = iter(())
        try:
            if isinstance(parts, AsyncGenerator):
                await parts.aclose()
        finally:
            await self._beneath.aclose()


async def take(response: httpx2.Response, limit: int) -> bytes:
    """The whole body; closes the response in any case.

    Raises:
        TooLarge: it is larger than `limit`, or says so; no more than that was read.
        Malformed: it is not in the encoding that it should be.
        Exception: whatever the transport raises when the body breaks off.
    """
    parts = None
    try:
        said = response.headers.get("content-length", "")
        if said.isdigit() and int(said) > limit:
            raise TooLarge
        body = bytearray()
        parts = Parts(response)
        async for part in parts:
            body += part
            if len(body) > limit:
                raise TooLarge
        return bytes(body)
    finally:
        await (parts or response).aclose()


class EventBody(httpx2.AsyncByteStream):
    """The body of an event stream: whole events, each judged before it is passed on, and an end instead of a raise.

    Args:
        response: what it is the body of.
        limit: the most bytes of one event.
        judge: is given each event; answers the bytes to pass on in its stead, or raises to end the stream.
        ended: is given why the stream ended, None if in good order; answers what to put last.
    """

    def __init__(
        self,
        response: httpx2.Response,
        *,
        limit: int,
        judge: Callable[[Event], bytes],
        ended: Callable[[Exception | None], Awaitable[bytes]],
    ) -> None:
        self._events = EventSource(limit)
        self._judge: Callable[[Event], bytes] | None = judge
        self._ended: Callable[[Exception | None], Awaitable[bytes]] | None = ended
        self._parts: Parts | None = Parts(response)
        self._ready: deque[bytes] = deque()

    @override
    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        while not self._ready:
            if self._parts is None or self._judge is None:
                raise StopAsyncIteration
            try:
                part = await anext(self._parts)
                for event in self._events.feed(part):
                    if passed := self._judge(event):
                        self._ready.append(passed)
            except StopAsyncIteration:
                await self._end(None)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is the affair of this exchange alone
                await self._end(error)
        return self._ready.popleft()

    def put_back(self, part: bytes) -> None:
        """Let what was read be read again."""
        self._ready.appendleft(part)

    async def _end(self, error: Exception | None) -> None:
        parts, self._parts = self._parts, None
        ended = self._ended
        if parts is not None:
            with suppress(Exception):  # nothing more is read of it, and why the stream ended is known
                await parts.aclose()
        if ended is not None and (last := await ended(error)):
            self._ready.append(last)

    @override
    async def aclose(self) -> None:
        # The response and this body refer to each other through what judges it: both would wait for the collector.
        parts, self._parts = self._parts, None
        self._judge = self._ended = None
        self._ready.clear()
        if parts is not None:
            await parts.aclose()
