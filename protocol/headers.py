"""HTTP headers: what one may be, and which are passed on to a server; and downstream session ids.

The rules
---------
- A name is a token, and a value is visible ASCII with spaces and tabs within it (RFC 9110, sections 5.1 and 5.5). So no
  header can be read as two: CR, LF and NUL are refused.
- Names are compared without regard to case, and none is given twice.
- What belongs to a gateway, to the protocol, to the connection or to the message stays here. A session has its own.
- A downstream session id is checked in whole before it reaches a key, a channel or a log.

Values are never shown in an error: any of them may be a secret.
"""

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

from protocol.errors import InvalidSettings

IDENTITY_HEADERS: Final = ("authorization", "cookie", "x-api-key", "x-tenant-id", "x-user-id")
"""The headers that authenticate, unless the settings say otherwise. In lower case."""

NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})

NOT_FORWARDED: Final = frozenset(
    {
        # the gateway's own: who sent them from outside forged them
        *("x-forwarded-internally", "x-mcp-session-id"),
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
        # the HTTP client's: it decodes what it asked for, and nothing else
        "accept-encoding",
    }
)
"""Headers that are never passed on to a server, in lower case; see `NOT_FORWARDED_PREFIXES` for the rest."""

NOT_FORWARDED_PREFIXES: Final = ("mcp-param-", "x-troupe-")
"""Headers whose lower-case names begin so are not passed on either: arguments mirrored by the SDK, and Troupe's own."""


def is_forwarded(name: str) -> bool:
    """Whether the header of this lower-case name is passed on to a server."""
    return name not in NOT_FORWARDED and not name.startswith(NOT_FORWARDED_PREFIXES)


def forwarded(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers that are passed on to a server, with their names as given."""
    return {name: value for name, value in headers.items() if is_forwarded(name.lower())}


def lowered(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers by their lower-case names.

    Raises:
        InvalidSettings: one is given twice, in different cases.
    """
    given: dict[str, str] = {}
    for name, value in headers.items():
        if (lower := name.lower()) in given:
            raise given_twice(lower)
        given[lower] = value
    return given


def check_headers(headers: Mapping[str, str]) -> None:
    """Refuse headers that are none, or that could be read as more than one.

    Raises:
        InvalidSettings: a name is not a token, a value is not visible ASCII with spaces and tabs within, or a header is
            given twice, in different cases. Values are not shown.
    """
    for name, value in headers.items():
        check_header_name(name)
        check_header_value(name, value)
    lowered(headers)


def check_header_name(name: str) -> None:
    """Refuse a header name that is not a token.

    Raises:
        InvalidSettings: so it is.
    """
    if not isinstance(name, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidSettings(f"a header's name must be text, not {type(name).__name__}")
    if _TOKEN.fullmatch(name) is None:
        raise InvalidSettings(
            f"header name {name[:_SHOWN]!r} is not one: it must be of letters, digits and !#$%&'*+-.^_`|~"
        )


def check_header_value(name: str, value: str) -> None:
    """Refuse a value that a header cannot have.

    Raises:
        InvalidSettings: so it is. The value is not shown.
    """
    if not isinstance(value, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidSettings(f"header {name[:_SHOWN]}: its value must be text, not {type(value).__name__}")
    if _FIELD_VALUE.fullmatch(value) is None:
        raise InvalidSettings(
            f"header {name[:_SHOWN]}: its value must be visible ASCII, without line breaks, NUL or space around it"
        )


def given_twice(name: str) -> InvalidSettings:
    """The error for a header that is given under two names which differ in case only."""
    return InvalidSettings(f"header {name[:_SHOWN]} is given twice, in different cases: give it once")


def canonical_names(names: Iterable[str]) -> tuple[str, ...]:
    """Header names in lower case and alphabetical order, so that neither case nor order makes a difference.

    Raises:
        InvalidSettings: one is not a token, or two are the same.
    """
    known: set[str] = set()
    for name in names:
        check_header_name(name)
        if (lower := name.lower()) in known:
            raise given_twice(lower)
        known.add(lower)
    return tuple(sorted(known))


def is_session_id(text: str) -> bool:
    """Whether a text can be a downstream session id."""
    return _SESSION_ID.fullmatch(text) is not None


def check_session_id(session_id: str) -> None:
    """Refuse what cannot be a downstream session id: it is 1 to 128 of A-Z, a-z, 0-9, `_` and `-`, and nothing else.

    Raises:
        InvalidSettings: so it is. The message tells its kind or length, and never the text, which whoever holds it may
            use.
    """
    if not isinstance(session_id, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidSettings(f"session_id must be text or None, not {type(session_id).__name__}")
    if not is_session_id(session_id):
        length = len(session_id)
        is_long = not 1 <= length <= _LONGEST_SESSION_ID
        what = f"text of {length} characters" if is_long else "text with other characters in it"
        raise InvalidSettings(f"session_id must be 1 to {_LONGEST_SESSION_ID} of A-Z, a-z, 0-9, _ and -, not {what}")


_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_FIELD_VALUE: Final = re.compile(r"(?:[\x21-\x7e](?:[\x20-\x7e\t]*[\x21-\x7e])?)?")
_LONGEST_SESSION_ID: Final = 128
_SESSION_ID: Final = re.compile(r"[A-Za-z0-9_\-]{1,128}")
_SHOWN: Final = 64
"""How much of a name is shown at most."""
