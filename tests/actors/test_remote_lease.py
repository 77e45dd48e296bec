"""Leases of conversations that another worker owns: what a local one does they do. On both event loops."""
# pyright: reportPrivateUsage=false

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import mcp_types as types
import pytest
from mcp import MCPError

from actors import Lease, Pool, PoolSettings, Upstream, open_pool
from actors.backstage import HandlerFactory
from actors.memory_bus import MemoryHub
from protocol.bus import Joined, Parted
from protocol.errors import (
    AcquireTimeout,
    BusUnavailable,
    ConnectFailed,
    InvalidSettings,
    LeaseReleased,
    OutcomeUnknown,
    PrincipalMismatch,
    SessionStateLost,
    SessionTerminated,
    TroupeError,
)
from tests.actors.fakes import BROKEN, ECHO, FakeServer, settled
from tests.actors.memory_servers import Mode, Served
from tests.actors.test_pool_cluster import die

pytestmark = pytest.mark.virtual_time

SETTINGS = PoolSettings(identity_secret=b"a secret of this deployment alone")
MODES: tuple[Mode, ...] = ("legacy", "2026-07-28")


@asynccontextmanager
async def here_and_there(
    connector: Any, on_message: Callable[[str], HandlerFactory] | None = None
) -> AsyncGenerator[tuple[Pool, Pool]]:
    """Two pools, of which the first owns the conversation `talk`."""

    def named(name: str) -> Pool:
        handlers = None if on_message is None else on_message(name)
        return open_pool(SETTINGS, name=name, connector=connector, cluster=hub, on_message=handlers)

    hub = MemoryHub()
    async with open_pool(SETTINGS, connector=connector, cluster=hub):
        await anyio.sleep(10)
        async with named("here") as here, named("there") as there:
            await settled()
            assert await here.claim("talk", user="ada") == here.worker
            yield here, there


def talk(pool: Pool, **more: Any) -> Any:
    return pool.session(ECHO, user="ada", session_id="talk", **more)


Use = Callable[[Lease], Awaitable[Any]]


async def lowest(lease: Lease) -> Any:
    return await lease.client.session.call_tool("add", {"a": 1, "b": 2})


async def said(lease: Lease) -> Any:
    return lease.protocol_version, lease.server_info, lease.server_capabilities, lease.instructions


USES: dict[str, Use] = {
    "said": said,
    "add": lambda lease: lease.call_tool("add", {"a": 1, "b": 2}),
    "add with the wrong arguments": lambda lease: lease.call_tool("add", {"a": "x"}),
    "a tool that fails": lambda lease: lease.call_tool("fail"),
    "no such tool": lambda lease: lease.call_tool("nothing"),
    "a tool with meta": lambda lease: lease.call_tool("add", {"a": 1, "b": 2}, meta={"x": 1}),
    "a tool that takes too long": lambda lease: lease.call_tool("wait", read_timeout_seconds=2),
    "list_tools": lambda lease: lease.list_tools(),
    "list_tools anew": lambda lease: lease.list_tools(cache_mode="refresh"),
    "list_tools with a cursor": lambda lease: lease.list_tools(cursor="nothing"),
    "list_prompts": lambda lease: lease.list_prompts(),
    "get_prompt": lambda lease: lease.get_prompt("greet", {"name": "Ada"}),
    "no such prompt": lambda lease: lease.get_prompt("nothing"),
    "list_resources": lambda lease: lease.list_resources(),
    "list_resource_templates": lambda lease: lease.list_resource_templates(),
    "read_resource": lambda lease: lease.read_resource("memo://one"),
    "no such resource": lambda lease: lease.read_resource("memo://nothing"),
    "complete": lambda lease: lease.complete(
        types.PromptReference(type="ref/prompt", name="greet"), {"name": "name", "value": "A"}
    ),
    "request": lambda lease: lease.request("tools/call", {"name": "add", "arguments": {"a": 1, "b": 2}}),
    "request without params": lambda lease: lease.request("tools/list"),
    "no such method": lambda lease: lease.request("acme/thing", {"a": 1}),
    "a request that takes too long": lambda lease: lease.request("tools/call", {"name": "wait"}, timeout=2),
    "ping": lambda lease: lease.request("ping"),
    "params that are none": lambda lease: lease.request("tools/list", [1]),  # type: ignore[arg-type]
    "the session beneath": lowest,
}


