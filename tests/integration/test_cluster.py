"""Workers that meet on a real Redis, and serve conversations of a real MCP server between them. On both event loops."""
# pyright: reportPrivateUsage=false

import subprocess
import sys
from collections.abc import AsyncGenerator, Generator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from functools import partial
from itertools import count
from typing import Any

import anyio
import pytest
from mcp import MCPError

from actors import ClusterSettings, Pool, Upstream, open_pool
from protocol.delivery import Delivery
from protocol.errors import OutcomeUnknown, SessionStateLost, TroupeError
from protocol.namespace import Namespace
from tests.integration.cluster_worker import SETTINGS
from tests.integration.servers import TREE, Factory, McpServer
from tests.redis_server import RedisServer, running_redis

_numbers = count()


@pytest.fixture(scope="module")
def server() -> Generator[McpServer]:
    factory = Factory("benchmarks.soaking.server")
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
async def pools(redis: RedisServer, cluster: ClusterSettings, number: int) -> AsyncGenerator[list[Pool]]:
    """So many workers, once their bus is old enough to be believed."""
    async with AsyncExitStack() as stack:
        opened = [
            await stack.enter_async_context(
                open_pool(SETTINGS, name=f"pool-{index}", cluster=redis.url, cluster_settings=cluster)
            )
            for index in range(number)
        ]
        await anyio.sleep(cluster.lifetime)
        yield opened


async def counted(pool: Pool, upstream: Upstream, session_id: str = "talk", **more: Any) -> int:
    headers = {"x-soak-owner": session_id}
    result = await pool.call(
        upstream, "tools/call", {"name": "count"}, headers=headers, user="ada", session_id=session_id, **more
    )
    return result["structuredContent"]["result"]


@pytest.mark.holds("L6", "C1", "C3", "C4")
async def test_a_conversation_whose_calls_land_on_three_workers_counts_on(
    redis: RedisServer, server: McpServer, cluster: ClusterSettings
) -> None:
    upstream = Upstream(server.url, mode="legacy")
    async with pools(redis, cluster, 3) as workers:
        assert [await counted(workers[number % 3], upstream) for number in range(9)] == list(range(1, 10))
        answers: list[int] = []

        async def ask(pool: Pool) -> None:
            answers.append(await counted(pool, upstream))

        async with anyio.create_task_group() as tasks:
            for number in range(30):
                tasks.start_soon(ask, workers[number % 3])
        assert sorted(answers) == list(range(10, 40))
        assert len({await pool.owner("talk") for pool in workers}) == 1


@pytest.mark.holds("C4")
async def test_what_the_server_says_comes_back_from_elsewhere_as_it_does_here(
    redis: RedisServer, server: McpServer, cluster: ClusterSettings
) -> None:
    upstream = Upstream(server.url, mode="legacy")
    async with pools(redis, cluster, 2) as (here, there):
        await counted(here, upstream)
        for params in (None, {}, {"name": "nothing"}, {"name": "echo", "arguments": {"text": "grüße"}}):
            said: list[Any] = []
            for pool in (here, there):
                ask = partial(pool.call, upstream, "tools/call", user="ada", session_id="talk")
                try:
                    said.append(await ask(params, headers={"x-soak-owner": "talk"}))
                except MCPError as error:
                    said.append((error.code, error.message, error.data))
            assert said[0] == said[1]


@pytest.mark.holds("C6")
async def test_redis_has_two_connections_for_each_worker_however_much_is_forwarded(
    redis: RedisServer, server: McpServer, cluster: ClusterSettings
) -> None:
    upstream = Upstream(server.url, mode="legacy")
    async with pools(redis, cluster, 2) as (here, there):
        await counted(here, upstream)
        before = redis.connections()
        for _ in range(200):
            await counted(there, upstream)
        assert redis.connections() == before


