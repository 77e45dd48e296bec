"""How sessions, keys and whole pools end: drained, retired, resized, changed and closed. On both event loops."""
# pyright: reportPrivateUsage=false

from random import Random
from typing import Any

import anyio
import pytest

from actors import Lease, Pool, PoolSettings, Tls, Upstream, open_pool
from protocol.errors import ConnectFailed, InvalidSettings, PoolClosed, PoolFull, SessionStateLost, TroupeError
from protocol.pool_events import Retirement
from protocol.pool_messages import SessionOpened
from protocol.session import SessionState
from tests.actors.fakes import BROKEN, ECHO, NOTHING_LEFT, FakeServer, bookkeeping, client_of, settled

pytestmark = pytest.mark.virtual_time

OTHER = Upstream("http://127.0.0.1:2/mcp")


async def number_of(pool: Pool, upstream: Upstream = ECHO, **terms: Any) -> int:
    """Borrow a session for a moment. Which connection it was."""
    async with pool.session(upstream, timeout=5, **terms) as session:
        client = client_of(session)
        return client.server.clients.index(client)


@pytest.mark.holds("S8")
async def test_after_drain_idle_sessions_are_gone_lent_ones_end_as_they_come_back_and_new_ones_are_new() -> None:
    server = FakeServer()
    async with open_pool(connector=server) as pool, anyio.create_task_group() as tasks:
        lent = await pool.acquire(ECHO)
        assert await number_of(pool) == 1
        tasks.start_soon(lent.call_tool, "wait")
        await settled()
        pool.drain()
        await settled()
        assert server.closed == 1
        assert await number_of(pool) == 2
        server.answers.set()
        await settled()
        await lent.call_tool("echo")
        lent.release()
        await settled()
        assert (server.closed, server.live) == (2, 1)
        assert pool.stats().drained == 2


@pytest.mark.holds("S8", "L2")
async def test_a_session_that_is_being_opened_when_the_pool_is_drained_is_opened_anew_for_whoever_waits() -> None:
    server = FakeServer()
    server.gates[1] = anyio.Event()
    async with open_pool(connector=server) as pool, anyio.create_task_group() as tasks:
        got: list[int] = []

        async def wait() -> None:
            got.append(await number_of(pool))

        tasks.start_soon(wait)
        await settled()
        pool.drain()
        await settled()
        assert (server.attempts, got) == (2, [0])


@pytest.mark.holds("S8", "L9")
async def test_a_conversation_whose_session_is_drained_is_told_so_once() -> None:
    server = FakeServer()
    async with open_pool(connector=server) as pool:
        assert await number_of(pool, user="ada", session_id="talk") == 0
        pool.drain()
        with pytest.raises(SessionStateLost):
            await pool.acquire(ECHO, user="ada", session_id="talk")
        assert await number_of(pool, user="ada", session_id="talk") == 1


@pytest.mark.holds("S8")
async def test_retire_drains_one_server_for_everybody_and_no_other() -> None:
    server = FakeServer()
    async with open_pool(connector=server) as pool:
        for user in ("ada", "bob"):
            await number_of(pool, ECHO, user=user)
            await number_of(pool, OTHER, user=user)
        pool.retire(Upstream(ECHO.url, name="the same"))
        await settled()
        assert server.closed == 2
        assert await number_of(pool, OTHER, user="ada") == 1
        assert await number_of(pool, ECHO, user="ada") == 4


@pytest.mark.holds("S8")
@pytest.mark.parametrize(
    "changed",
    [
        Upstream(ECHO.url, tls=Tls(verify=False)),
        Upstream(ECHO.url, http_client=dict),
        Upstream(ECHO.url, sharing=3),
        Upstream(ECHO.url, sharing="exclusive"),
    ],
    ids=["tls", "http_client", "shared", "exclusive"],
)
async def test_a_change_of_how_a_server_is_reached_retires_its_sessions(changed: Upstream) -> None:
    server = FakeServer()
    async with open_pool(connector=server) as pool:
        lent = await pool.acquire(ECHO)
        assert await number_of(pool) == 1
        assert await number_of(pool, changed) == 2
        lent.release()
        await settled()
        assert server.closed == 2
        assert await number_of(pool, changed) == 2
        assert server.openings[-1].upstream is changed


@pytest.mark.holds("S8")
async def test_a_change_of_name_retires_nothing() -> None:
    server = FakeServer()
    async with open_pool(connector=server) as pool:
        assert await number_of(pool, Upstream(ECHO.url, name="one")) == 0
        assert await number_of(pool, Upstream(ECHO.url, name="two")) == 0
        assert await number_of(pool, Upstream(ECHO.url)) == 0


