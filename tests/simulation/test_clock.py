"""Time that is moved by hand, on both event loops; and a clock that leaps in a simulation."""

import anyio
import pytest

from actors import Actor, Ref, Request, System, message, open_system
from actors.testing import ManualClock, Node, Simulation, simulate
from protocol.errors import AskTimeout, InvalidSettings


@message
class Set:
    seconds: float


@message
class Repeat:
    seconds: float


@message
class Rang:
    pass


@message
class AskForEver(Request[None]):
    pass


class Alarm(Actor[Set | Repeat | Rang | AskForEver]):
    def __init__(self) -> None:
        self.rang: list[float] = []

    def receive(self, message: Set | Repeat | Rang | AskForEver) -> None:
        match message:
            case Set(seconds):
                self.after(seconds, Rang())
            case Repeat(seconds):
                self.every(seconds, Rang())
            case Rang():
                self.rang.append(self.now())
            case AskForEver():
                self.keep_reply()


def alarm(system: System) -> tuple[Alarm, Ref[Set | Repeat | Rang | AskForEver]]:
    actor = Alarm()
    return actor, system.spawn(actor)


async def test_a_timer_fires_when_the_clock_is_moved_and_not_before() -> None:
    clock = ManualClock(100)
    async with open_system(clock=clock) as system:
        actor, ref = alarm(system)
        ref.tell(Set(10))
        await clock.advance(9.9)
        assert actor.rang == []
        await clock.advance(0.1)
        assert actor.rang == [110]


async def test_every_beat_within_an_advance_comes_at_its_own_time() -> None:
    clock = ManualClock()
    async with open_system(clock=clock) as system:
        actor, ref = alarm(system)
        ref.tell(Repeat(2))
        await clock.advance(7)
        assert actor.rang == [2, 4, 6]
        assert clock.now() == 7


async def test_beats_within_a_leap_are_missed() -> None:
    clock = ManualClock()
    async with open_system(clock=clock) as system:
        actor, ref = alarm(system)
        ref.tell(Repeat(2))
        await clock.advance(0)
        clock.jump(7)
        await clock.advance(0)
        assert actor.rang == [7]
        await clock.advance(1)
        assert actor.rang == [7, 8]


async def test_an_ask_is_out_of_time_when_the_clock_says_so() -> None:
    clock = ManualClock()
    async with open_system(clock=clock) as system:
        _, ref = alarm(system)
        errors: list[AskTimeout] = []

        async def ask() -> None:
            try:
                await ref.ask(AskForEver(), timeout=5)
            except AskTimeout as error:
                errors.append(error)

        async with anyio.create_task_group() as group:
            group.start_soon(ask)
            await clock.advance(4.9)
            assert not errors
            await clock.advance(0.1)
            assert errors


async def test_a_manual_clock_goes_forward_by_seconds_alone() -> None:
    clock = ManualClock()
    for seconds in (-1, float("nan")):
        with pytest.raises(InvalidSettings, match="cannot advance by"):
            await clock.advance(seconds)
    await clock.wait(anyio.Event(), 0)
    assert clock.now() == 0


def test_a_simulated_clock_leaps_for_one_node_alone() -> None:
    async def leap(simulation: Simulation) -> None:
        actors = {name: Alarm() for name in ("a", "b")}

        async def boot(node: Node) -> None:
            node.system.spawn(actors[node.name]).tell(Set(100))

        a = await simulation.start("a", boot)
        await simulation.start("b", boot)
        await anyio.sleep(1)
        a.clock.jump(98.5)
        await anyio.sleep(0.4)
        assert actors["a"].rang == []
        await anyio.sleep(0.2)
        assert actors["a"].rang == [pytest.approx(100)]
        await anyio.sleep(98)
        assert actors["b"].rang == []
        await anyio.sleep(1)
        assert actors["b"].rang == [100]

    for seed in range(5):
        simulate(leap, seed=seed)


def test_a_clock_that_leaps_back_puts_off_what_was_to_come() -> None:
    async def leap(simulation: Simulation) -> None:
        async with simulation.open_system() as system:
            actor = Alarm()
            system.spawn(actor).tell(Set(10))
            await anyio.sleep(9)
            system.clock.jump(-5)
            await anyio.sleep(5.9)
            assert actor.rang == []
            await anyio.sleep(0.2)
            assert len(actor.rang) == 1

    simulate(leap, seed=1)


def test_an_asks_deadline_leaps_with_the_clock() -> None:
    async def leap(simulation: Simulation) -> None:
        async with simulation.open_system() as system, anyio.create_task_group() as group:
            ref = system.spawn(Alarm())

            async def ask() -> None:
                with pytest.raises(AskTimeout):
                    await ref.ask(AskForEver(), timeout=1000)

            group.start_soon(ask)
            await anyio.sleep(1)
            system.clock.jump(1000)
            await anyio.sleep(0.001)
            assert not system.open_asks

    simulate(leap, seed=1)


@pytest.mark.parametrize("offset", [0.1, 1e9 + 0.3, -7.7])
def test_rounding_never_lets_a_timer_wait_for_no_time(offset: float) -> None:
    async def round_off(simulation: Simulation) -> None:
        async with simulation.open_system() as system:
            system.clock.jump(offset)
            actor = Alarm()
            ref = system.spawn(actor)
            for number in range(200):
                ref.tell(Set(number / 7))
            await anyio.sleep(30)
            assert len(actor.rang) == 200

    simulate(round_off, seed=1, step_limit=50_000)


def test_a_leap_that_is_no_number_is_refused() -> None:
    async def leap(simulation: Simulation) -> None:
        async with simulation.open_system() as system:
            system.clock.jump(float("inf"))

    with pytest.raises(InvalidSettings, match="cannot leap by inf s"):
        simulate(leap, seed=1)
