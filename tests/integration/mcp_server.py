"""Real MCP servers for the tests, each in a process of its own.

This program is the factory: it imports what servers need once, which takes a second, and forks one for each line
`KIND PORT PIPE` on its standard input; it answers with the server's process id. The server says into the named pipe
where it listens (`port N`) and which tool call has begun (`began NAME`). All end when the factory's standard input
does.
"""

import itertools
import logging
import os
import signal
import socket
import sys
from collections.abc import Sequence
from threading import Thread
from typing import Any

import anyio
import uvicorn
from mcp import MCPError
from mcp.server.extension import Extension, MethodBinding
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.streamable_http import EventCallback, EventMessage, EventStore
from mcp_types import JSONRPCMessage, RequestParams
from pydantic import ConfigDict

KINDS = ("plain", "json", "events", "sse")
"""Answers as event streams that cannot be resumed, as JSON, and as event streams that can; and the older SSE."""


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


class Anything(RequestParams):
    model_config = ConfigDict(extra="allow")


async def echo_params(context: object, params: Anything) -> dict[str, Any]:
    return {"params": params.model_dump(by_alias=True, exclude_unset=True)}


async def refuse(context: object, params: Anything) -> dict[str, Any]:
    raise MCPError(-32042, "as asked: nö", {"why": params.model_extra})


class Acme(Extension):
    """Methods of a vendor's own: what was asked comes back, or an error with that as its data."""

    identifier = "com.example/acme"

    def methods(self) -> Sequence[MethodBinding]:
        return MethodBinding("acme/thing", Anything, echo_params), MethodBinding("acme/refuse", Anything, refuse)


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def make() -> MCPServer:
    server = MCPServer("tests", log_level="CRITICAL", extensions=[Acme()])

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


def serve(server: MCPServer, kind: str, port: int) -> None:
    listener = socket.socket(proto=socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    # A client that the server tells to come back in a minute has to find out by itself that the server is dead.
    if kind == "sse":
        app = server.sse_app(sse_path="/mcp")
    else:
        app = server.streamable_http_app(
            json_response=kind == "json", event_store=Events() if kind == "events" else None, retry_interval=60_000
        )
    Server(uvicorn.Config(app, log_config=None, access_log=False)).run(sockets=[listener])


def end_with(lifeline: int) -> None:
    """End this process when the other end of the pipe is closed: when the factory has ended, however."""
    os.read(lifeline, 1)
    os._exit(0)


def main(made: MCPServer) -> None:
    """Fork a process that serves this, for each line of standard input."""
    logging.disable()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the servers
    lifeline, held = os.pipe()
    for order in sys.stdin:
        kind, port, pipe = order.split()
        server = os.fork()
        if server:
            say(str(server))
            continue
        os.close(held)
        os.dup2(os.open(pipe, os.O_WRONLY), sys.stdout.fileno())
        Thread(target=end_with, args=[lifeline], daemon=True).start()
        serve(made, kind, int(port))
        os._exit(0)


if __name__ == "__main__":
    main(make())
