"""A run that fails tells how to run it again; a run that would not end is ended by name."""

import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from actors import Actor, Ref, Request, message
from actors.testing import (
    Deadlock,
    Drop,
    Leftovers,
    LiveLock,
    OverTime,
    Pause,
    Scenario,
    Simulation,
    UnknownScenario,
    simulate,
)
from actors.testing.__main__ import main
from tests.simulation import plays


def failing_seed(scenario: Any, **options: Any) -> tuple[int, BaseException]:
    for seed in range(100):
        try:
            simulate(scenario, seed=seed, **options)
        except AssertionError as error:
            return seed, error
    raise LookupError("no seed fails")


def command_of(error: BaseException) -> str:
    return error.__notes__[-1].rpartition("to run it again: ")[2]


def run(command: str) -> "subprocess.CompletedProcess[str]":
    words = shlex.split(command)
    assert words[0] == "python"
    return subprocess.run([sys.executable, *words[1:]], capture_output=True, text=True, check=False, timeout=60)  # noqa: S603 - our own command


def test_a_failure_leaves_as_it_is_with_a_note() -> None:
    seed, error = failing_seed(plays.broken)
    assert type(error) is AssertionError
    (note,) = error.__notes__
    assert note.startswith(f"broken failed under seed {seed} at 1.000000 s of virtual time\nlast of ")
    assert "turn Tick, outside -> /broken/probe" in note
    assert note.endswith(f"to run it again: python -m actors.testing tests.simulation.plays:broken --seed {seed}")


def test_the_notes_command_fails_in_the_same_way() -> None:
    _, error = failing_seed(plays.broken)
    done = run(command_of(error))
    assert done.returncode == 1
    assert f"AssertionError: {error.args[0]}" in done.stderr
    for line in error.__notes__[0].splitlines():
        assert line in done.stderr


def test_the_notes_command_has_the_faults_that_the_scenario_has_not() -> None:
    faults = [Drop(0.5, channel="it's"), Pause("north", 0.25, 0.5)]
    with pytest.raises(LookupError) as caught:
        simulate(plays.broken, seed=17, faults=faults, time_limit=60)
    (note,) = caught.value.__notes__
    assert "faults:\n  Drop(0.5, channel=\"it's\")\n  Pause('north', 0.25, 0.5)\n" in note
    done = run(command_of(caught.value))
    assert "--time-limit 60" in command_of(caught.value)
    assert done.returncode == 1
    assert "no node north was started by then" in done.stderr


def test_a_scenarios_own_faults_are_in_the_note_and_not_in_the_command() -> None:
    scenario = plays.stormy_and_broken
    assert isinstance(scenario, Scenario)
    with pytest.raises(AssertionError) as caught:
        simulate(scenario, seed=3)
    assert "faults:\n  Drop(0.25)" in caught.value.__notes__[0]
    assert command_of(caught.value) == "python -m actors.testing tests.simulation.plays:stormy_and_broken --seed 3"
    assert run(command_of(caught.value)).returncode == 1


