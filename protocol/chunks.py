"""How a payload that is too large for one envelope travels: as numbered chunks, as many at once as there is credit for.

The rules
---------
- Chunks are numbered from 0. The last one is marked, and the only one that may be empty: an empty payload is one chunk.
- Each says how many bytes the payload has in all, as far as that is known: None for a body that is still being made.
  All chunks of a payload say the same. A total that turns out wrong is refused, as soon as it does.
- Credit is the number below which chunks may be sent. It only ever grows, so a grant that comes twice or late does no
  harm. At the start it is `WINDOW`, which both sides know without a word: it is a part of the wire.
- Credit is given back for what is there without a gap, half a window at a time: one message for several chunks, and the
  sender, while it waits for one grant, has the other half to send.
- A chunk that is there already is ignored. One that comes too early is kept until those before it come: order is
  restored, which costs no more than a window of chunks. One beyond the credit is refused.
- The limit is on bytes: more than it are refused when they are announced, and else when they come.
- A chunk that is refused changes nothing. Its sender is not to be trusted with the rest: give the payload up.

Redis drops a subscriber that lags behind by some megabytes. Credit is what keeps a large payload from doing that.
"""

from collections.abc import Iterator
from dataclasses import field
from typing import Any, Final

from protocol.errors import EnvelopeRefused, Refusal
from protocol.layout import Layout, is_flag, is_number, or_none
from protocol.message import message

CHUNK_SIZE: Final = 65_536
"""Bytes of a chunk, at most; a payload of no more travels whole."""

WINDOW: Final = 8
"""Chunks that may be sent before the first grant. On the wire: changing it takes a new version."""


@message
class Chunk:
    """A part of a payload.

    Attributes:
        number: which, from 0 on.
        total: how many bytes the payload has; None while nobody knows.
        is_last: whether it is the last.
        part: its bytes; not in the repr, since there may be credentials in them.
    """

    number: int
    total: int | None
    is_last: bool
    part: bytes = field(repr=False)


def pack_chunk(chunk: Chunk) -> bytes:
    """The chunk, as the payload of an envelope.

    Raises:
        EnvelopeRefused: nobody would take it (MALFORMED).
    """
    return _CHUNK.pack((chunk.number, chunk.total, chunk.is_last, chunk.part))


def unpack_chunk(payload: bytes) -> Chunk:
    """The chunk that an envelope's payload is.

    Raises:
        EnvelopeRefused: it is none (MALFORMED). Nothing else is raised, whatever the bytes are.
    """
    return Chunk(*_CHUNK.unpack(payload))


def pack_credit(below: int) -> bytes:
    """A grant of the chunks whose numbers are below this one, as the payload of an envelope.

    Raises:
        EnvelopeRefused: it is no such number (MALFORMED).
    """
    return _CREDIT.pack((below,))


def unpack_credit(payload: bytes) -> int:
    """The number in the grant that an envelope's payload is.

    Raises:
        EnvelopeRefused: it is none (MALFORMED). Nothing else is raised, whatever the bytes are.
    """
    (below,) = _CREDIT.unpack(payload)
    return below


