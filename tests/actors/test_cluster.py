"""Workers that meet on a bus, and own downstream sessions between them. On both event loops."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from actors import Ref, System, open_system
from actors.bus import Bus, Told
from actors.cluster import (
    Cluster,
    ClusterMessage,
    EndSession,
    LeaveCluster,
    Own,
    Owner,
    OwnershipNews,
    WhoOwns,
)
from actors.memory_bus import MemoryHub
from protocol.bus import Command, Holding
from protocol.cluster_settings import ClusterSettings
from protocol.errors import BusUnavailable, NotAlive, PrincipalMismatch

pytestmark = pytest.mark.virtual_time

SETTINGS = ClusterSettings(lifetime=2, holding=9)


class Worker:
    """One of those that meet."""

    def __init__(self, system: System, bus: Bus, name: str) -> None:
        self.news: list[OwnershipNews] = []
        self.actor = Cluster(name, bus, SETTINGS, checks_principal=True, told=self.news.append, clock=system.now)
        self.ref: Ref[ClusterMessage] = system.spawn(self.actor, name=name)

    async def own(self, session_id: str, principal: str = "principal") -> Owner:
        return await self.ref.ask(Own(session_id, principal), timeout=30)

    async def who_owns(self, session_id: str) -> Holding | None:
        return await self.ref.ask(WhoOwns(session_id), timeout=30)


@asynccontextmanager
async def workers(*names: str) -> AsyncGenerator[list[Worker]]:
    """Workers of one hub, that has been there for long."""
    async with open_system() as system:
        hub = MemoryHub()
        await anyio.sleep(10)
        found = [Worker(system, hub.bus(), name) for name in names]
        await anyio.wait_all_tasks_blocked()
        yield found


@pytest.mark.holds("C1", "C7")
async def test_of_many_workers_that_ask_at_once_one_owns_the_session_and_all_are_told_which() -> None:
    async with workers("ada", "bob", "cy") as crowd:
        told: list[tuple[str, Owner]] = []

        async def own(worker: Worker) -> None:
            told.append((worker.actor.worker, await worker.own("talk")))

        async with anyio.create_task_group() as tasks:
            for worker in crowd * 5:
                tasks.start_soon(own, worker)
        (holding,) = {owner.holding for _, owner in told}
        assert all(owner.is_here is (name == holding.owner) for name, owner in told)
        assert [worker.actor.may_start("talk") for worker in crowd].count(True) == 1
        assert await crowd[0].who_owns("talk") == holding
        assert await crowd[0].who_owns("chat") is None


@pytest.mark.holds("C1")
async def test_a_session_is_owned_for_as_long_as_its_worker_lives() -> None:
    async with workers("ada", "bob") as (ada, bob):
        owner = await ada.own("talk")
        await anyio.sleep(40)
        assert ada.actor.may_start("talk")
        assert (await bob.own("talk")).holding == owner.holding
        assert ada.news == []


@pytest.mark.holds("L7")
async def test_a_session_is_bound_to_its_principal_wherever_it_is_asked_for() -> None:
    async with workers("ada", "bob") as (ada, bob):
        await ada.own("talk")
        for worker in (ada, bob):
            with pytest.raises(PrincipalMismatch):
                await worker.own("talk", "another")


@pytest.mark.holds("R4")
async def test_a_session_that_ends_can_be_owned_by_another_worker() -> None:
    async with workers("ada", "bob") as (ada, bob):
        await ada.own("talk")
        ada.ref.tell(EndSession("talk"))
        await anyio.wait_all_tasks_blocked()
        assert not ada.actor.may_start("talk")
        assert (await bob.own("talk", "another")).is_here


@pytest.mark.holds("R4")
async def test_a_worker_that_leaves_leaves_nothing_behind() -> None:
    async with workers("ada", "bob") as (ada, bob):
        for session_id in ("talk", "chat"):
            await ada.own(session_id)
        await ada.ref.ask(LeaveCluster(), timeout=30)
        for session_id in ("talk", "chat"):
            assert await bob.who_owns(session_id) is None
        with pytest.raises(NotAlive, match="leaves the cluster"):
            await ada.own("talk")
        await ada.ref.ask(LeaveCluster(), timeout=30)


@pytest.mark.holds("L2")
async def test_whoever_gives_up_asking_costs_nothing() -> None:
    async with workers("ada") as (ada,):
        with anyio.move_on_after(0):
            await ada.own("talk")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ada.own, "talk")
            tasks.start_soon(ada.own, "talk")
            tasks.cancel_scope.cancel()
        assert (await ada.own("talk")).is_here


class Away(Bus):
    """A bus that is never joined."""

    async def run(self, channels: tuple[str, ...], tell: Told) -> None:
        await anyio.sleep_forever()

    def send(self, command: Command[Any], then: Callable[[Any], None]) -> None:
        then(BusUnavailable("the bus is away", was_sent=False))


@pytest.mark.holds("C9")
async def test_a_worker_whose_bus_is_not_there_says_so_at_once() -> None:
    async with open_system() as system:
        worker = Worker(system, Away(), "ada")
        began = system.now()
        with pytest.raises(BusUnavailable, match="has not been joined yet"):
            await worker.own("talk")
        with pytest.raises(BusUnavailable, match="the bus is away"):
            await worker.who_owns("talk")
        await worker.ref.ask(LeaveCluster(), timeout=30)
        assert system.now() == began
