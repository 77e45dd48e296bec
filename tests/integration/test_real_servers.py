"""The pool over real MCP servers in their own processes, killed, stalled and restarted. On both event loops."""

from typing import Literal

import anyio
import anyio.lowlevel
import pytest

from actors import Pool, PoolSettings, Upstream, open_pool
from protocol.errors import (
    BreakerOpen,
    CallFailed,
    CallInterrupted,
    ConnectFailed,
    LeaseReleased,
    SessionTerminated,
    UpstreamUnreachable,
)
from protocol.session import SessionState
from tests.integration.servers import McpServer, running_server

Mode = Literal["auto", "legacy"]

KINDS_AND_MODES: list[tuple[str, Mode]] = [
    ("plain", "legacy"),
    ("json", "legacy"),
    ("events", "legacy"),
    ("plain", "auto"),
]
"""Servers with and without an event store, of the handshake era and of the stateless one."""

every_server = pytest.mark.parametrize(("kind", "mode"), KINDS_AND_MODES)


async def text_of(pool: Pool, upstream: Upstream, text: str) -> str:
    async with pool.session(upstream) as session:
        result = await session.call_tool("echo", {"text": text})
    assert result.structured_content is not None
    return result.structured_content["result"]


@every_server
async def test_calls_one_after_the_other_use_one_session(kind: str, mode: Mode) -> None:
    with running_server(kind) as server:
        async with open_pool() as pool:
            upstream = Upstream(server.url, mode=mode)
            assert [await text_of(pool, upstream, text) for text in "abc"] == ["a", "b", "c"]
            before = pool.stats().http_requests
            await text_of(pool, upstream, "d")
            assert pool.stats().http_requests == before + 1, "a pooled call is one HTTP request"
            assert pool.stats().opened == 1


async def test_what_the_server_says_of_itself_and_offers_can_be_read_through_the_lease() -> None:
    with running_server() as server:
        async with open_pool() as pool:
            async with pool.session(Upstream(server.url)) as session:
                assert session.protocol_version == "2026-07-28"
                assert {tool.name for tool in (await session.list_tools()).tools} == {"echo", "sleep", "whoami", "fail"}
                assert (await session.call_tool("fail")).is_error
            async with pool.session(Upstream(server.url, mode="legacy")) as session:
                assert session.protocol_version == "2025-11-25"
                assert session.server_info is not None
                assert session.server_info.name == "tests"


@pytest.mark.holds("L1")
async def test_by_the_servers_own_account_two_users_never_share_a_session() -> None:
    with running_server() as server:
        async with open_pool(PoolSettings(max_size=2)) as pool:
            upstream = Upstream(server.url, mode="legacy")
            sessions: dict[str, set[str]] = {"ada": set(), "bob": set()}

            async def work(user: str) -> None:
                for _ in range(5):
                    async with pool.session(upstream, headers={"X-User-Id": user}) as session:
                        told = (await session.call_tool("whoami")).structured_content
                        assert told is not None
                        assert told["user"] == user
                        sessions[user].add(told["session"])

            async with anyio.create_task_group() as tasks:
                for user in ("ada", "bob", "ada", "bob", "ada"):
                    tasks.start_soon(work, user)
            assert sessions["ada"].isdisjoint(sessions["bob"])
            assert 1 <= len(sessions["ada"]) <= 2


@pytest.mark.holds("S1", "S2", "S3", "S9")
@every_server
async def test_a_server_killed_during_a_call_costs_that_call_a_named_error_within_a_second(
    kind: str, mode: Mode
) -> None:
    with running_server(kind) as server, running_server() as other:
        async with open_pool(PoolSettings(max_size=3)) as pool:
            upstream = Upstream(server.url, mode=mode)
            failed: list[CallFailed] = []

            async def call() -> None:
                async with pool.session(upstream) as session:
                    with pytest.raises(CallInterrupted, match="may have run") as caught:
                        await session.call_tool("sleep", {"seconds": 60})
                    failed.append(caught.value)
                await anyio.lowlevel.checkpoint()  # this task was never cancelled

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(call)
                await server.began("sleep")
                tasks.start_soon(call)
                await server.began("sleep")
                server.kill()
                with anyio.fail_after(1):
                    while len(failed) < 2:
                        assert await text_of(pool, Upstream(other.url), "bystander") == "bystander"
            assert not failed[0].safe_to_retry
            # What a key has learnt of a stateless server saves it the handshake: then the call is the first to notice.
            with anyio.fail_after(1), pytest.raises((ConnectFailed, UpstreamUnreachable), match="Connection refused"):
                await text_of(pool, upstream, "too early")
            server.start()
            assert await text_of(pool, upstream, "back") == "back"
            stats = pool.stats()
            assert stats.sessions(SessionState.LEASED, SessionState.RETIRING) == 0


