"""What reads the wire, given any bytes: as an envelope, as the body of one that is signed, as a chunk, as several.

It raises `EnvelopeRefused` or reads something; and what it read is read once more from what that is written as.
"""

from collections.abc import Iterator
from contextlib import suppress
from typing import Final

from protocol.chunks import Chunk, Incoming, Outgoing, pack_chunk, pack_credit, unpack_chunk, unpack_credit
from protocol.errors import EnvelopeRefused
from protocol.wire import LAYOUTS, seal
from tests.protocol.sealed import ENVELOPE, KEYRING, opened, signed

_LIMIT: Final = 40
_WINDOW: Final = 4


def decode(data: bytes) -> None:
    """Give the bytes to everything that reads bytes.

    Raises:
        AssertionError: what was read differs from what it is written as.
        Exception: anything else but `EnvelopeRefused`, which is not raised; so a fault was found.
    """
    for sealed in (data, *(signed(data, version) for version in LAYOUTS)):
        with suppress(EnvelopeRefused):
            envelope = opened(sealed)
            assert opened(seal(envelope, KEYRING)) == envelope
    with suppress(EnvelopeRefused):
        chunk = unpack_chunk(data)
        assert unpack_chunk(pack_chunk(chunk)) == chunk
    with suppress(EnvelopeRefused):
        below = unpack_credit(data)
        assert unpack_credit(pack_credit(below)) == below
    _take(data)


def seeds() -> Iterator[bytes]:
    """Bytes that can be read, to begin with."""
    for version in LAYOUTS:
        sealed = seal(ENVELOPE, KEYRING, version=version)
        yield sealed
        yield sealed[7:-32]  # the body
    for chunk in Outgoing(b"payload", size=3).due():
        yield pack_chunk(chunk)
    yield pack_credit(12)
    yield bytes([0, 1, 1, 0, 2, 5])


def _take(data: bytes) -> None:
    """Every two bytes are a chunk: its number and whether it is the last, the total, and how much there is in it."""
    incoming = Incoming(_LIMIT, _WINDOW)
    for first, second in zip(data[::2], data[1::2], strict=False):
        total = second >> 3 or None
        with suppress(EnvelopeRefused):
            incoming.take(Chunk(first >> 1, total, bool(first & 1), b"p" * (second & 7)))
        assert len(incoming.payload) <= _LIMIT
