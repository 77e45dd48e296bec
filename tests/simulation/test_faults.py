"""Each fault does what it says, and can be seen in the run; what cannot be is refused by name."""

from random import Random
from typing import Any

import anyio
import pytest

from actors import Actor, message
from actors.testing import (
    ClockJump,
    Crash,
    Delay,
    Drop,
    Duplicate,
    Fault,
    Node,
    Pause,
    Probe,
    Reorder,
    Run,
    Simulation,
    UnknownNode,
    parse_fault,
    random_faults,
    scenario,
    simulate,
)
from protocol.errors import InvalidSettings

COUNT = 200


@message
class Number:
    value: int


class Reporter(Actor[int]):
    """Posts the numbers from 0 on, one each 0.01 s."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.next = 0

    def started(self) -> None:
        self.every(0.01, 0)

    def receive(self, message: int) -> None:
        if self.next < COUNT:
            self.node.bus.post("numbers", Number(self.next))
            self.next += 1


async def boot_reporter(node: Node) -> None:
    node.system.spawn(Reporter(node), name="reporter")


class News:
    """Node `a` posts numbers, and a probe in node `b` takes down what arrives, and when."""

    def __init__(self) -> None:
        self.probe: Probe

    async def play(self, simulation: Simulation) -> None:
        async def boot_reader(node: Node) -> None:
            self.probe = simulation.probe(node.system, "reader")
            node.bus.subscribe("numbers", self.probe.ref)

        await simulation.start("b", boot_reader)
        await simulation.start("a", boot_reporter)
        await anyio.sleep(COUNT * 0.01 + 1)

    @property
    def numbers(self) -> list[int]:
        return [number.value for number in self.probe.messages]


def run_news(*faults: Fault, seed: int = 1) -> tuple[list[int], Run]:
    news = News()
    run = simulate(news.play, seed=seed, faults=faults)
    assert run.faults == faults
    return news.numbers, run


def seen(run: Run, kind: str) -> int:
    return sum(event.kind == kind for event in run.events)


@pytest.mark.holds("R1")
def test_without_faults_all_arrives_once_in_order_and_later() -> None:
    for seed in range(5):
        numbers, run = run_news(seed=seed)
        assert numbers == list(range(COUNT))
        posted = [event.at for event in run.events if event.receiver == "/a/reporter" and event.message == "int"]
        came = [event.at for event in run.events if event.message == "Number"]
        assert all(0 < later - earlier <= 0.01 for earlier, later in zip(posted, came, strict=False))


def test_delayed_messages_come_later_and_in_order() -> None:
    numbers, run = run_news(Delay(0.1, 0.2, rate=0.5))
    assert numbers == list(range(COUNT))
    assert COUNT * 0.3 < seen(run, "delay") < COUNT * 0.7
    first = next(event.at for event in run.events if event.kind == "delay")
    assert next(event.at for event in run.events if event.message == "Number" and event.kind == "turn") > first


def test_dropped_messages_do_not_come() -> None:
    numbers, run = run_news(Drop(0.3))
    assert numbers == sorted(set(numbers))
    assert len(numbers) + seen(run, "drop") == COUNT
    assert COUNT * 0.15 < seen(run, "drop") < COUNT * 0.45


def test_duplicated_messages_come_twice() -> None:
    numbers, run = run_news(Duplicate(0.3))
    assert sorted(set(numbers)) == list(range(COUNT))
    assert len(numbers) == COUNT + seen(run, "duplicate")
    assert COUNT * 0.15 < seen(run, "duplicate") < COUNT * 0.45
    assert max(map(numbers.count, numbers)) == 2


def test_reordered_messages_come_out_of_order() -> None:
    numbers, run = run_news(Reorder(0.3, 0.1))
    assert numbers != list(range(COUNT))
    assert sorted(numbers) == list(range(COUNT))
    assert seen(run, "reorder") > 0


def test_a_fault_befalls_only_what_it_names() -> None:
    for fault in (
        Drop(1, channel="other*"),
        Drop(1, sender="b"),
        Drop(1, receiver="a"),
        Drop(1, between=(100, 200)),
        Drop(0),
    ):
        assert run_news(fault)[0] == list(range(COUNT))
    for fault in (Drop(1, channel="n*s"), Drop(1, sender="a"), Drop(1, receiver="?")):
        assert run_news(fault)[0] == []
    numbers, run = run_news(Drop(1, between=(0.5, 1)))
    assert 45 <= COUNT - len(numbers) <= 55
    assert all(0.5 <= event.at < 1 for event in run.events if event.kind == "drop")


def test_a_crash_ends_the_node_and_a_restart_begins_it_again() -> None:
    numbers, run = run_news(Crash("a", 1, restart_after=0.5))
    assert numbers[90:] == list(range(90, numbers[90:].index(0) + 90)) + list(
        range(len(numbers) - numbers[90:].index(0) - 90)
    )
    kinds = [(event.at, event.kind) for event in run.events if event.system == "a" and event.kind != "turn"]
    assert kinds[:3] == [(0, "start"), (1, "crash"), (1.5, "restart")]
    numbers, run = run_news(Crash("a", 1))
    assert len(numbers) in (99, 100)
    assert seen(run, "restart") == 0


def test_a_crashed_receiver_is_none() -> None:
    async def play(simulation: Simulation) -> None:
        news = News()
        await news.play(simulation)
        assert await simulation.bus.publish("numbers", Number(1)) == 1
        simulation.nodes["b"].crash()
        assert await simulation.bus.publish("numbers", Number(1)) == 0

    simulate(play, seed=1)


def test_a_message_under_way_to_a_crashed_node_is_lost() -> None:
    async def play(simulation: Simulation) -> None:
        await News().play(simulation)
        simulation.bus.post("numbers", Number(1))
        simulation.nodes["b"].crash()
        await anyio.sleep(1)
        assert simulation.broker.lost == 1

    assert seen(simulate(play, seed=1), "lost") == 1


def test_a_paused_node_posts_nothing_and_then_all_goes_on() -> None:
    numbers, run = run_news(Pause("a", 1, 0.5))
    assert numbers == list(range(len(numbers)))
    assert COUNT - 10 <= len(numbers) <= COUNT
    times = [event.at for event in run.events if event.receiver == "/a/reporter"]
    assert not [at for at in times if 1 < at < 1.5]
    assert [event.message for event in run.events if event.kind == "pause"] == ["0.5 s"]
    assert [event.at for event in run.events if event.kind == "resume"] == [1.5]


def test_a_clock_that_leaps_brings_timers_forward() -> None:
    async def play(simulation: Simulation) -> None:
        async def boot(node: Node) -> None:
            probe = simulation.probe(node.system, "probe")
            probe.ref.tell("now")
            probes.append(probe)

            class Later(Actor[int]):
                def started(self) -> None:
                    self.after(100, 0)

                def receive(self, message: int) -> None:
                    probe.ref.tell("later")

            node.system.spawn(Later())

        await simulation.start("a", boot)
        await anyio.sleep(3)

    probes: list[Probe] = []
    run = simulate(play, seed=1, faults=[ClockJump("a", 2, 99)])
    assert probes[0].messages == ("now", "later")
    assert [(event.at, event.message) for event in run.events if event.kind == "jump"] == [(2, "99 s")]


def test_a_scenario_draws_its_faults_from_the_seed() -> None:
    @scenario(faults=lambda random: random_faults(random, ["a", "b"], 2))
    async def play(simulation: Simulation) -> None:
        drawn.append(simulation.faults)
        await News().play(simulation)

    drawn: list[Any] = []
    runs = [simulate(play, seed=seed) for seed in range(20)]
    assert [run.faults for run in runs] == drawn
    assert len(set(drawn)) > 15
    assert {type(fault) for plan in drawn for fault in plan} == {
        ClockJump,
        Crash,
        Delay,
        Drop,
        Duplicate,
        Pause,
        Reorder,
    }
    assert simulate(play, seed=7).digest == runs[7].digest


def test_a_plan_that_names_an_unknown_node_fails_by_name() -> None:
    with pytest.raises(UnknownNode, match=r"Crash\('c', 1\), but no node c was started by then; those started: b, a"):
        run_news(Crash("c", 1))
    with pytest.raises(UnknownNode, match=r"Pause\('c', 1000, 1\), but no node c"):
        run_news(Pause("c", 1000, 1))


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda: Drop(-0.1), r"Drop\(-0.1\) cannot be: a rate is from 0 to 1"),
        (lambda: Drop(1.5), "a rate is from 0 to 1"),
        (lambda: Duplicate(float("nan")), "a rate is from 0 to 1"),
        (lambda: Delay(2, 1), "least is not above most"),
        (lambda: Delay(1, 2, rate=2), "a rate is from 0 to 1"),
        (lambda: Reorder(0.1, -1), "within is seconds"),
        (lambda: Drop(0.1, between=(2, 1)), "between goes from one moment to a later one"),
        (lambda: Crash("", 1), "node is a node's name"),
        (lambda: Crash("a", -1), "at is seconds since the run began"),
        (lambda: Crash("a", 1, -1), "restart_after is seconds"),
        (lambda: Pause("a", 1, -1), "seconds is at least 0"),
        (lambda: ClockJump("a", 1, float("inf")), "seconds is a finite number"),
        (lambda: random_faults(Random(1), [], 0), "cannot be drawn for 0 s"),
        (lambda: parse_fault("Flood(1)"), "the kinds are Delay, Drop"),
        (lambda: parse_fault("Drop"), "write it as in Python"),
        (lambda: parse_fault("Drop(x)"), "is no fault"),
        (lambda: parse_fault("Drop(2)"), "a rate is from 0 to 1"),
    ],
)
def test_a_fault_that_cannot_be_is_refused_by_name(make: Any, complaint: str) -> None:
    with pytest.raises(InvalidSettings, match=complaint):
        make()


def test_a_fault_is_written_as_it_is_read() -> None:
    faults = [
        Delay(0, 1, between=(1, 2), rate=0.5),
        Drop(0.1, channel="it's"),
        Crash("a", 1),
        Crash("a", 1, 2),
        *random_faults(Random(4), ["a"], 60),
    ]
    assert [parse_fault(repr(fault)) for fault in faults] == faults
    assert repr(faults[:4]) == (
        "[Delay(0, 1, between=(1, 2), rate=0.5), Drop(0.1, channel=\"it's\"), Crash('a', 1), Crash('a', 1, 2)]"
    )


def test_who_has_unsubscribed_or_stopped_is_not_counted() -> None:
    async def play(simulation: Simulation) -> None:
        async with simulation.open_system() as system:
            one, other = (simulation.probe(system) for _ in range(2))
            for probe in (one, one, other):
                simulation.bus.subscribe("news", probe.ref)
            assert await simulation.bus.publish("news", 1) == 2
            simulation.bus.unsubscribe("news", one.ref)
            simulation.bus.unsubscribe("nothing", one.ref)
            assert await simulation.bus.publish("news", 2) == 1
            await anyio.sleep(1)
            other.ref.stop()
            assert await simulation.bus.publish("news", 3) == 0
            assert (one.messages, other.messages) == ((1,), (1, 2))

    simulate(play, seed=1)
