"""What a supervisor is told, and what it wants done."""

from collections.abc import Hashable
from typing import Generic, TypeVar

from protocol.child import AnySpec
from protocol.message import message

T = TypeVar("T", bound=Hashable)
"""What stands for whoever asked something of the supervisor."""

# --- events -----------------------------------------------------------------------------------------------------------


@message
class Boot:
    """The supervisor is to start its children. The first event, once."""


@message
class Started:
    """A child's start is complete."""

    id: str


@message
class StartFailed:
    """A child's start failed, and nothing of it is left."""

    id: str
    error: Exception


@message
class Exited:
    """A child has ended. `error`: why, where it failed."""

    id: str
    error: BaseException | None = None


@message
class DelayElapsed:
    """A child's backoff is over."""

    id: str


@message
class StartChild(Generic[T]):
    """Somebody wants a new child."""

    ticket: T
    spec: AnySpec


@message
class TerminateChild(Generic[T]):
    """Somebody wants a child to be shut down, and to stay so."""

    ticket: T
    id: str


@message
class RestartChild(Generic[T]):
    """Somebody wants a stopped child to be started."""

    ticket: T
    id: str


@message
class DeleteChild(Generic[T]):
    """Somebody wants a stopped child to be forgotten."""

    ticket: T
    id: str


@message
class Close:
    """The supervisor is to end."""


ChildRequest = StartChild[T] | TerminateChild[T] | RestartChild[T] | DeleteChild[T]
SupervisorEvent = Boot | Started | StartFailed | Exited | DelayElapsed | ChildRequest[T] | Close

# --- effects ----------------------------------------------------------------------------------------------------------


@message
class Start:
    """Start the child."""

    id: str


@message
class ShutDown:
    """Have the child end in good order, and stop it at once after so many seconds; see `ChildSpec.shutdown`."""

    id: str
    seconds: float | None


@message
class Wait:
    """Say `DelayElapsed` after so many seconds. It takes the place of an earlier wait for the same child."""

    id: str
    seconds: float


@message
class Answer(Generic[T]):
    """Tell the holder of the ticket that it is done."""

    ticket: T
    id: str


@message
class Refuse(Generic[T]):
    """Tell the holder of the ticket why it is not done."""

    ticket: T
    error: Exception


@message
class Finish:
    """The supervisor's last child has ended, and so does the supervisor. `error`: why, unless it was closed."""

    error: Exception | None


SupervisorEffect = Start | ShutDown | Wait | Answer[T] | Refuse[T] | Finish
