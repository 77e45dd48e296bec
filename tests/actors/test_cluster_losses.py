"""What is left of a conversation where it was owned, and what is owed to it where it goes. On both event loops."""
# pyright: reportPrivateUsage=false

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import anyio
import pytest

from actors import open_pool, open_system
from actors.bus import Bus, Told
from actors.cluster_messages import LeaveCluster
from actors.memory_bus import MemoryHub
from protocol import bus
from protocol.cluster_settings import ClusterSettings
from protocol.errors import BusUnavailable, SessionStateLost
from tests.actors.fakes import ECHO, FakeServer, settled
from tests.actors.test_cluster import Worker
from tests.actors.test_pool_cluster import SETTINGS, call

pytestmark = pytest.mark.virtual_time


class Picky(Bus):
    """A bus that answers some commands with an error, as a Redis that is out of memory or failing over does."""

    def __init__(self, way: Bus, *refused: type[Any]) -> None:
        self._way = way
        self.refused = refused

    async def run(self, channels: tuple[str, ...], tell: Told) -> None:
        await self._way.run(channels, tell)

    def send(self, command: Any, then: Callable[[Any], None]) -> None:
        if isinstance(command, self.refused):
            then(BusUnavailable("OOM", was_sent=True))
        else:
            self._way.send(command, then)


@pytest.mark.holds("L9")
async def test_a_conversation_that_has_lapsed_while_the_bus_was_away_is_told_of_its_loss() -> None:
    server, hub = FakeServer(), MemoryHub()
    short = ClusterSettings(lifetime=2, holding=9)
    async with open_pool(SETTINGS, connector=server, cluster=hub, cluster_settings=short) as one:
        await anyio.sleep(10)
        await call(one)
        assert one._membership is not None
        assert one._membership._ref is not None
        one._membership._ref.tell(bus.Parted("for a while"))
        await anyio.sleep(12)
        one._membership._ref.tell(bus.Joined(30.0))
        await settled()
        assert server.attempts == 1
        with pytest.raises(SessionStateLost):
            await call(one)


@pytest.mark.holds("L9")
async def test_a_worker_that_leaves_a_bus_that_cannot_say_who_lives_gives_nothing_up() -> None:
    async with open_system() as system:
        hub = MemoryHub()
        await anyio.sleep(10)
        way = Picky(hub.bus())
        ada, bob = Worker(system, way, "ada"), Worker(system, hub.bus(), "bob")
        await anyio.wait_all_tasks_blocked()
        await bob.own("words")
        await ada.own("talk")
        way.refused = (bus.Peers,)
        await ada.ref.ask(LeaveCluster(), timeout=5)
        assert await bob.who_owns("talk") is not None, "nobody would know that something was lost"


@pytest.mark.holds("L9")
async def test_a_worker_that_leaves_a_young_bus_gives_nothing_up() -> None:
    async with open_system() as system:
        hub = MemoryHub()
        await anyio.sleep(10)
        ada, bob = Worker(system, hub.bus(), "ada"), Worker(system, hub.bus(), "bob")
        await anyio.wait_all_tasks_blocked()
        await bob.own("words")
        await ada.own("talk")
        hub._records.__init__()  # it has restarted, and knows nothing of anybody; both are back
        hub._begun_at = anyio.current_time()
        ada.ref.tell(bus.Parted("it restarted"))
        ada.ref.tell(bus.Joined(0.0))
        await anyio.wait_all_tasks_blocked()
        await ada.ref.ask(LeaveCluster(), timeout=5)
        assert await bob.who_owns("talk") is not None, "nobody would know that something was lost"


class Slow(Bus):
    """A bus that keeps the answers to claims back until it is told not to."""

    def __init__(self, way: Bus) -> None:
        self._way = way
        self.kept: list[Callable[[], None]] = []

    async def run(self, channels: tuple[str, ...], tell: Told) -> None:
        await self._way.run(channels, tell)

    def send(self, command: Any, then: Callable[[Any], None]) -> None:
        if isinstance(command, bus.Claim):
            self._way.send(command, lambda answer: self.kept.append(lambda: then(answer)))
        else:
            self._way.send(command, then)


@pytest.mark.holds("L9")
async def test_an_heir_that_leaves_at_once_does_not_lose_what_it_was_left() -> None:
    async with open_system() as system:
        hub = MemoryHub()
        await anyio.sleep(10)
        slow = Slow(hub.bus())
        ada, bob = Worker(system, hub.bus(), "ada"), Worker(system, slow, "bob")
        await anyio.wait_all_tasks_blocked()
        await ada.own("talk")
        await bob.who_owns("talk")
        cy = Worker(system, hub.bus(), "cy")
        ada.actor.departure._tried.add("cy")  # so that bob inherits
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ada.ref.ask, LeaveCluster())
            await settled()
            assert slow.kept, "bob has said that it takes it, and has yet to hear that it has"
            tasks.start_soon(bob.ref.ask, LeaveCluster())
            await settled()
            slow.kept.pop()()
        await settled()
        assert await cy.who_owns("talk") is not None


@pytest.mark.holds("L9")
async def test_what_a_worker_left_to_nobody_is_taken_over_while_its_pool_still_closes() -> None:
    server, hub = FakeServer(), MemoryHub()
    async with open_pool(SETTINGS, connector=server, cluster=hub) as two:
        await anyio.sleep(10)
        async with open_system() as system:
            async with open_pool(SETTINGS, connector=server, cluster=hub, system=system) as one:
                await call(one)
                assert two._membership is not None
                actor = two._membership._actor
                assert actor is not None
                way = actor._bus
                actor._bus = actor.mail._bus = Picky(way, bus.Claim, bus.Post)  # it says nothing for a moment
            actor._bus = actor.mail._bus = way
            await anyio.sleep(20)
            with pytest.raises(SessionStateLost):
                await call(two)


@pytest.mark.holds("C10")
async def test_a_conversation_that_was_taken_over_is_given_up_when_nothing_is_left_of_it() -> None:
    server, hub = FakeServer(is_stateful=False), MemoryHub()
    brief = replace(SETTINGS, key_idle=3, max_idle=3)
    async with open_pool(brief, connector=server, cluster=hub) as two:
        await anyio.sleep(10)
        async with open_pool(brief, connector=server, cluster=hub) as one:
            await call(one)
        await call(two)
        await anyio.sleep(40)
        assert two.stats().keys == ()
        assert await two.owner("talk") is None


@pytest.mark.holds("C1")
async def test_a_conversation_that_was_handed_over_has_no_session_here_any_more() -> None:
    server, hub = FakeServer(), MemoryHub()
    async with open_pool(SETTINGS, connector=server, cluster=hub) as two:
        await anyio.sleep(10)
        async with (
            open_pool(SETTINGS, connector=server, cluster=hub) as one,
            one.session(ECHO, user="ada", session_id="talk"),
        ):
            assert one._membership is not None
            await one._membership.leave()
            await settled()
            assert await two.owner("talk") == two.worker
            assert one.stats().keys == (), "a lease could begin calls here, on a session of its own"


@pytest.mark.holds("R4")
async def test_a_pool_that_is_left_within_a_system_of_its_users_does_not_listen_any_more() -> None:
    hub = MemoryHub()
    async with open_system() as system:
        async with open_pool(SETTINGS, connector=FakeServer(), cluster=hub, system=system):
            await settled()
            assert hub._listeners
        await settled()
        assert not hub._listeners
