"""What a worker that leaves says to its heir: a session, and how it is held."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.bequest import pack_bequest, unpack_bequest
from protocol.bus import Holding
from protocol.errors import EnvelopeRefused, Refusal
from protocol.layout import Layout

HELD = Holding("worker-1", "token-1", "principal")


def anything(_: object) -> bool:
    return True


@pytest.mark.parametrize("held", [HELD, Holding("worker-1", "token-1", "")])
def test_a_bequest_comes_as_it_was_left(held: Holding) -> None:
    assert unpack_bequest(pack_bequest("session-1", held)) == ("session-1", held)


@pytest.mark.holds("C8")
@pytest.mark.parametrize(
    "row",
    [
        ("", ("worker-1", "token-1", "principal")),
        ("a session", ("worker-1", "token-1", "principal")),
        ("a" * 129, ("worker-1", "token-1", "principal")),
        (1, ("worker-1", "token-1", "principal")),
        ("session-1", ("worker-1", "token-1")),
        ("session-1", None),
        ("session-1", ("w" * 129, "token-1", "principal")),
    ],
)
def test_what_is_no_bequest_is_refused(row: tuple[object, ...]) -> None:
    packed = Layout("a row", {"session": anything, "holding": anything}).pack(row)
    with pytest.raises(EnvelopeRefused, match="a bequest has no ") as refused:
        unpack_bequest(packed)
    assert refused.value.reason is Refusal.MALFORMED


@pytest.mark.holds("C8")
@given(st.binary(max_size=100))
def test_no_bytes_raise_anything_else(data: bytes) -> None:
    with suppress(EnvelopeRefused):
        unpack_bequest(data)


def test_what_nobody_would_take_is_not_left() -> None:
    with pytest.raises(EnvelopeRefused):
        pack_bequest("no such\n", HELD)
