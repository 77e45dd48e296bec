"""What workers send each other: an envelope, signed, as bytes.

The rules
---------
- An envelope is its version (a byte), the id of the key that signed it (a byte for its length, then itself), its body,
  and a signature of 32 bytes: the HMAC-SHA256 of the channel and of all that comes before it.
- Until the signature has been checked nothing is read but the length, the version and the key id.
- The channel is signed and not sent: what was published for one worker is forged when it comes on another's channel.
- Two versions are understood, this one and the one before, and either can be written, so that deploys roll: every
  worker understands the new one before the first one writes it. A version is a row of `LAYOUTS`, and a new one is the
  one before with fields appended; who is sent an older one finds None in them.
- Fields are of exact kinds and bounded sizes, when sealed and when unsealed. Whatever the bytes are, what is not taken
  is `EnvelopeRefused`.

Whether an envelope is still fresh is another matter: `protocol.freshness`.
"""

from collections.abc import Mapping
from dataclasses import field
from enum import IntEnum
from typing import Any, Final

from protocol.errors import EnvelopeRefused, Refusal
from protocol.keyring import SIGNATURE_SIZE, Keyring
from protocol.layout import MOST_ENTRIES, Accepts, Layout, is_bytes, is_moment, is_text, or_none
from protocol.message import message

VERSION: Final = 2
"""The version that is written where none is asked for."""

ID_SIZE: Final = 16
"""Bytes of a correlation id, and of a nonce."""

LONGEST_SENDER: Final = 128
"""Characters of a worker's id, at most."""


class Kind(IntEnum):
    """What an envelope is. The numbers are on the wire: one that was given is never given again."""

    REQUEST = 1
    """Something to be done by the worker that owns it."""
    ACCEPTED = 2
    """The request has come, and is done from now on."""
    RESULT = 3
    """What the request came to."""
    FAILURE = 4
    """The error that the request came to."""
    NOT_OWNER = 5
    """The request was for a worker that owns it; the payload says who does."""
    REJECTED = 6
    """The request was not begun."""
    CANCEL = 7
    """Nobody waits for the request any more."""
    NOTE = 8
    """Progress, or a log message, on the way back to who sent the request."""
    CHUNK = 9
    """A part of a payload that is too large for one envelope (`protocol.chunks`)."""
    CREDIT = 10
    """How many more chunks may come."""
    HELLO = 11
    """A worker is there."""
    LEAVING = 12
    """A worker goes: whoever is sent this is to go on with a session of its (`protocol.bequest`)."""
    END = 13
    """A downstream session is over, for whoever owns it."""
    LEASES = 14
    """Which leases of the receiver's the sender still holds, and which it gives back."""


@message
class Envelope:
    """What one worker sends another.

    Attributes:
        kind: what it is.
        correlation: the id of the request that it is, or is about; `ID_SIZE` bytes.
        sender: the id of the worker that sends it: printable ASCII, at most `LONGEST_SENDER` of it.
        sent_at: when, in seconds of the sender's wall clock.
        remaining: how many seconds the request still has; None for one without a bound.
        nonce: `ID_SIZE` bytes that the sender never used before.
        trace: the W3C trace context, as a propagator writes it: at most `MOST_ENTRIES` names and values of printable
            ASCII, each at most `layout.LONGEST_TEXT` of it. None for none, and from a sender of the version before.
        payload: what it says. Neither this nor the trace is in the repr: there may be credentials in them.
    """

    kind: Kind
    correlation: bytes
    sender: str
    sent_at: float
    remaining: float | None
    nonce: bytes
    payload: bytes = field(repr=False)
    trace: Mapping[str, str] | None = field(default=None, repr=False)


