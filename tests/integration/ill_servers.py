"""Servers over real sockets that misbehave, byte by byte as the test says, and behave until it says so."""

import gzip
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import anyio
from anyio.abc import ByteStream, SocketAttribute
from anyio.streams.buffered import BufferedByteReceiveStream


@dataclass
class Asked:
    """One request.

    Attributes:
        line: its first line.
        headers: by lower-case name.
        message: what was posted.
    """

    line: str
    headers: dict[str, str]
    message: dict[str, Any]

    @property
    def method(self) -> str:
        return self.message.get("method", "")


Ill = Callable[[ByteStream, Asked], Awaitable[None]]


def http(status: str, kind: str, body: bytes, *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"content-length: {len(body)}", *([f"content-type: {kind}"] if kind else [])]
    return "\r\n".join([*lines, *headers, "", ""]).encode() + body


def sends(*parts: bytes) -> Ill:
    async def ill(stream: ByteStream, _: Asked) -> None:
        for part in parts:
            await stream.send(part)

    return ill


def result(asked: Asked, value: dict[str, Any], *headers: str) -> bytes:
    body = json.dumps({"jsonrpc": "2.0", "id": asked.message["id"], "result": value}).encode()
    return http("200 OK", "application/json", body, *headers)


async def closes(stream: ByteStream, _: Asked) -> None:
    await stream.aclose()


async def half(stream: ByteStream, _: Asked) -> None:
    await stream.send(b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n{"jsonrpc"')
    await stream.aclose()


async def never(_: ByteStream, __: Asked) -> None:
    await anyio.sleep_forever()


def chunks(kind: str, first: bytes, part: bytes) -> Ill:
    """A body that does not end."""

    async def ill(stream: ByteStream, _: Asked) -> None:
        await stream.send(f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ntransfer-encoding: chunked\r\n\r\n".encode())
        await stream.send(b"%x\r\n%s\r\n" % (len(first), first))
        while True:
            await stream.send(b"%x\r\n%s\r\n" % (len(part), part))

    return ill


def bomb(size: int) -> Ill:
    """A small body that unpacks to a large one."""
    body = gzip.compress(b" " * size)
    return sends(http("200 OK", "application/json", body, "content-encoding: gzip"))


async def other_id(stream: ByteStream, asked: Asked) -> None:
    body = json.dumps({"jsonrpc": "2.0", "id": 987_654, "result": {"content": []}}).encode()
    await stream.send(http("200 OK", "application/json", body))


class IllServer:
    """A handshake-era server that behaves, but for the calls of the tool `ill`, or for everything if `at_connect`.

    Attributes:
        seen: what was asked.
        goes_on: set lets calls of the tool `slow` end.
    """

    def __init__(self, ill: Ill, *, at_connect: bool = False) -> None:
        self.ill = ill
        self.at_connect = at_connect
        self.seen: list[Asked] = []
        self.goes_on = anyio.Event()
        self.url = ""

    async def serve(self, stream: ByteStream) -> None:
        reader = BufferedByteReceiveStream(stream)
        try:
            async with stream:
                while True:
                    head = (await reader.receive_until(b"\r\n\r\n", 65_536)).decode()
                    line, *fields = head.split("\r\n")
                    headers = {
                        name.lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)
                    }
                    body = await reader.receive_exactly(int(headers.get("content-length", "0")))
                    asked = Asked(line, headers, json.loads(body) if body else {})
                    self.seen.append(asked)
                    await self.answer(stream, asked)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream, anyio.IncompleteRead):
            pass

    async def answer(self, stream: ByteStream, asked: Asked) -> None:
        tool = asked.message.get("params", {}).get("name")
        if self.at_connect or tool == "ill":
            await self.ill(stream, asked)
        elif asked.method == "initialize":
            await stream.send(result(asked, INITIALIZED, "mcp-session-id: one"))
        elif asked.method == "tools/list":
            await stream.send(result(asked, {"tools": []}))
        elif "id" not in asked.message:
            await stream.send(http("202 Accepted" if asked.line.startswith("POST") else "405 No", "", b""))
        else:
            if tool == "slow":
                await self.goes_on.wait()
            await stream.send(result(asked, {"content": []}))


INITIALIZED: dict[str, Any] = {
    "protocolVersion": "2025-11-25",
    "capabilities": {"tools": {}},
    "serverInfo": {"name": "ill", "version": "1"},
}


@asynccontextmanager
async def running(server: IllServer) -> AsyncGenerator[IllServer]:
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as tasks:
        port = listener.extra_attributes[SocketAttribute.local_port]()
        server.url = f"http://127.0.0.1:{port}/mcp"
        tasks.start_soon(listener.serve, server.serve)
        yield server
        tasks.cancel_scope.cancel()
