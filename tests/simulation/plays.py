"""Scenarios that several tests run, here and in processes of their own."""

from typing import assert_never

import anyio

from actors import Actor, Outcome, Ref, Reply, Request, Succeeded, message
from actors.testing import Crash, Delay, Drop, Duplicate, Node, Pause, Reorder, Simulation, scenario


@message
class Bet(Request[int]):
    """How much somebody stakes. Answered after a while."""

    stake: int


@message
class Paid:
    reply: Reply[int]
    outcome: Outcome[int]


@message
class Tick:
    pass


@message
class Heard:
    """What is said on the bus."""

    node: str
    number: int


HouseMessage = Bet | Paid | Tick | Heard


class House(Actor[HouseMessage]):
    """Answers bets by way of an effect, and tells the bus at each tick of its timer."""

    def __init__(self, node: Node, friend: Ref[HouseMessage] | None = None) -> None:
        self.node = node
        self.friend = friend
        self.ticks = 0
        self.heard: list[Heard] = []

    def started(self) -> None:
        self.every(0.5, Tick())

    def receive(self, message: HouseMessage) -> None:
        match message:
            case Bet(stake):
                reply = self.keep_reply()
                self.start(lambda: self.play(stake), then=lambda outcome: Paid(reply, outcome))
            case Paid(reply, outcome):
                if isinstance(outcome, Succeeded):
                    reply.answer(outcome.value)
                if self.friend is not None:
                    self.friend.tell(Tick())
            case Tick():
                self.ticks += 1
                self.node.bus.post("news", Heard(self.node.name, self.ticks))
            case Heard():
                self.heard.append(message)
            case _:
                assert_never(message)

    async def play(self, stake: int) -> int:
        for _ in range(stake % 3):
            await anyio.sleep(self.random.random() / 10)
        return stake * 2


async def boot(node: Node) -> None:
    friend = node.system.spawn(House(node), name="friend")
    house = node.system.spawn(House(node, friend), name="house")
    node.bus.subscribe("news", house)


async def casino(simulation: Simulation) -> None:
    """Three nodes that hear each other, and gamblers who ask all of them."""
    nodes = [await simulation.start(name, boot) for name in ("north", "south", "west")]

    async def gamble(gambler: int) -> None:
        for stake in range(4):
            house = simulation.random.choice(nodes).system.named("house")
            assert await house.ask(Bet(stake + gambler), timeout=30) == (stake + gambler) * 2

    async with anyio.create_task_group() as group:
        for gambler in range(5):
            group.start_soon(gamble, gambler)
    await anyio.sleep(2)


@scenario(
    faults=[
        Delay(0.01, 0.2, rate=0.5),
        Drop(0.1),
        Duplicate(0.1),
        Reorder(0.3, 0.5),
        Pause("north", 0.7, 0.6),
        Crash("west", 2.6, restart_after=0.5),
    ]
)
async def stormy(simulation: Simulation) -> None:
    """The same, in bad weather that comes once all bets are made."""
    await casino(simulation)
    await anyio.sleep(3)


async def broken(simulation: Simulation) -> None:
    """Fails under some seeds: who comes first is up to the scheduler."""
    order: list[int] = []

    async def come(number: int) -> None:
        await anyio.sleep(1)
        order.append(number)

    async with simulation.open_system("broken") as system:
        probe = simulation.probe(system, "probe")
        async with anyio.create_task_group() as group:
            for number in range(3):
                group.start_soon(come, number)
        probe.ref.tell(Tick())
        assert order[0] != 1, f"they came in the order {order}"


@scenario(faults=[Drop(0.25)])
async def stormy_and_broken(simulation: Simulation) -> None:
    """Fails under every seed."""
    await anyio.sleep(1)
    raise AssertionError("broken")