@pytest.mark.holds("S2")
@every_server
async def test_after_a_server_was_killed_while_idle_the_pool_says_so_at_once_and_serves_when_it_is_back(
    kind: str, mode: Mode
) -> None:
    with running_server(kind) as server:
        async with open_pool(PoolSettings(max_size=1)) as pool:
            upstream = Upstream(server.url, mode=mode)
            await text_of(pool, upstream, "before")
            server.kill()
            with anyio.fail_after(1), pytest.raises((ConnectFailed, UpstreamUnreachable, CallInterrupted)):
                await text_of(pool, upstream, "dead")
            with anyio.fail_after(1), pytest.raises((ConnectFailed, UpstreamUnreachable)):
                await text_of(pool, upstream, "dead")
            server.start()
            assert await text_of(pool, upstream, "back") == "back"


@pytest.mark.holds("S2")
@every_server
async def test_a_server_that_was_restarted_while_idle_costs_one_call_at_most(kind: str, mode: Mode) -> None:
    with running_server(kind) as server:
        async with open_pool(PoolSettings(max_size=1)) as pool:
            upstream = Upstream(server.url, mode=mode)
            await text_of(pool, upstream, "before")
            server.kill()
            server.start()
            try:
                with anyio.fail_after(1):
                    assert await text_of(pool, upstream, "after") == "after"
            except (SessionTerminated, CallInterrupted):
                pass
            assert await text_of(pool, upstream, "after") == "after"


@pytest.mark.holds("S1")
async def test_a_server_killed_under_fifty_calls_cancels_none_of_its_callers() -> None:
    with running_server() as server:
        async with open_pool(PoolSettings(max_size=50)) as pool:
            upstream = Upstream(server.url, mode="legacy")
            ended: list[str] = []

            async def call() -> None:
                try:
                    async with pool.session(upstream) as session:
                        await session.call_tool("sleep", {"seconds": 60})
                except CallInterrupted:
                    await anyio.lowlevel.checkpoint()
                    ended.append("named error")

            async with anyio.create_task_group() as tasks:
                for _ in range(50):
                    tasks.start_soon(call)
                for _ in range(50):
                    await server.began("sleep")
                server.kill()
            assert ended == ["named error"] * 50
            await anyio.wait_all_tasks_blocked()
            assert pool.stats().sessions(SessionState.LEASED) == 0


@pytest.mark.holds("S4", "R4")
@every_server
async def test_leaving_the_pool_is_bounded_when_the_server_does_not_answer(kind: str, mode: Mode) -> None:
    with running_server(kind) as server:
        async with open_pool(PoolSettings(max_size=20, close_timeout=0.5)) as pool:
            upstream = Upstream(server.url, mode=mode)
            leases = [await pool.acquire(upstream) for _ in range(20)]
            server.stall()
            started = anyio.current_time()
        took = anyio.current_time() - started
        server.resume()
        assert len(leases) == 20
        assert took < 4 * 0.5, "twenty sessions close at the same time, not one after the other"


@pytest.mark.holds("S4", "L5")
async def test_a_server_that_accepts_and_never_answers_costs_the_connect_timeout() -> None:
    with running_server() as server:
        server.stall()
        async with open_pool(PoolSettings(connect_timeout=0.3)) as pool:
            with anyio.fail_after(5), pytest.raises(ConnectFailed, match=r"within 0.3 s"):
                await pool.acquire(Upstream(server.url))
            assert pool.stats().sessions() == 0
            server.resume()


