"""The pool over fake servers: who gets which session, and how everything ends. On both event loops."""

import traceback
from typing import Any

import anyio
import pytest

from actors import Lease, PoolSettings, Upstream, open_pool
from actors.acquire import Acquire
from protocol.errors import AcquireTimeout, ConnectFailed, InvalidSettings, LeaseReleased, PoolClosed, PoolFull
from protocol.fault import Fault, FaultKind
from protocol.identity import Identities
from protocol.keys import key_of
from protocol.pool_messages import SessionOpened
from tests.actors.fakes import ECHO, FakeClient, FakeServer

BROKEN = Fault(FaultKind.INTERRUPTED, "event stream", "it broke")


def client_of(lease: Lease) -> FakeClient:
    return lease._connection.client  # type: ignore[return-value]


async def test_a_released_session_is_used_again() -> None:
    server = FakeServer()
    async with open_pool(connector=server) as pool:
        for _ in range(3):
            async with pool.session(ECHO) as session:
                await session.call_tool("echo")
        stats = pool.stats()
        assert (stats.opened, stats.hits, stats.misses, stats.anonymous) == (1, 2, 1, 3)
        assert stats.hit_rate == pytest.approx(2 / 3)
        assert "1 sessions in 1 keys, 1 idle" in str(stats)
    assert server.live == 0


@pytest.mark.holds("L1")
@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"user": "ada"}, {"user": "bob"}),
        ({"user": "ada"}, {}),
        ({"gateway_id": "g1"}, {"gateway_id": "g2"}),
        ({"headers": {"Authorization": "Bearer a"}}, {"headers": {"Authorization": "Bearer b"}}),
        ({"headers": {"X-API-Key": "a"}}, {"headers": {"X-User-Id": "a"}}),
        ({"headers": {"X-User-Id": "a"}}, {}),
    ],
)
async def test_callers_that_differ_in_user_gateway_or_identity_never_share_a_session(
    one: dict[str, str], other: dict[str, str]
) -> None:
    async with open_pool(connector=FakeServer()) as pool:
        first = await pool.acquire(ECHO, **one)  # type: ignore[arg-type]
        client = client_of(first)
        first.release()
        second = await pool.acquire(ECHO, **other)  # type: ignore[arg-type]
        assert client_of(second) is not client
        assert len(pool.stats().keys) == 2


@pytest.mark.holds("L1")
async def test_upstreams_and_protocol_modes_never_share_a_session() -> None:
    async with open_pool(connector=FakeServer()) as pool:
        for upstream in (ECHO, Upstream(ECHO.url + "?a"), Upstream(ECHO.url, mode="legacy")):
            (await pool.acquire(upstream)).release()
        assert len(pool.stats().keys) == 3


async def test_headers_that_prove_nothing_do_not_keep_callers_apart_and_are_those_of_the_lease() -> None:
    server = FakeServer()
    async with open_pool(connector=server) as pool:
        async with pool.session(ECHO, headers={"X-Trace": "1", "Mcp-Session-Id": "forged", "Host": "elsewhere"}):
            pass
        async with pool.session(ECHO, headers={"X-Trace": "2"}):
            pass
        assert server.headers == [{"X-Trace": "1"}]
        assert pool.stats().opened == 1


@pytest.mark.parametrize("headers", [{"X-A": "b\r\nX-C: d"}, {"X-A": "nul\0"}, {"X A": "b"}, {"": "b"}, {"X-A": "é"}])
async def test_headers_that_could_smuggle_others_are_refused(headers: dict[str, str]) -> None:
    async with open_pool(connector=FakeServer()) as pool:
        with pytest.raises(InvalidSettings, match="header"):
            await pool.acquire(ECHO, headers=headers)
        assert pool.stats().keys == ()


