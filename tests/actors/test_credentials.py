"""Refused credentials: whose breaker counts them, and who is refused for it. On both event loops."""
# pyright: reportPrivateUsage=false

from collections.abc import Mapping
from typing import Any

import anyio
import pytest

from actors import Pool, PoolSettings, open_pool
from actors.connection import Opening
from protocol.errors import BreakerOpen, ConnectFailed, TroupeError
from protocol.fault import Fault, FaultKind
from tests.actors.fakes import ECHO, FakeConnection, FakeServer, settled

pytestmark = pytest.mark.virtual_time

REFUSED = Fault(FaultKind.REFUSED, "initialize", "HTTP 401", 401, at_connect=True).for_connect(ECHO.address)


def steady(headers: Mapping[str, str]) -> str | None:
    """Who it is, whatever the token."""
    return headers.get("x-who")


def pool_of(server: FakeServer, **changed: Any) -> Pool:
    return open_pool(PoolSettings(breaker_threshold=2, **changed), connector=server)


async def twice_refused(pool: Pool, server: FakeServer, **terms: Any) -> None:
    server.fails = REFUSED
    for _ in range(2):
        with pytest.raises(ConnectFailed):
            await pool.acquire(ECHO, **terms)
    server.fails = None
    with pytest.raises(BreakerOpen):
        await pool.acquire(ECHO, **terms)


@pytest.mark.holds("B1")
@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"user": "ada", "headers": {"x-token": "a"}}, {"user": "bob", "headers": {"x-token": "b"}}),
        ({"user": "ada"}, {}),
        ({"user": "ada", "session_id": "t1"}, {"user": "bob", "session_id": "t2"}),
        ({"headers": {"authorization": "a"}}, {"headers": {"authorization": "b"}}),
        (
            {"user": "ada", "session_id": "t1", "headers": {"authorization": "a"}},
            {"user": "ada", "session_id": "t1", "headers": {"authorization": "b"}},
        ),
    ],
)
async def test_ones_refused_credential_never_refuses_another(one: dict[str, Any], other: dict[str, Any]) -> None:
    server = FakeServer()
    async with pool_of(server) as pool:
        await twice_refused(pool, server, **one)
        (await pool.acquire(ECHO, **other)).release()


@pytest.mark.holds("B1")
@pytest.mark.parametrize("session_id", [None, "talk"])
async def test_a_token_that_rotates_under_an_extractor_is_another_credential(session_id: str | None) -> None:
    server = FakeServer()
    async with pool_of(server, identity_extractor=steady) as pool:
        who: dict[str, Any] = {"session_id": session_id}
        await twice_refused(pool, server, headers={"x-who": "ada", "authorization": "old"}, **who)
        (await pool.acquire(ECHO, headers={"x-who": "ada", "authorization": "new"}, **who)).release()
        kinds = [(stats.kind, stats.failures) for stats in pool.stats().breakers]
        assert kinds == [("credential", 2)]


@pytest.mark.holds("B1")
async def test_who_differs_only_by_what_the_extractor_made_has_a_breaker_of_their_own() -> None:
    server = FakeServer()
    async with pool_of(server, identity_extractor=steady) as pool:
        await twice_refused(pool, server, headers={"x-who": "ada"})
        (await pool.acquire(ECHO, headers={"x-who": "bob"})).release()


@pytest.mark.holds("B1", "X1")
async def test_a_breaker_of_a_user_without_a_credential_is_shown_by_the_user() -> None:
    server = FakeServer()
    async with pool_of(server) as pool:
        await twice_refused(pool, server, user="ada")
        assert [stats.name for stats in pool.stats().breakers] == [f"{ECHO.address}, user 'ada'"]


@pytest.mark.holds("B1")
async def test_each_of_those_who_wait_has_a_session_opened_with_what_they_brought_and_is_told_of_that_alone() -> None:
    server = FakeServer()
    async with pool_of(server, identity_extractor=steady, max_size=2) as pool, anyio.create_task_group() as tasks:
        server.hold_openings()
        server.refuses = {"old": REFUSED}
        ended: dict[str, str] = {}

        async def use(token: str) -> None:
            try:
                (await pool.acquire(ECHO, headers={"x-who": "ada", "authorization": token})).release()
                ended[token] = "served"
            except TroupeError as error:
                ended[token] = type(error).__name__

        for token in ("new", "old"):
            tasks.start_soon(use, token)
            await settled()
        assert [headers["authorization"] for headers in server.headers] == ["new", "old"]
        server.opens.set()
        await settled()
        assert ended == {"new": "served", "old": "ConnectFailed"}


