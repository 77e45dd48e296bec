"""What goes out beneath a session: whose headers, which queries, and what nobody waits for."""

from typing import Any

import anyio
import httpx2
import pytest

from actors import Connection, Transports, Upstream
from actors.connection import Learnt
from actors.exchange import Exchange
from actors.guard import ASIDE_LIMIT, ASIDE_TIMEOUT
from protocol.errors import ConnectFailed, UpstreamRefused
from tests.actors.wire import FakeWire, TwoEras, answers, given, opening


async def test_headers_of_a_call_go_before_those_of_the_session_and_never_touch_the_protocols_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wire = FakeWire()
    monkeypatch.setattr(httpx2, "AsyncHTTPTransport", given(wire))
    async with Transports()(opening(headers={"X-User": "newest"})) as connection:
        for headers in (None, {"X-User": "ann"}, {"MCP-Session-Id": "forged", "Host": "evil.test", "accept": "x/y"}):
            exchange = Exchange("tools/call", headers=headers)
            await connection.call(exchange, lambda: connection.client.call_tool("echo"))
    sent = [headers for _, method, headers in wire.seen if method == "tools/call"]
    assert [headers.get("x-user") for headers in sent] == ["newest", "ann", None]
    assert {headers["mcp-session-id"] for headers in sent} == {"session-1"}
    assert {headers["host"] for headers in sent} == {"server.test"}
    assert {headers["accept"] for headers in sent} == {"application/json, text/event-stream"}


@pytest.mark.holds("S9")
async def test_cancellations_are_sent_aside_bounded_in_time_and_number_and_end_with_the_session(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wire = FakeWire()
    under_way = most = 0
    beneath = wire.handle_async_request

    async def handle(request: httpx2.Request) -> httpx2.Response:
        nonlocal under_way, most
        response = await beneath(request)
        if wire.seen[-1][1] == "notifications/cancelled":
            under_way += 1
            most = max(most, under_way)
            try:
                await anyio.sleep_forever()
            finally:
                under_way -= 1
        return response

    async def never(request: httpx2.Request, message: dict[str, Any]) -> httpx2.Response:
        await anyio.sleep_forever()
        raise AssertionError

    monkeypatch.setattr(wire, "handle_async_request", handle)
    monkeypatch.setattr(httpx2, "AsyncHTTPTransport", given(wire))
    async with Transports()(opening()) as connection:
        wire.answer = never
        async with anyio.create_task_group() as tasks:
            for _ in range(ASIDE_LIMIT + 20):
                tasks.start_soon(connection.client.call_tool, "echo")
            await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()
        await anyio.wait_all_tasks_blocked()
        assert under_way == most == ASIDE_LIMIT
        await anyio.sleep(ASIDE_TIMEOUT + 1)
        assert under_way == 0
        with anyio.move_on_after(0.01):
            await connection.client.call_tool("echo")
        await anyio.wait_all_tasks_blocked()
        assert under_way == 1
    assert under_way == 0


async def test_a_server_without_an_event_stream_is_asked_for_one_once(monkeypatch: pytest.MonkeyPatch) -> None:
    wire = FakeWire()
    monkeypatch.setattr(httpx2, "AsyncHTTPTransport", given(wire))
    async with Transports()(opening()) as connection:
        await anyio.sleep(10)
        assert connection.requests == 3
    assert wire.methods() == ["initialize", "notifications/initialized", "GET", "DELETE"]


async def fails(connection: Connection) -> UpstreamRefused:
    with pytest.raises(UpstreamRefused) as caught:
        await connection.call(Exchange("tools/call"), lambda: connection.client.call_tool("echo"))
    return caught.value


@pytest.mark.holds("B1")
async def test_where_no_handshake_is_needed_the_first_answer_says_whether_the_endpoint_is_well(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wire, learnt = TwoEras(), Learnt()
    upstream = Upstream("http://server.test/mcp")
    monkeypatch.setattr(httpx2, "AsyncHTTPTransport", given(wire))
    async with Transports()(opening(upstream, learnt=learnt)):
        pass
    async with Transports()(opening(upstream, learnt=learnt)) as connection:
        wire.answer = answers(503)
        fault = (await fails(connection)).fault
        assert fault is not None
        assert fault.counts_against_endpoint
        wire.answer = wire.result
        await connection.client.call_tool("echo")
        wire.answer = answers(503)
        fault = (await fails(connection)).fault
        assert fault is not None
        assert not fault.counts_against_endpoint


@pytest.mark.parametrize("status", [401, 429, 503])
async def test_a_server_that_refuses_an_opening_for_good_is_asked_once(
    status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    wire = TwoEras("handshake")
    monkeypatch.setattr(httpx2, "AsyncHTTPTransport", given(wire))

    async def refuse(request: httpx2.Request) -> httpx2.Response:
        wire.seen.append((request.method, "", request.headers))
        error: dict[str, Any] = {"jsonrpc": "2.0", "id": None, "error": {"code": -32000, "message": "no"}}
        return httpx2.Response(status, json=error, headers={"retry-after": "7"})

    monkeypatch.setattr(wire, "handle_async_request", refuse)
    with pytest.raises(ConnectFailed) as caught:
        async with Transports()(opening(Upstream("http://server.test/mcp"))):
            pass
    assert (caught.value.status, caught.value.retry_after, len(wire.seen)) == (status, 7.0, 1)
