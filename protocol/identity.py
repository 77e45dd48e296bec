"""Who a caller is: identities, users and principals, and the digests that stand for them.

The rules
---------
- The **credential** is a digest over the authentication headers, each preceded by its length and put in a fixed order.
  So no two different sets of headers meet in one text. None of them: anonymous.
- The **identity** that sessions are pooled under is what the extractor made of the headers, and else the credential. So
  a token that rotates makes no new pool where there is an extractor.
- The **principal** that a downstream session is bound to is the extractor's result, else the user, else the credential.
  A conversation outlives the token that it began with, where its caller is known by something steadier.
- Every digest is keyed with the deployment's secret, so that nobody can try out low-entropy values against one seen in
  a log, and each kind of text is hashed apart: a user is never taken for an extractor's result of the same letters.
- Digests of credentials are not remembered. Hashing a header costs less than half a microsecond, and a cache would keep
  credentials in memory after their callers have gone. What is remembered is names, and users' digests; both bounded.
"""

import hashlib
from collections.abc import Callable, Collection, Mapping
from functools import lru_cache
from typing import Final, Literal, NamedTuple

from protocol.errors import InvalidSettings
from protocol.headers import (
    IDENTITY_HEADERS,
    NO_HEADERS,
    canonical_names,
    check_header_name,
    check_header_value,
    given_twice,
    is_forwarded,
    lowered,
)

ANONYMOUS: Final = ""
"""The identity and the principal of whoever shows neither."""

USER_FIELDS: Final = ("email", "sub", "id")
"""Which entry of a user given as a mapping says who it is, unless the settings say otherwise."""

Kind = Literal["headers", "extracted", "user", "session"]
"""What a text is that is hashed. Equal texts of different kinds have different digests."""

User = str | Mapping[str, object]
"""A user, as callers may give it."""

Extractor = Callable[[Mapping[str, str]], str | None]
"""Makes a stable identity of headers, which it is given by their lower-case names."""


class Caller(NamedTuple):
    """Who asks, as far as sharing sessions goes.

    Attributes:
        identity: what sessions are pooled under, for a key that is not sticky.
        user: as text.
        is_anonymous: whether neither headers nor a user tell this caller from any other, so that they share sessions.
        credential: the digest of the authentication headers, whatever the extractor made of them.
        headers: those that are passed on to the server.
        digest_of_user: makes the principal of a user. Only conversations and new keys need it.
    """

    identity: str
    user: str | None
    is_anonymous: bool
    credential: str
    headers: Mapping[str, str]
    digest_of_user: Callable[[str], str]

    @property
    def principal(self) -> str:
        """What a downstream session is bound to; in a sticky key it stands in place of the identity."""
        if self.user is None or self.identity != self.credential:  # which an extractor made, and no digest is another
            return self.identity
        return self.digest_of_user(self.user)

    def __repr__(self) -> str:
        return f"<Caller {self.principal[:8] or 'anonymous'}>"


