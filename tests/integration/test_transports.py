"""The transports over real MCP servers in their own processes."""

from typing import Any, Literal

import anyio
import httpx2
import pytest
from mcp_types import CallToolResult

from actors import Connection, Transports, Upstream
from actors.connection import Learnt
from actors.exchange import Exchange
from protocol.errors import CallInterrupted, ConnectFailed
from protocol.fault import Fault
from protocol.health import ProbeResult
from tests.actors.wire import opening
from tests.integration.servers import running_server

KINDS: list[tuple[str, Literal["streamable-http", "sse"], Literal["auto", "legacy"]]] = [
    ("plain", "streamable-http", "auto"),
    ("plain", "streamable-http", "legacy"),
    ("json", "streamable-http", "auto"),
    ("json", "streamable-http", "legacy"),
    ("sse", "sse", "auto"),
]
every_way = pytest.mark.parametrize(("kind", "transport", "mode"), KINDS)


async def call(
    connection: Connection, tool: str, headers: dict[str, str] | None = None, **given: Any
) -> CallToolResult:
    exchange = Exchange("tools/call", headers=headers)
    return await connection.call(exchange, lambda: connection.client.call_tool(tool, given))


@every_way
async def test_tools_are_called_over_every_transport_and_in_every_era(
    kind: str, transport: Literal["streamable-http", "sse"], mode: Literal["auto", "legacy"]
) -> None:
    with running_server(kind) as server:
        upstream = Upstream(server.url, transport=transport, mode=mode)
        async with Transports()(opening(upstream, headers={"x-user-id": "ann"})) as connection:
            assert (await call(connection, "echo", text="a")).structured_content == {"result": "a"}
            assert connection.is_stateful is (mode == "legacy" or kind == "sse")
            async with anyio.create_task_group() as tasks:
                for text in "bcdefgh":
                    tasks.start_soon(lambda text=text: call(connection, "echo", text=text))


@every_way
async def test_calls_at_the_same_time_each_bear_the_headers_of_their_own_lease(
    kind: str, transport: Literal["streamable-http", "sse"], mode: Literal["auto", "legacy"]
) -> None:
    users: dict[str, Any] = {}
    with running_server(kind) as server:
        upstream = Upstream(server.url, transport=transport, mode=mode)
        async with Transports()(opening(upstream, headers={"x-user-id": "newest"})) as connection:

            async def one(user: str | None) -> None:
                headers = None if user is None else {"x-user-id": user, "Mcp-Session-Id": "forged", "HOST": "evil.test"}
                result = await call(connection, "whoami", headers)
                assert result.structured_content is not None
                users[str(user)] = result.structured_content["user"]

            async with anyio.create_task_group() as tasks:
                for user in ("ann", "bob", None):
                    tasks.start_soon(one, user)
    if kind != "sse":  # whose requests reach the tool as those of the stream
        assert users == {"ann": "ann", "bob": "bob", "None": "newest"}


@every_way
async def test_every_transport_goes_through_the_users_client(
    kind: str, transport: Literal["streamable-http", "sse"], mode: Literal["auto", "legacy"]
) -> None:
    made: list[httpx2.AsyncClient] = []

    def factory(
        headers: dict[str, str] | None = None, timeout: httpx2.Timeout | None = None, auth: httpx2.Auth | None = None
    ) -> httpx2.AsyncClient:
        made.append(httpx2.AsyncClient(headers={"x-user-id": "mine"}, timeout=timeout))
        return made[-1]

    with running_server(kind) as server:
        upstream = Upstream(server.url, transport=transport, mode=mode, http_client=factory)
        async with Transports()(opening(upstream)) as connection:
            result = await call(connection, "whoami")
            assert result.structured_content is not None
            assert result.structured_content["user"] == "mine"
    assert [client.is_closed for client in made] == [True]


@every_way
@pytest.mark.holds("S3")
async def test_a_server_that_is_killed_ends_the_call_by_name_within_a_second(
    kind: str, transport: Literal["streamable-http", "sse"], mode: Literal["auto", "legacy"]
) -> None:
    faults: list[Fault] = []
    with running_server(kind) as server:
        upstream = Upstream(server.url, transport=transport, mode=mode)
        async with Transports()(opening(upstream, report=faults.append)) as connection:
            await call(connection, "echo", text="a")

            async def kill() -> None:
                await server.began("sleep")
                server.kill()

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(kill)
                with anyio.fail_after(10), pytest.raises(CallInterrupted):
                    await call(connection, "sleep", seconds=60)
    assert any(fault.ends_session and fault.counts_against_endpoint for fault in faults)


@pytest.mark.parametrize(
    ("kind", "transport", "mode", "requests"),
    [
        ("plain", "streamable-http", "auto", (3, 1)),
        ("plain", "streamable-http", "legacy", (5, 4)),
        ("sse", "sse", "auto", (5, 4)),
    ],
)
async def test_a_new_session_and_its_first_call_need_so_many_requests(
    kind: str,
    transport: Literal["streamable-http", "sse"],
    mode: Literal["auto", "legacy"],
    requests: tuple[int, int],
) -> None:
    learnt, counted = Learnt(), list[int]()
    with running_server(kind) as server:
        for _ in range(2):
            upstream = Upstream(server.url, transport=transport, mode=mode)
            async with Transports()(opening(upstream, learnt=learnt)) as connection:
                await call(connection, "echo", text="a")
                counted.append(connection.requests)
    assert tuple(counted) == requests


@every_way
@pytest.mark.holds("S6")
async def test_probes_reach_the_server_and_say_how_it_is(
    kind: str, transport: Literal["streamable-http", "sse"], mode: Literal["auto", "legacy"]
) -> None:
    with running_server(kind) as server:
        upstream = Upstream(server.url, transport=transport, mode=mode)
        async with Transports()(opening(upstream)) as connection:
            await call(connection, "echo", text="a")  # by the end of which the event stream has been asked for
            before = connection.requests
            found = {
                name: await connection.probe(name, 5.0)
                for name in ("ping", "discover", "list_tools", "list_prompts", "list_resources", "skip")
            }
            assert connection.requests == before + 4
            unsupported = {"discover" if connection.is_stateful else "ping", "skip"}
            assert {name for name, result in found.items() if result is ProbeResult.UNSUPPORTED} == unsupported
            assert set(found.values()) == {ProbeResult.UNSUPPORTED, ProbeResult.HEALTHY}
            server.stall()
            assert await connection.probe("list_tools", 0.1) is ProbeResult.SILENT
            with anyio.move_on_after(0.05) as scope:
                await connection.probe("list_tools", 5.0)
            assert scope.cancelled_caught
            server.resume()
            server.kill()
            assert await connection.probe("list_tools", 5.0) is ProbeResult.DEAD


@pytest.mark.parametrize("transport", ["streamable-http", "sse"])
async def test_a_server_of_the_other_transport_is_a_named_error(transport: Literal["streamable-http", "sse"]) -> None:
    with running_server("plain" if transport == "sse" else "sse") as server:
        upstream = Upstream(server.url, transport=transport)
        with anyio.fail_after(10), pytest.raises(ConnectFailed, match=server.url):
            async with Transports()(opening(upstream)):
                pass
