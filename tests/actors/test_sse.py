"""The older SSE transport over a wire made up here: one stream for all answers, and one call's failure is its own."""

import json
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx2
import pytest
from anyio.abc import ObjectReceiveStream, ObjectSendStream
from mcp import MCPError
from typing_extensions import override

from actors import Connection, PoolSettings, Transports, Upstream
from actors.exchange import Exchange
from protocol.errors import (
    CallFailed,
    CallInterrupted,
    ConnectFailed,
    InvalidSettings,
    MalformedResponse,
    ResponseTooLarge,
    SessionTerminated,
    UpstreamRefused,
    UpstreamUnreachable,
)
from protocol.fault import Fault
from tests.actors.wire import EVENTS, INITIALIZED, given, opening

OLD = Upstream("http://server.test/sse?key=hidden", transport="sse")
Reply = Callable[["SseWire", dict[str, Any]], httpx2.Response]


class SseWire(httpx2.AsyncBaseTransport):
    """A server without sockets. `replies` decides what becomes of each call of a tool, by the tool's name."""

    def __init__(self, **replies: Reply) -> None:
        self.replies = replies
        self.first = b"event: endpoint\r\ndata: /messages?session_id=1\r\n\r\n"
        self.seen: list[tuple[str, str, str]] = []
        self.send: ObjectSendStream[bytes]
        self.receive: ObjectReceiveStream[bytes]
        self.send, self.receive = anyio.create_memory_object_stream[bytes](100)

    @override
    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        message: dict[str, Any] = json.loads(await request.aread() or b"{}")
        self.seen.append((request.method, str(request.url), message.get("method", "")))
        if request.method == "GET":
            self.say(self.first)
            return httpx2.Response(200, headers=EVENTS, stream=_Stream(self.receive))
        name = message.get("params", {}).get("name")
        if name in self.replies:
            return self.replies[name](self, message)
        results: dict[str, dict[str, Any]] = {"initialize": INITIALIZED, "tools/list": {"tools": []}}
        if "id" in message:
            self.answer(message, results.get(message["method"], {"content": []}))
        if message.get("method") == "notifications/cancelled":
            await anyio.sleep_forever()
        return httpx2.Response(202)

    def say(self, part: bytes) -> None:
        self.send.send_nowait(part)  # type: ignore[attr-defined]

    def answer(self, message: dict[str, Any], result: dict[str, Any]) -> None:
        body = json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}).encode()
        self.say(b"event: message\r\ndata: " + body + b"\r\n\r\n")


class _Stream(httpx2.AsyncByteStream):
    def __init__(self, receive: ObjectReceiveStream[bytes]) -> None:
        self._receive = receive

    @override
    def __aiter__(self) -> "_Stream":
        return self

    async def __anext__(self) -> bytes:
        try:
            part = await self._receive.receive()
        except anyio.EndOfStream:
            raise StopAsyncIteration from None
        if part == b"reset":
            raise httpx2.ReadError("reset")
        return part


@asynccontextmanager
async def session(wire: SseWire, monkeypatch: pytest.MonkeyPatch, **options: Any) -> AsyncGenerator[Connection]:
    monkeypatch.setattr(httpx2, "AsyncHTTPTransport", given(wire))
    async with wire.send, wire.receive, Transports()(opening(OLD, **options)) as connection:
        yield connection


async def call(connection: Connection, tool: str) -> None:
    await connection.call(Exchange("tools/call"), lambda: connection.client.call_tool(tool))


def says(part: bytes) -> Reply:
    """Accepts the message, and says this on the stream in answer to it."""

    def reply(wire: SseWire, message: dict[str, Any]) -> httpx2.Response:
        wire.say(part.replace(b"ID", str(message["id"]).encode()))
        return httpx2.Response(202)

    return reply


def refuses(status: int, **options: Any) -> Reply:
    def reply(*_: object) -> httpx2.Response:
        return httpx2.Response(status, **options)

    return reply


def breaks(error: Exception) -> Reply:
    def reply(*_: object) -> httpx2.Response:
        raise error

    return reply


LARGE = b'data: {"jsonrpc":"2.0","id":ID,"result":{"content":[{"type":"text","text":"' + b"x" * 20_000 + b'"}]}}\n\n'


