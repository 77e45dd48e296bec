"""The soak of `benchmarks.soaking`, for a few seconds: the long one is `make bench ARGS=soak`."""

import random

import pytest

from benchmarks.soaking.run import soak

SECONDS = 12.0
SEED = random.SystemRandom().randrange(1_000_000)
"""Another one each time, told with what fails: `make bench ARGS="soak --seconds 12 --seed …"` takes it up again."""


@pytest.mark.holds("L1", "L2", "L4", "L5", "L7", "L9", "S1", "S2", "S4", "S9", "R4", "X1")
@pytest.mark.filterwarnings("ignore:a lease of a session:ResourceWarning")  # some are forgotten, as some users do
async def test_whatever_befalls_servers_and_calls_nothing_is_lost_lent_wrongly_or_left() -> None:
    census = await soak(SECONDS, seed=SEED)
    assert not census.faults, f"seed {SEED}"
    assert census.done["answers"] > 50, "users were served between the faults"
    assert census.done["servers: kill"] + census.done["servers: stop and kill"] > 0
    assert census.errors["LeaseReleased"] > 0
    assert census.stats.tally.leases_abandoned > 0
    # Caches are still being filled: how flat memory is, a long soak tells.
    at_half = census.memory[len(census.memory) // 2][1]
    assert census.memory[-1][1] < at_half + 20_000, f"resident kilobytes with the seconds: {census.memory}"
