"""Large payloads in parts: they come out as they went in, in whatever order the parts come, under credit."""

import math
from typing import Any

import msgpack  # pyright: ignore[reportMissingTypeStubs]
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from protocol.chunks import (
    CHUNK_SIZE,
    WINDOW,
    Chunk,
    Incoming,
    Outgoing,
    pack_chunk,
    pack_credit,
    unpack_chunk,
    unpack_credit,
)
from protocol.errors import EnvelopeRefused, Refusal
from protocol.layout import NUMBERS_END

R = Refusal
LIMIT = 1_000
_msgpack: Any = msgpack

chunks = st.builds(
    Chunk,
    number=st.integers(0, NUMBERS_END - 1),
    total=st.none() | st.integers(0, NUMBERS_END - 1),
    is_last=st.booleans(),
    part=st.binary(max_size=100),
)

small_chunks = st.builds(Chunk, st.integers(0, 9), st.none() | st.integers(0, 9), st.booleans(), st.binary(max_size=4))


def chunk(number: int, part: bytes = b"p", *, total: int | None = None, is_last: bool = False) -> Chunk:
    return Chunk(number, total, is_last, part)


def refusal(incoming: Incoming, wrong: Chunk) -> tuple[Refusal, str]:
    """Why it is refused; that changes nothing."""
    before = {name: repr(getattr(incoming, name)) for name in Incoming.__slots__}
    with pytest.raises(EnvelopeRefused) as caught:
        incoming.take(wrong)
    assert {name: repr(getattr(incoming, name)) for name in Incoming.__slots__} == before
    return caught.value.reason, str(caught.value)


# --- on the wire ------------------------------------------------------------------------------------------------------


@given(chunks)
def test_a_chunk_comes_out_as_it_was(given: Chunk) -> None:
    assert unpack_chunk(pack_chunk(given)) == given


@given(st.integers(0, NUMBERS_END - 1))
def test_a_grant_comes_out_as_it_was(below: int) -> None:
    assert unpack_credit(pack_credit(below)) == below


def test_chunks_and_grants_are_laid_out_as_rows() -> None:
    assert pack_chunk(Chunk(3, 500, is_last=True, part=b"part")) == _msgpack.packb((3, 500, True, b"part"))
    assert pack_credit(12) == _msgpack.packb((12,))
    assert (CHUNK_SIZE, WINDOW) == (65_536, 8), "both are part of the wire"
    largest = chunk(0, b"p" * CHUNK_SIZE)
    assert unpack_chunk(pack_chunk(largest)) == largest


@pytest.mark.holds("C8")
@pytest.mark.parametrize(
    ("name", "row"),
    [(name, (wrong, None, False, b"")) for name, wrong in [("number", -1), ("number", True), ("number", 1.0)]]
    + [(name, (0, wrong, False, b"")) for name, wrong in [("total", -1), ("total", False), ("total", "5")]]
    + [(name, (0, None, wrong, b"")) for name, wrong in [("is_last", 0), ("is_last", 1), ("is_last", None)]]
    + [(name, (0, None, True, wrong)) for name, wrong in [("part", "p"), ("part", None), ("part", b"p" * 65_537)]],
)
def test_a_chunk_with_a_field_that_is_not_of_its_kind_or_size_is_malformed(name: str, row: Any) -> None:
    for refuse in (lambda: unpack_chunk(_msgpack.packb(row)), lambda: pack_chunk(Chunk(*row))):
        with pytest.raises(EnvelopeRefused) as caught:
            refuse()
        assert caught.value.reason is R.MALFORMED
        assert str(caught.value) == f"a chunk has no {name} of the kind and size that it must have"


@pytest.mark.holds("C8")
@pytest.mark.parametrize("below", [-1, True, 1.5, None, "5", math.inf, NUMBERS_END])
def test_a_grant_that_is_no_number_is_malformed(below: Any) -> None:
    for refuse in (lambda: unpack_credit(_msgpack.packb((below,))), lambda: pack_credit(below)):
        with pytest.raises(EnvelopeRefused) as caught:
            refuse()
        assert caught.value.reason is R.MALFORMED
        assert str(caught.value) == "a grant of credit has no below of the kind and size that it must have"


@pytest.mark.holds("C8")
@given(st.binary(max_size=60))
@example(b"")
@example(b"\x91" * 50_000)
@example(pack_credit(5))
@example(pack_chunk(chunk(0)))
def test_of_arbitrary_bytes_nothing_is_raised_but_that_they_are_malformed(payload: bytes) -> None:
    reasons: set[Refusal] = set()
    for unpack in (unpack_chunk, unpack_credit):
        try:
            unpack(payload)
        except EnvelopeRefused as error:
            reasons.add(error.reason)
    assert reasons <= {R.MALFORMED}


@pytest.mark.holds("X1")
def test_a_chunks_bytes_are_not_in_its_repr() -> None:
    assert "s3cret" not in repr(chunk(0, b"s3cret"))


# --- the two sides ----------------------------------------------------------------------------------------------------


