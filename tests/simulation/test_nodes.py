"""Nodes: what would be processes. They crash, start again, and stand still."""

import anyio
import pytest

from actors import Actor, AskerGone, Request, Signal, message
from actors.testing import Leftovers, Node, NodeDown, Simulation, simulate
from protocol.errors import ActorStopped, AskTimeout, NameTaken, SystemClosed


@message
class Beat:
    pass


@message
class Count(Request[int]):
    pass


@message
class Never(Request[None]):
    pass


@message
class Work:
    pass


class Counter(Actor[Beat | Count | Never | Work]):
    """Counts its beats, and writes down what becomes of it."""

    def __init__(self, node: Node, diary: list[str]) -> None:
        self.node = node
        self.diary = diary
        self.beats = 0

    def started(self) -> None:
        self.diary.append("started")
        self.every(1, Beat())
        self.start(self.wait, then=lambda outcome: Beat())

    def receive(self, message: Beat | Count | Never | Work) -> None:
        match message:
            case Beat():
                self.beats += 1
                self.node.bus.post("beats", Beat())
            case Count():
                self.reply(self.beats)
            case Never():
                self.keep_reply()
            case Work():
                self.diary.append("worked")

    def signal(self, signal: Signal) -> None:
        assert isinstance(signal, AskerGone)

    def stopped(self, reason: BaseException | None) -> None:
        self.diary.append("stopped")

    async def wait(self) -> None:
        bus, ref = self.node.bus, self.ref
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(self.tick)
                await anyio.sleep_forever()
        finally:
            self.diary.append("cleaned up")
            ref.tell(Work())
            bus.post("beats", "from the dead")

    async def tick(self) -> None:
        while True:
            await anyio.sleep(1)
            self.diary.append(f"tick at {anyio.current_time():g}")


class World:
    def __init__(self, simulation: Simulation) -> None:
        self.simulation = simulation
        self.diary: list[str] = []

    async def boot(self, node: Node) -> None:
        node.system.spawn(Counter(node, self.diary), name="counter")


def test_a_node_is_ended_in_good_order_with_its_scenario() -> None:
    async def play(simulation: Simulation) -> None:
        worlds.append(World(simulation))
        node = await simulation.start("a", worlds[-1].boot)
        assert repr(node) == "<Node a, up>"
        await anyio.sleep(2.5)
        assert await node.system.named("counter").ask(Count()) == 2

    worlds: list[World] = []
    run = simulate(play, seed=1)
    assert worlds[0].diary == ["started", "tick at 1", "tick at 2", "cleaned up", "stopped"]
    assert [event.kind for event in run.events if event.kind in ("start", "stop")] == ["start", "stop"]


@pytest.mark.holds("R2")
def test_a_crash_gives_no_actor_another_turn_and_lets_nothing_out() -> None:
    async def play(simulation: Simulation) -> None:
        world = World(simulation)
        node = await simulation.start("a", world.boot)
        async with simulation.open_system("watch") as system:
            probe = simulation.probe(system)
            simulation.bus.subscribe("beats", probe.ref)
            counter = node.system.named("counter")

            async def ask() -> None:
                with pytest.raises(ActorStopped):
                    await counter.ask(Never())
                world.diary.append("ask ended")

            async with anyio.create_task_group() as group:
                group.start_soon(ask)
                await anyio.sleep(1.5)
                node.crash()
                node.crash()
                counter.tell(Work())
                with pytest.raises(SystemClosed):
                    node.system.spawn(Counter(node, []))
            assert await probe.expect(Beat) == Beat()
            await probe.expect_none(for_=100)
        assert not node.is_up
        assert world.diary == ["started", "tick at 1", "cleaned up", "ask ended"]
        await node.stop()
        with pytest.raises(NodeDown, match="node a is down and cannot be paused"):
            node.pause(1)

    for seed in range(10):
        simulate(play, seed=seed)


def test_a_node_that_is_restarted_is_another_system_with_the_same_name() -> None:
    async def play(simulation: Simulation) -> None:
        world = World(simulation)
        node = await simulation.start("a", world.boot)
        first, bus, draw = node.system, node.bus, node.system.random.random()
        await anyio.sleep(1.5)
        node.crash()
        await anyio.sleep(5)
        await node.restart()
        assert node.is_up
        assert node.system is not first
        assert node.bus is not bus
        assert node.system.name == "a"
        assert node.system.random.random() != draw
        await anyio.sleep(1.5)
        assert await node.system.named("counter").ask(Count()) == 1
        await node.restart()
        await anyio.sleep(3.5)
        assert await node.system.named("counter").ask(Count()) == 3

    for seed in range(5):
        simulate(play, seed=seed)


def test_a_restart_does_not_wait_for_the_cleanup_of_the_life_before() -> None:
    class Slow(Actor[Beat]):
        def started(self) -> None:
            self.start(self.wait, then=lambda outcome: Beat())

        async def wait(self) -> None:
            try:
                await anyio.sleep_forever()
            finally:
                with anyio.CancelScope(shield=True):
                    await anyio.sleep(50)

    async def boot(node: Node) -> None:
        node.system.spawn(Slow())

    async def play(simulation: Simulation) -> None:
        node = await simulation.start("a", boot)
        await anyio.sleep(1)
        node.crash()
        await node.restart()
        assert simulation.now() == 1
        await anyio.sleep(1)

    assert simulate(play, seed=1).seconds == 52


