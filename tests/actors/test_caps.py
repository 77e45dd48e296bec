"""The caps of the whole pool: how many sessions and keys there may be, and who makes room for whom."""
# pyright: reportPrivateUsage=false

from collections.abc import Callable
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from actors import Lease, Pool, PoolSettings, open_pool
from actors.key_reports import KeyLeaves
from actors.registry_messages import Find
from actors.supervisor_messages import EndKey
from protocol.errors import AcquireTimeout, ActorStopped, PoolClosed, PoolFull
from protocol.pool_events import KeyEviction, Retirement
from protocol.session import SessionState
from tests.actors.fakes import ECHO, FakeServer, bookkeeping, settled

pytestmark = pytest.mark.virtual_time


def pool_of(server: FakeServer, **settings: Any) -> Pool:
    return open_pool(PoolSettings(**settings), connector=server)


async def crowd(pool: Pool, who: Callable[[int], dict[str, str]], *, callers: int = 200) -> list[int]:
    """So many callers at once, each of whom borrows a session for a while. Those who got theirs."""
    served: list[int] = []

    async def borrow(number: int) -> None:
        async with pool.session(ECHO, **who(number)) as session:  # type: ignore[arg-type]
            await session.call_tool("echo")
            await anyio.sleep(0.05 + number % 7 / 100)
            served.append(number)

    async with anyio.create_task_group() as tasks:
        for number in range(callers):
            tasks.start_soon(borrow, number)
    return served


@pytest.mark.holds("L5", "L2")
@pytest.mark.parametrize("keys", [1, 7, 50])
@pytest.mark.parametrize("is_stateful", [True, False])
async def test_two_hundred_callers_of_many_keys_never_have_more_sessions_than_there_are(
    keys: int, *, is_stateful: bool
) -> None:
    server = FakeServer(is_stateful=is_stateful)
    server.takes = 0.02
    async with pool_of(server, max_sessions=10, max_size=6) as pool:
        served = await crowd(pool, lambda number: {"user": f"user-{number % keys}"})
        assert len(served) == 200
        assert server.peak <= (min(10, 6 * keys))
        assert server.peak >= min(10, keys), "and all there are were used"
        permits = pool.stats().permits
        assert permits is not None
        assert (permits.given, permits.capacity, permits.queued) == (server.now, 10, 0)


@pytest.mark.holds("L5")
async def test_one_user_has_no_more_sessions_than_one_may_have_and_holds_up_nobody_else() -> None:
    server = FakeServer()
    async with pool_of(server, max_sessions_per_user=3, max_sessions=20) as pool:
        greedy = [await pool.acquire(ECHO, user="ada", gateway_id=f"g{number}") for number in range(3)]
        with pytest.raises(AcquireTimeout):
            await pool.acquire(ECHO, user="ada", gateway_id="g3", timeout=0.5)
        async with pool.session(ECHO, user="bob", timeout=0.5):
            pass
        anonymous = [await pool.acquire(ECHO) for _ in range(5)]
        greedy.pop().release()
        late = await pool.acquire(ECHO, user="ada", gateway_id="g3", timeout=0.5)
        assert pool.stats().evictions == 1, "a session of the same user made room"
        for lease in (*greedy, *anonymous, late):
            lease.release()


@pytest.mark.holds("L5")
async def test_two_hundred_callers_of_one_user_and_of_one_gateway_stay_within_their_caps() -> None:
    server = FakeServer()
    server.takes = 0.01
    async with pool_of(server, max_sessions_per_user=4, max_sessions_per_gateway=6, max_sessions=50) as pool:
        served = await crowd(pool, lambda number: {"user": "ada", "gateway_id": f"g{number % 5}"})
        assert (len(served), server.peak) == (200, 4)
        served = await crowd(pool, lambda number: {"user": f"user-{number % 9}", "gateway_id": "g"})
        assert len(served) == 200
        of_gateway = sum(key.sessions() for key in pool.stats().keys if "gateway 'g'" in key.name)
        assert of_gateway <= 6
        assert server.peak <= 4 + 6


