"""Servers without sockets: HTTP transports made up here, for the SDK's real client to talk to."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import anyio.lowlevel
import httpx2

from actors import PoolSettings, Upstream
from actors.connection import Learnt, Opening
from protocol.fault import Fault

SERVER = Upstream("http://server.test/mcp", mode="legacy")
SESSION = "session-1"

Answer = Callable[[httpx2.Request, dict[str, Any]], Awaitable[httpx2.Response]]


class FakeWire(httpx2.AsyncBaseTransport):
    """A handshake-era server without sockets: answers handshakes and pings; `answer` decides about everything else."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, httpx2.Headers]] = []
        self.knows_session = True
        self.is_up = True
        self.answer: Answer = self.result

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        message: dict[str, Any] = json.loads(await request.aread() or b"{}")
        self.seen.append((request.method, message.get("method", ""), request.headers))
        if not self.is_up:
            raise httpx2.ConnectError("refused")
        if request.method != "POST":
            return httpx2.Response(405)
        if message["method"] == "initialize":
            return reply(message, INITIALIZED, {"mcp-session-id": SESSION})
        if not self.knows_session:
            return httpx2.Response(404, text="no such session")
        if message["method"] == "ping":
            return reply(message, {})
        if "id" not in message:
            return httpx2.Response(202)
        return await self.answer(request, message)

    async def result(self, request: httpx2.Request, message: dict[str, Any]) -> httpx2.Response:
        await anyio.lowlevel.checkpoint()
        return reply(message, {"tools": []} if message["method"] == "tools/list" else {"content": []})

    def methods(self) -> list[str]:
        return [method or verb for verb, method, _ in self.seen]


INITIALIZED: dict[str, Any] = {
    "protocolVersion": "2025-11-25",
    "capabilities": {"tools": {}},
    "serverInfo": {"name": "fake", "version": "1"},
}


class TwoEras(FakeWire):
    """A server that speaks the stateless protocol, or the handshake's, as `era` says; and changes its mind."""

    def __init__(self, era: str = "stateless") -> None:
        super().__init__()
        self.era = era
        self.tools: list[dict[str, Any]] = [ECHO]
        self.value: dict[str, Any] = {"text": "hello"}

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        message: dict[str, Any] = json.loads(await request.aread() or b"{}")
        method = message.get("method", "")
        if self.era == "handshake":
            if request.method == "POST" and method != "initialize" and "mcp-session-id" not in request.headers:
                self.seen.append((request.method, method, request.headers))
                error = {"code": -32600, "message": "Bad Request: Missing session ID"}
                return httpx2.Response(400, json={"jsonrpc": "2.0", "id": None, "error": error})
            return await super().handle_async_request(request)
        self.seen.append((request.method, method, request.headers))
        if not self.is_up:
            raise httpx2.ConnectError("refused")
        if method == "server/discover":
            return reply(message, DISCOVERED)
        if method == "initialize":
            error = {"code": -32022, "message": "no", "data": {"supported": ["2026-07-28"], "requested": "2025-11-25"}}
            return httpx2.Response(400, json={"jsonrpc": "2.0", "id": message["id"], "error": error})
        return await self.answer(request, message)

    async def result(self, request: httpx2.Request, message: dict[str, Any]) -> httpx2.Response:
        await anyio.lowlevel.checkpoint()
        stateless = {"resultType": "complete"} if self.era == "stateless" else {}
        if message["method"] == "tools/list":
            cached = {"ttlMs": 0, "cacheScope": "private"} if stateless else {}
            return reply(message, {"tools": self.tools, **stateless, **cached})
        return reply(message, {"content": [], "structuredContent": self.value, **stateless})


DISCOVERED: dict[str, Any] = {
    "supportedVersions": ["2026-07-28"],
    "capabilities": {"tools": {}},
    "resultType": "complete",
    "ttlMs": 0,
    "cacheScope": "private",
}
ECHO: dict[str, Any] = {
    "name": "echo",
    "inputSchema": {"type": "object"},
    "outputSchema": {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]},
}


def opening(upstream: Upstream = SERVER, **given_ones: Any) -> Opening:
    """What a connector is given, where a test does not care."""
    faults: list[Fault] = []
    options: dict[str, Any] = {
        "headers": {},
        "settings": PoolSettings(),
        "report": faults.append,
        "learnt": Learnt(),
        "connect_timeout": 10.0,
        "call_timeout": 30.0,
    }
    return Opening(upstream=upstream, **(options | given_ones))


def given(wire: httpx2.AsyncBaseTransport) -> Callable[..., httpx2.AsyncBaseTransport]:
    """What stands in for httpx2's own transport: always this one."""

    def make(**_: Any) -> httpx2.AsyncBaseTransport:
        return wire

    return make


def reply(message: dict[str, Any], result: dict[str, Any], headers: dict[str, str] | None = None) -> httpx2.Response:
    return httpx2.Response(200, json={"jsonrpc": "2.0", "id": message["id"], "result": result}, headers=headers)


class Stream(httpx2.AsyncByteStream):
    def __init__(self, *parts: bytes, error: Exception | None = None) -> None:
        self.parts = parts
        self.error = error

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for part in self.parts:
            yield part
        if self.error is not None:
            raise self.error


def raises(error: Exception) -> Answer:
    async def answer(request: httpx2.Request, message: dict[str, Any]) -> httpx2.Response:
        raise error

    return answer


def answers(status: int, **options: Any) -> Answer:
    async def answer(request: httpx2.Request, message: dict[str, Any]) -> httpx2.Response:
        return httpx2.Response(status, **options)

    return answer


EVENTS = {"content-type": "text/event-stream"}
JSON = {"content-type": "application/json"}