@pytest.mark.holds("L3")
async def test_a_release_wakes_the_oldest_waiter() -> None:
    async with open_pool(PoolSettings(max_size=1), connector=FakeServer()) as pool:
        order: list[int] = []
        lease = await pool.acquire(ECHO)

        async def borrow(number: int) -> None:
            async with pool.session(ECHO):
                order.append(number)

        async with anyio.create_task_group() as tasks:
            for number in range(5):
                tasks.start_soon(borrow, number)
                await anyio.wait_all_tasks_blocked()
            assert pool.stats().waiting == 5
            lease.release()
        assert order == [0, 1, 2, 3, 4]


@pytest.mark.holds("L2", "L3")
async def test_a_hundred_tasks_over_ten_sessions_all_get_their_turns() -> None:
    server = FakeServer()
    async with open_pool(PoolSettings(max_size=10), connector=server) as pool:
        done: list[int] = []

        async def work() -> None:
            for _ in range(20):
                async with pool.session(ECHO) as session:
                    await session.call_tool("echo")
                    done.append(1)

        async with anyio.create_task_group() as tasks:
            for _ in range(100):
                tasks.start_soon(work)
        assert len(done) == 2000
        assert len(server.clients) == 10


@pytest.mark.holds("L2")
async def test_whoever_waits_too_long_is_told_of_which_pool_and_in_which_state() -> None:
    async with open_pool(PoolSettings(max_size=1, acquire_timeout=0.02), connector=FakeServer()) as pool:
        lease = await pool.acquire(ECHO, user="ada")
        with pytest.raises(AcquireTimeout, match=r"within 0.02 s in the pool of http://127.0.0.1:1/mcp") as caught:
            await pool.acquire(ECHO, user="ada")
        assert "1 leased of at most 1" in str(caught.value)
        assert caught.value.http_status == 503
        with pytest.raises(AcquireTimeout, match=r"within 0.01 s"):
            await pool.acquire(ECHO, user="ada", timeout=0.01)
        lease.release()
        assert pool.stats().waiting == 0
        (await pool.acquire(ECHO, user="ada")).release()


async def test_callers_beyond_max_waiting_are_refused() -> None:
    async with open_pool(PoolSettings(max_size=1, max_waiting=0), connector=FakeServer()) as pool:
        lease = await pool.acquire(ECHO)
        with pytest.raises(PoolFull, match="max_waiting is reached"):
            await pool.acquire(ECHO)
        lease.release()


@pytest.mark.holds("L5")
async def test_a_session_that_cannot_be_opened_is_a_named_error_and_the_next_try_may_succeed() -> None:
    server = FakeServer()
    server.fails = ConnectFailed("refused", step="connect")
    async with open_pool(PoolSettings(max_size=1), connector=server) as pool:
        with pytest.raises(ConnectFailed, match="refused"):
            await pool.acquire(ECHO)
        server.fails = ValueError("surprise")
        with pytest.raises(ConnectFailed, match="ValueError") as caught:
            await pool.acquire(ECHO)
        assert isinstance(caught.value.__cause__, ValueError)
        server.fails = None
        (await pool.acquire(ECHO)).release()
        assert pool.stats().open_failures == 2


@pytest.mark.holds("S4", "L5")
async def test_a_session_that_takes_too_long_to_open_is_given_up() -> None:
    server = FakeServer()
    server.hold_openings()
    async with open_pool(PoolSettings(max_size=1, connect_timeout=0.02), connector=server) as pool:
        with pytest.raises(ConnectFailed, match=r"within 0.02 s \(connect_timeout\)"):
            await pool.acquire(ECHO)
        assert pool.stats().sessions() == 0


@pytest.mark.holds("S2")
async def test_an_idle_session_that_breaks_is_replaced() -> None:
    server = FakeServer()
    async with open_pool(connector=server) as pool:
        (await pool.acquire(ECHO)).release()
        server.reports[0](BROKEN)
        server.reports[0](BROKEN)
        lease = await pool.acquire(ECHO)
        assert client_of(lease) is server.clients[1]
        assert pool.stats().broken == 1


@pytest.mark.holds("S2")
async def test_a_session_that_breaks_while_lent_is_not_lent_again() -> None:
    server = FakeServer()
    async with open_pool(PoolSettings(max_size=1), connector=server) as pool:
        async with pool.session(ECHO) as session:
            server.reports[0](BROKEN)
            await session.call_tool("echo")
        async with pool.session(ECHO) as session:
            assert client_of(session) is server.clients[1]
        assert server.closed == 1


