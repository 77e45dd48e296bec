"""Leases from another worker over a real Redis and with a real MCP server. On both event loops."""

from collections.abc import AsyncGenerator, Generator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import anyio
import mcp_types as types
import pytest
from mcp.client.session import IncomingMessage

from actors import ClusterSettings, Pool, Upstream, open_pool
from actors.backstage import HandlerFactory
from actors.connection import MessageHandler
from protocol.errors import SessionStateLost, SessionTerminated
from protocol.namespace import Namespace
from tests.integration.cluster_worker import SETTINGS
from tests.integration.servers import Factory, McpServer
from tests.integration.test_cluster import worker_process
from tests.redis_server import RedisServer


@pytest.fixture(scope="module")
def server() -> Generator[McpServer]:
    factory = Factory("tests.integration.telling_server")
    made = McpServer("plain", factory)
    try:
        yield made
    finally:
        made.kill()
        factory.end()


@pytest.fixture
def cluster(namespace: Namespace) -> ClusterSettings:
    return ClusterSettings(namespace=namespace.name, lifetime=1.0, holding=5.0)


@asynccontextmanager
async def here_and_there(
    redis: RedisServer, cluster: ClusterSettings, *handlers: HandlerFactory
) -> AsyncGenerator[tuple[Pool, Pool]]:
    """Two workers, of which the first owns the conversation `talk`."""
    async with AsyncExitStack() as stack:
        here, there = [
            await stack.enter_async_context(
                open_pool(SETTINGS, name=name, cluster=redis.url, cluster_settings=cluster, on_message=handler)
            )
            for name, handler in zip(("here", "there"), handlers or (None, None), strict=True)
        ]
        await anyio.sleep(cluster.lifetime)
        assert await here.claim("talk", user="ada") == here.worker
        yield here, there


def talk(pool: Pool, upstream: Upstream, **more: Any) -> Any:
    return pool.session(upstream, user="ada", session_id="talk", **more)


@pytest.mark.holds("N2", "C4", "L6")
@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_progress_comes_back_from_a_real_server_in_order_and_before_the_result(
    redis: RedisServer, server: McpServer, cluster: ClusterSettings, mode: Any
) -> None:
    upstream = Upstream(server.url, mode=mode)
    async with (
        here_and_there(redis, cluster) as (here, there),
        talk(here, upstream) as one,
        talk(there, upstream) as two,
    ):
        assert two.protocol_version == one.protocol_version
        assert two.server_info == one.server_info
        assert await two.list_tools() == await one.list_tools()
        seen: dict[str, list[Any]] = {"one": [], "two": []}

        async def ask(name: str, lease: Any, number: int) -> None:
            async def on_progress(progress: float, total: float | None, message: str | None) -> None:
                seen[name].append((progress, total, message))

            result = await lease.call_tool("steps", {"number": number}, progress_callback=on_progress)
            assert result.structured_content == {"result": number}
            seen[name].append("answered")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask, "one", one, 3)
            tasks.start_soon(ask, "two", two, 5)
        for name, number in (("one", 3), ("two", 5)):
            said = [(float(step), float(number), f"step {step}") for step in range(1, number + 1)]
            assert seen[name] == [*said, "answered"]


@pytest.mark.holds("N2", "S5")
@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_a_call_that_is_cancelled_elsewhere_is_cancelled_at_a_real_server(
    redis: RedisServer, server: McpServer, cluster: ClusterSettings, mode: Any
) -> None:
    upstream = Upstream(server.url, mode=mode)
    async with here_and_there(redis, cluster) as (_, there), talk(there, upstream) as lease:
        with anyio.fail_after(10):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(lease.call_tool, "hang")
                await server.began("hang")
                tasks.cancel_scope.cancel()
            await server.began("to stop")
        assert (await lease.call_tool("steps", {"number": 1})).structured_content == {"result": 1}


@pytest.mark.holds("N2")
@pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning")
async def test_a_log_message_reaches_the_worker_that_holds_a_lease(
    redis: RedisServer, server: McpServer, cluster: ClusterSettings
) -> None:
    said: dict[str, list[Any]] = {"here": [], "there": []}

    def handlers(name: str) -> HandlerFactory:
        async def handle(message: IncomingMessage) -> None:
            if isinstance(message, types.LoggingMessageNotification):
                said[name].append(message.params.data)

        def make(url: str, whom: str) -> MessageHandler:
            return handle

        return make

    upstream = Upstream(server.url, mode="legacy")
    both = here_and_there(redis, cluster, handlers("here"), handlers("there"))
    async with both as (_, there), talk(there, upstream) as lease:
        await lease.call_tool("announce", {"text": "hear"})
        with anyio.fail_after(5):
            while said != {"here": ["hear"], "there": ["hear"]}:  # noqa: ASYNC110 - nobody tells
                await anyio.sleep(0.01)


@pytest.mark.holds("C3", "C5", "L9")
async def test_a_lease_whose_owner_is_killed_is_over_and_the_conversation_told_once(
    redis: RedisServer, server: McpServer, cluster: ClusterSettings
) -> None:
    upstream = Upstream(server.url, mode="legacy")
    async with open_pool(SETTINGS, cluster=redis.url, cluster_settings=cluster) as there:
        await anyio.sleep(cluster.lifetime)
        with worker_process(redis, cluster, server) as (process, worker):
            lease = await there.acquire(upstream, user="ada", session_id="talk")
            assert await there.owner("talk") == worker
            assert (await lease.call_tool("count")).structured_content == {"result": 2}
            process.kill()
            process.wait()
            with anyio.fail_after(5), pytest.raises(SessionTerminated):
                await lease.call_tool("count")
            lease.release()
            with anyio.fail_after(5), pytest.raises(SessionStateLost):
                await there.acquire(upstream, user="ada", session_id="talk")
            async with talk(there, upstream) as again:
                assert (await again.call_tool("count")).structured_content == {"result": 1}
