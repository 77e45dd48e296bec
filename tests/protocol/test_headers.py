"""Headers and downstream session ids: what is one, and what is passed on."""

import re
import string
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from protocol.errors import InvalidSettings
from protocol.headers import NOT_FORWARDED, canonical_names, check_headers, check_session_id, forwarded, lowered

TOKEN = string.ascii_letters + string.digits + "!#$%&'*+-.^_`|~"


@pytest.mark.parametrize("name", ["", "a b", "a:b", "a(b", 'a"b', "a\tb", "ä", "a\n", "a\0"])
def test_a_header_name_that_is_no_token_is_refused(name: str) -> None:
    with pytest.raises(InvalidSettings, match="is not one"):
        check_headers({name: "value"})


@pytest.mark.holds("X1")
@pytest.mark.parametrize(
    "value", ["a\r\nb", "a\0", "a ", " a", "\ta", "é", "a\x7f", "a\n", "\x85", "a\N{NO-BREAK SPACE}"]
)
def test_a_header_value_that_could_be_read_otherwise_is_refused_and_not_shown(value: str) -> None:
    with pytest.raises(InvalidSettings, match="header x-a: its value must be visible ASCII") as caught:
        check_headers({"x-a": value})
    assert repr(value)[1:-1] not in str(caught.value).partition("value must")[2].partition(",")[0]


@pytest.mark.holds("X1")
@pytest.mark.parametrize("headers", [{5: "a"}, {"a": 5}, {"a": b"s3cret"}, {"a": None}, {b"s3cret": "a"}])
def test_names_and_values_must_be_text_and_are_not_shown(headers: Any) -> None:
    with pytest.raises(InvalidSettings, match="must be text, not") as caught:
        check_headers(headers)
    assert "s3cret" not in str(caught.value)


@pytest.mark.holds("X1")
def test_a_name_or_value_that_is_refused_says_why_and_a_long_name_is_shown_in_part() -> None:
    for headers, why in (
        ({5: "a"}, "a header's name must be text, not int"),
        ({"x-a": b"s3cret"}, "header x-a: its value must be text, not bytes"),
        ({"x-" + "a" * 100: 5}, f"header x-{'a' * 62}: its value must be text, not int"),
        (
            {"x-" + "a" * 100: "s3cret\n"},
            f"header x-{'a' * 62}: its value must be visible ASCII, without line breaks, NUL or space around it",
        ),
        (
            {"a b" + "c" * 100: "s3cret"},
            f"header name {'a b' + 'c' * 61!r} is not one: it must be of letters, digits and !#$%&'*+-.^_`|~",
        ),
        (
            {"X-" + "a" * 100: "", "x-" + "a" * 100: ""},
            f"header x-{'a' * 62} is given twice, in different cases: give it once",
        ),
    ):
        given_headers: Any = headers
        with pytest.raises(InvalidSettings) as caught:
            check_headers(given_headers)
        assert str(caught.value) == why


def test_names_come_in_lower_case_and_alphabetical_order_and_only_once_each() -> None:
    assert canonical_names(["X-B", "cookie", "X-a"]) == ("cookie", "x-a", "x-b")
    assert canonical_names([]) == ()
    for wrong, why in ((("X-A", "b", "x-a"), "header x-a is given twice"), (("a b",), "header name 'a b' is not one")):
        with pytest.raises(InvalidSettings, match=why):
            canonical_names(wrong)


def test_headers_are_looked_up_by_their_lower_case_names() -> None:
    assert lowered({"X-A": "One", "b": "Two"}) == {"x-a": "One", "b": "Two"}
    with pytest.raises(InvalidSettings, match="header x-a is given twice"):
        lowered({"X-A": "1", "x-a": "1"})


@pytest.mark.holds("X1")
@pytest.mark.parametrize(
    ("session_id", "what"),
    [
        ("", "text of 0 characters"),
        ("a" * 129, "text of 129 characters"),
        ("s3cret!", "text with other characters in it"),
        ("a" * 127 + "!", "text with other characters in it"),
        ("!", "text with other characters in it"),
        ("s3cret\n", "text with other characters in it"),
    ],
)
def test_a_session_id_that_is_refused_is_told_by_its_length_or_by_having_other_characters(
    session_id: str, what: str
) -> None:
    with pytest.raises(InvalidSettings) as caught:
        check_session_id(session_id)
    assert str(caught.value) == f"session_id must be 1 to 128 of A-Z, a-z, 0-9, _ and -, not {what}"


@pytest.mark.parametrize("session_id", ["a", "A-Z_09", "-", "a" * 128])
def test_a_session_id_of_1_to_128_of_its_characters_passes(session_id: str) -> None:
    check_session_id(session_id)


def test_a_header_given_twice_in_different_cases_is_refused() -> None:
    with pytest.raises(InvalidSettings, match="header cookie is given twice"):
        check_headers({"Cookie": "a", "cookie": "b"})


def test_ordinary_headers_pass() -> None:
    check_headers({"Authorization": "Bearer a.b-c_d==", "X-Empty": "", "Cookie": "a=1; b=2", "X-Tab": "a\tb"})


def test_what_belongs_to_a_gateway_the_protocol_or_the_connection_is_not_passed_on() -> None:
    headers = {"Authorization": "Bearer a", "x-mcp-server": "echo", "X-Troupe": "a"}
    kept_here = {
        "X-MCP-Session-Id": "a",
        "Mcp-Session-Id": "a",
        "X-Forwarded-Internally": "true",
        "X-Troupe-Owner": "a",
        "x-troupe-": "a",
        "Mcp-Param-City": "Paris",
        "Host": "elsewhere",
        "Content-Length": "5",
        "Accept-Encoding": "zstd",
    }
    assert forwarded(headers | kept_here) == headers
    assert forwarded({name.upper(): "a" for name in NOT_FORWARDED}) == {}


@given(
    st.lists(st.text(TOKEN, min_size=1), min_size=1, unique_by=str.lower).flatmap(
        lambda names: st.tuples(st.just(names), st.permutations(names))
    )
)
def test_neither_case_nor_order_matters_in_a_list_of_names(lists: tuple[list[str], list[str]]) -> None:
    names, others = lists
    assert canonical_names(names) == canonical_names([name.swapcase() for name in others])


@pytest.mark.holds("X1")
@given(st.text() | st.text(string.ascii_letters + string.digits + "-_", max_size=140))
@example("a" * 128)
@example("a" * 129)
@example("")
@example("a\n")
@example("٣")
def test_a_session_id_is_accepted_if_its_whole_text_matches_and_is_never_quoted(text: str) -> None:
    if re.fullmatch(r"[A-Za-z0-9_-]{1,128}", text):
        check_session_id(text)
        return
    with pytest.raises(InvalidSettings, match="session_id must be 1 to 128 of") as caught:
        check_session_id(text)
    length = f"text of {len(text)} characters"
    assert str(caught.value).endswith(("not text with other characters in it", length))


@pytest.mark.parametrize("value", [5, b"abc", None, ["a"]])
def test_a_session_id_that_is_no_text_is_refused_by_its_kind(value: Any) -> None:
    with pytest.raises(InvalidSettings, match=f"session_id must be text or None, not {type(value).__name__}"):
        check_session_id(value)
