"""Forwarding: requests whose session another worker owns. A part of the cluster actor.

What becomes of a request that is not answered, and whether the other worker lives, the machine of forwards decides
(`protocol.forwards`). Here its effects are done, and answers that come in are given to whoever asked.
"""

from collections.abc import Callable
from typing import Any, assert_never, cast

from actors.bus import Bus
from actors.errand import raised_for
from actors.mail import Mail, ignore
from actors.reply import Reply
from protocol import bus
from protocol import forwards_messages as forwards
from protocol.bus import Holding
from protocol.errors import BusUnavailable, EnvelopeRefused, OutcomeUnknown, OwnerUnreachable
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


@message
class ForwardsNews(Answer):
    """Something for the machine of forwards has come."""

    event: forwards.ForwardsEvent[Reply[dict[str, Any]]]


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
        self._machine: Forwards[Ticket] = Forwards(terms)
        self._open: dict[bytes, Ticket] = {}
        self._echoes: dict[bytes, forwards.Echoed] = {}
        self.twins = 0

    def __len__(self) -> int:
        """How many requests are with other workers."""
        return len(self._open)

    def forward(self, reply: Ticket, wanted: Forward) -> None:
        """Somebody's request is another worker's."""
        correlation = self._mail.correlation()
        self._open[correlation] = reply
        deadline = self._now() + wanted.timeout
        self._handle(forwards.Forward(reply, correlation.hex(), wanted.owner.owner, deadline))

    def withdrawn(self, reply: Ticket) -> None:
        """Whoever asked has gone."""
        correlation = next((known for known, other in self._open.items() if other is reply), None)
        if correlation is not None:
            del self._open[correlation]
            self._handle(forwards.Withdraw(correlation.hex()))

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
                reply = self._open.pop(envelope.correlation, None)
                self._handle(forwards.Answered(correlation))
                if reply is not None:
                    self._give(reply, envelope)
            case Kind.REJECTED:
                reply = self._open.pop(envelope.correlation, None)
                self._handle(forwards.Rejected(correlation))
                if reply is not None:
                    self._give(reply, envelope)
            case Kind.HELLO if (echoed := self._echoes.pop(envelope.correlation, None)) is not None:
                self._handle(echoed)
            case Kind.LEAVING:
                self._handle(forwards.Left(envelope.sender))
            case _:
                self._handle(forwards.Heard(envelope.sender))

    @staticmethod
    def _give(reply: Ticket, envelope: Envelope) -> None:
        try:
            if envelope.kind is Kind.RESULT:
                reply.answer(unpack_result(envelope.payload))
            elif envelope.kind is Kind.NOT_OWNER:
                reply.fail(Denied(unpack_not_owner(envelope.payload)))
            else:
                reply.fail(_failure(envelope))
        except EnvelopeRefused as refusal:
            reply.fail(refusal)

    # --- the machine

    def _handle(self, event: forwards.ForwardsEvent[Ticket]) -> None:
        for effect in self._machine.handle(event, now=self._now()):
            self._perform(effect)

    def _perform(self, effect: forwards.ForwardsEffect[Ticket]) -> None:  # noqa: PLR0912 - a row per effect
        match effect:
            case forwards.Send(reply, correlation, peer):
                self._send(reply, correlation, peer)
            case forwards.Refuse(reply, error):
                self._close(reply)
                reply.fail(error)
            case forwards.Conclude(reply, outcome, why):
                self._close(reply)
                if outcome is forwards.Outcome.UNKNOWN:
                    reply.fail(OutcomeUnknown(f"{_what(reply)} may have run: {why}"))
                else:
                    reply.fail(OwnerUnreachable(f"{_what(reply)} has not begun: {why}"))
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

    def _send(self, reply: Ticket, correlation: str, peer: str) -> None:
        wanted = _wanted(reply)

        def posted(receivers: int | BusUnavailable) -> None:
            self._tell(ForwardsNews(forwards.Posted(correlation, receivers)))

        channel, payload = self._names.requests(peer), wanted.request.pack()
        try:
            self._mail.post(
                channel, Kind.REQUEST, bytes.fromhex(correlation), payload, remaining=wanted.timeout, then=posted
            )
        except EnvelopeRefused as refusal:
            self._close(reply)
            self._tell(ForwardsNews(forwards.Withdraw(correlation)))
            reply.fail(refusal)

    def _echo(self, peer: str, asked_at: float) -> None:
        """Say something to oneself: all that was sent here before comes in before it."""
        correlation = self._mail.correlation()
        self._echoes[correlation] = forwards.Echoed(peer, asked_at)
        self._mail.post(self._names.replies(self._worker), Kind.HELLO, correlation, b"", then=ignore)

    def _peer_died(self, peer: str) -> None:
        for reply in list(self._open.values()):
            wanted = _wanted(reply)
            if wanted.owner.owner == peer:
                self._died(wanted.request.session_id, wanted.owner.token)

    def _close(self, reply: Ticket) -> None:
        """Nothing is expected for it any more."""
        for correlation, other in self._open.items():
            if other is reply:
                del self._open[correlation]
                return


def _wanted(reply: Ticket) -> Forward:
    return cast("Forward", reply.request)


def _what(reply: Ticket) -> str:
    request = _wanted(reply).request
    return f"{request.request.method} on {request.upstream.address}"


def _failure(envelope: Envelope) -> Exception:
    return raised_for(unpack_failure(envelope.payload))


def _looked(peer: str, said: bytes | BusUnavailable | None) -> forwards.Looked:
    return forwards.Looked(peer, said if isinstance(said, BusUnavailable) else said is not None)
