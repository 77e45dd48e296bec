"""Random trees of actors crash, stall, stop and are asked at random, after which nothing is left. See `trees`.

Two hundred seeds run: by default twenty of them for 10,000 steps and the others for 1,000; with TROUPE_ALL_STEPS=1 all
of them for 10,000, which takes some minutes.
"""

import logging
import os
from collections.abc import Generator

import pytest

from actors.testing import simulate
from tests.simulation.trees import forest, large_forest

SEEDS = range(200)
LARGE = SEEDS if os.environ.get("TROUPE_ALL_STEPS") else range(20)
BATCHES = [SEEDS[first : first + 10] for first in range(0, len(SEEDS), 10)]


@pytest.fixture(autouse=True)
def _silence() -> Generator[None]:
    """Actors fail by the thousand here, each with a traceback."""
    logger = logging.getLogger("troupe")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    yield
    logger.setLevel(level)


@pytest.mark.holds("R1", "R2", "R4")
@pytest.mark.parametrize("seeds", BATCHES, ids=lambda seeds: f"{seeds[0]}-{seeds[-1]}")
def test_whatever_happens_to_a_forest_nothing_is_left_and_no_ask_is_unanswered(seeds: range) -> None:
    for seed in seeds:
        simulate(large_forest if seed in LARGE else forest, seed=seed)


def test_a_forest_lives_before_it_ends() -> None:
    events = simulate(forest, seed=1).events
    handled = {event.message for event in events if event.kind == "turn"}
    assert {"Numbered", "Grow", "Fail", "Stalled", "Terminated", "AskerGone", "draining", "_Started"} <= handled
    assert "Breakdown" in {event.error for event in events}
    assert len({event.receiver for event in events}) > 100
