"""What comes back for a forwarded request: the payloads of envelopes that are a RESULT, FAILURE, REJECTED, NOT_OWNER or
NOTE.

The rules
---------
- What the asker's caller gets is what a local call would have given it: the same result, the server's own error with
  its code, message and data, an error of Troupe's with its class, text and public attributes.
- An error is told by the names of its class and of those above it, and is made of the first that is known here and for
  which all that it asks for has come. So a newer worker's error becomes its nearest relative.
- An error that is not Troupe's may hold anything in its text. Its kind is told (`OwnerFailed`), and nothing else.
- Tracebacks, causes and notes stay where they are.
- Whatever the bytes are, what is not taken is `EnvelopeRefused`, and no text says what was in them.
"""

import inspect
from collections.abc import Mapping
from dataclasses import field
from enum import Enum, auto
from types import FunctionType
from typing import Any, Final

from protocol import errors
from protocol.bus import Holding
from protocol.errors import EnvelopeRefused, OwnerFailed, Refusal, TroupeError
from protocol.fault import Fault, FaultKind
from protocol.json_text import as_object, from_json, to_json
from protocol.layout import NUMBERS_END, Accepts, Layout, is_bytes, is_flag, is_number, is_text, or_none
from protocol.message import message
from protocol.wire import LONGEST_SENDER

# --- results ----------------------------------------------------------------------------------------------------------


def pack_result(result: Mapping[str, Any]) -> bytes:
    """The result of a request, as the payload of an envelope.

    Raises:
        EnvelopeRefused: JSON cannot say it (MALFORMED).
    """
    return to_json(dict(result))


def unpack_result(payload: bytes) -> dict[str, Any]:
    """The result that an envelope's payload is.

    Raises:
        EnvelopeRefused: it is none (MALFORMED). Nothing else is raised, whatever the bytes are.
    """
    return as_object(from_json(payload))


# --- failures, and why a request was not begun ------------------------------------------------------------------------


class Absent(Enum):
    """What is not there, where None would be something else."""

    DATA = auto()


@message
class ServerError:
    """The error that the server itself answered with. What the SDK raises for it is made of this, and this of that.

    Attributes:
        code: its JSON-RPC code.
        message: its message; not in the repr, and neither is the data: the server may say anything in them.
        data: whatever it gave besides; `Absent.DATA` if nothing.
    """

    code: int
    message: str = field(repr=False)
    data: Any = field(default=Absent.DATA, repr=False)


def pack_failure(failure: Exception | ServerError) -> bytes:
    """The error that a request came to, or that it was not begun for, as the payload of an envelope.

    An exception always has one, whatever it holds: attributes that no error of Troupe's has are left out.

    Raises:
        EnvelopeRefused: JSON cannot say the server's error (MALFORMED).
    """
    if isinstance(failure, ServerError):
        said: dict[str, object] = {"code": failure.code, "message": failure.message}
        if failure.data is not Absent.DATA:
            said["data"] = failure.data
        _server_error_of(said)
        return _FAILURE.pack(((), to_json(said)))
    if not isinstance(failure, TroupeError):
        failure = OwnerFailed(
            f"the owner of the session failed ({type(failure).__name__}), as its log tells: the request may have run"
        )
    kinds = tuple(kind.__name__ for kind in type(failure).__mro__ if _KINDS.get(kind.__name__) is kind)
    said = {"text": str(failure), **_attributes_of(failure)}
    return _FAILURE.pack((kinds, to_json(said)))


def unpack_failure(payload: bytes) -> TroupeError | ServerError:
    """The error that an envelope's payload is, to be raised.

    Raises:
        EnvelopeRefused: it is none (MALFORMED). Nothing else is raised, whatever the bytes are.
    """
    kinds, packed = _FAILURE.unpack(payload)
    said = as_object(from_json(packed))
    if not kinds:
        return _server_error_of(said)
    text = said.get("text")
    if not isinstance(text, str):
        raise _refusal("has an error without a text")
    attributes = _read(said)
    has_come = {name for name, value in attributes.items() if value is not None}
    known = next(name for name in (*kinds, _ROOT) if name in _KINDS and _ASKED[name] <= has_come)
    error = _KINDS[known](text, **{name: attributes[name] for name in _ASKED[known]})
    for name, value in attributes.items():
        setattr(error, name, value)
    return error