@pytest.mark.holds("L4")
@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_a_released_lease_reaches_neither_the_server_nor_the_next_holder(mode: Mode) -> None:
    with running_server() as server:
        async with open_pool(PoolSettings(max_size=1)) as pool:
            upstream = Upstream(server.url, mode=mode)
            first = await pool.acquire(upstream)
            client = first.client
            first.release()
            async with pool.session(upstream) as second:
                sent = pool.stats().http_requests
                with pytest.raises(LeaseReleased):
                    first.release()
                with pytest.raises(LeaseReleased):
                    await first.call_tool("echo", {"text": "late"})
                with pytest.raises(LeaseReleased):
                    await client.call_tool("echo", {"text": "late"})
                assert pool.stats().http_requests == sent
                assert not (await second.call_tool("echo", {"text": "mine"})).is_error
            assert pool.stats().opened == 1


@pytest.mark.holds("L4")
@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_a_session_released_with_a_call_under_way_is_lent_when_the_server_has_answered_it(mode: Mode) -> None:
    with running_server() as server:
        async with open_pool(PoolSettings(max_size=1)) as pool, anyio.create_task_group() as tasks:
            upstream = Upstream(server.url, mode=mode, sharing="exclusive")
            lease = await pool.acquire(upstream)
            tasks.start_soon(lease.call_tool, "sleep", {"seconds": 0.3})
            await server.began("sleep")
            lease.release()
            assert pool.stats().sessions(SessionState.LEASED) == 1
            async with pool.session(upstream):
                assert pool.stats().keys[0].counts.leases == 1, "the call of the one before has ended"
            assert pool.stats().opened == 1


@pytest.mark.holds("S5", "L2")
async def test_a_cancelled_call_leaves_its_session_usable() -> None:
    with running_server() as server:
        async with open_pool(PoolSettings(max_size=1)) as pool:
            upstream = Upstream(server.url, mode="legacy")
            scope = anyio.CancelScope()

            async def call() -> None:
                with scope:
                    async with pool.session(upstream) as session:
                        await session.call_tool("sleep", {"seconds": 60})

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(call)
                await server.began("sleep")
                scope.cancel()
            assert scope.cancelled_caught
            assert await text_of(pool, upstream, "next") == "next"
            assert pool.stats().opened == 1


async def test_the_slot_of_a_server_that_was_killed_is_free_for_others() -> None:
    with running_server() as server:
        doomed: McpServer = server
        async with open_pool(PoolSettings(max_size=1)) as pool:
            upstream = Upstream(doomed.url, mode="legacy")
            lease = await pool.acquire(upstream)
            doomed.kill()
            lease.release()
            doomed.start()
            with anyio.fail_after(5):
                try:
                    assert await text_of(pool, upstream, "again") == "again"
                except CallFailed:  # the one call that may still find the session that died
                    assert await text_of(pool, upstream, "again") == "again"


@pytest.mark.holds("B1", "B2")
@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_a_server_that_stays_away_is_left_alone_and_served_again_after_its_return(mode: Mode) -> None:
    # Also one whose sessions open from memory, without a request that could fail.
    settings = PoolSettings(max_size=1, breaker_threshold=3, breaker_backoff=0.3, breaker_ceiling=0.3)
    with running_server() as server:
        async with open_pool(settings) as pool:
            upstream = Upstream(server.url, mode=mode)
            await text_of(pool, upstream, "before")
            server.kill()
            refusals: list[BreakerOpen] = []
            with anyio.fail_after(5):
                while not refusals:
                    try:
                        await text_of(pool, upstream, "dead")
                    except BreakerOpen as error:
                        refusals.append(error)
                    except (ConnectFailed, UpstreamUnreachable, CallInterrupted):
                        pass
            assert refusals[0].retry_after is not None
            assert pool.stats().breakers[0].state == "open"
            assert pool.stats().tally.breaker_failures <= 5
            server.start()
            with anyio.fail_after(5):
                while True:
                    try:
                        assert await text_of(pool, upstream, "back") == "back"
                        break
                    except BreakerOpen as error:
                        await anyio.sleep(error.retry_after or 0.1)
            assert pool.stats().breakers == ()
