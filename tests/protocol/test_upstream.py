"""An upstream: which addresses and ways to reach them are refused, and what makes two of them the same."""

import pickle
from dataclasses import fields, replace
from functools import partial
from typing import Any

import pytest

from protocol.errors import InvalidSettings
from protocol.upstream import Tls, Upstream

URL = "https://host:8443/mcp"
FULL = Upstream(URL, transport="streamable-http", mode="legacy", sharing=5, tls=Tls(ca_file="ca.pem"), name="echo")


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


@pytest.mark.parametrize(
    ("field", "value", "why"),
    [
        ("mode", "modern", "upstream mode 'modern' is unknown: use one of auto, legacy, 2026-07-28"),
        ("mode", None, "upstream mode must be one of auto, legacy, 2026-07-28, not NoneType"),
        ("transport", "stdio", "upstream transport 'stdio' is unknown: use one of streamable-http, sse"),
        ("transport", 5, "upstream transport must be one of streamable-http, sse, not int"),
        ("sharing", "shared", 'upstream sharing must be "exclusive", a whole number of at least 1, or None'),
        ("sharing", 0, "upstream sharing"),
        ("sharing", -1, "upstream sharing"),
        ("sharing", True, "upstream sharing"),
        ("sharing", 2.0, "upstream sharing"),
        ("tls", None, "upstream tls must be a Tls, not NoneType"),
        ("tls", {"verify": False}, "upstream tls must be a Tls, not dict"),
        ("http_client", "proxy", "upstream http_client must be a function that makes a client, or None, not str"),
        ("name", 5, "upstream name must be text or None, not int"),
    ],
)
def test_a_field_of_the_wrong_kind_is_refused_by_its_name(field: str, value: Any, why: str) -> None:
    with pytest.raises(InvalidSettings) as caught:
        Upstream(URL, **{field: value})
    assert str(caught.value).startswith(why)


def test_the_sessionless_protocol_is_not_spoken_over_server_sent_events() -> None:
    with pytest.raises(InvalidSettings, match=r'transport "sse" cannot speak the protocol of mode .2026-07-28.'):
        Upstream(URL, transport="sse", mode="2026-07-28")
    assert Upstream(URL, transport="sse", mode="legacy").way == "sse;legacy"
    assert Upstream(URL, transport="sse").way == "sse"


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({"verify": 1}, "tls verify must be True or False, not int"),
        ({"ca_file": 5}, "tls ca_file must be the path of a PEM file as text, or None"),
        ({"certificate": b"a.pem"}, "tls certificate must be the path"),
        ({"ca_file": ""}, "tls ca_file must be the path"),
        ({"ca_file": "a\0"}, "tls ca_file must be the path"),
        ({"verify": None}, "tls verify must be True or False, not NoneType"),
        ({"key": "key.pem"}, "tls key is given without a certificate"),
        ({"ca_file": "ca.pem", "verify": False}, "tls ca_file would not be looked at, since verify is False"),
    ],
)
def test_tls_settings_that_cannot_be_used_or_contradict_each_other_are_refused(arguments: Any, why: str) -> None:
    with pytest.raises(InvalidSettings, match=why):
        Tls(**arguments)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        (5, "upstream url must be text, not int"),
        ("http://[::1/", "upstream url cannot be read: give an absolute http(s) address"),
        ("http://h:99999/", "upstream url cannot be read: give an absolute http(s) address"),
        ("/mcp", "upstream url must be absolute, such as http://127.0.0.1:8000/mcp"),
        ("http://h:0/", "upstream url must be absolute, such as http://127.0.0.1:8000/mcp"),
        (
            "http://s3cret@h/",
            "upstream url of h bears credentials: pass them as headers, where they are kept secret",
        ),
        ("http://h/ x", "upstream url of h has white space or control characters in it"),
        ("http://h/\x7f", "upstream url of h has white space or control characters in it"),
    ],
)
def test_an_address_that_is_refused_says_why_and_what_would_do(url: Any, why: str) -> None:
    with pytest.raises(InvalidSettings) as caught:
        Upstream(url)
    assert str(caught.value) == why
    assert caught.value.__suppress_context__ or caught.value.__context__ is None, "it would quote the address"


@pytest.mark.parametrize("url", ["http://h", "https://h:1/", "http://[::1]:80/mcp", "http://h/mcp?a=b"])
def test_an_absolute_address_is_taken_as_it_is(url: str) -> None:
    assert Upstream(url).url == url
    assert Upstream(url).address == url.partition("?")[0]


@pytest.mark.parametrize("sharing", [None, "exclusive", 1, 2, 100])
def test_a_session_is_lent_to_one_at_a_time_or_to_a_number(sharing: Any) -> None:
    assert Upstream(URL, sharing=sharing).sharing == sharing


def test_what_contradicts_itself_is_refused_with_what_to_give_instead() -> None:
    with pytest.raises(InvalidSettings) as caught:
        Upstream(URL, transport="sse", mode="2026-07-28")
    assert str(caught.value) == (
        "upstream transport \"sse\" cannot speak the protocol of mode '2026-07-28': "
        'leave the mode out, or use transport "streamable-http"'
    )
    with pytest.raises(InvalidSettings) as caught:
        Tls(key="key.pem")
    assert str(caught.value) == ("tls key is given without a certificate: give the certificate that it belongs to")
    with pytest.raises(InvalidSettings) as caught:
        Tls(ca_file="ca.pem", verify=False)
    assert str(caught.value) == "tls ca_file would not be looked at, since verify is False: give one of them"
    assert Tls(certificate="both.pem", verify=False).key is None


def client(**_: object) -> object:
    return object()


CHANGES: dict[str, Any] = {
    "url": "https://other/mcp",
    "mode": "auto",
    "transport": "sse",
    "sharing": "exclusive",
    "tls": Tls(verify=False),
    "http_client": client,
}


@pytest.mark.holds("S8")
@pytest.mark.parametrize("field", CHANGES)
def test_a_change_of_any_connection_field_is_one(field: str) -> None:
    other: Upstream = replace(FULL, **{field: CHANGES[field]})
    assert other.connection != FULL.connection
    assert other != FULL


@pytest.mark.holds("S8")
def test_a_change_of_the_name_is_cosmetic() -> None:
    other = replace(FULL, name="another")
    assert other.connection == FULL.connection
    assert other == FULL
    assert hash(other) == hash(FULL)
    assert other.name == "another"


def test_every_field_is_one_of_connection_or_the_name() -> None:
    given = {field.name for field in fields(Upstream) if field.init}
    assert given == {*CHANGES, "name"}
    assert len(FULL.connection) == len(CHANGES)


def test_upstreams_are_equal_by_what_they_are_also_in_another_process() -> None:
    again = pickle.loads(pickle.dumps(FULL))  # noqa: S301 - of our own making
    assert again == FULL
    assert hash(again) == hash(FULL)
    assert {FULL: 1}[again] == 1
    assert FULL != URL
    assert Upstream(URL) == Upstream(URL)


@pytest.mark.holds("X1")
def test_an_upstream_is_shown_without_its_query_and_without_what_its_client_holds() -> None:
    upstream = Upstream(
        URL + "?token=s3cret#s3cret", http_client=partial(client, proxy="s3cret"), tls=Tls(ca_file="ca.pem")
    )
    assert upstream.address == URL
    assert repr(upstream) == "Upstream('https://host:8443/mcp', mode='auto')"
    shown = "Upstream('https://host:8443/mcp', mode='auto', transport='sse', name='echo')"
    assert repr(Upstream(URL, transport="sse", name="echo")) == shown
