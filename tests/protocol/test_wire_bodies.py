"""What is signed and still not taken: whatever the bytes of a body are, nothing else is raised."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import EnvelopeRefused, Refusal
from protocol.layout import LONGEST_TEXT, MOST_ENTRIES
from protocol.wire import LAYOUTS, LONGEST_SENDER, VERSION, Envelope, seal
from tests.protocol.sealed import (
    BODY,
    ENVELOPE,
    KEYRING,
    PREVIOUS,
    changed,
    envelopes,
    opened,
    packed,
    refusal,
    signed,
    values,
)

R = Refusal


# --- what is signed, and malformed ------------------------------------------------------------------------------------

WRONG: dict[str, list[Any]] = {
    "kind": [0, 15, -1, True, 1.0, None, "REQUEST", 2**63],
    "correlation": [b"", b"c" * 15, b"c" * 17, "c" * 16, None],
    "sender": ["", "s" * (LONGEST_SENDER + 1), "é", "a\nb", "\x7f", b"worker", None, 5],
    "sent_at": [math.nan, math.inf, -math.inf, 5, None, "1.0", True],
    "remaining": [math.nan, math.inf, -math.inf, 5, "1.0", False],
    "nonce": [b"", b"n" * 15, b"n" * 17, "n" * 16, None],
    "payload": ["payload", None, [b"p"], 5],
    "trace": [
        [],
        "traceparent",
        {"a": 5},
        {"a": None},
        {b"a": "b"},
        {"a": b"b"},
        {"": "b"},
        {"a": ""},
        {"é": "b"},
        {"a": "é"},
        {"a" * (LONGEST_TEXT + 1): "b"},
        {"a": "b" * (LONGEST_TEXT + 1)},
        {"a": {"b": "c"}},
        {str(n): "v" for n in range(MOST_ENTRIES + 1)},
        {5: "b"},
    ],
}
NAMES = tuple(WRONG)
UNREAD = "an envelope's body is not msgpack within its bounds"


@pytest.mark.holds("C8")
@pytest.mark.parametrize(("name", "value"), [(name, value) for name, each in WRONG.items() for value in each])
def test_a_field_that_is_not_of_its_kind_or_size_is_malformed(name: str, value: Any) -> None:
    body = [*BODY]
    body[NAMES.index(name)] = value
    error = refusal(signed(packed(body)))
    assert error.reason is R.MALFORMED
    assert str(error) in {f"an envelope's body has no {name} of the kind and size that it must have", UNREAD}
    if name != "trace":
        assert refusal(signed(packed(body[:-1]), PREVIOUS)).reason is R.MALFORMED


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("kind", 0),
        ("kind", 15),
        ("correlation", b"c"),
        ("sender", ""),
        ("sender", "\ud800"),
        ("sender", "s" * (LONGEST_SENDER + 1)),
        ("sent_at", math.nan),
        ("remaining", math.inf),
        ("nonce", b"n" * 17),
        ("payload", bytearray(b"p")),
        ("trace", {str(n): "v" for n in range(MOST_ENTRIES + 1)}),
        ("trace", {"tracestate": "é"}),
    ],
)
def test_what_nobody_would_take_is_not_sealed(name: str, value: Any) -> None:
    with pytest.raises(EnvelopeRefused, match=f"^an envelope's body has no {name} of the kind") as caught:
        seal(changed(**{name: value}), KEYRING)
    assert caught.value.reason is R.MALFORMED


@pytest.mark.holds("C8")
def test_a_body_has_as_many_fields_as_its_version() -> None:
    for version, fields in ((PREVIOUS, 7), (VERSION, 8)):
        for count in range(12):
            data = signed(packed([*BODY, None, None, None, None][:count]), version)
            if count == fields:
                assert opened(data).sender == ENVELOPE.sender
            else:
                error = refusal(data)
                assert error.reason is R.MALFORMED
                assert str(error) == f"an envelope's body has {count} values in place of {fields}"


@pytest.mark.holds("C8")
@pytest.mark.parametrize("body", [None, 5, "text", b"bytes", {}, True, 1.5])
def test_a_body_is_a_row(body: object) -> None:
    error = refusal(signed(packed(body)))
    assert (error.reason, str(error)) == (R.MALFORMED, "an envelope's body is no row of values")


def nested(opening: bytes, depth: int) -> bytes:
    return opening * depth + b"\xc0"


@pytest.mark.holds("C8")
@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"\xc1", id="no msgpack"),
        pytest.param(packed(BODY) + b"\0", id="something after the end"),
        pytest.param(packed(BODY)[:-1], id="an end too early"),
        pytest.param(b"\xdd\xff\xff\xff\xff", id="an array of 4 billion"),
        pytest.param(b"\xdf\xff\xff\xff\xff", id="a map of 4 billion"),
        pytest.param(b"\xc6\xff\xff\xff\xff", id="4 GB of bytes"),
        pytest.param(b"\xdb\xff\xff\xff\xff", id="4 GB of text"),
        pytest.param(b"\xdc\x00\x11" + b"\xc0" * 17, id="too long a row"),
        pytest.param(nested(b"\x91", 90_000), id="arrays in arrays"),
        pytest.param(nested(b"\x81\xa1a", 30_000), id="maps in maps"),
        pytest.param(b"\xa1\xff", id="text that is no UTF-8"),
        pytest.param(b"\x81\x90\xc0", id="a key that is a row"),
        pytest.param(b"\x81\x80\xc0", id="a key that cannot be one"),
        pytest.param(b"\xd4\x05\x00", id="an extension"),
        pytest.param(b"\xd6\xff\x00\x00\x00\x00", id="a timestamp"),
        pytest.param(b"\xc7\x0c\xff" + b"\xff" * 12, id="a timestamp that there is not"),
    ],
)
def test_msgpack_that_would_take_too_much_or_holds_what_has_no_business_here_is_malformed(body: bytes) -> None:
    error = refusal(signed(body))
    assert (error.reason, str(error)) == (R.MALFORMED, UNREAD)
    assert error.__suppress_context__


@pytest.mark.holds("C8")
@pytest.mark.parametrize("extension", [b"\xc7\x00\x05", b"\xc7\x00\xff"])
def test_an_extension_without_bytes_is_no_value_of_any_field(extension: bytes) -> None:
    assert refusal(signed(extension)).reason is R.MALFORMED
    for position in range(8):
        fields = [packed(value) for value in BODY]
        fields[position] = extension
        assert refusal(signed(b"\x98" + b"".join(fields))).reason is R.MALFORMED


# --- whatever the bytes are -------------------------------------------------------------------------------------------


def nothing_else_is_raised(data: bytes) -> None:
    try:
        envelope = opened(data)
    except EnvelopeRefused:
        return
    assert opened(seal(envelope, KEYRING)) == envelope


@pytest.mark.holds("C8")
@given(st.binary(max_size=300))
def test_of_arbitrary_bytes_nothing_is_raised_but_that_they_are_refused(data: bytes) -> None:
    refusal(data)
    nothing_else_is_raised(signed(data))
    nothing_else_is_raised(signed(data, PREVIOUS))


@pytest.mark.holds("C8")
@given(values, st.sampled_from(sorted(LAYOUTS)))
def test_of_arbitrary_msgpack_nothing_is_raised_but_that_it_is_refused(value: object, version: int) -> None:
    nothing_else_is_raised(signed(packed(value), version))


@pytest.mark.holds("C8")
@given(st.integers(0, 7), values, st.sampled_from(sorted(LAYOUTS)))
def test_of_an_arbitrary_field_nothing_is_raised_but_that_it_is_refused(at: int, value: object, version: int) -> None:
    body: list[object] = [*BODY]
    body[at] = value
    nothing_else_is_raised(signed(packed(body[: LAYOUTS[version].size]), version))


@pytest.mark.holds("C8")
@given(envelopes, st.sampled_from(sorted(LAYOUTS)), st.data())
def test_an_envelope_that_was_altered_is_refused_and_one_whose_body_was_altered_and_signed_does_no_harm(
    envelope: Envelope, version: int, data: st.DataObject
) -> None:
    sealed = seal(envelope, KEYRING, version=version)
    start = data.draw(st.integers(0, len(sealed)))
    end = data.draw(st.integers(start, min(len(sealed), start + 8)))
    altered = sealed[:start] + data.draw(st.binary(max_size=8)) + sealed[end:]
    if altered != sealed:
        refusal(altered)
    nothing_else_is_raised(signed(altered[7:-32], version))
