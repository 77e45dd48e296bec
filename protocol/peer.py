"""Whether another worker lives, as one that waits for it can tell.

- It was heard: it lives, and whatever spoke against that counts no more.
- Its channel is silent: so many counts in a row found nobody there, over so long a time, and nothing was heard of it
  between them. A living worker whose listener comes back is given that time.
- It does not beat: the bus says so. One that stands still, or that the bus does not reach, is still counted as a
  listener, and this tells it from one that takes its time.
"""

from typing import Final, Generic, NamedTuple

from protocol.delivery import Delivery, Forwarded
from protocol.forwards_messages import T

NEVER: Final = float("inf")


class Terms(NamedTuple):
    """How many requests may be with others, and how long it takes to find one of them dead, in seconds.

    The defaults add up so. The owner of a request that was accepted is counted every 8 ms (`probe_slow`). Once a count
    finds nobody, two more follow at 4 ms each, which makes the three over 8 ms that are asked for; and then this worker
    hears itself. With a round trip of 0.3 ms each, that is at most (8 + 0.3) + (4 + 0.3) + (4 + 0.3) + 0.3 = 17 ms of
    the 50 that a killed owner may take to be noticed, and leaves a busy machine 8 of the 25 that this part is to take;
    the bus needs 4 ms to find that a small worker was killed, and 22 for one of 300 MB. A worker whose request was not
    accepted at once is counted after 3 ms (`probe_after`), so that a dead one costs its next caller 13 ms.

    One that stands still is dead when its last beat is over (`beat`), and is found so within another `look_every` and
    two round trips.

    Attributes:
        most: how many requests may be with other workers; and
        most_per_peer: with one of them. Beyond these they are refused.
        beat: for how long a worker counts as living after a beat, as all of the cluster have it; and how long a bus's
            run is young: a living worker may not have come back to it yet.
        settle: how long this worker's own line must have held for it to believe that nobody listens elsewhere: what
            cut it off may have cut off others, who come back a little later.
        probe_after: how long a peer may say nothing before it is counted.
        probe_every: how long after a count the next one follows, while something is unclear.
        probe_slow: the same while a peer is at work on all that it was sent, and was there at the last count.
        sightings: how many counts in a row must have found nobody; and
        sighting_span: how long the first and the last of them must be apart.
        look_after: how long a peer may say nothing before the bus is asked whether it beats.
        look_every: how long after that it is asked again.
    """

    most: int = 10_000
    most_per_peer: int = 2_000
    beat: float = 5.0
    settle: float = 1.0
    probe_after: float = 0.003
    probe_every: float = 0.004
    probe_slow: float = 0.008
    sightings: int = 3
    sighting_span: float = 0.008
    look_after: float = 1.0
    look_every: float = 1.0


class Verdict(NamedTuple):
    """That a peer is dead, unless it is heard yet.

    Attributes:
        number: the last request that had been sent when the bus was asked: it goes for no later one.
        is_of_silence: whether its channel was silent; else it did not beat.
        asked_at: when this worker began to hear itself.
    """

    number: int
    is_of_silence: bool
    asked_at: float

    @property
    def why(self) -> str:
        """In words."""
        return "nobody listens on its channel" if self.is_of_silence else "it does not beat any more"


class Peer(Generic[T]):
    """Another worker that this one waits for.

    Attributes:
        requests: all that it has not answered.
        missed: those of them that were posted while nobody listened.
        unaccepted: how many of them it has not accepted.
        quiet_from: since when nothing was heard of it that is waited for: the last word, or the first request.
        heard_at: when something was heard of it last.
        waits_from: since when something was to be accepted all the time.
        sightings: how many counts in a row found nobody.
        sighted_at: when the first of them was answered.
        is_counted: whether the last count found somebody.
        verdict: that it is dead, while that is not sure.
        has_left: whether it said that it leaves.
        reminder: which of its reminders counts.
        remind_at: when that is due.
    """

    __slots__ = (
        "has_left",
        "heard_at",
        "is_counted",
        "looked_at",
        "missed",
        "name",
        "probed_at",
        "quiet_from",
        "remind_at",
        "reminder",
        "requests",
        "sighted_at",
        "sightings",
        "unaccepted",
        "verdict",
        "waits_from",
    )

    def __init__(self, name: str, now: float) -> None:
        self.name = name
        self.requests: dict[str, Forwarded[T]] = {}
        self.missed: dict[str, Forwarded[T]] = {}
        self.unaccepted = 0
        self.quiet_from = self.waits_from = now
        self.heard_at = self.probed_at = self.looked_at = self.sighted_at = -NEVER
        self.sightings = 0
        self.is_counted = False
        self.verdict: Verdict | None = None
        self.has_left = False
        self.reminder = 0
        self.remind_at = NEVER

    # --- its requests

    def add(self, request: Forwarded[T], now: float) -> None:
        """It is sent to it."""
        if not self.unaccepted:
            self.waits_from = now
        self.unaccepted += 1
        self.requests[request.correlation] = request

    def remove(self, request: Forwarded[T]) -> None:
        """It is about to be over."""
        del self.requests[request.correlation]
        self.missed.pop(request.correlation, None)
        if request.state is not Delivery.ACCEPTED:
            self.unaccepted -= 1

    def accept(self, request: Forwarded[T]) -> None:
        """It is about to be accepted."""
        self.missed.pop(request.correlation, None)
        if request.state is not Delivery.ACCEPTED:
            self.unaccepted -= 1

    # --- what speaks for its life, and against it

    def heard(self, now: float) -> None:
        """It lives."""
        self.heard_at = self.quiet_from = now
        self.acquit()

    def acquit(self) -> None:
        """What spoke against it counts no more."""
        self.sightings = 0
        self.verdict = None

    def counted(self) -> None:
        """Somebody listens on its channel."""
        self.is_counted = True
        self.sightings = 0
        if self.verdict is not None and self.verdict.is_of_silence:
            self.verdict = None

    def sighted(self, asked_at: float, now: float, terms: Terms) -> bool:
        """Nobody does. Answers whether that has been so for long enough."""
        if not self.sightings:
            self.sighted_at = now
        self.sightings += 1
        return self.sightings >= terms.sightings and asked_at >= self.sighted_at + terms.sighting_span

    # --- when to ask

    def probe_at(self, terms: Terms) -> float:
        """When it is to be counted next."""
        if self.unaccepted:
            quiet_from, pace = max(self.quiet_from, self.waits_from), terms.probe_every
        else:
            quiet_from, pace = self.quiet_from, terms.probe_slow if self.is_counted else terms.probe_every
        return max(quiet_from + terms.probe_after, self.probed_at + pace)

    def look_at(self, terms: Terms) -> float:
        """When the bus is to be asked next whether it beats. One that leaves may have stopped."""
        return NEVER if self.has_left else max(self.quiet_from + terms.look_after, self.looked_at + terms.look_every)
