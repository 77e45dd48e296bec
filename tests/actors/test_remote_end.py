"""Conversations that are ended by a worker which does not own them. On both event loops."""
# pyright: reportPrivateUsage=false

import logging
from typing import Any

import anyio
import pytest

from actors import Pool
from protocol.errors import CallInterrupted, ConversationEnded, InvalidSettings, SessionTerminated, TroupeError
from tests.actors.fakes import ECHO, FakeServer, settled
from tests.actors.memory_servers import Served
from tests.actors.test_remote_lease import here_and_there, leases_of, talk

pytestmark = pytest.mark.virtual_time


def ask(pool: Pool) -> Any:
    return pool.call(ECHO, "tools/list", user="ada", session_id="talk")


@pytest.mark.holds("C4", "C10")
async def test_an_end_goes_where_the_conversation_is_owned_and_what_follows_begins_anew() -> None:
    served = Served("legacy")
    async with here_and_there(served) as (here, there):
        for pool in (here, there):
            await ask(pool)
        assert served.sessions == 1
        there.end("talk")
        await ask(there)
        assert served.sessions == 2, "what is asked after the end comes after it"
        assert await here.owner("talk") == there.worker
        here.end("talk")
        await settled()
        assert await here.owner("talk") is None
        for pool in (here, there):
            await ask(pool)
        assert served.sessions == 3


@pytest.mark.holds("C4")
async def test_the_worker_that_ends_a_conversation_need_not_have_heard_of_it() -> None:
    async with here_and_there(FakeServer()) as (here, there):
        await ask(here)
        there.end("talk")
        there.end("nobody-s")
        await settled()
        assert await there.owner("talk") is None
        with pytest.raises(InvalidSettings):
            there.end("not:such")


@pytest.mark.holds("C4", "L2")
async def test_who_waits_and_who_is_under_way_is_told_as_where_it_is_owned() -> None:
    for name in ("here", "there"):
        server = FakeServer()
        server.hold_openings()
        outcomes: list[type[Exception]] = []

        async def wait(pool: Pool, told: list[type[Exception]]) -> None:
            try:
                await pool.acquire(ECHO, user="ada", session_id="talk")
            except TroupeError as error:
                told.append(type(error))

        async with here_and_there(server) as (here, there), anyio.create_task_group() as tasks:
            tasks.start_soon(wait, here, outcomes)
            tasks.start_soon(wait, there, outcomes)
            await anyio.sleep(1)
            (here if name == "here" else there).end("talk")
            await settled()
            assert outcomes == [ConversationEnded, ConversationEnded]


@pytest.mark.holds("C4", "S3")
async def test_leases_of_a_conversation_that_is_ended_elsewhere_are_over() -> None:
    served = Served("legacy")
    async with here_and_there(served) as (here, there):
        local, remote = [await pool.acquire(ECHO, user="ada", session_id="talk") for pool in (here, there)]
        failed: list[type[Exception]] = []

        async def hang(lease: Any) -> None:
            try:
                await lease.call_tool("wait")
            except TroupeError as error:
                failed.append(type(error))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(hang, local)
            tasks.start_soon(hang, remote)
            await anyio.sleep(1)
            there.end("talk")
        assert failed == [CallInterrupted, CallInterrupted]
        await anyio.sleep(1)
        for lease in (local, remote):
            with pytest.raises(SessionTerminated):
                await lease.call_tool("fail")
            lease.release()
        await settled()
        assert leases_of(here) == 0
        async with talk(there) as again:
            await again.list_tools()
        assert served.sessions == 2


@pytest.mark.holds("C9")
async def test_an_end_that_cannot_be_told_is_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async with here_and_there(FakeServer()) as (_, there):
        assert there._membership is not None
        assert there._membership._actor is not None
        there._membership._actor._bus._tell = None  # type: ignore[attr-defined] - it is away
        with caplog.at_level(logging.WARNING, "actors.cluster"):
            there.end("talk")
            await settled()
        assert "a conversation that was ended may go on, since its owner could not be told" in caplog.text