@pytest.mark.holds("L5")
async def test_at_the_cap_the_session_that_was_idle_the_longest_makes_room() -> None:
    server = FakeServer()
    async with pool_of(server, max_sessions=3) as pool:
        for user in ("ada", "bob", "cy"):
            async with pool.session(ECHO, user=user):
                pass
            await anyio.sleep(2)
        async with pool.session(ECHO, user="ada"):  # used again, so bob's is the oldest
            pass
        await anyio.sleep(2)
        async with pool.session(ECHO, user="dee"):
            pass
        with_session = {key.name.split("'")[1] for key in pool.stats().keys if key.sessions()}
        assert with_session == {"ada", "cy", "dee"}
        assert pool.stats().tally.retired[Retirement.EVICTED] == 1
        assert server.peak == 3


@pytest.mark.holds("L5", "L9")
async def test_nobody_makes_room_with_anothers_conversation() -> None:
    server = FakeServer()
    async with pool_of(server, max_sessions=2) as pool:
        for user in ("ada", "bob"):
            async with pool.session(ECHO, user=user, session_id=f"of-{user}"):
                pass
            await anyio.sleep(2)
        with pytest.raises(AcquireTimeout):
            await pool.acquire(ECHO, user="cy", timeout=1)
        assert server.closed == 0
        async with pool.session(ECHO, user="ada", timeout=1):  # its own conversation is the tenant's to give up
            pass
        assert (server.closed, server.peak) == (1, 2)
        async with pool.session(ECHO, user="bob", session_id="of-bob", timeout=0):
            pass


@pytest.mark.holds("L3", "L5")
async def test_starved_keys_are_served_in_the_order_in_which_they_asked() -> None:
    server = FakeServer()
    server.takes = 0.01
    async with pool_of(server, max_sessions=1) as pool:
        order: list[int] = []
        held = await pool.acquire(ECHO, user="first")

        async def borrow(number: int) -> None:
            async with pool.session(ECHO, user=f"user-{number}"):
                order.append(number)
                await anyio.sleep(0.01)

        async with anyio.create_task_group() as tasks:
            for number in range(30):
                tasks.start_soon(borrow, number)
                await settled()
            assert bookkeeping(pool)["queued"] == 30
            held.release()
        assert order == list(range(30))
        assert server.peak == 1


@pytest.mark.holds("L5")
async def test_a_busy_key_does_not_hand_its_sessions_to_its_own_waiters_for_ever() -> None:
    server = FakeServer()
    async with pool_of(server, max_sessions=2, max_size=2) as pool, anyio.create_task_group() as tasks:

        async def use_all_the_time() -> None:
            while True:
                async with pool.session(ECHO, user="busy"):
                    await anyio.sleep(0.1)

        for _ in range(20):
            tasks.start_soon(use_all_the_time)
        await anyio.sleep(1)
        before = anyio.current_time()
        async with pool.session(ECHO, user="starved", timeout=10) as session:
            assert anyio.current_time() - before < 1.2, "in its turn: as long as each of the busy ones waits"
            await session.call_tool("echo")
        assert server.peak == 2
        tasks.cancel_scope.cancel()


@pytest.mark.holds("L5", "L2")
async def test_callers_who_give_up_waiting_for_a_permit_leave_nothing_behind() -> None:
    server = FakeServer()
    async with pool_of(server, max_sessions=1) as pool:
        held = await pool.acquire(ECHO, user="first")
        async with anyio.create_task_group() as tasks:
            for number in range(50):

                async def give_up(number: int = number) -> None:
                    with anyio.move_on_after(0.1 + number / 100):
                        await pool.acquire(ECHO, user=f"user-{number}")

                tasks.start_soon(give_up)
            await settled()
            assert bookkeeping(pool)["queued"] == 50
        assert (bookkeeping(pool)["queued"], bookkeeping(pool)["rooms"]) == (0, 0)
        assert pool.stats().waiting == 0
        held.release()
        async with pool.session(ECHO, user="last", timeout=1):
            pass
        assert server.peak == 1


