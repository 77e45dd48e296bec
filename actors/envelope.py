"""What is read of a JSON-RPC message beneath the SDK: what a request asks, and whether it is answered."""

import json
import re
from dataclasses import dataclass
from typing import Any, Final, cast

from mcp_types import (
    CONNECTION_CLOSED,
    JSONRPCError,
    JSONRPCMessage,
    JSONRPCResponse,
    RequestId,
    jsonrpc_message_adapter,
)
from pydantic import ValidationError

from protocol.fault import Fault


@dataclass(frozen=True, slots=True)
class Envelope:
    """The outside of a message to a server.

    Attributes:
        method: what it asks or tells; None for the answer to a request of the server's.
        id: what its answer bears; None where none is expected.
        is_whole_list: whether it asks for a list from its beginning.
    """

    method: str | None
    id: RequestId | None
    is_whole_list: bool = False


NOTHING: Final = Envelope(None, None)
_START: Final = re.compile(
    rb'\{"jsonrpc":"2\.0",(?:"id":(?P<number>-?\d{1,18})(?=,)|"id":"(?P<text>[\w.:-]{1,128})")?,?'
    rb'"method":"(?P<method>[\w/.-]{1,200})"'
)
"""How the SDK's messages begin. Parsing a large one to its end for this would cost more than the rest of the guard."""


def envelope_of(body: bytes) -> Envelope:
    """Read the outside of a message that is sent."""
    if (start := _START.match(body)) is not None:
        number, text = start["number"], start["text"]
        name: RequestId | None = int(number) if number is not None else text.decode() if text is not None else None
        return Envelope(start["method"].decode(), name, b'"cursor":' not in body[:4096])
    try:
        message: Any = json.loads(body)
    except (ValueError, RecursionError):
        return NOTHING
    if not isinstance(message, dict):
        return NOTHING
    fields = cast("dict[str, Any]", message)
    method, name = fields.get("method"), fields.get("id")
    if not isinstance(method, str):
        return NOTHING
    return Envelope(method, name if isinstance(name, (int, str)) else None)


def read_message(body: bytes) -> JSONRPCMessage | None:
    """The message that these bytes are, exactly as the SDK will read them; None if they are none."""
    try:
        return jsonrpc_message_adapter.validate_json(body, by_name=False)
    except (ValidationError, RecursionError):
        return None


def answers(message: JSONRPCMessage | None, name: RequestId) -> bool:
    """Whether this message answers the request of this id. An error without an id answers the only one."""
    if isinstance(message, JSONRPCError) and message.id is None:
        return True
    return isinstance(message, (JSONRPCResponse, JSONRPCError)) and str(message.id) == str(name)


_ID: Final = re.compile(rb'"id"\s*:\s*(?:(?P<number>-?\d{1,18})|"(?P<text>[^"\\]{1,128})")')


def id_in(part: bytes) -> RequestId | None:
    """The id at the beginning of a message of which no more is there, if it is there."""
    if (found := _ID.search(part)) is None:
        return None
    return int(found["number"]) if found["number"] is not None else found["text"].decode(errors="replace")


def error_answer(fault: Fault, name: RequestId | None = None) -> bytes:
    """The JSON-RPC error that stands for an answer that did not come."""
    error = {"code": CONNECTION_CLOSED, "message": f"{fault.step} failed: {fault.detail}"}
    return json.dumps({"jsonrpc": "2.0", "id": name, "error": error}).encode()
