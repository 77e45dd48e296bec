"""What the tutorial shows, run as it stands: its blocks, one after another, are one module."""

import re
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from actors.testing import simulate

TUTORIAL = (Path(__file__).parents[2] / "docs" / "simulation.md").read_text(encoding="utf-8")
BLOCKS: list[str] = re.findall(r"```python\n(.*?)```", TUTORIAL, re.DOTALL)
FIX = next(number for number, block in enumerate(BLOCKS) if "class CarefulPrice" in block)
SEED = int(re.findall(r"--seed (\d+)", TUTORIAL)[0])


def module(blocks: list[str]) -> ModuleType:
    made = ModuleType("shop")
    exec("\n\n".join(blocks), made.__dict__)  # noqa: S102 - the tutorial is ours
    return made


def function(blocks: list[str], name: str) -> Callable[..., Any]:
    found = getattr(module(blocks), name)
    assert callable(found)
    return found


def test_the_race_is_found_under_the_seed_that_the_tutorial_tells() -> None:
    scenario = function(BLOCKS[:FIX], "the_latest_price_is_known")
    for seed in range(SEED):
        simulate(scenario, seed=seed)
    with pytest.raises(AssertionError) as caught:
        simulate(scenario, seed=SEED)
    (shown,) = re.findall(r"```text\nAssertionError\n(.*?)\nto run it again", TUTORIAL, re.DOTALL)
    for line in shown.splitlines():
        assert line.strip() in (*map(str.strip, caught.value.__notes__[0].splitlines()), "...")
    with pytest.raises(AssertionError):
        function(BLOCKS[:FIX], "test_the_latest_price_is_known")()


def test_the_tutorials_command_replays_the_race(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text("\n\n".join(BLOCKS[:FIX]), encoding="utf-8")
    command = re.findall(r"to run it again: python (.*)", TUTORIAL)[0].split()
    environment = {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(  # noqa: S603 - our own command
        [sys.executable, *command],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    assert f"the_latest_price_is_known failed under seed {SEED} at" in done.stderr
    assert f"to run it again: python {' '.join(command)}" in done.stderr


async def test_the_probe_plays_the_race_by_hand() -> None:
    test: Callable[[], Awaitable[None]] = function(BLOCKS[:FIX], "test_a_read_that_a_change_has_overtaken_is_old_news")
    with pytest.raises(AssertionError):
        await test()
    await function(BLOCKS, "test_a_read_that_a_change_has_overtaken_is_old_news")()


@pytest.mark.parametrize("name", ["test_the_latest_price_is_known", "test_a_missed_change_is_made_up_for"])
def test_after_the_fix_all_holds(name: str) -> None:
    function(BLOCKS, name)()


@pytest.mark.parametrize("name", ["lifecycle", "test_my_pool"])
def test_the_tutorials_pool_keeps_to_its_rules(name: str) -> None:
    made = getattr(module(BLOCKS), name)
    if name == "lifecycle":
        assert made.run(17).done["lent"] > 0
    else:
        made()


async def test_the_tutorials_fake_server_forgets_its_session() -> None:
    await function(BLOCKS, "test_a_server_that_forgets_its_session_costs_one_call")()


def test_the_tutorials_cluster_holds() -> None:
    function(BLOCKS, "test_my_cluster")()