@pytest.mark.holds("B1", "B2")
async def test_an_opening_for_another_caller_than_the_one_that_asked_counts_for_whom_it_was_made() -> None:
    """The one that a permit was asked for has gone when it comes, and another one of that key waits."""
    server = FakeServer()
    settings: dict[str, Any] = {"identity_extractor": steady, "max_size": 1, "max_sessions": 1}
    old, new = ({"x-who": "ada", "authorization": token} for token in ("old", "new"))
    async with pool_of(server, **settings) as pool, anyio.create_task_group() as tasks:
        lease = await pool.acquire(ECHO, user="bob")

        async def fail() -> None:
            with pytest.raises(ConnectFailed):
                await pool.acquire(ECHO, headers=new)

        async def leave() -> None:
            with anyio.move_on_after(1):
                await pool.acquire(ECHO, headers=old)

        for act in (leave, fail):
            tasks.start_soon(act)
            await settled()
        await anyio.sleep(2)
        server.fails = REFUSED
        lease.release()
        await settled()
        assert server.headers[-1]["authorization"] == "new"
        await fail()
        server.fails = None
        with pytest.raises(BreakerOpen):
            await pool.acquire(ECHO, headers=new)
        (await pool.acquire(ECHO, headers=old)).release()
        endpoints = pool._registry_actor._endpoints
        assert (endpoints._waiting, endpoints._under_way) == ({}, {})


@pytest.mark.holds("B1")
async def test_a_call_that_is_refused_counts_for_the_credential_it_was_made_with() -> None:
    server = FakeServer(is_stateful=False)
    async with pool_of(server, identity_extractor=steady, max_size=1, shared_leases=2) as pool:
        old = await pool.acquire(ECHO, headers={"x-who": "ada", "authorization": "old"})
        new = await pool.acquire(ECHO, headers={"x-who": "ada", "authorization": "new"})
        fault = Fault(FaultKind.REFUSED, "tools/call", "HTTP 401", 401)

        async def refused() -> None:
            raise fault.for_call(ECHO.address, was_answered=False)

        for _ in range(2):
            with pytest.raises(TroupeError):
                await old.call("tools/call", refused)
        old.release()
        new.release()
        for token, is_refused in (("new", False), ("old", True)):
            pool.drain()
            await settled()
            try:
                (await pool.acquire(ECHO, headers={"x-who": "ada", "authorization": token})).release()
                assert not is_refused
            except BreakerOpen:
                assert is_refused
        assert [stats.failures for stats in pool.stats().breakers] == [2]


class Remembering(FakeServer):
    """Its sessions open without asking it anything."""

    async def _open(self, opening: Opening) -> FakeConnection:
        connection = await super()._open(opening)
        assert connection.guard is not None
        connection.guard.is_proven = False
        return connection


@pytest.mark.holds("B2")
async def test_a_probe_that_is_opened_from_memory_and_never_used_keeps_nobody_out() -> None:
    server = Remembering(is_stateful=False)
    async with pool_of(server, health_interval=None, max_idle=None) as pool:
        server.fails = ConnectFailed("it is down", step="connect")
        for _ in range(2):
            with pytest.raises(ConnectFailed):
                await pool.acquire(ECHO, user="ada")
        server.fails = None
        await anyio.sleep(pool.settings.breaker_backoff)
        (await pool.acquire(ECHO, user="ada")).release()
        with pytest.raises(BreakerOpen):
            await pool.acquire(ECHO, user="bob")
        await settled()
        assert server.probed == [(0, "ping")], "it is asked, since nobody else may be let through before it answers"
        server.openings[-1].proven()
        (await pool.acquire(ECHO, user="bob")).release()
        await settled()
        assert len(server.probed) == 1, "one that is no probe need not be asked"


@pytest.mark.holds("B1")
async def test_who_waits_with_a_new_token_is_not_refused_for_the_old_one_of_another_who_waits() -> None:
    server = FakeServer()
    async with pool_of(server, identity_extractor=steady, max_size=2) as pool, anyio.create_task_group() as tasks:
        old, new = ({"x-who": "ada", "authorization": token} for token in ("old", "new"))
        await twice_refused(pool, server, headers=old)
        server.hold_openings()
        ended: dict[str, object] = {}

        async def acquire(name: str, headers: Mapping[str, str]) -> None:
            try:
                (await pool.acquire(ECHO, headers=headers)).release()
                ended[name] = "served"
            except TroupeError as error:
                ended[name] = type(error)

        for name, headers in (("new", new), ("old", old)):
            tasks.start_soon(acquire, name, headers)
            await settled()
        server.opens.set()
        await settled()
        assert ended == {"new": "served", "old": BreakerOpen}
