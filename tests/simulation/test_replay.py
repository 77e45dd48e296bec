"""The same seed gives the same run, event for event, also in another process; another seed gives another run."""

import asyncio
import gc
import os
import random
import secrets
import subprocess
import sys
import threading
import uuid
from functools import cache
from hashlib import sha256
from typing import Any

import anyio
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.testing import Run, Simulation, SimulationRunning, simulate
from tests.simulation.plays import casino, stormy
from tests.simulation.trees import forest

SEEDS = 30
PLAYS = {"casino": casino, "stormy": stormy}


@cache
def runs(play: str) -> list[Run]:
    return [simulate(PLAYS[play], seed=seed) for seed in range(SEEDS)]


def order(run: Run) -> str:
    """The digest of what happened in which order, whatever the times."""
    return sha256(repr([event[1:] for event in run.events]).encode()).hexdigest()


@pytest.mark.holds("R5")
@pytest.mark.parametrize("play", PLAYS)
def test_thirty_seeds_give_thirty_interleavings(play: str) -> None:
    assert len({run.digest for run in runs(play)}) == SEEDS
    assert len({order(run) for run in runs(play)}) == SEEDS


@pytest.mark.holds("R5")
@pytest.mark.parametrize("play", PLAYS)
def test_a_seed_gives_the_same_run_again(play: str) -> None:
    for run in runs(play)[:10]:
        again = simulate(PLAYS[play], seed=run.seed)
        assert again.events == run.events
        assert (again.digest, again.steps, again.seconds) == (run.digest, run.steps, run.seconds)


@pytest.mark.holds("R5")
@pytest.mark.parametrize("hash_seed", ["1", "2"])
@pytest.mark.parametrize("play", PLAYS)
def test_thirty_seeds_replay_in_another_process_with_another_hash_seed(play: str, hash_seed: str) -> None:
    command = [sys.executable, "-m", "actors.testing", f"tests.simulation.plays:{play}", "--seeds", "30", "--digest"]
    done = subprocess.run(  # noqa: S603 - our own command
        command, env={**os.environ, "PYTHONHASHSEED": hash_seed}, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.splitlines() == [f"{run.seed} {run.digest}" for run in runs(play)]


@pytest.mark.holds("R5")
def test_a_forest_replays_in_another_process_with_another_hash_seed() -> None:
    command = [sys.executable, "-m", "actors.testing", "tests.simulation.trees:forest", "--seeds", "5", "--digest"]
    done = subprocess.run(  # noqa: S603 - our own command
        command, env={**os.environ, "PYTHONHASHSEED": "3"}, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.splitlines() == [f"{seed} {simulate(forest, seed=seed).digest}" for seed in range(5)]


@pytest.mark.holds("R5")
def test_what_was_run_and_collected_before_changes_nothing() -> None:
    first = simulate(casino, seed=3).digest
    rings: list[list[object]] = [[] for _ in range(10_000)]
    for ring in rings:
        ring.append(ring)
    del rings
    for seed in range(3):
        simulate(stormy, seed=seed)
    assert simulate(casino, seed=3).digest == first


def test_pythons_own_randomness_comes_from_the_seed() -> None:
    drawn: list[tuple[float, str, bytes, str, float]] = []

    async def draw(simulation: Simulation) -> None:
        async with simulation.open_system() as system:
            drawn.append(
                (
                    random.random(),
                    secrets.token_hex(),
                    os.urandom(8),
                    str(uuid.uuid4()),
                    system.random.random(),
                )
            )

    for seed in (1, 1, 2):
        simulate(draw, seed=seed)
    assert drawn[0] == drawn[1]
    assert all(first != other for first, other in zip(drawn[0], drawn[2], strict=True))


def state() -> list[object]:
    """What is the process's, and a simulation changes while it runs."""
    scheduling: Any = trio._core._run  # pyright: ignore[reportPrivateUsage]
    return [
        scheduling._r,
        scheduling._ALLOW_DETERMINISTIC_SCHEDULING,
        os.urandom,
        gc.isenabled(),
        gc.get_freeze_count(),
    ]


def test_a_simulation_leaves_no_trace_of_itself() -> None:
    random.seed(5)
    expected = random.Random(5).random()
    before = state()
    simulate(casino, seed=1)
    after = state()
    assert after == before
    assert random.random() == expected
    assert secrets.token_hex() != secrets.token_hex()


async def nothing(simulation: Simulation) -> None:
    pass


async def test_a_simulation_inside_an_event_loop_is_refused_by_name() -> None:
    with pytest.raises(SimulationRunning, match="nothing cannot be simulated inside an event loop"):
        simulate(nothing, seed=0)


def test_a_simulation_inside_another_one_is_refused_by_name() -> None:
    async def nested(simulation: Simulation) -> None:
        simulate(nothing, seed=0)

    with pytest.raises(SimulationRunning, match="inside an event loop"):
        simulate(nested, seed=0)


def test_a_simulation_beside_another_one_is_refused_by_name() -> None:
    refused: list[Exception] = []

    def beside() -> None:
        try:
            simulate(nothing, seed=0)
        except SimulationRunning as error:
            refused.append(error)

    async def outer(simulation: Simulation) -> None:
        thread = threading.Thread(target=beside)
        thread.start()
        thread.join()

    simulate(outer, seed=0)
    assert "while another simulation runs" in str(refused[0])


def test_an_event_loop_of_another_thread_goes_on_beside_a_simulation() -> None:
    async def sleep() -> None:
        async with anyio.create_task_group() as group:
            for _ in range(20):
                group.start_soon(anyio.sleep, 0.001)

    async def outer(simulation: Simulation) -> None:
        threads = [
            threading.Thread(target=trio.run, args=(sleep,)),
            threading.Thread(target=asyncio.run, args=(sleep(),)),
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        await casino(simulation)

    assert simulate(outer, seed=4).digest == runs("casino")[4].digest


@given(st.integers())
@settings(max_examples=20, deadline=None)
def test_hypothesis_can_draw_the_seed(seed: int) -> None:
    assert simulate(casino, seed=seed).digest == simulate(casino, seed=seed).digest


def test_the_simulator_imports_neither_hypothesis_nor_pytest() -> None:
    check = "import sys, actors.testing; print(sorted({'hypothesis', 'pytest', 'mcp'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True, timeout=60)  # noqa: S603 - our own
    assert done.stdout == "[]\n"


def test_the_runtime_does_not_import_the_simulator() -> None:
    check = "import sys, actors; print([name for name in sys.modules if name.startswith('actors.testing')])"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True, timeout=60)  # noqa: S603 - our own
    assert done.stdout == "[]\n"