def test_a_scenario_in_a_script_is_found_by_its_path(tmp_path: Path) -> None:
    script = tmp_path / "mine.py"
    script.write_text(
        "from actors.testing import Simulation, simulate\n"
        "async def fail(simulation: Simulation) -> None:\n"
        "    assert simulation.seed != 4\n"
        "if __name__ == '__main__':\n"
        "    simulate(fail, seed=4)\n"
    )
    done = subprocess.run(  # noqa: S603 - our own script
        [sys.executable, str(script)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    command = done.stderr.rpartition("to run it again: ")[2].strip()
    assert command.endswith("mine.py:fail --seed 4")
    assert run(command).returncode == 1
    assert run(command.replace("--seed 4", "--seed 5")).returncode == 0


def test_a_scenario_that_no_command_can_find_says_so() -> None:
    async def local(simulation: Simulation) -> None:
        raise ValueError

    with pytest.raises(ValueError) as caught:  # noqa: PT011 - its note is meant
        simulate(local, seed=8)
    assert command_of(caught.value).startswith("simulate(..., seed=8); a scenario at the top of a module")


def test_the_command_runs_a_range_of_seeds_and_tells_which_fail(capsys: pytest.CaptureFixture[str]) -> None:
    expected = [seed for seed in range(5, 15) if not holds(seed)]
    assert expected
    assert main(["tests.simulation.plays:broken", "--seeds", "5:15"]) == 1
    out, err = capsys.readouterr()
    assert out == f"{len(expected)} of 10 seeds failed: {', '.join(map(str, expected))}\n"
    assert err.count("Traceback") == 1


def holds(seed: int) -> bool:
    try:
        simulate(plays.broken, seed=seed)
    except AssertionError:
        return False
    return True


def test_the_command_prints_what_it_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tests.simulation.plays:casino", "--seed", "2"]) == 0
    assert capsys.readouterr().out == "casino holds under seed 2\n"
    assert main(["tests.simulation.plays:casino", "--seed", "2", "--digest"]) == 0
    assert capsys.readouterr().out == f"2 {simulate(plays.casino, seed=2).digest}\n"
    assert main(["tests.simulation.plays:casino", "--seed", "2", "--trace"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(simulate(plays.casino, seed=2).events)


@pytest.mark.parametrize(
    ("where", "complaint"),
    [
        ("tests.simulation.plays", "write package.module:name"),
        ("tests.simulation.plays:nothing", "tests.simulation.plays has no nothing that can be run"),
        ("tests.no_such_module:nothing", "there is no module tests.no_such_module"),
        ("no_such_file.py:nothing", "there is no file no_such_file.py"),
    ],
)
def test_the_command_refuses_what_it_cannot_find(
    where: str, complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main([where])
    assert caught.value.code == 2
    assert complaint in capsys.readouterr().err


def test_an_unknown_scenario_is_an_error_of_ours() -> None:
    assert issubclass(UnknownScenario, LookupError)


# --- runs that would not end


@message
class Never(Request[None]):
    pass


@message
class Ball:
    pass


class Deaf(Actor[Never]):
    def receive(self, message: Never) -> None:
        self.keep_reply()


class Player(Actor[Ball | Ref[Ball]]):
    def receive(self, message: Any) -> None:
        if isinstance(message, Ref):
            self.other: Ref[Ball] = message
        else:
            self.other.tell(message)


async def wait_for_ever(simulation: Simulation) -> None:
    async with simulation.open_system("stage") as system:
        await system.spawn(Deaf(), name="deaf").ask(Never())


def test_a_deadlock_is_named_with_what_waits() -> None:
    with pytest.raises(Deadlock) as caught:
        simulate(wait_for_ever, seed=1)
    text = str(caught.value)
    assert "wait_for_ever is in a deadlock: nothing can run any more" in text
    assert "the scenario waits in wait_for_ever, test_failure_note.py line " in text
    assert "/stage/deaf was asked for Never at 0 s, and has not answered" in text
    assert "/stage/deaf keeps the replies to Never" in text


def test_a_scenario_that_takes_too_long_is_named() -> None:
    async def dawdle(simulation: Simulation) -> None:
        for _ in range(10_000):
            await anyio.sleep(1)

    with pytest.raises(OverTime, match="dawdle has not ended within 3600 s of virtual time"):
        simulate(dawdle, seed=1)
    with pytest.raises(OverTime, match="has not ended within 5 s"):
        simulate(dawdle, seed=1, time_limit=5)


def test_actors_that_send_each_other_round_and_round_are_named() -> None:
    async def play(simulation: Simulation) -> None:
        async with simulation.open_system() as system:
            one, other = (system.spawn(Player()) for _ in range(2))
            one.tell(other)
            other.tell(one)
            one.tell(Ball())
            await anyio.sleep(1)

    for seed in range(3):
        with pytest.raises(LiveLock, match=r"play has not ended within \d+ steps \(step_limit\), and is at 0 s"):
            simulate(play, seed=seed, step_limit=20_000)


def test_a_task_that_goes_round_and_round_is_named() -> None:
    async def spin(simulation: Simulation) -> None:
        while True:
            await anyio.lowlevel.checkpoint()

    with pytest.raises(LiveLock):
        simulate(spin, seed=1, step_limit=20_000)


def test_a_task_that_goes_round_and_round_and_cannot_be_cancelled_is_cut_off() -> None:
    async def spin(simulation: Simulation) -> None:
        with anyio.CancelScope(shield=True):
            while True:
                await anyio.lowlevel.checkpoint()

    with pytest.raises(LiveLock):
        simulate(spin, seed=1, step_limit=20_000)
    simulate(plays.casino, seed=1)


class Stubborn(Actor[Ball]):
    """Its effect never ends."""

    def started(self) -> None:
        self.start(self.stay, then=lambda outcome: Ball())

    async def stay(self) -> None:
        with anyio.CancelScope(shield=True):
            await anyio.Event().wait()


def test_an_effect_that_never_ends_is_named_and_cut_off() -> None:
    async def play(simulation: Simulation) -> None:
        async with simulation.open_system("stage") as system:
            system.spawn(Stubborn(), name="stubborn")
            await anyio.sleep(1)

    with pytest.raises(Deadlock) as caught:
        simulate(play, seed=1)
    assert "/stage/stubborn is stopping and has 1 effects under way" in str(caught.value)
    assert any("play should have ended 600 s ago, and this has not" in note for note in caught.value.__notes__)


def test_a_node_that_never_ends_is_named_and_cut_off() -> None:
    async def boot(node: Any) -> None:
        node.system.spawn(Stubborn(), name="stubborn")

    async def play(simulation: Simulation) -> None:
        await simulation.start("a", boot)
        await anyio.sleep(1)

    with pytest.raises(Leftovers, match="play should have ended 600 s ago, and this has not") as caught:
        simulate(play, seed=1)
    assert "/a/stubborn is stopping and has 1 effects under way" in str(caught.value)
    simulate(plays.casino, seed=1)
