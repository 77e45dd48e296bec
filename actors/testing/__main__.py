"""The command that runs scenarios: `python -m actors.testing package.module:scenario --seed 17`."""

import argparse
import gc
import sys
import traceback
from collections.abc import Sequence
from typing import Final

from actors.testing.errors import UnknownScenario
from actors.testing.faults import Fault, parse_fault
from actors.testing.scenarios import find
from actors.testing.simulator import STEP_LIMIT, attempt
from protocol.errors import InvalidSettings

SEEDS_BETWEEN_COLLECTIONS: Final = 20


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a scenario under one or more seeds. The first failure is shown whole, with its note.

    Answers the exit code: 0 if all went well, 1 if one failed, 2 if none ran.
    """
    parser = argparse.ArgumentParser(
        prog="python -m actors.testing", description="Run a scenario of the simulator under one or more seeds."
    )
    parser.add_argument("scenario", help="package.module:name, or path.py:name")
    seeds = parser.add_mutually_exclusive_group()
    seeds.add_argument("--seed", type=int, metavar="N", help="run it under this seed (default 0)")
    seeds.add_argument(
        "--seeds", type=_range, metavar="N|A:B", help="run it under each seed from 0 to N-1, or A to B-1"
    )
    parser.add_argument(
        "--fault", type=_fault, action="append", default=[], metavar="FAULT", help="add a fault, such as 'Drop(0.1)'"
    )
    parser.add_argument("--time-limit", type=float, metavar="SECONDS", help="virtual time that a run may take")
    parser.add_argument("--step-limit", type=int, default=STEP_LIMIT, metavar="N", help="steps that a run may take")
    parser.add_argument("--trace", action="store_true", help="print every event")
    parser.add_argument("--digest", action="store_true", help="print each seed and the digest of its run")
    given = parser.parse_args(arguments)
    try:
        found = find(given.scenario)
    except UnknownScenario as error:
        parser.error(str(error))
    chosen: range = given.seeds or range(given.seed or 0, (given.seed or 0) + 1)
    failed: list[int] = []
    for seed in chosen:
        run, failure = attempt(
            found, seed=seed, faults=given.fault, time_limit=given.time_limit, step_limit=given.step_limit
        )
        if given.trace:
            _print(run.last(len(run.events)))
        if given.digest:
            _print(f"{seed} {run.digest}")
        if failure is not None:
            if not failed:
                traceback.print_exception(failure)
            failed.append(seed)
        if seed % SEEDS_BETWEEN_COLLECTIONS == 0:  # what a run leaves is none of the collector's until then
            gc.collect()
    if failed and len(chosen) > 1:
        _print(f"{len(failed)} of {len(chosen)} seeds failed: {', '.join(map(str, failed))}")
    elif not failed and not given.trace and not given.digest:
        _print(f"{found.name} holds under {f'seed {chosen[0]}' if len(chosen) == 1 else f'{len(chosen)} seeds'}")
    return 1 if failed else 0


def _range(text: str) -> range:
    first, _, last = text.rpartition(":")
    seeds = range(int(first or 0), int(last))
    if not seeds:
        raise argparse.ArgumentTypeError(f"{text!r} is no range of seeds: write 30, or 5:30")
    return seeds


def _fault(text: str) -> Fault:
    try:
        return parse_fault(text)
    except InvalidSettings as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _print(text: str) -> None:
    sys.stdout.write(f"{text}\n")


if __name__ == "__main__":
    sys.exit(main())
