"""What the cluster actor is asked and told, and what it tells of its sessions."""

from collections.abc import Mapping
from typing import Any

from actors.departure import HeirSilent, PeersFound
from actors.forwarding import Forward, ForwardsNews, LossHeard
from actors.lines import Borrowed, Returned
from actors.reply import Reply
from actors.serving import ServingNews
from protocol import bus
from protocol import ownership_messages as ownership
from protocol.errors import BusUnavailable
from protocol.message import Answer, Request, message


@message
class Owner:
    """Who owns a downstream session. `is_here`: this worker does."""

    holding: bus.Holding
    is_here: bool


@message
class Own(Request[Owner]):
    """Ask who owns a session, and have it owned here if nobody does. Raises what stands in the way."""

    session_id: str
    principal: str


@message
class WhoOwns(Request[bus.Holding | None]):
    """Ask the bus who holds a session. Nothing is claimed."""

    session_id: str


@message
class WhoLives(Request[Mapping[str, bytes]]):
    """Ask the bus which workers live, and what each says of itself."""


@message
class EndSession(Answer):
    """A downstream session is over: it is owned no longer."""

    session_id: str


@message
class EndElsewhere(Answer):
    """A downstream session is over, and if another worker owns it, that one is to be told."""

    session_id: str


@message
class EndFound(Answer):
    """The bus has said who holds a session that is over, or could not."""

    session_id: str
    holding: bus.Holding | BusUnavailable | None


@message
class LeaveCluster(Request[None]):
    """Ask this worker to leave in good order. Answered when the bus has heard of it, or cannot be reached."""


@message
class AwaitJoin(Request[None]):
    """Ask to be told when the others know of this worker."""


@message
class Beaten(Answer):
    """The bus has taken a beat that was sent at `asked_at`."""

    asked_at: float


@message
class BeatNow:
    """It is time to beat."""


@message
class BusAnswered(Answer):
    """The bus has answered what somebody asked for."""

    reply: Reply[Any]
    answer: object


@message
class BusEnded(Answer):
    """The bus has ended, which it does only when it is told to, or by a fault."""

    outcome: object


ClusterMessage = (
    Own
    | Forward
    | ForwardsNews
    | LossHeard
    | ServingNews
    | Borrowed
    | Returned
    | WhoOwns
    | WhoLives
    | EndSession
    | EndElsewhere
    | EndFound
    | LeaveCluster
    | PeersFound
    | HeirSilent
    | AwaitJoin
    | bus.BusNews
    | ownership.OwnerDenied
    | ownership.Claimed
    | ownership.Refreshed
    | ownership.Released
    | ownership.Tick
    | Beaten
    | BeatNow
    | BusAnswered
    | BusEnded
)


@message
class OwnershipLost:
    """A session is not owned here any more: what it has here is to end."""

    session_id: str


@message
class OwnershipTaken:
    """A session was taken over from a worker that died: what its server kept in its upstream sessions is lost."""

    session_id: str


@message
class OwnershipEnded:
    """A session that is owned here was ended by another worker's caller."""

    session_id: str


OwnershipNews = OwnershipLost | OwnershipTaken | OwnershipEnded
