"""A worker's departure: it hands the sessions that it owns over to others before it goes. A part of the cluster actor.

Each session is left to a living worker by name (`protocol.bequest`), and that says when it has claimed it: so the next
call finds an owner who knows that what the server kept in its session went with the one that left. A worker that leaves
too is passed over, and so is one that says nothing for a moment. If nobody else stays, the rest is given up, so that
nothing is left of the last one that goes; if somebody stays and does not answer, it is left as by a worker that died.
"""

from collections.abc import Callable, Mapping
from random import Random
from typing import Final

from actors.bus import Bus
from actors.mail import Mail, Posted, ignore
from actors.timer import Timer
from protocol import bus
from protocol.bequest import pack_bequest
from protocol.bus import Holding
from protocol.errors import BusUnavailable
from protocol.message import Answer, message
from protocol.namespace import Namespace
from protocol.wire import Kind

PATIENCE: Final = 0.25
"""Seconds that an heir has to say that it takes what it is left."""


@message
class PeersFound(Answer):
    """The bus has said which workers live, or could not."""

    peers: Mapping[str, bytes] | BusUnavailable


@message
class HeirSilent(Answer):
    """An heir has said nothing for a while, or nobody listened there: it may be dead, or have lost its line."""

    heir: str


DepartureNews = PeersFound | HeirSilent


class Departure:
    """See above.

    Args:
        mail: to other workers.
        way: the bus.
        names: of channels.
        worker: this one's id.
        random: chooses who inherits.
        left: what is still to be left to somebody.
        tell: tells the cluster, in a turn of its own.
        after: has the cluster told something after so many seconds.
        handed_over: is told of each session that another worker has taken, by its token.
        give_up: is called when there is nobody left to take the rest.
    """

    def __init__(
        self,
        mail: Mail,
        way: Bus,
        names: Namespace,
        worker: str,
        random: Random,
        *,
        left: Callable[[], Mapping[str, Holding]],
        tell: Callable[[DepartureNews], None],
        after: Callable[[float, DepartureNews], Timer],
        handed_over: Callable[[str, str], None],
        give_up: Callable[[], None],
    ) -> None:
        self._mail = mail
        self._bus = way
        self._names = names
        self._worker = worker
        self._random = random
        self._still_left = left
        self._tell = tell
        self._after = after
        self._handed_over = handed_over
        self._give_up = give_up
        self._tried = set[str]()
        self._leaving = {worker}
        self._heir = worker
        self._offered: dict[bytes, tuple[str, str]] = {}  # by the id of what was sent: the session, and its token
        self._timer: Timer | None = None

    def begin(self) -> None:
        """Hand over what is held here, to whoever lives."""
        if self._still_left():
            self._bus.send(bus.Peers(), lambda peers: self._tell(PeersFound(peers)))

    def awaits(self, correlation: bytes) -> bool:
        """Whether that is the id of something that was left to somebody, who has not said anything yet."""
        return correlation in self._offered

    def news(self, news: DepartureNews) -> None:
        """Something has come."""
        match news:
            case PeersFound(peers):
                is_known = not isinstance(peers, BusUnavailable)
                staying = set(peers) - self._leaving if is_known else set[str]()
                if heirs := sorted(staying - self._tried):
                    self._leave_to(self._random.choice(heirs))
                elif staying or not is_known:
                    for session_id, held in self._still_left().items():
                        self._handed_over(session_id, held.token)
                else:
                    self._give_up()
            case HeirSilent(heir):
                self._pass_over(heir)

    def taken(self, correlation: bytes) -> None:
        """An heir says that it takes what it was left: it has asked for it, or will when it may."""
        if (offered := self._offered.pop(correlation, None)) is not None:
            self._handed_over(*offered)
        if not self._offered and self._timer is not None:
            self._timer.cancel()

    def refused(self, correlation: bytes) -> None:
        """An heir says that it leaves as well."""
        if correlation in self._offered:
            self._leaving.add(self._heir)
            self._pass_over(self._heir)

    def _leave_to(self, heir: str) -> None:
        self._tried.add(heir)
        self._heir = heir

        def first(receivers: int | BusUnavailable) -> None:
            if not receivers or isinstance(receivers, BusUnavailable):
                self._tell(HeirSilent(heir))

        posted: Posted = first
        for session_id, held in self._still_left().items():
            correlation = self._mail.correlation()
            self._offered[correlation] = session_id, held.token
            payload = pack_bequest(session_id, held)
            self._mail.post(self._names.requests(heir), Kind.LEAVING, correlation, payload, then=posted)
            posted = ignore  # the first says it for all
        self._timer = self._after(PATIENCE, HeirSilent(heir))

    def _pass_over(self, heir: str) -> None:
        if heir == self._heir and self._offered:
            if self._timer is not None:
                self._timer.cancel()
            self._offered.clear()
            self.begin()
