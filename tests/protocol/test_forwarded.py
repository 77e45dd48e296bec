"""A request on its way to the owner of its session: what arrives is what a local call would have been given."""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from protocol.errors import EnvelopeRefused, InvalidSettings
from protocol.forwarded import ForwardedRequest, check_forwardable
from protocol.identity import Identities
from protocol.raw_request import RawRequest
from protocol.upstream import MODES, Tls, Upstream
from tests.protocol.answered import bits_of, malformed, row_of, rowed, spoilt, tried
from tests.protocol.sealed import PRINTABLE, packed, values

PLAIN = Upstream("https://mcp.test/mcp?key=s3cret")
TLS = Tls(ca_file="/etc/ca.pem", certificate="/etc/\udcff.pem", key="/etc/key.pem")
RICH = Upstream(
    "https://mcp.test/mcp?key=s3cret&q=é", mode="legacy", transport="sse", sharing=2**70, tls=TLS, name="Écho"
)
LIST = RawRequest.of("tools/list", None)
CALL = RawRequest.of("tools/call", {"name": "add", "arguments": {"password": "s3cret"}})
HEADERS = {"Authorization": "Bearer s3cret", "X-Trace": "s3cret-too"}
HELD = "held-1"
FIELDS = (
    "session_id",
    "token",
    "upstream",
    "method",
    "params",
    "headers",
    "user",
    "gateway_id",
    "principal",
    "idempotent",
)


def asked(**changes: Any) -> ForwardedRequest:
    arguments: dict[str, Any] = {
        "session_id": "session-s3cret",
        "token": HELD,
        "upstream": PLAIN,
        "request": CALL,
        "headers": HEADERS,
        "user": "ada@example.org",
        "gateway_id": "gateway-1",
        "principal": "9" * 64,
        "idempotent": True,
    }
    return ForwardedRequest.of(**(arguments | changes))


def crossed(request: ForwardedRequest) -> ForwardedRequest:
    return ForwardedRequest.unpack(request.pack())


def row(**changes: object) -> bytes:
    fields = dict(zip(FIELDS, row_of(asked().pack()), strict=True))
    assert changes.keys() <= fields.keys()
    return rowed(*(fields | changes).values())


def said(upstream: Upstream = PLAIN, **changes: object) -> bytes:
    fields = json.loads(row_of(asked(upstream=upstream).pack())[2].decode(errors="surrogatepass"))
    return json.dumps({name: value for name, value in (fields | changes).items() if value is not ...}).encode()


# --- there ------------------------------------------------------------------------------------------------------------