@pytest.mark.holds("S4", "L2")
async def test_closing_refuses_waiters_and_ends_every_session_in_parallel_and_in_bounded_time() -> None:
    server = FakeServer()
    server.never_closes = True
    waiting: list[Exception] = []
    async with open_pool(PoolSettings(max_size=50, close_timeout=0.1), connector=server) as pool:
        leases = [await pool.acquire(ECHO) for _ in range(50)]

        async def wait() -> None:
            try:
                await pool.acquire(ECHO)
            except PoolClosed as error:
                waiting.append(error)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await anyio.wait_all_tasks_blocked()
            started = anyio.current_time()
            await pool.close()
            assert anyio.current_time() - started < 10 * 0.1, "fifty sessions close at the same time"
        assert len(leases) == 50
        assert "was closed while this caller waited" in str(waiting[0])
        assert server.live == 0
        with pytest.raises(PoolClosed):
            await pool.acquire(ECHO)
        await pool.close()


@pytest.mark.holds("R4")
async def test_a_pool_left_while_a_session_is_being_opened_leaves_nothing() -> None:
    server = FakeServer()
    server.hold_openings()
    async with anyio.create_task_group() as tasks, open_pool(connector=server) as pool:

        async def wait() -> None:
            with pytest.raises(PoolClosed):
                await pool.acquire(ECHO)

        tasks.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        await pool.close()
        assert pool.stats().sessions() == 0


async def test_a_pool_that_is_not_open_says_so() -> None:
    pool = open_pool(connector=FakeServer())
    with pytest.raises(PoolClosed, match="is not open: enter it"):
        await pool.acquire(ECHO)
    await pool.close()


async def test_an_exception_of_the_body_leaves_the_pool_as_it_is() -> None:
    server = FakeServer()
    held: list[Lease] = []
    with pytest.raises(ValueError, match="mine"):
        async with open_pool(connector=server) as pool:
            held.append(await pool.acquire(ECHO))
            raise ValueError("mine")
    assert server.live == 0


@pytest.mark.holds("R4")
async def test_figures_can_be_read_after_the_pool_was_left() -> None:
    async with open_pool(connector=FakeServer()) as pool:
        (await pool.acquire(ECHO)).release()
    assert pool.stats().sessions() == 0


@pytest.mark.holds("L1", "L2")
@pytest.mark.parametrize(
    "arguments",
    [
        {"user": "\ud800"},
        {"user": 5},
        {"user": ["ada"]},
        {"gateway_id": {}},
        {"gateway_id": "\udfff"},
        {"timeout": float("nan")},
        {"timeout": -1},
        {"timeout": "soon"},
        {"upstream": "http://127.0.0.1:1/mcp"},
        {"headers": [("X-A", "b")]},
        {"headers": "X-A: b"},
    ],
)
async def test_an_argument_that_cannot_be_used_is_refused_and_costs_nobody_else_anything(
    arguments: dict[str, Any],
) -> None:
    async with open_pool(connector=FakeServer()) as pool:
        held = await pool.acquire(ECHO, user="bob")
        with pytest.raises(InvalidSettings, match=next(iter(arguments))):
            given: dict[str, Any] = {"upstream": ECHO, **arguments}
            await pool.acquire(**given)
        await held.call_tool("echo")
        async with pool.session(ECHO, user="ada"):
            pass


@pytest.mark.holds("S4", "S5", "R4")
async def test_a_pool_that_is_left_cancelled_still_closes_its_sessions_in_good_order() -> None:
    server = FakeServer()
    with anyio.CancelScope() as scope:
        async with open_pool(connector=server) as pool:
            for user in ("ada", "bob", "cy"):
                (await pool.acquire(ECHO, user=user)).release()
            scope.cancel()
            await anyio.sleep(1)
    assert scope.cancelled_caught
    assert (server.closed, server.closed_in_order) == (3, 3)


