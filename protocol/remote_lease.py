"""What a forwarded request has to do with a lease that its asker holds, or wants: a part of its payload.

A lease of a conversation that another worker owns is a lease there, which that worker holds for the asker (`Lend`), and
requests under it (`Use`). The asker names it: no two of its leases have one name. It says from time to time which of
them it still holds, and at once which it gives back (`Held`).

Whatever the bytes are, what is not taken is `EnvelopeRefused`, and no text says what was in them.
"""

import re
from math import isfinite
from typing import Any, Final

from protocol.errors import EnvelopeRefused, Refusal
from protocol.json_text import as_object, from_json, to_json
from protocol.layout import Accepts, is_flag, or_none
from protocol.message import message


@message
class Lend:
    """Hold a lease for the asker, for as long as it says that it holds it.

    Attributes:
        name: the asker's for it: 32 hexadecimal digits.
        timeout: seconds that the asker waits for a session.
        connect_timeout: seconds that opening one may take; None means as the owner's pool has it.
        expires_in: after how many seconds the asker's credentials end; None if that is not known.
    """

    name: str
    timeout: float
    connect_timeout: float | None = None
    expires_in: float | None = None


@message
class Use:
    """Do the request under that lease.

    Attributes:
        name: the asker's for it.
        timeout: seconds that the request has for an answer; None means as the owner's pool has it.
        wants_progress: whether the asker wants to know how far it is.
    """

    name: str
    timeout: float | None = None
    wants_progress: bool = False


Part = Lend | Use


@message
class Held:
    """Which of its leases a worker still holds, and which it gives back: the payload of an envelope that is LEASES. One
    that is in neither was told before, or comes next time.

    Attributes:
        kept: those that it holds.
        returned: those that it does not hold any more.
    """

    kept: tuple[str, ...] = ()
    returned: tuple[str, ...] = ()

    def pack(self) -> bytes:
        """This as the payload of an envelope.

        Raises:
            EnvelopeRefused: nobody would take it (MALFORMED).
        """
        said = {"kept": list(self.kept), "returned": list(self.returned)}
        _held_of(said)
        return to_json(said)

    @classmethod
    def unpack(cls, payload: bytes) -> "Held":
        """What an envelope's payload says.

        Raises:
            EnvelopeRefused: it says something else (MALFORMED). Nothing else is raised, whatever the bytes are.
        """
        return _held_of(as_object(from_json(payload)))


def _held_of(said: dict[str, Any]) -> Held:
    if said.keys() != {"kept", "returned"} or not all(map(_are_names, said.values())):
        raise _refusal("says of leases what cannot be")
    return Held(tuple(said["kept"]), tuple(said["returned"]))


def pack_part(part: Part) -> bytes:
    """What is said of a lease, as bytes.

    Raises:
        EnvelopeRefused: nobody would take it (MALFORMED).
    """
    kind = type(part)
    said = {"does": _NAMES[kind], **{name: getattr(part, name) for name in _FIELDS[kind]}}
    _part_of(said)
    return to_json(said)


def unpack_part(packed: bytes) -> Part:
    """What the bytes say of a lease.

    Raises:
        EnvelopeRefused: they say nothing of one (MALFORMED). Nothing else is raised, whatever the bytes are.
    """
    return _part_of(as_object(from_json(packed)))


def _part_of(said: dict[str, Any]) -> Part:
    does = said.get("does")
    kind = _KINDS.get(does) if isinstance(does, str) else None
    if kind is None:
        raise _refusal("does nothing that is known with a lease")
    fields = _FIELDS[kind]
    given = {name: value for name, value in said.items() if name != "does"}
    if given.keys() != fields.keys() or not all(accepts(given[name]) for name, accepts in fields.items()):
        raise _refusal("says of a lease what cannot be")
    return kind(**given)


def _refusal(why: str) -> EnvelopeRefused:
    return EnvelopeRefused(f"a forwarded request {why}", reason=Refusal.MALFORMED)


def _is_name(value: Any) -> bool:
    return value.__class__ is str and _NAME.fullmatch(value) is not None


def _are_names(value: Any) -> bool:
    return value.__class__ is list and all(map(_is_name, value))


def _is_time(value: Any) -> bool:
    return value.__class__ in (int, float) and 0 <= value <= LONGEST and isfinite(value)


_NAME: Final = re.compile("[0-9a-f]{32}")
"""A name is as long as a correlation id, since what is said under a lease bears it as one."""
LONGEST: Final = 1e9
"""Seconds, at most, some thirty years."""

_NAMES: Final[dict[type[Part], str]] = {Lend: "lend", Use: "use"}
_KINDS: Final[dict[str, type[Part]]] = {name: kind for kind, name in _NAMES.items()}
_FIELDS: Final[dict[type[Part], dict[str, Accepts]]] = {
    Lend: {
        "name": _is_name,
        "timeout": _is_time,
        "connect_timeout": or_none(_is_time),
        "expires_in": or_none(_is_time),
    },
    Use: {"name": _is_name, "timeout": or_none(_is_time), "wants_progress": is_flag},
}
