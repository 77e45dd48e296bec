"""How a record is packed: values in a fixed order, as msgpack, read so strictly that nothing else gets through.

Each field says by itself what it accepts, and packing is held to the same as unpacking: what nobody would take is
refused where it is made. Texts, arrays, maps and extensions are bounded before they are built, so that what is read
takes no more memory than a small multiple of its bytes.
"""

from collections.abc import Callable
from math import isfinite
from typing import Any, Final

import msgpack  # pyright: ignore[reportMissingTypeStubs] - it has no types, hence `_msgpack`

from protocol.errors import EnvelopeRefused, Refusal

LONGEST_TEXT: Final = 1_024
"""Characters of a text, at most."""

MOST_ENTRIES: Final = 8
"""Entries of a mapping, at most."""

NUMBERS_END: Final = 2**63
"""Whole numbers are below it."""

MOST_FIELDS: Final = 16
"""Fields of a record, at most."""

Accepts = Callable[[Any], bool]
"""Whether a value is one of the field."""


class Layout:
    """The fields of a kind of record, in their order.

    Args:
        what: the kind, for errors.
        fields: what each accepts, by its name; at most `MOST_FIELDS`.
    """

    __slots__ = ("_accept", "_names", "_what", "size")

    def __init__(self, what: str, fields: dict[str, Accepts]) -> None:
        self._what = what
        self._names = tuple(fields)
        self._accept = tuple(fields.values())
        self.size = len(fields)
        """How many fields there are."""

    def pack(self, values: tuple[object, ...]) -> bytes:
        """The values of a record as bytes.

        Raises:
            EnvelopeRefused: a field does not accept its value (MALFORMED).
        """
        self._check(values)
        return _msgpack.packb(values)

    def unpack(self, packed: bytes) -> tuple[Any, ...]:
        """The values of the record that `packed` holds: as many as there are fields, each accepted by its own.

        Raises:
            EnvelopeRefused: it holds something else (MALFORMED). Nothing else is raised, whatever the bytes are.
        """
        try:
            values = _msgpack.unpackb(
                packed,
                use_list=False,
                max_str_len=LONGEST_TEXT,
                max_array_len=MOST_FIELDS,
                max_map_len=MOST_ENTRIES,
                max_ext_len=0,
            )
        except _UNREADABLE:
            raise self._refusal("is not msgpack within its bounds") from None
        if values.__class__ is not tuple:
            raise self._refusal("is no row of values")
        self._check(values)
        return values

    def _check(self, values: tuple[object, ...]) -> None:
        if len(values) != self.size:
            raise self._refusal(f"has {len(values)} values in place of {self.size}")
        for name, accepts, value in zip(self._names, self._accept, values, strict=True):
            if not accepts(value):
                raise self._refusal(f"has no {name} of the kind and size that it must have")

    def _refusal(self, why: str) -> EnvelopeRefused:
        return EnvelopeRefused(f"{self._what} {why}", reason=Refusal.MALFORMED)


# Exact classes throughout: True is no number here, and an extension no tuple.


def is_number(value: Any) -> bool:
    """Whether it is a whole number from 0 on, below `NUMBERS_END`."""
    return value.__class__ is int and 0 <= value < NUMBERS_END


def is_moment(value: Any) -> bool:
    """Whether it is a finite float."""
    return value.__class__ is float and isfinite(value)


def is_flag(value: Any) -> bool:
    """Whether it is True or False."""
    return value is True or value is False


def is_text(value: Any, longest: int = LONGEST_TEXT) -> bool:
    """Whether it is printable ASCII, not empty and not too long."""
    return value.__class__ is str and 0 < len(value) <= longest and value.isascii() and value.isprintable()


def is_bytes(value: Any) -> bool:
    """Whether it is bytes, of any number."""
    return value.__class__ is bytes


def or_none(accepts: Accepts) -> Accepts:
    """Whether it is None, or accepted."""
    return lambda value: value is None or accepts(value)


_msgpack: Final[Any] = msgpack

# Without its C extension msgpack is Python code, and raises of these what that raises.
_UNREADABLE: Final = (ValueError, TypeError, OverflowError, RecursionError)