class Outgoing:
    """A payload that is sent.

    Args:
        payload: all of it.
        credit: the number below which chunks may be sent at first.
        size: bytes of each chunk but the last; at least 1, at most `CHUNK_SIZE`.
    """

    __slots__ = ("_below", "_count", "_next", "_payload", "_size")

    def __init__(self, payload: bytes, credit: int = WINDOW, *, size: int = CHUNK_SIZE) -> None:
        self._payload = payload
        self._size = size
        self._count = max(1, -(-len(payload) // size))
        self._next = 0
        self._below = credit

    @property
    def is_done(self) -> bool:
        """Whether all chunks were taken."""
        return self._next == self._count

    def grant(self, below: int) -> None:
        """Chunks with numbers below this one may be sent. Fewer than before changes nothing."""
        self._below = max(self._below, below)

    def due(self) -> Iterator[Chunk]:
        """The chunks that may be sent now, each of them once."""
        while self._next < min(self._below, self._count):
            number = self._next
            self._next += 1
            start = number * self._size
            part = self._payload[start : start + self._size]
            yield Chunk(number, len(self._payload), self._next == self._count, part)


class Incoming:
    """A payload that comes in.

    Args:
        limit: how many bytes it may have.
        window: how many chunks may be under way; at least 1, and no less than the sender's first credit.
    """

    __slots__ = ("_below", "_count", "_early", "_last", "_limit", "_payload", "_size", "_total", "_window")

    def __init__(self, limit: int, window: int = WINDOW) -> None:
        self._limit = limit
        self._window = window
        self._below = window  # what was granted
        self._payload = bytearray()  # what is there without a gap
        self._count = 0  # of chunks without a gap
        self._early: dict[int, bytes] = {}
        self._size = 0  # of all that is there
        self._total: int | None = None
        self._last: int | None = None

    @property
    def is_complete(self) -> bool:
        """Whether all of it is there."""
        return self._last is not None and self._count > self._last

    @property
    def payload(self) -> bytes:
        """What is there without a gap: all of it, once it is complete."""
        return bytes(self._payload)

    def take(self, chunk: Chunk) -> int | None:
        """A chunk has come. Answer the number to grant from now on, or None while there is nothing to be told.

        Raises:
            EnvelopeRefused: it does not fit those before it, or what it announced or was granted (MALFORMED), or the
                payload has more bytes than the limit (TOO_LARGE).
        """
        if chunk.number < self._count or chunk.number in self._early:
            return None
        self._check_place(chunk)
        self._check_size(chunk)
        self._total = chunk.total
        self._size += len(chunk.part)
        if chunk.is_last:
            self._last = chunk.number
        self._early[chunk.number] = chunk.part
        while (part := self._early.pop(self._count, None)) is not None:
            self._payload += part
            self._count += 1
        return self._granted()

    def _check_place(self, chunk: Chunk) -> None:
        if chunk.number >= self._below:
            raise _unfit(f"chunk {chunk.number} has come, and only those below {self._below} were granted")
        if self._last is not None and (chunk.is_last or chunk.number > self._last):
            raise _unfit(f"chunk {chunk.number} has come, and {self._last} was the last")
        if chunk.is_last and self._early and chunk.number < max(self._early):
            raise _unfit(f"chunk {chunk.number} is said to be the last, and a later one is there")
        if not chunk.part and not chunk.is_last:
            raise _unfit(f"chunk {chunk.number} is empty, and not the last")

    def _check_size(self, chunk: Chunk) -> None:
        size, total = self._size + len(chunk.part), chunk.total
        if (self._count or self._early) and total != self._total:
            raise _unfit("two chunks of a payload differ in how many bytes it has in all")
        known = max(size, total or 0)
        if known > self._limit:
            raise EnvelopeRefused(f"a payload has {known} bytes, and may have {self._limit}", reason=Refusal.TOO_LARGE)
        last = chunk.number if chunk.is_last else self._last
        completes = self._count + len(self._early) == last
        if total is not None and (size > total or (completes and size < total)):
            raise _unfit(f"a payload has {size} bytes, and was said to have {total}")

    def _granted(self) -> int | None:
        below = self._count + self._window
        if self._last is not None or 2 * (below - self._below) < self._window:
            return None
        self._below = below
        return below


def _unfit(why: str) -> EnvelopeRefused:
    return EnvelopeRefused(why, reason=Refusal.MALFORMED)


def _is_part(value: Any) -> bool:
    return value.__class__ is bytes and len(value) <= CHUNK_SIZE


_CHUNK: Final = Layout(
    "a chunk", {"number": is_number, "total": or_none(is_number), "is_last": is_flag, "part": _is_part}
)
_CREDIT: Final = Layout("a grant of credit", {"below": is_number})
