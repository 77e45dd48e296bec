"""An answer that comes as an event stream, judged as it comes."""

from collections.abc import Callable
from typing import Any

from mcp_types import JSONRPCError, JSONRPCResponse

from actors.body import Malformed, TooLarge
from actors.envelope import read_message
from actors.event_source import Event


class StreamedAnswer:
    """What has come of an answer so far.

    Args:
        noted: told the result, when it comes.

    Attributes:
        is_there: whether it has come.
        may_come: whether anything has come that it may follow, or that the stream can be resumed from.
    """

    def __init__(self, noted: Callable[[dict[str, Any]], None]) -> None:
        self.is_there = False
        self.may_come = False
        self._noted = noted

    def judge(self, event: Event) -> bytes:
        """The bytes to pass on for an event.

        Raises:
            TooLarge: it is larger than the limit.
            Malformed: it is no JSON-RPC message.
        """
        if event.is_cut:
            raise TooLarge
        name, text, has_id = event.read()
        self.may_come = self.may_come or has_id
        if name != "message":
            return b""
        if text:
            message = read_message(text)
            if message is None:
                raise Malformed("an event that is no JSON-RPC message")
            if isinstance(message, JSONRPCResponse):
                self._noted(message.result)
            self.may_come = True
            self.is_there = self.is_there or isinstance(message, (JSONRPCResponse, JSONRPCError))
        return event.raw


def judge_loose(event: Event) -> bytes:
    """The same for a stream of what answers nothing: what is no message, or is too large, is left out."""
    if event.is_cut:
        return b""
    name, text, _ = event.read()
    return event.raw if name == "message" and (not text or read_message(text) is not None) else b""
