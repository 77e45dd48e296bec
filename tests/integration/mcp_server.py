"""A real MCP server for the tests, in a process of its own: `python tests/integration/mcp_server.py KIND PORT`.

Says on its standard output where it listens (`port N`) and which tool call has begun (`began NAME`). Ends when its
standard input does.
"""

import itertools
import logging
import os
import socket
import sys
from threading import Thread

import anyio
import uvicorn
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.streamable_http import EventCallback, EventMessage, EventStore
from mcp_types import JSONRPCMessage

KINDS = ("plain", "json", "events")
"""Answers as event streams that cannot be resumed, as JSON, and as event streams that can."""


class Events(EventStore):
    """Keeps every event, so that streams can be resumed."""

    def __init__(self) -> None:
        self.numbers = itertools.count(1)
        self.events: dict[str, tuple[str, JSONRPCMessage | None]] = {}

    async def store_event(self, stream_id: str, message: JSONRPCMessage | None) -> str:
        event = str(next(self.numbers))
        self.events[event] = (stream_id, message)
        return event

    async def replay_events_after(self, last_event_id: str, send_callback: EventCallback) -> str | None:
        if last_event_id not in self.events:
            return None
        stream = self.events[last_event_id][0]
        for event, (of, message) in list(self.events.items()):
            if of == stream and int(event) > int(last_event_id) and message is not None:
                await send_callback(EventMessage(message, event))
        return stream


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def make() -> MCPServer:
    server = MCPServer("tests", log_level="CRITICAL")

    @server.tool()
    async def echo(text: str) -> str:
        return text

    @server.tool()
    async def sleep(seconds: float) -> str:
        say("began sleep")
        await anyio.sleep(seconds)
        return "slept"

    @server.tool()
    async def whoami(context: Context) -> dict[str, str]:
        headers = context.headers or {}
        return {"session": headers.get("mcp-session-id", ""), "user": headers.get("x-user-id", "")}

    @server.tool()
    async def fail() -> str:
        raise ValueError("as asked")

    return server


class Server(uvicorn.Server):
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        for listener in sockets or ():
            say(f"port {listener.getsockname()[1]}")


def end_with_standard_input() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


def main() -> None:
    kind, port = sys.argv[1], int(sys.argv[2])
    Thread(target=end_with_standard_input, daemon=True).start()
    logging.disable()
    listener = socket.socket(proto=socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    # A client that the server tells to come back in a minute has to find out by itself that the server is dead.
    app = make().streamable_http_app(
        json_response=kind == "json", event_store=Events() if kind == "events" else None, retry_interval=60_000
    )
    Server(uvicorn.Config(app, log_config=None, access_log=False)).run(sockets=[listener])


if __name__ == "__main__":
    main()
