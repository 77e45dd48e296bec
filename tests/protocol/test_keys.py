"""Pool keys: what must be equal, and what is shown."""

import pytest

from protocol.errors import InvalidSettings
from protocol.identity import ANONYMOUS, Identities
from protocol.keys import PoolKey, key_of
from protocol.upstream import Upstream

FIELDS = (
    "ada",
    "https://host/mcp?token=s3cret#s3cret",
    "0123456789abcdef" * 4,
    "streamable-http",
    "g1",
    "s3cret-session",
)
KEY = PoolKey(*FIELDS)
ECHO = Upstream("http://127.0.0.1:1/mcp")
IDENTITIES = Identities(secret=b"secret")
STEADY = Identities(secret=b"secret", extractor=lambda headers: headers["authorization"].partition(".")[0])


def key(
    headers: dict[str, str] | None = None,
    user: str | None = None,
    session_id: str | None = None,
    *,
    identities: Identities = IDENTITIES,
    upstream: Upstream = ECHO,
    gateway_id: str | None = None,
) -> PoolKey:
    return key_of(identities.who(headers, user), upstream, gateway_id, session_id)


def bearer(token: str) -> dict[str, str]:
    return {"authorization": token}


@pytest.mark.holds("L1")
def test_callers_that_differ_in_anything_have_keys_of_their_own() -> None:
    for session_id in (None, "a"):
        keys = [
            key(session_id=session_id),
            key(bearer("ada.1"), session_id=session_id),
            key(bearer("bob.1"), session_id=session_id),
            key(None, "ada", session_id),
            key(None, "bob", session_id),
            key(session_id=session_id, gateway_id="g1"),
            key(session_id=session_id, gateway_id=""),
            key(session_id=session_id, upstream=Upstream(ECHO.url + "?a")),
            key(session_id=session_id, upstream=Upstream(ECHO.url, mode="legacy")),
            key(session_id=session_id, upstream=Upstream(ECHO.url, transport="sse")),
            key(bearer("ada.1"), session_id=session_id, identities=STEADY),
        ]
        assert len(set(keys)) == len(keys)


@pytest.mark.holds("L5", "L7")
def test_a_token_that_rotates_stays_in_its_own_pool_and_its_own_conversation() -> None:
    one, other = bearer("ada.1"), bearer("ada.2")
    assert key(one, identities=STEADY) == key(other, identities=STEADY)
    assert key(one, session_id="a", identities=STEADY) == key(other, session_id="a", identities=STEADY)
    assert key(one, "ada", "a") == key(other, "ada", "a")
    assert key(one, "ada") != key(other, "ada"), "nothing but its session says that it is one conversation"
    assert key(one, session_id="a") != key(other, session_id="a"), "nothing says who it is but the token"


@pytest.mark.holds("L1", "L6")
def test_two_downstream_sessions_have_keys_of_their_own() -> None:
    assert key(None, "ada", "a") != key(None, "ada", "b")
    assert key(None, "ada", "a") != key(None, "ada")


@pytest.mark.holds("X1")
def test_a_gateway_or_session_id_that_cannot_be_used_is_refused() -> None:
    with pytest.raises(InvalidSettings, match="session_id must be 1 to 128 of") as caught:
        key(session_id="s3cret\n")
    assert "s3cret" not in str(caught.value)
    with pytest.raises(InvalidSettings, match="gateway_id must be text or None, not int"):
        key(gateway_id=5)  # type: ignore[arg-type]


@pytest.mark.holds("L1")
@pytest.mark.parametrize("field", PoolKey._fields)
def test_keys_that_differ_in_one_field_differ(field: str) -> None:
    assert KEY._replace(**{field: "other"}) != KEY
    assert KEY._replace(**{field: None}) != KEY


def test_a_key_is_sticky_if_it_is_one_downstream_sessions() -> None:
    assert KEY.is_sticky
    assert not KEY._replace(session_id=None).is_sticky


@pytest.mark.holds("X1")
def test_a_key_shows_nothing_that_is_secret() -> None:
    name = KEY.name
    assert name.startswith("https://host/mcp, user 'ada', identity 01234567, gateway 'g1', session ")
    digest = name.rpartition(" ")[2]
    assert len(digest) == 8
    assert int(digest, 16) >= 0
    assert "s3cret" not in f"{KEY!r}{KEY}{name}"
    assert "0123456789" not in repr(KEY)
    assert repr(KEY) == f"<PoolKey {name}>"


@pytest.mark.holds("X1")
def test_what_is_shown_of_a_session_cannot_be_tried_out_without_its_principal() -> None:
    other = KEY._replace(identity="f" * 64)
    assert KEY.name.rpartition(" ")[2] != other.name.rpartition(" ")[2]
    anonymous = KEY._replace(identity="", user=None, gateway_id=None)
    assert anonymous.name.startswith("https://host/mcp, anonymous, session ")


def test_keys_that_differ_in_what_is_shown_of_them_are_shown_differently() -> None:
    assert KEY.name != KEY._replace(session_id="another").name
    assert KEY._replace(session_id=None).name == "https://host/mcp, user 'ada', identity 01234567, gateway 'g1'"
    shared = KEY._replace(user=None, gateway_id=None, session_id=None)
    assert shared.name == "https://host/mcp, identity 01234567"
    assert shared._replace(url="http://host#s3cret", identity="").name == "http://host, anonymous"


def test_a_key_made_without_its_class_is_the_same() -> None:
    assert tuple.__new__(PoolKey, FIELDS) == KEY  # pyright: ignore[reportUnknownMemberType]
    assert PoolKey(*FIELDS[:5]) == PoolKey(*FIELDS[:5], None)
    short: PoolKey = tuple.__new__(PoolKey, FIELDS[:5])  # pyright: ignore[reportUnknownMemberType]
    assert not short.is_sticky


@pytest.mark.holds("B1", "X1")
def test_what_a_server_refuses_is_a_credential_else_a_user_else_what_the_extractor_made_of_its_caller() -> None:
    assert KEY.credential_name("digest") == "digest"
    assert KEY.credential_name("") == "user 'ada'"
    nameless = KEY._replace(user=None)
    assert nameless.credential_name("digest") == "digest"
    assert nameless.credential_name("") == nameless.identity
    assert nameless._replace(identity=ANONYMOUS).credential_name("") == ANONYMOUS
