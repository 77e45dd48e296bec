"""When a server that fails is left alone, and when it is tried again.

The rules
---------
- CLOSED lets everybody try. After `threshold` failures in a row it opens. A success sets the count back.
- OPEN refuses at once, and says until when. Whoever asks after that is the probe.
- HALF_OPEN has exactly one probe under way, and refuses everybody else. Its outcome decides: a success closes, a
  failure opens again. A probe that is given up without an outcome lets the next one who asks be it.
- Opened for the k-th time in a row (from 0) it stays open for `backoff * 2**k` seconds, at most `ceiling`, less a
  quarter of it times `jitter`: a number in [0, 1) that comes in with each failure. A server's Retry-After is honoured
  where it is longer, up to ten times the ceiling; also that of an earlier failure of the row.
- Sessions that break at once are one failure: one that was opened at `since` counts only if nothing that counted has
  happened from then on. An opening that failed always counts.
- An outcome of what was begun before the breaker opened: a failure changes nothing, a success closes.

The state is a table; a missing cell is an error (`IllegalTransition`). Neither clock nor randomness is in here.
"""

from enum import Enum, auto
from typing import Final

from protocol.errors import IllegalTransition
from protocol.message import message


class BreakerState(Enum):
    """Whether an attempt may be made."""

    __hash__ = object.__hash__  # members are singletons, and Enum's own is Python code

    CLOSED = auto()
    """Everybody may try."""
    OPEN = auto()
    """Nobody may, until its time is over."""
    HALF_OPEN = auto()
    """One is trying, and nobody else may."""


class BreakerEvent(Enum):
    """What may happen to a breaker."""

    __hash__ = object.__hash__

    SUCCEEDED = auto()
    """An attempt succeeded, the probe or another."""
    FAILED = auto()
    """An attempt that is not the probe failed."""
    TRIPPED = auto()
    """That was one too many."""
    COOLED = auto()
    """Its time is over, and somebody asks."""
    PROBE_FAILED = auto()
    """The probe failed."""
    ABANDONED = auto()
    """The probe was given up: cancelled, or it failed for a reason that says nothing of this."""
    RESET = auto()
    """Somebody says by hand that it is well."""


_S, _E = BreakerState, BreakerEvent

TRANSITIONS: Final[dict[BreakerState, dict[BreakerEvent, BreakerState]]] = {
    _S.CLOSED: {
        _E.SUCCEEDED: _S.CLOSED,
        _E.FAILED: _S.CLOSED,
        _E.TRIPPED: _S.OPEN,
        _E.RESET: _S.CLOSED,
    },
    _S.OPEN: {
        _E.SUCCEEDED: _S.CLOSED,
        _E.FAILED: _S.OPEN,
        _E.COOLED: _S.HALF_OPEN,
        _E.RESET: _S.CLOSED,
    },
    _S.HALF_OPEN: {
        _E.SUCCEEDED: _S.CLOSED,
        _E.FAILED: _S.HALF_OPEN,
        _E.PROBE_FAILED: _S.OPEN,
        _E.ABANDONED: _S.OPEN,
        _E.RESET: _S.CLOSED,
    },
}

_NEVER: Final = float("-inf")
_MOST_DOUBLINGS: Final = 100  # beyond any ceiling, and within what a float holds


@message
class BreakerRules:
    """What all breakers of a pool have in common.

    Attributes:
        threshold: how many failures in a row open it.
        backoff: how long it is open at first, in seconds.
        ceiling: the longest it is open by itself, in seconds.
    """

    threshold: int
    backoff: float
    ceiling: float


class Breaker:
    """One breaker.

    Attributes:
        state: where it is; read only.
        failures: those in a row that counted.
        until: when the next probe is let through, on the clock of `now`; of use while it is not CLOSED.
    """

    __slots__ = ("_last_counted", "_not_before", "_probe", "_rules", "failures", "openings", "state", "until")

    def __init__(self, rules: BreakerRules) -> None:
        self._rules = rules
        self.state = BreakerState.CLOSED
        self.failures = 0
        self.until = _NEVER
        self._not_before = _NEVER  # what servers said in this row
        self._last_counted = _NEVER
        self.openings = 0
        self._probe = 0

    @property
    def is_at_rest(self) -> bool:
        """Whether it is as good as new."""
        return self.state is BreakerState.CLOSED and not self.failures

    def refuses(self, now: float) -> float | None:
        """How many seconds to wait before asking again; None if an attempt may be made now. Changes nothing."""
        if self.state is BreakerState.OPEN and now < self.until:
            return self.until - now
        return self._rules.backoff if self.state is BreakerState.HALF_OPEN else None

    def begin(self) -> int | None:
        """An attempt that `refuses` allowed begins. Answer its number if it is the probe, whose end must be told."""
        if self.state is not BreakerState.OPEN:
            return None
        self._move(BreakerEvent.COOLED)
        self._probe += 1
        return self._probe

    def succeeded(self) -> None:
        """An attempt succeeded."""
        self._close(BreakerEvent.SUCCEEDED)

    def reset(self) -> None:
        """Close it by hand."""
        self._close(BreakerEvent.RESET)

    def abandoned(self, probe: int | None) -> None:
        """An attempt ended and says nothing. `probe`: its number, if it had one."""
        if self._is_probe(probe):
            self._move(BreakerEvent.ABANDONED)

    def failed(
        self,
        probe: int | None = None,
        *,
        now: float,
        jitter: float,
        since: float | None = None,
        retry_after: float | None = None,
    ) -> None:
        """An attempt failed, or a session that was opened at `since` broke.

        Args:
            probe: the number of the attempt, if it had one.
            now: seconds of a monotonic clock.
            jitter: a number in [0, 1), drawn anew for each failure.
            since: when the session was opened that broke; None for an opening that failed.
            retry_after: how many seconds the server asked for.
        """
        if self._is_probe(probe):
            self._count(now, retry_after)
            self._open(BreakerEvent.PROBE_FAILED, now, jitter)
            return
        self._move(BreakerEvent.FAILED)
        if self.state is not BreakerState.CLOSED or (since is not None and since <= self._last_counted):
            return
        self._count(now, retry_after)
        if self.failures >= self._rules.threshold:
            self._open(BreakerEvent.TRIPPED, now, jitter)

    def _is_probe(self, probe: int | None) -> bool:
        return probe is not None and probe == self._probe and self.state is BreakerState.HALF_OPEN

    def _count(self, now: float, retry_after: float | None) -> None:
        self.failures += 1
        self._last_counted = now
        if retry_after is not None:
            self._not_before = max(self._not_before, now + min(retry_after, 10 * self._rules.ceiling))

    def _open(self, event: BreakerEvent, now: float, jitter: float) -> None:
        self._move(event)
        wait = min(self._rules.ceiling, self._rules.backoff * 2.0 ** min(self.openings, _MOST_DOUBLINGS))
        self.openings += 1
        self.until = max(now + wait * (1 - jitter / 4), self._not_before)

    def _close(self, event: BreakerEvent) -> None:
        self._move(event)
        self.failures = self.openings = 0
        self._not_before = _NEVER

    def _move(self, event: BreakerEvent) -> None:
        after = TRANSITIONS[self.state].get(event)
        if after is None:
            raise IllegalTransition(f"a breaker that is {self.state.name} cannot be {event.name}")
        self.state = after
