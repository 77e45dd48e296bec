"""The cluster's keys: which secrets are taken, who understands whom, and that none is ever shown."""

import hashlib
import hmac
import string
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import InvalidSettings
from protocol.identity import digest_of
from protocol.keyring import SIGNATURE_SIZE, Keyring

OLD, NEW, OTHER = (letter * 16 for letter in (b"o", b"n", b"x"))
KEY_IDS = st.text(string.ascii_letters + string.digits + "_-", min_size=1, max_size=16)
SECRETS = st.binary(min_size=16, max_size=100)


def takes(receiver: Keyring, sender: Keyring) -> bool:
    key_id = sender.signing.encode()
    return key_id in receiver and receiver.verifies(key_id, sender.sign(b"hello"), b"hello")


@given(st.dictionaries(KEY_IDS, SECRETS, min_size=1, max_size=4), st.data())
def test_one_key_signs_and_all_verify(secrets: dict[str, bytes], data: st.DataObject) -> None:
    keyring = Keyring(secrets, signing=data.draw(st.sampled_from(sorted(secrets))))
    for key_id, secret in secrets.items():
        assert takes(keyring, Keyring(secrets, signing=key_id))
        other = Keyring({key_id: secret + b"x"}, signing=key_id)
        assert not takes(keyring, other)
    assert keyring.key_ids == tuple(secrets)
    assert keyring.is_public is False
    assert b"not one of them" not in keyring


@pytest.mark.holds("C8")
def test_secrets_rotate_with_no_moment_in_which_two_workers_do_not_understand_each_other() -> None:
    named = [
        Keyring({"old": OLD}, signing="old"),
        Keyring({"old": OLD, "new": NEW}, signing="old"),
        Keyring({"old": OLD, "new": NEW}, signing="new"),
        Keyring({"new": NEW}, signing="new"),
    ]
    unnamed = [Keyring.of(OLD), Keyring.of(OLD, NEW), Keyring.of(NEW, OLD), Keyring.of(NEW)]
    for steps in (named, unnamed):
        for before, after in pairwise(steps):
            assert takes(before, after)
            assert takes(after, before)
        assert not takes(steps[0], steps[-1])
        assert not takes(steps[-1], steps[0])


@pytest.mark.holds("C8")
def test_a_secret_without_a_name_makes_the_same_key_and_key_id_in_every_worker_and_others_of_another() -> None:
    one, same, other = Keyring.of("sécret" * 4), Keyring.of(("sécret" * 4).encode()), Keyring.of("sécret" * 5)
    assert one.signing == same.signing
    assert one.sign(b"hello") == same.sign(b"hello")
    assert set(one.signing) <= set(string.hexdigits)
    assert len(one.signing) == 12
    assert one.signing != other.signing
    assert one.sign(b"hello") != other.sign(b"hello")
    assert Keyring.of(OLD, OLD).key_ids == Keyring.of(OLD).key_ids


@pytest.mark.holds("C8")
@pytest.mark.parametrize("size", [16, 64, 65])
def test_a_key_is_neither_its_secret_nor_what_identities_are_hashed_with_under_the_same_text(size: int) -> None:
    secret = b"s" * size
    keyring = Keyring({"a": secret}, signing="a")
    assert keyring.sign(b"hello") != hmac.digest(secret, b"hello", "sha256")
    for kind in ("headers", "extracted", "user", "session"):
        key = bytes.fromhex(digest_of("", kind, secret))
        assert keyring.sign(b"hello") != hmac.digest(key, b"hello", "sha256")
    hashed = secret if size <= 64 else hashlib.sha256(secret).digest()
    key = hashlib.blake2b(key=hashed, person=b"cluster key", digest_size=32).digest()
    assert keyring.sign(b"hello") == hmac.digest(key, b"hello", "sha256"), "or a deploy would not roll"
    key_id = hashlib.blake2b(key=hashed, person=b"cluster key id", digest_size=6).hexdigest()
    assert Keyring.of(secret).signing == key_id


