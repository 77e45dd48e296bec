"""Rounds: several sides measured in turn, and what their samples say about each other."""

import math
import statistics
from collections.abc import Awaitable, Callable, Mapping, Sequence

Samples = dict[str, list[float]]


async def alternate(sides: Mapping[str, Callable[[], Awaitable[float]]], *, rounds: int) -> Samples:
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
