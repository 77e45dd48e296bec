"""What an idle key takes (T3): resident memory for each key that has one idle session.

Each figure is read in a process of its own: how much its resident memory grows while so many keys come to it, of which
some were there before, so that what is made once for all is not counted. The fake sessions have one client between
them: what there is of each is the pool's. Real ones have what the SDK and HTTP need besides, here; what they take in
the server is not counted.

`python -m benchmarks.memory KIND BACKEND KEYS [URL]` is such a process: it prints kilobytes for each key.
"""

import os
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

import anyio

from actors import Connector, Upstream, open_pool
from benchmarks.fake import MANY, PATIENT, UPSTREAM, open_keys
from benchmarks.figure import Figure, Options
from benchmarks.rounds import without_collector
from benchmarks.server import running_server

STATUS: Final = Path("/proc/self/statm")
ERAS: Final = {"auto": "stateless", "legacy": "handshake"}


def measure(options: Options) -> list[Figure]:
    """The figures of T3."""
    fakes, reals = (2_000, 10) if options.quick else (50_000, 100)
    figures = [
        Figure(
            target="T3",
            what=f"a key with a fake session, among {fakes:,}, {backend}",
            value=_in_a_process("fake", backend, fakes),
            unit="kB",
            at_most=1.8,
        )
        for backend in options.backends
    ]
    with running_server() as url:
        figures += [
            Figure(
                target="T3",
                what=f"a key with a real session, {era}, among {reals:,}, {backend}",
                value=_in_a_process(mode, backend, reals, url),
                unit="kB",
            )
            for backend in options.backends
            for mode, era in ERAS.items()
        ]
    return figures


def _in_a_process(kind: str, backend: str, keys: int, *url: str) -> float:
    done = subprocess.run(  # noqa: S603 - it runs this module
        [sys.executable, "-m", "benchmarks.memory", kind, backend, str(keys), *url],
        cwd=Path(__file__).parent.parent,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return float(done.stdout)


def resident() -> float:
    """Kilobytes of this process that are in memory now; at most so far, where the system does not tell."""
    if STATUS.exists():
        return int(STATUS.read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1_000
    import resource  # noqa: PLC0415 - Windows has none

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1_000 if sys.platform == "darwin" else peak * 1.024


async def _grown(upstream: Upstream, connector: Connector | None, keys: int) -> float:
    users = [f"user-{index}" for index in range(keys + keys // 10)]
    settings = replace(PATIENT, max_keys=len(users), max_sessions=len(users))
    at_once = 1_000 if connector else 10  # a server answers one after the other
    async with open_pool(settings, connector=connector) as pool:
        with without_collector():
            await open_keys(pool, users[keys:], upstream, at_once=at_once)
        before = resident()
        with without_collector():
            await open_keys(pool, users[:keys], upstream, at_once=at_once)
        grown = resident() - before
        assert pool.stats().opened == len(users)
    return grown / keys


def main() -> None:
    """Measure one figure, and print it."""
    kind, backend, keys = sys.argv[1], sys.argv[2], int(sys.argv[3])
    if kind == "fake":
        grown = partial(_grown, UPSTREAM, MANY, keys)
    else:
        grown = partial(_grown, Upstream(sys.argv[4], mode="legacy" if kind == "legacy" else "auto"), None, keys)
    print(anyio.run(grown, backend=backend))


if __name__ == "__main__":
    main()
