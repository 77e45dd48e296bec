"""What a pool does by itself while nobody asks: replacing, checking, warming and forgetting. On virtual time."""

from typing import Any

import anyio
import pytest

from actors import Pool, PoolSettings, open_pool
from actors.acquire import Acquire
from actors.registry_messages import Find
from actors.supervisor_messages import NeverAsked
from protocol.errors import ConnectFailed
from protocol.health import ProbeResult
from protocol.identity import Identities
from protocol.keys import key_of
from protocol.pool_events import KeyEviction, Retirement
from protocol.session import SessionState
from tests.actors.fakes import ECHO, NOTHING_LEFT, FakeServer, bookkeeping, client_of, settled

pytestmark = pytest.mark.virtual_time


def pool_of(server: FakeServer, **settings: Any) -> Pool:
    """A pool whose upkeep does only what the test is about."""
    still: dict[str, Any] = {"health_interval": None, "max_lifetime": None, "max_idle": None}
    return open_pool(PoolSettings(**{**still, **settings}), connector=server)


async def use(pool: Pool, seconds: float = 0.0, **terms: Any) -> int:
    """Borrow a session for so long. Which connection it was."""
    async with pool.session(ECHO, **terms) as session:
        await session.call_tool("echo")
        await anyio.sleep(seconds)
        client = client_of(session)
        return client.server.clients.index(client)


@pytest.mark.holds("S7")
async def test_sessions_opened_together_do_not_end_together() -> None:
    server = FakeServer()
    server.takes = 0.01
    ends: set[float] = set()
    async with pool_of(server, max_lifetime=20, lifetime_jitter=0.5, max_size=10) as pool:
        leases = [await pool.acquire(ECHO) for _ in range(10)]
        for lease in leases:
            lease.release()
        for _ in range(400):
            before = server.closed
            await anyio.sleep(0.05)
            if server.closed > before:
                ends.add(round(anyio.current_time(), 2))
        assert server.closed >= 10
        assert len(ends) >= 5
        assert pool.stats().expired == server.closed


@pytest.mark.holds("S7", "L2")
@pytest.mark.parametrize(
    "held",
    [0.0, 0.09],
)
async def test_while_it_is_used_a_session_is_replaced_ahead_and_no_caller_ever_waits_for_an_opening(
    held: float,
) -> None:
    server = FakeServer()
    server.takes = 0.2
    async with pool_of(server, max_lifetime=5, lifetime_jitter=0.2) as pool:
        await use(pool)
        for _ in range(400):
            before = anyio.current_time()
            lease = await pool.acquire(ECHO)
            assert anyio.current_time() == before
            await anyio.sleep(held)
            lease.release()
            await anyio.sleep(0.1 - held)
        stats = pool.stats()
        assert (stats.hits, stats.misses) == (400, 1)
        assert 7 <= stats.opened <= 16
        assert server.peak == 2
        assert stats.tally.retired[Retirement.EXPIRED] >= 7


@pytest.mark.holds("S7")
async def test_a_lent_session_that_is_too_old_ends_when_it_comes_back() -> None:
    server = FakeServer()
    async with pool_of(server, max_lifetime=5) as pool:
        lease = await pool.acquire(ECHO)
        await anyio.sleep(7)
        await lease.call_tool("echo")
        assert server.closed == 0
        lease.release()
        await settled()
        assert server.closed == 1
        assert await use(pool) == 1


@pytest.mark.holds("S7")
async def test_an_idle_session_ends_after_max_idle_and_one_that_is_used_does_not() -> None:
    server = FakeServer()
    async with pool_of(server, max_idle=5) as pool:
        for _ in range(10):
            assert await use(pool) == 0
            await anyio.sleep(4)
        await anyio.sleep(1.5)
        assert (server.closed, pool.stats().sessions_reaped) == (1, 1)
        assert await use(pool) == 1


@pytest.mark.holds("S7", "L2")
async def test_min_idle_sessions_are_kept_ready_beside_those_that_are_used() -> None:
    server = FakeServer()
    server.takes = 0.5
    async with pool_of(server, min_idle=3, max_idle=5, max_size=10) as pool:
        first = await pool.acquire(ECHO)
        await anyio.sleep(2)
        assert pool.stats().sessions(SessionState.IDLE) == 3
        before = anyio.current_time()
        burst = [await pool.acquire(ECHO) for _ in range(3)]
        assert anyio.current_time() == before
        await anyio.sleep(2)
        assert pool.stats().sessions(SessionState.IDLE) == 3
        for lease in (first, *burst):
            lease.release()
        await anyio.sleep(10)
        assert pool.stats().sessions() == 3, "those that are too many ended, and the spares did not"


