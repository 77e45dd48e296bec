"""Restart type by exit reason by strategy by position, with siblings of every kind, against an oracle.

The oracle says from the rules alone what is ordered, in which order, and what is left. It knows children by their
place, and nothing of states. A child that is stopped from outside, past its supervisor, ends normally.
"""

from dataclasses import dataclass, field
from typing import Literal

import pytest

from protocol.child import ChildSpec, ChildState
from protocol.errors import StartFailed as StartFailedError
from protocol.restart import RestartText, StrategyText
from protocol.supervision import Phase, SupervisorMachine
from protocol.supervisor_events import (
    Answer,
    Boot,
    Exited,
    Finish,
    ShutDown,
    Start,
    Started,
    StartFailed,
    SupervisorEvent,
    TerminateChild,
)

Reason = Literal["normal", "terminated", "crash", "start failure"]
Sibling = Literal["permanent", "transient", "temporary", "stopped"]

RESTARTS: tuple[RestartText, ...] = ("permanent", "transient", "temporary")
REASONS: tuple[Reason, ...] = ("normal", "terminated", "crash", "start failure")
STRATEGIES: tuple[StrategyText, ...] = ("one_for_one", "one_for_all", "rest_for_one")
SIBLINGS: tuple[Sibling, ...] = ("permanent", "transient", "temporary", "stopped")
IDS = ("a", "b", "c", "d")


@dataclass
class Outcome:
    orders: list[str]
    """What was ordered, in order."""
    running: list[str]
    stopped: list[str]
    restarts: int


def make() -> None:
    """What a spec here starts, which nobody does."""


@dataclass
class World:
    """Does at once what the machine wants, except that it fails the starts that it is told to."""

    machine: SupervisorMachine[str]
    failing: list[str] = field(default_factory=list[str])
    orders: list[str] = field(default_factory=list[str])
    finished: list[Exception | None] = field(default_factory=list["Exception | None"])

    def __call__(self, event: SupervisorEvent[str]) -> None:
        for effect in self.machine.handle(event, now=0.0, draw=0.0):
            match effect:
                case Start(child):
                    self.orders.append(f"start {child}")
                    if child in self.failing:
                        self.failing.remove(child)
                        self(StartFailed(child, StartFailedError("it would not")))
                    else:
                        self(Started(child))
                case ShutDown(child):
                    self.orders.append(f"stop {child}")
                    self(Exited(child, RuntimeError("it did not like to go")))
                case Finish(error):
                    self.finished.append(error)
                case _:
                    assert isinstance(effect, Answer)

    def outcome(self) -> Outcome:
        at = {status.id: status.state for status in self.machine.children()}
        assert set(at.values()) <= {ChildState.RUNNING, ChildState.STOPPED}
        return Outcome(
            orders=self.orders,
            running=[child for child, state in at.items() if state is ChildState.RUNNING],
            stopped=[child for child, state in at.items() if state is ChildState.STOPPED],
            restarts=self.machine.restarts,
        )


def expected(restart: str, reason: Reason, strategy: str, place: int, sibling: Sibling) -> Outcome:
    """What the rules say."""
    places = range(len(IDS))
    running = [other != place and sibling != "stopped" for other in places]
    stopped = [other != place and sibling == "stopped" for other in places]
    orders: list[str] = []
    restarts = 0
    if reason == "terminated":
        orders.append(f"stop {IDS[place]}")
        stopped[place] = restart != "temporary"
    elif restart == "transient" and reason == "normal":
        stopped[place] = True
    elif restart != "temporary":
        reach = {"one_for_one": [place], "one_for_all": [*places], "rest_for_one": [*places][place:]}[strategy]
        attempts = 2 if reason == "start failure" else 1
        for attempt in range(1, attempts + 1):
            restarts += 1
            for other in reversed(reach):
                if running[other]:
                    orders.append(f"stop {IDS[other]}")
                    running[other] = False
                    stopped[other] = sibling != "temporary"
            for other in reach:
                if other == place or stopped[other]:
                    orders.append(f"start {IDS[other]}")
                    if other == place and attempt < attempts:
                        break
                    running[other], stopped[other] = True, False
    return Outcome(
        orders=orders,
        running=[IDS[other] for other in places if running[other]],
        stopped=[IDS[other] for other in places if stopped[other]],
        restarts=restarts,
    )


@pytest.mark.holds("R3")
@pytest.mark.parametrize("sibling", SIBLINGS)
@pytest.mark.parametrize("place", range(len(IDS)))
@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("reason", REASONS)
@pytest.mark.parametrize("restart", RESTARTS)
def test_what_follows_an_end_is_what_the_rules_say(
    restart: RestartText, reason: Reason, strategy: StrategyText, place: int, sibling: Sibling
) -> None:
    kind: RestartText = "permanent" if sibling == "stopped" else sibling
    specs = [ChildSpec(name, make, restart=restart if IDS[place] == name else kind) for name in IDS]
    world = World(SupervisorMachine[str]("root", specs, strategy=strategy, intensity=2))
    world(Boot())
    if sibling == "stopped":
        for name in IDS:
            if name != IDS[place]:
                world(TerminateChild("before", name))
    world.orders.clear()
    child = IDS[place]
    match reason:
        case "normal":
            world(Exited(child))
        case "terminated":
            world(TerminateChild("ada", child))
        case "crash":
            world(Exited(child, RuntimeError("crash")))
        case "start failure":
            world.failing.append(child)
            world(Exited(child, RuntimeError("crash")))
    assert world.outcome() == expected(restart, reason, strategy, place, sibling)
    assert world.machine.phase is Phase.UP


@pytest.mark.holds("R3")
@pytest.mark.parametrize("place", range(len(IDS)))
@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("restart", RESTARTS)
def test_a_start_that_fails_at_boot_ends_the_supervisor_whatever_its_type(
    restart: RestartText, strategy: StrategyText, place: int
) -> None:
    machine = SupervisorMachine[str](
        "root", [ChildSpec(name, make, restart=restart) for name in IDS], strategy=strategy
    )
    world = World(machine, failing=[IDS[place]])
    world(Boot())
    up = IDS[:place]
    assert world.orders == [f"start {name}" for name in (*up, IDS[place])] + [f"stop {name}" for name in reversed(up)]
    (error,) = world.finished
    assert isinstance(error, StartFailedError)
    assert machine.restarts == 0


@pytest.mark.holds("R3")
@pytest.mark.parametrize("place", range(len(IDS)))
@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("restart", RESTARTS)
def test_an_end_that_may_not_be_followed_by_a_restart_shuts_all_others_down_unless_it_asks_for_none(
    restart: RestartText, strategy: StrategyText, place: int
) -> None:
    specs = [ChildSpec(name, make, restart=restart) for name in IDS]
    world = World(SupervisorMachine[str]("root", specs, strategy=strategy, intensity=0))
    world(Boot())
    world.orders.clear()
    world(Exited(IDS[place], RuntimeError("crash")))
    if restart == "temporary":
        assert world.orders == []
        assert world.finished == []
    else:
        assert world.orders == [f"stop {name}" for name in reversed(IDS) if name != IDS[place]]
        assert len(world.finished) == 1
