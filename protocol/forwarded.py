"""A request on its way to the worker that owns its downstream session: the payload of an envelope that is a REQUEST.

The rules
---------
- The owner is told all that a local call would be, and what it makes of it is checked by the same functions: the
  session's id, the method and its params, the headers, the user and the gateway, the upstream.
- Headers are those that a local call would use: what is passed on to a server, and what identifies the caller. Others,
  the gateway's own among them, do not travel, and are refused if they come.
- A request under a lease, or for one, says so besides (`protocol.remote_lease`). One that has nothing to do with any
  has the fields that it always had, so that a worker which knows nothing of leases understands it.
- An upstream travels as data. A function does not: an upstream that has one is refused before anything is sent.
- Whatever the bytes are, what is not taken is `EnvelopeRefused`, and no text says what was in them.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import field
from functools import lru_cache
from typing import Any, Final, TypeVar

from protocol.errors import EnvelopeRefused, InvalidMethod, InvalidParams, InvalidSettings, Refusal
from protocol.headers import IDENTITY_HEADERS, NO_HEADERS, check_headers, check_session_id, is_forwarded
from protocol.identity import check_name, user_of
from protocol.json_text import as_object, from_json, to_json
from protocol.layout import Accepts, Layout, is_bytes, is_flag, is_text, or_none
from protocol.message import message
from protocol.raw_request import RawRequest
from protocol.remote_lease import Part, pack_part, unpack_part
from protocol.upstream import Tls, Upstream

T = TypeVar("T")

KNOWN: Final = 256
"""Upstreams that are kept, made and packed: there are few, and many requests of each."""


@message
class ForwardedRequest:
    """What the owner of a downstream session is asked to do. Made by `of`, or read by `unpack`: both check it.

    Attributes:
        session_id: the downstream session.
        token: of the holding that it is meant for; another holding of the same worker is another owner.
        upstream: the server; it has no `http_client`.
        request: the method, and the params.
        headers: those of the caller that a local call uses, with their names as given.
        user: who the session is for, as text.
        gateway_id: on whose behalf.
        principal: the digest of whose the session is, as the asker found.
        idempotent: whether it may run again where nobody knows if it has run.
        lease: what it has to do with a lease of the asker's; None for nothing.
    """

    session_id: str = field(repr=False)
    token: str = field(repr=False)
    upstream: Upstream
    request: RawRequest
    headers: Mapping[str, str] = field(repr=False)
    user: str | None
    gateway_id: str | None
    principal: str = field(repr=False)
    idempotent: bool
    lease: Part | None = None

    @classmethod
    def of(
        cls,
        *,
        session_id: str,
        token: str,
        upstream: Upstream,
        request: RawRequest,
        headers: Mapping[str, str] | None,
        user: str | None,
        gateway_id: str | None,
        principal: str,
        idempotent: bool = False,
        lease: Part | None = None,
        identity_headers: Collection[str] = IDENTITY_HEADERS,
    ) -> "ForwardedRequest":
        """The request that is forwarded in place of a local call with these arguments.

        Args:
            session_id: as the attribute, and so are the others.
            token: of the holding.
            upstream: the server.
            request: what is asked of it.
            headers: all that the caller gave; those that a local call would not use are left out.
            user: who it is for, as `Caller.user`.
            gateway_id: on whose behalf.
            principal: as `Caller.principal`.
            idempotent: whether it may run twice.
            lease: what it has to do with a lease.
            identity_headers: lower-case names of those that authenticate, though they are not passed on.

        Raises:
            InvalidSettings: an argument cannot be used; the message names it, and shows no secret.
        """
        check_forwardable(upstream)
        given = headers or NO_HEADERS
        _check(session_id, given, user, gateway_id)
        used = {name: value for name, value in given.items() if _is_used(name, identity_headers)}
        return cls(session_id, token, upstream, request, used, user, gateway_id, principal, idempotent, lease)

    def pack(self) -> bytes:
        """The request as the payload of an envelope.

        Raises:
            EnvelopeRefused: nobody would take it (MALFORMED).
        """
        params = self.request.params
        values = (
            self.session_id,
            self.token,
            _said_of(self.upstream),
            self.request.method,
            None if params is None else to_json(params),
            to_json(dict(self.headers)),
            None if self.user is None else self.user.encode(),
            None if self.gateway_id is None else self.gateway_id.encode(),
            self.principal,
            self.idempotent,
        )
        return _REQUEST.pack(values) if self.lease is None else _LEASED.pack((*values, pack_part(self.lease)))

    @classmethod
    def unpack(cls, payload: bytes, *, identity_headers: Collection[str] = IDENTITY_HEADERS) -> "ForwardedRequest":
        """The request that an envelope's payload is.

        Args:
            payload: what came.
            identity_headers: lower-case names of those that may come though they are not passed on to a server.

        Raises:
            EnvelopeRefused: it is none, or one that could not be made here (MALFORMED). Nothing else is raised,
                whatever the bytes are.
        """
        values, lease = _unpacked(payload)
        session_id, token, upstream, method, params, said, user, gateway_id, principal, idempotent = values
        headers = _headers_of(from_json(said), identity_headers)
        user, gateway_id = _text_of(user), _text_of(gateway_id)
        _taken(lambda: _check(session_id, headers, user, gateway_id))
        made = _taken(lambda: _upstream_of(upstream))
        request = _taken(lambda: RawRequest.of(method, _params_of(params)))
        return cls(session_id, token, made, request, headers, user, gateway_id, principal, idempotent, lease)


def check_forwardable(upstream: Upstream) -> None:
    """Refuse an upstream whose conversations cannot be served by another worker than the one that was asked.

    Raises:
        InvalidSettings: it has an `http_client`, which is a function of this process.
    """
    if upstream.http_client is not None:
        raise InvalidSettings(
            f"upstream {upstream.address} has an http_client, a function that cannot be sent to another worker, so its "
            "conversations cannot be forwarded: leave it out, and give tls or headers, which are sent along"
        )


# --- what is the same on both ways ------------------------------------------------------------------------------------


def _is_used(name: str, identity_headers: Collection[str]) -> bool:
    lower = name.lower()
    return is_forwarded(lower) or lower in identity_headers


def _check(session_id: str, headers: Mapping[str, str], user: str | None, gateway_id: str | None) -> None:
    """What a local call refuses of these."""
    check_session_id(session_id)
    check_headers(headers)
    user_of(user)
    if gateway_id is not None:
        check_name("gateway_id", gateway_id)


def _said_of(upstream: Upstream) -> bytes:
    return _said(upstream.tls, *[getattr(upstream, name) for name in _UPSTREAM])


# Not by the upstream itself: two may be equal, and have different names.
@lru_cache(KNOWN, typed=True)
def _said(tls: Tls, *fields: object) -> bytes:
    by_name = dict(zip(_UPSTREAM, fields, strict=True))
    return to_json({**by_name, "tls": {name: getattr(tls, name) for name in _TLS}})


def _unpacked(payload: bytes) -> tuple[tuple[Any, ...], Part | None]:
    """The fields that every request has, and what it has to do with a lease."""
    try:
        return _REQUEST.unpack(payload), None
    except EnvelopeRefused as refusal:
        try:
            *values, packed = _LEASED.unpack(payload)
        except EnvelopeRefused:
            raise refusal from None
    return tuple(values), unpack_part(packed)


# --- what came, and may be anything -----------------------------------------------------------------------------------


def _taken(make: Callable[[], T]) -> T:
    """What a local call would make, or refuse by names that may be shown to its caller, and not to another worker."""
    try:
        return make()
    except (InvalidSettings, InvalidMethod, InvalidParams):
        raise _refusal("holds what no call may") from None


def _headers_of(said: Any, identity_headers: Collection[str]) -> dict[str, str]:
    headers = as_object(said)
    if not all(_is_used(name, identity_headers) for name in headers):
        raise _refusal("has headers that are not for another worker")
    return headers


@lru_cache(KNOWN)
def _upstream_of(said: bytes) -> Upstream:
    fields = as_object(from_json(said))
    tls = as_object(fields.pop("tls", None))
    if fields.keys() != set(_UPSTREAM) or tls.keys() != set(_TLS):
        raise _refusal("has an upstream of other fields")
    return Upstream(**fields, tls=Tls(**tls))


def _params_of(packed: bytes | None) -> dict[str, Any] | None:
    return None if packed is None else as_object(from_json(packed))


def _text_of(packed: bytes | None) -> str | None:
    try:
        return None if packed is None else packed.decode()
    except UnicodeDecodeError:
        raise _refusal("has a name that is no text") from None


def _refusal(why: str) -> EnvelopeRefused:
    return EnvelopeRefused(f"{_WHAT} {why}", reason=Refusal.MALFORMED)


def _is_principal(value: Any) -> bool:
    return value == "" or is_text(value)


_WHAT: Final = "a forwarded request"
_UPSTREAM: Final = ("url", "mode", "transport", "sharing", "name")
_TLS: Final = ("ca_file", "certificate", "key", "verify")
_FIELDS: Final[dict[str, Accepts]] = {
    "session id": is_text,
    "token": is_text,
    "upstream": is_bytes,
    "method": is_text,
    "params": or_none(is_bytes),
    "headers": is_bytes,
    "user": or_none(is_bytes),
    "gateway id": or_none(is_bytes),
    "principal": _is_principal,
    "idempotent": is_flag,
}
_REQUEST: Final = Layout(_WHAT, _FIELDS)
_LEASED: Final = Layout(_WHAT, {**_FIELDS, "lease": is_bytes})
