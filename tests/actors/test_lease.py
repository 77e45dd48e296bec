"""Leases: what a borrower may do with a session, and when no more. On fake servers, on both event loops."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anyio
import httpx2
import pytest
from mcp import MCPError
from mcp_types import CONNECTION_CLOSED

from actors import Lease, Pool, PoolSettings, open_pool
from actors.exchange import current_exchange
from protocol.errors import CallInterrupted, LeaseReleased, SessionTerminated, WrongThread
from protocol.pool_events import SessionEnded
from protocol.session import SessionState
from tests.actors.fakes import ECHO, FakeServer, settled
from tests.actors.wire import SERVER, FakeWire, given


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
        assert pool.stats().sessions(SessionState.LEASED) == 1
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
        assert pool.stats().sessions(SessionState.LEASED) == 1
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


@pytest.mark.holds("L1")
async def test_listening_is_sent_with_the_headers_of_its_own_lease() -> None:
    server = FakeServer(is_stateful=False)
    async with open_pool(connector=server) as pool:
        one = await pool.acquire(ECHO, headers={"x-trace": "one"})
        other = await pool.acquire(ECHO, headers={"x-trace": "other"})
        for lease in (one, other):
            client: Any = lease.client
            async with client.listen():
                await lease.call_tool("echo")
        assert [headers.get("x-trace") for headers in server.headers_of_listening] == ["one", "other"]
        assert current_exchange.get() is None
        one.release()
        other.release()


@pytest.mark.holds("L4")
async def test_listening_through_the_proxied_client_ends_with_the_lease() -> None:
    async with one_session(FakeServer()) as pool:
        lease = await pool.acquire(ECHO)
        client: Any = lease.client
        async with client.listen() as listening:
            assert listening == "listening"
            lease.release()
            assert pool.stats().sessions(SessionState.LEASED) == 1
        assert pool.stats().sessions(SessionState.IDLE) == 1
        second = await pool.acquire(ECHO)
        late = second.client.listen()
        second.release()
        with pytest.raises(LeaseReleased):
            await late.__aenter__()
        assert pool.stats().sessions(SessionState.IDLE) == 1


@pytest.mark.holds("S3")
@pytest.mark.parametrize("how", ["end", "close"])
async def test_what_is_done_with_a_lease_whose_session_was_closed_under_it_fails_by_name(
    how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wire = FakeWire()
    monkeypatch.setattr(httpx2, "AsyncHTTPTransport", given(wire))
    async with open_pool() as pool:
        lease = await pool.acquire(SERVER, user="ada", session_id="talk")
        client = lease.client
        events = pool.events()
        if how == "end":
            pool.end("talk")
            async for event in events:
                if isinstance(event, SessionEnded):
                    break
        else:
            await pool.close()
        wire.seen.clear()
        for call in (lease.list_tools, lambda: lease.call_tool("echo"), client.list_tools):
            with pytest.raises(SessionTerminated, match="has not run: its session was closed") as told:
                await call()
            assert told.value.safe_to_retry
        with pytest.raises(SessionTerminated):
            _ = lease.protocol_version
        with pytest.raises(SessionTerminated):
            _ = client.session
        assert wire.seen == []
        lease.release()


@pytest.mark.holds("L1", "L4")
async def test_what_two_tasks_enter_at_once_is_one_tasks_and_the_other_is_told() -> None:
    server = FakeServer()
    server.hold_openings()
    async with open_pool(connector=server) as pool:
        borrowing = pool.session(ECHO)
        held: list[Lease] = []
        refused: list[RuntimeError] = []

        async def enter() -> None:
            try:
                held.append(await borrowing.__aenter__())
            except RuntimeError as error:
                refused.append(error)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(enter)
            tasks.start_soon(enter)
            await settled()
            server.opens.set()
        assert (len(held), len(refused)) == (1, 1)
        await borrowing.__aexit__(None, None, None)
        assert not held[0].is_held
        assert pool.stats().sessions(SessionState.IDLE) == 2


@pytest.mark.holds("S1")
async def test_a_borrower_cannot_open_or_close_the_client_that_the_pool_holds() -> None:
    server = FakeServer()
    async with open_pool(connector=server) as pool, pool.session(ECHO) as session:
        for name in ("__aenter__", "__aexit__", "_exit_stack"):
            with pytest.raises(AttributeError, match="not for its borrowers"):
                getattr(session.client, name)
        await session.call_tool("echo")
