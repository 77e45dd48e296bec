"""A figure: what was measured, and what it should be."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Options:
    """How the benchmarks are run.

    Attributes:
        backends: the event loops to run the pool on.
        quick: whether to stop after a few rounds: it shows that a benchmark works, and its figures mean little.
        seconds: how long the soak lasts; None means its own default.
        seed: of what is random in the soak.
    """

    backends: tuple[str, ...] = ("asyncio", "trio")
    quick: bool = False
    seconds: float | None = None
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One measured figure.

    Attributes:
        target: the id of the target that it belongs to, such as `T1`.
        what: what was measured.
        value: the figure; a median, where there were rounds.
        unit: its unit; empty for a ratio or a count.
        interval: where the median lies with a confidence of 95 %.
        at_most: the target, if it is an upper limit.
        at_least: the target, if it is a lower limit.
        by_bound: whether the upper bound of the interval is held against the target, and not the value.
    """

    target: str
    what: str
    value: float
    unit: str = ""
    interval: tuple[float, float] | None = None
    at_most: float | None = None
    at_least: float | None = None
    by_bound: bool = False

    @property
    def is_met(self) -> bool | None:
        """Whether the target is met; None where the figure is told beside others and has none."""
        judged = self.interval[1] if self.by_bound and self.interval is not None else self.value
        if self.at_most is not None:
            return judged <= self.at_most
        if self.at_least is not None:
            return judged >= self.at_least
        return None

    def as_record(self) -> dict[str, Any]:
        """The figure as a JSON object, with its verdict."""
        return asdict(self) | {"met": self.is_met}

    def columns(self) -> tuple[str, str, str, str, str, str]:
        """The figure as a row of a table."""
        interval = "" if self.interval is None else f"{_shown(self.interval[0])} to {_shown(self.interval[1])}"
        limits = ((" <=", self.at_most), (" >=", self.at_least))
        wanted = "".join(f"{sign} {_shown(limit)} {self.unit}" for sign, limit in limits if limit is not None).strip()
        if wanted and self.by_bound:
            wanted += " (upper bound)"
        verdict = {None: "", True: "met", False: "MISSED"}[self.is_met]
        return self.target, self.what, f"{_shown(self.value)} {self.unit}".strip(), interval, wanted, verdict


def _shown(value: float) -> str:
    """Three digits that mean something, and no exponent where there are more."""
    return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.3g}"


_TITLES = ("", "measured", "median", "95 % interval", "target", "")


def table(figures: Sequence[Figure]) -> str:
    """The figures as lines of text, in columns."""
    rows = [_TITLES, *(figure.columns() for figure in figures)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_TITLES))]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
