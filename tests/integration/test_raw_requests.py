"""Raw requests to real MCP servers in their own processes, of both eras. On both event loops."""

import json
from typing import Any

import anyio
import pytest
from mcp import MCPError

from actors import PoolSettings, Upstream, open_pool
from protocol.errors import CallInterrupted, InvalidMethod, InvalidParams
from protocol.session import SessionState
from tests.integration.servers import running_server
from tests.integration.test_real_servers import Mode, every_server

VALUES: dict[str, Any] = {
    "text": "grüße \U0001f600 \u2028 \x00",
    "int": 2**100,
    "small": -(2**63) - 1,
    "float": 1e308,
    "tenth": 0.1,
    "whole": 3.0,
    "nothing": None,
    "nested": [[], {}, {"a": [None, 1, True]}],
}
"""What JSON can say, and what is easily lost on the way."""


@pytest.mark.holds("C4")
@every_server
async def test_absent_null_and_empty_are_the_same_an_object_comes_back_as_it_went_and_a_list_goes_nowhere(
    kind: str, mode: Mode
) -> None:
    with running_server(kind) as server:
        async with open_pool() as pool:
            upstream = Upstream(server.url, mode=mode)
            absent = await pool.call(upstream, "acme/thing")
            assert absent == await pool.call(upstream, "acme/thing", None)
            assert absent == await pool.call(upstream, "acme/thing", {})
            assert set(absent["params"]) == (set() if mode == "legacy" else {"_meta"})
            result = await pool.call(upstream, "acme/thing", {**VALUES, "_meta": {"acme/x": [1]}})
            assert result["params"].pop("_meta")["acme/x"] == [1]
            assert json.dumps(result["params"], sort_keys=True) == json.dumps(VALUES, sort_keys=True)
            sent = pool.stats().http_requests
            a_list: Any = []
            with pytest.raises(InvalidParams):
                await pool.call(upstream, "acme/thing", a_list)
            with pytest.raises(InvalidMethod):
                await pool.call(upstream, "initialize", {})
            assert pool.stats().http_requests == sent
            assert pool.stats().opened == 1


@pytest.mark.holds("C4")
@every_server
async def test_results_and_errors_are_what_the_server_said(kind: str, mode: Mode) -> None:
    with running_server(kind) as server:
        async with open_pool() as pool:
            upstream = Upstream(server.url, mode=mode)
            result = await pool.call(upstream, "tools/call", {"name": "echo", "arguments": {"text": "hi"}})
            assert result["structuredContent"] == {"result": "hi"}
            failed = await pool.call(upstream, "tools/call", {"name": "fail", "arguments": {}})
            assert failed["isError"]
            with pytest.raises(MCPError) as refused:
                await pool.call(upstream, "acme/refuse", {"a": VALUES["text"]})
            error = {"code": -32042, "message": "as asked: nö", "data": {"why": {"a": VALUES["text"]}}}
            assert refused.value.error.model_dump() == error
            with pytest.raises(MCPError) as unknown:
                await pool.call(upstream, "acme/unknown", {"a": 1})
            assert unknown.value.code == -32601
            listed = await pool.call(upstream, "tools/list")
            assert {tool["name"] for tool in listed["tools"]} == {"echo", "sleep", "whoami", "fail"}
            assert pool.stats().opened == 1
            assert pool.stats().sessions(SessionState.IDLE) == 1


@pytest.mark.holds("C4")
async def test_over_the_older_sse_transport_raw_requests_are_the_same() -> None:
    with running_server("sse") as server:
        async with open_pool() as pool:
            upstream = Upstream(server.url, transport="sse")
            result = await pool.call(upstream, "acme/thing", VALUES)
            assert json.dumps(result["params"], sort_keys=True) == json.dumps(VALUES, sort_keys=True)
            with pytest.raises(MCPError) as refused:
                await pool.call(upstream, "acme/refuse", {"a": 1})
            assert refused.value.error.data == {"why": {"a": 1}}
            assert pool.stats().opened == 1


@every_server
async def test_a_raw_call_of_a_tool_is_one_http_request_also_the_first_on_a_session(kind: str, mode: Mode) -> None:
    with running_server(kind) as server:
        async with open_pool() as pool:
            upstream = Upstream(server.url, mode=mode)
            async with pool.session(upstream):
                await anyio.sleep(0.1)  # what follows the handshake is over
            before = pool.stats().http_requests
            for count in range(1, 6):
                await pool.call(upstream, "tools/call", {"name": "echo", "arguments": {"text": "hi"}})
                assert pool.stats().http_requests == before + count


async def test_asking_a_session_what_its_server_is_leaves_it_as_it_was() -> None:
    with running_server() as server:
        async with open_pool() as pool:
            stateless, stateful = Upstream(server.url), Upstream(server.url, mode="legacy", name="stateful")
            found = await pool.call(stateless, "server/discover")
            assert "2026-07-28" in found["supportedVersions"]
            with pytest.raises(MCPError):
                await pool.call(stateful, "server/discover", gateway_id="g")
            assert await pool.call(stateful, "ping", gateway_id="g") == {}
            async with pool.session(stateless) as one, pool.session(stateful, gateway_id="g") as other:
                assert (one.protocol_version, other.protocol_version) == ("2026-07-28", "2025-11-25")
                for lease in (one, other):
                    assert not (await lease.call_tool("echo", {"text": "hi"})).is_error
            assert pool.stats().opened == 2


@pytest.mark.holds("L1", "L6")
async def test_a_conversations_raw_calls_reach_its_own_session_with_the_headers_of_who_makes_them() -> None:
    with running_server() as server:
        async with open_pool() as pool:
            upstream = Upstream(server.url, mode="legacy")
            told: dict[str, set[str]] = {"ada": set(), "bob": set()}

            async def work(user: str) -> None:
                result = await pool.call(
                    upstream, "tools/call", {"name": "whoami"}, headers={"X-User-Id": user}, session_id=f"of-{user}"
                )
                assert result["structuredContent"]["user"] == user
                told[user].add(result["structuredContent"]["session"])

            async with anyio.create_task_group() as tasks:
                for user in ("ada", "bob", "ada", "bob", "ada"):
                    tasks.start_soon(work, user)
            assert [len(sessions) for sessions in told.values()] == [1, 1]
            assert told["ada"].isdisjoint(told["bob"])


@pytest.mark.holds("S3", "S5", "L5")
@every_server
async def test_a_raw_call_that_is_cancelled_late_or_cut_off_ends_by_name_and_leaves_no_lease(
    kind: str, mode: Mode
) -> None:
    sleep = {"name": "sleep", "arguments": {"seconds": 60}}
    with running_server(kind) as server:
        async with open_pool(PoolSettings(max_size=1)) as pool:
            upstream = Upstream(server.url, mode=mode)
            with pytest.raises(MCPError) as late:
                await pool.call(upstream, "tools/call", sleep, timeout=0.5)
            assert late.value.code == -32001
            await server.began("sleep")
            with anyio.move_on_after(0.2) as scope:
                await pool.call(upstream, "tools/call", sleep)
            assert scope.cancelled_caught
            await server.began("sleep")
            assert (await pool.call(upstream, "acme/thing", {"a": 1}))["params"]["a"] == 1
            assert pool.stats().opened == 1

            async def cut_off() -> None:
                with pytest.raises(CallInterrupted, match="may have run"):
                    await pool.call(upstream, "tools/call", sleep, idempotent=True)

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(cut_off)
                await server.began("sleep")
                server.kill()
            assert pool.stats().sessions(SessionState.LEASED) == 0
