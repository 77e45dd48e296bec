"""What becomes of the requests that other workers own: the view of the worker that forwards them, for all of them.

The rules
---------
- An owner accepts a request before it begins it, and begins it only once the bus has taken that. Where this worker has
  listened without a break since before the request was posted, it has therefore not begun while nothing was heard of
  it, whatever became of its owner. Once it is accepted, it may have.
- What comes in and what the bus answers take different ways: an owner's last words may still be on theirs when the bus
  says that nobody is there. So a peer is found dead only once this worker has heard itself (`Echo`) after that, as it
  then has all that was sent to it before. A line that is broken and does not know it yet carries no echo.
- Where this worker's own line breaks, something may have been missed: what has been posted may have begun, and whoever
  asked is told at once. What is still being posted waits for the bus's answer.
- What was posted while nobody listened is lost, and cannot begin. While its owner may be dead, whoever asked is told
  once that is known, so that the next attempt finds another owner; else at once.
- A peer that this worker waits for is counted and looked for (`protocol.peer`); one of whom nothing is wanted is not,
  and nothing is kept of it. It is found dead once, before its requests are concluded; a later request is sent all the
  same, and judged anew.
- One that leaves has accepted what it will answer, and nothing else. It listens until it has answered.
- Who gives up waiting tells the owner so (`Cancel`). What nobody heard of by its deadline may have begun.

What an owner must keep to: it begins nothing before it accepted that, over the same way as all that it says; nothing
that came in on a line of its own that was broken when the bus took the acceptance; and nothing that was meant for what
it held before its beats lapsed (`protocol.ownership`). So a living owner that is found dead begins nothing later.

The machine knows what is unanswered, and the peers that are to answer it.
"""

import heapq
from collections.abc import Sequence
from typing import Final, Generic, NamedTuple, assert_never

from protocol.delivery import OUTCOMES, Delivery, Forwarded, Turn
from protocol.errors import BusUnavailable, TooManyForwards
from protocol.forwards_messages import (
    Accepted,
    Answered,
    Cancel,
    Conclude,
    Echo,
    Echoed,
    Forward,
    ForwardsEffect,
    ForwardsEvent,
    Heard,
    Joined,
    Left,
    Look,
    Looked,
    Outcome,
    Parted,
    PeerDied,
    Posted,
    Probe,
    Probed,
    Refuse,
    Rejected,
    Send,
    T,
    Tick,
    TwinsSeen,
    Wake,
    Withdraw,
)
from protocol.peer import NEVER, Peer, Terms, Verdict

SPARE: Final = 64
"""How many reminders that count no more may lie about, beside as many as there are others."""


class Asked(NamedTuple):
    """A question to the bus that is under way: after which request it was asked, and when."""

    number: int
    at: float


