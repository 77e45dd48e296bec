"""The cluster: this worker among others. Who owns which downstream session, that this worker lives, and the mail.

It has no policy of its own. What the bus says and what the pool wants become events of the machine of ownership
(`protocol.ownership`), and what that answers is asked of the bus, told to the registry, or answered. Mail goes to its
two parts: requests of others to `actors.serving`, and what is said of this worker's own to `actors.forwarding`.
"""

import logging
from collections.abc import Callable
from functools import partial
from typing import Any, Final, assert_never

from typing_extensions import override

from actors.actor import Signal
from actors.cluster_messages import (
    AwaitJoin,
    Beaten,
    BeatNow,
    BusAnswered,
    BusEnded,
    ClusterMessage,
    EndElsewhere,
    EndFound,
    EndSession,
    LeaveCluster,
    Own,
    Owner,
    OwnershipEnded,
    OwnershipLost,
    OwnershipTaken,
    WhoLives,
    WhoOwns,
)
from actors.cluster_parts import ClusterParts
from actors.departure import HeirSilent, PeersFound
from actors.effect import Failed
from actors.forwarding import Forward, ForwardsNews, LossHeard
from actors.lines import Borrowed, Returned
from actors.mail import ignore
from actors.reply import AskerGone, Reply
from actors.serving import AcceptanceOut, HungUp, NoteMade, NoteOut, Served
from protocol import bus
from protocol import forwards_messages as forwards
from protocol import ownership_messages as ownership
from protocol.bequest import unpack_bequest
from protocol.errors import BusUnavailable, ClusterError, EnvelopeRefused
from protocol.pool_events import BusJoined, BusParted, ConversationLost, ConversationTaken
from protocol.remote_end import RemoteEnd
from protocol.wire import Envelope, Kind

logger = logging.getLogger(__name__)

HAIR: Final = 0.001
"""Seconds that a timer waits at the least, if at all."""


