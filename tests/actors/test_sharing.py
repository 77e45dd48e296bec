"""How many leases a session has at once: one, several, or as the server turns out to be. On both event loops."""

from collections import Counter
from typing import Any

import anyio
import pytest

from actors import Lease, Pool, PoolSettings, Upstream, open_pool
from protocol.errors import LeaseReleased
from protocol.session import SessionState
from tests.actors.fakes import BROKEN, ECHO, FakeServer, client_of, settled

pytestmark = pytest.mark.virtual_time


async def take(pool: Pool, number: int, upstream: Upstream = ECHO, **terms: Any) -> list[Lease]:
    """So many leases, asked for at once."""
    leases: list[Lease] = []

    async def borrow() -> None:
        leases.append(await pool.acquire(upstream, **terms))

    async with anyio.create_task_group() as tasks:
        for _ in range(number):
            tasks.start_soon(borrow)
    return leases


def lent(leases: list[Lease]) -> list[int]:
    """How many leases each session has, the most first."""
    return sorted(Counter(id(client_of(lease)) for lease in leases).values(), reverse=True)


def release(leases: list[Lease]) -> None:
    for lease in leases:
        lease.release()


@pytest.mark.holds("L1")
async def test_a_server_that_keeps_state_lends_each_session_to_one_caller() -> None:
    server = FakeServer(is_stateful=True)
    async with open_pool(PoolSettings(max_size=20), connector=server) as pool:
        leases = await take(pool, 12)
        assert lent(leases) == [1] * 12
        assert pool.stats().keys[0].stateful
        release(leases)


@pytest.mark.holds("L1", "L3")
@pytest.mark.parametrize("is_loose", [False, True], ids=["held", "loose"])
async def test_those_who_wait_for_a_server_that_turns_out_stateless_share_its_first_session(*, is_loose: bool) -> None:
    server = FakeServer(is_stateful=False, is_loose=is_loose)
    server.gates = {number: anyio.Event() for number in range(2, 30)}  # only the first opens
    async with open_pool(PoolSettings(max_size=20), connector=server) as pool:
        leases = await take(pool, 20)
        assert lent(leases) == [20]
        assert (server.live, pool.stats().keys[0].stateful) == (1, False)
        for gate in server.gates.values():
            gate.set()
        release(leases)
        again = await take(pool, 100)
        assert pool.stats().misses == 20, "from then on nobody waits"
        release(again)


@pytest.mark.holds("L1")
async def test_before_its_server_is_known_a_key_opens_one_session_for_each_caller_and_no_more() -> None:
    server = FakeServer(is_stateful=False)
    server.hold_openings()
    leases: list[Lease] = []

    async def borrow_nine() -> None:
        leases.extend(await take(pool, 9))

    async with open_pool(PoolSettings(max_size=4), connector=server) as pool, anyio.create_task_group() as tasks:
        tasks.start_soon(borrow_nine)
        await settled()
        assert server.attempts == 4
        server.opens.set()
        await settled()
        assert pool.stats().keys[0].counts.leases == len(leases) == 9
        release(leases)


@pytest.mark.holds("L1", "L3")
async def test_a_session_has_shared_leases_and_the_next_caller_gets_another_one() -> None:
    server = FakeServer(is_stateful=False)
    async with open_pool(PoolSettings(shared_leases=3, max_size=3), connector=server) as pool:
        (await pool.acquire(ECHO)).release()
        leases = await take(pool, 7)
        assert lent(leases) == [3, 3, 1]
        release(leases)


@pytest.mark.holds("L1")
@pytest.mark.parametrize("is_stateful", [True, False])
@pytest.mark.parametrize(("sharing", "expected"), [("exclusive", [1, 1, 1, 1]), (1, [1, 1, 1, 1]), (2, [2, 2])])
async def test_an_upstream_may_say_how_its_sessions_are_shared(
    sharing: Any, expected: list[int], *, is_stateful: bool
) -> None:
    server = FakeServer(is_stateful=is_stateful)
    upstream = Upstream(ECHO.url, sharing=sharing)
    async with open_pool(connector=server) as pool:
        (await pool.acquire(upstream)).release()
        leases = await take(pool, 4, upstream)
        assert lent(leases) == expected
        release(leases)


@pytest.mark.holds("L1", "S8")
async def test_a_changed_number_of_leases_holds_for_the_sessions_that_are_opened_then() -> None:
    server = FakeServer()
    async with open_pool(connector=server) as pool:
        (await pool.acquire(Upstream(ECHO.url, sharing=4))).release()
        leases = await take(pool, 4, Upstream(ECHO.url, sharing="exclusive"))
        assert lent(leases) == [1, 1, 1, 1]
        release(leases)


