"""JSON, as workers send it to each other: what was written is read as it was, bit for bit.

That is more than JSON has, since what a server answers is more than that when it has been read: numbers that are none
(`NaN`, and `Infinity` for those too large), and whole numbers of any size. Python's own writer and reader agree on
them, and on every float. Text is UTF-8, in which half of a surrogate pair passes, too: it is in some names of files.
"""

import json
from typing import Any, Final

from protocol.errors import EnvelopeRefused, Refusal


def to_json(value: object) -> bytes:
    """The value as JSON.

    Raises:
        EnvelopeRefused: JSON cannot say it (MALFORMED).
    """
    try:
        return _ENCODER.encode(value).encode(errors=_HALVES)
    except _UNSAYABLE as error:  # which may quote the value
        why = f"a value cannot be said in JSON ({type(error).__name__})"
        raise EnvelopeRefused(why, reason=Refusal.MALFORMED) from None


def from_json(text: bytes) -> Any:
    """The value that the JSON says.

    Raises:
        EnvelopeRefused: it is none (MALFORMED). Nothing else is raised, whatever the bytes are.
    """
    try:
        return _DECODER.decode(text.decode(errors=_HALVES))
    except _UNSAYABLE:
        raise EnvelopeRefused("a text is not JSON", reason=Refusal.MALFORMED) from None


def as_object(value: Any) -> dict[str, Any]:
    """The value, which must be an object.

    Raises:
        EnvelopeRefused: it is something else (MALFORMED).
    """
    if value.__class__ is not dict:
        raise EnvelopeRefused("there is no JSON object where there must be one", reason=Refusal.MALFORMED)
    return value


_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
_DECODER: Final = json.JSONDecoder()
_HALVES: Final = "surrogatepass"
_UNSAYABLE: Final = (ValueError, TypeError, RecursionError)
