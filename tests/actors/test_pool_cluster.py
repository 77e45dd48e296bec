"""Pools that meet on a bus: a conversation has one owner, and its calls go there from any of them. On both loops."""
# pyright: reportPrivateUsage=false

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from actors import Pool, PoolSettings, Upstream, open_pool
from actors.memory_bus import MemoryHub
from protocol.cluster_settings import ClusterSettings
from protocol.errors import (
    InvalidSettings,
    NotAlive,
    OutcomeUnknown,
    PoolClosed,
    PoolFull,
    PrincipalMismatch,
    SessionStateLost,
    TroupeError,
)
from tests.actors.fakes import ECHO, FakeServer, settled

pytestmark = pytest.mark.virtual_time

SETTINGS = PoolSettings(identity_secret=b"a secret of this deployment alone")


@asynccontextmanager
async def pools(server: FakeServer, *names: str) -> AsyncGenerator[list[Pool]]:
    """Pools of one hub that has been there for long. They leave in reverse order."""
    hub = MemoryHub()
    async with open_pool(SETTINGS, connector=server, cluster=hub):
        await anyio.sleep(10)
        opened = [open_pool(SETTINGS, name=name, connector=server, cluster=hub) for name in names]
        async with _all(opened):
            await settled()
            yield opened


@asynccontextmanager
async def _all(opened: list[Pool]) -> AsyncGenerator[None]:
    if not opened:
        yield
        return
    async with opened[0], _all(opened[1:]):
        yield


def die(pool: Pool) -> None:
    """End a worker for all that others see of it, as if its process had died."""
    assert pool._membership is not None
    assert pool._membership._ref is not None
    pool._membership._ref.stop()


def call(pool: Pool, session_id: str = "talk", **more: Any) -> Any:
    return pool.call(ECHO, "tools/call", {"name": "echo"}, user="ada", session_id=session_id, **more)


@pytest.mark.holds("L6", "C1", "C3", "C4")
async def test_a_conversation_whose_calls_land_on_three_workers_has_one_upstream_session() -> None:
    server = FakeServer()
    async with pools(server, "one", "two", "three") as three:
        answers: list[Any] = []

        async def ask(pool: Pool) -> None:
            answers.append(await call(pool))

        async with anyio.create_task_group() as tasks:
            for pool in three * 5:
                tasks.start_soon(ask, pool)
        assert len(answers) == 15
        assert all(answer == answers[0] for answer in answers)
        assert server.attempts == 1
        assert len(server.raw) == 15
        owners = {await pool.owner("talk") for pool in three}
        assert len(owners) == 1
        assert owners <= {pool.worker for pool in three}


@pytest.mark.holds("C1")
async def test_a_session_can_be_claimed_ahead_of_its_first_request() -> None:
    server = FakeServer()
    async with pools(server, "one", "two") as (one, two):
        assert await two.owner("talk") is None
        assert await one.claim("talk", user="ada") == one.worker
        assert await two.claim("talk", user="ada") == one.worker
        assert await two.owner("talk") == one.worker
        assert server.attempts == 0
        await call(two)
        assert await one.owner("talk") == one.worker


@pytest.mark.holds("L7")
async def test_somebody_else_who_presents_the_id_is_refused_on_every_worker() -> None:
    async with pools(FakeServer(), "one", "two") as (one, two):
        await call(one)
        for pool in (one, two):
            with pytest.raises(PrincipalMismatch):
                await pool.call(ECHO, "tools/call", user="mallory", session_id="talk")
            with pytest.raises(PrincipalMismatch):
                await pool.claim("talk", user="mallory")


@pytest.mark.holds("C4")
@pytest.mark.parametrize("params", [None, {}, {"name": "echo", "arguments": {"x": 2**80, "y": "ü", "z": [None, 1.5]}}])
async def test_what_is_sent_to_the_server_is_the_same_here_and_from_elsewhere(params: Any) -> None:
    server = FakeServer()
    async with pools(server, "one", "two") as (one, two):
        for pool in (one, two):
            await pool.call(ECHO, "tools/call", params, user="ada", session_id="talk", headers={"X-Trace": "7"})
        here, there = server.raw
        assert here[:2] == there[:2]
        assert server.headers_of_calls[0] == server.headers_of_calls[1]


