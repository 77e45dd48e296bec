"""The message handler: it is given what the server sends, and costs nobody anything but itself."""

import logging
from typing import Any

import anyio
import httpx2
import pytest
from mcp.client.session import IncomingMessage
from mcp_types import ToolListChangedNotification
from typing_extensions import override

from actors import Transports
from actors.connection import Learnt
from actors.incoming import QUEUE
from tests.actors.wire import EVENTS, FakeWire, Stream, given, opening

CHANGED = b'event: message\ndata: {"jsonrpc":"2.0","method":"notifications/tools/list_changed"}\n\n'


class Talkative(FakeWire):
    """A server that says something on its event stream."""

    def __init__(self, *said: bytes) -> None:
        super().__init__()
        self.said = said

    @override
    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        response = await super().handle_async_request(request)
        if request.method == "GET":
            return httpx2.Response(200, headers=EVENTS, stream=Stream(*self.said))
        return response


async def test_what_the_server_sends_reaches_the_handler_in_order_and_rubbish_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log = b'data: {"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"a"}}\n\n'
    monkeypatch.setattr(httpx2, "AsyncHTTPTransport", given(Talkative(CHANGED, b"data: rubbish\n\n", log)))
    got: list[str] = []

    async def handler(message: IncomingMessage) -> None:
        got.append(type(message).__name__)

    async with Transports()(opening(handler=handler)):
        await anyio.wait_all_tasks_blocked()
    assert sorted(got) == ["LoggingMessageNotification", "ToolListChangedNotification"]


@pytest.mark.holds("X1")
async def test_a_handler_that_raises_is_logged_once_by_kind_and_place_and_costs_only_itself(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(httpx2, "AsyncHTTPTransport", given(Talkative(CHANGED, CHANGED)))
    called = 0

    async def handler(_: IncomingMessage) -> None:
        nonlocal called
        called += 1
        raise ValueError("what the message said")

    with caplog.at_level(logging.INFO):
        async with Transports()(opening(handler=handler)) as connection:
            await anyio.wait_all_tasks_blocked()
            await connection.client.call_tool("echo")
    assert called == 1
    [said] = [record.getMessage() for record in caplog.records if record.name == "troupe"]
    assert "ValueError at handler" in said
    assert "http://server.test/mcp" in said
    assert "what the message said" not in caplog.text


async def test_a_handler_that_never_returns_holds_nothing_up_and_ends_with_the_session(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(httpx2, "AsyncHTTPTransport", given(Talkative(*[CHANGED] * (QUEUE + 50))))
    ended = anyio.Event()

    async def handler(_: IncomingMessage) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            ended.set()

    with anyio.fail_after(1):
        async with Transports()(opening(handler=handler)) as connection:
            await anyio.wait_all_tasks_blocked()
            await connection.client.call_tool("echo")
    assert ended.is_set()


async def test_a_list_of_tools_that_changed_is_forgotten_by_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    learnt = Learnt()
    wire: Any = Talkative()
    monkeypatch.setattr(httpx2, "AsyncHTTPTransport", given(wire))
    async with Transports()(opening(learnt=learnt)) as connection:
        await connection.client.list_tools()
        assert learnt.schemas is not None
        assert connection.recollection is not None
        connection.recollection.noticed(ToolListChangedNotification())
        assert learnt.schemas is None