@given(st.binary(max_size=60), st.integers(1, 9), st.integers(1, 6), st.randoms(use_true_random=False))
def test_a_payload_comes_out_whole_of_chunks_in_any_order_and_twice_and_no_more_is_under_way_than_there_is_credit(
    payload: bytes, size: int, window: int, random: Any
) -> None:
    outgoing, incoming = Outgoing(payload, window, size=size), Incoming(len(payload), window)
    chunks: list[Chunk] = []
    grants: list[int] = []
    taken: set[int] = set()
    granted = window
    while not incoming.is_complete:
        fresh = list(outgoing.due())
        chunks += fresh * random.choice((1, 1, 2))
        assert all(one.number < granted for one in fresh)
        assert len({one.number for one in chunks} - taken) <= window
        if grants and (not chunks or random.random() < 0.5):
            outgoing.grant(grants.pop(random.randrange(len(grants))))
            continue
        assert chunks, "both sides wait for each other"
        came = chunks.pop(random.randrange(len(chunks)))
        below = incoming.take(came)
        taken.add(came.number)
        if below is not None:
            assert below > granted
            assert below - len(incoming.payload) // size <= window
            granted = below
            grants += [below] * random.choice((1, 1, 2))
        assert len(incoming._early) < window  # pyright: ignore[reportPrivateUsage]
    assert outgoing.is_done
    assert incoming.payload == payload
    for late in chunks:
        assert incoming.take(late) is None
    assert incoming.payload == payload


def test_a_payload_is_cut_into_numbered_chunks_that_say_how_much_there_is_and_which_is_the_last() -> None:
    outgoing = Outgoing(b"abcdefg", 10, size=3)
    assert not outgoing.is_done
    assert list(outgoing.due()) == [
        Chunk(0, 7, is_last=False, part=b"abc"),
        Chunk(1, 7, is_last=False, part=b"def"),
        Chunk(2, 7, is_last=True, part=b"g"),
    ]
    assert outgoing.is_done
    assert list(outgoing.due()) == []
    assert [one.part for one in Outgoing(b"abcdef", 10, size=3).due()] == [b"abc", b"def"]
    assert [len(one.part) for one in Outgoing(b"p" * (CHUNK_SIZE + 1)).due()] == [CHUNK_SIZE, 1]
    assert len(list(Outgoing(b"p" * CHUNK_SIZE * 20).due())) == WINDOW


def test_an_empty_payload_is_one_chunk() -> None:
    (only,) = Outgoing(b"").due()
    assert only == Chunk(0, 0, is_last=True, part=b"")
    incoming = Incoming(0)
    assert not incoming.is_complete
    assert incoming.take(only) is None
    assert incoming.is_complete
    assert incoming.payload == b""
    unannounced = Incoming(0)
    unannounced.take(chunk(0, b"", is_last=True))
    assert unannounced.is_complete


def test_chunks_are_sent_while_there_is_credit_and_a_grant_that_comes_twice_or_late_adds_none() -> None:
    outgoing = Outgoing(b"abcdef", 2, size=1)

    def due() -> list[int]:
        return [one.number for one in outgoing.due()]

    assert due() == [0, 1]
    assert due() == []
    outgoing.grant(4)
    outgoing.grant(3)
    outgoing.grant(4)
    assert due() == [2, 3]
    assert not outgoing.is_done
    outgoing.grant(1_000)
    assert due() == [4, 5]
    assert list(Outgoing(b"a", 0).due()) == []


def test_a_chunk_that_is_taken_counts_as_sent_when_the_rest_is_not() -> None:
    outgoing = Outgoing(b"abc", 3, size=1)
    assert next(outgoing.due()).number == 0
    assert [one.number for one in outgoing.due()] == [1, 2]


def test_credit_is_given_back_half_a_window_at_a_time_for_what_is_there_without_a_gap() -> None:
    incoming = Incoming(LIMIT, 4)
    answers = [incoming.take(chunk(number)) for number in (1, 2, 3)]
    assert answers == [None, None, None]
    assert incoming.payload == b""
    assert incoming.take(chunk(0)) == 8
    assert [incoming.take(chunk(number)) for number in (4, 5, 6, 7)] == [None, 10, None, 12]
    assert incoming.payload == b"p" * 8
    assert incoming.take(chunk(9, is_last=True)) is None
    assert incoming.take(chunk(8)) is None, "nothing more will be sent"
    assert incoming.is_complete
    odd = Incoming(LIMIT, 3)
    assert [odd.take(chunk(number)) for number in range(4)] == [None, 5, None, 7]
    one = Incoming(LIMIT, 1)
    assert [one.take(chunk(number)) for number in range(3)] == [2, 3, 4]
    assert [Incoming(LIMIT).take(chunk(number)) for number in range(WINDOW)] == [None] * WINDOW


def test_a_body_whose_length_nobody_knows_yet_ends_with_the_chunk_that_is_marked() -> None:
    incoming = Incoming(LIMIT)
    for number, part in enumerate((b"ab", b"c", b"def")):
        incoming.take(chunk(number, part))
        assert not incoming.is_complete
    incoming.take(chunk(3, b"", is_last=True))
    assert incoming.is_complete
    assert incoming.payload == b"abcdef"


