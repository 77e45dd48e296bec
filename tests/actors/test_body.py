"""Bodies and their events: taken apart the same however they come in, and never more of them kept than the limit."""

import gzip
import zlib
from itertools import pairwise

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.body import PIECE, Inflater, Malformed, TooLarge, take
from actors.event_source import HEAD, Event, EventSource
from tests.actors.wire import Stream

ENDS = st.sampled_from([b"\n\n", b"\r\n\r\n", b"\r\r"])
PARTS = st.lists(st.tuples(st.text("abc: dt", min_size=1, max_size=20).map(str.encode), ENDS), max_size=8)


def cut(body: bytes, at: list[int]) -> list[bytes]:
    places = [0, *sorted(place % (len(body) + 1) for place in at), len(body)]
    return [body[start:end] for start, end in pairwise(places)]


@given(PARTS, st.lists(st.integers(0, 500), max_size=10))
def test_events_are_the_same_however_the_stream_is_cut(parts: list[tuple[bytes, bytes]], at: list[int]) -> None:
    body = b"".join(text + end for text, end in parts)
    events = EventSource(10_000)
    found = [event.raw for part in cut(body, at) for event in events.feed(part)]
    assert found == [text + end for text, end in parts]
    assert events.rest() == b""


@given(st.lists(st.integers(1, 3_000), min_size=1, max_size=8), st.lists(st.integers(0, 20_000), max_size=20))
def test_an_event_over_the_limit_is_cut_once_and_the_next_one_is_whole(sizes: list[int], at: list[int]) -> None:
    limit = 1_000
    body = b"".join(b"x" * size + b"\n\n" for size in sizes)
    events = EventSource(limit)
    found: list[Event] = []
    for part in cut(body, at):
        for event in events.feed(part):
            found.append(event)
            assert len(events.rest()) <= len(body)
        assert len(events.rest()) <= limit
    assert [event.is_cut for event in found] == [size + 2 > limit for size in sizes]
    assert all(len(event.raw) <= (HEAD if event.is_cut else limit) for event in found)


@pytest.mark.parametrize(
    ("raw", "read"),
    [
        (b"data: a\ndata:b\n\n", ("message", b"a\nb", False)),
        (b": comment\r\nevent: endpoint\r\ndata: /x\r\n\r\n", ("endpoint", b"/x", False)),
        (b"id: 7\ndata\n\n", ("message", b"", True)),
    ],
)
def test_an_event_is_read_as_the_standard_says(raw: bytes, read: tuple[str, bytes, bool]) -> None:
    assert Event(raw).read() == read


@given(st.binary(max_size=5_000), st.sampled_from(["gzip", "zlib", "raw"]), st.lists(st.integers(0, 5_000), max_size=9))
def test_what_was_encoded_is_decoded_however_it_is_cut(text: bytes, how: str, at: list[int]) -> None:
    raw = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    encoded = {"gzip": gzip.compress(text), "zlib": zlib.compress(text), "raw": raw.compress(text) + raw.flush()}[how]
    inflater = Inflater("gzip" if how == "gzip" else "deflate")
    assert b"".join(piece for part in cut(encoded, at) for piece in inflater.inflate(part)) == text


def test_a_bomb_is_decoded_a_bounded_piece_at_a_time() -> None:
    pieces = Inflater("gzip").inflate(gzip.compress(b" " * 50_000_000))
    assert max(len(piece) for piece, _ in zip(pieces, range(100), strict=False)) <= PIECE


@pytest.mark.parametrize("encoding", ["br", "gzip, gzip", "zstd"])
def test_an_encoding_that_was_not_asked_for_is_refused(encoding: str) -> None:
    with pytest.raises(Malformed):
        Inflater(encoding)


async def test_a_body_is_taken_up_to_the_limit_and_no_further() -> None:
    for size, fits in ((10, True), (11, False)):
        response = httpx2.Response(200, stream=Stream(b"x" * 5, b"x" * (size - 5)))
        if fits:
            assert await take(response, 10) == b"x" * 10
        else:
            with pytest.raises(TooLarge):
                await take(response, 10)
