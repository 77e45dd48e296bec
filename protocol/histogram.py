"""Histograms: how often a figure was how large, in a fixed number of buckets.

The rules
---------
- A bucket counts what is at most its bound and above the bound before it (Prometheus's `le`). Beyond the last bound
  there is one more bucket, without an end.
- Recording finds the bucket by bisection and adds to two numbers. Nothing grows.
- What is below zero, or no number, is recorded as zero: a clock that was set back must not spoil the sum for good.
- A quantile is an estimate: what is in a bucket is taken to be spread over it evenly. Beyond the last bound it is the
  last bound, for want of a better one.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from math import inf, isfinite
from typing import Final

from protocol.errors import InvalidSettings

LATENCIES: Final = (
    *(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0),
)
"""Bounds in seconds for what callers wait for: half a millisecond to a minute."""

AGES: Final = (0.1, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3_600.0)
"""Bounds in seconds for how long something has been held: a tenth of a second to an hour."""

USES: Final = (0.0, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 1_000.0, 10_000.0)
"""Bounds for how often something was used."""


@dataclass(frozen=True, slots=True)
class HistogramSnapshot:
    """A histogram as it was at one moment.

    Attributes:
        bounds: the upper bounds of the buckets, in ascending order.
        counts: how many were recorded in each bucket; one more than there are bounds.
        sum: what was recorded, added up.
    """

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    sum: float = 0.0

    @classmethod
    def of(cls, figures: Iterable[float], bounds: Sequence[float] = LATENCIES) -> "HistogramSnapshot":
        """The histogram of figures that are all there now, such as the ages of the leases that are held."""
        histogram = Histogram(bounds)
        for figure in figures:
            histogram.record(figure)
        return histogram.snapshot()

    @property
    def count(self) -> int:
        """How many were recorded."""
        return sum(self.counts)

    @property
    def mean(self) -> float | None:
        """Their average; None before the first."""
        return self.sum / self.count if self.count else None

    @property
    def buckets(self) -> tuple[tuple[float, int], ...]:
        """Each bound with how many were at most as much. The last bound is infinite, and its figure is the count."""
        return tuple(zip((*self.bounds, inf), accumulate(self.counts), strict=True))

    def quantile(self, share: float) -> float | None:
        """What this share of all was at most, as an estimate; None before the first.

        Args:
            share: from 0 to 1; 0.99 is the 99th percentile.

        Raises:
            InvalidSettings: the share is not from 0 to 1.
        """
        if not 0 <= share <= 1:
            raise InvalidSettings(f"a quantile's share must be from 0 to 1, not {share!r}")
        rank = share * self.count
        if not self.count:
            return None
        seen = 0
        for (low, high), inside in zip(pairwise((0.0, *self.bounds)), self.counts, strict=False):
            if inside and seen + inside >= rank:
                return low + (high - low) * (rank - seen) / inside
            seen += inside
        return self.bounds[-1]

    def merge(self, *others: "HistogramSnapshot") -> "HistogramSnapshot":
        """All of them taken together.

        Raises:
            InvalidSettings: their bounds differ.
        """
        if any(other.bounds != self.bounds for other in others):
            raise InvalidSettings("histograms with different bounds cannot be merged: give all of them the same")
        counts = tuple(map(sum, zip(self.counts, *(other.counts for other in others), strict=True)))
        return HistogramSnapshot(self.bounds, counts, sum((other.sum for other in others), start=self.sum))


class Histogram:
    """Counts figures by their size.

    Args:
        bounds: the upper bounds of the buckets: finite, not negative, in ascending order, at least one.

    Raises:
        InvalidSettings: the bounds are not so.
    """

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: Sequence[float] = LATENCIES) -> None:
        self._bounds = tuple(bounds)
        if (
            not self._bounds
            or not all(isfinite(bound) and bound >= 0 for bound in self._bounds)
            or any(low >= high for low, high in pairwise(self._bounds))
        ):
            raise InvalidSettings("a histogram's bounds must be finite, not negative, ascending, and at least one")
        self._counts = [0] * (len(self._bounds) + 1)
        self._sum = 0.0

    def record(self, figure: float) -> None:
        """Count one."""
        if not figure > 0:  # so written, not-a-number is caught too
            figure = 0.0
        self._counts[bisect_left(self._bounds, figure)] += 1
        self._sum += figure

    def snapshot(self) -> HistogramSnapshot:
        """The histogram as it is now."""
        return HistogramSnapshot(self._bounds, tuple(self._counts), self._sum)
