"""`python -m benchmarks [NAME ...] [--json] [--quick] [--backend trio|asyncio]`: measure, and print the figures."""

import argparse
import json
import logging
import os
import platform
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from benchmarks import (
    call,
    close,
    contention,
    forward,
    fresh,
    hit,
    keys,
    kill,
    memory,
    runtime,
    soak,
    takeover,
    wakeup,
)
from benchmarks.figure import Figure, Options, table

BENCHMARKS: Final[dict[str, Callable[[Options], list[Figure]]]] = {
    "runtime": runtime.measure,
    "hit": hit.measure,
    "keys": keys.measure,
    "memory": memory.measure,
    "contention": contention.measure,
    "wakeup": wakeup.measure,
    "call": call.measure,
    "fresh": fresh.measure,
    "kill": kill.measure,
    "close": close.measure,
    "forward": forward.measure,
    "takeover": takeover.measure,
    "soak": soak.measure,
}
"""What can be run, in the order in which it is. Each module's docstring says what it measures."""

WHEN_NAMED: Final = {"soak"}
"""What takes too long to be run by whoever names nothing."""


def main() -> None:
    """Run what the command line names."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Measure, and print each figure beside its target."
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which to run, of: {', '.join(BENCHMARKS)}")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument("--quick", action="store_true", help="a few rounds only, to see that all of it works")
    parser.add_argument("--backend", choices=("trio", "asyncio"), help="the event loop to run the pool on; else both")
    parser.add_argument("--seconds", type=float, help="how long the soak lasts; ten minutes if not given")
    parser.add_argument("--seed", type=int, default=0, help="of what is random in the soak")
    arguments = parser.parse_args()
    if unknown := [name for name in arguments.names if name not in BENCHMARKS]:
        parser.error(f"there is no benchmark {', '.join(unknown)}: there are {', '.join(BENCHMARKS)}")
    options = Options(quick=arguments.quick, seconds=arguments.seconds, seed=arguments.seed)
    if arguments.backend:
        options = replace(options, backends=(arguments.backend,))
    # The SDK logs what it meets in servers that are killed and hang, and the pool that callers are anonymous: here that
    # is no news.
    for name in ("mcp", "actors"):
        logging.getLogger(name).addHandler(logging.NullHandler())
    machine = f"{platform.python_implementation()} {platform.python_version()}, {os.cpu_count()} cores"
    figures: list[Figure] = []
    for name in arguments.names or [name for name in BENCHMARKS if name not in WHEN_NAMED]:
        of_name = BENCHMARKS[name](options)
        figures += of_name
        if not arguments.json:
            print(f"{name} ({machine})\n{table(of_name)}\n", flush=True)
    if arguments.json:
        print(json.dumps({"machine": machine, "figures": [figure.as_record() for figure in figures]}, indent=2))


if __name__ == "__main__":
    main()