def test_nothing_of_a_paused_node_runs_and_then_all_goes_on() -> None:
    async def play(simulation: Simulation) -> None:
        world = World(simulation)
        node = await simulation.start("a", world.boot)
        counter = node.system.named("counter")
        await anyio.sleep(1.5)
        node.pause(10)
        assert node.is_paused
        counter.tell(Work())
        with pytest.raises(AskTimeout):
            await counter.ask(Count(), timeout=5)
        assert simulation.now() == 6.5
        assert world.diary == ["started", "tick at 1"]
        await anyio.sleep(5.1)
        assert world.diary[2:4] in (["worked", "tick at 11.5"], ["tick at 11.5", "worked"])
        assert await counter.ask(Count()) == 2  # the beats between are missed, but for one
        assert node.system.clock.now() == pytest.approx(11.6)

    for seed in range(10):
        simulate(play, seed=seed)


def test_a_pause_can_be_cut_short_and_made_longer() -> None:
    async def play(simulation: Simulation) -> None:
        node = await simulation.start("a", World(simulation).boot)
        node.pause(10)
        await anyio.sleep(5)
        node.pause(10)
        await anyio.sleep(9)
        assert node.is_paused
        node.resume()
        assert not node.is_paused
        node.pause(2)
        await anyio.sleep(1.5)
        assert node.is_paused  # the end of the earlier pause changes nothing
        await anyio.sleep(1)
        assert not node.is_paused
        node.pause(1000)
        node.crash()
        await node.restart()
        assert await node.system.named("counter").ask(Count()) == 0

    for seed in range(5):
        simulate(play, seed=seed)


def test_messages_by_the_bus_wait_for_a_paused_node() -> None:
    async def boot(node: Node) -> None:
        pass

    async def play(simulation: Simulation) -> None:
        node = await simulation.start("a", boot)
        probe = simulation.probe(node.system)
        simulation.bus.subscribe("news", probe.ref)
        node.pause(10)
        for number in range(5):
            assert await simulation.bus.publish("news", number) == 1
        await anyio.sleep(5)
        assert probe.messages == ()
        await anyio.sleep(6)
        assert probe.messages == tuple(range(5))

    for seed in range(10):
        simulate(play, seed=seed)


def test_two_nodes_of_one_name_are_refused() -> None:
    async def boot(node: Node) -> None:
        pass

    async def play(simulation: Simulation) -> None:
        await simulation.start("a", boot)
        with pytest.raises(NameTaken, match="there is a node a already"):
            await simulation.start("a", boot)

    simulate(play, seed=1)


def test_a_boot_that_fails_is_raised_where_the_node_is_started() -> None:
    async def boot(node: Node) -> None:
        raise ValueError("no luck")

    async def play(simulation: Simulation) -> None:
        with pytest.raises(ValueError, match="no luck"):
            await simulation.start("a", boot)
        assert not simulation.nodes["a"].is_up

    simulate(play, seed=1)


class Proud(Actor[Beat]):
    escalates = True

    def receive(self, message: Beat) -> None:
        raise ValueError("beaten")


async def boot_proud(node: Node) -> None:
    node.system.spawn(Proud(), name="proud")


async def beat_proud(simulation: Simulation) -> None:
    node = await simulation.start("a", boot_proud)
    node.system.named("proud").tell(Beat())
    await anyio.sleep(10)


def test_a_node_that_fails_fails_the_run() -> None:
    with pytest.raises(ValueError, match="beaten"):
        simulate(beat_proud, seed=1)


def test_a_node_that_may_fail_fails_alone() -> None:
    async def play(simulation: Simulation) -> None:
        node = await simulation.start("a", boot_proud, may_fail=True)
        node.system.named("proud").tell(Beat())
        await anyio.sleep(1)
        assert not node.is_up
        assert isinstance(node.failure, ValueError)
        await node.restart()
        assert node.failure is None

    simulate(play, seed=1)


def test_what_blocks_runs_in_the_seeds_order_and_not_in_a_thread() -> None:
    async def play(simulation: Simulation) -> None:
        async with simulation.open_system() as system:
            probe = simulation.probe(system)

            class Blocking(Actor[Beat]):
                def started(self) -> None:
                    for number in range(5):
                        self.start_in_thread(lambda number=number: probe.ref.tell(number), then=lambda outcome: Beat())

                def receive(self, message: Beat) -> None:
                    pass

            system.spawn(Blocking())
            await anyio.sleep(1)
            orders.append(probe.messages)

    orders: list[object] = []
    for seed in range(20):
        simulate(play, seed=seed)
    assert len(set(orders)) > 5
    first = orders[0]
    simulate(play, seed=0)
    assert orders[-1] == first


def test_what_a_scenario_leaves_behind_fails_the_run() -> None:
    async def play(simulation: Simulation) -> None:
        system = simulation.open_system("forgotten")
        await system.__aenter__()

    with pytest.raises(Leftovers, match="system forgotten is still open"):
        simulate(play, seed=1)
