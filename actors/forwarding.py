"""Forwarding: requests whose session another worker owns. A part of the cluster actor.

What becomes of a request that is not answered, and whether the other worker lives, the machine of forwards decides
(`protocol.forwards`). Here its effects are done, and answers that come in are given to whoever asked.
"""

import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, NamedTuple, assert_never, cast

from actors.bus import Bus
from actors.cluster_statistics import ForwardFailure
from actors.errand import raised_for
from actors.mail import Mail
from actors.reply import Reply
from protocol import bus
from protocol import forwards_messages as forwards
from protocol.bus import Holding
from protocol.errors import BusUnavailable, EnvelopeRefused, OutcomeUnknown, OwnerUnreachable, SessionStateLost
from protocol.forwarded import ForwardedRequest
from protocol.forwarded_answer import Note, unpack_failure, unpack_not_owner, unpack_note, unpack_result
from protocol.forwards import Forwards
from protocol.histogram import Histogram
from protocol.message import Answer, Request, message
from protocol.namespace import Namespace
from protocol.peer import Terms
from protocol.wire import Envelope, Kind

logger = logging.getLogger(__name__)

MOST_ALARMS: Final = 100
"""Ids of which it is logged that two workers go by them; each once."""


@message
class Forward(Request[dict[str, Any]]):
    """Have a request done by the worker that owns its session. Answered with the result; raises what comes of it.

    Attributes:
        owner: by which holding that is.
        request: what to do.
        timeout: seconds that it may take.
        notes: told what is said of it before it is answered; in a turn, so it is to do no more than to note it.
    """

    owner: Holding
    request: ForwardedRequest
    timeout: float
    notes: Callable[[Note], None] | None = None


class Denied(Exception):
    """The worker that was asked does not own the session, or not by that holding. Nothing has begun."""

    def __init__(self, held: Holding | None) -> None:
        super().__init__("the session is not owned there")
        self.held = held


class LossTold(Exception):
    """The owner says that the state of the session is lost (`error`), and tells others too until it knows that this was
    heard: `LossHeard`, by whoever has.
    """

    def __init__(self, error: Exception, owner: str, correlation: bytes) -> None:
        super().__init__("the state of the session is lost")
        self.error = error
        self.owner = owner
        self.correlation = correlation


@message
class LossHeard(Answer):
    """A caller has heard that the state of its session is lost."""

    owner: str
    correlation: bytes


@message
class ForwardsNews(Answer):
    """Something for the machine of forwards has come."""

    event: forwards.ForwardsEvent[bytes]


Ticket = Reply[dict[str, Any]]


class _Open(NamedTuple):
    """A request that is with another worker: who asked for it, and when."""

    reply: Ticket
    since: float