@pytest.mark.holds("L5")
async def test_there_are_never_more_keys_than_there_may_be_and_idle_ones_make_room() -> None:
    server = FakeServer()
    server.takes = 0.01
    async with pool_of(server, max_keys=20) as pool:
        most = 0
        for number in range(60):
            async with pool.session(ECHO, user=f"user-{number}"):
                most = max(most, bookkeeping(pool)["living"])
        assert most == 20
        assert server.peak <= 21
        assert pool.stats().tally.keys_evicted[KeyEviction.ROOM] == 40
        assert len(pool.stats().keys) == 20
        assert pool.stats().opened == 60


@pytest.mark.holds("L2", "L5")
async def test_a_key_that_finds_no_place_is_refused_at_once_and_the_next_idle_one_lets_it_in() -> None:
    async with pool_of(FakeServer(), max_keys=2) as pool:
        one = await pool.acquire(ECHO, user="ada")
        two = await pool.acquire(ECHO, user="bob")
        with pytest.raises(PoolFull, match=r"max_keys \(2\) is reached") as refused:
            await pool.acquire(ECHO, user="cy")
        assert (refused.value.http_status, refused.value.safe_to_retry) == (503, True)
        one.release()
        three = await pool.acquire(ECHO, user="cy", timeout=1)
        two.release()
        three.release()
        assert bookkeeping(pool)["bound"] == 0


@pytest.mark.holds("L5")
async def test_a_crowd_of_new_keys_at_the_cap_is_served_or_refused_and_the_cap_holds() -> None:
    server = FakeServer()
    server.takes = 0.01
    async with pool_of(server, max_keys=10, max_sessions=10) as pool:
        outcomes: list[str] = []

        async def borrow(number: int) -> None:
            try:
                async with pool.session(ECHO, user=f"user-{number}"):
                    await anyio.sleep(0.02)
                outcomes.append("served")
            except PoolFull:
                outcomes.append("refused")

        async with anyio.create_task_group() as tasks:
            for number in range(200):
                tasks.start_soon(borrow, number)
                if number % 10 == 9:
                    await anyio.sleep(0.02)
                    assert bookkeeping(pool)["living"] <= 10
        assert len(outcomes) == 200
        assert outcomes.count("served") >= 10
        assert server.peak <= 10
        assert bookkeeping(pool)["evicted"] == 0


@pytest.mark.holds("L5")
async def test_a_key_that_was_to_make_room_and_could_not_is_later_forgotten_for_its_own_reason() -> None:
    async with pool_of(FakeServer(), max_keys=1, max_idle=5, key_idle=5) as pool:
        (await pool.acquire(ECHO, user="ada")).release()
        lease = await pool.acquire(ECHO, user="ada")  # lent within a second, so it still stands as idle
        with pytest.raises(PoolFull):
            await pool.acquire(ECHO, user="bob")
        lease.release()
        await anyio.sleep(20)
        evicted = pool.stats().tally.keys_evicted
        assert (evicted[KeyEviction.IDLE], evicted[KeyEviction.ROOM]) == (1, 0)


@pytest.mark.holds("L5")
async def test_a_session_that_is_being_closed_counts_until_it_has_ended() -> None:
    server = FakeServer()
    server.hold_closings()
    async with pool_of(server, max_sessions=1) as pool, anyio.create_task_group() as tasks:
        (await pool.acquire(ECHO, user="ada")).release()
        got: list[Lease] = []

        async def borrow() -> None:
            got.append(await pool.acquire(ECHO, user="bob"))

        tasks.start_soon(borrow)
        await settled()
        assert (got, server.now) == ([], 1)
        assert pool.stats().sessions(SessionState.CLOSING) == 1
        server.closes.set()
        await settled()
        assert (len(got), server.now) == (1, 1)


@pytest.mark.holds("L5", "L9")
async def test_no_key_of_anothers_conversation_makes_room_and_ones_own_does() -> None:
    server = FakeServer(is_stateful=False)
    async with pool_of(server, max_keys=2) as pool:
        for user in ("ada", "bob"):
            async with pool.session(ECHO, user=user, session_id=f"of-{user}"):
                pass
        await anyio.sleep(2)
        with pytest.raises(PoolFull, match="max_keys"):
            await pool.acquire(ECHO, user="cy")
        async with pool.session(ECHO, user="ada", timeout=1):
            pass
        assert bookkeeping(pool)["living"] == 2
        assert bookkeeping(pool)["bound"] == 1