@pytest.mark.holds("L1", "L5")
@pytest.mark.parametrize("places", [1, 3])
async def test_under_concurrency_no_session_ever_has_more_leases_than_places_nor_two_identities(places: int) -> None:
    server = FakeServer(is_stateful=False)
    server.takes = 0.01
    settings = PoolSettings(shared_leases=places, max_size=3, max_sessions=9, max_lifetime=1)
    holders: dict[int, list[str]] = {}
    served: list[str] = []
    async with open_pool(settings, connector=server) as pool:

        async def work(number: int) -> None:
            token = f"Bearer {number % 4}"
            for turn in range(10):
                async with pool.session(ECHO, headers={"Authorization": token}) as session:
                    holding = holders.setdefault(id(client_of(session)), [])
                    holding.append(token)
                    assert len(holding) <= places
                    assert set(holding) == {token}
                    await anyio.sleep((number + turn) % 5 / 50)
                    holding.remove(token)
                    served.append(token)

        async with anyio.create_task_group() as tasks:
            for number in range(60):
                tasks.start_soon(work, number)
        assert len(served) == 600
        assert server.peak <= 9


@pytest.mark.holds("L3", "L4")
async def test_a_released_place_goes_to_the_oldest_waiter_while_others_keep_theirs() -> None:
    server = FakeServer(is_stateful=False)
    async with open_pool(PoolSettings(shared_leases=2, max_size=1), connector=server) as pool:
        (await pool.acquire(ECHO)).release()
        first, second = await take(pool, 2)
        order: list[int] = []

        async def wait(number: int) -> None:
            async with pool.session(ECHO):
                order.append(number)

        async with anyio.create_task_group() as tasks:
            for number in range(4):
                tasks.start_soon(wait, number)
                await settled()
            assert order == []
            first.release()
            await settled()
            assert order == [0, 1, 2, 3]
        await second.call_tool("echo")
        with pytest.raises(LeaseReleased):
            first.release()
        second.release()
        assert pool.stats().sessions(SessionState.IDLE) == 1


@pytest.mark.holds("L4")
async def test_calls_that_one_lease_left_under_way_hold_up_its_place_only() -> None:
    server = FakeServer(is_stateful=False)
    settings = PoolSettings(shared_leases=2, max_size=1, settle_timeout=3)
    async with open_pool(settings, connector=server) as pool, anyio.create_task_group() as tasks:
        (await pool.acquire(ECHO)).release()
        one, other = await take(pool, 2)
        tasks.start_soon(one.call_tool, "wait")
        await settled()
        one.release()
        assert pool.stats().keys[0].counts.leases == 2
        other.release()
        third = await pool.acquire(ECHO, timeout=0)
        assert server.live == 1
        await anyio.sleep(4)
        assert pool.stats().sessions(SessionState.RETIRING) == 1, "the calls took too long: it ends with its last lease"
        await third.call_tool("echo")
        third.release()
        await settled()
        assert server.live == 0
        server.answers.set()


@pytest.mark.holds("S2", "S9")
async def test_a_shared_session_that_breaks_is_lent_no_more_and_ends_with_its_last_lease() -> None:
    server = FakeServer(is_stateful=False)
    async with open_pool(connector=server) as pool:
        (await pool.acquire(ECHO)).release()
        leases = await take(pool, 3)
        server.reports[0](BROKEN)
        fresh = await pool.acquire(ECHO)
        assert client_of(fresh) is server.clients[1]
        release(leases[:2])
        await settled()
        assert server.closed == 0
        leases[2].release()
        await settled()
        assert server.closed == 1
        fresh.release()


@pytest.mark.holds("L1")
async def test_a_session_that_is_lent_again_sends_the_headers_of_its_new_lease() -> None:
    server = FakeServer()
    async with open_pool(connector=server) as pool:
        for trace in ("1", "2"):
            async with pool.session(ECHO, headers={"X-Trace": trace}, user="ada"):
                guard: Any = server.connections[0].guard
                assert guard.headers == {"X-Trace": trace}
        assert server.live == 1


@pytest.mark.holds("L1", "L8")
async def test_each_lease_of_a_shared_session_sends_its_own_headers() -> None:
    server = FakeServer(is_stateful=False)
    async with open_pool(connector=server) as pool:
        (await pool.acquire(ECHO, user="ada")).release()
        async with (
            pool.session(ECHO, headers={"X-Trace": "1"}, user="ada") as one,
            pool.session(ECHO, headers={"X-Trace": "2"}, user="ada") as two,
        ):
            for session in (one, two, one):
                await session.call_tool("echo")
            await two.client.call_tool("echo")
        assert server.live == 1
        assert [headers["X-Trace"] for headers in server.headers_of_calls] == ["1", "2", "1", "2"]
