"""Envelopes for tests: one that is sealed, any there may be, and bytes that are signed without being one."""

from typing import Any

import msgpack  # pyright: ignore[reportMissingTypeStubs]
import pytest
from hypothesis import strategies as st

from protocol.errors import EnvelopeRefused
from protocol.keyring import Keyring
from protocol.layout import MOST_ENTRIES
from protocol.wire import ID_SIZE, VERSION, Envelope, Kind, unseal

LIMIT = 100_000
SECRET = b"s" * 16
KEYRING = Keyring({"key-1": SECRET}, signing="key-1")
CHANNEL = b"troupe:worker-1"
PREVIOUS = VERSION - 1
_msgpack: Any = msgpack

ENVELOPE = Envelope(
    kind=Kind.REQUEST,
    correlation=b"c" * ID_SIZE,
    sender="worker-1",
    sent_at=1_700_000_000.25,
    remaining=29.5,
    nonce=b"n" * ID_SIZE,
    payload=b"payload",
    trace={"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"},
)
BODY = (
    1,
    ENVELOPE.correlation,
    ENVELOPE.sender,
    ENVELOPE.sent_at,
    ENVELOPE.remaining,
    ENVELOPE.nonce,
    ENVELOPE.payload,
    ENVELOPE.trace,
)
PRINTABLE = "".join(map(chr, range(0x20, 0x7F)))

moments = st.floats(allow_nan=False, allow_infinity=False)
texts = st.text(PRINTABLE, min_size=1, max_size=20)
ids = st.binary(min_size=ID_SIZE, max_size=ID_SIZE)
envelopes = st.builds(
    Envelope,
    kind=st.sampled_from(Kind),
    correlation=ids,
    sender=texts,
    sent_at=moments,
    remaining=st.none() | moments,
    nonce=ids,
    payload=st.binary(max_size=500),
    trace=st.none() | st.dictionaries(texts, texts, max_size=MOST_ENTRIES),
)
plain = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=9) | ids
names = st.text(max_size=5) | st.integers(0, 9)
values = st.recursive(
    plain, lambda inner: st.lists(inner, max_size=9) | st.dictionaries(names, inner, max_size=9), max_leaves=12
)


def opened(data: bytes, keyring: Keyring = KEYRING, *, limit: int = LIMIT, channel: bytes = b"") -> Envelope:
    return unseal(data, keyring, limit=limit, channel=channel)


def refusal(data: bytes, keyring: Keyring = KEYRING, *, limit: int = LIMIT, channel: bytes = b"") -> EnvelopeRefused:
    with pytest.raises(EnvelopeRefused) as caught:
        unseal(data, keyring, limit=limit, channel=channel)
    assert caught.value.__cause__ is None
    return caught.value


def signed(body: bytes, version: int = VERSION, keyring: Keyring = KEYRING) -> bytes:
    """An envelope whose signature is right, whatever its body is."""
    key_id = keyring.signing.encode()
    data = bytes([version, len(key_id)]) + key_id + body
    return data + keyring.sign(b"0:", data)


def packed(body: object) -> bytes:
    return _msgpack.packb(body)


def changed(**changes: Any) -> Envelope:
    names = ("kind", "correlation", "sender", "sent_at", "remaining", "nonce", "payload", "trace")
    return Envelope(**{name: changes.get(name, getattr(ENVELOPE, name)) for name in names})
