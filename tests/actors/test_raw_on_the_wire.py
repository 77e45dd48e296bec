"""Raw requests on the wire: what goes out, what comes back, and what a session makes up for."""

import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any, cast

import anyio
import httpx2
import pytest
from mcp import Client, MCPError
from mcp.client import ClientSession
from opentelemetry import context as telemetry

from actors import Connection, Pool, PoolSettings, Transports, Upstream, open_pool
from actors.connection import Learnt
from actors.exchange import Exchange
from actors.raw_request import send_raw
from actors.shortcut import FIRST_ID
from protocol.errors import (
    SessionTerminated,
    UpstreamUnreachable,
)
from protocol.raw_request import RawRequest
from protocol.session import SessionState
from tests.actors.fakes import settled
from tests.actors.wire import EVENTS, SERVER, FakeWire, Stream, TwoEras, given, opening, reply

pytestmark = pytest.mark.virtual_time

STATELESS = Upstream("http://server.test/mcp", mode="2026-07-28")
META = "io.modelcontextprotocol/"
VALUES: dict[str, Any] = {
    "text": "grüße \U0001f600 \u2028 \x00",
    "int": 2**100,
    "small": -(2**63) - 1,
    "float": 1e308,
    "tenth": 0.1,
    "zero": -0.0,
    "whole": 3.0,
    "yes": True,
    "nothing": None,
    "nested": [[], {}, {"a": [None, 1]}],
}
"""What JSON can say, and what is easily lost on the way."""


class Heard(TwoEras):
    """A server that keeps what it was asked, and answers with the params; or with this error."""

    def __init__(self, era: str) -> None:
        super().__init__(era)
        self.asked: list[dict[str, Any]] = []
        self.error: dict[str, Any] | None = None
        self.answer = self.echo

    async def echo(self, request: httpx2.Request, message: dict[str, Any]) -> httpx2.Response:
        self.asked.append(message)
        if self.error is not None:
            return httpx2.Response(200, json={"jsonrpc": "2.0", "id": message["id"], "error": self.error})
        return reply(message, {"params": message.get("params", "absent")})

    def headers_of(self, method: str) -> httpx2.Headers:
        (headers,) = [headers for _, of, headers in self.seen if of == method]
        return headers


every_era = pytest.mark.parametrize(
    ("era", "upstream"), [("handshake", SERVER), ("stateless", STATELESS)], ids=["handshake", "stateless"]
)


@asynccontextmanager
async def shaken(upstream: Upstream, wire: Heard) -> AsyncGenerator[Pool]:
    """A pool with one session, whose handshake is over and done with."""
    async with open_pool() as pool:
        (await pool.acquire(upstream)).release()
        await anyio.sleep(1)
        wire.seen.clear()
        yield pool


# --- what goes out, and what comes back