class Forwarding:
    """See above.

    Args:
        mail: to other workers.
        way: the bus.
        names: of channels and workers.
        worker: this one's id.
        terms: of the machine.
        now: the clock of the machine, in seconds.
        tell: tells the cluster, in a turn of its own.
        wake: has the cluster told `forwards.Tick` at that time.
        died: is told the sessions of requests whose owner has died, by their holdings.
        twins_seen: is told of an id by which so many workers go.

    Attributes:
        forwarded: how many requests went out.
        failures: how many came to no result, by what they came to.
        timeouts: how many of these because their time was over.
        withdrawn: how many were given up by whoever asked.
        latency: how long it took to answer them, in seconds.
        superseded: how many answers came for which nobody waited any more.
        twins: how often two workers were seen to go by one id.
    """

    def __init__(
        self,
        mail: Mail,
        way: Bus,
        names: Namespace,
        worker: str,
        terms: Terms,
        *,
        now: Callable[[], float],
        tell: Callable[[ForwardsNews], None],
        wake: Callable[[float], None],
        died: Callable[[str, str], None],
        twins_seen: Callable[[str, int], None],
    ) -> None:
        self._mail = mail
        self._bus = way
        self._names = names
        self._worker = worker
        self._now = now
        self._tell = tell
        self._wake = wake
        self._died = died
        self._twins_seen = twins_seen
        self._machine: Forwards[bytes] = Forwards(terms)
        self._open: dict[bytes, _Open] = {}
        self._correlations: dict[Ticket, bytes] = {}
        self._echoes: dict[bytes, forwards.Echoed] = {}
        self._alarmed = set[str]()
        self.failures = dict.fromkeys(ForwardFailure, 0)
        self.latency = Histogram()
        self.forwarded = self.timeouts = self.withdrawn = self.superseded = self.twins = 0

    def __len__(self) -> int:
        """How many requests are with other workers."""
        return len(self._open)

    def awaits(self, correlation: bytes) -> bool:
        """Whether answers to a request of that id are waited for."""
        return correlation in self._open or correlation in self._echoes

    def in_flight_with(self) -> dict[str, int]:
        """How many each of them has."""
        return self._machine.peers()

    def forward(self, reply: Ticket, wanted: Forward) -> None:
        """Somebody's request is another worker's."""
        correlation = self._mail.correlation()
        now = self._now()
        self._open[correlation] = _Open(reply, now)
        self._correlations[reply] = correlation
        self._handle(forwards.Forward(correlation, correlation.hex(), wanted.owner.owner, now + wanted.timeout))

    def withdraw(self, reply: Ticket) -> None:
        """Whoever asked has gone."""
        if (correlation := self._correlations.get(reply)) is not None:
            self._take(correlation)
            self.withdrawn += 1
            self._handle(forwards.Withdraw(correlation.hex()))

    def loss_heard(self, heard: LossHeard) -> None:
        """A caller has heard of a loss: the owner need not tell it any more."""
        self._mail.post(self._names.requests(heard.owner), Kind.HELLO, heard.correlation, b"")

    def parted(self, error: BusUnavailable) -> None:
        """The bus is away: what was to be heard of it is not."""
        self._echoes.clear()
        self._handle(forwards.Parted(error))

    def news(self, news: ForwardsNews) -> None:
        """Something for the machine has come."""
        self._handle(news.event)

    def answered(self, envelope: Envelope) -> None:
        """Another worker has said something about a request; or whatever else, which says that it lives."""
        correlation = envelope.correlation.hex()
        match envelope.kind:
            case Kind.ACCEPTED:
                self._handle(forwards.Accepted(correlation))
            case Kind.RESULT | Kind.FAILURE | Kind.NOT_OWNER:
                self._give(envelope, forwards.Answered(correlation))
            case Kind.REJECTED:
                self._give(envelope, forwards.Rejected(correlation))
            case Kind.HELLO if (echoed := self._echoes.pop(envelope.correlation, None)) is not None:
                self._handle(echoed)
            case Kind.NOTE:
                self._handle(forwards.Heard(envelope.sender))
                self._pass_on(envelope)
            case _:
                self._handle(forwards.Heard(envelope.sender))

    def _give(self, envelope: Envelope, event: forwards.Answered | forwards.Rejected) -> None:
        """Whoever asked is given what the owner says, if they still wait."""
        asked = self._take(envelope.correlation)
        self._handle(event)
        if asked is None:
            self.superseded += 1
            return
        self.latency.record(self._now() - asked.since)
        try:
            if envelope.kind is Kind.RESULT:
                asked.reply.answer(unpack_result(envelope.payload))
                return
            if envelope.kind is Kind.NOT_OWNER:
                asked.reply.fail(Denied(unpack_not_owner(envelope.payload)))
            else:
                error = raised_for(unpack_failure(envelope.payload))
                is_loss = isinstance(error, SessionStateLost)
                asked.reply.fail(LossTold(error, envelope.sender, envelope.correlation) if is_loss else error)
        except EnvelopeRefused as refusal:
            asked.reply.fail(refusal)
        if envelope.kind is not Kind.REJECTED:  # which the machine concludes
            self.failures[ForwardFailure.DENIED if envelope.kind is Kind.NOT_OWNER else ForwardFailure.FAILED] += 1

    def _pass_on(self, envelope: Envelope) -> None:
        """Whoever asked is told what their owner says meanwhile. What cannot be read, or is nobody's, is left out."""
        asked = self._open.get(envelope.correlation)
        wanted = None if asked is None else _wanted(asked.reply)
        if wanted is not None and wanted.notes is not None and wanted.owner.owner == envelope.sender:
            with suppress(EnvelopeRefused):
                wanted.notes(unpack_note(envelope.payload))

    # --- the machine

    def _handle(self, event: forwards.ForwardsEvent[bytes]) -> None:
        for effect in self._machine.handle(event, now=self._now()):
            self._perform(effect)

    def _perform(self, effect: forwards.ForwardsEffect[bytes]) -> None:
        match effect:
            case forwards.Send(correlation, _, peer):
                self._send(correlation, peer)
            case forwards.Refuse(correlation, error):
                self.failures[ForwardFailure.REFUSED] += 1
                self._fail(correlation, lambda _: error)
            case forwards.Conclude():
                self._conclude(effect)
            case forwards.Cancel(peer, correlation):
                self._mail.post(self._names.requests(peer), Kind.CANCEL, bytes.fromhex(correlation), b"")
            case forwards.Probe(peer):
                asked_at = self._now()
                count = bus.Count(self._names.requests(peer))
                self._bus.send(count, lambda found: self._tell(ForwardsNews(forwards.Probed(peer, found, asked_at))))
            case forwards.Look(peer):
                self._bus.send(bus.Look(peer), lambda said: self._tell(ForwardsNews(_looked(peer, said))))
            case forwards.Echo(peer, asked_at):
                self._echo(peer, asked_at)
            case forwards.PeerDied(peer):
                self._peer_died(peer)
            case forwards.TwinsSeen(peer, receivers):
                self._alarm(peer, receivers)
            case forwards.Wake(at):
                self._wake(at)
            case _:
                assert_never(effect)

    def _send(self, correlation: bytes, peer: str) -> None:
        wanted, name = _wanted(self._open[correlation].reply), correlation.hex()

        def posted(receivers: int | BusUnavailable) -> None:
            self._tell(ForwardsNews(forwards.Posted(name, receivers)))

        channel = self._names.requests(peer)
        try:
            payload = wanted.request.pack()
            self._mail.post(channel, Kind.REQUEST, correlation, payload, remaining=wanted.timeout, then=posted)
            self.forwarded += 1
        except EnvelopeRefused as refusal:
            error = refusal
            self.failures[ForwardFailure.REFUSED] += 1
            self._fail(correlation, lambda _: error)
            self._tell(ForwardsNews(forwards.Withdraw(name)))

    def _conclude(self, conclude: forwards.Conclude[bytes]) -> None:
        """A request came to nothing. One that was rejected has been answered already."""
        why = conclude.why
        self.failures[_FAILURES[conclude.outcome]] += 1
        asked = self._open.get(conclude.ticket)
        if asked is not None and self._now() >= asked.since + _wanted(asked.reply).timeout:
            self.timeouts += 1
        if conclude.outcome is forwards.Outcome.UNKNOWN:
            self._fail(conclude.ticket, lambda what: OutcomeUnknown(f"{what} may have run: {why}"))
        else:
            self._fail(conclude.ticket, lambda what: OwnerUnreachable(f"{what} has not begun: {why}"))

    def _alarm(self, peer: str, receivers: int) -> None:
        """Workers that go by one id have each other's requests, and each answers them."""
        self.twins += 1
        if peer not in self._alarmed and len(self._alarmed) < MOST_ALARMS:
            self._alarmed.add(peer)
            logger.warning(
                "%d workers go by the id %r, and are sent each other's requests: a process was copied or forked after "
                "its pool was opened. Open a pool in each process",
                receivers,
                peer,
            )
        self._twins_seen(peer, receivers)

    def _echo(self, peer: str, asked_at: float) -> None:
        """Say something to oneself: all that was sent here before comes in before it."""
        correlation = self._mail.correlation()
        self._echoes[correlation] = forwards.Echoed(peer, asked_at)
        self._mail.post(self._names.replies(self._worker), Kind.HELLO, correlation, b"")

    def _peer_died(self, peer: str) -> None:
        for asked in list(self._open.values()):
            wanted = _wanted(asked.reply)
            if wanted.owner.owner == peer:
                self._died(wanted.request.session_id, wanted.owner.token)

    def _take(self, correlation: bytes) -> _Open | None:
        """Whoever asked, of whom nothing more is to be kept; None if they are known no more."""
        asked = self._open.pop(correlation, None)
        if asked is not None:
            del self._correlations[asked.reply]
        return asked

    def _fail(self, correlation: bytes, error: Callable[[str], Exception]) -> None:
        """Tell whoever asked; the error is made of what they asked for, in words."""
        if (asked := self._take(correlation)) is not None:
            request = _wanted(asked.reply).request
            asked.reply.fail(error(f"{request.request.method} on {request.upstream.address}"))


_FAILURES: Final = {
    forwards.Outcome.NOT_DELIVERED: ForwardFailure.NOT_DELIVERED,
    forwards.Outcome.REJECTED: ForwardFailure.REJECTED,
    forwards.Outcome.UNKNOWN: ForwardFailure.UNKNOWN,
}


def _wanted(reply: Ticket) -> Forward:
    return cast("Forward", reply.request)


def _looked(peer: str, said: bytes | BusUnavailable | None) -> forwards.Looked:
    return forwards.Looked(peer, said if isinstance(said, BusUnavailable) else said is not None)
