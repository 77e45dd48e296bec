"""Who a caller is: no two are taken for one, and one is not taken for two."""

import hashlib
import string
from collections.abc import Callable, Mapping
from enum import IntEnum
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from protocol.errors import InvalidSettings
from protocol.headers import IDENTITY_HEADERS, forwarded
from protocol.identity import ANONYMOUS, Caller, Identities, check_name, digest_of, identify, user_of

SECRET = b"secret"
BEARER = "Bearer s3cret"
KINDS = ("headers", "extracted", "user", "session")

VISIBLE = "".join(map(chr, range(0x21, 0x7F)))

# Short ones out of few characters are the likeliest to meet when they are joined.
values = st.text("1:ab", max_size=4) | st.text(VISIBLE, max_size=20) | st.sampled_from(["b9:x-user-id1:b", "6:cookie"])
names = st.sampled_from(IDENTITY_HEADERS) | st.sampled_from(["x-trace", "host", "x-troupe-a", "mcp-session-id"])
header_sets = st.dictionaries(names, values, max_size=6)
users = st.text(max_size=10) | st.integers().map(str)


def proven(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items() if name.lower() in IDENTITY_HEADERS}


def always(answer: Any) -> Callable[[Mapping[str, str]], Any]:
    return lambda _: answer


def look_up(headers: Mapping[str, str]) -> str:
    return headers["no such header"]


def quote(headers: Mapping[str, str]) -> str:
    return str(int(headers["authorization"]))


def who(headers: Mapping[str, str] | None = None, user: Any = None, **options: Any) -> Caller:
    return Identities(secret=SECRET, **options).who(headers, user)


def read(caller: Caller) -> tuple[object, ...]:
    """All that a caller says; but for what makes a principal, in its place the principal."""
    return caller.identity, caller.principal, *caller[1:-1]


# --- the credential ---------------------------------------------------------------------------------------------------


@pytest.mark.holds("L1")
@given(header_sets, header_sets)
@example({"x-api-key": "a", "x-user-id": "b"}, {"x-api-key": "a9:x-user-id1:b"})
@example({"x-api-key": "", "x-user-id": "ab"}, {"x-user-id": "ab"})
@example({"x-api-key": "a", "cookie": "b"}, {"x-api-key": "b", "cookie": "a"})
def test_no_two_sets_of_credentials_meet_in_one_identity(one: dict[str, str], other: dict[str, str]) -> None:
    assert (identify(one, secret=SECRET) == identify(other, secret=SECRET)) is (proven(one) == proven(other))


@pytest.mark.holds("L1")
@given(header_sets, st.data())
def test_neither_the_order_nor_the_case_of_headers_or_of_the_configured_names_matters(
    headers: dict[str, str], data: st.DataObject
) -> None:
    shuffled = dict(data.draw(st.permutations(list(headers.items()))))
    shuffled = {data.draw(st.sampled_from([name, name.upper(), name.title()])): shuffled[name] for name in shuffled}
    configured = [name.title() for name in data.draw(st.permutations(IDENTITY_HEADERS))]
    identity = identify(headers, secret=SECRET)
    assert identify(shuffled, secret=SECRET, names=configured) == identity
    assert who(shuffled, names=configured).identity == identity


@given(header_sets, st.binary(min_size=1, max_size=100))
@example({"cookie": "a\tb"}, b"s")
def test_one_pass_over_the_headers_finds_what_the_definitions_say(headers: dict[str, str], secret: bytes) -> None:
    identities = Identities(secret=secret)
    for _ in range(2):  # names are known the second time
        caller = identities.who(headers, None)
        assert caller.identity == caller.principal == caller.credential == identify(headers, secret=secret)
        assert caller.headers == forwarded(headers)
        assert caller.is_anonymous is (not proven(headers))


@pytest.mark.holds("L1")
def test_an_identity_is_a_full_digest_under_the_secret_of_the_credentials_alone() -> None:
    identity = identify({"Authorization": "Bearer a"}, secret=SECRET)
    assert len(identity) == 64
    assert set(identity) <= set(string.hexdigits.lower())
    assert identify({"authorization": "Bearer a", "X-Trace": "1"}, secret=SECRET) == identity
    assert identify({"authorization": "Bearer b"}, secret=SECRET) != identity
    assert identify({"authorization": "Bearer a"}, secret=b"other") != identity
    assert identify({"authorization": "Bearer a"}, secret=SECRET * 100) != identity
    assert identify({"X-Trace": "1"}, secret=SECRET) == identify({}, secret=SECRET) == ANONYMOUS
    assert identify({"X-Trace": "1"}, secret=SECRET, names=("x-trace",)) != ANONYMOUS