async def outcome(use: Use, lease: Lease) -> Any:
    try:
        return await use(lease)
    except MCPError as error:
        return type(error), error.code, error.message, error.data
    except Exception as error:  # noqa: BLE001 - whatever it is, it is to be the same
        return type(error), str(error)


@pytest.mark.holds("C4", "L6")
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("use", USES)
async def test_each_use_of_a_lease_comes_to_the_same_here_and_from_elsewhere(mode: Mode, use: str) -> None:
    served = Served(mode)
    async with here_and_there(served) as (here, there), talk(here) as local, talk(there) as remote:
        assert await outcome(USES[use], remote) == await outcome(USES[use], local)
        assert served.sessions == 1


# --- its life


def leases_of(pool: Pool) -> int:
    """How many leases others hold there."""
    assert pool._lending is not None
    return len(pool._lending)


@pytest.mark.holds("L4", "R4")
async def test_a_lease_that_was_given_back_refuses_calls_and_is_held_nowhere() -> None:
    async with here_and_there(Served("legacy")) as (here, there):
        lease = await there.acquire(ECHO, user="ada", session_id="talk")
        client = lease.client
        assert leases_of(here) == 1
        assert here.stats().keys[0].counts.leases == 1
        lease.release()
        await settled()
        assert leases_of(here) == 0
        assert here.stats().keys[0].counts.leases == 0
        with pytest.raises(LeaseReleased):
            await lease.list_tools()
        with pytest.raises(LeaseReleased):
            await client.list_tools()
        with pytest.raises(LeaseReleased):
            lease.release()
        assert there._system.statistics().effects == 1, "the bus"


@pytest.mark.holds("L4")
async def test_a_call_under_way_goes_on_when_its_lease_is_given_back() -> None:
    served = Served("legacy")
    async with here_and_there(served) as (here, there):
        lease = await there.acquire(ECHO, user="ada", session_id="talk")
        answers: list[Any] = []

        async def ask() -> None:
            answers.append(await lease.call_tool("wait"))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            await anyio.sleep(1)
            lease.release()
            await settled()
            served.goes_on.set()
        assert answers[0].content[0].text == "waited"
        await settled()
        assert leases_of(here) == 0


@pytest.mark.holds("S5", "C4")
@pytest.mark.parametrize("mode", MODES)
async def test_a_call_that_is_cancelled_is_cancelled_at_its_server(mode: Mode) -> None:
    served = Served(mode)
    async with here_and_there(served) as (_, there), talk(there) as lease:
        with anyio.move_on_after(2):
            await lease.call_tool("wait")
        await settled()
        assert (served.waiting, served.cancelled) == (1, 1)
        assert (await lease.call_tool("add", {"a": 1, "b": 2})).structured_content == {"result": 3}


async def test_a_lease_that_is_dropped_comes_home_with_a_warning() -> None:
    async with here_and_there(Served("legacy")) as (here, there):
        lease = await there.acquire(ECHO, user="ada", session_id="talk")
        await lease.list_tools()
        with pytest.warns(ResourceWarning, match="was never released: acquired at .*test_remote_lease"):
            del lease
        await settled()
        assert leases_of(here) == 0


@pytest.mark.holds("L2")
async def test_who_is_cancelled_while_a_lease_is_sought_elsewhere_holds_nothing() -> None:
    server = FakeServer()
    server.hold_openings()
    async with here_and_there(server) as (here, there):
        with anyio.move_on_after(1):
            await there.acquire(ECHO, user="ada", session_id="talk")
        server.opens.set()
        await settled()
        assert leases_of(here) == 0
        assert not here.stats().keys or here.stats().keys[0].counts.leases == 0
        async with talk(there):
            assert leases_of(here) == 1


