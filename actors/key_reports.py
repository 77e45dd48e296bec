"""What a pool supervisor reports to the registry, which looks after what keys share: permits and servers."""

from typing import Any

from actors.lease import Lease
from actors.reply import Reply
from protocol.breakers import Attempt
from protocol.errors import TroupeError
from protocol.fault import Fault
from protocol.message import Answer, message

Key = Any
"""The supervisor itself, which is only compared: a key that was forgotten and came back is another one."""


@message
class PermitWanted(Answer):
    """The key wants to open a session, with this credential. `PermitGranted` or `PermitRefused` is to follow.

    `waiter`: whom it is for, which a refusal says again; None: a spare.
    """

    key: Key
    waiter: Reply[Lease] | None
    credential: str


@message
class PermitUnwanted(Answer):
    """One session fewer than was asked for."""

    key: Key


@message
class PermitReturned(Answer):
    """A session of the key has ended, or (then with its attempt) one that was permitted is not opened."""

    key: Key
    attempt: Attempt[str] | None


@message
class SessionIdled(Answer):
    """The key has an idle session. Told about once a second at most."""

    key: Key


@message
class SessionYielded(Answer):
    """The key closes a session that came free, for the sake of one that waits."""

    key: Key


@message
class NothingIdle(Answer):
    """The key was to make room, or to end (`was_to_end`), and somebody uses all that it has."""

    key: Key
    was_to_end: bool


@message
class KeyLeaves(Answer):
    """The key is ending: whoever asks for it from now on is to be served by a new one."""

    key: Key


@message
class AttemptPassedOn(Answer):
    """A session is opened for another caller than the one whose attempt was permitted, with another credential: `by` is
    what the attempt is from now on.
    """

    key: Key
    attempt: Attempt[str]
    by: Attempt[str]


@message
class EndpointAnswered(Answer):
    """The server of a session that was opened has answered."""

    key: Key
    attempt: Attempt[str]


@message
class OpeningFailed(Answer):
    """A session could not be opened. `error`: why; None if it was given up, which says nothing of the server."""

    key: Key
    attempt: Attempt[str]
    error: TroupeError | None


@message
class SessionFailed(Answer):
    """An open session met a fault. `opened_at`: since when it was open."""

    key: Key
    fault: Fault
    opened_at: float


@message
class CredentialRefused(Answer):
    """A call with this credential was answered with 401 or 403."""

    key: Key
    credential: str
    retry_after: float | None


KeyReport = (
    PermitWanted
    | PermitUnwanted
    | PermitReturned
    | SessionIdled
    | SessionYielded
    | NothingIdle
    | KeyLeaves
    | AttemptPassedOn
    | EndpointAnswered
    | OpeningFailed
    | SessionFailed
    | CredentialRefused
)
