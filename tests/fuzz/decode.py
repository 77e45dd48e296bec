"""What reads the wire, given any bytes: as an envelope, as the body of one that is signed, as a chunk, as several, and
as each of the payloads that a forwarded request and its answer have, and as what a worker says of itself.

It raises `EnvelopeRefused` or reads something; and what it read is read once more from what that is written as.
"""

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, Final

from protocol.bequest import pack_bequest, unpack_bequest
from protocol.bus import Holding
from protocol.chunks import Chunk, Incoming, Outgoing, pack_chunk, pack_credit, unpack_chunk, unpack_credit
from protocol.errors import EnvelopeRefused, Refusal
from protocol.fault import Fault, FaultKind
from protocol.forwarded import ForwardedRequest
from protocol.forwarded_answer import (
    Notification,
    Progress,
    ServerError,
    pack_failure,
    pack_not_owner,
    pack_note,
    pack_result,
    unpack_failure,
    unpack_not_owner,
    unpack_note,
    unpack_result,
)
from protocol.raw_request import RawRequest
from protocol.remote_end import RemoteEnd
from protocol.remote_lease import Held, Lend, Use, pack_part, unpack_part
from protocol.upstream import Upstream
from protocol.wire import LAYOUTS, seal
from protocol.worker_figures import WorkerFigures
from tests.protocol.sealed import ENVELOPE, KEYRING, opened, signed

_LIMIT: Final = 40
_WINDOW: Final = 4

ANSWERS: Final[dict[Callable[[bytes], Any], Callable[[Any], bytes]]] = {
    unpack_result: pack_result,
    unpack_failure: pack_failure,
    unpack_not_owner: pack_not_owner,
    unpack_note: pack_note,
    unpack_bequest: lambda left: pack_bequest(*left),
}
"""What reads the payloads of answers and of bequests, and what writes them."""

HELD: Final = Holding("worker-2", "held-2", "")
REQUEST: Final = ForwardedRequest.of(
    session_id="session-1",
    token=HELD.token,
    upstream=Upstream("http://h/mcp"),
    request=RawRequest.of("tools/call", {"name": "add", "_meta": {}}),
    headers={"authorization": "Bearer a"},
    user="ada",
    gateway_id=None,
    principal="",
)
NAME: Final = 16 * "a1"
PARTS: Final = (Lend(NAME, 5.0), Lend(NAME, 0, 2.5, 60.0), Use(NAME), Use(NAME, 30, wants_progress=True))
FAULT: Final = Fault(FaultKind.REFUSED, "initialize", "HTTP 429", status=429, retry_after=2.5, at_connect=True)


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
    with suppress(EnvelopeRefused):
        request = ForwardedRequest.unpack(data)
        assert ForwardedRequest.unpack(request.pack()) == request
    with suppress(EnvelopeRefused):
        end = RemoteEnd.unpack(data)
        assert RemoteEnd.unpack(end.pack()) == end
    with suppress(EnvelopeRefused):
        held = Held.unpack(data)
        assert Held.unpack(held.pack()) == held
    with suppress(EnvelopeRefused):
        part = unpack_part(data)
        assert unpack_part(pack_part(part)) == part
    for unpack, pack in ANSWERS.items():
        with suppress(EnvelopeRefused):
            again = pack(unpack(data))
            assert pack(unpack(again)) == again  # as bytes, since what is no number equals nothing
    figures = WorkerFigures.unpack(data)
    assert figures is None or WorkerFigures.unpack(figures.pack()) == figures
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
    yield REQUEST.pack()
    yield RemoteEnd("session-1", HELD.token).pack()
    yield Held((NAME,), (NAME, NAME)).pack()
    for part in PARTS:
        yield pack_part(part)
        yield dataclasses.replace(REQUEST, lease=part).pack()
    yield pack_result({"a": [None, 1.5, "é"]})
    yield pack_failure(FAULT.for_connect("http://h/mcp"))
    yield pack_failure(EnvelopeRefused("no", reason=Refusal.FORGED))
    yield pack_failure(ServerError(-32042, "no", [1]))
    yield pack_not_owner(HELD)
    yield pack_bequest("session-1", HELD)
    yield pack_note(Progress(1, 2.5, "half"))
    yield pack_note(Notification("a/b", {"a": 1}))
    yield WorkerFigures("troupe", 2.5, *range(9)).pack()


def _take(data: bytes) -> None:
    """Every two bytes are a chunk: its number and whether it is the last, the total, and how much there is in it."""
    incoming = Incoming(_LIMIT, _WINDOW)
    for first, second in zip(data[::2], data[1::2], strict=False):
        total = second >> 3 or None
        with suppress(EnvelopeRefused):
            incoming.take(Chunk(first >> 1, total, bool(first & 1), b"p" * (second & 7)))
        assert len(incoming.payload) <= _LIMIT
