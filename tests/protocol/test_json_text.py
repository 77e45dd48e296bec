"""JSON between workers: what was written is read as it was."""

import math
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import EnvelopeRefused, Refusal
from protocol.json_text import as_object, from_json, to_json
from tests.protocol.answered import bits_of, json_values, tried


@pytest.mark.holds("C4")
@given(json_values)
def test_what_is_written_is_read_bit_for_bit(value: Any) -> None:
    assert bits_of(from_json(to_json(value))) == bits_of(value)


@pytest.mark.holds("C4")
@pytest.mark.parametrize(
    ("value", "text"),
    [
        (math.nan, b"NaN"),
        (math.inf, b"Infinity"),
        (-math.inf, b"-Infinity"),
        (-0.0, b"-0.0"),
        (5e-324, b"5e-324"),
        (2**64 + 1, b"18446744073709551617"),
        ([10**4299], b"[1" + b"0" * 4299 + b"]"),
        ("\ud800", b'"\xed\xa0\x80"'),
        ("\ud83d\ude00", b'"\xed\xa0\xbd\xed\xb8\x80"'),
        ("é\0\u2028", b'"\xc3\xa9\\u0000\xe2\x80\xa8"'),
        ({"a": [None, True]}, b'{"a":[null,true]}'),
    ],
)
def test_numbers_that_are_none_or_large_and_halves_of_characters_are_kept(value: Any, text: bytes) -> None:
    assert to_json(value) == text
    assert bits_of(from_json(text)) == bits_of(value)


def looped() -> list[Any]:
    loop: list[Any] = []
    loop.append(loop)
    return loop


def deep() -> list[Any]:
    bottom: list[Any] = []
    for _ in range(100_000):
        bottom = [bottom]
    return bottom


@pytest.mark.holds("X1")
@pytest.mark.parametrize("value", [{"s3cret": {1}}, {("s3cret",): 1}, b"s3cret", looped(), deep(), [10**5000]])
def test_what_json_cannot_say_is_refused_and_not_quoted(value: Any) -> None:
    with pytest.raises(
        EnvelopeRefused, match=r"a value cannot be said in JSON \((Type|Value|Recursion)Error\)"
    ) as caught:
        to_json(value)
    assert caught.value.reason is Refusal.MALFORMED
    assert "s3cret" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.holds("C8", "X1")
@pytest.mark.parametrize(
    "text",
    [b"", b"s3cret", b"[", b"[1,]", b"\xff", b"\xef\xbb\xbf1", b'"\n"', b"[" * 100_000, b"1" * 5000, b"{1:2}", b"1 2"],
)
def test_bytes_that_are_no_json_are_refused_and_not_quoted(text: bytes) -> None:
    with pytest.raises(EnvelopeRefused, match=r"^a text is not JSON$") as caught:
        from_json(text)
    assert caught.value.reason is Refusal.MALFORMED
    assert caught.value.__cause__ is None


@pytest.mark.holds("C8")
@given(st.binary(max_size=60))
def test_whatever_the_bytes_are_nothing_else_is_raised(text: bytes) -> None:
    tried(lambda text: from_json(to_json(from_json(text))), text)


@pytest.mark.parametrize("value", [None, [], "s3cret", 1, True, (("a", 1),)])
def test_only_an_object_is_an_object(value: Any) -> None:
    with pytest.raises(EnvelopeRefused, match=r"^there is no JSON object where there must be one$") as caught:
        as_object(value)
    assert caught.value.reason is Refusal.MALFORMED
    assert as_object({"a": 1}) == {"a": 1}


def test_bits_tell_apart_what_is_equal() -> None:
    assert len({repr(bits_of(value)) for value in (0, 0.0, -0.0, False, "0", [0], math.nan)}) == 7
    assert bits_of(math.nan) == struct.pack(">d", math.nan)