@pytest.mark.holds("S8")
async def test_sessions_for_those_who_waited_before_the_change_are_opened_in_the_new_way() -> None:
    server = FakeServer()
    changed = Upstream(ECHO.url, tls=Tls(verify=False))
    server.hold_openings()
    async with open_pool(connector=server) as pool, anyio.create_task_group() as tasks:
        tasks.start_soon(number_of, pool, ECHO)
        await settled()
        tasks.start_soon(number_of, pool, changed)
        await settled()
        server.opens.set()
        await settled()
        assert server.live >= 1
        assert [opening.upstream for opening in server.openings] == [ECHO] + [changed] * (server.attempts - 1)


async def test_a_pool_made_smaller_ends_idle_sessions_now_and_lent_ones_as_they_come_back() -> None:
    server = FakeServer()
    async with open_pool(PoolSettings(max_size=6), connector=server) as pool:
        lent = [await pool.acquire(ECHO) for _ in range(3)]
        idle = [await pool.acquire(ECHO) for _ in range(3)]
        for lease in idle:
            lease.release()
        pool.resize(max_size=2)
        await settled()
        assert server.live == 3
        for lease in lent:
            lease.release()
        await settled()
        assert server.live == 2
        assert pool.stats().tally.retired[Retirement.RESIZED] == 4
        assert pool.settings.max_size == 2


@pytest.mark.holds("L3")
async def test_a_pool_made_larger_serves_who_waits() -> None:
    server = FakeServer()
    async with open_pool(PoolSettings(max_size=1, max_sessions=1), connector=server) as pool:
        got: list[Lease] = []

        async def wait() -> None:
            got.append(await pool.acquire(ECHO))

        async with anyio.create_task_group() as tasks:
            for _ in range(4):
                tasks.start_soon(wait)
            await settled()
            assert len(got) == 1
            pool.resize(max_size=3)
            await settled()
            assert len(got) == 1, "the whole pool has one"
            pool.resize(max_sessions=3)
            await settled()
            assert len(got) == 3
            got[0].release()
        assert server.peak == 3


@pytest.mark.holds("L5")
async def test_a_smaller_cap_of_all_sessions_closes_idle_ones_and_opens_none_until_there_is_room() -> None:
    server = FakeServer()
    async with open_pool(PoolSettings(max_sessions=6), connector=server) as pool:
        lent = [await pool.acquire(ECHO, user=f"u{number}") for number in range(4)]
        for number in range(4, 6):
            await number_of(pool, user=f"u{number}")
        pool.resize(max_sessions=3, max_keys=3)
        await settled()
        assert server.live == 4
        with pytest.raises((TimeoutError, PoolFull)):
            await pool.acquire(ECHO, user="late", timeout=1)
        for lease in lent:
            lease.release()
        await anyio.sleep(2)
        assert await number_of(pool, user="late") == 6
        assert (server.live, server.peak) == (3, 6)
        assert bookkeeping(pool)["living"] <= 3


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"max_size": 0}, "max_size"),
        ({"min_idle": 50}, "min_idle"),
        ({"nonsense": 1}, "nonsense"),
        ({"with_": 1}, "with_"),
        ({"identity_secret": b"x"}, "identity_secret"),
        ({"max_sessions_per_user": 1}, "max_sessions_per_user"),
    ],
)
async def test_a_resize_that_cannot_be_is_refused_and_nothing_has_changed(changed: dict[str, Any], why: str) -> None:
    async with open_pool(connector=FakeServer()) as pool:
        before = pool.settings
        with pytest.raises(InvalidSettings, match=why):
            pool.resize(**changed)
        assert pool.settings is before


async def test_what_is_resized_before_an_earlier_resize_was_heard_of_adds_to_it() -> None:
    async with open_pool(PoolSettings(max_size=5), connector=FakeServer()) as pool:
        before = pool.settings
        pool._system.is_busy = True  # as while the pump has yet to finish what a dispatch had no time for
        try:
            pool.resize(max_size=2)
            with pytest.raises(InvalidSettings, match="min_idle"):
                pool.resize(min_idle=3, max_keys=7)  # more than there may be by then
            pool.resize(max_idle=5.0)
            assert pool.settings is before
        finally:
            pool._system.is_busy = False
            pool.reset_breakers()  # with this all that was queued is handled
        assert pool.settings == before.with_(max_size=2, max_idle=5.0)
        pool.resize(max_size=4)
        assert pool.settings == before.with_(max_size=4, max_idle=5.0)


async def test_what_was_asked_of_a_pool_that_is_not_open_yet_is_not_done_once_it_is() -> None:
    pool = open_pool(PoolSettings(max_size=5), connector=FakeServer())
    with pytest.raises(PoolClosed):
        pool.resize(max_size=2)
    async with pool:
        pool.resize(max_idle=5.0)
        assert (pool.settings.max_size, pool.settings.max_idle) == (5, 5.0)


