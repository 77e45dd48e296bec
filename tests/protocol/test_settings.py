"""What a user may decide, and what is refused."""

import dataclasses
import math
from typing import Any

import pytest

from protocol.errors import InvalidSettings
from protocol.keys import ANONYMOUS, check_headers, identify
from protocol.settings import PoolSettings, Upstream

SECRET = b"secret"


WRONG: list[Any] = ["text", math.nan, -1, True, [], 1.5j]


@pytest.mark.parametrize(
    ("name", "value"),
    [(field.name, value) for field in dataclasses.fields(PoolSettings) for value in WRONG]
    + [("call_timeout", 10**400), ("close_timeout", math.inf), ("max_size", 2.0)],
)
def test_a_setting_of_the_wrong_kind_or_size_is_refused_by_its_name(name: str, value: Any) -> None:
    with pytest.raises(InvalidSettings, match=name):
        PoolSettings(**{name: value})


def test_nobody_may_be_allowed_to_wait_but_somebody_must_be_served() -> None:
    assert PoolSettings(max_waiting=0).max_waiting == 0
    with pytest.raises(InvalidSettings, match="max_size must be a whole number of at least 1, not 0"):
        PoolSettings(max_size=0)
    with pytest.raises(InvalidSettings, match="identity_secret must be bytes"):
        PoolSettings(identity_secret=b"")


@pytest.mark.parametrize(
    "url",
    [
        *("", "/mcp", "mcp", "ftp://host/", "http://", "http:///x", "http://h:0/", "http://h:99999/", "http://h/ x", 5),
        *(None, "http://user@host/", "http://:pass@host/", "http://user:pass@host/mcp", "http://h/\n", "http://[::1/"),
    ],
)
def test_an_address_that_is_relative_or_bears_credentials_is_refused(url: Any) -> None:
    with pytest.raises(InvalidSettings, match="upstream url"):
        Upstream(url)


def test_an_unknown_mode_is_refused() -> None:
    with pytest.raises(InvalidSettings, match="mode 'modern' is unknown: use one of auto, legacy, 2026-07-28"):
        Upstream("http://host/", mode="modern")  # type: ignore[arg-type]


@pytest.mark.holds("X1")
def test_an_address_is_shown_without_its_query() -> None:
    upstream = Upstream("https://host:8443/mcp?token=s3cret#s3cret")
    assert upstream.address == "https://host:8443/mcp"
    assert repr(upstream) == "Upstream('https://host:8443/mcp', mode='auto')"


@pytest.mark.holds("L1")
def test_an_identity_is_the_credentials_whatever_their_names_cases_and_whatever_else_is_sent() -> None:
    identity = identify({"Authorization": "Bearer a"}, secret=SECRET)
    assert len(identity) == 64
    assert identify({"authorization": "Bearer a", "X-Trace": "1"}, secret=SECRET) == identity
    assert identify({"authorization": "Bearer b"}, secret=SECRET) != identity
    assert identify({"authorization": "Bearer a"}, secret=b"other") != identity
    assert identify({"authorization": "Bearer a"}, secret=SECRET * 100) != identity
    assert identify({"X-Trace": "1"}, secret=SECRET) == identify({}, secret=SECRET) == ANONYMOUS


@pytest.mark.holds("L1")
def test_no_two_sets_of_credentials_meet_in_one_identity() -> None:
    sets = [
        {"x-api-key": "a", "x-user-id": "b"},
        {"x-api-key": "a9:x-user-id1:b"},
        {"x-api-key": "ab"},
        {"x-user-id": "ab"},
        {"x-api-key": "", "x-user-id": "ab"},
        {"x-api-key": "b", "x-user-id": "a"},
        {"x-tenant-id": "", "x-api-key": "ab"},
    ]
    assert len({identify(headers, secret=SECRET) for headers in sets}) == len(sets)


def test_a_header_given_twice_is_refused() -> None:
    with pytest.raises(InvalidSettings, match="header cookie is given twice"):
        identify({"Cookie": "a", "cookie": "b"}, secret=SECRET)


@pytest.mark.parametrize("name", ["", "a b", "a:b", "a(b", 'a"b', "a\tb", "ä", "a\n"])
def test_a_header_name_that_is_no_token_is_refused(name: str) -> None:
    with pytest.raises(InvalidSettings, match="is not one"):
        check_headers({name: "value"})


@pytest.mark.parametrize("value", ["a\r\nb", "a\0", "a ", " a", "\ta", "é", "a\x7f", "a\n"])
def test_a_header_value_that_could_be_read_otherwise_is_refused_and_not_shown(value: str) -> None:
    with pytest.raises(InvalidSettings, match="header x-a: its value must be visible ASCII") as caught:
        check_headers({"x-a": value})
    assert repr(value)[1:-1] not in str(caught.value).partition("value must")[2].partition(",")[0]


def test_ordinary_headers_pass() -> None:
    check_headers({"Authorization": "Bearer a.b-c_d==", "X-Empty": "", "Cookie": "a=1; b=2", "X-Tab": "a\tb"})
