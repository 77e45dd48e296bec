"""Leases: what a borrower may do with a session, and when no more. On fake servers, on both event loops."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anyio
import pytest
from mcp import MCPError
from mcp_types import CONNECTION_CLOSED

from actors import Lease, Pool, PoolSettings, open_pool
from protocol.errors import CallInterrupted, LeaseReleased, WrongThread
from protocol.session import SessionState
from tests.actors.fakes import ECHO, FakeServer


def one_session(server: FakeServer, *, settle_timeout: float = 5.0) -> Pool:
    return open_pool(PoolSettings(max_size=1, settle_timeout=settle_timeout), connector=server)


@pytest.mark.holds("L4")
async def test_releasing_twice_is_an_error_that_changes_nothing() -> None:
    server = FakeServer()
    async with one_session(server) as pool:
        lease = await pool.acquire(ECHO)
        lease.release()
        other = await pool.acquire(ECHO)
        with pytest.raises(LeaseReleased, match=r"http://127.0.0.1:1/mcp was released: acquire another one"):
            lease.release()
        assert other.is_held
        assert pool.stats().sessions(SessionState.LEASED) == 1
        await other.call_tool("echo")


@pytest.mark.holds("L4")
async def test_after_its_release_the_lease_and_its_client_refuse_everything_and_nothing_is_sent() -> None:
    server = FakeServer()
    async with one_session(server) as pool:
        lease = await pool.acquire(ECHO)
        client = lease.client
        call_tool, plain = client.call_tool, client.plain  # type: ignore[attr-defined]
        await call_tool("echo")
        assert plain() == "plain"
        lease.release()
        refusing: list[Callable[[], Any]] = [plain, lambda: lease.client, lambda: client.call_tool]
        for refused in refusing:
            with pytest.raises(LeaseReleased):
                refused()
        with pytest.raises(LeaseReleased):
            await lease.call_tool("echo")
        with pytest.raises(LeaseReleased):
            await call_tool("echo")
        assert server.calls == ["echo"]


@pytest.mark.holds("L4")
async def test_leaving_releases_and_never_hides_the_bodys_exception() -> None:
    async with one_session(FakeServer()) as pool:
        with pytest.raises(ValueError, match="mine"):
            async with pool.session(ECHO):
                raise ValueError("mine")
        async with pool.session(ECHO) as session:
            session.release()
        assert not session.is_held
        assert pool.stats().sessions(SessionState.IDLE) == 1


@pytest.mark.holds("L4")
async def test_leaving_does_not_raise_when_the_pool_was_closed_meanwhile() -> None:
    async with one_session(FakeServer()) as pool:
        async with pool.session(ECHO) as session:
            await pool.close()
        assert not session.is_held
    lease: Lease | None = None
    async with one_session(FakeServer()) as pool:
        lease = await pool.acquire(ECHO)
    lease.release()


@pytest.mark.holds("L4", "R6")
async def test_a_release_from_another_thread_is_refused_and_the_lease_still_held() -> None:
    async with one_session(FakeServer()) as pool:
        lease = await pool.acquire(ECHO)
        with ThreadPoolExecutor() as threads, pytest.raises(WrongThread):
            threads.submit(lease.release).result()
        assert lease.is_held
        lease.release()


async def test_a_borrowing_can_be_entered_again_only_after_it_was_left() -> None:
    async with open_pool(connector=FakeServer()) as pool:
        borrowing = pool.session(ECHO)
        async with borrowing:
            with pytest.raises(RuntimeError, match="borrowed already"):
                await borrowing.__aenter__()
        async with borrowing as again:
            assert again.is_held


@pytest.mark.holds("L4")
async def test_a_session_whose_releasers_call_goes_on_is_lent_only_when_the_call_has_ended() -> None:
    server = FakeServer()
    async with one_session(server) as pool, anyio.create_task_group() as tasks:
        lease = await pool.acquire(ECHO)
        tasks.start_soon(lease.call_tool, "wait")
        await anyio.wait_all_tasks_blocked()
        lease.release()
        got: list[Lease] = []

        async def wait() -> None:
            got.append(await pool.acquire(ECHO))

        tasks.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        assert got == []
        assert pool.stats().sessions(SessionState.SETTLING) == 1
        server.answers.set()
        await anyio.wait_all_tasks_blocked()
        assert len(got) == 1
        assert server.calls_ended == 1


@pytest.mark.holds("L4")
async def test_calls_through_the_proxied_client_count_as_calls_under_way() -> None:
    server = FakeServer()
    async with one_session(server) as pool, anyio.create_task_group() as tasks:
        lease = await pool.acquire(ECHO)
        tasks.start_soon(lease.client.call_tool, "wait")
        await anyio.wait_all_tasks_blocked()
        lease.release()
        assert pool.stats().sessions(SessionState.SETTLING) == 1
        server.answers.set()
        await anyio.wait_all_tasks_blocked()
        assert pool.stats().sessions(SessionState.IDLE) == 1


@pytest.mark.holds("L4", "S3")
async def test_a_session_whose_releasers_call_does_not_end_is_replaced() -> None:
    server = FakeServer()
    async with one_session(server, settle_timeout=0.02) as pool, anyio.create_task_group() as tasks:
        lease = await pool.acquire(ECHO)
        tasks.start_soon(lease.call_tool, "wait")
        await anyio.wait_all_tasks_blocked()
        lease.release()
        other = await pool.acquire(ECHO)
        assert len(server.clients) == 2
        assert server.closed == 1
        other.release()
        server.answers.set()


@pytest.mark.holds("S3")
async def test_a_call_whose_session_was_closed_by_the_pool_says_that_it_may_have_run() -> None:
    async with one_session(FakeServer()) as pool, pool.session(ECHO) as session:

        async def closed() -> None:
            raise MCPError(CONNECTION_CLOSED, "Connection closed")

        with pytest.raises(CallInterrupted, match="may have run") as caught:
            await session.call("tools/call", closed)
        assert not caught.value.safe_to_retry

        async def said_by_the_server() -> None:
            raise MCPError(CONNECTION_CLOSED, "the server's own words")

        with pytest.raises(MCPError, match="own words"):
            await session.call("tools/call", said_by_the_server)


@pytest.mark.holds("L4")
async def test_listening_through_the_proxied_client_ends_with_the_lease() -> None:
    async with one_session(FakeServer()) as pool:
        lease = await pool.acquire(ECHO)
        client: Any = lease.client
        async with client.listen() as listening:
            assert listening == "listening"
            lease.release()
            assert pool.stats().sessions(SessionState.SETTLING) == 1
        assert pool.stats().sessions(SessionState.IDLE) == 1
        second = await pool.acquire(ECHO)
        late = second.client.listen()
        second.release()
        with pytest.raises(LeaseReleased):
            await late.__aenter__()
        assert pool.stats().sessions(SessionState.IDLE) == 1