def seal(envelope: Envelope, keyring: Keyring, *, version: int = VERSION, channel: bytes = b"") -> bytes:
    """The envelope as bytes, signed with the key that signs.

    Args:
        envelope: what to send.
        keyring: the cluster's keys.
        version: which version to write; what it has no field for is left out.
        channel: what it will be published on.

    Raises:
        EnvelopeRefused: nobody would take it: a field is not of its kind or too long (MALFORMED), or there is no such
            version (UNKNOWN_VERSION).
    """
    layout = LAYOUTS.get(version)
    if layout is None:
        raise EnvelopeRefused(f"there is no version {version} of envelopes", reason=Refusal.UNKNOWN_VERSION)
    remaining, trace = envelope.remaining, envelope.trace
    values = (
        int(envelope.kind),
        envelope.correlation,
        envelope.sender,
        float(envelope.sent_at),
        None if remaining is None else float(remaining),
        envelope.nonce,
        envelope.payload,
        None if trace is None else dict(trace),
    )
    key_id = keyring.signing.encode()
    signed = b"%c%c%b%b" % (version, len(key_id), key_id, layout.pack(values[: layout.size]))
    return signed + keyring.sign(_framed(channel), signed)


def unseal(data: bytes, keyring: Keyring, *, limit: int, channel: bytes = b"") -> Envelope:
    """The envelope that the bytes are, whose signature is right.

    Args:
        data: what came.
        keyring: the cluster's keys.
        limit: how many bytes it may have in all.
        channel: what it came on.

    Raises:
        EnvelopeRefused: it is not taken; `reason` says why. Nothing else is raised, whatever the bytes are.
    """
    size = len(data)
    if size > limit:
        raise EnvelopeRefused(f"an envelope has {size} bytes, and may have {limit}", reason=Refusal.TOO_LARGE)
    if size < _SHORTEST:
        raise _too_short(size)
    layout = LAYOUTS.get(data[0])
    if layout is None:
        raise EnvelopeRefused(f"an envelope is of version {data[0]}", reason=Refusal.UNKNOWN_VERSION)
    body_at = 2 + data[1]
    if size <= body_at + SIGNATURE_SIZE:
        raise _too_short(size)
    key_id = data[2:body_at]
    if key_id not in keyring:
        raise EnvelopeRefused("an envelope is signed with a key that is not here", reason=Refusal.UNKNOWN_KEY)
    if not keyring.verifies(key_id, data[-SIGNATURE_SIZE:], _framed(channel), data[:-SIGNATURE_SIZE]):
        raise EnvelopeRefused("an envelope's signature is wrong", reason=Refusal.FORGED)
    kind, *fields = layout.unpack(data[body_at:-SIGNATURE_SIZE])
    return Envelope(_KINDS[kind], *fields)


def _framed(channel: bytes) -> bytes:
    """Where it ends is told before it begins, so that no channel runs into an envelope."""
    return b"%d:%b" % (len(channel), channel)


def _too_short(size: int) -> EnvelopeRefused:
    return EnvelopeRefused(f"an envelope has {size} bytes, which is less than its parts", reason=Refusal.TOO_SHORT)


# --- the fields -------------------------------------------------------------------------------------------------------


def _is_kind(value: Any) -> bool:
    return value.__class__ is int and value in _KINDS


def _is_id(value: Any) -> bool:
    return value.__class__ is bytes and len(value) == ID_SIZE


def _is_sender(value: Any) -> bool:
    return is_text(value, LONGEST_SENDER)


def _is_trace(value: Any) -> bool:
    if value.__class__ is not dict or len(value) > MOST_ENTRIES:
        return False
    return all(map(is_text, value)) and all(map(is_text, value.values()))


_KINDS: Final[dict[object, Kind]] = {kind.value: kind for kind in Kind}
_SHORTEST: Final = 2 + 1 + 1 + SIGNATURE_SIZE

_FIRST: Final[dict[str, Accepts]] = {
    "kind": _is_kind,
    "correlation": _is_id,
    "sender": _is_sender,
    "sent_at": is_moment,
    "remaining": or_none(is_moment),
    "nonce": _is_id,
    "payload": is_bytes,
}

LAYOUTS: Final[dict[int, Layout]] = {
    VERSION - 1: Layout("an envelope's body", _FIRST),
    VERSION: Layout("an envelope's body", {**_FIRST, "trace": or_none(_is_trace)}),
}
"""What the body of each version that is understood holds."""