def _attributes_of(error: TroupeError) -> dict[str, object]:
    """What the error says besides its text, as JSON has it."""
    attributes: dict[str, object] = {}
    for name, accepts in _ATTRIBUTES.items():
        value = getattr(error, name, Absent.DATA)
        if isinstance(value, Fault):
            value = {part: getattr(value, part) for part in _FAULT} | {"kind": value.kind.name}
        elif isinstance(value, Refusal):
            value = value.name
        if accepts(value):
            attributes[name] = value
    return attributes


def _read(said: dict[str, Any]) -> dict[str, Any]:
    """The attributes that came and are known here, with the values that they have here: None for those, of a newer
    worker's, that are not.
    """
    attributes: dict[str, Any] = {}
    for name, accepts in _ATTRIBUTES.items():
        if name not in said:
            continue
        if not accepts(value := said[name]):
            raise _refusal(f"has an error with no {name} of the kind that it must have")
        if name == "reason":
            value = Refusal.__members__.get(value)
        elif name == "fault" and value is not None:
            kind = FaultKind.__members__.get(value.pop("kind"))
            value = None if kind is None else Fault(kind, **value)
        attributes[name] = value
    return attributes


def _server_error_of(said: dict[str, Any]) -> ServerError:
    code: Any = said.get("code")
    text: Any = said.get("message")
    if code.__class__ is not int or text.__class__ is not str:
        raise _refusal("has an error of the server's without a code or a message")
    return ServerError(code, text, said.get("data", Absent.DATA))


# --- not the owner ----------------------------------------------------------------------------------------------------


def pack_not_owner(held: Holding | None) -> bytes:
    """Who holds the session, as far as a worker that does not hold it knows, as the payload of an envelope.

    Raises:
        EnvelopeRefused: nobody would take it (MALFORMED).
    """
    return _NOT_OWNER.pack((None if held is None else (held.owner, held.token, held.principal),))


def unpack_not_owner(payload: bytes) -> Holding | None:
    """Who holds the session, according to the worker that was asked; None if nobody does.

    Raises:
        EnvelopeRefused: it says something else (MALFORMED). Nothing else is raised, whatever the bytes are.
    """
    (held,) = _NOT_OWNER.unpack(payload)
    return None if held is None else Holding(*held)


# --- notes ------------------------------------------------------------------------------------------------------------


@message
class Progress:
    """How far the request is.

    Attributes:
        progress: so far; `total` when it is done, where that is known.
        total: None if nobody knows.
        message: what is being done; not in the repr, since the server may say anything in it.
    """

    progress: float
    total: float | None = None
    message: str | None = field(default=None, repr=False)


@message
class Notification:
    """A notification of the server's, in a session of which a lease is held.

    Attributes:
        method: which.
        params: what it says; None for nothing. Not in the repr, since the server may say anything in them.
    """

    method: str
    params: Mapping[str, Any] | None = field(default=None, repr=False)


Note = Progress | Notification
"""What is said about a request before it is answered."""


def pack_note(note: Note) -> bytes:
    """The note as the payload of an envelope.

    Raises:
        EnvelopeRefused: nobody would take it (MALFORMED).
    """
    match note:
        case Progress():
            said = {"progress": note.progress, "total": note.total, "message": note.message}
            kind = _PROGRESS
        case Notification():
            said = {"method": note.method, "params": None if note.params is None else dict(note.params)}
            kind = _NOTIFICATION
    _note_of(kind, said)
    return _NOTE.pack((kind, to_json(said)))