@pytest.mark.holds("L3", "L5", "L9")
async def test_who_comes_at_the_cap_waits_for_the_key_of_a_conversation_that_is_still_being_closed() -> None:
    server = FakeServer()
    server.hold_closings()
    async with pool_of(server, max_keys=4) as pool, anyio.create_task_group() as tasks:
        for user in ("ada", "bob"):
            async with pool.session(ECHO, user=user, session_id=f"of-{user}"):
                pass
        (await pool.acquire(ECHO, user="idle")).release()
        held = await pool.acquire(ECHO, user="busy")
        got: list[str] = []

        async def borrow(user: str) -> None:
            async with pool.session(ECHO, user=user):
                got.append(user)

        pool.end("of-ada")
        tasks.start_soon(borrow, "cy")
        await settled()
        assert (server.closed_in_order, bookkeeping(pool)["pending"]) == (1, 1), "nobody else is asked to end for it"
        tasks.start_soon(borrow, "dee")
        await settled()
        assert (server.closed_in_order, bookkeeping(pool)["pending"]) == (2, 2), "one newcomer waits for one key"
        with pytest.raises(PoolFull, match=r"max_keys \(4\) is reached"):
            await pool.acquire(ECHO, user="eve")
        assert got == []
        server.closes.set()
        await settled()
        assert sorted(got) == ["cy", "dee"]
        evicted = pool.stats().tally.keys_evicted
        assert (evicted[KeyEviction.ENDED], evicted[KeyEviction.ROOM]) == (1, 1)
        async with pool.session(ECHO, user="bob", session_id="of-bob", timeout=0):
            held.release()
        assert bookkeeping(pool)["evicted"] == 0


@pytest.mark.holds("L3", "L5")
async def test_who_comes_at_the_cap_waits_for_a_key_that_has_said_that_it_leaves() -> None:
    async with pool_of(FakeServer(), max_keys=1) as pool, anyio.create_task_group() as tasks:
        held = await pool.acquire(ECHO, user="ada")
        (leaving,) = pool._registry_actor._living
        assert pool._registry is not None
        pool._registry.tell(KeyLeaves(leaving))
        got: list[Lease] = []

        async def borrow() -> None:
            got.append(await pool.acquire(ECHO, user="bob"))

        tasks.start_soon(borrow)
        await settled()
        assert (got, bookkeeping(pool)["pending"]) == ([], 1)
        leaving.ref.tell(EndKey())
        await settled()
        assert len(got) == 1
        held.release()


@pytest.mark.holds("L2")
async def test_a_caller_whose_key_is_evicted_each_time_before_it_asks_is_told_that_the_pool_is_full(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Ended:
        """The registry, and a supervisor that has ended by the time it is asked."""

        is_alive = True

        async def ask(self, request: object, *, timeout: float) -> "Ended":
            await anyio.lowlevel.checkpoint()
            if isinstance(request, Find):
                return self
            raise ActorStopped("evicted")

        def tell(self, message: object) -> None:
            """It has ended."""

    async with pool_of(FakeServer()) as pool:
        ended = Ended()
        monkeypatch.setattr(pool, "_registry", ended)
        with pytest.raises(PoolFull, match="max_keys is reached, and other keys took the place of the pool of"):
            await pool.acquire(ECHO, user="ada")
        ended.is_alive = False
        with pytest.raises(PoolClosed):
            await pool.acquire(ECHO, user="ada")
        monkeypatch.undo()


@pytest.mark.holds("L5")
async def test_a_busy_key_of_shared_sessions_makes_way_too() -> None:
    server = FakeServer(is_stateful=False)
    async with pool_of(server, max_sessions=1) as pool, anyio.create_task_group() as tasks:

        async def use_all_the_time(number: int) -> None:
            await anyio.sleep(number / 50)
            while True:
                async with pool.session(ECHO, user="busy"):
                    await anyio.sleep(0.1)

        for number in range(5):  # so there is always somebody on the session
            tasks.start_soon(use_all_the_time, number)
        await anyio.sleep(1)
        async with pool.session(ECHO, user="starved", timeout=10) as session:
            await session.call_tool("echo")
        tasks.cancel_scope.cancel()