@pytest.mark.holds("R4")
async def test_nothing_is_left_in_redis_by_workers_that_leave(server: McpServer, cluster: ClusterSettings) -> None:
    with running_redis() as mine:
        async with pools(mine, cluster, 2) as (one, two):
            for session_id in ("talk", "chat"):
                await counted(one, Upstream(server.url, mode="legacy"), session_id)
                await counted(two, Upstream(server.url, mode="legacy"), session_id)
            assert b"owner:talk" in mine.command("KEYS", "*owner*")
        left = mine.command("KEYS", "*")
        assert b"owner" not in left
        assert b"worker" not in left


@contextmanager
def worker_process(redis: RedisServer, cluster: ClusterSettings, server: McpServer) -> Generator[tuple[Any, str]]:
    command = [
        sys.executable,
        "-m",
        "tests.integration.cluster_worker",
        redis.url,
        cluster.namespace,
        server.url,
        "talk",
    ]
    with subprocess.Popen(command, cwd=TREE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
        try:
            assert process.stdout is not None
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


@pytest.mark.holds("C5")
async def test_the_tree_shows_the_workers_of_all_processes_and_only_those_that_live(
    redis: RedisServer, server: McpServer, cluster: ClusterSettings
) -> None:
    upstream = Upstream(server.url, mode="legacy")
    async with pools(redis, cluster, 1) as (here,):
        with worker_process(redis, cluster, server) as (process, worker):
            assert await counted(here, upstream) == 2
            with anyio.fail_after(5):  # until it beats
                while (await here.cluster_tree()).conversations == 0:  # noqa: ASYNC110 - nobody tells
                    await anyio.sleep(0.05)
            mine, other = (await here.cluster_tree()).workers
            assert (mine.worker, mine.is_here, other.worker, other.is_here) == (here.worker, True, worker, False)
            assert mine.figures is not None
            assert other.figures is not None
            assert (mine.figures.pool, mine.figures.forwarded, mine.figures.sessions) == ("pool-0", 1, 0)
            assert (other.figures.pool, other.figures.conversations, other.figures.sessions) == ("troupe", 1, 1)
            stats = here.stats().cluster
            assert stats is not None
            assert (stats.remote_hits, stats.forwards.count, stats.peers_seen, stats.joined) == (1, 1, 1, True)
            process.stdin.close()
            with anyio.fail_after(5):  # until it has left
                while len((await here.cluster_tree()).workers) > 1:  # noqa: ASYNC110 - nobody tells
                    await anyio.sleep(0.05)


async def until_accepted(pool: Pool) -> None:
    """Wait until a request of this worker has begun at another one."""
    assert pool._membership is not None
    assert pool._membership._actor is not None
    forwarding = pool._membership._actor.forwarding
    while not any(  # noqa: ASYNC110 - nobody tells
        forwarding._machine.delivery(correlation.hex()) is Delivery.ACCEPTED for correlation in forwarding._open
    ):
        await anyio.sleep(0.01)


@pytest.mark.holds("C3", "C5", "L9")
async def test_a_worker_that_is_killed_costs_its_conversations_a_named_error_and_no_silence(
    redis: RedisServer, server: McpServer, cluster: ClusterSettings
) -> None:
    upstream = Upstream(server.url, mode="legacy")
    async with pools(redis, cluster, 1) as (here,):
        with worker_process(redis, cluster, server) as (process, worker):
            assert await here.owner("talk") == worker
            assert await counted(here, upstream) == 2
            outcomes: list[Exception] = []

            async def hang() -> None:
                hanging = {"name": "hang"}
                headers = {"x-soak-owner": "talk"}
                try:
                    await here.call(upstream, "tools/call", hanging, headers=headers, user="ada", session_id="talk")
                except TroupeError as error:
                    outcomes.append(error)

            with anyio.fail_after(5):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(hang)
                    await until_accepted(here)
                    process.kill()
            assert [type(error) for error in outcomes] == [OutcomeUnknown]
            with pytest.raises(SessionStateLost), anyio.fail_after(5):
                await counted(here, upstream)
            assert await counted(here, upstream) == 1
            assert await here.owner("talk") == here.worker
