"""What a metric is: its name, what it says, and how it is read of a pool's figures."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from actors.statistics import PoolStats
from protocol.histogram import HistogramSnapshot

Sample = tuple[tuple[str, ...], float]


@dataclass(frozen=True, slots=True)
class Metered:
    """One metric: its name without `troupe_pool_`, what it says, and how it is read.

    Attributes:
        read: its samples, each with the values of its labels.
    """

    kind: Literal["counter", "gauge"]
    name: str
    help: str
    read: Callable[[PoolStats], Iterable[Sample]]
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Spread:
    """One histogram; see `Metered`. One that is `now` tells of what is there, not of all that ever was. It has no
    samples where None is read.
    """

    name: str
    help: str
    read: Callable[[PoolStats], HistogramSnapshot | None]
    now: bool = False