@pytest.mark.holds("S9", "S3")
@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (breaks(httpx2.ConnectError("refused")), UpstreamUnreachable),
        (breaks(httpx2.ReadError("reset")), CallInterrupted),
        (refuses(404), SessionTerminated),
        (refuses(401), UpstreamRefused),
        (refuses(503, headers={"retry-after": "7"}), UpstreamRefused),
        (refuses(302, headers={"location": "http://evil.test/"}), UpstreamRefused),
        (refuses(307, headers={"location": "/messages?session_id=1"}), UpstreamRefused),
        (says(b'data: {"jsonrpc":"2.0","id":ID,"result":\n\n'), MalformedResponse),
        (says(b'data: {"jsonrpc":"2.0","id":ID,"result":{"content":5}}\n\n'), MalformedResponse),
        (says(LARGE), ResponseTooLarge),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else None,
)
async def test_one_calls_failure_is_its_own_and_known_at_once(
    reply: Reply, expected: type[CallFailed], monkeypatch: pytest.MonkeyPatch
) -> None:
    wire = SseWire(ill=reply, slow=refuses(202))
    async with session(wire, monkeypatch, settings=PoolSettings(max_body=10_000)) as connection:
        done: list[str] = []

        async def bystander() -> None:
            with pytest.raises(MCPError, match="said the server"):
                await call(connection, "slow")
            done.append("bystander")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(bystander)
            await anyio.wait_all_tasks_blocked()
            with anyio.fail_after(1), pytest.raises(expected, match=r"tools/call on http://server.test/sse "):
                await call(connection, "ill")
            wire.say(b'data: {"jsonrpc":"2.0","id":2,"error":{"code":-32000,"message":"said the server"}}\n\n')
        assert done == ["bystander"]
        await call(connection, "fine")


@pytest.mark.holds("S2", "S3")
@pytest.mark.parametrize("how", ["ends", "resets"])
async def test_a_stream_that_ends_ends_the_session_and_its_calls_at_once(
    how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults: list[Fault] = []
    wire = SseWire(slow=refuses(202))
    async with session(wire, monkeypatch, report=faults.append) as connection:

        async def end() -> None:
            await anyio.wait_all_tasks_blocked()
            if how == "ends":
                await wire.send.aclose()
            else:
                wire.say(b"reset")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(end)
            with anyio.fail_after(1), pytest.raises(CallInterrupted, match="may have run"):
                await call(connection, "slow")
        with anyio.fail_after(1), pytest.raises(CallFailed):
            await call(connection, "fine")
    assert [(fault.ends_session, fault.counts_against_endpoint) for fault in faults] == [(True, True)]


async def test_the_end_that_the_session_makes_itself_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    faults: list[Fault] = []
    async with session(SseWire(), monkeypatch, report=faults.append) as connection:
        await call(connection, "fine")
    assert faults == []


@pytest.mark.holds("S9", "S5")
async def test_a_slow_post_and_a_slow_cancellation_hold_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async with session(SseWire(slow=refuses(202)), monkeypatch) as connection:
        for _ in range(3):
            with anyio.move_on_after(0.01) as scope:
                await call(connection, "slow")
            assert scope.cancelled_caught
            with anyio.fail_after(0.1):
                await call(connection, "fine")


@pytest.mark.parametrize(
    ("first", "said"),
    [
        (b"event: endpoint\ndata: http://evil.test/messages\n\n", "an endpoint on another origin"),
        (b"event: endpoint\ndata: https://server.test/messages\n\n", "an endpoint on another origin"),
        (b"event: endpoint\ndata: http://server.test:port/\n\n", "an endpoint that is no address"),
        (b"reset", "ReadError"),
    ],
)
async def test_a_stream_without_a_proper_endpoint_is_a_named_error(
    first: bytes, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wire = SseWire()
    wire.first = first
    with anyio.fail_after(1), pytest.raises(ConnectFailed, match=said) as caught:
        async with session(wire, monkeypatch):
            pass
    assert caught.value.fault is not None
    assert caught.value.fault.counts_against_endpoint
    assert {method for method, _, _ in wire.seen} == {"GET"}


async def test_the_query_of_the_stream_is_sent_and_not_that_of_another_address(monkeypatch: pytest.MonkeyPatch) -> None:
    wire = SseWire()
    async with session(wire, monkeypatch):
        pass
    assert wire.seen[0][1] == "http://server.test/sse?key=hidden"
    assert {url for method, url, _ in wire.seen if method == "POST"} == {"http://server.test/messages?session_id=1"}


async def test_the_stateless_protocol_cannot_be_pinned_over_sse() -> None:
    with pytest.raises(InvalidSettings, match="cannot speak the protocol of mode"):
        Transports()(opening(Upstream("http://server.test/sse", transport="sse", mode="2026-07-28")))
