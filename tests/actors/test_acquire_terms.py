"""On what terms a session is asked for, and who asks. On both event loops."""
# pyright: reportPrivateUsage=false

import logging
from collections.abc import Mapping
from typing import Any

import anyio
import httpx2
import pytest
from mcp import MCPError
from mcp_types import REQUEST_TIMEOUT

from actors import Pool, PoolSettings, Upstream, open_pool
from protocol import pool_messages
from protocol.errors import AcquireTimeout, ConnectFailed, InvalidSettings
from protocol.session import SessionState
from tests.actors.fakes import ECHO, FakeServer, bookkeeping, client_of, settled
from tests.actors.wire import SERVER, FakeWire, given

pytestmark = pytest.mark.virtual_time


async def use(pool: Pool, upstream: Upstream = ECHO, **terms: Any) -> None:
    async with pool.session(upstream, **terms) as session:
        await session.call_tool("echo")


@pytest.mark.holds("S4", "L2")
async def test_the_opening_for_a_caller_takes_no_longer_than_that_caller_says() -> None:
    server = FakeServer()
    server.hold_openings()
    async with open_pool(PoolSettings(connect_timeout=20), connector=server) as pool:
        before = anyio.current_time()
        with pytest.raises(ConnectFailed, match=r"within 3 s \(connect_timeout\)"):
            await pool.acquire(ECHO, connect_timeout=3)
        assert anyio.current_time() - before == pytest.approx(3)
        with pytest.raises(ConnectFailed, match=r"within 20 s \(connect_timeout\)"):
            await pool.acquire(ECHO)
        assert [opening.connect_timeout for opening in server.openings] == [3, 20]
        assert pool.stats().sessions() == 0


@pytest.mark.holds("S4", "S9")
async def test_calls_under_a_lease_take_no_longer_than_it_says_and_harm_no_other() -> None:
    server = FakeServer(is_stateful=False)
    async with open_pool(connector=server) as pool, anyio.create_task_group() as tasks:
        async with pool.session(ECHO) as patient, pool.session(ECHO, call_timeout=2) as session:
            assert client_of(patient) is client_of(session)
            tasks.start_soon(patient.call_tool, "wait")
            before = anyio.current_time()
            for call in (session.call_tool, session.client.call_tool):
                with pytest.raises(MCPError, match=r"was not answered within 2 s \(call_timeout\)") as late:
                    await call("wait")
                assert late.value.code == REQUEST_TIMEOUT
            assert anyio.current_time() - before == pytest.approx(4)
            await session.call_tool("echo")
            server.answers.set()
        await settled()
        assert pool.stats().sessions(SessionState.IDLE) == 1


async def test_the_client_factory_of_a_caller_goes_to_the_session_that_is_opened_for_it() -> None:
    server = FakeServer()

    def factory(**_: Any) -> object:
        return object()

    async with open_pool(connector=server) as pool:
        async with pool.session(ECHO, http_client=factory), pool.session(ECHO):
            assert [opening.http_client for opening in server.openings] == [factory, None]
        await use(pool, http_client=dict)
        assert server.attempts == 2, "a session that is there is lent as it is"


@pytest.mark.parametrize(
    "terms",
    [
        {"connect_timeout": 0},
        {"call_timeout": -1},
        {"call_timeout": float("nan")},
        {"expires_in": 0},
        {"http_client": 5},
    ],
)
async def test_terms_that_cannot_be_are_refused_by_their_names(terms: dict[str, Any]) -> None:
    async with open_pool(connector=FakeServer()) as pool:
        with pytest.raises(InvalidSettings, match=next(iter(terms))):
            await pool.acquire(ECHO, **terms)
        assert pool.stats().keys == ()


async def test_message_handlers_are_made_of_the_url_and_the_gateway_or_else_the_url_again() -> None:
    server = FakeServer()
    made: list[tuple[str, str]] = []

    async def handle(message: object) -> None:
        """Not called here."""

    def make(url: str, gateway: str) -> Any:
        made.append((url, gateway))
        return None if gateway == "deaf" else handle

    async with open_pool(connector=server, on_message=make) as pool:
        for gateway_id in ("g-7", None, "deaf"):
            await use(pool, gateway_id=gateway_id)
        await use(pool, gateway_id="g-7")
    assert made == [(ECHO.url, "g-7"), (ECHO.url, ECHO.url), (ECHO.url, "deaf")]
    assert [opening.handler for opening in server.openings] == [handle, handle, None]


async def test_a_handlers_factory_that_raises_costs_its_handler_only(caplog: pytest.LogCaptureFixture) -> None:
    server = FakeServer()

    def make(url: str, gateway: str) -> Any:
        raise LookupError(f"no handler for {url}, s3cret")

    async with open_pool(connector=server, on_message=make) as pool:
        await use(pool, user="ada")
    assert server.openings[0].handler is None
    said = [record.getMessage() for record in caplog.records]
    assert said == [f"no message handler for {ECHO.url}: its factory raised LookupError"]


@pytest.mark.holds("R6")
async def test_a_handlers_factory_runs_in_no_turn() -> None:
    async with open_pool(connector=FakeServer(), on_message=lambda *_: seen.append(pool._system.current)) as pool:  # type: ignore[func-returns-value]
        seen: list[object] = []
        await use(pool)
    assert seen == [None]


