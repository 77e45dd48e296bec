"""Envelopes: what is sealed is what comes out, and what was not sealed so is refused before it is read."""

import hmac
import string

import msgpack  # pyright: ignore[reportMissingTypeStubs]
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from protocol.errors import EnvelopeRefused, Refusal
from protocol.keyring import Keyring
from protocol.layout import LONGEST_TEXT, MOST_ENTRIES
from protocol.wire import LAYOUTS, LONGEST_SENDER, Envelope, Kind, seal, unseal
from tests.protocol.sealed import (
    BODY,
    CHANNEL,
    ENVELOPE,
    KEYRING,
    LIMIT,
    PREVIOUS,
    SECRET,
    changed,
    envelopes,
    opened,
    packed,
    refusal,
    signed,
)

R = Refusal


# --- there and back ---------------------------------------------------------------------------------------------------


@pytest.mark.holds("C8")
@given(envelopes, st.binary(max_size=30))
def test_what_is_sealed_comes_out_as_it_was(envelope: Envelope, channel: bytes) -> None:
    data = seal(envelope, KEYRING, channel=channel)
    assert opened(data, channel=channel) == envelope
    assert opened(data, channel=channel, limit=len(data)) == envelope
    assert unseal(seal(envelope, KEYRING), KEYRING, limit=LIMIT) == envelope


@pytest.mark.holds("C8")
@given(envelopes)
def test_the_version_before_is_written_and_understood_and_has_no_trace(envelope: Envelope) -> None:
    data = seal(envelope, KEYRING, version=PREVIOUS)
    assert data[0] == PREVIOUS
    envelope = opened(data)
    assert envelope.trace is None
    assert opened(seal(envelope, KEYRING)) == envelope


def test_an_envelope_is_laid_out_as_it_is_documented() -> None:
    data = seal(ENVELOPE, KEYRING, channel=CHANNEL)
    before, signature = data[:-32], data[-32:]
    assert before == b"\x02\x05key-1" + packed(BODY)
    assert signature == KEYRING.sign(b"15:troupe:worker-1" + before)
    assert seal(ENVELOPE, KEYRING, version=PREVIOUS)[:-32] == b"\x01\x05key-1" + packed(BODY[:-1])
    assert [kind.value for kind in Kind] == list(range(1, 15))
    assert (Kind.REQUEST, Kind.ACCEPTED, Kind.RESULT, Kind.FAILURE) == (1, 2, 3, 4)
    assert (Kind.NOT_OWNER, Kind.REJECTED, Kind.CANCEL, Kind.NOTE) == (5, 6, 7, 8)
    assert (Kind.CHUNK, Kind.CREDIT, Kind.HELLO, Kind.LEAVING) == (9, 10, 11, 12)
    assert sorted(LAYOUTS) == [1, 2]


@pytest.mark.parametrize("kind", Kind)
def test_every_kind_comes_out_as_itself(kind: Kind) -> None:
    assert opened(seal(changed(kind=kind), KEYRING)).kind is kind


def test_moments_given_as_whole_numbers_are_the_same_moments() -> None:
    envelope = opened(seal(changed(sent_at=5, remaining=3), KEYRING))
    assert (envelope.sent_at, envelope.remaining) == (5.0, 3.0)
    assert type(envelope.sent_at) is type(envelope.remaining) is float


def test_every_field_may_be_as_large_as_it_is_said() -> None:
    trace = {f"{n:0{LONGEST_TEXT}}": "v" * LONGEST_TEXT for n in range(MOST_ENTRIES)}
    envelope = changed(sender="s" * LONGEST_SENDER, trace=trace, payload=b"p" * 70_000)
    assert opened(seal(envelope, KEYRING)) == envelope
    assert opened(seal(changed(payload=b"", trace={}), KEYRING)) == changed(payload=b"", trace={})


@pytest.mark.holds("X1")
def test_neither_the_payload_nor_the_trace_is_in_a_repr() -> None:
    envelope = changed(payload=b"s3cret", trace={"tracestate": "s3cret"})
    assert "s3cret" not in repr(envelope)
    assert "worker-1" in repr(envelope)


# --- keys and channels ------------------------------------------------------------------------------------------------


@pytest.mark.holds("C8")
def test_while_secrets_rotate_what_the_old_key_signed_is_taken_and_the_new_one_signs() -> None:
    old, new = b"o" * 16, b"n" * 16
    before, between, after = Keyring.of(old), Keyring.of(new, old), Keyring.of(new)
    assert opened(seal(ENVELOPE, before), between) == ENVELOPE
    assert opened(seal(ENVELOPE, between), after) == ENVELOPE
    assert refusal(seal(ENVELOPE, before), after).reason is R.UNKNOWN_KEY
    assert refusal(seal(ENVELOPE, between), before).reason is R.UNKNOWN_KEY


@pytest.mark.holds("C8")
def test_one_who_names_a_key_without_having_it_is_refused() -> None:
    thief = Keyring({"key-1": b"x" * 16}, signing="key-1")
    error = refusal(seal(ENVELOPE, thief))
    assert (error.reason, str(error)) == (R.FORGED, "an envelope's signature is wrong")
    assert refusal(seal(ENVELOPE, Keyring.public())).reason is R.UNKNOWN_KEY
    error = refusal(signed(packed(BODY), keyring=Keyring({"s3cret": SECRET}, signing="s3cret")))
    assert (error.reason, str(error)) == (R.UNKNOWN_KEY, "an envelope is signed with a key that is not here")


