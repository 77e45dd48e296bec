"""The end of a session, on its way to its owner."""

import pytest

from protocol.errors import EnvelopeRefused, Refusal
from protocol.remote_end import RemoteEnd
from protocol.wire import Kind
from tests.protocol.answered import rowed, spoilt

HELD = "held-1"


@pytest.mark.holds("C4")
def test_an_end_arrives_as_it_was() -> None:
    end = RemoteEnd("talk", HELD)
    assert RemoteEnd.unpack(end.pack()) == end
    assert end.pack() == rowed("talk", HELD)
    assert Kind.END == 13


@pytest.mark.holds("C8", "X1")
@pytest.mark.parametrize(
    "row", [("talk",), ("s3cret:1", HELD), ("", HELD), ("talk", ""), ("talk", None), ("a" * 129, "b")]
)
def test_what_is_no_end_is_refused(row: tuple[object, ...]) -> None:
    with pytest.raises(EnvelopeRefused) as refused:
        RemoteEnd.unpack(rowed(*row))
    assert refused.value.reason is Refusal.MALFORMED
    assert "s3cret" not in str(refused.value)
    spoilt(RemoteEnd.unpack, RemoteEnd("talk", HELD).pack())


def test_a_refusal_says_what_is_wrong() -> None:
    with pytest.raises(EnvelopeRefused) as refused:
        RemoteEnd.unpack(rowed("s3cret:1", HELD))
    assert str(refused.value) == "an end is of no session that there can be"


@pytest.mark.holds("C8")
def test_an_end_that_nobody_would_take_is_not_packed() -> None:
    with pytest.raises(EnvelopeRefused):
        RemoteEnd("talk", "").pack()