@pytest.mark.holds("S7", "L5")
async def test_spares_go_without_where_the_pool_is_full_and_never_push_anybody_out() -> None:
    server = FakeServer()
    async with pool_of(server, min_idle=2, max_sessions=3) as pool:
        await use(pool, user="ada")
        await anyio.sleep(3)
        held = [await pool.acquire(ECHO, user="bob", timeout=1) for _ in range(3)]
        await anyio.sleep(20)
        assert server.peak == 3
        for lease in held:
            lease.release()


@pytest.mark.holds("S7")
async def test_spares_end_with_the_use_of_their_key() -> None:
    server = FakeServer()
    async with pool_of(server, min_idle=2, max_idle=2, key_idle=10) as pool:
        await use(pool)
        await anyio.sleep(8)
        assert server.live == 2
        await anyio.sleep(20)
        assert server.live == 0
        assert bookkeeping(pool) == NOTHING_LEFT


@pytest.mark.holds("S6", "S7")
async def test_a_healthy_session_is_checked_when_it_was_idle_and_stays() -> None:
    server = FakeServer()
    async with pool_of(server, health_interval=5, health_probes=("ping",)) as pool:
        for _ in range(10):
            await use(pool)
            await anyio.sleep(1)
        assert server.probed == [], "what was used a moment ago is not probed"
        await anyio.sleep(20)
        assert server.probed == [(0, "ping")] * 4
        assert await use(pool) == 0
        assert (pool.stats().tally.checks, pool.stats().tally.health_failures) == (4, 0)


@pytest.mark.holds("S6", "S7", "S2")
async def test_a_dead_session_is_found_and_replaced_before_the_next_caller_comes() -> None:
    server = FakeServer()
    async with pool_of(server, health_interval=5, min_idle=1, health_probes=("ping",)) as pool:
        await use(pool)
        server.health[0] = ProbeResult.DEAD
        await anyio.sleep(6)
        assert server.closed == 1
        before = pool.stats().misses
        assert await use(pool) == 1
        assert pool.stats().misses == before
        assert pool.stats().tally.health_failures == 1
        assert pool.stats().tally.retired[Retirement.UNHEALTHY] == 1


@pytest.mark.holds("S7", "S6", "L2")
async def test_a_probe_is_never_on_a_callers_path() -> None:
    server = FakeServer()
    async with pool_of(server, health_interval=5, health_timeout=2, health_probes=("ping",)) as pool:
        await use(pool)
        server.hold_probes()
        await anyio.sleep(5.5)
        assert pool.stats().sessions(SessionState.CHECKING) == 1
        before = anyio.current_time()
        lease = await pool.acquire(ECHO)
        assert (anyio.current_time(), client_of(lease)) == (before, server.clients[0])
        server.probes.set()
        await settled()
        await lease.call_tool("echo")
        lease.release()
        assert await use(pool) == 0


@pytest.mark.holds("S4", "S6")
async def test_a_probe_that_hangs_is_given_up_and_the_session_replaced() -> None:
    server = FakeServer()
    server.hold_probes()
    async with pool_of(server, health_interval=5, health_timeout=2, health_probes=("ping", "discover")) as pool:
        await use(pool)
        await anyio.sleep(9.5)
        assert server.probed == [(0, "ping"), (0, "discover")]
        assert (server.closed, pool.stats().tally.health_failures) == (1, 1)
        assert await use(pool) == 1


@pytest.mark.holds("S4", "S6")
async def test_a_session_whose_probe_hangs_can_be_closed() -> None:
    server = FakeServer()
    server.hold_probes()
    async with pool_of(server, health_interval=5, health_timeout=50, health_probes=("ping",)) as pool:
        await use(pool)
        await anyio.sleep(6)
        pool.drain()
        await settled()
        assert server.closed == 1
        assert bookkeeping(pool)["effects"] == 0