class Forwards(Generic[T]):
    """See above. `terms`: how many requests, and how patient."""

    __slots__ = (
        "_away",
        "_believed_from",
        "_due",
        "_line",
        "_looks",
        "_mature_at",
        "_numbers",
        "_peers",
        "_probes",
        "_requests",
        "_terms",
        "_twins",
        "_wake_at",
    )

    def __init__(self, terms: Terms) -> None:
        self._terms = terms
        self._requests: dict[str, Forwarded[T]] = {}
        self._peers: dict[str, Peer[T]] = {}
        self._probes: dict[str, int] = {}
        self._looks: dict[str, Asked] = {}
        self._twins: set[str] = set()
        self._away: BusUnavailable | None = BusUnavailable("the bus has not been joined yet", was_sent=False)
        self._line = 0
        self._mature_at = self._believed_from = NEVER
        self._due: list[tuple[float, int, Forwarded[T] | Peer[T]]] = []
        self._numbers = 0
        self._wake_at = NEVER

    # --- what can be seen

    def __len__(self) -> int:
        """How many requests are unanswered."""
        return len(self._requests)

    def delivery(self, correlation: str) -> Delivery:
        """How far a request has come."""
        request = self._requests.get(correlation)
        return Delivery.OVER if request is None else request.state

    def peers(self) -> dict[str, int]:
        """How many requests each of the peers has not answered."""
        return {name: len(peer.requests) for name, peer in self._peers.items()}

    # --- events

    def handle(self, event: ForwardsEvent[T], *, now: float) -> Sequence[ForwardsEffect[T]]:  # noqa: C901, PLR0912 - a row per event
        """Take in what happened at `now`, in seconds of a clock that runs through suspends; answer what is to be done.

        Raises:
            IllegalTransition: a request cannot have come to this; the machine is not to be used any more.
        """
        match event:
            case Forward():
                effects = self._forward(event, now)
            case Posted(correlation, receivers):
                effects = self._posted(correlation, receivers, now)
            case Accepted(correlation):
                effects = self._accepted(correlation, now)
            case Answered(correlation):
                effects = self._ended(correlation, Turn.ANSWERED, now)
            case Rejected(correlation):
                effects = self._ended(correlation, Turn.REJECTED, now)
            case Heard(name):
                effects = self._heard(self._peers.get(name), now)
            case Withdraw(correlation):
                effects = self._withdraw(correlation)
            case Left(name):
                effects = self._left(name, now)
            case Probed():
                effects = self._probed(event, now)
            case Looked(name, is_alive):
                effects = self._looked(name, is_alive, now)
            case Echoed(name, asked_at):
                effects = self._echoed(name, asked_at)
            case Joined(age):
                effects = self._joined(age, now)
            case Parted(error):
                effects = self._parted(error)
            case Tick():
                effects = self._tick(now)
            case _:
                assert_never(event)
        return [*effects, *self._wake(now)]

    # --- a request goes out

    def _forward(self, forward: Forward[T], now: float) -> list[ForwardsEffect[T]]:
        ticket, name = forward.ticket, forward.peer
        if self._away is not None:
            return [Refuse(ticket, self._away)]
        if forward.deadline <= now:
            return [Conclude(ticket, Outcome.NOT_DELIVERED, "its time was over before it was sent")]
        peer = self._peers.get(name)
        if len(self._requests) >= self._terms.most:
            return [Refuse(ticket, self._too_many("other workers have", len(self._requests)))]
        if peer is None:
            peer = self._peers[name] = Peer(name, now)
        elif len(peer.requests) >= self._terms.most_per_peer:
            return [Refuse(ticket, self._too_many(f"worker {name} has", len(peer.requests)))]
        self._numbers += 1
        request = Forwarded(
            ticket,
            forward.correlation,
            peer,
            deadline=forward.deadline,
            number=self._numbers,
            sent_at=now,
            line=self._line,
        )
        self._requests[request.correlation] = request
        peer.add(request, now)
        heapq.heappush(self._due, (request.deadline, self._numbers, request))
        self._remind(peer)
        return [Send(ticket, request.correlation, name)]

    @staticmethod
    def _too_many(who: str, count: int) -> TooManyForwards:
        return TooManyForwards(
            f"{who} {count} requests of this one to answer, which is as many as may be: try again later"
        )

    def _posted(self, correlation: str, receivers: int | BusUnavailable, now: float) -> list[ForwardsEffect[T]]:
        request = self._requests.get(correlation)
        if request is None:
            return []
        peer = request.peer
        if isinstance(receivers, BusUnavailable):
            if request.state is Delivery.ACCEPTED:
                return []
            if receivers.was_sent:
                return self._conclude(request, Turn.DOUBTED, f"the bus went away while it was posted: {receivers}")
            return self._conclude(request, Turn.REFUSED, f"the bus did not take it: {receivers}")
        effects = self._counted(peer, receivers, Asked(request.number, request.sent_at), now)
        if request.state is Delivery.ACCEPTED:
            return effects
        if not receivers:
            self._remind(peer)
            request.move(Turn.MISSED)
            peer.missed[correlation] = request
            if request.is_doomed or not peer.sightings:
                return [*effects, *self._conclude_missed(peer)]
        elif request.line != self._line:
            why = "this worker's line broke while it was posted"
            return [*effects, *self._conclude(request, Turn.DOUBTED, why)]
        else:
            request.move(Turn.TAKEN)
        return effects

    # --- what the peer says

    def _accepted(self, correlation: str, now: float) -> list[ForwardsEffect[T]]:
        request = self._requests.get(correlation)
        if request is None:
            return []
        request.peer.accept(request)
        request.move(Turn.ACCEPTED)
        return self._heard(request.peer, now)

    def _ended(self, correlation: str, turn: Turn, now: float) -> list[ForwardsEffect[T]]:
        request = self._requests.get(correlation)
        if request is None:
            return []
        peer = request.peer
        if turn is Turn.REJECTED:
            effects = self._conclude(request, turn, f"worker {peer.name} refused it before it began")
        else:
            effects = self._forget(request, turn)
        return [*effects, *self._heard(peer, now)]

    def _heard(self, peer: Peer[T] | None, now: float) -> list[ForwardsEffect[T]]:
        if peer is None:
            return []
        peer.heard(now)
        return self._conclude_missed(peer)

    def _left(self, name: str, now: float) -> list[ForwardsEffect[T]]:
        """What it had accepted it said so before, on the same way: all else that was sent on this line cannot begin."""
        peer = self._peers.get(name)
        if peer is None:
            return []
        peer.has_left = True
        effects = self._heard(peer, now)
        for request in list(peer.requests.values()):
            if request.state is not Delivery.ACCEPTED and request.line == self._line:
                effects += self._conclude(request, Turn.SPARED, f"worker {name} leaves, and has not accepted it")
        return effects

    # --- whether the peer lives

    def _counted(self, peer: Peer[T], receivers: int, asked: Asked, now: float) -> list[ForwardsEffect[T]]:
        """So many listen on its channel."""
        twins = self._twins_seen(peer.name, receivers)
        if receivers:
            peer.counted()
            return [*twins, *self._conclude_missed(peer)]
        peer.is_counted = False
        is_sighting = asked.at >= self._believed_from and asked.at > peer.heard_at
        if is_sighting and peer.sighted(asked.at, now, self._terms):
            return self._condemn(peer, Verdict(asked.number, is_of_silence=True, asked_at=now))
        return []

    def _twins_seen(self, name: str, receivers: int) -> list[ForwardsEffect[T]]:
        if receivers <= 1:
            self._twins.discard(name)
            return []
        if name in self._twins:
            return []
        if len(self._twins) >= self._terms.most:
            self._twins.clear()
        self._twins.add(name)
        return [TwinsSeen(name, receivers)]

    def _condemn(self, peer: Peer[T], verdict: Verdict) -> list[ForwardsEffect[T]]:
        """It is dead, unless it is heard before the echo. One that is not heard is asked for again after a while."""
        before = peer.verdict
        if before is not None and verdict.asked_at < before.asked_at + self._terms.probe_slow:
            return []
        peer.verdict = verdict
        return [Echo(peer.name, verdict.asked_at)]

    def _probed(self, probed: Probed, now: float) -> list[ForwardsEffect[T]]:
        number = self._probes.pop(probed.peer, None)
        peer = self._peers.get(probed.peer)
        if number is None or peer is None:
            return []
        peer.probed_at = now
        effects: list[ForwardsEffect[T]] = []
        if not isinstance(probed.receivers, BusUnavailable):
            effects = self._counted(peer, probed.receivers, Asked(number, probed.asked_at), now)
        self._remind(peer)
        return effects

    def _looked(self, name: str, is_alive: bool | BusUnavailable, now: float) -> list[ForwardsEffect[T]]:  # noqa: FBT001 - the bus's answer
        asked = self._looks.pop(name, None)
        peer = self._peers.get(name)
        if asked is None or peer is None:
            return []
        peer.looked_at = now
        self._remind(peer)
        if is_alive is not False or asked.at < self._mature_at or asked.at <= peer.heard_at or peer.has_left:
            return []
        return self._condemn(peer, Verdict(asked.number, is_of_silence=False, asked_at=now))

    def _echoed(self, name: str, asked_at: float) -> list[ForwardsEffect[T]]:
        peer = self._peers.get(name)
        if peer is None or peer.verdict is None or asked_at < peer.verdict.asked_at:
            return []
        verdict = peer.verdict
        peer.acquit()
        self._twins.discard(name)
        effects: list[ForwardsEffect[T]] = [PeerDied(name)]
        for request in list(peer.requests.values()):
            if request.state is Delivery.ACCEPTED:
                why = f"worker {name} died before it answered: {verdict.why}"
                effects += self._conclude(request, Turn.DOUBTED, why)
            elif request.state is Delivery.MISSED or (
                request.state is Delivery.POSTED and request.number <= verdict.number
            ):
                why = f"worker {name} died before it accepted it: {verdict.why}"
                effects += self._conclude(request, Turn.SPARED, why)
            else:
                request.is_doomed = True
        return effects

    # --- ends

    def _withdraw(self, correlation: str) -> list[ForwardsEffect[T]]:
        request = self._requests.get(correlation)
        if request is None:
            return []
        return [*self._cancel(request), *self._forget(request, Turn.WITHDRAWN)]

    def _is_late(self, request: Forwarded[T]) -> list[ForwardsEffect[T]]:
        effects = self._cancel(request)
        turn = Turn.SPARED if request.state is Delivery.MISSED else Turn.DOUBTED
        seconds = request.deadline - request.sent_at
        why = f"worker {request.peer.name} has not answered within {seconds:g} s"
        return [*effects, *self._conclude(request, turn, why)]

    @staticmethod
    def _cancel(request: Forwarded[T]) -> list[ForwardsEffect[T]]:
        """Nobody waits for it any more: its owner is told, if it can have it."""
        return [] if request.state is Delivery.MISSED else [Cancel(request.peer.name, request.correlation)]

    def _conclude_missed(self, peer: Peer[T]) -> list[ForwardsEffect[T]]:
        """The peer's death would not explain what it did not receive."""
        why = f"nobody listened on the channel of worker {peer.name} when it was posted"
        return [
            effect for request in list(peer.missed.values()) for effect in self._conclude(request, Turn.SPARED, why)
        ]

    def _conclude(self, request: Forwarded[T], turn: Turn, why: str) -> list[ForwardsEffect[T]]:
        self._forget(request, turn)
        return [Conclude(request.ticket, OUTCOMES[turn], why)]

    def _forget(self, request: Forwarded[T], turn: Turn) -> list[ForwardsEffect[T]]:
        peer = request.peer
        peer.remove(request)
        request.move(turn)
        del self._requests[request.correlation]
        if not peer.requests:
            del self._peers[peer.name]
        return []

    # --- the bus

    def _joined(self, age: float, now: float) -> list[ForwardsEffect[T]]:
        self._away = None
        self._mature_at = now + max(0.0, self._terms.beat - age)
        self._believed_from = max(self._mature_at, now + self._terms.settle)
        for peer in self._peers.values():
            self._remind(peer)
        return []

    def _parted(self, error: BusUnavailable) -> list[ForwardsEffect[T]]:
        self._away = error
        self._line += 1
        self._mature_at = self._believed_from = NEVER
        effects: list[ForwardsEffect[T]] = []
        for request in list(self._requests.values()):
            name = request.peer.name
            if request.state is Delivery.MISSED:
                effects += self._conclude(request, Turn.SPARED, f"the bus went away, and nobody listened: {error}")
            elif request.state is not Delivery.SENT:
                why = f"the bus went away before worker {name} answered: {error}"
                effects += self._conclude(request, Turn.DOUBTED, why)
        for peer in self._peers.values():
            peer.acquit()
        return effects

    # --- time

    def _asks_at(self, peer: Peer[T]) -> tuple[float, float]:
        """When it is to be counted next, and when to be looked for."""
        if self._away is not None:
            return NEVER, NEVER
        return (
            NEVER if peer.name in self._probes else peer.probe_at(self._terms),
            NEVER if peer.name in self._looks else peer.look_at(self._terms),
        )

    def _remind(self, peer: Peer[T]) -> None:
        """See to it that the peer is looked at in time; too early is no harm."""
        at = min(self._asks_at(peer))
        if at < peer.remind_at:
            self._numbers = peer.reminder = self._numbers + 1
            peer.remind_at = at
            heapq.heappush(self._due, (at, self._numbers, peer))

    def _is_due(self, number: int, target: Forwarded[T] | Peer[T]) -> bool:
        """Whether a reminder counts."""
        if isinstance(target, Forwarded):
            return target.state is not Delivery.OVER
        return bool(target.requests) and target.reminder == number

    def _tick(self, now: float) -> list[ForwardsEffect[T]]:
        self._wake_at = NEVER
        effects: list[ForwardsEffect[T]] = []
        while self._due and self._due[0][0] <= now:
            _, number, target = heapq.heappop(self._due)
            if not self._is_due(number, target):
                continue
            effects += self._is_late(target) if isinstance(target, Forwarded) else self._ask_for(target, now)
        return effects

    def _ask_for(self, peer: Peer[T], now: float) -> list[ForwardsEffect[T]]:
        peer.remind_at = NEVER
        probe_at, look_at = self._asks_at(peer)
        effects: list[ForwardsEffect[T]] = []
        if probe_at <= now:
            self._probes[peer.name] = self._numbers
            effects.append(Probe(peer.name))
        if look_at <= now:
            self._looks[peer.name] = Asked(self._numbers, now)
            effects.append(Look(peer.name))
        self._remind(peer)
        return effects

    def _wake(self, now: float) -> list[ForwardsEffect[T]]:
        if len(self._due) > SPARE + 2 * (len(self._requests) + len(self._peers)):
            self._due = [due for due in self._due if self._is_due(due[1], due[2])]
            heapq.heapify(self._due)
        while self._due and not self._is_due(self._due[0][1], self._due[0][2]):
            heapq.heappop(self._due)
        due = self._due[0][0] if self._due else NEVER
        if self._wake_at <= max(due, now):
            return []
        self._wake_at = max(due, now)
        return [Wake(self._wake_at)]