@pytest.mark.holds("L2", "S4")
@pytest.mark.parametrize("timeout", [0, 2])
async def test_no_session_in_time_is_said_as_it_is_there(timeout: float) -> None:
    server = FakeServer()
    server.hold_openings()
    async with here_and_there(server) as (here, there):
        texts: list[str] = []
        for pool in (here, there):
            began = anyio.current_time()
            with pytest.raises(AcquireTimeout) as refused:
                await pool.acquire(ECHO, user="ada", session_id="talk", timeout=timeout)
            texts.append(str(refused.value))
            assert anyio.current_time() - began == pytest.approx(timeout, abs=0.1)
        assert texts[0] == texts[1]


@pytest.mark.holds("C4", "L7")
async def test_what_stands_in_the_way_of_a_lease_is_the_same_from_elsewhere() -> None:
    server = FakeServer()
    server.fails = ConnectFailed("refused", step="connect", status=403)
    async with here_and_there(server) as (here, there):
        for pool in (here, there):
            with pytest.raises(ConnectFailed, match="refused") as failed:
                await pool.acquire(ECHO, user="ada", session_id="talk")
            assert (failed.value.step, failed.value.status) == ("connect", 403)
        server.fails = None
        async with talk(here):
            for pool in (here, there):
                with pytest.raises(PrincipalMismatch):
                    await pool.acquire(ECHO, user="mallory", session_id="talk")
        for upstream, http_client in ((ECHO, print), (Upstream(ECHO.url, http_client=print), None)):
            with pytest.raises(InvalidSettings, match="http_client"):
                await there.acquire(upstream, user="ada", session_id="talk", http_client=http_client)


async def test_what_was_asked_of_an_acquire_holds_at_the_owner() -> None:
    server = FakeServer()
    async with here_and_there(server) as (_, there):
        headers = {"Authorization": "Bearer one", "X-Trace": "7"}
        async with talk(there, headers=headers, connect_timeout=7, expires_in=60, call_timeout=3) as lease:
            assert server.openings[0].connect_timeout == 7
            assert server.headers[0] == headers
            await lease.request("tools/list")
            await lease.request("tools/list", timeout=2)
            assert [seconds for _, _, seconds in server.raw] == [3, 2]
            assert server.headers_of_calls[0] == server.headers[0]
            began = anyio.current_time()
            with pytest.raises(MCPError, match=r"not answered within 3 s \(call_timeout\)"):
                await lease.request("wait")
            assert anyio.current_time() - began == pytest.approx(3, abs=0.1)


# --- its end


@pytest.mark.holds("L9", "C3", "C5")
@pytest.mark.parametrize("is_stateful", [True, False])
async def test_a_lease_whose_owner_dies_is_over_and_the_conversation_is_told_once(*, is_stateful: bool) -> None:
    server = FakeServer(is_stateful=is_stateful)
    async with here_and_there(server) as (here, there):
        lease = await there.acquire(ECHO, user="ada", session_id="talk")
        await anyio.sleep(3)
        failed: list[TroupeError] = []

        async def ask() -> None:
            try:
                await lease.request("wait")
            except TroupeError as error:
                failed.append(error)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            await anyio.sleep(1)
            die(here)
        assert [type(error) for error in failed] == [OutcomeUnknown]
        await settled()
        for _ in range(3):
            with pytest.raises(SessionTerminated, match=r"has not run: .*, acquire another one"):
                await lease.request("tools/list")
        lease.release()
        if is_stateful:
            with pytest.raises(SessionStateLost):
                await there.acquire(ECHO, user="ada", session_id="talk")
        async with talk(there) as again:
            await again.request("tools/list")
        assert await there.owner("talk") == there.worker


@pytest.mark.holds("C3", "L9")
async def test_a_call_that_finds_its_owner_dead_has_not_run_and_is_told_so() -> None:
    server = FakeServer()
    async with here_and_there(server) as (here, there):
        lease = await there.acquire(ECHO, user="ada", session_id="talk")
        await anyio.sleep(3)
        die(here)
        with pytest.raises(SessionTerminated, match=r"tools/list on .* has not run"):
            await lease.request("tools/list")
        assert server.raw == []
        lease.release()