@pytest.mark.holds("L9", "C5")
@pytest.mark.parametrize("is_stateful", [True, False])
async def test_the_conversation_of_a_worker_that_died_goes_on_elsewhere_and_is_told_what_it_lost(
    *, is_stateful: bool
) -> None:
    server = FakeServer(is_stateful=is_stateful)
    async with pools(server, "one", "two") as (one, two):
        await call(one)
        await call(two)
        await anyio.sleep(3)
        die(one)
        await anyio.sleep(0.1)
        if is_stateful:
            with pytest.raises(SessionStateLost):
                await call(two)
        await call(two)
        await call(two)
        assert await two.owner("talk") == two.worker


@pytest.mark.holds("C3")
@pytest.mark.parametrize("idempotent", [False, True])
async def test_a_call_that_was_under_way_when_its_owner_died_is_run_again_only_if_it_may_be(
    *, idempotent: bool
) -> None:
    server = FakeServer(is_stateful=False)
    async with pools(server, "one", "two") as (one, two):
        await call(one)
        outcomes: list[Any] = []

        async def ask() -> None:
            try:
                await two.call(ECHO, "wait", user="ada", session_id="talk", idempotent=idempotent)
            except TroupeError as error:
                outcomes.append(type(error))
            else:
                outcomes.append("answered")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            await anyio.sleep(3)
            die(one)
            await anyio.sleep(0.1)
            assert outcomes == ([] if idempotent else [OutcomeUnknown])
            server.answers.set()
        assert outcomes == (["answered"] if idempotent else [OutcomeUnknown])
        assert [method for method, _, _ in server.raw].count("wait") == (2 if idempotent else 1)


@pytest.mark.holds("L2", "S4")
async def test_the_timeout_of_a_call_bounds_all_of_it() -> None:
    server = FakeServer()
    server.hold_openings()
    async with pools(server, "one", "two") as (one, two):
        for pool in (one, two):
            began = anyio.current_time()
            with pytest.raises(TroupeError):
                await call(pool, timeout=2)
            assert anyio.current_time() - began == pytest.approx(2, abs=0.1)


@pytest.mark.holds("L9")
async def test_a_loss_is_not_forgotten_when_the_conversation_finds_no_place_at_first() -> None:
    server = FakeServer()
    async with pools(server, "one", "two") as (one, two):
        await call(one)
        await call(two)
        await anyio.sleep(3)
        die(one)
        await anyio.sleep(0.1)
        two.resize(max_keys=1)
        async with two.session(ECHO, user="somebody else"):
            with pytest.raises(PoolFull):
                await call(two)
        two.resize(max_keys=100)
        with pytest.raises(SessionStateLost):
            await call(two)


@pytest.mark.holds("C10")
async def test_a_conversation_that_finds_no_place_is_not_kept_owned() -> None:
    async with pools(FakeServer(), "one", "two") as (one, two):
        one.resize(max_keys=1)
        async with one.session(ECHO, user="somebody else"):
            with pytest.raises(PoolFull):
                await call(one)
            await settled()
            assert await two.owner("talk") is None


@pytest.mark.holds("C10", "R4")
async def test_a_conversation_that_is_over_is_nobodys_and_can_begin_anywhere() -> None:
    server = FakeServer()
    async with pools(server, "one", "two") as (one, two):
        await call(one)
        one.end("talk")
        await settled()
        assert await two.owner("talk") is None
        await call(two)
        assert await one.owner("talk") == two.worker


@pytest.mark.holds("R4")
async def test_a_pool_that_is_left_owns_nothing_any_more_and_nothing_is_kept_for_the_last_one() -> None:
    server, hub = FakeServer(), MemoryHub()
    async with open_pool(SETTINGS, connector=server, cluster=hub) as stays:
        await anyio.sleep(10)
        async with open_pool(SETTINGS, connector=server, cluster=hub) as goes:
            await call(goes)
        assert await stays.owner("talk") == stays.worker
        with pytest.raises(PoolClosed):
            await goes.claim("talk")
    async with open_pool(SETTINGS, connector=server, cluster=hub) as comes:
        assert await comes.owner("talk") is None


