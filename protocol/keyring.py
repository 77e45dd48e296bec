"""The keys that workers sign what they send each other with.

The rules
---------
- Several secrets, each under a key id. One of them signs, all of them verify: so secrets rotate without a stop. First
  every worker is given the new one beside the old, which still signs; then the new one signs; then the old one goes.
- No secret is a key itself. The key is derived from it under a label of its own, so that an operator who uses one text
  for the cluster and for identities (`protocol.identity`) has two keys all the same.
- A keyring always signs. `Keyring.public` signs with a key that everybody can make: it tells damage and mix-ups, and
  keeps nobody out who can reach the Redis.
- Only keys are kept, as states of the hash function: no secret is in a repr, an error or an attribute. Nor is a key id
  in an error, since it may be a secret that was put in the wrong place.
"""

import hashlib
import hmac
import re
from collections.abc import Mapping
from typing import Final, Self

from typing_extensions import override

from protocol.errors import InvalidSettings

SIGNATURE_SIZE: Final = 32
"""Bytes of a signature, which is an HMAC-SHA256."""

SHORTEST_SECRET: Final = 16
"""Bytes that a secret has at least."""


class Keyring:
    """The secrets of a cluster.

    Args:
        secrets: each by its key id, which is one to sixteen letters, digits, `_` and `-`. A secret has at least
            `SHORTEST_SECRET` bytes, and should be as hard to guess as random ones.
        signing: the key id of the one that signs.

    Attributes:
        signing: the key id of the one that signs.
        key_ids: those of all that verify.
        is_public: whether the key is the one that everybody can make.

    Raises:
        InvalidSettings: a key id or a secret cannot be used, or `signing` is none of them. No value is shown.
    """

    __slots__ = ("_keys", "is_public", "key_ids", "signing")

    def __init__(self, secrets: Mapping[str, bytes], *, signing: str) -> None:
        for key_id, secret in secrets.items():
            _check_key_id(key_id)
            _checked(secret)
        if signing not in secrets:
            raise InvalidSettings("the key id that signs must be that of one of the cluster's secrets")
        self._keys = {
            key_id.encode(): hmac.new(_derive(secret, _KEY, SIGNATURE_SIZE).digest(), digestmod=hashlib.sha256)
            for key_id, secret in secrets.items()
        }
        self.signing = signing
        self.key_ids = tuple(secrets)
        self.is_public = False

    @classmethod
    def of(cls, secret: str | bytes, *others: str | bytes) -> Self:
        """A keyring of secrets without names: their key ids are made from them, the same in every worker.

        Args:
            secret: the one that signs. Text stands for its UTF-8.
            others: those that verify only: the one that signed before, or the one that will sign next.

        Raises:
            InvalidSettings: one cannot be used.
        """
        given = [_checked(_bytes_of(each)) for each in (secret, *others)]
        secrets = {_derive(each, _KEY_ID, _KEY_ID_SIZE).hexdigest(): each for each in given}
        return cls(secrets, signing=next(iter(secrets)))

    @classmethod
    def public(cls) -> Self:
        """The keyring of who has no secret. Everybody can make it, so what it signs proves nothing of its sender."""
        keyring = cls({"public": _PUBLIC}, signing="public")
        keyring.is_public = True
        return keyring

    def sign(self, *parts: bytes) -> bytes:
        """The signature of the parts, taken as one."""
        return _mac(self._keys[self.signing.encode()], parts)

    def __contains__(self, key_id: bytes) -> bool:
        """Whether there is a key of this id, which is given as it comes over the wire."""
        return key_id in self._keys

    def verifies(self, key_id: bytes, signature: bytes, *parts: bytes) -> bool:
        """Whether the key of this id, which there is, made the signature of the parts. Takes as long for each."""
        return hmac.compare_digest(_mac(self._keys[key_id], parts), signature)

    @override
    def __repr__(self) -> str:
        return f"<Keyring signs with {self.signing}, verifies {', '.join(self.key_ids)}>"


def _mac(key: hmac.HMAC, parts: tuple[bytes, ...]) -> bytes:
    # To copy a key that was set up takes three quarters of the time that `hmac.digest` takes with one that was not.
    mac = key.copy()
    for part in parts:
        mac.update(part)
    return mac.digest()


def _derive(secret: bytes, label: bytes, size: int) -> "hashlib.blake2b":
    # BLAKE2's key has at most 64 bytes. `person` is what keeps one use of a secret apart from another.
    key = secret if len(secret) <= hashlib.blake2b.MAX_KEY_SIZE else hashlib.sha256(secret).digest()
    return hashlib.blake2b(key=key, person=label, digest_size=size)


def _check_key_id(key_id: object) -> None:
    if not isinstance(key_id, str) or not _KEY_ID_TEXT.fullmatch(key_id):
        raise InvalidSettings("the key id of a cluster's secret must be 1 to 16 letters, digits, _ and - (ASCII)")


def _checked(secret: object) -> bytes:
    if not isinstance(secret, bytes):
        raise InvalidSettings(f"a cluster's secret must be bytes, not {type(secret).__name__}")
    if len(secret) < SHORTEST_SECRET:
        raise InvalidSettings(f"a cluster's secret must have at least {SHORTEST_SECRET} bytes, and one has fewer")
    return secret


def _bytes_of(secret: object) -> object:
    if not isinstance(secret, str):
        return secret
    try:
        return secret.encode()
    except UnicodeEncodeError:  # which holds the text
        raise InvalidSettings("a cluster's secret holds half of a surrogate pair, which no encoding has") from None


_KEY_ID_TEXT: Final = re.compile(r"[A-Za-z0-9_-]{1,16}")
_KEY: Final = b"cluster key"
_KEY_ID: Final = b"cluster key id"
_KEY_ID_SIZE: Final = 6  # twelve hexadecimal digits
_PUBLIC: Final = b"troupe cluster without a secret"
