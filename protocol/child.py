"""A supervisor's child: what is to be run, and its life as a table.

The rules
---------
- A start is ordered only of a child that is READY, a shut-down only of one that is CONDEMNED. So no child is started
  twice, none is shut down twice, and none is started while it is up or on its way down.
- Every end leads to STOPPED, whatever the child was at. What follows (READY, WAITING, forgotten) is another step, and
  the supervisor's decision.
- What crosses an order on the way changes nothing: a start that completes although the child is to go, a delay that
  ends although nobody waits for it.

A missing cell is an error (`IllegalTransition`), never a guess.
"""

import math
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from enum import Enum, auto
from typing import Any, Final, Generic, TypeVar

from protocol.errors import IllegalTransition, InvalidSettings
from protocol.message import message
from protocol.restart import Restart, RestartText
from protocol.settings import LONGEST

A_co = TypeVar("A_co", covariant=True)
"""What is run."""


@dataclass(frozen=True, slots=True)
class ChildSpec(Generic[A_co]):
    """What a supervisor runs, and how.

    Args:
        id: its name among its siblings: any text that is not empty and has no "/" in it.
        start: makes a new one, each time it is started.
        restart: after which ends it is started again. A text is turned into the `Restart` of that name.
        shutdown: seconds that it may take to end in good order before it is stopped at once. 0 stops it at once,
            `math.inf` lets it take as long as it takes, None means what its class says.

    Raises:
        InvalidSettings: a value is of the wrong kind or out of its range; the message names the child and the value.
    """

    id: str
    start: Callable[[], A_co]
    _: KW_ONLY
    restart: Restart | RestartText = Restart.PERMANENT
    shutdown: float | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.id, str) or not self.id or "/" in self.id:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidSettings(f"child id {self.id!r} cannot be used: give a text that is not empty, without '/'")
        if not callable(self.start):
            raise InvalidSettings(
                f"child {self.id!r}: start must be a callable that makes a new one each time, "
                f"not {type(self.start).__name__}"
            )
        try:
            object.__setattr__(self, "restart", Restart.parse(self.restart))
        except InvalidSettings as error:
            raise InvalidSettings(f"child {self.id!r}: {error}") from None
        if self.shutdown is not None and not _is_patience(self.shutdown):
            raise InvalidSettings(
                f"child {self.id!r}: shutdown must be a number of seconds from 0 to {LONGEST:g}, math.inf or None, "
                f"not {self.shutdown!r}"
            )


def _is_patience(given: object) -> bool:
    if isinstance(given, bool) or not isinstance(given, (int, float)):
        return False
    return 0 <= given <= LONGEST or given == math.inf


class ChildState(Enum):
    """Where a child is in its life."""

    __hash__ = object.__hash__  # as for sessions: members are singletons, and Enum's own is Python code

    STOPPED = auto()
    """Known, not up, and not to be started unless somebody asks for it or its group is restarted."""
    WAITING = auto()
    """To be started when its backoff is over."""
    READY = auto()
    """To be started when its turn comes."""
    STARTING = auto()
    """Its start is under way."""
    RUNNING = auto()
    """Its start is complete."""
    CONDEMNED = auto()
    """Up, or starting, and to be shut down when its turn comes."""
    STOPPING = auto()
    """Its shut-down was ordered."""
    FORGOTTEN = auto()
    """Its spec is gone."""


class ChildEvent(Enum):
    """What may happen to a child."""

    __hash__ = object.__hash__

    SUMMONED = auto()
    """It is to be started."""
    DELAYED = auto()
    """It is to be started after a backoff."""
    DELAY_ENDED = auto()
    """A backoff is over."""
    CALLED_OFF = auto()
    """It is not to be started after all."""
    TURN_CAME = auto()
    """What was due is ordered: its start, or its shut-down."""
    STARTED = auto()
    """Its start is complete."""
    START_FAILED = auto()
    """Its start failed, and nothing of it is left."""
    SENTENCED = auto()
    """It is to be shut down."""
    EXITED = auto()
    """It ended."""
    DROPPED = auto()
    """Its spec is no longer wanted."""


class Fate(Enum):
    """What follows when a child that is to be shut down has ended."""

    AGAIN = auto()
    """It is started again."""
    REST = auto()
    """It stays stopped."""
    OBLIVION = auto()
    """Its spec is forgotten."""


_S, _E = ChildState, ChildEvent

TRANSITIONS: Final[dict[ChildState, dict[ChildEvent, ChildState]]] = {
    _S.STOPPED: {
        _E.SUMMONED: _S.READY,
        _E.DELAYED: _S.WAITING,
        _E.DELAY_ENDED: _S.STOPPED,
        _E.DROPPED: _S.FORGOTTEN,
    },
    _S.WAITING: {
        _E.DELAY_ENDED: _S.READY,
        _E.CALLED_OFF: _S.STOPPED,
    },
    _S.READY: {
        _E.DELAY_ENDED: _S.READY,
        _E.CALLED_OFF: _S.STOPPED,
        _E.TURN_CAME: _S.STARTING,
    },
    _S.STARTING: {
        _E.DELAY_ENDED: _S.STARTING,
        _E.STARTED: _S.RUNNING,
        _E.START_FAILED: _S.STOPPED,
        _E.SENTENCED: _S.CONDEMNED,
        _E.EXITED: _S.STOPPED,
    },
    _S.RUNNING: {
        _E.DELAY_ENDED: _S.RUNNING,
        _E.SENTENCED: _S.CONDEMNED,
        _E.EXITED: _S.STOPPED,
    },
    _S.CONDEMNED: {
        _E.DELAY_ENDED: _S.CONDEMNED,
        _E.TURN_CAME: _S.STOPPING,
        _E.STARTED: _S.CONDEMNED,
        _E.START_FAILED: _S.STOPPED,
        _E.EXITED: _S.STOPPED,
    },
    _S.STOPPING: {
        _E.DELAY_ENDED: _S.STOPPING,
        _E.STARTED: _S.STOPPING,
        _E.START_FAILED: _S.STOPPED,
        _E.EXITED: _S.STOPPED,
    },
    _S.FORGOTTEN: {},
}


@message
class ChildStatus:
    """What a child is at."""

    id: str
    state: ChildState
    restarts: int
    """How often the supervisor restarted something because this child had ended."""


AnySpec = ChildSpec[Any]
"""The machine runs nothing itself: what a spec makes is its driver's business."""


def illegal(child: str, state: ChildState, event: ChildEvent) -> IllegalTransition:
    """The error for a row that the table does not have."""
    return IllegalTransition(f"child {child!r}, which is {state.name}, cannot be {event.name}")
