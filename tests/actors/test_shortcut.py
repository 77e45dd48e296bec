"""The short way of a call: what goes it, what is left to the SDK, and that nobody can tell but by the time it takes."""

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx2
import pytest
from mcp import MCPError
from opentelemetry import context as telemetry

from actors import Connection, Transports, Upstream
from actors.exchange import Exchange
from actors.shortcut import FIRST_ID
from protocol.errors import CallInterrupted
from tests.actors.wire import EVENTS, SERVER, SESSION, Answer, FakeWire, Stream, TwoEras, given, opening, reply

STATELESS = Upstream("http://server.test/mcp", mode="2026-07-28")
LOG = {"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "half-way"}}


class Recorder(FakeWire):
    """A server that keeps what it was sent."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[dict[str, Any]] = []

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self.messages.append(json.loads(await request.aread() or b"{}"))
        return await super().handle_async_request(request)

    def of(self, method: str) -> list[dict[str, Any]]:
        return [message for message in self.messages if message.get("method") == method]


@asynccontextmanager
async def connected(
    wire: FakeWire, monkeypatch: pytest.MonkeyPatch, upstream: Upstream = SERVER, **options: Any
) -> AsyncGenerator[Connection]:
    monkeypatch.setattr(httpx2, "AsyncHTTPTransport", given(wire))
    """A session whose handshake is over and done with."""
    async with Transports()(opening(upstream, **options)) as connection:
        await anyio.wait_all_tasks_blocked()
        yield connection


async def call(connection: Connection, **options: Any) -> Any:
    return await connection.call(
        Exchange("tools/call"), lambda: connection.client.call_tool("echo", {"text": "x"}, **options)
    )


def event(message: dict[str, Any] | None, name: str = "") -> bytes:
    """A server-sent event; without a message one that only says that the stream can be resumed."""
    return (
        (f"id: {name}\n" if name else "").encode()
        + b"data: "
        + (json.dumps(message) if message else "").encode()
        + (b"\n\n")
    )


def answer_of(message: dict[str, Any]) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": message["id"], "result": {"content": [], "tools": []}}


def streams(*before: bytes, together: bool = False) -> Answer:
    """Answer by an event stream that says this first."""

    async def answer(request: httpx2.Request, message: dict[str, Any]) -> httpx2.Response:
        parts = [*before, event(answer_of(message))]
        return httpx2.Response(200, headers=EVENTS, stream=Stream(*([b"".join(parts)] if together else parts)))

    return answer


async def never(request: httpx2.Request, message: dict[str, Any]) -> httpx2.Response:
    await anyio.sleep_forever()
    raise AssertionError


async def test_a_call_goes_the_short_way_with_all_that_the_sdk_would_send(monkeypatch: pytest.MonkeyPatch) -> None:
    wire = Recorder()
    async with connected(wire, monkeypatch) as connection:
        await call(connection)
    (sent,) = wire.of("tools/call")
    assert sent["id"] > FIRST_ID
    assert sent["params"]["name"] == "echo"
    assert sent["params"]["arguments"] == {"text": "x"}
    (headers,) = [headers for _, method, headers in wire.seen if method == "tools/call"]
    assert headers["mcp-session-id"] == SESSION
    assert headers["mcp-protocol-version"] == "2025-11-25"
    assert headers["content-type"] == "application/json"
    assert headers["host"] == "server.test"
    assert wire.methods()[-1] == "DELETE"


async def test_in_the_stateless_era_a_request_says_of_itself_what_a_handshake_would(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wire = TwoEras()
    bodies: list[dict[str, Any]] = []

    async def answer(request: httpx2.Request, message: dict[str, Any]) -> httpx2.Response:
        bodies.append(message)
        return await wire.result(request, message)

    wire.answer = answer
    async with connected(wire, monkeypatch, STATELESS) as connection:
        await call(connection)
    assert bodies[0]["id"] > FIRST_ID
    assert bodies[0]["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"] == "2026-07-28"
    (headers,) = [headers for _, method, headers in wire.seen if method == "tools/call"]
    assert (headers["mcp-protocol-version"], headers["mcp-method"], headers["mcp-name"]) == (
        "2026-07-28",
        "tools/call",
        "echo",
    )


@pytest.mark.parametrize("together", [False, True], ids=["part by part", "in one part"])
async def test_what_a_stream_says_before_its_answer_reaches_the_handler_and_nothing_is_sent_twice(
    *, together: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    wire = Recorder()
    heard: list[Any] = []

    async def hear(message: Any) -> None:
        heard.append(message.params.data)

    async with connected(wire, monkeypatch, handler=hear) as connection:
        wire.answer = streams(event(LOG), together=together)
        result = await call(connection)
        await anyio.wait_all_tasks_blocked()
    assert result.content == []
    assert set(heard) == {"half-way"}
    assert len(wire.of("tools/call")) == 1


async def test_a_stream_that_can_be_resumed_is_resumed_after_its_last_event(monkeypatch: pytest.MonkeyPatch) -> None:
    wire = Recorder()
    resumed: list[str] = []
    beneath = wire.handle_async_request

    async def handle(request: httpx2.Request) -> httpx2.Response:
        if request.method == "GET" and (last := request.headers.get("last-event-id")):
            resumed.append(last)
            (sent,) = wire.of("tools/call")
            return httpx2.Response(200, headers=EVENTS, stream=Stream(event(answer_of(sent), "2")))
        return await beneath(request)

    async def cut(request: httpx2.Request, message: dict[str, Any]) -> httpx2.Response:
        if message["method"] == "tools/list":
            return reply(message, {"tools": []})
        return httpx2.Response(200, headers=EVENTS, stream=Stream(b"retry: 1\n" + event(None, "1")))

    monkeypatch.setattr(wire, "handle_async_request", handle)
    async with connected(wire, monkeypatch) as connection:
        wire.answer = cut
        assert (await call(connection)).content == []
    assert resumed == ["1"]


async def test_progress_is_told_under_the_token_that_the_server_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    wire = Recorder()
    told: list[float] = []

    async def tell(progress: float, total: float | None, message: str | None) -> None:
        told.append(progress)

    async def answer(request: httpx2.Request, message: dict[str, Any]) -> httpx2.Response:
        if message["method"] == "tools/list":
            return reply(message, {"tools": []})
        token = message["params"]["_meta"]["progressToken"]
        said = {"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": token, "progress": 1}}
        return await streams(event(said))(request, message)

    async with connected(wire, monkeypatch) as connection:
        wire.answer = answer
        await call(connection, progress_callback=tell)
        await anyio.wait_all_tasks_blocked()
    assert told == [1.0]


async def test_a_servers_error_keeps_its_code_and_its_data(monkeypatch: pytest.MonkeyPatch) -> None:
    wire = Recorder()

    async def refuse(request: httpx2.Request, message: dict[str, Any]) -> httpx2.Response:
        error = {"code": -32042, "message": "no", "data": {"why": "closed"}}
        return httpx2.Response(200, json={"jsonrpc": "2.0", "id": message["id"], "error": error})

    async with connected(wire, monkeypatch) as connection:
        wire.answer = refuse
        with pytest.raises(MCPError) as caught:
            await call(connection)
    assert (caught.value.code, caught.value.error.data) == (-32042, {"why": "closed"})
    assert len(wire.of("tools/call")) == 1


@pytest.mark.holds("S5")
@pytest.mark.parametrize("how", ["cancelled", "timed out"])
async def test_in_the_handshake_era_the_server_is_told_which_request_nobody_waits_for(
    how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wire = Recorder()
    async with connected(wire, monkeypatch) as connection:
        wire.answer = never
        if how == "cancelled":
            with anyio.move_on_after(0.01) as scope:
                await call(connection)
            assert scope.cancelled_caught
        else:
            with pytest.raises(MCPError) as caught:
                await call(connection, read_timeout_seconds=0.01)
            assert caught.value.code == -32001
        await anyio.wait_all_tasks_blocked()
        (told,) = wire.of("notifications/cancelled")
        assert told["params"]["requestId"] == wire.of("tools/call")[0]["id"]


@pytest.mark.holds("S5")
async def test_a_call_cancelled_after_its_stream_has_said_something_is_taken_back_under_its_own_id(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Endless(Stream):
        async def __aiter__(self) -> AsyncGenerator[bytes]:
            yield event(LOG)
            await anyio.sleep_forever()

    wire = Recorder()

    async def answer(request: httpx2.Request, message: dict[str, Any]) -> httpx2.Response:
        return httpx2.Response(200, headers=EVENTS, stream=Endless())

    async with connected(wire, monkeypatch) as connection:
        wire.answer = answer
        with anyio.move_on_after(0.01) as scope:
            await call(connection)
        assert scope.cancelled_caught
        await anyio.wait_all_tasks_blocked()
        (told,) = wire.of("notifications/cancelled")
        assert told["params"]["requestId"] == wire.of("tools/call")[0]["id"]


async def test_in_the_stateless_era_a_cancelled_call_closes_its_response_and_sends_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wire = TwoEras()
    async with connected(wire, monkeypatch, STATELESS) as connection:
        wire.answer = never
        with anyio.move_on_after(0.01) as scope:
            await call(connection)
        assert scope.cancelled_caught
        await anyio.wait_all_tasks_blocked()
    assert wire.methods() == ["tools/call"]


@pytest.mark.holds("S3")
async def test_calls_under_way_when_the_session_is_closed_end_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    wire = Recorder()
    ended: list[type[BaseException]] = []

    async def caller(connection: Connection) -> None:
        try:
            await call(connection)
        except CallInterrupted as error:
            ended.append(type(error))

    async with anyio.create_task_group() as tasks, connected(wire, monkeypatch) as connection:
        wire.answer = never
        tasks.start_soon(caller, connection)
        tasks.start_soon(caller, connection)
        await anyio.wait_all_tasks_blocked()
    assert ended == [CallInterrupted, CallInterrupted]


async def test_nothing_overtakes_the_end_of_the_handshake(monkeypatch: pytest.MonkeyPatch) -> None:
    wire = Recorder()
    beneath = wire.handle_async_request

    async def slow(request: httpx2.Request) -> httpx2.Response:
        if b"notifications/initialized" in await request.aread():
            await anyio.sleep(0.05)
        return await beneath(request)

    monkeypatch.setattr(wire, "handle_async_request", slow)
    monkeypatch.setattr(httpx2, "AsyncHTTPTransport", given(wire))
    async with Transports()(opening()) as connection:
        await call(connection)
        await call(connection)
    posted = [method for method in wire.methods() if method not in ("GET", "DELETE", "tools/list")]
    assert posted == ["initialize", "notifications/initialized", "tools/call", "tools/call"]
    assert wire.of("tools/call")[1]["id"] > FIRST_ID


async def test_cookies_of_the_server_stay_with_its_session(monkeypatch: pytest.MonkeyPatch) -> None:
    wire = Recorder()

    async def answer(request: httpx2.Request, message: dict[str, Any]) -> httpx2.Response:
        return reply(message, {"content": [], "tools": []}, {"set-cookie": "node=7; Path=/"})

    async with connected(wire, monkeypatch) as connection:
        wire.answer = answer
        await call(connection)
        await call(connection)
    sent = [headers.get("cookie") for _, method, headers in wire.seen if method == "tools/call"]
    assert sent == [None, "node=7"]


async def test_a_call_that_is_traced_goes_the_sdks_way(monkeypatch: pytest.MonkeyPatch) -> None:
    wire = Recorder()
    async with connected(wire, monkeypatch) as connection:
        await call(connection)
        token = telemetry.attach(telemetry.set_value("baggage", {}))
        try:
            await call(connection)
        finally:
            telemetry.detach(token)
    first, second = wire.of("tools/call")
    assert second["id"] < FIRST_ID < first["id"]


async def test_through_a_client_of_the_users_calls_go_the_sdks_way(monkeypatch: pytest.MonkeyPatch) -> None:
    wire = Recorder()

    def factory(**_: object) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(transport=wire)

    async with connected(FakeWire(), monkeypatch, http_client=factory) as connection:
        await call(connection)
    assert wire.of("tools/call")[0]["id"] < FIRST_ID