class Cluster(ClusterParts):
    """This worker among others. What it is made with is told at `ClusterParts`."""

    @override
    def receive(self, message: ClusterMessage) -> None:  # noqa: C901, PLR0912, PLR0915 - a row per message
        match message:
            case Own(session_id, principal):
                self._handle(ownership.Want(self.keep_reply(), session_id, principal, self._token()))
            case WhoOwns(session_id):
                self._ask(bus.Find(session_id), partial(BusAnswered, self.keep_reply()))
            case WhoLives():
                self._ask(bus.Peers(), partial(BusAnswered, self.keep_reply()))
            case EndSession(session_id):
                if not self._is_used(session_id):
                    self._handle(ownership.End(session_id))
            case EndElsewhere(session_id):
                if self._machine.holding(session_id) is None:
                    self._handle(ownership.End(session_id, is_asked=True))
                    tell = self.ref.tell
                    self._bus.send(bus.Find(session_id), lambda found: tell(EndFound(session_id, found)))
            case EndFound(session_id, holding):
                self._tell_end(session_id, holding)
            case ownership.OwnerDenied():
                self._handle(message)
            case bus.Joined():
                self._joined(message)
            case bus.Parted(why):
                self._is_joined = False
                self._publish(BusParted(why, self.now()))
                error = BusUnavailable(f"the bus was lost: {why}", was_sent=False)
                self.forwarding.parted(error)
                self._handle(ownership.Parted(error))
            case bus.Arrived():
                self._arrived(message)
            case Forward():
                self.forwarding.forward(self.keep_reply(), message)
            case ForwardsNews():
                self.forwarding.news(message)
            case LossHeard():
                self.forwarding.loss_heard(message)
            case AcceptanceOut():
                self.serving.acceptance_out(message)
            case Served():
                self.serving.ended(message)
            case NoteMade():
                self.serving.noted(message)
            case NoteOut():
                self.serving.note_out(message)
            case HungUp(errand):
                self.serving.hung_up(errand)
            case Borrowed():
                self.lines.open(message)
            case Returned(name):
                self.lines.close(name)
            case BeatNow():
                self._beat()
                self.serving.beat()
                self.lines.beat()
            case Beaten(asked_at):
                self._handle(ownership.Beaten(asked_at, self._token()))
                joining, self._joining = self._joining, []
                for reply in joining:
                    reply.answer(None)
            case AwaitJoin():
                self._joining.append(self.keep_reply())
            case ownership.Tick():
                self._timer = None
                self._handle(message)
            case ownership.Claimed() | ownership.Refreshed() | ownership.Released():
                self._handle(message)
                self._leave_if_done()
            case BusAnswered(reply, answer):
                if isinstance(answer, ClusterError):
                    reply.fail(answer)
                else:
                    reply.answer(answer)
            case LeaveCluster():
                self._leave(self.keep_reply())
            case PeersFound() | HeirSilent():
                self.departure.news(message)
            case BusEnded(outcome):
                if isinstance(outcome, Failed):
                    raise outcome.error
            case _:
                assert_never(message)

    @override
    def signal(self, signal: Signal) -> None:
        if isinstance(signal, AskerGone):
            wanted = signal.reply.request
            if isinstance(wanted, Own):
                self._handle(ownership.Withdraw(signal.reply, wanted.session_id))
            elif isinstance(wanted, Forward):
                self.forwarding.withdraw(signal.reply)

    # --- the machine

    @override
    def _handle(self, event: ownership.OwnershipEvent[Reply[Owner]]) -> None:
        now = self._clock()
        for effect in self._machine.handle(event, now=now):
            self._perform(effect, now)

    def _perform(self, effect: ownership.OwnershipEffect[Reply[Owner]], now: float) -> None:
        lifetime = self._settings.holding
        match effect:
            case ownership.TellOwner(reply, holding, is_here):
                reply.answer(Owner(holding, is_here))
            case ownership.Refuse(reply, error):
                reply.fail(error)
            case ownership.Claim(session_id, holding, over):
                self._ask(
                    bus.Claim(session_id, holding, lifetime, over),
                    lambda answer: ownership.Claimed(session_id, holding.token, answer, now),
                )
            case ownership.Refresh(session_id, token):
                self._ask(
                    bus.Refresh(session_id, token, lifetime),
                    lambda answer: ownership.Refreshed(session_id, token, answer, now),
                )
            case ownership.Release(session_id, token):
                self._ask(bus.Release(session_id, token), lambda _: ownership.Released(session_id, token))
            case ownership.Lost(session_id):
                self._lost += 1
                self._publish(ConversationLost(session_id, self.now()))
                self._told(OwnershipLost(session_id))
            case ownership.Acquired(session_id, is_taken_over):
                if is_taken_over:
                    self._taken_over += 1
                    self._publish(ConversationTaken(session_id, self.now()))
                    self._told(OwnershipTaken(session_id))
            case ownership.Wake(at):
                if self._timer is not None:
                    self._timer.cancel()
                self._timer = self.after(_until(at, now), ownership.Tick())
            case _:
                assert_never(effect)

    # --- other workers

    def _arrived(self, arrived: bus.Arrived) -> None:
        envelope = self.mail.read(arrived, self._awaits)
        if envelope is None:
            return
        match envelope.kind:
            case Kind.REQUEST:
                self.serving.asked(envelope)
            case Kind.CANCEL:
                self.serving.cancelled(envelope)
            case Kind.END:
                self._end(envelope)
            case Kind.LEASES:
                self.serving.held(envelope)
            case Kind.NOTE:
                self.lines.noted(envelope)
            case Kind.LEAVING:
                self._inherit(envelope)
            case Kind.REJECTED if self.departure.awaits(envelope.correlation):
                self.departure.refused(envelope.correlation)
                return
            case Kind.HELLO:
                self.departure.taken(envelope.correlation)
                self.serving.heard(envelope)
            case _:
                pass
        self.forwarding.answered(envelope)

    def _awaits(self, correlation: bytes) -> bool:
        return self.forwarding.awaits(correlation) or self.departure.awaits(correlation)

    def _inherit(self, envelope: Envelope) -> None:
        """A worker that leaves says that this one is to go on with a session of its. It is claimed before that hears of
        it, since commands are done in their order.
        """
        try:
            session_id, held = unpack_bequest(envelope.payload)
        except EnvelopeRefused as refusal:
            self.mail.refuse(refusal)
            return
        if held.owner != envelope.sender:
            return
        if not self._leaving:
            self._handle(ownership.Inherit(session_id, held, self._token()))
        says = Kind.REJECTED if self._leaving else Kind.HELLO
        self.mail.post(self._names.replies(envelope.sender), says, envelope.correlation, b"")

    def _tell_end(self, session_id: str, holding: bus.Holding | BusUnavailable | None) -> None:
        """Have the owner of a session end it. What is sent to it after this comes after this."""
        if isinstance(holding, bus.Holding) and holding.owner != self.worker:
            end = RemoteEnd(session_id, holding.token)
            self.mail.post(
                self._names.requests(holding.owner), Kind.END, self.mail.correlation(), end.pack(), then=_check_end
            )
        elif isinstance(holding, BusUnavailable):
            _check_end(holding)

    def _end(self, envelope: Envelope) -> None:
        """Another worker says that a session is over."""
        try:
            end = RemoteEnd.unpack(envelope.payload)
        except EnvelopeRefused as refusal:
            self.mail.refuse(refusal)
            return
        held = self._machine.holding(end.session_id)
        if held is not None and held.token == end.token:
            self._told(OwnershipEnded(end.session_id))

    @override
    def _wake_forwards(self, at: float) -> None:
        if self._forwards_timer is not None:
            self._forwards_timer.cancel()
        tick = ForwardsNews(forwards.Tick())
        self._forwards_timer = self.after(_until(at, self._clock()), tick)

    # --- the bus

    def _ask(self, command: bus.Command[Any], then: Callable[[Any], ClusterMessage]) -> None:
        self._bus.send(command, lambda answer: self.ref.tell(then(answer)))

    def _joined(self, joined: bus.Joined) -> None:
        if joined.age < self._settings.lifetime:
            young = "worker %s has joined a bus whose records are %.1f s old: nothing new is claimed for %.1f s"
            logger.info(young, self.worker, joined.age, self._settings.lifetime - joined.age)
        self._is_joined = True
        self._joins += 1
        self._publish(BusJoined(self._joins, self.now()))
        self._beat()
        self.forwarding.news(ForwardsNews(forwards.Joined(joined.age)))
        self._handle(ownership.Joined(joined.age, self._token()))

    def _beat(self) -> None:
        """Say that this worker lives. Only while it listens, which being joined is."""
        if not self._is_joined or self._leaving:
            return
        asked_at = self._clock()
        beat = bus.Beat(self.worker, self._settings.lifetime, self._says())
        tell = self.ref.tell

        def beaten(answer: BusUnavailable | None) -> None:
            if answer is None:
                tell(Beaten(asked_at))

        self._bus.send(beat, beaten)

    def _leave(self, reply: Reply[None]) -> None:
        self._leaving.append(reply)
        self._handle(ownership.Leave())
        self.departure.begin()
        self._leave_if_done()

    @override
    def _depart(self, event: ownership.HandedOver | ownership.GiveUp) -> None:
        self._handle(event)
        self._leave_if_done()

    def _leave_if_done(self) -> None:
        if self._leaving and len(self._machine) == 0:
            self._bus.send(bus.Forget(self.worker), ignore)
            for reply in self._leaving:
                reply.answer(None)


def _until(at: float, now: float) -> float:
    """Seconds until then. Timers go by another clock, and what one calls a hair before may be none to the other: who
    waited for that would be woken again and again.
    """
    return 0.0 if at <= now else max(at - now, HAIR)


def _check_end(receivers: int | BusUnavailable) -> None:
    """Nobody waits for the end of a session, so the log is told where its owner was not."""
    if isinstance(receivers, BusUnavailable):
        logger.warning("a conversation that was ended may go on, since its owner could not be told: %s", receivers)
