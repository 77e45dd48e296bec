"""What a Redis is told and says, as bytes: the second version of its protocol (RESP2), as far as a bus needs it.

Bytes come in pieces of any size, and what they say comes out as soon as it is whole. What is whole before something
that makes no sense is still given.
"""

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from protocol.message import message

LONGEST_LINE: Final = 65_536
"""Bytes of what says of what kind and length something is, or of a refusal."""
DEEPEST: Final = 8
"""How many lists are within each other, at the most."""

_END: Final = b"\r\n"


@message
class Refused:
    """A command was refused. `text`: why, as the server says it."""

    text: str


Said = bytes | int | Refused | None | list["Said"]


class NoAnswer(Exception):
    """What came is nothing that a Redis says."""


def packed(words: Sequence[str | bytes | int]) -> bytes:
    """A command, as it is sent.

    Raises:
        ValueError: a text cannot be sent.
    """
    parts = [b"*%d\r\n" % len(words)]
    for word in words:
        said = word if isinstance(word, bytes) else str(word).encode()
        parts.append(b"$%d\r\n%b\r\n" % (len(said), said))
    return b"".join(parts)


class Answers:
    """Reads what a server says."""

    __slots__ = ("_rest", "_wanted")

    def __init__(self) -> None:
        self._rest = bytearray()
        self._wanted = 0

    def feed(self, piece: bytes) -> Iterator[Said]:
        """What is whole now. To be used up before more is fed.

        Args:
            piece: the next bytes that came.

        Raises:
            NoAnswer: they make no sense. Nothing more can be read.
        """
        if self._rest:
            self._rest += piece
            if len(self._rest) < self._wanted:
                return
            piece = bytes(self._rest)
        at, size = 0, len(piece)
        while at < size:
            found = _value(piece, at, 0)
            if isinstance(found, _Short):
                self._wanted = found.size - at
                break
            yield found.said
            at = found.end
        self._rest = bytearray(piece[at:])


class _Whole(NamedTuple):
    said: Said
    end: int


class _Short(NamedTuple):
    """There is more to come; so many bytes, from the beginning of the piece on, are the least that it takes."""

    size: int


def _value(piece: bytes, at: int, depth: int) -> _Whole | _Short:
    end = piece.find(_END, at)
    if end < 0:
        if len(piece) - at > LONGEST_LINE:
            raise NoAnswer
        return _Short(0)
    kind, line, end = piece[at : at + 1], piece[at + 1 : end], end + 2
    match kind:
        case b"$":
            return _bulk(piece, _number(line), end)
        case b"*":
            return _list(piece, _number(line), end, depth)
        case b":":
            return _Whole(_number(line), end)
        case b"+":
            return _Whole(line, end)
        case b"-":
            return _Whole(Refused(line.decode(errors="replace")), end)
        case _:
            raise NoAnswer


def _bulk(piece: bytes, size: int, at: int) -> _Whole | _Short:
    if size < 0:
        return _nothing(size, at)
    end = at + size
    if len(piece) < end + 2:
        return _Short(end + 2)
    if piece[end : end + 2] != _END:
        raise NoAnswer
    return _Whole(piece[at:end], end + 2)


def _list(piece: bytes, size: int, at: int, depth: int) -> _Whole | _Short:
    if size < 0:
        return _nothing(size, at)
    if depth == DEEPEST:
        raise NoAnswer
    values: list[Said] = []
    for _ in range(size):
        found = _value(piece, at, depth + 1)
        if isinstance(found, _Short):
            return found
        values.append(found.said)
        at = found.end
    return _Whole(values, at)


def _nothing(size: int, at: int) -> _Whole:
    if size != -1:
        raise NoAnswer
    return _Whole(None, at)


def _number(line: bytes) -> int:
    try:
        return int(line)
    except ValueError:
        raise NoAnswer from None
