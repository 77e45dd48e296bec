"""Who a session may be shared with: pool keys and the identity in them.

The rules
---------
- A session is lent within one pool key only: (user, url, identity, transport, gateway id).
- The identity is a keyed hash over the authentication headers, by lower-case name, in a fixed order, each name and
  value preceded by its length. So no two different sets of headers meet in one text, and without the key nobody can try
  out low-entropy values against an identity seen in a log.
- No authentication headers: the identity is anonymous, and whoever asks without them shares sessions.
- The digest is never shortened in a key. What is shown of a key holds eight digits of it and no query string.
"""

import hashlib
import re
from collections.abc import Mapping
from typing import Final, NamedTuple

from protocol.errors import InvalidSettings

IDENTITY_HEADERS = ("authorization", "cookie", "x-api-key", "x-tenant-id", "x-user-id")
ANONYMOUS = ""

NOT_FORWARDED = frozenset(
    {
        # the gateway's own
        "x-mcp-session-id",
        # the protocol's: a session has its own
        *("last-event-id", "mcp-method", "mcp-name", "mcp-protocol-version", "mcp-session-id"),
        # the connection's (RFC 9110, section 7.6.1) and the message's
        *(
            "accept",
            "connection",
            "content-length",
            "content-type",
            "host",
            "keep-alive",
            "te",
            "trailer",
            "transfer-encoding",
        ),
        *("content-encoding", "expect", "proxy-authorization", "proxy-connection", "upgrade"),
    }
)
"""Headers that are never passed on to a server, in lower case."""


class PoolKey(NamedTuple):
    """What must be equal for two callers to share a session. A tuple, so that looking it up costs no Python code."""

    user: str | None
    url: str
    identity: str
    transport: str
    gateway_id: str | None

    @property
    def name(self) -> str:
        """The key as it may be shown: enough to tell keys apart, nothing that is secret."""
        shown = [self.url.partition("?")[0].partition("#")[0]]
        if self.user is not None:
            shown.append(f"user {self.user!r}")
        shown.append(f"identity {self.identity[:8]}" if self.identity else "anonymous")
        if self.gateway_id is not None:
            shown.append(f"gateway {self.gateway_id!r}")
        return ", ".join(shown)

    def __repr__(self) -> str:
        return f"<PoolKey {self.name}>"


def identify(headers: Mapping[str, str] | None, *, secret: bytes) -> str:
    """The identity that these headers prove, as 64 hexadecimal digits; `ANONYMOUS` if none of them is a credential.

    Header names are compared without regard to case (RFC 9110, section 5.1).

    Raises:
        InvalidSettings: a header is given twice under names that differ in case only.
    """
    if not headers:
        return ANONYMOUS
    given = {name.lower(): value for name, value in headers.items()}
    if len(given) < len(headers):
        raise InvalidSettings(f"header {_given_twice(headers)} is given twice, in different cases: give it once")
    proven = b""
    for name in IDENTITY_HEADERS:
        if (value := given.get(name)) is not None:
            text = value.encode()
            proven += b"%d:%s%d:%s" % (len(name), name.encode(), len(text), text)
    # BLAKE2's own keyed mode is as good a MAC as HMAC, at a third of the price. Its key has at most 64 bytes.
    key = secret if len(secret) <= hashlib.blake2b.MAX_KEY_SIZE else hashlib.sha256(secret).digest()
    return hashlib.blake2b(proven, key=key, digest_size=32).hexdigest() if proven else ANONYMOUS


def _given_twice(headers: Mapping[str, str]) -> str:
    names = [name.lower() for name in headers]
    return next(name for name in names if names.count(name) > 1)


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


def check_headers(headers: Mapping[str, str]) -> None:
    """Refuse headers that are none, or that could be read as more than one (RFC 9110, sections 5.1 and 5.5).

    Raises:
        InvalidSettings: a name is not a token, or a value is not visible ASCII with spaces and tabs within. Values are
            not shown.
    """
    for name, value in headers.items():
        if not isinstance(name, str) or not isinstance(value, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidSettings(f"header {name!r}: names and values must be text")
        if _TOKEN.fullmatch(name) is None:
            raise InvalidSettings(f"header name {name!r} is not one: it must be of letters, digits and !#$%&'*+-.^_`|~")
        if _FIELD_VALUE.fullmatch(value) is None:
            raise InvalidSettings(
                f"header {name}: its value must be visible ASCII, without line breaks, NUL or white space around it"
            )


_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_FIELD_VALUE: Final = re.compile(r"(?:[\x21-\x7e](?:[\x20-\x7e\t]*[\x21-\x7e])?)?")