def test_parts_are_signed_as_one_and_a_signature_has_its_size() -> None:
    keyring = Keyring.of(OLD)
    signature = keyring.sign(b"he", b"", b"llo")
    assert signature == keyring.sign(b"hello")
    assert len(signature) == SIGNATURE_SIZE
    key_id = keyring.signing.encode()
    assert keyring.verifies(key_id, signature, b"hell", b"o")
    assert not keyring.verifies(key_id, signature, b"hell")
    assert not keyring.verifies(key_id, signature[:-1], b"hello")


@pytest.mark.holds("C8")
def test_who_has_a_secret_takes_nothing_of_who_has_none() -> None:
    public = Keyring.public()
    assert public.is_public
    assert takes(public, Keyring.public())
    assert not takes(Keyring.of(OLD), public)
    assert not takes(Keyring({"public": OLD}, signing="public"), public)
    assert not takes(public, Keyring.of(OLD))
    assert not Keyring.of(OLD).is_public


@pytest.mark.parametrize("key_id", ["", "a" * 17, "a b", "é", "a\n", "a.b", 5, b"a", None])
def test_a_key_id_is_one_to_sixteen_letters_digits_and_dashes(key_id: Any) -> None:
    Keyring({"a": OLD, "aZ09_-aaaaaaaaaa": OLD}, signing="a")
    with pytest.raises(InvalidSettings) as caught:
        Keyring({"a": OLD, key_id: OLD}, signing="a")
    assert str(caught.value) == "the key id of a cluster's secret must be 1 to 16 letters, digits, _ and - (ASCII)"


@pytest.mark.parametrize(
    ("secret", "why"),
    [
        (b"", "a cluster's secret must have at least 16 bytes, and one has fewer"),
        (b"s" * 15, "a cluster's secret must have at least 16 bytes, and one has fewer"),
        (5, "a cluster's secret must be bytes, not int"),
        (None, "a cluster's secret must be bytes, not NoneType"),
        (bytearray(16), "a cluster's secret must be bytes, not bytearray"),
    ],
)
def test_a_secret_is_sixteen_bytes_at_least(secret: Any, why: str) -> None:
    for make in (
        lambda: Keyring({"a": OLD, "b": secret}, signing="a"),
        lambda: Keyring.of(secret),
        lambda: Keyring.of(OLD, secret),
    ):
        with pytest.raises(InvalidSettings) as caught:
            make()
        assert str(caught.value) == why
    assert Keyring.of("é" * 8).key_ids, "bytes count, not letters"


def test_the_key_that_signs_is_one_of_them() -> None:
    for secrets in ({}, {"a": OLD}):
        with pytest.raises(InvalidSettings) as caught:
            Keyring(secrets, signing="b")
        assert str(caught.value) == "the key id that signs must be that of one of the cluster's secrets"


@pytest.mark.holds("X1")
def test_no_secret_is_shown_in_a_repr_in_an_attribute_or_in_an_error_also_when_it_is_in_the_wrong_place() -> None:
    secret = "-".join(["s3cret"] * 3)
    keyring = Keyring({"new": secret.encode(), "old": OLD}, signing="new")
    assert repr(keyring) == "<Keyring signs with new, verifies new, old>"
    shown = [repr(getattr(keyring, name)) for name in Keyring.__slots__]
    wrong: list[Any] = [
        lambda: Keyring({secret: b"a"}, signing=secret),
        lambda: Keyring({secret[:16]: b"a"}, signing="a"),
        lambda: Keyring({"a": secret}, signing="a"),  # type: ignore[dict-item]
        lambda: Keyring({"a": OLD}, signing=secret),
        lambda: Keyring.of("s3cret"),
        lambda: Keyring.of(secret + "\ud800"),
    ]
    for make in wrong:
        with pytest.raises(InvalidSettings) as caught:
            make()
        shown.append(str(caught.value))
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__ or caught.value.__context__ is None
    assert "s3cret" not in "".join(shown)


def test_text_that_no_encoding_has_is_refused() -> None:
    with pytest.raises(InvalidSettings) as caught:
        Keyring.of("\ud800" * 20)
    assert str(caught.value) == "a cluster's secret holds half of a surrogate pair, which no encoding has"
