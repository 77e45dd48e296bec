"""Conversations: one upstream session for each downstream session, bound to whom it belongs to. On both event loops."""
# pyright: reportPrivateUsage=false

from collections.abc import Callable
from functools import partial
from operator import itemgetter
from typing import Any

import anyio
import pytest

from actors import Lease, Pool, PoolSettings, Upstream, open_pool
from protocol.errors import InvalidSettings, PrincipalMismatch, SessionStateLost
from protocol.pool_events import Retirement
from protocol.session import SessionState
from tests.actors.fakes import BROKEN, ECHO, NOTHING_LEFT, FakeServer, bookkeeping, client_of, settled

pytestmark = pytest.mark.virtual_time

OTHER = Upstream("http://127.0.0.1:2/mcp")


async def number_of(pool: Pool, upstream: Upstream = ECHO, **terms: Any) -> int:
    """Borrow a session for a moment. Which connection it was."""
    async with pool.session(upstream, timeout=5, **terms) as session:
        await session.call_tool("echo")
        client = client_of(session)
        return client.server.clients.index(client)


def token(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


@pytest.mark.holds("L6")
@pytest.mark.parametrize("is_stateful", [True, False])
async def test_fifty_calls_at_once_make_one_handshake_and_run_at_the_same_time(*, is_stateful: bool) -> None:
    server = FakeServer(is_stateful=is_stateful)
    server.takes = 1
    async with open_pool(connector=server) as pool, anyio.create_task_group() as tasks:
        used: list[int] = []

        async def call() -> None:
            async with pool.session(ECHO, user="ada", session_id="talk") as session:
                await session.call_tool("wait")
                used.append(id(client_of(session)))

        for _ in range(50):
            tasks.start_soon(call)
        await anyio.sleep(2)
        assert len(server.calls) == 50, "no call waits for another one"
        assert server.attempts == 1
        server.answers.set()
        await settled()
        assert len(used) == 50
        assert set(used) == {id(server.clients[0])}
        assert await number_of(pool, user="ada", session_id="talk") == 0


@pytest.mark.holds("L6", "L1")
@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"session_id": "talk-1"}, {"session_id": "talk-2"}),
        ({"session_id": "talk"}, {}),
        ({"session_id": "talk"}, {"session_id": "talk", "gateway_id": "g"}),
        ({"session_id": "talk"}, {"session_id": "TALK"}),
        ({"session_id": "talk"}, {"session_id": "talk", "upstream": OTHER}),
    ],
)
@pytest.mark.parametrize("is_stateful", [True, False])
async def test_two_conversations_never_share_a_session(
    one: dict[str, Any], other: dict[str, Any], *, is_stateful: bool
) -> None:
    async with open_pool(connector=FakeServer(is_stateful=is_stateful)) as pool:
        assert await number_of(pool, user="ada", **one) == 0
        assert await number_of(pool, user="ada", **other) == 1
        assert await number_of(pool, user="ada", **one) == 0


@pytest.mark.holds("L7")
@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"user": "ada"}, {"user": "bob"}),
        ({"user": "ada"}, {}),
        ({}, {"user": "ada"}),
        ({"headers": token("a")}, {"headers": token("b")}),
        ({"headers": token("a")}, {"headers": token("a"), "user": "ada"}),
        ({"headers": {"X-API-Key": "a"}}, {"headers": {"X-User-Id": "a"}}),
    ],
)
async def test_another_principal_who_presents_the_id_is_refused(one: dict[str, Any], other: dict[str, Any]) -> None:
    server = FakeServer()
    async with open_pool(connector=server) as pool:
        await number_of(pool, session_id="talk", **one)
        for upstream in (ECHO, OTHER):
            with pytest.raises(PrincipalMismatch, match="belongs to somebody else") as refused:
                await pool.acquire(upstream, session_id="talk", **other)
            assert (refused.value.http_status, refused.value.safe_to_retry) == (403, False)
            assert "talk" not in str(refused.value)
        assert server.attempts == 1
        assert await number_of(pool, session_id="talk", **one) == 0


@pytest.mark.holds("L7")
async def test_whoever_comes_first_while_the_session_is_being_opened_has_it() -> None:
    server = FakeServer()
    server.hold_openings()
    async with open_pool(connector=server) as pool, anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: number_of(pool, session_id="talk", user="ada"))
        await settled()
        with pytest.raises(PrincipalMismatch):
            await pool.acquire(ECHO, session_id="talk", user="bob")
        server.opens.set()


@pytest.mark.holds("L7", "L5")
@pytest.mark.parametrize(
    ("extractor", "terms"),
    [(itemgetter("x-name"), {}), (None, {"user": "ada"})],
    ids=["extractor", "user"],
)
async def test_a_rotated_token_stays_in_its_own_conversation(
    extractor: Callable[[Any], str] | None, terms: dict[str, Any]
) -> None:
    server = FakeServer()
    async with open_pool(PoolSettings(identity_extractor=extractor), connector=server) as pool:
        for rotation in range(3):
            headers = {**token(str(rotation)), "X-Name": "ada"}
            assert await number_of(pool, session_id="talk", headers=headers, **terms) == 0
        with pytest.raises(PrincipalMismatch):
            await pool.acquire(ECHO, session_id="talk", headers={**token("2"), "X-Name": "bob"}, user="bob")


