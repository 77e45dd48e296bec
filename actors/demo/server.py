"""The demo's own MCP server, in a process of its own: `python -m actors.demo.server [port]`.

It is the SDK's server over Streamable HTTP, on loopback. The port it listens on, a free one unless one is given, is the
one line on its standard output. It ends when its standard input does, so that it never outlives whoever started it.
"""

import logging
import os
import socket
import sys
from collections import Counter
from threading import Thread
from typing import Any, Final

import anyio
import uvicorn
from mcp.server.mcpserver import Context, MCPServer

HOST: Final = "127.0.0.1"
PATH: Final = "/mcp"
USER_HEADER: Final = "x-user-id"


def demo_server() -> MCPServer:
    """The server and its tools."""
    server = MCPServer("troupe-demo", log_level="CRITICAL")
    counted = Counter[str]()
    asleep = 0

    @server.tool()
    async def echo(text: str) -> str:
        """Answer with the text."""
        return text

    @server.tool()
    async def sleep(seconds: float, context: Context) -> str:
        """Answer later. Reports progress as soon as it has begun."""
        nonlocal asleep
        asleep += 1
        try:
            await context.report_progress(0, seconds)
            await anyio.sleep(seconds)
        finally:
            asleep -= 1
        return f"slept for {seconds} s"

    @server.tool()
    async def sleepers() -> int:
        """Answer with how many calls of `sleep` are under way."""
        return asleep

    @server.tool()
    async def count(context: Context) -> dict[str, Any]:
        """Count the calls that came in on the same session, and answer with it and their number."""
        session = (context.headers or {}).get("mcp-session-id", "")
        counted[session] += 1
        return {"session": session, "count": counted[session]}

    @server.tool()
    async def whoami(context: Context) -> dict[str, str]:
        """Answer with the session that the call came in on, and the user that its headers name."""
        headers = context.headers or {}
        return {"session": headers.get("mcp-session-id", ""), "user": headers.get(USER_HEADER, "")}

    return server


class _Listening(uvicorn.Server):
    """A server that says where it listens once it does."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        for listener in sockets or ():
            sys.stdout.write(f"{listener.getsockname()[1]}\n")
        sys.stdout.flush()


def _end_with_standard_input() -> None:
    # Nothing is lost: there is nothing to save, and a graceful end would wait for event streams that stay open.
    sys.stdin.buffer.read()
    os._exit(0)


def main() -> None:
    """Serve until standard input ends."""
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 0
    Thread(target=_end_with_standard_input, daemon=True).start()
    logging.disable()
    # asyncio switches Nagle's algorithm off only for sockets of this protocol number. Left on, answers come 40 ms late.
    listener = socket.socket(proto=socket.IPPROTO_TCP)
    # The port of a server that was killed is to be had at once.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
    except OSError as error:
        sys.exit(f"the demo's server cannot listen on {HOST}:{port}: {error.strerror}")
    app = demo_server().streamable_http_app(streamable_http_path=PATH, host=HOST)
    _Listening(uvicorn.Config(app, log_config=None, access_log=False)).run(sockets=[listener])


if __name__ == "__main__":
    main()
