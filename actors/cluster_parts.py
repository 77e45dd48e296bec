"""The parts of the cluster actor, how they are made, and their figures."""

from collections.abc import Callable, Collection
from functools import partial
from heapq import nlargest
from types import MappingProxyType
from typing import Final

from typing_extensions import override

from actors.actor import Actor
from actors.bus import Bus
from actors.cluster_messages import (
    BeatNow,
    BusEnded,
    ClusterMessage,
    Owner,
    OwnershipNews,
)
from actors.cluster_statistics import BUSIEST, ClusterStats
from actors.departure import Departure
from actors.forwarding import Forwarding
from actors.lines import Lines
from actors.mail import Mail, ignore
from actors.reply import Reply
from actors.serving import Lender, Serve, Served, Serving
from actors.timer import Timer
from protocol import bus
from protocol import ownership_messages as ownership
from protocol.claims import Terms
from protocol.cluster_settings import BEATS, ClusterSettings
from protocol.errors import Refusal
from protocol.forwarded import ForwardedRequest
from protocol.headers import IDENTITY_HEADERS
from protocol.namespace import Namespace
from protocol.ownership import Ownership
from protocol.peer import Terms as ForwardsTerms
from protocol.pool_events import ClusterHappening, TwinsFound

MEMORY: Final = 60.0
"""Seconds for which it is remembered that a session is another worker's, while nobody asks."""


