"""Records: what fields accept, and what is never built of the bytes, whatever fields accept."""

import math
from collections.abc import Callable
from typing import Any

import msgpack  # pyright: ignore[reportMissingTypeStubs]
import pytest

from protocol.errors import EnvelopeRefused, Refusal
from protocol.layout import (
    LONGEST_TEXT,
    MOST_ENTRIES,
    MOST_FIELDS,
    NUMBERS_END,
    Layout,
    is_bytes,
    is_flag,
    is_moment,
    is_number,
    is_text,
    or_none,
)

_msgpack: Any = msgpack


def anything(_: object) -> bool:
    return True


def pair() -> Layout:
    return Layout("a pair", {"number": is_number, "text": or_none(is_text)})


def refused(act: Callable[..., object], given: object) -> str:
    with pytest.raises(EnvelopeRefused) as caught:
        act(given)
    assert caught.value.reason is Refusal.MALFORMED
    return str(caught.value)


@pytest.mark.parametrize(
    ("accepts", "accepted", "others"),
    [
        (is_number, [0, 1, NUMBERS_END - 1], [-1, NUMBERS_END, True, 1.0, None, "1"]),
        (is_moment, [0.0, -1.5, 1e300], [math.nan, math.inf, -math.inf, 1, None, "1.0"]),
        (is_flag, [True, False], [0, 1, None, "", 1.0]),
        (
            is_text,
            ["a", " ~", "a" * LONGEST_TEXT],
            ["", "a" * (LONGEST_TEXT + 1), "é", "\n", "\x7f", b"a", None, ["a"]],
        ),
        (is_bytes, [b"", b"a"], ["", None, bytearray(b"a"), [1]]),
        (or_none(is_flag), [None, True], [0, "None"]),
    ],
)
def test_a_field_accepts_what_is_exactly_of_its_kind_and_size(
    accepts: Callable[[Any], bool], accepted: list[Any], others: list[Any]
) -> None:
    assert [accepts(value) for value in accepted] == [True] * len(accepted)
    assert [accepts(value) for value in others] == [False] * len(others)


def test_how_long_a_text_may_be_can_be_said() -> None:
    assert is_text("abc", 3)
    assert not is_text("abcd", 3)


def test_a_record_comes_out_as_it_was_and_is_a_row_on_the_wire() -> None:
    assert pair().size == 2
    for row in ((5, "five"), (5, None)):
        packed = pair().pack(row)
        assert packed == _msgpack.packb(row)
        assert pair().unpack(packed) == row


@pytest.mark.holds("C8")
def test_a_record_that_does_not_fit_is_refused_both_ways_by_what_it_is_and_the_field() -> None:
    for row, why in (
        ((-5, "five"), "a pair has no number of the kind and size that it must have"),
        ((5, ""), "a pair has no text of the kind and size that it must have"),
        ((5,), "a pair has 1 values in place of 2"),
        ((5, None, None), "a pair has 3 values in place of 2"),
    ):
        assert refused(pair().pack, row) == why
        assert refused(pair().unpack, _msgpack.packb(row)) == why
    assert refused(pair().unpack, _msgpack.packb({5: None})) == "a pair is not msgpack within its bounds"
    assert refused(pair().unpack, _msgpack.packb({"5": None})) == "a pair is no row of values"


@pytest.mark.holds("C8")
def test_what_is_over_the_bounds_is_not_built_whatever_the_field_accepts() -> None:
    layout = Layout("a record", {"value": anything})
    within: list[Any] = [
        "é" * (LONGEST_TEXT // 2),
        {str(number): number for number in range(MOST_ENTRIES)},
        (None,) * MOST_FIELDS,
        b"b" * 10 * LONGEST_TEXT,
    ]
    for value in within:
        assert layout.unpack(_msgpack.packb((value,))) == (value,)
    over: list[Any] = [
        "a" * (LONGEST_TEXT + 1),
        {str(number): number for number in range(MOST_ENTRIES + 1)},
        (None,) * (MOST_FIELDS + 1),
        _msgpack.ExtType(5, b"b"),
    ]
    for value in over:
        assert refused(layout.unpack, _msgpack.packb((value,))) == "a record is not msgpack within its bounds"
