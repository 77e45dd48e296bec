"""What a server sends of itself, on its way to the user's handler."""

import logging
from collections.abc import Awaitable, Callable
from typing import Final

import anyio
from mcp.client.session import IncomingMessage

MessageHandler = Callable[[IncomingMessage], Awaitable[None]]
"""Is given what a server sends that answers no request: notifications, requests of its own, stray exceptions."""

QUEUE: Final = 256
"""Messages that may wait for a slow handler; past that the newest are dropped."""

logger = logging.getLogger("troupe")


class Incoming:
    """Takes messages in without waiting, and hands them to the handler one after the other, in a task of its own.

    A handler that raises is logged once and not called again: it costs itself, not the session.

    Attributes:
        dropped: how many messages found no room.
    """

    def __init__(self, handler: MessageHandler | None, address: str) -> None:
        self.dropped = 0
        self._handler = handler
        self._address = address
        self._in, self._out = anyio.create_memory_object_stream[IncomingMessage](QUEUE if handler is not None else 0)

    async def __call__(self, message: IncomingMessage) -> None:
        """Take a message in. Never waits, which the SDK's reading of the session would have to wait for."""
        if self._handler is None:
            return
        try:
            self._in.send_nowait(message)
        except (anyio.WouldBlock, anyio.BrokenResourceError, anyio.ClosedResourceError):
            self.dropped += 1

    async def run(self) -> None:
        """Hand messages over until cancelled, or until the handler raises."""
        with self._in, self._out:
            if (handler := self._handler) is None:
                return
            async for message in self._out:
                try:
                    await handler(message)
                except Exception as error:  # noqa: BLE001 - it is the user's code
                    self._handler = None
                    logger.error(  # noqa: TRY400 - the trace would quote the message
                        "The message handler for %s raised %s %s and is not called again",
                        self._address,
                        type(error).__name__,
                        _place(error),
                    )
                    return

    def close(self) -> None:
        """Let go of what waits."""
        self._in.close()
        self._out.close()


def handler_of(make: Callable[[], MessageHandler | None], address: str) -> MessageHandler | None:
    """What the user's factory makes. One that raises costs the handler, and not the session."""
    try:
        return make()
    except Exception as error:  # noqa: BLE001 - it is the user's
        logger.warning("no message handler for %s: its factory raised %s", address, type(error).__name__)
        return None


def _place(error: Exception) -> str:
    """Where it was raised. Not its text, which may quote a message."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"at {trace.tb_frame.f_code.co_name}, line {trace.tb_lineno}" if trace is not None else "somewhere"