def unpack_note(payload: bytes) -> Note:
    """The note that an envelope's payload is.

    Raises:
        EnvelopeRefused: it is none (MALFORMED). Nothing else is raised, whatever the bytes are.
    """
    kind, packed = _NOTE.unpack(payload)
    return _note_of(kind, as_object(from_json(packed)))


def _note_of(kind: int, said: dict[str, Any]) -> Note:
    fields = _NOTE_FIELDS[kind]
    if said.keys() != fields.keys() or not all(accepts(said[name]) for name, accepts in fields.items()):
        raise _refusal("has a note with other fields than it must have")
    return Progress(**said) if kind == _PROGRESS else Notification(**said)


# --- the fields -------------------------------------------------------------------------------------------------------


def _refusal(why: str) -> EnvelopeRefused:
    return EnvelopeRefused(f"{_WHAT} {why}", reason=Refusal.MALFORMED)


def _is_string(value: Any) -> bool:
    return value.__class__ is str


def _is_quantity(value: Any) -> bool:
    return value.__class__ is float or _is_code(value)


def _is_code(value: Any) -> bool:
    return value.__class__ is int and -NUMBERS_END < value < NUMBERS_END


def _are_kinds(value: Any) -> bool:
    return value.__class__ is tuple and all(map(is_text, value))


def is_held(value: Any) -> bool:
    """Whether this is a holding, as a row of its fields."""
    if value.__class__ is not tuple or len(value) != _HOLDING:
        return False
    owner, token, principal = value
    return is_text(owner, LONGEST_SENDER) and is_text(token) and (principal == "" or is_text(principal))


def _is_fault(value: Any) -> bool:
    if value.__class__ is not dict or value.keys() != _FAULT.keys():
        return False
    return all(accepts(value[name]) for name, accepts in _FAULT.items())


def asked_for(kind: type[TroupeError]) -> frozenset[str]:
    """What an error of this class cannot be made without, besides its text."""
    if not isinstance(kind.__init__, FunctionType):
        return frozenset()
    given = inspect.signature(kind.__init__).parameters.values()
    return frozenset(one.name for one in given if one.kind is one.KEYWORD_ONLY and one.default is one.empty)


_WHAT: Final = "a forwarded request's answer"
_ROOT: Final = TroupeError.__name__
_HOLDING: Final = 3
_PROGRESS: Final = 1
_NOTIFICATION: Final = 2

_KINDS: Final[dict[str, type[TroupeError]]] = {
    name: kind for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, TroupeError)
}
_ASKED: Final = {name: asked_for(kind) for name, kind in _KINDS.items()}

_FAULT: Final[dict[str, Accepts]] = {
    "kind": _is_string,
    "step": _is_string,
    "detail": _is_string,
    "status": or_none(is_number),
    "retry_after": or_none(_is_quantity),
    "at_connect": is_flag,
}
"""What travels of a fault: all but its cause."""

_ATTRIBUTES: Final[dict[str, Accepts]] = {
    "http_status": is_number,
    "code": _is_code,
    "safe_to_retry": is_flag,
    "retry_after": or_none(_is_quantity),
    "step": _is_string,
    "status": or_none(is_number),
    "fault": or_none(_is_fault),
    "was_sent": is_flag,
    "waited": _is_quantity,
    "reason": _is_string,
}
"""What errors say besides their text, as JSON has it."""

_FAILURE: Final = Layout("a failure", {"kinds": _are_kinds, "error": is_bytes})
_NOT_OWNER: Final = Layout("a denial", {"holding": or_none(is_held)})
_NOTE: Final = Layout(
    "a note", {"kind": lambda value: value.__class__ is int and value in _NOTE_FIELDS, "said": is_bytes}
)
_NOTE_FIELDS: Final[dict[int, dict[str, Accepts]]] = {
    _PROGRESS: {"progress": _is_quantity, "total": or_none(_is_quantity), "message": or_none(_is_string)},
    _NOTIFICATION: {"method": is_text, "params": or_none(lambda value: value.__class__ is dict)},
}
"""What each kind of note says. The numbers are on the wire."""
