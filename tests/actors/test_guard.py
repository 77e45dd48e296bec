"""The guard: one exchange fails, the others do not notice. The SDK's real client over transports made up here."""

import gzip
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx2
import pytest
from mcp import MCPError
from mcp_types import CallToolRequest, CallToolRequestParams, CallToolResult

from actors import Lease, PoolSettings, StreamableHttp, Upstream, open_pool
from actors.guard import Guard
from protocol.errors import (
    CallFailed,
    CallInterrupted,
    ConnectFailed,
    SessionTerminated,
    TroupeError,
    UpstreamRefused,
    UpstreamUnreachable,
)
from protocol.session import SessionState
from tests.actors.wire import EVENTS, JSON, SERVER, Answer, FakeWire, Stream, answers, given, raises, reply

CALL = CallToolRequest(params=CallToolRequestParams(name="echo"))


@asynccontextmanager
async def session(wire: FakeWire, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[Lease]:
    """A session over the wire, in a pool of one."""
    monkeypatch.setattr(httpx2, "AsyncHTTPTransport", given(wire))
    async with open_pool(PoolSettings(max_size=1), connector=StreamableHttp()) as pool, pool.session(SERVER) as lease:
        await anyio.wait_all_tasks_blocked()  # the handshake is over and done with, and calls go the short way
        yield lease


@pytest.mark.holds("S3", "S9")
@pytest.mark.parametrize(
    ("answer", "expected", "safe"),
    [
        (raises(httpx2.ConnectError("refused")), UpstreamUnreachable, True),
        (raises(httpx2.ConnectTimeout("slow")), UpstreamUnreachable, True),
        (raises(httpx2.ReadError("reset")), CallInterrupted, False),
        (raises(httpx2.RemoteProtocolError("gone")), CallInterrupted, False),
        (raises(RuntimeError("surprise")), CallInterrupted, False),
        (answers(404, text="not here"), SessionTerminated, True),
        (answers(401), UpstreamRefused, False),
        (answers(503, headers={"retry-after": "7"}), UpstreamRefused, False),
        (answers(500, json={"detail": "not JSON-RPC"}), UpstreamRefused, False),
        (answers(200, headers=JSON, stream=Stream(b'{"js', error=httpx2.ReadError(""))), CallInterrupted, False),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else None,
)
async def test_a_failed_exchange_is_a_named_error_for_its_call_and_the_others_go_on(
    answer: Answer, expected: type[TroupeError], *, safe: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    wire = FakeWire()
    async with session(wire, monkeypatch) as lease:
        done: list[str] = []
        under_way = anyio.Event()
        goes_on = anyio.Event()

        async def slow(request: httpx2.Request, message: dict[str, Any]) -> httpx2.Response:
            under_way.set()
            await goes_on.wait()
            return reply(message, {"content": []})

        async def bystander() -> None:
            await lease.client.session.send_request(CALL, CallToolResult)
            done.append("bystander")

        wire.answer = slow
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(bystander)
            await under_way.wait()
            wire.answer = answer
            with pytest.raises(expected, match=r"tools/call on http://server.test/mcp") as caught:
                await lease.call_tool("echo")
            assert caught.value.safe_to_retry is safe
            goes_on.set()
        assert done == ["bystander"]


async def test_the_status_and_the_pause_that_the_server_asks_for_are_on_the_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wire = FakeWire()
    async with session(wire, monkeypatch) as lease:
        wire.answer = answers(429, headers={"retry-after": "7"})
        with pytest.raises(UpstreamRefused, match="HTTP 429") as caught:
            await lease.call_tool("echo")
        assert (caught.value.status, caught.value.retry_after) == (429, 7.0)


async def test_an_error_that_the_server_words_itself_stays_the_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    wire = FakeWire()
    async with session(wire, monkeypatch) as lease:
        error = {
            "jsonrpc": "2.0",
            "id": None,
            "error": {"code": -32602, "message": "no such tool", "data": {"tool": "x"}},
        }
        wire.answer = answers(400, json=error)
        with pytest.raises(MCPError, match="no such tool") as caught:
            await lease.call_tool("x")
        assert (caught.value.code, caught.value.data) == (-32602, {"tool": "x"})


@pytest.mark.holds("S3")
async def test_a_stream_that_breaks_off_is_looked_into_at_once_even_if_it_could_be_resumed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wire = FakeWire()
    async with session(wire, monkeypatch) as lease:

        async def dies(request: httpx2.Request, message: dict[str, Any]) -> httpx2.Response:
            wire.is_up = False
            first = b'id: 1\nretry: 60000\ndata: \n\ndata: {"half an ev'
            return httpx2.Response(200, headers=EVENTS, stream=Stream(first, error=httpx2.ReadError("reset")))

        wire.answer = dies
        with anyio.fail_after(1), pytest.raises(CallInterrupted, match="ReadError"):
            await lease.call_tool("echo")


async def test_a_stream_that_breaks_off_while_the_session_lives_is_resumed_by_the_sdk(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wire = FakeWire()
    async with session(wire, monkeypatch) as lease:
        resumed: list[str] = []
        beneath = wire.handle_async_request

        async def handle(request: httpx2.Request) -> httpx2.Response:
            if request.method == "GET" and "last-event-id" in request.headers:
                resumed.append(request.headers["last-event-id"])
                event = b'id: 2\ndata: {"jsonrpc":"2.0","id":0,"result":{"content":[]}}\n\n'
                return httpx2.Response(200, headers=EVENTS, stream=Stream(event))
            return await beneath(request)

        monkeypatch.setattr(wire, "handle_async_request", handle)
        first = Stream(b"id: 1\nretry: 10\ndata: \n\n", error=httpx2.ReadError("reset"))
        wire.answer = answers(200, headers=EVENTS, stream=first)
        await lease.client.session.send_request(CALL, CallToolResult)
        assert resumed == ["1"]


@pytest.mark.holds("S2")
async def test_a_session_that_the_server_no_longer_knows_is_not_lent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    wire = FakeWire()
    monkeypatch.setattr(httpx2, "AsyncHTTPTransport", given(wire))
    async with open_pool(PoolSettings(max_size=1)) as pool:
        async with pool.session(SERVER) as lease:
            wire.knows_session = False
            with pytest.raises(SessionTerminated, match="has not run"):
                await lease.call_tool("echo")
            assert pool.stats().sessions(SessionState.RETIRING) == 1
            wire.knows_session = True
        async with pool.session(SERVER) as lease:
            await lease.call_tool("echo")
        assert pool.stats().opened == 2


@pytest.mark.holds("S2")
async def test_a_typescript_server_says_that_it_lost_the_session_with_a_400(monkeypatch: pytest.MonkeyPatch) -> None:
    wire = FakeWire()
    async with session(wire, monkeypatch) as lease:
        error = {"code": -32000, "message": "Bad Request: No valid session ID provided"}
        wire.answer = answers(400, json={"jsonrpc": "2.0", "id": None, "error": error})
        with pytest.raises(SessionTerminated):
            await lease.call_tool("echo")


async def test_a_server_that_says_404_to_the_event_stream_but_knows_the_session_keeps_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wire = FakeWire()
    beneath = wire.handle_async_request

    async def handle(request: httpx2.Request) -> httpx2.Response:
        response = await beneath(request)
        return httpx2.Response(404) if request.method == "GET" else response

    monkeypatch.setattr(wire, "handle_async_request", handle)
    async with session(wire, monkeypatch) as lease:
        await lease.call_tool("echo")
        await anyio.wait_all_tasks_blocked()
        assert "ping" in wire.methods()
        await lease.call_tool("echo")


async def test_a_server_that_cannot_be_reached_is_tried_once_per_session(monkeypatch: pytest.MonkeyPatch) -> None:
    wire = FakeWire()
    wire.is_up = False
    monkeypatch.setattr(httpx2, "AsyncHTTPTransport", given(wire))
    async with open_pool() as pool:
        with pytest.raises(
            ConnectFailed, match=r"no session with http://server.test/mcp .* \(ConnectError\)"
        ) as caught:
            await pool.acquire(Upstream(SERVER.url))
        assert isinstance(caught.value.__cause__, httpx2.ConnectError)
    assert wire.methods() == ["server/discover"]


@pytest.mark.parametrize(
    ("response", "said"),
    [
        ({"status_code": 200, "html": "<h1>hello</h1>"}, "HTTP 200 with content of type text/html is no answer"),
        ({"status_code": 401}, "HTTP 401"),
        ({"status_code": 200, "json": {"neither": "here"}}, "no JSON-RPC answer"),
    ],
)
async def test_whatever_a_server_says_to_the_handshake_is_a_named_error(
    response: dict[str, Any], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Odd(FakeWire):
        async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
            return httpx2.Response(**response)

    monkeypatch.setattr(httpx2, "AsyncHTTPTransport", given(Odd()))
    async with open_pool() as pool:
        with pytest.raises(ConnectFailed, match=said):
            await pool.acquire(SERVER)
        assert pool.stats().sessions() == 0


async def test_each_request_bears_the_headers_of_the_lease_that_makes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    wire = FakeWire()
    monkeypatch.setattr(httpx2, "AsyncHTTPTransport", given(wire))
    async with open_pool() as pool:
        for trace in ("1", "2"):
            async with pool.session(SERVER, headers={"X-Trace": trace}) as lease:
                await lease.call_tool("echo")
    calls = [headers["x-trace"] for _, method, headers in wire.seen if method == "tools/call"]
    assert calls == ["1", "2"]


@pytest.mark.holds("S5")
async def test_cancelling_a_call_passes_through_the_guard(monkeypatch: pytest.MonkeyPatch) -> None:
    wire = FakeWire()
    async with session(wire, monkeypatch) as lease:

        async def never(request: httpx2.Request, message: dict[str, Any]) -> httpx2.Response:
            await anyio.sleep_forever()
            raise AssertionError

        wire.answer = never
        with anyio.move_on_after(0.01) as scope:
            await lease.call_tool("echo")
        assert scope.cancelled_caught
        await anyio.wait_all_tasks_blocked()
        assert "notifications/cancelled" in wire.methods()
        wire.answer = wire.result
        await lease.call_tool("echo")


async def test_the_guard_never_raises_whatever_the_transport_does() -> None:
    class Broken(httpx2.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
            raise OSError(113, "No route to host")

    faults: list[Any] = []
    guard = Guard(Broken(), headers={}, report=faults.append)
    guard.connecting = False
    for verb in ("POST", "GET", "DELETE"):
        content = b'{"jsonrpc":"2.0","id":1,"method":"tools/call"}' if verb == "POST" else b""
        response = await guard.handle_async_request(httpx2.Request(verb, SERVER.url, content=content))
        if verb == "DELETE":
            assert response.status_code == 204
        else:
            assert response.status_code == 502
            assert json.loads(response.content)["error"]["code"] == -32000
    assert [fault.step for fault in faults] == ["tools/call", "session end"], "an event stream is an extra"
    assert faults[0].detail == "OSError: No route to host"


def schema_list_fails(wire: FakeWire, how: Answer) -> None:
    """The tool runs; the `tools/list` by which the SDK learns the schema of its result fails."""

    async def answer(request: httpx2.Request, message: dict[str, Any]) -> httpx2.Response:
        if message["method"] == "tools/list":
            return await how(request, message)
        return await wire.result(request, message)

    wire.answer = answer


@pytest.mark.holds("S3")
@pytest.mark.parametrize("how", [answers(404), raises(httpx2.ConnectError("refused"))], ids=["unknown", "unreachable"])
async def test_a_call_that_has_run_is_never_said_to_be_safe_to_retry(
    how: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    wire = FakeWire()
    async with session(wire, monkeypatch) as lease:
        schema_list_fails(wire, how)
        with pytest.raises(CallInterrupted, match="may have run") as caught:
            await lease.call_tool("pay")
        assert not caught.value.safe_to_retry


@pytest.mark.holds("S9")
@pytest.mark.parametrize(
    "answer",
    [
        answers(503, headers={"retry-after": "Mon, 1 Jan 99999999999999999999 00:00:00 GMT"}),
        answers(500, text="[" * 60_000),
        answers(200, headers={**JSON, "content-encoding": "gzip"}, stream=Stream(b"not gzip at all")),
    ],
    ids=["a date beyond time", "deep nonsense", "gzip that is none"],
)
async def test_no_answer_is_so_odd_that_it_hurts_another_call(answer: Answer, monkeypatch: pytest.MonkeyPatch) -> None:
    wire = FakeWire()
    async with session(wire, monkeypatch) as lease:
        goes_on = anyio.Event()

        async def slow(request: httpx2.Request, message: dict[str, Any]) -> httpx2.Response:
            await goes_on.wait()
            return reply(message, {"content": []})

        wire.answer = slow
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lease.client.session.send_request, CALL, CallToolResult)
            await anyio.wait_all_tasks_blocked()
            wire.answer = answer
            with pytest.raises(CallFailed):
                await lease.call_tool("echo")
            goes_on.set()


async def test_a_compressed_answer_is_read_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    wire = FakeWire()
    async with session(wire, monkeypatch) as lease:

        async def compressed(request: httpx2.Request, message: dict[str, Any]) -> httpx2.Response:
            body = gzip.compress(
                json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": {"content": []}}).encode()
            )
            return httpx2.Response(200, headers={**JSON, "content-encoding": "gzip"}, stream=Stream(body))

        wire.answer = compressed
        await lease.client.session.send_request(CALL, CallToolResult)


@pytest.mark.holds("S4")
async def test_the_body_of_an_error_that_never_ends_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    class Endless(httpx2.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            await anyio.sleep_forever()
            yield b""

    wire = FakeWire()
    async with session(wire, monkeypatch) as lease:
        wire.answer = answers(500, stream=Endless())
        with anyio.fail_after(5), pytest.raises(UpstreamRefused, match="HTTP 500"):
            await lease.call_tool("echo")


async def test_a_server_that_drops_the_event_stream_keeps_its_session(monkeypatch: pytest.MonkeyPatch) -> None:
    wire = FakeWire()
    beneath = wire.handle_async_request

    async def handle(request: httpx2.Request) -> httpx2.Response:
        response = await beneath(request)
        if request.method == "GET":
            raise httpx2.RemoteProtocolError("dropped")
        return response

    monkeypatch.setattr(wire, "handle_async_request", handle)
    monkeypatch.setattr(httpx2, "AsyncHTTPTransport", given(wire))
    async with open_pool(PoolSettings(max_size=1)) as pool:
        for _ in range(3):
            async with pool.session(SERVER) as lease:
                await lease.call_tool("echo")
                await anyio.wait_all_tasks_blocked()
        assert pool.stats().opened == 1


async def test_a_server_that_says_404_to_the_event_stream_and_is_slow_with_pings_keeps_its_session(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wire = FakeWire()
    beneath = wire.handle_async_request

    async def handle(request: httpx2.Request) -> httpx2.Response:
        if b"troupe-probe" in await request.aread():
            await anyio.sleep_forever()
        response = await beneath(request)
        return httpx2.Response(404) if request.method == "GET" else response

    monkeypatch.setattr(wire, "handle_async_request", handle)
    monkeypatch.setattr(httpx2, "AsyncHTTPTransport", given(wire))
    async with open_pool(PoolSettings(max_size=1)) as pool:
        async with pool.session(SERVER) as lease:
            await anyio.sleep(1)
            await lease.call_tool("echo")
        assert pool.stats().broken == 0