async def test_a_pool_that_is_closed_takes_no_orders() -> None:
    async with open_pool(connector=FakeServer()) as pool:
        await pool.close()
        for order in (pool.drain, pool.reset_breakers, lambda: pool.retire(ECHO), lambda: pool.resize(max_size=2)):
            with pytest.raises(PoolClosed):
                order()


@pytest.mark.holds("R4", "L2")
async def test_a_key_that_waits_for_a_place_is_refused_when_the_pool_closes_and_nothing_starts_for_it() -> None:
    server = FakeServer()
    server.hold_closings()
    async with open_pool(PoolSettings(max_keys=1, close_timeout=1), connector=server) as pool:
        await number_of(pool, user="ada")
        errors: list[TroupeError] = []

        async def wait() -> None:
            try:
                await pool.acquire(ECHO, user="bob")
            except TroupeError as error:
                errors.append(error)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await settled()
            assert bookkeeping(pool)["pending"] == 1
            tasks.start_soon(pool.close)
            await settled()
            server.closes.set()
        assert [type(error) for error in errors] == [PoolClosed]
        assert pool._registry is not None
        assert pool._registry.is_alive
        assert pool._system.statistics().actors == 1
        assert (server.attempts, bookkeeping(pool)["pending"]) == (1, 0)


@pytest.mark.holds("R4", "S4", "L2", "L5")
@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("is_loose", [False, True], ids=["held", "loose"])
async def test_a_pool_closed_while_everything_is_going_on_leaves_nothing(seed: int, *, is_loose: bool) -> None:
    random = Random(seed)
    server = FakeServer(is_stateful=bool(seed % 2), is_loose=is_loose)
    server.takes = 0.03
    settings = PoolSettings(max_size=3, max_sessions=8, max_keys=6, min_idle=1, max_lifetime=2, health_interval=0.5)
    leases: list[Lease] = []
    async with open_pool(settings, connector=server) as pool:

        async def live(number: int) -> None:
            while True:
                who = {"user": f"u{number % 9}", "session_id": f"s{number}" if number % 4 == 0 else None}
                try:
                    with anyio.move_on_after(random.random()):
                        lease = await pool.acquire(ECHO, timeout=0.5, **who)  # type: ignore[arg-type]
                        leases.append(lease)
                        await lease.call_tool("echo")
                        await anyio.sleep(random.random() / 5)
                        lease.release()
                except PoolClosed:
                    return
                except (TimeoutError, PoolFull, SessionStateLost, ConnectFailed):
                    await anyio.sleep(0.05)

        async def disturb() -> None:
            while True:
                await anyio.sleep(random.random() / 4)
                if server.reports:
                    random.choice(server.reports)(BROKEN)
                if random.random() < 0.2:
                    pool.drain()
                pool.resize(max_size=random.randint(1, 4))

        async with anyio.create_task_group() as tasks:
            for number in range(30):
                tasks.start_soon(live, number)
            async with anyio.create_task_group() as disturbing:
                disturbing.start_soon(disturb)
                await anyio.sleep(4)
                disturbing.cancel_scope.cancel()
            before = anyio.current_time()
            await pool.close()
            assert anyio.current_time() - before < settings.close_timeout
        assert server.peak <= 8
        assert bookkeeping(pool) | {"living": 0, "refs": 0} == NOTHING_LEFT | {"bound": bookkeeping(pool)["bound"]}
        assert pool._registry is not None
        assert pool._registry.is_alive
    assert (server.now, pool.stats().sessions()) == (0, 0)
    assert pool._system.tree() == ()
    statistics = pool._system.statistics()
    assert (statistics.actors, statistics.effects, statistics.failures) == (0, 0, 0)
    for lease in leases:
        if lease.is_held:
            lease.release()


@pytest.mark.holds("S4")
async def test_sessions_that_never_close_hold_the_end_up_for_close_timeout_and_no_longer() -> None:
    server = FakeServer()
    server.never_closes = True
    async with open_pool(PoolSettings(close_timeout=3), connector=server) as pool:
        for user in range(20):
            await number_of(pool, user=f"u{user}")
        before = anyio.current_time()
        await pool.close()
        assert 2.9 < anyio.current_time() - before < 3.2
        assert pool.stats().sessions(*SessionState) == 0
    assert (server.now, server.closed_in_order) == (0, 20)


@pytest.mark.holds("R4", "L5")
@pytest.mark.parametrize("is_loose", [False, True], ids=["held", "loose"])
async def test_connections_whose_supervisor_has_crashed_are_closed(*, is_loose: bool) -> None:
    server = FakeServer(is_loose=is_loose)
    async with open_pool(connector=server) as pool:
        lease = await pool.acquire(ECHO, user="ada")
        await number_of(pool, user="ada")
        pool._refs.copy().popitem()[1].tell(SessionOpened(99))  # type: ignore[arg-type]
        await settled()
        assert (server.closed, server.now) == (2, 0)
        assert bookkeeping(pool) == NOTHING_LEFT
        lease.release()