@pytest.mark.holds("L9")
@pytest.mark.parametrize("is_stateful", [True, False])
async def test_the_conversations_of_a_worker_that_leaves_are_told_what_went_with_it(*, is_stateful: bool) -> None:
    server = FakeServer(is_stateful=is_stateful)
    async with pools(server, "one", "two", "three") as (one, two, three):
        await call(three)
        await three.close()
        if is_stateful:
            with pytest.raises(SessionStateLost):
                await call(one)
            await settled()  # until its new owner knows that this was heard
        await call(two)
        await call(one)
        assert server.attempts == 2


@pytest.mark.holds("L9")
async def test_a_conversation_that_comes_from_a_dead_worker_is_told_what_it_lost_with_each_server() -> None:
    server, other = FakeServer(), Upstream("http://other.test/mcp")
    async with pools(server, "one", "two") as (one, two):
        for upstream in (ECHO, other):
            await one.call(upstream, "tools/call", {"name": "echo"}, user="ada", session_id="talk")
        die(one)
        await anyio.sleep(3)
        for upstream in (ECHO, other):
            with pytest.raises(SessionStateLost):
                await two.call(upstream, "tools/call", {"name": "echo"}, user="ada", session_id="talk")
            await two.call(upstream, "tools/call", {"name": "echo"}, user="ada", session_id="talk")


@pytest.mark.holds("L9")
async def test_a_loss_that_another_workers_caller_did_not_live_to_hear_is_told_to_whoever_calls_next() -> None:
    server = FakeServer()
    async with pools(server, "one", "two", "three") as (one, two, three):
        await call(three)
        die(three)
        await anyio.sleep(3)
        with pytest.raises(SessionStateLost):
            await one.call(Upstream("http://other.test/mcp"), "tools/call", user="ada", session_id="talk")
        assert await two.owner("talk") == one.worker
        server.hold_openings()
        async with anyio.create_task_group() as tasks:

            async def not_hear() -> None:
                with pytest.raises(TroupeError):
                    await call(two)

            tasks.start_soon(not_hear)
            await settled()
            die(two)
        server.opens.set()
        await settled()
        with pytest.raises(SessionStateLost):
            await call(one)
        await call(one)


async def test_what_cannot_be_a_cluster_is_refused_before_anything_is_opened() -> None:
    remote = "redis://:hush@redis.example:6379/0"
    with pytest.raises(InvalidSettings, match="needs an identity_secret"):
        open_pool(cluster=MemoryHub())
    with pytest.raises(InvalidSettings, match="is not on this machine, and without `secrets`") as refused:
        open_pool(SETTINGS, cluster=remote)
    assert "hush" not in str(refused.value)
    open_pool(SETTINGS, cluster=remote, cluster_settings=ClusterSettings(insecure=True))
    open_pool(SETTINGS, cluster=remote, cluster_settings=ClusterSettings(secrets=("sixteen bytes or more",)))
    for bad in ("http://127.0.0.1", 5, ""):
        with pytest.raises(InvalidSettings, match="cluster"):
            open_pool(SETTINGS, cluster=bad)  # type: ignore[arg-type]
    with pytest.raises(InvalidSettings, match="cluster_settings"):
        open_pool(SETTINGS, cluster=MemoryHub(), cluster_settings={})  # type: ignore[arg-type]
    async with open_pool(connector=FakeServer()) as alone:
        assert alone.worker is None
        with pytest.raises(InvalidSettings, match="has no cluster"):
            await alone.claim("talk")
        with pytest.raises(InvalidSettings, match="has no cluster"):
            await alone.owner("talk")


@pytest.mark.holds("C1", "C9")
async def test_a_worker_that_is_out_of_touch_starts_nothing_for_its_conversations_and_all_else_goes_on() -> None:
    server = FakeServer()
    async with pools(server, "one") as (one,):
        server.hold_openings()
        begun: list[type[Exception]] = []

        async def begin() -> None:
            try:
                await call(one)
            except TroupeError as error:
                begun.append(type(error))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(begin)
            await anyio.sleep(1)
            assert one._membership is not None
            assert one._membership._actor is not None
            one._membership._actor._is_joined = False  # so that it does not beat any more
            await anyio.sleep(6)
            server.opens.set()
        assert begun == [NotAlive], "its session has opened too late"
        assert server.raw == []
        with pytest.raises(NotAlive):
            await call(one)
        await one.call(ECHO, "tools/call", user="ada")
