"""`python -m tests.integration.storm [--seconds 120] [--seed 0] [--write FILE]`: raise a storm, and tell of it."""

import argparse
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import anyio

from tests.integration.storm.record import Record
from tests.integration.storm.run import BACKENDS, raise_storm


def report(record: Record) -> Iterator[str]:
    """What a storm was, and what came of it, line by line."""
    yield "what befell them"
    yield from _table(Counter(trouble.what for trouble in record.troubles))
    yield "what came of calls"
    yield from _table(Counter(call.outcome or "nothing" for call in record.calls.values()))
    yield from _table({"executions": len(record.executions)})
    yield "conversations that went on in a new session"
    yield from _table(record.replaced)
    yield "figures"
    yield from _table(record.figures)
    yield f"{len(record.known)} faults that are known"
    yield from record.known
    yield f"{len(record.faults)} faults"
    yield from record.faults


def _table(rows: Mapping[str, float]) -> Iterator[str]:
    for what, value in sorted(rows.items()):
        yield f"  {what:60} {value:g}" if isinstance(value, int) else f"  {what:60} {value:.3f}"


def main() -> None:
    """Raise one storm or several, and tell what came of them."""
    parser = argparse.ArgumentParser(description="Raise a storm among the workers of a cluster.")
    parser.add_argument("--seconds", type=float, default=120.0, help="how long it lasts")
    parser.add_argument("--seed", type=int, default=0, help="of what is random")
    parser.add_argument("--backends", default=",".join(BACKENDS), help="the event loop of each worker")
    parser.add_argument("--backend", default="asyncio", choices=("asyncio", "trio"), help="the event loop of the storm")
    parser.add_argument("--write", type=Path, help="a file for all that happened, as lines of JSON")
    arguments = parser.parse_args()
    storm = partial(raise_storm, arguments.seconds, seed=arguments.seed, backends=arguments.backends.split(","))
    record = anyio.run(storm, backend=arguments.backend)
    if arguments.write is not None:
        record.write(arguments.write)
    sys.stdout.write("\n".join([f"storm of seed {arguments.seed}", *report(record), ""]))
    sys.exit(1 if record.faults else 0)


if __name__ == "__main__":
    main()