@pytest.mark.holds("L2")
@pytest.mark.parametrize("how", ["evicted", "stopped", "ending"])
async def test_a_caller_whose_key_is_just_ending_is_served_by_its_successor(how: str) -> None:
    server = FakeServer()
    async with open_pool(connector=server) as pool:
        await use(pool, user="ada")
        key, ref = next(iter(pool._refs.items()))
        match how:
            case "evicted":  # it leaves with a session that is still being closed
                server.hold_closings()
                ref.tell(pool_messages.Evict())
            case "stopped":
                ref.stop()
                await settled()
            case _:
                server.hold_closings()
                ref.tell(pool_messages.Evict())
                pool._refs = {key: ref}  # as it is between the look-up and the ask
        await use(pool, user="ada", timeout=1)
        assert len(server.clients) == 2
        server.closes.set()
        await settled()
        assert bookkeeping(pool)["living"] == 1


@pytest.mark.holds("L2")
async def test_a_caller_who_waits_when_its_keys_supervisor_crashes_is_served_by_the_next() -> None:
    server = FakeServer()
    server.gates[1] = anyio.Event()
    async with open_pool(connector=server) as pool, anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(lambda: use(pool, user="ada"))
        await settled()
        pool._refs.copy().popitem()[1].tell(pool_messages.SessionOpened(99))  # type: ignore[arg-type]
        await settled()
    assert 1 <= len(server.clients) <= 3


@pytest.mark.holds("L2")
async def test_the_time_to_wait_is_the_callers_also_for_a_key_that_is_not_there_yet() -> None:
    server = FakeServer()
    server.takes = 0.7
    async with open_pool(PoolSettings(max_keys=1), connector=server) as pool:
        await use(pool, user="ada")
        before = anyio.current_time()
        with pytest.raises(AcquireTimeout, match=r"within 1 s in the pool of http://127.0.0.1:1/mcp, user 'bob'"):
            await pool.acquire(ECHO, user="bob", timeout=1)
        assert anyio.current_time() - before == pytest.approx(1, abs=0.01)


@pytest.mark.holds("L1", "L5")
async def test_a_user_given_as_a_mapping_is_the_user_given_as_text() -> None:
    server = FakeServer()
    async with open_pool(connector=server) as pool:
        for user in ("ada@example.org", {"email": "ada@example.org"}, {"sub": "17", "email": "ada@example.org"}):
            await use(pool, user=user)
            await use(pool, user=user, session_id="talk")
        assert len(server.clients) == 2
        await use(pool, user={"sub": "17"})
        assert len(server.clients) == 3


@pytest.mark.holds("X1", "L1")
@pytest.mark.parametrize("fault", ["raises", "nothing", "no text"])
async def test_an_extractor_that_fails_is_counted_and_logged_once_without_its_text(
    fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    def extract(headers: Mapping[str, str]) -> Any:
        if fault == "raises":
            raise KeyError(headers["authorization"])
        return "" if fault == "nothing" else [headers["authorization"]]

    server = FakeServer()
    with caplog.at_level(logging.DEBUG):
        async with open_pool(PoolSettings(identity_extractor=extract), connector=server) as pool:
            for token in ("s3cret-1", "s3cret-1", "s3cret-2"):
                await use(pool, headers={"Authorization": f"Bearer {token}"})
            assert pool.stats().tally.extractor_failures == 3
            assert len(server.clients) == 2, "they go by their headers"
    said = [record.getMessage() for record in caplog.records if record.name == "actors.extractor"]
    assert len(said) == 1
    assert "s3cret" not in caplog.text


@pytest.mark.holds("X1")
async def test_a_request_that_ends_as_a_dead_letter_does_not_show_what_was_asked_with() -> None:
    async with open_pool(connector=FakeServer()) as pool:
        async with pool.session(ECHO, headers={"Authorization": "Bearer s3cret"}) as session:
            shown = repr(session._acquired)
        assert "http://127.0.0.1:1/mcp" in shown
        assert "s3cret" not in shown


@pytest.mark.holds("L2", "L3")
@pytest.mark.parametrize("others", [0, 1])
async def test_a_lease_granted_to_a_caller_who_is_cancelled_at_that_moment_goes_to_the_next(others: int) -> None:
    server = FakeServer()
    async with open_pool(PoolSettings(max_size=1), connector=server) as pool, anyio.create_task_group() as tasks:
        lease = await pool.acquire(ECHO, user="ada")
        got: list[str] = []
        scope = anyio.CancelScope()

        async def give_up() -> None:
            with scope:
                await use(pool, user="ada")
                got.append("given up")

        async def wait() -> None:
            await use(pool, user="ada")
            got.append("waited")

        tasks.start_soon(give_up)
        await settled()
        for _ in range(others):
            tasks.start_soon(wait)
        await settled()
        lease.release()
        scope.cancel()
        await settled()
        assert got == ["waited"] * others
        assert pool.stats().sessions(SessionState.IDLE) == 1
        assert pool.stats().keys[0].counts.leases == 0


@pytest.mark.holds("S4")
async def test_a_call_of_a_tool_may_take_as_long_as_its_caller_says_also_where_that_is_longer_than_the_pools(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wire = FakeWire()
    monkeypatch.setattr(httpx2, "AsyncHTTPTransport", given(wire))

    async def slow(request: httpx2.Request, message: dict[str, Any]) -> httpx2.Response:
        await anyio.sleep(0.3 if message["method"] == "tools/call" else 0)
        return await wire.result(request, message)

    wire.answer = slow
    async with open_pool(PoolSettings(call_timeout=0.1)) as pool:
        async with pool.session(SERVER, call_timeout=5) as session:
            await session.call_tool("echo")
        async with pool.session(SERVER) as session:
            with pytest.raises(MCPError, match="timed out"):
                await session.call_tool("echo")