@pytest.mark.holds("X1")
@pytest.mark.parametrize(
    "headers",
    [
        {"X-A": "s3cret\r\nX-C: d"},
        {"X-A": "s3cret\0"},
        {"X-A": "s3cret\n"},
        {"X-A": " s3cret"},
        {"X-A": "s3crét"},
        {"X-A": b"s3cret"},
        {"X-A": 5},
        {"X A": "s3cret"},
        {5: "s3cret"},
        {"Cookie": "s3cret", "cookie": "s3cret"},
    ],
)
def test_headers_that_cannot_be_used_are_refused_in_the_same_pass_and_not_shown(headers: Any) -> None:
    identities = Identities(secret=SECRET, extractor=lambda _: pytest.fail("it was shown bad headers"))
    for _ in range(2):
        with pytest.raises(InvalidSettings, match="header") as caught:
            identities.who(headers, None)
        assert "s3cr" not in str(caught.value)


@pytest.mark.holds("X1")
@pytest.mark.parametrize("headers", [["authorization"], [("authorization", "s3cret")], "authorization: s3cret", {1}])
def test_headers_that_are_no_mapping_are_refused_by_their_kind(headers: Any) -> None:
    with pytest.raises(InvalidSettings) as caught:
        who(headers)
    kind = type(headers).__name__
    assert str(caught.value) == f"headers must be a mapping of names to values, not {kind}"


def test_headers_in_whatever_mapping_are_those_of_a_dict() -> None:
    headers = {"Authorization": "one", "X-Trace": "1"}
    assert read(who(MappingProxyType(headers))) == read(who(headers))


def test_the_headers_of_a_caller_are_a_copy_with_their_names_as_given() -> None:
    headers = {"X-Trace": "1", "Host": "elsewhere"}
    caller = who(headers)
    headers["X-Trace"] = "2"
    assert caller.headers == {"X-Trace": "1"}


@pytest.mark.parametrize("names", [("a b",), ("",), ("Cookie", "cookie"), (5,)])
def test_configured_names_that_are_none_or_given_twice_are_refused(names: Any) -> None:
    with pytest.raises(InvalidSettings):
        Identities(secret=SECRET, names=names)


@pytest.mark.holds("C10")
def test_however_many_names_and_users_come_by_few_are_remembered() -> None:
    identities = Identities(secret=SECRET)
    for number in range(3_000):
        identities.who({f"x-{number}": "a", "x-" + "a" * 1_000 + str(number): "b"}, f"user {number}")
    names = identities._names  # pyright: ignore[reportPrivateUsage]
    assert len(names) <= 1_024
    assert max(map(len, names)) <= 64
    assert identities._of_user.cache_info().currsize <= 1_024  # pyright: ignore[reportPrivateUsage]
    assert identities.who({"Cookie": "a"}, None).identity == identify({"cookie": "a"}, secret=SECRET)


@pytest.mark.holds("C10")
def test_names_are_remembered_as_they_were_given_until_there_are_too_many_and_long_ones_not_at_all() -> None:
    identities = Identities(secret=SECRET)
    names = identities._names  # pyright: ignore[reportPrivateUsage]
    identities.who({"X-User-Id": "a", "Host": "b", "x-" + "a" * 62: "c", "x-" + "a" * 63: "d"}, None)
    assert names == {
        "X-User-Id": ("x-user-id", True, "9:x-user-id"),
        "Host": ("host", False, None),
        "x-" + "a" * 62: ("x-" + "a" * 62, True, None),
    }
    for number in range(1_021):
        identities.who({f"x-{number}": "a"}, None)
    assert len(names) == 1_024
    identities.who({"Host": "b"}, None)
    assert len(names) == 1_024, "one that is known takes nobody's place"
    identities.who({"x-one-more": "a"}, None)
    assert list(names) == ["x-one-more"]
    assert identities._of_user.cache_info().maxsize == 1_024  # pyright: ignore[reportPrivateUsage]


def test_a_header_given_twice_is_named() -> None:
    for headers in ({"x-a": "1", "Cookie": "a", "cookie": "b"}, {"Cookie": "a", "cookie": "b"}):
        with pytest.raises(InvalidSettings, match="header cookie is given twice"):
            who(headers)
        with pytest.raises(InvalidSettings, match="header cookie is given twice"):
            identify(headers, secret=SECRET)


# --- digests of kinds -------------------------------------------------------------------------------------------------


@pytest.mark.holds("L1")
@given(st.text(), st.text(), st.sampled_from(KINDS), st.sampled_from(KINDS))
@example("\ud800", "?", "user", "user")
@example("\ud83d\ude00", "\N{GRINNING FACE}", "user", "user")
def test_texts_or_kinds_that_differ_never_have_one_digest(one: str, other: str, kind: Any, other_kind: Any) -> None:
    digest = digest_of(one, kind, SECRET)
    assert len(digest) == 64
    assert (digest == digest_of(other, other_kind, SECRET)) is ((one, kind) == (other, other_kind))


