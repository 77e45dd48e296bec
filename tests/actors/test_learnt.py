"""What a key has learnt about its server: what it saves, and how a session makes up for what has become wrong."""

from typing import Any

import httpx2
import pytest
from mcp import MCPError
from mcp_types import CallToolResult

from actors import Connection, Transports, Upstream
from actors.connection import Learnt
from actors.exchange import Exchange
from protocol.errors import ConnectFailed
from protocol.fault import Fault
from tests.actors.wire import ECHO, TwoEras, answers, given, opening, reply

AUTO = Upstream("http://server.test/mcp")


async def call(connection: Connection) -> CallToolResult:
    return await connection.call(Exchange("tools/call"), lambda: connection.client.call_tool("echo"))


def posted(wire: TwoEras) -> list[str]:
    """The POSTs since this was last asked."""
    methods = [method for verb, method, _ in wire.seen if verb == "POST"]
    wire.seen.clear()
    return methods


async def test_the_second_session_of_a_key_needs_one_request_for_its_first_call(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wire, learnt, connector = TwoEras(), Learnt(), Transports()
    monkeypatch.setattr(httpx2, "AsyncHTTPTransport", given(wire))
    async with connector(opening(AUTO, learnt=learnt)) as connection:
        await call(connection)
        assert not connection.is_stateful
    assert posted(wire) == ["server/discover", "tools/call", "tools/list"]
    async with connector(opening(AUTO, learnt=learnt)) as connection:
        assert posted(wire) == []
        await call(connection)
        assert posted(wire) == ["tools/call"]
        assert connection.requests == 1
        assert connection.client.server_capabilities.tools is not None


async def test_in_the_handshake_era_it_saves_the_question_for_the_era_and_the_list_of_tools(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wire, learnt, connector = TwoEras("handshake"), Learnt(), Transports()
    monkeypatch.setattr(httpx2, "AsyncHTTPTransport", given(wire))
    async with connector(opening(AUTO, learnt=learnt)) as connection:
        await call(connection)
        assert connection.is_stateful
        assert connection.protocol_version == "2025-11-25"
    first = ["server/discover", "initialize", "notifications/initialized", "tools/call", "tools/list"]
    assert posted(wire) == first
    async with connector(opening(AUTO, learnt=learnt)) as connection:
        await call(connection)
    assert posted(wire) == ["initialize", "notifications/initialized", "tools/call"]


async def test_a_result_is_still_checked_against_the_schema_that_was_carried_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wire, learnt, connector = TwoEras(), Learnt(), Transports()
    monkeypatch.setattr(httpx2, "AsyncHTTPTransport", given(wire))
    async with connector(opening(AUTO, learnt=learnt)) as connection:
        await call(connection)
    wire.value = {"text": 5}
    async with connector(opening(AUTO, learnt=learnt)) as connection:
        posted(wire)
        with pytest.raises(RuntimeError, match="Invalid structured content"):
            await call(connection)
        assert posted(wire) == ["tools/call", "tools/list"], "it may have been the schema that was out of date"
        with pytest.raises(RuntimeError, match="Invalid structured content"):
            await call(connection)
        assert posted(wire) == ["tools/call"]


async def test_a_schema_that_has_changed_meanwhile_costs_no_caller_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    wire, learnt, connector = TwoEras(), Learnt(), Transports()
    monkeypatch.setattr(httpx2, "AsyncHTTPTransport", given(wire))
    async with connector(opening(AUTO, learnt=learnt)) as connection:
        await call(connection)
    number = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    wire.tools, wire.value = [{**ECHO, "outputSchema": number}], {"n": 1}
    async with connector(opening(AUTO, learnt=learnt)) as connection:
        posted(wire)
        result = await call(connection)
        assert result.structured_content == {"n": 1}
        assert posted(wire) == ["tools/call", "tools/list"], "the call was made once"
    async with connector(opening(AUTO, learnt=learnt)) as connection:
        await call(connection)
        assert posted(wire) == ["tools/call"]


async def test_a_tool_that_was_listed_anew_is_learnt_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    wire, learnt = TwoEras(), Learnt()
    monkeypatch.setattr(httpx2, "AsyncHTTPTransport", given(wire))
    async with Transports()(opening(AUTO, learnt=learnt)) as connection:
        await connection.client.list_tools()
        wire.tools = []
        await connection.client.list_tools()
    assert learnt.schemas is not None
    assert learnt.schemas.tools == []


@pytest.mark.parametrize("refuses", ["as a server of the handshake era", "by the version's own error"])
async def test_a_server_that_went_back_to_the_handshake_costs_no_caller_an_error(
    refuses: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wire, learnt, faults = TwoEras(), Learnt(), list[Fault]()
    monkeypatch.setattr(httpx2, "AsyncHTTPTransport", given(wire))
    async with Transports()(opening(AUTO, learnt=learnt)) as connection:
        await call(connection)
    async with Transports()(opening(AUTO, learnt=learnt, report=faults.append)) as connection:
        wire.era = "handshake"
        if refuses.startswith("by"):

            async def handle(request: httpx2.Request) -> httpx2.Response:
                if request.headers.get("mcp-protocol-version") == "2026-07-28":
                    data = {"supported": ["2025-11-25"], "requested": "2026-07-28"}
                    error = {"code": -32022, "message": "no", "data": data}
                    return httpx2.Response(400, json={"jsonrpc": "2.0", "id": None, "error": error})
                return await TwoEras.handle_async_request(wire, request)

            monkeypatch.setattr(wire, "handle_async_request", handle)
        result = await call(connection)
        assert result.structured_content == {"text": "hello"}
        assert connection.protocol_version == "2025-11-25"
        assert [fault.ends_session for fault in faults] == [True], "it is not lent again: it may be shared"
    assert learnt.discovery is None
    assert learnt.shakes_hands


async def test_a_server_that_gave_up_the_handshake_is_asked_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    wire, learnt = TwoEras("handshake"), Learnt()
    monkeypatch.setattr(httpx2, "AsyncHTTPTransport", given(wire))
    async with Transports()(opening(AUTO, learnt=learnt)):
        pass
    assert learnt.shakes_hands
    wire.era = "stateless"
    posted(wire)
    async with Transports()(opening(AUTO, learnt=learnt)) as connection:
        assert not connection.is_stateful
        assert posted(wire) == ["initialize", "server/discover"]
    assert learnt.discovery is not None


async def test_a_mode_that_was_chosen_is_kept_to_whatever_was_learnt(monkeypatch: pytest.MonkeyPatch) -> None:
    wire, learnt = TwoEras("handshake"), Learnt()
    monkeypatch.setattr(httpx2, "AsyncHTTPTransport", given(wire))
    learnt.shakes_hands = True
    pinned = Upstream("http://server.test/mcp", mode="2026-07-28")
    async with Transports()(opening(pinned, learnt=learnt)) as connection:
        with pytest.raises(MCPError, match="Missing session ID"):
            await call(connection)
        assert not connection.is_stateful


async def test_a_server_that_cannot_be_reached_is_not_taken_for_one_that_changed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wire, learnt = TwoEras("handshake"), Learnt()
    monkeypatch.setattr(httpx2, "AsyncHTTPTransport", given(wire))
    async with Transports()(opening(AUTO, learnt=learnt)):
        pass
    wire.is_up = False
    with pytest.raises(ConnectFailed):
        async with Transports()(opening(AUTO, learnt=learnt)):
            pass
    assert learnt.shakes_hands


async def test_an_error_of_the_servers_own_does_not_make_a_session_negotiate_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wire, learnt = TwoEras(), Learnt()
    monkeypatch.setattr(httpx2, "AsyncHTTPTransport", given(wire))
    async with Transports()(opening(AUTO, learnt=learnt)) as connection:
        await call(connection)
    async with Transports()(opening(AUTO, learnt=learnt)) as connection:
        await call(connection)
        posted(wire)
        error = {"jsonrpc": "2.0", "id": None, "error": {"code": -32601, "message": "no such method"}}
        wire.answer = answers(404, json=error)
        with pytest.raises(MCPError, match="no such method"):
            await call(connection)
        assert posted(wire) == ["tools/call"]


async def test_answers_that_may_be_kept_are_kept_for_the_key_and_for_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    wire = TwoEras()
    monkeypatch.setattr(httpx2, "AsyncHTTPTransport", given(wire))

    async def keepable(request: httpx2.Request, message: dict[str, Any]) -> httpx2.Response:
        fields = {"resultType": "complete", "ttlMs": 60_000, "cacheScope": "public"}
        return reply(message, {"prompts": [], **fields})

    wire.answer = keepable
    ours, theirs = Learnt(), Learnt()
    for learnt in (ours, ours, theirs):
        async with Transports()(opening(AUTO, learnt=learnt)) as connection:
            await connection.client.list_prompts()
    assert posted(wire) == ["server/discover", "prompts/list", "server/discover", "prompts/list"]
