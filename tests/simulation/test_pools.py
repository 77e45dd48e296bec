"""Clusters of one under faults: a pool's whole life, over servers that fail in every way, under two hundred seeds.

Thirty of them run by default, and all with TROUPE_ALL_STEPS=1. Each draws its own settings.
"""

import os
from collections import Counter
from random import Random

import pytest

from actors.testing import LifecycleReport, PoolLifecycle, Trouble
from protocol.session import SessionState
from protocol.settings import PoolSettings, Probe

SEEDS = range(200)
ALL = bool(os.environ.get("TROUPE_ALL_STEPS"))
RUN = SEEDS if ALL else range(30)
BATCHES = [RUN[first : first + 10] for first in range(0, len(RUN), 10)]
STATES = [state for state in SessionState if state is not SessionState.ENDED]

reports: dict[int, LifecycleReport] = {}


def any_settings(random: Random) -> PoolSettings:
    """Settings under which everything happens often, and each of which is sometimes off."""
    max_size = random.randint(1, 3)
    probes: tuple[tuple[Probe, ...], ...] = (("ping",), ("ping", "discover", "list_tools"), ("list_tools", "skip"))
    return PoolSettings(
        max_size=max_size,
        min_idle=random.choice((0, 0, 1)),
        max_sessions=random.randint(3, 8),
        max_keys=random.randint(5, 14),
        max_waiting=random.choice((0, 2, 4, 8)),
        max_sessions_per_user=random.choice((None, None, 3)),
        max_sessions_per_gateway=random.choice((None, None, 4)),
        acquire_timeout=random.choice((2, 5)),
        connect_timeout=random.choice((0.4, 2)),
        call_timeout=3,
        close_timeout=random.choice((0.2, 1)),
        settle_timeout=random.choice((0.5, 2)),
        max_lifetime=random.choice((None, 5, 20)),
        max_idle=random.choice((None, 3, 6)),
        key_idle=random.choice((1, 5)),
        lost_memory=random.choice((5, 1_000)),
        health_interval=random.choice((None, 0.5, 1)),
        health_timeout=random.choice((0.3, 1)),
        health_probes=random.choice(probes),
        breaker_threshold=random.choice((3, 1_000)),
        warn_after=random.choice((None, 2)),
    )


LIFECYCLE = PoolLifecycle(any_settings, steps=300)


def report_of(seed: int) -> LifecycleReport:
    if seed not in reports:
        reports[seed] = LIFECYCLE.run(seed)
    return reports[seed]


@pytest.mark.holds("L1", "L2", "L3", "L4", "L5", "L6", "L8", "L9", "S2", "S4", "R4")
@pytest.mark.parametrize("seeds", BATCHES, ids=lambda seeds: f"{seeds[0]}-{seeds[-1]}")
def test_whatever_happens_to_a_pool_its_invariants_hold_and_nothing_is_left(seeds: range) -> None:
    for seed in seeds:
        report_of(seed)


def test_every_trouble_meets_sessions_in_every_state() -> None:
    struck: Counter[tuple[Trouble, SessionState]] = Counter()
    for seed in RUN:
        struck += report_of(seed).struck
    for trouble in Trouble:
        told = ", ".join(f"{state.name.lower()} {struck[trouble, state]}" for state in STATES)
        print(f"{trouble.value:8}{told}")  # noqa: T201 - pytest -s shows it
    assert {(trouble, state) for trouble in Trouble for state in STATES} <= set(struck)


def test_everything_that_callers_can_meet_is_met() -> None:
    done: Counter[str] = Counter()
    for seed in RUN:
        done += report_of(seed).done
    met = {"lent", "returned", "forgotten", "cancelled", "AcquireTimeout", "ConnectFailed", "PoolFull", "PoolClosed"}
    assert {*met, "SessionStateLost", "outage", "operator drain", "operator retire", "operator resize"} <= set(done)


@pytest.mark.holds("R5")
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_same_seed_lives_the_same_life(seed: int) -> None:
    again = LIFECYCLE.run(seed)
    assert again.run.digest == report_of(seed).run.digest
    assert again.done == report_of(seed).done
    assert again.run.digest != LIFECYCLE.run(seed + 1).run.digest
