"""Server-sent events, taken apart as they come in: one at a time, and none larger than the limit."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

_BLANK_LINE: Final = re.compile(rb"\r?\n\r?\n|\r\r")
HEAD: Final = 512
"""Bytes that are kept of an event that is too large: where the id of a message is found."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event.

    Attributes:
        raw: as it came in, the blank line included; of one that was too large only the beginning.
        is_cut: whether it was too large.
    """

    raw: bytes
    is_cut: bool = False

    def read(self) -> tuple[str, bytes, bool]:
        """Its name, its data, and whether it can be resumed from (WHATWG HTML, section 9.2.6)."""
        name, lines, has_id = "message", list[bytes](), False
        for line in self.raw.splitlines():
            field, _, value = line.partition(b":")
            value = value.removeprefix(b" ")
            if field == b"data":
                lines.append(value)
            elif field == b"event":
                name = value.decode(errors="replace") or "message"
            elif field == b"id":
                has_id = bool(value)
        return name, b"\n".join(lines), has_id


class EventSource:
    """Takes a stream of events apart.

    Args:
        limit: the most bytes that one event may have. Of a larger one nothing is kept but its beginning.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._buffer = bytearray()
        self._searched = 0
        self._is_skipping = False

    def feed(self, part: bytes) -> Iterator[Event]:
        """The events that end in this part, and the one that grew too large in it."""
        self._buffer += part
        while (end := _BLANK_LINE.search(self._buffer, max(0, self._searched - 3))) is not None:
            length = end.end()
            del end  # it holds the buffer
            raw = bytes(self._buffer[:length])
            del self._buffer[:length]
            self._searched = 0
            if self._is_skipping:
                self._is_skipping = False
            elif length > self._limit:
                yield Event(raw[:HEAD], is_cut=True)
            else:
                yield Event(raw)
        self._searched = len(self._buffer)
        if self._searched > self._limit or self._is_skipping:
            if not self._is_skipping:
                self._is_skipping = True
                yield Event(bytes(self._buffer[:HEAD]), is_cut=True)
            del self._buffer[:-3]
            self._searched = len(self._buffer)

    def rest(self) -> bytes:
        """What came in since the last event that ended."""
        return b"" if self._is_skipping else bytes(self._buffer)
