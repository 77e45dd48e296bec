"""Mail: what this worker sends to others and has from them, sealed and fresh."""

import logging
from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Final

from actors.bus import Bus
from protocol.bus import Arrived, Post, PostWhileHeard
from protocol.errors import BusUnavailable, EnvelopeRefused, Refusal
from protocol.freshness import Freshness
from protocol.keyring import Keyring
from protocol.wire import ID_SIZE, Envelope, Kind, seal, unseal

CAPACITY: Final = 200_000
"""Nonces that are remembered, for as long as an envelope with one of them would be taken."""

MOST_SEEN: Final = 1_000
"""Other workers that are told apart."""

logger = logging.getLogger(__name__)

_CAUSES: Final = (
    "all workers need the same `secrets`, and clocks within `skew` of each other; told once for each reason"
)

_ANSWERS: Final = frozenset({Kind.ACCEPTED, Kind.RESULT, Kind.FAILURE, Kind.REJECTED, Kind.NOT_OWNER, Kind.HELLO})
"""What is said once of a request, or to no harm again."""

Posted = Callable[[int | BusUnavailable], None]


def ignore(_: object) -> None:
    """For who does not want to know how many listened."""


def _can_be_late(envelope: Envelope, refusal: EnvelopeRefused) -> bool:
    return refusal.reason is Refusal.EXPIRED and envelope.kind in _ANSWERS


class Mail:
    """Seals what goes out, and opens what comes in.

    Args:
        worker: the sender's id.
        way: the bus.
        keyring: signs and verifies.
        random: for nonces.
        wall_clock: the time that workers have in common, in seconds.
        limit: bytes of an envelope, at the most.
        skew: seconds by which workers' clocks may be apart.

    Attributes:
        refused: how many envelopes were not taken, by reason.
        sent, received: how many went out and were taken.
        seen: the other workers of whom some were taken; the first `MOST_SEEN`.
    """

    __slots__ = (
        "_bus",
        "_fresh",
        "_keyring",
        "_limit",
        "_now",
        "_random",
        "_worker",
        "received",
        "refused",
        "seen",
        "sent",
    )

    def __init__(
        self,
        worker: str,
        way: Bus,
        keyring: Keyring,
        random: Random,
        wall_clock: Callable[[], float],
        *,
        limit: int,
        skew: float,
    ) -> None:
        self._worker = worker
        self._bus = way
        self._keyring = keyring
        self._random = random
        self._now = wall_clock
        self._limit = limit
        self._fresh = Freshness(skew, CAPACITY)
        self.refused = Counter[Refusal]()
        self.sent = self.received = 0
        self.seen = set[str]()

    def post(
        self,
        channel: str,
        kind: Kind,
        correlation: bytes,
        payload: bytes,
        *,
        remaining: float | None = None,
        while_heard: str | None = None,
        then: Posted = ignore,
    ) -> None:
        """Send an envelope to whoever listens on the channel.

        Args:
            channel: where.
            kind: of what kind it is.
            correlation: which request it is about.
            payload: what it says.
            remaining: seconds after which it is of no use any more; None: it is always.
            while_heard: a channel of this worker's own: nothing is sent unless it is subscribed to that.
            then: is told how many listened, or why it could not be sent.

        Raises:
            EnvelopeRefused: it is too large for anybody to take.
        """
        nonce = self._random.randbytes(ID_SIZE)
        envelope = Envelope(kind, correlation, self._worker, self._now(), remaining, nonce, payload)
        sealed = seal(envelope, self._keyring, channel=channel.encode("ascii"))
        if len(sealed) > self._limit:
            raise EnvelopeRefused(
                f"{len(sealed)} bytes are more than workers take of each other at once ({self._limit})",
                reason=Refusal.TOO_LARGE,
            )
        self.sent += 1
        command = Post(channel, sealed) if while_heard is None else PostWhileHeard(channel, sealed, while_heard)
        self._bus.send(command, then)

    def read(self, arrived: Arrived, is_awaited: Callable[[bytes], bool]) -> Envelope | None:
        """The envelope that came in; None if it is not taken, which is counted.

        Args:
            arrived: what came in.
            is_awaited: whether a request with that id waits for answers. The id was drawn for it, so that what bears it
                is no older than it, whatever the clocks say: who missed an acceptance would think that nothing began.
        """
        try:
            envelope = unseal(
                arrived.envelope, self._keyring, limit=self._limit, channel=arrived.channel.encode("ascii")
            )
        except EnvelopeRefused as refusal:
            self.refuse(refusal)
            return None
        try:
            self._fresh.admit(envelope, self._now())
        except EnvelopeRefused as refusal:
            if not (_can_be_late(envelope, refusal) and is_awaited(envelope.correlation)):
                self.refuse(refusal)
                return None
        self.received += 1
        if envelope.sender != self._worker and len(self.seen) < MOST_SEEN:
            self.seen.add(envelope.sender)
        return envelope

    def refuse(self, refusal: EnvelopeRefused) -> None:
        """What another worker sent is not taken: it is counted, and the log is told of the first for each reason."""
        self.refused[refusal.reason] += 1
        if self.refused[refusal.reason] == 1:
            logger.warning("worker %s took no notice of what another one sent: %s (%s)", self._worker, refusal, _CAUSES)

    def correlation(self) -> bytes:
        """A fresh id for a request."""
        return self._random.randbytes(ID_SIZE)
