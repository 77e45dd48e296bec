"""The progress of a call that another worker makes: handed on in order, and before the call's result."""

import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final

import anyio
from mcp.shared.dispatcher import ProgressFnT

from protocol.forwarded_answer import Note, Progress

WAITING: Final = 256
"""How much of it may wait for a slow callback; past that the newest is left out."""
DRAINING: Final = 5.0
"""Seconds that a result waits for the callback, at most."""

logger = logging.getLogger("troupe")

Ask = Callable[[Callable[[Note], None]], Awaitable[dict[str, Any]]]
"""Makes the call; what is said of it meanwhile goes to the argument."""


async def with_progress(ask: Ask, on_progress: ProgressFnT) -> dict[str, Any]:
    """Make a call, and hand on what is said of its progress, in order, before its result.

    A callback that raises is logged, and costs what it was called for. For one that is slow the result waits a while,
    and what comes meanwhile finds only so much room. Cancellation ends all of it.
    """
    send, receive = anyio.create_memory_object_stream[Progress](WAITING)

    def note(said: Note) -> None:
        if isinstance(said, Progress):
            with suppress(anyio.WouldBlock, anyio.BrokenResourceError, anyio.ClosedResourceError):
                send.send_nowait(said)

    async def hand_on() -> None:
        async for said in receive:
            total = None if said.total is None else float(said.total)
            try:
                await on_progress(float(said.progress), total, said.message)
            except Exception as error:  # noqa: BLE001 - it is the user's code
                # The trace would quote what the server said.
                logger.error("a progress callback raised %s", type(error).__name__)  # noqa: TRY400

    result: dict[str, Any] = {}
    failure: Exception | None = None
    with send, receive:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(hand_on)
            try:
                result = await ask(note)
            except Exception as error:  # noqa: BLE001 - raised again below, as it is and not in a group
                failure = error
            send.close()
            tasks.cancel_scope.deadline = anyio.current_time() + DRAINING
    if failure is not None:
        raise failure
    return result