class ClusterParts(Actor[ClusterMessage]):
    """What the cluster actor is made of, and made with. See `actors.cluster`.

    Args:
        worker: its id, made after any fork.
        way: its way to the others.
        settings: how it meets them.
        checks_principal: whether a session is bound to the principal that claimed it.
        told: is told, in a turn, what becomes of sessions that are owned here.
        serve: does what other workers ask of sessions that are owned here.
        heard: is told where they have heard that the state of one of them is lost.
        lender: does what they ask of leases of such sessions, and for them; None: they have none.
        is_used: whether a session that was said to be over has been begun anew since.
        clock: runs through suspends, in seconds.
        wall_clock: the time that workers have in common, in seconds.
        identity_headers: those that identify callers.
        says: what others may know of this worker, with each beat.
        publish: is told what may be of interest to whoever watches.

    Attributes:
        worker: its id.
        mail: what it sends and has; made when it starts, as are the next three.
        forwarding: its requests that are with others.
        serving: the requests of others.
        departure: what it does before it goes.
        lines: of the leases of others that are held here.
    """

    mail: Mail
    forwarding: Forwarding
    serving: Serving
    departure: Departure
    lines: Lines

    def __init__(
        self,
        worker: str,
        way: Bus,
        settings: ClusterSettings,
        *,
        checks_principal: bool,
        told: Callable[[OwnershipNews], None],
        serve: Serve,
        heard: Callable[[ForwardedRequest], None],
        is_used: Callable[[str], bool],
        clock: Callable[[], float],
        wall_clock: Callable[[], float],
        identity_headers: Collection[str] = IDENTITY_HEADERS,
        says: Callable[[], bytes] = bytes,
        publish: Callable[[ClusterHappening], None] = ignore,
        lender: Lender | None = None,
    ) -> None:
        self.worker = worker
        self._bus = way
        self._settings = settings
        self._names = Namespace(settings.namespace)
        terms = Terms(settings.lifetime, settings.holding, MEMORY, checks_principal)
        self._machine: Ownership[Reply[Owner]] = Ownership(worker, terms)
        self._told = told
        self._serve = serve
        self._heard = heard
        self._lender = lender
        self._is_used = is_used
        self._clock = clock
        self._wall_clock = wall_clock
        self._identity_headers = identity_headers
        self._says = says
        self._publish = publish
        self._joins = self._taken_over = self._lost = 0
        self._forwards_timer: Timer | None = None
        self._timer: Timer | None = None
        self._is_joined = False
        self._leaving: list[Reply[None]] = []
        self._joining: list[Reply[None]] = []

    def may_start(self, session_id: str) -> bool:
        """Whether something may be started for the session here and now."""
        return self._machine.may_start(session_id, self._clock())

    def owns(self, session_id: str) -> bool:
        """Whether the session is held here, be it in doubt for the moment."""
        return self._machine.token(session_id) is not None

    def stats(self) -> ClusterStats:
        """The figures, but for those of callers."""
        if not hasattr(self, "serving"):
            return ClusterStats(worker=self.worker)  # it has yet to start
        mail, forwarding, serving = self.mail, self.forwarding, self.serving
        with_others = nlargest(BUSIEST, forwarding.in_flight_with().items(), key=lambda pair: pair[1])
        return ClusterStats(
            worker=self.worker,
            joined=self._is_joined,
            joins=self._joins,
            owned=len(self._machine.owned()),
            taken_over=self._taken_over,
            lost=self._lost,
            forwarded=forwarding.forwarded,
            in_flight=len(forwarding),
            in_flight_with=MappingProxyType(dict(with_others)),
            failures=MappingProxyType(dict(forwarding.failures)),
            timeouts=forwarding.timeouts,
            withdrawn=forwarding.withdrawn,
            forwards=forwarding.latency.snapshot(),
            superseded=forwarding.superseded,
            served=serving.served,
            denied=serving.denied,
            in_service=len(serving),
            sent=mail.sent,
            received=mail.received,
            refused=MappingProxyType({reason: mail.refused[reason] for reason in Refusal}),
            peers_seen=len(mail.seen),
            twins=forwarding.twins,
        )

    @override
    def started(self) -> None:
        settings, names = self._settings, self._names
        tell = self.ref.tell
        self.mail = Mail(
            self.worker,
            self._bus,
            settings.keyring,
            self.random,
            self._wall_clock,
            limit=settings.max_message,
            skew=settings.skew,
        )
        self.forwarding = Forwarding(
            self.mail,
            self._bus,
            names,
            self.worker,
            ForwardsTerms(beat=settings.lifetime),
            now=self._clock,
            tell=tell,
            wake=self._wake_forwards,
            died=lambda session_id, token: self._handle(ownership.OwnerDied(session_id, token, self._token())),
            twins_seen=lambda peer, listeners: self._publish(TwinsFound(peer, listeners, self.now())),
        )
        self.lines = Lines(self.mail, names)
        self.serving = Serving(
            self.mail,
            names,
            self.worker,
            identity_headers=self._identity_headers,
            holding=self._holding,
            named=lambda session_id, held: self._handle(ownership.Named(session_id, held, self._token())),
            start=lambda errand, run: self.start(run, then=partial(Served, errand)),
            tell=tell,
            serve=self._serve,
            heard=self._heard,
            lender=self._lender,
        )
        self.departure = Departure(
            self.mail,
            self._bus,
            names,
            self.worker,
            self.random,
            left=self._machine.left,
            tell=tell,
            after=self.after,
            handed_over=lambda session_id, token: self._depart(ownership.HandedOver(session_id, token)),
            give_up=lambda: self._depart(ownership.GiveUp()),
        )
        channels = names.requests(self.worker), names.replies(self.worker)
        self.start(partial(self._bus.run, channels, tell), then=BusEnded)
        self.every(settings.lifetime / BEATS, BeatNow())

    # --- what its parts need of it

    def _handle(self, event: ownership.OwnershipEvent[Reply[Owner]]) -> None:
        """Something for the machine of ownership has come."""
        raise NotImplementedError

    def _holding(self, session_id: str) -> bus.Holding | None:
        """How a session is held here, where something may be started for it."""
        return self._machine.holding(session_id) if self.may_start(session_id) else None

    def _wake_forwards(self, at: float) -> None:
        """The machine of forwards wants to be told when it is that late."""
        raise NotImplementedError

    def _depart(self, event: ownership.HandedOver | ownership.GiveUp) -> None:
        """Something that was owned here has found its place."""
        raise NotImplementedError

    def _token(self) -> str:
        """A fresh token."""
        return f"{self.random.getrandbits(64):016x}"