@pytest.mark.holds("S6")
async def test_what_a_server_does_not_support_is_asked_in_another_way() -> None:
    server = FakeServer()
    server.health[0] = ProbeResult.UNSUPPORTED
    async with pool_of(server, health_interval=5, health_probes=("ping", "list_tools", "skip")) as pool:
        await use(pool)
        await anyio.sleep(6)
        assert server.probed == [(0, "ping"), (0, "list_tools")]
        assert await use(pool) == 0


@pytest.mark.holds("C10")
async def test_a_key_that_nobody_uses_is_forgotten_and_its_actor_ends() -> None:
    server = FakeServer()
    async with pool_of(server, max_idle=3, key_idle=5) as pool:
        for user in ("ada", "bob", "cy"):
            await use(pool, user=user)
        await anyio.sleep(4)
        assert (bookkeeping(pool)["living"], server.live) == (3, 0)
        await anyio.sleep(5)
        assert bookkeeping(pool) == NOTHING_LEFT
        assert pool.stats().tally.keys_evicted[KeyEviction.IDLE] == 3
        assert await use(pool, user="ada") == 3


@pytest.mark.holds("C10", "L5")
async def test_a_key_whose_server_was_never_reached_is_forgotten_too() -> None:
    server = FakeServer()
    server.fails = ConnectFailed("refused", step="connect")
    async with pool_of(server, key_idle=5, breaker_threshold=100) as pool:
        for number in range(20):
            with pytest.raises(ConnectFailed):
                await pool.acquire(ECHO, user=f"user-{number}")
        assert bookkeeping(pool)["living"] == 20
        await anyio.sleep(6)
        assert bookkeeping(pool) == NOTHING_LEFT


@pytest.mark.holds("L8")
async def test_a_session_is_not_lent_beyond_the_credentials_that_it_was_last_used_with() -> None:
    server = FakeServer()
    async with pool_of(server) as pool:
        assert await use(pool, user="ada", expires_in=10) == 0
        await anyio.sleep(5)
        assert await use(pool, user="ada", expires_in=10) == 0
        await anyio.sleep(9)
        assert await use(pool, user="ada", expires_in=3) == 0
        await anyio.sleep(4)
        assert server.closed == 1
        assert pool.stats().tally.retired[Retirement.CREDENTIALS_EXPIRED] == 1
        assert await use(pool, user="ada") == 1


@pytest.mark.holds("L8", "S7")
async def test_a_lease_held_past_the_end_of_its_credentials_ends_its_session_and_the_waiter_gets_a_new_one() -> None:
    server = FakeServer()
    async with pool_of(server, max_size=1) as pool, anyio.create_task_group() as tasks:
        lease = await pool.acquire(ECHO, user="ada", expires_in=2)
        got: list[int] = []

        async def wait() -> None:
            got.append(await use(pool, user="ada", expires_in=50))

        tasks.start_soon(wait)
        await anyio.sleep(3)
        lease.release()
        await anyio.sleep(1)
        assert got == [1]


@pytest.mark.holds("L8")
async def test_spares_are_not_warmed_with_credentials_that_have_ended() -> None:
    server = FakeServer()
    async with pool_of(server, min_idle=2, max_lifetime=20) as pool:
        await use(pool, user="ada", expires_in=5)
        await anyio.sleep(4)
        assert server.live == 3
        await anyio.sleep(30)
        assert (server.live, server.attempts) == (0, 3)


@pytest.mark.holds("L5", "L2")
async def test_a_key_whose_caller_was_gone_before_it_asked_is_forgotten_and_one_that_is_used_is_not() -> None:
    async with pool_of(FakeServer()) as pool:
        registry = pool._registry  # pyright: ignore[reportPrivateUsage]
        assert registry is not None
        caller = Identities(secret=b"x").who(None, "ada")
        supervisor = await registry.ask(Find(Acquire(key_of(caller, ECHO, None, None), ECHO, caller)))
        assert bookkeeping(pool)["living"] == 1
        supervisor.tell(NeverAsked())
        await settled()
        assert bookkeeping(pool)["living"] == 0
        await use(pool, user="ada")
        (used,) = pool._registry_actor.refs.values()  # pyright: ignore[reportPrivateUsage]
        used.tell(NeverAsked())
        await settled()
        assert bookkeeping(pool)["living"] == 1
