"""Conversations that are over: because the pool was told so, and because a crash has cost them their state."""
# pyright: reportPrivateUsage=false

from typing import Any

import anyio
import pytest

from actors import Pool, PoolSettings, open_pool
from protocol.errors import AcquireTimeout, ConversationEnded, InvalidSettings, PoolClosed, SessionStateLost
from protocol.pool_events import KeyEviction
from protocol.pool_messages import SessionOpened
from tests.actors.fakes import BROKEN, ECHO, NOTHING_LEFT, FakeServer, bookkeeping, settled
from tests.actors.test_sticky import OTHER, number_of

pytestmark = pytest.mark.virtual_time

TALK: dict[str, Any] = {"user": "ada", "session_id": "talk"}


async def crash(pool: Pool) -> None:
    """Let every supervisor fail."""
    for ref in list(pool._refs.values()):
        ref.tell(SessionOpened(99))  # type: ignore[arg-type]
    await settled()


@pytest.mark.holds("L7", "L9", "C10")
@pytest.mark.parametrize("is_stateful", [True, False])
async def test_a_conversation_that_is_ended_is_closed_in_good_order_on_all_servers_and_forgotten(
    *, is_stateful: bool
) -> None:
    server = FakeServer(is_stateful=is_stateful)
    async with open_pool(PoolSettings(health_interval=None), connector=server) as pool:
        for upstream in (ECHO, OTHER):
            await number_of(pool, upstream, **TALK)
        await number_of(pool, user="ada", session_id="another")
        pool.end("talk")
        await settled()
        assert (server.closed, server.closed_in_order, server.live) == (2, 2, 1)
        assert bookkeeping(pool)["bound"] == 1
        assert pool.stats().tally.keys_evicted[KeyEviction.ENDED] == 2
        assert await number_of(pool, user="ada", session_id="another") == 2
        assert await number_of(pool, user="bob", session_id="talk") == 3, "the id is anybody's again"
        pool.end("talk")
        pool.end("another")
        await settled()
        assert bookkeeping(pool) == NOTHING_LEFT


@pytest.mark.holds("L6", "L9")
async def test_who_comes_right_after_the_end_begins_afresh() -> None:
    server = FakeServer()
    server.hold_closings()
    async with open_pool(connector=server) as pool:
        assert await number_of(pool, **TALK) == 0
        pool.end("talk")
        assert await number_of(pool, **TALK) == 1, "while the one before is still being closed"
        server.closes.set()
        await settled()
        assert await number_of(pool, **TALK) == 1
        assert server.live == 1


@pytest.mark.holds("L9")
async def test_what_was_to_be_told_of_a_conversation_goes_with_it() -> None:
    server = FakeServer()
    async with open_pool(connector=server) as pool:
        await number_of(pool, **TALK)
        server.reports[0](BROKEN)
        await settled()
        pool.end("talk")
        assert await number_of(pool, **TALK) == 1


@pytest.mark.holds("L2")
async def test_who_waits_when_the_conversation_ends_is_told_so_and_who_holds_a_lease_holds_nothing_up() -> None:
    server = FakeServer()
    async with open_pool(connector=server) as pool, anyio.create_task_group() as tasks:
        told: list[str] = []

        async def wait() -> None:
            with pytest.raises(ConversationEnded) as ended:
                await pool.acquire(OTHER, **TALK)
            told.append(str(ended.value))

        lease = await pool.acquire(ECHO, **TALK)
        server.hold_openings()
        tasks.start_soon(wait)
        await settled()
        pool.end("talk")
        await settled()
        assert len(told) == 1
        assert "this conversation was ended while its caller waited" in told[0]
        assert server.live == 0
        lease.release()
        assert bookkeeping(pool) == NOTHING_LEFT


@pytest.mark.holds("L2", "L5")
async def test_a_key_that_waits_for_its_place_is_ended_with_its_conversation() -> None:
    server = FakeServer()
    async with open_pool(PoolSettings(max_keys=1), connector=server) as pool, anyio.create_task_group() as tasks:
        await number_of(pool, user="bob")
        server.hold_closings()
        told: list[str] = []

        async def wait() -> None:
            with pytest.raises(ConversationEnded) as ended:
                await pool.acquire(ECHO, **TALK)
            told.append(str(ended.value))

        tasks.start_soon(wait)
        await settled()
        assert (bookkeeping(pool)["joining"], told) == (1, [])
        pool.end("talk")
        await settled()
        assert "was ended while its caller waited" in told[0]
        server.closes.set()
        await settled()
        assert bookkeeping(pool) == NOTHING_LEFT


