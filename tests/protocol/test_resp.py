"""What a Redis says, read from bytes that come in pieces."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.resp import DEEPEST, LONGEST_LINE, Answers, NoAnswer, Refused, Said, packed

SAYINGS: list[tuple[bytes, Said]] = [
    (b"+PONG\r\n", b"PONG"),
    (b"+\r\n", b""),
    (b":1\r\n", 1),
    (b":-1\r\n", -1),
    (b"$0\r\n\r\n", b""),
    (b"$4\r\na\r\nb\r\n", b"a\r\nb"),
    (b"$-1\r\n", None),
    (b"*-1\r\n", None),
    (b"*0\r\n", []),
    (b"-READONLY it is a replica\r\n", Refused("READONLY it is a replica")),
    (b"-\xff\r\n", Refused("\ufffd")),
    (b"*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$2\r\nhi\r\n", [b"message", b"c", b"hi"]),
    (b"*2\r\n*2\r\n:1\r\n$-1\r\n+x\r\n", [[1, None], b"x"]),
]
NONSENSE = [
    b"HTTP/1.1 400 Bad Request\r\n",
    b"\r\n",
    b"!\r\n",
    b"*x\r\n",
    b":\r\n",
    b"$-7\r\n",
    b"*-2\r\n",
    b"$1\r\nabc\r\n",
    b"$1\r\na\rb",
    b"*1\r\n" * (DEEPEST + 1),
    b"+" + b"x" * LONGEST_LINE,
]


def read(*pieces: bytes) -> list[Said]:
    answers = Answers()
    return [said for piece in pieces for said in answers.feed(piece)]


@pytest.mark.parametrize(("written", "said"), SAYINGS)
def test_what_is_said_is_read(written: bytes, said: Said) -> None:
    assert read(written) == [said]


@given(st.lists(st.sampled_from(SAYINGS), min_size=1), st.data())
def test_it_is_read_the_same_in_whatever_pieces_it_comes(
    sayings: list[tuple[bytes, Said]], data: st.DataObject
) -> None:
    whole = b"".join(written for written, _ in sayings)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(whole)), max_size=len(whole))))
    pieces = [whole[start:end] for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    assert read(*pieces) == [said for _, said in sayings]


@pytest.mark.parametrize(("written", "said"), SAYINGS)
def test_each_is_given_with_its_last_byte_and_not_before(written: bytes, said: Said) -> None:
    answers = Answers()
    for place in range(len(written) - 1):
        assert list(answers.feed(written[place : place + 1])) == []
    assert list(answers.feed(written[-1:])) == [said]


@pytest.mark.parametrize("nonsense", NONSENSE)
def test_what_makes_no_sense_is_refused_and_what_came_before_it_is_given(nonsense: bytes) -> None:
    given_before: list[Said] = []
    with pytest.raises(NoAnswer):
        given_before.extend(iter(Answers().feed(nonsense)))
    answers = Answers().feed(b"+PONG\r\n" + nonsense)
    assert next(answers) == b"PONG"
    with pytest.raises(NoAnswer):
        next(answers)


@given(st.lists(st.binary(max_size=20) | st.sampled_from([b"*2\r\n", b"$3\r\n", b":", b"-", b"\r\n"])))
def test_whatever_the_bytes_are_nothing_else_is_raised(pieces: list[bytes]) -> None:
    with suppress(NoAnswer):
        read(*pieces)


def test_lists_may_be_within_each_other_to_a_depth() -> None:
    said: Said = 1
    for _ in range(DEEPEST):
        said = [said]
    assert read(b"*1\r\n" * DEEPEST + b":1\r\n") == [said]


def test_a_line_may_be_long() -> None:
    line = b"x" * (LONGEST_LINE - 1)
    assert read(b"+" + line, b"\r\n") == [line]


def test_how_much_came_before_a_line_says_nothing_of_how_long_it_is() -> None:
    answers = b"+PONG\r\n" * 8_000
    assert read(answers + b"+PO", b"NG\r\n") == [b"PONG"] * 8_001


def test_a_large_answer_in_many_pieces_is_not_looked_through_again_for_each() -> None:
    pieces = [b"x" * 1_000] * 20_000
    answers = Answers()
    assert list(answers.feed(b"*2\r\n:1\r\n$20000000\r\n")) == []
    for piece in pieces:
        assert list(answers.feed(piece)) == []
    (said,) = answers.feed(b"\r\n")
    assert said == [1, b"".join(pieces)]


def test_a_command_is_a_list_of_its_words() -> None:
    assert (
        packed(("SET", "ü", b"\x00\r\n", 15)) == b"*4\r\n$3\r\nSET\r\n$2\r\n\xc3\xbc\r\n$3\r\n\x00\r\n\r\n$2\r\n15\r\n"
    )
    assert read(packed(("SET", "ü", b"\x00\r\n", 15))) == [[b"SET", "ü".encode(), b"\x00\r\n", b"15"]]


def test_a_text_that_is_none_cannot_be_sent() -> None:
    with pytest.raises(ValueError, match="surrogates"):
        packed(("GET", "\ud800"))
