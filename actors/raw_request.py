"""Raw requests: a method and its params as they came, and the result as it comes.

A gateway has its caller's request as JSON already, and wants the answer as JSON. So nothing is made of either here: no
typed params, no typed result, no check of it against MCP or a tool's schema, no cache. The SDK has no public way for
that: what its session sends is typed, and what it answers is checked, and shorn of what only later revisions of MCP
name. So two names of a session are used that are its own: `_stamp`, which puts on a request what its era asks for (the
protocol's headers, the client's name in `_meta`), and `_dispatcher`, which sends it. With an SDK that has them no
longer, requests go its public way, with its checks.
"""

from collections.abc import Callable
from typing import Any, Final, cast

import anyio
import mcp_types as types
from mcp import Client, MCPError
from mcp.client import ClientSession
from mcp.shared.dispatcher import CallOptions, Outbound, ProgressFnT
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS
from pydantic import RootModel, ValidationError
from typing_extensions import override

from protocol.raw_request import RawRequest

PAGES: Final = 100
"""How many pages of tools are read, at the most, to find one of them."""


async def send_raw(
    client: Client, request: RawRequest, seconds: float | None, on_progress: ProgressFnT | None = None
) -> dict[str, Any]:
    """Send a raw request over the client's session, and wait for its result.

    A tool whose arguments a header repeats (2026-07-28) is listed first where the server says that it has to be, and is
    called again then, as by `Client.call_tool`: the call that was refused has not run.

    Args:
        client: entered.
        request: what to send.
        seconds: how long it may take; None means what the client gives its calls.
        on_progress: told how far it is.

    Raises:
        MCPError: the server's error; code -32001 when the time was over; -32000 when the session was closed.
        RuntimeError: the client was left.
    """
    session = client.session
    if seconds is None:
        seconds = client.read_timeout_seconds
    try:
        return await _send(session, request, seconds, on_progress)
    except MCPError as mismatch:
        if mismatch.code != types.HEADER_MISMATCH or session.protocol_version in HANDSHAKE_PROTOCOL_VERSIONS:
            raise
        try:
            with anyio.fail_after(seconds):
                await _list_again(client, request)
        except (MCPError, TimeoutError, ValidationError):
            raise mismatch from None
    return await _send(session, request, seconds, on_progress)


async def _list_again(client: Client, request: RawRequest) -> None:
    """Have the session know the schema of the tool that is called."""
    name = (request.params or {}).get("name")
    cursor: str | None = None
    for _ in range(PAGES):
        page = await client.list_tools(cursor=cursor, cache_mode="refresh")
        cursor = page.next_cursor
        if cursor is None or any(tool.name == name for tool in page.tools):
            return


async def _send(
    session: ClientSession, request: RawRequest, seconds: float | None, on_progress: ProgressFnT | None
) -> dict[str, Any]:
    stamp = cast("Callable[[dict[str, Any], CallOptions], None] | None", getattr(session, "_stamp", None))
    dispatcher = cast("object", getattr(session, "_dispatcher", None))
    if stamp is None or not isinstance(dispatcher, Outbound):
        untyped = _Untyped(request)
        return (await session.send_request(untyped, _Anything, seconds, progress_callback=on_progress)).root
    message = request.message()
    options: CallOptions = {}
    stamp(message, options)
    if seconds is not None:
        options["timeout"] = seconds
    if on_progress is not None:
        options["on_progress"] = on_progress
    return await dispatcher.send_raw_request(request.method, message.get("params"), options)


class _Untyped(types.Request[dict[str, Any] | None, str]):
    """A raw request in the shape that the SDK's public way asks for."""

    def __init__(self, request: RawRequest) -> None:
        super().__init__(method=request.method, params=request.params)

    @override
    def model_dump(self, **_: Any) -> dict[str, Any]:
        return RawRequest(self.method, self.params).message()


class _Anything(RootModel[dict[str, Any]]):
    """Any result."""