@pytest.mark.holds("S4", "R4")
async def test_a_thousand_sessions_close_at_once() -> None:
    server = FakeServer()
    async with open_pool(PoolSettings(max_size=1000), connector=server) as pool:
        leases = [await pool.acquire(ECHO) for _ in range(1000)]
    assert len(leases) == 1000
    assert (server.closed, server.closed_in_order) == (1000, 1000)
    assert pool.stats().opened == 1000, "the last figures can be read"
    assert pool.stats().sessions() == 0


@pytest.mark.holds("L5")
async def test_a_supervisor_that_crashes_takes_only_its_own_key_along_and_is_replaced() -> None:
    server = FakeServer()
    async with open_pool(connector=server) as pool:
        bystander = await pool.acquire(ECHO, user="bob")
        lost = await pool.acquire(ECHO, user="ada")
        # No machine takes a session for opened twice.
        lost._supervisor.tell(SessionOpened(1))  # type: ignore[arg-type]
        async with pool.session(ECHO, user="ada") as again:
            await again.call_tool("echo")
        lost.release()
        await bystander.call_tool("echo")
        await anyio.wait_all_tasks_blocked()
        assert len(server.clients) == 3
        assert server.closed == 1


async def test_a_pool_is_entered_once() -> None:
    async with open_pool(connector=FakeServer()) as pool:
        pass
    with pytest.raises(PoolClosed, match="was entered before"):
        await pool.__aenter__()


@pytest.mark.holds("X1")
async def test_no_credential_is_in_what_can_be_shown() -> None:
    secret = "s3cret"  # noqa: S105
    headers = {"Authorization": f"Bearer {secret}", "Cookie": f"id={secret}"}
    upstream = Upstream(f"http://127.0.0.1:1/mcp?api_key={secret}#{secret}")
    server = FakeServer()
    settings = PoolSettings(max_size=1, max_waiting=0, identity_secret=secret.encode())
    async with open_pool(settings, connector=server) as pool:
        lease = await pool.acquire(upstream, headers=headers)
        shown = [repr(pool), repr(settings), repr(upstream), repr(lease), str(pool.stats()), repr(pool.stats())]
        with pytest.raises(PoolFull) as full:
            await pool.acquire(upstream, headers=headers)
        shown.append(str(full.value))
        lease.release()
        with pytest.raises(LeaseReleased) as released:
            lease.release()
        shown.append(str(released.value))
        with pytest.raises(InvalidSettings) as refused:
            await pool.acquire(upstream, headers={"Authorization": f"Bearer {secret} "})
        shown.append("".join(traceback.format_exception(refused.value)).partition("InvalidSettings:")[2])
        with pytest.raises(InvalidSettings) as unreadable:
            Upstream(f"http://admin:{secret}/x@host/")
        shown.append(str(unreadable.value))
    caller = Identities(secret=secret.encode()).who(headers, "ada")
    shown.append(repr(Acquire(key_of(caller, upstream, None, None), upstream, caller)))
    assert [text for text in shown if secret in text] == []


@pytest.mark.parametrize(
    "arguments", [{"settings": 5}, {"settings": {"max_size": 3}}, {"connector": 5}, {"on_message": 5}, {"system": 5}]
)
def test_what_a_pool_cannot_be_made_of_is_refused_by_name(arguments: dict[str, Any]) -> None:
    with pytest.raises(InvalidSettings, match=next(iter(arguments))):
        open_pool(**arguments)


async def test_what_is_no_upstream_is_refused_wherever_one_is_named_and_an_unopened_pool_tells_nothing() -> None:
    unopened = open_pool(connector=FakeServer())
    with pytest.raises(PoolClosed, match="enter it"):
        unopened.events()
    async with open_pool(connector=FakeServer()) as pool:
        for use in (pool.retire, pool.reset_breakers):
            with pytest.raises(InvalidSettings, match="upstream must be an Upstream"):
                use("http://127.0.0.1:1/mcp")  # type: ignore[arg-type]
