"""What the machine of forwards is told, and what it wants done. See `protocol.forwards`."""

from collections.abc import Hashable
from enum import Enum, auto
from typing import Generic, TypeVar

from protocol.errors import BusUnavailable, TroupeError
from protocol.message import Answer, message

T = TypeVar("T", bound=Hashable)
"""What stands for whoever asks."""


class Outcome(Enum):
    """What a forwarded request came to, where its owner has not answered it."""

    NOT_DELIVERED = auto()
    """It has not begun, and never will: it may be run elsewhere."""
    REJECTED = auto()
    """Its owner has refused it, and has not begun it."""
    UNKNOWN = auto()
    """It may have run."""


# --- events


@message
class Forward(Generic[T]):
    """Somebody's request is another worker's.

    Attributes:
        ticket: who asks.
        correlation: the request's own id, which no other one has had.
        peer: the worker that owns it.
        deadline: until when it is to be answered, on the clock of `now`.
    """

    ticket: T
    correlation: str
    peer: str
    deadline: float


@message
class Posted(Answer):
    """The bus has answered the post that `Send` asked for, with how many listened, or could not."""

    correlation: str
    receivers: int | BusUnavailable


@message
class Accepted(Answer):
    """The owner has accepted the request: from now on it may begin."""

    correlation: str


@message
class Answered(Answer):
    """The owner's answer is here, be it a result, a failure or a denial. It is the actor's affair from here on."""

    correlation: str


@message
class Rejected(Answer):
    """The owner has refused the request, and has not begun it."""

    correlation: str


@message
class Withdraw(Answer):
    """Whoever asked has gone."""

    correlation: str


@message
class Heard(Answer):
    """An envelope of the peer came in, of whatever kind. The three above say so by themselves."""

    peer: str


@message
class Left(Answer):
    """The peer says that it leaves in good order: from here on it accepts nothing, and answers what it has accepted."""

    peer: str


@message
class Probed(Answer):
    """The bus has answered a `Probe`, or could not. `asked_at`: when it was sent."""

    peer: str
    receivers: int | BusUnavailable
    asked_at: float


@message
class Looked(Answer):
    """The bus has answered a `Look`, or could not."""

    peer: str
    is_alive: bool | BusUnavailable


@message
class Echoed(Answer):
    """What an `Echo` asked for has come in. `asked_at`: as in the `Echo`."""

    peer: str
    asked_at: float


@message
class Joined(Answer):
    """This worker's channels are subscribed to, and the bus takes commands.

    Attributes:
        age: how many seconds ago all that it keeps began.
    """

    age: float


@message
class Parted(Answer):
    """The bus cannot be reached, or this worker's subscriptions broke: what was sent to it meanwhile is lost.

    It is told after all that came in before, and before anything that comes in after.
    """

    error: BusUnavailable


@message
class Tick(Answer):
    """The moment that `Wake` asked for has come."""


ForwardsEvent = (
    Forward[T]
    | Posted
    | Accepted
    | Answered
    | Rejected
    | Withdraw
    | Heard
    | Left
    | Probed
    | Looked
    | Echoed
    | Joined
    | Parted
    | Tick
)

# --- effects


@message
class Send(Generic[T]):
    """Post the request on the peer's channel. Answered with `Posted`."""

    ticket: T
    correlation: str
    peer: str


@message
class Refuse(Generic[T]):
    """Tell whoever asked that nothing was sent."""

    ticket: T
    error: TroupeError


@message
class Conclude(Generic[T]):
    """Tell whoever asked what became of the request. `why`: in words, for an error's text."""

    ticket: T
    outcome: Outcome
    why: str


@message
class Cancel:
    """Tell the peer, by the way that the request went, that nobody waits for it any more. It is not answered."""

    peer: str
    correlation: str


@message
class Probe:
    """Count who is subscribed to the peer's channel. Answered with `Probed`."""

    peer: str


@message
class Look:
    """Ask the bus whether the peer still beats. Answered with `Looked`."""

    peer: str


@message
class Echo:
    """Post something on the channel that this worker is answered on. Answered with `Echoed` when it comes in there.

    Where it does not come in, nothing is told: its line is broken, and `Parted` says so.
    """

    peer: str
    asked_at: float


@message
class PeerDied:
    """The peer is dead: what it owned may be taken over."""

    peer: str


@message
class TwinsSeen:
    """So many workers go by the peer's id, and are sent each other's requests."""

    peer: str
    receivers: int


@message
class Wake:
    """Send a `Tick` at that time, unless an earlier one was asked for since."""

    at: float


ForwardsEffect = Send[T] | Refuse[T] | Conclude[T] | Cancel | Probe | Look | Echo | PeerDied | TwinsSeen | Wake
