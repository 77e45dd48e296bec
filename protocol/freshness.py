"""Whether an envelope is one that has just been sent, and has not been here before.

The rules
---------
- What is too old is refused: sent longer ago than its request had time, and than `max_age` in any case. So is what will
  have been sent only later. Clocks of two workers may differ by `skew`, which is allowed for on both sides.
- What was admitted is remembered by its sender and nonce, and refused when it comes again. Once it is older than
  `max_age` (and the skew) it is forgotten, since it would be refused for that. One whose request had less time is
  remembered as long: so what is forgotten first is always what was sent first.
- Memory is bounded. Beyond `capacity` the one that was sent first is forgotten early, and with it everything is refused
  from then on that was sent no later than that. So what was admitted is never admitted again. What an overload costs
  is that stragglers are refused as too old: those sent before the last `capacity` that were admitted.
- Nothing is remembered of what is refused. Without a key nobody fills the memory: an envelope comes here unsealed.
- A clock that is set back brings nothing back: what was forgotten counts as in an overload.

What is remembered is in a heap, by when it was sent. Envelopes come nearly in that order, so one that is put in stays
where it was put; and unlike buckets of a queue, a heap knows to the envelope which was sent first. Taking one out moves
one entry per level, in C.
"""

from heapq import heappop, heappush
from typing import Final

from protocol.errors import EnvelopeRefused, Refusal
from protocol.wire import Envelope

MAX_AGE: Final = 30.0
"""How many seconds after it was sent an envelope is taken at the latest. Redis keeps no messages, so one that is older
was held up by somebody who stood still."""

_NEVER: Final = float("-inf")


class Freshness:
    """What a worker has admitted lately.

    Args:
        skew: by how many seconds the wall clocks of two workers may differ.
        capacity: how many envelopes are remembered at most; at least 1. All are that come within `max_age` and twice
            the skew, if that is no more.
        max_age: how many seconds after it was sent an envelope is taken at the latest, the skew aside.

    Attributes:
        forgotten_early: how many were forgotten for want of room.
    """

    __slots__ = ("_admitted", "_by_age", "_capacity", "_horizon", "_max_age", "_skew", "forgotten_early")

    def __init__(self, skew: float, capacity: int, *, max_age: float = MAX_AGE) -> None:
        self._skew = skew
        self._capacity = capacity
        self._max_age = max_age
        self._admitted: set[tuple[str, bytes]] = set()
        self._by_age: list[tuple[float, tuple[str, bytes]]] = []  # a heap
        self._horizon = _NEVER  # when what was forgotten last was sent
        self.forgotten_early = 0

    def __len__(self) -> int:
        """How many are remembered."""
        return len(self._admitted)

    def admit(self, envelope: Envelope, now: float) -> None:
        """Take the envelope for sent just now and never seen, and remember it.

        Args:
            envelope: one whose signature was right.
            now: seconds of the wall clock.

        Raises:
            EnvelopeRefused: it is too old or from the future (EXPIRED), or it was admitted before (REPLAYED).
        """
        self._forget_before(now - self._max_age - self._skew)
        age = now - envelope.sent_at
        if age < -self._skew:
            raise EnvelopeRefused(f"an envelope was sent {-age:.3f} s from now", reason=Refusal.EXPIRED)
        remaining = envelope.remaining
        allowed = self._max_age if remaining is None else min(remaining, self._max_age)
        if age > allowed + self._skew:
            raise EnvelopeRefused(
                f"an envelope was sent {age:.3f} s ago, and had {allowed:.3f} s", reason=Refusal.EXPIRED
            )
        mark = (envelope.sender, envelope.nonce)
        if mark in self._admitted:
            raise EnvelopeRefused("an envelope has been here before", reason=Refusal.REPLAYED)
        if envelope.sent_at <= self._horizon:
            raise EnvelopeRefused(
                f"an envelope was sent {age:.3f} s ago, and what came then is forgotten", reason=Refusal.EXPIRED
            )
        self._admitted.add(mark)
        heappush(self._by_age, (envelope.sent_at, mark))
        if len(self._by_age) > self._capacity:
            self._forget_oldest()
            self.forgotten_early += 1

    def _forget_before(self, moment: float) -> None:
        while self._by_age and self._by_age[0][0] < moment:
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        self._horizon, mark = heappop(self._by_age)
        self._admitted.remove(mark)