@pytest.mark.holds("L7")
async def test_without_the_check_principals_are_kept_apart_and_neither_is_refused() -> None:
    async with open_pool(PoolSettings(check_principal=False), connector=FakeServer()) as pool:
        assert await number_of(pool, session_id="talk", user="ada") == 0
        assert await number_of(pool, session_id="talk", user="bob") == 1
        assert await number_of(pool, session_id="talk", user="ada") == 0


async def lose_during_a_call(pool: Pool, server: FakeServer) -> None:
    async with pool.session(ECHO, user="ada", session_id="talk"):
        server.reports[0](BROKEN)
    await settled()


async def lose_while_idle(pool: Pool, server: FakeServer) -> None:
    server.reports[0](BROKEN)
    await settled()


async def lose_by_max_idle(pool: Pool, server: FakeServer) -> None:
    await anyio.sleep(11)


async def lose_by_drain(pool: Pool, server: FakeServer) -> None:
    pool.drain()
    await settled()


async def lose_to_make_room(pool: Pool, server: FakeServer) -> None:
    pool.resize(max_sessions=1)
    async with pool.session(ECHO, user="ada", timeout=5):
        pass
    pool.resize(max_sessions=50)


async def lose_an_abandoned_lease(pool: Pool, server: FakeServer) -> None:
    lease = await pool.acquire(ECHO, user="ada", session_id="talk")
    lease._held = False  # what the collector's `__del__` does, without its warning
    pool._registry_actor.refs[lease._acquired.key].tell(abandoned(lease))
    await settled()


def abandoned(lease: Lease) -> Any:
    from protocol.pool_messages import Abandoned  # noqa: PLC0415

    return Abandoned(lease._loan)


LOSSES = [
    lose_during_a_call,
    lose_while_idle,
    lose_by_max_idle,
    lose_by_drain,
    lose_to_make_room,
    lose_an_abandoned_lease,
]


@pytest.mark.holds("L9")
@pytest.mark.parametrize("lose", LOSSES)
async def test_a_conversation_that_lost_its_state_is_told_once_and_then_has_a_new_session(lose: Any) -> None:
    server = FakeServer()
    settings = PoolSettings(max_idle=10, key_idle=5, health_interval=None)
    async with open_pool(settings, connector=server) as pool:
        assert await number_of(pool, user="ada", session_id="talk") == 0
        await lose(pool, server)
        with pytest.raises(SessionStateLost, match="has ended, and what its server kept in it") as told:
            await pool.acquire(ECHO, user="ada", session_id="talk")
        assert told.value.http_status == 404
        assert server.closed >= 1
        assert await number_of(pool, user="ada", session_id="talk") >= 1
        assert await number_of(pool, user="ada", session_id="talk") >= 1


@pytest.mark.holds("L9")
async def test_a_loss_that_its_caller_was_cancelled_before_hearing_of_is_told_to_the_next() -> None:
    server = FakeServer()
    async with open_pool(connector=server) as pool:
        assert await number_of(pool, user="ada", session_id="talk") == 0
        server.reports[0](BROKEN)
        await settled()
        async with anyio.create_task_group() as tasks:
            pool._system.is_busy = True  # as while the pump has yet to finish what a dispatch had no time for
            tasks.start_soon(partial(pool.acquire, ECHO, user="ada", session_id="talk"))
            await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()
            pool._system.is_busy = False
            pool.reset_breakers()  # with this all that was queued is handled, before the task has run again
        with pytest.raises(SessionStateLost):
            await pool.acquire(ECHO, user="ada", session_id="talk")
        assert await number_of(pool, user="ada", session_id="talk") == 1


@pytest.mark.holds("L9")
@pytest.mark.parametrize("lose", [lose for lose in LOSSES if lose is not lose_to_make_room])
async def test_a_conversation_with_a_server_that_keeps_no_state_is_not_told(lose: Any) -> None:
    server = FakeServer(is_stateful=False)
    settings = PoolSettings(max_idle=10, key_idle=5, health_interval=None)
    async with open_pool(settings, connector=server) as pool:
        assert await number_of(pool, user="ada", session_id="talk") == 0
        await lose(pool, server)
        assert await number_of(pool, user="ada", session_id="talk") == 1


@pytest.mark.holds("L9")
async def test_a_session_that_was_never_used_had_no_state_to_lose() -> None:
    server = FakeServer()
    server.hold_openings()
    async with open_pool(connector=server) as pool:
        with anyio.move_on_after(1):
            await pool.acquire(ECHO, user="ada", session_id="talk")
        server.opens.set()
        await settled()
        assert server.live == 1
        server.reports[0](BROKEN)
        await settled()
        assert await number_of(pool, user="ada", session_id="talk") == 1