@pytest.mark.holds("L9", "C4", "S2")
async def test_a_session_that_breaks_at_its_owner_is_told_to_whoever_asks_next_wherever_that_is() -> None:
    server = FakeServer()
    async with here_and_there(server) as (here, there):
        async with talk(there):
            server.reports[0](BROKEN)
            await settled()
        with pytest.raises(SessionStateLost):
            await there.acquire(ECHO, user="ada", session_id="talk")
        await settled()  # until its owner knows that this was heard
        async with talk(here), talk(there):
            assert server.attempts == 2


@pytest.mark.holds("C4", "L9")
async def test_a_conversation_that_is_ended_where_it_is_owned_ends_the_leases_of_others() -> None:
    served = Served("legacy")
    async with here_and_there(served) as (here, there):
        async with talk(there) as lease:
            await lease.list_tools()
            here.end("talk")
            await settled()
            with pytest.raises(SessionTerminated):
                await lease.call_tool("fail")
        async with talk(there) as again:
            await again.list_tools()
            assert served.sessions == 2


@pytest.mark.holds("R4", "S4")
async def test_a_pool_that_is_closed_gives_the_leases_of_others_back() -> None:
    async with here_and_there(Served("legacy")) as (here, there):
        lease = await there.acquire(ECHO, user="ada", session_id="talk")
        await there.close()
        await settled()
        assert leases_of(here) == 0
        with pytest.raises(TroupeError):
            await lease.call_tool("add", {"a": 1, "b": 2})
        lease.release()


@pytest.mark.holds("C5", "L5")
async def test_the_leases_of_a_worker_that_died_come_home() -> None:
    async with here_and_there(Served("legacy")) as (here, there):
        lease = await there.acquire(ECHO, user="ada", session_id="talk")
        await anyio.sleep(20)
        assert leases_of(here) == 1, "it lives"
        die(there)
        await anyio.sleep(25)
        assert leases_of(here) == 0
        assert here.stats().keys[0].counts.leases == 0
        lease.release()


@pytest.mark.holds("C10", "L5")
async def test_as_many_leases_as_one_likes_are_kept_for_as_long_as_they_are_held() -> None:
    server = FakeServer()
    async with here_and_there(server) as (here, there):
        leases = [await there.acquire(ECHO, user="ada", session_id="talk") for _ in range(450)]
        await anyio.sleep(30)
        assert leases_of(here) == 450
        for lease in leases:
            await lease.request("tools/list")
            lease.release()
        await settled()
        assert leases_of(here) == 0
        assert there._membership is not None
        assert there._membership._actor is not None
        assert len(there._membership._actor.lines) == 0


@pytest.mark.holds("C5", "C9")
async def test_a_line_that_breaks_and_comes_back_takes_no_lease() -> None:
    async with here_and_there(FakeServer()) as (here, there):
        lease = await there.acquire(ECHO, user="ada", session_id="talk")
        assert there._membership is not None
        assert there._membership._ref is not None
        there._membership._ref.tell(Parted("it was cut"))
        with pytest.raises(BusUnavailable):
            await lease.request("tools/list")
        await anyio.sleep(3)
        there._membership._ref.tell(Joined(20.0))
        assert await lease.request("tools/list") == {"asked": None}
        assert leases_of(here) == 1
        lease.release()


@pytest.mark.holds("L5")
async def test_a_lease_comes_home_though_nobody_hears_that_it_was_given_back() -> None:
    async with here_and_there(FakeServer()) as (here, there):
        lease = await there.acquire(ECHO, user="ada", session_id="talk")
        assert there._membership is not None
        assert there._membership._actor is not None
        there._membership._actor.lines._lines.clear()
        lease.release()
        await settled()
        assert leases_of(here) == 1
        await anyio.sleep(25)
        assert leases_of(here) == 0
