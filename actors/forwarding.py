"""Forwarding: requests whose session another worker owns. A part of the cluster actor.

What becomes of a request that is not answered, and whether the other worker lives, the machine of forwards decides
(`protocol.forwards`). Here its effects are done, and answers that come in are given to whoever asked.
"""

from collections.abc import Callable
from typing import Any, assert_never, cast

from actors.bus import Bus
from actors.errand import raised_for
from actors.mail import Mail
from actors.reply import Reply
from protocol import bus
from protocol import forwards_messages as forwards
from protocol.bus import Holding
from protocol.errors import BusUnavailable, EnvelopeRefused, OutcomeUnknown, OwnerUnreachable, SessionStateLost
from protocol.forwarded import ForwardedRequest
from protocol.forwarded_answer import unpack_failure, unpack_not_owner, unpack_result
from protocol.forwards import Forwards
from protocol.message import Answer, Request, message
from protocol.namespace import Namespace
from protocol.peer import Terms
from protocol.wire import Envelope, Kind


@message
class Forward(Request[dict[str, Any]]):
    """Have a request done by the worker that owns its session. Answered with the result; raises what comes of it.

    Attributes:
        owner: by which holding that is.
        request: what to do.
        timeout: seconds that it may take.
    """

    owner: Holding
    request: ForwardedRequest
    timeout: float


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

    Attributes:
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
    ) -> None:
        self._mail = mail
        self._bus = way
        self._names = names
        self._worker = worker
        self._now = now
        self._tell = tell
        self._wake = wake
        self._died = died
        self._machine: Forwards[bytes] = Forwards(terms)
        self._open: dict[bytes, Ticket] = {}
        self._correlations: dict[Ticket, bytes] = {}
        self._echoes: dict[bytes, forwards.Echoed] = {}
        self.twins = 0

    def __len__(self) -> int:
        """How many requests are with other workers."""
        return len(self._open)

    def awaits(self, correlation: bytes) -> bool:
        """Whether answers to a request of that id are waited for."""
        return correlation in self._open or correlation in self._echoes

    def forward(self, reply: Ticket, wanted: Forward) -> None:
        """Somebody's request is another worker's."""
        correlation = self._mail.correlation()
        self._open[correlation] = reply
        self._correlations[reply] = correlation
        deadline = self._now() + wanted.timeout
        self._handle(forwards.Forward(correlation, correlation.hex(), wanted.owner.owner, deadline))

    def withdrawn(self, reply: Ticket) -> None:
        """Whoever asked has gone."""
        if (correlation := self._correlations.get(reply)) is not None:
            self._take(correlation)
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
            case _:
                self._handle(forwards.Heard(envelope.sender))

    def _give(self, envelope: Envelope, event: forwards.Answered | forwards.Rejected) -> None:
        """Whoever asked is given what the owner says, if they still wait."""
        reply = self._take(envelope.correlation)
        self._handle(event)
        if reply is None:
            return
        try:
            if envelope.kind is Kind.RESULT:
                reply.answer(unpack_result(envelope.payload))
            elif envelope.kind is Kind.NOT_OWNER:
                reply.fail(Denied(unpack_not_owner(envelope.payload)))
            else:
                error = raised_for(unpack_failure(envelope.payload))
                is_loss = isinstance(error, SessionStateLost)
                reply.fail(LossTold(error, envelope.sender, envelope.correlation) if is_loss else error)
        except EnvelopeRefused as refusal:
            reply.fail(refusal)

    # --- the machine

    def _handle(self, event: forwards.ForwardsEvent[bytes]) -> None:
        for effect in self._machine.handle(event, now=self._now()):
            self._perform(effect)

    def _perform(self, effect: forwards.ForwardsEffect[bytes]) -> None:
        match effect:
            case forwards.Send(correlation, _, peer):
                self._send(correlation, peer)
            case forwards.Refuse(correlation, error):
                self._fail(correlation, lambda _: error)
            case forwards.Conclude(correlation, forwards.Outcome.UNKNOWN, why):
                self._fail(correlation, lambda what: OutcomeUnknown(f"{what} may have run: {why}"))
            case forwards.Conclude(correlation, _, why):
                self._fail(correlation, lambda what: OwnerUnreachable(f"{what} has not begun: {why}"))
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
            case forwards.TwinsSeen():
                self.twins += 1
            case forwards.Wake(at):
                self._wake(at)
            case _:
                assert_never(effect)

    def _send(self, correlation: bytes, peer: str) -> None:
        wanted, name = _wanted(self._open[correlation]), correlation.hex()

        def posted(receivers: int | BusUnavailable) -> None:
            self._tell(ForwardsNews(forwards.Posted(name, receivers)))

        channel = self._names.requests(peer)
        try:
            payload = wanted.request.pack()
            self._mail.post(channel, Kind.REQUEST, correlation, payload, remaining=wanted.timeout, then=posted)
        except EnvelopeRefused as refusal:
            error = refusal
            self._fail(correlation, lambda _: error)
            self._tell(ForwardsNews(forwards.Withdraw(name)))

    def _echo(self, peer: str, asked_at: float) -> None:
        """Say something to oneself: all that was sent here before comes in before it."""
        correlation = self._mail.correlation()
        self._echoes[correlation] = forwards.Echoed(peer, asked_at)
        self._mail.post(self._names.replies(self._worker), Kind.HELLO, correlation, b"")

    def _peer_died(self, peer: str) -> None:
        for reply in list(self._open.values()):
            wanted = _wanted(reply)
            if wanted.owner.owner == peer:
                self._died(wanted.request.session_id, wanted.owner.token)

    def _take(self, correlation: bytes) -> Ticket | None:
        """Whoever asked, of whom nothing more is to be kept; None if they are known no more."""
        reply = self._open.pop(correlation, None)
        if reply is not None:
            del self._correlations[reply]
        return reply

    def _fail(self, correlation: bytes, error: Callable[[str], Exception]) -> None:
        """Tell whoever asked; the error is made of what they asked for, in words."""
        if (reply := self._take(correlation)) is not None:
            request = _wanted(reply).request
            reply.fail(error(f"{request.request.method} on {request.upstream.address}"))


def _wanted(reply: Ticket) -> Forward:
    return cast("Forward", reply.request)


def _looked(peer: str, said: bytes | BusUnavailable | None) -> forwards.Looked:
    return forwards.Looked(peer, said if isinstance(said, BusUnavailable) else said is not None)