@pytest.mark.holds("L9")
async def test_a_conversation_has_no_lifetime_and_a_stateless_one_has() -> None:
    for is_stateful, expected in ((True, 0), (False, 1)):
        server = FakeServer(is_stateful=is_stateful)
        settings = PoolSettings(max_lifetime=5, max_idle=None, health_interval=None)
        async with open_pool(settings, connector=server) as pool:
            assert await number_of(pool, user="ada", session_id="talk") == 0
            await anyio.sleep(20)
            assert await number_of(pool, user="ada", session_id="talk") == expected


@pytest.mark.holds("L2", "C10")
@pytest.mark.parametrize(
    "session_id", ["", "a b", "a\n", "talk\n", "é", "a/b", "a" * 129, "..", 5, b"talk", ["talk"], "a\0", "{}"]
)
async def test_a_session_id_that_cannot_be_one_is_refused_before_anything_happens(session_id: Any) -> None:
    server = FakeServer()
    async with open_pool(connector=server) as pool:
        before = bookkeeping(pool)
        with pytest.raises(InvalidSettings, match="session_id") as refused:
            await pool.acquire(ECHO, user="ada", session_id=session_id)
        assert refused.value.http_status == 400
        assert (bookkeeping(pool), server.attempts) == (before, 0)
        assert await number_of(pool, user="ada", session_id="a" * 128) == 0


@pytest.mark.holds("C10", "L7")
async def test_what_is_known_of_conversations_is_bounded_by_those_that_live() -> None:
    server = FakeServer()
    settings = PoolSettings(max_idle=5, key_idle=5, lost_memory=20, health_interval=None)
    async with open_pool(settings, connector=server) as pool:
        for number in range(50):
            await number_of(pool, user=f"u{number}", session_id=f"talk-{number}")
        assert (bookkeeping(pool)["bound"], bookkeeping(pool)["living"]) == (50, 50)
        await anyio.sleep(15)
        assert server.live == 0
        assert bookkeeping(pool)["bound"] == 50, "they are still to be told"
        await anyio.sleep(20)
        assert bookkeeping(pool) == NOTHING_LEFT
        assert await number_of(pool, user="bob", session_id="talk-1") == 50, "and the id is anybody's again"


@pytest.mark.holds("C10")
async def test_a_stateless_conversation_is_forgotten_with_its_session() -> None:
    server = FakeServer(is_stateful=False)
    async with open_pool(PoolSettings(max_idle=5, health_interval=None), connector=server) as pool:
        for number in range(20):
            await number_of(pool, user="ada", session_id=f"talk-{number}")
        await anyio.sleep(6)
        assert bookkeeping(pool) == NOTHING_LEFT


@pytest.mark.holds("C10", "L7", "L5")
async def test_conversations_whose_sessions_could_not_be_opened_leave_nothing() -> None:
    server = FakeServer()
    server.fails = ValueError("no")
    settings = PoolSettings(max_keys=3, key_idle=5, breaker_threshold=100)
    async with open_pool(settings, connector=server) as pool:
        for number in range(20):
            with pytest.raises(Exception, match="ValueError"):
                await pool.acquire(ECHO, user="ada", session_id=f"talk-{number}")
        assert bookkeeping(pool)["living"] <= 3
        await anyio.sleep(6)
        assert bookkeeping(pool) == NOTHING_LEFT


@pytest.mark.holds("L7", "L5")
async def test_one_principals_conversation_on_several_servers_is_bound_until_the_last_has_ended() -> None:
    server = FakeServer()
    settings = PoolSettings(max_idle=5, key_idle=5, lost_memory=5, health_interval=None)
    async with open_pool(settings, connector=server) as pool:
        await number_of(pool, ECHO, user="ada", session_id="talk")
        for _ in range(4):
            await number_of(pool, OTHER, user="ada", session_id="talk")
            await anyio.sleep(4)
        assert bookkeeping(pool)["living"] == 1
        with pytest.raises(PrincipalMismatch):
            await pool.acquire(ECHO, user="bob", session_id="talk")
        await anyio.sleep(20)
        await number_of(pool, ECHO, user="bob", session_id="talk")


@pytest.mark.holds("L6", "S3")
async def test_calls_under_way_on_a_lost_session_end_by_themselves_and_then_it_is_closed() -> None:
    server = FakeServer()
    async with open_pool(connector=server) as pool, anyio.create_task_group() as tasks:
        lease = await pool.acquire(ECHO, user="ada", session_id="talk")
        tasks.start_soon(lease.call_tool, "wait")
        await settled()
        server.reports[0](BROKEN)
        with pytest.raises(SessionStateLost):
            await pool.acquire(ECHO, user="ada", session_id="talk")
        waiting: list[int] = []

        async def come_again() -> None:
            waiting.append(await number_of(pool, user="ada", session_id="talk"))

        tasks.start_soon(come_again)
        await settled()
        assert pool.stats().sessions(SessionState.RETIRING) == 1
        server.answers.set()
        await settled()
        lease.release()
        await settled()
        assert waiting == [1]
        assert pool.stats().tally.retired[Retirement.BROKEN] == 1