# --- what is refused --------------------------------------------------------------------------------------------------


def test_a_chunk_that_is_there_already_is_ignored_whatever_it_says() -> None:
    incoming = Incoming(LIMIT, 3)
    incoming.take(chunk(0, b"a", total=3))
    incoming.take(chunk(2, b"c", total=3, is_last=True))
    for number in (0, 2):
        assert incoming.take(chunk(number, b"xyz", total=9)) is None
    incoming.take(chunk(1, b"b", total=3))
    assert incoming.payload == b"abc"


@pytest.mark.holds("C8")
def test_a_chunk_beyond_the_credit_is_refused() -> None:
    incoming = Incoming(LIMIT, 2)
    assert refusal(incoming, chunk(2)) == (R.MALFORMED, "chunk 2 has come, and only those below 2 were granted")
    assert incoming.take(chunk(0)) == 3
    assert refusal(incoming, chunk(3))[0] is R.MALFORMED
    assert incoming.take(chunk(2)) is None


@pytest.mark.holds("C8")
def test_the_last_chunk_is_the_last() -> None:
    incoming = Incoming(LIMIT, 8)
    incoming.take(chunk(3, is_last=True))
    assert refusal(incoming, chunk(4)) == (R.MALFORMED, "chunk 4 has come, and 3 was the last")
    assert refusal(incoming, chunk(2, is_last=True)) == (R.MALFORMED, "chunk 2 has come, and 3 was the last")
    incoming = Incoming(LIMIT, 8)
    incoming.take(chunk(5))
    assert refusal(incoming, chunk(3, is_last=True)) == (
        R.MALFORMED,
        "chunk 3 is said to be the last, and a later one is there",
    )
    incoming.take(chunk(6, is_last=True))


@pytest.mark.holds("C8")
def test_an_empty_chunk_is_refused_where_it_is_not_the_last() -> None:
    assert refusal(Incoming(LIMIT), chunk(1, b"")) == (R.MALFORMED, "chunk 1 is empty, and not the last")


@pytest.mark.holds("C8")
def test_more_than_the_limit_is_refused_when_it_is_announced_and_else_when_it_comes() -> None:
    incoming = Incoming(10)
    assert refusal(incoming, chunk(0, total=11)) == (R.TOO_LARGE, "a payload has 11 bytes, and may have 10")
    incoming.take(chunk(1, b"p" * 6))
    assert refusal(incoming, chunk(0, b"p" * 5)) == (R.TOO_LARGE, "a payload has 11 bytes, and may have 10")
    incoming.take(chunk(0, b"p" * 4))
    incoming.take(chunk(2, b"", is_last=True))
    assert len(incoming.payload) == 10
    exact = Incoming(10)
    exact.take(chunk(0, b"p" * 10, total=10, is_last=True))
    assert exact.is_complete


@pytest.mark.holds("C8")
def test_a_length_that_was_announced_and_is_wrong_is_refused_as_soon_as_it_turns_out() -> None:
    incoming = Incoming(LIMIT)
    assert refusal(incoming, chunk(0, b"ppp", total=2)) == (
        R.MALFORMED,
        "a payload has 3 bytes, and was said to have 2",
    )
    assert refusal(incoming, chunk(0, b"p", total=2, is_last=True)) == (
        R.MALFORMED,
        "a payload has 1 bytes, and was said to have 2",
    )
    incoming.take(chunk(1, b"p", total=3, is_last=True))
    assert refusal(incoming, chunk(0, b"p", total=3))[1] == "a payload has 2 bytes, and was said to have 3"
    incoming.take(chunk(0, b"pp", total=3))
    assert incoming.is_complete


@pytest.mark.holds("C8")
@pytest.mark.parametrize(("one", "other"), [(5, 6), (5, None), (None, 5), (0, None)])
def test_all_chunks_of_a_payload_announce_the_same(one: int | None, other: int | None) -> None:
    for number in (0, 1):
        incoming = Incoming(LIMIT)
        first = chunk(number, b"" if one == 0 else b"p", total=one, is_last=one == 0)
        incoming.take(first)
        if not incoming.is_complete:
            last = chunk(1 - number, total=other, is_last=False)
            assert refusal(incoming, last) == (
                R.MALFORMED,
                "two chunks of a payload differ in how many bytes it has in all",
            )


@pytest.mark.holds("C8")
@given(st.lists(small_chunks))
def test_whatever_chunks_come_nothing_else_is_raised_and_what_is_kept_is_bounded(came: list[Chunk]) -> None:
    incoming = Incoming(12, 4)
    reasons: set[Refusal] = set()
    for one in came:
        try:
            incoming.take(one)
        except EnvelopeRefused as error:
            reasons.add(error.reason)
        kept = len(incoming.payload) + sum(map(len, incoming._early.values()))  # pyright: ignore[reportPrivateUsage]
        assert kept <= 12
        assert len(incoming._early) < 4  # pyright: ignore[reportPrivateUsage]
        if incoming.is_complete:
            assert not incoming._early  # pyright: ignore[reportPrivateUsage]
    assert reasons <= {R.MALFORMED, R.TOO_LARGE}
