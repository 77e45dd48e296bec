"""When a child that ended is started again, with which others, after how long, and when to stop trying.

The rules
---------
- The window holds the times of the restarts that were allowed. One more is allowed while, with it, no more than
  `intensity` lie within `period` seconds. A restart that is exactly `period` old still counts.
- A restart that is not allowed is not one: it leaves no trace.
- Backoff counts attempts by the window: the first restart in it waits `first` seconds, each further one `factor` times
  as long, up to `ceiling`. So whoever holds out for a `period` starts over.
- A clock that goes back has stood still: what was restarted before keeps its distances, and grows old from there.

Neither clock nor randomness is in here: `now` comes in as seconds of a monotonic clock, `draw` as a number in [0, 1).
"""

from collections import deque
from dataclasses import dataclass
from enum import Enum
from typing import Final, Literal, TypeVar

from protocol.errors import InvalidSettings
from protocol.settings import LONGEST

E = TypeVar("E", bound=Enum)

RestartText = Literal["permanent", "transient", "temporary"]
StrategyText = Literal["one_for_one", "one_for_all", "rest_for_one"]

_MANY_ATTEMPTS: Final = 2**53
"""Attempts beyond it are not told apart, so that counting them never leaves what a float can hold."""


class Restart(Enum):
    """Which ends of a child are followed by another start of it."""

    PERMANENT = "permanent"
    """Every one."""
    TRANSIENT = "transient"
    """Those that are failures."""
    TEMPORARY = "temporary"
    """None: the child is forgotten when it ends."""

    @classmethod
    def parse(cls, given: "Restart | RestartText") -> "Restart":
        """The restart type that was given, as itself or as its text.

        Raises:
            InvalidSettings: there is no such one.
        """
        return _member(cls, given)


class Strategy(Enum):
    """Which children the restart of one concerns."""

    ONE_FOR_ONE = "one_for_one"
    """That one."""
    ONE_FOR_ALL = "one_for_all"
    """All of them."""
    REST_FOR_ONE = "rest_for_one"
    """That one and those started after it."""

    @classmethod
    def parse(cls, given: "Strategy | StrategyText") -> "Strategy":
        """The strategy that was given, as itself or as its text.

        Raises:
            InvalidSettings: there is no such one.
        """
        return _member(cls, given)


def _member(kind: type[E], given: object) -> E:
    try:
        return kind(given)
    except ValueError:
        accepted = ", ".join(str(known.value) for known in kind)
        raise InvalidSettings(f"{kind.__name__.lower()} {given!r} is unknown: use one of {accepted}") from None


def _check_number(what: str, given: object, *, lowest: float, highest: float = LONGEST) -> None:
    if isinstance(given, bool) or not isinstance(given, (int, float)) or not lowest <= given <= highest:
        raise InvalidSettings(f"{what} must be a number from {lowest:g} to {highest:g}, not {given!r}")


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long restarts wait, longer each time.

    Args:
        first: seconds before the first restart.
        factor: how many times as long each further one waits, at least 1.
        ceiling: the most seconds that one waits, at least `first`.
        jitter: the fraction, from 0 to 1, of a wait that is left to chance: it shortens the wait by up to that much, so
            that those who failed together do not come back together.

    Raises:
        InvalidSettings: a value is of the wrong kind or out of its range; the message names it.
    """

    first: float
    factor: float
    ceiling: float
    jitter: float

    def __post_init__(self) -> None:
        _check_number("backoff first", self.first, lowest=0)
        _check_number("backoff factor", self.factor, lowest=1)
        _check_number("backoff ceiling", self.ceiling, lowest=self.first)
        _check_number("backoff jitter", self.jitter, lowest=0, highest=1)

    def delay(self, attempt: int, draw: float) -> float:
        """Seconds to wait before this attempt, counted from 1; `draw` in [0, 1) decides on the jitter."""
        try:
            grown = self.first * float(self.factor) ** min(attempt - 1, _MANY_ATTEMPTS)
        except OverflowError:
            grown = self.ceiling if self.first else 0.0
        return min(grown, self.ceiling) * (1.0 - self.jitter * draw)


class RestartWindow:
    """The restarts of the last `period` seconds, and whether one more is allowed.

    Args:
        intensity: the most restarts within `period`. 0 allows none.
        period: seconds, above 0.
        backoff: how long each waits; None lets none wait.

    Raises:
        InvalidSettings: a value is of the wrong kind or out of its range; the message names it.
    """

    __slots__ = ("_times", "backoff", "intensity", "period")

    def __init__(self, intensity: int, period: float, backoff: Backoff | None = None) -> None:
        if isinstance(intensity, bool) or not isinstance(intensity, int) or intensity < 0:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidSettings(f"intensity must be a whole number of at least 0, not {intensity!r}")
        _check_number("period", period, lowest=0)
        if not period:
            raise InvalidSettings("period must be above 0 seconds: to allow no restart, set intensity to 0")
        if not isinstance(backoff, Backoff | None):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidSettings(f"backoff must be a Backoff or None, not {type(backoff).__name__}")
        self.intensity = intensity
        self.period = period
        self.backoff = backoff
        self._times: deque[float] = deque()

    def restart(self, now: float, draw: float) -> float | None:
        """Take in a restart at `now`: the seconds that it has to wait, or None if it is one too many."""
        times = self._times
        if times and now < times[-1]:
            back = times[-1] - now
            self._times = times = deque(time - back for time in times)
        while times and times[0] < now - self.period:
            times.popleft()
        if len(times) >= self.intensity:
            return None
        times.append(now)
        return self.backoff.delay(len(times), draw) if self.backoff is not None else 0.0