async def test_the_end_of_what_is_not_known_changes_nothing() -> None:
    server = FakeServer()
    async with open_pool(connector=server) as pool:
        await number_of(pool, **TALK)
        before = bookkeeping(pool)
        pool.end("another")
        await settled()
        assert bookkeeping(pool) == before
        with pytest.raises(InvalidSettings, match="session_id must be 1 to 128"):
            pool.end("no such id")
        assert await number_of(pool, **TALK) == 0
    with pytest.raises(PoolClosed):
        pool.end("talk")


@pytest.mark.holds("L7")
async def test_without_the_check_a_conversation_ends_for_every_principal() -> None:
    server = FakeServer()
    async with open_pool(PoolSettings(check_principal=False), connector=server) as pool:
        for user in ("ada", "bob"):
            await number_of(pool, user=user, session_id="talk")
        pool.end("talk")
        await settled()
        assert server.live == 0
        assert bookkeeping(pool) == NOTHING_LEFT


@pytest.mark.holds("L9")
async def test_a_conversation_whose_supervisor_crashed_is_told_once_that_its_state_is_lost() -> None:
    server = FakeServer()
    async with open_pool(connector=server) as pool:
        await number_of(pool, **TALK)
        await number_of(pool, user="ada")
        await crash(pool)
        assert bookkeeping(pool)["lost"] == 1
        assert await number_of(pool, user="ada") == 2, "which had no state"
        await crash(pool)
        assert bookkeeping(pool)["lost"] == 1
        with pytest.raises(SessionStateLost):
            await pool.acquire(ECHO, **TALK)
        assert bookkeeping(pool)["lost"] == 0
        assert await number_of(pool, **TALK) == 3


@pytest.mark.holds("L9", "L7")
async def test_a_loss_that_was_not_told_yet_outlives_another_crash_and_keeps_the_id_bound() -> None:
    server = FakeServer()
    async with open_pool(connector=server) as pool:
        await number_of(pool, **TALK)
        server.reports[0](BROKEN)
        await settled()
        await crash(pool)
        with pytest.raises(Exception, match="belongs to somebody else"):
            await pool.acquire(ECHO, user="bob", session_id="talk")
        with pytest.raises(SessionStateLost):
            await pool.acquire(ECHO, **TALK)


@pytest.mark.holds("L9")
@pytest.mark.parametrize("is_stateful", [True, False])
async def test_a_crash_that_cost_no_state_is_not_told(*, is_stateful: bool) -> None:
    server = FakeServer(is_stateful=is_stateful)
    async with open_pool(connector=server) as pool:
        if is_stateful:
            with pytest.raises(TimeoutError):
                await pool.acquire(ECHO, timeout=0, **TALK)
            await settled()
        else:
            await number_of(pool, **TALK)
        await crash(pool)
        assert bookkeeping(pool) == NOTHING_LEFT
        await number_of(pool, **TALK)


@pytest.mark.holds("L9", "C10")
async def test_as_many_losses_are_remembered_as_there_may_be_keys_and_the_end_forgets_them() -> None:
    server = FakeServer()
    async with open_pool(PoolSettings(max_keys=3), connector=server) as pool:
        for number in range(5):
            await number_of(pool, user="ada", session_id=f"talk-{number}")
            await crash(pool)
        assert bookkeeping(pool)["lost"] == 3
        pool.end("talk-4")
        await settled()
        assert bookkeeping(pool)["lost"] == 2
        for number in (0, 1, 4):
            await number_of(pool, user="ada", session_id=f"talk-{number}")
            await crash(pool)


@pytest.mark.holds("L3")
async def test_where_its_key_has_the_last_place_who_comes_right_after_the_end_waits_for_that() -> None:
    server = FakeServer()
    server.hold_closings()
    async with open_pool(PoolSettings(max_keys=1), connector=server) as pool, anyio.create_task_group() as tasks:
        await number_of(pool, **TALK)
        pool.end("talk")
        got: list[int] = []

        async def wait() -> None:
            got.append(await number_of(pool, **TALK))

        tasks.start_soon(wait)
        await settled()
        assert bookkeeping(pool)["pending"] == 1
        server.closes.set()
        await settled()
        assert got == [1]
        assert pool.stats().tally.keys_evicted[KeyEviction.ENDED] == 1


@pytest.mark.holds("L2", "S4")
async def test_who_waits_while_the_supervisor_crashes_waits_no_longer_than_asked_for() -> None:
    server = FakeServer()
    server.hold_openings()
    async with open_pool(connector=server) as pool, anyio.create_task_group() as tasks:
        with pytest.raises(AcquireTimeout):
            await pool.acquire(ECHO, timeout=0)  # so that the key is there, and is asked at once
        before = anyio.current_time()
        waited: list[float] = []

        async def wait() -> None:
            with pytest.raises(AcquireTimeout):
                await pool.acquire(ECHO, timeout=4)
            waited.append(anyio.current_time() - before)

        tasks.start_soon(wait)
        await anyio.sleep(3)
        await crash(pool)
        await anyio.sleep(5)
        assert waited == [pytest.approx(4)]
