"""Who a session may be shared with: pool keys.

A session is lent within one pool key only. A sticky key, of one downstream session, holds its caller's principal in
place of the identity (`protocol.identity` says what they are), so that a token that rotates stays in its own
conversation. Digests are never shortened in a key; what is shown of one has eight digits of each, and no query string.
"""

import hashlib
from typing import Final, NamedTuple

from protocol.headers import NOT_FORWARDED, check_headers, check_session_id
from protocol.identity import ANONYMOUS, Caller, check_name, identify
from protocol.upstream import Upstream

__all__ = ["ANONYMOUS", "NOT_FORWARDED", "PoolKey", "check_headers", "check_name", "identify", "key_of"]


class PoolKey(NamedTuple):
    """What must be equal for two callers to share a session. A tuple, so that looking it up costs no Python code.

    Attributes:
        user: who the session is for, as text.
        url: the server's address.
        identity: the caller's identity; of a sticky key, its principal.
        transport: how the server is reached (`Upstream.way`).
        gateway_id: on whose behalf.
        session_id: the downstream session, for a key that is sticky.
    """

    user: str | None
    url: str
    identity: str
    transport: str
    gateway_id: str | None
    session_id: str | None = None

    @property
    def is_sticky(self) -> bool:
        """Whether this is the key of one downstream session."""
        return len(self) > _BEFORE_SESSION_ID and self.session_id is not None

    def credential_name(self, credential: str) -> str:
        """What a server refuses when it refuses a caller of this key whose credential has this digest.

        It is the digest. Callers whose credentials are in no identity header have none: they are told apart by their
        user, else by what the extractor made of them. Those of nobody are one.
        """
        if credential or self.user is None:
            return credential or self.identity
        return f"user {self.user!r}"

    @property
    def name(self) -> str:
        """The key as it may be shown: enough to tell keys apart, nothing that is secret."""
        shown = [self.url.partition("?")[0].partition("#")[0]]
        if self.user is not None:
            shown.append(f"user {self.user!r}")
        shown.append(f"identity {self.identity[:8]}" if self.identity else "anonymous")
        if self.gateway_id is not None:
            shown.append(f"gateway {self.gateway_id!r}")
        if self.is_sticky:
            shown.append(f"session {self._digest_of_session()}")
        return ", ".join(shown)

    def _digest_of_session(self) -> str:
        # Keyed with the principal's digest, of which no more than eight digits are ever shown.
        session_id, key = str(self.session_id).encode(), self.identity.encode()
        return hashlib.blake2b(session_id, key=key[: hashlib.blake2b.MAX_KEY_SIZE], digest_size=4).hexdigest()

    def __repr__(self) -> str:
        return f"<PoolKey {self.name}>"


def key_of(caller: Caller, upstream: Upstream, gateway_id: str | None, session_id: str | None) -> PoolKey:
    """The key that this caller's sessions with a server are pooled under.

    Args:
        caller: who asks, as `Identities.who` found.
        upstream: the server.
        gateway_id: on whose behalf.
        session_id: the downstream session, for a session of its own; None for one that is shared as the mode allows.

    Raises:
        InvalidSettings: `gateway_id` or `session_id` cannot be used; the latter is not shown.
    """
    if gateway_id is not None:
        check_name("gateway_id", gateway_id)
    identity = caller.identity
    if session_id is not None:
        check_session_id(session_id)
        identity = caller.principal
    # `PoolKey(...)` goes through a function written in Python, and takes three times as long.
    fields = (caller.user, upstream.url, identity, upstream.way, gateway_id, session_id)
    return tuple.__new__(PoolKey, fields)  # pyright: ignore[reportUnknownMemberType] - a stub's own unknown


_BEFORE_SESSION_ID: Final = 5
