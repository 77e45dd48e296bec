"""What travels of a forwarded request and its answer, for tests: any JSON, any error, and what of them is compared."""

import inspect
import math
import struct
from collections.abc import Callable
from types import FunctionType
from typing import Any, cast

import msgpack  # pyright: ignore[reportMissingTypeStubs]
import pytest
from hypothesis import strategies as st

from protocol import errors
from protocol.errors import EnvelopeRefused, Refusal, TroupeError
from protocol.fault import Fault, FaultKind

_msgpack: Any = msgpack

any_text = st.text(max_size=9)
whole = st.integers() | st.integers(2**63, 2**200)
json_values = st.recursive(
    st.none() | st.booleans() | whole | st.floats() | any_text,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(any_text, inner, max_size=5),
    max_leaves=12,
)
json_objects = st.dictionaries(any_text, json_values, max_size=5)

KINDS: dict[str, type[TroupeError]] = {
    name: kind for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, TroupeError)
}
SECONDS = st.floats(0, 1e9) | st.integers(0, 10**6)
STATUS = st.integers(400, 599)
FAULTS = st.builds(
    Fault,
    kind=st.sampled_from(FaultKind),
    step=any_text,
    detail=any_text,
    status=st.none() | STATUS,
    retry_after=st.none() | SECONDS,
    at_connect=st.booleans(),
)
ATTRIBUTES: dict[str, st.SearchStrategy[Any]] = {
    "http_status": STATUS,
    "code": st.integers(-33_000, -32_000),
    "safe_to_retry": st.booleans(),
    "retry_after": SECONDS,
    "step": any_text,
    "status": STATUS,
    "fault": FAULTS,
    "was_sent": st.booleans(),
    "waited": SECONDS,
    "reason": st.sampled_from(Refusal),
}
"""What each public attribute of an error may be. A new one that is not here fails the tests by its name."""


def asked_of(kind: type[TroupeError]) -> tuple[str, ...]:
    """The arguments that errors of the class are made with, besides their text."""
    if not isinstance(kind.__init__, FunctionType):
        return ()
    arguments = inspect.signature(kind.__init__).parameters.values()
    return tuple(one.name for one in arguments if one.kind is one.KEYWORD_ONLY)


@st.composite
def errors_of(draw: st.DrawFn, kind: type[TroupeError]) -> TroupeError:
    """An error of the class, with everything about it told."""
    error = kind(draw(any_text), **{name: draw(ATTRIBUTES[name]) for name in asked_of(kind)})
    for name in public(error):
        if draw(st.booleans()):
            setattr(error, name, draw(ATTRIBUTES[name]))
    return error


def public(error: BaseException) -> dict[str, Any]:
    """Every public attribute that errors of Troupe's have beyond those of all exceptions, methods aside."""
    names = {name for name in dir(error) if not name.startswith("_")}
    familiar = {name for kind in (OSError, LookupError, ValueError) for name in dir(kind)}
    told = {name: getattr(error, name) for name in sorted(names - familiar)}
    return {name: value for name, value in told.items() if not callable(value)}


def told(error: BaseException) -> tuple[object, ...]:
    """All that is to be the same of an error on both sides."""
    return type(error), str(error), error.args, public(error)


def bits_of(value: Any) -> Any:
    """The value with every number made comparable by kind and bits, so that NaN equals NaN and 1 is no 1.0."""
    if isinstance(value, float):
        return struct.pack(">d", math.nan if math.isnan(value) else value)
    if isinstance(value, list):
        return ["list", *map(bits_of, cast("list[Any]", value))]
    if isinstance(value, dict):
        return {name: bits_of(inner) for name, inner in cast("dict[str, Any]", value).items()}
    return type(value).__name__, value


def malformed(read: Callable[[bytes], object], payload: bytes) -> str:
    """The text of the refusal that the bytes are met with."""
    with pytest.raises(EnvelopeRefused) as caught:
        read(payload)
    assert caught.value.reason is Refusal.MALFORMED
    assert caught.value.__cause__ is None
    assert "s3cret" not in str(caught.value)
    return str(caught.value)


def spoilt(read: Callable[[bytes], object], payload: bytes) -> None:
    """Every truncation and every flipped bit is read as something, or refused."""
    for end in range(len(payload)):
        malformed(read, payload[:end])
    for place in range(len(payload) * 8):
        changed = bytearray(payload)
        changed[place // 8] ^= 1 << place % 8
        tried(read, bytes(changed))


def tried(read: Callable[[bytes], object], payload: bytes) -> None:
    """The bytes are read as something, or refused."""
    reason = Refusal.MALFORMED
    try:
        read(payload)
    except EnvelopeRefused as error:
        reason = error.reason
    assert reason is Refusal.MALFORMED


def rowed(*values: object) -> bytes:
    return _msgpack.packb(values)


def row_of(payload: bytes) -> list[Any]:
    return _msgpack.unpackb(payload)