@pytest.mark.holds("C4")
@every_era
async def test_null_is_the_same_as_absent_and_an_object_goes_and_comes_as_it_is(
    era: str, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    wire = Heard(era)
    monkeypatch.setattr(httpx2, "AsyncHTTPTransport", given(wire))
    async with shaken(upstream, wire) as pool:
        absent = await pool.call(upstream, "acme/thing")
        null = await pool.call(upstream, "acme/thing", None)
        await pool.call(upstream, "acme/thing", {})
        assert absent == null
        given_ones = {**VALUES, "_meta": {"traceparent": "00-1", "acme/x": None}}
        kept = json.dumps(given_ones)
        result = await pool.call(upstream, "acme/thing", given_ones)
        assert json.dumps(given_ones) == kept, "what a caller gave is as it was"
    bare, nothing, empty, sent = (message.get("params") for message in wire.asked)
    assert bare == nothing == empty
    assert all(message["id"] > FIRST_ID for message in wire.asked)
    assert sent is not None
    meta = sent.pop("_meta")
    assert {name: meta[name] for name in given_ones["_meta"]} == given_ones["_meta"]
    if era == "handshake":
        assert bare is None
        assert meta == given_ones["_meta"]
    else:
        assert bare is not None
        assert set(bare) == {"_meta"}
        assert bare["_meta"][f"{META}protocolVersion"] == meta[f"{META}protocolVersion"] == "2026-07-28"
        assert {f"{META}clientInfo", f"{META}clientCapabilities"} < set(meta)
    assert json.dumps({name: sent[name] for name in VALUES}) == json.dumps(VALUES)
    answered = result["params"]
    assert json.dumps({name: answered[name] for name in VALUES}) == json.dumps(VALUES)


@every_era
@pytest.mark.parametrize(
    ("method", "params", "name"),
    [
        ("tools/call", {"name": "echo", "arguments": {"text": "x"}, "_meta": {"a": 1}}, "echo"),
        ("tools/call", {"name": "größe"}, "=?base64?Z3LDtsOfZQ==?="),
        ("prompts/get", {"name": "p", "_meta": None}, "p"),
        ("resources/read", {"uri": "memo://one"}, "memo://one"),
        ("resources/read", {}, None),
        ("tools/call", {"name": 7, "arguments": [1]}, None),
        ("acme/thing", {"name": "x"}, None),
    ],
)
async def test_a_raw_request_has_the_headers_and_the_meta_of_a_typed_one(  # noqa: PLR0917 - given by name
    era: str,
    upstream: Upstream,
    method: str,
    params: dict[str, Any],
    name: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wire = Heard(era)
    monkeypatch.setattr(httpx2, "AsyncHTTPTransport", given(wire))
    async with shaken(upstream, wire) as pool:
        await pool.call(upstream, method, params, headers={"x-trace": "1", "mcp-method": "forged"})
        headers = wire.headers_of(method)
        assert headers["x-trace"] == "1"
        if era == "handshake":
            assert headers["mcp-protocol-version"] == "2025-11-25"
            assert headers["mcp-session-id"] == "session-1"
            assert "mcp-method" not in headers
        else:
            assert headers["mcp-protocol-version"] == "2026-07-28"
            assert headers["mcp-method"] == method
            assert headers.get("mcp-name") == name
        sent = wire.asked[0].get("params", {})
        assert {key: value for key, value in sent.items() if key != "_meta"} == {
            key: value for key, value in params.items() if key != "_meta"
        }
        if method == "tools/call" and name == "echo":
            wire.seen.clear()
            async with pool.session(upstream) as lease:
                wire.answer = wire.result
                await lease.call_tool("echo", {"text": "x"}, meta=cast("Any", {"a": 1}))
            typed = wire.headers_of(method)
            ours = ("x-trace", "content-length")
            assert [item for item in headers.items() if item[0] not in ours] == [
                item for item in typed.items() if item[0] not in ours
            ]


@every_era
async def test_a_raw_call_of_a_tool_costs_one_http_request_also_the_first(
    era: str, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    wire = Heard(era)
    monkeypatch.setattr(httpx2, "AsyncHTTPTransport", given(wire))
    async with shaken(upstream, wire) as pool:
        before = pool.stats().http_requests
        for count in range(1, 4):
            await pool.call(upstream, "tools/call", {"name": "echo"})
            await settled()
            assert pool.stats().http_requests == before + count
        assert wire.methods()[-3:] == ["tools/call"] * 3


async def test_a_raw_list_comes_from_the_server_each_time_and_from_no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    wire = Heard("stateless")

    async def answer(request: httpx2.Request, message: dict[str, Any]) -> httpx2.Response:
        return reply(
            message, {"tools": [], "resultType": "complete", "ttlMs": 60_000, "cacheScope": "private", "more": 1}
        )

    wire.answer = answer
    monkeypatch.setattr(httpx2, "AsyncHTTPTransport", given(wire))
    async with open_pool() as pool, pool.session(STATELESS) as lease:
        await lease.list_tools()
        for _ in range(2):
            assert (await lease.request("tools/list"))["more"] == 1
        assert wire.methods().count("tools/list") == 3


@every_era
async def test_a_result_is_what_the_server_said_whether_mcp_has_it_or_not(
    era: str, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    wire = Heard(era)
    said: dict[str, Any] = {"content": "no list", "isError": True, "structuredContent": {"text": 7}, "ttlMs": -1}

    async def answer(request: httpx2.Request, message: dict[str, Any]) -> httpx2.Response:
        return reply(message, said)

    wire.answer = answer
    monkeypatch.setattr(httpx2, "AsyncHTTPTransport", given(wire))
    async with open_pool() as pool:
        assert await pool.call(upstream, "tools/call", {"name": "echo"}) == said


@pytest.mark.holds("C4")
@every_era
async def test_the_servers_error_keeps_its_code_its_message_and_its_data(
    era: str, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    wire = Heard(era)
    wire.error = {"code": -32042, "message": "nö", "data": {"why": [1, None, 2**70]}}
    monkeypatch.setattr(httpx2, "AsyncHTTPTransport", given(wire))
    async with open_pool() as pool:
        with pytest.raises(MCPError) as caught:
            await pool.call(upstream, "acme/thing")
        assert caught.value.error.model_dump() == wire.error
        wire.error = {"code": -32601, "message": "unknown"}
        with pytest.raises(MCPError) as caught:
            await pool.call(upstream, "acme/thing")
        assert caught.value.code == -32601
        assert pool.stats().sessions(SessionState.IDLE) == 1


@pytest.mark.holds("S2", "S3")
async def test_transport_failures_have_their_names_and_their_effects_on_the_session(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wire = FakeWire()
    monkeypatch.setattr(httpx2, "AsyncHTTPTransport", given(wire))
    async with open_pool() as pool:
        await pool.call(SERVER, "ping")
        wire.knows_session = False
        with pytest.raises(SessionTerminated, match=r"acme/thing on http://server\.test/mcp") as gone:
            await pool.call(SERVER, "acme/thing")
        assert gone.value.safe_to_retry
        wire.knows_session = True
        await pool.call(SERVER, "acme/thing")
        assert pool.stats().opened == 2
        wire.is_up = False
        with pytest.raises(UpstreamUnreachable):
            await pool.call(SERVER, "acme/thing")
        wire.is_up = True
        lease = await pool.acquire(SERVER, user="ada", session_id="talk")
        pool.end("talk")
        await anyio.sleep(1)
        with pytest.raises(SessionTerminated, match="has not run: its session was closed"):
            await lease.request("acme/thing")
        lease.release()


@pytest.mark.holds("S5")
@pytest.mark.parametrize("how", ["cancelled", "timed out"])
async def test_the_server_is_told_that_nobody_waits_for_a_raw_request_any_more(
    how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wire = Heard("handshake")
    told: list[dict[str, Any]] = []
    beneath = wire.handle_async_request

    async def handle(request: httpx2.Request) -> httpx2.Response:
        message = json.loads(await request.aread() or b"{}")
        if message.get("method") == "notifications/cancelled":
            told.append(message["params"])
        return await beneath(request)

    async def never(request: httpx2.Request, message: dict[str, Any]) -> httpx2.Response:
        wire.asked.append(message)
        await anyio.sleep_forever()
        raise AssertionError

    wire.answer = never
    monkeypatch.setattr(wire, "handle_async_request", handle)
    monkeypatch.setattr(httpx2, "AsyncHTTPTransport", given(wire))
    async with open_pool(PoolSettings(call_timeout=2.0)) as pool:
        if how == "cancelled":
            with anyio.move_on_after(1) as scope:
                await pool.call(SERVER, "acme/thing")
            assert scope.cancelled_caught
        else:
            with pytest.raises(MCPError) as caught:
                await pool.call(SERVER, "acme/thing")
            assert caught.value.code == -32001
        await anyio.sleep(0.1)
        assert [params["requestId"] for params in told] == [wire.asked[0]["id"]]
        assert pool.stats().sessions(SessionState.LEASED) == 0


async def test_progress_under_a_callers_own_token_comes_to_the_handler(monkeypatch: pytest.MonkeyPatch) -> None:
    wire = Heard("handshake")
    heard: list[object] = []

    async def answer(request: httpx2.Request, message: dict[str, Any]) -> httpx2.Response:
        params = {"progressToken": message["params"]["_meta"]["progressToken"], "progress": 1}
        progress = {"jsonrpc": "2.0", "method": "notifications/progress", "params": params}
        done = {"jsonrpc": "2.0", "id": message["id"], "result": {"done": True}}
        events = [f"data: {json.dumps(part)}\n\n".encode() for part in (progress, done)]
        return httpx2.Response(200, headers=EVENTS, stream=Stream(*events))

    async def hear(message: Any) -> None:
        heard.append(message.params.progress_token)

    wire.answer = answer
    monkeypatch.setattr(httpx2, "AsyncHTTPTransport", given(wire))
    async with open_pool(on_message=lambda url, gateway_id: hear) as pool:
        assert await pool.call(SERVER, "acme/thing", {"_meta": {"progressToken": "mine"}}) == {"done": True}
        await anyio.sleep(0.1)
    assert heard == ["mine"]


async def test_a_raw_request_under_a_trace_goes_the_sdks_way_with_the_same_outcome(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wire = Heard("stateless")
    monkeypatch.setattr(httpx2, "AsyncHTTPTransport", given(wire))
    async with open_pool() as pool:
        token = telemetry.attach(telemetry.set_value("baggage", {}))
        try:
            result = await pool.call(STATELESS, "acme/thing", VALUES)
        finally:
            telemetry.detach(token)
    assert wire.asked[0]["id"] < FIRST_ID
    assert json.dumps({name: result["params"][name] for name in VALUES}) == json.dumps(VALUES)


# --- what a session makes up for


async def test_a_tool_whose_arguments_a_header_repeats_is_listed_where_the_server_asks_for_that(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wire = Heard("stateless")
    properties = {"region": {"type": "string", "x-mcp-header": "Region"}}
    tools = [{"name": "echo", "inputSchema": {"type": "object", "properties": properties}}]
    headers: list[str | None] = []
    pages: dict[str, tuple[str | None, object]] = {"": ("2", []), "2": (None, tools)}
    is_right = True

    async def answer(request: httpx2.Request, message: dict[str, Any]) -> httpx2.Response:
        if message["method"] == "tools/list":
            following, page = pages[message["params"].get("cursor", "")]
            more = {} if following is None else {"nextCursor": following}
            stateless = {"resultType": "complete", "ttlMs": 0, "cacheScope": "private"}
            return reply(message, {"tools": page, **stateless, **more})
        headers.append(request.headers.get("mcp-param-region"))
        if headers[-1] == "eu" and is_right:
            return reply(message, {"content": []})
        error = {"code": -32020, "message": "header mismatch"}
        return httpx2.Response(400, json={"jsonrpc": "2.0", "id": message["id"], "error": error})

    wire.answer = answer
    monkeypatch.setattr(httpx2, "AsyncHTTPTransport", given(wire))
    call = {"name": "echo", "arguments": {"region": "eu"}}
    async with open_pool() as pool:
        for _ in range(2):
            assert await pool.call(STATELESS, "tools/call", call) == {"content": []}
        assert headers == [None, "eu", "eu"]
        is_right = False
        with pytest.raises(MCPError, match="header mismatch"):
            await pool.call(STATELESS, "tools/call", call)
        assert headers == [None, "eu", "eu", "eu", "eu"]
        pages[""] = ("2", "no list")
        with pytest.raises(MCPError, match="header mismatch"):
            await pool.call(STATELESS, "tools/call", call)
        assert len(headers) == 6


async def test_a_raw_request_is_made_again_in_the_servers_new_era(monkeypatch: pytest.MonkeyPatch) -> None:
    wire, learnt = Heard("stateless"), Learnt()
    upstream = Upstream("http://server.test/mcp")
    monkeypatch.setattr(httpx2, "AsyncHTTPTransport", given(wire))
    async with Transports()(opening(upstream, learnt=learnt)):
        pass
    wire.seen.clear()
    async with Transports()(opening(upstream, learnt=learnt)) as connection:
        wire.era = "handshake"
        request = RawRequest.of("acme/thing", {"a": 1})
        result = await connection.call(Exchange("acme/thing"), lambda: connection.request(request, 5.0))
        assert result == {"params": {"a": 1}}
    assert wire.methods()[:2] == ["acme/thing", "server/discover"]


@every_era
async def test_what_a_caller_does_to_a_result_changes_nothing_that_is_kept(
    era: str, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    wire, learnt = TwoEras(era), Learnt()
    auto = Upstream("http://server.test/mcp")
    monkeypatch.setattr(httpx2, "AsyncHTTPTransport", given(wire))
    async with Transports()(opening(auto, learnt=learnt)) as connection:
        for method in ("tools/list", "server/discover") if era == "stateless" else ("tools/list",):
            result = await raw(connection, method)
            for value in result.values():
                if isinstance(value, (list, dict)):
                    cast("list[Any]", value).clear()
        assert learnt.schemas is not None
        assert [tool.name for tool in learnt.schemas.tools] == ["echo"]
        if learnt.discovery is not None:
            assert learnt.discovery.supported_versions == ["2026-07-28"]


async def raw(connection: Connection, method: str, params: Mapping[str, Any] | None = None) -> dict[str, Any]:
    request = RawRequest.of(method, params)
    return await connection.call(Exchange(method), lambda: connection.request(request, None))


class Renamed:
    """A session of an SDK that has other names inside: only what is public is there."""

    def __init__(self, session: ClientSession) -> None:
        self.send_request = session.send_request
        self.protocol_version = session.protocol_version


class RenamedClient:
    def __init__(self, client: Client) -> None:
        self.session = Renamed(client.session)
        self.read_timeout_seconds = client.read_timeout_seconds


@every_era
async def test_with_an_sdk_that_has_other_names_inside_requests_go_its_public_way(
    era: str, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    wire = Heard(era)
    monkeypatch.setattr(httpx2, "AsyncHTTPTransport", given(wire))
    async with Transports()(opening(upstream)) as connection:
        client = cast("Client", RenamedClient(connection.client))
        for params in (None, {**VALUES, "_meta": {"acme/x": None}}):
            request = RawRequest.of("acme/thing", params)
            assert await send_raw(client, request, 5.0) == await send_raw(connection.client, request, 5.0)
        first, second, third, fourth = ({**message, "id": 0} for message in wire.asked)
        assert (first, third) == (second, fourth)
        wire.error = {"code": -32042, "message": "no", "data": [1]}
        with pytest.raises(MCPError) as caught:
            await send_raw(client, RawRequest.of("acme/thing", None), None)
        assert caught.value.error.model_dump() == wire.error
