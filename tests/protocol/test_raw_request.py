"""What may be asked of a server, before anything is acquired or sent for it."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import pytest

from protocol.errors import InvalidMethod, InvalidParams
from protocol.raw_request import RawRequest


@pytest.mark.holds("C4")
@pytest.mark.parametrize(
    ("params", "message"),
    [
        (None, {"method": "tools/call"}),
        ({}, {"method": "tools/call", "params": {}}),
        ({"a": None}, {"method": "tools/call", "params": {"a": None}}),
        ({"a": 2**70, "_meta": None}, {"method": "tools/call", "params": {"a": 2**70}}),
        ({"_meta": {"b": 1.5}}, {"method": "tools/call", "params": {"_meta": {"b": 1.5}}}),
        (MappingProxyType({"ü": "é"}), {"method": "tools/call", "params": {"ü": "é"}}),
    ],
)
def test_params_are_sent_as_they_came_and_none_are_left_out(
    params: Mapping[str, Any] | None, message: dict[str, Any]
) -> None:
    assert RawRequest.of("tools/call", params).message() == message


def test_what_is_put_on_a_message_changes_neither_the_request_nor_what_was_given() -> None:
    given = {"a": 1, "_meta": {"b": 2}}
    request = RawRequest.of("tools/call", given)
    message = request.message()
    message["params"]["c"] = message["params"]["_meta"]["d"] = 3
    assert given == request.params == {"a": 1, "_meta": {"b": 2}}


@pytest.mark.holds("C4", "X1")
@pytest.mark.parametrize(
    "params",
    [
        *([], [1], (), "s3cret", b"s3cret", 0, False, {1: "s3cret"}, {None: 1}),
        *({"s3cret": {1}}, {"s3cret": float("nan")}, {"s3cret": "\udc00"}, {"_meta": ["s3cret"]}, {"_meta": ""}),
    ],
)
def test_params_that_are_no_object_are_refused_and_not_quoted(params: object) -> None:
    with pytest.raises(InvalidParams, match="tools/call") as caught:
        RawRequest.of("tools/call", params)
    assert "s3cret" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("method", [None, 7, b"ping", "", "a b", "ping\n", "größe", "x" * 201])
def test_what_is_no_method_is_refused_and_not_quoted(method: object) -> None:
    with pytest.raises(
        InvalidMethod, match=r"^the method of a request must be text of 1 to 200 visible ASCII characters$"
    ):
        RawRequest.of(method, None)
    RawRequest.of("x" * 200, None)


@pytest.mark.parametrize("method", ["initialize", "notifications/cancelled"])
def test_what_is_not_for_borrowers_is_refused_by_name(method: str) -> None:
    with pytest.raises(InvalidMethod, match=f"{method} was not sent"):
        RawRequest.of(method, None)


def test_a_refusal_names_the_kind_of_what_was_given() -> None:
    given: list[Any] = [[], {"a": {1}}]
    whys = "must be an object or None, not list", r"cannot be said in JSON \(TypeError\)"
    for params, why in zip(given, whys, strict=True):
        with pytest.raises(InvalidParams, match=f"^the params of ping {why}$"):
            RawRequest.of("ping", params)
    with pytest.raises(
        InvalidMethod, match=r"^initialize was not sent: the session was initialised when the pool opened it$"
    ):
        RawRequest.of("initialize", None)
