"""What a worker that leaves says to the one that is to go on with a session of its: the payload of a LEAVING."""

from typing import Any, Final

from protocol.bus import Holding
from protocol.forwarded_answer import is_held
from protocol.headers import is_session_id
from protocol.layout import Layout


def pack_bequest(session_id: str, held: Holding) -> bytes:
    """That a session is left to whoever reads it, as the payload of an envelope.

    Args:
        session_id: which session.
        held: how the worker that leaves holds it.

    Raises:
        EnvelopeRefused: nobody would take it (MALFORMED).
    """
    return _BEQUEST.pack((session_id, (held.owner, held.token, held.principal)))


def unpack_bequest(payload: bytes) -> tuple[str, Holding]:
    """Which session an envelope's payload leaves to this worker, and how it is held until then.

    Raises:
        EnvelopeRefused: it says something else (MALFORMED). Nothing else is raised, whatever the bytes are.
    """
    session_id, held = _BEQUEST.unpack(payload)
    return session_id, Holding(*held)


def _is_id(value: Any) -> bool:
    return value.__class__ is str and is_session_id(value)


_BEQUEST: Final = Layout("a bequest", {"session": _is_id, "holding": is_held})