def plain_json(depth: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(depth, max_size=4) | st.dictionaries(TEXT, depth, max_size=4)


TEXT = st.text(st.characters(codec="utf-8"), max_size=9)
NUMBERS = st.integers() | st.integers(2**63, 2**200) | st.floats(allow_nan=False, allow_infinity=False)
SAYABLE = st.recursive(st.none() | st.booleans() | NUMBERS | TEXT, plain_json, max_leaves=12)
PARAMS = (
    st.none()
    | st.dictionaries(TEXT, SAYABLE, max_size=4)
    | st.fixed_dictionaries({"a": SAYABLE}, optional={"_meta": st.none() | st.dictionaries(TEXT, SAYABLE, max_size=3)})
)
VALUE = st.from_regex(r"(?:[!-~]([ -~\t]*[!-~])?)?", fullmatch=True)
NAME = st.from_regex(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,12}", fullmatch=True)
HEADERS_OF = st.dictionaries(NAME, VALUE, max_size=12).filter(lambda given: len({*map(str.lower, given)}) == len(given))
UPSTREAMS = st.builds(
    Upstream,
    st.sampled_from(
        ["http://127.0.0.1:8000/mcp", "https://[::1]/", "https://mcp.test/a?b=c#d", "http://bücher.test/é"]
    ),
    mode=st.sampled_from(MODES),
    sharing=st.none() | st.just("exclusive") | st.integers(1, 2**70),
    tls=st.sampled_from([Tls(), Tls(verify=False), TLS]),
    name=st.none() | st.text(max_size=9),
)


REQUESTS = st.builds(
    asked,
    upstream=UPSTREAMS,
    request=st.builds(RawRequest.of, st.just("tools/call"), PARAMS),
    headers=HEADERS_OF,
    user=st.none() | TEXT.filter(bool),
    gateway_id=st.none() | TEXT,
    principal=st.just("") | st.text(PRINTABLE, min_size=1, max_size=64),
    idempotent=st.booleans(),
)


@pytest.mark.holds("C4")
@given(REQUESTS)
@example(
    asked(request=LIST, headers={"authorization": "Bearer " + "x" * 20_000}, user="u" * 5000, gateway_id="g" * 5000)
)
@example(asked(upstream=RICH, headers={f"x-{number}": "v" for number in range(40)}, user=None, gateway_id=None))
@example(asked(request=RawRequest.of("tools/call", {"a": ["x" * 100_000, *range(1_000)]}), principal=""))
def test_what_a_local_call_would_be_given_arrives_as_it_was(sent: ForwardedRequest) -> None:
    came = crossed(sent)
    assert came == sent
    assert (came.upstream.name, came.upstream.connection) == (sent.upstream.name, sent.upstream.connection)
    assert bits_of(came.request.message()) == bits_of(sent.request.message())
    assert came.pack() == sent.pack()


@pytest.mark.holds("C4")
def test_params_that_are_absent_stay_absent_and_empty_ones_stay_empty() -> None:
    for params in (None, {}, {"_meta": None}, {"a": None}):
        request = RawRequest.of("tools/list", params)
        came = crossed(asked(request=request)).request
        assert (came, came.message()) == (request, request.message())


@pytest.mark.holds("C4")
def test_an_upstream_travels_with_all_that_it_is_but_functions() -> None:
    for upstream in (PLAIN, RICH, Upstream("http://[::1]:80/", sharing="exclusive", tls=Tls(verify=False))):
        came = crossed(asked(upstream=upstream)).upstream
        assert came == upstream
        assert (came.name, came.address, came.way) == (upstream.name, upstream.address, upstream.way)


@pytest.mark.holds("X1")
def test_two_upstreams_that_are_equal_travel_with_a_name_each() -> None:
    for name in ("one", None, "two", "one"):
        upstream = Upstream(PLAIN.url, name=name)
        assert upstream == Upstream(PLAIN.url)
        assert crossed(asked(upstream=upstream)).upstream.name == name


def test_an_upstream_with_a_client_of_its_own_cannot_be_forwarded_and_is_told_so() -> None:
    upstream = Upstream("https://mcp.test/mcp?key=s3cret", http_client=object)
    for refuse in (lambda: check_forwardable(upstream), lambda: asked(upstream=upstream)):
        with pytest.raises(InvalidSettings, match="conversations cannot be forwarded: leave it out") as caught:
            refuse()
        assert "https://mcp.test/mcp has an http_client" in str(caught.value)
        assert "s3cret" not in str(caught.value)
    check_forwardable(PLAIN)


@pytest.mark.holds("C4")
def test_headers_travel_that_a_local_call_uses_and_the_caller_is_the_same_there() -> None:
    given_ones = {
        **HEADERS,
        "Host": "evil",
        "X-Troupe-Owner": "eve",
        "x-mcp-session-id": "a",
        "Proxy-Authorization": "p",
    }
    names = ("authorization", "proxy-authorization")
    who = Identities(secret=b"s", names=names).who
    sent = asked(headers=given_ones, identity_headers=names)
    assert sent.headers == {**HEADERS, "Proxy-Authorization": "p"}
    came = ForwardedRequest.unpack(sent.pack(), identity_headers=names)
    assert who(came.headers, None)[:5] == who(given_ones, None)[:5]
    assert asked(headers=given_ones).headers == HEADERS
    assert asked(headers=None).headers == crossed(asked(headers=None)).headers == {}


@pytest.mark.parametrize(
    "change",
    [
        {"session_id": "a b"},
        {"session_id": ""},
        {"headers": {"a b": "c"}},
        {"headers": {"host": "s3cret\r\n"}},
        {"headers": {"a": "1", "A": "2"}},
        {"user": ""},
        {"user": "\ud800"},
        {"gateway_id": "\ud800"},
        {"gateway_id": 5},
    ],
)
def test_what_a_local_call_refuses_is_not_forwarded(change: dict[str, Any]) -> None:
    (name,) = change
    with pytest.raises(InvalidSettings, match=rf"\b{name.removesuffix('s')}\b"):
        asked(**change)


@pytest.mark.holds("X1")
def test_what_is_shown_of_a_request_holds_no_secret() -> None:
    sent = asked()
    for shown in (repr(sent), repr(crossed(sent))):
        assert "s3cret" not in shown
        assert HELD not in shown
        assert sent.principal not in shown
        for told in ("https://mcp.test/mcp", "tools/call", "ada@example.org", "gateway-1", "idempotent=True"):
            assert told in shown
    assert not asked(idempotent=False).idempotent


def test_a_request_may_run_once_unless_it_is_said_to_be_idempotent() -> None:
    arguments: dict[str, Any] = {"session_id": "s", "token": HELD, "upstream": PLAIN, "request": LIST, "headers": None}
    sent = ForwardedRequest.of(**arguments, user=None, gateway_id=None, principal="")
    assert sent.idempotent is False


# --- what nobody takes ------------------------------------------------------------------------------------------------

FORGED: dict[str, list[Any]] = {
    "session_id": ["", "a b", "s" * 129, "a\n", None, b"s", 5],
    "token": ["", None, b"t", 5, "t" * 1025, "é"],
    "upstream": [
        *(None, "text", b"", b"null", b"[]", b"{}", b"\xff"),
        *(said(url=url) for url in (None, "s3cret", "http://u:s3cret@h/", "http://h/ ", "\ud800", "http://[/")),
        *(said(mode="s3cret"), said(mode=[]), said(transport=5), said(sharing=0), said(sharing=1.5), said(name=5)),
        *(
            said(transport="sse", mode="2026-07-28"),
            said(http_client=None),
            said(name=...),
            said(tls=...),
            said(tls=[]),
        ),
        *(said(tls={}), said(tls={"ca_file": None, "certificate": None, "key": "k", "verify": True})),
        said(tls={"ca_file": None, "certificate": None, "key": None, "verify": 1}),
        said(tls={"ca_file": None, "certificate": None, "key": None, "verify": True, "more": 1}),
    ],
    "method": ["", "initialize", "notifications/initialized", "a b", "x" * 201, None, b"ping"],
    "params": [
        "{}",
        b"",
        b"null",
        b"[]",
        b'"s3cret"',
        b'{"a":NaN}',
        b'{"a":1e999}',
        b'{"a":"\\ud800"}',
        b'{"_meta":[]}',
    ],
    "headers": [
        *(None, {}, b"null", b"[]", b'{"a b":"c"}', b'{"a":"s3cret\\n"}', b'{"a":5}', b'{"a":"1","A":"2"}'),
        *(b'{"Host":"s3cret"}', b'{"X-Troupe-Owner":"s3cret"}', b'{"x-forwarded-internally":"true"}'),
        *(b'{"Mcp-Session-Id":"s3cret"}', b'{"Proxy-Authorization":"s3cret"}'),
    ],
    "user": ["ada", b"", b"\xff", b"\xed\xa0\x80", 5],
    "gateway_id": ["gateway", b"\xff", b"\xed\xa0\x80", 5],
    "principal": [None, b"", 5, "é", "p" * 1025],
    "idempotent": [None, 0, 1, "true"],
}


@pytest.mark.holds("C4", "C8", "X1")
@pytest.mark.parametrize(("name", "value"), [(name, value) for name, each in FORGED.items() for value in each])
def test_what_could_not_have_been_asked_locally_is_refused_and_not_quoted(name: str, value: object) -> None:
    text = malformed(ForwardedRequest.unpack, row(**{name: value}))
    assert len(text) < 120


def test_a_refusal_says_what_is_wrong_as_far_as_that_is_no_secret() -> None:
    for changes, why in (
        ({"method": "initialize"}, "a forwarded request holds what no call may"),
        ({"headers": b'{"host":"a"}'}, "a forwarded request has headers that are not for another worker"),
        ({"upstream": said(name=...)}, "a forwarded request has an upstream of other fields"),
        ({"user": b"\xff"}, "a forwarded request has a name that is no text"),
        ({"params": b"[]"}, "there is no JSON object where there must be one"),
        ({"token": ""}, "a forwarded request has no token of the kind and size that it must have"),
    ):
        assert malformed(ForwardedRequest.unpack, row(**changes)) == why


@pytest.mark.holds("C8")
def test_what_nobody_would_take_is_not_packed() -> None:
    for change in ({"token": ""}, {"token": "é"}, {"principal": "p" * 1025}):
        with pytest.raises(EnvelopeRefused):
            asked(**change).pack()


@pytest.mark.holds("C8")
def test_cut_short_or_with_a_flipped_bit_it_is_refused_or_another_request() -> None:
    spoilt(ForwardedRequest.unpack, asked(headers={"a": "b"}).pack())


@pytest.mark.holds("C8")
@given(
    st.binary(max_size=80) | values.map(packed) | st.lists(values, min_size=10, max_size=10).map(lambda r: rowed(*r))
)
def test_whatever_the_bytes_are_nothing_else_is_raised(payload: bytes) -> None:
    tried(ForwardedRequest.unpack, payload)


@pytest.mark.holds("C8")
@given(st.sampled_from(FIELDS), values, st.binary(max_size=40))
def test_whatever_one_field_holds_nothing_else_is_raised(name: str, value: object, raw: bytes) -> None:
    for given_one in (value, raw, json.dumps(repr(value)).encode()):
        tried(ForwardedRequest.unpack, row(**{name: given_one}))
