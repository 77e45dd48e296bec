"""What a forwarded request says of a lease, and that one which says nothing of any is as it always was."""

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import EnvelopeRefused, Refusal
from protocol.forwarded import ForwardedRequest
from protocol.json_text import to_json
from protocol.raw_request import RawRequest
from protocol.remote_lease import LONGEST, Held, Lend, Part, Use, pack_part, unpack_part
from protocol.upstream import Upstream
from tests.protocol.answered import row_of, rowed

NAME = 16 * "a1"
NAMES = st.text("0123456789abcdef", min_size=32, max_size=32)
TIMES = st.floats(0, LONGEST) | st.integers(0, int(LONGEST))
PARTS: st.SearchStrategy[Part] = st.builds(Lend, NAMES, TIMES, st.none() | TIMES, st.none() | TIMES) | st.builds(
    Use, NAMES, st.none() | TIMES, st.booleans()
)
HELD = "held-1"
REQUEST = ForwardedRequest.of(
    session_id="talk",
    token=HELD,
    upstream=Upstream("http://h/mcp"),
    request=RawRequest.of("tools/call", {"name": "add"}),
    headers=None,
    user="ada",
    gateway_id=None,
    principal="",
)


@pytest.mark.holds("C4")
@given(PARTS)
def test_what_is_said_of_a_lease_arrives_as_it_was(part: Part) -> None:
    assert unpack_part(pack_part(part)) == part
    request = dataclasses.replace(REQUEST, lease=part)
    assert ForwardedRequest.unpack(request.pack()) == request


@pytest.mark.holds("C8")
def test_a_request_that_has_nothing_to_do_with_a_lease_is_as_before_there_were_any() -> None:
    row = row_of(REQUEST.pack())
    assert len(row) == 10
    assert ForwardedRequest.unpack(rowed(*row)).lease is None


LEND = {"does": "lend", "name": NAME, "timeout": 5.0, "connect_timeout": None, "expires_in": None}
USE = {"does": "use", "name": NAME, "timeout": None, "wants_progress": False}
WRONG: dict[str, list[Any]] = {
    "does": [None, "", "end", 5, ["use"], {}],
    "name": [None, "", "é", NAME[1:], NAME + "0", NAME.upper(), NAME + "\n", 5, [NAME]],
    "timeout": ["5", True, -1, -0.1, float("nan"), float("inf"), LONGEST * 2, []],
    "more": [1],
}
NO_PARTS: list[Any] = [
    *({**said, name: value} for said in (LEND, USE) for name, values in WRONG.items() for value in values),
    *({**LEND, name: value} for name in ("connect_timeout", "expires_in") for value in WRONG["timeout"]),
    *({**USE, "wants_progress": value} for value in (None, 0, 1, "yes")),
    *({name: value for name, value in said.items() if name != left} for said in (LEND, USE) for left in said),
    {**LEND, "timeout": None},
    *([], None, 5, "use", {}),
]


@pytest.mark.holds("C8", "X1")
@pytest.mark.parametrize("said", NO_PARTS)
def test_what_says_nothing_of_a_lease_is_refused(said: Any) -> None:
    row = row_of(REQUEST.pack())
    for unpack, payload in ((unpack_part, to_json(said)), (ForwardedRequest.unpack, rowed(*row, to_json(said)))):
        with pytest.raises(EnvelopeRefused) as refused:
            unpack(payload)
        assert refused.value.reason is Refusal.MALFORMED


@pytest.mark.holds("C8")
def test_what_nobody_would_take_is_not_packed() -> None:
    for part in (Lend("", 5), Lend(NAME, -1), Use(NAME, float("inf")), Use(NAME + "\n")):
        with pytest.raises(EnvelopeRefused):
            pack_part(part)


def test_the_words_are_on_the_wire() -> None:
    assert pack_part(Lend(NAME, 5.0)) == to_json(LEND)
    assert pack_part(Use(NAME)) == to_json(USE)
    for said, part in ((LEND, Lend(NAME, 5.0)), (USE, Use(NAME))):
        assert unpack_part(to_json(said)) == part
    assert unpack_part(to_json({**LEND, "timeout": LONGEST})) == Lend(NAME, LONGEST)
    assert unpack_part(to_json({**LEND, "timeout": 0})) == Lend(NAME, 0)


@pytest.mark.holds("C4")
@given(st.lists(NAMES), st.lists(NAMES))
def test_what_a_worker_says_of_its_leases_arrives_as_it_was(kept: list[str], returned: list[str]) -> None:
    held = Held(tuple(kept), tuple(returned))
    assert Held.unpack(held.pack()) == held


@pytest.mark.holds("C8")
@pytest.mark.parametrize(
    "said",
    [
        *({"kept": wrong, "returned": []} for wrong in (None, NAME, {NAME: 1}, [5], [NAME, NAME[1:]])),
        *({"kept": [], "returned": wrong} for wrong in (None, NAME, [None], [NAME.upper()])),
        *({}, [], None, {"kept": []}, {"kept": [], "returned": [], "more": []}),
    ],
)
def test_what_says_nothing_of_a_workers_leases_is_refused(said: Any) -> None:
    with pytest.raises(EnvelopeRefused) as refused:
        Held.unpack(to_json(said))
    assert refused.value.reason is Refusal.MALFORMED


def test_a_worker_says_of_its_leases_what_it_must_and_nothing_that_nobody_would_take() -> None:
    assert Held((NAME,)).pack() == to_json({"kept": [NAME], "returned": []})
    assert Held(returned=(NAME,)).pack() == to_json({"kept": [], "returned": [NAME]})
    for held in (Held(("a1",)), Held(returned=("",))):
        with pytest.raises(EnvelopeRefused):
            held.pack()


@pytest.mark.parametrize(
    ("unpack", "said", "text"),
    [
        (unpack_part, {**USE, "does": "end"}, "a forwarded request does nothing that is known with a lease"),
        (unpack_part, {**USE, "timeout": -1}, "a forwarded request says of a lease what cannot be"),
        (Held.unpack, {"kept": []}, "a forwarded request says of leases what cannot be"),
    ],
)
def test_a_refusal_says_what_is_wrong(unpack: Callable[[bytes], object], said: object, text: str) -> None:
    with pytest.raises(EnvelopeRefused) as refused:
        unpack(to_json(said))
    assert str(refused.value) == text
