"""Nodes that crash, or stand still, by what one of their own actors does in its turn."""

from collections.abc import Callable

import anyio
import pytest

from actors import Actor, Request, message
from actors.testing import Node, Probe, Simulation, simulate
from protocol.errors import AskTimeout


@message
class Beat:
    pass


@message
class Count(Request[int]):
    pass


@message
class Work:
    pass


class Fatalist(Actor[Beat | Count | Work]):
    """Does something to its own node in its turn."""

    def __init__(self, what: Callable[[], None]) -> None:
        self.what = what
        self.beats = 0

    def receive(self, message: Beat | Count | Work) -> None:
        match message:
            case Beat():
                self.beats += 1
            case Count():
                self.reply(self.beats)
            case Work():
                self.ref.tell(Beat())
                self.what()
                self.ref.tell(Beat())


def test_a_node_that_crashes_in_its_own_turn_has_no_other_turn() -> None:
    async def play(simulation: Simulation) -> None:
        async def boot(node: Node) -> None:
            actors.append(Fatalist(node.crash))
            node.system.spawn(actors[-1], name="fatalist")

        node = await simulation.start("a", boot)
        node.system.named("fatalist").tell(Work())
        await anyio.sleep(1)
        assert not node.is_up
        assert actors[0].beats == 0

    for seed in range(10):
        actors: list[Fatalist] = []
        simulate(play, seed=seed)


@pytest.mark.parametrize("with_others", [False, True])
def test_a_node_that_is_paused_in_its_own_turn_has_no_other_turn_until_it_goes_on(*, with_others: bool) -> None:
    async def play(simulation: Simulation) -> None:
        async def boot(node: Node) -> None:
            node.system.spawn(Fatalist(lambda: node.pause(5)), name="fatalist")

        node = await simulation.start("a", boot)
        fatalist = node.system.named("fatalist")
        fatalist.tell(Work())
        if with_others:
            fatalist.tell(Beat())
        with pytest.raises(AskTimeout):
            await fatalist.ask(Count(), timeout=4)
        await anyio.sleep(2)
        assert await fatalist.ask(Count()) == 2 + with_others

    for seed in range(10):
        simulate(play, seed=seed)


def test_a_pause_outside_of_a_dispatch_or_in_a_turn_that_sends_nothing_holds_too() -> None:
    async def play(simulation: Simulation) -> None:
        async def boot(node: Node) -> None:
            probe = simulation.probe(node.system, "probe")

            class Pauses(Actor[Beat]):
                def receive(self, message: Beat) -> None:
                    node.pause(5)

            node.system.spawn(Pauses(), name="pauses")
            probes.append(probe)

        node = await simulation.start("a", boot)
        node.system.named("pauses").tell(Beat())
        probes[-1].ref.tell("held")
        await anyio.sleep(4)
        assert probes[-1].messages == ()
        await anyio.sleep(2)
        assert probes[-1].messages == ("held",)

    probes: list[Probe] = []
    for seed in range(10):
        simulate(play, seed=seed)


def test_a_crashed_node_has_no_subscription_by_name_either() -> None:
    async def boot(node: Node) -> None:
        node.system.spawn(Fatalist(node.crash), name="fatalist")
        node.bus.subscribe("news", node.system.named("fatalist"))

    async def play(simulation: Simulation) -> None:
        node = await simulation.start("a", boot)
        assert await simulation.bus.publish("news", Beat()) == 1
        node.crash()
        assert await simulation.bus.publish("news", Beat()) == 0
        await node.restart()
        assert await simulation.bus.publish("news", Beat()) == 1

    simulate(play, seed=1)