@pytest.mark.holds("C8")
@given(st.binary(max_size=12), st.binary(max_size=12))
@example(b"", b"0:")
@example(b"1", b"11")
def test_what_was_published_on_one_channel_is_forged_on_another(one: bytes, other: bytes) -> None:
    data = seal(ENVELOPE, KEYRING, channel=one)
    if one == other:
        assert opened(data, channel=other) == ENVELOPE
    else:
        assert refusal(data, channel=other).reason is R.FORGED


def test_the_letters_of_a_key_id_do_not_matter_to_an_envelope() -> None:
    for key_id in ("a", string.ascii_letters[:16]):
        keyring = Keyring({key_id: SECRET}, signing=key_id)
        assert opened(seal(ENVELOPE, keyring), keyring) == ENVELOPE


# --- what is not taken ------------------------------------------------------------------------------------------------


@pytest.mark.holds("C8")
@pytest.mark.parametrize("version", LAYOUTS)
def test_every_single_bit_that_is_flipped_is_noticed(version: int) -> None:
    data = seal(ENVELOPE, KEYRING, version=version)
    for position in range(len(data)):
        for bit in range(8):
            flipped = bytearray(data)
            flipped[position] ^= 1 << bit
            reason = refusal(bytes(flipped)).reason
            if position == 0:
                assert reason in {R.UNKNOWN_VERSION, R.FORGED}
            elif position == 1:
                assert reason in {R.UNKNOWN_KEY, R.TOO_SHORT}
            else:
                assert reason is (R.UNKNOWN_KEY if position < 7 else R.FORGED)


@pytest.mark.holds("C8")
@pytest.mark.parametrize("version", LAYOUTS)
def test_every_truncation_and_every_byte_too_many_is_noticed(version: int) -> None:
    data = seal(ENVELOPE, KEYRING, version=version)
    for size in range(len(data)):
        assert refusal(data[:size]).reason is (R.TOO_SHORT if size <= 7 + 32 else R.FORGED)
        assert refusal(data[-size:] if size else b"").reason in {R.TOO_SHORT, R.UNKNOWN_VERSION, R.UNKNOWN_KEY}
    assert refusal(data + b"\0").reason is R.FORGED
    assert refusal(data * 2).reason is R.FORGED


@pytest.mark.holds("C8")
def test_what_is_shorter_than_its_parts_is_refused_by_its_length() -> None:
    error = refusal(b"\x02\x01a" + b"\0" * 32)
    assert (error.reason, str(error)) == (R.TOO_SHORT, "an envelope has 35 bytes, which is less than its parts")
    assert refusal(b"\x02\x01a" + b"\0" * 33).reason is R.UNKNOWN_KEY
    error = refusal(b"\x02\x02aa" + b"\0" * 32)
    assert (error.reason, str(error)) == (R.TOO_SHORT, "an envelope has 36 bytes, which is less than its parts")
    assert refusal(b"\x02\xff" + b"\0" * 40).reason is R.TOO_SHORT
    assert refusal(b"\x02\x00" + b"\0" * 40).reason is R.UNKNOWN_KEY


@pytest.mark.holds("C8")
def test_what_is_unsigned_is_refused() -> None:
    data = seal(ENVELOPE, KEYRING)
    assert refusal(data[:-32]).reason is R.FORGED
    assert refusal(data[:-32] + b"\0" * 32).reason is R.FORGED
    assert refusal(packed(BODY)).reason is R.UNKNOWN_VERSION


@pytest.mark.holds("C8")
@pytest.mark.parametrize("version", [0, 3, 255])
def test_an_unknown_version_is_refused_before_anything_else_of_it_is_read(version: int) -> None:
    error = refusal(signed(packed(BODY), version))
    assert (error.reason, str(error)) == (R.UNKNOWN_VERSION, f"an envelope is of version {version}")
    assert refusal(bytes([version]) * 36).reason is R.UNKNOWN_VERSION
    with pytest.raises(EnvelopeRefused, match=f"^there is no version {version} of envelopes$") as caught:
        seal(ENVELOPE, KEYRING, version=version)
    assert caught.value.reason is R.UNKNOWN_VERSION


@pytest.mark.holds("C8")
def test_what_is_too_large_is_refused_before_anything_of_it_is_read() -> None:
    data = seal(ENVELOPE, KEYRING)
    error = refusal(data, limit=len(data) - 1)
    assert error.reason is R.TOO_LARGE
    assert str(error) == f"an envelope has {len(data)} bytes, and may have {len(data) - 1}"
    assert refusal(b"\xff" * 10, limit=9).reason is R.TOO_LARGE


@pytest.mark.holds("C8")
def test_nothing_is_unpacked_whose_signature_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    data = seal(ENVELOPE, KEYRING)

    def unpack(*_: object, **__: object) -> None:
        raise AssertionError("it was unpacked")

    monkeypatch.setattr(msgpack, "unpackb", unpack)
    assert refusal(data[:-1] + bytes([data[-1] ^ 1])).reason is R.FORGED
    with pytest.raises(AssertionError, match="it was unpacked"):
        opened(data)


def test_signatures_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return True

    data = seal(ENVELOPE, KEYRING)
    monkeypatch.setattr(hmac, "compare_digest", compare)
    assert opened(data[:-32] + b"x" * 32) == ENVELOPE
    assert compared == [(data[-32:], b"x" * 32)]
