"""Clusters of three to seven workers under faults: whole pools on a bus that fails in every way.

Sixty seeds run by default, as many as TROUPE_CLUSTER_SEEDS says, and two thousand with TROUPE_ALL_STEPS=1. Any number:

    python -m actors.testing tests/simulation/test_clusters.py:CLUSTER --seeds 10000
"""

import gc
import os
import subprocess
import sys
import traceback
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import NamedTuple

import pytest

from actors.testing import ClusterLifecycle, Hazard, Phase
from actors.testing.cluster_trouble import Struck

ALL = bool(os.environ.get("TROUPE_ALL_STEPS"))
SEEDS = range(2_000 if ALL else int(os.environ.get("TROUPE_CLUSTER_SEEDS", "60")))
BATCH = 20
SOME = 10
"""Of the 48 pairs of a hazard and a phase, more than there may be that the few seeds of a plain run miss."""
CLUSTER = ClusterLifecycle()


class Played(NamedTuple):
    """What some seeds made of a cluster."""

    struck: Counter[Struck]
    done: Counter[str]
    failure: str | None


def play(seeds: range) -> Played:
    struck, done = Counter[Struck](), Counter[str]()
    for seed in seeds:
        try:
            report = CLUSTER.run(seed)
        except Exception as error:  # noqa: BLE001 - it is told in another process
            return Played(struck, done, "".join(traceback.format_exception(error)))
        struck += report.struck
        done += report.done
    gc.collect()  # a simulation leaves that to whoever runs many
    return Played(struck, done, None)


@pytest.fixture(scope="module")
def played() -> list[Played]:
    """All seeds, on all processors. Each is the same wherever it runs."""
    batches = [SEEDS[first : first + BATCH] for first in range(0, len(SEEDS), BATCH)]
    played: list[Played] = []
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as processes:
        for batch in processes.map(play, batches):
            played.append(batch)
            if batch.failure is not None:
                processes.shutdown(cancel_futures=True)
                break
    return played


@pytest.mark.holds("C1", "C3", "C4", "C5", "C9", "L6", "L9", "R2", "R4")
def test_whatever_befalls_a_cluster_its_invariants_hold_and_nothing_is_left(played: list[Played]) -> None:
    failures = [batch.failure for batch in played if batch.failure is not None]
    assert not failures, failures[0]


def test_everything_befalls_each_phase_of_the_work(played: list[Played]) -> None:
    struck = sum((batch.struck for batch in played), Counter[Struck]())
    for hazard in Hazard:
        told = ", ".join(f"{phase.value} {struck[hazard, phase]}" for phase in Phase)
        print(f"{hazard.value:14}{told}")  # noqa: T201 - pytest -s shows it
    missed = {(hazard.value, phase.value) for hazard in Hazard for phase in Phase} - {
        (hazard.value, phase.value) for hazard, phase in struck
    }
    assert not missed if ALL else len(missed) < SOME


def test_callers_meet_everything_that_they_can(played: list[Played]) -> None:
    done = sum((batch.done for batch in played), Counter[str]())
    met = {"answered", "cancelled", "SessionStateLost", "OutcomeUnknown", "OwnerUnreachable", "BusUnavailable"}
    assert {*met, "NotAlive", "MCPError"} <= set(done)


@pytest.mark.holds("R5")
def test_a_seed_is_the_same_cluster_in_every_process() -> None:
    digests = [
        subprocess.run(  # noqa: S603 - our own scenario
            [sys.executable, "-m", "actors.testing", f"{__file__}:CLUSTER", "--seeds", "2", "--digest"],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    ]
    assert digests[0] == digests[1]
    first, second = digests[0].splitlines()
    assert first.split()[1] != second.split()[1]