class Identities:
    """Tells callers apart, under one secret. One per pool: it knows the names that it has seen.

    Args:
        secret: the deployment's, at least one byte.
        names: the headers that authenticate; neither case nor order matters.
        user_fields: which entry of a user given as a mapping says who it is: the first that is there.
        extractor: makes a stable identity of the headers.

    Attributes:
        fallbacks: how often the extractor failed or answered nothing, so that the headers were used instead.
        last_fallback: why, the last time. Holds nothing secret; "" if it never happened.

    Raises:
        InvalidSettings: a name is not one, or is given twice.
    """

    def __init__(
        self,
        *,
        secret: bytes,
        names: Collection[str] = IDENTITY_HEADERS,
        user_fields: tuple[str, ...] = USER_FIELDS,
        extractor: Extractor | None = None,
    ) -> None:
        self._authenticating = frozenset(canonical_names(names))
        self._user_fields = user_fields
        self._extractor = extractor
        self._secret = secret
        self._of_headers = _hash_of("headers", secret)
        self._of_user = lru_cache(_REMEMBERED)(self._hash_user)
        # Each name as it was given: in lower case, whether it is passed on, and how it enters the identity, if it does.
        self._names: dict[str, tuple[str, bool, str | None]] = {}
        self.fallbacks = 0
        self.last_fallback = ""

    def who(self, headers: Mapping[str, str] | None, user: User | None) -> Caller:
        """Who asks, of these headers and this user. The extractor is called here, in the caller's frame.

        Raises:
            InvalidSettings: a header or the user cannot be used; the message names it, and shows no value.
        """
        credential = ANONYMOUS
        sent = NO_HEADERS
        if headers:
            credential, sent = self._read(headers)
        elif user is None and self._extractor is None:
            return _NOBODY
        identity = credential
        text = None
        if user is not None:
            text = user if isinstance(user, str) and user and user.isascii() else user_of(user, self._user_fields)
        if self._extractor is not None and (extracted := self._extract(self._extractor, headers or NO_HEADERS)):
            identity = digest_of(extracted, "extracted", self._secret)
        # `Caller(...)` goes through a function written in Python, and takes three times as long.
        fields = (identity, text, text is None and not identity, credential, sent, self._of_user)
        return tuple.__new__(Caller, fields)  # pyright: ignore[reportUnknownMemberType] - a stub's own unknown

    def _read(self, headers: Mapping[str, str]) -> tuple[str, dict[str, str]]:
        """The credential in the headers, and those that are passed on. Checks them on the way; see `identify`."""
        names = self._names
        given: list[str] = []
        sent: dict[str, str] = {}
        proven: list[str] = []
        if headers.__class__ is not dict and not isinstance(headers, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidSettings(f"headers must be a mapping of names to values, not {type(headers).__name__}")
        for name, value in headers.items():
            known = names.get(name)
            lower, is_sent, prefix = self._learn(name) if known is None else known
            # What passes this is a value; whatever does not is looked at closely. A regular expression takes twice
            # as long.
            if not (value.__class__ is str and value.isascii() and value.isprintable() and value.strip() == value):
                check_header_value(name, value)
            given.append(lower)
            if is_sent:
                sent[name] = value
            if prefix is not None:
                proven.append(f"{prefix}{len(value)}:{value}")
        if len(given) > 1:
            if len(set(given)) < len(given):
                raise given_twice(next(name for name in given if given.count(name) > 1))
            proven.sort()
        if not proven:
            return ANONYMOUS, sent
        digest = self._of_headers.copy()
        digest.update("".join(proven).encode())
        return digest.hexdigest(), sent

    def _learn(self, name: str) -> tuple[str, bool, str | None]:
        check_header_name(name)
        lower = name.lower()
        prefix = f"{len(lower)}:{lower}" if lower in self._authenticating else None
        known = (lower, is_forwarded(lower), prefix)
        if len(name) <= _LONGEST_REMEMBERED:
            if len(self._names) >= _REMEMBERED:
                self._names.clear()
            self._names[name] = known
        return known

    def _hash_user(self, user: str) -> str:
        return digest_of(user, "user", self._secret)

    def _extract(self, extractor: Extractor, headers: Mapping[str, str]) -> str | None:
        try:
            extracted = extractor(lowered(headers))
        except Exception as error:  # noqa: BLE001 - whatever it is, the headers are there instead; it may quote a token
            why = f"it raised {type(error).__name__}"
        else:
            if isinstance(extracted, str) and extracted:
                return extracted
            why = "it answered nothing" if not extracted else f"it answered with {type(extracted).__name__}, not text"
        self.fallbacks += 1
        self.last_fallback = why
        return None


def identify(headers: Mapping[str, str] | None, *, secret: bytes, names: Collection[str] = IDENTITY_HEADERS) -> str:
    """The identity that these headers prove, as 64 hexadecimal digits; `ANONYMOUS` if none of them is a credential.

    This is the definition; `Identities.who` reaches the same faster. The headers are not checked.

    Raises:
        InvalidSettings: a header is given twice under names that differ in case only, or a name in `names` is not one.
    """
    given = lowered(headers or NO_HEADERS)
    proven = sorted(
        f"{len(name)}:{name}{len(given[name])}:{given[name]}" for name in canonical_names(names) if name in given
    )
    return digest_of("".join(proven), "headers", secret) if proven else ANONYMOUS


def digest_of(text: str, kind: Kind, secret: bytes) -> str:
    """What stands for a text of this kind: 64 hexadecimal digits, which only who has the secret can make."""
    digest = _hash_of(kind, secret)
    digest.update(text.encode(errors="surrogatepass"))
    return digest.hexdigest()


def user_of(user: User | None, fields: tuple[str, ...] = USER_FIELDS) -> str | None:
    """A user as text, so that one user is the same whichever way it is given.

    Text stays as it is. Of a mapping it is the first of `fields` that is there: text, or a whole number written out.
    None and empty text count as not there, lest all who lack an address were one user; for the same reason a user
    cannot be empty text.

    Raises:
        InvalidSettings: it is of another kind, empty, has none of the fields, or is text that no encoding has.
    """
    if user is None:
        return None
    if not isinstance(user, str):
        if not isinstance(user, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidSettings(f"user must be text, a mapping or None, not {type(user).__name__}")
        user = _entry_of(user, fields)
    if not user:
        raise InvalidSettings("user is empty, and all who have none would be one: leave the user out, or give None")
    check_name("user", user)
    return user


def _entry_of(user: Mapping[str, object], fields: tuple[str, ...]) -> str:
    for field in fields:
        value = user.get(field)
        if value is None or value == "":
            continue
        if isinstance(value, str):
            return value
        if isinstance(value, int) and not isinstance(value, bool):
            return str(int(value))
        raise InvalidSettings(f"user[{field!r}] must be text or a whole number, not {type(value).__name__}")
    raise InvalidSettings(f"user has none of the fields {', '.join(fields)}, so nothing says who it is")


def check_name(what: str, value: str) -> None:
    """Refuse a user or gateway id that is not text, or not text that can be encoded.

    Raises:
        InvalidSettings: so it is; the message says which of them.
    """
    if not isinstance(value, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidSettings(f"{what} must be text or None, not {type(value).__name__}")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise InvalidSettings(f"{what} holds half of a surrogate pair, which no encoding has: {value!r}") from None


def _hash_of(kind: Kind, secret: bytes) -> "hashlib.blake2b":
    # BLAKE2's own keyed mode is as good a MAC as HMAC, at a third of the price. Its key has at most 64 bytes.
    key = secret if len(secret) <= hashlib.blake2b.MAX_KEY_SIZE else hashlib.sha256(secret).digest()
    return hashlib.blake2b(key=key, person=kind.encode(), digest_size=32)


_REMEMBERED: Final = 1_024
"""How many names, and how many users, are remembered at most."""

_LONGEST_REMEMBERED: Final = 64
_NOBODY: Final = Caller(ANONYMOUS, None, True, ANONYMOUS, NO_HEADERS, str)
