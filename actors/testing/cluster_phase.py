"""What workers are at when something befalls them: the phases of a cluster's work, as the bus sees them."""

from enum import Enum
from typing import Any, Final

from protocol.bus import Claim, Command, Find, Forget, Post, PostWhileHeard, Refresh, Release
from protocol.bus_records import BusRecords
from protocol.wire import Kind


class Phase(Enum):
    """What a command is part of."""

    CLAIM = "claim"
    FORWARD = "forward"
    REPLY = "reply"
    REFRESH = "refresh"
    TAKE_OVER = "take-over"
    LEAVE = "leave"


_OF_ENVELOPES: Final = {
    Kind.REQUEST: Phase.FORWARD,
    Kind.ACCEPTED: Phase.FORWARD,
    Kind.CANCEL: Phase.FORWARD,
    Kind.RESULT: Phase.REPLY,
    Kind.FAILURE: Phase.REPLY,
    Kind.NOT_OWNER: Phase.REPLY,
    Kind.REJECTED: Phase.REPLY,
    Kind.NOTE: Phase.REPLY,
    Kind.LEAVING: Phase.LEAVE,
}


def phase_of(command: Command[Any], records: BusRecords, now: float) -> Phase | None:
    """What a command is part of; None for what goes on all the time, such as beats.

    Args:
        command: what a worker sends.
        records: of the bus.
        now: the time that they go by.
    """
    match command:
        case Post() | PostWhileHeard():
            return _OF_ENVELOPES.get(kind_of(command.envelope))
        case Claim(session_id, holding, _, over):
            held: Any = records.do(Find(session_id), now=now) if over else None
            is_anothers = held is not None and held.owner != holding.owner
            return Phase.TAKE_OVER if is_anothers else Phase.CLAIM
        case Refresh():
            return Phase.REFRESH
        case Release() | Forget():
            return Phase.LEAVE
        case _:
            return None


def kind_of(envelope: bytes) -> Kind:
    """Of what kind a sealed envelope is: the first field of its body (`LAYOUTS`), which begins behind the key's id."""
    return Kind(envelope[2 + envelope[1] + 1])
