"""A long run under faults of every kind (T16): nothing is lost, nothing is left, and memory is flat.

Users borrow sessions of four real servers, well and badly, while the servers are killed, stopped and restarted, and
operators resize, drain and retire: see `benchmarks.soaking`. It is run only when it is named, and takes ten minutes on
each event loop unless `--seconds` says otherwise. Each soak has a process of its own, and what must not be is told on
its standard error.

`python -m benchmarks.soak BACKEND SECONDS SEED` is such a process: it prints the figures as JSON.
"""

import json
import logging
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any, Final

import anyio

from benchmarks.figure import Figure, Options
from benchmarks.soaking.census import Census
from benchmarks.soaking.run import soak

LONG: Final = 600.0
QUICK: Final = 20.0
TELLING: Final = 300.0
"""From how many seconds on the growth of memory says something: before, caches are still being filled."""


def measure(options: Options) -> list[Figure]:
    """The figures of T16."""
    seconds = options.seconds or (QUICK if options.quick else LONG)
    return [figure for backend in options.backends for figure in _in_a_process(backend, seconds, options.seed)]


def _in_a_process(backend: str, seconds: float, seed: int) -> list[Figure]:
    done = subprocess.run(  # noqa: S603 - it runs this module
        [sys.executable, "-m", "benchmarks.soak", backend, str(seconds), str(seed)],
        cwd=Path(__file__).parent.parent,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    records: list[dict[str, Any]] = json.loads(done.stdout)
    return [Figure(**record) for record in records]


def figures_of(census: Census, of: str, seconds: float) -> list[dict[str, Any]]:
    """What a soak showed, as records of figures."""
    stats, tally = census.stats, census.stats.tally
    told: dict[str, float] = dict(sorted(census.done.items()))
    told |= {f"error: {name}": number for name, number in sorted(census.errors.items())}
    told |= {
        "leases granted": stats.uses,
        "hits": stats.hits,
        "sessions opened": stats.opened,
        "sessions that failed to open": stats.open_failures,
        "sessions that broke": stats.broken,
    }
    told |= {f"retired: {reason.value}": number for reason, number in tally.retired.items()}
    told |= {f"keys evicted: {reason.value}": number for reason, number in tally.keys_evicted.items()}
    told |= {
        "health checks": tally.checks,
        "health checks that failed": tally.health_failures,
        "leases abandoned": tally.leases_abandoned,
        "breaker trips": tally.breaker_trips,
        "callers refused by a breaker": tally.breaker_refusals,
    }
    records: list[dict[str, Any]] = [{"what": what, "value": value} for what, value in told.items()]
    records += [{"what": what, "value": value, "unit": "s"} for what, value in census.times.items()]
    at_half = len(census.memory) // 2
    for when, (_, size) in {
        "at the start": census.memory[0],
        "at half-time": census.memory[at_half],
        "at the end": census.memory[-1],
    }.items():
        records.append({"what": f"resident {when}", "value": size / 1e3, "unit": "MB"})
    bound = max(1.0, 0.02 * census.memory[at_half][1] / 1e3) if seconds >= TELLING else None
    growth = {"what": "growth in the second half", "value": census.growth() / 1e3, "unit": "MB", "at_most": bound}
    permits = stats.permits.given if stats.permits is not None else -1
    records += [
        growth,
        {"what": "permits that did not come home", "value": permits, "at_most": 0},
        {"what": "what must not be", "value": len(census.faults), "at_most": 0},
    ]
    for record in records:
        record["target"] = "T16"
        record["what"] += f", {of}"
    return records


def main() -> None:
    """Soak once, and print what came of it."""
    backend, seconds, seed = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
    logging.getLogger("mcp").addHandler(logging.NullHandler())
    logging.getLogger("actors").addHandler(logging.NullHandler())
    census = anyio.run(partial(soak, seconds, seed=seed), backend=backend)
    for fault in census.faults:
        print(f"soak on {backend}, seed {seed}: {fault}", file=sys.stderr)
    print(json.dumps(figures_of(census, backend, seconds)))


if __name__ == "__main__":
    main()
