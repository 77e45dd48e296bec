"""Whether a server still knows a session: asked at once when its stream broke off."""

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Final

import anyio
import httpx2
from mcp_types import JSONRPCError

from actors.envelope import read_message
from actors.exchange import fault_of
from actors.verdict import ends_the_session, read_quietly
from protocol.fault import Fault, FaultKind

SESSION_ID: Final = "mcp-session-id"
PROBE_TIMEOUT: Final = 0.5
"""Seconds that a server has to answer whether it still knows a session whose stream broke off."""
PROBE_BODY: Final = b'{"jsonrpc":"2.0","id":"troupe-probe","method":"ping"}'


class Presence:
    """Asks the server about the session, one question at a time; once it is lost, it stays lost.

    Args:
        send: sends a request, beneath the guard.
        report: told of the loss, once.
    """

    def __init__(
        self, send: Callable[[httpx2.Request], Awaitable[httpx2.Response]], report: Callable[[Fault], None]
    ) -> None:
        self._send = send
        self._report = report
        self._asking = anyio.Lock()
        self._loss: Fault | None = None

    async def is_lost(self, request: httpx2.Request, step: str, *, presumed: bool = True) -> bool:
        """Ask, unless it is lost already; report the loss.

        Args:
            request: one of the session's.
            step: what was being done.
            presumed: what no answer in time means.
        """
        async with self._asking:
            if self._loss is None:
                self._loss = await self._ask(request, step, presumed=presumed)
                if self._loss is not None:
                    self._report(self._loss)
            return self._loss is not None

    async def _ask(self, request: httpx2.Request, step: str, *, presumed: bool) -> Fault | None:
        headers = {name: value for name, value in request.headers.items() if name not in _NOT_FOR_A_PROBE}
        headers |= {"accept": "application/json, text/event-stream", "content-type": "application/json"}
        probe = httpx2.Request("POST", request.url, headers=headers, content=PROBE_BODY, extensions=request.extensions)
        with anyio.move_on_after(PROBE_TIMEOUT):
            try:
                response = await self._send(probe)
            except Exception as error:  # noqa: BLE001 - whatever the transport raises says the same
                return fault_of(error, step)
            status = response.status_code
            if status == HTTPStatus.OK:
                await response.aclose()
                return None
            message = read_message(await read_quietly(response))
            if ends_the_session(status, message if isinstance(message, JSONRPCError) else None):
                return Fault(FaultKind.TERMINATED, step, f"HTTP {status}", status)
            return None
        return Fault(FaultKind.INTERRUPTED, step, f"no answer within {PROBE_TIMEOUT} s") if presumed else None


_NOT_FOR_A_PROBE: Final = frozenset(
    {"accept", "content-length", "content-type", "last-event-id", "mcp-method", "mcp-name"}
)