@pytest.mark.holds("L1")
@pytest.mark.parametrize(
    ("secret", "key"),
    [
        (SECRET, SECRET),
        (b"s" * 64, b"s" * 64),
        (b"s" * 65, hashlib.sha256(b"s" * 65).digest()),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_processes_that_share_a_secret_agree_on_what_a_digest_is(kind: Any, secret: bytes, key: bytes) -> None:
    digest = hashlib.blake2b(b"ada", key=key, person=kind.encode(), digest_size=32).hexdigest()
    assert digest_of("ada", kind, secret) == digest


@pytest.mark.holds("L1")
def test_an_identity_is_the_digest_of_the_credentials_each_after_its_length_in_alphabetical_order() -> None:
    headers = {"X-User-Id": "ada", "Cookie": "", "X-Trace": "1"}
    expected = digest_of("6:cookie0:9:x-user-id3:ada", "headers", SECRET)
    identities = Identities(secret=SECRET)
    assert identify(headers, secret=SECRET) == expected
    for _ in range(2):
        caller = identities.who(headers, None)
        assert read(caller) == (expected, expected, None, False, expected, headers)
    assert read(identities.who({"x-trace": "1"}, None)) == ("", "", None, True, "", {"x-trace": "1"})
    assert read(identities.who({}, None)) == read(identities.who(None, None)) == ("", "", None, True, "", {})
    user = digest_of("ada", "user", SECRET)
    assert read(identities.who(None, "ada")) == ("", user, "ada", False, "", {})
    assert read(identities.who(headers, "ada")) == (expected, user, "ada", False, expected, headers)
    assert (identities.fallbacks, identities.last_fallback) == (0, "")


@pytest.mark.holds("L1")
def test_an_extractors_result_is_never_taken_for_a_header_or_a_user() -> None:
    proven_text = f"13:authorization{len(BEARER)}:{BEARER}"
    by_header = who({"authorization": BEARER}).principal
    by_extractor = who({"x-trace": "1"}, extractor=always(proven_text)).principal
    by_user = who(None, proven_text).principal
    assert len({by_header, by_extractor, by_user}) == 3


# --- the extractor, the user and the principal ------------------------------------------------------------------------


@pytest.mark.holds("L7")
def test_an_extractor_is_asked_of_whoever_comes_also_without_headers_and_its_word_is_the_identity() -> None:
    seen: list[Mapping[str, str]] = []

    def extract(headers: Mapping[str, str]) -> str:
        seen.append(headers)
        return "ada"

    ada = digest_of("ada", "extracted", SECRET)
    identities = Identities(secret=SECRET, extractor=extract)
    assert read(identities.who(None, None)) == read(identities.who({}, None)) == (ada, ada, None, False, "", {})
    credential = identify({"cookie": "a"}, secret=SECRET)
    assert read(identities.who({"Cookie": "a"}, "bob")) == (ada, ada, "bob", False, credential, {"Cookie": "a"})
    assert seen == [{}, {}, {"cookie": "a"}]


@pytest.mark.holds("L5")
def test_a_token_that_rotates_makes_no_new_identity_where_there_is_an_extractor() -> None:
    seen: list[Mapping[str, str]] = []

    def extract(headers: Mapping[str, str]) -> str:
        seen.append(headers)
        return headers["authorization"].partition(".")[0]

    identities = Identities(secret=SECRET, extractor=extract)
    first, second, other = (
        identities.who({"Authorization": token, "X-Trace": "1"}, None) for token in ("ada.1", "ada.2", "bob.1")
    )
    assert first.identity == second.identity == first.principal == second.principal != other.identity
    assert first.credential != second.credential
    assert seen[0] == {"authorization": "ada.1", "x-trace": "1"}
    assert identities.fallbacks == 0


@pytest.mark.holds("L7")
def test_a_principal_is_the_extractors_result_else_the_user_else_the_credential() -> None:
    one, other = {"authorization": "Bearer a"}, {"authorization": "Bearer b"}
    callers = [who(headers, user, extractor=always("ada")) for headers in (one, other) for user in (None, "x", "y")]
    assert len({caller.principal for caller in callers}) == 1
    assert who(one, "ada").principal == who(other, "ada").principal == who(None, "ada").principal
    assert who(one, "ada").principal != who(one, "bob").principal
    assert who(one, "ada").identity == who(one).identity != who(other, "ada").identity
    assert who(one).principal == who(one).identity != who(other).principal
    assert who().principal == ANONYMOUS


def test_only_who_shows_nothing_at_all_is_anonymous() -> None:
    assert read(who()) == read(who({"x-trace": "1"})._replace(headers={}))
    assert who().is_anonymous
    assert not who(None, "ada").is_anonymous
    assert not who({"cookie": "a"}).is_anonymous
    assert not who(None, None, extractor=always("ada")).is_anonymous


@pytest.mark.holds("X1")
@pytest.mark.parametrize(
    ("extractor", "why"),
    [
        (look_up, "it raised KeyError"),
        (always(None), "it answered nothing"),
        (always(""), "it answered nothing"),
        (always(5), "it answered with int, not text"),
        (always([BEARER]), "it answered with list, not text"),
        (quote, "it raised ValueError"),
    ],
)
def test_an_extractor_that_fails_or_answers_nothing_is_counted_and_the_headers_are_used(
    extractor: Any, why: str
) -> None:
    identities = Identities(secret=SECRET, extractor=extractor)
    headers = {"authorization": BEARER}
    assert read(identities.who(headers, None)) == read(who(headers))
    assert identities.who(headers, "ada").principal == who(None, "ada").principal
    assert (identities.fallbacks, identities.last_fallback) == (2, why)


def test_what_cancels_or_ends_the_program_leaves_an_extractor_as_it_is() -> None:
    def interrupted(_: Mapping[str, str]) -> str:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        who({"cookie": "a"}, extractor=interrupted)


# --- users ------------------------------------------------------------------------------------------------------------


@pytest.mark.holds("L1")
@given(users, st.sampled_from(["email", "sub", "id"]))
def test_a_user_given_as_text_or_as_a_mapping_is_one_user(user: str, field: str) -> None:
    assume(user)
    assert user_of(user) == user_of({field: user, "name": "x"}) == user
    assert read(who(None, user)) == read(who(None, {field: user}))


@pytest.mark.holds("L1")
def test_the_first_field_that_is_there_says_who_it_is() -> None:
    assert user_of({"id": 7, "email": "ada@x"}) == "ada@x"
    assert user_of({"id": 7, "email": "ada@x"}, ("id", "email")) == "7"
    assert user_of({"email": None, "sub": "", "id": 0}) == "0"
    assert user_of(None) is None
    assert user_of({"id": IntEnum("Id", {"ADA": 7})(7)}) == "7"
    assert user_of({"sub": "\N{GRINNING FACE}"}) == user_of("\N{GRINNING FACE}") == "\N{GRINNING FACE}"
    assert who(None, {"number": 7}, user_fields=("number",)).user == "7"


def test_a_name_that_is_refused_says_which_it_is_and_why() -> None:
    wrong: Any = 5
    with pytest.raises(InvalidSettings) as caught:
        check_name("gateway_id", wrong)
    assert str(caught.value) == "gateway_id must be text or None, not int"
    with pytest.raises(InvalidSettings) as caught:
        check_name("gateway_id", "a\ud800")
    assert str(caught.value) == "gateway_id holds half of a surrogate pair, which no encoding has: 'a\\ud800'"
    for fine in ("", "east", "\N{GRINNING FACE}"):
        check_name("gateway_id", fine)


@pytest.mark.holds("L1", "X1")
@pytest.mark.parametrize(
    ("user", "why"),
    [
        ({}, "none of the fields email, sub, id"),
        ({"name": "s3cret"}, "none of the fields email, sub, id"),
        ({"email": ""}, "none of the fields email, sub, id"),
        ({"email": True}, r"user\['email'\] must be text or a whole number, not bool"),
        ({"email": ["s3cret"], "id": 5}, r"user\['email'\] must be text or a whole number, not list"),
        ({"id": 1.5}, r"user\['id'\] must be text or a whole number, not float"),
        ("", "^user is empty, .*: leave the user out, or give None$"),
        (5, "user must be text, a mapping or None, not int"),
        (b"s3cret", "user must be text, a mapping or None, not bytes"),
        ("a\ud800", "^user holds half of a surrogate pair"),
        ({"id": "a\ud800"}, "^user holds half of a surrogate pair"),
    ],
)
def test_a_user_that_cannot_be_told_from_another_is_refused(user: Any, why: str) -> None:
    with pytest.raises(InvalidSettings, match=why) as caught:
        who(None, user)
    assert "s3cret" not in str(caught.value)


@pytest.mark.holds("X1")
def test_a_caller_is_shown_without_what_it_brought() -> None:
    caller = who({"authorization": BEARER}, "ada")
    assert repr(caller) == f"<Caller {caller.principal[:8]}>"
    assert repr(who()) == "<Caller anonymous>"
