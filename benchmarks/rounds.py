"""Rounds: several sides measured in turn, and what their samples say about each other."""

import gc
import math
import statistics
import time
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from contextlib import contextmanager

Samples = dict[str, list[float]]

Side = Callable[[], Awaitable[float]]
"""What is measured beside others: measures once, and answers with the figure."""

Run = Callable[[int], Awaitable[None]]
"""Does what is measured, so many times."""


def timed(run: Run, times: int) -> Side:
    """Microseconds that one of so many takes."""

    async def side() -> float:
        started = time.perf_counter()
        await run(times)
        return (time.perf_counter() - started) / times * 1e6

    return side


@contextmanager
def without_collector() -> Generator[None]:
    """Make much that stays: the garbage collector would look through all of it again and again. It runs at the end."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.collect()


async def alternate(sides: Mapping[str, Side], *, rounds: int) -> Samples:
    """Measure every side once a round, in turn, and in reverse order every other round: a drift meets all alike."""
    samples: Samples = {name: [] for name in sides}
    order = list(sides)
    for _ in range(rounds):
        for name in order:
            samples[name].append(await sides[name]())
        order.reverse()
    return samples


def merge(parts: Sequence[Samples]) -> Samples:
    """The samples of several runs as those of one."""
    merged: Samples = {}
    for part in parts:
        for name, values in part.items():
            merged.setdefault(name, []).extend(values)
    return merged


def ratios(samples: Sequence[float], to: Sequence[float]) -> list[float]:
    """Each round's ratio: what a round has in common cancels out."""
    return [one / other for one, other in zip(samples, to, strict=True)]


def median_interval(values: Sequence[float], *, confidence: float = 0.95) -> tuple[float, float]:
    """Where the median of what `values` were drawn from lies, by order statistics: true of any distribution.

    With fewer than six values no such interval has a confidence of 95 %; it is then their whole range.
    """
    ordered = sorted(values)
    number = len(ordered)
    rank, tail = 0, 0.0
    while True:
        tail += math.comb(number, rank) / 2**number
        if tail > (1 - confidence) / 2:
            break
        rank += 1
    rank = max(rank - 1, 0)
    return ordered[rank], ordered[number - 1 - rank]


def median_ratio(samples: Sequence[float], to: Sequence[float]) -> tuple[float, tuple[float, float]]:
    """The median of the rounds' ratios, and its interval."""
    of_rounds = ratios(samples, to)
    return statistics.median(of_rounds), median_interval(of_rounds)
